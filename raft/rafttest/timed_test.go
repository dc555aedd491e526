package rafttest

import (
	"container/heap"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"muster/raft"
)

// timed runs a Network on a clock: ticks of 50 ms that begin anywhere, messages
// that take 0.1 to 1 ms, syncs that take 0.2 to 5 ms.
type timed struct {
	*Network
	r      *rand.Rand
	now    time.Duration
	queue  events
	number int
	frozen map[raft.ReplicaID]bool // syncs under way
}

type event struct {
	at     time.Duration
	number int // of two at one time the one that was made first comes first
	do     func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].number < e[j].number
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

const (
	tickTime = 50 * time.Millisecond
	// A short tick takes shortTime to 2*shortTime.
	shortTime = 5 * time.Millisecond
)

func newTimed(seed uint64, voters int) *timed {
	c := &timed{Network: New(raft.Config{Chance: seed, Seed: raft.Seed(seed)}, voters, 0),
		r: rand.New(rand.NewPCG(seed, 2)), frozen: map[raft.ReplicaID]bool{}}
	for _, r := range c.Replicas {
		c.after(time.Duration(c.r.Int64N(int64(tickTime))), func() { c.tick(r) })
	}
	return c
}

func (c *timed) after(d time.Duration, do func()) {
	c.number++
	heap.Push(&c.queue, event{c.now + d, c.number, do})
}

func (c *timed) tick(r *Replica) {
	c.after(tickTime, func() { c.tick(r) })
	if r.Group != nil {
		r.Group.Tick()
		c.serve(r)
	}
}

// lose tells a replica that its leader is lost, and gives it short ticks if asked to.
func (c *timed) lose(r *Replica, shorts bool) {
	r.Group.LeaderLost()
	c.serve(r)
	if shorts {
		c.shortTick(r)
	}
}

func (c *timed) shortTick(r *Replica) {
	c.after(shortTime+time.Duration(c.r.Int64N(int64(shortTime))), func() {
		more := r.Group.ShortTick()
		c.serve(r)
		if more {
			c.shortTick(r)
		}
	})
}

func (c *timed) serve(r *Replica) {
	for r.Group != nil && r.Group.HasReady() {
		c.Take(r)
	}
	if r.Group != nil && len(r.Taken) > 0 && !c.frozen[r.ID] {
		c.frozen[r.ID] = true
		k, group := len(r.Taken), r.Group
		c.after(200*time.Microsecond+time.Duration(c.r.Int64N(int64(5*time.Millisecond))), func() {
			c.frozen[r.ID] = false
			if r.Group == group {
				c.Sync(r, k)
				c.serve(r)
			}
		})
	}
	for _, m := range c.Flying {
		c.after(100*time.Microsecond+time.Duration(c.r.Int64N(int64(900*time.Microsecond))), func() {
			c.Hand(m)
			c.serve(c.Replicas[m.To-1])
		})
	}
	c.Flying = nil
}

// until runs until it holds, and reports whether it did within limit.
func (c *timed) until(limit time.Duration, holds func() bool) bool {
	for end := c.now + limit; !holds(); {
		if c.queue[0].at > end {
			return false
		}
		e := heap.Pop(&c.queue).(event)
		c.now = e.at
		e.do()
	}
	return true
}

// leads returns who leads in a term after term, or nil.
func (c *timed) leads(term uint64) *Replica {
	for _, r := range c.Replicas {
		if r.Group != nil {
			if st := r.Group.Status(); st.Role == raft.RoleLeader && st.Term > term {
				return r
			}
		}
	}
	return nil
}

// An election that is split takes another timeout, in which nothing is written.
// Of 1000 leaders that crash, at least 990 must have a successor in the next
// term and within the time that the first follower waits at most. The doubt is
// that followers lose patience at nearly the same time; with the hint that a
// connection was closed they all do, and with short ticks they ask while others have not
// heard of it.
func TestElectionsInOneRound(t *testing.T) {
	for _, way := range []struct {
		name   string
		voters int
		hint   bool
		shorts bool
		skew   time.Duration // within which all have the hint
		limit  time.Duration
	}{
		{"3 voters, by timeout", 3, false, false, 0, 2 * raft.ElectionTicksDefault * tickTime},
		{"5 voters, by timeout", 5, false, false, 0, 2 * raft.ElectionTicksDefault * tickTime},
		{"3 voters, connection closed, by ticks", 3, true, false, 3 * time.Millisecond, 3 * tickTime},
		{"5 voters, connection closed, by ticks", 5, true, false, 3 * time.Millisecond, 3 * tickTime},
		{"3 voters, connection closed", 3, true, true, 3 * time.Millisecond, tickTime},
		{"5 voters, connection closed", 5, true, true, 3 * time.Millisecond, tickTime},
		{"3 voters, connection closed, seen late", 3, true, true, 60 * time.Millisecond, 3 * tickTime},
		{"5 voters, connection closed, seen late", 5, true, true, 60 * time.Millisecond, 3 * tickTime},
	} {
		t.Run(way.name, func(t *testing.T) {
			var took []time.Duration
			good := 0
			for seed := range uint64(1000) {
				c := newTimed(seed+1, way.voters)
				if !c.until(time.Minute, func() bool { return c.leads(0) != nil }) {
					t.Fatalf("seed %d: no first leader", seed)
				}
				c.until(time.Duration(1+c.r.IntN(2000))*time.Millisecond, func() bool { return false })
				lead := c.leads(0)
				term := lead.Group.Status().Term
				c.Crash(lead, 0)
				crashed := c.now
				if way.hint {
					for _, r := range c.Replicas {
						if r != lead {
							c.after(time.Duration(c.r.Int64N(int64(way.skew))), func() { c.lose(r, way.shorts) })
						}
					}
				}
				if !c.until(time.Minute, func() bool { return c.leads(term) != nil }) {
					t.Fatalf("seed %d: no leader after the crash", seed)
				}
				took = append(took, c.now-crashed)
				if c.leads(term).Group.Status().Term == term+1 && c.now-crashed <= way.limit {
					good++
				}
				if len(c.Check.Broken) > 0 {
					t.Fatalf("seed %d: %v", seed, c.Check.Broken)
				}
			}
			slices.Sort(took)
			t.Logf("%d of 1000 in one round; median %v, 99 %% %v, longest %v", good, took[500], took[990], took[999])
			if good < 990 {
				t.Errorf("%d of 1000 elections are over in one round within %v, want 990", good, way.limit)
			}
		})
	}
}
