//go:build !race

package node

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// socketMax is the most, in bytes, that a socket reads or writes with one system call:
// some 20 µs of copying.
const socketMax = 64 << 10

// socket is a TCP connection whose calls the runtime's scheduler does not hear of.
//
// Before each system call that might block, a Go program wakes the runtime's watcher,
// unless it is awake: a thread that looks every 20 µs whether the call still lasts, for
// at least a millisecond, in order to give its processor to other goroutines. The sockets
// of the net package never block: the runtime's poller waits for them. Their calls
// are over sooner than the watcher could look, and a node that is woken for a few frames
// and sleeps again would wake the watcher each time for nothing. It took a sixth of a
// node's time with 64 gets in flight.
//
// While such a call lasts, the collector waits for it, so it must be short: see
// [socketMax].
//
// Like those of a [net.TCPConn], its methods may be called by several goroutines.
type socket struct {
	net.Conn // for all but Read and Write
	raw      syscall.RawConn
	in, out  transfer
}

// transfer is the reads of a socket, or its writes.
type transfer struct {
	// Set once.
	conn net.Conn
	call uintptr               // SYS_READ or SYS_WRITE
	try  func(fd uintptr) bool // reads or writes once, which escapes: made once

	mu      sync.Mutex
	p       []byte        // guarded by mu: what is left to be read into, or to be written
	n       int           // guarded by mu: bytes, of the last call
	errno   syscall.Errno // guarded by mu: of the last call
	within  time.Duration // guarded by mu: how long the poller may wait, for a write; 0: as its deadline says
	bounded bool          // guarded by mu: a deadline is set for that
}

// quick returns a connection to use and close instead of conn, which has the same
// behaviour and costs less.
func quick(conn net.Conn) net.Conn {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return conn
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return conn
	}
	s := &socket{Conn: conn, raw: raw}
	s.in.init(conn, syscall.SYS_READ)
	s.out.init(conn, syscall.SYS_WRITE)
	return s
}

func (t *transfer) init(conn net.Conn, call uintptr) { t.conn, t.call, t.try = conn, call, t.once }

// once makes one call, and reports false if the poller has to wait for the socket first.
func (t *transfer) once(fd uintptr) (done bool) {
	for {
		n, _, errno := syscall.RawSyscall(t.call, fd, uintptr(unsafe.Pointer(unsafe.SliceData(t.p))), uintptr(len(t.p)))
		switch errno {
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			if t.within > 0 && !t.bounded {
				// An error says that the connection is closed, which the poller says too.
				t.bounded = t.conn.SetWriteDeadline(time.Now().Add(t.within)) == nil
			}
			return false
		case 0:
			t.n, t.errno = int(n), 0
		default:
			t.n, t.errno = 0, errno
		}
		return true
	}
}

// Read implements [net.Conn].
func (s *socket) Read(b []byte) (n int, err error) {
	if len(b) == 0 {
		return 0, nil
	}
	t := &s.in
	t.mu.Lock()
	defer t.mu.Unlock()
	t.p = b[:min(len(b), socketMax)]
	defer func() { t.p = nil }()
	switch err := s.raw.Read(t.try); {
	case err != nil:
		return 0, s.failed("read", err)
	case t.errno != 0:
		return 0, s.failed("read", os.NewSyscallError("read", t.errno))
	case t.n == 0:
		return 0, io.EOF
	}
	return t.n, nil
}

// Write implements [net.Conn].
func (s *socket) Write(b []byte) (n int, err error) {
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	return s.write(b)
}

// write writes all of b. s.out.mu is held.
func (s *socket) write(b []byte) (n int, err error) {
	t := &s.out
	defer func() { t.p = nil }()
	for n < len(b) {
		t.p = b[n:min(n+socketMax, len(b))]
		switch err := s.raw.Write(t.try); {
		case err != nil:
			return n, s.failed("write", err)
		case t.errno != 0:
			return n, s.failed("write", os.NewSyscallError("write", t.errno))
		}
		n += t.n
	}
	return n, nil
}

// WriteWithin implements [wire.TimedWriter].
func (s *socket) WriteWithin(b []byte, within time.Duration) (n int, err error) {
	t := &s.out
	t.mu.Lock()
	defer t.mu.Unlock()
	t.within = within
	n, err = s.write(b)
	t.within = 0
	if t.bounded {
		t.bounded = false
		if err == nil {
			err = s.SetWriteDeadline(time.Time{})
		}
	}
	return n, err
}

// HungUp reports whether the other side has ended the connection, without a wait and without taking
// what has arrived: a gate asks before it works for a dialler.
func (s *socket) HungUp() (is bool) {
	err := s.raw.Control(func(fd uintptr) {
		var one [1]byte
		n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&one[0])), 1, syscall.MSG_PEEK|syscall.MSG_DONTWAIT, 0, 0)
		is = errno == 0 && n == 0 || errno != 0 && errno != syscall.EAGAIN && errno != syscall.EINTR
	})
	return is || err != nil
}

// failed is the error that the net package would return.
func (s *socket) failed(call string, err error) error {
	var raw *net.OpError // of the poller: it calls this a raw-read, and knows no address of the other side
	if errors.As(err, &raw) {
		err = raw.Err
	}
	return &net.OpError{Op: call, Net: "tcp", Source: s.LocalAddr(), Addr: s.RemoteAddr(), Err: err}
}

// CloseWrite ends what this side sends.
func (s *socket) CloseWrite() error { return s.Conn.(*net.TCPConn).CloseWrite() }
