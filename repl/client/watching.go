package client

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// Watching merges what the groups tell of some keys into one watch. It is the core of
// [Client.Watch], synchronous like [Core]: it names the streams to open, and takes what they
// bring.
//
// Each group's stream is of all slots that are watched, wherever they are, and one position
// for each group says all that was given out: every event of the group up to it, and none
// behind it. Two rules keep that true while slots move from group to group
// (docs/decisions/0023-watches.md has the argument):
//
//   - A takeover from group A, sealed at S, holds its group's stream until A's has come to S.
//     So a slot's events come in order, and a position behind the takeover implies one of A
//     behind the seal.
//   - A slot that leaves for group B holds its group's stream until B's is open. So no
//     position says that a slot has left before there is one of the group that has it next.
//
// # Duties of the owner
//
//  1. Call [Watching.Next] again and again, with the newest table. At WatchWait wait until
//     something came of a stream or a question, or until the time of [Watching.Wake].
//  2. After each Next give up the streams that [Watching.Dropped] returns, if they are open;
//     open those of [Watching.Take], and do for each what [Stream] wants of its owner; ask what
//     [Watching.Questions] returns, and hand in the answers with [Watching.Answer].
//     [Watching.Used] has the streams whose [WatchStream.Grant] may be due.
//  3. At the end give up the streams that are open.
//
// One goroutine at a time calls its methods.
type Watching struct {
	// PieceBytes is the size of the pieces to ask for, in bytes; 0: what suits the number of
	// streams. It may be set before the first Next.
	PieceBytes uint32

	// Set once.
	ask    wire.Watch // what every stream asks for
	single bool       // all keys are of one slot

	start   watchStart
	opened  bool // all is settled, and events are given out
	failure error

	groups  map[raft.GroupID]*followed
	turns   []*followed // those of groups, in the order in which they came
	turn    int         // whose is next
	transit transits
	// marks has, of a watch from now of many slots, the number of the last move of each that
	// was decided before the watch began there.
	marks *[shardmap.Slots]uint64
	table watchTable

	// Of the present call:
	now       time.Duration
	wake      time.Duration
	opening   []*WatchStream
	used      []*WatchStream
	dropped   []*WatchStream
	questions []*WatchQuestion
}

// followed is a group that is watched.
type followed struct {
	group  raft.GroupID
	stream *WatchStream // nil: none is open
	begun  bool         // its stream has begun
	joined bool         // at holds
	// at is where the group is: all its events up to it were given out, or are of before the
	// watch. Invariant: it never goes back.
	at      shardmap.Position
	skipped []skip
	// whole says that its stream began with all that the group keeps, with what is of before
	// the watch too; live are the slots of which it says what is of the watch.
	whole bool
	live  map[shardmap.Slot]bool
	// fresh says that it had no position when it was opened, so that slots may have come there
	// in what it no longer keeps. arrivals are those that are waited for.
	// Until it is named, by a slot that left for it and was counted, it is in no position.
	fresh    bool
	named    bool
	arrivals map[shardmap.Slot]*arrival
	// settled is as far as slots were seen here that the watch begins with.
	settled raft.LogID

	page   wire.WatchPiece // what is left of the piece that is being given out
	inPage bool
	rows   bool // it had some
	row    wire.WatchRow
	hasRow bool // row is next

	again   bool // the stream ended by itself, and is to be opened anew
	wanted  bool // another group waits for what this one says
	arrived bool // a slot came, by what the stream said
	probe   bool // it is opened only to learn whether that can be
	// lost is why a watch of one slot can't follow the group, to which the slot was to go: that
	// ends the watch, unless the move was refused, and the group has the slot by a later one.
	lost     error
	advanced bool // since progress was last told
	fails    int
	retryAt  time.Duration
	unknown  time.Duration // since when the table does not have it; 0: it has
	heard    time.Duration // when a piece was last taken
	blocked  time.Duration // since when its row waits for a group that nobody names; 0: it does not
}

// skip is a part of a group's events that was not seen, since the group had none of the slots
// as far as it could tell.
type skip struct{ from, to shardmap.Position }

// WatchStep says what the owner of a [Watching] does next.
type WatchStep uint8

const (
	// WatchHas comes with the next event.
	WatchHas WatchStep = iota + 1
	// WatchWait wants something to happen.
	WatchWait
)

// What bounds a watch.
const (
	// watchBytes bounds the pieces that one watch holds, in bytes, but for watchWindowMin of
	// each stream and rows that are larger than a piece.
	watchBytes     = 4 << 20
	watchWindowMin = 32 << 10
	watchWindowMax = 1 << 20
	// watchRetry and watchRetryMax bound the pause before a stream that ended is opened anew,
	// and before the start of a watch looks again where slots are; it doubles between them.
	watchRetry    = 20 * time.Millisecond
	watchRetryMax = time.Second
	// watchGone is how long the table does not have a group before it is taken to have been
	// removed, where no number of a move says that the table is not too old to have it.
	watchGone = 5 * time.Second
	// watchNamed is how long a slot that came from a group which is not followed waits for one
	// that is followed to say that it left for there, once all have been heard of since: nodes
	// tell how far they are every five seconds.
	watchNamed = 15 * time.Second
)

// NewWatching begins a watch. An error says what is wrong with the query.
func NewWatching(q WatchQuery) (*Watching, error) {
	w := &Watching{groups: make(map[raft.GroupID]*followed), transit: transits{slots: make(map[shardmap.Slot]*transit)}}
	if err := w.read(&q); err != nil {
		return nil, err
	}
	w.start.of, w.start.fromNow = w, len(q.Positions) == 0
	w.transit.of, w.table.of = w, w
	for _, p := range q.Positions {
		if w.groups[p.Group] != nil {
			return nil, wire.BadRequest("positions", fmt.Sprintf("two of group %s, %s and %s", p.Group, wire.GroupPosition{Group: p.Group, Position: w.groups[p.Group].at}, p), "give one for each group")
		}
		f := w.follow(p.Group)
		f.joined, f.at, f.again = true, p.Position, true
	}
	return w, nil
}

// Next returns the next event, or says that it is yet to come. r is the table of now. An error
// ends the watch; it is a [*WatchEnd] if events are no longer kept.
func (w *Watching) Next(now time.Duration, r *Routes) (WatchEvent, WatchStep, error) {
	w.now, w.table.routes, w.wake = now, r, never
	if w.failure == nil && !w.opened {
		w.start.begin()
		if w.opened {
			return WatchEvent{Kind: WatchOpened}, WatchHas, nil
		}
	} else if w.failure == nil {
		if e, ok := w.deliver(); ok {
			return e, WatchHas, nil
		}
		if w.failure == nil {
			w.transit.look()
			w.reopen()
		}
	}
	if w.failure != nil {
		return WatchEvent{}, 0, w.failure
	}
	return WatchEvent{}, WatchWait, nil
}

// Wake returns when Next is to be called though nothing has happened; false: at no time.
func (w *Watching) Wake() (time.Duration, bool) { return w.wake, w.wake != never }

// Take returns the streams that are to be opened since it was last called.
func (w *Watching) Take() []*WatchStream {
	opening := w.opening
	w.opening = nil
	return opening
}

// Used returns the streams of which pieces were used since it was last called. It is
// good until the next call of [Watching.Next].
func (w *Watching) Used() []*WatchStream {
	used := w.used
	w.used = w.used[:0]
	return used
}

// Dropped returns the streams of which nothing more is wanted since it was last called.
func (w *Watching) Dropped() []*WatchStream {
	dropped := w.dropped
	w.dropped = nil
	return dropped
}

// Positions returns where each group is: a watch from there has all events that were not
// given out, and no other. It is in the order of the groups; empty before the watch is opened.
func (w *Watching) Positions() []GroupPosition {
	var all []GroupPosition
	for _, f := range w.turns {
		if f.joined && !w.unnamedYet(f) {
			all = append(all, GroupPosition{Group: f.group, Position: f.at})
		}
	}
	slices.SortFunc(all, func(a, b GroupPosition) int { return cmp.Compare(a.Group, b.Group) })
	return all
}

// unnamedYet reports whether a group was opened for a slot that has yet to be counted as left.
func (w *Watching) unnamedYet(f *followed) bool { return w.single && f.fresh && !f.named }

// follow follows a group from now on, and returns what is known of it.
func (w *Watching) follow(g raft.GroupID) *followed {
	f := w.groups[g]
	if f == nil {
		f = &followed{group: g}
		w.groups[g] = f
		w.turns = append(w.turns, f)
	}
	return f
}

// leave forgets a group, and gives up its stream.
func (w *Watching) leave(f *followed) {
	w.drop(f)
	delete(w.groups, f.group)
	i := slices.Index(w.turns, f)
	w.turns = slices.Delete(w.turns, i, i+1)
	if w.turn > i {
		w.turn--
	}
}

// drop gives up the stream of a group, and what is left of it.
func (w *Watching) drop(f *followed) {
	if f.stream != nil {
		w.dropped = append(w.dropped, f.stream)
	}
	f.stream, f.begun, f.inPage, f.hasRow = nil, false, false, false
}

// alone makes a watch of one slot follow f and next, and no other group: the slot is there.
func (w *Watching) alone(f, next *followed) {
	if !w.single || len(w.turns) == 1 {
		return
	}
	for _, o := range slices.Clone(w.turns) {
		if o != f && o != next {
			w.leave(o)
		}
	}
}

// watchFrom says where a stream begins.
type watchFrom uint8

const (
	fromPositions watchFrom = iota
	fromNow
)

// open opens a stream of a group: from now, or from the positions that there are. A group
// that a watch of many slots has no position of is read from the first slot that came there:
// all that it has is behind the other positions, or of before the watch, which marks tell. A
// watch of one slot has that begin where it came from a position.
func (w *Watching) open(f *followed, from watchFrom) {
	q := w.ask
	q.Group, q.Now = f.group, from == fromNow
	f.joined = f.joined && !w.unnamedYet(f) // it begins where it can by now
	for _, p := range w.Positions() {
		if from != fromNow || p.Group != f.group {
			q.Positions = append(q.Positions, p)
		}
	}
	if from == fromPositions && !f.joined && !w.single {
		i, _ := slices.BinarySearchFunc(q.Positions, f.group, func(p GroupPosition, g raft.GroupID) int { return cmp.Compare(p.Group, g) })
		q.Positions = slices.Insert(q.Positions, i, GroupPosition{Group: f.group})
		f.whole, f.live = true, make(map[shardmap.Slot]bool)
	}
	streams := 1
	if !w.single {
		streams = len(w.turns)
	}
	window := uint64(min(max(watchBytes/streams, watchWindowMin), watchWindowMax))
	q.PieceBytes = uint32(window / 4)
	if w.PieceBytes != 0 {
		q.PieceBytes, window = w.PieceBytes, 4*uint64(w.PieceBytes)
	}
	f.stream, f.begun, f.again, f.wanted, f.arrived = newWatchStream(q, window), false, false, false, false
	w.opening = append(w.opening, f.stream)
}

// fail ends the watch.
func (w *Watching) fail(err error) {
	if end := (*WatchEnd)(nil); errors.As(err, &end) {
		end.services = w.ask.Services
	}
	w.failure = err
}

// at asks for a call of Next at a time, even if nothing happens before.
func (w *Watching) at(t time.Duration) { w.wake = min(w.wake, t) }

// retry puts off the next try with a group.
func (w *Watching) retry(f *followed) {
	f.retryAt = w.now + watchPause(f.fails)
	f.fails++
}

// watchPause doubles with each failure, from watchRetry to watchRetryMax.
func watchPause(fails int) time.Duration {
	const doublings = 6 // enough to reach watchRetryMax
	return min(watchRetry<<min(fails, doublings), watchRetryMax)
}

// due reports whether it is time to try again with a group.
func (w *Watching) due(f *followed) bool {
	if w.now >= f.retryAt {
		return true
	}
	w.at(f.retryAt)
	return false
}

// came reports that f's stream has begun, and takes note where.
func (w *Watching) came(f *followed) bool {
	start, _, opened := f.stream.began()
	if !opened || f.begun {
		return f.begun
	}
	f.begun = true
	switch {
	case f.joined && start.Before(f.at):
		w.fail(fmt.Errorf("group %s: asked for what comes behind %s, the node begins at %s", f.group, shardmap.FormatPosition(f.group, f.at), shardmap.FormatPosition(f.group, start)))
		return false
	case f.joined && f.at.Before(start):
		w.fail(w.compacted(f, &WatchEnd{Reason: wire.EndCompacted, Group: f.group, kept: start}))
		return false
	case f.whole && !f.joined:
		f.skipped = append(f.skipped, skip{to: start})
	}
	f.fresh = f.fresh || !f.joined && !f.stream.ask.Now
	f.joined, f.at = true, start
	return true
}

// ended handles the end of f's stream, of which all was used, and reports whether it has ended.
func (w *Watching) ended(f *followed) bool {
	over, left, err := f.stream.end()
	if !over {
		return false
	}
	w.drop(f)
	var lost *WatchEnd
	var refused *wire.Error
	errors.As(err, &lost)
	errors.As(err, &refused)
	moved := refused != nil && refused.Code == wire.CodeMoved
	switch {
	case err == nil && (left || f.joined):
		// The group had none of the slots when the stream was opened. It is kept where it is, for
		// one may come back, unless one has since.
		f.again = f.arrived
	case f.probe && (refused == nil || refused.Code != wire.CodeBadRequest):
		w.leave(f)
	case w.single && w.opened && !f.joined && (lost != nil || refused != nil && refused.Code == wire.CodeBadRequest):
		f.lost = err
	case lost != nil:
		w.fail(w.compacted(f, lost))
	case err != nil && (!passes(err) || !w.opened && !moved):
		w.fail(err)
	default:
		w.start.cause = err
		f.again = true
		w.retry(f)
	}
	return true
}

// passes reports whether what a stream ended with may pass: of a watch that has begun it
// ends nothing.
func passes(err error) bool {
	var refused *wire.Error
	var none *ErrNoEndpoint
	switch {
	case errors.As(err, &refused):
		return refused.Code == wire.CodeMaybeApplied || refused.Code.Retry() != wire.RetryNever
	case errors.As(err, &none):
		return true
	}
	return false
}

// compacted returns the end of a watch that needs events of f which are no longer kept.
func (w *Watching) compacted(f *followed, end *WatchEnd) error {
	for _, p := range w.Positions() {
		if p.Group == f.group && p.Position.Before(end.kept) {
			p.Position = end.kept
		}
		end.Resume = append(end.Resume, p)
	}
	return end
}

// reopen opens the streams that are wanted and have ended.
func (w *Watching) reopen() {
	if w.table.skips != 0 && w.table.checked != w.table.routes && !bug("a gap passed over") {
		w.table.checked = w.table.routes
		w.table.followOwners()
	}
	for _, f := range slices.Clone(w.turns) {
		if f.stream != nil || !f.again && !f.wanted && !w.transit.awaited(f) && !w.table.behindTable(f) {
			continue
		}
		switch {
		case !w.table.known(f.group):
			w.table.missing(f)
		case w.due(f):
			f.unknown = 0
			w.retry(f)
			w.open(f, fromPositions)
		}
	}
}
