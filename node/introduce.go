package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"muster/logstore"
	"muster/raft"
	"muster/repl"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
)

const (
	// announcePauseMin and announcePauseMax bound the pause between two
	// attempts to announce this node; it doubles from the one to the other.
	announcePauseMin = 10 * time.Millisecond
	announcePauseMax = 500 * time.Millisecond
	// announceQuiet is how long it may take before that is logged: an election
	// that is lost, and another. Until then a node that is not ready is no news.
	announceQuiet = 3 * time.Second
	// readyQuiet is the same until every group here has a leader.
	readyQuiet = 10 * time.Second
	// nameMark is how many digits of its id a node puts behind its name if
	// another one has the same.
	nameMark = 4
)

// announcer makes sure that the table says what this node is, and makes the table if
// there is none.
type announcer struct {
	// Set once.
	cfg        *Config
	name, addr string // of this node; the name is the one that it would like to have
	level      uint32 // of commands: the newest that this build understands
	secure     bool   // a cluster that this node founds has TLS
	log        *slog.Logger
	self       func() logstore.Identity
	table      func() *shardmap.Table // nil before the meta group's log was read
	loop       func() *repl.Loop      // once there is one: the announcer runs only then
	// ask has the leader of group 0 put an announcement into the log.
	ask func(ctx context.Context, leader raft.NodeID, a *wire.Announce) error
	// current waits until table returns no older one than there is now.
	current func(ctx context.Context) error
	tables  chan struct{} // one token: there is a new table. From changed, to run; never closed
}

// changed says that there is a new table.
func (s *announcer) changed() {
	select {
	case s.tables <- struct{}{}:
	default: // run has not looked since the last one
	}
}

// run founds the table, if this node leads group 0 and there is none, and tells the
// meta group what this node is, until the table says so. Then it logs that the node is
// ready, and announces it again whenever the table says something else.
func (s *announcer) run(ctx context.Context) {
	if !s.announce(ctx) || !s.awaitReady(ctx) {
		return
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.tables:
		}
		// It may need another name; and what an earlier life of the node said may come
		// late, over a leader that stood still. With an older address, or the level of
		// another binary, others would count on what is not there.
		if !s.announced() && !s.announce(ctx) {
			return
		}
	}
}

// announce reports whether the table has this node as it is; false: the node
// ends.
func (s *announcer) announce(ctx context.Context) bool {
	began, said, pause := time.Now(), "", announcePauseMin
	for !s.announced() {
		err := s.once(ctx)
		if err != nil && err.Error() != said && time.Since(began) > announceQuiet {
			said = err.Error()
			s.log.Info("not announced yet", "err", err)
		}
		if s.announced() {
			break
		}
		select {
		case <-ctx.Done():
			return false
		case <-s.tables: // perhaps with this node in it
		case <-time.After(pause):
			pause = min(2*pause, announcePauseMax)
		}
	}
	s.log.Info("node announced", "name", nameOf(s.table(), s.self().Node), "addr", s.addr)
	return true
}

// once tries once to put into the table what this node is.
func (s *announcer) once(ctx context.Context) error {
	loop, id := s.loop(), s.self()
	var lead raft.NodeID
	if !loop.Ask(func(h *repl.Host) {
		for _, g := range h.View() {
			if g.Replica.Group == 0 {
				lead = leader(&g)
			}
		}
	}) {
		return errStopped
	}
	t := s.table()
	switch {
	case lead == 0:
		return errors.New("group 0 has no leader")
	case lead == id.Node && (t == nil || !t.Founded()):
		return s.propose(ctx, func() ([]byte, error) { return shardmap.AppendFound(nil, s.founder(id)) })
	}
	if t != nil && t.Founded() && s.cfg.Name == "" {
		if err := s.current(ctx); err != nil {
			return err
		}
	}
	a := s.announcement(id)
	if lead == id.Node {
		return s.propose(ctx, func() ([]byte, error) { return machine.AnnounceCommand(&a) })
	}
	return s.ask(ctx, lead, &a)
}

// tableNow waits until the table of loop's node has all that was acknowledged before. What a node finds in
// its log when it starts may be older: a name chosen by that would take back a later choice.
func tableNow(ctx context.Context, loop *repl.Loop) error {
	w := newWaiter()
	loop.Read([]repl.Read{{Group: 0, AnyReplica: true, Deadline: loop.Now() + callTimeout, Reply: repl.Reply{To: w}, Query: reached{}}})
	return w.wait(ctx)
}

// reached is a query that asks for nothing: that it runs is the answer.
type reached struct{}

// Run implements [repl.Query].
func (reached) Run(_ repl.StateMachine, _ raft.LogID, r repl.Reply) (first bool) {
	return r.To.Answer(r, wire.TypeAnnounceAnswer, nil)
}

// announced reports whether the table has this node as it is.
func (s *announcer) announced() bool {
	t := s.table()
	if t == nil {
		return false
	}
	id := s.self()
	row, ok := t.Node(id.Node)
	return ok && row.Start == id.Life().Number && row.Addr == s.addr && row.Name == s.nameIn(t) && row.Version == Version && row.Level == s.level
}

// awaitReady logs once that this node serves: each group of which it has a replica has a
// leader. It reports false if the node ends first.
func (s *announcer) awaitReady(ctx context.Context) bool {
	began, pause, told := time.Now(), announcePauseMin, false
	for {
		waits, ok := s.leaderless()
		if !ok {
			return false
		}
		t := s.table()
		if len(waits) == 0 {
			s.log.Info("node ready", "cluster", t.Cluster, "cluster_id", fmt.Sprintf("%016x", t.ClusterID), "addr", s.addr, "nodes", len(t.Nodes), "groups", len(t.Groups))
			return true
		}
		if !told && time.Since(began) > readyQuiet {
			told = true
			s.log.Warn("not ready yet: "+named(waits, "has", "have")+" no leader", "remedy", "see with muster status which nodes are missing")
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(pause):
			pause = min(2*pause, announcePauseMax)
		}
	}
}

// leaderless lists the groups of which this node, by the table, has a replica and knows
// no leader. A replica that is damaged or has stopped does not wait for one. It is not
// ok if the node ends.
func (s *announcer) leaderless() (waits []raft.GroupID, ok bool) {
	led := make(map[raft.GroupID]bool)
	if !s.loop().Ask(func(h *repl.Host) {
		for _, v := range h.View() {
			led[v.Replica.Group] = v.Down() || v.Stopped != "" || leader(&v) != 0
		}
	}) {
		return nil, false
	}
	self, t := s.self().Node, s.table()
	for i := range t.Groups {
		g := &t.Groups[i]
		for _, r := range g.Replicas {
			if r.Node == self && !led[g.ID] {
				waits = append(waits, g.ID)
			}
		}
	}
	return waits, true
}

// nameIn is what this node is to be called in t. Hosts may share a host name, as copies
// of one image do. A node without a name of its own then adds a piece of its id, and
// keeps that as long as the table has it, so that its name does not depend on which
// node is started first.
func (s *announcer) nameIn(t *shardmap.Table) string {
	if s.cfg.Name != "" || t == nil {
		return s.name
	}
	self := s.self().Node
	distinct := distinctName(s.name, self)
	for i := range t.Nodes {
		switch row := &t.Nodes[i]; {
		case row.ID == self && row.Name == distinct, row.ID != self && row.Name == s.name:
			return distinct
		}
	}
	return s.name
}

// nameOf is what t calls a node, or "".
func nameOf(t *shardmap.Table, id raft.NodeID) string {
	if row, ok := t.Node(id); ok {
		return row.Name
	}
	return ""
}

// founder is the command that makes the table of a new cluster. Names come
// with the announcements.
func (s *announcer) founder(id logstore.Identity) *shardmap.Found {
	f := &shardmap.Found{
		Cluster: id.Cluster, ClusterID: id.ClusterID, Level: s.level,
		ValueMax: s.cfg.ValueMax, Groups: s.cfg.Groups,
	}
	if s.secure && s.level >= shardmap.SecurityLevel {
		f.Mode = shardmap.SecurityBoth
	}
	for _, m := range id.Members {
		node := shardmap.FoundNode{ID: m.Node, Addr: m.Addr, Name: m.Addr, Role: shardmap.NodeServer, Level: s.level}
		f.Nodes = append(f.Nodes, node)
	}
	return f
}

// announcement is what this node says of itself.
func (s *announcer) announcement(id logstore.Identity) wire.Announce {
	a := wire.Announce{Node: id.Node, Start: id.Life().Number, Addr: s.addr, Version: Version, Name: s.nameIn(s.table()), Level: s.level}
	a.Labels = s.cfg.Labels
	return a
}

// propose puts a command of this node itself into the meta group's log, and waits for
// the outcome.
func (s *announcer) propose(ctx context.Context, command func() ([]byte, error)) error {
	b, err := command()
	if err != nil {
		return err
	}
	// The outcome may get lost with the leadership, so announce looks at the table before
	// it tries again.
	w := newWaiter()
	loop := s.loop()
	now := clock(loop, time.Now())
	loop.Propose([]repl.Proposal{{Group: 0, Entry: machine.NewEntry(wire.Origin{Time: now.Wall}, b), Deadline: now.Host + callTimeout, Reply: repl.Reply{To: w}}})
	return w.wait(ctx)
}

// waiter is the replier of a request that this node makes to itself.
type waiter struct {
	done chan error // at most one. From the loop, to whoever waits; never closed
}

func newWaiter() *waiter { return &waiter{done: make(chan error, 1)} }

// Answer implements [repl.Replier].
func (w *waiter) Answer(_ repl.Reply, t wire.Type, body []byte) bool {
	select {
	case w.done <- errorIn(t, body):
	default: // answered twice; the first one counts
	}
	return false
}

// Flush implements [repl.Replier].
func (w *waiter) Flush() {}

func (w *waiter) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
