package security

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"muster/node/trial/clustertest"
	"muster/repl/trust"
)

// crashes has a node end as one does whose memory is broken, where dumps are wanted, and reports
// whether the kernel wrote one.
func crashes(t *testing.T, extra ...string) (dumped bool, dir string) {
	t.Helper()
	c := clustertest.New(t, 1, append(extra, "--groups", "1")...)
	p := c.Nodes[0]
	dir = t.TempDir()
	c.Env = []string{"GOTRACEBACK=crash"}
	p.Args = append([]string{"-c", `ulimit -c unlimited && cd "$0" && exec "$@"`, dir, clustertest.Binary()}, p.Args...)
	p.Binary = "sh"
	c.Start(0)
	c.Until("it serves", func(context.Context) error {
		select {
		case <-p.Exited:
			log, _ := os.ReadFile(p.Log)
			t.Skipf("this user may not have a process write a dump: %s", log)
		default:
		}
		if r := c.Run("kv", "set", plantedKey, plantedValue); r.Status != clustertest.ExitDone {
			return errors.New(r.Stderr)
		}
		return nil
	})
	if err := p.Cmd.Process.Signal(syscall.SIGABRT); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.Exited:
	case <-time.After(clustertest.ReadyMax):
		t.Fatal("the node does not end")
	}
	status, ok := p.Cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() || status.Signal() != syscall.SIGABRT {
		t.Fatalf("it ended with %v, not by its crash", p.Cmd.ProcessState)
	}
	return status.CoreDump(), dir
}

// A crash of a server that is set to leave a dump must leave none: it would have the server's keys, and
// whatever it was told last. One would doubt it where a host collects dumps whatever the limits of its
// processes are. The control is a server that is started with --core-dumps.
func TestCrashLeavesNoDump(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skipf("no shell: %v", err)
	}
	if dumped, _ := crashes(t, "--core-dumps"); !dumped {
		t.Skip("this host writes no dumps of any process")
	}
	dumped, dir := crashes(t)
	if dumped {
		t.Error("the kernel wrote a dump")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("the crash left %v, %v", left, err)
	}
}

// memoryOf returns what a process could change in its memory, which is what a dump would have. It
// skips the test where this user may not look.
func memoryOf(t *testing.T, pid int) (parts [][]byte) {
	t.Helper()
	mappings, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
	if err == nil {
		defer mappings.Close()
	}
	memory, merr := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err = errors.Join(err, merr); err != nil {
		t.Skipf("only root may look into the memory of a process: %v", err)
	}
	defer memory.Close()
	const pageMax = 1 << 30 // of one mapping, in bytes: larger ones are set aside and not in use
	for s := bufio.NewScanner(mappings); s.Scan(); {
		var from, to uint64
		var mode string
		if n, err := fmt.Sscanf(s.Text(), "%x-%x %s", &from, &to, &mode); n != 3 || err != nil {
			t.Fatalf("%q: %v", s.Text(), err)
		}
		if !strings.HasPrefix(mode, "rw") || to-from > pageMax || strings.Contains(s.Text(), "[v") {
			continue
		}
		part := make([]byte, to-from)
		n, err := memory.ReadAt(part, int64(from))
		if n == 0 && err != nil {
			continue // it is gone by now
		}
		if part = used(part[:n]); len(part) > 0 {
			parts = append(parts, part)
		}
	}
	return parts
}

// used leaves out the pages of a mapping in which there is nothing: most of what a runtime keeps
// ready. No secret is as large.
func used(mapping []byte) []byte {
	const page = 4096
	kept, empty := mapping[:0], make([]byte, page)
	for at := 0; at < len(mapping); at += page {
		if p := mapping[at:min(at+page, len(mapping))]; !bytes.Equal(p, empty[:len(p)]) {
			kept = append(kept, p...)
		}
	}
	return kept
}

// rootKey finds the key of the cluster's root as somebody would who has the disk of a voter: the table
// has it encrypted, and a file the key to that.
func rootKey(t *testing.T, voter *clustertest.Process, root string) []byte {
	t.Helper()
	id, err := trust.ParseRootID(root)
	if err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(voter.Data, "tls", "wrap-*.key"))
	if err != nil || len(names) == 0 {
		t.Fatalf("%s has no wrapping key: %v", voter.Data, err)
	}
	text, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.TrimSpace(string(text)))
	var wrap trust.WrapKey
	if err != nil || copy(wrap[:], b) != len(wrap) {
		t.Fatalf("%s: %v", names[0], err)
	}
	var number []byte
	err = filepath.WalkDir(voter.Data, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || number != nil {
			return err
		}
		file, err := os.ReadFile(path)
		for at := 0; at+trust.WrappedSize <= len(file) && number == nil; at++ {
			if file[at] == 0 {
				continue
			}
			if key, err := trust.Unwrap(wrap, file[at:at+trust.WrappedSize], id); err == nil {
				number, err = key.Bytes()
				return err
			}
		}
		return err
	})
	if err != nil || number == nil {
		t.Fatalf("the key of the root is not on the disk of a voter: %v", err)
	}
	return number
}

// The memory of a server has secrets that it works with, and no others: docs/security.md says which. One
// would doubt it of what passes through a server on its way to somebody else. Nor may the trace that a
// process prints when it is made to end have any.
func TestMemoryOfServers(t *testing.T) {
	t.Parallel()
	c := newPlanted(t, 3)
	for i := range 3 {
		c.Start(i)
	}
	memoryOf(t, c.Nodes[0].Cmd.Process.Pid) // or skip at once
	text, loggedIn := lifeIn(t, c)
	token := strings.Split(text, ".")
	c.GoesByCertificates()
	root := token[1]
	ofToken, keys := planted{}, planted{}
	ofToken.plantText("token's secret", token[len(token)-1])
	if files := keys.plantKeys(t, filepath.Join(loggedIn, root[:32])); files != 1 {
		t.Fatalf("%d keys of the user who logged in", files)
	}
	keys["password of a user who has not logged in"] = []byte(plantedUnused)
	voting := planted{"root's key": rootKey(t, c.Nodes[0], root)}
	own, late := make([]planted, len(c.Nodes)), len(c.Nodes)-1
	for i, p := range c.Nodes {
		own[i] = planted{}
		own[i].plantKeys(t, filepath.Join(p.Data, "tls"))
		for what, secret := range own[i] {
			if strings.Contains(what, "wrap-") {
				voting[what] = secret
				delete(own[i], what)
			}
		}
	}
	if wraps, err := filepath.Glob(filepath.Join(c.Nodes[late].Data, "tls", "wrap-*.key")); err != nil || len(wraps) > 0 {
		t.Fatalf("the host that came later votes in group 0: %q, %v", wraps, err)
	}
	everything := planted{}
	for i, p := range c.Nodes {
		foreign := maps.Clone(keys)
		for j := range c.Nodes {
			if j != i {
				maps.Copy(foreign, own[j])
			}
		}
		if i == late {
			maps.Copy(foreign, voting)
		} else {
			maps.Copy(foreign, ofToken)
		}
		maps.Copy(everything, foreign)
		found := 0
		for _, part := range memoryOf(t, p.Cmd.Process.Pid) {
			for _, what := range foreign.in(part) {
				t.Errorf("the memory of node %d has the %s", i+1, what)
			}
			found += len(own[i].in(part))
		}
		if found == 0 {
			t.Errorf("the search does not find node %d's own key, with which it works", i+1)
		}
	}
	everything["password"] = []byte(plantedPassword)
	for i, p := range c.Nodes {
		if err := p.Cmd.Process.Signal(syscall.SIGQUIT); err != nil {
			t.Fatal(err)
		}
		<-p.Exited
		log, err := os.ReadFile(p.Log)
		if err != nil || !bytes.Contains(log, []byte("goroutine ")) {
			t.Fatalf("node %d printed no trace: %v", i+1, err)
		}
		for _, what := range everything.in(log) {
			t.Errorf("the trace of node %d has the %s", i+1, what)
		}
	}
}
