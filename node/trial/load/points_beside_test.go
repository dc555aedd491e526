package load

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"muster/node/trial/clustertest"
	"muster/shardmap/points/column"
	"muster/shardmap/points/pointstest"
)

var (
	besidePoints = flag.Int("pointsbeside", 0, "write so many points of each of 1,000 series with ten fields, one in ten seconds")
	besideNoise  = flag.Bool("pointsnoise", false, "have all values be 53 random bits")
)

const (
	// pointsBatch is how many lines a request has: the most that InfluxDB's authors advise.
	pointsBatch = 5000
	// pointsWriters send at once.
	pointsWriters = 4
	// pointsAsked is how often each query is put; its figure is the median.
	pointsAsked = 9
	// pointsRest is how long a server's processor time has to stand still before its files are measured.
	pointsRest = 4 * time.Second
	// pointsRestMax is how long that may take.
	pointsRestMax = 5 * time.Minute
)

// The cost of points, beside one influxd and one VictoriaMetrics on the same machine, with the same data over the same
// protocol: values a second, processor time of all nodes per value, bytes on the disk, and how long queries take.
// muster has three nodes, and answers when two of them have synced.
func TestPointsBeside(t *testing.T) {
	clustertest.OnDemand(t, *besidePoints > 0, "./node/trial/load -run TestPointsBeside -pointsbeside 4320 -timeout 60m")
	set := pointstest.Standard()
	set.Points = *besidePoints
	if *besideNoise {
		set.Sources = []pointstest.Source{pointstest.Noise}
	}
	texts := filepath.Join(t.TempDir(), "points.lines")
	batches := writeLines(t, &set, texts)
	t.Logf("%d series, %d values, in %d requests of %d lines", set.Hosts*set.Measurements, set.Values(), len(batches), pointsBatch)
	for _, start := range []func(*testing.T) *pointsServer{startInflux, startVictoria, startPoints} {
		s := start(t)
		if s == nil {
			continue
		}
		s.measure(t, &set, texts, batches)
		s.stop()
	}
}

// pointsServer is a store of points that is measured.
type pointsServer struct {
	name   string
	url    string
	data   string            // where its files are
	files  func(string) bool // which of them have points, by path
	copies int               // how many of a value are on the disk
	taken  func() time.Duration
	query  func(t *testing.T, q *pointsQuery) time.Duration
	settle func() // has it do what it would do in the hours behind a load
	stop   func()

	processes []serverProcess
}

// measure has a server store all points, and asks for them.
func (s *pointsServer) measure(t *testing.T, set *pointstest.Set, texts string, batches []extent) {
	t.Helper()
	before, began := s.taken(), time.Now()
	s.write(t, texts, batches)
	took, busy := time.Since(began), s.taken()-before
	values := float64(set.Values())
	s.rest(t)
	all := s.taken() - before
	t.Logf("%-16s wrote %.0f values/s; %.2f µs of processors a value until then, %.2f µs with all that follows", s.name,
		values/took.Seconds(), us(busy)/values, us(all)/values)
	if s.settle != nil {
		s.settle()
		s.rest(t)
	}
	size := s.size(t)
	t.Logf("%-16s has %.2f bytes a value on the disk, in each of %d copies", s.name, float64(size)/values/float64(s.copies), s.copies)
	for _, q := range queriesOf(set) {
		var times []time.Duration
		for range pointsAsked {
			times = append(times, s.query(t, &q))
		}
		t.Logf("%-16s %-50s %7.2f ms", s.name, q.what, us(median(times))/1000)
	}
}

func us(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

// extent is a part of a file.
type extent struct{ from, to int64 }

// writeLines writes the points of a set to a file, as lines in the order of their times, and returns where requests begin and end.
func writeLines(t *testing.T, set *pointstest.Set, path string) (batches []extent) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var all []*pointstest.Series
	for s := range set.Series() {
		all = append(all, s)
	}
	var text []byte
	var at int64
	lines := 0
	flush := func() {
		if _, err := file.Write(text); err != nil {
			t.Fatal(err)
		}
		batches = append(batches, extent{at, at + int64(len(text))})
		at += int64(len(text))
		text, lines = text[:0], 0
	}
	for i := range set.Points {
		for _, s := range all {
			text = appendLine(text, s, i)
			if lines++; lines == pointsBatch {
				flush()
			}
		}
	}
	if lines > 0 {
		flush()
	}
	return batches
}

// appendLine appends one point of a series.
func appendLine(text []byte, s *pointstest.Series, i int) []byte {
	text = append(text, s.Key...)
	before := byte(' ') // the first field
	for f := range s.Fields {
		text = append(text, before)
		before = ','
		text = append(text, s.Fields[f].Name...)
		text = append(text, '=')
		if v := &s.Fields[f].Values; v.Kind == column.Float {
			text = strconv.AppendFloat(text, v.Floats[i], 'f', -1, 64)
		} else {
			text = append(strconv.AppendInt(text, v.Integers[i], 10), 'i')
		}
	}
	text = append(text, ' ')
	return append(strconv.AppendInt(text, s.Times[i], 10), '\n')
}

// write sends all requests, some at once. One that is refused for now is sent again, as clients do.
func (s *pointsServer) write(t *testing.T, texts string, batches []extent) {
	t.Helper()
	file, err := os.Open(texts)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	work := make(chan extent)
	var writers sync.WaitGroup
	for range pointsWriters {
		writers.Go(func() {
			for b := range work {
				text := make([]byte, b.to-b.from)
				if _, err := file.ReadAt(text, b.from); err != nil {
					t.Error(err)
				} else if err := s.send(text); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for _, b := range batches {
		if t.Failed() {
			break
		}
		work <- b
	}
	close(work)
	writers.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// send sends a request until it is taken.
func (s *pointsServer) send(text []byte) error {
	for end := time.Now().Add(clustertest.ReadyMax); ; {
		r, err := http.Post(s.url+"/write?db=bench", "text/plain", bytes.NewReader(text))
		if err != nil {
			return err
		}
		said, err := io.ReadAll(r.Body)
		r.Body.Close()
		switch {
		case err != nil:
			return err
		case r.StatusCode/100 == 2:
			return nil
		case r.StatusCode/100 != 5 && r.StatusCode != http.StatusTooManyRequests || time.Now().After(end):
			return fmt.Errorf("%s: %s: %s", s.name, r.Status, said)
		}
		time.Sleep(100 * time.Millisecond) // a client's pause before it sends again
	}
}

// rest waits until a server takes no processor time any more.
func (s *pointsServer) rest(t *testing.T) {
	t.Helper()
	const idle = 0.05 // of a processor
	for end := time.Now().Add(pointsRestMax); time.Now().Before(end); {
		before := s.taken()
		time.Sleep(pointsRest) // what is measured is what happens meanwhile
		if (s.taken() - before).Seconds() < idle*pointsRest.Seconds()*float64(s.copies) {
			return
		}
	}
	t.Errorf("%s is still busy %v after the load", s.name, pointsRestMax)
}

// size is what a server's files of points take on the disk, in bytes.
func (s *pointsServer) size(t *testing.T) (bytes int64) {
	t.Helper()
	err := filepath.WalkDir(s.data, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // was replaced meanwhile
		}
		if err != nil || e.IsDir() || !s.files(path) {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			bytes += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}

// pointsQuery is a question in both languages.
type pointsQuery struct {
	what   string
	influx string
	prom   string
	first  time.Time // of the answer's times, in PromQL
	last   time.Time
	step   time.Duration
	series int // of the answer
}

// queriesOf are the questions of the figures.
func queriesOf(set *pointstest.Set) []pointsQuery {
	first := time.Unix(0, set.Begin)
	span := time.Duration(set.Points) * set.Interval
	within := func(of time.Duration) (time.Time, string) {
		last := first.Add(min(of, span))
		return last, fmt.Sprintf("time >= %d AND time < %d", first.UnixNano(), last.UnixNano())
	}
	hour, inHour := within(time.Hour)
	half, inHalf := within(12 * time.Hour)
	return []pointsQuery{
		{"1 series × 1 hour, mean by minute",
			"SELECT mean(field_001) FROM measurement_000 WHERE host='host_000007' AND " + inHour + " GROUP BY time(1m)",
			`avg_over_time(measurement_000_field_001{host="host_000007"}[1m])`, first.Add(time.Minute), hour, time.Minute, 1},
		{"1 series × 1 hour, raw",
			"SELECT field_001 FROM measurement_000 WHERE host='host_000007' AND " + inHour,
			`measurement_000_field_001{host="host_000007"}`, first, hour, set.Interval, 1},
		{"all hosts × 12 hours, mean by hour and host",
			"SELECT mean(field_001) FROM measurement_000 WHERE " + inHalf + " GROUP BY time(1h), host",
			`avg_over_time(measurement_000_field_001[1h])`, first.Add(time.Hour), half, time.Hour, set.Hosts},
		{"all hosts × 12 hours, max of all by hour",
			"SELECT max(field_001) FROM measurement_000 WHERE " + inHalf + " GROUP BY time(1h)",
			`max(max_over_time(measurement_000_field_001[1h]))`, first.Add(time.Hour), half, time.Hour, 1},
	}
}

// askInflux puts a question to a server that speaks InfluxQL, and returns how long it took.
func askInflux(t *testing.T, address string, q *pointsQuery) time.Duration {
	t.Helper()
	var answer struct {
		Error   string
		Results []struct {
			Error  string
			Series []struct{ Values [][]any }
		}
	}
	took := ask(t, address+"/query?"+url.Values{"db": {"bench"}, "q": {q.influx}, "epoch": {"ns"}}.Encode(), &answer)
	if answer.Error != "" || len(answer.Results) != 1 || answer.Results[0].Error != "" || len(answer.Results[0].Series) != q.series || len(answer.Results[0].Series[0].Values) == 0 {
		t.Fatalf("%s: answer %+v, want %d series", q.influx, answer, q.series)
	}
	return took
}

// ask gets an address, and returns how long it took until the answer was there; into gets the answer.
func ask(t *testing.T, address string, into any) time.Duration {
	t.Helper()
	began := time.Now()
	r, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	took := time.Since(began)
	if err == nil {
		err = json.Unmarshal(body, into)
	}
	if err != nil {
		t.Fatalf("%s: %v: %s", address, err, body)
	}
	return took
}

// startPoints starts three nodes of muster with a database.
func startPoints(t *testing.T) *pointsServer {
	t.Helper()
	c := clustertest.Start(t, 3, "--insecure")
	c.Run("db", "create", "bench").Done(t)
	address := "http://" + c.Nodes[0].Addr
	var processes []serverProcess
	for _, p := range c.Nodes {
		processes = append(processes, serverProcess{"http://" + p.Addr, func() (now, most int) { return p.Memory(t) }})
	}
	return &pointsServer{
		processes: processes,
		name:      "muster, 3 nodes", url: address, data: c.Dir, copies: len(c.Nodes),
		files: func(path string) bool { return strings.Contains(path, "/points/") },
		taken: func() time.Duration { return clustertest.ProcessorTime(c) },
		query: func(t *testing.T, q *pointsQuery) time.Duration { return askInflux(t, address, q) },
		stop: func() {
			for i := range c.Nodes {
				c.Kill(i)
			}
		},
	}
}
