package node

import (
	"fmt"

	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/access"
)

// bugForwardBlind is planted to show that its test finds it: what a member passes on is carried out as
// if the member itself had asked for it.
const bugForwardBlind = "forward without its principal"

// judge asks about the needs of one request after the other. It belongs to one goroutine, and makes
// nothing for a request: what it gives [wire.Needs] to call is made once.
type judge struct {
	rights *access.Rights
	user   shardmap.Principal // whose rights these are, by rules
	rules  *access.Rules      // by which it was asked last for a user; nil: it was not
	epoch  uint64             // of these
	denied access.Need        // the first need that is not met; its name aliases the request
	no     bool
	meets  func(access.Need) bool
}

func newJudge() *judge {
	j := new(judge)
	j.meets = func(n access.Need) bool {
		if j.rights.Meets(n) {
			return true
		}
		j.denied, j.no = n, true
		return false
	}
	return j
}

// authorize says why a request must not be carried out, or returns nil. It is the one place that
// does, for whatever comes over a connection, and nothing else of a request is looked at before. What a
// member says is held to its standing alone, but for requests that it passes on: they are held to what
// the user may do who made them.
func authorize(c *connection, h wire.Header, body []byte) *wire.Error {
	switch {
	case h.Type == wire.TypeForward:
		return authorizeForward(c, body)
	case c.standing != wire.SenderClient || c.who.open:
		return nil
	}
	return c.node.laws.allows(c.judge, c.who, h.Type, body)
}

// authorizeForward is authorize of a request that a member passes on. The member has said for whom, and
// is believed: it has let him in.
func authorizeForward(c *connection, body []byte) *wire.Error {
	p, t, request, err := wire.ForwardedBy(body)
	if err != nil {
		return wire.BadBody(wire.TypeForward, err)
	}
	if bug(bugForwardBlind) {
		return nil
	}
	l := &c.node.laws
	if p != 0 {
		return l.allows(c.judge, principal{user: p}, t, request)
	}
	if now := l.now.Load(); now != nil && now.asked {
		// Not for good: the node that passes it on is about to hear that certificates alone count, and asks then.
		return wire.NotReady(t.String(), "it is passed on for nobody, by a node that has not heard yet that this cluster wants to know for whom", "try again in a moment", startedRetry)
	}
	return nil
}

// allows says why a user's request must not be carried out, or returns nil.
func (l *laws) allows(j *judge, p principal, t wire.Type, body []byte) *wire.Error {
	now := l.now.Load()
	switch {
	case p.early && (showsNode(t) || bug(bugEarlyMay)):
		return nil
	case p.early, now == nil:
		return wire.NotReady("node "+l.node.name, "it has not read yet who may do what", "try again in a moment", startedRetry)
	}
	if p.node != 0 {
		j.rights, j.rules = nil, nil
		return now.holds(j, p, t, body) // also while this node is cut off: it is how nodes find each other
	}
	if e := l.silenced(t); e != nil && !showsNode(t) {
		return e
	}
	if j.rules != now.rules || j.user != p.user {
		// A connection asks for one user, by the same rules for days.
		j.rules, j.user, j.rights = now.rules, p.user, now.rules.Of(p.user)
	}
	rights := j.rights
	j.epoch = now.epoch
	switch {
	case rights == nil && uint64(p.user) > now.table.Index:
		// The user is newer than this node's table.
		return wire.NotReady("node "+l.node.name, fmt.Sprintf("it has not heard yet of user %d", p.user), "try again in a moment", startedRetry)
	case rights == nil:
		return userGone(now.nameOf(p))
	case rights.All && wire.HasNeeds(t):
		return nil
	}
	return now.holds(j, p, t, body)
}

// bugEarlyMay is planted to show that its test finds it: before a node has read who may do what, every
// user may do all of it.
const bugEarlyMay = "everything allowed before the table"

// showsNode reports whether a request shows what is wrong with a node, tells nothing of keys and changes
// nothing. It is answered to whoever has a user's certificate while there is no table, and by the last one while
// that may be out of date: who has to mend the cluster sees nothing otherwise.
func showsNode(t wire.Type) bool {
	switch t {
	case wire.TypePing, wire.TypeStatus, wire.TypeTopology, wire.TypeDoctor, wire.TypeCounters, wire.TypeLogRange:
		return true
	}
	return false
}

// holds says why a judge's rights are not enough for a request, or returns nil.
func (w *law) holds(j *judge, p principal, t wire.Type, body []byte) *wire.Error {
	j.no = false
	switch err := wire.Needs(t, body, j.meets); {
	case err != nil:
		return wire.BadBody(t, err)
	case j.no:
		return w.denies(p, t, &j.denied)
	}
	return nil
}

// denies is the refusal of a request whose needs are not met.
func (w *law) denies(p principal, t wire.Type, n *access.Need) *wire.Error {
	who := w.nameOf(p)
	object := n.Kind.String() + "…"
	if o, err := access.ParseObject(n.Kind.String() + string(n.Name)); err == nil {
		object = o.String()
	}
	return wire.Unauthorized(t.String()+" by "+who, "it needs "+n.String(),
		fmt.Sprintf("ask an administrator: muster role grant ROLE %s %s; muster auth can-i shows what is allowed", n.Verbs, object))
}

// nameOf is a user as an error shows it.
func (w *law) nameOf(p principal) string {
	if u, ok := w.table.Security.User(p.user); ok {
		return "user " + u.Name
	}
	if p.name == "" && p.node == 0 {
		return fmt.Sprintf("user %d", p.user)
	}
	return p.String()
}

// epochOf returns the epoch of the rules by which a principal's requests are let in.
func epochOf(p shardmap.Principal, t *shardmap.Table) uint64 {
	if p == 0 {
		return 0 // by none
	}
	return t.Security.Rules
}
