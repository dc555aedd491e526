package cmd

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"muster/raft"
	"muster/repl/wire"
)

const (
	// doctorPatience is how long a node may take to answer before it counts as
	// one that can't be asked: several times what a healthy one takes to end
	// an election.
	doctorPatience = 3 * time.Second
	// doctorAtOnce is how many nodes are asked at a time.
	doctorAtOnce = 32
)

func doctorCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "doctor", Usage: "ask every node what it measures, and report what needs attention",
		Description: `Shows who reaches whom, with the round-trip time of each direction, how long the
log's writes take on each disk and how full it is, and then what it finds wrong,
each with its remedy: of links, disks, clocks, groups without a leader or a majority,
replicas that are damaged or differ, jobs that are stuck, limits that are nearly
reached, and levels and versions. "muster status" shows what one node knows of the others;
doctor asks all nodes, so it also finds a link that is cut in one direction.

Ends with status 1 when there is a finding of severity error.

With -o json: {"ok":true,"findings":[{"severity":"error"|"warning","what":…,"remedy":…}],
"nodes":[{"id":…,"name":…,"addr":…,"answered":true,"version":…,"start":N,"uptime_s":N,
"sync_p50_us":N,"sync_p99_us":N,"sync_max_us":N,"syncs":N,"free_bytes":N,"log_bytes":N,
"needed_bytes":N,"snapshot_bytes":N,"full":false,"clock_ahead_ms":N,"clock_unsure_ms":N}],"links":[{"from":NAME,"to":NAME,"reached":true,
"rtt_us":N,"heard":true,"heard_ms":N,"why":…}]}; a link's "heard" is what "to" says: it hears "from".
A node's clock is ahead of this host's by "clock_ahead_ms", give or take "clock_unsure_ms".`,
		Action: con.action(runDoctor),
	})
}

type findingRow struct {
	Severity string `json:"severity"`
	What     string `json:"what"`
	Remedy   string `json:"remedy"`
}

type doctorRow struct {
	OK       bool            `json:"ok"` // Invariant: no finding is an error
	Findings []findingRow    `json:"findings"`
	Nodes    []doctorNodeRow `json:"nodes"`
	Links    []linkRow       `json:"links"`
}

type doctorNodeRow struct {
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
	ClockAheadMs  int64  `json:"clock_ahead_ms"`
	ClockUnsureMs int64  `json:"clock_unsure_ms"`
}

type linkRow struct {
	From    string `json:"from"`
	To      string `json:"to"`
	Reached bool   `json:"reached"`
	RTTus   uint64 `json:"rtt_us"` // 0: not measured yet
	Heard   bool   `json:"heard"`
	HeardMs uint64 `json:"heard_ms"`
	Why     string `json:"why,omitempty"`

	known bool // From has answered
}

func runDoctor(con *console, c *cli.Context) error {
	s, status, err := con.openStatus(c)
	if err != nil {
		return err
	}
	defer s.close()
	p := newPatient(status)
	askAll(c.Context, s, p)
	row := p.diagnose()
	if s.json {
		err = s.printJSON(row)
	} else {
		err = printDoctor(s, p, row)
	}
	if err == nil && !row.OK {
		return errQuiet(exitRefused)
	}
	return err
}

// askAll asks every node at the same time, or some at a time if they are many.
func askAll(ctx context.Context, s *errand, p *patient) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	var mu sync.Mutex // guards p
	var asked sync.WaitGroup
	slots := make(chan struct{}, doctorAtOnce)
	for _, n := range p.nodes {
		asked.Add(1)
		go func() {
			defer asked.Done()
			slots <- struct{}{}
			defer func() { <-slots }()
			one, cancel := context.WithTimeout(ctx, doctorPatience)
			defer cancel()
			began := time.Now()
			a, err := s.client.Doctor(one, n.Addr)
			ended := time.Now()
			if err == nil && a.Node != n.ID {
				err = fmt.Errorf("node %s %w", a.Node, errOtherNode)
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				p.silent[n.ID] = err
				return
			}
			p.answered(n.ID, a, began, ended)
		}()
	}
	asked.Wait()
}

// patient is a cluster under examination.
type patient struct {
	status  *wire.StatusAnswer
	nodes   []wire.StatusNode
	answers map[raft.NodeID]*wire.DoctorAnswer
	silent  map[raft.NodeID]error // why a node could not be asked
	// readings are the clocks of those that have answered and told theirs.
	readings map[raft.NodeID]clockReading
}

func newPatient(status *wire.StatusAnswer) *patient {
	nodes := slices.SortedFunc(slices.Values(status.Nodes), func(a, b wire.StatusNode) int { return cmp.Compare(a.Name, b.Name) })
	return &patient{status: status, nodes: nodes, answers: map[raft.NodeID]*wire.DoctorAnswer{}, silent: map[raft.NodeID]error{}, readings: map[raft.NodeID]clockReading{}}
}

func (p *patient) name(id raft.NodeID) string { return nodeNames(p.nodes)(id) }

// link returns what from says of its way to another node.
func (p *patient) link(from, to raft.NodeID) (wire.DoctorLink, bool) {
	if a := p.answers[from]; a != nil {
		for _, l := range a.Links {
			if l.To == to {
				return l, true
			}
		}
	}
	return wire.DoctorLink{}, false
}

// links are all directed pairs.
func (p *patient) links() []linkRow {
	rows := []linkRow{}
	for _, from := range p.nodes {
		for _, to := range p.nodes {
			if from.ID == to.ID {
				continue
			}
			there, known := p.link(from.ID, to.ID)
			back, heard := p.link(to.ID, from.ID)
			rows = append(rows, linkRow{
				From: from.Name, To: to.Name, known: known,
				Reached: known && reaches(&there), RTTus: there.RTTMicros, Why: whyNot(&there),
				Heard: heard && hears(&back), HeardMs: back.HeardMs,
			})
		}
	}
	return rows
}

func (p *patient) nodeRows() []doctorNodeRow {
	rows := []doctorNodeRow{}
	for _, n := range p.nodes {
		r := doctorNodeRow{ID: n.ID.String(), Name: n.Name, Addr: n.Addr, Version: n.Version, Start: n.Start}
		if a := p.answers[n.ID]; a != nil {
			r.Answered, r.Version, r.Start, r.UptimeS = true, a.Version, a.Start, a.UptimeMs/1000
			r.SyncP50, r.SyncP99, r.SyncMax, r.Syncs = a.Syncs.P50, a.Syncs.P99, a.Syncs.Max, a.Syncs.Count
			r.FreeBytes, r.LogBytes, r.NeededBytes = a.Disk.Free, a.Disk.Log, a.Disk.Needed
			r.SnapshotBytes, r.Full = a.Disk.Snapshots, a.Disk.Full
			r.ClockAheadMs, r.ClockUnsureMs = p.readings[n.ID].ahead.Milliseconds(), p.readings[n.ID].unsure.Milliseconds()
		}
		rows = append(rows, r)
	}
	return rows
}

func printDoctor(s *errand, p *patient, row *doctorRow) error {
	if len(p.nodes) > 1 {
		if err := printMatrix(s, p, row.Links); err != nil {
			return err
		}
	}
	t := newTable(s.out, "NODE", "ADDR", "VERSION", "STARTS", "UP", "SYNC P50", "P99", "MAX", "FREE", "LOG", "NEEDED", "SNAPSHOTS")
	for _, r := range row.Nodes {
		if !r.Answered {
			t.row(r.Name, r.Addr, orDash(r.Version), number(r.Start), "does not answer")
			continue
		}
		t.row(r.Name, r.Addr, r.Version, number(r.Start), (time.Duration(r.UptimeS) * time.Second).String(),
			micros(r.SyncP50), micros(r.SyncP99), micros(r.SyncMax),
			byteSize(r.FreeBytes), byteSize(r.LogBytes), byteSize(r.NeededBytes), byteSize(r.SnapshotBytes))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	s.line("")
	for _, f := range row.Findings {
		s.line("%7s: %s", f.Severity, f.What)
		s.line(" remedy: %s", f.Remedy)
		s.line("")
	}
	if len(row.Findings) == 0 {
		return s.line("nothing found")
	}
	return nil
}

// printMatrix prints who reaches whom, a line for each node that dials.
func printMatrix(s *errand, p *patient, links []linkRow) error {
	head := []string{`FROM \ TO`}
	for _, n := range p.nodes {
		head = append(head, n.Name)
	}
	t := newTable(s.out, head...)
	i := 0
	for _, from := range p.nodes {
		cells := []string{from.Name}
		for _, to := range p.nodes {
			if from.ID == to.ID {
				cells = append(cells, "-")
				continue
			}
			l := links[i]
			i++
			switch {
			case !l.known:
				cells = append(cells, "?")
			case !l.Reached:
				cells = append(cells, "CUT")
			case p.answers[to.ID] != nil && !l.Heard:
				cells = append(cells, "UNHEARD")
			default:
				cells = append(cells, micros(l.RTTus))
			}
		}
		t.row(cells...)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return s.line("")
}

// micros is a time as people read it; "-" is none measured.
func micros(us uint64) string {
	if us == 0 {
		return "-"
	}
	d := time.Duration(us) * time.Microsecond
	switch {
	case d >= time.Second:
		d = d.Round(10 * time.Millisecond)
	case d >= time.Millisecond:
		d = d.Round(10 * time.Microsecond)
	}
	return d.String()
}

// byteSize is a number of bytes as people read it.
func byteSize(n uint64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	f, i := float64(n), 0
	for f >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", f), ".0") + " " + units[i]
}
