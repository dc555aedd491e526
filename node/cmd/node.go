package cmd

import (
	"strings"

	"github.com/urfave/cli/v2"

	"muster/raft"
	"muster/repl/wire"
)

func nodeCommand(con *console) *cli.Command {
	return noun(cli.Command{Name: "node", Usage: "look at the nodes of the cluster"},
		verb(cli.Command{
			Name: "list", Usage: "list the nodes that the endpoint knows",
			Description: `With -o json: [{"id":…,"name":…,"addr":…,"role":"server"|"client","status":"alive"|"dead"|"standby","version":…,"level":N,"labels":{…}}]`,
			Action:      con.action(nodeList),
		}))
}

type nodeRow struct {
	ID      string            `json:"id"`
	Name    string            `json:"name"`
	Addr    string            `json:"addr"`
	Role    string            `json:"role"`
	Status  string            `json:"status"`
	Version string            `json:"version"`
	Level   uint32            `json:"level"` // of commands: the newest that it understands
	Labels  map[string]string `json:"labels"`
}

func nodeRows(nodes []wire.StatusNode) []nodeRow {
	rows := make([]nodeRow, 0, len(nodes))
	for _, n := range nodes {
		r := nodeRow{n.ID.String(), n.Name, n.Addr, n.Role.String(), n.Status.String(), n.Version, n.Level, map[string]string{}}
		for _, l := range n.Labels {
			r.Labels[l.Key] = l.Value
		}
		rows = append(rows, r)
	}
	return rows
}

// nodeNames tells each node's name by its id.
func nodeNames(nodes []wire.StatusNode) func(raft.NodeID) string {
	names := map[raft.NodeID]string{}
	for _, n := range nodes {
		names[n.ID] = n.Name
	}
	return func(id raft.NodeID) string {
		if name, ok := names[id]; ok || id == 0 {
			return name
		}
		return id.String()
	}
}

func nodeList(con *console, c *cli.Context) error {
	s, status, err := con.openStatus(c)
	if err != nil {
		return err
	}
	defer s.close()
	if s.json {
		return s.printJSON(nodeRows(status.Nodes))
	}
	return nodeTable(s, status)
}

func nodeTable(s *errand, status *wire.StatusAnswer) error {
	t := newTable(s.out, "ID", "NAME", "ADDR", "ROLE", "STATUS", "VERSION", "LEVEL", "LABELS")
	for i, r := range nodeRows(status.Nodes) {
		var labels []string
		for _, l := range status.Nodes[i].Labels {
			labels = append(labels, l.Key+"="+l.Value)
		}
		t.row(r.ID, r.Name, r.Addr, r.Role, r.Status, orDash(r.Version), number(uint64(r.Level)), orDash(strings.Join(labels, ",")))
	}
	return t.Flush()
}
