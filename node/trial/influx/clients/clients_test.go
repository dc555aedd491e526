package clients

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	influxdb2 "github.com/influxdata/influxdb-client-go/v2"
	clienthttp "github.com/influxdata/influxdb-client-go/v2/api/http"
	"github.com/influxdata/influxdb-client-go/v2/api/write"
	"github.com/influxdata/telegraf"
	"github.com/influxdata/telegraf/config"
	"github.com/influxdata/telegraf/logger"
	"github.com/influxdata/telegraf/metric"
	"github.com/influxdata/telegraf/plugins/outputs"
	"github.com/influxdata/telegraf/plugins/outputs/influxdb"
	"github.com/influxdata/telegraf/selfstat"

	"muster/node/influx"
)

// patience is how long something may take on a busy machine.
const patience = time.Minute

// begun is the time of the first point.
var begun = time.Unix(1600000000, 0).UTC()

// serve has a store answer over HTTP, and returns its address and how many writes have come.
func serve(t *testing.T, s *Store) (address string, writes *atomic.Int64) {
	h := influx.New(influx.Config{Open: func(*http.Request) (influx.Store, error) { return s, nil }})
	writes = new(atomic.Int64)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/write") {
			writes.Add(1)
		}
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL, writes
}

// ask returns the answer to a query, as CSV with times in seconds.
func ask(t *testing.T, address, database, query string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"/query", nil)
	if err != nil {
		t.Fatal(err)
	}
	v := q.URL.Query()
	v.Set("db", database)
	v.Set("q", query)
	v.Set("epoch", "s")
	q.URL.RawQuery = v.Encode()
	q.Header.Set("Accept", "text/csv")
	w := httptest.NewRecorder()
	a, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	if _, err := w.Body.ReadFrom(a.Body); err != nil {
		t.Fatal(err)
	}
	return w.Body.String()
}

// post has a statement carried out that changes something.
func post(t *testing.T, address, statement string) {
	t.Helper()
	a, err := http.PostForm(address+"/query", url.Values{"q": {statement}})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	if said, err := io.ReadAll(a.Body); err != nil || a.StatusCode != http.StatusOK || bytes.Contains(said, []byte("error")) {
		t.Fatalf("%s: %s, %v: %s", statement, a.Status, err, said)
	}
}

// shell runs Debian's influx with arguments, and returns all that it prints.
func shell(t *testing.T, address string, args ...string) string {
	t.Helper()
	const program = "/usr/bin/influx"
	if _, err := os.Stat(program); err != nil {
		t.Skipf("the shell is not installed, apt-get install influxdb-client: %v", err)
	}
	host, port, _ := strings.Cut(strings.TrimPrefix(address, "http://"), ":")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c := exec.CommandContext(ctx, program, append([]string{"-host", host, "-port", port}, args...)...)
	c.Env = []string{"HOME=" + t.TempDir()}
	out, err := c.CombinedOutput()
	if err != nil && len(out) == 0 {
		t.Fatalf("%v: %v", args, err)
	}
	return string(out)
}

// People who know InfluxDB's shell use it as before: make a database, insert points, select from them in each of its
// formats, and read what is wrong.
func TestShell(t *testing.T) {
	for _, stand := range stands {
		t.Run(stand.name, func(t *testing.T) {
			address := stand.begin(t)
			for _, c := range []struct {
				args []string
				want string
			}{
				{[]string{"-execute", "CREATE DATABASE weather"}, ""},
				{[]string{"-execute", "SHOW DATABASES"}, "name: databases\nname\n----\nweather\n"},
				{[]string{"-database", "weather", "-execute", "INSERT cpu,host=a usage=1.5,n=3i 1600000000000000000\nINSERT INTO autogen cpu,host=b usage=2.5 1600000001000000000"}, ""},
				{[]string{"-database", "weather", "-precision", "s", "-execute", "INSERT cpu,host=b usage=3.5 1600000002"}, ""},
				{[]string{"-database", "weather", "-execute", "SELECT * FROM cpu", "-precision", "ms", "-format", "csv"},
					"name,time,host,n,usage\ncpu,1600000000000,a,3,1.5\ncpu,1600000001000,b,,2.5\ncpu,1600000002000,b,,3.5\n"},
				{[]string{"-database", "weather", "-execute", "SELECT mean(usage) FROM cpu GROUP BY host"},
					"name: cpu\ntags: host=a\ntime mean\n---- ----\n0    1.5\n\nname: cpu\ntags: host=b\ntime mean\n---- ----\n0    3\n"},
				{[]string{"-database", "weather", "-execute", "SELECT count(usage) FROM cpu; SHOW MEASUREMENTS", "-format", "json", "-precision", "rfc3339"},
					`{"results":[{"series":[{"name":"cpu","columns":["time","count"],"values":[["1970-01-01T00:00:00Z",3]]}]},{"series":[{"name":"measurements","columns":["name"],"values":[["cpu"]]}]}]}` + "\n"},
				{[]string{"-database", "weather", "-execute", "INSERT bad line here"},
					`ERR: {"error":"unable to parse points: line 1: field \"line\": missing field value; want FIELD=VALUE"}` + "\n\n"},
				{[]string{"-database", "weather", "-execute", "INSERT INTO nosuch cpu v=1"}, `ERR: {"error":"retention policy not found: nosuch"}` + "\n\n"},
				{[]string{"-database", "nosuch", "-execute", "SELECT * FROM cpu"}, "ERR: database not found: nosuch\ndatabase not found: nosuch\n"},
				{[]string{"-database", "weather", "-execute", "SELECT * FROM"}, "ERR: error parsing query: found EOF, expected identifier at line 1, char 15\n"},
				{[]string{"-username", "nobody", "-password", "any", "-execute", "SHOW DATABASES"}, "name: databases\nname\n----\nweather\n"},
			} {
				if got := shell(t, address, c.args...); !strings.HasPrefix(got, c.want) || c.want == "" && got != "" {
					t.Errorf("influx %q prints\n%s\nwant\n%s", c.args, got, c.want)
				}
			}
		})
	}
}

// A file that InfluxDB's shell exports can be imported, and the lines of it that are bad are named.
func TestShellImports(t *testing.T) {
	for _, stand := range stands {
		t.Run(stand.name, func(t *testing.T) {
			address := stand.begin(t)
			file := filepath.Join(t.TempDir(), "export")
			const text = "# DDL\nCREATE DATABASE weather\n# DML\n# CONTEXT-DATABASE: weather\n# CONTEXT-RETENTION-POLICY: autogen\nm,t=a v=1 1600000000\nm,t=b v=2 1600000001\nbad\n"
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if got := shell(t, address, "-import", "-path", file, "-precision", "s"); !strings.Contains(got, "2 points kept, 1 lines refused: line 5: missing fields") {
				t.Errorf("it prints %s", got)
			}
			if got, want := ask(t, address, "weather", "SELECT v FROM m"), "name,tags,time,v\nm,,1600000000,1\nm,,1600000001,2\n"; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

// output is telegraf's output plugin for InfluxDB, connected.
func output(t *testing.T, address string) *influxdb.InfluxDB {
	o := outputs.Outputs["influxdb"]().(*influxdb.InfluxDB)
	o.URLs, o.Database, o.Log, o.Statistics = []string{address}, "telegraf", logger.New("outputs", "influxdb", ""), selfstat.NewCollector(nil)
	o.Username, o.Password = config.NewSecret([]byte("joe")), config.NewSecret([]byte("secret"))
	if err := o.Init(); err != nil {
		t.Fatal(err)
	}
	if err := o.Connect(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close() })
	return o
}

// sample is a metric of telegraf, some seconds after the first one.
func sample(second int, usage any) []telegraf.Metric {
	return []telegraf.Metric{metric.New("cpu", map[string]string{"host": "a"}, map[string]any{"usage": usage}, begun.Add(time.Duration(second)*time.Second))}
}

// Telegraf keeps a batch when its Write fails, and drops it when it does not. It must keep what can still be stored, and
// drop what never will be, for it would be in the way of all that follows; and it makes its database again if it is
// gone.
func TestTelegraf(t *testing.T) {
	s := NewStore(begun.UnixNano())
	address, writes := serve(t, s)
	o := output(t, address)
	for i, c := range []struct {
		usage   any
		before  func()
		dropped bool // or stored
	}{
		{1.5, func() {}, true},
		{"text", func() {}, true}, // it is of another kind
		{2.5, func() { s.Refuse(&influx.Error{Reason: influx.Busy, Text: "64 MiB wait", RetryAfter: time.Second}) }, false},
		{2.5, func() {
			s.Refuse(&influx.Error{Reason: influx.Internal, Text: "a partial write: unable to parse an answer"})
		}, false},
		{2.5, func() {}, true},
		{3.5, func() { s.Refuse(influx.PolicyNotFound("gone")) }, true},
		{4.5, func() { s.Refuse(&influx.Error{Reason: influx.OverLimit, Text: "batch too long"}) }, true},
	} {
		before := writes.Load()
		c.before()
		if err := o.Write(sample(i, c.usage)); (err == nil) != c.dropped || writes.Load() != before+1 {
			t.Errorf("batch %d, %v: got %v after %d writes, want it given up: %t", i, c.usage, err, writes.Load()-before, c.dropped)
		}
	}
	if got, want := ask(t, address, "telegraf", "SELECT usage FROM cpu"), "name,tags,time,usage\ncpu,,1600000000,1.5\ncpu,,1600000004,2.5\n"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	s.Drop("telegraf")
	if err := o.Write(sample(9, 5.5)); err == nil {
		t.Error("a batch for a database that is gone was taken")
	}
	if err := o.Write(sample(9, 5.5)); err != nil {
		t.Errorf("its database is not there again: %v", err)
	}
	if got, want := ask(t, address, "telegraf", "SELECT usage FROM cpu"), "name,tags,time,usage\ncpu,,1600000009,5.5\n"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// point is a point of influxdb-client-go.
func point(second int, usage any) *write.Point {
	return influxdb2.NewPoint("cpu", map[string]string{"host": "a"}, map[string]any{"usage": usage}, begun.Add(time.Duration(second)*time.Second))
}

// A program for InfluxDB 2 writes into DATABASE/POLICY as into a bucket, and reads what is wrong.
func TestClient2(t *testing.T) {
	for _, stand := range stands {
		t.Run(stand.name, func(t *testing.T) {
			address := stand.begin(t)
			post(t, address, "CREATE DATABASE weather")
			c := influxdb2.NewClientWithOptions(address, "joe:secret", influxdb2.DefaultOptions().SetUseGZip(true).SetPrecision(time.Second).SetLogLevel(0))
			defer c.Close()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if ok, err := c.Ping(ctx); !ok || err != nil {
				t.Errorf("ping: got %t, %v", ok, err)
			}
			if h, err := c.Health(ctx); err != nil || h.Status != "pass" {
				t.Errorf("health: got %v, %v", h, err)
			}
			for _, bucket := range []string{"weather", "weather/autogen"} {
				if err := c.WriteAPIBlocking("any", bucket).WritePoint(ctx, point(len(bucket), 1.5), point(len(bucket)+1, 2.5)); err != nil {
					t.Errorf("%s: %v", bucket, err)
				}
			}
			if got, want := ask(t, address, "weather", "SELECT usage FROM cpu"), "name,tags,time,usage\ncpu,,1600000007,1.5\ncpu,,1600000008,2.5\ncpu,,1600000015,1.5\ncpu,,1600000016,2.5\n"; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			for _, w := range []struct {
				bucket string
				usage  any
				want   string
			}{
				{"gone", 1.5, `database not found: "gone"`},
				{"weather/gone", 1.5, "retention policy not found: gone"},
				{"/autogen", 1.5, "is in db/rp form but has an empty database"},
				{"weather", "text", "partial write: field type conflict: input field"},
			} {
				if err := c.WriteAPIBlocking("any", w.bucket).WritePoint(ctx, point(20, w.usage)); err == nil || !strings.Contains(err.Error(), w.want) {
					t.Errorf("%s, %v: got %v, want %s", w.bucket, w.usage, err, w.want)
				}
			}
			if _, err := c.QueryAPI("any").Query(ctx, "buckets()"); err == nil || !strings.Contains(err.Error(), "Flux query service disabled") {
				t.Errorf("Flux: got %v", err)
			}
		})
	}
}

// Its writer in the background must keep what a busy node has refused, as long as it was told, and drop what is refused for
// good: it would be in the way of all that follows.
func TestClient2Retries(t *testing.T) {
	s := NewStore(begun.UnixNano())
	s.Create("weather")
	address, writes := serve(t, s)
	c := influxdb2.NewClientWithOptions(address, "joe:secret", influxdb2.DefaultOptions().SetBatchSize(1).SetMaxRetries(5).SetLogLevel(0))
	const retryAfter = 3600
	s.Refuse(&influx.Error{Reason: influx.BadRequest, Text: "unable to parse points"}, &influx.Error{Reason: influx.Busy, Text: "64 MiB wait", RetryAfter: retryAfter * time.Second})
	w := c.WriteAPI("any", "weather")
	kept := make(chan uint, 16)
	w.SetWriteFailedCallback(func(_ string, err clienthttp.Error, _ uint) bool {
		kept <- err.RetryAfter
		return true
	})
	w.WritePoint(point(0, 0.5)) // refused for good
	w.WritePoint(point(1, 1.5)) // not now
	select {
	case after := <-kept:
		if after != retryAfter {
			t.Errorf("it is kept for %d s, want %d", after, retryAfter)
		}
	case <-time.After(patience):
		t.Fatal("nothing is kept")
	}
	w.WritePoint(point(2, 2.5)) // behind what is kept
	c.Close()                   // sends all that it has
	if got, want := ask(t, address, "weather", "SELECT usage FROM cpu"), "name,tags,time,usage\ncpu,,1600000001,1.5\ncpu,,1600000002,2.5\n"; got != want || writes.Load() != 4 {
		t.Errorf("after %d writes: got %s, want 4 and %s", writes.Load(), got, want)
	}
}
