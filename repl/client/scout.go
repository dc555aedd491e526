package client

import (
	"time"

	"muster/raft"
)

// Looking for the leader of a group that has none
//
// A call that found no leader pauses longer each time, for there may be thousands of them
// and an election needs the time of the nodes. But then it also sleeps when there is a
// leader again: the pauses of 10, 20 and 40 ms that fit into an election end, on average,
// as long after it as the last of them is. So one call of all that wait for a group, each
// time another one, pauses no longer than the first time. It is a scout: what it learns,
// the others are told at once. That costs a client a hundred requests a second for each
// group without a leader, however many calls wait for it.

const (
	// scoutsSoon is for how many scouts of a group the pause stays as short: a second. A
	// group that has no leader for longer lacks a majority, and its scouts pause longer
	// each time, as far as PauseMax.
	scoutsSoon = 100
	// scoutDoublings is how often the pause doubles then.
	scoutDoublings = 6
)

// scouting is how calls look for the leader of a group, since one was known.
type scouting struct {
	sent int           // how many scouts there were
	next time.Duration // before which there is no other
}

// Scouts sends scouts, and hears of them.
type Scouts struct{ core *Core }

// pause returns how long c pauses, which found no leader of its group: the pause that is due,
// or less if it is to look for all others too.
func (s Scouts) pause(now time.Duration, c *Call, pause time.Duration) time.Duration {
	k := s.core
	c.scouts = false
	if c.Target > ToGroup || c.AnyReplica {
		return pause
	}
	g := k.table.groups[k.table.groupOf(c)]
	if g == nil || now < g.scouting.next {
		return pause
	}
	most := PauseMin << min(max(g.scouting.sent+1-scoutsSoon, 0), scoutDoublings)
	g.scouting.sent++
	g.scouting.next = now + min(most, PauseMax)
	c.scouts = true
	// Between half and all of it, like any pause: pause is drawn at random.
	return min(pause, most/2+pause%(most/2))
}

// Scouts reports whether [Scouts.Answered] is to be told of an answer to c.
func (c *Call) Scouts() bool { return c.scouts }

// Answered says that peer from answered c with a result. The calls that wait for a leader
// of the same group are tried again, at that peer if c was not passed on by it.
func (s Scouts) Answered(now time.Duration, c *Call, from Peer) {
	k := s.core
	if !c.scouts {
		return
	}
	c.scouts = false
	group := k.table.groupOf(c)
	if !c.Forward {
		k.lead(now, group, k.peers.resolve(from))
		return
	}
	// Somebody leads, and a table tells who.
	k.table.want(now, &k.peers)
	s.retry(now, group)
}

// retry routes the calls again that wait for a leader of a group.
func (s Scouts) retry(now time.Duration, id raft.GroupID) {
	k := s.core
	for _, c := range k.parked.matching(func(c *Call) bool {
		return c.on == onGroup && c.Target <= ToGroup && k.table.groupOf(c) == id
	}) {
		k.route(now, c)
	}
}
