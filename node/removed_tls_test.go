package node

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"muster/repl/wire"
	"muster/shardmap"
)

// removedWithin is how long a node that was removed may be connected still.
const removedWithin = 10 * time.Second

// A node that was removed has a certificate that is good for weeks, and whoever runs it may not want to leave. What it
// has open ends, to and from each member, and nobody lets it in again, as what and for what ever it comes.
func TestRemovedNodeIsCutOff(t *testing.T) {
	t.Parallel()
	if wrong := removedStays(t); wrong != "" {
		t.Error(wrong)
	}
}

// removedDoors are all ways in which a node comes to another one.
var removedDoors = []struct {
	role    wire.Role
	purpose wire.Purpose
}{
	{wire.RolePeer, wire.PurposePeer}, {wire.RolePeer, wire.PurposeBulk}, {wire.RoleClient, wire.PurposeClient},
	{wire.RoleJoining, wire.PurposePeer}, {wire.RoleInviting, wire.PurposePeer}, {wire.RoleFounding, wire.PurposePeer},
}

// removedStays tells where a node that was removed is still let in, or connected.
func removedStays(t *testing.T) string {
	nodes, users := secured(t, 3)
	stays, left := nodes[:2], nodes[2]
	gone := &stranger{t: t, id: left.node.self().Node, key: left.node.notary.keys.key, shot: left.node.guard.holder.Get().Certificate}
	// In its place there is something that keeps what others have dialled.
	keeper := &lyingMember{id: left.node.self(), addr: left.addr, shown: left.node.guard.holder.Get()}
	left.stop()
	var mu sync.Mutex
	held := make(map[net.Conn]*wire.Greeting)
	keeper.listens(t, func(below net.Conn) {
		conn, g, err := keeper.greets(below, func(*wire.Greeting) error { return nil })
		if err != nil {
			below.Close()
			return
		}
		mu.Lock()
		held[conn] = g
		mu.Unlock()
	})
	until(t, "the others have dialled it", func() error {
		mu.Lock()
		defer mu.Unlock()
		if len(held) < len(stays) {
			return fmt.Errorf("%d connections", len(held))
		}
		return nil
	})
	open := make(map[string]*speaker)
	for i, r := range stays {
		for _, d := range removedDoors {
			what := fmt.Sprintf("role %d for %d at node %d", d.role, d.purpose, i)
			s, _, err := gone.dialFor(r, d.role, d.purpose)
			if err == nil {
				open[what] = s
			} else if d.role == wire.RolePeer || d.role == wire.RoleClient {
				t.Fatalf("%s, while it is a member: %v", what, err)
			}
		}
	}
	force := shardmap.NewJob{Kind: shardmap.JobRemove, Node: gone.id, Force: true}
	command, err := shardmap.AppendNewJob(nil, &force)
	order(t, stays, users[0], command, err)
	until(t, "it has left", func() error {
		for _, o := range stays {
			if !o.node.table.Load().WasRemoved(gone.id) {
				return errors.New("a node does not know it yet")
			}
		}
		return nil
	})
	end := time.Now().Add(removedWithin)
	for what, s := range open {
		if !endedWithin(t, s, time.Until(end)) {
			return what + ": it is still connected"
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for conn, g := range held {
		s := &speaker{Conn: conn, t: t, decoder: g.Decoder}
		if !endedWithin(t, s, time.Until(end)) {
			return "a connection that a member has made to it is still open"
		}
		conn.Close()
	}
	for i, r := range stays {
		for _, d := range removedDoors {
			if s, _, err := gone.dialFor(r, d.role, d.purpose); err == nil {
				s.Close()
				return fmt.Sprintf("role %d for %d at node %d: it is let in again", d.role, d.purpose, i)
			}
		}
	}
	return ""
}
