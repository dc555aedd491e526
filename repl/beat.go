package repl

import (
	"slices"

	"muster/raft"
	"muster/repl/wire"
)

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
	h.nodes = slices.Clone(nodes)
	slices.Sort(h.nodes)
	was := h.beats
	for n := range was {
		if !slices.Contains(h.nodes, n) {
			h.lives.forget(n)
		}
	}
	h.beats = make(map[raft.NodeID]*beats, len(nodes))
	for _, n := range h.nodes {
		b := was[n]
		if b == nil {
			b = new(beats)
		}
		h.beats[n] = b
		h.lives.know(n)
		if h.contacts[n] == nil {
			h.contacts[n] = &contact{heardTick: h.ticks}
		}
	}
}

// send sends a core's message, or keeps it for the turn's heartbeat.
func (h *Host) send(g *group, m raft.Message) {
	node, ok := g.node(m.To)
	if !ok {
		return
	}
	e := &h.envelope
	*e = wire.Envelope{Group: g.replica.Group, Incarnation: g.replica.Incarnation, Mark: h.lives.life().Mark, Batch: h.lives.batch, Message: m}
	switch m.Type {
	case raft.MsgHeartbeat:
		if b := h.beats[node]; b != nil {
			b.out.Messages = append(b.out.Messages, wire.BeatMessageOf(e))
		}
	case raft.MsgHeartbeatAnswer:
		if b := h.beats[node]; b != nil {
			b.answers.Messages = append(b.answers.Messages, wire.BeatMessageOf(e))
		}
	default:
		if !g.feeds(node, &m) {
			return
		}
		if m.Fetch != 0 {
			h.fetch(node, e)
			return
		}
		h.cfg.Transport.Send(node, e)
	}
}

// sendBeats sends each node the heartbeats that gathered for it in one frame,
// and one to a node that got none for a heartbeat's time: it stands for the node,
// whatever its groups have to say.
func (h *Host) sendBeats() {
	stalled := h.cfg.Stalled != nil && h.cfg.Stalled()
	for _, n := range h.nodes {
		b := h.beats[n]
		b.out.Stalled, b.answers.Stalled = stalled, stalled
		b.out.Rests = h.vouchFor(n, &b.vouch, b.out.Rests[:0])
		due := h.ticks >= b.lastSent+h.beatTicks()
		if len(b.out.Messages) > 0 || len(b.out.Rests) > 0 || due {
			b.sequence++
			b.lastSent = h.ticks
			b.out.Mark, b.out.Batch, b.out.Sequence, b.out.Fullness = h.lives.life().Mark, h.lives.batch, b.sequence, h.full.own
			h.cfg.Transport.SendBeat(n, &b.out, false)
			b.out.Messages = b.out.Messages[:0]
		}
		if len(b.answers.Messages) > 0 {
			b.answers.Mark, b.answers.Batch, b.answers.Sequence, b.answers.Fullness = h.lives.life().Mark, h.lives.batch, b.sequence, h.full.own
			h.cfg.Transport.SendBeat(n, &b.answers, true)
			b.answers.Messages = b.answers.Messages[:0]
		}
	}
}
