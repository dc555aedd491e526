package repl

import (
	"slices"
	"time"

	"muster/logstore"
	"muster/raft"
	"muster/repl/audit"
	"muster/repl/wire"
)

// CheckTimeout bounds how long [Audits.Check] waits for what replicas report. A replica on a node that
// runs, and that has not applied an entry by then, is far behind.
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

// check is somebody who wants to know whether the replicas of groups agree.
type check struct {
	acts  bool
	until time.Duration // on the host's clock
	rows  []wire.CheckedGroup
	open  int // groups that are not in rows yet
	done  func([]wire.CheckedGroup)
}

// awaited is a check that waits for a round of one group.
type awaited struct {
	check *check
	after uint64 // the index of the group's state when the check came: an earlier round does not do
}

// Check compares the replicas of groups that this host leads, as they are now: those among
// groups, which are in ascending order, or all if there are none. It calls done once, on the
// host's goroutine, perhaps before it returns, and at the latest when the host has had its
// first tick after CheckTimeout. done gets a row for each group that the host leads, and a row in
// term 0 for each that it does not lead and whose replica here waits for a person's word, see
// [Audits.Trust]: such a group mostly has no leader that could tell of it. It gets none for others.
//
// Where audits are on, a replica that differs is fenced whatever act says: the next audit
// would do it anyway.
func (a *Audits) Check(groups []raft.GroupID, act CheckAct, done func([]wire.CheckedGroup)) {
	h := a.host
	c := &check{acts: act == CheckMends, until: h.now + CheckTimeout, done: done}
	for _, g := range h.order {
		if g.stopped != nil || len(groups) > 0 && !slices.Contains(groups, g.replica.Group) {
			continue
		}
		r := &g.audit
		switch {
		case g.role != raft.RoleLeader:
			if g.fence.awaitsWord() {
				c.rows = append(c.rows, g.fence.checked())
			}
		case !a.policy.Understood:
			c.tell(g, "some nodes run a release that can't compare replicas")
		case g.fence != nil:
			c.tell(g, "the leader's own state is wrong, and it hands over")
		case len(r.checks) >= checksMax:
			c.tell(g, "too many others wait to have it compared")
		default:
			r.checks = append(r.checks, awaited{c, g.applied.Index})
			c.open++
			g.touch()
		}
	}
	a.checks = append(a.checks, c)
	a.endChecks()
	for _, g := range h.order {
		g.audit.tick(&a.policy)
	}
}

// awaitsWord reports whether a person has to say whether the replica is right.
func (k *fence) awaitsWord() bool {
	return k != nil && k.note.Found == logstore.FenceUndecided && !k.own
}

// checked is what a check is told of a replica that waits for a person's word.
func (k *fence) checked() wire.CheckedGroup {
	r := k.group.replica
	return wire.CheckedGroup{
		Group: r.Group, Incarnation: r.Incarnation,
		Why:      "nobody can say which of its replicas is right, found at " + raft.FormatLogID(r.Group, k.note.At),
		Replicas: []wire.CheckedReplica{checkedReplica(r.ID, k.group.host.cfg.Self, wire.CheckedUndecided, k.note.Parts)},
	}
}

// checkedReplica is what a check is told of a replica that is wrong in these parts.
func checkedReplica(id raft.ReplicaID, node raft.NodeID, state wire.CheckedState, parts []uint32) wire.CheckedReplica {
	named := min(len(parts), wire.AuditPartsMax)
	return wire.CheckedReplica{Replica: id, Node: node, State: state, Parts: parts[:named], PartsMore: uint64(len(parts) - named)}
}

// tell says of a group why it was not compared.
func (c *check) tell(g *group, why string) {
	c.rows = append(c.rows, wire.CheckedGroup{Group: g.replica.Group, Incarnation: g.replica.Incarnation, Term: g.state.Term, Why: why})
}

// end answers the checks that waited for a round: for the one that has found res as of an
// entry; or, with none, all, and why there is none.
func (r *auditing) end(why string, at raft.LogID, res *audit.Result) {
	var waits []awaited
	for _, w := range r.checks {
		switch {
		case res == nil:
			w.check.tell(r.group, why)
		case at.Index > w.after:
			w.check.rows = append(w.check.rows, r.checked(at, res))
		default:
			waits = append(waits, w)
			continue
		}
		w.check.open--
	}
	if r.checks = waits; len(r.group.host.Audits.checks) > 0 {
		r.group.host.Audits.endChecks()
	}
}

var checkedStates = map[audit.State]wire.CheckedState{
	audit.Silent: wire.CheckedSilent, audit.Agrees: wire.CheckedAgrees, audit.Differs: wire.CheckedDiffers,
	audit.Fenced: wire.CheckedFenced, audit.Undecided: wire.CheckedUndecided,
}

// checked is what a check is told of a group that was compared.
func (r *auditing) checked(at raft.LogID, res *audit.Result) wire.CheckedGroup {
	g := r.group
	row := wire.CheckedGroup{Group: g.replica.Group, Incarnation: g.replica.Incarnation, Term: g.state.Term, At: at}
	for i := range res.Replicas {
		f := &res.Replicas[i]
		row.Replicas = append(row.Replicas, checkedReplica(f.Replica, f.Node, checkedStates[f.State], f.Parts))
	}
	return row
}

// endChecks answers those who have waited for all that they asked for, or for long enough.
func (a *Audits) endChecks() {
	h := a.host
	a.checks = slices.DeleteFunc(a.checks, func(c *check) bool {
		if c.open > 0 && h.now < c.until {
			return false
		}
		for _, g := range h.order {
			g.audit.checks = slices.DeleteFunc(g.audit.checks, func(w awaited) bool {
				if w.check == c {
					c.tell(g, "its replicas did not report in time")
				}
				return w.check == c
			})
		}
		slices.SortFunc(c.rows, func(x, y wire.CheckedGroup) int { return int(x.Group) - int(y.Group) })
		c.done(c.rows)
		return true
	})
}
