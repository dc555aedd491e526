package client

import (
	"bytes"
	"container/heap"
	"errors"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// Listing merges the streams of all groups into one listing, in order. It is the
// core of [Client.List], synchronous like [Core]: it says which streams to open, and
// takes what comes of them.
//
// # Duties of the owner
//
//  1. Call [Listing.Next] again and again, and do what its step says.
//  2. After [Listing.Next] and [Listing.Plan] open the streams that [Listing.Take]
//     returns, and do for each what [Stream] wants. After Next, [Listing.Used] has
//     those whose [Stream.Grant] may be due.
//  3. At [ListPlan] and [ListPause], and at the end, give up the streams that are
//     open. What is handed in all the same is ignored.
type Listing struct {
	// PieceBytes is the size of the pieces that are asked for, in bytes; 0: what
	// suits the number of streams. It may be set before the first Plan.
	PieceBytes uint32

	prefix  []byte
	options ListOptions

	last    []byte // the key that was given out last
	epoch   uint64 // of the table that the streams were planned by
	planned bool
	paused  bool  // Next has said ListPause
	moved   error // why the last plan came to its end
	heads   heads // of streams that have a row, as a heap by key
	waiting []*head
	opened  []*Stream
	used    []*Stream
}

// ListStep says what the owner of a [Listing] does next.
type ListStep uint8

const (
	// ListHas comes with the next item.
	ListHas ListStep = iota + 1
	// ListPlan wants a table of [Listing.Epoch] or later: call [Listing.Plan].
	ListPlan
	// ListPause wants a short pause before Next is called again: a node's table
	// is behind the client's.
	ListPause
	// ListWait wants the next piece of [Listing.Awaited], or its end.
	ListWait
	// ListEnd says that there are no more items.
	ListEnd
)

// NewListing begins a listing of the keys that begin with prefix.
func NewListing(prefix []byte, o ListOptions) *Listing {
	return &Listing{prefix: prefix, options: o, last: o.After}
}

// head is the first row of a stream that was not given out.
type head struct {
	stream *Stream
	page   wire.ListAnswer // what is behind the row

	group      raft.GroupID
	key, value []byte
	version    uint64
}

// Epoch returns the epoch of the table that the next plan needs at least.
func (l *Listing) Epoch() uint64 { return l.epoch }

// Take returns the streams that are to be opened since it was last called.
func (l *Listing) Take() []*Stream {
	opened := l.opened
	l.opened = nil
	return opened
}

// Used returns the streams of which pieces were used since it was last called. It is
// good until the next call of [Listing.Next].
func (l *Listing) Used() []*Stream {
	used := l.used
	l.used = l.used[:0]
	return used
}

// Awaited returns the stream without whose next piece there is no next item.
func (l *Listing) Awaited() *Stream { return l.waiting[0].stream }

// Moved returns why the listing has to be planned again.
func (l *Listing) Moved() error { return l.moved }

// Plan opens a stream of every group that can hold such keys, behind what was given
// out. Where the listing was planned before, that plan is over.
func (l *Listing) Plan(r *Routes) {
	l.unplan()
	l.epoch, l.planned = r.Epoch, true
	groups := groupsOf(r, l.prefix)
	window, piece := windowOf(len(groups))
	if l.PieceBytes != 0 {
		window, piece = 4*uint64(l.PieceBytes), l.PieceBytes
	}
	for _, g := range groups {
		q := wire.Scan{
			Group: g, Epoch: l.epoch, Prefix: l.prefix, After: l.last,
			Limit: uint64(max(l.options.Limit, 0)), PieceBytes: piece, KeysOnly: l.options.KeysOnly,
		}
		if l.options.Local {
			q.Mode, q.Epoch = wire.ReadLocal, 0
		}
		s := newStream(q, window)
		l.opened = append(l.opened, s)
		l.waiting = append(l.waiting, &head{stream: s, group: g})
	}
}

// groupsOf returns the groups that can hold keys with the prefix: one, if the
// prefix holds a whole tag.
func groupsOf(r *Routes, prefix []byte) []raft.GroupID {
	if slot, ok := shardmap.SlotOfPrefix(prefix); ok && r.Group[slot] != 0 {
		return []raft.GroupID{r.Group[slot]}
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

// Next returns the next item, or says what it takes to have one. An error ends
// the listing.
func (l *Listing) Next() (ListItem, ListStep, error) {
	if l.paused || !l.planned {
		l.paused = false
		return ListItem{}, ListPlan, nil
	}
	for len(l.waiting) > 0 {
		h := l.waiting[0]
		page, there, more, err := h.stream.next()
		l.used = append(l.used, h.stream)
		if err != nil {
			step, err := l.replan(err)
			return ListItem{}, step, err
		}
		if !there && more {
			return ListItem{}, ListWait, nil
		}
		l.waiting = l.waiting[1:]
		if h.page = page; there && h.advance() {
			heap.Push(&l.heads, h)
		}
	}
	if len(l.heads) == 0 {
		return ListItem{}, ListEnd, nil
	}
	h := l.heads[0]
	item := ListItem{Key: h.key, Value: h.value, Version: h.version, Group: h.group, At: h.page.At}
	l.last = item.Key
	if h.advance() {
		heap.Fix(&l.heads, 0)
	} else {
		l.waiting = append(l.waiting, heap.Pop(&l.heads).(*head))
	}
	return item, ListHas, nil
}

// replan starts over after the last key if slots have moved; any other error
// ends the listing.
func (l *Listing) replan(err error) (ListStep, error) {
	var e *wire.Error
	if !errors.As(err, &e) || e.Code != wire.CodeMoved || l.options.Local {
		return 0, err
	}
	l.unplan()
	l.moved = e
	if e.Epoch > l.epoch {
		l.epoch = e.Epoch
		return ListPlan, nil
	}
	l.paused = true
	return ListPause, nil
}

// unplan gives up the plan: what comes of its streams is of no interest any more.
func (l *Listing) unplan() {
	l.heads, l.waiting, l.opened, l.used, l.planned = nil, nil, nil, nil, false
}

// advance takes the next row of the page to the head; false after the last.
func (h *head) advance() (ok bool) {
	h.key, h.version, h.value, ok = h.page.Next()
	return ok
}

// heads is a heap by key.
type heads []*head

func (h heads) Len() int           { return len(h) }
func (h heads) Less(i, j int) bool { return bytes.Compare(h[i].key, h[j].key) < 0 }
func (h heads) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push is for package heap.
func (h *heads) Push(x any) { *h = append(*h, x.(*head)) }

// Pop is for package heap: it takes off the last one.
func (h *heads) Pop() any {
	old := *h
	x := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return x
}
