package cmd

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"muster/repl/wire"
	"muster/shardmap"
)

func nodeRemoveCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "remove", Usage: "take nodes off the list, for good", ArgsUsage: "NODE…",
		Description: `Shows the plan first, and wants --yes. A node that lives is drained: its leaders and
replicas go to other nodes. Then it is taken off the list, is told, and ends. Its id never
comes back; started with an empty directory, its host may join again.

--force is for a node that is dead and has lost its disk, or will not come back: it is
asked nothing, and its replicas are made anew from the others of their groups. Where no
other server can take them, the groups do without until one joins. What would leave a group
without a majority is refused all the same.

NODE is a name or an id. The command may be given again: a node that it removed before is
left out.

With -o json the rows of the nodes, as they were: [{"id":…,"name":…,"addr":…,"role":…,
"status":…,…}], as "node list" prints them.`,
		Flags:  orderFlags(&cli.BoolFlag{Name: "force", Usage: "don't drain first: the node is dead, and its replicas count as lost"}),
		Action: con.action(nodeRemove),
	})
}

func nodeDrainCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "drain", Usage: "have the leaders and replicas of nodes go elsewhere", ArgsUsage: "NODE…",
		Description: `Shows the plan first, and wants --yes. The node stays a member and keeps its copy of the
table; it gets no replicas until "muster node undrain". NODE is a name or an id.

With -o json, a line for each job as it ended: ` + jobForm,
		Flags:  orderFlags(),
		Action: con.action(nodeDrain),
	})
}

func nodeUndrainCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "undrain", Usage: "let nodes have leaders and replicas again", ArgsUsage: "NODE…",
		Description: `Ends a drain that is not finished. NODE is a name or an id.

With -o json the rows of the nodes, as "node list" prints them.`,
		Action: con.action(nodeUndrain),
	})
}

func nodeRoleCommand(con *console, name string, role shardmap.NodeRole) *cli.Command {
	usage, text := "make a server of a client node: its replicas may vote", "A client node keeps copies and never votes."
	if role == shardmap.NodeClient {
		usage, text = "make a client node of a server: it keeps copies and never votes", "Its votes and leaders go to other nodes."
	}
	return verb(cli.Command{
		Name: name, Usage: usage, ArgsUsage: "NODE",
		Description: text + " Shows the plan first, and wants --yes. NODE is a name or an id." + "\n\nWith -o json the job as it ended: " + jobForm,
		Flags:       orderFlags(),
		Action:      con.action(nodeRole(role)),
	})
}

func nodeLabelCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "label", Usage: "give a node labels, over those that it was started with", ArgsUsage: "NODE K=V…",
		Description: `K= without a value takes a label away. Replicas of a group are spread over the values of
the label zone, where there are enough. NODE is a name or an id.

With -o json the row of the node: [{"id":…,…,"labels":{…}}], as "node list" prints it.`,
		Action: con.action(nodeLabel),
	})
}

func nodeWeightCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "weight", Usage: "say how large a part of the data a node should hold, compared with the others", ArgsUsage: "NODE W",
		Description: fmt.Sprintf(`W is 0 to %d; where nobody gave another one it is %d. It moves nothing by itself:
"muster slot rebalance" goes by it. NODE is a name or an id.

With -o json the row of the node: [{"id":…,…,"weight":N}], as "node list" prints it.`, shardmap.WeightMax, shardmap.WeightDefault),
		Action: con.action(nodeWeight),
	})
}

// nodeJob makes the order of a job about a node.
func nodeJob(verb string, j shardmap.NewJob, n *shardmap.TableNode) (order, error) {
	j.Node = n.ID
	command, err := shardmap.AppendNewJob(nil, &j)
	return order{what: verb + " " + called(n), command: command, made: func(made *shardmap.Job) bool { return made.Kind == j.Kind && made.Node == n.ID }}, err
}

// jobsAbout makes an order for a job about each of some nodes, whose plan must fit.
func jobsAbout(nodes []*shardmap.TableNode, verb string, j shardmap.NewJob) (orders []order, err error) {
	for _, n := range nodes {
		o, err := nodeJob(verb, j, n)
		if err != nil {
			return nil, err
		}
		o.fits = true
		orders = append(orders, o)
	}
	return orders, nil
}

// nodeJobs carries out a command whose arguments, at most so many, are nodes, with a job
// about each.
func nodeJobs(con *console, c *cli.Context, most int, j shardmap.NewJob) error {
	if err := wantArgs(c, 1, most); err != nil {
		return err
	}
	s, t, err := con.orderlyTable(c)
	if err != nil {
		return err
	}
	defer s.close()
	nodes, err := membersNamed(t, c.Args().Slice())
	if err != nil {
		return err
	}
	orders, err := jobsAbout(nodes, c.Command.Name, j)
	if err != nil {
		return err
	}
	_, err = s.all(c.Context, orders)
	return s.finish(err)
}

// anyNumber is no bound on arguments.
const anyNumber = -1

func nodeDrain(con *console, c *cli.Context) error {
	return nodeJobs(con, c, anyNumber, shardmap.NewJob{Kind: shardmap.JobDrain})
}

func nodeRole(role shardmap.NodeRole) func(*console, *cli.Context) error {
	return func(con *console, c *cli.Context) error {
		return nodeJobs(con, c, 1, shardmap.NewJob{Kind: shardmap.JobRole, Role: role})
	}
}

// forceSkips is the rule that node remove does without.
const forceSkips = "the node is not drained first, and its replicas count as lost; they are made anew from the others of their groups, where a server can take them"

func nodeRemove(con *console, c *cli.Context) error {
	if err := wantArgs(c, 1, anyNumber); err != nil {
		return err
	}
	s, err := con.orderly(c)
	if err != nil {
		return err
	}
	defer s.close()
	status, err := s.status(c.Context)
	if err != nil {
		return err
	}
	t, err := s.table(c.Context)
	if err != nil {
		return err
	}
	var nodes []*shardmap.TableNode
	for _, arg := range c.Args().Slice() {
		n, err := memberNamed(t, arg)
		if j := removedBefore(t, arg); err != nil && j != nil {
			s.warnf("node %s is removed already, by job %d", shown([]byte(arg)), j.ID)
			continue
		}
		if err != nil {
			return err
		}
		if slices.Contains(nodes, n) {
			return usagef("node %s is given twice", shown([]byte(arg)))
		}
		nodes = append(nodes, n)
	}
	orders, err := jobsAbout(nodes, "remove", shardmap.NewJob{Kind: shardmap.JobRemove, Force: c.Bool("force")})
	if err != nil {
		return err
	}
	if c.Bool("force") {
		for i := range orders {
			orders[i].skips = forceSkips
		}
	}
	done, err := s.all(c.Context, orders)
	if err != nil && done == 0 {
		return err
	}
	rows := removedRows(status, t, nodes[:done])
	if c.Bool("force") {
		for i := range rows {
			rows[i].Status = wire.NodeDead.String()
		}
	}
	if perr := printNodes(s.errand, rows); err == nil {
		err = perr
	}
	return err
}

// removedBefore returns the job by which a node was removed that an argument names; nil if
// the table remembers none. Names can be given again: it is for one that nobody has now.
func removedBefore(t *shardmap.Table, arg string) (found *shardmap.Job) {
	for i := range t.Jobs {
		j := &t.Jobs[i]
		if j.Kind == shardmap.JobRemove && j.State == shardmap.JobDone && (j.Name == arg || j.Node.String() == strings.ToLower(arg)) {
			found = j
		}
	}
	return found
}

// removedRows are the rows of nodes as they were before they were removed. One that was
// alive has been drained since.
func removedRows(status *wire.StatusAnswer, t *shardmap.Table, nodes []*shardmap.TableNode) []nodeRow {
	rows := []nodeRow{}
	for _, n := range nodes {
		row := tableRow(t, n)
		row.Status = wire.NodeDraining.String()
		for _, was := range status.Nodes {
			if was.ID == n.ID && was.Status == wire.NodeDead {
				row.Status = was.Status.String()
			}
		}
		rows = append(rows, row)
	}
	return rows
}

func nodeUndrain(con *console, c *cli.Context) error {
	return con.atOnce(c, "undrain", func(n *shardmap.TableNode) ([]byte, error) {
		return shardmap.AppendDrain(nil, &shardmap.Drain{Node: n.ID, On: false})
	}, c.Args().Slice())
}

func nodeWeight(con *console, c *cli.Context) error {
	if err := wantArgs(c, 2, 2); err != nil {
		return err
	}
	weight, err := strconv.ParseUint(c.Args().Get(1), 10, 32)
	if err != nil || weight > shardmap.WeightMax {
		return usagef("%s: weight %s; want a number, 0 to %d", c.Command.HelpName, shown([]byte(c.Args().Get(1))), shardmap.WeightMax)
	}
	return con.atOnce(c, "weigh", func(n *shardmap.TableNode) ([]byte, error) {
		return shardmap.AppendWeight(nil, &shardmap.SetWeight{Node: n.ID, Weight: uint32(weight)})
	}, c.Args().Slice()[:1])
}

func nodeLabel(con *console, c *cli.Context) error {
	if err := wantArgs(c, 2, anyNumber); err != nil {
		return err
	}
	var labels []shardmap.Label
	for _, arg := range c.Args().Slice()[1:] {
		key, value, ok := strings.Cut(arg, "=")
		if !ok || key == "" {
			return usagef("%s: label %s; want K=V, or K= to take it away", c.Command.HelpName, shown([]byte(arg)))
		}
		if slices.ContainsFunc(labels, func(l shardmap.Label) bool { return l.Key == key }) {
			return usagef("%s: label %s is given twice", c.Command.HelpName, shown([]byte(key)))
		}
		labels = append(labels, shardmap.Label{Key: key, Value: value})
	}
	return con.atOnce(c, "label", func(n *shardmap.TableNode) ([]byte, error) {
		return shardmap.AppendSetLabels(nil, &shardmap.SetLabels{Node: n.ID, Labels: labels})
	}, c.Args().Slice()[:1])
}

// atOnce gives an order about each of some nodes that takes effect at once and moves nothing
// by itself, and prints the rows of the nodes as they are then.
func (con *console) atOnce(c *cli.Context, verb string, command func(*shardmap.TableNode) ([]byte, error), names []string) error {
	if err := wantArgs(c, 1, anyNumber); err != nil {
		return err
	}
	s, err := con.open(c, 1)
	if err != nil {
		return err
	}
	defer s.close()
	t, err := s.table(c.Context)
	if err != nil {
		return err
	}
	nodes, err := membersNamed(t, names)
	if err != nil {
		return err
	}
	index := uint64(0)
	for i, n := range nodes {
		payload, err := command(n)
		if err != nil {
			return err
		}
		a, err := s.give(c.Context, &order{what: verb + " " + called(n), command: payload}, 0)
		if err != nil && i > 0 {
			err = withStatus(exitPartly, "%d of %d are done; %w", i, len(nodes), err)
		}
		if err != nil {
			return err
		}
		index = a.Index
	}
	rows := []nodeRow{}
	err = s.until(c.Context, func(t *shardmap.Table) glance {
		if t.Index < index {
			return glance{}
		}
		for _, n := range nodes {
			if now, ok := t.Node(n.ID); ok {
				rows = append(rows, tableRow(t, &now))
			}
		}
		return glance{over: true}
	}, waitAsLongAsACall)
	if err != nil {
		return fmt.Errorf("it is done, but no node answers: %w", err)
	}
	return printNodes(s, rows)
}
