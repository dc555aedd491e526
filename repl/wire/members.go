package wire

import (
	"crypto/tls"
	"errors"
	"net"
)

// MembersAtOnce is how many handshakes of members a host works on at once, beside those of strangers.
const MembersAtOnce = 2

// Members are the handshakes of those that are likely to be members of the cluster, which pass
// strangers: they have a gate of their own. It is decided by a dialler's first words, before anything is
// computed for it, and proves nothing. All fields are set before the first handshake.
type Members struct {
	Gate *Gate
	// Marked reports whether what a dialler names as protocols shows that it may be a member.
	Marked func(protocols []string) bool
	// Known is called for one that does, with the connection that [Opening.TLSServer] was given.
	Known func(conn net.Conn)
}

// bugNoMembers is planted to show that its test finds it: members stand in the queue of strangers.
const bugNoMembers = "no places for members"

// gateFor is the gate at which the handshake of a dialler waits that names some protocols.
func (g *Gate) gateFor(protocols []string, conn net.Conn) *Gate {
	if g == nil || g.Members == nil || !g.Members.Marked(protocols) || bug(bugNoMembers) {
		return g
	}
	g.Members.Known(conn)
	return g.Members.Gate
}

// hungUp is a connection that can tell whether the other side has ended it, without a wait and
// without taking what has arrived.
type hungUp interface{ HungUp() bool }

var errHungUp = errors.New("it has hung up")

// arrive is called by TLS when it has read the first words, and has computed nothing yet. For a dialler
// that has gone meanwhile, nothing is: to send a hello and go costs it next to nothing.
func (b *belowTLS) arrive(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	b.gate = b.strangers.gateFor(hello.SupportedProtos, b.Conn)
	if err := b.enter(); err != nil {
		return nil, err
	}
	if c, ok := b.Conn.(hungUp); ok && c.HungUp() {
		b.gate.refund(hostOf(b.Conn.RemoteAddr()))
		return nil, errHungUp
	}
	return nil, nil
}
