package queries

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/influxdata/influxql"

	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap/points/rows"
)

const (
	// nodePatience is how long a node may take to tell of its queries, and nodesAtOnce how many are asked at a time.
	nodePatience = 4 * time.Second
	nodesAtOnce  = 32
	// announcePause lies between two announcements of a query; a node forgets one that it has not heard of for ten seconds.
	announcePause = time.Second
	// idMax bounds the numbers of queries, which people type.
	idMax = 1 << 40
)

// NewID returns a number for a query, which no other one that runs is likely to have.
func NewID() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it never fails
	return 1 + binary.LittleEndian.Uint64(b[:])%idMax
}

// Shown returns the text of a query as it is listed: without passwords, and at most [TextShown] bytes.
func Shown(text string) string {
	text = influxql.Sanitize(text)
	if len(text) > TextShown {
		text = strings.ToValidUTF8(text[:TextShown], "")
	}
	return text
}

// Cluster is the queries of all nodes, as far as the user of a client may see and end them. It implements [Activity].
type Cluster struct{ Client *client.Client }

// Queries implements [Activity]: by the time that they have run, the longest first.
func (x Cluster) Queries(ctx context.Context) (all []Running, messages []rows.Message, err error) {
	answers, messages, err := x.ask(ctx, &wire.Queries{Action: wire.QueriesList})
	if err != nil {
		return nil, nil, err
	}
	now := time.Now()
	for _, a := range answers {
		for _, r := range a.Rows {
			all = append(all, Running{ID: r.Query, Node: a.Node, User: r.User, Database: r.Database, Text: r.Text,
				Since: now.Add(-time.Duration(r.AgeMs) * time.Millisecond), Memory: int64(r.Memory)})
		}
	}
	slices.SortFunc(all, func(a, b Running) int { return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID)) })
	return all, messages, nil
}

// Kill implements [Activity]. All nodes are told, for each may work on parts of the query.
func (x Cluster) Kill(ctx context.Context, id uint64, host string) error {
	if id == 0 || id > wire.PointsQueryIDMax {
		return &NotFoundError{"query", fmt.Sprint(id)}
	}
	answers, messages, err := x.ask(ctx, &wire.Queries{Action: wire.QueriesEnd, Query: id})
	if err != nil {
		return err
	}
	for _, a := range answers {
		if a.Found && (host == "" || host == a.Node) {
			return nil
		}
	}
	if len(messages) > 0 {
		return wire.Unavailable(fmt.Sprintf("query %d", id), "no node that answers knows it: "+messages[0].Text)
	}
	return &NotFoundError{"query", fmt.Sprint(id)}
}

// ask asks all nodes the same. A node that does not answer is a message; if none does, the error is that of one of them.
func (x Cluster) ask(ctx context.Context, q *wire.Queries) (answers []*wire.QueriesAnswer, messages []rows.Message, err error) {
	s, err := x.Client.Status(ctx, "")
	if err != nil {
		return nil, nil, err
	}
	var mu sync.Mutex
	var asking sync.WaitGroup
	room := make(chan struct{}, nodesAtOnce)
	for i := range s.Nodes {
		n := &s.Nodes[i]
		room <- struct{}{}
		asking.Go(func() {
			defer func() { <-room }()
			ctx, cancel := context.WithTimeout(ctx, nodePatience)
			defer cancel()
			a, failed := x.Client.Queries(ctx, n.Addr, q)
			mu.Lock()
			defer mu.Unlock()
			if failed != nil {
				err = failed
				messages = append(messages, rows.Message{Level: rows.Warning, Text: fmt.Sprintf("node %s is not asked: %v", n.Name, failed)})
				return
			}
			answers = append(answers, a)
		})
	}
	asking.Wait()
	if len(answers) > 0 {
		err = nil
	}
	slices.SortFunc(messages, func(a, b rows.Message) int { return cmp.Compare(a.Text, b.Text) })
	return answers, messages, err
}

// Announced is a query that a client carries out itself, and that a node knows of meanwhile.
type Announced struct {
	ID     uint64
	Memory atomic.Int64 // as [Runner.Memory]
	stop   context.CancelCauseFunc
	over   chan struct{} // closed by announce when it has ended
}

// Announce tells the first node that can be had of a query, again and again until [Announced.Done], so that it is listed
// there. The context that it returns ends with [ErrEnded] when somebody ends the query.
func Announce(ctx context.Context, c *client.Client, q *Request) (context.Context, *Announced, error) {
	s, err := c.Status(ctx, "")
	if err != nil {
		return nil, nil, err
	}
	at := ""
	for i := range s.Nodes {
		if s.Nodes[i].ID == s.Self {
			at = s.Nodes[i].Addr
		}
	}
	a := &Announced{ID: NewID(), over: make(chan struct{})}
	tell := &wire.Queries{Action: wire.QueriesRun, Query: a.ID, Database: q.Database, Text: Shown(q.Text)}
	if _, err := c.Queries(ctx, at, tell); err != nil {
		return nil, nil, err
	}
	running, stop := context.WithCancelCause(ctx)
	a.stop = stop
	go a.announce(running, c, at, *tell)
	return running, a, nil
}

// announce tells the node again until the query is done.
func (a *Announced) announce(ctx context.Context, c *client.Client, at string, tell wire.Queries) {
	defer close(a.over)
	every := time.NewTicker(announcePause)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			// The context of the query has ended: this is told beside it. A node that does not hear it forgets the query.
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), nodePatience)
			defer cancel()
			_, _ = c.Queries(last, at, &wire.Queries{Action: wire.QueriesDone, Query: tell.Query})
			return
		case <-every.C:
		}
		tell.Memory = uint64(max(0, a.Memory.Load()))
		// A node that can't be had does not know that the query was ended; the shards do. One that has not answered is told anew, before
		// it forgets the query.
		told, cancel := context.WithTimeout(ctx, nodePatience)
		answer, err := c.Queries(told, at, &tell)
		cancel()
		if err == nil && answer.Ended {
			a.stop(ErrEnded)
		}
	}
}

// Done ends the announcements, and returns when the node has been told.
func (a *Announced) Done() {
	a.stop(nil)
	<-a.over
}
