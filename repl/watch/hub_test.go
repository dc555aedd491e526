package watch

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/registry"
)

const testGroup raft.GroupID = 3

// world is a group, a hub, and watches, each with a slow and obvious model of what it is to be
// told: a list of all events there ever were, of which it gets those that are for it.
type world struct {
	chance *rand.Rand
	hub    *Hub
	m      *shardmap.Map
	id     raft.LogID
	now    time.Duration
	bound  [2]int // of the history

	events   []shardmap.Event
	read     shardmap.Cursor
	advanced shardmap.Position // the hub was told of entries up to it
	// overtaken: the hub has not seen some event before it went.
	overtaken bool
	seals     map[shardmap.Slot]uint64
	moves     uint64
	watches   []*model

	told, ended, progress, lagged int
}

// model is one watch.
type model struct {
	x      *world
	w      *Watcher
	spec   Spec
	starts []Start

	next   int // of the events: all before it are told, or are not for it
	at     shardmap.Position
	waits  bool // Next has said that there is nothing
	woken  bool
	caught bool // it was caught up, and has missed nothing since but what it was woken for
	closed bool
	since  time.Duration
}

// failure stops a run.
type failure struct{ text string }

func (x *world) failf(format string, args ...any) { panic(failure{fmt.Sprintf(format, args...)}) }

func newWorld(seed uint64) *world {
	x := &world{chance: rand.New(rand.NewPCG(seed, 21)), now: time.Hour, seals: make(map[shardmap.Slot]uint64), moves: 10}
	x.bound = [2]int{8 << 10 << x.chance.IntN(4), 1 << 10 << x.chance.IntN(3)}
	x.hub = New(x.now)
	x.m = x.newMap()
	own := shardmap.OwnCommand(&shardmap.Own{Number: 1, Slots: []shardmap.SlotRange{{From: 0, To: shardmap.Slots - 1}}})
	x.id = raft.LogID{Term: 1, Index: 1}
	x.apply(&own)
	raise := shardmap.RaiseCommand(shardmap.ServicesLevel)
	x.apply(&raise)
	x.read, _ = x.m.History().Cursor(shardmap.After(x.id))
	x.hub.Group(testGroup, x.m.History())
	x.advanced = shardmap.After(x.id)
	return x
}

func (x *world) newMap() *shardmap.Map {
	m := shardmap.NewMap(testGroup)
	m.History().Bound(x.bound[0], x.bound[0]/2, x.bound[1])
	return m
}

func (x *world) apply(c *shardmap.Command) {
	x.id.Index += 1 + x.chance.Uint64N(2)
	if x.chance.IntN(10) == 0 {
		x.id.Term++
	}
	if _, err := x.m.Apply(x.id, 0, c); err != nil {
		x.failf("apply: %v", err)
	}
	var e shardmap.Event
	for x.read.Next(&e) {
		e.Key, e.Value, e.Prev = bytes.Clone(e.Key), bytes.Clone(e.Value), bytes.Clone(e.Prev)
		x.events = append(x.events, e)
	}
}

// testTags are those of a few keys each.
var testTags = []string{"{a}", "{b}", "{c}"}

func (x *world) key(tag string) []byte { return fmt.Appendf(nil, "%s%02d", tag, x.chance.IntN(12)) }

// entry applies a command of some keys, or one that moves a slot away or back.
func (x *world) entry() {
	tag := testTags[x.chance.IntN(len(testTags))]
	slot := shardmap.SlotOf([]byte(tag))
	if number := x.seals[slot]; number != 0 || x.chance.IntN(40) == 0 {
		kind, peer := shardmap.CommandUnseal, raft.GroupID(0)
		if number == 0 {
			x.moves++
			kind, number, peer = shardmap.CommandSeal, x.moves, 9
			x.seals[slot] = number
		} else if x.chance.IntN(3) > 0 {
			return
		} else {
			x.seals[slot] = 0
		}
		c := shardmap.StepCommand(kind, []shardmap.Step{{Slot: slot, Number: number, Peer: peer}})
		x.apply(&c)
		return
	}
	if x.chance.IntN(4) == 0 {
		x.service(string(x.key(tag)))
		return
	}
	c := shardmap.Command{Kind: shardmap.CommandSet, Slot: slot}
	if x.chance.IntN(3) == 0 {
		c.Kind = shardmap.CommandDel
	}
	keys := 1
	if x.chance.IntN(4) == 0 {
		keys += x.chance.IntN(12)
	}
	for range keys {
		c.Items = append(c.Items, x.key(tag))
		if c.Kind == shardmap.CommandSet {
			c.Items = append(c.Items, make([]byte, x.chance.IntN(300)))
		}
	}
	x.apply(&c)
}

// testSecret is what no client may see.
const testSecret = "s3cret"

// service sets or deletes a service, whose name may be a key, too.
func (x *world) service(name string) {
	if x.chance.IntN(4) == 0 {
		c := shardmap.ServiceDelCommand(name)
		x.apply(&c)
		return
	}
	s := &registry.Service{Name: name, Type: registry.TypeRedis, Instances: []registry.Instance{{Settings: []registry.Setting{
		{Key: "host", Value: "10.0.0.7"}, {Key: "note", Value: strings.Repeat("x", x.chance.IntN(300))}, {Key: "pass", Value: testSecret}, {Key: "port", Value: "6379"},
	}}}}
	s.Complete()
	c := shardmap.ServiceSetCommand(name, s.Append(nil))
	x.apply(&c)
}

// rowOf is the row of an event, as a watch is to be told of it.
func (x *world) rowOf(e *shardmap.Event, s *Spec) wire.WatchRow {
	if !s.Services || !e.Kind.OfService() {
		return wire.WatchRowOf(e, s.Prev)
	}
	row := wire.WatchRow{Kind: wire.WatchDel, Slot: e.Slot, ID: e.ID, N: e.N, Key: e.Key, Version: e.Version}
	if e.Kind == shardmap.EventService {
		value, err := registry.Public(e.Value)
		if err != nil || !bytes.Contains(e.Value, []byte(testSecret)) {
			x.failf("an event with %q, %v", e.Value, err)
		}
		row.Kind, row.Value = wire.WatchSet, value
	}
	return row
}

func (x *world) spec() Spec {
	tag := testTags[x.chance.IntN(len(testTags))]
	s := Spec{Group: testGroup, Prev: x.chance.IntN(2) == 0}
	if x.chance.IntN(3) == 0 {
		s.Services, s.Prev = true, false
	}
	slot := shardmap.SlotOf([]byte(tag))
	switch x.chance.IntN(4) {
	case 0:
		s.Slots = []shardmap.SlotRange{{From: 0, To: shardmap.Slots - 1}}
	case 1:
		s.Slots = []shardmap.SlotRange{{From: 0, To: slot}}
	default:
		s.Slots = []shardmap.SlotRange{{From: slot, To: slot}}
	}
	s.From = x.key(tag)
	switch x.chance.IntN(4) {
	case 0:
		s.From = []byte(tag)
	case 1:
		s.To = append(x.key(tag), '~')
		if bytes.Compare(s.From, s.To) >= 0 {
			s.From, s.To = s.To[:len(s.To)-1], append(s.From, '~')
		}
	default:
		s.Exact = true
	}
	return s
}

// position returns one that a client may have, of what is still there.
func (x *world) position() shardmap.Position {
	floor, head := x.m.History().Bounds()
	at := shardmap.After(head)
	if len(x.events) > 0 && x.chance.IntN(2) == 0 {
		at = x.events[len(x.events)-1-x.chance.IntN(min(100, len(x.events)))].Position()
	}
	if at.Before(shardmap.After(floor)) {
		return shardmap.After(floor)
	}
	return at
}

func (x *world) open() {
	if len(x.watches) == 0 { // the hub begins with what is applied
		_, head := x.m.History().Bounds()
		x.advanced = shardmap.After(head)
	}
	m := &model{x: x, spec: x.spec()}
	at := x.position()
	m.starts = []Start{{Slots: m.spec.Slots, At: at}}
	if r := m.spec.Slots[0]; r.From < r.To {
		middle := r.From + (r.To-r.From)/2
		m.starts = []Start{{[]shardmap.SlotRange{{From: r.From, To: middle}}, at}, {[]shardmap.SlotRange{{From: middle + 1, To: r.To}}, x.position()}}
		if m.starts[1].At.Before(at) {
			at = m.starts[1].At
		}
	}
	m.at, m.since = at, x.now
	var ok bool
	if m.w, ok = x.hub.Watch(&m.spec, m.starts, m.wake); !ok {
		x.failf("watch refused")
	}
	x.watches = append(x.watches, m)
}

func (m *model) wake() {
	if m.closed {
		m.x.failf("wake of a watch that is closed")
	}
	m.woken = true
}

// wants reports whether an event is for the watch.
func (m *model) wants(e *shardmap.Event) bool {
	in := false
	for _, s := range m.starts {
		for _, r := range s.Slots {
			in = in || r.Has(e.Slot) && s.At.Before(e.Position())
		}
	}
	switch {
	case !in:
		return false
	case (e.Kind.OfKey() && m.spec.Services) || (e.Kind.OfService() && !m.spec.Services):
		return false
	case !e.Kind.OfKey() && !e.Kind.OfService():
		return !m.spec.Exact || e.Slot == shardmap.SlotOf(m.spec.From)
	case m.spec.Exact:
		return bytes.Equal(e.Key, m.spec.From)
	}
	return bytes.Compare(e.Key, m.spec.From) >= 0 && (m.spec.To == nil || bytes.Compare(e.Key, m.spec.To) < 0)
}

// due returns the next event that the watch is to be told of, as far as the hub knows.
func (m *model) due() *shardmap.Event {
	for m.next < len(m.x.events) && !m.wants(&m.x.events[m.next]) {
		m.next++
	}
	if m.next == len(m.x.events) || m.x.advanced.Before(m.x.events[m.next].Position()) {
		return nil
	}
	return &m.x.events[m.next]
}

// turn reads with a watch once, and reports whether it is still there.
func (m *model) turn() bool {
	x := m.x
	max := 100 << x.chance.IntN(6)
	lagged := m.w.way == lags
	p, state := m.w.Next(max)
	if lagged {
		x.lagged++
	}
	if p.Body != nil {
		m.piece(p, max)
	}
	m.woken, m.waits = false, state == Nothing
	switch state {
	case Nothing:
		if e := m.due(); e != nil {
			x.failf("nothing for %+v at %v, and %s %s at %v is due", m.spec, m.at, e.Kind, e.Key, e.Position())
		}
		m.at, m.caught = m.w.At(), true
	case More:
	case Compacted:
		x.ended++
		floor, _ := x.m.History().Bounds()
		if !m.at.Before(shardmap.After(floor)) {
			x.failf("compacted at %v, the floor is %s", m.at, floor)
		}
		if e := m.due(); m.caught && !x.overtaken && (e == nil || floor.Index < e.ID.Index) {
			x.failf("compacted at %v, though what is due is not below the floor %s", m.at, floor)
		}
		return false
	case Gone:
		return false
	}
	if p.Body == nil && state == More && !lagged {
		x.failf("a piece of nothing, and more")
	}
	return true
}

func (m *model) piece(p Piece, max int) {
	x := m.x
	var got wire.WatchPiece
	if err := got.Read(p.Body); err != nil {
		x.failf("piece: %v", err)
	}
	if got.Group != testGroup || got.At != p.At || got.Count != p.Rows || m.w.At().Before(p.At) {
		x.failf("piece %+v of %d rows, want %+v of %d; the watch is at %v, was at %v", got.At, got.Count, p.At, p.Rows, m.w.At(), m.at)
	}
	if p.At.Before(m.at) {
		x.failf("from %v back to %v", m.at, p.At)
	}
	if len(p.Body) > max && p.Rows > 1 {
		x.failf("piece of %d rows in %d bytes, the limit is %d", p.Rows, len(p.Body), max)
	}
	if p.Rows == 0 {
		x.progress++
		if x.now-m.since < ProgressEvery {
			x.failf("told how far it is after %s", x.now-m.since)
		}
	}
	m.since = x.now
	from := m.next
	for row := new(wire.WatchRow); got.Next(row); {
		e := m.due()
		if e == nil {
			x.failf("one more row: %+v", row)
		}
		want := x.rowOf(e, &m.spec)
		if bytes.Contains(row.Value, []byte(testSecret)) {
			x.failf("a row with a secret: %q", row.Value)
		}
		if !reflect.DeepEqual(*row, want) {
			x.failf("row %+v, want %+v", *row, want)
		}
		if p.At.Before(e.Position()) {
			x.failf("row at %v in a piece up to %v", e.Position(), p.At)
		}
		m.next++
		x.told++
	}
	e := m.due()
	if e != nil && !p.At.Before(e.Position()) {
		x.failf("a piece up to %v, and %s %s at %v was left out", p.At, e.Kind, e.Key, e.Position())
	}
	if e == nil || p.Rows == 0 || p.At.N == shardmap.AllEvents {
		m.at = p.At
		return
	}
	// It ends within an entry.
	if first := x.events[from:]; first[0].ID != p.At.ID {
		for i := range first {
			if m.wants(&first[i]) {
				if first[i].ID != p.At.ID {
					x.failf("a piece of %d rows ends within entry %s, and begins before it", p.Rows, p.At.ID)
				}
				break
			}
		}
	}
	m.at = p.At
}

func (x *world) advance() {
	was := make([]bool, len(x.watches))
	for i, m := range x.watches {
		was[i] = m.woken
	}
	floor, head := x.m.History().Bounds()
	if x.advanced.ID.Index < floor.Index {
		x.overtaken = true
	}
	x.advanced = shardmap.After(head)
	x.hub.Advance(testGroup)
	for i, m := range x.watches {
		if due := m.due() != nil; m.waits && due != m.woken && (due || !was[i] && !x.overtaken) {
			x.failf("%+v: something is due: %t, woken: %t", m.spec, due, m.woken)
		}
	}
}

// restore gives the group another map, or has the same one load a state.
func (x *world) restore() {
	x.advance()
	var b bytes.Buffer
	c := x.m.CopyAll()
	if _, err := c.WriteTo(&b); err != nil {
		x.failf("%v", err)
	}
	c.Release()
	if x.chance.IntN(2) == 0 {
		x.m = x.newMap()
	}
	if err := x.m.Load(&b, x.id, 0); err != nil {
		x.failf("%v", err)
	}
	at := x.read.At()
	x.read.Close()
	x.read, _ = x.m.History().Cursor(at)
	if x.chance.IntN(4) == 0 {
		x.hub.Group(testGroup, nil)
		for _, m := range x.watches {
			if !m.woken {
				x.failf("the group has gone, and a watch was not woken")
			}
			if _, state := m.w.Next(100); state != Gone && state != Compacted {
				x.failf("the group has gone, and a watch is told %d", state)
			}
			m.close()
		}
		x.watches = nil
		if w, ok := x.hub.Watch(&Spec{Group: testGroup, From: []byte("k"), Exact: true}, nil, func() {}); !ok {
			x.failf("watch refused")
		} else if _, state := w.Next(100); state != Gone {
			x.failf("a watch of a group that is not here is told %d", state)
		} else {
			w.Close()
		}
	}
	x.hub.Group(testGroup, x.m.History())
	for _, m := range x.watches {
		m.caught = false // it reads the history itself again
	}
}

func (m *model) close() {
	m.closed = true
	m.w.Close()
}

func (x *world) tick() {
	x.now += time.Duration(x.chance.IntN(4)) * time.Second
	x.hub.Tick(x.now)
	for _, m := range x.watches {
		if m.waits && !m.woken && x.now-m.w.since >= ProgressEvery {
			x.failf("a watch that has waited since %s is not woken at %s", m.w.since, x.now)
		}
	}
}

// run does steps at random. Only a watch that was woken, or was told that there is more, reads.
func (x *world) run(steps int) {
	for range steps {
		switch k := x.chance.IntN(100); {
		case k < 45:
			x.entry()
		case k < 60:
			x.advance()
		case k < 63 && len(x.watches) < 40:
			x.open()
		case k < 64 && len(x.watches) > 0:
			i := x.chance.IntN(len(x.watches))
			x.watches[i].close()
			x.watches = append(x.watches[:i], x.watches[i+1:]...)
		case k < 65:
			x.tick()
		case k < 66 && x.chance.IntN(4) == 0:
			x.restore()
		case len(x.watches) > 0:
			i := x.chance.IntN(len(x.watches))
			if m := x.watches[i]; (!m.waits || m.woken) && !m.turn() {
				m.close()
				x.watches = append(x.watches[:i], x.watches[i+1:]...)
			}
		}
	}
	// At last all are told of all.
	x.advance()
	for _, m := range x.watches {
		for m.turn() && !m.waits {
		}
		m.close()
	}
	x.read.Close()
	if x.hub.Watchers() != 0 || x.hub.idle.first != nil || !x.hub.groups[testGroup].empty() {
		x.failf("something is left of watches that were closed")
	}
}

// empty reports whether nothing is left of watches.
func (x *group) empty() bool {
	return len(x.keys.subjects)+len(x.keys.slots)+len(x.services.subjects)+len(x.services.slots) == 0
}

// randomWatches runs one world from a seed.
func randomWatches(seed uint64, steps int) (x *world, err error) {
	defer func() {
		if r := recover(); r != nil {
			f, ok := r.(failure)
			if !ok {
				panic(r)
			}
			err = fmt.Errorf("%s", f.text)
		}
	}()
	x = newWorld(seed)
	x.run(steps)
	return x, nil
}

const (
	watchRuns  = 40
	watchSteps = 3000
)

// Each watch is told of each event that is for it, once, in order, and of no other, wherever
// it begins and however late it reads, while blocks go and states are loaded; or else it ends,
// and then it was too late. What it says of how far it is holds. It is woken if and only if
// there is something.
func TestRandomWatches(t *testing.T) {
	var told, ended, progress, lagged int
	for seed := range uint64(watchRuns) {
		x, err := randomWatches(seed, watchSteps)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		told, ended, progress, lagged = told+x.told, ended+x.ended, progress+x.progress, lagged+x.lagged
	}
	t.Logf("%d rows, %d watches compacted, %d told how far they are, %d reads of watches that lagged", told, ended, progress, lagged)
	if told < 100*watchRuns || ended == 0 || progress == 0 || lagged == 0 {
		t.Error("something never happened")
	}
}
