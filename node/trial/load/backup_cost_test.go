package load

import (
	"context"
	"encoding/base64"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"muster/node/trial/clustertest"
	"muster/repl/client"
)

var backupKeys = flag.Int("backupcost", 0, "back up so many keys of 128 bytes")

// backupMemory is what a backup or a restore may have of memory at most.
const backupMemory = 128 << 20

// How fast a backup and a restore are, beside an export and an import of the same keys, and what they take of memory: of the
// commands, and of the nodes, when nothing is written and when all keys are written anew meanwhile.
func TestBackupCost(t *testing.T) {
	clustertest.OnDemand(t, *backupKeys > 0, "./node/trial/load -run TestBackupCost -backupcost 200000 -timeout 20m")
	c := clustertest.Start(t, 3)
	if n := writeTexts(context.Background(), c.Client(), *backupKeys); n != *backupKeys {
		t.Fatalf("%d keys of %d were set", n, *backupKeys)
	}
	lines, file := filepath.Join(c.Dir, "all.jsonl"), filepath.Join(c.Dir, "all.backup")
	size := float64(*backupKeys) * (keyBytes + valueBytes) / 1e6 // of names and values, in MB
	for round := range 3 {
		for _, way := range []struct {
			what string
			args []string
			into string
		}{
			{"kv export", []string{"kv", "export"}, lines},
			{"backup", []string{"backup", file, "--force", "-o", "json"}, filepath.Join(c.Dir, "out")},
		} {
			took, memory := timed(t, c, way.into, way.args...)
			t.Logf("round %d: %-12s %.2f s, %.1f MB/s, memory of the command %d MiB", round, way.what, took.Seconds(), size/took.Seconds(), memory>>20)
			if memory > backupMemory {
				t.Errorf("%s took %d bytes of memory, want %d at most", way.what, memory, backupMemory)
			}
		}
	}
	for _, f := range []string{lines, file} {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s has %.1f MB, the names and values %.1f MB", filepath.Base(f), float64(info.Size())/1e6, size)
	}

	before := memories(t, c)
	writing, stop := context.WithCancel(context.Background())
	ended := make(chan int, 1)
	go func() { ended <- writeTexts(writing, c.Client(), 0) }()
	took, memory := timed(t, c, filepath.Join(c.Dir, "out"), "backup", file, "--force", "-o", "json")
	stop()
	t.Logf("backup while %d keys were written anew: %.2f s, %.1f MB/s, memory of the command %d MiB, of the nodes %v MiB before and %v MiB behind",
		<-ended, took.Seconds(), size/took.Seconds(), memory>>20, before, memories(t, c))
	for i := range c.Nodes {
		c.Kill(i)
	}
	for _, way := range [][]string{{"kv", "import", lines}, {"restore", file}} {
		other := clustertest.Start(t, 3)
		took, memory := timed(t, other, filepath.Join(c.Dir, "out"), way...)
		t.Logf("%-9s into three empty nodes: %.2f s, %.1f MB/s, memory of the command %d MiB, of the nodes %v MiB", way[len(way)-2], took.Seconds(), size/took.Seconds(), memory>>20, memories(t, other))
		for i := range other.Nodes {
			other.Kill(i)
		}
	}
}

// timed runs a command with its output in a file, and returns how long it took and its memory in bytes.
func timed(t *testing.T, c *clustertest.Cluster, into string, args ...string) (took time.Duration, memory int) {
	t.Helper()
	out, err := os.Create(into)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := c.Command(append(args, "--endpoints", c.Endpoints())...)
	cmd.Stdout = out
	began := time.Now()
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	took = time.Since(began)
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		memory = int(usage.Maxrss) << 10
	}
	return took, memory
}

// memories is what the nodes have resident, in MiB.
func memories(t *testing.T, c *clustertest.Cluster) (all []int) {
	t.Helper()
	for _, p := range c.Nodes {
		now, _ := p.Memory(t)
		all = append(all, now>>20)
	}
	return all
}

const (
	keyBytes   = 16
	valueBytes = 128
)

// writeTexts sets keys, one after the other and again from the first, to texts that no program packs to less than three quarters,
// until ctx ends or so many were sent; 0: no bound. It returns how many it set.
func writeTexts(ctx context.Context, cl *client.Client, most int) (written int) {
	b := cl.Bulk(ctx, 0, func(_ uint64, _ client.Written, err error) {
		if err == nil {
			written++
		}
	})
	random := rand.New(rand.NewPCG(1, 1))
	var bytes [valueBytes / 4 * 3]byte
	value := make([]byte, valueBytes)
	for n := 0; ctx.Err() == nil && (most == 0 || n < most); n++ {
		for i := range bytes {
			bytes[i] = byte(random.Uint32())
		}
		base64.StdEncoding.Encode(value, bytes[:])
		b.Set(fmt.Appendf(nil, "backup/%0*d", keyBytes-len("backup/"), n%*backupKeys), value, 0)
	}
	b.Wait()
	return written
}
