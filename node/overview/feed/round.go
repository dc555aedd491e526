package feed

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"muster/node/overview"
	"muster/raft"
	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
)

// Asker asks nodes in the name of one user. client.Client is one. An endpoint that is empty is
// the first node that can be had.
type Asker interface {
	Status(ctx context.Context, endpoint string) (*wire.StatusAnswer, error)
	Doctor(ctx context.Context, endpoint string) (*wire.DoctorAnswer, error)
	Counters(ctx context.Context, endpoint string) (*wire.CountersAnswer, error)
	Table(ctx context.Context, endpoint string) (*shardmap.Table, raft.NodeID, error)
}

// Limits of a round.
const (
	// pace is the time from the beginning of a round to that of the next.
	pace = time.Second
	// restMin lies between two rounds in any case, also where a node costs the first its patience.
	restMin = 100 * time.Millisecond
	// patience is how long a node may take to answer: longer than a healthy one ever does, and short
	// enough that one that hangs is named within 3 s.
	patience = time.Second
	// atOnce is how many nodes are asked at a time.
	atOnce = 32
)

// round asks all nodes that are known or, if none is, those that the first one names which can be
// had. table is where the table is asked for first; "" for any node. It ends within three times its
// patience for each [atOnce] nodes.
func round(ctx context.Context, ask Asker, known []wire.StatusNode, table string) *overview.Sample {
	r := rounds{ask: ask, sample: &overview.Sample{Known: known, Answers: map[raft.NodeID]*overview.Answer{}}}
	if len(known) == 0 {
		r.anybody(ctx)
	}
	var asked sync.WaitGroup
	asked.Go(func() { r.table(ctx, table) })
	seats := make(chan struct{}, atOnce)
	for i := range r.sample.Known {
		asked.Go(func() {
			seats <- struct{}{}
			defer func() { <-seats }()
			r.node(ctx, &r.sample.Known[i])
		})
	}
	asked.Wait()
	if len(known) > 0 && !r.told {
		r.anybody(ctx)
	}
	r.sample.At = time.Now()
	return r.sample
}

// rounds is a round under way.
type rounds struct {
	ask Asker

	mu     sync.Mutex // guards what follows
	sample *overview.Sample
	told   bool // some node has told its status
}

// node asks one node all that it has to say.
func (r *rounds) node(ctx context.Context, n *wire.StatusNode) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	a := &overview.Answer{Asked: time.Now()}
	var errs [3]error
	var asked sync.WaitGroup
	asked.Go(func() {
		if a.Status, errs[0] = r.ask.Status(ctx, n.Addr); errs[0] == nil && a.Status.Self != n.ID {
			a.Status, errs[0] = nil, fmt.Errorf("node %s %w", a.Status.Self, overview.ErrOtherNode)
		}
	})
	asked.Go(func() {
		a.Doctor, errs[1] = r.ask.Doctor(ctx, n.Addr)
		a.Answered = time.Now()
		if errs[1] == nil && a.Doctor.Node != n.ID {
			a.Doctor, errs[1] = nil, fmt.Errorf("node %s %w", a.Doctor.Node, overview.ErrOtherNode)
		}
	})
	asked.Go(func() { a.Counters, errs[2] = r.ask.Counters(ctx, n.Addr) })
	asked.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = r.told || a.Status != nil
	// Every user may see a status. One that is refused it could not prove there who it is.
	a.Unasked = errors.Is(errs[0], client.ErrUnauthorized) || errs[0] != nil && bug(bugUnnamed)
	for _, err := range errs {
		switch {
		case err == nil:
		case errors.Is(err, client.ErrUnauthorized) && !a.Unasked:
			r.sample.Limited = err
		case a.Err == nil:
			a.Err = err
		}
	}
	r.sample.Answers[n.ID] = a
}

// table asks for the table: one node, and another one if that gives none.
func (r *rounds) table(ctx context.Context, endpoint string) {
	ask := func(endpoint string) error {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		t, _, err := r.ask.Table(ctx, endpoint)
		if err == nil {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.sample.Table = t
		}
		return err
	}
	if ask(endpoint) != nil && endpoint != "" {
		ask("")
	}
}

// anybody asks whatever node can be had for its status.
func (r *rounds) anybody(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	a, err := r.ask.Status(ctx, "")
	if r.sample.Err = err; err != nil {
		return
	}
	r.sample.Known = a.Nodes
	if r.sample.Answers[a.Self] == nil {
		r.sample.Answers[a.Self] = new(overview.Answer)
	}
	r.sample.Answers[a.Self].Status = a
}
