package vfs

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"unsafe"
)

// Writes past the system's memory and through it go to the same file: a reader sees the
// newest bytes, whichever way they came, wherever they are in the file or in memory.
func TestWriteSync(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	f, err := OS{}.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const size = 64 << 10
	want := make([]byte, size)
	if _, err := f.WriteAt(want, 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	w := f.(SyncWriter)
	room := make([]byte, size+2*pageBytes)
	room = room[-uintptr(unsafe.Pointer(&room[0]))%pageBytes:]
	got := make([]byte, size)
	for i, c := range []struct {
		off, n, from int // from: where p begins in a page
	}{
		{0, 512, 0},
		{512, 512, 0},        // the same page, by another write
		{4096, 8192, 0},      // pages
		{1024, 32768, 0},     // across pages, from the middle of one
		{2048, 512, 512},     // elsewhere in memory
		{100, 512, 0},        // not at a sector
		{3000, 700, 3},       // nothing fits
		{0, 0, 0},            // nothing
		{size - 512, 512, 0}, // the end
	} {
		p := room[c.from : c.from+c.n]
		for j := range p {
			p[j] = byte(i + 1)
		}
		copy(want[c.off:], p)
		if err := w.WriteSync(p, int64(c.off)); err != nil {
			t.Fatalf("%d bytes at %d: %v", c.n, c.off, err)
		}
		if _, err := f.ReadAt(got, 0); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("after %d bytes at %d the file is not what was written", c.n, c.off)
		}
		if i%2 == 0 { // through the system's memory, beside it
			if _, err := f.WriteAt([]byte{byte(100 + i)}, int64(c.off)); err != nil && c.n > 0 {
				t.Fatal(err)
			}
			want[c.off] = byte(100 + i)
		}
	}
	if b, err := os.ReadFile(name); err != nil || !bytes.Equal(b, want) {
		t.Errorf("the file is not what was written (%v)", err)
	}
}

// A disk may refuse to be written past the system's memory. That is no error, as
// nothing was written: the other way is taken, then and from then on.
func TestWriteSyncRefused(t *testing.T) {
	f, err := OS{}.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	own := f.(*osFile)
	own.direct.refuse()
	p := []byte("kept")
	if err := own.WriteSync(p, 0); err != nil {
		t.Fatal(err)
	}
	if got := own.Unit(); got != pageBytes {
		t.Errorf("unit %d, want %d", got, pageBytes)
	}
	got := make([]byte, len(p))
	if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, p) {
		t.Errorf("got %q, %v", got, err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if err := own.WriteSync(p, 0); err == nil {
		t.Error("a closed file was written to")
	}
}
