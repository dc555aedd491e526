package cmd

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"muster/shardmap"
)

func groupOrderCommand(con *console, name string, kind shardmap.JobKind) *cli.Command {
	about := map[shardmap.JobKind][2]string{
		shardmap.JobAdd: {"give a group a replica on a node",
			"On a server node the replica votes once it has caught up; on a client node it is a copy.\nFrom then on the number of the group's replicas is yours: no setting changes it."},
		shardmap.JobDel: {"take a group's replica off a node",
			"Refused where the group would lose its majority. From then on the number of the group's\nreplicas is yours: no setting changes it."},
		shardmap.JobPromote: {"have a node lead a group",
			"The node must have a replica that votes. It stays the group's preferred leader, whatever\nbalancing wants, for as long as it can lead."},
	}[kind]
	return verb(cli.Command{
		Name: name, Usage: about[0], ArgsUsage: "ID NODE",
		Description: about[1] + "\nShows the plan first, and wants --yes. ID is a group's number, NODE a name or an id." + "\n\nWith -o json the job as it ended: " + jobForm,
		Flags:       orderFlags(),
		Action:      con.action(groupOrder(kind)),
	})
}

// groupOrder makes the command that begins a job about a group's replica on a node.
func groupOrder(kind shardmap.JobKind) func(*console, *cli.Context) error {
	return func(con *console, c *cli.Context) error {
		if err := wantArgs(c, 2, 2); err != nil {
			return err
		}
		group, err := groupNamed(c.Command.HelpName, c.Args().First())
		if err != nil {
			return err
		}
		s, t, err := con.orderlyTable(c)
		if err != nil {
			return err
		}
		defer s.close()
		n, err := memberNamed(t, c.Args().Get(1))
		if err != nil {
			return err
		}
		command, err := shardmap.AppendNewJob(nil, &shardmap.NewJob{Kind: kind, Node: n.ID, Group: group})
		if err != nil {
			return err
		}
		what := map[shardmap.JobKind]string{shardmap.JobAdd: "add a replica of group %d on %s", shardmap.JobDel: "take the replica of group %d off %s", shardmap.JobPromote: "have group %d led by %s"}[kind]
		o := order{what: fmt.Sprintf(what, group, called(n)), command: command, fits: true,
			made: func(j *shardmap.Job) bool { return j.Kind == kind && j.Node == n.ID && j.Group == group }}
		_, err = s.all(c.Context, []order{o})
		return s.finish(err)
	}
}
