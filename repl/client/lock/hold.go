package lock

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"muster/repl/client"
	"muster/shardmap"
)

// Token is the fencing token of a lock that is held. Of two acquisitions of one name the later one has the larger token. It is the
// version of the lock's key, which grows with every write of that key, also over deletes, moves of the slot,
// restarts and recoveries.
type Token uint64

// Lock is a lock that this process holds. Its methods may be called by any number of goroutines.
type Lock struct {
	name    string
	token   Token
	cluster cluster
	lease   shardmap.LeaseID
	held    *holding
	ctx     context.Context
	end     context.CancelCauseFunc
	running sync.WaitGroup // the keeper and the lookout; both end with ctx
}

// bugTokenOfLease is planted to show that its test finds it: the token is the number of the lease, which grows with each
// grant, and not with each acquisition.
const bugTokenOfLease = "fencing token of the lease"

// hold returns a lock that was taken. It is not kept yet.
func hold(ctx context.Context, a *attempt, token Token) *Lock {
	l := &Lock{name: a.name, token: token, cluster: a.cluster, lease: a.lease, held: a.held}
	if bug(bugTokenOfLease) {
		l.token = Token(a.lease.Number())
	}
	l.ctx, l.end = context.WithCancelCause(context.WithoutCancel(ctx))
	return l
}

// run begins to keep the lock.
func (l *Lock) run() {
	l.running.Go(l.keep)
	l.running.Go(l.lookOut)
}

// Name returns the lock's name, which is its key.
func (l *Lock) Name() string { return l.name }

// Token returns the fencing token.
func (l *Lock) Token() Token { return l.token }

// Context ends when the lock can no longer be relied on: [context.Cause] is a [*LostError] then, or [ErrReleased]. Do under it what the
// lock is for.
//
// It ends before the cluster lets another one in, unless this process does not run at that moment. If somebody
// deletes the lock's key, it ends within a third of the TTL; on a host that was suspended, within a second after
// it runs again.
func (l *Lock) Context() context.Context { return l.ctx }

// Err returns nil as long as the lock can be relied on, else why not. Unlike [Lock.Context], which tells by itself,
// it looks at the clock when it is called.
func (l *Lock) Err() error {
	if until, _ := l.held.left(); until <= 0 {
		l.lose(errUnconfirmed)
	}
	return context.Cause(l.ctx)
}

// lose ends the lock, if it has not ended.
func (l *Lock) lose(why error) { l.end(&LostError{l.name, l.token, why}) }

// lookEvery is how often the clock is looked at, for hosts that were suspended: timers count from where they were.
const lookEvery = 500 * time.Millisecond

// lookOut loses the lock when its time is over.
func (l *Lock) lookOut() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for l.Err() == nil {
		until, _ := l.held.left()
		timer.Reset(min(until, lookEvery))
		select {
		case <-timer.C:
		case <-l.ctx.Done():
		}
	}
}

// keep keeps the lease alive, and looks whether the key is still there.
func (l *Lock) keep() {
	_, pause := l.held.left()
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-l.ctx.Done():
			return
		}
		timer.Reset(l.keepOnce())
	}
}

// keepOnce keeps the lease alive, and returns for how long it need not be kept alive then.
func (l *Lock) keepOnce() time.Duration {
	asked := l.held.clock.now()
	err := l.cluster.keepAlive(l.ctx, l.lease) // for as long as the lock is held
	switch {
	case errors.Is(err, client.ErrNotFound):
		l.lose(errEnded)
	case errors.Is(err, client.ErrClosed):
		l.lose(err)
	case err != nil:
		return l.held.ttl / marginPart // there is time left: the lookout has the last word
	default:
		l.held.confirmed(asked)
		l.lookForKey()
	}
	_, pause := l.held.left()
	return pause
}

// lookForKey loses the lock if its key was deleted: the lease outlives that. It gives up in time to keep the lease alive again.
func (l *Lock) lookForKey() {
	_, pause := l.held.left()
	ctx, cancel := context.WithTimeout(l.ctx, pause)
	defer cancel()
	if now, err := l.cluster.read(ctx, l.name); err == nil && Token(now.version) != l.token && !bug(bugTokenOfLease) {
		l.lose(errReplaced)
	}
}

// Release gives the lock up, and ends its context first. It returns a [*LostError] if the lock was lost before. With any other
// error, as that of a ctx that has ended already, the lock stays taken until its TTL is over; to call Release again may end it sooner.
func (l *Lock) Release(ctx context.Context) error {
	l.end(ErrReleased)
	l.running.Wait()
	err := l.cluster.revoke(ctx, l.lease)
	var lost *LostError
	switch {
	case errors.As(context.Cause(l.ctx), &lost):
		return lost
	case errors.Is(err, client.ErrNotFound):
		return nil
	case err != nil:
		return fmt.Errorf("release %s: %w", object(l.name), err)
	}
	return nil
}
