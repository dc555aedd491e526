package shardmap

import (
	"slices"

	"muster/raft"
)

// WithoutLost returns the table of the cluster that goes on with a new id after the nodes
// gone were lost for good, as of the entry at, which no command stands for: a person
// decided it for all survivors (package repl/rescue). Those nodes are off the list, their
// ids never come back, and what was to be done with them ends. Epoch and index are those
// of at, which must be behind all that the log ever had: indexes that were allotted, as
// ids of jobs and incarnations of groups, are then not given again. The rows of the groups
// stay as they are, and may name a node that is off the list.
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
	// The others may have been waiting for a lost one's newer binary.
	made.Level = made.levelOfAll()
	return made.Table
}
