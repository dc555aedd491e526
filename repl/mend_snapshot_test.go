package repl

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"muster/logstore/vfs"
	"muster/raft"
)

// snapshot has a node write a snapshot of group 1, and its log compacted.
func (c *cluster) snapshot(n *testNode) uint64 {
	c.t.Helper()
	applied := n.replica().applied.Index
	n.host.AskSnapshot(1)
	c.until("a snapshot", func() bool {
		line, ok := n.store.Outline(n.replica().replica)
		return ok && line.Base.ID.Index >= applied
	})
	return applied
}

// What one replica lost the others have compacted: a snapshot of theirs comes in
// its place. Entries behind the snapshot's base, which are intact, stay.
func TestMendBehindCompaction(t *testing.T) {
	for _, behind := range []bool{true, false} {
		for _, more := range []bool{true, false} {
			t.Run(fmt.Sprintf("it has what is behind the base %t, was away since %t", behind, more), func(t *testing.T) {
				c := written(t, 21, 5)
				c.helped = true
				n := c.nodes[0]
				var base uint64
				if behind {
					for _, o := range c.nodes[1:] {
						base = c.snapshot(o)
					}
					c.writes(1, 4001, 4003)
					c.until("all have all", c.settled)
				}
				n.stop()
				if !behind {
					c.writes(1, 4001, 4003)
				}
				if more || !behind {
					for _, o := range c.nodes[1:] {
						base = c.snapshot(o)
					}
				}
				n.rot(1, 3)
				n.start()
				n.isHurt(1)
				c.whole()
				line, _ := n.store.Outline(n.replica().replica)
				if n.host.mending.counts.Snapshots == 0 || line.Base.ID.Index < base {
					t.Errorf("its log begins after %d, want %d at least; %d snapshots were asked for", line.Base.ID.Index, base, n.host.mending.counts.Snapshots)
				}
				c.again(n)
			})
		}
	}
}

// A log begins behind a snapshot that can't be read: the state is gone, and one
// of another replica takes its place.
func TestMendLostState(t *testing.T) {
	c := written(t, 22, 5)
	c.helped = true
	for _, o := range c.nodes {
		c.snapshot(o)
	}
	c.writes(1, 4001, 4002)
	c.until("all have all", c.settled)
	n := c.nodes[0]
	file := n.store.Snapshots(n.replica().replica)[0].File
	n.stop()
	if _, err := n.disk.Damage(file, 60, vfs.BitFlip); err != nil {
		t.Fatal(err)
	}
	n.start()
	m := n.mending(1)
	if m == nil || !m.Damage.State || n.host.groups[1] != nil {
		t.Fatalf("a replica without its state runs: %+v", m)
	}
	if !strings.Contains(m.What(), file) {
		t.Errorf("%q does not name %s", m.What(), file)
	}
	c.whole()
	c.again(n)
}

// The file that was damaged goes once what replaces it counts, not at the next
// compaction: a group at rest has none, and who looks at the disk finds it there.
func TestMendRemovesTheDamagedSnapshot(t *testing.T) {
	c := written(t, 22, 5)
	c.helped = true
	c.snapshot(c.nodes[0])
	n := c.nodes[0]
	file := n.store.Snapshots(n.replica().replica)[0].File
	c.writes(1, 4001, 4002)
	c.until("all have all", c.settled)
	for _, o := range c.nodes[1:] {
		c.snapshot(o)
	}
	n.stop()
	if _, err := n.disk.Damage(file, 60, vfs.BitFlip); err != nil {
		t.Fatal(err)
	}
	n.start()
	c.whole()
	c.until("the damaged file is gone", func() bool {
		f, err := n.disk.Open(file)
		if err == nil {
			f.Close()
		}
		return errors.Is(err, fs.ErrNotExist)
	})
	if all := n.store.Snapshots(n.replica().replica); len(all) != 1 || all[0].File == file {
		t.Errorf("got %v", all)
	}
	c.again(n)
}

// The entries that change the membership are lost, so that the log no longer
// says who the members are. Who was one before is asked, and the table's.
func TestMendMembership(t *testing.T) {
	c := written(t, 23, 3)
	last := c.nodes[0].replica().applied.Index
	lead := c.leader(1)
	gone := c.nodes[0]
	if gone == lead {
		gone = c.nodes[1]
	}
	changed := func(ch raft.Change, ok func(raft.Membership) bool) raft.Membership {
		t.Helper()
		var m raft.Membership
		c.until("a change is taken", func() bool {
			o := c.leader(1)
			if o == nil {
				return false
			}
			_, err := o.host.Change(1, ch)
			o.turn()
			return err == nil
		})
		c.until("the change is committed", func() bool {
			o := c.leader(1)
			if o == nil {
				return false
			}
			st := o.replica().core.Status()
			m = st.Membership
			return ok(m) && len(m.Outgoing) == 0 && st.Commit == st.Last.Index && o.replica().applied.Index == st.Commit
		})
		return m
	}
	old := gone.replica().replica
	changed(raft.Change{Remove: []raft.ReplicaID{old.ID}}, func(m raft.Membership) bool { return len(m.Voters) == 2 })
	gone.host.Retire(old)
	gone.turn()
	gone.history[1] = nil
	m := changed(raft.Change{Add: []raft.NewMember{{Node: gone.id, Goal: raft.GoalVoter}}}, func(m raft.Membership) bool { return m.Next == 5 })
	fresh := old
	fresh.ID = m.Next - 1
	gone.host.Place([]Placement{{Replica: fresh}})
	gone.turn()
	c.until("the new replica votes, and all have all", func() bool {
		o := c.leader(1)
		return o != nil && o.replica().core.Status().Membership.Votes(fresh.ID) && c.settled()
	})
	want := c.leader(1).replica().core.Status().Membership
	var n *testNode
	for _, o := range c.nodes {
		if o != gone && o != c.leader(1) {
			n = o
		}
	}
	end := n.replica().applied.Index
	n.stop()
	n.start()
	c.until("all have all", c.settled)
	n.stop()
	for index := last + 1; index <= end; index++ {
		n.rot(1, index)
	}
	n.start()
	n.isHurt(1)
	c.whole()
	got := n.replica().core.Status().Membership
	if string(got.Append(nil)) != string(want.Append(nil)) {
		t.Errorf("mended, its membership is %+v, want %+v", got, want)
	}
	c.again(n)
}
