package node

import (
	"fmt"
	"slices"
	"testing"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// A member, or a host whose connection is taken for a member's, sends each
// replica of a node one vote message of the last term that there is. The groups
// would have no leader any more, after a restart neither, since the term is on
// disk. It must be dropped, and counted where an operator looks.
func TestForgedTermsOverConnections(t *testing.T) {
	t.Parallel()
	nodes := founders(t, 3, defaultLimits())
	r, liar := nodes[0], nodes[1]
	self := liar.node.self()
	s, err := dialAs(liar, r, r.peerHello(self.Node, self.Life().Number))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	table := r.node.table.Load()
	sent := 0
	for _, g := range append(slices.Clone(table.Groups), table.Meta) {
		m := raft.Message{Type: raft.MsgVote, From: on(&g, self.Node), To: on(&g, r.node.self().Node), Term: raft.TermLimit - 1}
		m.Log = raft.LogID{Term: m.Term, Index: raft.IndexLimit - 1}
		for _, m.Type = range []raft.MessageType{raft.MsgVote, raft.MsgTransferVote, raft.MsgTimeoutNow} {
			body := wire.AppendEnvelope(nil, &wire.Envelope{Group: g.ID, Incarnation: g.Incarnation, Mark: self.Life().Mark, Message: m})
			if _, err := s.Write(frame(wire.TypeOf(m.Type), 0, 0, body)); err != nil {
				t.Fatal(err)
			}
			sent++
		}
		beat := wire.Beat{Mark: self.Life().Mark, Sequence: 1 << 62, Messages: []wire.BeatMessage{
			{Group: g.ID, Incarnation: g.Incarnation, From: m.From, To: m.To, Term: m.Term}}}
		if _, err := s.Write(frame(wire.TypeBeat, 0, 0, wire.AppendBeat(nil, &beat))); err != nil {
			t.Fatal(err)
		}
		sent++
	}
	cl := r.client()
	defer cl.Close()
	until(t, "each of them is counted", func() error {
		_, body, err := cl.ask(wire.TypeCounters, 0, new(wire.Empty).Append(nil))
		if err != nil {
			return err
		}
		var c wire.CountersAnswer
		if err := c.Read(body); err != nil {
			return err
		}
		for _, row := range c.Rows {
			if row.Name == "refused: term too far ahead" && row.In == uint64(sent) {
				return nil
			}
		}
		return fmt.Errorf("%d were sent; rows %v", sent, c.Rows)
	})
	for _, r := range nodes {
		cl := r.client()
		until(t, "every node takes its writes", func() error { return worksSomewhere(nodes, cl) })
		cl.Close()
	}
}

// on returns the replica of a group that lives on a node, or 0.
func on(g *shardmap.TableGroup, n raft.NodeID) raft.ReplicaID {
	for _, r := range g.Replicas {
		if r.Node == n {
			return r.Replica
		}
	}
	return 0
}
