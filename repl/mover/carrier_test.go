package mover

import (
	"flag"
	"runtime"
	"slices"
	"testing"
	"time"

	"muster/raft"
	"muster/shardmap"
)

var carrySeeds = flag.Uint64("carryseeds", 40, "worlds of carriers")

// slots returns the slots that clients write to, and as many that they don't.
func (w *carryWorld) slots() (some []shardmap.Slot) {
	for i := 0; i < len(w.keys); i += 4 {
		s := shardmap.SlotOf(w.keys[i])
		some = append(some, s, (s+1)%shardmap.Slots)
	}
	slices.Sort(some)
	return slices.Compact(some)
}

// Whatever happens to runners, leaders and messages: each move ends once that is over, each
// slot has one owner with all that clients were told, and nothing is left behind.
func TestCarryWorlds(t *testing.T) {
	seeds := uint64(*carrySeeds)
	if testing.Short() {
		seeds = 12
	}
	total := map[shardmap.CommandKind]map[shardmap.StepOutcome]int{}
	for seed := range seeds {
		w := newCarryWorld(t, seed, 3, 6)
		playMoves(w)
		for kind, outcomes := range w.steps {
			if total[kind] == nil {
				total[kind] = map[shardmap.StepOutcome]int{}
			}
			for o, n := range outcomes {
				total[kind][o] += n
			}
		}
	}
	for k := shardmap.CommandChunk; k <= shardmap.CommandForget; k++ {
		t.Logf("%s: %v", k, total[k])
		if total[k][shardmap.StepDone] == 0 {
			t.Errorf("no %s took effect in any world", k)
		}
	}
}

// moveEndsWithin is how long a move takes at most once all is well again: what was lost
// late counts as under way, a group may have just begun to rest, and who helps waits.
const moveEndsWithin = 30 * time.Second

// playMoves has everything happen to a world, and then wants it to come to an end.
func playMoves(w *carryWorld) {
	w.calm = true
	w.run(200 * time.Millisecond)
	w.calm = false
	all := w.slots()
	if w.rnd.IntN(3) == 0 { // slots that take many pieces
		large := w.fill(w.groups[1], 2, 8, 200_000)
		all = append(append(append(all, large...), large...), large...)
	}
	for range 14 {
		switch w.rnd.IntN(11) {
		case 0, 1, 2, 3:
			var some []shardmap.Slot
			for range 1 + w.rnd.IntN(8) {
				some = append(some, all[w.rnd.IntN(len(all))])
			}
			kind := []shardmap.JobKind{shardmap.JobMove, shardmap.JobMove, shardmap.JobRebalance, shardmap.JobAssign}[w.rnd.IntN(4)]
			w.order(kind, raft.GroupID(1+w.rnd.IntN(3)), some...)
		case 4, 5:
			if n := len(w.table.Jobs); n > 0 {
				j := w.table.Jobs[w.rnd.IntN(n)]
				if !j.State.Finished() {
					w.state(j.ID, []shardmap.JobState{shardmap.JobPaused, shardmap.JobCancelled, shardmap.JobRunning}[w.rnd.IntN(3)])
				}
			}
		case 6:
			w.die(w.nodes[w.rnd.IntN(len(w.nodes))])
		case 7:
			g := w.groups[raft.GroupID(w.rnd.IntN(4))]
			w.depose(g)
		case 8: // a group without a leader for long
			g := w.groups[raft.GroupID(1+w.rnd.IntN(3))]
			w.depose(g)
			g.electAt += 4 * time.Second
		case 9, 10: // given up between a seal and its takeover
			for range 2000 {
				if w.tick(); w.sealedSomewhere() {
					break
				}
			}
			for _, j := range w.table.Jobs {
				if j.Kind.AboutSlots() && !j.State.Finished() && w.sealedSomewhere() {
					for _, m := range w.table.Moves {
						w.depose(w.groups[m.To])
					}
					w.state(j.ID, shardmap.JobCancelled)
				}
			}
		}
		w.run(time.Duration(w.rnd.IntN(1500)) * time.Millisecond)
	}
	w.note("heal")
	w.calm, w.quiet = true, true
	for _, j := range w.table.Jobs {
		if j.State == shardmap.JobPaused {
			w.until("there is a meta leader", time.Minute, func() bool { return w.groups[0].leader != nil })
			w.state(j.ID, shardmap.JobRunning)
		}
	}
	w.until("each move has ended", moveEndsWithin, func() bool { return w.ended() })
	w.until("nothing is left to do", 2*sweepPause, w.over)
	w.run(13 * time.Second) // what is late comes after all
	w.until("the last late steps have come to nothing", 2*sweepPause, w.over)
	w.whole()
}

// sealedSomewhere reports whether some slot is sealed.
func (w *carryWorld) sealedSomewhere() bool {
	for _, g := range w.groups {
		if g.m != nil && g.m.Sealed() > 0 {
			return true
		}
	}
	return false
}

// longest returns the longest time from a seal to its takeover.
func (w *carryWorld) longest() time.Duration { return slices.Max(w.pauses) }

// moved moves slots of a calm world from group 1 to group 2, and returns how long it took.
func (w *carryWorld) moved(slots ...shardmap.Slot) (shardmap.Job, time.Duration) {
	w.t.Helper()
	id := w.order(shardmap.JobMove, 2, slots...)
	began := w.now
	w.until("all slots are moved", time.Minute, func() bool { j, _ := w.table.Job(id); return j.State.Finished() })
	took := w.now - began
	j, _ := w.table.Job(id)
	if j.State != shardmap.JobDone || j.Done != j.Total || j.Bytes != j.BytesTotal || j.Bytes == 0 {
		w.fail("the job ends as %+v", j)
	}
	w.quiet = true
	w.until("nothing is left to do", 10*time.Second, w.over)
	w.whole()
	return j, took
}

func calmCarryWorld(t *testing.T, keys int) *carryWorld {
	w := newCarryWorld(t, 1, 2, keys)
	w.calm, w.disk = true, 100<<20
	w.run(2 * time.Second)
	return w
}

// While no slot moves, carriers ask for nothing: neither in a new cluster, once each leader
// has looked through its group, nor after a move.
func TestCarryIdle(t *testing.T) {
	w := newCarryWorld(t, 1, 2, 4)
	w.calm, w.quiet = true, true
	rest := func(what string, before int) {
		w.run(2 * sweepPause)
		acts := w.acts
		if acts-before > 2*len(w.groups) {
			t.Errorf("%s: %d actions", what, acts-before)
		}
		w.run(5 * time.Minute)
		if w.acts > acts {
			t.Errorf("%s: %d actions in five idle minutes", what, w.acts-acts)
		}
	}
	rest("a new cluster", 0)
	w.order(shardmap.JobMove, 2, 1, 2, 3)
	w.until("the slots are moved", time.Minute, w.over)
	rest("after a move", w.acts)
}

// Small slots go many at a time, while clients write to some of them: in the time that
// their bytes take and little more, with few entries, and none waits long while it is
// sealed.
func TestManySlotsMoveTogether(t *testing.T) {
	const slots, size = 512, 36_000
	w := calmCarryWorld(t, 20)
	some := w.fill(w.groups[1], slots, 4, size/4)
	w.entries, w.bytes = 0, 0
	_, took := w.moved(some...)
	t.Logf("%d slots of %d bytes in %s, %d entries in both groups, %d of chunks, longest pause %s", slots, size, took, w.entries, w.bytes, w.longest())
	if atMost := 3 * time.Duration(slots*size) * time.Second / time.Duration(w.disk); took > atMost {
		t.Errorf("it took %s, at most %s", took, atMost)
	}
	if w.entries > slots {
		t.Errorf("%d entries for %d slots", w.entries, slots)
	}
	if w.longest() > 60*time.Millisecond {
		t.Errorf("a slot was sealed for %s", w.longest())
	}
}

// A large slot that is written to is sealed with little left to send. Small ones that move
// at the same time are not sealed longer for it, and copies take no more memory than they may.
func TestLargeSlotMovesBesideSmallOnes(t *testing.T) {
	w := calmCarryWorld(t, 20)
	large := w.fill(w.groups[1], 1, 24, 1<<20)
	var hot []byte
	for key := range w.truth {
		if shardmap.SlotOf([]byte(key)) == large[0] {
			hot = []byte(key)
			break
		}
	}
	some := append(large, w.slots()...)
	w.keys = append(w.keys, hot, hot, hot, hot)
	_, took := w.moved(slices.DeleteFunc(some, func(s shardmap.Slot) bool { return w.table.Slots[s] != 1 })...)
	t.Logf("in %s, longest pause %s", took, w.longest())
	if w.longest() > 60*time.Millisecond {
		t.Errorf("a slot was sealed for %s", w.longest())
	}
}

// A slot takes, on its way, the memory that it takes at its target and little more, also
// while it is written to.
func TestLargeSlotTakesLittleMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("it moves 96 MiB")
	}
	const most, size = 64 << 20, 96 << 20
	w := calmCarryWorld(t, 20)
	large := w.fill(w.groups[1], 1, size>>20, 1<<20)
	hot := w.keys[0]
	for key := range w.truth {
		if shardmap.SlotOf([]byte(key)) == large[0] && string(key) < string(hot) {
			hot = []byte(key)
		}
	}
	w.keys = [][]byte{hot}
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before, more := heap(), int64(0)
	id := w.order(shardmap.JobMove, 2, large...)
	for {
		w.run(15 * time.Millisecond)
		if w.groups[2].m.Owns(large[0]) {
			break // the source still has it, and then drops it
		}
		held := min(int64(w.bytes), size)
		more = max(more, heap()-before-held)
		if j, _ := w.table.Job(id); j.State.Finished() {
			t.Fatalf("the job ended as %+v", j)
		}
	}
	t.Logf("at most %d MiB more than what the target has", more>>20)
	if more > most {
		t.Errorf("%d bytes more than what the target has, at most %d", more, most)
	}
	w.quiet = true
	w.until("nothing is left to do", 10*time.Second, w.over)
}

// What a cancelled job did stays done, and its row says how much that is: a person decides by it what
// to move back. Progress is noted with pauses, and such a job ends within one.
func TestCancelledJobSaysWhatItDid(t *testing.T) {
	w := calmCarryWorld(t, 20)
	some := w.fill(w.groups[1], 512, 4, 9000)
	id := w.order(shardmap.JobMove, 2, some...)
	moved := func() (n uint64) {
		for _, s := range some {
			if w.table.Slots[s] == 2 {
				n++
			}
		}
		return n
	}
	w.until("some slots are moved", time.Minute, func() bool { return moved() > 0 })
	w.state(id, shardmap.JobCancelled)
	w.until("the job has ended", time.Minute, func() bool { j, _ := w.table.Job(id); return j.State.Finished() })
	j, _ := w.table.Job(id)
	if n := moved(); j.State != shardmap.JobCancelled || j.Done != n || n == j.Total {
		t.Errorf("%d of %d slots are moved, and the job ends as %+v", n, len(some), j)
	}
	w.quiet = true
	w.until("nothing is left to do", 10*time.Second, w.over)
	w.whole()
}

// With slot-rate a node sends no more than that.
func TestSlotRate(t *testing.T) {
	w := calmCarryWorld(t, 20)
	some := w.fill(w.groups[1], 64, 4, 8000)
	const rate = 512 << 10
	if err := w.tell(append1(shardmap.AppendSetting(nil, &shardmap.Setting{Name: "slot-rate", Value: "512KiB"}))); err != nil {
		t.Fatal(err)
	}
	w.quiet = true
	w.bytes = 0
	_, took := w.moved(some...)
	due := time.Duration(w.bytes) * time.Second / rate
	t.Logf("%d bytes in %s", w.bytes, took)
	if took < due*3/4 || took > due*3/2+time.Second {
		t.Errorf("%d bytes took %s at %d per second", w.bytes, took, rate)
	}
}

// A source that loses its majority between a takeover and its record does not keep from the
// table what its target has: the target's leader has it recorded. It closes nothing before
// the source has dropped the slot.
func TestTargetHelps(t *testing.T) {
	w := newCarryWorld(t, 1, 2, 20)
	w.calm = true
	w.run(2 * time.Second)
	slot := w.fill(w.groups[1], 1, 4, 1000)[0]
	w.order(shardmap.JobMove, 2, slot)
	w.until("the target has the slot", 10*time.Second, func() bool { return w.groups[2].m.Owns(slot) })
	w.depose(w.groups[1]) // before it hears of that
	w.groups[1].electAt = w.now + time.Minute
	w.until("the table says so", helpAfter+time.Second, func() bool { return w.table.Slots[slot] == 2 })
	w.run(30 * time.Second)
	if len(w.table.Moves) != 1 || w.groups[1].leader != nil {
		t.Errorf("moves %+v, where the source could drop nothing", w.table.Moves)
	}
	w.quiet = true
	w.until("the source has a leader and drops it", 2*time.Minute, w.over)
	w.whole()
}

// A target without a leader holds up the slots that go there, and no others. None of its
// slots is sealed meanwhile, and their copies are given up.
func TestTargetThatDoesNotAnswer(t *testing.T) {
	w := newCarryWorld(t, 1, 3, 20)
	w.calm = true
	w.run(2 * time.Second)
	some := w.fill(w.groups[1], 80, 4, 200_000)
	w.depose(w.groups[2])
	w.groups[2].electAt = w.now + 20*time.Second
	w.order(shardmap.JobMove, 2, some[:60]...)
	id := w.order(shardmap.JobMove, 3, some[60:]...)
	began := w.now
	w.until("the others are moved", time.Minute, func() bool { j, _ := w.table.Job(id); return j.State == shardmap.JobDone })
	if took := w.now - began; took > 10*time.Second {
		t.Errorf("they took %s", took)
	}
	if n := w.groups[1].m.Sealed(); n > 0 {
		t.Errorf("%d slots are sealed for a group that does not answer", n)
	}
	w.run(6 * time.Second)
	stuck := w.groups[1].leader.carrier.Stuck(w.now, 5*time.Second)
	if len(stuck) == 0 || len(stuck) > 60 || stuck[0].To != 2 || stuck[0].Why == "" {
		t.Errorf("stuck are %+v", stuck)
	}
	w.until("the group has a leader and the slots", 2*time.Minute, w.over)
	w.whole()
}
