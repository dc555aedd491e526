package load

import (
	"bytes"
	"context"
	"flag"
	"strings"
	"testing"
	"time"

	"muster/node/trial/clustertest"
	"muster/repl/client"
)

var (
	listKeys  = flag.Int("listcost", 0, "with how many `KEYS` TestListCost lists; the figures of docs/performance.md are of 1000000")
	listClear = flag.Bool("listclear", false, "TestListCost compares with a build that knows no TLS, both without")
)

const (
	listRounds = 5
	// listMemory is what a listing of any length may take of the memory of a command, in bytes.
	listMemory = 64_000_000
)

// A listing of all keys must not become slower. A cluster of another commit's build and one of this build hold the same
// keys, and are listed in turn: by the command of their build, and by this build's library.
func TestListCost(t *testing.T) {
	clustertest.OnDemand(t, *listKeys > 0 && *sinceCommit != "", "./node/trial/load -run TestListCost -since COMMIT -listcost 1000000 -timeout 20m")
	sides := []*listSide{{what: "before", binary: clustertest.OlderBinary(t, *sinceCommit)}, {what: "this build", binary: clustertest.Binary()}}
	for _, s := range sides {
		var clear []string
		if *listClear && s.binary == clustertest.Binary() {
			clear = []string{"--insecure"}
		}
		s.cluster = clustertest.New(t, 3, clear...)
		s.cluster.Clear = *listClear
		for i, p := range s.cluster.Nodes {
			p.Binary = s.binary
			s.cluster.Start(i)
		}
		s.cluster.Healthy()
		runBench(s.cluster, "--op get --keys %d --value-size 128 --duration 1s --timeout 5m", *listKeys) // sets all of them first
	}
	for _, way := range []struct {
		what string
		list func(t *testing.T, s *listSide) (keys, memory int)
	}{
		{"kv list -o json", func(t *testing.T, s *listSide) (int, int) { return s.command(t, "-o", "json") }},
		{"kv list", func(t *testing.T, s *listSide) (int, int) { return s.command(t) }},
		{"kv list --keys", func(t *testing.T, s *listSide) (int, int) { return s.command(t, "--keys") }},
		{"library", listByLibrary},
	} {
		took, cpu := make([][]float64, len(sides)), make([][]float64, len(sides))
		most := 0
		for range listRounds {
			for i, s := range sides {
				before, began := clustertest.ProcessorTime(s.cluster), time.Now()
				keys, memory := way.list(t, s)
				took[i] = append(took[i], time.Since(began).Seconds())
				cpu[i] = append(cpu[i], (clustertest.ProcessorTime(s.cluster) - before).Seconds())
				if keys != *listKeys {
					t.Fatalf("%s of %s has %d keys, want %d", way.what, s.what, keys, *listKeys)
				}
				if s == sides[1] {
					most = max(most, memory)
				}
			}
		}
		t.Logf("%-16s before %.2f s, this build %.2f s, %.2f times as fast; processor time of the nodes %.2f s, %.2f s; memory at most %d MiB",
			way.what, median(took[0]), median(took[1]), median(took[0])/median(took[1]), median(cpu[0]), median(cpu[1]), most>>20)
		if most > listMemory {
			t.Errorf("%s took %d bytes of memory, want %d at most", way.what, most, listMemory)
		}
	}
}

// listSide is a cluster of one build.
type listSide struct {
	what, binary string
	cluster      *clustertest.Cluster
}

// listPrefix is that of the keys that the bench command sets.
const listPrefix = "bench/"

// command lists by the command line, which has memory bytes at most.
func (s *listSide) command(t *testing.T, options ...string) (keys, memory int) {
	cmd := s.cluster.CommandOf(s.binary, append([]string{"kv", "list", listPrefix, "--endpoints", s.cluster.Endpoints()}, options...)...)
	cmd.Env = append(cmd.Env, "MUSTER_SECRET_FILE="+s.cluster.Secret)
	if s.cluster.Clear {
		cmd.Env = append(cmd.Env, "MUSTER_INSECURE=true") // a build without TLS passes it over
	}
	out := &listReader{t: t, process: clustertest.Process{Cmd: cmd}}
	cmd.Stdout = out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v", strings.Join(cmd.Args, " "), err)
	}
	if len(options) == 0 || options[0] == "--keys" {
		out.lines-- // the head of the table
	}
	return out.lines, out.memory
}

// listReader counts the lines that a command prints, and looks now and then how much memory it has.
type listReader struct {
	t       *testing.T
	process clustertest.Process
	writes  int
	lines   int
	memory  int
}

func (r *listReader) Write(b []byte) (int, error) {
	if r.writes++; r.writes%100 == 0 {
		_, r.memory = r.process.Memory(r.t)
	}
	r.lines += bytes.Count(b, []byte("\n"))
	return len(b), nil
}

// listByLibrary lists by the client of this build. Of the memory of this process nothing can be told.
func listByLibrary(t *testing.T, s *listSide) (keys, memory int) {
	for _, err := range s.cluster.Client().List(context.Background(), []byte(listPrefix), client.ListOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		keys++
	}
	return keys, 0
}
