package client

import (
	"bytes"
	"context"
	"fmt"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// PointsAnswer tells what became of points that were sent to a group.
type PointsAnswer = wire.PointsAnswer

// BringPoints has a group store points of a shard that the table gives it. It returns once a majority of the group's
// voters has them on disk. They are sent again until they are stored or ctx is over, which is harmless unless other
// values are written for the same times meanwhile. An error of code moved says that the shard, its window or its database
// is not what p says: take it from a newer table. One of code maybe-applied says that the points may be stored, or still come to be.
func BringPoints(ctx context.Context, c *Client, g raft.GroupID, p *shardmap.PointsBody) (a PointsAnswer, err error) {
	command := p.Command()
	if err := pointsWrite(ctx, c, g, &command, &a); err != nil {
		return a, fmt.Errorf("bring points to %s: %w", p.Shard, err)
	}
	return a, nil
}

// PointsDeleteAnswer tells which shards of a group a delete reached.
type PointsDeleteAnswer = wire.PointsDeleteAnswer

// DeletePoints has a group take points away from shards that the table gives it; d fits in an entry, as one of
// [shardmap.PointsDelete.Pieces] does. It returns once a majority of the group's voters has the delete on disk. It is sent again until it is
// done or ctx is over, so it may also take points that were written while it was under way. Errors of code moved and
// maybe-applied are as those of [BringPoints].
func DeletePoints(ctx context.Context, c *Client, g raft.GroupID, d *shardmap.PointsDelete) (a PointsDeleteAnswer, err error) {
	command := d.Command()
	err = pointsWrite(ctx, c, g, &command, &a)
	if err != nil {
		return a, fmt.Errorf("delete points of %q: %w", d.Name, err)
	}
	return a, nil
}

// pointsWrite sends a group a command about points until it is done, and reads the answer.
func pointsWrite(ctx context.Context, c *Client, g raft.GroupID, command *shardmap.Command, answer interface{ Read(body []byte) error }) error {
	if err := c.needLevel(ctx, "points", shardmap.PointsLevel); err != nil {
		return err
	}
	x := newCall(wire.TypeWrite)
	defer x.release()
	x.Target, x.Group, x.Write, x.Needs, x.Deadline = ToGroup, g, true, shardmap.PointsLevel, c.deadlineOf(ctx)
	x.body = wire.AppendWrite(x.body[:0], command)
	if err := c.do(ctx, x); err != nil {
		return err
	}
	if err := answer.Read(x.answer); err != nil { // which copies what it keeps
		return fmt.Errorf("read the answer: %w", err)
	}
	return nil
}

// AskWindow returns the window of a policy that takes points of a time. Whichever node is asked has it made if there is none.
// An error of code not-found says that the table has no such policy in that database; one of code conflict, that there
// can't be such a window: the policy no longer keeps points of that time, or has as many windows as it may.
func AskWindow(ctx context.Context, c *Client, q *wire.Window) (a wire.WindowAnswer, err error) {
	if err := c.needLevel(ctx, "points", shardmap.PointsLevel); err != nil {
		return a, fmt.Errorf("ask for a window of policy %d: %w", q.Policy, err)
	}
	if err := c.question(ctx, wire.TypeWindow, "", q, &a); err != nil {
		return a, fmt.Errorf("ask for a window of policy %d: %w", q.Policy, err)
	}
	return a, nil
}

// AskShard puts a part of a query to a shard of a group: to its leader, or, with the mode [wire.ReadFollower], to any
// replica, which makes sure first that it has what the leader has. The answer is of one moment. An error of code moved says that
// the table does not give the shard to that group, or not to that database; one of code too-large names the limit.
func AskShard(ctx context.Context, c *Client, q *wire.PointsQuery) (a wire.PointsQueryAnswer, err error) {
	id := shardmap.ShardID{Window: q.Window, Shard: q.Shard}
	if err := c.needLevel(ctx, "points", shardmap.PointsLevel); err != nil {
		return a, fmt.Errorf("ask %s: %w", id, err)
	}
	x := newCall(wire.TypePointsQuery)
	defer x.release()
	x.Target, x.Group, x.Needs, x.Deadline, x.AnyReplica = ToGroup, q.Group, shardmap.PointsLevel, c.deadlineOf(ctx), q.Mode == wire.ReadFollower
	x.body = q.Append(x.body[:0])
	if err := c.do(ctx, x); err != nil {
		return a, fmt.Errorf("ask %s: %w", id, err)
	}
	// The answer's memory is used again once x is released, and a aliases what it reads.
	if err := a.Read(bytes.Clone(x.answer)); err != nil {
		return a, fmt.Errorf("ask %s: read the answer: %w", id, err)
	}
	return a, nil
}
