package home_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"muster/repl/client/home"
	"muster/repl/trust"
)

// A demonstration must leave nothing behind, even if it is killed: then the next one cleans up. That must not
// touch what a running demonstration keeps, nor any credential without the mark.
func TestScratch(t *testing.T) {
	if wrong := sweeps(t); wrong != "" {
		t.Error(wrong)
	}
}

// sweeps says what is left, or gone, that must not be.
func sweeps(t *testing.T) string {
	h := in(t)
	put := func(cluster uint64) *made {
		m := certificate(t, ann(cluster))
		if err := h.Put(m.root, "demo", m.leaf, m.key); err != nil {
			t.Fatal(err)
		}
		return m
	}
	lasting, runs, killed, ends := put(1), put(2), put(3), put(4)
	running, err := h.Scratch(runs.id())
	if err != nil {
		t.Fatal(err)
	}
	ended, err := h.Scratch(ends.id())
	if err != nil {
		t.Fatal(err)
	}
	// Another process, which is killed while it has the lock.
	other := exec.Command(os.Args[0], "-test.run=TestScratchOfAnother$")
	other.Env = append(os.Environ(), "SCRATCH_HOME="+h.Dir(), "SCRATCH_ROOT="+killed.id().String())
	out, err := other.StdoutPipe()
	if err == nil {
		err = other.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	said := make([]byte, len("locked"))
	if n, err := out.Read(said); err != nil || string(said[:n]) != "locked" {
		t.Fatalf("the other process says %q, %v", said, err)
	}
	h.Sweep()
	if _, err := h.Credential(killed.id()); err != nil {
		return fmt.Sprintf("of a process that runs: %v", err)
	}
	if err := other.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	other.Wait()
	h.Sweep()
	ended()
	for _, c := range []struct {
		whose string
		id    trust.RootID
		there bool
	}{{"of no process", lasting.id(), true}, {"of this process", runs.id(), true}, {"of one that was killed", killed.id(), false}, {"that has ended", ends.id(), false}} {
		if _, err := h.Credential(c.id); (err == nil) != c.there || err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Sprintf("%s: %v", c.whose, err)
		}
	}
	running()
	return ""
}

// TestScratchOfAnother is the other process of [TestScratch], and nothing by itself.
func TestScratchOfAnother(t *testing.T) {
	dir := os.Getenv("SCRATCH_HOME")
	if dir == "" {
		return
	}
	h, err := home.In(dir)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := h.Roots()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range kept.Roots {
		if id := trust.RootIDOf(r.Raw); id.String() == os.Getenv("SCRATCH_ROOT") {
			if _, err := h.Scratch(id); err != nil {
				t.Fatal(err)
			}
			fmt.Print("locked")
			time.Sleep(time.Minute) // it is killed before
		}
	}
}

// A home with more roots than are looked at says so, and names a folder that has been of no use for longest.
func TestTooManyRoots(t *testing.T) {
	h := in(t)
	m := certificate(t, ann(1))
	if err := h.Put(m.root, "long gone", m.leaf, m.key); err != nil {
		t.Fatal(err)
	}
	oldest := filepath.Join(h.Dir(), m.id().String()[:32])
	year := time.Now().AddDate(-1, 0, 0)
	for _, name := range []string{"root.pem", "user.pem"} {
		if err := os.Chtimes(filepath.Join(oldest, name), year, year); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 256 {
		if _, err := h.Roots(); err != nil {
			t.Fatalf("%d roots: %v", i+1, err)
		}
		m := certificate(t, ann(uint64(i)+2))
		if err := h.Put(m.root, "other", nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	_, err := h.Roots()
	if err == nil {
		t.Fatal("got no error")
	}
	for _, want := range []string{"more than 256 roots", "remove the folders", oldest, year.UTC().Format(time.DateOnly), `"long gone"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	// A folder left by a demonstration that is gone is the first to go.
	if err := os.WriteFile(filepath.Join(oldest, "scratch"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	kept, err := h.Roots()
	if err != nil || len(kept.Roots) != 256 {
		t.Errorf("with one that is of no use: %d roots, %v", len(kept.Roots), err)
	}
}
