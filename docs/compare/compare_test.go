package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/docs/compare/figures"
	"muster/docs/compare/machine"
	"muster/docs/compare/system"
)

// Every system is built, started, filled, asked, killed and started again, in
// every case of the plan. The windows are too short for the figures to mean
// anything; what counts is that each has them, and no errors.
func TestEverySystemInEveryCase(t *testing.T) {
	o := defaults()
	o.window, o.restartKeys, o.checkout = 500*time.Millisecond, 500, "../.."
	work := t.TempDir()
	names := slices.Clone(systems)
	leave := func(name string, why error) {
		t.Logf("NOT TESTED: %s: %v", name, why)
		names = slices.DeleteFunc(names, func(s string) bool { return s == name })
	}
	if err := machine.OnDisk(work); err != nil { // its log is written past the system's memory
		leave(pipeline, err)
	}
	if err := system.RedisInstalled(); err != nil {
		leave(redis, err)
	}
	o.systems = strings.Join(names, ",")
	stages, err := plan(o)
	if err != nil {
		t.Fatal(err)
	}
	programs, err := build(t.Context(), o.checkout, work)
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	r := &runner{options: o, programs: programs, work: work, file: &file}
	if err := r.run(t.Context(), stages); err != nil {
		t.Fatal(err)
	}
	rows, err := figures.Read(&file)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]figures.Row{}
	for _, row := range rows {
		seen[row.Case+" "+row.System] = row
	}
	for _, s := range stages {
		for _, c := range s.cases {
			for _, name := range s.systems {
				row, ok := seen[fmt.Sprint(c.name, " ", name)]
				switch {
				case !ok:
					t.Errorf("%s: %s has no row", c.name, name)
				case c.kind == loop && (row.OpsPerS <= 0 || row.P50 <= 0 || row.P99 < row.P50 || row.Errors > 0):
					t.Errorf("%s: %s has %+v", c.name, name, row)
				case c.kind != loop && row.Seconds <= 0:
					t.Errorf("%s: %s has %+v", c.name, name, row)
				}
			}
		}
	}
}
