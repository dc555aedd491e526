package repl

import (
	"bytes"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"

	"muster/logstore"
	"muster/raft"
	"muster/repl/wire"
)

// A message that can't be for this replica, or can't have been sent by one in
// order, is refused: counted under what is wrong with it, logged once however
// often it comes, and nothing is changed by it. A defect of one node, or a
// ghost of a group that is gone, must not reach another's votes or log.
func TestMessagesRefused(t *testing.T) {
	const seed = raft.GroupID(1)
	entry := func(term, index uint64) raft.Entry {
		return raft.SealedEntry(raft.EntrySeed(1, 2), raft.LogID{Term: term, Index: index}, 1, raft.EntryNormal, []byte("x"))
	}
	rotten := entry(9, 50)
	rotten.Raw = bytes.Clone(rotten.Raw)
	rotten.Raw[len(rotten.Raw)-1] ^= 1
	good := wire.Envelope{Group: seed, Incarnation: 2, Message: raft.Message{Type: raft.MsgAppend, From: 2, To: 1, Term: 9}}
	with := func(f func(*wire.Envelope)) wire.Envelope {
		e := good
		f(&e)
		return e
	}
	for _, c := range []struct {
		what string
		from raft.NodeID
		e    wire.Envelope
		why  refusal
	}{
		{"a group that is not here", 2, with(func(e *wire.Envelope) { e.Group = 77 }), refusedNotHere},
		{"an older incarnation", 2, with(func(e *wire.Envelope) { e.Incarnation = 1 }), refusedOlder},
		{"a newer incarnation", 2, with(func(e *wire.Envelope) { e.Incarnation = 3 }), refusedNewer},
		{"another replica id", 2, with(func(e *wire.Envelope) { e.Message.To = 7 }), refusedNotUs},
		{"a sender that lives elsewhere", 3, good, refusedElsewhere},
		{"no term", 2, with(func(e *wire.Envelope) { e.Message.Term = 0 }), refusedBad},
		{"a term of 2^63", 2, with(func(e *wire.Envelope) { e.Message.Term = 1 << 63 }), refusedBad},
		{"a vote in a term of 2^63", 2, with(func(e *wire.Envelope) { e.Message.Type, e.Message.Term = raft.MsgVote, 1<<63 }), refusedBad},
		{"a type that nobody knows", 2, with(func(e *wire.Envelope) { e.Message.Type = 99 }), refusedBad},
		{"entries out of order", 2, with(func(e *wire.Envelope) { e.Message.Entries = []raft.Entry{entry(9, 2), entry(9, 1)} }), refusedBad},
		{"entries with a gap", 2, with(func(e *wire.Envelope) { e.Message.Entries = []raft.Entry{entry(9, 1), entry(9, 3)} }), refusedBad},
		{"an entry whose checksum does not fit", 2, with(func(e *wire.Envelope) {
			e.Message.Log, e.Message.Entries = raft.LogID{Term: 9, Index: 49}, []raft.Entry{rotten}
		}), refusedBad},
		{"a membership that drops all and repeats a node", 2, with(func(e *wire.Envelope) {
			m := raft.Membership{Next: 4, Voters: []raft.Member{{Replica: 2, Node: 2, Goal: raft.GoalVoter}, {Replica: 3, Node: 2, Goal: raft.GoalVoter}}}
			e.Message.Entries = []raft.Entry{raft.SealedEntry(raft.EntrySeed(1, 2), raft.LogID{Term: 9, Index: 1}, 1, raft.EntryMembership, m.Append(nil))}
		}), refusedBad},
	} {
		t.Run(c.what, func(t *testing.T) {
			cl := newCluster(t, 1, 3)
			n := cl.nodes[0]
			var log bytes.Buffer
			n.host.cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
			m := raft.Membership{Next: 4}
			for i := range 3 {
				m.Voters = append(m.Voters, raft.Member{Replica: raft.ReplicaID(i + 1), Node: raft.NodeID(i + 1), Goal: raft.GoalVoter})
			}
			// A group of the second incarnation, so that there is an older one.
			delete(n.host.groups, seed)
			g, err := newGroup(n.host, logstore.Replica{Group: seed, Incarnation: 2, ID: 1}, raft.Restored{Membership: m})
			if err != nil {
				t.Fatal(err)
			}
			n.host.groups[seed] = g
			before := g.core.Status()
			for range 3 {
				e := c.e
				n.told(c.from, &e)
			}
			if got := n.host.refused.counts[c.why]; got != 3 {
				t.Errorf("counted %d times as %q, want 3; all: %v", got, c.why, n.host.Refusals())
			}
			if after := g.core.Status(); !reflect.DeepEqual(after, before) {
				t.Errorf("it was refused and changed\n%+v to\n%+v", before, after)
			}
			// A group is made here a moment later than elsewhere: that alone
			// is not worth a line.
			want := 1
			if c.why == refusedNotHere {
				want = 0
			}
			if n := strings.Count(log.String(), "message refused"); n != want {
				t.Errorf("logged %d times, want %d:\n%s", n, want, &log)
			}
			n.host.ticks += passingTicks
			for range 2 {
				e := c.e
				n.told(c.from, &e)
			}
			if n := strings.Count(log.String(), "message refused"); n != 1 || strings.Contains(log.String(), "err=<nil>") {
				t.Errorf("logged %d times, want once:\n%s", n, &log)
			}
		})
	}
}

// What is refused for its term is counted under a name of its own, which status
// shows: an operator sees that somebody lies, and to whom.
func TestForgedTermsAreCounted(t *testing.T) {
	c := written(t, 80, 4)
	for _, n := range c.nodes {
		before := n.replica().core.Status().Term
		n.told(n.id%3+1, &wire.Envelope{Group: 1, Incarnation: 1, Message: raft.Message{
			Type: raft.MsgVote, From: raft.ReplicaID(n.id%3 + 1), To: raft.ReplicaID(n.id), Term: raft.TermLimit - 1}})
		n.host.ReceiveBeat(n.id%3+1, &wire.Beat{Mark: n.host.lives.others[n.id%3+1].note.Life.Mark, Messages: []wire.BeatMessage{
			{Group: 1, Incarnation: 1, From: raft.ReplicaID(n.id%3 + 1), To: raft.ReplicaID(n.id), Term: raft.TermLimit - 1}}}, true)
		n.turn()
		if got := n.host.Refusals(); !slices.Contains(got, Refused{Why: "term too far ahead", Count: 2}) {
			t.Errorf("node %d counts %v", n.id, got)
		}
		if now := n.replica().core.Status().Term; now != before {
			t.Errorf("node %d goes from term %d to %d", n.id, before, now)
		}
	}
	c.write(1, 3)
}
