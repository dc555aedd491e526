package shardmap

import (
	"cmp"
	"slices"

	"muster/raft"
)

// A slot's move, as the log of one of its two groups sees it. The move has a number, and
// the slot has a mark in each group: the highest number of a move about which the group
// has decided something (own.go). A step applies only as long as its move's number is
// above the mark, and then raises the mark to it, except for the steps that end what the
// mark stands for:
//
//	served ──seal N──► sealed for N ──drop N──► nothing
//	  ▲                     └────unseal N────► served
//	  └──takeover N── nothing, and an import of N ◄──chunk N── nothing
//	                        └─────refuse N────► nothing
//
// So whatever is late, or comes twice, changes nothing. The first of takeover and refusal
// that is applied decides, and its decision is kept until a command has it forgotten. A
// client's command behind a seal finds no slot: it changes nothing and leaves no outcome, so
// the client may try it at the target.

// seal is what is known of a sealed slot beside its contents, which nothing changes.
type seal struct {
	number uint64 // of the move
	target raft.GroupID
	at     raft.LogID // its entry
	time   raft.GroupTime
}

// keptSeal is a seal and its sum, for [Walk]. Neither changes.
type keptSeal struct {
	seal
	kept uint64
}

func (s seal) keep() *keptSeal { return &keptSeal{s, s.hash()} }

// DecisionsMax bounds the decisions about one slot that a group keeps: the moves of the
// slot to this group that are not closed yet. A takeover or refusal beyond waits until one
// is forgotten.
const DecisionsMax = 16

// What a target decides, as [Decision.Taken] has it.
const (
	asTaken   = true
	asRefused = false
)

// SlotDecision is a decision about a move of a slot.
type SlotDecision struct {
	Slot Slot
	Decision
}

// decisions are those of a map, by slot and number. They never change: another list takes
// their place.
type decisions []SlotDecision

// decided is what a map has decided.
type decided struct {
	decisions decisions
	sum       uint64 // of decisions, for [Walk]
}

func (d *decided) decide(l decisions) { d.decisions, d.sum = l, l.sum() }

// Decisions returns the decisions about moves that the group keeps, by slot and number. They
// are not to be changed, and don't change later. It costs nothing, however many slots there
// are: only the goroutine that applies may call it.
func (d *decided) Decisions() []SlotDecision { return d.decisions }

func (l decisions) find(s Slot, number uint64) (int, bool) {
	return slices.BinarySearchFunc(l, number, func(d SlotDecision, number uint64) int {
		return cmp.Or(cmp.Compare(d.Slot, s), cmp.Compare(d.Number, number))
	})
}

// of returns the decisions about a slot.
func (l decisions) of(s Slot) []SlotDecision {
	from, _ := l.find(s, 0)
	to := from
	for to < len(l) && l[to].Slot == s {
		to++
	}
	return l[from:to]
}

// entryAt says at which entry something is applied, and at which group time.
type entryAt struct {
	id  raft.LogID
	now raft.GroupTime
}

// moveTurn carries out one command that moves slots. What it changes of marks, pages and
// decisions is put into the map at its end, so that readers see all of it or nothing.
type moveTurn struct {
	m       *Map
	entry   entryAt
	marks   *allMarks    // nil as long as none was raised
	pages   *pagesEditor // nil as long as no slot has come or gone
	decided decisions    // of the map, or a list of the turn's own
	own     bool         // decided is the turn's own
}

// moveSteps carries out a command that moves slots, but for a chunk.
func moveSteps(m *Map, e entryAt, c *Command) (Status, error) {
	steps, err := ReadSteps(c)
	if err != nil {
		return 0, err
	}
	t := moveTurn{m: m, entry: e, decided: m.decisions}
	m.results = m.results[:0]
	for i := range steps {
		m.results = append(m.results, StepResult{Outcome: t.step(c.Kind, &steps[i]), View: SlotView{Slot: steps[i].Slot}})
	}
	return t.end(), nil
}

// moveChunk is [CommandChunk].
func moveChunk(m *Map, e entryAt, c *Command) (Status, error) {
	pieces, err := ReadPieces(c)
	if err != nil {
		return 0, err
	}
	// All content is read before any is carried out: an error must leave everything as it was.
	sums := make([]contentSum, len(pieces))
	for i := range pieces {
		if sums[i], err = checkContent(&pieces[i]); err != nil {
			return 0, err
		}
	}
	t := moveTurn{m: m, entry: e, decided: m.decisions}
	m.results = m.results[:0]
	for i := range pieces {
		m.results = append(m.results, StepResult{Outcome: t.piece(&pieces[i], sums[i]), View: SlotView{Slot: pieces[i].Slot}})
	}
	return t.end(), nil
}

// ValidateMove says why a command that moves slots must not be admitted in a cluster with
// these limits. It reads all content of a chunk: what it accepts can be applied, whatever
// its sender is.
func (c *Command) ValidateMove(l Limits) error {
	if row := c.Kind.Row(); row == nil || !c.Kind.Moves() {
		return ErrCommand
	} else if err := row.Admit(l.Level); err != nil {
		return err
	}
	if c.Kind != CommandChunk {
		_, err := ReadSteps(c)
		return err
	}
	pieces, err := ReadPieces(c)
	for i := range pieces {
		if err == nil {
			_, err = checkContent(&pieces[i])
		}
	}
	return err
}

// end puts what has changed into the map, and fills in the views of the slots.
func (t *moveTurn) end() Status {
	if t.marks != nil {
		t.m.hold(t.m.founded, t.marks.runs())
	}
	if t.pages != nil {
		t.m.slots.Store(t.pages.pages)
	}
	if t.own {
		t.m.decide(t.decided)
	}
	status := StatusMarked
	for i := range t.m.results {
		r := &t.m.results[i]
		r.View = t.m.View(r.View.Slot)
		if r.Outcome == StepDone {
			status = StatusApplied
		}
	}
	return status
}

// step carries out one slot's step.
func (t *moveTurn) step(k CommandKind, s *Step) StepOutcome {
	switch k {
	case CommandSeal:
		return t.seal(s)
	case CommandTakeover:
		return t.takeover(s)
	case CommandRefuse:
		return t.refuse(s)
	case CommandCancel:
		return t.cancel(s)
	case CommandUnseal:
		return t.unseal(s)
	case CommandDrop:
		return t.drop(s)
	}
	return t.forget(s)
}

// served and sealed return a slot as this turn leaves it. A command names no slot twice,
// so that is as the turn found it.
func (t *moveTurn) served(s Slot) *slotState { return t.m.slots.Load().at(s) }

func (t *moveTurn) sealed(s Slot) *slotState { return t.m.slots.Load().sealed.at(s) }

// marked reports whether something as new as the move number was decided about the slot.
func (t *moveTurn) marked(s Slot, number uint64) bool {
	return t.m.marks.of(s) >= number && !bug("move number not fenced")
}

// raise raises the slot's mark to a number, and gives up an import that is no newer: its
// move will get no further here.
func (t *moveTurn) raise(s Slot, number uint64) {
	if t.marks == nil {
		t.marks = new(allMarks)
		t.marks.fill(t.m.marks)
	}
	t.marks[s] = max(t.marks[s], number)
	t.m.imports.discard(s, number)
	if t.m.imports.of(s) == nil {
		t.m.tallies.discarded(s)
	}
}

func (t *moveTurn) edit() *pagesEditor {
	if t.pages == nil {
		e := editPages(t.m.slots.Load())
		t.pages = &e
	}
	return t.pages
}

func (t *moveTurn) seal(s *Step) StepOutcome {
	if st := t.sealed(s.Slot); st != nil && st.seal.number == s.Number {
		return StepKnown
	}
	st := t.served(s.Slot)
	switch {
	case t.marked(s.Slot, s.Number):
		return StepMarked
	case st == nil:
		return StepUnfit
	case s.Empty && !st.empty():
		return StepNotEmpty
	}
	st.seal = seal{number: s.Number, target: s.Peer, at: t.entry.id, time: t.entry.now}.keep()
	t.edit().serve(s.Slot, nil)
	t.edit().seal(s.Slot, st)
	t.m.quota.drop(&st.sessions)
	t.m.services.note(st)
	t.raise(s.Slot, s.Number)
	t.m.history.left(s)
	return StepDone
}

// sealedFor returns the slot if it is sealed for this move.
func (t *moveTurn) sealedFor(s *Step) (*slotState, StepOutcome) {
	st := t.sealed(s.Slot)
	switch {
	case st != nil && st.seal.number == s.Number:
		return st, StepDone
	case t.m.marks.of(s.Slot) >= s.Number:
		return nil, StepMarked // it may have taken effect before
	}
	return nil, StepUnfit
}

func (t *moveTurn) unseal(s *Step) StepOutcome {
	st, outcome := t.sealedFor(s)
	if st == nil {
		return outcome
	}
	target := st.seal.target
	// Under a seal nobody can keep a lease alive, so that time does not count.
	st.mu.Lock()
	st.resume(st.time(st.seal.time), t.entry.now)
	st.mu.Unlock()
	st.noteDue(t.m)
	st.seal = nil
	t.edit().seal(s.Slot, nil)
	t.edit().serve(s.Slot, st)
	t.m.quota.add(&st.sessions)
	t.m.services.note(st)
	t.m.history.back(s, target)
	return StepDone
}

// drop forgets the slot, in O(1): whoever still reads a copy of it, or a moment, has the
// rest.
func (t *moveTurn) drop(s *Step) StepOutcome {
	st, outcome := t.sealedFor(s)
	if st == nil {
		return outcome
	}
	t.edit().seal(s.Slot, nil)
	t.m.tallies.went(s.Slot, st)
	return StepDone
}

// cancel is of use to a group that has the slot. One that has nothing of it is the source
// only as long as it is not founded: a mark would keep it from ever being that.
func (t *moveTurn) cancel(s *Step) StepOutcome {
	switch {
	case t.marked(s.Slot, s.Number):
		return StepMarked
	case t.m.held(s.Slot) == nil:
		return StepUnfit
	}
	t.raise(s.Slot, s.Number)
	return StepDone
}

// decide keeps a decision; false if there are too many.
func (t *moveTurn) decide(s *Step, taken bool) bool {
	if len(t.decided.of(s.Slot)) >= DecisionsMax {
		return false
	}
	i, _ := t.decided.find(s.Slot, s.Number)
	t.ownDecisions()
	t.decided = slices.Insert(t.decided, i, SlotDecision{s.Slot, Decision{Number: s.Number, Taken: taken, Source: s.Peer}})
	return true
}

func (t *moveTurn) ownDecisions() {
	if !t.own {
		t.decided, t.own = slices.Clone(t.decided), true
	}
}

// decidedBefore returns what a step for which a decision stands has as its outcome; 0 if
// there is none.
func (t *moveTurn) decidedBefore(s *Step, taken bool) StepOutcome {
	i, ok := t.decided.find(s.Slot, s.Number)
	switch {
	case !ok:
		return 0
	case t.decided[i].Taken == taken:
		return StepKnown
	}
	return StepMarked
}

func (t *moveTurn) takeover(s *Step) StepOutcome {
	if before := t.decidedBefore(s, asTaken); before != 0 {
		return before
	}
	if t.marked(s.Slot, s.Number) {
		return StepMarked
	}
	i := t.m.imports.of(s.Slot)
	if i == nil || i.number != s.Number || i.source != s.Peer || t.m.held(s.Slot) != nil {
		return StepUnfit
	}
	whole := !i.partial() && i.at == s.At && i.chunks == s.Chunks && i.state.digest() == s.Digest
	if !whole && !bug("target serves before it is complete") || !t.decide(s, asTaken) {
		return StepUnfit
	}
	st := i.state
	st.mu.Lock()
	st.sessions.shift(s.Time, t.entry.now)
	st.resume(st.time(s.Time), t.entry.now)
	if bug("TTL lost in a move") {
		st.endings = nil
	}
	st.noteDue(t.m)
	if bug("session entry lost in a move") {
		st.sessions = sessions{}
	}
	if bug("version lost in a move") {
		st.setLast(0)
	}
	st.formers = st.formers.with(Former{Group: s.Peer, Sealed: s.At})
	st.mu.Unlock()
	t.m.quota.add(&st.sessions)
	t.m.services.note(st)
	t.m.tallies.came(s.Slot, st)
	t.edit().serve(s.Slot, st)
	t.raise(s.Slot, s.Number) // which drops the import
	t.m.history.came(s)
	return StepDone
}

func (t *moveTurn) refuse(s *Step) StepOutcome {
	if before := t.decidedBefore(s, asRefused); before != 0 {
		return before
	}
	switch {
	case t.marked(s.Slot, s.Number):
		return StepMarked
	case !t.decide(s, asRefused):
		return StepUnfit
	}
	t.raise(s.Slot, s.Number)
	return StepDone
}

// forget forgets a decision. The mark stays, so that nothing about the move can be decided
// again.
func (t *moveTurn) forget(s *Step) StepOutcome {
	i, ok := t.decided.find(s.Slot, s.Number)
	switch {
	case ok:
		t.ownDecisions()
		t.decided = slices.Delete(t.decided, i, i+1)
		return StepDone
	case t.m.marks.of(s.Slot) >= s.Number:
		return StepKnown
	}
	return StepUnfit
}

func (t *moveTurn) piece(p *Piece, sum contentSum) StepOutcome {
	switch {
	case t.marked(p.Slot, p.Number):
		return StepMarked
	case t.m.held(p.Slot) != nil:
		// A group that is still sealed takes nothing of the slot: what it holds was not
		// taken over yet, for all that this log says.
		return StepUnfit
	}
	i := t.m.imports.of(p.Slot)
	same := i != nil && i.number == p.Number && i.source == p.Source && i.attempt == p.Attempt
	switch {
	case same && p.Index < i.chunks:
		return StepKnown
	case p.Index == 0:
		// Of a newer attempt, or a newer move: else a first piece that is late would throw
		// away what has come since.
		if i != nil && (i.number > p.Number || i.number == p.Number && !i.attempt.Less(p.Attempt)) {
			return StepBehind
		}
		i = newSlotImport(importHead{slot: p.Slot, number: p.Number, source: p.Source, attempt: p.Attempt}, newSlotState())
	case !same || p.Index != i.chunks || p.From != i.at || i.partial() && p.To != i.to:
		return StepBehind
	}
	if !i.fits(p, sum) {
		return StepUnfit
	}
	if p.Index == 0 {
		t.m.imports.put(i)
	}
	i.take(t.m, p, sum)
	return StepDone
}

// held returns a slot that the group serves, or has sealed.
func (m *Map) held(s Slot) *slotState {
	p := m.slots.Load()
	if st := p.at(s); st != nil {
		return st
	}
	return p.sealed.at(s)
}

// StepResults returns what became of each slot's part of the last command that moved
// slots, by slot. It is good until the next Apply, whose goroutine calls it.
func (m *Map) StepResults() []StepResult { return m.results }

// View returns what the log says of a slot, as far as moves go. The goroutine that applies
// calls it.
func (m *Map) View(s Slot) SlotView {
	v := SlotView{Slot: s, Mark: m.marks.of(s)}
	p := m.slots.Load()
	st := p.at(s)
	if st != nil {
		v.Holding = HoldsOwned
	} else if st = p.sealed.at(s); st != nil {
		v.Holding = HoldsSealed
		v.Number, v.Target, v.Sealed, v.SealTime = st.seal.number, st.seal.target, st.seal.at, st.seal.time
		v.Digest = st.digest()
	}
	if st != nil {
		v.Keys, v.Last = uint64(st.records.count), st.last
		st.stores(func(o *store) { v.Bytes += uint64(o.bytes) })
	}
	if i := m.imports.of(s); i != nil {
		v.Import = ImportView{Number: i.number, Source: i.source, Attempt: i.attempt, Chunks: i.chunks, At: i.at, Digest: i.state.digest(), Partial: i.partial()}
	}
	for _, d := range m.decisions.of(s) {
		v.Decisions = append(v.Decisions, d.Decision)
	}
	return v
}

// Sealed returns how many slots are sealed. Any goroutine may call it; it costs one load.
func (m *Map) Sealed() int { return m.slots.Load().sealedCount }

// OwnsAll reports whether the group serves all slots of some runs: Present, or else the
// first that it does not serve, and whether that is NotOwned or Sealed.
func (m *Map) OwnsAll(runs []SlotRange) (first Slot, is Presence) {
	p := m.slots.Load()
	for s := range eachOf(runs) {
		if is := p.presence(s); is != Present {
			return s, is
		}
	}
	return 0, Present
}

// presence says whether a slot is served: Present, Sealed or NotOwned.
func (p *slotPages) presence(s Slot) Presence {
	switch {
	case p.at(s) != nil:
		return Present
	case p.sealed.at(s) != nil:
		return Sealed
	}
	return NotOwned
}
