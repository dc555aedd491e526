package repl

import (
	"errors"
	"fmt"
	"slices"

	"muster/raft"
	"muster/raft/quorum"
	"muster/repl/wire"
)

// hold is the state of a replica that waits for what other voters know of its
// group; see lives.go.
type hold struct {
	question uint64 // answers to this one or a later one count
	since    uint64 // tick
	logged   bool
}

// told is where a voter's log ended, as its node said.
type told struct {
	node raft.NodeID
	last raft.LogID
}

// newest returns the newest of the last ids; zero if there are none.
func newest(all []told) raft.LogID {
	var floor raft.LogID
	for i := range all {
		if all[i].last.NewerOrEqual(floor) {
			floor = all[i].last
		}
	}
	return floor
}

// hold has a replica wait for the other voters. Nothing is stepped into its core,
// and it has no ticks, until [lives.release].
func (l *lives) hold(g *group) {
	if g.stopped != nil || g.gone || bug("older life accepted") {
		return
	}
	if g.alone() {
		if d := l.host.lives.doubt; !d.None() {
			l.host.cfg.Log.Error("group runs on what may be an older disk: nobody else has a copy", "group", g.replica.Group, "why", d.Why)
		}
		return
	}
	if g.hold == nil {
		l.host.lives.held++
	}
	g.hold = &hold{question: l.host.lives.question + 1, since: l.host.ticks}
	l.host.lives.anew = true
	g.core.Resign()
	g.touch()
}

// alone reports whether no other node has a vote in the group: then there is nobody to
// ask. A replica that was made later knows of no voters, not even itself, until its log
// tells it.
func (g *group) alone() bool {
	if g.members.Blank() && !bug("replica made later not held") {
		return false
	}
	for m := range g.members.Voting() {
		if m.Node != g.host.cfg.Self {
			return false
		}
	}
	return true
}

// endHold ends the wait of a replica that stops or goes.
func (g *group) endHold() {
	if g.hold != nil {
		g.hold = nil
		g.host.lives.held--
	}
}

// errMajorityOlder: what a majority acknowledged may be on no disk any more, so that
// whatever the group decided now could contradict it.
var errMajorityOlder = errors.New("a majority runs on disks that are older than what they promised, so acknowledged writes may be lost")

// asked returns the nodes whose answers count for a held replica: those of the other
// voters. A life in doubt may have forgotten who votes. It finds out where a voter
// that it knows has no part in the group any more, or a node that it does not know
// for a member has one: then it needs the answers of all nodes, since a majority of
// those that it remembers may be none. It also needs them all for a replica that was made
// later, and whose log names no voters yet: in a life that is forgotten here it may have
// been one of them, for long.
func (l *lives) asked(g *group) []raft.NodeID {
	all := l.host.beats.nodes
	if g.members.Blank() {
		return all
	}
	var voters []raft.NodeID
	for m := range g.members.Voting() {
		if m.Node != l.host.cfg.Self && !slices.Contains(voters, m.Node) {
			voters = append(voters, m.Node)
		}
	}
	if l.doubt.None() {
		return voters
	}
	for _, n := range all {
		row, state := l.hears(g, n)
		if l.disowns(g, n) {
			return all
		}
		if votes, part := slices.Contains(voters, n), row.Replica != 0; state == lifeAnswered && (votes && !part || part && !g.livesOn(n)) {
			return all
		}
	}
	return voters
}

// disowns reports whether a node in its answer tells of an end of the group, or of one of
// its replicas, that nobody's log tells of. Then those whose logs name that replica may be
// a majority of the group as it was, while those who know better have buried theirs: a
// group that was removed would live again, or one go on without what its members of today
// have decided. Whether it is gone, or only has other members, its burials don't tell. So
// the replica waits until the table has it retired, or until a log tells that the
// group has gone on without the one that is buried: that log is its floor then, and no log
// that lacks the removal gets its vote.
func (l *lives) disowns(g *group, n raft.NodeID) bool {
	if _, state := l.hears(g, n); state != lifeAnswered || l.doubt.None() {
		return false
	}
	o := l.others[n]
	row, here := o.logs[g.replica.Group]
	grave, buried := o.buried[g.replica.Group]
	if here && row.Incarnation > g.replica.Incarnation || buried && grave.Incarnation > g.replica.Incarnation {
		return true // it was removed, and made anew
	}
	if buried && grave.Incarnation == g.replica.Incarnation && !l.outlived(g, grave.Replica) {
		return true
	}
	for m := range g.members.All() {
		// A node that has a later replica has buried the one before.
		if here && m.Node == n && m.Replica < row.Replica && row.Incarnation == g.replica.Incarnation && !l.outlived(g, m.Replica) {
			return true
		}
	}
	return false
}

// outlived reports whether a log tells that the group has gone on without a replica: the
// one here, or one that another node told of.
func (l *lives) outlived(g *group, id raft.ReplicaID) bool {
	if _, member := g.members.Member(id); !member && id < g.members.Next {
		return true
	}
	for _, n := range l.host.beats.nodes {
		if row, state := l.hears(g, n); state == lifeAnswered && row.Outlived(id) {
			return true
		}
	}
	return false
}

// awaits returns the nodes whose answers a held replica waits for, and those whose
// answers tell that the group is not what it was.
func (l *lives) awaits(g *group) []raft.NodeID {
	return slices.DeleteFunc(slices.Clone(l.asked(g)), func(n raft.NodeID) bool {
		_, state := l.hears(g, n)
		return state == lifeAnswered && !l.disowns(g, n)
	})
}

// release lets go of a held replica that need not wait any more.
func (l *lives) release(g *group) {
	h, m := l.host, &g.members
	term := uint64(0)
	g.told = g.told[:0]
	waiting := raft.NodeID(0)
	voters, proven := 0, 0
	for _, node := range l.asked(g) {
		row, state := l.hears(g, node)
		switch {
		case l.disowns(g, node):
			waiting, l.disowned = node, true
		case state == lifeAnswered:
			term = max(term, row.Term)
			g.told = append(g.told, told{node, row.Last})
		case !l.doubt.None() || state == lifeRefused || h.ticks-g.hold.since < h.lives.wait():
			waiting = node
		}
	}
	if waiting != 0 {
		if !g.hold.logged && !l.doubt.None() {
			g.hold.logged = true
			h.cfg.Log.Warn("group waits: this node may have forgotten promises", "group", g.replica.Group, "for", waiting)
		}
		return
	}
	for i := range m.Voters {
		voters++
		if o := l.others[m.Voters[i].Node]; m.Voters[i].Node == h.cfg.Self && l.doubt.Proven || o != nil && o.proven {
			proven++
		}
	}
	g.endHold()
	if l.doubt.Proven && proven >= quorum.Majority(voters) {
		g.stop(fmt.Errorf("%w: %d of its %d voters: %s", errMajorityOlder, proven, voters, l.doubt.Why))
		return
	}
	g.floor = newest(g.told)
	g.core.Resume(term, g.floor)
	g.applyPreference()
	if g.eager > 0 {
		g.core.Campaign()
	}
	g.touch()
}

type lifeState uint8

const (
	lifeSilent lifeState = iota
	lifeRefused
	lifeAnswered
)

// hears returns what a voter's node said of a group.
func (l *lives) hears(g *group, node raft.NodeID) (wire.LifeLog, lifeState) {
	o := l.others[node]
	switch {
	case o == nil:
		return wire.LifeLog{}, lifeSilent
	case o.refused > 0 && l.host.ticks-o.refused < l.host.lives.wait():
		return wire.LifeLog{}, lifeRefused
	case o.answered < g.hold.question:
		return wire.LifeLog{}, lifeSilent
	}
	row, ok := o.logs[g.replica.Group]
	switch {
	case !ok || row.Incarnation != g.replica.Incarnation:
		return wire.LifeLog{}, lifeAnswered // it has no part in this one
	case row.Lost:
		return row, lifeSilent
	case l.doubt.Proven && !row.Judged:
		o.answered = 0 // it does not know yet whether it is older itself
		return row, lifeSilent
	}
	return row, lifeAnswered
}

// releaseAll looks at each held replica.
func (l *lives) releaseAll() {
	l.disowned = false
	for _, g := range l.host.order {
		if g.hold != nil {
			l.release(g)
		}
	}
}

// forgo lets a replica vote that still lacks what a voter told of, if that voter
// has fallen silent since: it counts as one that never answered. What the others
// told of stays. A life in doubt waits.
func (g *group) forgo() {
	h := g.host
	if !g.core.Short() {
		g.told = nil
		return
	}
	if !h.lives.doubt.None() {
		return
	}
	g.told = slices.DeleteFunc(g.told, func(o told) bool {
		c := h.contacts.of[o.node]
		return c == nil || h.ticks-c.heardTick >= h.lives.wait()
	})
	left := newest(g.told)
	if left == g.floor {
		return
	}
	h.cfg.Log.Warn("group votes without entries that a silent node told of", "group", g.replica.Group, "floor", g.floor, "left", left)
	g.floor = left
	g.core.ForgoFloor(left)
}
