package main

import (
	"bytes"
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
	"strings"
	"testing"
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
		if name == "main" {
			want = "Muster "
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
					if s, ok := s.(*ast.TypeSpec); ok && s.Name.IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
						t.Errorf("%s: %s is exported without a comment", set.Position(s.Pos()), s.Name)
					}
				}
			}
		}
	})
}

// smallMethod says whether d is a method of an interface that everybody knows,
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
// steer it (cmd_text.go). Standard output has no other that takes a format.
func TestOneWayToTheTerminal(t *testing.T) {
	other := regexp.MustCompile(`fmt\.Fprint(f|ln)?\((os\.Std|\w+\.(out|err)\b)|fmt\.Print`)
	allowed := map[string]int{"main.go": 1} // warnf
	found := map[string]int{}
	walk(t, ".go", func(path string, b []byte) {
		if filepath.Dir(path) != "." || strings.HasSuffix(path, "_test.go") {
			return
		}
		for _, m := range other.FindAll(b, -1) {
			if found[path]++; found[path] > allowed[path] {
				t.Errorf("%s: %s; want tool.line, a table, printJSON or warnf", path, m)
			}
		}
	})
	if found["main.go"] != 1 {
		t.Error("the one allowed way is not found: the pattern finds nothing")
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
