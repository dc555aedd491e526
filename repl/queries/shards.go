package queries

import (
	"context"
	"errors"
	"sync"
	"time"

	"muster/raft"
	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/points"
)

// place is a shard that is asked, and where it is.
type place struct {
	database string
	id       shardmap.ShardID
	group    raft.GroupID
	table    uint64 // the index of the table that says so
	over     bool   // its window has gone: nothing of it is kept any more
}

// shards returns the shards of windows, by their start and by number.
func (r *run) shards(database string, windows []shardmap.Window) (all []place) {
	for i := range windows {
		for n, g := range windows[i].Shards {
			all = append(all, place{database: database, id: shardmap.ShardID{Window: windows[i].ID, Shard: points.Shard(n)}, group: g, table: r.table.Index})
		}
	}
	return all
}

// each asks shards the same, [AtOnce] at a time, and gives each answer to take, by several goroutines. The first error ends it.
func (r *run) each(asked []place, ask wire.PointsAsk, body []byte, take func(i int, answer []byte) error) error {
	ctx, stop := context.WithCancelCause(r.ctx)
	defer stop(nil)
	next := make(chan int)
	var running sync.WaitGroup
	for range min(AtOnce, len(asked)) {
		running.Go(func() {
			for i := range next {
				answer, err := r.ask(ctx, &asked[i], ask, body)
				if err == nil && !asked[i].over {
					err = take(i, answer)
				}
				if err != nil {
					stop(err)
				}
			}
		})
	}
	for i := range asked {
		select {
		case next <- i:
		case <-ctx.Done():
		}
	}
	close(next)
	running.Wait()
	return context.Cause(ctx)
}

// ask asks one shard. If another group has it by now, it asks that one.
func (r *run) ask(ctx context.Context, p *place, ask wire.PointsAsk, body []byte) ([]byte, error) {
	pause := movedPause
	for !p.over {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		q := &wire.PointsQuery{
			Group: p.group, Database: p.database, Window: p.id.Window, Shard: p.id.Shard, Ask: ask, Body: body,
			Memory: uint64(r.limits.Memory), Series: uint64(r.limits.Series), Query: r.ID,
			Time: uint64(max(1, time.Until(r.ends).Milliseconds())),
		}
		if r.request.Replicas == AnyReplica {
			q.Mode = wire.ReadFollower
		}
		a, err := client.AskShard(ctx, r.Client, q)
		var refused *wire.Error
		if err == nil || !errors.As(err, &refused) || refused.Code != wire.CodeMoved {
			return a.Answer, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		pause = min(2*pause, movedPauseMax)
		if err := r.find(ctx, p); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// find looks up in a table as new as any that was seen where a shard is.
func (r *run) find(ctx context.Context, p *place) error {
	t, _, err := r.Client.Table(ctx, "")
	if err != nil || t.Index < p.table {
		return err // a node that is behind knows no better: the same group is asked again
	}
	p.table = t.Index
	d, ok := t.Catalog.DatabaseNamed(p.database)
	if !ok {
		return &NotFoundError{"database", p.database}
	}
	w, ok := t.Catalog.Window(p.id.Window)
	policy, _ := t.Catalog.Policy(w.Policy)
	if !ok || w.Hidden != 0 || policy.Database != d.ID || int(p.id.Shard) >= len(w.Shards) {
		p.over = true
		return nil
	}
	p.group = w.Shards[p.id.Shard]
	return nil
}
