package client

import (
	"context"
	"fmt"
	"time"

	"muster/repl/wire"
	"muster/shardmap"
)

// Lease is a time that a client keeps alive, and with which the keys that are attached to it
// end. Like a key it lives in a slot; only keys of that slot can be attached to it.
type Lease struct {
	Written
	ID shardmap.LeaseID
	// TTL is how long it lasts after it was granted or last kept alive. Time counts while the
	// group has a leader: a lease never ends early, but may end late.
	TTL time.Duration
}

// Grant returns a new lease in forKey's slot. It lasts for d, 1 ms to [shardmap.TTLMax] ms,
// rounded up to whole milliseconds. Its id is never given again. [SetOptions.Lease] attaches
// keys of that slot to it.
//
// Errors have these codes: bad-request or too-large for a d outside of its limits, with
// nothing sent; level in a cluster below level 5; maybe-applied if the lease may have been
// granted, which then ends by itself.
func (c *Client) Grant(ctx context.Context, forKey []byte, d time.Duration) (Lease, error) {
	ms, err := ttl{d, true}.ms()
	if err == nil {
		err = checkKey(forKey)
	}
	if err != nil {
		return Lease{}, fmt.Errorf("grant a lease: %w", err)
	}
	l, err := runLease(ctx, c, shardmap.SlotOf(forKey), shardmap.LeaseGrant, 0, ms)
	if err != nil {
		return Lease{}, fmt.Errorf("grant a lease for %s: %w", shardmap.ShowKey(forKey), err)
	}
	return l, nil
}

// Keepalive makes a lease last for its whole TTL from now on, once; [Client.KeepAlive] does it again and
// again. An error of code not-found says that the lease is gone, with all keys that were attached to it.
func (c *Client) Keepalive(ctx context.Context, id shardmap.LeaseID) (Lease, error) {
	l, err := runLease(ctx, c, id.Slot(), shardmap.LeaseKeepalive, id, 0)
	if err != nil {
		return Lease{}, fmt.Errorf("keep lease %s alive: %w", id, err)
	}
	return l, nil
}

// Revoke ends a lease, and deletes all keys that are attached to it. An error of code
// not-found says that the lease was gone already.
func (c *Client) Revoke(ctx context.Context, id shardmap.LeaseID) (Written, error) {
	l, err := runLease(ctx, c, id.Slot(), shardmap.LeaseRevoke, id, 0)
	if err != nil {
		return Written{}, fmt.Errorf("revoke lease %s: %w", id, err)
	}
	return l.Written, nil
}

// runLease runs one command about a lease.
func runLease(ctx context.Context, c *Client, slot shardmap.Slot, op shardmap.LeaseOp, id shardmap.LeaseID, ms uint64) (Lease, error) {
	if op != shardmap.LeaseGrant {
		if err := checkLease(id); err != nil {
			return Lease{}, err
		}
	}
	cmd := shardmap.LeaseCommand(slot, op, id, ms)
	x := newCall(wire.TypeWrite)
	defer x.release()
	if err := c.write(ctx, x, &cmd); err != nil {
		return Lease{}, err
	}
	var a wire.LeaseAnswer
	if err := a.Read(x.answer); err != nil {
		return Lease{}, fmt.Errorf("answer about a lease: %w", err)
	}
	if a.Lease.Slot() != slot || op != shardmap.LeaseGrant && a.Lease != id {
		return Lease{}, fmt.Errorf("answer about a lease: it is about %s", a.Lease)
	}
	return Lease{
		Written: Written{Group: a.Group, ID: a.ID},
		ID:      a.Lease, TTL: lasting(a.TTL),
	}, nil
}

// checkLease refuses what can't be the id of a lease.
func checkLease(id shardmap.LeaseID) error {
	if id.Number() == 0 || id.Slot() >= shardmap.Slots {
		return wire.BadRequest("lease "+id.String(), "no lease has that number", "give one as it was granted")
	}
	return nil
}
