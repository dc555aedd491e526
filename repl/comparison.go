package repl

import (
	"slices"
	"time"

	"muster/raft"
	"muster/repl/wire"
)

// CheckTimeout bounds how long [Audits.Check] waits for what replicas report: a replica that has not
// applied an entry by then, on a node that runs, is far behind.
const CheckTimeout = 2 * time.Second

// CheckAct says what [Audits.Check] does about replicas that differ.
type CheckAct uint8

const (
	CheckTells CheckAct = iota // it tells of them, and leaves them as they are
	CheckMends                 // it has them fenced and rebuilt, as an audit of the host's own does
)

// CheckActOf is what a [wire.Check] asks for.
func CheckActOf(q *wire.Check) CheckAct {
	if q.Act {
		return CheckMends
	}
	return CheckTells
}

// Audits is what a host does to find replicas that differ.
type Audits struct{ host *Host }

// Check compares the replicas of groups that this host leads, as they are now: those among
// groups, which are in ascending order, or all if there are none. It calls done once, on the
// host's goroutine, perhaps before it returns, and at the latest when the host has had its
// first tick after CheckTimeout. done gets a row for each group that the host leads, and none for others.
func (a *Audits) Check(groups []raft.GroupID, _ CheckAct, done func([]wire.CheckedGroup)) {
	var rows []wire.CheckedGroup
	for _, g := range a.host.order {
		if s := g.core.Status(); s.Role == raft.RoleLeader && (len(groups) == 0 || slices.Contains(groups, g.replica.Group)) {
			rows = append(rows, wire.CheckedGroup{Group: g.replica.Group, Incarnation: g.replica.Incarnation, Term: s.Term, Why: "not built"})
		}
	}
	done(rows)
}

// ReceiveReport takes what a replica of another node has as its state.
func (a *Audits) ReceiveReport(raft.NodeID, *wire.AuditReport) {}

// ReceiveVerdict takes what the leader of a group makes of a replica's report.
func (a *Audits) ReceiveVerdict(raft.NodeID, *wire.AuditVerdict) {}
