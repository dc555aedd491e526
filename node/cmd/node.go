package cmd

import (
	"maps"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"muster/node/overview"
	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

func nodeCommand(con *console) *cli.Command {
	return noun(cli.Command{Name: "node", Usage: "look at the nodes of the cluster, and let them come and go"},
		verb(cli.Command{
			Name: "list", Usage: "list the nodes that the endpoint knows",
			Description: `With -o json: [{"id":…,"name":…,"addr":…,"role":"server"|"client",
"status":"alive"|"dead"|"standby"|"joining"|"draining","version":…,"level":N,"weight":N,
"labels":{…}}]`,
			Action: con.action(nodeList),
		}),
		nodeAddCommand(con),
		nodeRemoveCommand(con),
		nodeDrainCommand(con),
		nodeUndrainCommand(con),
		nodeRoleCommand(con, "promote", shardmap.NodeServer),
		nodeRoleCommand(con, "demote", shardmap.NodeClient),
		nodeLabelCommand(con),
		nodeWeightCommand(con))
}

type nodeRow = overview.NodeRow

func nodeRows(nodes []wire.StatusNode) []nodeRow { return overview.NodeRows(nodes) }

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

// tableRow is the row of a node of which only the table is known, and nothing of its health.
func tableRow(t *shardmap.Table, n *shardmap.TableNode) nodeRow {
	status := wire.NodeAlive
	if _, ok := t.Meta.ReplicaOn(n.ID); !ok || joins(t, n.ID) {
		status = wire.NodeJoining
	} else if n.Draining {
		status = wire.NodeDraining
	}
	return nodeRows([]wire.StatusNode{{ID: n.ID, Name: n.Name, Addr: n.Addr, Role: n.Role, Status: status, Version: n.Version, Labels: n.Labels, Level: n.Level, Weight: n.Weight}})[0]
}

func nodeList(con *console, c *cli.Context) error {
	s, status, err := con.openStatus(c)
	if err != nil {
		return err
	}
	defer s.close()
	return printNodes(s, nodeRows(status.Nodes))
}

func printNodes(s *errand, rows []nodeRow) error {
	if s.json {
		return s.printJSON(rows)
	}
	return nodeTable(s, rows)
}

func nodeTable(s *errand, rows []nodeRow) error {
	t := newTable(s.out, "ID", "NAME", "ADDR", "ROLE", "STATUS", "VERSION", "LEVEL", "WEIGHT", "LABELS")
	for _, r := range rows {
		var labels []string
		for _, key := range slices.Sorted(maps.Keys(r.Labels)) {
			labels = append(labels, key+"="+r.Labels[key])
		}
		t.row(r.ID, r.Name, r.Addr, r.Role, r.Status, orDash(r.Version), number(r.Level), number(r.Weight), orDash(strings.Join(labels, ",")))
	}
	return t.Flush()
}
