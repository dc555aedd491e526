package wire

import (
	"fmt"

	"muster/raft"
	"muster/shardmap/plan"
)

// TableBytesMax bounds the table of one [TableAnswer], in bytes: what else stands in
// the frame is shorter than a KiB.
const TableBytesMax = FrameMax - 1<<10

// TableAnswer is the whole of the meta group's table, as the answering node has it.
type TableAnswer struct {
	Index  uint64      // of the entry that changed it last
	Leader raft.NodeID // of the meta group, as far as is known; 0: it is not
	// State is the table as a snapshot of the meta group has it (shardmap.ReadTable):
	// in the oldest format that holds it, so that members of an older build read it.
	State []byte // TableBytesMax at most
}

func (m *TableAnswer) fields(f *fields) {
	f.atLeast(3, func() {
		number(f, "index", &m.Index)
		number(f, "leader", &m.Leader)
		f.bin("state", &m.State)
	})
}

// Append appends the body.
func (m *TableAnswer) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *TableAnswer) Read(body []byte) error { return readFields(body, m) }

// ReplicasAnswer is what a node alone knows of replicas: how the groups stand that it
// leads, and which replicas of its own don't count.
type ReplicasAnswer struct {
	Groups []ReportedGroup // it leads them, and has applied an entry of its term; by group
	Bad    []BadReplica    // by group
}

// ReportedGroup is a group as its leader knows it.
type ReportedGroup struct {
	Group       raft.GroupID
	Incarnation raft.Incarnation
	Term        uint64     // in which the sender leads it
	At          raft.LogID // of the entry that brought Membership in force
	// Settled: that entry is committed, and the membership is not joint.
	Settled    bool
	Bytes      uint64            // of its state: what a new replica has to be sent
	Membership []byte            // see raft.ReadMembership
	Progress   []ReportedReplica // of the others, by replica id
}

// ReportedReplica is how far another member of a group is, for its leader.
type ReportedReplica struct {
	Replica  raft.ReplicaID
	CaughtUp bool // as near to the leader as a learner has to be to vote
	Active   bool // heard of within an election timeout
}

// BadReplica is one of the sender's own that does not count. With zeros for group,
// incarnation and replica it stands for any: none can be made on the sender.
type BadReplica struct {
	Group       raft.GroupID
	Incarnation raft.Incarnation
	Replica     raft.ReplicaID
	State       plan.ReplicaState
}

func (m *ReplicasAnswer) fields(f *fields) {
	f.atLeast(2, func() {
		list(f, "groups", &m.Groups, reportedGroupMin, reportedGroup)
		list(f, "bad", &m.Bad, 5, func(f *fields, r *BadReplica) {
			f.atLeast(4, func() {
				number(f, "group", &r.Group)
				number(f, "incarnation", &r.Incarnation)
				number(f, "replica", &r.Replica)
				number(f, "state", &r.State)
			})
		})
	})
}

const reportedGroupMin = 12 // bytes

func reportedGroup(f *fields, g *ReportedGroup) {
	f.atLeast(8, func() {
		number(f, "group", &g.Group)
		number(f, "incarnation", &g.Incarnation)
		number(f, "term", &g.Term)
		f.exactly(2, func() {
			number(f, "at.term", &g.At.Term)
			number(f, "at.index", &g.At.Index)
		})
		f.flag("settled", &g.Settled)
		number(f, "bytes", &g.Bytes)
		f.bin("membership", &g.Membership)
		list(f, "progress", &g.Progress, 4, func(f *fields, r *ReportedReplica) {
			f.atLeast(3, func() {
				number(f, "replica", &r.Replica)
				f.flag("caught_up", &r.CaughtUp)
				f.flag("active", &r.Active)
			})
		})
	})
}

// Append appends the body.
func (m *ReplicasAnswer) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *ReplicasAnswer) Read(body []byte) error { return readFields(body, m) }

// ChangedMax bounds the replicas that one [Change] adds, promotes, demotes or removes,
// each. A group has a handful; the meta group has one on each node.
const ChangedMax = MembersMax

// Change asks the leader of a group to change its membership, as raft.Change says:
//
//	[group, incarnation, after, [[node, goal] …], [promoted …], [demoted …], [removed …]]
type Change struct {
	Group       raft.GroupID
	Incarnation raft.Incarnation
	// After is the index of the entry that brought the membership in force which the
	// change is meant for. If another is in force, nothing changes.
	After   uint64
	Add     []AddedReplica
	Promote []raft.ReplicaID // learners that vote from now on
	Demote  []raft.ReplicaID // voters that are copies from now on
	Remove  []raft.ReplicaID
}

// AddedReplica is a replica to be made, and what it is to become.
type AddedReplica struct {
	Node raft.NodeID
	Goal raft.Goal
}

// Raft is the change, for the group's core.
func (m *Change) Raft() raft.Change {
	c := raft.Change{After: m.After, Promote: m.Promote, Demote: m.Demote, Remove: m.Remove}
	for _, a := range m.Add {
		c.Add = append(c.Add, raft.NewMember{Node: a.Node, Goal: a.Goal})
	}
	return c
}

func (m *Change) fields(f *fields) {
	f.exactly(7, func() {
		number(f, "group", &m.Group)
		number(f, "incarnation", &m.Incarnation)
		number(f, "after", &m.After)
		list(f, "add", &m.Add, 3, func(f *fields, r *AddedReplica) {
			f.exactly(2, func() {
				number(f, "node", &r.Node)
				number(f, "goal", &r.Goal)
			})
		})
		replicas(f, "promote", &m.Promote)
		replicas(f, "demote", &m.Demote)
		replicas(f, "remove", &m.Remove)
	})
}

// replicas is a field of many replica ids.
func replicas(f *fields, name string, v *[]raft.ReplicaID) {
	list(f, name, v, 1, func(f *fields, r *raft.ReplicaID) { number(f, "replica", r) })
}

// Append appends the body.
func (m *Change) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *Change) Read(body []byte) error {
	if err := readFields(body, m); err != nil {
		return err
	}
	if m.Group > raft.GroupMax {
		return fmt.Errorf("field group: %d; want %d at most", m.Group, raft.GroupMax)
	}
	if m.After == 0 {
		return fmt.Errorf("field after: 0; want the index of the membership that the change is meant for")
	}
	parts := [...]struct {
		name string
		n    int
	}{{"add", len(m.Add)}, {"promote", len(m.Promote)}, {"demote", len(m.Demote)}, {"remove", len(m.Remove)}}
	some := false
	for _, p := range parts {
		some = some || p.n > 0
		if p.n > ChangedMax {
			return fmt.Errorf("field %s: %d replicas; want %d at most", p.name, p.n, ChangedMax)
		}
	}
	if !some {
		return fmt.Errorf("fields add, promote, demote and remove: all empty; want a replica in one of them")
	}
	return nil
}

// ChangeAnswer answers a [Change] that the leader has appended to its log. Until that
// entry is committed it may be lost.
type ChangeAnswer struct {
	At raft.LogID // of the entry, which brought the new membership in force
}

func (m *ChangeAnswer) fields(f *fields) {
	f.atLeast(1, func() {
		f.exactly(2, func() {
			number(f, "at.term", &m.At.Term)
			number(f, "at.index", &m.At.Index)
		})
	})
}

// Append appends the body.
func (m *ChangeAnswer) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *ChangeAnswer) Read(body []byte) error { return readFields(body, m) }
