package clustertest

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"muster/repl/client/home"
)

// binary is the muster that all tests of a package run: [Main] builds it once, as a user would.
var binary string

// Binary returns the path of the muster that all tests of this process run.
func Binary() string { return binary }

// together is how many of a package's parallel tests run at once, unless -parallel says so.
// They wait for most of their time, for elections and for what times out; two on two
// processors would mostly leave both idle. What measures is not among them, and runs
// before them.
const together = 5

// Main is the TestMain of a package that runs muster: it builds the binary, runs the tests, and
// ends the process with their status, or with 1 if the binary can't be built. What it writes goes
// away with the tests.
//
// Each package builds a binary of its own. With what the build cache has that is one link, less
// than two seconds of a processor. A path that packages share would need a lock, and would give
// the tests of one checkout what another has built.
func Main(m *testing.M) { runTests(m, syscall.LOCK_SH) }

// MainAlone is [Main] of a package whose tests measure. It waits until no other package's tests run
// muster on this host, and those wait for it: beside the load of another package its figures would
// tell of that.
func MainAlone(m *testing.M) { runTests(m, syscall.LOCK_EX) }

// takeTurn locks a file that all packages share, and waits for the lock: how is LOCK_SH or LOCK_EX. The lock holds
// until the file is closed. It is nil, and nothing was waited for, if the file can't be opened.
func takeTurn(how int) *os.File {
	file, err := os.OpenFile(filepath.Join(os.TempDir(), "muster-trial.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil
	}
	for {
		if err := syscall.Flock(int(file.Fd()), how); !errors.Is(err, syscall.EINTR) {
			return file
		}
	}
}

func runTests(m *testing.M, how int) {
	flag.Parse()
	turn := takeTurn(how)
	const parallel = "test.parallel"
	asked := false
	flag.Visit(func(f *flag.Flag) { asked = asked || f.Name == parallel })
	if !asked {
		if err := flag.Set(parallel, strconv.Itoa(together)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	dir, err := os.MkdirTemp("", "muster-trial-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = filepath.Join(dir, "muster")
	// Clusters found themselves by what is kept there, and commands and clients find it.
	os.Setenv(home.Variable, filepath.Join(dir, "home"))
	if out, err := exec.Command("go", "build", "-o", binary, "muster").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		os.Exit(1)
	}
	status := m.Run()
	os.RemoveAll(dir)
	// Closed here, the file is not collected, and the lock lost with it, while the tests run.
	_ = turn.Close()
	os.Exit(status)
}

// The status that a command ends with, as docs/operating.md lists it.
const (
	ExitDone         = 0
	ExitRefused      = 1
	ExitUsage        = 2
	ExitNoEndpoint   = 3
	ExitNotFound     = 4
	ExitConflict     = 5
	ExitNoResult     = 6
	ExitNotPermitted = 7
	ExitPartly       = 8
	ExitNotConfirmed = 9
)

// Result is what one run of the binary came to.
type Result struct {
	Status         int
	Stdout, Stderr string
}

// RunMax is when a command that does not end has failed its test.
const RunMax = 2 * time.Minute

// Command prepares a run without any MUSTER_ variable of the person who tests.
func Command(args ...string) *exec.Cmd { return CommandOf(binary, args...) }

// CommandOf is [Command] of another binary.
func CommandOf(binary string, args ...string) *exec.Cmd {
	c := exec.Command(binary, args...)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "MUSTER_") || strings.HasPrefix(v, home.Variable+"=") {
			c.Env = append(c.Env, v)
		}
	}
	return c
}

// Run runs the binary with arguments, and without a cluster that it could know.
func Run(t testing.TB, args ...string) Result { t.Helper(); return RunIn(t, "", args...) }

// RunIn is [Run] with a standard input.
func RunIn(t testing.TB, in string, args ...string) Result {
	t.Helper()
	return RunCommand(t, Command(args...), in)
}

// RunCommand runs a prepared command with a standard input. It fails the test if the command
// can't be started or takes longer than [RunMax], not if it ends with another status than 0.
func RunCommand(t testing.TB, c *exec.Cmd, in string) Result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = strings.NewReader(in), &stdout, &stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(RunMax, func() { c.Process.Kill() })
	err := c.Wait()
	if !late.Stop() {
		t.Fatalf("%v did not end within %v\n%s", c.Args, RunMax, &stderr)
	}
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return Result{c.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// Refused checks that a run ended with one line that says want, with status,
// and with nothing on standard output.
func (r Result) Refused(t testing.TB, status int, want string) {
	t.Helper()
	if r.Status != status {
		t.Errorf("status %d, want %d", r.Status, status)
	}
	if r.Stdout != "" {
		t.Errorf("standard output has %.200q", r.Stdout)
	}
	if !strings.HasSuffix(r.Stderr, "\n") || strings.Count(r.Stderr, "\n") != 1 {
		t.Errorf("want one line on standard error, got %q", r.Stderr)
	}
	if !strings.Contains(r.Stderr, want) {
		t.Errorf("standard error is %q, want it to say %q", r.Stderr, want)
	}
}

// Done checks that a run ended well, and returns its standard output.
func (r Result) Done(t testing.TB) string {
	t.Helper()
	if r.Status != ExitDone || r.Stderr != "" {
		t.Fatalf("status %d, standard error %q", r.Status, r.Stderr)
	}
	return r.Stdout
}

// OnDemand skips a test that was not asked for, and says how to ask for it: how is what goes
// behind "go test -v", the package first.
func OnDemand(t *testing.T, asked bool, how string) {
	t.Helper()
	if !asked {
		t.Skipf("takes long and wants a machine that does nothing else; to run it: go test -v %s", how)
	}
}

// JobMax is how long one step of a cluster's change may take: a job moves some replicas or slots,
// is held up by nodes that are killed, and goes on.
const JobMax = 3 * time.Minute
