package node

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"muster/repl/wire"
)

// sockets returns the two ends of a connection, the first of them quick.
func sockets(t testing.TB) (ours net.Conn, theirs *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	other, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(); other.Close() })
	return quick(conn), other.(*net.TCPConn)
}

// A quick connection makes its own system calls. What the net package promises of a
// connection must hold for it: the node relies on each of these.
func TestQuickSocket(t *testing.T) {
	one := make([]byte, 1)
	for _, c := range []struct {
		name string
		do   func(t *testing.T, ours net.Conn, theirs *net.TCPConn) error
		want error
	}{
		{"a read after the other side's last byte", func(t *testing.T, ours net.Conn, theirs *net.TCPConn) error {
			if err := theirs.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			_, err := ours.Read(one)
			return err
		}, io.EOF},
		{"a read until a deadline that passes", func(t *testing.T, ours net.Conn, theirs *net.TCPConn) error {
			if err := ours.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			_, err := ours.Read(one)
			return err
		}, os.ErrDeadlineExceeded},
		{"a read whose deadline is moved to the past meanwhile", func(t *testing.T, ours net.Conn, theirs *net.TCPConn) error {
			time.AfterFunc(time.Millisecond, func() { _ = ours.SetReadDeadline(time.Unix(1, 0)) })
			_, err := ours.Read(one)
			return err
		}, os.ErrDeadlineExceeded},
		{"a read of a connection that is closed meanwhile", func(t *testing.T, ours net.Conn, theirs *net.TCPConn) error {
			time.AfterFunc(time.Millisecond, func() { ours.Close() })
			_, err := ours.Read(one)
			return err
		}, net.ErrClosed},
		{"a read after a reset", func(t *testing.T, ours net.Conn, theirs *net.TCPConn) error {
			if err := errors.Join(theirs.SetLinger(0), theirs.Close()); err != nil {
				t.Fatal(err)
			}
			_, err := ours.Read(one)
			return err
		}, syscall.ECONNRESET},
		{"writes to a side that has gone", func(t *testing.T, ours net.Conn, theirs *net.TCPConn) error {
			theirs.Close()
			for {
				if _, err := ours.Write(one); err != nil && !errors.Is(err, syscall.ECONNRESET) {
					return err
				}
			}
		}, syscall.EPIPE},
		{"a write to a side that does not read", func(t *testing.T, ours net.Conn, theirs *net.TCPConn) error {
			time.AfterFunc(time.Millisecond, func() { _ = ours.SetWriteDeadline(time.Unix(1, 0)) })
			_, err := ours.Write(make([]byte, 64<<20))
			return err
		}, os.ErrDeadlineExceeded},
		{"a write that may wait for a while, to a side that does not read", func(t *testing.T, ours net.Conn, theirs *net.TCPConn) error {
			_, err := wire.WriteWithin(ours, make([]byte, 64<<20), time.Millisecond)
			return err
		}, os.ErrDeadlineExceeded},
		{"a write after one that waited in time", func(t *testing.T, ours net.Conn, theirs *net.TCPConn) error {
			go func() { _, _ = io.Copy(io.Discard, theirs) }() // until the connection closes
			const within = 10 * time.Second
			if n, err := wire.WriteWithin(ours, make([]byte, 64<<20), within); n != 64<<20 || err != nil {
				t.Errorf("%d bytes are written: %v", n, err)
			}
			_, err := ours.Write(one)
			return err
		}, nil},
		{"a read into nothing", func(t *testing.T, ours net.Conn, theirs *net.TCPConn) error {
			n, err := ours.Read(nil)
			if n != 0 {
				t.Errorf("%d bytes", n)
			}
			return err
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			ours, theirs := sockets(t)
			err := c.do(t, ours, theirs)
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			var op *net.OpError
			if err != nil && err != io.EOF && (!errors.As(err, &op) || op.Op != "read" && op.Op != "write" || op.Source == nil || op.Addr == nil) {
				t.Errorf("%q does not say what failed between whom", err)
			}
		})
	}
}

// More than a system call takes goes both ways at the same time, from several goroutines:
// each write arrives whole.
func TestQuickSocketCarriesAll(t *testing.T) {
	ours, theirs := sockets(t)
	const writers, size = 3, 1 << 20
	var ended sync.WaitGroup
	for i := range writers {
		ended.Go(func() {
			if n, err := ours.Write(bytes.Repeat([]byte{byte(i + 1)}, size)); n != size || err != nil {
				t.Errorf("%d bytes are written: %v", n, err)
			}
		})
	}
	back := make([]byte, 0, writers*size)
	ended.Go(func() {
		if _, err := io.Copy(theirs, theirs); err != nil { // echoes, until there is no more
			t.Errorf("echo: %v", err)
		}
		if err := theirs.CloseWrite(); err != nil {
			t.Error(err)
		}
	})
	piece := make([]byte, 3*64<<10)
	for len(back) < cap(back) {
		n, err := ours.Read(piece)
		if err != nil {
			t.Fatalf("after %d bytes: %v", len(back), err)
		}
		back = append(back, piece[:n]...)
	}
	for at := 0; at < len(back); at += size {
		if first := back[at]; bytes.Count(back[at:at+size], []byte{first}) != size {
			t.Errorf("the write that arrives at byte %d is not whole", at)
		}
	}
	if err := ours.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if n, err := ours.Read(piece); n != 0 || err != io.EOF {
		t.Errorf("at the end: %d bytes, %v", n, err)
	}
	ended.Wait()
}

// Nothing is allocated for a read or a write: each request has some of them.
func TestQuickSocketAllocates(t *testing.T) {
	ours, theirs := sockets(t)
	b := make([]byte, 16)
	go func() { _, _ = io.Copy(theirs, theirs) }() // until the connection closes
	if n := testing.AllocsPerRun(100, func() {
		if _, err := wire.WriteWithin(ours, b, time.Second); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(ours, b); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
