package trial

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/node"
	"muster/node/trial/clustertest"
)

// longTimeout is one that nobody may wait out: what is known is said at once.
const longTimeout = "4m"

// statusSays asks node i, until it refuses with all of wants: at once, though it
// could be waited for.
func statusSays(c *clustertest.Cluster, i int, wants ...string) string {
	c.T.Helper()
	args := []string{"status", "--endpoints", c.Nodes[i].Addr, "--timeout", longTimeout}
	for end := time.Now().Add(clustertest.ReadyMax); ; time.Sleep(50 * time.Millisecond) {
		began := time.Now()
		r := clustertest.Run(c.T, args...)
		if took := time.Since(began); took > clustertest.ReadyMax {
			c.T.Fatalf("status of n%d took %v", i+1, took)
		}
		missing := slices.DeleteFunc(slices.Clone(wants), func(w string) bool { return strings.Contains(r.Stderr, w) })
		if r.Status == clustertest.ExitNoResult && len(missing) == 0 {
			return r.Stderr
		}
		if time.Now().After(end) {
			c.T.Fatalf("status of n%d: status %d, %s\nwant it to say %q", i+1, r.Status, r.Stderr, missing)
		}
	}
}

// A node that waits for others knows whom it waits for. A client that asks how things are
// must be told so at once, and not that there was no answer in time.
func TestStatusWhileFounding(t *testing.T) {
	t.Parallel()
	c := clustertest.New(t, 3)
	c.Start(0)
	statusSays(c, 0, "not-ready", "founding; waits for ", c.Nodes[1].Addr, c.Nodes[2].Addr, "connection refused", "start the other hosts with the same --expect and --join")
	c.Start(1)
	c.Start(2)
	c.Healthy()
}

// Somebody starts the first host as the README's first command says, and only
// then reads on. The others must say that it is that host which stands alone,
// and what is to be done about it; following that must help.
func TestFirstHostFoundedAlone(t *testing.T) {
	t.Parallel()
	c := clustertest.New(t, 3)
	together := c.Nodes[0].Args
	c.Nodes[0].Args = together[:slices.Index(together, "--expect")]
	c.Start(0)
	c.Healthy(0)
	c.Start(1)
	c.Start(2)
	for i := 1; i < 3; i++ {
		text := statusSays(c, i, c.Nodes[0].Addr, "has founded cluster \"muster\" alone", "stop it, move its data directory away, and start it with the same --expect and --join as the others")
		if strings.Contains(text, "empty") {
			t.Errorf("n%d tells to empty a directory: %s", i+1, text)
		}
	}
	c.Stop(0)
	if err := os.Rename(c.Nodes[0].Data, c.Nodes[0].Data+"-away"); err != nil {
		t.Fatal(err)
	}
	c.Nodes[0].Args = together
	c.Start(0)
	c.Healthy()
}

// What a cluster is founded with must be the same on each host, or nobody knows
// which of them it will have. Each must be told what the other has, and go on
// once that was mended, as the line says.
func TestFoundingWithOtherSettings(t *testing.T) {
	t.Parallel()
	c := clustertest.New(t, 3)
	same := c.Nodes[2].Args
	c.Nodes[2].Args = append(slices.Clone(same), "--groups", "16", "--value-max", "2097152")
	for i := range c.Nodes {
		c.Start(i)
	}
	for i := range 2 {
		statusSays(c, i, c.Nodes[2].Addr+" (founds with --groups 16, this host with 8: give the same on each", "--value-max 2097152, this host with 1048576")
	}
	statusSays(c, 2, c.Nodes[0].Addr+" (founds with --groups 8, this host with 16: give the same on each", c.Nodes[1].Addr+" (founds with --groups 8")
	for i := range c.Nodes {
		log, err := os.ReadFile(c.Nodes[i].Log)
		for j := range c.Nodes {
			// Once, unless a busy machine keeps the two from speaking for a moment.
			const most = 5
			told := strings.Count(string(log), "host="+c.Nodes[j].Addr+` err="founds with --groups`)
			if differ := i != j && (i == 2 || j == 2); (told > 0) != differ || told > most || err != nil {
				t.Errorf("n%d logged %d times that n%d differs, want it to tell: %t; %v\n%s", i+1, told, j+1, differ, err, log)
			}
		}
	}
	c.Stop(2)
	c.Nodes[2].Args = same
	c.Start(2)
	c.Healthy()
}

// sameHosts are n addresses with one port, as hosts of their own have: by
// default their nodes are called alike.
func sameHosts(t *testing.T, n int) (addrs []string) {
	t.Helper()
	for range 100 {
		first, err := node.FreeAddrs(1)
		if err != nil {
			t.Fatal(err)
		}
		_, port, _ := net.SplitHostPort(first[0])
		addrs = nil
		for i := range n {
			addr := fmt.Sprintf("127.0.0.%d:%s", i+1, port)
			l, err := net.Listen("tcp", addr)
			if err != nil {
				break
			}
			l.Close()
			addrs = append(addrs, addr)
		}
		if len(addrs) == n {
			return addrs
		}
	}
	t.Skip("no port is free on all of some addresses of this host")
	return nil
}

// ofTheMachine is what a node rightly warns of where the machine, which other tests
// keep busy, or its disk stands still for a second or more.
var ofTheMachine = []string{`msg="disk stalls"`, `msg="peer lost"`, `msg="peer not reached"`, `msg="not ready yet: `}

// Hosts that are copies of one image have one host name. Their nodes must be told
// apart all the same, by names that last; and what a cluster says while it is
// founded is that it is ready, and nothing that is no news.
func TestHostsWithOneName(t *testing.T) {
	t.Parallel()
	c := clustertest.New(t, 3)
	addrs := sameHosts(t, 3)
	for i, p := range c.Nodes {
		p.Addr = addrs[i]
		p.Args = []string{"serve", "--listen", p.Addr, "--data", p.Data, "--expect", "3", "--join", strings.Join(addrs, ",")}
		c.Start(i)
	}
	names := func() (names []string) {
		c.Until("all are announced, and told apart", func(ctx context.Context) error {
			r := c.Run("node", "list", "-o", "json")
			var rows []nodeRow
			if err := json.Unmarshal([]byte(r.Stdout), &rows); err != nil {
				return fmt.Errorf("%w: %s", err, r.Stderr)
			}
			names = nil
			for _, row := range rows {
				if row.Version == "" || slices.Contains(names, row.Name) {
					return fmt.Errorf("%+v", rows)
				}
				names = append(names, row.Name)
			}
			return nil
		})
		return names
	}
	names()
	c.Healthy()
	before := names()
	for i := range c.Nodes {
		var log []byte
		c.Until("the node says that it is ready", func(ctx context.Context) (err error) {
			if log, err = os.ReadFile(c.Nodes[i].Log); err == nil && !strings.Contains(string(log), `msg="node ready"`) {
				err = errors.New("not yet")
			}
			return err
		})
		for line := range strings.Lines(string(log)) {
			if slices.ContainsFunc(ofTheMachine, func(what string) bool { return strings.Contains(line, what) }) {
				continue
			}
			for _, noise := range []string{"not announced yet", "bad-request", "level=WARN", "level=ERROR"} {
				if strings.Contains(line, noise) {
					t.Errorf("n%d logged %s:\n%s", i+1, noise, log)
				}
			}
		}
	}
	for i := range c.Nodes {
		c.Stop(i)
	}
	for i := range c.Nodes {
		c.Start(len(c.Nodes) - 1 - i)
	}
	c.Healthy()
	if after := names(); !slices.Equal(before, after) {
		t.Errorf("names %q became %q", before, after)
	}
}
