package wire

import (
	"net"
	"time"
)

// TimedWriter is a connection that bounds the time of a write by itself.
type TimedWriter interface {
	// WriteWithin is Write, and returns [os.ErrDeadlineExceeded] once it has waited
	// for the other side for so long. It leaves the connection without a deadline for
	// writes.
	WriteWithin(b []byte, within time.Duration) (n int, err error)
}

// WriteWithin writes b to conn, and waits for the other side no longer than within.
// A write seldom waits at all, and a [TimedWriter] sets a deadline only then: to set one
// takes the runtime longer than it takes to look at a clock three times.
func WriteWithin(conn net.Conn, b []byte, within time.Duration) (n int, err error) {
	if w, ok := conn.(TimedWriter); ok {
		return w.WriteWithin(b, within)
	}
	if err := conn.SetWriteDeadline(time.Now().Add(within)); err != nil {
		return 0, err
	}
	return conn.Write(b)
}
