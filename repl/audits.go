package repl

import (
	"time"

	"muster/logstore"
	"muster/raft"
	"muster/repl/audit"
	"muster/repl/wire"
)

// Replicas that differ
//
// All replicas of a group apply the same entries, so all must hold the same. What makes
// one hold something else is a bit that flips in memory, or a mistake in this program:
// an entry applied twice, or by an older rule. The log shows neither.
//
// Three things find it. A walk recomputes, a little with each tick, what a replica holds
// from its bytes: it needs nobody else, and finds what no longer is as it was written. A
// machine may notice the same by itself as it applies an entry ([Noticer]), which is handled
// like the find of a walk. A comparison finds what was written
// wrongly: at an audit entry each replica notes the digests of its state, as of that
// entry, and tells the leader, which decides who is wrong ([muster/repl/audit]). Such an
// entry is written now and then in a group that somebody writes to, and in another one
// only if somebody wants to know: a person, a leader whose snapshot waits for it, or a
// replica that is fenced.
//
// A replica whose state is wrong is fenced and gets another state; see fence.go.

// Audited is a [StateMachine] whose replicas are compared.
type Audited interface {
	// Digests appends the digest of each part of the state as it is now, between two
	// entries, in the order of the parts. Replicas that have applied the same have
	// the same.
	Digests(out []wire.AuditRow) []wire.AuditRow
	// Walk begins a walk through the state.
	Walk() Walk
}

// Noticer is an [Audited] machine that may notice by itself, as it applies an entry, that its
// state is not as it was written.
type Noticer interface {
	// Faults returns what it has noticed. It is called with each tick, and must cost next to
	// nothing.
	Faults() []WalkFault
}

// Walk is a walk through the state of a machine. Its goroutine is the one that applies,
// and takes steps between entries.
type Walk interface {
	// Step looks at about so many bytes more, and reports whether that was the end.
	Step(bytes int) (done bool)
	// Faults returns what was found so far.
	Faults() []WalkFault
	// End gives the walk up.
	End()
}

// WalkFault is a part of a state that is not as it was written.
type WalkFault struct {
	Part uint32
	What string
}

// AuditPolicy says how a host looks for replicas that differ.
type AuditPolicy struct {
	// Every is how far apart the audit entries of a group are that is written to; 0:
	// there are none.
	Every time.Duration
	// Walk is in which time all states are walked through; 0: they are not.
	Walk time.Duration
	// Understood: all members of the cluster know audit entries. As long as some do
	// not, none is written, whoever asks for it.
	Understood bool
}

const (
	// auditPatience is how long a leader waits for the reports of a round. A replica
	// that is behind by more than that is compared in a later one.
	auditPatience = 5 * time.Second
	// checkPatience takes its place where somebody waits for what is found.
	checkPatience = 1500 * time.Millisecond
	// replayPatience is how long it waits for logs that are replayed.
	replayPatience = time.Minute
	// disputePatience takes its place once reports differ: what is served may be wrong, and a
	// snapshot written meanwhile may take the entries with it that are to be replayed.
	disputePatience = 1 * time.Second
	// replayRetriesMax bounds the rounds in a row that are given up since a log begins later
	// than their entry.
	replayRetriesMax = 3
	// sickPace is how far apart audit entries are while a replica of the group is
	// known to be wrong: with each of them it learns whose state it can have.
	sickPace = 2 * time.Second
	// checksMax bounds those that wait for a round of one group.
	checksMax = 64
	// earlyMax bounds the reports that come before the leader has applied the entry.
	earlyMax = 16
	// proofTicks is how long a snapshot may wait until it is known that the state in it is
	// right, 3 s: with a majority it is known within milliseconds.
	proofTicks = 60
	// walkStepMin and walkStepMax bound a step of a walk, in bytes: it takes 0.2 ms to
	// 1 ms, during which the host does nothing else.
	walkStepMin = 32 << 10
	walkStepMax = 192 << 10
	// walkGroupBytes is what a walk through an empty state counts.
	walkGroupBytes = 160 << 10
)

// AuditCounts count what the audit of a host has done since its start.
type AuditCounts struct {
	Entries  uint64 // audit entries that were proposed here
	Rounds   uint64 // comparisons that ended here
	Differed uint64 // replicas that such a round has found to differ
	Ties     uint64 // rounds without a majority
	Walks    uint64 // walks that came to their end
	Faults   uint64 // replicas here in which a walk or an entry has found something
	Fenced   uint64 // replicas here
	Rebuilt  uint64 // replicas here
}

// Counts returns the counts.
func (a *Audits) Counts() AuditCounts { return a.counts }

// Audits is what a host does to find replicas that differ.
type Audits struct {
	host    *Host
	policy  AuditPolicy
	counts  AuditCounts
	at      time.Duration // of the tick before
	budget  float64       // bytes that may be walked through now
	walking raft.GroupID  // the group whose walk is at hand, or whose turn is next
	walk    Walk          // nil: none is under way
	of      Audited       // whose walk it is
	fences  int           // of replicas here
	chores  []*Work       // that wait: see fence.go and rebuild.go
	checks  []*check      // that wait
}

// auditing is the audit of one replica.
type auditing struct {
	group   *group
	machine Audited       // nil: it can't be compared
	noticer Noticer       // the machine, if it is that; else nil
	changed bool          // a command was applied since the last audit entry
	sick    bool          // the last round has met a replica that is wrong
	wanted  bool          // an entry is wanted now
	last    time.Duration // on the host's clock: when this leader wrote an entry, or as if it had
	asked   uint64        // the index of the audit entry that it has proposed; 0: all are applied
	at      raft.LogID    // the newest audit entry
	rows    []wire.AuditRow
	agreed  raft.LogID   // the newest audit entry as of which the state here is known to be right
	round   *audit.Round // under way at this leader, or nil
	until   time.Duration
	again   time.Duration // when those are told again who have not replayed their logs yet
	acts    bool          // what differs is fenced
	retries int           // rounds in a row that were given up since a log could not be replayed
	early   []*wire.AuditReport
	checks  []awaited
	replay  replay
}

// tick does what is due.
func (a *Audits) tick() {
	h := a.host
	if h.cfg.Audits != nil {
		a.policy = h.cfg.Audits()
	}
	for _, g := range h.order {
		if g.audit.round != nil || g.role == raft.RoleLeader {
			g.audit.tick(&a.policy)
		}
		if g.fence != nil {
			g.fence.tick()
		} else if g.audit.noticer != nil && g.stopped == nil {
			if faults := g.audit.noticer.Faults(); len(faults) > 0 {
				a.counts.Faults++
				g.audit.walkFound(faults)
			}
		}
	}
	a.walkSome()
	if len(a.checks) > 0 {
		a.endChecks()
	}
	a.at = h.now
}

// tick ends a round that has waited long enough, and writes an entry that is due.
func (r *auditing) tick(p *AuditPolicy) {
	now := r.group.host.now
	if r.round != nil && (now >= r.until || r.outwaited()) {
		r.settle(true)
	}
	if r.round != nil && r.round.Replays() && now >= r.again {
		r.askReplays()
	}
	g := r.group
	if g.role != raft.RoleLeader || g.fence != nil || g.stopped != nil || !p.Understood || r.asked != 0 || r.round != nil {
		return
	}
	due := len(r.checks) > 0 || r.wanted
	switch {
	case r.sick && now >= r.last+sickPace:
		due = true
	case r.changed && p.Every > 0 && now >= r.last+p.Every:
		due = true
	}
	if due && r.propose() {
		r.last, r.wanted = now, false
	}
}

// outwaited reports whether a new round is wanted more than what the one under way still
// waits for: replicas that are silent. Those that have reported so far agree.
func (r *auditing) outwaited() bool {
	if r.round.Disputed() || r.round.Replays() {
		return false
	}
	at, waits := r.round.At().Index, r.wanted
	for _, w := range r.checks {
		if w.after < at {
			return false // somebody waits for this one
		}
		waits = true
	}
	return waits
}

// propose writes an audit entry, if there is room for it. On a full disk there are none: the
// room that is left is for what the group can't do without.
func (r *auditing) propose() bool {
	g := r.group
	const size = raft.EntryHeaderSize + entryRoom
	f := &g.host.full
	if f.own != wire.FullNot || g.short() || !f.mayOffer(size) {
		return false
	}
	now := g.clock.now()
	id, err := g.core.Propose(now, []raft.Entry{raft.NewEntry(raft.EntryAudit, nil)})
	if err != nil {
		return false // it hands over, or too much waits already
	}
	f.accept(size)
	g.clock.told = now
	r.asked = id.Index
	g.host.Audits.counts.Entries++
	g.touch()
	return true
}

// leadership notes that one began or ended.
func (r *auditing) leadership(begins bool) {
	r.round, r.asked, r.early = nil, 0, nil
	r.end("its leader changed meanwhile", raft.LogID{}, nil)
	if !begins {
		return
	}
	// The groups of a node take turns, also after it began to lead them all at once.
	every := r.group.host.Audits.policy.Every
	const parts = 1024
	r.last = r.group.host.now - every*time.Duration(uint64(r.group.replica.Group)*0x9e3779b97f4a7c15>>54)/parts
	r.sick, r.wanted = false, false
	r.changed = true // a new leader does not know which replicas are fenced
}

// applied notes the state at an audit entry, and tells the leader.
func (r *auditing) applied(id raft.LogID) {
	g := r.group
	if g.core == nil {
		return // it is restored: whoever compared then has done so
	}
	ours := id.Term == g.state.Term // the others report one of an earlier leader to that one
	if ours {
		r.changed = false
	}
	report := &wire.AuditReport{Group: g.replica.Group, Incarnation: g.replica.Incarnation, From: g.replica.ID, At: id}
	r.at, r.rows = id, nil
	switch {
	case g.fence != nil:
		report.Fenced = true
	case r.machine == nil:
		return
	default:
		// Each time a list of its own: the round and the transport keep it.
		r.rows = r.machine.Digests(make([]wire.AuditRow, 0, cap(r.rows)))
		report.Rows = r.rows
	}
	if bug("audit at another index") && g.replica.ID == 2 {
		report.Rows, r.rows = nil, nil
	}
	if g.role == raft.RoleLeader {
		if !ours {
			r.wanted = r.wanted || g.host.Audits.policy.Every > 0
			return
		}
		r.begin(id)
		r.take(report)
		return
	}
	r.report(report)
}

// report sends a report to the leader, if there is one.
func (r *auditing) report(report *wire.AuditReport) {
	g := r.group
	if to, ok := g.memberNode(g.lead); ok && to != g.host.cfg.Self {
		report.To = g.lead
		g.host.cfg.Transport.SendAudit(to, wire.TypeAuditReport, report)
	}
}

// begin begins a round at the leader.
func (r *auditing) begin(id raft.LogID) {
	if r.round != nil && !r.round.Replays() { // else this one tells more, and sooner
		r.settle(true)
	}
	if id.Index >= r.asked {
		r.asked = 0
	}
	r.round = audit.NewRound(id, r.group.appliedMembers)
	r.acts = r.group.host.Audits.policy.Every > 0
	patience := auditPatience
	for _, w := range r.checks {
		r.acts = r.acts || w.check.acts
		patience = min(patience, checkPatience, w.check.until-r.group.host.now)
	}
	r.until = r.group.host.now + patience
	early := r.early
	r.early = nil
	for _, report := range early {
		r.take(report)
	}
}

// take takes a report to the round under way.
func (r *auditing) take(report *wire.AuditReport) {
	if r.round == nil || !r.round.Take(report) {
		return
	}
	if g := r.group; g.fence == nil && r.at == r.round.At() && r.round.Proven(g.replica.ID) {
		r.agreed = r.at // a silent replica may be waiting for a snapshot from here
	}
	if r.round.Disputed() && !r.round.Replays() {
		r.until = min(r.until, r.group.host.now+disputePatience)
	}
	r.settle(false)
}

// ReceiveReport hands in what a replica on another node holds at an audit entry.
func (a *Audits) ReceiveReport(from raft.NodeID, report *wire.AuditReport) {
	h := a.host
	h.contacts.hear(from)
	g := h.groups[report.Group]
	if g == nil || g.replica.Incarnation != report.Incarnation || g.replica.ID != report.To || g.role != raft.RoleLeader || g.stopped != nil {
		return
	}
	if node, ok := g.memberNode(report.From); !ok || node != from {
		return
	}
	if report.At.Index > g.applied.Index {
		// A follower's disk was faster than the one here.
		if len(g.audit.early) < earlyMax {
			g.audit.early = append(g.audit.early, report)
		}
		return
	}
	g.audit.take(report)
}

// settle ends the round, if it has found something out, or final is set.
func (r *auditing) settle(final bool) {
	g := r.group
	res := r.round.Result(final)
	switch {
	case res.Outcome == audit.Open:
		return
	case res.Outcome == audit.Tied && r.acts:
		g.host.Audits.counts.Ties++
		g.host.cfg.Log.Error("replicas differ without a majority, each replays its log", "group", g.replica.Group, "at", r.round.At())
		r.round.Replay()
		r.until = g.host.now + replayPatience
		r.askReplays()
		return
	}
	at := r.round.At()
	if res.Outcome == audit.Split && r.round.Failed() && r.retries < replayRetriesMax {
		// A log that begins later by now tells nothing of this entry, but of the next one.
		r.round, r.wanted = nil, true
		r.retries++
		return
	}
	r.round = nil
	g.host.Audits.counts.Rounds++
	r.sick, r.retries = false, 0
	sources := res.Sources()
	var own *audit.Finding
	for i := range res.Replicas {
		f := &res.Replicas[i]
		switch f.State {
		case audit.Agrees:
			if res.Proven {
				r.tell(f, at, wire.VerdictAgrees, nil)
			}
			continue
		case audit.Silent:
			continue
		case audit.Differs:
			g.host.Audits.counts.Differed++
			g.host.cfg.Log.Error("replica differs", "group", g.replica.Group, "replica", f.Replica, "node", f.Node, "at", at, "parts", len(f.Parts), "first", f.Parts[0])
		case audit.Undecided:
			g.host.cfg.Log.Error("replicas differ, and nobody can tell which one is right", "group", g.replica.Group, "replica", f.Replica, "node", f.Node, "at", at)
		}
		r.sick = r.sick || r.acts || f.State == audit.Fenced
		switch {
		case f.State == audit.Fenced: // it waits for word of whose state it can have
			if len(sources) > 0 {
				r.tell(f, at, wire.VerdictDiffers, sources)
			}
		case !r.acts || res.Outcome == audit.Tied:
		case f.Replica == g.replica.ID:
			own = f // last: the others are told by a leader
		case f.State == audit.Undecided:
			r.tell(f, at, wire.VerdictUndecided, nil)
		default:
			r.tell(f, at, wire.VerdictDiffers, sources)
		}
	}
	r.end("", at, &res)
	if own == nil {
		return
	}
	if own.State == audit.Undecided {
		g.audit.fenceOff(finding{found: logstore.FenceUndecided, at: at, parts: own.Parts})
	} else {
		g.audit.fenceOff(finding{found: logstore.FenceByComparison, at: at, parts: own.Parts, sources: sources})
	}
}

// askReplays asks those for a replay who have not told of theirs: at first, and again where
// the question or the answer may have been lost.
func (r *auditing) askReplays() {
	r.again = r.group.host.now + auditPatience
	at := r.round.At()
	for _, f := range r.round.Lacks() {
		r.tell(&f, at, wire.VerdictReplay, nil)
	}
}

// tell tells a replica what a round has found out about it.
func (r *auditing) tell(f *audit.Finding, at raft.LogID, kind wire.VerdictKind, sources []raft.NodeID) {
	g := r.group
	v := &wire.AuditVerdict{
		Group: g.replica.Group, Incarnation: g.replica.Incarnation, From: g.replica.ID, To: f.Replica, Term: g.state.Term,
		At: at, Kind: kind, Parts: f.Parts[:min(len(f.Parts), wire.AuditPartsMax)], Sources: sources,
	}
	if f.Replica == g.replica.ID {
		r.judged(v)
		return
	}
	g.host.cfg.Transport.SendAudit(f.Node, wire.TypeAuditVerdict, v)
}

// ReceiveVerdict hands in what the leader of a group has found out about the replica
// here.
func (a *Audits) ReceiveVerdict(from raft.NodeID, v *wire.AuditVerdict) {
	h := a.host
	h.contacts.hear(from)
	g := h.groups[v.Group]
	if g == nil || g.replica.Incarnation != v.Incarnation || g.replica.ID != v.To || g.stopped != nil {
		return
	}
	// Only who leads now: one that led once may know less.
	if node, ok := g.node(v.From); !ok || node != from || g.lead != v.From || g.state.Term != v.Term {
		return
	}
	g.audit.judged(v)
}

// judged does what follows from a verdict.
func (r *auditing) judged(v *wire.AuditVerdict) {
	g := r.group
	if g.fence != nil {
		if v.Kind == wire.VerdictDiffers {
			g.fence.told(v)
		}
		return
	}
	// It is about what this replica said, and not about what an earlier process did.
	if r.at != v.At || r.rows == nil {
		return
	}
	switch v.Kind {
	case wire.VerdictAgrees:
		r.agreed = v.At
	case wire.VerdictReplay:
		r.replayTo(v.At)
	case wire.VerdictDiffers:
		g.audit.fenceOff(finding{found: logstore.FenceByComparison, at: v.At, parts: v.Parts, sources: v.Sources})
	case wire.VerdictUndecided:
		g.audit.fenceOff(finding{found: logstore.FenceUndecided, at: v.At, parts: v.Parts})
	}
}

// walkSome walks on, by as much as the time since the last tick allows for.
func (a *Audits) walkSome() {
	h := a.host
	if a.policy.Walk == 0 {
		a.endWalk()
		return
	}
	total := int64(0)
	for _, g := range h.order {
		total += walkGroupBytes + g.snap.size + g.snap.bytes
	}
	a.budget += float64(total) * float64(h.now-a.at) / float64(a.policy.Walk)
	if a.budget < walkStepMin {
		return
	}
	step := int(min(a.budget, walkStepMax))
	a.budget = min(a.budget-float64(step), walkStepMax)
	g := a.walked()
	if g == nil {
		return
	}
	done := a.walk.Step(step)
	if faults := a.walk.Faults(); len(faults) > 0 {
		a.endWalk()
		a.counts.Faults++
		g.audit.walkFound(faults)
		return
	}
	if done {
		a.counts.Walks++
		a.endWalk()
		a.walking = g.replica.Group + 1
	}
}

// walked returns the group whose walk is at hand, which is begun if there is none. It
// returns nil if there is nothing to walk through.
func (a *Audits) walked() *group {
	if g := a.host.groups[a.walking]; a.walk != nil && g != nil && g.audit.machine == a.of && g.fence == nil && g.stopped == nil {
		return g
	}
	a.endWalk()
	var first, next *group
	for _, g := range a.host.order {
		if g.audit.machine == nil || g.fence != nil || g.stopped != nil {
			continue
		}
		if first == nil {
			first = g
		}
		if next == nil && g.replica.Group >= a.walking {
			next = g
		}
	}
	if next == nil {
		next = first
	}
	if next != nil {
		a.walking, a.of, a.walk = next.replica.Group, next.audit.machine, next.audit.machine.Walk()
	}
	return next
}

func (a *Audits) endWalk() {
	if a.walk != nil {
		a.walk.End()
	}
	a.walk, a.of = nil, nil
}

// walkFound fences the replica in which a walk, or the machine itself, has found something.
func (r *auditing) walkFound(faults []WalkFault) {
	g := r.group
	f := finding{found: logstore.FenceByWalk, at: g.applied, what: faults[0].What}
	for i := range faults {
		f.parts = append(f.parts, faults[i].Part)
	}
	g.host.cfg.Log.Error("state is not as it was written", "group", g.replica.Group, "at", g.applied, "part", faults[0].Part, "what", faults[0].What)
	r.fenceOff(f)
}
