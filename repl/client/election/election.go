// Package election chooses one of many processes that are to do the same, until it stops.
//
// An election is a lock (package lock) whose holder leads, and whose value says what the others must know of the
// leader, mostly an address. So what is said there holds here too: of what a leader may rely on, of the fencing
// token, which orders the leaders of an election, and of the rights that a candidate needs. Those who only ask need read,
// and watch for [Observe].
//
//	leads, err := election.Campaign(ctx, c, "scheduler", []byte("10.0.0.7:8080"), election.Options{})
//	if err != nil {
//		return err
//	}
//	defer leads.Resign(ctx)
//	return schedule(leads.Context(), leads.Token())
package election

import (
	"context"
	"iter"
	"time"

	"muster/repl/client"
	"muster/repl/client/lock"
)

// Options say how a leader is kept. The zero value is a good one.
type Options struct {
	// TTL is how long an election is without a leader after its leader has crashed, as [lock.Options.TTL].
	TTL time.Duration
}

// Leading is an election that this process has won. Its methods may be called by any number of goroutines.
type Leading struct{ held *lock.Lock }

// Campaign waits until this process leads the election of that name, or ctx ends. value is what [Leader] and [Observe] tell
// the others, at most [lock.ValueMax] bytes. The errors are those of [lock.Acquire].
func Campaign(ctx context.Context, c *client.Client, name string, value []byte, o Options) (*Leading, error) {
	held, err := lock.Acquire(ctx, c, name, lock.Options{TTL: o.TTL, Value: value})
	if err != nil {
		return nil, err
	}
	return &Leading{held}, nil
}

// Token returns the fencing token, which is larger than that of every leader before. [lock.Write] writes what only a
// leader may.
func (l *Leading) Token() lock.Token { return l.held.Token() }

// Context ends when this process can no longer rely on leading, as [lock.Lock.Context].
func (l *Leading) Context() context.Context { return l.held.Context() }

// Err returns nil as long as this process leads, else why not, as [lock.Lock.Err].
func (l *Leading) Err() error { return l.held.Err() }

// Resign lets another one lead. Its errors are those of [lock.Lock.Release].
func (l *Leading) Resign(ctx context.Context) error { return l.held.Release(ctx) }

// Leader returns who leads: its value, and its token. An error of code not-found says that nobody does.
func Leader(ctx context.Context, c *client.Client, name string) (lock.Holder, error) {
	return lock.Look(ctx, c, name)
}

// Observe tells who leads: first who does now, then after each change, until ctx ends, as [lock.Observe]. Token 0 says that nobody
// does.
func Observe(ctx context.Context, c *client.Client, name string) iter.Seq2[lock.Holder, error] {
	return lock.Observe(ctx, c, name)
}
