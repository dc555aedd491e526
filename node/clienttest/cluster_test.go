package clienttest_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"muster/node"
	"muster/node/clienttest"
	"muster/repl/client"
	"muster/repl/client/home"
)

// A cluster that was closed leaves nothing behind in the process of its test.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// busyMax is how long anything may take on a busy machine.
const busyMax = 30 * time.Second

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), busyMax)
	t.Cleanup(cancel)
	return ctx
}

// A cluster is ready when it is given out: no call waits for an election, or meets a table that is about to
// change. Each test has its own, which is empty.
func TestStartIsReady(t *testing.T) {
	for range 2 {
		began := time.Now()
		c := clienttest.Start(t)
		took := time.Since(began)
		ctx := within(t)
		before, err := c.Client().Topology(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 64 { // of all groups
			if _, err := c.Client().Set(ctx, fmt.Append(nil, "key/", i), []byte("v"), client.WriteOptions{IfAbsent: true}); err != nil {
				t.Fatal(err)
			}
		}
		after, err := c.Client().Topology(ctx)
		if err != nil || after.Index != before.Index {
			t.Errorf("the table is that of %d, was that of %d: %v", after.Index, before.Index, err)
		}
		t.Logf("ready after %s", took.Round(time.Millisecond))
		if took > busyMax {
			t.Errorf("ready after %s", took)
		}
	}
}

// A node is stopped and started again under a program that writes: none of its calls fails, and what was
// acknowledged is there. It keeps its address and its data.
func TestNodesStopAndStart(t *testing.T) {
	began := time.Now()
	c := clienttest.StartCluster(t, 3)
	t.Logf("ready after %s", time.Since(began).Round(time.Millisecond))
	ctx := within(t)
	keys := make(chan []byte)
	var writers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			for key := range keys {
				if _, err := c.Client().Set(ctx, key, key, client.WriteOptions{}); err != nil {
					t.Errorf("set %s: %v", key, err)
				}
			}
		})
	}
	written := sync.OnceFunc(func() {
		close(keys)
		writers.Wait()
	})
	defer written()
	sent := 0
	write := func(n int) {
		for range n {
			keys <- fmt.Append(nil, "key/", sent)
			sent++
		}
	}
	for i := range c.Endpoints() {
		write(50)
		if err := c.StopNode(i); err != nil {
			t.Error(err)
		}
		if err := c.StopNode(i); err == nil || !strings.Contains(err.Error(), fmt.Sprint("n", i+1)) {
			t.Errorf("stopped twice: got %v", err)
		}
		write(50)
		if err := c.StartNode(i); err != nil {
			t.Fatal(err)
		}
		if err := c.StartNode(i); err == nil || !strings.Contains(err.Error(), fmt.Sprint("n", i+1)) {
			t.Errorf("started twice: got %v", err)
		}
		if err := c.Ready(ctx); err != nil {
			t.Fatal(err)
		}
	}
	written()
	n := 0
	for item, err := range c.Client().List(ctx, []byte("key/"), client.ListOptions{}) {
		if err != nil || string(item.Key) != string(item.Value) {
			t.Fatalf("got %q %q, %v", item.Key, item.Value, err)
		}
		n++
	}
	if n != sent {
		t.Errorf("%d of %d keys are there", n, sent)
	}
	// One that is alone waits for the others, and says so.
	for i := range 2 {
		if err := c.StopNode(i); err != nil {
			t.Error(err)
		}
	}
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if _, err := c.Client().Set(short, []byte("k"), nil, client.WriteOptions{}); !errors.Is(err, client.ErrUnavailable) && !errors.Is(err, client.ErrMaybeApplied) {
		t.Errorf("a write without two of three: got %v", err)
	}
	for alone := error(nil); alone == nil && ctx.Err() == nil; { // it takes a moment to find out
		look, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		alone = c.Ready(look)
		cancel()
		if alone != nil && (!errors.Is(alone, context.DeadlineExceeded) || !strings.Contains(alone.Error(), "n3")) {
			t.Errorf("without two of three: got %v", alone)
		}
	}
	if err := ctx.Err(); err != nil {
		t.Errorf("without two of three: it is ready: %v", err)
	}
}

// Over TLS clients are the cluster's first user. Nothing is kept in the directory of the user who runs the tests,
// and who has nothing of the cluster is let in nowhere.
func TestTLS(t *testing.T) {
	own := filepath.Join(t.TempDir(), "own")
	t.Setenv(home.Variable, own)
	for _, nodes := range []int{1, 3} {
		c := clienttest.StartWith(t, clienttest.Options{Nodes: nodes, TLS: true, Groups: 2})
		ctx := within(t)
		if _, err := c.Client().Set(ctx, []byte("k"), []byte("v"), client.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		for name, change := range map[string]func(*client.Options){
			"another home": func(o *client.Options) { o.Home = t.TempDir() },
			"no TLS":       func(o *client.Options) { o.Insecure = true },
		} {
			o := c.Options()
			change(&o)
			stranger, err := client.Open(o)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, _, err := stranger.GetOne(ctx, []byte("k"), nil, client.ReadOptions{}); !errors.Is(err, client.ErrUnauthorized) {
				t.Errorf("%d nodes, %s: got %v", nodes, name, err)
			}
			stranger.Close()
		}
	}
	if _, err := os.Stat(own); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the user's own directory: %v", err)
	}
}

// A cluster of no test takes its data along, and can be closed twice.
func TestNew(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	c, err := clienttest.New(clienttest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Client().Set(within(t), []byte("k"), nil, client.WriteOptions{}); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("it leaves %v, %v", left, err)
	}
	if _, err := c.Client().Set(within(t), []byte("k"), nil, client.WriteOptions{}); !errors.Is(err, client.ErrClosed) {
		t.Errorf("after its end: got %v", err)
	}
}

// Options that mean nothing are refused by name, before anything is started.
func TestRefused(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	for _, x := range []struct {
		options clienttest.Options
		says    string
	}{
		{clienttest.Options{Nodes: -1}, "want 1 to"},
		{clienttest.Options{Nodes: clienttest.NodesMax + 1}, "want 1 to"},
		{clienttest.Options{Groups: -1}, "--groups -1"},
		{clienttest.Options{Groups: node.GroupsMax + 1}, "--groups"},
	} {
		if _, err := clienttest.New(x.options); err == nil || !strings.Contains(err.Error(), x.says) {
			t.Errorf("%+v: got %v, want %q", x.options, err, x.says)
		}
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("they leave %v, %v", left, err)
	}
}

// A node that is killed leaves no note of a clean stop, answers nothing any more, and is back with all that it had once it is
// started again, while programs that write lose no acknowledged write. One would doubt it: the process continues.
func TestNodesDieAndStart(t *testing.T) {
	c := clienttest.StartCluster(t, 3)
	ctx := within(t)
	var mu sync.Mutex
	acknowledged := map[string]bool{}
	more := make(chan struct{}, 1) // a token: something was acknowledged
	writing, stop := context.WithCancel(ctx)
	var writers sync.WaitGroup
	defer writers.Wait()
	defer stop()
	for w := range 8 {
		writers.Go(func() {
			for i := 0; writing.Err() == nil; i++ {
				key := fmt.Sprintf("key/%d.%d", w, i)
				if _, err := c.Client().Set(writing, []byte(key), []byte("v"), client.WriteOptions{}); err == nil {
					mu.Lock()
					acknowledged[key] = true
					mu.Unlock()
					select {
					case more <- struct{}{}:
					default:
					}
				}
			}
		})
	}
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(acknowledged)
	}
	writeMore := func() { // waits until more is acknowledged
		t.Helper()
		for due := count() + 200; count() < due; {
			select {
			case <-more:
			case <-ctx.Done():
				t.Fatal("no write is acknowledged any more")
			}
		}
	}
	for i := range c.Endpoints() {
		writeMore()
		if err := c.KillNode(i); err != nil {
			t.Error(err)
		}
		if err := c.KillNode(i); err == nil || !strings.Contains(err.Error(), fmt.Sprint("n", i+1)) {
			t.Errorf("killed twice: got %v", err)
		}
		if clean := c.StoppedClean(i); clean {
			t.Errorf("node %d was killed, and noted a clean stop", i+1)
		}
		if conn, err := net.Dial("tcp", c.Endpoints()[i]); err == nil {
			conn.Close()
			t.Errorf("node %d still listens", i+1)
		}
		writeMore()
		if err := c.StartNode(i); err != nil {
			t.Fatal(err)
		}
		if err := c.Ready(ctx); err != nil {
			t.Fatal(err)
		}
	}
	// All at once: what was acknowledged is on the disks.
	stop()
	writers.Wait()
	for i := range c.Endpoints() {
		if err := c.KillNode(i); err != nil {
			t.Error(err)
		}
	}
	for i := range c.Endpoints() {
		if err := c.StartNode(i); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for item, err := range c.Client().List(ctx, []byte("key/"), client.ListOptions{KeysOnly: true}) {
		if err != nil {
			t.Fatal(err)
		}
		there[string(item.Key)] = true
	}
	for key := range acknowledged {
		if !there[key] {
			t.Errorf("%s was acknowledged, and is not there", key)
		}
	}
	t.Logf("%d writes were acknowledged", len(acknowledged))
	if err := c.StopNode(0); err != nil {
		t.Error(err)
	}
	if !c.StoppedClean(0) {
		t.Error("a node that was stopped has not noted it")
	}
}
