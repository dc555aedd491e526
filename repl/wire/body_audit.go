package wire

import (
	"fmt"

	"muster/raft"
)

// Limits of what is said about the state of a group.
const (
	// AuditRowsMax bounds the rows of an [AuditReport]: one for each of 4,096 slots, and
	// ample room for the parts of a state beside its slots.
	AuditRowsMax = 8192
	// AuditPartsMax bounds the parts that are named of one replica. One that differs in more
	// differs in nearly all: the names of these say no more than their number.
	AuditPartsMax = 64
	// AuditSourcesMax bounds the nodes that an [AuditVerdict] names: as many as a group may have
	// voters.
	AuditSourcesMax = raft.MembersMax
)

// AuditRow is the digest of one part of a group's state. A part is numbered as a
// shardmap.Part is.
type AuditRow struct {
	Part   uint32
	Digest uint64
}

// AuditReport tells the leader of a group what the sender's replica had as its state, part by
// part, when it had applied an audit entry and nothing behind it:
//
//	[group, incarnation, from, to, [term, index], fenced, replayed, [[part, digest] …]]
//
// It is sent unasked for each audit entry, once the cluster is at level 7 (shardmap.AuditLevel),
// and with Replayed for a [VerdictReplay]. One that is lost costs the leader that replica's part of
// one audit; a replay is asked for again.
type AuditReport struct {
	Group       raft.GroupID
	Incarnation raft.Incarnation
	From, To    raft.ReplicaID
	At          raft.LogID // of the audit entry
	// Fenced: the replica knows already that its state is wrong. It need not send rows, and the
	// leader does not look at them.
	Fenced bool
	// Replayed: the rows are of a state that was made anew for this, from the replica's snapshot
	// and its log.
	Replayed bool
	Rows     []AuditRow // ascending by part
}

func (m *AuditReport) fields(f *fields) {
	f.exactly(8, func() {
		number(f, "group", &m.Group)
		number(f, "incarnation", &m.Incarnation)
		number(f, "from", &m.From)
		number(f, "to", &m.To)
		logID(f, "at", &m.At)
		f.flag("fenced", &m.Fenced)
		f.flag("replayed", &m.Replayed)
		list(f, "rows", &m.Rows, 3, func(f *fields, r *AuditRow) {
			f.exactly(2, func() {
				number(f, "part", &r.Part)
				number(f, "digest", &r.Digest)
			})
		})
	})
}

// Append appends the body.
func (m *AuditReport) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *AuditReport) Read(body []byte) error {
	if err := readFields(body, m); err != nil {
		return err
	}
	if err := auditHead(m.Group, m.From, m.To, m.At); err != nil {
		return err
	}
	if len(m.Rows) > AuditRowsMax {
		return fmt.Errorf("field rows: %d of them; want %d at most", len(m.Rows), AuditRowsMax)
	}
	for i := 1; i < len(m.Rows); i++ {
		if before, part := m.Rows[i-1].Part, m.Rows[i].Part; part <= before {
			return fmt.Errorf("field rows: part %d after part %d; want them ascending", part, before)
		}
	}
	return nil
}

// auditHead checks what reports and verdicts begin with.
func auditHead(g raft.GroupID, from, to raft.ReplicaID, at raft.LogID) error {
	switch {
	case g > raft.GroupMax:
		return fmt.Errorf("field group: %d; want %d at most", g, raft.GroupMax)
	case from == 0 || to == 0 || from == to:
		return fmt.Errorf("from replica %d to replica %d; want two different ones, from 1 on", from, to)
	case at.Term == 0 || at.Index == 0:
		return fmt.Errorf("field at: term %d, index %d; want both from 1 on", at.Term, at.Index)
	}
	return nil
}

// VerdictKind is what a leader makes of a replica's [AuditReport]. Numbers are for ever.
type VerdictKind uint8

const (
	VerdictDiffers   VerdictKind = 1 // another state is right, mostly because a majority of the voters has it: these parts of yours are wrong
	VerdictReplay    VerdictKind = 2 // there is no majority: replay your snapshot and your log up to the entry, and report again
	VerdictUndecided VerdictKind = 3 // the replays have not decided it either
	VerdictAgrees    VerdictKind = 4 // what you have is right: a majority of the voters has it, or their logs lead to it
	verdictKindEnd   VerdictKind = 5
)

func (k VerdictKind) String() string {
	names := [verdictKindEnd]string{VerdictDiffers: "differs", VerdictReplay: "replay", VerdictUndecided: "undecided", VerdictAgrees: "agrees"}
	if k >= verdictKindEnd || names[k] == "" {
		return fmt.Sprintf("verdict %d", uint8(k))
	}
	return names[k]
}

// AuditVerdict tells a replica what became of its [AuditReport]:
//
//	[group, incarnation, from, to, term, [term, index], kind, [part …], [node …]]
//
// It is sent from level 7 on, and once: the next audit tells a replica that did not hear it. Only
// [VerdictReplay] is sent again until the replica has reported what came of it.
type AuditVerdict struct {
	Group       raft.GroupID
	Incarnation raft.Incarnation
	From, To    raft.ReplicaID
	Term        uint64     // in which the sender leads
	At          raft.LogID // of the audit entry
	Kind        VerdictKind
	Parts       []uint32      // that differ: the first AuditPartsMax of them, ascending
	Sources     []raft.NodeID // with VerdictDiffers: whose replicas have the right state; there may be none
}

func (m *AuditVerdict) fields(f *fields) {
	f.exactly(9, func() {
		number(f, "group", &m.Group)
		number(f, "incarnation", &m.Incarnation)
		number(f, "from", &m.From)
		number(f, "to", &m.To)
		number(f, "term", &m.Term)
		logID(f, "at", &m.At)
		number(f, "kind", &m.Kind)
		list(f, "parts", &m.Parts, 1, auditPart)
		list(f, "sources", &m.Sources, 1, func(f *fields, n *raft.NodeID) { number(f, "node", n) })
	})
}

func auditPart(f *fields, p *uint32) { number(f, "part", p) }

// Append appends the body.
func (m *AuditVerdict) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *AuditVerdict) Read(body []byte) error {
	if err := readFields(body, m); err != nil {
		return err
	}
	if err := auditHead(m.Group, m.From, m.To, m.At); err != nil {
		return err
	}
	switch {
	case m.Kind == 0 || m.Kind >= verdictKindEnd:
		return fmt.Errorf("field kind: %d is not known", uint8(m.Kind))
	case m.Term < m.At.Term:
		return fmt.Errorf("field term: %d, for an entry of term %d; want that or a later one", m.Term, m.At.Term)
	case len(m.Sources) > AuditSourcesMax:
		return fmt.Errorf("field sources: %d of them; want %d at most", len(m.Sources), AuditSourcesMax)
	case len(m.Sources) > 0 && m.Kind != VerdictDiffers:
		return fmt.Errorf("field sources: %d of them in a verdict of kind %s; want none", len(m.Sources), m.Kind)
	}
	return partsInOrder(m.Parts)
}

func partsInOrder(parts []uint32) error {
	if len(parts) > AuditPartsMax {
		return fmt.Errorf("field parts: %d of them; want %d at most", len(parts), AuditPartsMax)
	}
	for i := 1; i < len(parts); i++ {
		if parts[i] <= parts[i-1] {
			return fmt.Errorf("field parts: %d after %d; want them ascending", parts[i], parts[i-1])
		}
	}
	return nil
}
