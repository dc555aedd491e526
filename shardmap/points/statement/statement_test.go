package statement

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"muster/raft"
	"muster/shardmap"
	"muster/shardmap/points"
	"muster/shardmap/points/query"
	"muster/shardmap/points/query/querytest"
)

// read returns what a text asks for.
func read(text, database string) (Action, error) {
	statements, err := query.Parse(text, nil)
	if err != nil {
		return nil, err
	}
	return Of(statements[0], database, int64(time.Hour))
}

const data = `cpu,host=a,region=eu usage=1,up=true 0
cpu,host=b usage=2 1
cpu,host=a,region=eu usage=3 3600000000001
mem,host=a used=5i 2
disk\ io,host=c,path=/var\ log,x=a\,b used=1u,s="x" 7200000000000
`

// dataShards returns the data in shards of an hour, two each.
func dataShards(t *testing.T) []query.Shard {
	t.Helper()
	b, err := querytest.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return querytest.Shards(b, time.Hour, 2)
}

// answer runs a listing as nodes do, through the bytes of what goes between them.
func answer(t *testing.T, l *Listing, shards []query.Shard) string {
	t.Helper()
	r, err := ReadRequest(l.Request.Append(nil))
	if err != nil {
		t.Fatalf("%+v: %v", l.Request, err)
	}
	if !reflect.DeepEqual(*r, l.Request) {
		t.Errorf("the request %+v is read as %+v", l.Request, *r)
	}
	var answers []*Answer
	for _, s := range shards {
		a, err := Scan(s, r, querytest.Budget())
		if err != nil {
			t.Fatal(err)
		}
		if a, err = ReadAnswer(a.Append(nil), 1<<20); err != nil {
			t.Fatal(err)
		}
		answers = append(answers, a)
	}
	return querytest.Text(l.Rows(answers))
}

// Clients show databases, names and tags in menus: they read these columns by name, and the rows as they come.
func TestListings(t *testing.T) {
	for _, c := range []struct{ query, want string }{
		{"SHOW MEASUREMENTS", "measurements: name\n\"cpu\"\n\"disk io\"\n\"mem\"\n"},
		{"SHOW MEASUREMENTS LIMIT 1 OFFSET 1", "measurements: name\n\"disk io\"\n"},
		{"SHOW MEASUREMENTS OFFSET 5", ""},
		{"SHOW MEASUREMENTS WITH MEASUREMENT =~ /m$|^c/", "measurements: name\n\"cpu\"\n\"mem\"\n"},
		{"SHOW MEASUREMENTS WITH MEASUREMENT = mem", "measurements: name\n\"mem\"\n"},
		{"SHOW MEASUREMENTS WHERE region = 'eu'", "measurements: name\n\"cpu\"\n"},
		{"SHOW MEASUREMENTS WHERE region = ''", "measurements: name\n\"cpu\"\n\"disk io\"\n\"mem\"\n"},
		{"SHOW MEASUREMENTS ON other", "measurements: name\n\"cpu\"\n\"disk io\"\n\"mem\"\n"},
		{"SHOW SERIES", ": key\n" + `"cpu,host=a,region=eu"` + "\n\"cpu,host=b\"\n" + `"disk\\ io,host=c,path=/var\\ log,x=a\\,b"` + "\n\"mem,host=a\"\n"},
		{"SHOW SERIES FROM cpu WHERE host != 'a' OR region !~ /e/", ": key\n\"cpu,host=b\"\n"},
		{`SHOW SERIES WHERE ("host" = 'a' AND region =~ /^e.$/) LIMIT 1`, ": key\n\"cpu,host=a,region=eu\"\n"},
		{`SHOW SERIES FROM /i/ WHERE x = 'a,b'`, ": key\n" + `"disk\\ io,host=c,path=/var\\ log,x=a\\,b"` + "\n"},
		{"SHOW SERIES FROM nothing", ""},
		{"SHOW TAG KEYS", "cpu: tagKey\n\"host\"\n\"region\"\ndisk io: tagKey\n\"host\"\n\"path\"\n\"x\"\nmem: tagKey\n\"host\"\n"},
		{"SHOW TAG KEYS FROM cpu WHERE host = 'b'", "cpu: tagKey\n\"host\"\n"},
		{"SHOW TAG KEYS WITH KEY =~ /o/ OFFSET 1", "cpu: tagKey\n\"region\"\n"},
		{"SHOW TAG VALUES WITH KEY = host", "cpu: key value\n\"host\" \"a\"\n\"host\" \"b\"\ndisk io: key value\n\"host\" \"c\"\nmem: key value\n\"host\" \"a\"\n"},
		{"SHOW TAG VALUES FROM cpu WITH KEY IN (region, host) WHERE host =~ /./ LIMIT 2", "cpu: key value\n\"host\" \"a\"\n\"host\" \"b\"\n"},
		{"SHOW TAG VALUES WITH KEY !~ /host/", "cpu: key value\n\"region\" \"eu\"\ndisk io: key value\n\"path\" \"/var log\"\n\"x\" \"a,b\"\n"},
		{"SHOW TAG VALUES WITH KEY != host", "cpu: key value\n\"region\" \"eu\"\ndisk io: key value\n\"path\" \"/var log\"\n\"x\" \"a,b\"\n"},
		{"SHOW FIELD KEYS", "cpu: fieldKey fieldType\n\"up\" \"boolean\"\n\"usage\" \"float\"\ndisk io: fieldKey fieldType\n\"s\" \"string\"\n\"used\" \"unsigned\"\nmem: fieldKey fieldType\n\"used\" \"integer\"\n"},
		{"SHOW FIELD KEYS FROM db.rp.mem", "mem: fieldKey fieldType\n\"used\" \"integer\"\n"},
		{"SHOW MEASUREMENT CARDINALITY", ": cardinality estimation\n3\n"},
		{"SHOW MEASUREMENT EXACT CARDINALITY", ": count\n3\n"},
		{"SHOW SERIES CARDINALITY", ": cardinality estimation\n4\n"},
		{"SHOW SERIES EXACT CARDINALITY", "cpu: count\n2\ndisk io: count\n1\nmem: count\n1\n"},
		{"SHOW SERIES CARDINALITY FROM cpu WHERE host = 'a'", "cpu: count\n1\n"},
		{"SHOW TAG KEY CARDINALITY", "cpu: count\n2\ndisk io: count\n3\nmem: count\n1\n"},
		{"SHOW TAG VALUES CARDINALITY WITH KEY = host", "cpu: count\n2\ndisk io: count\n1\nmem: count\n1\n"},
		{"SHOW FIELD KEY CARDINALITY", "cpu: count\n2\ndisk io: count\n2\nmem: count\n1\n"},
		{"SHOW FIELD KEY EXACT CARDINALITY FROM cpu", "cpu: count\n2\n"},
	} {
		a, err := read(c.query, "db")
		if err != nil {
			t.Errorf("%s: %v", c.query, err)
			continue
		}
		l, ok := a.(*Listing)
		if !ok {
			t.Errorf("%s is a %T", c.query, a)
			continue
		}
		if got := answer(t, l, dataShards(t)); got != c.want {
			t.Errorf("%s\ngot\n%swant\n%s", c.query, got, c.want)
		}
	}
}

// A field of two kinds, one in each window, has two rows, and counts once.
func TestFieldOfTwoKinds(t *testing.T) {
	one, two := querytest.New(), querytest.New()
	one.Add("m", "v", 0, points.FloatValue(1))
	two.Add("m", "v", 0, points.IntegerValue(1))
	for text, want := range map[string]string{
		"SHOW FIELD KEYS":            "m: fieldKey fieldType\n\"v\" \"float\"\n\"v\" \"integer\"\n",
		"SHOW FIELD KEY CARDINALITY": "m: count\n1\n",
	} {
		a, err := read(text, "db")
		if err != nil {
			t.Fatal(err)
		}
		if got := answer(t, a.(*Listing), []query.Shard{one, two}); got != want {
			t.Errorf("%s\ngot\n%swant\n%s", text, got, want)
		}
	}
}

// A statement reaches the database, policy and windows that it names, and no other ones.
func TestReach(t *testing.T) {
	for _, c := range []struct {
		text, database, policy string
		first, last            int64
	}{
		{"SHOW SERIES", "db", "", math.MinInt64, math.MaxInt64},
		{"SHOW SERIES ON other", "other", "", math.MinInt64, math.MaxInt64},
		{"SHOW SERIES FROM other.rp.cpu", "other", "rp", math.MinInt64, math.MaxInt64},
		{"SHOW SERIES FROM rp.cpu WHERE time >= 5 AND host = 'a' AND time < now()", "db", "rp", 5, int64(time.Hour) - 1},
		{"SHOW TAG KEYS WHERE time > '1970-01-01T00:00:00.000000007Z'", "db", "", 8, math.MaxInt64},
		{"DELETE FROM cpu WHERE time < 10", "db", "", math.MinInt64, 9},
		{"DELETE WHERE host = 'a'", "db", "", math.MinInt64, math.MaxInt64},
		{"DROP SERIES FROM cpu", "db", "", math.MinInt64, math.MaxInt64},
		{"DROP MEASUREMENT cpu", "db", "", math.MinInt64, math.MaxInt64},
	} {
		a, err := read(c.text, "db")
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		var got []any
		switch a := a.(type) {
		case *Listing:
			got = []any{a.Database, a.Policy, a.First, a.Last}
		case *Deletion:
			got = []any{a.Database, a.Policy, a.First, a.Last}
		}
		if want := []any{c.database, c.policy, c.first, c.last}; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %v, want %v", c.text, got, want)
		}
	}
}

// A delete of all series of a measurement needs no list of them, and one with a condition must never be taken for it.
func TestDeletions(t *testing.T) {
	for text, want := range map[string]Request{
		"DROP MEASUREMENT cpu":                              {What: Measurements, Measurements: []string{"cpu"}},
		"DELETE FROM cpu WHERE time > 1":                    {What: Measurements, Measurements: []string{"cpu"}},
		"DELETE FROM /c.*/":                                 {What: Measurements, Expressions: []string{"c.*"}},
		"DELETE WHERE time < 7":                             {What: Measurements},
		"DROP SERIES WHERE host = 'a'":                      {What: SeriesKeys, Condition: "host = 'a'"},
		"DELETE FROM mem, cpu WHERE host =~ /a/ AND time<9": {What: SeriesKeys, Measurements: []string{"cpu", "mem"}, Condition: "host =~ /a/"},
	} {
		a, err := read(text, "db")
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := a.(*Deletion).Series; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", text, got, want)
		}
	}
}

// A statement that changes the catalog is an order of group 0, with the durations as they stand in it.
func TestOrders(t *testing.T) {
	spec := func(name string, keep, window time.Duration) shardmap.PolicySpec {
		return shardmap.PolicySpec{Name: name, Duration: keep, WindowDuration: window}
	}
	for text, want := range map[string]Order{
		"CREATE DATABASE d":                          {Database: &shardmap.ChangeDatabase{Action: shardmap.DatabaseCreate, Name: "d"}},
		"CREATE DATABASE d WITH DURATION 30d NAME p": {Database: &shardmap.ChangeDatabase{Action: shardmap.DatabaseCreate, Name: "d", Policy: spec("p", 720*time.Hour, 0)}},
		"CREATE DATABASE d WITH SHARD DURATION 2h":   {Database: &shardmap.ChangeDatabase{Action: shardmap.DatabaseCreate, Name: "d", Policy: spec("autogen", 0, 2*time.Hour)}},
		"DROP DATABASE d":                            {Database: &shardmap.ChangeDatabase{Action: shardmap.DatabaseDrop, Name: "d"}},
		"ALTER RETENTION POLICY p ON d DURATION 2d SHARD DURATION 1d DEFAULT": {Policy: &shardmap.ChangePolicy{
			Action: shardmap.PolicyAlter, Database: "d", Policy: spec("p", 48*time.Hour, 24*time.Hour), Set: shardmap.SetDuration | shardmap.SetWindowDuration, Default: true}},
		"ALTER RETENTION POLICY p ON d DURATION INF": {Policy: &shardmap.ChangePolicy{Action: shardmap.PolicyAlter, Database: "d", Policy: spec("p", 0, 0), Set: shardmap.SetDuration}},
		"ALTER RETENTION POLICY p ON d DEFAULT":      {Policy: &shardmap.ChangePolicy{Action: shardmap.PolicyDefault, Database: "d", Policy: spec("p", 0, 0)}},
		"DROP RETENTION POLICY p ON d":               {Policy: &shardmap.ChangePolicy{Action: shardmap.PolicyDrop, Database: "d", Policy: spec("p", 0, 0)}},
	} {
		a, err := read(text, "")
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got, ok := a.(*Order); !ok || !reflect.DeepEqual(*got, want) {
			t.Errorf("%s: got %+v, want %+v", text, a, want)
		}
	}
	a, err := read("CREATE RETENTION POLICY p ON d DURATION 1w REPLICATION 2 SHARD DURATION 1h DEFAULT", "")
	if err != nil {
		t.Fatal(err)
	}
	o := a.(*Order)
	if want := (shardmap.ChangePolicy{Action: shardmap.PolicyCreate, Database: "d", Policy: spec("p", 168*time.Hour, time.Hour), Default: true}); *o.Policy != want {
		t.Errorf("got %+v, want %+v", o.Policy, want)
	}
	if len(o.Messages) != 1 || o.Messages[0].Text != "REPLICATION 2 is not kept: each shard has as many copies as its group has voters" {
		t.Errorf("messages: %v", o.Messages)
	}
}

// An unknown statement must not be taken for another one, nor answered with nothing; a person has to read what to do.
func TestRefused(t *testing.T) {
	for text, want := range map[string]string{
		"CREATE USER u WITH PASSWORD 'x'": "muster user",
		"DROP USER u":                     "muster user",
		"SET PASSWORD FOR u = 'x'":        "muster user",
		"GRANT READ ON d TO u":            "muster user",
		"GRANT ALL TO u":                  "muster user",
		"REVOKE READ ON d FROM u":         "muster user",
		"REVOKE ALL FROM u":               "muster user",
		"SHOW USERS":                      "muster user",
		"SHOW GRANTS FOR u":               "muster user",
		"CREATE CONTINUOUS QUERY q ON d BEGIN SELECT mean(v) INTO x FROM m GROUP BY time(1h) END": "no continuous queries",
		"DROP CONTINUOUS QUERY q ON d":                                             "no continuous queries",
		"CREATE SUBSCRIPTION s ON d.rp DESTINATIONS ALL 'udp://h:1'":               "write them to both",
		"DROP SUBSCRIPTION s ON d.rp":                                              "no subscriptions",
		"DROP SHARD 3":                                                             "DELETE FROM",
		"EXPLAIN SELECT v FROM m":                                                  "run the query",
		"SELECT v FROM m":                                                          "package query",
		"SHOW SERIES WHERE v > 5":                                                  "tags alone",
		"DELETE FROM cpu WHERE usage = 3":                                          "tags alone",
		"DROP SERIES FROM cpu WHERE time > 3":                                      "DELETE takes away",
		"SHOW SERIES FROM a.x.m, b.x.m":                                            "two databases",
		"SHOW SERIES FROM d.x.m, d.y.m":                                            "two retention policies",
		"SHOW MEASUREMENTS ON *.*":                                                 "name one database",
		"SHOW TAG VALUES CARDINALITY WITH KEY = host GROUP BY host":                "each value of a tag",
		"ALTER RETENTION POLICY p ON d REPLICATION 3":                              "as many copies",
		"CREATE RETENTION POLICY p ON d DURATION 1d REPLICATION 1 FUTURE LIMIT 1h": "leave them out",
	} {
		a, err := read(text, "db")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v; want an error with %q", text, a, err, want)
		}
	}
	for _, text := range []string{"SHOW SERIES", "SHOW RETENTION POLICIES", "DROP MEASUREMENT m", "DELETE FROM m", "SHOW FIELD KEYS"} {
		if _, err := read(text, ""); !errors.Is(err, errDatabase) {
			t.Errorf("%s without a database: %v", text, err)
		}
	}
}

func TestActivities(t *testing.T) {
	for text, want := range map[string]Activity{
		"SHOW QUERIES":                 {Doing: ShowQueries},
		"KILL QUERY 7":                 {Doing: KillQuery, Query: 7},
		`KILL QUERY 7 ON "n2:1"`:       {Doing: KillQuery, Query: 7, Host: "n2:1"},
		"SHOW DIAGNOSTICS":             {Doing: ShowDiagnostics},
		"SHOW DIAGNOSTICS FOR 'build'": {Doing: ShowDiagnostics, Module: "build"},
		"SHOW STATS FOR 'write'":       {Doing: ShowStats, Module: "write"},
	} {
		a, err := read(text, "")
		if got, ok := a.(*Activity); err != nil || !ok || *got != want {
			t.Errorf("%s: got %+v, %v, want %+v", text, a, err, want)
		}
	}
}

type cluster struct{}

func (cluster) Copies() int                    { return 3 }
func (cluster) Owners(g raft.GroupID) []uint64 { return []uint64{1, uint64(g)} }

// The catalog is shown as InfluxDB shows its metadata: columns, order, times.
func TestShow(t *testing.T) {
	hour := int64(time.Hour)
	c := &shardmap.Catalog{
		Databases: []shardmap.Database{{ID: 5, Name: "z", Default: 6}, {ID: 9, Name: "a", Default: 11}},
		Policies: []shardmap.Policy{
			{ID: 6, Database: 5, Name: "autogen", WindowDuration: 168 * time.Hour},
			{ID: 10, Database: 9, Name: "month", Duration: 720 * time.Hour, WindowDuration: 24 * time.Hour, Shards: 2},
			{ID: 11, Database: 9, Name: "day", Duration: 24 * time.Hour, WindowDuration: time.Hour},
		},
		Windows: []shardmap.Window{
			{ID: 20, Policy: 6, Start: 0, End: 168 * hour, Truncated: 168 * hour, Shards: []raft.GroupID{1}},
			{ID: 21, Policy: 10, Start: 0, End: 24 * hour, Truncated: 24 * hour, Hidden: 7, Shards: []raft.GroupID{1}},
			{ID: 22, Policy: 10, Start: 24 * hour, End: 48 * hour, Truncated: 48 * hour, Shards: []raft.GroupID{2, 3}},
		},
	}
	for text, want := range map[string]string{
		"SHOW DATABASES":               "databases: name\n\"a\"\n\"z\"\n",
		"SHOW RETENTION POLICIES ON a": ": name duration shardGroupDuration replicaN default\n\"month\" \"720h0m0s\" \"24h0m0s\" 3 false\n\"day\" \"24h0m0s\" \"1h0m0s\" 3 true\n",
		"SHOW SHARDS": "a: id database retention_policy shard_group start_time end_time expiry_time owners\n" +
			`1408u "a" "month" 22u "1970-01-02T00:00:00Z" "1970-01-03T00:00:00Z" "1970-02-02T00:00:00Z" "1,2"` + "\n" +
			`1409u "a" "month" 22u "1970-01-02T00:00:00Z" "1970-01-03T00:00:00Z" "1970-02-02T00:00:00Z" "1,3"` + "\n" +
			"z: id database retention_policy shard_group start_time end_time expiry_time owners\n" +
			`1280u "z" "autogen" 20u "1970-01-01T00:00:00Z" "1970-01-08T00:00:00Z" "" "1,1"` + "\n",
		"SHOW SHARD GROUPS": "shard groups: id database retention_policy start_time end_time expiry_time\n" +
			`22u "a" "month" "1970-01-02T00:00:00Z" "1970-01-03T00:00:00Z" "1970-02-02T00:00:00Z"` + "\n" +
			`20u "z" "autogen" "1970-01-01T00:00:00Z" "1970-01-08T00:00:00Z" "1970-01-08T00:00:00Z"` + "\n",
		"SHOW CONTINUOUS QUERIES": "a: name query\nz: name query\n",
		"SHOW SUBSCRIPTIONS":      "",
	} {
		a, err := read(text, "")
		if err != nil {
			t.Fatal(err)
		}
		got, err := a.(*Show).Rows(c, cluster{})
		if err != nil || querytest.Text(got) != want {
			t.Errorf("%s\ngot\n%s%vwant\n%s", text, querytest.Text(got), err, want)
		}
	}
	if _, err := (&Show{What: Policies, Database: "no"}).Rows(c, cluster{}); err == nil || err.Error() != "database not found: no" {
		t.Errorf("policies of no database: %v", err)
	}
}

// A list of a million series must end with a limit that says so, before the memory is spent.
func TestBudgets(t *testing.T) {
	s := querytest.New()
	for n := range 1000 {
		s.Add(fmt.Sprintf("m,host=%04d", n), "v", 0, points.FloatValue(1))
	}
	for what, c := range map[string]struct {
		request Request
		budget  query.Budget
	}{
		"memory":           {Request{What: SeriesKeys}, query.Budget{Memory: 50_000, Series: 1 << 20}},
		"memory of values": {Request{What: TagValues}, query.Budget{Memory: 50_000, Series: 1 << 20}},
		"memory of hashes": {Request{What: SeriesHashes}, query.Budget{Memory: 50_000, Series: 1 << 20}},
		"series":           {Request{What: Measurements, Condition: "host = 'x'"}, query.Budget{Memory: 1 << 30, Series: 999}},
	} {
		var limit *query.LimitError
		if _, err := Scan(s, &c.request, &c.budget); !errors.As(err, &limit) || limit.Remedy == "" {
			t.Errorf("%s: %v, want a limit with a remedy", what, err)
		}
	}
	a, err := Scan(s, &Request{What: SeriesKeys}, querytest.Budget())
	if err != nil {
		t.Fatal(err)
	}
	var limit *query.LimitError
	if _, err := ReadAnswer(a.Append(nil), 50_000); !errors.As(err, &limit) || limit.Remedy == "" {
		t.Errorf("an answer into less memory than it takes: %v, want a limit with a remedy", err)
	}
}
