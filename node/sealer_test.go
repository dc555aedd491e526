package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/logstore/blocks"
	"muster/logstore/vfs"
	"muster/raft"
	"muster/repl"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/points/block"
)

// sealedCluster is a cluster of three nodes, and who writes points to it.
type sealedCluster struct {
	nodes   []*runningNode
	configs []Config
	writer  *pointsWriter
	at      int64 // the beginning of the window
	series  int   // that were written
	written int64
}

const sealedHour = int64(time.Hour)

// newSealedCluster returns a cluster whose nodes keep so many bytes of points in memory.
func newSealedCluster(t *testing.T, memory int) *sealedCluster {
	c := &sealedCluster{at: time.Now().UnixNano() / sealedHour * sealedHour}
	nodes, cl := cluster(t, 3, func(x *Config) {
		x.PointsMemory = memory
		c.configs = append(c.configs, *x)
	})
	c.nodes = nodes
	raised(t, nodes)
	policy := databaseOrdered(t, nodes, "metrics", shardmap.PolicySpec{WindowDuration: time.Hour, Shards: 4})
	c.writer = newPointsWriter(t, nodes[0], cl, policy)
	return c
}

// write writes points of as many new series.
func (c *sealedCluster) write(ctx context.Context, n int) {
	c.written += int64(c.writer.write(ctx, c.at, seriesLines(c.series, n, c.at)))
	c.series += n
}

// seriesLines returns a line for each of n series, of which first is the first.
func seriesLines(first, n int, at int64) string {
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "cpu,host=h%d v=%d %d\n", first+i, i, at+int64(first+i))
	}
	return text.String()
}

// sealedState is what a node has of the points of a group.
type sealedState struct {
	named   []block.Sum // the files that the state names
	digests []wire.AuditRow
	heads   int64 // bytes of frozen heads and those that are kept
}

// state returns what a node has of a group.
func (r *runningNode) state(g raft.GroupID) (s sealedState, files blocks.Group, err error) {
	loop := r.node.running()
	if loop == nil {
		return s, files, errors.New("the node does not serve yet")
	}
	err = errors.New("the group is not here")
	loop.Ask(func(h *repl.Host) {
		m, ok := h.Machine(g).(*machine.Map)
		if !ok {
			return
		}
		err = nil
		s.named, s.digests, files = m.BlockFiles(), m.Digests(nil), blocks.Group{ID: g, Incarnation: m.Incarnation()}
		for _, x := range m.State.Shards() {
			for _, k := range x.KeptHeads() {
				s.heads += k.Bytes
			}
			for _, f := range x.Points.FrozenHeads() {
				s.heads += f.Bytes
			}
		}
	})
	return s, files, err
}

// settled waits until all nodes have the same files, as many as wanted at least, which their states name, and no frozen head any
// more.
func (c *sealedCluster) settled(t *testing.T, want int) {
	t.Helper()
	groups := map[raft.GroupID]bool{}
	for _, g := range c.writer.groups {
		groups[g] = true
	}
	until(t, "all nodes have the same files", func() error {
		files := 0
		for g := range groups {
			var first sealedState
			for i, r := range c.nodes {
				s, of, err := r.state(g)
				if err != nil {
					return err
				}
				var here []block.Sum
				for _, f := range r.node.blocks.Load().List(of) {
					here = append(here, f.Sum)
				}
				if i == 0 {
					first = s
					files += len(s.named)
				}
				for _, sum := range s.named {
					if !slices.Contains(here, sum) {
						return fmt.Errorf("node %d lacks a file of group %d", i, g)
					}
				}
				switch {
				case s.heads > 0:
					return fmt.Errorf("node %d has %d bytes of frozen heads in group %d", i, s.heads, g)
				case !slices.Equal(s.named, first.named) || !slices.Equal(s.digests, first.digests):
					return fmt.Errorf("node %d has another state of group %d", i, g)
				}
			}
		}
		if files < want {
			return fmt.Errorf("there are %d files", files)
		}
		return nil
	})
}

// loseFile removes a block file from the directory of a node that does not run, and returns its name.
func loseFile(t *testing.T, c *Config) string {
	t.Helper()
	files, err := blocks.Files(vfs.OS{}, c.Data)
	if err != nil || len(files) == 0 {
		t.Fatalf("the node has the block files %q, %v; want some", files, err)
	}
	if err := os.Remove(files[0]); err != nil {
		t.Fatal(err)
	}
	return files[0]
}

// Points that take more memory than a node has for them go to files, the same ones on all nodes, and are found there. A
// node that was killed, and lost one of its files, has all of them again.
func TestPointsBecomeFiles(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c := newSealedCluster(t, pointsMemoryMin)
	const series = 2000
	for range 5 {
		c.write(ctx, series)
	}
	c.settled(t, 2)
	counts := func(when string) {
		t.Helper()
		if n := c.writer.count(ctx); n != c.written || n != int64(c.series) {
			t.Errorf("%s %d points are there, want %d, which were written, of %d series", when, n, c.written, c.series)
		}
	}
	counts("at first")
	c.nodes[2].kill()
	c.nodes[2].stop()
	lost := loseFile(t, &c.configs[2])
	c.write(ctx, series)
	c.nodes[2] = start(t, c.configs[2], defaultLimits())
	c.settled(t, 2)
	if _, err := os.Stat(lost); err != nil {
		t.Errorf("a file that was lost is not back: %v", err)
	}
	counts("with a node that came back")
	c.nodes[1].stop()
	counts("without another node")
}

// A node whose disk has no room for files keeps points in memory up to its limit, and refuses more as busy. It takes them
// again when there is room. One that can't tell any more which names of files are durable stops.
func TestPointsWithoutRoomForFiles(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, disk := testConfig(t), vfs.NewFaulty(vfs.NewMem())
	c.PointsMemory, c.Groups = pointsMemoryMin, 1
	full := disk.Add(vfs.Rule{Fault: vfs.Full, Op: "write", Name: path.Join(c.Data, blocks.Dir, "*", "*.tmp"), Times: vfs.Always})
	r, _, ready := startOn(t, disk, c)
	<-ready
	r.serves()
	at := time.Now().UnixNano() / sealedHour * sealedHour
	w := newPointsWriter(t, r, r.library(), databaseOrdered(t, []*runningNode{r}, "metrics", shardmap.PolicySpec{WindowDuration: time.Hour}))
	const n, rounds = 1000, 200
	series := 0
	bring := func() error {
		soon, end := context.WithTimeout(ctx, time.Second) // a client waits for as long as it may where a node is busy
		defer end()
		_, err := w.bring(soon, at, seriesLines(series, n, at))
		return err
	}
	for ; !r.node.sealer.filer.Refuses(); series += n {
		if series == n*rounds {
			t.Fatal("points are taken without a bound")
		}
		_ = bring() // what was not taken is written again below
	}
	until(t, "points are refused as busy", func() error {
		if err := bring(); err == nil || !strings.Contains(err.Error(), "busy: points of node "+r.node.name) || !strings.Contains(err.Error(), "--points-memory") {
			return fmt.Errorf("they are answered with %v", err)
		}
		return nil
	})
	until(t, "a file is tried", func() error {
		if full.Fired() == 0 {
			return errors.New("not yet")
		}
		return nil
	})
	if found := r.node.sealer.problems(); len(found) != 1 || !strings.Contains(found[0].What, "refuses points") {
		t.Errorf("found is %v, want that points are refused", found)
	}
	before := w.count(ctx)
	disk.Drop(full)
	w.write(ctx, at, seriesLines(0, series+n, at))
	if f := r.node.sealer.figures.Load(); f.made.Files == 0 || len(r.node.sealer.rows()) < 2 {
		t.Errorf("the figures are %+v, and %v", f, r.node.sealer.rows())
	}
	if count := w.count(ctx); count != int64(series+n) || before == 0 || before > count {
		t.Errorf("without room %d points are there, and with it %d, want %d", before, count, series+n)
	}
	disk.Add(vfs.Rule{Fault: vfs.Error, Op: "syncdir", Name: path.Join(c.Data, blocks.Dir, "*"), Times: vfs.Always})
	_, _ = w.bring(ctx, at, seriesLines(2*series, 8*n, at)) // the node may be gone before it answers
	if err := r.end(); !errors.Is(err, blocks.ErrStopped) {
		t.Errorf("the node ends with %v", err)
	}
}
