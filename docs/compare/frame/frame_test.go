package frame

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/iotest"
)

// Frames come back as they were written, in whatever pieces they arrive, even if one is
// larger than the reader's buffer.
func TestFramesComeBack(t *testing.T) {
	var sent []byte
	bodies := [][]byte{nil, []byte("a"), bytes.Repeat([]byte("b"), 1000), bytes.Repeat([]byte("c"), 2*readBytes+1), []byte("d")}
	for i, body := range bodies {
		sent = Append(sent, Put, uint64(i), body[:len(body)/2], body[len(body)/2:])
	}
	for name, from := range map[string]io.Reader{
		"all at once": bytes.NewReader(sent), "halves": iotest.HalfReader(bytes.NewReader(sent)), "bytes": iotest.OneByteReader(bytes.NewReader(sent)),
		"the end with the last bytes": iotest.DataErrReader(bytes.NewReader(sent)),
	} {
		r := NewReader(from)
		var got [][]byte
		for {
			frames, err := r.Burst()
			if err != nil {
				if err != io.EOF {
					t.Errorf("%s: ended with %v", name, err)
				}
				break
			}
			for _, f := range frames {
				if f.Kind != Put || f.ID != uint64(len(got)) {
					t.Errorf("%s: got kind %d, id %d at place %d", name, f.Kind, f.ID, len(got))
				}
				got = append(got, bytes.Clone(f.Body))
			}
		}
		if len(got) != len(bodies) {
			t.Fatalf("%s: got %d frames, want %d", name, len(got), len(bodies))
		}
		for i := range bodies {
			if !bytes.Equal(got[i], bodies[i]) {
				t.Errorf("%s: frame %d came back otherwise", name, i)
			}
		}
	}
}

// A bit that changed on the way is found, or the frame never ends; it is not
// taken for what was sent.
func TestChangedBitsAreFound(t *testing.T) {
	sent := Append(nil, Value, 7, []byte("some value"))
	for bit := range len(sent) * 8 {
		changed := bytes.Clone(sent)
		changed[bit/8] ^= 1 << (bit % 8)
		f, _, err := Next(changed)
		if err == nil && f.Bytes != nil {
			t.Errorf("bit %d: taken for a frame", bit)
		}
	}
}

// A length is checked before memory is spent on it.
func TestLengthsAreChecked(t *testing.T) {
	for _, n := range []uint32{0, HeaderBytes - 1, LengthMax + 1, 1<<32 - 1} {
		b := binary.LittleEndian.AppendUint32(nil, n)
		b = append(b, make([]byte, HeaderBytes)...)
		if _, _, err := Next(b); !errors.Is(err, ErrDamaged) {
			t.Errorf("length %d: got %v, want %v", n, err, ErrDamaged)
		}
	}
}

// listen starts a server that gives each connection to f.
func listen(t *testing.T, f func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go f(c)
		}
	}()
	return l.Addr().String()
}

// Each caller gets its own answer, however many share a connection and in
// whatever order answers come.
func TestCallersGetTheirAnswers(t *testing.T) {
	addr := listen(t, func(c net.Conn) {
		defer c.Close()
		r := NewReader(c)
		for {
			frames, err := r.Burst()
			if err != nil {
				return
			}
			var out []byte
			for i := range frames {
				f := frames[len(frames)-1-i] // the last one first
				switch {
				case f.Kind == Put:
					out = Append(out, Done, f.ID)
				case bytes.HasPrefix(f.Body, []byte("none")):
					out = Append(out, Missing, f.ID)
				case bytes.HasPrefix(f.Body, []byte("fail")):
					out = Append(out, Failed, f.ID, []byte("a reason"))
				default:
					out = Append(out, Value, f.ID, f.Body)
				}
			}
			c.Write(out)
		}
	})
	const callers, rounds = 40, 200
	c, err := Dial(addr, 3, callers)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for n := range rounds {
				key := binary.BigEndian.AppendUint64(nil, uint64(i*rounds+n))
				kind, body, err := c.Do(i, Get, key)
				if err != nil || kind != Value || !bytes.Equal(body, key) {
					t.Errorf("caller %d: asked for %x, got kind %d with %x (%v)", i, key, kind, body, err)
				}
			}
		})
	}
	wg.Wait()
	if err := c.Put(0, []byte("key"), []byte("value")); err != nil {
		t.Error("put: ", err)
	}
	if err := c.Get(0, []byte("none")); err == nil {
		t.Error("a missing key is no error")
	}
	if err := c.Get(0, []byte("fail")); err == nil || err.Error() != "a reason" {
		t.Errorf("got %v, want the reason of the node", err)
	}
}

// A caller does not wait for a connection that is gone, neither one that asked
// before it went nor one that asks later.
func TestBrokenConnectionWakesCallers(t *testing.T) {
	addr := listen(t, func(c net.Conn) {
		NewReader(c).Burst() // the request is here
		c.Close()
	})
	c, err := Dial(addr, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 2 {
		if err := c.Put(0, []byte("key"), nil); !errors.Is(err, errBroken) {
			t.Errorf("got %v, want %v", err, errBroken)
		}
	}
	if err := c.Put(1, []byte("key"), nil); !errors.Is(err, errBroken) {
		t.Errorf("another caller: got %v, want %v", err, errBroken)
	}
}
