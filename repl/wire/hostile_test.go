package wire_test

import (
	"bytes"
	"io"
	"runtime"
	"testing"

	"muster/repl/memtest"
	"muster/repl/wire"
	"muster/shardmap/pack"
)

// checkBound holds f, which reads so many bytes of somebody else's, to what
// that may cost.
func checkBound(t testing.TB, what string, input int, f func()) {
	t.Helper()
	if got, bound := memtest.Allocated(f), 16*input+4096; got > bound {
		t.Errorf("%s: %d bytes of input cost %d bytes, the bound is %d", what, input, got, bound)
	}
}

func repeat(s string, n int) []byte { return bytes.Repeat([]byte(s), n) }

// hostileBodies are what a stranger sends to make a node spend memory, stack or
// time. None of them is a body.
func hostileBodies() map[string][]byte {
	bodies := map[string][]byte{
		"nothing":                       {},
		"bin32 of 4 GiB":                []byte("\xc6\xff\xff\xff\xff"),
		"str32 of 4 GiB":                []byte("\xdb\xff\xff\xff\xff"),
		"array32 of 4 G":                []byte("\xdd\xff\xff\xff\xff"),
		"map32 of 4 G":                  []byte("\xdf\xff\xff\xff\xff"),
		"ext32 of 4 GiB":                []byte("\xc9\xff\xff\xff\xff"),
		"bin16 one byte short":          append([]byte("\xc5\x01\x00"), make([]byte, 255)...),
		"array of 2 with 1":             []byte("\x92\x01"),
		"ext of 1":                      []byte("\xd4\x01\x00"),
		"the byte that begins nothing":  {0xc1},
		"20 MB of arrays in each other": repeat("\x91", 20<<20),
		"20 MB of maps in each other":   repeat("\x81\x00", 10<<20),
		"33 arrays in each other":       append(repeat("\x91", 33), 0xc0),
		"array32 of nils, one short":    append([]byte("\xdd\x00\x10\x00\x00"), repeat("\xc0", 1<<20-1)...),
		"a million nils":                append([]byte("\xdd\x00\x0f\x42\x40"), repeat("\xc0", 1_000_000)...),
		"two values":                    {0xc0, 0xc0},
	}
	for _, code := range []byte{0xcc, 0xcd, 0xce, 0xcf, 0xd0, 0xd1, 0xd2, 0xd3, 0xca, 0xcb, 0xc4, 0xc5, 0xc6, 0xd9, 0xda, 0xdb, 0xdc, 0xdd, 0xde, 0xdf} {
		bodies["only a first byte of "+string("0123456789abcdef"[code>>4])+string("0123456789abcdef"[code&15])] = []byte{code}
	}
	return bodies
}

// The check stands before every body and is the only thing between a hostile
// length and memory, and between hostile nesting and the stack, whose overflow
// ends a Go process.
func TestHostileBodies(t *testing.T) {
	for name, b := range hostileBodies() {
		var err error
		checkBound(t, name, len(b), func() { err = pack.Check(b, wire.ElementsMax) })
		if err == nil {
			t.Errorf("%s: the check lets it pass", name)
		}
		frame := frameOf(b)
		checkBound(t, name+" as a frame", len(b)+wire.HeaderSize, func() {
			_, _, err = wire.ReadFrame(bytes.NewReader(frame), wire.NewDecoder(wire.FrameMax))
		})
		if err == nil {
			t.Errorf("%s: the decoder lets it pass", name)
		}
		if len(b) > 1<<20 { // the readers would see it behind the check only
			continue
		}
		for _, typ := range wire.Types() {
			checkBound(t, name+" as "+typ.String(), len(b), func() { err = wire.ReadBody(typ, b) })
			if err == nil {
				t.Errorf("%s: read as %s", name, typ)
			}
		}
	}
}

// frameOf makes a frame around bytes that may be no body.
func frameOf(b []byte) []byte {
	return wire.AppendFrame(make([]byte, 0, wire.HeaderSize+len(b)), wire.TypeHello, 0, body(func(f []byte) []byte { return append(f, b...) }))
}

// Bodies that pass the check and still ask for more than they bring: a list of
// nils is a list of structs to a library. Each list of each body is tried.
func TestHostileLists(t *testing.T) {
	for _, typ := range wire.Types() {
		good := exampleOf(t, typ)
		for at, c := range good {
			if c < 0x90 || c > 0x9f {
				continue
			}
			for _, filling := range []string{"\xc0", "\x90", "\x00", "\xa0", "\x91\x00", "\x92\x00\x00"} {
				b := append(bytes.Clone(good[:at]), 0xdd, 0, 0, 0x40, 0)
				b = append(append(b, repeat(filling, 0x4000)...), good[at+1:]...)
				checkBound(t, typ.String()+" with many "+string(filling), len(b), func() { _ = wire.ReadBody(typ, b) })
			}
		}
	}
}

// Every body, cut at every byte and with every byte changed, is read or refused
// within the bound; the strict ones are never read short.
func TestDamagedBodies(t *testing.T) {
	for _, typ := range wire.Types() {
		read := func(b []byte) error { return wire.ReadBody(typ, b) }
		good := exampleOf(t, typ)
		if err := read(good); err != nil {
			t.Fatalf("%s: %v", typ, err)
		}
		for n := range good {
			if read(good[:n]) == nil {
				t.Errorf("%s: the first %d of %d bytes are read", typ, n, len(good))
			}
			for _, change := range []byte{0xff, 0x80, 0x01, 0x10} {
				b := bytes.Clone(good)
				b[n] ^= change
				_ = read(b) // it must not panic
			}
		}
		if read(append(bytes.Clone(good), 0xc0)) == nil {
			t.Errorf("%s: a byte behind it is passed over", typ)
		}
	}
}

// A field more is a newer version's. In a request it changes what is asked, so
// it is refused; in an answer or a hello it is passed over.
func TestFieldsOfANewerVersion(t *testing.T) {
	for _, typ := range wire.Types() {
		hello := typ < wire.TypePing // and what may answer any of its frames
		lenient := hello || typ == wire.TypeStreamEnd || typ.Question() != 0 && typ != wire.TypePong && typ != wire.TypeHeartbeatAnswer && !typ.Raft()
		b := exampleOf(t, typ)
		switch { // more fields: the count is in the first byte, or behind it
		case b[0]&0xf0 == 0x90 && b[0] < 0x9f:
			b[0]++
		case b[0] == 0xdc && b[2] < 0xff:
			b[2]++
		default:
			t.Fatalf("%s: begins with % x", typ, b[:1])
		}
		b = append(b, 0x92, 0xa1, 'x', 0x07)
		if err := wire.ReadBody(typ, b); (err == nil) != lenient {
			t.Errorf("%s: got %v, want it read: %t", typ, err, lenient)
		}
	}
}

// A frame may claim 17 MiB, as a large value does; one that claims it, then
// stalls, must cost what it sent and not what it claims. Ten thousand of those
// would be all the memory there is.
func TestStalledFrame(t *testing.T) {
	for _, sent := range []int{0, 1, wire.HeaderSize - 1, wire.HeaderSize, wire.HeaderSize + 1, 2047, 2048, 2049, 5000, 70_000, 1 << 20} {
		frame := frameOf(append([]byte("\xc6\x01\x00\x00\x00"), make([]byte, 16<<20)...))[:sent]
		checkBound(t, "a stalled frame", sent, func() { _, _, _ = wire.ReadFrame(bytes.NewReader(frame), wire.NewDecoder(wire.FrameMax)) })
		claim := append([]byte("\xff\xff\xff\xff"), frame...)
		checkBound(t, "a frame of 4 GiB", len(claim), func() { _, _, _ = wire.ReadFrame(bytes.NewReader(claim), wire.NewDecoder(wire.FrameMax)) })
	}
}

// A connection keeps no large buffer after a large frame.
func TestLargeBufferIsGivenBack(t *testing.T) {
	large := frameOf(append([]byte("\xc6\x01\x00\x00\x00"), make([]byte, 16<<20)...))
	connections := make([]*wire.Decoder, 20)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range connections {
		connections[i] = wire.NewDecoder(wire.FrameMax)
		r := bytes.NewReader(large)
		if _, _, err := wire.ReadFrame(r, connections[i]); err != nil {
			t.Fatal(err)
		}
		if _, _, err := wire.ReadFrame(r, connections[i]); err != io.EOF {
			t.Fatal(err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if kept := int64(after.HeapAlloc) - int64(before.HeapAlloc); kept > int64(len(connections))*300<<10 {
		t.Errorf("%d connections keep %d bytes", len(connections), kept)
	}
	runtime.KeepAlive(connections)
}
