package repl

import (
	"strings"
	"testing"

	"muster/logstore/vfs"
	"muster/raft"
)

// opens waits until a node has a core of group 1 and nothing is damaged on it.
func (c *cluster) opens(n *testNode) {
	c.t.Helper()
	c.until("the replica is opened", func() bool {
		n.store.LookAgain()
		return n.host.groups[1] != nil && len(n.host.mending.list) == 0
	})
}

// alone cuts a node off from all others, so that nobody mends it.
func (c *cluster) alone(n *testNode) {
	for _, o := range c.nodes {
		if o != n {
			c.cut[[2]raft.NodeID{n.id, o.id}], c.cut[[2]raft.NodeID{o.id, n.id}] = true, true
		}
	}
}

// The disk refuses to return a snapshot when its node starts, its header or what
// it holds: once more than is tried at once, or for good. The node starts and
// serves its other groups; that replica says why it does not, with the file, and
// comes back by itself when the disk returns the file, though nobody else can
// help. One would doubt it: one such read kept the whole node down.
func TestRefusedSnapshotAtStart(t *testing.T) {
	for _, test := range []struct {
		name string
		rule vfs.Rule
	}{
		{"all of it", vfs.Rule{Fault: vfs.Error, Op: "read", Times: vfs.Always}},
		{"it can't be opened", vfs.Rule{Fault: vfs.Error, Op: "open", Times: vfs.Always}},
		{"its header", vfs.Rule{Fault: vfs.Unreadable, Times: vfs.Always}},
		{"the second time that it is read", vfs.Rule{Fault: vfs.Error, Op: "read", At: 4, Times: 3}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := written(t, 31, 5)
			n := c.nodes[0]
			c.snapshot(n)
			file := n.store.Snapshots(n.replica().replica)[0].File
			n.stop()
			n.faulty = vfs.NewFaulty(n.disk)
			test.rule.Name = file
			refused := n.faulty.Add(test.rule)
			n.start()
			if refused.Fired() == 0 {
				t.Fatal("nothing was refused: it shows nothing")
			}
			m := n.mending(1)
			if m == nil || n.host.groups[1] != nil {
				t.Fatalf("its state was refused, and the replica runs: %+v", m)
			}
			if !strings.Contains(m.What(), file) || !m.Reopens && !m.Damage.Where.Refused {
				t.Errorf("%q does not say that %s is refused", m.What(), file)
			}
			for g := range raft.GroupID(testGroups) {
				if g != 1 && n.host.groups[g] == nil {
					t.Errorf("group %d is not served either", g)
				}
			}
			c.alone(n)
			for range 100 {
				c.step()
				n.store.LookAgain()
			}
			n.faulty.Clear()
			c.opens(n)
			if n.host.mending.counts.Healed+n.host.mending.counts.Snapshots > 1 {
				t.Errorf("others have helped: %+v", n.host.mending.counts)
			}
			c.whole()
			c.again(n)
		})
	}
}

// The disk refuses entries when its node starts. Others give them back while it
// goes on refusing; or nobody does, and they are there again when it returns them.
func TestRefusedEntriesAtStart(t *testing.T) {
	for _, helped := range []bool{true, false} {
		c := written(t, 32, 5)
		n := c.nodes[0]
		at := n.where(1, 3)
		n.stop()
		n.faulty = vfs.NewFaulty(n.disk)
		n.faulty.Add(vfs.Rule{Fault: vfs.Unreadable, Name: at.file, Offset: at.offset, Times: vfs.Always})
		if !helped {
			c.alone(n)
		}
		n.start()
		n.isHurt(1)
		if m := n.mending(1); !m.Damage.Where.Refused || !strings.Contains(m.What(), "the disk refuses it") {
			t.Errorf("got %q", m.What())
		}
		if !helped {
			for range 100 {
				c.step()
			}
			n.isHurt(1)
			n.faulty.Clear()
		}
		c.opens(n)
		c.whole()
		n.faulty.Clear()
		c.again(n)
	}
}
