package wire_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"pgregory.net/rapid"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// pieces gives out b in pieces of the given sizes, over and over.
type pieces struct {
	b     []byte
	sizes []int
	next  int
}

func (p *pieces) Read(into []byte) (int, error) {
	if len(p.b) == 0 {
		return 0, io.EOF
	}
	n := min(p.sizes[p.next%len(p.sizes)], len(p.b), len(into))
	p.next++
	copy(into, p.b[:n])
	p.b = p.b[n:]
	return n, nil
}

// TCP has no frames: they arrive in halves and in heaps. Whatever the pieces,
// the same frames come out, in order, with nothing before or behind lost, also
// when the buffer moves or grows in the middle of one.
func TestDecoderPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type frame struct {
			request uint64
			value   []byte
		}
		var sent []frame
		var stream []byte
		for i := range rapid.IntRange(1, 30).Draw(t, "frames") {
			size := rapid.OneOf(rapid.IntRange(0, 100), rapid.IntRange(0, 100_000), rapid.SampledFrom([]int{1 << 20, 65536 - wire.HeaderSize - 3})).Draw(t, "size")
			value := bytes.Repeat([]byte{byte(i)}, size)
			f := frame{rapid.Uint64().Draw(t, "request"), value}
			sent = append(sent, f)
			b, start := wire.BeginFrame(stream, wire.TypeWrite, 0, uint32(i), f.request)
			stream = wire.EndFrame(body(func(b []byte) []byte {
				return append(append(b, 0xc6, 0, byte(size>>16), byte(size>>8), byte(size)), value...)
			})(b), start)
		}
		d := wire.NewDecoder(wire.FrameMax)
		r := &pieces{b: stream, sizes: rapid.SliceOfN(rapid.OneOf(rapid.IntRange(1, 64), rapid.IntRange(1, 1<<17)), 1, 8).Draw(t, "sizes")}
		for i, want := range sent {
			h, got, err := wire.ReadFrame(r, d)
			if err != nil {
				t.Fatalf("frame %d: %v", i, err)
			}
			if h.Request != want.request || h.Deadline != uint32(i) || h.Type != wire.TypeWrite || h.Length != len(got) || !bytes.Equal(got[5:], want.value) {
				t.Fatalf("frame %d: got %+v and %d bytes, want request %d and %d", i, h, len(got), want.request, len(want.value))
			}
		}
		if _, _, err := wire.ReadFrame(r, d); err != io.EOF || d.Buffered() != 0 {
			t.Fatalf("at the end: got %v and %d bytes", err, d.Buffered())
		}
	})
}

// A frame that arrived with any bit changed must not be taken for another: the
// type or the request number as little as the body.
func TestEveryBitOfAFrameIsCovered(t *testing.T) {
	good := exampleFrame(wire.TypeWrite)
	for bit := range 8 * len(good) {
		b := bytes.Clone(good)
		b[bit/8] ^= 1 << (bit % 8)
		_, _, err := wire.ReadFrame(bytes.NewReader(b), wire.NewDecoder(wire.FrameMax))
		var bad *wire.FrameError
		longer := errors.Is(err, io.ErrUnexpectedEOF) && bit < 32 // it waits for a body that never comes
		if !errors.As(err, &bad) && !longer {
			t.Errorf("bit %d of byte %d: got %v", bit%8, bit/8, err)
		}
	}
}

// The limit is exact, holds from the header alone, and an error is final: what
// follows a bad frame can't be understood.
func TestFrameLimit(t *testing.T) {
	value := func(size int) []byte { // a frame with a body of so many bytes
		return wire.AppendFrame(nil, wire.TypeWrite, 1, body(func(b []byte) []byte {
			return append(append(b, 0xc5, byte((size-3)>>8), byte(size-3)), make([]byte, size-3)...)
		}))
	}
	for _, c := range []struct {
		name  string
		bytes []byte
		ok    bool
	}{
		{"at the limit", value(1000), true},
		{"one byte over", value(1001), false},
		{"one byte over, header alone", value(1001)[:wire.HeaderSize], false},
		{"4 GiB", []byte("\xff\xff\xff\xff\x00\x00\x00\x00\x40\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), false},
		{"empty body", wire.AppendFrame(nil, wire.TypeWrite, 1, body(func(b []byte) []byte { return b })), false},
		{"two values", wire.AppendFrame(nil, wire.TypeWrite, 1, body(func(b []byte) []byte { return append(b, 0x90, 0x90) })), false},
	} {
		d := wire.NewDecoder(1000)
		r := bytes.NewReader(append(bytes.Clone(c.bytes), exampleFrame(wire.TypePing)...))
		_, _, err := wire.ReadFrame(r, d)
		if (err == nil) != c.ok {
			t.Errorf("%s: got %v, want ok %t", c.name, err, c.ok)
		}
		h, _, err := wire.ReadFrame(r, d)
		if (err == nil) != c.ok || c.ok && h.Type != wire.TypePing {
			t.Errorf("%s: then got %s, %v", c.name, h.Type, err)
		}
		if fill := d.Fill(r); !c.ok && fill == nil {
			t.Errorf("%s: it can be filled again", c.name)
		}
	}
}

// The path of a set and of its answer must not allocate: at the rates aimed at
// the collector would cost more than the work.
func TestHotPathsDoNotAllocate(t *testing.T) {
	command := shardmap.Command{Kind: shardmap.CommandSet, Session: 1 << 60, Sequence: 900, Floor: 890, Slot: 77,
		Items: [][]byte{[]byte("k"), make([]byte, 128)}}
	var out []byte
	var d = wire.NewDecoder(wire.FrameMax)
	var r bytes.Reader
	var got shardmap.Command
	var get wire.Get
	var beat wire.Beat
	kept := raft.EntrySeed(3, 2)
	seed := func(raft.GroupID, raft.Incarnation) (raft.Seed, bool) { return kept, true }
	vote := wire.Envelope{Group: 3, Incarnation: 2, Message: raft.Message{Type: raft.MsgAppendAnswer, From: 1, To: 2, Term: 3}}
	keys := [][]byte{[]byte("a"), []byte("b")}
	frame := func(t wire.Type, b func([]byte) []byte) {
		var start int
		out, start = wire.BeginFrame(out, t, 0, 5000, 9)
		out = wire.EndFrame(b(out), start)
	}
	work := func() {
		out = out[:0]
		frame(wire.TypeWrite, func(b []byte) []byte { return wire.AppendWrite(b, &command) })
		frame(wire.TypeWriteAnswer, func(b []byte) []byte {
			return (&wire.WriteAnswer{Group: 3, ID: raft.LogID{Term: 1, Index: 2}, Version: 2}).Append(b)
		})
		frame(wire.TypeGet, func(b []byte) []byte { return (&wire.Get{Keys: keys}).Append(b) })
		frame(wire.TypeGetAnswer, func(b []byte) []byte {
			return wire.AppendMissing(wire.AppendFound(wire.AppendGetAnswer(b, 3, raft.LogID{Term: 1, Index: 2}, 2), 7, keys[0]))
		})
		frame(wire.TypeAppendAnswer, func(b []byte) []byte { return wire.AppendEnvelope(b, &vote) })
		frame(wire.TypeBeat, func(b []byte) []byte { return wire.AppendBeat(b, &exampleBeat) })
		r.Reset(out)
		for r.Len() > 0 {
			if err := d.Fill(&r); err != nil {
				t.Fatal(err)
			}
			for {
				h, body, ok, err := d.Next()
				if !ok {
					break
				}
				switch h.Type {
				case wire.TypeWrite:
					var c []byte
					if c, err = wire.CheckWrite(body); err == nil {
						err = shardmap.ReadCommand(c, &got)
					}
				case wire.TypeWriteAnswer:
					var a wire.WriteAnswer
					err = a.Read(body)
				case wire.TypeGet:
					err = get.Read(body)
				case wire.TypeGetAnswer:
					var a wire.GetAnswer
					err = a.Read(body)
					for _, _, _, ok := a.Next(); ok; _, _, _, ok = a.Next() {
					}
				case wire.TypeAppendAnswer:
					_, err = wire.ReadEnvelope(h.Type, body, seed)
				case wire.TypeBeat:
					err = wire.ReadBeat(body, &beat)
				}
				if err != nil {
					t.Fatalf("%s: %v", h.Type, err)
				}
			}
		}
	}
	if n := testing.AllocsPerRun(200, work); n != 0 {
		t.Errorf("got %v allocations, want none", n)
	}
	if got.Sequence != command.Sequence || len(get.Keys) != 2 || len(beat.Messages) != 2 {
		t.Errorf("not all was read: %d, %d, %d", got.Sequence, len(get.Keys), len(beat.Messages))
	}
}

func BenchmarkWriteFrame(b *testing.B) {
	command := shardmap.Command{Kind: shardmap.CommandSet, Session: 1 << 60, Sequence: 900, Floor: 890, Slot: 77,
		Items: [][]byte{make([]byte, 16), make([]byte, 128)}}
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		var start int
		out, start = wire.BeginFrame(out[:0], wire.TypeWrite, 0, 0, 9)
		out = wire.EndFrame(wire.AppendWrite(out, &command), start)
	}
}

// BenchmarkStageFrameRead is the first stage of a write: out of a connection's
// bytes, many frames at a time, with the checksums of frame and command.
func BenchmarkStageFrameRead(b *testing.B) {
	command := shardmap.Command{Kind: shardmap.CommandSet, Session: 1 << 60, Sequence: 900, Floor: 890, Slot: 77,
		Items: [][]byte{make([]byte, 16), make([]byte, 128)}}
	var stream []byte
	const frames = 256
	for range frames {
		stream = wire.AppendFrame(stream, wire.TypeWrite, 9, body(func(b []byte) []byte { return wire.AppendWrite(b, &command) }))
	}
	d := wire.NewDecoder(wire.FrameMax)
	r := bytes.NewReader(stream)
	b.ReportAllocs()
	for b.Loop() { // one loop is 256 frames
		r.Reset(stream)
		for n := 0; n < frames; {
			if err := d.Fill(r); err != nil {
				b.Fatal(err)
			}
			for {
				_, body, ok, err := d.Next()
				if err != nil {
					b.Fatal(err)
				}
				if !ok {
					break
				}
				if _, err := wire.CheckWrite(body); err != nil {
					b.Fatal(err)
				}
				n++
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/frames, "ns/frame")
}

// A node that lets somebody in and finds then why it should not says so right behind the hello, and
// hangs up. Both frames may come with one read: the second must be left to whoever reads on, who waits
// for more to come first, and may have a decoder of its own.
func TestReadFrameLeavesTheNext(t *testing.T) {
	first := wire.AppendFrame(nil, wire.TypeStatus, 1, new(wire.Empty))
	second := wire.AppendFrame(nil, wire.TypeError, 0, wire.Unauthorized("user ann", "there is none of that name", "ask"))
	for _, sizes := range [][]int{{1 << 20}, {1}, {5, 40}} {
		r := &pieces{b: append(bytes.Clone(first), second...), sizes: sizes}
		d := wire.NewDecoder(wire.FrameMax)
		h, _, err := wire.ReadFrame(r, d)
		if err != nil || h.Request != 1 || d.Buffered() != 0 || len(r.b) != len(second) {
			t.Fatalf("pieces of %v: request %d, %v, with %d bytes in the decoder and %d of %d left", sizes, h.Request, err, d.Buffered(), len(r.b), len(second))
		}
		if h, _, err := wire.ReadFrame(r, wire.NewDecoder(wire.FrameMax)); err != nil || h.Type != wire.TypeError {
			t.Errorf("pieces of %v: then %s, %v", sizes, h.Type, err)
		}
	}
}
