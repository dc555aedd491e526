// Package promtool has Prometheus' own tool look at what tests give it.
//
// It is for tests alone. Where the tool is not installed, a test skips, and says so.
package promtool

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Metrics has the tool check a page of metrics. All that it says is an error: it names what breaks
// Prometheus' conventions and ends well.
func Metrics(t testing.TB, page string) { t.Helper(); run(t, page, 0, "check", "metrics") }

// Rules has the tool check a file of rules.
func Rules(t testing.TB, rules string) {
	t.Helper()
	run(t, "", 1, "check", "rules", file(t, rules))
}

// Test has the tool run tests of rules, as a file of its own form has them.
func Test(t testing.TB, tests string) {
	t.Helper()
	run(t, "", 2, "test", "rules", file(t, tests))
}

// file keeps a text where the tool reads it: it reads rules from files alone.
func file(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// run runs the tool, which may say so many lines beside its greeting of a file.
func run(t testing.TB, input string, lines int, args ...string) {
	t.Helper()
	tool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed (Debian's package prometheus): nobody but our own tests has looked at this")
	}
	c := exec.Command(tool, args...)
	c.Stdin = strings.NewReader(input)
	out, err := c.CombinedOutput()
	said := 0
	for line := range strings.Lines(string(out)) {
		if strings.TrimSpace(line) != "" && !strings.HasPrefix(line, "Checking ") {
			said++
		}
	}
	if err != nil || said > lines {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
