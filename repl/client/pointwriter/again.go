package pointwriter

import (
	"context"
	"errors"
	"time"

	"muster/repl/wire"
)

// againPause is how long [Gateway.WriteAgain] waits before it writes a second time; it waits twice as long before each further
// time, againPauseMax at most.
const (
	againPause    = 100 * time.Millisecond
	againPauseMax = 5 * time.Second
)

// WriteAgain is [Gateway.Write] until no point has failed, or ctx is over: then it returns the best that was reached. An error
// that another try would not mend ends it at once.
func (g *Gateway) WriteAgain(ctx context.Context, c Cluster, q *Request) (best Result, err error) {
	tried := false // once without an error: best counts
	for pause := againPause; ; pause = min(2*pause, againPauseMax) {
		r, wrong := g.Write(ctx, c, q)
		switch {
		case wrong == nil && (!tried || r.Failed < best.Failed):
			best, tried = r, true
		case wrong != nil && !passes(wrong):
			return Result{}, wrong
		}
		if tried && best.Failed == 0 {
			return best, nil
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			if tried {
				return best, nil
			}
			if wrong == nil {
				wrong = context.Cause(ctx)
			}
			return Result{}, wrong
		}
	}
}

// passes reports whether what was refused may be taken later. Points may be written again whatever has become of them.
func passes(err error) bool {
	var e *wire.Error
	if !errors.As(err, &e) {
		return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
	}
	return e.Retry() != wire.RetryNever || e.Code == wire.CodeMaybeApplied
}
