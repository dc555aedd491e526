package client

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// SlotViews returns what a group has of some slots, which are in order and each there once,
// as its leader says it. Of more than [wire.SlotViewMax] slots it is not of one moment.
func (c *Client) SlotViews(ctx context.Context, group raft.GroupID, slots []shardmap.Slot) ([]shardmap.SlotView, error) {
	var views []shardmap.SlotView
	for len(slots) > 0 {
		some := slots[:min(len(slots), wire.SlotViewMax)]
		slots = slots[len(some):]
		a := new(wire.SlotViewAnswer)
		if err := c.ofGroup(ctx, wire.TypeSlotView, anyLevel, group, &wire.SlotView{Group: group, Slots: shardmap.SlotRanges(some)}, a); err != nil {
			return nil, fmt.Errorf("slots of group %s: %w", group, err)
		}
		if len(a.Rows) != len(some) {
			return nil, fmt.Errorf("slots of group %s: %d were asked for, and %d answered", group, len(some), len(a.Rows))
		}
		views = append(views, a.Rows...)
	}
	return views, nil
}

// anyLevel is the level of the cluster that a request needs which nodes of all levels know.
const anyLevel = 0

// SlotVersions are versions of all slots.
type SlotVersions [shardmap.Slots]uint64

// SlotVersions returns the last version of each slot that can have keys with a prefix, as the leaders of their
// groups say it; 0 for the others, and where a slot was never written. No key of the slot has a greater one by then, and each that is written after the
// call returned does: versions of a slot rise, even if it moves to another group meanwhile. Those of different
// slots are not of one moment.
//
// The error's code is level in a cluster below level 9. A user without read or admin on the cluster gets zeros.
func (c *Client) SlotVersions(ctx context.Context, prefix []byte) (*SlotVersions, error) {
	if err := c.needLevel(ctx, "versions of slots", shardmap.RangesLevel); err != nil {
		return nil, err
	}
	all, left := new(SlotVersions), slotsOfPrefix(prefix)
	var again replans
	for len(left) > 0 {
		err := again.run(ctx, c, func(r *Routes) (err error) {
			left, err = c.someVersions(ctx, r, left, all)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("versions of slots: %w", err)
		}
		again.hasty = 0
	}
	return all, nil
}

// someVersions asks the group of the first of some slots for the versions of those that it has, and returns
// the others. Only a group that serves a slot knows its last version: of one that is on its way the next
// group may have a later one by now.
func (c *Client) someVersions(ctx context.Context, r *Routes, slots []shardmap.Slot, all *SlotVersions) (left []shardmap.Slot, err error) {
	g := r.Group[slots[0]]
	if g == 0 {
		e := wire.Moved(slots[0], 0, 0, 0)
		e.Epoch = r.Epoch + 1
		return slots, e
	}
	var asked []shardmap.Slot
	for _, s := range slots {
		if r.Group[s] == g {
			asked = append(asked, s)
		} else {
			left = append(left, s)
		}
	}
	views, err := c.SlotViews(ctx, g, asked)
	if err != nil {
		return slots, err
	}
	for i := range views {
		v := &views[i]
		switch v.Holding {
		case shardmap.HoldsOwned:
			all[v.Slot] = v.Last
			continue
		case shardmap.HoldsNothing:
			e := wire.Moved(v.Slot, g, 0, 0)
			e.Epoch = r.Epoch + 1 // the table has not told yet where it went
			err = e
		case shardmap.HoldsSealed:
			if err == nil {
				err = wire.Moved(v.Slot, g, 0, 0) // or stays: it is asked again after a pause
			}
		}
		left = append(left, v.Slot)
	}
	slices.Sort(left)
	return left, err
}

// ofGroup asks the leader of a group something that changes nothing, and that needs a level of the
// cluster.
func (c *courier) ofGroup(ctx context.Context, kind wire.Type, level uint32, group raft.GroupID, ask, into wire.Body) error {
	x := newCall(kind)
	defer x.release()
	x.Target, x.Group, x.Needs, x.Deadline = ToGroup, group, level, c.deadlineOf(ctx)
	x.body = ask.Append(x.body[:0])
	if err := c.do(ctx, x); err != nil {
		return err
	}
	// The answer's memory is used again once x is released, and into may alias it.
	if err := into.Read(bytes.Clone(x.answer)); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	return nil
}
