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

// A time entry says nothing but its time.
func TestTimeEntryHasNoPayload(t *testing.T) {
	g := elected(t, Config{}, 1)
	if _, err := g.Propose(7, []Entry{NewEntry(EntryTime, []byte{1})}); !errors.Is(err, ErrProposal) {
		t.Errorf("with a payload: got %v, want %v", err, ErrProposal)
	}
	id, err := g.Propose(7, []Entry{NewEntry(EntryTime, nil)})
	if err != nil {
		t.Fatal(err)
	}
	entries := g.Ready().Entries
	if len(entries) != 1 || entries[0].ID != id || entries[0].Time != 7 {
		t.Fatalf("got %+v, want entry %s at 7", entries, id)
	}
	back, err := ReadEntry(0, entries[0].Raw)
	if err != nil || back.Kind != EntryTime || back.Time != 7 {
		t.Errorf("read back as %+v, %v", back, err)
	}
}
