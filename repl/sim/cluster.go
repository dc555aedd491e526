package sim

import (
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"time"

	"muster/raft"
	"muster/repl"
	"muster/shardmap"
	"muster/shardmap/movetest"
)

// Options determine a run. The same options give the same run.
type Options struct {
	Seed   uint64
	Length time.Duration // of the time under faults; 0: LengthDefault
	Nodes  int           // 0: the seed chooses
	Groups int           // data groups; 0: GroupsDefault
	// Only, if not nil, are the only faults. A run without any is one of a
	// healthy cluster.
	Only []Fault
	// With are faults that the run has whatever chance says.
	With []Fault
	// Without are faults that the run does not have whatever chance says, of those that not all runs have.
	Without []Fault
	// Lose ends the time under faults with the loss of a majority for good, in place of
	// the healing.
	Lose bool
	// Watched has clients watch; else they do in one run of watchesEvery.
	Watched bool
	// Locked has processes take a lock; else they do in one run of locksEvery.
	Locked bool
	// Mixed has some founders run an older build; else some do in one run of mixedEvery.
	Mixed bool
	// Moves, if not nil, notes each step of each slot that moves.
	Moves *movetest.Recorder
	// Regret has people cancel many jobs as soon as a slot is sealed.
	Regret bool
	// Flaws has the states of replicas become wrong, one after the other, in place of the time
	// under faults.
	Flaws bool
	Log   io.Writer // where each note goes as it is made; nil: nowhere
}

// has reports whether a run has a fault that not all have, which chance has drawn or not. A run
// that ends with a loss for good, or has flaws, has none of them.
func (o *Options) has(f Fault, drawn bool) bool {
	if o.Only != nil {
		drawn = slices.Contains(o.Only, f)
	}
	return (drawn || slices.Contains(o.With, f)) && !slices.Contains(o.Without, f) && !o.Lose && !o.Flaws
}

const (
	// LengthDefault makes 2,000 seeds 200 hours.
	LengthDefault = 6 * time.Minute
	// GroupsDefault is how many groups hold keys.
	GroupsDefault = 3

	tick = 50 * time.Millisecond
	// electionTimeout is the longest that a follower waits: twice
	// raft.ElectionTicksDefault, in ticks of the fastest and the slowest
	// clock that heal leaves.
	electionTimeout = 2 * raft.ElectionTicksDefault * tick
	// foundWithin bounds how long the founding takes, which is not tested here.
	foundWithin = 30 * time.Second
	// restWithin is how long a run waits for a group that rests.
	restWithin = 5 * time.Second
	// settleWithin bounds how long all replicas take to become equal once all
	// faults are over.
	settleWithin = 60 * time.Second
)

// Result is the outcome of a run, with its counts.
type Result struct {
	Shows
	Seed         uint64
	Nodes        int
	Simulated    time.Duration
	Lull         time.Duration // after that, without a write
	Steps        uint64
	Hash         uint64 // of all events: equal for equal runs
	Fired        Fired
	Counts       Counts // operations that clients ended
	Answered     int    // of these, with an answer
	Writes       int    // of these, writes that were acknowledged
	Watches      int    // that were begun
	Shown        int    // events that watches showed
	Progress     int    // of watches that nothing happened to
	Lost         int    // watches that ended because events were no longer kept
	Tables       int    // that nodes sent to clients of their own accord
	Ended        int    // keys and leases that ended with their time
	Changed      int    // statuses of instances that changed
	Void         int    // rows of reports that were about what an instance was before
	Deregistered int    // instances that were deregistered
	Hooked       int    // changes that webhooks were told of
	Snapshots    int    // bases at which one was written
	Mended       int    // replicas that were damaged at a start and mended from others
	Upgraded     int    // members that were started anew with the newer build
	Unmendable   int    // starts with damage that only another replica id mends
	Locks        Locks
	Series       Series
	Streamed     int   // snapshots that other nodes received
	Forwarded    int   // requests that were passed on, and answered with a result
	Disk         int64 // the most that the files of one node took, in bytes
	Unchecked    int   // histories that were too entangled to check in time
	Leader       time.Duration
	Write        time.Duration // how long after the healing of a quorum the last group took a write
	Loss         LossResult    // of a run with Lose
	Flaws        FlawResult    // of a run with Flaws
	Failure      *Failure      // nil if all invariants held
}

// Shows is what clients of a run were shown of many keys at a time.
type Shows struct {
	Pages    int // of listings that were answered
	Resumed  int // streams that a later attempt continued after some rows
	Listings int // over all groups, that reached their end
	Backups  Backups
}

// Backups are the backups of a run.
type Backups struct {
	Whole  int // of one group each, that came to their end
	Pieces int // that came behind the first of an attempt
	Again  int // attempts behind one that was lost when some of its pieces had come
	Moved  int // of several pieces, between which a slot of some group changed hands
}

// Add adds the counts of another run.
func (b *Backups) Add(o *Backups) {
	b.Whole, b.Pieces, b.Again, b.Moved = b.Whole+o.Whole, b.Pieces+o.Pieces, b.Again+o.Again, b.Moved+o.Moved
}

// Failure is a broken invariant.
type Failure struct {
	Seed  uint64
	Step  uint64
	At    time.Duration
	What  string
	Trace string
}

func (f *Failure) Error() string {
	return fmt.Sprintf("seed %d, step %d, %.3f s: %s\n\n%s", f.Seed, f.Step, f.At.Seconds(), f.What, f.Trace)
}

// cluster is one run.
type cluster struct {
	options Options
	chance  chance
	now     time.Duration
	queue   queue
	trace   trace
	result  Result

	nodes    []*node
	clients  []*simClient
	net      network
	chaos    chaos
	members  membership
	order    order
	shuffle  shuffle
	truth    []*truth // by group
	history  history
	slots    [][]shardmap.Slot // by group: those of the run that it begins with
	lives    slotLives
	tags     []string
	grants   grants
	watches  watches
	services services
	security security
	users    users
	limits   limits
	backups  backups
	locks    locks
	series   series
	builds   builds
	paces    paces
	versions versions
	flaws    flaws
	epochs   uint64 // changes of slots' owners
	scratch  []byte
	full     int    // how many disks are full
	tasks    uint64 // begun so far
	tableAt  uint64 // the index of the newest table that any node has had
	policy   repl.SnapshotPolicy
	chunk    int // the largest chunk of a snapshot, in bytes
}

// Run runs one cluster to its end, or to the first broken invariant.
func Run(o Options) (r Result) {
	if o.Length == 0 {
		o.Length = LengthDefault
	}
	if o.Groups == 0 {
		o.Groups = GroupsDefault
	}
	c := &cluster{options: o, chance: chance(o.Seed*0x9e3779b97f4a7c15 + 1)}
	c.result.Seed, c.result.Loss.Recovered = o.Seed, map[string]int{}
	c.chaos.c = c
	c.shuffle.draw(c)
	c.services.draw(c)
	c.security.draw(c)
	c.users.draw(c)
	c.limits.draw(c)
	c.series.draw(c)
	c.backups.draw(c)
	c.locks.draw(c)
	defer func() {
		r = c.result
		c.close()
		r.Steps, r.Hash, r.Simulated = c.trace.step, c.trace.hash, c.now-r.Lull
		switch broken := recover().(type) {
		case nil:
		case *Failure:
			r.Failure = broken
		default:
			r.Failure = c.failure(fmt.Sprintf("panic: %v\n%s", broken, debug.Stack()))
		}
	}()
	c.found()
	if o.Flaws {
		c.flaws.run()
	} else {
		c.work()
	}
	if o.Lose {
		(&loss{c: c}).run()
		return r
	}
	c.healQuorum()
	c.healAll()
	(&lull{c: c}).run()
	c.history.check(c)
	c.history.checkCounters(c)
	return r
}

// close ends the tasks that are under way.
func (c *cluster) close() {
	defer func() { _ = recover() }() // the run is over: what fails now does not count
	c.locks.close()
	for _, n := range c.nodes {
		n.beside.stop()
	}
}

func (c *cluster) failure(what string) *Failure {
	return &Failure{Seed: c.options.Seed, Step: c.trace.step, At: c.now, What: what, Trace: c.trace.last(120)}
}

// fail ends the run: an invariant is broken.
func (c *cluster) fail(format string, args ...any) {
	panic(c.failure(fmt.Sprintf(format, args...)))
}

// note puts a remark into the trace. node is 0 for the world.
func (c *cluster) note(node int, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	c.trace.note(c.now, node, text)
	if c.options.Log != nil {
		fmt.Fprintf(c.options.Log, "%11.6f %s: %s\n", c.now.Seconds(), party(int32(node)), text)
	}
}

func (c *cluster) after(d time.Duration, e *event) { c.queue.push(c.now+d, e) }

// step takes the next event.
func (c *cluster) step() {
	at, e := c.queue.pop()
	c.now = at
	c.trace.event(at, e)
	if c.happen(e) {
		c.queue.put(e)
	}
}

// until steps until ok is true, and fails the run if that takes longer than within.
func (c *cluster) until(what string, within time.Duration, ok func() bool) time.Duration {
	began := c.now
	look := c.now
	for {
		if c.now >= look {
			if ok() {
				return c.now - began
			}
			if c.now > began+within {
				c.fail("not within %s: %s\n%s", within, what, c.picture())
			}
			look = c.now + tick/2
		}
		c.step()
	}
}

func (c *cluster) run(d time.Duration) {
	for end := c.now + d; c.now < end; {
		c.step()
	}
}

// found makes the cluster and waits until it serves. No fault strikes yet.
func (c *cluster) found() {
	c.order.c, c.paces.c = c, c
	c.flaws = flaws{c: c, active: c.options.Flaws, written: map[snapshotName]oddSnapshot{}, made: map[madeFlaw]bool{}}
	n := c.options.Nodes
	if n == 0 {
		n = 5
		switch k := c.chance.below(10); {
		case k == 0:
			n = 3
		case k < 3 && c.flaws.active:
			n = 2 // no majority without both: their logs must tell who is wrong
		}
	}
	c.result.Nodes = n
	c.net.init(c, n)
	c.drawPolicy()
	c.watches.draw(c)
	c.builds.init(c)
	for g := range c.options.Groups + 1 {
		c.truth = append(c.truth, newTruth(c, raft.GroupID(g)))
		c.truth[g].made = true
	}
	c.drawTags()
	for i := range n {
		c.builds.draw()
		c.nodes = append(c.nodes, newNode(c, i+1))
	}
	for _, n := range c.nodes {
		n.boot()
	}
	c.until("the cluster is founded", foundWithin, func() bool {
		for _, n := range c.nodes {
			if n.known.table == nil || !n.known.table.Founded() {
				return false
			}
		}
		return c.groupWithoutLeader() < 0
	})
	c.users.found()
	for i := range clientCount {
		c.clients = append(c.clients, newClient(c, i+1))
	}
	for _, t := range c.truth {
		t.founding()
	}
	c.run(time.Second)
	c.paces.draw()
	c.versions.draw(c)
	c.note(0, "founded: %d nodes, %d groups", n, c.options.Groups)
}

// work lets the cluster work under faults.
func (c *cluster) work() {
	c.chaos.init(c)
	c.locks.init()
	c.run(c.options.Length)
}

// healQuorum stops the faults for some nodes that hold a majority of each group, and takes
// the others away. I14: the group must make progress within a bound.
func (c *cluster) healQuorum() {
	c.chaos.stop()
	quorum := c.drawQuorum()
	c.note(0, "heal a quorum: %v", quorum)
	c.net.heal()
	c.security.standStill()
	for _, n := range c.nodes {
		if slices.Contains(quorum, n.index) {
			n.heal()
		} else if n.up && c.chance.below(2) == 0 {
			n.crash(PowerKeep)
			n.startAt = 0
		} else {
			c.net.isolate(n.index)
		}
	}
	// What follows is about elections, so nodes that moved first find each other.
	healed := slices.DeleteFunc(slices.Clone(c.nodes), func(n *node) bool { return !slices.Contains(quorum, n.index) })
	c.until("the nodes of the quorum find each other", findWithin, func() bool { return haveMet(healed) })
	// A replica that was started recently may first have to wait for voters that were
	// just taken away: it can't know that they are not merely slow.
	wait := time.Duration(0)
	if slices.ContainsFunc(quorum, func(i int) bool { return c.nodes[i-1].waits() }) {
		wait = lifeWait
	}
	c.result.Leader = c.until("each group has a leader (I14: within two election time-outs)", 2*electionTimeout+wait, func() bool { return c.groupWithoutLeader() < 0 })
	began := c.now
	probes := make([]*probe, len(c.truth))
	c.until("each group takes a write (I14: within three election time-outs)", 3*electionTimeout+wait-c.result.Leader, func() bool {
		missing := false
		for g := range probes {
			if !c.truth[g].there() {
				continue
			}
			if probes[g] == nil || probes[g].refused {
				probes[g] = c.probe(raft.GroupID(g))
			}
			missing = missing || probes[g] == nil || !probes[g].done
		}
		return !missing
	})
	c.result.Write = c.result.Leader + c.now - began
	c.loseRestingLeader()
}

// loseRestingLeader stops the leader of a group at rest while nothing else is wrong, so
// that no other fault wakes its followers.
func (c *cluster) loseRestingLeader() {
	if !slices.Contains(c.chaos.enabled, LeaderStops) {
		return
	}
	for end := c.now + restWithin; c.now < end; c.run(tick) {
		if !c.chaos.stopLeader() {
			continue
		}
		c.result.Fired[LeaderStops]++
		c.until("each group has a leader after one stopped at rest (I14: within two election time-outs)", 2*electionTimeout,
			func() bool { return c.groupWithoutLeader() < 0 })
		return
	}
}

// drawQuorum draws nodes that can serve, among them a majority of the voters
// of each group.
func (c *cluster) drawQuorum() []int {
	for try := 0; ; try++ {
		var q []int
		for _, n := range c.nodes {
			if !n.dead && !n.decay.hurt && !n.ledger.doubtful && (try > 50 || c.chance.below(10) < 7) {
				q = append(q, n.index)
			}
		}
		within := func(n *node) bool { return slices.Contains(q, n.index) }
		// A leader takes a learner for live for an election timeout after it was heard of
		// last, so a mover may still put one that is taken away in a voter's place; a group
		// of two voters would then need both. With everybody who can serve in the quorum,
		// nobody is left who was live a moment before.
		if c.majorities(within) && (try > 50 || !c.order.active || c.majoritiesAfter(replaced, within)) {
			return q
		}
		if try > 60 {
			c.fail("no quorum is left: more was broken than the others can do without")
		}
	}
}

// majorities reports whether the nodes for which in is true hold a majority of the voters
// of each group, whichever of its memberships turns out to be in force.
func (c *cluster) majorities(in func(*node) bool) bool {
	for _, t := range c.truth {
		if !t.there() {
			continue
		}
		for _, m := range t.possible() {
			if !isQuorum(m, func(o raft.Member) bool { return in(c.nodes[o.Node-1]) }) {
				return false
			}
		}
	}
	return true
}

// majoritiesAfter reports the same for the memberships that follow from those, as next says.
func (c *cluster) majoritiesAfter(next func(*raft.Membership) []raft.Membership, in func(*node) bool) bool {
	for _, t := range c.truth {
		if !t.there() {
			continue
		}
		for _, m := range t.possible() {
			for _, m := range next(m) {
				if !isQuorum(&m, func(o raft.Member) bool { return in(c.nodes[o.Node-1]) }) {
					return false
				}
			}
		}
	}
	return true
}

// voters returns the nodes that vote in a group.
func (c *cluster) voters(g raft.GroupID) []int {
	var nodes []int
	for _, m := range c.truth[g].committed().Voters {
		nodes = append(nodes, int(m.Node))
	}
	return nodes
}

// changes is how often the memberships of groups have changed.
func (c *cluster) changes() (n uint64) {
	for _, t := range c.truth {
		n += uint64(len(t.configs))
	}
	return n
}

// newestTable returns the newest table that any node has.
func (c *cluster) newestTable() (table *shardmap.Table) {
	for _, n := range c.nodes {
		if n.known.table != nil && !n.known.odd() && (table == nil || n.known.table.Index > table.Index) {
			table = n.known.table
		}
	}
	return table
}

// groupWithoutLeader returns a group that no live node leads in the newest
// term, or -1.
func (c *cluster) groupWithoutLeader() int {
	for g := range c.truth {
		if c.truth[g].there() && c.leaderOf(raft.GroupID(g)) == nil {
			return g
		}
	}
	return -1
}

// leaderOf returns the node that was last seen to lead a group, if it still runs, is
// connected and leads.
func (c *cluster) leaderOf(g raft.GroupID) *node {
	t := c.truth[g]
	t.seekLone()
	if t.leader == nil || !t.leader.up || t.leader.paused || t.leader.life != t.leaderLife || c.net.isolated(t.leader.index) {
		return nil
	}
	if t.leader.leads(g) {
		return t.leader
	}
	return nil
}

// healAll brings everything back, waits until all replicas are equal, and compares them
// (I8, I10).
func (c *cluster) healAll() {
	c.note(0, "heal all")
	c.net.heal()
	for _, n := range c.nodes {
		if !n.dead {
			n.heal()
		}
	}
	for _, cl := range c.clients {
		cl.stop()
	}
	c.until("all nodes find each other", findWithin, func() bool { return haveMet(c.nodes) })
	c.builds.upgradeAll()
	c.until("the cluster is at the level that all members understand", settleWithin, c.builds.raised)
	c.order.settle()
	c.services.settle()
	c.security.end()
	c.users.end()
	c.limits.end()
	c.series.end()
	c.until("all replicas have applied the same", settleWithin, c.settled)
	endSoon(c)
	c.until("all replicas have applied the same, and what was due has ended", settleWithin, c.settled)
	c.compare()
	if c.versions.chance != nil {
		c.note(0, "replicas have %d versions of keys, which are those of the logs", c.versions.compared)
	}
	c.shuffle.check()
	c.services.deleteAll()
	c.until("watches show all that happened", watchedWithin, c.watches.complete)
	c.until("all replicas have a snapshot of the same", settleWithin, c.snapshotted)
}

// snapshotted reports whether each replica has a snapshot at the last entry of its group,
// and asks for those that are missing. Snapshots at one base are compared when they are
// written, so they are equal or the run has failed already.
func (c *cluster) snapshotted() bool {
	all := true
	for _, n := range c.nodes {
		if n.dead {
			continue
		}
		if !n.up || n.host == nil {
			return false
		}
		for _, v := range n.host.View() {
			have := n.store.Snapshots(v.Replica)
			if k := len(have); k > 0 && have[k-1].Base.ID == v.Applied {
				continue
			}
			all = false
			n.host.AskSnapshot(v.Replica.Group)
		}
		n.turn()
	}
	return all
}

// settled reports whether all live replicas have applied all that is committed,
// and no operation is open.
func (c *cluster) settled() bool {
	for _, cl := range c.clients {
		if cl.busy() > 0 {
			return false
		}
	}
	for _, n := range c.nodes {
		if n.dead {
			continue
		}
		if !n.up || n.host == nil || n.writer.batch != nil || n.decay.hurt {
			return false
		}
		for _, v := range n.host.View() {
			t := c.truth[v.Replica.Group]
			if t.removed(v.Replica.ID) {
				return false
			}
			if v.Mending != nil {
				return false
			}
			if v.Stopped != "" {
				c.fail("n%d: group %d stopped: %s", n.index, v.Replica.Group, v.Stopped)
			}
			if v.Status.Last.Index != uint64(len(t.entries)) || v.Applied.Index != v.Status.Last.Index {
				return false
			}
		}
	}
	for _, t := range c.truth {
		if !t.there() {
			continue
		}
		m := t.committed()
		if len(m.Outgoing) > 0 {
			return false
		}
		for _, o := range slices.Concat(m.Voters, m.Learners) {
			n := c.nodes[o.Node-1]
			if n.dead {
				continue
			}
			if r, ok := n.replica(t.group); !ok || r.ID != o.Replica {
				return false
			}
			if o.Goal == raft.GoalVoter && !m.Votes(o.Replica) {
				return false
			}
		}
	}
	return true
}

// picture describes the cluster for a failure.
func (c *cluster) picture() string {
	s := ""
	for _, n := range c.nodes {
		s += fmt.Sprintf("n%d: level %d, up %v, paused %v, dead %v, batch %v, isolated %v, at %s, has found %v\n",
			n.index, c.builds.of(n), n.up, n.paused, n.dead, n.writer.batch != nil, c.net.isolated(n.index), n.where.addr, n.where.found[1:len(c.nodes)+1])
		if n.host == nil {
			continue
		}
		for _, v := range n.host.View() {
			st := v.Status
			s += fmt.Sprintf("    %s replica %d: %s of %d, term %d, vote %d, commit %d, applied %d, last %s, unsynced for %d ticks %s\n",
				v.Replica.Group, v.Replica.ID, st.Role, st.Leader, st.Term, st.Vote, st.Commit, v.Applied.Index, st.Last, st.UnsyncedTicks, v.Stopped)
		}
	}
	for _, t := range c.truth {
		s += fmt.Sprintf("group %d: %d applied, %s\n", t.group, len(t.entries), describe(t.committed()))
	}
	s += c.order.picture() + c.shuffle.picture() + c.security.picture() + c.limits.picture() + c.series.picture() + c.watches.missing()
	for _, cl := range c.clients {
		for _, o := range cl.open {
			s += fmt.Sprintf("c%d: open since %.3f s: %s\n", cl.id, o.began.Seconds(), o)
		}
	}
	return s
}
