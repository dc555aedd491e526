package node

import (
	"errors"
	"fmt"

	"muster/raft"
	"muster/repl"
	"muster/repl/wire"
)

// These frames are what members say without an answer under their number. By the time
// they come here, they are known to be the member's own.

// toLoop makes a handler that hands the loop what a member says. A node that does not
// serve yet drops it: the member says it again.
func toLoop[T any, B interface {
	*T
	wire.Body
}](take func(l *repl.Loop, from raft.NodeID, body B)) func(*connection, wire.Header, []byte) error {
	return func(c *connection, h wire.Header, body []byte) error {
		loop := c.node.running()
		if loop == nil {
			return nil
		}
		b := B(new(T))
		if err := b.Read(body); err != nil {
			return fmt.Errorf("body of %s: %w", h.Type, err)
		}
		take(loop, c.peer, b)
		return nil
	}
}

// coreLoop returns the loop for what a peer's cores say to ours. While there is none it
// returns nil, and the frame is dropped: raft sends it again.
func coreLoop(c *connection) *repl.Loop {
	loop := c.node.running()
	if loop != nil && !c.feeds {
		c.feeds = true
		c.node.door.feeding(c.peer)
	}
	return loop
}

// hearBeat takes the heartbeats of a peer's groups.
func hearBeat(c *connection, _ wire.Header, body []byte) error {
	loop := coreLoop(c)
	if loop == nil {
		return nil
	}
	var b wire.Beat
	if err := wire.ReadBeat(body, &b); err != nil {
		return err
	}
	loop.ReceiveBeat(c.peer, b, false)
	return nil
}

// hearBeatAnswer takes the answers to this node's heartbeats.
func hearBeatAnswer(c *connection, _ wire.Header, body []byte) error {
	loop := coreLoop(c)
	if loop == nil {
		return nil
	}
	var b wire.Beat
	if err := wire.ReadBeatAnswer(body, &b); err != nil {
		return err
	}
	loop.ReceiveBeat(c.peer, b, true)
	return nil
}

// hearAppend takes an append. It copies the body: the entries go into the log as they
// are, and outlive this frame.
func hearAppend(c *connection, h wire.Header, body []byte) error {
	return hearEnvelope(c, h, append([]byte(nil), body...))
}

// hearEnvelope takes one message of raft.
func hearEnvelope(c *connection, h wire.Header, body []byte) error {
	loop := coreLoop(c)
	if loop == nil {
		return nil
	}
	e, err := wire.ReadEnvelope(h.Type, body, c.node.seed)
	// The frame's checksum was right, so the entry was wrong when it was sent: that is the
	// peer's fault and not the connection's, which stays.
	if errors.Is(err, raft.ErrEntry) {
		peer := c.peer
		loop.Post(func(host *repl.Host) { host.RefuseEntries(peer, h.Type, err) })
		return nil
	}
	if err != nil {
		return err
	}
	c.envelopes = append(c.envelopes, e)
	return nil
}

// hearRepairAnswer hands on entries that this node's log lost. It copies the body: the
// entries go into the log as they are.
func hearRepairAnswer(c *connection, h wire.Header, body []byte) error {
	loop := c.node.running()
	if loop == nil {
		return nil // this node will ask again
	}
	a := new(wire.RepairAnswer)
	err := a.Read(append([]byte(nil), body...))
	if errors.Is(err, raft.ErrEntry) {
		peer := c.peer
		loop.Post(func(host *repl.Host) { host.RefuseEntries(peer, h.Type, err) })
		return nil
	}
	if err != nil {
		return fmt.Errorf("body of %s: %w", h.Type, err)
	}
	loop.ReceiveRepairAnswer(c.peer, a)
	return nil
}

// hearAddresses takes where another member has found others.
func hearAddresses(c *connection, _ wire.Header, body []byte) error {
	var a wire.Addresses
	if err := a.Read(body); err != nil {
		return err
	}
	if err := a.Check(); err != nil {
		return err
	}
	if p := c.node.attesting.peers.Load(); p != nil {
		p.Told(a.Nodes)
	}
	return nil
}
