package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// The house keeps its own rules by test, so that one command is the whole
// gate: what is not formatted, not explained, or not there fails like a bug.

// walk calls f for each file of the project with the suffix.
func walk(t *testing.T, suffix string, f func(path string, content []byte)) {
	t.Helper()
	found := false
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != "." && strings.HasPrefix(d.Name(), ".") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, suffix) {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		found = true
		f(path, b)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !found {
		t.Fatalf("no file ends with %s; is this the project's folder?", suffix)
	}
}

func TestFormatted(t *testing.T) {
	walk(t, ".go", func(path string, b []byte) {
		want, err := format.Source(b)
		if err != nil {
			t.Errorf("%s: %v", path, err)
		} else if !bytes.Equal(b, want) {
			t.Errorf("%s: gofmt would change it", path)
		}
	})
}

func TestVet(t *testing.T) {
	if out, err := exec.Command("go", "vet", "./...").CombinedOutput(); err != nil {
		t.Errorf("go vet: %v\n%s", err, out)
	}
}

// Each package opens with one sentence that says what it is for. One that
// needs an "and" is two packages.
func TestPackagesIntroduceThemselves(t *testing.T) {
	docs := map[string][]string{}
	names := map[string]string{}
	walk(t, ".go", func(path string, b []byte) {
		if strings.HasSuffix(path, "_test.go") {
			return
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, b, parser.ParseComments|parser.PackageClauseOnly)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			return
		}
		dir := filepath.Dir(path)
		names[dir] = f.Name.Name
		if f.Doc != nil {
			docs[dir] = append(docs[dir], f.Doc.Text())
		}
	})
	for dir, name := range names {
		if len(docs[dir]) != 1 {
			t.Errorf("%s: package %s has %d package comments, want one", dir, name, len(docs[dir]))
			continue
		}
		first, _, _ := strings.Cut(strings.ReplaceAll(docs[dir][0], "\n", " "), ". ")
		first = strings.TrimSpace(first)
		want := "Package " + name + " "
		switch {
		case name == "main" && dir == ".":
			want = "Muster "
		case name == "main":
			want = "Command " + filepath.Base(dir) + " "
		}
		if !strings.HasPrefix(first, want) {
			t.Errorf("%s: the package comment begins %q, want %q", dir, first, want)
		}
		if strings.Contains(first, " and ") {
			t.Errorf("%s: the first sentence needs an \"and\": %q", dir, first)
		}
	}
}

// What is exported has a comment: it is the contract.
func TestExportedIsDocumented(t *testing.T) {
	walk(t, ".go", func(path string, b []byte) {
		if strings.HasSuffix(path, "_test.go") {
			return
		}
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, path, b, parser.ParseComments)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			return
		}
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && d.Doc == nil && !smallMethod(d) {
					t.Errorf("%s: %s is exported without a comment", set.Position(d.Pos()), d.Name)
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					switch s := s.(type) {
					case *ast.TypeSpec:
						if s.Name.IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
							t.Errorf("%s: %s is exported without a comment", set.Position(s.Pos()), s.Name)
						}
					case *ast.ValueSpec: // the comment of a group is that of all in it
						if s.Names[0].IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
							t.Errorf("%s: %s is exported without a comment", set.Position(s.Pos()), s.Names[0])
						}
					}
				}
			}
		}
	})
}

// A comment that begins with a name begins with that of what it stands at: a
// rename that forgets one leaves a reader with a word that means nothing, or
// something else. Sentences, which begin with a capital, are free.
func TestCommentsNameTheirSubject(t *testing.T) {
	walk(t, ".go", func(path string, b []byte) {
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, path, b, parser.ParseComments)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			return
		}
		check := func(name string, doc *ast.CommentGroup) {
			first, _, _ := strings.Cut(doc.Text(), " ")
			if r, _ := utf8.DecodeRuneInString(first); unicode.IsLower(r) && strings.TrimRight(first, ",:") != name {
				t.Errorf("%s: the comment of %s begins with %q", set.Position(doc.Pos()), name, first)
			}
		}
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if !strings.HasPrefix(d.Name.Name, "Test") { // a test's begins with what must hold
					check(d.Name.Name, d.Doc)
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					if s, ok := s.(*ast.TypeSpec); ok {
						check(s.Name.Name, s.Doc)
						if len(d.Specs) == 1 {
							check(s.Name.Name, d.Doc)
						}
					}
				}
			}
		}
	})
}

// smallMethod reports whether d is a method of an interface that everybody knows,
// or one of a kind that its type explains.
func smallMethod(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return false
	}
	switch d.Name.Name {
	case "String", "Error", "Unwrap", "Append", "Read", "Close", "Len", "Less", "Swap", "Write", "ReadAt", "WriteAt", "Sync", "Truncate", "Size":
		return true
	}
	return false
}

// What people read reaches the terminal by one way, which takes out what would
// steer it (node/cmd/text.go). Standard output has no other that takes a format.
func TestOneWayToTheTerminal(t *testing.T) {
	const commands, warnf = "node/cmd", "node/cmd/console.go"
	other := regexp.MustCompile(`fmt\.Fprint(f|ln)?\((os\.Std|\w+\.(out|err)\b)|fmt\.Print`)
	allowed := map[string]int{warnf: 1}
	found := map[string]int{}
	walk(t, ".go", func(path string, b []byte) {
		path = filepath.ToSlash(path)
		if dir := filepath.ToSlash(filepath.Dir(path)); dir != commands && dir != "." || strings.HasSuffix(path, "_test.go") {
			return
		}
		for _, m := range other.FindAll(b, -1) {
			if found[path]++; found[path] > allowed[path] {
				t.Errorf("%s: %s; want console.line, a table, printJSON or warnf", path, m)
			}
		}
	})
	if found[warnf] != 1 {
		t.Error("the one allowed way is not found: the pattern finds nothing")
	}
}

// The commands are behind one door: what another program wants of them belongs
// into a package below.
func TestHouseCommandsHaveOneDoor(t *testing.T) {
	var doors []string
	walk(t, ".go", func(path string, b []byte) {
		if filepath.ToSlash(filepath.Dir(path)) != "node/cmd" || strings.HasSuffix(path, "_test.go") {
			return
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, b, parser.SkipObjectResolution)
		if err != nil {
			t.Error(err)
			return
		}
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil && d.Name.IsExported() {
					doors = append(doors, d.Name.Name)
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					switch s := s.(type) {
					case *ast.TypeSpec:
						if s.Name.IsExported() {
							doors = append(doors, s.Name.Name)
						}
					case *ast.ValueSpec:
						for _, n := range s.Names {
							if n.IsExported() {
								doors = append(doors, n.Name)
							}
						}
					}
				}
			}
		}
	})
	if !slices.Equal(doors, []string{"Main"}) {
		t.Errorf("node/cmd exports %v, want Main alone", doors)
	}
}

// Whoever opens the project's folder sees the packages, the documents, and what
// has to stand beside go.mod. What else is there has a room of its own; what git
// ignores is nobody's.
func TestHouseTop(t *testing.T) {
	want := []string{"LICENSE", "README.md", "cmd_test.go", "docs", "go.mod", "go.sum", "house_test.go", "logstore", "main.go", "node", "raft", "repl", "shardmap"}
	ignored, err := os.ReadFile(".gitignore")
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		known := strings.HasPrefix(e.Name(), ".")
		for pattern := range strings.FieldsSeq(string(ignored)) {
			match, err := filepath.Match(strings.Trim(pattern, "/"), e.Name())
			known = known || match && err == nil
		}
		if !known {
			got = append(got, e.Name())
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("at the top stand %v\nwant %v", got, want)
	}
}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// A link in the documents leads somewhere.
func TestLinksLeadSomewhere(t *testing.T) {
	walk(t, ".md", func(path string, b []byte) {
		for _, m := range link.FindAllSubmatch(b, -1) {
			u, err := url.Parse(string(m[1]))
			if err != nil {
				t.Errorf("%s: link %s: %v", path, m[1], err)
				continue
			}
			if u.Scheme != "" || u.Path == "" {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), u.Path)); err != nil {
				t.Errorf("%s: link %s leads nowhere: %v", path, m[1], err)
			}
		}
	})
}

// shownBy is how docs/guarantees.md names a test: by its package and its function.
var shownBy = regexp.MustCompile("`([a-z/]+)\\.(Test[A-Za-z0-9_]*)`")

// A guarantee that no test shows is a hope. Each row of the table of guarantees names its
// tests, and they are there.
func TestGuaranteesNameTests(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("docs", "guarantees.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(page), "| operation | guarantee | under | shown by |\n|---|---|---|---|\n")
	if !ok {
		t.Fatal("docs/guarantees.md has no table of guarantees")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	for row := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(row, "| \n"), "|")
		named := shownBy.FindAllStringSubmatch(cells[len(cells)-1], -1)
		if len(cells) != 4 || len(named) == 0 {
			t.Errorf("docs/guarantees.md: the row of %q has %d cells, and names %d tests in the last", cells[0], len(cells), len(named))
		}
		for _, m := range named {
			if !hasTest(t, m[1], m[2]) {
				t.Errorf("docs/guarantees.md: the row of %q names %s, which is not among the tests of %s", cells[0], m[2], m[1])
			}
		}
	}
}

// hasTest reports whether a folder has a test of this name.
func hasTest(t *testing.T, folder, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte("\nfunc "+name+"(t *testing.T)")) {
			return true
		}
	}
	return false
}

// One word means one thing. The glossary says which, in order, and where in the
// code to find it; a name that was changed or removed fails here, so that the
// page follows the code.
func TestDocGlossary(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("docs", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := glossary(string(page))
	if err != nil {
		t.Fatal("docs/README.md: ", err)
	}
	packages := map[string]map[string]bool{}
	for i, r := range rows {
		if i > 0 && r.term <= rows[i-1].term {
			t.Errorf("glossary: %q stands behind %q", r.term, rows[i-1].term)
		}
		if packages[r.pkg] == nil {
			packages[r.pkg] = declared(t, r.pkg)
		}
		if !packages[r.pkg][r.name] {
			t.Errorf("glossary: %q is %s of package %s, which declares no such name", r.term, r.name, r.pkg)
		}
	}
}

// glossaryRow is a term with the name that the code has for it: that of a
// declaration, or of a field or method behind its type's, as in Identity.Chain.
type glossaryRow struct{ term, pkg, name string }

var glossaryLine = regexp.MustCompile("(?m)^\\| ([a-z ]+) \\| [^|\n]+ \\| `([a-z/]+)\\.([A-Za-z.]+)` \\|$")

// glossary reads the table of page. Each of its lines must be a row.
func glossary(page string) (rows []glossaryRow, err error) {
	const head = "| term | meaning | in the code |\n|---|---|---|\n"
	_, table, ok := strings.Cut(page, head)
	if !ok {
		return nil, fmt.Errorf("no table begins with %q", head)
	}
	table, _, _ = strings.Cut(table, "\n\n")
	for line := range strings.Lines(table) {
		m := glossaryLine.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			return nil, fmt.Errorf("want | term | meaning | `package.Name` |, got %s", line)
		}
		rows = append(rows, glossaryRow{m[1], m[2], m[3]})
	}
	return rows, nil
}

// declared returns what the package in dir declares outside its tests: types,
// functions, constants and variables, and fields and methods behind their type.
func declared(t *testing.T, dir string) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	files, err := filepath.Glob(filepath.Join(filepath.FromSlash(dir), "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil {
					names[d.Name.Name] = true
				} else {
					names[receiver(d.Recv.List[0].Type)+"."+d.Name.Name] = true
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					declaredBy(s, names)
				}
			}
		}
	}
	return names
}

func declaredBy(s ast.Spec, names map[string]bool) {
	switch s := s.(type) {
	case *ast.ValueSpec:
		for _, n := range s.Names {
			names[n.Name] = true
		}
	case *ast.TypeSpec:
		names[s.Name.Name] = true
		if body, ok := s.Type.(*ast.StructType); ok {
			for _, f := range body.Fields.List {
				for _, n := range f.Names {
					names[s.Name.Name+"."+n.Name] = true
				}
			}
		}
	}
}

var goFile = regexp.MustCompile("`/?([\\w./*-]+\\.go)`")

// A file of code that a document names is there: by its way from the top, or
// somewhere by its name alone, where the sentence says of which package it is.
func TestDocsNameFiles(t *testing.T) {
	names := map[string]bool{}
	walk(t, ".go", func(path string, _ []byte) { names[filepath.Base(path)] = true })
	walk(t, ".md", func(path string, b []byte) {
		for _, m := range goFile.FindAllSubmatch(b, -1) {
			name := string(m[1])
			if found, err := filepath.Glob(filepath.FromSlash(name)); !names[name] && (err != nil || len(found) == 0) {
				t.Errorf("%s: there is no %s", path, name)
			}
		}
	})
}

// A planted bug shows only where CI runs its test: each package that has some must be in the list of .ci/run. A package that
// is missing there passes the gate, whatever its tests find.
func TestCIPlantsAllBugs(t *testing.T) {
	ci, err := os.ReadFile(".ci/run")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for line := range strings.Lines(string(ci)) {
		if _, list, ok := strings.Cut(line, "-tags plantedbugs "); ok {
			for _, word := range strings.Fields(list) {
				listed[word] = true
			}
		}
	}
	walk(t, "planted_test.go", func(path string, _ []byte) {
		if dir := "./" + filepath.Dir(path); !listed[dir] {
			t.Errorf(".ci/run plants no bug in %s, which has %s", dir, path)
		}
	})
}

// The newcomer's two commands stand in the README, and what runs the tests
// there is what runs them for every change.
func TestReadmeAndCIAgree(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	ci, err := os.ReadFile(".ci/run")
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"go run . demo", "go test ./..."} {
		if !bytes.Contains(readme, []byte(command)) {
			t.Errorf("README.md does not name %q", command)
		}
	}
	if !bytes.Contains(ci, []byte("\ngo test ./...\n")) {
		t.Error(".ci/run does not run `go test ./...` as it stands in README.md")
	}
}

// A type that has grown past these limits answers several questions, however
// many small files it is spread over; a file past them holds several ideas.
const (
	methodsMax = 40
	fieldsMax  = 40
	linesMax   = 700
)

// exception is what is larger than its limit today.
type exception struct {
	what   string // as [house.measure] names it
	number int    // of today: neither more nor less is let pass
	reason string
}

// exceptions is empty, and stays so: split the type, or the file, instead of adding to
// it.
var exceptions = []exception{}

func TestHouseSizes(t *testing.T) {
	h := house{numbers: map[string]int{}, limits: map[string]int{}, methods: map[string][]string{}}
	walk(t, ".go", func(path string, b []byte) { h.measure(t, path, b) })
	listed := map[string]bool{}
	for _, e := range exceptions {
		now, limit := h.numbers[e.what], h.limits[e.what]
		switch {
		case listed[e.what]:
			t.Errorf("%s: listed twice", e.what)
		case e.reason == "":
			t.Errorf("%s: an exception needs a reason", e.what)
		case now > e.number:
			t.Errorf("%s: %d, and it was %d: it may only shrink. Split it; at most %d need no reason", e.what, now, e.number, limit)
		case now <= limit:
			t.Errorf("%s: %d, which is within the limit: strike out its exception", e.what, now)
		case now < e.number:
			t.Errorf("%s: shrunk from %d to %d: set the number of its exception down", e.what, e.number, now)
		}
		listed[e.what] = true
	}
	for what, n := range h.numbers {
		if n > h.limits[what] && !listed[what] {
			t.Errorf("%s: %d, want at most %d: split it by question, each part with its own fields", what, n, h.limits[what])
		}
	}
}

// house is what of the project has a limit, with its number.
type house struct {
	numbers, limits map[string]int
	methods         map[string][]string // of each type; files for other systems have the same ones again
}

func (h *house) note(what string, number, limit int) {
	h.numbers[what], h.limits[what] = max(h.numbers[what], number), limit
}

// measure takes one file. What tests declare is counted apart from what they
// test, even methods that they give it.
func (h *house) measure(t *testing.T, path string, b []byte) {
	h.note("lines of "+path, strings.Count(string(b), "\n"), linesMax)
	f, err := parser.ParseFile(token.NewFileSet(), path, b, parser.SkipObjectResolution)
	if err != nil {
		t.Errorf("%s: %v", path, err)
		return
	}
	place := filepath.ToSlash(filepath.Dir(path))
	if place == "." {
		place = f.Name.Name
	}
	of := func(name string) string {
		if strings.HasSuffix(path, "_test.go") {
			return place + "." + name + " in tests"
		}
		return place + "." + name
	}
	method := func(of, name string) {
		if !slices.Contains(h.methods[of], name) {
			h.methods[of] = append(h.methods[of], name)
		}
		h.note("methods of "+of, len(h.methods[of]), methodsMax)
	}
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv != nil {
				method(of(receiver(d.Recv.List[0].Type)), d.Name.Name)
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				s, ok := s.(*ast.TypeSpec)
				if !ok {
					continue
				}
				switch body := s.Type.(type) {
				case *ast.StructType:
					h.note("fields of "+of(s.Name.Name), fields(body), fieldsMax)
				case *ast.InterfaceType:
					for _, m := range body.Methods.List {
						for _, n := range m.Names {
							method(of(s.Name.Name), n.Name)
						}
					}
				}
			}
		}
	}
}

// receiver is the name of a method's type.
func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr: // of a generic type
		return receiver(e.X)
	case *ast.IndexListExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}

// fields counts those of a struct, with those of structs that stand in it
// without a name of their own.
func fields(s *ast.StructType) (n int) {
	for _, f := range s.Fields.List {
		names := max(len(f.Names), 1) // none: embedded
		n += names
		ast.Inspect(f.Type, func(node ast.Node) bool {
			inner, ok := node.(*ast.StructType)
			if ok {
				n += names * fields(inner)
			}
			return !ok
		})
	}
	return n
}

// The counting must see what it is there for: a method behind a pointer, of a
// generic type, in a file for another system; fields that share a line, embedded
// ones, and those of a struct in a struct.
func TestHouseCounts(t *testing.T) {
	const source = `package p
type T[K any, V any] struct {
	a, b int
	E
	mu struct{ c int; d []struct{ e int } }
}
type E struct{}
type I interface { M(); N() }
func (t *T[K, V]) One() {}
func (t T[K, V]) Two() {}
func (e *E) One() {}
`
	h := house{numbers: map[string]int{}, limits: map[string]int{}, methods: map[string][]string{}}
	h.measure(t, "p/t_linux.go", []byte(source))
	h.measure(t, "p/t_other.go", []byte(source))
	h.measure(t, "p/t_test.go", []byte("package p\nfunc (e *E) Helped() {}\n"))
	for what, want := range map[string]int{
		"methods of p.T": 2, "fields of p.T": 7, "methods of p.E": 1, "fields of p.E": 0, "methods of p.I": 2,
		"methods of p.E in tests": 1, "lines of p/t_linux.go": 11, "lines of p/t_test.go": 2,
	} {
		if got, ok := h.numbers[what]; got != want || !ok {
			t.Errorf("%s: got %d, want %d", what, got, want)
		}
	}
}
