package pointwriter

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/points"
	"muster/shardmap/points/line"
	"muster/shardmap/points/shard"
)

const (
	hour   = int64(time.Hour)
	noon   = 1_800_000_000_000_000_000 / hour * hour // of points
	groups = 3
)

// world is a cluster in memory: a table that is as new as can be, and the shards of its windows, which are the real ones.
type world struct {
	t *testing.T

	mu     sync.Mutex
	table  *shardmap.Table // the newest
	shown  *shardmap.Table // that a gateway gets which wants no newer one; nil: the newest
	shards map[shardmap.ShardID]*shard.Shard
	asked  map[int64]int // windows that are asked for now, by time
	asks   int
	entry  uint64
	refuse func(g raft.GroupID, p *shardmap.PointsBody) error // before the group stores; nil: it stores
	window func(q *wire.Window) error                         // before a window is made
	hint   func(p *shardmap.PointsBody) bool                  // a node keeps the points; nil: none does
	slow   func(g raft.GroupID) error                         // a majority does not have them in time, for that reason; nil: it has them at once
}

// newWorld returns a cluster with the database "metrics", whose default policy has windows of an hour of 4 shards and keeps
// points for two days.
func newWorld(t *testing.T) *world {
	w := &world{t: t, shards: map[shardmap.ShardID]*shard.Shard{}, asked: map[int64]int{}}
	w.table = &shardmap.Table{Index: 10, Level: shardmap.PointsLevel}
	w.table.Catalog.Databases = []shardmap.Database{{ID: 5, Name: "metrics", Default: 6}, {ID: 7, Name: "bare"}}
	w.table.Catalog.Policies = []shardmap.Policy{{ID: 6, Database: 5, Name: "autogen", Duration: 48 * time.Hour, WindowDuration: time.Hour, Shards: 4}}
	return w
}

func (w *world) Table(_ context.Context, above uint64) (*shardmap.Table, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.shown != nil && w.shown.Index > above {
		return w.shown, nil
	}
	return w.table, nil
}

// change makes the next table. The caller holds mu.
func (w *world) change(f func(c *shardmap.Catalog)) {
	next := *w.table
	next.Index++
	next.Catalog.Windows = slices.Clone(next.Catalog.Windows)
	next.Catalog.Databases = slices.Clone(next.Catalog.Databases)
	f(&next.Catalog)
	w.table = &next
}

func (w *world) Window(_ context.Context, q *wire.Window) (*wire.WindowAnswer, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asks++
	if w.window != nil {
		if err := w.window(q); err != nil {
			return nil, err
		}
	}
	c := &w.table.Catalog
	p, ok := c.Policy(shardmap.PolicyID(q.Policy))
	if d, _ := c.Database(p.Database); !ok || d.Name != q.Database {
		return nil, wire.NotFound("policy", "there is none", "")
	}
	in, ok := c.WindowAt(p.ID, q.Time)
	if !ok {
		span := c.NewSpan(&p, q.Time)
		in = shardmap.Window{ID: shardmap.WindowID(w.table.Index + 1), Policy: p.ID, Start: span.First, End: span.Last + 1, Truncated: span.Last + 1}
		for i := range p.Shards {
			in.Shards = append(in.Shards, raft.GroupID(1+i%groups))
		}
		if in.Over(&p, noon) {
			return nil, wire.Conflict("window", "its points are no longer kept")
		}
		w.change(func(c *shardmap.Catalog) {
			i, _ := slices.BinarySearchFunc(c.Windows, in.Start, func(o shardmap.Window, start int64) int { return int(min(1, max(-1, o.Start-start))) })
			c.Windows = slices.Insert(c.Windows, i, in)
		})
	}
	return &wire.WindowAnswer{Index: w.table.Index, Window: uint64(in.ID), Start: in.Start, End: in.End, Truncated: in.Truncated, Shards: in.Shards}, nil
}

func (w *world) Takes(l Level) error { return l.Takes() }

func (w *world) Bring(ctx context.Context, g raft.GroupID, p *shardmap.PointsBody, l Level, wait time.Duration) (b Brought, err error) {
	if w.slow != nil && (l == One || l == Any) {
		if why := w.slow(g); why != nil {
			time.Sleep(wait) // in a bubble
			if wait == 0 {
				why = nil
			}
			return Brought{Hinted: true, Why: why}, nil
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refuse != nil {
		if err := w.refuse(g, p); err != nil {
			return b, err
		}
	}
	if w.hint != nil && w.hint(p) {
		return Brought{Hinted: true}, nil
	}
	in, ok := w.table.Catalog.Window(p.Shard.Window)
	d, _ := w.table.Catalog.Database(p.Shard.Database)
	switch {
	case !ok || d.Name != p.Name:
		return b, &wire.Error{Code: wire.CodeMoved, Object: p.Shard.String(), Text: "no such window"}
	case in.Shards[p.Shard.Shard] != g || int(p.Shard.Shards) != len(in.Shards) || p.Shard.Span != in.Span() || in.Policy != p.Shard.Policy || p.Mode != shardmap.PointsWrite:
		w.t.Errorf("group %d gets points for %+v, the window is %+v", g, p.Shard, in)
		return b, wire.BadRequest("points", "wrong", "")
	}
	of := w.shards[p.Shard.ShardID]
	if of == nil {
		of = shard.New(p.Shard.Span)
		w.shards[p.Shard.ShardID] = of
	}
	batch, err := new(points.ShareReader).Read(p.Share, p.Shard.Span)
	if err != nil {
		w.t.Error(err)
		return b, err
	}
	for x := range batch.Series() {
		if got := points.HashOf(x.Key()).Shard(p.Shard.Shards); got != p.Shard.Shard {
			w.t.Errorf("%s belongs to shard %d, and comes to %d", x.Key(), got, p.Shard.Shard)
		}
	}
	w.entry++
	r := of.Apply(batch, shard.Write)
	b.Answer = client.PointsAnswer{Group: g, ID: raft.LogID{Term: 1, Index: w.entry}}
	b.Answer.Outcome.Stored, b.Answer.Outcome.Dropped = uint64(r.Stored), uint64(r.Dropped)
	for _, f := range r.Refused {
		why := shardmap.PointsRefusal{Reason: shardmap.RefusedKind, Measurement: f.Measurement, Field: f.Field, Kind: f.Reason.Kind, Has: f.Reason.Had}
		if f.Reason.Reason == points.KeyTooLong {
			why.Reason = shardmap.RefusedLength
		}
		b.Answer.Outcome.Refused = append(b.Answer.Outcome.Refused, why)
	}
	return b, nil
}

// values counts the values that all shards have got, each as often as it came.
func (w *world) values() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.shards {
		n += int(s.HeadValues())
	}
	return n
}

// request is a write to the database, at noon.
func request(format string, args ...any) *Request {
	return &Request{Database: "metrics", Precision: line.Nanosecond, Now: noon, Text: fmt.Appendf(nil, format, args...)}
}
