package logstore

import (
	"flag"
	"os"
	"path"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/order anew")

// What is durable when depends on the order of writes, syncs and renames, and
// nothing in the results of a healthy disk shows it. So the order of each story
// stands in a file: a sync that was lost is a line that is missing.
func TestOrderOfOperations(t *testing.T) {
	const dir = "testdata/order"
	must(t, os.MkdirAll(dir, 0o755))
	known := map[string]bool{}
	for i := range stories {
		s := &stories[i]
		if s.long {
			continue
		}
		golden := path.Join(dir, s.name+".txt")
		known[path.Base(golden)] = true
		t.Run(s.name, func(t *testing.T) {
			var out strings.Builder
			r := s.begin(t, 1, nil)
			r.mem.Trace(func(op string) { out.WriteString(op + "\n") })
			must(t, s.act(r))
			if *update {
				must(t, os.WriteFile(golden, []byte(out.String()), 0o644))
			}
			want, err := os.ReadFile(golden)
			must(t, err)
			if got := out.String(); got != string(want) {
				t.Errorf("the order of operations changed; go test -run Order -update ./logstore, and read the diff:\n%s", diff(string(want), got))
			}
		})
	}
	files, err := os.ReadDir(dir)
	must(t, err)
	for _, f := range files {
		if !known[f.Name()] {
			t.Errorf("%s is of no story", path.Join(dir, f.Name()))
		}
	}
}

// diff shows from the first line on that differs.
func diff(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	i := 0
	for i < len(w) && i < len(g) && w[i] == g[i] {
		i++
	}
	return "want:\n" + strings.Join(w[max(i-2, 0):min(i+8, len(w))], "\n") + "\ngot:\n" + strings.Join(g[max(i-2, 0):min(i+8, len(g))], "\n")
}
