package sim

import (
	"fmt"
	"math"
	"slices"
	"time"

	"muster/repl/rights"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/access"
)

// Some clusters with certificates have users. Each client speaks for one, whose roles a person changes
// again and again: grants come and go, users are deleted and made anew. What each node lets
// through is decided by the real judge and confirmer (lawful.go); whether that
// was right is told in ruling.go, by the grants as they stand in the tables.

const (
	// usersEvery is how many runs with certificates there are for each with users.
	usersEvery = 2
	// roleCount is how many roles there are that a person changes.
	roleCount = 4
	// ruleEvery is how often a person changes who may do what, on average.
	ruleEvery = 2 * time.Second
	// revokedWithin bounds how long a change of rights takes to reach every node of a healed cluster.
	revokedWithin = time.Second
	// answersWithin bounds how long a node that hears of the meta group again takes to answer users.
	answersWithin = 10 * time.Second
	// rootUser has all rights, by a role that nobody changes.
	rootUser, rootRole = "root", "all"
	// lastRole is the one that is taken away in the healed cluster.
	lastRole = "last"
)

// cutOffs are for how long a node answers users without hearing of the meta group: as long as a process, or
// less, so that runs of minutes see it often.
var cutOffs = [...]time.Duration{6 * time.Second, 15 * time.Second, rights.CutOffAfter}

// users is what a run has of users.
type users struct {
	c      *cluster
	active bool
	own    chance
	cutOff time.Duration

	at      uint64                        // the index of the newest table that was looked at
	rulings []ruling                      // in order
	owners  map[uint64]shardmap.Principal // of the sessions of clients
}

// draw decides whether the run has users. It, and what people do later, draw from a chance of their own.
func (x *users) draw(c *cluster) {
	x.c, x.own = c, chance(c.options.Seed*0xd1342543de82ef95+17)
	x.active = c.options.has(Users, x.own.below(usersEvery) == 0) && c.security.active
	if !x.active {
		return
	}
	c.security.early = true // users come with certificates
	x.cutOff, x.owners = cutOffs[x.own.below(len(cutOffs))], map[uint64]shardmap.Principal{}
}

// nameOf is the user for whom a client speaks.
func (x *users) nameOf(client int) string {
	if client == 1 {
		return rootUser
	}
	return fmt.Sprintf("client-%d", client)
}

// found makes the first users and roles, before any fault strikes.
func (x *users) found() {
	c := x.c
	if x.active && c.newestTable().Security.Mode == shardmap.SecurityOff {
		x.active = false // its members are too old
	}
	if !x.active {
		return
	}
	c.note(0, "users: a node that does not hear of the meta group answers them for %s", x.cutOff)
	all := []access.Grant{{Verbs: access.All, Object: access.Object{Kind: access.Keys}}, {Verbs: access.All, Object: access.Object{Kind: access.Services}},
		{Verbs: access.All, Object: access.Object{Kind: access.Databases}}, {Verbs: access.All, Object: access.Object{Kind: access.Cluster}}}
	x.have(roleCommand(shardmap.RoleCreate, rootRole, all...))
	x.have(userCommand(shardmap.UserCreate, rootUser))
	x.have(rolesCommand(rootUser, []string{rootRole}, nil))
	for i := range roleCount {
		grants := []access.Grant{x.drawGrant()}
		if i == 0 {
			grants = all[:2] // so that much is allowed
		}
		x.have(roleCommand(shardmap.RoleCreate, roleName(i), grants...))
	}
	for id := 2; id <= clientCount; id++ {
		name := x.nameOf(id)
		x.have(userCommand(shardmap.UserCreate, name))
		x.have(rolesCommand(name, []string{roleName(0), roleName(1 + x.own.below(roleCount-1))}, nil))
	}
	c.until("all nodes know the first users, and that their tables are of today", foundWithin, func() bool { return x.behind() == nil })
}

func roleName(i int) string { return fmt.Sprintf("r%d", i) }

func roleCommand(a shardmap.RoleAction, name string, grants ...access.Grant) []byte {
	b, _ := shardmap.AppendChangeRole(nil, &shardmap.ChangeRole{Action: a, Name: name, Grants: grants})
	return b
}

func userCommand(a shardmap.UserAction, name string) []byte {
	b, _ := shardmap.AppendChangeUser(nil, &shardmap.ChangeUser{Action: a, Name: name})
	return b
}

func rolesCommand(user string, give, take []string) []byte {
	b, _ := shardmap.AppendChangeUserRoles(nil, &shardmap.ChangeUserRoles{User: user, Give: give, Take: take})
	return b
}

// have has the meta group's leader take a command, in a cluster without faults, and waits until it is
// acknowledged.
func (x *users) have(command []byte) {
	c, under, done := x.c, false, false
	c.until("a command about users is carried out", foundWithin, func() bool {
		if lead := c.leaderOf(0); lead != nil && !under && !done {
			under = true
			c.security.propose(lead, command, nil, func(err error) {
				if under, done = false, err == nil; err != nil {
					c.note(lead.index, "does not take %s: %v", described(command), err)
				}
			})
		}
		return done
	})
}

// drawGrant draws a grant on some of the keys or services of the run.
func (x *users) drawGrant() access.Grant {
	tag := x.c.tags[x.own.below(len(x.c.tags))]
	g := access.Grant{Object: access.Object{Kind: access.Keys}}
	if x.own.below(5) == 0 {
		g.Object.Kind = access.Services
	}
	switch x.own.below(6) {
	case 0: // all of them
	case 1:
		g.Object.Prefix = "{" + tag[:2]
	case 2:
		g.Object.Prefix = "{" + tag + "}1"
	default:
		g.Object.Prefix = "{" + tag + "}"
	}
	g.Verbs = [...]access.Verbs{access.Read | access.Write | access.List | access.Watch, access.Read | access.Write | access.List, access.Read | access.Write,
		access.Read | access.List, access.Read | access.Watch, access.List}[x.own.below(6)]
	return g
}

// init begins what people do, when faults begin to strike.
func (x *users) init() {
	if x.active {
		x.act()
	}
}

// act has a person change who may do what.
func (x *users) act() {
	c, rnd := x.c, &x.own
	if c.chaos.stopped {
		return
	}
	c.order.call(rnd.between(0, 2*ruleEvery), x.act)
	lead, t := c.leaderOf(0), c.newestTable()
	if lead == nil || t == nil {
		return
	}
	s := &t.Security
	name := x.nameOf(2 + rnd.below(clientCount-1))
	u, there := s.UserNamed(name)
	role, _ := s.Role(roleName(rnd.below(roleCount)))
	var command []byte
	switch k := rnd.below(10); {
	case !there:
		command = userCommand(shardmap.UserCreate, name)
	case k < 3 || len(u.Roles) == 0:
		if slices.Contains(u.Roles, role.Name) {
			return
		}
		command = rolesCommand(name, []string{role.Name}, nil)
	case k < 5:
		command = rolesCommand(name, nil, u.Roles[:1+rnd.below(len(u.Roles))])
	case k == 5:
		command = userCommand(shardmap.UserDelete, name)
	case k < 8 || len(role.Grants) < 2:
		command = roleCommand(shardmap.RoleGrant, role.Name, x.drawGrant())
	default:
		command = roleCommand(shardmap.RoleRevoke, role.Name, role.Grants[rnd.below(len(role.Grants))])
	}
	if _, err := t.Try(command); err != nil {
		return
	}
	c.note(lead.index, "is to change users: %s", described(command))
	c.security.propose(lead, command, nil, func(err error) {
		if err == nil {
			c.note(0, "a change of users is acknowledged")
		}
	})
}

// owns notes for whom a client's session is.
func (x *users) owns(cl *simClient) {
	if x.active {
		x.owners[cl.session] = cl.user
	}
}

// login has a client speak for its user, if there is one who is newer than the one for whom it has spoken: it
// makes other connections, under another session, once nothing is under way. It reports whether the client has to wait for that.
func (x *users) login(cl *simClient) (waits bool) {
	if !x.active {
		return false
	}
	u, ok := x.c.newestTable().Security.UserNamed(x.nameOf(cl.id))
	switch {
	case !ok || u.ID == cl.user:
		return false
	case cl.busy() > 0:
		return true
	}
	for _, w := range slices.Clone(x.c.watches.all) {
		if w.client == cl {
			w.end()
		}
	}
	for _, k := range slices.Clone(cl.conns) {
		if k != nil && k.up {
			k.lost(errReset)
		}
	}
	x.c.note(-cl.id, "speaks for user %d, %s", u.ID, u.Name)
	cl.user, cl.session, cl.next = u.ID, x.own.next()|1, 1
	x.owns(cl)
	return false
}

// members returns the nodes that run and are in the newest table.
func (x *users) members() (all []*node) {
	t := x.c.newestTable()
	for _, n := range x.c.nodes {
		if _, ok := t.Node(n.id); ok && !n.dead && !n.waiting {
			all = append(all, n)
		}
	}
	return all
}

// behind returns a member that has not heard of the newest rules, or is not sure of its table; nil if there is none.
func (x *users) behind() *node {
	rules := x.c.newestTable().Security.Rules
	for _, n := range x.members() {
		if t := n.known.table; !n.up || n.paused || t == nil || t.Security.Rules != rules || n.lawful.contact != rights.ContactGood {
			return n
		}
	}
	return nil
}

// end looks, in the healed cluster, how soon nodes answer users again, how soon a revocation counts
// everywhere, and what a node does that is cut off.
func (x *users) end() {
	if !x.active {
		return
	}
	c := x.c
	c.until("all members answer users again", answersWithin, func() bool { return x.behind() == nil })
	for _, cl := range c.clients {
		c.until("a client speaks for its user of now", settleWithin, func() bool {
			if _, ok := c.newestTable().Security.UserNamed(x.nameOf(cl.id)); !ok {
				x.have(userCommand(shardmap.UserCreate, x.nameOf(cl.id)))
			}
			waits := x.login(cl)
			cl.settle()
			return !waits
		})
	}
	x.revoke()
	x.cut()
}

// revoke takes all rights from a user who has a watch open.
func (x *users) revoke() {
	c := x.c
	cl := c.clients[clientCount-1]
	name := x.nameOf(cl.id)
	x.have(roleCommand(shardmap.RoleCreate, lastRole, access.Grant{Verbs: access.Read | access.Watch, Object: access.Object{Kind: access.Keys}}))
	x.have(rolesCommand(name, []string{lastRole}, nil))
	c.until("all members know of the last role", revokedWithin, func() bool { return x.behind() == nil })
	user, get := rights.Principal{User: cl.user}, getOf([]byte("{"+c.tags[0]+"}0"))
	for _, n := range x.members() {
		if e := x.asks(n, user, wire.TypeGet, get); e != nil {
			c.fail("n%d does not let user %d read, who may: %v", n.index, cl.user, e)
		}
	}
	var w *watching
	if cl.only == 0 && c.chaos.moves == 0 { // else it may not reach a replica of each group
		w = &watching{client: cl}
		w.open()
		cl.settle()
		c.until("the last watch begins", watchedWithin, func() bool { return w.check != nil || w.done })
	}
	u, _ := c.newestTable().Security.User(cl.user)
	x.have(rolesCommand(name, nil, u.Roles))
	c.run(revokedWithin)
	for _, n := range x.members() {
		if e := x.asks(n, user, wire.TypeGet, get); e == nil || e.Code != wire.CodeUnauthorized {
			c.fail("I19: %s after it is acknowledged that user %d may do nothing more, n%d says of a get: %v", revokedWithin, cl.user, n.index, e)
		}
	}
	if w != nil && !w.done {
		c.fail("I19: %s after it is acknowledged that user %d may do nothing more, its watch goes on: %s", revokedWithin, cl.user, w)
	}
	for _, k := range cl.conns {
		for number, q := range k.openStreams() {
			if q.t != wire.TypeTableStream { // it needs nothing
				c.fail("I19: n%d still has stream %d open for user %d, which may do nothing more", k.node.index, number, cl.user)
			}
		}
	}
}

// cut cuts one member off from the others, for longer than it may answer users, and heals that.
func (x *users) cut() {
	c := x.c
	n, others := (*node)(nil), 0
	for _, o := range x.members() {
		if others++; !o.leads(0) && n == nil && c.majorities(func(m *node) bool { return m != o && m.up && !m.dead }) {
			n = o
		}
	}
	if n == nil {
		return
	}
	u, _ := c.newestTable().Security.UserNamed(rootUser)
	root, get, nothing := rights.Principal{User: u.ID}, getOf([]byte("{"+c.tags[0]+"}0")), new(wire.Empty).Append(nil)
	c.note(n.index, "is cut off")
	number := c.net.breakLinks(linksBetween(1<<(n.index-1), len(c.nodes)), time.Hour)
	began := c.now
	c.run(x.fresh() + contactPause)
	if e := x.asks(n, root, wire.TypeGet, get); e == nil || e.Code != wire.CodeUnavailable {
		c.fail("I19: n%d has been cut off for %s, and says to a user: %v", n.index, c.now-began, e)
	}
	if e := x.asks(n, root, wire.TypeDoctor, nothing); e != nil {
		c.fail("I19: n%d is cut off, and does not show an administrator what is wrong: %v", n.index, e)
	}
	if e := x.asks(n, rights.Principal{Node: 1}, wire.TypeTable, nothing); e != nil {
		c.fail("I19: n%d is cut off, and refuses a member: %v", n.index, e)
	}
	for _, o := range x.members() {
		if e := x.asks(o, root, wire.TypeGet, get); o != n && e != nil {
			c.fail("I19: n%d is cut off, and n%d refuses users: %v", n.index, o.index, e)
		}
	}
	c.net.mend(number)
	c.until("all members answer users, after one was cut off", answersWithin+2*electionTimeout, func() bool { return x.behind() == nil })
}

// asks asks a node's judge about a request.
func (x *users) asks(n *node, p rights.Principal, t wire.Type, body []byte) *wire.Error {
	if !n.up {
		x.c.fail("n%d does not run", n.index)
	}
	return n.lawful.judge.Allows(p, t, body, n.lawful.law, n.lawful.contact)
}

func getOf(key []byte) []byte {
	q := wire.Get{Keys: [][]byte{key}}
	return q.Append(nil)
}

// fresh is how long ago a node that admits something may have been sure last, by the slowest clock.
func (x *users) fresh() time.Duration {
	return (x.cutOff + contactPause + tick) * 1e6 / (1e6 - driftMax)
}

// forever is until when a ruling is in force that no other one follows.
const forever = time.Duration(math.MaxInt64)

func described(command []byte) string {
	text, err := shardmap.DescribeTable(command)
	if err != nil {
		return err.Error()
	}
	return text
}
