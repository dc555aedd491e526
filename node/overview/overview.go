package overview

import (
	"fmt"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// Overview is a cluster at one moment, for a person who looks.
type Overview struct {
	At      time.Time `json:"at"` // when the last answer came
	Verdict Verdict   `json:"verdict"`
	// Reason is why, in one sentence; Next is what to do about it, with the command to type
	// where there is one.
	Reason string `json:"reason"`
	Next   string `json:"next"`

	Cluster   string `json:"cluster"`
	ClusterID string `json:"cluster_id"`
	Level     uint32 `json:"level"`
	// Limited says what this user does not see, and why; "" if it sees all.
	Limited string `json:"limited,omitempty"`

	Findings []Finding `json:"findings"` // worst first
	Nodes    []Node    `json:"nodes"`    // by name
	Links    []Link    `json:"links"`    // who reaches whom; none where the user may not see it
	Groups   []Group   `json:"groups"`   // by id, the meta group included
	Jobs     []Job     `json:"jobs"`     // by id: all that are unfinished, and the last ones that are finished
	Moves    []Move    `json:"moves"`    // slots on their way
	Rates    Rates     `json:"rates"`    // of all nodes together
	Events   []Event   `json:"events"`   // what has changed lately, newest last

	told   bool // some node has told its status: the groups are known
	tabled bool // the table is known, and with it the jobs
	// about names what the reason is about; empty: the beginning of its words does.
	about   string
	strains strains
}

// Node is a node in an [Overview].
type Node struct {
	NodeRow
	// Answered reports whether the node itself has answered, Why what came in the way.
	Answered bool   `json:"answered"`
	Why      string `json:"why,omitempty"`
	Leads    int    `json:"leads"`    // groups
	Replicas int    `json:"replicas"` // that vote or learn
	LastMs   uint64 `json:"last_heard_ms"`
	Start    uint64 `json:"start"`

	UptimeS      uint64 `json:"uptime_s"`
	RSS          uint64 `json:"rss_bytes"`
	FreeBytes    uint64 `json:"free_bytes"`
	LogBytes     uint64 `json:"log_bytes"`
	SyncP50      uint64 `json:"sync_p50_us"`
	SyncP99      uint64 `json:"sync_p99_us"`
	ClockAheadMs int64  `json:"clock_ahead_ms"`

	Rates Rates `json:"rates"`
}

// Group is a group in an [Overview], as its leader knows it.
type Group struct {
	ID       int       `json:"id"`
	Leader   string    `json:"leader"` // "": none is known
	Term     uint64    `json:"term"`
	Commit   string    `json:"commit"`
	Slots    int       `json:"slots"`
	Voters   int       `json:"voters"`
	Live     int       `json:"live"` // voters whose nodes live and that are whole
	Moving   int       `json:"moving"`
	Replicas []Replica `json:"replicas"`
}

// Replica is a replica in a [Group].
type Replica struct {
	ReplicaRow
	// Lag is how many entries the leader has committed that are not known to be durable here;
	// nil where the leader has not said.
	Lag *uint64 `json:"lag"`
}

// Job is a job in an [Overview].
type Job struct {
	JobRow
	PerS      float64 `json:"per_s"` // of its unit
	BytesPerS float64 `json:"bytes_per_s"`
	// LeftS is about how long it takes yet, in seconds; nil where nothing tells.
	LeftS *uint64 `json:"left_s"`
}

// Move is some slots on their way from one group to another.
type Move struct {
	First     int    `json:"first"`
	Last      int    `json:"last"`
	From      int    `json:"from"`
	To        int    `json:"to"`
	State     string `json:"state"`
	Job       string `json:"job"`
	Cancelled bool   `json:"cancelled"`
}

// Past is what was learnt before.
type Past struct {
	// Before is the sample that rates are counted from; nil: nothing is known of them.
	Before *Sample
	// Earlier are samples of the last seconds, oldest first. Jobs go on in jumps, so the pace of each is
	// counted from the oldest one in which it was running.
	Earlier []*Sample
	// Last is the overview before this one; nil if there is none. Its strains count on, so that the verdict does not
	// change with each sample.
	Last *Overview
	// Events are what has changed lately, oldest first.
	Events []Event
}

// Make returns what a sample shows, compared with what was learnt before.
func Make(now *Sample, past Past) *Overview {
	statuses := now.statuses()
	o := &Overview{At: now.At, Findings: []Finding{}, Links: []Link{}, Groups: []Group{}, Jobs: []Job{}, Moves: []Move{}, Events: append([]Event{}, past.Events...), strains: strains{}}
	if past.Last != nil {
		o.strains = past.Last.strains.after(now.At)
	}
	if now.Limited != nil {
		o.Limited = "rates, links and what each node measures are left out: " + OneLine(now.Limited)
	}
	if len(statuses) == 0 {
		o.Verdict, o.Reason = VerdictError, "no node says how the cluster is"
		o.Next = "start the nodes again that do not run, each with the same command as before; muster status --endpoints HOST:PORT asks one of them"
		if now.Err != nil {
			o.Reason += ": " + OneLine(now.Err)
		}
		o.Findings = append(o.Findings, Finding{SeverityError, o.Reason, o.Next})
		o.Nodes = nodesOf(now, past.Before, now.Known, nil, nil)
		for i := range o.Nodes {
			o.Nodes[i].Status = StatusUnknown
		}
		return o
	}
	first := statuses[0]
	o.told, o.tabled = true, now.Table != nil
	o.Cluster, o.ClusterID, o.Level = first.Cluster, fmt.Sprintf("%016x", first.ClusterID), first.Level
	p := now.patient(first)
	var doctor []judged
	if p != nil {
		doctor = p.examine(now.At, o.strains)
		o.Links = p.Links()
	}
	groups := MergeGroups(statuses)
	o.judge(findings(statuses, doctor), wellWords(len(first.Nodes), len(groups)))
	o.Nodes = nodesOf(now, past.Before, first.Nodes, p, groups)
	o.Groups = groupsOf(first.Nodes, groups, now.Table)
	o.Jobs = jobsOf(now, past.Earlier)
	o.Moves = movesOf(now.Table)
	for i := range o.Nodes {
		o.Rates.add(&o.Nodes[i].Rates)
	}
	return o
}

// StatusUnknown is that of a node while nobody says how it is.
const StatusUnknown = "unknown"

// wellWords is the reason of the verdict that all is well.
func wellWords(nodes, groups int) string {
	return fmt.Sprintf("%s, and %s a leader and a majority", plural(nodes, "node is there", "nodes are there"), plural(groups, "group has", "groups have"))
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("all %d %s", n, many)
}

func nodesOf(now, before *Sample, nodes []wire.StatusNode, p *Patient, groups []wire.StatusGroup) []Node {
	list := []Node{}
	nodes = byName(nodes) // a status has them in the order of their ids
	for i, row := range NodeRows(nodes) {
		n := &nodes[i]
		a := now.answer(n.ID)
		x := Node{NodeRow: row, Answered: a.Status != nil, LastMs: n.LastHeardMs, Start: n.Start, Rates: ratesOf(a, before.of(n.ID))}
		if a.Err != nil {
			x.Why = Unasked(a.Err)
		}
		if a.Status != nil {
			x.RSS = a.Status.RSS
		}
		if p != nil {
			m := p.measured(n)
			x.Start, x.UptimeS, x.FreeBytes, x.LogBytes = m.Start, m.UptimeS, m.FreeBytes, m.LogBytes
			x.SyncP50, x.SyncP99, x.ClockAheadMs = m.SyncP50, m.SyncP99, m.ClockAheadMs
		}
		for _, g := range groups {
			if g.Leader == n.ID {
				x.Leads++
			}
			for _, r := range g.Replicas {
				if r.Node == n.ID {
					x.Replicas++
				}
			}
		}
		list = append(list, x)
	}
	return list
}

func groupsOf(nodes []wire.StatusNode, groups []wire.StatusGroup, t *shardmap.Table) []Group {
	alive := map[raft.NodeID]bool{}
	for _, n := range nodes {
		alive[n.ID] = n.Status != wire.NodeDead
	}
	moving := map[raft.GroupID]int{}
	if t != nil {
		for i := range t.Moves {
			m := &t.Moves[i]
			moving[m.From] += int(m.SlotRange.To-m.SlotRange.From) + 1
		}
	}
	list := []Group{}
	for i, row := range GroupRows(groups, func(id raft.NodeID) string { return nameOf(nodes, id) }) {
		g := &groups[i]
		x := Group{ID: row.ID, Leader: row.Leader, Term: row.Term, Commit: row.Commit, Slots: row.Slots, Moving: moving[g.ID], Replicas: []Replica{}}
		for k, r := range row.Replicas {
			of := &g.Replicas[k]
			if of.Role == shardmap.ReplicaVoter {
				x.Voters++
				if alive[of.Node] && of.State != wire.ReplicaLost && of.State != wire.ReplicaDamaged {
					x.Live++
				}
			}
			replica := Replica{ReplicaRow: r}
			if of.State != wire.ReplicaUnknown && of.State != wire.ReplicaDamaged {
				lag := g.Commit.Index - min(g.Commit.Index, of.Match)
				replica.Lag = &lag
			}
			x.Replicas = append(x.Replicas, replica)
		}
		list = append(list, x)
	}
	return list
}

func movesOf(t *shardmap.Table) []Move {
	list := []Move{}
	if t == nil {
		return list
	}
	for i := range t.Moves {
		m := &t.Moves[i]
		list = append(list, Move{First: int(m.SlotRange.From), Last: int(m.SlotRange.To), From: int(m.From), To: int(m.To),
			State: m.State.String(), Job: fmt.Sprint(m.Job), Cancelled: m.Cancelled})
	}
	return list
}
