package overview

import (
	"os"
	"slices"
	"strings"
	"testing"

	"muster/raft"
	"muster/repl/wire"
)

// One thing that two nodes and the doctor tell of must be one finding, in its place, by its kind: the words are for people,
// and another release has others. A node of an older build tells no kinds and is understood by its words, so that a cluster
// in an upgrade has the same verdict whichever node is believed.
func TestProblemsAreKnownByTheirKinds(t *testing.T) {
	older := []wire.Problem{
		{What: "node n2 (10.0.0.2:4166) is dead, last heard of 3s ago: nothing listens at its address", Remedy: RemedyStart},
		{What: "node n3 (10.0.0.3:4166) is dead, last heard of 4s ago", Remedy: RemedyStart},
		{What: "groups 0, 3 have no majority of voters alive", Remedy: "bring back the nodes"},
	}
	newer := []wire.Problem{
		{What: "n2 has gone", Remedy: RemedyStart, Kind: wire.ProblemNode, About: 1},
		{What: "n3 has gone", Remedy: RemedyStart, Kind: wire.ProblemNode, About: 2},
		{What: "too few voters of two groups", Remedy: "bring back the nodes", Kind: wire.ProblemMajority, About: wire.SumOf("groups 0, 3")},
	}
	leaders := func(p wire.Problem) []wire.Problem { return []wire.Problem{p} }
	for _, tt := range []struct {
		name     string
		problems []wire.Problem
		harm     func(s *Sample)
		want     []string // findings, by how they begin
	}{
		{"nodes and majorities, by words", older, nil, []string{older[2].What, older[0].What, older[1].What}},
		{"nodes and majorities, by kinds", newer, nil, []string{newer[2].What, newer[0].What, newer[1].What}},
		{"leaders, by words", leaders(wire.Problem{What: "groups 0, 3 have no leader", Remedy: "wait"}), leaderless, []string{"groups 0, 3 have no leader"}},
		{"leaders, by kinds", leaders(wire.Problem{What: "nobody leads two groups", Remedy: "wait", Kind: wire.ProblemLeader, About: wire.SumOf("groups 0, 3")}), leaderless, []string{"nobody leads two groups"}},
		{"a node that is not listed", leaders(wire.Problem{What: "something odd", Remedy: "wait", Kind: wire.ProblemNode, About: 9}), func(*Sample) {}, []string{"something odd"}},
		{"a kind of a later release", leaders(wire.Problem{What: "something new", Remedy: "wait", Kind: 99, About: 7}), func(*Sample) {}, []string{"something new"}},
	} {
		s := sample(0)
		if tt.harm == nil {
			s.Answers[2], s.Answers[3] = &Answer{Err: os.ErrDeadlineExceeded}, &Answer{Err: os.ErrDeadlineExceeded}
			for i := range s.Answers[1].Doctor.Links {
				s.Answers[1].Doctor.Links[i].Connected = false
			}
		} else {
			tt.harm(s)
		}
		a := s.Answers[1].Status
		a.Healthy, a.Problems = false, slices.Clone(tt.problems)
		o := Make(s, Past{})
		var got []string
		for _, f := range o.Findings {
			got = append(got, f.What)
		}
		if !slices.EqualFunc(got, tt.want, strings.HasPrefix) || o.Reason != got[0] {
			t.Errorf("%s: got %q, reason %q; want %q", tt.name, got, o.Reason, tt.want)
		}
	}
}

// leaderless leaves all groups without a leader.
func leaderless(s *Sample) {
	for i := range s.Answers[1].Doctor.Groups {
		s.Answers[1].Doctor.Groups[i].Role = raft.RoleFollower
	}
}
