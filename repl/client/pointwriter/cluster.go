package pointwriter

import (
	"context"
	"fmt"
	"sync"
	"time"

	"muster/raft"
	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
)

// Cluster is what a [Gateway] writes to. Any number of goroutines use it.
type Cluster interface {
	// Table returns a table of an index above one, or the newest that can be had now. It is not to be changed.
	Table(ctx context.Context, above uint64) (*shardmap.Table, error)
	// Window returns the window of a policy that takes points of a time, and has it made if there is none. An error of
	// code conflict says that there can be none.
	Window(ctx context.Context, q *wire.Window) (*wire.WindowAnswer, error)
	// Takes returns a [LevelError] for a level at which Bring brings nothing.
	Takes(l Level) error
	// Bring has a group store points. An error of code moved says that the shard, its window or its database is not what
	// p says, by the newest table. p is not kept. wait is as [Bring] has it.
	Bring(ctx context.Context, g raft.GroupID, p *shardmap.PointsBody, l Level, wait time.Duration) (Brought, error)
}

// Brought is what became of points that were brought to a group.
type Brought struct {
	Hinted bool                // all of them: Answer says nothing
	Why    error               // of hinted ones: why no majority has them; nil: the group was not asked
	Answer client.PointsAnswer // of the group
}

// tableAgeMax is how old the table of a client's cluster may be. Shards that are elsewhere show by themselves; that another
// policy is the default shows in the table alone.
const tableAgeMax = 10 * time.Second

// Of returns the cluster that a client uses, with what the client's user may do there. The table is fetched when a write
// needs a newer one than that of the write before, or that is ten seconds old.
func Of(c *client.Client) Cluster {
	return &ofClient{client: c, now: time.Now, fetch: func(ctx context.Context) (*shardmap.Table, error) {
		t, _, err := c.Table(ctx, "")
		return t, err
	}}
}

type ofClient struct {
	// Set once.
	client *client.Client
	now    func() time.Time
	fetch  func(ctx context.Context) (*shardmap.Table, error)

	mu      sync.Mutex      // guards what follows
	table   *shardmap.Table // the newest that was fetched
	fetched time.Time       // when a table was fetched last
}

// Table implements [Cluster].
func (o *ofClient) Table(ctx context.Context, above uint64) (*shardmap.Table, error) {
	o.mu.Lock()
	had, age := o.table, o.now().Sub(o.fetched)
	o.mu.Unlock()
	if had != nil && had.Index > above && age < tableAgeMax {
		return had, nil
	}
	t, err := o.fetch(ctx)
	if err != nil {
		return nil, err
	}
	if t.Level < shardmap.PointsLevel {
		return nil, fmt.Errorf("write points: %w", wire.OverLevel("points", shardmap.PointsLevel, t.Level))
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fetched = o.now()
	if o.table == nil || o.table.Index < t.Index { // another node may have answered with an older one
		o.table = t
	}
	return o.table, nil
}

// Window implements [Cluster].
func (o *ofClient) Window(ctx context.Context, q *wire.Window) (*wire.WindowAnswer, error) {
	a, err := client.AskWindow(ctx, o.client, q)
	return &a, err
}

// Takes implements [Cluster].
func (o *ofClient) Takes(l Level) error { return l.Takes() }

// Bring implements [Cluster].
func (o *ofClient) Bring(ctx context.Context, g raft.GroupID, p *shardmap.PointsBody, l Level, wait time.Duration) (Brought, error) {
	return Bring(ctx, o.client, g, p, l, wait)
}
