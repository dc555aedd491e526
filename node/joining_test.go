package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// joinedCluster is a cluster that takes hosts in, without network: its table, and the
// rules by which its leader answers.
type joinedCluster struct {
	machine *shardmap.TableMachine
	index   uint64
	lead    int // which of its nodes leads
}

func newJoinedCluster(id uint64) *joinedCluster {
	c := &joinedCluster{machine: shardmap.NewTableMachine()}
	f := shardmap.Found{Cluster: "c", ClusterID: id, Level: shardmap.Level, ValueMax: 1 << 10, Groups: 1}
	for i := range 3 {
		f.Nodes = append(f.Nodes, shardmap.TableNode{ID: raft.NodeID(id*10 + uint64(i)), Name: fmt.Sprint("n", i), Addr: fmt.Sprintf("10.0.%d.%d:4166", id, i), Role: shardmap.NodeServer, Level: shardmap.Level})
	}
	b, err := shardmap.AppendFound(nil, &f)
	if err == nil {
		err = c.apply(b)
	}
	if err != nil {
		panic(err)
	}
	return c
}

func (c *joinedCluster) apply(command []byte) error {
	c.index++
	r, err := c.machine.Apply(raft.LogID{Term: 1, Index: c.index}, command)
	if err == nil && r.Refused != nil {
		err = r.Refused
	}
	return err
}

// move does what the mover does: each node of the list gets a copy of the meta group.
func (c *joinedCluster) move() error {
	t := c.machine.Table()
	m := shardmap.Members{Group: 0, Incarnation: t.Meta.Incarnation, Seen: raft.LogID{Term: 1, Index: c.index}, Next: t.Meta.Next, Replicas: slices.Clone(t.Meta.Replicas)}
	for i := range t.Nodes {
		if _, has := t.Meta.ReplicaOn(t.Nodes[i].ID); !has {
			m.Replicas = append(m.Replicas, shardmap.TableReplica{Replica: m.Next, Node: t.Nodes[i].ID, Role: shardmap.ReplicaLearner})
			m.Next++
		}
	}
	if len(m.Replicas) == len(t.Meta.Replicas) {
		return nil
	}
	b, err := shardmap.AppendMembers(nil, &m)
	if err != nil {
		return err
	}
	return c.apply(b)
}

// answer is what the node at an address says to a host that asks to be taken in.
func (c *joinedCluster) answer(addr string, q *wire.Join) (a wire.JoinAnswer, err error) {
	t := c.machine.Table()
	if lead := t.Nodes[c.lead]; lead.Addr != addr {
		return a, wire.NotLeader(0, lead.ID, lead.Addr)
	}
	if a, ok := takenIn(t, q); ok {
		return a, nil
	}
	command, refusal := admitJoin(t, q)
	if refusal != nil {
		return a, refusal
	}
	if err := c.apply(command); err != nil {
		return a, err
	}
	return a, wire.NotReady("host", "its copy is being made", "wait", joinPauseMin)
}

// joiningRun is one host on its way into one of two clusters.
type joiningRun struct {
	rnd      *rand.Rand
	clusters []*joinedCluster
	cfg      Config
	disk     *vfs.Mem
	host     *enrolment // nil: it is not running
	asked    uint64     // the cluster that it has asked to be taken in
	node     raft.NodeID
	calm     bool // nothing goes wrong any more
	wrong    string
}

var errLost = errors.New("nothing came back")

func (j *joiningRun) lost() bool { return !j.calm && j.rnd.IntN(4) == 0 }

// start has the host read its disk, as often as the power goes meanwhile.
func (j *joiningRun) start() {
	e := &enrolment{
		cfg: &j.cfg, fs: j.disk, log: slog.New(slog.DiscardHandler), mark: 1 + j.rnd.Uint64N(1<<60), addr: "10.0.9.9:4166", name: "host",
		level: shardmap.Level, askMember: j.askMember, invitations: make(chan struct{}, 1),
	}
	if err := e.identify(); err != nil {
		j.crash()
		return
	}
	j.host = e
	id := e.self()
	switch {
	case j.asked != 0 && id.ClusterID != j.asked:
		j.wrong = fmt.Sprintf("it has asked cluster %d, and its identity is of %d", j.asked, id.ClusterID)
	case j.asked != 0 && id.Node != j.node:
		j.wrong = fmt.Sprintf("it has asked as node %s, and is %s", j.node, id.Node)
	}
}

// crash takes the power away, and leaves of what was not synced what chance will have.
func (j *joiningRun) crash() {
	modes := vfs.CrashModes()
	j.disk.Crash(modes[j.rnd.IntN(len(modes))], j.rnd.Uint64())
	j.host = nil
}

// askMember is the network between the host and both clusters.
func (j *joiningRun) askMember(_ context.Context, addr string, met func(*wire.Greeting) error, q *wire.Join, a *wire.JoinAnswer) error {
	for _, c := range j.clusters {
		t := c.machine.Table()
		at := slices.IndexFunc(t.Nodes, func(n shardmap.TableNode) bool { return n.Addr == addr })
		if at < 0 {
			continue
		}
		if id := j.host.self(); id.ClusterID != 0 && id.ClusterID != t.ClusterID {
			return wire.WrongCluster("host", "another cluster id", "check the address") // as the hello does
		}
		if j.lost() {
			return errLost
		}
		if err := met(&wire.Greeting{Challenge: wire.Challenge{Node: t.Nodes[at].ID, ClusterID: t.ClusterID}}); err != nil {
			return err
		}
		if j.asked != 0 && j.asked != t.ClusterID {
			j.wrong = fmt.Sprintf("it has asked cluster %d, and asks %d", j.asked, t.ClusterID)
		}
		j.asked, j.node = t.ClusterID, q.Node
		got, err := c.answer(addr, q)
		if j.lost() {
			return errLost
		}
		*a = got
		return err
	}
	return errLost
}

// step has something happen.
func (j *joiningRun) step() {
	c := j.clusters[j.rnd.IntN(len(j.clusters))]
	if j.host == nil {
		j.start()
		return
	}
	if !j.calm && j.rnd.IntN(6) == 0 {
		j.disk.StopAt(1 + j.rnd.IntN(6))
	}
	id := j.host.self()
	var over *overError
	switch k := j.rnd.IntN(8); {
	case k < 4 && waiting(&id):
		if _, _, err := j.host.attempt(context.Background()); errors.As(err, &over) {
			j.crash()
		}
	case k < 5 && waiting(&id):
		t := c.machine.Table()
		if _, refusal := j.host.invite(&wire.Invite{ClusterID: t.ClusterID, Members: nodeAddrs(t)}); refusal != nil && refusal.Code == wire.CodeUnavailable {
			j.crash()
		}
	case k < 6:
		if err := c.move(); err != nil {
			j.wrong = err.Error()
		}
	case k < 7:
		c.lead = j.rnd.IntN(3)
	case !j.calm:
		j.host = nil // it is killed; the disk keeps what it has
	}
}

// check returns what is wrong with a host that is in.
func (j *joiningRun) check() string {
	id := j.host.self()
	lists := 0
	for _, c := range j.clusters {
		t := c.machine.Table()
		if _, known := t.Node(id.Node); !known {
			continue
		}
		lists++
		if r, _ := t.Meta.ReplicaOn(id.Node); t.ClusterID != id.ClusterID || r.Replica != id.Meta.ID || id.Meta.Incarnation != t.Meta.Incarnation {
			return fmt.Sprintf("the table of cluster %d has replica %d for it; its identity has cluster %d and %+v", t.ClusterID, r.Replica, id.ClusterID, id.Meta)
		}
	}
	if lists != 1 {
		return fmt.Sprintf("it is on the lists of %d clusters", lists)
	}
	return ""
}

// joiningRunOf is one random way in. It returns what went wrong, or "".
func joiningRunOf(seed uint64) string {
	j := &joiningRun{rnd: rand.New(rand.NewPCG(seed, 2)), disk: vfs.NewMem(), clusters: []*joinedCluster{newJoinedCluster(1), newJoinedCluster(2)}}
	j.cfg = Config{Data: "d", Cluster: "c", Listen: "10.0.9.9:4166", Standby: true, Role: shardmap.NodeServer}
	if j.rnd.IntN(2) == 0 { // it asks by itself, perhaps members of both
		for range 1 + j.rnd.IntN(3) {
			j.cfg.Join = append(j.cfg.Join, fmt.Sprintf("10.0.%d.%d:4166", 1+j.rnd.IntN(2), j.rnd.IntN(3)))
		}
	}
	if err := j.disk.MkdirAll("d"); err != nil {
		return err.Error()
	}
	if err := j.disk.SyncDir("."); err != nil {
		return err.Error()
	}
	for range 150 {
		if j.step(); j.wrong != "" {
			return j.wrong
		}
	}
	j.calm = true
	if j.host != nil {
		j.crash()
	}
	for range 1000 {
		if j.step(); j.wrong != "" {
			return j.wrong
		}
		if j.host != nil && j.host.self().Stage == logstore.StageFounded {
			return j.check()
		}
	}
	return fmt.Sprintf("it never becomes a member: %+v", j.host.self())
}

// A host that joins may lose its power at each operation of its disk, and any answer; it
// may be invited by two clusters at once, and be told the addresses of both. It ends up
// in one of them, as the node that it began as, with the replica that the table has for
// it. One would doubt it because the cluster takes it in before the host can know.
func TestJoining(t *testing.T) {
	t.Parallel()
	if wrong := joiningRuns(joiningSeeds); wrong != "" {
		t.Fatal(wrong)
	}
}

func joiningRuns(seeds uint64) string {
	for seed := range seeds {
		if wrong := joiningRunOf(seed); wrong != "" {
			return fmt.Sprintf("seed %d: %s", seed, wrong)
		}
	}
	return ""
}

// A host may be removed before it knows that it was taken in. It ends, but one member has said so: that is
// noted nowhere, and the next start asks again.
func TestRemovedWhileItJoins(t *testing.T) {
	disk := vfs.NewMem()
	if err := disk.MkdirAll("d"); err != nil {
		t.Fatal(err)
	}
	c := Config{Data: "d", Cluster: "c", Listen: "10.0.9.9:4166", Join: []string{"10.0.1.1:4166"}}
	e := &enrolment{cfg: &c, fs: disk, log: slog.New(slog.DiscardHandler), mark: 1, addr: c.Listen, name: "host", level: shardmap.Level, notices: new(notices), invitations: make(chan struct{}, 1)}
	e.askMember = func(_ context.Context, _ string, met func(*wire.Greeting) error, q *wire.Join, _ *wire.JoinAnswer) error {
		return errors.Join(met(&wire.Greeting{Challenge: wire.Challenge{Node: 5, ClusterID: 7}}), &removedError{wire.Removed(q.Node, "cluster c")})
	}
	if err := e.identify(); err != nil {
		t.Fatal(err)
	}
	refused(t, "the way in", e.becomeMember(t.Context()), wire.CodeRemoved, "empty data directory")
	if id, _, err := logstore.ReadIdentity(disk, "d"); err != nil || id.Stage != logstore.StageJoining {
		t.Errorf("its directory says %s (%v)", id.Stage, err)
	}
}

// A member that is dead keeps no host out: another one answers. Whoever added the host must
// not be told that it does not join. What a person has to mend must be told.
func TestWhatPassesByItself(t *testing.T) {
	for _, tt := range []struct {
		name          string
		err           error
		passes, moves bool
	}{
		{"nothing listens there", fmt.Errorf("dial: %w", syscall.ECONNREFUSED), true, false},
		{"no leader is known", wire.NotLeader(0, 0, ""), true, false},
		{"a leader elsewhere", wire.NotLeader(0, 2, "10.0.0.2:4166"), true, true},
		{"its copy is being made", wire.NotReady("node n4", "it is on the list", "wait", time.Second), true, true},
		{"not dialled back", wire.Unreached(4, "10.0.0.4:4166", "dial: i/o timeout"), false, false},
		{"its name is taken", &wire.Error{Code: wire.CodeConflict, Object: "node n4"}, false, false},
	} {
		refusal, moves := new(joining).refused("10.0.0.1:4166", tt.err)
		if passes(refusal.Code) != tt.passes || moves != tt.moves {
			t.Errorf("%s: code %s, which passes by itself: %t, want %t; it moves: %t, want %t", tt.name, refusal.Code, passes(refusal.Code), tt.passes, moves, tt.moves)
		}
	}
}
