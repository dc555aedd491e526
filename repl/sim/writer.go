package sim

import (
	"errors"
	"time"

	"muster/logstore"
	"muster/repl"
)

// writer writes the batches of a node's host to its log, one at a time, and ends the
// process if the log has stopped.
type writer struct {
	n       *node
	batch   *repl.Batch // the one on its way to disk; nil: none
	batches uint64
	roomAt  time.Duration // when the log looks for room again
	full    bool          // the log refused a batch for lack of room
}

func (w *writer) syncIn(d time.Duration) {
	e := w.n.event(evSynced)
	e.number = w.batch.Number
	w.n.c.after(d, e)
}

// synced ends the write of a batch.
func (w *writer) synced(number uint64) {
	b := w.batch
	if b == nil || b.Number != number {
		return // it ended before: the disk was healed
	}
	w.n.files.arm()
	var err error
	if w.full {
		err = w.n.store.MakeRoom()
	}
	if err == nil {
		err = w.n.store.Append(b.Writes)
	}
	if f := w.n.files.failing.what(); f != "" {
		w.failed(f, err)
		return
	}
	if errors.Is(err, logstore.ErrFull) {
		switch {
		case !errors.Is(err, logstore.ErrStopped):
			w.noRoom(err)
		case w.roomless():
			w.stoppedBy(err)
		default:
			w.n.c.fail("n%d: the log stops for want of room, which it is to wait for: %v", w.n.index, err)
		}
		return
	}
	if w.n.refusals.caused(err) {
		w.stoppedReading(err)
		return
	}
	w.full = false
	if err != nil {
		w.n.c.fail("n%d: the log refuses a batch: %v", w.n.index, err)
	}
	w.n.ledger.wrote(b.Writes)
	w.batch = nil
	w.batches++
	if w.n.leave.closing {
		w.n.leave.end()
		return
	}
	w.n.decay.mended()
	w.n.host.Synced(b)
	w.n.turn()
	if w.batch == nil {
		e := w.n.event(evIdle)
		e.number = w.batches
		w.n.c.after(idleDelay, e)
	}
}

func (w *writer) idle(batches uint64) {
	if w.batch != nil || batches != w.batches {
		return
	}
	if w.tidy(w.n.store.Idle); w.n.decay.due != 0 && w.n.decay.due != ZeroTail && w.n.up {
		w.n.c.chaos.rot(w.n)
	}
}

// roomless reports whether the log may lack the room that it had set aside, so that a full
// disk stops it for good: the segment in use was cut off, or a prepared one is refused,
// and a full disk gives no other.
func (w *writer) roomless() bool { return w.n.decay.hurt || w.n.refusals.any() }

// tidy makes the log do what it does between batches.
func (w *writer) tidy(do func() error) {
	w.n.files.arm()
	err := do()
	if f := w.n.files.failing.what(); f != "" {
		w.failed(f, err)
		return
	}
	if w.n.refusals.caused(err) {
		w.stoppedReading(err)
		return
	}
	if w.roomless() && w.n.files.fullUntil > 0 && errors.Is(err, logstore.ErrFull) {
		w.stoppedBy(err)
		return
	}
	if err != nil {
		w.n.c.fail("n%d: the idle log: %v", w.n.index, err)
	}
}

// roomPause is the time between two looks for room: by a log that had none, and by one
// that has enough, whose last look may be from a time when the disk was full.
const roomPause = 500 * time.Millisecond // as in repl/loop.go

// noRoom does what a node does when its log refuses a batch for lack of room: it waits, as
// if the disk stalled.
func (w *writer) noRoom(err error) {
	if w.full && w.n.files.fullUntil == 0 {
		w.n.c.fail("n%d: the disk has room, and the log refuses a batch: %v", w.n.index, err)
	}
	w.full = true
	if !w.n.files.felt {
		w.n.files.felt = true
		w.n.c.result.Fired[DiskFull]++
	}
	if w.n.leave.closing {
		w.n.ledger.pending = append(w.n.ledger.pending, w.batch.Writes...)
		w.n.end(PowerKeep)
		return
	}
	w.syncIn(roomPause)
}

// failed does what a node does when its log has stopped: it stops too.
func (w *writer) failed(op string, err error) {
	again := w.n.store.Append(nil)
	switch {
	case w.n.files.failing.fault == WriteShort && w.n.files.fullUntil > 0 &&
		(again == nil || errors.Is(again, logstore.ErrFull) && !errors.Is(again, logstore.ErrStopped) || err == nil && w.n.leave.closing):
		// The short write was one for which there was no room anyway, which is no
		// failure; nor is it one if there is no room for what the log had put off, or
		// if the log has closed since as it was told to.
	case err == nil:
		w.n.c.fail("I15: n%d goes on after the disk refused %q", w.n.index, op)
	case !errors.Is(again, logstore.ErrStopped):
		w.n.c.fail("I15: n%d: the log takes a batch after %q failed: %v", w.n.index, op, again)
	}
	w.n.c.note(w.n.index, "stops: %v", err)
	w.n.c.result.Fired[w.n.files.failing.fault]++
	w.n.files.disarm()
	if w.batch != nil {
		w.n.ledger.pending = append(w.n.ledger.pending, w.batch.Writes...)
	}
	w.batch = nil
	w.n.end(w.n.c.chaos.power())
}

// besideFailed does the same after the disk failed at something beside the log, which must
// then take no more.
func (w *writer) besideFailed(op string) {
	w.failed(op, errDisk)
}

// stoppedReading does the same if the log could not read again what it was about to write
// to.
func (w *writer) stoppedReading(err error) {
	w.n.refusals.now.struck = true
	w.stoppedBy(err)
}

// stoppedBy ends a node whose log has stopped with an error.
func (w *writer) stoppedBy(err error) {
	if again := w.n.store.Append(nil); !errors.Is(again, logstore.ErrStopped) {
		w.n.c.fail("I15: n%d: the log takes a batch after it stopped: %v", w.n.index, err)
	}
	w.n.c.note(w.n.index, "stops: %v", err)
	w.n.files.disarm()
	if w.batch != nil {
		w.n.ledger.pending = append(w.n.ledger.pending, w.batch.Writes...)
	}
	w.batch = nil
	w.n.end(w.n.c.chaos.power())
}
