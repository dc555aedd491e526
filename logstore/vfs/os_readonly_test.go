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
