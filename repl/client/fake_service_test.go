package client

import (
	"bytes"
	"maps"
	"net"
	"slices"
	"testing"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/registry"
)

// What a fake cluster has from level 6 on: services, and watches of them. It has no checks: an
// instance goes up and down when a test says so.

// fakeServices are the services of a cluster. Guarded by its mu.
type fakeServices struct {
	services map[string]fakeService
	events   map[int][]wire.WatchRow // by group, all that there ever were
	floor    uint64                  // index of the entry up to which events are no longer kept
	beats    []wire.Heartbeat
	checkers []wire.ServiceChecker     // that a leader names, whatever service it is asked for
	asked    [wire.ReadBounded + 1]int // questions about services that were answered, by mode
}

type fakeService struct {
	*registry.Service
	version uint64
}

// newFakeOfLevel6 returns a cluster that has services.
func newFakeOfLevel6(t testing.TB, nodes, groups int) *fakeCluster {
	f := newFakeOfLevel5(t, nodes, groups)
	f.services, f.events = map[string]fakeService{}, map[int][]wire.WatchRow{}
	f.level = shardmap.ServicesLevel
	return f
}

// applyService carries out a command about a service.
func (c *fakeCluster) applyService(cmd *shardmap.Command, group int) (wire.Type, []byte) {
	q, err := shardmap.ReadService(cmd)
	if err != nil {
		return wire.TypeError, wire.BadBody(wire.TypeWrite, err).Append(nil)
	}
	old, there := c.services[q.Name]
	var next *registry.Service
	switch {
	case q.Op == shardmap.ServiceSet:
		if next, err = registry.Read(q.Definition); err != nil {
			return wire.TypeError, wire.BadBody(wire.TypeWrite, err).Append(nil)
		}
	case !there:
		return wire.TypeError, wire.NotFound("service "+q.Name, "nobody has defined it", "define it").Append(nil)
	case q.Op != shardmap.ServiceDel:
		copied := *old.Service
		next = &copied
		next.Instances = slices.Clone(old.Instances)
		i := slices.IndexFunc(next.Instances, func(i registry.Instance) bool { return i.ID == q.Instance })
		if i < 0 {
			return wire.TypeError, wire.NotFound("instance "+q.Instance, "the service does not have it", "name another").Append(nil)
		}
		if q.Op == shardmap.ServiceRemove {
			next.Instances = slices.Delete(next.Instances, i, i+1)
		} else {
			next.Instances[i].Maintenance = q.On
		}
	}
	c.applied++
	c.store(q.Name, next, group)
	a := wire.WriteAnswer{Group: raft.GroupID(group), ID: raft.LogID{Term: 1, Index: c.index}, Version: c.index}
	return wire.TypeWriteAnswer, a.Append(nil)
}

// store makes s what a service is, nil: it is deleted, and tells those that watch.
func (c *fakeCluster) store(name string, s *registry.Service, group int) {
	c.index++
	row := wire.WatchRow{Kind: wire.WatchDel, Key: []byte(name), Slot: shardmap.SlotOf([]byte(name)), Version: c.index, ID: raft.LogID{Term: 1, Index: c.index}, N: 1}
	delete(c.services, name)
	if s != nil {
		c.services[name] = fakeService{s, c.index}
		row.Kind, row.Value = wire.WatchSet, c.public(s)
	}
	c.events[group] = append(c.events[group], row)
	c.tell()
}

// carry moves a service, with its slot, to another group, and tells those that watch.
func (c *fakeCluster) carry(name string, to int) {
	slot := shardmap.SlotOf([]byte(name))
	from := c.ownerOf(slot)
	if from == to {
		return
	}
	c.move(slot, to)
	c.record()
	c.mu.Lock()
	defer c.mu.Unlock()
	left := wire.WatchRow{Kind: wire.WatchLeft, Slot: slot, Group: raft.GroupID(to), Number: c.moves, ID: raft.LogID{Term: 1, Index: c.index + 1}, N: 1}
	came := wire.WatchRow{Kind: wire.WatchCame, Slot: slot, Group: raft.GroupID(from), Number: c.moves, Sealed: left.ID, ID: raft.LogID{Term: 1, Index: c.index + 2}, N: 1}
	c.index += 2
	c.events[from], c.events[to] = append(c.events[from], left), append(c.events[to], came)
	c.tell()
}

// tell tells those that watch what they have not seen.
func (c *fakeCluster) tell() {
	for _, n := range c.nodes {
		for of, w := range n.watchers {
			n.tell(of, w)
		}
	}
}

// public is what a node shows of a service.
func (c *fakeCluster) public(s *registry.Service) []byte {
	value, err := registry.Public(s.Append(nil))
	if err != nil {
		c.t.Errorf("a client defines what is no service: %v", err)
	}
	return value
}

// check has a check find an instance in a status.
func (c *fakeCluster) check(service, instance string, is registry.Status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := *c.services[service].Service
	next.Instances = slices.Clone(next.Instances)
	for i := range next.Instances {
		if next.Instances[i].ID == instance {
			next.Instances[i].Status = is
		}
	}
	c.store(service, &next, c.groupOf(shardmap.SlotOf([]byte(service))))
}

// listServices answers a question about services. Pages are short.
func (n *fakeNode) listServices(body []byte) (wire.Type, []byte) {
	c := n.cluster
	var q wire.Services
	if err := q.Read(body); err != nil {
		return wire.TypeError, wire.BadBody(wire.TypeServices, err).Append(nil)
	}
	if e := n.leads(int(q.Group)); e != nil && q.Mode == wire.ReadLinearizable {
		return wire.TypeError, e.Append(nil)
	}
	c.asked[q.Mode]++
	a := wire.ServicesAnswer{Group: q.Group, At: raft.LogID{Term: 1, Index: c.index}}
	if q.Exact && q.Mode == wire.ReadLinearizable {
		a.Checkers = c.checkers
	}
	for _, r := range q.Slots {
		for s := r.From; s <= r.To; s++ {
			if c.groupOf(s) != int(q.Group) {
				return wire.TypeError, c.moved(s).Append(nil)
			}
			for _, name := range slices.Sorted(maps.Keys(c.services)) {
				switch {
				case shardmap.SlotOf([]byte(name)) != s, q.Exact && name != string(q.After):
					continue
				case !q.Exact && (s < q.AfterSlot || s == q.AfterSlot && name <= string(q.After)):
					continue
				case len(a.Rows) == fakeServicesPage:
					a.More = true
					return wire.TypeServicesAnswer, a.Append(nil)
				}
				a.Rows = append(a.Rows, wire.ServiceRow{Name: []byte(name), Version: c.services[name].version, Value: c.public(c.services[name].Service)})
			}
		}
	}
	return wire.TypeServicesAnswer, a.Append(nil)
}

const fakeServicesPage = 3

func (n *fakeNode) heartbeat(body []byte) (wire.Type, []byte) {
	c := n.cluster
	var q wire.Heartbeat
	if err := q.Read(body); err != nil {
		return wire.TypeError, wire.BadBody(wire.TypeHeartbeat, err).Append(nil)
	}
	slot := shardmap.SlotOf([]byte(q.Name))
	if c.groupOf(slot) != int(q.Group) {
		return wire.TypeError, c.moved(slot).Append(nil)
	}
	if e := n.leads(int(q.Group)); e != nil {
		return wire.TypeError, e.Append(nil)
	}
	if c.services[q.Name].Service == nil {
		return wire.TypeError, wire.NotFound("service "+q.Name, "nobody has defined it", "define it").Append(nil)
	}
	c.beats = append(c.beats, q)
	return wire.TypeHeartbeatAnswer, (&wire.Empty{}).Append(nil)
}

// slotView says of slots who has them; no more is asked of the fake.
func (n *fakeNode) slotView(body []byte) (wire.Type, []byte) {
	c := n.cluster
	var q wire.SlotView
	if err := q.Read(body); err != nil {
		return wire.TypeError, wire.BadBody(wire.TypeSlotView, err).Append(nil)
	}
	if e := n.leads(int(q.Group)); e != nil {
		return wire.TypeError, e.Append(nil)
	}
	a := wire.SlotViewAnswer{Group: q.Group, At: raft.LogID{Term: 1, Index: c.index}}
	for _, r := range q.Slots {
		for s := r.From; s <= r.To; s++ {
			v := shardmap.SlotView{Slot: s}
			if c.groupOf(s) == int(q.Group) {
				v.Holding, v.Last = shardmap.HoldsOwned, c.index
			}
			a.Rows = append(a.Rows, v)
		}
	}
	return wire.TypeSlotViewAnswer, a.Append(nil)
}

// fakeWatcher is a stream of what happens to services.
type fakeWatcher struct {
	ask wire.Watch
	at  shardmap.Position
}

// watches opens a stream of what happens. All that is sent on it is sent under the cluster's
// mu, and so in order.
func (n *fakeNode) watches(conn net.Conn, h wire.Header, body []byte) {
	c := n.cluster
	w := new(fakeWatcher)
	if err := w.ask.Read(bytes.Clone(body)); err != nil {
		c.t.Errorf("a client sends a bad watch: %v", err)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !w.ask.Services { // the fake has none of keys
		_, _ = conn.Write(wire.AppendFrame(nil, wire.TypeError, h.Request, wire.BadRequest("frame", h.Type.String(), "none")))
		return
	}
	w.at = c.start(&w.ask)
	of := fakeFollower{conn, h.Request}
	if w.at.ID.Index < c.floor {
		e := &wire.StreamEnd{Reason: wire.EndCompacted, Resume: wire.AppendPositions(nil, []wire.GroupPosition{
			{Group: w.ask.Group, Position: shardmap.After(raft.LogID{Term: 1, Index: c.floor})}})}
		_, _ = conn.Write(wire.AppendFrame(nil, wire.TypeStreamEnd, h.Request, e))
		return
	}
	n.watchers[of] = w
	n.sendPiece(of, w, nil)
	n.tell(of, w)
}

// start returns where a watch begins: now, where its client has been, or where a slot came from
// a group of which the client has seen all up to then.
func (c *fakeCluster) start(q *wire.Watch) shardmap.Position {
	at := shardmap.After(raft.LogID{Term: 1, Index: c.index})
	if q.Now {
		return at
	}
	for _, p := range q.Positions {
		if p.Group == q.Group {
			return p.Position
		}
	}
	for _, e := range c.events[int(q.Group)] {
		for _, p := range q.Positions {
			if e.Kind == wire.WatchCame && e.Slot == q.Slots[0].From && p.Group == e.Group && p.Position.Before(shardmap.After(e.Sealed)) {
				return shardmap.Position{ID: e.ID}
			}
		}
	}
	return at
}

// sendPiece sends a piece of a watch.
func (n *fakeNode) sendPiece(of fakeFollower, w *fakeWatcher, rows []wire.WatchRow) {
	p := wire.WatchPiece{Group: w.ask.Group, At: w.at, Count: len(rows)}
	for i := range rows {
		p.Rows = wire.AppendWatchRow(p.Rows, &rows[i])
	}
	_, _ = of.conn.Write(wire.AppendPiece(nil, wire.TypeWatchPiece, of.number, &p))
}

// tell sends the events that a watch has not seen; the fake grants itself all the window.
func (n *fakeNode) tell(of fakeFollower, w *fakeWatcher) {
	var rows []wire.WatchRow
	for _, e := range n.cluster.events[int(w.ask.Group)] {
		in := slices.ContainsFunc(w.ask.Slots, func(r shardmap.SlotRange) bool { return r.From <= e.Slot && e.Slot <= r.To })
		if w.at.Before(shardmap.Position{ID: e.ID, N: e.N}) && in && (!e.Kind.OfKey() || !w.ask.Exact || bytes.Equal(e.Key, w.ask.From)) {
			rows = append(rows, e)
		}
	}
	if w.at = shardmap.After(raft.LogID{Term: 1, Index: n.cluster.index}); len(rows) > 0 {
		n.sendPiece(of, w, rows)
	}
}

// stop stops all nodes.
func (c *fakeCluster) stop() {
	for _, n := range c.nodes {
		n.stop()
	}
}

// restart starts those that were stopped.
func (c *fakeCluster) restart() {
	for _, n := range c.nodes {
		n.start()
	}
}

// forget has no node keep the events up to now, and ends the watches of them.
func (c *fakeCluster) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.floor = c.index
}
