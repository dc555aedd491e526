package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"muster/repl/wire"
)

func (t *tool) statusCommand() *cli.Command {
	return verb(cli.Command{
		Name: "status", Usage: "show the cluster at a glance, from the endpoint's own knowledge",
		Description: `Ends with status 1 when the cluster is not healthy, and says what to do.

With -o json: {"cluster":…,"cluster_id":…,"nodes":[…],"groups":[…],"healthy":true,
"problems":[{"what":…,"remedy":…}]}, where nodes and groups are as "node list" and
"group list" print them; --counters adds
"counters":[{"name":…,"in":N,"out":N,"bytes_in":N,"bytes_out":N}].`,
		Flags:  []cli.Flag{&cli.BoolFlag{Name: "counters", Usage: "also the frames that the endpoint has sent and received, by type"}},
		Action: t.status,
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

type statusRow struct {
	Cluster   string       `json:"cluster"`
	ClusterID string       `json:"cluster_id"`
	Nodes     []nodeRow    `json:"nodes"`
	Groups    []groupRow   `json:"groups"`
	Healthy   bool         `json:"healthy"`
	Problems  []problemRow `json:"problems"`
	Counters  []counterRow `json:"counters,omitempty"`
}

func (t *tool) status(c *cli.Context) error {
	s, err := t.openBare(c)
	if err != nil {
		return err
	}
	defer s.close()
	// Both answers are to be of one endpoint.
	type answers struct {
		status   *wire.StatusAnswer
		counters *wire.CountersAnswer
	}
	a, err := firstAnswer(c.Context, s, func(ctx context.Context, endpoint string) (a answers, err error) {
		if a.status, err = s.client.Status(ctx, endpoint); err != nil || !c.Bool("counters") {
			return a, err
		}
		a.counters, err = s.client.Counters(ctx, endpoint)
		return a, err
	})
	if err != nil {
		return err
	}
	row := statusRowOf(a.status, a.counters)
	if s.json {
		err = s.printJSON(row)
	} else {
		err = s.printStatus(a.status, row)
	}
	if err == nil && !row.Healthy {
		return errQuiet(exitRefused)
	}
	return err
}

func statusRowOf(a *wire.StatusAnswer, counters *wire.CountersAnswer) statusRow {
	row := statusRow{
		Cluster: a.Cluster, ClusterID: fmt.Sprintf("%016x", a.ClusterID),
		Nodes: nodeRows(a.Nodes), Groups: groupRows(a.Groups, nodeNames(a.Nodes)),
		Healthy: a.Healthy, Problems: []problemRow{},
	}
	for _, p := range a.Problems {
		row.Problems = append(row.Problems, problemRow{p.What, p.Remedy})
	}
	if counters != nil {
		row.Counters = []counterRow{}
		for _, r := range counters.Rows {
			row.Counters = append(row.Counters, counterRow{r.Name, r.In, r.Out, r.BytesIn, r.BytesOut})
		}
	}
	return row
}

func (s *session) printStatus(a *wire.StatusAnswer, row statusRow) error {
	health := "healthy"
	if !row.Healthy {
		health = "NOT HEALTHY"
	}
	fmt.Fprintf(s.out, "cluster %s (%s) is %s, says %s\n\n", row.Cluster, row.ClusterID, health, nodeNames(a.Nodes)(a.Self))
	for _, p := range row.Problems {
		fmt.Fprintf(s.out, "problem: %s\n remedy: %s\n\n", p.What, p.Remedy)
	}
	if err := s.nodeTable(a); err != nil {
		return err
	}
	fmt.Fprintln(s.out)
	if err := s.groupTable(row.Groups); err != nil {
		return err
	}
	if row.Counters == nil {
		return nil
	}
	fmt.Fprintln(s.out)
	t := newTable(s.out, "FRAMES", "IN", "OUT", "BYTES IN", "BYTES OUT")
	for _, r := range row.Counters {
		t.row(r.Name, number(r.In), number(r.Out), number(r.BytesIn), number(r.BytesOut))
	}
	return t.Flush()
}
