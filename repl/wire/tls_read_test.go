package wire_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"muster/repl/wire"
)

// One Read must return all records that have arrived: what a reader hands on at once is
// what a Read returns, and each time wakes others. And it must wait for none that has not
// arrived as a whole, or what came before it would wait too.
func TestTLSReadsAllRecords(t *testing.T) {
	d, a := tlsPair(t)
	var calls, records int
	for round := range 20 {
		// The records of several writes, and of a write that makes several.
		var sent []byte
		for range 8 {
			part := bytes.Repeat([]byte{byte(round)}, 1<<10)
			if _, err := d.Write(part); err != nil {
				t.Fatal(err)
			}
			sent = append(sent, part...)
			records++
		}
		if err := a.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		var got []byte
		room := make([]byte, 64<<10)
		for len(got) < len(sent) {
			n, err := a.Read(room)
			if err != nil {
				t.Fatalf("after %d of %d bytes: %v", len(got), len(sent), err)
			}
			calls++
			got = append(got, room[:n]...)
		}
		if !bytes.Equal(got, sent) {
			t.Fatal("what was read is not what was sent")
		}
	}
	if calls > records/2 {
		t.Errorf("%d records took %d reads; want at most half as many, all were sent before the first was read", records, calls)
	}
	t.Logf("%d records took %d reads", records, calls)
	// Nothing is left, and the next read waits.
	if err := a.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := a.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %d bytes and %v where nothing was sent", n, err)
	}
}

// Reads of any size, of records of any size, in whatever pieces the network brings, return the
// bytes that were sent; and a read waits for no more than the first of them, also if a deadline has cut an
// earlier one short.
func TestTLSReadsWhatWasSent(t *testing.T) {
	d, a := tlsPair(t)
	const seed = 5
	sizes, reads := rand.New(rand.NewPCG(seed, 1)), rand.New(rand.NewPCG(seed, 2))
	sent := make([]byte, 4<<20)
	for i := range sent {
		sent[i] = byte(i * 7 >> 3)
	}
	failed := make(chan error, 1)
	go func() {
		for rest := sent; len(rest) > 0; {
			n := min(len(rest), 1+sizes.IntN(1<<sizes.IntN(19)))
			if _, err := d.Write(rest[:n]); err != nil {
				failed <- err
				return
			}
			rest = rest[n:]
		}
		failed <- nil
	}()
	var got []byte
	for late := 0; len(got) < len(sent); {
		within := time.Duration(reads.IntN(3)) * 100 * time.Microsecond
		if late > 100 {
			within = 10 * time.Second
		}
		if err := a.SetReadDeadline(time.Now().Add(within)); err != nil {
			t.Fatal(err)
		}
		room := make([]byte, 1+reads.IntN(1<<reads.IntN(18)))
		n, err := a.Read(room)
		got = append(got, room[:n]...)
		if errors.Is(err, os.ErrDeadlineExceeded) && within < time.Second {
			late++
			continue
		}
		if err != nil {
			t.Fatalf("after %d bytes: %v", len(got), err)
		}
	}
	if !bytes.Equal(got, sent) {
		t.Error("what was read is not what was sent")
	}
	if err := <-failed; err != nil {
		t.Error(err)
	}
}

// A large write, as of the answers to some hundred requests, must make no garbage: the room in
// which its records gather was made anew for each, and the collector took 4 % of a node's time for it.
func TestTLSWritesMakeNoGarbage(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector drops what a pool keeps")
	}
	d, a := tlsPair(t)
	go func() {
		room := make([]byte, 64<<10)
		for {
			if _, err := a.Read(room); err != nil {
				return
			}
		}
	}()
	defer a.Close()
	piece := make([]byte, 50<<10)
	perWrite := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := wire.WriteWithin(d, piece, 10*time.Second); err != nil {
				b.Fatal(err)
			}
		}
	}).AllocedBytesPerOp()
	// The reader's small parts are counted too, and a collection empties the pool.
	if perWrite > int64(len(piece)/8) {
		t.Errorf("a write of %d bytes allocates %d bytes; want few", len(piece), perWrite)
	}
	t.Logf("a write of %d bytes allocates %d bytes", len(piece), perWrite)
}
