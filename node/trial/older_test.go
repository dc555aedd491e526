package trial

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/node/trial/clustertest"
)

// copyTree copies a data directory as an operator would, while it is written to or
// not. A file that goes away meanwhile is left out.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(name string, d os.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), info.Mode().Perm())
		}
		b, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, info.Mode().Perm())
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The data directory of one of three nodes is copied while it runs; another node is
// stopped; the two write; both are killed, and the copy is put back. Copy and the
// node that was stopped are two of three, and neither has what was written since.
// Without the third they must not serve, and must say why. Each remedy that they
// name brings back every write.
func TestCopyPutBack(t *testing.T) {
	t.Parallel()
	for _, remedy := range []struct {
		name string
		do   func(c *clustertest.Cluster, newest string)
	}{
		{"the newest directory is put back", func(c *clustertest.Cluster, newest string) {
			c.Stop(0)
			if err := os.Rename(c.Nodes[0].Data, c.Nodes[0].Data+"-copy"); err != nil {
				c.T.Fatal(err)
			}
			if err := os.Rename(newest, c.Nodes[0].Data); err != nil {
				c.T.Fatal(err)
			}
			c.Start(0)
			c.Until("they serve", func(context.Context) error {
				if r := c.Run("kv", "get", "new99", "--timeout", "5s"); r.Status != 0 {
					return errors.New(r.Stderr)
				}
				return nil
			})
			c.Start(2)
		}},
		{"all others are started", func(c *clustertest.Cluster, _ string) { c.Start(2) }},
	} {
		t.Run(remedy.name, func(t *testing.T) {
			t.Parallel()
			c := clustertest.Start(t, 3, "--groups", "3")
			set := func(prefix string, n int) {
				args := []string{"kv", "set"}
				for i := range n {
					args = append(args, fmt.Sprintf("%s%d", prefix, i), "v")
				}
				c.Run(args...).Done(t)
			}
			set("old", 20)
			data, copied, newest := c.Nodes[0].Data, c.Nodes[0].Data+"-copied", c.Nodes[0].Data+"-newest"
			copyTree(t, data, copied)
			c.Stop(1)
			set("new", 100)
			c.Kill(0)
			c.Kill(2)
			if err := os.Rename(data, newest); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(copied, data); err != nil {
				t.Fatal(err)
			}
			c.Start(0)
			c.Start(1)
			c.Until("status says that promises may be forgotten, and who is waited for", func(context.Context) error {
				row, r := statusOf(c, 0)
				for _, p := range row.Problems {
					if strings.Contains(p.What, "may have forgotten what it promised") && strings.Contains(p.What, c.Nodes[2].Addr) &&
						strings.Contains(p.Remedy, "do not empty") && !row.Healthy && r.Status == clustertest.ExitRefused {
						return nil
					}
				}
				return fmt.Errorf("status %d: %+v", r.Status, row.Problems)
			})
			// Longer than silent voters are waited for, and an election.
			if r := c.Run("kv", "get", "new0", "--timeout", "8s"); r.Status != clustertest.ExitNoResult {
				t.Fatalf("a get ends with %d: %s%s", r.Status, r.Stdout, r.Stderr)
			}
			c.Until("doctor finds it", func(context.Context) error {
				if row, _ := examine(c); row.OK || !row.says(severityError, "may have forgotten what it promised") {
					return fmt.Errorf("it finds %+v", row.Findings)
				}
				return nil
			})
			remedy.do(c, newest)
			c.Healthy()
			for _, keys := range []struct {
				prefix string
				n      int
			}{{"old", 20}, {"new", 100}} {
				args := []string{"kv", "get"}
				for i := range keys.n {
					args = append(args, fmt.Sprintf("%s%d", keys.prefix, i))
				}
				if r := c.Run(args...); r.Status != 0 {
					t.Errorf("%s: status %d: %s", keys.prefix, r.Status, r.Stderr)
				}
			}
		})
	}
}

// The log alone comes back from an earlier moment of the same life, beside the newest
// identity and witness: by mv, and written over the files, which keep their inodes.
// Another node was down when the writes were acknowledged that it lacks. The two must
// not serve without them, and say why; verify says it before they start. To move the
// newest log back before the start leaves no doubt; all others bring back every write.
func TestOlderLogPutBack(t *testing.T) {
	t.Parallel()
	for _, over := range []bool{false, true} {
		t.Run(fmt.Sprintf("written over %t", over), func(t *testing.T) {
			t.Parallel()
			c := clustertest.Start(t, 3, "--groups", "3")
			set := func(prefix string, n int) {
				args := []string{"kv", "set"}
				for i := range n {
					args = append(args, fmt.Sprintf("%s%d", prefix, i), "v")
				}
				c.Run(args...).Done(t)
			}
			set("old", 20)
			log := filepath.Join(c.Nodes[0].Data, "log")
			copied, newest := c.Nodes[0].Data+"-copied", c.Nodes[0].Data+"-newest"
			copyTree(t, log, copied)
			c.Stop(1)
			set("new", 100)
			c.Until("n1 rests", func(context.Context) error {
				return reachedEnd(t, c.Nodes[0].Data)
			})
			c.Kill(0)
			c.Kill(2)
			putBack := func() {
				if over {
					copyTree(t, log, newest)
					copyTree(t, copied, log)
					return
				}
				if err := os.Rename(log, newest); err != nil {
					t.Fatal(err)
				}
				copyTree(t, copied, log)
			}
			putBack()
			doubted := func(want bool) {
				t.Helper()
				r := clustertest.Run(t, "log", "verify", c.Nodes[0].Data)
				if strings.Contains(r.Stdout, "the log is from an earlier moment") != want || (r.Status == clustertest.ExitRefused) != want {
					t.Errorf("verify: status %d\n%s%s", r.Status, r.Stdout, r.Stderr)
				}
			}
			doubted(true)
			if !over { // the remedy before the start
				if err := os.Rename(log, log+"-older"); err != nil {
					t.Fatal(err)
				}
				if err := os.Rename(newest, log); err != nil {
					t.Fatal(err)
				}
				doubted(false)
				putBack()
			}
			c.Start(0)
			c.Start(1)
			c.Until("status says that promises may be forgotten, and who is waited for", func(context.Context) error {
				row, r := statusOf(c, 0)
				for _, p := range row.Problems {
					if strings.Contains(p.What, "the log is from an earlier moment") && strings.Contains(p.What, c.Nodes[2].Addr) && !row.Healthy {
						return nil
					}
				}
				return fmt.Errorf("status %d: %+v", r.Status, row.Problems)
			})
			// Longer than silent voters are waited for, and an election.
			if r := c.Run("kv", "get", "new0", "--timeout", "8s"); r.Status != clustertest.ExitNoResult {
				t.Fatalf("a get ends with %d: %s%s", r.Status, r.Stdout, r.Stderr)
			}
			c.Start(2)
			c.Healthy()
			args := []string{"kv", "get"}
			for i := range 100 {
				args = append(args, fmt.Sprintf("new%d", i))
			}
			if r := c.Run(args...); r.Status != 0 {
				t.Errorf("status %d: %s", r.Status, r.Stderr)
			}
		})
	}
}

// reachedEnd returns an error while the witness of a running node does not say that
// the log was synced up to its last batch with a record.
func reachedEnd(t *testing.T, data string) error {
	t.Helper()
	id, _, err := logstore.ReadIdentity(vfs.OSReadOnly{}, data)
	if err != nil {
		return err
	}
	_, reached, _, err := logstore.StatWitness(vfs.OSReadOnly{}, data, id.Node)
	if err != nil {
		return err
	}
	last := uint64(0)
	err = logstore.Walk(vfs.OSReadOnly{}, data, func(w *logstore.Walked) error {
		if w.Replica.ID != 0 || w.Note != nil {
			last = max(last, w.Batch)
		}
		return nil
	})
	if err == nil && uint64(reached.Batch) < last {
		err = fmt.Errorf("the witness says batch %d, and there is batch %d", reached.Batch, last)
	}
	return err
}

// Groups continue on older copies of a majority's directories; then the newest
// directories are put back. What was acknowledged since is in the copies only, so the groups stop; and
// the remedy that status names, followed to the letter, brings them back.
func TestNewestPutBackAfterCopiesServed(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 3, "--groups", "2")
	c.Run("kv", "set", "old", "v").Done(t)
	swap := func(away, back string) {
		for i := range 2 {
			data := c.Nodes[i].Data
			if err := os.Rename(data, data+away); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(data+back, data); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 2 {
			c.Start(i)
		}
	}
	for i := range c.Nodes {
		c.Stop(i)
	}
	for i := range 2 {
		copyTree(t, c.Nodes[i].Data, c.Nodes[i].Data+"-copied")
		c.Start(i)
	}
	// The third one is down, so that nobody knows later what these two have promised.
	c.Run("kv", "set", "between", "v").Done(t)
	c.Stop(0)
	c.Stop(1)
	swap("-newest", "-copied")
	c.Start(2)
	c.Healthy()
	c.Run("kv", "set", "since", "v").Done(t)
	c.Stop(0)
	c.Stop(1)
	swap("-served", "-newest")
	for i := range 2 {
		c.Until("status names the remedy", func(context.Context) error {
			row, r := statusOf(c, i)
			for _, p := range row.Problems {
				if strings.Contains(p.What, "older than what they promised") && strings.Contains(p.Remedy, "the directories with which they last served the group, be these copies") {
					return nil
				}
			}
			return fmt.Errorf("status %d: %+v", r.Status, row.Problems)
		})
	}
	c.Stop(0)
	c.Stop(1)
	swap("-again", "-served")
	c.Healthy()
	c.Run("kv", "get", "since").Done(t)
	c.Run("kv", "get", "old").Done(t)
}
