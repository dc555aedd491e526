package client

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

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

	// Ends says that the key ends by itself; a node of an older build never tells. Remaining is
	// what is left of its time, in whole milliseconds, by the clock of the replica that answered: the
	// leader of the group, unless the read allowed another. 0 means that the key is due and about to
	// be removed. A key never ends earlier than a leader said. Another replica may say too much, by
	// as long as it has not heard of the time.
	Ends      bool
	Remaining time.Duration
	Lease     shardmap.LeaseID // with which it ends; 0: it has a time of its own
}

// ReadOptions say how fresh an answer must be, and who may give it. The zero value asks the
// leader for a linearizable read. At most one of Local, Follower and MaxStale.
type ReadOptions struct {
	// Local takes the first endpoint's own copy, however old.
	Local bool
	// Follower lets any replica answer, as fresh as the leader would: the replica asks the
	// leader from which log id on it may. It spreads reads over the nodes of a group.
	Follower bool
	// MaxStale lets any replica answer from its own copy if that was the newest at most so
	// long ago, in whole milliseconds, rounded down; else the replica answers as for
	// Follower. The age counts from when the replica last asked the leader, by the replica's
	// clock. 0: not given. Below level 5 it means Follower, which is never older.
	MaxStale time.Duration
	// AtOnce reads many keys at one moment, all of them or none. They must be of one group,
	// and at most [wire.GetKeysMax].
	AtOnce bool
	// AfterGroup and After ask for an answer at least as new as this log id. It binds the
	// keys of slots that the group has or, before they moved, had. Below level 4, where no
	// slot moves, it is an error if there are none. From then on a node's own copy can't tell
	// a slot that the group never had from one that has yet to come from there, and waits:
	// so of keys in several groups, those of other groups are read linearizable.
	AfterGroup raft.GroupID
	After      raft.LogID
}

// MaxStaleMax bounds [ReadOptions.MaxStale]. A caller that takes anything older wants Local.
const MaxStaleMax = time.Hour

// check refuses options that contradict each other, or mean nothing.
func (o *ReadOptions) check() error {
	switch {
	case o.MaxStale < 0 || o.MaxStale > MaxStaleMax:
		return wire.BadRequest("max-stale", fmt.Sprintf("%s, want 1ms to %s", o.MaxStale, MaxStaleMax), "give another one, or none")
	case o.Local && o.Follower, o.Local && o.MaxStale > 0, o.Follower && o.MaxStale > 0:
		return wire.BadRequest("read", "more than one of local, follower and max-stale", "give one of them")
	}
	return nil
}

// mode returns how a cluster of some level is asked.
func (o *ReadOptions) mode(level uint32) (mode wire.ReadMode, stale uint32) {
	stale = uint32(o.MaxStale / time.Millisecond) // never older
	switch {
	case o.Local:
		return wire.ReadLocal, 0
	case stale > 0 && level >= shardmap.LeasesLevel:
		return wire.ReadBounded, stale
	case o.Follower || o.MaxStale > 0:
		return wire.ReadFollower, 0
	}
	return wire.ReadLinearizable, 0
}

// Get returns the items of the keys that are there and the keys that are not,
// both in the order of keys. Keys of one slot are read at one moment; keys of several
// slots only with [ReadOptions.AtOnce]. If some keys could not be read the error wraps a
// [*PartlyError], and Get returns what it read of the others.
func (c *Client) Get(ctx context.Context, keys [][]byte, o ReadOptions) (items []Item, missing [][]byte, err error) {
	slots, members := bySlot(len(keys), func(i int) []byte { return keys[i] })
	if err := o.admit(ctx, c, slots, keys); err != nil {
		return nil, nil, fmt.Errorf("get: %w", err)
	}
	g := gathering{client: c, ctx: ctx, options: o, keys: keys, found: make([]Item, len(keys))}
	failed := &PartlyError{Total: len(keys)}
	if o.AtOnce && len(slots) > 1 {
		if err := g.atOnce(); err != nil {
			return nil, nil, fmt.Errorf("get at once: %w", err)
		}
	} else {
		g.bySlot(slots, members, failed)
	}
	found := g.found
	bad := make(map[int]bool, len(failed.Items))
	for _, x := range failed.Items {
		bad[x.Index] = true
	}
	for i := range found {
		switch {
		case found[i].Key != nil:
			items = append(items, found[i])
		case !bad[i]:
			missing = append(missing, keys[i])
		}
	}
	if err := failed.orNil(); err != nil {
		return items, missing, fmt.Errorf("get %w", err)
	}
	return items, missing, nil
}

// admit refuses a read that no node would answer. The slots are those of the keys.
func (o *ReadOptions) admit(ctx context.Context, c *Client, slots []shardmap.Slot, keys [][]byte) error {
	for _, key := range keys {
		if err := checkKey(key); err != nil {
			return err
		}
	}
	if err := o.check(); err != nil {
		return err
	}
	return o.checkAfter(ctx, c, slots, keys)
}

// gathering is a read of many keys.
type gathering struct {
	client  *Client
	ctx     context.Context
	options ReadOptions
	keys    [][]byte
	found   []Item // by place in keys; Key is nil where it was not found, or not read
}

// bySlot reads the keys, those of each slot at one moment.
func (g *gathering) bySlot(slots []shardmap.Slot, members [][]int, failed *PartlyError) {
	c, ctx, keys, o, found := g.client, g.ctx, g.keys, g.options, g.found
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
	c.gather(ctx, calls, func(n int, x *call) {
		if x.err == nil {
			x.err = readItems(x, members[n], keys, found)
		}
		if x.err != nil {
			for _, i := range members[n] {
				failed.add(i, keys[i], x.err)
			}
		}
	})
}

// GetOne returns the value of one key, appended to dst, and its version; ok is
// false if the key is not there. It allocates nothing if dst has room.
func (c *Client) GetOne(ctx context.Context, key, dst []byte, o ReadOptions) (value []byte, version uint64, ok bool, err error) {
	x := newCall(wire.TypeGet)
	x.items[0] = key
	slot := shardmap.SlotOf(key)
	if o.MaxStale != 0 || o.Local || o.Follower {
		err = o.check()
	}
	if err == nil && o.After != (raft.LogID{}) {
		err = o.checkAfter(ctx, c, []shardmap.Slot{slot}, [][]byte{key})
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
	if o.Local || o.Follower || o.MaxStale > 0 {
		g.Mode, g.Stale = o.mode(c.routes.Load().Level)
		if x.AnyReplica = !o.Local; g.Mode == wire.ReadBounded {
			x.Needs = shardmap.LeasesLevel
		}
	}
	if o.Local {
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
func (o *ReadOptions) checkAfter(ctx context.Context, c *Client, slots []shardmap.Slot, keys [][]byte) error {
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
func readItems(x *call, members []int, keys [][]byte, found []Item) error {
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
			Slot: shardmap.SlotOf(keys[i]), Group: a.Group, At: a.At,
			Ends: a.End.Ends, Remaining: lasting(a.End.Remaining), Lease: a.End.Lease,
		}
	}
	return nil
}

// lasting is a time in ms that a node tells, at most the longest duration of whole milliseconds. The protocol has no limit for
// it, and one that overflows would look as if the key or lease were about to end.
func lasting(ms uint64) time.Duration {
	return time.Duration(min(ms, uint64(math.MaxInt64/time.Millisecond))) * time.Millisecond
}
