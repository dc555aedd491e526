package client

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// listed is a cluster that is listed: keys, and who has them.
type listed struct {
	random *rand.Rand
	keys   []string // in order
	routes *Routes
	under  []*PageAsk // way
	stale  []*PageAsk // that were given up
	moves  int        // that are still to come
}

// move gives the slots to other groups.
func (x *listed) move() {
	x.routes = &Routes{Epoch: x.routes.Epoch + 1 + x.random.Uint64N(3)}
	n := 1 + x.random.IntN(5)
	for s := range x.routes.Group {
		x.routes.Group[s] = raft.GroupID(1 + (s+n)%n)
	}
}

// answer answers one page, whichever.
func (x *listed) answer(l *Listing) {
	if n := len(x.stale); n > 0 && x.random.IntN(3) == 0 {
		l.Failed(x.stale[n-1], errors.New("given up"))
		x.stale = x.stale[:n-1]
		return
	}
	i := x.random.IntN(len(x.under))
	a := x.under[i]
	x.under = slices.Delete(x.under, i, i+1)
	if x.moves > 0 && x.random.IntN(20) == 0 {
		x.moves--
		x.move()
	}
	q := &a.Query
	if q.Epoch != x.routes.Epoch {
		epoch := x.routes.Epoch
		if x.random.IntN(3) == 0 {
			epoch = q.Epoch - 1 // a node that is behind
		}
		l.Failed(a, &wire.Error{Code: wire.CodeMoved, Epoch: epoch})
		return
	}
	answer := wire.ListAnswer{Group: q.Group, At: raft.LogID{Term: 1, Index: 9}}
	for _, k := range x.keys {
		if x.routes.Group[shardmap.SlotOf([]byte(k))] != q.Group || !strings.HasPrefix(k, string(q.Prefix)) || k <= string(q.After) {
			continue
		}
		if answer.Count == int(q.Limit) {
			answer.More = true
			break
		}
		answer.Rows = wire.AppendListRow(answer.Rows, []byte(k), 1, []byte("v"))
		answer.Count++
	}
	l.Page(a, answer.Append(nil))
}

// A listing has each key once, in order, in whatever order its pages come, however
// short they are, and while slots change their groups. One would doubt it: what
// was read ahead by an old table is thrown away, and pages of it come all the same.
func TestListingMergesWhatComes(t *testing.T) {
	for seed := range uint64(300) {
		x := &listed{random: rand.New(rand.NewPCG(seed, 5)), routes: &Routes{Epoch: 7}, moves: 3}
		x.move()
		for i := range x.random.IntN(200) {
			x.keys = append(x.keys, fmt.Sprintf("%c/%03d", 'a'+i%3, i))
		}
		slices.Sort(x.keys)
		prefix := []string{"", "a/", "b/0", "z"}[x.random.IntN(4)]
		l := NewListing([]byte(prefix), ListOptions{})
		l.Rows = uint32(1 + x.random.IntN(30))
		var got []string
		for steps := 0; ; steps++ {
			if steps > 10000 {
				t.Fatalf("seed %d: no end, after %d items", seed, len(got))
			}
			item, step, err := l.Next()
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			x.under = append(x.under, l.Take()...)
			if step == ListHas {
				got = append(got, string(bytes.Clone(item.Key)))
			}
			if step == ListEnd {
				break
			}
			switch step {
			case ListPlan:
				x.stale, x.under = append(x.stale, x.under...), nil
				if x.random.IntN(4) == 0 {
					l.Plan(x.routes) // twice: the first is over
					x.stale = append(x.stale, l.Take()...)
				}
				l.Plan(x.routes)
				x.under = l.Take()
			case ListPause:
				x.stale, x.under = append(x.stale, x.under...), nil
			case ListWait:
				if !slices.Contains(x.under, l.Awaited()) {
					t.Fatalf("seed %d: a page is awaited that was not asked for", seed)
				}
				x.answer(l)
			}
		}
		want := slices.DeleteFunc(slices.Clone(x.keys), func(k string) bool { return !strings.HasPrefix(k, prefix) })
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d: got %v, want %v", seed, got, want)
		}
	}
}

// Any error but that slots have moved ends a listing, after what came before it.
func TestListingEndsWithAnError(t *testing.T) {
	x := &listed{random: rand.New(rand.NewPCG(1, 1)), routes: &Routes{Epoch: 1}, keys: []string{"a", "b", "c"}}
	for s := range x.routes.Group {
		x.routes.Group[s] = 1
	}
	l := NewListing(nil, ListOptions{})
	l.Rows = 2
	next := func(want ListStep) {
		t.Helper()
		if _, step, err := l.Next(); step != want || err != nil {
			t.Fatalf("step %d, %v; want %d", step, err, want)
		}
	}
	next(ListPlan)
	l.Plan(x.routes)
	x.under = l.Take()
	next(ListWait)
	x.answer(l)
	next(ListHas)
	next(ListHas)
	asked := l.Take()
	if len(asked) != 1 || string(asked[0].Query.After) != "b" {
		t.Fatalf("asked for %d pages", len(asked))
	}
	broken := errors.New("broken")
	l.Failed(asked[0], broken)
	if _, _, err := l.Next(); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}
