package repl

import (
	"testing"
	"time"
)

const waitTick = 50 * time.Millisecond

// alone lets a node's time go on, and nothing else happen.
func (n *testNode) alone(ticks int) {
	for range ticks {
		n.c.now += waitTick
		n.host.Tick()
		n.turn()
	}
}

// A local read that is to be as new as an index waits for it, and nothing comes
// in a group that rests: no tick, no entry. One would doubt that it is answered
// when its caller waits no more; some thousands of such would hold the memory
// and the reader of their connection for ever.
func TestReadsOfARestingGroupExpire(t *testing.T) {
	c := newCluster(t, 1, 3)
	c.until("group 1 is led", func() bool { return c.leader(1) != nil })
	c.until("all replicas of group 1 rest", func() bool {
		for _, n := range c.nodes {
			if !n.host.groups[1].resting.quiet {
				return false
			}
		}
		return true
	})
	for _, n := range c.nodes { // leader and followers alike
		g := n.host.groups[1]
		var s said
		deadline := c.now + 4*waitTick
		n.host.Read(Read{Group: 1, Local: true, After: 1 << 40, Deadline: deadline, Reply: Reply{To: &s, Request: 1}, Query: anything{}})
		n.host.Read(Read{Group: 1, Local: true, After: 1 << 40, Reply: Reply{To: &s, Request: 2}, Query: anything{}})
		n.alone(2)
		if got := s.to(1); got != "" || len(g.reads.parked) != 2 {
			t.Fatalf("node %d: %d reads wait, the first is answered %q before its time is over", n.id, len(g.reads.parked), got)
		}
		n.alone(4)
		if got := s.to(1); got != "unavailable" || s.to(2) != "" || len(g.reads.parked) != 1 || g.reads.count != 1 {
			t.Errorf("node %d: %d reads wait, %d are counted; the one that is late is answered %q, want unavailable", n.id, len(g.reads.parked), g.reads.count, got)
		}
		if !g.resting.quiet {
			t.Errorf("node %d: the read woke the group", n.id)
		}
		if err := CheckHost(n.host); err != nil {
			t.Error(err)
		}
	}
}

// A command in the log of a leader whose disk hangs is answered when its caller
// waits no more: that nobody knows. It must not be said twice when the disk goes
// on. The first command need not be the first that is late: one that was passed on
// brings what was left of its caller's time.
func TestCommandsOnADiskThatHangs(t *testing.T) {
	c := newCluster(t, 1, 3)
	c.until("group 1 is led", func() bool { return c.leader(1) != nil })
	n := c.leader(1)
	g := n.host.groups[1]
	c.until("the leader has committed in its term", func() bool { return g.core.Status().Commit > 0 && n.batch == nil })
	var s said
	for request := range uint64(3) {
		p := proposal(1, &s, request)
		p.Deadline = c.now + time.Duration(2+2*((request+2)%3))*waitTick
		n.host.Propose(p)
	}
	n.turn() // the batch is under way, and does not come back
	if len(g.commands.waiting.all()) != 3 {
		t.Fatalf("%d commands wait, want 3", len(g.commands.waiting.all()))
	}
	n.alone(6)
	if s.to(0) != "" || s.to(1) != "maybe-applied" || s.to(2) != "maybe-applied" {
		t.Errorf("answered are %q, %q and %q; want maybe-applied for those that are late", s.to(0), s.to(1), s.to(2))
	}
	c.until("the commands are applied", func() bool {
		for _, o := range c.nodes {
			if len(o.history[1]) < 3 {
				return false
			}
		}
		return true
	})
	for request := uint64(1); request <= 2; request++ {
		if got := s.to(request); got != "maybe-applied" {
			t.Errorf("request %d is answered %q", request, got)
		}
	}
	if got := s.to(0); got == "" || len(g.commands.waiting.all()) != 0 {
		t.Errorf("the first command is answered %q, %d wait", got, len(g.commands.waiting.all()))
	}
}
