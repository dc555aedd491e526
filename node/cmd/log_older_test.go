package cmd

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"muster/logstore"
	"muster/logstore/vfs"
)

// beginOn starts a node on a data directory as far as its log, and stops it cleanly
// after some entries more.
func beginOn(t *testing.T, dir string) logstore.Identity {
	t.Helper()
	id, _, err := logstore.ReadIdentity(vfs.OS{}, dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := logstore.Open(logstore.Options{FS: vfs.OS{}, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if id, err = logstore.BeginLife(s, id, 0, id.Life().Number+9); err != nil {
		t.Fatal(err)
	}
	if err := s.Append([]logstore.Write{{Note: &logstore.Note{Node: 8, Life: logstore.Life{Number: 3, Mark: 4}, Batch: 5}}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return id
}

// A directory of an earlier moment may be whole, and "no damage" would be the wrong
// word for it. verify says what the witness tells, before a start has written it
// down and after; show prints lives, witness and doubt; the remedy that both name
// works; and neither doubts the directory with which the node ran last.
func TestLogOfAnEarlierMoment(t *testing.T) {
	dir := madeLog{entries: ids(1, 1, 5), commit: 5}.write(t)
	if id := beginOn(t, dir); !id.Doubt.None() {
		t.Fatal(id.Doubt.Why)
	}
	copied := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	beginOn(t, dir)
	muster(t, "log", "verify", dir).done(t)
	doubted := func(why string) {
		t.Helper()
		out := muster(t, "log", "verify", copied)
		if out.status != exitRefused || !strings.Contains(out.stdout, " doubt: "+filepath.Join(copied, "witness")+why) ||
			!strings.Contains(out.stdout, "remedy: put back the directory with which the node ran last") || !strings.HasSuffix(out.stdout, "PERHAPS OLDER than the newest of its node\n") {
			t.Errorf("status %d\n%s", out.status, out.stdout)
		}
		var row verifyRow
		if err := json.Unmarshal([]byte(muster(t, "log", "verify", copied, "-o", "json").stdout), &row); err != nil || row.OK || row.Doubt == "" || len(row.Damages) > 0 {
			t.Errorf("%v, %+v", err, row)
		}
	}
	doubted(" is a copy")
	if id := beginOn(t, copied); id.Doubt.None() {
		t.Error("it starts without a doubt")
	}
	doubted(" is a copy")
	shown := muster(t, "log", "show", copied).done(t)
	for _, want := range []string{"3 lives, the newest with mark 000000000000000b", "; stopped after batch", "; its witness is inode", "; in doubt: ", "\nwitness: mark ", "; the log had batch ", "\nstopped: life with mark 000000000000000b after batch ", "node 0000000000000008 in life 3"} {
		if !strings.Contains(shown, want) {
			t.Errorf("show does not say %q:\n%s", want, shown)
		}
	}
	// The remedy: the directory is put back that was moved away.
	if err := os.RemoveAll(copied); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir, copied); err != nil {
		t.Skip("directories of tests are on two file systems: ", err)
	}
	if id := beginOn(t, copied); !id.Doubt.None() {
		t.Error(id.Doubt.Why)
	}
	muster(t, "log", "verify", copied).done(t)
	// Or the witness alone.
	if err := os.Rename(filepath.Join(copied, "witness"), filepath.Join(copied, "kept")); err != nil {
		t.Fatal(err)
	}
	doubted(" is missing")
	if id := beginOn(t, copied); id.Doubt.None() {
		t.Error("it starts without its witness")
	}
	if err := os.Rename(filepath.Join(copied, "kept"), filepath.Join(copied, "witness")); err != nil {
		t.Fatal(err)
	}
	if id := beginOn(t, copied); !id.Doubt.None() {
		t.Error(id.Doubt.Why)
	}
	muster(t, "log", "verify", copied).done(t)
}

// Zeros at the end of a log that was closed are damage, and named.
func TestLogVerifyZerosAtTheEnd(t *testing.T) {
	dir := madeLog{entries: ids(1, 1, 5), commit: 5}.write(t)
	beginOn(t, dir)
	at := recordOf(t, dir, 5)
	f, err := os.OpenFile(at.file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	from := at.offset &^ (vfs.PageSize - 1)
	if _, err := f.WriteAt(make([]byte, info.Size()-from-vfs.SectorSize), from); err != nil {
		t.Fatal(err)
	}
	out := muster(t, "log", "verify", dir)
	if out.status != exitRefused || !strings.Contains(out.stdout, "damage: "+at.file+" at offset ") || !strings.Contains(out.stdout, "the node stopped after batch") || !strings.HasSuffix(out.stdout, "DAMAGED\n") {
		t.Errorf("status %d\n%s", out.status, out.stdout)
	}
}
