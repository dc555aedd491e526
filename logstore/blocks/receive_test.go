package blocks

import (
	"errors"
	"testing"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/shardmap/points/block"
)

// Chunks are lost, repeated, late, too large, and reach behind the end. The result is the sender's file or nothing.
func TestReceive(t *testing.T) {
	s := mustOpen(t, vfs.NewMem())
	b, sum := made(t, 1, 170_000)
	r, err := s.Receive(g3, sum, int64(len(b)))
	must(t, err)
	refused := func(what string, offset int64, chunk []byte) {
		t.Helper()
		due := r.Offset()
		if err := r.Chunk(offset, chunk); !errors.Is(err, logstore.ErrChunk) {
			t.Errorf("%s: %v", what, err)
		}
		if r.Offset() != due {
			t.Errorf("%s: due is %d, was %d", what, r.Offset(), due)
		}
	}
	refused("a gap at the beginning", 1, b[1:100])
	must(t, r.Chunk(0, nil))
	must(t, r.Chunk(0, b[:100]))
	must(t, r.Chunk(50, b[50:80])) // again
	must(t, r.Chunk(50, nil))
	refused("a gap", 101, b[101:200])
	refused("before all", -1, b[:200])
	refused("too large", 100, make([]byte, logstore.ChunkBytesMax+1))
	for at := int64(100); at < int64(len(b)); {
		if r.Whole() {
			t.Fatalf("whole after %d bytes", at)
		}
		to := min(at+70_000, int64(len(b)))
		must(t, r.Chunk(at-50, b[at-50:to]))
		if at = to; r.Offset() != at {
			t.Fatalf("due is %d, want %d", r.Offset(), at)
		}
	}
	refused("behind the end", int64(len(b)), []byte{0})
	if !r.Whole() || len(s.Missing(g3, []block.Sum{sum})) != 1 {
		t.Error("all has come, and it is not whole, or it has its name already")
	}
	f, err := r.Commit()
	must(t, err)
	r.Abort()
	if f != (File{g3, sum, int64(len(b))}) {
		t.Errorf("received %+v", f)
	}
	if wrong := holds(s, g3, sum, b); wrong != "" {
		t.Error(wrong)
	}
	if err := r.Chunk(0, b[:10]); err != nil {
		t.Errorf("a late chunk of what is known: %v", err)
	}
	if _, err := r.Commit(); !errors.Is(err, errOver) {
		t.Errorf("committed twice: %v", err)
	}

	half, err := s.Receive(g4, sum, int64(len(b)))
	must(t, err)
	must(t, half.Chunk(0, b[:1000]))
	if _, err := half.Commit(); !errors.Is(err, ErrContent) {
		t.Errorf("half of it is committed: %v", err)
	}
	must(t, half.Chunk(1000, b[1000:2000])) // that was no end
	half.Abort()
	// Another replica may have the file in other bytes, so it is begun anew.
	_, err = fetch(s, g4, b, sum)
	must(t, err)
	if n := s.Stats(); n.Unfinished != 0 || n.Files != 2 {
		t.Errorf("figures %+v", n)
	}
}

// received says of a file that another node sends what got its name, or "".
func received(t testing.TB, sent []byte, sum block.Sum) string {
	disk := vfs.NewMem()
	s := mustOpen(t, disk)
	_, err := fetch(s, g3, sent, sum)
	if !errors.Is(err, ErrContent) {
		return "it is taken, or refused as something else"
	}
	if len(s.List(g3)) > 0 || disk.Bytes(s.tree.file(&File{Group: g3, Sum: sum})) != nil || len(s.Damaged()) > 0 {
		return "it has its name"
	}
	if names, err := disk.List("d/points/g3-i2"); err != nil || len(names) > 0 {
		return "something is left"
	}
	return ""
}

// sentWrong sends a file in every wrong way, and says what was taken, or "".
func sentWrong(t testing.TB) string {
	b, sum := made(t, 1, 5)
	for i := range b {
		b[i] ^= 1 << (i % 8)
		if wrong := received(t, b, sum); wrong != "" {
			return wrong
		}
		b[i] ^= 1 << (i % 8)
		if i > 0 {
			if wrong := received(t, b[:i], sum); wrong != "" {
				return wrong
			}
		}
	}
	other, _ := made(t, 2, 5)
	return received(t, other, sum)
}

// A node sends a file that is damaged at any byte, or another one, or less of it: it gets no name here.
func TestReceiveTakesNothingWrong(t *testing.T) {
	if wrong := sentWrong(t); wrong != "" {
		t.Error(wrong)
	}
}

// A range that is served is within the file.
func TestReadRange(t *testing.T) {
	s := mustOpen(t, vfs.NewMem())
	b, sum := made(t, 1, 5)
	_, err := put(s, g3, b, sum)
	must(t, err)
	p := make([]byte, 64)
	for offset, want := range map[int64]int{0: 64, int64(len(b)) - 10: 10, int64(len(b)): 0} {
		n, size, err := s.ReadRange(g3, sum, p, offset)
		if err != nil || n != want || size != int64(len(b)) || string(p[:n]) != string(b[offset:offset+int64(n)]) {
			t.Errorf("from %d: %d bytes of %d, %v", offset, n, size, err)
		}
	}
	for _, offset := range []int64{-1, int64(len(b)) + 1} {
		if _, _, err := s.ReadRange(g3, sum, p, offset); err == nil {
			t.Errorf("from %d: no error", offset)
		}
	}
	if _, _, err := s.ReadRange(g4, sum, p, 0); !errors.Is(err, ErrUnknown) {
		t.Errorf("of another group: %v", err)
	}
}
