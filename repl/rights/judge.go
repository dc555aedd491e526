package rights

import (
	"fmt"
	"time"

	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/access"
)

// Judge holds one request after the other to the law. It belongs to one goroutine, and makes
// nothing for a request: what it gives [wire.Needs] to call is made once.
type Judge struct {
	node   string // as its errors show it
	rights *access.Rights
	user   shardmap.Principal // whose rights these are, by rules
	rules  *access.Rules      // by which it was asked last for a user; nil: it was not
	epoch  uint64             // of these
	denied access.Need        // the first need that is not met; its name aliases the request
	no     bool               // the last request was refused for it
	meets  func(access.Need) bool
}

// retryAfter is after how long a client tries again that asked a node too soon.
const retryAfter = 200 * time.Millisecond

// appealRetry is after how long a client tries again whose request turned out to be allowed.
const appealRetry = time.Millisecond

// NewJudge returns a judge of the node of that name, which its errors show.
func NewJudge(node string) *Judge {
	j := &Judge{node: node}
	j.meets = func(n access.Need) bool {
		if j.rights.Meets(n) {
			return true
		}
		j.denied, j.no = n, true
		return false
	}
	return j
}

// Epoch returns the epoch of the rules to which a user's request was held last.
func (j *Judge) Epoch() uint64 { return j.epoch }

// bugDeniedAtOnce is planted to show that its tests find it: whoever was just given a right is told by a node that is a
// moment behind that it has none.
const bugDeniedAtOnce = "refused by a table that is behind"

// Appealable reports whether the last refusal rests on what the law grants to a user, who may have been given more
// by now: [Appeals].
func (j *Judge) Appealable() bool { return j.no && !bug(bugDeniedAtOnce) }

// Denied reports whether the last refusal says that a user lacks a right.
func (j *Judge) Denied() bool { return j.no }

// bugEarlyMay is planted to show that its test finds it: before a node has read who may do what, every
// user may do all of it.
const bugEarlyMay = "everything allowed before the table"

// Allows says why a request of p must not be carried out, or returns nil. law is nil before the first
// table.
func (j *Judge) Allows(p Principal, t wire.Type, body []byte, law *Law, c Contact) *wire.Error {
	j.no = false
	switch {
	case p.Open:
		return nil
	case p.Early && (showsNode(t) || bug(bugEarlyMay)):
		return nil
	case p.Early, law == nil:
		return wire.NotReady("node "+j.node, "it has not read yet who may do what", "try again in a moment", retryAfter)
	}
	if p.Node != 0 {
		if n, ok := law.Table.Node(p.Node); ok && n.Role == shardmap.NodeServer && wire.OfErrands(t, body) || bug(bugMembersMay) {
			return nil
		}
		j.rights, j.rules = nil, nil
		e := j.holds(p, t, body, law) // also while this node is cut off: it is how nodes find each other
		j.no = false                  // nobody grants anything to a node
		return e
	}
	if e := c.silences(t, j.node); e != nil && !showsNode(t) {
		return e
	}
	if j.rules != law.Rules || j.user != p.User {
		// A connection asks for one user, by the same rules for days.
		j.rules, j.user, j.rights = law.Rules, p.User, law.Rules.Of(p.User)
	}
	rights := j.rights
	j.epoch = law.Epoch
	switch {
	case rights == nil && uint64(p.User) > law.Table.Index:
		// The user is newer than this node's table.
		return wire.NotReady("node "+j.node, fmt.Sprintf("it has not heard yet of user %d", p.User), "try again in a moment", retryAfter)
	case rights == nil:
		return UserGone(law.nameOf(p))
	case rights.All && wire.HasNeeds(t):
		return nil
	}
	return j.holds(p, t, body, law)
}

// bugMembersMay is planted to show that its test finds it: a member may do everything as a client.
const bugMembersMay = "everything allowed to members"

// bugForwardBlind is planted to show that its tests find it: what a member passes on is carried out as
// if the member itself had asked for it.
const bugForwardBlind = "forward without its principal"

// AllowsForwarded is Allows of a request that a member passes on; body is that of a [wire.Forward]. The
// member has said for whom, and is believed: it has let him in.
func (j *Judge) AllowsForwarded(body []byte, law *Law, c Contact) *wire.Error {
	j.no = false
	p, t, request, err := wire.ForwardedBy(body)
	switch {
	case err != nil:
		return wire.BadBody(wire.TypeForward, err)
	case bug(bugForwardBlind):
		return nil
	case p != 0:
		return j.Allows(Principal{User: p}, t, request, law, c)
	case law != nil && law.Asked:
		// Not for good: the node that passes it on is about to hear that certificates alone count, and asks then.
		return wire.NotReady(t.String(), "it is passed on for nobody, by a node that has not heard yet that this cluster wants to know for whom", "try again in a moment", retryAfter)
	}
	return nil
}

// showsNode reports whether a request shows what is wrong with a node, tells nothing of keys and changes
// nothing. It is answered to whoever has a user's certificate while there is no table, and by the last one while
// that may be out of date: whoever has to mend the cluster sees nothing otherwise.
func showsNode(t wire.Type) bool {
	switch t {
	case wire.TypePing, wire.TypeStatus, wire.TypeTopology, wire.TypeDoctor, wire.TypeCounters, wire.TypeLogRange:
		return true
	}
	return false
}

// holds says why a judge's rights are not enough for a request, or returns nil.
func (j *Judge) holds(p Principal, t wire.Type, body []byte, law *Law) *wire.Error {
	switch err := wire.Needs(t, body, j.meets); {
	case err != nil:
		j.no = false
		return wire.BadBody(t, err)
	case j.no:
		return law.denies(p, t, &j.denied)
	}
	return nil
}

// denies is the refusal of a request whose needs are not met.
func (w *Law) denies(p Principal, t wire.Type, n *access.Need) *wire.Error {
	who := w.nameOf(p)
	object := n.Kind.String() + "…"
	if o, err := access.ParseObject(n.Kind.String() + string(n.Name)); err == nil {
		object = o.String()
	}
	return wire.Unauthorized(t.String()+" by "+who, "it needs "+n.String(),
		fmt.Sprintf("ask an administrator: muster role grant ROLE %s %s; muster auth can-i shows what is allowed", n.Verbs, object))
}

// UserGone refuses a user that is not there any more.
func UserGone(who string) *wire.Error {
	return wire.Unauthorized(who, "it was deleted", "ask an administrator: muster user list, muster user create")
}
