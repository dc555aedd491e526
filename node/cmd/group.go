package cmd

import (
	"context"
	"slices"
	"sync"

	"github.com/urfave/cli/v2"

	"muster/node/overview"
	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

func groupCommand(con *console) *cli.Command {
	return noun(cli.Command{Name: "group", Usage: "look at the groups, which own the slots, make and remove them, and place their replicas"},
		verb(cli.Command{
			Name: "list", Usage: "list the groups with their replicas, as their leaders know them",
			Description: `Asks every node, because only a leader knows how far each replica is. Group 0 is
the meta group: it holds the table of nodes, groups and slots.

With -o json: ` + groupForm,
			Action: con.action(groupList),
		}),
		groupCreateCommand(con),
		groupRemoveCommand(con),
		groupOrderCommand(con, "add", shardmap.JobAdd),
		groupOrderCommand(con, "del", shardmap.JobDel),
		groupOrderCommand(con, "promote", shardmap.JobPromote))
}

type groupRow = overview.GroupRow

func groupRows(groups []wire.StatusGroup, name func(raft.NodeID) string) []groupRow {
	return overview.GroupRows(groups, name)
}

func groupList(con *console, c *cli.Context) error {
	s, err := con.openBare(c)
	if err != nil {
		return err
	}
	defer s.close()
	rows, err := s.groupRows(c.Context)
	if err != nil {
		return err
	}
	return printGroups(s, rows)
}

// groupRows asks all nodes for all groups.
func (s *errand) groupRows(ctx context.Context) ([]groupRow, error) {
	status, err := s.status(ctx)
	if err != nil {
		return nil, err
	}
	return groupRows(overview.MergeGroups(statusOfAll(ctx, s, status)), nodeNames(status.Nodes)), nil
}

func printGroups(s *errand, rows []groupRow) error {
	if s.json {
		return s.printJSON(rows)
	}
	return groupTable(s, rows)
}

func groupTable(s *errand, rows []groupRow) error {
	t := newTable(s.out, "GROUP", "LEADER", "TERM", "COMMIT", "SLOTS", "REPLICA", "NODE", "ROLE", "MATCH", "STATE")
	for _, g := range rows {
		head := []string{number(g.ID), orDash(g.Leader), number(g.Term), g.Commit, number(g.Slots)}
		if len(g.Replicas) == 0 {
			t.row(head...)
		}
		for i, r := range g.Replicas {
			if i > 0 {
				head = make([]string, len(head))
			}
			match, state := number(r.Match), r.State
			if r.Unknown {
				match, state = "-", "-" // its leader knows
			}
			t.row(append(head, r.ID, r.Node, r.Role, match, state)...)
		}
	}
	return t.Flush()
}

// statusOfAll adds to what one node answered the answers of all others that it
// knows and that answer in time.
func statusOfAll(ctx context.Context, s *errand, first *wire.StatusAnswer) []*wire.StatusAnswer {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	answers := make([]*wire.StatusAnswer, len(first.Nodes))
	var done sync.WaitGroup
	for i, n := range first.Nodes {
		if n.ID == first.Self || n.Status == wire.NodeDead {
			continue
		}
		done.Go(func() {
			a, err := s.client.Status(ctx, n.Addr)
			if err != nil {
				s.warnf("ask node %s at %s: %s", n.Name, n.Addr, oneLine(err))
				return
			}
			answers[i] = a
		})
	}
	done.Wait()
	return append([]*wire.StatusAnswer{first}, slices.DeleteFunc(answers, func(a *wire.StatusAnswer) bool { return a == nil })...)
}
