package raft

import (
	"errors"
	"reflect"
	"testing"
)

// An operator's or an owner's mistake must be refused whole, by an error that
// reports whether another try can help, and must leave no trace.
func TestAdministrationRefuses(t *testing.T) {
	change := func(c Change) func(*Group) error {
		return func(g *Group) error { _, err := g.Change(c); return err }
	}
	transfer := func(to ReplicaID) func(*Group) error { return func(g *Group) error { return g.Transfer(to) } }
	silent := func(g *Group) {
		g.replica.ticks += ElectionTicksDefault
		g.replica.leading.followers.of(2).heard = g.replica.ticks
	}
	for _, c := range []struct {
		name   string
		before func(*Group)
		do     func(*Group) error
		want   error
	}{
		{"no change", nil, change(Change{}), ErrChange},
		{"a node twice", nil, change(Change{Add: []NewMember{{9, GoalVoter}, {9, GoalCopy}}}), ErrChange},
		{"a node that is in", nil, change(Change{Add: []NewMember{{200, GoalVoter}}}), ErrChange},
		{"node 0", nil, change(Change{Add: []NewMember{{0, GoalVoter}}}), ErrChange},
		{"no goal", nil, change(Change{Add: []NewMember{{Node: 9}}}), ErrChange},
		{"a stranger removed", nil, change(Change{Remove: []ReplicaID{9}}), ErrChange},
		{"one removed twice", nil, change(Change{Remove: []ReplicaID{2, 2}}), ErrChange},
		{"all removed", nil, change(Change{Remove: []ReplicaID{1, 2, 3}}), ErrChange},
		{"the live one of two removed", silent, change(Change{Remove: []ReplicaID{2}}), ErrNoMajority},
		{"one to vote that does already", nil, change(Change{Promote: []ReplicaID{2}}), ErrChange},
		{"a stranger to vote", nil, change(Change{Promote: []ReplicaID{9}}), ErrChange},
		{"a stranger to vote no more", nil, change(Change{Demote: []ReplicaID{9}}), ErrChange},
		{"one to vote no more and to go", nil, change(Change{Demote: []ReplicaID{2}, Remove: []ReplicaID{2}}), ErrChange},
		{"none left to vote", nil, change(Change{Demote: []ReplicaID{1, 2}, Remove: []ReplicaID{3}}), ErrChange},
		{"the live one of two to vote no more", silent, change(Change{Demote: []ReplicaID{2}}), ErrNoMajority},
		{"made for an entry that is not committed", nil, change(Change{After: 2, Remove: []ReplicaID{3}}), ErrStale},
		{"a transfer to a stranger", nil, transfer(9), ErrTarget},
		{"a transfer to one not heard of", silent, transfer(3), ErrTarget},
		{"a change by a follower", func(g *Group) { g.replica.becomeFollower(5, 0) }, change(Change{Remove: []ReplicaID{2}}), ErrNotLeader},
		{"a transfer by a follower", func(g *Group) { g.replica.becomeFollower(5, 0) }, transfer(2), ErrNotLeader},
	} {
		g := elected(t, Config{}, 3)
		if c.before != nil {
			c.before(g)
		}
		before := g.Status()
		if err := c.do(g); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
		if after := g.Status(); !reflect.DeepEqual(after, before) {
			t.Errorf("%s: it was refused and changed\n%+v to\n%+v", c.name, before, after)
		}
	}
	g := elected(t, Config{}, 3)
	if err := g.Transfer(2); err != nil {
		t.Fatal(err)
	}
	_, proposed := g.Propose(0, proposal(1, 1))
	for _, err := range []error{proposed, g.Transfer(3), change(Change{Remove: []ReplicaID{3}})(g)} {
		if !errors.Is(err, ErrTransferring) {
			t.Errorf("while it hands over: %v, want %v", err, ErrTransferring)
		}
	}
}

// A replica just made knows of nobody: it must wait, not elect itself, and take
// its leader's word for who is a member.
func TestBlankReplica(t *testing.T) {
	founding := Restored{Membership: Membership{Voters: voters(1, 2, 3), Next: 4}}
	if _, err := New(Config{Self: 4}, founding); err == nil {
		t.Error("it was made later, and begins with a membership")
	}
	newGroup(t, Config{Self: 3}, founding)
	g := newGroup(t, Config{Self: 4}, Restored{})
	for range 5 * ElectionTicksDefault {
		g.Tick()
	}
	g.Campaign()
	if g.HasReady() {
		t.Errorf("it knows of no group and does something: %+v", g.Ready())
	}
	m := Membership{Voters: voters(1, 2, 3), Learners: []Member{{4, 9, GoalVoter}}, Next: 5}
	e := SealedEntry(0, LogID{1, 2}, 2, EntryMembership, m.Append(nil))
	step(t, g, Message{Type: MsgAppend, From: 3, To: 4, Term: 7, Entries: []Entry{entry(1, 1), e}})
	if got := g.Status().Membership; !reflect.DeepEqual(got, m) {
		t.Errorf("its log says %+v, it says %+v", m, got)
	}
}

// A client of a leader that hands over to a node that has just died waits for
// nothing. As soon as the owner knows, proposals are taken again; and
// a transfer that is only a wish is given up sooner than one that was asked for.
func TestTransferIsGivenUp(t *testing.T) {
	propose := func(g *Group) error {
		_, err := g.Propose(1, []Entry{NewEntry(EntryNormal, []byte("x"))})
		return err
	}
	t.Run("transferee lost", func(t *testing.T) {
		g := elected(t, Config{}, 3)
		if err := g.Transfer(2); err != nil {
			t.Fatal(err)
		}
		g.TransfereeLost(3)
		if err := propose(g); !errors.Is(err, ErrTransferring) {
			t.Errorf("with another replica lost: %v, want %v", err, ErrTransferring)
		}
		g.TransfereeLost(2)
		if err := propose(g); err != nil {
			t.Errorf("with the transferee lost: %v", err)
		}
	})
	t.Run("a wish", func(t *testing.T) {
		g := elected(t, Config{}, 3)
		g.replica.leading.beginTransfer(2, ElectionTicksDefault/4)
		for range ElectionTicksDefault/4 - 1 {
			g.replica.leading.transferTick()
		}
		if err := propose(g); !errors.Is(err, ErrTransferring) {
			t.Errorf("before its limit: %v, want %v", err, ErrTransferring)
		}
		g.replica.leading.transferTick()
		if err := propose(g); err != nil {
			t.Errorf("at its limit: %v", err)
		}
	})
}

// The owner that asked for a change can tell when it is done, by the id of its entry. It
// is not done when a leader has appended it, nor when its entry is committed while old
// voters still decide or new ones have no log.
func TestChangeStage(t *testing.T) {
	g := elected(t, Config{}, 3)
	stage := func(when string, at LogID, want ChangeStage) {
		t.Helper()
		if got := g.ChangeStage(at); got != want {
			t.Errorf("%s: %s is %s, want %s", when, at, got, want)
		}
	}
	settle := func() {
		rd := g.Ready()
		g.Synced(rd.Number)
		last := g.Status().Last
		for _, p := range g.Status().Progress {
			ack(t, g, p.Replica, last.Index)
		}
		if rd := g.Ready(); len(rd.Committed) > 0 {
			g.Synced(rd.Number)
			g.Applied(rd.Committed[len(rd.Committed)-1].ID.Index)
		}
	}
	joined, err := g.Change(Change{Add: []NewMember{{Node: 9, Goal: GoalVoter}}})
	if err != nil || joined.At != (LogID{1, 2}) || joined.Membership.Next != 5 {
		t.Fatalf("got %+v, %v", joined, err)
	}
	stage("appended", joined.At, ChangePending)
	settle()
	stage("committed", joined.At, ChangePromoting)
	for range 2 * HeartbeatTicksDefault {
		g.Tick() // promotes it
	}
	stage("being promoted", joined.At, ChangePromoting)
	settle()
	stage("its voters are joint", joined.At, ChangeJoint)
	settle()
	stage("it votes", joined.At, ChangeDone)
	left, err := g.Change(Change{Remove: []ReplicaID{2}})
	if err != nil {
		t.Fatal(err)
	}
	settle()
	stage("one is to go", left.At, ChangeJoint)
	settle()
	stage("one has gone", left.At, ChangeDone)
	stage("what was to follow", LogID{1, 99}, ChangePending)

	g.Compact(LogID{1, left.At.Index}, *g.replica.members.committed()) // its leave is the entry after it
	stage("compacted", joined.At, ChangePast)
	stage("of a later term than what is there", LogID{2, 2}, ChangeLost)
}

// A change that a later leader does not have is lost, and known to be as soon as
// anything of a later term is committed, though nothing stands in its place yet.
func TestChangeLost(t *testing.T) {
	g := follower(t) // its log ends with 3.3, committed is 2.2
	change := membershipEntry(Membership{Voters: voters(1, 2, 3), Learners: []Member{{4, 9, GoalVoter}}, Next: 5})
	step(t, g, Message{Type: MsgAppend, From: 1, To: 2, Term: 4, Log: LogID{3, 3}, Entries: []Entry{change}})
	for _, c := range []struct {
		m    Message
		want ChangeStage
	}{
		{Message{Type: MsgHeartbeat, From: 1, Term: 4, Commit: 2}, ChangePending},
		{Message{Type: MsgAppend, From: 3, Term: 5, Log: LogID{2, 2}, Entries: []Entry{entry(5, 3)}}, ChangePending},
		{Message{Type: MsgAppend, From: 3, Term: 5, Log: LogID{5, 3}, Commit: 3}, ChangeLost},
		{Message{Type: MsgAppend, From: 3, Term: 5, Log: LogID{5, 3}, Entries: []Entry{entry(5, 4)}, Commit: 4}, ChangeLost},
	} {
		c.m.To = 2
		step(t, g, c.m)
		if got := g.ChangeStage(LogID{4, 4}); got != c.want {
			t.Errorf("after %+v: %s, want %s", c.m, got, c.want)
		}
	}
}
