package raft

import (
	"errors"
	"testing"
)

// What the paper says in figure 2 and sections 5 to 8, as far as one replica
// can show it, sentence by sentence. Where this core differs from the letter
// the test says so. The properties of figure 3 are checked in rafttest, for
// whole groups.

// say hands a message to g and returns all that it answers, synced.
func say(t testing.TB, g *Group, m Message) []Message {
	t.Helper()
	m.To = g.replica.config.Self
	step(t, g, m)
	rd := g.Ready()
	g.Synced(rd.Number)
	return append(rd.Messages, rd.AfterSync...)
}

func one(t testing.TB, messages []Message, typ MessageType) Message {
	t.Helper()
	for _, m := range messages {
		if m.Type == typ {
			return m
		}
	}
	t.Fatalf("no %s among %+v", typ, messages)
	return Message{}
}

// "Persistent state on all servers (updated on stable storage before responding
// to RPCs)": currentTerm, votedFor, log[].
func TestPaperFigure2PersistentState(t *testing.T) {
	g := follower(t)
	step(t, g, Message{Type: MsgVote, From: 1, To: 2, Term: 9, Log: LogID{8, 8}})
	rd := g.Ready()
	if !rd.MustSync || rd.State.Term != 9 || rd.State.Vote != 1 || len(rd.Messages) != 0 || len(rd.AfterSync) != 1 {
		t.Errorf("the answer leaves before the sync: %+v", rd)
	}
	again := newGroup(t, Config{Self: 2}, restored(g))
	if a := one(t, say(t, again, Message{Type: MsgVote, From: 3, Term: 9, Log: LogID{8, 8}}), MsgVoteAnswer); !a.Reject {
		t.Error("after a restart it votes twice in one term")
	}
}

// "RequestVote RPC: 1. Reply false if term < currentTerm. 2. If votedFor is
// null or candidateId, and candidate's log is at least as up-to-date as
// receiver's log, grant vote."
func TestPaperFigure2RequestVote(t *testing.T) {
	for _, c := range []struct {
		name  string
		vote  ReplicaID
		m     Message
		grant bool
	}{
		{"1: an earlier term", 0, Message{Term: 2, Log: LogID{2, 9}}, false},
		{"2: not voted yet", 0, Message{Term: 3, Log: LogID{3, 3}}, true},
		{"2: voted for it", 1, Message{Term: 3, Log: LogID{3, 3}}, true},
		{"2: voted for another", 3, Message{Term: 3, Log: LogID{3, 3}}, false},
		{"2: an older log", 0, Message{Term: 3, Log: LogID{3, 2}}, false},
	} {
		g := follower(t)
		g.replica.vote = c.vote
		c.m.Type, c.m.From = MsgVote, 1
		if a := one(t, say(t, g, c.m), MsgVoteAnswer); a.Reject == c.grant || a.Term != 3 {
			t.Errorf("%s: %+v", c.name, a)
		}
	}
}

// "AppendEntries RPC: 1. Reply false if term < currentTerm. 2. Reply false if
// log doesn't contain an entry at prevLogIndex whose term matches prevLogTerm.
// 3. If an existing entry conflicts with a new one, delete the existing entry
// and all that follow it. 4. Append any new entries not already in the log.
// 5. If leaderCommit > commitIndex, set commitIndex = min(leaderCommit, index
// of last new entry)."
func TestPaperFigure2AppendEntries(t *testing.T) {
	for _, c := range []struct {
		name   string
		m      Message
		reject bool
		last   LogID
		commit uint64
	}{
		{"1", Message{Term: 2, Log: LogID{2, 2}, Commit: 2}, true, LogID{3, 3}, 2},
		{"2, no entry", Message{Term: 4, Log: LogID{4, 7}}, true, LogID{3, 3}, 2},
		{"2, another term", Message{Term: 4, Log: LogID{4, 3}}, true, LogID{3, 3}, 2},
		{"3", Message{Term: 4, Log: LogID{2, 2}, Entries: []Entry{entry(4, 3)}}, false, LogID{4, 3}, 2},
		{"4, all new", Message{Term: 4, Log: LogID{3, 3}, Entries: []Entry{entry(4, 4), entry(4, 5)}}, false, LogID{4, 5}, 2},
		{"4, some here", Message{Term: 4, Log: LogID{2, 2}, Entries: []Entry{entry(3, 3), entry(4, 4)}}, false, LogID{4, 4}, 2},
		{"5, the leader's", Message{Term: 4, Log: LogID{3, 3}, Commit: 4, Entries: []Entry{entry(4, 4), entry(4, 5)}}, false, LogID{4, 5}, 4},
		{"5, the last new", Message{Term: 4, Log: LogID{3, 3}, Commit: 9, Entries: []Entry{entry(4, 4)}}, false, LogID{4, 4}, 4},
		{"5, a heartbeat by append", Message{Term: 4, Log: LogID{2, 2}, Commit: 9}, false, LogID{3, 3}, 2},
	} {
		g := follower(t)
		c.m.Type, c.m.From = MsgAppend, 1
		a := one(t, say(t, g, c.m), MsgAppendAnswer)
		if st := g.Status(); a.Reject != c.reject || st.Last != c.last || st.Commit != c.commit {
			t.Errorf("%s: reject %v, last %s, commit %d", c.name, a.Reject, st.Last, st.Commit)
		}
	}
}

// "All servers: If commitIndex > lastApplied: increment lastApplied, apply
// log[lastApplied]" — in order, each once.
func TestPaperFigure2Apply(t *testing.T) {
	g := follower(t)
	step(t, g, Message{Type: MsgAppend, From: 1, To: 2, Term: 4, Log: LogID{3, 3}, Commit: 5, Entries: []Entry{entry(4, 4), entry(4, 5)}})
	var got []uint64
	for range 3 {
		rd := g.Ready()
		for _, e := range rd.Committed {
			got = append(got, e.ID.Index)
		}
		g.Synced(rd.Number)
	}
	if len(got) != 3 || got[0] != 3 || got[2] != 5 {
		t.Errorf("applied %v, want 3 4 5", got)
	}
}

// "All servers: If RPC request or response contains term T > currentTerm: set
// currentTerm = T, convert to follower." Excepted are PreVotes, of a term that
// nobody has, and votes asked of one that hears its leader (section 6).
func TestPaperFigure2LaterTerm(t *testing.T) {
	for _, m := range []Message{
		{Type: MsgAppend}, {Type: MsgAppendAnswer}, {Type: MsgHeartbeat}, {Type: MsgHeartbeatAnswer}, {Type: MsgVoteAnswer, Reject: true},
		{Type: MsgTransferVote}, {Type: MsgTimeoutNow}, {Type: MsgReadIndex}, {Type: MsgReadIndexAnswer}, {Type: MsgQuiet},
	} {
		g := elected(t, Config{}, 3)
		m.From, m.Term = 2, 7
		say(t, g, m)
		if st := g.Status(); st.Term < 7 || st.Role == RoleLeader {
			t.Errorf("%s: %s in term %d", m.Type, st.Role, st.Term)
		}
	}
}

// "Followers: If election timeout elapses without receiving AppendEntries RPC
// from current leader or granting vote to candidate: convert to candidate", by
// way of PreVote here. "Candidates: On conversion: increment currentTerm, vote
// for self, reset election timer, send RequestVote RPCs to all other servers."
func TestPaperFigure2Timeout(t *testing.T) {
	g := follower(t)
	for range ElectionTicksDefault - 1 {
		g.Tick()
	}
	say(t, g, Message{Type: MsgHeartbeat, From: 1, Term: 3})
	for range ElectionTicksDefault - 1 {
		g.Tick()
	}
	if r := g.Status().Role; r != RoleFollower {
		t.Fatalf("a heartbeat does not reset its patience: %s", r)
	}
	for range ElectionTicksDefault + 1 {
		g.Tick()
	}
	asked := 0
	for _, m := range say(t, g, Message{Type: MsgPreVoteAnswer, From: 1, Term: 4}) {
		if m.Type == MsgVote && m.Term == 4 {
			asked++
		}
	}
	if st := g.Status(); st.Role != RoleCandidate || st.Term != 4 || st.Vote != 2 || g.replica.timer.silence != 0 || asked != 2 {
		t.Errorf("%s in term %d, vote %d, asks %d", st.Role, st.Term, st.Vote, asked)
	}
}

// candidate returns replica 2 of three, candidate in term 4.
func candidate(t testing.TB) *Group {
	g := follower(t)
	g.Campaign()
	say(t, g, Message{Type: MsgPreVoteAnswer, From: 1, Term: 4})
	return g
}

// "Candidates: If votes received from majority of servers: become leader. If
// AppendEntries RPC received from new leader: convert to follower. If election
// timeout elapses: start new election." Section 5.2: an RPC of an earlier term
// is rejected and the candidate continues.
func TestPaperFigure2Candidates(t *testing.T) {
	g := candidate(t)
	say(t, g, Message{Type: MsgAppend, From: 3, Term: 3, Log: LogID{3, 3}})
	if r := g.Status().Role; r != RoleCandidate {
		t.Errorf("an earlier term's leader makes it %s", r)
	}
	say(t, g, Message{Type: MsgVoteAnswer, From: 1, Term: 4})
	if r := g.Status().Role; r != RoleLeader {
		t.Errorf("two of three votes make it %s", r)
	}
	g = candidate(t)
	say(t, g, Message{Type: MsgHeartbeat, From: 3, Term: 4})
	if st := g.Status(); st.Role != RoleFollower || st.Leader != 3 {
		t.Errorf("a leader of its term makes it %s", st.Role)
	}
	g = candidate(t)
	for range 2 * ElectionTicksDefault {
		g.Tick()
	}
	if r := g.Status().Role; r != RolePreCandidate {
		t.Errorf("a timeout makes it %s", r)
	}
}

// "Leaders: Upon election: send initial AppendEntries to each server; repeat
// during idle periods." Section 8: the initial one is "a blank no-op entry".
func TestPaperFigure2LeaderSpeaks(t *testing.T) {
	g := candidate(t)
	first := say(t, g, Message{Type: MsgVoteAnswer, From: 1, Term: 4})
	if a := one(t, first, MsgAppend); len(a.Entries) != 1 || a.Entries[0].Kind != EntryNoOp || a.Log != (LogID{3, 3}) {
		t.Errorf("its first word is %+v", a)
	}
	for range HeartbeatTicksDefault {
		g.Tick()
	}
	one(t, g.Ready().Messages, MsgHeartbeat)
}

// "Leaders: If successful: update nextIndex and matchIndex. If AppendEntries
// fails because of log inconsistency: decrement nextIndex and retry."
func TestPaperFigure2NextIndex(t *testing.T) {
	g := candidate(t)
	say(t, g, Message{Type: MsgVoteAnswer, From: 1, Term: 4})
	retry := say(t, g, Message{Type: MsgAppendAnswer, From: 1, Term: 4, Log: LogID{3, 3}, Reject: true, Conflict: LogID{1, 1}, Commit: 1})
	if a := one(t, retry, MsgAppend); a.Log.Index > 1 {
		t.Errorf("it tries again after %s", a.Log)
	}
	say(t, g, Message{Type: MsgAppendAnswer, From: 1, Term: 4, Log: LogID{4, 4}})
	if p := g.Status().Progress[0]; p.Match != 4 || p.Next != 5 {
		t.Errorf("%+v, want match 4 and next 5", p)
	}
}

// Section 5.2: "each server will vote for at most one candidate in a given
// term, on a first-come-first-served basis"; and timeouts are random, so that
// they differ.
func TestPaper52(t *testing.T) {
	seen := [2 * ElectionTicksDefault]bool{}
	for chance := range uint64(400) {
		g := newGroup(t, Config{Self: 1, Chance: chance}, Restored{Membership: Membership{Voters: voters(1, 2, 3), Next: 4}})
		seen[g.replica.timer.limit] = true
	}
	for n, ok := range seen {
		if ok != (n >= ElectionTicksDefault) {
			t.Errorf("an election timeout of %d ticks: %v", n, ok)
		}
	}
	g := follower(t)
	first := one(t, say(t, g, Message{Type: MsgVote, From: 1, Term: 5, Log: LogID{4, 4}}), MsgVoteAnswer)
	second := one(t, say(t, g, Message{Type: MsgVote, From: 3, Term: 5, Log: LogID{4, 9}}), MsgVoteAnswer)
	if first.Reject || !second.Reject {
		t.Errorf("first %+v, second %+v", first, second)
	}
}

// Section 5.3: "a leader never overwrites or deletes entries in its log"
// (append-only), and what claims otherwise is a second leader of its term.
func TestPaper53(t *testing.T) {
	g := elected(t, Config{}, 3)
	err := g.Step(Message{Type: MsgAppend, From: 2, To: 1, Term: 1, Entries: []Entry{entry(1, 1)}})
	if !errors.Is(err, ErrTwoLeaders) || g.Status().Last != (LogID{1, 1}) {
		t.Errorf("got %v, last %s", err, g.Status().Last)
	}
}

// Section 5.5: "Raft RPCs are idempotent": what comes twice does no harm.
func TestPaper55(t *testing.T) {
	g := follower(t)
	m := Message{Type: MsgAppend, From: 1, Term: 4, Log: LogID{3, 3}, Entries: []Entry{entry(4, 4)}}
	first := one(t, say(t, g, m), MsgAppendAnswer)
	second := one(t, say(t, g, m), MsgAppendAnswer)
	if first.Reject || second.Reject || first.Log != second.Log || g.Status().Last != (LogID{4, 4}) {
		t.Errorf("%+v, then %+v", first, second)
	}
}

// Section 6: new servers "join the cluster as non-voting members"; "the cluster
// first switches to a transitional configuration"; "once C-old,new has been
// committed [...] it is now safe for the leader to create" C-new; "the leader
// steps down once it has committed" a C-new without it; and servers "disregard
// RequestVote RPCs when they believe a current leader exists".
func TestPaper6(t *testing.T) {
	g := elected(t, Config{}, 3)
	changed, err := g.Change(Change{Add: []NewMember{{Node: 9, Goal: GoalVoter}}, Remove: []ReplicaID{1}})
	m := changed.Membership
	if err != nil || m.Votes(4) || len(m.Outgoing) != 3 {
		t.Fatalf("%+v, %v", m, err)
	}
	if _, err := g.Change(Change{Remove: []ReplicaID{2}}); !errors.Is(err, ErrChanging) {
		t.Errorf("a second change: %v", err)
	}
	g.Synced(g.Ready().Number)
	ack(t, g, 2, 2)
	if st := g.Status(); !st.Joint || st.Commit != 1 {
		t.Errorf("two of the old and one of the new have it: commit %d", st.Commit)
	}
	ack(t, g, 3, 2)
	if st := g.Status(); st.Joint || st.Last.Index != 3 || st.Role != RoleLeader {
		t.Errorf("the joint one is committed: joint %v, last %s, %s", st.Joint, st.Last, st.Role)
	}
	g.Synced(g.Ready().Number)
	ack(t, g, 2, 3)
	if st := g.Status(); st.Commit != 2 || st.Role != RoleLeader {
		t.Errorf("one of the two who stay has it, the leader does not count: commit %d, %s", st.Commit, st.Role)
	}
	ack(t, g, 3, 3)
	if st := g.Status(); st.Commit != 3 || st.Role != RoleFollower {
		t.Errorf("it is removed: commit %d, %s", st.Commit, st.Role)
	}
	one(t, g.Ready().Messages, MsgTimeoutNow)

	f := follower(t)
	say(t, f, Message{Type: MsgHeartbeat, From: 1, Term: 3})
	if a := one(t, say(t, f, Message{Type: MsgVote, From: 3, Term: 9, Log: LogID{8, 8}}), MsgVoteAnswer); !a.Reject || f.replica.term != 3 {
		t.Errorf("it hears its leader and answers %+v", a)
	}
}

// Section 7, InstallSnapshot: "If existing log entry has same index and term as
// snapshot's last included entry, retain log entries following it. Discard the
// entire log" otherwise; "load snapshot's cluster configuration". A snapshot of
// what is applied here changes nothing.
func TestPaper7(t *testing.T) {
	members := Membership{Voters: voters(1, 2), Next: 9}
	for _, c := range []struct {
		name    string
		base    LogID
		install bool
		last    LogID
		commit  uint64
	}{
		{"it is applied here", LogID{1, 1}, false, LogID{3, 3}, 2},
		{"its last entry is here", LogID{3, 3}, false, LogID{3, 3}, 3},
		{"another entry is here", LogID{4, 3}, true, LogID{4, 3}, 3},
		{"it reaches further", LogID{4, 8}, true, LogID{4, 8}, 8},
	} {
		g := follower(t)
		step(t, g, Message{Type: MsgSnapshot, From: 1, To: 2, Term: 5, Log: c.base, Install: &Install{Base: c.base, Membership: members}})
		rd := g.Ready()
		g.Synced(rd.Number)
		st := g.Status()
		if (rd.Install != nil) != c.install || st.Last != c.last || st.Commit != c.commit || (len(st.Membership.Voters) == 2) != c.install {
			t.Errorf("%s: install %v, last %s, commit %d, members %+v", c.name, rd.Install, st.Last, st.Commit, st.Membership)
		}
		if a := one(t, rd.AfterSync, MsgAppendAnswer); a.Reject || a.Log.Index != max(c.base.Index, 2) || rd.MustSync != true {
			t.Errorf("%s: it answers %+v", c.name, a)
		}
	}
}

// Section 8: "a leader must check whether it has been deposed before processing
// a read-only request", by heartbeats to a majority that were sent after it
// came.
func TestPaper8(t *testing.T) {
	g := elected(t, Config{}, 3)
	if err := g.ReadIndex(5); err != nil {
		t.Fatal(err)
	}
	beat := one(t, g.Ready().Messages, MsgHeartbeat)
	step(t, g, Message{Type: MsgHeartbeatAnswer, From: 2, To: 1, Term: 1, Round: beat.Round - 1})
	if rd := g.Ready(); len(rd.Reads) != 0 {
		t.Error("an answer to an earlier heartbeat confirms it")
	}
	step(t, g, Message{Type: MsgHeartbeatAnswer, From: 2, To: 1, Term: 1, Round: beat.Round})
	if rd := g.Ready(); len(rd.Reads) != 1 || rd.Reads[0] != (Read{5, 1}) {
		t.Errorf("reads %+v", rd.Reads)
	}
}
