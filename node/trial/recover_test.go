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

	"muster/node/trial/clustertest"
	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
)

const exitNotConfirmed = 9

// majorityLost is a cluster of which most nodes are about to be lost for good, or are.
type majorityLost struct {
	*clustertest.Cluster
	survivors []int
	plan      string // the file of the plan
}

// lose ends nodes, and their directories with them.
func (c *majorityLost) lose(survivors []int, gone ...int) {
	c.T.Helper()
	for _, i := range gone {
		c.Kill(i)
		if err := os.RemoveAll(c.Nodes[i].Data); err != nil {
			c.T.Fatal(err)
		}
	}
	c.survivors = survivors
}

// recoverPlan stops the survivors, and makes a plan from what they have.
func (c *majorityLost) recoverPlan(options ...string) {
	c.T.Helper()
	args := []string{"recover", "plan"}
	for _, i := range c.survivors {
		c.Stop(i)
		file := filepath.Join(c.Dir, fmt.Sprintf("n%d.json", i+1))
		c.Run("recover", "inspect", "--data", c.Nodes[i].Data, "--out", file).Done(c.T)
		args = append(args, file)
	}
	c.plan = filepath.Join(c.Dir, "plan.json")
	c.Run(append(append(args, "--out", c.plan), options...)...).Done(c.T)
}

// apply carries the plan out on all survivors and starts them.
func (c *majorityLost) apply() {
	c.T.Helper()
	for _, i := range c.survivors {
		c.Run("recover", "apply", c.plan, "--data", c.Nodes[i].Data, "--yes").Done(c.T)
	}
	for _, i := range c.survivors {
		c.Start(i)
	}
}

// at returns a client that knows the survivors.
func (c *majorityLost) at(nodes ...int) *client.Client {
	c.T.Helper()
	var all []string
	for _, i := range nodes {
		all = append(all, c.Nodes[i].Addr)
	}
	return c.ClientWith(client.Options{Endpoints: all})
}

// has waits until keys can be read linearizably, with their values.
func (c *majorityLost) has(cl *client.Client, keys ...string) {
	c.T.Helper()
	for _, key := range keys {
		c.Until(key+" is there", func(ctx context.Context) error {
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
	c.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), clustertest.ReadyMax)
	defer cancel()
	var pairs []client.Pair
	for i := range n {
		key := fmt.Sprintf("%s/%d", prefix, i)
		keys = append(keys, key)
		pairs = append(pairs, client.Pair{Key: []byte(key), Value: []byte("value of " + key)})
	}
	if _, err := cl.SetMany(ctx, pairs); err != nil {
		c.T.Fatal(err)
	}
	return keys
}

// copied waits until a node's own copies have those of the keys whose group it has a
// replica of, and returns them.
func (c *majorityLost) copied(node int, keys []string) (held []string) {
	c.T.Helper()
	own := c.groupsOf(node)
	cl := c.ClientWith(client.Options{Endpoints: []string{c.Nodes[node].Addr}})
	for _, key := range keys {
		if !own[c.groupOf(key)] {
			continue
		}
		held = append(held, key)
		c.Until(key+" is on the survivor", func(ctx context.Context) error {
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
	c.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), clustertest.ReadyMax)
	defer cancel()
	at, err := c.Client().Locate(ctx, []byte(key))
	if err != nil {
		c.T.Fatal(err)
	}
	return int(at.Group)
}

// groupsOf returns the groups of which a node has a replica.
func (c *majorityLost) groupsOf(node int) map[int]bool {
	c.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), clustertest.ReadyMax)
	defer cancel()
	a, err := c.Client().Status(ctx, c.Nodes[node].Addr)
	if err != nil {
		c.T.Fatal(err)
	}
	own := make(map[int]bool)
	for _, n := range a.Nodes {
		if n.Addr != c.Nodes[node].Addr {
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
	c.T.Helper()
	r := &reaper{c: c.Cluster, gone: map[int]bool{}}
	for i := range c.Nodes {
		r.gone[i] = !slices.Contains(c.survivors, i)
	}
	added = clustertest.AddStandby(c.Cluster, n)
	args := []string{"node", "add", "--yes"}
	for _, i := range added {
		r.gone[i] = true
		args = append(args, c.Nodes[i].Addr)
	}
	r.order(args...)
	for _, i := range added {
		delete(r.gone, i)
	}
	r.settles(shardmap.GroupVoters)
	c.Healthy(append(added, c.survivors...)...)
	return added
}

// byID returns the numbers of the nodes in the order of their ids.
func (c *majorityLost) byID() (order []int) {
	c.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), clustertest.ReadyMax)
	defer cancel()
	a, err := c.Client().Status(ctx, c.Nodes[0].Addr)
	if err != nil {
		c.T.Fatal(err)
	}
	slices.SortFunc(a.Nodes, func(x, y wire.StatusNode) int { return cmp.Compare(x.ID, y.ID) })
	for _, n := range a.Nodes {
		order = append(order, slices.IndexFunc(c.Nodes, func(p *clustertest.Process) bool { return p.Addr == n.Addr }))
	}
	return order
}

// Two of three nodes are gone for good. What the third has of what was acknowledged is
// there afterwards, it takes writes, and neither a node with the old data nor one with
// another plan comes in.
func TestRecoverFromOneOfThree(t *testing.T) {
	t.Parallel()
	c := &majorityLost{Cluster: clustertest.Start(t, 3)}
	keys := c.copied(2, c.write(c.Client(), "kept", 200))
	before := c.Run("kv", "get", keys[0], "-o", "json").Done(t)
	// A copy of a directory that is about to be lost, which somebody finds later.
	c.Stop(1)
	old := filepath.Join(c.Dir, "old")
	// With its modes: a node refuses keys that others can read.
	if out, err := exec.Command("cp", "-a", c.Nodes[1].Data, old).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	c.lose([]int{2}, 0, 1)
	data := c.Nodes[2].Data
	c.Until("n3 says that it has no majority", func(ctx context.Context) error {
		a, err := c.at(2).Status(ctx, c.Nodes[2].Addr)
		if err == nil && (a.Healthy || !strings.Contains(fmt.Sprint(a.Problems), "muster recover --help")) {
			err = fmt.Errorf("problems %v", a.Problems)
		}
		return err
	})
	if r := c.Run("kv", "set", "k", "v", "--timeout", "2s"); r.Status != clustertest.ExitNoResult {
		t.Errorf("a write without a majority ended with %d: %s", r.Status, r.Stderr)
	}
	c.Run("recover", "inspect", "--data", data).Refused(t, clustertest.ExitRefused, "its node runs: stop it first")

	c.recoverPlan()
	c.Run("recover", "apply", c.plan, "--data", filepath.Join(c.Dir, "nowhere")).Refused(t, clustertest.ExitNotFound, "no such directory")
	if r := c.Run("recover", "apply", c.plan, "--data", data); r.Status != exitNotConfirmed || !strings.Contains(r.Stdout, "group 0 begins anew") || !strings.Contains(r.Stderr, "--yes") {
		t.Errorf("without --yes: status %d, %s%s", r.Status, r.Stdout, r.Stderr)
	}
	if r := c.Run("recover", "apply", c.plan, "--data", data, "-o", "json"); r.Status != exitNotConfirmed || r.Stdout != "" || !strings.Contains(r.Stderr, "group 0 begins anew") {
		t.Errorf("without --yes, in JSON: status %d, %s%s", r.Status, r.Stdout, r.Stderr)
	}
	c.apply()
	c.has(c.at(2), keys...)
	c.Run("recover", "plan", filepath.Join(c.Dir, "n3.json"), "--out", c.plan).Refused(t, clustertest.ExitRefused, "there is such a file")

	// It is a whole cluster of one, whose versions go on behind all that were ever seen.
	c.Healthy(2)
	var was, is struct {
		Items []struct {
			Version uint64 `json:"version"`
		} `json:"items"`
	}
	c.Run("kv", "set", keys[0], "new").Done(t)
	for text, into := range map[string]any{before: &was, c.Run("kv", "get", keys[0], "-o", "json").Done(t): &is} {
		if err := json.Unmarshal([]byte(text), into); err != nil {
			t.Fatal(err)
		}
	}
	if is.Items[0].Version < was.Items[0].Version+1<<40 {
		t.Errorf("version %d after %d", is.Items[0].Version, was.Items[0].Version)
	}

	// The plan is applied once; a node that it takes for gone is told what to do.
	c.Stop(2)
	if out := c.Run("recover", "apply", c.plan, "--data", data, "--yes").Done(t); !strings.Contains(out, "was applied") {
		t.Errorf("a second time: %s", out)
	}
	c.Run("recover", "apply", c.plan, "--data", old, "--yes").Refused(t, clustertest.ExitRefused, "counts as gone")
	c.Start(2)
	if err := os.Rename(old, c.Nodes[1].Data); err != nil {
		t.Fatal(err)
	}
	c.Start(1)
	c.Until("the old node is turned away", func(context.Context) error {
		text, err := os.ReadFile(c.Nodes[1].Log)
		if err == nil && !strings.Contains(string(text), "a node that it left out comes back with an empty directory") {
			err = errors.New("its log does not say so")
		}
		return err
	})
	c.Kill(1)
	c.Healthy(2)

	// It grows like any other, and then no longer depends on the one that survived.
	added := c.grows(2)
	c.Kill(2)
	c.has(c.at(added...), keys[1:]...)
}

// Three of five are gone. Groups of which a majority survives are kept, others begin anew
// from the survivor that has the newest log, and one of which nothing is left begins
// empty, as it was asked for.
func TestRecoverFromTwoOfFive(t *testing.T) {
	t.Parallel()
	c := &majorityLost{Cluster: clustertest.Start(t, 5)}
	// The groups are dealt to the nodes by their ids, three neighbours each: with two
	// neighbours left there are groups of which both survive, one, and none.
	order := c.byID()
	ahead, behind := order[3], order[4]
	first := c.write(c.Client(), "first", 200)
	older := c.copied(behind, first)
	ownOlder, own := c.groupsOf(behind), c.groupsOf(ahead)
	// One misses what comes now, in the groups that it shares with the other too.
	c.Kill(behind)
	newer := c.copied(ahead, append(c.write(c.Client(), "second", 200), first...))
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
	c.Start(behind)
	c.recoverPlan("--drop-lost")
	c.apply()
	cl := c.at(ahead, behind)
	c.has(cl, newer...)
	c.has(cl, kept...)
	for _, key := range lost {
		c.Until(key+" is known to be lost", func(ctx context.Context) error {
			items, _, err := cl.Get(ctx, [][]byte{[]byte(key)}, client.ReadOptions{})
			if err == nil && len(items) > 0 {
				t.Errorf("%s is there, and no survivor had it", key)
			}
			return err
		})
	}
	c.write(cl, "third", 200)

	// The voters of group 0 are gone, and with them the keys by which its root issued certificates.
	c.Run("ca", "rotate").Done(t)

	// Replicas on nodes that are gone are replaced where there is another node.
	added := c.grows(1)
	c.Kill(behind)
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
	c := &majorityLost{Cluster: clustertest.Start(t, 3, "--groups", "2"), survivors: []int{0, 1, 2}}
	keys := c.write(c.Client(), "before", 20)
	for i := range c.Nodes {
		c.Stop(i)
	}
	copied := func(i int) string { return c.Nodes[i].Data + "-copied" }
	for i := range 2 {
		copyTree(t, c.Nodes[i].Data, copied(i))
	}
	for i := range c.Nodes {
		c.Start(i)
	}
	c.Healthy()
	keys = append(keys, c.copied(2, c.write(c.Client(), "since", 20))...)
	for i := range 2 {
		c.Kill(i)
		if err := os.RemoveAll(c.Nodes[i].Data); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(copied(i), c.Nodes[i].Data); err != nil {
			t.Fatal(err)
		}
		c.Start(i)
	}
	c.Until("status names the remedy", func(ctx context.Context) error {
		row, _ := statusOf(c.Cluster, 0)
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
	c.Healthy()
	for i := range c.Nodes {
		if b, err := os.ReadFile(filepath.Join(c.Nodes[i].Data, "identity")); err != nil || strings.Contains(string(b), "\ndoubt ") || strings.Contains(string(b), "\nolder ") {
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
	c := &majorityLost{Cluster: clustertest.Start(t, 5, "--groups", "2")}
	order := c.byID()
	host := map[string]int{"n4": order[2], "n5": order[3]}
	keys := c.write(c.Client(), "k", 100)
	for _, i := range host {
		c.copied(i, keys)
	}
	c.lose([]int{host["n4"], host["n5"]}, order[0], order[1], order[4])
	for _, i := range c.survivors {
		c.Stop(i)
	}
	scratch := t.TempDir()
	run := func(line string, node int) {
		t.Helper()
		data := "/var/lib/muster"
		if node >= 0 {
			data = c.Nodes[node].Data
		}
		cmd := c.Command(strings.Fields(strings.ReplaceAll(strings.TrimPrefix(line, "muster "), "/var/lib/muster", data))...)
		cmd.Dir = scratch
		r := clustertest.RunCommand(t, cmd, "")
		if want := strings.Contains(line, " apply ") && !strings.Contains(line, "--yes"); want != (r.Status == exitNotConfirmed) || !want && r.Status != clustertest.ExitDone {
			t.Fatalf("%s: status %d, %s%s", line, r.Status, r.Stdout, r.Stderr)
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
		c.Start(i)
	}
	c.has(c.at(c.survivors...), keys...)
}
