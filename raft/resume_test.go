package raft

import "testing"

// What a replica says that was started anew must not contradict what it may have
// forgotten: a vote in the term of today, or for a log that lacks what it may have
// acknowledged. Nor may it stand still for that: the leader that has it all needs
// its vote.
func TestResume(t *testing.T) {
	here := follower(t).replica.log.last // replica 2 of three, in term 3
	newer := LogID{Term: here.Term, Index: here.Index + 5}
	for _, test := range []struct {
		name  string
		term  uint64 // of the others
		floor LogID
		ask   Message // for its vote
		gets  bool
	}{
		{"the term of today", 3, here, Message{Type: MsgVote, Term: 3, Log: newer}, false},
		{"a later one", 3, here, Message{Type: MsgVote, Term: 4, Log: newer}, true},
		{"the term of others", 9, here, Message{Type: MsgVote, Term: 9, Log: newer}, false},
		{"above that", 9, here, Message{Type: MsgVote, Term: 10, Log: here}, true},
		{"a log below the floor", 3, newer, Message{Type: MsgVote, Term: 4, Log: here}, false},
		{"the leader's own wish for one", 3, newer, Message{Type: MsgTransferVote, Term: 4, Log: here}, false},
		{"a log up to the floor", 3, newer, Message{Type: MsgVote, Term: 4, Log: newer}, true},
		{"a log of a later term", 3, newer, Message{Type: MsgVote, Term: 5, Log: LogID{Term: 4, Index: 1}}, true},
		{"others that know less", 1, LogID{}, Message{Type: MsgVote, Term: 4, Log: here}, true},
		{"a term out of reach", TermLimit - 1, here, Message{Type: MsgVote, Term: 4, Log: here}, true},
	} {
		g := follower(t)
		g.Resume(test.term, test.floor)
		m := test.ask
		m.From, m.To = 1, 2
		if got := !one(t, say(t, g, m), MsgVoteAnswer).Reject; got != test.gets {
			t.Errorf("%s: it votes: %t, want %t", test.name, got, test.gets)
		}
	}
}

// A replica whose log is short of the floor asks for no votes, and does once it has
// caught up, or whoever told of the floor counts as silent.
func TestFloor(t *testing.T) {
	for _, forgo := range []bool{false, true} {
		g := follower(t)
		last := g.replica.log.last
		floor := LogID{Term: 3, Index: last.Index + 1}
		g.Resume(3, floor)
		g.Campaign()
		for range 3 * g.replica.config.ElectionTicks {
			g.Tick()
		}
		if g.replica.role != RoleFollower || !g.Short() {
			t.Fatalf("below the floor it is %s, short: %t", g.replica.role, g.Short())
		}
		if forgo {
			g.ForgoFloor(LogID{})
		} else {
			step(t, g, Message{Type: MsgAppend, From: 1, To: 2, Term: 3, Log: last, Entries: []Entry{entry(3, floor.Index)}})
			g.Resign() // a follower of replica 1 goes on following
		}
		if g.Short() {
			t.Fatal("it is still short")
		}
		g.Campaign()
		if g.replica.role != RolePreCandidate {
			t.Errorf("with the floor reached (or forgone: %t) it is %s", forgo, g.replica.role)
		}
	}
}

// What an earlier life of a replica acknowledged is not on the disk of this one
// perhaps: it counts no more, for commits, reads and votes.
func TestReborn(t *testing.T) {
	g := elected(t, Config{}, 3)
	if _, err := g.Propose(1, proposal(1, 10)); err != nil {
		t.Fatal(err)
	}
	g.Ready()
	before := g.replica.log.commit
	g.Reborn(2)
	for _, p := range g.Status().Progress {
		if p.Replica == 2 && p.Match != 0 {
			t.Errorf("after its new life %d counts", p.Match)
		}
	}
	if g.replica.log.commit != before {
		t.Errorf("commit goes from %d to %d", before, g.replica.log.commit)
	}
	if m := one(t, g.Ready().Messages, MsgAppend); m.To != 2 {
		t.Errorf("it asks replica %d where its log ends", m.To)
	}
	c := candidate(t)
	c.replica.record(vote{from: 1, granted: true})
	c.replica.votes = append(c.replica.votes[:0], vote{c.replica.config.Self, true}, vote{1, true})
	c.Reborn(1)
	if len(c.replica.votes) != 1 || c.replica.votes[0].from != c.replica.config.Self {
		t.Errorf("votes that count: %v", c.replica.votes)
	}
}
