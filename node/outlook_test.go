package node

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// outlookCase is a cluster of nodes n1, n2 …, and of groups 0, 1 …, each with the nodes of
// its voters.
type outlookCase struct {
	nodes  int
	voters [][]raft.NodeID
	dead   raft.NodeID // that was last heard of a minute ago; 0: none is
	change func(*shardmap.Table)
}

func (c *outlookCase) outlook() *outlook {
	t := &shardmap.Table{Level: shardmap.Level}
	a := new(wire.StatusAnswer)
	for id := raft.NodeID(1); id <= raft.NodeID(c.nodes); id++ {
		name, addr := fmt.Sprintf("n%d", id), fmt.Sprintf("10.0.0.%d:4166", id)
		t.Nodes = append(t.Nodes, shardmap.TableNode{ID: id, Name: name, Addr: addr, Role: shardmap.NodeServer})
		n := wire.StatusNode{ID: id, Name: name, Addr: addr, Role: shardmap.NodeServer, Status: wire.NodeAlive}
		if id == c.dead {
			n.Status, n.LastHeardMs = wire.NodeDead, uint64(time.Minute.Milliseconds())
		}
		a.Nodes = append(a.Nodes, n)
		t.Meta.Replicas = append(t.Meta.Replicas, shardmap.TableReplica{Replica: raft.ReplicaID(id), Node: id, Role: shardmap.ReplicaLearner})
	}
	for i, voters := range c.voters {
		g := shardmap.TableGroup{ID: raft.GroupID(i)}
		row := wire.StatusGroup{ID: g.ID}
		for _, n := range voters {
			g.Replicas = append(g.Replicas, shardmap.TableReplica{Replica: raft.ReplicaID(n), Node: n, Role: shardmap.ReplicaVoter})
			row.Replicas = append(row.Replicas, wire.StatusReplica{ID: raft.ReplicaID(n), Node: n, Role: shardmap.ReplicaVoter})
		}
		if a.Groups = append(a.Groups, row); i == 0 {
			for _, r := range g.Replicas {
				t.Meta.Replicas[r.Node-1].Role = shardmap.ReplicaVoter
			}
			continue
		}
		t.Groups = append(t.Groups, g)
	}
	if c.change != nil {
		c.change(t)
	}
	return newOutlook(a, t)
}

func told(list []wire.Problem) string {
	var all []string
	for _, p := range list {
		all = append(all, p.What+" -> "+p.Remedy)
	}
	return strings.Join(all, "\n")
}

// What is worth knowing must be said where it is so and nowhere else, and a cluster that has
// what its settings want, as far as it has servers, must not be called unhealthy for it.
func TestOutlook(t *testing.T) {
	three := []raft.NodeID{1, 2, 3}
	for _, tt := range []struct {
		name        string
		c           outlookCase
		short, note []string // what must be said; none: nothing
	}{
		{"three of three", outlookCase{nodes: 3, voters: [][]raft.NodeID{three, three, three, three}}, nil, nil},
		{"one alone", outlookCase{nodes: 1, voters: [][]raft.NodeID{{1}, {1}}}, nil,
			[]string{"one more lost node stops groups 0, 1, if it is one of: n1 -> add servers with muster node add"}},
		{"two servers can't have three voters", outlookCase{nodes: 2, voters: [][]raft.NodeID{{1}, {1}, {1}}}, nil,
			[]string{"stops groups 0, 1, 2, if it is one of: n1 -> add servers"}},
		{"founded by two", outlookCase{nodes: 2, voters: [][]raft.NodeID{{1, 2}, {1, 2}, {1, 2}}}, nil,
			[]string{"if it is one of: n1, n2"}},
		{"grown, and not made yet", outlookCase{nodes: 3, voters: [][]raft.NodeID{three, {1}, {1, 2, 3}, {1}}},
			[]string{"groups 1, 3 have too few replicas: the least is 1 that vote and live, of 3 that are wanted -> wait", "muster job list"},
			[]string{"stops groups 1, 3, if it is one of: n1 -> wait until the jobs"}},
		{"a setting of five", outlookCase{nodes: 5, voters: [][]raft.NodeID{three, {1, 2, 3}, {2, 3, 4}, {3, 4, 5}, {1, 4, 5}, {1, 2, 3, 4, 5}}, change: func(t *shardmap.Table) {
			t.Settings = []shardmap.Setting{{Name: "replicas", Value: "5"}}
		}}, []string{"groups 1, 2, 3, 4 have too few", "of 5 that are wanted"}, nil},
		{"a setting of one", outlookCase{nodes: 3, voters: [][]raft.NodeID{three, {1}, {2}, {3}}, change: func(t *shardmap.Table) {
			t.Settings = []shardmap.Setting{{Name: "replicas", Value: "1"}}
		}}, nil, []string{"stops groups 1, 2, 3, if it is one of: n1, n2, n3 -> muster setting set replicas 3"}},
		{"chosen by hand", outlookCase{nodes: 3, voters: [][]raft.NodeID{three, three, three, {1, 2}}, change: func(t *shardmap.Table) {
			t.Groups[2].ByHand = true
		}}, nil, []string{"stops group 3, if it is one of: n1, n2"}},
		{"a draining server counts no more", outlookCase{nodes: 3, voters: [][]raft.NodeID{{1, 2}, {1, 2}, {1, 2}}, change: func(t *shardmap.Table) {
			t.Nodes[2].Draining = true
		}}, nil, []string{"stops groups 0, 1, 2"}},
		{"a client node is no server", outlookCase{nodes: 3, voters: [][]raft.NodeID{{1}, {1}, {1}}, change: func(t *shardmap.Table) {
			t.Nodes[2].Role = shardmap.NodeClient
		}}, nil, []string{"add servers with muster node add"}},
		{"one is dead", outlookCase{nodes: 3, dead: 2, voters: [][]raft.NodeID{three, three, three, three}}, nil,
			[]string{"stops groups 0, 1, 2, 3, if it is one of: n1, n3 -> bring the dead nodes back"}},
		{"fewer groups than servers", outlookCase{nodes: 4, voters: [][]raft.NodeID{three, three, {2, 3, 4}}}, nil,
			[]string{"fewer groups (2) than servers (4)", "-> nothing needs to be done; muster group create makes one more"}},
		{"fewer groups, which can't be made yet", outlookCase{nodes: 4, voters: [][]raft.NodeID{three, three, {2, 3, 4}}, change: func(t *shardmap.Table) {
			t.Level = shardmap.MovesLevel - 1
		}}, nil, []string{"start the newer muster on all nodes"}},
		{"a job that is paused", outlookCase{nodes: 3, voters: [][]raft.NodeID{three, three, three, three}, change: func(t *shardmap.Table) {
			t.Jobs = []shardmap.Job{{ID: 12, Kind: shardmap.JobDrain, State: shardmap.JobPaused, Node: 3, Name: "n3"}}
		}}, nil, []string{"job 12 (drain n3) is paused -> muster job resume 12"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := tt.c.outlook()
			for _, part := range []struct {
				what string
				got  string
				want []string
			}{{"problems", told(o.short()), tt.short}, {"notes", told(o.notes()), tt.note}} {
				if len(part.want) == 0 && part.got != "" {
					t.Errorf("%s: want none, got %s", part.what, part.got)
				}
				for _, want := range part.want {
					if !strings.Contains(part.got, want) {
						t.Errorf("%s: got %q, want it to say %q", part.what, part.got, want)
					}
				}
			}
		})
	}
}

// A dead node's problem says when its replicas are made elsewhere, or why they are not.
func TestReplacement(t *testing.T) {
	three := []raft.NodeID{1, 2, 3}
	job := func(state shardmap.JobState) func(*shardmap.Table) {
		return func(t *shardmap.Table) {
			t.Jobs = []shardmap.Job{{ID: 12, Kind: shardmap.JobReplace, State: state, Node: 2, Name: "n2"}}
		}
	}
	for _, tt := range []struct {
		name string
		c    outlookCase
		want string
	}{
		{"in time", outlookCase{nodes: 4, dead: 2, voters: [][]raft.NodeID{three, three}}, "; unless it is back, its replicas are made elsewhere in about 4m0s"},
		{"a setting that is over", outlookCase{nodes: 4, dead: 2, voters: [][]raft.NodeID{three, three}, change: func(t *shardmap.Table) {
			t.Settings = []shardmap.Setting{{Name: "dead-after", Value: "30s"}}
		}}, "; its replicas are made elsewhere from now on"},
		{"under way", outlookCase{nodes: 4, dead: 2, voters: [][]raft.NodeID{three, three}, change: job(shardmap.JobRunning)}, "; job 12 (replace n2) makes its replicas elsewhere"},
		{"paused", outlookCase{nodes: 4, dead: 2, voters: [][]raft.NodeID{three, three}, change: job(shardmap.JobPaused)}, "once muster job resume 12 lets it"},
		{"nowhere", outlookCase{nodes: 3, dead: 2, voters: [][]raft.NodeID{three, three}}, "can't be made elsewhere, for no other server has room for them: add one with muster node add"},
		{"it has none", outlookCase{nodes: 4, dead: 2, voters: [][]raft.NodeID{{1, 3, 4}, {1, 3, 4}}}, ""},
		{"an older cluster", outlookCase{nodes: 4, dead: 2, voters: [][]raft.NodeID{three, three}, change: func(t *shardmap.Table) { t.Level = 2 }}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.c.outlook().replacements()
			if len(got) != 1 || !strings.Contains(got[2], tt.want) || tt.want == "" && got[2] != "" {
				t.Errorf("got %q, want %q of node 2", got, tt.want)
			}
		})
	}
}

// A node that comes or goes has a status of its own, unless it is dead.
func TestStages(t *testing.T) {
	three := []raft.NodeID{1, 2, 3}
	c := outlookCase{nodes: 5, dead: 2, voters: [][]raft.NodeID{three}, change: func(t *shardmap.Table) {
		t.Nodes[1].Draining, t.Nodes[2].Draining = true, true
		t.Meta.Replicas = t.Meta.Replicas[:4]
		t.Jobs = []shardmap.Job{{ID: 9, Kind: shardmap.JobJoin, State: shardmap.JobRunning, Node: 4, Name: "n4"}}
	}}
	o := c.outlook()
	o.stages()
	var got []string
	for _, n := range o.answer.Nodes {
		got = append(got, n.Status.String())
	}
	if got, want := strings.Join(got, " "), "alive dead draining joining joining"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// A running job that shows no progress for long is stuck, and one that moves, is paused or
// has ended is not: a person is called for the first only.
func TestStuckJobs(t *testing.T) {
	began := time.Unix(1000, 0)
	at := func(n time.Duration) time.Time { return began.Add(n) }
	table := func(jobs ...shardmap.Job) *shardmap.Table { return &shardmap.Table{Jobs: jobs} }
	stands := shardmap.Job{ID: 12, Kind: shardmap.JobDrain, State: shardmap.JobRunning, Node: 3, Name: "n3", Done: 1, Total: 4, Why: "no node can take it"}
	moves := shardmap.Job{ID: 13, Kind: shardmap.JobMove, State: shardmap.JobRunning, Total: 9}
	paused := shardmap.Job{ID: 14, Kind: shardmap.JobDrain, State: shardmap.JobPaused, Node: 4}
	var w jobWatch
	w.look(table(stands, moves, paused), at(0))
	moves.Done++
	w.look(table(stands, moves, paused), at(jobStuckAfter/2))
	if got := w.stuck(at(jobStuckAfter - 1)); len(got) != 0 {
		t.Errorf("too early: %v", got)
	}
	got := w.stuck(at(jobStuckAfter))
	if want := "job 12 (drain n3) is stuck: for 10m0s it has moved no replica, 1 of 4 are done; no node can take it -> see what it waits for, with muster job show 12; muster job cancel 12 gives it up"; told(got) != want {
		t.Errorf("got %s\nwant %s", told(got), want)
	}
	stands.State = shardmap.JobDone
	w.look(table(stands, moves, paused), at(jobStuckAfter))
	if got := told(w.stuck(at(jobStuckAfter + jobStuckAfter/2))); !strings.HasPrefix(got, "job 13 (move) is stuck: for 10m0s it has moved no slot, 1 of 9 are done") || strings.Contains(got, "\n") {
		t.Errorf("got %s, want job 13 alone", got)
	}
}
