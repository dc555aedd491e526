package audit

import (
	"slices"

	"muster/raft"
	"muster/repl/wire"
)

// State is what a round has found out about a replica.
type State uint8

const (
	Silent    State = iota // it has not reported
	Agrees                 // with what is right, or with all that have reported
	Differs                // from what is right
	Fenced                 // its state was found to be wrong before, and is not right again yet
	Undecided              // replicas differ, and nobody can tell which one is right
)

func (s State) String() string {
	return [...]string{"silent", "agrees", "differs", "fenced", "undecided"}[s]
}

// Outcome is what the reports of a round come to.
type Outcome uint8

const (
	// Open: the reports that are here decide nothing.
	Open Outcome = iota
	// Equal: all that have reported agree.
	Equal
	// Odd: some differ from what is right.
	Odd
	// Tied: they differ, and no majority agrees. Each is to replay its log.
	Tied
	// Split: they differ, and neither replaying nor two that are alike told which one is right.
	Split
)

// Result is what a round has found out.
type Result struct {
	Outcome Outcome
	// Proven: a majority, or the log, says that what those have that agree is right. Else
	// nobody contradicts them, and too few have reported; or only replicas that are alike say so.
	Proven   bool
	Replicas []Finding // in the order of the membership
}

// Finding is what a round has found out about one replica.
type Finding struct {
	Replica raft.ReplicaID
	Node    raft.NodeID
	State   State
	// Parts are those that differ, in order: from what is right, or, without that, from
	// what any other replica has.
	Parts []uint32
}

// Sources returns the nodes of the replicas that agree: a state can be copied from them.
func (r *Result) Sources() (nodes []raft.NodeID) {
	for i := range r.Replicas {
		if r.Replicas[i].State == Agrees {
			nodes = append(nodes, r.Replicas[i].Node)
		}
	}
	return nodes
}

// Round compares the replicas of a group at one entry.
type Round struct {
	at      raft.LogID
	members raft.Membership // as of the entry
	seats   []seat          // of all members, in their order
	replays bool            // the replicas were asked to replay
}

// seat is what is known of a member.
type seat struct {
	member   raft.Member
	reported bool
	fenced   bool
	rows     []wire.AuditRow
	replayed bool
	replay   []wire.AuditRow
}

// NewRound begins a round at an entry, at which m is in force.
func NewRound(at raft.LogID, m raft.Membership) *Round {
	r := &Round{at: at, members: m}
	for member := range m.All() {
		if _, seated := r.seatOf(member.Replica); !seated { // in two of the lists it comes twice
			r.seats = append(r.seats, seat{member: member})
		}
	}
	return r
}

// At is the entry that the round is about.
func (r *Round) At() raft.LogID { return r.at }

// Take takes a report. It reports false for one that is not of this round: of another
// entry, of no member, or a second one. Rows are kept.
func (r *Round) Take(report *wire.AuditReport) bool {
	i, seated := r.seatOf(report.From)
	if !seated || report.At != r.at {
		return false
	}
	s := &r.seats[i]
	switch {
	case report.Replayed:
		if !r.replays || s.replayed {
			return false
		}
		s.replayed, s.replay = true, report.Rows
	case s.reported:
		return false
	default:
		s.reported, s.fenced, s.rows = true, report.Fenced, report.Rows
		if s.rows == nil { // nil rows are none that are known
			s.rows = []wire.AuditRow{}
		}
	}
	return true
}

func (r *Round) seatOf(id raft.ReplicaID) (i int, ok bool) {
	i = slices.IndexFunc(r.seats, func(s seat) bool { return s.member.Replica == id })
	return i, i >= 0
}

// Replay says that the replicas are asked to replay their logs: a later [Round.Result]
// may use what they report of it.
func (r *Round) Replay() { r.replays = true }

// Lacks returns the replicas that have not reported yet what came of their replay.
func (r *Round) Lacks() (all []Finding) {
	for i := range r.seats {
		if s := &r.seats[i]; r.replays && s.votes(r) && !s.replayed {
			all = append(all, Finding{Replica: s.member.Replica, Node: s.member.Node, State: Undecided})
		}
	}
	return all
}

// Failed reports whether a replica could not replay its log.
func (r *Round) Failed() bool {
	return slices.ContainsFunc(r.seats, func(s seat) bool { return s.replayed && len(s.replay) == 0 })
}

// Replays reports whether the replicas were asked to replay their logs.
func (r *Round) Replays() bool { return r.replays }

// Proven reports whether a majority has what a replica has reported, whatever others may
// still report.
func (r *Round) Proven(id raft.ReplicaID) bool {
	right, majority := r.majority()
	i, seated := r.seatOf(id)
	return majority && seated && r.seats[i].reported && !r.seats[i].fenced && slices.Equal(r.seats[i].rows, right)
}

// Disputed reports whether two replicas have reported different states.
func (r *Round) Disputed() bool { return !r.all() }

// Complete reports whether nobody is left to report who could change the result.
func (r *Round) Complete() bool {
	if _, majority := r.majority(); majority && r.replays {
		return true // it came late, and the log need not decide
	}
	return !slices.ContainsFunc(r.seats, func(s seat) bool {
		if r.replays { // who was silent before is asked for nothing
			return s.votes(r) && !s.replayed
		}
		return !s.reported
	})
}

// votes reports whether a replica has rows and a vote.
func (s *seat) votes(r *Round) bool {
	return s.reported && !s.fenced && r.members.Votes(s.member.Replica)
}

// Result says what the reports so far come to. Where final is not set it is [Open] until
// all have reported.
func (r *Round) Result(final bool) Result {
	if !final && !r.Complete() {
		return r.result(Open, nil)
	}
	right, proven := r.majority()
	switch {
	case proven:
	case r.all():
		// Too few have reported to say that this is right. But nobody contradicts.
		return r.result(Equal, r.any())
	case !r.replays:
		return r.result(Tied, nil)
	default:
		if right, proven = r.replayed(); proven {
			break
		}
		var shared bool
		if right, shared = r.shared(); !shared {
			return r.result(Split, nil)
		}
	}
	o := Equal
	for i := range r.seats {
		if s := &r.seats[i]; s.reported && !s.fenced && !slices.Equal(s.rows, right) {
			o = Odd
		}
	}
	res := r.result(o, right)
	res.Proven = proven
	return res
}

// shared returns the rows of two replicas or more, learners too, if there is no second such
// set: memory that fails, fails alone. It is not proven that they are right, for one may have
// its state from the other.
func (r *Round) shared() (rows []wire.AuditRow, ok bool) {
	for i := range r.seats {
		s := &r.seats[i]
		if !s.reported || s.fenced || ok && slices.Equal(s.rows, rows) {
			continue
		}
		alike := slices.ContainsFunc(r.seats[i+1:], func(o seat) bool { return o.reported && !o.fenced && slices.Equal(o.rows, s.rows) })
		if alike && ok {
			return nil, false
		}
		if alike {
			rows, ok = s.rows, true
		}
	}
	return rows, ok
}

// majority returns the rows that a majority of the voters has, of either set of them in a
// joint membership.
func (r *Round) majority() (rows []wire.AuditRow, ok bool) {
	for i := range r.seats {
		s := &r.seats[i]
		if s.votes(r) && r.backed(r.members.Voters, s.rows) && r.backed(r.members.Outgoing, s.rows) {
			return s.rows, true
		}
	}
	return nil, false
}

// backed reports whether a majority of a set of voters, if there are any, has the rows.
func (r *Round) backed(voters []raft.Member, rows []wire.AuditRow) bool {
	n := 0
	for i := range r.seats {
		s := &r.seats[i]
		if s.reported && !s.fenced && slices.ContainsFunc(voters, func(m raft.Member) bool { return m.Replica == s.member.Replica }) && slices.Equal(s.rows, rows) {
			n++
		}
	}
	return len(voters) == 0 || n > len(voters)/2
}

// any returns the rows of some replica, nil if nobody has any.
func (r *Round) any() []wire.AuditRow {
	for i := range r.seats {
		if s := &r.seats[i]; s.reported && !s.fenced {
			return s.rows
		}
	}
	return nil
}

// all reports whether all that have rows have the same.
func (r *Round) all() bool {
	rows := r.any()
	return !slices.ContainsFunc(r.seats, func(s seat) bool { return s.reported && !s.fenced && !slices.Equal(s.rows, rows) })
}

// replayed returns what the log says, if at least two replicas have replayed theirs and
// all arrived at the same. One alone proves nothing: its snapshot may be of a wrong state.
func (r *Round) replayed() (rows []wire.AuditRow, ok bool) {
	n := 0
	for i := range r.seats {
		s := &r.seats[i]
		if !s.replayed || len(s.replay) == 0 {
			continue
		}
		if n > 0 && !slices.Equal(rows, s.replay) {
			return nil, false
		}
		rows, n = s.replay, n+1
	}
	return rows, n > 1
}

// result says what is known of each replica, where right is what they should have; nil if
// that is not known.
func (r *Round) result(o Outcome, right []wire.AuditRow) Result {
	all := Result{Outcome: o}
	for i := range r.seats {
		s := &r.seats[i]
		f := Finding{Replica: s.member.Replica, Node: s.member.Node}
		switch {
		case !s.reported:
		case s.fenced:
			f.State = Fenced
		case o == Open || right == nil && (o == Equal || r.all()):
			f.State = Agrees
		case right == nil:
			f.State, f.Parts = Undecided, r.disputed(s)
		case slices.Equal(s.rows, right):
			f.State = Agrees
		default:
			f.State, f.Parts = Differs, Differing(s.rows, right)
		}
		all.Replicas = append(all.Replicas, f)
	}
	return all
}

// disputed returns the parts in which a replica differs from any other.
func (r *Round) disputed(s *seat) (parts []uint32) {
	for i := range r.seats {
		if o := &r.seats[i]; o.reported && !o.fenced {
			parts = append(parts, Differing(s.rows, o.rows)...)
		}
	}
	slices.Sort(parts)
	return slices.Compact(parts)
}

// Differing returns the parts in which two states differ, in order. A part that only one of
// them has is one. Rows are in the order of their parts.
func Differing(a, b []wire.AuditRow) (parts []uint32) {
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0].Part < b[0].Part:
			parts, a = append(parts, a[0].Part), a[1:]
		case len(a) == 0 || b[0].Part < a[0].Part:
			parts, b = append(parts, b[0].Part), b[1:]
		default:
			if a[0].Digest != b[0].Digest {
				parts = append(parts, a[0].Part)
			}
			a, b = a[1:], b[1:]
		}
	}
	return parts
}
