package queries

import (
	"sync"

	"github.com/influxdata/influxql"

	"muster/repl/wire"
	"muster/shardmap/points/query"
	"muster/shardmap/points/rows"
)

// selects carries out a SELECT: a first round asks shards what measurements have, a second one what the plan needs of them.
// Answers are read as they come and put together in the order of the shards, in which floats are added.
func (r *run) selects(s *influxql.SelectStatement, emit func(rows.Series) error) error {
	q, err := query.Compile(s, r.now)
	if err != nil {
		return err
	}
	database, policy := query.Target(s.Sources[0])
	if database == "" {
		database = r.request.Database
		if policy == "" {
			policy = r.request.Policy
		}
	}
	d, p, err := r.policy(database, policy)
	if err != nil {
		return err
	}
	from, to := q.Span()
	asked := r.shards(d.Name, r.table.Catalog.WindowsIn(p.ID, from, to))
	b := r.budget()
	outline, err := r.outline(asked, q.Sources(), b)
	if err != nil {
		return err
	}
	plan, err := q.Plan(outline)
	if err != nil {
		return err
	}
	answers, err := r.scan(asked, &plan.Request, b)
	if err != nil {
		return err
	}
	return plan.Each(answers, b, emit)
}

// outline asks shards what measurements have.
func (r *run) outline(asked []place, src query.Sources, b *query.Budget) (query.Outline, error) {
	var mu sync.Mutex // guards all, b
	var all query.Outline
	err := r.each(asked, wire.PointsOutline, src.Append(nil), func(_ int, answer []byte) error {
		mu.Lock()
		defer mu.Unlock()
		defer r.spent(b)
		return b.AddOutline(&all, answer)
	})
	return all, err
}

// scan asks shards what a plan needs, and returns the answers of those that have something, in their order.
func (r *run) scan(asked []place, request *query.Request, b *query.Budget) ([]*query.Answer, error) {
	if len(request.Items) == 0 || len(request.Measurements) == 0 {
		return nil, nil // no shard has any of it
	}
	var mu sync.Mutex // guards b
	answers := make([]*query.Answer, len(asked))
	err := r.each(asked, wire.PointsScan, request.Append(nil), func(i int, answer []byte) error {
		mu.Lock()
		defer mu.Unlock()
		a, err := b.ReadAnswer(answer, request)
		if err != nil {
			return err
		}
		answers[i] = a
		r.spent(b)
		return nil
	})
	if err != nil {
		return nil, err
	}
	var some []*query.Answer
	for _, a := range answers {
		if a != nil && len(a.Groups) > 0 {
			some = append(some, a)
		}
	}
	return some, nil
}
