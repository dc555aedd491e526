package repl

import (
	"io"

	"muster/logstore"
	"muster/raft"
	"muster/repl/wire"
)

// A replica whose state is wrong
//
// Its log is right, and so is what it does by the log alone: it votes, takes entries and
// acknowledges them, and its group is no closer to standing still than before. But it
// does not lead, answers no read, and gives nobody its state ([raft.Group.Fence]). It
// notes the entries that are committed, and applies none.
//
// It goes through these stages. The first begins as soon as something was found:
//
//  1. noting: the fence is written to the disk, so that the replica is fenced after a
//     restart too; and what it holds is kept aside, for a person to look at.
//  2. seeking: it looks for another state to begin with. A fault that a walk has found is
//     only in memory, so the replica's own snapshot will do if the state was known to be
//     right after it was written. Otherwise the snapshot may be wrong too, and the replica
//     asks one that agreed with the others for a newer one. If nobody gives one within
//     fenceOwnTicks, a replica that a walk has found begins with its own snapshot after all,
//     and the next comparison checks it. The only voter of a group does so at once.
//  3. filling: the state gets what the log has after it, up to what is committed.
//  4. basing: the log begins behind the snapshot that came from another replica, on disk,
//     so that no start finds the wrong one again.
//  5. ending: the note says that the state is right again. From then on it serves.
//
// After a crash it begins with the second. A snapshot that the leader sends by itself,
// because the log here ends too early, takes it to the fourth ([fence.installed]).
//
// If nobody can tell which replica is right, all are fenced, and stay in the second
// stage until a person says whose state is to be trusted ([Audits.Trust]): that one begins
// with its own snapshot and is elected, and the others get its state. They also get the state
// of a replica that was away meanwhile, if that one is elected ([fence.undecided]). A replica
// that is to be elected and lacks entries which only fenced ones have gets these first: one of
// them leads for a moment, to bear its log (raft/fence.go), and shows its state to nobody meanwhile.

// fenceStage is how far a replica has come that is fenced.
type fenceStage uint8

const (
	fenceNoting fenceStage = iota
	fenceSeeking
	fenceFilling
	fenceBasing
	fenceEnding
)

func (s fenceStage) String() string {
	return [...]string{"is being fenced", "waits for another state", "gets another state", "gets another state", "is about to serve again"}[s]
}

const (
	// fenceAskTicks lie between two requests for a snapshot, 2 s: who makes or sends one
	// takes no notice of another.
	fenceAskTicks = 40
	// fenceRetryTicks is how long a work of the fence waits after it failed, 1 s.
	fenceRetryTicks = 20
	// fenceOwnTicks is how long a replica in which a walk has found something waits for the
	// state of another one, 30 s.
	fenceOwnTicks = 600
	// fillBytesMax is how much of the log a state that is filled gets in one tick. The host
	// does nothing else in that time.
	fillBytesMax = 4 << 20
)

// finding is what was found to be wrong with a replica.
type finding struct {
	found   logstore.FenceFound
	at      raft.LogID // as of which entry
	parts   []uint32
	what    string
	sources []raft.NodeID // of replicas whose state is right
}

// fence is what a host does about a replica whose state is wrong.
type fence struct {
	group   *group
	note    logstore.Fence // as it is on disk, or will be
	stage   fenceStage
	working bool   // a work of it is under way
	over    bool   // the replica has stopped, or is gone
	retryAt uint64 // the tick before which none is begun
	aside   StateCopy
	kept    string // the file with what it held; empty: there is none, or an earlier process wrote it

	own     bool   // the own snapshot is to be the beginning
	ownAt   uint64 // the tick from which on it will do; 0: never
	sources []raft.NodeID
	asked   raft.NodeID // the source that was asked last; 0: none
	need    uint64      // a snapshot of another replica must stand here or later
	askAt   uint64      // the tick before which nobody is asked

	machine StateMachine // that is to take the place; nil: none yet
	at      raft.LogID   // where it stands
	time    raft.GroupTime
	base    *logstore.Snapshot // of another replica, with which it began; nil: the own one
}

// fenceOff fences a replica.
func (r *auditing) fenceOff(f finding) {
	g := r.group
	if g.fence != nil || g.stopped != nil || g.removed {
		return
	}
	switch {
	case f.found == logstore.FenceByComparison && len(f.sources) == 0:
		// The logs lead to what no replica has any more. So its own will do, and nobody else's.
		f.found, f.what = logstore.FenceByWalk, "its log leads to another state"
		r.agreed = f.at
	case f.found == logstore.FenceByComparison && f.what == "":
		f.what = "other replicas have another state"
	case f.found == logstore.FenceUndecided:
		f.what = "no majority of the voters has the same state"
	}
	note := logstore.Fence{Replica: g.replica, At: f.at, Found: f.found, Parts: f.parts[:min(len(f.parts), logstore.FencePartsMax)], What: f.what}
	k := r.beginFence(note)
	k.sources, k.aside = f.sources, g.machine.Copy()
	if u, ok := k.aside.(Unchecker); ok {
		u.Unchecked()
	}
	g.host.Audits.counts.Fenced++
	g.core.Fence()
	g.host.cfg.Log.Error("replica is fenced", "group", g.replica.Group, "replica", g.replica.ID, "at", f.at, "found", f.found, "parts", len(f.parts), "what", f.what)
	k.tellIncident()
	g.touch()
}

// beginFence has the replica serve nobody from here on.
func (r *auditing) beginFence(note logstore.Fence) *fence {
	g := r.group
	k := &fence{group: g, note: note, need: note.At.Index}
	if note.Found == logstore.FenceByWalk {
		k.own, k.ownAt = g.snap.base.Index == 0 || g.snap.base.Index < g.audit.agreed.Index, g.host.ticks+fenceOwnTicks
	}
	g.fence = k
	g.host.Audits.fences++
	if g.host.Audits.of == g.audit.machine {
		g.host.Audits.endWalk()
	}
	g.abandon()
	unwatch(g.watched)
	g.watched = nil
	g.deferred.follow(nil)
	g.clock.machine, g.clock.waits = nil, false
	g.snap.endStreams()
	g.snap.wants, g.snap.later = nil, nil
	return k
}

// resumeFence fences a replica that was fenced when its process ended.
func (r *auditing) resumeFence(note logstore.Fence) {
	k := r.beginFence(note)
	k.stage = fenceSeeking
	r.group.core.Fence()
}

// Unchecker is a [StateCopy] that can write what it has as it is: for a person who is to
// see what was wrong with it.
type Unchecker interface {
	// Unchecked makes WriteTo write also what is no longer as it was written, as far as it
	// can be reached. It is called before WriteTo.
	Unchecked()
}

// serves reports whether the state may be shown to anybody. There is a fence only if not.
func (k *fence) serves() bool { return k == nil || bug("fenced replica serves") }

// told takes the word of the leader on whose state is right.
func (k *fence) told(v *wire.AuditVerdict) { k.sources = v.Sources }

// gives reports whether another replica may have the state. Those that ask this one because it
// leads rely on it: a leader may be one that only bears its log.
func (k *fence) gives() bool {
	return k.serves() || bug("bearer taken for right") && k.group.role == raft.RoleLeader
}

// undecided reports whether nobody is known yet who may have a state that is right. One that
// leads in a later term than that of the comparison may: either a person has trusted it, or it was
// away and nothing was found wrong with it. It is no proof, because a replica that is fenced may lead
// too, for a moment, to bear its log. What proves it is the state itself: only a replica that is not
// fenced gives one ([fence.gives]), of whatever build it is.
func (k *fence) undecided() bool {
	g := k.group
	switch {
	case k.note.Found != logstore.FenceUndecided || k.own || len(k.sources) > 0:
		return false
	case g.lead == 0 || g.lead == g.replica.ID:
		return true
	}
	return g.state.Term <= k.note.At.Term
}

// tick does what is next.
func (k *fence) tick() {
	if k.over {
		return
	}
	switch k.stage {
	case fenceNoting:
		k.begin(k.keepAside)
	case fenceSeeking:
		k.seek()
	case fenceFilling, fenceBasing, fenceEnding:
		if err := k.fill(); err != nil {
			k.fail(err)
			return
		}
		k.proceed()
	}
}

// begin has a work of the fence done, unless one is under way, or one has failed just now.
func (k *fence) begin(make func() *Work) {
	if k.working || k.group.host.ticks < k.retryAt {
		return
	}
	if w := make(); w != nil {
		k.working = true
		k.group.host.Audits.chores = append(k.group.host.Audits.chores, w)
	}
}

// ended takes note that a work has ended.
func (k *fence) ended(err error) {
	k.working = false
	if err != nil {
		k.retryAt = k.group.host.ticks + fenceRetryTicks
		k.group.host.cfg.Log.Warn("fenced replica", "group", k.group.replica.Group, "stage", k.stage, "err", err)
	}
}

// keepAside writes the fence down, and what the replica holds.
func (k *fence) keepAside() *Work {
	note, state := k.note, k.aside
	var kept string
	var lost error // why it could not be kept
	return &Work{
		Replica: k.group.replica,
		do: func(store *logstore.Store) error {
			if !bug("fence not durable") {
				if err := store.WriteFence(note); err != nil {
					return err
				}
			}
			kept, lost = store.KeepAside(note.Replica, note.At, func(w io.Writer) error { _, err := state.WriteTo(w); return err })
			return nil
		},
		done: func(err error) {
			if k.ended(err); k.over {
				k.release()
			}
			if err != nil || k.over {
				return
			}
			k.release()
			if k.kept = kept; lost != nil {
				k.group.host.cfg.Log.Warn("wrong state not kept", "group", note.Replica.Group, "err", lost)
			} else {
				k.group.host.cfg.Log.Info("wrong state kept", "group", note.Replica.Group, "file", kept)
			}
			if k.stage == fenceNoting {
				k.stage = fenceSeeking
			}
		},
	}
}

// proceed goes to the next stage, once the state is filled.
func (k *fence) proceed() {
	g := k.group
	if k.at.Index != g.applied.Index {
		return
	}
	switch k.stage {
	case fenceFilling:
		if k.base == nil {
			k.stage = fenceEnding
			return
		}
		k.stage = fenceBasing
		g.snap.adopt(*k.base)
	case fenceBasing:
		if begins, _, _, ok := g.host.cfg.Store.Bounds(g.replica); ok && begins.Index >= k.base.Base.ID.Index {
			k.stage = fenceEnding
		}
	case fenceEnding:
		if k.note.Rebuilt {
			k.lift()
			return
		}
		k.begin(k.endNote)
	}
}

// endNote writes down that the state is right again.
func (k *fence) endNote() *Work {
	note := k.note
	note.Rebuilt = true
	return &Work{
		Replica: note.Replica,
		do:      func(store *logstore.Store) error { return store.WriteFence(note) },
		done: func(err error) {
			if k.ended(err); err == nil {
				k.note = note
			}
		},
	}
}

// lift ends the fence: the replica serves again.
func (k *fence) lift() {
	g := k.group
	k.release()
	g.fence = nil
	g.host.Audits.fences--
	g.host.Audits.counts.Rebuilt++
	g.machine, g.appliedTime = k.machine, k.time
	mute(g.machine, false)
	g.machine.Restored()
	if m, ok := g.machine.(Led); ok {
		m.Led(g.lead)
	}
	g.follow()
	if g.role == raft.RoleLeader {
		// It was right again before another one came to lead.
		g.clock.machine, _ = g.machine.(Expirer)
		g.clock.ask()
		g.wants.ask()
	}
	g.audit.rows, g.audit.at = nil, raft.LogID{}
	g.core.Unfence()
	g.host.cfg.Log.Info("replica is right again", "group", g.replica.Group, "replica", g.replica.ID, "applied", g.applied)
	k.tellIncident()
	g.touch()
}

// installed takes note that the core has put the state of its leader in the place of what
// was here, as for any replica that lacks what the others have compacted.
func (k *fence) installed(r *ReceivedSnapshot) {
	s := r.Snapshot
	mute(r.Machine, true)
	k.machine, k.at, k.time, k.base = r.Machine, s.Base.ID, s.Base.Time, &s
	if k.stage != fenceNoting {
		k.stage = fenceBasing
	}
}

// Fenced is what is wrong with the state of a replica that is fenced now.
type Fenced struct {
	At    raft.LogID // where it was found
	Found logstore.FenceFound
	Parts []uint32 // that are wrong, as far as they are named
	What  string
	Stage string // how far it has come, in a phrase
	Kept  string // the file with what it held; empty: there is none, or an earlier process wrote it
}

// Incident is a replica on this host whose state was found to be wrong.
type Incident struct {
	Replica logstore.Replica
	At      raft.LogID
	Found   logstore.FenceFound
	Parts   []uint32
	What    string
	Rebuilt bool // it is right again
}

func incidentOf(f *logstore.Fence) Incident {
	return Incident{Replica: f.Replica, At: f.At, Found: f.Found, Parts: f.Parts, What: f.What, Rebuilt: f.Rebuilt}
}

func (k *fence) tellIncident() {
	if tell := k.group.host.cfg.Incident; tell != nil {
		tell(incidentOf(&k.note))
	}
}

// endFence ends what is done about the state of a replica that stops or goes.
func (r *auditing) endFence() {
	k := r.group.fence
	if k == nil || k.over {
		return
	}
	k.over = true
	k.group.host.Audits.fences--
	if !k.working { // else what is aside may be on its way to the disk
		k.release()
	}
}

// release gives up what is to be kept aside.
func (k *fence) release() {
	if k.aside != nil {
		k.aside.Release()
		k.aside = nil
	}
}

// refuse refuses a read: another replica answers it.
func (k *fence) refuse(r *Read) {
	g := k.group
	switch {
	case r.Local:
		g.host.answers.refuse(r.Reply, wire.Damaged(g.name(), "the state of the replica on this node is wrong, and it "+k.stage.String(), "ask another node; `muster status` shows what is done about it"))
	case g.role != raft.RoleLeader:
		g.passOn(r.Passage, r.Deadline, r.Reply)
	default:
		g.host.answers.refuse(r.Reply, g.notLeader())
	}
}

func (k *fence) view() *Fenced {
	return &Fenced{At: k.note.At, Found: k.note.Found, Parts: k.note.Parts, What: k.note.What, Stage: k.stage.String(), Kept: k.kept}
}

// fenced returns the note of a replica that is fenced.
func (a *Audits) fenced(r logstore.Replica) (logstore.Fence, bool) {
	for _, f := range a.host.cfg.Store.Fences() {
		if f.Replica == r && !f.Rebuilt {
			return f, true
		}
	}
	return logstore.Fence{}, false
}
