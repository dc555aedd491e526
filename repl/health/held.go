package health

import (
	"maps"
	"slices"
	"time"

	"muster/raft"
	"muster/repl/wire"
)

// held is what one leader of a group has assigned to this node.
type held struct {
	group       raft.GroupID
	incarnation raft.Incarnation
	term        uint64
	leader      raft.NodeID

	polled time.Duration // when it has asked last
	polls  uint64        // how often
	cut    time.Duration // probes that began before this count for nothing
	at     uint64        // up to which change of the assignments they are here
	begin  uint64        // what has this number or a lower one has ended
	checks map[uint64]*checking
	news   []news // states to be told, in order; one that was overtaken has another count

	former      map[string]time.Duration // when the checks of the leader before were due
	formerUntil time.Duration
}

// news is that a check has another state, or has confirmed the one that its record has.
type news struct {
	count uint64
	check *checking
}

// hold returns what the leader has assigned that a section comes from, or nil if it leads no
// more: there is one of a higher term.
func (c *Checker) hold(now time.Duration, from raft.NodeID, s *wire.ChecksOf) *held {
	h := c.groups[s.Group]
	switch {
	case h == nil:
	case s.Incarnation < h.incarnation, s.Incarnation == h.incarnation && s.Term < h.term:
		return nil
	case s.Incarnation == h.incarnation && s.Term == h.term:
		if from != h.leader {
			return nil // a term has one leader: somebody is mistaken
		}
		return h
	}
	fresh := &held{group: s.Group, incarnation: s.Incarnation, term: s.Term, leader: from, polled: now, polls: 1, checks: map[uint64]*checking{}}
	if h != nil {
		fresh.former, fresh.formerUntil = make(map[string]time.Duration, len(h.checks)), now+AssignmentTTL
		for _, k := range h.checks {
			fresh.former[k.key()] = k.due()
		}
		c.clear(h)
	}
	c.groups[s.Group] = fresh
	return fresh
}

// heard notes a poll, and which states have arrived where it comes from.
func (c *Checker) heard(now time.Duration, h *held, seen uint64) {
	i := 0
	for i < len(h.news) && h.news[i].count <= seen {
		i++
	}
	h.news = h.news[i:]
	if now-h.polled > cutOffAfter && !bug(bugCutOff) {
		// The node may have been cut off, from the targets too: whether it was can't be told
		// from here. What it has found since the poll before counts for nothing, and so will
		// what is under way.
		h.cut = now
		for _, number := range slices.Sorted(maps.Keys(h.checks)) {
			k := h.checks[number]
			if k.poll != h.polls {
				continue
			}
			count := k.count
			if k.told.count > k.before.count && k.told.count <= seen {
				// It was told since, in an answer that was held, and has arrived in time.
				k.counted = k.told
			} else if k.counted = k.before; k.count != count {
				c.news(k)
			}
		}
	}
	h.polled = now
	h.polls++
	if now > h.formerUntil {
		h.former = nil
	}
}

// bugCutOff is a planted bug: a checker that nobody has asked for a while tells what it has
// found meanwhile.
const bugCutOff = "findings of a checker that was cut off"

// trim drops what was overtaken, or is of checks that have ended, when it is the larger part: a
// leader may ask and never hear the answers.
func (h *held) trim() {
	if len(h.news) > 2*len(h.checks) {
		h.news = h.since(0)
	}
}

// since returns the states that came about behind that count.
func (h *held) since(seen uint64) (all []news) {
	for _, n := range h.news {
		if n.count > seen && n.check.count == n.count && !n.check.gone {
			all = append(all, n)
		}
	}
	return all
}

// take carries a section out. What has a number up to which the list has come is known. It
// reports whether there was no room for a row.
func (c *Checker) take(now time.Duration, h *held, s *wire.ChecksOf) (full bool) {
	if s.Begin > h.begin {
		h.begin = s.Begin
		for number, k := range h.checks {
			if number <= s.Begin {
				c.drop(k)
			}
		}
		h.at = max(h.at, s.Begin)
	}
	if s.Since > h.at {
		return false // something is missing before
	}
	// First those that end, for they make room. An end that was sent is behind every row
	// that it could end.
	for _, number := range s.Gone {
		if k := h.checks[number]; k != nil {
			c.drop(k)
		}
	}
	for i := range s.Rows {
		r := &s.Rows[i]
		if r.Number <= h.at {
			continue
		}
		if c.checks >= ChecksMax {
			c.counts.Refused++
			return true
		}
		c.begin(now, h, r)
		h.at = r.Number
	}
	h.at = max(h.at, s.Until)
	return false
}
