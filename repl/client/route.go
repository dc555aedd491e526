package client

import (
	"errors"
	"fmt"
	"time"

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
		k.sendTo(now, c, k.peers.resolve(c.Peer))
	case ToAny:
		if p := k.peers.anyUp(c.turn); p != NoPeer {
			k.todo.send(p, c)
			return
		}
		k.park(c, onTable, k.peers.dialOne(now)) // until some peer is up
	case ToMeta:
		k.meta.route(now, c)
	case ToTable:
		if k.table.known && k.table.epoch >= c.Epoch && k.table.newFor(c) {
			k.todo.finish(c, nil)
			return
		}
		k.table.want(now, &k.peers)
		k.parkForTable(now, c)
	default:
		k.routeToGroup(now, c)
	}
}

func (k *Core) routeToGroup(now time.Duration, c *Call) {
	if !k.table.known {
		k.table.want(now, &k.peers)
		k.parkForTable(now, c)
		return
	}
	if c.ValueBytes > k.table.valueMax && k.table.valueMax > 0 {
		k.todo.finish(c, valueTooLarge("value", c.ValueBytes, k.table.valueMax))
		return
	}
	c.Forward = false
	c.asked = k.table.groupOf(c)
	g, ok := k.table.groups[c.asked]
	if !ok && c.Target == ToGroup {
		k.table.want(now, &k.peers) // it may be a new one
		k.todo.finish(c, &wire.Error{Code: wire.CodeMoved, Object: "group " + c.Group.String(), Epoch: k.table.epoch,
			Text: "owns no slots", State: fmt.Sprintf("by the table of epoch %d", k.table.epoch), Next: "list again"})
		return
	}
	if !ok {
		c.cause = fmt.Errorf("no group owns slot %d in the table of epoch %d", c.Slot, k.table.epoch)
		if c.asked != 0 {
			c.cause = fmt.Errorf("slot %d is of group %s, which the table of epoch %d does not have", c.Slot, c.asked, k.table.epoch)
		}
		k.table.want(now, &k.peers)
		k.park(c, onTable, now+k.chance.pause(c))
		return
	}
	if n := len(g.nodes); c.AnyReplica && n > 0 && k.config.Forward != ForwardAlways {
		// Never turn 0, so that the one that is meant gets connected beside those that are.
		turn := spread(k.table.spread, c.Slot, n) + c.turn + n
		if p, _ := k.peers.candidate(now, g.nodes, turn); p != NoPeer {
			k.sendTo(now, c, p)
			return
		}
	}
	if k.peers.around(g) {
		if k.config.Forward == ForwardWhenCut && now >= g.looked+RedialMax {
			// Another node may lead by now, which can be reached.
			g.looked = now
			k.table.want(now, &k.peers)
		}
		p, until := k.peers.passer(now, g, c.turn)
		if p == NoPeer {
			// Nobody is connected, and none of the group's nodes can be had. All may have left the
			// cluster since: one of the others is dialled, for a newer table.
			k.table.want(now, &k.peers)
			k.park(c, onTable, until)
			return
		}
		c.Forward = true
		k.sendTo(now, c, p)
		return
	}
	if g.leader == NoPeer && g.named != NoPeer && k.peers.all[g.named].state == peerUp {
		k.table.lead(k.table.groupOf(c), g.named) // it can be reached again
	}
	if g.leader != NoPeer && !k.peers.all[g.leader].resting(now) {
		k.sendTo(now, c, g.leader)
		return
	}
	p, until := k.peers.candidate(now, g.nodes, c.turn)
	if p == NoPeer {
		k.park(c, onGroup, until)
		return
	}
	k.sendTo(now, c, p)
}

// sendTo sends c to p, after connecting to it if need be.
func (k *Core) sendTo(now time.Duration, c *Call, p Peer) {
	x := k.peers.all[p]
	if x.state == peerUp && k.config.Crowded != nil && k.config.Crowded(now, p, c) {
		k.Crowded(now, c)
		return
	}
	if x.state == peerUp {
		k.todo.send(p, c)
		return
	}
	c.onPeer = p
	if x.resting(now) && !(k.peers.promptly(c) && x.vacant > 0) { // a prompt call has it dialled again: what was found is too old
		c.cause = x.cause
		k.park(c, onPeer, x.until)
		return
	}
	if x.state != peerDialling {
		k.peers.dial(now, p)
	}
	k.park(c, onPeer, c.Deadline)
}

// park lets c wait until wake, or as long as it may.
func (k *Core) park(c *Call, on parkedOn, wake time.Duration) {
	if !k.table.known && !c.waited && (c.Target != ToPeer || !k.peers.connected) {
		wake = min(wake, c.begun+k.config.Patience) // then hopeless has another look
	}
	k.parked.add(c, on, min(wake, c.Deadline))
}

// parkForTable parks c until a table came.
func (k *Core) parkForTable(now time.Duration, c *Call) {
	if k.table.cause != nil {
		c.cause = k.table.cause
	}
	if k.table.known || k.peers.hopeful() {
		k.park(c, onTable, c.Deadline)
		return
	}
	k.park(c, onTable, k.peers.dialOne(now))
}

// TableFailed says that p gave no table.
func (k *Core) TableFailed(now time.Duration, p Peer, err error) {
	if k.table.asked != p {
		return
	}
	k.table.failed(now, err)
	k.peers.all[p].said, k.peers.all[p].saidAt = err, now
	if k.table.known {
		return
	}
	// Another endpoint may have the table, or there may be none that ever will.
	k.peers.dialOther(now)
	for _, c := range k.parked.matching(func(c *Call) bool { return c.on == onTable }) {
		k.route(now, c)
	}
}

var errForeignTable = errors.New("the table is of another cluster")
