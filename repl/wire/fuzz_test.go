package wire_test

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"muster/repl/wire"
	"muster/shardmap/pack"
)

// fuzzSeeds begins with what is good and what is known to be bad.
func fuzzSeeds(f *testing.F, add func(t wire.Type, b []byte)) {
	for typ := range examples {
		add(typ, examples[typ].Append(nil))
	}
	span := wire.Span{From: []byte("cart/3"), To: []byte("cart/5"), Descending: true}
	add(wire.TypeList, (&wire.List{Group: 3, Prefix: []byte("cart/"), Span: span}).Append(nil))
	add(wire.TypeScan, (&wire.Scan{Group: 3, PieceBytes: wire.StreamPieceMin, Span: span}).Append(nil))
	add(wire.TypeListAnswer, (&wire.ListAnswer{Group: 3, Counted: 7, More: true, Last: []byte("cart/4")}).Append(nil))
	for _, b := range hostileBodies() {
		if len(b) < 1<<10 {
			add(wire.TypeAppend, b)
		}
	}
}

// FuzzBody reads anything as the body of any type, behind the check as in life,
// and shows it in lines.
func FuzzBody(f *testing.F) {
	fuzzSeeds(f, func(t wire.Type, b []byte) { f.Add(uint16(t), b) })
	f.Fuzz(func(t *testing.T, typ uint16, b []byte) {
		if !wire.Type(typ).Known() || pack.Check(b, wire.ElementsMax) != nil {
			return
		}
		checkBound(t, wire.Type(typ).String(), len(b), func() { _ = wire.ReadBody(wire.Type(typ), b) })
		oneLineEach(t, wire.AppendFrame(nil, wire.Type(typ), 1, body(func(f []byte) []byte { return append(f, b...) })))
	})
}

func oneLineEach(t *testing.T, stream []byte) {
	lines, err := wire.Describe(stream)
	if err != nil {
		lines = append(lines, err.Error())
	}
	for _, line := range lines {
		if strings.ContainsAny(line, "\r\n") {
			t.Errorf("%q has several lines", line)
		}
	}
}

// FuzzFrames reads anything as a stream of frames, and describes it. Few get
// past the checksum; FuzzBody sees what lies behind.
func FuzzFrames(f *testing.F) {
	fuzzSeeds(f, func(t wire.Type, b []byte) {
		f.Add(wire.AppendFrame(nil, t, 1, body(func(f []byte) []byte { return append(f, b...) })))
	})
	f.Fuzz(func(t *testing.T, b []byte) {
		checkBound(t, "frames", len(b), func() {
			d, r := wire.NewDecoder(wire.FrameMax), bytes.NewReader(b)
			for {
				if _, _, err := wire.ReadFrame(r, d); err != nil {
					return
				}
			}
		})
		oneLineEach(t, b)
	})
}

// recorded is a connection whose other side said all it had to say at once,
// takes what it is told, and hung up.
type recorded struct{ in bytes.Reader }

func (r *recorded) Read(b []byte) (int, error)       { return r.in.Read(b) }
func (r *recorded) Write(b []byte) (int, error)      { return len(b), nil }
func (r *recorded) Close() error                     { return nil }
func (r *recorded) LocalAddr() net.Addr              { return recordedAddr }
func (r *recorded) RemoteAddr() net.Addr             { return recordedAddr }
func (r *recorded) SetDeadline(time.Time) error      { return nil }
func (r *recorded) SetReadDeadline(time.Time) error  { return nil }
func (r *recorded) SetWriteDeadline(time.Time) error { return nil }

var recordedAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 4166}

func says(b []byte) *recorded {
	r := new(recorded)
	r.in.Reset(b)
	return r
}

// FuzzHello says anything before the hello, to either side. Nobody who does not
// have the secret gets in, and nobody costs more than the bound.
func FuzzHello(f *testing.F) {
	preamble := []byte("\xedmus\x03\x03\x02\x00")
	hello := append(preamble, exampleFrame(wire.TypeHello)...)
	f.Add(hello)
	f.Add(append(bytes.Clone(hello), exampleFrame(wire.TypeProof)...))
	f.Add(append(exampleFrame(wire.TypeChallenge), exampleFrame(wire.TypeWelcome)...))
	f.Add(exampleFrame(wire.TypeError))
	f.Add(append(bytes.Clone(preamble), oversize()...))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	guarded := acceptor()
	guarded.Secret = []byte(exampleSecret)
	secret := client()
	secret.Secret = []byte(exampleSecret)
	f.Fuzz(func(t *testing.T, b []byte) {
		guarded.Rand, secret.Rand = zeros{}, zeros{}
		checkBound(t, "acceptor", len(b), func() {
			g, err := wire.ServerHello(says(b), guarded)
			if err == nil || g != nil || strings.ContainsAny(err.Error(), "\r\n") {
				t.Errorf("acceptor: got %v, %v", g, err)
			}
		})
		checkBound(t, "dialler", len(b), func() {
			g, err := wire.ClientHello(says(b), secret)
			if err == nil || g != nil || strings.ContainsAny(err.Error(), "\r\n") {
				t.Errorf("dialler: got %v, %v", g, err)
			}
		})
	})
}

// zeros makes every nonce zero, so that a run can be repeated. A proof for it
// is still nothing that bytes from elsewhere contain.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

var _ io.Reader = zeros{}
