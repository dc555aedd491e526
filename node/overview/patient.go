package overview

import (
	"cmp"
	"slices"
	"time"

	"muster/raft"
	"muster/repl/wire"
)

// Severities of findings.
const (
	SeverityError   = "error" // something does not work
	SeverityWarning = "warning"
)

// Finding is something that a person should look after.
type Finding struct {
	Severity string `json:"severity"`
	What     string `json:"what"`
	Remedy   string `json:"remedy"`
}

// Link is the way from one node to another, as both see it.
type Link struct {
	From    string `json:"from"`
	To      string `json:"to"`
	Reached bool   `json:"reached"`
	RTTus   uint64 `json:"rtt_us"` // 0: not measured yet
	Heard   bool   `json:"heard"`  // To hears From, says To
	HeardMs uint64 `json:"heard_ms"`
	Why     string `json:"why,omitempty"`
	// Known reports whether From has answered.
	Known bool `json:"-"`
}

// Measured is what a node has measured of itself. All but the first four are 0 if it has not
// answered.
type Measured struct {
	ID            string `json:"id"`
	Name          string `json:"name"`
	Addr          string `json:"addr"`
	Answered      bool   `json:"answered"`
	Version       string `json:"version"`
	Start         uint64 `json:"start"`
	UptimeS       uint64 `json:"uptime_s"`
	SyncP50       uint64 `json:"sync_p50_us"`
	SyncP99       uint64 `json:"sync_p99_us"`
	SyncMax       uint64 `json:"sync_max_us"`
	Syncs         uint64 `json:"syncs"` // that the figures are of
	FreeBytes     uint64 `json:"free_bytes"`
	LogBytes      uint64 `json:"log_bytes"`
	NeededBytes   uint64 `json:"needed_bytes"`
	SnapshotBytes uint64 `json:"snapshot_bytes"`
	Full          bool   `json:"full"`
	ClockAheadMs  int64  `json:"clock_ahead_ms"` // of the host that asked
	ClockUnsureMs int64  `json:"clock_unsure_ms"`
}

// Patient is a cluster under examination: one node's status, and what all nodes have answered to
// the doctor's question. It is for one goroutine at a time.
type Patient struct {
	status  *wire.StatusAnswer
	nodes   []wire.StatusNode
	answers map[raft.NodeID]*wire.DoctorAnswer
	silent  map[raft.NodeID]error // why a node could not be asked
	unasked map[raft.NodeID]bool  // nobody has asked it, so its silence says nothing
	// readings are the clocks of those that have answered and told theirs.
	readings map[raft.NodeID]clockReading
}

// NewPatient returns the patient that a status is about. Nobody has answered yet.
func NewPatient(status *wire.StatusAnswer) *Patient {
	return &Patient{status: status, nodes: byName(status.Nodes), answers: map[raft.NodeID]*wire.DoctorAnswer{}, silent: map[raft.NodeID]error{}, unasked: map[raft.NodeID]bool{}, readings: map[raft.NodeID]clockReading{}}
}

// byName returns the nodes in the order of their names.
func byName(nodes []wire.StatusNode) []wire.StatusNode {
	return slices.SortedFunc(slices.Values(nodes), func(a, b wire.StatusNode) int { return cmp.Compare(a.Name, b.Name) })
}

// Nodes returns all nodes by name. The caller changes nothing in them.
func (p *Patient) Nodes() []wire.StatusNode { return p.nodes }

// Answered takes what a node has answered, and the times at which it was asked and answered.
func (p *Patient) Answered(id raft.NodeID, a *wire.DoctorAnswer, asked, answered time.Time) {
	p.answers[id] = a
	if r, ok := readingOf(id, p.name(id), a, asked, answered); ok {
		p.readings[id] = r
	}
}

// Silent takes why a node has not answered. [ErrOtherNode] is for one at whose address another
// node answers.
func (p *Patient) Silent(id raft.NodeID, why error) { p.silent[id] = why }

// Outside takes why a node does not let the asker in, for example because it can't tell who that is. Its silence then says
// nothing about its replicas.
func (p *Patient) Outside(id raft.NodeID, why error) { p.silent[id], p.unasked[id] = why, true }

// Heard reports whether a node has answered.
func (p *Patient) Heard(id raft.NodeID) bool { return p.answers[id] != nil }

func (p *Patient) name(id raft.NodeID) string { return nameOf(p.nodes, id) }

// nameOf is the name of a node: its id where it is not listed, "" of none.
func nameOf(nodes []wire.StatusNode, id raft.NodeID) string {
	if i := slices.IndexFunc(nodes, func(n wire.StatusNode) bool { return n.ID == id }); i >= 0 {
		return nodes[i].Name
	}
	if id == 0 {
		return ""
	}
	return id.String()
}

// link returns what from says of its way to another node.
func (p *Patient) link(from, to raft.NodeID) (wire.DoctorLink, bool) {
	if a := p.answers[from]; a != nil {
		for _, l := range a.Links {
			if l.To == to {
				return l, true
			}
		}
	}
	return wire.DoctorLink{}, false
}

// Links returns all directed pairs, by the names of both ends.
func (p *Patient) Links() []Link {
	rows := []Link{}
	for _, from := range p.nodes {
		for _, to := range p.nodes {
			if from.ID == to.ID {
				continue
			}
			there, known := p.link(from.ID, to.ID)
			back, heard := p.link(to.ID, from.ID)
			rows = append(rows, Link{
				From: from.Name, To: to.Name, Known: known,
				Reached: known && reaches(&there), RTTus: there.RTTMicros, Why: whyNot(&there),
				Heard: heard && hears(&back), HeardMs: back.HeardMs,
			})
		}
	}
	return rows
}

// Measured returns a row for each node, by name.
func (p *Patient) Measured() []Measured {
	rows := []Measured{}
	for i := range p.nodes {
		rows = append(rows, p.measured(&p.nodes[i]))
	}
	return rows
}

func (p *Patient) measured(n *wire.StatusNode) Measured {
	r := Measured{ID: n.ID.String(), Name: n.Name, Addr: n.Addr, Version: n.Version, Start: n.Start}
	if a := p.answers[n.ID]; a != nil {
		r.Answered, r.Version, r.Start, r.UptimeS = true, a.Version, a.Start, a.UptimeMs/1000
		r.SyncP50, r.SyncP99, r.SyncMax, r.Syncs = a.Syncs.P50, a.Syncs.P99, a.Syncs.Max, a.Syncs.Count
		r.FreeBytes, r.LogBytes, r.NeededBytes = a.Disk.Free, a.Disk.Log, a.Disk.Needed
		r.SnapshotBytes, r.Full = a.Disk.Snapshots, a.Disk.Full
		r.ClockAheadMs, r.ClockUnsureMs = p.readings[n.ID].ahead.Milliseconds(), p.readings[n.ID].unsure.Milliseconds()
	}
	return r
}
