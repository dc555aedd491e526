package wire

import (
	"fmt"

	"muster/raft"
	"muster/shardmap/registry"
)

// Limits of one poll, so that none is a large frame and none takes its sender long: what
// exceeds them comes with the next poll, which follows at once.
const (
	PollRowsMax   = 1024                   // rows of one Checks, of all groups
	PollBytesMax  = 256 << 10              // of the specs and names of one Checks; one row alone may be larger
	PollGoneMax   = 4096                   // assignments that one Checks ends, of all groups
	PollStatesMax = 1024                   // states of one ChecksAnswer
	ProgramsMax   = 256                    // that one node offers
	ReasonMax     = registry.ReasonMax     // bytes of the reason of a state
	groupsInPoll  = int(raft.GroupMax) + 1 // no node leads more: there can be no more groups
)

// Checks is the poll by which the leader of groups assigns checks of services to a node,
// and asks for what it has found:
//
//	[life, seen, [[group, incarnation, term, begin, since, until, [[number, service, instance, check, spec, status, ups, downs] …], [gone …]] …]]
//
// The assignments of a group to one node are a sequence of changes, numbered in rising order: a
// row begins an assignment, gone holds those that have ended. A section takes the checker from the
// number since to until; all assignments up to begin have ended. A checker that is not yet at
// since, because it was started anew or has given the group up, says so in its answer. A row that
// the checker has taken before changes nothing.
//
// Polls are level-triggered: one that is lost, or comes twice, costs nothing. A checker that has
// nothing to say holds its answer for a while.
type Checks struct {
	Life   uint64 // of the checker, as last heard of; 0: not yet
	Seen   uint64 // the states up to this count have arrived, in that life
	Groups []ChecksOf
}

// ChecksOf is the part of a [Checks] that is about one group, which the sender leads.
type ChecksOf struct {
	Group       raft.GroupID
	Incarnation raft.Incarnation
	Term        uint64
	Begin       uint64 // assignments numbered up to it have ended
	Since       uint64
	Until       uint64
	Rows        []CheckRow // in rising order of Number, which is above Since and at most Until
	Gone        []uint64   // numbers of assignments that have ended
}

// CheckRow assigns one check.
type CheckRow struct {
	Number   uint64 // of the assignment; larger than each before it of the same leader
	Name     string // of the service
	Instance string
	Check    uint64 // version of what is checked: see registry.Instance
	Spec     []byte // a registry.Spec
	Status   uint8  // a registry.Status: where the counting of rise and fall begins
	Ups      uint8  // results in a row, up to now, that the checkers before have found against it;
	Downs    uint8  // one of both at most
}

func (m *Checks) fields(f *fields) {
	f.exactly(3, func() {
		number(f, "life", &m.Life)
		number(f, "seen", &m.Seen)
		list(f, "groups", &m.Groups, 9, func(f *fields, g *ChecksOf) { g.fields(f) })
	})
}

func (g *ChecksOf) fields(f *fields) {
	f.exactly(8, func() {
		number(f, "group", &g.Group)
		number(f, "incarnation", &g.Incarnation)
		number(f, "term", &g.Term)
		number(f, "begin", &g.Begin)
		number(f, "since", &g.Since)
		number(f, "until", &g.Until)
		list(f, "rows", &g.Rows, 9, func(f *fields, r *CheckRow) { r.fields(f) })
		list(f, "gone", &g.Gone, 1, func(f *fields, n *uint64) { number(f, "number", n) })
	})
}

func (r *CheckRow) fields(f *fields) {
	f.exactly(8, func() {
		number(f, "number", &r.Number)
		f.text("service", &r.Name)
		f.text("instance", &r.Instance)
		number(f, "check", &r.Check)
		f.secret("spec", &r.Spec)
		number(f, "status", &r.Status)
		number(f, "ups", &r.Ups)
		number(f, "downs", &r.Downs)
	})
}

// secret lists a bin that may hold a password: only its length is shown.
func (f *fields) secret(name string, v *[]byte) {
	if !f.reading {
		f.bin(name, v)
		return
	}
	*v = append([]byte(nil), f.r.Bytes()...)
	if f.show != nil {
		f.shown(name, fmt.Sprintf("of %d bytes", len(*v)))
	}
}

// Append appends the body.
func (m *Checks) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *Checks) Read(body []byte) error {
	if err := readFields(body, m); err != nil {
		return err
	}
	if len(m.Groups) > groupsInPoll {
		return fmt.Errorf("field groups: %d of them; want %d at most", len(m.Groups), groupsInPoll)
	}
	rows, gone := 0, 0
	for i := range m.Groups {
		g := &m.Groups[i]
		if g.Group > raft.GroupMax {
			return fmt.Errorf("field group: %d; want %d at most", g.Group, raft.GroupMax)
		}
		if g.Begin > g.Since || g.Since > g.Until {
			return fmt.Errorf("group %s: begin %d, since %d, until %d; want them in order", g.Group, g.Begin, g.Since, g.Until)
		}
		last := g.Since
		for j := range g.Rows {
			if n := g.Rows[j].Number; n <= last || n > g.Until {
				return fmt.Errorf("group %s: row %d behind %d; want rows in order, up to %d", g.Group, n, last, g.Until)
			}
			last = g.Rows[j].Number
		}
		rows += len(g.Rows)
		gone += len(g.Gone)
	}
	if rows > PollRowsMax || gone > PollGoneMax {
		return fmt.Errorf("%d rows, %d gone; want %d and %d at most", rows, gone, PollRowsMax, PollGoneMax)
	}
	return nil
}

// ChecksAnswer answers a [Checks]:
//
//	[life, count, more, full, [program …], [[group, term, at] …], [[group, term, number, check, finding, changes, reason, ups, downs] …]]
//
// Its states are those that have changed since the count that the poll had seen, at most
// PollStatesMax, each as it is now.
type ChecksAnswer struct {
	Life     uint64   // of the checker: another one with each start
	Count    uint64   // the states up to this count are here, or were seen before
	More     bool     // there are further ones
	Full     bool     // the checker has no room for all that it was assigned; At says what it took
	Programs []string // that custom checks can have run here
	At       []ChecksAt
	States   []CheckState
}

// ChecksAt says up to which number the checker has taken the assignments of a group.
type ChecksAt struct {
	Group raft.GroupID
	Term  uint64
	At    uint64 // 0: none
}

// Finding is what a checker says of a check. Numbers are for ever.
type Finding uint8

// Findings.
const (
	FindingUp   Finding = 1
	FindingDown Finding = 2
	FindingNone Finding = 3 // the check can't be run: the reason says why
)

func (v Finding) String() string {
	switch v {
	case FindingUp:
		return "up"
	case FindingDown:
		return "down"
	case FindingNone:
		return "none"
	case 0:
		return "not yet"
	}
	return fmt.Sprintf("finding %d", uint8(v))
}

// CheckState is the state of one check.
type CheckState struct {
	Group   raft.GroupID
	Term    uint64  // of the leader that assigned it
	Number  uint64  // of the assignment
	Check   uint64  // version of what was checked
	Finding Finding // 0: none yet that a whole threshold of results confirms
	Changes uint64  // how often the finding has changed since the assignment
	Reason  string  // at most ReasonMax bytes
	Ups     uint8   // results in a row, up to now, against the finding, or while there is none against
	Downs   uint8   // the status that it began with; one of both at most
}

func (m *ChecksAnswer) fields(f *fields) {
	f.atLeast(7, func() {
		number(f, "life", &m.Life)
		number(f, "count", &m.Count)
		f.flag("more", &m.More)
		f.flag("full", &m.Full)
		list(f, "programs", &m.Programs, 1, func(f *fields, p *string) { f.text("name", p) })
		list(f, "at", &m.At, 4, func(f *fields, a *ChecksAt) {
			f.atLeast(3, func() {
				number(f, "group", &a.Group)
				number(f, "term", &a.Term)
				number(f, "at", &a.At)
			})
		})
		list(f, "states", &m.States, 8, func(f *fields, s *CheckState) { s.fields(f) })
	})
}

func (s *CheckState) fields(f *fields) {
	f.grown(7, func() {
		number(f, "group", &s.Group)
		number(f, "term", &s.Term)
		number(f, "number", &s.Number)
		number(f, "check", &s.Check)
		number(f, "finding", &s.Finding)
		number(f, "changes", &s.Changes)
		f.text("reason", &s.Reason)
	}, 2, func() {
		number(f, "ups", &s.Ups)
		number(f, "downs", &s.Downs)
	})
}

// Append appends the body.
func (m *ChecksAnswer) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *ChecksAnswer) Read(body []byte) error {
	if err := readFields(body, m); err != nil {
		return err
	}
	if len(m.Programs) > ProgramsMax || len(m.At) > groupsInPoll || len(m.States) > PollStatesMax {
		return fmt.Errorf("%d programs, %d groups, %d states; want %d, %d and %d at most", len(m.Programs), len(m.At), len(m.States), ProgramsMax, groupsInPoll, PollStatesMax)
	}
	for i := range m.States {
		if n := len(m.States[i].Reason); n > ReasonMax {
			return fmt.Errorf("field reason: %d bytes; want %d at most", n, ReasonMax)
		}
	}
	return nil
}
