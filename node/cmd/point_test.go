package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"muster/node/clienttest"
	"muster/repl/client/pointwriter"
	"muster/shardmap"
)

// A file of any size is written in parts, and each line that is no point is named by its number in the whole: one would doubt it
// behind the end of a part, and behind a line that is longer than a part.
func TestPointWrite(t *testing.T) {
	t.Parallel()
	c := clienttest.Start(t)
	to := []string{"--insecure", "--endpoints", c.Endpoints()[0]}
	run := func(in string, line ...string) result { return musterIn(t, in, append(line, to...)...) }
	eventually := func(line ...string) result { // until the cluster has the level of points
		for {
			if r := run("", line...); r.status == exitDone || !strings.Contains(r.stderr, "level") || t.Context().Err() != nil {
				return r
			}
		}
	}
	eventually("db", "create", "metrics").done(t)

	var text strings.Builder
	var bad []int
	lines := 0
	add := func(line string) {
		text.WriteString(line)
		lines++
	}
	for text.Len() < pointBytes+pointBytes/8 {
		switch {
		case lines%50_000 == 7:
			bad = append(bad, lines+1)
			add("cpu,host=a usage=\n")
		case lines%50_000 == 11:
			text.WriteString("cpu,host=b text=\"a\nb\" 1700000000\n")
			lines += 2
		default:
			add(fmt.Sprintf("cpu,host=h%d usage=%d,idle=9i %d\n", lines%10, lines, 1_700_000_000+lines/10%3600))
		}
	}
	bad = append(bad, lines+1)
	add("cpu note=\"" + strings.Repeat("x", pointBytes+10) + "\n") // without a quote at its end
	add("cpu,host=z usage=1\n")
	bad = append(bad, lines+1)
	add("end")
	file := filepath.Join(t.TempDir(), "points")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	r := run("", "point", "write", "-f", file, "--db", "metrics", "--precision", "s", "-o", "json")
	var got pointCounts
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil || r.status != exitPartly {
		t.Fatalf("got status %d, %v: %s %.2000s", r.status, err, r.stdout, r.stderr)
	}
	points := strings.Count(text.String(), "\n") + 1 - len(bad) - strings.Count(text.String(), "a\nb")
	if got.Stored != points || got.Refused != len(bad) || got.Failed != 0 || got.Dropped != 0 || len(got.Errors) != len(bad) {
		t.Fatalf("got %+v, want %d stored, %d refused", got, points, len(bad))
	}
	for i, e := range got.Errors {
		if e.Line != bad[i] || e.Why == "" || !strings.Contains(r.stderr, fmt.Sprintf("points: line %d: ", e.Line)) {
			t.Errorf("error %d is %+v, want line %d", i, e, bad[i])
		}
	}

	out := run("cpu v=1\n\n# none\ncpu v=2\n", "point", "write", "--db", "metrics").done(t)
	if !strings.Contains(out, "STORED") || strings.Fields(out)[5] != "2" {
		t.Errorf("got %q", out)
	}
	run("", "point", "write", "--db", "metrics").done(t)
	if r := run("cpu v=\"text\" 1700000000000000000\ncpu,host=a usage=\"x\" 1700000000000000000\n", "point", "write", "--db", "metrics"); r.status != exitPartly || !strings.Contains(r.stderr, "field type conflict") {
		t.Errorf("fields of another kind: %+v", r)
	}
	run("cpu v=1", "point", "write", "--db", "gone").refused(t, exitNotFound, `database "gone" is not there; make it: muster db create gone`)
	run("cpu v=1", "point", "write", "--db", "metrics", "--policy", "gone").refused(t, exitNotFound, `database "metrics" has no policy "gone"; see muster policy list metrics`)
	run("", "policy", "create", "metrics", "short", "--duration", "1h").done(t)
	if r := run("cpu v=1 1700000000\ncpu v=1", "point", "write", "--db", "metrics", "--policy", "short", "--precision", "s"); r.status != exitPartly || !strings.Contains(r.stderr, "1 point dropped: points beyond retention policy") {
		t.Errorf("old points: %+v", r)
	}
}

// tableless is a cluster that has no table, as its first error says.
type tableless struct {
	pointwriter.Cluster
	err error
}

func (c *tableless) Table(context.Context, uint64) (*shardmap.Table, error) { return nil, c.err }

func (c *tableless) Takes(l pointwriter.Level) error { return l.Takes() }

// Lines that follow one that is too long are written even if the input ends with the read that brings them.
func TestPointWriteEndsBehindLongLine(t *testing.T) {
	text := strings.Repeat("x", pointBytes+10) + "\ncpu v=1\n"
	c := &tableless{err: errors.New("asked for")}
	w := &linesWriter{errand: &errand{console: &console{err: io.Discard}}, gateway: pointwriter.NewGateway(0), cluster: c}
	w.progress.console = w.console
	if err := w.run(t.Context(), iotest.DataErrReader(strings.NewReader(text))); !errors.Is(err, c.err) || !strings.Contains(err.Error(), "lines from 2 on") {
		t.Errorf("got %v; want the line behind it to be written", err)
	}
	if w.counts.Refused != 1 {
		t.Errorf("%d lines are refused, want 1", w.counts.Refused)
	}
}
