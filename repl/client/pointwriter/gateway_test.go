package pointwriter

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/points"
	"muster/shardmap/points/line"
)

// counted fails the test unless the numbers of a write are those.
func counted(t *testing.T, what string, r Result, err error, stored, dropped, failed int) {
	t.Helper()
	if err != nil || r.Stored != stored || r.DroppedPoints() != dropped || r.Failed != failed || r.Hinted != 0 {
		t.Errorf("%s: got %v, %v; want %d stored, %d dropped, %d failed", what, r, err, stored, dropped, failed)
	}
	if n := r.Stored + r.Hinted + r.DroppedPoints() + r.Failed; n != r.Lines.Points {
		t.Errorf("%s: %v makes %d points, there are %d", what, r, n, r.Lines.Points)
	}
	if (r.Failed > 0) != (r.Why != "") {
		t.Errorf("%s: %v; the reason is %q", what, r, r.Why)
	}
}

// Each point of a text ends in one number, whichever groups fail, windows are missing, lines are bad, fields are of
// another kind, and windows go while shares are under way. A point that is stored is in its shard.
func TestWriteCounts(t *testing.T) {
	for seed := range uint64(12) {
		random := rand.New(rand.NewPCG(seed, 1))
		w, g := newWorld(t), NewGateway(0)
		for round := range 6 {
			var text strings.Builder
			for i := range 1 + random.IntN(200) {
				at := noon - random.Int64N(60*hour)
				switch random.IntN(20) {
				case 0:
					fmt.Fprintf(&text, "m,host=h%d v=\"x\" %d\n", random.IntN(20), at) // of another kind, unless it is the first one
				case 1:
					fmt.Fprintf(&text, "m,host=h%d %d\n", i, at)
				default:
					fmt.Fprintf(&text, "m,host=h%d v=%d,w%d=1i %d\n", random.IntN(20), i, round, at)
				}
			}
			sick := raft.GroupID(random.IntN(2 * groups)) // none of it may be sick
			drops := random.IntN(3)
			w.refuse = func(to raft.GroupID, p *shardmap.PointsBody) error {
				if to == sick {
					return wire.Unavailable("group", "it has no leader")
				}
				if drops > 0 && random.IntN(10) == 0 {
					drops--
					w.shown = w.table // gateways are behind from now on
					w.change(func(c *shardmap.Catalog) {
						for i := range c.Windows {
							if c.Windows[i].ID == p.Shard.Window {
								c.Windows = append(c.Windows[:i:i], c.Windows[i+1:]...)
								break
							}
						}
					})
				}
				return nil
			}
			r, err := g.Write(t.Context(), w, request("%s", text.String()))
			counted(t, fmt.Sprintf("seed %d, round %d", seed, round), r, err, r.Stored, r.DroppedPoints(), r.Failed)
			if sick > groups && r.Failed > 0 {
				t.Errorf("seed %d, round %d: no group was sick, and %v", seed, round, r)
			}
			w.shown = nil
		}
		if g.budget.used.Load() != 0 {
			t.Fatalf("seed %d: %d bytes are taken after all writes", seed, g.budget.used.Load())
		}
	}
}

// A share whose window has gone is taken apart anew, with what is there by then.
func TestWriteMoved(t *testing.T) {
	w, g := newWorld(t), NewGateway(0)
	r, err := g.Write(t.Context(), w, request("m v=1 %d\nm v=1 %d", noon, noon-hour))
	counted(t, "first", r, err, 2, 0, 0)
	w.shown = w.table
	w.change(func(c *shardmap.Catalog) { c.Windows = c.Windows[1:] }) // that of noon-hour
	r, err = g.Write(t.Context(), w, request("m v=2 %d\nm v=2 %d", noon+1, noon-hour+1))
	counted(t, "a window less", r, err, 2, 0, 0)
	if w.asks != 3 {
		t.Errorf("%d windows were asked for, want 3: two, and that which had gone", w.asks)
	}
	if n := w.values(); n != 4 {
		t.Errorf("%d values are there, want 4", n)
	}
	w.shown = w.table
	w.change(func(c *shardmap.Catalog) { c.Databases[0].ID = 11 }) // dropped, and made again
	r, err = g.Write(t.Context(), w, request("m v=3 %d", noon+2))
	counted(t, "another database", r, err, 0, 0, 1)
}

// A text that wants more windows than one write may have made gets so many, and fails for the rest; it does not cost more, however
// many times it has.
func TestWriteManyWindows(t *testing.T) {
	w, g := newWorld(t), NewGateway(0)
	w.table.Catalog.Policies[0].Duration = 0 // for ever
	var text strings.Builder
	const times = 20_000
	for i := range int64(times) {
		fmt.Fprintf(&text, "m v=1 %d\n", noon-i*hour)
	}
	r, err := g.Write(t.Context(), w, request("%s", text.String()))
	counted(t, "many windows", r, err, MissingMax, 0, times-MissingMax)
	if w.asks != MissingMax || !strings.Contains(r.Why, "256 windows") {
		t.Errorf("%d windows were asked for, %v", w.asks, r)
	}
	// If they are too old, the leader is asked about few of them, and not again by the next write.
	w, g = newWorld(t), NewGateway(0)
	r, err = g.Write(t.Context(), w, request("%s", text.String()))
	counted(t, "old points", r, err, 49, times-49, 0)
	asks := w.asks
	if asks > 49+2*AsksMax {
		t.Errorf("%d windows were asked for, 49 were made", asks)
	}
	r, err = g.Write(t.Context(), w, request("m v=1 %d\nm v=1 %d", noon-100*hour, noon-1000*hour))
	counted(t, "again", r, err, 0, 2, 0)
	if len(r.Dropped) != 1 || r.Dropped[0].Reason != BeyondRetention || w.asks != asks {
		t.Errorf("got %v, after %d more questions", r, w.asks-asks)
	}
	// The reason names a time before which the policy takes none, and not the first of all times.
	var before time.Time
	if _, text, ok := strings.Cut(r.Dropped[0].Example, "takes none before "); ok {
		before, err = time.Parse(time.RFC3339, text)
	}
	if err != nil || !before.After(time.Unix(0, noon-100*hour)) || before.After(time.Unix(0, noon)) {
		t.Errorf("%q: want a time between that of the points and noon, %v", r.Dropped[0].Example, err)
	}
}

// Many writes that want a window at once ask for it once at a time, and one whose time is over does not end the others.
func TestWriteAsksOnce(t *testing.T) {
	w, g := newWorld(t), NewGateway(0)
	w.window = func(q *wire.Window) error { // the caller holds mu
		if w.asked[q.Time]++; w.asked[q.Time] == 1 {
			return wire.Unavailable("group 0", "it has no leader")
		}
		return nil
	}
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			r, err := g.Write(t.Context(), w, request("m,host=h%d v=1 %d", i, noon))
			if err != nil || r.Stored+r.Failed != 1 {
				t.Errorf("got %v, %v", r, err)
			}
		})
	}
	all.Wait()
	if len(w.table.Catalog.Windows) != 1 || len(g.asks.flying) != 0 {
		t.Errorf("there are %d windows, and %d questions", len(w.table.Catalog.Windows), len(g.asks.flying))
	}
}

// Points of which nobody knows whether they are stored when the time is over have failed.
func TestWriteOutOfTime(t *testing.T) {
	w, g := newWorld(t), NewGateway(0)
	ctx, cancel := context.WithCancel(t.Context())
	w.refuse = func(to raft.GroupID, _ *shardmap.PointsBody) error {
		if to == 1 {
			return nil
		}
		cancel()
		return wire.MaybeApplied("group", "no answer in time")
	}
	var text strings.Builder
	for i := range 100 {
		fmt.Fprintf(&text, "m,host=h%d v=1 %d\n", i, noon-int64(i%3)*hour)
	}
	r, err := g.Write(ctx, w, request("%s", text.String()))
	counted(t, "out of time", r, err, w.values(), 0, 100-w.values())
	if r.Failed == 0 {
		t.Errorf("got %v", r)
	}
}

// A write is refused before it costs: each refusal says what it is about, and nothing is stored.
func TestWriteRefused(t *testing.T) {
	w, g := newWorld(t), NewGateway(10<<20)
	q := func(change func(q *Request)) *Request {
		q := request("m v=1")
		change(q)
		return q
	}
	for _, c := range []struct {
		q    *Request
		want error
		text string
	}{
		{q(func(q *Request) { q.Database = "gone" }), new(UnknownDatabaseError), `database "gone" is not there; make it: muster db create gone`},
		{q(func(q *Request) { q.Policy = "gone" }), new(UnknownPolicyError), `database "metrics" has no policy "gone"`},
		{q(func(q *Request) { q.Database = "bare" }), new(UnknownPolicyError), `database "bare" has no default policy`},
		{q(func(q *Request) { q.Level = 99 }), new(LevelError), "level 99"},
		{q(func(q *Request) { q.Text = make([]byte, 1<<20) }), new(wire.Error), "busy: writes of points"},
	} {
		r, err := g.Write(t.Context(), w, c.q)
		if err == nil || fmt.Sprintf("%T", err) != fmt.Sprintf("%T", c.want) || !strings.Contains(err.Error(), c.text) || r.Stored != 0 {
			t.Errorf("%+.60v: got %v, %v; want %T, %s", c.q, r, err, c.want, c.text)
		}
	}
	g = NewGateway(0)
	var full points.Error
	if _, err := g.Write(t.Context(), w, q(func(q *Request) { q.Text = make([]byte, line.TextMax+1) })); !errors.As(err, &full) || full.Reason != points.BatchTooLong {
		t.Errorf("a text of %d bytes: %v", line.TextMax+1, err)
	}
	w.refuse = func(raft.GroupID, *shardmap.PointsBody) error {
		return wire.Unauthorized("write", "no role allows it", "ask an administrator")
	}
	var e *wire.Error
	if r, err := g.Write(t.Context(), w, request("m v=1 %d", noon)); !errors.As(err, &e) || e.Code != wire.CodeUnauthorized {
		t.Errorf("without the right: %v, %v", r, err)
	}
	if n := w.values(); n != 0 {
		t.Errorf("%d values are there, want none", n)
	}
}

// Rights are of the whole database, but nodes see a change of them one after the other: one group refuses what another one takes, or does
// not get to refuse. That the caller may not write is the answer only where each point was answered so. Else it is to be sent
// again, and a client that is told 403 throws it away.
func TestWriteRightsOfParts(t *testing.T) {
	denied, gone := wire.Unauthorized("write", "no role allows it", "ask an administrator"), wire.Unavailable("group", "no leader")
	var text strings.Builder
	for i := range 50 {
		fmt.Fprintf(&text, "m,host=h%d v=1 %d\n", i, noon)
	}
	for what, c := range map[string]struct {
		groups [groups + 1]error
		window error
		want   bool // the caller may not write
	}{
		"all":                            {[groups + 1]error{1: denied, 2: denied, 3: denied}, nil, true},
		"one, the others take it":        {[groups + 1]error{1: denied}, nil, false},
		"one, the others have no leader": {[groups + 1]error{1: denied, 2: gone, 3: gone}, nil, false},
		"the meta group":                 {[groups + 1]error{}, denied, true},
	} {
		w := newWorld(t)
		if c.window != nil {
			w.window = func(*wire.Window) error { return c.window }
		}
		w.refuse = func(g raft.GroupID, _ *shardmap.PointsBody) error { return c.groups[g] }
		r, err := NewGateway(0).Write(t.Context(), w, request("%s", text.String()))
		var e *wire.Error
		if got := errors.As(err, &e) && e.Code == wire.CodeUnauthorized; got != c.want {
			t.Errorf("%s: %v, %v", what, r, err)
		}
		if !c.want && (r.Failed == 0 || r.Stored != w.values() || r.Stored+r.Failed != 50) {
			t.Errorf("%s: %v, %d values are there", what, r, w.values())
		}
	}
}

// stuck is a world in which windows, or points of a time, wait for a leader until the write's time is over.
type stuck struct {
	*world
	windows bool
	points  int64
}

func (s stuck) Window(ctx context.Context, q *wire.Window) (*wire.WindowAnswer, error) {
	if s.windows {
		<-ctx.Done()
		return nil, wire.Unavailable("group 0", "it has no leader")
	}
	return s.world.Window(ctx, q)
}

func (s stuck) Bring(ctx context.Context, g raft.GroupID, p *shardmap.PointsBody, l Level, wait time.Duration) (Brought, error) {
	if p.Shard.Span.Contains(s.points) {
		<-ctx.Done()
		return Brought{}, wire.Unavailable("group", "it has no leader")
	}
	return s.world.Bring(ctx, g, p, l, wait)
}

// A write must not fail as a whole because one of its points is of another time. While the meta group has no leader no window is made, and
// points that have one are brought all the same; while a group has none, windows are made for the others. Points without a window fail, at
// each level, and say why they are no hints.
func TestWriteBesideMissingWindows(t *testing.T) {
	for _, l := range []Level{Quorum, Any} {
		for what, s := range map[string]stuck{"no window is made": {windows: true}, "a group has no leader": {points: noon}} {
			synctest.Test(t, func(t *testing.T) {
				s.world = newWorld(t)
				g := NewGateway(0)
				r, err := g.Write(t.Context(), s.world, request("m v=1 %d", noon))
				counted(t, "with a window", r, err, 1, 0, 0)
				q := request("m v=2 %d\nm v=2 %d", noon+1, noon-5*hour)
				q.Level = l
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				r, err = g.Write(ctx, s, q)
				counted(t, what, r, err, 1, 0, 1)
				if told := strings.Contains(r.Why, "can't be hinted"); !strings.Contains(r.Why, "it has no leader") || told != (l == Any && s.windows) {
					t.Errorf("%s, level %s: it failed because %q", what, l, r.Why)
				}
			})
		}
	}
}

// A group's word about fields of another kind reaches the client, and does not stop the others.
func TestWriteDropped(t *testing.T) {
	w, g := newWorld(t), NewGateway(0)
	r, err := g.Write(t.Context(), w, request("m v=1 %d\nbad\nn v=1i %d", noon, noon))
	counted(t, "first", r, err, 2, 0, 0)
	if r.Lines.Refused != 1 || r.Lines.Listed[0].Line != 2 || r.Whole() {
		t.Errorf("got %v; want line 2 to be refused", r)
	}
	r, err = g.Write(t.Context(), w, request("m v=\"x\" %d\nm v=\"y\",w=1 %d\nn v=2i %d", noon+1, noon+2, noon+1))
	counted(t, "another kind", r, err, 1, 2, 0)
	if len(r.Dropped) != 1 || r.Dropped[0].Reason != FieldConflict || !strings.Contains(r.Dropped[0].Example, `field "v" on measurement "m" is type string`) {
		t.Errorf("got %v", r)
	}
	// A time far ahead, for which there can be no window.
	w.window = func(*wire.Window) error {
		return wire.Conflict("window", "the policy has 4096 windows, as many as it may")
	}
	r, err = g.Write(t.Context(), w, request("m v=1 %d", noon+int64(1000*time.Hour)))
	counted(t, "far ahead", r, err, 0, 1, 0)
	if r.Dropped[0].Reason != TooFarAhead || !strings.Contains(r.Dropped[0].Example, "4096 windows") {
		t.Errorf("got %v", r)
	}
}

// A point whose fields take several pieces counts as hinted if one of them is a hint, and has failed if one of them has: it is told
// as kept only where all of it is. The piece with the first field counts the point, as often as it was written.
func TestWriteHintsOfPieces(t *testing.T) {
	const lines = 40 // of one point, each with a field that is the longest that it may be: more than three pieces take
	var text strings.Builder
	random := rand.New(rand.NewPCG(1, 2))
	for i := range lines {
		value := make([]byte, points.StringMax)
		for j := range value {
			value[j] = 'a' + byte(random.IntN(26))
		}
		fmt.Fprintf(&text, "m f%02d=\"%s\" %d\n", i, value, noon)
	}
	const stored, hinted, failed = 's', 'h', 'f'
	for _, c := range []struct {
		counting, other        byte // what becomes of the piece that counts the point, and of one other; the rest is stored
		stored, hinted, failed int
	}{
		{stored, stored, lines, 0, 0}, {stored, hinted, lines - 1, 1, 0}, {stored, failed, lines - 1, 0, 1},
		{hinted, stored, 0, lines, 0}, {hinted, hinted, 0, lines, 0}, {hinted, failed, 0, lines - 1, 1},
		{failed, stored, 0, 0, lines}, {failed, hinted, 0, 0, lines}, {failed, failed, 0, 0, lines},
	} {
		w, pieces, others := newWorld(t), 0, 0
		fate := byte(0)
		w.refuse = func(_ raft.GroupID, p *shardmap.PointsBody) error { // the caller holds mu
			batch, err := new(points.ShareReader).Read(p.Share, p.Shard.Span)
			if err != nil {
				return err
			}
			pieces++
			fate = 0
			for x := range batch.Series() {
				for column := range x.Columns() {
					if string(column.Name) == "f00" {
						fate = c.counting
					}
				}
			}
			if fate == 0 {
				if fate, others = stored, others+1; others == 1 {
					fate = c.other
				}
			}
			if fate == failed {
				return wire.MaybeApplied("group", "no answer in time")
			}
			return nil
		}
		w.hint = func(*shardmap.PointsBody) bool { return fate == hinted }
		r, err := NewGateway(0).Write(t.Context(), w, request("%s", text.String()))
		if err != nil || pieces < 3 || r.Stored != c.stored || r.Hinted != c.hinted || r.Failed != c.failed {
			t.Errorf("%d pieces, %c and %c: stored %d, hinted %d, failed %d, %v; want %d, %d, %d", pieces, c.counting, c.other, r.Stored, r.Hinted, r.Failed, err, c.stored, c.hinted, c.failed)
		}
	}
}
