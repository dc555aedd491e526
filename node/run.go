package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"time"

	"muster/logstore"
	"muster/logstore/blocks"
	"muster/logstore/vfs"
	"muster/node/probe"
	"muster/raft"
	"muster/repl"
	"muster/repl/hinting"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/points/block"
)

// freeSegments is how many segments of the log a node keeps for later use: 64
// MiB at most, and only of a log that was once that large. With two it made new
// ones all the time, and wrote 2.6 bytes to the disk for each byte of an entry;
// with four, as with eight, 2.0.
const freeSegments = 4

// Times of a node's beginning and end.
const (
	// handOverMax is how long a node that stops waits for others to lead its
	// groups: an election that one of them loses, and another.
	handOverMax = 2 * time.Second
	// stopMax is how long a node that stops waits for its disk: long enough for a
	// slow one. Then it ends without it, because a goroutine in a call to a disk
	// that hangs can't be made to return.
	stopMax = 10 * time.Second
	// foundingPause lies between two questions to one host while founding.
	foundingPause = 100 * time.Millisecond
)

// Run runs one node until ctx ends, then stops it and returns nil. It calls
// ready once, when the node listens, with the address that it listens on.
//
// It returns an error, in one line, if the node can't start, can't be founded
// with the hosts it was given, or can't continue: the data directory is in use,
// damaged or another cluster's, the address is taken, a sync failed.
//
// It returns within handOverMax and stopMax after ctx ended, whatever the disk
// does: an error that wraps [ErrNotStopped] says that something still waits for
// the disk. The process must end then. As with a power cut, nothing that was confirmed
// is lost.
func Run(ctx context.Context, c Config, log *slog.Logger, ready func(addr string)) error {
	l := defaultLimits()
	l.secure = true
	return run(ctx, c, log, l, func(_ *Node, addr string) { ready(addr) })
}

// run is [Run] with other limits, and shows the node to ready.
func run(ctx context.Context, c Config, log *slog.Logger, l limits, ready func(n *Node, addr string)) error {
	return runOn(ctx, vfs.OS{}, c, log, l, ready)
}

// ErrNotStopped is wrapped by the error of a node that was to stop and did not,
// because its disk does not answer.
var ErrNotStopped = errors.New("the node ends without its disk")

// ErrKilled, as the cause of the end of the context of [Run], has the node end as one whose process is killed: it hands
// nothing over, answers nothing more, and leaves its directory as it is at that moment, without the note of a clean stop.
// Run returns nil. It is for tests of programs that use a cluster, in whose process no node can be killed alone.
var ErrKilled = errors.New("the node is killed")

// runOn is run on a disk.
func runOn(ctx context.Context, disk vfs.FS, c Config, log *slog.Logger, l limits, ready func(n *Node, addr string)) error {
	log = slog.New(&lastWords{log.Handler(), ctx}) // a killed node says nothing of what it can't do any more
	w := newDiskWatch(disk, log, l.stallAfter)
	defer w.stop()
	over, ending := make(chan error, 1), make(chan struct{})
	go func() { over <- live(ctx, w, c, log, l, ready, ending) }()
	select {
	case err := <-over:
		return err
	case <-ctx.Done():
	case <-ending:
	}
	patience := time.NewTimer(handOverMax + l.stopMax)
	defer patience.Stop()
	select {
	case err := <-over:
		return err
	case <-patience.C:
	}
	why := "it is still busy"
	if s, ok := w.stalled(); ok {
		why = s.String()
	}
	return fmt.Errorf("%w, after %s: %s: what was not confirmed yet may be kept or lost, nothing that was confirmed is lost", ErrNotStopped, handOverMax+l.stopMax, why)
}

// live is the life of a node. It closes ending when it stops, before it waits
// for anything.
func live(ctx context.Context, w *diskWatch, c Config, log *slog.Logger, l limits, ready func(n *Node, addr string), ending chan<- struct{}) error {
	if err := c.Check(); err != nil {
		return err
	}
	if err := c.checkFoundingOn(w); err != nil {
		return err
	}
	secret, err := c.foundingSecret(w, &l)
	if err != nil {
		return err
	}
	token, err := c.Token()
	if err != nil {
		return err
	}
	prober, err := probe.New(probe.Config{Programs: c.Checks, Ranges: c.CheckRanges})
	if err != nil {
		return fmt.Errorf("--check: %w", err)
	}
	listener, lock, err := claim(w, &c)
	if err != nil {
		return err
	}
	defer lock.Close()
	bound := listener.Addr().String()
	n := &Node{
		cfg: c, fs: w, lock: lock,
		mark: randomNumber(), addr: c.AdvertiseOn(c.listenAs(bound)), name: c.NodeName(bound), started: time.Now(),
		log:    log,
		limits: l,
		reads:  make(chan func(), readQueueMax),
	}
	n.ctx, n.cancel = context.WithCancel(context.Background()) // not of ctx: close says when
	n.attesting.own = n.addr
	n.removed = make(chan error, 1)
	n.checking.prober = prober
	n.recruiter.node, n.resets.node = n, n
	n.watching.init(n)
	n.writes.init(n)
	n.querying.init(n)
	n.laws.init(n)
	n.appeals.init(n)
	n.logins.init(n)
	n.inquiry.node, n.inquiry.wanted, n.inquiry.missed = n, make(chan suspicion, inquiriesMax), make(map[logstore.Replica]bool)
	n.door = newDoor(n, listener)
	n.door.shedding.refusal = answersLate(n.name).Append(nil)
	n.caller = &caller{addr: n.addr, level: l.level, self: n.self, table: n.table.Load, attesting: &n.attesting, guard: &n.guard, keyBytes: l.keyBytes}
	n.enrolment = enrolment{
		cfg: &n.cfg, fs: w, log: log, mark: n.mark, addr: n.addr, name: n.name, level: l.level, notices: &n.notices, ended: &n.ended,
		ask: n.askFounder, askMember: n.askMember, invitations: make(chan struct{}, 1),
	}
	n.errands.wall, n.keeping.wall, n.hinting.wall = time.Now, time.Now, time.Now
	n.hinting.limits = hinting.Limits{Group: hinting.GroupBytes, Node: hinting.NodeBytes, Age: hinting.AgeMax}
	n.shelf.init(n)
	defer n.close()
	defer func() {
		if wasKilled(ctx) {
			cutOff(n.door, w)
		}
	}()
	defer close(ending)
	if err := n.shelf.begin(ctx, n); err != nil {
		return err
	}
	if err := n.enrolment.identify(); err != nil {
		return err
	}
	n.log = log.With("node", n.name)
	n.enrolment.log = n.log
	if err := n.guard.begin(n, secret, token); err != nil {
		return err
	}
	if err := n.notary.begin(n); err != nil {
		return err
	}
	n.announcer = announcer{
		cfg: &n.cfg, name: n.name, addr: n.addr, level: l.level, secure: n.guard.founded, log: n.log, tables: make(chan struct{}, 1),
		self: n.self, table: n.table.Load, loop: n.running, ask: n.askLeader,
		current: func(ctx context.Context) error { return tableNow(ctx, n.running()) },
	}
	n.notices.log, n.notices.pause = n.log, l.noticePause
	for _, a := range []*arrivals{&n.arriving.clients, &n.arriving.peers} {
		a.max, a.share = l.arrivingBytes, l.inflightBytesShare
	}
	id := n.self()
	n.log.Info("node starts", "id", id.Node, "start", id.Life().Number, "listen", bound, "advertise", n.addr, "data", c.Data)
	n.trail.init(n)
	n.trail.said("start", "node "+n.name, "")
	n.door.web.begin(n, listener.Addr())
	// It comes before anything runs, because a test may change the node here. Connections wait at the listener meanwhile.
	ready(n, bound)
	n.ended.Go(n.trail.run)
	n.ended.Go(n.door.web.Run)
	n.ended.Go(n.door.web.envoys.run)
	n.ended.Go(n.door.accept)
	n.ended.Go(n.door.rechecks)
	n.ended.Go(n.company.run)
	for range listersMax() {
		n.ended.Go(n.lister)
	}
	for range scannersMax() {
		n.ended.Go(n.querying.scan)
	}
	if err := n.enrolment.becomeMember(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	if err := n.serve(); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		if wasKilled(ctx) {
			return nil
		}
		n.log.Info("node stops")
		n.running().HandOver(handOverMax)
		return nil
	case err := <-n.removed:
		n.log.Error("node ends: it was removed from the cluster", "err", err)
		if noted := n.noteRemoved(); noted != nil {
			return fmt.Errorf("%w (not noted in its directory: %w)", err, noted)
		}
		return err
	case err := <-n.running().Failed():
		n.log.Error("node stops: the log takes no more writes", "err", err)
		return err
	case err := <-n.sealer.stopped:
		n.log.Error("node stops: it can keep no more block files", "err", err)
		return err
	}
}

// askFounder asks a host that is named in --join, whoever it is: only those who
// found a cluster can't know that yet.
func (n *Node) askFounder(ctx context.Context, host string, q *wire.Founding, a *wire.FoundingAnswer) error {
	return n.caller.call(ctx, 0, host, wire.RoleFounding, wire.TypeFounding, q, a)
}

// askMember asks whoever is at an address to take this host in.
func (n *Node) askMember(ctx context.Context, addr string, met func(*wire.Greeting) error, q *wire.Join, a *wire.JoinAnswer) error {
	if err := n.notary.enrolAt(ctx, addr, met); err != nil {
		return err
	}
	conn, g, err := n.caller.dial(ctx, 0, addr, wire.PurposePeer, wire.RoleJoining)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := met(g); err != nil {
		return err
	}
	err = n.caller.ask(ctx, conn, g, wire.TypeJoin, q, a)
	if refusal := (*wire.Error)(nil); errors.As(err, &refusal) && refusal.Code == wire.CodeRemoved {
		return &removedError{refusal}
	}
	if err != nil {
		return err
	}
	// Before this host is a member by its own disk: from then on it asks nobody.
	return n.notary.keys.learn(a.Roots, a.Index)
}

// askLeader has the leader of group 0 put an announcement of this node into the
// log.
func (n *Node) askLeader(ctx context.Context, leader raft.NodeID, a *wire.Announce) error {
	return n.caller.call(ctx, leader, n.addrOf(leader), wire.RolePeer, wire.TypeAnnounce, a, new(wire.AnnounceAnswer))
}

// serve opens the log and the replicas in it, and begins to take requests.
func (n *Node) serve() error {
	id := n.self()
	store, err := logstore.Open(logstore.Options{
		FS: n.fs, Dir: n.cfg.Data, Lock: n.lock, FreeSegments: freeSegments, Chance: randomNumber(), Log: n.log,
	})
	if err != nil {
		return err
	}
	n.store = store
	files, err := blocks.Open(blocks.Options{FS: n.fs, Dir: n.cfg.Data, Leave: func() int64 { return logstore.LeaveFree(store) }, Begin: func() error { return beginBlockFiles(n) }, Log: n.log})
	if err != nil {
		return err
	}
	n.blocks.Store(files)
	n.fetcher = newBlockFetcher(n, files)
	if err := n.hinting.begin(n, func() int64 { return logstore.LeaveFree(store) }); err != nil {
		return err
	}
	meta := metaPlacement(&id)
	if err := n.beginLog(meta.Replica, meta.Begins()); err != nil {
		return err
	}
	id = n.self()
	dialFor := func(p wire.Purpose) func(context.Context, raft.NodeID, string) (net.Conn, error) {
		return func(ctx context.Context, id raft.NodeID, addr string) (net.Conn, error) {
			conn, err := n.caller.member(ctx, id, addr, p)
			n.dialled(id, addr, err)
			return conn, err
		}
	}
	transport := repl.NewPeers(repl.PeersConfig{
		Own: n.addr, Seeds: n.cfg.Join, Up: n.reached, Attested: n.attesting.answered, Forwarded: n.forwarded, ForwardsLost: n.forwardsLost,
		Outdated: func(_ raft.NodeID, conn net.Conn) bool { return n.guard.outdated(conn) }, Replaced: func(raft.NodeID) { n.notary.changed() },
		Dial: dialFor(wire.PurposePeer), DialBulk: dialFor(wire.PurposeBulk), BulkRate: int64(n.cfg.SnapshotRate), Sent: n.sent, Store: store, DamageFound: n.damageFound, FetchBytes: raft.AppendBytesMaxDefault, Counters: &n.counters, Log: n.log,
	})
	n.transport = transport
	n.attesting.peers.Store(transport)
	n.moves.init(n)
	n.incidents.init(n)
	n.carrying.init(n)
	n.errands.init(n)
	n.keeping.init(n)
	n.sealer.init(n)
	n.checking.init(n)
	n.assigning.init(n)
	n.dividing.init(n)
	host, err := repl.NewHost(repl.HostConfig{
		Self: id.Node, Store: store, Transport: n.transport,
		Machine: n.machine, Addr: n.addrOf, Stalled: n.fs.hangs.Load, Unmade: n.inquiry.unmade,
		MissingFiles: func(r logstore.Replica, sums []block.Sum) int { return missingFiles(files, r, sums) },
		Chance:       randomNumber(), Each: besides,
		Presence: n.presence, Led: n.led, Audits: n.incidents.policy, Incident: n.incidents.happened,
		ElectionTicks: electionTicks, HeartbeatTicks: heartbeatTicks, QuietTicks: quietTicks,
		Log: n.log,
	})
	if errors.Is(err, shardmap.ErrLevel) {
		return wire.Outgrown("data directory "+n.cfg.Data, err)
	}
	if err != nil {
		return err
	}
	// Before the node serves: a group that lost its only copy must not look empty.
	if err := n.refuseDamage(host.View()); err != nil {
		return err
	}
	n.host = host
	host.Place([]repl.Placement{meta})
	n.follow(n.table.Load())
	n.report = &report{
		name: n.name, addr: n.addr, data: n.cfg.Data, started: n.started,
		fs: n.fs, store: store, transport: transport, self: n.self, said: n.door.said, jobs: &n.jobs, stuckMoves: n.carrying.stuck, nearLimits: n.dividing.near, downServices: n.assigning.down, certificates: n.notary.notes, lostKeys: n.notary.lost,
		hearsay: func(t *shardmap.Table) []wire.Problem { return n.inquiry.heard.problems(n.name, t, time.Now()) },
		door:    n.door, trailed: n.trail.problems, blockFiles: func() []wire.Problem {
			list := blockProblems(n.name, files, n.fetcher.Waiting(), func(d []blocks.Damaged) namedFiles { return namedOf(n.running(), d) })
			return append(list, n.sealer.problems()...)
		}, watches: n.watching.feed.Rooms,
		hints: func() []wire.Problem { return n.hinting.news.Load().problems(n.name, time.Now()) },
	}
	loop := repl.StartLoop(host, tick, int64(n.cfg.SnapshotRate))
	n.serving.Store(loop)
	n.incidents.source = &hostIncidents{n, loop}
	n.inbox.Store(repl.NewInbox(repl.InboxConfig{Store: store, Machine: n.machine, Host: n.ask, Files: n.fetcher, Log: n.log}))
	n.ended.Go(func() { n.announcer.run(n.ctx) })
	n.ended.Go(func() { n.inquiry.run(n.ctx) })
	n.ended.Go(n.moves.run)
	n.ended.Go(n.errands.run)
	n.ended.Go(n.keeping.run)
	n.ended.Go(n.sealer.run)
	n.ended.Go(n.hinting.run)
	n.ended.Go(n.incidents.run)
	n.ended.Go(n.notary.run)
	n.ended.Go(n.resets.run)
	n.ended.Go(n.carrying.run)
	n.ended.Go(n.assigning.run)
	n.ended.Go(n.dividing.run)
	n.ended.Go(n.checking.run)
	n.ended.Go(n.watching.run)
	n.ended.Go(n.laws.run)
	n.ended.Go(n.appeals.run)
	n.ended.Go(n.scrub)
	spoiling(n)
	return nil
}

// beginLog begins this node's life in the log, and puts the beginning of group 0
// into a new one, before anything is promised. From then on an empty log is a
// lost one: the node would vote again where it has voted, so it does not start.
func (n *Node) beginLog(r logstore.Replica, m raft.Membership) error {
	id := n.self()
	// If the founding's replica was removed since, there is another replica, or its
	// tombstone.
	ofMeta := func(r logstore.Replica) bool { return r.Group == 0 }
	begun := slices.ContainsFunc(n.store.Replicas(), ofMeta) || slices.ContainsFunc(n.store.Tombstones(), ofMeta)
	if !begun && id.Stage == logstore.StageMember {
		return wire.Damaged("data directory "+n.cfg.Data, "the log of group 0 is gone, and with it what this node promised",
			"put the log back as it was when the node last stopped; if there is no copy, "+logstore.EmptyRemedy)
	}
	id, err := logstore.BeginLife(n.store, id, 0, n.mark)
	if err != nil {
		return err
	}
	// The log before the stage: after a crash in between, the next start finds the log
	// begun. In the other order it would find a member whose log is empty, and refuse.
	if !begun {
		if err := n.store.Append([]logstore.Write{{Replica: r, Base: &logstore.Base{Membership: m}}}); err != nil {
			return fmt.Errorf("begin the log: %w", err)
		}
	}
	if id.Stage != logstore.StageMember {
		id, err = logstore.ChangeIdentity(n.store, func(id *logstore.Identity) { id.Stage = logstore.StageMember })
		if err != nil {
			return err
		}
	}
	n.enrolment.set(id)
	return nil
}

// machine makes the state machine of a replica.
func (n *Node) machine(r logstore.Replica) repl.StateMachine {
	if r.Group == 0 {
		m := machine.NewMeta(n.tableChanged)
		m.Table.Understand(n.limits.level)
		return m
	}
	m := machine.NewMap(r, n.table.Load)
	m.Routes, m.Watched = &n.carrying.routes, n.watching.feed.Group(r.Group)
	m.Heartbeats = func(said *wire.Heartbeat, answer func(*wire.Error)) { n.assigning.heartbeat(m, said, answer) }
	m.Checkers = func(name string, answer func([]wire.ServiceChecker)) bool {
		return n.assigning.checkers(r.Group, name, answer)
	}
	m.ServicesChanged = func() { n.assigning.servicesChanged(r.Group) }
	m.State.Understand(n.limits.level)
	m.State.KeepHeads()
	m.Points = n.sealer.filer.Owner(r.Group, r.Incarnation)
	return m
}

// tableChanged is called by the goroutine that applies, with each new table.
func (n *Node) tableChanged(t *shardmap.Table) {
	n.table.Store(t)
	n.laws.tableChanged(t)
	n.carrying.routes.Follow(t)
	n.jobs.look(t, time.Now())
	n.follow(t)
	n.trail.tableChanged(t)
	n.announcer.changed()
	n.moves.changed()
	n.errands.changed()
	n.keeping.changed()
	n.sealer.mail.rouse()
	n.incidents.tableChanged()
	n.notary.changed()
	n.carrying.changed()
	n.assigning.nodesChanged()
	n.dividing.mail.rouse()
	n.watching.feed.TableChanged()
}

// led is told by the host when the lead of a group comes here, or goes: then term is 0.
func (n *Node) led(g raft.GroupID, term uint64) {
	n.dividing.led(g, term)
	n.sealer.mail.rouse()
	if g == 0 {
		n.moves.led(term != 0)
		n.errands.led(term != 0)
		n.keeping.led(term != 0)
		n.notary.led(term != 0)
		return
	}
	n.carrying.led(g, term)
	n.assigning.led(g, term)
}

// presence is told by the host when another node has fallen silent, or is back.
func (n *Node) presence(raft.NodeID) {
	n.moves.changed()
	n.assigning.nodesChanged()
}

// follow brings this node in line with a table, its own or one that it learnt of another
// node: who the peers are, which replicas it should have, and which it has no more.
// Before the first table those are the peers that the identity names.
func (n *Node) follow(t *shardmap.Table) {
	if n.host == nil {
		return // the log is being read; serve calls again
	}
	id := n.self()
	addrs := make(map[raft.NodeID]string)
	for _, m := range n.inquiry.peers() {
		addrs[m.Node] = m.Addr
	}
	delete(addrs, id.Node)
	var nodes []raft.NodeID
	for node, addr := range addrs {
		n.transport.SetNode(node, addr)
		n.transport.Claim(node, n.door.said(node).addr) // it may have dialled before anybody here could dial it
		nodes = append(nodes, node)
	}
	if t != nil && t.Founded() {
		n.door.retain(nodes)
		n.door.recheck()
	}
	n.transport.Retain(nodes)
	n.host.SetNodes(nodes)
	if t == nil {
		return
	}
	n.transport.SetBulkRate(t.MoveRate())
	// First what is no more: a replica that takes the place of another is made after it.
	n.host.Keep(machine.Kept(t))
	var place []repl.Placement
	for g := range t.EachGroup {
		if p, ok := machine.Placement(g, id.Node); ok {
			place = append(place, p)
		}
	}
	n.host.Place(place)
	n.leave(t)
}

// addrOf returns where a node was found last, or else its address in the table or the
// founding.
func (n *Node) addrOf(id raft.NodeID) string {
	if p := n.attesting.peers.Load(); p != nil {
		if addr := p.Addr(id); addr != "" {
			return addr
		}
	}
	if t := n.known(); t != nil && t.Founded() {
		node, _ := t.Node(id)
		return node.Addr
	}
	for _, m := range n.self().Members {
		if m.Node == id {
			return m.Addr
		}
	}
	return ""
}

// members returns who belongs to the cluster, by the table. Those whom the identity names
// for ever count only until there is a table that is newer: some may have been removed
// since, and others may have joined. A table that does not know this node is of before
// it was taken in, as those are that the log of group 0 brings to a node that reads it
// from its first entry. By them a node that joined later would be no peer, and it may be
// the one that leads.
func members(id *logstore.Identity, t *shardmap.Table) []logstore.IdentityMember {
	if t == nil || !t.Founded() {
		return id.Members
	}
	if _, known := t.Node(id.Node); !known && !t.WasRemoved(id.Node) {
		return id.Members
	}
	all := make([]logstore.IdentityMember, 0, len(t.Nodes))
	for i := range t.Nodes {
		all = append(all, logstore.IdentityMember{Node: t.Nodes[i].ID, Addr: t.Nodes[i].Addr})
	}
	return all
}

// close stops everything that Run started, in the order of their dependence: first what
// takes requests, then the loop that serves them, then the transport that it sends
// through, and the log last.
func (n *Node) close() {
	n.trail.said("stop", "node "+n.name, "")
	n.cancel()
	n.enrolment.giveUp()
	n.door.close()
	if loop := n.running(); loop != nil {
		loop.Close()
	}
	if n.transport != nil {
		n.transport.Close()
	}
	n.ended.Wait()
	if inbox := n.inbox.Load(); inbox != nil {
		inbox.Close()
	}
	if n.fetcher != nil {
		n.fetcher.Close()
	}
	if files := n.blocks.Load(); files != nil {
		if err := files.Close(); err != nil {
			n.log.Error("block files not closed cleanly", "err", err)
		}
	}
	if err := n.hinting.close(); err != nil {
		n.log.Error("hints not closed cleanly", "err", err)
	}
	if n.store != nil {
		if err := n.store.Close(); err != nil && !errors.Is(err, logstore.ErrStopped) {
			n.log.Error("log not closed cleanly", "err", err)
		}
	}
}
