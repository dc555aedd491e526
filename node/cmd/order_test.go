package cmd

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"muster/repl/wire"
	"muster/shardmap"
)

// A plan names the groups, the quorum before and after, what one more lost node costs, what
// can't be done, and the rule that --force skips; none of it can steer a terminal.
func TestShowPlan(t *testing.T) {
	var stderr bytes.Buffer
	s := &errand{console: &console{err: &stderr}}
	s.propose((&order{what: "remove node n4", skips: forceSkips}).proposal(&wire.OrderAnswer{Index: 231, Bytes: 3 << 19,
		Steps:    []wire.OrderStep{{Text: "group 1: add a learner on n5: n4 is draining", Risk: "quorum 2 of 3 voters, 3 live; one more lost node stops nothing"}},
		Problems: []wire.Problem{{What: "group 2 has 2 of 3 replicas that may stay\x1b[2J", Remedy: "add a node"}, {What: "group 3 has 2 of 3", Remedy: "add a node"}, {What: "group 4 waits", Remedy: "wait"}}}))
	want := `plan to remove node n4, for the table of index 231:
   1. group 1: add a learner on n5: n4 is draining
      quorum 2 of 3 voters, 3 live; one more lost node stops nothing
  new replicas are sent 1.5 MiB
  --force skips a safety rule: the node is not drained first, and its replicas count as lost; they are made anew from the others of their groups, where a server can take them
  problem: group 2 has 2 of 3 replicas that may stay\x1b[2J
  problem: group 3 has 2 of 3
   remedy: add a node
  problem: group 4 waits
   remedy: wait
`
	if stderr.String() != want {
		t.Errorf("got\n%swant\n%s", &stderr, want)
	}
	stderr.Reset()
	s.propose((&order{what: "drain node n4"}).proposal(&wire.OrderAnswer{Index: 7, Steps: make([]wire.OrderStep, stepsShown+3)}))
	if got := stderr.String(); !strings.HasSuffix(got, "and 3 more steps\n") || strings.Count(got, "\n") != 2+2*stepsShown {
		t.Errorf("a long plan: %d lines, the end is %q", strings.Count(got, "\n"), got[max(0, len(got)-60):])
	}
	stderr.Reset()
	if s.propose((&order{what: "drain node n4"}).proposal(&wire.OrderAnswer{Index: 7})); stderr.String() != "plan to drain node n4, for the table of index 7: no group changes\n" {
		t.Errorf("an empty plan: %q", &stderr)
	}
}

// Only a person who says yes agrees; an answer is one line, and what stands behind it is for
// the next question. Nobody is asked off a terminal.
func TestConfirmed(t *testing.T) {
	for in, want := range map[string]bool{"y\n": true, "YES\n": true, " yes \n": true, "y": true, "n\n": false, "\n": false, "": false, "yup\n": false, strings.Repeat("y", 1000) + "\n": false} {
		var stderr bytes.Buffer
		con := &console{in: strings.NewReader(in), err: &stderr}
		if got := con.confirmed(t.Context(), "carry it out?"); got != want {
			t.Errorf("%.10q: got %t, want %t", in, got, want)
		}
		if stderr.String() != "carry it out? [y/N] " {
			t.Errorf("asked %q", &stderr)
		}
	}
	con := &console{in: strings.NewReader("no\nyes\n"), err: new(bytes.Buffer)}
	if first, second := con.confirmed(t.Context(), "?"), con.confirmed(t.Context(), "?"); first || !second {
		t.Errorf("two answers: got %t and %t, want no and yes", first, second)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	r, w := blocked()
	defer w()
	con = &console{in: r, err: new(bytes.Buffer)}
	if con.confirmed(ctx, "?") {
		t.Error("yes without an answer")
	}
	s := &errand{console: &console{in: strings.NewReader("yes\n"), err: new(bytes.Buffer)}}
	if s.agrees(t.Context()) {
		t.Error("somebody agrees who is not there")
	}
	if err := notConfirmed(); statusOf(err) != exitNotConfirmed || !strings.Contains(err.Error(), "--yes") {
		t.Errorf("%v of status %d", err, statusOf(err))
	}
}

// A change that moves replicas by a setting is shown first: the names must be those of
// settings that there are.
func TestGroupSettings(t *testing.T) {
	rows := settingRows(new(shardmap.Table))
	for _, name := range groupSettings {
		if r, err := settingNamed(rows, name); err != nil || r.Value != r.Default {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	if _, err := settingNamed(rows, "nope"); statusOf(err) != exitNotFound || !strings.Contains(err.Error(), "want one of replicas, meta-voters, dead-after,") {
		t.Errorf("got %v", err)
	}
}

func TestShowBytes(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 bytes", 1023: "1023 bytes", 1024: "1.0 KiB", 1 << 20: "1.0 MiB", 5 << 29: "2.5 GiB", 1 << 60: "1048576.0 TiB"} {
		if got := showBytes(n); got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
	}
}
