package repl

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/raft"
	"muster/repl/wire"
)

// restore gives a node the disk of an earlier moment, image and all: its witness
// tells nothing, only the others can.
func (n *testNode) restore(image *vfs.Mem) {
	if n.host != nil {
		n.kill()
	}
	n.disk = image
}

// aged writes to all groups, and returns the disks of the nodes as they were in the
// midst of it.
func (c *cluster) aged() []*vfs.Mem {
	c.wrote = 1000
	var images []*vfs.Mem
	for g := range raft.GroupID(testGroups) {
		c.write(g, 10)
	}
	for _, n := range c.nodes {
		images = append(images, n.disk.Copy())
	}
	for g := range raft.GroupID(testGroups) {
		c.write(g, 30)
	}
	c.until("all nodes have applied the same", c.settled)
	return images
}

// A clone of a machine's disk is put in its place: nothing on it tells. The others
// remember how far its log was, so it is held until it has heard them, is in a
// durable doubt until it has caught up, and nothing is missing.
func TestCloneOfADisk(t *testing.T) {
	c := written(t, 61, 3)
	images := c.aged()
	n := c.nodes[0]
	n.restore(images[0])
	for _, o := range c.nodes[1:] { // its connections closed
		o.host.PeerLost(n.id)
		o.turn()
	}
	n.start()
	if !n.host.Doubt().None() {
		t.Fatalf("it doubts before it was told: %+v", n.host.Doubt())
	}
	c.until("it is told that it is older", func() bool { return n.host.Doubt().Proven })
	if why := n.host.Doubt().Why; !strings.Contains(why, "heard of batch") {
		t.Errorf("it says %q", why)
	}
	n.kill() // in the midst of that
	n.start()
	if !n.host.Doubt().Proven {
		t.Error("after a restart the doubt is forgotten")
	}
	c.until("it has caught up", func() bool { return n.host.Doubt().None() && c.settled() })
	n.kill()
	n.start()
	c.until("it has caught up again", c.settled)
	if !n.host.Doubt().None() {
		t.Errorf("what was made good is held against it: %+v", n.host.Doubt())
	}
	c.check()
}

// Two of three are given older disks. What they acknowledged together, and the third
// did not hear of, is on no disk any more: the groups stop, and say why, though all
// three run. With one of the newest disks back they go on.
func TestMajorityOfOlderDisks(t *testing.T) {
	c := written(t, 62, 3)
	images := c.aged()
	for _, n := range c.nodes[:2] {
		n.restore(images[n.id-1])
	}
	for _, n := range c.nodes[:2] {
		n.start()
	}
	older := func(n *testNode) bool {
		for _, v := range n.host.View() {
			if !v.Older || !strings.Contains(v.Stopped, "may be lost") {
				return false
			}
		}
		return true
	}
	c.until("their groups stop", func() bool { return older(c.nodes[0]) && older(c.nodes[1]) })
	for range 5000 {
		c.step()
	}
	for g := range raft.GroupID(testGroups) {
		if n := c.leader(g); n != nil && n.id != 3 {
			t.Errorf("node %d leads group %d", n.id, g)
		}
	}
}

// One of three is away while the others are started more often than a chain keeps
// lives. When it is back it knows of each a life that the chain has no more. That
// proves nothing: the groups must go on, where they stopped for good.
func TestMoreStartsThanAreKept(t *testing.T) {
	c := written(t, 69, 3)
	c.wrote = 1000
	c.nodes[2].kill()
	for _, n := range c.nodes[:2] {
		for range logstore.LivesMax + 6 {
			n.kill()
			n.start()
		}
	}
	c.nodes[2].start()
	c.until("they serve, without a doubt", func() bool {
		return c.nodes[0].host.Doubt().None() && c.nodes[1].host.Doubt().None() && c.settled()
	})
	for g := range raft.GroupID(testGroups) {
		c.write(g, 10)
	}
	c.until("all nodes have applied the same", c.settled)
	c.check()
}

// What a life is taken for, at the limits of its number, mark and batches.
func TestVerdicts(t *testing.T) {
	c := newCluster(t, 63, 3)
	n := c.nodes[0]
	const mark = 77
	chain := func(last ...wire.LifeLink) []wire.LifeLink {
		return append([]wire.LifeLink{{Number: 4, Mark: 4}, {Number: 5, Mark: mark, Last: 50}}, last...)
	}
	// Another node's life 5 is noted, and batch 100 of it.
	reset := func() *other {
		delete(n.host.lives.others, 9)
		n.host.ReceiveLifeQuestion(9, &wire.LifeQuestion{Number: 1, Batch: 60, Lives: chain()})
		o := n.host.lives.others[9]
		o.noted, o.dirty = true, false
		n.host.lives.takes(9, mark, 100)
		o.linked = false
		return o
	}
	for _, test := range []struct {
		name   string
		q      wire.LifeQuestion
		linked bool
		want   wire.Verdict
	}{
		{"the same life", wire.LifeQuestion{Lives: chain()}, true, wire.VerdictTaken},
		{"the next", wire.LifeQuestion{Lives: chain(wire.LifeLink{Number: 6, Mark: 8, Last: 100})}, false, wire.VerdictTaken},
		{"the next, at once", wire.LifeQuestion{Lives: chain(wire.LifeLink{Number: 6, Mark: 8, Last: 100})}, true, wire.VerdictConnected},
		{"one whose log was short", wire.LifeQuestion{Lives: chain(wire.LifeLink{Number: 6, Mark: 8, Last: 99})}, false, wire.VerdictBehind},
		{"one behind that", wire.LifeQuestion{Lives: chain(wire.LifeLink{Number: 6, Mark: 8, Last: 99}, wire.LifeLink{Number: 7, Mark: 9, Last: 200})}, false, wire.VerdictBehind},
		{"one that made it good", wire.LifeQuestion{Settled: 6, Lives: chain(wire.LifeLink{Number: 6, Mark: 8, Last: 99}, wire.LifeLink{Number: 7, Mark: 9, Last: 200})}, false, wire.VerdictTaken},
		{"one that made an earlier one good", wire.LifeQuestion{Settled: 5, Lives: chain(wire.LifeLink{Number: 6, Mark: 8, Last: 99})}, false, wire.VerdictBehind},
		{"one without it", wire.LifeQuestion{Lives: []wire.LifeLink{{Number: 4, Mark: 4}, {Number: 6, Mark: 8, Last: 200}}}, false, wire.VerdictUnknownLife},
		{"another of its number", wire.LifeQuestion{Lives: []wire.LifeLink{{Number: 4, Mark: 4}, {Number: 5, Mark: 8, Last: 200}}}, false, wire.VerdictNumber},
		{"a lower number", wire.LifeQuestion{Lives: []wire.LifeLink{{Number: 4, Mark: 4}}}, false, wire.VerdictNumber},
		{"the highest number that is noted", wire.LifeQuestion{Lives: chain(wire.LifeLink{Number: 5 + lifeJumpMax, Mark: 8, Last: 100})}, false, wire.VerdictTaken},
		{"a number that jumps", wire.LifeQuestion{Lives: chain(wire.LifeLink{Number: 6 + lifeJumpMax, Mark: 8, Last: 100})}, false, wire.VerdictJump},
		{"the same life, overtaken", wire.LifeQuestion{Lives: []wire.LifeLink{{Number: 4, Mark: mark}}}, true, wire.VerdictNumber},
		{"the same life under a higher number", wire.LifeQuestion{Lives: []wire.LifeLink{{Number: 6, Mark: mark}}}, true, wire.VerdictTaken},
		{"the same life, and its number jumps", wire.LifeQuestion{Lives: []wire.LifeLink{{Number: 6 + lifeJumpMax, Mark: mark}}}, true, wire.VerdictJump},
		{"a batch that jumps", wire.LifeQuestion{Batch: 200 + batchJumpMax, Lives: chain(wire.LifeLink{Number: 6, Mark: 8, Last: 100})}, false, wire.VerdictJump},
	} {
		o := reset()
		before := o.note
		o.linked = test.linked
		got := n.host.lives.judge(o, &test.q)
		if got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
		test.q.Number = 1
		n.host.ReceiveLifeQuestion(9, &test.q)
		if !test.want.Noted() && n.host.lives.others[9].note != before {
			t.Errorf("%s: it was not taken, and changed %+v to %+v", test.name, before, n.host.lives.others[9].note)
		}
	}
}

// What was noted of a node that is taken out of the table is forgotten, on disk too,
// unless it has a vote in a group.
func TestForgetRemovedNode(t *testing.T) {
	c := newCluster(t, 71, 3)
	n := c.nodes[0]
	noted := func(node raft.NodeID) bool {
		return slices.ContainsFunc(n.store.Notes(), func(note logstore.Note) bool { return note.Node == node })
	}
	n.host.SetNodes([]raft.NodeID{2, 3, 9})
	n.host.ReceiveLifeQuestion(9, &wire.LifeQuestion{Number: 1, Batch: 60, Lives: []wire.LifeLink{{Number: 4, Mark: 4}}})
	silent := func() bool { // nobody is there whom the answer could reach
		c.net = slices.DeleteFunc(c.net, func(p packet) bool { return p.to == 9 })
		return true
	}
	c.until("all three are noted", func() bool { return silent() && noted(2) && noted(3) && noted(9) })
	n.host.SetNodes([]raft.NodeID{2})
	c.until("the one without a vote is forgotten", func() bool { return silent() && !noted(9) })
	n.host.SetNodes([]raft.NodeID{2, 3})
	if !noted(3) || n.host.lives.others[3] == nil {
		t.Error("a voter is forgotten")
	}
	if n.host.lives.others[9] != nil {
		t.Error("the node is forgotten on disk only")
	}
	n.kill()
	n.start()
	if n.host.lives.others[9] != nil {
		t.Error("it is back after a start")
	}
}

// A message counts only in the life that is noted, from the moment when that is on
// disk: one of another life is dropped, and leads to a question, for its sender may
// not know that it must introduce itself.
func TestMessagesOfOtherLives(t *testing.T) {
	c := written(t, 64, 3)
	n := c.nodes[0]
	o := n.host.lives.others[2]
	for _, mark := range []uint64{0, o.note.Life.Mark + 1} {
		before := n.host.refused.counts[refusedLife]
		n.host.Receive(2, &wire.Envelope{Group: 1, Incarnation: 1, Mark: mark, Message: raft.Message{Type: raft.MsgHeartbeat, From: 2, To: 1, Term: 9}})
		if n.host.refused.counts[refusedLife] != before+1 || o.answered != 0 {
			t.Errorf("mark %x: refused %d times, question %d is answered", mark, n.host.refused.counts[refusedLife]-before, o.answered)
		}
		o.answered = 1
	}
	life := wire.LifeLink{Number: o.note.Life.Number + 1, Mark: 99, Last: n.host.lives.batch}
	n.host.ConnectionEnded(2)
	n.host.ReceiveLifeQuestion(2, &wire.LifeQuestion{Number: 1, Lives: []wire.LifeLink{life}})
	if n.host.lives.takes(2, 99, 0) {
		t.Error("a message of a life counts before it is noted on disk")
	}
	n.turn()
	for n.batch != nil {
		n.sync()
	}
	if !n.host.lives.takes(2, 99, 0) {
		t.Error("a message of a life that is noted does not count")
	}
}

// A life that took a higher number asks anew, for what it was told before may be
// less than what was promised since. An answer to the earlier question that comes
// late must not take the place of the later one's.
func TestLateAnswerAboutALife(t *testing.T) {
	c := written(t, 67, 3)
	n := c.nodes[0]
	l, o := &n.host.lives, n.host.lives.others[2]
	l.question, o.answered = 2, 0
	answer := func(number, last uint64) *wire.LifeAnswer {
		return &wire.LifeAnswer{Number: number, About: l.life().Mark, Mark: o.note.Life.Mark, Verdict: wire.VerdictTaken,
			Logs: []wire.LifeLog{{Group: 1, Incarnation: 1, Term: 9, Last: raft.LogID{Term: 9, Index: last}}}}
	}
	for _, a := range []*wire.LifeAnswer{answer(1, 10), answer(2, 20), answer(1, 10)} {
		n.host.ReceiveLifeAnswer(2, a)
	}
	if got := o.logs[1].Last.Index; got != 20 || o.answered != 2 {
		t.Errorf("after both answers, and the first again: the log ends at %d, question %d is answered; want 20 and 2", got, o.answered)
	}
}

// A disk without room can't keep the doubt. The replicas wait all the same, and it
// is kept once there is room: whoever told of it may be gone at the next start.
func TestDoubtOnAFullDisk(t *testing.T) {
	c := written(t, 68, 3)
	images := c.aged()
	n := c.nodes[0]
	n.restore(images[0])
	for _, o := range c.nodes[1:] {
		o.host.PeerLost(n.id)
		o.turn()
	}
	n.start()
	n.disk.Fail(func(op string) error {
		if strings.Contains(op, "identity") {
			return vfs.ErrFull
		}
		return nil
	})
	kept := func() bool {
		id, _ := logstore.IdentityOf(n.store)
		return id.Doubt.Proven
	}
	c.until("it is told that it is older", func() bool { return n.host.Doubt().Proven })
	if kept() {
		t.Fatal("the disk has no room, and kept the doubt")
	}
	c.nodes[2].kill() // while it is awaited the doubt lasts
	n.disk.Fail(nil)
	c.until("the doubt is kept", kept)
	c.nodes[2].start()
	c.until("it has caught up", func() bool { return n.host.Doubt().None() && c.settled() })
	c.check()
}

// A voter tells of entries and falls silent: for a life that is in no doubt it is
// then one that never answered, else the group would wait for it for ever. One would
// doubt that what the others told of still holds, who are there.
func TestFloorOfASilentVoter(t *testing.T) {
	old, late := raft.LogID{Term: 9, Index: 90}, raft.LogID{Term: 9, Index: 99}
	for _, test := range []struct {
		name string
		told []told
		want raft.LogID // when node 2 is silent and node 3 is not
	}{
		{"nobody else told", []told{{2, late}}, raft.LogID{}},
		{"the other told of less", []told{{2, late}, {3, old}}, old},
		{"of the same", []told{{2, late}, {3, late}}, late},
		{"of more", []told{{2, old}, {3, late}}, late},
	} {
		c := written(t, 65, 3)
		n := c.nodes[0]
		g := n.host.groups[1]
		g.core.Resign()
		g.told, g.floor = test.told, newest(test.told)
		g.core.Resume(g.core.Status().Term, g.floor)
		pass := func(ticks int) {
			for range ticks {
				n.host.contacts.hear(3)
				n.host.Tick()
			}
		}
		pass(int(n.host.lives.wait()) - 1)
		if g.floor != newest(test.told) || !g.core.Short() {
			t.Fatalf("%s: it does not wait for who told of the floor", test.name)
		}
		pass(2)
		if none := test.want == (raft.LogID{}); g.floor != test.want || g.core.Short() == none {
			t.Errorf("%s: the floor is %s, want %s; short: %t", test.name, g.floor, test.want, g.core.Short())
		}
	}
}

// A replica lost an entry that it alone had, and the node with it runs. The two others
// are whole, and must not wait for that entry: nobody can give it to them.
func TestFloorOfADamagedReplica(t *testing.T) {
	for seed := range uint64(6) {
		c := written(t, 700+seed, 5)
		c.wrote = 10_000
		lead := c.leader(1)
		for _, n := range c.nodes {
			if n != lead {
				c.cut[[2]raft.NodeID{lead.id, n.id}], c.cut[[2]raft.NodeID{n.id, lead.id}] = true, true
			}
		}
		before := lead.replica().core.Status().Last.Index
		c.propose(lead, 1, 999)
		c.until("the entry is on its disk alone", func() bool { return lead.replica().core.Status().Durable > before })
		for _, n := range c.nodes {
			n.stop() // the end of its log is known
		}
		lead.rot(1, before+1)
		clear(c.cut)
		for _, n := range c.nodes {
			n.start()
		}
		lead.isHurt(1)
		c.until("the two others go on", func() bool { n := c.leader(1); return n != nil && n != lead })
		c.write(1, 3)
		c.whole()
	}
}

// The error is told from others by package node, for another remedy.
func TestOlderMajorityIsTold(t *testing.T) {
	c := newCluster(t, 66, 3)
	n := c.nodes[0]
	c.until("a group", func() bool { return n.host.groups[1] != nil })
	n.host.groups[1].stop(errors.New("something else"))
	for _, v := range n.host.View() {
		if v.Older {
			t.Errorf("group %d: %s", v.Replica.Group, v.Stopped)
		}
	}
}

// A group has other members than those that an older directory remembers: one of its
// voters was replaced. A majority of those that it knows may be none, so it hears
// everybody before it votes, and takes for its floor what any of them tells of.
func TestDoubtWhereMembersChanged(t *testing.T) {
	c := written(t, 69, 5)
	n := c.leader(1)
	l, g := &n.host.lives, n.host.groups[1]
	l.doubt = logstore.Doubt{Why: "a test"}
	l.hold(g)
	voters := l.asked(g)
	news := voters[len(voters)-1] // of a node that has a part, and is no member as far as the log here says
	g.members.Voters = slices.DeleteFunc(slices.Clone(g.members.Voters), func(m raft.Member) bool { return m.Node == news })
	say := func(from raft.NodeID, index uint64) {
		o := l.others[from]
		o.answered, o.logs = g.hold.question, map[raft.GroupID]wire.LifeLog{}
		if index > 0 {
			o.logs[1] = wire.LifeLog{Group: 1, Incarnation: g.replica.Incarnation, Replica: 99, Term: 9, Last: raft.LogID{Term: 9, Index: index}}
		}
	}
	for i, v := range l.asked(g) {
		say(v, 90*uint64(min(i, 1))) // the first was removed: it has no part
	}
	l.release(g)
	if g.hold == nil {
		t.Fatal("it votes by the members that it remembers, though one of them has no part any more")
	}
	if waits := l.awaits(g); !slices.Equal(waits, []raft.NodeID{news}) {
		t.Fatalf("it waits for %v, want node %d", waits, news)
	}
	say(news, 99)
	if l.release(g); g.hold != nil || g.floor.Index != 99 {
		t.Errorf("when all have answered it is held: %t, with floor %s, want 9.99", g.hold != nil, g.floor)
	}
}

// hasBuried tells a node that group 1 was removed, and waits for its tombstone.
func (c *cluster) hasBuried(n *testNode) {
	c.t.Helper()
	n.host.Keep(KeptGroups{Rows: []Kept{{0, 1, []raft.ReplicaID{1, 2, 3}, 4}, {2, 1, []raft.ReplicaID{1, 2, 3}, 4}}, AllAt: 20})
	n.turn()
	c.until("the tombstone is on disk", func() bool { n.sync(); return n.batch == nil })
	n.history[1], n.only = nil, true
}

// A group is removed while one of its nodes is away, and another is given a disk of before.
// These two are a majority of the group as it was. The third has buried its replica, and had
// "no part in it": so the two elected a leader, in a term that had one.
func TestRemovedGroupStaysGone(t *testing.T) {
	if wrong := revivesGroup(t); wrong != "" {
		t.Error(wrong)
	}
}

// revivesGroup returns what went wrong.
func revivesGroup(t *testing.T) (wrong string) {
	c := written(t, 111, 4)
	away, older, knows := c.nodes[0], c.nodes[1], c.nodes[2]
	image := older.disk.Copy()
	away.kill()
	c.write(1, 10)
	older.kill()
	c.hasBuried(knows)

	older.restore(image)
	knows.host.PeerLost(older.id)
	knows.turn()
	older.start()
	c.until("it is told that it is older", func() bool { return older.host.Doubt().Proven })
	away.start()
	for range 30_000 {
		if c.step(); c.leader(1) != nil {
			return fmt.Sprintf("node %d leads a group that was removed", c.leader(1).id)
		}
	}
	if g := older.replica(); g == nil || g.hold == nil {
		t.Fatalf("the replica of the older disk is %+v; want it held: nobody has told that the group is gone", g)
	}
	if waits := older.host.lives.awaits(older.replica()); !slices.Equal(waits, []raft.NodeID{knows.id}) {
		t.Errorf("it waits for %v, want node %d", waits, knows.id)
	}
	c.hasBuried(older) // a table tells
	c.until("the doubt ends", func() bool { return older.host.Doubt().None() })
	return ""
}

// A group has only one member left. The node of one of those that were removed was away, and
// that of the other has a disk of before. The member knew no part of theirs in the group, so
// it did not tell of what it holds, and the two went on without it.
func TestRemovedMembersStayOut(t *testing.T) {
	c := written(t, 112, 4)
	away, older, member := c.nodes[0], c.nodes[1], c.nodes[2]
	image := older.disk.Copy()
	c.isolate(away)
	c.changed(raft.Change{Remove: []raft.ReplicaID{1, 2}})
	older.kill()
	c.until("the member decides alone", func() bool { return c.leader(1) == member })

	older.restore(image)
	older.start()
	clear(c.cut)
	for range 30_000 {
		c.step()
		if lead := c.leader(1); lead != nil && lead != member {
			t.Fatalf("node %d leads a group that has removed it", lead.id)
		}
	}
	if g := older.replica(); g == nil || g.hold != nil || g.floor == (raft.LogID{}) {
		t.Errorf("the replica of the older disk is %+v; want it to lack what the member told of", g)
	}
}

// Which burials hold a replica in doubt: those of which no log tells that the group went on.
func TestDoubtWhereReplicasAreBuried(t *testing.T) {
	const ours = 5 // incarnation
	ids := func(all ...raft.ReplicaID) []raft.ReplicaID { return all }
	log := func(i raft.Incarnation, id, next raft.ReplicaID, members []raft.ReplicaID) *wire.LifeLog {
		return &wire.LifeLog{Group: 1, Incarnation: i, Replica: id, Term: 9, Last: raft.LogID{Term: 9, Index: 99}, Judged: true, Next: next, Replicas: members}
	}
	grave := func(i raft.Incarnation, id raft.ReplicaID) *wire.LifeGrave {
		return &wire.LifeGrave{Group: 1, Incarnation: i, Replica: id}
	}
	for _, c := range []struct {
		name  string
		log2  *wire.LifeLog // of node 2
		log3  *wire.LifeLog
		grave *wire.LifeGrave // of node 3
		held  bool
	}{
		{"none", log(ours, 2, 4, ids(1, 2, 3)), log(ours, 3, 4, ids(1, 2, 3)), nil, false},
		{"no part, and nothing is known of why", log(ours, 2, 4, ids(1, 2, 3)), nil, nil, false},
		{"a voter, and the others know no better", log(ours, 2, 4, ids(1, 2, 3)), nil, grave(ours, 3), true},
		{"a voter, and nobody has a log", nil, nil, grave(ours, 3), true},
		{"a voter, and the group has gone on", log(ours, 2, 5, ids(1, 2, 4)), nil, grave(ours, 3), false},
		{"one that is not known here yet", log(ours, 2, 4, ids(1, 2, 3)), log(ours, 3, 4, ids(1, 2, 3)), grave(ours, 7), true},
		{"one that nobody's log names yet", log(ours, 2, 7, ids(1, 2, 3)), log(ours, 3, 7, ids(1, 2, 3)), grave(ours, 7), true},
		{"one that came and went", log(ours, 2, 8, ids(1, 2, 3)), log(ours, 3, 4, ids(1, 2, 3)), grave(ours, 7), false},
		{"one whose removal is known here", log(ours, 2, 4, ids(1, 2, 3)), log(ours, 3, 4, ids(1, 2, 3)), grave(ours, 0), false},
		{"of an earlier incarnation", log(ours, 2, 4, ids(1, 2, 3)), log(ours, 3, 4, ids(1, 2, 3)), grave(ours-1, 9), false},
		{"of a later incarnation", log(ours, 2, 5, ids(1, 2, 4)), nil, grave(ours+1, 1), true},
		{"the group was made anew", log(ours, 2, 5, ids(1, 2, 4)), log(ours+1, 1, 2, ids(1)), nil, true},
		{"a later replica, and no log tells", log(ours, 2, 4, ids(1, 2, 3)), log(ours, 4, 0, nil), nil, true},
		{"a later replica that knows", log(ours, 2, 4, ids(1, 2, 3)), log(ours, 4, 5, ids(1, 2, 4)), nil, false},
		{"the log that tells is lost", func() *wire.LifeLog { l := log(ours, 2, 5, ids(1, 2, 4)); l.Lost = true; return l }(), nil, grave(ours, 3), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := written(t, 113, 2).nodes[0]
			l := &n.host.lives
			g := n.host.groups[1]
			g.replica.Incarnation = ours
			l.doubt = logstore.Doubt{Why: "a test"}
			l.hold(g)
			for i, row := range []*wire.LifeLog{c.log2, c.log3} {
				o := l.others[raft.NodeID(2+i)]
				o.answered, o.logs, o.buried = g.hold.question, map[raft.GroupID]wire.LifeLog{}, map[raft.GroupID]wire.LifeGrave{}
				if row != nil {
					o.logs[1] = *row
				}
				if i == 1 && c.grave != nil {
					o.buried[1] = *c.grave
				}
			}
			if l.release(g); (g.hold != nil) != c.held {
				t.Errorf("held %t, want %t", g.hold != nil, c.held)
			}
			if c.held && len(l.awaits(g)) == 0 {
				t.Error("it waits for nobody")
			}
		})
	}
}
