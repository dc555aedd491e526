package queries

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"muster/raft"
	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/points"
	"muster/shardmap/points/query"
	"muster/shardmap/points/query/querytest"
)

const worldClusterID = 99

// world is nodes in memory that speak the real protocol, and of which a test says what each does. It runs in a bubble.
type world struct {
	t     *testing.T
	nodes []*worldNode

	mu     sync.Mutex
	table  *shardmap.Table
	may    func(q *wire.CanI) bool // nil: everything
	shards map[shardmap.ShardID]query.Shard
	asks   map[raft.GroupID]int // of shards
}

// worldNode is one of them.
type worldNode struct {
	world *world
	id    raft.NodeID
	name  string

	// Guarded by the world's mu.
	rows   []wire.QueriesRow // that run there
	ended  map[uint64]bool   // queries that it was told to end
	told   []wire.Queries    // all that it was told, in order
	order  func(h wire.Header) fate
	silent bool // it answers nothing
}

// fate is what becomes of a request; the zero value serves it.
type fate struct {
	silent bool
	refuse *wire.Error
}

// inWorld tells a story of a cluster in a bubble, with a client of its first node.
func inWorld(t *testing.T, nodes int, do func(t *testing.T, w *world, c *client.Client)) {
	t.Helper()
	// Clients keep what they have used for calls, for the next client too, and it belongs to its bubble: two collections empty
	// a sync.Pool.
	runtime.GC()
	runtime.GC()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nodes)
		c := w.open(0)
		defer c.Close()
		do(t, w, c)
	})
}

// newWorld is a cluster of so many nodes, all of which have groups 1 and 2, which the first one leads.
func newWorld(t *testing.T, nodes int) *world {
	w := &world{t: t, shards: map[shardmap.ShardID]query.Shard{}, asks: map[raft.GroupID]int{}}
	w.table = &shardmap.Table{Index: 100, Level: shardmap.PointsLevel}
	for i := range nodes {
		w.nodes = append(w.nodes, &worldNode{world: w, id: raft.NodeID(i + 1), name: fmt.Sprint("n", i+1), ended: map[uint64]bool{}})
	}
	w.table.Catalog.Databases = []shardmap.Database{{ID: 5, Name: "metrics", Default: 6, Limits: points.DefaultLimits}}
	w.table.Catalog.Policies = []shardmap.Policy{{ID: 6, Database: 5, Name: "autogen", WindowDuration: time.Hour, Shards: 1}}
	for g := range raft.GroupID(2) {
		w.table.Groups = append(w.table.Groups, shardmap.TableGroup{ID: g + 1, Next: 2, Replicas: []shardmap.TableReplica{{Replica: 1, Node: 1, Role: shardmap.ReplicaVoter}}})
	}
	return w
}

// set changes what nodes do, while they may be asked.
func (w *world) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func (w *world) addr(n *worldNode) string { return n.name + ":4166" }

// open returns a client that knows one node.
func (w *world) open(node int) *client.Client {
	c, err := client.Open(client.Options{Insecure: true, Endpoints: []string{w.addr(w.nodes[node])}, Dial: w.dial})
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) dial(_ context.Context, addr string) (net.Conn, error) {
	i := slices.IndexFunc(w.nodes, func(n *worldNode) bool { return w.addr(n) == addr })
	if i < 0 {
		return nil, errors.New("no such host")
	}
	near, far := net.Pipe()
	go w.nodes[i].serve(far)
	return near, nil
}

func (n *worldNode) serve(conn net.Conn) {
	defer conn.Close()
	o, err := wire.ReadOpening(conn)
	if err != nil {
		return
	}
	g, err := o.ServerHello(conn, wire.AcceptConfig{Cluster: "world", ClusterID: worldClusterID, Node: n.id, Advertise: n.world.addr(n), Level: shardmap.Level, ValueMax: 1 << 20, WindowMax: shardmap.SessionWindowMax})
	if err != nil {
		return
	}
	for {
		h, body, ok, err := g.Decoder.Next()
		if err != nil {
			n.world.t.Errorf("%s gets a bad frame: %v", n.name, err)
			return
		}
		if !ok {
			if g.Decoder.Fill(conn) != nil {
				return
			}
			continue
		}
		kind, answer := n.answer(h, body)
		if kind == 0 {
			continue
		}
		out, start := wire.BeginFrame(nil, kind, 0, 0, h.Request)
		if _, err := conn.Write(wire.EndFrame(append(out, answer...), start)); err != nil {
			return
		}
	}
}

// answer answers a request; the type is 0 if it does not.
func (n *worldNode) answer(h wire.Header, body []byte) (wire.Type, []byte) {
	w := n.world
	w.mu.Lock()
	defer w.mu.Unlock()
	refuse := func(e *wire.Error) (wire.Type, []byte) { return wire.TypeError, e.Append(nil) }
	bad := func(err error) (wire.Type, []byte) { return refuse(wire.BadBody(h.Type, err)) }
	var f fate
	if n.order != nil {
		f = n.order(h)
	}
	switch {
	case f.silent || n.silent:
		return 0, nil
	case f.refuse != nil:
		return refuse(f.refuse)
	}
	switch h.Type {
	case wire.TypePing:
		return wire.TypePong, new(wire.Empty).Append(nil)
	case wire.TypePong:
		return 0, nil
	case wire.TypeTopology:
		return wire.TypeTopologyAnswer, w.topology().Append(nil)
	case wire.TypeStatus:
		a := wire.StatusAnswer{Cluster: "world", Self: n.id, Healthy: true}
		for _, o := range w.nodes {
			a.Nodes = append(a.Nodes, wire.StatusNode{ID: o.id, Name: o.name, Addr: w.addr(o)})
		}
		return wire.TypeStatusAnswer, a.Append(nil)
	case wire.TypeTable:
		return wire.TypeTableAnswer, (&wire.TableAnswer{Index: w.table.Index, Leader: 1, State: w.table.AppendTo(nil)}).Append(nil)
	case wire.TypeCanI:
		q := new(wire.CanI)
		if err := q.Read(body); err != nil {
			return bad(err)
		}
		return wire.TypeCanIAnswer, (&wire.CanIAnswer{Allowed: w.may == nil || w.may(q), By: "no role"}).Append(nil)
	case wire.TypeQueries:
		q := new(wire.Queries)
		if err := q.Read(body); err != nil {
			return bad(err)
		}
		return wire.TypeQueriesAnswer, n.queries(q).Append(nil)
	case wire.TypePointsQuery:
		q := new(wire.PointsQuery)
		if err := q.Read(body); err != nil {
			return bad(err)
		}
		a, err := n.asked(q)
		if err != nil {
			var e *wire.Error
			if !errors.As(err, &e) {
				e = wire.TooLarge("query", err.Error(), "ask for less")
			}
			return refuse(e)
		}
		return wire.TypePointsQueryAnswer, (&wire.PointsQueryAnswer{Group: q.Group, At: raft.LogID{Term: 1, Index: 1}, Answer: a}).Append(nil)
	}
	return refuse(wire.BadRequest("frame", h.Type.String(), "none"))
}

func (w *world) topology() *wire.TopologyAnswer {
	t := &wire.TopologyAnswer{ClusterID: worldClusterID, Epoch: 1, Index: w.table.Index, ValueMax: 1 << 20, Level: w.table.Level}
	for _, n := range w.nodes {
		t.Nodes = append(t.Nodes, wire.TopologyNode{ID: n.id, Name: n.name, Addr: w.addr(n)})
	}
	for _, g := range w.table.Groups {
		t.Groups = append(t.Groups, wire.TopologyGroup{ID: g.ID, Nodes: []raft.NodeID{1}, Leader: 1})
	}
	t.Slots = []shardmap.OwnedRange{{SlotRange: shardmap.SlotRange{From: 0, To: shardmap.Slots - 1}, Group: 1}}
	return t
}

// queries does what package node does: it lists, ends and notes queries.
func (n *worldNode) queries(q *wire.Queries) *wire.QueriesAnswer {
	n.told = append(n.told, *q)
	a := &wire.QueriesAnswer{Node: n.name}
	at := slices.IndexFunc(n.rows, func(r wire.QueriesRow) bool { return r.Query == q.Query })
	switch q.Action {
	case wire.QueriesList:
		a.Rows = n.rows
	case wire.QueriesEnd:
		a.Found, n.ended[q.Query] = at >= 0, true
	case wire.QueriesRun:
		if at < 0 {
			n.rows = append(n.rows, wire.QueriesRow{Query: q.Query, Database: q.Database, Text: q.Text})
		}
		a.Ended = n.ended[q.Query]
	case wire.QueriesDone:
		if at >= 0 {
			n.rows = slices.Delete(n.rows, at, at+1)
		}
	}
	return a
}

// asked answers for a shard, as its group does.
func (n *worldNode) asked(q *wire.PointsQuery) ([]byte, error) {
	w := n.world
	w.asks[q.Group]++
	in, ok := w.table.Catalog.Window(q.Window)
	if !ok || in.Shards[q.Shard] != q.Group {
		return nil, &wire.Error{Code: wire.CodeMoved, Object: "shard", Text: "another group has it"}
	}
	from, b := w.shards[shardmap.ShardID{Window: q.Window, Shard: q.Shard}], &query.Budget{Memory: int64(q.Memory), Series: int64(q.Series), Rows: RowsMax}
	if q.Ask == wire.PointsOutline {
		src, err := query.ReadSources(q.Body)
		if err != nil {
			return nil, err
		}
		o, err := query.Describe(from, src, b)
		return o.Append(nil), err
	}
	request, err := query.ReadRequest(q.Body)
	if err != nil {
		return nil, err
	}
	a, err := query.Scan(from, request, b)
	if err != nil {
		return nil, err
	}
	return a.Append(nil, request), nil
}

// add adds a window of an hour with one shard, that a group has, and a value v in it.
func (w *world) add(hours int64, g raft.GroupID, v float64) shardmap.WindowID {
	const hour = int64(time.Hour)
	id := shardmap.WindowID(10 + hours)
	in := shardmap.Window{ID: id, Policy: 6, Start: hours * hour, End: (hours + 1) * hour, Truncated: (hours + 1) * hour, Shards: []raft.GroupID{g}}
	w.table.Catalog.Windows = append(w.table.Catalog.Windows, in)
	s := querytest.New()
	s.Add("m", "v", hours*hour, points.FloatValue(v))
	w.shards[shardmap.ShardID{Window: id}] = s
	return id
}
