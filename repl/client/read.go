package client

import (
	"context"
	"fmt"
	"slices"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// Item is a key that was found.
type Item struct {
	Key, Value []byte
	Version    uint64
	Slot       shardmap.Slot
	Group      raft.GroupID
	At         raft.LogID // the value is as of here
}

// ReadOptions say how fresh an answer must be. The zero value asks for a
// linearizable read.
type ReadOptions struct {
	// Local takes the first endpoint's own copy, however old.
	Local bool
	// AfterGroup and After ask for an answer at least as new as this log id. It binds the
	// keys of slots that the group has or, before they moved, had. Below level 4, where no
	// slot moves, it is an error if there are none. From then on a node's own copy can't tell
	// a slot that the group never had from one that has yet to come from there, and waits:
	// so of keys in several groups, those of other groups are read linearizable.
	AfterGroup raft.GroupID
	After      raft.LogID
}

// Get returns the items of the keys that are there and the keys that are not,
// both in the order of keys. Keys of one slot are read at one moment; across
// slots they are not.
func (c *Client) Get(ctx context.Context, keys [][]byte, o ReadOptions) (items []Item, missing [][]byte, err error) {
	slots, members := bySlot(len(keys), func(i int) []byte { return keys[i] })
	for _, key := range keys {
		if err := checkKey(key); err != nil {
			return nil, nil, fmt.Errorf("get: %w", err)
		}
	}
	if err := c.checkAfter(ctx, slots, keys, o); err != nil {
		return nil, nil, fmt.Errorf("get: %w", err)
	}
	found := make([]Item, len(keys))
	r := c.routes.Load()
	unbound := func(s shardmap.Slot) bool { return r.Group[s] != o.AfterGroup }
	mixed := o.Local && o.After != (raft.LogID{}) && r.Level >= shardmap.MovesLevel && slices.ContainsFunc(slots, unbound) &&
		slices.ContainsFunc(slots, func(s shardmap.Slot) bool { return r.Group[s] != r.Group[slots[0]] })
	calls := fan(len(slots), func(n int, x *call) error {
		o := o
		if mixed && unbound(slots[n]) {
			o = ReadOptions{}
		}
		some := make([][]byte, 0, len(members[n]))
		for _, i := range members[n] {
			some = append(some, keys[i])
		}
		if len(some) > wire.GetKeysMax {
			return overLimit("keys of one slot", len(some), wire.GetKeysMax, "keys", "ask for them in several calls")
		}
		if err := c.prepareGet(ctx, x, slots[n], some, o); err != nil {
			return err
		}
		c.start(x, ctx.Done())
		return nil
	})
	failed := &PartlyError{Total: len(keys)}
	c.gather(ctx, calls, func(n int, x *call) {
		if x.err == nil {
			x.err = readItems(x, slots[n], members[n], keys, found)
		}
		if x.err != nil {
			for _, i := range members[n] {
				failed.add(i, keys[i], x.err)
			}
		}
	})
	if err := failed.orNil(); err != nil {
		return nil, nil, fmt.Errorf("get %w", err)
	}
	for i := range found {
		if found[i].Key == nil {
			missing = append(missing, keys[i])
		} else {
			items = append(items, found[i])
		}
	}
	return items, missing, nil
}

// GetOne returns the value of one key, appended to dst, and its version; ok is
// false if the key is not there. It allocates nothing if dst has room.
func (c *Client) GetOne(ctx context.Context, key, dst []byte, o ReadOptions) (value []byte, version uint64, ok bool, err error) {
	x := newCall(wire.TypeGet)
	x.items[0] = key
	slot := shardmap.SlotOf(key)
	if o.After != (raft.LogID{}) {
		err = c.checkAfter(ctx, []shardmap.Slot{slot}, [][]byte{key}, o)
	}
	if err == nil {
		err = c.prepareGet(ctx, x, slot, x.items[:1], o)
	}
	if err == nil {
		err = c.do(ctx, x)
	}
	if err == nil {
		var a wire.GetAnswer
		if err = a.Read(x.answer); err == nil {
			var v []byte
			version, v, ok, _ = a.Next()
			dst = append(dst, v...)
		}
	}
	x.release()
	if err != nil {
		return dst, 0, false, fmt.Errorf("get %s: %w", shardmap.ShowKey(key), err)
	}
	return dst, version, ok, nil
}

func (c *Client) prepareGet(ctx context.Context, x *call, slot shardmap.Slot, keys [][]byte, o ReadOptions) error {
	x.Deadline = c.deadlineOf(ctx)
	return c.composeGet(x, slot, keys, o)
}

// composeGet is prepareGet without the deadline.
func (c *Client) composeGet(x *call, slot shardmap.Slot, keys [][]byte, o ReadOptions) error {
	for _, key := range keys {
		if err := checkKey(key); err != nil {
			return err
		}
	}
	x.kind, x.Slot = wire.TypeGet, slot
	g := wire.Get{Keys: keys}
	if o.Local {
		g.Mode = wire.ReadLocal
		x.Target, x.Peer = ToPeer, 0
	}
	if o.After != (raft.LogID{}) {
		// Which groups had the slot before is known to the one that has it now.
		if r := c.routes.Load(); r.Level >= shardmap.MovesLevel || r.Group[slot] == o.AfterGroup {
			g.AfterGroup, g.After = o.AfterGroup, o.After
		}
	}
	x.body = g.Append(x.body[:0])
	return nil
}

// checkKey refuses a key that no cluster takes.
func checkKey(key []byte) error {
	if len(key) == 0 {
		return wire.BadRequest("key", fmt.Sprintf("0 bytes, want 1 to %d", shardmap.KeyMax), "name a key")
	}
	if len(key) > shardmap.KeyMax {
		return keyTooLarge(key)
	}
	return nil
}

// checkAfter refuses a log id of a group that owns none of the slots, where no slot
// can have moved: it would bind nothing. The slots are those of the keys.
func (c *Client) checkAfter(ctx context.Context, slots []shardmap.Slot, keys [][]byte, o ReadOptions) error {
	if o.After == (raft.LogID{}) {
		return nil
	}
	if c.routes.Load().ValueMax == 0 {
		if err := c.awaitTable(ctx, 0, c.deadlineOf(ctx)); err != nil {
			return err
		}
	}
	r := c.routes.Load()
	if r.Level >= shardmap.MovesLevel {
		return nil
	}
	for _, s := range slots {
		if r.Group[s] == o.AfterGroup {
			return nil
		}
	}
	return wire.BadRequest("after "+raft.FormatLogID(o.AfterGroup, o.After),
		fmt.Sprintf("key %s is of group %s", shardmap.ShowKey(keys[0]), r.Group[shardmap.SlotOf(keys[0])]),
		"give a log id of the key's group, as its write was answered with")
}

// readItems puts what a call found into its keys' places.
func readItems(x *call, slot shardmap.Slot, members []int, keys [][]byte, found []Item) error {
	var a wire.GetAnswer
	if err := a.Read(x.answer); err != nil {
		return err
	}
	if a.Count != len(members) {
		return fmt.Errorf("node answered %d keys with %d rows", len(members), a.Count)
	}
	for _, i := range members {
		version, value, there, _ := a.Next()
		if !there {
			continue
		}
		found[i] = Item{
			Key: keys[i], Value: append([]byte{}, value...), Version: version,
			Slot: slot, Group: a.Group, At: a.At,
		}
	}
	return nil
}
