package sim

import (
	"errors"
	"math"
	"slices"

	"github.com/cespare/xxhash/v2"

	"muster/raft"
	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/points/column"
	"muster/shardmap/points/query"
)

// draws reports whether a client's operation is to be one about points.
func (x *series) draws() bool { return x.people && x.own.below(seriesOps) == 0 }

// begin makes o an operation about points, if some node knows of a place for them.
func (x *series) begin(o *op) bool {
	in := x.catalog()
	if in == nil {
		return false
	}
	switch x.own.below(8) {
	case 0:
		return x.beginDelete(o, in)
	case 1, 2, 3:
		return x.beginAsk(o, in)
	}
	b, g, ok := x.share(in, o.number)
	if !ok {
		return false
	}
	if x.own.below(seriesHints) == 0 || x.c.leaderOf(g) == nil && x.own.below(2) == 0 {
		x.hand(g, b)
		return false
	}
	o.kind = opPoints
	brings(o, g, b.Command())
	return true
}

// brings makes an operation a command about points for a group.
func brings(o *op, g raft.GroupID, command shardmap.Command) {
	o.ofSeries, o.group, o.command = true, g, command
	o.call = client.Call{Owner: o, Target: client.ToGroup, Group: g, Write: true, Needs: shardmap.PointsLevel}
	o.body = wire.AppendWrite(nil, &command)
}

// beginDelete makes o a delete of a span from all shards that a group has of it.
func (x *series) beginDelete(o *op, in *shardmap.Catalog) bool {
	d := shardmap.PointsDelete{Name: seriesName, Measurement: []byte(seriesMeasurements[x.own.below(len(seriesMeasurements))]), First: math.MinInt64, Last: math.MaxInt64}
	if x.own.below(3) > 0 {
		d.First = x.time()
		d.Last = d.First + int64(x.own.below(30))*minute
	}
	for i := range seriesTags {
		if x.own.below(3) == 0 {
			d.Series = append(d.Series, seriesKey(string(d.Measurement), i))
		}
	}
	g := raft.GroupID(1 + x.own.below(len(x.c.truth)-1))
	for i := range in.Windows {
		w := &in.Windows[i]
		p, _ := in.Policy(w.Policy)
		for n, has := range w.Shards {
			if has == g && w.Start <= d.Last && d.First < w.End {
				d.Shards = append(d.Shards, shardmap.ShardRef{ShardID: shardmap.ShardID{Window: w.ID, Shard: shardNumber(n)}, Shards: uint32(len(w.Shards)), Database: p.Database, Policy: p.ID, Span: w.Span()})
			}
		}
	}
	slices.SortFunc(d.Shards, func(a, b shardmap.ShardRef) int { return compareShards(a.ShardID, b.ShardID) })
	for piece := range d.Pieces() {
		o.kind = opPointsDelete
		brings(o, g, piece.Command())
		return true // the others are deletes of their own
	}
	return false
}

// beginAsk makes o a question for what a shard has.
func (x *series) beginAsk(o *op, in *shardmap.Catalog) bool {
	if len(in.Windows) == 0 {
		return false
	}
	w := &in.Windows[x.own.below(len(in.Windows))]
	n := x.own.below(len(w.Shards))
	q := &wire.PointsQuery{Group: w.Shards[n], Database: seriesName, Window: w.ID, Shard: shardNumber(n), Ask: wire.PointsScan, Body: seriesRequest.Append(nil)}
	o.kind, o.ask, o.group = opPointsAsk, q, q.Group
	o.call = client.Call{Owner: o, Target: client.ToGroup, Group: q.Group, Needs: shardmap.PointsLevel}
	if x.own.below(3) == 0 {
		q.Mode = wire.ReadFollower
		o.call.Target, o.call.Peer = client.ToPeer, o.client.anyPeer()
	}
	o.body = q.Append(nil)
	return true
}

// seriesRequest asks a shard how many values it has of each measurement and field, and for their sums: each entry brings values of
// its own.
var seriesRequest = &query.Request{Measurements: seriesMeasurements[:], Items: []query.Item{
	{Func: query.Count, Field: query.Ref{Name: "v", Kind: column.Float}, From: math.MinInt64 + 2, To: math.MaxInt64 - 1},
	{Func: query.Sum, Field: query.Ref{Name: "v", Kind: column.Float}, From: math.MinInt64 + 2, To: math.MaxInt64 - 1},
	{Func: query.Count, Field: query.Ref{Name: "w", Kind: column.Float}, From: math.MinInt64 + 2, To: math.MaxInt64 - 1},
	{Func: query.Sum, Field: query.Ref{Name: "w", Kind: column.Float}, From: math.MinInt64 + 2, To: math.MaxInt64 - 1},
}}

// asked compares an answer with what the shard had as of the log id that it names.
func (x *series) asked(o *op, t wire.Type, body []byte) {
	var a wire.PointsQueryAnswer
	if err := a.Read(body); err != nil || t != wire.TypePointsQueryAnswer {
		x.c.fail("%s is answered with a %s: %v", o, t, err)
	}
	truth := o.spoke(a.Group, a.At)
	answer, err := query.ReadAnswer(a.Answer, seriesRequest, 1<<20)
	if err != nil {
		x.c.fail("%s is answered with what is no answer: %v", o, err)
	}
	got := map[string]seriesSum{}
	for _, g := range answer.Groups {
		for i, field := range []string{"v", "w"} {
			s := seriesSum{}
			for _, n := range g.Parts[2*i].Counts {
				s.count += n
			}
			for _, v := range g.Parts[2*i+1].Values.Floats {
				s.sum += v
			}
			if s.count > 0 {
				got[g.Measurement+" "+field] = s
			}
		}
	}
	id := shardmap.ShardID{Window: o.ask.Window, Shard: o.ask.Shard}
	want := truth.series.sums(id, a.At.Index)
	if !equalMaps(got, want) {
		x.c.fail("I9: %s is answered as of %s with %v; as of there it should be %v", o, a.At, got, want)
	}
	x.c.result.Series.Asked++
}

// acknowledged checks that a command about points is acknowledged with the entry that carried it out.
func (x *series) acknowledged(o *op, g raft.GroupID, id raft.LogID, says seriesOutcome) {
	t := o.spoke(g, id)
	if floor := o.floorIn(g); id.Index == floor {
		x.c.fail("I7: %s began after an answer that stood at %d, and is acknowledged there", o, floor)
	}
	x.decided(o.String(), t, id, o.command.Items[0], says)
}

// decided compares what is said of a command about points with the entry at a log id.
func (x *series) decided(what string, t *truth, id raft.LogID, body []byte, says seriesOutcome) {
	did, ok := t.series.did[id.Index]
	if !ok || did.sum != xxhash.Sum64(body) {
		x.c.fail("I8: %s is acknowledged at %s, which is another command", what, id)
	}
	if says.stored += says.superseded; says.superseded > 0 && !did.fills {
		x.c.fail("I9: %s is acknowledged at %s with %d points superseded, and is no fill", what, id, says.superseded)
	}
	says.superseded = 0
	if says != did.outcome {
		x.c.fail("I9: %s is acknowledged at %s with %+v; it should be %+v", what, id, says, did.outcome)
	}
}

// written takes the answer to a command about points.
func (x *series) written(o *op, t wire.Type, body []byte) {
	if t == wire.TypePointsDeleteAnswer && o.kind == opPointsDelete {
		var a wire.PointsDeleteAnswer
		if err := a.Read(body); err != nil {
			x.c.fail("%s is answered with a bad %s: %v", o, t, err)
		}
		x.acknowledged(o, a.Group, a.ID, deleteSays(&a.Outcome))
		x.c.result.Series.Deleted++
		return
	}
	var a wire.PointsAnswer
	if err := a.Read(body); err != nil || t != wire.TypePointsAnswer || o.kind != opPoints {
		x.c.fail("%s is answered with a %s: %v", o, t, err)
	}
	x.acknowledged(o, a.Group, a.ID, pointsSay(&a.Outcome))
	x.c.result.Series.Written++
}

// refused takes an error that ends an operation about points. After a definite no a write must never take effect.
func (x *series) refused(o *op, err error) {
	var e *wire.Error
	var none *client.ErrNoEndpoint
	switch {
	case errors.As(err, &e) && e.Code == wire.CodeMaybeApplied, o.call.Maybe:
		return
	case errors.As(err, &none):
	case !errors.As(err, &e):
		if o.ask == nil {
			x.c.fail("%s ends with %v", o, err)
		}
	case o.ask != nil && e.Code != wire.CodeBadRequest:
		return // it changes nothing
	default:
		switch e.Code {
		case wire.CodeUnavailable, wire.CodeNotLeader, wire.CodeNotReady, wire.CodeBusy, wire.CodeMoved, wire.CodeFull, wire.CodeLevel, wire.CodeNotFound:
		default:
			x.c.fail("%s ends with %v", o, err)
		}
	}
	if o.kind != opPoints {
		return // two deletes may be alike
	}
	sum := xxhash.Sum64(o.command.Items[0])
	x.never[sum] = o
	for _, t := range x.c.truth {
		if at, ok := t.series.bySum[sum]; ok {
			x.c.fail("I9: %s was applied at %d of group %d; its client is told that it was not", o, at, t.group)
		}
	}
}
