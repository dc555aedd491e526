package client

import (
	"context"
	"fmt"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// KeepHint has a node keep points that their group can't take now: the first node that can be had, or another one that it asks, as
// where says. It returns which one keeps them, once they are durable there. That node brings them to the group when it can; where the group
// has values by then, they stay. To keep them twice does no harm.
func KeepHint(ctx context.Context, c *Client, where wire.HintWhere, g raft.GroupID, p *shardmap.PointsBody) (raft.NodeID, error) {
	if err := c.needLevel(ctx, "hints", shardmap.PointsLevel); err != nil {
		return 0, fmt.Errorf("keep points for %s as a hint: %w", p.Shard, err)
	}
	command := p.Command()
	q, a := wire.Hint{Where: where, Group: g, Points: command.Items[0]}, new(wire.HintAnswer)
	if err := c.courier.question(ctx, wire.TypeHint, "", &q, a); err != nil {
		return 0, fmt.Errorf("keep points for %s as a hint: %w", p.Shard, err)
	}
	return a.Node, nil
}

// StoredOn waits until all voters of a group have an entry on disk that is committed, for at most so long, and returns how many have
// it, and how many there are.
func StoredOn(ctx context.Context, c *Client, g raft.GroupID, id raft.LogID, wait time.Duration) (stored, voters int, err error) {
	q, a := wire.Durable{Group: g, Term: id.Term, Index: id.Index, WaitMs: uint64(wait.Milliseconds())}, new(wire.DurableAnswer)
	if err := c.ofGroup(ctx, wire.TypeDurable, shardmap.PointsLevel, g, &q, a); err != nil {
		return 0, 0, fmt.Errorf("ask %s which voters have %s: %w", g, id, err)
	}
	return int(a.Stored), int(a.Voters), nil
}

// Hints asks the node at endpoint about the hints that it keeps, after it has done with them what q wants; empty is the first
// node that can be had.
func (i inspector) Hints(ctx context.Context, endpoint string, q wire.Hints) (*wire.HintsAnswer, error) {
	a := new(wire.HintsAnswer)
	if err := i.courier.question(ctx, wire.TypeHints, endpoint, &q, a); err != nil {
		return nil, fmt.Errorf("hints: %w", err)
	}
	return a, nil
}
