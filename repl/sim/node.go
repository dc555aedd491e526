package sim

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/raft"
	"muster/repl"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
)

const (
	clusterName = "sim"
	clusterID   = 0x51a
	dataDir     = "data"
	valueMax    = 1 << 20
	idleDelay   = 20 * time.Millisecond // as in repl/loop.go
)

// node is one host of the cluster: its disk, and the process on it if one runs. Its parts
// know what befalls it and what must hold of it.
type node struct {
	c     *cluster
	index int
	id    raft.NodeID
	dead  bool // its disk is damaged beyond what this version can mend, or it has left or was killed for good: it is out of the run
	// waiting: it has asked to be taken in, and has no log yet.
	waiting bool
	meta    repl.Placement // its first replica of group 0

	where    whereabouts // where it is, and where it looks for the others
	ticks    hostClock   // its clock
	files    nodeDisk    // its disk
	refusals refusals    // what its disk does not return for a while
	decay    decay       // what its disk has lost
	ledger   ledger      // what its disk must still have

	// Of the process.
	up         bool
	life       uint32 // counts the processes: events for an earlier one are dropped
	start      uint64
	mark       uint64 // of the present life, or the last
	store      *logstore.Store
	host       *repl.Host
	paused     bool
	inbox      []*event // what arrived while it was paused
	outAt      time.Duration
	halted     bool          // one of its replicas has stopped, until the process is started anew
	startAt    time.Duration // when it is to be started again; 0: not planned
	bootFault  Fault         // what the next start meets: CrashRecovery, RecoveryFails, or 0
	replyPause time.Duration // for which what the next turn decides is held back, and the process with it

	writer    writer                    // writes its batches
	beside    taskList                  // what it does beside its host
	post      post                      // sends what its host says to others
	bulk      courier                   // snapshots, to others and from them
	known     known                     // what it knows from the table
	unmade    map[logstore.Replica]bool // of which others have spoken, and that it has not made since
	feeds     feeds                     // brings what happens here to streams of clients
	leave     leave                     // its end, when it is told to stop
	moves     moves                     // what it does for the cluster while it leads the meta group
	carries   carries                   // how it carries slots whose groups it leads
	checks    checks                    // how it has services checked whose groups it leads, and checks
	incidents incidents                 // which of its replicas it has to tell of
	creds     credentials               // its key, its certificate, and how it gets another
	lawful    lawful                    // what it knows of who may do what
	divides   dividing                  // how it keeps to limits of prefixes
}

// newNode makes a founder, with its log begun.
func newNode(c *cluster, index int) *node {
	n := makeNode(c, index)
	n.meta = c.metaPlacement(n.id)
	n.beginLog()
	return n
}

// makeNode makes a host whose process has not begun a log yet.
func makeNode(c *cluster, index int) *node {
	n := &node{c: c, index: index, id: raft.NodeID(index), ticks: hostClock{rate: 1e6}}
	n.where = whereabouts{n: n, addr: addrOf(n.id)}
	n.ticks.n, n.refusals.n, n.writer.n, n.beside.n, n.post.n, n.bulk.n, n.known.n, n.leave.n, n.moves.n, n.carries.n, n.checks.n, n.feeds.n, n.incidents.n, n.creds.n, n.lawful.n, n.divides.n, n.moves.keeper.n = n, n, n, n, n, n, n, n, n, n, n, n, n, n, n, n, n
	n.files = nodeDisk{n: n, points: pointFiles{n: n}, hints: hintFiles{n: n}, mem: vfs.NewMem(), latency: c.chance.skewed(50*time.Microsecond, 4*time.Millisecond)}
	n.files.fs = vfs.NewFaulty(n.files.mem)
	n.decay = decay{n: n, wounded: map[logstore.Replica]bool{}}
	n.ledger = ledger{n: n, shadows: map[logstore.Replica]*shadow{}}
	n.ticks.base = c.chance.between(0, time.Hour)
	return n
}

// beginLog makes the node's directory, and begins its log with its copy of group 0.
func (n *node) beginLog() {
	c, index := n.c, n.index
	id := logstore.Identity{Stage: logstore.StageMember, Cluster: clusterName, ClusterID: clusterID, Node: n.id}
	if err := n.files.mem.MkdirAll(dataDir); err != nil {
		c.fail("n%d: %v", index, err)
	}
	if err := logstore.WriteIdentity(n.files.mem, dataDir, id); err != nil {
		c.fail("n%d: %v", index, err)
	}
	store, err := n.openStore()
	if err != nil {
		c.fail("n%d: %v", index, err)
	}
	first := []logstore.Write{{Replica: n.meta.Replica, Base: &logstore.Base{Membership: n.meta.Founders}}}
	if err := store.Append(first); err != nil {
		c.fail("n%d: %v", index, err)
	}
	n.ledger.wrote(first)
	if err := store.Close(); err != nil {
		c.fail("n%d: %v", index, err)
	}
}

// metaPlacement is a node's replica of group 0 and its other members, as package node
// derives them from the list of founders.
func (c *cluster) metaPlacement(self raft.NodeID) repl.Placement {
	var nodes []shardmap.TableNode
	for i := range c.result.Nodes {
		nodes = append(nodes, shardmap.TableNode{ID: raft.NodeID(i + 1), Role: shardmap.NodeServer})
	}
	g := shardmap.PlanMeta(nodes)
	p, _ := machine.Placement(&g, self)
	return p
}

func addrOf(n raft.NodeID) string { return nameOf(n) + ":1" }

func nameOf(n raft.NodeID) string { return fmt.Sprintf("n%d", uint64(n)) }

func (n *node) openStore() (*logstore.Store, error) {
	return logstore.Open(logstore.Options{
		FS: n.files.fs, Dir: dataDir, SegmentBytes: logstore.SegmentBytesMin,
		Chance: n.c.chance.next(), Log: n.c.logger(n.index),
	})
}

// boot starts the process. If it can't start, it ends again and is started later, unless
// its disk is damaged.
func (n *node) boot() {
	n.startAt = 0
	if n.up || n.dead || n.waiting {
		return
	}
	n.life++
	n.c.note(n.index, "starts")
	n.c.builds.starts(n)
	// A failure that was planned, or happened while the process died, belonged to its
	// former life: syncing that file now is no second try.
	n.files.disarm()
	if n.c.flaws.active {
		defer n.survives()
	}
	switch {
	case n.bootFault == RecoveryFails:
		n.files.failRecovery()
	case n.bootFault == CrashRecovery:
		n.files.mem.StopAt(1 + n.c.chance.below(12))
	}
	n.bootFault = 0
	err := n.open()
	if n.files.failing.what() != "" && err == nil {
		n.c.fail("I15: n%d starts, though its disk refused %q", n.index, n.files.failing.what())
	}
	n.files.disarm()
	switch {
	case err == nil:
		n.up = true
		n.where.greet()
		n.ticks.shortPlanned = false
		n.ticks.plan(n.c.chance.between(0, tick))
		n.turn()
	case errors.Is(err, errHurt):
		n.files.mem.Crash(vfs.KeepUnsynced, 0)
		n.host, n.store = nil, nil
		if !n.dead {
			n.restartIn(n.c.chaos.downtime())
		}
	case errors.Is(err, vfs.ErrPower):
		n.c.result.Fired[CrashRecovery]++
		n.end(n.c.chaos.power())
	case errors.Is(err, vfs.ErrFull) && n.files.fullUntil > 0:
		n.c.note(n.index, "does not start: %v", err)
		n.c.result.Fired[DiskFull]++
		n.end(PowerKeep)
	case n.refusals.caused(err):
		n.c.note(n.index, "does not start: %v", err)
		n.refusals.now.struck = true
		n.end(PowerKeep)
	case refused(err):
		n.c.result.Fired[n.files.failing.fault]++
		n.end(PowerKeep)
	default:
		n.c.fail("n%d does not start: %v", n.index, err)
	}
}

func (n *node) open() error {
	id, ok, err := logstore.ReadIdentity(n.files.fs, dataDir)
	if err != nil {
		return err
	}
	if !ok || id.Node != n.id || id.Life().Number < n.start && !n.ledger.forgets {
		n.c.fail("I5: n%d finds identity %+v (there: %v), it was started %d times", n.index, id, ok, n.start)
	}
	store, err := n.openStore()
	if err != nil {
		return err
	}
	n.store = store
	before := id.Doubt
	if id, err = logstore.BeginLife(store, id, 0, n.c.chance.next()|1); err != nil {
		return err
	}
	n.start, n.mark = id.Life().Number, id.Life().Mark
	if !id.Doubt.None() && before.None() && !n.ledger.forgets {
		if !n.decay.hurt {
			n.c.fail("n%d: its disk is no older one, and its witness tells another: %s", n.index, id.Doubt.Why)
		}
		n.ledger.doubtful = true // the last batch has rotted, so the log seems to end before it
	}
	if !n.decay.opened() {
		return errHurt
	}
	check := n.ledger.checkRestored
	if n.ledger.forgets {
		check = n.ledger.forget
	}
	if err := check(); err != nil {
		return err
	}
	n.known.table, n.known.lent, n.known.announced, n.known.routes = nil, false, false, new(machine.Routes)
	n.feeds.begin()
	n.lawful.begin()
	n.moves.begin()
	n.carries.begin()
	n.checks.begin()
	n.moves.keeper.begin()
	n.unmade = map[logstore.Replica]bool{}
	n.ledger.newest = map[logstore.Replica]raft.LogID{}
	n.writer.batch = nil
	n.outAt = 0
	if err := errors.Join(n.files.points.open(), n.files.hints.open()); err != nil {
		return err
	}
	n.host, err = repl.NewHost(repl.HostConfig{
		Self: n.id, Store: store, Transport: &n.post,
		Machine: n.machine, Addr: addrOf, Chance: n.c.chance.next(),
		ElectionTicks: raft.ElectionTicksDefault, HeartbeatTicks: raft.HeartbeatTicksDefault, QuietTicks: raft.ElectionTicksDefault,
		Log: n.c.logger(n.index), Snapshots: n.c.policy, Audits: n.known.audits, Incident: n.incidents.found,
		Unmade:       func(from raft.NodeID, r logstore.Replica) { n.known.unmade(from, r) },
		MissingFiles: n.files.points.missing,
		Presence:     func(raft.NodeID) { n.moves.plan(0); n.checks.plan(0) }, Led: n.led,
	})
	if err != nil {
		n.host = nil
		return err
	}
	n.bulk.inbox = n.bulk.newInbox()
	n.files.points.begin()
	n.incidents.begin()
	n.where.begin()
	n.creds.begin()
	n.divides.begin()
	n.host.Place([]repl.Placement{n.meta})
	n.known.follow(n.known.table)
	n.c.after(n.c.chance.between(0, 200*time.Millisecond), n.event(evAnnounce))
	return nil
}

// markOf returns the mark of a node's present life, or of its last.
func (c *cluster) markOf(n raft.NodeID) uint64 { return c.nodes[n-1].mark }

func (n *node) machine(r logstore.Replica) repl.StateMachine {
	w := &watched{node: n, replica: r, truth: n.c.truth[r.Group]}
	if r.Group == 0 {
		meta := machine.NewMeta(n.known.changed)
		meta.Table.Understand(n.c.builds.of(n))
		w.inner = meta
	} else {
		w.state = machine.NewMap(r, n.known.intended)
		w.state.State.Understand(n.c.builds.of(n))
		w.state.Routes = n.known.routes
		if n.c.services.active {
			w.state.Heartbeats = n.checks.beat
			w.state.Checkers = func(name string, answer func([]wire.ServiceChecker)) bool {
				return n.checks.checkers(r.Group, name, answer)
			}
		}
		w.state.Watched = n.feeds.feed.Group(r.Group)
		w.state.State.History().Bound(n.c.watches.historyMax, n.c.watches.historyMax, n.c.watches.historyMax/historyBlocks)
		n.files.points.owns(w.state, r)
		w.inner = w.state
	}
	return w
}

func (n *node) event(kind eventKind) *event {
	e := n.c.queue.get(kind)
	e.node, e.life = int32(n.index), n.life
	return e
}

// turn lets the host act on its events.
func (n *node) turn() {
	if n.c.flaws.active {
		defer n.survives()
	}
	if d := n.replyPause; d > 0 {
		n.replyPause = 0
		n.c.note(n.index, "pause for %s before what it says leaves", d)
		n.c.result.Fired[PauseReply]++
		n.outAt = n.c.now + d
		n.pause(d)
	}
	n.decay.mended()
	n.ledger.recalls()
	if n.ticks.slept {
		n.ticks.slept = false
		n.host.Clock.Slept() // as a process finds out by its wall clock
	}
	b := n.host.Turn(n.ticks.now())
	n.ticks.planShort()
	n.work()
	if b == nil {
		return
	}
	if n.writer.batch != nil {
		n.c.fail("n%d hands out a batch while one is under way", n.index)
	}
	n.writer.batch = b
	d := n.files.latency + n.c.chance.between(0, n.files.latency)
	if n.c.now < n.files.slow.until {
		d += n.c.chance.skewed(20*time.Millisecond, time.Second)
	}
	n.writer.syncIn(max(n.c.now, n.files.slow.stuck, n.outAt) - n.c.now + d)
}

// crash ends the process in the middle of what it does.
func (n *node) crash(power Fault) {
	if !n.up {
		return
	}
	if b := n.writer.batch; b != nil {
		n.ledger.pending = append(n.ledger.pending, b.Writes...)
		if n.c.chance.below(2) == 0 { // the write had begun
			n.files.mem.StopAt(1 + n.c.chance.below(4))
			_ = n.store.Append(b.Writes)
		}
	}
	n.c.note(n.index, "crashes: %s", power)
	n.end(power)
}

// end ends a process, for whatever reason. power decides what it leaves on disk.
func (n *node) end(power Fault) {
	c := n.c
	// Events that are under way carry the old life, and are dropped when they are due.
	n.c.flaws.ended(n)
	n.up = false
	n.life++
	n.creds.core, n.creds.bearer = nil, nil
	if n.lawful.slept {
		n.ticks.setRate(n.ticks.rate) // the clock of the next process goes
	}
	n.host, n.store, n.writer.batch, n.bulk.inbox, n.bulk.streams = nil, nil, nil, nil, nil
	n.post.passers = nil
	n.paused, n.outAt, n.leave.by, n.leave.closing, n.writer.full, n.halted = false, 0, 0, false, false, false
	for _, e := range n.inbox {
		c.queue.put(e)
	}
	n.inbox = n.inbox[:0]
	c.result.Fired[power]++
	n.files.points.end()
	n.files.hints.end()
	n.beside.stop()
	n.checks.end(power)
	n.files.mem.Crash(crashModes[power], c.chance.next())
	if power == PowerKeep {
		n.where.parted()
	}
	for _, cl := range c.clients {
		cl.nodeEnded(n)
	}
	n.restartIn(c.chaos.downtime())
}

var crashModes = map[Fault]vfs.CrashMode{
	PowerDrop: vfs.DropUnsynced, PowerKeep: vfs.KeepUnsynced, PowerTear: vfs.TearUnsynced, PowerTorn: vfs.TearPages,
}

func (n *node) restartIn(d time.Duration) {
	n.startAt = n.c.now + d
	n.c.after(d, n.event(evStart))
}

// pause stops the process; time goes on.
func (n *node) pause(d time.Duration) {
	n.paused = true
	n.c.after(n.lawful.stands(d), n.event(evResume))
}

func (n *node) resume() {
	n.paused, n.lawful.resumed = false, n.c.now
	inbox := n.inbox
	n.inbox = nil
	for i, e := range inbox {
		switch {
		case !n.up:
			n.c.queue.put(e)
		case n.paused: // again
			n.inbox = append(n.inbox, e)
		case n.handle(e):
			n.c.queue.put(e)
		}
		inbox[i] = nil
	}
}

// heal ends all faults of the node.
func (n *node) heal() {
	n.files.disarm()
	n.files.failing = diskFailure{}
	n.refusals.endAll()
	n.files.slow = slowness{}
	n.files.makeRoom()
	n.bootFault, n.replyPause, n.post.crashOn, n.decay.due = 0, 0, 0, 0
	n.ticks.setRate(1e6)
	if n.leave.by > 0 || n.halted {
		n.crash(PowerKeep)
	}
	n.outAt = 0 // before resume: what it says then leaves at once
	n.bulk.reset()
	if n.paused {
		n.resume()
	}
	if n.writer.batch != nil {
		// A batch that a stuck disk held back ends now. The event that was planned for
		// it finds it done.
		n.writer.syncIn(n.files.latency)
	}
	if !n.up && !n.dead {
		n.boot()
	}
}

// leads reports whether the process leads a group.
func (n *node) leads(g raft.GroupID) bool {
	if n.host == nil {
		return false
	}
	for _, v := range n.host.View() {
		if v.Replica.Group == g {
			return v.Status.Role == raft.RoleLeader && v.Stopped == ""
		}
	}
	return false
}

// timeOf returns the time of a group as the process knows it.
func (n *node) timeOf(g raft.GroupID) raft.GroupTime { return repl.TimeOf(n.host, g) }

func (c *cluster) logger(node int) *slog.Logger {
	if c.options.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(c.options.Log, nil)).With("n", node)
}
