package cmd

import (
	"context"
	"slices"
	"sync"

	"github.com/urfave/cli/v2"

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

type replicaRow struct {
	ID    string `json:"id"`
	Node  string `json:"node"`
	Role  string `json:"role"`
	Match uint64 `json:"match"`
	State string `json:"state"`

	unknown bool // to the answering node
}

type groupRow struct {
	ID       int          `json:"id"`
	Leader   string       `json:"leader"` // empty: none is known
	Term     uint64       `json:"term"`
	Commit   string       `json:"commit"`
	Slots    int          `json:"slots"`
	Replicas []replicaRow `json:"replicas"`
}

func groupRows(groups []wire.StatusGroup, name func(raft.NodeID) string) []groupRow {
	rows := make([]groupRow, 0, len(groups))
	for _, g := range groups {
		r := groupRow{int(g.ID), name(g.Leader), g.Term, raft.FormatLogID(g.ID, g.Commit), int(g.Slots), []replicaRow{}}
		for _, p := range g.Replicas {
			r.Replicas = append(r.Replicas, replicaRow{number(p.ID), name(p.Node), p.Role.String(), p.Match, p.State.String(), p.State == wire.ReplicaUnknown})
		}
		rows = append(rows, r)
	}
	return rows
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
	return groupRows(mergeGroups(statusOfAll(ctx, s, status)), nodeNames(status.Nodes)), nil
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
			if r.unknown {
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

// mergeGroups takes of each group what its leader says of it: the answer of the
// highest term, and in a term that of the node which names itself the leader.
func mergeGroups(answers []*wire.StatusAnswer) []wire.StatusGroup {
	type said struct {
		group wire.StatusGroup
		leads bool
	}
	best := map[raft.GroupID]said{}
	for _, a := range answers {
		for _, g := range a.Groups {
			now := said{g, g.Leader != 0 && g.Leader == a.Self}
			old, ok := best[g.ID]
			if !ok || g.Term > old.group.Term || g.Term == old.group.Term && now.leads {
				best[g.ID] = now
			}
		}
	}
	for _, a := range answers { // that its replica is damaged each node knows best
		for _, g := range a.Groups {
			for _, r := range g.Replicas {
				if r.State != wire.ReplicaDamaged {
					continue
				}
				replicas := best[g.ID].group.Replicas
				if i := slices.IndexFunc(replicas, func(o wire.StatusReplica) bool { return o.ID == r.ID }); i >= 0 {
					replicas[i].State = wire.ReplicaDamaged
				}
			}
		}
	}
	var groups []wire.StatusGroup
	for _, b := range best {
		groups = append(groups, b.group)
	}
	slices.SortFunc(groups, func(a, b wire.StatusGroup) int { return int(a.ID) - int(b.ID) })
	return groups
}
