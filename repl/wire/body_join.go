package wire

import (
	"fmt"

	"muster/raft"
	"muster/shardmap"
)

// MembersMax bounds the members that an [Invite] or a [JoinAnswer] names: all that a
// cluster may have.
const MembersMax = shardmap.TableNodesMax

// Invite asks a host that has no cluster to become a member of the sender's, which the
// hello names:
//
//	[cluster id, [[node, addr] …]]
type Invite struct {
	ClusterID uint64
	Members   []NodeAddr // whom the host may ask to take it in; 1 to MembersMax
}

func (m *Invite) fields(f *fields) {
	f.exactly(2, func() {
		number(f, "cluster_id", &m.ClusterID)
		list(f, "members", &m.Members, nodeAddrMin, nodeAddr)
	})
}

// Append appends the body.
func (m *Invite) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *Invite) Read(body []byte) error {
	if err := readFields(body, m); err != nil {
		return err
	}
	if m.ClusterID == 0 {
		return fmt.Errorf("field cluster_id: 0; want that of the cluster")
	}
	if len(m.Members) == 0 {
		return fmt.Errorf("field members: none; want 1 to %d", MembersMax)
	}
	return checkMembers(m.Members)
}

// checkMembers refuses more members than a cluster can have, and what is no address.
func checkMembers(members []NodeAddr) error {
	if len(members) > MembersMax {
		return fmt.Errorf("field members: %d; want %d at most", len(members), MembersMax)
	}
	for i := range members {
		if e := checkText("members", "addr", members[i].Addr, AddrMax); e != nil {
			return e
		}
	}
	return nil
}

// JoinState is how far a host is on its way into the cluster that invites it.
type JoinState uint8

const (
	// JoinBegins: it had no cluster, and asks to be taken in from now on.
	JoinBegins JoinState = 1
	// JoinUnderway: it asks already.
	JoinUnderway JoinState = 2
	// JoinMember: it is a member of this cluster.
	JoinMember   JoinState = 3
	joinStateEnd JoinState = 4
)

func (s JoinState) String() string {
	names := [joinStateEnd]string{"refused", "invited", "joining", "member"}
	if s >= joinStateEnd {
		return fmt.Sprintf("state %d", uint8(s))
	}
	return names[s]
}

// InviteAnswer answers an [Invite].
type InviteAnswer struct {
	Node  raft.NodeID
	Name  string // that the host would like to have
	State JoinState
	// Why is what refused it when it asked last; its code is 0 if nobody did since it was
	// invited before.
	Why Error
}

func (m *InviteAnswer) fields(f *fields) {
	f.atLeast(4, func() {
		number(f, "node", &m.Node)
		f.text("name", &m.Name)
		number(f, "state", &m.State)
		f.record("why", &m.Why)
	})
}

// Append appends the body.
func (m *InviteAnswer) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *InviteAnswer) Read(body []byte) error { return readFields(body, m) }

// Join asks the leader of the meta group to take the sender in as a member:
//
//	[node, name, addr, role, [label, …], version, start, level]
//
// The host asks again until it is answered: the answer comes once the table names its
// replica of the meta group.
type Join struct {
	Node    raft.NodeID
	Name    string
	Addr    string
	Role    shardmap.NodeRole
	Labels  []shardmap.Label
	Version string // of the binary
	Start   uint64
	Level   uint32 // of commands: the newest that the binary understands
}

func (m *Join) fields(f *fields) {
	f.exactly(8, func() {
		number(f, "node", &m.Node)
		f.text("name", &m.Name)
		f.text("addr", &m.Addr)
		number(f, "role", &m.Role)
		list(f, "labels", &m.Labels, labelMin, label)
		f.text("version", &m.Version)
		number(f, "start", &m.Start)
		number(f, "level", &m.Level)
	})
}

// Append appends the body.
func (m *Join) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *Join) Read(body []byte) error { return readFields(body, m) }

// Row is the line of the table that the host asks for.
func (m *Join) Row() shardmap.TableNode {
	return shardmap.TableNode{ID: m.Node, Name: m.Name, Addr: m.Addr, Role: m.Role, Labels: m.Labels,
		Version: m.Version, Start: m.Start, Level: m.Level}
}

// JoinAnswer takes a host in.
type JoinAnswer struct {
	ClusterID   uint64
	Incarnation raft.Incarnation // of the meta group
	Replica     raft.ReplicaID   // of the host, in the meta group
	Level       uint32           // of the cluster
	Members     []NodeAddr       // MembersMax at most

	// Index is that of the table which this answer goes by, and Roots are all that the cluster trusts
	// by it; 0 and none from a node before level 8, and from a cluster without TLS. Without them the host
	// could know no more than those of its certificate, and another one may be about to issue.
	Index uint64
	Roots [][]byte // DER, RootsMax at most
}

func (m *JoinAnswer) fields(f *fields) {
	f.grown(5, func() {
		number(f, "cluster_id", &m.ClusterID)
		number(f, "incarnation", &m.Incarnation)
		number(f, "replica", &m.Replica)
		number(f, "level", &m.Level)
		list(f, "members", &m.Members, nodeAddrMin, nodeAddr)
	}, 2, func() {
		number(f, "index", &m.Index)
		list(f, "roots", &m.Roots, rootMin, func(f *fields, r *[]byte) { f.bin("root", r) })
	})
}

// Append appends the body.
func (m *JoinAnswer) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *JoinAnswer) Read(body []byte) error {
	if err := readFields(body, m); err != nil {
		return err
	}
	if err := checkRoots(m.Roots); err != nil {
		return err
	}
	return checkMembers(m.Members)
}

// AddNodesMax bounds the hosts of one [AddNodes].
const AddNodesMax = 64

// AddNodes asks a member to invite hosts, each at its own address:
//
//	[[addr …]]
type AddNodes struct {
	Hosts []string // 1 to AddNodesMax
}

func (m *AddNodes) fields(f *fields) {
	f.exactly(1, func() {
		list(f, "hosts", &m.Hosts, 1, func(f *fields, host *string) { f.text("addr", host) })
	})
}

// Append appends the body.
func (m *AddNodes) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *AddNodes) Read(body []byte) error {
	if err := readFields(body, m); err != nil {
		return err
	}
	if n := len(m.Hosts); n == 0 || n > AddNodesMax {
		return fmt.Errorf("field hosts: %d; want 1 to %d", n, AddNodesMax)
	}
	for _, host := range m.Hosts {
		if e := checkText("hosts", "addr", host, AddrMax); e != nil {
			return e
		}
	}
	return nil
}

// AddNodesAnswer says what became of each invitation, in the order of the hosts.
type AddNodesAnswer struct{ Rows []AddedNode }

// AddedNode is one invited host.
type AddedNode struct {
	Addr  string      // as it was asked for
	Node  raft.NodeID // 0: it was not reached
	Name  string
	State JoinState // 0: it does not join, and Why says why
	Why   Error     // its code is 0 if the host joins
}

func (m *AddNodesAnswer) fields(f *fields) {
	f.atLeast(1, func() {
		list(f, "rows", &m.Rows, addedNodeMin, func(f *fields, n *AddedNode) {
			f.atLeast(5, func() {
				f.text("addr", &n.Addr)
				number(f, "node", &n.Node)
				f.text("name", &n.Name)
				number(f, "state", &n.State)
				f.record("why", &n.Why)
			})
		})
	})
}

const addedNodeMin = 15 // bytes: with ten of an error

// Append appends the body.
func (m *AddNodesAnswer) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *AddNodesAnswer) Read(body []byte) error { return readFields(body, m) }
