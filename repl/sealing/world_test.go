package sealing

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/puretest"
	"muster/shardmap"
	"muster/shardmap/points"
	"muster/shardmap/points/block"
)

// The core must decide by nothing but what it is told.
func TestCoreIsPure(t *testing.T) {
	puretest.Check(t, []string{"cmp", "fmt", "math", "math/bits", "slices", "muster/raft", "muster/shardmap", "muster/shardmap/points/block", "muster/shardmap/points/shard"},
		map[string][]string{"time": {"Duration", "Second", "Minute", "Hour"}})
}

const (
	worldNodes  = 3
	worldGroups = 2
	// A value takes as much in the world, so that few of them reach the limits.
	headValue = 1 << 20
	fileValue = 1 << 20
)

var worldLimits = Limits{Soft: 48 << 20, Hard: 96 << 20}

// replica is one of a node.
type replica struct {
	state     *state
	current   int // entries that it has to apply to be current
	snapshots []*state
	disk      map[block.Sum]ids
	term      uint64 // in which it believes to lead; 0: it does not
	heard     map[shardmap.ShardID]bool
}

// listed are the files that the kept snapshots list.
func (r *replica) listed() (sums []block.Sum) {
	for _, s := range r.snapshots {
		sums = append(sums, s.files()...)
	}
	return sums
}

// running is a task of a node.
type running struct {
	Action
	ends Now
}

type worldNode struct {
	core     *Core
	up       bool
	full     bool // its disk
	hasty    bool // a replica of it was elected that had much to apply
	replicas []*replica
	tasks    []running
}

// worldLog is the log of a group, with what was proposed and may get into it.
type worldLog struct {
	entries []entry
	pending []entry
	lead    int // a node; -1: nobody
	term    uint64
	// written is what the entries have brought to each shard.
	written map[shardmap.ShardID]ids
}

type world struct {
	nodes   []*worldNode
	logs    []*worldLog
	now     Now
	rnd     *rand.Rand
	over    map[shardmap.WindowID]bool
	gone    map[shardmap.WindowID]bool
	changed bool // the turn before may have left something for this one
	calm    bool // nothing fails any more, and nobody writes
	wake    Now
	most    int64 // that the heads of a node took
	did     map[string]int
	failed  error
}

const worldWindows = 4

func newWorld(seed uint64) *world {
	w := &world{rnd: rand.New(rand.NewPCG(seed, 48)), over: map[shardmap.WindowID]bool{}, gone: map[shardmap.WindowID]bool{}, did: map[string]int{}, now: time.Second}
	for range worldGroups {
		w.logs = append(w.logs, &worldLog{lead: -1, written: map[shardmap.ShardID]ids{}})
	}
	for n := range worldNodes {
		x := &worldNode{}
		for range worldGroups {
			x.replicas = append(x.replicas, &replica{disk: map[block.Sum]ids{}})
		}
		w.nodes = append(w.nodes, x)
		w.start(n)
	}
	return w
}

func groupID(g int) raft.GroupID { return raft.GroupID(g + 1) }

func (w *world) fails(format string, a ...any) {
	if w.failed == nil {
		w.failed = fmt.Errorf(format, a...)
	}
}

// start starts a node with what its disk has.
func (w *world) start(n int) {
	x := w.nodes[n]
	x.up, x.tasks, x.core = true, nil, New(raft.NodeID(n+1), worldLimits)
	for g, r := range x.replicas {
		r.state, r.current, r.term = newState(), len(w.logs[g].entries), 0
		if k := len(r.snapshots); k > 0 {
			r.state = r.snapshots[k-1].copy()
		}
		x.core.Disk(groupID(g), slices.Collect(maps.Keys(r.disk)))
		x.core.Snapshots(groupID(g), r.listed())
		w.handIn(n, g)
	}
}

// crash stops a node in the middle of what it does.
func (w *world) crash(n int) {
	x := w.nodes[n]
	for _, t := range x.tasks {
		r := x.replicas[t.Group-1]
		switch done := w.rnd.IntN(2) == 0; {
		case t.Kind == Make && done:
			if content, ok := w.content(r, &t.Action); ok {
				r.disk[content.name()] = content
			}
		case t.Kind == Remove && done:
			delete(r.disk, t.Sum)
		}
	}
	x.up, x.tasks = false, nil
	for _, l := range w.logs {
		if l.lead == n {
			w.elect(l, -1)
		}
	}
	w.did["crash"]++
}

// elect has another node lead. Proposals of the one before may get into the log first.
func (w *world) elect(l *worldLog, n int) {
	for _, e := range l.pending {
		if w.rnd.IntN(2) == 0 {
			w.commit(l, e)
		}
	}
	l.pending, l.lead = nil, n
	l.term++
}

func (w *world) commit(l *worldLog, e entry) {
	l.entries = append(l.entries, e)
	if e.ids != nil {
		l.written[e.shard] = l.written[e.shard].with(e.ids)
	}
}

// handIn hands in a replica whole.
func (w *world) handIn(n, g int) {
	x, r := w.nodes[n], w.nodes[n].replicas[g]
	var views []ShardView
	r.heard = map[shardmap.ShardID]bool{}
	for id, s := range r.state.shards {
		views = append(views, w.view(s))
		r.heard[id] = true
	}
	x.core.Shards(groupID(g), views)
	x.core.Group(groupID(g), w.groupView(n, g))
}

// told hands in what has changed.
func (w *world) told(n, g int) {
	x, r := w.nodes[n], w.nodes[n].replicas[g]
	for id := range r.heard {
		if r.state.shards[id] == nil {
			x.core.Dropped(groupID(g), id)
			delete(r.heard, id)
		}
	}
	for id, s := range r.state.shards {
		r.heard[id] = true
		x.core.Shard(groupID(g), w.view(s))
	}
	x.core.Group(groupID(g), w.groupView(n, g))
}

func (w *world) groupView(n, g int) GroupView {
	r := w.nodes[n].replicas[g]
	v := GroupView{Term: r.term, Current: r.state.applied >= r.current}
	for i, o := range w.nodes {
		v.Others = append(v.Others, raft.NodeID(i+1))
		if i != n && o.up {
			v.Pressed = v.Pressed || o.core.Presses()
		}
	}
	return v
}

func (w *world) view(s *worldShard) ShardView {
	v := ShardView{Ref: s.ref, Seals: s.seals, HeadBytes: int64(len(s.head)+len(s.fills)) * headValue, HeadValues: int64(len(s.head) + len(s.fills)), HeadSince: s.since, Files: s.files, Over: w.over[s.ref.Window], Gone: w.gone[s.ref.Window]}
	for _, f := range s.frozen {
		v.Frozen = append(v.Frozen, FrozenView{Number: f.number, Older: f.reads(), Bytes: int64(len(f.ids)+len(f.fills)) * headValue, Confirmed: f.confirmed})
	}
	return v
}

// content is what a Make would write; false: something of it is not here.
func (w *world) content(r *replica, a *Action) (ids, bool) {
	s := r.state.shards[a.Shard]
	if s == nil {
		return nil, false
	}
	for _, f := range s.frozen {
		if f.number == a.Number {
			return f.content(r.disk)
		}
	}
	return nil, false
}

// does carries out an action, or begins it.
func (w *world) does(n int, a Action) {
	x, r, l := w.nodes[n], w.nodes[n].replicas[a.Group-1], w.logs[a.Group-1]
	w.did[a.Kind.String()]++
	switch a.Kind {
	case Propose:
		if p, err := shardmap.ReadPointsSealed(&a.Command); err == nil && r.disk[p.Sum] == nil {
			w.fails("node %d proposes the name of a file of %s that is not durable", n, p.Shard)
		}
		if l.lead == n && r.term == l.term && (w.calm || w.rnd.IntN(5) > 0) {
			l.pending = append(l.pending, entry{command: a.Command})
		}
	case Make:
		if _, ok := w.content(r, &a); !ok {
			w.fails("node %d is to make seal %d of %s, of which something is not here", n, a.Number, a.Shard)
		}
		fallthrough
	case Fetch, Remove:
		x.tasks = append(x.tasks, running{a, w.now + time.Duration(w.rnd.IntN(40))*time.Second})
	case Release:
		w.release(n, r, &a)
	case Wrong:
		w.fails("node %d is to be fenced: it makes %s of seal %d, not %s", n, a.Own, a.Number, a.Sum)
	}
}

// release lets a frozen head go, and sees that its points are found elsewhere.
func (w *world) release(n int, r *replica, a *Action) {
	s := r.state.shards[a.Shard]
	if s == nil {
		return
	}
	s.frozen = slices.DeleteFunc(s.frozen, func(f *frozenHead) bool { return f.number == a.Number })
	for _, f := range s.files {
		if f.Sum == a.Sum && r.disk[a.Sum] == nil {
			w.fails("node %d lets go of the head of seal %d, and has no file of it", n, a.Number)
		}
	}
}

var (
	errFile  = errors.New("a sector can't be written")
	errNot   = errors.New("it has no such file")
	errSpace = errors.New("no space left")
)

// end ends a task that is under way.
func (w *world) end(n int, t *running) {
	x, r := w.nodes[n], w.nodes[n].replicas[t.Group-1]
	var o Outcome
	breaks := !w.calm && w.rnd.IntN(8) == 0
	if t.Kind != Remove && x.full {
		w.did["full"]++
		x.core.Ended(t.Task, w.now, Outcome{Err: errSpace, Full: true})
		return
	}
	switch t.Kind {
	case Make:
		content, here := w.content(r, &t.Action)
		if o.Err = errFile; here {
			o.File = shardmap.PointsSealed{Sum: content.name(), Values: uint64(len(content)), Size: int64(len(content)) * fileValue}
			if !breaks {
				r.disk[o.File.Sum], o.Err = content, nil
			}
		}
	case Fetch:
		from := w.nodes[t.From-1]
		if content, has := from.replicas[t.Group-1].disk[t.Sum]; !from.up || !has || breaks {
			w.did["not fetched"]++
			o.Err = errNot
		} else {
			r.disk[t.Sum] = content
		}
	case Remove:
		if slices.Contains(r.listed(), t.Sum) || slices.Contains(r.state.files(), t.Sum) && r.state.applied >= r.current && !w.replaceable(r, t.Sum) {
			w.fails("node %d removes a file that its state or a snapshot lists", n)
		}
		if delete(r.disk, t.Sum); breaks {
			o.Err = errFile
		}
	}
	x.core.Ended(t.Task, w.now, o)
}

// replaceable reports whether a file that is listed can be made or fetched again: it was on its way out when a seal
// made the same one again.
func (w *world) replaceable(r *replica, sum block.Sum) bool {
	for _, s := range r.state.shards {
		for _, f := range s.frozen {
			if f.confirmed != nil && f.confirmed.Sum == sum {
				return true
			}
		}
	}
	return false
}

// turn has each node go on.
func (w *world) turn() error {
	w.wake = never
	for g, l := range w.logs {
		w.order(g, l)
	}
	for n, x := range w.nodes {
		if !x.up {
			continue
		}
		w.work(n)
		for g, r := range x.replicas {
			w.advance(n, g, r)
			w.snapshot(n, g, r)
		}
		actions, next := x.core.Turn(w.now)
		for _, a := range actions {
			w.does(n, a)
		}
		w.wake = min(w.wake, next)
		for _, t := range x.tasks {
			w.wake = min(w.wake, t.ends)
		}
		w.bounded(n)
	}
	for _, l := range w.logs {
		if len(l.pending) > 0 {
			w.wake = w.now
		}
	}
	return w.failed
}

// order has a group's leader put into the log what was proposed, and what users write.
func (w *world) order(g int, l *worldLog) {
	if l.lead < 0 {
		return
	}
	x := w.nodes[l.lead]
	r := x.replicas[g]
	if r.state.applied == len(l.entries) && r.term != l.term {
		r.term = l.term
		w.told(l.lead, g)
	}
	keep := l.pending[:0]
	for _, e := range l.pending {
		if w.calm || w.rnd.IntN(3) > 0 {
			w.commit(l, e)
		} else {
			keep = append(keep, e)
		}
	}
	l.pending = keep
	if w.calm || r.term != l.term {
		return
	}
	if x.core.Refuses() {
		w.did["refused"]++
		return
	}
	window := shardmap.WindowID(1 + w.rnd.IntN(worldWindows))
	if w.gone[window] || w.over[window] && w.rnd.IntN(10) > 0 {
		return
	}
	e := entry{shard: shardmap.ShardID{Window: window, Shard: points.Shard(w.rnd.IntN(2))}, ids: ids{}, fill: w.rnd.IntN(4) == 0}
	span := []int{40, 150, 300, 1500}[window-1]
	for range 1 + w.rnd.IntN(8) {
		e.ids[int(window)<<20+int(e.shard.Shard)<<16+w.rnd.IntN(span)] = struct{}{}
	}
	w.commit(l, e)
}

// work ends the tasks of a node that are over.
func (w *world) work(n int) {
	x := w.nodes[n]
	var over []running
	x.tasks = slices.DeleteFunc(x.tasks, func(t running) bool {
		if t.ends > w.now {
			return false
		}
		over = append(over, t)
		return true
	})
	for _, t := range over {
		w.end(n, &t)
	}
}

// advance has a replica apply some entries, or take a snapshot of another one if it is far behind.
func (w *world) advance(n, g int, r *replica) {
	l := w.logs[g]
	if l.lead != n && r.term != 0 && (w.calm || w.rnd.IntN(4) == 0) {
		r.term = 0 // it hears of the other
	}
	if behind := len(l.entries) - r.state.applied; behind > 40 && w.rnd.IntN(3) == 0 {
		from := w.nodes[w.rnd.IntN(worldNodes)].replicas[g]
		if k := len(from.snapshots); k > 0 && from.snapshots[k-1].applied > r.state.applied {
			s := from.snapshots[k-1].copy()
			r.snapshots = append(r.snapshots, s)
			w.nodes[n].core.Snapshots(groupID(g), r.listed())
			r.state = s.copy()
			w.handIn(n, g)
			w.did["installed"]++
			return
		}
	}
	for range w.rnd.IntN(12) {
		if r.state.applied == len(l.entries) {
			break
		}
		if l.lead != n && w.nodes[n].core.Pauses() {
			w.did["paused"]++
			break
		}
		if err := r.state.apply(&l.entries[r.state.applied], w.now); err != nil {
			w.fails("node %d: %w", n, err)
		}
		w.told(n, g)
	}
	if r.state.applied < len(l.entries) && !(l.lead != n && w.nodes[n].core.Pauses()) {
		w.wake = w.now
	}
	w.told(n, g)
}

const snapshotsKept = 2

// snapshot has a replica write a snapshot now and then.
func (w *world) snapshot(n, g int, r *replica) {
	if w.rnd.IntN(15) > 0 || w.calm {
		return
	}
	if settled, why := w.nodes[n].core.Settled(groupID(g)); !settled {
		if w.did["unsettled"]++; why == "" {
			w.fails("node %d is not settled, and does not say why", n)
		}
		return
	}
	w.write(n, g, r)
	if w.rnd.IntN(2) == 0 && len(r.snapshots) > snapshotsKept {
		r.snapshots = r.snapshots[1:]
		w.nodes[n].core.Snapshots(groupID(g), r.listed())
	}
}

// write writes a snapshot.
func (w *world) write(n, g int, r *replica) {
	s := r.state.copy()
	for _, sum := range s.files() {
		if r.disk[sum] == nil {
			w.fails("node %d writes a snapshot that lists a file which is not here", n)
		}
	}
	r.snapshots = append(r.snapshots, s)
	w.nodes[n].core.Snapshots(groupID(g), r.listed())
	w.did["snapshot"]++
}

// fault has something go wrong, or come right again.
func (w *world) fault() {
	n := w.rnd.IntN(worldNodes)
	x := w.nodes[n]
	switch w.rnd.IntN(9) {
	case 0:
		if x.up {
			w.crash(n)
		}
	case 1, 2:
		if !x.up {
			w.start(n)
		}
	case 3:
		x.full = !x.full && w.rnd.IntN(2) == 0
	case 4, 5, 6:
		if x.up {
			w.elect(w.logs[w.rnd.IntN(worldGroups)], n)
		}
	case 7:
		w.elect(w.logs[w.rnd.IntN(worldGroups)], -1)
	case 8:
		w.damage(n)
	}
}

// damage takes a file that another replica has.
func (w *world) damage(n int) {
	g := w.rnd.IntN(worldGroups)
	r := w.nodes[n].replicas[g]
	for _, sum := range slices.SortedFunc(maps.Keys(r.disk), func(a, b block.Sum) int { return slices.Compare(a[:], b[:]) }) {
		for m, o := range w.nodes {
			if m != n && o.replicas[g].disk[sum] != nil && w.nodes[n].up && !slices.ContainsFunc(w.nodes[n].tasks, func(t running) bool { return t.Kind == Make }) {
				delete(r.disk, sum)
				w.nodes[n].core.Lost(groupID(g), sum)
				w.did["damage"]++
				return
			}
		}
	}
}
