package quota

import (
	"cmp"
	"slices"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// Group is a node's replica of a data group.
type Group interface {
	// Usage has the group's [Leader] take what the divider asks, if the group is led here in a term:
	// see [Leader.Take].
	Usage(term uint64, now time.Duration, m *wire.Usage, order *wire.UsageOrder) (wire.UsageReport, bool)
	// CountLimits counts about so many keys more, and reports whether all are counted.
	CountLimits(keys int) (done bool)
}

// countStep is how many keys of a group are counted at a time: the goroutine that serves all groups
// takes one or two milliseconds for it.
const countStep = 20_000

// Groups is a node's part: it answers dividers for the data groups that are led at the node, and has
// the node's replicas count. The zero value is that of a process that has just begun.
type Groups struct {
	led     map[raft.GroupID]uint64 // with the term
	divider uint64                  // the newest term of the meta group that was heard of
	counted int                     // the group whose keys were counted last, by its place in the table
}

// Led says in which term a data group is led here, with an entry of it applied; 0: it is not.
func (s *Groups) Led(g raft.GroupID, term uint64) {
	if term == 0 {
		delete(s.led, g)
		return
	}
	if s.led == nil {
		s.led = make(map[raft.GroupID]uint64)
	}
	s.led[g] = term
}

// Answer returns what the groups have that are led here, after they have taken what m orders. at returns
// the replica of a group, nil if there is none. heard is false if a newer divider was heard of: then
// nothing was taken.
func (s *Groups) Answer(now time.Duration, m *wire.Usage, at func(raft.GroupID) Group) (a wire.UsageAnswer, heard bool) {
	a = wire.UsageAnswer{Term: m.Term, Round: m.Round}
	if m.Term < s.divider {
		return a, false // another node leads the meta group, and divides
	}
	s.divider = m.Term
	orders := make(map[raft.GroupID]*wire.UsageOrder, len(m.Orders))
	for i := range m.Orders {
		orders[m.Orders[i].Group] = &m.Orders[i]
	}
	for g, term := range s.led {
		on := at(g)
		if on == nil {
			continue
		}
		if r, ok := on.Usage(term, now, m, orders[g]); ok {
			a.Reports = append(a.Reports, r)
		}
	}
	slices.SortFunc(a.Reports, func(x, y wire.UsageReport) int { return cmp.Compare(x.Group, y.Group) })
	return a, true
}

// Count has some keys counted of one of the groups of a table, and reports whether all replicas here have
// counted all.
func (s *Groups) Count(t *shardmap.Table, at func(raft.GroupID) Group) (done bool) {
	for i := range t.Groups {
		next := (s.counted + i) % len(t.Groups)
		if on := at(t.Groups[next].ID); on != nil && !on.CountLimits(countStep) {
			s.counted = next + 1
			return false
		}
	}
	return true
}
