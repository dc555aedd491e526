package repl

import (
	"slices"
	"testing"
	"time"

	"muster/raft"
)

// lasting is a register of which parts last until group times.
type lasting struct {
	register
	ends  []raft.GroupTime // in order
	times []raft.GroupTime // of the time entries that it got
	at    []time.Duration  // when it got them
}

func (l *lasting) NextDue() (raft.GroupTime, bool) {
	if len(l.ends) == 0 {
		return 0, false
	}
	return l.ends[0], true
}

func (l *lasting) Skip(e raft.Entry) error {
	if e.Kind != raft.EntryTime {
		return nil
	}
	l.times, l.at = append(l.times, e.Time), append(l.at, l.node.c.now)
	for len(l.ends) > 0 && l.ends[0] <= e.Time {
		l.ends = l.ends[1:]
	}
	return nil
}

// lasts returns a node's machine of a group, of which parts last.
func (n *testNode) lasts(g raft.GroupID) *lasting { return n.host.groups[g].machine.(*lasting) }

const testTick = 50 * time.Millisecond

// pass lets time go by in order: a tick each 50 ms, and all that follows from it.
// each is called after every tick.
func (c *cluster) pass(d time.Duration, each func()) {
	for end := c.now + d; c.now < end; {
		c.now += testTick
		for _, n := range c.nodes {
			if n.host != nil {
				n.host.Tick()
				n.turn()
			}
		}
		for busy := true; busy; {
			busy = false
			for _, n := range c.nodes {
				busy = busy || n.batch != nil
				n.sync()
			}
			for len(c.net) > 0 {
				p := c.net[0]
				c.net = c.net[1:]
				c.deliver(p)
				busy = true
			}
		}
		each()
	}
}

// A group of which something lasts tells its time each minute, and at the moment
// when that is due, and rests in between: nothing else would ever tell that the time
// has come. A group of which nothing lasts writes nothing.
func TestQuietGroupTellsItsTime(t *testing.T) {
	const due = raft.GroupTime(150e9)
	c := newCluster(t, 81, 0)
	c.lasting = func(g raft.GroupID) []raft.GroupTime {
		if g == 1 {
			return []raft.GroupTime{due}
		}
		return nil
	}
	c.start(3)
	c.fillGroups(3)
	c.until("all groups rest", c.resting)
	began, awake, ticks := map[raft.GroupID]raft.LogID{}, 0, 0
	for g := range raft.GroupID(testGroups) {
		began[g] = c.nodes[0].host.groups[g].core.Status().Last
	}
	c.pass(5*time.Minute, func() {
		if ticks++; !c.resting() {
			awake++
		}
	})
	for g := range raft.GroupID(testGroups) {
		for _, n := range c.nodes {
			m := n.lasts(g)
			if !slices.Equal(m.times, c.nodes[0].lasts(g).times) {
				t.Errorf("group %d: node %d got the times %v, node 1 %v", g, n.id, m.times, c.nodes[0].lasts(g).times)
			}
			if g != 1 && n.host.groups[g].core.Status().Last != began[g] {
				t.Errorf("group %d, of which nothing lasts, goes on from %s to %s", g, began[g], n.host.groups[g].core.Status().Last)
			}
		}
	}
	m := c.nodes[0].lasts(1)
	last := raft.GroupTime(0)
	for i, at := range m.times {
		if at > last+timeEntryEvery+raft.GroupTime(testTick) && i > 0 {
			t.Errorf("entry %d comes at %s, the one before at %s", i, time.Duration(at), time.Duration(last))
		}
		last = at
	}
	if len(m.ends) > 0 || last < due || last > due+2*raft.GroupTime(testTick) {
		t.Fatalf("what ends at %s is left after %s, or ended late: at %v", time.Duration(due), c.now, m.times)
	}
	if len(m.times) > 4 {
		t.Errorf("%d entries tell the time, want 4 at most: %v", len(m.times), m.times)
	}
	if most := len(m.times) * 2 * 20; awake > most {
		t.Errorf("of %d ticks somebody was awake for %d, want %d at most", ticks, awake, most)
	}
}

// A new leader begins where the last one was, though no entry has told the time
// for half a minute: else each change of leaders would make everything that lasts
// last longer. Where nobody heard it, that is what the last entry told.
func TestNewLeaderKeepsTheTime(t *testing.T) {
	const group = 1
	for _, test := range []struct {
		name string
		lose func(c *cluster, lead *testNode)
		most raft.GroupTime // that may be lost
	}{
		{"the leader's node crashes at rest", func(_ *cluster, lead *testNode) { lead.crash() }, raft.GroupTime(time.Second)},
		{"all nodes are started anew", func(c *cluster, _ *testNode) {
			for _, n := range c.nodes {
				n.crash()
				n.start()
			}
		}, timeEntryEvery},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newCluster(t, 82, 0)
			c.lasting = func(raft.GroupID) []raft.GroupTime { return []raft.GroupTime{1 << 60} }
			c.start(3)
			c.fillGroups(3)
			c.until("all groups rest", c.resting)
			lead := c.leadsNow(group)
			for lead.host.groups[group].clock.now() < lead.host.groups[group].clock.told+timeEntryEvery/2 || !c.resting() {
				c.pass(testTick, func() {})
			}
			was := lead.host.groups[group].clock
			test.lose(c, lead)
			var next *clock
			c.until("another leads", func() bool {
				if n := c.leadsNow(group); n != nil {
					next = &n.host.groups[group].clock
				}
				return next != nil
			})
			if start := next.start; start > was.now() || was.now()-start > test.most || start < was.told {
				t.Errorf("the last leader was at %s, and told %s; the next one begins at %s",
					time.Duration(was.now()), time.Duration(was.told), time.Duration(start))
			}
		})
	}
}

// Groups that one host leads tell their times together, once they are quiet: each
// wakes the host for a second, and one write and one sync do for all.
func TestGroupsTellTheirTimesTogether(t *testing.T) {
	c := newCluster(t, 83, 0)
	c.lasting = func(raft.GroupID) []raft.GroupTime { return []raft.GroupTime{1 << 60} }
	c.start(3)
	c.fillGroups(3)
	c.nodes[2].crash() // of three groups two are led by one of the others
	c.until("each group has a leader", func() bool {
		for g := range raft.GroupID(testGroups) {
			if c.leadsNow(g) == nil {
				return false
			}
		}
		return true
	})
	c.pass(10*time.Minute, func() {})
	led := map[*testNode][]*lasting{}
	for g := range raft.GroupID(testGroups) {
		n := c.leadsNow(g)
		led[n] = append(led[n], n.lasts(g))
	}
	for n, all := range led {
		for _, m := range all {
			if len(m.at) < 9 {
				t.Fatalf("node %d: a group told its time %d times in ten minutes", n.id, len(m.at))
			}
			// The first may come apart, when the last entries were.
			if mine, first := m.at[len(m.at)-5:], all[0].at[len(all[0].at)-5:]; !slices.Equal(mine, first) {
				t.Errorf("node %d: one group tells its time at %v, another at %v", n.id, first, mine)
			}
		}
	}
}
