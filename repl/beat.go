package repl

import (
	"slices"

	"muster/raft"
	"muster/repl/wire"
)

// heartbeats is what the host says to other nodes: messages of its groups at once,
// heartbeats of all groups in one frame of each turn.
type heartbeats struct {
	host     *Host
	nodes    []raft.NodeID          // the others, in order
	of       map[raft.NodeID]*beats // Invariant: of nodes, and of no other
	envelope wire.Envelope          // scratch for send
}

// beats gathers the heartbeats of one turn to one node.
type beats struct {
	sequence     uint64
	out, answers wire.Beat
	lastSent     uint64 // tick of the last one
	vouch        vouching
}

// SetNodes tells the host which other nodes there are. They get a heartbeat
// also when no group has anything to say to them.
func (h *Host) SetNodes(nodes []raft.NodeID) {
	before := h.beats.nodes
	h.beats.nodes = slices.Clone(nodes)
	slices.Sort(h.beats.nodes)
	h.contacts.depart(before, h.beats.nodes)
	was := h.beats.of
	h.beats.of = make(map[raft.NodeID]*beats, len(nodes))
	for _, n := range h.beats.nodes {
		b := was[n]
		if b == nil {
			b = new(beats)
		}
		h.beats.of[n] = b
		h.lives.know(n)
		if h.contacts.of[n] == nil {
			h.contacts.of[n] = &contact{heardTick: h.ticks}
		}
	}
}

// send sends a core's message, or keeps it for the turn's heartbeat.
func (a *heartbeats) send(g *group, m raft.Message) {
	node, ok := g.node(m.To)
	if !ok {
		return
	}
	e := &a.envelope
	*e = wire.Envelope{Group: g.replica.Group, Incarnation: g.replica.Incarnation, Mark: a.host.lives.life().Mark, Batch: a.host.lives.batch, Message: m}
	switch m.Type {
	case raft.MsgHeartbeat:
		if b := a.of[node]; b != nil {
			e.Message.Time = g.clock.word()
			b.out.Messages = append(b.out.Messages, wire.BeatMessageOf(e))
		}
	case raft.MsgHeartbeatAnswer:
		if b := a.of[node]; b != nil {
			b.answers.Messages = append(b.answers.Messages, wire.BeatMessageOf(e))
		}
	default:
		if !g.feeds(node, &m) {
			return
		}
		if m.Fetch != 0 {
			a.host.fetching.add(node, e)
			return
		}
		a.host.cfg.Transport.Send(node, e)
	}
}

// flush sends each node the heartbeats that gathered for it in one frame,
// and one to a node that got none for a heartbeat's time: it stands for the node,
// whatever its groups have to say.
func (a *heartbeats) flush() {
	stalled := a.host.cfg.Stalled != nil && a.host.cfg.Stalled()
	for _, n := range a.nodes {
		b := a.of[n]
		b.out.Stalled, b.answers.Stalled = stalled, stalled
		b.out.Rests = a.vouchFor(n, &b.vouch, b.out.Rests[:0])
		due := a.host.ticks >= b.lastSent+a.ticks()
		if len(b.out.Messages) > 0 || len(b.out.Rests) > 0 || due {
			b.sequence++
			b.lastSent = a.host.ticks
			b.out.Mark, b.out.Batch, b.out.Sequence, b.out.Fullness = a.host.lives.life().Mark, a.host.lives.batch, b.sequence, a.host.full.own
			a.host.cfg.Transport.SendBeat(n, &b.out, false)
			b.out.Messages = b.out.Messages[:0]
		}
		if len(b.answers.Messages) > 0 {
			b.answers.Mark, b.answers.Batch, b.answers.Sequence, b.answers.Fullness = a.host.lives.life().Mark, a.host.lives.batch, b.sequence, a.host.full.own
			a.host.cfg.Transport.SendBeat(n, &b.answers, true)
			b.answers.Messages = b.answers.Messages[:0]
		}
	}
}
