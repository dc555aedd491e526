package pointwriter

import (
	"context"
	"testing"
	"time"

	"muster/shardmap"
)

// A client's table is fetched once for many writes, and again when one wants a newer one, or it has grown old: nothing else
// would tell of another default policy. An older one from a node that is behind does not take its place.
func TestTableOfClient(t *testing.T) {
	now, fetches := time.Unix(0, noon), 0
	next := &shardmap.Table{Index: 10, Level: shardmap.PointsLevel}
	o := &ofClient{now: func() time.Time { return now }, fetch: func(context.Context) (*shardmap.Table, error) {
		fetches++
		return next, nil
	}}
	for i, c := range []struct {
		later   time.Duration
		above   uint64
		index   uint64 // that a node has
		want    uint64
		fetches int
	}{
		{0, 0, 10, 10, 1}, {0, 0, 11, 10, 1}, {tableAgeMax - 1, 9, 11, 10, 1},
		{0, 10, 11, 11, 2}, {0, 11, 11, 11, 3}, {tableAgeMax, 0, 12, 12, 4}, {0, 0, 13, 12, 4}, {tableAgeMax, 0, 9, 12, 5}, {0, 0, 13, 12, 5},
	} {
		now = now.Add(c.later)
		next = &shardmap.Table{Index: c.index, Level: shardmap.PointsLevel}
		if got, err := o.Table(t.Context(), c.above); err != nil || got.Index != c.want || fetches != c.fetches {
			t.Errorf("step %d: got the table of %d after %d fetches, %v; want %d after %d", i, got.Index, fetches, err, c.want, c.fetches)
		}
	}
	next = &shardmap.Table{Index: 20, Level: shardmap.PointsLevel - 1}
	if got, err := o.Table(t.Context(), 15); err == nil {
		t.Errorf("below the level: got %v", got)
	}
}
