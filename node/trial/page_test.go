package trial

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/node"
	"muster/node/trial/clustertest"
	"muster/repl/client"
)

// page follows the commands of a document, as somebody does who has several hosts: those are
// loopback addresses and folders here.
type page struct {
	*clustertest.Cluster
	text  string
	addrs map[string]string // of the page, and what stands for each
	token string            // path of the file of the last token that was made
}

// newPage starts the three hosts that the page takes for granted, with its secret.
func newPage(t *testing.T, path string) *page {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(t.TempDir(), "secret")
	clustertest.Run(t, "secret", "--file", secret)
	c := clustertest.New(t, 3, "--secret-file", secret, "--groups", "4")
	c.Secret = secret
	p := &page{Cluster: c, text: string(text), addrs: map[string]string{}}
	for i := range c.Nodes {
		p.addrs[fmt.Sprintf("10.0.0.%d:4166", i+1)] = c.Nodes[i].Addr
		c.Start(i)
	}
	c.Healthy()
	return p
}

// addr is what stands for an address of the page.
func (p *page) addr(given string) string {
	p.T.Helper()
	if p.addrs[given] == "" {
		free, err := node.FreeAddrs(1)
		if err != nil {
			p.T.Fatal(err)
		}
		p.addrs[given] = free[0]
	}
	return p.addrs[given]
}

var (
	pageBlock = regexp.MustCompile("(?ms)^```\n(.*?)^```$")
	pageHost  = regexp.MustCompile(`10\.0\.[01]\.(\d):4166`)
)

// blocks returns the blocks of commands below a heading, up to the next one.
func (p *page) blocks(heading string) (all [][]string) {
	p.T.Helper()
	_, rest, found := strings.Cut(p.text, "\n"+heading+"\n")
	if !found {
		p.T.Fatalf("the page has no heading %q", heading)
	}
	section, _, _ := strings.Cut(rest, "\n## ")
	section, _, _ = strings.Cut(section, "\n### ")
	for _, m := range pageBlock.FindAllStringSubmatch(section, -1) {
		all = append(all, strings.Split(strings.TrimSpace(m[1]), "\n"))
	}
	return all
}

// follow carries out the commands of a block, each to its end. One that serves goes on.
func (p *page) follow(lines []string) {
	p.T.Helper()
	for _, line := range lines {
		if line == "(umask 077; muster token create >token)" {
			p.makeToken()
			continue
		}
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "muster" {
			p.T.Fatalf("the page says %q", line)
		}
		words = words[1:]
		host := 0
		for i, w := range words {
			if m := pageHost.FindStringSubmatch(w); m != nil && host == 0 {
				fmt.Sscan(m[1], &host) // the first one is its own: --listen
			}
			words[i] = pageHost.ReplaceAllStringFunc(w, p.addr)
		}
		if words[0] == "serve" {
			p.serve(host-1, words)
			continue
		}
		r := p.Run(words...)
		if r.Status != clustertest.ExitDone {
			p.T.Fatalf("%s: status %d\n%s%s", line, r.Status, r.Stdout, r.Stderr)
		}
		p.T.Logf("%s\n%s%s", line, r.Stderr, r.Stdout)
	}
}

// serve starts host number i as the page says, in its own folder, and returns when it
// listens. Whatever ran there has been stopped.
func (p *page) serve(i int, words []string) {
	p.T.Helper()
	for len(p.Nodes) <= i {
		name := fmt.Sprintf("n%d", len(p.Nodes)+1)
		p.Nodes = append(p.Nodes, &clustertest.Process{Binary: clustertest.Binary(), Data: filepath.Join(p.Dir, name), Log: filepath.Join(p.Dir, name+".log")})
	}
	n := p.Nodes[i]
	option := func(name string) *string {
		at := slices.Index(words, name)
		if at < 0 {
			p.T.Fatalf("%v has no %s", words, name)
		}
		return &words[at+1]
	}
	*option("--data") = n.Data
	if slices.Contains(words, "--token-file") {
		*option("--token-file") = p.token
	} else {
		*option("--secret-file") = p.Secret
	}
	n.Addr, n.Args = *option("--listen"), words
	p.Start(i)
	p.Until("listening at "+n.Addr, func(ctx context.Context) error {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", n.Addr)
		if err == nil {
			conn.Close()
		}
		return err
	})
}

// makeToken makes a token for one host, in a file.
func (p *page) makeToken() {
	p.T.Helper()
	p.token = filepath.Join(p.T.TempDir(), "token")
	if err := os.WriteFile(p.token, []byte(p.Run("token", "create").Done(p.T)), 0o600); err != nil {
		p.T.Fatal(err)
	}
}

// members returns each node's status and address by name, as the cluster lists them.
func (p *page) members() map[string]nodeRow {
	p.T.Helper()
	var rows []nodeRow
	p.JSON(&rows, "node", "list")
	all := map[string]nodeRow{}
	for _, r := range rows {
		all[r.Name] = r
	}
	return all
}

// settled waits until no job is unfinished, every data group has voters on three of the
// nodes that live, and all of those are healthy.
func (p *page) settled(numbers ...int) {
	p.T.Helper()
	clustertest.Await(p.T, "settled", settledMax, func(context.Context) error { return p.unsettled() })
	p.Healthy(numbers...)
}

// settledMax is how long jobs of a small cluster may take.
const settledMax = 2 * time.Minute

func (p *page) unsettled() error {
	out := p.Run("job", "list", "-o", "json")
	var jobs []struct{ ID, Kind, State, Why string }
	if err := json.Unmarshal([]byte(out.Stdout), &jobs); out.Status != clustertest.ExitDone || err != nil {
		return fmt.Errorf("job list: %s", out.Stderr)
	}
	for _, j := range jobs {
		if j.State == "running" || j.State == "paused" {
			return fmt.Errorf("job %s (%s) is %s: %s", j.ID, j.Kind, j.State, j.Why)
		}
	}
	out = p.Run("group", "list", "-o", "json")
	var groups []struct {
		ID       int
		Replicas []struct{ Role string }
	}
	if err := json.Unmarshal([]byte(out.Stdout), &groups); out.Status != clustertest.ExitDone || err != nil {
		return fmt.Errorf("group list: %s", out.Stderr)
	}
	for _, g := range groups {
		voters := 0
		for _, r := range g.Replicas {
			if r.Role == "voter" {
				voters++
			}
		}
		if voters != 3 {
			return fmt.Errorf("group %d has %d voters", g.ID, voters)
		}
	}
	return nil
}

// keep sets keys in all groups, and returns what checks that they are there as they were.
func (p *page) keep() (check func()) {
	p.T.Helper()
	const keys = 200
	var pairs []client.Pair
	var names [][]byte
	for i := range keys {
		name := fmt.Appendf(nil, "page/%d", i)
		names = append(names, name)
		pairs = append(pairs, client.Pair{Key: name, Value: name})
	}
	ctx, cancel := context.WithTimeout(context.Background(), clustertest.ReadyMax)
	defer cancel()
	if _, err := p.Client().SetMany(ctx, pairs); err != nil {
		p.T.Fatal(err)
	}
	return func() {
		p.T.Helper()
		p.Until("all keys are there", func(ctx context.Context) error {
			items, _, err := p.Client().Get(ctx, names, client.ReadOptions{})
			if err == nil && len(items) != keys {
				err = fmt.Errorf("%d of %d keys", len(items), keys)
			}
			return err
		})
	}
}

// docs/operating.md says how a cluster grows, shrinks, replaces a host that is dead, and
// follows its hosts to other addresses. Somebody who does what stands there, and nothing
// else, must get what it promises, and lose no key.
func TestOperatingPage(t *testing.T) {
	t.Parallel()
	p := newPage(t, "../../docs/operating.md")
	check := p.keep()

	grow := p.blocks("### Grow")
	for _, block := range grow {
		p.follow(block)
	}
	becomes(p.Cluster, "n4", "alive")
	if n := p.members()["n4"]; n.Addr != p.addr("10.0.0.4:4166") {
		t.Errorf("grown: n4 is %+v", n)
	}
	p.settled()
	check()

	shrink := p.blocks("### Shrink")
	if len(shrink) != 2 {
		t.Fatalf("the page shrinks in %d blocks", len(shrink))
	}
	p.follow(shrink[0])
	select {
	case <-p.Nodes[3].Exited:
	case <-time.After(clustertest.ReadyMax):
		t.Error("n4 was removed and has not ended")
	}
	if _, there := p.members()["n4"]; there {
		t.Error("n4 was removed and is on the list")
	}
	p.settled(0, 1, 2)
	check()

	// A fourth again, so that what is drained can go somewhere.
	p.Nodes = p.Nodes[:3]
	delete(p.addrs, "10.0.0.4:4166")
	if err := os.RemoveAll(filepath.Join(p.Dir, "n4")); err != nil {
		t.Fatal(err)
	}
	for _, block := range grow {
		p.follow(block)
	}
	p.follow(shrink[1][:1])
	becomes(p.Cluster, "n3", "draining")
	p.follow(shrink[1][1:])
	becomes(p.Cluster, "n3", "alive")
	p.settled()
	check()

	p.Kill(1)
	for _, block := range p.blocks("### Replace a dead host") {
		p.follow(block)
	}
	becomes(p.Cluster, "n5", "alive")
	p.settled(0, 2, 3, 4)
	if all := p.members(); len(all) != 4 || all["n2"].Name != "" {
		t.Errorf("replaced: %+v", all)
	}
	check()
}

// Hosts get other addresses: one alone, then all the others at once.
func TestAddressesPage(t *testing.T) {
	t.Parallel()
	p := newPage(t, "../../docs/operating.md")
	check := p.keep()
	moves := p.blocks("## Addresses that change")
	if len(moves) != 2 || len(moves[0]) != 1 || len(moves[1]) != 2 {
		t.Fatalf("the page moves hosts in %q", moves)
	}
	p.Stop(0)
	p.follow(moves[0])
	p.Healthy()
	for _, i := range []int{1, 2} {
		p.Stop(i)
	}
	p.follow(moves[1])
	p.Healthy()
	for i := range 3 {
		name, want := fmt.Sprintf("n%d", i+1), p.addr(fmt.Sprintf("10.0.1.%d:4166", i+1))
		// A node is healthy before the table says where it is now.
		p.Until(name+" is at "+want, func(context.Context) error {
			if n := p.members()[name]; n.Addr != want || n.Status != "alive" {
				return fmt.Errorf("it is %+v", n)
			}
			return nil
		})
	}
	check()
}
