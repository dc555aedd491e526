package cmd

import (
	"strings"
	"testing"
)

// A command line that means nothing is told so before anybody is asked.
func TestHistoryUsage(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{"kv history", "muster kv history: an argument is missing; want muster kv history K"},
		{"kv history k --limit -1", "muster kv history: --limit -1; want 0 for all, or more"},
		{"kv history k --before 0", "muster kv history: --before 0; versions begin at 1"},
		{"kv history k --read never", `muster kv history: --read "never"; want linearizable, follower or local`},
		{"kv diff k 1", "muster kv diff: an argument is missing; want muster kv diff K V1 V2"},
		{"kv diff k 1 x", `muster kv diff: "x" is no version; want a number, as muster kv history shows them`},
		{"kv rollback k", "muster kv rollback: an argument is missing; want muster kv rollback K V"},
		{"kv rollback k 0", `muster kv rollback: "0" is no version; want a number, as muster kv history shows them`},
	} {
		r := muster(t, strings.Fields(c.line)...)
		r.refused(t, exitUsage, c.want)
	}
}
