package client

import (
	"bytes"
	"context"
	"fmt"

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
