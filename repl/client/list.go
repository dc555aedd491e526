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
	After    []byte // only keys that come after this one
	Limit    int    // at most so many; 0: all
	KeysOnly bool
	// Local takes the first endpoint's own copy, however old.
	Local bool
}

// ListItem is one key of a listing. Key and Value share memory with their page:
// copy what is kept for long.
type ListItem struct {
	Key, Value []byte // no value where only keys were asked for
	Version    uint64
	Group      raft.GroupID
	At         raft.LogID // the item is as of here
}

// replanPause is between two plans where a node's table is behind ours.
const replanPause = 50 * time.Millisecond

// List goes through the keys that begin with prefix, in order, over all groups.
// An error ends it. Each page is read at one moment; the listing is not.
func (c *Client) List(ctx context.Context, prefix []byte, o ListOptions) iter.Seq2[ListItem, error] {
	return func(yield func(ListItem, error) bool) {
		if len(prefix) > shardmap.KeyMax {
			yield(ListItem{}, fmt.Errorf("list: %w", overLimit("prefix "+shardmap.ShowKey(prefix), len(prefix), shardmap.KeyMax, "bytes", "no key is as long; choose a shorter one")))
			return
		}
		l := &lister{client: c, ctx: ctx, core: NewListing(prefix, o), coming: make(map[*PageAsk]*call)}
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

// lister carries out what a [Listing] says.
type lister struct {
	client *Client
	ctx    context.Context
	core   *Listing
	coming map[*PageAsk]*call
}

func (l *lister) next() (ListItem, bool, error) {
	for {
		item, step, err := l.core.Next()
		if err != nil {
			return ListItem{}, false, err
		}
		l.ask()
		switch step {
		case ListHas:
			return item, true, nil
		case ListEnd:
			return ListItem{}, false, nil
		case ListWait:
			l.await(l.core.Awaited())
		case ListPause:
			l.drop()
			select {
			case <-time.After(replanPause):
			case <-l.ctx.Done():
				return ListItem{}, false, withCause(l.ctx, l.core.Moved())
			}
		case ListPlan:
			l.drop()
			if err := l.client.awaitTable(l.ctx, l.core.Epoch(), l.client.deadlineOf(l.ctx)); err != nil {
				return ListItem{}, false, err
			}
			l.core.Plan(l.client.routes.Load())
			l.ask()
		}
	}
}

// ask sends for the pages that are wanted.
func (l *lister) ask() {
	for _, a := range l.core.Take() {
		x := newCall(wire.TypeList)
		x.Target, x.Group, x.Deadline = ToGroup, a.Query.Group, l.client.deadlineOf(l.ctx)
		x.Slot = shardmap.Slot(a.Query.Group) // spreads over the connections
		if a.Query.Mode == wire.ReadLocal {
			x.Target, x.Peer = ToPeer, 0
		}
		x.body = a.Query.Append(x.body[:0])
		l.coming[a] = x
		l.client.start(x, l.ctx.Done())
	}
}

// await waits for a page and hands it in.
func (l *lister) await(a *PageAsk) {
	x := l.coming[a]
	delete(l.coming, a)
	select {
	case <-x.done:
	case <-l.ctx.Done():
		l.client.cancel(x)
		<-x.done
	}
	err, body := x.err, x.answer
	x.answer = nil // the page keeps it
	x.release()
	if err != nil {
		l.core.Failed(a, withCause(l.ctx, err))
		return
	}
	l.core.Page(a, body)
}

// drop ends what is under way.
func (l *lister) drop() {
	for _, x := range l.coming {
		l.client.cancel(x)
		<-x.done
		x.release()
	}
	clear(l.coming)
}
