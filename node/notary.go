package node

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"muster/raft"
	"muster/repl"
	"muster/repl/notary"
	"muster/repl/trust"
	"muster/repl/wire"
	"muster/shardmap"
)

const (
	// leaderLook is how often this node looks who leads the meta group while it wants something of
	// that leader and knows none.
	leaderLook = 300 * time.Millisecond
	// certifyMax is how long somebody waits here for a certificate.
	certifyMax = callTimeout
)

// authority drives the notary of this node: it brings both cores events, and carries out what they
// decide.
type authority struct {
	node *Node
	keys keyring

	// Owned by run.
	core   *notary.Core
	bearer *notary.Bearer // nil until this node has a key
	shows  *trust.Holding // what handshakes showed when the connections to others were looked at last
	table  *shardmap.Table
	asks   map[uint64]*asks
	number uint64
	lead   raft.NodeID // of the meta group

	mail    mailbox     // for run
	leads   atomic.Bool // the meta group is led here, with an entry of this term applied
	wishing bool        // the user that runs this host is to have a certificate; set before run
}

// asks is a request that a core has.
type asks struct {
	name   trust.Name
	public *ecdsa.PublicKey
	signed []byte // last
	// answer is told once: the certificate, or the root of an order, or why not.
	answer func(leaf []byte, root shardmap.RootID, refusal *wire.Error)
}

// begin gives this node its key and its certificate, before its first word. founds: it is to found a
// cluster with TLS.
func (y *authority) begin(n *Node) error {
	y.node, y.mail, y.asks = n, newMailbox(), make(map[uint64]*asks)
	y.core = notary.New(n.self().Node)
	n.logins.certify = y.login
	y.keys.holder, y.keys.disk, y.keys.data = n.guard.holder, n.fs, n.cfg.Data
	y.keys.now = func() time.Time { return n.guard.now() }
	if !n.guard.founded {
		return nil // it has none until the table says that there is TLS
	}
	id := n.self()
	y.wishing = !waiting(&id) && id.Meta.ID == 0 && n.cfg.FirstUser != nil
	if err := y.keys.withhold(y.wishing); err != nil {
		return err
	}
	if err := y.keys.open(); err != nil {
		return err
	}
	pins, sealed, err := y.keys.sealed()
	if err != nil || !sealed {
		return err
	}
	n.guard.seal(pins)
	// The founding is over, and who runs this host has what there was to have. Others of the cluster
	// let in who shows a certificate, and there may be no table here until they do.
	y.wishing = false
	return y.keys.withhold(y.wishing)
}

// led is told by the host when the lead of the meta group comes here, or goes.
func (y *authority) led(leads bool) {
	y.leads.Store(leads)
	y.mail.rouse()
}

// changed is told of each new table.
func (y *authority) changed() { y.mail.rouse() }

func (y *authority) run() {
	n, loop := y.node, y.node.running()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for y.mail.wait(n.ctx, timer) {
		// The mail first: what is asked by somebody to whom a change was confirmed is answered by a table that has it.
		queued := y.mail.take()
		if t := n.table.Load(); t != nil && t != y.table {
			y.take(t)
		}
		y.core.Lead(y.leads.Load())
		for _, f := range queued {
			f(loop.Now())
		}
		y.core.Held(y.keys.held())
		actions, next := y.core.Turn(y.now(loop))
		next = min(next, y.bear(loop))
		for i := range actions {
			if a := &actions[i]; a.Kind == notary.Answer {
				y.reply(a)
			} else {
				y.begins(loop, a, func(now notary.Now, r notary.Result) { y.core.Ended(now, a.Number, r) })
			}
		}
		timer.Reset(next - loop.Now())
	}
}

// now is what the clocks show.
func (y *authority) now(loop *repl.Loop) notary.Now {
	return notary.Now{Host: loop.Now(), Wall: y.node.guard.now().Unix()}
}

// take goes by a new table.
func (y *authority) take(t *shardmap.Table) {
	y.table = t
	y.core.Table(t)
	if t.Security.Mode == shardmap.SecurityOff {
		return
	}
	if _, has := y.keys.id(); !has && len(y.node.guard.secret) == 0 && y.node.cfg.FirstUser != nil {
		// TLS comes to a cluster that runs, and of which nobody has proven anything before.
		y.wishing = true
	}
	// The certificate of the user that runs this host comes before this node shows its own: whoever is
	// shown that, and finds nothing for its root, is told at once that there is nothing for him here.
	err := y.keys.withhold(y.wishes())
	if err == nil {
		err = y.keys.open()
	}
	if err == nil {
		err = y.keys.follow(t)
	}
	if err == nil && t.Security.Mode == shardmap.SecurityOnly {
		err = y.seal(t)
	}
	if err != nil {
		y.node.log.Error("certificates not taken over", "err", err)
		return
	}
	if y.bearer == nil {
		y.bearer = y.newBearer()
	}
	y.bearer.Table(t)
}

// newBearer makes the core that sees to this node's certificate, for the key that is here.
func (y *authority) newBearer() *notary.Bearer {
	id, _ := y.keys.id()
	return notary.NewBearer(y.node.self().Node, shardmap.KeyID(id), y.wishing)
}

// wishes reports whether the certificate of the user that runs this host is still to be had.
func (y *authority) wishes() bool {
	if y.table == nil || y.table.Security.Mode != shardmap.SecurityBoth {
		return false
	}
	return y.wishing && (y.bearer == nil || y.bearer.Wishing())
}

// seal notes on disk that certificates alone open the cluster. The guard goes by the table until then:
// a crash before leaves this node as it would be if it had been down at that moment.
func (y *authority) seal(t *shardmap.Table) error {
	pins, err := y.keys.seal(t)
	if err == nil {
		y.node.guard.seal(pins)
	}
	return err
}

// bear has the bearer take its turn, and returns when it is to take the next.
func (y *authority) bear(loop *repl.Loop) time.Duration {
	if _, has := y.keys.name(); y.bearer == nil && !has {
		return never // there is TLS once a table says so
	}
	if y.bearer == nil {
		y.bearer = y.newBearer()
	}
	if m, ok := metaLead(loop); ok {
		y.lead = m.node
	}
	// First settle which certificate is shown: that decides which connections are outdated.
	if err := y.keys.withhold(y.wishes()); err != nil {
		y.node.log.Error("certificate not shown", "err", err)
	}
	if h := y.node.guard.holder.Get(); h != y.shows {
		y.shows = h
		y.node.transport.Review()
		y.node.door.recheck() // whoever was let in under a root that is believed no longer, or by what was denied
	}
	y.bearer.Own(y.keys.own())
	y.bearer.Held(y.keys.held())
	y.bearer.Leader(y.lead)
	y.bearer.Members(y.members())
	y.bearer.Outdated(y.node.transport.Outdated())
	a, has, next := y.bearer.Turn(y.now(loop))
	if has {
		y.begins(loop, &a, func(now notary.Now, r notary.Result) {
			y.bearer.Own(y.keys.own())
			y.bearer.Ended(now, a.Number, r.Err)
		})
	}
	if y.lead == 0 {
		next = min(next, loop.Now()+leaderLook)
	}
	return next
}

// members are those beside this node that it knows of.
func (y *authority) members() (all []raft.NodeID) {
	for _, m := range y.node.inquiry.others() {
		all = append(all, m.Node)
	}
	return all
}

// begins carries out an action in a goroutine of its own, and has its end told.
func (y *authority) begins(loop *repl.Loop, a *notary.Action, ended func(notary.Now, notary.Result)) {
	q := y.asks[a.Request]
	t := y.table
	y.node.ended.Go(func() {
		r := y.act(loop, a, q, t)
		if r.Err != nil && y.node.ctx.Err() == nil {
			y.node.log.Info("certificate held up", "action", a.Kind, "to", a.Node, "err", r.Err)
		}
		y.mail.post(func(time.Duration) { ended(y.now(loop), r) })
	})
}

// act carries out one action.
func (y *authority) act(loop *repl.Loop, a *notary.Action, q *asks, t *shardmap.Table) (r notary.Result) {
	n := y.node
	ctx, cancel := context.WithTimeout(n.ctx, callTimeout)
	defer cancel()
	switch a.Kind {
	case notary.Propose:
		r.Err = n.moves.propose(ctx, loop, a.Payload)
	case notary.Draw:
		r.WrapKey, r.Err = y.keys.draw()
	case notary.Store:
		r.Err = y.keys.storeDrawn(a.WrapKey)
	case notary.MakeRoot:
		r.Root, r.Err = y.keys.makeRoot(t.Security.ClusterOf(t), a.WrapKey, n.guard.now())
		if r.Err == nil {
			n.log.Info("root made", "root", trust.RootID(r.Root.ID), "wrapping_key", a.WrapKey)
		}
	case notary.Hand, notary.Fetch:
		r.Err = y.pass(ctx, a)
		r.Lacks = errors.Is(r.Err, errLacks)
	case notary.Sign:
		r.Serial, r.NotAfter, r.Err = y.sign(a, q, t)
	case notary.Renew:
		r.Err = y.renew(ctx, a)
	case notary.Wish:
		r.Err = y.wish(ctx, a, t)
	case notary.Drop:
		r.Err = y.drop(a)
	case notary.Tell:
		r.Err = y.tell(ctx, a)
	}
	return r
}

// errLacks is wrapped by the error about a voter that has said so.
var errLacks = errors.New("does not hold the wrapping key")

// pass gives another voter a wrapping key, or gets it from there.
func (y *authority) pass(ctx context.Context, a *notary.Action) error {
	n := y.node
	id := trust.WrapKeyID(a.WrapKey)
	q, answer := wire.Keep{ID: wire.WrapKeyName(id)}, wire.KeepAnswer{}
	if a.Kind == notary.Hand {
		key, ok := y.keys.wrapKey(id)
		if !ok {
			return fmt.Errorf("wrapping key %s is in no file here", id)
		}
		q.Key = key[:]
	}
	err := n.caller.call(ctx, a.Node, n.addrOf(a.Node), wire.RolePeer, wire.TypeKeep, &q, &answer)
	switch {
	case err != nil:
		return err
	case !answer.Holds:
		return fmt.Errorf("node %s %w: %s", a.Node, errLacks, id)
	case a.Kind == notary.Fetch && len(answer.Key) != wire.WrapKeySize:
		return fmt.Errorf("node %s holds wrapping key %s, and does not give it", a.Node, id)
	case a.Kind == notary.Hand:
		return nil
	}
	key := trust.WrapKey(answer.Key)
	if key.ID() != id {
		return fmt.Errorf("node %s has given another key than wrapping key %s", a.Node, id)
	}
	return y.keys.keep(key)
}

// drop removes a wrapping key from this node, which has no use for it.
func (y *authority) drop(a *notary.Action) error {
	n := y.node
	if metaVoter(n.table.Load(), n.self().Node) {
		return errors.New("this node votes in the meta group again")
	}
	if err := y.keys.drop(trust.WrapKeyID(a.WrapKey)); err != nil {
		return err
	}
	n.log.Info("wrapping key removed: this node votes in the meta group no longer", "wrapping_key", a.WrapKey)
	return nil
}

// bugNamesAsked is planted to show that its test finds it: a certificate names the host that its request does.
const bugNamesAsked = "host of a certificate as its request wants it"

// sign makes the certificate that somebody has asked for.
func (y *authority) sign(a *notary.Action, q *asks, t *shardmap.Table) (serial shardmap.Serial, notAfter int64, err error) {
	root, ok := t.Security.Root(a.Root)
	if q == nil || !ok {
		return serial, 0, errors.New("nobody waits for it any longer")
	}
	now := y.node.guard.now()
	terms := trust.Terms{Life: a.Life, Host: a.Host}
	if u, ok := t.Security.UserNamed(q.name.User); ok && !bug(bugLeadersClocks) {
		// The user's certificates may have been withdrawn by a leader whose clock is ahead of this one's.
		terms.After = time.Unix(u.CertsAfter, 0)
	}
	if bug(bugNamesAsked) {
		terms.Host = wishedHost(q.public)
	}
	der, serial, err := y.keys.sign(&root, q.name, q.public, now, terms)
	if err != nil {
		return serial, 0, err
	}
	y.mail.post(func(time.Duration) { q.signed = der })
	return serial, now.Add(a.Life).Unix(), nil
}

// renew gets this node another certificate.
func (y *authority) renew(ctx context.Context, a *notary.Action) error {
	n := y.node
	name, _ := y.keys.name() // without a table: the next one is as the former
	if t := n.table.Load(); t != nil && t.Founded() {
		name = nodeName(t.Security.ClusterOf(t), n.self().Node)
	}
	request, err := y.keys.request()
	if err != nil {
		return err
	}
	answer, err := y.ask(ctx, a.Node, a.Addr, &wire.Renew{Request: request})
	if err != nil {
		return err
	}
	if err := y.keys.adopt(name, answer.Certificate, answer.Roots); err != nil {
		return err
	}
	own := y.keys.own()
	n.log.Info("certificate taken", "serial", own.Serial, "root", trust.RootID(own.Root), "renew_at", time.Unix(own.RenewAt, 0).UTC())
	return nil
}

// ask asks the leader of the meta group for a certificate in this node's name. An empty addr is the one that this node
// knows of it.
func (y *authority) ask(ctx context.Context, to raft.NodeID, addr string, q *wire.Renew) (a wire.RenewAnswer, err error) {
	n := y.node
	if to != n.self().Node {
		if addr == "" {
			addr = n.addrOf(to)
		}
		err = n.caller.call(ctx, to, addr, wire.RolePeer, wire.TypeRenew, q, &a)
		return a, err
	}
	by := y.memberAsks() // this node is what it says to itself
	if q.User != "" {
		by = notary.ByWish
	}
	a, refusal := y.certify(ctx, notary.Request{By: by, Node: n.self().Node, User: q.User}, q.Request)
	if refusal != nil {
		return a, refusal
	}
	return a, nil
}

// memberAsks is by what a member gets its own certificate that shows none of the cluster: by the key that the table
// has of it, once it has that for good.
func (y *authority) memberAsks() notary.Asker {
	if t := y.node.table.Load(); t == nil || t.Security.Mode != shardmap.SecurityOnly {
		return notary.BySecret
	}
	return notary.ByMember
}

// tell tells the leader of the meta group what this node has.
func (y *authority) tell(ctx context.Context, a *notary.Action) error {
	n := y.node
	if a.Node == n.self().Node {
		y.mail.post(func(time.Duration) { y.core.Told(a.Node, a.Serial, a.Index) })
		return nil
	}
	q := wire.Holds{Serial: wire.SerialNumber(a.Serial), Index: a.Index}
	return n.caller.call(ctx, a.Node, n.addrOf(a.Node), wire.RolePeer, wire.TypeHolds, &q, new(wire.HoldsAnswer))
}

// certify has the core make a certificate for the key of a request, and waits for it. It refuses
// where the meta group is led elsewhere.
func (y *authority) certify(ctx context.Context, q notary.Request, request []byte) (a wire.RenewAnswer, refusal *wire.Error) {
	n := y.node
	loop := n.running()
	if loop == nil || n.table.Load() == nil {
		return a, n.notReady()
	}
	if refusal := n.ledHere(loop); refusal != nil {
		return a, refusal
	}
	read := trust.ReadRequest
	if bug(bugNamesAsked) {
		read = readWish
	}
	public, err := read(request)
	if err != nil {
		return a, wire.BadRequest("certificate request", err.Error(), "make it with a release of muster, or as docs/protocol.md says")
	}
	key, err := trust.PublicKeyID(public)
	if err != nil {
		return a, wire.BadRequest("certificate request", err.Error(), "make it with a release of muster, or as docs/protocol.md says")
	}
	q.Key = shardmap.KeyID(key)
	type answered struct {
		leaf    []byte
		refusal *wire.Error
	}
	done := make(chan answered, 1)
	y.mail.post(func(time.Duration) {
		t := n.table.Load()
		name := nodeName(t.Security.ClusterOf(t), q.Node)
		if q.By == notary.ByUser || q.By == notary.ByWish || q.By == notary.ByReset {
			name = trust.Name{Cluster: name.Cluster, Kind: trust.KindUser, User: q.User}
		}
		y.number++
		q.Number = y.number
		y.asks[q.Number] = &asks{name: name, public: public, answer: func(leaf []byte, _ shardmap.RootID, refusal *wire.Error) {
			done <- answered{leaf, refusal}
		}}
		y.core.Ask(y.now(loop), q)
	})
	ctx, cancel := context.WithTimeout(ctx, certifyMax)
	defer cancel()
	select {
	case d := <-done:
		if d.refusal != nil {
			return a, d.refusal
		}
		a.Certificate, a.Roots = d.leaf, trustedRoots(n.table.Load())
		return a, nil
	case <-ctx.Done():
		return a, wire.NotReady("certificate", "it was not made in time", "ask again", notary.Retry)
	}
}

// login makes a certificate of an hour for a user that has proven its password.
func (y *authority) login(ctx context.Context, user *shardmap.User, request []byte) (*wire.LoginAnswer, *wire.Error) {
	if t := y.node.table.Load(); t == nil || t.Security.Mode == shardmap.SecurityOff {
		return nil, noRoot(y.node)
	}
	a, refusal := y.certify(ctx, notary.Request{By: notary.ByUser, User: user.Name, Principal: user.ID, Lasts: trust.LoginLife}, request)
	if refusal != nil {
		return nil, refusal
	}
	return &wire.LoginAnswer{Certificate: a.Certificate, Roots: a.Roots}, nil
}

// order has the core carry out an order about the roots, and waits until that is done.
func (y *authority) order(ctx context.Context, q *wire.Authority) (a wire.AuthorityAnswer, refusal *wire.Error) {
	n := y.node
	loop := n.running()
	if refusal := n.ledHere(loop); refusal != nil {
		return a, refusal
	}
	if t := n.table.Load(); q.Action == wire.AuthorityCreate && t.Security.Mode == shardmap.SecurityOff && len(n.guard.secret) == 0 && len(t.Nodes) > 1 {
		// Until all have certificates, nothing would tell a member from a stranger.
		return a, wire.Unauthorized("cluster "+t.Cluster, "it has no secret by which its members could tell each other from strangers on the way to TLS", "start all nodes with one --secret-file first: muster secret makes one")
	}
	type answered struct {
		root    shardmap.RootID
		refusal *wire.Error
	}
	done := make(chan answered, 1)
	y.mail.post(func(time.Duration) {
		y.number++
		y.asks[y.number] = &asks{answer: func(_ []byte, root shardmap.RootID, refusal *wire.Error) { done <- answered{root, refusal} }}
		y.core.Order(y.now(loop), y.number, q)
	})
	ctx, cancel := context.WithTimeout(ctx, certifyMax)
	defer cancel()
	select {
	case d := <-done:
		return wire.AuthorityAnswer{Root: wire.RootHash(d.root)}, d.refusal
	case <-ctx.Done():
		return a, wire.MaybeApplied("order to "+q.Action.String(), "it took too long; see with muster ca show what became of it")
	}
}

// reply answers a request of the core's.
func (y *authority) reply(a *notary.Action) {
	q := y.asks[a.Request]
	if q == nil {
		return
	}
	delete(y.asks, a.Request)
	q.answer(q.signed, a.Root, a.Refusal)
}

// FirstUser is who runs a host that founds a cluster, and becomes its first administrator.
type FirstUser struct {
	Name string // as access.CheckName wants it
	// Keep keeps the user's certificate where the command line finds it, with its key and the root
	// that it is under. All are DER, save the key.
	Keep func(root, leaf []byte, key *ecdsa.PrivateKey) error
}

// wish gets the first user's certificate.
func (y *authority) wish(ctx context.Context, a *notary.Action, t *shardmap.Table) error {
	first := y.node.cfg.FirstUser
	key, err := trust.NewKey(rand.Reader)
	if err != nil {
		return err
	}
	request, err := trust.NewRequest(key)
	if err != nil {
		return err
	}
	answer, err := y.ask(ctx, a.Node, "", &wire.Renew{User: first.Name, Request: request})
	if err != nil {
		return err
	}
	// This node holds a certificate by now, so it believes in a root of its own.
	c, err := trust.ReadCertificate(answer.Certificate)
	if err != nil {
		return err
	}
	believed := y.node.guard.holder.Get().Trusted
	p, err := believed.Verify([]*x509.Certificate{c}, y.node.guard.now())
	want := trust.Name{Cluster: t.Security.ClusterOf(t), Kind: trust.KindUser, User: first.Name}
	switch {
	case err != nil:
		return err
	case p.Name != want:
		return fmt.Errorf("the certificate is that of %s; want %s", p.Name, want)
	}
	for _, root := range believed.Roots {
		if trust.RootIDOf(root.Raw) == p.Root {
			return first.Keep(root.Raw, c.Raw, key)
		}
	}
	return fmt.Errorf("root %s is trusted no longer", p.Root)
}
