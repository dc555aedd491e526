package shardmap

import (
	"slices"

	"muster/raft"
)

// WithMoves returns the table of [Table.WithoutLost], which nobody else has seen yet, with
// these owners of slots, and with these moves as all that are not closed: one slot each, in
// any order. One without a job becomes part of a job of its own, which is cancelled: it ends
// when the last of them is closed.
func (t *Table) WithMoves(slots [Slots]raft.GroupID, moves []Move) *Table {
	made := *t
	made.Slots = slots
	each := slices.Clone(moves)
	left := Job{ID: made.Index, Kind: JobMove, State: JobRunning, Cancelled: true, Why: "moves that lost nodes left behind"}
	slices.SortFunc(each, byFirstSlot)
	for i := range each {
		m := &each[i]
		if m.Job != 0 {
			continue
		}
		// No slot is in two jobs: where one is to move it, this move is part of that.
		if j, _ := jobList(made.Jobs).moving(m.SlotRange); j != nil {
			m.Job = j.ID
			continue
		}
		if m.Job = left.ID; !left.has(m.SlotRange.From) {
			left.addTarget(SlotTarget{m.SlotRange, m.From, m.To})
			left.Total++
		}
	}
	if left.Total > 0 {
		made.Jobs = append(slices.Clip(made.Jobs), left)
	}
	made.Moves = runs(each)
	return &made
}

// has reports whether the slot is among the job's targets.
func (j *Job) has(s Slot) bool {
	_, ok := j.Target(s)
	return ok
}

// WithoutLost returns the table of the cluster that goes on with a new id after the nodes
// gone were lost for good, as of the entry at, which no command stands for: a person
// decided it for all survivors (package repl/rescue). Those nodes are off the list, their
// ids never come back, and what was to be done with them ends. Epoch and index are those
// of at, which must be behind all that the log ever had: indexes that were allotted, as
// ids of jobs and incarnations of groups, are then not given again. The rows of the groups
// stay as they are, and may name a node that is off the list. Certificates of the survivors stay
// good: they go on to name the id that the cluster was founded with.
func (t *Table) WithoutLost(cluster uint64, at raft.LogID, gone []raft.NodeID) *Table {
	made := t.draft(at)
	made.ClusterID, made.Epoch = cluster, at.Index
	lost := func(n raft.NodeID) bool { return slices.Contains(gone, n) }
	made.Nodes = slices.DeleteFunc(slices.Clone(t.Nodes), func(n TableNode) bool { return lost(n.ID) })
	for i := range t.Jobs {
		if j := &t.Jobs[i]; !j.State.Finished() && lost(j.Node) {
			made.endJob(j.ID, JobCancelled, "the node was lost for good")
		}
	}
	// A cluster below the level has no such list. Its lost nodes are of another cluster all
	// the same.
	if t.Level >= tableJobsLevel {
		all := slices.Concat(t.Removed, gone)
		slices.Sort(all)
		all = slices.Compact(all)
		made.Removed = all[:min(len(all), RemovedMax)]
	}
	if t.Level >= SecurityLevel {
		made.Security.Cluster = t.Security.ClusterOf(t)
		for _, n := range gone {
			made.Security.forget(n)
		}
	}
	// The others may have been waiting for a lost one's newer binary.
	made.Level = made.levelOfAll()
	return made.Table
}
