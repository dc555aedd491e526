package sim

import (
	"testing"

	"muster/raft"
)

// A disk is not hit on which a majority will depend once a learner votes: the
// learner becomes a voter by itself, and the others may then be too few.
func TestLearnersToVoteAreCounted(t *testing.T) {
	m := func(id raft.ReplicaID, goal raft.Goal) raft.Member {
		return raft.Member{Replica: id, Node: raft.NodeID(id), Goal: goal}
	}
	voters := []raft.Member{m(1, raft.GoalVoter), m(2, raft.GoalVoter), m(3, raft.GoalVoter)}
	for _, test := range []struct {
		name string
		goal raft.Goal
		want bool // voters 2 and 3 are enough, whatever comes
	}{{"shall vote", raft.GoalVoter, false}, {"is a copy", raft.GoalCopy, true}} {
		all := true
		for _, next := range toCome(&raft.Membership{Voters: voters, Learners: []raft.Member{m(4, test.goal)}}) {
			all = all && isQuorum(&next, func(o raft.Member) bool { return o.Replica == 2 || o.Replica == 3 })
		}
		if all != test.want {
			t.Errorf("a learner that %s: 2 of 3 voters are always enough: %v, want %v", test.name, all, test.want)
		}
	}
}
