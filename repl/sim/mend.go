package sim

import (
	"muster/logstore"
	"muster/raft"
	"muster/repl"
	"muster/repl/wire"
)

// sendBody sends a frame that is for none of the cores. These are rare, so all
// of them travel as bytes.
func (n *node) sendBody(to raft.NodeID, t wire.Type, b wire.Body) {
	v := n.c.queue.get(evFrame)
	v.wtype = t
	v.body = b.Append(v.body[:0])
	n.c.net.send(n, to, v)
}

// SendRepair implements [repl.Transport].
func (n *node) SendRepair(to raft.NodeID, q *wire.Repair) { n.sendBody(to, wire.TypeRepair, q) }

// AnswerRepair implements [repl.Transport].
func (n *node) AnswerRepair(to raft.NodeID, a *wire.RepairAnswer, r logstore.Replica, wanted []wire.RepairSpan) {
	copied := *a
	copied.Entries = repl.ReadIntact(n.store, r, wanted, wire.RepairBytesMax)
	n.sendBody(to, wire.TypeRepairAnswer, &copied)
}

// SendLife implements [repl.Transport].
func (n *node) SendLife(to raft.NodeID, t wire.Type, b wire.Body) { n.sendBody(to, t, b) }

// SendSnapshotRequest implements [repl.Transport].
func (n *node) SendSnapshotRequest(to raft.NodeID, q *wire.SnapshotRequest) {
	n.sendBody(to, wire.TypeSnapshotRequest, q)
}

// frame is the arrival of such a frame.
func (n *node) frame(e *event) {
	from := raft.NodeID(e.from)
	read := func(b wire.Body, body []byte) {
		if err := b.Read(body); err != nil {
			n.c.fail("n%d can't read a %s of n%d: %v", n.index, e.wtype, e.from, err)
		}
	}
	switch e.wtype {
	case wire.TypeRepair:
		q := new(wire.Repair)
		read(q, e.body)
		n.host.ReceiveRepair(from, q)
	case wire.TypeRepairAnswer:
		a := new(wire.RepairAnswer)
		read(a, append([]byte(nil), e.body...)) // its entries go into the log as they are
		n.host.ReceiveRepairAnswer(from, a)
	case wire.TypeLifeQuestion:
		q := new(wire.LifeQuestion)
		read(q, e.body)
		n.host.ReceiveLifeQuestion(from, q)
	case wire.TypeLifeAnswer:
		a := new(wire.LifeAnswer)
		read(a, e.body)
		n.host.ReceiveLifeAnswer(from, a)
	case wire.TypeSnapshotRequest:
		q := new(wire.SnapshotRequest)
		read(q, e.body)
		n.host.ReceiveSnapshotRequest(from, q)
	case wire.TypeAddresses:
		a := new(wire.Addresses)
		read(a, e.body)
		n.where.told(a.Nodes)
	case wire.TypeChunk:
		n.takeChunk(e.from, append([]byte(nil), e.body...))
	case wire.TypeChunkAnswer:
		n.chunkAnswered(e.from, e.body)
	default:
		n.c.fail("nobody knows what to do with a frame of type %s", e.wtype)
	}
}
