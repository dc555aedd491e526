package client

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"muster/repl/wire"
	"muster/shardmap"
)

// viewer is who watches, and what was seen.
type viewer struct {
	world *watched
	query WatchQuery
	asked map[shardmap.Slot]int // how many events there were when the watch was asked for
	seen  map[shardmap.Slot]int // how many of a slot's events are behind the viewer; those before the watch too
	began bool
	// until is how many events of a slot there were when the watch began, until the first is
	// seen: it may begin with any of those that groups have which it does not follow.
	until   map[shardmap.Slot]int
	follows []GroupPosition
}

// skips passes over events of before the beginning, up to one that is seen, if any is.
func (v *viewer) skips(s *watchedSlot, seen *WatchEvent) int {
	truth, n := v.truth(s), v.seen[s.slot]
	for ; n < v.until[s.slot]; n++ {
		_, known := behind(v.follows, &truth[n])
		known = known && !v.world.gone[truth[n].group]
		if known || seen != nil && truth[n].ID == seen.ID && truth[n].group == seen.Group {
			break
		}
	}
	return n
}

// wants reports whether the query is of a key.
func (v *viewer) wants(key []byte) bool {
	q := &v.query
	switch {
	case q.Key != nil:
		return bytes.Equal(key, q.Key)
	case q.From != nil || q.To != nil:
		return bytes.Compare(key, q.From) >= 0 && (q.To == nil || bytes.Compare(key, q.To) < 0)
	}
	return bytes.HasPrefix(key, q.Prefix)
}

// truth is what happened in a slot to the keys that are watched.
func (v *viewer) truth(s *watchedSlot) (of []watchedEvent) {
	for _, e := range s.truth {
		if v.wants(e.Key) {
			of = append(of, e)
		}
	}
	return of
}

// behind reports which events positions say were seen.
func behind(positions []GroupPosition, e *watchedEvent) (covered, known bool) {
	for _, p := range positions {
		if p.Group == e.group {
			return !p.Position.Before(shardmap.Position{ID: e.ID, N: e.N}), true
		}
	}
	return false, false
}

// begin takes the positions that a watch from now begins with: of each slot they are behind
// all that had happened when it was asked for, and in front of all that comes.
func (v *viewer) begin(positions []GroupPosition) string {
	v.began = true
	for _, s := range v.world.slots {
		truth, n := v.truth(s), 0
		for i := range truth {
			if covered, _ := behind(positions, &truth[i]); covered {
				n = i + 1
			}
		}
		v.seen[s.slot], v.until[s.slot] = max(n, v.asked[s.slot]), len(truth)
	}
	v.follows = positions
	return v.check(positions)
}

// check compares positions with what was seen.
func (v *viewer) check(positions []GroupPosition) string {
	if len(positions) == 0 {
		return "there are no positions"
	}
	for _, s := range v.world.slots {
		truth := v.truth(s)
		for i := range truth {
			if i >= v.seen[s.slot] && i < v.until[s.slot] {
				if _, known := behind(v.follows, &truth[i]); !known || v.world.gone[truth[i].group] {
					continue // it may be of before the beginning
				}
			}
			covered, known := behind(positions, &truth[i])
			if v.world.gone[truth[i].group] && !covered {
				continue // nobody tells of it again
			}
			if known && covered != (i < v.seen[s.slot]) {
				return fmt.Sprintf("positions %s, and event %d of slot %d, at group %s %s+%d, of which %d are seen", fmt.Sprint(positions), i, s.slot, truth[i].group, truth[i].ID, truth[i].N, v.seen[s.slot])
			}
		}
	}
	return ""
}

// see takes an event.
func (v *viewer) see(e *WatchEvent) string {
	i := slices.IndexFunc(v.world.slots, func(s *watchedSlot) bool { return s.slot == e.Slot })
	if i < 0 {
		return fmt.Sprintf("an event of slot %d", e.Slot)
	}
	v.seen[e.Slot] = v.skips(v.world.slots[i], e)
	delete(v.until, e.Slot)
	truth, n := v.truth(v.world.slots[i]), v.seen[e.Slot]
	if n == len(truth) {
		return fmt.Sprintf("event %+v of slot %d, which has only %d", e, e.Slot, n)
	}
	want := &truth[n]
	if want.group != e.Group || want.ID != e.ID || want.N != e.N || want.Version != e.Version || kindOf(want.Kind) != e.Kind ||
		!bytes.Equal(want.Key, e.Key) || !bytes.Equal(want.Value, e.Value) {
		return fmt.Sprintf("event %d of slot %d is %s %q at group %s %s+%d, want %s %q at group %s %s+%d", n, e.Slot, e.Kind, e.Key, e.Group, e.ID, e.N, want.Kind, want.Key, want.group, want.ID, want.N)
	}
	v.seen[e.Slot]++
	return ""
}

// caught reports whether all that happened was seen.
func (v *viewer) caught() bool {
	for _, s := range v.world.slots {
		if n := len(v.truth(s)); v.began && v.skips(s, nil) < n {
			return false
		}
	}
	return v.began
}

func (x *watched) query() WatchQuery {
	switch x.random.IntN(8) {
	case 6:
		return WatchQuery{Services: true}
	case 7:
		return WatchQuery{Services: true, Key: []byte("a/{t0}")}
	case 0, 1:
		return WatchQuery{Key: []byte("a/{t0}")}
	case 2:
		return WatchQuery{Prefix: []byte("a/{t1}")}
	case 3:
		return WatchQuery{Prefix: []byte("a/")}
	case 4:
		return WatchQuery{From: []byte("a/{t2}"), To: []byte("b/{t1}")}
	}
	return WatchQuery{}
}

// watch begins a watch, from now or from where the last one was.
func (x *watched) watch(v *viewer, positions []GroupPosition) {
	q := v.query
	q.Positions = positions
	core, err := NewWatching(q)
	if err != nil {
		x.t.Fatal(err)
	}
	core.PieceBytes = wire.StreamPieceMin + x.random.Uint32N(200)
	x.core = core
	x.stale, x.open, x.pending = append(x.stale, x.open...), nil, nil
	if positions == nil {
		v.began = false
		for _, s := range x.slots {
			v.asked[s.slot] = len(v.truth(s))
		}
	}
}

// happen has something happen in the cluster.
func (x *watched) happen(seed uint64) {
	switch n := x.random.IntN(40); {
	case n < 18:
		x.write()
	case n < 36:
		x.move()
	case n == 36 && len(x.groups) < 8:
		x.makeGroup()
	case n == 37:
		x.remove()
	case n == 38 && seed%3 == 0 && x.random.IntN(4) == 0:
		x.compact()
	case x.random.IntN(2) == 0:
		x.routes = x.all
	}
}

const (
	watchSeeds = 120
	playLively = 1200 // steps in which something happens
	playMax    = 60000
)

// playWatch watches a cluster of a seed, and returns what is wrong with what was seen, or
// nothing.
func playWatch(t *testing.T, seed uint64) (x *watched, wrong string) {
	x = newWatched(t, seed)
	for range x.random.IntN(60) {
		x.write()
		x.move()
	}
	v := &viewer{world: x, query: x.query(), asked: make(map[shardmap.Slot]int), seen: make(map[shardmap.Slot]int), until: make(map[shardmap.Slot]int)}
	x.watch(v, nil)
	calm := 1 + x.random.IntN(6)
	for steps := 0; ; steps++ {
		lively := steps < playLively
		switch {
		case steps > playMax:
			return x, fmt.Sprintf("no end: seen %v, at %s, waits for %v", v.seen, fmt.Sprint(x.core.Positions()), x.core.Cause())
		case lively && x.random.IntN(calm) == 0:
			x.happen(seed)
		case !lively && len(x.moving) > 0:
			x.step(x.moving[0])
		case !lively && v.caught():
			return x, ""
		}
		if x.routes != x.all && x.behind == 0 {
			x.behind = x.now
		}
		if !lively || x.now > x.behind+watchGone/2 { // no table is behind for long
			x.routes, x.behind = x.all, 0
		}
		if lively && v.began && x.random.IntN(300) == 0 {
			x.resumed++
			x.watch(v, x.core.Positions())
		}
		x.serve()
		if x.random.IntN(3) == 0 {
			x.reply()
		}
		e, step, err := x.core.Next(x.now, x.routes)
		x.carry()
		if err != nil {
			var end *WatchEnd
			if !errors.As(err, &end) || end.Reason != wire.EndCompacted && end.Reason != wire.EndSlow {
				return x, err.Error()
			}
			if why := x.justified(end, seed); why != "" {
				return x, why
			}
			x.compactions++
			x.watch(v, nil)
			continue
		}
		if step == WatchWait {
			x.held += len(x.core.transit.slots)
			x.now += time.Duration(x.random.IntN(20)) * time.Millisecond
			if at, ok := x.core.Wake(); ok && len(x.open) == 0 && len(x.pending) == 0 {
				x.now = max(x.now, at)
			}
			continue
		}
		switch {
		case e.Kind == WatchOpened && !v.began:
			if wrong = x.withinEntry(x.core.Positions()); wrong == "" {
				wrong = v.begin(x.core.Positions())
			}
		case e.Kind == WatchOpened:
		case e.Kind != WatchProgress:
			wrong = v.see(&e)
		}
		if wrong == "" {
			wrong = v.check(x.core.Positions())
		}
		if wrong != "" {
			return x, fmt.Sprintf("step %d, %s: %s", steps, e.Kind, wrong)
		}
	}
}

// withinEntry says which group a watch from now begins with in the middle of an entry: it would
// show a part of what happened at once. A group that was removed shows nothing more.
func (x *watched) withinEntry(at []GroupPosition) string {
	for _, p := range at {
		if n := p.Position.N; x.groups[p.Group] != nil && n != 0 && n != shardmap.AllEvents {
			return "it begins at " + shardmap.FormatPosition(p.Group, p.Position)
		}
	}
	return ""
}

// justified says why a watch must not have ended: it ends only if events are no longer kept.
func (x *watched) justified(end *WatchEnd, seed uint64) string {
	g := x.groups[end.Group]
	switch {
	case g == nil && x.gone[end.Group]:
	case seed%3 != 0:
		return fmt.Sprintf("%v: nothing was given up", end)
	case g == nil || !g.compacted:
		return fmt.Sprintf("%v: the group keeps all its events", end)
	}
	return ""
}

// A watch has each event of a slot once, in order, whatever becomes of streams and their
// frames, while slots move from group to group and back, moves are refused, groups are made
// and removed, and it is begun anew from its own positions at any moment; after each event
// these name exactly what was seen. It ends only where events are no longer kept. One would
// doubt it: a slot's events are in the logs of several groups, which tell of them in any order,
// and a position is of a group and not of a slot.
func TestWatchMergesWhatComes(t *testing.T) {
	var lost, moves, refused, compactions, resumed, held int
	for seed := range uint64(watchSeeds) {
		x, wrong := playWatch(t, seed)
		if wrong != "" {
			t.Fatalf("seed %d: %s", seed, wrong)
		}
		lost, moves, refused, compactions, resumed, held = lost+x.lost, moves+x.moves, refused+x.refused, compactions+x.compactions, resumed+x.resumed, held+x.held
	}
	t.Logf("%d attempts were lost, %d moves, %d refused, %d ends, %d resumed, %d waits with slots on their way", lost, moves, refused, compactions, resumed, held)
	if min(lost, moves, refused, resumed, held) < watchSeeds || compactions < watchSeeds/20 {
		t.Error("too few to show anything")
	}
}
