package raft

import (
	"errors"
	"testing"
)

// A fenced voter is to the others one whose timeout never ends (the paper, section
// 5.6): it votes and acknowledges as before, and neither time, nor the word of its
// owner, nor that of its leader makes it stand for election.
func TestFencedVoter(t *testing.T) {
	g := follower(t)
	g.Fence()
	stands := func(when string) {
		t.Helper()
		rd := g.Ready()
		g.Synced(rd.Number)
		for _, m := range append(rd.Messages, rd.AfterSync...) {
			if m.Type == MsgVote || m.Type == MsgTransferVote {
				t.Errorf("%s: it asks for votes: %+v", when, m)
			}
		}
		if st := g.Status(); st.Role != RoleFollower || !st.Fenced {
			t.Errorf("%s: it is %s, fenced %t", when, st.Role, st.Fenced)
		}
	}
	for range 5 * ElectionTicksDefault {
		g.Tick()
	}
	stands("time passes")
	g.Campaign()
	stands("its owner asks for an election")
	g.LeaderLost()
	for range ElectionTicksDefault {
		g.Tick()
	}
	stands("its leader is lost")
	step(t, g, Message{Type: MsgHeartbeat, From: 1, To: 2, Term: 3})
	step(t, g, Message{Type: MsgTimeoutNow, From: 1, To: 2, Term: 3, Log: LogID{3, 3}})
	stands("its leader asks for an election")
	if a := one(t, say(t, g, Message{Type: MsgVote, From: 3, Term: 9, Log: LogID{8, 8}}), MsgVoteAnswer); !a.Reject {
		t.Error("it unseats a leader that it hears")
	}
	for range 2 * ElectionTicksDefault {
		g.Tick()
	}
	if a := one(t, say(t, g, Message{Type: MsgVote, From: 3, Term: 9, Log: LogID{8, 8}}), MsgVoteAnswer); a.Reject {
		t.Error("it does not vote")
	}
	a := one(t, say(t, g, Message{Type: MsgAppend, From: 3, Term: 9, Log: LogID{3, 3}, Entries: []Entry{entry(9, 4)}}), MsgAppendAnswer)
	if a.Reject || a.Log != (LogID{9, 4}) {
		t.Errorf("it does not acknowledge: %+v", a)
	}
	if a := one(t, say(t, g, Message{Type: MsgHeartbeat, From: 3, Term: 9}), MsgHeartbeatAnswer); !a.Reject {
		t.Error("it does not say that it is fenced")
	}
	g.Unfence()
	if a := one(t, say(t, g, Message{Type: MsgHeartbeat, From: 3, Term: 9}), MsgHeartbeatAnswer); a.Reject {
		t.Error("it says that it is fenced after the end of the fence")
	}
	step(t, g, Message{Type: MsgTimeoutNow, From: 3, To: 2, Term: 9, Log: LogID{9, 4}})
	if st := g.Status(); st.Role != RoleCandidate {
		t.Errorf("after the end of the fence it is %s", st.Role)
	}
}

// A candidate that is fenced wants no votes any more, even if they are under way. The
// vote that it gave itself stands.
func TestFencedCandidate(t *testing.T) {
	g := follower(t)
	g.Campaign()
	step(t, g, Message{Type: MsgPreVoteAnswer, From: 1, To: 2, Term: 4})
	g.Synced(g.Ready().Number)
	if st := g.Status(); st.Role != RoleCandidate {
		t.Fatalf("it is %s", st.Role)
	}
	g.Fence()
	step(t, g, Message{Type: MsgVoteAnswer, From: 1, To: 2, Term: 4})
	step(t, g, Message{Type: MsgVoteAnswer, From: 3, To: 2, Term: 4})
	if st := g.Status(); st.Role != RoleFollower || st.Vote != 2 || st.Term != 4 {
		t.Errorf("it is %s in term %d with vote %d", st.Role, st.Term, st.Vote)
	}
}

// A leader that is fenced takes nothing new, asks the voter that has the most to stand
// for election, and follows after an election timeout, even if nobody takes over.
func TestFencedLeader(t *testing.T) {
	for _, alone := range []bool{false, true} {
		n := 3
		if alone {
			n = 1
		}
		g := elected(t, Config{}, n)
		g.Fence()
		if _, err := g.Propose(0, proposal(1, 1)); !errors.Is(err, ErrTransferring) {
			t.Errorf("of %d: it takes a proposal: %v", n, err)
		}
		if _, err := g.Change(Change{Add: []NewMember{{Node: 9, Goal: GoalVoter}}}); !errors.Is(err, ErrTransferring) {
			t.Errorf("of %d: it takes a change: %v", n, err)
		}
		asked := false
		for tick := range ElectionTicksDefault {
			if st := g.Status(); st.Role != RoleLeader {
				t.Fatalf("of %d: it is %s after %d ticks", n, st.Role, tick)
			}
			g.Tick()
			for _, m := range g.Ready().Messages {
				asked = asked || m.Type == MsgTimeoutNow
				if m.Type == MsgHeartbeat {
					step(t, g, Message{Type: MsgHeartbeatAnswer, From: m.To, To: 1, Term: 1})
				}
			}
		}
		if st := g.Status(); st.Role != RoleFollower || asked == alone {
			t.Errorf("of %d: it is %s, asked for an election: %t", n, st.Role, asked)
		}
	}
}

// Leadership does not go to a replica that has said that it is fenced, not even if it
// is preferred, and nobody is waited for that says so later.
func TestNoTransferToTheFenced(t *testing.T) {
	g := elected(t, Config{QuietTicks: 1}, 3)
	fenced := Message{Type: MsgHeartbeatAnswer, From: 2, To: 1, Term: 1, Reject: true}
	if err := g.Transfer(2); err != nil {
		t.Fatal(err)
	}
	step(t, g, fenced)
	if to := g.Transferee(); to != 0 {
		t.Errorf("it waits for replica %d", to)
	}
	if err := g.Transfer(2); !errors.Is(err, ErrTarget) {
		t.Errorf("it hands over to a fenced replica: %v", err)
	}
	if err := g.Transfer(0); err != nil || g.Transferee() != 3 {
		t.Errorf("it hands over to replica %d: %v", g.Transferee(), err)
	}
	g.TransfereeLost(3)
	g.Ready()
	g.Prefer(2)
	for range 4 * ElectionTicksDefault {
		g.Tick()
		rd := g.Ready()
		g.Synced(rd.Number)
		for _, m := range rd.Messages {
			if m.Type == MsgTimeoutNow && m.To == 2 {
				t.Fatal("it asks the fenced one to stand for election")
			}
			if m.Type == MsgHeartbeat {
				step(t, g, Message{Type: MsgHeartbeatAnswer, From: m.To, To: 1, Term: 1, Reject: m.To == 2})
			}
		}
	}
	if !g.Quiet() {
		t.Error("the group does not rest, for want of a preferred leader")
	}
	step(t, g, Message{Type: MsgHeartbeatAnswer, From: 2, To: 1, Term: 1})
	if err := g.Transfer(2); err != nil {
		t.Errorf("it does not hand over after the end of the fence: %v", err)
	}
}

// A fenced replica bears its log if a voter that may lead lacks what is in it: it stands for
// election at its next timeout, once. Any other question leaves it alone: it would
// disturb an election that another one can win, or a leader that there is.
func TestFencedBearsItsLog(t *testing.T) {
	longer := []Entry{entry(3, 4), entry(3, 5)}
	call := Message{Type: MsgPreVote, From: 3, To: 2, Term: 4, Log: LogID{3, 3}, Reject: true}
	with := func(change func(*Message)) Message {
		m := call
		change(&m)
		return m
	}
	for _, c := range []struct {
		name   string
		call   Message
		before func(*Group)
		after  func(*Group)
		stands bool
	}{
		{"a voter that lacks entries", call, nil, nil, true},
		{"one whose log is of an earlier term", with(func(m *Message) { m.Log = LogID{2, 9} }), nil, nil, true},
		{"one that does not call", with(func(m *Message) { m.Reject = false }), nil, nil, false},
		{"one that lacks nothing", with(func(m *Message) { m.Log = LogID{3, 5} }), nil, nil, false},
		{"one with more", with(func(m *Message) { m.Log = LogID{3, 6} }), nil, nil, false},
		{"one of an earlier term", with(func(m *Message) { m.Term = 3 }), nil, nil, false},
		{"a learner", with(func(m *Message) { m.From = 4 }), nil, nil, false},
		{"one that needs a state", with(func(m *Message) { m.Log = LogID{1, 1} }), nil, nil, false},
		{"while a leader is heard", call, func(g *Group) { step(t, g, Message{Type: MsgHeartbeat, From: 1, To: 2, Term: 3}) }, nil, false},
		{"a leader comes", call, nil, func(g *Group) { step(t, g, Message{Type: MsgHeartbeat, From: 1, To: 2, Term: 3}) }, false},
		{"fenced anew", call, nil, func(g *Group) { g.Unfence(); g.Fence() }, false},
		{"short of what it may have acknowledged", call, func(g *Group) { g.Resume(3, LogID{3, 6}) }, nil, false},
	} {
		g := newGroup(t, Config{Self: 2}, Restored{
			State: HardState{Term: 3, Commit: 2}, Membership: Membership{Voters: voters(1, 2, 3), Learners: voters(4), Next: 5},
			Base: LogID{2, 2}, Terms: []TermRun{{3, 3}}, Last: LogID{3, 5}, Applied: 2, Tail: append([]Entry{entry(3, 3)}, longer...),
		})
		g.Fence()
		for range 2 * ElectionTicksDefault { // whom it heard last it hears no more
			g.Tick()
		}
		g.Synced(g.Ready().Number)
		if c.before != nil {
			c.before(g)
		}
		one(t, say(t, g, c.call), MsgPreVoteAnswer)
		if c.after != nil {
			c.after(g)
		}
		asks := 0
		for range 8 * ElectionTicksDefault {
			if g.Tick(); g.Status().Role == RolePreCandidate {
				asks++
			}
			rd := g.Ready()
			g.Synced(rd.Number)
			for _, m := range rd.Messages {
				if m.Type == MsgPreVote && m.Reject {
					t.Errorf("%s: it calls for more itself", c.name)
				}
			}
		}
		if (asks > 0) != c.stands || asks > 2*ElectionTicksDefault {
			t.Errorf("%s: it stands for %d ticks, want it to: %t", c.name, asks, c.stands)
		}
		if r := g.Status().Role; r != RoleFollower {
			t.Errorf("%s: it ends as %s", c.name, r)
		}
	}
}

// A fenced replica that was elected to bear its log takes nothing, gives the others what it has,
// and hands over to the one that is not fenced, which may lead from then on.
func TestBearerHandsOver(t *testing.T) {
	g := follower(t)
	g.Fence()
	step(t, g, Message{Type: MsgPreVote, From: 1, To: 2, Term: 4, Log: LogID{2, 2}, Reject: true})
	for g.Status().Role != RolePreCandidate {
		g.Tick()
	}
	say(t, g, Message{Type: MsgPreVoteAnswer, From: 1, Term: 4})
	say(t, g, Message{Type: MsgVoteAnswer, From: 1, Term: 4})
	st := g.Status()
	if st.Role != RoleLeader || !st.Fenced || st.Last != (LogID{4, 4}) {
		t.Fatalf("it is %s, fenced %t, last %s", st.Role, st.Fenced, st.Last)
	}
	if _, err := g.Propose(0, proposal(1, 1)); !errors.Is(err, ErrTransferring) {
		t.Errorf("it takes a proposal: %v", err)
	}
	step(t, g, Message{Type: MsgAppendAnswer, From: 3, To: 2, Term: 4, Log: LogID{4, 4}})
	step(t, g, Message{Type: MsgHeartbeatAnswer, From: 3, To: 2, Term: 4, Reject: true})
	said := say(t, g, Message{Type: MsgAppendAnswer, From: 1, Term: 4, Log: LogID{3, 3}, Commit: 2, Conflict: LogID{2, 2}, Reject: true})
	if a := one(t, said, MsgAppend); a.To != 1 || len(a.Entries) != 2 || a.Entries[0].ID != (LogID{3, 3}) {
		t.Errorf("the one that called gets %+v", a)
	}
	var asked []ReplicaID
	step(t, g, Message{Type: MsgAppendAnswer, From: 1, To: 2, Term: 4, Log: LogID{4, 4}})
	for range ElectionTicksDefault {
		rd := g.Ready()
		g.Synced(rd.Number)
		for _, m := range rd.Messages {
			if m.Type == MsgTimeoutNow {
				asked = append(asked, m.To)
			}
		}
		if n := len(rd.Committed); n > 0 {
			g.Applied(rd.Committed[n-1].ID.Index)
		}
		g.Tick()
	}
	if st := g.Status(); st.Role != RoleFollower || len(asked) == 0 || asked[0] != 1 {
		t.Errorf("it is %s, and asked %v to lead", st.Role, asked)
	}
}

// A voter that may lead calls for a longer log only if it lacks something: it knows so
// from the others after a start, or a voter has refused it. A replica that can't lead with more
// either does not call.
func TestCallForALog(t *testing.T) {
	calls := func(g *Group) (call bool) {
		for range 2 * ElectionTicksDefault {
			g.Tick()
		}
		for _, m := range g.Ready().Messages {
			if m.Type == MsgPreVote {
				call = m.Reject // the last one counts
			}
		}
		return call
	}
	floor := LogID{3, 4}
	for _, c := range []struct {
		name  string
		do    func(*Group)
		calls bool
	}{
		{"nobody has answered", func(*Group) {}, false},
		{"short of the floor", func(g *Group) { g.Resume(3, floor) }, true},
		{"refused", func(g *Group) {
			g.Campaign()
			step(t, g, Message{Type: MsgPreVoteAnswer, From: 1, To: 2, Term: 3, Reject: true})
		}, true},
		{"refused, and heard a leader since", func(g *Group) {
			g.Campaign()
			step(t, g, Message{Type: MsgPreVoteAnswer, From: 1, To: 2, Term: 3, Reject: true})
			step(t, g, Message{Type: MsgHeartbeat, From: 1, To: 2, Term: 3})
		}, false},
		{"fenced", func(g *Group) { g.Resume(3, floor); g.Fence() }, false},
	} {
		g := follower(t)
		c.do(g)
		if got := calls(g); got != c.calls {
			t.Errorf("%s: it calls: %t, want %t", c.name, got, c.calls)
		}
	}
}
