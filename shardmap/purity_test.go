package shardmap

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// What entries mean must depend on nothing but the entries. A clock, a disk, a
// socket or chance would come in by an import; the list is short so that a new
// one is looked at.
func TestImportsArePure(t *testing.T) {
	allowed := []string{
		"bytes", "cmp", "encoding/binary", "errors", "fmt", "io", "math", "slices", "strconv", "strings", "sync", "sync/atomic",
		"github.com/cespare/xxhash/v2", "muster/shardmap/pack", "muster/raft",
		"muster/shardmap", "muster/raft/quorum", // of plan
		"encoding/json", "net/netip", "net/url", "sort", "unicode", "unicode/utf16", "unicode/utf8", "muster/shardmap/registry", // of registry
	}
	units := []string{"Duration", "Millisecond", "Second", "Minute", "Hour", "UnixMilli", "RFC3339Nano"}
	for _, dir := range []string{".", "pack", "plan", "registry"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no files in %s: %v", dir, err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range f.Imports {
				path, _ := strconv.Unquote(i.Path.Value)
				if path == "time" {
					if used := usedOf(t, name, "time"); !allIn(used, units) {
						t.Errorf("%s uses %q of package time, which has a clock; only %q are pure", name, used, units)
					}
					continue
				}
				if !slices.Contains(allowed, path) {
					t.Errorf("%s imports %s", name, path)
				}
			}
		}
	}
}

// usedOf returns what a file uses of an imported package.
func usedOf(t *testing.T, file, pkg string) (used []string) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok && x.Name == pkg {
				used = append(used, s.Sel.Name)
			}
		}
		return true
	})
	return used
}

func allIn(list, allowed []string) bool {
	return !slices.ContainsFunc(list, func(s string) bool { return !slices.Contains(allowed, s) })
}
