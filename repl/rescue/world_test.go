package rescue

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/raft"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
)

// world is a cluster whose nodes are stopped: the directories of five servers, n1 to n5,
// on disks in memory. Group 0 votes on n1 to n3, group 1 on all, group 2 on n1 to n3.
// Group 1 has ten entries behind the first, as the leader wrote them; each directory has
// as many of them as the test says.
type world struct {
	t     testing.TB
	nodes map[int]*vfs.Mem
}

const (
	worldNodes   = 5
	worldEntries = 10
	dir          = "d"
	clusterID    = 0xc1
	oldLifeMark  = 77
)

func nodeID(n int) raft.NodeID { return raft.NodeID(0x10 + n) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// log is what a directory has of group 1.
type log struct {
	entries int    // behind the first
	term    uint64 // of those that the node wrote or got in a later term; 0: none did
	from    int    // the first of those
	commit  int    // known to be committed, behind the first
	records int    // in which they stand, besides the first entry; 0: one with all
	// more are payloads that a group's log has behind all else.
	more map[raft.GroupID][][]byte
	// trusting: nothing is noted of a newer life of n5.
	trusting bool
}

// newWorld makes the directories of the nodes that logs names.
func newWorld(t testing.TB, logs map[int]log) *world {
	t.Helper()
	w := &world{t: t, nodes: make(map[int]*vfs.Mem)}
	for n, l := range logs {
		w.nodes[n] = w.node(n, l)
	}
	return w
}

func member(i int) raft.Member {
	return raft.Member{Replica: raft.ReplicaID(i), Node: nodeID(i), Goal: raft.GoalVoter}
}

func members(voters ...int) raft.Membership {
	var m raft.Membership
	for _, v := range voters {
		m.Voters = append(m.Voters, member(v))
	}
	m.Next = worldNodes + 1
	return m
}

// membershipOfGroup is that with which a group of the world was founded.
func membershipOfGroup(g raft.GroupID) raft.Membership {
	switch g {
	case 0:
		m := members(1, 2, 3)
		for _, i := range []int{4, 5} {
			l := member(i)
			l.Goal = raft.GoalCopy
			m.Learners = append(m.Learners, l)
		}
		return m
	case 1:
		return members(1, 2, 3, 4, 5)
	}
	return members(1, 2, 3)
}

// worldTable is the command that makes the table, with the rows that the world's groups
// have.
func worldTable() []byte {
	f := &shardmap.Found{Cluster: "shop", ClusterID: clusterID, Level: shardmap.Level, ValueMax: shardmap.ValueMaxDefault, Groups: 2}
	for n := 1; n <= worldNodes; n++ {
		f.Nodes = append(f.Nodes, shardmap.FoundNode{ID: nodeID(n), Name: fmt.Sprintf("n%d", n), Addr: fmt.Sprintf("10.0.0.%d:4166", n), Role: shardmap.NodeServer, Level: shardmap.Level})
	}
	b, _ := shardmap.AppendFound(nil, f)
	return b
}

// keyOf returns a key of a group, by the slots of the founding: the first half is of
// group 1.
func keyOf(g raft.GroupID, i int) []byte {
	for k := 0; ; k++ {
		key := fmt.Appendf(nil, "key/%d/%d", i, k)
		if (shardmap.SlotOf(key) < shardmap.Slots/2) == (g == 1) {
			return key
		}
	}
}

func setPayload(g raft.GroupID, i int) []byte {
	key := keyOf(g, i)
	c := shardmap.Command{Kind: shardmap.CommandSet, Slot: shardmap.SlotOf(key), Items: [][]byte{key, fmt.Appendf(nil, "value %d", i)}}
	return wire.AppendWrite(new(wire.Origin).Append(nil), &c)
}

func ownPayload(g raft.GroupID) []byte {
	from := shardmap.Slot(0)
	if g == 2 {
		from = shardmap.Slots / 2
	}
	c := shardmap.OwnCommand(&shardmap.Own{Number: 1, Slots: []shardmap.SlotRange{{From: from, To: from + shardmap.Slots/2 - 1}}})
	return wire.AppendWrite(new(wire.Origin).Append(nil), &c)
}

// of returns the entries of a group's log, as a node has them.
func (l log) of(r logstore.Replica) []raft.Entry {
	seed := raft.EntrySeed(r.Group, r.Incarnation)
	term := func(i int) uint64 {
		if l.term > 0 && r.Group == 1 && i >= l.from {
			return l.term
		}
		return 1
	}
	var all []raft.Entry
	add := func(i int, payload []byte) {
		id := raft.LogID{Term: term(i), Index: uint64(len(all) + 1)}
		all = append(all, raft.SealedEntry(seed, id, raft.GroupTime(len(all)+1), raft.EntryNormal, payload))
	}
	switch r.Group {
	case 0:
		add(0, append(new(wire.Origin).Append(nil), worldTable()...))
	case 1:
		add(0, ownPayload(1))
		for i := 1; i <= l.entries; i++ {
			add(i, setPayload(1, i))
		}
	default:
		add(0, ownPayload(2))
		add(1, setPayload(2, 1))
	}
	for _, payload := range l.more[r.Group] {
		add(0, payload)
	}
	return all
}

// replicasOf are those that a node has.
func replicasOf(n int) []logstore.Replica {
	all := []logstore.Replica{
		{Group: 0, Incarnation: 1, ID: raft.ReplicaID(n)},
		{Group: 1, Incarnation: 1, ID: raft.ReplicaID(n)},
	}
	if n <= 3 {
		all = append(all, logstore.Replica{Group: 2, Incarnation: 1, ID: raft.ReplicaID(n)})
	}
	return all
}

// node makes the directory of a node that was stopped well.
func (w *world) node(n int, l log) *vfs.Mem {
	w.t.Helper()
	disk := vfs.NewMem()
	must(w.t, disk.MkdirAll(dir))
	id := logstore.Identity{Stage: logstore.StageMember, Cluster: "shop", ClusterID: clusterID, Node: nodeID(n)}
	for i := 1; i <= worldNodes; i++ {
		id.Members = append(id.Members, logstore.IdentityMember{Node: nodeID(i), Addr: fmt.Sprintf("10.0.0.%d:4166", i)})
	}
	must(w.t, logstore.WriteIdentity(disk, dir, id))
	s, err := logstore.Open(logstore.Options{FS: disk, Dir: dir, SegmentBytes: logstore.SegmentBytesMin})
	must(w.t, err)
	_, err = logstore.BeginLife(s, id, 0, oldLifeMark)
	must(w.t, err)
	for _, r := range replicasOf(n) {
		entries := l.of(r)
		last := entries[len(entries)-1].ID
		commit := last.Index
		if r.Group == 1 {
			commit = uint64(l.commit + 1 + len(l.more[1]))
		}
		pieces := [][]raft.Entry{entries}
		if r.Group == 1 && l.records > 0 {
			pieces = slices.Insert(slices.Collect(slices.Chunk(entries[1:], l.entries/l.records)), 0, entries[:1])
		}
		state := raft.HardState{Term: last.Term, Commit: commit}
		base := &logstore.Base{Membership: membershipOfGroup(r.Group)}
		for _, piece := range pieces {
			must(w.t, s.Append([]logstore.Write{{Replica: r, Base: base, Entries: piece, State: state, HasState: true}}))
			base = nil
		}
	}
	// What another node was last heard of.
	if l.trusting {
		must(w.t, s.Close())
		return disk
	}
	must(w.t, s.Append([]logstore.Write{{Note: &logstore.Note{Node: nodeID(5), Life: logstore.Life{Number: 9, Mark: 9}, Trusted: logstore.Life{Number: 9, Mark: 9}, Batch: 99}}}))
	must(w.t, s.Close())
	return disk
}

// survivors are the nodes of the world, in order.
func (w *world) survivors() []int { return slices.Sorted(maps.Keys(w.nodes)) }

// reports inspects all directories, by way of their files.
func (w *world) reports() (all []*Report) {
	w.t.Helper()
	for _, n := range w.survivors() {
		before := w.nodes[n].String()
		r, err := Inspect(w.nodes[n], dir)
		must(w.t, err)
		if w.nodes[n].String() != before {
			w.t.Errorf("n%d: inspect changed the directory", n)
		}
		b, err := r.Encode()
		must(w.t, err)
		again, err := ReadReport(b)
		must(w.t, err)
		all = append(all, again)
	}
	return all
}

// plan makes a plan, by way of its file.
func (w *world) plan(o Options) *Plan {
	w.t.Helper()
	if o.ID == 0 {
		o.ID = 0xabc
	}
	p, err := Make(w.reports(), o)
	must(w.t, err)
	b, err := p.Encode()
	must(w.t, err)
	again, err := ReadPlan(b)
	must(w.t, err)
	return again
}

func (w *world) apply(n int, p *Plan) error {
	return Apply(w.nodes[n], dir, p, ApplyOptions{Mark: 1000, Chance: 5})
}

// recovered is what a directory holds once a plan was applied.
type recovered struct {
	identity logstore.Identity
	store    *logstore.Store
	table    *shardmap.Table
	replicas map[raft.GroupID]logstore.Replica
	values   map[raft.GroupID]int // of keys 1 to worldEntries, those that are there with their values
	maps     map[raft.GroupID]*machine.Map
}

// open reads a directory as a start would.
func open(disk vfs.FS) (*recovered, error) {
	id, _, err := logstore.ReadIdentity(disk, dir)
	if err != nil {
		return nil, err
	}
	s, err := logstore.OpenToRead(disk, dir)
	if err != nil {
		return nil, err
	}
	r := &recovered{identity: id, store: s, replicas: map[raft.GroupID]logstore.Replica{}, values: map[raft.GroupID]int{}, maps: map[raft.GroupID]*machine.Map{}}
	for _, replica := range s.Replicas() {
		if other, two := r.replicas[replica.Group]; two {
			return nil, fmt.Errorf("%s beside %s", other, replica)
		}
		r.replicas[replica.Group] = replica
		st, err := stateOf(s, replica)
		if err != nil {
			return nil, err
		}
		switch m := st.machine.(type) {
		case *machine.Meta:
			r.table = m.Table.Table()
		case *machine.Map:
			r.maps[replica.Group] = m
			for i := 1; i <= worldEntries; i++ {
				v, _, _ := m.State.Get(keyOf(replica.Group, i), nil)
				if string(v) == fmt.Sprintf("value %d", i) {
					r.values[replica.Group]++
				}
			}
		}
	}
	return r, nil
}
