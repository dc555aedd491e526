package bench

import "time"

// slice is what was counted in one slice of a run. A caller counts for itself
// what ends in the slice that it is in, and adds it here when it leaves it: 4,096
// callers with a histogram for each minute of a day would take gigabytes.
type slice struct {
	took histogram
	done uint64
}

// Slice is one of a run that was cut. Of an open loop the last has what was
// missed, too.
type Slice struct {
	From float64 `json:"from_s"` // the beginning of the run is 0
	Done uint64  `json:"done"`
	P50  float64 `json:"p50_us"`
	P99  float64 `json:"p99_us"`
	P999 float64 `json:"p999_us"`
	Max  float64 `json:"max_us"`
}

// leave adds what x has counted in its slice, and clears it.
func (r *run) leave(x *caller) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.slices) <= x.slice {
		r.slices = append(r.slices, slice{})
	}
	s := &r.slices[x.slice]
	s.took.add(&x.took)
	s.done += x.done - x.left
	x.took, x.left = histogram{}, x.done
}

func (r *run) sliceResults() (all []Slice) {
	for i := range r.slices {
		s := &r.slices[i]
		all = append(all, Slice{
			From: (time.Duration(i) * r.plan.Every).Seconds(), Done: s.done,
			P50: micros(s.took.quantile(0.5)), P99: micros(s.took.quantile(0.99)), P999: micros(s.took.quantile(0.999)), Max: micros(s.took.longest),
		})
	}
	return all
}
