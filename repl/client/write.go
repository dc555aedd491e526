package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// Written says where a write took effect.
type Written struct {
	Group   raft.GroupID
	ID      raft.LogID
	Version uint64 // of every key that the command wrote
}

// Pair is a key, what it is to be set to, and how long it is to last.
type Pair struct {
	Key, Value []byte
	SetOptions
}

// WriteOptions are the condition of a write, at most one, and how long the key lasts, as in
// [SetOptions]. IfValue, TTL and Lease need a cluster of level 5; below it they end with code
// level.
type WriteOptions struct {
	IfAbsent   bool   // only if the key is not there
	HasVersion bool   // only if the key is there at IfVersion
	IfVersion  uint64 // never 0
	IfValue    []byte // only if the key is there with this value
	HasValue   bool   // IfValue is meant even if it is empty

	TTL    time.Duration    // see [SetOptions.TTL]
	HasTTL bool             // TTL is meant even if it is 0, which is refused
	Lease  shardmap.LeaseID // see [SetOptions.Lease]
}

func (o *WriteOptions) hasValue() bool { return o.HasValue || o.IfValue != nil }

// keeping returns how long the key is to last.
func (o *WriteOptions) keeping() SetOptions {
	return SetOptions{TTL: o.TTL, HasTTL: o.HasTTL, Lease: o.Lease}
}

// plain reports whether a command that every level knows can carry o.
func (o *WriteOptions) plain() bool {
	return !o.hasValue() && o.TTL == 0 && !o.HasTTL && o.Lease == 0
}

// check refuses options that contradict each other.
func (o *WriteOptions) check() error {
	conditions := 0
	for _, given := range [...]bool{o.IfAbsent, o.HasVersion, o.hasValue()} {
		if given {
			conditions++
		}
	}
	if conditions > 1 {
		return errManyConditions
	}
	return nil
}

func (o *WriteOptions) condition() (shardmap.Condition, uint64) {
	switch {
	case o.IfAbsent:
		return shardmap.ConditionAbsent, 0
	case o.HasVersion:
		return shardmap.ConditionVersion, o.IfVersion
	}
	return shardmap.ConditionNone, 0
}

var errManyConditions = errors.New("more than one of if-absent, if-version and if-value; want one of them")

// Set sets key to value. It returns when the write is kept by a majority; key
// and value are the caller's again then. An error of code conflict says that the
// condition did not hold, and what was there; of not-found, that the lease is gone.
func (c *Client) Set(ctx context.Context, key, value []byte, o WriteOptions) (Written, error) {
	if !o.plain() || o.IfAbsent && o.HasVersion {
		return o.set(ctx, c, key, value)
	}
	x := newCall(wire.TypeWrite)
	x.items[0], x.items[1] = key, value
	cmd := shardmap.Command{Kind: shardmap.CommandSet, Slot: shardmap.SlotOf(key), Items: x.items[:]}
	cmd.Condition, cmd.Version = o.condition()
	err := c.write(ctx, x, &cmd)
	w := Written{Group: x.written.Group, ID: x.written.ID, Version: x.written.Version}
	x.release()
	if err != nil {
		return Written{}, fmt.Errorf("set %s: %w", shardmap.ShowKey(key), err)
	}
	return w, nil
}

// write runs one command. A session that the servers forgot is replaced once,
// if no attempt may have been applied under it.
func (c *Client) write(ctx context.Context, x *call, cmd *shardmap.Command) error {
	if err := c.admit(cmd); err != nil {
		return err
	}
	deadline := c.deadlineOf(ctx)
	for turn := 0; ; turn++ {
		if err := c.beginWrite(x, cmd, ctx.Done()); err != nil {
			return withCause(ctx, err)
		}
		x.Deadline = deadline
		err := c.do(ctx, x)
		if turn > 0 || !isCode(err, wire.CodeStaleSession) {
			return err
		}
		x.lane.renew(x.session, randomID())
		x.reset()
	}
}

// admit refuses what the cluster would refuse, before it is sent. The usual
// command passes without a walk over it.
func (c *Client) admit(cmd *shardmap.Command) error {
	max := c.routes.Load().ValueMax
	if max == 0 {
		max = shardmap.ValueMaxLimit // the core looks again when it knows
	}
	if cmd.Kind == shardmap.CommandSet && len(cmd.Items) == 2 && cmd.Condition != shardmap.ConditionVersion {
		if n := len(cmd.Items[0]); n > 0 && n <= shardmap.KeyMax && len(cmd.Items[1]) <= max {
			return nil
		}
	}
	return admitWhole(*cmd, max)
}

// admitWhole is admit for what takes a walk over the command. It has one of its own: a
// command that is validated is put on the heap.
func admitWhole(cmd shardmap.Command, max int) error {
	// What the cluster's level admits it says itself: it may rise at any time.
	err := cmd.Validate(shardmap.Limits{ValueMax: max, Level: shardmap.Level})
	switch {
	case err == nil:
	case errors.Is(err, shardmap.ErrTooLarge):
		return tooLarge(&cmd, max, err)
	default:
		return badRequest(cmd.Kind.String(), err)
	}
	size := 0
	for _, item := range cmd.Items {
		size += len(item)
	}
	if size > commandBytesMax {
		return commandTooLarge(size)
	}
	return nil
}

// commandBytesMax bounds the keys and values of one command: the largest value
// and its key, so that every command fits into a frame.
const commandBytesMax = shardmap.ValueMaxLimit + shardmap.KeyMax

// beginWrite gives cmd its place in a session and encodes it. It waits while
// the session's window is full.
func (c *Client) beginWrite(x *call, cmd *shardmap.Command, done <-chan struct{}) error {
	l := c.lanes[laneOf(cmd.Slot)]
	waited := false
	for {
		s, seq, floor, ok := l.begin()
		if ok {
			x.lane, x.session, x.seq = l, s, seq
			cmd.Session, cmd.Sequence, cmd.Floor = s.id, seq, floor
			break
		}
		waited = true
		select {
		case <-l.space:
		case <-done:
			l.pass()
			return unavailable("the session's window", fmt.Errorf("%d are open, the most that this client may have", l.most()))
		case <-c.stop:
			return ErrClosed
		}
	}
	if waited {
		l.pass()
	}
	x.Write, x.Slot = true, cmd.Slot
	if cmd.Kind == shardmap.CommandSet {
		for i := 1; i < len(cmd.Items); i += 2 {
			x.ValueBytes = max(x.ValueBytes, len(cmd.Items[i]))
		}
	}
	if cmd.Kind >= shardmap.CommandTxn {
		x.Needs = cmd.Kind.Row().Level
	}
	x.body = wire.AppendWrite(x.body[:0], cmd)
	return nil
}

// SetMany sets many keys. Those of one slot are one command and change
// together; across slots some may be set, others not. If not all were set the
// error has a [*PartlyError] in it, and Written is zero for those that were
// not; if a pair is over a limit none is sent. Where one of a slot has a TTL or
// a lease, those of the slot are [shardmap.TxnOpsMax] at most. It holds all of
// them twice while it runs; for more than fits into memory there is
// [Client.Bulk].
func (c *Client) SetMany(ctx context.Context, pairs []Pair) ([]Written, error) {
	written := make([]Written, len(pairs))
	slots, members := bySlot(len(pairs), func(i int) []byte { return pairs[i].Key })
	commands := make([]shardmap.Command, len(slots))
	for n := range commands {
		var err error
		if commands[n], err = setCommand(slots[n], members[n], pairs); err != nil {
			return written, fmt.Errorf("set: %w", err)
		}
	}
	if err := c.admitAll(ctx, commands); err != nil {
		return written, fmt.Errorf("set: %w", err)
	}
	calls := fan(len(slots), func(n int, x *call) error { return c.startWrite(ctx, x, &commands[n], RetryMax) })
	failed := &PartlyError{Total: len(pairs)}
	c.gather(ctx, calls, func(n int, x *call) {
		w := Written{Group: x.written.Group, ID: x.written.ID, Version: x.written.Version}
		if x.err == nil && commands[n].Kind == shardmap.CommandTxn {
			var r TxnResult
			r, x.err = readTxn(x.answer)
			w = r.Written
		}
		for _, i := range members[n] {
			if x.err != nil {
				failed.add(i, pairs[i].Key, x.err)
				continue
			}
			written[i] = w
		}
	})
	if err := failed.orNil(); err != nil {
		return written, fmt.Errorf("set %w", err)
	}
	return written, nil
}

// setCommand returns what sets some pairs, all of one slot: a transaction if one of them is
// not to last for ever.
func setCommand(slot shardmap.Slot, members []int, pairs []Pair) (shardmap.Command, error) {
	if slices.ContainsFunc(members, func(i int) bool { return !pairs[i].plain() }) {
		var t Txn
		for _, i := range members {
			t.Then = append(t.Then, OpSet(pairs[i].Key, pairs[i].Value, pairs[i].SetOptions))
		}
		return t.command()
	}
	cmd := shardmap.Command{Kind: shardmap.CommandSet, Slot: slot}
	for _, i := range members {
		cmd.Items = append(cmd.Items, pairs[i].Key, pairs[i].Value)
	}
	return cmd, nil
}

// admitAll refuses commands of which one would be refused, so that the others
// are not sent either. What a value may have only the table tells.
func (c *Client) admitAll(ctx context.Context, commands []shardmap.Command) error {
	check := func() error {
		for i := range commands {
			if err := c.admit(&commands[i]); err != nil {
				return err
			}
		}
		return nil
	}
	if err := check(); err != nil || len(commands) == 0 || commands[0].Kind == shardmap.CommandDel || c.routes.Load().ValueMax != 0 {
		return err
	}
	if err := c.awaitTable(ctx, 0, c.deadlineOf(ctx)); err != nil {
		return err
	}
	return check()
}

// Deleted says what a delete of keys of one slot did.
type Deleted struct {
	Keys [][]byte
	Written
	Count int // how many of Keys were there
}

// Delete deletes keys; one that is not there is no error. Those of one slot are
// deleted together. If not all could be, the error has a [*PartlyError] in it;
// if a key is over its limit none is deleted.
func (c *Client) Delete(ctx context.Context, keys ...[]byte) ([]Deleted, error) {
	slots, members := bySlot(len(keys), func(i int) []byte { return keys[i] })
	all := make([]Deleted, len(slots))
	commands := make([]shardmap.Command, len(slots))
	for n := range commands {
		commands[n] = shardmap.Command{Kind: shardmap.CommandDel, Slot: slots[n]}
		for _, i := range members[n] {
			commands[n].Items = append(commands[n].Items, keys[i])
		}
		all[n].Keys = commands[n].Items
	}
	if err := c.admitAll(ctx, commands); err != nil {
		return nil, fmt.Errorf("delete: %w", err)
	}
	calls := fan(len(slots), func(n int, x *call) error { return c.startWrite(ctx, x, &commands[n], RetryMax) })
	failed := &PartlyError{Total: len(keys)}
	c.gather(ctx, calls, func(n int, x *call) {
		if x.err != nil {
			for _, i := range members[n] {
				failed.add(i, keys[i], x.err)
			}
			all[n].Keys = nil
			return
		}
		w := x.written
		all[n].Written = Written{Group: w.Group, ID: w.ID, Version: w.Version}
		all[n].Count = int(w.Deleted)
	})
	done := all[:0]
	for _, d := range all {
		if d.Keys != nil {
			done = append(done, d)
		}
	}
	if err := failed.orNil(); err != nil {
		return done, fmt.Errorf("delete %w", err)
	}
	return done, nil
}

// DeleteIf deletes key if it is there at version, which is never 0. An error of
// code conflict says that it is not.
func (c *Client) DeleteIf(ctx context.Context, key []byte, version uint64) (Deleted, error) {
	x := newCall(wire.TypeWrite)
	defer x.release()
	x.items[0] = key
	cmd := shardmap.Command{
		Kind: shardmap.CommandDel, Slot: shardmap.SlotOf(key), Items: x.items[:1],
		Condition: shardmap.ConditionVersion, Version: version,
	}
	if err := c.write(ctx, x, &cmd); err != nil {
		return Deleted{}, fmt.Errorf("delete %s: %w", shardmap.ShowKey(key), err)
	}
	w := x.written
	return Deleted{
		Keys:    [][]byte{key},
		Written: Written{Group: w.Group, ID: w.ID, Version: w.Version},
		Count:   int(w.Deleted),
	}, nil
}

// bySlot sorts n keys into slots: for each, in the order of their first keys,
// the keys' places.
func bySlot(n int, key func(int) []byte) (slots []shardmap.Slot, members [][]int) {
	at := make(map[shardmap.Slot]int)
	for i := range n {
		s := shardmap.SlotOf(key(i))
		j, ok := at[s]
		if !ok {
			j = len(slots)
			at[s] = j
			slots, members = append(slots, s), append(members, nil)
		}
		members[j] = append(members[j], i)
	}
	return slots, members
}
