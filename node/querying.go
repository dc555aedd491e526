package node

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"muster/repl/queries"
	"muster/repl/wire"
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
	// queryIDMax bounds the numbers of queries, which people type.
	queryIDMax = 1 << 40
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
	ended   map[uint64]bool          // guarded by mu: those that somebody has ended
	order   []uint64                 // guarded by mu: the numbers in ended, the oldest first
}

// runningQuery is a query that this node was asked to carry out.
type runningQuery struct {
	queries.Running
	memory atomic.Int64 // bytes, as of now
	end    context.CancelCauseFunc
}

func (y *querying) init(n *Node) {
	y.node, y.scans = n, make(chan func(), scanQueueMax)
	y.running, y.ended = map[uint64]*runningQuery{}, map[uint64]bool{}
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
func (y *querying) begin(ctx context.Context, user, database, text string) (_ context.Context, x *runningQuery, done func(), err error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if n := len(y.running); n >= queriesMax {
		return nil, nil, nil, wire.Busy("node "+y.node.name, fmt.Sprintf("%d queries run, as many as it carries out at once", n), time.Second)
	}
	id := uint64(0)
	for id == 0 || y.running[id] != nil || y.ended[id] {
		var b [8]byte
		_, _ = rand.Read(b[:]) // it never fails
		id = binary.LittleEndian.Uint64(b[:]) % queryIDMax
	}
	if len(text) > queries.TextShown {
		text = strings.ToValidUTF8(text[:queries.TextShown], "")
	}
	x = &runningQuery{Running: queries.Running{ID: id, Node: y.node.name, User: user, Database: database, Text: text, Since: time.Now()}}
	ctx, x.end = context.WithCancelCause(ctx)
	y.running[id] = x
	return ctx, x, func() {
		x.end(nil)
		y.mu.Lock()
		defer y.mu.Unlock()
		delete(y.running, id)
	}, nil
}

// list returns the queries that run here and that see reports true of, by number.
func (y *querying) list(see func(user string) bool) (all []queries.Running) {
	y.mu.Lock()
	defer y.mu.Unlock()
	for _, x := range y.running {
		if see(x.User) {
			row := x.Running
			row.Memory = x.memory.Load()
			all = append(all, row)
		}
	}
	slices.SortFunc(all, func(a, b queries.Running) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// endQuery ends a query of a number, if it runs here, and the parts of it that this node works on. It reports whether it runs
// here and may be ended: by is called with its user.
func (y *querying) endQuery(id uint64, may func(user string) bool) (found bool) {
	y.mu.Lock()
	defer y.mu.Unlock()
	x := y.running[id]
	if x == nil || !may(x.User) {
		return false
	}
	x.end(queries.ErrEnded)
	y.note(id)
	return true
}

// endParts ends the parts of a query that this node works on, and those that come.
func (y *querying) endParts(id uint64) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.note(id)
}

// note remembers that a query was ended. mu is held.
func (y *querying) note(id uint64) {
	if y.ended[id] {
		return
	}
	if len(y.order) == queriesEndedMax {
		delete(y.ended, y.order[0])
		y.order = y.order[1:]
	}
	y.ended[id] = true
	y.order = append(y.order, id)
}

// hasEnded reports whether somebody has ended a query.
func (y *querying) hasEnded(id uint64) bool {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.ended[id]
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
func (c *scanning) Over(query uint64, within time.Duration) func() *wire.Error {
	ends := time.Now().Add(within)
	return func() *wire.Error {
		switch {
		case query != 0 && c.of.hasEnded(query):
			return &wire.Error{Code: wire.CodeConflict, Object: "query", Text: queries.ErrEnded.Error(), State: fmt.Sprintf("number %d", query), Next: "send it again if it was not meant"}
		case time.Now().After(ends):
			return wire.TooLarge("query", fmt.Sprintf("it took longer than %s at one shard", within), queries.RemedyTime)
		case c.hungUp.Load() || c.of.node.ctx.Err() != nil:
			return wire.Unavailable("query", "nobody waits for the answer")
		}
		return nil
	}
}
