package cmd

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/node/overview"
)

var updateTop = flag.Bool("update-top", false, "write the screens of muster top into testdata anew")

// sampleOverview is a cluster of which something is to be seen in each table.
func sampleOverview() *overview.Overview {
	at := time.Date(2027, 1, 15, 8, 0, 5, 0, time.UTC)
	lag, left, group, bytes, total := uint64(12), uint64(95), 2, uint64(40<<20), uint64(210<<20)
	lat := func(p50, p99 uint64) overview.Latency { return overview.Latency{Count: 9, P50: p50, P99: p99} }
	o := &overview.Overview{At: at, Verdict: overview.VerdictError, Cluster: "shop",
		Reason: "node n3 (10.0.0.3:4166) is dead, last heard of 2.1s ago: nothing listens at its address; unless it is back, its replicas are made elsewhere in about 5m0s",
		Next:   "start it again with the same command as before",
		Rates:  overview.Rates{WindowMs: 3000, Writes: 1204, Reads: 3310.4, Syncs: 301, LogBytes: 3 << 20, BytesIn: 1 << 20, BytesOut: 5 << 20, CPU: 61, WriteLatency: lat(1200, 9100), ReadLatency: lat(300, 2100), SyncLatency: lat(800, 4000)},
	}
	for i := 1; i <= 4; i++ {
		n := overview.Node{Answered: true, Leads: 5 - i, Replicas: 3, UptimeS: uint64(3600 * i), RSS: uint64(i) << 26, FreeBytes: 80 << 30, LogBytes: 1 << 30, SyncP50: 700, SyncP99: uint64(1000 * i), Start: 1}
		n.ID, n.Name, n.Addr, n.Role, n.Status, n.Version, n.Level, n.Weight = fmt.Sprintf("%016x", i), fmt.Sprintf("n%d", i), fmt.Sprintf("10.0.0.%d:4166", i), "server", "alive", "1.9.0", 12, 100
		n.Labels = map[string]string{"zone": "a"}
		n.Rates = overview.Rates{WindowMs: 3000, Writes: float64(100 * i), Reads: float64(1000 / i), CPU: float64(10 * i), WriteLatency: lat(1200, 9100)}
		if i == 3 {
			n.Status, n.Answered, n.Why, n.UptimeS, n.Rates = "dead", false, "it accepts no connection at 10.0.0.3:4166 (connection refused)", 0, overview.Rates{}
		}
		o.Nodes = append(o.Nodes, n)
		if i > 1 {
			o.Links = append(o.Links, overview.Link{From: "n1", To: n.Name, Known: true, Reached: i != 3, Heard: i != 4, RTTus: uint64(100 * i), Why: map[bool]string{true: "connection refused"}[i == 3]})
		}
	}
	for id := range 12 {
		g := overview.Group{ID: id, Leader: "n1", Term: 7, Commit: fmt.Sprintf("g%d/7.%d", id, 100*id), Slots: 372, Voters: 3, Live: 3}
		for r := 1; r <= 3; r++ {
			x := overview.Replica{ReplicaRow: overview.ReplicaRow{ID: fmt.Sprint(r), Node: fmt.Sprintf("n%d", r), Role: "voter", State: "replicate"}}
			if id == 2 {
				x.Lag = &lag
			}
			g.Replicas = append(g.Replicas, x)
		}
		if id == 5 {
			g.Leader, g.Live = "", 1
		}
		o.Groups = append(o.Groups, g)
	}
	move := overview.JobRow{ID: "1207", Kind: "move", State: "running", Done: 20, Total: 100, Unit: "slots", Bytes: &bytes, BytesTotal: &total, Group: &group}
	o.Jobs = []overview.Job{{JobRow: move, PerS: 1, BytesPerS: 2 << 20, LeftS: &left}, {JobRow: overview.JobRow{ID: "1195", Kind: "drain", State: "done", Done: 3, Total: 3, Unit: "replicas", Node: "n4"}}}
	o.Moves = []overview.Move{{First: 20, Last: 24, From: 1, To: 2, State: "copying", Job: "1207"}}
	for i, text := range []string{"job 1207 (move) has begun", "node n3 is dead", "node n1 leads group 4, in term 8"} {
		o.Events = append(o.Events, overview.Event{At: at.Add(time.Duration(i-9) * time.Second), Kind: overview.EventNodeLost, Key: fmt.Sprint(i), Text: text})
	}
	o.Findings = []overview.Finding{{Severity: overview.SeverityError, What: o.Reason, Remedy: o.Next}, {Severity: overview.SeverityWarning, What: "the disk of /data on n2 has 100 MiB free", Remedy: "make room"}}
	return o
}

// Screens are drawn from an overview, what a person has pressed, and a size. What they look like is
// in files, for all widths from a narrow terminal to a wide one.
func TestTopScreens(t *testing.T) {
	for _, tt := range []struct {
		name          string
		width, height int
		press         string // keys, by blanks
		colour        bool
	}{
		{"narrow", 40, 12, "", false},
		{"usual", 80, 24, "", false},
		{"wide", 200, 30, "", false},
		{"colour", 80, 24, "down", true},
		{"groups", 80, 24, "2", false},
		{"groups by lag", 120, 24, "2 s s s r", false},
		{"last group", 80, 16, "2 end", false},
		{"one group", 80, 24, "2 down down enter", false},
		{"jobs", 120, 24, "3", false},
		{"one job", 80, 24, "3 down enter", false},
		{"events", 80, 24, "4 p", false},
		{"findings", 80, 24, "tab tab tab tab", false},
		{"one finding", 80, 24, "5 enter", false},
		{"one node", 80, 24, "enter", false},
		{"help", 80, 24, "?", false},
		{"too small", 30, 5, "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o, s := sampleOverview(), topState{colour: tt.colour}
			drawTop(o, &s, tt.width, tt.height)
			for _, k := range strings.Fields(tt.press) {
				if !s.press(topKey(k), tt.height) {
					t.Fatalf("%s quits", k)
				}
				drawTop(o, &s, tt.width, tt.height)
			}
			lines := drawTop(o, &s, tt.width, tt.height)
			if len(lines) > tt.height {
				t.Errorf("%d lines on %d", len(lines), tt.height)
			}
			for _, line := range lines {
				if n := columnsOf(unstyled(line)); n > tt.width {
					t.Errorf("%d columns on %d: %q", n, tt.width, line)
				}
			}
			got := strings.ReplaceAll(strings.Join(lines, "\n"), "\x1b", "␛") + "\n"
			path := filepath.Join("testdata", "top", strings.ReplaceAll(tt.name, " ", "_")+".txt")
			if *updateTop {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil || got != string(want) {
				t.Errorf("%v; got\n%s\nwant\n%s(go test ./node/cmd -run TestTopScreens -update-top writes it)", err, got, want)
			}
		})
	}
}

// unstyled is a line without the styles in it.
func unstyled(line string) string {
	var b strings.Builder
	for i, part := range strings.Split(line, "\x1b[") {
		if i > 0 {
			_, part, _ = strings.Cut(part, "m")
		}
		b.WriteString(part)
	}
	return b.String()
}

// A colour says nothing that no word or sign says: without it, all words are there.
func TestTopColourSaysNothingAlone(t *testing.T) {
	for table := range topTables {
		o := sampleOverview()
		with, without := topState{table: table, colour: true}, topState{table: table}
		coloured, plain := drawTop(o, &with, 100, 30), drawTop(o, &without, 100, 30)
		for i := range plain {
			if unstyled(coloured[i]) != plain[i] || strings.Contains(plain[i], "\x1b") {
				t.Errorf("%s: %q and %q", table, coloured[i], plain[i])
			}
		}
	}
}

// Rates that are not known must not be shown as 0, neither to a user who may not see them nor for a node that does not
// answer, and nobody is told to wait for them.
func TestTopTellsNoRatesThatAreNotKnown(t *testing.T) {
	o := sampleOverview()
	o.Limited, o.Rates = "rates are left out", overview.Rates{}
	for i := range o.Nodes {
		o.Nodes[i].Rates = overview.Rates{}
	}
	c := nodeContent(o)
	for _, r := range c.rows {
		for i, col := range c.columns {
			if slices.Contains([]string{"WRITES/S", "READS/S", "CPU"}, col.head) && r.cells[i].text != "-" {
				t.Errorf("%s of %s is %q, and nobody knows it", col.head, r.cells[0].text, r.cells[i].text)
			}
		}
	}
	for _, text := range append(topRates(o, 120), topLine(o)) {
		if strings.Contains(text, "counting") {
			t.Errorf("%q tells somebody to wait for what does not come", text)
		}
	}
}

// Nodes may call themselves anything, and must not steer the terminal of those who look.
func TestTopIsNotSteered(t *testing.T) {
	if wrong := topSteered(t); wrong != "" {
		t.Error(wrong)
	}
}

func topSteered(*testing.T) string {
	const evil = "n\x1b[2Jx\ny\u009bz"
	o := sampleOverview()
	o.Cluster, o.Reason, o.Next, o.Limited = evil, evil, evil, evil
	o.Nodes[0].Name, o.Nodes[0].Version, o.Nodes[0].Why, o.Nodes[0].Labels = evil, evil, evil, map[string]string{evil: evil}
	o.Groups[0].Leader, o.Groups[0].Replicas[0].Node = evil, evil
	o.Jobs[0].Why, o.Jobs[0].Node, o.Events[2].Text, o.Findings[0].What = evil, evil, evil, evil
	for table := range topTables {
		for _, open := range []bool{false, true} {
			s := topState{table: table, open: open}
			for _, line := range drawTop(o, &s, 120, 40) {
				if strings.ContainsAny(line, "\x1b\n\u009b") {
					return fmt.Sprintf("%s: %q", table, line)
				}
			}
		}
	}
	return ""
}

// Keys come as bytes, in any pieces; what is no key does nothing.
func TestTopKeys(t *testing.T) {
	for _, tt := range []struct {
		typed string
		want  []topKey
		left  string
	}{
		{"q", []topKey{"q"}, ""},
		{"jkl", []topKey{"j", "k", "l"}, ""},
		{"\x03", []topKey{keyQuit}, ""},
		{"\x1b[A\x1b[B\x1bOA", []topKey{keyUp, keyDown, keyUp}, ""},
		{"\x1b[5~\x1b[6~\x1b[1~\x1b[F\x1b[Z", []topKey{keyPageUp, keyPageDn, keyHome, keyEnd, keyBack}, ""},
		{"\t\r", []topKey{keyTab, keyEnter}, ""},
		{"\x1b", nil, "\x1b"},
		{"\x1b[", nil, "\x1b["},
		{"\x1b[1", nil, "\x1b[1"},
		{"\x1bx", []topKey{keyEscape, "x"}, ""},
		{"\x1b[99;5Rq", []topKey{"q"}, ""}, // what no key of ours sends
		{"\x1b[" + strings.Repeat("1", 40), nil, ""},
		{"é", []topKey{"é"}, ""},
		{"\xc3", nil, "\xc3"},
	} {
		keys, left := topKeys([]byte(tt.typed))
		if !slices.Equal(keys, tt.want) || string(left) != tt.left {
			t.Errorf("%q: got %q, left %q, want %q, left %q", tt.typed, keys, left, tt.want, tt.left)
		}
		// The same in two pieces, wherever they are cut.
		for cut := range len(tt.typed) {
			first, left := topKeys([]byte(tt.typed[:cut]))
			second, _ := topKeys(append(left, tt.typed[cut:]...))
			if got := append(first, second...); !slices.Equal(got, tt.want) && len(tt.typed) < sequenceMax {
				t.Errorf("%q cut at %d: got %q, want %q", tt.typed, cut, got, tt.want)
			}
		}
	}
}

// The selection stays on what it was on, however the table is sorted and whatever comes and goes.
func TestTopSelection(t *testing.T) {
	o, s := sampleOverview(), topState{}
	draw := func() { drawTop(o, &s, 100, 30) }
	draw()
	s.press(keyDown, 30)
	draw()
	if got := s.selected[topNodes]; got != o.Nodes[1].ID {
		t.Fatalf("one down: %s", got)
	}
	s.press("r", 30)
	draw()
	if s.selected[topNodes] != o.Nodes[1].ID || s.at != 2 {
		t.Errorf("the other way round: %s at %d", s.selected[topNodes], s.at)
	}
	o.Nodes = slices.Delete(o.Nodes, 1, 2)
	draw()
	if s.selected[topNodes] != o.Nodes[0].ID {
		t.Errorf("after it is gone: %s", s.selected[topNodes])
	}
	s.press(keyEnter, 30)
	o.Nodes = nil
	draw()
	if s.open {
		t.Error("a closer look at nothing")
	}
}

// A screen is sent what has changed, and nothing else.
func TestTopSendsChanges(t *testing.T) {
	for _, tt := range []struct {
		name     string
		old, now []string
		want     string
	}{
		{"nothing known", nil, []string{"a", "b"}, screenClear + "\x1b[1;1Ha\x1b[K\x1b[2;1Hb\x1b[K"},
		{"nothing new", []string{"a", "b"}, []string{"a", "b"}, ""},
		{"one line", []string{"a", "b", "c"}, []string{"a", "x", "c"}, "\x1b[2;1Hx\x1b[K"},
		{"fewer", []string{"a", "b"}, []string{"a"}, "\x1b[2;1H\x1b[K"},
		{"more", []string{"a"}, []string{"a", "b"}, "\x1b[2;1Hb\x1b[K"},
	} {
		if got := changed(tt.old, tt.now); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}
