package node

import (
	"fmt"
	"net"
	"slices"
	"time"

	"muster/node/web"
	"muster/repl/wire"
)

// seats counts the connections of this node by what they have proven to be, so that a
// flood of one kind can't take the place of another. door.mu guards it. Each connection
// that has a descriptor has a seat: it is among the strangers until it is admitted, and
// stays there while a refusal waits to be read.
type seats struct {
	clients, peers, bulks       int
	strangers, founders, guests crowd
	// known have shown by their first words that they are likely to be members, and have yet to prove it:
	// strangers can't take the places of these.
	known crowd
	// visitors speak HTTP, have asked for something, and have not said yet who asks. Of webs one has.
	visitors crowd
	webs     *web.Shares // has a lock of its own
}

// crowd is connections of which one too many ends the oldest. That is for connections
// that have proven little and need only a round trip: an honest one is never the oldest
// for long; one that lingers soon is.
type crowd struct{ conns []net.Conn } // oldest first

// add takes a connection in.
func (c *crowd) add(conn net.Conn, atMost int) {
	if len(c.conns) >= max(atMost, 1) {
		c.conns[0].Close() // its goroutine, door.attend, does the rest
		c.conns = slices.Delete(c.conns, 0, 1)
	}
	c.conns = append(c.conns, conn)
}

// remove gives up a connection's place, and reports whether it still had one.
func (c *crowd) remove(conn net.Conn) (had bool) {
	i := slices.Index(c.conns, conn)
	if i >= 0 {
		c.conns = slices.Delete(c.conns, i, i+1)
	}
	return i >= 0
}

// recognize moves a stranger, if it still has a seat, to those that are likely to be members.
func (s *seats) recognize(l *limits, conn net.Conn) {
	if s.strangers.remove(conn) {
		s.known.add(conn, l.known)
	}
}

// unseat takes the seat of one that is not admitted.
func (s *seats) unseat(conn net.Conn) {
	_ = s.strangers.remove(conn) || s.known.remove(conn)
}

// take moves a stranger of the node to the seat of its kind, unless all are taken.
// The caller calls leave when it ends.
func (s *seats) take(node string, l *limits, conn net.Conn, who wire.Sender) (leave func(), err *wire.Error) {
	if who == wire.SenderFounder || who == wire.SenderInviter || who == wire.SenderJoiner {
		s.unseat(conn)
		s.founders.add(conn, l.founders)
		return func() { s.founders.remove(conn) }, nil
	}
	if who == wire.SenderGuest {
		s.unseat(conn)
		s.guests.add(conn, l.guests)
		return func() { s.guests.remove(conn) }, nil
	}
	count, limit, what := &s.clients, l.clients, "connections of clients"
	switch who {
	case wire.SenderMember, wire.SenderRenewer:
		count, limit, what = &s.peers, l.peers, "connections of peers"
	case wire.SenderBulk:
		count, limit, what = &s.bulks, l.bulks, "connections for snapshots"
	}
	if *count >= limit {
		return nil, wire.Busy("node "+node, fmt.Sprintf("it has %d %s, the limit is %d", *count, what, limit), time.Second)
	}
	s.unseat(conn)
	*count++
	return func() { *count-- }, nil
}
