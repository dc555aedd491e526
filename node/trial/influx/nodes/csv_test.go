package nodes

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"muster/node/trial/influx"
	"muster/shardmap/points/rows"
)

// csvQueries are such as the random ones don't have: names and values that CSV quotes, tags that a key escapes or that are empty, and
// statements and series of other columns.
var csvQueries = []string{
	`SELECT * FROM "a, \"b\" c"`,
	`SELECT s FROM q GROUP BY *`,
	`SELECT s, f FROM q GROUP BY k`,
	`SELECT f FROM q; SELECT s FROM q`,
	`SELECT f FROM q; SELECT f FROM nothing; SELECT f, s FROM q`,
	`SELECT f FROM nothing`,
	`SELECT max(f), s FROM q GROUP BY time(10s) fill(none)`,
	`SELECT mean(f) FROM q WHERE time >= 0 AND time < 40s GROUP BY time(10s), k fill(null)`,
	`SELECT * FROM /^[aq]/`,
}

// csvPoints are what they are put to. Times are short, so that all are in one window.
const csvPoints = `a\,\ "b"\ c v=1 1000000000
q,k=x\,y\ z\=w,l=1 f=1e21,s="one, ""two""" 2000000000
q,k=x\,y\ z\=w f=-0.000001,s=" leads and trails " 3000000000
q,l=2 f=0,s="line
two" 4000000000
q,k=ü f=12345678901234567890,s="\\" 15000000000
q,k=ü i=-9223372036854775808i,b=true 16000000000
`

// Muster's CSV must be that of InfluxDB, byte for byte. One would doubt quotes, escapes of tags, floats, null, and where a head comes. The rows
// are InfluxDB's own, of its engine: a query whose JSON is another one, as by another version, says nothing about CSV.
func TestCSVIsThatOfInfluxd(t *testing.T) {
	address := influxd(t)
	send := func(what string, a asking) string {
		t.Helper()
		said := a.send(t, address)
		if said.status/100 != 2 {
			t.Fatalf("%s: %+v", what, said)
		}
		return said.body
	}
	send("database", asking{method: http.MethodPost, path: "/query", form: url.Values{"q": {fmt.Sprintf(`CREATE DATABASE "db" WITH DURATION INF REPLICATION 1 SHARD DURATION %s NAME "rp"`, influx.Window)}}})
	d := influx.MakeData(2)
	e, err := influx.Open(t.TempDir(), influx.Window, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	write := func(text []byte) {
		t.Helper()
		if err := e.Write(text); err != nil {
			t.Fatal(err)
		}
		r, err := http.Post(address+"/write?db=db", "text/plain", strings.NewReader(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != http.StatusNoContent && r.StatusCode != http.StatusBadRequest { // this version lacks unsigned values
			t.Fatalf("write: %s", r.Status)
		}
	}
	for _, w := range d.Writes {
		text, err := influx.Lines(w)
		if err != nil {
			t.Fatal(err)
		}
		write(text)
	}
	write([]byte(csvPoints))
	texts := csvQueries
	for number := range uint64(400) {
		texts = append(texts, influx.MakeQuery(d, 2, number).Text)
	}
	own, compared, quoted := 0, 0, 0
	for n, text := range texts {
		var results []rows.Result
		failed := false
		for i, statement := range strings.Split(text, "; ") {
			series, err := e.Query(statement, d.Now)
			failed = failed || err != nil // InfluxDB's CSV says nothing of it
			results = append(results, rows.Result{Statement: i, Series: series})
		}
		if failed {
			continue
		}
		written := func(w interface {
			Write(rows.Result) error
			Close() error
		}, out *strings.Builder) string {
			for _, r := range results {
				if err := w.Write(r); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			return out.String()
		}
		var b, c strings.Builder
		asks := asking{method: http.MethodGet, path: "/query", params: url.Values{"db": {"db"}, "epoch": {"ns"}, "q": {text}}}
		if written(rows.NewJSON(&b, rows.Compact, rows.Nanoseconds), &b) != asks.send(t, address).body {
			continue
		}
		asks.accept = "application/csv"
		want := asks.send(t, address).body
		if got := written(rows.NewCSV(&c, rows.Nanoseconds), &c); got != want {
			t.Errorf("%s\ngot  %q\nwant %q", text, got, want)
		}
		if n >= len(csvQueries) {
			compared++
		} else {
			own++
		}
		if strings.Contains(want, `"`) {
			quoted++
		}
	}
	if own < len(csvQueries) || compared < 150 || quoted < 5 {
		t.Errorf("%d and %d answers were compared, %d of them with quotes; want %d, 150 and 5", own, compared, quoted, len(csvQueries))
	}
}
