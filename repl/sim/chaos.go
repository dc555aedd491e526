package sim

import (
	"slices"
	"time"

	"muster/raft"
	"muster/shardmap"
)

// chaos decides when which fault strikes. A run knows a random part of the faults and
// has its own pace, so that some runs see one fault alone, over and over, and others all
// at once.
type chaos struct {
	c       *cluster
	enabled []Fault
	powers  []Fault
	pace    time.Duration // between two strikes, on average
	bold    float64       // how likely a strike may take a group's majority
	stopped bool
	planned bool                                // the next strike is
	older   *olderImage                         // to be put back; nil: none
	often   [SnapshotBad - SnapshotCut + 1]bool // which faults of snapshots the run knows

	cuts        [clientCount + 1][nodesMax + 1]time.Duration // until when a client does not reach a node
	late        [clientCount + 1]time.Duration               // until when a client's frames are late
	stale       time.Duration                                // until when tables are late
	stall       [nodesMax + 1]time.Duration                  // until when a node has no ticks
	longSleepAt time.Duration                                // from when on clients sleep for longer than sessions are kept
	longSleeps  int                                          // how many clients still have to
	lull        bool                                         // at the end nobody writes for a while
	jumped      time.Duration                                // how far clocks have jumped, at most
	moves       int                                          // new addresses that were given so far
	spans       []shardmap.OwnedRange
	spansFor    uint64
}

func (x *chaos) init(c *cluster) {
	x.c = c
	// Some runs are about few faults, others about most of them.
	part := []float64{0.15, 0.3, 0.6, 0.9}[c.chance.below(4)]
	members, nodes := false, false
	for f := range faults {
		if f == Slots || f >= Targets {
			continue // it was drawn before the founding
		}
		known := c.chance.is(part)
		if c.options.Only != nil {
			known = slices.Contains(c.options.Only, f)
		}
		known = (known || slices.Contains(c.options.With, f)) && (!c.options.Flaws || f.besideFlaws())
		switch {
		case f >= PowerDrop && f <= PowerTorn:
			if known {
				x.powers = append(x.powers, f)
			}
		case f == ClientTimeout: // comes by itself
		case f == Lull:
			x.lull = known && (c.chance.below(lullEvery) == 0 || slices.Contains(c.options.With, f))
		case f == Members:
			members = known
		case f == Nodes:
			nodes = known
		case f >= SnapshotCut && f <= SnapshotBad:
			x.often[f-SnapshotCut] = known
		case known:
			x.enabled = append(x.enabled, f)
		}
	}
	if len(x.powers) == 0 {
		x.powers = []Fault{PowerDrop}
	}
	x.pace = c.chance.skewed(time.Second, 12*time.Second)
	x.bold = []float64{0, 0.05, 0.3}[c.chance.below(3)]
	c.note(0, "faults: %v, power: %v, every %s, bold %v", x.enabled, x.powers, x.pace, x.bold)
	if slices.Contains(x.enabled, ClientSleep) && c.options.Length >= LengthDefault &&
		(c.chance.below(longSleepEvery) == 0 || slices.Contains(c.options.With, ClientSleep)) {
		x.longSleeps = longSleepers
		x.longSleepAt = c.now + c.chance.between(10*time.Second, 2*time.Minute)
		c.options.Length += longSleep + time.Minute
	}
	if len(x.enabled) > 0 {
		x.plan()
	}
	// What orders and movers do to memberships is theirs alone, and disks that lose what
	// nothing mends leave too few nodes for it.
	nodes = nodes && (slices.Contains(c.options.With, Nodes) || c.chance.below(nodesEvery) == 0)
	if c.shuffle.active || c.security.active {
		members = false
	}
	if nodes || c.security.active { // nor may a disk forget the only key that signs certificates
		members = false
		x.enabled = slices.DeleteFunc(x.enabled, func(f Fault) bool { return f >= BitFlip && f <= OlderLife })
	}
	c.members.init(c, members)
	c.order.init(c, nodes)
	c.shuffle.init()
	c.services.init()
	c.security.init()
	c.users.init()
	c.limits.init()
	c.series.init()
}

func (x *chaos) stop() {
	x.stopped = true
	x.c.awaken()
	x.cuts = [clientCount + 1][nodesMax + 1]time.Duration{}
	x.late = [clientCount + 1]time.Duration{}
	for _, n := range x.c.nodes {
		if x.stall[n.index] > x.c.now && n.up {
			n.ticks.plan(tick) // not at the end of the stall, as it was planned
		}
	}
	x.stall = [nodesMax + 1]time.Duration{}
	x.stale = 0
}

// resume lets faults strike again.
func (x *chaos) resume() {
	if x.stopped = false; !x.planned && len(x.enabled) > 0 {
		x.plan()
	}
}

func (x *chaos) plan() {
	x.planned = true
	x.c.after(x.c.chance.between(0, 2*x.pace), x.c.queue.get(evFault))
}

// strike begins the next fault or, if number is above 0, ends one that changes messages.
func (x *chaos) strike(number uint64) {
	if number == 0 {
		x.planned = false
	}
	if x.stopped {
		return
	}
	if number > 0 {
		*x.weather(Fault(number - 1)) = 0
		return
	}
	x.plan()
	f := x.enabled[x.c.chance.below(len(x.enabled))]
	if x.begin(f) && !f.perMessage() {
		x.c.result.Fired[f]++
	}
}

func (x *chaos) knows(f Fault) bool { return !x.stopped && x.often[f-SnapshotCut] }

// strikes reports whether a fault strikes a chunk of a snapshot.
func (x *chaos) strikes(f Fault) bool {
	if !x.knows(f) || x.c.chance.below(16) != 0 {
		return false
	}
	x.c.result.Fired[f]++
	return true
}

func (x *chaos) weather(f Fault) *float64 {
	w := &x.c.net
	return [...]*float64{Loss: &w.loss, Duplicate: &w.duplicate, Reorder: &w.reorder, Corrupt: &w.corrupt}[f]
}

// begin begins a fault. It reports whether the fault struck at once; some count only
// when they do harm.
func (x *chaos) begin(f Fault) bool {
	c, rnd := x.c, &x.c.chance
	switch f {
	case Loss, Duplicate, Reorder, Corrupt:
		most := [...]int{Loss: 40, Duplicate: 50, Reorder: 50, Corrupt: 20}[f]
		*x.weather(f) = float64(1+rnd.below(most)) / 100
		e := c.queue.get(evFault)
		e.number = uint64(f) + 1
		d := rnd.skewed(time.Second, 30*time.Second)
		c.after(d, e)
		c.note(0, "%s %.2f for %s", f, *x.weather(f), d)
		return true
	case Split, Directed, Partial, Chain:
		links := x.drawLinks(f)
		d := rnd.skewed(200*time.Millisecond, 30*time.Second)
		c.note(0, "%s %v for %s", f, links, d)
		c.net.breakLinks(links, d)
		return true
	case Strand:
		return x.strand()
	case Flap:
		e := c.queue.get(evFlap)
		a, b := x.pair()
		e.node, e.from, e.number = int32(a), int32(b), uint64(3+rnd.below(20))
		e.answer = rnd.below(2) == 0 // both directions
		c.note(a, "flap with n%d, %d times", b, e.number)
		c.after(0, e)
		return true
	case PeerLost:
		from, to := x.pair()
		if !c.nodes[from-1].up || !c.net.works(from, to) {
			return false
		}
		c.note(to, "%s from n%d", f, from)
		c.net.lose(from, to, c.net.latency())
		c.net.loseForwards(from, to, c.net.latency())
		c.net.dial(from, to)
		return true
	case Move:
		return x.move()
	case Terminate:
		n := x.victim()
		if n == nil || n.leave.by > 0 {
			return false
		}
		n.leave.begin()
		return true
	case Crash:
		n := x.victim()
		if n == nil {
			return false
		}
		if rnd.below(2) == 0 {
			// As soon as it has said something that it must not forget.
			n.post.crashOn = []raft.MessageType{raft.MsgVote, raft.MsgVoteAnswer, raft.MsgAppend, raft.MsgAppendAnswer, raft.MsgVoteAnswer}[rnd.below(5)]
			return false
		}
		n.crash(x.power())
		return true
	case CrashMany:
		which := rnd.part(len(c.nodes))
		if rnd.below(3) == 0 {
			which = 1<<len(c.nodes) - 1
		}
		power := x.power()
		for i, n := range c.nodes {
			if which>>i&1 != 0 {
				n.crash(power)
			}
		}
		return true
	case CrashRecovery, RecoveryFails:
		if n := x.downed(); n != nil {
			n.bootFault = f
		}
		return false
	case Pause:
		n := x.victim()
		if n == nil {
			return false
		}
		d := rnd.skewed(100*time.Millisecond, time.Minute)
		c.note(n.index, "pause for %s", d)
		n.pause(d)
		return true
	case PauseReply:
		n := x.victim()
		if n == nil {
			return false
		}
		n.replyPause = rnd.skewed(100*time.Millisecond, time.Minute)
		return false
	case DiskSlow, DiskStuck:
		n := x.victim()
		if n == nil {
			return false
		}
		d := rnd.skewed(time.Second, 30*time.Second)
		c.note(n.index, "%s for %s", f, d)
		if f == DiskSlow {
			n.files.slow.until = c.now + d
		} else {
			n.files.slow.stuck = c.now + d
		}
		return true
	case ReadFails:
		n := x.victim()
		if n == nil || n.decay.hurt || n.refusals.any() {
			return false
		}
		rule, ok := x.drawRefusal(n)
		if !ok {
			return false
		}
		n.refusals.begin(rule, rnd.skewed(time.Second, 30*time.Second))
		if rnd.below(2) == 0 { // the next start meets it
			n.crash(x.power())
		}
		return false
	case SyncFails, WriteFails, WriteShort:
		n := x.victim()
		if n == nil {
			return false
		}
		n.files.disarm()
		n.files.plan(f, rnd.below(20))
		return false
	case DiskFull:
		if n := x.victim(); n != nil {
			n.files.fill(rnd.skewed(10*time.Second, 2*time.Minute))
		}
		return false
	case BitFlip, ZeroSector, ZeroPage, StaleSector, Misdirected, Truncated, Missing, ZeroTail:
		if n := x.frail(); n != nil {
			n.decay.due = f
			if f == ZeroTail && n.leave.by == 0 {
				n.leave.begin()
			}
		}
		return false
	case OlderLife:
		return x.putBack()
	case TickDrift:
		n := c.nodes[rnd.below(len(c.nodes))]
		n.ticks.setRate(1e6 + int64(rnd.below(2*driftMax+1)) - driftMax)
		c.note(n.index, "%s to %d", f, n.ticks.rate)
		return true
	case TickJump:
		which := 1 << rnd.below(len(c.nodes))
		if rnd.below(3) == 0 { // all at once: all want to lead
			which = 1<<len(c.nodes) - 1
		}
		ticks := 1 + rnd.below(60)
		c.note(0, "%s by %d of %b", f, ticks, which)
		x.jumped += time.Duration(ticks) * tick
		for i, n := range c.nodes {
			if which>>i&1 == 0 || !n.up || n.paused {
				continue
			}
			n.ticks.base += time.Duration(ticks) * tick
			for range ticks {
				n.host.Tick()
			}
			n.turn()
		}
		return true
	case TickStall:
		n := c.nodes[rnd.below(len(c.nodes))]
		x.stall[n.index] = c.now + rnd.skewed(100*time.Millisecond, 10*time.Second)
		c.note(n.index, "%s until %s", f, x.stall[n.index])
		return true
	case ClientReset:
		cl := c.clients[rnd.below(clientCount)]
		if len(cl.conns) == 0 || cl.host.until > 0 {
			return false
		}
		k := cl.conns[rnd.below(len(cl.conns))]
		if k == nil || !k.up {
			return false
		}
		c.note(-cl.id, "%s from n%d with %d open", f, k.node.index, len(k.open))
		k.lost(errReset)
		return true
	case ClientLate:
		cl := 1 + rnd.below(clientCount)
		x.late[cl] = c.now + rnd.skewed(time.Second, 20*time.Second)
		return true
	case ClientCut:
		cl, n := 1+rnd.below(clientCount), 1+rnd.below(len(c.nodes))
		x.cuts[cl][n] = c.now + rnd.skewed(500*time.Millisecond, 30*time.Second)
		c.note(-cl, "%s from n%d until %s", f, n, x.cuts[cl][n])
		return true
	case ClientSleep: // counted when it falls asleep
		if cl := c.clients[rnd.below(clientCount)]; cl.host.until == 0 {
			cl.host.due = rnd.skewed(time.Second, time.Minute)
		}
		return false
	case ClientStale:
		x.stale = c.now + rnd.skewed(time.Second, 30*time.Second)
		return true
	case Lies:
		return x.lie()
	case LeaderStops:
		return x.stopLeader()
	}
	c.fail("nobody knows how to begin %s", f)
	return false
}

// victim draws a running node, half of the time a leader. Most runs spare the last one
// that a majority needs.
func (x *chaos) victim() *node {
	c := x.c
	n := c.nodes[c.chance.below(len(c.nodes))]
	if c.chance.below(2) == 0 {
		if lead := c.truth[c.chance.below(len(c.truth))].leader; lead != nil {
			n = lead
		}
	}
	if !n.up || n.paused || n.dead {
		return nil
	}
	if !c.chance.is(x.bold) && !c.majorities(func(o *node) bool { return o != n && o.up && !o.paused && !o.dead && !o.halted }) {
		return nil
	}
	return n
}

// downed returns a node that is down. If none is, it takes one down.
func (x *chaos) downed() *node {
	for _, n := range x.c.nodes {
		if !n.up && !n.dead {
			return n
		}
	}
	n := x.victim()
	if n != nil {
		n.crash(x.power())
	}
	return n
}

func (x *chaos) power() Fault { return x.powers[x.c.chance.below(len(x.powers))] }

// downtime is how long a node is down: mostly short, so that it meets what it left
// behind.
func (x *chaos) downtime() time.Duration {
	if x.c.chance.below(2) == 0 {
		return x.c.chance.skewed(2*time.Millisecond, time.Second)
	}
	return x.c.chance.skewed(50*time.Millisecond, 20*time.Second)
}

func (x *chaos) pair() (int, int) {
	a := 1 + x.c.chance.below(len(x.c.nodes))
	b := 1 + x.c.chance.below(len(x.c.nodes)-1)
	if b >= a {
		b++
	}
	return a, b
}

// drawLinks draws the links that a fault of the network cuts.
func (x *chaos) drawLinks(f Fault) (links []link) {
	c := x.c
	n := len(c.nodes)
	switch f {
	case Split:
		links = linksBetween(c.chance.part(n), n)
	case Directed:
		three := c.voters(raft.GroupID(c.chance.below(len(c.truth))))
		which := 1 + c.chance.below(63)
		bit := 0
		for _, a := range three {
			for _, b := range three {
				if a != b {
					if which>>bit&1 != 0 {
						links = append(links, link{a, b})
					}
					bit++
				}
			}
		}
	case Partial:
		a, b := x.pair()
		links = []link{{a, b}, {b, a}}
	case Chain:
		order := make([]int, n)
		for i := range order {
			j := c.chance.below(i + 1)
			order[i] = order[j]
			order[j] = i + 1
		}
		for i, a := range order {
			for j, b := range order {
				if i != j && i != j+1 && j != i+1 {
					links = append(links, link{a, b})
				}
			}
		}
	}
	return links
}

// linksBetween returns the links between the nodes whose bits part has and the rest of n.
func linksBetween(part uint64, n int) (links []link) {
	for a := range n {
		for b := range n {
			if part>>a&1 != part>>b&1 {
				links = append(links, link{a + 1, b + 1})
			}
		}
	}
	return links
}

// Clients give up a silent node after silenceMax, and have asked others by twice that
// time: a leader that is stranded for that long is no longer the only one.
const (
	strandMin = 2 * silenceMax
	strandMax = 40 * time.Second
)

// strand cuts a leader off, alone or with one other node, as a failing switch does: with
// the clients on its side, which keep asking it while the others find the leader that is
// elected without it. A cut between nodes only would hide that, because every client
// would hear both sides. It reports whether there was a leader.
func (x *chaos) strand() bool {
	c := x.c
	lead := c.leaderOf(raft.GroupID(c.chance.below(len(c.truth))))
	if lead == nil {
		return false
	}
	part := uint64(1) << (lead.index - 1)
	if len(c.nodes) > 3 && c.chance.below(2) == 0 {
		part |= 1 << c.chance.below(len(c.nodes))
	}
	clients := c.chance.part(clientCount)
	d := c.chance.skewed(strandMin, strandMax)
	c.note(lead.index, "%s with nodes %b, clients %b for %s", Strand, part, clients, d)
	c.net.breakLinks(linksBetween(part, len(c.nodes)), d)
	for i := range clientCount {
		for j := range c.nodes {
			if clients>>i&1 != part>>j&1 {
				x.cuts[i+1][j+1] = max(x.cuts[i+1][j+1], c.now+d)
			}
		}
	}
	return true
}

// flap lets a link go down for a moment, and plans the next time.
func (x *chaos) flap(e *event) {
	if x.stopped || e.number == 0 {
		return
	}
	e.number--
	links := []link{{int(e.node), int(e.from)}}
	if e.answer {
		links = append(links, link{int(e.from), int(e.node)})
	}
	d := x.c.chance.skewed(20*time.Millisecond, 2*time.Second)
	x.c.net.breakLinks(links, d)
	x.c.after(d+x.c.chance.skewed(20*time.Millisecond, 2*time.Second), e)
}

// tickDelay is how long a node's next tick takes.
func (x *chaos) tickDelay(n *node, usual time.Duration) time.Duration {
	if until := x.stall[n.index]; until > x.c.now {
		return max(usual, until-x.c.now)
	}
	return usual
}

func (x *chaos) clientCut(cl, n int) bool { return x.cuts[cl][n] > 0 && x.cuts[cl][n] > x.c.now }

// requestDelay is how late a client's frame is, over its usual time.
func (x *chaos) requestDelay(cl int) time.Duration {
	if x.late[cl] > 0 && x.late[cl] > x.c.now {
		return x.c.chance.skewed(time.Millisecond, lateMax)
	}
	return 0
}

// staleTable is how late the answer to a request for the table is.
func (x *chaos) staleTable() time.Duration {
	if x.stale > 0 && x.stale > x.c.now {
		return x.c.chance.skewed(10*time.Millisecond, lateMax)
	}
	return 0
}

// ranges is Ranges of a table, as if the slots that the run does not use were nobody's: no
// group has them (known.go), so a listing that names them would get no answer. It is made
// once for each epoch.
func (c *cluster) ranges(t *shardmap.Table) []shardmap.OwnedRange {
	x := &c.chaos
	if x.spansFor != t.Epoch {
		few := *t
		few.Slots = [shardmap.Slots]raft.GroupID{}
		for _, s := range c.lives.slots {
			few.Slots[s] = t.Slots[s]
		}
		x.spans, x.spansFor = few.Ranges(), t.Epoch
	}
	return x.spans
}
