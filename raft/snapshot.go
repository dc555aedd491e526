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

// Compact reports that the owner has a snapshot that covers all up to base, with
// membership m in force there, and that the log before it is gone. base must be
// applied. Each replica compacts for itself: what is applied is committed, and
// what is committed is the same everywhere (the paper, section 7).
func (g *Group) Compact(base LogID, m Membership) {
	r := &g.replica
	if r.stopped != nil || base.Index <= r.log.base.Index {
		return
	}
	if term, _ := r.log.termAt(base.Index); base.Index > r.log.applied || term != base.Term {
		panic(fmt.Sprintf("raft: compact up to %s, applied is %d, of term %d there", base, r.log.applied, term))
	}
	if c := &r.members.history[0]; c.id.Index <= base.Index && string(c.membership.Append(nil)) != string(m.Append(nil)) {
		panic(fmt.Sprintf("raft: compact up to %s with membership %+v, in force there is %+v", base, m, c.membership))
	}
	r.log.compact(base)
}

// SnapshotArrived ends what [Ready.Snapshots] asked for: the snapshot that covers
// all up to base is there.
func (g *Group) SnapshotArrived(to ReplicaID, base LogID) {
	l := g.replica.leading
	if l == nil {
		return
	}
	p := l.snapshotDone(to, l.replica.config.HeartbeatTicks)
	// The probe names base, so this log must reach it.
	if p != nil && p.state == ProgressSnapshot && base.Index <= l.replica.log.last.Index {
		p.probe(base.Index)
	}
}

// SnapshotLost ends what [Ready.Snapshots] asked for: there is none, or it did not
// arrive. It is asked for again after an election timeout.
func (g *Group) SnapshotLost(to ReplicaID) {
	if l := g.replica.leading; l != nil {
		l.snapshotDone(to, l.replica.config.ElectionTicks)
	}
}

// snapshotDone records that the owner has answered for a replica, which is not asked
// for again for pause ticks. It returns nil if nothing was asked.
func (l *leader) snapshotDone(to ReplicaID, pause int) *progress {
	p := l.followers.of(to)
	if p == nil || !p.asked {
		return nil
	}
	p.asked = false
	p.askAt = l.replica.ticks + uint64(pause)
	l.sendDue = true
	return p
}

// wantSnapshot asks for a snapshot for a replica that is there and needs what
// is before the log's beginning.
func (l *leader) wantSnapshot(p *progress) {
	r := l.replica
	p.state = ProgressSnapshot
	// One at a time, and only for a replica that answers: reading a snapshot is costly.
	if !p.asked && r.ticks >= p.askAt && l.active(p) {
		p.asked = true
		r.out.snapshots = append(r.out.snapshots, SnapshotWanted{To: p.replica})
	}
}

// stepSnapshot takes a snapshot in place of the log (the paper, section 7).
func (r *replica) stepSnapshot(m *Message) error {
	if err := r.obey(m.From); err != nil {
		return err
	}
	s, l := m.Install, &r.log
	// This replica has committed all that the snapshot covers. Taking an older state
	// over a newer one would undo what was applied.
	if s.Base.Index <= l.commit && !(bug("snapshot over newer state") && s.Base.Index > l.base.Index) {
		term, _ := l.termAt(l.commit)
		r.promise(m.From, Message{Type: MsgAppendAnswer, Log: LogID{Term: term, Index: l.commit}})
		return nil
	}
	// A log that holds the snapshot's last entry holds all before it (log matching),
	// and is kept with what follows: those entries may be acknowledged.
	if term, ok := l.termAt(s.Base.Index); ok && term == s.Base.Term && s.Base.Index > l.commit {
		r.commitTo(s.Base.Index)
	} else {
		r.install(s)
	}
	r.promise(m.From, Message{Type: MsgAppendAnswer, Log: s.Base})
	return nil
}

// install begins the log anew after s. Entries that were handed out to be written
// are gone with the old log, and their sync no longer counts; the snapshot's own
// counts once the Ready that carries it is synced.
func (r *replica) install(s *Install) {
	r.log.reset(s.Base, s.Time)
	r.members.reset(s.Base, s.Membership)
	r.syncs.truncate(1)
	r.out.install = s
}
