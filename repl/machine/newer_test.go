package machine_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"muster/repl/wire"
	"muster/shardmap"
)

// newerRequests are what nodes of a build below some level do not know.
var newerRequests = []struct {
	what  string
	level uint32
	t     wire.Type
	body  wire.Body
}{
	{"the leases of a slot", shardmap.LeasesLevel, wire.TypeLeases, &wire.Leases{Group: 1, Slots: []shardmap.SlotRange{{From: 0, To: 0}}}},
	{"a watch", shardmap.LeasesLevel, wire.TypeWatch, &wire.Watch{Group: 1, Slots: []shardmap.SlotRange{{From: 0, To: 0}}, PieceBytes: wire.StreamPieceMin, Now: true}},
	{"a stream of the table", shardmap.LeasesLevel, wire.TypeTableStream, &wire.TableStream{PieceBytes: wire.StreamPieceMin}},
	{"a bounded get", shardmap.LeasesLevel, wire.TypeGet, &wire.Get{Mode: wire.ReadBounded, Keys: keysOf("k1"), Stale: 1000}},
	{"the versions of a key", shardmap.RangesLevel, wire.TypeHistory, &wire.History{Group: 1, Key: []byte("k")}},
	{"a list with an end", shardmap.RangesLevel, wire.TypeList, &wire.List{Group: 1, Span: wire.Span{To: []byte("k")}}},
	{"a count", shardmap.RangesLevel, wire.TypeList, &wire.List{Group: 1, Span: wire.Span{Counting: true}}},
	{"a question for a shard", shardmap.PointsLevel, wire.TypePointsQuery, &wire.PointsQuery{Group: 1, Database: "metrics", Window: 7, Ask: wire.PointsOutline}},
	{"a descending scan", shardmap.RangesLevel, wire.TypeScan, &wire.Scan{Group: 1, PieceBytes: wire.StreamPieceMin, Span: wire.Span{Descending: true}}},
}

// While a cluster is upgraded some of its members do not know what has come with the newer
// build. Nothing of that is passed on to them, or begun: it is refused, with the level that
// it needs and the one that the cluster has.
func TestNewerRequestsBelowTheirLevel(t *testing.T) {
	for _, c := range newerRequests {
		q := newRequests(t)
		q.table.Level = c.level - 1
		q.take(c.t, c.body.Append(nil))
		_, _, e := q.asker.answer(t)
		if e == nil || e.Code != wire.CodeLevel || len(q.Reads()) != 0 || !strings.Contains(e.State, fmt.Sprintf("level %d, the cluster is at %d", c.level, c.level-1)) {
			t.Errorf("%s: %d reads, %v", c.what, len(q.Reads()), e)
		}
		// What means nothing is told so whatever the level.
		q.take(c.t, append(c.body.Append(nil), 0xc0))
		if _, _, e := q.asker.answer(t); e == nil || e.Code != wire.CodeBadRequest || !strings.Contains(e.Object, c.t.String()) {
			t.Errorf("%s with a byte more: %v", c.what, e)
		}
	}
}

// A get says how old its answer may be, and any replica may answer it; the others get what
// is linearizable, or the node's own, whatever stands in a field that they don't send.
func TestBoundedGet(t *testing.T) {
	for _, c := range []struct {
		get        wire.Get
		local, any bool
		stale      time.Duration
	}{
		{wire.Get{Mode: wire.ReadBounded, Stale: 1500}, false, true, 1500 * time.Millisecond},
		{wire.Get{Mode: wire.ReadBounded}, false, true, 0},
		{wire.Get{Mode: wire.ReadFollower, Stale: 1500}, false, true, 0},
		{wire.Get{Mode: wire.ReadLinearizable, Stale: 1500}, false, false, 0},
		{wire.Get{Mode: wire.ReadLocal, Stale: 1500}, true, false, 0},
	} {
		q := newRequests(t)
		q.table.Level = shardmap.LeasesLevel
		c.get.Keys = keysOf("k1")
		q.take(wire.TypeGet, c.get.Append(nil))
		reads := q.Reads()
		if len(reads) != 1 || reads[0].Local != c.local || reads[0].AnyReplica != c.any || reads[0].Stale != c.stale {
			t.Errorf("mode %d, %d ms: %+v", c.get.Mode, c.get.Stale, reads)
		}
		// One query serves several gets, one after the other: none inherits an age.
		q.Clear()
		q.take(wire.TypeGet, (&wire.Get{Keys: keysOf("k1")}).Append(nil))
		if reads := q.Reads(); len(reads) != 1 || reads[0].Stale != 0 {
			t.Errorf("a get behind it: %+v", reads)
		}
	}
}
