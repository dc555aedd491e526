package cmd

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// Values that have hardly a line in common must cost bounded time, and still be shown right: somebody who may
// write a key must not be able to stop the command of somebody who looks at it.
func TestDiffsAreBounded(t *testing.T) {
	var a, b strings.Builder
	a.WriteString("same\n")
	b.WriteString("same\n")
	const lines = 50_000
	for i := range lines {
		fmt.Fprintf(&a, "a%d\n", i)
		fmt.Fprintf(&b, "b%d\n", lines-i)
	}
	began := time.Now()
	diff := unifiedDiff("old", "new", []byte(a.String()), []byte(b.String()))
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	gone, come := 0, 0
	for line := range strings.Lines(diff) {
		switch {
		case strings.HasPrefix(line, "-a"):
			gone++
		case strings.HasPrefix(line, "+b"):
			come++
		}
	}
	if gone != lines || come != lines {
		t.Errorf("%d lines have gone, %d have come, want %d", gone, come, lines)
	}
}

// The text must be that of diff -u, so that patch takes it, too.
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
