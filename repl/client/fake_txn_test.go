package client

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"net"
	"slices"
	"strconv"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// What a fake cluster has from level 5 on: transactions, leases, and a stream of the table.

// fakeLease is a lease, with what is attached to it. The fake has no time: a lease ends
// when a test says so.
type fakeLease struct {
	ttl  uint64
	keys map[string]bool
}

// raise brings the cluster to the level that has transactions.
func (c *fakeCluster) raise() { c.atLevel(shardmap.LeasesLevel) }

// atLevel brings the cluster to a level.
func (c *fakeCluster) atLevel(level uint32) {
	c.mu.Lock()
	c.level = level
	c.mu.Unlock()
}

// end ends a lease, as time would.
func (c *fakeCluster) end(id shardmap.LeaseID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key := range c.leases[id].keys {
		delete(c.data, key)
	}
	delete(c.leases, id)
}

// applyTxn carries out a transaction, or says why nothing of it was.
func (c *fakeCluster) applyTxn(cmd *shardmap.Command, group int) (wire.Type, []byte) {
	t, err := shardmap.ReadTxn(cmd)
	if err != nil {
		return wire.TypeError, wire.BadBody(wire.TypeWrite, err).Append(nil)
	}
	ops, succeeded := t.Then, true
	for _, x := range t.If {
		v, there := c.data[string(x.Key)]
		switch x.Kind {
		case shardmap.CompareAbsent:
			succeeded = succeeded && !there
		case shardmap.CompareVersion:
			succeeded = succeeded && there && v.version == x.Version
		default:
			succeeded = succeeded && there && bytes.Equal(v.value, x.Value)
		}
	}
	if !succeeded {
		ops = t.Else
	}
	data, results, refusal := c.runOps(ops)
	if refusal != nil {
		return wire.TypeError, refusal.Append(nil)
	}
	c.index++
	c.applied++
	c.data = data
	for _, o := range ops {
		for _, l := range c.leases {
			if o.Kind == shardmap.OpSet || o.Kind == shardmap.OpDel {
				delete(l.keys, string(o.Key))
			}
		}
		if o.Lease != 0 {
			c.leases[o.Lease].keys[string(o.Key)] = true
		}
		if o.TTL != 0 {
			c.ttls = append(c.ttls, o.TTL)
		}
	}
	a := wire.TxnAnswer{Group: raft.GroupID(group), ID: raft.LogID{Term: 1, Index: c.index}, Version: c.index, Succeeded: succeeded, Count: len(ops), Results: results}
	return wire.TypeTxnAnswer, a.Append(nil)
}

// runOps returns the data as operations leave it, and what they answer.
func (c *fakeCluster) runOps(ops []shardmap.Op) (map[string]fakeValue, []byte, *wire.Error) {
	data, results, read := maps.Clone(c.data), []byte(nil), 0
	for _, o := range ops {
		key := string(o.Key)
		old, there := data[key]
		r := wire.TxnResult{}
		switch o.Kind {
		case shardmap.OpSet:
			if o.Lease != 0 && c.leases[o.Lease] == nil {
				return nil, nil, wire.NotFound("lease "+o.Lease.String(), "it is gone", "grant another")
			}
			data[key] = fakeValue{bytes.Clone(o.Value), c.index + 1}
		case shardmap.OpDel:
			delete(data, key)
			r = wire.TxnResult{Kind: wire.ResultDeleted, Deleted: there}
		case shardmap.OpGet:
			if read += len(old.value); read > shardmap.TxnReadMax {
				return nil, nil, wire.TooLarge("reads of a transaction", fmt.Sprint(read, " bytes"), "read less")
			}
			if there {
				r = wire.TxnResult{Kind: wire.ResultValue, Version: old.version, Value: old.value}
			}
		default:
			n, err := strconv.ParseInt(string(old.value), 10, 64)
			if there && err != nil {
				return nil, nil, wire.Conflict("key "+key, "it has no number")
			}
			if n > 0 && o.By > math.MaxInt64-n {
				return nil, nil, wire.Conflict("key "+key, "its number would overflow")
			}
			data[key] = fakeValue{strconv.AppendInt(nil, n+o.By, 10), c.index + 1}
			r = wire.TxnResult{Kind: wire.ResultNumber, Number: n + o.By}
		}
		results = wire.AppendTxnResult(results, &r)
	}
	return data, results, nil
}

// applyLease carries out a command about a lease.
func (c *fakeCluster) applyLease(cmd *shardmap.Command, group int) (wire.Type, []byte) {
	op, id, ttl, err := shardmap.ReadLease(cmd)
	if err != nil {
		return wire.TypeError, wire.BadBody(wire.TypeWrite, err).Append(nil)
	}
	l := c.leases[id]
	if op != shardmap.LeaseGrant && l == nil {
		return wire.TypeError, wire.NotFound("lease "+id.String(), "it is gone", "grant another").Append(nil)
	}
	c.index++
	c.applied++
	switch op {
	case shardmap.LeaseGrant:
		id, l = shardmap.MakeLeaseID(cmd.Slot, c.index), &fakeLease{ttl: ttl, keys: map[string]bool{}}
		c.leases[id] = l
	case shardmap.LeaseKeepalive:
		c.keptAlive++
	case shardmap.LeaseRevoke:
		for key := range l.keys {
			delete(c.data, key)
		}
		delete(c.leases, id)
	}
	a := wire.LeaseAnswer{Group: raft.GroupID(group), ID: raft.LogID{Term: 1, Index: c.index}, Lease: id, TTL: l.ttl}
	return wire.TypeLeaseAnswer, a.Append(nil)
}

// listLeases answers a question after the leases of some slots. Pages are short.
func (n *fakeNode) listLeases(body []byte) (wire.Type, []byte) {
	c := n.cluster
	var q wire.Leases
	if err := q.Read(body); err != nil {
		return wire.TypeError, wire.BadBody(wire.TypeLeases, err).Append(nil)
	}
	if e := n.leads(int(q.Group)); e != nil {
		return wire.TypeError, e.Append(nil)
	}
	a := wire.LeasesAnswer{Group: q.Group, At: raft.LogID{Term: 1, Index: c.index}}
	ids := slices.Sorted(maps.Keys(c.leases))
	for _, r := range q.Slots {
		for s := r.From; s <= r.To; s++ {
			if c.groupOf(s) != int(q.Group) {
				return wire.TypeError, c.moved(s).Append(nil)
			}
			for _, id := range ids {
				if id.Slot() != s || id <= q.After {
					continue
				}
				if len(a.Rows) == fakeLeasesPage {
					a.More = true
					return wire.TypeLeasesAnswer, a.Append(nil)
				}
				l := c.leases[id]
				a.Rows = append(a.Rows, wire.LeaseRow{Lease: id, TTL: l.ttl, Remaining: l.ttl, Keys: uint64(len(l.keys))})
			}
		}
	}
	return wire.TypeLeasesAnswer, a.Append(nil)
}

const fakeLeasesPage = 3

// fakeFollower is a stream of the table.
type fakeFollower struct {
	conn   net.Conn
	number uint64
}

// follows opens a stream of the table, and sends its first piece.
func (n *fakeNode) follows(conn net.Conn, h wire.Header, body, out []byte) []byte {
	c := n.cluster
	var q wire.TableStream
	if err := q.Read(body); err != nil {
		c.t.Errorf("a client sends a bad request for the stream of the table: %v", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.level < shardmap.LeasesLevel {
		c.t.Errorf("a client asks for a stream of the table at level %d", c.level)
	}
	for f := range n.followers {
		if f.conn == conn {
			c.t.Errorf("a client has two streams of the table on one connection")
		}
	}
	n.followers[fakeFollower{conn, h.Request}] = true
	return wire.AppendPiece(out, wire.TypeTablePiece, h.Request, c.topology())
}

// leaves forgets the streams of a connection that ends.
func (n *fakeNode) leaves(conn net.Conn) {
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	maps.DeleteFunc(n.followers, func(f fakeFollower, _ bool) bool { return f.conn == conn })
	maps.DeleteFunc(n.watchers, func(f fakeFollower, _ *fakeWatcher) bool { return f.conn == conn })
}

// push sends the table to all who follow a node.
func (c *fakeCluster) push() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.nodes {
		for f := range n.followers {
			_, _ = f.conn.Write(wire.AppendPiece(nil, wire.TypeTablePiece, f.number, c.topology()))
		}
	}
}

// followers is how many streams of the table each node has.
func (c *fakeCluster) followers() (counts []int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.nodes {
		counts = append(counts, len(n.followers))
	}
	return counts
}
