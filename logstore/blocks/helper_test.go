package blocks

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"muster/logstore/vfs"
	"muster/shardmap/points/block"
	"muster/shardmap/points/column"
)

var g3, g4 = Group{3, 2}, Group{4, 1}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// made is a block file with so many points of two fields, which no other seed has.
func made(t testing.TB, seed, points int) ([]byte, block.Sum) {
	t.Helper()
	var file bytes.Buffer
	info := writeTo(t, &file, seed, points)
	return file.Bytes(), info.Sum
}

func writeTo(t testing.TB, to io.Writer, seed, points int) block.Info {
	t.Helper()
	w, err := block.NewWriter(to)
	must(t, err)
	for i := 0; points > 0; i++ {
		n := min(points, 4096)
		b := block.Block{Series: fmt.Appendf(nil, "cpu,host=%d,part=%09d", seed, i), Field: []byte("busy"), Values: column.Values{Kind: column.Float}}
		x := uint64(seed)<<32 + uint64(i) + 1
		for k := range n {
			x = x*6364136223846793005 + 1442695040888963407 // noise, which nothing makes shorter
			b.Times = append(b.Times, int64(k)*10e9)
			b.Values.Floats = append(b.Values.Floats, float64(x>>11)/3)
		}
		must(t, w.Add(&b))
		points -= n
	}
	info, err := w.Finish()
	must(t, err)
	return info
}

func mustOpen(t testing.TB, disk vfs.FS) *Store {
	t.Helper()
	s, err := Open(Options{FS: disk, Dir: "d"})
	must(t, err)
	return s
}

// put writes a file as its group does.
func put(s *Store, g Group, file []byte, sum block.Sum) (File, error) {
	w, err := s.Create(g)
	if err != nil {
		return File{}, err
	}
	defer w.Abort()
	if _, err := w.Write(file); err != nil {
		return File{}, err
	}
	return w.Commit(sum)
}

// fetch receives a file in chunks.
func fetch(s *Store, g Group, file []byte, sum block.Sum) (File, error) {
	r, err := s.Receive(g, sum, int64(len(file)))
	if err != nil {
		return File{}, err
	}
	defer r.Abort()
	for at := 0; at < len(file); {
		n := min(len(file)-at, 300_000)
		if err := r.Chunk(int64(at), file[at:at+n]); err != nil {
			return File{}, err
		}
		at += n
	}
	return r.Commit()
}

// holds says what is wrong with a file of a Store that should have these bytes, or "".
func holds(s *Store, g Group, sum block.Sum, want []byte) string {
	got := make([]byte, len(want)+1)
	n := 0
	for n < len(got) { // in the pieces in which it is sent
		m, size, err := s.ReadRange(g, sum, got[n:min(n+100_000, len(got))], int64(n))
		if err != nil {
			return err.Error()
		}
		if size != int64(len(want)) {
			return fmt.Sprintf("its size is %d, want %d", size, len(want))
		}
		if m == 0 {
			break
		}
		n += m
	}
	if !bytes.Equal(got[:n], want) {
		return "it has other bytes"
	}
	if err := s.Verify(g, sum); err != nil {
		return err.Error()
	}
	return ""
}

// scrubbed scrubs once over all, a little at a time.
func scrubbed(t testing.TB, s *Store) (steps int) {
	t.Helper()
	for steps = 1; !s.Scrub(1); steps++ {
		if steps > 1_000_000 {
			t.Fatal("it never ends")
		}
	}
	return steps
}
