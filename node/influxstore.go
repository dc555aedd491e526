package node

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/influxdata/influxql"

	"muster/node/influx"
	"muster/node/web"
	"muster/repl/client"
	"muster/repl/queries"
	"muster/repl/wire"
	"muster/shardmap/access"
	"muster/shardmap/points/rows"
)

// influxStore has the points of the cluster for who makes one request of InfluxDB's clients. It asks the cluster as that
// user, so his rights are decided where those of every request are.
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
	// A password in a text is for nobody else to read.
	ctx, running, done, err := y.begin(ctx, s.caller.User, q.Database, influxql.Sanitize(q.Text))
	if err != nil {
		return err
	}
	defer done()
	x := &queries.Runner{Client: s.client, Activity: s, Now: time.Now, ID: running.ID, Memory: &running.memory}
	err = x.Run(ctx, &queries.Request{
		Database: q.Database, Policy: q.Policy, Text: q.Text, Params: q.Params, ChunkRows: q.ChunkRows, ReadOnly: q.ReadOnly,
	}, yield)
	var text *queries.TextError
	if errors.As(err, &text) {
		return &influx.Error{Reason: influx.BadRequest, Text: text.Error()}
	}
	return err
}

// Queries implements [queries.Activity]: those of this node, and of others than the user only if he may look into the
// cluster.
func (s *influxStore) Queries(context.Context) ([]queries.Running, []rows.Message, error) {
	all := s.caller.May(access.Read) == nil
	return s.node.querying.list(func(user string) bool { return all || user == s.caller.User }), nil, nil
}

// Kill implements [queries.Activity]: whoever runs a query may end it, and whoever administers the cluster.
func (s *influxStore) Kill(_ context.Context, id uint64, _ string) error {
	all := s.caller.May(access.Admin) == nil
	if !s.node.querying.endQuery(id, func(user string) bool { return all || user == s.caller.User }) {
		return wire.NotFound("query", "none of that number runs here that this user may end", "SHOW QUERIES lists them")
	}
	return nil
}

// Write implements [influx.Store].
func (s *influxStore) Write(ctx context.Context, q *influx.WriteRequest) (influx.Written, error) {
	return s.node.writes.write(ctx, s.client, q)
}
