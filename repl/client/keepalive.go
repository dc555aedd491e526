package client

import (
	"context"
	"fmt"
	"time"

	"muster/repl/wire"
	"muster/shardmap"
)

// LeaseKept is what [Client.KeepAlive] reports.
type LeaseKept struct {
	Lease       // as it was last kept alive
	Err   error // why it is no longer kept alive; this report is the last one
}

// keepAlivePart is the part of its TTL after which a lease is kept alive again: a third, so
// that two tries may fail.
const keepAlivePart = 3

// KeepAlive keeps a lease alive: once now, then after each third of its TTL, until ctx ends.
// It reports on the channel each time that it kept the lease alive and, at the end, why it
// stopped; then it closes the channel. The channel holds the newest report only, so a caller
// that does not read it hinders nothing.
//
// It stops when ctx ends or the client is closed; when the lease is gone (code not-found);
// and when the cluster has not confirmed for the whole TTL that the lease lives (code
// unavailable, or maybe-applied). The lease may be gone then, so whatever relies on it must
// stop. It may also live on; to keep trying, call KeepAlive again.
func (c *Client) KeepAlive(ctx context.Context, id shardmap.LeaseID) <-chan LeaseKept {
	told := make(chan LeaseKept, 1) // holds the newest; only the keeper sends on it, and closes it
	k := &leaseKeeper{client: c, id: id, told: told}
	if !c.goes() {
		k.tell(LeaseKept{Lease: Lease{ID: id}, Err: ErrClosed})
		close(told)
		return told
	}
	go k.run(ctx)
	return told
}

// goes reports whether the client is open; if so it adds one to running, for a goroutine
// that the caller starts. That one ends soon after stop is closed, and calls running.Done.
func (c *courier) goes() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.running.Add(1)
	}
	return !c.closed
}

// leaseKeeper keeps one lease alive.
type leaseKeeper struct {
	client *Client
	id     shardmap.LeaseID
	told   chan LeaseKept
}

func (k *leaseKeeper) run(ctx context.Context) {
	defer k.client.running.Done()
	defer close(k.told)
	until := never // when the lease may be gone, on the client's clock
	for {
		// The TTL counts from when the request was sent: the lease lives at least as long.
		asked := k.client.look()
		lease, err := k.once(ctx, until-asked)
		if err != nil {
			k.tell(LeaseKept{Lease: Lease{ID: k.id}, Err: err})
			return
		}
		k.tell(LeaseKept{Lease: lease})
		until = asked + lease.TTL
		if err := k.pause(ctx, asked+lease.TTL/keepAlivePart-k.client.look()); err != nil {
			k.tell(LeaseKept{Lease: lease, Err: fmt.Errorf("keep lease %s alive: %w", k.id, err)})
			return
		}
	}
}

// once keeps the lease alive, within the time that it has.
func (k *leaseKeeper) once(ctx context.Context, within time.Duration) (Lease, error) {
	within = min(within, RetryMax)
	if within <= 0 {
		return Lease{}, fmt.Errorf("keep lease %s alive: %w", k.id, wire.Unavailable("lease "+k.id.String(), "its time passed before it could be kept alive"))
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	return k.client.Keepalive(ctx, k.id)
}

func (k *leaseKeeper) pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(max(d, 0))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return over(ctx)
	case <-k.client.stop:
		return ErrClosed
	}
}

// tell replaces the report that was not read, if there is one.
func (k *leaseKeeper) tell(l LeaseKept) {
	select {
	case <-k.told:
	default:
	}
	k.told <- l
}
