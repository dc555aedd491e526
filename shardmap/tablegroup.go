package shardmap

import (
	"cmp"
	"fmt"
	"slices"

	"muster/raft"
	"muster/shardmap/pack"
)

// Members records what a group's membership has become, as its leader told it: that of
// an entry which is committed and not joint.
//
//	[group, incarnation, [seen term, seen index], next, [replica, …]]
//	replica: [replica id, node, role]
type Members struct {
	Group       raft.GroupID
	Incarnation raft.Incarnation
	Seen        raft.LogID     // the entry, above that of the row
	Next        raft.ReplicaID // no lower than that of the row
	Replicas    []TableReplica // in any order; kept by replica id
}

// Prefer says who should lead a group:
//
//	[group, node, pinned]
type Prefer struct {
	Group  raft.GroupID
	Node   raft.NodeID // one that votes in the group; 0: nobody
	Pinned bool        // a person chose it
}

// AppendMembers appends the bytes of m to b. At this level the error is always nil.
func AppendMembers(b []byte, m *Members) ([]byte, error) {
	b = appendTableHead(b, TableMembers, 5)
	b = pack.AppendUint(b, uint64(m.Group))
	b = pack.AppendUint(b, uint64(m.Incarnation))
	b = appendLogID(b, m.Seen)
	b = pack.AppendUint(b, uint64(m.Next))
	return appendReplicas(b, m.Replicas), nil
}

// AppendPrefer appends the bytes of p to b. At this level the error is always nil.
func AppendPrefer(b []byte, p *Prefer) ([]byte, error) {
	b = appendTableHead(b, TablePrefer, 3)
	b = pack.AppendUint(b, uint64(p.Group))
	b = pack.AppendUint(b, uint64(p.Node))
	return pack.AppendBool(b, p.Pinned), nil
}

func appendLogID(b []byte, id raft.LogID) []byte {
	b = pack.AppendArray(b, 2)
	b = pack.AppendUint(b, id.Term)
	return pack.AppendUint(b, id.Index)
}

func appendReplicas(b []byte, list []TableReplica) []byte {
	b = pack.AppendArray(b, len(list))
	for _, r := range list {
		b = pack.AppendArray(b, 3)
		b = pack.AppendUint(b, uint64(r.Replica))
		b = pack.AppendUint(b, uint64(r.Node))
		b = pack.AppendUint(b, uint64(r.Role))
	}
	return b
}

func (r *tableReader) members() (tableCommand, error) {
	m := new(Members)
	r.fields("members", 5)
	m.Group, m.Incarnation = r.groupID(), raft.Incarnation(r.Uint())
	m.Seen, m.Next = r.logID(), raft.ReplicaID(r.Uint())
	m.Replicas = list(r, replicaBytesMin, r.replica)
	return m, r.err()
}

func (r *tableReader) prefer() (tableCommand, error) {
	p := new(Prefer)
	r.fields("prefer", 3)
	p.Group, p.Node, p.Pinned = r.groupID(), raft.NodeID(r.Uint()), r.Bool()
	return p, r.err()
}

func (r *tableReader) groupID() raft.GroupID { return raft.GroupID(r.UintMax(1<<16 - 1)) }

func (r *tableReader) logID() raft.LogID {
	r.fields("log id", 2)
	return raft.LogID{Term: r.Uint(), Index: r.Uint()}
}

// replicaBytesMin is what a replica takes at least: four heads.
const replicaBytesMin = 4

func (r *tableReader) replica() (m TableReplica) {
	r.fields("replica", 3)
	m.Replica, m.Node = raft.ReplicaID(r.Uint()), raft.NodeID(r.Uint())
	m.Role = ReplicaRole(r.UintMax(255))
	return m
}

// apply returns the table with the membership. That it says what is, not what ought to
// be, decides what is refused here: not a node that is not on the list, say, which the
// plan then replaces. A row that could not follow its group would keep the group from
// being mended.
func (m *Members) apply(t *Table, id raft.LogID) (*Table, error) {
	was, ok := t.Group(m.Group)
	if !ok {
		return t, unknownGroup(m.Group)
	}
	conflict := func(format string, args ...any) error {
		return &Refusal{Kind: RefusedConflict, Object: m.Group.String(), Found: fmt.Sprintf(format, args...), Next: "read its row again"}
	}
	now := was
	now.Seen, now.Next, now.Replicas = m.Seen, m.Next, slices.SortedFunc(slices.Values(m.Replicas), byReplica)
	switch {
	case m.Incarnation != was.Incarnation:
		return t, conflict("its incarnation is %d, the membership is that of %d", was.Incarnation, m.Incarnation)
	case m.Seen == was.Seen && m.Next == was.Next && slices.Equal(now.Replicas, was.Replicas):
		return t, nil
	case m.Seen.Index <= was.Seen.Index && !bug("older membership recorded"):
		return t, conflict("its row is that of entry %s, the membership that of %s", was.Seen, m.Seen)
	case m.Next < was.Next:
		return t, conflict("its next replica is %d, the membership has %d", was.Next, m.Next)
	case now.voters() == 0:
		return t, conflict("the membership has no voter")
	case t.replicas()-len(was.Replicas)+len(now.Replicas) > TableReplicasMax:
		return t, conflict("all groups have %d replicas, the limit is %d", t.replicas(), TableReplicasMax)
	}
	// Who does not vote can't lead.
	if r, ok := now.ReplicaOn(now.Preferred); !ok || r.Role != ReplicaVoter {
		now.Preferred, now.Pinned = 0, false
	}
	if err := now.check(); err != nil {
		return t, err
	}
	made := t.draft(id)
	*made.editGroup(m.Group) = now
	return made.Table, nil
}

func byReplica(a, b TableReplica) int { return cmp.Compare(a.Replica, b.Replica) }

// replicas returns how many replicas all groups have.
func (t *Table) replicas() (n int) {
	for g := range t.EachGroup {
		n += len(g.Replicas)
	}
	return n
}

// nextOfFounding returns the replica id that the group allots next as long as its
// membership is the founding's.
func (g *TableGroup) nextOfFounding() (next raft.ReplicaID) {
	for _, list := range [...][]TableReplica{g.Founders, g.Replicas} {
		for _, r := range list {
			next = max(next, r.Replica+1)
		}
	}
	return next
}

func unknownGroup(id raft.GroupID) error {
	return &Refusal{Kind: RefusedAbsent, Object: id.String(), Found: "it is no group of the cluster", Next: "see muster group list"}
}

// apply returns the table with the leader that p prefers.
func (p *Prefer) apply(t *Table, id raft.LogID) (*Table, error) {
	row, ok := t.Group(p.Group)
	if !ok {
		return t, unknownGroup(p.Group)
	}
	if p.Node != 0 {
		if err := mayLead(t, &row, p.Node); err != nil {
			return t, err
		}
	}
	if row.Preferred == p.Node && row.Pinned == p.Pinned {
		return t, nil
	}
	if p.Node == 0 && p.Pinned {
		return t, &Refusal{Kind: RefusedRequest, Object: p.Group.String(), Found: "nobody is to be pinned as its leader", Next: "name a node that votes in it"}
	}
	made := t.draft(id)
	g := made.editGroup(p.Group)
	g.Preferred, g.Pinned = p.Node, p.Pinned
	return made.Table, nil
}

// mayLead refuses a node that does not vote in a group.
func mayLead(t *Table, g *TableGroup, n raft.NodeID) error {
	r, ok := g.ReplicaOn(n)
	switch {
	case !ok:
		return &Refusal{Kind: RefusedConflict, Object: g.ID.String(), Found: t.called(n) + " has no replica of it", Next: fmt.Sprintf("add one first: muster group add %d %s", g.ID, n)}
	case r.Role != ReplicaVoter:
		return &Refusal{Kind: RefusedConflict, Object: g.ID.String(), Found: t.called(n) + " has a copy of it that does not vote", Next: "choose a node that votes: see muster group list"}
	}
	return nil
}

func (m *Members) describe() string {
	var replicas []byte
	for i, r := range m.Replicas {
		if i == describedMax {
			replicas = append(replicas, ", …"...)
			break
		}
		if i > 0 {
			replicas = append(replicas, ", "...)
		}
		replicas = fmt.Appendf(replicas, "%s %d on %s", r.Role, r.Replica, r.Node)
	}
	return fmt.Sprintf("%s incarnation %d seen %s next %d replicas %d: %s", m.Group, m.Incarnation, m.Seen, m.Next, len(m.Replicas), replicas)
}

func (p *Prefer) describe() string {
	text := fmt.Sprintf("%s node %s", p.Group, p.Node)
	if p.Pinned {
		text += " pinned"
	}
	return text
}
