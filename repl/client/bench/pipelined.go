package bench

import (
	"context"
	"time"

	"muster/repl/client"
)

// awaitMost bounds how long the pipeline waits before it looks whether it is
// over.
const awaitMost = 50 * time.Millisecond

// pipeline asks for all in flight, and waits for none: the tag of a request is
// when it began, in nanoseconds of this loop, and its lowest bit says that it is
// a get.
func (r *run) pipeline(ctx context.Context, x *caller, began time.Time) {
	next := newChooser(&r.plan, 0)
	p := r.client.Pipe(ctx, r.plan.InFlight, func(o *client.Outcome) {
		op := OpSet
		if o.Tag&1 != 0 {
			op = OpGet
		}
		at := o.At.Sub(began)
		r.record(x, op, at, at-time.Duration(o.Tag>>1), o.Err)
	})
	ask := func(at time.Duration) {
		if op := next.next(); op == OpGet {
			p.Get(next.key, uint64(at)<<1|1, r.plan.readOptions())
		} else {
			p.Set(next.key, next.value, uint64(at)<<1)
		}
	}
	if r.schedule == nil {
		for !r.over.Load() && ctx.Err() == nil {
			p.Reserve() // else the wait for room would count
			ask(time.Since(began))
		}
		p.Wait()
		return
	}
	r.schedule.start(func(int64) { p.Wake() })
	for !r.over.Load() && ctx.Err() == nil && r.schedule.left() {
		now, due := time.Since(began), r.schedule.next()
		if due > now || p.Full() {
			p.Await(awaitMost)
			continue
		}
		r.schedule.taken++
		if now-due > LateAfter {
			x.late++
		}
		ask(due)
	}
	r.schedule.miss(x)
	p.Wait()
}
