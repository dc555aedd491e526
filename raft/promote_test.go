package raft

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// ackAll has everybody acknowledge the whole log, and the leader apply it, twice: what
// the first commit brought is committed too.
func ackAll(t testing.TB, g *Group) {
	t.Helper()
	for range 2 {
		g.Synced(g.Ready().Number)
		st := g.Status()
		for _, p := range st.Progress {
			ack(t, g, p.Replica, st.Last.Index)
		}
		rd := g.Ready()
		g.Synced(rd.Number)
		if n := len(rd.Committed); n > 0 {
			g.Applied(rd.Committed[n-1].ID.Index)
		}
	}
}

// The name of a membership must say the same to every leader: whoever asks for a change
// reads it at one and asks another. After a restart the log may begin after the entry
// that brought the membership, and of the founding there is no entry.
func TestMembershipIsNamed(t *testing.T) {
	named := func(g *Group, when string, at LogID, settled bool) {
		t.Helper()
		if st := g.Status(); st.MembershipAt != at || st.Settled != settled {
			t.Errorf("%s: the membership is called %s, settled %t, want %s, %t", when, st.MembershipAt, st.Settled, at, settled)
		}
	}
	g := newGroup(t, Config{Self: 4}, Restored{})
	named(g, "a replica just made", LogID{}, false)
	founding := Membership{Voters: voters(1, 2, 3), Next: 4}
	named(newGroup(t, Config{Self: 3}, Restored{Membership: founding}), "the founding", foundingAt, true)
	base := LogID{7, 20}
	named(newGroup(t, Config{Self: 3}, Restored{Membership: founding, Base: base, Last: base, Applied: 20, State: HardState{Term: 7}}), "a log that begins later", base, true)

	step(t, g, Message{Type: MsgSnapshot, From: 1, To: 4, Term: 7, Log: base, Install: &Install{Base: base, Membership: Membership{Voters: voters(1, 2, 3), Learners: []Member{{4, 9, GoalCopy}}, Next: 5}}})
	named(g, "after a snapshot", base, true)
	joint := SealedEntry(0, LogID{7, 21}, 1, EntryMembership, Membership{Voters: voters(1, 2), Outgoing: voters(1, 2, 3), Learners: []Member{{4, 9, GoalCopy}}, Next: 5}.Append(nil))
	step(t, g, Message{Type: MsgAppend, From: 1, To: 4, Term: 7, Log: base, Commit: 20, Entries: []Entry{joint}})
	named(g, "not committed", joint.ID, false)
	step(t, g, Message{Type: MsgHeartbeat, From: 1, To: 4, Term: 7, Commit: 21})
	named(g, "committed and joint", joint.ID, false)
	left := SealedEntry(0, LogID{7, 22}, 1, EntryMembership, Membership{Voters: voters(1, 2), Learners: []Member{{4, 9, GoalCopy}}, Next: 5}.Append(nil))
	step(t, g, Message{Type: MsgAppend, From: 1, To: 4, Term: 7, Log: joint.ID, Commit: 22, Entries: []Entry{left}})
	named(g, "left", left.ID, true)

	// The membership of entry 3 is called 3 here, and 8 by a leader whose log begins
	// after that: a change that was made for either can be made. One for what was
	// before, or for what may never be, can't.
	lead := elected(t, Config{}, 3)
	propose := func(n int) {
		if _, err := lead.Propose(1, proposal(n, 1)); err != nil {
			t.Fatal(err)
		}
	}
	propose(1)
	added, err := lead.Change(Change{Add: []NewMember{{Node: 9, Goal: GoalCopy}}})
	if err != nil || added.At.Index != 3 {
		t.Fatalf("got %+v, %v", added, err)
	}
	if _, err := lead.Change(Change{After: 1, Remove: []ReplicaID{2}}); !errors.Is(err, ErrChanging) {
		t.Errorf("while a change is under way: %v, want %v", err, ErrChanging)
	}
	propose(5)
	ackAll(t, lead)
	for after, want := range map[uint64]error{1: ErrStale, 2: ErrStale, 3: nil, 8: nil, 9: ErrStale} {
		_, err := lead.Change(Change{After: after, Remove: []ReplicaID{77}})
		if want == nil {
			want = ErrChange // the next that is wrong with it
		}
		if !errors.Is(err, want) {
			t.Errorf("made for %d, with that of 3 in force and 8 committed: %v, want %v", after, err, want)
		}
	}
}

// What becomes of each kind of replica by one change, and that old voters must agree
// whenever the voters are others, and only then.
func TestChangeApplied(t *testing.T) {
	copies := func(ids ...ReplicaID) (list []Member) {
		for _, v := range voters(ids...) {
			list = append(list, Member{v.Replica, v.Node, GoalCopy})
		}
		return list
	}
	old := Membership{Voters: voters(1, 2, 4), Learners: slices.Concat(copies(3), voters(5)), Next: 6}
	added := Member{6, 900, GoalCopy}
	for _, c := range []struct {
		name string
		c    Change
		want Membership
	}{
		{"a copy votes", Change{Promote: []ReplicaID{3}}, Membership{Voters: voters(1, 2, 3, 4), Outgoing: old.Voters, Learners: voters(5), Next: 6}},
		{"one that would by itself votes", Change{Promote: []ReplicaID{5}}, Membership{Voters: voters(1, 2, 4, 5), Outgoing: old.Voters, Learners: copies(3), Next: 6}},
		{"a voter becomes a copy", Change{Demote: []ReplicaID{2}}, Membership{Voters: voters(1, 4), Outgoing: old.Voters, Learners: slices.Concat(copies(2, 3), voters(5)), Next: 6}},
		{"two change places", Change{Promote: []ReplicaID{3}, Demote: []ReplicaID{1}}, Membership{Voters: voters(2, 3, 4), Outgoing: old.Voters, Learners: slices.Concat(copies(1), voters(5)), Next: 6}},
		{"one is replaced", Change{Promote: []ReplicaID{5}, Remove: []ReplicaID{1}}, Membership{Voters: voters(2, 4, 5), Outgoing: old.Voters, Learners: copies(3), Next: 6}},
		{"all at once", Change{Add: []NewMember{{900, GoalCopy}}, Promote: []ReplicaID{3}, Demote: []ReplicaID{4}, Remove: []ReplicaID{1, 5}},
			Membership{Voters: voters(2, 3), Outgoing: old.Voters, Learners: slices.Concat(copies(4), []Member{added}), Next: 7}},
		{"learners come and go", Change{Add: []NewMember{{900, GoalCopy}}, Remove: []ReplicaID{3}}, Membership{Voters: old.Voters, Learners: slices.Concat(voters(5), []Member{added}), Next: 7}},
	} {
		before := string(old.Append(nil))
		got, err := c.c.apply(&old)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %+v, %v, want %+v", c.name, got, err, c.want)
		}
		if string(old.Append(nil)) != before {
			t.Errorf("%s: the membership before became %+v", c.name, old)
		}
		if err := old.follows(&got); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// A learner that is asked to vote must be able to at once, or the group's majority counts
// on one that is not there. Whatever it lacks is refused, and said.
func TestLaggingLearnerIsNotPromoted(t *testing.T) {
	for _, c := range []struct {
		name string
		lag  func(*Group, *progress)
		want error
	}{
		{"it has all", func(*Group, *progress) {}, nil},
		{"its log is looked for", func(_ *Group, p *progress) { p.state = ProgressProbe }, ErrLags},
		{"it needs a snapshot", func(_ *Group, p *progress) { p.state = ProgressSnapshot }, ErrLags},
		{"not all was sent", func(_ *Group, p *progress) { p.next-- }, ErrLags},
		{"much is under way", func(_ *Group, p *progress) { p.inflightBytes = 1 + AppendBytesMaxDefault }, ErrLags},
		{"what it lacks is gone here", func(g *Group, p *progress) { g.replica.log.base.Index = p.match + 1 }, ErrLags},
		{"it is not heard of", func(g *Group, p *progress) { p.heard = g.replica.ticks - uint64(g.replica.config.ElectionTicks) }, ErrLags},
	} {
		g := elected(t, Config{}, 3)
		for range ElectionTicksDefault {
			g.replica.ticks++
		}
		for i := range g.replica.leading.followers.list {
			g.replica.leading.followers.list[i].heard = g.replica.ticks
		}
		if _, err := g.Change(Change{Add: []NewMember{{Node: 9, Goal: GoalCopy}}}); err != nil {
			t.Fatal(err)
		}
		ackAll(t, g)
		p := g.replica.leading.followers.of(4)
		c.lag(g, p)
		ch := Change{Promote: []ReplicaID{4}, Remove: []ReplicaID{2}}
		if got := g.Status().Progress[2]; got.Replica != 4 || got.CaughtUp != (c.want == nil) {
			t.Errorf("%s: the status says %+v", c.name, got)
		}
		last := g.Status().Last
		_, err := g.Change(ch)
		if !errors.Is(err, c.want) || c.want != nil && !strings.Contains(err.Error(), "replica 4 has the log up to") {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		if grew := g.Status().Last != last; grew != (c.want == nil) {
			t.Errorf("%s: the log went from %s to %s", c.name, last, g.Status().Last)
		}
	}
}
