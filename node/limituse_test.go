package node

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"muster/shardmap"
	"muster/shardmap/points"
	"muster/shardmap/points/shard"
)

// A person is told in time which limit is near, of the shard that is nearest to it, and which tag grows.
func TestLimitsNear(t *testing.T) {
	most := points.Limits{Series: 100, Values: 50, Fields: 10}
	for _, c := range []struct {
		has  []shard.Census
		want string // of the problem; "": none
	}{
		{[]shard.Census{{Series: 79, Values: 39, Fields: 7}}, ""},
		{[]shard.Census{{Series: 90, Values: 3, Measurement: "m", Tag: "id"}, {Series: 80}},
			`node n1: database "metrics": shard 0 of window 7 has 90 series, and may have 100; tag "id" of measurement "m" has the most values, 3. Points of new ones are dropped then`},
		{[]shard.Census{{}, {Values: 40, Measurement: "m"}},
			`node n1: database "metrics": shard 1 of window 7 has 40 values of one tag, and may have 50; a tag of measurement "m" has the most values, 40. Points of new ones are dropped then`},
		{[]shard.Census{{Fields: 10, Measurement: "m", Tag: "id"}},
			`node n1: database "metrics": shard 0 of window 7 has 10 fields of one measurement, and may have 10. Points of new ones are dropped then`},
	} {
		u := limitUse{database: "metrics"}
		for i, has := range c.has {
			u.add(shardmap.ShardID{Window: 7, Shard: points.Shard(i)}, most, has)
		}
		got := ""
		for _, p := range u.problems("n1") {
			got += p.What
			if !strings.Contains(p.Remedy, "muster db alter metrics --max-") {
				t.Errorf("the remedy is %s", p.Remedy)
			}
		}
		if got != c.want {
			t.Errorf("%+v: got %s, want %s", c.has, got, c.want)
		}
	}
}

// A tag that grows must not fill the memory of a node: what is over the limit is dropped and named, as InfluxDB does it, and the
// rest of the text is kept. Series that are there go on.
func TestLimitsOverHTTP(t *testing.T) {
	t.Parallel()
	nodes, _ := cluster(t, 1, nil)
	raised(t, nodes)
	databaseOrdered(t, nodes, "metrics", shardmap.PolicySpec{WindowDuration: time.Hour, Shards: 1})
	b, at := newBrowser(t), fmt.Sprint(" ", time.Now().UnixNano()/hour*hour) // all of one window
	write := func(want int, lines ...string) (answer, counts string) {
		t.Helper()
		status, answer, head := b.ask(http.MethodPost, "http://"+nodes[0].addr+"/write?db=metrics", strings.ReplaceAll(strings.Join(lines, "\n"), "\n", at+"\n")+at)
		if status != want {
			t.Errorf("%q: got %d %s, want %d", lines, status, answer, want)
		}
		return answer, head.Get("X-Muster-Written")
	}
	write(http.StatusNoContent, "m,id=1 v=1", "m,id=2 v=1", "m,id=3 v=1")
	order, err := shardmap.AppendChangeDatabase(nil, &shardmap.ChangeDatabase{Action: shardmap.DatabaseAlter, Name: "metrics", Limits: points.Limits{Series: 4, Values: 3, Fields: 2}})
	if err != nil {
		t.Fatal(err)
	}
	ordered(t, nodes, "the database is altered", order)
	until(t, "the node knows the limits", func() error {
		if d, _ := nodes[0].node.table.Load().Catalog.DatabaseNamed("metrics"); d.Limits.Fields != 2 {
			return fmt.Errorf("they are %+v", d.Limits)
		}
		return nil
	})
	for _, c := range []struct {
		text, reason, why, counts string
	}{
		{"m,id=4 v=1", "max-values-per-tag limit exceeded", `one more of tag "id" of measurement "m", which has 3; the limit is 3`, "stored=1, hinted=0, dropped=1, failed=0, refused=0"},
		{"n,x=1 v=1\no v=1", "max-series-per-database limit exceeded", `one more of measurement "o"; its shard may have 4, its part of the limit`, "stored=2, hinted=0, dropped=1, failed=0, refused=0"},
		{"m,id=1,x=1 v=1", "max-series-per-database limit exceeded", `of its tags "id" has the most values, 3`, "stored=1, hinted=0, dropped=1, failed=0, refused=0"},
		{"m,id=2 v=1,w=1,x=1", "max fields per measurement exceeded", `with the fields of the point up to "x" measurement "m" would have more than 2; it has 1`, "stored=1, hinted=0, dropped=1, failed=0, refused=0"},
	} {
		answer, counts := write(http.StatusBadRequest, "m,id=1 v=2", c.text)
		if counts != c.counts || !strings.Contains(answer, "partial write: "+c.reason) || !strings.Contains(answer, strings.ReplaceAll(c.why, `"`, `\"`)) || !strings.Contains(answer, "dropped=1") {
			t.Errorf("%s: got %s %s, want %s, %s and %s", c.text, counts, answer, c.counts, c.reason, c.why)
		}
	}
	write(http.StatusNoContent, "m,id=3 v=9")
	if status, answer, _ := b.ask(http.MethodPost, "http://"+nodes[0].addr+"/query?"+url.Values{"db": {"metrics"}, "q": {"DROP SERIES FROM m WHERE id = '2'"}}.Encode(), ""); status != 200 || strings.Contains(answer, "error") {
		t.Errorf("drop: %d %s", status, answer)
	}
	write(http.StatusNoContent, "m,id=4 v=1") // in its place
}
