package machine

import (
	"fmt"
	"time"

	"muster/raft"
	"muster/repl"
	"muster/repl/wire"
	"muster/shardmap"
)

// get makes a get a read of the group that owns its keys.
func (q *Requests) get(h wire.Header, body []byte, r repl.Reply, table *shardmap.Table, now Now) {
	g := q.newGet()
	body = append(g.room[:0], body...) // the keys are looked up after this frame is gone
	g.request.Keys = g.one[:0]
	if err := g.request.Read(body); err != nil {
		q.refuse(r, wire.BadBody(h.Type, err))
		return
	}
	if g.request.Mode == wire.ReadBounded && table.Level < shardmap.LeasesLevel {
		// A node of the build before does not know the mode, were it passed on there.
		q.refuse(r, wire.OverLevel("mode 3 of a get", shardmap.LeasesLevel, table.Level))
		return
	}
	group, bad := q.groupOf(table, g.request.Keys)
	if bad != nil {
		q.refuse(r, bad)
		return
	}
	g.group = group
	q.reads = append(q.reads, repl.Read{
		Group: group, Local: g.request.Mode == wire.ReadLocal, AnyReplica: anyReplica(h, g.request.Mode),
		Stale: stale(&g.request), After: after(group, g.request.AfterGroup, g.request.After), Defers: g.afterFormer(), Deadline: q.deadline(h, now), Reply: r, Query: g,
		Passage: q.passage(h, body, group, table),
	})
}

// groupOf finds the one group that all keys live in. Where they do not, the client has
// another table, and this node can't tell which of the two is the newer one.
func (q *Requests) groupOf(table *shardmap.Table, keys [][]byte) (raft.GroupID, *wire.Error) {
	group := raft.GroupID(0)
	for i, k := range keys {
		s := shardmap.SlotOf(k)
		g := q.Routes.GroupOf(table, s)
		if i > 0 && g != group {
			return 0, &wire.Error{Code: wire.CodeMoved, Object: "keys of a get", Text: "they are of several groups", Epoch: table.Epoch,
				State: fmt.Sprintf("key %d, in slot %d, is of group %d, the first of group %d, by epoch %d", i, s, g, group, table.Epoch),
				Next:  "fetch the topology, then ask each group for its own keys"}
		}
		group = g
	}
	return group, nil
}

// stale is how old the answer to a get may be; 0: it is linearizable, or local.
func stale(g *wire.Get) time.Duration {
	if g.Mode != wire.ReadBounded {
		return 0
	}
	return time.Duration(g.Stale) * time.Millisecond
}

// afterFormer reports whether a local read is to be as new as a log id of another group,
// which owned the keys before: it waits until they have come from there. A linearizable
// one sees all that was acknowledged, wherever that was.
func (g *getQuery) afterFormer() bool {
	return g.request.Mode == wire.ReadLocal && g.request.AfterGroup != g.group && g.request.After != (raft.LogID{})
}

// after is the index that must be applied for a log id to be seen, if it is
// one of this group.
func after(g, of raft.GroupID, id raft.LogID) uint64 {
	if g != of {
		return 0
	}
	return id.Index
}

// newGet returns a query to fill. Several are allocated at once: one that waits for long
// keeps the others alive, which is less than the request is counted for.
func (q *Requests) newGet() *getQuery {
	if len(q.gets) == 0 {
		q.gets = make([]getQuery, getsAtOnce)
	}
	g := &q.gets[0]
	q.gets = q.gets[1:]
	g.of = q
	return g
}

// getRoom is the size of a get's body that needs no memory of its own, in bytes: one
// key of up to some 40 bytes. getsAtOnce queries are 1.5 KB.
const (
	getRoom    = 64
	getsAtOnce = 8
)

// getQuery reads values of some keys of one group.
type getQuery struct {
	of      *Requests
	group   raft.GroupID
	request wire.Get

	// Within Run, for Make.
	state *Map
	at    raft.LogID
	// foreign is a slot among those of the keys that the group does not serve.
	foreign    shardmap.Slot
	hasForeign bool

	room [getRoom]byte // of request's keys, if it is large enough
	one  [1][]byte     // of request.Keys, if there is one
}

// firstKey is the key that is looked up first.
func (g *getQuery) firstKey() []byte {
	if len(g.request.Keys) == 0 {
		return nil
	}
	return g.request.Keys[0]
}

// Run implements [repl.Query]. A get is short, mostly: it is answered by the
// goroutine that asks, between two entries. What turns out to be long is made
// beside it.
func (g *getQuery) Run(state repl.StateMachine, at raft.LogID, r repl.Reply) (first bool) {
	q := g.of
	m, refused := q.mapOf(state)
	if refused != nil {
		return q.deny(r, refused)
	}
	// A client that asked for much asks for much again: then it is not tried
	// here, where all that is begun in vain holds up every group.
	if expected := q.getSize.Load(); expected <= int64(q.limits.Inline) || expected == AnswerUnknown {
		g.state, g.at = m, at
		first, made := q.asker.AnswerWith(r, wire.TypeGetAnswer, g)
		g.state = nil
		switch {
		case g.hasForeign:
			return q.deny(r, m.notServed(g.foreign))
		case !made:
			q.getSize.Store(int64(q.limits.Inline) + 1) // at least
		case expected != 0:
			q.getSize.Store(0)
			return first
		default:
			return first
		}
	}
	// It is read beside the writes that go on, so it reads copies: all that an
	// answer says is of the log id that it names.
	copies := make(map[shardmap.Slot]*shardmap.SlotCopy)
	release := func() {
		for _, c := range copies {
			c.Release()
		}
	}
	for _, k := range g.request.Keys {
		s := shardmap.SlotOf(k)
		if copies[s] != nil {
			continue
		}
		c, owned := m.State.Copy(s)
		if !owned {
			release()
			return q.deny(r, m.notServed(s))
		}
		copies[s] = c
	}
	now := q.groupTime(m, g.group)
	return q.later(r, release, func() {
		defer release()
		g.answer(copies, at, now, r)
	})
}

// groupTime returns the time of a group, from which follows what is left of a key's or a lease's. A [repl.Query] calls
// it within Run.
func (q *Requests) groupTime(m *Map, g raft.GroupID) raft.GroupTime {
	if q.Time == nil || bug(bugEndsByLastEntry) {
		return m.State.Time()
	}
	return q.Time(g)
}

// bugEndsByLastEntry is planted to show that the simulator finds it: in a group that rests, a key has as much
// time left as it had when the last entry came.
const bugEndsByLastEntry = "what a key has left told by the last entry"

// Make implements [Maker], within Run.
func (g *getQuery) Make(b []byte) (body []byte, made bool) {
	m := g.state
	find := func(key, dst []byte) ([]byte, uint64, shardmap.End, shardmap.Presence) {
		return shardmap.Find(m.State, key, dst)
	}
	now := func() raft.GroupTime { return g.of.groupTime(m, g.group) }
	body, m.Value, made = g.values(b, find, g.at, now, m.Value, g.of.limits.Inline)
	return body, made
}

// answer makes a long answer from copies. How much room it takes is looked up
// first, and counted in: where there is none it is not made.
func (g *getQuery) answer(copies map[shardmap.Slot]*shardmap.SlotCopy, at raft.LogID, now raft.GroupTime, r repl.Reply) {
	q := g.of
	size := wire.HeaderSize + getAnswerHead
	for _, key := range g.request.Keys {
		size += getRowHead + copies[shardmap.SlotOf(key)].ValueSize(key)
	}
	long := 0
	if size > q.limits.Inline {
		long = size
	}
	q.getSize.Store(int64(long))
	tooMuch := size > wire.FrameMax
	if !tooMuch && !q.asker.Reserve(&r, size) {
		q.refuse(r, Crowded())
		return
	}
	// Nothing is put into the room that it is given: a long value is copied once,
	// into the frame.
	find := func(key, _ []byte) ([]byte, uint64, shardmap.End, shardmap.Presence) {
		return copies[shardmap.SlotOf(key)].Find(key)
	}
	var frame []byte
	if !tooMuch {
		b, start := wire.BeginFrame(make([]byte, 0, size), wire.TypeGetAnswer, 0, 0, r.Request)
		b, _, ok := g.values(b, find, at, func() raft.GroupTime { return now }, nil, wire.FrameMax)
		tooMuch, frame = !ok, wire.EndFrame(b, start)
	}
	if tooMuch {
		q.refuse(r, wire.TooLarge(fmt.Sprintf("answer to a get of %d keys", len(g.request.Keys)), fmt.Sprintf("more than %d bytes", wire.FrameMax), "ask for fewer keys at once"))
		return
	}
	q.asker.AnswerFrame(r, wire.TypeGetAnswer, frame)
	q.asker.Flush()
}

// What an answer to a get has beside its values, in bytes, at most: before its
// rows, and for each of them, with its key's end.
const (
	getAnswerHead = 64
	getRowHead    = 36
)

// values appends the body of the answer, unless it is longer than limit, or a slot
// is not served, which it notes. value is room for one of them. now returns the group's time, and is called only
// if a key ends.
func (g *getQuery) values(b []byte, find func(key, dst []byte) ([]byte, uint64, shardmap.End, shardmap.Presence), at raft.LogID, now func() raft.GroupTime, value []byte, limit int) (body, scratch []byte, ok bool) {
	start := len(b)
	var ends []wire.KeyEnd // nil as long as no key ends: most never do
	var moment raft.GroupTime
	b = wire.AppendGetAnswer(b, g.group, at, len(g.request.Keys))
	for i, k := range g.request.Keys {
		v, version, end, is := find(k, value[:0])
		value = v[:0]
		if len(b)-start+len(v) > limit {
			return b, value, false
		}
		switch is {
		case shardmap.Present:
			b = wire.AppendFound(b, version, v)
		case shardmap.Absent:
			b = wire.AppendMissing(b)
		default:
			g.foreign, g.hasForeign = shardmap.SlotOf(k), true
			return b, value, false
		}
		if end.Ends {
			if ends == nil {
				ends, moment = make([]wire.KeyEnd, len(g.request.Keys)), now()
			}
			ends[i] = wire.KeyEnd{Ends: true, Remaining: end.Remaining(moment), Lease: end.Lease}
		}
		if len(b)-start > limit {
			return b, value, false
		}
	}
	if ends != nil {
		b = wire.AppendEnds(b, start, ends)
	}
	return b, value, len(b)-start <= limit
}
