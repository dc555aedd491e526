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
		do   func(c *cluster, newest string)
	}{
		{"the newest directory is put back", func(c *cluster, newest string) {
			c.stop(0)
			if err := os.Rename(c.nodes[0].data, c.nodes[0].data+"-copy"); err != nil {
				c.t.Fatal(err)
			}
			if err := os.Rename(newest, c.nodes[0].data); err != nil {
				c.t.Fatal(err)
			}
			c.start(0)
			c.until("they serve", func(context.Context) error {
				if r := c.run("kv", "get", "new99", "--timeout", "5s"); r.status != 0 {
					return errors.New(r.stderr)
				}
				return nil
			})
			c.start(2)
		}},
		{"all others are started", func(c *cluster, _ string) { c.start(2) }},
	} {
		t.Run(remedy.name, func(t *testing.T) {
			t.Parallel()
			c := startCluster(t, 3, "--groups", "3")
			set := func(prefix string, n int) {
				args := []string{"kv", "set"}
				for i := range n {
					args = append(args, fmt.Sprintf("%s%d", prefix, i), "v")
				}
				c.run(args...).done(t)
			}
			set("old", 20)
			data, copied, newest := c.nodes[0].data, c.nodes[0].data+"-copied", c.nodes[0].data+"-newest"
			copyTree(t, data, copied)
			c.stop(1)
			set("new", 100)
			c.kill(0)
			c.kill(2)
			if err := os.Rename(data, newest); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(copied, data); err != nil {
				t.Fatal(err)
			}
			c.start(0)
			c.start(1)
			c.until("status says that promises may be forgotten, and who is waited for", func(context.Context) error {
				row, r := c.statusOf(0)
				for _, p := range row.Problems {
					if strings.Contains(p.What, "may have forgotten what it promised") && strings.Contains(p.What, c.nodes[2].addr) &&
						strings.Contains(p.Remedy, "do not empty") && !row.Healthy && r.status == exitRefused {
						return nil
					}
				}
				return fmt.Errorf("status %d: %+v", r.status, row.Problems)
			})
			// Longer than silent voters are waited for, and an election.
			if r := c.run("kv", "get", "new0", "--timeout", "8s"); r.status != exitNoResult {
				t.Fatalf("a get ends with %d: %s%s", r.status, r.stdout, r.stderr)
			}
			c.until("doctor finds it", func(context.Context) error {
				if row, _ := c.examine(); row.OK || !row.says(severityError, "may have forgotten what it promised") {
					return fmt.Errorf("it finds %+v", row.Findings)
				}
				return nil
			})
			remedy.do(c, newest)
			c.healthy()
			for _, keys := range []struct {
				prefix string
				n      int
			}{{"old", 20}, {"new", 100}} {
				args := []string{"kv", "get"}
				for i := range keys.n {
					args = append(args, fmt.Sprintf("%s%d", keys.prefix, i))
				}
				if r := c.run(args...); r.status != 0 {
					t.Errorf("%s: status %d: %s", keys.prefix, r.status, r.stderr)
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
			c := startCluster(t, 3, "--groups", "3")
			set := func(prefix string, n int) {
				args := []string{"kv", "set"}
				for i := range n {
					args = append(args, fmt.Sprintf("%s%d", prefix, i), "v")
				}
				c.run(args...).done(t)
			}
			set("old", 20)
			log := filepath.Join(c.nodes[0].data, "log")
			copied, newest := c.nodes[0].data+"-copied", c.nodes[0].data+"-newest"
			copyTree(t, log, copied)
			c.stop(1)
			set("new", 100)
			c.until("n1 rests", func(context.Context) error {
				return reachedEnd(t, c.nodes[0].data)
			})
			c.kill(0)
			c.kill(2)
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
				r := muster(t, "log", "verify", c.nodes[0].data)
				if strings.Contains(r.stdout, "the log is from an earlier moment") != want || (r.status == exitRefused) != want {
					t.Errorf("verify: status %d\n%s%s", r.status, r.stdout, r.stderr)
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
			c.start(0)
			c.start(1)
			c.until("status says that promises may be forgotten, and who is waited for", func(context.Context) error {
				row, r := c.statusOf(0)
				for _, p := range row.Problems {
					if strings.Contains(p.What, "the log is from an earlier moment") && strings.Contains(p.What, c.nodes[2].addr) && !row.Healthy {
						return nil
					}
				}
				return fmt.Errorf("status %d: %+v", r.status, row.Problems)
			})
			// Longer than silent voters are waited for, and an election.
			if r := c.run("kv", "get", "new0", "--timeout", "8s"); r.status != exitNoResult {
				t.Fatalf("a get ends with %d: %s%s", r.status, r.stdout, r.stderr)
			}
			c.start(2)
			c.healthy()
			args := []string{"kv", "get"}
			for i := range 100 {
				args = append(args, fmt.Sprintf("new%d", i))
			}
			if r := c.run(args...); r.status != 0 {
				t.Errorf("status %d: %s", r.status, r.stderr)
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
	c := startCluster(t, 3, "--groups", "2")
	c.run("kv", "set", "old", "v").done(t)
	swap := func(away, back string) {
		for i := range 2 {
			data := c.nodes[i].data
			if err := os.Rename(data, data+away); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(data+back, data); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 2 {
			c.start(i)
		}
	}
	for i := range c.nodes {
		c.stop(i)
	}
	for i := range 2 {
		copyTree(t, c.nodes[i].data, c.nodes[i].data+"-copied")
		c.start(i)
	}
	// The third one is down, so that nobody knows later what these two have promised.
	c.run("kv", "set", "between", "v").done(t)
	c.stop(0)
	c.stop(1)
	swap("-newest", "-copied")
	c.start(2)
	c.healthy()
	c.run("kv", "set", "since", "v").done(t)
	c.stop(0)
	c.stop(1)
	swap("-served", "-newest")
	for i := range 2 {
		c.until("status names the remedy", func(context.Context) error {
			row, r := c.statusOf(i)
			for _, p := range row.Problems {
				if strings.Contains(p.What, "older than what they promised") && strings.Contains(p.Remedy, "the directories with which they last served the group, be these copies") {
					return nil
				}
			}
			return fmt.Errorf("status %d: %+v", r.status, row.Problems)
		})
	}
	c.stop(0)
	c.stop(1)
	swap("-again", "-served")
	c.healthy()
	c.run("kv", "get", "since").done(t)
	c.run("kv", "get", "old").done(t)
}
