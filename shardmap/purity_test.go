package shardmap

import (
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
	}
	for _, dir := range []string{".", "pack", "plan"} {
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
				if path, _ := strconv.Unquote(i.Path.Value); !slices.Contains(allowed, path) {
					t.Errorf("%s imports %s", name, path)
				}
			}
		}
	}
}
