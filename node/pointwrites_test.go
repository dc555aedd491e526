package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"muster/node/influx"
	"muster/repl/client"
	"muster/repl/client/pointwriter"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/points"
	"muster/shardmap/points/line"
	"muster/shardmap/points/query/querytest"
)

// valuesStored counts the values of a field in all shards of a database, as their groups answer. It also returns how many of these
// shards have any.
func valuesStored(ctx context.Context, t *testing.T, c *client.Client, table *shardmap.Table, database, measurement, field string) (values int64, shards int) {
	t.Helper()
	request := querytest.CountRequest(measurement, field)
	d, _ := table.Catalog.DatabaseNamed(database)
	for p := range table.Catalog.PoliciesOf(d.ID) {
		for _, w := range table.Catalog.WindowsOf(p.ID) {
			for i, g := range w.Shards {
				a, err := client.AskShard(ctx, c, &wire.PointsQuery{Group: g, Database: database, Window: w.ID, Shard: points.Shard(i), Ask: wire.PointsScan, Body: request.Append(nil)})
				if err != nil {
					t.Fatal(err)
				}
				n, err := querytest.Counted(a.Answer, request)
				if err != nil {
					t.Fatal(err)
				}
				if values += n; n > 0 {
					shards++
				}
			}
		}
	}
	return values, shards
}

// A write through a node is taken apart by window and shard, and counts what becomes of each point. One would doubt that a
// point is counted twice or not at all where a text has good lines and bad ones, old points, and fields of another
// kind; and that what was counted as stored is there when a node is gone that led some of the groups.
func TestPointWrites(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	nodes, cl := cluster(t, 3, nil)
	raised(t, nodes)
	databaseOrdered(t, nodes, "metrics", shardmap.PolicySpec{WindowDuration: time.Hour, Shards: 4})
	databaseOrdered(t, nodes, "short", shardmap.PolicySpec{Duration: time.Hour, WindowDuration: time.Hour, Shards: 2})
	// Whichever node is asked, a database is there as soon as it was made.
	for i, r := range nodes {
		name := fmt.Sprint("fresh", i)
		databaseOrdered(t, nodes, name, shardmap.PolicySpec{})
		if got, err := r.node.writes.write(ctx, cl, &influx.WriteRequest{Database: name, Now: time.Now().UnixNano(), Text: []byte("cpu v=1")}); err != nil || got.Stored != 1 {
			t.Errorf("node %d: got %+v, %v", i, got, err)
		}
	}
	const hour = int64(time.Hour)
	now := time.Now().UnixNano() / hour * hour
	write := func(q influx.WriteRequest) (influx.Written, error) {
		t.Helper()
		q.Now = time.Now().UnixNano()
		return nodes[0].node.writes.write(ctx, cl, &q)
	}
	counts := func(what string, got influx.Written, err error, stored, dropped, failed, refused int) {
		t.Helper()
		n := 0
		for _, d := range got.Dropped {
			n += d.Points
		}
		if err != nil || got.Stored != stored || n != dropped || got.Failed != failed || got.Lines.Refused != refused || got.Hinted != 0 {
			t.Errorf("%s: got %+v, %v; want %d stored, %d dropped, %d failed, %d lines refused", what, got, err, stored, dropped, failed, refused)
		}
	}

	var text strings.Builder
	for i := range int64(240) { // of 40 series, in three windows, one of which is two days old
		fmt.Fprintf(&text, "cpu,host=h%d v=%d %d\n", i%40, i, (now-[...]int64{0, hour, 50 * hour}[i/80])/1e9+i)
	}
	got, err := write(influx.WriteRequest{Database: "metrics", Precision: line.Second, Text: []byte(text.String())})
	counts("three windows", got, err, 240, 0, 0, 0)
	values, shards := valuesStored(ctx, t, cl, metaTable(t, nodes), "metrics", "cpu", "v")
	if values != 240 || shards != 12 {
		t.Errorf("three windows: %d values in %d shards, want 240 in 12", values, shards)
	}

	got, err = write(influx.WriteRequest{Database: "metrics", Policy: shardmap.DefaultPolicyName, Text: []byte("cpu,host=x v=1\ncpu,host=x\n\n# none\ncpu,host=x v=\"\"\"\"\ncpu,host=y v=2\n")})
	counts("bad lines", got, err, 2, 0, 0, 2)
	if l := got.Lines.Listed; len(l) != 2 || l[0].Line != 2 || l[1].Line != 5 {
		t.Errorf("bad lines: %v, want lines 2 and 5", l)
	}
	got, err = write(influx.WriteRequest{Database: "metrics", Text: fmt.Appendf(nil, "cpu,host=h1 v=\"text\" %d\ncpu,host=h1 w=1 %d\n", now, now)})
	counts("another kind", got, err, 1, 1, 0, 0)
	if len(got.Dropped) != 1 || got.Dropped[0].Reason != pointwriter.FieldConflict || !strings.Contains(got.Dropped[0].Example, "v") {
		t.Errorf("another kind: %+v", got.Dropped)
	}
	got, err = write(influx.WriteRequest{Database: "short", Text: fmt.Appendf(nil, "cpu v=1 %d\ncpu v=1\ncpu v=1 %d", now-100*hour, now-1000*hour)})
	counts("retention", got, err, 1, 2, 0, 0)
	if len(got.Dropped) != 1 || got.Dropped[0].Reason != pointwriter.BeyondRetention {
		t.Errorf("retention: %+v", got.Dropped)
	}
	for _, c := range []struct {
		q    influx.WriteRequest
		want influx.Reason
		text string
	}{
		{influx.WriteRequest{Database: "gone", Text: []byte("cpu v=1")}, influx.NoDatabase, `database not found: "gone"`},
		{influx.WriteRequest{Database: "metrics", Policy: "gone", Text: []byte("cpu v=1")}, influx.NoPolicy, "retention policy not found: gone"},
		{influx.WriteRequest{Database: "metrics", Consistency: pointwriter.Any + 1, Text: []byte("cpu v=1")}, influx.BadRequest, "level 4"},
		{influx.WriteRequest{Database: "metrics", Text: bytes.Repeat([]byte("\n"), line.TextMax+1)}, influx.OverLimit, "batch too long"},
	} {
		var e *influx.Error
		if got, err := write(c.q); !errors.As(err, &e) || e.Reason != c.want || !strings.Contains(e.Text, c.text) {
			t.Errorf("%.40q in %s/%s: got %+v, %v; want reason %d, %s", c.q.Text, c.q.Database, c.q.Policy, got, err, c.want, c.text)
		}
	}

	// A node goes while others write: what they were told is stored must be there.
	told, failed, gone := make(chan int), 0, make(chan struct{})
	go func() {
		stored := 0
		for i, last := int64(0), false; !last; i++ {
			select {
			case <-gone:
				last = true // once more, without the node
			default:
			}
			got, err := write(influx.WriteRequest{Database: "metrics", Text: fmt.Appendf(nil, "during,host=h%d v=1 %d\nduring,host=g%d v=1 %d", i%7, now+i, i%5, now+i)})
			if stored += got.Stored; err != nil || got.Stored+got.Failed != 2 {
				t.Errorf("while a node goes: %+v, %v", got, err)
			}
			failed += got.Failed
		}
		told <- stored
	}()
	nodes[2].stop()
	close(gone)
	stored := <-told
	if n, _ := valuesStored(ctx, t, cl, metaTable(t, nodes[:2]), "metrics", "during", "v"); n < int64(stored) || n > int64(stored+failed) || stored == 0 {
		t.Errorf("%d values are there that were written while a node went; %d were told to be stored, %d failed", n, stored, failed)
	}
	values, _ = valuesStored(ctx, t, cl, metaTable(t, nodes[:2]), "metrics", "cpu", "v")
	if values != 242 {
		t.Errorf("without a node %d values are there, want 242", values)
	}
	got, err = write(influx.WriteRequest{Database: "metrics", Text: fmt.Appendf(nil, "cpu,host=a v=1 %d\ncpu,host=b v=1 %d\ncpu,host=c v=1 %d", now, now+hour, now-10*hour)})
	counts("without a node", got, err, 3, 0, 0, 0)
}
