package main

import (
	"os"
	"strings"
	"testing"

	"muster/docs/compare/figures"
)

// Only what stands between the marks changes.
func TestBetween(t *testing.T) {
	const page = "above\n\n" + pageBegin + "old\n" + pageEnd + "\nbelow\n"
	got, err := between(page, "new\n")
	if want := "above\n\n" + pageBegin + "\nnew\n" + pageEnd + "\nbelow\n"; err != nil || got != want {
		t.Errorf("got %q (%v), want %q", got, err, want)
	}
	for _, page := range []string{"", pageBegin, pageEnd + pageBegin} {
		if got, err := between(page, "new\n"); err == nil {
			t.Errorf("%q: got %q, want an error", page, got)
		}
	}
}

// What performance.md shows is what was measured: the tables are those of the
// published rows, and nothing else.
func TestPublishedRatiosAreShown(t *testing.T) {
	page, err := os.ReadFile("../performance.md")
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open("published.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := figures.Read(f)
	if err != nil {
		t.Fatal(err)
	}
	var tables strings.Builder
	if err := figures.PrintRatios(&tables, rows); err != nil {
		t.Fatal(err)
	}
	if len(rows) == 0 || !strings.Contains(string(page), tables.String()+pageEnd) {
		t.Errorf("docs/performance.md has not these tables between its marks:\n%s", tables.String())
	}
}
