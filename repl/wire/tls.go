package wire

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"muster/repl/trust"
)

// Limits of the handshake of TLS.
const (
	// HandshakeBytesMax bounds what the other side may send before its handshake is
	// over, in bytes: an offer with a key of post-quantum size, and a chain of two
	// certificates, take a quarter of it.
	HandshakeBytesMax = 16 << 10
	// recordMax is the most, in bytes, that one record of TLS carries.
	recordMax = 16 << 10
	// recordHead is the size of a record's head, in bytes, whose last two have the length of what
	// follows. recordOverhead is the most that a record has beside what it carries (RFC 8446, section
	// 5.2).
	recordHead     = 5
	recordOverhead = recordHead + 256
	// gatherMax is how many bytes of records are written with one call.
	gatherMax = 64 << 10
	// tlsHandshake is the first byte of a record that begins a handshake.
	tlsHandshake = 0x16
	// handshakeErrorMax bounds what an error says of a handshake that did not
	// succeed, in bytes: parts of it may be a stranger's words.
	handshakeErrorMax = 200
)

// TLSConn is a connection over TLS whose handshake is over. It is used and closed in
// the place of the one below it.
type TLSConn struct {
	*tls.Conn
	// Peer is whom the other side has proven to be by its certificate; the zero value if
	// by none. It has a key and no node where a company's CA has said no more than that it
	// is a node at the address that was dialled. Who makes the connection sets it, before the hello.
	Peer trust.Proven

	below    *belowTLS
	until    time.Time // the hello must be over
	exporter []byte

	writing sync.Mutex // held for one WriteWithin, or one long Write
}

// Exporter is what only the two ends of this connection know: proofs that cover it can't
// be passed on over another one.
func (c *TLSConn) Exporter() []byte { return c.exporter }

// LetIn is called where the other side of an accepted connection was let in, because it has proven who it
// is: then its handshake is none of those by which strangers are held to their measure.
func (c *TLSConn) LetIn() { c.below.gate.refund(hostOf(c.below.Conn.RemoteAddr())) }

// Charge is [Gate.Charge] for the host of an accepted connection.
func (c *TLSConn) Charge() bool { return c.below.gate.Charge(c.below.Conn.RemoteAddr()) }

// Read implements [net.Conn]. It returns what all records have brought that have arrived: a reader
// hands on at once what one Read returns, and one record is a quarter of what it returns without TLS.
func (c *TLSConn) Read(p []byte) (n int, err error) {
	n, err = c.Conn.Read(p)
	for err == nil && n < len(p) && c.below.passed.next() {
		c.below.dry = true
		more, ended := c.Conn.Read(p[n:])
		c.below.dry = false
		n += more
		if ended != nil { // errDry, or an error that comes again
			c.below.passed.whole = 0
			break
		}
	}
	return n, err
}

// Write implements [net.Conn]. What makes several records is written with few calls.
func (c *TLSConn) Write(b []byte) (n int, err error) {
	if len(b) <= recordMax {
		return c.Conn.Write(b)
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	return c.write(b, 0)
}

// WriteWithin implements [TimedWriter], if the connection below does: TLS itself would
// need a deadline for each write.
func (c *TLSConn) WriteWithin(b []byte, within time.Duration) (n int, err error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	return c.write(b, within)
}

// Close implements [net.Conn]. It waits for nobody: the frames inside say where they end,
// so that the other side need not be told that no more come. CloseWrite tells it.
func (c *TLSConn) Close() error { return c.below.Conn.Close() }

// write is called with writing held.
func (c *TLSConn) write(b []byte, within time.Duration) (n int, err error) {
	c.below.begin(within, len(b))
	n, err = c.Conn.Write(b)
	if ferr := c.below.end(); err == nil {
		err = ferr
	}
	return n, err
}

// belowTLS is the connection under a TLSConn. Only TLS calls Read and Write, and neither
// of them twice at once.
type belowTLS struct {
	net.Conn

	// Owned by the handshake, then by who reads.
	first     []byte // what was read before TLS began
	shook     bool   // the handshake is over
	read      int    // bytes, in the handshake
	heard     []byte // the first of them, if hear is set
	hear      bool
	gate      *Gate     // at which it waits, once its first words are read; nil: none
	strangers *Gate     // that the listener has; nil: none
	place     bool      // this handshake has a place in the gate
	until     time.Time // the handshake must be over
	passed    records   // what TLS was given
	dry       bool      // there is nothing more to give: who reads has something already, and waits for no more

	wear wear

	mu       sync.Mutex
	within   time.Duration // guarded by mu: how long the writes of now may wait; 0: as the deadline says
	gathered *[]byte       // guarded by mu: records for one larger write, of gathering; nil: each is written as it comes
}

// gathering has the rooms in which records gather, gatherMax and one record large. There may be ten
// thousand connections, few of which write at a moment; and a room made anew for each write is
// garbage as fast as what is written.
var gathering = sync.Pool{New: func() any {
	room := make([]byte, 0, gatherMax+recordMax+recordOverhead)
	return &room
}}

// records tells where the records of a stream of TLS end.
type records struct {
	head  [recordHead]byte // of the record that is passing
	got   int              // bytes of head
	left  int              // bytes of its body that are still to come
	whole int              // Invariant: at least as many records as have passed and were not read
}

// add notes what passes.
func (r *records) add(p []byte) {
	for len(p) > 0 {
		if r.got < recordHead {
			n := copy(r.head[r.got:], p)
			p = p[n:]
			if r.got += n; r.got < recordHead {
				return
			}
			r.left = int(binary.BigEndian.Uint16(r.head[recordHead-2:]))
		}
		n := min(r.left, len(p))
		p = p[n:]
		if r.left -= n; r.left == 0 {
			r.got = 0
			r.whole++
		}
	}
}

// next notes that one record was read, or some that carried nothing for the reader, and reports whether
// another one seems to be there.
func (r *records) next() bool {
	r.whole = max(0, r.whole-1)
	return r.whole > 0
}

// errDry is what TLS is told instead of being made to wait. It is temporary: TLS keeps what it has of a
// record, and goes on with it.
var errDry net.Error = dry{}

type dry struct{}

// Error implements error.
func (dry) Error() string { return "no more has arrived" }

// Timeout implements [net.Error].
func (dry) Timeout() bool { return false }

// Temporary implements [net.Error].
func (dry) Temporary() bool { return true }

func (b *belowTLS) Read(p []byte) (n int, err error) {
	switch {
	case b.dry:
		return 0, errDry
	case b.shook:
		n, err = b.Conn.Read(p)
		b.wear.count(&b.wear.read, n)
	default:
		n, err = b.readHandshake(p)
	}
	b.passed.add(p[:max(n, 0)])
	return n, err
}

// readHandshake is Read until the handshake is over.
func (b *belowTLS) readHandshake(p []byte) (n int, err error) {
	if b.read >= HandshakeBytesMax {
		return 0, fmt.Errorf("more than %d bytes of a handshake", HandshakeBytesMax)
	}
	p = p[:min(len(p), HandshakeBytesMax-b.read)]
	if len(b.first) > 0 {
		n = copy(p, b.first)
		b.first = b.first[n:]
	} else {
		// Others are let in while this handshake waits for the other side.
		b.leave()
		if n, err = b.Conn.Read(p); err == nil {
			err = b.resume()
		}
	}
	b.read += n
	if b.hear {
		b.heard = append(b.heard, p[:n]...)
	}
	return n, err
}

// enter waits for a place to begin a handshake at.
func (b *belowTLS) enter() error {
	if b.gate == nil {
		return nil
	}
	err := b.gate.begin(hostOf(b.Conn.RemoteAddr()), b.until)
	b.place = err == nil
	return err
}

// resume waits for a place to go on with the handshake at.
func (b *belowTLS) resume() error {
	if b.gate == nil {
		return nil
	}
	err := b.gate.resume(b.until)
	b.place = err == nil
	return err
}

// leave gives the place back, if there is one.
func (b *belowTLS) leave() {
	if b.place {
		b.place = false
		b.gate.leave()
	}
}

func (b *belowTLS) Write(p []byte) (n int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.gathered == nil {
		return b.put(p)
	}
	*b.gathered = append(*b.gathered, p...)
	if len(*b.gathered) >= gatherMax {
		err = b.flush()
	}
	return len(p), err
}

// put writes p. b.mu is held.
func (b *belowTLS) put(p []byte) (n int, err error) {
	if b.within > 0 {
		n, err = WriteWithin(b.Conn, p, b.within)
	} else {
		n, err = b.Conn.Write(p)
	}
	b.wear.count(&b.wear.written, n)
	return n, err
}

// flush writes what has gathered. b.mu is held.
func (b *belowTLS) flush() error {
	if len(*b.gathered) == 0 {
		return nil
	}
	_, err := b.put(*b.gathered)
	*b.gathered = (*b.gathered)[:0]
	return err
}

// begin begins the writes of some bytes.
func (b *belowTLS) begin(within time.Duration, size int) {
	b.mu.Lock()
	b.within = within
	if size > recordMax {
		b.gathered = gathering.Get().(*[]byte)
	}
	b.mu.Unlock()
}

// end writes what is left of the writes since begin.
func (b *belowTLS) end() (err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.gathered != nil {
		err = b.flush()
		gathering.Put(b.gathered)
	}
	b.within, b.gathered = 0, nil
	return err
}

// TLSClient runs the dialler's side of the handshake over conn, which it does not close.
// [HelloTimeout] begins here, and [ClientHello] has what is left of it. If the other side
// answers in this protocol instead of TLS, the error is its refusal.
func TLSClient(conn net.Conn, c *tls.Config) (*TLSConn, error) {
	t := &TLSConn{below: &belowTLS{Conn: conn, hear: true}, until: time.Now().Add(HelloTimeout)}
	addr := conn.RemoteAddr().String()
	t.Conn = tls.Client(t.below, c)
	err := t.shake()
	if err == nil {
		return t, nil
	}
	if e := plainRefusal(t.below.heard, conn); e != nil {
		return nil, explain(addr, e)
	}
	var foreign tls.RecordHeaderError
	if errors.As(err, &foreign) {
		heard := t.below.heard
		err = fmt.Errorf("%w: it does not answer with TLS, but begins with %q", ErrForeign, heard[:min(len(heard), shownMax)])
	}
	if len(t.below.heard) == 0 && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)) {
		return nil, explain(addr, errSilentTLS)
	}
	return nil, explain(addr, handshakeError(err))
}

// errSilentTLS is how a dialler sees a node of a release that has no TLS; or one that stops at that moment.
var errSilentTLS = errors.New("it hung up at the first word of TLS, as a node of a release without TLS does: such a one wants --insecure, and the cluster's secret if there is one")

// errUnnamed refuses a dialler that speaks this protocol and has not said so in the handshake, which is where both sides
// make sure that nobody's words are taken for those of another protocol.
var errUnnamed = errors.New("it speaks this protocol, and has named " + trust.ALPN + " by ALPN to nobody")

// TLSServer runs the acceptor's side of the handshake over conn, which began with o and
// which it does not close, and reads the opening of what TLS carries, unless ALPN has settled that it is HTTP. An
// opening that is not what the handshake has settled is refused.
func (o *Opening) TLSServer(conn net.Conn, c *tls.Config, g *Gate) (*TLSConn, *Opening, error) {
	t := &TLSConn{below: &belowTLS{Conn: conn, first: o.bytes[:o.read], strangers: g, until: o.until}, until: o.until}
	addr := conn.RemoteAddr().String()
	c = c.Clone()
	c.GetConfigForClient = t.below.arrive
	t.Conn = tls.Server(t.below, c)
	err := t.shake()
	t.below.leave()
	if err != nil {
		return nil, nil, fmt.Errorf("hello from %s: %w", addr, handshakeError(err))
	}
	inner := &Opening{until: o.until}
	named := t.Conn.ConnectionState().NegotiatedProtocol
	if trust.HTTP(named) {
		inner.http = true
		return t, inner, nil
	}
	if err := inner.readFirst(t); err != nil {
		return nil, nil, err
	}
	switch ours := inner.Ours(); {
	case named == trust.ALPN && !ours:
		return nil, nil, inner.Foreign(conn.RemoteAddr())
	case named != trust.ALPN && ours && !bug(bugUnnamed):
		return nil, nil, fmt.Errorf("hello from %s: %w", addr, errUnnamed)
	}
	return t, inner, nil
}

// bugUnnamed is planted to show that its test finds it: ALPN need not agree with what follows.
const bugUnnamed = "ALPN not looked at"

// BoundWrites has each write of [TLSConn.Conn] wait for the other side no longer than within. Whoever calls it uses that
// in place of c from then on, which WriteWithin would undo.
func (c *TLSConn) BoundWrites(within time.Duration) {
	c.below.mu.Lock()
	defer c.below.mu.Unlock()
	c.below.within = within
}

// shake runs the handshake. Until it has ended well, nothing but TLS uses the connection.
func (c *TLSConn) shake() error {
	if err := c.Conn.SetDeadline(c.until); err != nil {
		return err
	}
	if err := c.Conn.Handshake(); err != nil {
		return err
	}
	state := c.Conn.ConnectionState()
	exporter, err := trust.Exporter(&state)
	if err != nil {
		return err
	}
	c.exporter = exporter
	b := c.below
	b.shook, b.heard, b.first = true, nil, nil
	return nil
}

// handshakeError bounds what is said of a handshake; typed refusals stay what they are.
func handshakeError(err error) error {
	var e *Error
	var elsewhere *ElsewhereError
	if errors.As(err, &e) || errors.As(err, &elsewhere) || errors.Is(err, ErrForeign) {
		return err
	}
	text := err.Error()
	if len(text) <= handshakeErrorMax {
		return fmt.Errorf("TLS: %w", err)
	}
	return fmt.Errorf("TLS: %s…", text[:handshakeErrorMax])
}

// plainRefusal is the refusal that a node without TLS has answered with, or nil. heard is
// what TLS has read of it; the rest is read from conn.
func plainRefusal(heard []byte, conn net.Conn) *Error {
	const typeAt = 8
	if len(heard) < typeAt+2 || Type(binary.LittleEndian.Uint16(heard[typeAt:])) != TypeError {
		return nil
	}
	h, body, err := ReadFrame(io.MultiReader(bytes.NewReader(heard), conn), NewDecoder(HelloBytesMax))
	e := new(Error)
	if err != nil || h.Type != TypeError || e.Read(body) != nil {
		return nil
	}
	return e
}

// Refuse tells a dialler why it is not let in, in this protocol without TLS. One that has
// begun with TLS understands it too: see [TLSClient].
func (o *Opening) Refuse(conn net.Conn, e *Error) error {
	return fmt.Errorf("hello from %s: %w", conn.RemoteAddr(), refuse(conn, e))
}
