package repl

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"

	"muster/logstore"
	"muster/raft"
	"muster/repl/wire"
)

// A log that lost entries, and what may be done about it
//
// A replica answers for what its log held: it voted and acknowledged by that. If
// some of it can't be read any more, the replica is to the group as if its node
// were down: it has no core, so it does not vote, acknowledge, or count. Its log
// still knows the ids of what it lost ([logstore.Damaged]), and its host asks
// the other replicas for it. It comes back in one of three ways, each of which
// leaves it in a state that an undamaged replica could be in.
//
//  1. It gets the entries back, with the very ids that it lost. One leader made
//     all entries of a term, one for each index, and its checksum covers id and
//     payload: an entry with the id is the entry, whoever kept it, committed or
//     not, and so also a replica may give it that is damaged itself. With the
//     last one the log is bit for bit what it was, term and vote were never
//     lost, and the replica is one that was down for a while.
//
//  2. Another replica has committed an entry of another term at an index. Then
//     ours was never committed and never will be: what is committed at an
//     index is the same everywhere, for ever (the paper, 5.4.3). Nor was any of
//     ours after it: a log that holds an entry holds all that its leader's held
//     before it (5.3), so a later one of ours, if it were committed, would have
//     ours below it committed too. What we acknowledged of it counts for
//     nothing: the leader of that term can't commit it any more, for a
//     majority went on to a later term without it. So our log is truncated
//     where the two part, and the committed entries take the place, as an
//     append of the leader would have it. Our term is raised to that of those
//     entries, if it was lower: a replica that holds entries of a term must not
//     vote in an earlier one. The vote is cleared by that, and by nothing else.
//
//  3. The others have compacted it. A snapshot is of what was applied, so it is
//     of committed entries only, and takes the place of ours up to its base,
//     lost or not. Entries behind it that are intact stay where our log held
//     the base's id, for then they follow it; else they are dropped, by 2.
//
// What is done never rests on the word of a replica that has not committed it.
// That nobody has an entry is no proof that nobody had it: a leader may have
// counted us and one that is down now. So if no one has it, the replica waits,
// and with it, where that is a majority's fate, the group: nothing wrong is
// served, nothing is lost that a returning node or a file put back could bring.
//
// A damaged replica itself says of its log only what damage can't have changed:
// entries that verify, and, unless its promises are lost as well, which index
// it knows to be committed. A commit index never goes back and was true when it
// was written. Where the index of its log may be wrong, it says nothing of the
// kind.
//
// Answers carry the question's number and this process's start counter, and
// only the newest question to a node is open. A late or repeated answer is
// dropped. Would it be taken, it could still do little: ids are compared with
// the log as it is then, and what is committed stays so. What an answer says to
// be committed is believed, so it must be of the node that was asked: numbers are
// drawn by chance, and only who got the question knows it.
//
// Whom to ask is no question of safety, for an entry proves itself, and what is
// committed is so whoever says it. The members that the log's beginning and its
// readable entries name are asked, and those of the table; every few rounds all
// nodes that this one knows, since the membership itself may be what was lost.

const (
	// mendPauseMin and mendPauseMax bound the pause between two rounds of
	// questions, in ticks; it doubles from the one to the other. A new
	// process has no connections yet: they take some of the first.
	mendPauseMin = 2
	mendPauseMax = 40
	// mendAllEvery is how often all nodes are asked, in rounds.
	mendAllEvery = 4
	// mendSnapshotAfter is after how many rounds a snapshot will do where not
	// all members have answered.
	mendSnapshotAfter = 4
	// mendKnownTimes election timeouts after something changed, it is known what
	// the others can give: who has just started has elected a leader by then,
	// and knows again what is committed.
	mendKnownTimes = 2
	// mendSnapshotPause lies between two requests for a snapshot, in ticks:
	// who is sending one takes no notice of another.
	mendSnapshotPause = 40
)

// mending is all damaged replicas of a host, and what is done about them.
type mending struct {
	host      *Host
	list      []*mend // by group id
	counts    MendCounts
	questions *rand.Rand // numbers them
}

// mend is what the host does about one damaged replica. Most have no core:
// there is no group of theirs in the host.
type mend struct {
	// Set once.
	host    *Host
	replica logstore.Replica
	group   *group // its core runs on, see mend_run.go; or nil

	damage  logstore.Damaged
	outline logstore.Outline
	known   bool  // outline is something
	broken  error // it is whole, and could not be opened; or it contradicts another
	reopen  bool  // what broke it was the disk's no to a read, which may pass

	// commit: the log up to here is the group's. Invariant: at least what the
	// log itself knows.
	commit  uint64
	members []raft.Member // of the memberships that could be read, and of the table

	asked      []asked // by node
	changed    uint64  // the tick when something last did
	rounds     int     // since then
	due        uint64  // the tick of the next round
	pause      uint64
	snapshotAt uint64 // the tick before which no snapshot is asked for again
	writing    bool   // a write is under way: answers wait for its sync
}

// asked is what a mend knows of another node.
type asked struct {
	node     raft.NodeID
	number   uint64 // of the question that is open; 0: none
	answered bool   // since something changed: it had nothing
	known    bool   // answered, and late enough to believe that
	again    bool   // it has more: ask it after the sync
	gives    bool   // it was asked for a snapshot, and no other node's is taken
	probed   bool   // the newest question was also where the logs part
	// As it said last.
	commit   uint64
	snapshot uint64
}

// begin notes that a replica's log is damaged, and begins to mend it.
func (l *mending) begin(r logstore.Replica, g *group) *mend {
	m := &mend{host: l.host, replica: r, group: g, pause: mendPauseMin, due: l.host.ticks, changed: l.host.ticks}
	at, _ := slices.BinarySearchFunc(l.list, r.Group, func(o *mend, id raft.GroupID) int { return cmp.Compare(o.replica.Group, id) })
	l.list = slices.Insert(l.list, at, m)
	m.look()
	if g == nil {
		m.readMembers()
	}
	return m
}

func (l *mending) end(m *mend) {
	l.list = slices.DeleteFunc(l.list, func(o *mend) bool { return o == m })
}

// of returns what is done about the replica of a group, or nil.
func (l *mending) of(id raft.GroupID) *mend {
	for _, m := range l.list {
		if m.replica.Group == id {
			return m
		}
	}
	return nil
}

// look takes over what the log says of its damage, and reports whether there still
// is any.
func (m *mend) look() bool {
	var hurt bool
	m.damage, hurt = m.host.cfg.Store.DamageOf(m.replica)
	m.outline, m.known = m.host.cfg.Store.Outline(m.replica)
	if m.known {
		m.commit = max(m.commit, m.outline.State.Commit, m.outline.Base.ID.Index)
		m.commit = min(m.commit, m.outline.Last.Index)
	}
	return hurt
}

// readMembers finds who the members are, as far as the log can be read.
func (m *mend) readMembers() {
	m.know(m.outline.Base.Membership)
	for _, c := range m.outline.Changes {
		span := wire.RepairSpan{First: c.First, Last: c.Last}
		for _, e := range ReadIntact(m.host.cfg.Store, m.replica, []wire.RepairSpan{span}, int(^uint(0)>>1)) {
			if e.Kind != raft.EntryMembership {
				continue
			}
			if ms, err := raft.ReadMembership(e.Payload()); err == nil {
				m.know(ms)
			}
		}
	}
}

// know adds the members of a membership to those who are asked. Whether it is
// still in force does not matter.
func (m *mend) know(ms raft.Membership) {
	m.meet(slices.Collect(ms.All()))
}

// meet adds replicas to those that are asked.
func (m *mend) meet(list []raft.Member) {
	for _, member := range list {
		if !slices.ContainsFunc(m.members, func(o raft.Member) bool { return o.Replica == member.Replica }) {
			m.members = append(m.members, member)
		}
	}
}

// others returns the nodes of the other members, in order.
func (m *mend) others() []raft.NodeID {
	members := m.members
	if m.group != nil {
		members = slices.Collect(m.group.members.All())
	}
	var nodes []raft.NodeID
	for _, o := range members {
		if o.Node != m.host.cfg.Self && !slices.Contains(nodes, o.Node) {
			nodes = append(nodes, o.Node)
		}
	}
	slices.Sort(nodes)
	return nodes
}

// mendable reports whether the other replicas can help.
func (m *mend) mendable() bool { return m.broken == nil && !m.damage.Promises && m.known }

// tick asks, where it is time.
func (m *mend) tick() {
	if m.reopen && m.host.ticks >= m.due {
		m.openAgain()
		return
	}
	if m.takeReturned(); m.writing || m.host.ticks < m.due || m.runTick() || m.returned() || !m.mendable() {
		return
	}
	m.askForSnapshot()
	nodes := m.others()
	if m.rounds%mendAllEvery == mendAllEvery-1 || len(nodes) == 0 {
		nodes = m.host.beats.nodes
	}
	for _, n := range nodes {
		m.ask(n)
	}
	m.rounds++
	m.due = m.host.ticks + m.pause
	if at := m.knownAt(); m.host.ticks < at {
		m.due = min(m.due, at)
	}
	m.pause = min(2*m.pause, mendPauseMax)
}

// takeReturned gives back to the log what its disk refused at the start, and has
// returned since.
func (m *mend) takeReturned() {
	if m.writing || m.broken != nil {
		return
	}
	if back := m.host.cfg.Store.Returned(m.replica); len(back) > 0 {
		m.host.mending.counts.Mended += uint64(len(back))
		m.write(logstore.Write{Mended: back})
	}
}

// returned reports whether nothing is lost of a replica without a core any more, by
// no doing of ours: the disk returns what it refused.
func (m *mend) returned() bool {
	if m.group != nil || m.broken != nil || m.look() {
		return false
	}
	m.healed()
	return true
}

// knownAt is the tick from which on it is believed of a node that it has nothing.
func (m *mend) knownAt() uint64 { return m.changed + mendKnownTimes*uint64(m.host.cfg.ElectionTicks) }

// hurry asks soon again: a node is back.
func (m *mend) hurry() {
	m.pause = mendPauseMin
	m.due = min(m.due, m.host.ticks+1)
}

// askedOf returns what is known of a node that was asked, or nil.
func (m *mend) askedOf(n raft.NodeID) *asked {
	if i, ok := m.findAsked(n); ok {
		return &m.asked[i]
	}
	return nil
}

func (m *mend) findAsked(n raft.NodeID) (int, bool) {
	return slices.BinarySearchFunc(m.asked, n, func(a asked, id raft.NodeID) int { return cmp.Compare(a.node, id) })
}

// answered reports whether a node answered that it has no entry of what is lost.
func (m *mend) answered(n raft.NodeID) bool {
	a := m.askedOf(n)
	return a != nil && a.answered
}

// barren reports whether a node has nothing to help with, not even a snapshot. A
// node that has just started may know less than it will in a moment: which of
// its entries are committed, and so take the place of what is lost, it learns
// from the next leader.
func (m *mend) barren(n raft.NodeID) bool {
	a := m.askedOf(n)
	return a != nil && a.known && m.covered(a.snapshot) == 0
}

// ask asks a node for what is lost. The question before it is no longer open.
func (m *mend) ask(n raft.NodeID) {
	i, ok := m.findAsked(n)
	if !ok {
		m.asked = slices.Insert(m.asked, i, asked{node: n})
	}
	a := &m.asked[i]
	wanted := m.wanted(a.commit)
	if len(wanted) == 0 && !m.damage.State {
		return
	}
	a.number, a.again, a.probed = m.host.mending.questionNumber(), false, m.probes(a.commit)
	m.host.mending.counts.Asked++
	m.host.cfg.Transport.SendRepair(n, &wire.Repair{
		Start: m.host.start, Number: a.number, Group: m.replica.Group, Incarnation: m.replica.Incarnation, Wanted: wanted,
	})
}

// wanted is what a node is asked for that is known to have committed all up to
// an index: what is lost; and, if it has committed more than this log is known
// to share, what comes first after that, so that it shows where the two part.
func (m *mend) wanted(commit uint64) []wire.RepairSpan {
	var spans []wire.RepairSpan
	probe := m.probes(commit)
	for _, l := range m.damage.Lost {
		s := wire.RepairSpan{First: l.First, Last: l.Last}
		if probe {
			s.Last = min(s.Last, m.commit)
		}
		if s.First > s.Last {
			continue
		}
		if n := len(spans); n > 0 && spans[n-1].Last+1 == s.First {
			spans[n-1].Last = s.Last
			continue
		}
		spans = append(spans, s)
	}
	limit := wire.RepairSpansMax
	if probe {
		limit--
	}
	if n := len(spans); n > limit { // another part in each round: of some there may be no copy
		from := m.rounds * limit % n
		spans = spans[from:min(n, from+limit)]
	}
	if probe {
		last := m.damage.Lost[len(m.damage.Lost)-1].Last
		spans = append(spans, wire.RepairSpan{First: m.commit + 1, Last: min(commit, last)})
		slices.SortFunc(spans, func(a, b wire.RepairSpan) int { return cmp.Compare(a.First, b.First) })
	}
	return spans
}

// write puts a write of the mending into the batch.
func (m *mend) write(w logstore.Write) {
	w.Replica = m.replica
	b := m.host.gathering
	b.Writes = append(b.Writes, w)
	b.mends = append(b.mends, m)
	m.writing = true
}

// synced is told that the write is on disk.
func (m *mend) synced() {
	m.writing = false
	if !slices.Contains(m.host.mending.list, m) {
		return // it was given up meanwhile
	}
	m.rounds, m.pause, m.due, m.changed = 0, mendPauseMin, m.host.ticks+mendPauseMin, m.host.ticks
	if !m.look() {
		m.healed()
		return
	}
	for i := range m.asked {
		a := &m.asked[i]
		a.answered, a.known = false, false
		if a.again {
			m.ask(a.node)
		}
	}
}

// healed is the end: the log is whole. The replica is opened as at a start, which
// holds the host up for as long as it takes to load its state: 43 ms for each
// 100,000 keys (BenchmarkRestore), and what the entries after it take. It would
// matter if groups held millions of keys, so that the node's other groups lost
// their leaders by it. Then [Work] could do it, but for group 0, whose machine
// tells the node of each table.
func (m *mend) healed() {
	h := m.host
	h.mending.end(m)
	h.mending.counts.Healed++
	h.cfg.Log.Info("replica mended", "group", m.replica.Group, "replica", m.replica.ID, "last", m.outline.Last, "commit", m.commit)
	if m.group != nil {
		return
	}
	h.mending.revive(m.replica)
}

// revive opens a replica whose log is whole, at the start or after it was
// mended. What else is wrong with it becomes its state, not the host's.
func (l *mending) revive(r logstore.Replica) {
	if err := l.host.placing.open(r); err != nil {
		l.notOpened(r, err)
	}
}

// notOpened notes why a replica has no core.
func (l *mending) notOpened(r logstore.Replica, err error) {
	m := l.begin(r, nil)
	if _, hurt := l.host.cfg.Store.DamageOf(r); !hurt {
		m.broken = fmt.Errorf("open replica %d of group %d: %w", r.ID, r.Group, err)
		m.reopen = diskRefuses(err)
		m.due += m.pause
	}
	l.host.cfg.Log.Error("replica not opened", "group", r.Group, "replica", r.ID, "err", err)
}

// diskRefuses reports whether an error is not about what is on the disk, but the disk's
// no, which may pass.
func diskRefuses(err error) bool {
	return errors.Is(err, logstore.ErrRefused) || errors.As(err, new(*fs.PathError))
}

// openAgain opens a replica whose log is whole, after a read failed when that was
// tried before: not for what is on the disk, but for the disk, which may answer
// the next time. Left closed, the replica would be missing until its node starts
// again, with nothing wrong with it. The pauses grow as those between questions.
func (m *mend) openAgain() {
	h := m.host
	h.mending.end(m)
	h.mending.revive(m.replica)
	if o := h.mending.of(m.replica.Group); o != nil && o.reopen {
		o.pause = min(2*m.pause, mendPauseMax)
		o.due = h.ticks + o.pause
	}
}

// placed is told that the table asks for the replica.
func (m *mend) placed(p Placement) {
	if p.Replica != m.replica {
		return
	}
	m.know(p.Founders)
	m.meet(p.Members)
}
