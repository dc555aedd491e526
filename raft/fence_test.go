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
