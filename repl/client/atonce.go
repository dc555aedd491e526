package client

import (
	"fmt"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// atOnce reads the keys, of several slots, at one moment: one request goes to the group that
// has all of them, which answers as of one log id. If slots move meanwhile, it is planned
// again.
func (g *gathering) atOnce() error {
	c, ctx := g.client, g.ctx
	if len(g.keys) > wire.GetKeysMax {
		return overLimit("keys that are read at once", len(g.keys), wire.GetKeysMax, "keys", "ask for fewer at once")
	}
	return new(replans).run(ctx, c, func(*Routes) error {
		group, err := g.groupOfAll()
		if err != nil {
			return err
		}
		return g.ofGroup(group)
	})
}

// groupOfAll returns the group that has all of the keys, as far as is known.
func (g *gathering) groupOfAll() (raft.GroupID, error) {
	r := g.client.routes.Load()
	group, err := oneGroup(g.keys, func(s shardmap.Slot) raft.GroupID { return r.Group[s] })
	if err == nil {
		return group, nil
	}
	// They may have come together since the client got its table.
	t, failed := g.client.Topology(g.ctx)
	if failed != nil {
		return 0, failed
	}
	var of [shardmap.Slots]raft.GroupID
	for _, run := range t.Slots {
		for s := run.From; s <= run.To; s++ {
			of[s] = run.Group
		}
	}
	return oneGroup(g.keys, func(s shardmap.Slot) raft.GroupID { return of[s] })
}

// oneGroup returns the group that has all of the keys, where of returns a slot's group.
func oneGroup(keys [][]byte, of func(shardmap.Slot) raft.GroupID) (raft.GroupID, error) {
	group := of(shardmap.SlotOf(keys[0]))
	for _, key := range keys {
		if g := of(shardmap.SlotOf(key)); g != group {
			return 0, wire.BadRequest("keys of a read at once",
				fmt.Sprintf("key %s is of group %s, key %s of group %s", shardmap.ShowKey(keys[0]), group, shardmap.ShowKey(key), g),
				"give keys of one group; those with one {tag} always are")
		}
	}
	return group, nil
}

// ofGroup reads the keys from a group that has all of them, with one request.
func (g *gathering) ofGroup(group raft.GroupID) error {
	c := g.client
	x := newCall(wire.TypeGet)
	defer x.release()
	if err := c.prepareGet(g.ctx, x, shardmap.SlotOf(g.keys[0]), g.keys, g.options); err != nil {
		return err
	}
	if x.Group = group; !g.options.Local {
		x.Target = ToGroup
	}
	if err := c.do(g.ctx, x); err != nil {
		return err
	}
	all := make([]int, len(g.keys))
	for i := range all {
		all[i] = i
	}
	return readItems(x, all, g.keys, g.found)
}
