package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// GroupPosition is a place in the events of a group: "g1/2.17", or "g1/2.17+3" between two
// events of one entry.
type GroupPosition = wire.GroupPosition

// WatchQuery says what to watch: one key, the keys that begin with a prefix, or a range of
// keys. The zero value watches all keys. With Services it is services instead, all of them or
// the one that Key names; see [Client.WatchServices].
type WatchQuery struct {
	Key    []byte
	Prefix []byte
	// From and To bound a range: From is its first key, To the first key behind it. Either may
	// be nil.
	From, To []byte
	// Positions are where the watch begins: all those that [Watch.Positions] of an earlier watch,
	// or its [WatchEnd], gave. Without any it begins now.
	Positions []GroupPosition
	// Prev asks for the value that the key had before each event.
	Prev bool
	// Services watches services instead of keys.
	Services bool
}

// WatchKind says what happened.
type WatchKind uint8

const (
	// WatchOpened is the first event: the watch has begun, at [Watch.Positions].
	WatchOpened  WatchKind = iota + 1
	WatchSet               // the key has a value now
	WatchDel               // the key was deleted
	WatchExpired           // the time of the key, or of its lease, was over
	// WatchProgress says that nothing happened to the keys for some seconds. [Watch.Positions]
	// have moved on.
	WatchProgress
)

func (k WatchKind) String() string {
	names := [...]string{WatchOpened: "open", WatchSet: "set", WatchDel: "del", WatchExpired: "expired", WatchProgress: "progress"}
	if k == 0 || int(k) >= len(names) {
		return fmt.Sprintf("kind %d", uint8(k))
	}
	return names[k]
}

// kindOf returns the kind of an event that a group sent.
func kindOf(k wire.WatchKind) WatchKind {
	switch k {
	case wire.WatchSet:
		return WatchSet
	case wire.WatchDel:
		return WatchDel
	}
	return WatchExpired
}

// WatchEvent is what happened to a key. Key, Value and Prev share memory with those of other
// events: change none of them, and copy those that you keep for long.
type WatchEvent struct {
	Kind       WatchKind
	Key, Value []byte // Value only for a set
	Version    uint64 // that the set gave the key, or at which the key was removed
	// Prev and PrevVersion are what the key had before, if the query asked for it. PrevVersion is
	// 0 if the key was not there. Prev is nil beside a version if it was too large to send.
	Prev        []byte
	PrevVersion uint64
	Slot        shardmap.Slot
	Group       raft.GroupID
	ID          raft.LogID // of the entry, in the group's log
	N           uint32     // of the events of that entry, from 1
}

// WatchEnd ends a watch whose next events are no longer kept: since then its group has had more
// events than it keeps ([wire.EndCompacted]), or had them while the watch was not read
// ([wire.EndSlow]). Begin another watch, from now; then list or get the keys, and ignore events
// whose version is not above the one that was read.
type WatchEnd struct {
	Reason wire.EndReason
	Group  raft.GroupID // whose events
	// Resume is where the events that are still kept begin. Those between the watch's
	// positions and Resume are lost.
	Resume []GroupPosition
	Why    error // what the node gave as the cause; nil if it gave none

	kept     shardmap.Position
	services bool // they are watched, not keys
}

func (e *WatchEnd) Error() string {
	what := "are no longer kept"
	if e.Reason == wire.EndSlow {
		what = "were not read as long as they were kept"
	}
	text := fmt.Sprintf("the next events of group %s %s (%s)", e.Group, what, e.Reason)
	var refused *wire.Error
	switch {
	case errors.As(e.Why, &refused):
		text += ": " + refused.State // without what it says to do: that follows from Reason
	case e.Why != nil:
		text += ": " + e.Why.Error()
	}
	if e.services {
		return text + "; watch from now, then list the services"
	}
	return text + "; watch from now, then list the keys"
}

// Unwrap returns why.
func (e *WatchEnd) Unwrap() error { return e.Why }

// read takes what is watched.
func (w *Watching) read(q *WatchQuery) error {
	if q.Services {
		return q.readServices(w)
	}
	ways := 0
	for _, given := range []bool{q.Key != nil, len(q.Prefix) > 0, q.From != nil || q.To != nil} {
		if given {
			ways++
		}
	}
	switch {
	case ways > 1:
		return wire.BadRequest("watch", "more than one of a key, a prefix and a range", "name one of them")
	case len(q.Prefix) > shardmap.KeyMax:
		return overLimit("prefix "+shardmap.ShowKey(q.Prefix), len(q.Prefix), shardmap.KeyMax, "bytes", "no key is as long; choose a shorter one")
	case len(q.From) > shardmap.KeyMax:
		return keyTooLarge(q.From)
	case len(q.To) > shardmap.KeyMax:
		return keyTooLarge(q.To)
	case q.To != nil && bytes.Compare(q.From, q.To) >= 0:
		return wire.BadRequest("range", fmt.Sprintf("from %s to %s", shardmap.ShowKey(q.From), shardmap.ShowKey(q.To)), "give an end that comes behind the beginning")
	}
	slot, single := shardmap.SlotOfPrefix(q.Prefix)
	w.ask.From, w.ask.To, w.ask.Prev = q.Prefix, shardmap.EndOfPrefix(q.Prefix), q.Prev
	switch {
	case q.Key != nil:
		if err := checkKey(q.Key); err != nil {
			return err
		}
		slot, single = shardmap.SlotOf(q.Key), true
		w.ask.From, w.ask.To, w.ask.Exact = q.Key, nil, true
	case ways == 1 && len(q.Prefix) == 0:
		w.ask.From, w.ask.To = q.From, q.To
	}
	w.single, w.ask.Slots = single, []shardmap.SlotRange{{From: 0, To: shardmap.Slots - 1}}
	if single {
		w.ask.Slots = []shardmap.SlotRange{{From: slot, To: slot}}
	}
	return nil
}

// Watch watches keys until ctx ends, or the watch is closed. It begins when [Watch.Next] is
// first called.
//
// The events of each slot come in the order in which they happened, each once, whatever
// becomes of nodes, leaders and connections, and wherever slots move; between slots there is
// no order. No value of a key is passed over. If the next events are no longer kept, the watch
// ends with a [*WatchEnd]. Before it has begun it may end with other errors; afterwards it waits
// for nodes that don't answer as long as ctx lasts. Groups send at most some 4 MiB ahead of
// Next.
func (c *Client) Watch(ctx context.Context, q WatchQuery) *Watch {
	core, err := NewWatching(q)
	return &Watch{client: c, ctx: ctx, core: core, err: err, open: make(map[*WatchStream]*call), came: make(chan struct{}, 1)}
}

// Watch is a watch. One goroutine at a time uses it.
type Watch struct {
	client *Client
	ctx    context.Context
	core   *Watching
	open   map[*WatchStream]*call
	came   chan struct{} // a token: something came of a stream or a question. From readers and whoever ends calls; never closed
	before []byte        // the prefix of its namespace; set once
	begins time.Duration // until when it must have begun; 0: it has not been asked to, or it has
	err    error

	mu      sync.Mutex
	answers []watchAnswer // guarded by mu: that came and were not taken
}

// watchAnswer is what came of a question.
type watchAnswer struct {
	question *WatchQuestion
	answer   wire.SlotViewAnswer
	err      error
}

// Positions returns where the watch is: one from there has all events that Next has not
// returned, and no other. It is in the order of the groups; empty before the first event.
func (w *Watch) Positions() []GroupPosition {
	if w.core == nil {
		return nil
	}
	return w.core.Positions()
}

// Close gives the watch up.
func (w *Watch) Close() {
	if w.err == nil {
		w.err = errWatchClosed
	}
	for s := range w.open {
		w.giveUp(s)
	}
}

var errWatchClosed = errors.New("the watch is closed")

// Next waits for the next event. After an error it returns the same error.
func (w *Watch) Next() (WatchEvent, error) {
	if w.err != nil {
		return WatchEvent{}, w.err
	}
	for {
		e, err := w.next()
		if err != nil {
			w.err = fmt.Errorf("watch: %w", err)
			w.Close()
		}
		if e.Key == nil || w.bares(&e) {
			return e, w.err
		}
	}
}

// bares takes the prefix of the watch's namespace off the key of an event, and reports whether anything is left
// of the key.
func (w *Watch) bares(e *WatchEvent) bool {
	key, ok := bytes.CutPrefix(e.Key, w.before)
	e.Key = key
	return ok && len(key) > 0
}

func (w *Watch) next() (WatchEvent, error) {
	c := w.client
	if w.begins == 0 {
		w.begins = c.deadlineOf(w.ctx)
		if err := c.awaitLevel(w.ctx, w.core.ask.Level(), w.begins); err != nil {
			return WatchEvent{}, err
		}
	}
	for {
		if w.ctx.Err() != nil {
			return WatchEvent{}, w.stopped()
		}
		w.hear()
		now := c.now()
		e, step, err := w.core.Next(now, c.routes.Load())
		for _, s := range w.core.Used() {
			if x := w.open[s]; x != nil {
				x.grant()
			}
		}
		for _, s := range w.core.Dropped() {
			w.giveUp(s)
		}
		for _, s := range w.core.Take() {
			w.start(s)
		}
		for _, q := range w.core.Questions() {
			w.ask(q)
		}
		switch {
		case err != nil:
			return e, err
		case step == WatchHas:
			w.begins = never
			return e, nil
		case now >= w.begins:
			return e, noRead("watch", w.core.Cause())
		}
		w.await()
	}
}

// Events returns what [Watch.Next] does, for a loop. The watch is closed when the loop ends; then
// [Watch.Positions] are behind the last event that it was given. An error ends it: that of the
// context, or one of [Watch.Next].
func (w *Watch) Events() iter.Seq2[WatchEvent, error] {
	return func(yield func(WatchEvent, error) bool) { eachEvent(w, yield) }
}

// eachEvent gives out the events of a watch of keys or services, and closes it in the end.
func eachEvent[E any](w interface {
	Next() (E, error)
	Close()
}, yield func(E, error) bool) {
	defer w.Close()
	for {
		if e, err := w.Next(); !yield(e, err) || err != nil {
			return
		}
	}
}

// stopped is the error of a watch whose context has ended.
func (w *Watch) stopped() error {
	if cause := over(w.ctx); w.begins == never || errors.Is(cause, context.Canceled) {
		return cause
	}
	return withCause(w.ctx, noRead("watch", w.core.Cause()))
}

// await waits until there may be something to do.
func (w *Watch) await() {
	wake := w.begins
	if at, ok := w.core.Wake(); ok {
		wake = min(wake, at)
	}
	var late <-chan time.Time
	if wake != never {
		t := time.NewTimer(max(wake-w.client.now(), time.Millisecond))
		defer t.Stop()
		late = t.C
	}
	select {
	case <-w.came:
	case <-late:
	case <-w.ctx.Done():
	}
}

// start opens a stream.
func (w *Watch) start(s *WatchStream) {
	tell := waker(w.came)
	x := newStreamCall(wire.TypeWatch, s, tell)
	x.Target, x.Group, x.AnyReplica, x.Needs = ToGroup, s.Group(), true, w.core.ask.Level()
	x.Deadline = w.client.look() + RetryMax
	x.Slot = shardmap.Slot(s.Group()) // spreads over the connections
	x.ended = func(x *call) {
		s.Finish(x.err)
		tell()
	}
	w.open[s] = x
	w.client.courier.start(x, w.ctx.Done())
}

// giveUp gives up a stream, if it is open.
func (w *Watch) giveUp(s *WatchStream) {
	if x := w.open[s]; x != nil {
		s.Finish(nil)
		w.client.cancel(x)
	}
	delete(w.open, s)
}

// ask asks a group about slots.
func (w *Watch) ask(q *WatchQuestion) {
	tell := waker(w.came)
	x := newCall(wire.TypeSlotView)
	x.Target, x.Group, x.Slot, x.Deadline = ToGroup, q.Ask.Group, shardmap.Slot(q.Ask.Group), w.client.look()+watchAsk
	x.body = q.Ask.Append(x.body[:0])
	x.ended = func(x *call) {
		a := watchAnswer{question: q, err: x.err}
		if a.err == nil {
			a.err = a.answer.Read(x.answer)
		}
		x.release()
		w.mu.Lock()
		w.answers = append(w.answers, a)
		w.mu.Unlock()
		tell()
	}
	w.client.courier.start(x, w.ctx.Done())
}

// watchAsk is how long a question about slots may take before it is asked anew.
const watchAsk = 2 * time.Second

// hear hands in the answers that came.
func (w *Watch) hear() {
	w.mu.Lock()
	answers := w.answers
	w.answers = nil
	w.mu.Unlock()
	for i := range answers {
		a := &answers[i]
		w.core.Answer(w.client.now(), a.question, &a.answer, a.err)
	}
}
