package sim

import (
	"slices"
	"time"

	"muster/raft"
	"muster/shardmap"
)

// The lull: at the end of some runs nobody writes, for longer than sessions are kept. All
// groups rest, and still their time must go on, through one leader after the other:
// sessions that are due are forgotten soon, on all replicas at the same entry, and then
// nothing more is written.

const (
	lullEvery = 8
	// strikeWithin is the longest time between two faults of a lull.
	strikeWithin = 2 * time.Minute
	// toldEvery is how long no entry may tell the time, and so how much time is lost
	// if nobody heard it otherwise.
	toldEvery = time.Minute
	// heardEvery is how much time is lost with a leader from which others heard the
	// time, and lullSlack what a group may take in addition for an entry and its sync.
	heardEvery = time.Second
	lullSlack  = 5 * time.Second
	// gather is how long sessions that are due may wait for others that will be.
	gather = 10 * time.Second
	// calmFor is how long no leadership may have changed: two elections.
	calmFor = 2 * electionTimeout
	// stillFor is for how long nothing may be written once nothing is due.
	stillFor = 3 * toldEvery
)

// lull is that time.
type lull struct {
	c      *cluster
	began  time.Duration
	next   time.Duration // when the next fault strikes
	groups []quietGroup  // by group
	ends   []pending     // what is to end
}

// quietGroup is what excuses a group for being late.
type quietGroup struct {
	leaderless time.Duration
	lost       time.Duration // of group time, by changes of leaders
	term       uint64
}

// run lets the cluster lie quiet, if the run is to.
func (l *lull) run() {
	c := l.c
	if !c.chaos.lull {
		return
	}
	c.result.Fired[Lull]++
	l.began, l.groups, l.ends = c.now, make([]quietGroup, len(c.truth)), pendings(c, ttlMax)
	for g := range l.groups {
		l.groups[g].term = c.truth[g].lastTerm
	}
	c.note(0, "%s", Lull)
	l.plan()
	for !l.forgotten() {
		l.look()
		if c.now >= l.next {
			l.strike()
			l.plan()
		}
		c.run(tick)
	}
	c.until("all replicas have applied the same after the lull", settleWithin, c.settled)
	c.compare()
	l.still()
	c.result.Lull = c.now - l.began
}

func (l *lull) plan() { l.next = l.c.now + l.c.chance.between(0, strikeWithin) }

// look counts, each tick, what may make the groups late, and checks that none is later
// than that explains.
func (l *lull) look() {
	c := l.c
	for g := 1; g < len(l.groups); g++ {
		if !c.truth[g].there() {
			continue
		}
		q := &l.groups[g]
		if term := c.truth[g].lastTerm; term > q.term {
			q.term = term
			q.lost += heardEvery
		}
		lead := c.leaderOf(raft.GroupID(g))
		if lead == nil {
			q.leaderless += tick
			continue
		}
		most := time.Duration(shardmap.SessionKeep) + gather + toldEvery + q.leaderless + q.lost + lullSlack
		if left := lead.sessions(raft.GroupID(g)); left > 0 && c.now-l.began > most {
			c.fail("I13: group %d still remembers %d sessions %s after the last write; it was without a leader for %s, and may have lost %s with leaders that went: %s is the most",
				g, left, c.now-l.began, q.leaderless, q.lost, most)
		}
	}
	for i := range l.ends {
		p := &l.ends[i]
		q := &l.groups[p.life.spans[len(p.life.spans)-1].group]
		if most := p.left + gather + toldEvery + q.leaderless + q.lost + lullSlack; c.now-l.began > most && p.there() {
			c.fail("I13: %s is still there %s after it had %s left; its group was without a leader for %s, and may have lost %s with leaders that went: %s is the most",
				p, c.now-l.began, p.left, q.leaderless, q.lost, most)
		}
	}
	l.ends = slices.DeleteFunc(l.ends, func(p pending) bool { return !p.there() })
}

// sessions returns how many sessions the node's replica of a group remembers.
func (n *node) sessions(g raft.GroupID) int {
	m, ok := n.host.Machine(g).(*watched)
	if !ok {
		return 0
	}
	return m.state.State.Sessions()
}

// forgotten reports whether no replica remembers a session any more, and nothing is left
// that ends.
func (l *lull) forgotten() bool {
	if len(l.ends) > 0 {
		return false
	}
	for _, n := range l.c.nodes {
		if n.dead {
			continue
		}
		if !n.up || n.host == nil {
			return false
		}
		for g := 1; g < len(l.groups); g++ {
			if n.sessions(raft.GroupID(g)) > 0 {
				return false
			}
		}
	}
	return true
}

// strike takes a group's leader away for a while, or all nodes at once.
func (l *lull) strike() {
	c, rnd := l.c, &l.c.chance
	for _, n := range c.nodes {
		if !n.dead && (!n.up || n.paused || n.leave.by > 0) {
			return // one after the other
		}
	}
	n := c.leaderOf(raft.GroupID(1 + rnd.below(len(c.truth)-1)))
	if n == nil || !c.majorities(func(o *node) bool { return o != n && o.up && !o.dead && !o.halted }) {
		return
	}
	switch rnd.below(9) {
	case 0:
		c.note(0, "all crash in the lull")
		for _, o := range c.nodes {
			if !o.dead {
				o.crash(c.chaos.power())
			}
		}
		for g := range l.groups {
			l.groups[g].lost += toldEvery // nobody has heard
		}
	case 1, 2:
		for g := range l.groups {
			if c.leaderOf(raft.GroupID(g)) == n {
				// If it is started at once it may lead again, and a process that was
				// just started has heard nothing.
				l.groups[g].lost += toldEvery
			}
		}
		n.crash(c.chaos.power())
	case 3, 4:
		n.pause(rnd.skewed(100*time.Millisecond, 30*time.Second))
	case 5, 6:
		d := rnd.skewed(time.Second, time.Minute)
		c.note(n.index, "its clock stands still for %s", d)
		n.ticks.stand(d)
		n.pause(d)
	default:
		n.leave.begin()
	}
}

// calm waits until the last strike has no more consequences. A node that comes back
// gets the groups that it should lead handed over, each with a no-op, and only once it
// is known to have caught up.
func (l *lull) calm() {
	c := l.c
	var terms uint64
	since := c.now
	c.until("leaders stay after the lull", settleWithin, func() bool {
		sum := uint64(0)
		for _, t := range c.truth {
			sum += t.lastTerm
		}
		if sum != terms {
			terms, since = sum, c.now
		}
		return c.now-since > calmFor
	})
}

// still checks that groups in which nothing is due any more write nothing.
func (l *lull) still() {
	c := l.c
	l.calm()
	ends := make([]int, len(c.truth))
	for g, t := range c.truth {
		ends[g] = len(t.entries)
	}
	c.run(stillFor)
	for g := 1; g < len(c.truth); g++ {
		// Replicas may still have to compare what was written before the last change of leader, once.
		if t := c.truth[g]; len(t.entries) == ends[g]+1 && t.entries[ends[g]].kind == raft.EntryAudit && ends[g] > 0 && t.entries[ends[g]-1].kind != raft.EntryAudit {
			continue
		}
		if t := c.truth[g]; len(t.entries) != ends[g] && !growOld(c, t.group) {
			c.fail("group %d, in which nothing is due, has applied %d entries and goes on to %d (%s)", g, ends[g], len(t.entries), t.entries[ends[g]].kind)
		}
	}
}

// keepsTime checks the time of an entry that is applied for the first time: it must not
// go back, and must be no later than the fastest clock since the founding.
func (t *truth) keepsTime(n *node, e raft.Entry) {
	if k := len(t.entries); k > 0 && e.Time < t.entries[k-1].time {
		t.c.fail("n%d applies %s of group %d at group time %d, the entry before was at %d", n.index, e.ID, t.group, e.Time, t.entries[k-1].time)
	}
	if most := t.c.chaos.fastest(); time.Duration(e.Time) > most {
		t.c.fail("I13: n%d applies %s of group %d at group time %s; since the founding no clock has gone farther than %s", n.index, e.ID, t.group, time.Duration(e.Time), most)
	}
}

// fastest is how far the clock of a host can have gone since the founding.
func (x *chaos) fastest() time.Duration {
	return x.c.now + x.c.now*driftMax/1e6 + x.jumped + time.Second
}

// told checks what a time entry does to all slots at once: no session is forgotten before
// its time (I13), and all replicas forget the same ones (I10).
func (t *truth) told(w *watched, e raft.Entry) {
	slots := t.c.lives.slots
	before, again := t.toldDigests[e.ID.Index]
	if !again {
		if e.ID.Index == uint64(len(t.entries)) { // else the model is ahead of the replica
			t.keepsSessions(w, e)
		}
		before = make([]uint64, len(slots))
		t.toldDigests[e.ID.Index] = before
	}
	for i, slot := range slots {
		digest, _ := w.state.State.Digest(slot)
		if !again {
			before[i] = digest
			// Not always behind all others: nothing is told by a replica with a flaw, which may have been
			// the first to apply this entry and some that follow.
			at, _ := slices.BinarySearch(t.changed[slot], e.ID.Index)
			t.changed[slot] = slices.Insert(t.changed[slot], at, e.ID.Index)
		} else if digest != before[i] {
			t.c.fail("I10: after %s of group %d slot %d has digest %016x on n%d, %016x elsewhere", e.ID, t.group, slot, digest, w.node.index, before[i])
		}
	}
}

// keepsSessions checks that no session has gone before its time.
func (t *truth) keepsSessions(w *watched, e raft.Entry) {
	alive := 0
	t.c.lives.each(func(l *slotLife) {
		if !l.servedBy(t.group) {
			return
		}
		for _, used := range l.used {
			if e.Time <= used+shardmap.SessionKeep {
				alive++
			}
		}
	})
	if left := w.state.State.Sessions(); left < alive {
		t.c.fail("I13: n%d remembers %d sessions of group %d after %s, at group time %d; %d were used less than %d before",
			w.node.index, left, t.group, e.ID, e.Time, alive, shardmap.SessionKeep)
	}
}

// digestAt returns the digest of the run's i-th slot after an entry that changed it; 0 if
// the group does not hold it.
func (t *truth) digestAt(index uint64, i int) uint64 {
	if told := t.toldDigests[index]; told != nil {
		return told[i]
	}
	return t.digests[index-1]
}
