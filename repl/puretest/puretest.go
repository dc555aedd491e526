// Package puretest checks in tests that a package decides by nothing but what it is told.
//
// A clock, a socket, a file or chance comes in by an import, or by a name of a package that has
// harmless ones too. So a test lists what may be used, and each new name is looked at.
package puretest

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

// Check fails the test if a file of the package in the working directory, tests aside, imports
// anything but imports, uses a name that names does not list of a package that it does list, or
// starts a goroutine. A package in names may be imported too.
func Check(t testing.TB, imports []string, names map[string][]string) {
	t.Helper()
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
			if path, _ := strconv.Unquote(i.Path.Value); names[path] == nil && !slices.Contains(imports, path) {
				t.Errorf("%s imports %s", name, path)
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && names[x.Name] != nil && !slices.Contains(names[x.Name], n.Sel.Name) {
					t.Errorf("%s uses %s.%s", name, x.Name, n.Sel.Name)
				}
			case *ast.GoStmt:
				t.Errorf("%s starts a goroutine", name)
			}
			return true
		})
	}
}
