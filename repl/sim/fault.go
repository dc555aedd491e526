package sim

import (
	"fmt"
	"strings"
)

// Fault is one way in which the world is unkind. A run draws which of them it
// knows, and how often they strike.
type Fault uint8

const (
	// The network, message by message.
	Loss      Fault = iota // up to 40 %
	Duplicate              // up to 50 %
	Reorder                // one message is up to 5 s late
	Corrupt                // a bit of a frame flips; its checksum must tell

	// The network, link by link; see network.go.
	Split    // two parts that do not hear each other
	Directed // any subset of the six directed links between three nodes
	Partial  // two nodes do not hear each other, all others hear both
	Chain    // each hears its neighbours only
	Flap     // a link comes and goes
	Strand   // a leader is cut off with some of the clients, while the others find another leader
	PeerLost // a connection ends though both its ends live; there is soon another
	Move     // one node, some or all come back at other addresses, new ones or each other's; see move.go

	// Processes.
	Crash         // one node
	CrashMany     // any subset, all of them too
	CrashRecovery // the power goes while the log is being opened
	Pause         // 0.1 to 60 s
	Terminate     // told to stop: it hands over first, and closes its log
	PauseReply    // between what a turn decided and the moment it leaves

	// What a crash leaves.
	PowerDrop // nothing that was not synced
	PowerKeep // everything, as when a process is killed
	PowerTear // any sectors of 512 B, and the first few of the changed names
	PowerTorn // any pages of 4 KiB

	// Disks.
	DiskSlow      // 1 to 30 s for a batch
	DiskStuck     // no batch ends for 1 to 30 s
	SyncFails     // the node stops, is started again
	WriteFails    // likewise
	WriteShort    // likewise, but the half of it is there
	ReadFails     // reads are refused: one, once; or a sector, a file, all, again and again; at a start, while serving, while scrubbing. See refuse.go
	DiskFull      // no file can grow by much for a while: the log refuses batches, the node may not start
	RecoveryFails // an error while the log is being opened

	// What rots on disks, in the log or in a snapshot, of one node at a time:
	// the others can mend it, so progress is due. See rot.go.
	BitFlip     // one bit is another one
	ZeroSector  // a sector of zeros
	ZeroPage    // a page of them
	StaleSector // as it was before it was last written
	Misdirected // a sector that was written elsewhere, over what was there
	Truncated   // a file ends early
	Missing     // a file is not there
	ZeroTail    // the last pages of a log that was closed, or all of its last segment

	// OlderLife is a data directory that is put back from a copy of an earlier moment;
	// see older.go.
	OlderLife

	// Snapshots, while runs make them.
	SnapshotCut   // the connection ends in the midst of one
	SnapshotTwice // a chunk comes a second time, late
	SnapshotLate  // one that came whole is installed up to 10 s later, or finds a newer state
	SnapshotBad   // a bit of a chunk is another one than in the file

	// Clocks.
	TickDrift // 5 % fast or slow
	TickJump  // up to 60 ticks at once
	TickStall // none for 0.1 to 10 s
	Lull      // at the end nobody writes for longer than sessions are kept, while leaders change and clocks stand still; see lull.go

	// Clients.
	ClientReset   // a connection ends under its requests
	ClientLate    // what was sent on it arrives all the same, after its retry
	ClientCut     // a client does not reach a node
	ClientTimeout // nobody waits for the answer any more
	ClientStale   // the table that a client gets is an old one
	ClientSleep   // its host is suspended, in some runs for longer than sessions are kept

	// What others say, and what becomes of one replica though its node lives;
	// see lie.go.
	Lies        // terms, indexes, starts, ids at their extremes, in all that a node takes from another
	LeaderStops // the leader's replica of a group that rests

	// Who holds what: not unkind, but the world changes; see member.go.
	Members
	Nodes // orders, and movers that carry them out; see order.go
	Slots // orders, and carriers that carry them out; see slots.go

	// Targets: what instances of services stand for goes up and down, hangs and flaps; see
	// target.go.
	Targets

	// Certificates, in runs that have them: what happens to them is counted; see secure.go.
	Secure          // certificates of nodes that leave the one who made them
	CalendarLeaps   // all nodes were stopped for days
	CertificateEnds // a node starts with one that has ended
	RootTurns       // another root issues
	TokenUsed       // a host is let in by a token
	TokenOver       // a token that is over, used up or revoked is refused

	// Users, in runs that have them, likewise; see users.go.
	Users     // a request is refused, since its user may not make it
	CutOff    // a node refuses users, since it does not hear of the meta group
	RightEnds // a stream ends, since its user may not have it any more
	Reversals // a request that a node was about to refuse turns out to be allowed, by a newer table

	// Limits of prefixes, in runs that have them; see limits.go.
	Limits     // a limit comes, goes, or is another one
	LimitOver  // a write is refused for good
	LimitWaits // a write is to come again, because it is not known whether it fits

	// Points is a window of time series that is dropped, in runs that have them; see series.go.
	Points

	faults
)

var faultNames = [faults]string{
	Loss: "loss", Duplicate: "duplicate", Reorder: "reorder", Corrupt: "corrupt",
	Split: "split", Directed: "directed", Partial: "partial", Chain: "chain", Flap: "flap", Strand: "strand", PeerLost: "peer-lost", Move: "move",
	Crash: "crash", CrashMany: "crash-many", CrashRecovery: "crash-recovery", Pause: "pause", Terminate: "terminate", PauseReply: "pause-reply",
	PowerDrop: "power-drop", PowerKeep: "power-keep", PowerTear: "power-tear", PowerTorn: "power-torn",
	DiskSlow: "disk-slow", DiskStuck: "disk-stuck", SyncFails: "sync-fails", WriteFails: "write-fails", WriteShort: "write-short", ReadFails: "read-fails",
	DiskFull: "disk-full", RecoveryFails: "recovery-fails", BitFlip: "bit-flip", ZeroSector: "zero-sector", ZeroPage: "zero-page",
	StaleSector: "stale-sector", Misdirected: "misdirected", Truncated: "truncated", Missing: "missing", ZeroTail: "zero-tail", OlderLife: "older-life",
	SnapshotCut: "snapshot-cut", SnapshotTwice: "snapshot-twice", SnapshotLate: "snapshot-late", SnapshotBad: "snapshot-bad",
	TickDrift: "tick-drift", TickJump: "tick-jump", TickStall: "tick-stall", Lull: "lull",
	ClientReset: "client-reset", ClientLate: "client-late", ClientCut: "client-cut",
	ClientTimeout: "client-timeout", ClientStale: "client-stale", ClientSleep: "client-sleep",
	Lies: "lies", LeaderStops: "leader-stops",
	Members: "members", Nodes: "nodes", Slots: "slots", Targets: "targets",
	Secure: "secure", CalendarLeaps: "calendar-leaps", CertificateEnds: "certificate-ends", RootTurns: "root-turns", TokenUsed: "token-used", TokenOver: "token-over",
	Users: "users", CutOff: "cut-off", RightEnds: "right-ends", Reversals: "reversals",
	Limits: "limits", LimitOver: "limit-over", LimitWaits: "limit-waits",
	Points: "points",
}

func (f Fault) String() string { return faultNames[f] }

// perMessage reports whether a fault strikes single messages. These come by the
// thousand, so they do not count where faults per hour are asked for.
func (f Fault) perMessage() bool {
	return f <= Corrupt || f == ClientTimeout || f == Members || f == Nodes || f == Slots || f >= Targets || f >= SnapshotCut && f <= SnapshotBad
}

// Fired counts how often each fault struck.
type Fired [faults]uint64

// Add adds the counts of another run.
func (f *Fired) Add(o *Fired) {
	for i := range f {
		f[i] += o[i]
	}
}

// Episodes is the number of faults, single messages left out.
func (f *Fired) Episodes() uint64 {
	n := uint64(0)
	for i := range f {
		if !Fault(i).perMessage() {
			n += f[i]
		}
	}
	return n
}

// Missing names the faults that never struck.
func (f *Fired) Missing() []string {
	var names []string
	for i := range f {
		if f[i] == 0 {
			names = append(names, Fault(i).String())
		}
	}
	return names
}

func (f *Fired) String() string {
	var b strings.Builder
	for i := range f {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%s=%d", Fault(i), f[i])
	}
	return b.String()
}
