package sim

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	seedFlag  = flag.Int64("seed", -1, "run this seed alone, with its notes")
	seedsFlag = flag.Int("seeds", 0, "run so many seeds")
	fromFlag  = flag.Int("from", 0, "the first of them")
	hoursFlag = flag.Float64("hours", 0, "make the seeds so long that they are so many hours together")
	quietFlag = flag.Bool("quiet", false, "with -seed: without its notes")
)

// TestMain lets memory grow further between two collections: clusters are small
// and short-lived, and a collection costs more than they do.
func TestMain(m *testing.M) {
	debug.SetGCPercent(400)
	os.Exit(m.Run())
}

// total is what many runs were together.
type total struct {
	mu        sync.Mutex
	runs      int
	simulated time.Duration // of all
	counted   time.Duration // of those that meet what an hour must hold
	counts    Counts
	ended     int
	watches   int
	shown     int
	progress  int
	lost      int
	tables    int
	changed   int
	void      int
	gone      int
	hooked    int
	answered  int
	writes    int
	unchecked int
	snapshots int
	pages     int
	listings  int
	resumed   int
	backups   Backups
	locks     Locks
	series    Series
	streamed  int
	forwarded int
	mended    int
	upgraded  int
	hopeless  int
	disk      int64
	fired     Fired
	leader    []time.Duration
	write     []time.Duration
}

func (t *total) add(r *Result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.runs++
	t.simulated += r.Simulated
	hours := r.Simulated.Hours()
	if r.Nodes == 5 && float64(r.Counts.Total()) >= 10_000*hours && float64(r.Fired.Episodes()) >= 100*hours {
		t.counted += r.Simulated
	}
	t.counts.Add(&r.Counts)
	t.ended += r.Ended
	t.watches += r.Watches
	t.shown += r.Shown
	t.progress += r.Progress
	t.lost += r.Lost
	t.tables += r.Tables
	t.changed += r.Changed
	t.void += r.Void
	t.gone += r.Deregistered
	t.hooked += r.Hooked
	t.answered += r.Answered
	t.writes += r.Writes
	t.unchecked += r.Unchecked
	t.snapshots += r.Snapshots
	t.pages += r.Pages
	t.listings += r.Listings
	t.resumed += r.Resumed
	t.backups.Add(&r.Backups)
	t.locks.Add(&r.Locks)
	t.series.Add(&r.Series)
	t.streamed += r.Streamed
	t.forwarded += r.Forwarded
	t.mended += r.Mended
	t.upgraded += r.Upgraded
	t.hopeless += r.Unmendable
	t.disk = max(t.disk, r.Disk)
	t.fired.Add(&r.Fired)
	t.leader = append(t.leader, r.Leader)
	t.write = append(t.write, r.Write)
}

func (t *total) String() string {
	worst := func(d []time.Duration) (w time.Duration) {
		for _, x := range d {
			w = max(w, x)
		}
		return w
	}
	return fmt.Sprintf("%d seeds, %.1f cluster-hours (%.1f of them with 5 nodes, 10,000 operations and 100 faults each); %d operations, %d answered, %d writes, %d pages, %d listings, %d streams resumed, %d backups of groups, with %d pieces behind the first, %d begun anew between two, and %d between two of which slots moved, %d locks held, %d of them lost, %d tries of one that another process had, %d requests passed on; %d keys and leases that ended; %d watches, which showed %d events, told %d times that nothing had happened, and of which %d ended since events were kept no more; %d tables pushed; %d statuses of instances changed, %d findings about what they were before, %d instances deregistered, webhooks told of %d changes; %d states written down, %d taken by others, at most %d KiB on a disk; %d damaged replicas mended, %d starts with what can't be; %d members upgraded; %d histories not searched to the end; after healing a leader within %s, a write within %s at worst\noperations: %s\nfaults: %s",
		t.runs, t.simulated.Hours(), t.counted.Hours(), t.counts.Total(), t.answered, t.writes, t.pages, t.listings, t.resumed, t.backups.Whole, t.backups.Pieces, t.backups.Again, t.backups.Moved, t.locks.Held, t.locks.Lost, t.locks.Busy, t.forwarded, t.ended, t.watches, t.shown, t.progress, t.lost, t.tables, t.changed, t.void, t.gone, t.hooked, t.snapshots, t.streamed, t.disk>>10, t.mended, t.hopeless, t.upgraded, t.unchecked, worst(t.leader), worst(t.write), &t.counts, &t.fired)
}

// runSeeds runs seeds, and adds up what they were.
func runSeeds(t *testing.T, from, count int, o Options) *total {
	sum := new(total)
	runEach(t, from, count, o, sum.add)
	return sum
}

// runEach runs seeds on all processors, each run on one, and hands in their results.
func runEach(t *testing.T, from, count int, o Options, add func(*Result)) {
	var next atomic.Int64
	next.Store(int64(from))
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for !t.Failed() {
				seed := next.Add(1) - 1
				if seed >= int64(from+count) {
					return
				}
				o := o
				o.Seed = uint64(seed)
				r := Run(o)
				if r.Failure != nil {
					t.Errorf("%v\nreplay: go test ./repl/sim -run %s -seed %d", r.Failure, t.Name(), seed)
					return
				}
				add(&r)
			}
		}()
	}
	wg.Wait()
}

// Whatever the network, the disks, the clocks and the clients do, the
// invariants hold, in whole clusters made of the real parts. One would doubt
// it: every one of these faults has broken a system that was written with care.
func TestSeeds(t *testing.T) {
	if *seedFlag >= 0 {
		o := Options{Seed: uint64(*seedFlag), Log: os.Stdout}
		if *quietFlag {
			o.Log = nil
		}
		began := time.Now()
		r := Run(o)
		t.Logf("hash %016x, %d steps, %s in %s", r.Hash, r.Steps, r.Simulated, time.Since(began))
		sum := new(total)
		sum.add(&r)
		t.Log(sum)
		if r.Failure != nil {
			t.Fatal(r.Failure)
		}
		return
	}
	count := 200
	if testing.Short() {
		count = 20
	}
	if *seedsFlag > 0 {
		count = *seedsFlag
	}
	o := Options{}
	if *hoursFlag > 0 {
		o.Length = time.Duration(*hoursFlag * float64(time.Hour) / float64(count))
	}
	before := cpuTime()
	sum := runSeeds(t, *fromFlag, count, o)
	took := cpuTime() - before
	t.Logf("%s\n%.1f cluster-hours per CPU-minute", sum, sum.simulated.Hours()/took.Minutes())
	if missing := sum.fired.Missing(); len(missing) > 0 && !t.Failed() && count >= 100 {
		t.Errorf("faults that never struck: %v", missing)
	}
	if missing := sum.counts.Missing(); len(missing) > 0 && !t.Failed() && count >= 100 {
		t.Errorf("operations that no client did: %v", missing)
	}
	if b := &sum.backups; (b.Pieces == 0 || b.Again == 0 || b.Moved == 0) && !t.Failed() && count >= 100 {
		t.Errorf("backups: %+v; want some of several pieces, begun anew between two, and with moves between two", *b)
	}
	if k := &sum.locks; (k.Held == 0 || k.Lost == 0 || k.Busy == 0) && !t.Failed() && count >= 100 {
		t.Errorf("locks: %+v; want some held, lost, and found taken", *k)
	}
	if sum.upgraded == 0 && !t.Failed() && count >= 100 {
		t.Error("no member was upgraded")
	}
	if sum.forwarded == 0 && !t.Failed() {
		t.Error("no request was passed on and answered")
	}
}

// The same seed is the same run, to the last event: else a failure could not be
// looked at again. Maps whose order is chance, clocks and addresses creep in
// easily.
func TestSameSeedSameTrace(t *testing.T) {
	for seed := range uint64(3) {
		o := Options{Seed: 1000 + seed, Length: time.Minute}
		a, b := Run(o), Run(o)
		if a.Hash != b.Hash || a.Steps != b.Steps {
			t.Errorf("seed %d: %d steps with hash %016x, then %d with %016x", o.Seed, a.Steps, a.Hash, b.Steps, b.Hash)
		}
	}
}
