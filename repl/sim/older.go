package sim

import (
	"maps"
	"slices"
	"time"

	"muster/logstore"
	"muster/logstore/vfs"
)

// A data directory from an earlier moment is put back, or only its log, from a copy that
// was made while the node ran, days or one start ago. All of it verifies, and it has
// forgotten what the node promised since. Nothing on which others rely may be lost by
// that. The node may have to wait for all others, so meanwhile the groups can't count on
// it. Replicas that were made since are not in it, and some that were removed since are.

// olderImage is a copy of a node's directory.
type olderImage struct {
	node  *node
	disk  *vfs.Mem
	start uint64 // of the process that ran then
	away  *node  // the node that was stopped then, or nil
}

// putBack takes a copy of a node's directory or, the next time, puts it back. It
// reports whether it did the latter.
//
// Often another node is down from the copying to the putting back, and then these two
// start alone: they may be a majority, and neither has what was written meanwhile.
func (x *chaos) putBack() bool {
	c := x.c
	image := x.older
	if image == nil {
		if n := x.frail(); n != nil && !n.leave.begun() {
			x.older = &olderImage{node: n, disk: n.files.mem.Copy(), start: n.start}
			c.note(n.index, "its directory is copied")
			if o := c.nodes[c.chance.below(len(c.nodes))]; o != n && x.mayRot(o) && !o.leave.begun() {
				x.older.away = o
				o.crash(PowerKeep)
				o.restartIn(awayMax)
			}
		}
		return false
	}
	n := image.node
	if !x.mayRot(n) || n.leave.begun() || x.anyDead() {
		return false
	}
	x.older = nil
	// Written over the files, the copy would be mixed with segments that it lacks, which
	// is damage too; logstore has tests of that.
	n.crash(PowerKeep)
	n.ledger.forgets, n.ledger.doubtful = true, true
	clear(n.files.points.settled) // files that its snapshots name may have been removed since
	if n.start == image.start && c.chance.below(2) == 0 {
		// Identity and witness of the killed process show it. The log of an earlier
		// start would be damage, because each start records how far the log has come.
		n.files.mem.PutBack(dataDir+"/"+logstore.LogDir, image.disk, vfs.Replace)
		n.files.mem.PutBack(dataDir+"/"+logstore.SnapshotDir, image.disk, vfs.Replace)
		c.note(n.index, "the copy of its log is put back")
	} else {
		n.files.mem.PutBack(dataDir, image.disk, vfs.Replace)
		n.files.hints.forgets()
		c.note(n.index, "the copy of start %d of its directory is put back", image.start)
	}
	if away := image.away; away != nil && !away.up {
		for _, o := range c.nodes {
			if o != n && o != away && o.up {
				o.crash(PowerKeep)
				o.restartIn(c.chance.skewed(3*time.Second, 15*time.Second))
			}
		}
		n.restartIn(c.chance.between(0, 100*time.Millisecond))
		away.restartIn(c.chance.between(0, 100*time.Millisecond))
	}
	return true
}

// awayMax bounds how long that other node is down.
const awayMax = time.Minute

// begun reports whether a process is about to end by itself.
func (l *leave) begun() bool { return l.closing || l.by > 0 }

// forget makes the content of an older directory the expectation, in place of what was
// synced.
func (l *ledger) forget() error {
	l.forgets = false
	l.pending = nil
	l.forgotten = maps.Clone(l.shadows)
	graves := l.n.store.Tombstones()
	for r, s := range l.shadows {
		// It may have forgotten that a replica was removed, too. The table tells it again
		// when it has come that far.
		if !s.removed || !slices.ContainsFunc(graves, func(o logstore.Replica) bool { return o.Group == r.Group }) {
			l.shadows[r] = &shadow{replica: r}
		}
	}
	for _, r := range l.n.store.Replicas() {
		restored, err := l.n.store.Restore(r)
		if err != nil {
			return err
		}
		t := l.n.c.truth[r.Group]
		s := &shadow{replica: r, there: true, base: restored.Base, state: restored.State}
		s.state.Commit = max(s.state.Commit, s.base.Index)
		for i, run := range restored.Terms {
			end := restored.Last.Index
			if i+1 < len(restored.Terms) {
				end = restored.Terms[i+1].First - 1
			}
			for range end - run.First + 1 {
				s.terms = append(s.terms, run.Term)
			}
		}
		for i := range restored.Changes {
			s.changes = append(s.changes, t.configAt[restored.Changes[i].ID])
		}
		l.shadows[r] = s
	}
	return nil
}

// recalls records that a node has learned and caught up with all that it forgot.
func (l *ledger) recalls() {
	if l.doubtful && !l.forgets && l.n.host.Doubt().None() {
		l.doubtful, l.forgotten = false, nil
		l.n.c.note(l.n.index, "is in no doubt any more")
	}
}
