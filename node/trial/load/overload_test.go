package load

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"muster/node/trial/clustertest"
	"muster/repl/client"
	"muster/repl/wire"
)

var overload = flag.Bool("overload", false, "have TestOverload ask five times of what held servers can do")

const (
	overloadTimes = 5
	overloadTime  = 20 * time.Second
	// overloadWait is how long who asks waits: an answer after that is none.
	overloadWait = time.Second
	// overloadGoodput is the least share of the maximum that must be answered
	// in time.
	overloadGoodput = 0.8
	overloadKeys    = 100_000
	// normalShare of the maximum is asked before the overload and after it.
	// normalTimes is by how much p99 may be over what it was before, for it to
	// be normal, and normalMax how long that may take.
	normalShare = 0.3
	normalTimes = 2
	normalMax   = 5 * time.Second
	// offerTick lies between two handfuls of requests that start together.
	offerTick = 20 * time.Millisecond
)

// holdCPU holds a process to so much of one processor, with a control group; it
// skips the test where there is none to be had.
func holdCPU(t *testing.T, name string, p *clustertest.Process, share float64) {
	t.Helper()
	const period = 100_000 // µs, what the system takes by itself
	quota := fmt.Sprint(int(share * period))
	name = fmt.Sprintf("muster-test-%d-%s", os.Getpid(), name)
	// So much it may have, and gets it, however many others want some.
	files := [][2]string{{"cpu.cfs_period_us", fmt.Sprint(period)}, {"cpu.cfs_quota_us", quota}, {"cpu.shares", "100000"}}
	dir := filepath.Join("/sys/fs/cgroup/cpu", name)
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil { // version 2
		dir = filepath.Join("/sys/fs/cgroup", name)
		files = [][2]string{{"cpu.max", fmt.Sprintf("%s %d", quota, period)}, {"cpu.weight", "10000"}}
		// Where it is on already, or may not be set, the files below say so.
		_ = os.WriteFile("/sys/fs/cgroup/cgroup.subtree_control", []byte("+cpu"), 0o600)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Skipf("a server can't be held: %v; it takes root, and control groups with processor time", err)
	}
	t.Cleanup(func() {
		p.Kill() // it may be counted for a moment more
		for range 100 {
			if err := os.Remove(dir); err == nil || errors.Is(err, fs.ErrNotExist) {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Errorf("control group %s is still there", dir)
	})
	for _, f := range append(files, [2]string{"cgroup.procs", fmt.Sprint(p.Cmd.Process.Pid)}) {
		if err := os.WriteFile(filepath.Join(dir, f[0]), []byte(f[1]), 0o600); err != nil {
			t.Skipf("a server can't be held: %v; it takes root, and control groups with processor time", err)
		}
	}
}

// coreShare is what each node of a cluster has of a processor.
type coreShare struct {
	name string
	of   float64
}

var (
	tenthOfCore   = coreShare{"a tenth of a core each", 0.1}
	quarterOfCore = coreShare{"a quarter of a core each", 0.25}
	halfCore      = coreShare{"half a core each", 0.5}
)

// each runs a test on a cluster of three nodes that are held to such a share.
func (s coreShare) each(t *testing.T, test func(t *testing.T, c *clustertest.Cluster)) {
	t.Run(s.name, func(t *testing.T) {
		c := clustertest.Start(t, 3)
		c.Plain = true
		for i, p := range c.Nodes {
			holdCPU(t, fmt.Sprintf("n%d", i+1), p, s.of)
		}
		test(t, c)
	})
}

// offered is what became of requests that were due at a rate.
type offered struct {
	took   time.Duration // from the first to the last that was due
	due    int
	late   int // answered, too late
	failed map[string]int
	times  []time.Duration // of what was answered in time, from when it was due
}

func (o *offered) goodput() float64 { return float64(len(o.times)) / o.took.Seconds() }

// enough checks that what was answered in time is most of the maximum.
func (o *offered) enough(t *testing.T, most float64) {
	t.Helper()
	t.Logf("goodput %.0f/s, %.0f %% of the maximum (want %.0f %% at least)", o.goodput(), 100*o.goodput()/most, 100*overloadGoodput)
	if o.goodput() < overloadGoodput*most {
		t.Errorf("goodput is %.0f/s, %.0f %% of the maximum of %.0f/s; want %.0f %%", o.goodput(), 100*o.goodput()/most, most, 100*overloadGoodput)
	}
}

func (o *offered) String() string {
	return fmt.Sprintf("%d due in %v, %.0f/s; answered in time %.0f/s, p50 %v, p99 %v; late %d; not answered %v",
		o.due, o.took.Round(time.Millisecond), float64(o.due)/o.took.Seconds(), o.goodput(), quantileOf(0.5, o.times), quantileOf(0.99, o.times), o.late, o.failed)
}

// offer has sets due at a rate, for some time, each of which waits for its answer
// for overloadWait, whatever becomes of the others. Those of one tick start
// together.
func offer(t *testing.T, cl *client.Client, rate float64, d time.Duration) *offered {
	t.Helper()
	o := &offered{failed: map[string]int{}}
	var mu sync.Mutex // guards o
	var wg sync.WaitGroup
	value := make([]byte, 128)
	began := time.Now()
	for next := began; next.Sub(began) < d; {
		switch wait := time.Until(next); {
		case wait > 0:
			time.Sleep(wait)
		case wait < -offerTick:
			// The client has no processor left for more: what it did not ask
			// for is not due, or it would be late by itself.
			next = next.Add(-wait)
		}
		due := next
		next = next.Add(offerTick)
		from, to := int(due.Sub(began).Seconds()*rate), int(next.Sub(began).Seconds()*rate)
		o.due += to - from
		wg.Go(func() {
			ctx, cancel := context.WithDeadline(context.Background(), due.Add(overloadWait))
			defer cancel()
			times, late, failed := make([]time.Duration, 0, to-from), 0, map[string]int{}
			p := cl.Pipe(ctx, to-from, func(x *client.Outcome) {
				switch took := x.At.Sub(due); {
				case x.Err != nil:
					failed[kindOf(x.Err)]++
				case took > overloadWait:
					late++
				default:
					times = append(times, took)
				}
			})
			var key []byte
			for n := from; n < to && ctx.Err() == nil; n++ {
				key = fmt.Appendf(key[:0], "bench/%010d", n*7919%overloadKeys)
				p.Set(key, value, 0)
			}
			p.Wait()
			mu.Lock()
			defer mu.Unlock()
			o.late += late
			o.times = append(o.times, times...)
			for kind, n := range failed {
				o.failed[kind] += n
			}
		})
	}
	o.took = time.Since(began)
	wg.Wait()
	return o
}

func kindOf(err error) string {
	var refused *wire.Error
	if errors.As(err, &refused) {
		return refused.Code.String()
	}
	return err.Error()
}

// More is asked than can be done, and goes on being asked: what is done must stay
// as much as it was, in time for who waits. One would doubt it: where all that
// comes is taken in, each waits longer, until all answers are too late; where
// each refusal is tried again at once, the refusals take the time. Half a core
// for each server is what the goal is told for, but on few cores who asks has
// then not enough left for five times that; with a tenth it has.
func TestOverload(t *testing.T) {
	clustertest.OnDemand(t, *overload, "./node/trial/load -run TestOverload -overload -timeout 10m")
	for _, share := range []coreShare{tenthOfCore, quarterOfCore, halfCore} {
		share.each(t, func(t *testing.T, c *clustertest.Cluster) {
			most := maximumOf(c, overloadKeys)
			cl, err := client.Open(client.Options{Endpoints: strings.Split(c.Endpoints(), ","), ConnectionsPerNode: 16})
			if err != nil {
				t.Fatal(err)
			}
			defer cl.Close()
			offer(t, cl, normalShare*most, time.Second)
			before := offer(t, cl, normalShare*most, 3*time.Second)
			t.Logf("before:    %v", before)
			leaders := leadershipOf(c)

			o := offer(t, cl, overloadTimes*most, overloadTime)
			ended := time.Now().Add(-overloadWait) // who asked last has waited by now
			t.Logf("overload:  %v", o)
			o.enough(t, most)
			if offered := float64(o.due) / o.took.Seconds(); offered < 0.9*overloadTimes*most {
				t.Logf("the client could not ask for more than %.1f times the maximum", offered/most)
			}

			normal := normalTimes * quantileOf(0.99, before.times)
			for {
				after := offer(t, cl, normalShare*most, 500*time.Millisecond)
				since := time.Since(ended)
				p99 := quantileOf(0.99, after.times)
				if len(after.times) == after.due && p99 <= normal {
					t.Logf("after:     %v", after)
					t.Logf("normal %v after the overload (want %v at most): p99 %v, before %v", since.Round(time.Millisecond), normalMax, p99, quantileOf(0.99, before.times))
					if since > normalMax {
						t.Errorf("it took %v until things were normal, want %v at most", since, normalMax)
					}
					break
				}
				if since > 6*normalMax {
					t.Errorf("not normal %v after the overload: %v; want p99 %v at most", since, after, normal)
					break
				}
			}
			sameLeaders(c, leaders)
		})
	}
}
