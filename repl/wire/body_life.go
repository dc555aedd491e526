package wire

import (
	"fmt"
	"slices"

	"muster/raft"
)

// A node that has started asks each other node what it knows of the
// node's earlier lives, and of the logs of the groups that they have in common
// (repl/lives.go says what follows). Both bodies also introduce their sender.

// LivesMax bounds the lives of a [LifeQuestion]: as many as the identity of a node
// keeps.
const LivesMax = 64

// Standing says what a node believes of its own life.
type Standing uint8

const (
	// StandingFresh: compare my chain with your notes.
	StandingFresh Standing = 0
	// StandingDoubtful: my disk may be of an earlier moment than my promises.
	StandingDoubtful Standing = 1
	// StandingSettled: I heard all that I might have forgotten; note this life.
	StandingSettled Standing = 2
	standingEnd     Standing = 3
)

func (s Standing) String() string {
	names := [standingEnd]string{"fresh", "doubtful", "settled"}
	if s >= standingEnd {
		return fmt.Sprintf("standing %d", uint8(s))
	}
	return names[s]
}

// Verdict is what the asked node makes of the asker's life.
type Verdict uint8

const (
	VerdictTaken       Verdict = 0 // it is noted, and follows the one that was noted before
	VerdictUnknownLife Verdict = 1 // it is noted, but its chain lacks the life that was noted before
	VerdictBehind      Verdict = 2 // it is noted, but its log ended before a batch that was noted
	VerdictNumber      Verdict = 3 // not noted: another life has this number or a higher one
	VerdictConnected   Verdict = 4 // not noted: another life of the node is connected
	VerdictJump        Verdict = 5 // not noted: its number is too far above the one that is known
	verdictEnd         Verdict = 6
)

func (v Verdict) String() string {
	names := [verdictEnd]string{"taken", "unknown life", "log behind", "number in use", "another life connected", "number jumps"}
	if v >= verdictEnd {
		return fmt.Sprintf("verdict %d", uint8(v))
	}
	return names[v]
}

// Older reports whether the life did not follow the one that was noted before:
// it began on an older disk, or after more starts than a chain keeps.
func (v Verdict) Older() bool { return v == VerdictUnknownLife || v == VerdictBehind }

// Noted reports whether messages of the life are taken.
func (v Verdict) Noted() bool { return v <= VerdictBehind }

// LifeLink is one life of a node: its number, its mark, and the last batch that
// the log had when it began.
type LifeLink struct{ Number, Mark, Last uint64 }

func (l *LifeLink) fields(f *fields) {
	f.exactly(3, func() {
		number(f, "number", &l.Number)
		number(f, "mark", &l.Mark)
		number(f, "last", &l.Last)
	})
}

// LifeQuestion asks what another node knows of the sender's lives and groups:
//
//	[number, standing, knows, batch, settled, [[number, mark, last] …]]
type LifeQuestion struct {
	Number   uint64 // of the question since the sender's start; the answer repeats it
	Standing Standing
	Knows    uint64 // the mark that the sender has noted of the addressee; 0: none
	Batch    uint64 // the last of the sender's log that is synced
	Settled  uint64 // the number of the sender's newest life in which a doubt ended; 0: none did
	// Lives are the sender's, oldest first; the last of them is the present one.
	Lives []LifeLink
}

// Life is the present life of the sender.
func (m *LifeQuestion) Life() LifeLink { return m.Lives[len(m.Lives)-1] }

func (m *LifeQuestion) fields(f *fields) {
	f.exactly(6, func() {
		number(f, "number", &m.Number)
		number(f, "standing", &m.Standing)
		number(f, "knows", &m.Knows)
		number(f, "batch", &m.Batch)
		number(f, "settled", &m.Settled)
		list(f, "lives", &m.Lives, 4, func(f *fields, l *LifeLink) { l.fields(f) })
	})
}

// Append appends the body.
func (m *LifeQuestion) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *LifeQuestion) Read(body []byte) error {
	if err := readFields(body, m); err != nil {
		return err
	}
	if n := len(m.Lives); n == 0 || n > LivesMax {
		return fmt.Errorf("%d lives, want 1 to %d", n, LivesMax)
	}
	if m.Standing >= standingEnd {
		return fmt.Errorf("standing %d is not known", m.Standing)
	}
	before := uint64(0)
	for _, l := range m.Lives {
		if l.Number <= before || l.Mark == 0 {
			return fmt.Errorf("life %d with mark %016x after life %d: numbers grow, and a mark is not 0", l.Number, l.Mark, before)
		}
		before = l.Number
	}
	return nil
}

// LifeAnswer answers a [LifeQuestion]:
//
//	[number, about, mark, verdict, [number, mark, last], proven,
//	 [[group, incarnation, replica, term, [last term, last index],
//	  lost, judged, next, [replica …]] …],
//	 [[group, incarnation, replica] …]]
type LifeAnswer struct {
	Number  uint64 // of the question
	About   uint64 // the mark of the life that asked
	Mark    uint64 // of the sender's present life
	Verdict Verdict
	// Noted is the life that the sender had noted of the asker before, or has
	// noted instead of it; Last is the newest batch that it heard of in that life. If
	// the verdict is [Verdict.Older], Noted is what the chain was compared with.
	Noted LifeLink
	// Proven: the sender knows that its own disk is older than its promises.
	Proven bool
	// Logs are those of the groups that both have, by group; for an asker in doubt, which
	// may have forgotten that it has no part in a group any more, those of all groups.
	Logs []LifeLog
	// Buried are the newest replicas of groups that are gone for good from the sender, by
	// group. They are told to an asker in doubt alone. An older version sends none.
	Buried []LifeGrave
}

// LifeGrave is a replica that its node has removed for good: its group removed it, or was
// removed itself.
type LifeGrave struct {
	Group       raft.GroupID
	Incarnation raft.Incarnation
	Replica     raft.ReplicaID
}

// LifeLog is what a replica promised: its term and its last id.
type LifeLog struct {
	Group       raft.GroupID
	Incarnation raft.Incarnation
	Replica     raft.ReplicaID
	Term        uint64
	Last        raft.LogID
	Lost        bool // part of that is not known any more
	// Judged: every other voter of the group has said what it makes of the
	// sender's life, so that [LifeAnswer.Proven] is its last word.
	Judged bool
	// Next and Replicas are of the newest membership in the log: the replica id that is
	// allotted next, and the members. They are told to an asker in doubt alone; an older
	// version sends neither.
	Next     raft.ReplicaID
	Replicas []raft.ReplicaID
}

// Outlived reports whether the log tells that a replica is no member any more.
func (m *LifeLog) Outlived(id raft.ReplicaID) bool {
	return id < m.Next && !m.Lost && !slices.Contains(m.Replicas, id)
}

func (m *LifeAnswer) fields(f *fields) {
	f.grown(7, func() {
		number(f, "number", &m.Number)
		number(f, "about", &m.About)
		number(f, "mark", &m.Mark)
		number(f, "verdict", &m.Verdict)
		m.Noted.fields(f)
		f.flag("proven", &m.Proven)
		list(f, "logs", &m.Logs, 9, func(f *fields, l *LifeLog) {
			f.grown(7, func() {
				number(f, "group", &l.Group)
				number(f, "incarnation", &l.Incarnation)
				number(f, "replica", &l.Replica)
				number(f, "term", &l.Term)
				f.exactly(2, func() {
					number(f, "last.term", &l.Last.Term)
					number(f, "last.index", &l.Last.Index)
				})
				f.flag("lost", &l.Lost)
				f.flag("judged", &l.Judged)
			}, 2, func() {
				number(f, "next", &l.Next)
				list(f, "replicas", &l.Replicas, 1, func(f *fields, id *raft.ReplicaID) { number(f, "id", id) })
			})
		})
	}, 1, func() {
		list(f, "buried", &m.Buried, 4, func(f *fields, r *LifeGrave) {
			f.exactly(3, func() {
				number(f, "group", &r.Group)
				number(f, "incarnation", &r.Incarnation)
				number(f, "replica", &r.Replica)
			})
		})
	})
}

// Append appends the body.
func (m *LifeAnswer) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *LifeAnswer) Read(body []byte) error {
	if err := readFields(body, m); err != nil {
		return err
	}
	if m.Verdict >= verdictEnd {
		return fmt.Errorf("verdict %d is not known", m.Verdict)
	}
	return nil
}
