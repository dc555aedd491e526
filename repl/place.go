package repl

import (
	"fmt"
	"slices"

	"muster/logstore"
	"muster/raft"
)

// Placement asks for a replica on this node.
type Placement struct {
	Replica logstore.Replica
	// Founders is the membership that the group was founded with, [Placement.Begins].
	Founders raft.Membership
	// Members are those of today, as far as is known. They are asked for what a damaged
	// log lost.
	Members []raft.Member
	// Preferred is the replica that should lead, 0 for none. While the group
	// has no leader it asks for votes at once, where the others wait for
	// their time-out; another one that leads hands over to it.
	Preferred raft.ReplicaID
}

// Begins returns the membership that the replica begins with: that of the founding, if
// it is one of the founders. A replica that is made later begins with none, and its log
// tells it of the members. Were it to count by those of today, while its log is empty,
// replicas that were made for others could elect one of themselves and lose all that the
// group has committed.
func (p *Placement) Begins() raft.Membership {
	if _, founder := p.Founders.Member(p.Replica.ID); founder {
		return p.Founders
	}
	if bug("blank replica with a membership") {
		m := raft.Membership{Next: p.Replica.ID + 1}
		for _, o := range p.Members {
			if m.Next = max(m.Next, o.Replica+1); o.Goal == raft.GoalVoter {
				m.Voters = append(m.Voters, o)
			} else {
				m.Learners = append(m.Learners, o)
			}
		}
		return m
	}
	return raft.Membership{}
}

// placing makes and removes the replicas of a host.
type placing struct {
	host   *Host
	asked  []Placement                       // since the last turn
	graves map[raft.GroupID]logstore.Replica // the newest of each group that was removed here
}

// Place asks for replicas, as the committed table has them. One that is here already
// is left alone. One that is newer than what is here takes its place: ids and
// incarnations only grow, and a node is given the next replica of a group when the one
// before is removed, or its group was made anew. So the old one is retired first, even
// if it never learns from its own log that it was removed.
func (h *Host) Place(p []Placement) { h.placing.asked = append(h.placing.asked, p...) }

// make makes the replicas that were asked for.
func (a *placing) make() {
	todo := a.asked
	a.asked = nil
	for _, p := range todo {
		if g := a.host.groups[p.Replica.Group]; g != nil {
			switch {
			case g.replica == p.Replica:
				g.prefer(p.Preferred)
				g.wants.ask() // the table may intend something else now
			case newer(p.Replica, g.replica):
				// It goes with the next work of this turn, and its tombstone stands in
				// the log before anything of the new one: the two must not be found
				// beside each other.
				a.host.Retire(g.replica)
				a.asked = append(a.asked, p)
			}
			continue
		}
		if a.buried(p.Replica) {
			continue // its time is over; a new one has another replica id
		}
		if m := a.host.mending.of(p.Replica.Group); m != nil {
			if !newer(p.Replica, m.replica) {
				m.placed(p)
				continue
			}
			a.host.Retire(m.replica)
		}
		if d, hurt := a.host.cfg.Store.DamageOf(p.Replica); hurt {
			// The log lost what can't be known: it may have been here, and
			// have voted.
			a.host.mending.begin(p.Replica, nil)
			a.host.cfg.Log.Error("replica not made", "group", p.Replica.Group, "replica", p.Replica.ID, "err", d.Err())
			continue
		}
		begins := p.Begins()
		g, err := newGroup(a.host, p.Replica, raft.Restored{Membership: begins})
		if err != nil {
			a.host.cfg.Log.Error("replica not made", "group", p.Replica.Group, "replica", p.Replica.ID, "err", err)
			continue
		}
		g.base = &logstore.Base{Membership: begins}
		a.add(g)
		if !a.host.lives.first() {
			a.host.lives.hold(g) // an earlier life may have had it, and promised
		}
		a.host.cfg.Log.Info("replica made", "group", p.Replica.Group, "replica", p.Replica.ID, "incarnation", p.Replica.Incarnation)
		g.prefer(p.Preferred)
		g.touch()
	}
}

// Change changes the membership of a group that is led here, and returns at which id
// the change stands; see [raft.Group.Change]. [Host.ChangeStage] tells when it is done.
// The nodes of new replicas make them, with the blank membership, once the entry that
// adds them is applied.
func (h *Host) Change(id raft.GroupID, c raft.Change) (raft.Changed, error) {
	g, err := h.placing.member(id)
	if err != nil {
		return raft.Changed{}, err
	}
	changed, err := g.core.Change(c)
	g.touch()
	return changed, err
}

// ChangeStage returns how far a change of a group's membership has come, as far as the
// replica here knows; any replica can be asked.
func (h *Host) ChangeStage(id raft.GroupID, at raft.LogID) (raft.ChangeStage, error) {
	g, err := h.placing.member(id)
	if err != nil {
		return 0, err
	}
	return g.core.ChangeStage(at), nil
}

// member returns a group whose replica here is a member and runs, or why there is none.
func (a *placing) member(id raft.GroupID) (*group, error) {
	g := a.host.groups[id]
	switch {
	case g == nil || g.removed:
		return nil, fmt.Errorf("%w: group %d is not here", raft.ErrNotLeader, id)
	case g.stopped != nil:
		return nil, g.stopped
	}
	return g, nil
}

// Retire removes a replica for good, in the next turn. It is for one that its
// group removed without its learning of it; the caller knows that an entry that
// says so is committed. It reports false if that replica is not here.
func (h *Host) Retire(r logstore.Replica) bool {
	g := h.groups[r.Group]
	if m := h.mending.of(r.Group); g == nil && m != nil && m.replica == r {
		h.mending.end(m)
		h.placing.bury(r)
		return true
	}
	if g == nil || g.replica != r {
		return false
	}
	g.removed = true
	g.touch()
	return true
}

// remove forgets a replica that is no member any more, for good: the log keeps
// a tombstone.
func (a *placing) remove(g *group) {
	a.host.cfg.Log.Info("replica removed", "group", g.replica.Group, "replica", g.replica.ID, "applied", g.applied)
	g.abandon()
	g.snap.endStreams()
	unwatch(g.watched)
	if m := a.host.mending.of(g.replica.Group); m != nil && m.group == g {
		a.host.mending.end(m) // an answer that is still to come must not be written
	}
	g.endHold()
	g.audit.endFence()
	delete(a.host.groups, g.replica.Group)
	g.resting.set(true)
	if i := slices.Index(a.host.order, g); i >= 0 {
		a.host.order = slices.Delete(a.host.order, i, i+1)
	}
	if g.base != nil { // the log has not heard of it yet, and must know that it is gone
		a.host.gathering.Writes = append(a.host.gathering.Writes, logstore.Write{Replica: g.replica, Base: g.base})
		g.base = nil
	}
	a.bury(g.replica)
}

// bury has the log note that a replica is gone for good.
func (a *placing) bury(r logstore.Replica) {
	a.host.gathering.Writes = append(a.host.gathering.Writes, logstore.Write{Replica: r, Remove: true})
	a.host.gathering.bases = append(a.host.gathering.bases, based{r, allSnapshots})
	a.graves[r.Group] = r
}

// buried reports whether a replica was removed, or is older than one that was.
func (a *placing) buried(r logstore.Replica) bool {
	g, ok := a.graves[r.Group]
	return ok && !newer(r, g)
}

// newer reports whether one replica of a group was allotted after another.
func newer(r, before logstore.Replica) bool {
	if r.Incarnation != before.Incarnation {
		return r.Incarnation > before.Incarnation
	}
	return r.ID > before.ID
}

// openAll brings back the replicas that the store holds. One whose disk refuses a read
// is opened later, and the others serve.
func (a *placing) openAll(all []logstore.Replica) error {
	all = slices.DeleteFunc(all, func(r logstore.Replica) bool { return a.host.mending.of(r.Group) != nil })
	groups, errs := make([]*group, len(all)), make([]error, len(all))
	a.host.cfg.Each(len(all), func(i int) {
		restored, err := a.host.cfg.Store.Restore(all[i])
		if err == nil {
			groups[i], err = restoreGroup(a.host, all[i], restored)
		}
		errs[i] = err
	})
	for i, r := range all {
		if errs[i] == nil {
			a.opened(groups[i])
			continue
		}
		if _, hurt := a.host.cfg.Store.DamageOf(r); hurt || diskRefuses(errs[i]) {
			a.host.mending.notOpened(r, errs[i]) // the read met what Open had not seen
			continue
		}
		return fmt.Errorf("open replica %d of group %d: %w", r.ID, r.Group, errs[i])
	}
	return nil
}

// opened takes in a replica that was restored.
func (a *placing) opened(g *group) {
	if all := a.host.cfg.Store.Snapshots(g.replica); len(all) > 0 && all[0].Base.ID.Index < g.snap.base.Index {
		a.host.chores.sweep(g.replica, g.snap.base) // a crash left it
	}
	a.add(g)
	if note, fenced := a.host.Audits.fenced(g.replica); fenced {
		g.audit.resumeFence(note)
	}
	a.host.lives.hold(g)
	g.touch()
}

// open brings back a replica that the store holds: what its log knows to be
// committed is applied again, what follows goes to the core.
func (a *placing) open(r logstore.Replica) error {
	restored, err := a.host.cfg.Store.Restore(r)
	if err != nil {
		return err
	}
	g, err := restoreGroup(a.host, r, restored)
	if err != nil {
		return err
	}
	a.opened(g)
	return nil
}

func (a *placing) add(g *group) {
	a.host.groups[g.replica.Group] = g
	a.host.awake++
	at, _ := slices.BinarySearchFunc(a.host.order, g.replica.Group, func(o *group, id raft.GroupID) int {
		return int(o.replica.Group) - int(id)
	})
	a.host.order = slices.Insert(a.host.order, at, g)
}
