package node

import (
	"errors"
	"fmt"

	"muster/raft"
	"muster/repl"
	"muster/repl/wire"
)

// mends says whether a frame of a peer has to do with a damaged log: the peer's
// or this node's.
func mends(t wire.Type) bool {
	return t == wire.TypeRepair || t == wire.TypeRepairAnswer || t == wire.TypeSnapshotRequest
}

// mendFrame hands on such a frame. Nothing answers it by its request number.
func (c *connection) mendFrame(t wire.Type, body []byte) error {
	loop := c.node.running()
	if loop == nil {
		return nil // it is asked again
	}
	switch t {
	case wire.TypeRepair:
		q := new(wire.Repair)
		if err := q.Read(body); err != nil {
			return fmt.Errorf("body of %s: %w", t, err)
		}
		loop.ReceiveRepair(c.peer, q)
	case wire.TypeRepairAnswer:
		a := new(wire.RepairAnswer)
		err := a.Read(append([]byte(nil), body...)) // its entries go into the log as they are
		if errors.Is(err, raft.ErrEntry) {
			peer := c.peer
			loop.Post(func(host *repl.Host) { host.RefuseEntries(peer, t, err) })
			return nil
		}
		if err != nil {
			return fmt.Errorf("body of %s: %w", t, err)
		}
		loop.ReceiveRepairAnswer(c.peer, a)
	case wire.TypeSnapshotRequest:
		q := new(wire.SnapshotRequest)
		if err := q.Read(body); err != nil {
			return fmt.Errorf("body of %s: %w", t, err)
		}
		loop.ReceiveSnapshotRequest(c.peer, q)
	}
	return nil
}
