package node

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// threatRow is a row of the table of threats in docs/security.md.
var threatRow = regexp.MustCompile(`^\| S(\d+) \| (.+) \| (.+) \| (.+) \| (.+) \| (.+) \|$`)

// threatTest names a test, by its folder and its function.
var threatTest = regexp.MustCompile("`([a-z/]+)\\.(Test[A-Za-z0-9_]*)`")

// top is the project's folder, as its tests here see it.
const top = ".."

// inCode is what stands in a cell as code.
var inCode = regexp.MustCompile("`([^`]+)`")

// A defence that no attack was tried on is a hope. Each threat names where its defence stands, tests that
// attack it, and bugs that take it out: they are there, and a test under the tag of planted bugs names each bug.
func TestThreatsNameTests(t *testing.T) {
	const threats = 32
	page, err := os.ReadFile(filepath.Join(top, "docs", "security.md"))
	if err != nil {
		t.Fatal(err)
	}
	code := goFiles(t)
	bugs := plantedBugs(code)
	n := 0
	for line := range strings.Lines(string(page)) {
		m := threatRow.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			continue
		}
		n++
		if m[1] != fmt.Sprint(n) {
			t.Errorf("docs/security.md: S%s is the threat in row %d", m[1], n)
		}
		files, tests, names := inCode.FindAllStringSubmatch(m[4], -1), threatTest.FindAllStringSubmatch(m[5], -1), inCode.FindAllStringSubmatch(m[6], -1)
		if len(files) == 0 || len(tests) == 0 || len(names) == 0 {
			t.Errorf("docs/security.md: S%d names %d files, %d tests and %d bugs", n, len(files), len(tests), len(names))
		}
		for _, f := range files {
			if _, err := os.Stat(filepath.Join(top, filepath.FromSlash(f[1]))); err != nil {
				t.Errorf("docs/security.md: S%d: %v", n, err)
			}
		}
		for _, f := range tests {
			if !slices.ContainsFunc(code, func(g goFile) bool {
				return path.Dir(g.path) == f[1] && strings.HasSuffix(g.path, "_test.go") && bytes.Contains(g.text, []byte("\nfunc "+f[2]+"(t *testing.T)"))
			}) {
				t.Errorf("docs/security.md: S%d names %s, which is not among the tests of %s", n, f[2], f[1])
			}
		}
		for _, b := range names {
			if of := bugs[b[1]]; !of.planted || !of.sought {
				t.Errorf("docs/security.md: S%d names the bug %q: planted in the code %t, sought by a test %t", n, b[1], of.planted, of.sought)
			}
		}
	}
	if n != threats {
		t.Errorf("docs/security.md has %d threats, want %d", n, threats)
	}
}

// A bug that is planted and that no test seeks shows nothing: each name of one stands in a test under the tag of planted
// bugs, in whatever package. One that has a name, and that no code asks for, can't be in force.
func TestPlantedBugsAreSought(t *testing.T) {
	code := goFiles(t)
	bugs := plantedBugs(code)
	for _, g := range code {
		if strings.HasSuffix(g.path, "_test.go") {
			continue
		}
		for _, m := range bugNamed.FindAllSubmatch(g.text, -1) {
			if !bugs[string(m[2])].planted {
				t.Errorf("%s: nothing asks whether %s is in force", g.path, m[1])
			}
		}
	}
	planted := 0
	for name, b := range bugs {
		if b.planted {
			planted++
		}
		if b.planted && !b.sought {
			t.Errorf("the bug %q is planted, and no test under the tag of planted bugs names it", name)
		}
	}
	if planted < 200 {
		t.Errorf("%d bugs are planted: the pattern does not find them", planted)
	}
}

// plantedBug is what there is of a bug.
type plantedBug struct {
	planted bool // code asks whether it is in force
	sought  bool // a test under the tag of planted bugs names it
}

var (
	bugNamed    = regexp.MustCompile(`(?m)^\s*(?:const )?(bug\w+)\s+= "([^"]+)"`)
	bugAsked    = regexp.MustCompile(`\bbug\((?:"([^"]+)"|(bug\w+))\)`)
	bugMentions = regexp.MustCompile(`"([^"\n]+)"|\b(bug[A-Z]\w+)`)
)

// goFile is a file of code.
type goFile struct {
	path string // from the top, with slashes
	text []byte
}

func goFiles(t *testing.T) (all []goFile) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(top), ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != "." && strings.HasPrefix(d.Name(), "."):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go"):
			return nil
		}
		b, err := os.ReadFile(filepath.Join(top, filepath.FromSlash(path)))
		all = append(all, goFile{path, b})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// plantedBugs returns all bugs that code can be built with, by their names.
func plantedBugs(code []goFile) map[string]plantedBug {
	names := map[string]string{} // of constants, by folder and name
	for _, g := range code {
		for _, m := range bugNamed.FindAllSubmatch(g.text, -1) {
			names[path.Join(path.Dir(g.path), string(m[1]))] = string(m[2])
		}
	}
	bugs := map[string]plantedBug{}
	for _, g := range code {
		test := strings.HasSuffix(g.path, "_test.go")
		mentions := bugAsked
		if test {
			if !bytes.HasPrefix(g.text, []byte("//go:build plantedbugs\n")) {
				continue
			}
			mentions = bugMentions
		}
		for _, m := range mentions.FindAllSubmatch(g.text, -1) {
			name := string(m[1])
			if name == "" {
				name = names[path.Join(path.Dir(g.path), string(m[2]))]
			}
			of := bugs[name]
			of.planted, of.sought = of.planted || !test, of.sought || test
			bugs[name] = of
		}
	}
	return bugs
}
