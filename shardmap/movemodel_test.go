package shardmap

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"muster/raft"
)

// moveData is a slot's contents, slow and obvious.
type moveData struct {
	*model
	formers []Former
}

func newMoveData() *moveData { return &moveData{model: newModel()} }

func (d *moveData) clone() *moveData {
	c := &moveData{model: newModel(), formers: slices.Clone(d.formers)}
	for k, v := range d.keys {
		c.keys[k] = v
	}
	for id, v := range d.leases {
		c.leases[id] = v
	}
	for name, v := range d.services {
		c.services[name] = v
	}
	for s, v := range d.last {
		c.last[s] = v
	}
	for k, list := range d.versions {
		c.versions[k] = slices.Clone(list)
	}
	for s, table := range d.sessions {
		c.sessions[s] = map[modelSessionKey]*modelSession{}
		for k, v := range table {
			own := *v
			own.outcomes = map[uint64]Result{}
			for q, r := range v.outcomes {
				own.outcomes[q] = r
			}
			c.sessions[s][k] = &own
		}
	}
	return c
}

// String says all that is in it.
func (d *moveData) String() string {
	var lines []string
	for k, v := range d.keys {
		lines = append(lines, fmt.Sprintf("%s@%d: %.8q and so on, %d bytes, ends %+v", k, v.version, v.value, len(v.value), v.modelEnd))
	}
	for id, v := range d.leases {
		lines = append(lines, fmt.Sprintf("lease %s %+v", id, v))
	}
	for name, v := range d.services {
		lines = append(lines, fmt.Sprintf("service %q@%d: %q", name, v.version, v.value))
	}
	for s, table := range d.sessions {
		for k, v := range table {
			var outcomes []string
			for q, r := range v.outcomes {
				outcomes = append(outcomes, fmt.Sprintf("%05d %+v", q, r))
			}
			slices.Sort(outcomes)
			lines = append(lines, fmt.Sprintf("%d session %05d of %d used %d floor %d: %s", s, k.session, k.principal, v.used, v.floor, outcomes))
		}
	}
	lines = append(lines, d.versionLines()...)
	slices.Sort(lines)
	return strings.Join(append(lines, fmt.Sprint(d.lastOf(), d.formers)), "\n")
}

func (d *moveData) lastOf() (last uint64) {
	for _, v := range d.last {
		last = max(last, v)
	}
	return last
}

// dataOf is what String says of a slot as a map has it.
func dataOf(slot Slot, st *slotState) string {
	d := newMoveData()
	c := st.copy(slot)
	defer c.Release()
	for i := range c.kinds {
		for at := c.kinds[i].view.seek(nil); at.record() != nil; at.next() {
			rec := at.record()
			if rec.kind() == KindLease {
				d.leases[MakeLeaseID(slot, binary.BigEndian.Uint64(rec.key()))] = modelLease{leaseTTL(rec.value()), st.groupTime(leaseDue(rec.value()))}
				continue
			}
			if rec.kind() == KindService {
				d.services[string(rec.key())] = modelService{string(rec.value()), rec.version()}
				continue
			}
			if rec.kind() == KindVersion {
				d.readVersion(st, rec)
				continue
			}
			k := modelKey{value: string(rec.value()), version: rec.version()}
			switch e := rec.ending(); e.by {
			case endsAt:
				k.due = st.groupTime(slotTime(e.number))
			case endsWithLease:
				k.lease = MakeLeaseID(slot, e.number)
			}
			d.keys[string(rec.key())] = k
		}
	}
	d.sessions[slot] = map[modelSessionKey]*modelSession{}
	_ = c.sessions.each(func(s *session) error {
		own := &modelSession{used: s.used, floor: s.floor, outcomes: map[uint64]Result{}}
		for _, o := range s.kept() {
			own.outcomes[o.sequence] = s.result(&o)
		}
		d.sessions[slot][modelSessionKey{s.principal, s.id}] = own
		return nil
	})
	d.last[slot] = c.last
	if c.formers != nil {
		d.formers = c.formers.list
	}
	return d.String()
}

// moveModel is one slot in the log of one group, by the rules as they are written.
type moveModel struct {
	view   SlotView  // without counts and digests
	data   *moveData // of an owned or sealed slot
	whole  *moveData // of the import, as of its last whole pass
	coming *moveData // of the import, as of the end of the pass under way
	to     raft.LogID
}

// step carries out one step.
func (m *moveModel) step(k CommandKind, s *Step, id raft.LogID, now raft.GroupTime, source *moveData) StepOutcome {
	v := &m.view
	sealedByIt := v.Holding == HoldsSealed && v.Number == s.Number
	decision := slices.IndexFunc(v.Decisions, func(d Decision) bool { return d.Number == s.Number })
	raise := func() {
		v.Mark = s.Number
		if v.Import.Number <= s.Number {
			v.Import, m.whole, m.coming, m.to = ImportView{}, nil, nil, raft.LogID{}
		}
	}
	decide := func(taken bool) {
		v.Decisions = append(v.Decisions, Decision{s.Number, taken, s.Peer})
		slices.SortFunc(v.Decisions, func(a, b Decision) int { return int(a.Number) - int(b.Number) })
	}
	switch k {
	case CommandSeal:
		switch {
		case sealedByIt:
			return StepKnown
		case s.Number <= v.Mark:
			return StepMarked
		case v.Holding != HoldsOwned:
			return StepUnfit
		case s.Empty && len(m.data.keys)+len(m.data.leases)+len(m.data.services)+len(m.data.versions) > 0:
			return StepNotEmpty
		}
		v.Holding, v.Number, v.Target, v.Sealed, v.SealTime = HoldsSealed, s.Number, s.Peer, id, now
		raise()
	case CommandCancel:
		switch {
		case s.Number <= v.Mark:
			return StepMarked
		case v.Holding == HoldsNothing:
			return StepUnfit
		}
		raise()
	case CommandUnseal, CommandDrop:
		if !sealedByIt {
			if v.Mark >= s.Number {
				return StepMarked
			}
			return StepUnfit
		}
		m.data.shift(v.SealTime, now)
		v.Number, v.Target, v.Sealed, v.SealTime = 0, 0, raft.LogID{}, 0
		v.Holding = HoldsOwned
		if k == CommandDrop {
			v.Holding, m.data = HoldsNothing, nil
		}
	case CommandRefuse:
		switch {
		case decision >= 0 && !v.Decisions[decision].Taken:
			return StepKnown
		case s.Number <= v.Mark:
			return StepMarked
		case len(v.Decisions) >= DecisionsMax:
			return StepUnfit
		}
		decide(false)
		raise()
	case CommandForget:
		if decision < 0 {
			if v.Mark >= s.Number {
				return StepKnown
			}
			return StepUnfit
		}
		v.Decisions = slices.Delete(slices.Clone(v.Decisions), decision, decision+1)
	case CommandTakeover:
		i := &v.Import
		switch {
		case decision >= 0 && v.Decisions[decision].Taken:
			return StepKnown
		case s.Number <= v.Mark:
			return StepMarked
		case i.Number != s.Number || i.Source != s.Peer || v.Holding != HoldsNothing, m.coming != nil, i.At != s.At, i.Chunks != s.Chunks,
			source == nil || source.String() != m.whole.String(), len(v.Decisions) >= DecisionsMax:
			return StepUnfit
		}
		m.data = m.whole
		m.data.shift(s.Time, now)
		for _, table := range m.data.sessions {
			for _, x := range table {
				x.used = now - min(now, s.Time-min(s.Time, x.used))
			}
		}
		m.data.formers = slices.DeleteFunc(m.data.formers, func(f Former) bool { return f.Group == s.Peer })
		m.data.formers = append(m.data.formers, Former{s.Peer, s.At})
		v.Holding = HoldsOwned
		decide(true)
		raise()
	}
	return StepDone
}

// piece carries out a piece of a pass that ends with the source as it was.
func (m *moveModel) piece(p *Piece, source *moveData) StepOutcome {
	i := &m.view.Import
	switch {
	case p.Number <= m.view.Mark:
		return StepMarked
	case m.view.Holding != HoldsNothing:
		return StepUnfit
	}
	mine := i.Number == p.Number && i.Source == p.Source && i.Attempt == p.Attempt
	if mine && p.Index < i.Chunks {
		return StepKnown
	}
	if p.Index == 0 {
		if i.Number > p.Number || i.Number == p.Number && !i.Attempt.Less(p.Attempt) {
			return StepBehind
		}
		*i = ImportView{Number: p.Number, Source: p.Source, Attempt: p.Attempt}
		m.whole, m.coming = newMoveData(), nil
	} else if !mine || p.Index != i.Chunks || p.From != i.At || m.coming != nil && p.To != m.to {
		return StepBehind
	}
	i.Chunks++
	m.coming, m.to, i.Partial = source, p.To, true
	if !p.More {
		i.At, m.whole, m.coming, i.Partial = p.To, source.clone(), nil, false
	}
	return StepDone
}
