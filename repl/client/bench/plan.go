package bench

import (
	"fmt"
	"time"

	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
)

// Op is what a run does all the time.
type Op string

const (
	OpSet   Op = "set"   // of random keys
	OpGet   Op = "get"   // of keys that are set before
	OpMixed Op = "mixed" // gets and sets; Plan.ReadPercent are gets
	OpList  Op = "list"  // up to Plan.Rows keys and values, from a random key on
)

// Ops are all there are.
var Ops = []Op{OpSet, OpGet, OpMixed, OpList}

// Reads reports whether the op wants keys that are there.
func (o Op) Reads() bool { return o != OpSet }

// Limits of a plan; beyond them the client measures itself.
const (
	InFlightMax = 65536
	KeysMax     = 100_000_000
	RowsMax     = wire.ListRowsMax
	SlicesMax   = 10_000
	RateMin     = 0.01 // a second
	RateMax     = 10_000_000
)

// Plan says what is run.
type Plan struct {
	Op          Op
	ReadPercent int  // of OpMixed, 0 to 100
	Local       bool // reads take the first endpoint's own copy; else they are linearizable
	Rows        int  // of OpList
	// InFlight is how many may be under way: callers that wait for their answer
	// each, or, Pipelined, requests of one caller that does not.
	InFlight    int
	Pipelined   bool
	Connections int // to each node; as the client was opened with
	// Rate makes the loop an open one: so many are due each second, whatever
	// became of those before. 0 makes it a closed one.
	Rate       float64
	KeyBytes   int // with the prefix and the number
	ValueBytes int
	Keys       int // different ones
	// Exponent makes the choice of keys a zipf distribution; with 0 all are
	// taken alike.
	Exponent float64
	Warmup   time.Duration // run before, not counted
	Duration time.Duration
	// Every cuts the run into slices, which are counted each for itself too,
	// by when operations end; 0 does not.
	Every time.Duration
	Grace time.Duration // how long the last answers may take after it
	Seed  uint64        // of the choice of keys
}

// Check says what of p can't be run.
func (p *Plan) Check() error {
	switch p.Op {
	case OpSet, OpGet, OpMixed, OpList:
	default:
		return fmt.Errorf("op %q; want one of %v", p.Op, Ops)
	}
	if p.Op == OpList && p.Pipelined {
		return fmt.Errorf("list, pipelined; want callers that wait, for a listing is several requests")
	}
	for _, b := range []struct {
		what           string
		n, least, most int
	}{
		{"in flight", p.InFlight, 1, InFlightMax},
		{"keys", p.Keys, 1, KeysMax},
		{"key size", p.KeyBytes, KeyBytesMin(p.Keys), shardmap.KeyMax},
		{"value size", p.ValueBytes, 0, shardmap.ValueMaxLimit},
		{"percent of reads", p.ReadPercent, 0, 100},
		{"rows", p.Rows, rowsMin(p.Op), RowsMax},
	} {
		if b.n < b.least || b.n > b.most {
			return fmt.Errorf("%s %d; want %d to %d", b.what, b.n, b.least, b.most)
		}
	}
	if p.Rate != 0 && !(p.Rate >= RateMin && p.Rate <= RateMax) {
		return fmt.Errorf("rate %v; want 0, for a closed loop, or %v to %d a second", p.Rate, RateMin, RateMax)
	}
	if !(p.Exponent >= 0 && p.Exponent <= ExponentMax) {
		return fmt.Errorf("exponent %v; want 0, for all alike, to %d", p.Exponent, ExponentMax)
	}
	if p.Every < 0 || p.Every > 0 && p.Duration/p.Every >= SlicesMax {
		return fmt.Errorf("slices of %s, of %s; want fewer than %d, or 0 for none", p.Every, p.Duration, SlicesMax)
	}
	if p.Duration <= 0 || p.Warmup < 0 || p.Grace <= 0 {
		return fmt.Errorf("duration %s after a warm-up of %s, and a grace of %s; want more than 0", p.Duration, p.Warmup, p.Grace)
	}
	return nil
}

func rowsMin(o Op) int {
	if o == OpList {
		return 1
	}
	return 0
}

func (p *Plan) readOptions() client.ReadOptions { return client.ReadOptions{Local: p.Local} }

// due is when operation n of an open loop is to be started.
func (p *Plan) due(n int64) time.Duration {
	return time.Duration(float64(n) / p.Rate * float64(time.Second))
}

// dueBy is how many operations are due before d.
func (p *Plan) dueBy(d time.Duration) int64 {
	n := int64(d.Seconds() * p.Rate)
	for p.due(n) < d { // what rounding took
		n++
	}
	for n > 0 && p.due(n-1) >= d {
		n--
	}
	return n
}
