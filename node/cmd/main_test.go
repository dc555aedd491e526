package cmd

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// What a command line comes to before a cluster is asked, and what is made of what
// a cluster has answered, is tested here, in this process. What takes nodes is
// tested by node/trial, and the binary itself by cmd_test.go beside go.mod.

// TestMain takes away the variables of the person who tests. Where no endpoint is
// given nothing listens, so that a command that should have been refused, and goes
// on, ends with another status.
func TestMain(m *testing.M) {
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "MUSTER_") {
			os.Unsetenv(name)
		}
	}
	os.Setenv("MUSTER_ENDPOINTS", "127.0.0.1:1")
	dir, err := os.MkdirTemp("", "muster-home-")
	if err != nil {
		panic(err)
	}
	os.Setenv("MUSTER_HOME", dir)
	status := m.Run()
	os.RemoveAll(dir)
	os.Exit(status)
}

// result is what one command line came to.
type result struct {
	status         exitStatus
	stdout, stderr string
}

func muster(t testing.TB, args ...string) result { t.Helper(); return musterIn(t, "", args...) }

// musterIn runs a command line with a standard input.
func musterIn(t testing.TB, in string, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	status := Main(t.Context(), args, strings.NewReader(in), &stdout, &stderr)
	return result{exitStatus(status), stdout.String(), stderr.String()}
}

// refused checks that a run ended with one line that says want, with status,
// and with nothing on standard output.
func (r result) refused(t testing.TB, status exitStatus, want string) {
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
