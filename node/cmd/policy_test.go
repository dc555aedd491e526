package cmd

import (
	"slices"
	"strings"
	"testing"
	"time"

	"muster/shardmap"
)

// A policy that keeps points for ever in short windows runs out of them: those of an hour after half a year. The answer to the command says when.
func TestWindowsRunOut(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		keep, window time.Duration
		want         string // "": nothing is said
	}{
		{0, time.Hour, "in windows of 1h: after 170 days it has 4096 of them"},
		{0, day, "in windows of 1d: after 4096 days"},
		{0, 7 * day, ""}, {0, 30 * day, ""}, {30 * day, time.Hour, ""},
	} {
		p := shardmap.Policy{Duration: c.keep, WindowDuration: c.window}
		if got := windowsRunOut(&p); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("kept for %s in windows of %s: %q, want %q", c.keep, c.window, got, c.want)
		}
		// An order that makes it so says it in its plan.
		order := shardmap.ChangePolicy{Action: shardmap.PolicyAlter, Policy: shardmap.PolicySpec{Duration: c.keep, WindowDuration: c.window}, Set: shardmap.SetDuration | shardmap.SetWindowDuration}
		notes := alterNotes(&order, &shardmap.Policy{Duration: 60 * day, WindowDuration: 2 * day})
		if said := slices.ContainsFunc(notes, func(n string) bool { return strings.Contains(n, "get no window") }); said != (c.want != "") {
			t.Errorf("altered to be kept for %s in windows of %s: %q", c.keep, c.window, notes)
		}
	}
}
