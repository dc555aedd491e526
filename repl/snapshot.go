package repl

import (
	"fmt"
	"sync/atomic"

	"muster/logstore"
	"muster/raft"
	"muster/repl/wire"
)

// snapshots is what a group knows of its snapshots.
type snapshots struct {
	base  raft.LogID // where the log begins
	bytes int64      // of the entries applied since base
	size  int64      // of the snapshot at base

	movedAt   uint64 // the tick when something was last applied
	retryAt   uint64 // the tick before which none is made
	heldUntil uint64 // the tick before which none is made without need
	failed    string // why the last one could not be written
	asked     bool   // somebody wants one
	adopting  int64  // the bytes of the snapshot that is being adopted

	later   *logstore.Snapshot                 // of an index that is not applied yet
	arrived []*ReceivedSnapshot                // handed to the core in this turn
	streams map[raft.ReplicaID]*SnapshotStream // to others, under way
	wants   []want
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

// Current says whether the stream should go on. Any goroutine may ask.
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

// sendSnapshots has snapshots sent to followers that need what the log no
// longer holds.
func (g *group) sendSnapshots(wanted []raft.SnapshotWanted) {
	for _, w := range wanted {
		node, ok := g.node(w.To)
		s, have := g.newestSnapshot()
		if !ok || !have {
			// There is one, unless it turned out to be damaged.
			g.snap.asked = g.snap.asked || !have
			g.core.SnapshotDone(w.To, raft.LogID{}, false)
			continue
		}
		g.stream(raft.Member{Replica: w.To, Node: node}, g.state.Term, s)
	}
}

func (g *group) newestSnapshot() (logstore.Snapshot, bool) {
	all := g.host.cfg.Store.Snapshots(g.replica)
	for i := len(all) - 1; i >= 0; i-- {
		if id := all[i].Base.ID; id.Index <= g.applied.Index && id.Index >= g.snap.base.Index {
			return all[i], true
		}
	}
	return logstore.Snapshot{}, false
}

// stream begins to send a snapshot. One to the same replica ends: who asked for
// it is told by the end of this one.
func (g *group) stream(to raft.Member, term uint64, s logstore.Snapshot) {
	g.endStream(to.Replica)
	g.host.streams++
	o := &SnapshotStream{
		Number: g.host.start<<32 | g.host.streams, Snapshot: s, To: to.Replica, Term: term,
		group: g, node: to.Node,
	}
	if g.snap.streams == nil {
		g.snap.streams = make(map[raft.ReplicaID]*SnapshotStream)
	}
	g.snap.streams[to.Replica] = o
	g.host.cfg.Log.Info("snapshot leaves", "group", g.replica.Group, "to", to.Node, "base", s.Base.ID, "bytes", s.Size)
	g.host.cfg.Transport.SendSnapshot(to.Node, o)
}

func (g *group) endStream(to raft.ReplicaID) {
	if o := g.snap.streams[to]; o != nil {
		o.useless.Store(true)
		delete(g.snap.streams, to)
	}
}

// endStreams ends those that nobody needs any more: all, or those to replicas
// that are no members.
func (g *group) endStreams(all bool) {
	for to := range g.snap.streams {
		if _, ok := g.memberNode(to); all || !ok {
			g.endStream(to)
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
	g.core.SnapshotDone(o.To, base, err == nil)
	g.touch()
}

// giveSnapshot has a snapshot sent that covers all up to index at least, to a
// replica that asked for it. If there is none, one is made first. It says
// whether that can be.
func (g *group) giveSnapshot(to raft.Member, index uint64) bool {
	if g.stopped != nil || g.gone || g.applied.Index < index {
		return false
	}
	if o := g.snap.streams[to.Replica]; o != nil && o.Current() && o.Snapshot.Base.ID.Index >= index {
		return true
	}
	if s, ok := g.newestSnapshot(); ok && s.Base.ID.Index >= index {
		g.stream(to, 0, s)
		return true
	}
	for i := range g.snap.wants {
		if w := &g.snap.wants[i]; w.to == to {
			w.index = max(w.index, index)
			return true
		}
	}
	if len(g.snap.wants) >= wantsMax {
		return false
	}
	g.snap.wants = append(g.snap.wants, want{to: to, index: index})
	g.snap.asked = true
	g.host.lookAt = 0
	return true
}

// serveWants sends what was asked for, now that there is a newer snapshot.
func (g *group) serveWants() {
	wants := g.snap.wants
	g.snap.wants = nil
	for _, w := range wants {
		g.giveSnapshot(w.to, w.index)
	}
}

// adopt begins the log after a snapshot of this replica, once all up to there is
// applied. One that is older than the log's beginning is removed.
func (g *group) adopt(s logstore.Snapshot) {
	base := s.Base
	switch {
	case g.gone:
		g.host.sweep(s.Replica, allSnapshots)
		return
	case base.ID.Index <= g.snap.base.Index:
		// On disk the log may still begin further back: one that was installed
		// counts there once its write is synced, and then sweeps for itself.
		if begins, _, _, ok := g.host.cfg.Store.Bounds(g.replica); ok {
			g.host.sweep(g.replica, begins)
		}
		g.host.based(g.replica)
		return
	case g.stopped != nil:
		return
	case base.ID.Index > g.applied.Index:
		g.snap.later = &s
		return
	}
	if term, _ := g.core.TermAt(base.ID.Index); term != base.ID.Term {
		g.stop(fmt.Errorf("a snapshot covers all up to %s, here that entry is of term %d", raft.FormatLogID(g.replica.Group, base.ID), term))
		return
	}
	g.core.Compact(base.ID, base.Membership)
	g.snap.base, g.snap.size = base.ID, s.Size
	g.snap.bytes -= g.snap.adopting
	b := g.host.gathering
	b.Writes = append(b.Writes, logstore.Write{Replica: g.replica, Base: &base, Commit: g.state.Commit})
	b.bases = append(b.bases, based{g.replica, base.ID})
}

// adoptLater adopts a snapshot whose last entry has been applied meanwhile.
func (g *group) adoptLater() {
	if s := g.snap.later; s != nil && s.Base.ID.Index <= g.applied.Index {
		g.snap.later = nil
		g.adopt(*s)
	}
}

// WantsSnapshot says whether a snapshot that another node offers is of use
// here: have is true if all of it is here already; else why, if not empty, says
// why it is not taken.
func (h *Host) WantsSnapshot(from raft.NodeID, c *wire.Chunk) (have bool, why string) {
	h.hear(from)
	g := h.groups[c.Group]
	switch {
	case max(c.Base.Index, c.Size) >= raft.IndexLimit || c.Term >= raft.TermLimit || c.Term > 0 && c.Base.Term > c.Term:
		return false, fmt.Sprintf("no snapshot of %s has %d bytes, in term %d", c.Base, c.Size, c.Term)
	case g == nil && h.mendOf(c.Group) != nil:
		return false, h.mendOf(c.Group).refusesState(from, c)
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
	case g == nil && h.mendOf(r.Snapshot.Replica.Group) != nil:
		h.SnapshotArrived(r.Snapshot)
		return ""
	case g == nil || g.replica != r.Snapshot.Replica:
		h.sweep(r.Snapshot.Replica, allSnapshots)
		return "the group is not here any more"
	case g.stopped != nil:
		return "the group has stopped here: " + g.stopped.Error()
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
func (g *group) install(i *raft.Install) *logstore.Base {
	for _, r := range g.snap.arrived {
		if r.Snapshot.Base.ID != i.Base {
			continue
		}
		base := r.Snapshot.Base
		g.host.cfg.Log.Info("snapshot installed", "group", g.replica.Group, "from", r.Node, "base", base.ID, "applied", g.applied)
		g.machine = r.Machine
		g.stand(base, r.Snapshot.Size)
		g.snap.later = nil
		g.base = nil // of a new replica: this one takes its place
		g.host.gathering.bases = append(g.host.gathering.bases, based{g.replica, base.ID})
		g.machine.Restored()
		return &base
	}
	panic(fmt.Sprintf("group %d: the core installs %s, which did not arrive", g.replica.Group, i.Base))
}

// stand says that the state is that of a snapshot.
func (g *group) stand(base logstore.Base, size int64) {
	g.applied, g.appliedTime, g.appliedMembers = base.ID, base.Time, base.Membership
	g.removed = g.removedBy(&base.Membership)
	g.snap.base, g.snap.size, g.snap.bytes = base.ID, size, 0
	g.snap.movedAt = g.host.ticks
}

// settleArrived deals with snapshots that the core had no need to install: its
// log holds what they cover.
func (g *group) settleArrived() {
	arrived := g.snap.arrived
	g.snap.arrived = nil
	for _, r := range arrived {
		if r.Snapshot.Base.ID != g.snap.base {
			g.adopt(r.Snapshot)
		}
	}
}
