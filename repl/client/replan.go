package client

import (
	"context"
	"errors"
	"time"

	"muster/repl/wire"
)

const (
	// replanPause is between two plans where tables differ, or many slots move.
	replanPause = 50 * time.Millisecond
	// hastyMax is how many plans may follow each other without a pause while nothing comes
	// of them. Each one learns where one slot went, in less time than another slot takes to
	// move; so they catch up with what no table knows yet. After so many a table knows more.
	hastyMax = 64
)

// replans decides when requests that were planned by a table are planned again, because
// slots have moved since.
type replans struct {
	epoch uint64 // of the table that the next plan needs at least
	hasty int    // plans without a pause, since something came of one
}

// moved takes a refusal of code moved, of a plan by the table of epoch. It reports whether
// the next plan has to wait for [replanPause] first.
func (r *replans) moved(e *wire.Error, epoch uint64) (pause bool) {
	switch told := e.Number != 0 && e.Group != 0; {
	case !told && e.Epoch > epoch:
		r.epoch = e.Epoch // the plan waits for that table
		return false
	case told && r.hasty < hastyMax:
		r.hasty++
		return false
	}
	r.hasty = 0
	return true
}

// run has ask make a plan by the newest table, and carry it out; and again by a newer one, as
// long as that is refused with moved and there is time.
func (r *replans) run(ctx context.Context, c *Client, ask func(*Routes) error) error {
	for deadline := c.deadlineOf(ctx); ; {
		if err := c.awaitTable(ctx, r.epoch, deadline); err != nil {
			return err
		}
		err := ask(c.routes.Load())
		var e *wire.Error
		if !errors.As(err, &e) || e.Code != wire.CodeMoved || c.now() >= deadline {
			return err
		}
		if r.moved(e, c.routes.Load().Epoch) {
			if err := pauseReplan(ctx, err); err != nil {
				return err
			}
		}
	}
}

// pauseReplan waits for replanPause. If ctx ends before, it returns why, with err, for which
// a plan was to be made again.
func pauseReplan(ctx context.Context, err error) error {
	select {
	case <-time.After(replanPause):
		return nil
	case <-ctx.Done():
		return withCause(ctx, err)
	}
}
