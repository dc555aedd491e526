package raft

import "fmt"

// reads are those that wait for a leader's confirmation (the dissertation,
// section 6.4). A round is one exchange of heartbeats: a replica that answers round n
// followed this leader after the round began, so none of the reads that wait
// for it can have missed what a later leader committed before they came. One
// round is under way at a time and serves all reads that came before it.
type reads struct {
	round   uint64  // of the newest heartbeats
	asked   []asker // of the reads that wait for round
	index   uint64  // the commit when round began, which these get
	waiting []asker // of the reads that wait for the next round
}

// asker gets the answer to a read: the owner, or a follower, under a
// number of its own.
type asker struct {
	number uint64
	from   ReplicaID // 0: the owner
}

func (r *reads) pending() int { return len(r.asked) + len(r.waiting) }

// add makes a read wait for the next round.
func (r *reads) add(a asker) { r.waiting = append(r.waiting, a) }

// begin begins the next round, for all reads that wait, at the present commit.
func (r *reads) begin(commit uint64) {
	r.round++
	r.asked, r.waiting = r.waiting, r.asked[:0]
	r.index = commit
}

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
	r := &g.replica
	if r.stopped != nil {
		return r.stopped
	}
	pending := r.pendingReads()
	switch {
	case r.lead == 0:
		return ErrNotLeader
	case pending >= r.config.PendingReadsMax:
		return fmt.Errorf("%w: %d reads wait for a confirmation, which is the limit", ErrBusy, pending)
	}
	r.wake()
	if r.leading != nil {
		r.leading.reads.add(asker{number: n})
	} else {
		r.questions.add(n)
	}
	return nil
}

// pendingReads counts the reads that wait here, at a leader or at a follower.
func (r *replica) pendingReads() int {
	if r.leading != nil {
		return r.leading.reads.pending()
	}
	return len(r.questions.list)
}

// advanceReads answers the reads whose round is confirmed, and begins the next
// round if any wait for it. It runs when a Ready is looked for, so that all
// reads that came since the last one share a round.
func (l *leader) advanceReads() {
	r, reads := l.replica, &l.reads
	// One round at a time: reads that come during it wait, because its heartbeats may
	// have been answered before they began.
	if len(reads.asked) > 0 {
		if !l.roundConfirmed() {
			return
		}
		l.answerReads()
	}
	if len(reads.waiting) == 0 {
		return
	}
	// A leader holds all that is committed, but does not know which of it is
	// until an entry of its own term is (the paper, section 8).
	if term, _ := r.log.termAt(r.log.commit); term != r.term && !bug("read before own commit") {
		return
	}
	// All reads that wait came before this moment, so the present commit covers every
	// write that was answered before one of them began (the dissertation, section 6.4,
	// step 2).
	reads.begin(r.log.commit)
	if l.roundConfirmed() { // a group of one asks nobody
		l.answerReads()
		return
	}
	l.beat()
}

func (l *leader) roundConfirmed() bool {
	if bug("serve after CheckQuorum") && l.quorumLost() {
		return true
	}
	return l.quorum(l.reads.round, func(p *progress) uint64 { return p.round }) >= l.reads.round
}

func (l *leader) answerReads() {
	r := l.replica
	for _, a := range l.reads.asked {
		if a.from != 0 {
			r.send(a.from, Message{Type: MsgReadIndexAnswer, Round: a.number, Log: LogID{Index: l.reads.index}})
		} else {
			r.out.reads = append(r.out.reads, Read{Number: a.number, Index: l.reads.index})
		}
	}
	l.reads.asked = l.reads.asked[:0]
}

// loseReads gives up the reads that wait. Those that are confirmed stay confirmed.
func (l *leader) loseReads() {
	r := l.replica
	for _, list := range [...][]asker{l.reads.asked, l.reads.waiting} {
		for _, a := range list {
			if a.from != 0 {
				r.send(a.from, Message{Type: MsgReadIndexAnswer, Round: a.number, Reject: true})
			} else {
				r.out.readsLost = append(r.out.readsLost, a.number)
			}
		}
	}
	l.reads = reads{}
}

// stepReadIndex takes a follower's question.
func (l *leader) stepReadIndex(m *Message) {
	r := l.replica
	if l.reads.pending() >= r.config.PendingReadsMax {
		r.send(m.From, Message{Type: MsgReadIndexAnswer, Round: m.Round, Reject: true})
		return
	}
	l.idle = 0
	l.reads.add(asker{number: m.Round, from: m.From})
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
	// The answer to a question that is under way may be from before this read began,
	// so only the next question counts for it.
	q.list = append(q.list, question{read, q.number + 1})
	q.due = true
}

// ask returns the number of a question for all reads that came since the last one.
func (q *questions) ask() uint64 {
	q.due = false
	q.number++
	q.ticks = 0
	return q.number
}

// answer answers the reads that began before the question was sent. The answer is
// bound to its number, so one that is late, or given twice, answers no later read.
func (q *questions) answer(m *Message, out *output) {
	if m.Round > q.number {
		return // never asked, or asked by an earlier start of this replica
	}
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

// tick asks again after some ticks of patience: the question or its answer may be lost.
func (q *questions) tick(patience int) {
	if len(q.list) == 0 {
		return
	}
	if q.ticks++; q.ticks >= patience {
		q.due = true
	}
}
