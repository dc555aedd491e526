package sim

import (
	"slices"

	"muster/raft"
	"muster/shardmap"
)

// What the entries that move slots mean, in the slowest and most obvious code: for each
// group and slot what the group holds, as shardmap shows it in a view. Digests and counts
// are not predicted but compared between replicas.

// hold is what a group holds of a slot beside what the slot is.
type hold struct {
	mark      uint64
	sealed    shardmap.SlotView // of Number 0: it is not sealed; else what the view says of the seal
	imported  shardmap.ImportView
	to        raft.LogID // of the import: where the pass that is under way ends
	decisions []shardmap.Decision
	views     []viewAt // of the replica that applied each step first
}

// viewAt is the view of a slot from an entry on.
type viewAt struct {
	index uint64
	view  shardmap.SlotView
}

// stepOutcome is what an entry does to one slot on its way.
type stepOutcome struct {
	slot shardmap.Slot
	done bool
	view shardmap.SlotView // after it
}

func (m *model) hold(s shardmap.Slot) *hold {
	h := m.holds[s]
	if h == nil {
		h = new(hold)
		if m.holds == nil {
			m.holds = map[shardmap.Slot]*hold{}
		}
		m.holds[s] = h
	}
	return h
}

// move returns what a command that moves slots does.
func (m *model) move(t *truth, e raft.Entry, x *shardmap.Command) outcome {
	r := outcome{slot: x.Slot, group: t.group, id: e.ID, status: shardmap.StatusMarked}
	did := func(s shardmap.Slot, number uint64, done bool) {
		o := stepOutcome{slot: s, done: done, view: m.view(t, s)}
		r.steps = append(r.steps, o)
		if done {
			r.status = shardmap.StatusApplied
		}
		t.c.shuffle.stepped(t, x.Kind, number, &o)
	}
	if x.Kind == shardmap.CommandChunk {
		pieces, err := shardmap.ReadPieces(x)
		if err != nil {
			t.c.fail("I9: entry %s of group %d is no chunk: %v", e.ID, t.group, err)
		}
		for i := range pieces {
			p := &pieces[i]
			did(p.Slot, p.Number, m.piece(t, p))
		}
	} else {
		steps, err := shardmap.ReadSteps(x)
		if err != nil {
			t.c.fail("I9: entry %s of group %d moves nothing: %v", e.ID, t.group, err)
		}
		for i := range steps {
			s := &steps[i]
			did(s.Slot, s.Number, m.step(t, e, x.Kind, s))
		}
	}
	r.owned = t.c.lives.of(x.Slot).servedBy(t.group)
	return r
}

// piece reports whether a piece takes effect, and records it.
func (m *model) piece(t *truth, p *shardmap.Piece) bool {
	h := m.hold(p.Slot)
	i := &h.imported
	if p.Number <= h.mark || t.c.lives.of(p.Slot).servedBy(t.group) || h.sealed.Number != 0 {
		return false
	}
	same := i.Number == p.Number && i.Source == p.Source && i.Attempt == p.Attempt
	switch {
	case p.Index == 0:
		if i.Number > p.Number || i.Number == p.Number && !i.Attempt.Less(p.Attempt) {
			return false
		}
		*i = shardmap.ImportView{Number: p.Number, Source: p.Source, Attempt: p.Attempt}
	case !same || p.Index != i.Chunks || p.From != i.At || i.Partial && p.To != h.to:
		return false
	}
	i.Chunks++
	i.Partial, h.to = p.More, p.To
	if !p.More {
		i.At = p.To
	}
	return true
}

// step reports whether a step takes effect, and records it.
func (m *model) step(t *truth, e raft.Entry, k shardmap.CommandKind, s *shardmap.Step) bool {
	h, l := m.hold(s.Slot), t.c.lives.of(s.Slot)
	newer := s.Number > h.mark
	ours := h.sealed.Number == s.Number && s.Number != 0
	switch k {
	case shardmap.CommandSeal:
		if !newer || !l.servedBy(t.group) || s.Empty && !l.empty() {
			return false
		}
		l.end(e)
		l.sealed[s.Number] = e.ID
		h.sealed = shardmap.SlotView{Number: s.Number, Target: s.Peer, Sealed: e.ID, SealTime: e.Time}
		h.raise(s.Number)
	case shardmap.CommandCancel:
		if !newer {
			return false
		}
		h.raise(s.Number)
	case shardmap.CommandUnseal:
		if !ours {
			return false
		}
		l.begin(t, e)
		h.sealed = shardmap.SlotView{}
	case shardmap.CommandDrop:
		if !ours {
			return false
		}
		if !l.taken[s.Number] {
			t.c.fail("I8: by entry %s group %d drops slot %d, which no group has taken over by move %d", e.ID, t.group, s.Slot, s.Number)
		}
		h.sealed = shardmap.SlotView{}
	case shardmap.CommandTakeover:
		if !newer || !h.whole(t, s) {
			return false
		}
		if seal, ok := l.sealed[s.Number]; !ok || seal != s.At {
			t.c.fail("I11: by entry %s group %d takes slot %d over as of %s of group %d; move %d has sealed it at %s (did: %v)", e.ID, t.group, s.Slot, s.At, s.Peer, s.Number, seal, ok)
		}
		l.taken[s.Number] = true
		l.begin(t, e)
		l.shift(s.Time, e.Time)
		h.decide(s, true)
	case shardmap.CommandRefuse:
		if !newer {
			return false
		}
		h.decide(s, false)
	case shardmap.CommandForget:
		i := slices.IndexFunc(h.decisions, func(d shardmap.Decision) bool { return d.Number == s.Number })
		if i < 0 {
			return false
		}
		h.decisions = slices.Delete(slices.Clone(h.decisions), i, i+1)
	default:
		t.c.fail("nobody knows what a %s does", k)
	}
	return true
}

// whole reports whether the import is what a takeover is about: all that the source had at
// the seal.
func (h *hold) whole(t *truth, s *shardmap.Step) bool {
	i := &h.imported
	return i.Number == s.Number && i.Source == s.Peer && !i.Partial && i.At == s.At && i.Chunks == s.Chunks && h.sealed.Number == 0
}

// raise raises the mark, and gives up an import that is no newer.
func (h *hold) raise(number uint64) {
	h.mark = max(h.mark, number)
	if h.imported.Number <= number {
		h.imported, h.to = shardmap.ImportView{}, raft.LogID{}
	}
}

func (h *hold) decide(s *shardmap.Step, taken bool) {
	h.raise(s.Number)
	h.decisions = append(slices.Clone(h.decisions), shardmap.Decision{Number: s.Number, Taken: taken, Source: s.Peer})
}

// view is what shardmap should show of a slot, but for digests and counts.
func (m *model) view(t *truth, s shardmap.Slot) shardmap.SlotView {
	h := m.hold(s)
	v := h.sealed
	v.Slot, v.Mark, v.Import, v.Decisions = s, h.mark, h.imported, h.decisions
	switch {
	case t.c.lives.of(s).servedBy(t.group):
		v.Holding = shardmap.HoldsOwned
	case h.sealed.Number != 0:
		v.Holding = shardmap.HoldsSealed
	}
	return v
}

// bare is a view without what the model does not predict.
func bare(v shardmap.SlotView) shardmap.SlotView {
	v.Digest, v.Import.Digest, v.Keys, v.Bytes, v.Last = 0, 0, 0, 0, 0
	return v
}

// sameView compares two views field by field, because a run compares some ten thousand.
func sameView(a, b *shardmap.SlotView) bool {
	return a.Slot == b.Slot && a.Holding == b.Holding &&
		a.Number == b.Number && a.Target == b.Target && a.Sealed == b.Sealed && a.SealTime == b.SealTime && a.Digest == b.Digest &&
		a.Mark == b.Mark && a.Import == b.Import && slices.Equal(a.Decisions, b.Decisions) && a.Keys == b.Keys && a.Bytes == b.Bytes && a.Last == b.Last
}

// moved checks what a replica has made of an entry that moves slots: each slot must be
// as the log says (I11), and as it is on other replicas (I10).
func (t *truth) moved(w *watched, e raft.Entry, line *truthEntry) {
	results := w.state.State.StepResults()
	if len(results) != len(line.outcome.steps) {
		t.c.fail("n%d: entry %s of group %d has %d steps, and %d results", w.node.index, e.ID, t.group, len(line.outcome.steps), len(results))
	}
	digests, again := t.toldDigests[e.ID.Index]
	if !again {
		digests = make([]uint64, len(t.c.lives.slots))
		t.toldDigests[e.ID.Index] = digests
		t.c.shuffle.answered(t, results)
	}
	for k := range results {
		want, got := &line.outcome.steps[k], &results[k]
		seen := bare(got.View)
		if !sameView(&seen, &want.view) || (got.Outcome == shardmap.StepDone) != want.done {
			t.c.fail("I11: n%d: by entry %s of group %d slot %d is %+v (%s); by the log it is %+v (done: %v)",
				w.node.index, e.ID, t.group, want.slot, got.View, got.Outcome, want.view, want.done)
		}
		h := t.model.hold(want.slot)
		if !again {
			v := got.View
			v.Decisions = want.view.Decisions // which is not changed
			h.views = append(h.views, viewAt{e.ID.Index, v})
		} else if was := h.viewAt(e.ID.Index); !sameView(&was, &got.View) {
			t.c.fail("I10: after %s of group %d slot %d is %+v on n%d, %+v elsewhere", e.ID, t.group, want.slot, got.View, w.node.index, was)
		}
		if i := slices.Index(t.c.lives.slots, want.slot); i >= 0 {
			digest, _ := w.state.State.Digest(want.slot)
			if !again {
				digests[i] = digest
			} else if digests[i] != digest {
				t.c.fail("I10: after %s of group %d slot %d has digest %016x on n%d, %016x elsewhere", e.ID, t.group, want.slot, digest, w.node.index, digests[i])
			}
		}
	}
}

// viewAt returns the view as of an index, as it was after the last step about the slot.
func (h *hold) viewAt(index uint64) shardmap.SlotView {
	for i := len(h.views) - 1; i >= 0; i-- {
		if h.views[i].index <= index {
			return h.views[i].view
		}
	}
	return shardmap.SlotView{}
}

// checkHolds checks what a state that was not made entry by entry holds of slots on their
// way.
func (t *truth) checkHolds(w *watched, at raft.LogID) {
	for _, s := range t.c.lives.slots {
		h := t.model.holds[s]
		if h == nil {
			continue
		}
		want, got := h.viewAt(at.Index), w.state.State.View(s)
		if want.Number == 0 && want.Mark == 0 && want.Import.Number == 0 {
			continue // no step was about it yet
		}
		if want.Holding != shardmap.HoldsSealed { // others change by writes
			want.Keys, want.Bytes, want.Last, got.Keys, got.Bytes, got.Last = 0, 0, 0, 0, 0, 0
		}
		if !sameView(&want, &got) {
			t.c.fail("I10: the state of group %d at %s that n%d takes has slot %d as %+v; after the last step it was %+v", t.group, at, w.node.index, s, got, want)
		}
	}
}
