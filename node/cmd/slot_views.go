package cmd

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/access"
)

// viewsAtOnce bounds the groups whose leaders are asked at a time.
const viewsAtOnce = 16

// slotViews are what groups say of slots, by slot.
type slotViews struct {
	of [shardmap.Slots]*shardmap.SlotView // nil: nobody said that it has the slot
}

// note takes what a group says of a slot. If two have it, the one that serves it knows what
// is in it.
func (v *slotViews) note(view *shardmap.SlotView) {
	old := v.of[view.Slot]
	if view.Holding == shardmap.HoldsNothing || old != nil && old.Holding == shardmap.HoldsOwned {
		return
	}
	v.of[view.Slot] = view
}

// askedOf is which slots each group is asked for: those of runs that are its by the table,
// and those that are on their way to it.
func askedOf(t *shardmap.Table, runs []shardmap.SlotRange) (groups []raft.GroupID, slots map[raft.GroupID][]shardmap.Slot) {
	slots = map[raft.GroupID][]shardmap.Slot{}
	for _, r := range runs {
		for s := r.From; s <= r.To; s++ {
			if g := t.Slots[s]; g != 0 {
				slots[g] = append(slots[g], s)
			}
			if m, ok := t.MoveOf(s); ok {
				slots[m.To] = append(slots[m.To], s)
			}
		}
	}
	for g := range slots {
		groups = append(groups, g)
		slices.Sort(slots[g])
		slots[g] = slices.Compact(slots[g])
	}
	slices.Sort(groups)
	return groups, slots
}

// silentGroup is a group that did not say what is in its slots.
type silentGroup struct {
	group raft.GroupID // 0: none says it to this user
	why   error
}

func (g silentGroup) String() string {
	if g.group == 0 {
		return "how much is in slots is not known: " + oneLine(g.why)
	}
	return fmt.Sprintf("how much is in the slots of group %d is not known: %s", g.group, oneLine(g.why))
}

// slotViews asks the leaders of groups what they have of slots, within the timeout. silent
// are the groups that don't say it, by id.
func (s *errand) slotViews(ctx context.Context, t *shardmap.Table, runs ...shardmap.SlotRange) (v *slotViews, silent []silentGroup) {
	v = new(slotViews)
	if why := s.uncounted(ctx); why != nil {
		return v, []silentGroup{{why: why}}
	}
	groups, slots := askedOf(t, runs)
	var mu sync.Mutex // guards v and silent
	var done sync.WaitGroup
	room := make(chan struct{}, viewsAtOnce)
	for _, g := range groups {
		room <- struct{}{}
		done.Go(func() {
			defer func() { <-room }()
			var views []shardmap.SlotView
			err := s.with(ctx, func(ctx context.Context) (err error) {
				views, err = s.client.SlotViews(ctx, g, slots[g])
				return err
			})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				silent = append(silent, silentGroup{g, err})
			}
			for i := range views {
				v.note(&views[i])
			}
		})
	}
	done.Wait()
	slices.SortFunc(silent, func(a, b silentGroup) int { return cmp.Compare(a.group, b.group) })
	return v, silent
}

// uncounted returns why this user is not told how much slots hold, or nil if the user is told, or if that can't be
// found out. Without it the zeros in the answers would read as empty slots.
func (s *errand) uncounted(ctx context.Context) (why error) {
	for _, verb := range []access.Verbs{access.Read, access.Admin} {
		err := s.with(ctx, func(ctx context.Context) error {
			a, err := s.client.CanI(ctx, wire.CanI{Verbs: verb, Kind: access.Cluster})
			if err == nil && !a.Allowed {
				why = wire.Unauthorized("slots", "their sizes are told to those who may read the cluster", "ask an administrator for that: muster role grant ROLE read cluster")
			}
			if err == nil && a.Allowed {
				why = nil
			}
			return err
		})
		if err != nil || why == nil {
			return nil
		}
	}
	return why
}

// knownViews is [errand.slotViews] for those who can do without some groups: it warns of
// each.
func (s *errand) knownViews(ctx context.Context, t *shardmap.Table, runs ...shardmap.SlotRange) *slotViews {
	v, silent := s.slotViews(ctx, t, runs...)
	for _, g := range silent {
		s.warnf("%s", g)
	}
	return v
}

// allSlots is the run of all of them.
var allSlots = shardmap.SlotRange{From: 0, To: shardmap.Slots - 1}
