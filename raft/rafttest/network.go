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

	blocked map[[2]raft.ReplicaID]bool
	starts  uint64
	trace   func(format string, a ...any)
}

// Replica is one member: a process that may be down, and a disk that stays.
type Replica struct {
	ID    raft.ReplicaID
	Group *raft.Group // nil: down
	Disk  Disk
	// Hold keeps Readies from being synced until Sync is called.
	Hold  bool
	Taken []raft.Ready // not synced yet, in order

	Reads     []raft.Read
	ReadsLost []uint64

	term uint64
	lead raft.ReplicaID
	role raft.Role
}

// Disk is what is synced.
type Disk struct {
	State      raft.HardState
	Membership raft.Membership
	Entries    []raft.Entry // from index 1 on
	Applied    uint64       // of the state machine
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
		trace: func(string, ...any) {}}
	for i := range voters + copies {
		n.Replicas = append(n.Replicas, &Replica{ID: raft.ReplicaID(i + 1), Disk: Disk{Membership: Members(voters, copies)}})
	}
	for _, r := range n.Replicas {
		n.Start(r)
	}
	return n
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
	r.term, r.lead, r.role = r.Disk.State.Term, 0, raft.RoleFollower
	r.Taken = nil
	n.Check.Started(r)
}

// Crash ends a replica. Of the Readies that were taken and not synced the
// first kept ones have reached the disk all the same.
func (n *Network) Crash(r *Replica, kept int) {
	for _, rd := range r.Taken[:min(kept, len(r.Taken))] {
		r.Disk.Write(rd)
	}
	r.Taken, r.Group = nil, nil
}

// Block cuts the way from one replica to another; or opens it.
func (n *Network) Block(from, to raft.ReplicaID, blocked bool) {
	n.blocked[[2]raft.ReplicaID{from, to}] = blocked
}

// Heal opens all ways.
func (n *Network) Heal() { clear(n.blocked) }

// Take does the duties of r's owner for one Ready, but for the sync.
func (n *Network) Take(r *Replica) {
	rd := r.Group.Ready()
	n.Check.Ready(r, &rd)
	st := r.Group.Status()
	if st.Term != r.term || rd.Lead != r.lead || rd.Role != r.role {
		r.term, r.lead, r.role = st.Term, rd.Lead, rd.Role
		n.trace("%d: %s in term %d, leader %d", r.ID, rd.Role, st.Term, rd.Lead)
	}
	if len(rd.Entries) > 0 {
		n.trace("%d: ready %d writes %s", r.ID, rd.Number, ids(rd.Entries))
	}
	r.Taken = append(r.Taken, rd)
	n.send(r, rd.Messages)
	if len(rd.Committed) > 0 {
		n.trace("%d: applies %s", r.ID, ids(rd.Committed))
		last := rd.Committed[len(rd.Committed)-1].ID.Index
		r.Group.Applied(last)
	}
	for _, read := range rd.Reads {
		n.trace("%d: read %d may run at %d", r.ID, read.Number, read.Index)
	}
	for _, number := range rd.ReadsLost {
		n.trace("%d: read %d is lost", r.ID, number)
	}
	r.Reads = append(r.Reads, rd.Reads...)
	r.ReadsLost = append(r.ReadsLost, rd.ReadsLost...)
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
		r.Disk.Write(rd)
	}
	for _, rd := range done {
		n.send(r, rd.AfterSync)
	}
	r.Group.Synced(done[k-1].Number)
}

func (n *Network) send(r *Replica, messages []raft.Message) {
	for _, m := range messages {
		if m.Fetch != 0 {
			// The disk is asked at once, so the log can't have changed since.
			m.Entries = r.Disk.Entries[m.Log.Index:min(m.Fetch, m.Log.Index+3)]
			m.Fetch = 0
		}
		if m.From != r.ID {
			panic(fmt.Sprintf("replica %d sends as %d", r.ID, m.From))
		}
		n.Flying = append(n.Flying, m)
	}
}

// Deliver hands over the i-th message in flight.
func (n *Network) Deliver(i int) {
	m := n.Flying[i]
	n.Flying = append(n.Flying[:i:i], n.Flying[i+1:]...)
	n.Hand(m)
}

// Hand hands over a message now, unless its way is cut or its replica down.
func (n *Network) Hand(m raft.Message) {
	to := n.Replicas[m.To-1]
	if n.blocked[[2]raft.ReplicaID{m.From, m.To}] || to.Group == nil {
		n.trace("%s (lost)", describe(m))
		return
	}
	n.trace("%s", describe(m))
	if err := to.Group.Step(m); err != nil {
		n.trace("%d: %v", m.To, err)
		n.Check.Refused(m, err)
	}
}

// Run goes on, in the order in which things happen, until nothing is left to
// do without a tick.
func (n *Network) Run() {
	for {
		for _, r := range n.Replicas {
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

// Write does what a log store does with a Ready.
func (d *Disk) Write(rd raft.Ready) {
	if rd.StateChanged {
		d.State = rd.State
	}
	if len(rd.Entries) > 0 {
		at := int(rd.Entries[0].ID.Index) - 1
		d.Entries = append(d.Entries[:at:at], rd.Entries...)
	}
}

// Restored returns what a log store finds.
func (d *Disk) Restored() raft.Restored {
	r := raft.Restored{State: d.State, Membership: d.Membership, Applied: d.Applied}
	for _, e := range d.Entries {
		if e.ID.Term != r.Last.Term {
			r.Terms = append(r.Terms, raft.TermRun{First: e.ID.Index, Term: e.ID.Term})
		}
		if e.Kind == raft.EntryMembership {
			r.Changes = append(r.Changes, e)
		}
		r.Last, r.Time = e.ID, max(r.Time, e.Time)
	}
	r.Tail = d.Entries[d.Applied:len(d.Entries):len(d.Entries)]
	return r
}
