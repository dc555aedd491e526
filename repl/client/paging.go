package client

import (
	"context"
	"slices"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// pager fetches what some slots hold, a page at a time, and gives it out. It knows how far it
// has come: its pages go from slot to slot, in order.
type pager interface {
	// page gives out what a group holds in some slots, behind what was given out last. An error of
	// code moved says that the group no longer has all of the slots.
	page(g raft.GroupID, slots []shardmap.Slot) (pageEnd, error)
	// restart forgets what was given out last: the next page begins with its first slot.
	restart()
}

// pageEnd says how far a page goes.
type pageEnd struct {
	last shardmap.Slot // of the last row, if there is more
	more bool          // another page has more of the same slots
	stop bool          // nobody wants more
}

// paging lists what slots hold, group by group. Slots that move meanwhile are found where
// they went: what was given out of a slot is remembered, not where that slot was.
type paging struct {
	client *Client
	ctx    context.Context
	pager  pager
	left   []shardmap.Slot // the slots of which not all was given out, in order
	begun  bool            // some of the slot in was given out, and not all
	in     shardmap.Slot

	replans replans
}

// slotsOfPrefix returns the slots that can hold keys with a prefix: all, or one if it holds a whole tag.
func slotsOfPrefix(prefix []byte) []shardmap.Slot {
	if s, ok := shardmap.SlotOfPrefix(prefix); ok {
		return []shardmap.Slot{s}
	}
	all := make([]shardmap.Slot, shardmap.Slots)
	for s := range all {
		all[s] = shardmap.Slot(s)
	}
	return all
}

// everyPage has p give out what some slots hold, which are in order, until nobody wants more. It changes
// slots.
func (c *Client) everyPage(ctx context.Context, p pager, slots []shardmap.Slot) error {
	l := paging{client: c, ctx: ctx, pager: p, left: slots}
	for more := true; more; {
		err := l.replans.run(ctx, c, func(r *Routes) (err error) {
			group, slots := l.plan(r)
			more = len(slots) > 0
			if more {
				more, err = l.list(group, slots)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// plan returns the slots that are listed next, and the group that has them. A slot of which
// some was given out comes alone: others that its group has may be below it.
func (l *paging) plan(r *Routes) (g raft.GroupID, slots []shardmap.Slot) {
	if l.begun && r.Group[l.in] != 0 {
		return r.Group[l.in], []shardmap.Slot{l.in}
	}
	l.begun = false
	l.pager.restart()
	for _, s := range l.left {
		if g == 0 {
			g = r.Group[s] // a slot that no group has holds nothing
		}
		if g != 0 && r.Group[s] == g {
			slots = append(slots, s)
		}
	}
	return g, slots
}

// list gives out what a group holds in some slots. It returns false if nobody wants more.
func (l *paging) list(g raft.GroupID, slots []shardmap.Slot) (more bool, err error) {
	for {
		end, err := l.pager.page(g, slots)
		if err != nil || end.stop {
			return !end.stop, err
		}
		l.replans.hasty = 0
		if !end.more {
			l.begun = false
			l.drop(slots, shardmap.Slots)
			return true, nil
		}
		l.begun, l.in = true, end.last
		l.drop(slots, end.last)
	}
}

// drop removes those of slots that are below one from what is left.
func (l *paging) drop(slots []shardmap.Slot, below shardmap.Slot) {
	l.left = slices.DeleteFunc(l.left, func(s shardmap.Slot) bool {
		_, is := slices.BinarySearch(slots, s)
		return is && s < below
	})
}

// needLevel refuses a cluster that is too old for an object.
func (c *Client) needLevel(ctx context.Context, object string, level uint32) error {
	if c.routes.Load().Level >= level {
		return nil // it never goes back
	}
	err := c.awaitLevel(ctx, level, c.deadlineOf(ctx))
	if is := c.routes.Load().Level; err == nil && is < level {
		err = wire.OverLevel(object, level, is)
	}
	return err
}
