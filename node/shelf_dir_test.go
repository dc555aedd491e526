package node

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"muster/logstore/vfs"
	"muster/repl/errands"
	"muster/repl/wire"
	"muster/shardmap"
)

// failingDisk is a disk that is empty, and on which operations that begin with op fail.
func failingDisk(op string, err error) vfs.FS {
	disk := vfs.NewMem()
	disk.Fail(func(now string) error {
		if strings.HasPrefix(now, op) {
			return err
		}
		return nil
	})
	return disk
}

// unusableDirs are directories in which no backup can be written before a person has seen to it. dir is a directory that
// is left as it is.
func unusableDirs(t *testing.T, dir string) map[string]*shelf {
	t.Helper()
	file, loop := filepath.Join(dir, "file"), filepath.Join(dir, "loop")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("loop", loop); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, "lost")); err != nil {
		t.Fatal(err)
	}
	on := func(disk vfs.FS, at string) *shelf {
		s := shelfOf(disk, 3)
		s.dir, s.node = at, strings.Repeat("n", wire.ClusterNameMax) // no node has a longer name
		return s
	}
	return map[string]*shelf{
		"a file":              on(vfs.OS{}, file),
		"below a file":        on(vfs.OS{}, filepath.Join(file, "backups")),
		"of the system":       on(vfs.OS{}, "/proc/nothing"),
		"below one of those":  on(vfs.OS{}, "/proc/nothing/"+strings.Repeat("long/", 60)+"backups"),
		"a long name":         on(vfs.OS{}, filepath.Join(dir, strings.Repeat("x", 300))),
		"a ring of links":     on(vfs.OS{}, loop),
		"a link to nowhere":   on(vfs.OS{}, filepath.Join(dir, "lost")),
		"no name":             on(vfs.OS{}, filepath.Join(dir, "a\x00b")),
		"made by nobody here": on(failingDisk("mkdir", syscall.EACCES), shelfDir),
		"of somebody else":    on(failingDisk("create", syscall.EACCES), shelfDir),
		"read-only":           on(failingDisk("create", syscall.EROFS), shelfDir),
		"for appending":       on(failingDisk("rename", syscall.EPERM), shelfDir),
	}
}

// syscallText is what the system says of an error.
func syscallText(err error) string {
	errno := syscall.Errno(0)
	errors.As(err, &errno)
	return errno.Error()
}

// A directory that a person has to see to ends a backup at once, in words that fit into the table and end with what to
// do: tried again for a minute, the backup would only fail later, and what is cut off helps nobody.
func TestUnusableDirectoryEndsABackup(t *testing.T) {
	dir := t.TempDir()
	for what, s := range unusableDirs(t, dir) {
		before, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = s.write(t.Context(), errands.FileName("shop", 1796040000, 7), emptyBackup)
		unusable := (*unusableError)(nil)
		if !errors.As(err, &unusable) || !lasting(err) {
			t.Errorf("%s: %v is tried again", what, err)
			continue
		}
		if text := err.Error(); len(text) > shardmap.TableTextMax || !strings.HasSuffix(text, " on "+s.node+": "+syscallText(unusable.err)+"; see to it there, or name another directory with serve --backup-dir") || strings.Contains(text, "\n") {
			t.Errorf("%s: %s", what, text)
		}
		if after, err := os.ReadDir(dir); err != nil || len(after) != len(before) {
			t.Errorf("%s: %v is left, %v", what, after, err)
		}
		if disk, ok := s.fs.(*vfs.Mem); ok {
			if names, err := disk.List(shelfDir); err == nil && len(names) > 0 {
				t.Errorf("%s: %q are left", what, names)
			}
		}
	}
	// These errors may be gone a moment later.
	for _, passes := range []error{syscall.EIO, syscall.EMFILE, syscall.ENOMEM, syscall.ESTALE, syscall.EINTR} {
		s := shelfOf(failingDisk("create", passes), 3)
		if _, _, err := s.write(t.Context(), errands.FileName("shop", 1796040000, 7), emptyBackup); !errors.Is(err, passes) || lasting(err) {
			t.Errorf("%v: %v lasts", passes, err)
		}
	}
	// An error that the cluster answers is the same as one of the disk by chance alone.
	_, _, err := shelfOf(vfs.NewMem(), 3).write(t.Context(), errands.FileName("shop", 1796040000, 7), func(io.Writer) error {
		return &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.EACCES)}
	})
	if err == nil || lasting(err) {
		t.Errorf("a connection that is refused: %v lasts", err)
	}
}

// startsWith runs a node until it is ready or has ended, and returns the error.
func startsWith(t *testing.T, c Config) error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	l := defaultLimits()
	l.stallAfter = time.Minute // however busy the machine is
	return run(ctx, c, slog.New(slog.DiscardHandler), l, func(n *Node, _ string) {
		if names, err := os.ReadDir(n.shelf.dir); err == nil && len(names) > 0 {
			t.Errorf("%s has %v", n.shelf.dir, names)
		}
		cancel()
	})
}

// A person who names a directory of backups that can't be used learns that from the start, and not from a backup that is
// missing when it is needed: the node does not run, and has become no node.
func TestStartRefusesUnusableBackupDir(t *testing.T) {
	for what, s := range unusableDirs(t, t.TempDir()) {
		if _, ok := s.fs.(*vfs.Mem); ok {
			continue // their disk is a shelf's alone
		}
		c := testConfig(t)
		c.BackupDir = s.dir
		err := startsWith(t, c)
		if err == nil || !strings.HasPrefix(err.Error(), "--backup-dir: ") || strings.Contains(err.Error(), "\n") ||
			!strings.HasSuffix(err.Error(), "; name a directory that this node can write to, or leave it out for "+filepath.Join(c.Data, "backups")) {
			t.Errorf("%s: %v", what, err)
		}
		if names, err := filepath.Glob(filepath.Join(c.Data, "identity*")); err != nil || len(names) > 0 {
			t.Errorf("%s: there are %q, %v", what, names, err)
		}
		// Both of what it says help.
		c.BackupDir = filepath.Join(t.TempDir(), "new", "backups")
		if err := startsWith(t, c); err != nil {
			t.Errorf("%s: another directory: %v", what, err)
		}
		if info, err := os.Stat(c.BackupDir); err != nil || !info.IsDir() {
			t.Errorf("%s: the directory is not made: %v", what, err)
		}
		c.BackupDir = ""
		if err := startsWith(t, c); err != nil {
			t.Errorf("%s: without it: %v", what, err)
		}
		if _, err := os.Stat(filepath.Join(c.Data, "backups")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the default directory is made: %v", what, err)
		}
	}
}

// The path of a backup is shown to people on other hosts, to whom one that begins where the node was started tells
// nothing.
func TestBackupDirIsAbsolute(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for given, want := range map[string]string{"": "data/backups", "kept": "kept", "../" + filepath.Base(dir) + "/up": "up", filepath.Join(dir, "whole"): "whole"} {
		c := testConfig(t)
		c.Data, c.BackupDir = "data", given
		ctx, cancel := context.WithCancel(t.Context())
		var got string
		if err := run(ctx, c, slog.New(slog.DiscardHandler), defaultLimits(), func(n *Node, _ string) {
			got = n.shelf.dir
			cancel()
		}); err != nil {
			t.Errorf("--backup-dir %q: %v", given, err)
		}
		if got != filepath.Join(dir, want) {
			t.Errorf("--backup-dir %q: it is %s, want %s", given, got, filepath.Join(dir, want))
		}
	}
}

// backupDisk is a disk that can't make files in one directory.
type backupDisk struct {
	vfs.FS
	dir    string
	create func() error
}

// Create implements [vfs.FS].
func (d *backupDisk) Create(name string) (vfs.File, error) {
	if path.Dir(name) == d.dir {
		if err := d.create(); err != nil {
			return nil, &os.PathError{Op: "create", Path: name, Err: err}
		}
	}
	return d.FS.Create(name)
}

// A fault that keeps backups from being written may pass: a node that is needed starts all the same, and
// tells of it.
func TestStartGoesOnWithoutBackups(t *testing.T) {
	let := make(chan struct{})
	for what, tt := range map[string]struct {
		create func() error
		stalls time.Duration
		want   string
	}{
		"a full disk":        {func() error { return vfs.ErrFull }, time.Minute, `msg="no backup can be written"`},
		"a read-only disk":   {func() error { return syscall.EROFS }, time.Minute, `msg="no backup can be written"`},
		"an error of it":     {func() error { return syscall.EIO }, time.Minute, `msg="no backup can be written"`},
		"a mount that hangs": {func() error { <-let; return nil }, time.Millisecond, `msg="directory of backups does not answer"`},
	} {
		c, l := testConfig(t), defaultLimits()
		c.BackupDir, l.stallAfter = t.TempDir(), tt.stalls
		disk := &backupDisk{FS: vfs.OS{}, dir: c.BackupDir, create: tt.create}
		ctx, cancel := context.WithCancel(t.Context())
		log := &logLines{} // the watch of the disk may write to it after the end
		ready, ended := make(chan struct{}), make(chan error, 1)
		go func() {
			ended <- runOn(ctx, disk, c, slog.New(slog.NewTextHandler(log, nil)), l, func(*Node, string) { close(ready) })
		}()
		select {
		case <-ready:
		case err := <-ended:
			t.Fatalf("%s: it ends with %v", what, err)
		}
		if tt.stalls < time.Minute {
			close(let) // the end waits for it
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("%s: it ends with %v", what, err)
		}
		if got := log.String(); !strings.Contains(got, tt.want) || !strings.Contains(got, "dir="+c.BackupDir) {
			t.Errorf("%s: the log is\n%s", what, got)
		}
	}
}

// A directory that has gone bad while the node runs fails the job with what to do, after one try.
func TestJobTellsOfUnusableDirectory(t *testing.T) {
	t.Parallel()
	nodes := founders(t, 1, defaultLimits())
	r := nodes[0]
	if err := os.WriteFile(r.node.shelf.dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	a := ordered(t, nodes, "a backup is ordered", newJob(t, shardmap.NewJob{Kind: shardmap.JobBackup}))
	j := jobEnds(t, nodes, a.Job)
	dir := r.node.shelf.dir
	if len(dir) > dirShownMax {
		dir = "…" + dir[len(dir)-dirShownMax:]
	}
	want := "backups in " + dir + " on " + r.node.name + ": not a directory; see to it there, or name another directory with serve --backup-dir"
	if j.State != shardmap.JobFailed || j.Why != want {
		t.Errorf("it is %s: %s, want %s", j.State, j.Why, want)
	}
	if n := r.node.errands.failed.Load(); n != 1 {
		t.Errorf("it was tried %d times", n)
	}
	// The remedy helps.
	if err := os.Remove(r.node.shelf.dir); err != nil {
		t.Fatal(err)
	}
	a = ordered(t, nodes, "another one is ordered", newJob(t, shardmap.NewJob{Kind: shardmap.JobBackup}))
	if j := jobEnds(t, nodes, a.Job); j.State != shardmap.JobDone {
		t.Errorf("it is %+v", j)
	}
}
