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

// node is one host of the cluster: its disk, and the process on it if one runs.
type node struct {
	c     *cluster
	index int
	id    raft.NodeID
	disk  *vfs.Mem
	fs    *vfs.Faulty // before the disk
	dead  bool        // its disk is damaged beyond what this version repairs: out of the run

	// Of the process.
	up        bool
	life      uint32 // counts the processes: what is due for an earlier one is dropped
	start     uint64
	mark      uint64 // of the present life, or the last
	forgets   bool   // its next start finds an older directory
	doubtful  bool   // it may have to hear all others before it does anything
	store     *logstore.Store
	host      *repl.Host
	table     *shardmap.Table
	shown     shownTable
	newest    map[logstore.Replica]raft.LogID // that was applied
	taker     *repl.Inbox                     // of snapshots
	tasks     []*task
	running   *task // that is resumed just now
	streams   []*stream
	batch     *repl.Batch // on its way to disk
	batches   uint64
	announced bool
	paused    bool
	inbox     []*event // what arrived while it was paused
	outAt     time.Duration
	stopBy    time.Duration // until when it hands over, being told to stop; 0: it is not
	closing   bool          // it does nothing more but end its last batch
	halted    bool          // one of its replicas has stopped, until the process is started anew
	startAt   time.Duration // when it is to be started again; 0: not planned

	where whereabouts

	// Of its clock: clock() is the process's, and goes by rate millionths.
	ticks hostClock

	// Of its disk.
	latency    time.Duration
	slow       slowness
	fullUntil  time.Duration // what its files may grow to is limited
	measureAt  time.Duration
	roomAt     time.Duration // when its log looks for room again
	full       bool          // the log refused a batch for want of room
	felt       bool          // and the fault that filled the disk is counted
	failing    diskFailure
	refusal    *refusal                  // what the disk does not return for a while; nil: nothing
	bootFault  Fault                     // what the next start meets: CrashRecovery, RecoveryFails, or 0
	crashOn    raft.MessageType          // it crashes when it has sent one of these; 0: none
	replyPause time.Duration             // for which what the next turn decides is held back, and the process with it
	rotDue     Fault                     // what befalls its files once its log rests; 0: nothing
	hurt       bool                      // its files were hit, and it is not known to be whole again
	scarred    bool                      // its files were hit once, and what was lost given back
	proved     bool                      // a start has read all of the log since then
	scrubs     int                       // that found nothing since then
	image      *vfs.Mem                  // its disk before that, until a process makes use of it
	wounded    map[logstore.Replica]bool // replicas that were damaged at the start

	shadows map[logstore.Replica]*shadow
	pending []logstore.Write // under way when it crashed: kept, or not
}

func newNode(c *cluster, index int) *node {
	n := &node{
		c: c, index: index, id: raft.NodeID(index), disk: vfs.NewMem(), ticks: hostClock{rate: 1e6},
		latency: c.chance.skewed(50*time.Microsecond, 4*time.Millisecond),
		shadows: map[logstore.Replica]*shadow{}, wounded: map[logstore.Replica]bool{},
	}
	n.where = whereabouts{n: n, addr: addrOf(n.id)}
	n.fs = vfs.NewFaulty(n.disk)
	n.ticks.base = c.chance.between(0, time.Hour)
	id := logstore.Identity{Stage: logstore.StageMember, Cluster: clusterName, ClusterID: clusterID, Node: n.id}
	if err := n.disk.MkdirAll(dataDir); err != nil {
		c.fail("n%d: %v", index, err)
	}
	if err := logstore.WriteIdentity(n.disk, dataDir, id); err != nil {
		c.fail("n%d: %v", index, err)
	}
	store, err := n.openStore()
	if err != nil {
		c.fail("n%d: %v", index, err)
	}
	meta := c.metaPlacement(n.id)
	first := []logstore.Write{{Replica: meta.Replica, Base: &logstore.Base{Membership: meta.Founders}}}
	if err := store.Append(first); err != nil {
		c.fail("n%d: %v", index, err)
	}
	n.shadowAll(first)
	if err := store.Close(); err != nil {
		c.fail("n%d: %v", index, err)
	}
	return n
}

// metaPlacement is a node's replica of group 0 and who else is a member, as
// package node derives it from the list of founders.
func (c *cluster) metaPlacement(self raft.NodeID) repl.Placement {
	var nodes []shardmap.TableNode
	for i := range c.result.Nodes {
		nodes = append(nodes, shardmap.TableNode{ID: raft.NodeID(i + 1), Role: shardmap.NodeServer})
	}
	g := shardmap.PlanMeta(nodes)
	p, _ := machine.Placement(&g, self)
	return p
}

func addrOf(n raft.NodeID) string { return fmt.Sprintf("n%d", uint64(n)) }

func (n *node) openStore() (*logstore.Store, error) {
	return logstore.Open(logstore.Options{
		FS: n.fs, Dir: dataDir, SegmentBytes: logstore.SegmentBytesMin,
		Chance: n.c.chance.next(), Log: n.c.logger(n.index),
	})
}

// boot starts the process. What it can't start with ends it again: it is tried
// later, unless its disk is damaged.
func (n *node) boot() {
	n.startAt = 0
	if n.up || n.dead {
		return
	}
	n.life++
	n.c.note(n.index, "starts")
	// What the disk was about to refuse, or refused while the process died,
	// was of its former life: to sync that file now is no second try.
	n.disarm()
	switch {
	case n.bootFault == RecoveryFails:
		n.failRecovery()
	case n.bootFault == CrashRecovery:
		n.disk.StopAt(1 + n.c.chance.below(12))
	}
	n.bootFault = 0
	err := n.open()
	if n.failing.what() != "" && err == nil {
		n.c.fail("I15: n%d starts, though its disk refused %q", n.index, n.failing.what())
	}
	n.disarm()
	switch {
	case err == nil:
		n.up = true
		n.greet()
		n.tickIn(n.c.chance.between(0, tick))
		n.turn()
	case errors.Is(err, errHurt):
		n.disk.Crash(vfs.KeepUnsynced, 0)
		n.host, n.store = nil, nil
		if !n.dead {
			n.restartIn(n.c.chaos.downtime())
		}
	case errors.Is(err, vfs.ErrPower):
		n.c.result.Fired[CrashRecovery]++
		n.end(n.c.chaos.power())
	case errors.Is(err, vfs.ErrFull) && n.fullUntil > 0:
		n.c.note(n.index, "does not start: %v", err)
		n.c.result.Fired[DiskFull]++
		n.end(PowerKeep)
	case n.refusedBy(err):
		n.c.note(n.index, "does not start: %v", err)
		n.refusal.struck = true
		n.end(PowerKeep)
	case refused(err):
		n.c.result.Fired[n.failing.fault]++
		n.end(PowerKeep)
	default:
		n.c.fail("n%d does not start: %v", n.index, err)
	}
}

func (n *node) open() error {
	id, ok, err := logstore.ReadIdentity(n.fs, dataDir)
	if err != nil {
		return err
	}
	if !ok || id.Node != n.id || id.Life().Number < n.start && !n.forgets {
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
	if !id.Doubt.None() && before.None() && !n.forgets {
		if !n.hurt {
			n.c.fail("n%d: its disk is no older one, and its witness tells another: %s", n.index, id.Doubt.Why)
		}
		n.doubtful = true // the last batch has rotted, which looks like a log that ends before it
	}
	if !n.opened() {
		return errHurt
	}
	check := n.checkRestored
	if n.forgets {
		check = n.forget
	}
	if err := check(); err != nil {
		return err
	}
	n.table, n.announced = nil, false
	n.newest = map[logstore.Replica]raft.LogID{}
	n.batch = nil
	n.outAt = 0
	n.host, err = repl.NewHost(repl.HostConfig{
		Self: n.id, Store: store, Transport: n,
		Machine: n.machine, Addr: addrOf, Chance: n.c.chance.next(),
		ElectionTicks: raft.ElectionTicksDefault, HeartbeatTicks: raft.HeartbeatTicksDefault, QuietTicks: raft.ElectionTicksDefault,
		Log: n.c.logger(n.index), Snapshots: n.c.policy,
	})
	if err != nil {
		n.host = nil
		return err
	}
	n.taker = n.newInbox()
	n.where.begin()
	n.host.Place([]repl.Placement{n.c.metaPlacement(n.id)})
	n.follow(n.table)
	n.c.after(n.c.chance.between(0, 200*time.Millisecond), n.event(evAnnounce))
	return nil
}

// markOf returns the mark of a node's present life, or of its last.
func (c *cluster) markOf(n raft.NodeID) uint64 { return c.nodes[n-1].mark }

func (n *node) machine(r logstore.Replica) repl.StateMachine {
	w := &watched{node: n, replica: r, truth: n.c.truth[r.Group]}
	if r.Group == 0 {
		meta := machine.NewMeta(n.tableChanged)
		meta.Table.Understand(n.c.builds.nodes[n.index-1])
		w.inner = meta
	} else {
		w.state = machine.NewMap(r.Group, n.c.slots[r.Group])
		w.state.State.Understand(n.c.builds.nodes[n.index-1])
		w.inner = w.state
	}
	return w
}

func (n *node) tableChanged(t *shardmap.Table) {
	n.table = t
	if n.host != nil {
		n.follow(t)
	}
}

// follow brings the host in line with the table.
func (n *node) follow(t *shardmap.Table) {
	var others []raft.NodeID
	for i := range n.c.result.Nodes {
		if id := raft.NodeID(i + 1); id != n.id {
			others = append(others, id)
		}
	}
	n.host.SetNodes(others)
	if t == nil {
		return
	}
	n.where.follow(t)
	var place []repl.Placement
	for i := range t.Groups {
		if p, ok := machine.Placement(&t.Groups[i], n.id); ok && !n.c.truth[t.Groups[i].ID].removed(p.Replica.ID) {
			place = append(place, p)
		}
	}
	n.host.Place(place)
}

// hostClock is a monotonic clock that need not go as the world's does.
type hostClock struct {
	base, at time.Duration // it was base when the world's was at
	rate     int64         // millionths
	planned  uint64        // the number of the tick that is planned
}

// clock is the process's monotonic clock.
func (n *node) clock() time.Duration {
	t := &n.ticks
	return t.base + (n.c.now-t.at)*time.Duration(t.rate)/1e6
}

func (n *node) setRate(rate int64) {
	n.ticks.base, n.ticks.at, n.ticks.rate = n.clock(), n.c.now, rate
}

func (n *node) event(kind eventKind) *event {
	e := n.c.queue.get(kind)
	e.node, e.life = int32(n.index), n.life
	return e
}

// tickIn plans the next tick, and takes back what was planned.
func (n *node) tickIn(d time.Duration) {
	n.ticks.planned++
	e := n.event(evTick)
	e.number = n.ticks.planned
	n.c.after(d, e)
}

// turn lets the host do what follows from its events.
func (n *node) turn() {
	if d := n.replyPause; d > 0 {
		n.replyPause = 0
		n.c.note(n.index, "pause for %s before what it says leaves", d)
		n.c.result.Fired[PauseReply]++
		n.outAt = n.c.now + d
		n.pause(d)
	}
	n.mended()
	n.recalls()
	b := n.host.Turn(n.clock())
	n.work()
	if b == nil {
		return
	}
	if n.batch != nil {
		n.c.fail("n%d hands out a batch while one is under way", n.index)
	}
	n.batch = b
	d := n.latency + n.c.chance.between(0, n.latency)
	if n.c.now < n.slow.until {
		d += n.c.chance.skewed(20*time.Millisecond, time.Second)
	}
	n.syncIn(max(n.c.now, n.slow.stuck, n.outAt) - n.c.now + d)
}

func (n *node) syncIn(d time.Duration) {
	e := n.event(evSynced)
	e.number = n.batch.Number
	n.c.after(d, e)
}

// synced is the end of a batch's write.
func (n *node) synced(number uint64) {
	b := n.batch
	if b == nil || b.Number != number {
		return // it ended before: the disk was healed
	}
	n.arm()
	var err error
	if n.full {
		err = n.store.MakeRoom()
	}
	if err == nil {
		err = n.store.Append(b.Writes)
	}
	if f := n.failing.what(); f != "" {
		n.diskFailed(f, err)
		return
	}
	if errors.Is(err, logstore.ErrFull) {
		switch {
		case !errors.Is(err, logstore.ErrStopped):
			n.noRoom(err)
		case n.hurt:
			n.stoppedBy(err) // the segment in use was cut off, see tidy
		default:
			n.c.fail("n%d: the log stops for want of room, which it is to wait for: %v", n.index, err)
		}
		return
	}
	if n.refusedBy(err) {
		n.stoppedReading(err)
		return
	}
	n.full = false
	if err != nil {
		n.c.fail("n%d: the log refuses a batch: %v", n.index, err)
	}
	n.shadowAll(b.Writes)
	n.batch = nil
	n.batches++
	if n.closing {
		n.close()
		return
	}
	n.mended()
	n.host.Synced(b)
	n.turn()
	if n.batch == nil {
		e := n.event(evIdle)
		e.number = n.batches
		n.c.after(idleDelay, e)
	}
}

func (n *node) idle(batches uint64) {
	if n.batch != nil || batches != n.batches {
		return
	}
	if n.tidy(n.store.Idle); n.rotDue != 0 && n.rotDue != ZeroTail && n.up {
		n.c.chaos.rot(n)
	}
}

// tidy has the log do what it does between batches.
func (n *node) tidy(do func() error) {
	n.arm()
	err := do()
	if f := n.failing.what(); f != "" {
		n.diskFailed(f, err)
		return
	}
	if n.refusedBy(err) {
		n.stoppedReading(err)
		return
	}
	if n.hurt && n.fullUntil > 0 && errors.Is(err, logstore.ErrFull) {
		// The segment in use was cut off, and what is full does not give back
		// the room that it had: a write into prepared room fails, which is final.
		n.stoppedBy(err)
		return
	}
	if err != nil {
		n.c.fail("n%d: the idle log: %v", n.index, err)
	}
}

// crash takes the process away in the midst of what it does.
func (n *node) crash(power Fault) {
	if !n.up {
		return
	}
	if b := n.batch; b != nil {
		n.pending = append(n.pending, b.Writes...)
		if n.c.chance.below(2) == 0 { // the write had begun
			n.disk.StopAt(1 + n.c.chance.below(4))
			_ = n.store.Append(b.Writes)
		}
	}
	n.c.note(n.index, "crashes: %s", power)
	n.end(power)
}

// end is the end of a process, whyever. What it leaves on disk is power's.
func (n *node) end(power Fault) {
	c := n.c
	n.up = false
	n.life++
	n.host, n.store, n.batch, n.taker, n.streams = nil, nil, nil, nil, nil
	n.paused, n.outAt, n.stopBy, n.closing, n.full, n.halted = false, 0, 0, false, false, false
	for _, e := range n.inbox {
		c.queue.put(e)
	}
	n.inbox = n.inbox[:0]
	c.result.Fired[power]++
	n.stopTasks()
	n.disk.Crash(crashModes[power], c.chance.next())
	if power == PowerKeep {
		n.parted()
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
	n.c.after(d, n.event(evResume))
}

func (n *node) resume() {
	n.paused = false
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

// heal ends all that is wrong with the node.
func (n *node) heal() {
	n.disarm()
	n.failing = diskFailure{}
	n.returnAll()
	n.slow = slowness{}
	n.makeRoom()
	n.bootFault, n.replyPause, n.crashOn, n.rotDue = 0, 0, 0, 0
	n.setRate(1e6)
	if n.stopBy > 0 || n.halted {
		n.crash(PowerKeep)
	}
	n.outAt = 0 // before resume: what it says then leaves at once
	if n.paused {
		n.resume()
	}
	if n.batch != nil {
		// What a stuck disk held back comes now. The event that was due
		// finds that it is done.
		n.syncIn(n.latency)
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

// Send implements [repl.Transport].
func (n *node) Send(to raft.NodeID, e *wire.Envelope) {
	v := n.c.queue.get(evMessage)
	v.envelope = *e
	if t := e.Message.Type; t == raft.MsgAppend {
		n.c.truth[e.Group].leads(n, e.Message.From, e.Message.Term)
	}
	n.promised(e)
	n.c.net.send(n, to, v)
	if n.crashOn != 0 && e.Message.Type == n.crashOn {
		n.crashOn = 0
		v := n.event(evCrash)
		n.c.after(0, v)
	}
}

// Fetch implements [repl.Transport].
func (n *node) Fetch(to raft.NodeID, e *wire.Envelope, current func() bool) {
	copied := *e
	m := &copied.Message
	r := logstore.Replica{Group: e.Group, Incarnation: e.Incarnation, ID: m.From}
	entries, err := n.store.Read(r, m.Log.Index+1, m.Fetch, raft.AppendBytesMaxDefault)
	if err != nil {
		if n.refusedBy(err) {
			if errors.Is(err, logstore.ErrDamaged) {
				n.host.DamageFound()
			}
			return // as if the message were lost
		}
		if n.hurt && errors.Is(err, logstore.ErrDamaged) {
			n.host.DamageFound()
			return
		}
		n.c.fail("n%d: fetch: %v", n.index, err)
	}
	m.Entries, m.Fetch = entries, 0
	if current() {
		n.Send(to, &copied)
	}
}

// SendBeat implements [repl.Transport].
func (n *node) SendBeat(to raft.NodeID, b *wire.Beat, answer bool) {
	v := n.c.queue.get(evBeat)
	v.answer = answer
	v.beat.Mark, v.beat.Batch, v.beat.Sequence = b.Mark, b.Batch, b.Sequence
	v.beat.Messages = append(v.beat.Messages[:0], b.Messages...)
	v.beat.Rests = append(v.beat.Rests[:0], b.Rests...)
	if !answer {
		for i := range b.Messages {
			m := &b.Messages[i]
			n.c.truth[m.Group].leads(n, m.From, m.Term)
		}
	}
	n.c.net.send(n, to, v)
}

// Flush implements [repl.Transport].
func (n *node) Flush() {}

func (c *cluster) logger(node int) *slog.Logger {
	if c.options.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(c.options.Log, nil)).With("n", node)
}
