package shardmap

import (
	"fmt"
	"maps"
	"slices"

	"muster/raft"
)

// modelMove names one move of one slot.
type modelMove struct {
	slot   Slot
	number uint64
}

// modelMoving is one slot of a run of moves.
type modelMoving struct {
	from, to                raft.GroupID
	taken, cancelled, empty bool
	job                     uint64
}

// applySlots carries out a command that came with moves.
func (m *tableModel) applySlots(index uint64, c tableCommand) modelOutcome {
	if m.level < MovesLevel {
		return outcomeRefused
	}
	switch c := c.(type) {
	case *MoveBegin:
		return m.moveBegin(index, c)
	case *MoveRecord:
		return m.eachMove(c.Moves, func(_ int, id modelMove, one *modelMoving) {
			if !one.taken {
				one.taken = true
				m.slots[id.slot], m.epoch = one.to, index
			}
		})
	case *MoveCancel:
		return m.eachMove(c.Moves, func(_ int, _ modelMove, one *modelMoving) {
			if !one.taken {
				one.cancelled = true
			}
		})
	case *MoveClose:
		var named []NumberedRange
		for _, e := range c.Moves {
			named = append(named, e.NumberedRange)
		}
		return m.eachMove(named, func(i int, id modelMove, one *modelMoving) {
			switch why := c.Moves[i].Why; {
			case c.Moves[i].Taken != one.taken, one.taken && why != ClosedTaken, !one.taken && why == ClosedTaken:
				return
			case why == ClosedNotEmpty:
				j := m.jobs[one.job]
				var kept []Slot
				for s := range Slot(Slots) {
					if s == id.slot || slices.ContainsFunc(j.Kept, func(r SlotRange) bool { return r.From <= s && s <= r.To }) {
						kept = append(kept, s)
					}
				}
				j.Kept = SlotRanges(kept)
			}
			delete(m.moves, id)
		})
	case *GroupCreate:
		return m.groupCreate(index, c)
	case *GroupRemove:
		return m.groupRemove(c)
	case *SetWeight:
		n := m.nodes[c.Node]
		switch {
		case n == nil || c.Weight > 1000:
			return outcomeRefused
		case n.weight == c.Weight:
			return outcomeSame
		}
		n.weight = c.Weight
	case *JobBytes:
		j := m.jobs[c.ID]
		if j == nil || j.State.Finished() || !movesSlots(j.Kind) {
			return outcomeRefused
		}
		was := *j
		j.Done, j.Total, j.Bytes, j.BytesTotal, j.Why = c.Done, c.Total, c.Bytes, c.BytesTotal, c.Why
		if j.Equal(&was) {
			return outcomeSame
		}
	}
	return outcomeChanged
}

func movesSlots(k JobKind) bool { return k == JobMove || k == JobAssign || k == JobRebalance }

// eachMove calls change for each move that is named: once, with the first of its names.
func (m *tableModel) eachMove(named []NumberedRange, change func(int, modelMove, *modelMoving)) modelOutcome {
	before := map[modelMove]modelMoving{}
	for id, one := range m.moves {
		before[id] = *one
	}
	called := map[modelMove]bool{}
	for i, r := range named {
		for id, one := range m.moves {
			if id.number == r.Number && r.From <= id.slot && id.slot <= r.To && !called[id] {
				called[id] = true
				change(i, id, one)
			}
		}
	}
	after := map[modelMove]modelMoving{}
	for id, one := range m.moves {
		after[id] = *one
	}
	if maps.Equal(before, after) {
		return outcomeSame
	}
	return outcomeChanged
}

// open returns whether a slot is in an open move.
func (m *tableModel) open(s Slot) bool {
	for id, one := range m.moves {
		if id.slot == s && !one.taken {
			return true
		}
	}
	return false
}

func (m *tableModel) moveBegin(index uint64, c *MoveBegin) modelOutcome {
	j := m.jobs[c.Job]
	if j == nil || j.State != JobRunning || j.Cancelled || !movesSlots(j.Kind) || c.Empty != (j.Kind == JobAssign) || len(c.Slots) == 0 {
		return outcomeRefused
	}
	var slots []Slot
	for _, r := range c.Slots {
		for s := int(r.From); s <= int(r.To); s++ {
			slots = append(slots, Slot(s))
		}
	}
	if !slices.Equal(SlotRanges(slots), c.Slots) || len(m.moves)+len(slots) > MovesMax {
		return outcomeRefused
	}
	for _, s := range slots {
		wanted := slices.ContainsFunc(j.Targets, func(to SlotTarget) bool {
			return to.SlotRange.From <= s && s <= to.SlotRange.To && to.To == c.To && to.From == m.slots[s]
		})
		if !wanted || m.open(s) {
			return outcomeRefused
		}
	}
	for _, s := range slots {
		m.moves[modelMove{s, index}] = &modelMoving{from: m.slots[s], to: c.To, empty: c.Empty, job: c.Job}
	}
	return outcomeChanged
}

// beginSlots is what a job that moves slots begins with; false if it can't.
func (m *tableModel) beginSlots(j *Job, asked []SlotTarget) bool {
	to := map[Slot]SlotTarget{}
	for _, r := range asked {
		if m.groups[r.To] == nil || r.To == 0 || r.SlotRange.From > r.SlotRange.To {
			return false
		}
		for s := r.SlotRange.From; s <= r.SlotRange.To; s++ {
			if _, twice := to[s]; twice {
				return false
			}
			to[s] = r
		}
	}
	for s, r := range to {
		busy := m.jobsOf(func(o *Job) bool {
			return slices.ContainsFunc(o.Targets, func(other SlotTarget) bool { return other.SlotRange.From <= s && s <= other.SlotRange.To })
		})
		if len(busy) > 0 || m.slots[s] == 0 || r.From != 0 && r.From != m.slots[s] {
			return false
		}
	}
	for s := range Slot(Slots) {
		r, ok := to[s]
		if !ok || m.slots[s] == r.To {
			continue
		}
		j.Total++
		if n := len(j.Targets); n > 0 && j.Targets[n-1].SlotRange.To == s-1 && j.Targets[n-1].From == m.slots[s] && j.Targets[n-1].To == r.To {
			j.Targets[n-1].SlotRange.To = s
		} else {
			j.Targets = append(j.Targets, SlotTarget{SlotRange{s, s}, m.slots[s], r.To})
		}
	}
	return j.Total > 0
}

// slotJobState is what a new state means for a job with moves that are not closed; false
// if it means what it means for any other.
func (m *tableModel) slotJobState(j *Job, c *SetJobState) (modelOutcome, bool) {
	moves := 0
	for _, one := range m.moves {
		if one.job == j.ID {
			moves++
		}
	}
	switch {
	case !c.State.Finished():
		return outcomeRefused, j.Cancelled
	case moves == 0:
		return outcomeSame, false
	case c.State != JobCancelled:
		return outcomeRefused, true
	case j.Cancelled:
		return outcomeSame, true
	}
	j.State, j.Cancelled, j.Why = JobRunning, true, c.Why
	for _, one := range m.moves {
		if one.job == j.ID && !one.taken {
			one.cancelled = true
		}
	}
	return outcomeChanged, true
}

func (m *tableModel) groupCreate(index uint64, c *GroupCreate) modelOutcome {
	id := c.Group
	for id == 0 || c.Group == 0 && (m.groups[id] != nil || m.had[id]) {
		id++
	}
	if m.groups[id] != nil || m.had[id] || id > 9999 || len(c.Away) > 0 && m.level < 5 {
		return outcomeRefused
	}
	var hosts []raft.NodeID
	for n, row := range m.nodes {
		leaves := m.jobsOf(func(j *Job) bool { return j.Node == n && (j.Kind == JobRemove || j.Kind == JobReplace) })
		if row.role == NodeServer && !row.draining && len(leaves) == 0 {
			hosts = append(hosts, n)
		}
	}
	if len(hosts) == 0 {
		return outcomeRefused
	}
	replicas := 3
	if value := m.settings["replicas"]; value != "" {
		replicas = int(value[0] - '0')
	}
	g := &modelGroup{incarnation: raft.Incarnation(index), replicas: map[raft.ReplicaID]TableReplica{}}
	leads := func(n raft.NodeID) (k int) {
		for id, o := range m.groups {
			if id != 0 && o.preferred == n {
				k++
			}
		}
		return k
	}
	for len(g.replicas) < replicas && len(hosts) > 0 {
		cost := func(n raft.NodeID) (cost int) {
			if slices.Contains(c.Away, n) {
				cost += 1 << 40
			}
			for _, r := range g.replicas {
				if m.nodes[r.Node].labels()["zone"] == m.nodes[n].labels()["zone"] {
					cost += 1 << 20
				}
			}
			for id, o := range m.groups {
				if _, holds := o.on(n); holds && id != 0 {
					cost++
				}
			}
			return cost
		}
		best := slices.MinFunc(hosts, func(a, b raft.NodeID) int {
			if d := cost(a) - cost(b); d != 0 {
				return d
			}
			return int(a) - int(b)
		})
		hosts = slices.DeleteFunc(hosts, func(n raft.NodeID) bool { return n == best })
		g.next = raft.ReplicaID(len(g.replicas) + 1)
		g.replicas[g.next] = TableReplica{g.next, best, ReplicaVoter}
		if g.preferred == 0 || leads(best) < leads(g.preferred) && !slices.Contains(c.Away, best) {
			g.preferred = best
		}
		g.next++
	}
	away := 0
	for _, r := range g.replicas {
		if slices.Contains(c.Away, r.Node) {
			away++
		}
	}
	if 2*away >= len(g.replicas) {
		return outcomeRefused
	}
	m.groups[id] = g
	return outcomeChanged
}

func (m *tableModel) groupRemove(c *GroupRemove) modelOutcome {
	if c.Group == 0 || m.groups[c.Group] == nil || len(m.groups) == 2 || slices.Contains(m.slots[:], c.Group) || m.catalog.uses(c.Group) {
		return outcomeRefused
	}
	for _, one := range m.moves {
		if one.from == c.Group || one.to == c.Group {
			return outcomeRefused
		}
	}
	about := m.jobsOf(func(j *Job) bool {
		ofGroup := j.Kind == JobAdd || j.Kind == JobDel || j.Kind == JobPromote
		return ofGroup && j.Group == c.Group ||
			slices.ContainsFunc(j.Targets, func(to SlotTarget) bool { return to.From == c.Group || to.To == c.Group })
	})
	if len(about) > 0 {
		return outcomeRefused
	}
	delete(m.groups, c.Group)
	if m.level >= 5 {
		m.had[c.Group] = true
	}
	return outcomeChanged
}

// slotsDiffer says in what the slots and moves of t are not as the model has them.
func (m *tableModel) slotsDiffer(t *Table) error {
	if t.Slots != m.slots || t.Epoch != m.epoch {
		return fmt.Errorf("slots are of %v at epoch %d, want %v at %d", t.Ranges(), t.Epoch, (&Table{Slots: m.slots}).Ranges(), m.epoch)
	}
	got := map[modelMove]modelMoving{}
	for i, run := range t.Moves {
		for s := run.SlotRange.From; s <= run.SlotRange.To; s++ {
			got[modelMove{s, run.Number}] = modelMoving{run.From, run.To, run.State == MoveTaken, run.Cancelled, run.Empty, run.Job}
		}
		if i == 0 {
			continue
		}
		before := t.Moves[i-1]
		if before.SlotRange.From > run.SlotRange.From || before.SlotRange.From == run.SlotRange.From && before.Number >= run.Number {
			return fmt.Errorf("move %+v stands behind %+v", run, before)
		}
	}
	want := map[modelMove]modelMoving{}
	open := map[Slot]int{}
	for id, one := range m.moves {
		if want[id] = *one; !one.taken {
			open[id.slot]++
		}
	}
	if !maps.Equal(got, want) {
		return fmt.Errorf("moves are %+v, want %+v", got, want)
	}
	for s, n := range open {
		if n != 1 {
			return fmt.Errorf("slot %d has %d open moves", s, n)
		}
	}
	return nil
}
