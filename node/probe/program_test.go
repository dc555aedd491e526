package probe

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"muster/shardmap/registry"
)

// script makes a program, and a check that has it run.
func script(t *testing.T, lines string) (*Prober, *registry.Spec) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+lines+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return prober(t, Config{Programs: map[string]string{"look": path}}), &registry.Spec{Type: registry.TypeCustom, Script: "look",
		Service: "shop", Instance: "one", Timeout: 10 * time.Second}
}

func TestProgram(t *testing.T) {
	for _, tt := range []struct {
		name, lines string
		up          bool
		want        string
	}{
		{"up", "echo fine; echo more", true, "fine"},
		{"up without a word", "true", true, ""},
		{"down", "echo 3 s behind; exit 1", false, "3 s behind"},
		{"down without a word", "exit 7", false, "exit status 7"},
		{"killed by itself", "kill -9 $$", false, "signal: killed"},
		{"says why on the other stream", "echo no disk >&2; exit 1", false, "no disk"},
		{"writes without end", "yes", false, "wrote more than 64 KiB, and was killed"},
		{"leaves a process that holds its output", "sleep 100 & echo fine", true, "fine"},
		{"input is empty", "read x || echo none", true, "none"},
		{"directory", "pwd", true, "/"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, spec := script(t, tt.lines)
			r := p.Run(t.Context(), spec)
			if r.Up != tt.up || r.Reason != tt.want || r.NotAllowed {
				t.Errorf("got %+v, want up %v with %q", r, tt.up, tt.want)
			}
		})
	}
}

// A definition names a program; what runs is the operator's, or nothing.
func TestProgramNotAllowed(t *testing.T) {
	p, spec := script(t, "true")
	for _, name := range []string{"other", "", "/bin/true", "../look", "look -x"} {
		spec.Script = name
		if r := p.Run(t.Context(), spec); r.Up || !r.NotAllowed || name != "" && !strings.Contains(r.Reason, "the node allows no program "+name) {
			t.Errorf("%q: got %+v", name, r)
		}
	}
	// A program that is gone says nothing of what it was to look at.
	spec.Script = "look"
	if err := os.Remove(p.programs["look"]); err != nil {
		t.Fatal(err)
	}
	if r, want := p.Run(t.Context(), spec), "program can't be run: no such file or directory"; !r.NotAllowed || r.Reason != want {
		t.Errorf("got %+v, want %q", r, want)
	}
	if _, err := New(Config{Programs: map[string]string{"look": "/absent"}}); err == nil {
		t.Error("a program that is not there is taken")
	}
	if _, err := New(Config{Programs: map[string]string{"look": "/etc/passwd"}}); err == nil {
		t.Error("a file that can't be run is taken")
	}
}

// A program sees its check and nothing of the node; secrets are not among its arguments, and
// not in the reason if it prints them.
func TestProgramEnvironment(t *testing.T) {
	t.Setenv("MUSTER_SECRET_FILE", "/node/secret")
	t.Setenv("OF_THE_NODE", "1")
	p, spec := script(t, `tr '\0' '|' < /proc/$$/environ; tr '\0' ' ' < /proc/$$/cmdline`)
	spec.Settings = []registry.Setting{{Key: "host", Value: "db"}, {Key: "max-lag", Value: "3"}, {Key: "max_lag", Value: "4"},
		{Key: "service", Value: "other"}, {Key: "pass", Value: "hunter2"}, {Key: "login", Value: `{"user":"who","password":"hunter3"}`, Raw: true}}
	r := p.Run(t.Context(), spec)
	path := p.programs["look"]
	want := "MUSTER_SERVICE=shop|MUSTER_INSTANCE=one|MUSTER_HOST=db|MUSTER_MAX_LAG=3|MUSTER_PASS=" + registry.Mask +
		`|MUSTER_LOGIN={"user":"who","password":"` + registry.Mask + `"}|/bin/sh ` + path
	if !r.Up || r.Reason != want {
		t.Errorf("got  %q\nwant %q", r.Reason, want)
	}
}

// A program that does not end is killed at the time-out with all that it has started, and
// nothing of it is left.
func TestProgramIsKilledWithItsGroup(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pids")
	p, spec := script(t, fmt.Sprintf(`sleep 1000 & echo $! >%[1]s; (trap '' TERM INT HUP; sleep 1000) & echo $! >>%[1]s; echo $$ >>%[1]s; wait`, file))
	spec.Timeout = 500 * time.Millisecond
	wantDown(t, p.Run(t.Context(), spec), "no answer within 500ms")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pids := strings.Fields(string(text))
	if len(pids) != 3 {
		t.Fatalf("pids %q", pids)
	}
	for _, s := range pids {
		pid, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(10 * time.Second); running(pid); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("process %d runs", pid)
			}
		}
	}
	if n := p.running.Load(); n != 0 {
		t.Errorf("%d programs count as running", n)
	}
}

// running reports whether a process is there that is no zombie.
func running(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}
