package wire

import (
	"fmt"

	"muster/raft"
	"muster/shardmap"
	"muster/shardmap/pack"
)

// LeaseAnswer answers a Write whose command grants, keeps alive or revokes a lease:
//
//	[group, term, index, lease, ttl ms]
//
// A repeated command gets the same answer as the first.
type LeaseAnswer struct {
	Group raft.GroupID
	ID    raft.LogID
	Lease shardmap.LeaseID
	TTL   uint64 // ms that it lasts from the entry on; 0: it was revoked
}

const (
	leaseAnswerFields = 5
	leaseDetailFields = 2
)

// SetDetail takes Lease and TTL from the detail of the command's result, [lease, ttl ms].
func (a *LeaseAnswer) SetDetail(detail []byte) error {
	r := pack.NewReader(detail)
	r.ArrayLen(leaseDetailFields)
	a.Lease, a.TTL = shardmap.LeaseID(r.Uint()), r.Uint()
	return r.Done()
}

// Append appends the body.
func (a *LeaseAnswer) Append(b []byte) []byte {
	b = pack.AppendArray(b, leaseAnswerFields)
	b = appendLogID(b, a.Group, a.ID)
	b = pack.AppendUint(b, uint64(a.Lease))
	return pack.AppendUint(b, a.TTL)
}

// Read reads the body.
func (a *LeaseAnswer) Read(body []byte) error {
	r := pack.NewReader(body)
	n := r.Array()
	a.Group, a.ID = readLogID(&r)
	a.Lease, a.TTL = shardmap.LeaseID(r.Uint()), r.Uint()
	r.Trailing(n, leaseAnswerFields)
	return r.Done()
}

func (a *LeaseAnswer) lines() []string {
	return []string{"at " + raft.FormatLogID(a.Group, a.ID), fmt.Sprintf("lease %s ttl_ms %d", a.Lease, a.TTL)}
}

// LeasesMax bounds the rows of one [LeasesAnswer]: the group applies no entry while it looks
// them up.
const LeasesMax = 1024

// Leases asks the leader of a group for the leases that live in some of its slots, in the
// order of their ids: [group, [[from, to] …], after, limit]. The answer is linearizable, and
// there is one only if the group has all of the slots.
type Leases struct {
	Group raft.GroupID
	Slots []shardmap.SlotRange // in order; 1 or more
	After shardmap.LeaseID     // begin behind this one; 0: with the first
	Limit uint32               // rows, at most LeasesMax; 0: LeasesMax
}

func (m *Leases) fields(f *fields) {
	f.exactly(4, func() {
		groupAndSlots(f, &m.Group, &m.Slots)
		number(f, "after", &m.After)
		number(f, "limit", &m.Limit)
	})
}

// Append appends the body.
func (m *Leases) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body. A limit of 0 is filled in.
func (m *Leases) Read(body []byte) error {
	if err := readFields(body, m); err != nil {
		return err
	}
	if err := checkGroupAndSlots(m.Group, m.Slots, shardmap.Slots); err != nil {
		return err
	}
	if m.Limit > LeasesMax {
		return fmt.Errorf("field limit: %d rows; want %d at most", m.Limit, LeasesMax)
	}
	if m.Limit == 0 {
		m.Limit = LeasesMax
	}
	return nil
}

// LeasesAnswer answers a [Leases]: [group, term, index, [[lease, ttl ms, remaining ms, keys] …], more].
type LeasesAnswer struct {
	Group raft.GroupID
	At    raft.LogID // the rows are as of here
	Rows  []LeaseRow
	More  bool // ask again, after the last row
}

// LeaseRow is a lease as a listing shows it.
type LeaseRow struct {
	Lease     shardmap.LeaseID
	TTL       uint64 // ms that it lasts from its grant or a keepalive on
	Remaining uint64 // ms of group time that it has left; 0: it is due
	Keys      uint64 // attached to it
}

const (
	leasesAnswerFields = 5
	leaseRowFields     = 4
)

// Append appends the body.
func (m *LeasesAnswer) Append(b []byte) []byte {
	b = pack.AppendArray(b, leasesAnswerFields)
	b = appendLogID(b, m.Group, m.At)
	b = pack.AppendArray(b, len(m.Rows))
	for i := range m.Rows {
		row := &m.Rows[i]
		b = pack.AppendArray(b, leaseRowFields)
		b = pack.AppendUint(b, uint64(row.Lease))
		b = pack.AppendUint(b, row.TTL)
		b = pack.AppendUint(b, row.Remaining)
		b = pack.AppendUint(b, row.Keys)
	}
	return pack.AppendBool(b, m.More)
}

// Read reads the body.
func (m *LeasesAnswer) Read(body []byte) error {
	r := pack.NewReader(body)
	n := r.Array()
	m.Group, m.At = readLogID(&r)
	rows := r.Array()
	if err := r.Err(); err != nil {
		return err
	}
	if rows > LeasesMax || rows > len(r.Rest())/(1+leaseRowFields) {
		return fmt.Errorf("%d rows in %d bytes, want %d at most", rows, len(r.Rest()), LeasesMax)
	}
	m.Rows = make([]LeaseRow, rows)
	for i := range m.Rows {
		fields := r.Array()
		m.Rows[i] = LeaseRow{Lease: shardmap.LeaseID(r.Uint()), TTL: r.Uint(), Remaining: r.Uint(), Keys: r.Uint()}
		r.Trailing(fields, leaseRowFields)
	}
	m.More = r.Bool()
	r.Trailing(n, leasesAnswerFields)
	return r.Done()
}

func (m *LeasesAnswer) lines() []string {
	lines := []string{fmt.Sprintf("at %s more %t", raft.FormatLogID(m.Group, m.At), m.More)}
	for i := range m.Rows {
		row := &m.Rows[i]
		lines = append(lines, fmt.Sprintf("lease %s ttl_ms %d remaining_ms %d keys %d", row.Lease, row.TTL, row.Remaining, row.Keys))
	}
	return lines
}
