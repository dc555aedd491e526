package bench

import (
	"fmt"
	"math"
	"time"
)

// Result is one run. Times are in microseconds.
type Result struct {
	Op          Op      `json:"op"`
	InFlight    int     `json:"in_flight"`
	Connections int     `json:"connections"`
	OpsPerS     float64 `json:"ops_per_s"`
	P50         float64 `json:"p50_us"`
	P99         float64 `json:"p99_us"`
	P999        float64 `json:"p999_us"`
	// ServerCPU is of all nodes together, ClientCPU of this process.
	ServerCPU float64 `json:"server_cpu_us_per_op"`
	ClientCPU float64 `json:"client_cpu_us_per_op"`
	Errors    uint64  `json:"errors"`

	Done    uint64  `json:"done"` // without errors
	Seconds float64 `json:"seconds"`
	Mean    float64 `json:"mean_us"`
	P90     float64 `json:"p90_us"`
	Max     float64 `json:"max_us"`

	Pipelined    bool     `json:"pipelined"`
	Keys         int      `json:"keys"`
	KeyBytes     int      `json:"key_bytes"`
	ValueBytes   int      `json:"value_bytes"`
	Distribution string   `json:"distribution"`
	Seed         uint64   `json:"seed"`
	Read         string   `json:"read,omitempty"`         // of reads: linearizable or local
	ReadPercent  *int     `json:"read_percent,omitempty"` // of a mixed run, with the two below
	Sets         *Part    `json:"sets,omitempty"`
	Gets         *Part    `json:"gets,omitempty"`
	Rows         *float64 `json:"rows_per_op,omitempty"` // of lists
	Open         *Open    `json:"open,omitempty"`        // of an open loop

	Slices []Slice `json:"slices,omitempty"` // of a run that was cut into some

	// Side and Round are set where two sides are compared.
	Side  string `json:"side,omitempty"`
	Round int    `json:"round,omitempty"`

	// Buckets are the histogram. That of an open loop has what was missed, too.
	Buckets []Bucket `json:"buckets"`

	// First is one of the errors, if there were any.
	First error `json:"-"`
	// Unasked are the addresses of nodes whose time is not in ServerCPU: they
	// did not answer before or after the run, or were started again in it.
	Unasked []string `json:"-"`
}

// Part is one kind of the operations of a mixed run.
type Part struct {
	Done uint64  `json:"done"`
	P50  float64 `json:"p50_us"`
	P99  float64 `json:"p99_us"`
	P999 float64 `json:"p999_us"`
}

// Open is what an open loop asked for. Due is Done, Errors and Missed together.
type Open struct {
	Rate   float64 `json:"rate"`
	Due    uint64  `json:"due"`
	Late   uint64  `json:"late"`   // started more than [LateAfter] after they were due
	Missed uint64  `json:"missed"` // not started before the end
}

func (r *run) result(took, server, own time.Duration) Result {
	p := &r.plan
	out := Result{
		Op: p.Op, InFlight: p.InFlight, Connections: p.Connections, Pipelined: p.Pipelined,
		Keys: p.Keys, KeyBytes: p.KeyBytes, ValueBytes: p.ValueBytes, Distribution: "uniform", Seed: p.Seed,
	}
	if p.Exponent > 0 {
		out.Distribution = fmt.Sprintf("zipf:%v", p.Exponent)
	}
	if p.Op.Reads() {
		out.Read = "linearizable"
		if p.Local {
			out.Read = "local"
		}
	}
	var all, sets, gets histogram
	var rows, late, missed uint64
	for i := range r.callers {
		x := &r.callers[i]
		if x.sets != nil {
			sets.add(x.sets)
		}
		if x.gets != nil {
			gets.add(x.gets)
		}
		rows, late, missed = rows+x.rows, late+x.late, missed+x.miss
		out.Done += x.done
		out.Errors += x.errors
		if out.First == nil {
			out.First = x.first
		}
	}
	for i := range r.slices {
		all.add(&r.slices[i].took)
	}
	if p.Every > 0 {
		out.Slices = r.sliceResults()
	}
	ops := max(float64(out.Done), 1)
	out.Seconds = math.Round(took.Seconds()*1000) / 1000
	out.OpsPerS = tenths(float64(out.Done) / took.Seconds())
	out.P50, out.P90, out.P99, out.P999 = micros(all.quantile(0.5)), micros(all.quantile(0.9)), micros(all.quantile(0.99)), micros(all.quantile(0.999))
	out.Mean, out.Max = micros(all.mean()), micros(all.longest)
	out.ServerCPU, out.ClientCPU = hundredths(micros(server)/ops), hundredths(micros(own)/ops)
	out.Buckets = all.buckets()
	switch p.Op {
	case OpMixed:
		out.ReadPercent, out.Sets, out.Gets = &p.ReadPercent, partOf(&sets), partOf(&gets)
	case OpList:
		n := tenths(float64(rows) / ops)
		out.Rows = &n
	}
	if p.Rate > 0 {
		out.Open = &Open{Rate: p.Rate, Due: out.Done + out.Errors + missed, Late: late, Missed: missed}
	}
	return out
}

func partOf(h *histogram) *Part {
	return &Part{Done: h.total, P50: micros(h.quantile(0.5)), P99: micros(h.quantile(0.99)), P999: micros(h.quantile(0.999))}
}

func micros(d time.Duration) float64 { return tenths(float64(d) / 1000) }

func tenths(f float64) float64 { return math.Round(f*10) / 10 }

// hundredths are for what some operations cost less than two microseconds of.
func hundredths(f float64) float64 { return math.Round(f*100) / 100 }
