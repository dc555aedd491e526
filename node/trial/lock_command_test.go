package trial

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"muster/node/trial/clustertest"
	"muster/repl/client/lock"
	"muster/repl/wire"
)

// A program runs while the command holds the lock, and no two at a time; what it ends with passes to the shell; and
// the lock is free once it has ended, however that came about.
func TestLockCommand(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 1)
	lockPassesOnStatus(c)
	lockIsExclusive(c)
	lostLockEndsProgram(c)
	lockTakesSignals(c)
}

// runLock runs a program under a lock.
func runLock(c *clustertest.Cluster, args ...string) clustertest.Result {
	c.T.Helper()
	return c.Run(append([]string{"lock"}, args...)...)
}

// lockPassesOnStatus runs programs, one after the other, that end in all ways.
func lockPassesOnStatus(c *clustertest.Cluster) {
	t := c.T
	free := func(name string) {
		t.Helper()
		if r := c.Run("kv", "get", name); r.Status != clustertest.ExitNotFound {
			t.Errorf("lock %s is not free: status %d, %s%s", name, r.Status, r.Stdout, r.Stderr)
		}
	}
	var first, second lock.Token
	for _, token := range []*lock.Token{&first, &second} {
		out := runLock(c, "l", "--", "sh", "-c", `echo "$MUSTER_LOCK_NAME" "$MUSTER_LOCK_TOKEN"`).Done(t)
		if _, err := fmt.Sscanf(out, "l %d\n", token); err != nil {
			t.Fatalf("%q: %v", out, err)
		}
		free("l")
	}
	if second <= first {
		t.Errorf("fencing token %d after %d", second, first)
	}
	if r := c.RunIn("in\n", "lock", "l", "--", "cat"); r.Stdout != "in\n" || r.Status != 0 {
		t.Errorf("cat of %q: %q, status %d", "in\n", r.Stdout, r.Status)
	}
	for _, tt := range []struct {
		program []string
		status  int
		want    string
	}{
		{[]string{"sh", "-c", "exit 7"}, 7, ""},
		{[]string{"sh", "-c", "kill -KILL $$"}, 128 + 9, ""},
		{[]string{"no-such-program"}, 127, `muster lock: can't run "no-such-program": executable file not found in $PATH`},
		{[]string{"./no/such/program"}, 127, "no such file or directory; want a program"},
		{[]string{"/"}, 126, `can't run "/"`},
	} {
		r := runLock(c, append([]string{"l", "--"}, tt.program...)...)
		if r.Status != tt.status || !strings.Contains(r.Stderr, tt.want) || tt.want == "" && r.Stderr != "" || strings.Count(r.Stderr, "\n") > 1 {
			t.Errorf("%q: status %d, %q; want status %d and %q", tt.program, r.Status, r.Stderr, tt.status, tt.want)
		}
		free("l")
	}
}

// lockIsExclusive has others want a lock while one holds it: they wait, or do not.
func lockIsExclusive(c *clustertest.Cluster) {
	t := c.T
	holder := startLock(c, "{h}lock", "--value", "the first", "--", "sh", "-c", `exec 2>/dev/null; trap "echo told; exit 3" TERM; echo $MUSTER_LOCK_TOKEN $$; while :; do sleep 0.02; done`)
	var token uint64
	holder.expect(&token, new(int))
	runLock(c, "{h}lock", "--no-wait", "--", "true").Refused(t, clustertest.ExitConflict, `lock "{h}lock" is held by "the first", with fencing token `+fmt.Sprint(token))
	runLock(c, "{h}lock", "--wait", "2s", "--", "true").Refused(t, clustertest.ExitConflict, `lock "{h}lock" is held by "the first"`)
	guarded := fmt.Sprintf(`{"if":[{"key":"{h}lock","version":%d}],"then":[{"set":{"key":"{h}k","value":"1"}}]}`, token)
	if out := c.RunIn(guarded, "kv", "txn", "-", "-o", "json").Done(t); !strings.Contains(out, `"succeeded":true`) {
		t.Errorf("a guarded write under the lock: %s", out)
	}
	next := startLock(c, "{h}lock", "--", "sh", "-c", "echo $MUSTER_LOCK_TOKEN")
	holder.cmd.Process.Signal(syscall.SIGTERM) // once, to the program, which ends as it likes
	if said := holder.line(); said != "told" {
		t.Errorf("after a SIGTERM the program says %q", said)
	}
	holder.ends(3, "")
	var nextToken uint64
	next.expect(&nextToken)
	next.ends(0, "")
	if nextToken <= token {
		t.Errorf("fencing token %d after %d", nextToken, token)
	}
	if out := c.RunIn(guarded, "kv", "txn", "-", "-o", "json").Done(t); !strings.Contains(out, `"succeeded":false`) {
		t.Errorf("a guarded write with the token of an earlier holder: %s", out)
	}
}

// lostLockEndsProgram takes a lock away from a program, also from one that takes no notice.
func lostLockEndsProgram(c *clustertest.Cluster) {
	for trap, status := range map[string]string{`"exit 0" TERM`: "told to end", `"" TERM`: "is killed"} {
		lost := startLock(c, "lost", "--ttl", "1s", "--grace", "200ms", "--", "sh", "-c", "trap "+trap+"; echo 1 $$; while :; do sleep 0.02; done")
		lost.expect(new(int), new(int))
		c.Run("kv", "del", "lost").Done(c.T)
		lost.ends(10, status)
	}
}

// lockTakesSignals ends a command that waits, and kills one that holds the lock.
func lockTakesSignals(c *clustertest.Cluster) {
	t := c.T
	holder := startLock(c, "killed", "--ttl", "1s", "--", "sh", "-c", `echo $$; while :; do sleep 0.02; done`)
	var program int
	holder.expect(&program)
	watches := func() (in int) {
		var row struct {
			Counters []struct {
				Name string
				In   int
			}
		}
		c.JSON(&row, "status", "--counters")
		for _, r := range row.Counters {
			if r.Name == wire.TypeWatch.String() {
				in = r.In
			}
		}
		return in
	}
	before := watches()
	waits := startLock(c, "killed", "--", "true")
	c.Until("another one waits", func(context.Context) error {
		if watches() == before {
			return errors.New("it does not watch the lock")
		}
		return nil
	})
	waits.cmd.Process.Signal(os.Interrupt)
	waits.ends(clustertest.ExitNoResult, "stopped by SIGINT before it had the lock")
	holder.cmd.Process.Kill()
	holder.cmd.Wait()
	c.Until("the program ends with the command", func(context.Context) error {
		if err := syscall.Kill(program, 0); err == nil {
			return errors.New("it runs")
		}
		return nil
	})
	runLock(c, "killed", "--", "true").Done(t) // after its TTL
}

// lockProcess is a muster lock that runs.
type lockProcess struct {
	t      testing.TB
	cmd    *exec.Cmd
	out    *bufio.Reader
	errors strings.Builder
}

func startLock(c *clustertest.Cluster, args ...string) *lockProcess {
	c.T.Helper()
	p := &lockProcess{t: c.T, cmd: c.Command(append([]string{"lock"}, args...)...)}
	p.cmd.Env = append(p.cmd.Env, "MUSTER_ENDPOINTS="+c.Endpoints())
	p.cmd.Stderr = &p.errors
	out, err := p.cmd.StdoutPipe()
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		c.T.Fatal(err)
	}
	c.T.Cleanup(func() { p.cmd.Process.Kill() })
	p.out = bufio.NewReader(out)
	return p
}

// line returns the next line of its program.
func (p *lockProcess) line() string {
	p.t.Helper()
	line, err := p.out.ReadString('\n')
	if err != nil {
		p.t.Fatalf("%v; %s", err, &p.errors)
	}
	return strings.TrimSpace(line)
}

// expect reads the next line into numbers.
func (p *lockProcess) expect(into ...any) {
	p.t.Helper()
	if _, err := fmt.Sscan(p.line(), into...); err != nil {
		p.t.Fatal(err)
	}
}

// ends waits until it has ended, with a status, and says something on standard error, or nothing.
func (p *lockProcess) ends(status int, says string) {
	p.t.Helper()
	late := time.AfterFunc(clustertest.RunMax, func() { p.cmd.Process.Kill() })
	defer late.Stop()
	_ = p.cmd.Wait() // its status says it
	if got := p.cmd.ProcessState.ExitCode(); got != status || !strings.Contains(p.errors.String(), says) || says == "" && p.errors.Len() > 0 {
		p.t.Errorf("status %d, %q; want status %d and %q", got, p.errors.String(), status, says)
	}
}
