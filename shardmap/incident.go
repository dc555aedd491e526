package shardmap

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"muster/raft"
	"muster/shardmap/pack"
)

const (
	// IncidentsMax bounds the incidents that the table remembers. A person looks at the last
	// few, and the table goes to each node with each change.
	IncidentsMax = 64
	// IncidentPartsMax bounds the parts that an incident names.
	IncidentPartsMax = 16
)

// FoundBy says how it was found that a replica differs. Numbers are for ever.
type FoundBy uint8

const (
	// FoundByWalk: what its memory holds is not what was put there, as a walk or an entry has
	// found; or its log leads to another state, which no replica has.
	FoundByWalk FoundBy = 1
	// FoundByComparison: its state is not that of a majority of the group's voters, or not
	// what their logs lead to.
	FoundByComparison FoundBy = 2
	// FoundUndecided: replicas differ, and nobody can say which of them are right.
	FoundUndecided FoundBy = 3
)

var foundByNames = [...]string{FoundByWalk: "walk", FoundByComparison: "comparison", FoundUndecided: "undecided"}

// Known reports whether this level has such a number.
func (f FoundBy) Known() bool { return f != 0 && int(f) < len(foundByNames) }

func (f FoundBy) String() string {
	if !f.Known() {
		return fmt.Sprintf("found by %d", uint8(f))
	}
	return foundByNames[f]
}

// IncidentState says how far an incident is. Numbers are for ever.
type IncidentState uint8

const (
	// IncidentFenced: the replica does not serve. Left by the word of its node that it was
	// rebuilt.
	IncidentFenced IncidentState = 1
	// IncidentRebuilt: the replica has a state that is right, and serves. Never left.
	IncidentRebuilt IncidentState = 2
)

var incidentStateNames = [...]string{IncidentFenced: "fenced", IncidentRebuilt: "rebuilt"}

// Known reports whether this level has such a state.
func (s IncidentState) Known() bool { return s != 0 && int(s) < len(incidentStateNames) }

func (s IncidentState) String() string {
	if !s.Known() {
		return fmt.Sprintf("state %d", uint8(s))
	}
	return incidentStateNames[s]
}

// IncidentKey is what an incident is known by before the table has it.
type IncidentKey struct {
	Group       raft.GroupID
	Incarnation raft.Incarnation
	Replica     raft.ReplicaID
	At          raft.LogID // entry of the group at which the state of the replica was found to differ
}

// Incident is a replica whose state was found to differ from what it must be. The table
// keeps it until there are too many, so that each node can tell people about it.
type Incident struct {
	ID uint64 // index of the entry that recorded it
	IncidentKey
	Node  raft.NodeID // that has the replica
	Found FoundBy
	// Parts are those that differ, in order; the first of them if they are many.
	Parts []Part // at most IncidentPartsMax
	// PartsCount is how many differ, all counted.
	PartsCount uint32
	What       string // what was found, for people to read; at most TableTextMax bytes
	State      IncidentState
	// Acknowledged: a person has seen it.
	Acknowledged bool
}

// PartsMore returns how many parts differ beside those that Parts names.
func (i *Incident) PartsMore() uint32 { return i.PartsCount - min(i.PartsCount, uint32(len(i.Parts))) }

// Incident returns an incident of the table.
func (t *Table) Incident(id uint64) (Incident, bool) {
	i, ok := incidentList(t.Incidents).incident(id)
	if !ok {
		return Incident{}, false
	}
	return t.Incidents[i], true
}

// IncidentOf returns the incident that is known by k.
func (t *Table) IncidentOf(k IncidentKey) (Incident, bool) {
	i := incidentList(t.Incidents).of(k)
	if i < 0 {
		return Incident{}, false
	}
	return t.Incidents[i], true
}

// Differs reports whether the replica of an incident is one of its group's, and not rebuilt.
// One that was taken out of its group does no harm any more, and its incident stays as it is:
// no node tells of a replica that it does not have.
func (t *Table) Differs(i *Incident) bool {
	g, ok := t.Group(i.Group)
	return ok && i.State == IncidentFenced && g.Incarnation == i.Incarnation &&
		slices.ContainsFunc(g.Replicas, func(r TableReplica) bool { return r.Replica == i.Replica })
}

// incidentList are the incidents of a table, by id.
type incidentList []Incident

func (l incidentList) incident(id uint64) (int, bool) {
	return slices.BinarySearchFunc(l, id, func(i Incident, id uint64) int { return cmp.Compare(i.ID, id) })
}

// of returns where the incident is that is known by k, or -1.
func (l incidentList) of(k IncidentKey) int {
	return slices.IndexFunc(l, func(i Incident) bool { return i.IncidentKey == k })
}

// with returns the list with a new one. If there are more than are kept, the oldest goes
// that a person has seen, or else the oldest.
func (l incidentList) with(i Incident) incidentList {
	made := append(slices.Clip(l), i)
	if len(made) <= IncidentsMax {
		return made
	}
	goes := slices.IndexFunc(l, func(i Incident) bool { return i.Acknowledged })
	return slices.Delete(made, max(goes, 0), max(goes, 0)+1)
}

// says reports whether the incident is what a word of its node says.
func (i *Incident) says(word *Incident) bool {
	return bytes.Equal(i.appendWord(nil), word.appendWord(nil))
}

// check says why the table can't have an incident that says this.
func (i *Incident) check() error {
	switch {
	case i.Group > raft.GroupMax:
		return fmt.Errorf("an incident of %s, the limit is %d", i.Group, raft.GroupMax)
	case i.Replica == 0 || i.Node == 0:
		return fmt.Errorf("an incident of replica %d on node %s", i.Replica, i.Node)
	case !i.Found.Known():
		return fmt.Errorf("an incident with found %d: %w", i.Found, ErrLevel)
	case !i.State.Known():
		return fmt.Errorf("an incident in state %d: %w", i.State, ErrLevel)
	case len(i.Parts) > IncidentPartsMax:
		return fmt.Errorf("an incident with %d parts, the limit is %d", len(i.Parts), IncidentPartsMax)
	case int(i.PartsCount) < len(i.Parts):
		return fmt.Errorf("an incident that counts %d parts and names %d", i.PartsCount, len(i.Parts))
	case len(i.What) > TableTextMax:
		return fmt.Errorf("an incident with a text of %d bytes, the limit is %d", len(i.What), TableTextMax)
	}
	for at := 1; at < len(i.Parts); at++ {
		if i.Parts[at-1] >= i.Parts[at] {
			return fmt.Errorf("%s of an incident is out of order", i.Parts[at])
		}
	}
	return nil
}

// check says why these can't be the incidents of t.
func (l incidentList) check(t *Table) error {
	if len(l) > IncidentsMax || t.IncidentCount < uint64(len(l)) {
		return fmt.Errorf("%d incidents of %d; the limit is %d", len(l), t.IncidentCount, IncidentsMax)
	}
	for at := range l {
		i := &l[at]
		if err := i.check(); err != nil {
			return err
		}
		switch {
		case i.ID == 0 || i.ID > t.Index || at > 0 && l[at-1].ID >= i.ID:
			return fmt.Errorf("incident %d is out of order", i.ID)
		case l.of(i.IncidentKey) != at:
			return fmt.Errorf("incident %d is there twice", i.ID)
		}
	}
	return nil
}

const incidentFields = 12

// incidentBytesMin is what an incident takes at least: two heads of arrays more than fields.
const incidentBytesMin = incidentFields + 3

func (l incidentList) append(b []byte) []byte {
	b = pack.AppendArray(b, len(l))
	for at := range l {
		i := &l[at]
		b = pack.AppendArray(b, incidentFields)
		b = pack.AppendUint(b, i.ID)
		b = i.appendWord(b)
		b = pack.AppendBool(b, i.Acknowledged)
	}
	return b
}

// appendWord appends what the node says that has the replica.
func (i *Incident) appendWord(b []byte) []byte {
	b = pack.AppendUint(b, uint64(i.Group))
	b = pack.AppendUint(b, uint64(i.Incarnation))
	b = pack.AppendUint(b, uint64(i.Replica))
	b = appendLogID(b, i.At)
	b = pack.AppendUint(b, uint64(i.Node))
	b = pack.AppendUint(b, uint64(i.Found))
	b = pack.AppendArray(b, len(i.Parts))
	for _, p := range i.Parts {
		b = pack.AppendUint(b, uint64(p))
	}
	b = pack.AppendUint(b, uint64(i.PartsCount))
	b = pack.AppendString(b, i.What)
	return pack.AppendUint(b, uint64(i.State))
}

func readIncident(r *tableReader) (i Incident) {
	r.fields("incident", incidentFields)
	i.ID = r.Uint()
	i.readWord(r)
	i.Acknowledged = r.Bool()
	return i
}

func (i *Incident) readWord(r *tableReader) {
	i.Group, i.Incarnation, i.Replica = r.groupID(), raft.Incarnation(r.Uint()), raft.ReplicaID(r.Uint())
	i.At, i.Node = r.logID(), raft.NodeID(r.Uint())
	i.Found = FoundBy(r.UintMax(255))
	i.Parts = list(r, 1, func() Part { return Part(r.UintMax(1<<32 - 1)) })
	i.PartsCount = uint32(r.UintMax(1<<32 - 1))
	i.What, i.State = r.String(), IncidentState(r.UintMax(255))
}
