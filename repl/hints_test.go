package repl

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"muster/raft"
	"muster/repl/wire"
)

// settle lets all that nodes do without a tick come to its end, short ticks included, and
// returns how many of these were needed.
func (c *cluster) settle(nodes []*testNode) (shorts int) {
	for {
		for busy := true; busy; {
			busy = false
			for _, n := range nodes {
				n.turn()
				busy = busy || n.batch != nil
				n.sync()
			}
			for len(c.net) > 0 {
				p := c.net[0]
				c.net, busy = c.net[1:], true
				c.deliver(p)
			}
		}
		due := false
		for _, n := range nodes {
			if n.host.Hints.Due() {
				due = true
				n.host.Hints.Tick()
			}
		}
		if !due {
			return shorts
		}
		shorts++
		c.now += ShortTick
	}
}

// Once the connections from the leader's node have closed, its groups have other leaders
// without a single tick, and then nothing asks for short ticks any more. The doubt is
// whether they end, and whether they leave a leader that lives alone: one whose connection
// to one of its followers has closed.
func TestLeaderLostBetweenTicks(t *testing.T) {
	for _, test := range []struct {
		name string
		ends bool // the leader's node has ended
	}{{"the node has ended", true}, {"one connection has", false}} {
		t.Run(test.name, func(t *testing.T) {
			const group = 1
			c := written(t, 77, 10)
			c.until("all groups rest", c.resting)
			lead := c.leadsNow(group)
			term := lead.host.groups[group].state.Term
			var nodes, told []*testNode
			for _, n := range c.nodes {
				if n.host.Hints.Due() {
					t.Errorf("node %d asks for short ticks at rest", n.id)
				}
				if n != lead || !test.ends {
					nodes = append(nodes, n)
				}
				if n != lead && (test.ends || len(told) == 0) {
					told = append(told, n)
				}
			}
			if test.ends {
				lead.stop()
				c.net = nil
			}
			for _, n := range told {
				n.host.PeerLost(lead.id)
				if n.turn(); !n.host.Hints.Due() {
					t.Errorf("node %d asks for no short ticks after the loss", n.id)
				}
			}
			shorts := c.settle(nodes)
			switch now := c.leadsNow(group); {
			case test.ends && now == nil:
				t.Errorf("nobody leads after %d short ticks", shorts)
			case !test.ends && (now != lead || now.host.groups[group].state.Term != term):
				t.Errorf("node %d, which lives, no longer leads in term %d", lead.id, term)
			case shorts == 0 || shorts > 20:
				t.Errorf("%d short ticks were needed", shorts)
			}
			for _, n := range nodes {
				for _, g := range n.host.order {
					if g.lead == 0 {
						t.Errorf("node %d: group %d has no leader after %d short ticks", n.id, g.replica.Group, shorts)
					}
				}
			}
		})
	}
}

// askers is a transport that tells of the groups that ask whether they would be elected.
type askers struct {
	nowhere
	asks chan raft.GroupID
}

func (a askers) Send(_ raft.NodeID, e *wire.Envelope) {
	if e.Message.Type == raft.MsgPreVote {
		select {
		case a.asks <- e.Group:
		default:
		}
	}
}

// A loop gives its host short ticks: one that would tick once in an hour has the groups ask
// whose leader is lost.
func TestLoopGivesShortTicks(t *testing.T) {
	c := written(t, 77, 10)
	c.until("all groups rest", c.resting)
	c.until("nothing is under way", func() bool {
		return !slices.ContainsFunc(c.nodes, func(n *testNode) bool { return n.batch != nil || n.work != nil || !n.host.Idle() })
	})
	lead := c.leadsNow(1)
	n := c.nodes[lead.id%3]
	asks := make(chan raft.GroupID, 1)
	n.host.cfg.Transport = askers{asks: asks}
	l := StartLoop(n.host, time.Hour, 0)
	defer l.Close()
	l.PeerLost(lead.id)
	select {
	case <-asks:
	case <-time.After(busyMax):
		t.Error("nobody asks")
	}
	for due := true; due && !t.Failed(); {
		if !l.Ask(func(h *Host) { due = h.Hints.Due() }) {
			t.Fatal("the loop has ended")
		}
	}
}

// A loop has a timer for short ticks only while one is due, and after a time in which it
// did not run it gets one short tick, not all that it missed.
func TestShortTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s shortTimer
		s.follow(false)
		if s.channel != nil {
			t.Error("a timer runs, and nothing is due")
		}
		for range 3 {
			began := time.Now()
			s.follow(true)
			s.follow(true) // other events turn the host meanwhile
			<-s.channel
			s.fired()
			if took := time.Since(began); took != ShortTick {
				t.Errorf("a short tick took %v, want %v", took, ShortTick)
			}
		}
		s.follow(true)
		time.Sleep(10 * ShortTick)
		<-s.channel
		s.fired()
		s.follow(false)
		if s.channel != nil {
			t.Error("a timer runs, and nothing is due any more")
		}
		s.follow(true)
		s.stop()
	})
}
