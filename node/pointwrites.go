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

	// The leader's table, as it was asked for last. The goroutine that has put the token into asking may use them.
	asking   chan struct{} // never closed
	asked    time.Time     // when
	answered *shardmap.Table
}

func (w *pointWrites) init(n *Node) {
	w.node, w.gateway, w.asking = n, pointwriter.NewGateway(pointwriter.BytesMax), make(chan struct{}, 1)
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

// mayWrite returns why a caller may not write to a database, or nil. Groups look again; it is asked before memory is spent, and
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

// Table implements [pointwriter.Cluster]. Where a write needs a newer table than this node's it has that of the leader of
// the meta group: a database that was made through another node a moment ago must not be refused as one that is not there, for
// clients throw away what they wrote to it.
func (p *pointCluster) Table(ctx context.Context, above uint64) (*shardmap.Table, error) {
	t := p.node.table.Load()
	switch {
	case t == nil || p.node.running() == nil:
		return nil, p.node.notReady()
	case above > 0 && t.Index <= above:
		newest := p.node.writes.newest(ctx)
		if newest == nil {
			return nil, wire.Unavailable("group 0", "its leader does not tell what databases and windows there are now")
		}
		if newest.Index > t.Index {
			t = newest
		}
	}
	if t.Level < shardmap.PointsLevel {
		return nil, wire.OverLevel("points", shardmap.PointsLevel, t.Level)
	}
	return t, nil
}

// tableAskPause lies between two questions for the leader's table: writes to databases that are not there cost it no more.
const tableAskPause = 100 * time.Millisecond

// newest returns a table that the leader of the meta group had after the call began; nil if it can't be asked.
// Calls that come while it is asked have the answer to the next question together.
func (w *pointWrites) newest(ctx context.Context) *shardmap.Table {
	began := time.Now()
	select {
	case w.asking <- struct{}{}:
		defer func() { <-w.asking }()
	case <-ctx.Done():
		return nil
	}
	if w.asked.After(began) && w.answered != nil { // nil: the one that asked may have had no time left
		return w.answered
	}
	pause := time.NewTimer(tableAskPause - time.Since(w.asked))
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-ctx.Done():
		return nil
	}
	w.asked = time.Now()
	w.answered = w.askLeader(ctx)
	return w.answered
}

// askLeader returns the table of the leader of the meta group; nil if it does not answer.
func (w *pointWrites) askLeader(ctx context.Context) *shardmap.Table {
	n := w.node
	loop := n.running()
	if loop == nil {
		return nil
	}
	lead, ok := metaLead(loop)
	switch {
	case !ok || lead.node == 0:
		return nil
	case lead.node == n.self().Node:
		return n.table.Load()
	}
	var a wire.TableAnswer
	if err := n.caller.call(ctx, lead.node, n.addrOf(lead.node), wire.RolePeer, wire.TypeTable, new(wire.Empty), &a); err != nil {
		return nil
	}
	t, err := shardmap.ReadTable(a.State)
	if err != nil {
		return nil
	}
	return t
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
func (p *pointCluster) Bring(ctx context.Context, g raft.GroupID, b *shardmap.PointsBody, l pointwriter.Level, wait time.Duration) (pointwriter.Brought, error) {
	return pointwriter.Bring(ctx, p.caller, g, b, l, wait)
}
