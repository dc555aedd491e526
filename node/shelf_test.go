package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path"
	"strings"
	"sync"
	"syscall"
	"testing"

	"muster/logstore/vfs"
	"muster/raft"
	"muster/repl/backup"
	"muster/repl/errands"
	"muster/repl/wire"
	"muster/shardmap"
)

const shelfDir = "/backups"

// shelfOf is the shelf of a node on a disk.
func shelfOf(disk vfs.FS, node raft.NodeID) *shelf {
	return &shelf{fs: disk, dir: shelfDir, node: "n3", own: func() raft.NodeID { return node }, ctx: context.Background(), ended: new(sync.WaitGroup)}
}

// emptyBackup writes a backup of a cluster without keys.
func emptyBackup(w io.Writer) error {
	x, err := backup.NewWriter(w)
	if err != nil {
		return err
	}
	g := backup.Group{ID: 1, Term: 1, Index: 9}
	g.SetSlots([]shardmap.SlotRange{{From: 0, To: shardmap.Slots - 1}})
	return x.Finish(&backup.Manifest{Cluster: "shop", Groups: []backup.Group{g}})
}

// shelfNames are the files of a shelf.
func shelfNames(t *testing.T, disk vfs.FS) []string {
	t.Helper()
	names, err := disk.List(shelfDir)
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// unreadWrong returns what is wrong with a shelf that keeps what nobody could read back, or "".
func unreadWrong() string {
	disk := vfs.NewMem()
	s := shelfOf(disk, 3)
	name := errands.FileName("shop", 1796040000, 7)
	if _, _, err := s.write(context.Background(), name, func(w io.Writer) error {
		_, err := w.Write([]byte("no backup at all, but long enough for a header"))
		return err
	}); err == nil {
		return "a file that is no backup is kept"
	}
	if names, err := disk.List(shelfDir); err != nil || len(names) != 0 {
		return "what could not be read back is left: " + strings.Join(names, " ")
	}
	return ""
}

// A backup has its name only once it was read back, and a disk that is full, or a writer that is stopped, leaves nothing: what
// is not whole must not be taken for a backup by whoever needs one.
func TestShelfKeepsWholeBackups(t *testing.T) {
	if wrong := unreadWrong(); wrong != "" {
		t.Error(wrong)
	}
	disk := vfs.NewMem()
	s := shelfOf(disk, 3)
	name := errands.FileName("shop", 1796040000, 7)
	size, m, err := s.write(t.Context(), name, emptyBackup)
	if err != nil || m.Cluster != "shop" || size == 0 {
		t.Fatalf("%d bytes of %+v, %v", size, m, err)
	}
	if names := shelfNames(t, disk); len(names) != 1 || names[0] != name {
		t.Fatalf("there are %q, want %s", names, name)
	}
	if _, _, err := s.write(t.Context(), name, emptyBackup); err == nil || !strings.Contains(err.Error(), "there is a file of that name, which stays") {
		t.Errorf("a second one of that name: %v", err)
	}
	if _, _, err := s.write(t.Context(), "../x", emptyBackup); err == nil || !strings.Contains(err.Error(), "that is no name of a backup") {
		t.Errorf("another name: %v", err)
	}
	stopped, cancel := context.WithCancel(t.Context())
	if _, _, err := s.write(stopped, errands.FileName("shop", 1796040001, 7), func(w io.Writer) error {
		if err := emptyBackup(w); err != nil {
			return err
		}
		cancel() // when all is written, and not read back yet
		return nil
	}); !errors.Is(err, context.Canceled) {
		t.Errorf("one that is stopped: %v", err)
	}
	disk.Limit(disk.Used() + 1)
	_, _, err = s.write(t.Context(), errands.FileName("shop", 1796040002, 7), emptyBackup)
	if !errors.Is(err, vfs.ErrFull) || !lasting(err) || !strings.Contains(err.Error(), shelfDir) {
		t.Errorf("on a full disk: %v", err)
	}
	disk.Limit(0)
	if names := shelfNames(t, disk); len(names) != 1 || names[0] != name {
		t.Errorf("left are %q, want %s alone", names, name)
	}
}

// An error that a person has to see to ends a job at once: tried again for a minute it would only be told later. A cluster
// that does not answer comes back by itself.
func TestErrorsThatLast(t *testing.T) {
	for what, c := range map[string]struct {
		err   error
		lasts bool
	}{
		"a directory that needs a person": {fmt.Errorf("backup: %w", shelfOf(vfs.NewMem(), 3).unusable(syscall.EROFS)), true},
		"a cluster that does not answer":  {wire.Unavailable("group 3", "it has no leader"), false},
		"nobody may":                      {wire.Unauthorized("backup", "it needs admin", "ask an administrator"), true},
	} {
		if c.err == nil || lasting(c.err) != c.lasts {
			t.Errorf("%s: %v lasts: %t, want %t", what, c.err, lasting(c.err), c.lasts)
		}
	}
}

// A shelf tells of its own cluster's backups and of the rests that its node has left, and removes no other file: the directory
// may be that of several clusters and nodes, and of people.
func TestShelfListsAndRemoves(t *testing.T) {
	disk := vfs.NewMem()
	s, other := shelfOf(disk, 3), shelfOf(disk, 4)
	ours, theirs := errands.FileName("shop", 1796040000, 7), errands.FileName("bank", 1796040000, 7)
	for _, name := range []string{ours, theirs} {
		if _, _, err := s.write(t.Context(), name, emptyBackup); err != nil {
			t.Fatal(err)
		}
	}
	rest, otherRest := errands.PartName(errands.FileName("shop", 1796040009, 7), 3), errands.PartName(errands.FileName("shop", 1796040009, 7), 4)
	for _, name := range []string{rest, otherRest, "notes.txt"} {
		f, err := disk.Create(path.Join(shelfDir, name))
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	list := func(s *shelf, verify bool) string {
		t.Helper()
		rows, err := s.list(t.Context(), "shop", &wire.Backups{Verify: verify})
		if err != nil {
			t.Fatal(err)
		}
		var told []string
		for _, r := range rows {
			told = append(told, r.Name+" "+map[wire.BackupState]string{wire.BackupWhole: "whole", wire.BackupDamaged: "damaged", wire.BackupTorn: "torn", wire.BackupUnread: "unread"}[r.State])
		}
		return strings.Join(told, ", ")
	}
	if got, want := list(s, false), ours+" whole, "+rest+" torn"; got != want {
		t.Errorf("listed %s, want %s", got, want)
	}
	if got, want := list(other, false), ours+" whole, "+otherRest+" torn"; got != want {
		t.Errorf("the other node lists %s, want %s", got, want)
	}
	f, err := disk.Open(path.Join(shelfDir, ours))
	if err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	if _, err := f.ReadAt(b[:], 40); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b[:], 40); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if got, want := list(s, true), ours+" damaged, "+rest+" torn"; got != want {
		t.Errorf("after a flip it lists %s, want %s", got, want)
	}
	if err := s.remove("shop", []string{ours, theirs, rest, otherRest, "notes.txt", "../x", "absent"}); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(shelfNames(t, disk), " "), strings.Join([]string{theirs, otherRest, "notes.txt"}, " "); got != want {
		t.Errorf("left are %s, want %s", got, want)
	}
	other.tidy(slog.New(slog.DiscardHandler))
	if names := shelfNames(t, disk); len(names) != 2 {
		t.Errorf("after a start there are %q", names)
	}
	// The newest comes first, even among those of one second.
	disk = vfs.NewMem()
	s = shelfOf(disk, 3)
	want := []string{errands.FileName("shop", 1796040001, 3), errands.FileName("shop", 1796040000, 10), errands.FileName("shop", 1796040000, 9)}
	for _, name := range want {
		if _, _, err := s.write(t.Context(), name, emptyBackup); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := list(s, false), strings.Join(want, " whole, ")+" whole"; got != want {
		t.Errorf("listed %s, want %s", got, want)
	}
	if rows, err := shelfOf(vfs.NewMem(), 3).list(t.Context(), "shop", &wire.Backups{Verify: true}); err != nil || len(rows) != 0 {
		t.Errorf("of no directory: %+v, %v", rows, err)
	}
}

// readOnlyDisk is a disk that has been mounted to be read alone, as the system answers then.
type readOnlyDisk struct{ vfs.FS }

// Open implements [vfs.FS].
func (readOnlyDisk) Open(name string) (vfs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EROFS}
}

// Remove implements [vfs.FS].
func (readOnlyDisk) Remove(name string) error {
	return &fs.PathError{Op: "remove", Path: name, Err: syscall.EROFS}
}

// Backups are wanted when something has gone wrong: a disk that the system has made read-only meanwhile, as it does after
// errors, still shows which there are and whether they are whole.
func TestShelfReadsReadOnlyDisks(t *testing.T) {
	disk := vfs.NewMem()
	name := errands.FileName("shop", 1796040000, 7)
	if _, _, err := shelfOf(disk, 3).write(t.Context(), name, emptyBackup); err != nil {
		t.Fatal(err)
	}
	s := shelfOf(readOnlyDisk{disk}, 3)
	for _, q := range []wire.Backups{{}, {Verify: true}} {
		if rows, err := s.list(t.Context(), "shop", &q); err != nil || len(rows) != 1 || rows[0].Name != name || rows[0].State != wire.BackupWhole {
			t.Errorf("%+v: %+v, %v", q, rows, err)
		}
	}
	if err := s.remove("shop", []string{name}); !errors.Is(err, syscall.EROFS) {
		t.Errorf("remove: %v", err)
	}
}

// heldDisk is a disk whose files can't be read before let is closed.
type heldDisk struct {
	vfs.FS
	begun chan struct{} // has one for each file of which reading begins
	let   chan struct{}
}

// OpenRead implements [vfs.FS].
func (d *heldDisk) OpenRead(name string) (vfs.Reader, error) {
	f, err := d.FS.OpenRead(name)
	return &heldFile{Reader: f, disk: d}, err
}

type heldFile struct {
	vfs.Reader
	disk *heldDisk
	told bool
}

// ReadAt implements [io.ReaderAt].
func (f *heldFile) ReadAt(b []byte, at int64) (int, error) {
	if !f.told {
		f.told = true
		f.disk.begun <- struct{}{}
	}
	<-f.disk.let
	return f.Reader.ReadAt(b, at)
}

// A file that takes longer to read than an answer may take is read once, and a later answer tells what was found: else no node would
// ever know of a large backup whether it is whole. A node that was asked to read its files again tells of none from before.
func TestShelfReadsOn(t *testing.T) {
	disk := &heldDisk{FS: vfs.NewMem(), begun: make(chan struct{}, 9), let: make(chan struct{})}
	name, other := errands.FileName("shop", 1796040000, 6), errands.FileName("shop", 1796040001, 7)
	for _, name := range []string{name, other} {
		if _, _, err := shelfOf(disk.FS, 3).write(t.Context(), name, emptyBackup); err != nil {
			t.Fatal(err)
		}
	}
	s := shelfOf(disk, 3)
	states := func(ctx context.Context, verify bool, only ...string) (told []wire.BackupState) {
		t.Helper()
		rows, err := s.list(ctx, "shop", &wire.Backups{Verify: verify, Only: only})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rows {
			told = append(told, r.State)
		}
		return told
	}
	for range 3 {
		short, end := context.WithCancel(t.Context())
		answered := make(chan []wire.BackupState)
		go func() { answered <- states(short, false, name) }()
		if len(disk.begun) == 0 {
			disk.begun <- <-disk.begun // once it reads
		}
		end()
		if got := <-answered; len(got) != 1 || got[0] != wire.BackupUnread {
			t.Fatalf("before it was read it is told as %v", got)
		}
	}
	close(disk.let)
	s.ended.Wait()
	if got := states(t.Context(), false, name); got[0] != wire.BackupWhole || len(disk.begun) != 1 {
		t.Errorf("it is told as %v, and was begun to be read %d times, want once", got, len(disk.begun))
	}
	f, err := disk.FS.Open(path.Join(shelfDir, name))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{0}, 32); err != nil {
		t.Fatal(err)
	}
	f.Close()
	over, end := context.WithCancel(t.Context())
	end()
	if got := states(over, true, name); got[0] != wire.BackupUnread {
		t.Errorf("asked to read it again, without the time for it, it is told as %v", got)
	}
	if got := states(t.Context(), false); len(got) != 2 || got[0] != wire.BackupWhole || got[1] != wire.BackupDamaged {
		t.Errorf("after a flip they are told as %v", got)
	}
}
