package wire

import (
	"fmt"
	"strings"

	"muster/raft"
)

// Limits of a [CheckAnswer], beside those of a frame. What exceeds them is left out, and
// the answer says so: see [CheckAnswer.Fit].
const (
	// CheckReplicasMax bounds the replicas of an answer, over all groups. At 6 elements each
	// they leave room for a row of each group, and for the parts, within ElementsMax.
	CheckReplicasMax = 1 << 16
	// CheckPartsMax bounds the parts that an answer names, over all replicas.
	CheckPartsMax = 1 << 15
	// CheckWhyMax bounds the bytes of a Why: all groups' together fit into a frame.
	CheckWhyMax = 512
)

// Check asks a node to compare the replicas of groups that it leads, now: [[group …], act, trust].
// Each node answers for its own groups, so a whole picture takes the answers of all nodes.
type Check struct {
	Groups []raft.GroupID // ascending; none: all that the node leads
	// Act: replicas that differ are fenced and rebuilt, as those that an audit of the
	// cluster's own finds. Without it they are only reported.
	Act bool
	// Trust: nothing is compared. A person says that in each of Groups, which must be named,
	// the replica of the asked node is the right one, where nobody else can tell.
	Trust bool
}

func (m *Check) fields(f *fields) {
	f.exactly(3, func() {
		list(f, "groups", &m.Groups, 1, func(f *fields, g *raft.GroupID) { number(f, "group", g) })
		f.flag("act", &m.Act)
		f.flag("trust", &m.Trust)
	})
}

// Append appends the body.
func (m *Check) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *Check) Read(body []byte) error {
	if err := readFields(body, m); err != nil {
		return err
	}
	for i, g := range m.Groups {
		if g > raft.GroupMax {
			return fmt.Errorf("field groups: %d; want %d at most", g, raft.GroupMax)
		}
		if i > 0 && g <= m.Groups[i-1] {
			return fmt.Errorf("field groups: %d after %d; want them ascending", g, m.Groups[i-1])
		}
	}
	switch {
	case m.Trust && len(m.Groups) == 0:
		return fmt.Errorf("field groups: none, with trust; want those whose replica is right")
	case m.Trust && m.Act:
		return fmt.Errorf("field act: with trust; want one of them")
	}
	return nil
}

// CheckAnswer answers a [Check], for the groups among those asked for that the node leads, and for
// those without a leader of which it has a replica that waits for a person's word:
//
//	[[[group, incarnation, term, [term, index], why, [[replica, node, state, [part …], more] …]] …]]
//
// With Trust it has a row for each group that was named; where Why is empty, the word was taken.
type CheckAnswer struct{ Groups []CheckedGroup }

// CheckedGroup is what the leader of a group found out about its replicas; or, where Term is 0,
// what a node that does not lead knows of the one that it has.
type CheckedGroup struct {
	Group       raft.GroupID
	Incarnation raft.Incarnation
	Term        uint64     // in which the node leads; 0: it does not
	At          raft.LogID // of the entry at which the replicas were compared; zero: they were not, and Why says why
	// Why nothing, or not everything, was compared; or it is empty. At most CheckWhyMax bytes.
	Why      string
	Replicas []CheckedReplica // of the membership at the entry: voters and learners; in term 0, the node's own
}

// CheckedReplica is one replica of a group, as its leader judges it.
type CheckedReplica struct {
	Replica raft.ReplicaID
	Node    raft.NodeID
	State   CheckedState
	Parts   []uint32 // that differ: the first AuditPartsMax of them, ascending
	// PartsMore is how many further parts differ.
	PartsMore uint64
}

// CheckedState is what the leader of a group knows of a replica's state. Numbers are for ever.
type CheckedState uint8

const (
	CheckedAgrees    CheckedState = 1 // it has the state that is right, or that all have who reported
	CheckedDiffers   CheckedState = 2 // it has another one than what is right, which mostly a majority of the voters has
	CheckedFenced    CheckedState = 3 // it was found wrong before, and is not rebuilt yet
	CheckedSilent    CheckedState = 4 // it did not report in time
	CheckedUndecided CheckedState = 5 // it reported, and nobody can tell which state is right; or it was fenced for that
	checkedEnd       CheckedState = 6
)

func (s CheckedState) String() string {
	names := [checkedEnd]string{CheckedAgrees: "agrees", CheckedDiffers: "differs", CheckedFenced: "fenced", CheckedSilent: "silent", CheckedUndecided: "undecided"}
	if s >= checkedEnd || names[s] == "" {
		return fmt.Sprintf("state %d", uint8(s))
	}
	return names[s]
}

func (m *CheckAnswer) fields(f *fields) {
	f.atLeast(1, func() {
		list(f, "groups", &m.Groups, 9, checkedGroup)
	})
}

func checkedGroup(f *fields, g *CheckedGroup) {
	f.atLeast(6, func() {
		number(f, "group", &g.Group)
		number(f, "incarnation", &g.Incarnation)
		number(f, "term", &g.Term)
		logID(f, "at", &g.At)
		f.text("why", &g.Why)
		list(f, "replicas", &g.Replicas, 6, func(f *fields, r *CheckedReplica) {
			f.atLeast(5, func() {
				number(f, "replica", &r.Replica)
				number(f, "node", &r.Node)
				number(f, "state", &r.State)
				list(f, "parts", &r.Parts, 1, auditPart)
				number(f, "more", &r.PartsMore)
			})
		})
	})
}

// Fit takes out of the answer what is above the limits: parts, which are then counted as
// further ones, and the replicas of whole groups, whose Why then says so.
func (m *CheckAnswer) Fit() {
	replicas, parts := 0, 0
	for i := range m.Groups {
		g := &m.Groups[i]
		if replicas+len(g.Replicas) > CheckReplicasMax {
			g.At, g.Replicas = raft.LogID{}, nil
			g.Why = fmt.Sprintf("the answer has no room for more than %d replicas: check this group alone", CheckReplicasMax)
		}
		if len(g.Why) > CheckWhyMax {
			g.Why = strings.ToValidUTF8(g.Why[:CheckWhyMax], "")
		}
		replicas += len(g.Replicas)
		for j := range g.Replicas {
			r := &g.Replicas[j]
			if n := min(AuditPartsMax, CheckPartsMax-parts); n < len(r.Parts) {
				r.PartsMore += uint64(len(r.Parts) - n)
				r.Parts = r.Parts[:n]
			}
			parts += len(r.Parts)
		}
	}
}

// Append appends the body.
func (m *CheckAnswer) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *CheckAnswer) Read(body []byte) error {
	if err := readFields(body, m); err != nil {
		return err
	}
	replicas, parts := 0, 0
	for i := range m.Groups {
		g := &m.Groups[i]
		if g.Group > raft.GroupMax {
			return fmt.Errorf("field group: %d; want %d at most", g.Group, raft.GroupMax)
		}
		if len(g.Why) > CheckWhyMax {
			return fmt.Errorf("group %d: field why: %d bytes; want %d at most", g.Group, len(g.Why), CheckWhyMax)
		}
		replicas += len(g.Replicas)
		for j := range g.Replicas {
			if err := partsInOrder(g.Replicas[j].Parts); err != nil {
				return fmt.Errorf("group %d: replica %d: %w", g.Group, g.Replicas[j].Replica, err)
			}
			parts += len(g.Replicas[j].Parts)
		}
	}
	if replicas > CheckReplicasMax || parts > CheckPartsMax {
		return fmt.Errorf("%d replicas, %d parts; want %d and %d at most", replicas, parts, CheckReplicasMax, CheckPartsMax)
	}
	return nil
}
