package client

import (
	"bytes"
	"container/heap"
	"errors"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/access"
)

// Listing merges the streams of all groups into one listing, in order. It is the
// core of [Client.List], synchronous like [Core]: it says which streams to open, and
// takes what comes of them.
//
// Each stream is of some slots, and each slot of one stream. Where slots have left the
// group of a stream, those of that stream are planned anew, from the last key that was
// given out on; the others go on.
//
// # Duties of the owner
//
//  1. Call [Listing.Next] again and again, and do what its step says.
//  2. After [Listing.Next] and [Listing.Plan] open the streams that [Listing.Take]
//     returns, and do for each what [Stream] wants. After Next, [Listing.Used] has
//     those whose [Stream.Grant] may be due, and [Listing.Dropped] those to give up,
//     if they are open. What is handed in all the same is ignored.
//  3. At the end give up the streams that are open.
type Listing struct {
	// PieceBytes is the size of the pieces that are asked for, in bytes; 0: what
	// suits the number of streams. It may be set before the first Plan.
	PieceBytes uint32

	prefix  []byte // the longest one that all keys of the listing have
	span    wire.Span
	options ListOptions

	failed  error  // the cluster does not know such listings
	last    []byte // the key that was given out last
	replans replans
	pending []shardmap.SlotRange // of no stream: to be planned
	moved   error                // why slots have to be planned again
	heads   heads                // of streams that have a row
	waiting []*head
	opened  []*Stream
	used    []*Stream
	dropped []*Stream
}

// streamsSpare is how many streams a listing may have beyond one for each group before it
// is planned anew as a whole: slots that went from one group to another one by one are
// of as many streams there.
const streamsSpare = 32

// ListStep says what the owner of a [Listing] does next.
type ListStep uint8

const (
	// ListHas comes with the next item.
	ListHas ListStep = iota + 1
	// ListPlan wants a table of [Listing.Epoch] or later: call [Listing.Plan].
	ListPlan
	// ListPause wants a short pause before Next is called again: a node's table
	// is behind the client's, or the client's behind what has moved.
	ListPause
	// ListWait wants the next piece of [Listing.Awaited], or its end.
	ListWait
	// ListEnd says that there are no more items.
	ListEnd
)

// NewListing begins a listing of the keys that begin with prefix. The caller has checked o.
func NewListing(prefix []byte, o ListOptions) *Listing {
	span := o.span()
	l := &Listing{prefix: narrowed(prefix, &span), span: span, options: o, last: o.After}
	l.heads.span = &l.span
	l.planAll()
	return l
}

// span is what nodes are told of o.
func (o *ListOptions) span() wire.Span {
	return wire.Span{From: o.From, To: o.To, Descending: o.Descending}
}

// narrowed returns the longest prefix that all keys with a prefix have that are within a span: a grant
// has to cover it, and one that holds a whole tag is of one slot.
func narrowed(prefix []byte, s *wire.Span) []byte {
	if len(s.To) == 0 {
		return prefix
	}
	all := access.SpanPrefix(s.From, s.To)
	all = all[:min(len(all), shardmap.KeyMax)]
	if len(all) > len(prefix) && bytes.HasPrefix(all, prefix) {
		return all
	}
	return prefix
}

// planAll leaves all slots that can hold such keys to be planned: one, if the prefix
// holds a whole tag.
func (l *Listing) planAll() {
	l.pending = []shardmap.SlotRange{{From: 0, To: shardmap.Slots - 1}}
	if slot, ok := shardmap.SlotOfPrefix(l.prefix); ok {
		l.pending = []shardmap.SlotRange{{From: slot, To: slot}}
	}
}

// head is the first row of a stream that was not given out.
type head struct {
	stream *Stream
	slots  []shardmap.SlotRange // its keys are of
	page   wire.ListAnswer      // what is behind the row

	group      raft.GroupID
	key, value []byte
	version    uint64
}

// Level returns the level that the cluster has to be of.
func (l *Listing) Level() uint32 { return l.span.Level() }

// Epoch returns the epoch of the table that the next plan needs at least.
func (l *Listing) Epoch() uint64 { return l.replans.epoch }

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

// Dropped returns the streams of which nothing more is wanted since it was last called.
func (l *Listing) Dropped() []*Stream {
	dropped := l.dropped
	l.dropped = nil
	return dropped
}

// Awaited returns the stream without whose next piece there is no next item.
func (l *Listing) Awaited() *Stream { return l.waiting[0].stream }

// Moved returns why the listing has to be planned again.
func (l *Listing) Moved() error { return l.moved }

// Plan opens streams for the slots that have none: of each group that has some of them,
// behind what was given out.
func (l *Listing) Plan(r *Routes) {
	if needs := l.Level(); r.Level < needs {
		l.failed = wire.OverLevel(rangesObject, needs, r.Level)
		return
	}
	pending, after := l.pending, l.last
	l.pending, l.replans.epoch = nil, r.Epoch
	if bug("moved slots listed anew") {
		after = l.options.After
	}
	groups, slots := byGroup(r, pending)
	window, piece := windowOf(l.streams() + len(groups))
	if l.PieceBytes != 0 {
		window, piece = 4*uint64(l.PieceBytes), l.PieceBytes
	}
	for i, g := range groups {
		q := wire.Scan{
			Group: g, Prefix: l.prefix, After: after, Span: l.span,
			Limit: uint64(max(l.options.Limit, 0)), PieceBytes: piece, KeysOnly: l.options.KeysOnly,
		}
		if l.options.Local {
			q.Mode = wire.ReadLocal
		}
		switch {
		case r.Level >= shardmap.MovesLevel:
			q.Slots = slots[i]
		case !l.options.Local:
			q.Epoch = r.Epoch
		}
		s := newStream(q, window)
		l.opened = append(l.opened, s)
		l.waiting = append(l.waiting, &head{stream: s, slots: slots[i], group: g})
	}
}

// rangesObject is what a cluster below [shardmap.RangesLevel] refuses.
const rangesObject = "range, order or count of a listing"

// streams is how many there are that more may come of.
func (l *Listing) streams() int { return l.heads.Len() + len(l.waiting) }

// byGroup sorts slots by the groups that have them. Those that nobody has have no keys.
func byGroup(r *Routes, runs []shardmap.SlotRange) (groups []raft.GroupID, slots [][]shardmap.SlotRange) {
	var at [raft.GroupMax + 1]uint16 // the place in groups, and one
	for _, run := range runs {
		for s := run.From; s <= run.To; s++ {
			g := r.Group[s]
			if g == 0 {
				continue
			}
			if at[g] == 0 {
				groups, slots = append(groups, g), append(slots, nil)
				at[g] = uint16(len(groups))
			}
			own := &slots[at[g]-1]
			if n := len(*own); n > 0 && (*own)[n-1].To+1 == s {
				(*own)[n-1].To = s
			} else {
				*own = append(*own, shardmap.SlotRange{From: s, To: s})
			}
		}
	}
	return groups, slots
}

// Next returns the next item, or says what it takes to have one. An error ends
// the listing.
func (l *Listing) Next() (ListItem, ListStep, error) {
	for {
		if step, err := l.fill(); step != ListHas {
			return ListItem{}, step, err
		}
		h := l.heads.all[0]
		item := ListItem{Key: h.key, Value: h.value, Version: h.version, Group: h.group, At: h.page.At}
		// A node's own copies of two groups may both have a key: one has yet to see that the
		// slot has left it, or has come. The newer value was given out then.
		again := l.options.Local && bytes.Equal(item.Key, l.last)
		l.last = item.Key
		if h.advance() {
			heap.Fix(&l.heads, 0)
		} else {
			l.waiting = append(l.waiting, heap.Pop(&l.heads).(*head))
		}
		if !again {
			l.replans.hasty = 0
			return item, ListHas, nil
		}
	}
}

// fill sees to it that the first row of each stream is among the heads: only then is the
// first of them the next of all.
func (l *Listing) fill() (ListStep, error) {
	if l.failed != nil {
		return 0, l.failed
	}
	if len(l.pending) > 0 {
		return ListPlan, nil
	}
	for len(l.waiting) > 0 {
		h := l.waiting[0]
		page, there, more, err := h.stream.next()
		l.used = append(l.used, h.stream)
		if err != nil {
			return l.replan(h, err)
		}
		if !there && more {
			return ListWait, nil
		}
		l.waiting = l.waiting[1:]
		if h.page = page; there && h.advance() {
			heap.Push(&l.heads, h)
		} else {
			l.dropped = append(l.dropped, h.stream)
		}
	}
	if l.heads.Len() == 0 {
		return ListEnd, nil
	}
	return ListHas, nil
}

// replan leaves the slots of a stream that failed to be planned again, if some of them
// have moved; any other error ends the listing.
func (l *Listing) replan(h *head, err error) (ListStep, error) {
	var e *wire.Error
	named := len(h.stream.scan.Slots) > 0
	if !errors.As(err, &e) || e.Code != wire.CodeMoved || l.options.Local && !named {
		return 0, err
	}
	l.moved = e
	l.waiting = l.waiting[1:]
	l.dropped = append(l.dropped, h.stream)
	if l.pending = h.slots; bug("moved slots left out of a listing") {
		l.pending = nil
	}
	if !named || l.streams() > streamsSpare+l.groups() {
		// It was of whatever slots the group had by a table, as all others are by the same
		// one; or there are so many streams by now that fewer of more slots cost less than
		// to read again what they have read ahead.
		l.restart()
	}
	if l.replans.moved(e, l.replans.epoch) {
		return ListPause, nil
	}
	return ListPlan, nil
}

// groups is of how many groups there are streams.
func (l *Listing) groups() int {
	seen := make(map[raft.GroupID]bool)
	for _, h := range l.heads.all {
		seen[h.group] = true
	}
	for _, h := range l.waiting {
		seen[h.group] = true
	}
	return len(seen)
}

// restart gives up all streams: what comes of them is of no interest any more.
func (l *Listing) restart() {
	for _, some := range [][]*head{l.heads.all, l.waiting} {
		for _, h := range some {
			l.dropped = append(l.dropped, h.stream)
		}
	}
	l.heads.all, l.waiting, l.opened, l.used = nil, nil, nil, nil
	l.planAll()
}

// advance takes the next row of the page to the head; false after the last.
func (h *head) advance() (ok bool) {
	h.key, h.version, h.value, ok = h.page.Next()
	return ok
}

// heads is a heap by key, in the order of a listing.
type heads struct {
	all  []*head
	span *wire.Span
}

func (h *heads) Len() int { return len(h.all) }
func (h *heads) Less(i, j int) bool {
	if d := compareIn(h.span, h.all[i].key, h.all[j].key); d != 0 {
		return d < 0
	}
	return h.all[i].version > h.all[j].version
}
func (h *heads) Swap(i, j int) { h.all[i], h.all[j] = h.all[j], h.all[i] }

// Push is for package heap.
func (h *heads) Push(x any) { h.all = append(h.all, x.(*head)) }

// Pop is for package heap: it takes off the last one.
func (h *heads) Pop() any {
	old := h.all
	x := old[len(old)-1]
	old[len(old)-1] = nil
	h.all = old[:len(old)-1]
	return x
}
