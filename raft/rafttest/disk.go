package rafttest

import (
	"fmt"
	"hash/fnv"

	"muster/raft"
)

// Snapshot is a state machine: the last entry that it covers, and a digest of all that
// it was made from.
type Snapshot struct {
	raft.Install
	Digest uint64
}

// apply returns the state after one more entry.
func (s Snapshot) apply(e raft.Entry) Snapshot {
	if e.ID.Index != s.Base.Index+1 {
		panic(fmt.Sprintf("rafttest: %s is applied after %s", e.ID, s.Base))
	}
	h := fnv.New64a()
	fmt.Fprint(h, s.Digest, e.ID, e.Kind, e.Checksum())
	s.Digest = h.Sum64()
	s.Base, s.Time = e.ID, e.Time
	if e.Kind == raft.EntryMembership {
		m, err := raft.ReadMembership(e.Payload())
		if err != nil {
			panic(err)
		}
		s.Membership = m
	}
	return s
}

// Disk is what is synced.
type Disk struct {
	State    raft.HardState
	Snapshot Snapshot     // where the log begins
	Entries  []raft.Entry // those after Snapshot
	Machine  Snapshot     // at Snapshot or later
}

// Last returns the index of the last entry.
func (d *Disk) Last() uint64 { return d.Snapshot.Base.Index + uint64(len(d.Entries)) }

// At returns the entry at index, which is in the log.
func (d *Disk) At(index uint64) raft.Entry { return d.Entries[index-d.Snapshot.Base.Index-1] }

// Write does what a log store does with a Ready; snapshot is the one that
// rd.Install names.
func (d *Disk) Write(rd raft.Ready, snapshot Snapshot) {
	if rd.Install != nil {
		d.Snapshot, d.Machine, d.Entries = snapshot, snapshot, nil
	}
	if rd.StateChanged {
		d.State = rd.State
	}
	if len(rd.Entries) > 0 {
		at := int(rd.Entries[0].ID.Index - d.Snapshot.Base.Index - 1)
		d.Entries = append(d.Entries[:at:at], rd.Entries...)
	}
}

// Advance makes the state machine on disk apply up to index.
func (d *Disk) Advance(index uint64) {
	for d.Machine.Base.Index < index {
		d.Machine = d.Machine.apply(d.At(d.Machine.Base.Index + 1))
	}
}

// state returns the state at index, which the log reaches.
func (d *Disk) state(index uint64) Snapshot {
	s := d.Snapshot
	for s.Base.Index < index {
		s = s.apply(d.At(s.Base.Index + 1))
	}
	return s
}

// Compact takes a snapshot at index and drops the log before it. If the state machine
// on disk has not reached index, it does so now. It returns the state there.
func (d *Disk) Compact(index uint64) Snapshot {
	s := d.state(index)
	d.Entries = d.Entries[index-d.Snapshot.Base.Index:]
	d.Snapshot = s
	if d.Machine.Base.Index < index {
		d.Machine = s
	}
	return s
}

// Restored returns what a log store finds.
func (d *Disk) Restored() raft.Restored {
	r := raft.Restored{State: d.State, Base: d.Snapshot.Base, Membership: d.Snapshot.Membership,
		Last: d.Snapshot.Base, Time: d.Snapshot.Time, Applied: d.Machine.Base.Index}
	for _, e := range d.Entries {
		if e.ID.Term != r.Last.Term || len(r.Terms) == 0 {
			r.Terms = append(r.Terms, raft.TermRun{First: e.ID.Index, Term: e.ID.Term})
		}
		if e.Kind == raft.EntryMembership {
			r.Changes = append(r.Changes, e)
		}
		r.Last, r.Time = e.ID, max(r.Time, e.Time)
	}
	r.Tail = d.Entries[r.Applied-r.Base.Index : len(d.Entries) : len(d.Entries)]
	return r
}
