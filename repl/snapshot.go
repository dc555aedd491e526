package repl

import (
	"fmt"
	"sync/atomic"

	"muster/logstore"
	"muster/raft"
	"muster/repl/wire"
)

// snapshots is what a group knows of its snapshots, and does with them.
type snapshots struct {
	group *group

	base  raft.LogID // where the log begins
	bytes int64      // of the entries applied since base
	size  int64      // of the snapshot at base

	movedAt   uint64 // the tick when something was last applied
	retryAt   uint64 // the tick before which none is made
	heldUntil uint64 // the tick before which none is made without need
	failed    string // why the last one could not be written
	lacksRoom bool   // the last one found no room on the disk
	asked     bool   // somebody wants one
	adopting  int64  // the bytes of the snapshot that is being adopted

	later   *logstore.Snapshot                 // of an index that is not applied yet
	arrived []*ReceivedSnapshot                // handed to the core in this turn
	streams map[raft.ReplicaID]*SnapshotStream // to others, under way
	wants   []want
	proof   proof
}

// proof is how long snapshots wait until it is known that their state is right.
type proof struct {
	waits bool
	base  raft.LogID // of the newest that waits, or that has waited last
	by    uint64     // the tick from which on none waits any longer, also one that came meanwhile
}

// want is a replica that asked for a snapshot, of this replica and not of the
// leader.
type want struct {
	to    raft.Member
	index uint64
}

// wantsMax bounds those that wait. A group has few replicas.
const wantsMax = 16

// SnapshotStream is a snapshot on its way to another node. What it says does not
// change, but for whether it is still of use.
type SnapshotStream struct {
	Number   uint64
	Snapshot logstore.Snapshot // of the replica here
	To       raft.ReplicaID
	Term     uint64 // in which the replica here leads; 0 if it was asked

	useless atomic.Bool
	group   *group
	node    raft.NodeID
}

// Current reports whether the stream should go on. Any goroutine may ask.
func (s *SnapshotStream) Current() bool {
	return !s.useless.Load() && (s.Term == 0 || s.group.leading.Load() == s.Term)
}

// ReceivedSnapshot is a snapshot that came from another node whole, and the
// machine that was made from it.
type ReceivedSnapshot struct {
	Node     raft.NodeID // that sent it
	From     raft.ReplicaID
	Term     uint64 // in which From leads; 0 if it was asked
	Snapshot logstore.Snapshot
	Machine  StateMachine
}

// send has snapshots sent to followers that need what the log no
// longer holds.
func (k *snapshots) send(wanted []raft.SnapshotWanted) {
	for _, w := range wanted {
		node, ok := k.group.node(w.To)
		s, have := k.newest()
		if !ok || !have {
			// There is one, unless it turned out to be damaged, or the state is wrong.
			k.asked = k.asked || !have && k.group.fence == nil
			k.group.core.SnapshotLost(w.To)
			continue
		}
		if !k.mayLeave(&s) {
			k.group.core.SnapshotLost(w.To) // it asks again
			continue
		}
		k.stream(raft.Member{Replica: w.To, Node: node}, k.group.state.Term, s)
	}
}

// mayLeave reports whether a snapshot may go to another replica: not before a comparison has
// shown, after it was written, that the state here is right. A state that is wrong would
// become that of a second replica, and the two of them a majority. If nothing shows it for
// proofTicks, or can show it, as where no majority is there, the snapshot leaves all the same: a
// replica that lacks it is worse than the risk. The entry that shows it must be a later one than
// the base: what went wrong after that was applied is in the snapshot too.
func (k *snapshots) mayLeave(s *logstore.Snapshot) bool {
	h, a := k.group.host, &k.group.audit
	p := &h.Audits.policy
	switch {
	case p.Every == 0 || !p.Understood || a.machine == nil || s.Base.ID.Index < a.agreed.Index || bug("snapshot of a wrong state leaves"):
		k.proof.waits = false
	case a.round != nil && a.round.Disputed():
		return false // the round will tell in a moment which state is right
	case !k.proof.waits && k.proof.base != s.Base.ID, k.proof.waits && h.ticks >= k.proof.by+proofTicks: // an earlier request, long past
		k.proof = proof{true, s.Base.ID, h.ticks + proofTicks}
		a.wanted = true
		return k.unprovable()
	case k.proof.waits && h.ticks < k.proof.by:
		a.wanted = a.wanted || k.proof.base != s.Base.ID
		k.proof.base = s.Base.ID
		return k.unprovable()
	default:
		k.proof.waits, k.proof.base = false, s.Base.ID
	}
	return true
}

// unprovable reports whether no comparison can come about: this replica leads, and no majority
// of the voters follows without a snapshot, so that no entry is committed.
func (k *snapshots) unprovable() bool {
	g := k.group
	if g.role != raft.RoleLeader {
		return false
	}
	follows := map[raft.ReplicaID]bool{g.replica.ID: true}
	for _, p := range g.core.Status().Progress {
		follows[p.Replica] = p.Active && p.State != raft.ProgressSnapshot
	}
	for _, list := range [...][]raft.Member{g.members.Voters, g.members.Outgoing} {
		n := 0
		for i := range list {
			if follows[list[i].Replica] {
				n++
			}
		}
		if len(list) > 0 && n <= len(list)/2 {
			return true
		}
	}
	return false
}

func (k *snapshots) newest() (logstore.Snapshot, bool) {
	if !k.group.fence.gives() {
		return logstore.Snapshot{}, false
	}
	all := k.group.host.cfg.Store.Snapshots(k.group.replica)
	for i := len(all) - 1; i >= 0; i-- {
		if id := all[i].Base.ID; id.Index <= k.group.applied.Index && id.Index >= k.base.Index {
			return all[i], true
		}
	}
	return logstore.Snapshot{}, false
}

// stream begins to send a snapshot. One to the same replica ends: who asked for
// it is told by the end of this one.
func (k *snapshots) stream(to raft.Member, term uint64, s logstore.Snapshot) {
	k.endStream(to.Replica)
	k.group.host.chores.streams++
	o := &SnapshotStream{
		Number: k.group.host.start<<32 | k.group.host.chores.streams, Snapshot: s, To: to.Replica, Term: term,
		group: k.group, node: to.Node,
	}
	if k.streams == nil {
		k.streams = make(map[raft.ReplicaID]*SnapshotStream)
	}
	k.streams[to.Replica] = o
	k.group.host.cfg.Log.Info("snapshot leaves", "group", k.group.replica.Group, "to", to.Node, "base", s.Base.ID, "bytes", s.Size)
	k.group.host.cfg.Transport.SendSnapshot(to.Node, o)
}

func (k *snapshots) endStream(to raft.ReplicaID) {
	if o := k.streams[to]; o != nil {
		o.useless.Store(true)
		delete(k.streams, to)
	}
}

// endStreams ends all that are under way.
func (k *snapshots) endStreams() {
	for to := range k.streams {
		k.endStream(to)
	}
}

// endStrayStreams ends those to replicas that are not members: nobody needs them.
func (k *snapshots) endStrayStreams() {
	for to := range k.streams {
		if _, ok := k.group.memberNode(to); !ok {
			k.endStream(to)
		}
	}
}

// SnapshotSent hands in that a stream has ended: the other node has the state,
// or err says why it has not.
func (h *Host) SnapshotSent(o *SnapshotStream, err error) {
	g := o.group
	if g.snap.streams[o.To] == o {
		delete(g.snap.streams, o.To)
		g.snap.heldUntil = h.ticks + uint64(h.cfg.Snapshots.HoldTicks)
	}
	base := o.Snapshot.Base.ID
	if err != nil {
		h.cfg.Log.Warn("snapshot not sent", "group", g.replica.Group, "to", o.node, "base", base, "err", err)
	} else {
		h.cfg.Log.Info("snapshot sent", "group", g.replica.Group, "to", o.node, "base", base)
	}
	if g.gone || g.stopped != nil || o.Term == 0 || !g.core.LeadsIn(o.Term) {
		return
	}
	if err == nil {
		g.core.SnapshotArrived(o.To, base)
	} else {
		g.core.SnapshotLost(o.To)
	}
	g.touch()
}

// give has a snapshot sent that covers all up to index at least, to a
// replica that asked for it. If there is none, one is made first. It says
// whether that can be.
func (k *snapshots) give(to raft.Member, index uint64) bool {
	if k.group.stopped != nil || k.group.gone || !k.group.fence.gives() {
		return false
	}
	if k.group.applied.Index < index {
		// A replica that is fenced needs one behind its own. Where nobody writes there is
		// none before there is another entry.
		k.group.audit.wanted = true
		return false
	}
	if o := k.streams[to.Replica]; o != nil && o.Current() && o.Snapshot.Base.ID.Index >= index {
		return true
	}
	if s, ok := k.newest(); ok && s.Base.ID.Index >= index {
		if !k.mayLeave(&s) {
			return false // the replica asks again
		}
		k.stream(to, 0, s)
		return true
	}
	for i := range k.wants {
		if w := &k.wants[i]; w.to == to {
			w.index = max(w.index, index)
			return true
		}
	}
	if len(k.wants) >= wantsMax {
		return false
	}
	k.wants = append(k.wants, want{to: to, index: index})
	k.asked = true
	k.group.host.chores.lookAt = 0
	return true
}

// serveWants sends what was asked for, now that there is a newer snapshot.
func (k *snapshots) serveWants() {
	wants := k.wants
	k.wants = nil
	for _, w := range wants {
		k.give(w.to, w.index)
	}
}

// adopt begins the log after a snapshot of this replica, once all up to there is
// applied. One that is older than the log's beginning is removed.
func (k *snapshots) adopt(s logstore.Snapshot) {
	base := s.Base
	switch {
	case k.group.gone:
		k.group.host.chores.sweep(s.Replica, allSnapshots)
		return
	case base.ID.Index <= k.base.Index:
		// On disk the log may still begin further back: one that was installed
		// counts there once its write is synced, and then sweeps for itself.
		if begins, _, _, ok := k.group.host.cfg.Store.Bounds(k.group.replica); ok {
			k.group.host.chores.sweep(k.group.replica, begins)
		}
		k.group.host.mending.based(k.group.replica)
		return
	case k.group.stopped != nil:
		return
	case base.ID.Index > k.group.applied.Index:
		k.later = &s
		return
	}
	if term, _ := k.group.core.TermAt(base.ID.Index); term != base.ID.Term {
		k.group.stop(fmt.Errorf("a snapshot covers all up to %s, here that entry is of term %d", raft.FormatLogID(k.group.replica.Group, base.ID), term))
		return
	}
	k.group.core.Compact(base.ID, base.Membership)
	k.base, k.size = base.ID, s.Size
	k.bytes -= k.adopting
	b := k.group.host.gathering
	b.Writes = append(b.Writes, logstore.Write{Replica: k.group.replica, Base: &base, Commit: k.group.state.Commit})
	b.bases = append(b.bases, based{k.group.replica, base.ID})
}

// adoptLater adopts a snapshot whose last entry has been applied meanwhile.
func (k *snapshots) adoptLater() {
	if s := k.later; s != nil && s.Base.ID.Index <= k.group.applied.Index {
		k.later = nil
		k.adopt(*s)
	}
}

// WantsSnapshot reports whether a snapshot that another node offers is of use
// here: have is true if all of it is here already; else why, if not empty, says
// why it is not taken.
func (h *Host) WantsSnapshot(from raft.NodeID, c *wire.Chunk) (have bool, why string) {
	h.contacts.hear(from)
	g := h.groups[c.Group]
	switch {
	case max(c.Base.Index, c.Size) >= raft.IndexLimit || c.Term >= raft.TermLimit || c.Term > 0 && c.Base.Term > c.Term:
		return false, fmt.Sprintf("no snapshot of %s has %d bytes, in term %d", c.Base, c.Size, c.Term)
	case g == nil && h.mending.of(c.Group) != nil:
		return false, h.mending.of(c.Group).refusesState(from, c)
	case g == nil:
		return false, "the group is not here"
	case g.replica != logstore.Replica{Group: c.Group, Incarnation: c.Incarnation, ID: c.To}:
		return false, fmt.Sprintf("the replica here is %s", g.replica)
	case g.stopped != nil:
		return false, "the group has stopped here: " + g.stopped.Error()
	case c.Term > g.state.Term && c.Term-g.state.Term > raft.TermReach+1:
		return false, fmt.Sprintf("its term %d is too far above term %d here", c.Term, g.state.Term)
	case g.elsewhere(c.From, from):
		return false, fmt.Sprintf("replica %d does not live on the node that it comes from", c.From)
	case g.fence != nil && g.fence.hasOwn(c.Base):
		return false, "the replica is fenced, and its own snapshot with that base may be wrong"
	case g.fence != nil && c.Term == 0:
		return false, g.fence.wants(from, c)
	case c.Base.Index <= g.applied.Index && !bug("snapshot over newer state"):
		return true, ""
	case c.Term == 0:
		return false, "it was not asked for"
	case c.Term < g.state.Term:
		return false, fmt.Sprintf("it is of term %d, here it is term %d", c.Term, g.state.Term)
	case c.Term == g.state.Term && g.lead != 0 && g.lead != c.From:
		return false, fmt.Sprintf("replica %d leads in term %d", g.lead, c.Term)
	}
	return false, ""
}

// TakeSnapshot hands in a snapshot that came whole. It says why it was not
// taken, or nothing.
func (h *Host) TakeSnapshot(r *ReceivedSnapshot) (why string) {
	g := h.groups[r.Snapshot.Replica.Group]
	switch {
	case g == nil && h.mending.of(r.Snapshot.Replica.Group) != nil:
		h.mending.arrived(r.Snapshot)
		return ""
	case g == nil || g.replica != r.Snapshot.Replica:
		h.chores.sweep(r.Snapshot.Replica, allSnapshots)
		return "the group is not here any more"
	case g.stopped != nil:
		return "the group has stopped here: " + g.stopped.Error()
	case g.fence != nil && r.Term == 0:
		return g.fence.take(r)
	}
	g.snap.arrived = append(g.snap.arrived, r)
	base := r.Snapshot.Base
	g.step(r.Node, raft.Message{
		Type: raft.MsgSnapshot, From: r.From, To: g.replica.ID, Term: r.Term, Log: base.ID,
		Install: &raft.Install{Base: base.ID, Membership: base.Membership, Time: base.Time},
	})
	return ""
}

// install puts the state that a snapshot brought in the place of the one that
// was here.
func (k *snapshots) install(i *raft.Install) *logstore.Base {
	for _, r := range k.arrived {
		if r.Snapshot.Base.ID != i.Base {
			continue
		}
		base := r.Snapshot.Base
		k.group.host.cfg.Log.Info("snapshot installed", "group", k.group.replica.Group, "from", r.Node, "base", base.ID, "applied", k.group.applied)
		k.group.machine = r.Machine
		k.stand(base, r.Snapshot.Size)
		k.later = nil
		k.group.base = nil // of a new replica: this one takes its place
		k.group.host.gathering.bases = append(k.group.host.gathering.bases, based{k.group.replica, base.ID})
		if k.group.fence != nil {
			k.group.fence.installed(r)
			return &base
		}
		k.group.machine.Restored()
		k.group.follow()
		return &base
	}
	panic(fmt.Sprintf("group %d: the core installs %s, which did not arrive", k.group.replica.Group, i.Base))
}

// stand says that the state is that of a snapshot.
func (k *snapshots) stand(base logstore.Base, size int64) {
	k.group.applied, k.group.appliedTime, k.group.appliedMembers = base.ID, base.Time, base.Membership
	k.group.removed = k.group.removedBy(&base.Membership)
	k.base, k.size, k.bytes = base.ID, size, 0
	k.movedAt = k.group.host.ticks
}

// settleArrived deals with snapshots that the core had no need to install: its
// log holds what they cover.
func (k *snapshots) settleArrived() {
	arrived := k.arrived
	k.arrived = nil
	for _, r := range arrived {
		if r.Snapshot.Base.ID != k.base && k.group.fence == nil {
			k.adopt(r.Snapshot)
		}
	}
}
