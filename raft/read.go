package raft

import "fmt"

// reads are those that wait for a leader's confirmation (the dissertation,
// section 6.4). A round is one exchange of heartbeats: who answers round n
// followed this leader after the round began, so none of the reads that wait
// for it can have missed what a later leader committed before they came. One
// round is under way at a time and serves all reads that came before it.
type reads struct {
	round   uint64   // of the newest heartbeats
	asked   []uint64 // numbers of the reads that wait for round
	index   uint64   // the commit when round began, which these get
	waiting []uint64 // numbers of the reads that wait for the next round
}

func (r *reads) pending() int { return len(r.asked) + len(r.waiting) }

// ReadIndex asks from which index on a read that begins now may run. The
// answer is in Ready.Reads, or the loss of leadership in Ready.ReadsLost, under
// the owner's own number n. A leader that has not committed an entry of its
// own term yet does not know the commit, and lets the read wait for it.
func (g *Group) ReadIndex(n uint64) error {
	if g.stopped != nil {
		return g.stopped
	}
	if g.role != RoleLeader {
		return ErrNotLeader
	}
	if g.reads.pending() >= g.config.PendingReadsMax {
		return fmt.Errorf("%w: %d reads wait for a confirmation, which is the limit", ErrBusy, g.reads.pending())
	}
	g.reads.waiting = append(g.reads.waiting, n)
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
	if term, _ := g.log.termAt(g.log.commit); term != g.term {
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
	return g.quorumOf(g.reads.round, func(p *progress) uint64 { return p.round }) >= g.reads.round
}

func (g *Group) answerReads() {
	for _, n := range g.reads.asked {
		g.out.reads = append(g.out.reads, Read{Number: n, Index: g.reads.index})
	}
	g.reads.asked = g.reads.asked[:0]
}

// loseReads gives up what waits. What was confirmed stays so.
func (g *Group) loseReads() {
	g.out.readsLost = append(g.out.readsLost, g.reads.asked...)
	g.out.readsLost = append(g.out.readsLost, g.reads.waiting...)
	g.reads = reads{}
}
