package repl

import (
	"errors"
	"testing"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/raft"
	"muster/repl/wire"
)

// A replica is removed while what its log lost is being fetched. The answer
// comes after that, and before the log knows: it must not be written to a log
// that is gone, for which the store would stop the whole node.
func TestRemovedWhileMended(t *testing.T) {
	c := written(t, 31, 5)
	n := c.nodes[0]
	n.stop()
	n.start() // what it has applied is on its disk only
	c.until("all have all", c.settled)
	c.until("it rests", func() bool { n.sync(); return n.batch == nil })
	n.rot(1, 3)
	r := n.replica().replica
	if _, err := n.store.Read(r, 3, 3, 1); !errors.Is(err, logstore.ErrDamaged) {
		t.Fatalf("read: %v", err)
	}
	n.rotten = true
	n.turn()
	if m := n.mending(1); m == nil || !m.Runs {
		t.Fatal("what a read found is not being mended")
	}
	var answer *wire.RepairAnswer
	var from raft.NodeID
	c.until("an answer is on its way", func() bool {
		for _, p := range c.net {
			if a, ok := p.body.(*wire.RepairAnswer); ok && p.to == n.id && a.Group == 1 && len(a.Entries) > 0 {
				answer, from = a, p.from
			}
		}
		return answer != nil && n.batch == nil
	})
	n.host.Retire(r)
	n.turn()
	n.host.ReceiveRepairAnswer(from, answer)
	n.host.DamageFound()
	n.turn()
	for range 3 {
		n.sync()
	}
	if len(n.host.mending.list) > 0 {
		t.Errorf("a replica that was removed is being mended")
	}
}

// A node that lost what can't be known makes no replicas. One that the table
// asks for there, and then gives to another node, is retired without the log
// ever having heard of it.
func TestRetiredBeforeItWasMade(t *testing.T) {
	c := written(t, 32, 5)
	n := c.nodes[0]
	n.kill()
	names, err := n.disk.List("data/log")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if _, err := n.disk.Damage("data/log/"+name, 0, vfs.ZeroSector); err != nil {
			t.Fatal(err)
		}
		file, err := n.disk.Open("data/log/" + name)
		if err != nil {
			t.Fatal(err)
		}
		size, _ := file.Size()
		file.Close()
		if _, err := n.disk.Damage("data/log/"+name, size-1, vfs.ZeroSector); err != nil {
			t.Fatal(err)
		}
	}
	n.start()
	other := logstore.Replica{Group: 9, Incarnation: 1, ID: 1}
	n.host.Place([]Placement{{Replica: other}})
	n.turn()
	if n.host.mending.of(9) == nil {
		t.Fatal("the replica was made, though it may have been there")
	}
	if !n.host.Retire(other) {
		t.Fatal("it is not retired")
	}
	n.turn()
	for range 3 {
		n.sync()
	}
	n.host.Place([]Placement{{Replica: other}})
	n.turn()
	if n.host.mending.of(9) != nil {
		t.Error("a replica that was retired is made again")
	}
	n.stop()
	n.start()
	if !n.host.placing.buried(other) {
		t.Error("after a restart it is not known that the replica was retired")
	}
}

// A replica is given a snapshot while it writes one of its own, which is
// useless then. The one that its log still begins behind must stay until the log
// begins behind the new one: a crash in between would leave no state.
func TestCrashBetweenInstallAndItsWrite(t *testing.T) {
	c := snapCluster(t, 33)
	late := c.nodes[2]
	c.write(1, 30)
	c.until("it has a snapshot, and entries after that", func() bool {
		g := late.host.groups[1]
		onDisk, _ := late.store.Outline(logstore.Replica{Group: 1, Incarnation: 1, ID: raft.ReplicaID(late.id)})
		if g == nil || g.snap.base.Index == 0 || onDisk.State.Commit <= g.snap.base.Index || late.batch != nil || len(late.host.chores.litter) > 0 || late.host.chores.working {
			c.wrote++
			if lead := c.leader(1); lead != nil && len(c.net) < 200 {
				c.propose(lead, 1, c.wrote)
			}
			return false
		}
		return true
	})
	last := late.host.groups[1].core.Status().Last.Index
	late.crash()
	c.until("group 1 has a leader", func() bool { return c.leader(1) != nil })
	c.write(1, 80)
	c.until("the log is compacted", func() bool {
		return c.nodes[0].host.groups[1].snap.base.Index > last && c.nodes[1].host.groups[1].snap.base.Index > last
	})
	late.start()
	late.host.AskSnapshot(1)
	late.turn()
	w := late.work
	if w == nil || !w.Writes() {
		t.Fatalf("it writes no snapshot: %+v", w)
	}
	late.work = nil // it takes its time
	g := late.host.groups[1]
	c.until("another one is installed", func() bool {
		line, _ := late.store.Outline(g.replica)
		return g.snap.base.Index > line.Base.ID.Index && g.snap.base.Index > w.Base.ID.Index
	})
	w.Run(late.store, nil)
	if w.err != nil {
		t.Fatal(w.err)
	}
	late.host.Worked(w)
	if w := late.host.Work(); w != nil {
		w.Run(late.store, nil)
		late.host.Worked(w)
	}
	late.disk.Crash(vfs.KeepUnsynced, 0)
	late.start()
	if m := late.mending(1); m != nil {
		t.Errorf("after the crash it %s", m.What())
	}
	c.until("all have the same", c.settled)
	c.check()
}
