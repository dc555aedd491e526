package load

import (
	"bufio"
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"io"
	"math"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"muster/node/trial/clustertest"
	"muster/repl/client/bench"
)

var stagesFor = flag.Duration("stages", 0, "how long `D` TestStages sets at each load, and has perf look where the time goes; the figures of docs/performance.md are of 10s")

const (
	// stagePeriod is the processor time between two samples. No round
	// number, so that they don't fall into step with the ticks.
	stagePeriod = 499 * time.Microsecond
	// stageLeast is for how long there must be samples for a table to mean
	// something.
	stageLeast = 3 * time.Second
	// stageOtherMax is how much of the time may be in no stage.
	stageOtherMax = 0.05
	// stageSumOff is by how much the table may miss what was counted, by the
	// rounding of its rows.
	stageSumOff = 0.02
	// stageSampledOff is by how much the processor time that was sampled may
	// differ from what the system counts: more, and samples were lost. A tenth
	// is always missing, more with more switches: where the kernel has
	// interrupts off, and in what takes the samples, none is taken.
	stageSampledOff = 0.2
	// stageFrames is how many functions are named for each stage.
	stageFrames = 6
)

// What a set costs the nodes must be known by stage, or nobody knows what to
// mend. One would doubt any such table: each row is so much of all samples, of
// what the nodes counted in the same run, and what is in no row fails the test.
func TestStages(t *testing.T) {
	clustertest.OnDemand(t, *stagesFor > 0, "./node/trial/load -run TestStages -stages 10s -timeout 10m")
	if *stagesFor < stageLeast {
		t.Fatalf("-stages %v; want %v or more", *stagesFor, stageLeast)
	}
	if _, err := exec.LookPath("perf"); err != nil {
		t.Skip("no perf here to look at the nodes with")
	}
	c := clustertest.Start(t, 3)
	runBench(c, "--op set --connections 16 --in-flight 1024 --duration 2s") // so that the log has files to use again
	var runs []stageRun
	for _, inFlight := range []int{1024, 64} {
		runs = append(runs, stagesAt(c, inFlight))
	}
	t.Logf("\n%s", stageTable(t, runs))
	beside, err := besideRedis(t, runs[0].result)
	if err != nil {
		beside = fmt.Sprintf("no comparison with Redis: %v", err)
	}
	t.Logf("\n%s", beside)
}

// stageRun is one load, and where its time went.
type stageRun struct {
	result   bench.Result
	samples  map[stage]int
	all      int
	frames   map[stage]map[string]int // the innermost ones
	purposes map[string]int
}

// stagesAt sets with so many requests in flight, and samples the nodes meanwhile.
func stagesAt(c *clustertest.Cluster, inFlight int) (r stageRun) {
	c.T.Helper()
	var pids []string
	for _, p := range c.Nodes {
		pids = append(pids, strconv.Itoa(p.Cmd.Process.Pid))
	}
	data := filepath.Join(c.T.TempDir(), "perf.data")
	record := exec.Command("perf", "record", "-o", data, "-e", "cpu-clock", "-c", strconv.Itoa(int(stagePeriod)), "--call-graph", "fp",
		"-p", strings.Join(pids, ","), "--", "sleep", fmt.Sprint((*stagesFor + time.Second).Seconds())) // the warm-up, too
	record.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var said bytes.Buffer
	record.Stdout, record.Stderr = &said, &said
	before := clustertest.ProcessorTime(c)
	if err := record.Start(); err != nil {
		c.T.Fatal(err)
	}
	r.result = runBench(c, "--op set --connections 16 --in-flight %d --duration %v", inFlight, *stagesFor)
	if err := record.Wait(); err != nil {
		c.T.Skipf("perf can't look at the nodes: %v\n%s", err, &said)
	}
	took := clustertest.ProcessorTime(c) - before
	if r.result.Errors > 0 {
		c.T.Errorf("%d in flight: %d errors", inFlight, r.result.Errors)
	}
	script := exec.Command("perf", "script", "-i", data, "--no-inline", "-F", "pid,ip,sym")
	out, err := script.Output()
	if err != nil {
		c.T.Fatalf("perf script: %v", err)
	}
	r.samples, r.frames = map[stage]int{}, map[stage]map[string]int{}
	r.purposes = map[string]int{}
	err = eachSample(bytes.NewReader(out), func(stack []string) {
		r.all++
		s, innermost := stageOf(stack), strings.Join(stack[:min(len(stack), 1)], "")
		if r.samples[s]++; r.frames[s] == nil {
			r.frames[s] = map[string]int{}
		}
		r.frames[s][innermost]++
		r.purposes[purposeOf(s, innermost)]++
	})
	if err != nil || r.all == 0 {
		c.T.Fatalf("%d samples, %v\n%s", r.all, err, &said)
	}
	sampled := time.Duration(r.all) * stagePeriod
	c.T.Logf("%d in flight: %.0f sets/s, p50 %.2f ms, CPU %.2f µs a set at the nodes, %.2f at the client; %d samples are %.2f s of processor time, the system counts %.2f s",
		inFlight, r.result.OpsPerS, r.result.P50/1000, r.result.ServerCPU, r.result.ClientCPU, r.all, sampled.Seconds(), took.Seconds())
	if math.Abs(sampled.Seconds()/took.Seconds()-1) > stageSampledOff {
		c.T.Errorf("%d in flight: sampled and counted time differ by more than %.0f %%", inFlight, 100*stageSampledOff)
	}
	return r
}

// purposes are the stages by what they are for, which is what the difference to
// a pipeline without promises consists of. Hashes and checksums are apart,
// wherever they are.
var purposes = []struct {
	what   string
	stages []stage
}{
	{purposeHashes, nil},
	{"types, limits and errors: commands read and checked, on the way in and at apply", []stage{stageRoute, stageCommand}},
	{"retries: sessions", []stage{stageSessions}},
	{"order: consensus, its messages and book-keeping", []stage{stagePropose, stageSend, stageTake, stageAck, stageLoop}},
	{"the log's records and directory", []stage{stageAppend}},
	{"the state in memory", []stage{stageWarm, stageMap}},
	{"frames and answers", []stage{stageFrameRead, stageFrameSum, stageAnswer}},
	{"the runtime: scheduler, watcher, collector, clock", []stage{stageSchedule, stageWatcher, stageGarbage, stageClock}},
	{"kernel: network", []stage{stageReceive, stageTransmit}},
	{"kernel: disk", []stage{stageDisk}},
	{"kernel: switches, memory", []stage{stageSwitch, stageMemory}},
	{"scrub, snapshots, heartbeats, other", []stage{stageRest, stageOther}},
}

const purposeHashes = "hashes and checksums, of frames, commands, entries, records, sessions and state"

// hashes are functions that compute them.
var hashes = []string{"hash/crc32.*", "github.com/cespare/xxhash/v2.*", "muster/shardmap.(*outcome).hash", "muster/shardmap.(*session).hash"}

// purposeOf returns what a sample is for.
func purposeOf(s stage, innermost string) string {
	if slices.ContainsFunc(hashes, func(name string) bool { return isDoor(innermost, name) }) {
		return purposeHashes
	}
	for _, p := range purposes {
		if slices.Contains(p.stages, s) {
			return p.what
		}
	}
	return ""
}

// The table by purpose must add up, too: each stage is for one thing.
func TestStagePurposes(t *testing.T) {
	for _, s := range stages {
		n := 0
		for _, p := range purposes {
			for _, of := range p.stages {
				if of == s {
					n++
				}
			}
		}
		if n != 1 {
			t.Errorf("%q is in %d purposes, want 1", s, n)
		}
	}
	for _, tt := range []struct {
		stage           stage
		innermost, want string
	}{
		{stageSessions, "muster/shardmap.(*sessions).finish", "retries: sessions"},
		{stageSessions, "github.com/cespare/xxhash/v2.Sum64.abi0", purposeHashes},
		{stageDisk, "iowrite16", "kernel: disk"},
	} {
		if got := purposeOf(tt.stage, tt.innermost); got != tt.want {
			t.Errorf("%s in %q is for %q, want %q", tt.innermost, tt.stage, got, tt.want)
		}
	}
}

// eachSample calls f for each sample that perf script prints: a line with its
// process, a line for each frame, innermost first, an empty one.
func eachSample(in io.Reader, f func(stack []string)) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	stack, inside := []string(nil), false
	end := func() {
		if inside {
			f(stack)
		}
		stack, inside = nil, false
	}
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" {
			end()
			continue
		}
		if !inside {
			if _, err := strconv.Atoi(line); err != nil {
				return fmt.Errorf("a sample begins with %q; want the number of a process", line)
			}
			inside = true
			continue
		}
		_, symbol, ok := strings.Cut(line, " ")
		if !ok {
			return fmt.Errorf("a frame is %q; want an address and a function", line)
		}
		stack = append(stack, symbol)
	}
	end()
	return lines.Err()
}

// stageTable is what each stage cost, as a table, and checks that it says where
// all the time went.
func stageTable(t *testing.T, runs []stageRun) string {
	var b strings.Builder
	b.WriteString("| µs of all three nodes per set, and share |")
	for _, r := range runs {
		fmt.Fprintf(&b, " %s in flight |", thousands(r.result.InFlight))
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(runs)) + "\n")
	sums := make([]float64, len(runs)) // of what is printed
	for _, s := range stages {
		fmt.Fprintf(&b, "| %s |", s)
		for i, r := range runs {
			share := float64(r.samples[s]) / float64(r.all)
			cost := math.Round(100*share*r.result.ServerCPU) / 100
			sums[i] += cost
			fmt.Fprintf(&b, " %.2f (%.1f %%) |", cost, 100*share)
		}
		b.WriteString("\n")
	}
	b.WriteString("| **sum of the rows** |")
	for _, sum := range sums {
		fmt.Fprintf(&b, " **%.2f** |", sum)
	}
	b.WriteString("\n| counted by the nodes |")
	for i, r := range runs {
		fmt.Fprintf(&b, " %.2f |", r.result.ServerCPU)
		if math.Abs(sums[i]/r.result.ServerCPU-1) > stageSumOff {
			t.Errorf("%d in flight: the rows add up to %.2f µs, %.2f were counted", r.result.InFlight, sums[i], r.result.ServerCPU)
		}
		other := float64(r.samples[stageOther]) / float64(r.all)
		if other > stageOtherMax {
			t.Errorf("%d in flight: %.1f %% of the time is in no stage; want %.0f at most", r.result.InFlight, 100*other, 100*stageOtherMax)
		}
		for _, s := range []stage{stageRoute, stageTake, stageAppend, stageMap, stageTransmit, stageDisk} {
			if r.samples[s] == 0 {
				t.Errorf("%d in flight: no sample is in %q", r.result.InFlight, s)
			}
		}
		var tops strings.Builder
		for _, s := range stages {
			fmt.Fprintf(&tops, "\n%s:%s", s, mostOf(r.frames[s], r.all, stageFrames))
		}
		t.Logf("%d in flight, what most samples of each stage were in, of all: %s", r.result.InFlight, &tops)
	}
	b.WriteString("\n\n| the same, by what it is for |" + strings.Repeat(" |", len(runs)) + "\n|---|" + strings.Repeat("---|", len(runs)) + "\n")
	for _, p := range purposes {
		fmt.Fprintf(&b, "| %s |", p.what)
		for _, r := range runs {
			share := float64(r.purposes[p.what]) / float64(r.all)
			fmt.Fprintf(&b, " %.2f (%.1f %%) |", share*r.result.ServerCPU, 100*share)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// thousands writes a number as the documents do.
func thousands[T int | float64](n T) string {
	if n < 1000 {
		return strconv.Itoa(int(n))
	}
	return fmt.Sprintf("%s,%03d", thousands(int(n)/1000), int(n)%1000)
}

// mostOf names the most frequent of some counts, as shares of all.
func mostOf(counts map[string]int, all, n int) string {
	names := make([]string, 0, len(counts))
	for name := range counts {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	var b strings.Builder
	for _, name := range names[:min(n, len(names))] {
		fmt.Fprintf(&b, " %.1f %% %s;", 100*float64(counts[name])/float64(all), name)
	}
	return b.String()
}

// What perf prints must be read as it is meant: a sample more or less, or a
// frame of one in another, moves a row.
func TestEachSample(t *testing.T) {
	const script = " 24 \n\tffffffff81b6ff6d iowrite16\n\t          9bcf54 muster/logstore.sealRecord\n\n 24 \n\n" +
		" 25 \n\t    1 muster/raft.find[go.shape.struct { x uint64 }]\n\t 2 [unknown]\n"
	var got []string
	if err := eachSample(strings.NewReader(script), func(stack []string) { got = append(got, strings.Join(stack, ", ")) }); err != nil {
		t.Fatal(err)
	}
	want := []string{"iowrite16, muster/logstore.sealRecord", "", "muster/raft.find[go.shape.struct { x uint64 }], [unknown]"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, bad := range []string{"no process\n\t1 f\n", "1\n\tf\n"} {
		if err := eachSample(strings.NewReader(bad), func([]string) {}); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}
