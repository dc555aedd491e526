package sim

import (
	"slices"

	"muster/logstore"
	"muster/logstore/vfs"
)

// A data directory from an earlier moment is put back, as a copy that was made while
// the node ran, days or one start ago. All of it verifies, and it has forgotten what
// the node promised since; nothing that others count on may be lost by that. The
// node may have to wait for all others, so that meanwhile it is none of those whom
// the groups can go on with.

// olderImage is a copy of a node's disk.
type olderImage struct {
	disk     *vfs.Mem
	start    uint64 // of the process that ran then
	replicas []logstore.Replica
}

// putBack takes a copy of a node's directory or, the next time, puts one back. It
// reports whether it did the latter.
func (x *chaos) putBack() bool {
	n := x.frail()
	if n == nil || n.closing || n.stopBy > 0 || slices.ContainsFunc(x.c.nodes, func(o *node) bool { return o.dead }) {
		return false
	}
	image := n.older
	if image == nil {
		n.older = &olderImage{n.disk.Copy(), n.start, n.store.Replicas()}
		x.c.note(n.index, "its directory is copied")
		return false
	}
	n.older = nil
	if !slices.Equal(image.replicas, n.store.Replicas()) {
		return false // a replica that was removed since would come back; that is another fault
	}
	// Written over the files it would be mixed with segments that the copy lacks, which
	// is damage as well; logstore has tests of that.
	n.crash(PowerKeep)
	n.disk.PutBack(dataDir, image.disk, vfs.Replace)
	n.forgets = true
	n.doubtful = true
	x.c.note(n.index, "the copy of start %d of its directory is put back", image.start)
	return true
}

// forget takes for synced what an older directory has, in place of what was.
func (n *node) forget() error {
	n.forgets = false
	n.pending = nil
	for r, s := range n.shadows {
		if !s.removed {
			n.shadows[r] = &shadow{replica: r}
		}
	}
	for _, r := range n.store.Replicas() {
		restored, err := n.store.Restore(r)
		if err != nil {
			return err
		}
		t := n.c.truth[r.Group]
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
		n.shadows[r] = s
	}
	return nil
}

// recalls notes that a node has heard and caught up with all that it forgot.
func (n *node) recalls() {
	if n.doubtful && !n.forgets && n.host.Doubt().None() {
		n.doubtful = false
		n.c.note(n.index, "is in no doubt any more")
	}
}
