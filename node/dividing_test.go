package node

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"muster/raft"
	"muster/repl"
	"muster/repl/client"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
)

// limit has the cluster limit a prefix.
func limit(t *testing.T, nodes []*runningNode, l shardmap.Limit) {
	t.Helper()
	ordered(t, nodes, "there is a limit", command(t)(shardmap.AppendSetLimit(nil, &shardmap.SetLimit{Limit: l})))
}

// hasOf waits until a node has heard that so much is there of the only prefix with a limit, and returns it.
func hasOf(t *testing.T, cl *client.Client, at string, good func(l wire.UsageLimit) bool) (l wire.UsageLimit) {
	t.Helper()
	until(t, "it is known what there is", func() error {
		a, err := cl.Usage(t.Context(), at)
		if err == nil && (len(a.Limits) != 1 || !a.Limits[0].Known || !good(a.Limits[0])) {
			err = fmt.Errorf("there is %+v", a.Limits)
		}
		if err == nil {
			l = a.Limits[0]
		}
		return err
	})
	return l
}

// Sixteen writers fill a prefix in eight groups whose leaders are on three nodes, one of which is stopped and
// comes back meanwhile. They end with a refusal that says what is left, there are never more keys than
// the limit and a hundredth, and nearly as many; what is deleted can be added again.
func TestLimitOfKeys(t *testing.T) {
	t.Parallel()
	const most = 20_000
	addrs := freeAddrs(t, 3)
	var nodes []*runningNode
	var configs []Config
	for _, addr := range addrs {
		c := testConfig(t)
		c.Listen, c.Join, c.Expect, c.Groups = addr, addrs, len(addrs), 8
		configs = append(configs, c)
		nodes = append(nodes, start(t, c, defaultLimits()))
	}
	until(t, "there is a table", func() error {
		if n := nodes[0].node; n.running() == nil || n.table.Load() == nil || !n.table.Load().Founded() {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	cl, err := client.Open(client.Options{Insecure: true, Endpoints: addrs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cl.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
	defer cancel()
	limit(t, nodes, shardmap.Limit{Prefix: "app/", Keys: most})

	fill := func(what string) (written int64) {
		var wrote atomic.Int64
		var writers sync.WaitGroup
		began := time.Now()
		for w := range 16 {
			writers.Go(func() {
				for n := 0; ; {
					var pairs []client.Pair
					for range 20 {
						pairs = append(pairs, client.Pair{Key: fmt.Appendf(nil, "app/%s/%d/%d", what, w, n), Value: []byte("v")})
						n++
					}
					got, err := cl.SetMany(ctx, pairs)
					for i := range got {
						if got[i].Version > 0 {
							wrote.Add(1)
						}
					}
					var e *wire.Error
					switch {
					case errors.As(err, &e) && e.Code == wire.CodeOverLimit:
						if !strings.Contains(err.Error(), `prefix "app/": over its limit, nothing was applied (the limit is 20000 keys, it has `) {
							t.Errorf("refused with %v", err)
						}
						return
					case err != nil && ctx.Err() != nil:
						t.Errorf("after %v and %d keys: %v", time.Since(began), wrote.Load(), err)
						return
					case err != nil && !errors.As(err, &e):
						t.Errorf("refused with %v", err)
						return
					}
				}
			})
		}
		writers.Wait()
		t.Logf("%s: %d keys in %v", what, wrote.Load(), time.Since(began))
		return wrote.Load()
	}
	count := func() (n int) {
		for _, err := range cl.List(ctx, []byte("app/"), client.ListOptions{KeysOnly: true}) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		return n
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		until(t, "half is there", func() error {
			a, err := cl.Usage(ctx, "")
			if err == nil && (len(a.Limits) != 1 || a.Limits[0].Used[0] < most/4) {
				err = fmt.Errorf("there is %+v", a.Limits)
			}
			return err
		})
		nodes[1].stop()
		nodes[1] = start(t, configs[1], defaultLimits())
	}()
	fill("a")
	<-stopped
	n := count()
	if n > most+most/100 || n < most-most/50 {
		t.Fatalf("there are %d keys, the limit is %d", n, most)
	}
	l := hasOf(t, cl, addrs[1], func(l wire.UsageLimit) bool { return l.Used[0] == uint64(n) })
	if l.Prefix != "app/" || l.Most != (wire.UsageAmount{most}) {
		t.Errorf("got %+v", l)
	}
	if found := fmt.Sprint(nodes[0].finds(), nodes[1].finds(), nodes[2].finds()); strings.Count(found, `prefix "app/" has`) != 1 {
		t.Errorf("doctor finds %s", found)
	}
	// Keys that are there can be overwritten with no more bytes, and deleted; other prefixes are not
	// concerned.
	if _, err := cl.Set(ctx, []byte("other"), []byte("v"), client.WriteOptions{}); err != nil {
		t.Error(err)
	}
	var gone [][]byte
	for item, err := range cl.List(ctx, []byte("app/"), client.ListOptions{KeysOnly: true}) {
		if err != nil {
			t.Fatal(err)
		}
		if rand.IntN(4) == 0 {
			gone = append(gone, append([]byte(nil), item.Key...))
		}
	}
	if _, err := cl.Set(ctx, gone[0], []byte("w"), client.WriteOptions{}); err != nil {
		t.Error(err)
	}
	for len(gone) > 0 {
		some := gone[:min(len(gone), 500)]
		if _, err := cl.Delete(ctx, some...); err != nil {
			t.Fatal(err)
		}
		gone = gone[len(some):]
	}
	left := count()
	if fill("b"); true {
		if n := count(); n > most+most/100 || n < most-most/50 {
			t.Errorf("there are %d keys after %d were left, the limit is %d", n, left, most)
		}
	}
	for _, r := range nodes {
		r.tallied("app/")
	}
}

// tallied compares what the replicas here have counted with the keys that they have.
func (r *runningNode) tallied(prefix string) {
	r.t.Helper()
	until(r.t, "all is counted", func() (err error) {
		loop := r.node.running()
		if loop == nil {
			return fmt.Errorf("it has just begun")
		}
		loop.Ask(func(h *repl.Host) {
			for g := raft.GroupID(1); g <= 8; g++ {
				m, ok := h.Machine(g).(*machine.Map)
				if !ok {
					err = fmt.Errorf("group %d is not here", g)
					return
				}
				if i, ok := m.State.Tallies().Prefixes().Index(prefix); !ok || !m.State.Tallies().At(i).Counted {
					err = fmt.Errorf("group %d has not counted", g)
					return
				}
				if err := m.State.Tallies().Check(); err != nil {
					r.t.Error(err)
				}
			}
		})
		return err
	})
}

// Writers that want more than a prefix's rate get that, whichever groups their keys are in, and no more
// than a second's worth beyond it. What is refused says after which time it fits, and the client waits for that.
func TestLimitOfRate(t *testing.T) {
	t.Parallel()
	const most, seconds = 100, 4
	c := testConfig(t)
	c.Groups = 4
	r := start(t, c, defaultLimits())
	nodes := []*runningNode{r}
	until(t, "there is a table", func() error {
		if n := r.node; n.running() == nil || n.table.Load() == nil || !n.table.Load().Founded() {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	cl := r.library()
	limit(t, nodes, shardmap.Limit{Prefix: "app/", Rate: most})
	hasOf(t, cl, r.addr, func(wire.UsageLimit) bool { return true })
	began := time.Now()
	var wrote atomic.Int64
	var writers sync.WaitGroup
	for w := range 8 {
		writers.Go(func() {
			for n := 0; time.Since(began) < seconds*time.Second; n++ {
				if _, err := cl.Set(t.Context(), fmt.Appendf(nil, "app/%d/%d", w, n), []byte("v"), client.WriteOptions{}); err != nil {
					t.Error(err)
					return
				}
				wrote.Add(1)
			}
		})
	}
	writers.Wait()
	took := time.Since(began)
	if n := wrote.Load(); float64(n) > most*(took.Seconds()+1) || n < most*seconds/4 {
		t.Errorf("%d keys were written in %v, the limit is %d a second", n, took, most)
	} else {
		t.Logf("%d keys were written in %v", n, took)
	}
}
