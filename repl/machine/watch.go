package machine

import (
	"fmt"

	"muster/raft"
	"muster/repl"
	"muster/repl/watch"
	"muster/repl/wire"
	"muster/shardmap"
)

// watching is a stream of what happens to some keys of one group. It begins with a read of the
// group, which says what is applied and where its slots came from; by that and by the
// positions that the client gave it is settled where each slot begins (opening.go). From then
// on it is a place in the group's history, and no queue: what it has not sent is there, or has
// fallen out of it.
type watching struct {
	stream

	// Set once.
	request wire.Watch
	group   *WatchedGroup

	// Guarded by of.mu.
	at      shardmap.Position // up to which all was sent
	hasAt   bool
	watcher *watch.Watcher // nil until it is open; only turns of the feed call it
	woken   bool           // there may be something to send

	// Owned by turns of the feed, once the stream is open.
	first []byte // the first piece, until it is sent
	// leaves: none of its slots is here, so it ends when it has come to what was applied.
	leaves bool
}

// openWatch opens a stream of events. It keeps body.
func openWatch(body []byte) (*stream, error) {
	w := new(watching)
	w.kind = w
	if err := w.request.Read(body); err != nil {
		return &w.stream, err
	}
	w.piece, w.limit = int(w.request.PieceBytes), w.request.Window
	if !w.request.Now {
		w.at, w.hasAt = w.position(w.request.Group)
	}
	return &w.stream, nil
}

// things is what the client watches, for a sentence.
func (w *watching) things() string {
	if w.request.Services {
		return "services"
	}
	return "keys"
}

// position returns what the client has seen of a group.
func (w *watching) position(g raft.GroupID) (p shardmap.Position, given bool) {
	for i := range w.request.Positions {
		if w.request.Positions[i].Group == g {
			return w.request.Positions[i].Position, true
		}
	}
	return shardmap.Position{}, false
}

// admit implements [kind].
func (w *watching) admit(table *shardmap.Table) *wire.Error {
	if e := overLevel(wire.TypeWatch, w.request.Level(), table); e != nil {
		return e
	}
	if w.of.Feed == nil {
		return noFeed(wire.TypeWatch)
	}
	return noDataGroup(w.request.Group, table)
}

// begin implements [kind].
func (w *watching) begin() { w.group = w.of.Feed.Group(w.request.Group) }

// over implements [kind].
func (w *watching) over() {
	if w.watcher != nil {
		w.close()
	}
}

// close gives the place in the history up, in the next turn of the feed.
func (w *watching) close() {
	f := w.of.Feed
	f.post(func() {
		w.watcher.Close()
		f.left(w.group)
	})
}

// due implements [kind].
func (w *watching) due() bool { return w.watcher == nil || w.woken }

// fed implements [kind].
func (w *watching) fed() bool { return w.watcher != nil }

// ask implements [kind]: it has the group read, at whatever replica is here, to learn what is
// applied at least. A position that is ahead of that was given to nobody.
func (w *watching) ask(*shardmap.Table) *wire.Error {
	r := repl.Read{Group: w.request.Group, AnyReplica: true, Reply: repl.Reply{To: w, Request: w.reply.Request}, Query: w}
	if !w.request.Now && w.hasAt {
		r.After = w.at.ID.Index
	}
	return w.of.asker.Ask(r, w.within)
}

// Run implements [repl.Query]. It notes, between two entries, what is needed to settle where
// the stream begins.
func (w *watching) Run(state repl.StateMachine, at raft.LogID, _ repl.Reply) (first bool) {
	m, ok := state.(*Map)
	switch {
	case !ok:
		return w.refused(metaHasNoKeys())
	case m.beforeFounding():
		return w.refused(m.notFounded())
	case !m.State.History().Keeps():
		return w.refused(wire.NotReady(fmt.Sprintf("group %s", m.Group), "it keeps no history yet", "try again", wire.BusyRetry))
	}
	w.group.history.Store(m.State.History())
	o := newOpening(&w.request, m, at)
	if w.request.Now && !o.held {
		return w.refused(m.notServed(w.request.Slots[0].From))
	}
	if found := w.of.asker.Later(func() { w.settle(o) }); found != "" {
		return w.refused(TooManyReads(found))
	}
	return false
}

// settle finds where the stream begins. It may have to look through the whole history, so it
// is done beside the goroutine that applies.
func (w *watching) settle(o *opening) {
	x := w.of
	begin, err := o.settle()
	if err != nil {
		w.refused(err)
		x.asker.Flush()
		return
	}
	if begin.compacted {
		x.mu.Lock()
		defer x.mu.Unlock()
		// Whoever lists the keys now, and watches from here, misses nothing.
		w.at, w.hasAt = shardmap.After(o.at), true
		x.end(&w.stream, &wire.StreamEnd{Reason: wire.EndCompacted, Why: wire.Error{
			Code: wire.CodeNotFound, Object: fmt.Sprintf("events of group %s", w.request.Group), Text: "they are no longer kept",
			State: "what is kept begins behind " + raft.FormatLogID(w.request.Group, begin.floor), Next: "list the " + w.things() + ", then watch from where this ends",
		}})
		x.turns()
		x.asker.Flush()
		return
	}
	p := wire.WatchPiece{Group: w.request.Group, At: begin.at}
	for i := range begin.elsewhere {
		p.Rows = wire.AppendWatchRow(p.Rows, &begin.elsewhere[i])
		p.Count++
	}
	body := p.Append(nil)
	x.Feed.post(func() { w.start(begin, body) })
}

// start takes a place in the history, in a turn of the feed. first is the first piece.
func (w *watching) start(begin *beginning, first []byte) {
	x, q := w.of, &w.request
	if !w.wanted() {
		return
	}
	watcher, refused := x.Feed.watch(w.group, &watch.Spec{Group: q.Group, Slots: q.Slots, From: q.From, To: q.To, Exact: q.Exact, Prev: q.Prev, Services: q.Services}, begin.starts, w.wake)
	if refused != nil {
		w.refused(refused)
		x.asker.Flush()
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	w.watcher = watcher
	if w.state != turnMaking { // it ended meanwhile
		w.close()
		return
	}
	w.first, w.leaves, w.at, w.hasAt, w.woken = first, begin.leaves, begin.at, true, true
	x.came(&w.stream)
	x.ready(&w.stream)
	x.turns()
}

// wanted reports whether the stream still waits to be opened.
func (w *watching) wanted() bool {
	w.of.mu.Lock()
	defer w.of.mu.Unlock()
	return w.state == turnMaking
}

// wake is called by the hub, within a turn of the feed: there is something to send.
func (w *watching) wake() {
	x := w.of
	x.mu.Lock()
	defer x.mu.Unlock()
	w.woken = true
	x.ready(&w.stream)
	x.turns()
}

// make implements [kind].
func (w *watching) make() {
	x := w.of
	if w.first != nil {
		x.mu.Lock()
		defer x.mu.Unlock()
		if x.sendFed(&w.stream, wire.TypeWatchPiece, w.first) {
			w.first = nil
			x.ready(&w.stream)
		}
		return
	}
	p, state := w.watcher.Next(w.piece)
	x.mu.Lock()
	defer x.mu.Unlock()
	switch state {
	case watch.Gone:
		x.fail(&w.stream, wire.NotLeader(w.request.Group, 0, ""))
		return
	case watch.Compacted:
		x.end(&w.stream, &wire.StreamEnd{Reason: wire.EndSlow, Why: wire.Error{
			Code: wire.CodeUnavailable, Object: fmt.Sprintf("stream %d", w.reply.Request), Text: "what is next is no longer kept",
			State: "it has seen all up to " + shardmap.FormatPosition(w.request.Group, w.at), Next: "watch from there, and list the " + w.things() + " if that is refused; read faster",
		}})
		return
	}
	switch {
	case w.state != turnFed:
		return // it has ended
	case len(p.Body) == 0:
		w.state = turnIdle
	case !x.sendFed(&w.stream, wire.TypeWatchPiece, p.Body):
		return
	}
	w.at = w.watcher.At()
	w.woken = state == watch.More
	if w.leaves && !w.woken {
		x.end(&w.stream, &wire.StreamEnd{Reason: wire.EndElsewhere, Why: wire.Error{
			Code: wire.CodeMoved, Object: fmt.Sprintf("slots of stream %d", w.reply.Request), Text: "none of them is in group " + w.request.Group.String(),
			State: "all that happened to them here was sent", Next: "fetch the topology, then watch them where they are",
		}})
		return
	}
	x.ready(&w.stream)
}

// resume implements [kind]: it is the position up to which all was sent.
func (w *watching) resume() []byte {
	if !w.hasAt {
		return wire.AppendPositions(nil, nil)
	}
	return wire.AppendPositions(nil, []wire.GroupPosition{{Group: w.request.Group, Position: w.at}})
}
