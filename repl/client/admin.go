package client

import (
	"context"
	"fmt"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// Topology returns the cluster as some node knows it now.
func (c *Client) Topology(ctx context.Context) (*wire.TopologyAnswer, error) {
	t := new(wire.TopologyAnswer)
	if err := c.question(ctx, wire.TypeTopology, "", &wire.Topology{}, t); err != nil {
		return nil, fmt.Errorf("topology: %w", err)
	}
	return t, nil
}

// TopologyAt returns the cluster as some node knows it, once the index of its table is at
// least index: the node keeps the question until then, as long as ctx lasts, [RetryMax] at
// most. An index above 0 needs a cluster of level 5; below it the error has code level or,
// of a node of an older release, bad-request.
func (c *Client) TopologyAt(ctx context.Context, index uint64) (*wire.TopologyAnswer, error) {
	x := newCall(wire.TypeTopology)
	defer x.release()
	x.Target, x.Deadline, x.waits = ToAny, c.deadlineOf(ctx), true
	x.body = (&wire.Topology{Index: index}).Append(x.body[:0])
	t := new(wire.TopologyAnswer)
	err := c.do(ctx, x)
	if err == nil {
		err = t.Read(x.answer)
	}
	if err != nil {
		return nil, fmt.Errorf("topology of index %d: %w", index, err)
	}
	return t, nil
}

// inspector asks single nodes about themselves.
type inspector struct{ courier *courier }

// Status returns the cluster as the node at endpoint knows it; empty is the
// first that can be had.
func (i inspector) Status(ctx context.Context, endpoint string) (*wire.StatusAnswer, error) {
	s := new(wire.StatusAnswer)
	if err := i.courier.question(ctx, wire.TypeStatus, endpoint, &wire.Empty{}, s); err != nil {
		return nil, fmt.Errorf("status: %w", err)
	}
	return s, nil
}

// Counters returns how many frames the node at endpoint has seen of each type;
// empty is the first node that can be had.
func (i inspector) Counters(ctx context.Context, endpoint string) (*wire.CountersAnswer, error) {
	n := new(wire.CountersAnswer)
	if err := i.courier.question(ctx, wire.TypeCounters, endpoint, &wire.Empty{}, n); err != nil {
		return nil, fmt.Errorf("counters: %w", err)
	}
	return n, nil
}

// Doctor returns what the node at endpoint measures; empty is the first node
// that can be had.
func (i inspector) Doctor(ctx context.Context, endpoint string) (*wire.DoctorAnswer, error) {
	a := new(wire.DoctorAnswer)
	if err := i.courier.question(ctx, wire.TypeDoctor, endpoint, &wire.Empty{}, a); err != nil {
		return nil, fmt.Errorf("doctor: %w", err)
	}
	return a, nil
}

// Queries asks the node at endpoint about the queries of points that run there, notes one that this client carries out, or ends
// one. It needs a cluster of level 10.
func (i inspector) Queries(ctx context.Context, endpoint string, q *wire.Queries) (*wire.QueriesAnswer, error) {
	a := new(wire.QueriesAnswer)
	if err := i.courier.question(ctx, wire.TypeQueries, endpoint, q, a); err != nil {
		return nil, fmt.Errorf("queries of a node: %w", err)
	}
	return a, nil
}

// Usage returns the prefixes that have a limit, with what there is of each, as the node at endpoint
// has heard of them last; empty is the first node that can be had.
func (i inspector) Usage(ctx context.Context, endpoint string) (*wire.UsageAnswer, error) {
	a := new(wire.UsageAnswer)
	if err := i.courier.question(ctx, wire.TypeUsage, endpoint, &wire.Usage{}, a); err != nil {
		return nil, fmt.Errorf("limits of prefixes: %w", err)
	}
	return a, nil
}

// Check has the node at endpoint compare the replicas of groups that it leads, as they are
// now: those of q, or all. It takes up to a few seconds. A node of a release without it
// answers bad-request.
func (i inspector) Check(ctx context.Context, endpoint string, q wire.Check) (*wire.CheckAnswer, error) {
	a := new(wire.CheckAnswer)
	if err := i.courier.question(ctx, wire.TypeCheck, endpoint, &q, a); err != nil {
		return nil, fmt.Errorf("check: %w", err)
	}
	return a, nil
}

// LogRange returns which entries of a group the node at endpoint holds, from
// one index to another; a part of them, if they are many.
func (i inspector) LogRange(ctx context.Context, endpoint string, q wire.LogRange) (*wire.LogRangeAnswer, error) {
	a := new(wire.LogRangeAnswer)
	if err := i.courier.question(ctx, wire.TypeLogRange, endpoint, &q, a); err != nil {
		return nil, fmt.Errorf("log of group %d at %s: %w", q.Group, endpoint, err)
	}
	return a, nil
}

// Trail returns a page of the trail of the node at endpoint. A node of a release without one
// answers bad-request.
func (i inspector) Trail(ctx context.Context, endpoint string, q wire.Trail) (*wire.TrailAnswer, error) {
	a := new(wire.TrailAnswer)
	if err := i.courier.question(ctx, wire.TypeTrail, endpoint, &q, a); err != nil {
		return nil, fmt.Errorf("trail at %s: %w", endpoint, err)
	}
	return a, nil
}

// Backups asks the node at endpoint which backups of the cluster it has in its directory. q may have it
// read them again, or remove some.
func (i inspector) Backups(ctx context.Context, endpoint string, q wire.Backups) (*wire.BackupsAnswer, error) {
	a := new(wire.BackupsAnswer)
	if err := i.courier.question(ctx, wire.TypeBackups, endpoint, &q, a); err != nil {
		return nil, fmt.Errorf("backups at %s: %w", endpoint, err)
	}
	return a, nil
}

// question asks one node something that changes nothing. If an endpoint is given and nothing listens there, it fails at
// once with an [ErrNoEndpoint], unless this client was never connected to any node.
func (c *courier) question(ctx context.Context, kind wire.Type, endpoint string, ask, into wire.Body) error {
	x := newCall(kind)
	defer x.release()
	x.Target, x.Deadline = ToAny, c.deadlineOf(ctx)
	if endpoint != "" {
		p, err := c.peerAt(endpoint)
		if err != nil {
			return err
		}
		x.Target, x.Peer, x.Prompt = ToPeer, p, true
	}
	x.body = ask.Append(x.body[:0])
	if err := c.do(ctx, x); err != nil {
		return err
	}
	if err := into.Read(x.answer); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	return nil
}

func (c *courier) peerAt(addr string) (Peer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.core.PeerAt(addr)
	if p == NoPeer {
		return p, fmt.Errorf("endpoint %s: this client knows %d already", addr, PeerMax)
	}
	return p, nil
}

// Location says where a key is.
type Location struct {
	Slot   shardmap.Slot
	Group  raft.GroupID
	Leader raft.NodeID // 0 if nobody knows
	Name   string      // of the leader
}

// Locate says where key is, by a table that is fetched for it.
func (c *Client) Locate(ctx context.Context, key []byte) (Location, error) {
	if err := checkKey(key); err != nil {
		return Location{}, fmt.Errorf("locate: %w", err)
	}
	t, err := c.Topology(ctx)
	if err != nil {
		return Location{}, fmt.Errorf("locate %s: %w", shardmap.ShowKey(key), err)
	}
	at := Location{Slot: shardmap.SlotOf(key)}
	for _, r := range t.Slots {
		if r.From <= at.Slot && at.Slot <= r.To {
			at.Group = r.Group
		}
	}
	for _, g := range t.Groups {
		if g.ID == at.Group {
			at.Leader = g.Leader
		}
	}
	for _, n := range t.Nodes {
		if n.ID == at.Leader && at.Leader != 0 {
			at.Name = n.Name
		}
	}
	return at, nil
}

// awaitTable returns once the client has a table of at least epoch.
func (c *courier) awaitTable(ctx context.Context, epoch uint64, deadline time.Duration) error {
	x := newCall(wire.TypeTopology)
	defer x.release()
	x.Target, x.Epoch, x.Deadline = ToTable, epoch, deadline
	return c.do(ctx, x)
}

// awaitLevel returns once the client knows that the cluster is of a level, or has asked
// anew: its table may be of before an upgrade.
func (c *courier) awaitLevel(ctx context.Context, level uint32, deadline time.Duration) error {
	x := newCall(wire.TypeTopology)
	defer x.release()
	x.Target, x.Needs, x.Deadline = ToTable, level, deadline
	return c.do(ctx, x)
}
