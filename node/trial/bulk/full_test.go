package bulk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"muster/node/trial/clustertest"
	"muster/repl/client"
)

// diskBytes is the size of each node's disk: some segments, and the first
// snapshots.
const diskBytes = 48 << 20

// smallDiskBytes is less than the log that makes a group due for a snapshot.
const smallDiskBytes = 24 << 20

// diskCluster is a cluster whose nodes have a file system of their own each.
type diskCluster struct {
	*clustertest.Cluster
	next int
	kept map[string]string // what was acknowledged and not deleted
}

// newDiskCluster mounts a small tmpfs for each node and starts them.
func newDiskCluster(t *testing.T, diskBytes int) *diskCluster {
	t.Helper()
	c := &diskCluster{Cluster: clustertest.New(t, 3, "--groups", "3"), kept: map[string]string{}}
	for _, p := range c.Nodes {
		if err := os.Mkdir(p.Data, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mount("tmpfs", p.Data, "tmpfs", 0, fmt.Sprintf("size=%d", diskBytes)); err != nil {
			t.Skipf("FULL DISKS ARE NOT TESTED: mount a tmpfs: %v (it takes root)", err)
		}
		t.Cleanup(func() {
			if err := syscall.Unmount(p.Data, syscall.MNT_DETACH); err != nil {
				t.Errorf("unmount %s: %v", p.Data, err)
			}
		})
	}
	for i := range c.Nodes {
		c.Start(i)
	}
	c.Healthy()
	return c
}

func (c *diskCluster) filler(i int) string { return filepath.Join(c.Nodes[i].Data, "filler") }

// fill takes all the room that is left on a node's disk, for a file of somebody
// else.
func (c *diskCluster) fill(i int) {
	c.T.Helper()
	f, err := os.OpenFile(c.filler(i), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		c.T.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size >= 4096; {
		if _, err := f.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else if err != nil {
			c.T.Fatal(err)
		}
	}
}

// clear gives the room back.
func (c *diskCluster) clear(i int) {
	c.T.Helper()
	if err := os.Remove(c.filler(i)); err != nil {
		c.T.Fatal(err)
	}
}

// write sets some keys to 16 KiB each, all at once, and returns the first error.
// All that was acknowledged is remembered.
func (c *diskCluster) write(cl *client.Client, n int, max time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), max)
	defer cancel()
	var mu sync.Mutex
	var first error
	var all sync.WaitGroup
	for range n {
		c.next++
		key := fmt.Sprintf("key/%d", c.next)
		value := strings.Repeat(fmt.Sprintf("%08d", c.next), 2048)
		all.Go(func() {
			_, err := cl.Set(ctx, []byte(key), []byte(value), client.WriteOptions{})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				c.kept[key] = value
			} else if first == nil {
				first = err
			}
		})
	}
	all.Wait()
	return first
}

// full returns an error unless a node's status names the nodes of some
// numbers, and no others, as full.
func (c *diskCluster) full(ctx context.Context, cl *client.Client, of int, numbers ...int) error {
	a, err := cl.Status(ctx, c.Nodes[of].Addr)
	if err != nil {
		return err
	}
	want := map[string]bool{}
	for _, i := range numbers {
		want[c.Nodes[i].Addr] = true
	}
	for _, p := range a.Problems {
		if !strings.Contains(p.What, "is full") {
			return fmt.Errorf("another problem: %s", p.What)
		}
		if !strings.Contains(p.Remedy, "make room") {
			return fmt.Errorf("no remedy: %s", p.Remedy)
		}
		found := false
		for addr := range want {
			if strings.Contains(p.What, addr) {
				delete(want, addr)
				found = true
			}
		}
		if !found {
			return fmt.Errorf("too many: %s", p.What)
		}
	}
	if len(want) > 0 {
		return fmt.Errorf("full is only %v, not %v", a.Problems, want)
	}
	return nil
}

// writeUntilFull writes until a node calls those of some numbers full. No write
// may fail.
func (c *diskCluster) writeUntilFull(cl *client.Client, of int, numbers ...int) {
	c.T.Helper()
	c.Until(fmt.Sprintf("full: %v", numbers), func(context.Context) error {
		for _, i := range numbers {
			c.fill(i) // a snapshot may have given some back
		}
		if err := c.write(cl, 8, clustertest.ReadyMax); err != nil {
			c.T.Fatalf("a write while a minority is full: %v", err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), clustertest.ReadyMax)
		defer cancel()
		return c.full(ctx, cl, of, numbers...)
	})
}

// readBack finds all that was acknowledged.
func (c *diskCluster) readBack(cl *client.Client) {
	c.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), clustertest.ReadyMax)
	defer cancel()
	for key, value := range c.kept {
		got, _, ok, err := cl.GetOne(ctx, []byte(key), nil, client.ReadOptions{})
		if err != nil || !ok || string(got) != value {
			c.T.Fatalf("%s was acknowledged; read: there %v, %d bytes, %v", key, ok, len(got), err)
		}
	}
}

// delete removes one key that is there.
func (c *diskCluster) delete(cl *client.Client) {
	c.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), clustertest.ReadyMax)
	defer cancel()
	for key := range c.kept {
		gone, err := cl.Delete(ctx, []byte(key))
		if err != nil || len(gone) != 1 || gone[0].Count != 1 {
			c.T.Fatalf("delete %s on full disks: %+v, %v", key, gone, err)
		}
		delete(c.kept, key)
		return
	}
}

// verify stops the nodes and finds no damage in their logs.
func (c *diskCluster) verify() {
	c.T.Helper()
	for i := range c.Nodes {
		c.Stop(i)
		if r := clustertest.Run(c.T, "log", "verify", c.Nodes[i].Data); r.Status != clustertest.ExitDone {
			c.T.Fatalf("log verify of n%d: status %d, %s%s", i+1, r.Status, r.Stdout, r.Stderr)
		}
	}
}

// A full disk of one node is no trouble of its users: of a follower, others do
// without it; of a leader, others lead. It is named in status, and catches up by
// itself when there is room.
func TestOneDiskFull(t *testing.T) {
	t.Parallel()
	c := newDiskCluster(t, diskBytes)
	cl := c.Client()
	if err := c.write(cl, 20, clustertest.ReadyMax); err != nil {
		t.Fatal(err)
	}
	lead := c.Leads(0)
	other := (lead + 1) % 3
	c.fill(lead)
	c.writeUntilFull(cl, other, lead)
	c.Until("led by others", func(ctx context.Context) error {
		c.fill(lead)
		a, err := cl.Status(ctx, c.Nodes[other].Addr)
		if err != nil {
			return err
		}
		for _, g := range a.Groups {
			if i := c.NumberOf(a, g); i == lead || i < 0 {
				return fmt.Errorf("group %d is led by number %d", g.ID, i)
			}
		}
		return nil
	})
	for range 10 {
		if err := c.write(cl, 16, clustertest.ReadyMax); err != nil {
			t.Fatalf("a write while one disk is full: %v", err)
		}
	}
	c.readBack(cl)
	c.Kill(lead)
	c.Start(lead)
	c.Until("full after SIGKILL and a start", func(ctx context.Context) error {
		c.fill(lead)
		return c.full(ctx, cl, lead, lead)
	})
	if err := c.write(cl, 16, clustertest.ReadyMax); err != nil {
		t.Fatalf("a write after a node was killed with a full disk: %v", err)
	}
	c.clear(lead)
	c.Healthy()
	// It has all, by itself: one of the others is not needed.
	c.Kill(other)
	if err := c.write(cl, 16, clustertest.ReadyMax); err != nil {
		t.Fatalf("a write with the node that was full, and without another: %v", err)
	}
	c.readBack(cl)
	c.Start(other)
	c.Healthy()
	c.verify()
}

// Where the disks of all nodes are full, writes are refused with one line that
// says whose and what to do; reads and deletes pass, SIGKILL and a start on the
// full disk do no harm, and when there is room it goes on by itself.
func TestAllDisksFull(t *testing.T) {
	t.Parallel()
	c := newDiskCluster(t, diskBytes)
	cl := c.Client()
	if err := c.write(cl, 20, clustertest.ReadyMax); err != nil {
		t.Fatal(err)
	}
	c.Until("full, says status", func(ctx context.Context) error {
		for i := range c.Nodes {
			c.fill(i)
		}
		if err := c.write(cl, 8, time.Second); err == nil {
			return errors.New("writes are done")
		}
		s := c.Run("status")
		if s.Status != clustertest.ExitRefused || strings.Count(s.Stdout, "is full") < 2 || !strings.Contains(s.Stdout, "make room") {
			return fmt.Errorf("status %d, a majority of disks is full:\n%s", s.Status, s.Stdout)
		}
		return nil
	})
	tries := 0
	refused := map[string]bool{}
	refuse := func() {
		t.Helper()
		c.Until("refused", func(context.Context) error {
			for i := range c.Nodes {
				c.fill(i) // a snapshot may have given some back
			}
			tries++
			key, value := fmt.Sprintf("refused/%d", tries), strings.Repeat("v", 1000)
			r := c.Run("kv", "set", key, value, "--timeout", "1s")
			if r.Status == clustertest.ExitDone {
				c.kept[key] = value
				return errors.New("it was done")
			}
			if r.Status != clustertest.ExitNoResult || strings.Count(r.Stderr, "\n") != 1 {
				t.Errorf("status %d, want %d and one line: %q", r.Status, clustertest.ExitNoResult, r.Stderr)
			}
			for _, word := range []string{"full: group", "no room on disk, nothing was applied", "make room there", "127.0.0.1:"} {
				if !strings.Contains(r.Stderr, word) {
					return fmt.Errorf("the refusal does not say %q: %s", word, r.Stderr)
				}
			}
			refused[key] = true
			return nil
		})
	}
	refuse()
	c.delete(cl)
	c.readBack(cl)
	for range 2 {
		for i := range c.Nodes {
			c.Kill(i)
		}
		for i := range c.Nodes {
			c.Start(i)
		}
		c.readBack(cl)
		c.delete(cl)
		refuse()
	}
	for key := range refused {
		if r := c.Run("kv", "get", key); r.Status != clustertest.ExitNotFound {
			t.Errorf("what was refused is there: status %d, %s", r.Status, r.Stdout)
		}
	}
	for i := range c.Nodes {
		c.clear(i)
	}
	if err := c.write(cl, 16, clustertest.ReadyMax); err != nil {
		t.Fatalf("a write when there is room: %v", err)
	}
	c.Healthy()
	c.readBack(cl)
	c.verify()
}

// A disk that is too small for the log as it comes, but not for what is in it,
// serves for ever: on each node snapshots free the log, in the headroom that was
// kept for them.
func TestSmallDiskGoesOn(t *testing.T) {
	t.Parallel()
	c := newDiskCluster(t, smallDiskBytes)
	cl := c.Client()
	written := 0
	for written < 2*smallDiskBytes {
		c.next = 0 // the same keys again
		if err := c.write(cl, 24, clustertest.ReadyMax); err != nil {
			t.Fatalf("after %d bytes, on disks of %d: %v", written, smallDiskBytes, err)
		}
		written += 24 * 16 << 10
	}
	c.readBack(cl)
	for i := range c.Nodes {
		c.Kill(i)
	}
	for i := range c.Nodes {
		c.Start(i)
	}
	c.readBack(cl)
	c.verify()
}
