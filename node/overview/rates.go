package overview

import (
	"math"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// Rates are what happened between two samples, per second, and how long it took of late. All of
// it is 0 where nothing is known.
type Rates struct {
	WindowMs uint64  `json:"window_ms"` // between the samples; 0: nothing is known
	Writes   float64 `json:"writes_per_s"`
	Reads    float64 `json:"reads_per_s"`
	Lists    float64 `json:"lists_per_s"`   // pages and streams of listings, and reads of services
	Watches  float64 `json:"watches_per_s"` // opened
	BytesIn  float64 `json:"bytes_in_per_s"`
	BytesOut float64 `json:"bytes_out_per_s"`
	LogBytes float64 `json:"log_bytes_per_s"`
	Syncs    float64 `json:"syncs_per_s"`
	CPU      float64 `json:"cpu_percent"` // of one core
	// How long requests took, and the log's writes. Of all nodes together the percentiles are
	// those of the slowest node: they can't be added.
	WriteLatency Latency `json:"write_latency"`
	ReadLatency  Latency `json:"read_latency"`
	SyncLatency  Latency `json:"sync_latency"`
}

// Latency is how long something took of late, in µs, at the nodes that lead.
type Latency struct {
	Count uint64 `json:"count"` // that the percentiles are of
	P50   uint64 `json:"p50_us"`
	P99   uint64 `json:"p99_us"`
}

// of returns what a node has said in a sample, which may be nil.
func (s *Sample) of(id raft.NodeID) *Answer {
	if s == nil {
		return new(Answer)
	}
	return s.answer(id)
}

// ratesOf counts from one answer of a node to the next. Both were asked for a little before they
// came, so a window is the time between the two questions.
func ratesOf(now, before *Answer) (r Rates) {
	if now.Counters != nil {
		r.WriteLatency = latencyIn(now.Counters.Rows, wire.LatencyWrites)
		r.ReadLatency = latencyIn(now.Counters.Rows, wire.LatencyReads)
		r.SyncLatency = latencyIn(now.Counters.Rows, wire.LatencySyncs)
	}
	window := now.Asked.Sub(before.Asked)
	if now.Counters == nil || before.Counters == nil || now.Status == nil || before.Status == nil || window <= 0 {
		return r
	}
	r.WindowMs = uint64(window.Milliseconds())
	old := make(map[string]wire.CounterRow, len(before.Counters.Rows))
	for _, row := range before.Counters.Rows {
		old[row.Name] = row
	}
	per := perSecond(window)
	for _, row := range now.Counters.Rows {
		was := old[row.Name]
		in := per(row.In, was.In)
		switch row.Name {
		case wire.TypeWrite.String():
			r.Writes += in
		case wire.TypeGet.String(), wire.TypeHistory.String():
			r.Reads += in
		case wire.TypeList.String(), wire.TypeScan.String(), wire.TypeServices.String(), wire.TypeLeases.String():
			r.Lists += in
		case wire.TypeWatch.String():
			r.Watches += in
		}
		r.BytesIn += per(row.BytesIn, was.BytesIn)
		r.BytesOut += per(row.BytesOut, was.BytesOut)
	}
	a, b := now.Status, before.Status
	r.LogBytes, r.Syncs = per(a.Log.Bytes, b.Log.Bytes), per(a.Log.Syncs, b.Log.Syncs)
	r.CPU = per(a.CPUMicros, b.CPUMicros) / float64(time.Second/time.Microsecond) * 100
	return r
}

// perSecond returns how fast a counter has grown in a window. One that has begun anew, as that
// of a node does which was started again, has grown from 0.
func perSecond(window time.Duration) func(now, before uint64) float64 {
	return func(now, before uint64) float64 {
		if now < before {
			before = 0
		}
		return float64(now-before) / window.Seconds()
	}
}

func latencyIn(rows []wire.CounterRow, name string) Latency {
	l := wire.LatencyIn(rows, name)
	return Latency{l.Count, uint64(l.P50.Microseconds()), uint64(l.P99.Microseconds())}
}

// add adds the rates of a node to those of all.
func (r *Rates) add(n *Rates) {
	r.WindowMs = max(r.WindowMs, n.WindowMs)
	r.Writes += n.Writes
	r.Reads += n.Reads
	r.Lists += n.Lists
	r.Watches += n.Watches
	r.BytesIn += n.BytesIn
	r.BytesOut += n.BytesOut
	r.LogBytes += n.LogBytes
	r.Syncs += n.Syncs
	r.CPU += n.CPU
	r.WriteLatency.add(n.WriteLatency)
	r.ReadLatency.add(n.ReadLatency)
	r.SyncLatency.add(n.SyncLatency)
}

func (l *Latency) add(n Latency) {
	l.Count += n.Count
	l.P50, l.P99 = max(l.P50, n.P50), max(l.P99, n.P99)
}

// jobsOf returns the jobs, with how fast they go on: as much as they have done since an earlier
// sample.
func jobsOf(now *Sample, earlier []*Sample) []Job {
	list := []Job{}
	if now.Table == nil {
		return list
	}
	for i := range now.Table.Jobs {
		j := &now.Table.Jobs[i]
		x := Job{JobRow: JobRowOf(j)}
		for _, was := range earlier {
			if j.State != shardmap.JobRunning || was.Table == nil {
				continue
			}
			if old, ok := was.Table.Job(j.ID); ok && old.State == shardmap.JobRunning {
				x.pace(j, &old, now.At.Sub(was.At))
				break
			}
		}
		list = append(list, x)
	}
	return list
}

// leftMax bounds an estimate: one of more than a month says nothing.
const leftMax = 30 * 24 * time.Hour

func (x *Job) pace(j, old *shardmap.Job, window time.Duration) {
	if window <= 0 || j.Done < old.Done || j.Bytes < old.Bytes {
		return // its leader has counted anew
	}
	per := perSecond(window)
	x.PerS, x.BytesPerS = per(j.Done, old.Done), per(j.Bytes, old.Bytes)
	left := math.Inf(1)
	switch {
	case j.BytesTotal > 0 && x.BytesPerS > 0: // slots differ in size
		left = float64(j.BytesTotal-min(j.Bytes, j.BytesTotal)) / x.BytesPerS
	case j.BytesTotal == 0 && x.PerS > 0:
		left = float64(j.Total-min(j.Done, j.Total)) / x.PerS
	}
	if left <= leftMax.Seconds() {
		s := uint64(math.Ceil(left))
		x.LeftS = &s
	}
}
