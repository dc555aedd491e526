package sealing

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"muster/shardmap"
)

// bounded sees that the heads of a node take no more memory than they may: leaders bound what is not frozen, and that of both
// groups may be on a node that leads neither; what is frozen passes the limit by no more than a head. A replica that is elected and
// far behind is the exception: it applies all, since its group waits for it.
func (w *world) bounded(n int) {
	const entryMax = 8 * headValue
	x := w.nodes[n]
	all, frozen := x.core.Held()
	w.most = max(w.most, all)
	for g, l := range w.logs {
		x.hasty = x.hasty || l.lead == n && x.replicas[g].term != l.term && x.core.Pauses()
	}
	if x.hasty {
		x.hasty = x.core.Pauses()
		return
	}
	if hard := worldLimits.Hard + entryMax; all-frozen > worldGroups*hard || frozen > 2*hard {
		w.fails("the heads of node %d take %d MiB, and %d of them are frozen", n, all>>20, frozen>>20)
	}
}

const worldTurns = 900

// randomWorld lets everything go wrong for a while, and wants all to be as it has to be in the end.
func randomWorld(seed uint64, did map[string]int) error {
	w := newWorld(seed)
	for turn := range worldTurns {
		if w.rnd.IntN(12) == 0 {
			w.fault()
		}
		if turn == worldTurns/2 {
			w.over[1], w.over[2] = true, true
		}
		if turn == worldTurns*3/4 {
			w.gone[2] = true
		}
		if err := w.turn(); err != nil {
			return fmt.Errorf("turn %d: %w", turn, err)
		}
		w.now += time.Duration(w.rnd.IntN(10_000)) * time.Millisecond
		if w.rnd.IntN(100) == 0 {
			w.now += time.Hour
		}
	}
	if err := w.calmDown(); err != nil {
		return fmt.Errorf("in the end: %w", err)
	}
	for what, times := range w.did {
		did[what] += times
	}
	did["most MiB"] = max(did["most MiB"], int(w.most>>20))
	return nil
}

// calmDown lets nothing fail any more, and waits until all is done.
func (w *world) calmDown() error {
	w.calm = true
	for n, x := range w.nodes {
		x.full = false
		if !x.up {
			w.start(n)
		}
	}
	for i := range worldWindows {
		w.over[shardmap.WindowID(i+1)] = true
	}
	for g, l := range w.logs {
		w.elect(l, g%worldNodes)
	}
	if err := w.until(w.sealedAll); err != nil {
		return err
	}
	// Each replica keeps one more snapshot and no other: then its files are those of its state.
	for n, x := range w.nodes {
		for g, r := range x.replicas {
			w.write(n, g, r)
			r.snapshots = r.snapshots[len(r.snapshots)-1:]
			x.core.Snapshots(groupID(g), r.listed())
		}
	}
	return w.until(w.onDisk)
}

// until goes on until nothing is missing.
func (w *world) until(missing func() string) error {
	const turnsMax = 4000
	for range turnsMax {
		if missing() == "" {
			return nil
		}
		if err := w.turn(); err != nil {
			return err
		}
		if w.wake == never && !w.changed && missing() != "" {
			return fmt.Errorf("nothing is to be done any more, and %s", missing())
		}
		if w.changed = w.wake == never; w.changed {
			w.wake = w.now // what this turn has changed the cores have not seen yet
		}
		w.now = max(w.now+10*time.Millisecond, w.wake)
	}
	return fmt.Errorf("after %d turns %s", turnsMax, missing())
}

// sealedAll returns what of the states is not as it has to be in the end, or "".
func (w *world) sealedAll() string {
	for g, l := range w.logs {
		first := w.nodes[0].replicas[g].state
		for n, x := range w.nodes {
			s := x.replicas[g].state
			if s.applied != len(l.entries) {
				return fmt.Sprintf("node %d has applied %d entries of %d", n, s.applied, len(l.entries))
			}
			for id, written := range l.written {
				x := s.shards[id]
				if x == nil && s.dropped[id.Window] {
					continue
				}
				if w.gone[id.Window] {
					return fmt.Sprintf("node %d has %s, whose window is gone", n, id)
				}
				if x == nil || len(x.head)+len(x.fills)+len(x.frozen) > 0 {
					return fmt.Sprintf("node %d has points of %s in heads", n, id)
				}
				all := ids{}
				for _, f := range x.files {
					content := w.nodes[n].replicas[g].disk[f.Sum]
					if content == nil {
						return fmt.Sprintf("node %d lacks file %d of %s", n, f.Number, id)
					}
					all = all.with(content)
				}
				if !maps.Equal(all, written) {
					return fmt.Sprintf("node %d has %d values of %s, want %d", n, len(all), id, len(written))
				}
				if k := len(x.files); k > 1 && x.files[k-1].Size+x.files[k-2].Size <= mergeMax {
					return fmt.Sprintf("%s ends in %d files", id, k)
				}
				if !slices.Equal(x.files, first.shards[id].files) {
					return fmt.Sprintf("nodes 0 and %d have other files of %s", n, id)
				}
			}
		}
	}
	return ""
}

// onDisk returns which disk has too much or too little, or "".
func (w *world) onDisk() string {
	for n, x := range w.nodes {
		for g, r := range x.replicas {
			want := set(r.state.files())
			for sum := range r.disk {
				if _, ok := want[sum]; !ok {
					return fmt.Sprintf("node %d has a file of group %d that nothing needs", n, g)
				}
			}
			if len(want) != len(r.disk) {
				return fmt.Sprintf("node %d has %d files of group %d, want %d", n, len(r.disk), g, len(want))
			}
			if settled, why := x.core.Settled(groupID(g)); !settled {
				return fmt.Sprintf("node %d is not settled: %s", n, why)
			}
		}
	}
	return ""
}

const worldRuns = 40

// Leaders come and go, nodes crash in the middle of each step, disks are full, files get lost, and nodes that were away get a
// snapshot. All the same no value is lost, and in the end all replicas list the same files, and have these and no others.
func TestRandomWorlds(t *testing.T) {
	did := map[string]int{}
	for seed := range uint64(worldRuns) {
		if err := randomWorld(seed, did); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
	t.Logf("%v", did)
	for _, what := range []string{"propose", "make", "fetch", "remove", "release", "crash", "full", "installed", "damage", "snapshot", "unsettled", "refused", "not fetched"} {
		if did[what] < worldRuns {
			t.Errorf("%s: %d times in %d worlds, want one in each on the average", what, did[what], worldRuns)
		}
	}
}
