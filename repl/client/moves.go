package client

import (
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// Slots move from group to group while calls are on their way. The group that a slot
// left says where it went before any table does, and by which move; the core believes
// that until a table says the same, or a later move something else.

// lookPause is the least time between two questions after the table for the sake of
// slots of which it is known where they went: only fewer of them would have to be
// remembered.
const lookPause = time.Second

// moved is where a slot went.
type moved struct {
	group  raft.GroupID
	number uint64       // of the move
	before raft.GroupID // whose the slot is by the table
}

// owner returns the group that has the slot, as far as is known; 0 if nobody has.
func (t *table) owner(s shardmap.Slot) raft.GroupID {
	if m, ok := t.moved[s]; ok {
		return m.group
	}
	return t.slots[s]
}

// note takes it that a move brought the slot to a group, and reports whether that is
// news. What an earlier move did is none: it was told late.
func (t *table) note(s shardmap.Slot, g raft.GroupID, number uint64) (news bool) {
	old, ok := t.moved[s]
	if ok && number <= old.number || !ok && t.slots[s] == g {
		return false
	}
	if t.slots[s] == g {
		delete(t.moved, s)
	} else {
		if t.moved == nil {
			t.moved = make(map[shardmap.Slot]moved)
		}
		t.moved[s] = moved{group: g, number: number, before: t.slots[s]}
	}
	t.reroute(s)
	return true
}

// doubt forgets that the slot went to a group which says that it does not have it, and
// names no move that took it away: the table is not known to be older than what was heard,
// for a slot that has come back is where it was.
func (t *table) doubt(s shardmap.Slot, g raft.GroupID) {
	if m, ok := t.moved[s]; ok && m.group == g {
		delete(t.moved, s)
		t.reroute(s)
	}
}

// doubtAll does so with all slots that went to a group.
func (t *table) doubtAll(g raft.GroupID) {
	for s, m := range t.moved {
		if m.group == g {
			delete(t.moved, s)
			t.made = nil
		}
	}
}

// settle forgets the moves that a table, which has just been installed, knows of: it
// gives the slot to the same group, or to one that only a later move can have brought it
// to. A move that it does not know of leaves the slot where it was.
func (t *table) settle() {
	for s, m := range t.moved {
		if t.slots[s] != m.before {
			delete(t.moved, s)
		}
	}
}

// moved handles the refusal of c by a group that does not have the slot. Where the slot
// is known to be elsewhere c goes there at once. A call that was planned with several
// slots ends: its caller plans again.
func (k *Core) moved(now time.Duration, c *Call, e *wire.Error) {
	if e.Number != 0 && e.Group != 0 && e.Slot < shardmap.Slots && k.table.note(e.Slot, e.Group, e.Number) {
		for _, c := range k.parked.matching(k.table.knows) {
			k.route(now, c)
		}
	}
	if c.Target == ToGroup || c.Target == ToPeer {
		if e.Number == 0 {
			k.table.doubtAll(c.Group) // which slot is meant is not known
		}
		k.table.want(now, &k.peers)
		k.todo.finish(c, e)
		return
	}
	c.told = 0
	if e.Number == 0 {
		k.table.doubt(c.Slot, c.asked)
	}
	if owner := k.table.owner(c.Slot); c.elsewhere(e, owner) && c.hops < HopsMax {
		c.hops++
		if now >= k.table.looked+lookPause {
			k.table.looked = now
			k.table.want(now, &k.peers)
		}
		k.route(now, c)
		return
	} else if c.asked == 0 {
		c.asked = owner
	}
	on := onMove
	if e.Epoch != 0 && e.Epoch < k.table.epoch && c.pauses == 0 {
		on = onTime // the node is behind us; it will catch up
	} else {
		k.table.want(now, &k.peers)
	}
	k.park(c, on, now+k.chance.pause(c))
}

// elsewhere reports whether owner, the group that has the slot as far as is known, is
// another one than that which has just refused c with e.
func (c *Call) elsewhere(e *wire.Error, owner raft.GroupID) bool {
	if c.asked == 0 { // by routes that were given out before: who refused is not known
		return owner != 0 && owner == e.Group
	}
	return owner != 0 && owner != c.asked
}

// knows reports whether c waits to hear where its slot went, and that is known now.
func (t *table) knows(c *Call) bool { return c.on == onMove && t.owner(c.Slot) != c.asked }
