package queries

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/points/query"
	"muster/shardmap/points/rows"
)

// ran is what became of a request.
type ran struct {
	results []rows.Result
	err     error // that refused all of it
	took    time.Duration
}

// run carries out a text over the database of the world.
func (w *world) run(c *client.Client, ctx context.Context, text string, change ...func(*Request)) (r ran) {
	q := &Request{Database: "metrics", Text: text}
	for _, f := range change {
		f(q)
	}
	began := time.Now()
	x := Runner{Client: c, Activity: Cluster{c}, ID: 77, Now: func() time.Time { return time.Unix(0, int64(100*time.Hour)) }}
	r.err = x.Run(ctx, q, func(result rows.Result) bool { r.results = append(r.results, result); return true })
	r.took = time.Since(began)
	return r
}

// sum is the only value of the only row of a result, behind its time.
func (r *ran) sum() float64 {
	if r.err != nil || len(r.results) != 1 || r.results[0].Err != nil || len(r.results[0].Series) != 1 || len(r.results[0].Series[0].Values) != 2 {
		return -1
	}
	return r.results[0].Series[0].Values[1].Float()
}

const sums = "SELECT sum(v) FROM m WHERE time >= 0"

// A query asks each shard of its span once for each round, wherever that is by now. One would doubt that a shard which has moved between the table
// at hand and the question is counted once, one whose window has gone not at all, and that a node with an old table ends it.
func TestAsksShards(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world, c *client.Client) {
		for i := range int64(12) {
			w.add(i, 1, float64(int64(1)<<i))
		}
		if r := w.run(c, t.Context(), sums); r.sum() != 1<<12-1 || w.asks[1] != 24 {
			t.Errorf("12 shards: %+v, %d questions", r, w.asks[1])
		}
		if r := w.run(c, t.Context(), "SELECT sum(v) FROM m WHERE time >= 2h AND time < 4h"); r.sum() != 4+8 || w.asks[1] != 28 {
			t.Errorf("two hours: %+v, %d questions", r, w.asks[1])
		}
		// Between the table and the questions one shard goes to the other group, and one window goes. The node's table follows after a while.
		behind, questions := 3, 0
		old := w.table
		w.set(func() {
			now := *old
			now.Index++
			now.Catalog.Windows = slices.Clone(old.Catalog.Windows)
			now.Catalog.Windows[3].Shards = append(now.Catalog.Windows[3].Shards[:0:0], 2)
			now.Catalog.Windows = slices.Delete(now.Catalog.Windows, 5, 6)
			w.nodes[0].order = func(h wire.Header) fate {
				switch h.Type {
				case wire.TypeTable:
					questions++
					if w.table = old; questions > behind {
						w.table = &now
					}
				case wire.TypePointsQuery:
					w.table = &now // of the group
				}
				return fate{}
			}
		})
		if r := w.run(c, t.Context(), sums); r.sum() != 1<<12-1-1<<5 || questions <= behind || r.took < movedPause {
			t.Errorf("a shard and a window are elsewhere: %+v, %g after %d tables", r, r.sum(), questions)
		}
		// The database is gone: what was its shard is nobody's.
		w.set(func() {
			gone := *old
			gone.Index += 2
			gone.Catalog = shardmap.Catalog{}
			asked := false
			w.table = old
			w.nodes[0].order = func(h wire.Header) fate {
				if h.Type == wire.TypePointsQuery {
					w.table, asked = &gone, true
				} else if h.Type == wire.TypeTable && !asked {
					w.table = old
				}
				return fate{}
			}
		})
		var missing *NotFoundError
		if r := w.run(c, t.Context(), sums); len(r.results) != 1 || !errors.As(r.results[0].Err, &missing) || missing.Name != "metrics" {
			t.Errorf("the database is gone: %+v", r)
		}
	})
}

// A query ends by its own time, by a user who ends it, by a caller who no longer waits for it, by its memory, or by a shard that refuses; the reason is the answer, and what
// stands behind the statement is not carried out.
func TestEndsOfQueries(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world, c *client.Client) {
		for i := range int64(3) {
			w.add(i, 1, 1)
		}
		silent := func(h wire.Header) fate { return fate{silent: h.Type == wire.TypePointsQuery} }
		refuses := func(h wire.Header) (f fate) {
			if h.Type == wire.TypePointsQuery {
				f.refuse = wire.TooLarge("query", "it needs more series than it was given", "name tags")
			}
			return f
		}
		var took *TimeError
		var limit *query.LimitError
		var refused *wire.Error
		for name, c := range map[string]struct {
			order  func(wire.Header) fate
			change func(*Request)
			ends   error // cause with which the caller stops after two seconds; nil: he does not
			after  time.Duration
			is     func(error) bool
		}{
			"time":  {silent, func(q *Request) { q.Limits.Time = 7 * time.Second }, nil, 7 * time.Second, func(err error) bool { return errors.As(err, &took) && took.Max == 7*time.Second }},
			"ended": {silent, nil, ErrEnded, 2 * time.Second, func(err error) bool { return errors.Is(err, ErrEnded) }},
			"left":  {silent, nil, context.Canceled, 2 * time.Second, func(err error) bool { return errors.Is(err, context.Canceled) }},
			"memory": {nil, func(q *Request) { q.Limits.Memory = 400 }, nil, 0, func(err error) bool {
				return errors.As(err, &limit) && limit.Remedy != "" || errors.As(err, &refused) && refused.Code == wire.CodeTooLarge
			}},
			"a shard": {refuses, nil, nil, 0, func(err error) bool { return errors.As(err, &refused) && refused.Code == wire.CodeTooLarge }},
		} {
			w.set(func() { w.nodes[0].order = c.order })
			ctx, end := context.WithCancelCause(t.Context())
			if c.ends != nil {
				time.AfterFunc(2*time.Second, func() { end(c.ends) })
			}
			client := w.open(0)
			var change []func(*Request)
			if c.change != nil {
				change = append(change, c.change)
			}
			r := w.run(client, ctx, sums+"; SHOW DATABASES", change...)
			if r.err != nil || r.took != c.after || len(r.results) != 2 || !c.is(r.results[0].Err) || !errors.Is(r.results[1].Err, errNotExecuted) {
				t.Errorf("%s: %+v", name, r)
			}
			end(nil)
			client.Close()
		}
	})
}

// A text is refused as a whole before it costs, where it is none, changes something though it may not, or the user may not read or nobody can answer at the
// moment; other errors are of their statement.
func TestRefusedTexts(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world, c *client.Client) {
		w.add(0, 1, 1)
		var text *TextError
		var refused *wire.Error
		var missing *NotFoundError
		code := func(want wire.Code) func(error) bool {
			return func(err error) bool { return errors.As(err, &refused) && refused.Code == want }
		}
		isText := func(err error) bool { return errors.As(err, &text) }
		readOnly := func(q *Request) { q.ReadOnly = true }
		for _, x := range []struct {
			text   string
			change func(*Request)
			order  func(wire.Header) fate
			denied bool
			all    bool // the text is refused as a whole
			is     func(error) bool
		}{
			{text: "SELECT", all: true, is: isText},
			{text: sums, change: func(q *Request) { q.Limits.Time = TimeMax + 1 }, all: true, is: isText},
			{text: sums, change: func(q *Request) { q.Limits.Memory = -1 }, all: true, is: isText},
			{text: sums, change: func(q *Request) { q.Limits.Series = SeriesMax + 1 }, all: true, is: isText},
			{text: "SHOW DATABASES; DROP DATABASE metrics", change: readOnly, all: true, is: func(err error) bool {
				return isText(err) && strings.Contains(err.Error(), "DROP DATABASE changes something")
			}},
			{text: "KILL QUERY 7", change: readOnly, all: true, is: isText},
			{text: sums, denied: true, all: true, is: code(wire.CodeUnauthorized)},
			{text: sums, order: func(h wire.Header) (f fate) {
				if h.Type == wire.TypeCanI {
					f.refuse = &wire.Error{Code: wire.CodeLevel, Object: "question", Text: "the cluster is below the level"}
				}
				return f
			}, all: true, is: code(wire.CodeLevel)},
			{text: "SELECT sum(v) FROM gone..m", is: func(err error) bool { return errors.As(err, &missing) && missing.Name == "gone" }},
			{text: "SELECT sum(v) FROM metrics.gone.m", is: func(err error) bool { return errors.As(err, &missing) && missing.What == "retention policy" }},
			{text: sums, change: func(q *Request) { q.Database = "" }, is: func(err error) bool { return err != nil && err.Error() == "database name required" }},
			{text: "KILL QUERY 7", is: func(err error) bool { return errors.As(err, &missing) && missing.What == "query" }},
		} {
			w.set(func() { w.nodes[0].order, w.may = x.order, func(*wire.CanI) bool { return !x.denied } })
			var change []func(*Request)
			if x.change != nil {
				change = append(change, x.change)
			}
			r := w.run(c, t.Context(), x.text, change...)
			err := r.err
			if !x.all && len(r.results) == 1 {
				err = r.results[0].Err
			}
			if !x.is(err) || x.all != (r.err != nil) || x.all && len(r.results) > 0 {
				t.Errorf("%s: %+v", x.text, r)
			}
		}
		// A second statement that the user may not carry out is an error of its own: the rows of the first are out.
		w.set(func() { w.nodes[0].order, w.may = nil, func(*wire.CanI) bool { return false } })
		if r := w.run(c, t.Context(), "SHOW DATABASES; "+sums); r.err != nil || len(r.results) != 2 || r.results[0].Err != nil || !code(wire.CodeUnauthorized)(r.results[1].Err) {
			t.Errorf("the second statement: %+v", r)
		}
		// A caller who reads no further costs no more questions.
		w.set(func() { w.may, w.asks[1] = nil, 0 })
		results := 0
		x := Runner{Client: c, Activity: Cluster{c}}
		if err := x.Run(t.Context(), &Request{Database: "metrics", Text: "SHOW DATABASES; " + sums}, func(rows.Result) bool { results++; return false }); err != nil || results != 1 || w.asks[1] != 0 {
			t.Errorf("nobody reads: %v after %d results, %d questions", err, results, w.asks[1])
		}
	})
}
