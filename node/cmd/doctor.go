package cmd

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"muster/node/overview"
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

Ends with status 1 when there is a finding of severity error, and with 7 for a user
without read on the cluster.

With -o json: {"ok":true,"findings":[{"severity":"error"|"warning","what":…,"remedy":…}],
"nodes":[{"id":…,"name":…,"addr":…,"answered":true,"version":…,"start":N,"uptime_s":N,
"sync_p50_us":N,"sync_p99_us":N,"sync_max_us":N,"syncs":N,"free_bytes":N,"log_bytes":N,
"needed_bytes":N,"snapshot_bytes":N,"full":false,"clock_ahead_ms":N,"clock_unsure_ms":N}],"links":[{"from":NAME,"to":NAME,"reached":true,
"rtt_us":N,"heard":true,"heard_ms":N,"why":…}]}; a link's "heard" is what "to" says: it hears "from".
A node's clock is ahead of this host's by "clock_ahead_ms", give or take "clock_unsure_ms".`,
		Action: con.action(runDoctor),
	})
}

type doctorRow struct {
	OK       bool                `json:"ok"` // Invariant: no finding is an error
	Findings []overview.Finding  `json:"findings"`
	Nodes    []overview.Measured `json:"nodes"`
	Links    []overview.Link     `json:"links"`
}

func runDoctor(con *console, c *cli.Context) error {
	s, status, err := con.openStatus(c)
	if err != nil {
		return err
	}
	defer s.close()
	p := overview.NewPatient(status)
	if err := askAll(c.Context, s, p); err != nil {
		return err
	}
	row := doctorRowOf(p)
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

func doctorRowOf(p *overview.Patient) *doctorRow {
	found := p.Diagnose()
	ok := !slices.ContainsFunc(found, func(f overview.Finding) bool { return f.Severity == overview.SeverityError })
	return &doctorRow{OK: ok, Findings: append([]overview.Finding{}, found...), Nodes: p.Measured(), Links: p.Links()}
}

// askAll asks every node at the same time, or some at a time if they are many. It fails if one says that this user may not
// look into the cluster: the others go by the same rules, and an answer that was refused is no finding.
func askAll(ctx context.Context, s *errand, p *overview.Patient) (refused error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	var mu sync.Mutex // guards p and refused
	var asked sync.WaitGroup
	slots := make(chan struct{}, doctorAtOnce)
	for _, n := range p.Nodes() {
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
				err = fmt.Errorf("node %s %w", a.Node, overview.ErrOtherNode)
			}
			noRight := s.noRight(one, n.Addr, err)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case noRight:
				refused = fmt.Errorf("nothing was examined: %w", err)
			case isDenied(err):
				p.Outside(n.ID, err)
			case err != nil:
				p.Silent(n.ID, err)
			default:
				p.Answered(n.ID, a, began, ended)
			}
		}()
	}
	asked.Wait()
	return refused
}

func printDoctor(s *errand, p *overview.Patient, row *doctorRow) error {
	if len(p.Nodes()) > 1 {
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
			overview.ByteSize(r.FreeBytes), overview.ByteSize(r.LogBytes), overview.ByteSize(r.NeededBytes), overview.ByteSize(r.SnapshotBytes))
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
func printMatrix(s *errand, p *overview.Patient, links []overview.Link) error {
	head := []string{`FROM \ TO`}
	for _, n := range p.Nodes() {
		head = append(head, n.Name)
	}
	t := newTable(s.out, head...)
	i := 0
	for _, from := range p.Nodes() {
		cells := []string{from.Name}
		for _, to := range p.Nodes() {
			if from.ID == to.ID {
				cells = append(cells, "-")
				continue
			}
			l := links[i]
			i++
			switch {
			case !l.Known:
				cells = append(cells, "?")
			case !l.Reached:
				cells = append(cells, "CUT")
			case p.Heard(to.ID) && !l.Heard:
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
