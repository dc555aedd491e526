package repl

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"muster/logstore"
	"muster/raft"
	"muster/repl/wire"
)

// group is one replica in its host. The life of a command begins in
// proposal.go and goes on here, from top to bottom: work, handle, gather,
// synced, apply. That of a read is in read.go.
type group struct {
	host    *Host
	replica logstore.Replica
	core    *raft.Group
	machine StateMachine
	watched Observed        // the machine, if it is that; else nil
	members raft.Membership // in force, as of the last Ready

	// callers are replicas that this one's log does not name, newest last, and
	// where their messages came from: they are answered there.
	callers []raft.Member

	dirty   bool
	resting resting
	removed bool           // it is no member any more
	gone    bool           // and the host has forgotten it
	base    *logstore.Base // goes to disk with the first write of a new replica
	applied raft.LogID
	// appliedTime is the group time of the entry at applied, appliedMembers
	// the membership in force there.
	appliedTime    raft.GroupTime
	appliedMembers raft.Membership
	snap           snapshots
	stopped        error
	audit          auditing
	fence          *fence     // what is done about a state that is wrong; nil: it is right, as far as is known
	hold           *hold      // what it waits for before it runs; nil: nothing
	floor          raft.LogID // what its log must reach before it votes; see hold.go
	told           []told     // of which the floor is the newest

	commands commandQueue
	reads    readQueue
	deferred deferred
	wants    wants
	unsynced int // Readies handed out and not yet synced

	state      raft.HardState // as of the last Ready
	kept       raft.HardState // as of the last Ready that was written
	role       raft.Role
	lead       raft.ReplicaID
	preferred  raft.ReplicaID // who should lead; 0: nobody in particular
	handOvers  int            // how often [Host.HandOver] began to; the node is about to stop
	handOverAt uint64         // the tick before which no hand-over to a disk with room is tried again
	hinted     bool           // [Hints] has it
	eager      int            // ticks for which this replica asks for votes while nobody leads
	leading    atomic.Uint64  // the term in which this replica leads, or 0; read by transports
	led        uint64         // the same once an entry of the term is applied, as the owner was told last
	clock      clock
	election   election
}

// makeGroup returns a replica with an empty state, and without a core yet.
func makeGroup(h *Host, r logstore.Replica) *group {
	g := &group{host: h, replica: r, machine: h.cfg.Machine(r)}
	g.commands.group, g.reads.group, g.wants.group, g.snap.group, g.resting.group, g.clock.group = g, g, g, g, g, g
	g.deferred.group, g.election.group, g.audit.group = g, g, g
	g.follow()
	g.election.begin(missStart, h.now)
	return g
}

// follow finds out what the machine can do, beside applying entries.
func (g *group) follow() {
	g.deferred.follow(g.machine)
	g.commands.limiter, _ = g.machine.(Limiter)
	g.watched, _ = g.machine.(Observed)
	g.audit.machine, _ = g.machine.(Audited)
	g.audit.noticer, _ = g.machine.(Noticer)
}

func newGroup(h *Host, r logstore.Replica, restored raft.Restored) (*group, error) {
	g := makeGroup(h, r)
	core, err := raft.New(h.cfg.core(r), restored)
	if err != nil {
		return nil, err
	}
	g.appliedMembers = restored.Membership
	g.drive(core)
	return g, nil
}

// drive begins with a core. What the host keeps beside it of what only it decides
// is what the core has, from here on and with each Ready.
func (g *group) drive(core *raft.Group) {
	now := core.Status()
	g.core = core
	g.members, g.role, g.lead = now.Membership, now.Role, now.Leader
	g.state = raft.HardState{Term: now.Term, Vote: now.Vote, Commit: now.Commit}
}

// core returns what the core of a replica is made from.
func (c *HostConfig) core(r logstore.Replica) raft.Config {
	return raft.Config{
		Self: r.ID,
		Seed: raft.EntrySeed(r.Group, r.Incarnation),
		// Two replicas must not draw the same time-outs, nor one in two
		// groups: their elections would collide for ever.
		Chance:         c.Chance ^ uint64(r.Group)<<32 ^ uint64(r.ID)*0x9e3779b97f4a7c15,
		ElectionTicks:  c.ElectionTicks,
		HeartbeatTicks: c.HeartbeatTicks,
		QuietTicks:     c.QuietTicks,
	}
}

// name is what errors call the group.
func (g *group) name() string { return fmt.Sprintf("group %d", g.replica.Group) }

// touch has the group worked on in this turn.
func (g *group) touch() {
	if !g.dirty {
		g.dirty = true
		g.host.dirty = append(g.host.dirty, g)
	}
}

// memberNode returns the node that a member of the group lives on.
func (g *group) memberNode(id raft.ReplicaID) (raft.NodeID, bool) {
	m, ok := g.members.Member(id)
	return m.Node, ok
}

// node returns the node of a member, or of a caller.
func (g *group) node(id raft.ReplicaID) (raft.NodeID, bool) {
	if n, ok := g.memberNode(id); ok {
		return n, true
	}
	for i := range g.callers {
		if g.callers[i].Replica == id {
			return g.callers[i].Node, true
		}
	}
	return 0, false
}

// elsewhere reports whether a replica is known to live on another node than one.
func (g *group) elsewhere(id raft.ReplicaID, n raft.NodeID) bool {
	node, ok := g.memberNode(id)
	return ok && node != n
}

// callersMax bounds the callers that are remembered. A group has one leader, and
// few that would be.
const callersMax = 4

// meet remembers where a replica lives that the log does not name yet. A replica
// just made knows of nobody, and must answer its leader all the same.
func (g *group) meet(id raft.ReplicaID, n raft.NodeID) {
	if was, ok := g.node(id); ok && was == n {
		return
	}
	if _, ok := g.memberNode(id); ok {
		return
	}
	g.callers = slices.DeleteFunc(g.callers, func(m raft.Member) bool { return m.Replica == id })
	if len(g.callers) == callersMax {
		g.callers = slices.Delete(g.callers, 0, 1)
	}
	g.callers = append(g.callers, raft.Member{Replica: id, Node: n})
}

// eagerTicks is how long a favoured replica asks for votes: the other replicas
// of a new group, or their nodes, may be a little later than it is. After two
// election time-outs all are equal.
const eagerTicks = 2 * raft.ElectionTicksDefault

// prefer says who should lead. If that is this replica, and nobody leads, it
// asks for votes at once.
func (g *group) prefer(id raft.ReplicaID) {
	if g.preferred == id {
		return
	}
	g.preferred = id
	g.applyPreference()
	if id == g.replica.ID && g.lead == 0 {
		g.eager = eagerTicks
		if g.hold == nil {
			g.core.Campaign()
		}
	}
	g.touch()
}

// livesOn reports whether a member of the group lives on a node.
func (g *group) livesOn(n raft.NodeID) bool {
	for m := range g.members.All() {
		if m.Node == n {
			return true
		}
	}
	return false
}

func (g *group) tick() {
	if g.stopped != nil || g.hold != nil {
		return
	}
	if len(g.told) > 0 {
		g.forgo()
	}
	g.core.Tick()
	if g.eager > 0 {
		g.eager--
		if g.lead != 0 {
			g.eager = 0
		} else if g.eager%g.host.cfg.HeartbeatTicks == 0 && g.role != raft.RoleCandidate {
			g.core.Campaign()
		}
	}
	g.touch()
}

func (g *group) step(from raft.NodeID, m raft.Message) {
	switch {
	case m.Type == raft.MsgTimeoutNow:
		g.election.hint(missAsked)
	case m.Type == raft.MsgVoteAnswer && !m.Reject && !g.core.LeadsIn(m.Term):
		g.election.voted(from)
	}
	if err := g.core.Step(m); err != nil {
		switch {
		case errors.Is(err, raft.ErrStopped):
			g.stop(err)
			return
		case errors.Is(err, raft.ErrNotMember):
			g.host.refused.message(refusedNotMember, from, g.replica.Group, m.Type, err)
		case errors.Is(err, raft.ErrTerm):
			g.host.refused.message(refusedFar, from, g.replica.Group, m.Type, err)
		default:
			g.host.refused.message(refusedBad, from, g.replica.Group, m.Type, err)
		}
	} else {
		g.meet(m.From, from)
	}
	g.touch()
}

// stop ends the replica's part in the group: something is wrong that going on
// would make worse.
func (g *group) stop(err error) {
	g.stopped = err
	g.resting.set(true) // it gets no ticks any more
	g.endHold()
	g.snap.endStreams()
	unwatch(g.watched)
	g.audit.endFence()
	g.tellLed()
	g.host.cfg.Log.Error("group stops", "group", g.replica.Group, "replica", g.replica.ID, "applied", g.applied, "err", err)
	g.abandon()
}

// unwatch tells those who look at the machine that nothing comes any more.
func unwatch(machine Observed) {
	if machine != nil {
		machine.Gone()
	}
}

// work does all that the group's events call for.
func (g *group) work() {
	if g.gone || g.stopped != nil && !g.removed {
		return
	}
	if g.election.open {
		g.election.turn()
	}
	if !g.removed {
		g.wants.propose()
		g.commands.offer()
		g.reads.offer()
	}
	for g.stopped == nil && !g.removed && g.core.HasReady() {
		g.handle(g.core.Ready())
		g.wants.propose()
	}
	g.snap.settleArrived()
	g.resting.note()
	g.tellLed()
	if g.election.open {
		g.election.settle()
	}
	if g.removed {
		g.gone = true
		g.host.placing.remove(g)
	}
}

// ledTerm returns the term in which a group is led here, with an entry of it applied; 0: it is not led here.
func ledTerm(g *group) uint64 {
	if g.role == raft.RoleLeader && g.applied.Term == g.state.Term && g.stopped == nil && !g.removed && g.fence == nil {
		return g.state.Term
	}
	return 0
}

// tellLed tells the owner when the lead of the group comes here, or goes.
func (g *group) tellLed() {
	if term := ledTerm(g); term != g.led && g.host.cfg.Led != nil {
		g.led = term
		g.host.cfg.Led(g.replica.Group, term)
	}
}

// handle does what a Ready says, in the order that it asks for.
func (g *group) handle(rd raft.Ready) {
	before := g.state
	g.state = rd.State
	if g.election.open || rd.Role != g.role || rd.Lead != g.lead {
		g.election.changed(&rd, before)
	}
	if rd.Role != g.role || rd.Lead != g.lead {
		g.roleChanged(rd)
	}
	base := g.base
	if rd.Install != nil {
		base = g.snap.install(rd.Install)
	}
	g.followMembers(rd)
	for i := range rd.Messages {
		g.host.beats.send(g, rd.Messages[i])
	}
	g.gather(rd, base)
	if err := g.applyAll(rd.Committed); err != nil {
		g.stop(err)
		return
	}
	if n := len(rd.Committed); n > 0 {
		g.core.Applied(rd.Committed[n-1].ID.Index)
		if g.watched != nil {
			if wants := g.watched.Ran(); wants {
				g.wants.ask()
			}
		}
		g.clock.ask()
		g.wants.applied(g.applied.Index)
		g.snap.adoptLater()
	}
	g.snap.send(rd.Snapshots)
	g.reads.confirm(rd.Reads)
	g.reads.lost(rd.ReadsLost)
	g.reads.runParked()
}

// gather puts what the Ready wants written into the batch, after where the log
// begins, if that is new. A Ready without
// anything to write is as good as synced, once those before it are.
func (g *group) gather(rd raft.Ready, base *logstore.Base) {
	b := g.host.gathering
	if bug("acknowledgement before sync") {
		g.sendAll(rd.AfterSync)
		rd.AfterSync = nil
	}
	write := len(rd.Entries) > 0 || rd.MustSync
	if !write && g.unsynced == 0 {
		g.core.Synced(rd.Number)
		g.sendAll(rd.AfterSync)
		return
	}
	if write {
		w := logstore.Write{Replica: g.replica, Base: base, Commit: rd.State.Commit, Entries: rd.Entries}
		w.State = rd.State
		w.HasState = rd.State.Term != g.kept.Term || rd.State.Vote != g.kept.Vote
		if bug("vote not persisted") {
			w.State.Vote = 0
		}
		if bug("term not persisted") && len(rd.Entries) == 0 {
			w.HasState = false
		} else {
			g.kept = rd.State
		}
		g.base = nil
		b.Writes = append(b.Writes, w)
	}
	g.unsynced++
	b.readies = append(b.readies, pendingReady{group: g, number: rd.Number, afterSync: rd.AfterSync, began: g.host.now, writes: g.commands.fresh})
	g.commands.fresh = 0
}

// followMembers takes over the membership that is in force, where that is
// another one. Only the core can tell: what was truncated may stand in a part of
// the log that this process never wrote.
func (g *group) followMembers(rd raft.Ready) {
	if rd.Membership == nil || bug("rolled-back membership kept") && !slices.ContainsFunc(rd.Entries, func(e raft.Entry) bool { return e.Kind == raft.EntryMembership }) {
		return
	}
	g.members = *rd.Membership
	g.snap.endStrayStreams()
}

// removedBy reports whether this replica is out once m is committed: it was allotted
// before m, and m does not name it. A log that catches up has memberships of a
// time before the replica, and ones that are in force and may be truncated;
// neither removes it.
func (g *group) removedBy(m *raft.Membership) bool {
	_, ok := m.Member(g.replica.ID)
	return !ok && g.replica.ID < m.Next
}

// synced is told that a Ready is on disk: now its promises may leave.
func (g *group) synced(number uint64, afterSync []raft.Message) {
	g.unsynced--
	if g.stopped != nil || g.gone {
		return
	}
	if g.election.open {
		g.election.synced(number)
	}
	g.core.Synced(number)
	g.sendAll(afterSync)
	g.touch()
}

func (g *group) sendAll(messages []raft.Message) {
	for i := range messages {
		g.host.beats.send(g, messages[i])
	}
}

// roleChanged notes who leads. One who led answers those who wait: their
// commands may be committed by another leader, or not.
func (g *group) roleChanged(rd raft.Ready) {
	was := g.role
	g.role = rd.Role
	if g.role == raft.RoleLeader {
		g.leading.Store(rd.State.Term)
	} else {
		g.leading.Store(0)
	}
	if rd.Lead != g.lead {
		g.lead = rd.Lead
		if m, ok := g.machine.(Led); ok {
			m.Led(g.lead)
		}
		node, _ := g.node(g.lead)
		g.host.Forwards.leads(g.replica.Group, node)
		if g.lead != 0 {
			line := []any{"group", g.replica.Group, "leader", node, "term", rd.State.Term, "commit", rd.State.Commit}
			if g.role == raft.RoleFollower {
				line = append(line, g.election.follows()...)
			}
			g.host.cfg.Log.Info("group has leader", line...)
		}
	}
	if was == raft.RoleLeader && g.role != raft.RoleLeader {
		g.host.cfg.Log.Info("group lost leadership", "group", g.replica.Group, "term", rd.State.Term, "commit", rd.State.Commit)
		g.abandon()
		g.wants.leadership(false)
		g.audit.leadership(false)
	}
	if was != raft.RoleLeader && g.role == raft.RoleLeader {
		if g.fence != nil {
			g.host.cfg.Log.Info("fenced replica bears its log", "group", g.replica.Group, "term", rd.State.Term)
		}
		g.clock.begin()
		g.wants.leadership(true)
		g.audit.leadership(true)
	}
}

// applyAll applies committed entries, and lets the machine look ahead.
func (g *group) applyAll(entries []raft.Entry) error {
	waited := len(entries) > 0 && g.commands.waiting.first() != nil
	if waited {
		g.host.Stages.applies()
	}
	machine, ok := g.machine.(Expecter)
	for i, e := range entries {
		if ok && g.fence == nil && i%machine.ExpectMax() == 0 {
			machine.Expect(entries[i:min(len(entries), i+machine.ExpectMax())])
		}
		if err := g.apply(e); err != nil {
			return fmt.Errorf("apply %s: %w", raft.FormatLogID(g.replica.Group, e.ID), err)
		}
	}
	if waited {
		g.host.Stages.applied()
	}
	return nil
}

// apply lets the machine apply one committed entry, and answers who waits.
func (g *group) apply(e raft.Entry) error {
	if e.ID.Index != g.applied.Index+1 {
		panic(fmt.Sprintf("group %d: entry %s follows %s in what is applied", g.replica.Group, e.ID, g.applied))
	}
	waiter := g.commands.waiting.first()
	waits := waiter != nil && waiter.index == e.ID.Index
	switch {
	case !g.fence.serves():
		// Its state is wrong. Another one gets the entry from the log, later.
	case e.Kind == raft.EntryNormal:
		// What is deferred is not answered now: this entry comes to nothing.
		answer := waits && !(g.deferred.some() && g.deferred.entry(e, waiter))
		var out []byte // without an answer nothing of the host's is used: it may still be made
		if answer {
			out = g.host.answers.scratch[:0]
		}
		t, body, err := g.machine.Apply(e, answer, out)
		if err != nil {
			return err
		}
		if answer {
			g.host.answers.scratch = body[:0]
			g.host.answers.add(waiter.reply, t, body)
			g.host.Stages.write(waiter)
		}
		g.audit.changed = true
	default:
		if err := g.machine.Skip(e); err != nil {
			return err
		}
	}
	if e.Kind == raft.EntryTime {
		g.clock.asked = false
	}
	if e.Kind == raft.EntryMembership {
		m, err := raft.ReadMembership(e.Payload())
		if err != nil {
			return err
		}
		g.removed = g.removedBy(&m)
		g.appliedMembers = m
	}
	if waits {
		g.commands.waiting.drop()
	}
	g.applied, g.appliedTime = e.ID, e.Time
	if e.Kind == raft.EntryAudit {
		g.audit.applied(e.ID)
	}
	g.snap.bytes += int64(len(e.Raw))
	g.snap.movedAt = g.host.ticks
	return nil
}

// passOn has a request that only the leader takes passed on to the node that leads, where its
// client asks for it and it is known who does; else it refuses it.
func (g *group) passOn(p *Passage, deadline time.Duration, r Reply) {
	if p != nil {
		if to, ok := g.memberNode(g.lead); ok && to != g.host.cfg.Self {
			g.host.Forwards.pass(g.replica.Group, to, p, deadline, r)
			return
		}
	}
	g.host.answers.refuse(r, g.notLeader())
}

func (g *group) notLeader() *wire.Error {
	if g.stopped != nil {
		return g.damaged()
	}
	node, _ := g.node(g.lead)
	addr := ""
	if g.fence != nil && node == g.host.cfg.Self {
		node = 0 // another one is about to lead
	}
	if node != 0 {
		addr = g.host.cfg.Addr(node)
	}
	return wire.NotLeader(g.replica.Group, node, addr)
}

func (g *group) damaged() *wire.Error {
	return wire.Damaged(g.name(), g.stopped.Error(), "keep the data directory; `muster status` shows the group")
}
