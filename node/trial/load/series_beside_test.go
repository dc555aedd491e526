package load

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"muster/node/trial/clustertest"
)

var besideSeries = flag.Int("seriesbeside", 0, "write so many series, of three points each")

const (
	// seriesPoints is how many points each series gets, a second apart.
	seriesPoints = 3
	// collectionMax is how long it may take until Go's runtime collects garbage at rest: it does so every two minutes.
	collectionMax = 3 * time.Minute
	// seriesBytesMax is what a series may take on the heap of a node at rest.
	seriesBytesMax = 400
)

// A million series are to take at most 400 bytes each in the memory of a node, beside one influxd with its index in memory.
// Both get the same ones over HTTP, of one field and of ten.
func TestSeriesBeside(t *testing.T) {
	clustertest.OnDemand(t, *besideSeries > 0, "./node/trial/load -run TestSeriesBeside -seriesbeside 1000000 -timeout 60m")
	for _, fields := range []int{1, 10} {
		for _, start := range []func(*testing.T) *pointsServer{startInflux, startPoints} {
			s := start(t)
			if s == nil {
				continue
			}
			for i, bytes := range s.measureSeries(t, *besideSeries, fields) {
				if len(s.processes) > 1 && bytes > seriesBytesMax {
					t.Errorf("node %d takes %d bytes for a series of %d fields, want at most %d", i+1, bytes, fields, seriesBytesMax)
				}
			}
			s.stop()
		}
	}
}

// measureSeries has a server store series, and tells what each of its processes takes for one of them: on the heap, of what
// lives there, which it returns, and resident, with garbage and all else.
func (s *pointsServer) measureSeries(t *testing.T, series, fields int) (bytes []int) {
	t.Helper()
	heaps, residents := make([]int, len(s.processes)), make([]int, len(s.processes))
	for i, p := range s.processes {
		heaps[i], _ = heapOf(t, p.url)
		residents[i], _ = p.memory()
	}
	began := time.Now()
	s.writeSeries(t, series, fields)
	t.Logf("%-16s wrote %d series of %d fields, %d points each, in %v", s.name, series, fields, seriesPoints, time.Since(began).Round(time.Second))
	s.rest(t)
	for i, p := range s.processes {
		_, collected := heapOf(t, p.url)
		clustertest.Await(t, "a collection of garbage", collectionMax, func(context.Context) error {
			if _, now := heapOf(t, p.url); now == collected {
				return fmt.Errorf("still after collection %d", now)
			}
			return nil
		})
		heap, _ := heapOf(t, p.url)
		now, most := p.memory()
		bytes = append(bytes, (heap-heaps[i])/series)
		t.Logf("%-16s process %d takes %d bytes a series on the heap, %d resident, %d at most", s.name, i+1,
			bytes[i], (now-residents[i])/series, (most-residents[i])/series)
	}
	return bytes
}

// writeSeries sends a point of each series, and so on, some requests at once.
func (s *pointsServer) writeSeries(t *testing.T, series, fields int) {
	t.Helper()
	work := make(chan []byte)
	var writers sync.WaitGroup
	for range pointsWriters {
		writers.Go(func() {
			for text := range work {
				if err := s.send(text); err != nil {
					t.Error(err)
				}
			}
		})
	}
	begin := time.Now().Add(-time.Hour).Truncate(time.Second)
	var text []byte
	for i := range seriesPoints {
		at := begin.Add(time.Duration(i) * time.Second).UnixNano()
		for n := range series {
			text = fmt.Appendf(text, "measurement_%03d,host=host_%06d,region=eu-west-%d ", n%10, n/10, n%3)
			for f := range fields {
				if f > 0 {
					text = append(text, ',')
				}
				text = fmt.Appendf(text, "field_%03d=%d.%02d", f, (n+i)%100, (n*7+f)%100)
			}
			text = append(strconv.AppendInt(append(text, ' '), at, 10), '\n')
			if (n+1)%pointsBatch == 0 || n+1 == series {
				work <- text
				text = nil
			}
		}
	}
	close(work)
	writers.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// serverProcess is one of the processes of a store of points.
type serverProcess struct {
	url    string
	memory func() (now, most int) // resident, in bytes
}

// heapOf returns the bytes of the objects on a process's heap, and how often its garbage was collected.
func heapOf(t *testing.T, url string) (bytes, collections int) {
	t.Helper()
	r, err := http.Get(url + "/debug/pprof/heap?debug=1")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	for lines := bufio.NewScanner(r.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " = ")
		switch name {
		case "# HeapAlloc":
			bytes, _ = strconv.Atoi(value)
		case "# NumGC":
			collections, _ = strconv.Atoi(value)
		}
	}
	if bytes == 0 {
		t.Fatalf("%s has no figures of its heap: %s", url, r.Status)
	}
	return bytes, collections
}
