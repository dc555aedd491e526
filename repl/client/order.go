package client

import (
	"context"
	"fmt"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// Order has the leader of the meta group carry out a command, as
// shardmap.AppendTableJob and its like make it. index is that of the table for which its
// plan was shown, 0 if none was: if the plan would be another by now, nothing is done,
// and the error's code is conflict.
//
// The answer has the id of the job that carries the order out, if one does. An order that
// was sent and not answered ends with code maybe-applied: it is not sent again by
// itself.
func (c *Client) Order(ctx context.Context, command []byte, index uint64) (*wire.OrderAnswer, error) {
	a := new(wire.OrderAnswer)
	if err := c.ofMeta(ctx, wire.TypeOrder, wholeCall, &wire.Order{Command: command, Index: index}, a); err != nil {
		return nil, fmt.Errorf("order: %w", err)
	}
	return a, nil
}

// Plan returns what the leader of the meta group would do after a command, and changes
// nothing.
func (c *Client) Plan(ctx context.Context, command []byte) (*wire.OrderAnswer, error) {
	a := new(wire.OrderAnswer)
	if err := c.ofMeta(ctx, wire.TypeOrder, askedCall, &wire.Order{Command: command, Plan: true}, a); err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	return a, nil
}

// Table returns the table of the cluster as the node at endpoint has it, and who leads
// the meta group as far as that node knows, or 0; empty is the first node that can be
// had.
func (c *Client) Table(ctx context.Context, endpoint string) (t *shardmap.Table, leader raft.NodeID, err error) {
	a := new(wire.TableAnswer)
	if err := c.question(ctx, wire.TypeTable, endpoint, &wire.Empty{}, a); err != nil {
		return nil, 0, fmt.Errorf("read the table of the cluster: %w", err)
	}
	if t, err = shardmap.ReadTable(a.State); err != nil {
		return nil, 0, fmt.Errorf("read the table of the cluster: %w", err)
	}
	return t, a.Leader, nil
}

// AddNodes has a member invite hosts, given as host:port each, and returns a row for each
// host. A host joins by itself after that: [Client.Table] shows when it has.
func (c *Client) AddNodes(ctx context.Context, hosts []string) (*wire.AddNodesAnswer, error) {
	a := new(wire.AddNodesAnswer)
	// An invitation that is sent twice does what one does, so any node may be asked
	// again.
	if err := c.question(ctx, wire.TypeAddNodes, "", &wire.AddNodes{Hosts: hosts}, a); err != nil {
		return nil, fmt.Errorf("add nodes: %w", err)
	}
	return a, nil
}

// callKind says what it means that a call was sent and not answered.
type callKind bool

const (
	askedCall callKind = false // nothing: it is asked again
	wholeCall callKind = true  // it may have been carried out
)

// ofMeta asks the leader of the meta group.
func (c *courier) ofMeta(ctx context.Context, kind wire.Type, means callKind, ask, into wire.Body) error {
	x := newCall(kind)
	defer x.release()
	x.Target, x.Write, x.Deadline = ToMeta, means == wholeCall, c.deadlineOf(ctx)
	x.body = ask.Append(x.body[:0])
	if err := c.do(ctx, x); err != nil {
		return err
	}
	if err := into.Read(x.answer); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	return nil
}
