package raft

import (
	"errors"
	"testing"
)

// A leader begins at the largest time that its log or its last leader told it: at
// less, what waits for a time would wait longer with each change of leader. One
// would doubt that a lie about it does little, for each entry after it is no
// earlier, for ever.
func TestNewLeaderBeginsAtTheLargestTime(t *testing.T) {
	const inLog = GroupTime(1000e9)
	for _, c := range []struct {
		name string
		hear []GroupTime
		want GroupTime
	}{
		{"nothing was heard", nil, inLog},
		{"what is in the log is later", []GroupTime{inLog - 1}, inLog},
		{"what was heard is later", []GroupTime{inLog + 59e9, inLog + 3}, inLog + 59e9},
		{"a lie goes as far as the reach", []GroupTime{TimeLimit - 1, inLog + TimeReach - 1}, inLog + TimeReach},
	} {
		for _, by := range []string{"heartbeat", "its owner"} {
			t.Run(c.name+", by "+by, func(t *testing.T) {
				g := newGroup(t, Config{Self: 2}, Restored{Membership: Membership{Voters: voters(1, 2, 3), Next: 4}})
				e := SealedEntry(0, LogID{Term: 1, Index: 1}, inLog, EntryTime, nil)
				step(t, g, Message{Type: MsgAppend, From: 1, To: 2, Term: 1, Entries: []Entry{e}})
				g.Synced(g.Ready().Number)
				for _, time := range c.hear {
					if by == "heartbeat" {
						step(t, g, Message{Type: MsgHeartbeat, From: 1, To: 2, Term: 1, Time: time})
					} else {
						g.Heard(time)
					}
				}
				if got := g.Status().Time; got != inLog {
					t.Errorf("hearing of a time makes the log's %d", got)
				}
				g.Campaign()
				step(t, g, Message{Type: MsgPreVoteAnswer, From: 3, To: 2, Term: 2})
				g.Synced(g.Ready().Number)
				step(t, g, Message{Type: MsgVoteAnswer, From: 3, To: 2, Term: 2})
				entries := g.Ready().Entries
				if len(entries) != 1 || entries[0].Kind != EntryNoOp || entries[0].Time != c.want {
					t.Fatalf("it begins with %+v, want a no-op at %d", entries, c.want)
				}
			})
		}
	}
}

// overtaken returns a replica that led term 1 alone, to a time far ahead, while term 2 began
// behind it: the group's time stood still between the two leaders. restarted: the replica
// was, with what it wrote alone.
func overtaken(t *testing.T, restarted bool) *Group {
	t.Helper()
	const alone, applied, overtook = GroupTime(3700e6), GroupTime(10e6), GroupTime(2500e6)
	g := elected(t, Config{}, 3)
	propose := func(now GroupTime) Entry {
		id, err := g.Propose(now, []Entry{NewEntry(EntryTime, nil)})
		if err != nil {
			t.Fatal(err)
		}
		entries := g.Ready().Entries
		if len(entries) != 1 || entries[0].ID != id {
			t.Fatalf("got %+v, want entry %s", entries, id)
		}
		g.Synced(g.Ready().Number)
		return entries[0]
	}
	propose(applied)
	ack(t, g, 2, 2)
	g.Ready()
	g.Applied(2)
	left := []Entry{propose(alone), propose(alone + 1)}
	if restarted {
		members := Membership{Voters: voters(1, 2, 3), Next: 4}
		g = newGroup(t, Config{Self: 1}, Restored{
			State: HardState{Term: 1, Vote: 1, Commit: 2}, Membership: members, Terms: []TermRun{{First: 1, Term: 1}},
			Last: left[1].ID, Applied: 2, Tail: left, Time: left[1].Time,
		})
	}
	e := SealedEntry(0, LogID{Term: 2, Index: 3}, overtook, EntryNoOp, nil)
	step(t, g, Message{Type: MsgAppend, From: 2, To: 1, Term: 2, Log: LogID{Term: 1, Index: 2}, Entries: []Entry{e}, Commit: 3})
	g.Synced(g.Ready().Number)
	return g
}

// leads has replica 1 of three win an election, and returns the time at which it begins.
func leads(t *testing.T, g *Group) GroupTime {
	t.Helper()
	g.Campaign()
	step(t, g, Message{Type: MsgPreVoteAnswer, From: 3, To: g.replica.config.Self, Term: g.replica.term + 1})
	g.Synced(g.Ready().Number)
	step(t, g, Message{Type: MsgVoteAnswer, From: 3, To: g.replica.config.Self, Term: g.replica.term})
	entries := g.Ready().Entries
	if len(entries) != 1 || entries[0].Kind != EntryNoOp {
		t.Fatalf("it begins with %+v, want a no-op", entries)
	}
	return entries[0].Time
}

// What a leader wrote alone is not the group's time. If it led again and began there, all
// that waits for a time would end early, by as long as the group was without a leader.
func TestTimeOfTruncatedEntriesIsForgotten(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		g := overtaken(t, restarted)
		if got, want := leads(t, g), GroupTime(2500e6); got != want {
			t.Errorf("restarted %t: it begins at %d, want %d, the time of the last entry that is left", restarted, got, want)
		}
	}
}

// The same of what a replica heard of a leader that was overtaken, once its log has entries
// of the one that overtook it.
func TestTimeOfAnEarlierLeaderIsForgotten(t *testing.T) {
	g := newGroup(t, Config{Self: 1}, Restored{Membership: Membership{Voters: voters(1, 2, 3), Next: 4}})
	first := SealedEntry(0, LogID{Term: 1, Index: 1}, 10e6, EntryNoOp, nil)
	step(t, g, Message{Type: MsgAppend, From: 2, To: 1, Term: 1, Entries: []Entry{first}})
	step(t, g, Message{Type: MsgHeartbeat, From: 2, To: 1, Term: 1, Time: 3700e6})
	next := SealedEntry(0, LogID{Term: 2, Index: 2}, 2500e6, EntryNoOp, nil)
	step(t, g, Message{Type: MsgAppend, From: 3, To: 1, Term: 2, Log: first.ID, Entries: []Entry{next}})
	g.Synced(g.Ready().Number)
	if got, want := leads(t, g), next.Time; got != want {
		t.Errorf("it begins at %d, want %d", got, want)
	}
}

// A time that no group comes to is refused with the message that names it, and a
// leader of an earlier term is not listened to: its clock ran on alone.
func TestTimesThatAreNotHeard(t *testing.T) {
	for _, c := range []struct {
		name string
		m    Message
		want error
	}{
		{"beyond the limit", Message{Type: MsgHeartbeat, From: 1, To: 2, Term: 3, Time: TimeLimit}, ErrMessage},
		{"of an earlier term", Message{Type: MsgHeartbeat, From: 1, To: 2, Term: 2, Time: 5}, nil},
	} {
		g := newGroup(t, Config{Self: 2}, Restored{State: HardState{Term: 3}, Membership: Membership{Voters: voters(1, 2, 3), Next: 4}})
		if err := g.Step(c.m); !errors.Is(err, c.want) || g.replica.heard.time != 0 {
			t.Errorf("%s: got %v and heard %d, want %v and nothing", c.name, err, g.replica.heard.time, c.want)
		}
	}
}

// A time entry says nothing but its time, and an audit entry nothing but its place.
func TestEntriesWithoutPayload(t *testing.T) {
	for _, kind := range []EntryKind{EntryTime, EntryAudit} {
		t.Run(kind.String(), func(t *testing.T) {
			g := elected(t, Config{}, 1)
			if _, err := g.Propose(7, []Entry{NewEntry(kind, []byte{1})}); !errors.Is(err, ErrProposal) {
				t.Errorf("with a payload: got %v, want %v", err, ErrProposal)
			}
			id, err := g.Propose(7, []Entry{NewEntry(kind, nil)})
			if err != nil {
				t.Fatal(err)
			}
			entries := g.Ready().Entries
			if len(entries) != 1 || entries[0].ID != id || entries[0].Time != 7 {
				t.Fatalf("got %+v, want entry %s at 7", entries, id)
			}
			back, err := ReadEntry(0, entries[0].Raw)
			if err != nil || back.Kind != kind || back.Time != 7 {
				t.Errorf("read back as %+v, %v", back, err)
			}
		})
	}
}

// A kind that this version does not know may mean anything, so such an entry is neither
// taken from a log nor proposed.
func TestUnknownEntryKind(t *testing.T) {
	for _, kind := range []EntryKind{0, EntryAudit + 1, 255} {
		e := SealedEntry(0, LogID{Term: 1, Index: 1}, 7, kind, nil)
		if _, err := ReadEntry(0, e.Raw); !errors.Is(err, ErrEntry) {
			t.Errorf("%s, in a log: got %v, want %v", kind, err, ErrEntry)
		}
		g := elected(t, Config{}, 1)
		if _, err := g.Propose(7, []Entry{NewEntry(kind, nil)}); !errors.Is(err, ErrProposal) {
			t.Errorf("%s, proposed: got %v, want %v", kind, err, ErrProposal)
		}
	}
}
