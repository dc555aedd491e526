package node

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"muster/repl/trust"
	"muster/repl/wire"
)

// A caller over HTTP asks this node as any client does, over a connection in memory. That connection has a seat, limits
// and a principal like one that came from outside; only its other end need not prove again who it is, because this node
// has made it.

const (
	// insideBytesMax bounds what is on its way over one side of such a connection, in bytes: what a socket keeps.
	insideBytesMax = 256 << 10
	// insideBytesKept is the largest buffer that is kept while it is empty.
	insideBytesKept = 16 << 10
)

// insideAddr is the address of such a connection: that of the caller in whose name it speaks.
type insideAddr string

// Network implements [net.Addr].
func (insideAddr) Network() string { return "http" }

// String implements [net.Addr].
func (a insideAddr) String() string { return string(a) }

// insideConn is one end of a connection in memory. It behaves as a TCP connection does: a write returns once there is room
// for its bytes, and each side may close its half.
type insideConn struct {
	in, out *lane
	addr    insideAddr
}

// lane is what one end writes and the other reads.
type lane struct {
	mu      sync.Mutex
	readers sync.Cond // of mu: there is something, or it has ended, or a deadline has passed
	writers sync.Cond // of mu: there is room, as before
	buf     []byte    // guarded by mu: what is on its way, from at
	at      int       // guarded by mu
	ended   bool      // guarded by mu: the writer has closed its half
	broken  bool      // guarded by mu: an end is closed
	read    expiry    // guarded by mu
	write   expiry    // guarded by mu
}

// expiry is a deadline.
type expiry struct {
	timer *time.Timer
	over  bool
	set   uint64 // how often it was set: a timer that fires late finds that it is of before
}

// insidePipe returns the two ends of a connection in memory.
func insidePipe(addr insideAddr) (near, far *insideConn) {
	a, b := new(lane), new(lane)
	for _, l := range []*lane{a, b} {
		l.readers.L, l.writers.L = &l.mu, &l.mu
	}
	return &insideConn{in: a, out: b, addr: addr}, &insideConn{in: b, out: a, addr: addr}
}

// Read implements [net.Conn].
func (c *insideConn) Read(p []byte) (n int, err error) {
	l := c.in
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.at == len(l.buf) {
		switch {
		case l.broken:
			return 0, net.ErrClosed
		case l.ended:
			return 0, io.EOF
		case l.read.over:
			return 0, os.ErrDeadlineExceeded
		case len(p) == 0:
			return 0, nil
		}
		l.readers.Wait()
	}
	n = copy(p, l.buf[l.at:])
	if l.at += n; l.at == len(l.buf) {
		l.at, l.buf = 0, l.buf[:0]
		if cap(l.buf) > insideBytesKept {
			l.buf = nil
		}
	}
	l.writers.Signal()
	return n, nil
}

// Write implements [net.Conn].
func (c *insideConn) Write(p []byte) (n int, err error) {
	l := c.out
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		switch {
		case l.broken, l.ended:
			return n, net.ErrClosed
		case l.write.over:
			return n, os.ErrDeadlineExceeded
		}
		some := min(len(p), insideBytesMax-(len(l.buf)-l.at))
		if some > 0 {
			if l.at > 0 && len(l.buf)+some > cap(l.buf) {
				l.buf = append(l.buf[:0], l.buf[l.at:]...)
				l.at = 0
			}
			l.buf = append(l.buf, p[:some]...)
			n, p = n+some, p[some:]
			l.readers.Signal()
		}
		if len(p) == 0 {
			return n, nil
		}
		l.writers.Wait()
	}
}

// Close implements [net.Conn].
func (c *insideConn) Close() error {
	for _, l := range []*lane{c.in, c.out} {
		l.mu.Lock()
		// The other end still reads what was written before, as over a socket: the last words of a side say why it closes.
		if l == c.out {
			l.ended = true
		} else {
			l.broken, l.buf, l.at = true, nil, 0
		}
		l.wakeAll()
		l.mu.Unlock()
	}
	return nil
}

// CloseWrite closes the half that this end writes to.
func (c *insideConn) CloseWrite() error {
	l := c.out
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	l.wakeAll()
	return nil
}

// wakeAll has all look again. l.mu is held.
func (l *lane) wakeAll() {
	l.readers.Broadcast()
	l.writers.Broadcast()
}

// LocalAddr implements [net.Conn].
func (c *insideConn) LocalAddr() net.Addr { return c.addr }

// RemoteAddr implements [net.Conn].
func (c *insideConn) RemoteAddr() net.Addr { return c.addr }

// SetDeadline implements [net.Conn].
func (c *insideConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline implements [net.Conn].
func (c *insideConn) SetReadDeadline(t time.Time) error { return c.in.limit(&c.in.read, t) }

// SetWriteDeadline implements [net.Conn].
func (c *insideConn) SetWriteDeadline(t time.Time) error { return c.out.limit(&c.out.write, t) }

// limit sets a deadline, d, of l.
func (l *lane) limit(d *expiry, t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	d.set++
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.over = !t.IsZero() && !time.Now().Before(t)
	switch {
	case d.over:
		l.wakeAll()
	case !t.IsZero():
		set := d.set
		d.timer = time.AfterFunc(time.Until(t), func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			if d.set == set {
				d.over = true
				l.wakeAll()
			}
		})
	}
	return nil
}

// inside connects to this node itself, for somebody at an address who has proven p to it; the zero value: nobody is
// asked who he is. The hello follows as over any connection.
func (d *door) inside(p trust.Proven, from string) (net.Conn, error) {
	near, far := insidePipe(insideAddr(from))
	if !d.admitStranger(far) {
		return nil, net.ErrClosed
	}
	d.node.ended.Go(func() {
		d.receive(far, func() (greeted, error) {
			g, err := d.greetInside(far, p)
			return greeted{conn: far, hello: g}, err
		})
	})
	return near, nil
}

// greetInside is greet for a connection of this node to itself.
func (d *door) greetInside(far net.Conn, p trust.Proven) (*wire.Greeting, error) {
	hello := d.hello(nil, nil, false)
	hello.Secret = nil // this node has nothing to prove to itself
	hello.Admit = func(g *wire.Greeting) error {
		if g.Purpose != wire.PurposeClient || g.Hello.Role != wire.RoleClient {
			return wire.BadRequest("hello", "it is one of a member, over a connection for HTTP", "say hello as a client")
		}
		g.Peer = p
		if e := d.node.guard.over(&credential{p, wire.SenderClient}); e != nil {
			return e
		}
		return nil
	}
	return wire.ServerHello(far, hello)
}
