package raft

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func newGroup(t testing.TB, c Config, r Restored) *Group {
	t.Helper()
	g, err := New(c, r)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func step(t testing.TB, g *Group, m Message) {
	t.Helper()
	if err := g.Step(m); err != nil {
		t.Fatal(err)
	}
}

func entry(term, index uint64) Entry {
	return SealedEntry(0, LogID{term, index}, GroupTime(index), EntryNormal, []byte("x"))
}

// restored returns what would be found on disk had all been synced, with
// nothing applied.
func restored(g *Group) Restored {
	r := Restored{State: g.hand().state, Membership: g.replica.members.history[0].membership, Terms: g.replica.log.terms, Last: g.replica.log.last, Applied: g.replica.log.first - 1, Tail: g.replica.log.tail}
	for _, e := range r.Tail {
		if e.Kind == EntryMembership {
			r.Changes = append(r.Changes, e)
		}
	}
	return r
}

// membershipEntry returns 4.4 with m.
func membershipEntry(m Membership) Entry {
	return SealedEntry(0, LogID{4, 4}, 4, EntryMembership, m.Append(nil))
}

// follower returns replica 2 of three in term 3, whose log ends with 3.3 and
// is committed up to 2.2.
func follower(t testing.TB) *Group {
	return newGroup(t, Config{Self: 2}, Restored{
		State: HardState{Term: 3, Commit: 2}, Membership: Membership{Voters: voters(1, 2, 3), Next: 4},
		Terms: []TermRun{{1, 1}, {2, 2}, {3, 3}}, Last: LogID{3, 3}, Applied: 2, Tail: []Entry{entry(3, 3)},
	})
}

// A message that no correct replica sends is refused, and changes nothing: not the
// term, not the log, not the vote.
func TestStepRefuses(t *testing.T) {
	good := Message{Type: MsgAppend, From: 1, To: 2, Term: 4, Log: LogID{3, 3}, Entries: []Entry{entry(4, 4), entry(4, 5)}}
	damaged := SealedEntry(0, LogID{4, 4}, 4, EntryNormal, []byte("x"))
	damaged.Raw[EntryHeaderSize] ^= 1
	renamed := entry(4, 4)
	renamed.ID.Term = 3
	otherGroup := SealedEntry(7, LogID{4, 4}, 4, EntryNormal, nil)
	noMembership := SealedEntry(0, LogID{4, 4}, 4, EntryMembership, []byte("x"))
	for _, c := range []struct {
		name   string
		change func(*Message)
		want   error
	}{
		{"another's", func(m *Message) { m.To = 3 }, ErrMessage},
		{"nobody's", func(m *Message) { m.From = 0 }, ErrMessage},
		{"its own", func(m *Message) { m.From = 2 }, ErrMessage},
		{"no type", func(m *Message) { m.Type = 0 }, ErrMessage},
		{"type 13", func(m *Message) { m.Type = 13 }, ErrMessage},
		{"type 16", func(m *Message) { m.Type = 16 }, ErrMessage},
		{"term 0", func(m *Message) { m.Term = 0 }, ErrMessage},
		{"term 2^63", func(m *Message) { m.Term = 1 << 63 }, ErrMessage},
		{"fetch", func(m *Message) { m.Fetch = 5 }, ErrMessage},
		{"log of a later term", func(m *Message) { m.Log.Term = 5 }, ErrMessage},
		{"entries in a vote", func(m *Message) { m.Type = MsgVote }, ErrMessage},
		{"a gap before", func(m *Message) { m.Entries = m.Entries[1:] }, ErrMessage},
		{"a gap within", func(m *Message) { m.Entries = []Entry{entry(4, 4), entry(4, 6)} }, ErrMessage},
		{"out of order", func(m *Message) { m.Entries = []Entry{entry(4, 5), entry(4, 4)} }, ErrMessage},
		{"terms go back", func(m *Message) { m.Entries = []Entry{entry(4, 4), entry(3, 5)} }, ErrMessage},
		{"before the log's term", func(m *Message) { m.Entries = []Entry{entry(2, 4)} }, ErrMessage},
		{"of a later term", func(m *Message) { m.Entries = []Entry{entry(5, 4)} }, ErrMessage},
		{"time goes back", func(m *Message) {
			m.Entries = []Entry{SealedEntry(0, LogID{4, 4}, 9, EntryNormal, nil), SealedEntry(0, LogID{4, 5}, 8, EntryNormal, nil)}
		}, ErrMessage},
		{"a flipped bit", func(m *Message) { m.Entries = []Entry{damaged} }, ErrMessage},
		{"not what its header says", func(m *Message) { m.Entries = []Entry{renamed} }, ErrMessage},
		{"another group's entry", func(m *Message) { m.Entries = []Entry{otherGroup} }, ErrMessage},
		{"no header", func(m *Message) { m.Entries = []Entry{{ID: LogID{4, 4}, Kind: EntryNormal}} }, ErrMessage},
		{"no membership", func(m *Message) { m.Entries = []Entry{noMembership} }, ErrMembership},
		{"a blank membership", func(m *Message) { m.Entries = []Entry{membershipEntry(Membership{})} }, ErrMembership},
		{"a membership that repeats a node", func(m *Message) {
			m.Entries = []Entry{membershipEntry(Membership{Voters: voters(1, 2, 3), Learners: []Member{{4, 300, GoalCopy}}, Next: 5})}
		}, ErrMembership},
		{"a membership that drops a voter at once", func(m *Message) { m.Entries = []Entry{membershipEntry(Membership{Voters: voters(1, 2), Next: 4})} }, ErrMembership},
		{"a joint one that forgets an old voter", func(m *Message) {
			m.Entries = []Entry{membershipEntry(Membership{Voters: voters(1, 2), Outgoing: voters(1, 2), Next: 4})}
		}, ErrMembership},
		{"a membership that allots an id again", func(m *Message) {
			m.Entries = []Entry{membershipEntry(Membership{Voters: voters(1, 2, 3), Next: 3})}
		}, ErrMembership},
		{"a snapshot of nothing", func(m *Message) { *m = Message{Type: MsgSnapshot, From: 1, To: 2, Term: 4, Log: LogID{4, 9}} }, ErrMessage},
		{"a snapshot of something else", func(m *Message) {
			*m = Message{Type: MsgSnapshot, From: 1, To: 2, Term: 4, Log: LogID{4, 9},
				Install: &Install{Base: LogID{4, 8}, Membership: Membership{Voters: voters(1), Next: 2}}}
		}, ErrMessage},
		{"a snapshot without members", func(m *Message) {
			*m = Message{Type: MsgSnapshot, From: 1, To: 2, Term: 4, Log: LogID{4, 9}, Install: &Install{Base: LogID{4, 9}}}
		}, ErrMessage},
		{"an append with a snapshot", func(m *Message) { m.Install = &Install{} }, ErrMessage},
		{"answer of a stranger", func(m *Message) { *m = Message{Type: MsgAppendAnswer, From: 9, To: 2, Term: 9} }, ErrNotMember},
	} {
		g := follower(t)
		before := g.Status()
		m := good
		c.change(&m)
		if err := g.Step(m); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
		if after := g.Status(); !reflect.DeepEqual(after, before) || g.HasReady() {
			t.Errorf("%s: it was refused and changed\n%+v to\n%+v", c.name, before, after)
		}
	}
	g := follower(t)
	step(t, g, good)
	if got := g.Status().Last; got != (LogID{4, 5}) {
		t.Errorf("the good one: the log ends at %s", got)
	}
}

// An id that was allotted and is not in the committed membership was removed
// for good. One that is not allotted yet may be of a member that this log has
// not heard of, and may lead.
func TestStepRemovedMember(t *testing.T) {
	g := newGroup(t, Config{Self: 2}, Restored{Membership: Membership{Voters: voters(2, 3), Next: 5}})
	if err := g.Step(Message{Type: MsgVote, From: 1, To: 2, Term: 9}); !errors.Is(err, ErrNotMember) {
		t.Errorf("a removed replica: %v", err)
	}
	step(t, g, Message{Type: MsgAppend, From: 5, To: 2, Term: 9, Entries: []Entry{entry(1, 1)}})
}

// Who was removed is known where the log begins, too: the entry that says so may be
// compacted, here or at the leader whose snapshot was installed. The base's membership
// tells it, for it names the next id to allot.
func TestRemovedBeforeTheLogBegins(t *testing.T) {
	m := Membership{Voters: voters(2, 3), Next: 5}
	compacted := newGroup(t, Config{Self: 2}, Restored{State: HardState{Term: 3, Commit: 7}, Base: LogID{3, 7}, Last: LogID{3, 7}, Applied: 7, Membership: m})
	m.Learners = []Member{{Replica: 6, Node: 600, Goal: GoalVoter}}
	m.Next = 7
	installed := newGroup(t, Config{Self: 6}, Restored{})
	step(t, installed, Message{Type: MsgSnapshot, From: 3, To: 6, Term: 3, Log: LogID{3, 7}, Install: &Install{Base: LogID{3, 7}, Membership: m}})
	for self, g := range map[ReplicaID]*Group{2: compacted, 6: installed} {
		for _, removed := range []ReplicaID{1, 4} {
			if err := g.Step(Message{Type: MsgVote, From: removed, To: self, Term: 9, Log: LogID{8, 8}}); !errors.Is(err, ErrNotMember) {
				t.Errorf("replica %d hears replica %d, which was removed: %v", self, removed, err)
			}
		}
		if err := g.Step(Message{Type: MsgHeartbeat, From: 7, To: self, Term: 9}); err != nil {
			t.Errorf("replica %d does not hear one that may have been added since: %v", self, err)
		}
	}
}

// A vote is given once in a term, to nobody whose log lacks what this one has,
// and not while a leader is heard. PreVote asks the same and changes nothing.
func TestVotes(t *testing.T) {
	for _, c := range []struct {
		name   string
		before func(*Group)
		m      Message
		reject bool
		term   uint64 // afterwards
	}{
		{"as new", nil, Message{Type: MsgVote, Term: 4, Log: LogID{3, 3}}, false, 4},
		{"newer", nil, Message{Type: MsgVote, Term: 5, Log: LogID{4, 1}}, false, 5},
		{"shorter", nil, Message{Type: MsgVote, Term: 4, Log: LogID{3, 2}}, true, 4},
		{"longer, of an earlier term", nil, Message{Type: MsgVote, Term: 4, Log: LogID{2, 9}}, true, 4},
		{"of a term that is over", nil, Message{Type: MsgVote, Term: 2, Log: LogID{2, 9}}, true, 3},
		{"voted for another", func(g *Group) { g.replica.vote = 3 }, Message{Type: MsgVote, Term: 3, Log: LogID{3, 3}}, true, 3},
		{"voted for it", func(g *Group) { g.replica.vote = 1 }, Message{Type: MsgVote, Term: 3, Log: LogID{3, 3}}, false, 3},
		{"a leader is heard", func(g *Group) { g.replica.lead = 3 }, Message{Type: MsgVote, Term: 9, Log: LogID{3, 3}}, true, 3},
		{"a leader was heard", func(g *Group) { g.replica.lead, g.replica.timer.silence = 3, ElectionTicksDefault }, Message{Type: MsgVote, Term: 9, Log: LogID{3, 3}}, false, 9},
		{"pre, as new", nil, Message{Type: MsgPreVote, Term: 4, Log: LogID{3, 3}}, false, 3},
		{"pre, shorter", nil, Message{Type: MsgPreVote, Term: 4, Log: LogID{3, 2}}, true, 3},
		{"pre, for a term that has begun", nil, Message{Type: MsgPreVote, Term: 3, Log: LogID{3, 3}}, true, 3},
		{"pre, a leader is heard", func(g *Group) { g.replica.lead = 3 }, Message{Type: MsgPreVote, Term: 4, Log: LogID{3, 3}}, true, 3},
	} {
		g := follower(t)
		if c.before != nil {
			c.before(g)
		}
		c.m.From, c.m.To = 1, 2
		step(t, g, c.m)
		rd := g.Ready()
		answers := rd.AfterSync
		if c.m.Type == MsgPreVote {
			answers = rd.Messages
		}
		if len(answers) != 1 || answers[0].Reject != c.reject || rd.State.Term != c.term {
			t.Errorf("%s: got %+v in term %d, want reject %v in term %d", c.name, answers, rd.State.Term, c.reject, c.term)
		}
	}
}

// The commit in an append reaches as far as the logs are known to be equal,
// not to the end of this log: what follows may be another leader's.
func TestCommitOnlyWhatMatches(t *testing.T) {
	g := follower(t)
	step(t, g, Message{Type: MsgAppend, From: 1, To: 2, Term: 4, Log: LogID{2, 2}, Commit: 3})
	if c := g.Status().Commit; c != 2 {
		t.Errorf("commit %d, want 2", c)
	}
}

// A late, shorter append of entries that are here already truncates nothing.
func TestLateAppend(t *testing.T) {
	g := follower(t)
	step(t, g, Message{Type: MsgAppend, From: 1, To: 2, Term: 3, Log: LogID{1, 1}, Entries: []Entry{entry(2, 2)}})
	if st := g.Status(); st.Last != (LogID{3, 3}) {
		t.Errorf("the log ends at %s, want 3.3", st.Last)
	}
}

// What must never happen stops the replica, with the ids in the text, and it
// stays stopped.
func TestStops(t *testing.T) {
	other := SealedEntry(0, LogID{3, 3}, 3, EntryNormal, []byte("y"))
	for _, c := range []struct {
		name string
		m    Message
		want error
		text string
	}{
		{"truncation by entry", Message{Type: MsgAppend, From: 1, Term: 4, Log: LogID{1, 1}, Entries: []Entry{entry(4, 2)}}, ErrCommittedTruncation, "has 4.2, committed here is 2.2"},
		{"truncation by log", Message{Type: MsgAppend, From: 1, Term: 4, Log: LogID{1, 2}}, ErrCommittedTruncation, "has 1.2, committed here is 2.2"},
		{"one id, two entries", Message{Type: MsgAppend, From: 1, Term: 4, Log: LogID{2, 2}, Entries: []Entry{other}}, ErrLogMatching, "3.3"},
		{"lost what it acknowledged", Message{Type: MsgHeartbeat, From: 1, Term: 4, Commit: 4}, ErrEntriesLost, "3.3"},
		{"two leaders", Message{Type: MsgHeartbeat, From: 3, Term: 3}, ErrTwoLeaders, "1 and 3 in term 3"},
	} {
		g := follower(t)
		step(t, g, Message{Type: MsgHeartbeat, From: 1, To: 2, Term: 3})
		c.m.To = 2
		err := g.Step(c.m)
		if !errors.Is(err, ErrStopped) || !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: got %v, want %v with %q", c.name, err, c.want, c.text)
			continue
		}
		g.Tick()
		g.Campaign()
		_, proposed := g.Propose(0, []Entry{NewEntry(EntryNormal, nil)})
		for _, err := range []error{proposed, g.ReadIndex(1), g.Step(Message{Type: MsgHeartbeat, From: 1, To: 2, Term: 9}), g.Status().Stopped} {
			if !errors.Is(err, c.want) {
				t.Errorf("%s: afterwards got %v, want %v", c.name, err, c.want)
			}
		}
		if g.HasReady() {
			t.Errorf("%s: it has a Ready: %+v", c.name, g.Ready())
		}
	}
}
