// Package rafttest runs whole groups in memory.
//
// It has a network whose messages are delivered one by one, disks that lose
// what was not synced, scripts over both, and checks of what must always hold.
// It starts no goroutine and sees no clock. Tests of packages above raft have
// their own simulator.
package rafttest

import (
	"fmt"

	"muster/raft"
)

// Network is one group's replicas, their disks and the messages between them.
type Network struct {
	Config   raft.Config // of each replica; Self and Chance are set per replica
	Replicas []*Replica  // replica i+1 at place i
	Flying   []raft.Message
	Check    *Check

	blocked   map[[2]raft.ReplicaID]bool
	snapshots map[raft.LogID]Snapshot // all that were ever sent
	starts    uint64
	trace     func(format string, a ...any) // nil: nobody listens
}

func (n *Network) say(format string, a ...any) {
	if n.trace != nil {
		n.trace(format, a...)
	}
}

// told and entries are written out only if somebody listens.
type (
	told    struct{ m raft.Message }
	entries []raft.Entry
)

func (t *told) String() string   { return describe(t.m) }
func (e entries) String() string { return ids(e) }

// Replica is one member: a process that may be down, and a disk that stays.
type Replica struct {
	ID    raft.ReplicaID
	Node  raft.NodeID
	Group *raft.Group // nil: down
	Disk  Disk
	// Machine is the state machine in memory.
	Machine Snapshot
	// Fenced: it must not lead. The fence is its owner's and outlives its process.
	Fenced bool
	// outgoing is how many ticks it has led fenced; -1: it does not.
	outgoing int
	bearing  bearing
	// Hold keeps Readies from being synced until Sync is called.
	Hold  bool
	Taken []raft.Ready // not synced yet, in order

	Reads     []raft.Read
	ReadsLost []uint64

	term    uint64
	lead    raft.ReplicaID
	role    raft.Role
	members string
}

// Members returns a membership of voters 1 to v, and copies after them.
func Members(v, copies int) raft.Membership {
	m := raft.Membership{Next: raft.ReplicaID(v + copies + 1)}
	for i := 1; i <= v+copies; i++ {
		member := raft.Member{Replica: raft.ReplicaID(i), Node: raft.NodeID(i), Goal: raft.GoalVoter}
		if i <= v {
			m.Voters = append(m.Voters, member)
		} else {
			member.Goal = raft.GoalCopy
			m.Learners = append(m.Learners, member)
		}
	}
	return m
}

// New founds a group of voters and copies; all are up.
func New(c raft.Config, voters, copies int) *Network {
	n := &Network{Config: c, Check: NewCheck(), blocked: map[[2]raft.ReplicaID]bool{},
		snapshots: map[raft.LogID]Snapshot{}}
	founded := Snapshot{Install: raft.Install{Membership: Members(voters, copies)}}
	for i := range voters + copies {
		n.Replicas = append(n.Replicas, &Replica{ID: raft.ReplicaID(i + 1), Node: raft.NodeID(i + 1),
			Disk: Disk{Snapshot: founded, Machine: founded}})
	}
	for _, r := range n.Replicas {
		n.Start(r)
	}
	return n
}

// make starts the replicas that a committed membership names and that do not
// exist yet. They know nothing of the group.
func (n *Network) make(m raft.Membership) {
	for _, l := range m.Learners {
		if int(l.Replica) == len(n.Replicas)+1 {
			r := &Replica{ID: l.Replica, Node: l.Node}
			n.Replicas = append(n.Replicas, r)
			n.say("%d: is made on node %d", r.ID, r.Node)
			n.Start(r)
		}
	}
}

// Start starts a replica from its disk.
func (n *Network) Start(r *Replica) {
	c := n.Config
	c.Self = r.ID
	n.starts++
	c.Chance = c.Chance*1000003 + n.starts
	g, err := raft.New(c, r.Disk.Restored())
	if err != nil {
		panic(err)
	}
	r.Group = g
	r.outgoing, r.bearing = -1, bearing{}
	if r.Fenced {
		g.Fence()
	}
	r.term, r.lead, r.role = r.Disk.State.Term, 0, raft.RoleFollower
	r.members = words(g.Status().Membership)
	r.Machine = r.Disk.Machine
	r.Taken = nil
	n.Check.Started(r)
}

// Fence keeps r from leading, from now on and after each start.
func (n *Network) Fence(r *Replica) {
	if r.Fenced {
		return
	}
	r.Fenced, r.outgoing, r.bearing = true, -1, bearing{}
	if r.Group != nil {
		if r.Group.Status().Role == raft.RoleLeader {
			r.outgoing = 0
		}
		r.Group.Fence()
	}
}

// Unfence lets r lead again.
func (n *Network) Unfence(r *Replica) {
	r.Fenced, r.outgoing, r.bearing = false, -1, bearing{}
	if r.Group != nil {
		r.Group.Unfence()
	}
}

// Crash ends a replica. Of the Readies that were taken and not synced, the first kept
// ones have reached the disk all the same.
func (n *Network) Crash(r *Replica, kept int) {
	for _, rd := range r.Taken[:min(kept, len(r.Taken))] {
		n.write(r, rd)
	}
	r.Taken, r.Group = nil, nil
}

func (n *Network) write(r *Replica, rd raft.Ready) {
	var s Snapshot
	if rd.Install != nil {
		s = n.snapshots[rd.Install.Base]
	}
	r.Disk.Write(rd, s)
}

// Block cuts the way from one replica to another.
func (n *Network) Block(from, to raft.ReplicaID) { n.blocked[[2]raft.ReplicaID{from, to}] = true }

// Blocked reports whether the way from one replica to another is cut.
func (n *Network) Blocked(from, to raft.ReplicaID) bool {
	return n.blocked[[2]raft.ReplicaID{from, to}]
}

// Heal opens all ways.
func (n *Network) Heal() { clear(n.blocked) }

// Take does the duties of r's owner for one Ready, except the sync.
func (n *Network) Take(r *Replica) {
	rd := r.Group.Ready()
	n.Check.Ready(r, &rd)
	if r.Fenced {
		n.Check.fenced(r, &rd)
	}
	if rd.Role != raft.RoleLeader {
		r.outgoing = -1
	}
	st := r.Group.Status()
	if st.Term != r.term || rd.Lead != r.lead || rd.Role != r.role {
		r.term, r.lead, r.role = st.Term, rd.Lead, rd.Role
		n.say("%d: %s in term %d, leader %d", r.ID, rd.Role, st.Term, rd.Lead)
	}
	if rd.Install != nil {
		r.Machine = n.snapshots[rd.Install.Base]
		n.say("%d: ready %d installs the snapshot of %s", r.ID, rd.Number, rd.Install.Base)
	}
	if len(rd.Entries) > 0 {
		n.say("%d: ready %d writes %s", r.ID, rd.Number, entries(rd.Entries))
	}
	if n.trace != nil {
		if m := words(st.Membership); m != r.members {
			r.members = m
			n.say("%d: members are %s", r.ID, m)
		}
	}
	r.Taken = append(r.Taken, rd)
	n.send(r, rd.Messages)
	if len(rd.Committed) > 0 {
		n.say("%d: applies %s", r.ID, entries(rd.Committed))
		for _, e := range rd.Committed {
			r.Machine = r.Machine.apply(e)
			n.Check.Applied(r)
		}
		r.Group.Applied(r.Machine.Base.Index)
		n.make(r.Machine.Membership)
	}
	for _, read := range rd.Reads {
		n.say("%d: read %d may run at %d", r.ID, read.Number, read.Index)
	}
	for _, number := range rd.ReadsLost {
		n.say("%d: read %d is lost", r.ID, number)
	}
	r.Reads = append(r.Reads, rd.Reads...)
	r.ReadsLost = append(r.ReadsLost, rd.ReadsLost...)
	for _, wanted := range rd.Snapshots {
		n.sendSnapshot(r, wanted.To, st.Term)
	}
}

// sendSnapshot sends r's newest snapshot, in one message for all its bytes.
func (n *Network) sendSnapshot(r *Replica, to raft.ReplicaID, term uint64) {
	s := r.Disk.Snapshot
	if known, ok := n.snapshots[s.Base]; ok && known.Digest != s.Digest {
		n.Check.broken("I10: replica %d has another snapshot of %s than was seen before", r.ID, s.Base)
	}
	n.snapshots[s.Base] = s
	install := s.Install
	n.Flying = append(n.Flying, raft.Message{Type: raft.MsgSnapshot, From: r.ID, To: to, Term: term, Log: s.Base, Install: &install})
}

// Sync syncs the first k Readies that r has taken.
func (n *Network) Sync(r *Replica, k int) {
	k = min(k, len(r.Taken))
	if k == 0 {
		return
	}
	done := r.Taken[:k]
	r.Taken = r.Taken[k:]
	for _, rd := range done {
		n.write(r, rd)
	}
	for _, rd := range done {
		n.send(r, rd.AfterSync)
	}
	r.Group.Synced(done[k-1].Number)
}

// Compact makes r take a snapshot at index, which it has applied.
func (n *Network) Compact(r *Replica, index uint64) {
	s := r.Disk.Compact(index)
	r.Group.Compact(s.Base, s.Membership)
	n.Check.Compacted(r)
}

func (n *Network) send(r *Replica, messages []raft.Message) {
	for _, m := range messages {
		if m.Fetch != 0 {
			// The disk is asked at once, so the log can't have changed since.
			lo, base := m.Log.Index+1, r.Disk.Snapshot.Base.Index
			if lo <= base {
				continue // compacted meanwhile
			}
			m.Entries = r.Disk.Entries[lo-base-1 : min(m.Fetch, lo+2)-base]
			m.Fetch = 0
		}
		if m.From != r.ID {
			panic(fmt.Sprintf("replica %d sends as %d", r.ID, m.From))
		}
		n.Flying = append(n.Flying, m)
	}
}

// Deliver hands over the i-th message in flight, as Hand does.
func (n *Network) Deliver(i int) bool {
	m := n.Flying[i]
	n.Flying = append(n.Flying[:i:i], n.Flying[i+1:]...)
	return n.Hand(m)
}

// Drop loses the i-th message in flight.
func (n *Network) Drop(i int) {
	n.lost(n.Flying[i])
	n.Flying = append(n.Flying[:i:i], n.Flying[i+1:]...)
}

// DropAll loses all messages in flight.
func (n *Network) DropAll() {
	for len(n.Flying) > 0 {
		n.Drop(len(n.Flying) - 1)
	}
}

// Hand hands over a message now, unless its way is cut or its replica down. It reports
// whether the replica has taken it.
func (n *Network) Hand(m raft.Message) (taken bool) {
	if int(m.To) > len(n.Replicas) || n.Blocked(m.From, m.To) || n.Replicas[m.To-1].Group == nil {
		n.say("%s (lost)", &told{m})
		n.lost(m)
		return false
	}
	n.say("%s", &told{m})
	to := n.Replicas[m.To-1]
	calls := m.Type == raft.MsgPreVote && m.Reject && to.Fenced && !m.Log.NewerOrEqual(to.Group.Status().Last)
	err := to.Group.Step(m)
	to.bearing.called = to.bearing.called || calls && err == nil
	if err != nil {
		n.say("%d: %v", m.To, err)
		n.Check.Refused(m, err)
	}
	if g := n.sender(m); g != nil {
		g.SnapshotArrived(m.To, m.Log)
	}
	return err == nil
}

// lost tells the sender of a snapshot that it did not arrive.
func (n *Network) lost(m raft.Message) {
	if g := n.sender(m); g != nil {
		g.SnapshotLost(m.To)
	}
}

// sender returns the group that waits to hear of a snapshot's arrival, or nil.
func (n *Network) sender(m raft.Message) *raft.Group {
	if m.Type != raft.MsgSnapshot || int(m.From) > len(n.Replicas) {
		return nil
	}
	return n.Replicas[m.From-1].Group
}

// Run does all that is due, in the order in which it happens, until nothing is left to
// do without a tick.
func (n *Network) Run() {
	for {
		for i := 0; i < len(n.Replicas); i++ {
			r := n.Replicas[i]
			for r.Group != nil && (r.Group.HasReady() || !r.Hold && len(r.Taken) > 0) {
				if r.Group.HasReady() {
					n.Take(r)
				}
				if !r.Hold {
					n.Sync(r, len(r.Taken))
				}
			}
		}
		if len(n.Flying) == 0 {
			return
		}
		n.Deliver(0)
	}
}
