package vfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// Who looks at the disk of a node that may be damaged must not be able to change
// it, by whatever mistake, and must be able to look at a copy that is write
// protected.
func TestOSReadOnly(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "file")
	if err := os.WriteFile(name, []byte("content"), 0o400); err != nil {
		t.Fatal(err)
	}
	var disk FS = OSReadOnly{}
	f, err := disk.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 7)
	if _, err := f.ReadAt(b, 0); err != nil || string(b) != "content" {
		t.Errorf("got %q, %v", b, err)
	}
	if _, err := f.WriteAt([]byte("x"), 0); err == nil {
		t.Error("the file could be written")
	}
	other := filepath.Join(dir, "other")
	_, create := disk.Create(other)
	_, lock := disk.Lock(other)
	for op, err := range map[string]error{
		"create": create, "lock": lock, "rename": disk.Rename(name, other), "remove": disk.Remove(name),
		"make": disk.MkdirAll(other), "sync": disk.SyncDir(dir),
	} {
		if !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s: got %v", op, err)
		}
	}
	if names, err := disk.List(dir); err != nil || len(names) != 1 || names[0] != "file" {
		t.Errorf("got %q, %v", names, err)
	}
	if free, err := disk.Free(dir); err != nil || free <= 0 {
		t.Errorf("got %d, %v", free, err)
	}
}

// A backup on a disk that has become read-only must still be found whole: the system lets it be opened for reading alone.
func TestOpenReadWritesNothing(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	for what, disk := range map[string]FS{"to be written": OS{}, "to be read": OSReadOnly{}} {
		r, err := disk.OpenRead(name)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		// The file below the interface must be one that the system lets nobody write to.
		if _, err := r.(File).WriteAt([]byte("x"), 0); err == nil {
			t.Errorf("%s: the file could be written", what)
		}
		b := make([]byte, 7)
		if _, err := r.ReadAt(b, 0); err != nil || string(b) != "content" {
			t.Errorf("%s: got %q, %v", what, b, err)
		}
	}
}
