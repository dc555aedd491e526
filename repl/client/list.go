package client

import (
	"context"
	"fmt"
	"iter"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// ListOptions say what is listed. The zero value lists all keys and values that
// begin with the prefix, linearizable per group and page.
type ListOptions struct {
	// After leaves out all keys up to this one in the order of the listing, and it: to go on with
	// a listing, give the last key that it showed. Without bytes: none is left out.
	After []byte
	// From is the least key that is listed, To the least above it that is not. Without bytes there
	// is no such bound. Bounds between which no key can be are an error, as a To that is not above
	// From. They need level 9 of the cluster.
	From, To []byte
	// Descending gives out the last key first. It needs level 9 of the cluster.
	Descending bool
	Limit      int // at most so many; 0: all
	KeysOnly   bool
	// Local takes the first endpoint's own copy, however old.
	Local bool
}

// ListItem is one key of a listing. Key and Value share memory with others that came
// with them: copy what is kept for long.
type ListItem struct {
	Key, Value []byte // no value where only keys were asked for
	Version    uint64
	Group      raft.GroupID
	At         raft.LogID // the item is as of here
}

// List goes through the keys that begin with prefix, in order, over all groups, for
// as long as the caller takes: what is sent ahead is bounded, some 16 MiB, and a
// caller that stops gives up the rest. An error ends it.
//
// Each group sends its keys in pieces, each of one moment; the listing is not of one.
// It goes on where it was if leaders change, connections end, or slots move from group to
// group, any number of times. Where nothing comes for [RetryMax], or until ctx ends, it
// ends with the reason.
func (c *Client) List(ctx context.Context, prefix []byte, o ListOptions) iter.Seq2[ListItem, error] {
	return func(yield func(ListItem, error) bool) {
		if err := o.check(prefix); err != nil {
			yield(ListItem{}, fmt.Errorf("list: %w", err))
			return
		}
		l := &lister{client: c, ctx: ctx, core: NewListing(prefix, o), open: make(map[*Stream]*call), came: make(chan struct{}, 1), last: c.now()}
		defer l.drop()
		for n := 0; o.Limit <= 0 || n < o.Limit; n++ {
			item, ok, err := l.next()
			if err != nil {
				yield(ListItem{}, fmt.Errorf("list %s: %w", shardmap.ShowKey(prefix), err))
				return
			}
			if !ok || !yield(item, nil) {
				return
			}
		}
	}
}

// check refuses what no listing of a prefix can be.
func (o *ListOptions) check(prefix []byte) error {
	span := o.span()
	switch {
	case len(prefix) > shardmap.KeyMax:
		return overLimit("prefix "+shardmap.ShowKey(prefix), len(prefix), shardmap.KeyMax, "bytes", "no key is as long; choose a shorter one")
	case len(o.After) > shardmap.KeyMax:
		return keyTooLarge(o.After)
	case o.Limit < 0:
		return wire.BadRequest("listing", fmt.Sprintf("limit %d", o.Limit), "give 0 for all keys, or more")
	}
	if err := span.Check(prefix); err != nil {
		return wire.BadRequest("listing", err.Error(), "give bounds between which keys with the prefix can be")
	}
	return nil
}

// lister carries out what a [Listing] says.
type lister struct {
	client *Client
	ctx    context.Context
	core   *Listing
	open   map[*Stream]*call
	came   chan struct{} // a token: something came of a stream. From readers and whoever ends calls; never closed
	last   time.Duration // when the last plan brought an item
	items  bool          // something was given out since the last plan
}

func (l *lister) next() (ListItem, bool, error) {
	for {
		item, step, err := l.core.Next()
		if err != nil {
			return ListItem{}, false, err
		}
		for _, s := range l.core.Used() {
			if x := l.open[s]; x != nil {
				x.grant()
			}
		}
		for _, s := range l.core.Dropped() {
			l.giveUp(s)
		}
		switch step {
		case ListHas:
			l.items = true
			return item, true, nil
		case ListEnd:
			return ListItem{}, false, nil
		case ListWait:
			l.await(l.core.Awaited())
		case ListPause:
			if now := l.client.now(); l.items {
				l.last, l.items = now, false
			} else if now-l.last > RetryMax {
				return ListItem{}, false, l.core.Moved()
			}
			if err := pauseReplan(l.ctx, l.core.Moved()); err != nil {
				return ListItem{}, false, err
			}
		case ListPlan:
			if err := l.client.awaitTable(l.ctx, l.core.Epoch(), l.client.deadlineOf(l.ctx)); err != nil {
				return ListItem{}, false, err
			}
			if needs := l.core.Level(); l.client.routes.Load().Level < needs { // its table may be of before an upgrade
				if err := l.client.awaitLevel(l.ctx, needs, l.client.deadlineOf(l.ctx)); err != nil {
					return ListItem{}, false, err
				}
			}
			l.core.Plan(l.client.routes.Load())
			for _, s := range l.core.Take() {
				l.start(s)
			}
		}
	}
}

// start opens a stream.
func (l *lister) start(s *Stream) {
	q := s.Scan()
	x := newStreamCall(wire.TypeScan, s, waker(l.came))
	x.Target, x.Group, x.Needs, x.Deadline = ToGroup, q.Group, q.Level(), l.client.deadlineOf(l.ctx)
	x.Slot = shardmap.Slot(q.Group) // spreads over the connections
	if q.Mode == wire.ReadLocal {
		x.Target, x.Peer = ToPeer, 0
	}
	x.ended = func(x *call) {
		s.Finish(withCause(l.ctx, x.err))
		x.stream.tell()
	}
	l.open[s] = x
	l.client.courier.start(x, l.ctx.Done())
}

// await waits until the stream has a piece or is over.
func (l *lister) await(s *Stream) {
	if !s.waits() {
		return
	}
	late := time.NewTimer(RetryMax)
	defer late.Stop()
	done := l.ctx.Done()
	for s.waits() {
		select {
		case <-l.came:
			continue
		case <-late.C:
		case <-done:
			done = nil
		}
		l.client.cancel(l.open[s]) // which ends it
	}
}

// drop gives up the streams that are open.
func (l *lister) drop() {
	for s := range l.open {
		l.giveUp(s)
	}
}

// giveUp gives up a stream, if it is open.
func (l *lister) giveUp(s *Stream) {
	if x := l.open[s]; x != nil && !s.settled() {
		l.client.cancel(x)
	}
	delete(l.open, s)
}
