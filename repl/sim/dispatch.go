package sim

import (
	"fmt"

	"muster/raft"
	"muster/repl"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
)

// happen takes one event. It reports whether the event may be used again.
func (c *cluster) happen(e *event) bool {
	if cl := e.ofClient(); cl != nil && cl.host.until > 0 {
		cl.misses(e)
		return false
	}
	switch e.kind {
	case evMessage, evBeat, evSynced, evIdle, evTick, evShort, evResume, evAnnounce, evRequest, evTask, evStream, evFrame, evDial, evPeer, evStop, evAsk, evMove, evCarry, evCheck, evFeed, evNotary:
		n := c.nodes[e.node-1]
		if e.kind == evResume {
			if n.up && e.life == n.life && n.paused {
				n.resume()
			}
			return true
		}
		if !n.up || e.life != 0 && e.life != n.life {
			return true
		}
		if n.paused {
			n.inbox = append(n.inbox, e)
			return false
		}
		return n.handle(e)
	case evCall:
		e.call()
	case evCrash:
		if n := c.nodes[e.node-1]; n.up && n.life == e.life && !c.chaos.stopped {
			c.result.Fired[Crash]++
			n.crash(c.chaos.power())
		}
	case evStart:
		if n := c.nodes[e.node-1]; !n.up && n.startAt == c.now {
			n.boot()
		}
	case evScrub:
		c.nodes[e.node-1].decay.scrub()
	case evLook:
		c.nodes[e.node-1].refusals.look()
	case evRoom:
		if n := c.nodes[e.node-1]; n.files.fullUntil > 0 && n.files.fullUntil <= c.now {
			n.files.makeRoom()
		}
	case evAnswer:
		e.conn.answered(e)
	case evDialled:
		e.conn.dialled()
	case evReset:
		e.conn.lost(errReset)
	case evListen:
		e.conn.listen()
	case evTable:
		e.client.tableCame(e.conn)
	case evWake:
		e.client.wake(e.number)
	case evDeadline:
		e.op.expire(e.number)
	case evBegin:
		e.client.begin()
	case evRush:
		e.client.rush(shardmap.Slot(e.number))
	case evWatch:
		e.watching.resume(e.number)
		e.client.settle()
	case evListing:
		e.listing.resume()
		e.client.settle()
	case evFault:
		c.chaos.strike(e.number)
	case evMember:
		c.members.happen(e)
	case evHeal:
		c.net.mend(e.number)
	case evFlap:
		c.chaos.flap(e)
		return false
	default:
		c.fail("nobody knows what event %d is", e.kind)
	}
	return true
}

// handle takes an event in a running process.
func (n *node) handle(e *event) bool {
	if !n.up || e.life != 0 && e.life != n.life || n.leave.closing && e.kind != evSynced {
		return true
	}
	if n.c.flaws.active {
		defer n.survives()
	}
	switch e.kind {
	case evMessage:
		n.known.spoken(raft.NodeID(e.from))
		n.c.flaws.calls(n, &e.envelope)
		n.host.Receive(raft.NodeID(e.from), &e.envelope)
	case evBeat:
		n.known.spoken(raft.NodeID(e.from))
		n.host.ReceiveBeat(raft.NodeID(e.from), &e.beat, e.answer)
	case evSynced:
		n.writer.synced(e.number)
		return true
	case evIdle:
		n.writer.idle(e.number)
		return true
	case evTick:
		if e.number == n.ticks.planned {
			n.ticks.ticked()
		}
		return true
	case evShort:
		n.ticks.shortPlanned = false
		n.host.Hints.Tick()
	case evAnnounce:
		n.known.announce()
	case evRequest:
		e.conn.request(e)
	case evAsk:
		n.host.Read(e.read)
	case evFeed:
		n.feeds.turn(e.number)
		return true
	case evMove:
		if n.moves.turns.taken(e) {
			n.moves.turn()
			if !n.up || e.life != n.life {
				return true
			}
		}
	case evCarry:
		if n.carries.turns.taken(e) {
			n.carries.turn()
			if !n.up || e.life != n.life {
				return true
			}
		}
	case evCheck:
		if !n.checks.turns.taken(e) {
			return true
		}
		n.checks.turn()
	case evNotary:
		if !n.creds.turns.taken(e) {
			return true
		}
		if n.creds.turn(); !n.up || e.life != n.life {
			return true
		}
	case evTask:
		n.beside.resume(e.number)
		return true
	case evStream:
		n.bulk.look(e.number)
	case evFrame:
		n.post.arrived(e)
	case evDial:
		n.where.dial(e)
	case evPeer:
		n.where.word(e)
	case evStop:
		n.leave.look()
		return true
	}
	n.turn()
	return true
}

// probe is a write handed straight to a group's leader, to see that it takes one.
type probe struct {
	done, refused bool
}

func (c *cluster) probe(g raft.GroupID) *probe {
	lead := c.leaderOf(g)
	if lead == nil {
		return nil
	}
	var body []byte
	if g == 0 {
		// An announcement that says nothing new.
		line, _ := lead.known.table.Node(lead.id)
		body, _ = shardmap.AppendAnnounce(nil, &shardmap.Announce{Node: lead.id, Start: line.Start, Addr: line.Addr, Name: line.Name, Version: line.Version, Level: line.Level})
	} else if c.shuffle.active && lead.known.table != nil && lead.known.table.Level >= shardmap.MovesLevel {
		// The group may serve no slot. A decision that it does not keep it need not forget.
		none := shardmap.StepCommand(shardmap.CommandForget, []shardmap.Step{{Slot: c.lives.slots[0], Number: noMove}})
		body = wire.AppendWrite(nil, &none)
	} else {
		tag := c.tags[0]
		for _, t := range c.tags {
			if c.lives.ownerOfTag(t) == g {
				tag = t
			}
		}
		key := []byte(fmt.Sprintf("{%s}probe", tag))
		body = wire.AppendWrite(nil, &shardmap.Command{Kind: shardmap.CommandSet, Slot: shardmap.SlotOf(key), Items: [][]byte{key, []byte("probeval")}})
	}
	p := new(probe)
	lead.host.Propose(repl.Proposal{Group: g, Entry: machine.NewEntry(wire.Origin{Time: lead.ticks.wall()}, body), Reply: repl.Reply{To: p}})
	lead.turn()
	return p
}

// Answer implements [repl.Replier].
func (p *probe) Answer(_ repl.Reply, t wire.Type, _ []byte) bool {
	p.done, p.refused = t != wire.TypeError, t == wire.TypeError
	return false
}

// Flush implements [repl.Replier].
func (p *probe) Flush() {}
