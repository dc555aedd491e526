package sim

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"muster/raft"
	"muster/repl/client"
	"muster/repl/machine"
	"muster/repl/rights"
	"muster/repl/wire"
	"muster/shardmap"
)

const (
	clientCount = 4
	// opsPerHour is what all clients begin together: more than the 10,000
	// that an hour must hold to count.
	opsPerHour = 15000
	// openMax bounds the operations that one client has open.
	openMax = 24
	// tagsPerGroup bounds the slots of a run that hold keys.
	tagsPerGroup = 3
	// listEvery is how many operations there are for each page of a listing.
	listEvery = 12
	// leasesEvery is how many pages there are for each of leases in their place.
	leasesEvery = 8
	// backupEvery is how many pages there are for each backup of a group.
	backupEvery = 8
	// checkEvery is how many sets there are for each check in their place: a
	// command of the newest level.
	checkEvery = 12
	// sessionOps is how many operations a client begins with one session, at
	// least and about.
	sessionOps = 12
	// localEvery is how many gets there are for each of a node's own copy, and
	// followerEvery and boundedEvery for each from any replica, linearizable or not.
	localEvery, followerEvery, boundedEvery = 8, 5, 8
	// cellOpsMax is after how many operations another cell takes the place of one,
	// so that each history stays small enough to be searched.
	cellOpsMax = 60

	silenceMax = 3 * time.Second // as in client/health.go
	pingAfter  = time.Second
)

var (
	errReset   = errors.New("connection reset")
	errRefused = errors.New("connection refused")
	errTimeout = errors.New("dial timed out")
	errSilence = errors.New("silent")
	errTable   = errors.New("no answer to the question after the table")
)

// simClient is a program that uses the cluster: the real core of a client, with made-up
// connections around it.
type simClient struct {
	c     *cluster
	id    int
	core  *client.Core
	conns []*conn // by peer; nil where there is none
	asked *conn   // on which the table was asked for
	table *wire.TopologyAnswer

	host     sleeper
	only     int                // the one node that it reaches; 0: all
	user     shardmap.Principal // for whom it speaks; 0: nobody in particular
	session  uint64
	next     uint64
	listings int      // under way
	watches  int      // likewise, or to be continued
	backing  *backing // under way; otherwise nil
	open     []*op    // by sequence, reads with that of the write before
	wakeAt   time.Duration
	wakes    uint64
	stopped  bool
	requests uint64
}

// conn is one connection of a client to a node.
type conn struct {
	client   *simClient
	peer     client.Peer
	acceptor        // the node's end
	life     uint32 // of the node's process
	up       bool   // as the client sees it
	ended    bool
	heard    time.Duration
	looks    bool // an evListen is due
	open     []*op

	cut              bool // a frame of a stream was lost: so are those after it
	toNode, toClient pipe
	windows          map[uint64]*window // by the number of a stream, at the node's end
	following        *following         // the stream of the table, if the client has it here

	// At the node's end.
	requests machine.Requests
	user     shardmap.Principal // for whom it speaks
	judge    *rights.Judge
	asked    map[uint64]streamAsked // what has opened each stream, where there are users
}

func newClient(c *cluster, id int) *simClient {
	cl := &simClient{c: c, id: id, session: c.chance.next() | 1, next: 1, wakeAt: -1}
	first := c.chance.below(len(c.nodes))
	config := client.Config{
		Endpoints: []string{addrOf(raft.NodeID(first + 1)), addrOf(raft.NodeID((first+1)%len(c.nodes) + 1))},
		Chance:    c.chance.next(), Patience: time.Hour,
	}
	if c.chance.below(confinedEvery) == 0 {
		cl.only = first + 1
		if c.chance.below(2) == 0 {
			config.Forward = client.ForwardAlways
		}
	}
	cl.core = client.NewCore(config)
	c.users.login(cl)
	cl.beginIn()
	return cl
}

// beginIn plans the next burst of operations. Bursts meet in the queues, which single
// operations rarely would.
func (cl *simClient) beginIn() {
	mean := time.Hour / opsPerHour * clientCount * 5 / 2 // a burst has 2.5 operations
	e := cl.c.queue.get(evBegin)
	e.client = cl
	cl.c.after(cl.c.chance.between(0, 2*mean), e)
}

func (cl *simClient) stop() { cl.stopped = true }

// begin begins a burst of operations.
func (cl *simClient) begin() {
	if cl.stopped {
		return
	}
	if cl.c.users.login(cl) {
		cl.beginIn()
		return
	}
	for range 1 + cl.c.chance.below(4) {
		if cl.busy() < openMax {
			cl.beginOne()
		}
	}
	cl.c.backups.begin(cl)
	if cl.c.chance.below(watchBegins) == 0 {
		cl.beginWatch()
	}
	cl.settle()
	cl.maySleep()
	cl.beginIn()
}

// busy is how many operations are open that end.
func (cl *simClient) busy() (n int) {
	for _, o := range cl.open {
		if o.kind != opWatch {
			n++
		}
	}
	return n
}

func (cl *simClient) beginOne() {
	c := cl.c
	cl.renew()
	o := &op{client: cl, number: c.history.begin()}
	if c.shuffle.active && c.chance.below(sumEvery) == 0 {
		o.beginSum(c)
		cl.submit(o)
		return
	}
	if c.services.draws() {
		c.services.begin(o)
		cl.submit(o)
		return
	}
	if c.limits.draws() {
		c.limits.begin(o)
		cl.submit(o)
		return
	}
	if c.series.draws() && c.series.begin(o) {
		cl.submit(o)
		return
	}
	o.cell = c.history.cell(c)
	o.key = o.cell.key(c)
	slot := shardmap.SlotOf(o.key)
	o.group = c.lives.owner(slot)
	o.call = client.Call{Owner: o, Slot: slot}
	if c.chance.below(listEvery) == 0 {
		if c.chance.below(3) == 0 {
			cl.beginListing()
			return
		}
		if c.builds.reached(shardmap.RangesLevel) && c.chance.below(backupEvery) == 0 {
			cl.beginBackup()
			return
		}
		if o.beginPage(c); c.chance.below(leasesEvery) == 0 {
			o.list = nil
			o.beginLeases(c)
		}
	} else if o.get = c.chance.below(5) < 2; o.get {
		o.beginGet(c)
	} else if o.cell.counter || c.grants.newer(c) {
		o.beginNewer(c)
	} else {
		o.beginWrite(c)
	}
	cl.submit(o)
}

// beginWrite makes o a write to its key.
func (o *op) beginWrite(c *cluster) {
	cl := o.client
	o.kind, o.call.Write = opSet, true
	o.command = shardmap.Command{Kind: shardmap.CommandSet, Session: cl.session, Sequence: cl.next, Slot: o.call.Slot}
	cl.next++
	o.command.Floor = cl.floor(o.command.Sequence)
	o.command.Items = [][]byte{o.key, o.value(c)}
	switch c.chance.below(8) {
	case 0:
		o.kind = opDel
		o.command.Kind, o.command.Items = shardmap.CommandDel, o.command.Items[:1]
	case 1:
		o.kind = opConditions
		o.command.Condition = shardmap.ConditionAbsent
	case 2, 3:
		o.kind = opConditions
		o.command.Condition, o.command.Version = shardmap.ConditionVersion, max(1, c.lives.of(o.call.Slot).now(o.key).version)
	}
	if o.command.Kind == shardmap.CommandSet && c.chance.below(checkEvery) == 0 {
		o.kind = opCheck
		o.command.Kind, o.command.Items = shardmap.CommandCheck, o.command.Items[:1]
	}
	o.body = wire.AppendWrite(nil, &o.command)
}

// value draws a value of the operation.
func (o *op) value(c *cluster) []byte {
	b := make([]byte, 8+c.valueSize())
	binary.LittleEndian.PutUint64(b, o.number)
	return b
}

// submit hands an operation to the core.
func (cl *simClient) submit(o *op) {
	c := cl.c
	o.began = c.now
	if !o.local {
		o.floors = c.floors(o.stale)
	}
	within := c.chance.skewed(500*time.Millisecond, 30*time.Second)
	o.within = within
	o.call.Deadline = cl.now() + within
	cl.open = append(cl.open, o)
	e := c.queue.get(evDeadline)
	e.op = o
	c.after(within, e)
	cl.core.Submit(cl.now(), &o.call)
}

// valueSize draws how many bytes a write writes: mostly few, and many while a disk is
// full, which would otherwise go unnoticed.
func (c *cluster) valueSize() int {
	switch {
	case c.full > 0 && c.chance.below(3) == 0:
		return c.chance.below(16 << 10)
	case c.chance.below(32) == 0:
		return c.chance.below(4 << 10)
	}
	return c.chance.below(100)
}

// floor returns the lowest sequence that is still unanswered.
func (cl *simClient) floor(next uint64) uint64 {
	for _, o := range cl.open {
		if !o.reads() && !o.ofSeries {
			next = min(next, o.command.Sequence)
		}
	}
	return next
}

// settle does what the core wants, until it wants nothing more.
func (cl *simClient) settle() {
	for {
		actions := cl.core.Take()
		if len(actions) == 0 {
			break
		}
		for i := range actions {
			cl.act(&actions[i])
		}
	}
	at, ok := cl.core.Wake()
	if at = cl.c.now + max(0, at-cl.now()); ok && (cl.wakeAt < 0 || at < cl.wakeAt) {
		cl.wakeAt = at
		cl.wakes++
		e := cl.c.queue.get(evWake)
		e.client, e.number = cl, cl.wakes
		cl.c.queue.push(cl.wakeAt, e)
	}
}

func (cl *simClient) wake(number uint64) {
	if number != cl.wakes {
		return
	}
	cl.wakeAt = -1
	cl.core.Tick(cl.now())
	cl.settle()
}

func (cl *simClient) act(a *client.Action) {
	switch a.Kind {
	case client.ActSend:
		o := a.Call.Owner.(*op)
		if o.cancelled {
			cl.core.ExpireUnsent(cl.now(), &o.call)
			return
		}
		if k := cl.connOf(a.Peer); k != nil && k.up {
			k.send(o)
			return
		}
		cl.core.Unsent(cl.now(), a.Call, a.Peer)
	case client.ActFinish:
		a.Call.Owner.(*op).finish(a.Err)
	case client.ActDial:
		cl.dial(a.Peer, a.Addr)
	case client.ActHangUp:
		if k := cl.connOf(a.Peer); k != nil {
			k.end(errReset)
		}
	case client.ActAsk:
		cl.ask(a.Peer)
	case client.ActFollow:
		cl.follow(a)
	}
}

// anyPeer draws one of the nodes to which the client has a connection; one of its endpoints
// if it has none.
func (cl *simClient) anyPeer() client.Peer {
	up := 0
	for _, k := range cl.conns {
		if k != nil && k.up {
			up++
		}
	}
	if up == 0 {
		return client.Peer(cl.c.chance.below(2))
	}
	skip := cl.c.chance.below(up)
	for p, k := range cl.conns {
		if k != nil && k.up {
			if skip == 0 {
				return client.Peer(p)
			}
			skip--
		}
	}
	return 0
}

func (cl *simClient) connOf(p client.Peer) *conn {
	if int(p) < len(cl.conns) {
		return cl.conns[p]
	}
	return nil
}

// reaches reports whether a client and a node hear each other, and the node would
// answer.
func (c *cluster) reaches(cl *simClient, n *node) bool {
	return cl.confinedTo(n) && !c.chaos.clientCut(cl.id, n.index) && !c.net.isolated(n.index)
}

// resolve returns the node that a client reaches at an address. It knows nodes by names
// that follow them: how clients handle addresses is tested elsewhere.
func (cl *simClient) resolve(addr string) *node {
	if n := nodeAt(cl.c.nodes, addr); n != nil {
		return n
	}
	var index int
	if _, err := fmt.Sscanf(addr, "n%d", &index); err != nil {
		cl.c.fail("c%d dials %q", cl.id, addr)
	}
	return cl.c.nodes[index-1]
}

func (cl *simClient) dial(p client.Peer, addr string) {
	k := &conn{client: cl, peer: p, acceptor: acceptor{node: cl.resolve(addr)}}
	k.requests.Init(k, machine.RequestLimits{Wait: requestWait, Inline: inlineMax, Page: wire.ListBytesMax})
	for len(cl.conns) <= int(p) {
		cl.conns = append(cl.conns, nil)
	}
	if old := cl.conns[p]; old != nil && !old.ended {
		cl.c.fail("c%d dials %s twice", cl.id, addr)
	}
	cl.conns[p] = k
	d := 2 * cl.c.net.latency()
	if !cl.c.reaches(cl, k.node) || k.node.up && k.node.paused {
		d = 2 * time.Second
	}
	e := cl.c.queue.get(evDialled)
	e.conn = k
	cl.c.after(d, e)
}

// dialled is the end of a dial.
func (k *conn) dialled() {
	if k.ended {
		return
	}
	cl, c := k.client, k.client.c
	switch {
	case !c.reaches(cl, k.node) || k.node.up && k.node.paused:
		k.end(errTimeout)
		cl.core.Disconnected(cl.now(), k.peer, errTimeout)
	case !k.node.up:
		k.end(errRefused)
		cl.core.Disconnected(cl.now(), k.peer, errRefused)
	default:
		k.up, k.life, k.heard = true, k.node.life, c.now
		k.user, k.judge, k.asked = cl.user, rights.NewJudge(nameOf(k.node.id)), map[uint64]streamAsked{}
		k.requests.Routes, k.requests.Principal, k.requests.Time = k.node.known.routes, cl.user, k.node.timeOf
		k.requests.Streams.Feed = k.node.feeds.feed
		cl.core.Connected(cl.now(), k.peer, k.node.id, clusterID)
	}
	cl.settle()
}

// send puts an operation on the connection.
func (k *conn) send(o *op) {
	c := k.client.c
	k.client.requests++
	o.conn, o.request = k, k.client.requests
	if len(k.open) == 0 {
		k.heard = c.now
	}
	k.open = append(k.open, o)
	if !k.looks {
		k.look()
	}
	within := max(time.Millisecond, o.call.Deadline-k.client.now())
	if o.stream != nil {
		o.begin()
		k.say(o.frame(), o.flags(), o.request, within, o.body)
		return
	}
	if !c.reaches(k.client, k.node) {
		return // the system sends it again, in vain
	}
	e := c.queue.get(evRequest)
	e.node, e.life, e.conn, e.number, e.wtype = int32(k.node.index), k.life, k, o.request, o.frame()
	e.within = within
	e.flags = o.flags()
	e.body = append(e.body[:0], o.body...)
	c.after(c.net.latency()+c.chaos.requestDelay(k.client.id), e)
}

func (k *conn) look() {
	e := k.client.c.queue.get(evListen)
	e.conn = k
	k.looks = true
	k.client.c.after(pingAfter, e)
}

// listen judges the connection as client/health.go does: it asks for a sign of life, and
// gives up a connection that stays silent.
func (k *conn) listen() {
	k.looks = false
	c := k.client.c
	if k.ended || len(k.open) == 0 {
		return
	}
	if silent := c.now - k.heard; silent >= pingAfter {
		if k.node.up && k.node.life == k.life && !k.node.paused && c.reaches(k.client, k.node) {
			k.heard = c.now
		} else if silent >= silenceMax {
			k.lost(errSilence)
			return
		}
	}
	k.look()
}

// take removes an operation from the connection; nil if it is not there.
func (k *conn) take(request uint64) *op {
	for i, o := range k.open {
		if o.request == request {
			k.open = slices.Delete(k.open, i, i+1)
			o.conn = nil
			return o
		}
	}
	return nil
}

// answered is the arrival of an answer at the client.
func (k *conn) answered(e *event) {
	if k.ended {
		return
	}
	cl, c := k.client, k.client.c
	k.heard = c.now
	if k.following.came(e) {
		cl.settle()
		return
	}
	if e.wtype == wire.TypeScanPiece || e.wtype == wire.TypeWatchPiece || e.wtype == wire.TypeBackupPiece {
		if i := slices.IndexFunc(k.open, func(o *op) bool { return o.request == e.number }); i >= 0 {
			e.heardBy(k.open[i])
			k.open[i].piece(e.body)
			cl.settle()
		}
		return
	}
	o := k.take(e.number)
	if o == nil {
		return // it was given up before
	}
	e.heardBy(o)
	if e.wtype == wire.TypeStreamEnd {
		o.streamEnded(k.peer, e.body)
	} else if e.wtype == wire.TypeError {
		refusal := new(wire.Error)
		if err := refusal.Read(e.body); err != nil {
			c.fail("an error that answers %s: %v", o, err)
		}
		cl.core.Refused(cl.now(), &o.call, k.peer, refusal)
	} else {
		cl.core.Scouts.Answered(cl.now(), &o.call, k.peer)
		o.answered(e.wtype, e.body, e.origin)
	}
	cl.settle()
}

// end forgets the connection.
func (k *conn) end(error) {
	k.up, k.ended = false, true
	k.requests.Streams.Close()
	if k.client.conns[k.peer] == k {
		k.client.conns[k.peer] = nil
	}
}

// lost is the end of a connection that was up, as the client learns it.
func (k *conn) lost(err error) {
	if k.ended || !k.up {
		return
	}
	cl := k.client
	k.end(err)
	open := k.open
	k.open = nil
	cl.core.Disconnected(cl.now(), k.peer, err)
	if cl.asked == k {
		cl.asked = nil
	}
	following := k.following
	k.following = nil
	following.ended()
	for _, o := range open {
		o.conn = nil
	}
	for _, o := range open {
		if !o.done && o.goesOn() { // it may have been given up with another
			cl.core.Lost(cl.now(), &o.call, k.peer, err)
		}
	}
	cl.settle()
}

// nodeEnded tells the client that a process has ended, if the network lets it know. What
// the process had read or sent before takes effect and arrives all the same.
func (cl *simClient) nodeEnded(n *node) {
	for _, k := range cl.conns {
		if k != nil && k.node == n && k.up && cl.c.reaches(cl, n) {
			e := cl.c.queue.get(evReset)
			e.conn = k
			cl.c.after(cl.c.net.latency(), e)
		}
	}
}

// ask asks a peer for the table.
func (cl *simClient) ask(p client.Peer) {
	k := cl.connOf(p)
	if k == nil || !k.up {
		cl.core.TableFailed(cl.now(), p, errTable)
		return
	}
	cl.asked = k
	cl.table = k.node.known.topology()
	d := 2 * cl.c.net.latency()
	if cl.table == nil || !cl.c.reaches(cl, k.node) {
		cl.table = nil
		d = 2 * time.Second
	} else if late := cl.c.chaos.staleTable(); late > 0 {
		d += late
	}
	e := cl.c.queue.get(evTable)
	e.client, e.conn = cl, k
	cl.c.after(d, e)
}

func (cl *simClient) tableCame(k *conn) {
	if cl.asked != k {
		return
	}
	cl.asked = nil
	if cl.table == nil {
		cl.core.TableFailed(cl.now(), k.peer, errTable)
	} else {
		cl.core.Table(cl.now(), k.peer, cl.table)
	}
	cl.settle()
}

// expire ends an operation whose time is over, if it is on a connection; otherwise the
// core does.
func (o *op) expire(uint64) {
	if o.done || o.conn == nil {
		return
	}
	cl := o.client
	if left := o.call.Deadline - cl.now(); left > 0 {
		e := cl.c.queue.get(evDeadline)
		e.op = o
		cl.c.after(left, e)
		return
	}
	cl.c.result.Fired[ClientTimeout]++
	k := o.conn
	k.take(o.request)
	if o.stream != nil {
		k.say(wire.TypeStreamCancel, 0, o.request, 0, new(wire.Empty).Append(nil))
	}
	cl.core.Expire(cl.now(), &o.call)
	cl.settle()
}
