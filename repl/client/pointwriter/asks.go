package pointwriter

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/points"
)

const (
	// AsksMax bounds the windows that a write asks for at once.
	AsksMax = 4
	// refusedFor is how long it is remembered that there can be no window: a client that sends old points sends more of them.
	refusedFor = 10 * time.Second
	// refusedMax bounds the windows of which that is remembered.
	refusedMax = 1024
)

// ask has each window made that is missing. Afterwards each gap has a window, or a reason why it has none.
func (w *write) ask(ctx context.Context) {
	for {
		gaps := w.placing.next(AsksMax)
		if len(gaps) == 0 {
			return
		}
		answers, errs := make([]*wire.WindowAnswer, len(gaps)), make([]error, len(gaps))
		var asked sync.WaitGroup
		for i, x := range gaps {
			asked.Go(func() {
				q := wire.Window{Policy: uint64(w.policy.ID), Time: x.time, Database: w.database.Name}
				answers[i], errs[i] = w.gateway.asks.window(ctx, w.cluster, &q)
			})
		}
		asked.Wait()
		for i, x := range gaps {
			if errs[i] != nil {
				w.placing.lacking(x.span, w.lackOf(x.span, errs[i]))
				continue
			}
			w.placing.add(x.span, answers[i])
		}
	}
}

// lackOf returns why there is no window in a span.
func (w *write) lackOf(span points.Window, err error) *lack {
	var e *wire.Error
	if !errors.As(err, &e) || e.Code != wire.CodeConflict {
		why := err.Error()
		if l := w.request.Level; l == One || l == Any {
			why += "; points of a time that has no window yet can't be hinted, for they have no group"
		}
		return &lack{why: why, err: err}
	}
	p := &w.policy
	// The refusal is the leader's; this node's clock says alone which of its reasons it is.
	if age := w.request.Now - span.Last; span.Last < w.request.Now && p.Duration > 0 && (age < 0 || age >= int64(p.Duration-shardmap.PolicyDurationMin)) {
		// The span may reach back to the first of all times, and what is so here is so of all before it: its end tells more.
		end := time.Unix(0, span.Last).UTC().Add(time.Nanosecond)
		return &lack{dropped: true, reason: BeyondRetention, why: fmt.Sprintf("policy %q keeps points for %s, and takes none before %s", p.Name, p.Duration, end.Format(time.RFC3339))}
	}
	if span.First > w.request.Now {
		return &lack{dropped: true, reason: TooFarAhead, why: e.Error()}
	}
	return &lack{why: e.Error(), err: err}
}

// asks has one window made for all writes that want it at once.
type asks struct {
	mu      sync.Mutex
	flying  map[askKey]*ask       // guarded by mu
	refused map[askKey]refusedAsk // guarded by mu
}

// askKey is the policy and the time that a window is asked for by.
type askKey struct {
	policy shardmap.PolicyID
	time   int64
}

// ask is a question for a window under way.
type ask struct {
	done   chan struct{} // closed by the write that asks, after answer and err are set
	answer *wire.WindowAnswer
	err    error
}

// refusedAsk is a window that there can't be.
type refusedAsk struct {
	err   error
	until time.Time
}

// window asks for a window, or waits for a write that does. If that write's time is over first, it asks itself.
func (a *asks) window(ctx context.Context, c Cluster, q *wire.Window) (*wire.WindowAnswer, error) {
	key := askKey{shardmap.PolicyID(q.Policy), q.Time}
	for {
		x, first, err := a.begin(key)
		if err != nil {
			return nil, err
		}
		if first {
			x.answer, x.err = c.Window(ctx, q)
			a.end(key, x)
			return x.answer, x.err
		}
		select {
		case <-x.done:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if final(x.err) {
			return x.answer, x.err
		}
	}
}

// final reports whether an answer counts for all who have waited for it: not one that is about who asked, or for how long.
func final(err error) bool {
	var e *wire.Error
	return err == nil || errors.As(err, &e) && e.Code == wire.CodeConflict
}

// begin returns the question under way, and whether the caller is to ask it. The error is that which there was a moment ago.
func (a *asks) begin(key askKey) (x *ask, first bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if r, ok := a.refused[key]; ok {
		if time.Now().Before(r.until) {
			return nil, false, r.err
		}
		delete(a.refused, key)
	}
	if x, ok := a.flying[key]; ok {
		return x, false, nil
	}
	if a.flying == nil {
		a.flying, a.refused = map[askKey]*ask{}, map[askKey]refusedAsk{}
	}
	x = &ask{done: make(chan struct{})}
	a.flying[key] = x
	return x, true, nil
}

// end tells those who wait.
func (a *asks) end(key askKey, x *ask) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.flying, key)
	if x.err != nil && final(x.err) {
		if len(a.refused) >= refusedMax {
			clear(a.refused)
		}
		a.refused[key] = refusedAsk{x.err, time.Now().Add(refusedFor)}
	}
	close(x.done)
}
