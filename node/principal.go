package node

import (
	"fmt"

	"muster/repl"
	"muster/repl/rights"
	"muster/repl/trust"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/access"
)

// principalOf settles for whom a connection speaks by what its hello has proven. A name alone is no
// user: another one may have had it before, with certificates that have not ended.
func principalOf(g *wire.Greeting, t *shardmap.Table) (rights.Principal, *wire.Error) {
	if g.Sender() != wire.SenderClient {
		return rights.Principal{}, nil // what its standing lets it send is all
	}
	switch g.Peer.Name.Kind {
	case trust.KindUser:
		return userOf(g, t)
	case trust.KindNode:
		return rights.Principal{Node: g.Peer.Name.Node}, nil
	}
	if t != nil && t.Security.Mode == shardmap.SecurityOnly {
		return rights.Principal{}, wire.Unauthorized("connection", "it has proven to be no user", "muster auth login, or use a certificate of a user of this cluster")
	}
	return rights.Principal{Open: true}, nil
}

// userOf is principalOf of a connection with a user's certificate.
func userOf(g *wire.Greeting, t *shardmap.Table) (rights.Principal, *wire.Error) {
	name := g.Peer.Name.User
	if t == nil {
		return rights.Principal{Name: name, Early: true}, nil
	}
	u, ok := t.Security.UserNamed(name)
	switch {
	case !ok:
		return rights.Principal{}, noUser(name, t.Security.Mode)
	}
	if e := withdrawn(&u, &g.Peer); e != nil {
		return rights.Principal{}, e
	}
	return rights.Principal{User: u.ID, Name: name}, nil
}

// bugLeadersClocks is planted to show that its test finds it: a certificate counts as made when the leader's clock says so.
const bugLeadersClocks = "certificate by one leader's clock"

// withdrawn refuses a certificate that does not count for the user of its name, because it is older
// than that, or than what the user's administrator said of it since.
func withdrawn(u *shardmap.User, p *trust.Proven) *wire.Error {
	if p.Issued.Unix() >= u.CertsAfter {
		return nil
	}
	return wire.Unauthorized("user "+u.Name, "the certificate is older than the user, or was withdrawn", "ask for another one: muster auth login, or muster user cert "+u.Name)
}

// noUser refuses who has a certificate of a user that is not there any more, or not yet.
func noUser(name string, m shardmap.TLSMode) *wire.Error {
	if m != shardmap.SecurityOnly {
		// While a cluster is being founded, certificates may come before what this node has read.
		return wire.NotReady("user "+name, "this node does not know it", "try again in a moment", startedRetry)
	}
	return wire.Unauthorized("user "+name, "there is none of that name", "ask an administrator: muster user list, muster user create")
}

// answerWhoami tells a client for whom its connection speaks.
func answerWhoami(c *connection, r repl.Reply) {
	a := wire.WhoamiAnswer{User: c.who.Name, Principal: c.who.User, Open: c.who.Open}
	if t := c.node.table.Load(); t != nil {
		if u, ok := t.Security.User(c.who.User); ok {
			a.User, a.Roles = u.Name, u.Roles
		}
	}
	c.answerNow(r, wire.TypeWhoamiAnswer, a.Append(nil))
}

// answerCanI tells whether something would be allowed, by this node's table.
func answerCanI(c *connection, h wire.Header, r repl.Reply, body []byte) {
	var q wire.CanI
	if !readRequest(c, h, r, body, &q) {
		return
	}
	a, e := c.node.laws.canI(c.who, &q)
	if e != nil {
		c.refuse(r, e)
		return
	}
	c.answerNow(r, wire.TypeCanIAnswer, a.Append(nil))
}

// canI answers by the laws of now.
func (l *laws) canI(who rights.Principal, q *wire.CanI) (a wire.CanIAnswer, e *wire.Error) {
	now := l.now.Load()
	id := who.User
	switch {
	case now == nil:
		return a, wire.NotReady("node "+l.node.name, "it has not read yet who may do what", "try again in a moment", startedRetry)
	case q.User != "":
		u, ok := now.Table.Security.UserNamed(q.User)
		if !ok {
			return a, wire.NotFound("user "+q.User, "no user has that name", "muster user list shows who is there")
		}
		id = u.ID
	case who.Open:
		return wire.CanIAnswer{Allowed: true, By: "nobody is asked who he is: see docs/security.md"}, nil
	}
	its := now.Rules.Of(id)
	if its == nil && id != 0 {
		return a, rights.UserGone(who.String())
	}
	if mean := q.Verbs &^ q.Kind.Verbs(); mean != 0 {
		return a, wire.BadRequest("field verbs", fmt.Sprintf("%s means nothing for %s", mean, q.Kind), "ask for "+q.Kind.Verbs().String())
	}
	need := access.Need{Verbs: q.Verbs, Kind: q.Kind, Extent: access.Under, Name: q.Name}
	if !its.Meets(need) {
		a.By = "no role allows it: " + need.String()
		return a, nil
	}
	a.Allowed = true
	for v := access.Read; v <= access.Admin; v <<= 1 {
		if q.Verbs&v == 0 {
			continue
		}
		if role, _, ok := its.Why(v, q.Kind, q.Name); ok && a.By == "" {
			a.By = "role " + role
		} else if ok && a.By != "role "+role {
			a.By += ", role " + role
		}
	}
	return a, nil
}
