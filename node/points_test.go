package node

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/points"
	"muster/shardmap/points/query/querytest"
)

// pointsWriter writes lines as a gateway would: it has a node make windows, and brings each shard its share.
type pointsWriter struct {
	t      *testing.T
	by     *runningNode
	client *client.Client
	policy shardmap.Policy
	groups map[shardmap.ShardID]raft.GroupID // of all shards that got points
	shards map[shardmap.ShardID]shardmap.ShardRef
}

// raised waits until each node knows that the cluster is at the level of points.
func raised(t *testing.T, nodes []*runningNode) {
	t.Helper()
	until(t, "the cluster has the level of points", func() error {
		for _, n := range nodes {
			if table := n.node.table.Load(); table == nil || table.Level < shardmap.PointsLevel {
				return fmt.Errorf("%s does not know it yet", n.node.name)
			}
		}
		return nil
	})
}

func newPointsWriter(t *testing.T, by *runningNode, cl *client.Client, policy shardmap.Policy) *pointsWriter {
	return &pointsWriter{t: t, by: by, client: cl, policy: policy, groups: map[shardmap.ShardID]raft.GroupID{}, shards: map[shardmap.ShardID]shardmap.ShardRef{}}
}

// write brings lines of times in nanoseconds, all of them in the window of a time, and returns how many points were stored.
func (w *pointsWriter) write(ctx context.Context, at int64, lines string) (stored uint64) {
	w.t.Helper()
	stored, err := w.bring(ctx, at, lines)
	if err != nil {
		w.t.Fatal(err)
	}
	return stored
}

// bring is write, and returns the first error.
func (w *pointsWriter) bring(ctx context.Context, at int64, lines string) (stored uint64, err error) {
	w.t.Helper()
	batch, err := querytest.Parse(lines)
	if err != nil {
		w.t.Fatal(err)
	}
	if w.shards == nil {
		w.shards = map[shardmap.ShardID]shardmap.ShardRef{}
	}
	in := windowAsked(w.t, w.by, w.policy.ID, at)
	span := points.Window{First: in.Start, Last: in.End - 1}
	shares := points.Split(batch, func(int64) (points.Window, uint32) { return span, uint32(len(in.Shards)) })
	for i := range shares {
		id := shardmap.ShardID{Window: shardmap.WindowID(in.Window), Shard: shares[i].Shard}
		w.groups[id] = in.Shards[id.Shard]
		w.shards[id] = shardmap.ShardRef{ShardID: id, Shards: uint32(len(in.Shards)), Database: w.policy.Database, Policy: w.policy.ID, Span: span}
		for p := range shares[i].Pieces(shardmap.PointsSizeMax, shardmap.PointsValuesMax) {
			body := shardmap.PointsBody{Name: "metrics", Mode: shardmap.PointsWrite, Share: p.Bytes, Shard: w.shards[id]}
			a, err := client.BringPoints(ctx, w.client, w.groups[id], &body)
			if err != nil {
				return stored, err
			}
			stored += a.Outcome.Stored
		}
	}
	return stored, nil
}

// delete takes away what all shards have of a measurement in a span of time, and returns how many it reached.
func (w *pointsWriter) delete(ctx context.Context, measurement string, first, last int64) (reached uint64) {
	w.t.Helper()
	of := map[raft.GroupID][]shardmap.ShardRef{}
	for id, g := range w.groups {
		of[g] = append(of[g], w.shards[id])
	}
	for g, refs := range of {
		slices.SortFunc(refs, func(a, b shardmap.ShardRef) int {
			return cmp.Or(cmp.Compare(a.Window, b.Window), cmp.Compare(a.Shard, b.Shard))
		})
		d := shardmap.PointsDelete{Shards: refs, Name: "metrics", Measurement: []byte(measurement), First: first, Last: last}
		for p := range d.Pieces() {
			a, err := client.DeletePoints(ctx, w.client, g, p)
			if err != nil {
				w.t.Fatal(err)
			}
			reached += a.Outcome.Deleted
		}
	}
	return reached
}

// count counts what is stored.
func (w *pointsWriter) count(ctx context.Context) (n int64) {
	w.t.Helper()
	request := querytest.CountRequest("cpu", "v")
	for id, g := range w.groups {
		a, err := client.AskShard(ctx, w.client, &wire.PointsQuery{Group: g, Database: "metrics", Window: id.Window, Shard: id.Shard, Ask: wire.PointsScan, Body: request.Append(nil)})
		if err != nil {
			w.t.Fatal(err)
		}
		counted, err := querytest.Counted(a.Answer, request)
		if err != nil {
			w.t.Fatal(err)
		}
		n += counted
	}
	return n
}

// Points that were answered are there when a node is gone, which led some of their groups; more are stored without it, and
// when it is back it has all of them.
func TestPointsWithoutANode(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var configs []Config
	nodes, cl := cluster(t, 3, func(c *Config) { configs = append(configs, *c) })
	raised(t, nodes)
	w := newPointsWriter(t, nodes[0], cl, databaseOrdered(t, nodes, "metrics", shardmap.PolicySpec{WindowDuration: time.Hour, Shards: 4}))
	lines := func(from int64) string {
		var text strings.Builder
		for i := range int64(100) {
			fmt.Fprintf(&text, "cpu,host=h%d v=%d %d\n", i%10, i, from+i)
		}
		return text.String()
	}
	const hour = int64(time.Hour)
	now := time.Now().UnixNano() / hour * hour
	for i, at := range []int64{now, now - 50*hour} {
		if stored := w.write(ctx, at, lines(at)); stored != 100 {
			t.Errorf("write %d: %d points are stored, want 100", i, stored)
		}
	}
	if n := w.count(ctx); n != 200 {
		t.Errorf("%d points are there, want 200", n)
	}
	if reached := w.delete(ctx, "gone", now+50, now+150); reached != 4 {
		t.Errorf("a delete reached %d shards, want the 4 of the last window", reached)
	}
	if n := w.count(ctx); n != 200 {
		t.Errorf("after the delete of another measurement %d points are there, want 200", n)
	}
	w.delete(ctx, "cpu", now, now)
	if stored := w.write(ctx, now, lines(now)[:strings.Index(lines(now), "\n")]); stored != 1 {
		t.Errorf("after its delete %d points are stored, want 1", stored)
	}
	w.delete(ctx, "cpu", now+1, now+9)
	if n := w.count(ctx); n != 191 {
		t.Errorf("after the delete of nine points %d are there, want 191", n)
	}
	if stored := w.write(ctx, now, lines(now)); stored != 100 {
		t.Errorf("%d points are stored again, want 100", stored)
	}
	nodes[2].stop()
	if n := w.count(ctx); n != 200 {
		t.Errorf("without a node %d points are there, want 200", n)
	}
	if stored := w.write(ctx, now, lines(now+1000)); stored != 100 {
		t.Errorf("without a node %d points are stored, want 100", stored)
	}
	if n := w.count(ctx); n != 300 {
		t.Errorf("then %d points are there, want 300", n)
	}
	back := start(t, configs[2], defaultLimits())
	s := back.client()
	defer s.Close()
	until(t, "the cluster is whole again", func() error { return wholeAt(s) })
	nodes[1].stop()
	if n := w.count(ctx); n != 300 {
		t.Errorf("with the node that came back in the place of another one %d points are there, want 300", n)
	}
}
