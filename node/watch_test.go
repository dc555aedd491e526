package node

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// levelled is a node whose cluster has the level from which on there are watches and
// streams of the table.
func levelled(t testing.TB, c Config) *runningNode {
	l := defaultLimits()
	l.level = max(l.level, shardmap.LeasesLevel)
	r := start(t, c, l)
	r.serves()
	return r
}

// change gives the node another table: a label with that value.
func (r *runningNode) change(t *testing.T, s *speaker, value string) (index uint64) {
	t.Helper()
	labels := command(t)(shardmap.AppendSetLabels(nil, &shardmap.SetLabels{Node: r.node.self().Node, Labels: []shardmap.Label{{Key: "l", Value: value}}}))
	a, err := asked(s, wire.Order{Command: labels})
	if err != nil {
		t.Fatal(err)
	}
	return a.Index
}

// A client that waits for the table has each change as soon as the node has it, by a stream
// or by a request that waits. One would doubt it: the table changes in the goroutine that
// applies, which waits for nobody, and the answer needs a look at that goroutine's state.
func TestTableIsPushed(t *testing.T) {
	r := levelled(t, testConfig(t))
	s, orders := r.client(), r.client()
	table := func() (a wire.TopologyAnswer) {
		t.Helper()
		h, body, err := s.read()
		if err != nil {
			t.Fatal(err)
		}
		if h.Type != wire.TypeTablePiece || h.Flags != wire.FlagMore || h.Request != 7 {
			t.Fatalf("got %s, flags %d, of request %d", h.Type, h.Flags, h.Request)
		}
		if err := a.Read(body); err != nil {
			t.Fatal(err)
		}
		return a
	}
	s.send(t, frame(wire.TypeTableStream, 0, 7, (&wire.TableStream{Window: 1 << 20, PieceBytes: 64 << 10}).Append(nil)))
	first := table()
	if first.ClusterID == 0 || len(first.Groups) != 4 || first.Index == 0 {
		t.Errorf("the first table is %+v", first)
	}
	waiter := r.client()
	waiter.send(t, frame(wire.TypeTopology, 0, 3, (&wire.Topology{Index: r.node.table.Load().Index + 1}).Append(nil)))
	for i := range 3 {
		index := r.change(t, orders, fmt.Sprint(i))
		last := table().Index
		for last < index {
			last = table().Index
		}
		if last != index {
			t.Errorf("a table of index %d is pushed, the newest is %d", last, index)
		}
	}
	h, body, err := waiter.read()
	var a wire.TopologyAnswer
	if err != nil || h.Type != wire.TypeTopologyAnswer || h.Flags != 0 || a.Read(body) != nil || a.Index <= first.Index {
		t.Errorf("a request that waits is answered with %s, %d, %v", h.Type, a.Index, err)
	}
	const patience = 50 * time.Millisecond
	began := time.Now()
	late, start := wire.BeginFrame(nil, wire.TypeTopology, 0, uint32(patience.Milliseconds()), 4)
	waiter.send(t, wire.EndFrame((&wire.Topology{Index: 1 << 40}).Append(late), start))
	h, body, err = waiter.read()
	var e wire.Error
	if err != nil || h.Type != wire.TypeError || e.Read(body) != nil || e.Code != wire.CodeUnavailable || time.Since(began) < patience {
		t.Errorf("a table that does not come: after %s of %s, got %s, %+v, %v", time.Since(began), patience, h.Type, &e, err)
	}
	for _, s := range []*speaker{s, orders, waiter} {
		s.Close()
	}
	r.idle()
}

// watcher is a client's connection with watches.
type watcher struct {
	*speaker
	t      testing.TB
	at     map[uint64]wire.GroupPosition // where each is
	events map[uint64][]string
	ends   map[uint64]*wire.StreamEnd
}

func (r *runningNode) watcher(t testing.TB) *watcher {
	return &watcher{speaker: r.client(), t: t, at: map[uint64]wire.GroupPosition{}, events: map[uint64][]string{}, ends: map[uint64]*wire.StreamEnd{}}
}

// opens asks for a watch of a key.
func (w *watcher) opens(number uint64, key string, q wire.Watch) {
	w.t.Helper()
	slot := shardmap.SlotOf([]byte(key))
	if q.Group == 0 {
		q.Group = 1
	}
	q.Slots, q.From, q.Exact, q.PieceBytes = []shardmap.SlotRange{{From: slot, To: slot}}, []byte(key), true, 64<<10
	q.Now = len(q.Positions) == 0
	if _, err := w.Write(frame(wire.TypeWatch, 0, number, q.Append(nil))); err != nil {
		w.t.Fatal(err)
	}
}

// hear takes the next frame, and returns of which watch it is.
func (w *watcher) hear() uint64 {
	h, body, err := w.read()
	if err != nil {
		w.t.Fatal(err)
	}
	switch h.Type {
	case wire.TypeWatchPiece:
		var p wire.WatchPiece
		if err := p.Read(body); err != nil || h.Flags != wire.FlagMore || w.ends[h.Request] != nil {
			w.t.Fatalf("a piece of watch %d: flags %d, %v", h.Request, h.Flags, err)
		}
		w.at[h.Request] = wire.GroupPosition{Group: p.Group, Position: p.At}
		var row wire.WatchRow
		for p.Next(&row) {
			w.events[h.Request] = append(w.events[h.Request], row.Kind.String()+" "+string(row.Value))
		}
	case wire.TypeStreamEnd:
		e := new(wire.StreamEnd)
		if err := e.Read(body); err != nil {
			w.t.Fatal(err)
		}
		w.ends[h.Request] = e
	default:
		w.t.Fatalf("a watch is answered with %s", h.Type)
	}
	return h.Request
}

// opened opens a watch and waits until it is open: a group that has just been founded keeps
// no history yet.
func (w *watcher) opened(number uint64, key string, q wire.Watch) {
	w.t.Helper()
	for w.opens(number, key, q); ; {
		n := w.hear()
		if _, open := w.at[n]; open && n == number {
			return
		}
		if e := w.ends[number]; e != nil {
			if e.Why.Code != wire.CodeNotReady {
				w.t.Fatalf("it is not opened: %+v", e)
			}
			delete(w.ends, number)
			w.opens(number, key, q)
		}
	}
}

// A watch at a node tells of what is written over other connections, in order; it goes on from
// its position over another connection; and what is wrong with it is told by its kind. When
// its client goes, nothing stays.
func TestWatchAtANode(t *testing.T) {
	c := testConfig(t)
	c.Groups = 1
	r := levelled(t, c)
	w, writes := r.watcher(t), r.client()
	w.opened(1, "a", wire.Watch{Window: 1 << 20})
	w.opened(2, "b", wire.Watch{Window: 1 << 20})
	set := func(key, value string) {
		t.Helper()
		if _, err := writes.set(key, value); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{}
	for i := range 20 {
		set("a", fmt.Sprint(i))
		set("c", "of nobody")
		want = append(want, fmt.Sprintf("set %d", i))
	}
	for len(w.events[1]) < len(want) {
		w.hear()
	}
	if !slices.Equal(w.events[1], want) || len(w.events[2]) > 0 {
		t.Fatalf("got %v, and of another key %v", w.events[1], w.events[2])
	}
	from := []wire.GroupPosition{w.at[1]}
	w.Close()
	set("a", "while it was away")
	w = r.watcher(t)
	w.opened(1, "a", wire.Watch{Window: 1 << 20, Positions: from})
	for len(w.events[1]) == 0 {
		w.hear()
	}
	if w.events[1][0] != "set while it was away" {
		t.Errorf("it goes on with %v", w.events[1])
	}
	ahead := []wire.GroupPosition{{Group: 1, Position: shardmap.After(raft.LogID{Term: 1, Index: 1 << 40})}}
	for number, c := range map[uint64]struct {
		watch  wire.Watch
		reason wire.EndReason
		code   wire.Code
		says   string
	}{
		10: {wire.Watch{Positions: ahead}, wire.EndRefused, wire.CodeBadRequest, "after index 1099511627776"},
		11: {wire.Watch{Positions: []wire.GroupPosition{{Group: 1}}}, wire.EndCompacted, wire.CodeNotFound, "no longer kept"},
		12: {wire.Watch{Positions: []wire.GroupPosition{{Group: 9, Position: ahead[0].Position}}}, wire.EndRefused, wire.CodeBadRequest, "no position of group g1"},
	} {
		c.watch.Window = 1 << 20
		for w.opens(number, "a", c.watch); w.ends[number] == nil; {
			w.hear()
		}
		if e := w.ends[number]; e.Reason != c.reason || e.Why.Code != c.code || !strings.Contains(e.Why.Error(), c.says) {
			t.Errorf("watch %d ends with %+v, want %s, %s, %q", number, e, c.reason, c.code, c.says)
		}
	}
	w.Close()
	writes.Close()
	r.idle()
}

// A client that opens watches and reads nothing holds no more than one that asks for large
// values, however much happens to its keys; others go on, and the node ends the watches by
// and by.
func TestWatchesOfADeafClient(t *testing.T) {
	c := testConfig(t)
	c.Groups = 1
	r := levelled(t, c)
	w, writes := r.watcher(t), r.client()
	if err := w.Conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	w.opened(1, "a", wire.Watch{Window: 1 << 20})
	const watches = 100
	for i := range uint64(watches) {
		w.opens(2+i, "a", wire.Watch{Window: wire.StreamWindowMax})
	}
	end := r.otherEnd(w.speaker)
	value, most := strings.Repeat("v", 32<<10), 0
	for range 200 {
		if _, err := writes.set("a", value); err != nil {
			t.Fatal(err)
		}
		end.mu.Lock()
		most = max(most, end.inflight)
		end.mu.Unlock()
	}
	if bound := (watches+1)*(requestOverhead+200) + 2*streamsAhead; most > bound {
		t.Errorf("%d bytes are in flight, want %d at most", most, bound)
	}
	w.Close()
	writes.Close()
	r.idle()
}

// A watch at a node that is left alone ends, and says where to go on; one at a node that still
// has a majority goes on over the loss of the leader. One would doubt it: the node is there,
// its connection is, and nothing that happens elsewhere reaches it.
func TestWatchAtANodeThatIsAlone(t *testing.T) {
	t.Parallel()
	nodes := founders(t, 3, defaultLimits())
	leads, _ := led(t, nodes, 1)
	stays := another(nodes, leads)
	w := stays.watcher(t)
	key := ""
	for i := 0; key == "" || stays.node.table.Load().GroupOf(shardmap.SlotOf([]byte(key))) != 1; i++ {
		key = fmt.Sprint("k", i)
	}
	w.opened(1, key, wire.Watch{Window: 1 << 20})
	leads.stop()
	var third *runningNode
	for _, r := range nodes {
		if r != leads && r != stays {
			third = r
		}
	}
	until(t, "the others have a leader", func() error {
		for _, r := range []*runningNode{stays, third} {
			s := r.client()
			_, err := s.set(key, "v")
			s.Close()
			if err == nil {
				return nil
			}
		}
		return fmt.Errorf("no set is taken")
	})
	for len(w.events[1]) == 0 {
		w.hear()
	}
	third.stop()
	for w.ends[1] == nil {
		w.hear()
	}
	if e := w.ends[1]; e.Reason != wire.EndNotLeader || e.Why.Code != wire.CodeNotLeader {
		t.Errorf("it ends with %+v", e)
	}
}
