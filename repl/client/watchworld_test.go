package client

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// watched is a cluster that is watched: what happened to its slots, in the logs of its groups,
// and who has them. Its nodes answer as docs/protocol.md says that nodes do.
type watched struct {
	t      *testing.T
	random *rand.Rand
	now    time.Duration
	groups map[raft.GroupID]*watchedGroup
	gone   map[raft.GroupID]bool
	slots  []*watchedSlot
	all    *Routes       // as it is
	routes *Routes       // as the client knows it
	behind time.Duration // since when that is another one
	index  uint64        // of the table, whose entries number the moves
	moving []*watchedMove

	core    *Watching
	open    []*watchServing
	stale   []*watchServing
	pending []*WatchQuestion

	lost, moves, refused, compactions, resumed, held int
}

// watchedGroup is the log of a group, as far as it is watched.
type watchedGroup struct {
	id        raft.GroupID
	term      uint64
	head      raft.LogID
	floor     raft.LogID
	compacted bool
	events    []wire.WatchRow // behind the floor
	marks     map[shardmap.Slot]uint64
	refusals  map[uint64]bool // moves that are not closed
}

// watchedSlot is a slot in which something happens.
type watchedSlot struct {
	slot    shardmap.Slot
	keys    []string
	group   raft.GroupID // that has it, or has sealed it
	sealed  *watchedMove
	formers []shardmap.Former
	version uint64
	truth   []watchedEvent
}

type watchedEvent struct {
	wire.WatchRow
	group raft.GroupID
}

type watchedMove struct {
	number   uint64
	slots    []*watchedSlot
	from, to raft.GroupID
	sealed   raft.LogID
	stage    int // 1: sealed; 2: refused
}

const watchedSlots = 5

func newWatched(t *testing.T, seed uint64) *watched {
	x := &watched{
		t: t, random: rand.New(rand.NewPCG(seed, 23)), groups: make(map[raft.GroupID]*watchedGroup), gone: make(map[raft.GroupID]bool),
		all: &Routes{Level: shardmap.ServicesLevel, ValueMax: 1 << 20}, index: 10,
	}
	for range 2 + x.random.IntN(3) {
		x.makeGroup()
	}
	for i := range watchedSlots {
		tag := fmt.Sprintf("{t%d}", i)
		s := &watchedSlot{slot: shardmap.SlotOf([]byte(tag)), keys: []string{"a/" + tag, "b/" + tag, "a/" + tag + "2"}, group: x.someGroup()}
		x.slots = append(x.slots, s)
		x.all.Group[s.slot] = s.group
	}
	x.publish()
	x.routes = x.all
	return x
}

func (x *watched) makeGroup() {
	id := raft.GroupID(1 + len(x.groups) + len(x.gone))
	x.index++
	at := raft.LogID{Term: 1, Index: 1 + x.random.Uint64N(5)}
	x.groups[id] = &watchedGroup{id: id, term: 1, head: at, floor: at, marks: make(map[shardmap.Slot]uint64), refusals: make(map[uint64]bool)}
	x.publish()
}

// publish makes a table of what is.
func (x *watched) publish() {
	r := *x.all
	r.Index, r.Epoch = x.index, x.index
	r.Groups = x.ids()
	x.all = &r
}

func (x *watched) ids() []raft.GroupID {
	var ids []raft.GroupID
	for id := range x.groups {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func (x *watched) someGroup() raft.GroupID {
	ids := x.ids()
	return ids[x.random.IntN(len(ids))]
}

// entry begins an entry of a group's log.
func (g *watchedGroup) entry(random *rand.Rand) {
	if random.IntN(20) == 0 {
		g.term++
	}
	g.head = raft.LogID{Term: g.term, Index: g.head.Index + 1 + random.Uint64N(3)}
}

// event adds an event to the entry that was begun.
func (x *watched) event(g *watchedGroup, s *watchedSlot, e wire.WatchRow) {
	e.Slot, e.ID, e.N = s.slot, g.head, 1
	if n := len(g.events); n > 0 && g.events[n-1].ID == g.head {
		e.N = g.events[n-1].N + 1
	}
	g.events = append(g.events, e)
	if e.Kind.OfKey() {
		s.truth = append(s.truth, watchedEvent{e, g.id})
	}
}

// write has something happen to keys of a slot, or of several in one entry.
func (x *watched) write() {
	s := x.slots[x.random.IntN(len(x.slots))]
	if s.sealed != nil {
		return
	}
	g := x.groups[s.group]
	g.entry(x.random)
	for range 1 + x.random.IntN(4)/3*x.random.IntN(4) {
		if x.random.IntN(3) == 0 { // as what expires, which is of several slots
			if o := x.slots[x.random.IntN(len(x.slots))]; o.group == g.id && o.sealed == nil {
				s = o
			}
		}
		s.version++
		e := wire.WatchRow{Kind: wire.WatchSet, Key: []byte(s.keys[x.random.IntN(len(s.keys))]), Value: fmt.Appendf(nil, "v%d", s.version), Version: s.version}
		if x.random.IntN(3) == 0 {
			e.Kind, e.Value = wire.WatchKind(2+x.random.IntN(2)), nil
		}
		x.event(g, s, e)
	}
}

// move begins a move of some slots, or takes the next step of one.
func (x *watched) move() {
	if n := len(x.moving); n > 0 && (n == 3 || x.random.IntN(3) > 0) {
		x.step(x.moving[x.random.IntN(n)])
		return
	}
	m := &watchedMove{from: x.slots[x.random.IntN(len(x.slots))].group, to: x.someGroup()}
	for _, s := range x.slots {
		if s.group == m.from && s.sealed == nil && x.random.IntN(2) == 0 {
			m.slots = append(m.slots, s)
		}
	}
	if m.from == m.to || len(m.slots) == 0 {
		return
	}
	x.index++
	x.moves++
	m.number, m.stage = x.index, 1
	g := x.groups[m.from]
	g.entry(x.random)
	m.sealed = g.head
	for _, s := range m.slots {
		s.sealed = m
		g.marks[s.slot] = m.number
		x.event(g, s, wire.WatchRow{Kind: wire.WatchLeft, Group: m.to, Number: m.number})
	}
	x.moving = append(x.moving, m)
}

func (x *watched) step(m *watchedMove) {
	source, target := x.groups[m.from], x.groups[m.to]
	if m.stage == 1 && x.random.IntN(5) == 0 {
		target.entry(x.random)
		target.refusals[m.number] = true
		for _, s := range m.slots {
			target.marks[s.slot] = m.number
		}
		m.stage = 2
		x.refused++
		return
	}
	x.moving = slices.DeleteFunc(x.moving, func(o *watchedMove) bool { return o == m })
	if m.stage == 2 {
		source.entry(x.random)
		for _, s := range m.slots {
			s.sealed = nil
			x.event(source, s, wire.WatchRow{Kind: wire.WatchBack, Group: m.to, Number: m.number})
		}
		delete(target.refusals, m.number)
		return
	}
	target.entry(x.random)
	for _, s := range m.slots {
		s.sealed, s.group = nil, m.to
		s.formers = append(slices.DeleteFunc(slices.Clone(s.formers), func(f shardmap.Former) bool { return f.Group == m.from }), shardmap.Former{Group: m.from, Sealed: m.sealed})
		target.marks[s.slot] = m.number
		x.event(target, s, wire.WatchRow{Kind: wire.WatchCame, Group: m.from, Number: m.number, Sealed: m.sealed})
		x.all.Group[s.slot] = m.to
	}
	x.index++
	x.publish()
}

// compact has a group keep fewer events.
func (x *watched) compact() {
	g := x.groups[x.someGroup()]
	if len(g.events) == 0 {
		return
	}
	id := g.events[x.random.IntN(len(g.events))].ID
	g.floor, g.compacted = id, true
	g.events = slices.DeleteFunc(slices.Clone(g.events), func(e wire.WatchRow) bool { return e.ID.Index <= id.Index })
}

// remove removes a group that has nothing.
func (x *watched) remove() {
	id := x.someGroup()
	busy := slices.ContainsFunc(x.slots, func(s *watchedSlot) bool { return s.group == id }) ||
		slices.ContainsFunc(x.moving, func(m *watchedMove) bool { return m.from == id || m.to == id })
	if busy || len(x.groups) == 1 {
		return
	}
	delete(x.groups, id)
	x.gone[id] = true
	x.index++
	x.publish()
}

// holds reports whether a group has a slot, sealed or not.
func (x *watched) holds(g *watchedGroup, s *watchedSlot) bool { return s.group == g.id }

// watchServing is one attempt of a stream, at a node.
type watchServing struct {
	stream      *WatchStream
	attempt     uint64
	ask         wire.Watch
	at          shardmap.Position
	starts      map[shardmap.Slot]shardmap.Position
	elsewhere   bool // it ends once all that was there is sent
	head        raft.LogID
	sent, limit uint64
	frames      []func() // on their way
	over        bool
}

// begin begins an attempt of a stream.
func (x *watched) begin(s *WatchStream) {
	v := &watchServing{stream: s}
	body, attempt := s.Begin(nil)
	v.attempt = attempt
	if err := v.ask.Read(body); err != nil {
		x.t.Fatal(err)
	}
	if v.ask.Services != x.core.ask.Services {
		x.t.Fatalf("a stream of services: %v, want %v", v.ask.Services, x.core.ask.Services)
	}
	v.limit = v.ask.Window
	x.open = append(x.open, v)
	x.answer(v)
}

// refuse ends the call of a stream.
func (v *watchServing) refuse(e *wire.Error) {
	v.over = true
	v.frames = append(v.frames, func() { v.stream.Finish(e) })
}

// end ends a stream with its last frame.
func (v *watchServing) end(reason wire.EndReason, at shardmap.Position) {
	v.over = true
	e := &wire.StreamEnd{Reason: reason, Resume: wire.AppendPositions(nil, []wire.GroupPosition{{Group: v.ask.Group, Position: at}})}
	v.frames = append(v.frames, func() {
		if why := v.stream.Ended(v.attempt, e); why != nil {
			panic(fmt.Sprint("a stream goes on after it was told that it has ended: ", why))
		}
	})
}

func (v *watchServing) piece(at shardmap.Position, rows []wire.WatchRow) {
	p := wire.WatchPiece{Group: v.ask.Group, At: at, Count: len(rows)}
	for i := range rows {
		p.Rows = wire.AppendWatchRow(p.Rows, &rows[i])
	}
	body := p.Append(nil)
	v.sent += uint64(len(body))
	v.frames = append(v.frames, func() { v.stream.Piece(v.attempt, body) })
}

// has reports whether a stream is of a slot.
func (v *watchServing) has(s shardmap.Slot) bool {
	return slices.ContainsFunc(v.ask.Slots, func(r shardmap.SlotRange) bool { return r.From <= s && s <= r.To })
}

// answer decides where a stream begins.
func (x *watched) answer(v *watchServing) {
	g := x.groups[v.ask.Group]
	if g == nil {
		v.refuse(&wire.Error{Code: wire.CodeMoved, Epoch: x.index})
		return
	}
	given := make(map[raft.GroupID]shardmap.Position)
	for _, p := range v.ask.Positions {
		given[p.Group] = p.Position
	}
	before := func(f raft.GroupID, sealed raft.LogID) bool {
		p, ok := given[f]
		return ok && p.Before(shardmap.After(sealed))
	}
	held := slices.ContainsFunc(x.slots, func(s *watchedSlot) bool { return v.has(s.slot) && x.holds(g, s) })
	own, has := given[g.id]
	v.starts, v.head = make(map[shardmap.Slot]shardmap.Position), g.head
	head := shardmap.After(g.head)
	var rows []wire.WatchRow
	switch {
	case v.ask.Now && !held:
		v.refuse(&wire.Error{Code: wire.CodeMoved, Epoch: x.index})
		return
	case v.ask.Now:
		v.at = head
		for _, e := range g.events {
			if e.Kind == wire.WatchCame && v.has(e.Slot) && before(e.Group, e.Sealed) {
				rows = append(rows, wire.WatchRow{Kind: wire.WatchElsewhere, Slot: e.Slot, Group: e.Group, Sealed: e.Sealed})
			}
		}
	case has && head.Before(own):
		v.refuse(wire.BadRequest("positions", "of the future", ""))
		return
	case has && own.ID.Index >= g.floor.Index:
		v.at, v.elsewhere = own, !held
	default:
		v.elsewhere = !held && has
		v.at = head
		for _, s := range x.slots {
			if !v.has(s.slot) {
				continue
			}
			start, end, bad := x.startOf(g, s, own, has, before)
			if bad != nil {
				v.refuse(bad)
				return
			}
			if end {
				v.end(wire.EndCompacted, shardmap.After(g.floor))
				return
			}
			v.starts[s.slot] = start
			if start.Before(v.at) {
				v.at = start
			}
		}
	}
	v.piece(v.at, rows)
}

// startOf decides where a slot begins of which the group has no position that is kept.
func (x *watched) startOf(g *watchedGroup, s *watchedSlot, own shardmap.Position, has bool, before func(raft.GroupID, raft.LogID) bool) (start shardmap.Position, compacted bool, bad *wire.Error) {
	for _, e := range g.events {
		at := shardmap.Position{ID: e.ID, N: e.N - 1}
		if e.Kind == wire.WatchCame && e.Slot == s.slot && (has && !at.Before(own) || !has && before(e.Group, e.Sealed)) {
			return at, slices.ContainsFunc(s.formers, func(f shardmap.Former) bool {
				return has && x.holds(g, s) && f.Group == g.id && own.Before(shardmap.After(f.Sealed)) && f.Sealed.Index <= g.floor.Index
			}), nil
		}
	}
	switch {
	case !x.holds(g, s):
		return shardmap.After(g.head), false, nil
	case has && len(s.formers) > 0, slices.ContainsFunc(s.formers, func(f shardmap.Former) bool { return before(f.Group, f.Sealed) }):
		return start, true, nil
	}
	return start, false, wire.BadRequest("positions", fmt.Sprintf("no position of group %s", g.id), "")
}

// serve takes a step of some attempt: a frame leaves or arrives, or the connection is lost.
func (x *watched) serve() {
	if n := len(x.stale); n > 0 && x.random.IntN(4) == 0 {
		v := x.stale[x.random.IntN(n)]
		if len(v.frames) > 0 {
			v.frames[0]()
			v.frames = v.frames[1:]
		}
		return
	}
	if len(x.open) == 0 {
		return
	}
	i := x.random.IntN(len(x.open))
	v := x.open[i]
	switch x.random.IntN(9) {
	case 0:
		if !v.over && !v.stream.Complete() && x.random.IntN(3) == 0 { // a connection or a node is lost
			x.lost++
			x.open = slices.Delete(x.open, i, i+1)
			x.stale = append(x.stale, v)
			x.begin(v.stream)
		}
	case 1, 2, 3, 4:
		if len(v.frames) > 0 {
			v.frames[0]()
			v.frames = v.frames[1:]
		}
		if v.over && len(v.frames) == 0 {
			x.open = slices.DeleteFunc(x.open, func(o *watchServing) bool { return o == v })
		}
	default:
		x.send(v)
	}
}

// send sends the next piece of a stream, if there is one and room for it.
func (x *watched) send(v *watchServing) {
	g := x.groups[v.ask.Group]
	switch {
	case v.over:
		return
	case g == nil:
		v.refuse(&wire.Error{Code: wire.CodeMoved, Epoch: x.index})
		return
	case v.at.ID.Index < g.floor.Index:
		reason := wire.EndCompacted
		if v.limit < v.sent+uint64(v.ask.PieceBytes) {
			reason = wire.EndSlow
		}
		v.end(reason, shardmap.After(g.floor))
		return
	case v.limit < v.sent+uint64(v.ask.PieceBytes):
		return
	}
	at, rows, most := shardmap.After(g.head), []wire.WatchRow(nil), 1+x.random.IntN(4)
	for _, e := range g.events {
		pos := shardmap.Position{ID: e.ID, N: e.N}
		if !v.at.Before(pos) || !v.has(e.Slot) || !v.starts[e.Slot].Before(pos) || e.Kind.OfKey() && !v.matches(e.Key) {
			continue
		}
		if len(rows) == most { // often in the middle of an entry
			last := rows[len(rows)-1]
			at = shardmap.Position{ID: last.ID, N: last.N}
			if e.ID != last.ID && x.random.IntN(2) == 0 {
				at.N = shardmap.AllEvents
			}
			break
		}
		rows = append(rows, e)
	}
	if len(rows) > 0 || v.at.Before(at) && x.random.IntN(3) == 0 || v.elsewhere {
		v.at = at
		v.piece(at, rows)
	}
	if v.elsewhere && !v.at.Before(shardmap.After(v.head)) {
		v.end(wire.EndElsewhere, v.at)
	}
}

func (v *watchServing) matches(key []byte) bool {
	k, from := string(key), string(v.ask.From)
	if v.ask.Exact {
		return k == from
	}
	return k >= from && (v.ask.To == nil || k < string(v.ask.To))
}

// carry does what the core says.
func (x *watched) carry() {
	for _, s := range x.core.Dropped() {
		if i := slices.IndexFunc(x.open, func(v *watchServing) bool { return v.stream == s }); i >= 0 {
			x.stale = append(x.stale, x.open[i])
			x.open = slices.Delete(x.open, i, i+1)
		}
	}
	for _, s := range x.core.Take() {
		x.begin(s)
	}
	for _, s := range x.core.Used() {
		g, attempt, due := s.Grant()
		for _, v := range x.open {
			if due && v.stream == s && v.attempt == attempt {
				if g.Limit < v.limit || g.Limit > v.sent+s.window {
					x.t.Fatalf("%d bytes are granted, after %d, when %d were sent; the window is %d", g.Limit, v.limit, v.sent, s.window)
				}
				v.limit = g.Limit
			}
		}
	}
	x.pending = append(x.pending, x.core.Questions()...)
}

// reply answers a question.
func (x *watched) reply() {
	if len(x.pending) == 0 {
		return
	}
	i := x.random.IntN(len(x.pending))
	q := x.pending[i]
	x.pending = slices.Delete(x.pending, i, i+1)
	g := x.groups[q.Ask.Group]
	if g == nil || x.random.IntN(10) == 0 {
		x.core.Answer(x.now, q, nil, wire.Unavailable("group", "lost"))
		return
	}
	a := &wire.SlotViewAnswer{Group: g.id, At: g.head}
	for _, run := range q.Ask.Slots {
		for slot := run.From; slot <= run.To; slot++ {
			a.Rows = append(a.Rows, x.view(g, slot))
		}
	}
	x.core.Answer(x.now, q, a, nil)
}

func (x *watched) view(g *watchedGroup, slot shardmap.Slot) shardmap.SlotView {
	v := shardmap.SlotView{Slot: slot, Mark: g.marks[slot]}
	for n := range g.refusals {
		v.Decisions = append(v.Decisions, shardmap.Decision{Number: n})
	}
	for _, s := range x.slots {
		switch {
		case s.slot != slot || s.group != g.id:
		case s.sealed != nil:
			v.Holding, v.Number, v.Target, v.Sealed = shardmap.HoldsSealed, s.sealed.number, s.sealed.to, s.sealed.sealed
		default:
			v.Holding = shardmap.HoldsOwned
		}
	}
	return v
}
