package sim

import (
	"slices"
	"time"

	"muster/raft"
	"muster/repl/notary"
	"muster/repl/standing"
	"muster/repl/wire"
	"muster/shardmap"
)

// Hosts come with tokens, and ask until they have a certificate. Some have one that is over, that
// somebody else has used up, or that is revoked while they ask; some ask again with what they have
// got already, as after an answer that was lost.

const (
	// applicantsFrom is the first id of such a host: no node of a run has it.
	applicantsFrom = raft.NodeID(100)
	// applyFor bounds how long a host asks.
	applyFor = 30 * time.Second
)

// applicant is a host with a token.
type applicant struct {
	c     *cluster
	id    raft.NodeID
	key   shardmap.KeyID
	token shardmap.Token
	root  shardmap.RootID // that the token names
	until time.Duration
	over  bool
	got   func(shardmap.Serial, []shardmap.RootID)
}

// apply has one host come, or several with one token.
func (x *security) apply() {
	t := x.c.newestTable()
	if t == nil || len(t.Security.Tokens) == 0 {
		return
	}
	token := t.Security.Tokens[x.c.chance.below(len(t.Security.Tokens))]
	for range 1 + x.c.chance.below(3) {
		a := x.applicant(applicantsFrom+raft.NodeID(len(x.applicants)), x.newKey(), token)
		again := x.c.chance.below(2) == 0
		a.got = func(shardmap.Serial, []shardmap.RootID) { a.over, again = !again, false }
		a.ask()
	}
}

// applicant makes a host that comes with a token.
func (x *security) applicant(id raft.NodeID, key shardmap.KeyID, token shardmap.Token) *applicant {
	a := &applicant{c: x.c, id: id, key: key, token: token, root: x.tokens[token.Public].root, until: x.c.now + applyFor}
	x.applicants = append(x.applicants, a)
	return a
}

// ask asks a node, now and then again, until the host has what it wants.
func (a *applicant) ask() {
	c, x := a.c, &a.c.security
	if a.over || c.now > a.until {
		return
	}
	c.order.call(c.chance.skewed(400*time.Millisecond, 5*time.Second), a.ask)
	o := c.nodes[c.chance.below(len(c.nodes))]
	if lead := c.leaderOf(0); lead != nil && c.chance.below(4) > 0 {
		o = lead // it was told where that is
	}
	if !o.up || o.paused || o.creds.core == nil || c.net.isolated(o.index) || !a.believes(o) {
		return
	}
	token, ok := shardmap.Token{}, false
	if t := o.known.table; t != nil {
		token, ok = t.Security.Token(a.token.ID)
	}
	if !ok {
		return // as the node says
	}
	q := &asking{Request: notary.Request{By: notary.ByToken, Node: a.id, Key: a.key, Token: a.token.ID}, public: token.Public}
	times, lost := 1, c.chance.below(4) == 0
	if c.chance.below(8) == 0 {
		times = 2
	}
	for range times {
		q := *q
		o.creds.certify(&q, func(serial shardmap.Serial, refusal *wire.Error) {
			p := x.tokens[a.token.Public]
			switch {
			case refusal != nil:
				if p.revoked > 0 || token.Uses == 0 || x.calendar() > p.expires {
					c.result.Fired[TokenOver]++
				}
				c.note(o.index, "refuses host %s with token %d: %v", a.id, a.token.ID, refusal)
			case lost:
				c.note(o.index, "lets in host %s by token %d, which does not hear of it", a.id, a.token.ID)
			default:
				c.note(o.index, "lets in host %s by token %d", a.id, a.token.ID)
				a.got(serial, o.creds.roots)
			}
		})
	}
}

// believes reports whether a node shows a certificate under the root that the token names: it may have
// one from before another root issued.
func (a *applicant) believes(o *node) bool {
	x := &a.c.security
	return slices.ContainsFunc(append([]shardmap.Serial{o.creds.own}, o.creds.former...), func(s shardmap.Serial) bool {
		c, ok := x.certs[s]
		return ok && c.root == a.root && !c.expired(x.calendar())
	})
}

// takenIn is the moment at which a host is a member. Another root may have begun to issue since it had its
// certificate: the leader asks members alone whether they trust it, and the host's join was on its way. Nothing
// but a person helps then, who copies the file of roots from another node.
func (y *credentials) takenIn(t *shardmap.Table) {
	if roots := believed(&t.Security); len(y.roots) > 0 && len(roots) > 0 && !slices.Contains(y.roots, roots[len(roots)-1]) {
		y.n.c.note(y.n.index, "has the roots copied from another node")
		y.roots, y.rootsAt = roots, t.Index
	}
}

// enrols has a host that is to be a member come with a token first, if certificates alone open the cluster.
// It reports whether the host has to wait for its certificate.
func (x *security) enrols(n *node) bool {
	y := &n.creds
	t := x.c.newestTable()
	if !x.active || t == nil {
		return false
	}
	if y.makeKey() && t.Security.Mode != shardmap.SecurityOnly && (t.Security.Mode == shardmap.SecurityOff || x.c.chance.below(2) == 0) {
		y.secret = true // it was given the one of the founders
	}
	if y.secret && t.Security.Mode != shardmap.SecurityOnly {
		return false
	}
	lead := x.c.leaderOf(0)
	if _, pinned := t.Security.Pin(n.id); pinned && y.own != (shardmap.Serial{}) {
		if lead == nil || x.handshake(n, lead).kind >= standing.Renewer {
			return lead == nil
		}
		// Another root issues since it came, or its certificate has ended: a person has it come anew.
		y.own, y.roots, y.applies = shardmap.Serial{}, nil, nil
	}
	if y.applies != nil && !y.applies.over && x.c.now <= y.applies.until {
		return true
	}
	var good []shardmap.Token
	for _, token := range t.Security.Tokens {
		if !token.Revoked && token.Uses > 0 && token.Expires > x.calendar() {
			good = append(good, token)
		}
	}
	switch {
	case len(good) > 0:
		a := x.applicant(n.id, y.key, good[x.c.chance.below(len(good))])
		a.got = func(serial shardmap.Serial, roots []shardmap.RootID) {
			if err := y.adopt(serial, roots); err != nil {
				x.c.note(n.index, "does not take a certificate: %v", err)
				return
			}
			a.over = true
		}
		y.applies = a
		a.ask()
	case lead != nil:
		x.makeToken(lead, &t.Security)
	}
	return true
}
