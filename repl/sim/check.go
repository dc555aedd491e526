package sim

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"sort"
	"time"

	"muster/logstore"
	"muster/raft"
	"muster/repl"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
)

// truth is what is known about one group from outside: the entries that some replica has
// applied, which must be the same on all, and what they mean according to a model that
// shares nothing with package shardmap.
type truth struct {
	c     *cluster
	group raft.GroupID

	entries   []truthEntry // by index, the first has index 1
	snapshots map[raft.LogID]snapshotFile
	digests   []uint64                   // after each entry, of the slot that it changed
	changed   map[shardmap.Slot][]uint64 // the indices of the entries that changed it
	// toldDigests are those of all slots after each time entry, by index.
	toldDigests map[uint64][]uint64
	known       map[raft.LogID]uint32
	model       model

	leaders    map[uint64]raft.ReplicaID // by term
	lastTerm   uint64
	lastLeader raft.ReplicaID
	leader     *node // of the newest term
	leaderLife uint32

	// acknowledged is the largest index that an answer to a client named: operations
	// that begin later must not see less.
	acknowledged uint64
	tells        []toldAt // when it grew

	raised uint64 // the index of the entry with which its history began, or later
	level  uint32 // that its entries have raised it to

	rules shardmap.VersionRules // for versions
	by    madeBy                // of the entry at hand

	series seriesTruth

	// trimmed: some snapshots lack what the state can do without.
	trimmed bool

	// Of the membership; see config.go.
	made, gone  bool // the group is, or was, in the table; it was removed
	founded     *raft.Membership
	incarnation raft.Incarnation
	configs     []config               // that were applied, in order
	configAt    map[raft.LogID]*config // that some disk has seen
	proposed    []raft.Membership      // that a leader may count by, or may have
}

// toldAt is an index, and when an answer to a client named it first.
type toldAt struct {
	at    time.Duration
	index uint64
}

type truthEntry struct {
	term    uint64
	time    raft.GroupTime
	sum     uint32
	kind    raft.EntryKind
	outcome outcome
	key     outcomeKey // zero where it is no command of a session
}

func newTruth(c *cluster, g raft.GroupID) *truth {
	return &truth{c: c, group: g, leaders: map[uint64]raft.ReplicaID{}, known: map[raft.LogID]uint32{}, configAt: map[raft.LogID]*config{}, snapshots: map[raft.LogID]snapshotFile{}, changed: map[shardmap.Slot][]uint64{}, toldDigests: map[uint64][]uint64{}, series: newSeriesTruth(c)}
}

// leads is called with each message that only a leader sends. It checks I1.
func (t *truth) leads(n *node, r raft.ReplicaID, term uint64) {
	if term == t.lastTerm && r == t.lastLeader {
		return
	}
	if was, ok := t.leaders[term]; ok {
		if was != r {
			t.c.fail("I1: group %d has two leaders in term %d: replica %d and replica %d (n%d)", t.group, term, was, r, n.index)
		}
		return
	}
	t.leaders[term] = r
	t.c.note(n.index, "leads group %d in term %d", t.group, term)
	t.complete(n, r, term)
	if term > t.lastTerm {
		t.lastTerm, t.lastLeader, t.leader, t.leaderLife = term, r, n, n.life
	}
}

// seekLone looks for a leader that sends nothing to anybody, because it is the only
// member.
func (t *truth) seekLone() {
	if len(t.committed().Replicas()) > 1 {
		return
	}
	for _, n := range t.c.nodes {
		if !n.up || n.paused {
			continue
		}
		for _, v := range n.host.View() {
			if v.Replica.Group == t.group && v.Status.Role == raft.RoleLeader && v.Status.Term > t.lastTerm {
				t.leads(n, v.Replica.ID, v.Status.Term)
			}
		}
	}
}

// complete checks I3: a new leader holds all that was committed in terms
// before its own.
func (t *truth) complete(n *node, r raft.ReplicaID, term uint64) {
	// Terms don't go back along the entries, so those of earlier terms come first.
	last := sort.Search(len(t.entries), func(i int) bool { return t.entries[i].term >= term })
	if last == 0 {
		return
	}
	for _, v := range n.host.View() {
		if v.Replica.Group != t.group {
			continue
		}
		if v.Status.Last.Index < uint64(last) {
			t.c.fail("I3: replica %d (n%d) leads group %d in term %d, its log ends at %s, %d is committed", r, n.index, t.group, term, v.Status.Last, last)
		}
		// The shadow has what is on disk, without a batch that is under way: while one
		// is, the last entry may be about to be replaced.
		if s := n.ledger.shadows[v.Replica]; s != nil {
			if at, ok := s.termAt(uint64(last)); ok && at != t.entries[last-1].term && n.writer.batch == nil {
				t.c.fail("I3: replica %d (n%d) leads group %d in term %d, and holds %d.%d, where %d.%d is committed", r, n.index, t.group, term, at, last, t.entries[last-1].term, last)
			}
		}
	}
}

// wrote checks I2 by induction: one log id has one content everywhere, and one
// entry before it.
func (t *truth) wrote(n *node, e *raft.Entry, before uint64) {
	// The sum binds an entry to the term of the one before it. If both are the same
	// everywhere, so is the one before, and thus the whole log up to there.
	sum := e.Checksum() ^ uint32(before*0x9e3779b1)
	if was, ok := t.known[e.ID]; !ok {
		t.known[e.ID] = sum
		t.c.builds.wrote(n, t.group, e)
	} else if was != sum {
		t.c.fail("I2: n%d writes entry %s of group %d, which is another one (or follows another one, here of term %d) elsewhere", n.index, e.ID, t.group, before)
	}
}

// applied is called when a replica applies an entry. The first replica that applies it
// decides what the entry is; applied checks the others against that (I4) and returns it.
func (t *truth) applied(n *node, e raft.Entry) *truthEntry {
	i := e.ID.Index
	switch {
	case i > uint64(len(t.entries))+1:
		t.c.fail("I4: n%d applies %s of group %d, nobody has applied %d", n.index, e.ID, t.group, len(t.entries)+1)
	case i == uint64(len(t.entries))+1:
		t.keepsTime(n, e)
		line := truthEntry{term: e.ID.Term, time: e.Time, sum: e.Checksum(), kind: e.Kind}
		if t.group != 0 && e.Kind == raft.EntryNormal {
			line.outcome, line.key = t.model.apply(t, e)
			t.c.users.applied(n, t, e)
			t.c.limits.applied(line.key, e.ID.Term)
			line.outcome.changed(func(s shardmap.Slot) { t.changed[s] = append(t.changed[s], i) })
		}
		if t.group != 0 && e.Kind == raft.EntryTime {
			t.model.expire(t, e)
			t.c.limits.applied(outcomeKey{}, e.ID.Term)
		}
		t.entries = append(t.entries, line)
		t.digests = append(t.digests, 0)
		if e.Kind == raft.EntryMembership {
			m, err := raft.ReadMembership(e.Payload())
			if err != nil {
				t.c.fail("n%d applies %s of group %d: %v", n.index, e.ID, t.group, err)
			}
			t.configs = append(t.configs, config{e.ID, m})
		}
		t.decided(n, e.ID)
	}
	line := &t.entries[i-1]
	if line.term != e.ID.Term || line.sum != e.Checksum() || line.kind != e.Kind {
		t.c.fail("I4: n%d applies %s (checksum %08x) at %d of group %d, another replica applied one of term %d (checksum %08x)",
			n.index, e.ID, e.Checksum(), i, t.group, line.term, line.sum)
	}
	return line
}

// never records that a client was told that a write was not applied and never will be.
func (l *slotLife) never(o *op) {
	key := outcomeKey{o.command.Session, o.command.Sequence}
	// Both orders are checked: here for a write that was applied before, in apply for one
	// that comes later.
	l.refused[key] = o
	if was, ok := l.outcomes[key]; ok && was.status == shardmap.StatusApplied {
		o.client.c.fail("I9: %s was applied at %s; its client is told that it was not", o, was.id)
	}
}

// spoke records the log id that an answer names, and returns what is known of the group
// that named it. The entry must be committed, and not before what had been acknowledged
// when the operation began.
func (o *op) spoke(g raft.GroupID, id raft.LogID) *truth {
	c := o.client.c
	if int(g) >= len(c.truth) {
		c.fail("%s is answered by group %d, which there never was", o, g)
	}
	t := c.truth[g]
	switch {
	case id.Index > uint64(len(t.entries)) || id.Index == 0:
		c.fail("I8: %s is answered as of %s, group %d has applied %d", o, id, g, len(t.entries))
	case t.entries[id.Index-1].term != id.Term:
		c.fail("I8: %s is answered as of %s, the entry of group %d there is of term %d", o, id, g, t.entries[id.Index-1].term)
	case id.Index < o.floorIn(g):
		c.fail("I7: %s began after an answer that stood at %d of group %d, and is answered as of %s", o, o.floorIn(g), g, id)
	}
	t.acknowledge(id.Index)
	return t
}

// saw checks that what an answer shows of a slot was the group's to show, and returns the
// span of the slot in which it stands.
func (o *op) saw(l *slotLife, g raft.GroupID, at raft.LogID) int {
	c := o.client.c
	k, ok := l.spanAt(g, at.Index)
	if !ok {
		c.fail("I11: %s is answered for slot %d by group %d as of %s, which does not serve it there: %v", o, l.slot, g, at, l.spans)
	}
	switch {
	case !o.local && l.after(k, o.floors):
		c.fail("I7: %s began after an answer by a later owner of slot %d, and is answered by group %d as of %s: %v", o, l.slot, g, at, l.spans)
	case o.local && o.floor > 0 && g != o.group && !l.met(c.truth[o.group], k, o.after):
		c.fail("I7: %s is answered for slot %d by group %d as of %s, which has not met entry %d of group %d: %v", o, l.slot, g, at, o.floor, o.group, l.spans)
	}
	return k
}

// checkRead compares an answer about a key with what it was as of the answer's index.
func (o *op) checkRead(key []byte, g raft.GroupID, at raft.LogID, version uint64, value []byte, found bool, end wire.KeyEnd) {
	o.spoke(g, at)
	l := o.client.c.lives.ofKey(key)
	k := o.saw(l, g, at)
	want, ok := l.at(string(key), k, at.Index)
	if found != (ok && want.there) || found && (version != want.version || valueNumber(value) != want.number) {
		o.client.c.fail("I9: %s is answered for %q with version %d of write %d (there: %v) as of %s of group %d; it should be version %d of write %d (there: %v)",
			o, key, version, valueNumber(value), found, at, g, want.version, want.number, ok && want.there)
	}
	checkEnd(o, key, l, k, at, &want, end)
}

// checkWrite compares an acknowledgement with the entry that it names.
func (o *op) checkWrite(a *wire.WriteAnswer) {
	w := o.acknowledged(a.Group, a.ID)
	if w.version != a.Version || uint64(w.deleted) != a.Deleted {
		o.client.c.fail("I9: %s is acknowledged at %s with version %d, %d deleted; it should be version %d, %d deleted",
			o, a.ID, a.Version, a.Deleted, w.version, w.deleted)
	}
}

// acknowledged checks that a write is acknowledged with the entry that carried it out, which
// may be of a former owner of the slot if that answers a retry. It returns what the entry did.
func (o *op) acknowledged(g raft.GroupID, id raft.LogID) *outcome {
	t := o.spoke(g, id)
	// A read may be as of the floor. A write that began after the floor was
	// acknowledged must be an entry of its own, after it.
	if floor := o.floorIn(g); id.Index == floor {
		t.c.fail("I7: %s began after an answer that stood at %d, and is acknowledged there", o, floor)
	}
	key := outcomeKey{o.command.Session, o.command.Sequence}
	line := &t.entries[id.Index-1]
	if line.key != key {
		t.c.fail("I8: %s is acknowledged at %s, which is another command (session %x, sequence %d)", o, id, line.key.session, line.key.sequence)
	}
	if w := &line.outcome; w.status != shardmap.StatusApplied || w.id != id || w.group != g {
		t.c.fail("I9: %s is acknowledged at %s; it should be %s at %s", o, id, w.status, w.id)
	}
	return &line.outcome
}

// watched is a state machine with the checks around it.
type watched struct {
	node    *node
	replica logstore.Replica
	truth   *truth
	inner   repl.StateMachine
	state   *machine.Map // nil in group 0
	at      raft.LogID   // the last entry that it has seen
	base    raft.LogID   // of the snapshot that it began with
	flaw    *flaw        // nil: nothing is known to be wrong with the state
	slip    slip         // that it is to make
	summed  summedTable  // the last one, in group 0
}

// next checks that no entry is skipped, and none comes twice.
func (w *watched) next(e raft.Entry) {
	if e.ID.Index != w.at.Index+1 {
		w.truth.c.fail("I4: n%d applies %s of group %d after %s", w.node.index, e.ID, w.truth.group, w.at)
	}
	if w.at = e.ID; w.live() {
		w.node.ledger.newest[w.replica] = e.ID
	}
}

// Apply implements [repl.StateMachine].
func (w *watched) Apply(e raft.Entry, answer bool, out []byte) (wire.Type, []byte, error) {
	w.next(e)
	line := w.truth.applied(w.node, e)
	if w.slip.skips(w, e, line) {
		return wire.TypeError, wire.Busy("simulator", "the entry had no effect here", wire.BusyRetry).Append(out), w.inner.Skip(e)
	}
	before := w.table()
	t, out, err := w.inner.Apply(e, answer, out)
	if w.odd() {
		return t, out, err
	}
	if err != nil {
		w.truth.c.fail("n%d can't apply %s of group %d: %v", w.node.index, e.ID, w.truth.group, err)
	}
	if w.state == nil {
		w.truth.compareTable(w, e)
		w.node.c.series.applied(w, e, before, w.table())
		return t, out, err
	}
	w.truth.series.ran(w, e)
	if len(line.outcome.steps) > 0 {
		w.truth.moved(w, e, line)
		return t, out, err
	}
	// Digests of different replicas are compared after each entry, so a state that
	// differs is found at the entry that made it differ.
	i := e.ID.Index - 1
	digest, owned := w.state.State.Digest(line.outcome.slot)
	if owned != line.outcome.owned {
		w.truth.c.fail("I11: after %s of group %d n%d owns slot %d: %v; by the log it does: %v",
			e.ID, w.truth.group, w.node.index, line.outcome.slot, owned, line.outcome.owned)
	}
	if was := w.truth.digests[i]; was == 0 {
		w.truth.digests[i] = digest
		if name := line.outcome.service; name != "" {
			w.truth.c.lives.of(line.outcome.slot).compareService(w, name)
		}
	} else if was != digest {
		w.truth.c.fail("I10: after %s of group %d slot %d has digest %016x on n%d, %016x elsewhere", e.ID, w.truth.group, line.outcome.slot, digest, w.node.index, was)
	}
	return t, out, err
}

// Ran implements [repl.Observed].
func (w *watched) Ran() (wants bool) {
	if w.state == nil {
		return false
	}
	wants = w.state.Ran()
	w.node.checks.ran(w)
	return wants
}

// Settle implements [repl.Settler].
func (w *watched) Settle(at raft.LogID) string {
	if w.state == nil {
		return ""
	}
	why := w.state.Settle(at)
	if p := &w.node.files.points; why == "" && p.store != nil {
		p.settled[settledState{w.replica, at}] = true
	}
	return why
}

// NamedFiles implements [repl.FileNamer].
func (w *watched) NamedFiles() []repl.BlockFile {
	if w.state == nil {
		return nil
	}
	return w.state.NamedFiles()
}

// Gone implements [repl.Observed].
func (w *watched) Gone() {
	if w.state != nil {
		w.state.Gone()
	}
}

// Wants implements [repl.Proposer].
func (w *watched) Wants() []byte {
	if w.state == nil {
		return nil
	}
	return w.state.Wants()
}

// Skip implements [repl.StateMachine].
func (w *watched) Skip(e raft.Entry) error {
	w.next(e)
	w.truth.applied(w.node, e)
	if twin, due := w.slip.again(w, e); due {
		_, _, err := w.inner.Apply(twin, false, nil)
		return err
	}
	if err := w.inner.Skip(e); err != nil {
		return err
	}
	if e.Kind == raft.EntryTime && w.state != nil && !w.odd() {
		w.truth.told(w, e)
	}
	return nil
}

// Faults implements [repl.Noticer].
func (w *watched) Faults() []repl.WalkFault {
	if n, ok := w.inner.(repl.Noticer); ok {
		return n.Faults()
	}
	return nil
}

// Digests implements [repl.Audited].
func (w *watched) Digests(out []wire.AuditRow) []wire.AuditRow {
	return w.inner.(repl.Audited).Digests(out)
}

// Walk implements [repl.Audited].
func (w *watched) Walk() repl.Walk { return w.inner.(repl.Audited).Walk() }

// Mute implements [repl.Muter].
func (w *watched) Mute(is bool) {
	if m, ok := w.inner.(repl.Muter); ok {
		m.Mute(is)
	}
}

// NextDue implements [repl.Expirer].
func (w *watched) NextDue() (at raft.GroupTime, waits bool) {
	if x, ok := w.inner.(repl.Expirer); ok {
		return x.NextDue()
	}
	return 0, false
}

// Deferring implements [repl.Deferrer].
func (w *watched) Deferring() bool { return w.state != nil && w.state.Deferring() }

// DeferCommand implements [repl.Deferrer].
func (w *watched) DeferCommand(payload []byte) (late, refused *wire.Error) {
	if w.state == nil {
		return nil, nil
	}
	return w.state.DeferCommand(payload)
}

// DeferQuery implements [repl.Deferrer].
func (w *watched) DeferQuery(q repl.Query) (late *wire.Error) {
	if inner, ok := q.(watchedQuery); ok {
		q = inner.inner
	}
	if w.state == nil {
		return nil
	}
	return w.state.DeferQuery(q)
}

// Decided implements [repl.Deferrer].
func (w *watched) Decided() uint64 {
	if w.state == nil {
		return 0
	}
	return w.state.Decided()
}

// Copy implements [repl.StateMachine].
func (w *watched) Copy() repl.StateCopy {
	c := watchedCopy{StateCopy: w.inner.Copy(), of: w, at: w.at, flaw: w.flaw}
	if _, can := c.StateCopy.(repl.Trimmer); can {
		return &trimmableCopy{c}
	}
	return &c
}

// watchedCopy is a copy of a state, of which it is noted whether it may be wrong.
type watchedCopy struct {
	repl.StateCopy
	of    *watched
	at    raft.LogID
	flaw  *flaw
	aside bool // it is for a person, and no snapshot
}

// WriteTo implements [repl.StateCopy].
func (c *watchedCopy) WriteTo(to io.Writer) (int64, error) {
	if c.flaw == nil || c.aside {
		return c.StateCopy.WriteTo(to)
	}
	sum := crc32.NewIEEE()
	n, err := c.StateCopy.WriteTo(io.MultiWriter(to, sum))
	c.of.node.c.flaws.written[snapshotName{c.of.node.index, c.of.replica.Group, c.at}] = oddSnapshot{c.flaw, sum.Sum32()}
	return n, err
}

// Unchecked implements [repl.Unchecker].
func (c *watchedCopy) Unchecked() {
	c.aside = true
	if u, ok := c.StateCopy.(repl.Unchecker); ok {
		u.Unchecked()
	}
}

// trimmableCopy tells the truth of a group that some snapshots lack what others have.
type trimmableCopy struct{ watchedCopy }

// Trim implements repl.Trimmer.
func (c *trimmableCopy) Trim() {
	c.of.truth.trimmed = true
	c.StateCopy.(repl.Trimmer).Trim()
}

// Restore implements [repl.StateMachine].
func (w *watched) Restore(r io.Reader, at raft.LogID, t raft.GroupTime) error {
	sum := crc32.NewIEEE()
	if err := w.inner.Restore(io.TeeReader(r, sum), at, t); err != nil {
		return err
	}
	w.at, w.base = at, at
	w.restored(sum.Sum32())
	return nil
}

// restored checks a state that was not made entry by entry (I10), by the checksum of its bytes.
func (w *watched) restored(sum uint32) {
	t := w.truth
	t.takes(w, w.at)
	switch odd, ok := t.c.flaws.written[snapshotName{w.node.index, t.group, w.at}]; {
	case ok && odd.sum == sum && (odd.flaw.kind.shows() && !odd.flaw.vanished || w.wrong() != ""):
		w.flaw = odd.flaw // else what was wrong is not what was written
	case w.state == nil && !t.isTable(w, w.at):
		t.c.fail("I10: n%d takes a table at %s that is another one elsewhere", w.node.index, w.at)
	case w.state != nil:
		t.checkHolds(w, w.at)
		if what := t.differs(w, w.at); what != "" {
			t.c.fail("%s", what)
		}
		t.series.taken(w, w.at)
	}
	t.c.flaws.restored(w)
}

// takes checks I3 for a state that a replica takes.
func (t *truth) takes(w *watched, at raft.LogID) {
	if at.Index > uint64(len(t.entries)) || at.Index > 0 && t.entries[at.Index-1].term != at.Term {
		t.c.fail("I3: n%d takes a state of group %d at %s, which is not committed", w.node.index, t.group, at)
	}
}

// differs compares a state with those of other replicas: each slot must be as it was on the
// replica that applied the last entry that changed it. It says what differs, or nothing.
func (t *truth) differs(w *watched, at raft.LogID) (what string) {
	for i, slot := range t.c.lives.slots {
		changes := t.changed[slot]
		k := sort.Search(len(changes), func(i int) bool { return changes[i] > at.Index })
		got, owned := w.state.State.Digest(slot)
		switch {
		case k == 0 && owned:
			return fmt.Sprintf("I11: the state of group %d at %s that n%d takes owns slot %d, which no entry up to there gave it", t.group, at, w.node.index, slot)
		case k == 0: // it is from before the founding, or never was the group's
		default:
			want := t.digestAt(changes[k-1], i)
			if want == 0 && t.c.flaws.active {
				continue // so far only a replica with a flaw has applied the entry
			}
			if got != want {
				return fmt.Sprintf("I10: the state of group %d at %s that n%d takes has digest %016x for slot %d (owned: %v); after %d it was %016x",
					t.group, at, w.node.index, got, slot, owned, changes[k-1], want)
			}
		}
	}
	return ""
}

// Restored implements [repl.StateMachine].
func (w *watched) Restored() {
	// A replica that could not be opened, because the disk refused a read of its log,
	// has no state: the next time it begins again at its snapshot.
	opening := w.node.host == nil || w.node.host.Machine(w.replica.Group) == nil
	if now := w.node.ledger.newest[w.replica]; w.at.Index < now.Index && !opening {
		w.truth.c.fail("I5: n%d puts a state of group %d at %s in the place of one at %s", w.node.index, w.truth.group, w.at, now)
	}
	w.node.ledger.newest[w.replica] = w.at
	w.inner.Restored()
}

// compare compares all replicas of the healed cluster with each other and with the model
// (I8, I10).
func (c *cluster) compare() {
	for g := 1; g < len(c.truth); g++ {
		if !c.truth[g].there() {
			continue
		}
		var slots []shardmap.Slot
		c.lives.each(func(l *slotLife) {
			if l.servedBy(raft.GroupID(g)) {
				slots = append(slots, l.slot)
			}
		})
		var first [][]byte
		for _, n := range c.nodes {
			if n.dead {
				continue
			}
			if _, ok := n.replica(raft.GroupID(g)); !ok {
				continue
			}
			m := n.host.Machine(raft.GroupID(g)).(*watched).state
			for i, slot := range slots {
				copied, owned := m.State.Copy(slot)
				if !owned {
					c.fail("I8: n%d: slot %d is not group %d's", n.index, slot, g)
				}
				if err := copied.Check(); err != nil {
					c.fail("I10: n%d: group %d: %v", n.index, g, err)
				}
				// Equal states must give equal bytes: leaders continue each other's
				// snapshot streams.
				var b bytes.Buffer
				if _, err := copied.WriteTo(&b); err != nil {
					c.fail("n%d: snapshot of slot %d: %v", n.index, slot, err)
				}
				copied.Release()
				if _, err := shardmap.ReadSnapshot(bytes.NewReader(b.Bytes())); err != nil {
					c.fail("I10: n%d: the snapshot of slot %d of group %d is none: %v", n.index, slot, g, err)
				}
				if i == len(first) {
					first = append(first, b.Bytes())
				} else if !bytes.Equal(first[i], b.Bytes()) {
					c.fail("I10: group %d: the snapshot of slot %d is another one on n%d", g, slot, n.index)
				}
			}
			c.compareKeys(n, m, slots)
			c.truth[g].series.compare(n, m)
			c.services.compare(n.host.Machine(raft.GroupID(g)).(*watched), slots)
			n.checkSums(raft.GroupID(g))
		}
	}
}

// compareKeys compares a map with what is known of the slots that are its group's, key by
// key.
func (c *cluster) compareKeys(n *node, state *machine.Map, slots []shardmap.Slot) {
	// The count at the end finds keys that the map has and nobody wrote.
	there := 0
	for _, s := range slots {
		l := c.lives.of(s)
		for _, k := range l.names() {
			want := l.now([]byte(k))
			value, version, is := state.State.Get([]byte(k), nil)
			ok := is == shardmap.Present
			if ok != want.there || ok && (version != want.version || valueNumber(value) != want.number) {
				c.fail("I8: n%d has version %d of write %d of key %q (there: %v), it should be version %d of write %d (there: %v)",
					n.index, version, valueNumber(value), k, ok, want.version, want.number, want.there)
			}
			if ok {
				there++
			}
		}
		compareVersions(c, n, state, l)
	}
	if got := state.State.Len(); got != there {
		c.fail("I9: n%d has %d keys in group %d, %d were written", n.index, got, state.Group, there)
	}
}

func (o outcome) String() string {
	return fmt.Sprintf("%s at %s, version %d", o.status, o.id, o.version)
}
