package client

import (
	"context"
	"fmt"
	"iter"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// LeaseRow is one lease of a listing.
type LeaseRow struct {
	ID        shardmap.LeaseID
	TTL       time.Duration
	Remaining time.Duration // until it ends, as of At
	Keys      int           // attached to it
	Group     raft.GroupID
	At        raft.LogID // the row is as of here
}

// Leases goes through all leases of the cluster: group by group, those of one slot in the
// order of their numbers. Each page is linearizable and of one moment; the listing is not.
// Slots that move meanwhile are found where they went. An error ends it; its code is level
// below level 5.
func (c *Client) Leases(ctx context.Context) iter.Seq2[LeaseRow, error] {
	return func(yield func(LeaseRow, error) bool) {
		err := c.needLevel(ctx, "leases", shardmap.LeasesLevel)
		if err == nil {
			err = c.everyPage(ctx, &leasePager{client: c, ctx: ctx, yield: yield}, slotsOfPrefix(nil))
		}
		if err != nil {
			yield(LeaseRow{}, fmt.Errorf("list leases: %w", err))
		}
	}
}

// leasePager gives out leases.
type leasePager struct {
	client *Client
	ctx    context.Context
	yield  func(LeaseRow, error) bool
	after  shardmap.LeaseID // the last that was given out; 0: begin with the first
}

func (l *leasePager) restart() { l.after = 0 }

func (l *leasePager) page(g raft.GroupID, slots []shardmap.Slot) (end pageEnd, err error) {
	q := wire.Leases{Group: g, Slots: shardmap.SlotRanges(slots), After: l.after, Limit: wire.LeasesMax}
	var a wire.LeasesAnswer
	if err := l.client.ofGroup(l.ctx, wire.TypeLeases, shardmap.LeasesLevel, g, &q, &a); err != nil {
		return end, err
	}
	for _, r := range a.Rows {
		if r.Lease <= l.after {
			return end, fmt.Errorf("leases of group %s: %s comes behind %s", g, r.Lease, l.after)
		}
		l.after = r.Lease
		row := LeaseRow{
			ID: r.Lease, Keys: int(r.Keys), Group: a.Group, At: a.At,
			TTL:       lasting(r.TTL),
			Remaining: lasting(r.Remaining),
		}
		if !l.yield(row, nil) {
			return pageEnd{stop: true}, nil
		}
	}
	return pageEnd{last: l.after.Slot(), more: a.More && len(a.Rows) > 0}, nil
}
