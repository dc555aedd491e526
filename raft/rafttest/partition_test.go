package rafttest

import (
	"fmt"
	"testing"
	"time"

	"muster/raft"
)

// Some ways are cut and stay cut, in one direction or both. Whatever the shape,
// nothing that was promised may break; and where some replica hears, and is
// heard by, enough others to be a majority with them, writes must go on, after
// at most three changes of the leader. What one doubts is that replicas which
// hear only part of the group unseat each other for ever, or that a leader
// which can do nothing keeps the others loyal.
func TestDirectedLinksOfThree(t *testing.T) {
	links := [][2]raft.ReplicaID{{1, 2}, {1, 3}, {2, 1}, {2, 3}, {3, 1}, {3, 2}}
	most := 0
	for set := range 1 << len(links) {
		for lead := raft.ReplicaID(1); lead <= 3; lead++ {
			name := fmt.Sprintf("links %06b, leader %d", set, lead)
			n := cutAfterStart(t, name, 3, lead, func(from, to raft.ReplicaID) bool {
				for i, l := range links {
					if l == [2]raft.ReplicaID{from, to} {
						return set>>i&1 == 0
					}
				}
				return false
			})
			most = max(most, n)
		}
	}
	t.Logf("at most %d changes of the leader", most)
}

func TestSplitsOfFive(t *testing.T) {
	most := 0
	for side := range 16 { // the other 16 are the same seen from the other side
		for lead := raft.ReplicaID(1); lead <= 5; lead++ {
			name := fmt.Sprintf("sides %05b, leader %d", side, lead)
			most = max(most, cutAfterStart(t, name, 5, lead, func(a, b raft.ReplicaID) bool { return side>>(a-1)&1 != side>>(b-1)&1 }))
		}
	}
	t.Logf("at most %d changes of the leader", most)
}

// The partial partitions of five that have brought clusters down: all but one
// replica hear only that one, a ring, a chain, two stars that share a link.
func TestShapesOfFive(t *testing.T) {
	for name, links := range map[string][][2]raft.ReplicaID{
		"star":  {{1, 3}, {2, 3}, {4, 3}, {5, 3}},
		"ring":  {{1, 2}, {2, 3}, {3, 4}, {4, 5}, {5, 1}},
		"chain": {{1, 2}, {2, 3}, {3, 4}, {4, 5}},
		"stars": {{1, 2}, {2, 3}, {2, 4}, {4, 5}},
	} {
		for lead := raft.ReplicaID(1); lead <= 5; lead++ {
			n := cutAfterStart(t, fmt.Sprintf("%s, leader %d", name, lead), 5, lead, func(a, b raft.ReplicaID) bool {
				for _, l := range links {
					if l == [2]raft.ReplicaID{a, b} || l == [2]raft.ReplicaID{b, a} {
						return false
					}
				}
				return true
			})
			t.Logf("%s, leader %d: %d changes of the leader", name, lead, n)
		}
	}
}

// cutAfterStart has lead elected and cuts what cut says. Writes are tried all
// the time at whoever leads. It returns how often the leader changed.
func cutAfterStart(t *testing.T, name string, voters int, lead raft.ReplicaID, cut func(from, to raft.ReplicaID) bool) int {
	t.Helper()
	c := newTimed(uint64(lead), voters)
	c.Replicas[lead-1].Group.Campaign()
	c.serve(c.Replicas[lead-1])
	c.until(time.Second, func() bool { return c.Check.Commit > 0 })
	reaches := 0
	for a := range c.Replicas {
		both := 0
		for b := range c.Replicas {
			from, to := raft.ReplicaID(a+1), raft.ReplicaID(b+1)
			if a != b && cut(from, to) {
				c.Block(from, to)
			}
			if a == b || !cut(from, to) && !cut(to, from) {
				both++
			}
		}
		reaches = max(reaches, both)
	}
	changes, commit, leader := 0, uint64(0), lead
	for step := range 300 { // 15 s
		c.until(tickTime, func() bool { return false })
		for _, r := range c.Replicas {
			if st := r.Group.Status(); st.Role == raft.RoleLeader {
				_, _ = r.Group.Propose(0, []raft.Entry{raft.NewEntry(raft.EntryNormal, []byte("x"))})
				c.serve(r)
				if newest := c.leads(0).Group.Status().Term; st.Term >= newest && r.ID != leader {
					leader = r.ID
					changes++
				}
			}
		}
		if step == 200 {
			commit = c.Check.Commit
		}
	}
	for _, what := range c.Check.Broken {
		t.Errorf("%s: %s", name, what)
	}
	if 2*reaches > voters {
		if after := c.Check.Commit; after < commit+50 {
			t.Errorf("%s: %d writes are committed in the last 5 s, want at least 50", name, after-commit)
		}
		if changes > 3 {
			t.Errorf("%s: the leader changes %d times", name, changes)
		}
	}
	return changes
}
