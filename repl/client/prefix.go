package client

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

const (
	// prefixSlotsMax is how many slots a [DeletePrefix] works on at a time: enough that groups
	// sync many commands together. A node applies what was synced together in one go, so this also
	// bounds how long other requests wait for it, to 40 ms where all slots are full of such keys.
	prefixSlotsMax = 64
	// prefixProbe is how many keys a [DeletePrefix] lists to learn which slots have any. Up to
	// there it sends commands to those slots alone; each slot that it visits keeps a session.
	prefixProbe = 1024
)

// PrefixOptions say how a [DeletePrefix] goes about it. The zero value is a good one.
type PrefixOptions struct {
	// Within bounds how long each of its requests may take, retries included; 0, or more than
	// [RetryMax], means RetryMax.
	Within time.Duration
	// Progress, if not nil, is told after each command what was done so far, by the goroutine
	// that has called DeletePrefix.
	Progress func(PrefixDeleted)
	// From is the first slot that is visited: what those below it have stays. It is for a delete that
	// continues another one, at its [PrefixDeleted.Next].
	From shardmap.Slot
	// Until, if not nil, ends the delete when it is closed: no more commands are sent, and those that are under way
	// are waited for, so that nothing is deleted any more when DeletePrefix returns, and Keys has all that was. It
	// returns no error then; Next says how far it came. Where ctx ends, commands under way may still be carried out.
	Until <-chan struct{}
	// Bounds, if not nil, spare what was written after them: of each slot only the keys are deleted
	// that have its version of [Client.SlotVersions], or an earlier one. Then it never takes longer
	// because others write such keys.
	Bounds *SlotVersions
}

// PrefixDeleted says what a [DeletePrefix] has done.
type PrefixDeleted struct {
	Keys             int // that it deleted
	Slots, SlotsDone int // that it visits, and that have no key left
	// Next is the lowest slot that may have a key left that is to go; [shardmap.Slots]: none has.
	Next shardmap.Slot
	// Last is the log id of the newest delete in each group in which there were keys. It is good
	// until the next call of Progress.
	Last map[raft.GroupID]raft.LogID
}

// DeletePrefix deletes all keys that begin with prefix; an empty one means all keys. It deletes
// every key that existed when it began, and perhaps some that are written meanwhile. The groups
// delete up to [shardmap.DelPrefixMax] keys of a slot at once, in the order of keys: others see
// these disappear together, and the keys of other slots sooner or later. It goes through each slot
// once, so it ends even while others keep writing such keys.
//
// After an error some keys are deleted and others are not: the result says what is known of
// that. The same call again deletes the rest. The error's code is level in a cluster below level
// 9, with nothing deleted; too-large for a prefix longer than a key can be; unauthorized for a
// caller that may not write all keys with the prefix. If the caller may list them, too, and they
// are few, only slots that have such keys are visited.
func DeletePrefix(ctx context.Context, c *Client, prefix []byte, o PrefixOptions) (PrefixDeleted, error) {
	d := &prefixDeleter{client: c, prefix: prefix, within: RetryMax, from: o.From, bounds: o.Bounds, until: o.Until, progress: o.Progress, failed: make(chan struct{})}
	d.done.Next = o.From
	if o.Within > 0 {
		d.within = min(o.Within, RetryMax)
	}
	d.done.Last = map[raft.GroupID]raft.LogID{}
	if err := d.run(ctx); err != nil {
		return d.done, fmt.Errorf("delete prefix %s: %w", shardmap.ShowKey(prefix), err)
	}
	return d.done, nil
}

// prefixDeleter is one [DeletePrefix]. Its workers ask the groups; the goroutine that has called
// it gives them slots, and gathers what they found.
type prefixDeleter struct {
	client   *Client
	prefix   []byte
	within   time.Duration
	from     shardmap.Slot
	until    <-chan struct{}
	bounds   *SlotVersions // nil: none
	progress func(PrefixDeleted)
	// failed is closed by the caller's goroutine after the first error, or when until is closed: no worker sends
	// another command.
	failed chan struct{}

	// Of the caller's goroutine.
	done    PrefixDeleted
	visits  []shardmap.Slot        // that are to be visited, and may have a key left; in order
	emptied map[shardmap.Slot]bool // of visits: those that have none
}

// prefixAnswer is what became of one command to a slot.
type prefixAnswer struct {
	wire.DelPrefixAnswer
	slot shardmap.Slot
	err  error
	last bool // no other follows for the slot
}

func (d *prefixDeleter) run(ctx context.Context) error {
	if n := len(d.prefix); n > shardmap.KeyMax {
		return overLimit("prefix", n, shardmap.KeyMax, "bytes", "no key is as long; choose a shorter one")
	}
	err := d.request(ctx, func(ctx context.Context) error {
		return d.client.needLevel(ctx, "deletes of a prefix", shardmap.RangesLevel)
	})
	if err != nil {
		return err
	}
	slots, err := d.slots(ctx)
	if err != nil {
		return err
	}
	slices.Sort(slots)
	first, _ := slices.BinarySearch(slots, d.from)
	slots = slots[first:]
	if d.bounds != nil { // 0 would be no bound, and there was nothing
		slots = slices.DeleteFunc(slots, func(s shardmap.Slot) bool { return d.bounds[s] == 0 })
	}
	d.visits, d.emptied = slots, map[shardmap.Slot]bool{}
	d.reckon()
	return d.visit(ctx, slots)
}

// reckon finds out which slot is the next one that may have a key left.
func (d *prefixDeleter) reckon() {
	for len(d.visits) > 0 && d.emptied[d.visits[0]] {
		delete(d.emptied, d.visits[0])
		d.visits = d.visits[1:]
	}
	if d.done.Next = shardmap.Slots; len(d.visits) > 0 {
		d.done.Next = d.visits[0]
	}
}

// request does something within the time that a request has.
func (d *prefixDeleter) request(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, d.within)
	defer cancel()
	return f(ctx)
}

// slots returns the slots that may have keys with the prefix.
func (d *prefixDeleter) slots(ctx context.Context) ([]shardmap.Slot, error) {
	all := slotsOfPrefix(d.prefix)
	if len(all) == 1 {
		return all, nil
	}
	keys, seen, some := 0, map[shardmap.Slot]bool{}, []shardmap.Slot(nil)
	err := d.request(ctx, func(ctx context.Context) error {
		for item, err := range d.client.List(ctx, d.prefix, ListOptions{KeysOnly: true, Limit: prefixProbe}) {
			if err != nil {
				return err
			}
			keys++
			if slot := shardmap.SlotOf(item.Key); !seen[slot] {
				seen[slot], some = true, append(some, slot)
			}
		}
		return nil
	})
	switch {
	case isCode(err, wire.CodeUnauthorized):
		// It may write these keys and not list them. Whether it may, the commands are told.
	case err != nil:
		return nil, err
	case keys < prefixProbe:
		return some, nil
	}
	return all, nil
}

// visit deletes the keys of these slots, and returns the first error.
func (d *prefixDeleter) visit(ctx context.Context, slots []shardmap.Slot) (first error) {
	d.done.Slots = len(slots)
	work := make(chan shardmap.Slot)   // to the workers; closed below
	answers := make(chan prefixAnswer) // from the workers; never closed
	var workers sync.WaitGroup         // each ends when work is closed
	for range min(len(slots), prefixSlotsMax) {
		workers.Go(func() {
			for slot := range work {
				d.empty(ctx, slot, answers)
			}
		})
	}
	open, stopped, until := 0, false, d.until
	stop := func() {
		if slots = nil; !stopped {
			stopped = true
			close(d.failed)
		}
	}
	for len(slots) > 0 || open > 0 {
		select {
		case <-until: // first: beside an idle worker the choice below would fall on either
			until = nil
			stop()
			continue
		default:
		}
		give, slot := work, shardmap.Slot(0)
		if len(slots) > 0 {
			slot = slots[0]
		} else {
			give = nil
		}
		select {
		case <-until:
			until = nil
			stop()
		case give <- slot:
			slots, open = slots[1:], open+1
		case a := <-answers:
			if a.last {
				open--
			}
			if a.err != nil && first == nil {
				first = a.err
				stop()
			}
			d.gather(&a)
		}
	}
	close(work)
	workers.Wait()
	return first
}

// gather takes note of an answer.
func (d *prefixDeleter) gather(a *prefixAnswer) {
	if a.err != nil {
		return
	}
	d.done.Keys += int(a.Deleted)
	if a.Deleted > 0 && a.ID.NewerOrEqual(d.done.Last[a.Group]) {
		d.done.Last[a.Group] = a.ID
	}
	if !a.More {
		d.done.SlotsDone++
		d.emptied[a.slot] = true
		d.reckon()
	}
	if d.progress != nil {
		d.progress(d.done)
	}
}

// empty deletes the keys of a slot, by one command after the other.
func (d *prefixDeleter) empty(ctx context.Context, slot shardmap.Slot, answers chan<- prefixAnswer) {
	p := shardmap.DelPrefix{Prefix: d.prefix, Limit: shardmap.DelPrefixMax}
	if d.bounds != nil {
		p.UpTo = d.bounds[slot]
	}
	for {
		a := prefixAnswer{slot: slot}
		a.err = d.request(ctx, func(ctx context.Context) (err error) {
			a.DelPrefixAnswer, err = d.once(ctx, slot, &p)
			return err
		})
		if a.err == nil && a.More && bytes.Compare(a.Next, p.After) <= 0 {
			a.err = fmt.Errorf("answer to a delete of a prefix: field next: %s; want a key behind %s", shardmap.ShowKey(a.Next), shardmap.ShowKey(p.After))
		}
		p.After = a.Next
		a.last = a.err != nil || !a.More
		select {
		case <-d.failed:
			a.last = true
		default:
		}
		if answers <- a; a.last {
			return
		}
	}
}

// once sends one command.
func (d *prefixDeleter) once(ctx context.Context, slot shardmap.Slot, p *shardmap.DelPrefix) (a wire.DelPrefixAnswer, err error) {
	cmd := p.Command(slot)
	x := newCall(wire.TypeWrite)
	defer x.release()
	if err := d.client.write(ctx, x, &cmd); err != nil {
		return a, err
	}
	if err := a.Read(x.answer); err != nil {
		return a, fmt.Errorf("answer to a delete of a prefix: %w", err)
	}
	a.Next = bytes.Clone(a.Next) // the answer's memory is used again
	return a, nil
}
