package node

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"time"
)

// A connection in memory must behave as one of TCP does, or what takes connections would find out in some rare moment:
// all bytes arrive in order whatever the pieces, a writer waits for a slow reader, deadlines end what waits, last words are
// read after the end.
func TestInsidePipe(t *testing.T) {
	t.Run("order", func(t *testing.T) {
		near, far := insidePipe("there")
		sent := make([]byte, 4<<20)
		for i := range sent {
			sent[i] = byte(i * 7 >> 3)
		}
		failed := make(chan error, 1)
		go func() {
			chance := rand.New(rand.NewPCG(1, 2))
			for left := sent; len(left) > 0; {
				n := min(len(left), 1+chance.IntN(300<<10))
				if _, err := near.Write(left[:n]); err != nil {
					failed <- err
					return
				}
				left = left[n:]
			}
			failed <- near.CloseWrite()
		}()
		var got bytes.Buffer
		chance, room := rand.New(rand.NewPCG(3, 4)), make([]byte, 100<<10)
		for {
			n, err := far.Read(room[:1+chance.IntN(len(room))])
			got.Write(room[:n])
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			near.out.mu.Lock()
			held := len(near.out.buf) - near.out.at
			near.out.mu.Unlock()
			if held > insideBytesMax {
				t.Fatalf("%d bytes are on their way", held)
			}
		}
		if err := <-failed; err != nil || !bytes.Equal(got.Bytes(), sent) {
			t.Errorf("%d of %d bytes, or others; %v", got.Len(), len(sent), err)
		}
		// Its other half is open.
		if _, err := far.Write([]byte("back")); err != nil {
			t.Error(err)
		}
		if n, err := io.ReadFull(near, room[:4]); err != nil || string(room[:n]) != "back" {
			t.Errorf("%q, %v", room[:n], err)
		}
	})
	t.Run("deadlines", func(t *testing.T) {
		near, far := insidePipe("there")
		one := make([]byte, 1)
		for _, set := range []func(time.Time) error{near.SetReadDeadline, near.SetDeadline} {
			if err := set(time.Now().Add(20 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			if _, err := near.Read(one); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("a read: %v", err)
			}
			// It is over until it is set anew.
			if _, err := near.Read(one); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("another read: %v", err)
			}
			if err := set(time.Time{}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := far.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := near.Read(one); err != nil || one[0] != 'x' {
			t.Errorf("after the deadline was taken back: %q, %v", one, err)
		}
		if err := near.SetWriteDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if n, err := near.Write(make([]byte, 2*insideBytesMax)); !errors.Is(err, os.ErrDeadlineExceeded) || n != insideBytesMax {
			t.Errorf("a write that nobody reads: %d, %v", n, err)
		}
		// One that waits is ended by a deadline that is set meanwhile, as a reader is woken.
		ended := make(chan error, 1)
		go func() { _, err := near.Read(one); ended <- err }()
		if err := near.SetReadDeadline(time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a read that waited: %v", err)
		}
	})
	t.Run("end", func(t *testing.T) {
		near, far := insidePipe("there")
		if _, err := near.Write([]byte("last words")); err != nil {
			t.Fatal(err)
		}
		waits := make(chan error, 1)
		go func() { _, err := near.Read(make([]byte, 1)); waits <- err }()
		near.Close()
		if err := <-waits; !errors.Is(err, net.ErrClosed) {
			t.Errorf("a read at the side that closes: %v", err)
		}
		if got, err := io.ReadAll(far); err != nil || string(got) != "last words" {
			t.Errorf("%q, %v", got, err)
		}
		if _, err := far.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a write to nobody: %v", err)
		}
		if _, err := near.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a write at the side that closed: %v", err)
		}
		if near.RemoteAddr().String() != "there" || near.RemoteAddr().Network() != "http" {
			t.Errorf("it is at %v", near.RemoteAddr())
		}
	})
}
