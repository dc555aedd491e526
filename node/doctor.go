package node

import (
	"path/filepath"
	"time"

	"muster/logstore"
	"muster/raft"
	"muster/repl"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
)

// answerDoctor answers with what this node measures of its connections, its log, its
// disk and its replicas. It asks no other node.
func answerDoctor(c *connection, r repl.Reply) {
	loop, table := c.readyToTell(r)
	if loop == nil {
		return
	}
	v, ok := c.node.report.view(loop, table)
	if !ok {
		c.refuse(r, c.node.notReady())
		return
	}
	// The answer needs the disk, and a stalled one must not hold up the connection:
	// later requests on it may be about that very stall.
	c.laterOrBusy(r, func() {
		a := c.node.report.doctorOf(loop, table, &v)
		c.answerNow(r, wire.TypeDoctorAnswer, a.Append(nil))
	})
}

// laterOrBusy lets a lister do what may wait for the disk, or refuses r.
func (c *connection) laterOrBusy(r repl.Reply, f func()) {
	if c.Deaf() {
		c.refuse(r, machine.Crowded())
		return
	}
	if found := c.Later(f); found != "" {
		c.refuse(r, machine.TooManyReads(found))
	}
}

func (p *report) doctorOf(loop *repl.Loop, table *shardmap.Table, v *view) wire.DoctorAnswer {
	id := p.self()
	a := wire.DoctorAnswer{
		Node: id.Node, Name: p.name, Addr: p.addr, Version: Version, Start: id.Life().Number,
		UptimeMs: uint64(time.Since(p.started).Milliseconds()),
		Syncs:    p.doctorSyncs(loop.Syncs()), Disk: p.doctorDisk(),
		Notes: append(p.downServices(), p.certificates()...),
	}
	if a.Doubt = v.doubt.Why; !v.doubt.None() {
		a.DoubtRemedy = logstore.DoubtRemedy
	}
	for i := range table.Nodes {
		if to := table.Nodes[i].ID; to != id.Node {
			a.Links = append(a.Links, p.doctorLink(to, v))
		}
	}
	told, name := make(map[logstore.Replica]bool), make(map[raft.NodeID]string)
	for i := range table.Nodes {
		name[table.Nodes[i].ID] = table.Nodes[i].Name
	}
	for i := range v.groups {
		g := &v.groups[i]
		a.Groups = append(a.Groups, doctorGroup(g))
		if m := g.Mending; m != nil {
			row := doctorDamaged(&m.Damage)
			row.Group, row.Incarnation, row.Replica = g.Replica.Group, g.Replica.Incarnation, g.Replica.ID
			row.What, row.Remedy = m.What(), remedy(m, name)
			a.Damaged = append(a.Damaged, row)
			told[g.Replica] = true
		}
	}
	for _, d := range p.store.Damaged() {
		if !told[d.Replica] {
			a.Damaged = append(a.Damaged, doctorDamaged(&d))
		}
	}
	a.Stuck, a.Findings = p.jobs.standing(time.Now()), p.findings(loop, table, v)
	a.WallMicros = uint64(max(time.Now().UnixMicro(), 0)) // last of all: it is compared with when the answer comes
	return a
}

func (p *report) doctorLink(to raft.NodeID, v *view) wire.DoctorLink {
	l := p.transport.Link(to)
	ago, heard := v.heard[to]
	return wire.DoctorLink{
		To: to, Connected: l.Connected, RTTMicros: uint64(l.RTT.Microseconds()), RTTAgeMs: uint64(l.RTTAgo.Milliseconds()),
		PingMs: uint64(l.Waiting.Milliseconds()), Heard: heard, HeardMs: uint64(ago.Milliseconds()), Start: p.said(to).start, Why: l.Why,
	}
}

func (p *report) doctorSyncs(s repl.SyncTimes) wire.DoctorSyncs {
	if stall, ok := p.fs.stalled(); ok {
		s.UnderWay = max(s.UnderWay, stall.waited) // whatever it is that waits
	}
	return wire.DoctorSyncs{
		Count: s.Count, WindowMs: uint64(s.Window.Milliseconds()),
		P50: uint64(s.P50.Microseconds()), P99: uint64(s.P99.Microseconds()), Max: uint64(s.Max.Microseconds()),
		UnderWayMs: uint64(s.UnderWay.Milliseconds()), MaxSinceStart: uint64(s.MaxEver.Microseconds()), Total: s.Total,
	}
}

// absolute is a path that a person finds from anywhere, or, where there is none, as it was given.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

func (p *report) doctorDisk() wire.DoctorDisk {
	s, space := p.store.Stats(), p.store.Space()
	snapshots := int64(0)
	for _, r := range p.store.Replicas() {
		for _, sn := range p.store.Snapshots(r) {
			snapshots += sn.Size
		}
	}
	return wire.DoctorDisk{
		Prepared: uint64(space.Prepared), Reserve: uint64(space.Reserve), Full: space.Full,
		Dir: absolute(p.data), Free: p.freeBytes(), Log: uint64(s.SegmentBytes), Needed: uint64(s.NeededBytes), Segments: uint64(s.Segments),
		Snapshots: uint64(snapshots),
	}
}

func doctorGroup(g *repl.GroupView) wire.DoctorGroup {
	s := g.Status
	row := wire.DoctorGroup{
		ID: g.Replica.Group, Incarnation: g.Replica.Incarnation, Replica: g.Replica.ID,
		Role: s.Role, Leader: leader(g), Term: s.Term, Commit: s.Commit, Applied: g.Applied.Index, Last: s.Last, Base: s.Base,
		Stopped: g.Stopped,
	}
	seen := make(map[raft.ReplicaID]bool)
	for m := range s.Membership.Voting() {
		if !seen[m.Replica] {
			seen[m.Replica] = true
			row.Voters = append(row.Voters, wire.DoctorVoter{Replica: m.Replica, Node: m.Node})
		}
	}
	return row
}

// freeBytes is how much can still be written on the disk of the data directory,
// or 0 where the system does not say.
func (p *report) freeBytes() uint64 {
	if _, stalled := p.fs.stalled(); stalled {
		return uint64(p.store.Space().Free) // who asks a disk that stands still waits with it
	}
	free, err := p.fs.Free(p.data)
	if err != nil {
		return 0
	}
	return uint64(free)
}

func doctorDamaged(d *logstore.Damaged) wire.DoctorDamaged {
	row := wire.DoctorDamaged{
		Group: d.Replica.Group, Incarnation: d.Replica.Incarnation, Replica: d.Replica.ID, Promises: d.Promises, State: d.State,
		What: d.Err().Error(), File: d.Where.File, Offset: uint64(d.Where.Offset), Record: d.Where.Record, Reason: d.Where.Reason,
	}
	for _, s := range d.Lost {
		row.Lost = append(row.Lost, wire.LogSpan{First: s.First, Last: s.Last})
	}
	return row
}
