package raft

import "testing"

// A heartbeat of an earlier term may arrive when its sender leads again, in a later
// one. The answer shows that the follower was in that term when it answered, and
// nothing about the rounds of the new leadership, which are counted from 1 again: if it
// counted, it would confirm a read that began after it was sent, while the follower may
// have elected another leader in between.
func TestLateHeartbeatConfirmsNoRead(t *testing.T) {
	lead := elected(t, Config{}, 3)
	read := func(n uint64) Message {
		if err := lead.ReadIndex(n); err != nil {
			t.Fatal(err)
		}
		return one(t, lead.Ready().Messages, MsgHeartbeat)
	}
	confirm := func(term, round uint64) {
		step(t, lead, Message{Type: MsgHeartbeatAnswer, From: 3, To: 1, Term: term, Round: round})
		lead.Ready()
	}
	read(1)
	confirm(1, 1)
	late := read(2) // to replica 2, and slow
	step(t, lead, Message{Type: MsgHeartbeat, From: 3, To: 1, Term: 2})
	lead.Synced(lead.Ready().Number)
	lead.Campaign()
	for _, typ := range []MessageType{MsgPreVoteAnswer, MsgVoteAnswer} {
		step(t, lead, Message{Type: typ, From: 3, To: 1, Term: 3})
		lead.Synced(lead.Ready().Number)
	}
	lead.Synced(lead.Ready().Number)
	ack(t, lead, 3, 2)
	lead.Ready()
	lead.Applied(2)

	other := newGroup(t, Config{Self: 2}, Restored{
		State: HardState{Term: 3}, Membership: Membership{Voters: voters(1, 2, 3), Next: 4},
		Terms: []TermRun{{1, 1}}, Last: LogID{1, 1}, Tail: []Entry{entry(1, 1)},
	})
	late.To = 2
	answer := one(t, say(t, other, late), MsgHeartbeatAnswer)

	read(3)
	confirm(3, 1)
	if now := read(4); now.Term != 3 || now.Round != late.Round {
		t.Fatalf("the leader is in term %d and round %d, want term 3 and round %d", now.Term, now.Round, late.Round)
	}
	step(t, lead, answer)
	if rd := lead.Ready(); len(rd.Reads) != 0 {
		t.Errorf("an answer from before the read confirms it: %+v", rd.Reads)
	}
}
