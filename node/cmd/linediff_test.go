package cmd

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// leastEdits is the slow and obvious count of the lines that have to go or come.
func leastEdits(a, b []string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range a {
		before := row[0]
		row[0] = i + 1
		for j := range b {
			best := min(row[j], row[j+1]) + 1
			if a[i] == b[j] {
				best = before
			}
			before, row[j+1] = row[j+1], best
		}
	}
	return row[len(b)]
}

// An edit script must lead from the one text to the other, by as few lines as there can be: the search goes
// by diagonals, and one that it takes for another would show lines that nobody has written.
func TestEditsLeadFromOneToTheOther(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	random := func() []string {
		lines := make([]string, r.IntN(12))
		for i := range lines {
			lines[i] = string(rune('a'+r.IntN(4))) + "\n"
		}
		return lines
	}
	for range 20000 {
		a, b := random(), random()
		var from, to []string
		n := 0
		for _, e := range editsOf(a, b) {
			if e.mark != '+' {
				from = append(from, e.line)
			}
			if e.mark != '-' {
				to = append(to, e.line)
			}
			if e.mark != ' ' {
				n++
			}
		}
		if !slices.Equal(from, a) || !slices.Equal(to, b) || n != leastEdits(a, b) {
			t.Fatalf("from %q to %q: %d edits lead from %q to %q; the fewest are %d", a, b, n, from, to, leastEdits(a, b))
		}
	}
}

// Values that have hardly a line in common must cost bounded time and memory, and still be shown right.
func TestEditsAreBounded(t *testing.T) {
	var a, b []string
	for i := range 3 * diffEditsMax {
		a, b = append(a, fmt.Sprintf("a%d\n", i)), append(b, fmt.Sprintf("b%d\n", i))
	}
	a, b = append([]string{"same\n"}, a...), append([]string{"same\n"}, b...)
	edits := editsOf(a, b)
	if len(edits) != len(a)+len(b)-1 || edits[0].mark != ' ' || edits[1].mark != '-' || edits[len(edits)-1].mark != '+' {
		t.Errorf("%d edits, the first are %v", len(edits), edits[:2])
	}
}

// What a person reads is what diff -u prints, so that patch takes it, too.
func TestUnifiedDiff(t *testing.T) {
	lines := func(from, to int, other ...int) string {
		var b strings.Builder
		for i := from; i <= to; i++ {
			if slices.Contains(other, i) {
				fmt.Fprintf(&b, "new %d\n", i)
			} else {
				fmt.Fprintf(&b, "%d\n", i)
			}
		}
		return b.String()
	}
	for _, c := range []struct{ what, a, b, want string }{
		{"the same", "a\n", "a\n", ""},
		{"nothing at first", "", "a\nb\n", "@@ -0,0 +1,2 @@\n+a\n+b\n"},
		{"nothing in the end", "a\n", "", "@@ -1 +0,0 @@\n-a\n"},
		{"one line", "a\nb\nc\n", "a\nx\nc\n", "@@ -1,3 +1,3 @@\n a\n-b\n+x\n c\n"},
		{"the last newline", "a\nb", "a\nb\n", "@@ -1,2 +1,2 @@\n a\n-b\n\\ No newline at end of file\n+b\n"},
		{"no newline on either side", "a", "b", "@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+b\n\\ No newline at end of file\n"},
		{"far apart", lines(1, 20), lines(1, 20, 4, 17), "@@ -1,7 +1,7 @@\n 1\n 2\n 3\n-4\n+new 4\n 5\n 6\n 7\n@@ -14,7 +14,7 @@\n 14\n 15\n 16\n-17\n+new 17\n 18\n 19\n 20\n"},
		{"six lines between", lines(1, 20), lines(1, 20, 4, 11), "@@ -1,14 +1,14 @@\n 1\n 2\n 3\n-4\n+new 4\n 5\n 6\n 7\n 8\n 9\n 10\n-11\n+new 11\n 12\n 13\n 14\n"},
		{"seven lines between", lines(1, 20), lines(1, 20, 4, 12), "@@ -1,7 +1,7 @@\n 1\n 2\n 3\n-4\n+new 4\n 5\n 6\n 7\n@@ -9,7 +9,7 @@\n 9\n 10\n 11\n-12\n+new 12\n 13\n 14\n 15\n"},
	} {
		want := c.want
		if want != "" {
			want = "--- old\n+++ new\n" + want
		}
		if got := unifiedDiff("old", "new", []byte(c.a), []byte(c.b)); got != want {
			t.Errorf("%s: got\n%swant\n%s", c.what, got, want)
		}
	}
}
