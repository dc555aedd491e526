package node

import (
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"path"
	"slices"
	"time"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/raft"
	"muster/repl"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
)

// freeSegments is how many segments of the log a node keeps for later use: 64
// MiB at most, and only of a log that was once that large. With two it made new
// ones all the time, and wrote 2.6 bytes to the disk for each byte of an entry;
// with four, as with eight, 2.0.
const freeSegments = 4

// Time-outs of a node's own requests to other hosts.
const (
	dialTimeout = 2 * time.Second
	callTimeout = 3 * time.Second
	// handOverMax is how long a node that stops waits for others to lead its
	// groups: an election that one of them loses, and another.
	handOverMax = 2 * time.Second
	// stopMax is how long a node that is to stop waits for its disk: for a slow
	// one long enough. Then it ends without: a goroutine that stands in a call
	// to a disk that hangs can't be made to return.
	stopMax = 10 * time.Second
	// foundingPause lies between two questions to one host while founding.
	foundingPause = 100 * time.Millisecond
)

// Run runs one node until ctx ends, then stops it and returns nil. It calls
// ready once, when the node listens, with the address that it listens on.
//
// It returns an error, in one line, if the node can't start, can't be founded
// with the hosts it was given, or can't go on: the data directory is in use,
// damaged or another cluster's, the address is taken, a sync was refused.
//
// It returns within handOverMax and stopMax after ctx ended, whatever the disk
// does: an error that wraps [ErrNotStopped] says that something still waits for
// the disk. The process is to end then; nothing that was confirmed is lost by
// that, as by a power cut.
func Run(ctx context.Context, c Config, log *slog.Logger, ready func(addr string)) error {
	return run(ctx, c, log, defaultLimits(), func(_ *Node, addr string) { ready(addr) })
}

// run is [Run] with other limits, and shows the node to ready.
func run(ctx context.Context, c Config, log *slog.Logger, l limits, ready func(n *Node, addr string)) error {
	return runOn(ctx, vfs.OS{}, c, log, l, ready)
}

// ErrNotStopped is wrapped by the error of a node that was to stop and did not,
// because its disk does not answer.
var ErrNotStopped = errors.New("the node ends without its disk")

// runOn is run on a disk.
func runOn(ctx context.Context, disk vfs.FS, c Config, log *slog.Logger, l limits, ready func(n *Node, addr string)) error {
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
	secret, err := c.Secret()
	if err != nil {
		return err
	}
	listener, lock, err := claim(w, &c)
	if err != nil {
		return err
	}
	defer lock.Close()
	bound := listener.Addr().String()
	n := &Node{
		cfg: c, secret: secret, fs: w, lock: lock, listener: listener,
		mark: randomNumber(), addr: c.AdvertiseOn(c.listenAs(bound)), name: c.NodeName(bound), started: time.Now(),
		log:       log,
		limits:    l,
		attesting: attesting{own: c.AdvertiseOn(c.listenAs(bound))},
		reads:     make(chan func(), readQueueMax),
		tables:    make(chan struct{}, 1),
		conns:     make(map[net.Conn]*connection),
		feeds:     make(map[raft.NodeID]int),
		met:       make(map[raft.NodeID]met),
	}
	n.ctx, n.cancel = context.WithCancel(context.Background()) // not of ctx: close says when
	defer n.close()
	defer close(ending)
	if err := n.identify(); err != nil {
		return err
	}
	n.log = log.With("node", n.name)
	n.notices.log, n.notices.pause = n.log, l.noticePause
	for _, a := range []*arrivals{&n.clientArrivals, &n.peerArrivals} {
		a.max, a.share = l.arrivingBytes, l.inflightBytesShare
	}
	n.log.Info("node starts", "id", n.identity.Node, "start", n.identity.Life().Number, "listen", bound, "advertise", n.addr, "data", c.Data)
	n.ended.Add(1)
	go n.accept()
	for range listersMax() {
		n.ended.Add(1)
		go n.lister()
	}
	ready(n, bound)
	if err := n.becomeMember(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	if err := n.serve(); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		n.log.Info("node stops")
		n.running().HandOver(handOverMax)
		return nil
	case err := <-n.running().Failed():
		n.log.Error("node stops: the log takes no more writes", "err", err)
		return err
	}
}

// identify reads who this node is, or makes it up.
func (n *Node) identify() error {
	id, ok, err := logstore.ReadIdentity(n.fs, n.cfg.Data)
	if err != nil {
		return err
	}
	if !ok {
		files, err := n.fs.List(path.Join(n.cfg.Data, logstore.LogDir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("look whether there is a log: %w", err) // a node that only seems new would vote again
		}
		if len(files) > 0 {
			return wire.Damaged("data directory "+n.cfg.Data, "it has a log and no identity file",
				"put the file back as it was when the node last ran; if there is no copy, "+logstore.EmptyRemedy)
		}
		id = logstore.Identity{Stage: logstore.StageFounding, Cluster: n.cfg.Cluster, Node: raft.NodeID(randomNumber())}
		for _, a := range n.cfg.Join {
			id.Members = append(id.Members, logstore.IdentityMember{Addr: normalAddr(a)})
		}
	}
	if id.Cluster != n.cfg.Cluster {
		return wire.WrongCluster(fmt.Sprintf("data directory %s", n.cfg.Data), fmt.Sprintf("it is of cluster %q, --cluster says %q", id.Cluster, n.cfg.Cluster),
			fmt.Sprintf("give --cluster %s, or another --data", id.Cluster))
	}
	if id.Stage == logstore.StageFounding {
		if err := n.sameFounding(id); err != nil {
			return err
		}
	} else if len(n.cfg.Join) > 0 {
		n.log.Info("--join founds nothing: the data directory belongs to a cluster, whose members are looked for at these addresses too", "cluster", id.Cluster, "cluster_id", fmt.Sprintf("%016x", id.ClusterID), "join", joinAddrs(n.cfg.Join))
	}
	if id.Stage == logstore.StageFounding {
		// It has no log yet, and tells the others from now on which life of it
		// they hear. That of a member begins once its log is open.
		if id, err = id.Begin(0, n.mark, 0); err == nil {
			err = logstore.WriteIdentity(n.fs, n.cfg.Data, id)
		}
		if err != nil {
			return err
		}
	}
	n.mu.Lock()
	n.identity = id
	if undecided(&id) && len(n.cfg.Join) > 0 {
		// Before the first connection is taken: who asks is told whom this
		// host waits for.
		n.found = newFounding(n.cfg.Cluster, id.Node, n.cfg.AdvertiseOn(n.cfg.Listen), n.cfg.Join)
		n.found.settings = wire.FoundingSettings{Groups: uint32(n.cfg.Groups), ValueMax: uint32(n.cfg.ValueMax)}
	}
	n.mu.Unlock()
	return nil
}

// sameFounding refuses to go on with a founding of other hosts than the one
// that the directory was in: its id has been told to those, and they may have
// decided to count it in.
func (n *Node) sameFounding(id logstore.Identity) error {
	var was, is []string
	for _, m := range id.Members {
		was = append(was, m.Addr)
	}
	for _, a := range n.cfg.Join {
		is = append(is, normalAddr(a))
	}
	if sameSet(was, is) {
		return nil
	}
	what := "alone"
	if len(was) > 0 {
		what = fmt.Sprintf("with --expect %d --join %s", len(was), joinAddrs(was))
	}
	return wire.BadRequest("data directory "+n.cfg.Data, "it began to found a cluster "+what,
		"start it so again, or remove the directory first if no other host has ever run with these options")
}

// randomNumber is never zero, and nobody can guess it.
func randomNumber() uint64 {
	var b [8]byte
	for {
		crand.Read(b[:]) // never fails (crypto/rand)
		if n := binary.LittleEndian.Uint64(b[:]); n != 0 {
			return n
		}
	}
}

// becomeMember founds the cluster, unless the identity already names one.
func (n *Node) becomeMember(ctx context.Context) error {
	id := n.self()
	if !undecided(&id) {
		return nil
	}
	if len(n.cfg.Join) == 0 {
		return n.decide([]logstore.IdentityMember{{Node: id.Node, Addr: n.addr}}, 0)
	}
	f := n.found // set by identify; only this goroutine and those that it starts change it
	if len(f.hosts) == 1 {
		return n.decide(f.members(), 0)
	}
	n.log.Info("founding", "cluster", n.cfg.Cluster, "hosts", joinAddrs(f.hosts))
	ctx, cancel := context.WithCancel(ctx)
	verdicts := make(chan error, len(f.hosts)) // from poll; each sends one at most
	for _, h := range f.hosts {
		if h != f.addr {
			n.ended.Add(1)
			go n.poll(ctx, h, verdicts)
		}
	}
	defer cancel()
	select {
	case <-ctx.Done():
		return nil
	case err := <-verdicts:
		if err != nil {
			return err
		}
	}
	return nil
}

// poll asks one host again and again, until the founding is over.
func (n *Node) poll(ctx context.Context, host string, verdicts chan<- error) {
	defer n.ended.Done()
	said := ""
	say := func(level slog.Level, why string) {
		if why != said {
			said = why
			n.notices.waits(level, host, why)
		}
	}
	for {
		n.mu.Lock()
		f := n.found
		if f == nil {
			n.mu.Unlock()
			return
		}
		q := f.question(n.identity.Life().Number)
		n.mu.Unlock()
		var a wire.FoundingAnswer
		err := n.call(ctx, 0, host, wire.RoleFounding, wire.TypeFounding, &q, &a)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			if final := refusal(err); final != nil {
				verdicts <- fmt.Errorf("found a cluster with %s: %w", host, final)
				return
			}
			say(slog.LevelInfo, err.Error())
			n.mu.Lock()
			if tooLate(err) {
				var refusal *wire.Error
				errors.As(err, &refusal)
				f.leftOut(host, refusal)
			} else {
				f.silent(host, err)
			}
			n.mu.Unlock()
		} else if done, why, err := n.heard(host, a); done || err != nil {
			verdicts <- err
			return
		} else if why != "" {
			say(slog.LevelWarn, why)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(foundingPause):
		}
	}
}

// tooLate reports whether a host refused a founding because it belongs to a
// cluster without this host, which then waits: that other host may be emptied.
func tooLate(err error) bool {
	var elsewhere *wire.ElsewhereError // this node's own refusal of another
	return errors.Is(err, &wire.Error{Code: wire.CodeUnknownNode}) && !errors.As(err, &elsewhere)
}

// refusal returns err if asking again can't help: the host is there, but is
// none of ours.
func refusal(err error) error {
	var elsewhere *wire.ElsewhereError
	if errors.As(err, &elsewhere) {
		return nil // the right one may be started there
	}
	var e *wire.Error
	if errors.As(err, &e) && e.Retry() == wire.RetryNever && !tooLate(err) {
		return e
	}
	if errors.Is(err, wire.ErrForeign) {
		return err
	}
	return nil
}

// heard takes one host's answer, and does what follows from it. It reports
// whether the founding is over, or, if it can't go on before an operator has seen
// to it, why.
func (n *Node) heard(host string, a wire.FoundingAnswer) (done bool, why string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f := n.found
	if f == nil {
		return true, "", nil
	}
	v, err := f.hear(host, a)
	if err != nil {
		return false, "", err
	}
	switch v {
	case foundDecided:
		return true, "", n.decideLocked(f.members(), 0)
	case foundAdopt:
		var members []logstore.IdentityMember
		for _, m := range a.Members {
			members = append(members, logstore.IdentityMember{Node: m.Node, Addr: m.Addr})
		}
		return true, "", n.decideLocked(members, a.ClusterID)
	case foundStandby, foundDiffer:
		return false, f.why[host], nil
	}
	return false, "", nil
}

func (n *Node) decide(members []logstore.IdentityMember, id uint64) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.decideLocked(members, id)
}

// decideLocked makes this node a member of the cluster of these founders, on
// disk first. id is the cluster's, if another host has said it.
func (n *Node) decideLocked(members []logstore.IdentityMember, id uint64) error {
	next, err := decided(n.identity, members, id)
	if err != nil {
		return err
	}
	if err := logstore.WriteIdentity(n.fs, n.cfg.Data, next); err != nil {
		return err
	}
	n.identity = next
	n.found = nil
	n.log.Info("cluster founded", "cluster", next.Cluster, "cluster_id", fmt.Sprintf("%016x", next.ClusterID), "members", len(members))
	return nil
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
	meta := metaPlacement(id.Node, id.Members)
	if err := n.beginLog(meta.Replica, meta.Membership); err != nil {
		return err
	}
	id = n.self()
	transport := repl.NewPeers(repl.PeersConfig{
		Own: n.addr, Seeds: n.cfg.Join, Up: n.reached, Attested: n.attesting.answered,
		Dial: n.dialPeer, DialBulk: n.dialBulk, BulkRate: int64(n.cfg.SnapshotRate), Sent: n.sent, Store: store, DamageFound: n.damageFound, FetchBytes: raft.AppendBytesMaxDefault, Counters: &n.counters, Log: n.log,
	})
	n.mu.Lock()
	n.transport = transport
	n.mu.Unlock()
	n.attesting.peers.Store(transport)
	host, err := repl.NewHost(repl.HostConfig{
		Self: id.Node, Store: store, Transport: n.transport,
		Machine: n.machine, Addr: n.addrOf, Stalled: n.fs.hangs.Load,
		Chance:        randomNumber(),
		Each:          besides,
		ElectionTicks: electionTicks, HeartbeatTicks: heartbeatTicks, QuietTicks: quietTicks,
		Log: n.log,
	})
	if err != nil {
		return err
	}
	if err := n.refuseDamage(host.View()); err != nil {
		return err
	}
	n.host = host
	host.Place([]repl.Placement{meta})
	n.follow(n.table.Load())
	loop := repl.StartLoop(host, tick, int64(n.cfg.SnapshotRate))
	n.serving.Store(loop)
	n.inbox.Store(repl.NewInbox(repl.InboxConfig{Store: store, Machine: n.machine, Host: n.ask, Log: n.log}))
	n.ended.Add(1)
	go n.announceSelf()
	n.ended.Add(1)
	go n.scrub()
	return nil
}

// beginLog begins this node's life in the log, and puts the beginning of group 0
// into a new one, before anything is promised. From then on an empty log is a
// lost one: the node would vote again where it has voted, so it does not start.
func (n *Node) beginLog(r logstore.Replica, m raft.Membership) error {
	id := n.self()
	begun := slices.Contains(n.store.Replicas(), r)
	if !begun && id.Stage == logstore.StageMember {
		return wire.Damaged("data directory "+n.cfg.Data, "the log of group 0 is gone, and with it what this node promised",
			"put the log back as it was when the node last stopped; if there is no copy, "+logstore.EmptyRemedy)
	}
	id, err := logstore.BeginLife(n.store, id, 0, n.mark)
	if err != nil {
		return err
	}
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
	n.mu.Lock()
	n.identity = id
	n.mu.Unlock()
	return nil
}

// machine makes the state machine of a replica.
func (n *Node) machine(r logstore.Replica) repl.StateMachine {
	if r.Group == 0 {
		m := machine.NewMeta(n.tableChanged)
		m.Table.Understand(n.limits.level)
		return m
	}
	var slots []shardmap.Slot
	if t := n.table.Load(); t != nil {
		slots = t.SlotsOf(r.Group)
	}
	m := machine.NewMap(r.Group, slots)
	m.State.Understand(n.limits.level)
	return m
}

// tableChanged is called by the goroutine that applies, with each new table.
func (n *Node) tableChanged(t *shardmap.Table) {
	n.table.Store(t)
	n.follow(t)
	select {
	case n.tables <- struct{}{}:
	default: // announceSelf has not looked since the last one
	}
}

// follow brings this node in line with the table: who the peers are, and which
// replicas it should have. Before the first table the founders are the peers.
func (n *Node) follow(t *shardmap.Table) {
	if n.host == nil {
		return // the log is being read; serve calls again
	}
	id := n.self()
	addrs := make(map[raft.NodeID]string)
	for _, m := range id.Members {
		addrs[m.Node] = m.Addr
	}
	if t != nil {
		for _, node := range t.Nodes {
			addrs[node.ID] = node.Addr
		}
	}
	delete(addrs, id.Node)
	var nodes []raft.NodeID
	for node, addr := range addrs {
		n.transport.SetNode(node, addr)
		n.mu.Lock()
		said := n.met[node].addr // it may have dialled before anybody here could dial it
		n.mu.Unlock()
		n.transport.Claim(node, said)
		nodes = append(nodes, node)
	}
	n.host.SetNodes(nodes)
	if t == nil {
		return
	}
	var place []repl.Placement
	for i := range t.Groups {
		if p, ok := machine.Placement(&t.Groups[i], id.Node); ok {
			place = append(place, p)
		}
	}
	n.host.Place(place)
}

// addrOf returns where a node was found last, or is, as the table or the
// founding has it.
func (n *Node) addrOf(id raft.NodeID) string {
	if p := n.attesting.peers.Load(); p != nil {
		if addr := p.Addr(id); addr != "" {
			return addr
		}
	}
	if t := n.table.Load(); t != nil {
		if node, ok := t.Node(id); ok && node.Addr != "" {
			return node.Addr
		}
	}
	for _, m := range n.self().Members {
		if m.Node == id {
			return m.Addr
		}
	}
	return ""
}

// close stops everything that Run started, in the order in which the one
// depends on the other.
func (n *Node) close() {
	n.cancel()
	n.listener.Close()
	n.mu.Lock()
	n.found = nil
	for conn, c := range n.conns {
		conn.Close()
		if c != nil {
			c.end() // its reader may wait for answers that will not come
		}
	}
	n.mu.Unlock()
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
	if n.store != nil {
		if err := n.store.Close(); err != nil && !errors.Is(err, logstore.ErrStopped) {
			n.log.Error("log not closed cleanly", "err", err)
		}
	}
}
