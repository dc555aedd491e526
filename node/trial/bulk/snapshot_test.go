package bulk

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"muster/node/trial/clustertest"
	"muster/repl/client"
)

// overwriteMB is how much the tests of the disk's bound write. The whole, as the
// design promises it, is -overwrite 1024 or more.
var overwriteMB = flag.Int("overwrite", 384, "write so many `MB` in TestDiskIsBounded, through a tenth of them, and in TestIdleGroupsPinNothing")

// writer writes numbered values to a few keys, over and over, and remembers what
// was acknowledged.
type writer struct {
	c    *clustertest.Cluster
	cl   *client.Client
	keys int
	size int
	tags int // how many slots the keys lie in at most

	mu    sync.Mutex
	acked []uint64 // by key: the newest number; guarded by mu
	sent  []uint64 // by key; guarded by mu
}

// writers is how many values are written at a time.
const writers = 16

func newWriter(c *clustertest.Cluster, keys, size int) *writer {
	keys -= keys % writers // each key has one writer
	return &writer{c: c, cl: c.Client(), keys: keys, size: size, tags: keys, acked: make([]uint64, keys), sent: make([]uint64, keys)}
}

func (w *writer) key(i int) []byte { return fmt.Appendf(nil, "over/{%d}/%d/%04d", i%w.tags, w.size, i) }

// write writes so many values.
func (w *writer) write(n int) {
	w.c.T.Helper()
	var ended sync.WaitGroup
	for k := range writers {
		ended.Go(func() {
			value := make([]byte, w.size)
			for i := k; i < n; i += writers {
				key := i % w.keys
				w.mu.Lock()
				w.sent[key]++
				number := w.sent[key]
				w.mu.Unlock()
				copy(value, fmt.Appendf(nil, "%020d", number))
				ctx, cancel := context.WithTimeout(context.Background(), clustertest.ReadyMax)
				_, err := w.cl.Set(ctx, w.key(key), value, client.WriteOptions{})
				cancel()
				if err != nil {
					w.c.T.Errorf("write %s: %v", w.key(key), err)
					return
				}
				w.mu.Lock()
				w.acked[key] = max(w.acked[key], number)
				w.mu.Unlock()
			}
		})
	}
	ended.Wait()
}

// found waits until all keys were read as they were acknowledged, of one node's own copy or
// of the cluster's. A key that was found is not read again: on a busy machine thousands of
// them take longer than one check may.
func (w *writer) found(what string, cl *client.Client, o client.ReadOptions) {
	w.c.T.Helper()
	next := 0
	w.c.Until(what, func(ctx context.Context) error {
		for ; next < w.keys; next++ {
			if err := w.check(ctx, next, cl, o); err != nil {
				return err
			}
		}
		return nil
	})
}

// check reads one key.
func (w *writer) check(ctx context.Context, i int, cl *client.Client, o client.ReadOptions) error {
	w.mu.Lock()
	acked, sent := w.acked[i], w.sent[i]
	w.mu.Unlock()
	if acked == 0 {
		return nil
	}
	items, _, err := cl.Get(ctx, [][]byte{w.key(i)}, o)
	if err != nil {
		return err
	}
	if len(items) != 1 || len(items[0].Value) != w.size {
		return fmt.Errorf("%s is not there", w.key(i))
	}
	got, err := strconv.ParseUint(string(items[0].Value[:20]), 10, 64)
	if err != nil || got < acked || got > sent {
		return fmt.Errorf("%s has number %d (%v), %d was acknowledged", w.key(i), got, err, acked)
	}
	if !bytes.Equal(items[0].Value[20:], make([]byte, w.size-20)) {
		return fmt.Errorf("%s is not what was written", w.key(i))
	}
	return nil
}

// bytesOnDisk is what a node's data directory has now.
func bytesOnDisk(t testing.TB, dir string) (bytes int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil {
				bytes += info.Size()
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = nil // removed meanwhile
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}

func snapshotFiles(p *clustertest.Process) (names []string) {
	names, _ = filepath.Glob(filepath.Join(p.Data, "snap", "*.snap"))
	return names
}

// A node that was down while the others compacted their logs catches up by a
// snapshot, while writes go on, though it is killed in the midst of it; and all
// of them find the same again after they were all killed. One would doubt it:
// what it needs is in no log any more, and what it takes is not its own.
func TestNodeComesBackBySnapshot(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 3, "--groups", "1", "--snapshot-rate", "12000000")
	w := newWriter(c, 96, 64<<10) // 6 MB
	w.write(10)
	c.Kill(2)
	c.Until("the others have compacted their logs", func(context.Context) error {
		w.write(100)
		for _, p := range c.Nodes[:2] {
			if len(snapshotFiles(p)) == 0 {
				return errors.New("no snapshot yet")
			}
		}
		return nil
	})
	stop := make(chan struct{})
	var writing sync.WaitGroup
	writing.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				w.write(32)
			}
		}
	})
	c.Start(2)
	c.Until("a snapshot is arriving", func(context.Context) error {
		if some, _ := filepath.Glob(filepath.Join(c.Nodes[2].Data, "snap", "*")); len(some) == 0 {
			return errors.New("nothing has come")
		}
		return nil
	})
	c.Kill(2)
	c.Start(2)
	c.Until("a snapshot is installed", func(context.Context) error {
		if len(snapshotFiles(c.Nodes[2])) == 0 {
			return errors.New("there is none")
		}
		return nil
	})
	close(stop)
	writing.Wait()
	w.found("n3 has all", clustertest.ClientOf(c, 2), client.ReadOptions{Local: true})
	for i := range c.Nodes {
		c.Kill(i)
	}
	for i := range c.Nodes {
		c.Start(i)
	}
	c.Healthy()
	w.found("all is there", w.cl, client.ReadOptions{})
}

// However much is written over the same keys, the disk holds no more than some
// times what there is: also of the nodes whose neighbour takes nothing, and of
// that one once it is back.
func TestDiskIsBounded(t *testing.T) {
	t.Parallel()
	total := int64(*overwriteMB) << 20
	groups := "2"
	if *overwriteMB >= 1024 {
		groups = "8"
	}
	c := clustertest.Start(t, 3, "--groups", groups, "--snapshot-rate", "0")
	const size = 16 << 10
	w := newWriter(c, int(total/10/size), size)
	most := int64(0)
	look := func() {
		for i, p := range c.Nodes {
			n := bytesOnDisk(t, p.Data)
			if most = max(most, n); n >= total {
				t.Fatalf("n%d has %d MB on disk after %d MB were written", i+1, n>>20, total>>20)
			}
		}
	}
	const parts = 20
	for part := range parts {
		switch part {
		case parts / 4: // one that takes nothing, and does not hang up
			c.Nodes[2].Cmd.Process.Signal(syscall.SIGSTOP)
		case parts / 2:
			c.Nodes[2].Cmd.Process.Signal(syscall.SIGCONT)
		case parts * 3 / 4:
			c.Kill(2)
		}
		w.write(int(total / size / parts))
		look()
	}
	c.Start(2)
	c.Healthy()
	w.found("n3 has all", clustertest.ClientOf(c, 2), client.ReadOptions{Local: true})
	look()
	t.Logf("%d MB written through %d MB, at most %d MB on a disk", total>>20, total/10>>20, most>>20)
	printed, err := os.ReadFile(c.Nodes[2].Log)
	if err != nil || !bytes.Contains(printed, []byte("snapshot installed")) {
		t.Error("n3 came back without a snapshot: the test shows little")
	}
}

// A thousand groups that were written to once and rest keep no old segment: the
// little that they need of it is written again. One would doubt it: of each group
// something stands there that is needed, and none of them ever has enough of the
// log to take a snapshot for its own sake.
//
// While writing goes on, how much there is on the disk depends on how fast it is:
// between two looks at which group is due, a fast one takes as much as it can. So
// what is waited for is what must come about: the files that the groups were
// written to are gone, and the disk holds no more than docs/operating.md says.
func TestIdleGroupsPinNothing(t *testing.T) {
	t.Parallel()
	total := int64(*overwriteMB) << 20
	c := clustertest.Start(t, 1, "--groups", "1000", "--snapshot-rate", "0")
	const size = 16 << 10
	idle := newWriter(c, 4096, 512)
	idle.write(4096)
	old := newestSegment(t, c.Nodes[0])
	busy := newWriter(c, 64, size)
	busy.tags = 4
	most := int64(0)
	for range 32 {
		busy.write(int(total / size / 32))
		most = max(most, bytesOnDisk(t, c.Nodes[0].Data))
	}
	planned := int64(4*(idle.keys*idle.size+busy.keys*busy.size)) + 320<<20
	if planned >= total {
		t.Fatalf("-overwrite %d shows nothing: %d MB may be on the disk", *overwriteMB, planned>>20)
	}
	c.Until("the old files are gone", func(context.Context) error {
		if segments := segmentFiles(c.Nodes[0]); len(segments) == 0 || segments[0] <= old {
			return fmt.Errorf("%s is the newest that was there before; there are %v", old, segments)
		}
		if n := bytesOnDisk(t, c.Nodes[0].Data); n > planned {
			return fmt.Errorf("%d MB on disk after %d MB were written, %d at most are planned for", n>>20, total>>20, planned>>20)
		}
		return nil
	})
	t.Logf("%d MB written, at most %d MB on the disk, then %d", total>>20, most>>20, bytesOnDisk(t, c.Nodes[0].Data)>>20)
	c.Kill(0)
	c.Start(0)
	c.Healthy()
	busy.found("all is there", busy.cl, client.ReadOptions{})
	idle.found("what rested is there", idle.cl, client.ReadOptions{})
}

// segmentFiles are the names of the files of a node's log, oldest first.
func segmentFiles(p *clustertest.Process) []string {
	names, _ := filepath.Glob(filepath.Join(p.Data, "log", "*.log"))
	slices.Sort(names)
	return names
}

func newestSegment(t testing.TB, p *clustertest.Process) string {
	t.Helper()
	names := segmentFiles(p)
	if len(names) == 0 {
		t.Fatalf("no log in %s", p.Data)
	}
	return names[len(names)-1]
}
