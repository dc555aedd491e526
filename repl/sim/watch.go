package sim

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"muster/raft"
	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
)

const (
	// watchesMax bounds the watches that one client has under way. One that ends by the
	// client's choice is continued by another.
	watchesMax = 2
	// watchesEvery is how many runs there are to one in which clients watch. Watches show each
	// write several times more, and a run with them takes half as long again.
	watchesEvery = 4
	// watchBegins is how many operations there are for each watch that is begun, while there is
	// room for one.
	watchBegins = 30
	// watchPiece is the least size of their pieces, in bytes, and watchPieceMore how much more
	// it may be: so small that the events of some entries take several.
	watchPiece, watchPieceMore = wire.StreamPieceMin, 300
	// watchSlowEvery is how many events there are for each at which a client reads no more for
	// up to watchSlowMax, so that windows get full, and histories go over their bounds.
	watchSlowEvery, watchSlowMax = 12, 20 * time.Second
	// watchLeaveEvery is how many events there are for each after which a client gives the
	// watch up and continues it with another, from its positions.
	watchLeaveEvery = 25
	// watchedWithin bounds how long a watch of a healed cluster takes to show all that
	// happened: what a pause of a client, a redial and a look for a slot may take.
	watchedWithin = 90 * time.Second
)

// watching is a watch of a client, as `muster kv watch` makes it: the real merge of streams,
// each of which is an operation.
type watching struct {
	client  *simClient
	number  uint64
	query   client.WatchQuery
	core    *client.Watching
	check   *watchCheck // nil: it has not begun
	began   []uint64    // by group: what was acknowledged before it was asked for
	held    bool        // it reads no more for a while
	done    bool
	wakes   uint64
	streams []*op
}

func (w *watching) String() string {
	q := &w.query
	what := fmt.Sprintf("of prefix %q", q.Prefix)
	switch {
	case q.Services:
		what = fmt.Sprintf("of service %q", q.Key)
	case q.Key != nil:
		what = fmt.Sprintf("of key %q", q.Key)
	case q.From != nil:
		what = fmt.Sprintf("of %q to %q", q.From, q.To)
	}
	return fmt.Sprintf("watch %d of c%d %s, prev %v, from %v", w.number, w.client.id, what, q.Prev, q.Positions)
}

// wants reports whether the watch is of a key, or of a service.
func (w *watching) wants(e *slotEvent) bool {
	q, key := &w.query, e.key
	if e.kind.OfService() != q.Services {
		return false
	}
	switch {
	case q.Key != nil:
		return key == string(q.Key)
	case q.From != nil:
		return key >= string(q.From) && key < string(q.To)
	}
	return strings.HasPrefix(key, string(q.Prefix))
}

// slots returns the slots of the run in which its keys may be.
func (w *watching) slots() (slots []shardmap.Slot) {
	key := append(slices.Clone(w.query.Key), w.query.Prefix...)
	if s, ok := shardmap.SlotOfPrefix(key); ok {
		return []shardmap.Slot{s}
	}
	return w.client.c.lives.slots
}

// beginWatch begins a watch: of one key, of one slot, or of keys in many slots; from now, or
// from where something of its slot was answered.
func (cl *simClient) beginWatch() {
	c := cl.c
	if c.watches.none || cl.watches >= watchesMax || !c.builds.reached(shardmap.LeasesLevel) {
		return
	}
	w := &watching{client: cl}
	q := &w.query
	q.Prev = c.chance.below(2) == 0
	tag := c.tags[c.chance.below(len(c.tags))]
	switch k := c.chance.below(8); {
	case len(c.services.names) > 0 && c.services.active && c.builds.reached(shardmap.ServicesLevel) && c.chance.below(2) == 0:
		q.Services, q.Prev = true, false
		if k < 5 {
			q.Key = []byte(c.services.names[c.chance.below(len(c.services.names))])
		}
	case k < 2:
		q.Key = c.history.cell(c).keys[0]
	case k == 2:
		q.Prefix = []byte("{" + tag[:2])
	case k == 3:
		q.From, q.To = []byte("{"+tag+"}0"), []byte("{"+tag+"}2")
	case k == 4: // all keys
	default:
		q.Prefix = []byte("{" + tag + "}")
	}
	if slots := w.slots(); len(slots) == 1 && c.chance.below(4) == 0 {
		// As of an answer: the last one that anybody got of the group, which may have the slot
		// no more.
		g := c.lives.owner(slots[0])
		l := c.lives.of(slots[0])
		if at := c.truth[g].acknowledged; l.servedBy(g) && at > l.spans[len(l.spans)-1].from {
			id := raft.LogID{Term: c.truth[g].entries[at-1].term, Index: at}
			q.Positions = []client.GroupPosition{{Group: g, Position: shardmap.After(id)}}
		}
	}
	w.open()
}

// open begins the watch.
func (w *watching) open() {
	cl, c := w.client, w.client.c
	core, err := client.NewWatching(w.query)
	if err != nil {
		c.fail("%s: %v", w, err)
	}
	w.core, w.number, w.began = core, c.history.begin(), c.floors(0)
	w.core.PieceBytes = uint32(watchPiece + c.chance.below(watchPieceMore))
	cl.watches++
	c.watches.all = append(c.watches.all, w)
	c.result.Watches++
	w.goOn()
}

// goOn takes events until the watch has to wait for something.
func (w *watching) goOn() {
	cl, c := w.client, w.client.c
	for !w.done && !w.held {
		e, step, err := w.core.Next(cl.now(), cl.core.Routes())
		w.streams = goOnWith(w.streams, w.core.Used(), w.core.Dropped())
		for _, s := range w.core.Take() {
			o := &op{client: cl, kind: opWatch, number: c.history.begin(), watching: w, stream: s, group: s.Group()}
			o.call = client.Call{Owner: o, Target: client.ToGroup, Group: s.Group(), AnyReplica: true, Needs: shardmap.LeasesLevel}
			w.streams = append(w.streams, o)
			cl.submit(o)
		}
		for _, q := range w.core.Questions() {
			o := &op{client: cl, kind: opSlotView, number: c.history.begin(), watching: w, question: q, group: q.Ask.Group}
			o.call = client.Call{Owner: o, Target: client.ToGroup, Group: q.Ask.Group}
			o.body = q.Ask.Append(nil)
			cl.submit(o)
		}
		switch {
		case err != nil:
			w.failed(err)
			return
		case step == client.WatchHas:
			w.take(&e)
		default:
			w.sleep()
			return
		}
	}
}

// positions returns where the watch is.
func (w *watching) positions() positions {
	p := positions{}
	for _, at := range w.core.Positions() {
		p[at.Group] = at.Position
	}
	return p
}

// take checks an event.
func (w *watching) take(e *client.WatchEvent) {
	c := w.client.c
	switch e.Kind {
	case client.WatchOpened:
		w.opened()
	case client.WatchProgress:
		c.result.Progress++
	default:
		kinds := [...]shardmap.EventKind{client.WatchSet: shardmap.EventSet, client.WatchDel: shardmap.EventDel, client.WatchExpired: shardmap.EventExpired}
		got := shownEvent{kind: kinds[e.Kind], key: e.Key, group: e.Group, id: e.ID, n: e.N, version: e.Version}
		switch {
		case w.query.Services && e.Kind == client.WatchSet:
			got.kind, got.number = shardmap.EventService, numberOf(e.Value)
			c.services.public(e.Value)
		case w.query.Services:
			got.kind = shardmap.EventServiceGone
		case e.Kind == client.WatchSet:
			got.number = valueNumber(e.Value)
		}
		if w.query.Prev && e.PrevVersion > 0 {
			got.hadPrev, got.prevVersion = true, e.PrevVersion
			if got.hasPrev = e.Prev != nil; got.hasPrev {
				got.prevNumber = valueNumber(e.Prev)
			}
		}
		w.check.event(w, &got)
		c.result.Shown++
	}
	w.check.stands(w, w.positions())
	if e.Kind == client.WatchOpened || c.chaos.stopped {
		return
	}
	switch {
	case c.chance.below(watchSlowEvery) == 0:
		w.held = true
		w.after(c.chance.skewed(10*time.Millisecond, watchSlowMax))
	case c.chance.below(watchLeaveEvery) == 0:
		w.leave()
	}
}

// opened checks where the watch begins: no earlier than what was acknowledged before it was
// asked for; or exactly where the one before had got to.
func (w *watching) opened() {
	c, p := w.client.c, w.positions()
	if w.check == nil {
		for g, at := range p {
			_, there := c.newestTable().Group(g) // one that was removed shows nothing more
			if len(w.query.Positions) == 0 && there && at.N != 0 && at.N != shardmap.AllEvents {
				c.fail("I13: %s begins at %s, in the middle of an entry", w, shardmap.FormatPosition(g, at))
			}
		}
		w.check = newWatchCheck(c, w.slots(), w.wants, w.query.Prev, p)
		for _, s := range w.check.slots {
			if from := s.life.acknowledged(w.began); len(w.query.Positions) == 0 && s.next < from {
				c.fail("I13: %s begins at %v, with event %d of slot %d; %d had been acknowledged before: %s", w, p, s.next, s.life.slot, from, s.life.near(s.next))
			}
		}
	}
}

// acknowledged returns how many of a slot's events were known to clients when the logs of
// the groups stood at some indices.
func (l *slotLife) acknowledged(floors []uint64) (n int) {
	for i := range l.events {
		if e := &l.events[i]; l.before(e.span, e.index, floors) {
			n = i + 1
		}
	}
	return n
}

// leave gives the watch up, and continues it from its positions, perhaps at once and perhaps
// later.
func (w *watching) leave() {
	c := w.client.c
	next := &watching{client: w.client, query: w.query, check: w.check}
	next.query.Positions = w.core.Positions()
	w.end()
	c.note(-w.client.id, "%s is left", w)
	cl := w.client
	cl.watches++ // its place is kept
	c.order.call(c.chance.skewed(time.Millisecond, watchSlowMax), func() {
		cl.watches--
		if !cl.asleep() {
			next.open()
			cl.settle()
		}
	})
}

// end gives up the watch and its streams.
func (w *watching) end() {
	w.done = true
	w.client.watches--
	c := w.client.c
	c.watches.all = slices.DeleteFunc(c.watches.all, func(o *watching) bool { return o == w })
	streams := w.streams
	w.streams = nil
	for _, o := range streams {
		o.stream.Finish(nil)
		o.giveUp()
	}
}

// failed takes the end of a watch: with a reason that must be true.
func (w *watching) failed(err error) {
	c := w.client.c
	c.note(-w.client.id, "%s ends: %v", w, err)
	w.end()
	var end *client.WatchEnd
	if errors.As(err, &end) {
		c.result.Lost++
		w.compacted(end)
	}
}

// compacted checks that events are gone, where a watch says so (I13): those that a group keeps
// within its bound are there, whatever has become of it meanwhile but disks without room.
func (w *watching) compacted(end *client.WatchEnd) {
	c := w.client.c
	t := c.truth[end.Group]
	if !t.there() || t.trimmed {
		return
	}
	at, ok := w.positions()[end.Group]
	if !ok || at.ID.Index < t.raised {
		return
	}
	if kept := t.eventBytes(at); kept < c.watches.historyMax/3 {
		c.fail("I13: %s ends: %v; since %s group %d has had events of %d bytes, of %d that it keeps", w, end, shardmap.FormatPosition(end.Group, at), end.Group, kept, c.watches.historyMax)
	}
}

// eventBytes is about how large the events of a group are that come behind a position.
func (t *truth) eventBytes(at shardmap.Position) (size int) {
	const head = 64
	t.c.lives.each(func(l *slotLife) {
		for i := range l.events {
			if e := &l.events[i]; l.spans[e.span].group == t.group && e.index >= at.ID.Index {
				size += head + len(e.key) + e.size + e.before.size
			}
		}
	})
	return size
}

// sleep has the watch go on at the time that its core wants.
func (w *watching) sleep() {
	at, ok := w.core.Wake()
	if !ok {
		return
	}
	w.after(max(0, at-w.client.now()))
}

func (w *watching) after(d time.Duration) {
	w.wakes++
	e := w.client.c.queue.get(evWatch)
	e.client, e.watching, e.number = w.client, w, w.wakes
	w.client.c.after(d, e)
}

// resume goes on at the time that was planned.
func (w *watching) resume(number uint64) {
	if number != w.wakes || w.done {
		return
	}
	w.held = false
	w.goOn()
}

// answered takes the answer to a question about slots.
func (w *watching) answered(o *op, a *wire.SlotViewAnswer, err error) {
	w.core.Answer(w.client.now(), o.question, a, err)
	w.came()
}

// came goes on after something came of a stream or a question.
func (w *watching) came() {
	if !w.done && !w.held {
		w.goOn()
	}
}

// ended takes the end of an operation: of a stream, or of a question.
func (w *watching) ended(o *op, err error) {
	if o.question != nil {
		w.answered(o, nil, err)
		return
	}
	o.stream.Finish(err)
	w.came()
}

// watches are those of all clients that are under way.
type watches struct {
	c          *cluster
	all        []*watching
	historyMax int  // the bound of the histories of groups, in bytes
	none       bool // nobody watches in this run
}

// draw draws how many events groups keep. A run has far fewer than a group may keep, so some
// runs have other bounds: none would ever be compacted.
func (x *watches) draw(c *cluster) {
	x.c, x.historyMax = c, []int{shardmap.HistoryMax, 64 << 10, 16 << 10}[c.chance.below(3)]
	if c.options.Lose {
		x.historyMax = shardmap.HistoryMax // recover knows no other
	}
	x.none = !c.options.Watched && c.options.Seed%watchesEvery != 0 || c.options.Flaws
}

// complete reports whether all watches have shown all that happened, but for those of clients
// that reach one node alone: it may have no replica of the groups. Nor where nodes have changed
// addresses with each other, since clients have no names that follow them through that.
func (x *watches) complete() bool {
	c := x.c
	if c.chaos.moves > 0 {
		return true
	}
	for _, w := range x.all {
		if w.client.only == 0 && (w.check == nil || !w.check.all()) {
			return false
		}
	}
	return true
}

// missing describes what watches have yet to show.
func (x *watches) missing() string {
	var b bytes.Buffer
	for _, w := range x.all {
		if w.client.only != 0 {
			continue
		}
		if w.check == nil {
			fmt.Fprintf(&b, "%s has not begun: %v\n", w, w.core.Cause())
		} else if text := w.check.missing(); text != "" {
			fmt.Fprintf(&b, "%s stands at %v and lacks %s", w, w.core.Positions(), text)
		}
	}
	return b.String()
}
