package sim

import (
	"errors"
	"slices"
	"time"

	"muster/raft"
	"muster/repl/trust"
	"muster/shardmap"
)

// This tells once more what node/guard.go decides: which nodes may speak, by what their certificates prove. A
// connection is as good as its handshake was, until it ends or somebody looks again.

// standing is what a node is to another that it has dialled.
type standing uint8

const (
	standsNobody  standing = iota // the connection is refused
	standsRenewer                 // it may ask for a certificate, and for nothing else
	standsMember
)

// met is how a handshake ended.
type met struct {
	standing
	named bool  // the dialler has proven by a certificate, or by its key, who it is
	why   error // why it is no member
}

// Why a certificate proves nothing.
var (
	errNoCertificate = errors.New("none is shown")
	errForeignRoot   = errors.New("its root is not trusted")
	errEarly         = errors.New("it is of later")
	errDenied        = errors.New("it is denied")

	errOtherKey  = errors.New("another key is pinned")
	errUnpinned  = errors.New("no key is pinned")
	errLeft      = errors.New("the node has left")
	errOver      = errors.New("it has ended")
	errHandshake = errors.New("no handshake was tried lately")
)

// verify says what a certificate proves to a node.
func (y *credentials) verify(serial shardmap.Serial) (certificate, error) {
	x := &y.n.c.security
	c, ok := x.certs[serial]
	switch {
	case !ok:
		return certificate{}, errNoCertificate
	case x.wall(y.n) < c.issued-int64(trust.Backdate/time.Second):
		return certificate{}, errEarly
	case !slices.Contains(y.roots, c.root):
		return certificate{}, errForeignRoot
	case y.table != nil && y.table.Security.IsDenied(serial):
		return certificate{}, errDenied
	}
	return c, nil
}

// only reports whether certificates alone count for a node.
func (y *credentials) only() bool {
	t := y.n.known.table
	return y.sealed != nil || t != nil && t.Security.Mode == shardmap.SecurityOnly
}

// reads reports whether a node that goes by certificates alone has not read a table again yet that
// says so.
func (y *credentials) reads() bool {
	t := y.n.known.table
	return y.sealed != nil && (t == nil || t.Security.Mode != shardmap.SecurityOnly)
}

// pin returns the key of another node, as this one knows it.
func (y *credentials) pin(id raft.NodeID) (shardmap.KeyID, bool) {
	if y.reads() {
		key, ok := y.sealed[id]
		return key, ok
	}
	t := y.n.known.table
	if t == nil {
		return shardmap.KeyID{}, false
	}
	pin, ok := t.Security.Pin(id)
	return pin.Key, ok
}

// outlived reports whether a node with a certificate under no root that is trusted is a member by its key, and its
// pinned certificate is not denied.
func (y *credentials) outlived(o *node) bool {
	t := y.n.known.table
	if t == nil || y.reads() {
		return false
	}
	pin, ok := t.Security.Pin(o.id)
	return ok && pin.Key == o.creds.key && !t.Security.IsDenied(pin.Serial)
}

// ended reports whether a certificate of a node has ended by another one's calendar. That of a host which has
// read no table since it joined has not: it asks for the next one by its table, and has weeks to get that,
// which are seconds here.
func (x *security) ended(c *certificate, by *node) bool {
	if i := int(c.node); i <= len(x.c.nodes) && x.c.nodes[i-1].creds.unread {
		return false
	}
	return c.expired(x.wall(by))
}

// handshake is how one goes in which a node dials another.
func (x *security) handshake(from, to *node) met {
	a, b := &from.creds, &to.creds
	knows := a.secret && b.secret && !a.only() && !b.only()
	// The dialler looks first, and says nothing to one that is not meant.
	shown, err := a.verify(b.own)
	pin, pinned := a.pin(to.id)
	switch {
	case err == nil && pinned && pin != shown.key:
		return met{why: errOtherKey}
	case err == nil && !pinned && x.ended(&shown, from):
		return met{why: errOver}
	case err != nil && !knows && !(err == errForeignRoot && a.outlived(to)):
		return met{why: err}
	}
	shown, err = b.verify(a.own)
	pin, pinned = b.pin(from.id)
	if t := to.known.table; t != nil && t.WasRemoved(from.id) {
		return met{why: errLeft}
	}
	ended := err == nil && x.ended(&shown, to)
	switch {
	case err == nil && pinned && pin != shown.key:
		return met{why: errOtherKey}
	case err != nil && err != errNoCertificate && !knows && !(err == errForeignRoot && b.outlived(from)):
		return met{why: err}
	case err == nil && !ended:
		if !pinned && b.only() && !b.reads() {
			return met{why: errUnpinned}
		}
		return met{standing: standsMember, named: true}
	case pinned && a.key == pin && !knows:
		// A member whose certificate has ended, or never came. Somebody must be elected who renews it.
		lapsed := ended || err == errForeignRoot
		if own := x.certs[b.own]; lapsed && (own.expired(x.wall(to)) || to.metaLead() == 0) {
			return met{standing: standsMember, named: true}
		}
		return met{standing: standsRenewer, named: true, why: errOver}
	case knows:
		return met{standing: standsMember, named: pinned && a.key == pin}
	case ended:
		return met{why: errOver}
	}
	return met{why: err}
}

// peerLink is the connection on which a node speaks to another.
type peerLink struct {
	up           bool
	life         uint32          // of the other's process
	mine, theirs shardmap.Serial // that were shown
	again        time.Duration   // when the next handshake may be tried
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
	if m := x.handshake(y.n, o); m.standing == standsMember {
		*l = peerLink{up: true, life: o.life, mine: y.own, theirs: o.creds.own}
		return true
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
			if y.revoked(o, l.theirs) || o.up && o.creds.revoked(y.n, l.mine) {
				l.up = false
			}
		}
	}
}

// revoked reports whether a certificate of another node was good, and is so no longer.
func (y *credentials) revoked(o *node, serial shardmap.Serial) bool {
	c, ok := y.n.c.security.certs[serial]
	if !ok {
		return y.only() // it was the secret that counted
	}
	pin, pinned := y.pin(o.id)
	return !slices.Contains(y.roots, c.root) || y.table != nil && y.table.Security.IsDenied(serial) || pinned && pin != c.key || !pinned && y.only()
}
