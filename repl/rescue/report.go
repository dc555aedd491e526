package rescue

import (
	"fmt"

	"muster/raft"
)

// Report is what one survivor has.
type Report struct {
	Cluster   string `json:"cluster"`
	ClusterID ID     `json:"cluster_id"`
	Node      ID     `json:"node"`
	// Life and Batch say which moment of the directory this is: [Apply] refuses one that
	// has changed since.
	Life  Life   `json:"life"`
	Batch uint64 `json:"batch"` // the last in the log
	// Doubt is why the directory may be of an earlier moment than the node's newest;
	// empty: nothing suggests it.
	Doubt string `json:"doubt,omitempty"`
	// Lives are the newest lives of the directory, oldest first, and Notes what the node
	// had heard of other nodes: together they show a directory of an earlier moment that
	// can't be told where it is. Settled is the number of the newest life in which a doubt
	// ended: what was missing of the lives before it was made good.
	Lives   []LifeLink `json:"lives"`
	Settled uint64     `json:"settled,omitempty"`
	Notes   []Note     `json:"notes"`
	// Unknown is what the log lost of which nobody can tell whose it was. No replica is
	// ever made in such a directory again.
	Unknown string `json:"unknown,omitempty"`

	Groups []GroupReport `json:"groups"` // by id
	// TellsSlots: the groups have what they say of slots. Reports of older builds don't.
	TellsSlots bool `json:"tells_slots,omitempty"`
	// Table is the table as of the end of group 0's log here, in the bytes of its
	// snapshot; none if that can't be read.
	Table []byte `json:"table,omitempty"`
}

// Life is one start of a node.
type Life struct {
	Number uint64 `json:"number"`
	Mark   ID     `json:"mark"`
}

// LifeLink is one life in the chain of a directory.
type LifeLink struct {
	Life
	Last uint64 `json:"last"` // the last batch in the log when the life began
}

// Note is what a node knew of another's lives: the one that it trusted, and how far that
// one's log had come.
type Note struct {
	Node  ID     `json:"node"`
	Life  Life   `json:"life"`
	Batch uint64 `json:"batch"`
}

// older returns why the directory of r is of an earlier moment than a note of its node;
// empty: the note does not show it. The rule is that of hosts (repl/lives.go), but that a
// life which is not in the chain counts as newer, whatever the reason: nobody can ask.
func (r *Report) older(n *Note) string {
	if r.Settled > n.Life.Number {
		return ""
	}
	for i, l := range r.Lives {
		if l.Mark != n.Life.Mark {
			continue
		}
		// What the life after it found is all that was left of it.
		reached := r.Batch
		if i+1 < len(r.Lives) {
			reached = r.Lives[i+1].Last
		}
		if reached < n.Batch {
			return fmt.Sprintf("its log reached batch %d in a life of which it has %d", n.Batch, reached)
		}
		return ""
	}
	return fmt.Sprintf("it had a life %d (mark %s) of which its directory does not know", n.Life.Number, n.Life.Mark)
}

// LogID is a log id within a group.
type LogID struct {
	Term  uint64 `json:"term"`
	Index uint64 `json:"index"`
}

func (id LogID) raft() raft.LogID { return raft.LogID(id) }

// Member is one replica of a group.
type Member struct {
	Replica uint64 `json:"replica"`
	Node    ID     `json:"node"`
}

// Membership lists the replicas of a group, each list by replica id.
type Membership struct {
	Voters   []Member `json:"voters"`
	Outgoing []Member `json:"outgoing,omitempty"` // of a joint configuration
	Learners []Member `json:"learners,omitempty"`
	Next     uint64   `json:"next"` // the next replica id
}

// GroupReport is what a survivor has of one group.
type GroupReport struct {
	Group       raft.GroupID `json:"group"`
	Incarnation uint64       `json:"incarnation"`
	Replica     uint64       `json:"replica"`
	Term        uint64       `json:"term"`   // the newest that the replica promised
	Base        LogID        `json:"base"`   // the log begins after it
	Last        LogID        `json:"last"`   // the log ends with it
	Commit      uint64       `json:"commit"` // known to be committed; more may be
	// Time is the group time at Last, in ns.
	Time uint64 `json:"time"`
	// Membership is that in force at Last, by this log. It has no voters if the replica
	// never heard of any.
	Membership Membership `json:"membership"`
	Keys       int        `json:"keys"` // in the state at Last
	// Slots is what the state at Last says of slots, in order; of one that is in none of
	// the runs it says nothing.
	Slots []SlotRun `json:"slots,omitempty"`
	// Damage is why that state can't be made here; empty: it can, and was.
	Damage string `json:"damage,omitempty"`
	// Fence is why the state of the replica was found to be wrong, by the node itself; empty:
	// it was not, or was rebuilt. The log is right, but the state that a snapshot holds
	// need not be.
	Fence string `json:"fence,omitempty"`
	// Whole, if there is damage, is the last entry in front of it. Then time, membership
	// and keys are those there. Nil: nothing can be read.
	Whole *LogID `json:"whole,omitempty"`
}

// end is where what can be used of the log ends.
func (g *GroupReport) end() raft.LogID {
	if g.Whole != nil {
		return g.Whole.raft()
	}
	return g.Last.raft()
}

// readable reports whether a group can begin anew with what stands in front of the damage.
func (g *GroupReport) readable() bool { return g.Whole != nil && len(g.Membership.Voters) > 0 }

// usable reports whether a group can begin anew with what the survivor has of it.
func (g *GroupReport) usable() bool { return g.Damage == "" && len(g.Membership.Voters) > 0 }

// group returns what the survivor has of a group, or nil.
func (r *Report) group(id raft.GroupID, i uint64) *GroupReport {
	for k := range r.Groups {
		if g := &r.Groups[k]; g.Group == id && g.Incarnation == i {
			return g
		}
	}
	return nil
}

// Encode returns the report's file.
func (r *Report) Encode() ([]byte, error) { return encode(reportKind, r) }

// ReadReport reads what [Report.Encode] wrote. Its errors wrap [ErrFile].
func ReadReport(b []byte) (*Report, error) {
	r := new(Report)
	if err := decode(reportKind, b, r); err != nil {
		return nil, err
	}
	if r.ClusterID == 0 || r.Node == 0 {
		return nil, fmt.Errorf("%w: it names no cluster or no node", ErrFile)
	}
	return r, nil
}

func membershipOf(m *raft.Membership) Membership {
	own := Membership{Voters: membersOf(m.Voters), Outgoing: membersOf(m.Outgoing), Learners: membersOf(m.Learners), Next: uint64(m.Next)}
	return own
}

func membersOf(list []raft.Member) []Member {
	all := make([]Member, 0, len(list))
	for _, m := range list {
		all = append(all, Member{uint64(m.Replica), ID(m.Node)})
	}
	return all
}
