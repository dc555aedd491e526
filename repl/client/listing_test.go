package client

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// listed is a cluster that is listed: keys, and who has them.
type listed struct {
	t      *testing.T
	random *rand.Rand
	keys   []string // in order
	owners *Routes  // who has the slots now
	routes *Routes  // who has them by the client's table
	number uint64   // of the last move
	open   []*serving
	stale  []*serving // attempts that are over for the client
	moves  int        // that are still to come
	calm   int        // one step of this many has a move before it
	lost   int        // attempts that ended by themselves
	ended  int        // streams that ended because slots had moved
	kept   int        // streams that went on when slots of others were planned anew
	most   int        // streams at one time
}

// serving is one attempt of a stream, at a node.
type serving struct {
	stream      *Stream
	attempt     uint64
	scan        wire.Scan
	after       string
	sent, limit uint64
	rows        uint64
}

// begin begins an attempt of a stream.
func (x *listed) begin(s *Stream) *serving {
	body, attempt := s.Begin(nil)
	v := &serving{stream: s, attempt: attempt}
	if err := v.scan.Read(body); err != nil {
		x.t.Fatal(err)
	}
	v.after, v.limit = string(v.scan.After), v.scan.Window
	return v
}

// move gives slots to other groups: all, or some where they move one by one.
func (x *listed) move() {
	x.number++
	r := *x.owners
	r.Epoch += 1 + x.random.Uint64N(3)
	n := 1 + x.random.IntN(5)
	if r.Level < shardmap.MovesLevel || x.number == 1 {
		for s := range r.Group {
			r.Group[s] = raft.GroupID(1 + (s+n)%n)
		}
	} else if len(x.keys) > 0 {
		for range n {
			r.Group[shardmap.SlotOf([]byte(x.keys[x.random.IntN(len(x.keys))]))] = raft.GroupID(1 + x.random.IntN(6))
		}
	}
	x.owners = &r
}

// refusal is why an attempt gets no further piece; nil if it gets one.
func (x *listed) refusal(v *serving) *wire.Error {
	e := &wire.Error{Code: wire.CodeMoved, Epoch: x.owners.Epoch}
	if x.random.IntN(3) == 0 {
		e.Epoch = x.routes.Epoch - 1 // a node that is behind
	}
	if len(v.scan.Slots) == 0 {
		if v.scan.Epoch == x.owners.Epoch {
			return nil
		}
		return e
	}
	for _, r := range v.scan.Slots {
		for s := r.From; s <= r.To; s++ {
			if x.owners.Group[s] == v.scan.Group {
				continue
			}
			if x.random.IntN(3) > 0 {
				e.Group, e.Number, e.Slot = x.owners.Group[s], x.number, s
				r := *x.routes // as the core notes it
				r.Group[s] = e.Group
				x.routes = &r
			}
			return e
		}
	}
	return nil
}

// serve takes a step of some attempt.
func (x *listed) serve() {
	if n := len(x.stale); n > 0 && x.random.IntN(3) == 0 {
		v := x.stale[n-1]
		if x.stale = x.stale[:n-1]; v.attempt > 0 {
			v.stream.Piece(v.attempt, x.page(v).Append(nil)) // it was on its way
		}
		return
	}
	if len(x.open) == 0 {
		return
	}
	i := x.random.IntN(len(x.open))
	v := x.open[i]
	if x.moves > 0 && x.random.IntN(x.calm) == 0 {
		x.moves--
		x.move()
	}
	if e := x.refusal(v); e != nil {
		x.ended++
		v.stream.Finish(e)
		x.open = slices.Delete(x.open, i, i+1)
		return
	}
	switch {
	case x.random.IntN(4) == 0: // a leader, or a connection, is lost
		if v.stream.Complete() {
			v.stream.Finish(nil)
			x.open = slices.Delete(x.open, i, i+1)
			return
		}
		x.lost++
		x.stale = append(x.stale, v)
		x.open[i] = x.begin(v.stream)
	case v.limit >= v.sent+uint64(v.scan.PieceBytes):
		a := x.page(v)
		body := a.Append(nil)
		v.sent += uint64(len(body))
		v.stream.Piece(v.attempt, body)
		if !a.More || v.scan.Limit > 0 && v.rows >= v.scan.Limit {
			v.stream.Finish(nil)
			x.open = slices.Delete(x.open, i, i+1)
		}
	}
}

// has reports whether the answer to a scan has keys of a slot.
func (x *listed) has(q *wire.Scan, s shardmap.Slot) bool {
	if len(q.Slots) == 0 {
		return x.owners.Group[s] == q.Group
	}
	return slices.ContainsFunc(q.Slots, func(r shardmap.SlotRange) bool { return r.From <= s && s <= r.To })
}

// page makes the next piece of an attempt.
func (x *listed) page(v *serving) *wire.ListAnswer {
	q := &v.scan
	a := &wire.ListAnswer{Group: q.Group, At: raft.LogID{Term: 1, Index: 9}}
	for i, k := range x.keys {
		if q.Descending {
			k = x.keys[len(x.keys)-1-i]
		}
		if !x.has(q, shardmap.SlotOf([]byte(k))) || !fakeLists(k, q.Prefix, []byte(v.after), &q.Span) {
			continue
		}
		if wire.ListHead+len(a.Rows)+len(k)+1+wire.ListRowHead > int(q.PieceBytes) || q.Limit > 0 && v.rows == q.Limit {
			a.More = true
			break
		}
		a.Rows = wire.AppendListRow(a.Rows, []byte(k), 1, []byte("v"))
		a.Count++
		v.rows++
		v.after = k
	}
	return a
}

// grants takes the grants that are due.
func (x *listed) grants(streams []*Stream) {
	for _, s := range streams {
		g, attempt, due := s.Grant()
		for _, v := range x.open {
			if due && v.stream == s && v.attempt == attempt {
				if g.Limit < v.limit || g.Limit > v.sent+s.window {
					x.t.Fatalf("%d bytes are granted, after %d, when %d were sent; the window is %d", g.Limit, v.limit, v.sent, s.window)
				}
				v.limit = g.Limit
			}
		}
	}
}

// plan plans, by a table that may be behind, and opens what the plan wants.
func (x *listed) plan(l *Listing) {
	if x.routes.Epoch < l.Epoch() || x.random.IntN(2) == 0 {
		x.routes = x.owners
	}
	l.Plan(x.routes)
	for _, s := range l.Take() {
		x.open = append(x.open, x.begin(s))
	}
}

// drop gives up streams.
func (x *listed) drop(streams []*Stream) {
	for _, s := range streams {
		if i := slices.IndexFunc(x.open, func(v *serving) bool { return v.stream == s }); i >= 0 {
			x.stale = append(x.stale, x.open[i])
			x.open = slices.Delete(x.open, i, i+1)
		}
	}
}

// bound draws a bound of a listing, or none.
func (x *listed) bound() string {
	if len(x.keys) == 0 || x.random.IntN(2) == 0 {
		return ""
	}
	return x.keys[x.random.IntN(len(x.keys))] + []string{"", "\x00"}[x.random.IntN(2)]
}

// play lists a cluster of a seed, and returns what is wrong with the listing, or nothing.
func play(t *testing.T, seed uint64) (x *listed, wrong string) {
	x = &listed{t: t, random: rand.New(rand.NewPCG(seed, 5)), owners: &Routes{Epoch: 7, Level: shardmap.MovesLevel - uint32(seed%2)}, moves: 3, calm: 20}
	keys := 200
	if seed%4 == 0 { // at level 4
		x.moves, x.calm, keys = 200, 3, 600
	}
	x.move()
	x.routes = x.owners
	for i := range x.random.IntN(keys) {
		x.keys = append(x.keys, fmt.Sprintf("%c/%03d", 'a'+i%3, i))
	}
	slices.Sort(x.keys)
	prefix := []string{"", "a/", "b/0", "z"}[x.random.IntN(4)]
	o := ListOptions{}
	if x.owners.Level >= shardmap.MovesLevel && seed%3 > 0 { // of today's level
		x.owners.Level, x.routes.Level = shardmap.RangesLevel, shardmap.RangesLevel
		o = ListOptions{Descending: seed%3 == 1, From: []byte(x.bound()), To: []byte(x.bound())}
		if span := o.span(); span.Check([]byte(prefix)) != nil {
			o.From, o.To = nil, nil
		}
	}
	span := o.span()
	want := slices.DeleteFunc(slices.Clone(x.keys), func(k string) bool { return !fakeLists(k, []byte(prefix), nil, &span) })
	if o.Descending {
		slices.Reverse(want)
	}
	if len(want) > 0 && x.random.IntN(3) == 0 {
		o.Limit = 1 + x.random.IntN(len(want))
		want = want[:o.Limit]
	}
	l := NewListing([]byte(prefix), o)
	l.PieceBytes = wire.StreamPieceMin + x.random.Uint32N(300)
	var got []string
	plans := 0 // since an item came, or a pause
	for steps := 0; o.Limit == 0 || len(got) < o.Limit; steps++ {
		if steps > 20000 {
			return x, fmt.Sprintf("no end, after %d items", len(got))
		}
		epoch := l.Epoch()
		item, step, err := l.Next()
		if err != nil {
			return x, err.Error()
		}
		x.grants(l.Used())
		x.drop(l.Dropped())
		if step == ListHas {
			got = append(got, string(bytes.Clone(item.Key)))
			plans = 0
		}
		if step == ListEnd {
			break
		}
		switch step {
		case ListPlan:
			if plans++; l.Epoch() == epoch && plans > hastyMax+5 {
				return x, fmt.Sprintf("plan %d without a pause and without an item", plans)
			}
			x.kept += len(x.open)
			x.plan(l)
		case ListPause:
			plans = 0
		case ListWait:
			if !slices.ContainsFunc(x.open, func(v *serving) bool { return v.stream == l.Awaited() }) && l.Awaited().waits() {
				return x, "a stream is awaited that is not open"
			}
			x.serve()
		}
		for range x.random.IntN(3) {
			x.serve()
		}
		if x.most = max(x.most, l.streams()); x.most > 2*streamsSpare {
			return x, fmt.Sprintf("%d streams", x.most)
		}
	}
	if !slices.Equal(got, want) {
		return x, fmt.Sprintf("got %v, want %v", got, want)
	}
	return x, ""
}

// A listing has each key once, in order, up or down, within its bounds, in whatever order its pieces come, however
// short they are, while slots change their groups, all at once or one by one, and while
// leaders and connections are lost in the middle of streams. One would doubt it: what was
// read ahead is kept over some of that and thrown away over the rest, and pieces of
// attempts that are over come all the same. Nor may it plan again and again without a
// pause, or throw away streams whose slots have stayed.
func TestListingMergesWhatComes(t *testing.T) {
	var lost, ended, kept, most int
	for seed := range uint64(600) {
		x, wrong := play(t, seed)
		if wrong != "" {
			t.Fatalf("seed %d: %s", seed, wrong)
		}
		lost, ended, kept, most = lost+x.lost, ended+x.ended, kept+x.kept, max(most, x.most)
	}
	if lost < 600 || ended < 600 || kept < 600 || most <= streamsSpare {
		t.Errorf("%d attempts were lost, %d streams ended for slots that had moved, %d went on, %d were open at most: too few to show anything", lost, ended, kept, most)
	}
}

// Keys of a range that begin alike are asked for by what they begin with: a grant has to cover no more, and
// only one slot is asked if that holds a whole tag.
func TestListingNarrowsItsPrefix(t *testing.T) {
	for _, c := range []struct{ prefix, from, to, want string }{
		{"", "", "", ""},
		{"a/", "", "", "a/"},
		{"", "a/3", "a/7", "a/"},
		{"", "a/", "a0", "a/"},
		{"a/", "a/31", "a/32", "a/31"},
		{"a/31", "a/", "a/7", "a/31"},
		{"a", "b", "", "a"},
		{"", "{t}1", "{t}5", "{t}"},
		{"", strings.Repeat("k", shardmap.KeyMax) + "\x00", "l", "k"},
	} {
		o := ListOptions{From: []byte(c.from), To: []byte(c.to)}
		l := NewListing([]byte(c.prefix), o)
		if got := string(l.prefix); got != c.want {
			t.Errorf("%q from %.10q to %q: prefix %.20q, want %q", c.prefix, c.from, c.to, got, c.want)
		}
		if one := l.pending[0].From == l.pending[0].To; one != strings.Contains(c.want, "}") {
			t.Errorf("%q from %.10q to %q: slots %v", c.prefix, c.from, c.to, l.pending)
		}
	}
}

// A cluster below level 9 has no listings that descend or have bounds, and no counts: both are refused for
// the level, and nothing is asked of its nodes, which would take the request for a bad one.
func TestRangesNeedTheirLevel(t *testing.T) {
	f := newFake(t, 1, 2)
	f.move(0, 1)
	f.atLevel(shardmap.RangesLevel - 1)
	c := f.open(Options{})
	ctx := within(t, 20*time.Second)
	f.nodes[0].do(func(h wire.Header, _ []byte) fakeOrder {
		if h.Type == wire.TypeScan || h.Type == wire.TypeList {
			t.Errorf("a node is sent %s", h.Type)
		}
		return fakeOrder{}
	})
	for _, o := range []ListOptions{{Descending: true}, {From: []byte("a")}, {To: []byte("b")}} {
		for _, err := range c.List(ctx, nil, o) {
			if codeOf(err) != wire.CodeLevel {
				t.Errorf("%+v: %v, want it refused for the level", o, err)
			}
		}
	}
	if _, err := Count(ctx, c, nil, ListOptions{}); codeOf(err) != wire.CodeLevel {
		t.Errorf("count: %v, want it refused for the level", err)
	}
	// The table of an open client is of before the upgrade.
	f.atLevel(shardmap.RangesLevel)
	f.nodes[0].do(func(wire.Header, []byte) fakeOrder { return fakeOrder{} })
	if _, err := Count(ctx, c, nil, ListOptions{}); err != nil {
		t.Errorf("count after the upgrade: %v", err)
	}
}

// What no listing and no count can be is refused before anything is asked, with the field named.
func TestListOptionsRefused(t *testing.T) {
	f := newFake(t, 1, 1)
	f.atLevel(shardmap.RangesLevel)
	c := f.open(Options{})
	long := make([]byte, shardmap.KeyMax+1)
	for _, x := range []struct {
		name   string
		prefix []byte
		o      ListOptions
		code   wire.Code
		says   string
	}{
		{"end before its start", nil, ListOptions{From: []byte("b"), To: []byte("a")}, wire.CodeBadRequest, `field to: "a"`},
		{"end at its start", nil, ListOptions{From: []byte("a"), To: []byte("a")}, wire.CodeBadRequest, `field to: "a"`},
		{"start beyond the prefix", []byte("a/"), ListOptions{From: []byte("b")}, wire.CodeBadRequest, `field from: "b"`},
		{"end before the prefix", []byte("b/"), ListOptions{To: []byte("a"), Descending: true}, wire.CodeBadRequest, `field to: "a"`},
		{"limit below 0", nil, ListOptions{Limit: -1}, wire.CodeBadRequest, "limit -1"},
		{"long prefix", long, ListOptions{}, wire.CodeTooLarge, "4097 bytes"},
		{"long after", nil, ListOptions{After: long}, wire.CodeTooLarge, "4097 bytes"},
	} {
		for _, err := range c.List(within(t, 10*time.Second), x.prefix, x.o) {
			if codeOf(err) != x.code || !strings.Contains(err.Error(), x.says) {
				t.Errorf("%s: %v, want code %v with %q", x.name, err, x.code, x.says)
			}
		}
		if _, err := Count(within(t, 10*time.Second), c, x.prefix, x.o); codeOf(err) != x.code {
			t.Errorf("count, %s: %v", x.name, err)
		}
	}
	for _, o := range []ListOptions{{Limit: 1}, {Descending: true}, {Local: true}} {
		if _, err := Count(within(t, 10*time.Second), c, nil, o); codeOf(err) != wire.CodeBadRequest {
			t.Errorf("count %+v: %v", o, err)
		}
	}
}

// A count goes on after a key as a listing does: where nothing is left it is 0, and no error about bounds that the
// caller did not give.
func TestCountAfterTheLastKey(t *testing.T) {
	f := newFake(t, 1, 2)
	f.move(0, 1) // from here on slots move, and listings name theirs
	f.atLevel(shardmap.RangesLevel)
	c := f.open(Options{})
	ctx := within(t, busyMax)
	for _, key := range []string{"a/1", "a/2", "b"} {
		if _, err := c.Set(ctx, []byte(key), nil, WriteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, x := range []struct {
		prefix string
		o      ListOptions
		want   int
	}{
		{"", ListOptions{After: []byte("a/1")}, 2},
		{"a/", ListOptions{After: []byte("a/1")}, 1},
		{"a/", ListOptions{After: []byte("b")}, 0},
		{"", ListOptions{After: []byte("a/2"), To: []byte("a/2")}, 0},
		{"", ListOptions{After: []byte("c"), From: []byte("a"), To: []byte("b")}, 0},
	} {
		listed := 0
		for _, err := range c.List(ctx, []byte(x.prefix), x.o) {
			if err != nil {
				t.Fatal(err)
			}
			listed++
		}
		if n, err := Count(ctx, c, []byte(x.prefix), x.o); err != nil || n != uint64(x.want) || listed != x.want {
			t.Errorf("%q with %+v: %d are counted, %v, and %d listed; want %d", x.prefix, x.o, n, err, listed, x.want)
		}
	}
}

// A node's own copies of two groups may both have a key, while its slot moves: a listing
// of them shows it once, the newer one.
func TestLocalListingShowsAKeyOnce(t *testing.T) {
	r := &Routes{Epoch: 7, Level: shardmap.MovesLevel}
	for s := range r.Group {
		r.Group[s] = raft.GroupID(1 + s%2)
	}
	l := NewListing(nil, ListOptions{Local: true, Limit: 3})
	if _, step, _ := l.Next(); step != ListPlan {
		t.Fatalf("step %d, want a plan", step)
	}
	l.Plan(r)
	for _, s := range l.Take() {
		q := s.Scan()
		if q.Mode != wire.ReadLocal || len(q.Slots) == 0 || q.Epoch != 0 {
			t.Errorf("got %+v, want the slots of the group in the copy that is here", q)
		}
		a := wire.ListAnswer{Group: q.Group, Count: 3}
		for _, k := range []string{"a", "b", []string{"c", "d"}[q.Group-1]} {
			a.Rows = wire.AppendListRow(a.Rows, []byte(k), uint64(q.Group), []byte("v"))
		}
		_, attempt := s.Begin(nil)
		s.Piece(attempt, a.Append(nil))
	}
	got := ""
	for range 3 {
		item, step, err := l.Next()
		if step != ListHas || err != nil {
			t.Fatalf("step %d, %v", step, err)
		}
		got += fmt.Sprintf("%s%d ", item.Key, item.Version)
	}
	if want := "a2 b2 c1 "; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// Any error but that slots have moved ends a listing, after what came before it. So
// does a piece that can't be: of another group, or with keys that came before.
func TestListingEndsWithAnError(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		name  string
		group raft.GroupID
		key   string // of the second piece; "": the stream ends
		want  error
	}{
		{"an error", 1, "", broken},
		{"another group", 2, "d", nil},
		{"an old key", 1, "b", errOutOfOrder},
	} {
		x := &listed{t: t, random: rand.New(rand.NewPCG(1, 1)), owners: &Routes{Epoch: 1}, keys: []string{"a", "b", "c"}}
		for s := range x.owners.Group {
			x.owners.Group[s] = 1
		}
		l := NewListing(nil, ListOptions{})
		next := func(want ListStep) {
			t.Helper()
			if _, step, err := l.Next(); step != want || err != nil {
				t.Fatalf("%s: step %d, %v; want %d", c.name, step, err, want)
			}
		}
		next(ListPlan)
		l.Plan(x.owners)
		s := l.Take()[0]
		v := x.begin(s)
		next(ListWait)
		a := x.page(v)
		a.More = true
		s.Piece(v.attempt, a.Append(nil))
		if c.key == "" {
			s.Finish(broken)
		} else {
			s.Piece(v.attempt, (&wire.ListAnswer{Group: c.group, Count: 1, Rows: wire.AppendListRow(nil, []byte(c.key), 1, nil)}).Append(nil))
		}
		for range 3 {
			next(ListHas)
		}
		if _, _, err := l.Next(); err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: got %v", c.name, err)
		}
	}
}

// A stream holds no more than its window, whether it begins once or often, but for a
// row that is larger than a piece.
func TestStreamHoldsItsWindow(t *testing.T) {
	const window, piece = 4096, 1024
	s := newStream(wire.Scan{Group: 1, PieceBytes: piece}, window)
	held, key := uint64(0), 0
	for range 5 { // attempts, of which nothing is used
		var q wire.Scan
		body, attempt := s.Begin(nil)
		if err := q.Read(body); err != nil {
			t.Fatal(err)
		}
		for sent := uint64(0); sent+piece <= q.Window; {
			key++
			a := wire.ListAnswer{Group: 1, More: true, Count: 1, Rows: wire.AppendListRow(nil, fmt.Appendf(nil, "%04d", key), 1, make([]byte, 700))}
			body := a.Append(nil)
			s.Piece(attempt, body)
			sent += uint64(len(body))
			held += uint64(len(body))
		}
		if held > window {
			t.Fatalf("it holds %d bytes, its window is %d", held, window)
		}
		if _, _, due := s.Grant(); due {
			t.Fatal("it grants more, and nothing was used")
		}
	}
	for n := 1; n <= key; n++ {
		a, there, _, err := s.next()
		if k, _, _, _ := a.Next(); !there || err != nil || string(k) != fmt.Sprintf("%04d", n) {
			t.Fatalf("got %q, %t, %v; want key %d", k, there, err, n)
		}
	}
	s.next()
	if g, _, due := s.Grant(); !due || g.Limit < window {
		t.Errorf("all is used, and it grants %d", g.Limit)
	}
}
