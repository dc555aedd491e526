package repl

import (
	"fmt"
	"maps"
	"slices"

	"muster/logstore"
	"muster/raft"
	"muster/repl/wire"
)

// An older life is not taken for the newest. A life is one start of a node. What
// a node promises it keeps on its disk; but a disk can be of an earlier moment: a
// directory that was copied and put back, a machine that was cloned. All of its
// bytes verify, and it has forgotten votes and entries that others count on.
//
// So a node that starts introduces itself to each other node with its chain of
// lives, and asks what that knows:
//
//  1. The asked one notes the new life, on disk, before it takes a message of it,
//     and takes back what it counts of the one before ([raft.Group.Reborn]). From
//     then on a message of any other life is dropped. The numbers of lives are
//     ballots: a life whose number is not above the noted one takes a higher
//     number and asks everyone anew. While the noted life is connected, no other is
//     noted.
//  2. It compares the chain with what it noted before: a noted life that is not in
//     the chain, or a noted batch that the log did not reach when the life after it
//     began, proves an older disk. Then the asker is in doubt, durably. (A noted
//     life that is older than all that the chain keeps proves nothing, and leads
//     to a doubt too.)
//  3. Until the other voters of a group have answered, the asker's replica is held, and a
//     replica in doubt also while others have buried theirs and no log tells why:
//     it takes no message and has no ticks, so it neither votes nor acknowledges. A
//     voter that is silent is waited for two election timeouts; without limit by a
//     life in doubt. One that goes on to say that another life is connected is not
//     silent.
//  4. Then the replica takes the highest term and the newest last id as its floor
//     ([raft.Group.Resume]), and runs.
//  5. A doubt ends once all replicas have run up to their floors. Then the others
//     are told, and note this life as one to compare with.
//
// What a life promised is known to others by batches: each message carries the
// last batch of its sender's log that is synced, and who hears of it notes it with
// its own next batch.

// Limits of lives.
const (
	// lifeWaitTimeouts is for how many election timeouts a silent voter is waited
	// for by a life that is not in doubt.
	lifeWaitTimeouts = 2
	// lifeJumpMax bounds how far the number of a life may be above the one that is
	// noted: a node that is started each second needs twelve days for it, and who
	// claims more wants to lock the node out.
	lifeJumpMax = 1 << 20
	// batchJumpMax bounds how far a node's log may have come since it was last heard
	// of: at a million batches a second that is twelve days.
	batchJumpMax = 1 << 40
	// strangersMax bounds the nodes of which something is noted though the table does
	// not name them: those that it does not name yet, and those that it has not named
	// since this node started.
	strangersMax = 64
)

// wait is for how many ticks a silent voter is waited for by a life that is not in
// doubt.
func (l *lives) wait() uint64 { return lifeWaitTimeouts * uint64(l.host.cfg.ElectionTicks) }

// lives is what a host knows of lives: of its own node's, and of the others'. What
// it learns of its own it keeps in the identity, which belongs to the store since
// the life began.
type lives struct {
	// Set once.
	host *Host

	chain    []logstore.Link // Invariant: not empty; the last is the present one
	doubt    logstore.Doubt
	settled  uint64 // the number of the newest life in which a doubt ended: it had heard all that it may have forgotten
	batch    uint64 // the last of the log that is synced
	question uint64 // the number of the newest question
	anew     bool   // the next turn begins another one
	others   map[raft.NodeID]*other
	dirty    []*other // whose notes go with the next batch
	forced   bool     // that batch is wanted even if nothing else is
	held     int      // how many groups are held
	disowned bool     // one of them by what is buried elsewhere: a log may tell more soon, so all are asked again
	failed   string   // why the identity could not be changed, as it was logged
}

// other is what is known of another node's lives.
type other struct {
	node  raft.NodeID
	note  logstore.Note
	noted bool // note.Life is on disk, so its messages are taken
	dirty bool // the note is newer than what is on disk
	// linked: the noted life was heard of at heard, and no connection of the node
	// has ended since.
	linked bool
	heard  uint64 // tick

	owed    *wire.LifeQuestion // to be answered once the note is on disk
	verdict wire.Verdict       // about it
	before  wire.LifeLink      // what was noted then

	askAt    uint64 // the tick before which it is not asked again
	answered uint64 // the newest question that it answered
	refused  uint64 // the tick when it last said that it did not note this life; 0: it did, or said nothing
	judged   bool   // it noted it, and said whether it is an older one
	proven   bool   // it knows that its own disk is older
	logs     map[raft.GroupID]wire.LifeLog
	buried   map[raft.GroupID]wire.LifeGrave
}

func (l *lives) init(h *Host) error {
	id, ok := logstore.IdentityOf(h.cfg.Store)
	if !ok {
		return fmt.Errorf("new host: %w: none has begun", logstore.ErrLife)
	}
	*l = lives{host: h, chain: id.Chain, doubt: id.Doubt, settled: id.Settled, anew: true, others: make(map[raft.NodeID]*other)}
	l.batch = uint64(h.cfg.Store.SyncedBatch())
	for _, n := range h.cfg.Store.Notes() {
		l.others[n.Node] = &other{node: n.Node, note: n, noted: true}
	}
	return nil
}

// life is the present one.
func (l *lives) life() logstore.Life { return l.chain[len(l.chain)-1].Life }

// first reports whether the node was never started before: it has promised nothing
// that it could have forgotten.
func (l *lives) first() bool { return len(l.chain) == 1 && l.doubt.None() }

// know makes sure that a node of the table is asked.
func (l *lives) know(n raft.NodeID) {
	if l.others[n] == nil {
		l.others[n] = &other{node: n}
	}
}

// forget lets go of what is noted of a node that has left the table, also on disk.
func (l *lives) forget(n raft.NodeID) {
	o := l.others[n]
	if o == nil {
		return
	}
	delete(l.others, n)
	if o.note.Life.Mark == 0 {
		return // nothing is on disk
	}
	// Nobody waits for the note, so the node is not told when it is there.
	*o = other{node: n, note: logstore.Note{Node: n}, noted: true, dirty: o.dirty}
	l.soil(o)
	l.forced = true
}

// takes reports whether a message of a node's life is taken, and notes how far that
// node's log has come.
func (l *lives) takes(from raft.NodeID, mark, batch uint64) bool {
	o := l.others[from]
	if o == nil {
		return false
	}
	if !o.noted || mark != o.note.Life.Mark {
		o.answered = 0 // whoever it is may not know that it must introduce itself
		return false
	}
	o.linked, o.heard = true, l.host.ticks
	known := uint64(o.note.Batch)
	if batch > known && batch-known <= batchJumpMax && o.note.Trusted.Mark == mark {
		o.note.Batch = logstore.Batch(batch)
		l.soil(o)
	}
	return true
}

// soil has a note written with the next batch.
func (l *lives) soil(o *other) {
	if !o.dirty {
		o.dirty = true
		l.dirty = append(l.dirty, o)
	}
}

// write puts the notes that are due into a batch that is about to leave.
func (l *lives) write(b *Batch) {
	if len(l.dirty) == 0 || len(b.Writes) == 0 && !l.forced {
		return
	}
	b.notes = slices.Grow(b.notes, len(l.dirty)) // so that none moves
	for i, o := range l.dirty {
		b.notes = append(b.notes, o.note) // which may change while the log reads this
		b.Writes = append(b.Writes, logstore.Write{Note: &b.notes[len(b.notes)-1]})
		if !o.noted {
			b.introduced = append(b.introduced, o)
		}
		o.dirty = false
		l.dirty[i] = nil
	}
	l.dirty, l.forced = l.dirty[:0], false
}

// synced is told that a batch with the notes of new lives is on disk.
func (l *lives) synced(introduced []*other) {
	for _, o := range introduced {
		if o.noted || o.dirty {
			continue // yet another life came meanwhile
		}
		o.noted = true
		if q := o.owed; q != nil {
			o.owed = nil
			l.answer(o, q)
		}
		if o.answered < l.question {
			l.ask(o)
		}
	}
}

// tick asks those who have not answered, and lets go of what need not wait.
func (l *lives) tick() {
	for _, n := range l.host.beats.nodes {
		if o := l.others[n]; o.answered < l.question && l.host.ticks >= o.askAt {
			l.ask(o)
		}
		if o := l.others[n]; o.linked && l.host.ticks-o.heard >= uint64(l.host.cfg.ElectionTicks) {
			o.linked = false
		}
	}
	if l.held > 0 {
		l.releaseAll()
		l.anew = l.anew || l.disowned && l.host.ticks%uint64(l.host.cfg.ElectionTicks) == 0
	}
	if !l.doubt.None() {
		if l.host.ticks%uint64(l.host.cfg.ElectionTicks) == 0 {
			l.keepDoubt()
		}
		l.settle()
	}
}

// ask asks one node.
func (l *lives) ask(o *other) {
	h := l.host
	o.askAt = h.ticks + uint64(h.cfg.HeartbeatTicks)
	q := wire.LifeQuestion{Number: l.question, Knows: o.note.Life.Mark, Batch: l.batch, Settled: l.settled}
	if !o.noted {
		q.Knows = 0
	}
	switch {
	case !l.doubt.None():
		q.Standing = wire.StandingDoubtful
	case l.settled == l.life().Number:
		q.Standing = wire.StandingSettled
	}
	for _, k := range l.chain[max(0, len(l.chain)-wire.LivesMax):] {
		q.Lives = append(q.Lives, wire.LifeLink{Number: k.Number, Mark: k.Mark, Last: uint64(k.Last)})
	}
	h.cfg.Transport.SendLife(o.node, wire.TypeLifeQuestion, &q)
}

// turn begins a question that all are to answer, if something began here after they
// answered the last one.
func (l *lives) turn() {
	if !l.anew {
		return
	}
	l.anew = false
	l.question++
	for _, n := range l.host.beats.nodes {
		l.ask(l.others[n])
	}
}

// reached asks a node that there is a connection with again, without waiting for
// the next tick.
func (l *lives) reached(n raft.NodeID) {
	if o := l.others[n]; o != nil && o.answered < l.question {
		l.ask(o)
	}
}

// ended notes that a connection of a node has ended: the process on it may have,
// too. If it has not, its next word says so.
func (l *lives) ended(n raft.NodeID) {
	if o := l.others[n]; o != nil {
		o.linked = false
	}
}

// ReceiveLifeQuestion hands in another node's question. It is answered through
// [Transport.SendLife], once what it says is on disk.
func (h *Host) ReceiveLifeQuestion(from raft.NodeID, q *wire.LifeQuestion) {
	l := &h.lives
	o := l.others[from]
	if o == nil {
		if len(l.others) >= len(h.beats.nodes)+strangersMax {
			return
		}
		o = &other{node: from}
		l.others[from] = o
	}
	h.contacts.hear(from)
	if q.Knows != l.life().Mark {
		o.answered = 0 // it does not know this life, and would drop what we say
	}
	life := logstore.Life{Number: q.Life().Number, Mark: q.Life().Mark}
	v := l.judge(o, q)
	before := o.noteLink(v)
	if !v.Noted() {
		h.refused.note(refusedLife, from, 0, h.ticks)
		o.owed, o.verdict, o.before = nil, v, before
		l.answer(o, q)
		return
	}
	if life != o.note.Life {
		h.cfg.Log.Info("node lives anew", "peer", from, "number", life.Number, "before", o.note.Life.Number, "verdict", v, "standing", q.Standing)
		o.note.Node, o.note.Life, o.noted = from, life, false
		o.linked, o.answered = false, 0
		h.lives.reborn(from)
		if before.Mark != 0 && !bug("resting group without leader") {
			h.contacts.lose(from, missLife) // it leads nothing: who rests on its word needn't wait until that runs out
		}
		l.soil(o)
		l.forced = true
	}
	if o.note.Trusted != life && (q.Standing == wire.StandingSettled || q.Standing == wire.StandingFresh && !v.Older()) {
		o.note.Trusted, o.note.Batch = life, logstore.Batch(q.Batch)
		l.soil(o)
		l.forced = true
	}
	o.verdict, o.before = v, before
	if o.noted {
		l.answer(o, q)
	} else {
		o.owed = q
	}
}

// noteLink is what a verdict was passed by.
func (o *other) noteLink(v wire.Verdict) wire.LifeLink {
	if v.Older() {
		return wire.LifeLink{Number: o.note.Trusted.Number, Mark: o.note.Trusted.Mark, Last: uint64(o.note.Batch)}
	}
	return wire.LifeLink{Number: o.note.Life.Number, Mark: o.note.Life.Mark, Last: uint64(o.note.Batch)}
}

// judge compares a node's chain with what is noted of it.
func (l *lives) judge(o *other, q *wire.LifeQuestion) wire.Verdict {
	life := q.Life()
	// Of one and the same life, too: a question that was overtaken must not bring
	// back the number that the life gave up.
	if known := o.note.Life; known.Mark != 0 && (life.Mark != known.Mark || life.Number != known.Number) {
		switch {
		case bug("older life accepted"):
			return wire.VerdictTaken
		case o.linked && life.Mark != known.Mark:
			return wire.VerdictConnected
		case life.Number <= known.Number:
			return wire.VerdictNumber
		case life.Number-known.Number > lifeJumpMax:
			return wire.VerdictJump
		}
	}
	if known := uint64(o.note.Batch); q.Batch > known && q.Batch-known > batchJumpMax || life.Number > lifeJumpMax && o.note.Life.Mark == 0 {
		return wire.VerdictJump
	}
	if o.note.Trusted.Mark == 0 || q.Standing == wire.StandingSettled || bug("older life accepted") {
		return wire.VerdictTaken
	}
	if q.Settled > o.note.Trusted.Number {
		// What is missing of the life that is noted here was made good since, by a
		// life that heard all others. That this node does not know of it says that
		// it was away, or is older itself.
		return wire.VerdictTaken
	}
	for i := range q.Lives {
		if q.Lives[i].Mark != o.note.Trusted.Mark {
			continue
		}
		// What the life after it found is all that was left of it.
		if i+1 < len(q.Lives) && q.Lives[i+1].Last < uint64(o.note.Batch) {
			return wire.VerdictBehind
		}
		return wire.VerdictTaken
	}
	return wire.VerdictUnknownLife
}

// reborn has the cores take back what they count of a node's earlier life.
func (l *lives) reborn(n raft.NodeID) {
	for _, g := range l.host.order {
		if g.stopped != nil || g.gone {
			continue
		}
		for m := range g.members.All() {
			if m.Node == n {
				g.core.Reborn(m.Replica)
				g.touch()
			}
		}
	}
}

// answer tells a node what is known of its life, and what the replicas here hold of
// the groups that it has a part in. A life in doubt may have forgotten that it has none
// any more, or that a group is gone: it is told of all groups, and of what is buried here.
func (l *lives) answer(o *other, q *wire.LifeQuestion) {
	h := l.host
	a := wire.LifeAnswer{Number: q.Number, About: q.Life().Mark, Mark: l.life().Mark, Verdict: o.verdict, Noted: o.before, Proven: l.doubt.Proven}
	doubtful := q.Standing == wire.StandingDoubtful
	for _, g := range h.order {
		if !doubtful && !g.livesOn(o.node) {
			continue
		}
		s := g.core.Status()
		row := wire.LifeLog{
			Group: g.replica.Group, Incarnation: g.replica.Incarnation, Replica: g.replica.ID, Term: s.Term, Last: s.Last,
			Judged: l.judged(&s.Membership),
		}
		if doubtful {
			row.Next, row.Replicas = s.Membership.Next, s.Membership.Replicas()
		}
		a.Logs = append(a.Logs, row)
	}
	for _, m := range h.mending.list {
		if m.group != nil {
			continue // it runs, and was told of above
		}
		row := wire.LifeLog{Group: m.replica.Group, Incarnation: m.replica.Incarnation, Replica: m.replica.ID, Lost: true}
		if out, ok := h.cfg.Store.Outline(m.replica); ok && !m.damage.Promises {
			row.Term, row.Last, row.Lost = out.State.Term, out.Last, false
			// An asker in doubt may have acknowledged what is lost here. Any other
			// knows its own log, and would wait for entries that nobody may have.
			if lost := m.damage.Lost; !doubtful && len(lost) > 0 {
				row.Last.Index = lost[0].First - 1
				row.Last.Term, ok = out.TermAt(row.Last.Index)
				row.Lost = !ok
			}
		}
		a.Logs = append(a.Logs, row)
	}
	if doubtful && !bug("buried replicas not told of") {
		for _, id := range slices.Sorted(maps.Keys(h.placing.graves)) {
			r := h.placing.graves[id]
			a.Buried = append(a.Buried, wire.LifeGrave{Group: r.Group, Incarnation: r.Incarnation, Replica: r.ID})
		}
	}
	h.cfg.Transport.SendLife(o.node, wire.TypeLifeAnswer, &a)
}

// judged reports whether all other voters have said what they make of this life.
func (l *lives) judged(m *raft.Membership) bool {
	for o := range m.Voting() {
		if n := o.Node; n != l.host.cfg.Self && (l.others[n] == nil || !l.others[n].judged) {
			return false
		}
	}
	return true
}

// ReceiveLifeAnswer hands in the answer of another node to this one's question.
func (h *Host) ReceiveLifeAnswer(from raft.NodeID, a *wire.LifeAnswer) {
	l := &h.lives
	o := l.others[from]
	if o == nil || a.About != l.life().Mark || a.Number == 0 || a.Number > l.question {
		return
	}
	h.contacts.hear(from)
	if !o.noted || a.Mark != o.note.Life.Mark {
		// It introduces itself, for it was told that it is not known; then it is
		// asked again.
		return
	}
	if a.Number < o.answered {
		// A later question was asked because this answer might not tell of all that
		// was promised: it must not take the place of the later one's.
		return
	}
	o.refused = 0
	if !a.Verdict.Noted() {
		o.refused = max(h.ticks, 1)
	}
	switch a.Verdict {
	case wire.VerdictNumber:
		l.takeNumber(a.Noted.Number + 1)
		return
	case wire.VerdictConnected, wire.VerdictJump:
		if h.refused.note(refusedLife, from, 0, h.ticks) {
			h.cfg.Log.Error("this life of the node is not taken: another one is connected, or its number is too high", "peer", from, "verdict", a.Verdict, "number", l.life().Number, "known", a.Noted.Number)
		}
		return
	case wire.VerdictUnknownLife, wire.VerdictBehind:
		if l.settled != l.life().Number {
			// A life that is older than all that are kept here may have been one of
			// this directory. An older disk that was started so often is no proof either.
			cut := a.Verdict == wire.VerdictUnknownLife && a.Noted.Number < l.chain[0].Number
			l.inDoubt(logstore.Doubt{Proven: !cut, Why: l.told(from, a)})
		}
	}
	o.answered, o.proven, o.judged = max(o.answered, a.Number), a.Proven, true
	o.logs = make(map[raft.GroupID]wire.LifeLog, len(a.Logs))
	for _, row := range a.Logs {
		o.logs[row.Group] = row
	}
	o.buried = make(map[raft.GroupID]wire.LifeGrave, len(a.Buried))
	for _, row := range a.Buried {
		o.buried[row.Group] = row
	}
	if l.held > 0 {
		l.releaseAll()
	}
}

// told says what a peer's word comes to.
func (l *lives) told(from raft.NodeID, a *wire.LifeAnswer) string {
	if a.Verdict == wire.VerdictUnknownLife {
		return fmt.Sprintf("node %s knows start %d of this node (mark %016x), of which nothing is here", from, a.Noted.Number, a.Noted.Mark)
	}
	return fmt.Sprintf("node %s heard of batch %d of this node's log, which ended before it when the node started", from, a.Noted.Last)
}

// Doubt returns why this node's disk may be of an earlier moment than what it
// promised. While there is a doubt its replicas are held until all other voters of
// their groups have answered, and the doubt stays until they have caught up.
func (h *Host) Doubt() logstore.Doubt { return h.lives.doubt }

// inDoubt has the life doubted from now on: all replicas wait for all voters.
func (l *lives) inDoubt(d logstore.Doubt) {
	if !l.doubt.None() && (l.doubt.Proven || !d.Proven) {
		return
	}
	l.doubt = d
	l.keepDoubt()
	h := l.host
	h.cfg.Log.Error("the data directory may be older than what this node promised", "why", d.Why)
	for _, g := range h.order {
		h.lives.hold(g)
	}
	l.anew = true
}

// keepDoubt writes the doubt down, if it is not yet: a disk may have had no room
// for it. The replicas wait all the same, so that nothing is promised meanwhile, and
// whoever told of the doubt may have stopped before this node starts again.
func (l *lives) keepDoubt() {
	if id, _ := logstore.IdentityOf(l.host.cfg.Store); id.Doubt != l.doubt {
		l.change("doubt not kept", func(id *logstore.Identity) { id.Doubt, id.Missed = l.doubt, nil })
	}
}

// settle ends the doubt once there is nothing left that could be forgotten.
func (l *lives) settle() {
	h := l.host
	if l.held > 0 || len(h.mending.list) > 0 {
		return
	}
	for _, g := range h.order {
		if g.stopped != nil {
			return // it has not caught up, and others must hear that this disk is older
		}
		if g.floor == (raft.LogID{}) {
			continue
		}
		s := g.core.Status()
		term, _ := g.core.TermAt(s.Durable)
		if g.unsynced > 0 || !(raft.LogID{Term: term, Index: s.Durable}).NewerOrEqual(g.floor) {
			return
		}
	}
	number := l.life().Number
	if !l.change("end of doubt not kept", func(id *logstore.Identity) { id.Doubt, id.Missed, id.Settled = logstore.Doubt{}, nil, number }) {
		return
	}
	h.cfg.Log.Info("this node has caught up with what it may have forgotten", "why", l.doubt.Why)
	l.doubt, l.settled, l.anew = logstore.Doubt{}, number, true
}

// takeNumber has this life take a higher number, since another one was noted.
func (l *lives) takeNumber(atLeast uint64) {
	h := l.host
	own := l.life().Number
	switch {
	case atLeast <= own:
		return
	case atLeast-own > lifeJumpMax:
		l.fault("number not taken", fmt.Errorf("%w: another node has noted %d for a life of this one, which is number %d: at most %d more are believed", logstore.ErrLife, atLeast-1, own, lifeJumpMax))
		return
	}
	id, err := logstore.TakeNumber(h.cfg.Store, atLeast)
	if err != nil {
		l.fault("number not taken", err)
		return
	}
	l.chain = id.Chain
	h.cfg.Log.Warn("another life of this node was noted: this one takes a higher number", "number", l.life().Number)
	for _, g := range h.order {
		h.lives.hold(g)
	}
	l.anew = true
}

// change changes the identity, on disk first, and reports whether that is done. It
// waits for the disk, a few times in a life at most.
func (l *lives) change(failed string, f func(*logstore.Identity)) bool {
	_, err := logstore.ChangeIdentity(l.host.cfg.Store, f)
	if err != nil {
		l.fault(failed, err)
	}
	return err == nil
}

// fault logs why the identity could not be changed, once. If it was not for want
// of room the log has ended, and the next append says so.
func (l *lives) fault(what string, err error) {
	if why := err.Error(); why != l.failed {
		l.failed = why
		l.host.cfg.Log.Error(what, "err", err)
	}
}
