package mover

import (
	"testing"
	"time"

	"muster/raft"
	"muster/shardmap"
)

func calmWorld(t *testing.T, nodes, groups int) *world {
	w := newWorld(t, 1, nodes, groups)
	w.calm = true
	w.until("the new cluster rests", time.Minute, func() bool { return w.idle() && w.lead == w.table.Meta.Preferred })
	return w
}

func (w *world) order(j shardmap.NewJob) uint64 {
	w.t.Helper()
	if err := w.apply(append1(shardmap.AppendNewJob(nil, &j))); err != nil {
		w.fail("%+v: %v", j, err)
	}
	return w.table.Jobs[len(w.table.Jobs)-1].ID
}

func (w *world) job(id uint64) shardmap.Job {
	for _, j := range w.table.Jobs {
		if j.ID == id {
			return j
		}
	}
	return shardmap.Job{}
}

// A healthy cluster costs nothing: once its leaders have told of their groups, nobody is
// asked any more, and nothing stands in the table.
func TestIdleIsIdle(t *testing.T) {
	w := calmWorld(t, 5, 20)
	acts := w.acts
	if len(w.table.Jobs) > 0 || w.acts > 5*len(w.nodes) {
		t.Errorf("a new cluster made jobs %+v with %d actions", w.table.Jobs, w.acts)
	}
	w.run(time.Hour)
	if w.acts > acts {
		t.Errorf("%d actions in an idle hour", w.acts-acts)
	}
}

// A node that dies for good in a cluster at rest is replaced when it was not heard of for
// as long as is set, though nothing happens that would have anybody look.
func TestDeadNodeIsReplacedAtRest(t *testing.T) {
	for _, rest := range []time.Duration{0, time.Hour} {
		w := calmWorld(t, 4, 12)
		w.run(rest)
		died := w.now
		for id := raft.NodeID(4); !w.die(id, true); id-- {
		}
		w.until("the dead node is being replaced", w.table.DeadAfter()+2*silentAfter, func() bool { return w.made[shardmap.JobReplace] > 0 })
		if early := died + w.table.DeadAfter(); w.now < early {
			t.Errorf("replaced %s too early", early-w.now)
		}
		w.until("it is replaced", 5*time.Minute, w.idle)
		w.asSet()
	}
}

// A node that is removed by force leaves a cluster of three, although nobody can take its
// place: only then may a new host have its name and address. It gets the replicas that
// are missing.
func TestForcedRemovalNeedsNoSpareNode(t *testing.T) {
	w := calmWorld(t, 3, 8)
	if !w.die(2, true) {
		t.Fatal("node 2 can't die")
	}
	id := w.order(shardmap.NewJob{Kind: shardmap.JobRemove, Node: 2, Force: true})
	w.until("the node is removed", 5*time.Minute, w.idle)
	if j := w.job(id); j.State != shardmap.JobDone || len(w.table.Nodes) != 2 {
		w.fail("the removal ends as %+v", j)
	}
	w.join(4)
	w.until("the new node has its share", 5*time.Minute, w.idle)
	w.asSet()
}

func TestDrainRemoveJoin(t *testing.T) {
	w := calmWorld(t, 4, 12)
	id := w.order(shardmap.NewJob{Kind: shardmap.JobDrain, Node: 2})
	w.until("the node is drained", 5*time.Minute, w.idle)
	if j := w.job(id); j.State != shardmap.JobDone || j.Total == 0 || j.Done != j.Total {
		w.fail("the drain ends as %+v", j)
	}
	w.asSet()
	w.join(5)
	id = w.order(shardmap.NewJob{Kind: shardmap.JobRemove, Node: 1})
	w.until("the node is removed", 5*time.Minute, w.idle)
	if j := w.job(id); j.State != shardmap.JobDone || len(w.table.Nodes) != 4 {
		w.fail("the removal ends as %+v", j)
	}
	w.asSet()
}

// A new leader of the meta group has heard of no copy yet that it has caught up. One that
// is to take a voter's place is asked for again until it has, though nothing else happens.
func TestCopyThatCatchesUpLater(t *testing.T) {
	w := calmWorld(t, 4, 2)
	g := w.groups[0]
	for _, m := range g.members.Learners {
		g.full[m.Replica] = w.now + 10*time.Second
	}
	w.newLeader()
	w.until("there is a leader", time.Minute, w.idle)
	voter := g.members.Voters[0].Node
	if voter == g.leader {
		voter = g.members.Voters[1].Node
	}
	w.order(shardmap.NewJob{Kind: shardmap.JobDrain, Node: voter})
	w.until("the node is drained", 5*time.Minute, w.idle)
	w.asSet()
}

// Whatever happens to nodes, answers and the lead of the meta group, every job ends once
// that is over, each group is as it is set to be, and no change has made a group weaker.
func TestWorlds(t *testing.T) {
	seeds := uint64(40)
	if testing.Short() {
		seeds = 20
	}
	for seed := range seeds {
		randomWorld(t, seed)
	}
}

func randomWorld(t *testing.T, seed uint64) {
	play(newWorld(t, seed, 3+int(seed%4), 1+int(seed%9)))
}

// play has everything happen to a world, and then wants it to come to rest as it is set.
func play(w *world) {
	if w.rnd.IntN(2) == 0 { // nodes that are replaced come back
		if err := w.apply(append1(shardmap.AppendSetting(nil, &shardmap.Setting{Name: "dead-after", Value: "15s"}))); err != nil {
			w.fail("%v", err)
		}
	}
	next := raft.NodeID(len(w.nodes) + 1)
	var paused []uint64
	order := func(j shardmap.NewJob) { _ = w.apply(append1(shardmap.AppendNewJob(nil, &j))) }
	pick := func() raft.NodeID { return w.table.Nodes[w.rnd.IntN(len(w.table.Nodes))].ID }
	group := func() raft.GroupID { return raft.GroupID(1 + w.rnd.IntN(len(w.table.Groups))) }
	for range 30 {
		w.run(time.Duration(w.rnd.IntN(20_000)) * time.Millisecond)
		switch w.rnd.IntN(14) {
		case 0, 1:
			w.die(pick(), false)
		case 2:
			if len(w.table.Nodes) > 3 {
				if id := pick(); w.die(id, true) && w.rnd.IntN(2) == 0 {
					order(shardmap.NewJob{Kind: shardmap.JobRemove, Node: id, Force: true})
				}
			}
		case 3, 4:
			w.join(next)
			next++
		case 5:
			order(shardmap.NewJob{Kind: shardmap.JobDrain, Node: pick()})
		case 6:
			if len(w.table.Nodes) > 3 {
				order(shardmap.NewJob{Kind: shardmap.JobRemove, Node: pick()})
			}
		case 7:
			order(shardmap.NewJob{Kind: shardmap.JobAdd, Node: pick(), Group: group()})
		case 8:
			order(shardmap.NewJob{Kind: shardmap.JobPromote, Node: pick(), Group: group()})
		case 9:
			role := []shardmap.NodeRole{shardmap.NodeServer, shardmap.NodeClient}[w.rnd.IntN(2)]
			order(shardmap.NewJob{Kind: shardmap.JobRole, Node: pick(), Role: role})
		case 10, 11:
			if n := len(w.table.Jobs); n > 0 {
				j := w.table.Jobs[w.rnd.IntN(n)]
				if !j.State.Finished() {
					state := []shardmap.JobState{shardmap.JobPaused, shardmap.JobCancelled}[w.rnd.IntN(2)]
					_ = w.apply(append1(shardmap.AppendJobState(nil, &shardmap.SetJobState{ID: j.ID, State: state})))
					paused = append(paused, j.ID)
				}
			}
		case 12:
			w.loseReplica()
		case 13:
			w.run(6 * time.Minute)
		}
		for _, id := range paused {
			if j := w.job(id); j.State == shardmap.JobPaused && w.rnd.IntN(3) == 0 {
				_ = w.apply(append1(shardmap.AppendJobState(nil, &shardmap.SetJobState{ID: j.ID, State: shardmap.JobRunning})))
			}
		}
	}
	w.note("heal")
	w.calm = true
	for _, j := range w.table.Jobs {
		if j.State == shardmap.JobPaused {
			_ = w.apply(append1(shardmap.AppendJobState(nil, &shardmap.SetJobState{ID: j.ID, State: shardmap.JobRunning})))
		}
	}
	for _, id := range inOrder(w.nodes) {
		if n := w.nodes[id]; !n.up && !n.dead {
			n.upAt = w.now
		}
	}
	// Those that will not come back are replaced once they are dead. New nodes take their
	// place, so that there is room for every replica.
	for range 5 {
		w.join(next)
		next++
	}
	w.until("each job has ended, and nothing is left to do", time.Hour, w.idle)
	w.asSet()
}

// A node whose log lost what nobody can know can hold no replica ever again. It is not
// offered one in the place of those that it lost; they wait for another node.
func TestUnfitNodeGetsNoReplica(t *testing.T) {
	const groups = 6
	w := calmWorld(t, 3, groups)
	n := w.nodes[3]
	n.unfit = true
	for id, g := range w.groups {
		for _, m := range g.members.Voters {
			if m.Node == 3 {
				n.lost[id] = m.Replica
			}
		}
	}
	w.order(shardmap.NewJob{Kind: shardmap.JobPromote, Node: 1, Group: 1}) // something has the mover look
	w.run(10 * time.Minute)
	if w.addsOn[3] > 0 {
		t.Errorf("%d replicas were added on a node that can hold none", w.addsOn[3])
	}
	for id, g := range w.groups {
		if len(g.members.Voters) != 3 {
			t.Errorf("group %d has %d voters, and no node to replace the lost one on; want 3", id, len(g.members.Voters))
		}
	}
	w.join(4)
	w.until("another node has its replicas", 10*time.Minute, func() bool { return w.addsOn[4] >= groups })
	if w.addsOn[3] > 0 {
		t.Errorf("%d replicas were added on a node that can hold none", w.addsOn[3])
	}
}

// A node that began to lead just after its start may have replicas that wait for the word
// of others. It finds out when they count again, as it does of other nodes.
func TestOwnReplicasCountAgain(t *testing.T) {
	w := calmWorld(t, 4, 6)
	n := w.nodes[w.lead]
	n.doubts = true
	n.core.Lead(w.now, false)
	n.core.Lead(w.now, true)
	w.news = true
	w.run(time.Second)
	n.doubts = false
	if len(n.core.look.bad) == 0 {
		t.Fatal("the mover knows of no replica of its own node that does not count")
	}
	w.until("they count again", 2*badPause, func() bool { return len(n.core.look.bad) == 0 })
	w.until("there is nothing left to ask", time.Minute, w.idle)
}
