package sim

import (
	"errors"
	"fmt"
	"time"

	"muster/raft"
	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
)

const (
	// listingsMax bounds the listings that one client has under way.
	listingsMax = 2
	// listPiece is the least size of their pieces, in bytes, and listPieceMore how
	// much more it may be: so small that a stream has several.
	listPiece, listPieceMore = wire.StreamPieceMin, 150
	// listSlowEvery is how many items there are for each at which a listing pauses,
	// for up to listSlowMax, so that windows get full.
	listSlowEvery, listSlowMax = 30, 5 * time.Second
	// listPause is as replanPause in client/list.go.
	listPause = 50 * time.Millisecond
)

// listing is a listing over all groups, as `muster kv list` makes it: the real merge of
// streams, each of which is an operation.
type listing struct {
	client  *simClient
	core    *client.Listing
	prefix  string
	options client.ListOptions
	span    wire.Span // as the options have it
	floors  []uint64  // by group: what was acknowledged before it began
	done    bool
	doubted bool  // something that it was shown may come of a flaw
	held    bool  // it waits for a table, or for its pause to end
	streams []*op // of its plans, of which more may be wanted
	shown   map[string]bool
	last    string
	items   int
}

func (l *listing) String() string {
	return fmt.Sprintf("listing of %q after %q, limit %d, %s", l.prefix, l.options.After, l.options.Limit, showSpan(&l.span))
}

func showSpan(s *wire.Span) string {
	return fmt.Sprintf("from %q to %q, descending %t, counting %t", s.From, s.To, s.Descending, s.Counting)
}

// beginListing begins a listing: of all keys, of those of one slot, or of those
// that begin alike in many slots.
func (cl *simClient) beginListing() {
	c := cl.c
	if cl.listings >= listingsMax {
		return
	}
	cl.listings++
	l := &listing{client: cl, shown: map[string]bool{}}
	switch tag := c.tags[c.chance.below(len(c.tags))]; c.chance.below(4) {
	case 0:
		l.prefix = "{" + tag + "}"
	case 1:
		l.prefix = "{" + tag[:2]
	}
	if c.chance.below(4) == 0 {
		l.options.After = c.history.cell(c).keys[0]
	}
	if c.chance.below(4) == 0 {
		l.options.Limit = 1 + c.chance.below(8)
	}
	l.options.KeysOnly = c.chance.below(4) == 0
	if c.builds.reached(shardmap.RangesLevel) {
		l.span = drawSpan(c, []byte(l.prefix))
		l.options.From, l.options.To, l.options.Descending = l.span.From, l.span.To, l.span.Descending
	}
	l.floors = c.floors(0)
	l.core = client.NewListing([]byte(l.prefix), l.options)
	l.core.PieceBytes = uint32(listPiece + c.chance.below(listPieceMore))
	l.goOn()
}

// goOn takes items until the listing has to wait for something.
func (l *listing) goOn() {
	cl, c := l.client, l.client.c
	for {
		item, step, err := l.core.Next()
		if err != nil {
			if !l.doubted && !isAnswer(err) {
				c.fail("I9: %s ends after %d: %v", l, l.items, err)
			}
			c.note(-cl.id, "%s ends after %d: %v", l, l.items, err)
			l.end()
			return
		}
		l.streams = goOnWith(l.streams, l.core.Used(), l.core.Dropped())
		switch step {
		case client.ListHas:
			if l.take(item); l.options.Limit > 0 && l.items == l.options.Limit {
				l.over()
				return
			}
			if c.chance.below(listSlowEvery) == 0 {
				l.pause(c.chance.skewed(10*time.Millisecond, listSlowMax))
				return
			}
		case client.ListEnd:
			l.over()
			return
		case client.ListPlan:
			o := &op{client: cl, number: c.history.begin(), listing: l}
			o.call = client.Call{Owner: o, Target: client.ToTable, Epoch: l.core.Epoch(), Needs: l.core.Level()}
			l.held = true
			cl.submit(o)
			return
		case client.ListPause:
			l.pause(listPause)
			return
		default:
			return
		}
	}
}

// isAnswer reports whether an error is what a node or the client answers to a question that it can't
// carry out, and not that a client was sent what makes no sense.
func isAnswer(err error) bool {
	return errors.As(err, new(*wire.Error)) || errors.As(err, new(*client.ErrNoEndpoint))
}

// floorIn returns up to where what a group shows must have seen its log.
func (l *listing) floorIn(g raft.GroupID) uint64 {
	if int(g) < len(l.floors) {
		return l.floors[g]
	}
	return 0 // the group was made since
}

// pause lets it wait for a time.
func (l *listing) pause(d time.Duration) {
	l.held = true
	e := l.client.c.queue.get(evListing)
	e.client, e.listing = l.client, l
	l.client.c.after(d, e)
}

// open begins an operation for each stream of the plan.
func (l *listing) open() {
	cl := l.client
	for _, s := range l.core.Take() {
		q := s.Scan()
		o := &op{client: cl, kind: opStream, number: cl.c.history.begin(), listing: l, stream: s, group: q.Group}
		o.list = &wire.List{Group: q.Group, Prefix: q.Prefix, KeysOnly: q.KeysOnly, Slots: q.Slots, Span: q.Span}
		o.call = client.Call{Owner: o, Target: client.ToGroup, Group: q.Group, Needs: q.Level()}
		l.streams = append(l.streams, o)
		cl.submit(o)
	}
}

// drop gives up its streams.
func (l *listing) drop() {
	streams := l.streams
	l.streams = nil
	for _, o := range streams {
		o.giveUp()
	}
}

// came continues after a piece, unless that belongs to a plan that is over.
func (l *listing) came() {
	if !l.held && !l.done {
		l.goOn()
	}
}

// ended takes the end of an operation: of the request for the table, or of a stream.
func (l *listing) ended(o *op, err error) {
	switch {
	case o.stream != nil:
		o.stream.Finish(err)
		l.came()
	case err != nil:
		l.end()
	default:
		l.core.Plan(l.client.core.Routes())
		l.open()
		l.resume()
	}
}

// resume continues once there is a table, or after a pause.
func (l *listing) resume() {
	l.held = false
	l.came()
}

// end ends the listing, complete or not.
func (l *listing) end() {
	l.done = true
	l.client.listings--
	l.drop()
}

// take checks an item: it must come after the one before, have the prefix, be in the range, and be what
// the key was at the log id that it names, which must be no older than the listing.
func (l *listing) take(i client.ListItem) {
	c, k := l.client.c, string(i.Key)
	if l.doubted {
		l.items++
		return
	}
	if !follows(&l.span, k, l.last) || !follows(&l.span, k, string(l.options.After)) || !covers([]byte(l.prefix), &l.span, k) {
		c.fail("I9: %s shows %q after %q", l, k, l.last)
	}
	l.last = k
	l.items++
	l.shown[k] = true
	life := c.lives.ofKey(i.Key)
	span, served := life.spanAt(i.Group, i.At.Index)
	if !served || i.At.Index < l.floorIn(i.Group) || life.after(span, l.floors) {
		c.fail("I9: %s shows %q of group %d at %s; it began after %v, and slot %d was served %v", l, k, i.Group, i.At, l.floors, life.slot, life.spans)
	}
	want, ok := life.at(k, span, i.At.Index)
	if !ok || !want.there || want.version != i.Version || !l.options.KeysOnly && valueNumber(i.Value) != want.number {
		c.fail("I9: %s shows %q at version %d as of %s; it should be version %d (there: %v)", l, k, i.Version, i.At, want.version, ok && want.there)
	}
}

// over checks that the listing lacks no key that was there all the time, up to its last
// item if a limit ended it there. Keys that came or went meanwhile may be in it or not.
func (l *listing) over() {
	c := l.client.c
	l.end()
	if l.doubted {
		c.flaws.doubted++
		return
	}
	c.result.Listings++
	// The pieces are of different moments, so only a key that was there throughout must be
	// among them.
	cut := l.options.Limit > 0 && l.items == l.options.Limit
	c.lives.each(func(life *slotLife) {
		for k := range life.keys {
			if !covers([]byte(l.prefix), &l.span, k) || !follows(&l.span, k, string(l.options.After)) || cut && follows(&l.span, k, l.last) || l.shown[k] {
				continue
			}
			if life.stayed(k, l.floors) {
				c.fail("I9: %s lacks %q of slot %d, which was there since before it began, at %v", l, k, life.slot, l.floors)
			}
		}
	})
}
