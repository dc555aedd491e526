package machine

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"muster/raft"
	"muster/repl/watch"
	"muster/repl/wire"
	"muster/shardmap"
)

// Feed brings what happens at a node to the streams of clients that wait for it: each change
// of the table, and the events of groups. It is a synchronous core: one call, [Feed.Turn],
// makes all pieces of such streams, and it alone calls the hub of the watches.
//
// # Duties of the owner
//
//  1. Call [Feed.Turn] soon after due was called, and at the time that the last Turn gave.
//     One goroutine at a time does, and not the one that applies: a turn is as long as
//     there are clients.
//  2. Call [Feed.TableChanged] with each new table.
//  3. Give each machine of a group the [Feed.Group] of its own.
//
// # Locks
//
// The lock of a [Streams] is taken first, then mu, or a lock of the asker. Nothing is taken
// under mu. A turn holds neither while it calls the hub or makes a piece; what the hub calls
// takes the lock of one Streams after the other. A history is read without a lock.
type Feed struct {
	// Set once.
	due      func()
	table    func() *shardmap.Table
	topology func(*shardmap.Table) []byte
	rows     int // most of a piece of a backup

	// tables counts the streams of the table, and the requests that wait for one.
	tables  atomic.Int64
	changed atomic.Bool // the table did, since the last turn
	// backing counts the backups that are sent. Invariant: it is BackupsMax at most, but for
	// those that are about to be refused.
	backing atomic.Int64

	mu      sync.Mutex
	touched []*Streams                     // guarded by mu: each once
	posted  []func()                       // guarded by mu: for the next turn, in order
	groups  map[raft.GroupID]*WatchedGroup // guarded by mu
	ran     []*WatchedGroup                // guarded by mu: each once

	// Owned by Turn.
	now     time.Duration
	hub     *watch.Hub
	ticked  time.Duration  // when the hub was told the time
	streams []*tableStream // Invariant: streams[i].place is i. No map: one history, one order of pieces
	backups []*backup      // Invariant: backups[i].place is i
	waits   []tableWait
	shown   *shardmap.Table // that body is of; nil: none yet in this turn
	body    []byte
}

// aloneMax is how long a replica may hear of no leader before its watches end, so that their
// clients go elsewhere: longer than an election takes. A replica that is cut off misses all
// that happens.
const aloneMax = 5 * time.Second

// tickEvery is how often the hub is told the time, while there are watches, and how often
// backups are looked at.
const tickEvery = time.Second

// FeedConfig is what a feed is made from.
type FeedConfig struct {
	// Due is called when [Feed.Turn] has something to do, by any goroutine, under locks of
	// streams. It must not block, nor call the feed.
	Due func()
	// Table is the slot table as the node has it now.
	Table func() *shardmap.Table
	// Topology makes the body of a [wire.TopologyAnswer] of that table; nil: it can't now.
	// It is called within Turn, and may wait for the goroutine that applies.
	Topology func(*shardmap.Table) []byte
	// BackupRows bounds the rows of a piece of a backup; 0: [wire.BackupRowsMax]. The simulator, whose groups are small,
	// has less.
	BackupRows int
}

// NewFeed returns the feed of a node.
func NewFeed(c FeedConfig) *Feed {
	rows := wire.BackupRowsMax
	if c.BackupRows > 0 {
		rows = min(rows, c.BackupRows)
	}
	return &Feed{due: c.Due, table: c.Table, topology: c.Topology, rows: rows, groups: make(map[raft.GroupID]*WatchedGroup), hub: watch.New(0)}
}

// Turn does what has become due. now is the host's clock. At next, if waits, Turn is to be
// called again, even if nothing becomes due before.
func (f *Feed) Turn(now time.Duration) (next time.Duration, waits bool) {
	f.now, f.shown, f.body = now, nil, nil
	f.mu.Lock()
	posted, ran := f.posted, f.ran
	f.posted, f.ran = nil, nil
	f.mu.Unlock()
	for _, do := range posted {
		do()
	}
	for _, g := range ran {
		g.queued.Store(false) // what is applied from here on queues it again
		f.hub.Advance(g.id)
	}
	if now-f.ticked >= tickEvery {
		f.ticked = now
		f.hub.Tick(now)
		f.leaveAlone()
		for _, s := range f.backups {
			s.tick(now)
		}
	}
	if f.changed.Swap(false) {
		for _, s := range f.streams {
			s.wake()
		}
	}
	next, waits = f.answerWaits()
	if at := f.ticked + tickEvery; (f.hub.Watchers() > 0 || len(f.backups) > 0) && (!waits || at < next) {
		next, waits = at, true
	}
	f.mu.Lock()
	touched := f.touched
	f.touched = nil
	f.mu.Unlock()
	for _, x := range touched {
		x.feed()
	}
	return next, waits
}

// add wakes a stream of the table at each change from now on.
func (f *Feed) add(s *tableStream) {
	s.place = len(f.streams)
	f.streams = append(f.streams, s)
}

// remove undoes add.
func (f *Feed) remove(s *tableStream) {
	last := len(f.streams) - 1
	moved := f.streams[last]
	f.streams[s.place], moved.place = moved, s.place
	f.streams[last] = nil
	f.streams = f.streams[:last]
}

// TableChanged tells that the node has another table. Any goroutine may call it; without
// streams of the table it costs one load.
func (f *Feed) TableChanged() {
	if f.tables.Load() > 0 {
		f.changed.Store(true)
		f.due()
	}
}

// touch has the pieces of x made in the next turn whose turn it is. x.mu is held.
func (f *Feed) touch(x *Streams) {
	if x.touched {
		return
	}
	x.touched = true
	f.mu.Lock()
	f.touched = append(f.touched, x)
	f.mu.Unlock()
	f.due()
}

// post has do called in the next turn.
func (f *Feed) post(do func()) {
	f.mu.Lock()
	f.posted = append(f.posted, do)
	f.mu.Unlock()
	f.due()
}

// WatchRooms is how near a node's watches are to their limits.
type WatchRooms struct {
	Watches, WatchesMax int
	// The watch that is the farthest behind, by bytes of its group's events: Behind, and how
	// many that may be before events go that it has not seen. Behind is 0 if none is behind.
	Group             raft.GroupID
	Behind, BehindMax int
}

// Rooms has answer called in a turn.
func (f *Feed) Rooms(answer func(WatchRooms)) {
	f.post(func() {
		r := WatchRooms{Watches: f.hub.Watchers(), WatchesMax: watch.WatchersMax}
		r.Group, r.Behind, r.BehindMax = f.hub.Slowest()
		answer(r)
	})
}

// answer returns the body of a topology of table t, made once for all who get it in this
// turn; nil if there is none to be had.
func (f *Feed) answer(t *shardmap.Table) []byte {
	if f.shown != t {
		f.shown, f.body = t, f.topology(t)
	}
	return f.body
}

// tableWait is a request that waits for a table.
type tableWait struct {
	index    uint64
	deadline time.Duration
	answer   func(body []byte)
}

// AwaitTable has answer called in a turn: with the body of a topology once the node's table
// has the index, or with nil once the deadline is over, or if there is none to be had.
func (f *Feed) AwaitTable(index uint64, deadline time.Duration, answer func(body []byte)) {
	f.tables.Add(1)
	f.post(func() { f.waits = append(f.waits, tableWait{index, deadline, answer}) })
}

// answerWaits answers the requests for a table whose wait is over, and returns when that of
// the next is.
func (f *Feed) answerWaits() (next time.Duration, waits bool) {
	if len(f.waits) == 0 {
		return 0, false
	}
	t, kept := f.table(), f.waits[:0]
	for _, w := range f.waits {
		switch {
		case t != nil && t.Index >= w.index:
			w.answer(f.answer(t))
		case w.deadline <= f.now:
			w.answer(nil)
		default:
			kept = append(kept, w)
			if next = min(next, w.deadline); !waits {
				next, waits = w.deadline, true
			}
			continue
		}
		f.tables.Add(-1)
	}
	clear(f.waits[len(kept):])
	f.waits = kept
	return next, waits
}

// noFeed refuses a stream that waits for what happens here, at a node that has no feed.
func noFeed(t wire.Type) *wire.Error {
	return wire.Unavailable(t.String(), "this node has nothing that feeds it")
}

// WatchedGroup is a group as its watches see it: which history it has, and that entries were
// applied. It lasts as long as the node, whatever becomes of the replica.
type WatchedGroup struct {
	// Set once.
	feed *Feed
	id   raft.GroupID

	// watches is how many there are. It is raised before the first of them reads the history:
	// so either the goroutine that applies finds it raised, or that read finds the event.
	watches atomic.Int64
	queued  atomic.Bool // it is in feed.ran
	// history is that of the replica that is here now; nil: none is, as far as is known.
	// The goroutine that applies stores it.
	history atomic.Pointer[shardmap.History]

	alone atomic.Bool // its replica here knows of no leader

	// Owned by turns.
	known *shardmap.History // that the hub has
	since time.Duration     // when it was first seen to be alone
	seen  bool              // since is set
}

// Group returns a group as its watches see it. Any goroutine may call it.
func (f *Feed) Group(g raft.GroupID) *WatchedGroup {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := f.groups[g]
	if w == nil {
		w = &WatchedGroup{feed: f, id: g}
		f.groups[g] = w
	}
	return w
}

// applied says that entries were applied. Without watches it costs one load.
func (g *WatchedGroup) applied() {
	if g == nil || g.watches.Load() == 0 || g.queued.Swap(true) {
		return
	}
	f := g.feed
	f.mu.Lock()
	f.ran = append(f.ran, g)
	f.mu.Unlock()
	f.due()
}

// has says that the group's replica has this history from now on; nil: there is no replica
// here. A history into which a state was loaded counts as another one.
func (g *WatchedGroup) has(h *shardmap.History) {
	if g == nil {
		return
	}
	g.history.Store(h)
	if g.watches.Load() > 0 {
		g.feed.post(func() { g.follow(h) })
	}
}

// led tells who leads the group, as far as its replica here knows; 0: nobody.
func (g *WatchedGroup) led(leader raft.ReplicaID) {
	if g != nil {
		g.alone.Store(leader == 0)
	}
}

// leaveAlone ends the watches of groups whose replica here has been alone for aloneMax.
func (f *Feed) leaveAlone() {
	f.mu.Lock()
	watched := make([]*WatchedGroup, 0, len(f.groups))
	for _, g := range f.groups {
		if g.watches.Load() > 0 {
			watched = append(watched, g)
		}
	}
	f.mu.Unlock()
	slices.SortFunc(watched, func(a, b *WatchedGroup) int { return int(a.id) - int(b.id) })
	for _, g := range watched {
		switch {
		case !g.alone.Load():
			g.seen = false
		case !g.seen:
			g.seen, g.since = true, f.now
		case f.now-g.since >= aloneMax:
			g.seen = false
			g.follow(nil)
		}
	}
}

// follow tells the hub which history the group has.
func (g *WatchedGroup) follow(h *shardmap.History) {
	if g.watches.Load() > 0 {
		g.known = h
		g.feed.hub.Group(g.id, h)
	}
}

// watch takes a place in the history of a group.
func (f *Feed) watch(g *WatchedGroup, s *watch.Spec, starts []watch.Start, wake func()) (*watch.Watcher, *wire.Error) {
	g.watches.Add(1)
	h := g.history.Load()
	if h == nil {
		f.left(g)
		return nil, wire.NotLeader(g.id, 0, "")
	}
	if g.known != h {
		g.follow(h)
	}
	w, ok := f.hub.Watch(s, starts, wake)
	if !ok {
		f.left(g)
		return nil, wire.Busy("node", fmt.Sprintf("it has %d watches, the limit is %d", f.hub.Watchers(), watch.WatchersMax), wire.BusyRetry)
	}
	return w, nil
}

// left gives up a place: without any, the hub keeps nothing of the group.
func (f *Feed) left(g *WatchedGroup) {
	if g.watches.Add(-1) == 0 && g.known != nil {
		g.known = nil
		f.hub.Group(g.id, nil)
	}
}
