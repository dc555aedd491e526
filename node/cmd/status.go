package cmd

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"muster/repl/wire"
)

func statusCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "status", Usage: "show the cluster at a glance, as the endpoint sees it",
		Description: `Ends with status 1 when the cluster is not healthy, and says what to do.

With -o json: {"cluster":…,"cluster_id":…,"level":N,"nodes":[…],"groups":[…],
"healthy":true,"problems":[{"what":…,"remedy":…}],"notes":[{"what":…,"remedy":…}]}, where
notes are worth knowing and leave a cluster healthy, nodes and groups are as "node list" and
"group list" print them, and level is that of the newest commands that
the cluster takes: the lowest level of its nodes, once they are upgraded; "namespaces":[…] as
"namespace list" prints them, if any prefix has a limit; --counters adds
"counters":[{"name":…,"in":N,"out":N,"bytes_in":N,"bytes_out":N}] and, of what the
endpoint has written to its disk since its start, "disk":{"entry_bytes":N,
"log_bytes":N,"moved_bytes":N,"filled_bytes":N,"snapshot_bytes":N}: entries of all
groups, the log that holds them, the part of it that was moved, new segments, snapshots.`,
		Flags:  []cli.Flag{&cli.BoolFlag{Name: "counters", Usage: "also show the frames that the endpoint has sent and received, by type, and what it has written to its disk"}},
		Action: con.action(runStatus),
	})
}

type problemRow struct {
	What   string `json:"what"`
	Remedy string `json:"remedy"`
}

type counterRow struct {
	Name     string `json:"name"`
	In       uint64 `json:"in"`
	Out      uint64 `json:"out"`
	BytesIn  uint64 `json:"bytes_in"`
	BytesOut uint64 `json:"bytes_out"`
}

type diskRow struct {
	EntryBytes    uint64 `json:"entry_bytes"`
	LogBytes      uint64 `json:"log_bytes"`
	MovedBytes    uint64 `json:"moved_bytes"`
	FilledBytes   uint64 `json:"filled_bytes"`
	SnapshotBytes uint64 `json:"snapshot_bytes"`
}

type statusRow struct {
	Cluster   string       `json:"cluster"`
	ClusterID string       `json:"cluster_id"`
	Level     uint32       `json:"level"`
	Nodes     []nodeRow    `json:"nodes"`
	Groups    []groupRow   `json:"groups"`
	Healthy   bool         `json:"healthy"`
	Problems  []problemRow `json:"problems"`
	Notes     []problemRow `json:"notes"` // healthy all the same
	// Namespaces are the prefixes with a limit; none where the endpoint does not tell its user.
	Namespaces []namespaceRow `json:"namespaces,omitempty"`
	Counters   []counterRow   `json:"counters,omitempty"`
	Disk       *diskRow       `json:"disk,omitempty"`
}

func runStatus(con *console, c *cli.Context) error {
	s, a, err := con.openStatus(c)
	if err != nil {
		return err
	}
	defer s.close()
	row := statusRowOf(a)
	if limits, err := namespacesOf(c.Context, s); err == nil { // an older node has none, and not every user may see them
		row.Namespaces = namespaceRows(limits)
	}
	if c.Bool("counters") {
		if row.Counters, err = countersOf(c.Context, s, a); err != nil {
			return err
		}
		row.Disk = &diskRow{a.Log.EntryBytes, a.Log.Bytes, a.Log.MovedBytes, a.Log.FilledBytes, a.Log.SnapshotBytes}
	}
	if s.json {
		err = s.printJSON(row)
	} else {
		err = printStatus(s, a, row)
	}
	if err == nil && !row.Healthy {
		return errQuiet(exitRefused)
	}
	return err
}

func statusRowOf(a *wire.StatusAnswer) statusRow {
	return statusRow{
		Cluster: a.Cluster, ClusterID: fmt.Sprintf("%016x", a.ClusterID), Level: a.Level,
		Nodes: nodeRows(a.Nodes), Groups: groupRows(a.Groups, nodeNames(a.Nodes)),
		Healthy: a.Healthy, Problems: problemRows(a.Problems), Notes: problemRows(a.Notes),
	}
}

func problemRows(list []wire.Problem) []problemRow {
	rows := []problemRow{}
	for _, p := range list {
		rows = append(rows, problemRow{p.What, p.Remedy})
	}
	return rows
}

// countersOf asks the node that gave the answer a.
func countersOf(ctx context.Context, s *errand, a *wire.StatusAnswer) ([]counterRow, error) {
	rows := []counterRow{}
	i := slices.IndexFunc(a.Nodes, func(n wire.StatusNode) bool { return n.ID == a.Self })
	if i < 0 {
		return rows, fmt.Errorf("counters: node %s does not list itself", a.Self)
	}
	err := s.with(ctx, func(ctx context.Context) error {
		answer, err := s.client.Counters(ctx, a.Nodes[i].Addr)
		if err != nil {
			return err
		}
		for _, r := range answer.Rows {
			rows = append(rows, counterRow{r.Name, r.In, r.Out, r.BytesIn, r.BytesOut})
		}
		return nil
	})
	return rows, err
}

// upgradeLine says which nodes hold back the level of the cluster, or "" if none does.
func upgradeLine(cluster uint32, nodes []nodeRow) string {
	newest := cluster
	for _, n := range nodes {
		newest = max(newest, n.Level)
	}
	var behind []string
	for _, n := range nodes {
		if n.Level < newest {
			behind = append(behind, fmt.Sprintf("%s (level %d)", n.Name, n.Level))
		}
	}
	if len(behind) == 0 {
		return ""
	}
	return fmt.Sprintf("an upgrade is under way: commands of level %d stay refused until these nodes run it too: %s", newest, strings.Join(behind, ", "))
}

func printStatus(s *errand, a *wire.StatusAnswer, row statusRow) error {
	health := "healthy"
	if !row.Healthy {
		health = "NOT HEALTHY"
	}
	s.line("cluster %s (%s) is %s, says %s", row.Cluster, row.ClusterID, health, nodeNames(a.Nodes)(a.Self))
	if line := upgradeLine(row.Level, row.Nodes); line != "" {
		s.line("%s", line)
	}
	s.line("")
	for _, p := range row.Problems {
		s.line("problem: %s", p.What)
		s.line(" remedy: %s", p.Remedy)
		s.line("")
	}
	for _, n := range row.Notes {
		s.line("note: %s", n.What)
		s.line("   to change it: %s", n.Remedy)
		s.line("")
	}
	if err := nodeTable(s, row.Nodes); err != nil {
		return err
	}
	s.line("")
	if err := groupTable(s, row.Groups); err != nil {
		return err
	}
	if len(row.Namespaces) > 0 {
		s.line("")
		if err := namespaceTable(s, row.Namespaces); err != nil {
			return err
		}
	}
	if row.Counters == nil {
		return nil
	}
	s.line("")
	t := newTable(s.out, "FRAMES", "IN", "OUT", "BYTES IN", "BYTES OUT")
	for _, r := range row.Counters {
		t.row(r.Name, number(r.In), number(r.Out), number(r.BytesIn), number(r.BytesOut))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	s.line("")
	t = newTable(s.out, "DISK", "BYTES")
	for _, r := range [...]struct {
		what  string
		bytes uint64
	}{
		{"entries of all groups", row.Disk.EntryBytes}, {"log, with them", row.Disk.LogBytes}, {"of that moved", row.Disk.MovedBytes},
		{"new segments", row.Disk.FilledBytes}, {"snapshots", row.Disk.SnapshotBytes},
	} {
		t.row(r.what, number(r.bytes))
	}
	return t.Flush()
}
