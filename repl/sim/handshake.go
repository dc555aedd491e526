package sim

import (
	"fmt"
	"slices"
	"time"

	"muster/raft"
	"muster/repl/standing"
	"muster/repl/trust"
	"muster/shardmap"
)

// A certificate is a row here, and says without a signature whom it proves to whom. What follows from that, package
// standing decides, as in a process. A connection is as good as its handshake was, until it ends or somebody looks
// again.

// met is how a handshake ended.
type met struct {
	kind standing.Kind // what the dialler is to the other node, or why either has refused
	err  error         // why a certificate proves nothing
	// theirs and mine are what each has proven by a certificate, or its key: the dialled node, and the dialler.
	theirs, mine trust.Proven
}

func (m met) String() string { return fmt.Sprintf("%s (%v)", m.kind, m.err) }

// named reports whether the dialler has proven by a certificate, or by its key, who it is: node/certify.go has the same
// question to answer.
func (m *met) named() bool { return m.kind == standing.Renewer || m.mine.Name.Node != 0 }

// verify says what a certificate proves to a node, as package trust does.
func (y *credentials) verify(serial shardmap.Serial) (certificate, error) {
	x := &y.n.c.security
	c, ok := x.certs[serial]
	switch {
	case !ok:
		return certificate{}, trust.ErrFounding
	case x.wall(y.n) < c.issued-int64(trust.Backdate/time.Second):
		return certificate{}, trust.ErrEarly
	case !y.believes(trust.RootID(c.root)):
		return certificate{}, trust.ErrForeign
	case y.denied(trust.Serial(serial)):
		return certificate{}, trust.ErrDenied
	}
	return c, nil
}

func (y *credentials) believes(root trust.RootID) bool {
	return slices.Contains(y.roots, shardmap.RootID(root))
}

func (y *credentials) denied(serial trust.Serial) bool {
	return y.table != nil && y.table.Security.IsDenied(shardmap.Serial(serial))
}

// view is what a node goes by when it decides about another one.
func (y *credentials) view() standing.View {
	x := &y.n.c.security
	own, has := x.certs[y.own]
	return standing.View{
		Table: y.n.known.table, Sealed: y.sealed, Secret: y.secret,
		Ended: has && own.expired(x.wall(y.n)), Led: func() bool { return y.n.metaLead() != 0 },
		Introduced: func(id raft.NodeID) (trust.KeyID, bool) { key, ok := y.introduced[id]; return key, ok },
		Believed:   y.believes, Denied: y.denied,
	}
}

// only reports whether certificates alone count for a node.
func (y *credentials) only() bool {
	v := y.view()
	return v.Only()
}

// sees is what a node sees another one show.
func (y *credentials) sees(o *node) standing.Shown {
	serial := o.creds.own
	c, err := y.verify(serial)
	if err != nil {
		return standing.Shown{Err: err, Key: trust.KeyID(o.creds.key), SelfMade: serial == (shardmap.Serial{})}
	}
	key := trust.KeyID(c.key)
	return standing.Shown{Key: key, Proven: trust.Proven{
		Name: trust.Name{Kind: trust.KindNode, Node: c.node}, Serial: trust.Serial(serial), Key: key, Root: trust.RootID(c.root),
		Expired: c.expired(y.n.c.security.wall(y.n)),
	}}
}

// handshake is how one goes in which a node dials another.
func (x *security) handshake(from, to *node) met {
	dials, takes := from.creds.view(), to.creds.view()
	knows := dials.Secret && takes.Secret && !dials.Only() && !takes.Only()
	// The dialler looks first, and says nothing to one that is not meant.
	s := from.creds.sees(to)
	m := met{kind: dials.Dialled(to.id, 0, &s), err: s.Err, theirs: s.Proven}
	switch {
	case m.kind.Refused(), m.kind == standing.Unproven && !knows:
		return m
	case m.kind == standing.Member && s.Err != nil:
		m.theirs = trust.Proven{Name: trust.Name{Kind: trust.KindNode, Node: to.id}, Key: s.Key}
	}
	s = to.creds.sees(from)
	s.Secret = knows
	m.kind, m.err, m.mine = takes.Came(from.id, &s), s.Err, s.Proven
	return m
}

// peerLink is the connection on which a node speaks to another.
type peerLink struct {
	up           bool
	life         uint32        // of the other's process
	mine, theirs trust.Proven  // by the handshake
	again        time.Duration // when the next handshake may be tried
}

// linked reports whether a node has a connection to another on which it is a member, and tries to make one
// if it has none.
func (y *credentials) linked(to int) bool {
	x := &y.n.c.security
	if !x.active {
		return true
	}
	l, o := &y.links[to], y.n.c.nodes[to-1]
	switch {
	case l.up && l.life == o.life && o.up:
		return true
	case !o.up || o.paused || y.n.c.now < l.again:
		return false
	}
	m := x.handshake(y.n, o)
	switch m.kind {
	case standing.Member:
		*l = peerLink{up: true, life: o.life, mine: m.mine, theirs: m.theirs}
		return true
	case standing.Unpinned: // the other one's table may be older than this node
		o.known.ask(y.n.id)
	}
	l.up, l.again = false, y.n.c.now+redialMax/4
	return false
}

// recheck ends the connections of a node by certificates that are good no longer, at either end.
func (y *credentials) recheck() {
	if !y.n.up || y.n.paused {
		return
	}
	for to := range y.links {
		if l := &y.links[to]; l.up {
			o := y.n.c.nodes[to-1]
			if y.revoked(&l.theirs) || o.up && o.creds.revoked(&l.mine) {
				l.up = false
			}
		}
	}
}

// revoked reports whether what another node has proven is good no longer.
func (y *credentials) revoked(p *trust.Proven) bool {
	v := y.view()
	if *p == (trust.Proven{}) {
		return v.Only() // it was the secret that counted
	}
	return v.Revoked(p).Refused()
}
