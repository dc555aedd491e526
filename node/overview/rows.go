package overview

import (
	"fmt"
	"strings"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// NodeRow is a node as muster node list prints it.
type NodeRow struct {
	ID      string            `json:"id"`
	Name    string            `json:"name"`
	Addr    string            `json:"addr"`
	Role    string            `json:"role"`
	Status  string            `json:"status"`
	Version string            `json:"version"`
	Level   uint32            `json:"level"`  // of commands: the newest that it understands
	Weight  uint32            `json:"weight"` // how large a part of the data it should hold, compared with the others
	Labels  map[string]string `json:"labels"`
}

// NodeRows returns the rows of nodes.
func NodeRows(nodes []wire.StatusNode) []NodeRow {
	rows := make([]NodeRow, 0, len(nodes))
	for _, n := range nodes {
		r := NodeRow{n.ID.String(), n.Name, n.Addr, n.Role.String(), n.Status.String(), n.Version, n.Level, n.Weight, map[string]string{}}
		for _, l := range n.Labels {
			r.Labels[l.Key] = l.Value
		}
		rows = append(rows, r)
	}
	return rows
}

// ReplicaRow is a replica of a [GroupRow].
type ReplicaRow struct {
	ID    string `json:"id"`
	Node  string `json:"node"`
	Role  string `json:"role"`
	Match uint64 `json:"match"`
	State string `json:"state"`

	// Unknown reports whether nobody that was asked knows Match and State: its leader does.
	Unknown bool `json:"-"`
}

// GroupRow is a group as muster group list prints it.
type GroupRow struct {
	ID       int          `json:"id"`
	Leader   string       `json:"leader"` // empty: none is known
	Term     uint64       `json:"term"`
	Commit   string       `json:"commit"`
	Slots    int          `json:"slots"`
	Replicas []ReplicaRow `json:"replicas"`
}

// GroupRows returns the rows of groups. name names nodes.
func GroupRows(groups []wire.StatusGroup, name func(raft.NodeID) string) []GroupRow {
	rows := make([]GroupRow, 0, len(groups))
	for _, g := range groups {
		r := GroupRow{int(g.ID), name(g.Leader), g.Term, raft.FormatLogID(g.ID, g.Commit), int(g.Slots), []ReplicaRow{}}
		for _, p := range g.Replicas {
			r.Replicas = append(r.Replicas, ReplicaRow{fmt.Sprint(p.ID), name(p.Node), p.Role.String(), p.Match, p.State.String(), p.State == wire.ReplicaUnknown})
		}
		rows = append(rows, r)
	}
	return rows
}

// JobRow is a job as muster job list prints it.
type JobRow struct {
	ID         string  `json:"id"`
	Kind       string  `json:"kind"`
	State      string  `json:"state"`
	Done       uint64  `json:"done"`
	Total      uint64  `json:"total"`
	Unit       string  `json:"unit"`
	Bytes      *uint64 `json:"bytes,omitempty"` // of jobs that move slots, as BytesTotal; of a backup, those of its file
	BytesTotal *uint64 `json:"bytes_total,omitempty"`
	Node       string  `json:"node,omitempty"`  // its name or, where it has none, its id
	Group      *int    `json:"group,omitempty"` // of jobs that are about one
	File       string  `json:"file,omitempty"`  // of a backup: its name in the directory of the node
	Why        string  `json:"why,omitempty"`
}

// JobRowOf returns the row of a job.
func JobRowOf(j *shardmap.Job) JobRow {
	r := JobRow{ID: fmt.Sprint(j.ID), Kind: j.Kind.String(), State: j.State.String(), Done: j.Done, Total: j.Total, Unit: j.Unit(), Node: j.Name, Why: j.Why}
	if j.Kind.AboutSlots() {
		bytes, total := j.Bytes, j.BytesTotal
		r.Bytes, r.BytesTotal = &bytes, &total
	}
	if j.Kind == shardmap.JobBackup {
		bytes := j.Bytes
		r.Bytes, r.File = &bytes, j.Errand.File
	}
	if j.Cancelled {
		r.Why = strings.TrimSuffix("it is being cancelled: "+r.Why, ": ")
	}
	if r.Node == "" && j.Node != 0 {
		r.Node = j.Node.String()
	}
	if j.Kind.AboutGroup() {
		g := int(j.Group)
		r.Group = &g
	}
	return r
}

// DoneText is Done for a person. Of a delete that was cancelled or has failed it is "at least N": its leader deletes keys
// before the table notes how many, and a job that has ended takes no note.
func (r *JobRow) DoneText() string {
	short := r.State == shardmap.JobCancelled.String() || r.State == shardmap.JobFailed.String()
	if r.Kind == shardmap.JobDelete.String() && short {
		return fmt.Sprintf("at least %d", r.Done)
	}
	return fmt.Sprint(r.Done)
}

// What names a job for a sentence: "job 12 (drain n4)".
func (r *JobRow) What() string {
	s := "job " + r.ID + " (" + r.Kind
	if r.Group != nil {
		s += " group " + fmt.Sprint(*r.Group)
	}
	if r.Node != "" {
		s += " " + r.Node
	}
	return s + ")"
}
