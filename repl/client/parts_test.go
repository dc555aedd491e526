package client

import (
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The floor of a session must be the lowest sequence that is still open, in
// whatever order they end: a floor too high makes a server forget an outcome
// that a retry needs, one too low makes it keep them for ever.
func TestSessionFloor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const window = 64
		limit := rapid.Uint64Range(1, window).Draw(t, "limit")
		s := newSession(1, window)
		var open []uint64 // the slow one: sorted
		next := uint64(1)
		for range rapid.IntRange(1, 400).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "begin") {
				floor := next
				if len(open) > 0 {
					floor = open[0]
				}
				sequence, gotFloor, ok := s.begin(limit)
				if want := next-floor < limit; ok != want {
					t.Fatalf("begin with %v open, next %d: got %v, want %v", open, next, ok, want)
				}
				if !ok {
					continue
				}
				if sequence != next || gotFloor != floor {
					t.Fatalf("begin: got %d floor %d, want %d floor %d", sequence, gotFloor, next, floor)
				}
				open = append(open, next)
				next++
			} else if len(open) > 0 {
				i := rapid.IntRange(0, len(open)-1).Draw(t, "which")
				s.end(open[i])
				open = slices.Delete(open, i, i+1)
			}
		}
	})
}

// A request number must find its own call and no other, also when its place was
// used again: a late answer would else end somebody else's call.
func TestPending(t *testing.T) {
	var p pending
	a, b, c := &call{}, &call{}, &call{}
	idA := p.add(a)
	idB := p.add(b)
	if p.take(idA) != a || p.take(idA) != nil {
		t.Fatal("a was not taken once")
	}
	idC := p.add(c)
	if idC == idA || p.get(idA) != nil || p.get(idC) != c || p.get(idB) != b {
		t.Fatalf("ids %x %x %x: a late answer finds another call", idA, idB, idC)
	}
	for _, id := range []uint64{0, 1, idB + 1<<32, 1 << 63, idC ^ 1<<40} {
		if p.get(id) != nil {
			t.Errorf("number %x finds a call", id)
		}
	}
	if got := p.all(); len(got) != 2 || p.open != 0 || p.get(idB) != nil {
		t.Errorf("all: got %d, %d left", len(got), p.open)
	}
}

// The park must wake calls in the order of their times, and give out those that
// match in the order in which they came, as a sorted list would.
func TestPark(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var p park
		var slow []*Call
		ticket := uint64(0)
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0, 1:
				ticket++
				c := &Call{ticket: ticket, place: -1, onPeer: Peer(ticket % 3)}
				p.add(c, onPeer, time.Duration(rapid.IntRange(0, 20).Draw(t, "wake")))
				slow = append(slow, c)
			case 2:
				now := time.Duration(rapid.IntRange(0, 20).Draw(t, "now"))
				same(t, p.due(now), &slow, func(c *Call) bool { return c.wake <= now })
			case 3:
				peer := Peer(rapid.IntRange(0, 2).Draw(t, "peer"))
				same(t, p.matching(func(c *Call) bool { return c.onPeer == peer }), &slow, func(c *Call) bool { return c.onPeer == peer })
			}
			if len(slow) > 0 && rapid.IntRange(0, 4).Draw(t, "remove") == 0 {
				c := slow[0]
				if !p.remove(c) || p.remove(c) {
					t.Fatal("a call was not removed once")
				}
				slow = slow[1:]
			}
			at, ok := p.first()
			want := time.Duration(1 << 62)
			for _, c := range slow {
				want = min(want, c.wake)
			}
			if ok != (len(slow) > 0) || ok && at != want {
				t.Fatalf("first: got %d %v, want %d", at, ok, want)
			}
		}
	})
}

func same(t *rapid.T, got []*Call, slow *[]*Call, f func(*Call) bool) {
	var want, rest []*Call
	for _, c := range *slow {
		if f(c) {
			want = append(want, c)
		} else {
			rest = append(rest, c)
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("got %d calls, want %d, or in another order", len(got), len(want))
	}
	*slow = rest
}

// A dead peer must be found out in time, and a slow one not be taken for dead
// before it was asked. Connections that nobody needs are closed, but not one
// alone: those to the same peer would end with it, with what is open on them.
func TestJudge(t *testing.T) {
	const s = time.Second
	for _, x := range []struct {
		now, heard, asked time.Duration
		open              int
		used              time.Duration
		want              health
	}{
		{10 * s, 10 * s, 0, 1, 10 * s, healthy},
		{10 * s, 9*s + 1, 0, 1, 10 * s, healthy},
		{10 * s, 9 * s, 0, 1, 10 * s, healthPing},
		{10 * s, 9 * s, 10 * s, 1, 10 * s, healthy},
		{10 * s, 7 * s, 8 * s, 1, 10 * s, healthDead},
		{10 * s, 7*s + 1, 8 * s, 1, 10 * s, healthy},
		{10 * s, 0, 0, 1, 10 * s, healthPing}, // this process was stopped: ask first
		{10 * s, 0, 0, 0, 0, healthy},
		{20 * s, 0, 0, 0, 0, healthPing},
		{21 * s, 0, 20 * s, 0, 0, healthy},
		{22 * s, 0, 20 * s, 0, 0, healthDead},
		{45 * s, 0, 0, 0, 0, healthIdle},
		{45 * s, 44 * s, 0, 0, 0, healthIdle}, // a pong is no use
		{45 * s, 44 * s, 0, 0, 1, healthy},
		{90 * s, 60 * s, 0, 0, 89 * s, healthPing}, // those beside it are in use
	} {
		if got := judge(x.now, x.heard, x.now, x.asked, x.open, x.used); got != x.want {
			t.Errorf("now %s, heard %s, asked %s, %d open, used %s: got %d, want %d", x.now, x.heard, x.asked, x.open, x.used, got, x.want)
		}
	}
	// A node that sends again and again hears nothing of its client, which it takes
	// for silent.
	for _, x := range []struct {
		spoke, asked time.Duration
		open         int
		want         health
	}{
		{80*s + 1, 0, 1, healthy},
		{80 * s, 0, 1, healthPing},
		{80 * s, 99 * s, 1, healthy},
		{80 * s, 0, 0, healthy},
	} {
		if got := judge(100*s, 100*s, x.spoke, x.asked, x.open, 100*s); got != x.want {
			t.Errorf("spoke %s, asked %s, %d open: got %d, want %d", x.spoke, x.asked, x.open, got, x.want)
		}
	}
}

// A frame must say a little less time than there is, never none: zero would
// mean for ever.
func TestDeadlineMs(t *testing.T) {
	for _, x := range []struct {
		left time.Duration
		want uint32
	}{
		{-time.Second, 1}, {0, 1}, {time.Millisecond, 1}, {100 * time.Millisecond, 90},
		{time.Second, 950}, {RetryMax, 299950}, {never, 299950}, {never - time.Hour, 299950},
	} {
		if got := deadlineMs(x.left); got != x.want {
			t.Errorf("%s left: got %d, want %d", x.left, got, x.want)
		}
	}
}

// The core is what the simulator runs: its files must see no goroutine, no
// lock, no network and no chance of their own; of time only durations.
func TestCoreIsPure(t *testing.T) {
	allowed := []string{"errors", "fmt", "slices", "time", "muster/raft", "muster/repl/wire", "muster/shardmap"}
	for _, file := range []string{"core.go", "route.go", "peer.go", "retry.go", "park.go", "follow.go", "moves.go", "meta.go"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, text, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			if path, _ := strconv.Unquote(i.Path.Value); !slices.Contains(allowed, path) {
				t.Errorf("%s imports %s", file, path)
			}
		}
		for _, bad := range []string{"time.Now", "time.Since", "time.After", "time.Sleep", "go func", "chan ", "select {"} {
			if strings.Contains(string(text), bad) {
				t.Errorf("%s has %q", file, bad)
			}
		}
	}
}
