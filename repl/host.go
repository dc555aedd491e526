package repl

import (
	"errors"
	"log/slog"
	"slices"
	"time"

	"muster/logstore"
	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap/points/block"
)

// Limits of a host. What is over one is answered with a typed error that says
// to come back.
const (
	// queueBytesMax bounds the commands of one group that wait for room in
	// its log, in bytes of payload: about a tenth of a second of a fast
	// disk, so that a refused client comes back to a queue that has moved.
	queueBytesMax = 32 << 20
	// readsMax bounds the reads of one group that wait for a confirmation or
	// for an index.
	readsMax = 1 << 16
	// parkedMax bounds those of them that only wait for an index, which may
	// be long in coming: they must not take the place of all others.
	parkedMax = readsMax / 4
	// proposeBytesMax is how much is handed to the core at once, so that
	// one that refuses for want of room refuses a part and not all.
	proposeBytesMax = 1 << 20
	// replayBytesMax is how much of the log is read at once at the start.
	replayBytesMax = 4 << 20
)

// HostConfig is what a host is made from.
type HostConfig struct {
	Self      raft.NodeID
	Store     *logstore.Store // of a node whose life has begun
	Transport Transport
	// Stalled, if not nil, reports whether this node's disk stands still. It is
	// asked in each turn.
	Stalled func() bool
	// Machine makes the empty state machine of a replica.
	Machine func(logstore.Replica) StateMachine
	// Addr is where clients and peers reach a node, or "" if unknown.
	Addr func(raft.NodeID) string
	// Unmade, if not nil, is called in a turn when another node has spoken to a replica
	// that is not here, and that is newer than what is or was here of its group: at
	// most once a second for each. The node from may know whether it is to be made.
	Unmade func(from raft.NodeID, r logstore.Replica)
	// Presence, if not nil, is called when another node has fallen silent for an
	// election timeout, and when it is heard of after that, or for the first time.
	Presence func(n raft.NodeID)
	// Audits, if not nil, says how replicas that differ are looked for. It is asked with
	// each tick.
	Audits func() AuditPolicy
	// Incident, if not nil, is called when the state of a replica here was found to be wrong,
	// and when it is right again. It must not call the host.
	Incident func(Incident)
	// Led, if not nil, is called when a replica here begins to lead its group in a term,
	// with an entry of that term applied, and, with 0 as the term, when it no longer does.
	// It and Presence are called in an event or a turn, and must not call the host.
	Led func(g raft.GroupID, term uint64)
	// Chance seeds what is random here: election timeouts.
	Chance uint64
	// ElectionTicks and HeartbeatTicks are raft's, in ticks.
	ElectionTicks, HeartbeatTicks int
	// QuietTicks is after how many ticks without anything to do a group
	// rests; 0 is never.
	QuietTicks int
	// Snapshots says when states are written down; zero fields are defaults.
	Snapshots SnapshotPolicy
	// MissingFiles, if not nil, returns how many of the block files with these sums are not on the disk here. Any goroutine
	// calls it. nil: states name none.
	MissingFiles func(r logstore.Replica, sums []block.Sum) int
	// Each calls f for 0 to n-1 and returns after all of them, some beside each
	// other if it wants: NewHost restores replicas with it. Nil: one by one.
	Each func(n int, f func(i int))
	Log  *slog.Logger
}

// Batch is what all groups of a host want on disk, in one write and one sync.
type Batch struct {
	Number uint64
	Writes []logstore.Write

	readies    []pendingReady
	bases      []based         // that it makes durable
	mends      []*mend         // that have a write in it
	introduced []*other        // whose new lives it notes
	notes      []logstore.Note // what Writes has of them
}

// pendingReady is a Ready that waits for its sync.
type pendingReady struct {
	group     *group
	number    uint64
	afterSync []raft.Message
	began     time.Duration // when the turn began that gathered it
	writes    int           // how many commands of callers it has
}

// based says that a replica's log begins after an id: what is older than the
// snapshot there can go.
type based struct {
	replica logstore.Replica
	id      raft.LogID
}

// Host is the synchronous core of a node's replication: events in, one batch
// for the log out, messages and answers through the interfaces it was given.
//
// # Duties of the owner
//
//  1. Hand in events, all from one goroutine: [Host.Receive],
//     [Host.ReceiveBeat], [Host.Propose], [Host.Read], [Host.Tick],
//     [Host.Place], [Host.Keep].
//  2. Call [Host.Turn] after some events. It does all that follows from them
//     and returns a batch, or nil.
//  3. Append the batch to the log, then call [Host.Synced] with it. Until
//     then Turn returns no other: what gathers meanwhile goes into the next.
//  4. If the append fails, stop the node. No promise has left.
//  5. After each Turn, take [Host.Work]. If there is some, have [Work.Run] do
//     it, whenever and wherever, also beside appends, then hand it back to
//     [Host.Worked]. There is one at a time. Work that ends with an error, as
//     for want of space, has changed nothing; the host tries again. If the
//     store has stopped by it, the next append says so.
//  6. A snapshot that the host sends ([Transport.SendSnapshot]) ends with one
//     [Host.SnapshotSent]. A [SnapshotSender] makes its chunks.
//  7. Chunks from other nodes are for an [Inbox], not for the host. It asks
//     the host twice: [Host.WantsSnapshot] before it takes one, and
//     [Host.TakeSnapshot] once it has it whole. Turn the host afterwards.
//  8. After a Turn, ask [Hints.Due], and hand in short ticks for as long as
//     they are due: [Hints.Tick]. An election ends without them too, but later.
type Host struct {
	cfg HostConfig
	// Forwards is what this node has passed on to others.
	Forwards Forwards
	// Audits compares the replicas of groups.
	Audits Audits
	// Replicas are those that run here.
	Replicas Replicas
	// Deferrals is what waits until a slot has arrived somewhere.
	Deferrals Deferrals
	// Clock takes what its owner learns of the clock of Turn.
	Clock HostClock
	// Hints takes the short ticks that its owner gives.
	Hints Hints
	// Stages is how long requests take.
	Stages Stages

	groups    map[raft.GroupID]*group
	order     []*group // by group id: what is done for all is done in this order
	dirty     []*group
	placing   placing
	contacts  Contacts
	mending   mending
	lives     lives
	start     uint64 // the number of the life in which this process began
	refused   refusals
	full      fullness
	fetching  fetching
	unmade    unmade
	awake     int // groups that are not quiet
	beats     heartbeats
	chores    chores
	answers   answers
	readRooms readRooms
	gathering *Batch
	spare     *Batch
	underWay  bool
	batches   uint64
	ticks     uint64
	now       time.Duration
	tickedAt  time.Duration // now, as of the last tick: nobody waits whose deadline was over then
}

// NewHost returns a host with the replicas that the store holds.
func NewHost(cfg HostConfig) (*Host, error) {
	cfg.Snapshots = cfg.Snapshots.withDefaults()
	if cfg.Each == nil {
		cfg.Each = func(n int, f func(int)) {
			for i := range n {
				f(i)
			}
		}
	}
	h := &Host{
		cfg:       cfg,
		groups:    make(map[raft.GroupID]*group),
		gathering: new(Batch),
		spare:     new(Batch),
	}
	h.contacts = Contacts{host: h, of: make(map[raft.NodeID]*contact)}
	h.placing = placing{host: h, graves: make(map[raft.GroupID]logstore.Replica)}
	h.unmade = unmade{host: h, told: make(map[logstore.Replica]time.Duration)}
	h.mending = mending{host: h, questions: questionNumbers(cfg.Chance)}
	h.full.host, h.refused.host, h.fetching.host, h.beats.host, h.chores.host, h.Deferrals.host, h.Audits.host, h.Replicas.host = h, h, h, h, h, h, h, h
	h.Forwards.init(h)
	h.Stages.init(h)
	if err := h.lives.init(h); err != nil {
		return nil, err
	}
	h.start = h.lives.life().Number
	for _, r := range cfg.Store.Tombstones() {
		h.placing.graves[r.Group] = r
	}
	for _, r := range h.mending.hurt() {
		h.mending.begin(r, nil)
	}
	if err := h.placing.openAll(cfg.Store.Replicas()); err != nil {
		return nil, err
	}
	h.full.look()
	return h, nil
}

// Receive hands in a message from another node.
func (h *Host) Receive(from raft.NodeID, e *wire.Envelope) {
	if !h.lives.admits(from, e.Group, e.Message.Type, e.Mark, e.Batch) {
		return
	}
	if g := h.placing.addressee(from, e); g != nil && (e.Message.Type != raft.MsgAppend || g.takes(&e.Message)) {
		if e.Message.Type == raft.MsgAppendAnswer {
			h.fetching.answered(from, e.Group)
		}
		g.step(from, e.Message)
	}
}

// ReceiveBeat hands in the heartbeats of another node, or the answers to ours.
func (h *Host) ReceiveBeat(from raft.NodeID, b *wire.Beat, answer bool) {
	t := raft.MsgHeartbeat
	if answer {
		t = raft.MsgHeartbeatAnswer
	}
	if !h.lives.admits(from, 0, t, b.Mark, b.Batch) {
		return
	}
	h.full.learn(from, b.Fullness)
	h.contacts.learnStall(from, b.Stalled)
	for i := range b.Messages {
		e := b.Messages[i].Envelope(t)
		if g := h.placing.addressee(from, &e); g != nil {
			g.step(from, e.Message)
		}
	}
	for i := range b.Rests {
		h.beats.vouched(from, &b.Rests[i])
	}
}

// admits reports whether messages of a node's life are taken, and notes that the
// node was heard of.
func (l *lives) admits(from raft.NodeID, g raft.GroupID, t raft.MessageType, mark, batch uint64) bool {
	if !l.host.lives.takes(from, mark, batch) {
		l.host.refused.message(refusedLife, from, g, t, nil)
		return false
	}
	l.host.contacts.hear(from)
	return true
}

// addressee finds the group that a message is for, and refuses what is for a
// replica that is not here, or not from the node that the sender lives on.
func (a *placing) addressee(from raft.NodeID, e *wire.Envelope) *group {
	h := a.host
	g := h.groups[e.Group]
	var why refusal
	switch {
	case g == nil && h.mending.of(e.Group) != nil:
		why = refusedDamaged
	case g == nil:
		why = refusedNotHere
	case e.Incarnation < g.replica.Incarnation:
		why = refusedOlder
	case e.Incarnation > g.replica.Incarnation:
		why = refusedNewer
	case g.replica.ID != e.Message.To:
		why = refusedNotUs
	case g.stopped != nil:
		why = refusedStopped
	case g.hold != nil:
		why = refusedHeld
	default:
		// Of whom this replica has not heard yet, the core decides: its log
		// may lag behind the membership.
		if !g.elsewhere(e.Message.From, from) {
			return g
		}
		why = refusedElsewhere
	}
	h.unmade.note(from, e)
	h.refused.message(why, from, e.Group, e.Message.Type, nil)
	return nil
}

// message counts a message that was not taken, and logs its kind once.
func (r *refusals) message(why refusal, from raft.NodeID, g raft.GroupID, t raft.MessageType, err error) {
	if !r.host.refused.note(why, from, g, r.host.ticks) {
		return
	}
	about := []any{"group", g, "why", why, "from", from, "type", t}
	if err != nil {
		about = append(about, "err", err)
	}
	r.host.cfg.Log.Warn("message refused", about...)
}

// late reports whether who asked does not wait any more. What is done for them then
// is taken from those who still do.
func (h *Host) late(deadline time.Duration) bool { return deadline != 0 && deadline < h.now }

// Propose hands in a command. It is answered in any case.
func (h *Host) Propose(p Proposal) {
	g := h.groups[p.Group]
	if g == nil {
		h.Forwards.passAway(p.Group, p.Passage, p.Deadline, p.Reply)
		return
	}
	g.commands.add(p)
}

// Read hands in a query. It is answered in any case.
func (h *Host) Read(r Read) {
	g := h.groups[r.Group]
	if g == nil {
		h.Forwards.passAway(r.Group, r.Passage, r.Deadline, r.Reply)
		return
	}
	g.reads.add(&r)
}

// Tick hands in that a tick has passed.
func (h *Host) Tick() {
	h.ticks++
	h.contacts.miss()
	for _, m := range slices.Clone(h.mending.list) {
		m.tick()
	}
	h.full.look()
	h.full.leave()
	h.fetching.tick()
	h.tickedAt = h.now
	h.lives.tick()
	h.Forwards.expire()
	if len(h.contacts.departed) > 0 && h.ticks%uint64(h.cfg.ElectionTicks) == 0 {
		h.contacts.forget()
	}
	for _, g := range h.order {
		g.expireWaits() // of one that rests too: it may rest for ever
		switch {
		case !g.resting.quiet:
			g.tick()
		case len(g.commands.queue) > 0 || g.wants.due:
			g.touch()
		default:
			g.resting.tick()
		}
	}
	h.beats.tellTime()
	h.Audits.tick()
}

// Synced hands back a batch that is on disk.
func (h *Host) Synced(b *Batch) {
	h.underWay, h.full.underWay = false, 0
	h.lives.batch = uint64(h.cfg.Store.SyncedBatch())
	h.full.look()
	b.report(h)
	h.lives.synced(b.introduced)
	clear(b.introduced)
	b.introduced, b.notes = b.introduced[:0], b.notes[:0]
	for _, o := range b.bases {
		h.chores.sweep(o.replica, o.id)
		h.mending.based(o.replica)
	}
	b.bases = b.bases[:0]
	clear(b.Writes)
	b.Writes = b.Writes[:0]
	h.spare = b
	if len(h.gathering.Writes) == 0 {
		// Readies that had nothing to write only waited for those before.
		h.gathering.report(h)
	}
}

// report tells the groups that their Readies are on disk.
func (b *Batch) report(h *Host) {
	now := h.Stages.now()
	for i := range b.readies {
		p := &b.readies[i]
		p.group.synced(p.number, p.afterSync)
		h.Stages.took(WriteLog, p.began, now, p.writes)
	}
	clear(b.readies)
	b.readies = b.readies[:0]
	mends := b.mends
	b.mends = nil
	for _, m := range mends {
		m.synced()
	}
}

// Turn does what follows from the events since the last turn. now is a
// monotonic clock of the owner's. It returns the batch to append, or nil.
func (h *Host) Turn(now time.Duration) *Batch {
	h.now = now
	h.unmade.tell()
	h.Deferrals.look() // another group may have decided
	for len(h.dirty) > 0 || len(h.placing.asked) > 0 {
		for i := 0; i < len(h.dirty); i++ {
			g := h.dirty[i]
			g.dirty = false
			g.work()
		}
		h.dirty = h.dirty[:0]
		h.placing.make()
		h.Deferrals.look()
	}
	if len(h.gathering.Writes) == 0 {
		h.full.accepted = 0
	}
	h.lives.turn()
	h.beats.flush()
	h.cfg.Transport.Flush()
	h.Stages.turned()
	h.answers.flush()
	if h.underWay {
		return nil
	}
	h.lives.write(h.gathering)
	if len(h.gathering.Writes) == 0 {
		return nil
	}
	b := h.gathering
	h.gathering = h.spare
	h.spare = nil
	h.batches++
	b.Number = h.batches
	h.underWay = true
	h.full.underWay, h.full.accepted = h.full.accepted, 0
	return b
}

func (l *mending) refusal(g raft.GroupID) *wire.Error {
	if m := l.host.mending.of(g); m != nil {
		return m.refusal()
	}
	return wire.NotLeader(g, 0, "")
}

// GroupView is what a host knows of one of its replicas.
type GroupView struct {
	Replica logstore.Replica
	Status  raft.Status
	Applied raft.LogID
	Commit  raft.LogID
	// Stopped says why the group does nothing here any more, or is empty. Older:
	// because a majority of its voters run on disks that are older than what they
	// promised.
	Stopped string
	Older   bool
	// Held: the replica was started anew, and waits for what the voters on these
	// nodes know of its group; see [Host.Doubt].
	Held   bool
	Awaits []raft.NodeID
	// Short: it lacks entries that one of them told of.
	Short bool
	// Fenced says what is wrong with its state, or is nil.
	Fenced *Fenced
	// Bytes is about what another replica has to be sent to have its state.
	Bytes uint64
	// Mending is what is damaged and done about it, or nil. Without a core,
	// Status has no more than term, membership, last and commit.
	Mending *Mending
}

// Down says that the replica takes no part in its group, because its log is
// damaged.
func (v *GroupView) Down() bool { return v.Mending != nil && !v.Mending.Runs }

// View returns what the host knows of each of its groups, in order.
func (h *Host) View() []GroupView {
	views := make([]GroupView, 0, len(h.order))
	for _, g := range h.order {
		v := GroupView{Replica: g.replica, Status: g.core.Status(), Applied: g.applied, Bytes: uint64(g.snap.size + g.snap.bytes)}
		v.Commit.Index = v.Status.Commit
		v.Commit.Term, _ = g.core.TermAt(v.Commit.Index)
		if g.stopped != nil {
			v.Stopped, v.Older = g.stopped.Error(), errors.Is(g.stopped, errMajorityOlder)
		}
		if g.fence != nil {
			v.Fenced = g.fence.view()
		}
		if v.Short = g.core.Short(); g.hold != nil {
			v.Held, v.Awaits = true, h.lives.awaits(g)
		}
		views = append(views, v)
	}
	return h.mending.view(views)
}

// Machine returns the state machine of a group, or nil. There is none while the state is known
// to be wrong.
func (h *Host) Machine(id raft.GroupID) StateMachine {
	if g := h.groups[id]; g != nil && g.fence == nil {
		return g.machine
	}
	return nil
}
