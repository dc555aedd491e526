package hinting

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/puretest"
	"muster/shardmap"
)

// The core must decide by nothing but what it is told.
func TestCoreIsPure(t *testing.T) {
	puretest.Check(t, []string{"cmp", "fmt", "math", "slices", "muster/raft", "muster/shardmap"},
		map[string][]string{"time": {"Duration", "Second", "Minute", "Hour", "Millisecond"}})
}

// The world has one node with hints for three groups. Each hint brings one value to one of few keys, so that hints, writes and
// deletes meet there. The node crashes in the middle of what it does, its disk fails, groups come and go, and some
// hints are bad: refused for good, never taken, or dropped in part.
const (
	worldGroups = 3
	worldKeys   = 4
	worldBytes  = 10
	worldPoints = 2
	worldSteps  = 400
	worldRuns   = 300
)

var worldLimits = Limits{Group: 12 * worldBytes, Node: 30 * worldBytes, Age: time.Hour}

// nature is what becomes of a hint at its group.
type nature uint8

const (
	good nature = iota
	refusedForGood
	neverTaken // its group answers other hints
	droppedInPart
)

// kept is a hint on the disk of the node.
type kept struct {
	Hint
	body   shardmap.PointsBody
	key    int
	value  int
	at     uint64 // the index that its group had when it was taken
	nature nature
}

type cell struct {
	value int
	fill  bool
}

// worldGroup is the state of a group, which no crash takes away.
type worldGroup struct {
	up      bool
	index   uint64
	cells   map[int]cell
	deleted map[int]uint64 // by key: the index of the last delete
	came    map[int]bool   // values of hints that were in an entry
}

type world struct {
	rnd    *rand.Rand
	core   *Core
	now    Now
	wake   time.Duration
	groups []*worldGroup
	calm   bool // nothing fails any more but what is bad for ever

	// On the disk.
	disk     map[uint64]kept
	letters  map[int]bool // values of hints
	numbered uint64       // the highest number that was there

	writes   map[uint64]kept // handed to the disk, and not synced
	tasks    []Action
	answered map[int]kept // by value: what somebody was told is hinted
	purged   map[int]bool
	arrived  int // points of hints that have arrived, since the last start
	last     int // value
	did      map[string]int
	failed   error
}

func newWorld(seed uint64, did map[string]int) *world {
	w := &world{rnd: rand.New(rand.NewPCG(seed, 52)), disk: map[uint64]kept{}, letters: map[int]bool{}, answered: map[int]kept{}, purged: map[int]bool{}, did: did}
	w.now = Now{Host: time.Second, Wall: 1e18}
	for range worldGroups {
		w.groups = append(w.groups, &worldGroup{up: true, cells: map[int]cell{}, deleted: map[int]uint64{}, came: map[int]bool{}})
	}
	w.start()
	return w
}

func (w *world) fails(format string, a ...any) {
	if w.failed == nil {
		w.failed = fmt.Errorf(format, a...)
	}
}

// start starts the node with what its disk has.
func (w *world) start() {
	w.core, w.tasks, w.writes, w.arrived = New(worldLimits), nil, map[uint64]kept{}, 0
	var all []Hint
	for _, n := range slices.Sorted(maps.Keys(w.disk)) {
		all = append(all, w.disk[n].Hint)
	}
	w.rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	w.core.Restore(all, w.numbered)
}

// crash stops the node: each action that was under way has reached its end or not, and nobody heard of it.
func (w *world) crash() {
	w.did["crash"]++
	for _, n := range slices.Sorted(maps.Keys(w.writes)) {
		k := w.writes[n]
		if w.rnd.IntN(2) == 0 {
			w.disk[k.Number] = k
			w.numbered = max(w.numbered, k.Number)
		}
	}
	for i := range w.tasks {
		if a := &w.tasks[i]; w.rnd.IntN(2) == 0 {
			w.carryOut(a)
		}
	}
	w.start()
}

// carryOut does what an action asks for, and returns how it ended.
func (w *world) carryOut(a *Action) Outcome {
	k, there := w.disk[a.Hint.Number]
	if !there && a.Kind != Forget {
		w.fails("%s of hint %d, which is on no disk", a.Kind, a.Hint.Number)
		return Outcome{Kind: Later}
	}
	switch a.Kind {
	case Propose:
		return w.bring(&k)
	case Bury:
		w.letters[k.value] = true
		w.did["bury"]++
	case Forget:
		delete(w.disk, a.Hint.Number)
	}
	return Outcome{Kind: Done}
}

// bring puts a hint into the log of its group.
func (w *world) bring(k *kept) Outcome {
	g := w.groups[k.Group-1]
	switch {
	case !g.up || k.nature == neverTaken:
		return Outcome{Kind: Later, Why: "no leader"}
	case k.nature == refusedForGood:
		return Outcome{Kind: Refused, Why: "its window was dropped"}
	}
	g.index++
	o := Outcome{Kind: Done}
	left := uint64(worldPoints)
	if k.nature == droppedInPart {
		o.Came.Dropped, left = 1, left-1
	}
	have, there := g.cells[k.key]
	switch {
	case k.body.Mode == shardmap.PointsFill && g.deleted[k.key] > k.body.Taken:
		o.Came.Deleted = left
	case k.body.Mode == shardmap.PointsFill && there:
		o.Came.Superseded = left
		if have.value != k.value {
			w.did["superseded"]++
		}
	default:
		if there && have.value > k.value && !have.fill {
			w.fails("hint %d of value %d replaces %d, which is newer", k.Number, k.value, have.value)
		}
		g.cells[k.key] = cell{k.value, true}
		o.Came.Stored = left
	}
	if o.Came.Stored > 0 && g.deleted[k.key] > k.at {
		w.fails("hint %d undoes the delete at %d", k.Number, g.deleted[k.key])
	}
	g.came[k.value] = true
	return o
}

func (w *world) turn() {
	actions, next := w.core.Turn(w.now)
	w.wake = next
	if next <= w.now.Host {
		w.fails("the core wants to be called at once, again and again")
	}
	for _, a := range actions {
		if a.Kind == Answer {
			k, there := w.disk[a.Hint.Number]
			if !there {
				k = w.writes[a.Hint.Number]
			}
			w.answered[k.value] = k
			continue
		}
		w.tasks = append(w.tasks, a)
	}
	if proposed := w.proposed(); len(proposed) > ProposedMax {
		w.fails("%d hints are under way", len(proposed))
	}
}

func (w *world) proposed() (all []Action) {
	for _, a := range w.tasks {
		if a.Kind == Propose {
			all = append(all, a)
		}
	}
	return all
}

// take has the node take a hint.
func (w *world) take() {
	w.last++
	g := w.rnd.IntN(worldGroups)
	k := kept{key: w.rnd.IntN(worldKeys), value: w.last, at: w.groups[g].index}
	if w.rnd.IntN(4) == 0 {
		k.nature = nature(1 + w.rnd.IntN(3))
	}
	AsFill(&k.body, k.at)
	h, err := w.core.Take(w.now, raft.GroupID(g+1), worldBytes, worldPoints)
	if err != nil {
		w.did["full"]++
		return
	}
	if h.Number <= w.numbered {
		w.fails("number %d is given twice", h.Number)
	}
	k.Hint = h
	w.writes[h.Number] = k
}

// synced ends the writes of hints that are under way: all of them, for they go into one write.
func (w *world) synced() {
	err := error(nil)
	if !w.calm && w.rnd.IntN(8) == 0 {
		err = fmt.Errorf("no room")
	}
	for _, n := range slices.Sorted(maps.Keys(w.writes)) {
		if err == nil {
			w.disk[n] = w.writes[n]
			w.numbered = max(w.numbered, n)
		}
		w.core.Kept(n, err)
	}
	clear(w.writes)
}

// end ends one of the actions that are under way.
func (w *world) end() {
	if len(w.tasks) == 0 {
		return
	}
	i := w.rnd.IntN(len(w.tasks))
	a := w.tasks[i]
	w.tasks = slices.Delete(w.tasks, i, i+1)
	fails := !w.calm && w.rnd.IntN(6) == 0
	if fails && a.Kind != Propose {
		w.did["disk"]++
		w.core.Ended(w.now, a.Hint.Number, Outcome{Kind: Later, Why: "no room"})
		return
	}
	o := w.carryOut(&a)
	if fails && o.Kind == Done {
		w.did["maybe"]++
		o = Outcome{Kind: Maybe, Why: "no answer"} // it is in the log, and the answer was lost
	}
	if o.Kind == Done && a.Kind == Propose {
		w.arrived += worldPoints
	}
	w.core.Ended(w.now, a.Hint.Number, o)
	if t := w.core.Totals(); t.Stored+t.Superseded+t.Deleted+t.Dropped != uint64(w.arrived) {
		w.fails("the totals are %+v, and %d points have arrived", t, w.arrived)
	}
}

// step does one thing at random.
func (w *world) step() {
	g := w.groups[w.rnd.IntN(worldGroups)]
	switch n := w.rnd.IntN(40); {
	case n < 10:
		w.take()
	case n < 16:
		w.synced()
	case n < 30:
		w.end()
	case n < 32:
		g.up = !g.up
	case n < 34 && g.up:
		w.last++
		g.index++
		g.cells[w.rnd.IntN(worldKeys)] = cell{w.last, false}
	case n == 34 && g.up:
		key := w.rnd.IntN(worldKeys)
		g.index++
		delete(g.cells, key)
		g.deleted[key] = g.index
	case n == 35:
		w.crash()
	case n == 36 && w.rnd.IntN(8) == 0:
		w.purge(raft.GroupID(1 + w.rnd.IntN(worldGroups)))
	case n == 37 && w.rnd.IntN(8) == 0:
		w.core.Retry(All)
	default:
		w.now.Host += time.Duration(w.rnd.Int64N(int64(2 * time.Second)))
		w.now.Wall += w.rnd.Int64N(int64(20 * time.Second))
	}
	w.turn()
}

// purge gives up what waits for a group.
func (w *world) purge(g raft.GroupID) {
	want := 0
	for _, k := range w.disk {
		if k.Group == g {
			w.purged[k.value] = true
			want++
		}
	}
	if hints, points := w.core.Purge(g); hints > want || points != uint64(hints*worldPoints) {
		w.fails("%d hints with %d points are purged, of %d", hints, points, want)
	}
	w.did["purge"]++
}

// settle has all groups up and nothing fail, until nothing is left to do but with what is never taken.
func (w *world) settle() {
	w.calm = true
	for _, g := range w.groups {
		g.up = true
	}
	for range 5000 {
		if len(w.writes) > 0 {
			w.synced()
		}
		w.end()
		w.turn()
		if len(w.tasks) > 0 {
			continue
		}
		if !slices.ContainsFunc(slices.Collect(maps.Values(w.disk)), func(k kept) bool { return k.nature != neverTaken }) {
			break
		}
		w.now.Host = max(w.now.Host, w.wake)
	}
}

// randomWorld runs a world and returns what is wrong with it.
func randomWorld(seed uint64, did map[string]int) error {
	w := newWorld(seed, did)
	for range worldSteps {
		w.step()
		if w.failed != nil {
			return fmt.Errorf("seed %d: %w", seed, w.failed)
		}
	}
	w.settle()
	for value, k := range w.answered {
		g := w.groups[k.Group-1]
		_, waits := w.disk[k.Number]
		switch {
		case w.purged[value] || w.letters[value] && k.nature != good:
		case k.nature == neverTaken:
			if !waits {
				w.fails("the hint of value %d, which is never taken, is gone", value)
			}
		case k.nature == refusedForGood:
			w.fails("the hint of value %d, which is refused, is in no dead letter; on the disk: %t", value, waits)
		case !g.came[value] && !w.letters[value]:
			w.fails("the hint of value %d was answered, and has not come to its group; on the disk: %t", value, waits)
		case waits:
			w.fails("the hint of value %d has come to its group, and stays on the disk", value)
		}
	}
	// Age takes what no group takes.
	w.now.Wall += int64(worldLimits.Age)
	for range 5000 {
		w.now.Host += time.Second
		w.turn()
		w.end()
	}
	if len(w.disk) > 0 || w.core.Bytes() != 0 || len(w.core.Views()) > 0 {
		w.fails("%d hints are left on the disk, and %d bytes are counted", len(w.disk), w.core.Bytes())
	}
	for value, k := range w.answered {
		if k.nature == neverTaken && !w.letters[value] && !w.purged[value] {
			w.fails("the hint of value %d, which is never taken, is in no dead letter", value)
		}
	}
	if w.failed != nil {
		return fmt.Errorf("seed %d: %w", seed, w.failed)
	}
	return nil
}

// A hint that was answered for comes to its group, or stands in a dead letter, whatever crashes and fails; nothing that is newer
// gives way to it, and no bad hint keeps back others.
func TestWorlds(t *testing.T) {
	did := map[string]int{}
	for seed := range uint64(worldRuns) {
		if err := randomWorld(seed, did); err != nil {
			t.Fatal(err)
		}
	}
	for _, what := range []string{"crash", "bury", "full", "disk", "maybe", "purge", "superseded"} {
		if did[what] == 0 {
			t.Errorf("no world has met %q", what)
		}
	}
	t.Log(did)
}
