package quota

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

// world is some nodes with the groups that they lead, around the shipped cores. Messages are lost,
// late and repeated, groups and the meta group change their leaders, who notice it late, slots move, writes come and
// go. Nothing of it is real but what is admitted, and what that comes to.
type world struct {
	*rand.Rand
	now    time.Duration
	nodes  []*worldNode
	groups []*worldGroup
	limit  Limit
	mail   []letter
	meta   int // the node that leads the meta group
	term   uint64
	faults bool
	moves  []*worldMove
	next   uint64 // for keys

	written  []time.Duration // of keys, for the rate
	refused  map[string]int
	admitted int
}

type worldNode struct {
	divider Divider
	leaders []*Leader // by group
	terms   []uint64  // in which it believes to lead the groups
	groups  Groups
}

type worldGroup struct {
	id         raft.GroupID
	leader     int
	term       uint64
	index      uint64
	slots      map[int]map[uint64]int64 // keys with their sizes, by slot
	came, went shardmap.Amount
	log        []worldEntry // proposed, not applied
	queue      []worldEntry // admitted, not proposed
}

type worldEntry struct {
	term, index, ticket uint64
	slot                int
	key                 uint64
	size                int64 // 0: a delete
	at                  time.Duration
}

type worldMove struct {
	slot, from, to int
	taken          bool
}

type letter struct {
	at     time.Duration
	to     int
	from   int
	ask    *wire.Usage
	answer *wire.UsageAnswer
}

const worldSlots = 40

func newWorld(seed uint64, l Limit) *world {
	w := &world{Rand: rand.New(rand.NewPCG(seed, 5)), limit: l, faults: true, refused: map[string]int{}, term: 1}
	for range 3 {
		w.nodes = append(w.nodes, new(worldNode))
	}
	for g := range 2 + w.IntN(6) {
		w.groups = append(w.groups, &worldGroup{id: raft.GroupID(g + 1), term: 1, slots: map[int]map[uint64]int64{}, leader: w.IntN(3), index: 1})
	}
	for s := range worldSlots {
		w.groups[s%len(w.groups)].slots[s] = map[uint64]int64{}
	}
	for _, n := range w.nodes {
		for range w.groups {
			n.leaders = append(n.leaders, new(Leader))
			n.terms = append(n.terms, 0)
		}
	}
	for g, x := range w.groups {
		w.nodes[x.leader].terms[g] = 1
	}
	w.nodes[0].divider.Lead(1)
	return w
}

func (g *worldGroup) amount() (a shardmap.Amount) {
	for _, keys := range g.slots {
		a.Keys += sumOf(keys).Keys
		a.Bytes += sumOf(keys).Bytes
	}
	return a
}

func sumOf(keys map[uint64]int64) (a shardmap.Amount) {
	for _, size := range keys {
		a.Keys++
		a.Bytes += size
	}
	return a
}

func (w *world) tally(g *worldGroup) shardmap.Tally {
	return shardmap.Tally{Amount: g.amount(), Counted: true, Came: g.came, Went: g.went}
}

// at returns the leader of a group at a node, told of all that it must know.
func (w *world) at(n, g int) *Leader {
	l := w.nodes[n].leaders[g]
	l.Set([]Limit{w.limit})
	l.Lead(w.nodes[n].terms[g])
	l.Sync(0, w.tally(w.groups[g]))
	return l
}

func (w *world) turn(writes int) error {
	w.now += 10 * time.Millisecond
	w.deliver()
	ids, groups := []raft.NodeID{}, []raft.GroupID{}
	for i := range w.nodes {
		ids = append(ids, raft.NodeID(i+1))
	}
	for _, g := range w.groups {
		groups = append(groups, g.id)
	}
	for i, n := range w.nodes {
		n.divider.Set([]Limit{w.limit}, groups, ids)
		asks, _ := n.divider.Turn(w.now)
		for _, a := range asks {
			w.send(letter{to: int(a.To) - 1, from: i, ask: a.Body})
		}
	}
	if w.faults {
		w.fault()
	}
	for range writes {
		w.write()
	}
	w.commit()
	w.move()
	return w.check()
}

func (w *world) send(l letter) {
	l.at = w.now + time.Duration(w.IntN(30))*time.Millisecond
	if !w.faults {
		w.mail = append(w.mail, l)
		return
	}
	switch k := w.IntN(20); {
	case k < 3:
		return
	case k == 3:
		w.mail = append(w.mail, l)
		l.at += time.Duration(w.IntN(3000)) * time.Millisecond
	case k == 4:
		l.at += time.Duration(w.IntN(3000)) * time.Millisecond
	}
	w.mail = append(w.mail, l)
}

func (w *world) deliver() {
	due := []letter{}
	w.mail = slices.DeleteFunc(w.mail, func(l letter) bool {
		if l.at <= w.now {
			due = append(due, l)
			return true
		}
		return false
	})
	for _, l := range due {
		n := w.nodes[l.to]
		if l.answer != nil {
			b := new(wire.UsageAnswer)
			if err := b.Read(l.answer.Append(nil)); err != nil {
				panic(err)
			}
			n.divider.Took(raft.NodeID(l.from+1), b)
			continue
		}
		m := new(wire.Usage)
		if err := m.Read(l.ask.Append(nil)); err != nil {
			panic(err)
		}
		for g, x := range w.groups {
			n.groups.Led(x.id, n.terms[g])
		}
		a, heard := n.groups.Answer(w.now, m, func(id raft.GroupID) Group { return worldReplica{w, l.to, int(id) - 1} })
		if !heard {
			continue
		}
		w.send(letter{to: l.from, from: l.to, answer: &a})
	}
}

// worldReplica is the replica of a group at a node.
type worldReplica struct {
	w    *world
	n, g int
}

// Usage implements [Group].
func (r worldReplica) Usage(_ uint64, now time.Duration, m *wire.Usage, order *wire.UsageOrder) (wire.UsageReport, bool) {
	report, ok := r.w.at(r.n, r.g).Take(now, m, order)
	report.Group = r.w.groups[r.g].id
	return report, ok
}

// CountLimits implements [Group]: the world always knows what there is.
func (worldReplica) CountLimits(int) bool { return true }

func (w *world) fault() {
	switch w.IntN(150) {
	case 4: // a leader's node sees that the limit was taken away and made again; the divider does not
		for g, x := range w.groups {
			if l := w.nodes[x.leader].leaders[g]; len(x.log) == 0 && w.IntN(2) == 0 {
				l.Set(nil)
			}
		}
	case 0: // another leads a group; the one before may learn of it later
		g := w.IntN(len(w.groups))
		x := w.groups[g]
		w.lose(x)
		was := x.leader
		x.term++
		x.leader = w.IntN(3)
		if was == x.leader || w.IntN(2) == 0 {
			w.nodes[was].terms[g] = 0
			w.nodes[was].leaders[g].Lead(0)
		}
		w.nodes[x.leader].terms[g] = x.term
	case 1: // another leads the meta group, the one before goes on for a while
		w.term++
		if w.IntN(2) == 0 {
			w.nodes[w.meta].divider.Lead(0)
		}
		w.meta = w.IntN(3)
		w.nodes[w.meta].divider.Lead(w.term)
	case 2: // somebody learns that it does not lead
		n := w.IntN(3)
		if n != w.meta {
			w.nodes[n].divider.Lead(0)
		}
		for g, x := range w.groups {
			if x.leader != n {
				w.nodes[n].terms[g] = 0
			}
		}
	case 3: // a node is started anew
		n := w.IntN(3)
		fresh := &worldNode{}
		for g, x := range w.groups {
			fresh.leaders = append(fresh.leaders, new(Leader))
			fresh.terms = append(fresh.terms, 0)
			if x.leader == n {
				w.lose(x)
				x.term++
				x.leader = (n + 1) % 3
				w.nodes[x.leader].terms[g] = x.term
			}
		}
		fresh.groups.divider = w.nodes[n].groups.divider
		w.nodes[n] = fresh
		if w.meta == n {
			w.term++
			w.meta = (n + 1) % 3
			w.nodes[w.meta].divider.Lead(w.term)
		}
	}
}

// lose lets a group's leader go: what is in the log is applied by the next one, or lost.
func (w *world) lose(x *worldGroup) {
	x.queue = nil
	keep := w.IntN(len(x.log) + 1)
	for _, e := range x.log[:keep] {
		w.apply(x, e)
	}
	x.log = nil
}

func (w *world) slot(s int) *worldGroup {
	for _, g := range w.groups {
		if _, ok := g.slots[s]; !ok {
			continue
		}
		if i := slices.IndexFunc(w.moves, func(m *worldMove) bool { return m.slot == s && m.taken && m.from == int(g.id)-1 }); i < 0 {
			return g
		}
	}
	panic("no group has the slot")
}

// write has a client write to some slot, at a node that believes to lead its group.
func (w *world) write() {
	s := w.IntN(worldSlots)
	if w.IntN(3) == 0 {
		s = 0
	}
	x := w.slot(s)
	g := int(x.id) - 1
	n := x.leader
	if w.IntN(10) == 0 {
		n = w.IntN(3)
	}
	if w.nodes[n].terms[g] == 0 || slices.ContainsFunc(w.moves, func(m *worldMove) bool { return m.slot == s }) {
		return
	}
	e := worldEntry{slot: s, term: w.nodes[n].terms[g], at: w.now + time.Duration(w.IntN(50))*time.Millisecond, size: 1 + w.Int64N(100)}
	w.next++
	e.key = w.next
	has := make([]uint64, 0, len(x.slots[s]))
	for key := range x.slots[s] {
		has = append(has, key)
	}
	slices.Sort(has)
	var adds []shardmap.Growth
	by := shardmap.Amount{Keys: 1, Bytes: e.size}
	switch k := w.IntN(10); {
	case len(has) == 0 || k < 7:
	case k < 8:
		e.key = has[w.IntN(len(has))]
		by = shardmap.Amount{Bytes: max(0, e.size-x.slots[s][e.key])}
	default:
		e.key, e.size = has[w.IntN(len(has))], 0
	}
	if e.size > 0 {
		adds = append(adds, shardmap.Growth{By: by, Writes: 1})
	}
	l := w.at(n, g)
	ticket, refused := l.Admit(w.now, w.Uint64N(100), adds)
	if refused != nil {
		w.refused[fmt.Sprint(refused.Kind, " ", refused.Over)]++
		return
	}
	w.admitted++
	if e.term != x.term {
		return // a leader of before: it never commits
	}
	if e.ticket = ticket; w.IntN(20) == 0 {
		l.Withdrawn(ticket)
		return
	}
	x.index++
	e.index = x.index
	l.Proposed(ticket, e.index)
	x.log = append(x.log, e)
}

func (w *world) commit() {
	for g, x := range w.groups {
		n := 0
		for n < len(x.log) && x.log[n].at <= w.now {
			w.apply(x, x.log[n])
			n++
		}
		if n > 0 {
			w.nodes[x.leader].leaders[g].Applied(x.log[n-1].index)
			x.log = slices.Delete(x.log, 0, n)
		}
	}
}

func (w *world) apply(x *worldGroup, e worldEntry) {
	keys, ok := x.slots[e.slot]
	if !ok || slices.ContainsFunc(w.moves, func(m *worldMove) bool { return m.slot == e.slot && m.from == int(x.id)-1 }) {
		return
	}
	if delete(keys, e.key); e.size > 0 {
		keys[e.key] = e.size
		w.written = append(w.written, w.now)
	}
}

// move moves slots: sealed, taken over, and dropped after that.
func (w *world) move() {
	if w.faults && w.IntN(30) == 0 && len(w.groups) > 1 {
		s, to := w.IntN(worldSlots), w.IntN(len(w.groups))
		x := w.slot(s)
		if to != int(x.id)-1 && !slices.ContainsFunc(w.moves, func(m *worldMove) bool { return m.slot == s }) {
			w.moves = append(w.moves, &worldMove{slot: s, from: int(x.id) - 1, to: to})
		}
	}
	w.moves = slices.DeleteFunc(w.moves, func(m *worldMove) bool {
		from, to := w.groups[m.from], w.groups[m.to]
		switch {
		case w.IntN(20) > 0:
		case !m.taken:
			m.taken = true
			made := map[uint64]int64{}
			for key, size := range from.slots[m.slot] {
				made[key] = size
			}
			to.slots[m.slot] = made
			a := sumOf(made)
			to.came.Keys += a.Keys
			to.came.Bytes += a.Bytes
		default:
			a := sumOf(from.slots[m.slot])
			from.went.Keys += a.Keys
			from.went.Bytes += a.Bytes
			delete(from.slots, m.slot)
			return true
		}
		return false
	})
}

// there is what all groups have, each slot once.
func (w *world) there() (a shardmap.Amount) {
	for s := range worldSlots {
		b := sumOf(w.slot(s).slots[s])
		a.Keys += b.Keys
		a.Bytes += b.Bytes
	}
	return a
}

func (w *world) check() error {
	a := w.there()
	if l := w.limit.Keys; l > 0 && a.Keys > int64(l+l/100) {
		return fmt.Errorf("at %s there are %d keys, the limit is %d", w.now, a.Keys, l)
	}
	if l := w.limit.Bytes; l > 0 && a.Bytes > int64(l+l/100) {
		return fmt.Errorf("at %s there are %d bytes, the limit is %d", w.now, a.Bytes, l)
	}
	// In no second more than what a second brings and what a second may have kept.
	for len(w.written) > 0 && w.written[0] <= w.now-time.Second {
		w.written = w.written[1:]
	}
	if l := int(w.limit.Rate); l > 0 && len(w.written) > 2*l+len(w.groups) {
		return fmt.Errorf("at %s %d keys were written within a second, the limit is %d a second", w.now, len(w.written), l)
	}
	return nil
}

var worldLimits = []Limit{
	{Prefix: "app/", Keys: 400},
	{Prefix: "app/", Bytes: 30_000},
	{Prefix: "app/", Keys: 600, Bytes: 30_000},
	{Prefix: "app/", Rate: 40},
	{Prefix: "app/", Keys: 1000, Rate: 300},
}

func runWorld(seed uint64) (refused map[string]int, err error) {
	w := newWorld(seed, worldLimits[seed%uint64(len(worldLimits))])
	for n := range 6000 {
		if err := w.turn(1 + n%3); err != nil {
			return nil, err
		}
	}
	// Once nothing is lost any more, what is free can be used: nobody is told that the limit is in
	// the way, or to wait, for long, while more than a fiftieth is free.
	w.faults = false
	for range 1000 {
		if err := w.turn(0); err != nil {
			return nil, err
		}
	}
	if l := w.limit; l.Rate == 0 {
		full := false
		for range 4000 {
			if err := w.turn(1); err != nil {
				return nil, err
			}
			a := w.there()
			full = full || l.Keys > 0 && a.Keys*50 >= int64(l.Keys)*49 || l.Bytes > 0 && (a.Bytes+100)*50 >= int64(l.Bytes)*49
		}
		if !full {
			return nil, fmt.Errorf("40 seconds of writes have come to %v of %+v, with refusals %v", w.there(), l, w.refused)
		}
	}
	return w.refused, nil
}

const worldRuns = 30

// The groups together stay within the limit, and use what is free in the end, whatever is lost,
// late or restarted. One would doubt it: each leader decides alone, on what it heard last.
func TestWorldStaysWithinLimits(t *testing.T) {
	all := map[string]int{}
	for seed := range uint64(worldRuns) {
		refused, err := runWorld(seed)
		if err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
		for what, n := range refused {
			all[what] += n
		}
	}
	for _, what := range []string{"keys true", "keys false", "bytes true", "rate false"} {
		if all[what] == 0 {
			t.Errorf("nothing was refused with %s", what)
		}
	}
	t.Log(all)
}
