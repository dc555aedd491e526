package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/registry"
)

func mustResolve(t testing.TB, c *Client, name string) *Resolver {
	t.Helper()
	r, err := c.Resolve(within(t, 10*time.Second), name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func mustPick(t testing.TB, pick func(registry.PickOptions) (*registry.Instance, error), o registry.PickOptions) string {
	t.Helper()
	i, err := pick(o)
	if err != nil {
		t.Fatal(err)
	}
	return i.ID
}

// A million picks follow the weights within one in a hundred; an instance of weight 0, one that
// is down and one in maintenance are never picked.
func TestPickFollowsWeights(t *testing.T) {
	f := newFakeOfLevel6(t, 1, 1)
	c := f.open(Options{})
	s := serviceOf("shop", 1, 2, 3, 4, 0, 7, 9)
	s.Instances[5].Status = registry.Down
	s.Instances[6].Maintenance = true
	mustSet(t, c, s)
	r := mustResolve(t, c, "shop")
	const picks = 1_000_000
	for _, o := range []registry.PickOptions{
		{Draw: rand.New(rand.NewPCG(15, 6)).Uint64N},
		{Draw: rand.New(rand.NewPCG(6, 15)).Uint64N, Tags: []string{"t4"}},
	} {
		got := map[string]int{}
		for range picks {
			got[mustPick(t, r.Pick, o)]++
		}
		want := map[string]float64{"10.0.0.1:80": .1, "10.0.0.2:80": .2, "10.0.0.3:80": .3, "10.0.0.4:80": .4}
		if o.Tags != nil {
			want = map[string]float64{"10.0.0.4:80": 1}
		}
		for id, part := range want {
			if off := float64(got[id])/(part*picks) - 1; off > .01 || off < -.01 {
				t.Errorf("%s was picked %d times of %d, want %.0f within 1 %%", id, got[id], picks, part*picks)
			}
		}
		if len(got) != len(want) {
			t.Errorf("got %v, want no others than %v", got, want)
		}
	}
	seen := map[string]bool{} // where nothing says how to draw, chance does
	for range 1000 {
		seen[mustPick(t, r.Pick, registry.PickOptions{})] = true
	}
	if len(seen) != 4 {
		t.Errorf("chance picks %v", seen)
	}
}

// A pick without filters asks nobody, and leaves nothing for the collector.
func TestPickAllocatesNothing(t *testing.T) {
	if raceOn {
		t.Skip("the race detector allocates")
	}
	f := newFakeOfLevel6(t, 1, 1)
	c := f.open(Options{})
	mustSet(t, c, serviceOf("shop", 1, 2, 3))
	r := mustResolve(t, c, "shop")
	for what, pick := range map[string]func(registry.PickOptions) (*registry.Instance, error){"pick": r.Pick, "round-robin": r.PickRoundRobin, "least latency": r.PickLeastLatency} {
		if n := testing.AllocsPerRun(1000, func() { _, _ = pick(registry.PickOptions{}) }); n != 0 {
			t.Errorf("%s: %v allocations", what, n)
		}
	}
}

// An instance that goes down, or is taken out, is not picked any more as soon as the node that
// is watched has applied that: one second later at most. It comes back the same way. A service
// that is deleted is picked from again once it is set again.
func TestResolverFollowsChanges(t *testing.T) {
	const appliedFor = time.Second // the promise of the registry
	f := newFakeOfLevel6(t, 3, 4)
	c := f.open(Options{})
	ctx := within(t, 20*time.Second)
	mustSet(t, c, serviceOf("shop", 1, 1))
	r := mustResolve(t, c, "shop")
	first, second := "10.0.0.1:80", "10.0.0.2:80"
	for range 20 {
		f.check("shop", first, registry.Down)
		for down := time.Now(); mustPick(t, r.Pick, registry.PickOptions{}) == first || !only(t, r, second); {
			if time.Since(down) > appliedFor {
				t.Fatal("an instance is picked one second after it went down")
			}
			time.Sleep(time.Millisecond)
		}
		f.check("shop", first, registry.Up)
		until(t, "it comes back", func() bool { return mustPick(t, r.Pick, registry.PickOptions{}) == first })
	}
	if _, err := c.Maintain(ctx, "shop", second, MaintenanceOn); err != nil {
		t.Fatal(err)
	}
	until(t, "one in maintenance is left out", func() bool { return only(t, r, first) })
	f.check("shop", first, registry.Down)
	noneUp := func(pick func(registry.PickOptions) (*registry.Instance, error)) bool {
		_, err := pick(registry.PickOptions{})
		return errors.Is(err, registry.ErrNoneUp) && strings.Contains(err.Error(), `"shop"`)
	}
	for _, pick := range []func(registry.PickOptions) (*registry.Instance, error){r.Pick, r.PickRoundRobin, r.PickLeastLatency} {
		until(t, "none is up", func() bool { return noneUp(pick) })
	}
	if _, err := c.DelService(ctx, "shop"); err != nil {
		t.Fatal(err)
	}
	until(t, "the service is deleted", func() bool {
		_, err := r.Pick(registry.PickOptions{})
		_, sticks := r.Pick(registry.PickOptions{Sticky: []byte("k")})
		_, tagged := r.Pick(registry.PickOptions{Tags: []string{"t1"}})
		return codeOf(err) == wire.CodeNotFound && codeOf(sticks) == wire.CodeNotFound && codeOf(tagged) == wire.CodeNotFound
	})
	if s, version := r.Service(); s != nil || version == 0 {
		t.Errorf("got %+v at %d", s, version)
	}
	w := mustSet(t, c, serviceOf("shop", 1))
	until(t, "it is set again", func() bool { _, version := r.Service(); return version == w.Version })
	if !only(t, r, first) || r.Err() != nil || r.Stale() {
		t.Errorf("error %v, age %s", r.Err(), r.Age())
	}
}

// A resolver misses nothing of a service whose slot moves from group to group, nor of one that
// was not there when it began anew and is set in another group.
func TestResolverFollowsMoves(t *testing.T) {
	f := newFakeOfLevel6(t, 3, 4)
	c := f.open(Options{})
	mustSet(t, c, serviceOf("shop", 1, 1))
	r := mustResolve(t, c, "shop")
	for n := range 12 {
		is := registry.Status(1 + n%2)
		f.check("shop", "10.0.0.1:80", is)
		f.carry("shop", 1+n%4)
		until(t, "the copy has the status", func() bool {
			s, _ := r.Service()
			return s.Instances[0].Status == is
		})
	}
	f.stop()
	f.mu.Lock()
	f.store("shop", nil, f.groupOf(shardmap.SlotOf([]byte("shop"))))
	f.mu.Unlock()
	f.forget()
	f.restart()
	until(t, "it finds the service deleted", func() bool { s, _ := r.Service(); return s == nil })
	f.carry("shop", 3)
	w := mustSet(t, c, serviceOf("shop", 1))
	until(t, "it is set in another group", func() bool { _, version := r.Service(); return version == w.Version })
}

// only reports whether a resolver picks an instance and no other.
func only(t *testing.T, r *Resolver, id string) bool {
	for range 50 {
		if mustPick(t, r.Pick, registry.PickOptions{}) != id {
			return false
		}
	}
	return true
}

// Where all nodes are away the resolver goes on with its copy, and says how old it is. Once they
// are back it follows them, whether they keep the events since or not.
func TestResolverOutlivesTheCluster(t *testing.T) {
	f := newFakeOfLevel6(t, 3, 4)
	c := f.open(Options{})
	mustSet(t, c, serviceOf("shop", 1, 1))
	r := mustResolve(t, c, "shop")
	for _, kept := range []bool{true, false} {
		if age := r.Age(); r.Stale() || age > ResolverStale || r.Err() != nil {
			t.Errorf("fresh: age %s, error %v", age, r.Err())
		}
		f.stop()
		_, before := r.Service()
		r.heard.Add(-int64(ResolverStale)) // so long is nobody heard
		if age := r.Age(); !r.Stale() || age <= ResolverStale {
			t.Errorf("nobody is there, but the copy counts as fresh: age %s", age)
		}
		seen := map[string]bool{}
		for range 100 {
			seen[mustPick(t, r.PickRoundRobin, registry.PickOptions{})] = true
		}
		if _, version := r.Service(); len(seen) != 2 || version != before {
			t.Errorf("it does not go on with its copy: %v", seen)
		}
		f.check("shop", "10.0.0.1:80", registry.Down)
		if !kept {
			f.forget()
		}
		f.restart()
		until(t, "it follows the nodes again", func() bool { return only(t, r, "10.0.0.2:80") })
		until(t, "it knows that it does", func() bool { return !r.Stale() && r.Err() == nil })
		f.check("shop", "10.0.0.1:80", registry.Up)
		until(t, "it comes back", func() bool { return !only(t, r, "10.0.0.2:80") })
	}
}

// What was read has what happened up to then, so an event that comes later, of before, must
// not take it back. One would doubt it where the slot moves: log ids of two groups can't be
// compared, nor can a version with that of nothing.
func TestResolverPassesOverWhatItRead(t *testing.T) {
	at := func(index uint64) raft.LogID { return raft.LogID{Term: 1, Index: index} }
	read := watchedService{from: ServiceItem{Service: serviceOf("shop", 1), Version: 7, Group: 2, At: at(9)}}
	gone := watchedService{from: ServiceItem{Group: 2, At: at(9)}}
	for _, x := range []struct {
		what string
		of   *watchedService
		e    ServiceEvent
		want order
	}{
		{"the version that was read", &read, ServiceEvent{Version: 7, Group: 2, ID: at(7)}, orderBefore},
		{"one of before, of the group before", &read, ServiceEvent{Version: 6, Group: 1, ID: at(50)}, orderBefore},
		{"one behind", &read, ServiceEvent{Version: 10, Group: 2, ID: at(10)}, orderBehind},
		{"one behind, of the group after", &read, ServiceEvent{Version: 11, Group: 3, ID: at(4)}, orderBehind},
		{"set, before it was found deleted", &gone, ServiceEvent{Version: 8, Group: 2, ID: at(8)}, orderBefore},
		{"set anew", &gone, ServiceEvent{Version: 10, Group: 2, ID: at(10)}, orderBehind},
		{"set in a group before, or after", &gone, ServiceEvent{Version: 10, Group: 3, ID: at(50)}, orderUnknown},
	} {
		if got := x.of.orderOf(&x.e); got != x.want {
			t.Errorf("%s: got %v, want %v", x.what, got, x.want)
		}
		if x.want == orderUnknown {
			continue
		}
		r := &Resolver{name: "shop"}
		r.publish(x.of.from.Service, x.of.from.Version)
		x.e.Kind, x.e.Name = WatchDel, "shop"
		if err := r.take(x.of, &x.e); err != nil {
			t.Fatal(err)
		}
		if _, version := r.Service(); (version == x.e.Version && version != x.of.from.Version) != (x.want == orderBehind) {
			t.Errorf("%s: the copy is of version %d then", x.what, version)
		}
	}
}

// Round-robin takes turns, whatever the weights; a key sticks to one instance; tags leave the
// others out.
func TestOtherPicks(t *testing.T) {
	f := newFakeOfLevel6(t, 1, 1)
	c := f.open(Options{})
	mustSet(t, c, serviceOf("shop", 1, 50, 7))
	r := mustResolve(t, c, "shop")
	got := map[string]int{}
	for range 300 {
		got[mustPick(t, r.PickRoundRobin, registry.PickOptions{})]++
	}
	if fmt.Sprint(got) != "map[10.0.0.1:80:100 10.0.0.2:80:100 10.0.0.3:80:100]" {
		t.Errorf("round-robin: got %v", got)
	}
	stuck := map[string]bool{}
	for i := range 100 {
		key := registry.PickOptions{Sticky: fmt.Append(nil, i)}
		id := mustPick(t, r.Pick, key)
		stuck[id] = true
		if again := mustPick(t, r.Pick, key); again != id {
			t.Errorf("key %d: %s, then %s", i, id, again)
		}
	}
	if len(stuck) < 2 {
		t.Errorf("all keys stick to %v", stuck)
	}
	tagged := registry.PickOptions{Tags: []string{"t3"}}
	for _, pick := range []func(registry.PickOptions) (*registry.Instance, error){r.Pick, r.PickRoundRobin, r.PickLeastLatency} {
		if id := mustPick(t, pick, tagged); id != "10.0.0.3:80" {
			t.Errorf("got %s for tag t3", id)
		}
	}
	if _, err := r.Pick(registry.PickOptions{Tags: []string{"none"}}); !errors.Is(err, registry.ErrNoneUp) {
		t.Errorf("got %v", err)
	}
	tagged.Sticky = []byte("k")
	if id := mustPick(t, r.Pick, tagged); id != "10.0.0.3:80" {
		t.Errorf("got %s for a key among those of tag t3", id)
	}
}

// Each instance is tried before any counts as slow; then the one that answers soonest is
// picked, until another is sooner, or what was told is so old that it counts for little.
func TestPickLeastLatency(t *testing.T) {
	f := newFakeOfLevel6(t, 1, 1)
	c := f.open(Options{})
	mustSet(t, c, serviceOf("shop", 1, 1, 1))
	r := mustResolve(t, c, "shop")
	took := map[string]time.Duration{"10.0.0.1:80": 30 * time.Millisecond, "10.0.0.2:80": 10 * time.Millisecond, "10.0.0.3:80": 20 * time.Millisecond}
	tried := map[string]bool{}
	for range took {
		id := mustPick(t, r.PickLeastLatency, registry.PickOptions{})
		if tried[id] {
			t.Errorf("%s is tried again, others are not", id)
		}
		tried[id] = true
		r.Observe(id, took[id])
	}
	r.Observe("10.0.0.9:80", 0) // which there is not
	soonest := func(want string) {
		t.Helper()
		for range 10 {
			if id := mustPick(t, r.PickLeastLatency, registry.PickOptions{}); id != want {
				t.Fatalf("got %s, want %s", id, want)
			}
		}
	}
	soonest("10.0.0.2:80")
	for range 20 {
		r.Observe("10.0.0.2:80", time.Second)
	}
	soonest("10.0.0.3:80")
	f.check("shop", "10.0.0.3:80", registry.Down)
	until(t, "the copy is newer", func() bool {
		return mustPick(t, r.PickLeastLatency, registry.PickOptions{}) == "10.0.0.1:80"
	})
	soonest("10.0.0.1:80") // what was told outlives the copy

	var l latency
	l.observe(time.Second, 64*time.Millisecond)
	for n, want := range map[time.Duration]time.Duration{0: 64 * time.Millisecond, 1: 32 * time.Millisecond, 3: 8 * time.Millisecond, 1 << 40: 0} {
		if got := l.at(time.Second + n*LatencyHalf); got != want {
			t.Errorf("after %d halvings: got %s, want %s", n, got, want)
		}
	}
	if got := l.at(0); got != 64*time.Millisecond {
		t.Errorf("of before it was told: got %s", got)
	}
}

// A resolver lasts longer than the context that it was asked for with, and ends when it is
// closed, or its client is; what it has can still be picked from.
func TestEndsOfAResolver(t *testing.T) {
	f := newFakeOfLevel6(t, 1, 1)
	c := f.open(Options{})
	mustSet(t, c, serviceOf("shop", 1))
	ctx, cancel := context.WithCancel(t.Context())
	r, err := c.Resolve(ctx, "shop")
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	w := mustSet(t, c, serviceOf("shop", 1, 1))
	until(t, "it goes on when its context has ended", func() bool { _, version := r.Service(); return version == w.Version })
	r.Close()
	r.Close()
	mustPick(t, r.Pick, registry.PickOptions{})
	if _, err := c.Resolve(ctx, "shop"); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: got %v", err)
	}
	f.nodes[0].do(func(h wire.Header, _ []byte) fakeOrder { return fakeOrder{silent: h.Type == wire.TypeServices} })
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Resolve(short, "shop"); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), `"shop"`) {
		t.Errorf("in silence: got %v", err)
	}
	f.nodes[0].do(nil)
	r = mustResolve(t, c, "shop")
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	<-r.ended
	mustPick(t, r.Pick, registry.PickOptions{})
	if _, err := c.Resolve(t.Context(), "shop"); !errors.Is(err, ErrClosed) {
		t.Errorf("of a closed client: got %v", err)
	}
}

func BenchmarkPick(b *testing.B) {
	for _, n := range []int{5, 512} {
		r := &Resolver{client: new(Client), name: "shop"}
		r.client.courier = newCourier(Options{Endpoints: []string{"127.0.0.1:1"}}, systemClock(), 1, func(uint32) {})
		defer r.client.close()
		weights := make([]int, n)
		for i := range weights {
			weights[i] = 1 + i%7
		}
		r.publish(serviceOf("shop", weights...), 1)
		for what, pick := range map[string]func(registry.PickOptions) (*registry.Instance, error){"weight": r.Pick, "round-robin": r.PickRoundRobin, "least-latency": r.PickLeastLatency} {
			b.Run(fmt.Sprintf("%s/%d", what, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					_, _ = pick(registry.PickOptions{})
				}
			})
		}
	}
}
