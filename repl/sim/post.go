package sim

import (
	"errors"

	"muster/logstore"
	"muster/raft"
	"muster/repl"
	"muster/repl/wire"
)

// post sends what a node's host says to other nodes: it is the [repl.Transport] of its
// process. It also takes in frames that are not for raft.
type post struct {
	n       *node
	crashOn raft.MessageType // the node crashes when it has sent one of these; 0: none
	passers []*passer        // of the process: its ends of the connections on which others pass requests on
}

// Send implements [repl.Transport].
func (p *post) Send(to raft.NodeID, e *wire.Envelope) {
	v := p.n.c.queue.get(evMessage)
	v.envelope = *e
	if t := e.Message.Type; t == raft.MsgAppend {
		p.n.c.truth[e.Group].leads(p.n, e.Message.From, e.Message.Term)
	}
	p.n.ledger.promised(e)
	p.n.c.net.send(p.n, to, v)
	if p.crashOn != 0 && e.Message.Type == p.crashOn {
		p.crashOn = 0
		v := p.n.event(evCrash)
		p.n.c.after(0, v)
	}
}

// Fetch implements [repl.Transport].
func (p *post) Fetch(to raft.NodeID, e *wire.Envelope, current func() bool) {
	copied := *e
	m := &copied.Message
	r := logstore.Replica{Group: e.Group, Incarnation: e.Incarnation, ID: m.From}
	entries, err := p.n.store.Read(r, m.Log.Index+1, m.Fetch, raft.AppendBytesMaxDefault)
	if err != nil {
		if p.n.refusals.caused(err) {
			if errors.Is(err, logstore.ErrDamaged) {
				p.n.host.DamageFound()
			}
			return // as if the message were lost
		}
		if p.n.decay.hurt && errors.Is(err, logstore.ErrDamaged) {
			p.n.host.DamageFound()
			return
		}
		p.n.c.fail("n%d: fetch: %v", p.n.index, err)
	}
	m.Entries, m.Fetch = entries, 0
	if current() {
		p.Send(to, &copied)
	}
}

// SendBeat implements [repl.Transport].
func (p *post) SendBeat(to raft.NodeID, b *wire.Beat, answer bool) {
	v := p.n.c.queue.get(evBeat)
	v.answer = answer
	v.beat.Mark, v.beat.Batch, v.beat.Sequence = b.Mark, b.Batch, b.Sequence
	v.beat.Messages = append(v.beat.Messages[:0], b.Messages...)
	v.beat.Rests = append(v.beat.Rests[:0], b.Rests...)
	if !answer {
		for i := range b.Messages {
			m := &b.Messages[i]
			p.n.c.truth[m.Group].leads(p.n, m.From, m.Term)
		}
	}
	p.n.c.net.send(p.n, to, v)
}

// Flush implements [repl.Transport].
func (p *post) Flush() {}

// sendBody sends a frame that is not for raft. These are rare, so all of them travel as
// bytes.
func (p *post) sendBody(to raft.NodeID, t wire.Type, b wire.Body) {
	v := p.n.c.queue.get(evFrame)
	v.wtype = t
	v.body = b.Append(v.body[:0])
	p.n.c.net.send(p.n, to, v)
}

// SendRepair implements [repl.Transport].
func (p *post) SendRepair(to raft.NodeID, q *wire.Repair) { p.sendBody(to, wire.TypeRepair, q) }

// AnswerRepair implements [repl.Transport].
func (p *post) AnswerRepair(to raft.NodeID, a *wire.RepairAnswer, r logstore.Replica, wanted []wire.RepairSpan) {
	copied := *a
	copied.Entries = repl.ReadIntact(p.n.store, r, wanted, wire.RepairBytesMax)
	p.sendBody(to, wire.TypeRepairAnswer, &copied)
}

// SendLife implements [repl.Transport].
func (p *post) SendLife(to raft.NodeID, t wire.Type, b wire.Body) { p.sendBody(to, t, b) }

// SendAudit implements [repl.Transport].
func (p *post) SendAudit(to raft.NodeID, t wire.Type, b wire.Body) {
	if v, ok := b.(*wire.AuditVerdict); ok {
		p.n.c.flaws.judges(p.n, to, v)
	}
	p.sendBody(to, t, b)
}

// SendSnapshotRequest implements [repl.Transport].
func (p *post) SendSnapshotRequest(to raft.NodeID, q *wire.SnapshotRequest) {
	p.sendBody(to, wire.TypeSnapshotRequest, q)
}

// SendSnapshot implements [repl.Transport].
func (p *post) SendSnapshot(to raft.NodeID, o *repl.SnapshotStream) {
	p.n.bulk.streams = append(p.n.bulk.streams, &stream{to: to, of: o})
	p.n.bulk.lookAt(o.Number, p.n.beside.stepTime())
}

// arrived takes such a frame.
func (p *post) arrived(e *event) {
	from := raft.NodeID(e.from)
	read := func(b wire.Body, body []byte) {
		if err := b.Read(body); err != nil {
			p.n.c.fail("n%d can't read a %s of n%d: %v", p.n.index, e.wtype, e.from, err)
		}
	}
	switch e.wtype {
	case wire.TypeRepair:
		q := new(wire.Repair)
		read(q, e.body)
		p.n.host.ReceiveRepair(from, q)
	case wire.TypeRepairAnswer:
		a := new(wire.RepairAnswer)
		read(a, append([]byte(nil), e.body...)) // its entries go into the log as they are
		p.n.host.ReceiveRepairAnswer(from, a)
	case wire.TypeLifeQuestion:
		q := new(wire.LifeQuestion)
		read(q, e.body)
		p.n.host.ReceiveLifeQuestion(from, q)
	case wire.TypeLifeAnswer:
		a := new(wire.LifeAnswer)
		read(a, e.body)
		p.n.host.ReceiveLifeAnswer(from, a)
	case wire.TypeAuditReport:
		m := new(wire.AuditReport)
		read(m, e.body)
		p.n.host.Audits.ReceiveReport(from, m)
	case wire.TypeAuditVerdict:
		m := new(wire.AuditVerdict)
		read(m, e.body)
		p.n.host.Audits.ReceiveVerdict(from, m)
	case wire.TypeSnapshotRequest:
		q := new(wire.SnapshotRequest)
		read(q, e.body)
		p.n.host.ReceiveSnapshotRequest(from, q)
	case wire.TypeAddresses:
		a := new(wire.Addresses)
		read(a, e.body)
		p.n.where.told(a.Nodes)
	case wire.TypeForward:
		p.forward(e)
	case wire.TypeWriteAnswer, wire.TypeTxnAnswer, wire.TypeLeaseAnswer, wire.TypeDelPrefixAnswer, wire.TypeGetAnswer, wire.TypeListAnswer, wire.TypeLeasesAnswer, wire.TypeServicesAnswer, wire.TypeHeartbeatAnswer,
		wire.TypePointsAnswer, wire.TypePointsDeleteAnswer, wire.TypePointsQueryAnswer, wire.TypeError:
		p.forwardAnswered(e)
	case wire.TypeChunk:
		p.n.bulk.takeChunk(e.from, append([]byte(nil), e.body...))
	case wire.TypeChunkAnswer:
		p.n.bulk.chunkAnswered(e.from, e.body)
	default:
		p.n.c.fail("nobody knows what to do with a frame of type %s", e.wtype)
	}
}
