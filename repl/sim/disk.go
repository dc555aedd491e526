package sim

import (
	"errors"
	"strings"
	"time"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/repl"
)

// diskFailure is the error that the disk is about to give.
type diskFailure struct {
	op    string // the operation that fails begins so
	after int    // so many of them succeed before
	fault Fault
	fired string     // the operation that failed
	rule  *vfs.Armed // in place of op: what the disk does is more than to refuse
}

// slowness is until when a disk is slow, and until when no batch ends.
type slowness struct {
	until, stuck time.Duration
}

// what returns which operation failed, or "".
func (f *diskFailure) what() string {
	if f.fired == "" && f.rule != nil && f.rule.Fired() > 0 {
		return f.fault.String()
	}
	return f.fired
}

// final reports whether the log takes it for the end: it does of any error but one
// of a read, which is not among these.
func (f *diskFailure) final() bool { return f.what() != "" }

// refused reports whether an error is one that the disk was told to give.
func refused(err error) bool {
	return errors.Is(err, errDisk) || errors.Is(err, vfs.ErrFault) || errors.Is(err, logstore.ErrRefused)
}

var errDisk = errors.New("input/output error")

// plan has the disk do something else than it is told, the after-th time from
// now that it could.
func (n *node) plan(f Fault, after int) {
	n.failing = diskFailure{fault: f}
	switch f {
	case WriteShort:
		n.failing.rule = n.fs.Add(vfs.Rule{Fault: vfs.ShortWrite, Op: "write", At: 1 + after})
	case SyncFails:
		n.failing.op, n.failing.after = "sync ", after
	default:
		n.failing.op, n.failing.after = "write ", after
	}
	n.c.note(n.index, "%s after %d", f, after)
}

// failRecovery has the disk fail while the log is being opened.
func (n *node) failRecovery() {
	op := []string{"write ", "sync ", "rename ", "syncdir "}[n.c.chance.below(4)]
	n.failing = diskFailure{fault: RecoveryFails, op: op, after: n.c.chance.below(3)}
	n.arm()
}

// arm has the disk fail where it was decided.
func (n *node) arm() {
	f := &n.failing
	if f.op == "" {
		return
	}
	n.disk.Fail(func(op string) error {
		if f.fired != "" {
			if f.fired == op && strings.HasPrefix(op, "sync ") {
				n.c.fail("I15: n%d tries a failed sync again: %s", n.index, op)
			}
			return nil
		}
		if !strings.HasPrefix(op, f.op) {
			return nil
		}
		if f.after > 0 {
			f.after--
			return nil
		}
		f.fired = op
		return errDisk
	})
}

func (n *node) disarm() {
	n.disk.Fail(nil)
	n.disk.StopAt(0)
	resume := n.suspend()
	n.fs.Clear()
	resume()
	n.failing.op, n.failing.fired, n.failing.rule = "", "", nil
}

// diskFailed is what a node does whose log takes no more writes: it stops.
func (n *node) diskFailed(op string, err error) {
	again := n.store.Append(nil)
	switch {
	case n.failing.fault == WriteShort && n.fullUntil > 0 && (again == nil || errors.Is(again, logstore.ErrFull) && !errors.Is(again, logstore.ErrStopped)):
		// What was to be written of it found no room, which is no failure; nor is it
		// one if there is none for what the log had put off.
	case err == nil:
		n.c.fail("I15: n%d goes on after the disk refused %q", n.index, op)
	case !errors.Is(again, logstore.ErrStopped):
		n.c.fail("I15: n%d: the log takes a batch after %q failed: %v", n.index, op, again)
	}
	n.c.note(n.index, "stops: %v", err)
	n.c.result.Fired[n.failing.fault]++
	n.disarm()
	if n.batch != nil {
		n.pending = append(n.pending, n.batch.Writes...)
	}
	n.batch = nil
	n.end(n.c.chaos.power())
}

// besideFailed is what a node does whose disk failed at something beside the log,
// which is to take no more.
func (n *node) besideFailed(op string) {
	n.diskFailed(op, errDisk)
}

// stoppedReading is what a node does whose log could not read again what it was
// about to write to: it stops.
func (n *node) stoppedReading(err error) {
	n.refusal.struck = true
	n.stoppedBy(err)
}

// stoppedBy is what a node does whose log has stopped.
func (n *node) stoppedBy(err error) {
	if again := n.store.Append(nil); !errors.Is(again, logstore.ErrStopped) {
		n.c.fail("I15: n%d: the log takes a batch after it stopped: %v", n.index, err)
	}
	n.c.note(n.index, "stops: %v", err)
	n.disarm()
	if n.batch != nil {
		n.pending = append(n.pending, n.batch.Writes...)
	}
	n.batch = nil
	n.end(n.c.chaos.power())
}

// diskMax bounds what all files of a node may take (I16), in bytes, where
// snapshots are made often. Without them a log has as much after ten minutes.
const diskMax = 4 << 20

// measure notes how much of the disk is in use, and checks that there is a bound.
func (n *node) measure() {
	if n.c.now < n.measureAt {
		return
	}
	n.measureAt = n.c.now + time.Second
	if err := repl.CheckHost(n.host); err != nil {
		n.c.fail("I6: n%d: %v", n.index, err)
	}
	// The fault strikes where it is felt: the log says that it has no room, so that the
	// host refuses commands before any batch is refused.
	if n.fullUntil > 0 && !n.felt && n.store.Space().Full {
		n.felt = true
		n.c.result.Fired[DiskFull]++
	}
	used := n.disk.Used()
	n.c.result.Disk = max(n.c.result.Disk, used)
	if n.c.policy.BytesMin > 0 && used > diskMax {
		n.c.fail("I16: the files of n%d take %d bytes, the bound is %d:\n%s\n%s", n.index, used, diskMax, n.disk, n.c.picture())
	}
}

// roomPause lies between two looks for room: by a log that had none, and by one
// that has enough, whose last look may be of a time when the disk was full.
const roomPause = 500 * time.Millisecond // as in repl/loop.go

// fill lets the disk have little more than is on it.
func (n *node) fill(d time.Duration) {
	if n.fullUntil == 0 {
		n.c.full++
	}
	n.fullUntil, n.felt = n.c.now+d, false
	room := [...]int{1, 4 << 10, 64 << 10}[n.c.chance.below(3)]
	n.disk.Limit(n.disk.Used() + int64(n.c.chance.below(room)))
	n.c.note(n.index, "%s for %s", DiskFull, d)
	e := n.c.queue.get(evRoom)
	e.node = int32(n.index)
	n.c.after(d, e)
}

// makeRoom lets it have as much as it wants again.
func (n *node) makeRoom() {
	if n.fullUntil > 0 {
		n.c.full--
	}
	n.fullUntil = 0
	n.disk.Limit(0)
}

// noRoom is what a node does whose log refused a batch for want of room: it is
// as if the disk stalled.
func (n *node) noRoom(err error) {
	if n.full && n.fullUntil == 0 {
		n.c.fail("n%d: the disk has room, and the log refuses a batch: %v", n.index, err)
	}
	n.full = true
	if !n.felt {
		n.felt = true
		n.c.result.Fired[DiskFull]++
	}
	if n.closing {
		n.pending = append(n.pending, n.batch.Writes...)
		n.end(PowerKeep)
		return
	}
	n.syncIn(roomPause)
}
