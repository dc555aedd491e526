package main

import (
	"net"

	"muster/docs/compare/frame"
)

// leader owns the table and answers clients, all from one loop.
type leader struct {
	log       *diskLog
	followers []net.Conn
	inbox     inbox
	toLog     chan *batch // from the loop, to the log's writer; holds one, for only one is under way

	// The loop's own.
	applier   applier
	batches   uint64   // number of the last one sealed
	logged    uint64   // Invariant: batches - logged <= 1
	unapplied []*batch // sealed, in order
	free      []*batch
	rounds    uint64 // number of the last round of reads
	asked     []read // those of that round, while it is under way
	freeReads []read
	answered  []*client // who has answers in this turn
	control   []byte
}

func newLeader(w *diskLog, t *table, followers []net.Conn) *leader {
	l := &leader{log: w, followers: followers, toLog: make(chan *batch, 1), applier: applier{table: t}}
	l.inbox.wake = make(chan struct{}, 1)
	l.inbox.gathering = l.newBatch()
	return l
}

// serve runs until a follower or the disk fails.
func (l *leader) serve(clients net.Listener) error {
	for _, f := range l.followers {
		go l.inbox.readFollower(f)
	}
	go l.writeLog()
	go func() {
		for {
			c, err := clients.Accept()
			if err != nil {
				l.inbox.post(func() { l.inbox.err = err })
				return
			}
			go l.inbox.readClient(c)
		}
	}()
	for range l.inbox.wake {
		if err := l.turn(); err != nil {
			return err
		}
	}
	return nil
}

// writeLog writes one batch after the other. What arrives meanwhile gathers into
// the next.
func (l *leader) writeLog() {
	for b := range l.toLog {
		err := l.log.write(b.frame)
		if err != nil {
			l.inbox.post(func() { l.inbox.err = err })
			return
		}
		l.inbox.post(func() { l.inbox.logged = b.number })
	}
}

// turn takes what has arrived as far as it goes.
func (l *leader) turn() error {
	q := &l.inbox
	var sealed *batch
	var round []read
	q.mu.Lock()
	l.logged = q.logged
	synced, confirmed, err := q.synced, q.confirmed, q.err
	if l.logged == l.batches && len(q.gathering.requests) > 0 {
		sealed, q.gathering = q.gathering, l.newBatch()
	}
	readsDone := len(l.asked) > 0 && confirmed == l.rounds
	if len(q.reads) > 0 && (len(l.asked) == 0 || readsDone) {
		round, q.reads = q.reads, l.freeReads[:0]
		l.freeReads = nil
	}
	q.mu.Unlock()
	if err != nil {
		return err
	}

	// What the others wait for leaves first.
	if sealed != nil {
		l.batches++
		sealed.number = l.batches
		frame.Seal(sealed.frame, frame.Batch, sealed.number)
		if err := l.toFollowers(sealed.frame); err != nil {
			return err
		}
		l.toLog <- sealed
		l.unapplied = append(l.unapplied, sealed)
	}
	if readsDone {
		l.answerReads(l.asked)
		l.freeReads, l.asked = l.asked[:0], nil
	}
	if round != nil {
		l.rounds++
		l.asked = round
		l.control = frame.Append(l.control[:0], frame.Confirm, l.rounds)
		if err := l.toFollowers(l.control); err != nil {
			return err
		}
	}
	// A put is kept once the leader's own disk and one follower's have it.
	for kept := min(l.logged, synced); len(l.unapplied) > 0 && l.unapplied[0].number <= kept; {
		b := l.unapplied[0]
		l.unapplied = append(l.unapplied[:0], l.unapplied[1:]...)
		if err := l.applyBatch(b); err != nil {
			return err
		}
	}
	l.answer()
	return nil
}

func (l *leader) newBatch() *batch {
	if n := len(l.free); n > 0 {
		b := l.free[n-1]
		l.free = l.free[:n-1]
		b.frame, b.requests = b.frame[:frame.HeaderBytes], b.requests[:0]
		return b
	}
	return &batch{frame: make([]byte, frame.HeaderBytes)}
}

func (l *leader) toFollowers(b []byte) error {
	for _, f := range l.followers {
		if _, err := f.Write(b); err != nil {
			return err
		}
	}
	return nil
}

func (l *leader) applyBatch(b *batch) error {
	i := 0
	err := l.applier.apply(b.frame[frame.HeaderBytes:], func() {
		r := b.requests[i]
		i++
		l.mark(r.from)
		r.from.out = frame.Append(r.from.out, frame.Done, r.id)
	})
	l.free = append(l.free, b)
	return err
}

func (l *leader) answerReads(reads []read) {
	for len(reads) > 0 {
		n := min(len(reads), touchAhead)
		keys := l.applier.keys[:0]
		for i := range reads[:n] {
			keys = append(keys, reads[i].key[:])
		}
		l.applier.table.touch(keys)
		l.applier.keys = keys
		for i := range reads[:n] {
			r := &reads[i]
			l.mark(r.from)
			if value := l.applier.table.get(r.key[:]); value != nil {
				r.from.out = frame.Append(r.from.out, frame.Value, r.id, value)
			} else {
				r.from.out = frame.Append(r.from.out, frame.Missing, r.id)
			}
		}
		reads = reads[n:]
	}
}

// mark notes that a client has answers in this turn.
func (l *leader) mark(c *client) {
	if len(c.out) == 0 {
		l.answered = append(l.answered, c)
	}
}

// answer writes each client's answers with one call. A client that has gone is
// not an error; its reader notices.
func (l *leader) answer() {
	for _, c := range l.answered {
		c.conn.Write(c.out)
		c.out = c.out[:0]
	}
	l.answered = l.answered[:0]
}
