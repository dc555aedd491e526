package cmd

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

var update = flag.Bool("update", false, "write docs/openapi.json and the tables of docs/http.md anew")

var (
	httpPage = filepath.Join("..", "..", "docs", "http.md")
	specPage = filepath.Join("..", "..", "docs", specName)
)

// routeLines are the rows of the table of routes.
func routeLines(routes []*apiRoute) string {
	var b strings.Builder
	b.WriteString("\n| route | | fields |\n|---|---|---|\n")
	for _, rt := range routes {
		leaf := rt.make(&console{})
		if len(rt.words) > 1 {
			leaf = leafOf(leaf.Subcommands, rt.words[1:])
		}
		marks := ""
		if rt.lines {
			marks += " ⋮"
		}
		if rt.plans != plansNone {
			marks += " P"
		}
		var fields []string
		for i := range rt.fields {
			f := &rt.fields[i]
			if f.name == fieldTimeout || f.name == fieldPlan || f.name == fieldToken || f.encoded >= 0 {
				continue // of all, of all with a P, and said above
			}
			name := "`" + f.name + "`"
			switch {
			case f.need || f.arg > 0 && rt.args[f.arg-1].need:
				name += "*"
			case slices.Contains(rt.oneOf, f.name):
				name += "/"
			}
			fields = append(fields, name)
		}
		fmt.Fprintf(&b, "| `%s %s`%s | %s | %s |\n", rt.method, rt.path, marks, leaf.Usage, strings.Join(fields, " "))
	}
	for _, r := range apiOthers() {
		marks, fields := "", []string{}
		if r.events {
			marks = " ⋮"
		}
		for i := range r.fields {
			name := "`" + r.fields[i].name + "`"
			if r.fields[i].need {
				name += "*"
			}
			fields = append(fields, name)
		}
		fmt.Fprintf(&b, "| `%s %s`%s | %s | %s |\n", r.method, r.path, marks, r.about, strings.Join(fields, " "))
	}
	return b.String() + "\n"
}

// withoutLines are those of the commands that have no route.
func withoutLines() string {
	var b strings.Builder
	b.WriteString("\n| command | why |\n|---|---|\n")
	for _, command := range slices.Sorted(maps.Keys(apiWithout)) {
		fmt.Fprintf(&b, "| `muster %s` | %s |\n", command, apiWithout[command])
	}
	return b.String() + "\n"
}

// between puts text between two marks of a page.
func between(t *testing.T, page, begin, end, text string) string {
	t.Helper()
	before, rest, ok := strings.Cut(page, begin)
	if !ok {
		t.Fatalf("docs/http.md has no %q", begin)
	}
	line, rest, _ := strings.Cut(rest, "\n")
	_, after, ok := strings.Cut(rest, end)
	if !ok {
		t.Fatalf("docs/http.md has no %q", end)
	}
	return before + begin + line + "\n" + text + end + after
}

// The page and the description are what programs are written by. They must say what the table says.
func TestHTTPPage(t *testing.T) {
	routes := apiRoutes()
	old, err := os.ReadFile(httpPage)
	if err != nil {
		t.Fatal(err)
	}
	page := between(t, string(old), "<!-- routes:", "<!-- routes end -->", routeLines(routes))
	page = between(t, page, "<!-- without ", "<!-- without end -->", withoutLines())
	for path, want := range map[string]string{httpPage: page, specPage: string(openAPI(routes))} {
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s is not what the table says (%v); go test ./node/cmd -run TestHTTPPage -update writes it anew", path, err)
		}
	}
}

// Each command has a route, or a reason to have none; each option of a command with a route is a field, or has a reason
// not to be one. What is in no table would be forgotten.
func TestRoutesOfAllCommands(t *testing.T) {
	rows := map[string]*apiRow{}
	for _, row := range apiTable() {
		if rows[row.command] != nil {
			t.Errorf("%s is in the table twice", row.command)
		}
		rows[row.command] = &row
	}
	without, left := maps.Clone(apiWithout), map[string]bool{}
	var walk func(path string, all []*cli.Command)
	walk = func(path string, all []*cli.Command) {
		for _, c := range all {
			at := strings.TrimSpace(path + " " + c.Name)
			if len(c.Subcommands) > 0 && apiWithout[at] == "" {
				walk(at, c.Subcommands)
				continue
			}
			row, why := rows[at], apiWithout[at]
			delete(rows, at)
			delete(without, at)
			switch {
			case row == nil && why == "":
				t.Errorf("%s has neither a route nor a reason to have none", at)
				continue
			case row != nil && why != "":
				t.Errorf("%s has a route, and a reason to have none", at)
			case row == nil:
				continue
			}
			for _, f := range c.Flags {
				name := f.Names()[0]
				hidden := false
				if v, ok := f.(cli.VisibleFlag); ok {
					hidden = !v.IsVisible()
				}
				isField := slices.Contains(row.options, name) || name == fieldTimeout || name == row.file.option
				if left[name] = left[name] || apiLeft[name] != ""; isField && apiLeft[name] != "" && name != row.file.option {
					t.Errorf("%s --%s is a field, and is not to be one: %s", at, name, apiLeft[name])
				}
				if !isField && apiLeft[name] == "" && !hidden && !(name == optionYes && at == "node add") {
					t.Errorf("%s --%s is no field, and has no reason not to be one", at, name)
				}
			}
			for _, option := range row.options {
				if findFlag(c.Flags, "--"+option) == nil {
					t.Errorf("%s has no --%s", at, option)
				}
			}
			for _, name := range row.bytes {
				if !slices.Contains(row.options, name) && !slices.ContainsFunc(row.args, func(a apiArg) bool { return a.name == name }) {
					t.Errorf("%s: %s can be any bytes, and is no field", at, name)
				}
			}
		}
	}
	walk("", commands(&console{}))
	for command := range rows {
		t.Errorf("there is no command %s", command)
	}
	for command := range without {
		t.Errorf("there is no command %s to be without", command)
	}
	for option := range apiLeft {
		if !left[option] {
			t.Errorf("no command has --%s", option)
		}
	}
}

var curlLine = regexp.MustCompile(`(?m)^    (curl -s .*)$`)

// People copy the examples of the page. Each must do what the page says, and answer what it shows, where … stands
// for anything.
func TestHTTPExamples(t *testing.T) {
	a := api(t)
	page, err := os.ReadFile(httpPage)
	if err != nil {
		t.Fatal(err)
	}
	text := string(page)
	found := curlLine.FindAllStringIndex(text, -1)
	if len(found) < 6 {
		t.Fatalf("%d examples", len(found))
	}
	for _, at := range found {
		line := strings.TrimSpace(text[at[0]:at[1]])
		local := strings.ReplaceAll(line, "http://127.0.0.1:4166", a.url)
		out, err := exec.Command("sh", "-c", local).Output()
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if len(out) > 0 && !json.Valid(out) {
			t.Errorf("%s: %s", line, out)
		}
		want, ok := strings.CutPrefix(text[at[1]:], "\n\n    {")
		if !ok {
			continue // the page shows no answer
		}
		want, _, _ = strings.Cut("{"+want, "\n")
		pattern := "^" + strings.ReplaceAll(regexp.QuoteMeta(want), "…", ".*?") + "\n$"
		if !regexp.MustCompile(pattern).Match(out) {
			t.Errorf("%s\n answers %s the page says %s", line, cmp.Or(string(out), "nothing\n"), want)
		}
	}
}
