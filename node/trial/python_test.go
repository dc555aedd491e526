package trial

import (
	"bufio"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"muster/node/trial/clustertest"
)

// pythonClient is the client that was written from docs/protocol.md and docs/clients.md, in another language.
const pythonClient = "../../docs/examples/client.py"

// docs/protocol.md promises that it is enough to write a client. The example
// was written from that page, in another language, and can set and get, also
// when the node that it asks does not lead the key's group. Then it counts, and another of it watches the count, while
// the node that leads is killed and the slot moves, to and fro: docs/clients.md promises that a client that does as
// it says counts each time once, and sees each count, in order, once.
func TestPythonClient(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed: the example client is not run here")
	}
	c := clustertest.Start(t, 3)
	for _, key := range []string{"a", "ключ"} {
		for i := range c.Nodes {
			addr := c.Nodes[i].Addr
			value := "from python through " + addr
			if out, err := exec.Command(python, pythonClient, addr, "set", key, value).CombinedOutput(); err != nil {
				t.Fatalf("set %s at %s: %v\n%s", key, addr, err, out)
			}
			if got := strings.TrimSuffix(c.Run("kv", "get", key).Done(t), "\n"); got != value {
				t.Errorf("key %s: got %q, want %q", key, got, value)
			}
			out, err := exec.Command(python, pythonClient, addr, "get", key).Output()
			if err != nil {
				t.Fatalf("get %s at %s: %v", key, addr, err)
			}
			if got := strings.TrimSuffix(string(out), "\n"); got != value {
				t.Errorf("key %s: python got %q, want %q", key, got, value)
			}
		}
	}
	countsOn(c, python)
}

// countsOn has one client count and another one watch, while nodes die and the slot moves.
func countsOn(c *clustertest.Cluster, python string) {
	const key = "{python}count"
	t := c.T
	seen := watchCounts(c, python, key)

	var said strings.Builder
	count := exec.Command(python, pythonClient, c.Endpoints(), "incr", key, "-")
	count.Stdout, count.Stderr = &said, &said
	in, err := count.StdinPipe()
	if err == nil {
		err = count.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { count.Process.Kill() })
	goesOn := func() {
		t.Helper()
		const further = 50
		before := int(seen.Load())
		c.Until(fmt.Sprintf("counted %d further, and seen", further), func(context.Context) error {
			if n := int(seen.Load()); n < before+further {
				return fmt.Errorf("it is at %d, from %d", n, before)
			}
			return nil
		})
	}
	type located struct{ Slot, Group int }
	for range 2 {
		var was, is located
		c.JSON(&was, "kv", "locate", key)
		goesOn()
		victim := c.Leads(0)
		c.Kill(victim)
		goesOn()
		c.Start(victim)
		c.Healthy()
		c.Run("slot", "move", fmt.Sprint(was.Slot), fmt.Sprint(was.Group%4+1), "--yes")
		if c.JSON(&is, "kv", "locate", key); is.Group == was.Group {
			t.Errorf("slot %d has not left group %d", was.Slot, was.Group)
		}
		goesOn()
	}
	in.Close()
	var times, to int
	if err := count.Wait(); err != nil {
		t.Fatalf("the one that counts: %v, %s", err, &said)
	}
	if _, err := fmt.Sscanf(said.String(), "%d times, to %d", &times, &to); err != nil || times != to {
		t.Errorf("it has counted %s (%v)", &said, err)
	}
	c.Until("each count is seen", func(context.Context) error {
		if n := int(seen.Load()); n != to {
			return fmt.Errorf("%d of %d", n, to)
		}
		return nil
	})
}

// watchCounts has a client watch a key that counts from 1, and returns the count that it has seen last. Another event than that of
// the next count, at a larger version, fails the test.
func watchCounts(c *clustertest.Cluster, python, key string) *atomic.Int64 {
	t := c.T
	watch := exec.Command(python, pythonClient, c.Endpoints(), "watch", key)
	var said strings.Builder
	watch.Stderr = &said
	out, err := watch.StdoutPipe()
	if err == nil {
		err = watch.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	events := bufio.NewScanner(out)
	if !events.Scan() || events.Text() != "open" {
		t.Fatalf("the watch begins with %q; %s", events.Text(), &said)
	}
	seen, done := new(atomic.Int64), make(chan struct{})
	go func() { // until the process ends, with the test
		defer close(done)
		for last := 0; events.Scan(); {
			var version, value int
			if _, err := fmt.Sscanf(events.Text(), "set %d %d", &version, &value); err != nil || value != int(seen.Load())+1 || version <= last {
				t.Errorf("behind count %d at version %d comes %q (%v)", seen.Load(), last, events.Text(), err)
				return
			}
			last = version
			seen.Store(int64(value))
		}
	}()
	t.Cleanup(func() {
		watch.Process.Kill()
		<-done
		if err := watch.Wait(); said.Len() > 0 {
			t.Errorf("the watch: %v, %s", err, &said)
		}
	})
	return seen
}
