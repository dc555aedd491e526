package client

import (
	"bytes"
	"container/heap"
	"context"
	"errors"
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

// The pages of a listing share a budget, however many groups there are.
const (
	listBytes    = 16 << 20 // of pages that are held at one time
	pageBytesMin = 16 << 10
	// replanPause is between two plans where a node's table is behind ours.
	replanPause = 50 * time.Millisecond
)

// List goes through the keys that begin with prefix, in order, over all groups.
// An error ends it. Each page is read at one moment; the listing is not.
func (c *Client) List(ctx context.Context, prefix []byte, o ListOptions) iter.Seq2[ListItem, error] {
	return func(yield func(ListItem, error) bool) {
		l := &lister{client: c, ctx: ctx, prefix: prefix, options: o, last: o.After}
		defer l.drop()
		if len(prefix) > shardmap.KeyMax {
			yield(ListItem{}, fmt.Errorf("list: %w", overLimit("prefix "+show(prefix), len(prefix), shardmap.KeyMax, "bytes", "no key is as long; choose a shorter one")))
			return
		}
		for n := 0; o.Limit <= 0 || n < o.Limit; n++ {
			item, ok, err := l.next()
			if err != nil {
				yield(ListItem{}, fmt.Errorf("list %s: %w", show(prefix), err))
				return
			}
			if !ok || !yield(item, nil) {
				return
			}
		}
	}
}

// lister merges the pages of all groups.
type lister struct {
	client  *Client
	ctx     context.Context
	prefix  []byte
	options ListOptions

	last    []byte // the key that was given out last
	epoch   uint64 // of the table that the streams were planned by
	planned bool
	streams streams // with a row each, as a heap by key
}

// stream is the listing of one group.
type stream struct {
	lister *lister
	group  raft.GroupID
	page   wire.ListAnswer
	coming *call // the next page; nil if there is none

	// The row at its head.
	key, value []byte
	version    uint64
}

func (l *lister) next() (ListItem, bool, error) {
	for !l.planned {
		if err := l.plan(); err != nil {
			if err := l.replan(err); err != nil {
				return ListItem{}, false, err
			}
		}
	}
	if len(l.streams) == 0 {
		return ListItem{}, false, nil
	}
	s := l.streams[0]
	item := ListItem{Key: s.key, Value: s.value, Version: s.version, Group: s.group, At: s.page.At}
	l.last = item.Key
	there, err := s.advance()
	switch {
	case err != nil:
		if err := l.replan(err); err != nil {
			return ListItem{}, false, err
		}
	case there:
		heap.Fix(&l.streams, 0)
	default:
		heap.Pop(&l.streams)
	}
	return item, true, nil
}

// plan asks every group that can hold such keys for its first page.
func (l *lister) plan() error {
	c := l.client
	if err := c.awaitTable(l.ctx, l.epoch, c.deadlineOf(l.ctx)); err != nil {
		return err
	}
	r := c.routes.Load()
	l.epoch = r.Epoch
	groups := groupsOf(r, l.prefix)
	streams := make([]*stream, len(groups))
	for i, g := range groups {
		streams[i] = &stream{lister: l, group: g}
		streams[i].ask(l.last, len(groups))
	}
	l.streams = streams
	kept := l.streams[:0]
	for i, s := range streams {
		there, err := s.advance()
		if err != nil {
			l.streams = append(kept, streams[i:]...)
			return err
		}
		if there {
			kept = append(kept, s)
		}
	}
	l.streams = kept
	heap.Init(&l.streams)
	l.planned = true
	return nil
}

// replan starts over after the last key if slots have moved; any other error
// ends the listing.
func (l *lister) replan(err error) error {
	var e *wire.Error
	if !errors.As(err, &e) || e.Code != wire.CodeMoved || l.options.Local {
		return err
	}
	l.drop()
	if e.Epoch > l.epoch {
		l.epoch = e.Epoch
		return nil
	}
	select {
	case <-time.After(replanPause):
		return nil
	case <-l.ctx.Done():
		return withCause(l.ctx, e)
	}
}

// drop ends what is under way.
func (l *lister) drop() {
	for _, s := range l.streams {
		if x := s.coming; x != nil {
			s.coming = nil
			l.client.cancel(x)
			<-x.done
			x.release()
		}
	}
	l.streams, l.planned = nil, false
}

// groupsOf returns the groups that can hold keys with the prefix: one, if the
// prefix holds a whole tag.
func groupsOf(r *Routes, prefix []byte) []raft.GroupID {
	if from := bytes.IndexByte(prefix, '{'); from >= 0 {
		if to := bytes.IndexByte(prefix[from+1:], '}'); to > 0 {
			if g := r.Group[shardmap.SlotOf(prefix)]; g != 0 {
				return []raft.GroupID{g}
			}
		}
	}
	var seen [raft.GroupMax + 1]bool
	var groups []raft.GroupID
	for _, g := range r.Group {
		if g != 0 && !seen[g] {
			seen[g] = true
			groups = append(groups, g)
		}
	}
	return groups
}

// ask sends for the page after a key. Half of a stream's share is for the page
// that is read, half for the one that comes.
func (s *stream) ask(after []byte, groups int) {
	l := s.lister
	x := newCall(wire.TypeList)
	x.Target, x.Group, x.Deadline = ToGroup, s.group, l.client.deadlineOf(l.ctx)
	x.Slot = shardmap.Slot(s.group) // spreads over the connections
	q := wire.List{
		Group: s.group, Epoch: l.epoch, Prefix: l.prefix, After: after,
		Limit:    wire.ListRowsMax,
		MaxBytes: uint32(min(max(listBytes/2/groups, pageBytesMin), wire.ListBytesMax)),
		KeysOnly: l.options.KeysOnly,
	}
	if n := l.options.Limit; n > 0 && n < wire.ListRowsMax {
		q.Limit = uint32(n)
	}
	if l.options.Local {
		q.Mode, q.Epoch = wire.ReadLocal, 0
		x.Target, x.Peer = ToPeer, 0
	}
	x.body = q.Append(x.body[:0])
	s.coming = x
	l.client.start(x, l.ctx.Done())
}

// advance takes the next row to the head; false after the last.
func (s *stream) advance() (bool, error) {
	for {
		key, version, value, ok := s.page.Next()
		if ok {
			s.key, s.version, s.value = key, version, value
			return true, nil
		}
		if s.coming == nil {
			return false, nil
		}
		if err := s.receive(); err != nil {
			return false, err
		}
	}
}

// receive waits for the page that comes, and asks for the one after it.
func (s *stream) receive() error {
	l, x := s.lister, s.coming
	s.coming = nil
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
		return withCause(l.ctx, err)
	}
	if err := s.page.Read(body); err != nil {
		return fmt.Errorf("page of group %s: %w", s.group, err)
	}
	if !s.page.More {
		return nil
	}
	last := lastKey(s.page)
	if last == nil {
		return fmt.Errorf("page of group %s: no rows, but more to come", s.group)
	}
	s.ask(last, max(len(l.streams), 1))
	return nil
}

// lastKey returns the key of a page's last row.
func lastKey(page wire.ListAnswer) (last []byte) {
	for {
		key, _, _, ok := page.Next()
		if !ok {
			return last
		}
		last = key
	}
}

// streams is a heap by the key at the head.
type streams []*stream

func (h streams) Len() int           { return len(h) }
func (h streams) Less(i, j int) bool { return bytes.Compare(h[i].key, h[j].key) < 0 }
func (h streams) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push is for package heap; no stream is added once the merge has begun.
func (h *streams) Push(x any) { *h = append(*h, x.(*stream)) }

// Pop is for package heap: it takes off the last stream.
func (h *streams) Pop() any {
	old := *h
	s := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return s
}
