package node

import (
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"muster/node/overview"
	"muster/raft"
	"muster/repl"
	"muster/repl/wire"
	"muster/shardmap"
)

// That nothing is heard of a node has many reasons, and "start it again" helps
// with one of them. What this node knows of its own way there tells them apart.
func TestSilentNodes(t *testing.T) {
	refusedDial := fmt.Errorf("dial: %w", &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)})
	for _, tt := range []struct {
		name         string
		link         repl.Link
		heard        time.Duration // ago; 0: never
		status       wire.NodeStatus
		what, remedy string
	}{
		{"nothing listens", repl.Link{Err: refusedDial}, 5 * time.Second, wire.NodeDead, "is dead, last heard of 5s ago: nothing listens at its address", overview.RemedyStart},
		{"no answer to a dial", repl.Link{Err: os.ErrDeadlineExceeded}, 5 * time.Second, wire.NodeDead, "i/o timeout", "check whether that host runs"},
		{"not dialled yet", repl.Link{}, 0, wire.NodeDead, "is dead, last heard of never", "check whether that host runs"},
		{"stands still", repl.Link{Connected: true, RTT: 1, RTTAgo: 5 * time.Second, Waiting: 4 * time.Second}, 5 * time.Second, wire.NodeDead, "the process does not answer", "check whether that process or its disk stands still"},
		{"stands still since a moment", repl.Link{Connected: true, RTT: 1, RTTAgo: 1500 * time.Millisecond, Waiting: 500 * time.Millisecond}, 1400 * time.Millisecond, wire.NodeDead, "the process does not answer", ""},
		{"was emptied", repl.Link{Err: &wire.ElsewhereError{Refusal: wire.UnknownNode(9, "it answers there", "x"), Challenge: wire.Challenge{Node: 9}}}, 5 * time.Second, wire.NodeDead, "its data directory was emptied or replaced", "put the data directory back"},
		{"was emptied and founded alone", repl.Link{Err: wire.WrongCluster("node", "its id is another", "check")}, 5 * time.Second, wire.NodeDead, "its data directory was emptied or replaced", "put the data directory back"},
		{"does not want us", repl.Link{Err: wire.Unauthorized("node", "its secret is another", "give both the same")}, 5 * time.Second, wire.NodeDead, "does not speak with this node", "give both the same"},
		{"is cut one way", repl.Link{Connected: true, RTT: 1, RTTAgo: 300 * time.Millisecond}, 5 * time.Second, wire.NodeAlive, "nothing that it sends by itself arrives here, last heard of 5s ago", "see what keeps connections from it to 10.0.0.1:4166"},
		{"is cut one way from the start", repl.Link{Connected: true, RTT: 1, RTTAgo: 300 * time.Millisecond}, 0, wire.NodeAlive, "arrives here, last heard of never", "a firewall"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := view{heard: map[raft.NodeID]time.Duration{}}
			if tt.heard > 0 {
				v.heard[2] = tt.heard
			}
			v.ways(1, &shardmap.Table{Nodes: []shardmap.TableNode{{ID: 1}, {ID: 2}}}, func(raft.NodeID) repl.Link { return tt.link })
			node := wire.StatusNode{ID: 2, Name: "n2", Addr: "10.0.0.2:4166", Status: v.status(1, 2), LastHeardMs: uint64(v.heard[2].Milliseconds())}
			if node.Status != tt.status {
				t.Errorf("it is called %s, want %s", node.Status, tt.status)
			}
			a := &wire.StatusAnswer{Nodes: []wire.StatusNode{{ID: 1, Name: "n1", Status: wire.NodeAlive}, node}}
			list := problems(a, nil, v.links, "10.0.0.1:4166", nil)
			if len(list) != 1 || !strings.Contains(list[0].What, tt.what) || !strings.Contains(list[0].Remedy, tt.remedy) || !strings.HasPrefix(list[0].What, "node n2 (10.0.0.2:4166) ") {
				t.Errorf("got %+v, want %q and %q", list, tt.what, tt.remedy)
			}
			if list[0].Kind != wire.ProblemNode || list[0].About != 1 {
				t.Errorf("it is of kind %d, about %d", list[0].Kind, list[0].About)
			}
			if strings.HasPrefix(list[0].Remedy, "start it again") != (tt.name == "nothing listens") {
				t.Errorf("remedy %q", list[0].Remedy)
			}
		})
	}
}

// A leader misses a replica of a node that has died a moment before the node itself
// counts as dead. Nobody may be told then that the node speaks, and sent to ask it.
func TestLostReplicas(t *testing.T) {
	g := wire.StatusGroup{Leader: 1, Replicas: []wire.StatusReplica{
		{Node: 1, Role: shardmap.ReplicaVoter, State: wire.ReplicaLeads},
		{Node: 2, Role: shardmap.ReplicaVoter, State: wire.ReplicaLost},
		{Node: 3, Role: shardmap.ReplicaVoter, State: wire.ReplicaReplicates}}}
	for _, tt := range []struct {
		heard time.Duration // ago
		what  string        // "": nothing yet
	}{
		{0, "speaks, but does not answer as voter of group 0"},
		{2 * tick, "speaks, but does not answer as voter of group 0"},
		{aliveWithin - tick, ""},
		{aliveWithin, ""},
		{aliveWithin + tick, "is dead, last heard of"},
	} {
		t.Run(tt.heard.String(), func(t *testing.T) {
			v := view{heard: map[raft.NodeID]time.Duration{2: tt.heard, 3: 0}}
			v.ways(1, &shardmap.Table{Nodes: []shardmap.TableNode{{ID: 1}, {ID: 2}, {ID: 3}}}, func(raft.NodeID) repl.Link { return repl.Link{} })
			a := &wire.StatusAnswer{Groups: []wire.StatusGroup{g}}
			for id := raft.NodeID(1); id <= 3; id++ {
				a.Nodes = append(a.Nodes, wire.StatusNode{ID: id, Name: fmt.Sprintf("n%d", id), Status: v.status(1, id), LastHeardMs: uint64(v.heard[id].Milliseconds())})
			}
			var what []string
			for _, p := range problems(a, nil, v.links, "10.0.0.1:4166", nil) {
				what = append(what, p.What)
			}
			if got := strings.Join(what, "\n"); (tt.what == "") != (got == "") || !strings.Contains(got, tt.what) {
				t.Errorf("heard %v ago: %q, want %q", tt.heard, got, tt.what)
			}
		})
	}
}

// A program must know without reading words which groups do not serve.
func TestProblemsOfGroupsTellTheirKinds(t *testing.T) {
	a := &wire.StatusAnswer{Nodes: []wire.StatusNode{{ID: 1, Name: "n1", Status: wire.NodeAlive}, {ID: 2, Name: "n2", Status: wire.NodeDead}}}
	for id, voters := range [][]raft.NodeID{{1, 2}, {1}, {1, 2}} {
		g := wire.StatusGroup{ID: raft.GroupID(id)}
		for _, v := range voters {
			g.Replicas = append(g.Replicas, wire.StatusReplica{Node: v, Role: shardmap.ReplicaVoter})
		}
		a.Groups = append(a.Groups, g)
	}
	list := problems(a, map[raft.GroupID]*repl.GroupView{1: {}}, nil, "10.0.0.1:4166", nil)
	want := []struct {
		kind   wire.ProblemKind
		groups string
	}{{wire.ProblemMajority, "groups 0, 2"}, {wire.ProblemLeader, "group 1"}}
	if len(list) != len(want) {
		t.Fatalf("got %+v", list)
	}
	for i, p := range list {
		if p.Kind != want[i].kind || p.About != wire.SumOf(want[i].groups) || !strings.HasPrefix(p.What, want[i].groups+" ha") {
			t.Errorf("got %+v, want kind %d about %q", p, want[i].kind, want[i].groups)
		}
	}
}
