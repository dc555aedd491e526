package node

import (
	"cmp"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"muster/logstore"
	"muster/raft"
	"muster/repl"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
)

// founding answers a host that looks for others to found a cluster with.
func (c *connection) founding(_ wire.Header, r repl.Reply, body []byte) {
	var q wire.Founding
	if err := q.Read(body); err != nil {
		c.refuse(r, wire.BadBody(wire.TypeFounding, err))
		return
	}
	a, ok := c.node.enrolment.answer()
	if !ok {
		c.refuse(r, c.node.notReady())
		return
	}
	c.answerNow(r, wire.TypeFoundingAnswer, a.Append(nil))
}

// answerCounters answers with how many frames of each type came and went.
func answerCounters(c *connection, r repl.Reply) {
	a := wire.CountersAnswer{Rows: append(c.node.counters.Rows(), c.node.notices.rows()...)}
	a.Rows = append(a.Rows, c.node.door.shedding.rows()...)
	a.Rows = append(a.Rows, c.node.trail.rows()...)
	if n := c.node.watching.strays.Load(); n > 0 {
		a.Rows = append(a.Rows, wire.CounterRow{Name: "stray words of streams", In: n})
	}
	if loop := c.node.running(); loop != nil {
		loop.Ask(func(h *repl.Host) {
			for _, r := range h.Refusals() {
				a.Rows = append(a.Rows, wire.CounterRow{Name: "refused: " + r.Why, In: r.Count})
			}
			a.Rows = append(a.Rows, mendRows(h.Mends())...)
			a.Rows = append(a.Rows, auditRows(h.Audits.Counts())...)
			a.Rows = append(a.Rows, latencyRows(&h.Stages)...)
		})
		a.Rows = append(a.Rows, latencyOf(loop.Syncs().Lately).Rows(wire.LatencySyncs)...)
		if t := c.node.table.Load(); t != nil && t.IncidentCount > 0 {
			a.Rows = append(a.Rows, wire.CounterRow{Name: "incidents of the cluster", In: t.IncidentCount})
		}
		a.Rows = append(a.Rows, c.node.carrying.rows()...)
		a.Rows = append(a.Rows, c.node.assigning.rows()...)
		a.Rows = append(a.Rows, c.node.sealer.rows()...)
	}
	c.answerNow(r, wire.TypeCountersAnswer, a.Append(nil))
}

// latencyRows are how long requests took of late, as rows of the counters.
func latencyRows(s *repl.Stages) []wire.CounterRow {
	return append(latencyOf(s.Lately(repl.WriteWhole)).Rows(wire.LatencyWrites), latencyOf(s.Lately(repl.ReadWhole)).Rows(wire.LatencyReads)...)
}

func latencyOf(l repl.Lately) wire.Latency {
	return wire.Latency{Count: l.Count, P50: l.P50, P99: l.P99}
}

// report is what this node tells about itself and the cluster, from what it knows. It
// asks no other node.
type report struct {
	// Set once.
	name, addr string
	data       string // the data directory
	started    time.Time
	fs         *diskWatch
	store      *logstore.Store
	transport  *repl.Peers
	self       func() logstore.Identity
	said       func(raft.NodeID) met
	jobs       *jobWatch
	stuckMoves func(*shardmap.Table) []wire.Problem
	nearLimits func(*shardmap.Table) []wire.Problem // of prefixes
	trailed    func() []wire.Problem
	blockFiles func() []wire.Problem
	hints      func() []wire.Problem
	door       *door
	watches    func(answer func(machine.WatchRooms)) // asks how near the watches are to their limits
	// downServices are those in groups that are led here.
	downServices func() []wire.Problem
	certificates func() []wire.Problem                // what should be known of them
	lostKeys     func() []wire.Problem                // without which none are made
	hearsay      func(*shardmap.Table) []wire.Problem // what others say, and this node does not go by
}

// view is what the host knows, taken between two of its turns.
type view struct {
	groups  []repl.GroupView
	heard   map[raft.NodeID]time.Duration // how long ago
	awaited map[raft.NodeID]bool          // it is too soon to tell
	full    map[raft.NodeID]wire.Fullness
	links   map[raft.NodeID]repl.Link // to those of which nothing is heard
	stalled map[raft.NodeID]bool      // of others
	doubt   logstore.Doubt
}

func newView() *view {
	return &view{heard: make(map[raft.NodeID]time.Duration), awaited: make(map[raft.NodeID]bool), stalled: make(map[raft.NodeID]bool)}
}

// view returns what the host knows, and false if the loop does not answer within
// callTimeout: it has ended, or reads a replica that was just mended.
func (p *report) view(loop *repl.Loop, table *shardmap.Table) (view, bool) {
	v := newView()
	if !inTurn(loop, func(h *repl.Host) { v.look(h, loop.Now(), table) }) {
		return view{}, false
	}
	v.ways(p.self().Node, table, p.transport.Link)
	return *v, true
}

// look takes a view of the host, in one of its turns.
func (v *view) look(h *repl.Host, now time.Duration, table *shardmap.Table) {
	v.groups, v.full, v.doubt = h.View(), h.Contacts().Fullness(), h.Doubt()
	for i := range table.Nodes {
		if ago, known := h.Contacts().Heard(table.Nodes[i].ID, now); known {
			v.heard[table.Nodes[i].ID] = ago
		}
		if h.Contacts().Stalled(table.Nodes[i].ID) {
			v.stalled[table.Nodes[i].ID] = true
		}
		if h.Contacts().Awaited(table.Nodes[i].ID) {
			v.awaited[table.Nodes[i].ID] = true
		}
	}
}

// status returns whether a node was heard of lately. While it is too soon to tell, the
// node counts as alive.
func (v *view) status(self, id raft.NodeID) wire.NodeStatus {
	if id == self || v.awaited[id] {
		return wire.NodeAlive
	}
	ago, ever := v.heard[id]
	if ever && ago <= aliveWithin {
		return wire.NodeAlive
	}
	if l, ok := v.links[id]; ok && answersOnly(&l, ago, ever) {
		return wire.NodeAlive
	}
	return wire.NodeDead
}

// leader returns the node that leads a group, as far as its replica here knows, or 0.
func leader(g *repl.GroupView) raft.NodeID {
	m, _ := g.Status.Membership.Member(g.Status.Leader)
	return m.Node
}

// topology is which group owns which slot, and which node leads which group, as far as
// this node knows.
func (p *report) topology(table *shardmap.Table, v *view) wire.TopologyAnswer {
	self := p.self().Node
	a := wire.TopologyAnswer{ClusterID: table.ClusterID, Epoch: table.Epoch, Index: table.Index, ValueMax: uint32(table.ValueMax), Level: table.Level}
	for _, t := range table.Nodes {
		a.Nodes = append(a.Nodes, wire.TopologyNode{ID: t.ID, Name: t.Name, Addr: t.Addr, Role: t.Role, Status: v.status(self, t.ID)})
	}
	leaders := make(map[raft.GroupID]raft.NodeID)
	for i := range v.groups {
		leaders[v.groups[i].Replica.Group] = leader(&v.groups[i])
	}
	for _, g := range table.Groups {
		t := wire.TopologyGroup{ID: g.ID, Leader: leaders[g.ID]}
		for _, rep := range g.Replicas {
			t.Nodes = append(t.Nodes, rep.Node)
		}
		a.Groups = append(a.Groups, t)
	}
	a.Slots = append(a.Slots, table.Ranges()...)
	return a
}

// answerStatus answers with the state of the cluster, from what this node knows.
func answerStatus(c *connection, r repl.Reply) {
	loop, table := c.readyToTell(r)
	if loop == nil {
		return
	}
	v, ok := c.node.report.view(loop, table)
	if !ok {
		c.refuse(r, c.node.notReady())
		return
	}
	if e := c.node.report.tooSoon(table, &v); e != nil {
		c.refuse(r, e)
		return
	}
	a := c.node.report.statusOf(table, &v)
	c.answerNow(r, wire.TypeStatusAnswer, a.Append(nil))
}

// tooSoon refuses to tell the state of the cluster until this node has heard of all
// others, or could have. A node that has just started would call them dead, or alive,
// without knowing either.
func (p *report) tooSoon(table *shardmap.Table, v *view) *wire.Error {
	var names []string
	for i := range table.Nodes {
		if t := &table.Nodes[i]; v.awaited[t.ID] {
			names = append(names, t.Name+" ("+t.Addr+")")
		}
	}
	if len(names) == 0 {
		return nil
	}
	return wire.NotReady("node "+p.name, "has not heard of "+strings.Join(names, ", ")+" yet, and may within a second", "ask again in a second", startedRetry)
}

func (p *report) statusOf(table *shardmap.Table, v *view) wire.StatusAnswer {
	id := p.self()
	a := wire.StatusAnswer{
		Cluster: table.Cluster, ClusterID: table.ClusterID, Self: id.Node, Epoch: table.Epoch,
		Level: table.Level, CPUMicros: cpuMicros(), RSS: residentBytes(), Log: p.logStats(),
	}
	for _, t := range table.Nodes {
		s := wire.StatusNode{ID: t.ID, Name: t.Name, Addr: t.Addr, Role: t.Role, Status: v.status(id.Node, t.ID),
			Version: t.Version, Start: t.Start, LastHeardMs: uint64(v.heard[t.ID].Milliseconds()), Level: t.Level, Weight: t.Weight}
		s.Labels = t.Labels
		a.Nodes = append(a.Nodes, s)
	}
	known := make(map[raft.GroupID]*repl.GroupView)
	for i := range v.groups {
		known[v.groups[i].Replica.Group] = &v.groups[i]
	}
	if g := known[0]; g != nil {
		row := statusGroup(g, 0)
		if g.Down() {
			row = damaged(g, row)
		}
		a.Groups = append(a.Groups, row)
	}
	owned := make(map[raft.GroupID]uint32)
	for _, o := range table.Ranges() {
		owned[o.Group] += uint32(o.To-o.From) + 1
	}
	for _, t := range table.Groups {
		slots := owned[t.ID]
		switch g := known[t.ID]; {
		case g == nil:
			a.Groups = append(a.Groups, elsewhere(t, slots))
		case g.Down():
			a.Groups = append(a.Groups, damaged(g, elsewhere(t, slots)))
		default:
			a.Groups = append(a.Groups, statusGroup(g, slots))
		}
	}
	o := newOutlook(&a, table)
	a.Problems = append(problems(&a, known, v.links, p.addr, o.replacements()), fullDisks(a.Nodes, v.full)...)
	a.Problems = append(p.stalledDisks(a.Nodes, v.stalled), a.Problems...)
	a.Problems = append(p.hearsay(table), a.Problems...)
	a.Problems = append(doubts(&a, v), a.Problems...)
	differing, differed := Differing(table)
	a.Problems = slices.Concat(a.Problems, o.short(), differing, p.fencedHere(table, v.groups), p.jobs.stuck(time.Now()), p.stuckMoves(table))
	a.Notes = slices.Concat(differed, failedBackup(table), o.notes())
	o.stages()
	a.Healthy = len(a.Problems) == 0
	return a
}

// statusGroup is the row of a group that has a replica here.
func statusGroup(g *repl.GroupView, slots uint32) wire.StatusGroup {
	s := g.Status
	row := wire.StatusGroup{
		ID: g.Replica.Group, Incarnation: g.Replica.Incarnation, Leader: leader(g), Term: s.Term,
		Commit: g.Commit, Applied: s.Applied, Slots: slots,
	}
	add := func(m raft.Member, role shardmap.ReplicaRole) {
		rep := wire.StatusReplica{ID: m.Replica, Node: m.Node, Role: role}
		if m.Replica == g.Replica.ID {
			rep.Match = s.Durable
			if s.Role == raft.RoleLeader {
				rep.State = wire.ReplicaLeads
			}
		}
		for _, p := range s.Progress {
			if p.Replica == m.Replica {
				rep.Match = p.Match
				rep.State = replicaState(p)
			}
		}
		row.Replicas = append(row.Replicas, rep)
	}
	for _, m := range s.Membership.Voters {
		add(m, shardmap.ReplicaVoter)
	}
	for _, m := range s.Membership.Learners {
		add(m, shardmap.ReplicaLearner)
	}
	slices.SortFunc(row.Replicas, func(a, b wire.StatusReplica) int { return cmp.Compare(a.ID, b.ID) })
	return row
}

func replicaState(p raft.Progress) wire.ReplicaState {
	switch {
	case !p.Active:
		return wire.ReplicaLost
	case p.State == raft.ProgressProbe:
		return wire.ReplicaProbed
	case p.State == raft.ProgressSnapshot:
		return wire.ReplicaSnapshot
	}
	return wire.ReplicaReplicates
}

// elsewhere is the row of a group of which only the table is known here.
func elsewhere(t shardmap.TableGroup, slots uint32) wire.StatusGroup {
	row := wire.StatusGroup{ID: t.ID, Incarnation: t.Incarnation, Slots: slots}
	for _, r := range t.Replicas {
		row.Replicas = append(row.Replicas, wire.StatusReplica{ID: r.Replica, Node: r.Node, Role: r.Role})
	}
	return row
}

func (p *report) logStats() wire.LogStats {
	s := p.store.Stats()
	return wire.LogStats{Bytes: s.Bytes, Batches: s.Batches, Syncs: s.Batches, Segments: uint64(s.Segments), Recycled: s.Recycled,
		EntryBytes: s.Entries, MovedBytes: s.Moved, FilledBytes: s.FilledBytes, Snapshots: s.Snapshots, SnapshotBytes: s.SnapshotBytes}
}

// cpuMicros is the processor time that this process has used, in µs.
func cpuMicros() uint64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return uint64(u.Utime.Nano()+u.Stime.Nano()) / 1000
}

// residentBytes is the memory that this process has in use, in bytes, or 0 if the system
// does not say.
func residentBytes() uint64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseUint(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * uint64(os.Getpagesize())
}
