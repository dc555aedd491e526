package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
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
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		}
		b, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, 0o644)
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
			found := false
			row, _ := c.examine()
			for _, f := range row.Findings {
				found = found || strings.Contains(f.What, "may have forgotten what it promised") && f.Severity == severityError
			}
			if !found || row.OK {
				t.Errorf("doctor finds %+v", row.Findings)
			}
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
