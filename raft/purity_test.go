package raft

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// The core sees no clock, disk, socket, goroutine or chance that it was not
// given. That is kept by what it may import; a listed package is one that has
// none of these.
func TestPurity(t *testing.T) {
	allowed := map[string]bool{"cmp": true, "encoding/binary": true, "errors": true, "fmt": true, "hash/crc32": true,
		"slices": true, "sort": true, "strconv": true, "strings": true, "muster/raft/quorum": true}
	for _, dir := range []string{".", "quorum"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no files in %s: %v", dir, err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			fset := token.NewFileSet()
			f, err := parser.ParseFile(fset, name, text, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, imp := range f.Imports {
				if path, _ := strconv.Unquote(imp.Path.Value); !allowed[path] {
					t.Errorf("%s imports %s", name, path)
				}
			}
			for _, word := range []string{"\tgo func", "chan ", "map["} {
				if strings.Contains(string(text), word) {
					t.Errorf("%s has %q: no goroutine, and no order that a map gives", name, word)
				}
			}
		}
	}
}
