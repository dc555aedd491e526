package lock

import (
	"context"
	"errors"
	"fmt"
	"time"

	"muster/repl/client"
	"muster/shardmap"
)

const (
	// triesMax bounds how often one look at a free lock tries to take it: again when its lease has ended meanwhile, or when nobody
	// knows whether a request was carried out. Each time the client has spent all that it could on it.
	triesMax = 8
	// partingMax is how long a process that gives up takes to let go of a lease. One that stays ends by itself.
	partingMax = time.Second
)

// Acquire waits until it holds the lock of that name, or ctx ends. ctx is about the acquisition alone: the lock is held until it is
// released or lost.
//
// Errors: a [*HeldError] if ctx ended while another one held the lock; else those of [client.Client.Txn] and [client.Client.Watch],
// among them code bad-request for a name whose key is in use for something else, and too-large or bad-request for a name or an option
// outside of its limits. With code maybe-applied the lock may be taken, by nobody, until the TTL is over.
func Acquire(ctx context.Context, c *client.Client, name string, o Options) (*Lock, error) {
	return acquire(ctx, remote{c}, name, o)
}

// Try is [Acquire] that does not wait: it ends with a [*HeldError] if another one holds the lock.
func Try(ctx context.Context, c *client.Client, name string, o Options) (*Lock, error) {
	return try(ctx, remote{c}, name, o)
}

func acquire(ctx context.Context, c cluster, name string, o Options) (*Lock, error) {
	a, err := newAttempt(c, name, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", object(name), err)
	}
	for {
		l, err := a.once(ctx)
		var held *HeldError
		if err == nil {
			l.run()
		}
		if !errors.As(err, &held) {
			return l, a.ended(ctx, err)
		}
		if err := a.free(ctx, held.Holder.Token); err != nil {
			if ctx.Err() != nil {
				held.Cause, err = whyOver(ctx), held
			}
			return nil, a.ended(ctx, err)
		}
	}
}

func try(ctx context.Context, c cluster, name string, o Options) (*Lock, error) {
	a, err := newAttempt(c, name, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", object(name), err)
	}
	l, err := a.once(ctx)
	if err == nil {
		l.run()
	}
	return l, a.ended(ctx, err)
}

// attempt is an acquisition under way. All its tries have one mark and, as long as it lives, one lease. So of several about which
// nobody knows whether they were carried out at most one sets the key, that one is known by its mark, and
// none does once the lease is revoked.
type attempt struct {
	cluster cluster
	name    string
	owner   owner
	value   []byte
	ttl     time.Duration
	lease   shardmap.LeaseID // 0: none
	held    *holding         // how long the lease lasts
	clock   func() *clock    // one that begins now
}

func newAttempt(c cluster, name string, o Options) (*attempt, error) {
	if err := o.check(name); err != nil {
		return nil, err
	}
	a := &attempt{cluster: c, name: name, owner: newOwner(), ttl: o.TTL, clock: newClock}
	a.value = appendValue(nil, a.owner, o.Value)
	return a, nil
}

// ended lets go of the lease of an attempt that comes to nothing, and returns its error.
func (a *attempt) ended(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if a.lease != 0 {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), partingMax)
		defer cancel()
		_ = a.cluster.revoke(ctx, a.lease) // it ends by itself
	}
	var held *HeldError
	if errors.As(err, &held) {
		return err // it names the lock
	}
	return fmt.Errorf("%s: %w", object(a.name), err)
}

// once tries to take the lock: a [*HeldError] says that another one has it. It looks first, because that costs no entry in a log,
// and most of those that look find the lock taken.
func (a *attempt) once(ctx context.Context) (*Lock, error) {
	now, err := a.cluster.read(ctx, a.name)
	if err != nil {
		return nil, err
	}
	if now.version != 0 {
		if err := a.otherwise(now); err != nil {
			return nil, err
		}
	}
	for range triesMax {
		now, err = a.take(ctx)
		switch {
		case err == nil:
			return hold(ctx, a, Token(now.version)), nil
		case errors.Is(err, client.ErrNotFound): // the lease has ended, and with it what was set under it
			a.lease = 0
		case !unsure(err) || ctx.Err() != nil:
			return nil, err
		}
	}
	return nil, err
}

// take sets the key. Without an error it is this attempt's.
func (a *attempt) take(ctx context.Context) (record, error) {
	if err := a.borrow(ctx); err != nil {
		return record{}, err
	}
	now, err := a.cluster.take(ctx, a.name, a.value, a.lease)
	if err == nil {
		err = a.otherwise(now)
	}
	if err == nil {
		err = a.borrow(ctx) // the answer may have taken long
	}
	return now, err
}

// bugOneToken is planted to show that its tests find it: a process takes the key of another one for its own.
const bugOneToken = "two holders of a lock with one fencing token"

// otherwise is the error of a key that has something else than what this attempt sets.
func (a *attempt) otherwise(now record) error {
	who, value, ok := readValue(now.value)
	switch {
	case !ok:
		return errForeign(a.name)
	case who != a.owner && !bug(bugOneToken):
		return &HeldError{Name: a.name, Holder: Holder{Token(now.version), value}}
	}
	return nil
}

// borrow sees to a lease that lasts for two thirds of its TTL or more.
func (a *attempt) borrow(ctx context.Context) error {
	if a.lease != 0 {
		if _, keep := a.held.left(); keep > 0 {
			return nil
		}
		asked := a.held.clock.now()
		err := a.cluster.keepAlive(ctx, a.lease)
		if err == nil {
			a.held.confirmed(asked)
		}
		return err
	}
	held := &holding{clock: a.clock(), tenure: tenure{ttl: a.ttl}}
	id, err := a.cluster.grant(ctx, a.name, a.ttl)
	if err != nil {
		return err
	}
	held.confirmed(0)
	a.lease, a.held = id, held
	return nil
}

// free waits until the lock does not have the token of a holder any more.
func (a *attempt) free(ctx context.Context, of Token) error {
	for now, err := range a.cluster.changes(ctx, a.name) {
		if err != nil {
			return err
		}
		if Token(now.version) != of {
			return nil
		}
	}
	return ctx.Err()
}
