package raft

import (
	"errors"
	"testing"
)

// elected returns replica 1 of n, which has just won an election in term 1, its
// no-op synced and, if there are others, acknowledged by them.
func elected(t testing.TB, c Config, n int) *Group {
	c.Self = 1
	var ids []ReplicaID
	for i := range n {
		ids = append(ids, ReplicaID(i+1))
	}
	g := newGroup(t, c, Restored{Membership: Membership{Voters: voters(ids...), Next: ReplicaID(n + 1)}})
	g.Campaign()
	for _, typ := range []MessageType{MsgPreVoteAnswer, MsgVoteAnswer} {
		for _, id := range ids[1:] {
			step(t, g, Message{Type: typ, From: id, To: 1, Term: 1})
		}
		g.Synced(g.Ready().Number)
	}
	g.Synced(g.Ready().Number)
	for _, id := range ids[1:] {
		ack(t, g, id, 1)
	}
	g.Ready()
	g.Applied(1)
	if st := g.Status(); st.Role != RoleLeader || st.Commit != 1 {
		t.Fatalf("no leader: %+v", st)
	}
	return g
}

func ack(t testing.TB, g *Group, from ReplicaID, index uint64) {
	t.Helper()
	term, _ := g.TermAt(index)
	step(t, g, Message{Type: MsgAppendAnswer, From: from, To: 1, Term: g.replica.term, Log: LogID{term, index}})
}

func proposal(n, size int) []Entry {
	entries := make([]Entry, n)
	for i := range entries {
		entries[i] = NewEntry(EntryNormal, make([]byte, size))
	}
	return entries
}

// A proposal is taken whole or not at all; what is refused leaves no trace.
func TestPropose(t *testing.T) {
	g := elected(t, Config{UncommittedBytesMax: 1000}, 3)
	for _, c := range []struct {
		name    string
		entries []Entry
		want    error
	}{
		{"nothing", nil, ErrProposal},
		{"a no-op", []Entry{NewEntry(EntryNoOp, nil)}, ErrProposal},
		{"a membership among others", append(proposal(1, 1), NewEntry(EntryMembership, nil)), ErrProposal},
		{"no header", []Entry{{Kind: EntryNormal, Raw: make([]byte, 39)}}, ErrProposal},
		{"a byte too long", []Entry{NewEntry(EntryNormal, make([]byte, PayloadSizeMax+1))}, ErrProposal},
		{"good", proposal(2, 10), nil},
		{"over the limit behind another", proposal(10, 60), ErrBusy},
	} {
		before := g.replica.log.last
		first, err := g.Propose(7, c.entries)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
		if err != nil && (g.replica.log.last != before || first != LogID{}) {
			t.Errorf("%s: refused, and the log ends at %s", c.name, g.replica.log.last)
		}
	}
	tail := g.replica.log.slice(2, 3)
	for i, e := range tail {
		if e.ID != (LogID{1, uint64(i) + 2}) || e.Time != 7 || !e.sealed(0) {
			t.Errorf("entry %d is %s at %d", i, e.ID, e.Time)
		}
	}
	// Group time does not go back with the owner's clock.
	if _, err := g.Propose(3, proposal(1, 1)); err != nil || g.Status().Time != 7 {
		t.Errorf("group time %d, want 7 (%v)", g.Status().Time, err)
	}
	f := follower(t)
	if _, err := f.Propose(0, proposal(1, 1)); !errors.Is(err, ErrNotLeader) {
		t.Errorf("a follower takes a proposal: %v", err)
	}
	if err := f.ReadIndex(1); !errors.Is(err, ErrNotLeader) {
		t.Errorf("a follower takes a read: %v", err)
	}
}

// One large value must get through: a batch over the limit is taken when
// nothing else waits.
func TestProposeLargeWhenIdle(t *testing.T) {
	g := elected(t, Config{UncommittedBytesMax: 100}, 1)
	if _, err := g.Propose(0, proposal(1, 1000)); err != nil {
		t.Error(err)
	}
}

// Entries of an earlier term are on a majority and may still be replaced; only
// an entry of the present term commits, and what is before it (figure 8 of the
// paper).
func TestCommitOnlyOwnTerm(t *testing.T) {
	g := newGroup(t, Config{Self: 1}, Restored{
		State: HardState{Term: 2}, Membership: Membership{Voters: voters(1, 2, 3), Next: 4},
		Terms: []TermRun{{1, 2}}, Last: LogID{2, 1}, Tail: []Entry{entry(2, 1)},
	})
	g.Campaign()
	step(t, g, Message{Type: MsgPreVoteAnswer, From: 2, To: 1, Term: 3})
	g.Synced(g.Ready().Number)
	step(t, g, Message{Type: MsgVoteAnswer, From: 2, To: 1, Term: 3})
	g.Synced(g.Ready().Number)
	ack(t, g, 2, 1)
	if c := g.Status().Commit; c != 0 {
		t.Errorf("2.1 is committed by counting in term 3: commit %d", c)
	}
	ack(t, g, 2, 2)
	if c := g.Status().Commit; c != 2 {
		t.Errorf("commit %d, want 2", c)
	}
}

// The leader's own copy counts when it is synced, as everyone's.
func TestLeaderCountsOnlyItsSync(t *testing.T) {
	g := elected(t, Config{}, 3)
	if _, err := g.Propose(0, proposal(1, 1)); err != nil {
		t.Fatal(err)
	}
	rd := g.Ready()
	ack(t, g, 2, 2)
	if c := g.Status().Commit; c != 1 {
		t.Errorf("one of three has synced, commit %d", c)
	}
	g.Synced(rd.Number)
	if c := g.Status().Commit; c != 2 {
		t.Errorf("two of three have synced, commit %d", c)
	}
}

// A follower's window is bounded in messages and in bytes, and opens with its
// answers. All followers' messages share the entries.
func TestWindow(t *testing.T) {
	size := EntryHeaderSize + 10
	for _, c := range []struct {
		name   string
		config Config
		want   int
	}{
		{"messages", Config{AppendBytesMax: size, InflightMessagesMax: 3}, 3},
		{"bytes", Config{AppendBytesMax: size, InflightBytesMax: 2 * size}, 2},
		{"all in one", Config{AppendBytesMax: 100 * size}, 1},
		{"entries longer than an append", Config{AppendBytesMax: 1, InflightMessagesMax: 4}, 4},
	} {
		g := elected(t, c.config, 3)
		if _, err := g.Propose(0, proposal(20, 10)); err != nil {
			t.Fatal(err)
		}
		rd := g.Ready()
		var to [4]int
		for _, m := range rd.Messages {
			to[m.To]++
			if len(m.Entries) == 0 || &m.Entries[0] != &rd.Entries[m.Entries[0].ID.Index-2] {
				t.Errorf("%s: a message to %d has entries of its own", c.name, m.To)
			}
		}
		if to[2] != c.want || to[3] != c.want {
			t.Errorf("%s: %d and %d messages, want %d", c.name, to[2], to[3], c.want)
		}
		last := rd.Messages[0].Entries[len(rd.Messages[0].Entries)-1].ID.Index
		if last == 21 {
			continue
		}
		ack(t, g, 2, last)
		if rd = g.Ready(); len(rd.Messages) != 1 || rd.Messages[0].To != 2 {
			t.Errorf("%s: after one answer %d messages leave, want 1", c.name, len(rd.Messages))
		}
	}
}

// What memory no longer holds is asked of the owner, one message at a time.
func TestFetch(t *testing.T) {
	g := elected(t, Config{TailBytesMax: 1, InflightMessagesMax: 2, AppendBytesMax: 1}, 3)
	if _, err := g.Propose(0, proposal(9, 10)); err != nil {
		t.Fatal(err)
	}
	g.Synced(g.Ready().Number)
	ack(t, g, 2, 3)
	for index := uint64(5); index < 11; index += 2 {
		g.Ready()
		ack(t, g, 2, index)
	}
	ack(t, g, 2, 10)
	g.Ready()
	g.Applied(10)
	ack(t, g, 3, 3)
	rd := g.Ready()
	if len(rd.Messages) != 1 || rd.Messages[0].Fetch != 10 || rd.Messages[0].Log != (LogID{1, 3}) || rd.Messages[0].Entries != nil {
		t.Fatalf("got %+v, want one that fetches 4 to 10", rd.Messages)
	}
	if rd = g.Ready(); len(rd.Messages) != 0 {
		t.Errorf("a second one leaves before the answer: %+v", rd.Messages)
	}
	ack(t, g, 3, 6)
	if rd = g.Ready(); len(rd.Messages) != 1 || rd.Messages[0].Log != (LogID{1, 6}) {
		t.Errorf("got %+v, want one that fetches 7 to 10", rd.Messages)
	}
}

// A heartbeat's commit goes no further than what its receiver acknowledged: it
// names no log id that the receiver could check.
func TestHeartbeatCommit(t *testing.T) {
	g := elected(t, Config{HeartbeatTicks: 1}, 3)
	if _, err := g.Propose(0, proposal(4, 1)); err != nil {
		t.Fatal(err)
	}
	g.Synced(g.Ready().Number)
	ack(t, g, 2, 5)
	ack(t, g, 3, 3)
	g.Ready()
	g.Tick()
	for _, m := range g.Ready().Messages {
		if want := map[ReplicaID]uint64{2: 5, 3: 3}[m.To]; m.Type == MsgHeartbeat && m.Commit != want {
			t.Errorf("to %d: commit %d, want %d", m.To, m.Commit, want)
		}
	}
}

// A replica that needs entries from before the log's beginning can't be served
// from the log. It is shown in the status.
func TestNeedsSnapshot(t *testing.T) {
	g := newGroup(t, Config{Self: 1}, Restored{State: HardState{Term: 1, Commit: 5}, Base: LogID{1, 5}, Last: LogID{1, 5}, Applied: 5,
		Membership: Membership{Voters: voters(1, 2, 3), Next: 4}})
	g.Campaign()
	step(t, g, Message{Type: MsgPreVoteAnswer, From: 2, To: 1, Term: 2})
	g.Synced(g.Ready().Number)
	step(t, g, Message{Type: MsgVoteAnswer, From: 2, To: 1, Term: 2})
	g.Synced(g.Ready().Number)
	for _, conflict := range []LogID{{1, 2}, {0, 0}} {
		step(t, g, Message{Type: MsgAppendAnswer, From: 2, To: 1, Term: 2, Reject: true,
			Log: LogID{1, 5}, Conflict: conflict, Commit: conflict.Index})
		if rd := g.Ready(); len(rd.Messages) > 0 {
			t.Errorf("it sends %+v", rd.Messages)
		}
		if p := g.Status().Progress[0]; p.State != ProgressSnapshot {
			t.Errorf("progress %+v, want snapshot", p)
		}
	}
}

// A replica that was given a snapshot of all there is, and lost it with its power,
// must be noticed though there is nothing to send it: no entry may come for long.
func TestSnapshotLostAgain(t *testing.T) {
	g := newGroup(t, Config{Self: 1, HeartbeatTicks: 1}, Restored{State: HardState{Term: 1, Commit: 5}, Base: LogID{1, 5}, Last: LogID{1, 5}, Applied: 5,
		Membership: Membership{Voters: voters(1, 2, 3), Next: 4}})
	g.Campaign()
	step(t, g, Message{Type: MsgPreVoteAnswer, From: 2, To: 1, Term: 2})
	g.Synced(g.Ready().Number)
	step(t, g, Message{Type: MsgVoteAnswer, From: 2, To: 1, Term: 2})
	g.Synced(g.Ready().Number)
	ack(t, g, 3, 6)
	rd := g.Ready()
	g.Synced(rd.Number)
	g.Applied(6)
	g.Compact(LogID{2, 6}, Membership{Voters: voters(1, 2, 3), Next: 4})
	step(t, g, Message{Type: MsgAppendAnswer, From: 2, To: 1, Term: 2, Reject: true, Log: LogID{1, 5}, Conflict: LogID{1, 2}, Commit: 2})
	if rd := g.Ready(); len(rd.Snapshots) != 1 {
		t.Fatalf("it asks for %d snapshots, want 1", len(rd.Snapshots))
	}
	g.SnapshotArrived(2, LogID{2, 6})
	g.Ready()
	for range 3 {
		g.Tick()
		step(t, g, Message{Type: MsgHeartbeatAnswer, From: 2, To: 1, Term: 2})
		for _, m := range g.Ready().Messages {
			if m.Type == MsgAppend && m.To == 2 && m.Log == (LogID{2, 6}) {
				return
			}
		}
	}
	t.Errorf("it does not ask whether the replica has the entry 2.6: %+v", g.Status().Progress[0])
}

// The memory of the log stays within its limit however much passes through. What
// no follower lacks is kept in an eighth of it; what one lacks that is a little
// behind stays, or it would be read from disk.
func TestTailIsBounded(t *testing.T) {
	for _, c := range []struct {
		name             string
		replicas, behind int // entries that the third one lacks
		bytes, dead      int
	}{
		{"alone", 1, 0, 10000 / tailPart, deadTimes * 10000 / tailPart},
		{"all have it", 3, 0, 10000 / tailPart, deadTimes * 10000 / tailPart},
		{"one is behind", 3, 50, 50 * 140, 50 * 140},
		{"one is far behind", 3, 1000, 10000, 10000},
	} {
		g := elected(t, Config{TailBytesMax: 10000}, c.replicas)
		for range 2000 {
			if _, err := g.Propose(0, proposal(3, 100)); err != nil {
				t.Fatal(err)
			}
			g.Synced(g.Ready().Number)
			last := g.replica.log.last.Index
			if c.replicas > 1 {
				ack(t, g, 2, last)
				ack(t, g, 3, max(last-min(last, uint64(c.behind)), 1))
			}
			rd := g.Ready()
			g.Applied(rd.Committed[len(rd.Committed)-1].ID.Index)
		}
		if g.replica.log.bytes > c.bytes || g.replica.log.dead > c.dead || cap(g.replica.log.tail) > 1000 || g.replica.log.waiting != 0 {
			t.Errorf("%s: %d bytes, %d dead, room for %d entries, %d bytes waiting; want at most %d, %d, 1000, 0",
				c.name, g.replica.log.bytes, g.replica.log.dead, cap(g.replica.log.tail), g.replica.log.waiting, c.bytes, c.dead)
		}
		if c.behind == 50 && g.replica.log.last.Index-g.replica.log.first+1 < 50 {
			t.Errorf("%s: %d entries are kept, it lacks %d", c.name, g.replica.log.last.Index-g.replica.log.first+1, c.behind)
		}
	}
}
