package sim

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/access"
)

// This tells once more who may do what, in the slowest and most obvious code: by the roles and grants as
// they stand in a table, one after the other. What a type of request needs it asks package wire,
// whose table has tests of its own; what a listing needs it knows itself.
//
// I19: whatever a node lets through was allowed by the rules of its own table, and these were in force
// no longer ago than a node may go without hearing of the meta group. So is what a stream sends, what a
// leader takes from another node on behalf of a user, what is applied, and what a client is answered.

// ruling is who may do what, from one change of users or roles to the next.
type ruling struct {
	epoch       uint64        // the index of the entry that made the change
	from, until time.Duration // when some node first knew of it, and of the next one
	users       []shardmap.User
	roles       []shardmap.Role
}

// rulingOf is that of a table.
func rulingOf(t *shardmap.Table) ruling {
	return ruling{epoch: t.Security.Rules, until: forever, users: t.Security.Users, roles: t.Security.Roles}
}

// table takes a table that a node has, when it is the newest.
func (x *users) table(t *shardmap.Table) {
	if !x.active || !t.Founded() || t.Index <= x.at {
		return
	}
	x.at = t.Index
	k := len(x.rulings)
	switch {
	case k > 0 && x.rulings[k-1].epoch == t.Security.Rules:
		return
	case k > 0:
		x.rulings[k-1].until = x.c.now
	}
	next := rulingOf(t)
	next.from = x.c.now
	x.rulings = append(x.rulings, next)
}

// of returns the ruling of an epoch.
func (x *users) of(epoch uint64) *ruling {
	i := slices.IndexFunc(x.rulings, func(r ruling) bool { return r.epoch == epoch })
	if i < 0 {
		x.c.fail("I19: no table had rules of epoch %d", epoch)
	}
	return &x.rulings[i]
}

// allows reports whether a user may do all that a request needs.
func (r *ruling) allows(c *cluster, p shardmap.Principal, t wire.Type, body []byte) bool {
	all := slices.ContainsFunc(r.users, func(u shardmap.User) bool { return u.ID == p })
	err := wire.Needs(t, body, func(n access.Need) bool {
		all = all && r.meets(p, &n)
		return true
	})
	if err != nil {
		c.fail("a client sends a %s of which nobody can say what it needs: %v", t, err)
	}
	return all
}

// meets reports whether a user may do one thing: each of its verbs by some grant of some role.
func (r *ruling) meets(p shardmap.Principal, n *access.Need) bool {
	for verb := access.Read; verb <= access.Admin; verb <<= 1 {
		if n.Verbs&verb != 0 && !r.grants(p, verb, n) {
			return false
		}
	}
	return true
}

// grants reports whether one grant has a verb on all that is asked for.
func (r *ruling) grants(p shardmap.Principal, verb access.Verbs, n *access.Need) bool {
	for _, u := range r.users {
		for _, role := range r.roles {
			if u.ID != p || !slices.Contains(u.Roles, role.Name) {
				continue
			}
			for _, g := range role.Grants {
				if g.Verbs&verb != 0 && g.Object.Kind == n.Kind && (n.Extent == access.Some || bytes.HasPrefix(n.Name, []byte(g.Object.Prefix))) {
					return true
				}
			}
		}
	}
	return false
}

// judged checks what a node says of a request of a user, before anything is done with it.
func (x *users) judged(n *node, p shardmap.Principal, t wire.Type, body []byte, refusal *wire.Error) {
	c := x.c
	if refusal != nil && refusal.Code != wire.CodeUnauthorized {
		return // it can't tell
	}
	now := rulingOf(n.known.table)
	switch allowed := now.allows(c, p, t, body); {
	case refusal != nil && allowed:
		c.fail("I19: n%d refuses a %s of user %d, who may do it by its rules of epoch %d: %v", n.index, t, p, now.epoch, refusal)
	case refusal != nil:
		c.result.Fired[Users]++
		return
	case !allowed:
		c.fail("I19: n%d lets through a %s of user %d, who may not do it by its rules of epoch %d: % x", n.index, t, p, now.epoch, body)
	}
	if late := x.late(n); late != "" {
		c.fail("I19: n%d does a %s for user %d, %s", n.index, t, p, late)
	}
}

// refused checks a refusal that its user takes for an answer: the rules that it goes by were in force when it was asked
// for, or later. Whoever was given a right before that must not hear that he lacks it.
func (x *users) refused(n *node, a *appeal) {
	if r := x.of(n.known.table.Security.Rules); r.until < a.asked {
		x.c.fail("I19: n%d refuses a %s that came at %.3f s by rules of epoch %d, which were replaced at %.3f s: %v", n.index, a.t, a.asked.Seconds(), r.epoch, r.until.Seconds(), a.first)
	}
}

// late says why a node must do nothing for a user now, or nothing: it was sure of its rules too long ago, or they were
// in force too long ago.
func (x *users) late(n *node) string {
	y, at := &n.lawful, n.lawful.moment()
	if !y.sure || at-y.sureAt > x.fresh() {
		return fmt.Sprintf("and was sure of its table at %.3f s (ever: %t), where it may go without that for %s", y.sureAt.Seconds(), y.sure, x.cutOff)
	}
	if r := x.of(n.known.table.Security.Rules); at > r.until && at-r.until > x.fresh() {
		return fmt.Sprintf("by rules of epoch %d, which were replaced at %.3f s", r.epoch, r.until.Seconds())
	}
	return ""
}

// confirmed checks that what a node takes for today's table has all that was known to anybody when it asked.
func (x *users) confirmed(n *node, asked time.Duration) {
	t := n.known.table
	if t == nil || !t.Founded() {
		if len(x.rulings) > 0 && x.rulings[0].from < asked {
			x.c.fail("I19: n%d is sure at %.3f s that its table is today's, and has none", n.index, asked.Seconds())
		}
		return
	}
	if r := x.of(t.Security.Rules); r.until < asked {
		x.c.fail("I19: n%d is sure at %.3f s that its rules of epoch %d are today's, which were replaced at %.3f s", n.index, asked.Seconds(), r.epoch, r.until.Seconds())
	}
}

// sends checks that a stream may still send something.
func (x *users) sends(k *conn, number uint64) {
	if !x.active || k.node.lawful.reviews {
		return // what is open is about to be looked at again
	}
	wrong := ""
	q, ok := k.asked[number]
	switch now := rulingOf(k.node.known.table); {
	case !ok:
		wrong = "which it has not let through"
	case !now.allows(x.c, k.user, q.t, q.body):
		wrong = fmt.Sprintf("a %s, which its user may not have any more, by the node's rules of epoch %d", q.t, now.epoch)
	default:
		wrong = x.late(k.node)
	}
	if wrong != "" {
		// Not here: a stream that sends has locks that a failure would leave.
		x.c.order.call(0, func() {
			x.c.fail("I19: n%d sends user %d a piece of stream %d, %s", k.node.index, k.user, number, wrong)
		})
	}
}

// ends notes that a node ends a stream.
func (x *users) ends(k *conn, number uint64, body []byte) {
	if !x.active {
		return
	}
	delete(k.asked, number)
	var e wire.StreamEnd
	if err := e.Read(body); err == nil && e.Why.Code == wire.CodeUnauthorized {
		x.c.result.Fired[RightEnds]++
	}
}

// passes checks a request that a node passes on: it is for the user who made it.
func (x *users) passes(n *node, f *wire.Forward) {
	if !x.active {
		return
	}
	if f.Principal == 0 {
		x.c.fail("I19: n%d passes on a %s for nobody", n.index, f.Type)
	}
	if f.Type == wire.TypeWrite {
		x.owned(n, f.Principal, f.Body)
	}
}

// owned checks that a write of a client is of the user whose session it has.
func (x *users) owned(n *node, p shardmap.Principal, write []byte) {
	var command shardmap.Command
	body, err := wire.CheckWrite(write)
	if err == nil {
		err = shardmap.ReadCommand(body, &command)
	}
	if err != nil {
		x.c.fail("n%d has a write that is none: %v", n.index, err)
	}
	if owner, ok := x.owners[command.Session]; ok && owner != p {
		x.c.fail("I19: n%d has a write of user %d under a session of user %d: %s", n.index, p, owner, command.Kind)
	} else if command.Session != 0 && !ok {
		x.c.fail("I19: n%d has a write of user %d under a session of nobody: %s", n.index, p, command.Kind)
	}
}

// applied checks an entry that is applied: the user who sent it could do it by the rules that the entry names.
func (x *users) applied(n *node, t *truth, e raft.Entry) {
	if !x.active {
		return
	}
	o, write, err := wire.ReadOrigin(e.Payload())
	if err != nil {
		x.c.fail("entry %s of group %d has no origin: %v", e.ID, t.group, err)
	}
	x.owned(n, o.Principal, write)
	if o.Principal != 0 && !x.of(o.Rules).allows(x.c, o.Principal, wire.TypeWrite, write) {
		x.c.fail("I19: entry %s of group %d is of user %d, who may not do it by the rules of epoch %d", e.ID, t.group, o.Principal, o.Rules)
	}
}

// answered checks an answer that a client gets: it could be given by some rules that were in force while it was asked
// for, or not long before.
func (x *users) answered(o *op) {
	if !x.active {
		return
	}
	for i := range x.rulings {
		if r := &x.rulings[i]; r.until >= o.began-x.fresh() && r.allows(x.c, o.client.user, o.frame(), o.body) && r.covers(o) {
			return
		}
	}
	x.c.fail("I19: %s of user %d is answered, who could not do it by any rules since %s before it began at %.3f s", o, o.client.user, x.fresh(), o.began.Seconds())
}

// covers reports whether the prefix of a listing is covered by one grant for each verb.
func (r *ruling) covers(o *op) bool {
	if o.list == nil {
		return true
	}
	for _, verb := range []access.Verbs{access.List, access.Read} {
		if verb == access.Read && o.list.KeysOnly {
			continue
		}
		if !r.grants(o.client.user, verb, &access.Need{Kind: access.Keys, Extent: access.Under, Name: o.list.Prefix}) {
			return false
		}
	}
	return true
}
