package load

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"muster/node/trial/clustertest"
	"muster/repl/client/bench"
)

var wakesFor = flag.Duration("wakes", 0, "how long `D` TestWakes has sets and gets at each load, while perf counts what is woken for them; the figures of docs/performance.md are of 10s")

const (
	// wakePeriod is the number of events of which one is recorded: each recorded one costs
	// its thread a walk along its stack, and a node that is slowed down makes larger
	// batches. It is prime, so that it does not pick the same step of every operation.
	wakePeriod = 7
	// wakeMin is how long a run must last for its counts to mean something.
	wakeMin = 3 * time.Second
	// wakeOtherMax is the part of what is woken that no row may account for.
	wakeOtherMax = 0.1
)

// The list of who wakes whom for one operation must be complete, or nobody knows which
// wakes could go. One would doubt any such list, so each row is counted, by the stack of
// whoever wakes, and the test fails if too much is in no row.
func TestWakes(t *testing.T) {
	clustertest.OnDemand(t, *wakesFor > 0, "./node/trial/load -run TestWakes -wakes 10s -timeout 10m")
	if *wakesFor < wakeMin {
		t.Fatalf("-wakes %v; want %v or more", *wakesFor, wakeMin)
	}
	probes := wakeProbes(t)
	c := clustertest.Start(t, 3)
	runBench(c, "--op set --connections 16 --in-flight 1024 --duration 2s") // so that the log has files to use again
	var runs []wakeRun
	for _, op := range []string{"set", "get"} {
		for _, inFlight := range []int{1, 64} {
			runs = append(runs, wakesAt(c, op, inFlight, probes))
		}
	}
	t.Logf("\n%s", wakeTable(t, runs))
}

// wakeProbes has the kernel tell of goroutines that park and that are made ready, and
// returns the names of the two events.
func wakeProbes(t *testing.T) []string {
	t.Helper()
	if _, err := exec.LookPath("perf"); err != nil {
		t.Skip("no perf here to look at the nodes with")
	}
	group := fmt.Sprintf("wakes_%d", os.Getpid())
	t.Cleanup(func() { exec.Command("perf", "probe", "-q", "--del", group+":*").Run() })
	var events []string
	for _, f := range []string{"gopark", "ready"} {
		if out, err := exec.Command("perf", "probe", "-q", "-x", clustertest.Binary(), "--add", group+":"+f+"=runtime."+f).CombinedOutput(); err != nil {
			t.Skipf("perf can't look into the nodes here: it wants root, and a kernel with uprobes: %v\n%s", err, out)
		}
		events = append(events, group+":"+f)
	}
	return events
}

// wakeRun is one load, and what was woken in the nodes meanwhile.
type wakeRun struct {
	result   bench.Result
	rows     map[*wakeRow]float64 // for one operation
	switches float64              // of threads that gave up their processor, for one operation
}

// wakeRow is what is woken, or a call to the system that goes with it.
type wakeRow struct {
	what  string
	event string // that tells of it, without its group
	// stack are functions that must all be in its stack, by the beginnings of their names;
	// arg is a part of what the event says.
	stack []string
	arg   string
	call  bool // a call, and not somebody who is woken
	other bool // what no row before it accounts for
}

// Functions by which rows are told apart.
const (
	wakePolled = "internal/poll.runtime_pollWait"
	wakeReader = "muster/node.(*connection).read"
	wakeLoop   = "muster/repl.(*Loop).enqueue"
	wakeReady  = "runtime.ready"
	wakeThread = "runtime.startm"
	wakeSocket = "muster/node.(*transfer).once"
)

// wakeRows are all of them, in the order of an operation's way. An event belongs to the
// first that it fits.
var wakeRows = []*wakeRow{
	{what: "a connection's reader: bytes of the client or of another node", event: "gopark", stack: []string{wakePolled, wakeReader}},
	{what: "the loop, by a reader: commands, reads, appends, acknowledgements", event: "ready", stack: []string{wakeLoop, wakeReader}},
	{what: "the writer to another node, by the loop: a turn's messages", event: "ready", stack: []string{"muster/repl.(*peer).flush"}},
	{what: "the log's writer, by the loop: a batch", event: "ready", stack: []string{"runtime.chansend1", "muster/repl.(*Loop).turn"}},
	{what: "the log's writer, by the disk: the batch is durable", event: "gopark", stack: []string{wakePolled, "muster/logstore/vfs.(*aio).once"}},
	{what: "the loop, by the log's writer: the same", event: "ready", stack: []string{wakeLoop, "muster/repl.(*Loop).writeLog"}},
	{what: "a connection's writer, by the loop: answers", event: "ready", stack: []string{"muster/node.(*connection).Flush", "muster/repl.(*Loop).turn"}},
	{what: "any other goroutine, by sockets and timers", event: "gopark", stack: []string{wakePolled}, other: true},
	{what: "any other goroutine, by another", event: "ready", other: true},

	{what: "a thread, as a goroutine made another ready", event: "sched_waking", stack: []string{wakeThread, wakeReady}},
	{what: "a thread, as the poller brought several goroutines", event: "sched_waking", stack: []string{wakeThread, "runtime.injectglist"}},
	{what: "the runtime's watcher, before a call that may block", event: "sched_waking", stack: []string{"runtime.entersyscallWakeSysmon"}},
	{what: "the thread in the poller, by a socket", event: "sched_waking", stack: []string{"ep_poll_callback", "sock_def_readable"}},
	{what: "the thread in the poller, by the disk", event: "sched_waking", stack: []string{"ep_poll_callback", "aio_complete"}},
	{what: "the thread in the poller, by one that goes to sleep and knows of an earlier timer", event: "sched_waking", stack: []string{"ep_poll_callback", "runtime.netpollBreak"}},
	{what: "a thread, at the end of a nap or of its patience", event: "sched_waking", stack: []string{"hrtimer_wakeup"}},
	{what: "any other thread", event: "sched_waking", other: true},

	{what: "`read` of a socket that finds bytes or nothing", event: "sys_enter_read", stack: []string{wakeSocket}, call: true},
	{what: "… that finds nothing", event: "sys_exit_read", stack: []string{wakeSocket}, arg: "0xfffffffffffffff5", call: true}, // EAGAIN
	{what: "`write` to a socket", event: "sys_enter_write", stack: []string{wakeSocket}, call: true},
	{what: "`write` that wakes the thread in the poller", event: "sys_enter_write", stack: []string{"runtime.netpollBreak"}, call: true},
	{what: "`epoll_pwait` that only looks", event: "sys_enter_epoll_pwait", arg: "timeout: 0x00000000,", call: true},
	{what: "`epoll_pwait` that waits", event: "sys_enter_epoll_pwait", call: true},
	{what: "`futex` that wakes", event: "sys_enter_futex", stack: []string{"runtime.notewakeup"}, call: true},
	{what: "`futex` that waits", event: "sys_enter_futex", call: true},
	{what: "`io_submit`", event: "sys_enter_io_submit", call: true},
	{what: "`nanosleep` of a thread that waits to steal a goroutine", event: "sys_enter_nanosleep", stack: []string{"runtime.stealWork"}, call: true},
	{what: "`nanosleep` of the runtime's watcher", event: "sys_enter_nanosleep", stack: []string{"runtime.sysmon"}, call: true},
	{what: "`sched_yield`", event: "sys_enter_sched_yield", call: true},
	{what: "`timerfd_settime`", event: "sys_enter_timerfd_settime", call: true},
}

// wakeEvent is one event of perf script.
type wakeEvent struct {
	pid, name, arg string
	stack          []string
}

// fits reports whether e belongs to the row.
func (r *wakeRow) fits(e *wakeEvent) bool {
	return r.event == e.name && strings.Contains(e.arg, r.arg) && !slices.ContainsFunc(r.stack, func(f string) bool {
		return !slices.ContainsFunc(e.stack, func(frame string) bool { return strings.HasPrefix(frame, f) })
	})
}

// wakeRowOf returns the row of an event, or nil.
func wakeRowOf(e *wakeEvent) *wakeRow {
	for _, r := range wakeRows {
		if r.fits(e) {
			return r
		}
	}
	return nil
}

// wakesAt has operations with so many requests in flight, and counts meanwhile.
func wakesAt(c *clustertest.Cluster, op string, inFlight int, probes []string) wakeRun {
	c.T.Helper()
	pids, comm := map[string]bool{}, ""
	for _, p := range c.Nodes {
		pid := strconv.Itoa(p.Cmd.Process.Pid)
		b, err := os.ReadFile(filepath.Join("/proc", pid, "comm"))
		if err != nil {
			c.T.Fatal(err)
		}
		pids[pid], comm = true, strings.TrimSpace(string(b))
	}
	data := filepath.Join(c.T.TempDir(), "perf.data")
	// Who wakes a node's thread may be the client, or an interrupt in whatever runs: so
	// all of the system is looked at.
	// An event that tells its period is told each time, whatever the period is.
	args := []string{"record", "-q", "-a", "-o", data, "-m", "4M", "-c", strconv.Itoa(wakePeriod), "--no-period", "--call-graph", "fp", "-e", "sched:sched_waking", "--filter", fmt.Sprintf("comm == %q", comm)}
	seen := map[string]bool{"sched_waking": true, "gopark": true, "ready": true}
	for _, e := range probes {
		args = append(args, "-e", e)
	}
	for _, r := range wakeRows {
		if !seen[r.event] {
			seen[r.event] = true
			args = append(args, "-e", "syscalls:"+r.event)
		}
	}
	asks := clustertest.Command(strings.Fields(fmt.Sprintf("bench --warm-up 0s -o json --endpoints %s --op %s --connections 16 --in-flight %d --duration %v", c.Endpoints(), op, inFlight, *wakesFor))...)
	cmd := exec.Command("perf", append(append(args, "--"), asks.Args...)...)
	cmd.Env = asks.Env
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var said bytes.Buffer
	cmd.Stderr = &said
	slept := -switchesOfAll(c)
	out, err := cmd.Output()
	slept += switchesOfAll(c)
	r := wakeRun{rows: map[*wakeRow]float64{}}
	if err != nil {
		c.T.Skipf("perf can't look at the system: %v\n%s", err, &said)
	}
	if err := json.Unmarshal(out, &r.result); err != nil || r.result.Done == 0 {
		c.T.Fatalf("%q, %v", out, err)
	}
	if r.result.Errors > 0 {
		c.T.Errorf("%s with %d in flight: %d errors", op, inFlight, r.result.Errors)
	}
	r.switches = float64(slept) / float64(r.result.Done)
	threads := map[string]bool{}
	for pid := range pids {
		of, err := os.ReadDir(filepath.Join("/proc", pid, "task"))
		if err != nil {
			c.T.Fatal(err)
		}
		for _, thread := range of {
			threads[thread.Name()] = true
		}
	}
	script := exec.Command("perf", "script", "-i", data, "--no-inline", "-F", "pid,event,ip,sym,trace")
	said.Reset()
	script.Stderr = &said
	pipe, err := script.StdoutPipe()
	if err == nil {
		err = script.Start()
	}
	if err == nil {
		err = eachWake(pipe, func(e *wakeEvent) {
			if m := wokenThread.FindStringSubmatch(e.arg); e.name == "sched_waking" && (m == nil || !threads[m[1]]) || e.name != "sched_waking" && !pids[e.pid] {
				return
			}
			if row := wakeRowOf(e); row != nil {
				r.rows[row] += wakePeriod / float64(r.result.Done)
			}
		})
	}
	if err == nil {
		err = script.Wait()
	}
	if err != nil {
		c.T.Fatalf("perf script: %v\n%s", err, &said)
	}
	if strings.Contains(said.String(), "lost") {
		c.T.Errorf("%s with %d in flight: perf has lost events, so the counts are too small: %s", op, inFlight, &said)
	}
	c.T.Logf("%s, %d in flight: %.0f operations/s under perf, p50 %.2f ms", op, inFlight, r.result.OpsPerS, r.result.P50/1000)
	return r
}

// switchesOfAll returns how often threads of all nodes gave up their processor by themselves.
func switchesOfAll(c *clustertest.Cluster) (sum int) {
	for _, p := range c.Nodes {
		sum += switchesOf(c.T, p.Cmd.Process.Pid)
	}
	return sum
}

// wokenThread finds in an event who is woken.
var wokenThread = regexp.MustCompile(` pid=(\d+) `)

// wakeHead is the first line of an event.
var wakeHead = regexp.MustCompile(`^\s*(\d+)\s+\w+:(\w+):\s*(.*)$`)

// eachWake calls f for each event that perf script prints: a line with its process, its
// name and what it says, a line for each frame, innermost first, an empty one.
func eachWake(in io.Reader, f func(*wakeEvent)) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	var e *wakeEvent
	end := func() {
		if e != nil {
			f(e)
		}
		e = nil
	}
	for lines.Scan() {
		line := lines.Text()
		if strings.TrimSpace(line) == "" {
			end()
			continue
		}
		if e == nil {
			m := wakeHead.FindStringSubmatch(line)
			if m == nil {
				return fmt.Errorf("an event begins with %q; want a process and a name", line)
			}
			e = &wakeEvent{pid: m[1], name: m[2], arg: m[3] + ","}
			continue
		}
		_, symbol, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok {
			return fmt.Errorf("a frame is %q; want an address and a function", line)
		}
		e.stack = append(e.stack, symbol)
	}
	end()
	return lines.Err()
}

// wakeTable is what was counted, as a table, and checks that the rows say who was woken.
func wakeTable(t *testing.T, runs []wakeRun) string {
	var b strings.Builder
	b.WriteString("| for one operation, all three nodes |")
	for _, r := range runs {
		fmt.Fprintf(&b, " %s, %d in flight |", r.result.Op, r.result.InFlight)
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(runs)) + "\n")
	line := func(what string, of func(*wakeRun) float64) {
		fmt.Fprintf(&b, "| %s |", what)
		for i := range runs {
			fmt.Fprintf(&b, " %.2f |", of(&runs[i]))
		}
		b.WriteString("\n")
	}
	for _, row := range wakeRows {
		line(row.what, func(r *wakeRun) float64 { return r.rows[row] })
	}
	line("threads that went to sleep", func(r *wakeRun) float64 { return r.switches })
	for _, r := range runs {
		all, other := 0.0, 0.0
		for row, n := range r.rows {
			if row.call {
				continue
			}
			if all += n; row.other {
				other += n
			}
		}
		if other > wakeOtherMax*all {
			t.Errorf("%s, %d in flight: %.2f of %.2f wakes are in no row of their own; want %.0f %% at most", r.result.Op, r.result.InFlight, other, all, 100*wakeOtherMax)
		}
		for _, row := range wakeRows[:2] {
			if r.rows[row] == 0 {
				t.Errorf("%s, %d in flight: nothing counted for %q", r.result.Op, r.result.InFlight, row.what)
			}
		}
	}
	return b.String()
}

// What perf prints must be read as it is meant, and each event counted in one row.
func TestEachWake(t *testing.T) {
	const script = "24 sched:sched_waking: comm=muster pid=31 prio=120 target_cpu=000\n\tffffffff813aa9c4 try_to_wake_up\n\t 5a908 runtime.startm\n\t 8adac runtime.wakep\n\t 1 runtime.ready\n\n" +
		" 24 syscalls:sys_enter_epoll_pwait: epfd: 0x00000004, timeout: 0x00000000\n\t1 runtime.netpoll\n\n" +
		" 24 syscalls:sys_enter_epoll_pwait: epfd: 0x00000004, timeout: 0x000000001\n\n" +
		" 25   wakes_1:ready: (48ab80)\n\t 1 runtime.ready\n\t 2 muster/repl.(*Loop).enqueue\n\t 3 muster/repl.(*Loop).writeLog\n\n" +
		" 25 syscalls:sys_enter_mmap: x\n"
	var got []string
	if err := eachWake(strings.NewReader(script), func(e *wakeEvent) {
		row := "none"
		if r := wakeRowOf(e); r != nil {
			row = r.what
		}
		got = append(got, e.pid+" "+row)
		if m := wokenThread.FindStringSubmatch(e.arg); e.name == "sched_waking" && (m == nil || m[1] != "31") {
			t.Errorf("%q wakes %v, want 31", e.arg, m)
		}
	}); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"24 a thread, as a goroutine made another ready", "24 `epoll_pwait` that only looks", "24 `epoll_pwait` that waits",
		"25 the loop, by the log's writer: the same", "25 none",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, bad := range []string{"no process\n\t1 f\n", "1 a:b: c\n\tf\n"} {
		if err := eachWake(strings.NewReader(bad), func(*wakeEvent) {}); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

// A row names functions that exist: where one is renamed its row would be empty.
func TestWakeRowsExist(t *testing.T) {
	t.Parallel()
	functions := functionsOf(t)
	for _, r := range wakeRows {
		for _, f := range r.stack {
			if !strings.Contains(f, ".") {
				continue // the kernel's
			}
			if !slices.ContainsFunc(functions, func(s string) bool { return strings.HasPrefix(s, f) }) {
				t.Errorf("%q looks for %s, which is not in the binary", r.what, f)
			}
		}
	}
}
