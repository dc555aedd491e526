package wire_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"muster/raft"
	"muster/repl/wire"
)

// A relay is whoever listens where a member once was, knows no secret, and
// passes on what it hears to a member elsewhere, and back.
const (
	deadAddr = "10.0.0.3:4166" // where the relay listens, to the dialler
	liveAddr = "10.0.0.1:4166" // where the other member says that it is reached
)

// relayKind is what the relay hopes for.
type relayKind struct {
	to      raft.NodeID               // whom the dialler means
	addr    string                    // and where it has to say that it is; empty: anywhere
	rewrite func(c *wire.Challenge)   // what the relay makes of the challenge; nil: nothing
	refused func(err error) (ok bool) // what the dialler should say
}

func elsewhere(err error) bool {
	var e *wire.ElsewhereError
	return errors.As(err, &e) && errors.Is(err, &wire.Error{Code: wire.CodeUnknownNode})
}

func badProof(err error) bool { return errors.Is(err, &wire.Error{Code: wire.CodeUnauthorized}) }

var (
	// The member that is dialled is dead, another one answers.
	relayNode = relayKind{n3, "", nil, elsewhere}
	// The member that is dialled has moved away.
	relayAddr = relayKind{n1, deadAddr, nil, elsewhere}
	// As these, and the relay says what the dialler wants to hear.
	relayLies = relayKind{n3, deadAddr, func(c *wire.Challenge) { c.Node, c.Advertise = n3, deadAddr }, badProof}
	relayHere = relayKind{n1, deadAddr, func(c *wire.Challenge) { c.Advertise = deadAddr }, badProof}
)

// relayed has a member dial through the relay. It tells what the relay gained.
func relayed(t *testing.T, k relayKind) string {
	t.Helper()
	secret := []byte("0123456789abcdef")
	dc, ac := pair(t)       // the dialler, and the relay's end
	between, far := pair(t) // the relay's other end, and the live member
	accepted := make(chan helloResult, 1)
	go func() {
		g, err := wire.ServerHello(far, with(acceptor(), func(c *wire.AcceptConfig) { c.Secret, c.Advertise = secret, liveAddr }))
		if err != nil {
			far.Close()
		}
		accepted <- helloResult{g, err}
	}()
	go func() {
		_, _ = io.Copy(between, ac)
		between.(*net.TCPConn).CloseWrite()
	}()
	go func() {
		defer ac.Close()
		d := wire.NewDecoder(wire.HelloBytesMax)
		var c wire.Challenge
		h, body, err := wire.ReadFrame(between, d)
		if err != nil || h.Type != wire.TypeChallenge || c.Read(body) != nil {
			return
		}
		if k.rewrite != nil {
			k.rewrite(&c)
		}
		_ = wire.WriteFrame(ac, wire.TypeChallenge, 0, &c)
		_, _ = io.Copy(ac, between)
	}()
	_, err := wire.ClientHello(dc, with(peer(), func(c *wire.DialConfig) { c.Secret, c.To, c.ToAddr = secret, k.to, k.addr }))
	dc.Close()
	if got := <-accepted; got.err == nil {
		return fmt.Sprintf("the relay has a connection to node %s as node %s", got.greeting.Challenge.Node, got.greeting.Hello.Node)
	}
	if err == nil {
		return "the dialler takes the relay for the member"
	}
	if !k.refused(err) {
		return fmt.Sprintf("the dialler says %v", err)
	}
	return ""
}

// Whoever listens at a dead member's address, without the secret, can pass on
// the hello of those who dial it. If they proved themselves to it, it would be
// each of them to the others.
func TestRelayGainsNothing(t *testing.T) {
	for name, k := range map[string]relayKind{
		"another member answers": relayNode, "the member has moved": relayAddr,
		"the relay gives it the dead one's id": relayLies, "the relay gives it its own address": relayHere,
	} {
		if gained := relayed(t, k); gained != "" {
			t.Errorf("%s: %s", name, gained)
		}
	}
}

// recordHello returns what each side of a good hello says.
func recordHello(t *testing.T, d wire.DialConfig, a wire.AcceptConfig) (dialler, acceptor []byte) {
	t.Helper()
	dc, ac := pair(t)
	between, far := pair(t)
	ended := make(chan error, 1)
	var up, down bytes.Buffer
	done := make(chan struct{}, 2)
	go func() { _, _ = io.Copy(io.MultiWriter(between, &up), ac); between.Close(); done <- struct{}{} }()
	go func() { _, _ = io.Copy(io.MultiWriter(ac, &down), between); ac.Close(); done <- struct{}{} }()
	go func() {
		_, err := wire.ServerHello(far, a)
		far.Close()
		ended <- err
	}()
	if _, err := wire.ClientHello(dc, d); err != nil {
		t.Fatal(err)
	}
	dc.Close()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	<-done
	<-done
	return up.Bytes(), down.Bytes()
}

// changed copies from one side to the other with the byte at changed, and the
// checksum of the frame that it is in made good again. The first skip bytes are
// no frame.
func changed(to io.Writer, from io.Reader, skip, at int) {
	d := wire.NewDecoder(wire.FrameMax)
	preamble := make([]byte, skip)
	if _, err := io.ReadFull(from, preamble); err != nil {
		return
	}
	if at >= 0 && at < skip {
		preamble[at] ^= 2 // of a purpose, peer, it makes another one
	}
	if _, err := to.Write(preamble); err != nil {
		return
	}
	for at -= skip; ; {
		h, body, err := wire.ReadFrame(from, d)
		if err != nil {
			return
		}
		f, start := wire.BeginFrame(nil, h.Type, h.Flags, h.Deadline, h.Request)
		f = append(f, body...)
		size := len(f)
		if at >= 8 && at < size { // bytes 0 to 7 follow from the others
			f[at] ^= 1
		}
		at -= size
		if _, err := to.Write(wire.EndFrame(f, start)); err != nil {
			return
		}
	}
}

// changedOnTheWay flips a bit of each byte of a hello in turn, between two who
// share a secret. It tells of a byte that the side which read it did not miss.
func changedOnTheWay(t *testing.T) string {
	t.Helper()
	secret := []byte("0123456789abcdef")
	d := with(peer(), func(c *wire.DialConfig) { c.Secret, c.To, c.ToAddr = secret, n1, liveAddr })
	a := with(acceptor(), func(c *wire.AcceptConfig) { c.Secret, c.Advertise = secret, liveAddr })
	up, down := recordHello(t, d, a)
	for at := range len(up) + len(down) {
		dc, ac := pair(t)
		between, far := pair(t)
		upAt, downAt := at, -1
		if at >= len(up) {
			upAt, downAt = -1, at-len(up)
		}
		accepted := make(chan error, 1)
		go func() {
			_, err := wire.ServerHello(far, a)
			far.(*net.TCPConn).CloseWrite()
			accepted <- err
		}()
		relays := make(chan struct{}, 2)
		go func() {
			changed(between, ac, wire.PreambleSize, upAt)
			between.(*net.TCPConn).CloseWrite()
			relays <- struct{}{}
		}()
		go func() {
			changed(ac, between, 0, downAt)
			ac.(*net.TCPConn).CloseWrite()
			relays <- struct{}{}
		}()
		_, err := wire.ClientHello(dc, d)
		dc.(*net.TCPConn).CloseWrite()
		heard := <-accepted
		<-relays
		<-relays
		for _, c := range []net.Conn{dc, ac, between, far} {
			c.Close()
		}
		// What has no proof follows from the rest, so it was not changed.
		switch inFrame := frameOffset(up, down, at); {
		case inFrame >= 0 && inFrame < 8:
			if err != nil || heard != nil {
				return fmt.Sprintf("the hello through the relay itself failed: %v, %v", err, heard)
			}
		case at < len(up) && heard == nil:
			return fmt.Sprintf("byte %d of what the dialler says was changed, and the acceptor welcomed it", at)
		case at >= len(up) && err == nil:
			return fmt.Sprintf("byte %d of what the acceptor says was changed, and the dialler went on", at-len(up))
		}
	}
	return ""
}

// frameOffset is where in its frame a byte stands; negative in the preamble.
func frameOffset(up, down []byte, at int) int {
	b := up
	at -= wire.PreambleSize
	if at < 0 {
		return -1
	}
	b = b[wire.PreambleSize:]
	if at >= len(b) {
		at -= len(b)
		b = down
	}
	for {
		size := wire.HeaderSize + int(b[0]) + int(b[1])<<8
		if at < size {
			return at
		}
		at -= size
		b = b[size:]
	}
}

// Both sides believe what the other one said in the hello: which purpose the
// connection has, who speaks, how large a value may be. Each byte of it is under
// a proof, or can have one value only.
func TestEveryByteOfTheHelloIsProven(t *testing.T) {
	if missed := changedOnTheWay(t); missed != "" {
		t.Error(missed)
	}
}
