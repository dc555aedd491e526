package repl

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"muster/logstore"
	"muster/raft"
	"muster/repl/wire"
)

// MendCounts count what the mending of logs has done since the start.
type MendCounts struct {
	Found     uint64 // replicas that were found damaged while they ran
	Asked     uint64 // questions
	Answered  uint64 // questions of other nodes
	Mended    uint64 // entries that were given back
	Replaced  uint64 // committed entries that took the place of others
	Snapshots uint64 // requests for one
	Healed    uint64 // replicas that are whole again
}

// Mends returns the counts.
func (h *Host) Mends() MendCounts { return h.mending.counts }

// Mending is what is damaged of a replica, and what is done about it.
type Mending struct {
	Damage logstore.Damaged
	// Runs says that its core goes on: it was hurt while it ran.
	Runs bool
	// Broken says why it can't be opened, although it is whole; or is empty.
	// Reopens says that it is tried again: the disk refuses a read.
	Broken  string
	Reopens bool
	// Others are the nodes of the other members; nobody else can help.
	Others []raft.NodeID
	// Barren says that all of them have answered, and have nothing that would
	// mend it: no entry of what is lost, none that is committed in its place,
	// and no snapshot.
	Barren bool
	// Anyones says that nobody can tell whose was lost: a replica that the log does not
	// name may have been here, so none can be made on this node.
	Anyones bool
}

// What tells in one phrase what is wrong.
func (m *Mending) What() string {
	d := &m.Damage
	if m.Broken != "" {
		return m.Broken
	}
	var lost []string
	if d.Promises {
		lost = append(lost, "what it promised")
	}
	if d.State {
		lost = append(lost, "its snapshot")
	}
	const shown = 4
	for i, l := range d.Lost {
		if i == shown {
			lost = append(lost, fmt.Sprintf("%d more ranges", len(d.Lost)-shown))
			break
		}
		if l.First == l.Last {
			lost = append(lost, fmt.Sprintf("entry %d of term %d", l.First, l.Term))
			continue
		}
		lost = append(lost, fmt.Sprintf("entries %d to %d of term %d", l.First, l.Last, l.Term))
	}
	w := &d.Where
	if w.Refused {
		return fmt.Sprintf("can't read %s: the disk refuses it: %s at offset %d: %s: %s", strings.Join(lost, ", "), w.File, w.Offset, w.Record, w.Reason)
	}
	return fmt.Sprintf("lost %s: %s is damaged at offset %d: %s: %s", strings.Join(lost, ", "), w.File, w.Offset, w.Record, w.Reason)
}

// view adds what is damaged to the views of the groups, which are in
// order.
func (l *mending) view(views []GroupView) []GroupView {
	for _, m := range l.list {
		at, runs := slices.BinarySearchFunc(views, m.replica.Group, func(v GroupView, id raft.GroupID) int { return cmp.Compare(v.Replica.Group, id) })
		if !runs {
			v := GroupView{Replica: m.replica}
			v.Status = raft.Status{Term: m.outline.State.Term, Vote: m.outline.State.Vote, Last: m.outline.Last, Commit: m.commit, Membership: m.outline.Base.Membership}
			v.Commit.Index = m.commit
			v.Commit.Term, _ = m.outline.TermAt(m.commit)
			views = slices.Insert(views, at, v)
		}
		views[at].Mending = m.view()
	}
	return views
}

func (m *mend) view() *Mending {
	v := &Mending{Damage: m.damage, Runs: m.group != nil, Others: m.others()}
	v.Damage.Lost = slices.Clone(m.damage.Lost)
	if m.broken != nil {
		v.Broken, v.Reopens = m.broken.Error(), m.reopen
	}
	anyones, lost := m.host.cfg.Store.DamageOf(logstore.Replica{})
	v.Anyones = lost && !anyones.Where.Refused
	v.Barren = m.mendable() && len(v.Others) > 0
	for _, n := range v.Others {
		v.Barren = v.Barren && m.barren(n)
	}
	return v
}

// refusal is what who asks for something of the group is told.
func (m *mend) refusal() *wire.Error {
	v := m.view()
	return wire.Damaged(fmt.Sprintf("group %d on this node", m.replica.Group), v.What(), "ask another node; `muster status` of this one shows what is done about it")
}
