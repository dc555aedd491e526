package cmd

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"muster/repl/backup"
	"muster/shardmap"
)

// As [TestUsage].
func TestBackupUsage(t *testing.T) {
	for _, tt := range []struct{ line, want string }{
		{"backup a b", `muster backup take: argument "b" is one too many; want muster backup take FILE|-`},
		{"backup - --force", `muster backup take: --force and standard output; give FILE, or leave --force out`},
		{"backup show", "muster backup show: an argument is missing; want muster backup show FILE|-"},
		{"backup show a b", `muster backup show: argument "b" is one too many; want muster backup show FILE|-`},
		{"backup", "muster backup: a verb is missing; want one of take, show, run, schedule, list, prune"},
		{"backup run now", `muster backup run: argument "now" is one too many; want muster backup run`},
		{"backup schedule --every", `muster backup schedule: option --every wants a value`},
		{"backup schedule --every 24h --keep 0", `muster backup schedule: --keep 0; want 1 to 1000`},
		{"backup schedule --every 24h --keep 1001", `muster backup schedule: --keep 1001; want 1 to 1000`},
		{"backup schedule --keep many", `muster backup schedule: invalid value "many" for option --keep; want a whole number`},
		{"backup prune --keep -1", `muster backup prune: --keep -1; want 1 to 1000`},
		{"backup list x", `muster backup list: argument "x" is one too many; want muster backup list`},
		{"backup prune --keep", `muster backup prune: option --keep wants a value`},
		{"restore", "muster restore: an argument is missing; want muster restore FILE"},
		{"restore a b", `muster restore: argument "b" is one too many; want muster restore FILE`},
		{"restore -", `muster restore: FILE "-": want the name of a file`},
	} {
		t.Run(tt.line, func(t *testing.T) {
			muster(t, strings.Fields(tt.line)...).refused(t, exitUsage, tt.want)
		})
	}
}

// How far a backup is stands in one line on the terminal of a person, which is gone at the end; nobody else sees anything of
// it.
func TestTransferIsShownToPersons(t *testing.T) {
	for _, watched := range []bool{true, false} {
		var errs bytes.Buffer
		p := &transfer{meter: meter{console: &console{err: &errs, watched: watched}}, what: "restore of", total: 4 << 20}
		p.moved(1<<20, 3)
		if watched {
			p.at = p.at.Add(time.Hour) // however slow the machine is
		}
		p.moved(1<<20, 3) // too soon to be drawn
		p.end()
		want := ""
		if watched {
			want = lineClear + "restore of group 3: 1.0 MiB of 4.0 MiB" + lineStart + lineClear + lineStart
		}
		if errs.String() != want || p.done != 2<<20 {
			t.Errorf("watched %t: %q, want %q; %d bytes are counted", watched, errs.String(), want, p.done)
		}
	}
}

// A backup that went to standard output can't be read back, so it is verified on its way. A line that is changed there, a
// reader that goes away and a source that fails each end it with an error, and none waits for the other.
func TestBackupIsVerifiedOnItsWay(t *testing.T) {
	whole := func(w io.Writer) error {
		b, err := backup.NewWriter(w)
		if err != nil {
			return err
		}
		g := backup.Group{ID: 1, Term: 1, Index: 5, Slots: []backup.Run{{0, shardmap.Slots - 1}}}
		return b.Finish(&backup.Manifest{Cluster: "prod", ClusterID: "0000000000000007", Version: "test", Groups: []backup.Group{g}})
	}
	var good bytes.Buffer
	m, err := verifyWritten(&good, whole)
	if err != nil || len(m.Groups) != 1 || m.Cluster != "prod" {
		t.Fatalf("a whole one: %+v, %v", m, err)
	}
	musterIn(t, good.String(), "backup", "show", "-", "-o", "json").done(t)
	for what, c := range map[string]struct {
		out   io.Writer
		write func(io.Writer) error
		want  string
	}{
		"a byte is changed": {io.Discard, func(w io.Writer) error {
			b := bytes.Clone(good.Bytes())
			b[len(b)/2] ^= 1
			_, err := w.Write(b)
			return err
		}, "standard output, read on its way: the backup is damaged at byte "},
		"the end is missing": {io.Discard, func(w io.Writer) error {
			_, err := w.Write(good.Bytes()[:good.Len()-1])
			return err
		}, "standard output, read on its way: "},
		"nothing comes":   {io.Discard, func(io.Writer) error { return nil }, "standard output, read on its way: "},
		"its source ends": {io.Discard, func(w io.Writer) error { w.Write(good.Bytes()[:20]); return errors.New("no leader") }, "no leader"},
		"nobody reads":    {closedWriter{}, whole, "nobody reads"},
	} {
		if m, err := verifyWritten(c.out, c.write); m != nil || err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: got %+v, %v, want %s", what, m, err, c.want)
		}
	}
	r := musterIn(t, "muster", "backup", "show", "-")
	r.refused(t, exitRefused, "muster: standard input: ")
}

type closedWriter struct{}

func (closedWriter) Write([]byte) (int, error) { return 0, errors.New("nobody reads") }

// On a terminal a backup would steer what a person sees.
func TestBackupToTerminal(t *testing.T) {
	var errs bytes.Buffer
	con := &console{in: strings.NewReader(""), out: newOutput(io.Discard), terminal: true, err: &errs}
	if err := runLine(t.Context(), con, []string{"backup", "-"}); statusOf(err) != exitUsage || !strings.Contains(err.Error(), "standard output is a terminal") {
		t.Errorf("got %v", err)
	}
}
