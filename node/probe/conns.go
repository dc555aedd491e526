package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

const (
	// ReadMax bounds what a probe reads from a connection, in bytes. That is more than a page with
	// its headers and the certificates before it, or the greeting of any server.
	ReadMax = 256 << 10
	// farewellMax is how long a probe that has succeeded waits for the server to close the
	// connection, after telling it that nothing else comes.
	farewellMax = 100 * time.Millisecond
	// farewellBytes bounds what is read meanwhile.
	farewellBytes = 4 << 10
)

// errFlood says that a target sends more than it should.
var errFlood = fmt.Errorf("sent more than %d KiB", ReadMax>>10)

// conns are the connections of one probe.
type conns struct {
	prober *Prober
	ctx    context.Context // of the probe

	mu      sync.Mutex
	closed  bool
	open    []*conn
	refused error // [NotAllowedError], notMadeError, or what made a connection unusable; drivers may hide it
}

// dial connects to addr; farewell says how the connection ends.
func (c *conns) dial(ctx context.Context, addr string, farewell farewell) (*conn, error) {
	c.mu.Lock()
	closed := c.closed
	c.mu.Unlock()
	if closed { // a driver that says goodbye over a second connection
		return nil, net.ErrClosed
	}
	made, err := c.prober.DialContext(ctx, "tcp", addr)
	if err != nil {
		var refused *NotAllowedError
		var notMade *notMadeError
		switch {
		case errors.As(err, &refused):
			c.refuse(refused)
		case errors.As(err, &notMade):
			c.refuse(notMade)
		}
		return nil, err
	}
	x := &conn{Conn: made, tcp: made.(*net.TCPConn), of: c, farewell: farewell, left: ReadMax}
	c.mu.Lock()
	closed = c.closed
	if !closed {
		c.open = append(c.open, x)
	}
	c.mu.Unlock()
	if closed {
		x.Close()
		return nil, net.ErrClosed
	}
	return x, nil
}

// refuse keeps the first error that tells more than what a driver makes of it.
func (c *conns) refuse(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refused == nil {
		c.refused = err
	}
}

// close closes all connections, and lets none be made afterwards.
func (c *conns) close() {
	c.mu.Lock()
	open := c.open
	c.open, c.closed = nil, true
	c.mu.Unlock()
	for _, x := range open {
		x.Close()
	}
}

// notMade reports whether err tells of this node and not of the target: the target or the program
// is not allowed, or the probe could not be made.
func (c *conns) notMade(err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	var refused *NotAllowedError
	var notMade *notMadeError
	return errors.As(err, &notMade) || errors.As(err, &refused) || errors.As(c.refused, &refused) || errors.As(c.refused, &notMade)
}

// farewell says how a connection ends.
type farewell uint8

const (
	// abrupt: at once.
	abrupt farewell = iota
	// polite: after the server has closed it, or after [farewellMax]. Some servers log connections
	// that end in any other way.
	polite
)

// conn is a connection of a probe.
type conn struct {
	net.Conn // an interface: what else a TCP connection can do would read past Read
	tcp      *net.TCPConn
	of       *conns
	farewell farewell
	left     int // bytes that may still be read; owned by whoever reads
	closing  sync.Once
	err      error

	mu    sync.Mutex
	bound bool // the farewell has begun: the deadline is that of Close
}

// Read reads at most [ReadMax] bytes over the life of the connection.
func (x *conn) Read(b []byte) (int, error) {
	if x.left == 0 {
		x.of.refuse(errFlood)
		return 0, errFlood
	}
	n, err := x.tcp.Read(b[:min(len(b), x.left)])
	x.left -= n
	return n, err
}

// SetDeadline is for a driver. Once the connection is about to end it fails: one driver
// waits for the server's own end in a goroutine of its own, for seconds, while the probe waits for Close.
func (x *conn) SetDeadline(t time.Time) error { return x.deadline(x.tcp.SetDeadline, t) }

// SetReadDeadline is as [conn.SetDeadline].
func (x *conn) SetReadDeadline(t time.Time) error { return x.deadline(x.tcp.SetReadDeadline, t) }

// SetWriteDeadline is as [conn.SetDeadline].
func (x *conn) SetWriteDeadline(t time.Time) error { return x.deadline(x.tcp.SetWriteDeadline, t) }

func (x *conn) deadline(set func(time.Time) error, t time.Time) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.bound {
		return net.ErrClosed
	}
	return set(t)
}

// bind sets the last deadline for reads.
func (x *conn) bind(until time.Time) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.bound = true
	return x.tcp.SetReadDeadline(until)
}

// Close ends the connection so that nothing of it is left on this side. The side that closes first
// keeps the port for a minute (TIME_WAIT); thousands of probes a second would use up the 28,000
// that there are. So the server closes first, or the connection is reset.
func (x *conn) Close() error {
	x.closing.Do(func() {
		if x.farewell == polite && x.of.ctx.Err() == nil {
			until := time.Now().Add(farewellMax)
			if d, ok := x.of.ctx.Deadline(); ok && d.Before(until) {
				until = d
			}
			if x.bind(until) == nil {
				_, _ = io.CopyN(io.Discard, x.tcp, farewellBytes) // until the server closes; what it says no longer matters
			}
		}
		_ = x.tcp.SetLinger(0) // fails only if the connection is gone
		x.err = x.tcp.Close()
	})
	return x.err
}
