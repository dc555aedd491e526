package load

import (
	"context"
	"flag"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"muster/node/trial/clustertest"
	"muster/repl/client"
	"muster/repl/client/bench"
)

var pauses = flag.Int("pauses", 0, "with how many `KEYS` TestPauses looks for what clients see of collections; the figures of docs/performance.md are of 10000000")

const (
	// pauseMax is what a collection may cost a request, and for how long it
	// may stop a node.
	pauseMax = 2 * time.Millisecond
	// pauseRate is how many sets a second make the garbage: a tenth of what
	// three nodes on two cores do, so that it is not the load that is seen.
	pauseRate = 20_000
	// pauseTime is how long requests are watched.
	pauseTime = 100 * time.Second
	// pauseSnapshots is how long they are watched before, while what was
	// loaded is written down.
	pauseSnapshots = 20 * time.Second
	// pauseProbe lies between two requests of one of those that are watched.
	pauseProbe = time.Millisecond
	// pauseSlack is how far the times of a node's collections may be off:
	// they are told in milliseconds since it started, a little after its
	// process did.
	pauseSlack = 20 * time.Millisecond
	// pauseCollections is how many must have been seen to judge.
	pauseCollections = 5
)

// collection is what a node's runtime said of one.
type collection struct {
	node              int
	span              span
	stopped, stopped2 time.Duration // the world, at its beginning and end
	marked            time.Duration // processor time
	assisted          time.Duration // of it, by who allocated
	line              string
}

type span struct{ from, to time.Time }

func (s span) meets(o span) bool { return s.from.Before(o.to) && o.from.Before(s.to) }

// A line of gctrace: when it began, the three parts by the clock (stopped,
// beside the program, stopped) and by the processor, the second of these in
// those that who allocated did, those of the collector's own and of idle
// processors.
var collectionLine = regexp.MustCompile(`^gc \d+ @([0-9.]+)s \d+%: ([0-9.]+)\+([0-9.]+)\+([0-9.]+) ms clock, ([0-9.]+)\+([0-9.]+)/([0-9.]+)/([0-9.]+)\+([0-9.]+) ms cpu`)

// collectionsOf are those that a node has logged.
func collectionsOf(c *clustertest.Cluster, i int) (all []collection) {
	for line := range strings.Lines(c.LogOf(i)) {
		m := collectionLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		var ms [10]time.Duration
		for k := range m {
			if k > 0 {
				f, _ := strconv.ParseFloat(m[k], 64)
				ms[k] = time.Duration(f * float64(time.Millisecond))
			}
		}
		from := c.Nodes[i].Started.Add(ms[1] * 1000)
		all = append(all, collection{
			node: i, span: span{from, from.Add(ms[2] + ms[3] + ms[4] + pauseSlack)}, line: strings.TrimSpace(line),
			stopped: ms[2], stopped2: ms[4], assisted: ms[6], marked: ms[6] + ms[7] + ms[8],
		})
	}
	return all
}

// probe is one request that was watched.
type probe struct {
	at   time.Time
	took time.Duration
}

// probes asks again and again until the context ends.
func probes(ctx context.Context, ask func(ctx context.Context, key []byte) error) (all []probe, err error) {
	tick := time.NewTicker(pauseProbe)
	defer tick.Stop()
	all = make([]probe, 0, pauseTime/pauseProbe)
	key := make([]byte, 0, 32)
	for n := uint64(1); ; n++ {
		select {
		case <-ctx.Done():
			return all, nil
		case <-tick.C:
		}
		key = fmt.Appendf(key[:0], "bench/%010d", n*2654435761%uint64(*pauses))
		began := time.Now()
		if err := ask(ctx, key); err != nil && ctx.Err() == nil {
			return all, err
		}
		all = append(all, probe{began, time.Since(began)})
	}
}

// slowest is the slowest of each span that has any, sorted.
func slowest(all []probe, spans []span) (worst []time.Duration) {
	for _, s := range spans {
		most := time.Duration(0)
		for _, p := range all {
			if s.meets(span{p.at, p.at.Add(p.took)}) {
				most = max(most, p.took)
			}
		}
		if most > 0 {
			worst = append(worst, most)
		}
	}
	slices.Sort(worst)
	return worst
}

// apart are the times of those that were under way in one of the spans, and of the
// others.
func apart(all []probe, spans []span) (within, outside []time.Duration) {
	for _, p := range all {
		if slices.ContainsFunc(spans, func(s span) bool { return s.meets(span{p.at, p.at.Add(p.took)}) }) {
			within = append(within, p.took)
		} else {
			outside = append(outside, p.took)
		}
	}
	return within, outside
}

func tail(took []time.Duration) string {
	return fmt.Sprintf("%d: p50 %v, p99 %v, p99.9 %v, most %v", len(took), quantileOf(0.5, took), quantileOf(0.99, took), quantileOf(0.999, took), quantileOf(1, took))
}

// snapshotsUnderWay notes when any node is writing a snapshot, until the context
// ends.
func snapshotsUnderWay(ctx context.Context, c *clustertest.Cluster) (all []span) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	under := false
	for {
		found := false
		for _, p := range c.Nodes {
			names, _ := filepath.Glob(filepath.Join(p.Data, "snap", "*.tmp"))
			found = found || len(names) > 0
		}
		now := time.Now()
		if found && !under {
			all = append(all, span{from: now})
		}
		if found {
			all[len(all)-1].to = now
		}
		under = found
		select {
		case <-ctx.Done():
			return all
		case <-tick.C:
		}
	}
}

// The state of a node is gigabytes, and what looks through memory for garbage
// could hold up who asks: by stopping the world, by taking the processors, or by
// having those who allocate help it. So while sets make garbage at a moderate
// rate, a getter and a setter that ask one thing at a time are watched, and what
// they see while a node collects is compared with what they see otherwise. On a
// shared machine the slowest of many requests says more of the neighbours than
// of the node: what is compared is the slowest in each collection, over all
// collections the median and the 90th percentile, with the slowest in spans of
// the same lengths half way between collections; and one stop in a hundred may
// be over the limit, for a stop takes as long as the system gives the processors
// to others.
func TestPauses(t *testing.T) {
	clustertest.OnDemand(t, *pauses > 0, "./node/trial/load -run TestPauses -pauses 10000000 -timeout 20m")
	c := clustertest.New(t, 3)
	c.Plain = true
	c.Env = []string{"GODEBUG=gctrace=1"}
	for i := range c.Nodes {
		c.Start(i)
	}
	c.Healthy()
	cl := c.Client()
	began := time.Now()
	plan := bench.Plan{Op: bench.OpGet, InFlight: 1, Keys: *pauses, KeyBytes: 16, ValueBytes: 128, Duration: time.Second, Grace: time.Minute}
	if err := bench.Fill(t.Context(), cl, plan); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d keys set in %v; resident %.0f MB", *pauses, time.Since(began).Round(time.Second), residentOf(c))
	// What snapshots of so much cost is told, and not judged.
	early, earlySets, snapshots, _ := watchPauses(t, c, cl, pauseSnapshots)
	for _, x := range []struct {
		what string
		all  []probe
	}{{"gets", early}, {"sets", earlySets}} {
		within, outside := apart(x.all, snapshots)
		t.Logf("%s while a snapshot is written, %s", x.what, tail(within))
		t.Logf("%s otherwise,                   %s", x.what, tail(outside))
	}
	restful(c)
	t.Logf("their snapshots written after %v; resident %.0f MB", time.Since(began).Round(time.Second), residentOf(c))

	gets, sets, _, watched := watchPauses(t, c, cl, pauseTime)

	var collected []collection
	for i := range c.Nodes {
		for _, g := range collectionsOf(c, i) {
			if g.span.meets(watched) {
				collected = append(collected, g)
			}
		}
	}
	slices.SortFunc(collected, func(a, b collection) int { return a.span.from.Compare(b.span.from) })
	var spans, others []span
	var stops, marked, assisted, long []time.Duration
	for i, g := range collected {
		spans = append(spans, g.span)
		stops = append(stops, g.stopped, g.stopped2)
		marked, assisted, long = append(marked, g.marked), append(assisted, g.assisted), append(long, g.span.to.Sub(g.span.from)-pauseSlack)
		if i == 0 {
			continue
		}
		// As long a span half way between this one and the one before.
		middle := collected[i-1].span.to.Add(g.span.from.Sub(collected[i-1].span.to) / 2)
		other := span{middle, middle.Add(g.span.to.Sub(g.span.from))}
		if !slices.ContainsFunc(collected, func(x collection) bool { return x.span.meets(other) }) {
			others = append(others, other)
		}
		if max(g.stopped, g.stopped2) > pauseMax {
			t.Logf("n%d: %s", g.node+1, g.line)
		}
	}
	if len(spans) < pauseCollections || len(others) < pauseCollections {
		t.Fatalf("%d collections in %v, and %d spans between; want %d to judge", len(spans), pauseTime, len(others), pauseCollections)
	}
	t.Logf("%d collections, each %v long (median; most %v), marking for %v of processor time (most %v), of which who allocated helped for %v at most",
		len(collected), median(long), slices.Max(long), median(marked), slices.Max(marked), slices.Max(assisted))
	over := 0
	for _, s := range stops {
		if s > pauseMax {
			over++
		}
	}
	t.Logf("the world stood still %d times: p50 %v, p90 %v, p99 %v, most %v; %d times for more than %v (want 1 in 100 at most)",
		len(stops), median(stops), quantileOf(0.9, stops), quantileOf(0.99, stops), slices.Max(stops), over, pauseMax)
	if over*100 > len(stops) {
		t.Errorf("collections stopped the world for more than %v %d times of %d, for %v at most; want 1 in 100 at most", pauseMax, over, len(stops), slices.Max(stops))
	}
	for _, x := range []struct {
		what string
		all  []probe
	}{{"gets", gets}, {"sets", sets}} {
		within, outside := apart(x.all, spans)
		t.Logf("%s while a node collects, %s", x.what, tail(within))
		t.Logf("%s otherwise,            %s", x.what, tail(outside))
		in, out := slowest(x.all, spans), slowest(x.all, others)
		for _, q := range []float64{0.5, 0.9} {
			a, b := quantileOf(q, in), quantileOf(q, out)
			t.Logf("the slowest of the %s in each collection, quantile %.1f: %v; in as long a span between: %v; want %v more at most", x.what, q, a, b, pauseMax)
			if a-b > pauseMax {
				t.Errorf("a collection costs %s %v, want %v at most", x.what, a-b, pauseMax)
			}
		}
	}
}

// watchPauses has sets make garbage for some time, and returns what those saw who asked
// one thing at a time, and when snapshots were being written.
func watchPauses(t *testing.T, c *clustertest.Cluster, cl *client.Client, d time.Duration) (gets, sets []probe, snapshots []span, watched span) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	watched.from = time.Now()
	var wg sync.WaitGroup
	wg.Go(func() {
		var got []byte
		var err error
		if gets, err = probes(ctx, func(ctx context.Context, key []byte) (err error) {
			got, _, _, err = cl.GetOne(ctx, key, got[:0], client.ReadOptions{})
			return err
		}); err != nil {
			t.Error(err)
		}
	})
	wg.Go(func() {
		var err error
		value := make([]byte, 128)
		if sets, err = probes(ctx, func(ctx context.Context, key []byte) error {
			_, err := cl.Set(ctx, key, value, client.WriteOptions{})
			return err
		}); err != nil {
			t.Error(err)
		}
	})
	wg.Go(func() { snapshots = snapshotsUnderWay(ctx, c) })
	r := runBench(c, "--op set --connections 4 --in-flight 1024 --rate %d --duration %v --keys %d", pauseRate, d-3*time.Second, *pauses)
	wg.Wait()
	watched.to = time.Now()
	t.Logf("load: %.0f sets/s, p99 %.2f ms, p99.9 %.2f ms, most %.1f ms, %d errors; resident %.0f MB", r.OpsPerS, r.P99/1000, r.P999/1000, r.Max/1000, r.Errors, residentOf(c))
	if r.Errors > 0 {
		t.Errorf("%d sets of the load failed", r.Errors)
	}
	return gets, sets, snapshots, watched
}

// restful waits until no node has written a snapshot for some time: what was
// loaded is on the disks then.
func restful(c *clustertest.Cluster) {
	const rest = 5 * time.Second // longer than a group rests before it is due
	within := time.Now().Add(10 * clustertest.ReadyMax)
	for quiet := time.Now(); time.Since(quiet) < rest; time.Sleep(rest / 50) {
		for _, p := range c.Nodes {
			if names, _ := filepath.Glob(filepath.Join(p.Data, "snap", "*.tmp")); len(names) > 0 {
				quiet = time.Now()
			}
		}
		if time.Now().After(within) {
			c.T.Fatalf("snapshots are still being written after %v", 10*clustertest.ReadyMax)
		}
	}
}
