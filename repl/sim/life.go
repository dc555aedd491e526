package sim

import (
	"maps"
	"slices"
	"sort"
	"strings"
	"time"

	"muster/raft"
	"muster/shardmap"
)

// slotLife is what a slot is by the logs of all groups, in the slowest and most obvious
// code: maps that keep everything that ever was. It follows the slot from group to group:
// what a move changes is who serves it, and nothing else.
type slotLife struct {
	slot     shardmap.Slot
	spans    []span // in order
	keys     map[string][]keyVersion
	last     uint64
	outcomes map[outcomeKey]outcome
	floors   map[uint64]uint64         // by session
	used     map[uint64]raft.GroupTime // by session: the last command, in the time of the group that serves
	refused  map[outcomeKey]*op        // of which clients were told that they never take effect
	sealed   map[uint64]raft.LogID     // by move
	taken    map[uint64]bool           // by move: it was taken over
	leases   map[uint64][]leaseVersion // by number
	services map[string][]serviceVersion
	kept     map[string][]lifeVersion // the versions of keys, the oldest first
	events   []slotEvent              // what watches of the slot must show, in order
	told     map[string]told
}

// span is a time for which one group serves a slot: from the entry that gave it the slot
// to the one that sealed it.
type span struct {
	group        raft.GroupID
	from, to     uint64         // indices in the group's log; to 0: it serves the slot now
	began        raft.GroupTime // the group's time at from
	clock, ended raft.GroupTime // the slot's time at from and to; see ends.go
}

// keyVersion is what a key was from an entry on.
type keyVersion struct {
	span  int // in which the entry is
	index uint64
	state
	ended   bool          // it is not there because its time was over, or its lease's
	expired bool          // of these, those that nobody revoked
	seen    time.Duration // when the first replica applied the entry
}

// slotLives is what is known of all slots of a run.
type slotLives struct {
	founding int             // how many groups there are at the founding
	slots    []shardmap.Slot // of the run
	all      map[shardmap.Slot]*slotLife
}

// of returns what is known of a slot.
func (x *slotLives) of(s shardmap.Slot) *slotLife {
	l := x.all[s]
	if l == nil {
		l = &slotLife{slot: s, keys: map[string][]keyVersion{}, outcomes: map[outcomeKey]outcome{}, floors: map[uint64]uint64{}, used: map[uint64]raft.GroupTime{}, refused: map[outcomeKey]*op{}, sealed: map[uint64]raft.LogID{}, taken: map[uint64]bool{}, leases: map[uint64][]leaseVersion{}, told: map[string]told{}}
		x.all[s] = l
	}
	return l
}

func (x *slotLives) ofKey(key []byte) *slotLife { return x.of(shardmap.SlotOf(key)) }

// each calls f for what is known of each slot of the run, in order.
func (x *slotLives) each(f func(l *slotLife)) {
	for _, s := range x.slots {
		if l := x.all[s]; l != nil {
			f(l)
		}
	}
}

// owner returns the group that serves a slot, or the last that did.
func (x *slotLives) owner(s shardmap.Slot) raft.GroupID {
	if l := x.all[s]; l != nil && len(l.spans) > 0 {
		return l.spans[len(l.spans)-1].group
	}
	return x.founder(s)
}

func (x *slotLives) ownerOfTag(tag string) raft.GroupID {
	return x.owner(tagSlot(tag))
}

// founder returns the group that a slot begins in: how the founding spreads slots
// (shardmap.Plan).
func (x *slotLives) founder(s shardmap.Slot) raft.GroupID {
	return raft.GroupID(1 + int(s)*x.founding/shardmap.Slots)
}

// servedBy reports whether a group serves the slot now.
func (l *slotLife) servedBy(g raft.GroupID) bool {
	k := len(l.spans)
	return k > 0 && l.spans[k-1].to == 0 && l.spans[k-1].group == g
}

// begin begins a span. I11: no other group may serve the slot.
func (l *slotLife) begin(t *truth, e raft.Entry) {
	next := span{group: t.group, from: e.ID.Index, began: e.Time, clock: e.Time}
	if k := len(l.spans); k > 0 {
		last := &l.spans[k-1]
		if last.to == 0 {
			t.c.fail("I11: by entry %s group %d serves slot %d, which group %d has served since its entry %d", e.ID, t.group, l.slot, last.group, last.from)
		}
		if l.timed() {
			next.clock = last.ended
		}
	}
	l.spans = append(l.spans, next)
}

// end ends the span of the group that serves the slot.
func (l *slotLife) end(e raft.Entry) {
	ended := l.time(e.Time)
	s := &l.spans[len(l.spans)-1]
	s.to, s.ended = e.ID.Index, ended
}

// shift moves the last use of each session from the time of one group to that of another:
// each is as long ago as it was.
func (l *slotLife) shift(from, to raft.GroupTime) {
	for session, used := range l.used {
		switch age := from - used; {
		case age > shardmap.SessionKeep: // if it is still known
			delete(l.used, session)
		case age < to:
			l.used[session] = to - age
		default:
			l.used[session] = 0 // the time of the group is younger than that
		}
	}
}

// empty reports whether the slot has no key, no lease, no service and no version.
func (l *slotLife) empty() bool {
	for _, h := range l.keys {
		if h[len(h)-1].there {
			return false
		}
	}
	for _, h := range l.leases {
		if h[len(h)-1].there {
			return false
		}
	}
	for _, h := range l.services {
		if h[len(h)-1].service != nil {
			return false
		}
	}
	return !hasVersions(l)
}

// spanAt returns the span in which a group serves the slot as of an index of its log.
func (l *slotLife) spanAt(g raft.GroupID, index uint64) (k int, ok bool) {
	for k := len(l.spans) - 1; k >= 0; k-- {
		if s := &l.spans[k]; s.group == g && s.from <= index && (s.to == 0 || index < s.to) {
			return k, true
		}
	}
	return 0, false
}

// at returns what a key was as of an index in a span.
func (l *slotLife) at(key string, k int, index uint64) (keyVersion, bool) {
	h := l.keys[key]
	for i := len(h) - 1; i >= 0; i-- {
		if h[i].span < k || h[i].span == k && h[i].index <= index {
			return h[i], true
		}
	}
	return keyVersion{}, false
}

func (l *slotLife) now(key []byte) keyVersion {
	h := l.keys[string(key)]
	if len(h) == 0 {
		return keyVersion{}
	}
	return h[len(h)-1]
}

// stayed reports whether a key was there, and ever since, when the logs of the groups
// stood at some indices.
func (l *slotLife) stayed(key string, floors []uint64) bool {
	was := false
	for _, v := range l.keys[key] {
		if l.before(v.span, v.index, floors) {
			was = v.there
		} else if !v.there {
			return false
		}
	}
	return was
}

// before reports whether an entry of a span is among those up to some indices.
func (l *slotLife) before(k int, index uint64, floors []uint64) bool {
	g := int(l.spans[k].group)
	return g < len(floors) && index <= floors[g] // groups that were made since are not among them
}

// after reports whether it was known, when the logs of the groups stood at some indices,
// that the slot was served in a later span.
func (l *slotLife) after(k int, floors []uint64) bool {
	for j := k + 1; j < len(l.spans); j++ {
		if l.before(j, l.spans[j].from, floors) {
			return true
		}
	}
	return false
}

// met reports whether who serves the slot in a span has seen an entry of another group:
// that group served the slot before, and sealed it no earlier.
func (l *slotLife) met(t *truth, k int, id raft.LogID) bool {
	for _, s := range l.spans[:k] {
		if s.group != t.group || s.to == 0 {
			continue
		}
		if seal := (raft.LogID{Term: t.entries[s.to-1].term, Index: s.to}); seal.NewerOrEqual(id) {
			return true
		}
	}
	return false
}

// names returns the keys that the slot ever had.
func (l *slotLife) names() []string { return slices.Sorted(maps.Keys(l.keys)) }

// keysUnder returns the keys that a slot has now and that begin with a prefix, in order.
func keysUnder(l *slotLife, prefix []byte) (keys []string) {
	for _, k := range l.names() {
		if strings.HasPrefix(k, string(prefix)) && l.now([]byte(k)).there {
			keys = append(keys, k)
		}
	}
	return keys
}

// floors returns up to where the logs of all groups are known to be committed by what
// clients were answered until a while ago, by the slowest clock.
func (c *cluster) floors(ago time.Duration) []uint64 {
	floors := make([]uint64, len(c.truth))
	for g, t := range c.truth {
		if floors[g] = t.acknowledged; ago > 0 {
			floors[g] = t.acknowledgedAt(c.now - ago*1e6/(1e6-driftMax))
		}
	}
	return floors
}

// acknowledge notes that an answer names an index.
func (t *truth) acknowledge(index uint64) {
	if index > t.acknowledged {
		t.acknowledged = index
		t.tells = append(t.tells, toldAt{t.c.now, index})
	}
}

// acknowledgedAt returns the largest index that an answer had named at a time.
func (t *truth) acknowledgedAt(at time.Duration) uint64 {
	k := sort.Search(len(t.tells), func(i int) bool { return t.tells[i].at > at })
	if k == 0 {
		return 0
	}
	return t.tells[k-1].index
}
