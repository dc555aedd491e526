package logstore

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// enumerates is called by tests that go through all points of all stories, one after
// the other, in one goroutine. Under the race detector they are skipped: it watches
// what two goroutines do to one word, and these are one. They took four fifths of its
// time. The concurrent uses of a log have tests of their own, which it watches.
func enumerates(t *testing.T) {
	t.Helper()
	if raceOn {
		t.Skip("one goroutine alone: the race detector has nothing to watch (docs/testing.md)")
	}
}

// leftOutOfTheRace reports whether a file has such tests, or the stories that they tell.
func leftOutOfTheRace(t *testing.T, name string) bool {
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return name == "story_test.go" || bytes.Contains(b, []byte("\tenumerates(t)\n"))
}

// These tests are one goroutine because neither the log nor they start another.
func TestNoGoroutineIsStarted(t *testing.T) {
	for _, dir := range []string{".", "vfs"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no files in %s: %v", dir, err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") && !leftOutOfTheRace(t, name) {
				continue
			}
			set := token.NewFileSet()
			f, err := parser.ParseFile(set, name, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(f, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.GoStmt:
					t.Errorf("%s starts a goroutine", set.Position(n.Pos()))
				case *ast.SelectorExpr:
					if n.Sel.Name == "Parallel" {
						t.Errorf("%s runs beside other tests", set.Position(n.Pos()))
					}
				}
				return true
			})
		}
	}
}
