package main

import (
	"fmt"
	"os"
	"strings"

	"muster/docs/compare/figures"
	"muster/docs/compare/machine"
)

// Between these marks a page shows the ratios of a run.
const (
	pageBegin = "<!-- ratios begin: go -C docs/compare run . -page FILE writes them -->\n"
	pageEnd   = "<!-- ratios end -->\n"
)

// writePage puts the ratios of rows into a page.
func writePage(file string, rows []figures.Row, rounds int) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var tables strings.Builder
	fmt.Fprintf(&tables, "Rounds: %d. Machine: %s.\n\n", rounds, machine.Describe())
	if err := figures.PrintRatios(&tables, rows); err != nil {
		return err
	}
	page, err := between(string(b), tables.String())
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.WriteFile(file, []byte(page), 0o644)
}

// between replaces what stands between the marks of a page.
func between(page, tables string) (string, error) {
	before, rest, ok := strings.Cut(page, pageBegin)
	if !ok {
		return "", fmt.Errorf("there is no line %q", strings.TrimSpace(pageBegin))
	}
	_, after, ok := strings.Cut(rest, pageEnd)
	if !ok {
		return "", fmt.Errorf("there is no line %q behind the first mark", strings.TrimSpace(pageEnd))
	}
	return before + pageBegin + "\n" + tables + pageEnd + after, nil
}
