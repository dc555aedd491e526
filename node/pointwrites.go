package node

import (
	"context"
	"errors"
	"time"

	"muster/node/influx"
	"muster/raft"
	"muster/repl/client"
	"muster/repl/client/pointwriter"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/access"
	"muster/shardmap/points"
)

// pointWriteTime bounds a write of points that came over HTTP. InfluxDB's default is as long; a group whose leader is gone has
// another one within a few seconds.
const pointWriteTime = 10 * time.Second

// pointWrites carries out the writes of points that come to a node. Any number of goroutines use it.
type pointWrites struct {
	// Set once.
	node    *Node
	gateway *pointwriter.Gateway
}

func (w *pointWrites) init(n *Node) {
	w.node, w.gateway = n, pointwriter.NewGateway(pointwriter.BytesMax)
}

// write stores the points of a text in the name of the caller whose client c is, as [influx.Store] has it.
func (w *pointWrites) write(ctx context.Context, c *client.Client, q *influx.WriteRequest) (influx.Written, error) {
	ctx, cancel := context.WithTimeout(ctx, pointWriteTime)
	defer cancel()
	if err := mayWrite(ctx, c, q.Database); err != nil {
		return influx.Written{}, err
	}
	r, err := w.gateway.Write(ctx, &pointCluster{w.node, c}, &pointwriter.Request{
		Database: q.Database, Policy: q.Policy, Level: q.Consistency, Precision: q.Precision, Now: q.Now, Text: q.Text,
	})
	if err != nil {
		return influx.Written{}, writeError(err)
	}
	return influx.Written{Lines: r.Lines, Stored: r.Stored, Hinted: r.Hinted, Dropped: r.Dropped, Failed: r.Failed, Why: r.Why}, nil
}

// mayWrite says why a caller may not write to a database, or returns nil. Groups look again; it is asked before memory is spent, and
// before somebody without the right learns which databases there are.
func mayWrite(ctx context.Context, c *client.Client, database string) error {
	a, err := c.CanI(ctx, wire.CanI{Verbs: access.Write, Kind: access.Databases, Name: []byte(database)})
	if err != nil {
		return err
	}
	if !a.Allowed {
		return wire.Unauthorized("write", a.By, "ask an administrator: muster role grant ROLE write db:"+database)
	}
	return nil
}

// writeError returns the error of a write in the words of InfluxDB, where it has any.
func writeError(err error) error {
	var database *pointwriter.UnknownDatabaseError
	var policy *pointwriter.UnknownPolicyError
	var level *pointwriter.LevelError
	var text points.Error
	switch {
	case errors.As(err, &database):
		return influx.DatabaseNotFound(database.Name)
	case errors.As(err, &policy) && policy.Name == "":
		return &influx.Error{Reason: influx.NoPolicy, Text: "retention policy not found: " + err.Error()}
	case errors.As(err, &policy):
		return influx.PolicyNotFound(policy.Name)
	case errors.As(err, &level):
		return &influx.Error{Reason: influx.BadRequest, Text: "invalid consistency level: " + level.Error()}
	case errors.As(err, &text):
		return &influx.Error{Reason: influx.OverLimit, Text: "Request Entity Too Large: " + text.Error()}
	}
	return err
}

// pointCluster is the cluster as a gateway of a node writes to it: windows by the node's own table, shares in the name of
// a caller.
type pointCluster struct {
	node   *Node
	caller *client.Client
}

// Table implements [pointwriter.Cluster].
func (p *pointCluster) Table(context.Context, uint64) (*shardmap.Table, error) {
	t := p.node.table.Load()
	switch {
	case t == nil || p.node.running() == nil:
		return nil, p.node.notReady()
	case t.Level < shardmap.PointsLevel:
		return nil, wire.OverLevel("points", shardmap.PointsLevel, t.Level)
	}
	return t, nil
}

// Window implements [pointwriter.Cluster].
func (p *pointCluster) Window(ctx context.Context, q *wire.Window) (*wire.WindowAnswer, error) {
	for {
		a, err := p.node.keeping.of(ctx, shardmap.PolicyID(q.Policy), q.Time)
		e, refused := refusalIn(err)
		if err == nil || refused && e.Retry() == wire.RetryNever {
			return a, err
		}
		select { // while group 0 elects a leader there is nothing to wait for but that
		case <-time.After(wire.BusyRetry):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// Takes implements [pointwriter.Cluster].
func (p *pointCluster) Takes(l pointwriter.Level) error { return l.Takes() }

// Bring implements [pointwriter.Cluster].
func (p *pointCluster) Bring(ctx context.Context, g raft.GroupID, b *shardmap.PointsBody, l pointwriter.Level) (pointwriter.Brought, error) {
	return pointwriter.Bring(ctx, p.caller, g, b, l)
}
