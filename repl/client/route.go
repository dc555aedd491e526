package client

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"muster/raft"
	"muster/repl/wire"
)

// route finds the peer that c goes to next and sends it there, or parks c until
// there is one.
func (k *Core) route(now time.Duration, c *Call) {
	if now >= c.Deadline {
		k.expire(c)
		return
	}
	if k.hopeless(now, c) {
		return
	}
	switch c.Target {
	case ToPeer:
		k.sendTo(now, c, k.resolve(c.Peer))
	case ToAny:
		if p := k.anyUp(c.turn); p != NoPeer {
			k.send(p, c)
			return
		}
		k.parkForAny(now, c)
	case ToTable:
		if k.known && k.epoch >= c.Epoch {
			k.finish(c, nil)
			return
		}
		k.wantTable(now)
		k.parkForTable(now, c)
	default:
		k.routeToGroup(now, c)
	}
}

func (k *Core) routeToGroup(now time.Duration, c *Call) {
	if !k.known {
		k.wantTable(now)
		k.parkForTable(now, c)
		return
	}
	if c.ValueBytes > k.valueMax && k.valueMax > 0 {
		k.finish(c, valueTooLarge("value", c.ValueBytes, k.valueMax))
		return
	}
	g, ok := k.groups[k.groupOf(c)]
	if !ok && c.Target == ToGroup {
		k.finish(c, &wire.Error{Code: wire.CodeMoved, Object: "group " + c.Group.String(), Epoch: k.epoch,
			Text: "owns no slots", State: fmt.Sprintf("by the table of epoch %d", k.epoch), Next: "list again"})
		return
	}
	if !ok {
		c.cause = fmt.Errorf("no group owns slot %d in the table of epoch %d", c.Slot, k.epoch)
		k.wantTable(now)
		k.park(c, onTable, now+k.pause(c))
		return
	}
	if g.leader != NoPeer && !k.peers[g.leader].resting(now) {
		k.sendTo(now, c, g.leader)
		return
	}
	p, until := k.candidate(now, g, c.turn)
	if p == NoPeer {
		k.park(c, onGroup, until)
		return
	}
	k.sendTo(now, c, p)
}

func (k *Core) groupOf(c *Call) raft.GroupID {
	if c.Target == ToGroup {
		return c.Group
	}
	return k.slots[c.Slot]
}

// candidate picks one of g's replicas where the leader is not known: those that
// are connected first, another one each turn. From the second turn on it also
// connects to one more: the first may know nobody. If all are resting it
// returns until when.
func (k *Core) candidate(now time.Duration, g *group, turn int) (Peer, time.Duration) {
	ups, idle, until := make([]Peer, 0, 8), NoPeer, time.Duration(-1)
	for i := range g.nodes {
		p := k.resolve(g.nodes[(turn+i)%len(g.nodes)])
		switch x := k.peers[p]; {
		case x.state == peerUp:
			ups = append(ups, p)
		case x.resting(now):
			if until < 0 || x.until < until {
				until = x.until
			}
		case idle == NoPeer:
			idle = p
		}
	}
	if len(ups) == 0 {
		if idle == NoPeer && until < 0 {
			until = now + PauseMax // a group without nodes: a newer table may help
		}
		return idle, until
	}
	if idle != NoPeer && turn > 0 && k.peers[idle].state != peerDialling {
		k.dial(now, idle)
	}
	slices.Sort(ups) // so that turns take one after the other
	return ups[turn%len(ups)], 0
}

// sendTo sends c to p, after connecting to it if need be.
func (k *Core) sendTo(now time.Duration, c *Call, p Peer) {
	x := k.peers[p]
	if x.state == peerUp && k.config.Crowded != nil && k.config.Crowded(now, p, c) {
		k.Crowded(now, c)
		return
	}
	if x.state == peerUp {
		k.send(p, c)
		return
	}
	c.onPeer = p
	if x.resting(now) {
		c.cause = x.cause
		k.park(c, onPeer, x.until)
		return
	}
	if x.state != peerDialling {
		k.dial(now, p)
	}
	k.park(c, onPeer, c.Deadline)
}

// park lets c wait until wake, or as long as it may.
func (k *Core) park(c *Call, on parkedOn, wake time.Duration) {
	if !k.known && !c.waited && (c.Target != ToPeer || !k.connected) {
		wake = min(wake, c.begun+k.config.Patience) // then hopeless has another look
	}
	k.parked.add(c, on, min(wake, c.Deadline))
}

// parkForAny parks c until some peer is up, and sees to it that one will be.
func (k *Core) parkForAny(now time.Duration, c *Call) {
	k.park(c, onTable, k.dialOne(now))
}

// parkForTable parks c until a table came.
func (k *Core) parkForTable(now time.Duration, c *Call) {
	if k.tableCause != nil {
		c.cause = k.tableCause
	}
	if k.known || k.hopeful() {
		k.park(c, onTable, c.Deadline)
		return
	}
	k.park(c, onTable, k.dialOne(now))
}

// anyUp returns a peer that is connected, another one each turn.
func (k *Core) anyUp(turn int) Peer {
	ups := 0
	for _, x := range k.peers {
		if x.state == peerUp && x.same == NoPeer {
			ups++
		}
	}
	if ups == 0 {
		return NoPeer
	}
	nth := turn % ups
	for p, x := range k.peers {
		if x.state == peerUp && x.same == NoPeer {
			if nth == 0 {
				return Peer(p)
			}
			nth--
		}
	}
	panic("client: a peer vanished")
}

// dialOne dials the next peer that may be had, so that there is one; not more
// than one within [DialStagger]. It returns when to look again.
func (k *Core) dialOne(now time.Duration) time.Duration {
	if now < k.dialAfter {
		return k.dialAfter
	}
	again := now + DialStagger
	for p := range k.peers {
		x := k.peers[p]
		if x.same != NoPeer {
			continue
		}
		switch {
		case x.state == peerIdle, x.state == peerDown && !x.resting(now):
			k.dial(now, Peer(p))
			k.dialAfter = now + DialStagger
			return k.dialAfter
		case x.state == peerDown:
			again = min(again, x.until)
		}
	}
	return max(again, now+PauseMin/2)
}

// wantTable notes that a newer table is wanted, and asks for it.
func (k *Core) wantTable(now time.Duration) {
	k.wanted = true
	k.ask(now)
}

// ask asks one peer for the table, one at a time. Where no peer is up, one is
// dialled.
func (k *Core) ask(now time.Duration) {
	if k.asked != NoPeer || now < k.askAfter {
		return
	}
	p := k.anyUp(k.askTurn)
	if p == NoPeer {
		k.askAfter = k.dialOne(now)
		return
	}
	k.asked = p
	k.askTurn++
	k.out = append(k.out, Action{Kind: ActAsk, Peer: p})
}

// TableFailed says that p gave no table.
func (k *Core) TableFailed(now time.Duration, p Peer, err error) {
	if k.asked != p {
		return
	}
	k.asked = NoPeer
	k.tableCause = err
	k.askAfter = now + min(PauseMin<<min(k.askFails, 8), PauseMax)
	k.askFails++
	k.peers[p].said, k.peers[p].saidAt = err, now
	if k.known {
		return
	}
	// Another endpoint may have the table, or there may be none that ever will.
	k.dialOther(now)
	for _, c := range k.parked.matching(func(c *Call) bool { return c.on == onTable }) {
		k.route(now, c)
	}
}

var errForeignTable = errors.New("the table is of another cluster")
