package sim

import (
	"errors"
	"path"
	"slices"
	"strings"
	"time"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/repl"
)

// nodeDisk is the disk of a node. It can be slow or full, or fail.
type nodeDisk struct {
	n         *node
	mem       *vfs.Mem
	fs        *vfs.Faulty // before mem
	latency   time.Duration
	slow      slowness
	fullUntil time.Duration // until when its room is limited; 0: it is not
	felt      bool          // the fault that filled the disk is counted
	measureAt time.Duration
	failing   diskFailure
	waits     backlog
	points    pointFiles // block files of time series
	hints     hintFiles  // and hints
}

// diskFailure is the error that the disk is about to give.
type diskFailure struct {
	op    string // the beginning of the operations that fail
	after int    // how many of them succeed before that
	fault Fault
	fired string     // the operation that failed
	rule  *vfs.Armed // in place of op, for failures that change something
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

// final reports whether the failure ends the log: any error does, except one of a read,
// which is not among these.
func (f *diskFailure) final() bool { return f.what() != "" }

// refused reports whether an error is one that the disk was told to give.
func refused(err error) bool {
	return errors.Is(err, errDisk) || errors.Is(err, vfs.ErrFault) || errors.Is(err, logstore.ErrRefused)
}

var errDisk = errors.New("input/output error")

// plan makes the disk fail in the way of f, after a number of operations that could have
// failed.
func (d *nodeDisk) plan(f Fault, after int) {
	d.failing = diskFailure{fault: f}
	switch f {
	case WriteShort:
		d.failing.rule = d.fs.Add(vfs.Rule{Fault: vfs.ShortWrite, Op: "write", Name: d.points.spared(), At: 1 + after})
	case SyncFails:
		d.failing.op, d.failing.after = "sync ", after
	default:
		d.failing.op, d.failing.after = "write ", after
	}
	d.n.c.note(d.n.index, "%s after %d", f, after)
}

// failRecovery makes the disk fail while the log is being opened.
func (d *nodeDisk) failRecovery() {
	op := []string{"write ", "sync ", "rename ", "syncdir "}[d.n.c.chance.below(4)]
	d.failing = diskFailure{fault: RecoveryFails, op: op, after: d.n.c.chance.below(3)}
	d.arm()
}

// arm makes the planned failure take effect.
func (d *nodeDisk) arm() {
	f := &d.failing
	if f.op == "" {
		return
	}
	d.mem.Fail(func(op string) error {
		if f.fired != "" {
			if f.fired == op && strings.HasPrefix(op, "sync ") {
				d.n.c.fail("I15: n%d tries a failed sync again: %s", d.n.index, op)
			}
			return nil
		}
		if !strings.HasPrefix(op, f.op) || d.points.are(op) {
			return nil // a failure of those ends no log; they have failures of their own
		}
		if f.after > 0 {
			f.after--
			return nil
		}
		f.fired = op
		return errDisk
	})
}

func (d *nodeDisk) disarm() {
	d.mem.Fail(nil)
	d.mem.StopAt(0)
	resume := d.n.refusals.suspend()
	d.fs.Clear()
	resume()
	d.failing.op, d.failing.fired, d.failing.rule = "", "", nil
}

// diskMax bounds what all files of a node may take (I16), in bytes, in runs that make
// snapshots often, unless it holds much. Without snapshots a log is that large after ten minutes.
const diskMax = 4 << 20

// measure records how much of the disk is in use, and checks the bound.
func (d *nodeDisk) measure() {
	if d.n.c.now < d.measureAt {
		return
	}
	d.measureAt = d.n.c.now + time.Second
	if err := repl.CheckHost(d.n.host); err != nil {
		d.n.c.fail("I6: n%d: %v", d.n.index, err)
	}
	if d.n.incidents.tell(); !d.n.up {
		return
	}
	d.n.c.flaws.look(d.n)
	// A full disk counts as a fault once it is felt: the log says that it has no room,
	// so that the host refuses commands before the log refuses a batch.
	if d.fullUntil > 0 && !d.felt && d.n.store.Space().Full {
		d.felt = true
		d.n.c.result.Fired[DiskFull]++
	}
	used := d.mem.Used()
	if used > diskMax/4 {
		d.waits.look(d.n)
	}
	d.n.c.result.Disk = max(d.n.c.result.Disk, used)
	if d.n.c.policy.BytesMin > 0 && used > diskMax && !d.backlog() {
		if bound := d.bound(); used > bound {
			d.n.c.fail("I16: the files of n%d take %d bytes, the bound is %d:\n%s\n%s", d.n.index, used, bound, d.mem, d.n.c.picture())
		}
	}
}

// bound is diskMax, or more for a node that holds much: what its groups hold is on its disk as snapshots,
// once more while the next ones are written, and as room that is kept free for those.
func (d *nodeDisk) bound() int64 {
	const copies = 3
	held := int64(0)
	dir := path.Join(dataDir, logstore.SnapshotDir)
	names, _ := d.mem.List(dir) // an error: the bound is that of a node that holds little
	for _, name := range names {
		held += int64(len(d.mem.Bytes(path.Join(dir, name))))
	}
	return max(diskMax, diskMax/2+copies*held) + 2*d.points.bytes() + d.hints.bytes()
}

// backlog is for how long entries of a node's groups have waited to be committed. A log
// keeps them, and with them all that other groups have written since: no state can be
// written down that stands for them. So a group that commits nothing while faults last makes
// the logs of its nodes longer than any bound on what can be written down.
type backlog struct {
	since map[logstore.Replica]wait
	last  time.Duration // when one of them had waited for backlogMin
}

type wait struct {
	commit uint64
	at     time.Duration // when it was first seen
}

const (
	// backlogMin is how long a group commits nothing before a longer log is no surprise:
	// half the time in which a log without snapshots comes to its bound.
	backlogMin = 5 * time.Minute
	// backlogEnd is how long after that its states may take to be written down.
	backlogEnd = time.Minute
)

// look notes which groups of a node have entries that wait.
func (b *backlog) look(n *node) {
	if b.since == nil {
		b.since = map[logstore.Replica]wait{}
	}
	for _, v := range n.host.View() {
		r, commit := v.Replica, v.Commit.Index
		switch w, waited := b.since[r]; {
		case commit >= v.Status.Last.Index:
			delete(b.since, r)
		case !waited || commit > w.commit:
			b.since[r] = wait{commit, n.c.now}
		case n.c.now-w.at >= backlogMin:
			b.last = n.c.now
		}
	}
}

// backlog reports whether entries have waited for long on some node, until now or a moment
// ago. Others have them too, or get them at once when the group goes on.
func (d *nodeDisk) backlog() bool {
	return slices.ContainsFunc(d.n.c.nodes, func(n *node) bool {
		return n.files.waits.last > 0 && n.c.now-n.files.waits.last < backlogEnd
	})
}

// fill leaves the disk little more room than its files have.
func (d *nodeDisk) fill(span time.Duration) {
	if d.fullUntil == 0 {
		d.n.c.full++
	}
	d.fullUntil, d.felt = d.n.c.now+span, false
	room := [...]int{1, 4 << 10, 64 << 10}[d.n.c.chance.below(3)]
	d.mem.Limit(d.mem.Used() + int64(d.n.c.chance.below(room)))
	d.n.c.note(d.n.index, "%s for %s", DiskFull, span)
	e := d.n.c.queue.get(evRoom)
	e.node = int32(d.n.index)
	d.n.c.after(span, e)
}

// makeRoom removes the limit.
func (d *nodeDisk) makeRoom() {
	if d.fullUntil > 0 {
		d.n.c.full--
	}
	d.fullUntil = 0
	d.mem.Limit(0)
}
