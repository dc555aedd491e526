package bench

import (
	"context"
	"time"

	"muster/repl/client"
)

// caller is one of those who ask. The padding keeps two of them off one cache
// line.
type caller struct {
	slice  int        // of the run, which it is in
	took   histogram  // in that slice: of what was done, and of what was missed
	sets   *histogram // of a mixed run, what was done
	gets   *histogram
	rows   uint64 // of lists
	done   uint64
	left   uint64 // of done, in slices that it has left
	late   uint64 // of an open loop: started more than LateAfter after they were due
	miss   uint64 // of an open loop: not started at all
	errors uint64
	first  error
	_      [64]byte
}

// record counts one operation that took d and ended at, from the beginning of
// the loop.
func (r *run) record(x *caller, op Op, at, d time.Duration, err error) {
	if r.plan.Every > 0 && int(at/r.plan.Every) > x.slice {
		r.leave(x)
		x.slice = int(at / r.plan.Every)
	}
	if err != nil {
		if x.errors++; x.first == nil {
			x.first = err
		}
		return
	}
	x.done++
	x.took.record(d)
	if r.plan.Op != OpMixed {
		return
	}
	h := &x.sets
	if op == OpGet {
		h = &x.gets
	}
	if *h == nil {
		*h = new(histogram)
	}
	(*h).record(d)
}

// call asks, and waits for each answer.
func (r *run) call(ctx context.Context, x *caller, loop time.Time, number uint64) {
	// A context of its own, as requests of different users have: all would
	// otherwise meet at the lock of one channel.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	next := newChooser(&r.plan, number)
	var got []byte
	for !r.over.Load() && ctx.Err() == nil {
		began := time.Now()
		if r.schedule != nil {
			due, ok := r.schedule.take()
			if !ok {
				return
			}
			if time.Since(due) > LateAfter {
				x.late++
			}
			began = due
		}
		op := next.next()
		var err error
		switch op {
		case OpSet:
			_, err = r.client.Set(ctx, next.key, next.value, client.WriteOptions{})
		case OpGet:
			got, _, _, err = r.client.GetOne(ctx, next.key, got[:0], r.plan.readOptions())
		case OpList:
			var rows uint64
			rows, err = r.list(ctx, next.key)
			x.rows += rows
		}
		now := time.Now()
		r.record(x, op, now.Sub(loop), now.Sub(began), err)
	}
}

// list lists what comes after key.
func (r *run) list(ctx context.Context, key []byte) (rows uint64, err error) {
	o := client.ListOptions{After: key, Limit: r.plan.Rows, Local: r.plan.Local}
	for _, err := range r.client.List(ctx, []byte(prefix), o) {
		if err != nil {
			return rows, err
		}
		rows++
	}
	return rows, nil
}
