package health

import (
	"maps"
	"slices"

	"muster/repl/wire"
	"muster/shardmap/registry"
)

// list is what of one group is assigned to one node: a sequence of changes, numbered in
// rising order, of which the checker says up to which one it has taken.
type list struct {
	begin    uint64 // what was assigned with this number or a lower one has ended
	at       uint64 // up to here the checker has taken it. Invariant: begin <= at <= last
	last     uint64
	assigned map[uint64]*check // by number
	changes  []change          // behind at, in order
}

// change begins an assignment, or ends one.
type change struct {
	number uint64
	ends   uint64 // the assignment that it ends; 0: it begins one
}

// newList returns an empty one whose first change will have that number.
func newList(first uint64) *list {
	return &list{begin: first - 1, at: first - 1, last: first - 1, assigned: map[uint64]*check{}}
}

// add begins an assignment, which has its number.
func (x *list) add(c *check) {
	x.assigned[c.number], x.last = c, c.number
	x.changes = append(x.changes, change{number: c.number})
}

// end ends an assignment by a change with that number.
func (x *list) end(number uint64, c *check) {
	delete(x.assigned, c.number)
	x.last = number
	x.changes = append(x.changes, change{number: number, ends: c.number})
}

// begun reports whether the checker has taken the assignment of c, which is of this list.
func (x *list) begun(c *check) bool { return x.at >= c.number }

// idle reports whether there is nothing to tell the checker, and nothing to ask it.
func (x *list) idle() bool { return len(x.assigned) == 0 && len(x.changes) == 0 }

// taken takes up to which number the checker has come. It reports false if the checker has
// lost what it had.
func (x *list) taken(at uint64) bool {
	if at < x.at {
		return false
	}
	if at > x.last {
		return true // no answer to what was sent
	}
	i := 0
	for i < len(x.changes) && x.changes[i].number <= at {
		i++
	}
	x.changes, x.at = x.changes[i:], at
	return true
}

// renew assigns all of a list anew, under new numbers, behind all that there were. What the
// checker still has can't be told from how far it says that it is: a poll of long ago may
// have come late, and have begun assignments that ended since.
func (a *Assigner) renew(x *list) {
	x.begin, x.at, x.last = a.assignment, a.assignment, a.assignment
	x.changes = x.changes[:0]
	for _, number := range slices.Sorted(maps.Keys(x.assigned)) {
		c := x.assigned[number]
		delete(x.assigned, number)
		node := c.node
		c.leave()
		c.ups, c.downs = 0, 0 // what it counted is lost, too
		a.give(c, node)
		x.add(c)
	}
}

// room is what still fits in a poll.
type room struct{ rows, bytes, gone int }

// section returns what a poll says of the list, and whether that is all there is.
func (x *list) section(l *led, r *room) (s wire.ChecksOf, all bool) {
	s = wire.ChecksOf{Group: l.group, Incarnation: l.incarnation, Term: l.term, Begin: x.begin, Since: x.at, Until: x.at}
	for _, e := range x.changes {
		c := x.assigned[e.number]
		switch {
		case e.ends != 0:
			if r.gone == 0 {
				return s, false
			}
			r.gone--
			s.Gone = append(s.Gone, e.ends)
		case c != nil: // one that has ended since has its end further behind
			size := len(c.packed) + len(c.service.row.Name) + len(c.instance.ID)
			if r.rows == 0 || size > r.bytes && r.bytes < wire.PollBytesMax {
				return s, false
			}
			r.rows, r.bytes = r.rows-1, r.bytes-size
			row := wire.CheckRow{Number: c.number, Name: c.service.row.Name, Instance: c.instance.ID,
				Check: c.version, Spec: c.packed, Status: uint8(c.instance.Status)}
			switch c.instance.Status { // results that agree with it need not be counted
			case registry.Up:
				row.Downs = c.downs
			case registry.Down:
				row.Ups = c.ups
			}
			s.Rows = append(s.Rows, row)
		}
		s.Until = e.number
	}
	return s, true
}
