package repl

import (
	"errors"
	"fmt"
	"io"
	"math"

	"muster/logstore"
	"muster/raft"
)

// Work is something that takes long and that a host wants done beside it: a
// snapshot to be written, old ones to be removed, or a part of what is done about a state
// that is wrong. It is taken with [Host.Work], done with Run and handed back with
// [Host.Worked].
type Work struct {
	Replica logstore.Replica
	// Base is where the snapshot stands; zero where snapshots are removed.
	Base logstore.Base

	group   *group
	state   StateCopy  // nil: snapshots are removed
	before  raft.LogID // those of bases before are removed
	bytes   int64      // of entries that the snapshot stands for
	forced  bool       // the log can't wait: no pace
	trimmed bool       // nothing in it that the state can do without

	// do is the work, if it is another one, and done takes what came of it, as the host's.
	do   func(*logstore.Store) error
	done func(error)

	made   logstore.Snapshot
	err    error
	broken error // the state could not be told
}

// Writes reports whether the work is to write a snapshot.
func (w *Work) Writes() bool { return w.state != nil }

// Forced says that the log has grown so long that the snapshot should be written
// as fast as can be.
func (w *Work) Forced() bool { return w.forced }

// Pace holds back who writes, after so many bytes more. Its error ends the
// work.
type Pace func(bytes int) error

// Run does the work. It waits for the disk, and may be called by any
// goroutine; pace may be nil. All of its errors are told to the host.
func (w *Work) Run(store *logstore.Store, pace Pace) {
	if w.do != nil {
		w.err = w.do(store)
		return
	}
	if !w.Writes() {
		w.err = store.RemoveSnapshots(w.Replica, w.before)
		return
	}
	defer w.state.Release()
	file, err := store.CreateSnapshot(w.Replica, w.Base)
	if err != nil {
		w.err = err
		return
	}
	to := &pacedWriter{to: file, pace: pace}
	if _, err := w.state.WriteTo(to); err != nil {
		if to.err == nil {
			w.broken = err
		}
		w.err = errors.Join(err, file.Abort())
		return
	}
	if w.made, err = file.Commit(); err != nil {
		w.err = errors.Join(err, file.Abort())
	}
}

// pacedWriter writes as fast as it may, and remembers that it could not.
type pacedWriter struct {
	to   io.Writer
	pace Pace
	err  error
}

func (p *pacedWriter) Write(b []byte) (int, error) {
	n, err := p.to.Write(b)
	if err == nil && p.pace != nil {
		err = p.pace(n)
	}
	p.err = err
	return n, err
}

// chores is what a host wants done beside it.
type chores struct {
	host    *Host
	working bool    // work is with the owner
	litter  []*Work // snapshots to be removed
	lookAt  uint64  // the tick before which no group is looked for that is due
	streams uint64  // snapshots sent so far
}

// Work returns the next work, or nil: there is one at a time.
func (h *Host) Work() *Work {
	if h.chores.working {
		return nil
	}
	if len(h.Audits.chores) > 0 {
		w := h.Audits.chores[0]
		h.Audits.chores = append(h.Audits.chores[:0], h.Audits.chores[1:]...)
		h.chores.working = true
		return w
	}
	if n := len(h.chores.litter); n > 0 {
		w := h.chores.litter[0]
		h.chores.litter = append(h.chores.litter[:0], h.chores.litter[1:]...)
		h.chores.working = true
		return w
	}
	if h.ticks < h.chores.lookAt {
		return nil
	}
	h.chores.lookAt = h.ticks + lookTicks
	g := h.chores.due()
	if g == nil || !g.snap.settled() {
		return nil
	}
	h.chores.working = true
	return g.snap.begin()
}

// settled reports whether what the state names is here. If not, the group is passed over for a moment.
func (k *snapshots) settled() bool {
	m, ok := k.group.machine.(Settler)
	if !ok || bug(bugUnsettled) {
		return true
	}
	why := m.Settle(k.group.applied)
	if why == "" {
		return true
	}
	k.retryAt = k.group.host.ticks + settleTicks
	if k.failed == "" { // one line per change, not per attempt
		k.failed = why
		k.group.host.cfg.Log.Info("snapshot waits", "group", k.group.replica.Group, "at", k.group.applied, "why", why)
	}
	return false
}

// bugUnsettled is planted to show that its test finds it: a snapshot is written that names files which are not here.
const bugUnsettled = "snapshot names files that are not here"

// begin takes a copy of the state, which costs little; writing it is
// the work.
func (k *snapshots) begin() *Work {
	k.asked = false
	w := &Work{
		Replica: k.group.replica,
		Base:    logstore.Base{ID: k.group.applied, Time: k.group.appliedTime, Membership: k.group.appliedMembers},
		group:   k.group,
		state:   k.group.machine.Copy(),
		bytes:   k.bytes,
		forced:  k.bytes >= forcedTimes*k.dueBytes(),
	}
	// The smaller it is, the sooner it fits where others wrote down all they had.
	if k.group.host.full.space.Short || k.lacksRoom {
		w.trim()
	}
	k.group.host.cfg.Log.Debug("snapshot begins", "group", k.group.replica.Group, "base", w.Base.ID, "entry_bytes", w.bytes)
	return w
}

// trim has the work do with as little room as it can.
func (w *Work) trim() {
	w.trimmed = true
	if t, ok := w.state.(Trimmer); ok {
		t.Trim()
	}
}

// Worked hands back work that was run.
func (h *Host) Worked(w *Work) {
	h.chores.working = false
	if w.do != nil {
		w.done(w.err)
		return
	}
	g := w.group
	if !w.Writes() {
		if w.err != nil {
			h.cfg.Log.Error("snapshots not removed", "group", w.Replica.Group, "before", w.before, "err", w.err)
		}
		return
	}
	if w.err != nil {
		g.snap.notWritten(w)
		return
	}
	if g.fence != nil {
		// It may be of the wrong state.
		h.Audits.chores = append(h.Audits.chores, &Work{Replica: w.Replica, do: func(store *logstore.Store) error { return logstore.DropSnapshot(store, w.made) }, done: func(error) {}})
		return
	}
	h.cfg.Log.Info("snapshot written", "group", w.Replica.Group, "base", w.Base.ID, "bytes", w.made.Size, "entry_bytes", w.bytes)
	g.snap.failed, g.snap.lacksRoom = "", false
	g.snap.adopting = w.bytes
	g.snap.adopt(w.made)
	g.snap.adopting = 0
	g.snap.serveWants()
	g.touch()
}

// notWritten goes on without the snapshot: nothing has changed, and it is
// tried later. A state that can't be told is another matter: what is in memory
// is not what was put there.
func (k *snapshots) notWritten(w *Work) {
	k.lacksRoom = errors.Is(w.err, logstore.ErrFull)
	if k.lacksRoom && !w.trimmed {
		return // a smaller one may fit
	}
	k.retryAt = k.group.host.ticks + uint64(k.group.host.cfg.Snapshots.RetryTicks)
	if w.broken != nil && k.group.stopped == nil && !k.group.gone {
		k.group.stop(fmt.Errorf("write a snapshot at %s: %w", raft.FormatLogID(k.group.replica.Group, w.Base.ID), w.broken))
		return
	}
	if why := w.err.Error(); why != k.failed { // one line per change, not per attempt
		k.failed = why
		k.group.host.cfg.Log.Warn("snapshot not written", "group", k.group.replica.Group, "base", w.Base.ID, "err", w.err)
	}
}

// sweep has snapshots of a replica removed, those of bases before an id.
func (c *chores) sweep(r logstore.Replica, before raft.LogID) {
	for _, w := range c.litter {
		if w.Replica == r {
			if w.before.Index < before.Index {
				w.before = before
			}
			return
		}
	}
	c.litter = append(c.litter, &Work{Replica: r, before: before})
}

// allSnapshots is before none.
var allSnapshots = raft.LogID{Term: math.MaxUint64, Index: math.MaxUint64}
