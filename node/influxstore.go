package node

import (
	"context"
	"errors"
	"net/http"
	"time"

	"muster/node/influx"
	"muster/node/web"
	"muster/repl/client"
	"muster/repl/queries"
	"muster/shardmap/points/rows"
)

// influxStore has the points of the cluster for one request of InfluxDB's clients. It asks the cluster as the user who sends it,
// so that rights are decided where those of every request are.
type influxStore struct {
	node   *Node
	client *client.Client
	caller *web.Caller
}

// store returns the store of a request.
func (y *querying) store(r *http.Request) (influx.Store, error) {
	caller, err := web.CallerOf(r)
	if err != nil {
		return nil, err
	}
	c, err := caller.Client()
	if err != nil {
		return nil, err
	}
	return &influxStore{y.node, c, caller}, nil
}

// Query implements [influx.Store].
func (s *influxStore) Query(ctx context.Context, q *influx.QueryRequest, yield func(rows.Result) bool) error {
	y := &s.node.querying
	ctx, running, done, err := y.begin(ctx, asker{name: s.caller.User, principal: s.caller.Principal}, q.Database, q.Text)
	if err != nil {
		return err
	}
	defer done()
	x := &queries.Runner{Client: s.client, Activity: queries.Cluster{Client: s.client}, Now: time.Now, ID: running.ID, Memory: &running.memory}
	err = x.Run(ctx, &queries.Request{
		Database: q.Database, Policy: q.Policy, Text: q.Text, Params: q.Params, ChunkRows: q.ChunkRows, ReadOnly: q.ReadOnly,
	}, yield)
	var text *queries.TextError
	if errors.As(err, &text) {
		return &influx.Error{Reason: influx.BadRequest, Text: text.Error()}
	}
	return err
}

// Write implements [influx.Store].
func (s *influxStore) Write(ctx context.Context, q *influx.WriteRequest) (influx.Written, error) {
	return s.node.writes.write(ctx, s.client, q)
}
