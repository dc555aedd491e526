package raft

import "fmt"

// SnapshotWanted asks the owner to send its newest snapshot to a follower.
type SnapshotWanted struct{ To ReplicaID }

// Install is what the core needs to know of a snapshot: the last entry that it
// covers, the membership in force there and the group time of that entry.
type Install struct {
	Base       LogID
	Membership Membership
	Time       GroupTime
}

// Compact tells that the owner has a snapshot that covers all up to base, with
// membership m in force there, and that the log before is gone. base must be
// applied. Each replica compacts for itself: what is applied is committed, and
// what is committed is the same everywhere (the paper, section 7).
func (g *Group) Compact(base LogID, m Membership) {
	if g.stopped != nil || base.Index <= g.log.base.Index {
		return
	}
	if term, _ := g.log.termAt(base.Index); base.Index > g.log.applied || term != base.Term {
		panic(fmt.Sprintf("raft: compact up to %s, applied is %d, of term %d there", base, g.log.applied, term))
	}
	if c := &g.members.history[0]; c.index <= base.Index && string(c.membership.Append(nil)) != string(m.Append(nil)) {
		panic(fmt.Sprintf("raft: compact up to %s with membership %+v, in force there is %+v", base, m, c.membership))
	}
	g.log.compact(base)
}

// SnapshotDone ends what [Ready.Snapshots] asked for: the snapshot that covers
// all up to base has arrived, or, if not ok, has not, and will be asked for
// again in a while.
func (g *Group) SnapshotDone(to ReplicaID, base LogID, ok bool) {
	if g.stopped != nil || g.role != RoleLeader {
		return
	}
	p := g.followers.of(to)
	if p == nil || !p.asked {
		return
	}
	p.asked = false
	p.askAt = g.ticks + uint64(g.config.HeartbeatTicks)
	if !ok {
		p.askAt = g.ticks + uint64(g.config.ElectionTicks)
	} else if p.state == ProgressSnapshot && base.Index <= g.log.last.Index {
		p.probe(base.Index)
	}
	g.sendDue = true
}

// wantSnapshot asks for a snapshot for a replica that is there and needs what
// is before the log's beginning.
func (g *Group) wantSnapshot(p *progress) {
	p.state = ProgressSnapshot
	if !p.asked && g.ticks >= p.askAt && g.active(p) {
		p.asked = true
		g.out.snapshots = append(g.out.snapshots, SnapshotWanted{To: p.replica})
	}
}

// stepSnapshot takes a snapshot in place of the log (the paper, section 7).
func (g *Group) stepSnapshot(m *Message) error {
	if err := g.obey(m.From); err != nil {
		return err
	}
	s, l := m.Install, &g.log
	// What is committed here is the same as what the snapshot covers. To take
	// an older state over a newer one would undo what was applied.
	if s.Base.Index <= l.commit && !(bug("snapshot over newer state") && s.Base.Index > l.base.Index) {
		term, _ := l.termAt(l.commit)
		g.promise(m.From, Message{Type: MsgAppendAnswer, Log: LogID{Term: term, Index: l.commit}})
		return nil
	}
	// A log that holds the snapshot's last entry holds all before it, and is
	// kept with what follows: those entries may be acknowledged.
	if term, ok := l.termAt(s.Base.Index); ok && term == s.Base.Term && s.Base.Index > l.commit {
		g.commitTo(s.Base.Index)
	} else {
		g.install(s)
	}
	g.promise(m.From, Message{Type: MsgAppendAnswer, Log: s.Base})
	return nil
}

// install begins the log anew after s. What was handed out to be written is
// gone with the old one, and its sync counts no longer; the snapshot's own
// counts when the Ready is synced that carries it.
func (g *Group) install(s *Install) {
	g.log.reset(s.Base, s.Time)
	g.members.reset(s.Base.Index, s.Membership)
	g.syncs.truncate(1)
	g.out.install = s
}
