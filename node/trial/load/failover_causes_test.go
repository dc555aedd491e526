package load

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"muster/node/trial/clustertest"
	"muster/raft"
	"muster/repl/client"
	"muster/shardmap"
)

// Of a failover the nodes' logs tell what each part of it took. This test takes the longest
// wait of a writer in each and lays the log of the group's new leader over it.

const (
	// causeWriters write while the leader is killed, each to one key after the other.
	causeWriters = 64
	// causeKeys is over how many keys they spread.
	causeKeys = 1000
)

// writeTime is one write of a writer, in real time: lines of the logs have no other.
type writeTime struct {
	key             []byte
	asked, answered time.Time
}

func (w *writeTime) took() time.Duration { return w.answered.Sub(w.asked) }

// logLine is a line of a node's log.
type logLine struct {
	at     time.Time
	fields map[string]string
}

// span returns a field that is a time.
func (l *logLine) span(t *testing.T, name string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(l.fields[name])
	if err != nil {
		t.Fatalf("line %v: %s: %v", l.fields, name, err)
	}
	return d
}

// loggedBy returns the lines of a node's log with a message, from a time on.
func loggedBy(t *testing.T, p *clustertest.Process, message string, from time.Time) (lines []logLine) {
	t.Helper()
	text, err := os.ReadFile(p.Log)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if !strings.Contains(line, `msg="`+message+`"`) {
			continue
		}
		l := logLine{fields: map[string]string{}}
		for rest := strings.TrimSpace(line); rest != ""; {
			name, value, _ := strings.Cut(rest, "=")
			if after, quoted := strings.CutPrefix(value, `"`); quoted {
				value, rest, _ = strings.Cut(after, `"`)
			} else {
				value, rest, _ = strings.Cut(value, " ")
			}
			l.fields[strings.TrimSpace(name)] = value
			rest = strings.TrimSpace(rest)
		}
		if l.at, err = time.Parse(time.RFC3339Nano, l.fields["time"]); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if !l.at.Before(from) {
			lines = append(lines, l)
		}
	}
	return lines
}

// phase is a part of a failover.
type phase struct {
	name string
	took time.Duration
	why  string
}

// failover is the longest wait of a writer after a kill.
type failover struct {
	group  raft.GroupID
	waited time.Duration
	phases []phase // nil: the group kept its leader
}

func (f *failover) longest() *phase {
	if len(f.phases) == 0 {
		return &phase{name: "other", took: f.waited, why: "the group kept its leader"}
	}
	p := slices.MaxFunc(f.phases, func(a, b phase) int { return int(a.took - b.took) })
	return &p
}

func (f *failover) String() string {
	var parts []string
	for _, p := range f.phases {
		parts = append(parts, fmt.Sprintf("%s %.1f", p.name, inMs(p.took)))
	}
	l := f.longest()
	return fmt.Sprintf("%6.1f ms, group %d: %s; longest: %s (%s)", inMs(f.waited), f.group, strings.Join(parts, ", "), l.name, l.why)
}

func inMs(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// phasesOf tells what a wait in a group was made of, by the log of the node that leads it
// now. The parts follow each other without a gap: all end at the next one's beginning.
func phasesOf(c *clustertest.Cluster, killed time.Time, dead int, w writeTime, g raft.GroupID) []phase {
	t := c.T.(*testing.T)
	t.Helper()
	for i, p := range c.Nodes {
		if i == dead {
			continue
		}
		for _, l := range loggedBy(t, p, "group leads", killed) {
			if l.fields["group"] != g.String() {
				continue
			}
			without := l.span(t, "without")
			lost := l.at.Add(-without)
			// A line's time is cut to ms, so a sum may be that much off.
			if sum := l.span(t, "ask") + l.span(t, "prevote") + l.span(t, "votes") + l.span(t, "entry"); (sum - without).Abs() > time.Millisecond {
				t.Errorf("group %d: the parts add up to %v, the whole is %v: %v", g, sum, without, l.fields)
			}
			voter := ""
			for k, o := range c.Nodes {
				if k == i || k == dead {
					continue
				}
				for _, f := range loggedBy(t, o, "group has leader", killed) {
					if f.fields["group"] == g.String() && f.fields["term"] == l.fields["term"] {
						voter = fmt.Sprintf(", the voter's %s", f.fields["vote_sync"])
					}
				}
			}
			return []phase{
				{"notice", lost.Sub(killed), "the node saw it by " + l.fields["lost"] + ", had heard of the leader " + l.fields["heard"] + " before"},
				{"ask", l.span(t, "ask"), "its turn, or its tick"},
				{"prevote", l.span(t, "prevote"), l.fields["rounds"] + " rounds of pre-votes"},
				{"votes", l.span(t, "votes"), "its own vote's sync " + l.fields["vote_sync"] + voter},
				{"entry", l.span(t, "entry"), "its own sync of it " + l.fields["entry_sync"]},
				{"client", w.answered.Sub(l.at), "from the first entry until the answer"},
			}
		}
	}
	return nil
}

// failOver kills the leader of most groups under writers, and tells of the writer that
// waited longest.
func failOver(t *testing.T, c *clustertest.Cluster) failover {
	t.Helper()
	cl := c.Client()
	ctx, cancel := context.WithTimeout(t.Context(), clustertest.ReadyMax)
	defer cancel()
	table, err := cl.Topology(ctx)
	if err != nil {
		t.Fatal(err)
	}
	dead := c.Leads(0)
	stop := make(chan struct{})
	var mu sync.Mutex
	var longest writeTime             // guarded by mu
	var killed time.Time              // guarded by mu; zero: not yet
	var asked [causeWriters]time.Time // guarded by mu; when each asked for the last write that was answered
	var wg sync.WaitGroup
	for n := range causeWriters {
		wg.Go(func() {
			for i := n; ; i += causeWriters {
				w := writeTime{key: fmt.Appendf(nil, "cause/%d", i%causeKeys), asked: time.Now()}
				if _, err := cl.Set(ctx, w.key, make([]byte, 128), client.WriteOptions{}); err != nil {
					t.Errorf("write %d of writer %d: %v", i, n, err)
					return
				}
				w.answered = time.Now()
				mu.Lock()
				asked[n] = w.asked
				// What waits when the leader dies waits for the failover from then on.
				if !killed.IsZero() && w.answered.After(killed) {
					if w.asked.Before(killed) {
						w.asked = killed
					}
					if w.took() > longest.took() {
						longest = w
					}
				}
				mu.Unlock()
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	// Each writer begins a write from now on, and has its answer.
	allWrite := func() {
		since := time.Now()
		c.Until("told that each writer has written since then", func(context.Context) error {
			mu.Lock()
			defer mu.Unlock()
			if n := slices.IndexFunc(asked[:], func(at time.Time) bool { return at.Before(since) }); n >= 0 {
				return fmt.Errorf("writer %d has not since %v", n, asked[n])
			}
			return nil
		})
	}
	allWrite() // the kill is to meet all of them at work
	mu.Lock()
	killed = time.Now()
	mu.Unlock()
	c.Kill(dead)
	ended := time.Since(killed)
	for i := range c.Nodes {
		if i == dead {
			continue
		}
		c.Until(fmt.Sprintf("told by n%d that each group is led", i+1), func(ctx context.Context) error {
			a, err := cl.Status(ctx, c.Nodes[i].Addr)
			if err != nil {
				return err
			}
			for _, g := range a.Groups {
				if n := c.NumberOf(a, g); n < 0 || n == dead {
					return fmt.Errorf("group %d is not", g.ID)
				}
			}
			return nil
		})
	}
	// However long a writer waits, its wait counts: each writes once more with all groups led.
	allWrite()
	close(stop)
	wg.Wait()
	f := failover{waited: longest.took()}
	slot := shardmap.SlotOf(longest.key)
	for _, r := range table.Slots {
		if slot >= r.From && slot <= r.To {
			f.group = r.Group
		}
	}
	f.phases = phasesOf(c, killed, dead, longest, f.group)
	if len(f.phases) > 0 {
		f.phases[0].why += fmt.Sprintf("; its process had ended after %.1f ms", inMs(ended))
	}
	c.Start(dead)
	c.Healthy()
	return f
}

// Each failover can be told in parts from the logs of the nodes that remain. The doubt is
// that a part is missing: then what a slow one waited for is a guess.
func TestFailoverCauses(t *testing.T) {
	c := clustertest.Start(t, 3)
	var all []failover
	for range *failovers {
		all = append(all, failOver(t, c))
	}
	slices.SortFunc(all, func(a, b failover) int { return int(a.waited - b.waited) })
	for i := range all {
		t.Log(all[i].String())
	}
	took, causes := map[string][]time.Duration{}, map[string]int{}
	for i := range all {
		causes[all[i].longest().name]++
		for _, p := range all[i].phases {
			took[p.name] = append(took[p.name], p.took)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(took)) {
		t.Logf("%s: median %v, most %v, the longest part of %d", name, median(took[name]), slices.Max(took[name]), causes[name])
	}
	t.Logf("longest wait of %d writers: median %v, most %v of %d failovers", causeWriters, all[len(all)/2].waited, all[len(all)-1].waited, len(all))
}
