package repl

import (
	"errors"
	"slices"
	"time"

	"muster/logstore"
	"muster/raft"
	"muster/repl/wire"
)

// Send implements Transport.
func (n *testNode) Send(to raft.NodeID, e *wire.Envelope) {
	n.mustBeWhole(e.Group)
	copied := *e
	n.c.entriesTo[to] += len(e.Message.Entries)
	n.c.net = append(n.c.net, packet{from: n.id, to: to, envelope: &copied})
}

// Fetch implements Transport.
func (n *testNode) Fetch(to raft.NodeID, e *wire.Envelope, current func() bool) {
	copied := *e
	m := &copied.Message
	r := logstore.Replica{Group: e.Group, Incarnation: e.Incarnation, ID: m.From}
	entries, err := n.store.Read(r, m.Log.Index+1, m.Fetch, 1<<20)
	if errors.Is(err, logstore.ErrDamaged) {
		n.rotten = true
		return
	}
	if err != nil {
		n.c.t.Fatalf("fetch: %v", err)
	}
	m.Entries, m.Fetch = entries, 0
	n.c.entriesTo[to] += len(entries)
	if current() {
		n.c.net = append(n.c.net, packet{from: n.id, to: to, envelope: &copied})
	}
}

func (n *testNode) SendBeat(to raft.NodeID, b *wire.Beat, answer bool) {
	for _, m := range b.Messages {
		n.mustBeWhole(m.Group)
	}
	copied := *b
	copied.Messages, copied.Rests = slices.Clone(b.Messages), slices.Clone(b.Rests)
	n.c.net = append(n.c.net, packet{from: n.id, to: to, beat: &copied, answer: answer})
}

// SendRepair implements Transport.
func (n *testNode) SendRepair(to raft.NodeID, q *wire.Repair) {
	copied := *q
	copied.Wanted = slices.Clone(q.Wanted)
	n.c.net = append(n.c.net, packet{from: n.id, to: to, body: &copied})
}

// AnswerRepair implements Transport.
func (n *testNode) SendForward(raft.NodeID, uint64, time.Duration, *wire.Forward) bool { return false }
func (n *testNode) AnswerRepair(to raft.NodeID, a *wire.RepairAnswer, r logstore.Replica, wanted []wire.RepairSpan) {
	copied := *a
	copied.Entries = ReadIntact(n.store, r, wanted, wire.RepairBytesMax)
	n.c.net = append(n.c.net, packet{from: n.id, to: to, body: &copied})
}

// SendLife implements Transport.
func (n *testNode) SendLife(to raft.NodeID, t wire.Type, b wire.Body) {
	var copied wire.Body = new(wire.LifeQuestion)
	if t == wire.TypeLifeAnswer {
		copied = new(wire.LifeAnswer)
	}
	n.sendCopy(to, t, b, copied)
}

// SendAudit implements Transport.
func (n *testNode) SendAudit(to raft.NodeID, t wire.Type, b wire.Body) {
	var copied wire.Body = new(wire.AuditReport)
	if t == wire.TypeAuditVerdict {
		copied = new(wire.AuditVerdict)
	}
	n.sendCopy(to, t, b, copied)
}

// sendCopy sends what arrives of b, read into copied.
func (n *testNode) sendCopy(to raft.NodeID, t wire.Type, b, copied wire.Body) {
	if err := copied.Read(b.Append(nil)); err != nil {
		n.c.t.Fatalf("%s: %v", t, err)
	}
	n.c.net = append(n.c.net, packet{from: n.id, to: to, body: copied})
}

// SendSnapshotRequest implements Transport.
func (n *testNode) SendSnapshotRequest(to raft.NodeID, q *wire.SnapshotRequest) {
	copied := *q
	n.c.net = append(n.c.net, packet{from: n.id, to: to, body: &copied})
}

// SendSnapshot implements Transport.
func (n *testNode) SendSnapshot(to raft.NodeID, s *SnapshotStream) {
	n.senders = append(n.senders, &testSender{to: to, stream: s})
}

// sendChunk sends the next chunk of a snapshot, or ends one.
func (n *testNode) sendChunk() {
	if n.host == nil || len(n.senders) == 0 {
		return
	}
	i := n.c.rnd.IntN(len(n.senders))
	o := n.senders[i]
	over, err := false, error(nil)
	if o.sender == nil {
		if o.sender, err = OpenSender(n.store, o.stream); err != nil {
			over = true
		} else {
			o.sender.buf = o.sender.buf[:256] // so that there are several chunks
		}
	}
	var c wire.Chunk
	if !over {
		more, _ := o.sender.Next(&c)
		if over, err = o.sender.Ended(); !over && more {
			o.idle = 0
			body := &wire.Chunk{}
			if err := body.Read(c.Append(nil)); err != nil {
				n.c.t.Fatalf("chunk: %v", err)
			}
			n.c.net = append(n.c.net, packet{from: n.id, to: o.to, body: body})
		} else if o.idle++; !over && o.idle%20 == 0 {
			o.sender.Again()
			over, err = o.idle >= 60, errors.New("nothing is heard")
		}
	}
	if over {
		n.senders = slices.Delete(n.senders, i, i+1)
		if o.sender != nil {
			if err := o.sender.Close(); err != nil {
				n.c.t.Fatal(err)
			}
		}
		n.host.SnapshotSent(o.stream, err)
		n.turn()
	}
}

// doWork does what the host handed out.
func (n *testNode) doWork() {
	if n.host == nil || n.work == nil {
		return
	}
	w := n.work
	n.work = nil
	w.Run(n.store, nil)
	n.host.Worked(w)
	n.turn()
}

func (n *testNode) Flush() {}

// mustBeWhole fails if a damaged replica, which must not vote, acknowledge or
// lead, says anything to its group.
func (n *testNode) mustBeWhole(g raft.GroupID) {
	if n.host == nil {
		return
	}
	if m := n.host.mending.of(g); m != nil && m.group == nil {
		n.c.t.Fatalf("node %d: the damaged replica of group %d speaks", n.id, g)
	}
}
