package trial

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"

	"muster/raft"
	"muster/shardmap"
)

type jobRow struct {
	ID    string `json:"id"`
	Kind  string `json:"kind"`
	State string `json:"state"`
	Done  uint64 `json:"done"`
	Total uint64 `json:"total"`
	Unit  string `json:"unit"`
}

// lastLine is the line that a command ends with on standard error.
func (r result) lastLine() string {
	lines := strings.Split(strings.TrimRight(r.stderr, "\n"), "\n")
	return lines[len(lines)-1]
}

// What a person asks of a cluster and can't have must be refused with what was found and
// what to do, in one line at the end, and change nothing; what they have not agreed to must
// not be done.
func TestOrdersRefused(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, "--groups", "2")
	table := func() string {
		t.Helper()
		return c.run("group", "list", "-o", "json").done(t) + c.run("job", "list", "-o", "json").done(t)
	}
	before := ""
	c.until("all groups led, and no job under way", func(context.Context) error {
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
		{"node drain n9 --yes", exitNotFound, `node "n9" is no member of the cluster; muster node list shows who is`},
		{"node remove n3 n3 --yes", exitUsage, `node "n3" is given twice`},
		{"node remove n3 --yes", exitRefused, "remove node n3: refused, nothing was changed (group 0 has 2 of 3 replicas that may stay; the plan names 2 more); add a node, with muster node add HOST:PORT, then give the command again"},
		{"node drain " + id, exitRefused, "drain node n3: refused, nothing was changed (group 0 has 2 of 3 replicas"},
		{"group promote 1 n1", exitNotConfirmed, "the plan was shown and nothing was changed; give the command again with --yes to carry it out"},
		{"group del 1 n2 -o json", exitNotConfirmed, "the plan was shown and nothing was changed"},
		{"group add 1 n2 --yes", exitConflict, "add a replica of group 1 on node n2: "},
		{"group add 77 n2 --yes", exitNotFound, "it is no group of the cluster"},
		{"group del 77 n2 --yes", exitNotFound, "see muster group list"},
		{"node add " + c.nodes[1].addr[:strings.LastIndex(c.nodes[1].addr, ":")] + ":9 --timeout 3s", exitNoResult, ":9"},
		{"setting set replicas 4 --yes", exitRefused, `"4"; want 1, 3 or 5`},
		{"setting set replica 3", exitNotFound, "want one of replicas, meta-voters,"},
		{"setting get replica", exitNotFound, "want one of replicas, meta-voters,"},
		{"job show 999999", exitNotFound, "muster job list shows those that are"},
		{"job wait 999999", exitNotFound, "muster job list shows those that are"},
		{"job cancel 999999", exitNotFound, "see muster job list"},
	} {
		r := c.run(strings.Fields(tt.line)...)
		if r.status != tt.status || r.stdout != "" || !strings.Contains(r.lastLine(), tt.want) || !strings.HasPrefix(r.lastLine(), "muster") {
			t.Errorf("%s: status %d, want %d; %q, want %q\n%s%s", tt.line, r.status, tt.status, r.lastLine(), tt.want, r.stdout, r.stderr)
		}
		if plan := strings.Contains(r.stderr, "plan to "); plan != (tt.status == exitNotConfirmed || strings.Contains(tt.want, "refused, nothing was changed (group 0")) {
			t.Errorf("%s: a plan is shown: %t\n%s", tt.line, plan, r.stderr)
		}
	}
	if after := table(); groupsOf(t, after) != groupsOf(t, before) || !strings.HasSuffix(after, "[]\n") {
		t.Errorf("something was changed:\n%s%s", before, after)
	}
	// A member that is added is left as it is.
	var rows []nodeRow
	c.json(&rows, "node", "add", c.nodes[1].addr)
	if len(rows) != 1 || rows[0].Name != "n2" || rows[0].Status != "alive" {
		t.Errorf("a member again: %+v", rows)
	}

	// With one node dead, each group can lose no other one.
	c.kill(1)
	for _, line := range []string{"node remove n3 --yes", "node drain n3 --yes", "node demote n3 --yes"} {
		c.until(line+" is refused", func(context.Context) error {
			r := c.run(strings.Fields(line)...)
			if r.status == exitRefused && r.stdout == "" && strings.Contains(r.lastLine(), "refused, nothing was changed (group ") {
				return nil
			}
			// Before the node counts as dead, or while a leader is elected, it is another refusal.
			if r.status == exitDone || r.stdout != "" {
				t.Fatalf("%s: status %d\n%s%s", line, r.status, r.stdout, r.stderr)
			}
			return fmt.Errorf("status %d: %s", r.status, r.stderr)
		})
	}
	if after := c.run("job", "list", "-o", "json").done(t); after != "[]\n" {
		t.Errorf("something has begun: %s", after)
	}

	// The dead one itself is nobody's loss. Its host, with an empty directory, may have its
	// name and address once it is off the list, and not before.
	dead := c.nodes[1]
	dead.data += "-new"
	dead.args = append([]string{"serve", "--name", "n2", "--listen", dead.addr, "--data", dead.data, "--standby"}, c.right(1)...)
	c.start(1)
	add := []string{"node", "add", dead.addr, "--endpoints", c.nodes[0].addr}
	c.until("it is refused while the old one is on the list", func(context.Context) error {
		if r := c.run(add...); r.status != exitConflict || !strings.Contains(r.lastLine(), " --force") {
			return fmt.Errorf("status %d: %s", r.status, r.stderr)
		}
		return nil
	})
	for _, args := range [][]string{{"node", "remove", "n2", "--force", "--yes", "--endpoints", c.nodes[0].addr}, add} {
		if r := c.run(args...); r.status != exitDone {
			t.Fatalf("%v: status %d: %s%s", args, r.status, r.stdout, r.stderr)
		}
	}
	spreads(c)
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
func nodeID(c *cluster, name string) string {
	c.t.Helper()
	var rows []struct{ ID, Name string }
	c.json(&rows, "node", "list")
	for _, r := range rows {
		if r.Name == name {
			return r.ID
		}
	}
	c.t.Fatalf("no node is called %s: %+v", name, rows)
	return ""
}

// A job can be paused, shown, resumed, waited for and cancelled, by whoever has its id; a
// second one about the same is refused while it lasts, and what waits for it ends as it does.
// The command would not begin this one, for its node's replicas can go nowhere: so it stays
// until this test says otherwise.
func TestJobsBySteps(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, "--groups", "2")
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
		ctx, cancel := context.WithTimeout(context.Background(), readyMax)
		defer cancel()
		a, err := c.client().Order(ctx, command, 0)
		if err != nil || a.Job == 0 {
			t.Fatalf("begun: %+v, %v", a, err)
		}
		id = fmt.Sprint(a.Job)
	}
	steer := func(verb, want string) {
		t.Helper()
		r := c.run("job", verb, id, "-o", "json")
		var j jobRow
		if err := json.Unmarshal([]byte(r.stdout), &j); err != nil || r.status != exitDone || j.ID != id || j.Kind != "drain" || j.State != want || j.Unit != "replicas" {
			t.Errorf("job %s: status %d, %+v, want it %s: %s", verb, r.status, j, want, r.stderr)
		}
	}
	waits := make(chan result, 1)
	wait := func() { go func() { waits <- c.run("job", "wait", id, "-o", "json") }() }

	begin()
	becomes(c, "n3", "draining")
	steer("show", "running")
	if r := c.run("node", "drain", "n3", "--yes"); r.status != exitConflict || !strings.Contains(r.lastLine(), "muster job wait "+id) {
		t.Errorf("a second one: status %d: %s", r.status, r.stderr)
	}
	steer("pause", "paused")
	if r := c.run("status"); !strings.Contains(r.stdout, "note: job "+id+" (drain n3) is paused") {
		t.Errorf("status says nothing of a paused job:\n%s", r.stdout)
	}
	wait()
	steer("resume", "running")
	steer("cancel", "cancelled")
	if r := <-waits; r.status != exitRefused || !strings.Contains(r.lastLine(), "job "+id+" (drain n3) was cancelled: a person cancelled it") || !strings.Contains(r.stdout, `"state":"cancelled"`) {
		t.Errorf("wait: status %d: %s%s", r.status, r.stdout, r.stderr)
	}
	if r := c.run("job", "resume", id); r.status != exitConflict {
		t.Errorf("resume of a cancelled one: status %d: %s", r.status, r.stderr)
	}
	becomes(c, "n3", "alive")

	// With one more node it can end, and does.
	begin()
	wait()
	added := c.nodes[addStandby(c, 1)[0]]
	c.until("listening", func(ctx context.Context) error {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", added.addr)
		if err == nil {
			conn.Close()
		}
		return err
	})
	var rows []nodeRow
	out := c.run("node", "add", added.addr, "-o", "json")
	if err := json.Unmarshal([]byte(out.stdout), &rows); err != nil || out.status != exitDone || len(rows) != 1 || rows[0].Name != "n4" || rows[0].Addr != added.addr {
		t.Errorf("added: status %d, %+v, %v: %s", out.status, rows, err, out.stderr)
	}
	if r := <-waits; r.status != exitDone || !strings.Contains(r.stdout, `"state":"done"`) || !strings.Contains(r.stderr, "job "+id+" (drain n3) [") {
		t.Errorf("wait: status %d: %s%s", r.status, r.stdout, r.stderr)
	}
	out = c.run("node", "remove", "n3", "--yes", "-o", "json")
	if err := json.Unmarshal([]byte(out.stdout), &rows); err != nil || out.status != exitDone || len(rows) != 1 || rows[0].Name != "n3" {
		t.Errorf("removed: status %d, %+v, %v: %s", out.status, rows, err, out.stderr)
	}
	// A command that is given again, as after a connection that was cut, finds it done, and has
	// nothing that anybody would have to agree to.
	for _, args := range [][]string{{"--yes"}, nil} {
		out = c.run(append([]string{"node", "remove", "n3", "-o", "json"}, args...)...)
		if out.status != exitDone || out.stdout != "[]\n" || !strings.Contains(out.stderr, `node "n3" is removed already, by job `) || strings.Contains(out.stderr, "plan") {
			t.Errorf("removed again with %q: status %d: %s%s", args, out.status, out.stdout, out.stderr)
		}
	}
}

// becomes waits until the cluster lists a node with a status: whichever node is asked may
// be a moment behind the one that leads.
func becomes(c *cluster, name, status string) {
	c.t.Helper()
	c.until(name+" is "+status, func(context.Context) error {
		var rows []nodeRow
		c.json(&rows, "node", "list")
		for _, r := range rows {
			if r.Name == name && r.Status == status {
				return nil
			}
		}
		return fmt.Errorf("%+v", rows)
	})
}
