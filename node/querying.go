package node

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"muster/repl"
	"muster/repl/queries"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/access"
)

const (
	// queriesMax bounds the queries of points that a node carries out at once. Each may use [queries.MemoryDefault].
	queriesMax = 32
	// queriesEndedMax bounds the queries that a node remembers to have been ended, so that their parts end too.
	queriesEndedMax = 1024
	// scanQueueMax bounds the parts of queries that wait for a scanner, and scanQueueShare those of one connection:
	// a query asks [queries.AtOnce] shards at a time.
	scanQueueMax   = 256
	scanQueueShare = 64
	// announcedMax is how long a query that its client carries out is known without being told of again, and
	// announcedQueriesMax bounds them: they cost this node a line each.
	announcedMax        = 10 * time.Second
	announcedQueriesMax = wire.QueriesMax - queriesMax
)

// scannersMax is how many parts of queries are worked on at once: half of the processors, so that entries are applied, and
// others answered, beside them.
func scannersMax() int { return max(1, runtime.GOMAXPROCS(0)/2) }

// querying is the queries of points that run here, and the parts of queries that this node works on for others.
type querying struct {
	node  *Node       // set once
	scans chan func() // from queries of points, to scanners; never closed

	mu      sync.Mutex
	running map[uint64]*runningQuery // guarded by mu: by number
	ended   map[uint64]endedBy       // guarded by mu: those that somebody has ended
	order   []uint64                 // guarded by mu: the numbers in ended, the oldest first
}

// runningQuery is a query that this node was asked to carry out.
type runningQuery struct {
	queries.Running
	by     shardmap.Principal
	memory atomic.Int64            // bytes, as of now
	end    context.CancelCauseFunc // nil: its client carries it out
	heard  time.Time               // when its client told of it last. querying.mu guards it
}

// endedBy is who has ended a query: parts of it end that he has sent, or, by an administrator, all.
type endedBy struct {
	all bool
	by  shardmap.Principal
}

func (y *querying) init(n *Node) {
	y.node, y.scans = n, make(chan func(), scanQueueMax)
	y.running, y.ended = map[uint64]*runningQuery{}, map[uint64]endedBy{}
}

// scan works on parts of queries until the node ends.
func (y *querying) scan() {
	for {
		select {
		case scan := <-y.scans:
			scan()
			runtime.Gosched() // as lister does
		case <-y.node.ctx.Done():
			return
		}
	}
}

// begin notes a query that this node carries out. ctx of what it returns ends with that of the query, or when somebody ends
// it. done is to be called once.
func (y *querying) begin(ctx context.Context, by asker, database, text string) (_ context.Context, x *runningQuery, done func(), err error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	own := 0
	for _, x := range y.running {
		if x.end != nil {
			own++
		}
	}
	if own >= queriesMax {
		return nil, nil, nil, wire.Busy("node "+y.node.name, fmt.Sprintf("%d queries run, as many as it carries out at once", own), time.Second)
	}
	id := queries.NewID()
	for y.running[id] != nil {
		id = queries.NewID()
	}
	x = &runningQuery{by: by.principal, Running: queries.Running{ID: id, Node: y.node.name, User: by.name, Database: database, Text: queries.Shown(text), Since: time.Now()}}
	ctx, x.end = context.WithCancelCause(ctx)
	y.running[id] = x
	return ctx, x, func() {
		x.end(nil)
		y.mu.Lock()
		defer y.mu.Unlock()
		delete(y.running, id)
	}, nil
}

// asker is who asks about queries, and what he may see and end beside his own.
type asker struct {
	name       string
	principal  shardmap.Principal
	sees, ends bool // those of others
}

// owns reports whether a query is the asker's.
func (a *asker) owns(x *runningQuery) bool { return x.by == a.principal }

// list returns the queries that run here and that the asker may see, by number.
func (y *querying) list(a asker) (all []wire.QueriesRow) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.forget()
	for _, x := range y.running {
		if a.sees || a.owns(x) {
			all = append(all, wire.QueriesRow{Query: x.ID, User: x.User, Database: x.Database, Text: x.Text, AgeMs: uint64(time.Since(x.Since).Milliseconds()), Memory: uint64(max(0, x.memory.Load()))})
		}
	}
	slices.SortFunc(all, func(a, b wire.QueriesRow) int { return cmp.Compare(a.Query, b.Query) })
	return all
}

// forget drops the queries whose clients have said nothing for too long. mu is held.
func (y *querying) forget() {
	for id, x := range y.running {
		if x.end == nil && time.Since(x.heard) > announcedMax {
			delete(y.running, id)
		}
	}
}

// announced notes a query that its client carries out, or that it goes on. It reports whether somebody has ended it.
func (y *querying) announced(a asker, q *wire.Queries) (ended bool, refused *wire.Error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.forget()
	x := y.running[q.Query]
	switch {
	case x != nil && (x.end != nil || !a.owns(x)):
		return false, &wire.Error{Code: wire.CodeConflict, Object: "query", Text: "another one has its number", State: fmt.Sprint(q.Query), Next: "take another number"}
	case x == nil && len(y.running) >= announcedQueriesMax:
		return false, wire.Busy("node "+y.node.name, fmt.Sprintf("%d queries run, as many as it lists", len(y.running)), time.Second)
	case x == nil:
		x = &runningQuery{by: a.principal, Running: queries.Running{ID: q.Query, Node: y.node.name, User: a.name, Database: q.Database, Text: queries.Shown(q.Text), Since: time.Now()}}
		y.running[q.Query] = x
	}
	x.heard = time.Now()
	x.memory.Store(int64(min(q.Memory, 1<<62)))
	return y.hasEnded(q.Query, a.principal), nil
}

// done forgets a query that its client has carried out.
func (y *querying) done(a asker, id uint64) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if x := y.running[id]; x != nil && x.end == nil && a.owns(x) {
		delete(y.running, id)
	}
}

// endQuery ends a query, if the asker may, and the parts of it that this node works on or that still come: those that he has sent,
// or all. It reports whether the query runs here and was ended.
func (y *querying) endQuery(a asker, id uint64) (found bool) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.forget()
	x := y.running[id]
	if found = x != nil && (a.ends || a.owns(x)); found && x.end != nil {
		x.end(queries.ErrEnded)
	}
	if had, there := y.ended[id]; !there || a.ends && !had.all {
		if !there && len(y.order) == queriesEndedMax {
			delete(y.ended, y.order[0])
			y.order = y.order[1:]
		}
		if !there {
			y.order = append(y.order, id)
		}
		y.ended[id] = endedBy{a.ends, a.principal}
	}
	return found
}

// hasEnded reports whether somebody has ended a query of a user. mu is held.
func (y *querying) hasEnded(id uint64, by shardmap.Principal) bool {
	e, there := y.ended[id]
	return there && (e.all || e.by == by)
}

// partEnded is hasEnded for a caller that does not hold mu.
func (y *querying) partEnded(id uint64, by shardmap.Principal) bool {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.hasEnded(id, by)
}

// takeQueries answers about the queries that run here.
func takeQueries(c *connection, h wire.Header, r repl.Reply, body []byte) {
	var q wire.Queries
	if !readRequest(c, h, r, body, &q) {
		return
	}
	n, y := c.node, &c.node.querying
	a := asker{c.who.Name, c.who.User, n.laws.may(c.who, access.Read) == nil, n.laws.may(c.who, access.Admin) == nil}
	answer := wire.QueriesAnswer{Node: n.name}
	var refused *wire.Error
	switch q.Action {
	case wire.QueriesList:
		answer.Rows = y.list(a)
	case wire.QueriesRun:
		answer.Ended, refused = y.announced(a, &q)
	case wire.QueriesDone:
		y.done(a, q.Query)
	case wire.QueriesEnd:
		answer.Found = y.endQuery(a, q.Query)
	}
	if refused != nil {
		c.refuse(r, refused)
		return
	}
	c.answerNow(r, wire.TypeQueriesAnswer, answer.Append(nil))
}

// scanning is the parts of queries that one connection asks for.
type scanning struct {
	of     *querying    // set once
	count  atomic.Int32 // of those that wait for a scanner, or are with one
	hungUp atomic.Bool  // nobody waits for answers any more
}

// Scan implements [machine.Asker]: a scanner calls scan.
func (c *scanning) Scan(scan func()) (found string) {
	if c.count.Add(1) > scanQueueShare {
		c.count.Add(-1)
		return fmt.Sprintf("%d parts of queries of this connection wait, as many as this node keeps", scanQueueShare)
	}
	select {
	case c.of.scans <- func() { scan(); c.count.Add(-1) }:
		return ""
	default:
		c.count.Add(-1)
		return fmt.Sprintf("%d parts of queries wait, as many as this node keeps", scanQueueMax)
	}
}

// Over implements [machine.Asker].
func (c *scanning) Over(query uint64, by shardmap.Principal, within time.Duration) func() *wire.Error {
	ends := time.Now().Add(within)
	return func() *wire.Error {
		switch {
		case query != 0 && c.of.partEnded(query, by):
			return &wire.Error{Code: wire.CodeConflict, Object: "query", Text: queries.ErrEnded.Error(), State: fmt.Sprintf("number %d", query), Next: "send it again if it was not meant"}
		case time.Now().After(ends):
			return wire.TooLarge("query", fmt.Sprintf("it took longer than %s at one shard", within), queries.RemedyTime)
		case c.hungUp.Load() || c.of.node.ctx.Err() != nil:
			return wire.Unavailable("query", "nobody waits for the answer")
		}
		return nil
	}
}
