package client

import (
	"bytes"
	"container/heap"
	"errors"
	"fmt"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// Listing merges the pages of all groups into one listing, in order. It is the
// core of [Client.List], synchronous like [Core]: it says which pages to ask for,
// and is told what became of them.
//
// # Duties of the owner
//
//  1. Call [Listing.Next] again and again, and do what its step says.
//  2. After [Listing.Next] and [Listing.Plan] ask for the pages that
//     [Listing.Take] returns, and hand in each with [Listing.Page] or
//     [Listing.Failed], once, in any order.
//  3. At [ListPlan] and [ListPause] give up the pages that are under way. One
//     that is handed in all the same is ignored.
type Listing struct {
	// Rows bounds the rows of a page. It may be lowered before the first Plan.
	Rows uint32

	prefix  []byte
	options ListOptions

	last    []byte // the key that was given out last
	epoch   uint64 // of the table that the streams were planned by
	planned bool
	paused  bool    // Next has said ListPause
	moved   error   // why the last plan came to its end
	streams streams // with a row each, as a heap by key
	waiting []*stream
	out     []*PageAsk
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
	// ListWait wants the page [Listing.Awaited].
	ListWait
	// ListEnd says that there are no more items.
	ListEnd
)

// PageAsk is one page that a [Listing] wants.
type PageAsk struct {
	Query wire.List

	stream *stream
}

// The pages of a listing share a budget, however many groups there are.
const (
	listBytes    = 16 << 20 // of pages that are held at one time
	pageBytesMin = 16 << 10
)

// NewListing begins a listing of the keys that begin with prefix.
func NewListing(prefix []byte, o ListOptions) *Listing {
	return &Listing{Rows: wire.ListRowsMax, prefix: prefix, options: o, last: o.After}
}

// stream is the listing of one group.
type stream struct {
	page   wire.ListAnswer
	coming *PageAsk // the next page, asked for; nil if there is none
	came   bool     // it was handed in: body, or why there is none
	body   []byte
	err    error

	// The row at its head.
	group      raft.GroupID
	key, value []byte
	version    uint64
}

// Epoch returns the epoch of the table that the next plan needs at least.
func (l *Listing) Epoch() uint64 { return l.epoch }

// Take returns the pages that are to be asked for since it was last called.
func (l *Listing) Take() []*PageAsk {
	out := l.out
	l.out = nil
	return out
}

// Awaited returns the page without which there is no next item.
func (l *Listing) Awaited() *PageAsk { return l.waiting[0].coming }

// Moved returns why the listing has to be planned again.
func (l *Listing) Moved() error { return l.moved }

// Plan asks every group that can hold such keys for its first page, behind what
// was given out. Where the listing was planned before, that plan is over.
func (l *Listing) Plan(r *Routes) {
	l.unplan()
	l.epoch, l.planned = r.Epoch, true
	groups := groupsOf(r, l.prefix)
	for _, g := range groups {
		s := &stream{group: g}
		l.ask(s, l.last, len(groups))
		l.waiting = append(l.waiting, s)
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

// ask asks for the page of a stream after a key. Half of a stream's share is for
// the page that is read, half for the one that comes.
func (l *Listing) ask(s *stream, after []byte, groups int) {
	q := wire.List{
		Group: s.group, Epoch: l.epoch, Prefix: l.prefix, After: after,
		Limit:    l.Rows,
		MaxBytes: uint32(min(max(listBytes/2/groups, pageBytesMin), wire.ListBytesMax)),
		KeysOnly: l.options.KeysOnly,
	}
	if n := l.options.Limit; n > 0 && n < int(q.Limit) {
		q.Limit = uint32(n)
	}
	if l.options.Local {
		q.Mode, q.Epoch = wire.ReadLocal, 0
	}
	s.coming = &PageAsk{Query: q, stream: s}
	l.out = append(l.out, s.coming)
}

// Page hands in a page, which the listing keeps.
func (l *Listing) Page(a *PageAsk, body []byte) {
	if s := a.stream; s.coming == a {
		s.body, s.came = body, true
	}
}

// Failed says that there will be no answer to a.
func (l *Listing) Failed(a *PageAsk, err error) {
	if s := a.stream; s.coming == a {
		s.err, s.came = err, true
	}
}

// Next returns the next item, or says what it takes to have one. An error ends
// the listing.
func (l *Listing) Next() (ListItem, ListStep, error) {
	if l.paused || !l.planned {
		l.paused = false
		return ListItem{}, ListPlan, nil
	}
	for len(l.waiting) > 0 {
		s := l.waiting[0]
		if !s.came {
			return ListItem{}, ListWait, nil
		}
		there, err := l.receive(s)
		if err != nil {
			step, err := l.replan(err)
			return ListItem{}, step, err
		}
		l.waiting = l.waiting[1:]
		if there {
			heap.Push(&l.streams, s)
		}
	}
	if len(l.streams) == 0 {
		return ListItem{}, ListEnd, nil
	}
	s := l.streams[0]
	item := ListItem{Key: s.key, Value: s.value, Version: s.version, Group: s.group, At: s.page.At}
	l.last = item.Key
	switch {
	case s.advance():
		heap.Fix(&l.streams, 0)
	case s.coming != nil:
		l.waiting = append(l.waiting, heap.Pop(&l.streams).(*stream))
	default:
		heap.Pop(&l.streams)
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

// unplan gives up the plan: what comes of its pages is of no interest any more.
func (l *Listing) unplan() {
	for _, list := range [][]*stream{l.waiting, l.streams} {
		for _, s := range list {
			s.coming = nil
		}
	}
	l.streams, l.waiting, l.out, l.planned = nil, nil, nil, false
}

// receive takes the page that has come to its stream, and asks for the one after
// it. It reports whether there is a row.
func (l *Listing) receive(s *stream) (bool, error) {
	body, err := s.body, s.err
	s.coming, s.came, s.body = nil, false, nil
	if err != nil {
		return false, err
	}
	if err := s.page.Read(body); err != nil {
		return false, fmt.Errorf("page of group %s: %w", s.group, err)
	}
	if s.page.More {
		last := lastKey(s.page)
		if last == nil {
			return false, fmt.Errorf("page of group %s: no rows, but more to come", s.group)
		}
		l.ask(s, last, max(len(l.streams)+len(l.waiting), 1))
	}
	return s.advance(), nil
}

// advance takes the next row of the page to the head; false after the last.
func (s *stream) advance() (ok bool) {
	s.key, s.version, s.value, ok = s.page.Next()
	return ok
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

// Push is for package heap.
func (h *streams) Push(x any) { *h = append(*h, x.(*stream)) }

// Pop is for package heap: it takes off the last stream.
func (h *streams) Pop() any {
	old := *h
	s := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return s
}
