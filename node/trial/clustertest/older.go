package clustertest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// building is held while an older binary is looked for or built.
var building sync.Mutex

// OlderBinary builds the binary of a commit, once for all runs of the tests, and returns its path.
// Without the repository or that commit the test is skipped.
func OlderBinary(t *testing.T, from string) string {
	t.Helper()
	building.Lock() // tests that run together want the same ones
	defer building.Unlock()
	git := func(args ...string) (string, error) {
		out, err := exec.Command("git", args...).CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	root, err := git("rev-parse", "--show-toplevel")
	if err != nil {
		t.Skipf("NOT TESTED: upgrades. There is no git repository here to build the older muster from: %s (%v)", root, err)
	}
	commit, err := git("rev-parse", "--verify", "--quiet", from+"^{commit}")
	if err != nil {
		// A whole clone without it has lost it, and would test nothing from then on.
		if shallow, err := git("rev-parse", "--is-shallow-repository"); err == nil && shallow == "false" {
			t.Fatalf("the history has no commit %s to build the older muster from: name one that it has", from)
		}
		t.Skipf("NOT TESTED: upgrades. The repository has no commit %s to build the older muster from; git fetch --unshallow brings it", from)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = t.TempDir()
	}
	cache = filepath.Join(cache, "muster-trial")
	built := filepath.Join(cache, "muster-"+commit)
	if _, err := os.Stat(built); err == nil {
		return built
	} else if !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if err := os.MkdirAll(cache, 0o700); err != nil {
		t.Fatal(err)
	}
	source := t.TempDir()
	archive := exec.Command("git", "-C", root, "archive", commit)
	extract := exec.Command("tar", "-x", "-C", source)
	if extract.Stdin, err = archive.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	archive.Stderr, extract.Stderr = &said, &said
	if err := archive.Start(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(extract.Run(), archive.Wait()); err != nil {
		t.Fatalf("extract commit %s: %v\n%s", commit, err, &said)
	}
	// Under another name first: a test that is killed leaves no half of a binary.
	half := filepath.Join(cache, fmt.Sprintf("half-%s-%d", commit, os.Getpid()))
	build := exec.Command("go", "build", "-trimpath", "-o", half, ".")
	build.Dir = source
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build commit %s: %v\n%s", commit, err, out)
	}
	if err := os.Rename(half, built); err != nil {
		t.Fatal(err)
	}
	return built
}
