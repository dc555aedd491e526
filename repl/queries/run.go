package queries

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/influxdata/influxql"

	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/access"
	"muster/shardmap/points/query"
	"muster/shardmap/points/rows"
	"muster/shardmap/points/statement"
)

// Replicas are those that a query may read from.
type Replicas uint8

const (
	Leaders    Replicas = iota // the leader of each group: the answer has all that was answered before
	AnyReplica                 // whichever is near; each is asked how far it must be, so the answer has as much
)

// Request is what is asked for.
type Request struct {
	Database string // of sources that name none; may be ""
	Policy   string // of sources that name none; "" is the database's default
	Text     string // InfluxQL of at most [query.TextMax] bytes
	// Params are the values of $NAME in the text, as [query.Parse] has them.
	Params map[string]any
	// ChunkRows is how many rows a result has at most; 0: [rows.ChunkRows].
	ChunkRows int
	ReadOnly  bool // a statement that changes something is refused, and all others of the text with it
	Replicas  Replicas
	Limits    Limits
}

// Running is a query that runs.
type Running struct {
	ID       uint64 // among all nodes
	Node     string // the name of the node that carries it out
	User     string // "": nobody in particular
	Database string // of the request
	Text     string // at most [TextShown] bytes of it
	Since    time.Time
	Memory   int64 // bytes, where its answers come together
}

// Activity is the queries that run in the cluster, as far as the user may see and end them.
type Activity interface {
	// Queries returns them, and a message for each node that could not be asked.
	Queries(ctx context.Context) ([]Running, []rows.Message, error)
	// Kill ends one; host is the name of its node, or "". The error is a [*NotFoundError] if there is none.
	Kill(ctx context.Context, id uint64, host string) error
}

// Runner carries out requests of one user.
type Runner struct {
	Client   *client.Client // that speaks for the user
	Activity Activity
	Now      func() time.Time // nil: the time of this host
	ID       uint64           // of the query, by which shards can be told that it was ended; 0: none
	Memory   *atomic.Int64    // told how much memory it uses, in bytes; may be nil
}

// Run carries out the statements of a text, and yields their results in the order that package rows wants. It stops when
// yield returns false, or when ctx ends.
//
// An error before the first result refuses all of the text: a [*TextError], or one of the wire by which the user may not do
// what the first statement wants, or nobody can at the moment. A statement that can't be carried out has a result with Err: a [*NotFoundError], a [*TimeError], [ErrEnded], an error of
// packages query and statement, or one of the wire. Those behind it are not carried out.
func (x *Runner) Run(ctx context.Context, q *Request, yield func(rows.Result) bool) error {
	if err := q.Limits.Check(); err != nil {
		return &TextError{err}
	}
	statements, err := query.Parse(q.Text, q.Params)
	if err != nil {
		return &TextError{err}
	}
	for _, s := range statements {
		if q.ReadOnly && changes(s) {
			return &TextError{fmt.Errorf("%s changes something, which is refused with GET; send it with POST", name(s))}
		}
	}
	l := q.Limits.filled()
	ctx, cancel := context.WithTimeoutCause(ctx, l.Time, &TimeError{l.Time})
	defer cancel()
	r := &run{Runner: x, request: q, limits: l, ends: time.Now().Add(l.Time), ctx: ctx}
	if r.now = time.Now().UnixNano(); x.Now != nil {
		r.now = x.Now().UnixNano()
	}
	var failed error
	for i, s := range statements {
		if failed == nil {
			if failed = r.carryOut(i, s, yield); i == 0 && !r.begun && r.again {
				return failed
			}
		} else if !yield(rows.Result{Statement: i, Err: errNotExecuted}) {
			r.gone = true
		}
		if r.gone {
			return nil
		}
	}
	return nil
}

// run is a request that is carried out.
type run struct {
	*Runner
	request *Request
	limits  Limits
	ends    time.Time
	ctx     context.Context // of the request, with its limit of time
	now     int64           // which stands for now() in all statements
	table   *shardmap.Table // the newest that was seen; nil: none yet
	gone    bool            // nobody reads any more
	begun   bool            // something was yielded
	again   bool            // what the statement ended with is about the user or the cluster, not about what was asked
}

// errGone ends a statement whose rows nobody reads.
var errGone = errors.New("nobody reads")

// carryOut carries out a statement, and returns why it ended early.
func (r *run) carryOut(i int, s influxql.Statement, yield func(rows.Result) bool) error {
	cut := rows.NewChunks(i, r.request.ChunkRows, func(result rows.Result) error {
		r.begun = true
		if r.gone = r.gone || !yield(result); r.gone {
			return errGone
		}
		return nil
	})
	messages, err := r.statement(s, cut.Add)
	if r.Memory != nil {
		r.Memory.Store(0)
	}
	if errors.Is(err, errGone) {
		return err
	}
	if err != nil && r.ctx.Err() != nil {
		// The reason of the end is the news, and not the error that it led to.
		err = context.Cause(r.ctx)
	}
	if r.again = elsewhere(err); r.again && i == 0 && !r.begun {
		return err
	}
	_ = cut.End(messages, err) // that nobody reads is in gone
	return err
}

// elsewhere reports whether an error is one of those that refuse all of a text: the user may not do it, or may send it again.
func elsewhere(err error) bool {
	var refused *wire.Error
	if !errors.As(err, &refused) {
		return false
	}
	switch refused.Code {
	case wire.CodeUnauthorized, wire.CodeBusy, wire.CodeUnavailable, wire.CodeNotReady, wire.CodeLevel:
		return true
	}
	return false
}

// statement gives the rows of a statement to emit.
func (r *run) statement(s influxql.Statement, emit func(rows.Series) error) ([]rows.Message, error) {
	// Each statement sees what those before it have changed.
	if err := r.refresh(); err != nil {
		return nil, err
	}
	if s, ok := s.(*influxql.SelectStatement); ok {
		return nil, r.selects(s, emit)
	}
	action, err := statement.Of(s, r.request.Database, r.now)
	if err != nil {
		return nil, err
	}
	all, messages, err := r.act(action)
	if err != nil {
		return nil, err
	}
	for _, series := range all {
		if err := emit(series); err != nil {
			return nil, err
		}
	}
	return messages, nil
}

// refresh takes the table as a node has it now.
func (r *run) refresh() error {
	t, _, err := r.Client.Table(r.ctx, "")
	if err == nil && (r.table == nil || t.Index >= r.table.Index) {
		r.table = t // else another node has answered, which is behind
	}
	return err
}

// policy returns a database, and one of its policies or its default; all names may be empty.
func (r *run) policy(database, policy string) (d shardmap.Database, p shardmap.Policy, err error) {
	if d, err = r.mayRead(database); err != nil {
		return d, p, err
	}
	p, ok := r.table.Catalog.PolicyNamed(&d, policy)
	if !ok {
		if policy == "" {
			policy = "the default of database " + d.Name
		}
		return d, p, &NotFoundError{"retention policy", policy}
	}
	return d, p, nil
}

// mayRead is database for what a node lets the user read. Groups look again; it is asked first so that a user without the
// right hears of that, and not of a span of time in which there are no points.
func (r *run) mayRead(name string) (d shardmap.Database, err error) {
	if d, err = r.database(name); err != nil {
		return d, err
	}
	a, err := r.Client.CanI(r.ctx, wire.CanI{Verbs: access.Read, Kind: access.Databases, Name: []byte(name)})
	if err == nil && !a.Allowed {
		err = wire.Unauthorized("query", a.By, "ask an administrator: muster role grant ROLE read db:"+name)
	}
	return d, err
}

func (r *run) database(name string) (d shardmap.Database, err error) {
	if name == "" {
		return d, errors.New("database name required")
	}
	d, ok := r.table.Catalog.DatabaseNamed(name)
	if !ok {
		return d, &NotFoundError{"database", name}
	}
	return d, nil
}

// budget is that of a statement where its answers come together.
func (r *run) budget() *query.Budget {
	b := &query.Budget{Memory: r.limits.Memory, Series: r.limits.Series, Rows: RowsMax}
	b.Over = func() error {
		r.spent(b)
		return context.Cause(r.ctx)
	}
	return b
}

// spent tells how much memory is in use.
func (r *run) spent(b *query.Budget) {
	if r.Memory != nil {
		r.Memory.Store(r.limits.Memory - b.Memory)
	}
}

// changes reports whether a statement changes something.
func changes(s influxql.Statement) bool {
	switch s := s.(type) {
	case *influxql.SelectStatement:
		return s.Target != nil
	case *influxql.KillQueryStatement:
		return true
	}
	action, err := statement.Of(s, "d", 0) // what is refused changes nothing
	if err != nil {
		return false
	}
	switch action.(type) {
	case *statement.Order, *statement.Deletion:
		return true
	}
	return false
}
