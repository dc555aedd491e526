package cmd

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"muster/node/overview"
)

// topTable is one of the tables of muster top.
type topTable int

const (
	topNodes topTable = iota
	topGroups
	topJobs
	topEvents
	topFindings
	topTables // how many there are
)

func (t topTable) String() string {
	return [...]string{"nodes", "groups", "jobs", "events", "findings"}[t]
}

// topColumn is a column of a table. Where there is no room for all, those of the highest rank
// are left out first.
type topColumn struct {
	head  string
	right bool // numbers stand at the right
	rank  int
}

// topCell is what stands in a column, and by what it is sorted: a number, or the text where that
// is 0 in both.
type topCell struct {
	text string
	by   float64
}

// topRow is a row of a table.
type topRow struct {
	key   string // what it is about; the selection stays on it however the table is sorted
	bad   bool   // something is wrong with it
	cells []topCell
	more  []string // lines of a closer look
}

// topContent is a table with what is in it.
type topContent struct {
	columns []topColumn
	rows    []topRow
}

func topText(s string) topCell { return topCell{text: s} }

func topNumber[T ~int | ~uint64](n T) topCell { return topCell{fmt.Sprint(n), float64(n)} }

// topRate is a number of something in a second.
func topRate(n float64) topCell { return topCell{rateText(n), n} }

func topSize(n uint64) topCell {
	if n == 0 {
		return topCell{"-", 0}
	}
	return topCell{overview.ByteSize(n), float64(n)}
}

func topMicros(us uint64) topCell { return topCell{micros(us), float64(us)} }

// rateText is a rate as people read it: small ones with a digit behind the point.
func rateText(n float64) string {
	switch {
	case n == 0:
		return "0"
	case n < 10:
		return fmt.Sprintf("%.1f", n)
	}
	return fmt.Sprintf("%.0f", n)
}

func bytesText(n float64) string { return overview.ByteSize(uint64(max(n, 0))) + "/s" }

// content returns what is in a table.
func (t topTable) content(o *overview.Overview) topContent {
	switch t {
	case topNodes:
		return nodeContent(o)
	case topGroups:
		return groupContent(o)
	case topJobs:
		return jobContent(o)
	case topEvents:
		return eventContent(o)
	}
	return findingContent(o)
}

func nodeContent(o *overview.Overview) topContent {
	c := topContent{columns: []topColumn{
		{"NODE", false, 0}, {"STATUS", false, 0}, {"WRITES/S", true, 1}, {"READS/S", true, 1}, {"P99 WRITE", true, 3}, {"P99 READ", true, 4},
		{"LEADS", true, 2}, {"REPLICAS", true, 5}, {"CPU", true, 2}, {"SYNC P99", true, 3}, {"MEMORY", true, 4}, {"FREE", true, 3}, {"UP", true, 5},
		{"ROLE", false, 6}, {"VERSION", false, 6}, {"ADDR", false, 7},
	}}
	for i := range o.Nodes {
		n := &o.Nodes[i]
		status, bad := n.Status, n.Status == "dead" || !n.Answered
		if !n.Answered && n.Status != "dead" {
			status += ", silent"
		}
		up := topCell{"-", 0}
		if n.UptimeS > 0 {
			up = topCell{(time.Duration(n.UptimeS) * time.Second).String(), float64(n.UptimeS)}
		}
		r := &n.Rates
		rate := func(of topCell) topCell {
			if r.WindowMs == 0 {
				return topCell{"-", 0}
			}
			return of
		}
		c.rows = append(c.rows, topRow{key: n.ID, bad: bad, cells: []topCell{
			topText(n.Name), topText(status), rate(topRate(r.Writes)), rate(topRate(r.Reads)), topMicros(r.WriteLatency.P99), topMicros(r.ReadLatency.P99),
			topNumber(n.Leads), topNumber(n.Replicas), rate(topCell{fmt.Sprintf("%.0f%%", r.CPU), r.CPU}), topMicros(n.SyncP99), topSize(n.RSS), topSize(n.FreeBytes), up,
			topText(n.Role), topText(orDash(n.Version)), topText(n.Addr),
		}, more: nodeMore(o, n)})
	}
	return c
}

func nodeMore(o *overview.Overview, n *overview.Node) []string {
	lines := []string{
		fmt.Sprintf("node %s (%s), id %s", n.Name, n.Addr, n.ID),
		fmt.Sprintf("%s, %s, version %s, level %d, weight %d, start %d", n.Role, n.Status, orDash(n.Version), n.Level, n.Weight, n.Start),
	}
	if n.Why != "" {
		lines = append(lines, "it does not answer: "+n.Why)
	}
	var labels []string
	for k, v := range n.Labels {
		labels = append(labels, k+"="+v)
	}
	slices.Sort(labels)
	if len(labels) > 0 {
		lines = append(lines, "labels: "+strings.Join(labels, " "))
	}
	r := &n.Rates
	lines = append(lines,
		fmt.Sprintf("leads %d groups, has %d replicas", n.Leads, n.Replicas),
		fmt.Sprintf("in %s, out %s, log %s, %s syncs/s", bytesText(r.BytesIn), bytesText(r.BytesOut), bytesText(r.LogBytes), rateText(r.Syncs)),
		fmt.Sprintf("writes p50 %s p99 %s, reads p50 %s p99 %s, syncs p50 %s p99 %s", micros(r.WriteLatency.P50), micros(r.WriteLatency.P99),
			micros(r.ReadLatency.P50), micros(r.ReadLatency.P99), micros(n.SyncP50), micros(n.SyncP99)),
		fmt.Sprintf("memory %s, log on disk %s, free %s, clock %dms ahead", overview.ByteSize(n.RSS), overview.ByteSize(n.LogBytes), overview.ByteSize(n.FreeBytes), n.ClockAheadMs), "")
	for _, l := range o.Links {
		switch {
		case l.From != n.Name:
		case !l.Known:
			lines = append(lines, fmt.Sprintf("to %s: not known", l.To))
		case !l.Reached:
			lines = append(lines, fmt.Sprintf("to %s: CUT, %s", l.To, l.Why))
		case !l.Heard:
			lines = append(lines, fmt.Sprintf("to %s: %s there and back, UNHEARD", l.To, micros(l.RTTus)))
		default:
			lines = append(lines, fmt.Sprintf("to %s: %s there and back", l.To, micros(l.RTTus)))
		}
	}
	return lines
}

func groupContent(o *overview.Overview) topContent {
	c := topContent{columns: []topColumn{
		{"GROUP", true, 0}, {"LEADER", false, 0}, {"LIVE", true, 0}, {"LAG", true, 1}, {"SLOTS", true, 2}, {"MOVING", true, 3}, {"TERM", true, 3}, {"COMMIT", false, 2}, {"REPLICAS", false, 4},
	}}
	for i := range o.Groups {
		g := &o.Groups[i]
		lag, known := uint64(0), false
		var replicas []string
		lines := []string{
			fmt.Sprintf("group %d: leader %s, term %d, commit %s, %d slots, %d of them moving", g.ID, orDash(g.Leader), g.Term, g.Commit, g.Slots, g.Moving),
			fmt.Sprintf("%d of %d voters live", g.Live, g.Voters), "",
		}
		for _, r := range g.Replicas {
			behind := "-"
			if r.Lag != nil {
				lag, known, behind = max(lag, *r.Lag), true, fmt.Sprint(*r.Lag)
			}
			replicas = append(replicas, r.Node)
			lines = append(lines, fmt.Sprintf("replica %s on %s: %s, %s, %s entries behind", r.ID, r.Node, r.Role, r.State, behind))
		}
		behind := topCell{"-", 0}
		if known {
			behind = topNumber(lag)
		}
		c.rows = append(c.rows, topRow{key: fmt.Sprint(g.ID), bad: g.Leader == "" || g.Live < g.Voters, cells: []topCell{
			topNumber(g.ID), topText(orDash(g.Leader)), {fmt.Sprintf("%d/%d", g.Live, g.Voters), float64(g.Live)}, behind, topNumber(g.Slots), topNumber(g.Moving),
			topNumber(g.Term), topText(g.Commit), topText(strings.Join(replicas, " ")),
		}, more: lines})
	}
	return c
}

func jobContent(o *overview.Overview) topContent {
	c := topContent{columns: []topColumn{
		{"JOB", true, 0}, {"KIND", false, 0}, {"STATE", false, 0}, {"DONE", true, 1}, {"BYTES", true, 2}, {"RATE", true, 1}, {"LEFT", true, 1}, {"ABOUT", false, 3}, {"WHY", false, 4},
	}}
	for i := range o.Jobs {
		j := &o.Jobs[i]
		about := j.Node
		if j.Group != nil {
			about = strings.TrimSpace(fmt.Sprintf("group %d %s", *j.Group, j.Node))
		}
		rate, left, bytes := topCell{"-", 0}, topCell{"-", 0}, topCell{"-", 0}
		switch {
		case j.BytesPerS > 0:
			rate = topCell{bytesText(j.BytesPerS), j.BytesPerS}
		case j.PerS > 0:
			rate = topCell{rateText(j.PerS) + " " + j.Unit + "/s", j.PerS}
		}
		if j.LeftS != nil {
			left = topCell{(time.Duration(*j.LeftS) * time.Second).String(), float64(*j.LeftS)}
		}
		lines := []string{j.What(), fmt.Sprintf("%s, %s of %d %s", j.State, j.DoneText(), j.Total, j.Unit)}
		if j.Bytes != nil {
			bytes = topCell{overview.ByteSize(*j.Bytes), float64(*j.Bytes)}
			text := overview.ByteSize(*j.Bytes)
			if j.BytesTotal != nil {
				text += " of " + overview.ByteSize(*j.BytesTotal)
			}
			lines = append(lines, text+", "+rate.text)
		}
		if j.Why != "" {
			lines = append(lines, j.Why)
		}
		for _, m := range o.Moves {
			if m.Job == j.ID {
				lines = append(lines, fmt.Sprintf("slots %d to %d: group %d to %d, %s", m.First, m.Last, m.From, m.To, m.State))
			}
		}
		lines = append(lines, "", "muster job show "+j.ID)
		c.rows = append(c.rows, topRow{key: j.ID, bad: j.State == "failed", cells: []topCell{
			{j.ID, jobNumber(j.ID)}, topText(j.Kind), topText(j.State), {fmt.Sprintf("%s/%d", j.DoneText(), j.Total), float64(j.Done)}, bytes, rate, left, topText(orDash(about)), topText(orDash(j.Why)),
		}, more: lines})
	}
	return c
}

// jobNumber is the id of a job as a number to sort by.
func jobNumber(id string) (n float64) {
	fmt.Sscan(id, &n)
	return n
}

func eventContent(o *overview.Overview) topContent {
	c := topContent{columns: []topColumn{{"AT", false, 0}, {"KIND", false, 1}, {"WHAT", false, 0}}}
	for i := len(o.Events) - 1; i >= 0; i-- { // the newest first
		e := &o.Events[i]
		c.rows = append(c.rows, topRow{key: e.Key + e.At.String(), cells: []topCell{
			{e.At.Format(time.TimeOnly), -float64(e.At.UnixMilli())}, topText(string(e.Kind)), topText(e.Text),
		}, more: []string{e.At.Format(time.DateTime), string(e.Kind), e.Text}})
	}
	return c
}

func findingContent(o *overview.Overview) topContent {
	c := topContent{columns: []topColumn{{"SEVERITY", false, 0}, {"WHAT", false, 0}}}
	for i := range o.Findings {
		f := &o.Findings[i]
		c.rows = append(c.rows, topRow{key: f.What, bad: f.Severity == overview.SeverityError, cells: []topCell{
			{f.Severity, float64(i + 1)}, topText(f.What), // the worst first
		}, more: []string{f.Severity + ": " + f.What, "", "remedy: " + f.Remedy}})
	}
	return c
}

// sorted sorts the rows by a column; the same way round, those that are alike stay as they were.
func (c *topContent) sorted(column int, reversed bool) {
	column = min(column, len(c.columns)-1)
	slices.SortStableFunc(c.rows, func(a, b topRow) int {
		x, y := a.cells[column], b.cells[column]
		order := cmp.Compare(x.by, y.by)
		if x.by == 0 && y.by == 0 {
			order = cmp.Compare(x.text, y.text)
		}
		if reversed {
			return -order
		}
		return order
	})
}

// fitting returns the numbers of the columns for which there is room in so many columns of the
// screen, and the width of each.
func (c *topContent) fitting(room int) (shown, widths []int) {
	natural := make([]int, len(c.columns))
	for i, col := range c.columns {
		natural[i] = columnsOf(col.head)
		for _, r := range c.rows {
			natural[i] = max(natural[i], columnsOf(plain(r.cells[i].text)))
		}
		shown = append(shown, i)
	}
	need := func() (n int) {
		for _, i := range shown {
			n += natural[i] + columnGap
		}
		return n - columnGap
	}
	for need() > room && len(shown) > 1 {
		// The last of the highest rank. The last of all, which may be long text, is cut instead
		// where it is of rank 0.
		drop := 0
		for at, i := range shown {
			if c.columns[i].rank >= c.columns[shown[drop]].rank {
				drop = at
			}
		}
		if c.columns[shown[drop]].rank == 0 {
			break
		}
		shown = slices.Delete(shown, drop, drop+1)
	}
	for _, i := range shown {
		widths = append(widths, natural[i])
	}
	return shown, widths
}
