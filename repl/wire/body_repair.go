package wire

import (
	"errors"
	"fmt"

	"muster/raft"
	"muster/shardmap/pack"
)

const (
	// RepairSpansMax bounds the spans of one [Repair]: damage comes in a few
	// pieces, and the next question asks for the rest.
	RepairSpansMax = 64
	// RepairBytesMax bounds the bytes of entries in one
	// [RepairAnswer], unless one entry is larger: a few milliseconds of a
	// connection on which heartbeats wait.
	RepairBytesMax = 1 << 20
)

// Repair asks another node for entries of a group that the sender's log lost:
//
//	[start, number, group, incarnation, [[first, last] …]]
//
// It goes to every node that may have a replica of the group, whether or not that
// leads, and whether or not its own log is whole.
type Repair struct {
	Start       uint64 // counter of the sender; the answer repeats it
	Number      uint64 // of the question since then; the answer repeats it
	Group       raft.GroupID
	Incarnation raft.Incarnation
	Wanted      []RepairSpan // in order, none overlapping
}

// RepairSpan is the indexes First to Last.
type RepairSpan struct{ First, Last uint64 }

func (m *Repair) fields(f *fields) {
	f.exactly(5, func() {
		number(f, "start", &m.Start)
		number(f, "number", &m.Number)
		number(f, "group", &m.Group)
		number(f, "incarnation", &m.Incarnation)
		list(f, "wanted", &m.Wanted, 3, func(f *fields, s *RepairSpan) {
			f.exactly(2, func() {
				number(f, "first", &s.First)
				number(f, "last", &s.Last)
			})
		})
	})
}

// Append appends the body.
func (m *Repair) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *Repair) Read(body []byte) error {
	if err := readFields(body, m); err != nil {
		return err
	}
	if len(m.Wanted) > RepairSpansMax {
		return fmt.Errorf("%d spans are wanted, the limit is %d", len(m.Wanted), RepairSpansMax)
	}
	after := uint64(0)
	for _, s := range m.Wanted {
		if s.First <= after || s.Last < s.First {
			return fmt.Errorf("entries %d to %d are wanted after %d: out of order", s.First, s.Last, after)
		}
		after = s.Last
	}
	return nil
}

// RepairAnswer answers a [Repair] with the wanted entries that a replica's log
// holds:
//
//	[start, number, group, incarnation, [base term, base index], [last term, last index],
//	 commit, snapshot, count, bin]
//
// The bin is as in an [Envelope], but for gaps: entries by index, in order.
type RepairAnswer struct {
	Start, Number uint64 // of the question
	Group         raft.GroupID
	Incarnation   raft.Incarnation
	Base, Last    raft.LogID // of the log that they are from
	// Commit: everything up to here is committed, and the entries up to here are the
	// committed ones. 0 from a replica that can't be sure.
	Commit uint64
	// Snapshot: one that covers everything up to here is available by a
	// [SnapshotRequest]. 0: none.
	Snapshot uint64
	Entries  []raft.Entry
}

const repairAnswerFields = 10

// Append appends the body.
func (m *RepairAnswer) Append(b []byte) []byte {
	b = pack.AppendArray(b, repairAnswerFields)
	b = pack.AppendUint(b, m.Start)
	b = pack.AppendUint(b, m.Number)
	b = pack.AppendUint(b, uint64(m.Group))
	b = pack.AppendUint(b, uint64(m.Incarnation))
	for _, id := range [...]raft.LogID{m.Base, m.Last} {
		b = pack.AppendArray(b, 2)
		b = pack.AppendUint(b, id.Term)
		b = pack.AppendUint(b, id.Index)
	}
	b = pack.AppendUint(b, m.Commit)
	b = pack.AppendUint(b, m.Snapshot)
	b = pack.AppendUint(b, uint64(len(m.Entries)))
	size := 0
	for i := range m.Entries {
		size += len(m.Entries[i].Raw)
	}
	b = pack.AppendBytesHead(b, size)
	for i := range m.Entries {
		b = append(b, m.Entries[i].Raw...)
	}
	return b
}

// Read reads the body and verifies each entry with the seed of the group that
// it names. The entries alias body.
func (m *RepairAnswer) Read(body []byte) error {
	r := pack.NewReader(body)
	found := r.Array()
	m.Start, m.Number = r.Uint(), r.Uint()
	m.Group = raft.GroupID(r.UintMax(uint64(raft.GroupMax)))
	m.Incarnation = raft.Incarnation(r.Uint())
	for _, id := range [...]*raft.LogID{&m.Base, &m.Last} {
		r.ArrayLen(2)
		id.Term, id.Index = r.Uint(), r.Uint()
	}
	m.Commit, m.Snapshot = r.Uint(), r.Uint()
	count := r.Uint()
	raw := r.Bytes()
	r.Trailing(found, repairAnswerFields)
	if err := r.Done(); err != nil {
		return err
	}
	entries, err := readEntries(raft.EntrySeed(m.Group, m.Incarnation), raw, count)
	if err != nil {
		return fmt.Errorf("%s of %s: %w", TypeRepairAnswer, m.Group, err)
	}
	for i := 1; i < len(entries); i++ {
		if entries[i].ID.Index <= entries[i-1].ID.Index {
			return fmt.Errorf("%w: %s after %s", errRepairOrder, entries[i].ID, entries[i-1].ID)
		}
	}
	m.Entries = entries
	return nil
}

var errRepairOrder = errors.New("entries are out of order")

// SnapshotRequest asks for a snapshot of a group that covers all up to Index at
// least, of a node that said in a [RepairAnswer] that it can be had:
//
//	[start, number, group, incarnation, replica, index]
//
// It comes over a bulk connection, or not at all; who still wants it asks again.
type SnapshotRequest struct {
	Start, Number uint64 // as in a [Repair]
	Group         raft.GroupID
	Incarnation   raft.Incarnation
	Replica       raft.ReplicaID // the sender's, which is to be given it
	Index         uint64
}

func (m *SnapshotRequest) fields(f *fields) {
	f.exactly(6, func() {
		number(f, "start", &m.Start)
		number(f, "number", &m.Number)
		number(f, "group", &m.Group)
		number(f, "incarnation", &m.Incarnation)
		number(f, "replica", &m.Replica)
		number(f, "index", &m.Index)
	})
}

// Append appends the body.
func (m *SnapshotRequest) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *SnapshotRequest) Read(body []byte) error { return readFields(body, m) }
