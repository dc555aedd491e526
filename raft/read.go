package raft

import "fmt"

// reads are those that wait for a leader's confirmation (the dissertation,
// section 6.4). A round is one exchange of heartbeats: who answers round n
// followed this leader after the round began, so none of the reads that wait
// for it can have missed what a later leader committed before they came. One
// round is under way at a time and serves all reads that came before it.
type reads struct {
	round   uint64  // of the newest heartbeats
	asked   []asker // of the reads that wait for round
	index   uint64  // the commit when round began, which these get
	waiting []asker // of the reads that wait for the next round
}

// asker is who gets the answer to a read: the owner, or a follower, under a
// number of its own.
type asker struct {
	number uint64
	from   ReplicaID // 0: the owner
}

func (r *reads) pending() int { return len(r.asked) + len(r.waiting) }

// questions are a follower's reads, for which it asks the leader.
type questions struct {
	number uint64 // of the last question; never one of an earlier start of this replica
	ticks  int    // since then
	due    bool   // some of list are not asked yet
	list   []question
}

// question is a read that an answer to number, or to a later question, answers:
// the leader confirmed itself after the read had begun.
type question struct{ read, number uint64 }

// ReadIndex asks from which index on a read that begins now may run. The
// answer is in Ready.Reads, or the loss of leadership in Ready.ReadsLost, under
// the owner's own number n. A leader that has not committed an entry of its
// own term yet does not know the commit, and lets the read wait for it. A
// follower asks its leader; it takes no read when it knows of none.
func (g *Group) ReadIndex(n uint64) error {
	if g.stopped != nil {
		return g.stopped
	}
	pending := g.reads.pending() + len(g.questions.list)
	switch {
	case g.lead == 0:
		return ErrNotLeader
	case pending >= g.config.PendingReadsMax:
		return fmt.Errorf("%w: %d reads wait for a confirmation, which is the limit", ErrBusy, pending)
	}
	g.wake()
	if g.role == RoleLeader {
		g.reads.waiting = append(g.reads.waiting, asker{number: n})
		return nil
	}
	g.questions.add(n)
	return nil
}

// advanceReads answers the reads whose round is confirmed, and begins the next
// round if any wait for it. It runs when a Ready is looked for, so that all
// reads that came since the last one share a round.
func (g *Group) advanceReads() {
	r := &g.reads
	if len(r.asked) > 0 {
		if !g.roundConfirmed() {
			return
		}
		g.answerReads()
	}
	if len(r.waiting) == 0 {
		return
	}
	// A leader holds all that is committed, but does not know which of it is
	// until an entry of its own term is (the paper, section 8).
	if term, _ := g.log.termAt(g.log.commit); term != g.term && !bug("read before own commit") {
		return
	}
	r.round++
	r.asked, r.waiting = r.waiting, r.asked[:0]
	r.index = g.log.commit
	if g.roundConfirmed() { // a group of one asks nobody
		g.answerReads()
		return
	}
	g.beat()
}

func (g *Group) roundConfirmed() bool {
	if bug("serve after CheckQuorum") && g.quorumLost() {
		return true
	}
	return g.followers.quorum(g.members.now(), g.reads.round, func(p *progress) uint64 { return p.round }) >= g.reads.round
}

func (g *Group) answerReads() {
	for _, a := range g.reads.asked {
		g.answerRead(a, Message{Type: MsgReadIndexAnswer, Log: LogID{Index: g.reads.index}})
	}
	g.reads.asked = g.reads.asked[:0]
}

func (g *Group) answerRead(a asker, m Message) {
	switch {
	case a.from != 0:
		m.Round = a.number
		g.send(a.from, m)
	case m.Reject:
		g.out.readsLost = append(g.out.readsLost, a.number)
	default:
		g.out.reads = append(g.out.reads, Read{Number: a.number, Index: m.Log.Index})
	}
}

// loseReads gives up what waits. What was confirmed stays so.
func (g *Group) loseReads() {
	for _, list := range [...][]asker{g.reads.asked, g.reads.waiting} {
		for _, a := range list {
			g.answerRead(a, Message{Type: MsgReadIndexAnswer, Reject: true})
		}
	}
	g.reads = reads{}
	g.questions.lose(&g.out)
}

// lose gives up all questions.
func (q *questions) lose(out *output) {
	for _, r := range q.list {
		out.readsLost = append(out.readsLost, r.read)
	}
	q.list, q.due = nil, false
}

// add begins a read under the owner's number.
func (q *questions) add(read uint64) {
	q.list = append(q.list, question{read, q.number + 1})
	q.due = true
}

// stepReadIndex takes a follower's question.
func (g *Group) stepReadIndex(m *Message) {
	if g.role != RoleLeader || g.reads.pending() >= g.config.PendingReadsMax {
		g.send(m.From, Message{Type: MsgReadIndexAnswer, Round: m.Round, Reject: true})
		return
	}
	g.idle = 0
	g.reads.waiting = append(g.reads.waiting, asker{number: m.Round, from: m.From})
}

// stepReadIndexAnswer answers the reads that began before that question was
// sent. The answer is bound to its number, so one that is late, or given
// twice, answers none that came after; and to whom was asked, for nobody else
// can know.
func (g *Group) stepReadIndexAnswer(m *Message) {
	if m.Round <= g.questions.number && m.From == g.lead {
		g.questions.answer(m, &g.out)
	}
}

// answer takes an answer of the leader that was asked.
func (q *questions) answer(m *Message, out *output) {
	kept := q.list[:0]
	for _, r := range q.list {
		switch {
		case r.number > m.Round:
			kept = append(kept, r)
		case m.Reject:
			out.readsLost = append(out.readsLost, r.read)
		default:
			out.reads = append(out.reads, Read{Number: r.read, Index: m.Log.Index})
		}
	}
	q.list = kept
}

// ask sends one question for all reads that came since the last one.
func (g *Group) ask() {
	q := &g.questions
	if !q.due {
		return
	}
	q.due = false
	q.number++
	q.ticks = 0
	g.send(g.lead, Message{Type: MsgReadIndex, Round: q.number})
}

// tick asks again after some ticks of patience: the question or its answer may be lost.
func (q *questions) tick(patience int) {
	if len(q.list) == 0 {
		return
	}
	if q.ticks++; q.ticks >= patience {
		q.due = true
	}
}
