package raft

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"testing"
)

var allTypes = []MessageType{MsgPreVote, MsgPreVoteAnswer, MsgVote, MsgVoteAnswer, MsgAppend, MsgAppendAnswer, MsgHeartbeat,
	MsgHeartbeatAnswer, MsgReadIndex, MsgReadIndexAnswer, MsgTimeoutNow, MsgSnapshot, MsgTransferVote, MsgQuiet}

// forged returns a message that claims a term, complete as its type wants it.
func forged(t MessageType, term uint64) Message {
	m := Message{Type: t, From: 1, To: 2, Term: term, Log: LogID{Term: min(term, TermLimit-1), Index: 9}}
	if t == MsgSnapshot {
		m.Install = &Install{Base: m.Log, Membership: Membership{Voters: voters(1, 2, 3), Next: 4}}
	}
	return m
}

// One message that claims the last of all terms would leave a group without
// elections for ever, on each disk that believed it. Whatever its type, it is
// dropped, and nothing of it stays: the group elects as if it had not come.
func TestForgedTermIsDropped(t *testing.T) {
	for _, typ := range allTypes {
		for _, term := range []uint64{3 + TermReach + 2, TermLimit / 2, TermLimit - 1, TermLimit, math.MaxUint64} {
			t.Run(fmt.Sprint(typ, " ", term), func(t *testing.T) {
				g := follower(t)
				before := g.Status()
				err := g.Step(forged(typ, term))
				if want := map[bool]error{true: ErrTerm, false: ErrMessage}[term < TermLimit]; !errors.Is(err, want) {
					t.Errorf("got %v, want %v", err, want)
				}
				if after := g.Status(); !reflect.DeepEqual(after, before) || g.HasReady() {
					t.Fatalf("it changes %+v to %+v", before, after)
				}
				g.Campaign()
				step(t, g, Message{Type: MsgPreVoteAnswer, From: 3, To: 2, Term: 4})
				if g.replica.term != 4 || g.replica.role != RoleCandidate {
					t.Errorf("after it, a candidate is %s in term %d", g.replica.role, g.replica.term)
				}
			})
		}
	}
}

// A replica that was away for long, or is new, must follow those who had
// elections meanwhile, however many: that is what the reach is for.
func TestTermJumpsInReach(t *testing.T) {
	for _, ahead := range []uint64{1, 2, 1_000_000, 1 << 30, TermReach + 1} {
		g := follower(t)
		step(t, g, Message{Type: MsgHeartbeat, From: 1, To: 2, Term: 3 + ahead})
		if g.replica.term != 3+ahead || g.replica.lead != 1 {
			t.Errorf("%d ahead: term %d, leader %d", ahead, g.replica.term, g.replica.lead)
		}
	}
}

// A liar may spend the reach of some, so that others are left behind. These
// come after them by themselves, in time, while what is always free, the next
// term, stays so; and nobody saves reach up for a longer jump than at a start.
func TestReachComesBack(t *testing.T) {
	g := follower(t)
	const spent = 3 + 1 + TermReach
	step(t, g, Message{Type: MsgVote, From: 1, To: 2, Term: spent})
	step(t, g, Message{Type: MsgVote, From: 1, To: 2, Term: spent + 1})
	far := Message{Type: MsgHeartbeat, From: 3, To: 2, Term: spent + 2 + 10*TermReachTick}
	ticks := uint64(0)
	for ; g.Step(far) != nil; ticks++ {
		if ticks > 20 {
			t.Fatalf("it does not come after them: %+v", g.replica.reach)
		}
		g.Tick()
	}
	if ticks != 10 {
		t.Errorf("it took %d ticks to follow what 10 ticks may raise", ticks)
	}
	idle := follower(t)
	for range 100 {
		idle.replica.reach.tick()
	}
	if idle.replica.reach.left != TermReach {
		t.Errorf("without a need the reach grew to %d", idle.replica.reach.left)
	}
	far.Term = 3 + 1 + TermReach + 5*TermReachTick // farther than at a start
	for ticks = 0; idle.Step(far) != nil; ticks++ {
		if ticks > 20 {
			t.Fatalf("it never believes it: %+v", idle.replica.reach)
		}
		idle.replica.reach.tick()
	}
	if ticks != 5 {
		t.Errorf("it took %d ticks to come into reach, want 5", ticks)
	}
}

// Numbers at their extremes, in a term that is believed: none of them stops the
// replica, raises its commit, or makes it stand for election.
func TestExtremesAreRefused(t *testing.T) {
	const most = math.MaxUint64
	late := SealedEntry(0, LogID{4, 4}, TimeLimit, EntryNormal, []byte("x"))
	for _, typ := range allTypes {
		for what, change := range map[string]func(*Message){
			"index":          func(m *Message) { m.Log.Index = most },
			"index of 2^62":  func(m *Message) { m.Log.Index = IndexLimit },
			"commit":         func(m *Message) { m.Commit = most },
			"commit of 2^62": func(m *Message) { m.Commit = IndexLimit },
			"conflict":       func(m *Message) { m.Conflict.Index = most },
			"conflict term":  func(m *Message) { m.Conflict.Term = most },
			"sender":         func(m *Message) { m.From = 0 },
			"group time": func(m *Message) {
				m.Log, m.Entries = LogID{3, 3}, []Entry{late}
				if m.Install != nil {
					m.Entries, m.Install.Time = nil, most
				}
			},
		} {
			g := follower(t)
			m := forged(typ, 4)
			change(&m)
			if m.Install != nil {
				m.Install.Base = m.Log
			}
			before := g.Status()
			if err := g.Step(m); !errors.Is(err, ErrMessage) {
				t.Errorf("%s with %s: %v", typ, what, err)
			}
			if after := g.Status(); !reflect.DeepEqual(after, before) || g.HasReady() {
				t.Errorf("%s with %s changes %+v to %+v", typ, what, before, after)
			}
		}
	}
}

// Only its leader may send a replica to an election past the others' loyalty,
// or tell it from where on it may read.
func TestOnlyTheLeaderIsObeyed(t *testing.T) {
	g := follower(t)
	step(t, g, Message{Type: MsgHeartbeat, From: 1, To: 2, Term: 3})
	if err := g.ReadIndex(7); err != nil {
		t.Fatal(err)
	}
	g.Ready()
	step(t, g, Message{Type: MsgTimeoutNow, From: 3, To: 2, Term: 3, Log: LogID{3, 3}})
	step(t, g, Message{Type: MsgReadIndexAnswer, From: 3, To: 2, Term: 3, Round: g.replica.questions.number, Log: LogID{Index: 1}})
	if g.replica.role != RoleFollower || g.replica.term != 3 || len(g.replica.out.reads) > 0 {
		t.Errorf("another than its leader makes it %s in term %d with reads %v", g.replica.role, g.replica.term, g.replica.out.reads)
	}
	step(t, g, Message{Type: MsgReadIndexAnswer, From: 1, To: 2, Term: 3, Round: g.replica.questions.number, Log: LogID{Index: 2}})
	step(t, g, Message{Type: MsgTimeoutNow, From: 1, To: 2, Term: 3, Log: LogID{3, 3}})
	if g.replica.role != RoleCandidate || len(g.replica.out.reads) != 1 {
		t.Errorf("its leader's word leaves it %s with reads %v", g.replica.role, g.replica.out.reads)
	}
}
