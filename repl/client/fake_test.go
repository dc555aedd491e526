package client

import (
	"bytes"
	"fmt"
	"maps"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/trust"
	"muster/repl/wire"
	"muster/shardmap"
)

// fakeCluster is nodes on loopback that speak the real protocol over one shared
// map: what a client sees of a cluster, with faults on order. It remembers
// outcomes by session and sequence, and complains when a client breaks the
// rules of sessions.
type fakeCluster struct {
	t      testing.TB
	nodes  []*fakeNode
	groups int
	secret []byte
	shows  *trust.Holder // over TLS; nil: plain text
	met    func(g *wire.Greeting) error

	mu       sync.Mutex
	level    uint32
	owners   map[shardmap.Slot]fakeOwner // of slots that have moved
	recorded map[shardmap.Slot]fakeOwner // of them, those that the table knows of
	epoch    uint64
	leaders  []int // by group-1, a place in nodes; -1 none
	valueMax int
	index    uint64
	data     map[string]fakeValue
	outcomes map[[2]uint64]fakeOutcome
	applied  int
	moves    uint64
	refused  int // requests that met a slot which had moved
	labels   map[raft.NodeID][]shardmap.Label

	// Of level 5, see fake_txn_test.go.
	leases    map[shardmap.LeaseID]*fakeLease
	ttls      []uint64 // that keys were set with
	keptAlive int
	gets      [wire.ReadBounded + 1]int // that were answered or refused, by mode

	fakeServices // of level 6
}

type fakeValue struct {
	value   []byte
	version uint64
}

type fakeOutcome struct {
	body   []byte
	answer []byte
	kind   wire.Type
}

type fakeNode struct {
	cluster *fakeCluster
	id      raft.NodeID
	addr    string
	// order, if set, says what happens to a request.
	order atomic.Pointer[func(h wire.Header, body []byte) fakeOrder]
	// piece, if set, says what happens instead of a piece of a stream, if anything.
	piece   atomic.Pointer[func(number uint64) fakeOrder]
	streams atomic.Int64 // that are open
	quick   bool         // answers every write at once, without looking at it
	accepts atomic.Int64
	pongs   atomic.Int64

	mu       sync.Mutex
	listener net.Listener
	conns    map[net.Conn]bool
	wg       sync.WaitGroup

	// Guarded by the cluster's mu.
	followers map[fakeFollower]bool
	watchers  map[fakeFollower]*fakeWatcher
	gets      int
}

// fakeOrder is what a node does with a request; the zero value serves it.
type fakeOrder struct {
	refuse   *wire.Error
	ping     bool // ask whether the client is there, before anything else
	silent   bool // neither serve nor answer
	complain bool // about the connection, then hang up
	hangUp   bool // after serving it, without an answer
}

func newFake(t testing.TB, nodes, groups int) *fakeCluster {
	c := &fakeCluster{t: t, groups: groups, epoch: 1, valueMax: 1 << 20,
		data: map[string]fakeValue{}, outcomes: map[[2]uint64]fakeOutcome{}, leases: map[shardmap.LeaseID]*fakeLease{}}
	for i := range nodes {
		n := &fakeNode{cluster: c, id: raft.NodeID(i + 1), conns: map[net.Conn]bool{}, followers: map[fakeFollower]bool{}, watchers: map[fakeFollower]*fakeWatcher{}}
		c.nodes = append(c.nodes, n)
		n.start()
	}
	for g := range groups {
		c.leaders = append(c.leaders, g%nodes)
	}
	t.Cleanup(func() {
		for _, n := range c.nodes {
			n.stop()
		}
	})
	return c
}

func (c *fakeCluster) open(o Options) *Client {
	c.t.Helper()
	for _, n := range c.nodes {
		if len(o.Endpoints) < len(c.nodes) {
			o.Endpoints = append(o.Endpoints, n.addr)
		}
	}
	o.Insecure = o.Insecure || o.Home == "" && c.shows == nil
	cl, err := Open(o)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { cl.Close() })
	return cl
}

func (c *fakeCluster) lead(group, node int) {
	c.mu.Lock()
	c.leaders[group-1] = node
	c.mu.Unlock()
}

// fakeOwner is where a move brought a slot.
type fakeOwner struct {
	group  int
	number uint64
}

// groupOf returns the group that owns the slot.
func (c *fakeCluster) groupOf(s shardmap.Slot) int {
	if o, ok := c.owners[s]; ok {
		return o.group
	}
	return c.first(s)
}

// first returns the group that owned the slot before any moved.
func (c *fakeCluster) first(s shardmap.Slot) int { return int(s)*c.groups/shardmap.Slots + 1 }

// byTable returns the group that owns the slot by the table.
func (c *fakeCluster) byTable(s shardmap.Slot) int {
	if o, ok := c.recorded[s]; ok {
		return o.group
	}
	return c.first(s)
}

// move gives a slot to a group; the table does not know of it before record.
func (c *fakeCluster) move(s shardmap.Slot, group int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.owners == nil {
		c.level, c.owners, c.recorded = max(c.level, shardmap.MovesLevel), map[shardmap.Slot]fakeOwner{}, map[shardmap.Slot]fakeOwner{}
	}
	c.moves++
	c.owners[s] = fakeOwner{group, c.moves}
}

// record brings the moves into the table.
func (c *fakeCluster) record() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.recorded = maps.Clone(c.owners)
	c.epoch++
}

// refuses returns the refusal of a node that is asked for a slot: it goes by the table,
// but for what it knows of groups that it leads.
func (n *fakeNode) refuses(s shardmap.Slot) *wire.Error {
	c := n.cluster
	group := c.groupOf(s)
	e := n.leads(group)
	if e == nil || group == c.byTable(s) {
		return e
	}
	if e := n.leads(c.byTable(s)); e != nil {
		return e
	}
	return c.moved(s)
}

// moved is what the group says that a slot has left. Some have forgotten where it went.
func (c *fakeCluster) moved(s shardmap.Slot) *wire.Error {
	c.refused++
	if o := c.owners[s]; o.number%5 > 0 {
		return wire.Moved(s, raft.GroupID(c.byTable(s)), raft.GroupID(o.group), o.number)
	}
	return wire.Moved(s, raft.GroupID(c.byTable(s)), 0, 0)
}

func (n *fakeNode) start() {
	addr := n.addr
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		n.cluster.t.Fatal(err)
	}
	n.mu.Lock()
	if n.listener = l; n.addr == "" { // others read it once the cluster runs
		n.addr = l.Addr().String()
	}
	n.mu.Unlock()
	n.wg.Add(1)
	go func() {
		defer n.wg.Done()
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			n.accepts.Add(1)
			n.mu.Lock()
			if n.listener != l { // it was stopped between the two, and waits for those that it knows
				n.mu.Unlock()
				conn.Close()
				return
			}
			n.conns[conn] = true
			n.mu.Unlock()
			n.wg.Add(1)
			go func() {
				defer n.wg.Done()
				n.serve(conn)
				n.mu.Lock()
				delete(n.conns, conn)
				n.mu.Unlock()
			}()
		}
	}()
}

// stop ends the listener and every connection, as a killed process does.
func (n *fakeNode) stop() {
	n.mu.Lock()
	if n.listener != nil {
		n.listener.Close()
	}
	n.listener = nil
	for c := range n.conns {
		c.Close()
	}
	n.mu.Unlock()
	n.wg.Wait()
}

func (n *fakeNode) do(f func(h wire.Header, body []byte) fakeOrder) {
	if f == nil {
		n.order.Store(nil)
		return
	}
	n.order.Store(&f)
}

func (n *fakeNode) serve(conn net.Conn) {
	defer conn.Close()
	n.cluster.mu.Lock()
	secret, shows, met := n.cluster.secret, n.cluster.shows, n.cluster.met
	n.cluster.mu.Unlock()
	o, err := wire.ReadOpening(conn)
	if err != nil {
		return
	}
	if shows == nil && o.TLS() {
		_ = o.Refuse(conn, wire.Unauthorized("connection with TLS", "it has none", "give --insecure"))
		return
	}
	if shows != nil && o.Ours() {
		_ = o.Refuse(conn, wire.Unauthorized("connection without TLS", "it has nothing else", "leave out --insecure"))
		return
	}
	if shows != nil {
		over, inner, err := o.TLSServer(conn, shows.Naming(shows.Server()), nil)
		if err != nil {
			return
		}
		over.Peer, _ = shows.Get().Trusted.Verify(over.ConnectionState().PeerCertificates, time.Now())
		conn, o = over, inner
	}
	g, err := o.ServerHello(conn, wire.AcceptConfig{
		Cluster: "fake", ClusterID: 99, Node: n.id, Advertise: n.addr, Level: 1, ValueMax: 1 << 20,
		WindowMax: shardmap.SessionWindowMax, Secret: secret, Admit: met})
	if err != nil {
		return
	}
	d := g.Decoder
	streams := fakeStreams{node: n, open: map[uint64]*fakeStream{}}
	defer streams.close()
	defer n.leaves(conn)
	var out []byte
	for {
		for {
			h, body, ok, err := d.Next()
			if err != nil {
				n.cluster.t.Errorf("a client sent a bad frame: %v", err)
				return
			}
			if !ok {
				break
			}
			if n.quick && h.Type == wire.TypeWrite {
				var start int
				out, start = wire.BeginFrame(out, wire.TypeWriteAnswer, 0, 0, h.Request)
				out = wire.EndFrame((&wire.WriteAnswer{Group: 1, ID: raft.LogID{Term: 1, Index: 1}, Version: 1}).Append(out), start)
				continue
			}
			var order fakeOrder
			if f := n.order.Load(); f != nil {
				order = (*f)(h, body)
			}
			if h.Type == wire.TypePong {
				n.pongs.Add(1)
				continue
			}
			if order.ping {
				out = wire.AppendFrame(out, wire.TypePing, 77, &wire.Empty{})
			}
			if order.complain {
				out = wire.AppendFrame(out, wire.TypeError, 0, wire.BadRequest("frame", "flags", "send none"))
				_, _ = conn.Write(out)
				return
			}
			if order.silent {
				continue
			}
			if h.Type >= wire.TypeScan && h.Type <= wire.TypeStreamCancel && order.refuse == nil {
				var hangUp bool
				if out, hangUp = streams.take(h, body, out); hangUp {
					_, _ = conn.Write(out)
					return
				}
				continue
			}
			if h.Type == wire.TypeWatch && order.refuse == nil {
				n.watches(conn, h, body)
				continue
			}
			if h.Type == wire.TypeTableStream && order.refuse == nil {
				out = n.follows(conn, h, body, out)
				continue
			}
			kind, answer := wire.TypeError, []byte(nil)
			if order.refuse != nil {
				answer = order.refuse.Append(nil)
			} else {
				kind, answer = n.answer(h, body)
			}
			if order.hangUp {
				return
			}
			var start int
			out, start = wire.BeginFrame(out, kind, 0, 0, h.Request)
			out = wire.EndFrame(append(out, answer...), start)
		}
		if len(out) > 0 {
			if _, err := conn.Write(out); err != nil {
				return
			}
			out = out[:0]
		}
		if err := d.Fill(conn); err != nil {
			return
		}
	}
}

func (n *fakeNode) answer(h wire.Header, body []byte) (wire.Type, []byte) {
	c := n.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	switch h.Type {
	case wire.TypePing:
		return wire.TypePong, (&wire.Empty{}).Append(nil)
	case wire.TypeTopology:
		return wire.TypeTopologyAnswer, c.topology().Append(nil)
	case wire.TypeStatus:
		return wire.TypeStatusAnswer, (&wire.StatusAnswer{Cluster: "fake", Self: n.id, Healthy: true, CPUMicros: 1,
			Nodes: []wire.StatusNode{{ID: n.id, Name: "fake", Addr: n.addr, Labels: c.labels[n.id]}}}).Append(nil)
	case wire.TypeWrite:
		return n.write(h, body)
	case wire.TypeGet:
		return n.get(body)
	case wire.TypeList:
		return n.count(body)
	case wire.TypeLeases:
		return n.listLeases(body)
	case wire.TypeServices:
		return n.listServices(body)
	case wire.TypeHeartbeat:
		return n.heartbeat(body)
	case wire.TypeSlotView:
		return n.slotView(body)
	}
	return wire.TypeError, wire.BadRequest("frame", h.Type.String(), "none").Append(nil)
}

func (c *fakeCluster) topology() *wire.TopologyAnswer {
	t := &wire.TopologyAnswer{ClusterID: 99, Epoch: c.epoch, Index: c.epoch, ValueMax: uint32(c.valueMax), Level: c.level}
	var ids []raft.NodeID
	for _, n := range c.nodes {
		t.Nodes = append(t.Nodes, wire.TopologyNode{ID: n.id, Name: fmt.Sprint("n", n.id), Addr: n.addr})
		ids = append(ids, n.id)
	}
	for g := range c.groups {
		x := wire.TopologyGroup{ID: raft.GroupID(g + 1), Nodes: ids}
		if l := c.leaders[g]; l >= 0 {
			x.Leader = c.nodes[l].id
		}
		t.Groups = append(t.Groups, x)
	}
	from := 0
	for s := 1; s <= shardmap.Slots; s++ {
		if s == shardmap.Slots || c.byTable(shardmap.Slot(s)) != c.byTable(shardmap.Slot(from)) {
			t.Slots = append(t.Slots, shardmap.OwnedRange{SlotRange: shardmap.SlotRange{From: shardmap.Slot(from), To: shardmap.Slot(s - 1)},
				Group: raft.GroupID(c.byTable(shardmap.Slot(from)))})
			from = s
		}
	}
	return t
}

// leads returns the refusal of a node that does not lead the group.
func (n *fakeNode) leads(group int) *wire.Error {
	l := n.cluster.leaders[group-1]
	switch {
	case l < 0:
		return wire.NotLeader(raft.GroupID(group), 0, "")
	case n.cluster.nodes[l] != n:
		return wire.NotLeader(raft.GroupID(group), n.cluster.nodes[l].id, n.cluster.nodes[l].addr)
	}
	return nil
}

func (n *fakeNode) write(h wire.Header, body []byte) (wire.Type, []byte) {
	c := n.cluster
	b, err := wire.CheckWrite(body)
	if err != nil {
		return wire.TypeError, wire.BadBody(wire.TypeWrite, err).Append(nil)
	}
	var cmd shardmap.Command
	if err := shardmap.ReadCommand(b, &cmd); err != nil {
		return wire.TypeError, wire.BadBody(wire.TypeWrite, err).Append(nil)
	}
	if level := cmd.Kind.Row().Level; level > max(c.level, 1) {
		return wire.TypeError, wire.OverLevel("command "+cmd.Kind.String(), level, c.level).Append(nil)
	}
	if err := cmd.Validate(shardmap.Limits{ValueMax: c.valueMax, Level: shardmap.Level}); err != nil {
		return wire.TypeError, wire.TooLarge("value", err.Error(), "less").Append(nil)
	}
	if h.Deadline == 0 || cmd.Session == 0 || cmd.Sequence == 0 || cmd.Floor == 0 {
		c.t.Errorf("write without deadline or session: %+v %+v", h, cmd)
	}
	group := c.groupOf(cmd.Slot)
	if e := n.refuses(cmd.Slot); e != nil {
		return wire.TypeError, e.Append(nil)
	}
	id := [2]uint64{cmd.Session, cmd.Sequence}
	if old, ok := c.outcomes[id]; ok {
		if !bytes.Equal(old.body, body) {
			c.t.Errorf("session %x sequence %d came with other bytes", id[0], id[1])
		}
		return old.kind, old.answer
	}
	var kind wire.Type
	var answer []byte
	switch cmd.Kind {
	case shardmap.CommandTxn:
		kind, answer = c.applyTxn(&cmd, group)
	case shardmap.CommandLease:
		kind, answer = c.applyLease(&cmd, group)
	case shardmap.CommandService:
		kind, answer = c.applyService(&cmd, group)
	case shardmap.CommandDelPrefix:
		kind, answer = c.applyDelPrefix(&cmd, group)
	default:
		kind, answer = c.apply(&cmd, group)
	}
	c.outcomes[id] = fakeOutcome{body: bytes.Clone(body), kind: kind, answer: answer}
	return kind, answer
}

func (c *fakeCluster) apply(cmd *shardmap.Command, group int) (wire.Type, []byte) {
	old, there := c.data[string(cmd.Key(0))]
	if cmd.Condition == shardmap.ConditionAbsent && there ||
		cmd.Condition == shardmap.ConditionVersion && old.version != cmd.Version {
		return wire.TypeError, wire.Conflict("key", fmt.Sprint("version ", old.version)).Append(nil)
	}
	c.index++
	c.applied++
	deleted := 0
	for i := range cmd.Keys() {
		if cmd.Kind == shardmap.CommandSet {
			c.data[string(cmd.Key(i))] = fakeValue{bytes.Clone(cmd.Items[2*i+1]), c.index}
		} else if _, ok := c.data[string(cmd.Key(i))]; ok {
			deleted++
			delete(c.data, string(cmd.Key(i)))
		}
	}
	a := wire.WriteAnswer{Group: raft.GroupID(group), ID: raft.LogID{Term: 1, Index: c.index}, Version: c.index, Deleted: uint64(deleted)}
	return wire.TypeWriteAnswer, a.Append(nil)
}

func (n *fakeNode) get(body []byte) (wire.Type, []byte) {
	c := n.cluster
	var g wire.Get
	if err := g.Read(body); err != nil {
		return wire.TypeError, wire.BadBody(wire.TypeGet, err).Append(nil)
	}
	c.gets[g.Mode]++
	n.gets++
	group := c.groupOf(shardmap.SlotOf(g.Keys[0]))
	for _, key := range g.Keys {
		s := shardmap.SlotOf(key)
		if of := c.byTable(s); of != c.byTable(shardmap.SlotOf(g.Keys[0])) {
			return wire.TypeError, (&wire.Error{Code: wire.CodeMoved, Object: "keys of a get", Text: "they are of several groups", Epoch: c.epoch}).Append(nil)
		}
		switch e := n.refuses(s); {
		case e != nil && g.Mode == wire.ReadLinearizable:
			return wire.TypeError, e.Append(nil)
		case g.Mode != wire.ReadLocal && c.groupOf(s) != c.byTable(s):
			return wire.TypeError, c.moved(s).Append(nil)
		}
	}
	out := wire.AppendGetAnswer(nil, raft.GroupID(group), raft.LogID{Term: 1, Index: c.index}, len(g.Keys))
	for _, k := range g.Keys {
		if v, ok := c.data[string(k)]; ok {
			out = wire.AppendFound(out, v.version, v.value)
		} else {
			out = wire.AppendMissing(out)
		}
	}
	return wire.TypeGetAnswer, out
}

// until waits for what must become true.
func until(t testing.TB, what string, f func() bool) {
	t.Helper()
	end := time.Now().Add(10 * time.Second)
	for !f() {
		if time.Now().After(end) {
			t.Fatalf("not in 10 s: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}
