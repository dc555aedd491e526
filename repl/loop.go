package repl

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"muster/logstore"
	"muster/raft"
	"muster/repl/wire"
)

// handOverPause lies between two looks at whether leadership has gone.
const handOverPause = 5 * time.Millisecond

// idleDelay is how long the log may be idle before its durable offset is
// written, so that rot in the last batch can be told from a torn write.
const idleDelay = 20 * time.Millisecond

// roomPause lies between two tries to get room on a full disk.
const roomPause = 500 * time.Millisecond

// roomIdlePause takes its place while nothing is written and there is room.
const roomIdlePause = 10 * roomPause

// Loop is the goroutine around a [Host]: it queues events, turns the host, and
// has its batches written. All methods may be called from any goroutine.
type Loop struct {
	// Set once.
	host    *Host
	tick    time.Duration
	started time.Time
	wake    chan struct{} // one token: something is queued. From many, to run.
	batches chan *Batch   // from run to writeLog; closed by run
	works   chan *Work    // from run to work; closed by run
	stop    chan struct{} // closed by Close
	over    chan struct{} // closed by run when it calls nothing any more
	ended   sync.WaitGroup
	failed  chan error // at most one: why the log can't go on. From writeLog, to Failed's reader.
	syncs   syncTimes

	sleeps sleeps // run's
	jumps  jumps  // run looks

	mu     sync.Mutex
	queued events // guarded by mu
	closed bool   // guarded by mu
}

// events is what gathered since the last turn, by kind. Kinds are handled in
// this order; within one kind the order is kept.
type events struct {
	synced    []*Batch
	worked    []*Work
	received  []received
	beats     []receivedBeat
	proposals []Proposal
	reads     []Read
	calls     []func(*Host)
}

type received struct {
	from     raft.NodeID
	envelope wire.Envelope
}

type receivedBeat struct {
	from   raft.NodeID
	beat   wire.Beat
	answer bool
}

// StartLoop starts the goroutines of h. From now on h belongs to them. tick is
// the length of a tick of raft, rate bounds the bytes per second of a snapshot
// that is written; 0: any.
func StartLoop(h *Host, tick time.Duration, rate int64) *Loop {
	l := &Loop{
		host:    h,
		tick:    tick,
		started: time.Now(),
		wake:    make(chan struct{}, 1),
		batches: make(chan *Batch, 1),
		works:   make(chan *Work, 1),
		stop:    make(chan struct{}),
		over:    make(chan struct{}),
		failed:  make(chan error, 1),
	}
	l.syncs.times.span = syncWindow
	h.Stages.clock = l.Now
	l.ended.Add(3)
	go l.run()
	go l.writeLog()
	go l.work(rate)
	return l
}

// Now returns the monotonic clock of the loop, on which deadlines are told.
func (l *Loop) Now() time.Duration { return l.At(time.Now()) }

// At returns what [Loop.Now] returned at t, a time with a monotonic reading.
func (l *Loop) At(t time.Time) time.Duration { return t.Sub(l.started) }

// Over is closed when the loop calls nothing any more.
func (l *Loop) Over() <-chan struct{} { return l.over }

// Failed delivers the error after which the log takes no more writes. The node
// is to stop then.
func (l *Loop) Failed() <-chan error { return l.failed }

// Close stops the goroutines and waits for them. Batches under way are
// written; what was queued is dropped.
func (l *Loop) Close() {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return
	}
	l.closed = true
	l.mu.Unlock()
	close(l.stop)
	l.ended.Wait()
}

// Propose queues commands.
func (l *Loop) Propose(p []Proposal) {
	l.enqueue(func(e *events) { e.proposals = append(e.proposals, p...) })
}

// Read queues queries.
func (l *Loop) Read(r []Read) {
	l.enqueue(func(e *events) { e.reads = append(e.reads, r...) })
}

// Receive queues messages from a node. The envelopes are copied, what they
// point to is not.
func (l *Loop) Receive(from raft.NodeID, envelopes []wire.Envelope) {
	l.enqueue(func(e *events) {
		for i := range envelopes {
			e.received = append(e.received, received{from: from, envelope: envelopes[i]})
		}
	})
}

// ReceiveBeat queues heartbeats of a node, or answers to ours.
func (l *Loop) ReceiveBeat(from raft.NodeID, b wire.Beat, answer bool) {
	l.enqueue(func(e *events) { e.beats = append(e.beats, receivedBeat{from: from, beat: b, answer: answer}) })
}

// ReceiveRepair queues a node's question for what its log lost.
func (l *Loop) ReceiveRepair(from raft.NodeID, q *wire.Repair) {
	l.Post(func(h *Host) { h.ReceiveRepair(from, q) })
}

// ReceiveRepairAnswer queues the answer of a node to such a question. What a
// points to is not copied.
func (l *Loop) ReceiveRepairAnswer(from raft.NodeID, a *wire.RepairAnswer) {
	l.Post(func(h *Host) { h.ReceiveRepairAnswer(from, a) })
}

// ReceiveSnapshotRequest queues a node's request for a snapshot.
func (l *Loop) ReceiveSnapshotRequest(from raft.NodeID, q *wire.SnapshotRequest) {
	l.Post(func(h *Host) { h.ReceiveSnapshotRequest(from, q) })
}

// ReceiveLifeQuestion queues the question of a node that was started anew.
func (l *Loop) ReceiveLifeQuestion(from raft.NodeID, q *wire.LifeQuestion) {
	l.Post(func(h *Host) { h.ReceiveLifeQuestion(from, q) })
}

// ReceiveLifeAnswer queues the answer to this node's own.
func (l *Loop) ReceiveLifeAnswer(from raft.NodeID, a *wire.LifeAnswer) {
	l.Post(func(h *Host) { h.ReceiveLifeAnswer(from, a) })
}

// ReceiveAuditReport queues what a replica of a group that this node leads has as its state.
func (l *Loop) ReceiveAuditReport(from raft.NodeID, m *wire.AuditReport) {
	l.Post(func(h *Host) { h.Audits.ReceiveReport(from, m) })
}

// ReceiveAuditVerdict queues what a leader makes of such a report of this node.
func (l *Loop) ReceiveAuditVerdict(from raft.NodeID, m *wire.AuditVerdict) {
	l.Post(func(h *Host) { h.Audits.ReceiveVerdict(from, m) })
}

// ReceiveForwardAnswers queues what a node answers to requests that were passed on to it.
// It keeps the answers.
func (l *Loop) ReceiveForwardAnswers(from raft.NodeID, answers []ForwardAnswer) {
	l.Post(func(h *Host) {
		for i := range answers {
			h.Forwards.Answered(from, answers[i].Number, answers[i].Type, answers[i].Body)
		}
	})
}

// ForwardsLost queues that the connection to a node has ended; see [Forwards.Lost].
func (l *Loop) ForwardsLost(to raft.NodeID, left, queued uint64) {
	l.Post(func(h *Host) { h.Forwards.Lost(to, left, queued) })
}

// DamageFound queues that a read of the log met damage.
func (l *Loop) DamageFound() { l.Post((*Host).DamageFound) }

// SnapshotSent queues the end of a snapshot's way to another node.
func (l *Loop) SnapshotSent(s *SnapshotStream, err error) {
	l.Post(func(h *Host) { h.SnapshotSent(s, err) })
}

// PeerLost queues that the connection from a node has closed.
func (l *Loop) PeerLost(n raft.NodeID) { l.Post(func(h *Host) { h.PeerLost(n) }) }

// PeerBack queues that there is a connection from a node again.
func (l *Loop) PeerBack(n raft.NodeID) { l.Post(func(h *Host) { h.PeerBack(n) }) }

// PeerReached queues that there is a connection to a node.
func (l *Loop) PeerReached(n raft.NodeID) { l.Post(func(h *Host) { h.PeerReached(n) }) }

// ConnectionEnded queues that one of the connections from a node has closed.
func (l *Loop) ConnectionEnded(n raft.NodeID) { l.Post(func(h *Host) { h.ConnectionEnded(n) }) }

// HandOver has the groups that this node leads led by others, as far as there
// are others, and returns when none is left, or after max.
func (l *Loop) HandOver(max time.Duration) {
	ticker := time.NewTicker(handOverPause)
	defer ticker.Stop()
	for end := time.Now().Add(max); time.Now().Before(end); {
		left := 0
		if !l.Ask(func(h *Host) { left = h.HandOver() }) || left == 0 {
			return
		}
		<-ticker.C
	}
}

// Post has f called by the goroutine that owns the host.
func (l *Loop) Post(f func(*Host)) {
	l.enqueue(func(e *events) { e.calls = append(e.calls, f) })
}

// Ask has f called by the goroutine that owns the host, and waits for it. It
// reports false if the loop was closed before; then f is not called later
// either.
func (l *Loop) Ask(f func(*Host)) bool {
	done := make(chan struct{})
	l.Post(func(h *Host) {
		f(h)
		close(done)
	})
	select {
	case <-done:
		return true
	case <-l.over:
	}
	select {
	case <-done: // in the loop's last turn
		return true
	default:
		return false
	}
}

// enqueue adds events under the lock, and wakes the loop if it may sleep.
func (l *Loop) enqueue(add func(*events)) {
	l.mu.Lock()
	add(&l.queued)
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *Loop) run() {
	defer l.ended.Done()
	defer close(l.batches)
	defer close(l.works)
	defer close(l.over)
	pulse := newPulse(l.tick, l.host.IdleTicks())
	defer pulse.ticker.stop()
	var shorts shortTimer
	defer shorts.stop()
	var now events
	l.turn()
	for {
		select {
		case <-l.stop:
			return
		case <-pulse.ticker.channel():
			l.ticks(pulse.fired())
		case <-shorts.channel:
			shorts.fired()
			l.ticks(pulse.due())
			l.host.Hints.Tick()
		case <-l.wake:
			l.ticks(pulse.due())
			// Who else is ready goes first: other connections, whose requests
			// then come in this turn, in its batch and its messages.
			runtime.Gosched()
			l.mu.Lock()
			now, l.queued = l.queued, now
			l.mu.Unlock()
			l.handIn(&now)
		}
		l.turn()
		pulse.follow(l.host.Idle())
		shorts.follow(l.host.Hints.Due())
	}
}

func (l *Loop) ticks(n int) {
	for range n {
		l.host.Tick()
	}
}

// handIn gives the host all queued events, and empties the queue for its next
// use.
func (l *Loop) handIn(e *events) {
	h := l.host
	for _, b := range e.synced {
		h.Synced(b)
	}
	for _, w := range e.worked {
		h.Worked(w)
	}
	for i := range e.received {
		h.Receive(e.received[i].from, &e.received[i].envelope)
	}
	for i := range e.beats {
		h.ReceiveBeat(e.beats[i].from, &e.beats[i].beat, e.beats[i].answer)
	}
	for i := range e.proposals {
		h.Propose(e.proposals[i])
	}
	for i := range e.reads {
		h.Read(e.reads[i])
	}
	for _, f := range e.calls {
		f(h)
	}
	clear(e.synced)
	clear(e.worked)
	clear(e.received)
	clear(e.beats)
	clear(e.proposals)
	clear(e.reads)
	clear(e.calls)
	e.synced, e.worked, e.received, e.beats = e.synced[:0], e.worked[:0], e.received[:0], e.beats[:0]
	e.proposals, e.reads, e.calls = e.proposals[:0], e.reads[:0], e.calls[:0]
}

func (l *Loop) turn() {
	at := time.Now()
	now := l.At(at)
	wall := at.Round(0).Sub(l.started.Round(0)) // Round leaves the wall clock's reading
	if l.sleeps.look(wall, now) {
		l.host.Clock.Slept()
	}
	l.jumps.look(wall, now)
	if b := l.host.Turn(now); b != nil {
		l.batches <- b // never waits: the host hands out one at a time
	}
	if w := l.host.Work(); w != nil {
		l.works <- w // the same
	}
}

// work writes snapshots, beside the log, and removes old ones.
func (l *Loop) work(rate int64) {
	defer l.ended.Done()
	pace, unpaced := NewPace(rate, l.stop), NewPace(0, l.stop)
	for w := range l.works {
		if w.Forced() {
			w.Run(l.host.cfg.Store, unpaced)
		} else {
			w.Run(l.host.cfg.Store, pace)
		}
		l.enqueue(func(e *events) { e.worked = append(e.worked, w) })
	}
}

// writeLog appends batches to the log, one write and one sync each. While it
// waits for the disk, the next batch gathers.
func (l *Loop) writeLog() {
	defer l.ended.Done()
	idle := time.NewTimer(idleDelay)
	defer idle.Stop()
	room := time.NewTicker(roomPause)
	defer room.Stop()
	written, seldom := false, false
	for {
		select {
		case b, ok := <-l.batches:
			if !ok {
				return
			}
			if written = true; seldom {
				seldom = false
				room.Reset(roomPause)
			}
			l.syncs.begin(l.Now())
			err := l.append(b, room.C)
			l.syncs.end(l.Now())
			if err != nil {
				l.failed <- fmt.Errorf("write the log: %w", err)
				for range l.batches { // so that run is never stuck
				}
				return
			}
			l.enqueue(func(e *events) { e.synced = append(e.synced, b) })
			idle.Reset(idleDelay)
		case <-room.C:
			if err := l.host.cfg.Store.MakeRoom(); err != nil {
				l.failed <- fmt.Errorf("prepare the log: %w", err)
				for range l.batches {
				}
				return
			}
			space := l.host.cfg.Store.Space()
			if !written && !seldom && !space.Full && !space.Short {
				seldom = true
				room.Reset(roomIdlePause)
			}
			written = false
		case <-idle.C:
			if err := l.host.cfg.Store.Idle(); err != nil {
				l.failed <- fmt.Errorf("write the log's durable offset: %w", err)
				for range l.batches {
				}
				return
			}
		}
	}
}

// append writes a batch. If there is no room for it on the disk it waits, as it
// would for a disk that stalls, and tries again: nothing of it is written yet,
// so nothing is lost by that.
func (l *Loop) append(b *Batch, room <-chan time.Time) error {
	store := l.host.cfg.Store
	for {
		err := store.Append(b.Writes)
		if !errors.Is(err, logstore.ErrFull) || errors.Is(err, logstore.ErrStopped) {
			return err
		}
		select {
		case <-room:
			if err := store.MakeRoom(); err != nil {
				return err
			}
		case <-l.stop:
			return fmt.Errorf("at the end: %w", err)
		}
	}
}
