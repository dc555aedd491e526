package load

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"muster/node/trial/clustertest"
	"muster/raft"
	"muster/repl/client"
	"muster/repl/client/bench"
	"muster/shardmap"
)

var slotCost = flag.Bool("slotcost", false, "measure what slots that move cost: the pause that clients see, how fast keys move, how memory grows")

const (
	// pauseWriters set keys of slots that stay, pauseWatchers keys of the slot that moves,
	// each with pauseEvery between two sets: a load at which the machine has time to spare,
	// so that it is not its queues that are seen.
	pauseWriters  = 48
	pauseWatchers = 16
	pauseEvery    = 5 * time.Millisecond
	// pauseMoves is how often the slot moves, pauseBefore how long the load is watched
	// before.
	pauseMoves  = 60
	pauseBefore = 15 * time.Second
	// A move may hold up a set for pauseTimes the p99 of a set of the same load, and what
	// stays may take staysTimes as long.
	pauseTimes = 5
	staysTimes = 1.5
)

// setWatch is the sets of one kind of client.
type setWatch struct {
	mu  sync.Mutex
	all []probe // guarded by mu
}

func (w *setWatch) add(p probe) {
	w.mu.Lock()
	w.all = append(w.all, p)
	w.mu.Unlock()
}

// within are the times of those that were under way in a span.
func (w *setWatch) within(s span) (took []time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.all {
		if s.meets(span{p.at, p.at.Add(p.took)}) {
			took = append(took, p.took)
		}
	}
	return took
}

// A slot with 1 MB moves again and again under a load of sets. What waits while it changes
// hands is held against the p99 of a set in the same run before; and so is what is
// not of that slot.
func TestSlotPause(t *testing.T) {
	clustertest.OnDemand(t, *slotCost, "./node/trial/load -run TestSlotPause -slotcost")
	c := clustertest.Start(t, 3, "--groups", "4")
	c.Plain = true
	cl := c.Client()
	key := func(i int) []byte { return fmt.Appendf(nil, "{moves}/%05d", i) }
	const keys, size = 8000, 128
	var pairs []client.Pair
	for i := range keys {
		pairs = append(pairs, client.Pair{Key: key(i), Value: make([]byte, size)})
	}
	for part := range slices.Chunk(pairs, 500) {
		if _, err := cl.SetMany(t.Context(), part); err != nil {
			t.Fatal(err)
		}
	}
	slot := shardmap.SlotOf(key(0))
	at, err := cl.Locate(t.Context(), key(0))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer func() {
		stop()
		wg.Wait()
	}()
	var stays, moves setWatch
	write := func(to *setWatch, seed int, key func(rnd *rand.Rand) []byte) {
		own := c.Client()
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(seed), 3))
			value := make([]byte, size)
			next := time.NewTicker(pauseEvery)
			defer next.Stop()
			for ctx.Err() == nil {
				<-next.C
				began := time.Now()
				if _, err := own.Set(context.Background(), key(rnd), value, client.WriteOptions{}); err != nil {
					t.Errorf("set: %v", err)
					return
				}
				to.add(probe{began, time.Since(began)})
			}
		})
	}
	for i := range pauseWriters {
		write(&stays, i, func(rnd *rand.Rand) []byte { return fmt.Appendf(nil, "stays/%05d", rnd.IntN(100_000)) })
	}
	for i := range pauseWatchers {
		write(&moves, 1000+i, func(rnd *rand.Rand) []byte { return key(rnd.IntN(keys)) })
	}
	before := span{from: time.Now()}
	time.Sleep(pauseBefore) // what is measured is a time
	before.to = time.Now()
	var pauses, stayed []time.Duration
	group := int(at.Group)
	during := span{from: time.Now()}
	for range pauseMoves {
		group = 1 + group%4
		one := span{from: time.Now()}
		orderMove(t, cl, slot, raft.GroupID(group))
		one.to = time.Now()
		if took := moves.within(one); len(took) > 0 {
			pauses = append(pauses, slices.Max(took))
		}
	}
	during.to = time.Now()
	stop()
	wg.Wait()
	base := slices.Concat(stays.within(before), moves.within(before))
	stayed = stays.within(during)
	p99, pause, stay := quantileOf(0.99, base), quantileOf(0.99, pauses), quantileOf(0.99, stayed)
	t.Logf("sets before, %s", tail(base))
	t.Logf("the slowest set of the slot in each of %d moves, %s", len(pauses), tail(pauses))
	t.Logf("sets of slots that stay, meanwhile, %s", tail(stayed))
	t.Logf("p99 of the pause is %.1f times the p99 of a set (want %d at most), that of slots that stay %.2f times (want %.1f at most)",
		float64(pause)/float64(p99), pauseTimes, float64(stay)/float64(p99), staysTimes)
	if len(pauses) < pauseMoves/2 {
		t.Fatalf("only %d of %d moves were watched", len(pauses), pauseMoves)
	}
	if pause > pauseTimes*p99 {
		t.Errorf("the p99 of the pause is %v, want %v at most", pause, pauseTimes*p99)
	}
	if float64(stay) > staysTimes*float64(p99) {
		t.Errorf("the p99 of what stays is %v, want %v at most", stay, time.Duration(staysTimes*float64(p99)))
	}
}

// orderMove has a slot move to a group, by the library, and waits for it. A run of the command
// for each move would cost more than the move: with two runs of commands that only look in
// the place of each, sets had twice the p99 too.
func orderMove(t *testing.T, cl *client.Client, slot shardmap.Slot, group raft.GroupID) {
	t.Helper()
	command, err := shardmap.AppendNewJob(nil, &shardmap.NewJob{Kind: shardmap.JobMove,
		Targets: []shardmap.SlotTarget{{SlotRange: shardmap.SlotRange{From: slot, To: slot}, To: group}}})
	if err != nil {
		t.Fatal(err)
	}
	a, err := cl.Order(t.Context(), command, 0)
	if err != nil {
		t.Fatal(err)
	}
	clustertest.Await(t, fmt.Sprintf("job %d", a.Index), clustertest.ReadyMax, func(ctx context.Context) error {
		table, _, err := cl.Table(ctx, "")
		if err != nil {
			return err
		}
		if j, ok := table.Job(a.Index); !ok || !j.State.Finished() {
			return errors.New("it is not finished")
		}
		return nil
	})
}

// memoryPeaks watches the memory of all nodes until it is told to stop; then it returns the
// most that each had, in MB.
func memoryPeaks(c *clustertest.Cluster) (stop func() []float64) {
	c.T.Helper()
	done := make(chan struct{})
	over := make(chan []float64)
	go func() {
		peak := make([]float64, len(c.Nodes))
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			for i, p := range c.Nodes {
				now, _ := p.Memory(c.T)
				peak[i] = max(peak[i], float64(now)/1e6)
			}
			select {
			case <-done:
				over <- peak
				return
			case <-tick.C:
			}
		}
	}()
	return func() []float64 { close(done); return <-over }
}

const (
	// fillKeys keys of fillKey + fillValue bytes are filled by clients, and half of them
	// move.
	fillKeys  = 1_000_000
	fillKey   = 16
	fillValue = 128
	// moveTimes is how much faster a move should be than clients fill the same data, and
	// moveMemory, in MB, how much more memory than the data itself takes a node may have
	// meanwhile.
	moveTimes  = 3.0
	moveMemory = 64.0
)

// moveSlots has slots move to a group, and waits for it. What the command shows meanwhile is
// for people.
func moveSlots(c *clustertest.Cluster, slots string, group int) {
	c.T.Helper()
	if out := c.Run("slot", "move", slots, fmt.Sprint(group)); out.Status != clustertest.ExitDone {
		c.T.Fatalf("slot move %s %d: status %d: %s", slots, group, out.Status, out.Stderr)
	}
}

// makeGroup makes a group, and waits until it has a leader.
func makeGroup(c *clustertest.Cluster, id int) {
	c.T.Helper()
	if out := c.Run("group", "create", fmt.Sprint(id)); out.Status != clustertest.ExitDone {
		c.T.Fatalf("group create %d: status %d: %s", id, out.Status, out.Stderr)
	}
}

// movedSlots has slots move from group 1 to group 2, and returns how long that took and by how
// much the memory of each node grew meanwhile at most, in MB.
func movedSlots(c *clustertest.Cluster, slots string) (took time.Duration, grown []float64) {
	c.T.Helper()
	before := residentOf(c)
	peaks := memoryPeaks(c)
	began := time.Now()
	moveSlots(c, slots, 2)
	took = time.Since(began)
	for i, most := range peaks() {
		grown = append(grown, most-before[i])
	}
	return took, grown
}

// Half of what clients have filled moves to another group, as fast as it can. Both groups
// have replicas on all nodes, so that the same disks and processors do both.
func TestSlotsMoveFast(t *testing.T) {
	clustertest.OnDemand(t, *slotCost, "./node/trial/load -run TestSlotsMoveFast -slotcost -timeout 20m")
	c := clustertest.Start(t, 3, "--groups", "1")
	c.Plain = true
	cl := c.Client()
	empty := residentOf(c)
	began := time.Now()
	plan := bench.Plan{Op: bench.OpSet, InFlight: 1024, Keys: fillKeys, KeyBytes: fillKey, ValueBytes: fillValue, Duration: time.Second, Grace: time.Minute}
	if err := bench.Fill(t.Context(), cl, plan); err != nil {
		t.Fatal(err)
	}
	filled := time.Since(began)
	restful(c)
	full := residentOf(c)
	makeGroup(c, 2)
	took, grown := movedSlots(c, fmt.Sprintf("0-%d", shardmap.Slots/2-1))
	times := filled.Seconds() / 2 / took.Seconds()
	t.Logf("filled %d keys in %.1f s; half of them moved in %.1f s: %.1f times as fast", fillKeys, filled.Seconds(), took.Seconds(), times)
	t.Logf("memory in MB: empty %.0f, full %.0f; grown by %.0f at most while half of it moved", empty, full, grown)
	if times < moveTimes {
		t.Errorf("moving was %.1f times as fast as filling, want %.0f", times, moveTimes)
	}
	for i := range grown {
		if over := grown[i] - (full[i]-empty[i])/2; over > moveMemory {
			t.Errorf("n%d had %.0f MB more than the moved data takes, want %.0f at most", i+1, over, moveMemory)
		}
	}
}

// Large values, and one slot that is large, take no more memory on their way.
func TestSlotsMoveLarge(t *testing.T) {
	clustertest.OnDemand(t, *slotCost, "./node/trial/load -run TestSlotsMoveLarge -slotcost -timeout 20m")
	for _, tt := range []struct {
		name  string
		key   func(i int) []byte
		slots func() string
	}{
		{"500 values of 1 MiB in many slots", func(i int) []byte { return fmt.Appendf(nil, "large/%d", i) }, func() string { return fmt.Sprintf("0-%d", shardmap.Slots-1) }},
		{"one slot of 500 MB", func(i int) []byte { return fmt.Appendf(nil, "{large}/%d", i) }, func() string { return fmt.Sprint(shardmap.SlotOf([]byte("{large}/0"))) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const values, size = 500, 1 << 20
			c := clustertest.Start(t, 3, "--groups", "1")
			c.Plain = true
			cl := c.Client()
			value := make([]byte, size)
			for i := range values {
				for k := range value {
					value[k] = byte(i + k)
				}
				if _, err := cl.Set(t.Context(), tt.key(i), value, client.WriteOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			restful(c)
			makeGroup(c, 2)
			took, grown := movedSlots(c, tt.slots())
			t.Logf("%d MB moved in %.1f s; memory grew by %.0f MB at most", values*size/1_000_000, took.Seconds(), grown)
			for i := range grown {
				if over := grown[i] - values*size/1e6; over > moveMemory {
					t.Errorf("n%d had %.0f MB more than the moved data takes, want %.0f at most", i+1, over, moveMemory)
				}
			}
		})
	}
}
