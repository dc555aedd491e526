package logstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"testing"

	"muster/logstore/vfs"
	"muster/raft"
	"muster/repl/memtest"
)

// testSnapshot returns a Store with a snapshot of a state of that size, of which
// each byte counts, and the file.
func testSnapshot(t testing.TB, size int) (*vfs.Mem, *Store, Snapshot, []byte, []byte) {
	r := testReplica(1)
	fs := vfs.NewMem()
	s := snapshotStore(t, fs, r)
	state := stream(size)
	sn := makeSnapshot(t, s, r, baseAt(r, 1, 7), state)
	return fs, s, sn, state, raw(t, fs, sn.File)
}

// threeBlocks is the size of a state with three blocks, the last one short.
const threeBlocks = 2*blockBytes + 1500

// What a disk does to a file: each must be noticed, whatever byte it hits, and
// the error must name the file and a place before it or at it. Never may other
// bytes come out than went in, and never may those from the damage on be handed
// out.
func TestSnapshotDamage(t *testing.T) {
	t.Run("small", func(t *testing.T) { damageSnapshot(t, 3000, 1) })
	step := int64(10007) // no divisor of anything here
	if *every {
		step = 17
	}
	t.Run("large", func(t *testing.T) { damageSnapshot(t, threeBlocks, step) })
}

// damageSnapshot damages one at each step, and at all places of what stands
// around the data.
func damageSnapshot(t *testing.T, size int, step int64) {
	fs, s, sn, state, good := testSnapshot(t, size)
	const head = snapshotHeaderSize + 16 + 17
	kinds := map[string]func(b []byte, at int64) []byte{
		"flip": func(b []byte, at int64) []byte { b[at] ^= 1 << (at % 8); return b },
		"zero sector": func(b []byte, at int64) []byte {
			from := at / sectorSize * sectorSize
			clear(b[from:min(from+sectorSize, int64(len(b)))])
			return b
		},
		"sector of another place": func(b []byte, at int64) []byte {
			from := at / sectorSize * sectorSize
			copy(b[from:min(from+sectorSize, int64(len(b)))], good[(from+3*sectorSize)%int64(len(good)-sectorSize):])
			return b
		},
		"cut": func(b []byte, at int64) []byte { return b[:at] },
	}
	count := 0
	for name, do := range kinds {
		for at := int64(0); at < int64(len(good)); at++ {
			block := (at - head) % (blockHeaderSize + blockBytes)
			if at >= head+20 && at < int64(len(good))-40 && block > 20 && at%step != 0 {
				continue
			}
			if (name == "zero sector" || name == "sector of another place") && step == 1 && at%sectorSize != 0 {
				continue
			}
			bad := do(bytes.Clone(good), at)
			if bytes.Equal(bad, good) {
				continue
			}
			count++
			put(t, fs, sn.File, bad)
			checkDamage(t, fmt.Sprintf("%s at %d", name, at), fs, s, sn, state, bad, at)
		}
	}
	put(t, fs, sn.File, append(bytes.Clone(good), 0))
	checkDamage(t, "a byte more", fs, s, sn, state, append(bytes.Clone(good), 0), int64(len(good)))
	must(t, fs.Remove(sn.File))
	checkDamage(t, "missing", fs, s, sn, state, nil, 0)
	t.Logf("%d damages of a snapshot of %d bytes were found", count+2, len(good))
	put(t, fs, sn.File, good)
	if got, err := readState(s, sn); err != nil || !bytes.Equal(got, state) {
		t.Errorf("whole again: %v", err)
	}
}

// checkDamage reads a damaged file in every way that there is. The first byte
// that is not as it was stands at the offset at.
func checkDamage(t *testing.T, what string, fs vfs.FS, s *Store, sn Snapshot, state, bad []byte, at int64) {
	t.Helper()
	found := func(how string, err error) {
		t.Helper()
		var d *Damage
		if !errors.As(err, &d) {
			t.Fatalf("%s: %s: %v", what, how, err)
		}
		if d.File != sn.File && how != "receive" || d.Record == "" || d.Offset > sn.Size {
			t.Fatalf("%s: %s: it names %q at %d of %q", what, how, d.Record, d.Offset, d.File)
		}
		if how == "receive" && d.Offset > at {
			t.Fatalf("%s: %s: damage at %d is found at %d", what, how, at, d.Offset)
		}
	}
	found("verify", VerifySnapshot(fs, sn.File))
	r, err := s.OpenSnapshot(sn)
	if err == nil {
		var out bytes.Buffer
		_, err = io.CopyBuffer(struct{ io.Writer }{&out}, r, make([]byte, 100_000))
		if got := out.Bytes(); len(got) > len(state) || !bytes.Equal(got, state[:len(got)]) {
			t.Fatalf("%s: wrong bytes were handed out", what)
		}
		must(t, r.Close())
	}
	found("read", err)
	if bad == nil {
		return
	}
	in, err := s.ReceiveSnapshot(sn.Replica)
	must(t, err)
	for from := 0; from < len(bad) && err == nil; from += 100_000 {
		err = in.Chunk(int64(from), bad[from:min(from+100_000, len(bad))])
	}
	if err == nil {
		_, err = in.Commit()
	}
	found("receive", err)
	must(t, in.Abort())
}

// Files that are whole, and yet not what they should be: of another group, an
// earlier incarnation, another base, another format, or put together from good
// parts. Their checksums are those of a careful forger.
func TestSnapshotOfAnother(t *testing.T) {
	fs, s, sn, state, good := testSnapshot(t, threeBlocks)
	head := snapshotHeaderSize + 16 + 17
	reseal := func(b []byte, head int) []byte {
		binary.LittleEndian.PutUint32(b[12:], snapshotHeaderSum(b[:head]))
		return b
	}
	header := func(change func(b []byte)) []byte {
		b := bytes.Clone(good)
		change(b)
		return reseal(b, head)
	}
	block := func(n int) []byte {
		from := head + n*(blockHeaderSize+blockBytes)
		return good[from : from+blockHeaderSize+blockBytes]
	}
	rest := good[head+2*(blockHeaderSize+blockBytes):]
	for _, c := range []struct {
		what string
		b    []byte
		want error
	}{
		{"another group", header(func(b []byte) { b[20]++ }), ErrDamaged},
		{"another incarnation", header(func(b []byte) { b[24]++ }), ErrDamaged},
		{"another term", header(func(b []byte) { b[32]++ }), ErrDamaged},
		{"another index", header(func(b []byte) { b[40]++ }), ErrDamaged},
		{"a newer format", header(func(b []byte) { b[8]++ }), ErrNewerFormat},
		{"an older format", header(func(b []byte) { b[8] = byte(snapshotFormats.oldest - 1) }), ErrOlderFormat},
		{"a byte that is not known", header(func(b []byte) { b[22]++ }), ErrDamaged},
		{"a membership that can't be", header(func(b []byte) { b[snapshotHeaderSize+2]++ }), ErrDamaged},
		{"blocks in another order", bytes.Join([][]byte{good[:head], block(1), block(0), rest}, nil), ErrDamaged},
		{"a block twice", bytes.Join([][]byte{good[:head], block(0), block(0), rest}, nil), ErrDamaged},
		{"a block less", bytes.Join([][]byte{good[:head], block(0), rest}, nil), ErrDamaged},
		{"a block more", bytes.Join([][]byte{good[:head], block(0), block(1), block(1), rest}, nil), ErrDamaged},
		{"no blocks", bytes.Join([][]byte{good[:head], good[len(good)-snapshotTrailerSize:]}, nil), ErrDamaged},
		{"a header alone", good[:head], ErrDamaged},
		{"nothing", nil, ErrDamaged},
	} {
		put(t, fs, sn.File, c.b)
		if err := VerifySnapshot(fs, sn.File); !errors.Is(err, c.want) {
			t.Errorf("%s: verify: %v", c.what, err)
		}
		if _, err := readState(s, sn); !errors.Is(err, c.want) {
			t.Errorf("%s: read: %v", c.what, err)
		}
		in, err := s.ReceiveSnapshot(sn.Replica)
		must(t, err)
		if err = in.Chunk(0, c.b); err == nil {
			_, err = in.Commit()
		}
		if !errors.Is(err, c.want) {
			t.Errorf("%s: receive: %v", c.what, err)
		}
		must(t, in.Abort())
		must(t, s.Close())
		s, err = Open(Options{FS: fs, Dir: "d", SegmentBytes: SegmentBytesMin})
		if !errors.Is(c.want, ErrDamaged) {
			// Another muster was here: this one keeps its hands off.
			if !errors.Is(err, c.want) {
				t.Errorf("%s: open: %v", c.what, err)
			}
			put(t, fs, sn.File, good)
			s = mustOpen(t, fs, Options{})
			continue
		}
		must(t, err)
		if len(s.Snapshots(sn.Replica)) > 0 {
			if _, err := readState(s, s.Snapshots(sn.Replica)[0]); !errors.Is(err, ErrDamaged) {
				t.Errorf("%s: opened anew: %v", c.what, err)
			}
		}
	}
	put(t, fs, sn.File, good)
	if got, err := readState(s, sn); err != nil || !bytes.Equal(got, state) {
		t.Errorf("whole again: %v", err)
	}
}

// Chunks are lost, repeated, late, too large; the sender goes and another continues
// where it was. The result is the sender's file or nothing.
func TestReceiveSnapshot(t *testing.T) {
	_, from, sn, state, good := testSnapshot(t, threeBlocks)
	r := Replica{Group: sn.Replica.Group, Incarnation: 1, ID: 99}
	fs := vfs.NewMem()
	s := mustOpen(t, fs, Options{})
	must(t, s.Append([]Write{{Replica: r, Base: &Base{}}}))
	in, err := s.ReceiveSnapshot(r)
	must(t, err)
	refused := func(what string, offset int64, b []byte) {
		t.Helper()
		due := in.Offset()
		if err := in.Chunk(offset, b); !errors.Is(err, ErrChunk) {
			t.Errorf("%s: %v", what, err)
		}
		if in.Offset() != due {
			t.Errorf("%s: due is %d, was %d", what, in.Offset(), due)
		}
	}
	if _, ok := in.Base(); ok {
		t.Error("the base is known before anything has come")
	}
	refused("a gap at the beginning", 1, good[1:100])
	must(t, in.Chunk(0, good[:60]))
	must(t, in.Chunk(0, nil))
	must(t, in.Chunk(0, good[:100]))
	if b, ok := in.Base(); !ok || b.ID != sn.Base.ID {
		t.Errorf("base %v %v", b, ok)
	}
	refused("a gap", 101, good[101:200])
	refused("before all", -1, good[:200])
	refused("too large", 100, make([]byte, ChunkBytesMax+1))
	must(t, in.Chunk(50, good[50:80])) // again
	for at := int64(100); at < int64(len(good)); {
		if _, err := in.Commit(); !errors.Is(err, ErrDamaged) {
			t.Fatalf("half of it was committed: %v", err)
		}
		in = resume(t, s, r, in, good)
		to := min(at+70_000, int64(len(good)))
		must(t, in.Chunk(at, good[at:to]))
		must(t, in.Chunk(at-50, good[at-50:to])) // again
		at = to
		if in.Offset() != at {
			t.Fatalf("due is %d, want %d", in.Offset(), at)
		}
	}
	if !in.Whole() {
		t.Error("all has come, and it does not know")
	}
	got, err := in.Commit()
	must(t, err)
	if got.Base.ID != sn.Base.ID || got.Replica != r || !bytes.Equal(raw(t, fs, got.File), good) {
		t.Errorf("received %+v, which is another file", got)
	}
	if b, err := readState(s, got); err != nil || !bytes.Equal(b, state) {
		t.Errorf("read: %v", err)
	}
	must(t, in.Abort())
	if err := in.Chunk(0, good[:10]); err == nil {
		t.Error("a chunk after Commit was taken")
	}
	// Its base is durable now; an older one is of no use.
	base := got.Base
	must(t, s.Append([]Write{{Replica: r, Base: &base}}))
	older := makeSnapshot(t, from, sn.Replica, baseAt(sn.Replica, 1, 6), state)
	late, err := s.ReceiveSnapshot(r)
	must(t, err)
	rd, err := from.OpenSnapshot(older)
	must(t, err)
	send(t, rd, late)
	if _, err := late.Commit(); !errors.Is(err, ErrCompacted) {
		t.Errorf("an older snapshot: %v", err)
	}
	must(t, late.Abort())
	if got := s.Snapshots(r); len(got) != 1 {
		t.Errorf("there is %v", got)
	}
}

// resume gives up a receiver whose Commit was refused, and brings another as far.
func resume(t *testing.T, s *Store, r Replica, in *SnapshotReceiver, good []byte) *SnapshotReceiver {
	t.Helper()
	due := in.Offset()
	must(t, in.Abort())
	in, err := s.ReceiveSnapshot(r)
	must(t, err)
	must(t, in.Chunk(0, good[:due]))
	return in
}

// send reads a file as a sender does.
func send(t *testing.T, from *SnapshotReader, to *SnapshotReceiver) {
	t.Helper()
	chunk := make([]byte, 256<<10)
	for off := int64(0); off < from.Size(); {
		n, err := from.RawAt(chunk, off)
		if err != nil && err != io.EOF {
			t.Fatal(err)
		}
		must(t, to.Chunk(off, chunk[:n]))
		off += int64(n)
	}
}

// A sender must not spread what its disk did: bytes that are sent are verified
// too. Whatever the chunks, they make the file.
func TestRawAtVerifies(t *testing.T) {
	fs, s, sn, _, good := testSnapshot(t, threeBlocks)
	for _, size := range []int{1 << 20, 256 << 10, 70_000, 33} {
		r, err := s.OpenSnapshot(sn)
		must(t, err)
		var got []byte
		b := make([]byte, size)
		for len(got) < len(good) {
			n, err := r.RawAt(b, int64(len(got)))
			if err != nil && (err != io.EOF || len(got)+n < len(good)) {
				t.Fatalf("chunks of %d, at %d: %v", size, len(got), err)
			}
			got = append(got, b[:n]...)
		}
		if !bytes.Equal(got, good) || r.Size() != int64(len(good)) {
			t.Errorf("chunks of %d: another file", size)
		}
		must(t, r.Close())
	}
	r, err := s.OpenSnapshot(sn)
	must(t, err)
	bad := bytes.Clone(good)
	bad[blockBytes+1000] ^= 1
	put(t, fs, sn.File, bad)
	must(t, r.Close())
	r, err = s.OpenSnapshot(sn)
	must(t, err)
	if _, err := r.RawAt(make([]byte, 1000), 1000); err != nil {
		t.Errorf("a block that is whole: %v", err)
	}
	if _, err := r.RawAt(make([]byte, 1000), blockBytes); !errors.Is(err, ErrDamaged) {
		t.Errorf("a block that is damaged: %v", err)
	}
	must(t, r.Close())
	if got := s.Snapshots(sn.Replica); len(got) != 0 {
		t.Errorf("usable: %v", got)
	}
}

// The scrub reads little at a time, and yet everything; damage it meets is
// returned once and remembered, and the snapshots behind it get their turn. Its
// place may be removed under it.
func TestScrubSnapshots(t *testing.T) {
	a, b := testReplica(1), testReplica(2)
	fs := vfs.NewMem()
	s := snapshotStore(t, fs, a, b)
	walk := func() (calls int, found []string) {
		for {
			calls++
			done, err := s.ScrubSnapshots(1)
			var d *Damage
			switch {
			case errors.As(err, &d):
				found = append(found, d.File+" "+d.Record)
			case err != nil:
				t.Fatal(err)
			case done:
				return calls, found
			}
			if calls > 1000 {
				t.Fatal("it never ends")
			}
		}
	}
	if calls, found := walk(); calls != 1 || found != nil {
		t.Errorf("nothing there: %d calls, %v", calls, found)
	}
	first := makeSnapshot(t, s, a, baseAt(a, 1, 3), stream(3*blockBytes))
	makeSnapshot(t, s, a, baseAt(a, 1, 5), stream(10))
	last := makeSnapshot(t, s, b, baseAt(b, 1, 5), stream(2*blockBytes))
	if calls, found := walk(); found != nil || calls < 4 {
		t.Errorf("whole: %d calls, %v", calls, found)
	}
	for _, sn := range []Snapshot{first, last} {
		bad := raw(t, fs, sn.File)
		bad[len(bad)-snapshotTrailerSize-1] ^= 1
		put(t, fs, sn.File, bad)
	}
	if _, found := walk(); fmt.Sprint(found) != fmt.Sprint([]string{first.File + " block 2", last.File + " block 1"}) {
		t.Errorf("found %v", found)
	}
	if _, found := walk(); found != nil {
		t.Errorf("found again: %v", found)
	}
	if got := s.Snapshots(a); len(got) != 1 || got[0].Base.ID.Index != 5 {
		t.Errorf("usable: %v", got)
	}
	if _, err := s.ScrubSnapshots(1); err != nil {
		t.Fatal(err)
	}
	must(t, s.RemoveSnapshots(a, raft.LogID{Term: 1, Index: 10}))
	if _, found := walk(); found != nil {
		t.Errorf("found in what was removed: %v", found)
	}
	must(t, s.Close())
}

// Whatever a peer sends, or a disk holds, costs no more memory than it justifies,
// and is a snapshot only if it is one. The receiver and the reader agree.
func FuzzSnapshot(f *testing.F) {
	id := testReplica(1)
	fs := vfs.NewMem()
	s := snapshotStore(f, fs, id)
	for _, size := range []int{0, 10, 700} {
		w, err := s.CreateSnapshot(id, baseAt(id, 1, 7))
		must(f, err)
		_, err = w.Write(stream(size))
		must(f, err)
		sn, err := w.Commit()
		must(f, err)
		good := raw(f, fs, sn.File)
		f.Add(good)
		f.Add(good[:60])
		huge := bytes.Clone(good)
		copy(huge[16:], "\xff\xff\xff\x7f")
		f.Add(huge)
		huge = bytes.Clone(good)
		copy(huge[len(huge)-snapshotTrailerSize:], "\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff\x00")
		f.Add(huge)
	}
	name := "d/snap/" + snapshotName(id, raft.LogID{Term: 1, Index: 7})
	f.Fuzz(func(t *testing.T, b []byte) {
		check := snapshotCheck{file: "x", of: id}
		used := memtest.Allocated(func() {
			check = snapshotCheck{file: "x", of: id}
			err := check.feed(b)
			if err == nil {
				err = check.finish()
			}
			if err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNewerFormat) && !errors.Is(err, ErrOlderFormat) || (err == nil) != check.whole {
				t.Fatal(err)
			}
		})
		if limit := 16*len(b) + 4<<10; used > limit {
			t.Fatalf("%d bytes of memory for %d, the limit is %d", used, len(b), limit)
		}
		pieces := snapshotCheck{file: "x", of: id}
		var err error
		for at := 0; at < len(b) && err == nil; at += 7 {
			err = pieces.feed(b[at:min(at+7, len(b))])
		}
		if pieces.whole && err == nil != check.whole {
			t.Fatalf("by the piece: %v", err)
		}
		put(t, fs, name, b)
		used = memtest.Allocated(func() { err = VerifySnapshot(fs, name) })
		whole := check.whole && check.header.base.ID == raft.LogID{Term: 1, Index: 7}
		if (err == nil) != whole {
			t.Fatalf("received: %v, read: %v", whole, err)
		}
		if limit := 16*len(b) + 48<<10; used > limit { // 32 KiB are io.Copy's
			t.Fatalf("%d bytes of memory for %d, the limit is %d", used, len(b), limit)
		}
	})
}

// A state that was lost is there again once the log begins at a snapshot that
// brings it, and no sooner: one that goes beyond the log is removed at the next
// start, which would find the damage again that was said to be gone.
func TestStateLostUntilLogBeginsThere(t *testing.T) {
	fs, s, sn, state, good := testSnapshot(t, 3000)
	r := sn.Replica
	must(t, s.Compact(r, sn.Base))
	must(t, s.Close())
	put(t, fs, sn.File, good[:70])

	// Another node's has got further.
	other := snapshotStore(t, vfs.NewMem(), r)
	must(t, other.Append([]Write{{Replica: r, Entries: span(r, 1, 11, 20, 20), Commit: 20}}))
	ahead := makeSnapshot(t, other, r, baseAt(r, 1, 15), state)
	for _, begins := range []bool{false, true} {
		s = mustOpen(t, fs, Options{})
		from, err := other.OpenSnapshot(ahead)
		must(t, err)
		in, err := s.ReceiveSnapshot(r)
		must(t, err)
		send(t, from, in)
		must(t, from.Close())
		_, err = in.Commit()
		must(t, err)
		if d, hurt := s.DamageOf(r); !hurt || !d.State {
			t.Fatalf("with a snapshot beyond the log the damage is %+v (there: %v)", d, hurt)
		}
		if begins {
			must(t, s.Append([]Write{{Replica: r, Base: &ahead.Base, Commit: 15}}))
			if d, hurt := s.DamageOf(r); hurt {
				t.Fatalf("with the log after the snapshot the damage is %+v", d)
			}
		}
		must(t, s.Close())
		s = mustOpen(t, fs, Options{})
		if d, hurt := s.DamageOf(r); hurt == begins {
			t.Fatalf("at the next start the damage is %+v (there: %v)", d, hurt)
		}
		must(t, s.Close())
	}
}
