package trial

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
	"testing"
	"time"

	"muster/repl/client/home"
)

// binary is the muster that all tests run: built once, as a user would.
var binary string

// together is how many of the parallel tests run at once, unless -parallel says so. They
// wait for most of their time, for elections and for what times out; two on two
// processors would mostly leave both idle. What measures is not among them, and runs
// before them.
const together = 5

func TestMain(m *testing.M) {
	if where := os.Getenv(attackVariable); where != "" {
		attack(where)
		return
	}
	flag.Parse()
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
	os.Exit(status)
}

// What a command ends with, as docs/operating.md lists it.
const (
	exitDone         = 0
	exitRefused      = 1
	exitUsage        = 2
	exitNoEndpoint   = 3
	exitNotFound     = 4
	exitConflict     = 5
	exitNoResult     = 6
	exitNotPermitted = 7
	exitPartly       = 8
)

// result is what one run of the binary came to.
type result struct {
	status         int
	stdout, stderr string
}

// runMax is when a command that does not end has failed its test.
const runMax = 2 * time.Minute

// command prepares a run without any MUSTER_ variable of the person who tests.
func command(args ...string) *exec.Cmd { return commandOf(binary, args...) }

// commandOf is command of another binary.
func commandOf(binary string, args ...string) *exec.Cmd {
	c := exec.Command(binary, args...)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "MUSTER_") || strings.HasPrefix(v, home.Variable+"=") {
			c.Env = append(c.Env, v)
		}
	}
	return c
}

func muster(t testing.TB, args ...string) result { t.Helper(); return musterIn(t, "", args...) }

// musterIn runs the binary with a standard input.
func musterIn(t testing.TB, in string, args ...string) result {
	t.Helper()
	return runCommand(t, command(args...), in)
}

func runCommand(t testing.TB, c *exec.Cmd, in string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = strings.NewReader(in), &stdout, &stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(runMax, func() { c.Process.Kill() })
	err := c.Wait()
	if !late.Stop() {
		t.Fatalf("%v did not end within %v\n%s", c.Args, runMax, &stderr)
	}
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{c.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// refused checks that a run ended with one line that says want, with status,
// and with nothing on standard output.
func (r result) refused(t testing.TB, status int, want string) {
	t.Helper()
	if r.status != status {
		t.Errorf("status %d, want %d", r.status, status)
	}
	if r.stdout != "" {
		t.Errorf("standard output has %.200q", r.stdout)
	}
	if !strings.HasSuffix(r.stderr, "\n") || strings.Count(r.stderr, "\n") != 1 {
		t.Errorf("want one line on standard error, got %q", r.stderr)
	}
	if !strings.Contains(r.stderr, want) {
		t.Errorf("standard error is %q, want it to say %q", r.stderr, want)
	}
}

// done checks that a run ended well, and returns its standard output.
func (r result) done(t testing.TB) string {
	t.Helper()
	if r.status != exitDone || r.stderr != "" {
		t.Fatalf("status %d, standard error %q", r.status, r.stderr)
	}
	return r.stdout
}
