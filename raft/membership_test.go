package raft

import (
	"errors"
	"reflect"
	"slices"
	"testing"
)

func voters(ids ...ReplicaID) (m []Member) {
	for _, id := range ids {
		m = append(m, Member{Replica: id, Node: NodeID(id) * 100, Goal: GoalVoter})
	}
	return m
}

// A membership decides whose word counts. What is read must be what was
// written, and what can't be one must be refused, not counted.
func TestMembership(t *testing.T) {
	copies := []Member{{Replica: 4, Node: 9, Goal: GoalCopy}}
	for _, c := range []struct {
		name string
		m    Membership
		ok   bool
	}{
		{"three voters", Membership{Voters: voters(1, 2, 3), Next: 4}, true},
		{"joint, with a copy", Membership{Voters: voters(1, 2), Outgoing: voters(2, 3), Learners: copies, Next: 5}, true},
		{"an outgoing voter becomes a learner", Membership{Voters: voters(1), Outgoing: voters(1, 4),
			Learners: []Member{{Replica: 4, Node: 400, Goal: GoalCopy}}, Next: 5}, true},
		{"blank, as of a replica just made", Membership{}, true},
		{"a node twice", Membership{Voters: []Member{{1, 7, GoalVoter}, {2, 7, GoalVoter}}, Next: 3}, false},
		{"a node outgoing and incoming", Membership{Voters: voters(1, 2), Outgoing: []Member{{1, 100, GoalVoter}, {3, 200, GoalVoter}}, Next: 4}, false},
		{"one replica on two nodes", Membership{Voters: voters(1), Outgoing: []Member{{1, 7, GoalVoter}}, Next: 2}, false},
		{"no voters", Membership{Learners: copies, Next: 5}, false},
		{"replica 0", Membership{Voters: voters(0, 1), Next: 4}, false},
		{"not sorted", Membership{Voters: voters(2, 1), Next: 4}, false},
		{"twice", Membership{Voters: voters(1, 1), Next: 4}, false},
		{"next is in use", Membership{Voters: voters(1, 2, 3), Next: 3}, false},
		{"voter and learner", Membership{Voters: voters(1, 4), Learners: copies, Next: 5}, false},
		{"a voter that shall be a copy", Membership{Voters: copies, Next: 5}, false},
		{"no goal", Membership{Voters: []Member{{Replica: 1}}, Next: 2}, false},
	} {
		got, err := ReadMembership(c.m.Append(nil))
		if c.ok && (err != nil || !reflect.DeepEqual(got, c.m)) {
			t.Errorf("%s: got %+v, %v, want %+v", c.name, got, err, c.m)
		}
		if !c.ok && !errors.Is(err, ErrMembership) {
			t.Errorf("%s: got %+v, %v, want it refused", c.name, got, err)
		}
	}
}

func TestMembershipBytes(t *testing.T) {
	good := Membership{Voters: voters(1, 2), Next: 3}.Append(nil)
	want := []byte{1, 0, 2, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0,
		1, 0, 0, 0, 0, 0, 0, 0, 100, 0, 0, 0, 0, 0, 0, 0, 1,
		2, 0, 0, 0, 0, 0, 0, 0, 200, 0, 0, 0, 0, 0, 0, 0, 1}
	if !slices.Equal(good, want) {
		t.Errorf("got  %v\nwant %v", good, want)
	}
	for n := range good {
		if _, err := ReadMembership(good[:n]); !errors.Is(err, ErrMembership) {
			t.Errorf("%d of %d bytes are read: %v", n, len(good), err)
		}
	}
	for name, b := range map[string][]byte{
		"a byte too many":       append(slices.Clone(good), 0),
		"version 2":             append([]byte{2}, good[1:]...),
		"65535 of each claimed": {1, 0, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0},
	} {
		if _, err := ReadMembership(b); !errors.Is(err, ErrMembership) {
			t.Errorf("%s is read: %v", name, err)
		}
	}
}

// A membership counts from the moment its entry is in the log, not from its
// commit, and no longer once the entry is truncated. A replica that used the
// old one until the commit could be outvoted by two leaders' quorums.
func TestMembershipInForceAtAppend(t *testing.T) {
	g := newGroup(t, Config{Self: 2}, Restored{Membership: Membership{Voters: voters(1, 2, 3), Next: 4}})
	change := Membership{Voters: voters(1, 2, 4), Outgoing: voters(1, 2, 3), Next: 5}
	e := SealedEntry(0, LogID{1, 2}, 2, EntryMembership, change.Append(nil))
	step(t, g, Message{Type: MsgAppend, From: 1, To: 2, Term: 1, Entries: []Entry{entry(1, 1), e, entry(1, 3)}})
	if got := g.Status().Membership; !reflect.DeepEqual(got, change) {
		t.Errorf("appended: got %+v, want %+v", got, change)
	}
	// It is found again after a restart.
	r := restored(g)
	again := newGroup(t, Config{Self: 2}, r)
	if got := again.Status().Membership; !reflect.DeepEqual(got, change) {
		t.Errorf("restored: got %+v, want %+v", got, change)
	}
	step(t, g, Message{Type: MsgAppend, From: 3, To: 2, Term: 2, Log: LogID{1, 1}, Entries: []Entry{entry(2, 2)}})
	if got := g.Status().Membership; !reflect.DeepEqual(got, r.Membership) {
		t.Errorf("truncated: got %+v, want %+v", got, r.Membership)
	}
	// Committed, it does not come back, and the old one is forgotten.
	e = SealedEntry(0, LogID{2, 3}, 3, EntryMembership, change.Append(nil))
	step(t, g, Message{Type: MsgAppend, From: 3, To: 2, Term: 2, Log: LogID{2, 2}, Commit: 3, Entries: []Entry{e}})
	if n := len(g.replica.members.history); n != 1 {
		t.Errorf("%d memberships are kept after the commit, want 1", n)
	}
}

// The owner is told of each membership that comes into force, and of no other:
// even of one that is in force again because an entry was truncated that this life
// found on disk and never handed out.
func TestReadyTellsOfMembership(t *testing.T) {
	old := Membership{Voters: voters(1, 2, 3), Next: 4}
	change := Membership{Voters: voters(1, 2, 3), Learners: []Member{{Replica: 4, Node: 4, Goal: GoalCopy}}, Next: 5}
	g := newGroup(t, Config{Self: 2}, Restored{
		State: HardState{Term: 4, Commit: 2}, Membership: old, Terms: []TermRun{{1, 1}, {2, 2}, {3, 3}, {4, 4}}, Last: LogID{4, 4},
		Applied: 2, Tail: []Entry{entry(3, 3), membershipEntry(change)}, Changes: []Entry{membershipEntry(change)},
	})
	told := func(what string, want *Membership) {
		t.Helper()
		var got *Membership
		for g.HasReady() {
			rd := g.Ready()
			if rd.Membership != nil {
				got = rd.Membership
			}
			g.Synced(rd.Number)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: told of %+v, want %+v", what, got, want)
		}
	}
	told("restored", nil)
	step(t, g, Message{Type: MsgAppend, From: 1, To: 2, Term: 5, Log: LogID{3, 3}, Entries: []Entry{entry(5, 4)}})
	told("truncated", &old)
	step(t, g, Message{Type: MsgAppend, From: 1, To: 2, Term: 5, Log: LogID{5, 4}, Entries: []Entry{entry(5, 5)}})
	told("other entries", nil)
	e := SealedEntry(0, LogID{5, 6}, 6, EntryMembership, change.Append(nil))
	step(t, g, Message{Type: MsgAppend, From: 1, To: 2, Term: 5, Log: LogID{5, 5}, Entries: []Entry{e}})
	told("appended", &change)
	step(t, g, Message{Type: MsgAppend, From: 1, To: 2, Term: 5, Log: LogID{5, 6}, Commit: 6})
	told("committed", nil)
	step(t, g, Message{Type: MsgSnapshot, From: 1, To: 2, Term: 5, Log: LogID{5, 9}, Install: &Install{Base: LogID{5, 9}, Membership: old, Time: 9}})
	told("installed", &old)
}

// In a joint configuration a majority of both lists elects and commits.
func TestJointElection(t *testing.T) {
	g := newGroup(t, Config{Self: 1}, Restored{Membership: Membership{Voters: voters(1, 4, 5), Outgoing: voters(1, 2, 3), Next: 6}})
	yes := func(typ MessageType, from ReplicaID) {
		step(t, g, Message{Type: typ, From: from, To: 1, Term: 1})
	}
	g.Campaign()
	yes(MsgPreVoteAnswer, 4)
	yes(MsgPreVoteAnswer, 5)
	if role := g.Status().Role; role != RolePreCandidate {
		t.Fatalf("with no word of the outgoing voters it is %s", role)
	}
	yes(MsgPreVoteAnswer, 2)
	g.Synced(g.Ready().Number)
	yes(MsgVoteAnswer, 2)
	yes(MsgVoteAnswer, 3)
	if role := g.Status().Role; role != RoleCandidate {
		t.Fatalf("with no word of the incoming voters it is %s", role)
	}
	yes(MsgVoteAnswer, 4)
	g.Synced(g.Ready().Number)
	ack := func(from ReplicaID) {
		step(t, g, Message{Type: MsgAppendAnswer, From: from, To: 1, Term: 1, Log: LogID{1, 1}})
	}
	ack(2)
	ack(3)
	if c := g.Status().Commit; c != 0 {
		t.Errorf("the outgoing voters alone commit %d", c)
	}
	ack(5)
	if c := g.Status().Commit; c != 1 {
		t.Errorf("both majorities have 1, the commit is %d", c)
	}
}
