package shardmap

import (
	"go/parser"
	"go/token"
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
	}
	for _, dir := range []string{".", "pack"} {
		packages, err := parser.ParseDir(token.NewFileSet(), dir, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range packages {
			for name, f := range p.Files {
				if strings.HasSuffix(name, "_test.go") {
					continue
				}
				for _, i := range f.Imports {
					path, _ := strconv.Unquote(i.Path.Value)
					if !slices.Contains(allowed, path) {
						t.Errorf("%s imports %s", name, path)
					}
				}
			}
		}
	}
}
