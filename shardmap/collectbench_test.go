package shardmap

import (
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"
)

// BenchmarkCollect is what gets see of the garbage collector in a large map:
//
//	go test ./shardmap -run '^$' -bench Collect -benchtime 40x -keys 10000000
//
// One goroutine gets a key each 20 µs while another collects, and then waits for as long, again and
// again. The slowest get of each collection and of each wait is noted. On a busy machine the
// collector's processor time and the number of objects tell more.
func BenchmarkCollect(b *testing.B) {
	f := newMemoryMap(b)
	key, value := make([]byte, 16), make([]byte, 128)
	for i := range *benchKeys {
		f.set(benchKey(key, i), value)
	}
	b.Run("alone", func(b *testing.B) {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		before := cpu()
		for b.Loop() {
			runtime.GC()
		}
		b.ReportMetric((cpu()-before)/1e6/float64(b.N), "cpu-ms/gc")
		b.ReportMetric(float64(m.HeapObjects), "objects")
		b.ReportMetric(float64(m.HeapAlloc)/float64(*benchKeys), "B/key")
	})
	b.Run("gets", func(b *testing.B) {
		var within, outside []time.Duration
		got, stop := make(chan []collectedGet), make(chan bool)
		began := time.Now()
		go getAll(f.m, began, stop, got)
		var spans [][2]time.Duration // collections and waits in turn
		for b.Loop() {
			from := time.Since(began)
			runtime.GC()
			to := time.Since(began)
			time.Sleep(to - from)
			spans = append(spans, [2]time.Duration{from, to}, [2]time.Duration{to, time.Since(began)})
		}
		close(stop)
		gets := <-got
		for i, s := range spans {
			most := time.Duration(0)
			for _, g := range gets {
				if g.from < s[1] && g.to > s[0] {
					most = max(most, g.to-g.from)
				}
			}
			if i%2 == 0 {
				within = append(within, most)
			} else {
				outside = append(outside, most)
			}
		}
		for _, x := range []struct {
			name string
			took []time.Duration
		}{{"collecting", within}, {"otherwise", outside}} {
			slices.Sort(x.took)
			b.ReportMetric(x.took[len(x.took)/2].Seconds()*1e3, "ms-slowest-p50-"+x.name)
			b.ReportMetric(x.took[len(x.took)*9/10].Seconds()*1e3, "ms-slowest-p90-"+x.name)
		}
	})
	runtime.KeepAlive(f)
}

// collectedGet is when a get began and ended.
type collectedGet struct{ from, to time.Duration }

// getAll gets keys until it is told to stop.
func getAll(m *Map, began time.Time, stop chan bool, got chan []collectedGet) {
	const pause = 20 * time.Microsecond
	r := rand.New(rand.NewPCG(1, 2))
	all, key, dst := make([]collectedGet, 0, 1<<20), make([]byte, 16), []byte(nil)
	for {
		select {
		case <-stop:
			got <- all
			return
		default:
		}
		benchKey(key, r.IntN(*benchKeys))
		from := time.Since(began)
		dst, _, _ = m.Get(key, dst[:0])
		all = append(all, collectedGet{from, time.Since(began)})
		time.Sleep(pause)
	}
}
