package repl

import (
	"fmt"
	"slices"

	"muster/logstore"
	"muster/raft"
)

// Placement asks for a replica on this node.
type Placement struct {
	Replica    logstore.Replica
	Membership raft.Membership
	// Preferred is the replica that should lead, 0 for none. While the group
	// has no leader it asks for votes at once, where the others wait for
	// their time-out; another one that leads hands over to it.
	Preferred raft.ReplicaID
}

// Place asks for replicas. One that is here already is left alone.
func (h *Host) Place(p []Placement) { h.placements = append(h.placements, p...) }

// place makes the replicas that were asked for.
func (h *Host) place() {
	todo := h.placements
	h.placements = nil
	for _, p := range todo {
		if g := h.groups[p.Replica.Group]; g != nil {
			if g.replica == p.Replica {
				g.prefer(p.Preferred)
			}
			continue
		}
		if h.buried(p.Replica) {
			continue // its time is over; a new one has another replica id
		}
		if m := h.mendOf(p.Replica.Group); m != nil {
			m.placed(p)
			continue
		}
		if d, hurt := h.cfg.Store.DamageOf(p.Replica); hurt {
			// The log lost what can't be known: it may have been here, and
			// have voted.
			h.beginMend(p.Replica, nil)
			h.cfg.Log.Error("replica not made", "group", p.Replica.Group, "replica", p.Replica.ID, "err", d.Err())
			continue
		}
		g, err := newGroup(h, p.Replica, raft.Restored{Membership: p.Membership})
		if err != nil {
			h.cfg.Log.Error("replica not made", "group", p.Replica.Group, "replica", p.Replica.ID, "err", err)
			continue
		}
		g.base = &logstore.Base{Membership: p.Membership}
		h.add(g)
		if !h.lives.first() {
			h.hold(g) // an earlier life may have had it, and promised
		}
		h.noteCommit()
		h.cfg.Log.Info("replica made", "group", p.Replica.Group, "replica", p.Replica.ID, "incarnation", p.Replica.Incarnation)
		g.prefer(p.Preferred)
		g.touch()
	}
}

// Change changes the membership of a group that is led here; see
// [raft.Group.Change]. The nodes of new replicas make them, with the blank
// membership, once the entry that adds them is applied.
func (h *Host) Change(id raft.GroupID, c raft.Change) (raft.Membership, error) {
	g := h.groups[id]
	switch {
	case g == nil || g.removed:
		return raft.Membership{}, fmt.Errorf("%w: group %d is not here", raft.ErrNotLeader, id)
	case g.stopped != nil:
		return raft.Membership{}, g.stopped
	}
	m, err := g.core.Change(c)
	g.touch()
	return m, err
}

// Retire removes a replica for good, in the next turn. It is for one that its
// group removed without its learning of it; the caller knows that an entry that
// says so is committed. It reports false if that replica is not here.
func (h *Host) Retire(r logstore.Replica) bool {
	g := h.groups[r.Group]
	if m := h.mendOf(r.Group); g == nil && m != nil && m.replica == r {
		h.endMend(m)
		h.bury(r)
		return true
	}
	if g == nil || g.replica != r {
		return false
	}
	g.removed = true
	g.touch()
	return true
}

// noteCommit has the meta group's commit index written before a replica that
// its log asked for: who finds the replica after a crash must also find, in
// the table, the slots that it owns.
func (h *Host) noteCommit() {
	if meta := h.groups[0]; meta != nil && meta.state.Commit > 0 {
		b := h.gathering
		if bug("vote not persisted") || bug("term not persisted") {
			return
		}
		b.Writes = append(b.Writes, logstore.Write{Replica: meta.replica, State: meta.state, HasState: true, Commit: meta.state.Commit})
	}
}

// remove forgets a replica that is no member any more, for good: the log keeps
// a tombstone.
func (h *Host) remove(g *group) {
	h.cfg.Log.Info("replica removed", "group", g.replica.Group, "replica", g.replica.ID, "applied", g.applied)
	g.abandon()
	g.endStreams(true)
	if m := h.mendOf(g.replica.Group); m != nil && m.group == g {
		h.endMend(m) // an answer that is still to come must not be written
	}
	g.endHold()
	delete(h.groups, g.replica.Group)
	g.setQuiet(true)
	if i := slices.Index(h.order, g); i >= 0 {
		h.order = slices.Delete(h.order, i, i+1)
	}
	if g.base != nil { // the log has not heard of it yet, and must know that it is gone
		h.gathering.Writes = append(h.gathering.Writes, logstore.Write{Replica: g.replica, Base: g.base})
		g.base = nil
	}
	h.bury(g.replica)
}

// bury has the log note that a replica is gone for good.
func (h *Host) bury(r logstore.Replica) {
	h.gathering.Writes = append(h.gathering.Writes, logstore.Write{Replica: r, Remove: true})
	h.gathering.bases = append(h.gathering.bases, based{r, allSnapshots})
	h.graves[r.Group] = r
}

// buried says whether a replica was removed, or is older than one that was.
// Ids and incarnations only grow.
func (h *Host) buried(r logstore.Replica) bool {
	g, ok := h.graves[r.Group]
	switch {
	case !ok:
		return false
	case r.Incarnation != g.Incarnation:
		return r.Incarnation < g.Incarnation
	}
	return r.ID <= g.ID
}

// openAll brings back the replicas that the store holds, group 0 before the
// others: it says which slots they own. One whose disk refuses a read is opened
// later, and the others serve.
func (h *Host) openAll(all []logstore.Replica) error {
	meta, rest := 0, make([]logstore.Replica, 0, len(all))
	for _, r := range all {
		if r.Group == 0 {
			meta++
		}
	}
	for _, part := range [...][]logstore.Replica{all[:meta], all[meta:]} { // they are in order
		rest = rest[:0]
		for _, r := range part {
			switch {
			case h.mendOf(r.Group) != nil:
			case h.waitsForTable(r):
				h.beginMend(r, nil).waits = true
			default:
				rest = append(rest, r)
			}
		}
		groups, errs := make([]*group, len(rest)), make([]error, len(rest))
		h.cfg.Each(len(rest), func(i int) {
			restored, err := h.cfg.Store.Restore(rest[i])
			if err == nil {
				groups[i], err = restoreGroup(h, rest[i], restored)
			}
			errs[i] = err
		})
		for i, r := range rest {
			if errs[i] == nil {
				h.opened(groups[i])
				continue
			}
			if _, hurt := h.cfg.Store.DamageOf(r); hurt || diskRefuses(errs[i]) {
				h.notOpened(r, errs[i]) // the read met what Open had not seen
				continue
			}
			return fmt.Errorf("open replica %d of group %d: %w", r.ID, r.Group, errs[i])
		}
	}
	return nil
}

// opened takes in a replica that was restored.
func (h *Host) opened(g *group) {
	if all := h.cfg.Store.Snapshots(g.replica); len(all) > 0 && all[0].Base.ID.Index < g.snap.base.Index {
		h.sweep(g.replica, g.snap.base) // a crash left it
	}
	h.add(g)
	h.hold(g)
	g.touch()
}

// open brings back a replica that the store holds: what its log knows to be
// committed is applied again, what follows goes to the core.
func (h *Host) open(r logstore.Replica) error {
	restored, err := h.cfg.Store.Restore(r)
	if err != nil {
		return err
	}
	g, err := restoreGroup(h, r, restored)
	if err != nil {
		return err
	}
	h.opened(g)
	return nil
}

func (h *Host) add(g *group) {
	h.groups[g.replica.Group] = g
	h.awake++
	at, _ := slices.BinarySearchFunc(h.order, g.replica.Group, func(o *group, id raft.GroupID) int {
		return int(o.replica.Group) - int(id)
	})
	h.order = slices.Insert(h.order, at, g)
}
