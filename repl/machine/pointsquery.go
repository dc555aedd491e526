package machine

import (
	"errors"
	"fmt"
	"iter"
	"time"

	"muster/raft"
	"muster/repl"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/points"
	"muster/shardmap/points/query"
	"muster/shardmap/points/shard"
	"muster/shardmap/points/statement"
)

// pointsQuery makes what a query asks of a shard a read of the group that has it.
func (q *Requests) pointsQuery(h wire.Header, body []byte, r repl.Reply, table *shardmap.Table, now Now) {
	x := &pointsQuery{of: q}
	body = append([]byte(nil), body...) // the shard is read after this frame is gone
	if !q.newer(shardmap.PointsLevel, h.Type, &x.request, body, r, table) {
		return
	}
	w, ok := table.Catalog.Window(x.request.Window)
	p, _ := table.Catalog.Policy(w.Policy)
	d, _ := table.Catalog.Database(p.Database)
	switch {
	case !ok || d.Name != x.request.Database:
		q.refuse(r, staleWindow(&shardmap.ShardRef{ShardID: x.id()}, table))
		return
	case int(x.request.Shard) >= len(w.Shards) || w.Shards[x.request.Shard] != x.request.Group:
		q.refuse(r, &wire.Error{Code: wire.CodeMoved, Object: x.id().String(), Text: "another group has it", Epoch: table.Epoch,
			State: fmt.Sprintf("group %s was asked, by the table of index %d", x.request.Group, table.Index), Next: "fetch the table, and ask the group that it names"})
		return
	}
	x.over = q.asker.Over(x.request.Query, q.principal, time.Duration(x.request.Time)*time.Millisecond)
	mode := x.request.Mode
	q.reads = append(q.reads, repl.Read{
		Group: x.request.Group, Local: mode == wire.ReadLocal, AnyReplica: anyReplica(h, mode), Deadline: q.deadline(h, now), Reply: r, Query: x,
		Passage: q.passage(h, body, x.request.Group, table),
	})
}

// pointsQuery reads the points of one shard.
type pointsQuery struct {
	of      *Requests
	request wire.PointsQuery
	over    func() *wire.Error
}

func (x *pointsQuery) id() shardmap.ShardID {
	return shardmap.ShardID{Window: x.request.Window, Shard: x.request.Shard}
}

// Run implements [repl.Query]. A view costs nothing; what is read of it is read beside the goroutine that applies.
func (x *pointsQuery) Run(state repl.StateMachine, at raft.LogID, r repl.Reply) (first bool) {
	q := x.of
	m, refused := q.mapOf(state)
	if refused != nil {
		return q.deny(r, refused)
	}
	var view, behind *shard.View
	if s := m.State.Shard(x.id()); s != nil {
		view, behind = s.Points.View(), s.Behind()
	}
	found := q.asker.Scan(func() {
		a := wire.PointsQueryAnswer{Group: x.request.Group, At: at}
		err := m.Points.read(func(open shard.Opener) error { return x.answer(&a, view, open) })
		var refused *wire.Error
		if behind != nil && errors.As(err, &refused) && refused.Code == wire.CodeNotReady {
			// A file is not here yet, and what it is made of is.
			err = m.Points.read(func(open shard.Opener) error { return x.answer(&a, behind, open) })
		}
		if err != nil {
			q.refuse(r, x.failed(err))
			return
		}
		body := a.Append(nil)
		if !q.asker.Reserve(&r, wire.HeaderSize+len(body)) {
			q.refuse(r, Crowded())
			return
		}
		q.asker.Answer(r, wire.TypePointsQueryAnswer, body)
		q.asker.Flush()
	})
	if found != "" {
		return q.deny(r, TooManyReads(found))
	}
	return false
}

// answer fills in the answer of a view; nil: the group has no points of the shard. An error may be one of its files.
func (x *pointsQuery) answer(a *wire.PointsQueryAnswer, view *shard.View, open shard.Opener) (err error) {
	if view == nil {
		view = shard.New(points.Window{}).View()
	}
	if over := x.over(); over != nil { // it has waited for others
		return over
	}
	budget := query.Budget{Memory: int64(x.request.Memory), Series: int64(x.request.Series), Over: func() error {
		if over := x.over(); over != nil {
			return over
		}
		return nil
	}}
	if a.Answer, err = x.make(shardReader{view.Read(open)}, &budget); err != nil {
		return err
	}
	if n := len(a.Answer); n > wire.PointsQueryAnswerMax {
		return wire.TooLarge(x.id().String(), fmt.Sprintf("its answer to the query has %d bytes, the limit is %d", n, wire.PointsQueryAnswerMax),
			"ask for less at once: a shorter span of time, fewer series or fields, or an aggregate")
	}
	return nil
}

// make makes the bytes that are asked for.
func (x *pointsQuery) make(from shardReader, b *query.Budget) ([]byte, error) {
	ask := &x.request
	switch ask.Ask {
	case wire.PointsOutline:
		src, err := query.ReadSources(ask.Body)
		if err != nil {
			return nil, wire.BadBody(wire.TypePointsQuery, err)
		}
		o, err := query.Describe(from, src, b)
		if err != nil {
			return nil, err
		}
		return o.Append(nil), nil
	case wire.PointsScan:
		request, err := query.ReadRequest(ask.Body)
		if err != nil {
			return nil, wire.BadBody(wire.TypePointsQuery, err)
		}
		answer, err := query.Scan(from, request, b)
		if err != nil {
			return nil, err
		}
		return answer.Append(nil, request), nil
	}
	request, err := statement.ReadRequest(ask.Body)
	if err != nil {
		return nil, wire.BadBody(wire.TypePointsQuery, err)
	}
	answer, err := statement.Scan(from, request, b)
	if err != nil {
		return nil, err
	}
	return answer.Append(nil), nil
}

// failed is the error that answers a query which a shard could not answer.
func (x *pointsQuery) failed(err error) *wire.Error {
	var refused *wire.Error
	var limit *query.LimitError
	var request *query.RequestError
	switch {
	case errors.As(err, &refused):
		return refused
	case errors.As(err, &limit) && limit.Max == 0:
		return wire.TooLarge("query", "it needs more "+limit.What+" at one shard", limit.Remedy)
	case errors.As(err, &limit):
		return wire.TooLarge("query", fmt.Sprintf("%s: at most %d", limit.What, limit.Max), limit.Remedy)
	case errors.As(err, &request):
		return wire.BadBody(wire.TypePointsQuery, err)
	}
	return wire.Damaged(x.id().String(), err.Error(), "ask another replica; muster check tells whether this one is well")
}

// shardReader lets a query read a shard.
type shardReader struct{ *shard.Reader }

// Fields implements [query.Shard].
func (s shardReader) Fields(measurement string) ([]query.Field, error) {
	list, err := s.Reader.Fields(measurement)
	fields := make([]query.Field, len(list))
	for i, f := range list {
		fields[i] = query.Field{Name: f.Name, Kind: f.Kind}
	}
	return fields, err
}

// Columns implements [query.Shard].
func (s shardReader) Columns(key []byte, field string, from, to int64) iter.Seq2[query.Piece, error] {
	return func(yield func(query.Piece, error) bool) {
		for p, err := range s.Reader.Columns(key, field, from, to) {
			if !yield(query.Piece{Times: p.Times, Values: p.Values}, err) {
				return
			}
		}
	}
}
