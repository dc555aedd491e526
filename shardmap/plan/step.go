package plan

import (
	"fmt"
	"strings"

	"muster/raft"
	"muster/raft/quorum"
	"muster/shardmap"
)

// Kind says what a step does.
type Kind uint8

const (
	// Add makes learners on the nodes of In: with goal voter, or in the meta group
	// with goal copy. The step is done when they have caught up.
	Add Kind = 1
	// Promote makes voters of the learners of In, and takes the replicas of Out out
	// of the group, in one joint change. In the meta group a voter of Out on a node of
	// the table remains as a copy, unless its promises are lost; see [Stays].
	Promote Kind = 2
	// Remove takes the replicas of Out out of the group, in one joint change, or makes
	// copies of them, as Promote does.
	Remove Kind = 3
	// Prefer makes the node of In the group's preferred leader; the leader of the
	// moment transfers leadership to it.
	Prefer Kind = 4
)

func (k Kind) String() string {
	switch k {
	case Add:
		return "add"
	case Promote:
		return "promote"
	case Remove:
		return "remove"
	case Prefer:
		return "prefer"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Place is a replica: where it is, and which it is.
type Place struct {
	Node    raft.NodeID
	Replica raft.ReplicaID // 0: the step before makes it
	Name    string         // of the node
}

// Quorum counts a group's voters.
type Quorum struct {
	Voters int
	Live   int // voters that answer now
}

// Need returns how many voters have to answer for a decision.
func (q Quorum) Need() int { return quorum.Majority(q.Voters) }

// Spare returns how many live voters may still be lost; below zero the group has
// stopped.
func (q Quorum) Spare() int { return q.Live - q.Need() }

func (q Quorum) String() string {
	return fmt.Sprintf("%d of %d voters, %d live", q.Need(), q.Voters, q.Live)
}

// Step is one thing to do to one group. It stays true while the group's line in the
// table and its voters' health do: see [Recheck].
type Step struct {
	Kind          Kind
	Group         raft.GroupID
	In, Out       []Place
	Bytes         uint64 // that it sends to new replicas
	Why           string // the reason, for a person
	Before, After Quorum
	// Joint counts how many nodes may be lost while a joint change is under way, which
	// wants both majorities. Of other steps it is what Before spares.
	Joint int
}

func (s *Step) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "group %d: ", s.Group)
	switch s.Kind {
	case Add:
		fmt.Fprintf(&b, "add a learner on %s", places(s.In))
	case Promote:
		fmt.Fprintf(&b, "promote %s", places(s.In))
		if len(s.Out) > 0 {
			fmt.Fprintf(&b, " in place of %s", places(s.Out))
		}
	case Remove:
		fmt.Fprintf(&b, "remove %s", places(s.Out))
	case Prefer:
		fmt.Fprintf(&b, "prefer %s as leader", places(s.In))
	}
	fmt.Fprintf(&b, ": %s", s.Why)
	return b.String()
}

// Risk tells a person the quorum before and after, and what one more lost node
// would cost.
func (s *Step) Risk() string {
	what := "quorum " + s.Before.String()
	if s.After != s.Before {
		what += "; then " + s.After.String()
	}
	switch {
	case s.Before.Spare() < 1:
		return what + "; one more lost node stops the group"
	case s.Joint < 1:
		return what + "; one more lost node stops the group while the change lasts"
	case s.After.Spare() < 1:
		return what + "; after it, one more lost node stops the group"
	}
	return what + "; one more lost node stops nothing"
}

func places(p []Place) string {
	names := make([]string, len(p))
	for i := range p {
		names[i] = p[i].Name
	}
	if last := len(names) - 1; last > 0 {
		return strings.Join(names[:last], ", ") + " and " + names[last]
	}
	return strings.Join(names, "")
}

// Stays reports whether a voter that a step of the meta group takes out remains as a
// copy: each node of the table keeps one, which is how it learns what it is to hold. Its
// node may be silent, and then finds out once it is back. Were the replica
// removed and a copy made, the node would know nothing in between.
func Stays(t *shardmap.Table, known *Known, p Place) bool {
	_, member := t.Node(p.Node)
	return member && known.Groups[0].Replicas[p.Replica] != Lost
}

// Problem is what the plan can't do, for a person.
type Problem struct {
	Group  raft.GroupID // 0: the meta group, or all
	What   string
	Remedy string
}

// Remedies of several problems, which others look for.
const (
	RemedyReport = "wait until its leader has reported"
	RemedyAdd    = "add a node"
)

func (p Problem) String() string { return p.What + "; " + p.Remedy }

// Plan is what should be done, and what can't be.
type Plan struct {
	Steps    []Step
	Problems []Problem // by group
	Moves    int       // new replicas that have to be filled, without copies of the meta group
	Bytes    uint64    // that Moves send

	work int // how often it was asked whether a replica may stand on a node
}
