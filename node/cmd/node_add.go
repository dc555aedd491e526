package cmd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"muster/raft"
	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
)

func nodeAddCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "add", Usage: "make members of hosts that wait for it", ArgsUsage: "H[:P]…",
		Description: `Start each host first, with "muster serve --standby". The member that is asked sends
each one message; the host then joins by itself, and remembers that it does: it may be
killed and started again meanwhile. For hosts that are members nothing changes.

Waits until each is a member that has its copy of the table; replicas are moved to it
after that, by a job. Ends with status 8 if some hosts are members and others are not.

With -o json the rows of those that are: [{"id":…,"name":…,"addr":…,"role":…,
"status":"alive"|"joining",…}], as "node list" prints them.`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "no-wait", Usage: "end as soon as the hosts are invited"},
			&cli.BoolFlag{Name: "yes", Usage: "for scripts that give it to all commands: adding nodes puts no quorum at risk and asks nothing"},
		},
		Action: con.action(nodeAdd),
	})
}

// hostsOf reads the addresses of hosts.
func hostsOf(c *cli.Context) ([]string, error) {
	if err := wantArgs(c, 1, wire.AddNodesMax); err != nil {
		return nil, err
	}
	var hosts []string
	seen := map[string]bool{}
	for _, arg := range c.Args().Slice() {
		addr, err := client.Endpoint(arg)
		if err != nil {
			return nil, usagef("%s: %w", c.Command.HelpName, err)
		}
		if seen[addr] {
			return nil, usagef("%s: %s is given twice", c.Command.HelpName, addr)
		}
		seen[addr] = true
		hosts = append(hosts, addr)
	}
	return hosts, nil
}

func nodeAdd(con *console, c *cli.Context) error {
	hosts, err := hostsOf(c)
	if err != nil {
		return err
	}
	s, err := con.open(c, 1)
	if err != nil {
		return err
	}
	defer s.close()
	var a *wire.AddNodesAnswer
	err = s.with(c.Context, func(ctx context.Context) error {
		a, err = s.client.AddNodes(ctx, hosts)
		return err
	})
	if err != nil {
		return err
	}
	j := newJoining(a.Rows)
	if !c.Bool("no-wait") {
		j.wait(c.Context, s)
	}
	if rows := j.rows(); len(rows) > 0 {
		if err := printNodes(s, rows); err != nil {
			return err
		}
	}
	return j.outcome(s)
}

// joining is the hosts of one node add.
type joining struct {
	hosts []joiningHost
}

type joiningHost struct {
	addr   string
	node   raft.NodeID
	name   string
	row    nodeRow // once the table has it, or as far as it is known
	member bool
	err    error // why it does not join
}

func newJoining(rows []wire.AddedNode) *joining {
	j := new(joining)
	for i := range rows {
		r := &rows[i]
		h := joiningHost{addr: r.Addr, node: r.Node, name: r.Name}
		h.row = nodeRow{ID: r.Node.String(), Name: r.Name, Addr: r.Addr, Role: shardmap.NodeServer.String(), Status: wire.NodeJoining.String(), Labels: map[string]string{}}
		if r.State == 0 {
			h.err = fmt.Errorf("%s does not join: %w", r.Addr, &r.Why)
		}
		j.hosts = append(j.hosts, h)
	}
	return j
}

// joinPatience is how long a host may take to become a member, beyond what one request may
// take: it retries every second or so, and is sent a copy of the table.
const joinPatience = time.Minute

// wait waits until every invited host is a member.
func (j *joining) wait(ctx context.Context, s *errand) {
	shown := ""
	err := waitUntil(ctx, &tables{ask: s.client.Table}, max(s.timeout, joinPatience), func(t *shardmap.Table) glance {
		waits := j.look(t)
		if line := fmt.Sprintf("waiting for %s to join", strings.Join(waits, ", ")); len(waits) > 0 && line != shown {
			s.sayf("%s", line)
			shown = line
		}
		return glance{over: len(waits) == 0}
	}, waitAsLongAsACall)
	for i := range j.hosts {
		h := &j.hosts[i]
		switch {
		case h.member || h.err != nil:
		case ctx.Err() != nil:
			h.err = withStatus(exitNoResult, "%s was invited and goes on joining without this command; give it again to wait", h.addr)
		case errors.Is(err, errNotYet):
			h.err = j.late(ctx, s, h)
		default:
			h.err = fmt.Errorf("%s was invited, but no member answers: %w", h.addr, err)
		}
	}
}

// look notes who is a member by a table, and returns the others that are to become one.
func (j *joining) look(t *shardmap.Table) (waits []string) {
	for i := range j.hosts {
		h := &j.hosts[i]
		n, ok := t.Node(h.node)
		if ok {
			h.row = tableRow(t, &n)
		}
		_, copied := t.Meta.ReplicaOn(h.node)
		h.member = ok && copied && !joins(t, h.node)
		if !h.member && h.err == nil {
			waits = append(waits, h.addr)
		}
	}
	return waits
}

// joins reports whether the job runs by which a node gets its copy of the table. It begins
// before the table names that copy.
func joins(t *shardmap.Table, id raft.NodeID) bool {
	return slices.ContainsFunc(t.Jobs, func(j shardmap.Job) bool {
		return j.Kind == shardmap.JobJoin && j.Node == id && !j.State.Finished()
	})
}

// late asks a host itself why it is no member yet.
func (j *joining) late(ctx context.Context, s *errand, h *joiningHost) error {
	why := "its log says why"
	ctx, cancel := context.WithTimeout(ctx, pollMax)
	defer cancel()
	if _, err := s.client.Status(ctx, h.addr); err != nil {
		why = "it says: " + oneLine(err)
	}
	return withStatus(exitNoResult, "%s was invited, and is no member yet; %s; to wait on, give the command again", h.addr, why)
}

// rows are those of the hosts that are members or, where nobody waits, become members.
func (j *joining) rows() []nodeRow {
	rows := []nodeRow{}
	for i := range j.hosts {
		if h := &j.hosts[i]; h.err == nil {
			rows = append(rows, h.row)
		}
	}
	return rows
}

// outcome says of each host that is no member why, and what the command ends with.
func (j *joining) outcome(s *errand) error {
	var failed []error
	for i := range j.hosts {
		if err := j.hosts[i].err; err != nil {
			failed = append(failed, err)
		}
	}
	switch {
	case len(failed) == 0:
		return nil
	case len(failed) == 1 && len(j.hosts) == 1:
		return failed[0]
	}
	for _, err := range failed {
		s.warnf("%s", oneLine(err))
	}
	if len(failed) == len(j.hosts) {
		return withStatus(statusOf(failed[0]), "none of %d hosts has joined", len(j.hosts))
	}
	return withStatus(exitPartly, "%d of %d hosts have joined; mend the others and give the command again", len(j.hosts)-len(failed), len(j.hosts))
}
