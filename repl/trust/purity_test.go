package trust_test

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

// Everything here follows from what is given. Chance, a clock or a file would
// come in by an import or by one of the few names of package time and net that
// have them, so both lists are short and each new name is looked at.
func TestPure(t *testing.T) {
	imports := []string{
		"crypto", "crypto/aes", "crypto/cipher", "crypto/ecdsa", "crypto/ed25519", "crypto/elliptic", "crypto/hmac", "crypto/rsa", "crypto/sha256", "crypto/tls", "crypto/x509", "crypto/x509/pkix",
		"encoding/base64", "encoding/binary", "encoding/hex", "encoding/pem", "errors", "fmt", "io", "math/big", "net", "net/url", "slices", "strconv", "strings", "sync/atomic", "time",
		"muster/raft", "muster/shardmap/access",
	}
	names := map[string][]string{"time": {"Time", "Duration", "Hour", "RFC3339"}, "net": {"SplitHostPort"}}
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			if path, _ := strconv.Unquote(i.Path.Value); !slices.Contains(imports, path) {
				t.Errorf("%s imports %s", name, path)
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s starts a goroutine", name)
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && names[x.Name] != nil && !slices.Contains(names[x.Name], n.Sel.Name) {
					t.Errorf("%s uses %s.%s", name, x.Name, n.Sel.Name)
				}
			}
			return true
		})
	}
}
