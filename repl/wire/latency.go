package wire

import "time"

// Latencies stand among the rows of a CountersAnswer, each in three rows whose names begin with one of
// these. Their figures are in Out.
const (
	LatencyWrites = "latency: writes"    // that this node led, from when it read them off a connection until it answered
	LatencyReads  = "latency: reads"     // the same of gets and of pages of listings
	LatencySyncs  = "latency: log syncs" // a write of the log and its sync
)

// Ends of the names of the second and the third row.
const (
	latencyP50 = " p50 µs"
	latencyP99 = " p99 µs"
)

// Latency is how long something took of late.
type Latency struct {
	Count    uint64 // how many there were
	P50, P99 time.Duration
}

// Rows returns the three rows of a latency; none if there was nothing.
func (l Latency) Rows(name string) []CounterRow {
	if l.Count == 0 {
		return nil
	}
	return []CounterRow{
		{Name: name, Out: l.Count},
		{Name: name + latencyP50, Out: uint64(l.P50.Microseconds())},
		{Name: name + latencyP99, Out: uint64(l.P99.Microseconds())},
	}
}

// LatencyIn finds a latency among rows; without it, Count is 0.
func LatencyIn(rows []CounterRow, name string) (l Latency) {
	for _, r := range rows {
		switch r.Name {
		case name:
			l.Count = r.Out
		case name + latencyP50:
			l.P50 = time.Duration(r.Out) * time.Microsecond
		case name + latencyP99:
			l.P99 = time.Duration(r.Out) * time.Microsecond
		}
	}
	return l
}
