package repl

import (
	"slices"

	"muster/logstore"
	"muster/raft"
)

// hurt returns the replicas that are damaged, as the store knows it.
func (l *mending) hurt() []logstore.Replica {
	list := l.host.cfg.Store.Replicas()
	list = slices.DeleteFunc(list, func(r logstore.Replica) bool {
		_, hurt := l.host.cfg.Store.DamageOf(r)
		return !hurt
	})
	for _, d := range l.host.cfg.Store.Damaged() { // some lost even where their log begins
		if d.Replica != (logstore.Replica{}) && !slices.Contains(list, d.Replica) {
			list = append(list, d.Replica)
		}
	}
	return list
}

// DamageFound hands in that a read of the log met damage: by whoever read for a
// follower, or by the scrub. The core of the replica goes on. It holds in memory
// what it has not applied yet, so that this is written again at once, before any
// new promise leaves. What it has applied is in its state: the replica lacks
// nothing to go on, but a follower may have need of the entries, and a restart
// would find them lost. So they are asked for like those of a replica that is
// down; and if nobody has them, a snapshot takes their place.
func (h *Host) DamageFound() {
	for _, d := range h.cfg.Store.Damaged() {
		m, g := h.mending.of(d.Replica.Group), h.groups[d.Replica.Group]
		switch {
		case m != nil && m.replica == d.Replica:
			if !m.writing {
				m.look()
				m.recall()
			}
		case m == nil && g != nil && g.replica == d.Replica && g.stopped == nil:
			h.mending.counts.Found++
			h.cfg.Log.Warn("log damaged", "group", d.Replica.Group, "replica", d.Replica.ID, "file", d.Where.File, "offset", d.Where.Offset, "record", d.Where.Record, "reason", d.Where.Reason)
			h.mending.begin(d.Replica, g).recall()
			if d.State || len(d.Lost) > 0 && d.Lost[0].First <= g.applied.Index {
				h.AskSnapshot(d.Replica.Group) // the state is here: nothing before it is needed
			}
		}
	}
}

// based tells that a replica's log begins anew: what was lost may be needed no
// more.
func (l *mending) based(r logstore.Replica) {
	if m := l.of(r.Group); m != nil && m.replica == r && m.group != nil && !m.writing && !m.look() {
		m.healed()
	}
}

// recall writes again what the core still has in memory.
func (m *mend) recall() {
	if m.group == nil {
		return
	}
	var back []raft.Entry
	bytes := 0
	for _, l := range m.damage.Lost {
		for _, e := range m.group.core.Recall(l.First, l.Last) {
			if e.ID.Term != l.Term {
				break // the core has truncated it; the write that says so is under way
			}
			if bytes += len(e.Raw); bytes > proposeBytesMax && len(back) > 0 {
				break
			}
			back = append(back, e)
		}
	}
	if len(back) > 0 {
		m.host.mending.counts.Mended += uint64(len(back))
		m.write(logstore.Write{Mended: back})
	}
}

// mendOwnSnapshotAfter is after how many rounds of questions a replica that runs
// writes a snapshot instead: the others had their time to answer.
const mendOwnSnapshotAfter = 2

// runTick is the part of a tick that is for a replica that runs, and says
// whether that was all. What it lost may be gone without an answer: truncated by
// the core, or compacted.
func (m *mend) runTick() bool {
	g := m.group
	if g == nil {
		return false
	}
	if g.gone || g.stopped != nil {
		m.host.mending.end(m)
		return true
	}
	if !m.look() {
		m.healed()
		return true
	}
	if m.recall(); m.writing {
		return true
	}
	if m.damage.State || m.rounds >= mendOwnSnapshotAfter || len(m.others()) == 0 {
		m.host.AskSnapshot(m.replica.Group)
	}
	return len(m.damage.Lost) == 0
}
