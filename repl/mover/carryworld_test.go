package mover

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/movetest"
)

// carryWorld is a cluster around carriers and the mover: each group is its real map behind
// a log that commits at once, while it has a leader; group 0's log is a real table. Leaders
// change, with new terms; the node of one dies and forgets all that its carrier knew;
// actions are lost, done without an answer, late, done twice, or change places, and what
// is late may come when everything else is long over. Clients write all the time, with
// sessions, and retry what they did not hear of.
//
// What must hold is counted here: who serves a slot, what it holds, which versions it gave,
// what a retry is answered.
type carryWorld struct {
	course
	rnd     *rand.Rand
	table   *shardmap.Table
	nodes   []*carryNode
	groups  map[raft.GroupID]*carryGroup // group 0 has no map
	keys    [][]byte
	truth   map[string]kept
	last    map[shardmap.Slot]uint64 // the highest version that a slot has given
	asks    []*request               // that clients wait for
	free    []uint64                 // sessions without a request
	done    map[uint64]*request      // by session: the last that was answered
	next    map[uint64]uint64        // by session: its next sequence
	calm    bool
	quiet   bool // no client begins a request
	steps   map[shardmap.CommandKind]map[shardmap.StepOutcome]int
	meta    map[shardmap.TableCommandKind]int
	sealed  map[moveKey]time.Duration // when a slot was sealed
	pauses  []time.Duration
	bytes   int // of chunks that were delivered
	entries int // of steps
	acts    int // that carriers asked for
	disk    int // bytes per second that a group's log takes; 0: any
	heldMax int64
	moves   movetest.Recorder
}

type carryNode struct {
	id      raft.NodeID
	carrier *Carrier
	core    *Core
	up      bool
	upAt    time.Duration
	table   *shardmap.Table // that it has heard of
	next    time.Duration
	news    bool
}

type carryGroup struct {
	id      raft.GroupID
	m       *shardmap.Map
	at      raft.LogID // applied
	term    uint64
	leader  *carryNode // nil: none
	electAt time.Duration
	time    raft.GroupTime // is the world's, and this more
	busy    time.Duration  // until when its log writes what came before
	full    bool           // its disk has no room for chunks
}

func newCarryWorld(t *testing.T, seed uint64, groups, slots int) *carryWorld {
	w := &carryWorld{course: course{t: t}, rnd: rand.New(rand.NewPCG(seed, 11)), groups: map[raft.GroupID]*carryGroup{}, truth: map[string]kept{}, last: map[shardmap.Slot]uint64{},
		done: map[uint64]*request{}, next: map[uint64]uint64{}, steps: map[shardmap.CommandKind]map[shardmap.StepOutcome]int{}, meta: map[shardmap.TableCommandKind]int{},
		sealed: map[moveKey]time.Duration{}}
	w.pass, w.stand = w.tick, w.standing
	f := shardmap.Found{Cluster: "w", ClusterID: 1, Level: shardmap.MovesLevel, ValueMax: 1 << 20, Groups: groups}
	for i := range 3 {
		id := raft.NodeID(i + 1)
		w.nodes = append(w.nodes, &carryNode{id: id, up: true, carrier: NewCarrier(id), core: New(id)})
		f.Nodes = append(f.Nodes, shardmap.TableNode{ID: id, Name: fmt.Sprintf("n%d", id), Addr: fmt.Sprintf("n%d:1", id), Role: shardmap.NodeServer, Level: shardmap.MovesLevel})
	}
	payload, err := shardmap.AppendFound(nil, &f)
	if err != nil {
		t.Fatal(err)
	}
	tm := shardmap.NewTableMachine()
	if _, err := tm.Apply(raft.LogID{Term: 1, Index: 1}, payload); err != nil {
		t.Fatal(err)
	}
	w.table = tm.Table()
	w.groups[0] = &carryGroup{term: 1, at: raft.LogID{Term: 1, Index: 1}}
	for i := range w.table.Groups {
		row := &w.table.Groups[i]
		g := &carryGroup{id: row.ID, m: shardmap.NewMap(row.ID), term: 1, time: raft.GroupTime(uint64(row.ID) * uint64(time.Hour))}
		w.groups[row.ID] = g
		own, _ := w.table.Founding(row.ID, row.Incarnation)
		c := shardmap.OwnCommand(&own)
		// Logs of different lengths: versions must not go back for all that.
		g.at = raft.LogID{Term: 1, Index: uint64(5000 * (len(w.table.Groups) - i))}
		w.apply(g, &c)
	}
	for i := 0; len(w.keys) < slots*4; i++ {
		for k := range 4 {
			w.keys = append(w.keys, fmt.Appendf(nil, "{%d}%d", i, k))
		}
	}
	for s := range uint64(8) {
		w.free = append(w.free, s+1)
	}
	for _, n := range w.nodes {
		n.table = w.table
		n.carrier.Table(0, w.table)
	}
	for _, id := range inOrder(w.groups) {
		w.elect(w.groups[id], w.nodes[w.rnd.IntN(len(w.nodes))])
	}
	return w
}

// elect makes a node the leader of a group in a new term.
func (w *carryWorld) elect(g *carryGroup, n *carryNode) {
	if g.leader != nil {
		w.depose(g)
	}
	g.term++
	g.leader = n
	g.at = raft.LogID{Term: g.term, Index: g.at.Index + 1}
	if g.m == nil {
		n.core.Table(w.now, w.table)
		n.core.Lead(w.now, true)
	} else {
		if w.rnd.IntN(4) == 0 {
			w.reload(g)
		}
		if err := g.m.Skip(g.at, w.time(g)); err != nil {
			w.fail("group %d: %v", g.id, err)
		}
		n.carrier.Lead(g.id, g.term)
	}
	n.news = true
	w.note("n%d leads group %d in term %d", n.id, g.id, g.term)
}

func (w *carryWorld) depose(g *carryGroup) {
	n := g.leader
	g.leader, g.electAt = nil, w.now+time.Duration(w.rnd.IntN(1500))*time.Millisecond
	if n == nil || !n.up {
		return
	}
	if g.m == nil {
		n.core.Lead(w.now, false)
	} else {
		n.carrier.Lead(g.id, 0)
	}
	n.news = true
}

// reload has a replica that began with a snapshot lead the group.
func (w *carryWorld) reload(g *carryGroup) {
	c := g.m.CopyAll()
	var b bytes.Buffer
	if _, err := c.WriteTo(&b); err != nil {
		w.fail("group %d: snapshot: %v", g.id, err)
	}
	c.Release()
	m := shardmap.NewMap(g.id)
	if err := m.Load(bytes.NewReader(b.Bytes()), g.m.Applied(), g.m.Time()); err != nil {
		w.fail("group %d: snapshot: %v", g.id, err)
	}
	g.m = m
}

func (w *carryWorld) time(g *carryGroup) raft.GroupTime { return g.time + raft.GroupTime(w.now) }

// apply has a group's log take a command.
func (w *carryWorld) apply(g *carryGroup, c *shardmap.Command) shardmap.Result {
	g.at = raft.LogID{Term: g.term, Index: g.at.Index + 1 + uint64(w.rnd.IntN(2))}
	r, err := g.m.Apply(g.at, w.time(g), c)
	if err != nil {
		w.fail("group %d: %v", g.id, err)
	}
	return r
}

// tell has group 0's log take a command.
func (w *carryWorld) tell(payload []byte) error {
	next, err := w.table.Try(payload)
	if err != nil {
		w.note("table refuses: %v", err)
		return err
	}
	w.meta[shardmap.TableKindOf(payload)]++
	w.moves.Table(w.table, next)
	w.table = next
	// A node may hear of it later, and not of each.
	for _, n := range w.nodes {
		late := time.Duration(0)
		if !w.calm {
			late = time.Duration(w.rnd.IntN(60)) * time.Millisecond
		}
		w.after(late, func() { w.hear(n, next) })
	}
	return nil
}

func (w *carryWorld) hear(n *carryNode, t *shardmap.Table) {
	if n.up && t.Index > n.table.Index {
		n.table = t
		n.carrier.Table(w.now, t)
		n.core.Table(w.now, t)
		n.news = true
	}
}

// carry does one action of a carrier, as badly as the world allows.
func (w *carryWorld) carry(n *carryNode, a CarryAction) {
	by := n.carrier
	answered := func(do func()) {
		if n.carrier == by && n.up {
			do()
			n.news = true
		}
	}
	ended := func(err error) { answered(func() { by.Ended(w.now, a.Number, err) }) }
	g := w.groups[a.Group]
	silent := false
	reply := func(do func()) {
		if !silent {
			answered(do)
		}
	}
	do := func() {
		switch {
		case g.leader == nil:
			ended(raft.ErrNotLeader)
		case a.Kind == CarryCopy:
			if g.leader != n {
				ended(raft.ErrNotLeader)
				return
			}
			var copies []*shardmap.SlotCopy
			var views []shardmap.SlotView
			for s := range slotsIn(a.Slots) {
				o, _ := g.m.CopyToMove(s)
				copies, views = append(copies, o), append(views, g.m.View(s))
			}
			at := g.m.Applied()
			back := func() {
				// Whoever died gives up its copies too.
				if n.carrier == by && n.up {
					answered(func() { by.Copied(w.now, a.Number, copies, views, at) })
					return
				}
				for _, o := range copies {
					if o != nil {
						o.Release()
					}
				}
			}
			if silent {
				back = func() {
					for _, o := range copies {
						if o != nil {
							o.Release()
						}
					}
				}
			}
			w.after(w.delay(), back)
		case a.Kind == CarryDecisions:
			decisions := g.m.Decisions()
			w.after(w.delay(), func() { reply(func() { by.Decided(w.now, a.Number, decisions) }) })
		case a.Kind == CarryView:
			r := &wire.SlotViewAnswer{Group: a.Group, At: g.m.Applied(), Time: w.time(g)}
			for s := range slotsIn(a.Slots) {
				r.Rows = append(r.Rows, g.m.View(s))
			}
			w.after(w.delay(), func() { reply(func() { by.Viewed(w.now, a.Number, r) }) })
		case g.full && w.isChunk(a.Command):
			ended(errDiskFull)
		case g.m == nil:
			err := w.tell(a.Command)
			w.after(w.delay(), func() { reply(func() { by.Ended(w.now, a.Number, err) }) })
		default:
			r := w.step(g, a.Command)
			w.after(w.delay(), func() { reply(func() { by.Stepped(w.now, a.Number, r) }) })
		}
	}
	fate := 9
	if !w.calm {
		fate = w.rnd.IntN(24)
	}
	switch fate {
	case 0: // it never arrives
	case 1: // it is done, and the answer is lost
		silent = true
		w.after(w.delay(), do)
	case 2: // late, when the carrier has given it up
		w.after(time.Duration(w.rnd.IntN(12_000))*time.Millisecond, do)
	case 3: // twice
		w.after(w.delay(), do)
		w.after(time.Duration(w.rnd.IntN(3000))*time.Millisecond, do)
	case 4: // it changes places with others
		w.after(time.Duration(w.rnd.IntN(40))*time.Millisecond, do)
	default: // in order
		at := w.now + time.Millisecond
		if a.Kind == CarryStep && w.disk > 0 {
			g.busy = max(g.busy, at) + time.Duration(float64(len(a.Command))/float64(w.disk)*float64(time.Second))
			at = g.busy
		}
		w.after(at-w.now, do)
	}
}

func (w *carryWorld) delay() time.Duration { return time.Duration(1+w.rnd.IntN(4)) * time.Millisecond }

// slotsIn yields each slot of some runs.
func slotsIn(runs []shardmap.SlotRange) func(func(shardmap.Slot) bool) {
	return func(yield func(shardmap.Slot) bool) {
		for _, r := range runs {
			for s := r.From; s <= r.To; s++ {
				if !yield(s) {
					return
				}
			}
		}
	}
}

var errDiskFull = errors.New("the disk is full")

func (w *carryWorld) isChunk(command []byte) bool {
	bytes, err := wire.CheckWrite(command)
	var c shardmap.Command
	return err == nil && shardmap.ReadCommand(bytes, &c) == nil && c.Kind == shardmap.CommandChunk
}

// step has a group apply a step, and looks whether all still holds.
func (w *carryWorld) step(g *carryGroup, command []byte) *wire.StepAnswer {
	bytes, err := wire.CheckWrite(command)
	if err != nil {
		w.fail("group %d: %v", g.id, err)
	}
	var c shardmap.Command
	if err := shardmap.ReadCommand(bytes, &c); err != nil {
		w.fail("group %d: %v", g.id, err)
	}
	if err := c.ValidateMove(shardmap.Limits{ValueMax: 1 << 20, Level: shardmap.MovesLevel}); err != nil {
		w.fail("group %d: %v", g.id, err)
	}
	w.apply(g, &c)
	if err := w.moves.Applied(g.id, &c, g.m.StepResults()); err != nil {
		w.fail("group %d: %v", g.id, err)
	}
	w.entries++
	r := &wire.StepAnswer{Group: g.id, ID: g.at}
	for _, one := range g.m.StepResults() {
		one.View.Decisions = slices.Clone(one.View.Decisions)
		r.Results = append(r.Results, one)
	}
	if w.steps[c.Kind] == nil {
		w.steps[c.Kind] = map[shardmap.StepOutcome]int{}
	}
	var text string
	for _, one := range r.Results {
		w.steps[c.Kind][one.Outcome]++
		v := &one.View
		text += fmt.Sprintf(" %d:%s", v.Slot, one.Outcome)
		w.oneOwner(v.Slot)
		if one.Outcome == shardmap.StepDone && c.Kind == shardmap.CommandSeal {
			w.sealed[moveKey{v.Slot, v.Number}] = w.now
		}
		if one.Outcome == shardmap.StepDone && c.Kind == shardmap.CommandTakeover {
			n := v.Decisions[len(v.Decisions)-1].Number
			w.pauses = append(w.pauses, w.now-w.sealed[moveKey{v.Slot, n}])
			w.holds(g, v.Slot)
		}
		if one.Outcome == shardmap.StepDone && c.Kind == shardmap.CommandUnseal {
			w.holds(g, v.Slot)
		}
	}
	if c.Kind == shardmap.CommandChunk {
		w.bytes += len(command)
	}
	w.note("group %d at %s: %s%s", g.id, g.at, c.Kind, text)
	return r
}

// oneOwner checks that no two groups serve a slot, and that none is lost: if nobody serves
// it, somebody holds it sealed.
func (w *carryWorld) oneOwner(s shardmap.Slot) {
	owners, sealed := 0, 0
	for _, id := range inOrder(w.groups)[1:] {
		switch w.groups[id].m.View(s).Holding {
		case shardmap.HoldsOwned:
			owners++
		case shardmap.HoldsSealed:
			sealed++
		}
	}
	if owners > 1 || owners+sealed == 0 {
		w.fail("slot %d has %d owners, and %d groups hold it sealed", s, owners, sealed)
	}
}

// tick lets a little time pass.
func (w *carryWorld) tick() {
	w.now += time.Millisecond
	for i := 0; i < len(w.later); {
		// What comes at the same time comes in order; what it adds is later.
		if e := w.later[i]; e.at <= w.now {
			w.later = slices.Delete(w.later, i, i+1)
			e.do()
		} else {
			i++
		}
	}
	for _, n := range w.nodes {
		if !n.up && w.now >= n.upAt {
			n.up, n.table = true, w.table
			n.carrier, n.core = NewCarrier(n.id), New(n.id)
			n.carrier.Table(w.now, w.table)
			w.note("n%d is back", n.id)
		}
	}
	for _, id := range inOrder(w.groups) {
		g := w.groups[id]
		if g.leader == nil && w.now >= g.electAt {
			if n := w.nodes[w.rnd.IntN(len(w.nodes))]; n.up {
				w.elect(g, n)
			}
		}
	}
	w.ask()
	w.serve()
	for _, n := range w.nodes {
		if n.up && (n.news || w.now >= n.next) {
			w.turn(n)
		}
	}
}

func (w *carryWorld) turn(n *carryNode) {
	n.news = false
	actions, next := n.carrier.Turn(w.now)
	n.next = next
	w.bounded(n.carrier)
	w.acts += len(actions)
	for _, a := range actions {
		w.carry(n, a)
		if !w.calm && w.rnd.IntN(400) == 0 {
			w.die(n)
			return
		}
	}
	if w.groups[0].leader != n {
		return
	}
	for _, o := range w.nodes {
		if o != n {
			n.core.Heard(w.now, o.id, 0, true)
		}
	}
	acts, after := n.core.Turn(w.now)
	n.next = min(n.next, after)
	core := n.core
	for i := range acts {
		a := &acts[i]
		w.after(w.delay(), func() {
			if n.core != core || !n.up {
				return
			}
			n.news = true
			switch g := w.groups[a.Group]; {
			case a.Kind == Propose && w.groups[0].leader == n:
				core.Ended(w.now, a.Number, w.tell(a.Payload))
			case a.Kind == Ask:
				core.Report(w.now, a.Number, w.report(a.Node))
				core.Ended(w.now, a.Number, nil)
			case a.Kind == View && g.leader != nil && g.leader.id == a.Node:
				r := &wire.SlotViewAnswer{Group: a.Group, At: g.m.Applied()}
				for s := range slotsIn(a.Slots) {
					r.Rows = append(r.Rows, g.m.View(s))
				}
				core.Viewed(w.now, a.Number, r)
			default:
				core.Ended(w.now, a.Number, raft.ErrNotLeader)
			}
		})
	}
}

// report is what a node says of the groups that it leads.
func (w *carryWorld) report(id raft.NodeID) *Report {
	r := new(Report)
	for _, g := range inOrder(w.groups) {
		if lead := w.groups[g].leader; lead == nil || lead.id != id {
			continue
		}
		row, _ := w.table.Group(g)
		m := raft.Membership{Next: row.Next}
		for _, o := range row.Replicas {
			m.Voters = append(m.Voters, raft.Member{Replica: o.Replica, Node: o.Node, Goal: raft.GoalVoter})
			m.Next = max(m.Next, o.Replica+1)
		}
		r.Groups = append(r.Groups, wire.ReportedGroup{Group: g, Incarnation: row.Incarnation, Term: w.groups[g].term, At: raft.LogID{Term: 1, Index: 1}, Settled: true, Membership: m.Append(nil)})
	}
	return r
}

// bounded checks what a carrier holds.
func (w *carryWorld) bounded(c *Carrier) {
	var held, largest int64
	flying := 0
	for _, k := range c.order {
		if k.stream != nil && !k.sealed() {
			held += k.stream.size
			largest = max(largest, k.stream.size)
		}
	}
	for _, f := range c.flights {
		flying += f.bytes
	}
	w.heldMax = max(w.heldMax, held)
	if held > max(copyBytesMax, largest) {
		w.fail("n%d holds copies of %d bytes of slots", c.self, held)
	}
	if most := carryBytesMax + len(w.groups)*lastBytesMax + shardmap.ChunkSize*len(w.groups); flying > most {
		w.fail("n%d has %d bytes under way, at most %d", c.self, flying, most)
	}
}

// die stops a node.
func (w *carryWorld) die(n *carryNode) {
	if !n.up {
		return
	}
	for _, g := range w.groups {
		if g.leader == n {
			g.leader, g.electAt = nil, w.now+time.Duration(w.rnd.IntN(1500))*time.Millisecond
		}
	}
	for _, k := range n.carrier.order {
		k.end() // the memory of a process goes with it
	}
	n.up, n.upAt = false, w.now+time.Duration(w.rnd.IntN(4000))*time.Millisecond
	w.note("n%d dies", n.id)
}

// standing notes how moves, carriers and jobs stand.
func (w *carryWorld) standing() {
	for _, m := range w.table.Moves {
		w.note("move %+v", m)
		for s := m.SlotRange.From; s <= m.SlotRange.To; s++ {
			w.note("  %d at source %+v", s, w.groups[m.From].m.View(s))
			w.note("  %d at target %+v", s, w.groups[m.To].m.View(s))
		}
	}
	for _, n := range w.nodes {
		for _, k := range n.carrier.order {
			w.note("n%d: %+v", n.id, *k)
			if k.stream != nil {
				w.note("  stream %+v", *k.stream)
			}
		}
		w.note("n%d: flights %d", n.id, len(n.carrier.flights))
	}
	for _, j := range w.table.Jobs {
		w.note("job %+v", j)
	}
}

// order orders a job that moves slots; nothing if it is refused.
func (w *carryWorld) order(kind shardmap.JobKind, to raft.GroupID, slots ...shardmap.Slot) uint64 {
	j := shardmap.NewJob{Kind: kind}
	for _, r := range shardmap.SlotRanges(slots) {
		j.Targets = append(j.Targets, shardmap.SlotTarget{SlotRange: r, To: to})
	}
	if w.groups[0].leader == nil || w.tell(append1(shardmap.AppendNewJob(nil, &j))) != nil {
		return 0
	}
	id := w.table.Jobs[len(w.table.Jobs)-1].ID
	w.note("job %d: %s %v to %s", id, kind, j.Targets, to)
	return id
}

func (w *carryWorld) state(id uint64, s shardmap.JobState) {
	if w.groups[0].leader != nil {
		_ = w.tell(append1(shardmap.AppendJobState(nil, &shardmap.SetJobState{ID: id, State: s})))
	}
}

// ended reports whether all moves are closed, and all jobs over.
func (w *carryWorld) ended() bool {
	return len(w.table.Moves) == 0 && !slices.ContainsFunc(w.table.Jobs, func(j shardmap.Job) bool { return j.Kind.AboutSlots() && !j.State.Finished() })
}

// over reports whether no slot job is left, and no carrier has anything to do.
func (w *carryWorld) over() bool {
	if !w.ended() || len(w.asks) > 0 {
		return false
	}
	for _, n := range w.nodes {
		if !n.up || len(n.carrier.order) > 0 {
			return false
		}
	}
	return true
}

// whole checks that each slot has its one owner, which the table names too, with all that
// clients were told and the outcomes of their last writes, and that no group has anything
// left of a move.
func (w *carryWorld) whole() {
	w.t.Helper()
	for s := range shardmap.Slot(shardmap.Slots) {
		for _, id := range inOrder(w.groups)[1:] {
			v := w.groups[id].m.View(s)
			owns := w.table.Slots[s] == id
			if owns != (v.Holding == shardmap.HoldsOwned) || v.Holding == shardmap.HoldsSealed || v.Import.Number != 0 || len(v.Decisions) > 0 {
				w.fail("group %d, slot %d of group %d by the table: %+v", id, s, w.table.Slots[s], v)
			}
		}
	}
	for i := 0; i < len(w.keys); i += 4 {
		s := shardmap.SlotOf(w.keys[i])
		w.holds(w.groups[w.table.Slots[s]], s)
	}
	for _, session := range inOrder(w.done) {
		r := w.done[session]
		w.applied(w.groups[w.table.Slots[r.c.Slot]], r, w.apply(w.groups[w.table.Slots[r.c.Slot]], &r.c))
	}
	for _, id := range inOrder(w.groups)[1:] {
		if n := w.groups[id].m.CopiesOut(); n > 0 {
			w.fail("group %d: %d copies are out", id, n)
		}
	}
}
