package wire

import (
	"errors"

	"muster/raft"
)

// LogRangeEntriesMax bounds the entries that one [LogRangeAnswer] lists: some
// 100 KB of them.
const LogRangeEntriesMax = 4096

// LogRange asks a node which entries its replica of a group holds, without
// their payloads: enough to compare two logs.
type LogRange struct {
	Group    raft.GroupID
	From, To uint64 // indexes, both included. Indexes outside the log are left out
}

var errLogRange = errors.New("it ends before it begins")

func (m *LogRange) fields(f *fields) {
	f.exactly(3, func() {
		number(f, "group", &m.Group)
		number(f, "from", &m.From)
		number(f, "to", &m.To)
	})
}

// LogRangeAnswer describes the entries. Entries and Lost are in order and have
// nothing before From.
type LogRangeAnswer struct {
	Node        raft.NodeID // that answers
	Group       raft.GroupID
	Incarnation raft.Incarnation
	Replica     raft.ReplicaID
	Base        raft.LogID // the log begins after it
	Last        raft.LogID // its last entry that is durable, or Base
	Commit      uint64     // all up to here is committed, as far as this replica knows
	Applied     uint64     // all up to here is in its state
	Next        uint64     // the index from which to continue, or 0: that was all
	Entries     []LogEntry
	Lost        []LogSpan // entries that the log held and that can't be read
}

// LogEntry is an entry without its payload. Two entries of one group are the
// same if their ids and checksums are.
type LogEntry struct {
	Term, Index uint64
	Checksum    uint32 // as its leader made it, over header and payload
	Kind        raft.EntryKind
	Time        raft.GroupTime
	Bytes       uint32 // of the payload
}

// ID returns the entry's log id.
func (e *LogEntry) ID() raft.LogID { return raft.LogID{Term: e.Term, Index: e.Index} }

// LogSpan names the entries First to Last, whose terms may not be known.
type LogSpan struct{ First, Last uint64 }

func (m *LogRangeAnswer) fields(f *fields) {
	f.atLeast(11, func() {
		number(f, "node", &m.Node)
		number(f, "group", &m.Group)
		number(f, "incarnation", &m.Incarnation)
		number(f, "replica", &m.Replica)
		logID(f, "base", &m.Base)
		logID(f, "last", &m.Last)
		number(f, "commit", &m.Commit)
		number(f, "applied", &m.Applied)
		number(f, "next", &m.Next)
		list(f, "entries", &m.Entries, 7, func(f *fields, e *LogEntry) {
			f.atLeast(6, func() {
				number(f, "term", &e.Term)
				number(f, "index", &e.Index)
				number(f, "checksum", &e.Checksum)
				number(f, "kind", &e.Kind)
				number(f, "time", &e.Time)
				number(f, "bytes", &e.Bytes)
			})
		})
		list(f, "lost", &m.Lost, 3, logSpan)
	})
}

func logSpan(f *fields, s *LogSpan) {
	f.atLeast(2, func() {
		number(f, "first", &s.First)
		number(f, "last", &s.Last)
	})
}

// logID is a field of two numbers.
func logID(f *fields, name string, id *raft.LogID) {
	f.exactly(2, func() {
		number(f, name+".term", &id.Term)
		number(f, name+".index", &id.Index)
	})
}

func (m *LogRange) Append(b []byte) []byte       { return appendFields(b, m) }
func (m *LogRangeAnswer) Append(b []byte) []byte { return appendFields(b, m) }

func (m *LogRange) Read(body []byte) error {
	if err := readFields(body, m); err != nil {
		return err
	}
	if m.To < m.From {
		return errLogRange
	}
	return nil
}

func (m *LogRangeAnswer) Read(body []byte) error { return readFields(body, m) }
