package sim

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
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

// credentials are the key of a node, its certificate and whom it believes, and the two cores of package
// notary, which it drives as node/notary.go does. What it asks of others is lost, late, or done twice.
type credentials struct {
	n *node

	// On disk, synced. What a copy of the directory would take back is not taken back here: see chaos.init.
	key     shardmap.KeyID
	secret  bool              // the one with which the cluster is founded is here
	own     shardmap.Serial   // the certificate; zero: none
	former  []shardmap.Serial // those under roots which issued before
	roots   []shardmap.RootID // that are believed in
	rootsAt uint64            // the index of the table by which they are
	wraps   map[shardmap.WrapKeyID]bool
	// applies: it has asked for its first certificate by a token; nil: never.
	applies *applicant
	sealed  map[raft.NodeID]trust.KeyID // of the members, since certificates alone count; nil: they do not

	// Of the process.
	core   *notary.Core
	bearer *notary.Bearer // nil until there is TLS
	table  *shardmap.Table
	leds   bool // the meta group is led here, as the host said last
	lead   raft.NodeID
	drawn  map[shardmap.WrapKeyID]bool
	asks   map[uint64]*asking
	number uint64
	links  [nodesMax + 1]peerLink
	turns  turns
	acting bool // in a turn
	news   bool // there was some since it began, so another one is due at once
	// introduced are the keys of nodes that the table here does not name, by their own certificates.
	introduced map[raft.NodeID]trust.KeyID
}

// asking is a request that a core has.
type asking struct {
	notary.Request
	signed shardmap.Serial // last
	at     time.Duration   // when it came
	wall   int64           // by the leader's calendar
	public [32]byte        // of the token
	answer func(shardmap.Serial, *wire.Error)
}

// begin is the start of a process.
func (y *credentials) begin() {
	x := &y.n.c.security
	if !x.active {
		return
	}
	y.makeKey()
	y.core, y.bearer, y.table, y.leds, y.lead = notary.New(y.n.id), nil, nil, false, 0
	y.acting, y.drawn, y.asks = false, map[shardmap.WrapKeyID]bool{}, map[uint64]*asking{}
	y.links, y.introduced = [nodesMax + 1]peerLink{}, map[raft.NodeID]trust.KeyID{}
	if own, ok := x.certs[y.own]; ok && own.expired(x.wall(y.n)) {
		y.n.c.note(y.n.index, "comes back with a certificate that has ended")
		y.n.c.result.Fired[CertificateEnds]++
	}
	y.plan(0)
}

// makeKey makes the node's key, if it has none. Founders have the secret that they share. It reports
// whether it made one.
func (y *credentials) makeKey() bool {
	if y.key != (shardmap.KeyID{}) {
		return false
	}
	y.key, y.wraps = y.n.c.security.newKey(), map[shardmap.WrapKeyID]bool{}
	y.secret = y.n.index <= y.n.c.result.Nodes
	return true
}

func (y *credentials) plan(d time.Duration) {
	if y.acting {
		y.news = true
	} else if y.n.c.security.active {
		y.turns.plan(y.n, evNotary, d)
	}
}

func (y *credentials) led(g raft.GroupID, term uint64) {
	if g == 0 {
		y.leds = term != 0
		y.plan(0)
	}
}

// now is what the clocks of the process show.
func (y *credentials) now() notary.Now {
	return notary.Now{Host: y.n.ticks.now(), Wall: y.n.c.security.wall(y.n)}
}

// turn lets both cores act, and plans the next turn.
func (y *credentials) turn() {
	life := y.n.life
	y.acting, y.news = true, false
	next := y.act()
	y.acting = false
	switch d := next - y.n.ticks.now(); {
	case !y.n.up || y.n.life != life:
	case y.news:
		y.plan(time.Millisecond)
	case d < time.Hour:
		y.plan(max(d, time.Millisecond))
	}
}

// act lets both cores act, and returns when they are to act again at the latest.
func (y *credentials) act() (next time.Duration) {
	n, life := y.n, y.n.life
	if t := n.known.table; t != nil && t.Founded() && t != y.table {
		y.take(t)
	}
	y.core.Lead(y.leds)
	y.core.Held(y.held())
	actions, next := y.core.Turn(y.now())
	for i := range actions {
		if a := &actions[i]; a.Kind == notary.Answer {
			y.reply(a)
		} else {
			core := y.core
			y.carry(a, func(r notary.Result) {
				if n.up && n.life == life && y.core == core {
					core.Ended(y.now(), a.Number, r)
					y.plan(0)
				}
			})
		}
		if !n.up || n.life != life {
			return next
		}
	}
	if next = min(next, y.bear()); y.n.c.security.running() {
		next = min(next, n.ticks.now()+calendarEvery)
	}
	return next
}

// take goes by a new table: what it says is on disk before the cores hear of it.
func (y *credentials) take(t *shardmap.Table) {
	y.table = t
	y.core.Table(t)
	s := &t.Security
	if s.Mode == shardmap.SecurityOff {
		return
	}
	if roots := believed(s); len(roots) > 0 && t.Index >= y.rootsAt {
		y.roots, y.rootsAt = roots, t.Index
	}
	if s.Mode == shardmap.SecurityOnly {
		y.sealed = map[raft.NodeID]trust.KeyID{}
		for i := range t.Nodes {
			if pin, ok := s.Pin(t.Nodes[i].ID); ok {
				y.sealed[pin.Node] = trust.KeyID(pin.Key)
			}
		}
	}
	if y.bearer == nil {
		y.bearer = notary.NewBearer(y.n.id, y.key, y.secret)
	}
	y.bearer.Table(t)
}

// introduce takes another node for a peer under the key of its certificate, by its own word: its table is newer than
// the one here, which has no key of it. A key is taken once: another one needs the table.
func (y *credentials) introduce(o *node) {
	c, err := y.verify(o.creds.own)
	if _, has := y.introduced[o.id]; err == nil && y.introduced != nil && !has {
		y.introduced[o.id] = trust.KeyID(c.key)
	}
}

// believed lists the roots that members of a table trust.
func believed(s *shardmap.Security) (roots []shardmap.RootID) {
	for i := range s.Roots {
		if s.Roots[i].State != shardmap.RootRetired {
			roots = append(roots, s.Roots[i].ID)
		}
	}
	return roots
}

// held lists the wrapping keys that are in files here.
func (y *credentials) held() (all []shardmap.WrapKeyID) {
	for k := range y.wraps {
		all = append(all, k)
	}
	slices.SortFunc(all, func(a, b shardmap.WrapKeyID) int { return slices.Compare(a[:], b[:]) })
	return all
}

// renewAt is when the node wants another certificate.
func (y *credentials) renewAt() int64 {
	own := y.n.c.security.certs[y.own]
	return own.renewAt()
}

// bear has the bearer take its turn, and returns when it is to take the next.
func (y *credentials) bear() time.Duration {
	n, life := y.n, y.n.life
	if _, has := n.c.security.certs[y.own]; y.bearer == nil && !has {
		return n.ticks.now() + time.Hour
	}
	if y.bearer == nil {
		y.bearer = notary.NewBearer(n.id, y.key, y.secret)
	}
	y.lead = n.metaLead()
	b := y.bearer
	y.owns()
	b.Held(y.held())
	b.Leader(y.lead)
	b.Members(n.known.others)
	a, has, next := b.Turn(y.now())
	if has {
		y.carry(&a, func(r notary.Result) {
			if n.up && n.life == life && y.bearer == b {
				y.owns()
				b.Ended(y.now(), a.Number, r.Err)
				y.plan(0)
			}
		})
	}
	if y.lead == 0 {
		next = min(next, n.ticks.now()+calendarEvery)
	}
	return next
}

// owns tells the bearer which certificate is here.
func (y *credentials) owns() {
	if c, ok := y.n.c.security.certs[y.own]; ok {
		y.bearer.Own(notary.Own{Serial: y.own, Root: c.root, Host: c.host, RenewAt: c.renewAt(), Ends: c.notAfter})
	}
}

// metaLead returns the node that leads the meta group, as the host knows it; 0: none.
func (n *node) metaLead() raft.NodeID {
	for _, v := range n.host.View() {
		if v.Replica.Group == 0 {
			m, _ := v.Status.Membership.Member(v.Status.Leader)
			return m.Node
		}
	}
	return 0
}

// carry carries out an action of either core.
func (y *credentials) carry(a *notary.Action, ended func(notary.Result)) {
	n, c, x := y.n, y.n.c, &y.n.c.security
	life := n.life
	failed := func(err error) { ended(notary.Result{Err: err}) }
	soon := func(do func()) { // what takes the disk, or a processor, a moment
		c.order.call(c.chance.skewed(time.Millisecond, 200*time.Millisecond), func() {
			if n.up && n.life == life {
				do()
			}
		})
	}
	switch a.Kind {
	case notary.Propose:
		n.host.Propose(repl.Proposal{Group: 0, Entry: machine.NewEntry(wire.Origin{Time: n.ticks.wall()}, a.Payload),
			Deadline: n.ticks.now() + moveDeadline, Reply: repl.Reply{To: moveReply{failed}}})
	case notary.Draw:
		var k shardmap.WrapKeyID
		binary.LittleEndian.PutUint64(k[:], c.chance.next()|1)
		soon(func() { y.drawn[k] = true; ended(notary.Result{WrapKey: k}) })
	case notary.Store:
		soon(func() {
			if !y.drawn[a.WrapKey] {
				failed(errors.New("it was drawn by an earlier life"))
				return
			}
			y.wraps[a.WrapKey] = true
			ended(notary.Result{})
		})
	case notary.MakeRoot:
		der := binary.LittleEndian.AppendUint64([]byte("root"), c.chance.next())
		soon(func() {
			if !y.wraps[a.WrapKey] && !y.drawn[a.WrapKey] {
				failed(errors.New("its wrapping key is not here"))
				return
			}
			ended(notary.Result{Root: shardmap.Root{ID: sha256.Sum256(der), DER: der, Wrapped: []byte("sealed"), WrapKey: a.WrapKey}})
		})
	case notary.Hand, notary.Fetch:
		y.pass(a, failed)
	case notary.Sign:
		soon(func() {
			q, t := y.asks[a.Request], y.table
			root, ok := t.Security.Root(a.Root)
			if q == nil || !ok || !y.wraps[root.WrapKey] {
				failed(errors.New("nobody waits for it, or it can't be signed here"))
				return
			}
			made := certificate{node: q.Node, key: q.Key, root: a.Root, host: a.Host, issued: x.wall(n), notAfter: x.wall(n) + int64(a.Life/time.Second)}
			if q.By == notary.ByWish || q.By == notary.ByUser {
				made.node, made.user = 0, q.User
			}
			q.signed = x.sign(made)
			ended(notary.Result{Serial: q.signed, NotAfter: made.notAfter})
		})
	case notary.Renew:
		y.ask(a.Node, a.Addr, notary.Request{Node: n.id, Key: y.key}, func(serial shardmap.Serial, roots []shardmap.RootID) {
			failed(y.adopt(serial, roots))
		}, failed)
	case notary.Wish:
		y.ask(a.Node, "", notary.Request{By: notary.ByWish, Node: n.id, User: fmt.Sprintf("u%d", n.index), Key: x.newKey()}, func(shardmap.Serial, []shardmap.RootID) { ended(notary.Result{}) }, failed)
	case notary.Tell:
		y.call(a.Node, "", standing.Member, func(o *node, _ met, answer func(func())) {
			o.creds.core.Told(n.id, a.Serial, a.Index)
			o.creds.plan(0)
			answer(func() { ended(notary.Result{}) })
		}, failed)
	case notary.Drop:
		soon(func() {
			if metaVoter(n.known.table, n.id) {
				failed(errors.New("the node votes again"))
				return
			}
			delete(y.wraps, a.WrapKey)
			ended(notary.Result{})
		})
	}
}

// metaVoter reports whether a node has a vote in the meta group by a table, or is to have one.
func metaVoter(t *shardmap.Table, id raft.NodeID) bool {
	return t != nil && slices.ContainsFunc(t.Meta.Replicas, func(r shardmap.TableReplica) bool {
		return r.Node == id && r.Role == shardmap.ReplicaVoter
	})
}

// pass gives a wrapping key to another voter, or gets it from there.
func (y *credentials) pass(a *notary.Action, failed func(error)) {
	y.call(a.Node, "", standing.Member, func(o *node, _ met, answer func(func())) {
		to, from := &o.creds, y
		if a.Kind == notary.Fetch {
			to, from = from, to
		}
		var err error
		switch {
		case !metaVoter(o.known.table, o.id):
			err = errors.New("it is no voter")
		case !from.wraps[a.WrapKey]:
			err = errors.New("it is not here")
		case a.Kind == notary.Hand:
			to.wraps[a.WrapKey] = true
			to.plan(0)
		}
		answer(func() {
			if a.Kind == notary.Fetch && err == nil {
				to.wraps[a.WrapKey] = true
			}
			failed(err)
		})
	}, failed)
}

// ask asks the leader of the meta group for a certificate.
func (y *credentials) ask(to raft.NodeID, addr string, q notary.Request, came func(shardmap.Serial, []shardmap.RootID), failed func(error)) {
	n := y.n
	if to == n.id {
		if q.By == 0 {
			if q.By = notary.BySecret; y.only() {
				q.By = notary.ByMember
			}
		}
		y.certify(&asking{Request: q}, func(serial shardmap.Serial, refusal *wire.Error) {
			if refusal != nil {
				failed(refusal)
				return
			}
			came(serial, y.roots)
		})
		return
	}
	least := standing.Renewer
	if q.By == notary.ByWish {
		least = standing.Member
	}
	y.call(to, addr, least, func(o *node, m met, answer func(func())) {
		if q.By == 0 {
			if q.By = notary.BySecret; m.named() {
				q.By = notary.ByMember
			}
		}
		o.creds.certify(&asking{Request: q}, func(serial shardmap.Serial, refusal *wire.Error) {
			roots := o.creds.roots
			answer(func() {
				if refusal != nil {
					failed(refusal)
					return
				}
				came(serial, roots)
			})
		})
	}, failed)
}

// certify has the core here make a certificate. It refuses where the meta group is led elsewhere.
func (y *credentials) certify(q *asking, answer func(shardmap.Serial, *wire.Error)) {
	if lead := y.n.metaLead(); lead != y.n.id {
		var leader shardmap.TableNode
		if t := y.n.known.table; t != nil {
			leader, _ = t.Node(lead)
		}
		answer(shardmap.Serial{}, wire.NotLeader(0, lead, leader.Addr))
		return
	}
	y.number++
	q.Number, q.at, q.wall, q.answer = y.number, y.n.c.now, y.now().Wall, answer
	y.asks[q.Number] = q
	y.core.Ask(y.now(), q.Request)
	y.plan(0)
}

// reply answers a request of the core's.
func (y *credentials) reply(a *notary.Action) {
	q := y.asks[a.Request]
	if q == nil {
		return // an order
	}
	delete(y.asks, a.Request)
	if a.Refusal == nil {
		y.n.c.security.leaves(y.n, q, q.signed)
	}
	q.answer(q.signed, a.Refusal)
}

// adopt puts a certificate that somebody has made into its file.
func (y *credentials) adopt(serial shardmap.Serial, roots []shardmap.RootID) error {
	x := &y.n.c.security
	if len(y.roots) == 0 {
		y.roots = roots
	}
	c, err := y.verify(serial)
	switch {
	case err != nil:
		return err
	case c.node != y.n.id || c.key != y.key:
		x.c.fail("I18: n%d is given a certificate for node %s", y.n.index, c.node)
	}
	if was, ok := x.certs[y.own]; ok && was.root != c.root {
		y.former = append(y.former, y.own)
	}
	y.own = serial
	return nil
}

// call has another node do something over a connection on which this one is something at least, and brings the
// answer back: or not, or late, or it is done twice. An empty addr stands for where this node has found the other one.
func (y *credentials) call(to raft.NodeID, addr string, least standing.Kind, do func(o *node, m met, answer func(func())), failed func(error)) {
	n, c := y.n, y.n.c
	o, life := c.nodes[to-1], n.life
	if o == n {
		do(n, met{kind: standing.Member, mine: trust.Proven{Name: trust.Name{Kind: trust.KindNode, Node: n.id}}}, func(f func()) { f() })
		return
	}
	times, lost, late := fate(c)
	back := func(f func()) {
		c.order.call(c.net.latency()+late/2, func() {
			if n.up && n.life == life && c.net.works(o.index, n.index) {
				f()
			}
		})
	}
	for range times {
		c.order.call(c.net.latency()+late/2, func() {
			if !n.up || n.life != life {
				return
			}
			var m met
			if o.up && !o.paused && o.creds.core != nil && (n.where.found[o.index] || addr == o.where.addr) && c.net.works(n.index, o.index) && c.net.works(o.index, n.index) {
				m = c.security.handshake(n, o)
			}
			if m.kind < least {
				c.order.call(c.net.latency(), func() { failed(errUnreached) })
				return
			}
			do(o, m, func(f func()) {
				if !lost {
					back(f)
				}
			})
		})
	}
}
