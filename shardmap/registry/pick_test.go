package registry

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// row makes an instance: an id, a status, and settings as in k=v.
func row(id string, status Status, settings ...string) Instance {
	i := Instance{ID: id, Status: status}
	for _, s := range settings {
		key, value, _ := strings.Cut(s, "=")
		i.Settings = append(i.Settings, Setting{Key: key, Value: value})
	}
	sortSettings(i.Settings)
	return i
}

func out(i Instance) Instance {
	i.Maintenance = true
	return i
}

func drawn(seed uint64) func(uint64) uint64 { return rand.New(rand.NewPCG(seed, 1)).Uint64N }

// Of a million picks each instance gets its share by weight, within 1 %: by chance, and by
// key if each pick has another key.
func TestPickFollowsWeights(t *testing.T) {
	const picks = 1_000_000
	s := &Service{Instances: []Instance{row("a", Up), row("b", Up, "priority=2"), row("never", Up, "priority=0"), row("c", Up, "priority=3"), row("d", Up, "priority=4"),
		row("down", Down, "priority=9"), out(row("out", Up, "priority=9")), row("new", Unknown), row("flaps", Flapping)}}
	want := map[string]float64{"a": 0.1, "b": 0.2, "c": 0.3, "d": 0.4}
	key := make([]byte, 0, 16)
	for name, options := range map[string]func(n int) PickOptions{
		"drawn": func() func(int) PickOptions {
			o := PickOptions{Draw: drawn(7)}
			return func(int) PickOptions { return o }
		}(),
		"sticky": func(n int) PickOptions { key = fmt.Appendf(key[:0], "user-%d", n); return PickOptions{Sticky: key} },
	} {
		got := map[string]int{}
		for n := range picks {
			i, err := s.Pick(options(n))
			if err != nil {
				t.Fatal(err)
			}
			got[i.ID]++
		}
		for id, n := range got {
			if share := float64(n) / picks; math.Abs(share-want[id]) > 0.01*want[id] {
				t.Errorf("%s: %s got %.5f of the picks, want %.2f", name, id, share, want[id])
			}
		}
	}
}

// A sticky key stays, in whatever order the instances stand, and when one goes only its own
// keys move.
func TestStickyKeysStay(t *testing.T) {
	const keys = 10_000
	s := &Service{}
	for n := range 10 {
		s.Instances = append(s.Instances, row(fmt.Sprintf("10.0.0.%d:80", n), Up, fmt.Sprintf("priority=%d", 1+n%3)))
	}
	choose := func(key int) string {
		i, err := s.Pick(PickOptions{Sticky: fmt.Appendf(nil, "%d", key)})
		if err != nil {
			t.Fatal(err)
		}
		return i.ID
	}
	var before [keys]string
	for k := range before {
		before[k] = choose(k)
	}
	slices.Reverse(s.Instances)
	for k, id := range before {
		if got := choose(k); got != id {
			t.Fatalf("key %d went from %s to %s by the order of instances", k, id, got)
		}
	}
	gone := &s.Instances[3]
	gone.Status = Down
	moved := 0
	for k, id := range before {
		if got := choose(k); got != id {
			moved++
			if id != gone.ID {
				t.Fatalf("key %d went from %s to %s when %s went", k, id, got, gone.ID)
			}
		}
	}
	if moved == 0 || moved > keys/5 {
		t.Errorf("%d of %d keys moved", moved, keys)
	}
	gone.Status = Up
	for k, id := range before {
		if got := choose(k); got != id {
			t.Fatalf("key %d did not come back from %s to %s", k, got, id)
		}
	}
}

// A key that is empty is a key; one of nil is none, and wants a draw.
func TestStickyKeyOfNothing(t *testing.T) {
	s := &Service{Instances: []Instance{row("a", Up), row("b", Up)}}
	first, err := s.Pick(PickOptions{Sticky: []byte{}})
	for range 20 {
		if i, err := s.Pick(PickOptions{Sticky: []byte{}}); err != nil || i != first {
			t.Errorf("got %v, %v, want %v", i, err, first)
		}
	}
	if err != nil {
		t.Error(err)
	}
}

func TestCandidates(t *testing.T) {
	near := func(zone string) []Setting { return []Setting{{Key: "zone", Value: zone}} }
	for _, c := range []struct {
		name     string
		protect  string
		rows     []Instance
		o        PickOptions
		want     string
		wantNone bool
	}{
		{name: "up alone", rows: []Instance{row("a", Up), row("b", Down), row("c", Unknown), row("d", Flapping), out(row("e", Up))}, want: "a:1"},
		{name: "none", rows: []Instance{row("a", Down), out(row("b", Up)), row("c", Up, "priority=0")}, wantNone: true},
		{name: "no instances", wantNone: true},
		{name: "a weight that can't be read", rows: []Instance{row("a", Up, "priority=x"), row("b", Up, "priority=2000000")}, wantNone: true},
		{name: "tags", rows: []Instance{row("a", Up, "tags=x"), row("b", Up, "tags=y, x"), row("c", Up)}, o: PickOptions{Tags: []string{"x", "y"}}, want: "b:1"},
		{name: "a tag that none has", rows: []Instance{row("a", Up, "tags=xy")}, o: PickOptions{Tags: []string{"x"}}, wantNone: true},
		{name: "near", rows: []Instance{row("a", Up), row("b", Up, "zone=n", "priority=5"), row("c", Up, "zone=s"), row("d", Up, "zone=n")}, o: PickOptions{Near: near("n")}, want: "b:5 d:1"},
		{name: "near, but down", rows: []Instance{row("a", Up, "zone=s"), row("b", Down, "zone=n")}, o: PickOptions{Near: near("n")}, want: "a:1"},
		{name: "near in each respect", rows: []Instance{row("a", Up, "zone=n"), row("b", Up, "zone=n", "rack=1")}, o: PickOptions{Near: []Setting{{Key: "zone", Value: "n"}, {Key: "rack", Value: "1"}}}, want: "b:1"},
		{name: "a secret is not to be guessed by near", rows: []Instance{row("a", Up, "pass=x"), row("b", Up, "pass=y")}, o: PickOptions{Near: []Setting{{Key: "pass", Value: "x"}}}, want: "a:1 b:1"},
		{name: "enough are up", protect: "50", rows: []Instance{row("a", Up), row("b", Down), row("c", Up), row("d", Down)}, want: "a:1 c:1"},
		{name: "too few are up", protect: "51", rows: []Instance{row("a", Up), row("b", Down), row("c", Up), row("d", Down, "priority=0")}, want: "a:1 b:1 c:1"},
		{name: "all are down", protect: "1", rows: []Instance{row("a", Down), row("b", Flapping), row("c", Unknown, "priority=2")}, want: "a:1 b:1 c:2"},
		{name: "all are down, unprotected", protect: "0", rows: []Instance{row("a", Down)}, wantNone: true},
		{name: "maintenance does not count", protect: "60", rows: []Instance{row("a", Up), row("b", Down), out(row("c", Up))}, want: "a:1 b:1"},
		{name: "all in maintenance", protect: "100", rows: []Instance{out(row("a", Up))}, wantNone: true},
	} {
		s := &Service{Instances: c.rows}
		if c.protect != "" {
			s.Settings = []Setting{{Key: "protect", Value: c.protect}}
		}
		list, err := s.Candidates(c.o)
		var got []string
		for _, x := range list {
			got = append(got, fmt.Sprintf("%s:%d", x.Instance.ID, x.Weight))
		}
		if errors.Is(err, ErrNoneUp) != c.wantNone || strings.Join(got, " ") != c.want {
			t.Errorf("%s: got %s, %v; want %s", c.name, got, err, c.want)
		}
	}
}

// A resolver picks for each request of a program.
func TestPickFromCandidatesAllocatesNothing(t *testing.T) {
	s := &Service{Instances: []Instance{row("a", Up), row("b", Up, "priority=7")}}
	list, err := s.Candidates(PickOptions{})
	if err != nil {
		t.Fatal(err)
	}
	draw, key := drawn(1), []byte("key")
	if n := testing.AllocsPerRun(100, func() { PickDrawn(list, draw); PickSticky(list, key) }); n != 0 {
		t.Errorf("got %v allocations", n)
	}
}

func BenchmarkPick(b *testing.B) {
	s := &Service{}
	for n := range 20 {
		s.Instances = append(s.Instances, row(fmt.Sprintf("10.0.0.%d:80", n), Up))
	}
	list, err := s.Candidates(PickOptions{})
	if err != nil {
		b.Fatal(err)
	}
	draw, key := drawn(1), []byte("user-1234")
	b.Run("drawn", func(b *testing.B) {
		for b.Loop() {
			PickDrawn(list, draw)
		}
	})
	b.Run("sticky", func(b *testing.B) {
		for b.Loop() {
			PickSticky(list, key)
		}
	})
	b.Run("service", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.Pick(PickOptions{Draw: draw}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
