package client

import (
	"context"
	"fmt"
	"slices"
	"time"

	"muster/repl/wire"
	"muster/shardmap"
)

// Calls that become several requests.

// PartlyError says that some of many keys were not dealt with.
type PartlyError struct {
	Total int
	Items []ItemError // in the order of the request

	before []byte // the prefix of the namespace that its keys are of
}

// ItemError is what became of one key.
type ItemError struct {
	Index int // in the request
	Key   []byte
	Err   error
}

func (e *PartlyError) Error() string {
	first := e.Items[0]
	text := fmt.Sprintf("%s: %v", shardmap.ShowKey(slices.Concat(e.before, first.Key)), first.Err)
	if e.Total == 1 {
		return text
	}
	return fmt.Sprintf("failed for %d of %d keys; the first is %s", len(e.Items), e.Total, text)
}

// Unwrap returns the errors of the keys, so that [errors.As] finds a code.
func (e *PartlyError) Unwrap() []error {
	out := make([]error, len(e.Items))
	for i := range e.Items {
		out[i] = e.Items[i].Err
	}
	return out
}

func (e *PartlyError) add(index int, key []byte, err error) {
	e.Items = append(e.Items, ItemError{Index: index, Key: key, Err: err})
}

// orNil returns e sorted by index, or nil if every key was dealt with.
func (e *PartlyError) orNil() error {
	if len(e.Items) == 0 {
		return nil
	}
	sortItems(e.Items)
	return e
}

// fan starts n calls; begin says what each is. One that can't begin has its
// error and no request.
func fan(n int, begin func(n int, x *call) error) []*call {
	out := make([]*call, n)
	for i := range out {
		x := newCall(wire.TypeWrite)
		if err := begin(i, x); err != nil {
			x.end(err)
		}
		out[i] = x
	}
	return out
}

// gather waits for all calls and hands each to take, in order.
func (c *courier) gather(ctx context.Context, calls []*call, take func(n int, x *call)) {
	done := ctx.Done()
	for n, x := range calls {
		select {
		case <-x.done:
		case <-done:
			c.cancel(x)
			<-x.done
		}
		x.err = withCause(ctx, x.err)
		if x.session != nil && isCode(x.err, wire.CodeStaleSession) {
			x.lane.renew(x.session, randomID())
		}
		take(n, x)
		x.release()
	}
}

// startWrite sends a command on its way and does not wait for the answer, for
// which it has until ctx ends, and no longer than within.
func (c *Client) startWrite(ctx context.Context, x *call, cmd *shardmap.Command, within time.Duration) error {
	if err := c.admit(cmd); err != nil {
		return err
	}
	if err := c.beginWrite(x, cmd, ctx.Done()); err != nil {
		return withCause(ctx, err)
	}
	x.Deadline = min(c.deadlineOf(ctx), c.now()+within)
	c.start(x, ctx.Done())
	return nil
}
