package web

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"muster/repl/trust"
	"muster/repl/wire"
)

// Visitor is a connection that speaks HTTP. The node sets the exported fields before [Door.Serve].
type Visitor struct {
	Conn net.Conn // over TLS, the very connection of crypto/tls if ALPN has named HTTP: net/http knows it by that
	TLS  bool
	// Peer is the name that the certificate of its handshake proves; the zero value: it proves none. Shown is why a
	// certificate that was shown proves nothing.
	Peer  trust.Proven
	Shown error
	// From is the address that it comes from, with the port. Near reports that both its ends are at loopback addresses.
	From net.Addr
	Near bool
	// Arrive is called with its first request, and Prove with the first one that has said who makes it, which user, or ""
	// where nobody is asked: each takes another seat, or refuses.
	Arrive func() *wire.Error
	Prove  func(user string) *wire.Error
	// Failed is called for each request whose token does not count, and reports whether the connection may stay; nil: it
	// may not.
	Failed func() bool

	hereAddr        string      // the address that it came to, without the port. Set by Serve
	asked           atomic.Bool // it has sent a request
	arrived, proven onceRefused
	gone            chan struct{} // closed when the connection has ended
	leave           sync.Once
}

// onceRefused does something once, and keeps its refusal. Streams of one connection come at once.
type onceRefused struct {
	once sync.Once
	err  *wire.Error
}

func (o *onceRefused) do(f func() *wire.Error) *wire.Error {
	o.once.Do(func() { o.err = f() })
	return o.err
}

// Resume returns a connection of which begun was read already, and is read again.
func Resume(conn net.Conn, begun []byte) net.Conn { return &resumed{Conn: conn, begun: begun} }

type resumed struct {
	net.Conn
	begun []byte // owned by the goroutine that reads
}

func (r *resumed) Read(p []byte) (int, error) {
	if len(r.begun) == 0 {
		return r.Conn.Read(p)
	}
	n := copy(p, r.begun)
	r.begun = r.begun[n:]
	return n, nil
}

// Bound returns a connection each of whose writes waits for the other side no longer than within. It writes to below.
func Bound(conn, below net.Conn, within time.Duration) net.Conn {
	return &bound{Conn: conn, below: below, within: within}
}

type bound struct {
	net.Conn
	below  net.Conn
	within time.Duration
}

// Write implements [net.Conn].
func (c *bound) Write(p []byte) (int, error) {
	if bug(bugSlowReader) {
		return c.below.Write(p)
	}
	return wire.WriteWithin(c.below, p, c.within)
}

// queue is a listener of connections that were accepted elsewhere.
type queue struct {
	conns chan net.Conn
	ended context.Context // not a call's: it ends with the door
	end   context.CancelFunc
	addr  net.Addr
}

func newQueue(addr net.Addr) *queue {
	q := &queue{conns: make(chan net.Conn), addr: addr}
	q.ended, q.end = context.WithCancel(context.Background())
	return q
}

var errEnded = errors.New("the door is closed")

// put hands a connection to Accept.
func (q *queue) put(conn net.Conn) error {
	select {
	case q.conns <- conn:
		return nil
	case <-q.ended.Done():
		return errEnded
	}
}

// Accept implements [net.Listener].
func (q *queue) Accept() (net.Conn, error) {
	select {
	case conn := <-q.conns:
		return conn, nil
	case <-q.ended.Done():
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener].
func (q *queue) Close() error {
	q.end()
	return nil
}

// Addr implements [net.Listener].
func (q *queue) Addr() net.Addr { return q.addr }
