package node

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"muster/repl/client"
	"muster/repl/queries"
	"muster/repl/wire"
	"muster/shardmap"

	"muster/shardmap/points/query"
	"muster/shardmap/points/query/querytest"
	"muster/shardmap/points/rows"
)

const hour = int64(time.Hour)

// measured is a cluster that has points over several windows and shards, late ones among them.
type measured struct {
	t      *testing.T
	nodes  []*runningNode
	client *client.Client
	now    int64         // which the tests' queries take for now
	same   []query.Shard // the same points, in one process and one shard of each window
}

// measure founds one of three nodes.
func measure(t *testing.T) *measured {
	t.Helper()
	nodes, cl := cluster(t, 3, nil)
	raised(t, nodes)
	w := newPointsWriter(t, nodes[0], cl, databaseOrdered(t, nodes, "metrics", shardmap.PolicySpec{WindowDuration: time.Hour, Shards: 4}))
	m := &measured{t: t, nodes: nodes, client: cl, now: time.Now().UnixNano()/hour*hour + hour}
	var all strings.Builder
	write := func(at int64, every time.Duration, value func(i int) int) {
		var text strings.Builder
		for i := range 60 {
			fmt.Fprintf(&text, "cpu,host=h%d v=%d,n=%di %d\n", i%7, value(i), i, at+int64(every)*int64(i))
		}
		all.WriteString(text.String())
		if stored := w.write(t.Context(), at, text.String()); stored != 60 {
			t.Fatalf("%d points are stored, want 60", stored)
		}
	}
	for back := int64(1); back <= 3; back++ {
		write(m.now-back*hour, time.Minute, func(i int) int { return i * int(back) })
	}
	// Late ones: between those that are there, and in place of them.
	write(m.now-3*hour, 30*time.Second, func(i int) int { return 1000 + i })
	batch, err := querytest.Parse(all.String())
	if err != nil {
		t.Fatal(err)
	}
	m.same = querytest.Shards(batch, time.Hour, 1)
	return m
}

// ask carries out a text by a client, and returns what is answered as tests compare it.
func (m *measured) ask(ctx context.Context, cl *client.Client, q *queries.Request) (string, error) {
	x := &queries.Runner{Client: cl, Now: func() time.Time { return time.Unix(0, m.now) }}
	q.Database = "metrics"
	var all []rows.Series
	var failed error
	err := x.Run(ctx, q, func(r rows.Result) bool {
		all = append(all, r.Series...)
		failed = errors.Join(failed, r.Err)
		return true
	})
	return querytest.Text(all), errors.Join(err, failed)
}

// selected are queries whose answers must not depend on where points are.
var selected = []string{
	"SELECT count(v), mean(v), min(v), max(v) FROM cpu",
	"SELECT sum(v) FROM cpu WHERE time >= now() - 3h GROUP BY time(20m), host",
	"SELECT * FROM cpu WHERE host = 'h3' ORDER BY time DESC LIMIT 7",
	"SELECT v FROM cpu WHERE time >= now() - 3h AND time < now() - 130m",
	"SELECT percentile(n, 90), median(n), spread(n), stddev(n) FROM cpu GROUP BY host",
	"SELECT derivative(mean(v), 1m) FROM cpu WHERE time >= now() - 2h GROUP BY time(10m)",
	"SELECT last(v), n FROM /c.u/ GROUP BY host SLIMIT 2 SOFFSET 1",
	"SELECT top(v, host, 3) FROM cpu",
	"SELECT v FROM nothing",
	"SELECT nothing FROM cpu",
}

// want is what a query answers in one process.
func (m *measured) want(text string) string {
	m.t.Helper()
	all, err := querytest.Run(text, m.now, m.same)
	if err != nil {
		m.t.Fatal(err)
	}
	return querytest.Text(all)
}

// A query over windows and shards of three nodes answers as one over the same points in one process, whichever replicas it
// reads; while a node is killed its answers are right, or errors that say so. One would doubt it of late points, of a group
// whose leader goes while it is asked, and of a replica that is behind.
func TestQueriesOverShards(t *testing.T) {
	t.Parallel()
	m := measure(t)
	check := func(when string) {
		t.Helper()
		for _, from := range []queries.Replicas{queries.Leaders, queries.AnyReplica} {
			for _, text := range selected {
				got, err := m.ask(t.Context(), m.client, &queries.Request{Text: text, Replicas: from})
				if want := m.want(text); err != nil || got != want {
					t.Errorf("%s, %s: got\n%s%v, want\n%s", when, text, got, err, want)
				}
			}
		}
	}
	check("at first")
	var asking sync.WaitGroup
	over := make(chan struct{})
	for i := range 4 {
		asking.Go(func() {
			for n := i; ; n++ {
				select {
				case <-over:
					return
				default:
				}
				text := selected[n%len(selected)]
				got, err := m.ask(t.Context(), m.client, &queries.Request{Text: text, Replicas: queries.Replicas(i % 2)})
				var typed *wire.Error
				if err != nil && !errors.As(err, &typed) {
					t.Errorf("%s: %v, want an error with a code", text, err)
				} else if want := m.want(text); err == nil && got != want {
					t.Errorf("while a node is killed, %s: got\n%s, want\n%s", text, got, want)
				}
			}
		})
	}
	m.nodes[2].stop()
	until(t, "all is answered again", func() error {
		_, err := m.ask(t.Context(), m.client, &queries.Request{Text: selected[0]})
		return err
	})
	close(over)
	asking.Wait()
	check("without a node")
}

// Points that are written over HTTP are found by queries, and those that are deleted are not: by time, by series, and all of a
// measurement, in all windows; others stay.
func TestDeletesOverHTTP(t *testing.T) {
	t.Parallel()
	m := measure(t)
	b, at := newBrowser(t), "http://"+m.nodes[1].addr
	var lines strings.Builder
	for i := range int64(40) {
		fmt.Fprintf(&lines, "mem,host=h%d v=%d %d\n", i%4, i, m.now-(i+1)*hour/8)
	}
	until(t, "points are written over HTTP", func() error {
		status, text, _ := b.ask("POST", at+"/write?db=metrics", lines.String())
		if status != 204 {
			return fmt.Errorf("%d %s", status, text)
		}
		return nil
	})
	for _, c := range []struct {
		text  string
		count int // of mem that are left
	}{
		{"DELETE FROM mem WHERE time < 0", 40},
		{"DELETE FROM nothing", 40},
		{fmt.Sprintf("DELETE FROM mem WHERE time >= %d", m.now-hour), 32},
		{fmt.Sprintf("DELETE FROM mem WHERE host = 'h1' AND time >= %d", m.now-2*hour), 30},
		{"DROP SERIES FROM mem WHERE host =~ /h[12]/", 16},
		{"DROP MEASUREMENT mem", 0},
	} {
		b.wants(200, `{"results":[{"statement_id":0}]}`, "POST", at+"/query?"+url.Values{"db": {"metrics"}, "q": {c.text}}.Encode(), "")
		got, err := m.ask(t.Context(), m.client, &queries.Request{Text: "SELECT count(v) FROM mem"})
		if want := fmt.Sprintf("mem: time count\n0 %d\n", c.count); err != nil || got != want && (c.count > 0 || got != "") {
			t.Errorf("after %s: %s%v, want %d", c.text, got, err, c.count)
		}
	}
	if got, err := m.ask(t.Context(), m.client, &queries.Request{Text: selected[0]}); err != nil || got != m.want(selected[0]) {
		t.Errorf("of the other measurement there is %s%v, want %s", got, err, m.want(selected[0]))
	}
	b.wants(400, "changes something", "GET", at+"/query?db=metrics&q=DROP+MEASUREMENT+cpu", "")
}

// The cost of a query is bounded, and the error tells of the limit and what would be right.
func TestQueriesBounded(t *testing.T) {
	t.Parallel()
	m := measure(t)
	for _, c := range []struct {
		q    queries.Request
		want string
	}{
		{queries.Request{Text: "SELECT v FROM cpu", Limits: queries.Limits{Time: 1}}, "the query took longer than 1ns; ask for a shorter time"},
		{queries.Request{Text: "SELECT v FROM cpu", Limits: queries.Limits{Memory: 2000}}, "more bytes of memory than it was given"},
		{queries.Request{Text: "SELECT mean(v) FROM cpu", Limits: queries.Limits{Series: 1}}, "more series than it was given"},
		{queries.Request{Text: "SHOW SERIES", Limits: queries.Limits{Memory: 1000}}, "more bytes of memory than it was given"},
		{queries.Request{Text: "SHOW SERIES", Limits: queries.Limits{Series: 1}}, "more series than it was given"},
		{queries.Request{Text: "SHOW SERIES", Limits: queries.Limits{Time: -1}}, "limit of time -1ns: want up to 10m0s"},
		{queries.Request{Text: "SHOW SERIES", Limits: queries.Limits{Memory: 1 << 40}}, "limit of memory 1099511627776: want up to"},
		{queries.Request{Text: "SHOW SERIES", Limits: queries.Limits{Series: -1}}, "limit of series -1: want up to"},
		{queries.Request{Text: "SELECT v FROM x.y.cpu"}, "database not found: x"},
		{queries.Request{Text: "SELECT v FROM y.cpu"}, "retention policy not found: y"},
		{queries.Request{Text: "SELECT v FROM (SELECT v FROM cpu)"}, "a sub-query in FROM is not supported"},
		{queries.Request{Text: "DELETE FROM cpu", Limits: queries.Limits{Memory: 1000}}, "more bytes of memory than it was given"},
		{queries.Request{Text: "DROP SERIES FROM cpu WHERE v = 3"}, "series are told apart by tags alone"},
		{queries.Request{Text: "SELEC v"}, "error parsing query: found SELEC"},
	} {
		got, err := m.ask(t.Context(), m.client, &c.q)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s with %+v: got %s%v, want %q", c.q.Text, c.q.Limits, got, err, c.want)
		}
	}
}

// The statements that list what there is, or change databases and policies, do so over HTTP as InfluxDB's clients send
// them; GET changes nothing.
func TestStatementsOverHTTP(t *testing.T) {
	t.Parallel()
	m := measure(t)
	b := newBrowser(t)
	ask := func(method, db, text string) (int, string) {
		status, body, _ := b.ask(method, "http://"+m.nodes[1].addr+"/query?"+url.Values{"db": {db}, "q": {text}, "epoch": {"ns"}}.Encode(), "")
		return status, strings.TrimSpace(body)
	}
	for _, c := range []struct {
		method, text string
		status       int
		want         string
	}{
		{"GET", "SHOW MEASUREMENTS", 200, `{"results":[{"statement_id":0,"series":[{"name":"measurements","columns":["name"],"values":[["cpu"]]}]}]}`},
		{"GET", "SHOW TAG VALUES WITH KEY = host LIMIT 2", 200, `{"results":[{"statement_id":0,"series":[{"name":"cpu","columns":["key","value"],"values":[["host","h0"],["host","h1"]]}]}]}`},
		{"GET", "SHOW TAG KEYS", 200, `{"results":[{"statement_id":0,"series":[{"name":"cpu","columns":["tagKey"],"values":[["host"]]}]}]}`},
		{"GET", "SHOW FIELD KEYS", 200, `{"results":[{"statement_id":0,"series":[{"name":"cpu","columns":["fieldKey","fieldType"],"values":[["n","integer"],["v","float"]]}]}]}`},
		{"GET", "SHOW SERIES CARDINALITY", 200, `{"results":[{"statement_id":0,"series":[{"columns":["cardinality estimation"],"values":[[7]]}]}]}`},
		{"GET", "SHOW MEASUREMENTS WHERE time < 0", 200, `{"results":[{"statement_id":0}]}`},
		{"GET", "SHOW DATABASES; SHOW FIELD KEYS ON nowhere; SHOW DATABASES", 200, `{"results":[{"statement_id":0,"series":[{"name":"databases","columns":["name"],"values":[["metrics"]]}]},{"statement_id":1,"error":"database not found: nowhere"},{"statement_id":2,"error":"not executed"}]}`},
		{"GET", "SHOW DATABASES; CREATE DATABASE made", 400, `{"error":"CREATE DATABASE changes something, which is refused with GET; send it with POST"}`},
		{"GET", "KILL QUERY 1", 400, `{"error":"KILL QUERY changes something, which is refused with GET; send it with POST"}`},
		{"GET", "SELECT", 400, `{"error":"error parsing query: found EOF, expected identifier, string, number, bool at line 1, char 8"}`},
		{"POST", "CREATE DATABASE made WITH DURATION 30d; CREATE DATABASE made; SHOW DATABASES", 200, `{"results":[{"statement_id":0},{"statement_id":1},{"statement_id":2,"series":[{"name":"databases","columns":["name"],"values":[["made"],["metrics"]]}]}]}`},
		{"POST", "CREATE RETENTION POLICY short ON made DURATION 2h REPLICATION 2 DEFAULT; SHOW RETENTION POLICIES ON made", 200,
			`{"results":[{"statement_id":0,"messages":[{"level":"warning","text":"REPLICATION 2 is not kept: each shard has as many copies as its group has voters"}]},{"statement_id":1,"series":[{"columns":["name","duration","shardGroupDuration","replicaN","default"],"values":[["autogen","720h0m0s","24h0m0s",3,false],["short","2h0m0s","1h0m0s",3,true]]}]}]}`},
		{"POST", "DROP RETENTION POLICY short ON made; DROP DATABASE made; DROP DATABASE made; SHOW DATABASES", 200, `{"results":[{"statement_id":0},{"statement_id":1},{"statement_id":2},{"statement_id":3,"series":[{"name":"databases","columns":["name"],"values":[["metrics"]]}]}]}`},
		{"POST", "CREATE RETENTION POLICY p ON nowhere DURATION 2h REPLICATION 1", 200, `{"results":[{"statement_id":0,"error":"database not found: nowhere"}]}`},
		{"POST", "ALTER RETENTION POLICY nosuch ON metrics DURATION 2h", 200, `{"results":[{"statement_id":0,"error":"retention policy not found: nosuch"}]}`},
		{"POST", "KILL QUERY 77", 200, `"error":"query not found: 77"`},
	} {
		status, got := ask(c.method, "metrics", c.text)
		if status != c.status || got != c.want && !(strings.HasPrefix(c.want, `"`) && strings.Contains(got, c.want)) {
			t.Errorf("%s %s: got %d %s, want %d %s", c.method, c.text, status, got, c.status, c.want)
		}
	}
	status, got := ask(http.MethodGet, "metrics", fmt.Sprintf("SELECT count(v) FROM cpu WHERE time < %d", m.now))
	if want := `{"results":[{"statement_id":0,"series":[{"name":"cpu","columns":["time","count"],"values":[[0,`; status != 200 || !strings.HasPrefix(got, want) {
		t.Errorf("got %d %s, want %s", status, got, want)
	}
	if status, got := ask(http.MethodGet, "", "SELECT count(v) FROM cpu"); status != 200 || !strings.Contains(got, `"error":"database name required"`) {
		t.Errorf("without a database: got %d %s", status, got)
	}
}

// Each query goes by what its user may do: with a database that he may not read he gets nothing, be there points or not, and
// one that he can't see is not there.
func TestQueryRights(t *testing.T) {
	t.Parallel()
	p := withHTTP(t, 1, secureLimits())
	p.give(shardmap.AppendChangeDatabase(nil, &shardmap.ChangeDatabase{Action: shardmap.DatabaseCreate, Name: "metrics"}))
	p.role(shardmap.RoleCreate, "reader", grant("read", "db:metrics"))
	p.withPassword("ann", "correct horse", "reader")
	p.withPassword("eve", "correct horse")
	url := "https://" + p.nodes[0].addr
	for _, c := range []struct {
		user, text string
		status     int
		want       string
	}{
		{"ann", "SELECT v FROM cpu", 200, `{"results":[{"statement_id":0}]}`},
		{"ann", "SHOW SERIES", 200, `{"results":[{"statement_id":0}]}`},
		{"ann", "SHOW DATABASES", 200, `["metrics"]`},
		{"ann", "DROP DATABASE metrics", 403, "it needs admin on db:metrics"},
		{"ann", "CREATE DATABASE other", 403, "admin"},
		{"rob", "SHOW DATABASES", 200, `["metrics"]`}, // he may read the cluster
		{"rob", "SELECT v FROM cpu", 403, "role grant ROLE read db:metrics"},
		{"rob", "SHOW SERIES", 403, "role grant ROLE read db:metrics"},
		{"eve", "SELECT v FROM cpu", 200, "database not found: metrics"},
		{"eve", "SHOW DATABASES", 200, `{"results":[{"statement_id":0,"series":[{"name":"databases","columns":["name"]}]}]}`},
		{"eve", "CREATE DATABASE other", 403, "admin"},
	} {
		b := newBrowser(t)
		b.logsIn(url, c.user, "correct horse")
		b.wants(c.status, c.want, "POST", url+"/query", "db=metrics&q="+strings.ReplaceAll(c.text, " ", "+"), "Content-Type", "application/x-www-form-urlencoded")
	}
	newBrowser(t).wants(401, "unable to parse authentication credentials", "GET", url+"/query?db=metrics&q=SHOW+SERIES", "")
}

// A query that runs is listed by all nodes, and ends when somebody ends it at any of them; so do its parts. One that its client
// carries out is listed too, until it is done or its client has gone.
func TestQueryKilled(t *testing.T) {
	t.Parallel()
	m := measure(t)
	y := &m.nodes[0].node.querying
	ctx, running, done, err := y.begin(t.Context(), asker{name: "ann", principal: 7}, "metrics", "SHOW DATABASES; SHOW MEASUREMENTS")
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	all := queries.Cluster{Client: m.client}
	x := &queries.Runner{Client: m.client, ID: running.ID}
	var results []rows.Result
	err = x.Run(ctx, &queries.Request{Database: "metrics", Text: running.Text}, func(r rows.Result) bool {
		if results = append(results, r); len(results) > 1 {
			return true
		}
		if list := y.list(asker{principal: 8}); len(list) > 0 {
			t.Errorf("another user sees %+v", list)
		}
		if y.endQuery(asker{principal: 8}, running.ID) {
			t.Error("another user has ended the query")
		}
		list, messages, err := all.Queries(t.Context())
		if err != nil || len(list) != 1 || len(messages) > 0 || list[0].ID != running.ID || list[0].User != "ann" || list[0].Node != m.nodes[0].node.name {
			t.Errorf("listed is %+v, %v, %v", list, messages, err)
		}
		if err := all.Kill(t.Context(), running.ID, "elsewhere"); err == nil || !strings.Contains(err.Error(), "query not found") {
			t.Errorf("at a node of another name: %v", err)
		}
		if err := all.Kill(t.Context(), running.ID, ""); err != nil {
			t.Error(err)
		}
		return true
	})
	if err != nil || len(results) != 2 || !errors.Is(results[1].Err, queries.ErrEnded) {
		t.Errorf("got %+v, %v; want a result, and that the query was ended", results, err)
	}
	table := m.nodes[0].node.table.Load()
	w, _ := table.Catalog.WindowAt(table.Catalog.Policies[0].ID, m.now-hour-1)
	ask := wire.PointsQuery{Group: w.Shards[0], Database: "metrics", Window: w.ID, Ask: wire.PointsOutline, Body: (&query.Sources{Names: []string{"cpu"}}).Append(nil), Query: running.ID}
	if _, err := client.AskShard(t.Context(), m.client, &ask); !errors.Is(err, client.ErrConflict) {
		t.Errorf("a part of it that comes later: %v, want that the query was ended", err)
	}
	ask.Query = 0
	if _, err := client.AskShard(t.Context(), m.client, &ask); err != nil {
		t.Errorf("a part of no query: %v", err)
	}
	ctx, own, err := queries.Announce(t.Context(), m.client, &queries.Request{Database: "metrics", Text: "CREATE USER x WITH PASSWORD 'secret'"})
	if err != nil {
		t.Fatal(err)
	}
	list, _, err := all.Queries(t.Context())
	if err != nil || len(list) != 2 || list[1].ID != own.ID || list[1].Text != "CREATE USER x WITH PASSWORD [REDACTED]" {
		t.Errorf("listed is %+v, %v", list, err)
	}
	if err := all.Kill(t.Context(), own.ID, ""); err != nil {
		t.Error(err)
	}
	<-ctx.Done()
	if err := context.Cause(ctx); !errors.Is(err, queries.ErrEnded) {
		t.Errorf("its client is told %v", err)
	}
	own.Done()
	if list, _, err = all.Queries(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("when it is done there is %+v, %v", list, err)
	}
	for _, id := range []uint64{0, 1 << 60, own.ID} {
		var none *queries.NotFoundError
		if err := all.Kill(t.Context(), id, ""); !errors.As(err, &none) {
			t.Errorf("query %d: %v", id, err)
		}
	}
}

// A node carries out no more queries at once than it says, lists no more, forgets those whose clients have gone, and
// remembers no more numbers of those that were ended. Nobody ends the parts of another user's query.
func TestQueriesAtOnce(t *testing.T) {
	t.Parallel()
	n := &Node{name: "n1"}
	y := &n.querying
	y.init(n)
	ann, bob, admin := asker{name: "ann", principal: 1}, asker{name: "bob", principal: 2}, asker{name: "root", principal: 3, sees: true, ends: true}
	for i := range uint64(announcedQueriesMax) {
		if _, e := y.announced(ann, &wire.Queries{Query: 1 + i}); e != nil {
			t.Fatal(e)
		}
	}
	if _, e := y.announced(bob, &wire.Queries{Query: 5000}); e == nil || e.Code != wire.CodeBusy {
		t.Errorf("one more is announced: %v, want busy", e)
	}
	if _, e := y.announced(bob, &wire.Queries{Query: 1}); e == nil || e.Code != wire.CodeConflict {
		t.Errorf("another one of a number: %v, want a conflict", e)
	}
	y.done(bob, 1)
	if len(y.list(bob)) != 0 || len(y.list(ann)) != announcedQueriesMax || len(y.list(admin)) != announcedQueriesMax {
		t.Errorf("listed are %d, %d and %d", len(y.list(bob)), len(y.list(ann)), len(y.list(admin)))
	}
	for _, x := range y.running {
		x.heard = time.Now().Add(-announcedMax - time.Second)
	}
	if list := y.list(admin); len(list) > 0 {
		t.Errorf("%d are listed whose clients have gone", len(list))
	}
	var ends []func()
	for range queriesMax {
		_, _, done, err := y.begin(t.Context(), ann, "", strings.Repeat("é", queries.TextShown))
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, done)
	}
	if _, _, _, err := y.begin(t.Context(), ann, "", "x"); !errors.Is(err, client.ErrBusy) {
		t.Errorf("one more: %v, want busy", err)
	}
	ends[0]()
	if _, _, _, err := y.begin(t.Context(), ann, "", "x"); err != nil {
		t.Errorf("when one has ended: %v", err)
	}
	for id := range uint64(2 * queriesEndedMax) {
		y.endQuery(bob, id)
		y.endQuery(bob, id)
	}
	last := uint64(2*queriesEndedMax - 1)
	if len(y.ended) != queriesEndedMax || y.partEnded(0, 2) || !y.partEnded(last, 2) || y.partEnded(last, 1) {
		t.Errorf("%d numbers are remembered, want the last %d, of that user", len(y.ended), queriesEndedMax)
	}
	if y.endQuery(admin, last); !y.partEnded(last, 1) || len(y.ended) != queriesEndedMax {
		t.Error("parts go on that an administrator has ended")
	}
}
