package raft

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// Goal is what a learner is to become. A voter's is GoalVoter.
type Goal uint8

const (
	// GoalVoter is promoted once it has caught up.
	GoalVoter Goal = 1
	// GoalCopy holds the log and never votes.
	GoalCopy Goal = 2
)

func (g Goal) String() string {
	switch g {
	case GoalVoter:
		return "voter"
	case GoalCopy:
		return "copy"
	}
	return fmt.Sprintf("goal %d", uint8(g))
}

// Member is one replica of a group and the node that holds it.
type Member struct {
	Replica ReplicaID
	Node    NodeID
	Goal    Goal
}

// Membership lists the replicas of a group, and says which of them vote. Each list
// is sorted by replica id and names a replica once.
type Membership struct {
	// Voters decide by majority.
	Voters []Member
	// Outgoing, if not empty, makes a joint configuration (the paper, section
	// 6): a majority of Outgoing must agree too. Voters may be in both lists.
	Outgoing []Member
	// Learners get all entries and have no vote. None is in Voters; one that
	// is in Outgoing votes there until the joint configuration is left.
	Learners []Member
	// Next is the next replica id to allot. Invariant: larger than any that
	// was ever allotted, so that none is used twice.
	Next ReplicaID
}

// MembersMax bounds each list of a [Membership]: the quorum is counted at
// every acknowledgement, and every member is fed by the leader itself.
const MembersMax = 1024

// A membership is encoded little-endian:
//
//	 0  u8   version, 1
//	 1  u8   zero
//	 2  u16  number of voters
//	 4  u16  number of outgoing voters
//	 6  u16  number of learners
//	 8  u64  next replica id
//	16       voters, outgoing voters, learners; each
//	            0  u64  replica id
//	            8  u64  node id
//	           16  u8   goal: 1 voter, 2 copy
//
// Nothing follows. The log entry or snapshot that holds it has the checksum.
const (
	membershipVersion    = 1
	membershipHeaderSize = 16
	memberSize           = 17
)

// ErrMembership is wrapped by every error about a membership.
var ErrMembership = errors.New("bad membership")

// Append appends the encoded membership to b.
func (m Membership) Append(b []byte) []byte {
	b = append(b, membershipVersion, 0)
	lists := [...][]Member{m.Voters, m.Outgoing, m.Learners}
	for _, l := range lists {
		b = binary.LittleEndian.AppendUint16(b, uint16(len(l)))
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(m.Next))
	for _, l := range lists {
		for _, member := range l {
			b = binary.LittleEndian.AppendUint64(b, uint64(member.Replica))
			b = binary.LittleEndian.AppendUint64(b, uint64(member.Node))
			b = append(b, byte(member.Goal))
		}
	}
	return b
}

// ReadMembership reads what [Membership.Append] wrote, all of b, and checks it.
func ReadMembership(b []byte) (Membership, error) {
	if len(b) < membershipHeaderSize {
		return Membership{}, fmt.Errorf("%w: %d bytes, a header has %d", ErrMembership, len(b), membershipHeaderSize)
	}
	if b[0] != membershipVersion || b[1] != 0 {
		return Membership{}, fmt.Errorf("%w: version %d.%d, this replica reads %d.0", ErrMembership, b[0], b[1], membershipVersion)
	}
	var counts [3]int
	total := 0
	for i := range counts {
		counts[i] = int(binary.LittleEndian.Uint16(b[2+2*i:]))
		total += counts[i]
	}
	if want := membershipHeaderSize + total*memberSize; len(b) != want {
		return Membership{}, fmt.Errorf("%w: %d bytes, %d members need %d", ErrMembership, len(b), total, want)
	}
	m := Membership{Next: ReplicaID(binary.LittleEndian.Uint64(b[8:]))}
	b = b[membershipHeaderSize:]
	for i, list := range [...]*[]Member{&m.Voters, &m.Outgoing, &m.Learners} {
		if counts[i] == 0 {
			continue
		}
		*list = make([]Member, counts[i])
		for j := range *list {
			(*list)[j] = Member{
				Replica: ReplicaID(binary.LittleEndian.Uint64(b)),
				Node:    NodeID(binary.LittleEndian.Uint64(b[8:])),
				Goal:    Goal(b[16]),
			}
			b = b[memberSize:]
		}
	}
	return m, m.Check()
}

// Blank reports whether m is the zero Membership: that of a replica just made, whose
// log will tell. Nothing is counted by it, and no entry carries it.
func (m Membership) Blank() bool {
	return len(m.Voters) == 0 && len(m.Outgoing) == 0 && len(m.Learners) == 0 && m.Next == 0
}

// Check returns what is wrong with m, or nil.
func (m Membership) Check() error {
	if m.Blank() {
		return nil
	}
	if len(m.Voters) == 0 {
		return fmt.Errorf("%w: it has no voters", ErrMembership)
	}
	for _, list := range [...]struct {
		name    string
		members []Member
	}{{"voters", m.Voters}, {"outgoing", m.Outgoing}, {"learners", m.Learners}} {
		if len(list.members) > MembersMax {
			return fmt.Errorf("%w: %d %s, the limit is %d", ErrMembership, len(list.members), list.name, MembersMax)
		}
		for i, member := range list.members {
			switch {
			case member.Replica == 0:
				return fmt.Errorf("%w: replica 0 among the %s", ErrMembership, list.name)
			case i > 0 && list.members[i-1].Replica >= member.Replica:
				return fmt.Errorf("%w: the %s are not sorted at replica %d", ErrMembership, list.name, member.Replica)
			case member.Replica >= m.Next:
				return fmt.Errorf("%w: replica %d among the %s, but the next to allot is %d", ErrMembership, member.Replica, list.name, m.Next)
			case member.Goal != GoalVoter && (member.Goal != GoalCopy || list.name != "learners"):
				return fmt.Errorf("%w: replica %d among the %s has %s", ErrMembership, member.Replica, list.name, member.Goal)
			}
		}
	}
	for _, l := range m.Learners {
		if find(m.Voters, l.Replica) >= 0 {
			return fmt.Errorf("%w: replica %d is voter and learner", ErrMembership, l.Replica)
		}
	}
	return m.checkNodes()
}

// checkNodes refuses a membership in which a node holds two replicas, or a replica
// is on two nodes.
func (m Membership) checkNodes() error {
	all := slices.Collect(m.All())
	slices.SortFunc(all, func(a, b Member) int { return cmp.Or(cmp.Compare(a.Node, b.Node), compare(a.Replica, b.Replica)) })
	for i := 1; i < len(all); i++ {
		if a, b := all[i-1], all[i]; a.Node == b.Node && a.Replica != b.Replica {
			return fmt.Errorf("%w: replicas %d and %d are both on node %s", ErrMembership, a.Replica, b.Replica, a.Node)
		}
	}
	slices.SortFunc(all, func(a, b Member) int { return compare(a.Replica, b.Replica) })
	for i := 1; i < len(all); i++ {
		if a, b := all[i-1], all[i]; a.Replica == b.Replica && a.Node != b.Node {
			return fmt.Errorf("%w: replica %d is on node %s and on node %s", ErrMembership, a.Replica, a.Node, b.Node)
		}
	}
	return nil
}

// Member returns the member of that id, whichever list it is in.
func (m *Membership) Member(id ReplicaID) (Member, bool) {
	for _, list := range [...][]Member{m.Voters, m.Outgoing, m.Learners} {
		if i := find(list, id); i >= 0 {
			return list[i], true
		}
	}
	return Member{}, false
}

// All yields the members: the voters, the outgoing ones, the learners. A replica that
// is in two of the lists comes twice.
func (m *Membership) All() func(yield func(Member) bool) {
	return inTurn(m.Voters, m.Outgoing, m.Learners)
}

// Voting yields those that vote: the voters, then the outgoing ones. A replica that is
// in both lists comes twice.
func (m *Membership) Voting() func(yield func(Member) bool) { return inTurn(m.Voters, m.Outgoing, nil) }

func inTurn(a, b, c []Member) func(yield func(Member) bool) {
	return func(yield func(Member) bool) {
		for _, list := range [...][]Member{a, b, c} {
			for _, member := range list {
				if !yield(member) {
					return
				}
			}
		}
	}
}

// Votes reports whether id is a voter, incoming or outgoing.
func (m Membership) Votes(id ReplicaID) bool {
	return find(m.Voters, id) >= 0 || find(m.Outgoing, id) >= 0
}

// Replicas returns all ids, each once, sorted.
func (m Membership) Replicas() []ReplicaID {
	ids := make([]ReplicaID, 0, len(m.Voters)+len(m.Outgoing)+len(m.Learners))
	for member := range m.All() {
		ids = append(ids, member.Replica)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

func compare(a, b ReplicaID) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// find returns the position of id in a list, or -1. A list has a few members: to look
// at each is faster than to search.
func find(list []Member, id ReplicaID) int {
	for i := range list {
		if list[i].Replica == id {
			return i
		}
	}
	return -1
}

// take takes the member of that id out of a list, and reports whether it was there.
func take(list *[]Member, id ReplicaID) (Member, bool) {
	i := find(*list, id)
	if i < 0 {
		return Member{}, false
	}
	member := (*list)[i]
	*list = slices.Delete(*list, i, i+1)
	return member, true
}

// put puts a member into a list, which stays sorted.
func put(list *[]Member, member Member) {
	i, _ := slices.BinarySearchFunc(*list, member.Replica, func(m Member, id ReplicaID) int { return compare(m.Replica, id) })
	*list = slices.Insert(*list, i, member)
}
