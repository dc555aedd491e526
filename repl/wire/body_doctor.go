package wire

import "muster/raft"

// DoctorAnswer is what one node measures and knows of itself: nothing in it is
// hearsay. The answers of all nodes are the whole picture.
type DoctorAnswer struct {
	Node     raft.NodeID
	Name     string
	Addr     string
	Version  string
	Start    uint64 // counter
	UptimeMs uint64
	Links    []DoctorLink // one for each other node that it knows
	Syncs    DoctorSyncs
	Disk     DoctorDisk
	Groups   []DoctorGroup   // one for each replica here
	Damaged  []DoctorDamaged // replicas whose log or state is damaged
	// Doubt is why the node's disk may be of an earlier moment than what it
	// promised, DoubtRemedy what can be done about it; or both are empty.
	Doubt, DoubtRemedy string
	// Notes are worth knowing, though nothing is wrong with the node itself: services in groups
	// that it leads of which nothing is up.
	Notes []Problem
	// WallMicros is the wall clock of the node as it answers, in µs since 1970. From a node
	// before level 7 it is 0, and what follows is empty.
	WallMicros uint64
	Stuck      []DoctorJob     // jobs that stand still, as far as the node has seen
	Findings   []DoctorFinding // what else the node finds, of itself and in its table
}

// DoctorJob is a job that has shown no progress for too long.
type DoctorJob struct {
	ID      uint64
	StoodMs uint64 // for how long, as far as the node has seen
	Name    string // as people know it
	Why     string // what it has not done, and what it waits for
	Remedy  string
}

// DoctorFinding is something that a person should look after. What all nodes find in their
// tables, each tells in the same words.
type DoctorFinding struct {
	Severe       bool // something does not work; else it is a warning
	What, Remedy string
}

// DoctorLink is the link from the answering node to another, and what it hears
// from there.
type DoctorLink struct {
	To        raft.NodeID
	Connected bool   // there is a connection to it
	RTTMicros uint64 // of the last ping on that connection; 0: none was answered yet
	RTTAgeMs  uint64 // how long ago that was
	PingMs    uint64 // how long the ping under way has waited; 0: there is none
	Heard     bool   // it ever spoke to this node
	HeardMs   uint64 // how long ago it last did
	Start     uint64 // the start counter that it last named; 0: none
	Why       string // why there is no connection, or empty
}

// DoctorSyncs is how long the log's writes took lately: each a write and its
// sync.
type DoctorSyncs struct {
	Count                uint64 // within the time that the figures are of
	WindowMs             uint64 // that time
	P50, P99, Max        uint64 // µs. The percentiles are rounded up, by a fifth at most
	UnderWayMs           uint64 // how long the one under way has waited; 0: there is none
	MaxSinceStart, Total uint64 // µs and number, since the start
}

// DoctorDisk is how full the disk is, and the log on it, in bytes.
type DoctorDisk struct {
	Dir       string
	Free      uint64
	Log       uint64 // all segments
	Needed    uint64 // the part of these that is still needed
	Segments  uint64
	Snapshots uint64 // all snapshot files
	Prepared  uint64 // room that is prepared for the log's next writes
	Reserve   uint64 // the part of that which is kept back for writes that must not fail
	Full      bool   // no room could be prepared
}

// DoctorGroup is a replica as it sees itself.
type DoctorGroup struct {
	ID          raft.GroupID
	Incarnation raft.Incarnation
	Replica     raft.ReplicaID
	Role        raft.Role   // 0: it takes no part, because it is damaged
	Leader      raft.NodeID // as it knows; 0 none
	Term        uint64
	Commit      uint64
	Applied     uint64
	Last        raft.LogID
	Base        raft.LogID
	Voters      []DoctorVoter // by its own log; of a joint configuration both sets
	Stopped     string        // why it stopped, or empty
}

// DoctorVoter is a voter of a group.
type DoctorVoter struct {
	Replica raft.ReplicaID
	Node    raft.NodeID
}

// DoctorDamaged is a replica that lost something which it had.
type DoctorDamaged struct {
	Group       raft.GroupID
	Incarnation raft.Incarnation
	Replica     raft.ReplicaID
	Lost        []LogSpan
	Promises    bool // its term, vote or base: it can't be trusted again
	State       bool // its snapshot
	What        string
	File        string
	Offset      uint64
	Record      string
	Reason      string
	Remedy      string // what can be done, as the node knows it, or empty
}

func (m *DoctorAnswer) fields(f *fields) {
	f.grownTwice(13, func() {
		number(f, "node", &m.Node)
		f.text("name", &m.Name)
		f.text("addr", &m.Addr)
		f.text("version", &m.Version)
		number(f, "start", &m.Start)
		number(f, "uptime_ms", &m.UptimeMs)
		list(f, "links", &m.Links, 10, doctorLink)
		f.atLeast(8, func() {
			number(f, "syncs.count", &m.Syncs.Count)
			number(f, "syncs.window_ms", &m.Syncs.WindowMs)
			number(f, "syncs.p50", &m.Syncs.P50)
			number(f, "syncs.p99", &m.Syncs.P99)
			number(f, "syncs.max", &m.Syncs.Max)
			number(f, "syncs.under_way_ms", &m.Syncs.UnderWayMs)
			number(f, "syncs.max_since_start", &m.Syncs.MaxSinceStart)
			number(f, "syncs.total", &m.Syncs.Total)
		})
		f.atLeast(9, func() {
			f.text("disk.dir", &m.Disk.Dir)
			number(f, "disk.free", &m.Disk.Free)
			number(f, "disk.log", &m.Disk.Log)
			number(f, "disk.needed", &m.Disk.Needed)
			number(f, "disk.segments", &m.Disk.Segments)
			number(f, "disk.snapshots", &m.Disk.Snapshots)
			number(f, "disk.prepared", &m.Disk.Prepared)
			number(f, "disk.reserve", &m.Disk.Reserve)
			f.flag("disk.full", &m.Disk.Full)
		})
		list(f, "groups", &m.Groups, 17, doctorGroup)
		list(f, "damaged", &m.Damaged, 13, doctorDamaged)
		f.text("doubt", &m.Doubt)
		f.text("doubt_remedy", &m.DoubtRemedy)
	}, 1, func() {
		list(f, "notes", &m.Notes, 3, problem)
	}, 3, func() {
		number(f, "wall_micros", &m.WallMicros)
		list(f, "stuck", &m.Stuck, 6, func(f *fields, j *DoctorJob) {
			f.atLeast(5, func() {
				number(f, "id", &j.ID)
				number(f, "stood_ms", &j.StoodMs)
				f.text("name", &j.Name)
				f.text("why", &j.Why)
				f.text("remedy", &j.Remedy)
			})
		})
		list(f, "findings", &m.Findings, 4, func(f *fields, x *DoctorFinding) {
			f.atLeast(3, func() {
				f.flag("severe", &x.Severe)
				f.text("what", &x.What)
				f.text("remedy", &x.Remedy)
			})
		})
	})
}

func doctorLink(f *fields, l *DoctorLink) {
	f.atLeast(9, func() {
		number(f, "to", &l.To)
		f.flag("connected", &l.Connected)
		number(f, "rtt_micros", &l.RTTMicros)
		number(f, "rtt_age_ms", &l.RTTAgeMs)
		number(f, "ping_ms", &l.PingMs)
		f.flag("heard", &l.Heard)
		number(f, "heard_ms", &l.HeardMs)
		number(f, "start", &l.Start)
		f.text("why", &l.Why)
	})
}

func doctorGroup(f *fields, g *DoctorGroup) {
	f.atLeast(12, func() {
		number(f, "id", &g.ID)
		number(f, "incarnation", &g.Incarnation)
		number(f, "replica", &g.Replica)
		number(f, "role", &g.Role)
		number(f, "leader", &g.Leader)
		number(f, "term", &g.Term)
		number(f, "commit", &g.Commit)
		number(f, "applied", &g.Applied)
		logID(f, "last", &g.Last)
		logID(f, "base", &g.Base)
		list(f, "voters", &g.Voters, 3, func(f *fields, v *DoctorVoter) {
			f.atLeast(2, func() {
				number(f, "replica", &v.Replica)
				number(f, "node", &v.Node)
			})
		})
		f.text("stopped", &g.Stopped)
	})
}

func doctorDamaged(f *fields, d *DoctorDamaged) {
	f.atLeast(12, func() {
		number(f, "group", &d.Group)
		number(f, "incarnation", &d.Incarnation)
		number(f, "replica", &d.Replica)
		list(f, "lost", &d.Lost, 3, logSpan)
		f.flag("promises", &d.Promises)
		f.flag("state", &d.State)
		f.text("what", &d.What)
		f.text("file", &d.File)
		number(f, "offset", &d.Offset)
		f.text("record", &d.Record)
		f.text("reason", &d.Reason)
		f.text("remedy", &d.Remedy)
	})
}

func (m *DoctorAnswer) Append(b []byte) []byte { return appendFields(b, m) }
func (m *DoctorAnswer) Read(body []byte) error { return readFields(body, m) }
