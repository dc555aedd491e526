package pointwriter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/points"
	"muster/shardmap/points/line"
)

// Request is what a write asks for.
type Request struct {
	Database  string // by name
	Policy    string // by name; "" is the database's default
	Level     Level
	Precision line.Precision // of the times in the text; 0: nanoseconds
	Now       int64          // of points without a time, in nanoseconds since 1970 UTC
	Text      []byte         // line protocol of at most [line.TextMax] bytes; not kept
}

// UnknownDatabaseError refuses a write to a database that is not there.
type UnknownDatabaseError struct{ Name string }

func (e *UnknownDatabaseError) Error() string {
	return fmt.Sprintf("database %q is not there; make it: muster db create %s", e.Name, e.Name)
}

// UnknownPolicyError refuses a write to a policy that is not there.
type UnknownPolicyError struct {
	Database string
	Name     string // "" is the default, which the database does not have
}

func (e *UnknownPolicyError) Error() string {
	if e.Name == "" {
		return fmt.Sprintf("database %q has no default policy; name one, or choose one: muster policy default %s NAME", e.Database, e.Database)
	}
	return fmt.Sprintf("database %q has no policy %q; see muster policy list %s", e.Database, e.Name, e.Database)
}

// Gateway carries out writes. Any number of goroutines use it.
type Gateway struct {
	budget  budget
	parsers sync.Pool // of *line.Parser
	asks    asks
	waits   patience
}

// NewGateway returns a gateway whose writes under way take at most so many bytes of memory; 0: [BytesMax].
func NewGateway(bytes int64) *Gateway {
	if bytes == 0 {
		bytes = BytesMax
	}
	g := &Gateway{parsers: sync.Pool{New: func() any { return line.NewParser() }}}
	g.budget.most = bytes
	return g
}

// Write stores the points of a text, and reports what became of them. With an error none of them is stored; it is a
// [LevelError], an [UnknownDatabaseError], an [UnknownPolicyError], a [points.Error] about a text that is too much at once,
// or one of the wire: busy where writes under way take too much memory already, unauthorized where that is what was answered for each
// point. When ctx ends, points that are not known
// to be stored have failed. To write the same again changes nothing that is stored.
func (g *Gateway) Write(ctx context.Context, c Cluster, q *Request) (Result, error) {
	if err := c.Takes(q.Level); err != nil {
		return Result{}, err
	}
	w := write{gateway: g, cluster: c, request: q}
	if err := w.find(ctx); err != nil {
		return Result{}, err
	}
	taken, err := g.budget.take(len(q.Text))
	if err != nil {
		return Result{}, err
	}
	defer g.budget.give(taken)
	p := g.parsers.Get().(*line.Parser)
	defer g.parsers.Put(p) // all pieces have ended by then
	precision := q.Precision
	if precision == 0 {
		precision = line.Nanosecond
	}
	batch, report, err := p.Parse(q.Text, precision, q.Now)
	if err != nil {
		return Result{}, err
	}
	w.result.Lines = report
	w.carry(ctx, batch)
	if w.refused != nil && w.denied == report.Points {
		return Result{}, w.refused
	}
	return w.result, nil
}

// write is one write under way.
type write struct {
	gateway *Gateway
	cluster Cluster
	request *Request

	table    *shardmap.Table
	database shardmap.Database
	policy   shardmap.Policy
	placing  placing

	result  Result
	began   time.Time // when the shares that are under way began to be brought
	denied  int       // points that have failed for want of the right: nodes see a change of rights one after the other
	refused error     // what the first of them were answered; nil: there are none
}

// find finds database and policy by name, in a newer table if they are not in the one at hand.
func (w *write) find(ctx context.Context) error {
	table, err := w.cluster.Table(ctx, 0)
	if err != nil {
		return err
	}
	err = w.at(table)
	if err == nil {
		return nil
	}
	if table, err = w.cluster.Table(ctx, table.Index); err != nil {
		return err
	}
	return w.at(table)
}

// at has the write go by a table.
func (w *write) at(t *shardmap.Table) error {
	q := w.request
	d, ok := t.Catalog.DatabaseNamed(q.Database)
	if !ok {
		return &UnknownDatabaseError{q.Database}
	}
	p, ok := t.Catalog.PolicyNamed(&d, q.Policy)
	if !ok {
		return &UnknownPolicyError{q.Database, q.Policy}
	}
	w.table, w.database, w.policy = t, d, p
	made := slices.DeleteFunc(w.placing.made, func(a wire.WindowAnswer) bool { return a.Index <= t.Index }) // the table knows of them
	w.placing = placing{catalog: &t.Catalog, policy: &w.policy, now: q.Now, made: made}
	return nil
}

// newer has the write go by a newer table, if there is one. It is an error if that has another database or policy of these
// names: the points were not written to it.
func (w *write) newer(ctx context.Context) error {
	d, p := w.database.ID, w.policy.ID
	t, err := w.cluster.Table(ctx, w.table.Index)
	if err == nil {
		err = w.at(t)
	}
	if err == nil && (w.database.ID != d || w.policy.ID != p) {
		err = errors.New("the database or its policy was dropped and made again meanwhile; write the points again")
	}
	return err
}

// shares takes a batch apart by the windows of its policy. Windows that are missing are asked for first.
func (w *write) shares(ctx context.Context, b *points.Batch) []points.Share {
	for {
		shares := points.Split(b, w.placing.of)
		if len(w.placing.next(1)) == 0 {
			return shares
		}
		w.ask(ctx) // after which each gap has a window, or a reason why it has none
	}
}
