package trial

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
)

const exitNotConfirmed = 9

// majorityLost is a cluster of which most nodes are about to be lost for good, or are.
type majorityLost struct {
	*cluster
	survivors []int
	plan      string // the file of the plan
}

// lose ends nodes, and their directories with them.
func (c *majorityLost) lose(survivors []int, gone ...int) {
	c.t.Helper()
	for _, i := range gone {
		c.kill(i)
		if err := os.RemoveAll(c.nodes[i].data); err != nil {
			c.t.Fatal(err)
		}
	}
	c.survivors = survivors
}

// recoverPlan stops the survivors, and makes a plan from what they have.
func (c *majorityLost) recoverPlan(options ...string) {
	c.t.Helper()
	args := []string{"recover", "plan"}
	for _, i := range c.survivors {
		c.stop(i)
		file := filepath.Join(c.dir, fmt.Sprintf("n%d.json", i+1))
		c.run("recover", "inspect", "--data", c.nodes[i].data, "--out", file).done(c.t)
		args = append(args, file)
	}
	c.plan = filepath.Join(c.dir, "plan.json")
	c.run(append(append(args, "--out", c.plan), options...)...).done(c.t)
}

// apply carries the plan out on all survivors and starts them.
func (c *majorityLost) apply() {
	c.t.Helper()
	for _, i := range c.survivors {
		c.run("recover", "apply", c.plan, "--data", c.nodes[i].data, "--yes").done(c.t)
	}
	for _, i := range c.survivors {
		c.start(i)
	}
}

// at returns a client that knows the survivors.
func (c *majorityLost) at(nodes ...int) *client.Client {
	c.t.Helper()
	var all []string
	for _, i := range nodes {
		all = append(all, c.nodes[i].addr)
	}
	return c.clientWith(client.Options{Endpoints: all})
}

// has waits until keys can be read linearizably, with their values.
func (c *majorityLost) has(cl *client.Client, keys ...string) {
	c.t.Helper()
	for _, key := range keys {
		c.until(key+" is there", func(ctx context.Context) error {
			items, _, err := cl.Get(ctx, [][]byte{[]byte(key)}, client.ReadOptions{})
			if err == nil && (len(items) != 1 || string(items[0].Value) != "value of "+key) {
				err = fmt.Errorf("%d items", len(items))
			}
			return err
		})
	}
}

// write sets keys, and returns them once they were acknowledged.
func (c *majorityLost) write(cl *client.Client, prefix string, n int) (keys []string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), readyMax)
	defer cancel()
	var pairs []client.Pair
	for i := range n {
		key := fmt.Sprintf("%s/%d", prefix, i)
		keys = append(keys, key)
		pairs = append(pairs, client.Pair{Key: []byte(key), Value: []byte("value of " + key)})
	}
	if _, err := cl.SetMany(ctx, pairs); err != nil {
		c.t.Fatal(err)
	}
	return keys
}

// copied waits until a node's own copies have those of the keys whose group it has a
// replica of, and returns them.
func (c *majorityLost) copied(node int, keys []string) (held []string) {
	c.t.Helper()
	own := c.groupsOf(node)
	cl := c.clientWith(client.Options{Endpoints: []string{c.nodes[node].addr}})
	for _, key := range keys {
		if !own[c.groupOf(key)] {
			continue
		}
		held = append(held, key)
		c.until(key+" is on the survivor", func(ctx context.Context) error {
			items, _, err := cl.Get(ctx, [][]byte{[]byte(key)}, client.ReadOptions{Local: true})
			if err == nil && len(items) == 0 {
				err = errors.New("it is not there")
			}
			return err
		})
	}
	return held
}

// groupOf returns the group of a key.
func (c *majorityLost) groupOf(key string) int {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), readyMax)
	defer cancel()
	at, err := c.client().Locate(ctx, []byte(key))
	if err != nil {
		c.t.Fatal(err)
	}
	return int(at.Group)
}

// groupsOf returns the groups of which a node has a replica.
func (c *majorityLost) groupsOf(node int) map[int]bool {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), readyMax)
	defer cancel()
	a, err := c.client().Status(ctx, c.nodes[node].addr)
	if err != nil {
		c.t.Fatal(err)
	}
	own := make(map[int]bool)
	for _, n := range a.Nodes {
		if n.Addr != c.nodes[node].addr {
			continue
		}
		for _, g := range a.Groups {
			for _, r := range g.Replicas {
				if r.Node == n.ID {
					own[int(g.ID)] = true
				}
			}
		}
	}
	return own
}

// grows adds hosts to the survivors, as to any cluster, until each group has its voters.
func (c *majorityLost) grows(n int) (added []int) {
	c.t.Helper()
	r := &reaper{c: c.cluster, gone: map[int]bool{}}
	for i := range c.nodes {
		r.gone[i] = !slices.Contains(c.survivors, i)
	}
	added = addStandby(c.cluster, n)
	args := []string{"node", "add", "--yes"}
	for _, i := range added {
		r.gone[i] = true
		args = append(args, c.nodes[i].addr)
	}
	r.order(args...)
	for _, i := range added {
		delete(r.gone, i)
	}
	r.settles(shardmap.GroupVoters)
	c.healthy(append(added, c.survivors...)...)
	return added
}

// byID returns the numbers of the nodes in the order of their ids.
func (c *majorityLost) byID() (order []int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), readyMax)
	defer cancel()
	a, err := c.client().Status(ctx, c.nodes[0].addr)
	if err != nil {
		c.t.Fatal(err)
	}
	slices.SortFunc(a.Nodes, func(x, y wire.StatusNode) int { return cmp.Compare(x.ID, y.ID) })
	for _, n := range a.Nodes {
		order = append(order, slices.IndexFunc(c.nodes, func(p *process) bool { return p.addr == n.Addr }))
	}
	return order
}

// Two of three nodes are gone for good. What the third has of what was acknowledged is
// there afterwards, it takes writes, and neither a node with the old data nor one with
// another plan comes in.
func TestRecoverFromOneOfThree(t *testing.T) {
	t.Parallel()
	c := &majorityLost{cluster: startCluster(t, 3)}
	keys := c.copied(2, c.write(c.client(), "kept", 200))
	before := c.run("kv", "get", keys[0], "-o", "json").done(t)
	// A copy of a directory that is about to be lost, which somebody finds later.
	c.stop(1)
	old := filepath.Join(c.dir, "old")
	// With its modes: a node refuses keys that others can read.
	if out, err := exec.Command("cp", "-a", c.nodes[1].data, old).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	c.lose([]int{2}, 0, 1)
	data := c.nodes[2].data
	c.until("n3 says that it has no majority", func(ctx context.Context) error {
		a, err := c.at(2).Status(ctx, c.nodes[2].addr)
		if err == nil && (a.Healthy || !strings.Contains(fmt.Sprint(a.Problems), "muster recover --help")) {
			err = fmt.Errorf("problems %v", a.Problems)
		}
		return err
	})
	if r := c.run("kv", "set", "k", "v", "--timeout", "2s"); r.status != exitNoResult {
		t.Errorf("a write without a majority ended with %d: %s", r.status, r.stderr)
	}
	c.run("recover", "inspect", "--data", data).refused(t, exitRefused, "its node runs: stop it first")

	c.recoverPlan()
	c.run("recover", "apply", c.plan, "--data", filepath.Join(c.dir, "nowhere")).refused(t, exitNotFound, "no such directory")
	if r := c.run("recover", "apply", c.plan, "--data", data); r.status != exitNotConfirmed || !strings.Contains(r.stdout, "group 0 begins anew") || !strings.Contains(r.stderr, "--yes") {
		t.Errorf("without --yes: status %d, %s%s", r.status, r.stdout, r.stderr)
	}
	if r := c.run("recover", "apply", c.plan, "--data", data, "-o", "json"); r.status != exitNotConfirmed || r.stdout != "" || !strings.Contains(r.stderr, "group 0 begins anew") {
		t.Errorf("without --yes, in JSON: status %d, %s%s", r.status, r.stdout, r.stderr)
	}
	c.apply()
	c.has(c.at(2), keys...)
	c.run("recover", "plan", filepath.Join(c.dir, "n3.json"), "--out", c.plan).refused(t, exitRefused, "there is such a file")

	// It is a whole cluster of one, whose versions go on behind all that were ever seen.
	c.healthy(2)
	var was, is struct {
		Items []struct {
			Version uint64 `json:"version"`
		} `json:"items"`
	}
	c.run("kv", "set", keys[0], "new").done(t)
	for text, into := range map[string]any{before: &was, c.run("kv", "get", keys[0], "-o", "json").done(t): &is} {
		if err := json.Unmarshal([]byte(text), into); err != nil {
			t.Fatal(err)
		}
	}
	if is.Items[0].Version < was.Items[0].Version+1<<40 {
		t.Errorf("version %d after %d", is.Items[0].Version, was.Items[0].Version)
	}

	// The plan is applied once; a node that it takes for gone is told what to do.
	c.stop(2)
	if out := c.run("recover", "apply", c.plan, "--data", data, "--yes").done(t); !strings.Contains(out, "was applied") {
		t.Errorf("a second time: %s", out)
	}
	c.run("recover", "apply", c.plan, "--data", old, "--yes").refused(t, exitRefused, "counts as gone")
	c.start(2)
	if err := os.Rename(old, c.nodes[1].data); err != nil {
		t.Fatal(err)
	}
	c.start(1)
	c.until("the old node is turned away", func(context.Context) error {
		text, err := os.ReadFile(c.nodes[1].log)
		if err == nil && !strings.Contains(string(text), "a node that it left out comes back with an empty directory") {
			err = errors.New("its log does not say so")
		}
		return err
	})
	c.kill(1)
	c.healthy(2)

	// It grows like any other, and then no longer depends on the one that survived.
	added := c.grows(2)
	c.kill(2)
	c.has(c.at(added...), keys[1:]...)
}

// Three of five are gone. Groups of which a majority survives are kept, others begin anew
// from the survivor that has the newest log, and one of which nothing is left begins
// empty, as it was asked for.
func TestRecoverFromTwoOfFive(t *testing.T) {
	t.Parallel()
	c := &majorityLost{cluster: startCluster(t, 5)}
	// The groups are dealt to the nodes by their ids, three neighbours each: with two
	// neighbours left there are groups of which both survive, one, and none.
	order := c.byID()
	ahead, behind := order[3], order[4]
	first := c.write(c.client(), "first", 200)
	older := c.copied(behind, first)
	ownOlder, own := c.groupsOf(behind), c.groupsOf(ahead)
	// One misses what comes now, in the groups that it shares with the other too.
	c.kill(behind)
	newer := c.copied(ahead, append(c.write(c.client(), "second", 200), first...))
	var kept, lost []string
	for _, key := range older {
		if g := c.groupOf(key); ownOlder[g] && !own[g] {
			kept = append(kept, key)
		}
	}
	for _, key := range first {
		if g := c.groupOf(key); !ownOlder[g] && !own[g] {
			lost = append(lost, key)
		}
	}
	c.lose([]int{ahead, behind}, order[:3]...)
	c.start(behind)
	c.recoverPlan("--drop-lost")
	c.apply()
	cl := c.at(ahead, behind)
	c.has(cl, newer...)
	c.has(cl, kept...)
	for _, key := range lost {
		c.until(key+" is known to be lost", func(ctx context.Context) error {
			items, _, err := cl.Get(ctx, [][]byte{[]byte(key)}, client.ReadOptions{})
			if err == nil && len(items) > 0 {
				t.Errorf("%s is there, and no survivor had it", key)
			}
			return err
		})
	}
	c.write(cl, "third", 200)

	// The voters of group 0 are gone, and with them the keys by which its root issued certificates.
	c.run("ca", "rotate").done(t)

	// Replicas on nodes that are gone are replaced where there is another node.
	added := c.grows(1)
	c.kill(behind)
	c.has(c.at(ahead, added[0]), newer...)
	c.has(c.at(ahead, added[0]), kept...)
	if len(newer) < 200 || len(kept) == 0 || len(lost) == 0 {
		t.Errorf("%d keys of the one, %d of the other alone, %d of neither: that shows nothing", len(newer), len(kept), len(lost))
	}
}

// No node is gone, but two of three run on older disks, and the newest no longer exist. The
// groups stop by themselves, with the remedy; by that they continue with all that the third
// has, and nobody is in doubt any more.
func TestRecoverFromOlderDisks(t *testing.T) {
	t.Parallel()
	c := &majorityLost{cluster: startCluster(t, 3, "--groups", "2"), survivors: []int{0, 1, 2}}
	keys := c.write(c.client(), "before", 20)
	for i := range c.nodes {
		c.stop(i)
	}
	copied := func(i int) string { return c.nodes[i].data + "-copied" }
	for i := range 2 {
		copyTree(t, c.nodes[i].data, copied(i))
	}
	for i := range c.nodes {
		c.start(i)
	}
	c.healthy()
	keys = append(keys, c.copied(2, c.write(c.client(), "since", 20))...)
	for i := range 2 {
		c.kill(i)
		if err := os.RemoveAll(c.nodes[i].data); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(copied(i), c.nodes[i].data); err != nil {
			t.Fatal(err)
		}
		c.start(i)
	}
	c.until("status names the remedy", func(ctx context.Context) error {
		row, _ := c.statusOf(0)
		if !slices.ContainsFunc(row.Problems, func(p problemRow) bool {
			return strings.Contains(p.What, "older than what they promised") && strings.Contains(p.Remedy, "muster recover --help")
		}) {
			return fmt.Errorf("%+v", row.Problems)
		}
		return nil
	})
	c.recoverPlan()
	c.apply()
	c.has(c.at(0, 1, 2), keys...)
	c.healthy()
	for i := range c.nodes {
		if b, err := os.ReadFile(filepath.Join(c.nodes[i].data, "identity")); err != nil || strings.Contains(string(b), "\ndoubt ") || strings.Contains(string(b), "\nolder ") {
			t.Errorf("n%d is still in doubt: %v\n%s", i+1, err, b)
		}
	}
}

// docs/operating.md tells how to recover. What it says is done here, as it stands there:
// only the data directory and the names of the hosts are other ones.
func TestRecoverAsDocumented(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "operating.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(page), "\n## A majority is gone for good\n")
	if !ok {
		t.Fatal("docs/operating.md has no such section")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var lines []string
	for line := range strings.Lines(section) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "muster recover ") {
			lines = append(lines, line)
		}
	}
	if len(lines) != 5 {
		t.Fatalf("%d commands, want 5: %q", len(lines), lines)
	}

	// Two groups on five nodes: each of n4 and n5 has one of them alone.
	c := &majorityLost{cluster: startCluster(t, 5, "--groups", "2")}
	order := c.byID()
	host := map[string]int{"n4": order[2], "n5": order[3]}
	keys := c.write(c.client(), "k", 100)
	for _, i := range host {
		c.copied(i, keys)
	}
	c.lose([]int{host["n4"], host["n5"]}, order[0], order[1], order[4])
	for _, i := range c.survivors {
		c.stop(i)
	}
	scratch := t.TempDir()
	run := func(line string, node int) {
		t.Helper()
		data := "/var/lib/muster"
		if node >= 0 {
			data = c.nodes[node].data
		}
		cmd := c.command(strings.Fields(strings.ReplaceAll(strings.TrimPrefix(line, "muster "), "/var/lib/muster", data))...)
		cmd.Dir = scratch
		r := runCommand(t, cmd, "")
		if want := strings.Contains(line, " apply ") && !strings.Contains(line, "--yes"); want != (r.status == exitNotConfirmed) || !want && r.status != exitDone {
			t.Fatalf("%s: status %d, %s%s", line, r.status, r.stdout, r.stderr)
		}
	}
	for _, line := range lines {
		switch {
		case strings.Contains(line, " inspect "):
			name, _, _ := strings.Cut(filepath.Base(line[strings.LastIndex(line, " ")+1:]), ".")
			run(line, host[name])
		case strings.Contains(line, " apply "):
			for _, i := range c.survivors {
				run(line, i)
			}
		default:
			run(line, -1)
		}
	}
	for _, i := range c.survivors {
		c.start(i)
	}
	c.has(c.at(c.survivors...), keys...)
}
