package shardmap

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
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
		"bytes", "cmp", "crypto/sha256", "encoding/binary", "errors", "fmt", "io", "iter", "math", "math/bits", "slices", "strconv", "strings", "sync", "sync/atomic",
		"github.com/cespare/xxhash/v2", "muster/shardmap/pack", "muster/raft",
		"muster/shardmap", "muster/raft/quorum", // of plan
		"encoding/json", "net/netip", "net/url", "sort", "unicode", "unicode/utf16", "unicode/utf8", "muster/shardmap/registry", // of registry
		"muster/shardmap/points", // where windows begin, and which times a point can have
		"muster/shardmap/points/column",
		"muster/shardmap/points/block", // names of files
		"muster/shardmap/points/shard",
		"muster/shardmap/access", // what the table holds of users and roles
	}
	units := []string{"Duration", "Millisecond", "Second", "Minute", "Hour", "UnixMilli", "RFC3339Nano"}
	for _, dir := range []string{".", "access", "pack", "plan", "registry"} {
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

// impurity is something in the code by which two replicas could come to differ though they apply
// the same entries.
type impurity string

const (
	rangesMap   impurity = "ranges over a Go map, whose order is chance"
	usesFloat   impurity = "uses a floating-point number, whose text and last bit are the compiler's and the processor's"
	asksCap     impurity = "asks for a capacity, which is the allocator's"
	changesVar  impurity = "changes a package's variable, which is not part of the state"
	startsOther impurity = "starts a goroutine, or waits for one"
	showsPlace  impurity = "formats an address"
)

// impure are the functions that may, each with why that decides nothing.
var impure = map[string]map[impurity]string{
	"slotState.leasesWhole": {rangesMap: "all are looked up, and one that is missing is missing in any order"},
	"lookup.add":            {usesFloat: "when a table grows is a matter of layout, which is in no snapshot or digest"},
	"store.emptyWorst":      {usesFloat: "which chunk is emptied is a matter of layout"},
	"store.openChunk":       {asksCap: "where records lie is a matter of layout"},
	"store.truncate":        {asksCap: "lists of chunks are a matter of layout"},
	"store.join":            {asksCap: "so is the list of leaves"},
	"sessions.finish":       {asksCap: "so is when outcomes move to the front of their array"},
	"ReadCommand":           {asksCap: "room for the items is made, or used again"},
	"streamReader.read":     {asksCap: "a stream is read in pieces of any size"},
	"registry.file.nodes":   {asksCap: "a file of services is read before there is a command"},
	"registry.PickSticky":   {usesFloat: "a client picks an instance; no command does"},
}

// The state must follow from the entries alone. What could come between stands in no import: the
// order of a Go map, the text of a floating-point number, a capacity, an address, a variable of the
// package that a setting or an earlier entry has changed. Each use in the packages that carry out
// commands is looked at, and on the list with its reason. A variable that is changed through a pointer
// to it, by a method of its own too, is not found, nor an address that %v formats.
func TestApplyDependsOnEntriesAlone(t *testing.T) {
	found := map[string]map[impurity]bool{}
	for _, dir := range []string{".", "pack", "registry"} {
		for name, kinds := range impurities(t, dir) {
			if dir != "." {
				name = filepath.Base(dir) + "." + name
			}
			for kind, where := range kinds {
				if found[name] == nil {
					found[name] = map[impurity]bool{}
				}
				if found[name][kind] = true; impure[name][kind] == "" {
					t.Errorf("%s: %s %s; if it decides nothing, say why on the list", where, name, kind)
				}
			}
		}
	}
	for name, kinds := range impure {
		for kind := range kinds {
			if !found[name][kind] {
				t.Errorf("%s is on the list, but no longer %s", name, kind)
			}
		}
	}
}

// impurities returns what there is of them in a package, without its tests and what is behind a
// build tag, by function.
func impurities(t *testing.T, dir string) map[string]map[impurity]token.Position {
	t.Helper()
	set := token.NewFileSet()
	var files []*ast.File
	listed, err := exec.Command("go", "list", "-f", `{{join .GoFiles "\n"}}`, "./"+dir).Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for _, name := range strings.Fields(string(listed)) {
		f, err := parser.ParseFile(set, filepath.Join(dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}}
	pkg, err := (&types.Config{Importer: builtImporter(t, set, dir)}).Check(dir, set, files, info)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]map[impurity]token.Position{}
	for _, f := range files {
		for _, d := range f.Decls {
			decl, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			note := func(kind impurity, at ast.Node) {
				name := funcName(decl)
				if found[name] == nil {
					found[name] = map[impurity]token.Position{}
				}
				found[name][kind] = set.Position(at.Pos())
			}
			ast.Inspect(decl, func(n ast.Node) bool {
				inspectPurity(info, pkg, n, note)
				return true
			})
		}
	}
	return found
}

// inspectPurity notes what one node of a function does.
func inspectPurity(info *types.Info, pkg *types.Package, n ast.Node, note func(impurity, ast.Node)) {
	changed := func(x ast.Expr) {
		for {
			switch e := x.(type) {
			case *ast.SelectorExpr:
				x = e.X
				continue
			case *ast.IndexExpr:
				x = e.X
				continue
			case *ast.SliceExpr:
				x = e.X
				continue
			case *ast.StarExpr:
				x = e.X
				continue
			case *ast.ParenExpr:
				x = e.X
				continue
			case *ast.Ident:
				if v, ok := info.Uses[e].(*types.Var); ok && v.Parent() == pkg.Scope() {
					note(changesVar, e)
				}
			}
			return
		}
	}
	switch n := n.(type) {
	case *ast.RangeStmt:
		switch info.Types[n.X].Type.Underlying().(type) {
		case *types.Map:
			note(rangesMap, n)
		case *types.Chan:
			note(startsOther, n)
		}
	case *ast.UnaryExpr:
		if n.Op == token.ARROW {
			note(startsOther, n)
		}
	case *ast.GoStmt, *ast.SelectStmt, *ast.SendStmt:
		note(startsOther, n)
	case *ast.AssignStmt:
		for _, x := range n.Lhs {
			changed(x)
		}
	case *ast.IncDecStmt:
		changed(n.X)
	case *ast.CallExpr:
		if b, ok := info.Uses[identOf(n.Fun)].(*types.Builtin); ok {
			switch b.Name() {
			case "cap":
				note(asksCap, n)
			case "clear", "copy", "delete":
				changed(n.Args[0])
			}
		}
	case *ast.BasicLit:
		if n.Kind == token.STRING && strings.Contains(n.Value, "%p") {
			note(showsPlace, n)
		}
	}
	if x, ok := n.(ast.Expr); ok {
		if v := info.Types[x]; v.Type != nil && v.Value == nil {
			if b, ok := v.Type.Underlying().(*types.Basic); ok && b.Info()&(types.IsFloat|types.IsComplex) != 0 {
				note(usesFloat, x)
			}
		}
	}
}

// The search for impurities must find each kind, in whatever form. One would doubt it of those
// that the packages do not have: nothing on the list shows that they would be found.
func TestImpuritiesAreFound(t *testing.T) {
	const head = "package p\nvar v struct{ n int; list []int; m map[int]int; p *int }\nvar c chan int\n"
	for body, want := range map[string]impurity{
		"for range v.m {}":                 rangesMap,
		"println(float64(v.n))":            usesFloat,
		"println(cap(v.list))":             asksCap,
		"v.n = 1":                          changesVar,
		"(v.n)++":                          changesVar,
		"*v.p = 1":                         changesVar,
		"v.list[0] = 1":                    changesVar,
		"copy(v.list[1:], v.list)":         changesVar,
		"clear(v.list)":                    changesVar,
		"delete(v.m, 1)":                   changesVar,
		"go println()":                     startsOther,
		"<-c":                              startsOther,
		"c <- 1":                           startsOther,
		"for range c {}":                   startsOther,
		"select {}":                        startsOther,
		`println("%p")`:                    showsPlace,
		"w := v; w.n = 1":                  "",
		"for range v.list {}":              "",
		"m := map[int]int{}; delete(m, 1)": "",
	} {
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, "p.go", head+"func f() { "+body+" }", parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}}
		pkg, err := new(types.Config).Check("p", set, []*ast.File{f}, info)
		if err != nil {
			t.Fatal(err)
		}
		found := impurity("")
		ast.Inspect(f, func(n ast.Node) bool {
			inspectPurity(info, pkg, n, func(kind impurity, _ ast.Node) { found = kind })
			return true
		})
		if found != want {
			t.Errorf("%s: got %q, want %q", body, found, want)
		}
	}
}

func identOf(x ast.Expr) *ast.Ident {
	id, _ := x.(*ast.Ident)
	return id
}

// funcName returns the name of a function, with its receiver's type before it.
func funcName(d *ast.FuncDecl) string {
	if d.Recv == nil {
		return d.Name.Name
	}
	x := d.Recv.List[0].Type
	if p, ok := x.(*ast.StarExpr); ok {
		x = p.X
	}
	if i, ok := x.(*ast.IndexExpr); ok {
		x = i.X
	}
	return fmt.Sprintf("%s.%s", x.(*ast.Ident).Name, d.Name.Name)
}

// builtImporter imports what a package imports as it was built.
func builtImporter(t *testing.T, set *token.FileSet, dir string) types.Importer {
	t.Helper()
	out, err := exec.Command("go", "list", "-export", "-deps", "-f", "{{.ImportPath}}={{.Export}}", "./"+dir).Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	built := map[string]string{}
	for line := range bytes.Lines(out) {
		path, file, _ := strings.Cut(strings.TrimSpace(string(line)), "=")
		built[path] = file
	}
	return importer.ForCompiler(set, "gc", func(path string) (io.ReadCloser, error) { return os.Open(built[path]) })
}
