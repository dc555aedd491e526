package raft

// progress is how a leader feeds one other replica.
type progress struct {
	replica ReplicaID
	state   ProgressState
	// match: all up to there is the leader's and is durable there. It comes
	// from accepted answers only and never goes back.
	match uint64
	next  uint64 // Invariant: match < next

	// waiting: the one append that may be under way is under way (while
	// probing, and while the owner reads old entries from disk).
	waiting bool
	// check: send an append even if it is empty, to learn whether what was
	// sent ahead has arrived.
	check bool

	inflight      []inflight // sent ahead, oldest first
	inflightBytes int

	asked bool   // the owner was asked for a snapshot for it and has not answered yet
	askAt uint64 // the tick before which it is not asked again

	fenced bool // it does not lead, as of its last answer to a heartbeat

	round uint64 // the newest heartbeat round that it answered
	heard uint64 // tick of the last word from it
	moved uint64 // tick when it last answered an append, or was sent a check
}

type inflight struct {
	last  uint64
	bytes int
}

func (p *progress) fly(last uint64, bytes int) {
	p.inflight = append(p.inflight, inflight{last, bytes})
	p.inflightBytes += bytes
}

// land frees the window of what index covers.
func (p *progress) land(index uint64) {
	n := 0
	for n < len(p.inflight) && p.inflight[n].last <= index {
		p.inflightBytes -= p.inflight[n].bytes
		n++
	}
	if n > 0 {
		p.inflight = append(p.inflight[:0], p.inflight[n:]...)
	}
}

// accepted records an accepted answer: all up to index is there.
func (p *progress) accepted(index uint64) {
	p.match = max(p.match, index)
	p.land(index)
	// An answer to an append before the one under way frees nothing. The one under
	// way names next-1, so an answer from there on settles a probe. While
	// replicating it is a read from disk, which an answer past next-1 settles.
	switch {
	case index >= p.next:
		p.waiting = false
		p.state = ProgressReplicate
	case index+1 == p.next && p.state != ProgressReplicate:
		p.waiting = false
		p.state = ProgressReplicate
	}
	p.next = max(p.next, p.match+1)
}

// probe begins to look for where the logs part, with the entry after prev.
func (p *progress) probe(prev uint64) {
	p.state = ProgressProbe
	p.next = max(prev, p.match) + 1
	p.inflight, p.inflightBytes = p.inflight[:0], 0
	p.waiting, p.check = false, false
}

// stale reports whether a rejected append, which named prev, is no longer what
// the leader is waiting for: it was sent twice, or was overtaken.
func (p *progress) stale(prev uint64) bool {
	if prev <= p.match {
		return true
	}
	return p.state != ProgressReplicate && prev != p.next-1
}

// full reports whether nothing more may be sent ahead.
func (p *progress) full(c *Config) bool {
	return len(p.inflight) >= c.InflightMessagesMax || p.inflightBytes >= c.InflightBytesMax
}

// active reports whether a member, if there is one, was heard of in the last
// ticks before now.
func (p *progress) active(now uint64, ticks int) bool {
	return p != nil && now-p.heard < uint64(ticks)
}
