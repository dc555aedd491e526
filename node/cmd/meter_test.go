package cmd

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"muster/repl/client"
	"muster/repl/wire"
)

func TestBar(t *testing.T) {
	for _, tt := range []struct {
		done, total uint64
		want        string
	}{
		{0, 0, "[--------------------]"},
		{7, 0, "[--------------------]"}, // nobody knows of how many
		{0, 9, "[--------------------]"},
		{1, 2, "[##########----------]"},
		{99, 100, "[###################-]"},
		{100, 100, "[####################]"},
		{101, 100, "[####################]"}, // more has come since it was counted
		{1 << 63, 1<<64 - 1, "[##########----------]"},
	} {
		if got := bar(tt.done, tt.total); got != tt.want {
			t.Errorf("%d of %d: got %s, want %s", tt.done, tt.total, got, tt.want)
		}
	}
}

// An import shows how far it is on the terminal of a person, and takes the line away for what it has to say of an item and
// at its end; nobody else sees anything of it.
func TestImportIsShownToPersons(t *testing.T) {
	for _, tt := range []struct {
		name    string
		watched bool
		total   uint64
		want    string
	}{
		{"a file", true, 20, lineClear + "import [##########----------] 1 key written, 10 bytes of 20 bytes read" + lineStart + lineClear + lineStart},
		{"a pipe", true, 0, lineClear + "import: 1 key written, 10 bytes read" + lineStart + lineClear + lineStart},
		{"nobody looks", false, 20, ""},
	} {
		var errs bytes.Buffer
		m := newImporter(&errand{console: &console{err: &errs, watched: tt.watched}}, "f")
		m.total = tt.total
		in := importInput{strings.NewReader("0123456789"), m}
		if n, err := in.Read(make([]byte, 64)); n != 10 || err != nil {
			t.Fatal(n, err)
		}
		m.end(1, client.Written{}, nil)
		m.end(2, client.Written{}, nil) // too soon to be drawn, however slow the machine is
		if tt.watched {
			m.progress.at = m.progress.at.Add(time.Hour)
		}
		m.end(3, client.Written{}, &wire.Error{Code: wire.CodeTooLarge, Object: "value"})
		got, said, _ := strings.Cut(errs.String(), "muster: f: line 3: ")
		if got != tt.want || !strings.HasSuffix(said, "\n") || m.written != 2 || m.failed != 1 {
			t.Errorf("%s: got %q and then %q, want %q; %d keys are counted, and %d that failed", tt.name, got, said, tt.want, m.written, m.failed)
		}
	}
}

// The line of an export stands on the terminal of a person whose keys go elsewhere: on one terminal with them it would be in
// their midst.
func TestExportIsShownToPersons(t *testing.T) {
	for _, tt := range []struct {
		name              string
		watched, terminal bool
		total             uint64
		want              string
	}{
		{"into a file", true, false, 0, lineClear + "export: 1 key, 100 bytes" + lineStart + lineClear + lineStart},
		{"into a file, with a count", true, false, 4, lineClear + "export [#####---------------] 1 of 4 keys, 100 bytes" + lineStart + lineClear + lineStart},
		{"to the terminal", true, true, 4, ""},
		{"nobody looks", false, false, 4, ""},
	} {
		var errs bytes.Buffer
		s := &errand{console: &console{err: &errs, watched: tt.watched, terminal: tt.terminal}}
		m := newExportMeter(t.Context(), s, nil, client.ListOptions{Local: true}) // asks no node
		if m != nil {
			m.total = tt.total
		}
		m.wrote(100)
		if m != nil {
			m.at = m.at.Add(time.Hour)
		}
		m.wrote(100)
		m.clear()
		if errs.String() != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, errs.String(), tt.want)
		}
	}
}

// An export whose keys can't be counted continues without a total: a cluster below the level of counts has keys, too.
func TestExportWithoutCount(t *testing.T) {
	var errs bytes.Buffer
	c, err := client.Open(client.Options{Endpoints: []string{"127.0.0.1:1"}, Insecure: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s := &errand{console: &console{err: &errs, watched: true}, client: c, timeout: 50 * time.Millisecond}
	if m := newExportMeter(t.Context(), s, nil, client.ListOptions{}); m == nil || m.total != 0 || s.answered.Load() {
		t.Errorf("got %+v", m)
	}
	if errs.Len() > 0 {
		t.Errorf("said %q", errs.String())
	}
}
