package repl

import (
	"muster/raft"
	"muster/repl/wire"
)

// refusal says why a message of another node was not handed to a core, or why
// the core did not take it.
type refusal uint8

const (
	refusedNotHere   refusal = iota // no replica of that group is here
	refusedOlder                    // of an earlier incarnation of the group
	refusedNewer                    // of a later incarnation: this replica's time is over
	refusedNotUs                    // for another replica id than that of the one here
	refusedElsewhere                // its sender does not live on the node that it came from
	refusedNotMember                // its sender is no member, or no longer
	refusedBad                      // what it says can't be
	refusedFar                      // its term is too far above ours to be true, see raft.TermReach
	refusedStopped                  // the group has stopped here
	refusedDamaged                  // the replica is damaged, and to the group as if it were down
	refusedLife                     // of a life of its node that is not noted here
	refusedHeld                     // the replica waits for what other voters know
	refusalEnd
)

var refusalNames = [refusalEnd]string{
	refusedNotHere: "group not here", refusedOlder: "older incarnation", refusedNewer: "newer incarnation",
	refusedNotUs: "another replica id", refusedElsewhere: "sender of another node", refusedNotMember: "sender not a member",
	refusedBad: "bad message", refusedFar: "term too far ahead", refusedStopped: "group stopped", refusedDamaged: "replica damaged",
	refusedLife: "unknown life of the sender", refusedHeld: "replica waits for other voters",
}

// passing reports whether the reason is bound to pass by itself.
func (r refusal) passing() bool {
	return r == refusedNotHere || r == refusedLife || r == refusedHeld
}

func (r refusal) String() string { return refusalNames[r] }

const (
	// refusalsLoggedMax bounds the refusals that are remembered as logged.
	refusalsLoggedMax = 1024
	// passingTicks is how long what is bound to pass may last before it is logged,
	// 5 s: when a group is made, some nodes learn of it before others, and a node
	// that starts is introduced while messages of its former life are under way.
	passingTicks = 100
)

// refusals counts what was refused, and has each kind logged once for each
// node and group: a node that is wrong is wrong many times a second.
type refusals struct {
	host   *Host
	counts [refusalEnd]uint64
	seen   map[refusalKey]seenRefusal
}

type seenRefusal struct {
	first  uint64 // tick
	logged bool
}

type refusalKey struct {
	why   refusal
	from  raft.NodeID
	group raft.GroupID
}

// note counts a refusal at a tick and reports whether it is to be logged.
func (r *refusals) note(why refusal, from raft.NodeID, group raft.GroupID, tick uint64) (log bool) {
	r.counts[why]++
	k := refusalKey{why, from, group}
	s, known := r.seen[k]
	switch {
	case s.logged || !known && len(r.seen) >= refusalsLoggedMax:
		return false
	case !known:
		s.first = tick
	}
	s.logged = !why.passing() || tick-s.first >= passingTicks
	if r.seen == nil {
		r.seen = make(map[refusalKey]seenRefusal)
	}
	r.seen[k] = s
	return s.logged
}

// Refused is a row of [Host.Refusals].
type Refused struct {
	Why   string
	Count uint64
}

// Refusals returns how many messages of other nodes were refused, for each
// reason that there was.
func (h *Host) Refusals() []Refused {
	var rows []Refused
	for why, n := range h.refused.counts {
		if n > 0 {
			rows = append(rows, Refused{Why: refusal(why).String(), Count: n})
		}
	}
	return rows
}

// repair counts an answer about what a log lost that was not taken, and
// logs its kind once.
func (r *refusals) repair(why refusal, from raft.NodeID, g raft.GroupID, err error) {
	if r.host.refused.note(why, from, g, r.host.ticks) {
		r.host.cfg.Log.Warn("message refused", "group", g, "why", why, "from", from, "type", wire.TypeRepairAnswer, "err", err)
	}
}

// RefuseEntries notes a message whose entries do not verify: it never reached
// a group.
func (h *Host) RefuseEntries(from raft.NodeID, t wire.Type, err error) {
	if h.refused.note(refusedBad, from, 0, h.ticks) {
		h.cfg.Log.Warn("message refused", "why", refusedBad, "from", from, "type", t, "err", err)
	}
}
