package repl

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"muster/logstore"
	"muster/raft"
	"muster/repl/wire"
)

// A disk without room does no harm as long as nobody hands the log what it
// can't take: a core that was given an entry can't give it back. So the host
// asks before.
//
//   - A node whose disk is full says so in its heartbeats.
//   - A leader whose disk is full hands over to a voter whose disk is not.
//   - Where no majority of voters has room, or the leader can't hand over, it
//     refuses commands, save those that free room; reads go on. No-ops,
//     memberships, terms and votes are not asked about.
//   - A follower whose disk is full drops appends, as if they were lost, as long
//     as a majority does without it; its leader sends it none. If the group can't
//     do without it, it takes what was under way, out of its reserve.
//   - A follower that can't take one append, for its size, is full in the same
//     sense, though what is prepared lasts for smaller ones: that one is next in
//     its group, and nothing comes after it before.
//
// Each of these ends by itself when there is room.
const (
	// fullRetry is after which time who was told "full" should come back.
	// Room is made by people, or by a snapshot.
	fullRetry = 250 * time.Millisecond
	// lastPart of the reserve is for terms, votes, memberships and no-ops
	// alone.
	lastPart = 4
	// hardPart of the reserve is not for entries, whatever their kind: terms
	// and votes need no more.
	hardPart = 16
	// wantedTicks is how long a follower is full for one append that it could
	// not take, 10 s: another leader may want something else.
	wantedTicks = 200
	// entryRoom is what an entry may cost besides its bytes, and appendRoom
	// what an append may.
	entryRoom  = 64
	appendRoom = 8 << 10
)

// Thrifty is a [StateMachine] that knows which commands are taken also when
// disks are full: those that free room, and those that the cluster can't do
// without. It decides by the payload of an entry alone. For a machine that does
// not implement it there are none.
type Thrifty interface {
	Thrifty(payload []byte) bool
}

// fullness is what the host knows of room on disks.
type fullness struct {
	host     *Host
	space    logstore.Space // as of the last look
	own      wire.Fullness
	some     bool  // a disk is full, here or elsewhere
	accepted int64 // bytes that cores took, and that are in no batch yet that was handed out
	underWay int64 // bytes of the batch that was handed out

	wanted   int64  // bytes of an append for which there was no room, with nothing else under way
	wantedAt uint64 // the tick when it came last
}

// look takes a new picture of the room on this node's disk.
func (f *fullness) look() {
	f.space = f.host.cfg.Store.Space()
	own := wire.FullNot
	if f.space.Full {
		own = wire.FullNear
		if f.room() < f.space.Kept/lastPart+2*appendRoom {
			own = wire.FullAll
		}
	} else if f.lacksWanted() {
		own = wire.FullNear
	}
	if own == f.own {
		return
	}
	f.own = own
	for _, b := range f.host.beats.of {
		b.lastSent = 0 // the others need to know at once
	}
	f.changed(f.host.cfg.Self, own)
}

// lacksWanted reports whether there still is no room for an append that was dropped.
func (f *fullness) lacksWanted() bool {
	if f.wanted > 0 && (f.host.ticks >= f.wantedAt+wantedTicks || f.headway()+f.accepted+f.underWay-f.wanted >= f.space.Kept/lastPart) {
		f.wanted = 0
	}
	return f.wanted > 0
}

// learn takes in what another node says of its disk.
func (f *fullness) learn(n raft.NodeID, is wire.Fullness) {
	if c := f.host.contacts.of[n]; c != nil && c.fullness != is {
		c.fullness = is
		f.changed(n, is)
	}
}

// learnStall takes in whether another node's disk stands still, as it says. That
// changes nothing here: its cores see to it that others lead. It is shown to
// those who ask this node for the cluster's status.
func (k *Contacts) learnStall(n raft.NodeID, stalled bool) {
	if c := k.of[n]; c != nil && c.stalled != stalled {
		c.stalled = stalled
		k.host.cfg.Log.Warn("disk of node", "of", n, "stalled", stalled)
	}
}

// Stalled reports whether another node's disk stands still, as it said last.
func (k *Contacts) Stalled(n raft.NodeID) bool {
	c := k.of[n]
	return c != nil && c.stalled && !c.silent
}

func (f *fullness) changed(n raft.NodeID, is wire.Fullness) {
	f.host.cfg.Log.Warn("disk of node", "of", n, "is", is)
	f.some = f.own != wire.FullNot
	for _, c := range f.host.contacts.of {
		f.some = f.some || c.fullness != wire.FullNot
	}
	for _, g := range f.host.order {
		g.handOverAt = 0
		g.applyPreference()
	}
}

// of returns what is known of a node's disk. One that is silent says
// nothing, and can be counted on for nothing.
func (f *fullness) of(n raft.NodeID) (is wire.Fullness, alive bool) {
	if n == f.host.cfg.Self {
		return f.own, true
	}
	c := f.host.contacts.of[n]
	if c == nil {
		return wire.FullNot, false
	}
	return c.fullness, !c.silent
}

// Fullness returns the nodes whose disks are full, this one or others, and how
// full.
func (k *Contacts) Fullness() map[raft.NodeID]wire.Fullness {
	full := make(map[raft.NodeID]wire.Fullness)
	if k.host.full.own != wire.FullNot {
		full[k.host.cfg.Self] = k.host.full.own
	}
	for n, c := range k.of {
		if c.fullness != wire.FullNot && !c.silent {
			full[n] = c.fullness
		}
	}
	return full
}

// room is what the log has left, reserve included, after all that was accepted.
func (f *fullness) room() int64 {
	return f.space.Prepared + f.space.Reserve - f.accepted - f.underWay
}

// headway is room, and what the disk has for more log: of that the half, since
// it is taken in whole segments.
func (f *fullness) headway() int64 {
	if f.space.Short {
		return f.room()
	}
	return f.room() + f.space.Free/2
}

// accept notes bytes that a core was given.
func (f *fullness) accept(bytes int64) { f.accepted += bytes }

// quorumUpTo reports whether a majority of the voters is alive, with disks at most
// so full; also of the outgoing ones, in a joint membership.
func (g *group) quorumUpTo(limit wire.Fullness) bool {
	for _, list := range [...][]raft.Member{g.members.Voters, g.members.Outgoing} {
		able := 0
		for i := range list {
			if is, alive := g.host.full.of(list[i].Node); alive && is <= limit {
				able++
			}
		}
		if len(list) > 0 && able <= len(list)/2 {
			return false
		}
	}
	return true
}

// short reports whether a disk that is full keeps the group from writing.
func (g *group) short() bool {
	if !g.host.full.some || g.quorumUpTo(wire.FullNot) {
		return false
	}
	for m := range g.members.Voting() {
		if is, _ := g.host.full.of(m.Node); is != wire.FullNot {
			return true
		}
	}
	return false
}

// admit says why a command may not go into the log now, or nil.
func (q *commandQueue) admit(payload []byte) *wire.Error {
	h := q.group.host
	if !h.full.some || h.full.own == wire.FullNot && !q.group.short() {
		return nil
	}
	if q.group.core.Transferee() != 0 {
		return nil // it waits, and the next leader is asked
	}
	m, ok := q.group.machine.(Thrifty)
	if ok && m.Thrifty(payload) && q.group.quorumUpTo(wire.FullNear) &&
		(h.full.own == wire.FullNot || h.full.room()-int64(len(payload))-entryRoom-appendRoom >= h.full.space.Kept/lastPart) {
		return nil
	}
	return q.refusedFull()
}

// refusedFull says whose disks keep the group from writing.
func (q *commandQueue) refusedFull() *wire.Error {
	full := []string{}
	for _, m := range q.group.members.Voters {
		is, _ := q.group.host.full.of(m.Node)
		if is != wire.FullNot || m.Node == q.group.host.cfg.Self && q.group.role == raft.RoleLeader && q.group.host.full.headway() < q.group.host.full.space.Kept {
			name := q.group.host.cfg.Addr(m.Node)
			if name == "" {
				name = m.Node.String()
			}
			full = append(full, name)
		}
	}
	found := fmt.Sprintf("the disk of %s is full, a majority of %d voters must have room", strings.Join(full, ", "), len(q.group.members.Voters))
	return wire.Full(q.group.name(), found, fullRetry)
}

// refuseFull refuses what waits for room in the log and may not go there now.
func (q *commandQueue) refuseFull() {
	if !q.group.host.full.some || len(q.queue) == 0 {
		return
	}
	kept := q.queue[:0]
	for _, p := range q.queue {
		if err := q.admit(p.Entry.Raw[raft.EntryHeaderSize:]); err != nil {
			q.bytes -= len(p.Entry.Raw)
			q.refuse(&p, err)
			continue
		}
		kept = append(kept, p)
	}
	clear(q.queue[len(kept):])
	q.queue = kept
}

// refuseLarge refuses the first command in the queue if what is prepared on the
// disk can't take it, though nothing else is under way.
func (q *commandQueue) refuseLarge() {
	if f := &q.group.host.full; f.accepted+f.underWay > 0 {
		return // there may be more room after that
	}
	p := q.queue[0]
	q.queue = slices.Delete(q.queue, 0, 1)
	q.bytes -= len(p.Entry.Raw)
	q.refuse(&p, q.refusedFull())
	q.group.touch()
}

// mayOffer reports whether so many bytes may go to the core: on a disk that has no
// room to prepare more, only as many as are prepared, and for what may use it,
// in the reserve.
func (f *fullness) mayOffer(bytes int64) bool {
	least := f.space.Kept / lastPart
	if !f.space.Full {
		least = f.space.Kept / 2
	}
	return f.headway()-bytes-appendRoom >= least && f.holds(bytes)
}

// holds reports whether the log takes so many bytes as it is cut into segments, after
// all that was accepted: a batch that finds no place would wait for room, and all
// groups with it. What is larger than usual needs a place of its own.
func (f *fullness) holds(bytes int64) bool {
	room := f.space.Batch
	if bytes > f.space.Entry {
		room = f.space.Entry
	}
	if !f.space.Short {
		room = max(room, f.space.Free/2) // a segment is made to measure
	}
	return f.accepted+f.underWay+bytes+appendRoom <= room
}

// takes reports whether a follower takes an append, or drops it as if it had been
// lost on the way.
func (g *group) takes(m *raft.Message) bool {
	f := &g.host.full
	if len(m.Entries) == 0 {
		return true
	}
	bytes, promises := int64(appendRoom), true
	for i := range m.Entries {
		bytes += int64(len(m.Entries[i].Raw)) + entryRoom
		// A time entry may use the reserve here. Without it this replica could not
		// take the next one either, and the group would never rest.
		promises = promises && m.Entries[i].Kind != raft.EntryNormal
	}
	least := f.space.Kept / lastPart
	switch {
	case promises:
		least = f.space.Kept / hardPart
	case f.own != wire.FullNot && !g.short():
		return false // the others do without it
	}
	if g.host.full.headway()-bytes < least || !promises && !g.host.full.holds(bytes-appendRoom) {
		if f.accepted+f.underWay == 0 && !promises {
			f.wanted, f.wantedAt = max(f.wanted, bytes), g.host.ticks
			g.host.full.look()
		}
		return false
	}
	g.host.full.accept(bytes)
	return true
}

// feeds reports whether an append is worth sending: not to a disk that has no room
// for it. The core asks again with each heartbeat.
func (g *group) feeds(to raft.NodeID, m *raft.Message) bool {
	if !g.host.full.some || m.Type != raft.MsgAppend || m.Fetch == 0 && len(m.Entries) == 0 {
		return true
	}
	is, _ := g.host.full.of(to)
	switch is {
	case wire.FullNot:
		return true
	case wire.FullNear:
		if g.short() {
			return true
		}
	}
	return m.Fetch == 0 && !slices.ContainsFunc(m.Entries, func(e raft.Entry) bool { return e.Kind == raft.EntryNormal })
}

// leave hands the groups that this node leads to voters whose disks have room,
// while its own has none.
func (f *fullness) leave() {
	if f.own == wire.FullNot {
		return
	}
	for _, g := range f.host.order {
		if g.role != raft.RoleLeader || g.stopped != nil || f.host.ticks < g.handOverAt || g.core.Transferee() != 0 {
			continue
		}
		g.handOverAt = f.host.ticks + uint64(f.host.cfg.ElectionTicks)
		if to := g.heirWithRoom(); to != 0 && g.core.Transfer(to) == nil {
			f.host.cfg.Log.Info("group is handed over: the disk is full", "group", g.replica.Group, "to", to)
			g.touch()
		}
	}
}

// heirWithRoom returns the active voter with most of the log among those whose
// disks have room, or 0.
func (g *group) heirWithRoom() (best raft.ReplicaID) {
	var match uint64
	for _, p := range g.core.Status().Progress {
		member, ok := g.members.Member(p.Replica)
		if !ok || !p.Active || !g.members.Votes(p.Replica) {
			continue
		}
		if is, alive := g.host.full.of(member.Node); alive && is == wire.FullNot && (best == 0 || p.Match > match) {
			best, match = p.Replica, p.Match
		}
	}
	return best
}

// applyPreference tells the core who should lead: not one whose disk is full,
// from which leadership would only come back.
func (g *group) applyPreference() {
	id := g.preferred
	if node, ok := g.memberNode(id); ok {
		if is, _ := g.host.full.of(node); is != wire.FullNot {
			id = 0
		}
	}
	g.core.Prefer(id)
}
