package trial

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"

	"muster/node/trial/clustertest"
	"muster/raft"
	"muster/shardmap"
)

// lastLine is the line that a command ends with on standard error.
func lastLine(r clustertest.Result) string {
	lines := strings.Split(strings.TrimRight(r.Stderr, "\n"), "\n")
	return lines[len(lines)-1]
}

// What a person asks of a cluster and can't have must be refused with what was found and
// what to do, in one line at the end, and change nothing; what they have not agreed to must
// not be done.
func TestOrdersRefused(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 3, "--groups", "2")
	table := func() string {
		t.Helper()
		return c.Run("group", "list", "-o", "json").Done(t) + c.Run("job", "list", "-o", "json").Done(t)
	}
	before := ""
	c.Until("all groups led, and no job under way", func(context.Context) error {
		if before = table(); !strings.HasSuffix(before, "[]\n") {
			return fmt.Errorf("%s", before)
		}
		return nil
	})
	id := nodeID(c, "n3")
	for _, tt := range []struct {
		line   string
		status int
		want   string
	}{
		{"node drain n9 --yes", clustertest.ExitNotFound, `node "n9" is no member of the cluster; muster node list shows who is`},
		{"node remove n3 n3 --yes", clustertest.ExitUsage, `node "n3" is given twice`},
		{"node remove n3 --yes", clustertest.ExitRefused, "remove node n3: refused, nothing was changed (group 0 has 2 of 3 replicas that may stay; the plan names 2 more); add a node, with muster node add HOST:PORT, then give the command again"},
		{"node drain " + id, clustertest.ExitRefused, "drain node n3: refused, nothing was changed (group 0 has 2 of 3 replicas"},
		{"group promote 1 n1", exitNotConfirmed, "the plan was shown and nothing was changed; give the command again with --yes to carry it out"},
		{"group del 1 n2 -o json", exitNotConfirmed, "the plan was shown and nothing was changed"},
		{"group add 1 n2 --yes", clustertest.ExitConflict, "add a replica of group 1 on node n2: "},
		{"group add 77 n2 --yes", clustertest.ExitNotFound, "it is no group of the cluster"},
		{"group del 77 n2 --yes", clustertest.ExitNotFound, "see muster group list"},
		{"node add " + c.Nodes[1].Addr[:strings.LastIndex(c.Nodes[1].Addr, ":")] + ":9 --timeout 3s", clustertest.ExitNoResult, ":9"},
		{"setting set replicas 4 --yes", clustertest.ExitRefused, `"4"; want 1, 3 or 5`},
		{"setting set replica 3", clustertest.ExitNotFound, "want one of replicas, meta-voters,"},
		{"setting get replica", clustertest.ExitNotFound, "want one of replicas, meta-voters,"},
		{"job show 999999", clustertest.ExitNotFound, "muster job list shows those that are"},
		{"job wait 999999", clustertest.ExitNotFound, "muster job list shows those that are"},
		{"job cancel 999999", clustertest.ExitNotFound, "see muster job list"},
	} {
		r := c.Run(strings.Fields(tt.line)...)
		if r.Status != tt.status || r.Stdout != "" || !strings.Contains(lastLine(r), tt.want) || !strings.HasPrefix(lastLine(r), "muster") {
			t.Errorf("%s: status %d, want %d; %q, want %q\n%s%s", tt.line, r.Status, tt.status, lastLine(r), tt.want, r.Stdout, r.Stderr)
		}
		if plan := strings.Contains(r.Stderr, "plan to "); plan != (tt.status == exitNotConfirmed || strings.Contains(tt.want, "refused, nothing was changed (group 0")) {
			t.Errorf("%s: a plan is shown: %t\n%s", tt.line, plan, r.Stderr)
		}
	}
	if after := table(); groupsOf(t, after) != groupsOf(t, before) || !strings.HasSuffix(after, "[]\n") {
		t.Errorf("something was changed:\n%s%s", before, after)
	}
	// A member that is added is left as it is.
	var rows []nodeRow
	c.JSON(&rows, "node", "add", c.Nodes[1].Addr)
	if len(rows) != 1 || rows[0].Name != "n2" || rows[0].Status != "alive" {
		t.Errorf("a member again: %+v", rows)
	}

	// With one node dead, each group can lose no other one.
	c.Kill(1)
	for _, line := range []string{"node remove n3 --yes", "node drain n3 --yes", "node demote n3 --yes"} {
		c.Until(line+" is refused", func(context.Context) error {
			r := c.Run(strings.Fields(line)...)
			if r.Status == clustertest.ExitRefused && r.Stdout == "" && strings.Contains(lastLine(r), "refused, nothing was changed (group ") {
				return nil
			}
			// Before the node counts as dead, or while a leader is elected, it is another refusal.
			if r.Status == clustertest.ExitDone || r.Stdout != "" {
				t.Fatalf("%s: status %d\n%s%s", line, r.Status, r.Stdout, r.Stderr)
			}
			return fmt.Errorf("status %d: %s", r.Status, r.Stderr)
		})
	}
	if after := c.Run("job", "list", "-o", "json").Done(t); after != "[]\n" {
		t.Errorf("something has begun: %s", after)
	}

	// The dead one itself is nobody's loss. Its host, with an empty directory, may have its
	// name and address once it is off the list, and not before.
	dead := c.Nodes[1]
	dead.Data += "-new"
	dead.Args = append([]string{"serve", "--name", "n2", "--listen", dead.Addr, "--data", dead.Data, "--standby"}, clustertest.RightToJoin(c, 1)...)
	c.Start(1)
	add := []string{"node", "add", dead.Addr, "--endpoints", c.Nodes[0].Addr}
	c.Until("it is refused while the old one is on the list", func(context.Context) error {
		if r := c.Run(add...); r.Status != clustertest.ExitConflict || !strings.Contains(lastLine(r), " --force") {
			return fmt.Errorf("status %d: %s", r.Status, r.Stderr)
		}
		return nil
	})
	for _, args := range [][]string{{"node", "remove", "n2", "--force", "--yes", "--endpoints", c.Nodes[0].Addr}, add} {
		if r := c.Run(args...); r.Status != clustertest.ExitDone {
			t.Fatalf("%v: status %d: %s%s", args, r.Status, r.Stdout, r.Stderr)
		}
	}
	clustertest.AwaitSpread(c)
}

// groupsOf is who has which replicas, without what moves by itself.
func groupsOf(t testing.TB, list string) string {
	t.Helper()
	list, _, _ = strings.Cut(list, "\n")
	var groups []struct {
		ID       int
		Replicas []struct{ ID, Node, Role string }
	}
	if err := json.Unmarshal([]byte(list), &groups); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(groups)
}

// nodeID is the id of a node that is called name.
func nodeID(c *clustertest.Cluster, name string) string {
	c.T.Helper()
	var rows []struct{ ID, Name string }
	c.JSON(&rows, "node", "list")
	for _, r := range rows {
		if r.Name == name {
			return r.ID
		}
	}
	c.T.Fatalf("no node is called %s: %+v", name, rows)
	return ""
}

// A job can be paused, shown, resumed, waited for and cancelled, by whoever has its id; a
// second one about the same is refused while it lasts, and what waits for it ends as it does.
// The command would not begin this one, for its node's replicas can go nowhere: so it stays
// until this test says otherwise.
func TestJobsBySteps(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 3, "--groups", "2")
	number, err := strconv.ParseUint(nodeID(c, "n3"), 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	command, err := shardmap.AppendNewJob(nil, &shardmap.NewJob{Kind: shardmap.JobDrain, Node: raft.NodeID(number)})
	if err != nil {
		t.Fatal(err)
	}
	id := ""
	begin := func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), clustertest.ReadyMax)
		defer cancel()
		a, err := c.Client().Order(ctx, command, 0)
		if err != nil || a.Job == 0 {
			t.Fatalf("begun: %+v, %v", a, err)
		}
		id = fmt.Sprint(a.Job)
	}
	steer := func(verb, want string) {
		t.Helper()
		r := c.Run("job", verb, id, "-o", "json")
		var j clustertest.JobRow
		if err := json.Unmarshal([]byte(r.Stdout), &j); err != nil || r.Status != clustertest.ExitDone || j.ID != id || j.Kind != "drain" || j.State != want || j.Unit != "replicas" {
			t.Errorf("job %s: status %d, %+v, want it %s: %s", verb, r.Status, j, want, r.Stderr)
		}
	}
	waits := make(chan clustertest.Result, 1)
	wait := func() { go func() { waits <- c.Run("job", "wait", id, "-o", "json") }() }

	begin()
	becomes(c, "n3", "draining")
	steer("show", "running")
	if r := c.Run("node", "drain", "n3", "--yes"); r.Status != clustertest.ExitConflict || !strings.Contains(lastLine(r), "muster job wait "+id) {
		t.Errorf("a second one: status %d: %s", r.Status, r.Stderr)
	}
	steer("pause", "paused")
	if r := c.Run("status"); !strings.Contains(r.Stdout, "note: job "+id+" (drain n3) is paused") {
		t.Errorf("status says nothing of a paused job:\n%s", r.Stdout)
	}
	wait()
	steer("resume", "running")
	steer("cancel", "cancelled")
	if r := <-waits; r.Status != clustertest.ExitRefused || !strings.Contains(lastLine(r), "job "+id+" (drain n3) was cancelled: a person cancelled it") || !strings.Contains(r.Stdout, `"state":"cancelled"`) {
		t.Errorf("wait: status %d: %s%s", r.Status, r.Stdout, r.Stderr)
	}
	if r := c.Run("job", "resume", id); r.Status != clustertest.ExitConflict {
		t.Errorf("resume of a cancelled one: status %d: %s", r.Status, r.Stderr)
	}
	becomes(c, "n3", "alive")

	// With one more node it can end, and does.
	begin()
	wait()
	added := c.Nodes[clustertest.AddStandby(c, 1)[0]]
	c.Until("listening", func(ctx context.Context) error {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", added.Addr)
		if err == nil {
			conn.Close()
		}
		return err
	})
	var rows []nodeRow
	out := c.Run("node", "add", added.Addr, "-o", "json")
	if err := json.Unmarshal([]byte(out.Stdout), &rows); err != nil || out.Status != clustertest.ExitDone || len(rows) != 1 || rows[0].Name != "n4" || rows[0].Addr != added.Addr {
		t.Errorf("added: status %d, %+v, %v: %s", out.Status, rows, err, out.Stderr)
	}
	if r := <-waits; r.Status != clustertest.ExitDone || !strings.Contains(r.Stdout, `"state":"done"`) || !strings.Contains(r.Stderr, "job "+id+" (drain n3) [") {
		t.Errorf("wait: status %d: %s%s", r.Status, r.Stdout, r.Stderr)
	}
	out = c.Run("node", "remove", "n3", "--yes", "-o", "json")
	if err := json.Unmarshal([]byte(out.Stdout), &rows); err != nil || out.Status != clustertest.ExitDone || len(rows) != 1 || rows[0].Name != "n3" {
		t.Errorf("removed: status %d, %+v, %v: %s", out.Status, rows, err, out.Stderr)
	}
	// A command that is given again, as after a connection that was cut, finds it done, and has
	// nothing that anybody would have to agree to.
	for _, args := range [][]string{{"--yes"}, nil} {
		out = c.Run(append([]string{"node", "remove", "n3", "-o", "json"}, args...)...)
		if out.Status != clustertest.ExitDone || out.Stdout != "[]\n" || !strings.Contains(out.Stderr, `node "n3" is removed already, by job `) || strings.Contains(out.Stderr, "plan") {
			t.Errorf("removed again with %q: status %d: %s%s", args, out.Status, out.Stdout, out.Stderr)
		}
	}
}

// becomes waits until the cluster lists a node with a status: whichever node is asked may
// be a moment behind the one that leads.
func becomes(c *clustertest.Cluster, name, status string) {
	c.T.Helper()
	c.Until(name+" is "+status, func(context.Context) error {
		var rows []nodeRow
		c.JSON(&rows, "node", "list")
		for _, r := range rows {
			if r.Name == name && r.Status == status {
				return nil
			}
		}
		return fmt.Errorf("%+v", rows)
	})
}
