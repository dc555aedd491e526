package queries

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"muster/raft"
	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/points"
	"muster/shardmap/points/query"
	"muster/shardmap/points/statement"
)

// deletes carries out DELETE, DROP SERIES and DROP MEASUREMENT. Shards are asked first which series it reaches, for a delete
// that reaches nothing takes room there too; each shard of the span then gets it, whether it has the series or not, so that
// the points of a hint go with those that are there. It ends early with an error if a part of it fails, and can be sent
// again: to delete what is gone changes nothing.
func (r *run) deletes(x *statement.Deletion) error {
	for pause := movedPause; ; pause = min(2*pause, movedPauseMax) {
		err := r.deleteAll(x)
		var refused *wire.Error
		if !errors.As(err, &refused) || refused.Code != wire.CodeMoved {
			return err
		}
		select {
		case <-time.After(pause):
		case <-r.ctx.Done():
			return r.ctx.Err()
		}
		if err := r.refresh(); err != nil {
			return err
		}
	}
}

func (r *run) deleteAll(x *statement.Deletion) error {
	d, windows, err := r.windows(x.Database, x.Policy, x.First, x.Last)
	if err != nil {
		return err
	}
	b := r.budget()
	answers, err := r.lists(r.shards(d.Name, windows), &x.Series, b)
	if err != nil {
		return err
	}
	groups := refs(d.ID, windows)
	for _, of := range statement.Merge(answers) {
		var keys [][]byte
		for _, p := range of.Pairs {
			keys = append(keys, []byte(p.A))
		}
		if err := spend(b, of.Pairs); err != nil {
			return err
		}
		for _, g := range groups {
			whole := shardmap.PointsDelete{Shards: g.shards, Name: d.Name, Measurement: points.AppendMeasurement(nil, []byte(of.Measurement)), Series: keys, First: x.First, Last: x.Last}
			for piece := range whole.Pieces() {
				if _, err := client.DeletePoints(r.ctx, r.Client, g.group, piece); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// spend takes the memory of keys from a budget.
func spend(b *query.Budget, keys []statement.Pair) error {
	for _, p := range keys {
		b.Memory -= int64(len(p.A)) + 24
	}
	if b.Memory < 0 {
		return &query.LimitError{What: "bytes of memory than it was given", Remedy: "delete fewer series at once"}
	}
	return nil
}

// groupShards are the shards of a group, as a delete names them.
type groupShards struct {
	group  raft.GroupID
	shards []shardmap.ShardRef
}

// refs returns the shards of windows by their groups, in order.
func refs(d shardmap.DatabaseID, windows []shardmap.Window) (all []groupShards) {
	at := map[raft.GroupID]int{}
	for i := range windows {
		w := &windows[i]
		for n, g := range w.Shards {
			k, found := at[g]
			if !found {
				k = len(all)
				at[g] = k
				all = append(all, groupShards{group: g})
			}
			all[k].shards = append(all[k].shards, shardmap.ShardRef{
				ShardID: shardmap.ShardID{Window: w.ID, Shard: points.Shard(n)}, Shards: uint32(len(w.Shards)), Database: d, Policy: w.Policy, Span: w.Span(),
			})
		}
	}
	for i := range all {
		slices.SortFunc(all[i].shards, func(a, b shardmap.ShardRef) int {
			return cmp.Or(cmp.Compare(a.Window, b.Window), cmp.Compare(a.Shard, b.Shard))
		})
	}
	slices.SortFunc(all, func(a, b groupShards) int { return cmp.Compare(a.group, b.group) })
	return all
}
