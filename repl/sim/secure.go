package sim

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"

	"muster/raft"
	"muster/repl"
	"muster/repl/machine"
	"muster/repl/notary"
	"muster/repl/standing"
	"muster/repl/trust"
	"muster/repl/wire"
	"muster/shardmap"
)

// Some clusters have certificates. Their members get them, renew them and say whom they believe
// while leaders change, links break and processes end; roots follow each other; hosts come with
// tokens. A calendar runs days ahead of the clocks, so that a run of minutes sees certificates end
// several times. The two cores of package notary act, and the table of the meta group, as in a
// process; what a certificate proves to whom is in handshake.go, in the slowest and most obvious
// code, and package standing decides what follows from that.

const (
	// secureEvery is how many runs there are for each with certificates.
	secureEvery = 6
	// skewMax is how far the calendar of a host is off, in seconds: any two are at most two days apart.
	skewMax = 24 * 60 * 60
	// calendarFounded is what the calendar shows at the founding, in Unix seconds.
	calendarFounded = 1_700_000_000
	// recheckEvery is how often nodes look whether connections may stay, as in node/guard.go.
	recheckEvery = 5 * time.Second
	// calendarEvery is how often a bearer looks at the calendar: within the hour of a process, as far as
	// the calendar's pace lets it.
	calendarEvery = 250 * time.Millisecond
	// personEvery is how often a person does something about certificates, on average.
	personEvery = 4 * time.Second
	// certifiedWithin bounds how long it takes in a healed cluster until each member has a good
	// certificate, and all speak with each other by them.
	certifiedWithin = 60 * time.Second
	// leapMax is for how many days all nodes may be stopped.
	leapMax = 40
	// tokenUses is how many uses the tokens of a run have at most.
	tokenUses = 3
)

// day is a day of the calendar, in seconds.
const day = int64(24 * time.Hour / time.Second)

// calendarPaces are how many seconds of the calendar a second of the run has. At the fastest a certificate
// lives for fifteen seconds, and is renewed after ten: a node that is away for a moment comes back
// with one that has ended.
var calendarPaces = [...]int64{day / 4, day, 2 * day}

// certificate is what a root has said of a key.
type certificate struct {
	node             raft.NodeID // 0: it is a user's
	user             string
	key              shardmap.KeyID
	root             shardmap.RootID
	host             trust.Host // that it names, of a node's
	issued, notAfter int64
}

// security is what a run has of certificates and tokens, and what is known of them beside the table.
type security struct {
	c       *cluster
	active  bool
	early   bool          // the founders begin with certificates
	pace    int64         // of the calendar
	leapt   int64         // by how much it was put forward while nobody ran
	stopped time.Duration // when it came to stand still
	skews   [nodesMax + 1]int64
	people  bool // persons act

	at      uint64 // the index of the newest table that was looked at
	was     *shardmap.Security
	certs   map[shardmap.Serial]certificate
	serials uint64
	keys    uint64
	pinned  map[shardmap.Serial]bool            // that the table ever had
	hosts   map[raft.NodeID]map[trust.Host]bool // that the table ever had an address of
	issued  map[shardmap.RootID]bool
	ordered map[shardmap.RootID]bool // roots whose end a person has ordered

	tokens     map[[32]byte]*pass // by public key
	applicants []*applicant
}

// pass is a token, as the person knows it who had it made.
type pass struct {
	id      uint64 // 0: it is not in a table yet
	public  [32]byte
	uses    int
	expires int64
	root    shardmap.RootID
	revoked time.Duration           // since when that is acknowledged; 0: it is not
	let     map[shardmap.KeyID]bool // keys that were let in by it
}

// draw decides whether the run has certificates. It draws from a chance of its own: runs without
// are as if there were no such fault.
func (x *security) draw(c *cluster) {
	own := chance(c.options.Seed*0x2545f4914f6cdd1d + 13)
	x.c = c
	x.active = c.options.has(Secure, own.below(secureEvery) == 0)
	if !x.active {
		return
	}
	x.early, x.pace = own.below(2) == 0, calendarPaces[own.below(len(calendarPaces))]
	for i := range x.skews {
		x.skews[i] = int64(own.below(2*skewMax+1)) - skewMax
	}
	x.certs, x.pinned, x.hosts = map[shardmap.Serial]certificate{}, map[shardmap.Serial]bool{}, map[raft.NodeID]map[trust.Host]bool{}
	x.issued, x.ordered, x.tokens = map[shardmap.RootID]bool{}, map[shardmap.RootID]bool{}, map[[32]byte]*pass{}
	x.stopped = math.MaxInt64
}

// mode is how the cluster is founded.
func (x *security) mode(level uint32) shardmap.TLSMode {
	if x.active && x.early && level >= shardmap.SecurityLevel {
		return shardmap.SecurityBoth
	}
	return shardmap.SecurityOff
}

// calendar is what a right calendar shows.
func (x *security) calendar() int64 {
	return calendarFounded + x.leapt + int64(float64(x.pace)*min(x.c.now, x.stopped).Seconds())
}

// wall is what the calendar of a host shows.
func (x *security) wall(n *node) int64 { return x.calendar() + x.skews[n.index] }

// init begins what people do, when faults begin to strike.
func (x *security) init() {
	if !x.active {
		return
	}
	x.c.note(0, "certificates: %d s of the calendar for each of the run, from the founding on: %t", x.pace, x.early)
	x.people = true
	x.c.order.call(0, x.recheck)
	x.c.order.call(0, x.act)
}

// recheck has all nodes look whether their connections may stay.
func (x *security) recheck() {
	for _, n := range x.c.nodes {
		n.creds.recheck()
	}
	x.c.order.call(recheckEvery, x.recheck)
}

// act has a person do something.
func (x *security) act() {
	c, rnd := x.c, &x.c.chance
	if !x.people {
		return
	}
	x.c.order.call(rnd.between(0, 2*personEvery), x.act)
	lead := c.leaderOf(0)
	t := c.newestTable()
	if lead == nil || t == nil || t.Level < shardmap.SecurityLevel {
		return
	}
	s := &t.Security
	if s.Mode == shardmap.SecurityOff {
		x.order(lead, &wire.Authority{Action: wire.AuthorityCreate})
		return
	}
	switch rnd.below(8) {
	case 0:
		x.order(lead, &wire.Authority{Action: wire.AuthorityRotate})
	case 1:
		for i := range s.Roots {
			if r := &s.Roots[i]; r.State == shardmap.RootTrusted && rnd.below(2) == 0 {
				c.note(0, "order: retire root %s", r.ID)
				x.ordered[r.ID] = true
				x.order(lead, &wire.Authority{Action: wire.AuthorityRetire, Root: wire.RootHash(r.ID)})
			}
		}
	case 2:
		x.revoke(lead, s)
	case 3, 4:
		x.makeToken(lead, s)
	default:
		x.apply()
	}
}

// order has a node's notary take an order, which may be lost with its leader.
func (x *security) order(lead *node, q *wire.Authority) {
	y := &lead.creds
	if y.core == nil {
		return
	}
	y.number++
	y.core.Order(y.now(), y.number, q)
	y.plan(0)
}

// propose has the leader take a command, and tells how that ended, if that is ever told.
func (x *security) propose(lead *node, b []byte, err error, ended func(error)) {
	if err != nil {
		x.c.fail("a command about certificates can't be written: %v", err)
	}
	lead.host.Propose(repl.Proposal{Group: 0, Entry: machine.NewEntry(wire.Origin{Time: lead.ticks.wall()}, b),
		Deadline: lead.ticks.now() + moveDeadline, Reply: repl.Reply{To: moveReply{ended}}})
	lead.turn()
}

// makeToken has the leader make a token.
func (x *security) makeToken(lead *node, s *shardmap.Security) {
	rnd := &x.c.chance
	issuing, ok := s.Issuing()
	if !ok {
		return
	}
	now := x.wall(lead)
	p := &pass{uses: 1 + rnd.below(tokenUses), root: issuing.ID, let: map[shardmap.KeyID]bool{}}
	p.expires = now + min(shardmap.TokenLifeMax, 1+x.pace*int64(rnd.between(time.Second, 20*time.Second)/time.Second))
	binary.LittleEndian.PutUint64(p.public[:], rnd.next()|1)
	x.tokens[p.public] = p
	x.c.note(lead.index, "makes a token of %d uses, good until %d", p.uses, p.expires)
	b, err := shardmap.AppendNewToken(nil, &shardmap.NewToken{Public: p.public, Role: shardmap.NodeServer, Uses: uint32(p.uses), Expires: p.expires, At: now})
	x.propose(lead, b, err, func(error) {})
}

// revoke has the leader revoke a token, and notes once that is acknowledged.
func (x *security) revoke(lead *node, s *shardmap.Security) {
	if len(s.Tokens) == 0 {
		return
	}
	token := s.Tokens[x.c.chance.below(len(s.Tokens))]
	p := x.tokens[token.Public]
	b, err := shardmap.AppendRevokeToken(nil, &shardmap.RevokeToken{ID: token.ID})
	x.propose(lead, b, err, func(err error) {
		if err == nil && p.revoked == 0 {
			p.revoked = x.c.now
			x.c.note(0, "token %d is revoked", token.ID)
		}
	})
}

// newKey makes the key of a host.
func (x *security) newKey() (k shardmap.KeyID) {
	x.keys++
	binary.LittleEndian.PutUint64(k[:], x.keys)
	binary.LittleEndian.PutUint64(k[8:], x.c.chance.next())
	return k
}

// sign makes a certificate.
func (x *security) sign(c certificate) (s shardmap.Serial) {
	x.serials++
	binary.BigEndian.PutUint64(s[:], x.serials)
	x.certs[s] = c
	return s
}

// renewAt is when the holder of a certificate asks for another, as [trust.RenewAt] says.
func (c *certificate) renewAt() int64 { return c.issued + (c.notAfter-c.issued)/3*2 }

// expired reports whether a certificate has ended by some calendar.
func (c *certificate) expired(wall int64) bool { return wall > c.notAfter }

// table checks a table that a node has, when it is the newest.
func (x *security) table(t *shardmap.Table) {
	if !x.active || !t.Founded() || t.Index <= x.at {
		return
	}
	x.at = t.Index
	s, was := &t.Security, x.was
	if was == nil {
		was = new(shardmap.Security)
	}
	x.was = s
	for i := range t.Nodes {
		row := &t.Nodes[i]
		if x.hosts[row.ID] == nil {
			x.hosts[row.ID] = map[trust.Host]bool{}
		}
		x.hosts[row.ID][trust.HostOf(row.Addr)] = true
	}
	x.checkTokens(s, was)
	x.checkRoots(t, was)
	if s.Mode == shardmap.SecurityOnly && was.Mode != s.Mode {
		x.c.note(0, "certificates alone open the cluster")
		for i := range t.Nodes {
			n := x.c.nodes[t.Nodes[i].ID-1]
			pin, _ := s.Pin(n.id)
			if own := x.certs[n.creds.own]; own.key != pin.Key || own.root != pin.Root {
				x.c.fail("I18: the secret opens the cluster no longer, and n%d has no certificate under its pin", n.index)
			}
		}
	}
}

// checkTokens checks that each token has let in whom it should: no more hosts than it has uses, and
// none once it was revoked; and that each host has cost one use.
func (x *security) checkTokens(s, was *shardmap.Security) {
	for i := range s.Pins {
		p := &s.Pins[i]
		x.pinned[p.Serial] = true
		if p.Token == 0 {
			continue
		}
		token, ok := s.Token(p.Token)
		if !ok {
			continue // it made room for another one
		}
		pass := x.tokens[token.Public]
		if pass.let[p.Key] {
			continue
		}
		if before, ok := was.Token(p.Token); ok && before.Revoked {
			x.c.fail("I18: node %s is let in by token %d, which was revoked before", p.Node, p.Token)
		}
		pass.let[p.Key] = true
		x.c.result.Fired[TokenUsed]++
	}
	for i := range s.Tokens {
		token := &s.Tokens[i]
		p := x.tokens[token.Public]
		if p == nil {
			x.c.fail("I18: token %d was made by nobody", token.ID)
		}
		p.id = token.ID
		if int(token.Uses)+len(p.let) != p.uses {
			x.c.fail("I18: token %d of %d uses has let %d hosts in, and has %d left", token.ID, p.uses, len(p.let), token.Uses)
		}
	}
}

// checkRoots checks that the roots follow each other as they should: somebody can sign under one
// that issues, and nobody needs one that is dropped.
func (x *security) checkRoots(t *shardmap.Table, was *shardmap.Security) {
	s := &t.Security
	for i := range s.Roots {
		r := &s.Roots[i]
		before, _ := was.Root(r.ID)
		switch {
		case r.State == before.State:
		case r.State == shardmap.RootIssuing:
			x.c.note(0, "root %s issues", r.ID)
			if len(x.issued) > 0 {
				x.c.result.Fired[RootTurns]++
			}
			x.issued[r.ID] = true
			if !slices.ContainsFunc(x.c.nodes, func(n *node) bool { return !n.dead && n.creds.wraps[r.WrapKey] }) {
				x.c.fail("I18: root %s issues, and the key that wraps its key is on no disk", r.ID)
			}
		case r.State == shardmap.RootRetired:
			x.c.note(0, "root %s is retired", r.ID)
			x.checkRetired(t, r.ID)
		}
	}
}

// checkRetired checks that no member needs a root that is dropped: none is pinned under it and, unless a
// person would not wait, none has a certificate under it that may be good by somebody's calendar.
func (x *security) checkRetired(t *shardmap.Table, root shardmap.RootID) {
	for i := range t.Nodes {
		n := x.c.nodes[t.Nodes[i].ID-1]
		if pin, ok := t.Security.Pin(n.id); ok && pin.Root == root {
			x.c.fail("I18: root %s is dropped, and n%d is pinned under it", root, n.index)
		}
		if own, ok := x.certs[n.creds.own]; ok && own.root == root && !x.ordered[root] && !own.expired(x.calendar()+skewMax) {
			x.c.fail("I18: root %s is dropped, and n%d has a certificate under it that is good until %d; it is %d", root, n.index, own.notAfter, x.calendar())
		}
	}
}

// leaves checks a certificate that a leader lets go: it must be in a table that is committed, and whoever
// gets it must have a right to it.
func (x *security) leaves(n *node, q *asking, serial shardmap.Serial) {
	made, ok := x.certs[serial]
	if !ok {
		x.c.fail("I18: n%d answers %s without a certificate", n.index, q.By)
	}
	if made.node == 0 {
		return
	}
	x.c.result.Fired[Secure]++
	if !x.pinned[serial] {
		x.c.fail("I18: a certificate for node %s leaves n%d, and no table has pinned it", made.node, n.index)
	}
	if made.host != "" && !x.hosts[made.node][made.host] {
		x.c.fail("I18: a certificate for node %s leaves n%d, and names %s, where no table has that node", made.node, n.index, made.host)
	}
	if q.By != notary.ByToken {
		return
	}
	p := x.tokens[q.public]
	if !p.let[made.key] {
		x.c.fail("I18: node %s gets a certificate by token %d, which has let in another key", made.node, p.id)
	}
	switch {
	case q.wall >= p.expires:
		x.c.fail("I18: node %s gets a certificate by token %d, which ended at %d; it asked at %d by the calendar of n%d", made.node, p.id, p.expires, q.wall, n.index)
	case p.revoked > 0 && q.at > p.revoked:
		x.c.fail("I18: node %s gets a certificate by token %d at %.3f s, which was revoked at %.3f s", made.node, p.id, q.at.Seconds(), p.revoked.Seconds())
	}
}

// standStill stops all nodes, in half of the runs, and puts the calendar forward by up to forty days: some
// certificates have ended when the nodes start again, or all, or none.
func (x *security) standStill() {
	if !x.active || x.c.chance.below(2) == 0 {
		return
	}
	for _, n := range x.c.nodes {
		if n.up {
			n.crash(PowerKeep)
			n.startAt = 0
		}
	}
	days := 1 + x.c.chance.below(leapMax)
	x.leapt += int64(days) * day
	x.c.note(0, "all nodes were stopped for %d days", days)
	x.c.result.Fired[CalendarLeaps]++
}

// soleKeeper reports whether a node is the only one on whose disk a key is that wraps that of a root.
func (x *security) soleKeeper(n *node) bool {
	for k := range n.creds.wraps {
		if !slices.ContainsFunc(x.c.nodes, func(o *node) bool { return o != n && !o.dead && o.creds.wraps[k] }) {
			return true
		}
	}
	return false
}

// end ends what people do, waits until certificates are what they should be, and stops the calendar:
// what follows needs a cluster in which nothing happens.
func (x *security) end() {
	if !x.active {
		return
	}
	x.people = false
	for _, a := range x.applicants {
		a.over = true
	}
	x.c.until("each member has a good certificate, and all speak with each other by them", certifiedWithin, func() bool { return x.waits() == "" })
	x.stopped = x.c.now
	for _, n := range x.c.nodes {
		if n.up {
			n.creds.plan(0)
		}
	}
	x.c.until("nobody wants a certificate any more", certifiedWithin, func() bool { return x.waits() == "" && x.still() })
}

// waits says what is not as it should be yet.
func (x *security) waits() string {
	t := x.c.newestTable()
	lead := x.c.leaderOf(0)
	switch {
	case t == nil || lead == nil:
		return "group 0 has no leader"
	case t.Security.Mode == shardmap.SecurityOff:
		return ""
	}
	issuing, ok := t.Security.Issuing()
	if !ok {
		return "no root issues"
	}
	for i := range t.Nodes {
		n := x.c.nodes[t.Nodes[i].ID-1]
		if n.dead {
			continue
		}
		own, pin := x.certs[n.creds.own], shardmap.Pin{}
		pin, ok = t.Security.Pin(n.id)
		switch {
		case !n.up || n.paused || n.creds.core == nil:
			return fmt.Sprintf("n%d does not run", n.index)
		case !ok || n.creds.own != pin.Serial || own.root != issuing.ID:
			return fmt.Sprintf("n%d has no certificate of the root that issues", n.index)
		case own.expired(x.wall(n)):
			return fmt.Sprintf("n%d has a certificate that has ended", n.index)
		case own.host != trust.HostOf(t.Nodes[i].Addr):
			return fmt.Sprintf("n%d has a certificate that names %q, and its address is %s", n.index, own.host, t.Nodes[i].Addr)
		}
		for _, o := range x.c.nodes {
			if o != n && o.up && !o.dead && !o.waiting && !t.WasRemoved(o.id) && !n.creds.linked(o.index) {
				return fmt.Sprintf("n%d does not reach n%d: %v", n.index, o.index, x.handshake(n, o))
			}
		}
	}
	return ""
}

// still reports whether nothing is under way, and nobody would ask for anything.
func (x *security) still() bool {
	return !slices.ContainsFunc(x.c.nodes, func(n *node) bool {
		return n.up && !n.dead && n.creds.bearer != nil && x.wall(n) >= n.creds.renewAt()
	})
}

// picture describes the certificates, for a failure.
func (x *security) picture() (s string) {
	if !x.active {
		return ""
	}
	s = fmt.Sprintf("calendar %d, waits for: %s\n", x.calendar(), x.waits())
	t := x.c.newestTable()
	if t == nil {
		return s
	}
	s += fmt.Sprintf("    mode %s", t.Security.Mode)
	for i := range t.Security.Roots {
		s += fmt.Sprintf(", root %s %s", t.Security.Roots[i].ID, t.Security.Roots[i].State)
	}
	s += "\n"
	for _, n := range x.c.nodes {
		own := x.certs[n.creds.own]
		pin, _ := t.Security.Pin(n.id)
		s += fmt.Sprintf("    n%d: certificate under %s until %d (ended: %t, pinned: %t), believes %v, sealed %t\n", n.index, own.root, own.notAfter, own.expired(x.wall(n)), pin.Serial == n.creds.own, n.creds.roots, n.creds.sealed != nil)
		for _, o := range x.c.nodes {
			if h := x.handshake(n, o); o != n && n.up && o.up && h.kind != standing.Member {
				s += fmt.Sprintf("        to n%d: %v\n", o.index, h)
			}
		}
	}
	return s
}

// running reports whether the calendar goes on.
func (x *security) running() bool { return x.c.now < x.stopped }
