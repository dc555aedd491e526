package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"muster/node"
)

// The binary, end to end, as its user has it: what the README and the demo say to
// do, done. Command lines that are refused are tested by node/cmd; nodes that are
// killed, cut and filled by node/trial.

// binary is muster, built once.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "muster-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = filepath.Join(dir, "muster")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		os.Exit(1)
	}
	status := m.Run()
	os.RemoveAll(dir)
	os.Exit(status)
}

// runMax is when a process that does not end, or a cluster that is not there, has
// failed its test.
const runMax = 2 * time.Minute

// command prepares a run in a folder, where "muster" is the binary, without any
// MUSTER_ variable of the person who tests. The process ends with the test.
func command(dir string, args ...string) *exec.Cmd {
	return inside(dir, exec.Command(binary, args...))
}

// inside does that for another program.
func inside(dir string, c *exec.Cmd) *exec.Cmd {
	c.Dir = dir
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "MUSTER_") && !strings.HasPrefix(v, "PATH=") {
			c.Env = append(c.Env, v)
		}
	}
	// One user's certificates, for all clusters that the tests found.
	c.Env = append(c.Env, "MUSTER_HOME="+filepath.Join(filepath.Dir(binary), "home"))
	c.Env = append(c.Env, "PATH="+filepath.Dir(binary)+string(os.PathListSeparator)+os.Getenv("PATH"))
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return c
}

// muster runs a command that has to end well, and returns its standard output.
func muster(t *testing.T, args ...string) string {
	t.Helper()
	c := command(t.TempDir(), args...)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil || stderr.Len() > 0 {
		t.Fatalf("%v: %v, standard error %q", args, err, &stderr)
	}
	return string(out)
}

// What makes faults, for tests, must not be in the binary: the linker leaves out what no exported
// name leads to.
func TestBinaryMakesNoFaults(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(b, []byte("muster/shardmap.(*Map).Apply")) {
		t.Fatal("the binary does not name its functions")
	}
	for _, name := range []string{"muster/shardmap.(*flipper)", "muster/shardmap.newFlipper", "muster/shardmap.(*Map).Spoil", "muster/shardmap.(*TableMachine).spoil", "SetBug"} {
		if bytes.Contains(b, []byte(name)) {
			t.Errorf("the binary has %s", name)
		}
	}
}

// What a command comes to must reach the shell: its output and its errors apart,
// and its status.
func TestStatusReachesTheShell(t *testing.T) {
	t.Parallel()
	if out := muster(t, "--version"); !strings.HasPrefix(out, "muster ") || strings.Count(out, "\n") != 1 {
		t.Errorf("got %q", out)
	}
	c := command(t.TempDir(), "kv", "got", "k")
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	c.Run()
	if c.ProcessState.ExitCode() != 2 || stdout.Len() > 0 || strings.Count(stderr.String(), "\n") != 1 {
		t.Errorf("status %d, standard output %q, standard error %q", c.ProcessState.ExitCode(), &stdout, &stderr)
	}
}

// The three commands of the README must found a cluster, whichever comes first,
// and what follows them there must work as it stands. The hosts are three folders
// and three loopback addresses here. A fourth joins by the two commands that stand there. A majority serves on when one is lost, and a
// node that is asked to end ends well.
func TestReadme(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	addrs, err := node.FreeAddrs(4)
	if err != nil {
		t.Fatal(err)
	}
	const founders = 3
	dirs := make([]string, len(addrs))
	for i, addr := range addrs {
		dirs[i] = t.TempDir()
		text = bytes.ReplaceAll(text, fmt.Appendf(nil, "10.0.0.%d:4166", i+1), []byte(addr))
	}
	serves := regexp.MustCompile(`(?m)^muster (serve --listen .*)$`).FindAllSubmatch(text, -1)
	script := regexp.MustCompile(`(?m)^export MUSTER_ENDPOINTS=.*\n(?:muster .*\n)+`).Find(text)
	token := regexp.MustCompile(`(?m)^.*muster token create.*$`).Find(text)
	if len(serves) != len(addrs) || script == nil || token == nil {
		t.Fatalf("the README has %d commands that serve, and for the client: %q", len(serves), script)
	}
	secret := filepath.Join(dirs[0], "secret")
	muster(t, "secret", "--file", secret)
	held, err := os.ReadFile(secret)
	if err != nil {
		t.Fatal(err)
	}
	var nodes []*exec.Cmd
	logs := make([]bytes.Buffer, len(addrs))
	start := func(i int) {
		if i > 0 && i < founders {
			if err := os.WriteFile(filepath.Join(dirs[i], "secret"), held, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		c := command(dirs[i], strings.Fields(string(serves[i][1]))...)
		c.Stderr = &logs[i]
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			c.Process.Kill()
			if c.Wait(); t.Failed() { // for the second time, where it has ended well
				t.Logf("the node at %s logged\n%s", addrs[i], &logs[i])
			}
		})
		nodes = append(nodes, c)
	}
	for i := range founders {
		start(i)
	}
	client := func(script string) (string, error) {
		out, err := inside(dirs[0], exec.Command("sh", "-ec", script)).CombinedOutput()
		return string(out), err
	}
	// "status" is the last of the commands, and ends well once all are there.
	out := ""
	for end := time.Now().Add(runMax); ; {
		if out, err = client(string(script)); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%s\n%v: %s", script, err, out)
		}
	}
	if !strings.Contains(out, "\nblue\n") || !strings.Contains(out, " is healthy, says ") {
		t.Errorf("%s\nprints\n%s", script, out)
	}
	// The fourth host has nothing of the others but the token.
	export, _, _ := strings.Cut(string(script), "\n")
	if out, err := client(export + "\n" + string(token)); err != nil {
		t.Fatalf("%s: %v, %s", token, err, out)
	}
	if err := os.Rename(filepath.Join(dirs[0], "token"), filepath.Join(dirs[founders], "token")); err != nil {
		t.Fatal(err)
	}
	start(founders)
	for end := time.Now().Add(runMax); ; {
		if out, err = client(export + "\nmuster node list"); err == nil && strings.Contains(out, addrs[founders]) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the fourth host is no member: %v: %s", err, out)
		}
	}
	nodes[0].Process.Kill()
	if out, err := client(export + "\nmuster kv set color red\nmuster kv get color --timeout 1m"); err != nil || !strings.HasSuffix(out, "\nred\n") {
		t.Errorf("with one lost: %v, got %q", err, out)
	}
	for _, c := range nodes[1:] {
		c.Process.Signal(syscall.SIGTERM)
	}
	for i, c := range nodes[1:] {
		if err := c.Wait(); err != nil {
			t.Errorf("node %d ended with %v", i+2, err)
		}
	}
}

// demonstration is a running demo.
type demonstration struct {
	*exec.Cmd
	out     io.ReadCloser
	said    bytes.Buffer // of standard output, so far
	stderr  bytes.Buffer
	scratch string
}

// startDemo returns when the demo has said what matches until.
func startDemo(t *testing.T, until string) (d *demonstration, match []string) {
	t.Helper()
	d = &demonstration{Cmd: command(t.TempDir(), "demo"), scratch: t.TempDir()}
	d.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	d.Env = append(d.Env, "TMPDIR="+d.scratch)
	d.Stderr = &d.stderr
	var err error
	if d.out, err = d.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(runMax, func() { d.Process.Kill() })
	t.Cleanup(func() { late.Stop() })
	for buf := make([]byte, 4096); ; {
		n, err := d.out.Read(buf)
		d.said.Write(buf[:n])
		if m := regexp.MustCompile(until).FindStringSubmatch(d.said.String()); m != nil {
			return d, m
		}
		if err != nil {
			t.Fatalf("the demo ended: %v\n%s%s", err, &d.said, &d.stderr)
		}
	}
}

// nothingLeft checks that an ended demo has removed its data.
func (d *demonstration) nothingLeft(t *testing.T) {
	t.Helper()
	if left, err := os.ReadDir(d.scratch); err != nil || len(left) > 0 {
		t.Errorf("it left %v behind, %v", left, err)
	}
}

// The demo must come up, serve what it says to try, and leave nothing behind
// when it is interrupted.
func TestDemo(t *testing.T) {
	t.Parallel()
	d, m := startDemo(t, `MUSTER_ENDPOINTS=(\S+)\n`)
	one := regexp.MustCompile(`--endpoints (\S+) kv set greeting hello color blue\n`).FindSubmatch(d.said.Bytes())
	if one == nil {
		t.Fatalf("it does not say what to try:\n%s", &d.said)
	}
	// As of a connection that its peer has closed: it ends nothing.
	d.Process.Signal(syscall.SIGPIPE)
	muster(t, "--endpoints", string(one[1]), "kv", "set", "greeting", "hello", "color", "blue")
	for e := range strings.SplitSeq(m[1], ",") {
		if got := muster(t, "--endpoints", e, "kv", "get", "greeting"); got != "hello\n" {
			t.Errorf("%s has %q", e, got)
		}
	}
	d.Process.Signal(os.Interrupt)
	rest, _ := io.ReadAll(d.out)
	if err := d.Wait(); err != nil || d.stderr.Len() > 0 {
		t.Errorf("the demo ended with %v and said %s%s", err, rest, &d.stderr)
	}
	d.nothingLeft(t)
}

// A demo ends in other ways than by its user's hand: its terminal is closed, or
// whoever read what it prints has gone. It must remove its data all the same.
func TestDemoIsLeftAlone(t *testing.T) {
	t.Parallel()
	t.Run("terminal closed", func(t *testing.T) {
		// Where the tests are to outlive their terminal (nohup), a process that
		// they start does too, unless they take the signal themselves.
		hangUp := make(chan os.Signal, 1)
		signal.Notify(hangUp, syscall.SIGHUP)
		defer signal.Stop(hangUp)
		d, _ := startDemo(t, "founding a cluster")
		// The shell and the system both tell.
		d.Process.Signal(syscall.SIGHUP)
		d.Process.Signal(syscall.SIGHUP)
		rest, _ := io.ReadAll(d.out)
		if err := d.Wait(); err != nil {
			t.Errorf("the demo ended with %v and said %s%s", err, rest, &d.stderr)
		}
		d.nothingLeft(t)
	})
	t.Run("pipe closed", func(t *testing.T) {
		d, _ := startDemo(t, "founding a cluster")
		d.out.Close()
		err := d.Wait()
		if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 1 ||
			!strings.HasPrefix(d.stderr.String(), "muster: write output: ") {
			t.Errorf("the demo ended with %v and said %s", err, &d.stderr)
		}
		d.nothingLeft(t)
	})
}

// watching is a run of kv watch.
type watching struct {
	*exec.Cmd
	t      *testing.T
	lines  *bufio.Scanner
	stderr bytes.Buffer
}

// watched is a line of it.
type watched struct {
	Type, Key, Value, Reason string
	LogID                    string   `json:"log_id"`
	Resume                   []string `json:"resume"`
}

func watch(t *testing.T, args ...string) *watching {
	t.Helper()
	w := &watching{Cmd: command(t.TempDir(), append(args, "-o", "json")...), t: t}
	w.Stderr = &w.stderr
	out, err := w.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(runMax, func() { w.Process.Kill() })
	t.Cleanup(func() { late.Stop() })
	w.lines = bufio.NewScanner(out)
	w.want("progress", "") // it has begun
	return w
}

// want reads the next line that says more than how far the watch is.
func (w *watching) want(kind, value string) (line watched) {
	w.t.Helper()
	for w.lines.Scan() {
		if line = (watched{}); json.Unmarshal(w.lines.Bytes(), &line) != nil {
			w.t.Fatalf("no JSON: %s", w.lines.Bytes())
		}
		if line.Type == "progress" && kind != "progress" {
			continue
		}
		if line.Type != kind || line.Value != value {
			w.t.Fatalf("got %s, want %s %q", w.lines.Bytes(), kind, value)
		}
		return line
	}
	w.t.Fatalf("it ended before %s %q: %s", kind, value, &w.stderr)
	return line
}

// A watch must print each change of a key at once, and each once, while its slot moves to
// another group and back; interrupted it ends well, and says where another goes on.
func TestWatch(t *testing.T) {
	t.Parallel()
	d, m := startDemo(t, `MUSTER_ENDPOINTS=(\S+)\n`)
	kv := func(args ...string) string {
		t.Helper()
		return muster(t, append([]string{"--endpoints", m[1]}, args...)...)
	}
	place := regexp.MustCompile(`"slot":(\d+),"group":(\d+)`).FindStringSubmatch(kv("kv", "locate", "w/1", "-o", "json"))
	group, _ := strconv.Atoi(place[2])
	move := func(to int) {
		t.Helper()
		c := command(t.TempDir(), "--endpoints", m[1], "slot", "move", place[1], strconv.Itoa(to), "--yes")
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("move: %v: %s", err, out)
		}
	}
	one := watch(t, "--endpoints", m[1], "kv", "watch", "--key", "w/1")
	all := watch(t, "--endpoints", m[1], "kv", "watch")
	kv("kv", "set", "w/1", "a")
	move(group%8 + 1)
	kv("kv", "set", "w/1", "b")
	move(group)
	kv("kv", "set", "w/1", "c")
	kv("kv", "del", "w/1")
	resume := map[*watching][]string{}
	for _, w := range []*watching{one, all} {
		for _, value := range []string{"a", "b", "c"} {
			w.want("set", value)
		}
		w.want("del", "")
		w.Process.Signal(os.Interrupt)
		end := w.want("end", "")
		if err := w.Wait(); err != nil || end.Reason != "cancelled" || !bytes.Contains(w.stderr.Bytes(), []byte("--from="+end.Resume[0])) {
			t.Errorf("it ended with %v and %+v, and said %s", err, end, &w.stderr)
		}
		resume[w] = end.Resume
	}
	kv("kv", "set", "w/1", "d")
	move(group%8 + 1)
	kv("kv", "set", "w/1", "e")
	for w, args := range map[*watching][]string{one: {"--key", "w/1"}, all: nil} {
		args = append([]string{"--endpoints", m[1], "kv", "watch"}, args...)
		for _, id := range resume[w] {
			args = append(args, "--from", id)
		}
		again := watch(t, args...)
		again.want("set", "d")
		again.want("set", "e")
		again.Process.Signal(os.Interrupt)
		again.want("end", "")
		if err := again.Wait(); err != nil {
			t.Errorf("it ended with %v: %s", err, &again.stderr)
		}
	}
	// What can't be: a log id that is yet to come.
	c := command(t.TempDir(), "--endpoints", m[1], "kv", "watch", "--key", "w/1", "--from", "g"+strconv.Itoa(group%8+1)+"/9.999999")
	out, err := c.CombinedOutput()
	if e, ok := err.(*exec.ExitError); !ok || e.ExitCode() != 1 || bytes.Count(out, []byte("\n")) != 1 {
		t.Errorf("a watch from the future ended with %v and said %s", err, out)
	}
	d.Process.Signal(os.Interrupt)
	if err := d.Wait(); err != nil {
		t.Errorf("the demo ended with %v: %s", err, &d.stderr)
	}
}

// What docs/services.md begins with works as it stands: a service is registered, found up, picked
// and removed. A file as dister had it is taken as it is, and read back with all its settings but
// the passwords.
func TestServices(t *testing.T) {
	t.Parallel()
	d, m := startDemo(t, `MUSTER_ENDPOINTS=(\S+)\n`)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the demo said %s%s", &d.said, &d.stderr)
		}
	})
	site := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer site.Close()
	page, err := os.ReadFile(filepath.Join("docs", "services.md"))
	if err != nil {
		t.Fatal(err)
	}
	page = bytes.ReplaceAll(page, []byte("http://127.0.0.1:8080"), []byte(site.URL))
	script := regexp.MustCompile(`(?m)^muster service set site .*\n(?:muster .*\n)+`).Find(page)
	for line := range strings.Lines(string(script)) {
		run := func() (string, error) {
			c := inside(t.TempDir(), exec.Command("sh", "-c", line))
			c.Env = append(c.Env, "MUSTER_ENDPOINTS="+m[1])
			out, err := c.CombinedOutput()
			return string(out), err
		}
		out, err := run()
		picks := strings.HasPrefix(line, "muster service pick")
		// Until the first checks have ended, no instance is up.
		for end := time.Now().Add(runMax); picks && err != nil && time.Now().Before(end); {
			if e := (*exec.ExitError)(nil); !errors.As(err, &e) || e.ExitCode() != 6 {
				break
			}
			out, err = run()
		}
		if err != nil || picks && out != site.URL+"/\n" || out == "" {
			t.Errorf("%s: %v, got %q", line, err, out)
		}
	}
	c := command(t.TempDir(), "--endpoints", m[1], "service", "get", "site")
	if out, _ := c.CombinedOutput(); c.ProcessState.ExitCode() != 4 {
		t.Errorf("after it was removed: %s", out)
	}
	setAndReadBack(t, m[1], filepath.Join("docs", "examples", "services.json"))
	d.Process.Signal(os.Interrupt)
	if err := d.Wait(); err != nil {
		t.Errorf("the demo ended with %v: %s", err, &d.stderr)
	}
}

// setAndReadBack registers the services of a file, and compares what is shown of them with it.
func setAndReadBack(t *testing.T, endpoints, path string) {
	t.Helper()
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var services []struct {
		Name, Type string
		Node       []map[string]string
	}
	if err := json.Unmarshal(text, &services); err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(t.TempDir(), "services.json") // it has passwords, and what git checks out others can read
	if err := os.WriteFile(own, text, 0o600); err != nil {
		t.Fatal(err)
	}
	muster(t, "--endpoints", endpoints, "service", "set", "-f", own)
	all := muster(t, "--endpoints", endpoints, "service", "list")
	for _, s := range services {
		if !strings.Contains(all, s.Name+" ") {
			t.Errorf("%s is not in the list:\n%s", s.Name, all)
		}
		var got struct {
			Name, Type string
			Nodes      []map[string]any
		}
		shown := muster(t, "--endpoints", endpoints, "service", "get", s.Name, "-o", "json")
		if err := json.Unmarshal([]byte(shown), &got); err != nil {
			t.Fatal(err)
		}
		if got.Name != s.Name || got.Type != s.Type || len(got.Nodes) != len(s.Node) {
			t.Errorf("set %+v, got %+v", s, got)
			continue
		}
		again := command(t.TempDir(), "--endpoints", endpoints, "service", "set", "-f", "-")
		again.Stdin = strings.NewReader(shown)
		if out, err := again.CombinedOutput(); err != nil {
			t.Errorf("what get printed of %s can't be set: %v: %s", s.Name, err, out)
		}
		for i, node := range s.Node {
			for key, want := range node {
				if key == "pass" {
					want = "********"
				}
				if got.Nodes[i][key] != want {
					t.Errorf("%s, node %d: %s is %v, want %q", s.Name, i+1, key, got.Nodes[i][key], want)
				}
			}
		}
	}
}

// The binary has no test code in it: package testing declares flags of its own, and code that starts
// and kills nodes does not belong in what ships.
func TestBinaryHasNoTests(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Fields(string(out))
	if !slices.Contains(all, "muster/node/cmd") {
		t.Fatalf("go list does not even find the commands: %q", all)
	}
	for _, p := range all {
		if p == "testing" || strings.HasPrefix(p, "muster/") && strings.HasSuffix(p, "test") {
			t.Errorf("the binary has %s", p)
		}
	}
}
