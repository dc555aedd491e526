package plan

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"muster/shardmap"
)

// A person reads the steps and decides. So they are told here as they are shown.
func TestPlansAreShown(t *testing.T) {
	three := Settings{Replicas: 3, MetaVoters: 1}
	zones := func(i int) string { return string(rune('a' + i%3)) }
	for _, test := range []struct {
		name     string
		nodes    int
		zone     func(int) string
		settings Settings
		change   func(w *world)
		steps    string
		problems string
	}{
		{"a node is silent: it may come back", 4, noZone, three, func(w *world) {
			w.addGroup(1, 2, 3)
			w.known.Nodes[3] = Node{Health: Silent}
		}, "", ""},
		{"a dead node is replaced", 4, noZone, three, func(w *world) {
			w.addGroup(1, 2, 3)
			w.known.Nodes[3] = Node{Health: Dead}
		}, `group 1: add a learner on n4: n3 is dead
			group 1: promote n4 in place of n3: n3 is dead`, ""},
		{"a dead leader is replaced, and no node leads two more than another", 4, noZone, three, func(w *world) {
			w.addGroup(3, 2, 1)
			w.addGroup(1, 2, 4)
			w.known.Nodes[3] = Node{Health: Dead}
		}, `group 1: prefer n2 as leader: n3 is dead
			group 1: add a learner on n4: n3 is dead
			group 1: promote n4 in place of n3: n3 is dead`, ""},
		{"it is back, and the copy on its way is not needed", 4, noZone, Settings{Replicas: 3, MetaVoters: 1, Balance: BalanceOff}, func(w *world) {
			g := w.addGroup(1, 2, 3)
			w.setState(1, w.put(g, 4, shardmap.ReplicaVoter), Learning)
			w.addGroup(4, 1, 2)
		}, "group 1: remove n4: the group has its voters without it", ""},
		{"what was begun is finished", 4, noZone, three, func(w *world) {
			g := w.addGroup(1, 2, 3)
			w.setState(1, w.put(g, 4, shardmap.ReplicaVoter), Learned)
			w.addGroup(4, 1, 2)
		}, "group 1: promote n4 in place of n2: n2 holds 2 replicas, n4 1", ""},
		{"the copy on its way is silent", 5, noZone, three, func(w *world) {
			w.addGroup(1, 2, 3)
			w.setState(1, w.put(&w.table.Groups[0], 4, shardmap.ReplicaVoter), Learning)
			w.known.Nodes[3] = Node{Draining: true}
			w.known.Nodes[4] = Node{Health: Silent}
		}, "", "group 1 waits for n4, where a learner is on its way to become a voter; wait for it, or until it counts as dead"},
		{"nothing is known of a group yet", 4, noZone, three, func(w *world) {
			w.addGroup(1, 2, 3)
			w.known.Nodes[3] = Node{Health: Dead}
			delete(w.known.Groups, 1)
		}, "", "group 1 is left alone: nothing is known of its replicas; wait until its leader has reported"},
		{"nobody can take its place", 3, noZone, three, func(w *world) {
			w.addGroup(1, 2, 3)
			w.known.Nodes[3] = Node{Health: Dead}
		}, "", "group 1 has 2 of 3 replicas that may stay; add a node"},
		{"nobody can take the place of what is given up", 3, noZone, three, func(w *world) {
			w.addGroup(1, 2, 3)
			w.known.Nodes[3] = Node{Health: Gone}
		}, "group 1: remove n3: n3 is gone for good, and no other node can take its place", ""},
		{"given up, and another node can take its place", 4, noZone, three, func(w *world) {
			w.addGroup(1, 2, 3)
			w.known.Nodes[3] = Node{Health: Gone}
		}, `group 1: add a learner on n4: n3 is gone for good
			group 1: promote n4 in place of n3: n3 is gone for good`, ""},
		{"one is given up, and nobody can take what is to be drained", 3, noZone, three, func(w *world) {
			w.addGroup(1, 2, 3)
			w.known.Nodes[2] = Node{Draining: true}
			w.known.Nodes[3] = Node{Health: Gone}
		}, "group 1: remove n3: n3 is gone for good, and no other node can take its place", "group 1 has 2 of 3 replicas that may stay; add a node"},
		{"nobody can take what is to be drained", 3, noZone, three, func(w *world) {
			w.addGroup(1, 2, 3)
			w.known.Nodes[1] = Node{Draining: true}
		}, "group 1: prefer n2 as leader: n1 is being drained", "group 1 has 2 of 3 replicas that may stay; add a node"},
		{"lost promises and no spare node", 3, noZone, three, func(w *world) {
			w.addGroup(1, 2, 3)
			w.setState(1, 2, Lost)
		}, `group 1: remove n2: the promises of the replica on n2 are lost, and no other node can take its place
			group 1: add a learner on n2: the promises of the replica on n2 are lost, and no other node can take its place
			group 1: promote n2: the promises of the replica on n2 are lost, and no other node can take its place`, ""},
		{"lost promises and a spare node", 4, noZone, three, func(w *world) {
			w.addGroup(1, 2, 3)
			w.setState(1, 2, Lost)
		}, `group 1: add a learner on n4: the promises of the replica on n2 are lost
			group 1: promote n4 in place of n2: the promises of the replica on n2 are lost`, ""},
		{"a damaged replica mends itself", 4, noZone, three, func(w *world) {
			w.addGroup(1, 2, 3)
			w.setState(1, 2, Damaged)
		}, "", ""},
		{"one voter becomes three in one change", 3, noZone, three, func(w *world) { w.addGroup(1) },
			`group 1: add a learner on n2 and n3: 3 voters are wanted, it has 1
			group 1: promote n2 and n3: 3 voters are wanted, it has 1`, ""},
		{"two nodes are no better than one", 2, noZone, three, func(w *world) { w.addGroup(1) },
			"", "group 1 has 1 of 3 replicas that may stay; add a node"},
		{"three become one", 3, noZone, Settings{Replicas: 1, MetaVoters: 1}, func(w *world) { w.addGroup(1, 2, 3) },
			"group 1: remove n2 and n3: 1 voters are wanted, it has 3", ""},
		{"a drained node waits for one that is silent", 5, noZone, three, func(w *world) {
			w.addGroup(1, 2, 3)
			w.known.Nodes[2] = Node{Health: Silent}
			w.known.Nodes[3] = Node{Draining: true}
		}, "", "group 1 leaves n3 once its voter on n2 is back; wait for it, or until it counts as dead"},
		{"healthy groups don't move while a voter is silent", 4, noZone, three, func(w *world) {
			w.addGroup(1, 2, 3)
			w.addGroup(2, 1, 3)
			w.known.Nodes[3] = Node{Health: Silent}
		}, "", ""},
		{"no majority: hands off", 4, noZone, three, func(w *world) {
			w.addGroup(1, 2, 3)
			w.known.Nodes[2] = Node{Health: Dead}
			w.known.Nodes[3] = Node{Health: Silent}
		}, "", "group 1 has no majority: 1 of 3 voters are live; start the nodes of its other voters; if they are gone for good, see muster recover --help"},
		{"one zone held two", 4, zones, three, func(w *world) { w.addGroup(1, 2, 4) },
			`group 1: prefer n2 as leader: its replica on n1 goes
			group 1: add a learner on n3: fewer of its voters are in one zone then: zone "c" instead of "a"
			group 1: promote n3 in place of n1: fewer of its voters are in one zone then: zone "c" instead of "a"`, ""},
		{"fewer zones than replicas", 4, func(i int) string { return string(rune('a' + i%2)) }, three, func(w *world) { w.addGroup(1, 2, 3) },
			"", "3 replicas of each group are spread over 2 zones: the loss of one zone can stop groups; add a node in another zone"},
		{"leaders are spread", 3, noZone, three, func(w *world) {
			w.addGroup(1, 2, 3)
			w.addGroup(1, 2, 3)
		}, "group 1: prefer n2 as leader: n1 leads 2 groups, n2 0", ""},
		{"leaders that a person chose stay", 3, noZone, three, func(w *world) {
			w.addGroup(1, 2, 3)
			w.addGroup(1, 2, 3)
			w.known.Groups[1], w.known.Groups[2] = Group{Pinned: true}, Group{Pinned: true}
		}, "", ""},
		{"balance is off", 4, zones, Settings{Replicas: 3, MetaVoters: 1, Balance: BalanceOff}, func(w *world) {
			w.addGroup(1, 2, 4)
			w.addGroup(1, 2, 4)
		}, "", ""},
		{"a voter of the meta group is replaced by a copy", 4, noZone, Settings{Replicas: 3, MetaVoters: 3}, func(w *world) {
			w.addMeta(3)
			w.known.Nodes[1] = Node{Health: Dead}
		}, `group 0: prefer n2 as leader: n1 is dead
			group 0: promote n4 in place of n1: n1 is dead`, ""},
		{"a new node gets a copy of the meta group", 1, noZone, Settings{Replicas: 3, MetaVoters: 1}, func(w *world) {
			w.addMeta(1)
			w.addNode("")
		}, "group 0: add a learner on n2: each node has a copy of the table", ""},
		{"a drained node keeps its copy of the meta group, as a copy", 2, noZone, Settings{Replicas: 1, MetaVoters: 1}, func(w *world) {
			w.addMeta(1)
			w.known.Nodes[1] = Node{Draining: true}
		}, `group 0: promote n2 in place of n1: n1 is being drained
			group 0: prefer n2 as leader: n1 is being drained`, ""},
		{"a person took a replica out of a group", 4, noZone, three, func(w *world) {
			w.addGroup(1, 2)
			w.known.Groups[1] = Group{Voters: 2}
		}, "", ""},
		{"a person put a replica into a group, and its node died", 5, noZone, three, func(w *world) {
			w.addGroup(1, 2, 3, 4)
			w.known.Groups[1] = Group{Voters: 4}
			w.known.Nodes[4] = Node{Health: Dead}
		}, `group 1: add a learner on n5: n4 is dead
			group 1: promote n5 in place of n4: n4 is dead`, ""},
	} {
		w := newWorld(test.nodes, test.zone)
		test.change(w)
		p := w.make(t, test.settings)
		var steps, problems []string
		for i := range p.Steps {
			steps = append(steps, p.Steps[i].String())
		}
		for _, q := range p.Problems {
			problems = append(problems, q.String())
		}
		var want []string
		for line := range strings.Lines(test.steps) {
			want = append(want, strings.TrimSpace(line))
		}
		if !slices.Equal(steps, want) {
			t.Errorf("%s: got\n\t%s\nwant\n\t%s", test.name, strings.Join(steps, "\n\t"), strings.Join(want, "\n\t"))
		}
		if got := strings.Join(problems, "\n"); got != test.problems {
			t.Errorf("%s: problems\n\t%s\nwant\n\t%s", test.name, got, test.problems)
		}
		if err := w.carryOut(p); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		if p := w.make(t, test.settings); len(p.Steps) > 0 {
			t.Errorf("%s: then again: %s", test.name, &p.Steps[0])
		}
	}
}

// The founding lays a cluster out by a rule of its own. Where there are no zones, the
// planner must have nothing against it: else each cluster would begin with moves.
func TestFoundingNeedsNoPlan(t *testing.T) {
	for nodes := 1; nodes <= 13; nodes++ {
		for _, groups := range []int{1, 2, 7, 8, 30} {
			w := founded(nodes, groups, noZone)
			if p := w.make(t, Defaults); len(p.Steps) > 0 {
				t.Errorf("%d nodes, %d groups: %s", nodes, groups, &p.Steps[0])
			}
		}
	}
}

// A node that is added takes its fair share and no more: what moves, moves there.
func TestNewNodeTakesItsShare(t *testing.T) {
	w := founded(6, 40, noZone)
	w.addNode("")
	w.put(&w.table.Meta, 7, shardmap.ReplicaLearner)
	p := w.settle(t, Defaults)
	held, led := w.loads()
	if share := 40 * 3 / 7; held[7] != share || p.Moves != share || gap(held) > 1 || gap(led) > 1 {
		t.Errorf("%d moves; nodes hold %v and lead %v, want %d on the new one", p.Moves, held, led, share)
	}
	for _, s := range p.Steps {
		if s.Kind == Add && s.In[0].Node != 7 {
			t.Errorf("%s: not on the new node", &s)
		}
	}
}

// A step is planned at one moment and carried out at another. What has changed
// meanwhile must stop it before it stops a group.
func TestStepIsLookedAtAgain(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(w *world)
		want   error
	}{
		{"nothing changed", func(*world) {}, nil},
		{"the new node is silent", func(w *world) { w.known.Nodes[4] = Node{Health: Silent} }, ErrStale},
		{"the learner has not caught up", func(w *world) { w.setState(1, 4, Learning) }, ErrStale},
		{"the learner is gone", func(w *world) { w.table.Groups[0].Replicas = w.table.Groups[0].Replicas[:3] }, ErrStale},
		{"the old replica was replaced already", func(w *world) { w.table.Groups[0].Replicas[2].Replica = 9 }, ErrStale},
		{"nothing is known of the group", func(w *world) { delete(w.known.Groups, 1) }, ErrStale},
		{"the group is gone", func(w *world) { w.table.Groups = nil }, ErrStale},
		{"another voter is silent", func(w *world) { w.known.Nodes[1] = Node{Health: Silent} }, ErrRisk},
	} {
		w := newWorld(4, noZone)
		w.addGroup(1, 2, 3)
		w.known.Nodes[3] = Node{Health: Dead}
		p := w.make(t, Settings{Replicas: 3, MetaVoters: 1})
		if err := w.do(&p.Steps[0]); err != nil {
			t.Fatal(err)
		}
		test.change(w)
		step := p.Steps[1]
		if err := Recheck(&w.table, &w.known, &step); !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
			t.Errorf("%s: got %v, want %v", test.name, err, test.want)
		}
	}
}

// What one more lost node would cost stands with each step.
func TestRiskIsSaid(t *testing.T) {
	w := newWorld(5, noZone)
	w.addGroup(1, 2, 3)
	w.addGroup(1)
	w.known.Nodes[3] = Node{Health: Dead}
	p := w.make(t, Settings{Replicas: 3, MetaVoters: 1})
	var got []string
	for i := range p.Steps {
		if p.Steps[i].Kind == Promote {
			got = append(got, fmt.Sprintf("%d: %s", p.Steps[i].Group, p.Steps[i].Risk()))
		}
	}
	want := []string{
		"1: quorum 2 of 3 voters, 2 live; then 2 of 3 voters, 3 live; one more lost node stops the group",
		"2: quorum 1 of 1 voters, 1 live; then 2 of 3 voters, 3 live; one more lost node stops the group",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestSettingsAreChecked(t *testing.T) {
	for _, test := range []struct {
		s    Settings
		want string
	}{
		{Defaults, ""},
		{Settings{Replicas: 1, MetaVoters: 5, Balance: BalanceOff}, ""},
		{Settings{Replicas: 2, MetaVoters: 3}, "setting replicas: 2; want 1, 3 or 5"},
		{Settings{Replicas: 3}, "setting meta voters: 0; want 1, 3 or 5"},
		{Settings{Replicas: 7, MetaVoters: 3}, "setting replicas: 7; want 1, 3 or 5"},
		{Settings{Replicas: 3, MetaVoters: 3, Balance: 2}, "setting balance: 2 is unknown; want on or off"},
	} {
		got := ""
		if _, err := Make(&shardmap.Table{}, &Known{}, test.s); err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%+v: got %q, want %q", test.s, got, test.want)
		}
	}
}
