package node

import (
	"context"
	"runtime"
	"strconv"
	"strings"
	"time"

	"muster/node/metrics"
	"muster/node/web"
	"muster/raft"
	"muster/repl"
	"muster/repl/machine"
	"muster/repl/trust"
	"muster/repl/wire"
	"muster/shardmap"
)

// observed is a node as those who watch it see it.
type observed struct{ node *Node }

var _ metrics.Source = observed{}

// figuresMax bounds how long a scrape waits for goroutines of this node, one after the other. What
// has not answered by then is left out.
const figuresMax = 3 * time.Second

// Collect implements [metrics.Source].
func (o observed) Collect(ctx context.Context, p *metrics.Page) {
	ctx, cancel := context.WithTimeout(ctx, figuresMax)
	defer cancel()
	n := o.node
	self := n.self()
	p.Add(metrics.BuildInfo, 1, Version, runtime.Version(), asLabel(uint32(shardmap.Level)))
	p.Add(metrics.NodeInFlight, float64(n.held.Load()))
	stall, stalled := n.fs.stalled()
	p.Seconds(metrics.DiskStalled, map[bool]time.Duration{true: stall.waited}[stalled])
	p.Add(metrics.TrailLines, float64(n.trail.synced.Load()))
	p.Add(metrics.TrailMissing, float64(n.trail.missing.Load()+n.trail.lost.Load()))
	o.frames(p)
	o.connections(p)
	o.http(p)
	o.ownCertificate(p)
	loop, table := n.running(), n.table.Load()
	p.Yes(metrics.NodeMember, loop != nil)
	if loop == nil {
		p.Yes(metrics.NodeLoopAnswers, false)
		return
	}
	o.log(p, loop)
	o.points(p)
	if table != nil && table.Founded() {
		row, _ := table.Node(self.Node)
		p.Add(metrics.NodeInfo, 1, table.Cluster, self.Node.String(), n.name, row.Role.String())
		o.table(p, table)
	} else {
		table = new(shardmap.Table)
	}
	o.host(ctx, p, loop, table)
	o.leading(ctx, p)
}

// asLabel is a number as the value of a label.
func asLabel[T ~uint16 | ~uint32 | ~uint64](n T) string { return strconv.FormatUint(uint64(n), 10) }

// frames puts on the page what came and went, and what was refused.
func (o observed) frames(p *metrics.Page) {
	n := o.node
	n.counters.Each(func(t wire.Type, r wire.CounterRow) {
		if to := handlerOf(t); to.request != nil {
			p.Add(metrics.Requests, float64(r.In), r.Name)
		}
		p.Add(metrics.Frames, float64(r.In), r.Name, "in")
		p.Add(metrics.Frames, float64(r.Out), r.Name, "out")
		p.Add(metrics.FrameBytes, float64(r.BytesIn), r.Name, "in")
		p.Add(metrics.FrameBytes, float64(r.BytesOut), r.Name, "out")
	})
	n.counters.EachRefused(func(t wire.Type, code wire.Code, requests uint64) {
		typ, why := "unknown", "unknown"
		if t != 0 {
			typ = t.String()
		}
		if code != 0 {
			why = code.String()
		}
		p.Add(metrics.RequestsRefused, float64(requests), typ, why)
	})
}

// http puts on the page what was asked over HTTP.
func (o observed) http(p *metrics.Page) {
	d := o.node.door.web.Door
	d.Served(func(s web.Served, requests uint64) { p.Add(metrics.HTTPRequests, float64(requests), s.Route, s.Code) })
	times := d.Times()
	p.Times(metrics.HTTPDuration, &times)
}

// connections puts on the page who is connected, and who was turned away.
func (o observed) connections(p *metrics.Page) {
	n := o.node
	d, l := n.door, &n.limits
	d.mu.Lock()
	s := &d.seats
	rows := [...]struct {
		kind      string
		now, most int
	}{
		{"client", s.clients, l.clients}, {"peer", s.peers, l.peers}, {"bulk", s.bulks, l.bulks},
		{"stranger", len(s.strangers.conns), l.strangers}, {"known", len(s.known.conns), l.known},
		{"founder", len(s.founders.conns), l.founders}, {"guest", len(s.guests.conns), l.guests},
		{"http", s.webs.Taken(), l.webs}, {"http-visitor", len(s.visitors.conns), l.visitors},
	}
	d.mu.Unlock()
	for _, r := range rows {
		p.Add(metrics.Connections, float64(r.now), r.kind)
		p.Add(metrics.ConnectionsMax, float64(r.most), r.kind)
	}
	for _, r := range n.notices.rows() {
		if reason, ok := strings.CutPrefix(r.Name, noticeOfRefusal); ok {
			p.Add(metrics.ConnectionsRefused, float64(r.In), reason)
		}
	}
}

// ownCertificate puts on the page when the certificate that this node shows ends.
func (o observed) ownCertificate(p *metrics.Page) {
	h := o.node.guard.holder.Get()
	if h.Certificate == nil || h.Certificate.Leaf == nil || trust.Founding(h.Certificate.Leaf) {
		return
	}
	p.Add(metrics.CertificateEnds, float64(h.Certificate.Leaf.NotAfter.Unix()), "own", "")
}

// log puts on the page what this node has written, and the room that it has.
func (o observed) log(p *metrics.Page, loop *repl.Loop) {
	n := o.node
	r := n.report
	s, space := r.store.Stats(), r.store.Space()
	for _, x := range [...]struct {
		id    metrics.ID
		value float64
	}{
		{metrics.LogWritten, float64(s.Bytes)}, {metrics.LogEntries, float64(s.Entries)}, {metrics.LogMoved, float64(s.Moved)},
		{metrics.LogFilled, float64(s.FilledBytes)}, {metrics.LogBatches, float64(s.Batches)}, {metrics.LogSize, float64(s.SegmentBytes)},
		{metrics.LogNeeded, float64(s.NeededBytes)}, {metrics.LogSegments, float64(s.Segments)},
		{metrics.SnapshotsWritten, float64(s.Snapshots)}, {metrics.SnapshotBytes, float64(s.SnapshotBytes)},
	} {
		p.Add(x.id, x.value)
	}
	p.Yes(metrics.DiskFull, space.Full)
	if free := r.freeBytes(); free > 0 {
		p.Add(metrics.DiskFree, float64(free))
	}
	ever := loop.SyncsEver()
	p.Times(metrics.LogSync, &ever)
	p.Seconds(metrics.LogSyncUnderWay, loop.Syncs().UnderWay)
}

// points puts on the page what this node has of points.
func (o observed) points(p *metrics.Page) {
	s := &o.node.sealer
	f := s.figures.Load()
	if f == nil {
		return // the first turn is yet to come
	}
	p.Add(metrics.PointsMemory, float64(f.held))
	p.Add(metrics.PointsMemoryMax, float64(s.limits.Hard))
	p.Yes(metrics.PointsRefused, s.filer.Refuses())
	if uses := s.uses.Load(); uses != nil {
		for _, u := range *uses {
			for of := range u.worst {
				p.Add(metrics.PointsLimitUsed, u.worst[of].part(), u.database, limitNames[of])
			}
		}
	}
	files := o.node.blocks.Load().Stats()
	p.Add(metrics.BlockFiles, float64(files.Files))
	p.Add(metrics.BlockFileBytes, float64(files.Bytes))
	p.Add(metrics.BlockFilesMade, float64(f.made.Files), "made")
	p.Add(metrics.BlockFilesMade, float64(f.made.Fetched), "fetched")
	p.Add(metrics.BlockFilesMade, float64(f.made.Removed), "removed")
}

// table puts on the page what the table says of the cluster.
func (o observed) table(p *metrics.Page, t *shardmap.Table) {
	p.Add(metrics.ClusterLevel, float64(t.Level))
	p.Add(metrics.ClusterIncidents, float64(t.IncidentCount))
	p.Add(metrics.TableIndex, float64(t.Index))
	jobs := map[shardmap.JobState]int{shardmap.JobRunning: 0, shardmap.JobPaused: 0}
	for i := range t.Jobs {
		if s := t.Jobs[i].State; !s.Finished() {
			jobs[s]++
		}
	}
	p.Add(metrics.JobsOpen, float64(jobs[shardmap.JobRunning]), shardmap.JobRunning.String())
	p.Add(metrics.JobsOpen, float64(jobs[shardmap.JobPaused]), shardmap.JobPaused.String())
	p.Add(metrics.JobsStuck, float64(len(o.node.jobs.standing(time.Now()))))
	if good, _ := t.LastBackup(); good.ID != 0 {
		p.Add(metrics.BackupAge, max(0, float64(o.node.errands.wall().Unix()-good.Errand.At)))
	}
	if every := t.BackupEvery(); every > 0 {
		p.Seconds(metrics.BackupDue, every)
	}
	p.Add(metrics.BackupsTaken, float64(o.node.errands.taken.Load()), "taken")
	p.Add(metrics.BackupsTaken, float64(o.node.errands.failed.Load()), "failed")
	o.node.hinting.news.Load().figures(p)
	slots := 0
	for i := range t.Moves {
		slots += int(t.Moves[i].SlotRange.To-t.Moves[i].SlotRange.From) + 1
	}
	p.Add(metrics.MovesOpen, float64(slots))
	for i := range t.Security.Roots {
		r := &t.Security.Roots[i]
		if ends := rootEnds(r.DER); !ends.IsZero() {
			p.Add(metrics.CertificateEnds, float64(ends.Unix()), "root", r.ID.String())
		}
	}
}

// stageNames are the labels of the stages of requests, and none for a whole request.
var stageNames = [repl.StageCount]struct{ kind, stage string }{
	repl.WriteQueue: {"write", "queue"}, repl.WriteLog: {"write", "log"}, repl.WriteCommit: {"write", "commit"}, repl.WriteApply: {"write", "apply"}, repl.WriteWhole: {"write", ""},
	repl.ReadQueue: {"read", "queue"}, repl.ReadConfirm: {"read", "confirm"}, repl.ReadAnswer: {"read", "answer"}, repl.ReadWhole: {"read", ""},
}

// ofHost is what a scrape takes from the host, in one of its turns.
type ofHost struct {
	view
	stages [repl.StageCount]repl.Durations
	mends  repl.MendCounts
	audits repl.AuditCounts
	has    map[raft.GroupID]shardmap.Holdings // of groups that are led here
}

func (f *ofHost) take(h *repl.Host, now time.Duration, t *shardmap.Table) {
	f.look(h, now, t)
	for s := range f.stages {
		f.stages[s] = h.Stages.Ever(repl.Stage(s))
	}
	f.mends, f.audits = h.Mends(), h.Audits.Counts()
	for i := range f.groups {
		g := &f.groups[i]
		if m, ok := h.Machine(g.Replica.Group).(*machine.Map); ok && g.Status.Role == raft.RoleLeader {
			f.has[g.Replica.Group] = shardmap.HoldingsOf(m.State)
		}
	}
}

// host puts on the page what only the loop's goroutine knows.
func (o observed) host(ctx context.Context, p *metrics.Page, loop *repl.Loop, t *shardmap.Table) {
	f := &ofHost{view: *newView(), has: make(map[raft.GroupID]shardmap.Holdings)}
	answers := inTurnWithin(ctx, loop, func(h *repl.Host) { f.take(h, loop.Now(), t) })
	p.Yes(metrics.NodeLoopAnswers, answers)
	if !answers {
		return // what is in f is not to be read
	}
	for s := range f.stages {
		if name := stageNames[s]; name.stage == "" {
			p.Times(metrics.RequestDuration, &f.stages[s], name.kind)
		} else {
			p.Times(metrics.RequestStage, &f.stages[s], name.kind, name.stage)
		}
	}
	for _, r := range countRows("", mendCounts(f.mends)) {
		p.Add(metrics.Mends, float64(r.In), r.Name)
	}
	for _, r := range countRows("", auditCounts(f.audits)) {
		p.Add(metrics.Audits, float64(r.In), r.Name)
	}
	for i := range f.groups {
		f.group(p, &f.groups[i])
	}
	self := o.node.self().Node
	f.ways(self, t, o.node.transport.Link)
	status := map[wire.NodeStatus]int{wire.NodeAlive: 0, wire.NodeDead: 0}
	for i := range t.Nodes {
		id := t.Nodes[i].ID
		status[f.status(self, id)]++
		if ago, ok := f.heard[id]; ok && id != self {
			p.Seconds(metrics.PeersHeard, ago, id.String())
		}
		if l := o.node.transport.Link(id); id != self && l.Connected && l.RTT > 0 {
			p.Seconds(metrics.PeersRTT, l.RTT, id.String())
		}
	}
	if t.Founded() {
		p.Add(metrics.ClusterNodes, float64(status[wire.NodeAlive]), "alive")
		p.Add(metrics.ClusterNodes, float64(status[wire.NodeDead]), "dead")
	}
}

// group puts on the page what a replica here knows of its group.
func (f *ofHost) group(p *metrics.Page, g *repl.GroupView) {
	s, name := &g.Status, asLabel(g.Replica.Group)
	p.Add(metrics.RaftRole, 1, name, s.Role.String())
	p.Yes(metrics.RaftLeaderKnown, s.Leader != 0, name)
	p.Yes(metrics.RaftServes, g.Stopped == "" && g.Fenced == nil && !g.Held && !g.Down(), name)
	p.Add(metrics.RaftTerm, float64(s.Term), name)
	p.Add(metrics.RaftLast, float64(s.Last.Index), name)
	p.Add(metrics.RaftCommit, float64(s.Commit), name)
	p.Add(metrics.RaftApplied, float64(g.Applied.Index), name)
	p.Add(metrics.GroupBytes, float64(g.Bytes), name)
	if s.Role != raft.RoleLeader {
		return
	}
	for i := range s.Progress {
		to := &s.Progress[i]
		m, _ := s.Membership.Member(to.Replica)
		p.Add(metrics.RaftFollowerLag, float64(s.Last.Index-min(to.Match, s.Last.Index)), name, m.Node.String())
		p.Yes(metrics.RaftFollowerHeard, to.Active, name, m.Node.String())
	}
	if has, ok := f.has[g.Replica.Group]; ok {
		p.Add(metrics.GroupKeys, float64(has.Keys), name)
		p.Add(metrics.GroupLeases, float64(has.Leases), name)
		p.Add(metrics.GroupSessions, float64(has.Sessions.Used), name)
		p.Add(metrics.GroupSessionsMax, float64(has.Sessions.Max), name)
	}
}

// leading puts on the page what this node does for the groups that it leads, and for others.
func (o observed) leading(ctx context.Context, p *metrics.Page) {
	n := o.node
	if c, ok := n.carrying.counts(ctx); ok {
		p.Add(metrics.MovedSlots, float64(c.Slots), "taken over")
		p.Add(metrics.MovedSlots, float64(c.Refused), "refused")
		p.Add(metrics.MovedBytes, float64(c.Bytes))
		p.Seconds(metrics.MovePause, c.PauseMax)
	}
	if stuck, ok := countsOf(ctx, &n.carrying.mail, func(now time.Duration) int { return len(n.carrying.core.Stuck(now, moveStuckAfter)) }); ok {
		p.Add(metrics.MovesStuck, float64(stuck))
	}
	if a, ok := n.assigning.counts(ctx); ok {
		p.Add(metrics.Services, float64(a.Services))
		p.Add(metrics.ServiceChecks, float64(a.Checks))
		p.Add(metrics.ServiceHomeless, float64(a.Homeless))
		p.Add(metrics.Webhooks, float64(n.assigning.hooks.told.Load()))
		p.Add(metrics.WebhooksFailed, float64(n.assigning.hooks.failed.Load()))
	}
	if k, ok := n.checking.counts(ctx); ok {
		p.Add(metrics.ChecksHere, float64(k.Checks))
		p.Add(metrics.Probes, float64(k.Probes))
		p.Add(metrics.ProbesFailed, float64(k.Failed))
		p.Add(metrics.ProbesLate, float64(k.Late))
	}
	rooms := make(chan machine.WatchRooms, 1)
	n.watching.feed.Rooms(func(r machine.WatchRooms) { rooms <- r })
	select {
	case r := <-rooms:
		p.Add(metrics.Watches, float64(r.Watches))
		p.Add(metrics.WatchesMax, float64(r.WatchesMax))
	case <-ctx.Done():
	}
}
