package repl

import (
	"errors"
	"fmt"
	"slices"

	"muster/logstore"
	"muster/raft"
	"muster/repl/wire"
)

// Muter is a [StateMachine] that tells others of what it applies. While it is mute it does
// not: it applies entries that the replica has applied before, or that it applies to nobody's
// use. [StateMachine.Restored], after that, tells of the state that came of it.
type Muter interface {
	Mute(mute bool)
}

func mute(m StateMachine, is bool) {
	if m, ok := m.(Muter); ok {
		m.Mute(is)
	}
}

// seek looks for a state with which the fenced replica can begin again.
func (k *fence) seek() {
	g := k.group
	switch {
	case k.machine != nil:
		k.stage = fenceFilling
	case k.own || g.alone() && !k.undecided() || k.ownAt > 0 && g.host.ticks >= k.ownAt:
		k.own = true
		k.begin(k.loadOwn)
	case !k.undecided() && g.host.ticks >= k.askAt:
		k.askAt = g.host.ticks + fenceAskTicks
		k.ask()
	}
}

// ask asks a replica that agreed with the others for its state. Without word of any, as after
// a restart, it asks the leader. One that is fenced, and leads to bear its log, gives none.
func (k *fence) ask() {
	g := k.group
	sources := slices.DeleteFunc(slices.Clone(k.sources), func(n raft.NodeID) bool { return n == g.host.cfg.Self || !g.livesOn(n) })
	if leader, ok := g.memberNode(g.lead); ok && leader != g.host.cfg.Self && len(sources) == 0 {
		sources = []raft.NodeID{leader}
	}
	if len(sources) == 0 {
		return
	}
	next := slices.Index(sources, k.asked) + 1
	k.asked = sources[next%len(sources)]
	// An own snapshot has the same name as one of another replica with the same base, and may
	// be wrong. A log that begins later can't be filled from.
	k.need = max(k.need, g.snap.base.Index+1)
	for _, s := range g.host.cfg.Store.Snapshots(g.replica) {
		k.need = max(k.need, s.Base.ID.Index+1)
	}
	g.host.cfg.Transport.SendSnapshotRequest(k.asked, &wire.SnapshotRequest{
		Start: g.host.start, Number: g.host.mending.questionNumber(), Group: g.replica.Group, Incarnation: g.replica.Incarnation,
		Replica: g.replica.ID, Index: k.need,
	})
}

// wants says why a snapshot that another node offers is not taken, or nothing.
func (k *fence) wants(from raft.NodeID, c *wire.Chunk) string {
	switch {
	case k.own || k.stage != fenceSeeking || k.machine != nil || k.asked == 0:
		return "the replica is fenced, and did not ask for it"
	case from != k.asked && !bug("rebuilt from a replica that differs"):
		return fmt.Sprintf("the replica is fenced, and asked node %s", k.asked)
	case c.Base.Index < k.need:
		return fmt.Sprintf("the replica is fenced, and needs a state that stands at %d or later", k.need)
	case c.Base.Term > k.group.state.Term:
		return fmt.Sprintf("it is of term %d, here it is term %d", c.Base.Term, k.group.state.Term)
	}
	return ""
}

// hasOwn reports whether this replica has made a snapshot with a base: what is offered with the
// same one would be taken for the same file. One of an entry that the log lacks came from another
// replica; one that is only not applied yet need not have: after a start that is less than
// it was.
func (k *fence) hasOwn(base raft.LogID) bool {
	if term, ok := k.group.core.TermAt(base.Index); !ok || term != base.Term {
		return false
	}
	own := k.group.host.cfg.Store.Snapshots(k.group.replica)
	return slices.ContainsFunc(own, func(s logstore.Snapshot) bool { return s.Base.ID == base })
}

// take begins with a state that came from another replica.
func (k *fence) take(r *ReceivedSnapshot) (why string) {
	g, base := k.group, r.Snapshot.Base
	c := wire.Chunk{Base: base.ID}
	if why := k.wants(r.Node, &c); why != "" {
		return why
	}
	if term, ok := g.core.TermAt(base.ID.Index); ok && term != base.ID.Term {
		g.stop(fmt.Errorf("a snapshot of node %s covers all up to %s, here that entry is of term %d", r.Node, raft.FormatLogID(g.replica.Group, base.ID), term))
		return "the logs differ"
	}
	g.host.cfg.Log.Info("fenced replica gets a state", "group", g.replica.Group, "from", r.Node, "base", base.ID, "applied", g.applied)
	mute(r.Machine, true)
	s := r.Snapshot
	k.machine, k.at, k.time, k.base = r.Machine, base.ID, base.Time, &s
	g.touch()
	return ""
}

// loadOwn loads the snapshot where the own log begins.
func (k *fence) loadOwn() *Work {
	g := k.group
	h, base := g.host, g.snap.base
	var machine StateMachine
	var time raft.GroupTime
	return &Work{
		Replica: g.replica,
		do: func(store *logstore.Store) (err error) {
			machine, time, err = loadBase(store, g.replica, base, h.cfg.Machine)
			return err
		},
		done: func(err error) {
			switch {
			case g.snap.base != base:
				err = errors.New("the log begins later now")
			case err != nil && !g.alone():
				k.ownLater() // another replica has one
			}
			if k.ended(err); err == nil && k.stage == fenceSeeking && k.machine == nil {
				k.machine, k.at, k.time = machine, base, time
			}
		},
	}
}

// loadBase makes a machine that is mute, in the state where a log begins. Any goroutine may
// call it.
func loadBase(store *logstore.Store, r logstore.Replica, base raft.LogID, empty func(logstore.Replica) StateMachine) (StateMachine, raft.GroupTime, error) {
	m := empty(r)
	mute(m, true)
	if base.Index == 0 {
		return m, 0, nil
	}
	for _, s := range store.Snapshots(r) {
		if s.Base.ID == base {
			return m, s.Base.Time, loadSnapshot(store, s, m)
		}
	}
	return nil, 0, fmt.Errorf("no snapshot of %s stands at %s", r, base)
}

// fill gives the state that is filled what the log has next, up to what is committed.
func (k *fence) fill() error {
	g := k.group
	for budget := fillBytesMax; budget > 0 && k.at.Index < g.applied.Index; {
		entries, err := g.host.cfg.Store.Read(g.replica, k.at.Index+1, g.applied.Index, budget)
		if err != nil {
			return fmt.Errorf("read entries %d to %d: %w", k.at.Index+1, g.applied.Index, err)
		}
		if bug("rebuild forgets entries") && len(entries) > 2 {
			entries = slices.Delete(entries, len(entries)/2, len(entries)/2+1)
		}
		for i := range entries {
			if err := applyMute(k.machine, entries[i]); err != nil {
				return fmt.Errorf("apply %s: %w", raft.FormatLogID(g.replica.Group, entries[i].ID), err)
			}
			budget -= len(entries[i].Raw)
			k.at, k.time = entries[i].ID, entries[i].Time
		}
	}
	return nil
}

// applyMute lets a machine apply an entry for which nobody waits.
func applyMute(m StateMachine, e raft.Entry) error {
	if e.Kind != raft.EntryNormal {
		return m.Skip(e)
	}
	_, _, err := m.Apply(e, false, nil)
	return err
}

// ownLater has another replica's state sought first.
func (k *fence) ownLater() {
	k.own = false
	if k.ownAt > 0 {
		k.ownAt = k.group.host.ticks + fenceOwnTicks
	}
}

// fail gives up the state that is filled: another one is sought.
func (k *fence) fail(err error) {
	k.group.host.cfg.Log.Warn("fenced replica loses the state that it got", "group", k.group.replica.Group, "at", k.at, "err", err)
	k.stage, k.machine, k.base = fenceSeeking, nil, nil
	k.ownLater()
	k.retryAt = k.group.host.ticks + fenceRetryTicks
}

// replay is what a replica knows of its log, applied anew beside what it serves.
type replay struct {
	at     raft.LogID        // up to where
	report *wire.AuditReport // what came of it; nil: it is under way
}

// replayTo has the log applied anew from where it begins to an entry, and reports to the leader
// what comes of it. If it was asked before it does not do it again.
func (r *auditing) replayTo(at raft.LogID) {
	if r.replay.at == at {
		if r.replay.report != nil {
			r.tellReplay()
		}
		return
	}
	r.replay = replay{at: at}
	g := r.group
	a := &g.host.Audits
	h, base := g.host, g.snap.base
	report := &wire.AuditReport{Group: g.replica.Group, Incarnation: g.replica.Incarnation, From: g.replica.ID, At: at, Replayed: true}
	a.chores = append(a.chores, &Work{
		Replica: g.replica,
		do: func(store *logstore.Store) error {
			if base.Index > at.Index {
				return fmt.Errorf("the log begins after %s now", base)
			}
			m, _, err := loadBase(store, g.replica, base, h.cfg.Machine)
			for next := base.Index + 1; err == nil && next <= at.Index; {
				var entries []raft.Entry
				if entries, err = store.Read(g.replica, next, at.Index, replayBytesMax); err != nil {
					break
				}
				for i := range entries {
					if err = applyMute(m, entries[i]); err != nil {
						break
					}
				}
				next += uint64(len(entries))
			}
			if audited, ok := m.(Audited); err == nil && ok {
				report.Rows = audited.Digests(nil)
			}
			return err
		},
		done: func(err error) {
			if err != nil {
				h.cfg.Log.Warn("log not replayed", "group", g.replica.Group, "to", at, "err", err)
			}
			if r.replay.at == at && !g.gone && g.stopped == nil {
				r.replay.report = report
				r.tellReplay()
			}
		},
	})
}

func (r *auditing) tellReplay() {
	if r.group.role == raft.RoleLeader {
		r.take(r.replay.report)
	} else {
		r.report(r.replay.report)
	}
}

// Trust ends the wait of a group in which nobody can tell which replica is right: a person
// has decided for the one here. It begins again with its own snapshot and log, and comes to
// lead, and the others get its state.
func (a *Audits) Trust(id raft.GroupID) error {
	h := a.host
	g := h.groups[id]
	if g == nil || g.fence == nil || g.fence.note.Found != logstore.FenceUndecided {
		return fmt.Errorf("group %d on this node does not wait for anybody to say which replica is right", id)
	}
	g.fence.own = true
	h.cfg.Log.Info("replica is trusted", "group", id, "replica", g.replica.ID)
	return nil
}

// Incidents returns the replicas on this host whose state was found to be wrong, and of which
// no person has taken note yet, in the order of their groups.
func (a *Audits) Incidents() []Incident {
	var all []Incident
	for _, f := range a.host.cfg.Store.Fences() {
		all = append(all, incidentOf(&f))
	}
	return all
}

// Forget forgets an incident that is over: a person has taken note of it.
func (a *Audits) Forget(r logstore.Replica) {
	a.chores = append(a.chores, &Work{
		Replica: r,
		do: func(store *logstore.Store) error {
			for _, f := range store.Fences() {
				if f.Replica == r && f.Rebuilt {
					return store.RemoveFence(r)
				}
			}
			return nil
		},
		done: func(err error) {
			if err != nil {
				a.host.cfg.Log.Warn("incident not forgotten", "group", r.Group, "err", err)
			}
		},
	})
}
