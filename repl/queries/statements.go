package queries

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/influxdata/influxql"

	"muster/raft"
	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/points"
	"muster/shardmap/points/query"
	"muster/shardmap/points/rows"
	"muster/shardmap/points/statement"
)

// act carries out what is no SELECT.
func (r *run) act(action statement.Action) (all []rows.Series, messages []rows.Message, err error) {
	switch a := action.(type) {
	case *statement.Show:
		if a.Database != "" {
			if _, err := r.database(a.Database); err != nil {
				return nil, nil, err
			}
		}
		all, err = a.Rows(&r.table.Catalog, owners{r.table})
		return all, nil, err
	case *statement.Listing:
		all, err = r.list(a)
		return all, nil, err
	case *statement.Order:
		return nil, a.Messages, r.order(a)
	case *statement.Deletion:
		return nil, nil, r.deletes(a)
	case *statement.Activity:
		return r.activity(a)
	}
	return nil, nil, fmt.Errorf("%T is carried out by nobody", action)
}

// list asks shards what they have.
func (r *run) list(l *statement.Listing) ([]rows.Series, error) {
	d, windows, err := r.windows(l.Database, l.Policy, l.First, l.Last)
	if err != nil {
		return nil, err
	}
	answers, err := r.lists(r.shards(d.Name, windows), &l.Request, r.budget())
	if err != nil {
		return nil, err
	}
	return l.Rows(answers), nil
}

// windows returns a database, and the windows of a policy of it that may have points of a span of time; "" is all policies.
func (r *run) windows(database, policy string, first, last int64) (d shardmap.Database, in []shardmap.Window, err error) {
	if policy != "" {
		d, p, err := r.policy(database, policy)
		return d, r.table.Catalog.WindowsIn(p.ID, first, last), err
	}
	if d, err = r.mayRead(database); err != nil {
		return d, nil, err
	}
	for p := range r.table.Catalog.PoliciesOf(d.ID) {
		in = append(in, r.table.Catalog.WindowsIn(p.ID, first, last)...)
	}
	return d, in, nil
}

// lists asks shards what they have.
func (r *run) lists(asked []place, request *statement.Request, b *query.Budget) ([]*statement.Answer, error) {
	var mu sync.Mutex
	var answers []*statement.Answer
	err := r.each(asked, wire.PointsList, request.Append(nil), func(_ int, answer []byte) error {
		mu.Lock()
		defer mu.Unlock()
		// The rows that are made of it take as much again.
		a, err := statement.ReadAnswer(answer, b.Memory/2)
		if err != nil {
			return err
		}
		b.Memory -= 2 * a.Size()
		answers = append(answers, a)
		r.spent(b)
		return nil
	})
	return answers, err
}

// order gives an order to the leader of group 0, and waits until a node shows what it has changed.
func (r *run) order(o *statement.Order) error {
	var command []byte
	var err error
	drops := false
	switch {
	case o.Database != nil:
		if _, there := r.table.Catalog.DatabaseNamed(o.Database.Name); there && o.Database.Action == shardmap.DatabaseCreate && o.Database.Policy == (shardmap.PolicySpec{}) {
			return nil // as in InfluxDB, whatever its policies are: clients create what they write to
		}
		drops = o.Database.Action == shardmap.DatabaseDrop
		command, err = shardmap.AppendChangeDatabase(nil, o.Database)
	default:
		drops = o.Policy.Action == shardmap.PolicyDrop
		command, err = shardmap.AppendChangePolicy(nil, o.Policy)
	}
	if err != nil {
		return err
	}
	a, err := r.Client.Order(r.ctx, command, 0)
	if drops && errors.Is(err, client.ErrNotFound) {
		return nil // what is not there need not be dropped, as in InfluxDB
	}
	if o.Policy != nil && errors.Is(err, client.ErrNotFound) {
		// In InfluxDB's words: there are programs that look at them.
		if _, there := r.table.Catalog.DatabaseNamed(o.Policy.Database); !there {
			return &NotFoundError{What: "database", Name: o.Policy.Database}
		}
		return &NotFoundError{What: "retention policy", Name: o.Policy.Policy.Name}
	}
	for err == nil && r.table.Index < a.Index {
		if err = r.refresh(); err == nil && r.table.Index < a.Index {
			select {
			case <-time.After(movedPause):
			case <-r.ctx.Done():
				err = r.ctx.Err()
			}
		}
	}
	return err
}

// activity tells of running queries, or ends one.
func (r *run) activity(a *statement.Activity) ([]rows.Series, []rows.Message, error) {
	switch a.Doing {
	case statement.ShowQueries:
		all, messages, err := r.Activity.Queries(r.ctx)
		if err != nil {
			return nil, nil, err
		}
		out := rows.Series{Columns: statement.QueryColumns}
		for i := range all {
			q := &all[i]
			out.Values = append(out.Values, points.UnsignedValue(q.ID), points.StringValue(q.Text), points.StringValue(q.Database),
				points.StringValue(shown(time.Since(q.Since))), points.StringValue("running"))
		}
		return []rows.Series{out}, messages, nil
	case statement.KillQuery:
		return nil, nil, r.Activity.Kill(r.ctx, a.Query, a.Host)
	case statement.ShowDiagnostics:
		return nil, nil, &statement.RefusedError{Statement: "SHOW DIAGNOSTICS", Remedy: `"muster status" and "muster doctor" tell of nodes`}
	}
	return nil, nil, &statement.RefusedError{Statement: "SHOW STATS", Remedy: `"muster top" and /metrics have the counters of nodes`}
}

// shown is a duration as InfluxDB shows it: whole units of the largest that is not zero.
func shown(d time.Duration) string {
	for _, unit := range []time.Duration{time.Second, time.Millisecond, time.Microsecond} {
		if d >= unit {
			return (d / unit * unit).String()
		}
	}
	return d.String()
}

// owners tells who has which shard.
type owners struct{ table *shardmap.Table }

// Copies implements [statement.Cluster].
func (o owners) Copies() int { return o.table.Replicas() }

// Owners implements [statement.Cluster].
func (o owners) Owners(g raft.GroupID) (nodes []uint64) {
	group, _ := o.table.Group(g)
	for _, replica := range group.Replicas {
		nodes = append(nodes, uint64(replica.Node))
	}
	return nodes
}

// name is what a statement is called, by its first words.
func name(s influxql.Statement) string {
	words := strings.Fields(s.String())
	if len(words) < 2 || words[0] == "DELETE" || words[0] == "SELECT" {
		return words[0]
	}
	return words[0] + " " + words[1]
}
