package wire

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"time"

	"muster/raft"
	"muster/repl/trust"
)

// Limits of the hello.
const (
	// HelloTimeout bounds the whole hello, on both sides: a connection that
	// has not said by then who it is has no use.
	HelloTimeout = 2 * time.Second
	// HelloBytesMax bounds each body of the hello, in bytes, so that a
	// stranger costs little.
	HelloBytesMax = 4096
	// PreambleSize is the number of bytes before the first frame.
	PreambleSize = 8
)

var preambleMagic = [4]byte{0xed, 'm', 'u', 's'}

// DialConfig is what the dialling side says of itself.
type DialConfig struct {
	// To is the node that the dialler wants to reach; 0: any that answers.
	To raft.NodeID
	// ToAddr is the address that was dialled. If it is not empty, the other
	// side must say that this is its address: that reveals a listener which passes
	// the hello on to a node elsewhere.
	ToAddr    string
	Purpose   Purpose
	Role      Role
	Cluster   string // a client may leave it empty: any
	ClusterID uint64 // 0: any
	Node      raft.NodeID
	Start     uint64
	Advertise string
	Level     uint32 // that the dialler's build understands
	// ClusterLevel is the level that the cluster is at, as far as the dialler knows; 0:
	// it does not. A peer below it is refused.
	ClusterLevel uint32
	Window       uint32
	Secret       []byte // empty: none, then the other side must have none either
	// Unproven: the other side may prove nothing, though there is a secret here. It is told nothing secret, and
	// gets in by a token.
	Unproven bool
	Rand     io.Reader // of nonces; nil: the system's
	// Challenged, if set, is called once the other side claims to be the wanted
	// node, and before anything is proven. An error of it ends the hello.
	Challenged func(c *Challenge) error
}

// AcceptConfig is what the accepting side says of itself.
type AcceptConfig struct {
	Cluster   string
	ClusterID uint64 // 0: not founded yet
	Node      raft.NodeID
	Start     uint64
	Advertise string // address at which the acceptor wants to be dialled
	Level     uint32 // that the acceptor's build understands
	// ClusterLevel is the level that the cluster is at; 0: the acceptor does
	// not know it yet, and says its own.
	ClusterLevel uint32
	ValueMax     uint32
	WindowMax    uint32
	Secret       []byte
	Rand         io.Reader
	// Admit, if set, has the last word on a dialler. Over a plain connection, that has
	// proven to know the secret, if there is one; over TLS, the greeting says what it
	// has proven. Admit may set its Standing. An [Error] is sent as it is; another error
	// as unavailable.
	Admit func(g *Greeting) error
}

// Greeting is what the two sides of a connection know of each other once the
// hello is over.
type Greeting struct {
	Version   uint8 // of the protocol
	Purpose   Purpose
	Hello     Hello     // of the dialler
	Challenge Challenge // of the acceptor
	Welcome   Welcome   // of the acceptor
	// Exporter is 32 bytes that nobody but the two ends of this TLS connection knows;
	// nil without TLS.
	Exporter []byte
	// Peer is whom the other side has proven to be by its certificate. Its name is the
	// zero value without one, and if the certificate proves nothing here.
	Peer trust.Proven
	// KnowsSecret is set if each side has proven to the other that it knows the secret.
	KnowsSecret bool
	// Standing is what [AcceptConfig.Admit] made of the dialler; [SenderNobody]: what its
	// purpose and role say.
	Standing Sender
	// Decoder has the frame limit for what follows. It holds nothing: what
	// arrived behind the hello is still in the connection.
	Decoder *Decoder
}

// TLS reports whether the connection is one over TLS.
func (g *Greeting) TLS() bool { return g.Exporter != nil }

// ErrForeign is wrapped if the other side speaks something else.
var ErrForeign = errors.New("speaks something else")

// shownMax is how much an error shows of what arrived instead of a frame, in bytes.
const shownMax = 24

func nonce(r io.Reader) (n Nonce, err error) {
	if r == nil {
		r = rand.Reader
	}
	if _, err := io.ReadFull(r, n[:]); err != nil {
		return n, fmt.Errorf("draw a nonce: %w", err)
	}
	return n, nil
}

// ClientHello runs the dialler's side of the hello over conn, which it does not
// close. An [Error] is the other side's refusal, or ours of it.
func ClientHello(conn net.Conn, c DialConfig) (*Greeting, error) {
	addr := conn.RemoteAddr().String()
	until := time.Now().Add(HelloTimeout)
	if t, ok := conn.(*TLSConn); ok {
		until = t.until // the handshake has begun the time
	}
	if err := conn.SetDeadline(until); err != nil {
		return nil, fmt.Errorf("hello with %s: %w", addr, err)
	}
	g, err := c.dial(conn, addr)
	if err != nil {
		return nil, explain(addr, err)
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return nil, fmt.Errorf("hello with %s: %w", addr, err)
	}
	return g, nil
}

// explain describes in one line what went wrong with the hello at addr.
func explain(addr string, err error) error {
	var refusal *Error
	switch {
	case errors.As(err, &refusal):
		return fmt.Errorf("hello with %s: %w", addr, err)
	case errors.Is(err, ErrForeign):
		return fmt.Errorf("%s %w; check the address and port", addr, err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("hello with %s: no answer within %s; check that a muster listens there and is not stopped: %w", addr, HelloTimeout, err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("hello with %s: it hung up without a word; check that a muster listens there, and its log: %w", addr, err)
	}
	return fmt.Errorf("hello with %s: %w; check that a muster listens there, and its log", addr, err)
}

func (c *DialConfig) dial(conn net.Conn, addr string) (*Greeting, error) {
	n, err := nonce(c.Rand)
	if err != nil {
		return nil, err
	}
	g := &Greeting{Purpose: c.Purpose, Decoder: NewDecoder(HelloBytesMax)}
	g.secured(conn)
	g.Hello = Hello{VersionMin: VersionMin, VersionMax: VersionMax, Cluster: c.Cluster, ClusterID: c.ClusterID, Node: c.Node,
		Start: c.Start, Role: c.Role, Advertise: c.Advertise, Level: c.Level, Nonce: n, Window: c.Window}
	preamble := append(preambleMagic[:len(preambleMagic):len(preambleMagic)], VersionMin, VersionMax, byte(c.Purpose), 0)
	said := g.transcript(preamble, g.Hello.Append(nil))
	if _, err := conn.Write(AppendFrame(preamble[:PreambleSize:PreambleSize], TypeHello, 0, &g.Hello)); err != nil {
		return nil, err
	}
	body, err := c.expect(conn, g.Decoder, TypeChallenge, &g.Challenge)
	if err != nil {
		return nil, err
	}
	said = append(said, append([]byte(nil), body...))
	// Nothing is proven before this: to a stranger a proof is worth a
	// connection in this node's name.
	if err := c.checkChallenge(addr, g); err != nil {
		return nil, err
	}
	g.Version = g.Challenge.Version
	if c.Challenged != nil {
		if err := c.Challenged(&g.Challenge); err != nil {
			return nil, err
		}
	}
	secret := c.Secret
	if !g.Challenge.NeedsProof {
		secret = nil // its certificate has said who it is
	}
	proof := Proof{Proof: makeProof(secret, sideDialler, said)}
	if err := WriteFrame(conn, TypeProof, 0, &proof); err != nil {
		return nil, err
	}
	body, err = c.expect(conn, g.Decoder, TypeWelcome, &g.Welcome)
	if err != nil {
		return nil, err
	}
	if e := checkWelcome(addr, secret, g, body, said); e != nil {
		return nil, e
	}
	if e := c.checkProven(addr, g); e != nil {
		return nil, e
	}
	g.KnowsSecret = len(secret) > 0
	g.Decoder.SetLimit(FrameMax)
	return g, nil
}

// expect reads the one frame that must follow, or the other side's refusal.
func (c *DialConfig) expect(conn net.Conn, d *Decoder, t Type, into Body) ([]byte, error) {
	h, body, err := ReadFrame(conn, d)
	if err != nil {
		return nil, noFrame(d, err)
	}
	if h.Type == TypeError {
		refusal := new(Error)
		if err := refusal.Read(body); err != nil {
			return nil, fmt.Errorf("read its refusal: %w", err)
		}
		return nil, refusal
	}
	return body, readDue(h, body, t, into)
}

// readDue reads the body of a frame that must be of type t.
func readDue(h Header, body []byte, t Type, into Body) error {
	if h.Type != t {
		return BadRequest("hello", fmt.Sprintf("a frame of type %s instead of %s", h.Type, t), nextProtocol)
	}
	// The proofs cover the bodies. Type, length and checksum follow from
	// those. The rest of the header must have one value, or a go-between could
	// change it without breaking a proof.
	if h.Flags != 0 || h.Deadline != 0 || h.Request != 0 {
		return BadRequest("hello", fmt.Sprintf("%s has flags %#x, deadline %d and request number %d, want 0 for each", t, h.Flags, h.Deadline, h.Request), nextProtocol)
	}
	if err := into.Read(body); err != nil {
		return BadBody(t, err)
	}
	return nil
}

// noFrame describes what arrived instead of a frame.
func noFrame(d *Decoder, err error) error {
	var bad *FrameError
	began := d.buf[d.from:d.to]
	cut := errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, os.ErrDeadlineExceeded)
	if !errors.As(err, &bad) && !(cut && len(began) > 0) {
		return err
	}
	return fmt.Errorf("%w: it begins with %q (%w)", ErrForeign, began[:min(len(began), shownMax)], err)
}

// Opening is the beginning of an accepted connection, which tells the protocol that
// it speaks: others share the port with this one.
type Opening struct {
	bytes [PreambleSize]byte
	read  int       // of bytes
	until time.Time // the hello must be over
	// http reports that the handshake of TLS has settled that HTTP follows, of which nothing was read.
	http bool
}

// ReadOpening reads the first bytes of conn, at least one, within
// [HelloTimeout]; the hello has the rest of that time.
func ReadOpening(conn net.Conn) (*Opening, error) {
	o := &Opening{until: time.Now().Add(HelloTimeout)}
	if err := conn.SetDeadline(o.until); err != nil {
		return nil, fmt.Errorf("hello from %s: %w", conn.RemoteAddr(), err)
	}
	if err := o.readFirst(conn); err != nil {
		return nil, err
	}
	return o, nil
}

func (o *Opening) readFirst(conn net.Conn) error {
	n, err := io.ReadAtLeast(conn, o.bytes[:], 1)
	if err != nil {
		return fmt.Errorf("hello from %s: it said nothing: %w", conn.RemoteAddr(), err)
	}
	o.read = n
	return nil
}

// TLS reports whether TLS begins so: with a record of a handshake.
func (o *Opening) TLS() bool { return o.bytes[0] == tlsHandshake }

// Ours reports whether this protocol begins so. TLS, HTTP and RESP begin with a
// byte below 0x80.
func (o *Opening) Ours() bool { return o.bytes[0] == preambleMagic[0] }

// methods are how a request of HTTP may begin; the last is how a connection of HTTP/2 does.
var methods = [...]string{"GET ", "HEAD ", "POST ", "PUT ", "DELETE ", "OPTIONS ", "PATCH ", "CONNECT ", "TRACE ", "PRI * "}

// HTTP reports whether HTTP begins so: with the name of a method, or because the handshake of TLS has settled it. RESP
// begins with a sign, or with a command that is no method, and has its place beside it.
func (o *Opening) HTTP() bool {
	begun := string(o.bytes[:o.read])
	return o.http || slices.ContainsFunc(methods[:], func(m string) bool {
		n := min(len(m), len(begun))
		return n > 0 && m[:n] == begun[:n]
	})
}

// Begun returns what was read of the connection: whoever serves it has to read this first.
func (o *Opening) Begun() []byte { return o.bytes[:o.read] }

// Foreign is the error of a connection from addr that speaks something else.
func (o *Opening) Foreign(addr net.Addr) error {
	return fmt.Errorf("hello from %s: %w: it begins with %q", addr, ErrForeign, o.bytes[:o.read])
}

// ServerHello reads the first bytes of conn, and goes on with
// [Opening.ServerHello].
func ServerHello(conn net.Conn, c AcceptConfig) (*Greeting, error) {
	o, err := ReadOpening(conn)
	if err != nil {
		return nil, err
	}
	return o.ServerHello(conn, c)
}

// ServerHello runs the acceptor's side of the hello over conn, which began with o
// and which it does not close. Whoever speaks this protocol and is refused gets an
// [Error] frame that says why.
func (o *Opening) ServerHello(conn net.Conn, c AcceptConfig) (*Greeting, error) {
	addr := conn.RemoteAddr().String()
	g, err := c.accept(conn, o)
	if err != nil {
		return nil, fmt.Errorf("hello from %s: %w", addr, err)
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return nil, fmt.Errorf("hello from %s: %w", addr, err)
	}
	return g, nil
}

func (c *AcceptConfig) accept(conn net.Conn, o *Opening) (*Greeting, error) {
	p := o.bytes
	if n, err := io.ReadFull(conn, p[o.read:]); err != nil {
		return nil, fmt.Errorf("%w: it begins with %q (%w)", ErrForeign, p[:o.read+n], err)
	}
	if [4]byte(p[:4]) != preambleMagic {
		return nil, fmt.Errorf("%w: it begins with %q", ErrForeign, p[:])
	}
	g := &Greeting{Purpose: Purpose(p[6]), Decoder: NewDecoder(HelloBytesMax)}
	g.secured(conn)
	if _, ok := commonVersion(p[4], p[5]); !ok || p[4] > p[5] {
		return nil, refuse(conn, WrongVersion("dialler", p[4], p[5]))
	}
	if p[7] != 0 {
		return nil, refuse(conn, BadRequest("preamble", fmt.Sprintf("byte 7 is %d, want 0", p[7]), nextProtocol))
	}
	body, err := c.expect(conn, g.Decoder, TypeHello, &g.Hello)
	if err != nil {
		return nil, err
	}
	said := g.transcript(p[:], append([]byte(nil), body...))
	version, e := c.checkHello(g.Purpose, p[4], p[5], &g.Hello)
	if e != nil {
		return nil, refuse(conn, e)
	}
	g.Version = version
	n, err := nonce(c.Rand)
	if err != nil {
		return nil, err
	}
	g.Challenge = Challenge{Version: version, Cluster: c.Cluster, ClusterID: c.ClusterID, Node: c.Node,
		Start: c.Start, Nonce: n, Level: c.Level, NeedsProof: len(c.Secret) > 0, Advertise: c.Advertise}
	if err := WriteFrame(conn, TypeChallenge, 0, &g.Challenge); err != nil {
		return nil, err
	}
	return c.acceptProof(conn, g, append(said, g.Challenge.Append(nil)))
}

func (c *AcceptConfig) acceptProof(conn net.Conn, g *Greeting, said transcript) (*Greeting, error) {
	var proof Proof
	if _, err := c.expect(conn, g.Decoder, TypeProof, &proof); err != nil {
		return nil, err
	}
	if e := c.checkProof(g, &proof, said); e != nil {
		return nil, refuse(conn, e)
	}
	if c.Admit != nil {
		if err := c.Admit(g); err != nil {
			var e *Error
			if !errors.As(err, &e) {
				e = Unavailable(nodeObject(g.Hello.Node, g.Hello.Advertise), err.Error())
			}
			return nil, refuse(conn, e)
		}
	}
	g.Welcome = Welcome{ValueMax: c.ValueMax, FrameMax: FrameMax, WindowMax: c.WindowMax, Level: cmp.Or(c.ClusterLevel, c.Level)}
	// To a dialler that has proven nothing, a proof would be something to guess by.
	if g.KnowsSecret {
		g.Welcome.prove(c.Secret, said)
	}
	if err := WriteFrame(conn, TypeWelcome, 0, &g.Welcome); err != nil {
		return nil, err
	}
	g.Decoder.SetLimit(FrameMax)
	return g, nil
}

// expect reads the one frame that must follow; it refuses anything else with a
// frame.
func (c *AcceptConfig) expect(conn net.Conn, d *Decoder, t Type, into Body) ([]byte, error) {
	h, body, err := ReadFrame(conn, d)
	if err == nil {
		err = readDue(h, body, t, into)
	}
	var bad *FrameError
	var e *Error
	switch {
	case err == nil:
		return body, nil
	case errors.As(err, &e):
	case errors.As(err, &bad) && bad.TooLarge:
		e = TooLarge("hello", bad.Problem, "send shorter names and addresses")
	case errors.As(err, &bad):
		e = BadRequest("hello", "bad frame: "+bad.Problem, nextProtocol)
	default:
		return nil, err
	}
	return nil, refuse(conn, e)
}

// refuse sends e and returns it. It then waits for the other side to hang up,
// no longer than the hello may take and for no more bytes than it may have.
// Closing at once, with bytes unread, would make the system throw away what
// was just sent.
func refuse(conn net.Conn, e *Error) error {
	if err := WriteFrame(conn, TypeError, 0, e); err != nil {
		return fmt.Errorf("%w (it was not told: %v)", e, err)
	}
	if half, ok := conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		_, _ = io.CopyN(io.Discard, conn, 4*HelloBytesMax) // only its end matters
	}
	return e
}
