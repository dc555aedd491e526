package health

import (
	"cmp"
	"slices"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap/registry"
)

// probeLate is for how long after its deadline a probe still holds its place among those that
// run. Then its result is lost, and the check is made again in its time.
const probeLate = 5 * time.Second

// gather is how long probes that are due wait for others, to be made together: most of what a
// probe costs is that this process and its threads wake up and fall asleep, which several that
// begin at once share.
const gather = 25 * time.Millisecond

// Checker runs the checks that leaders have assigned to its node. The package comment lists its
// owner's duties.
//
// One goroutine calls it.
type Checker struct {
	self     raft.NodeID // set once
	life     uint64      // set once
	programs []string    // set once

	groups   map[raft.GroupID]*held
	services map[string]*share // by name, of all checks
	checks   int               // of all groups
	waiting  schedule          // those without a probe under way, by time
	late     shares            // those of services that are due, and had no place
	running  []*checking       // those with one, by its deadline; also dropped ones, until it has ended
	probes   map[uint64]*checking
	number   uint64        // of the last probe
	ended    []uint64      // probes under way of checks that were dropped, since Cancelled was called
	again    time.Duration // when probes may begin again, after those that began last
	count    uint64        // of the last state
	asked    []*asked      // polls whose answers are held, in order; one of each asker at most that waits
	ticket   uint64        // of the last one
	counts   CheckerCounts
}

// NewChecker returns the checker of a node. Life is another number with each start of the node;
// programs are the names of those that it allows custom checks to run, at most
// [wire.ProgramsMax].
func NewChecker(self raft.NodeID, life uint64, programs []string) *Checker {
	programs = slices.Sorted(slices.Values(programs))
	programs = slices.Compact(programs)
	return &Checker{self: self, life: life, programs: programs[:min(len(programs), wire.ProgramsMax)],
		groups: map[raft.GroupID]*held{}, services: map[string]*share{}, probes: map[uint64]*checking{}}
}

// Poll takes the poll of a node, which may be the checker's own, and returns the answer. While
// there is nothing to say it returns nil and a ticket, under which [Checker.Turn] returns the
// answer: once there is something, and within HoldMax.
func (c *Checker) Poll(now time.Duration, from raft.NodeID, q *wire.Checks) (ans *wire.ChecksAnswer, ticket uint64) {
	c.expire(now)
	p := &asked{from: from, until: now + HoldMax, seen: q.Seen}
	if q.Life != c.life {
		p.seen = 0 // they are states of another life
	}
	// One without groups asks whether this node is there.
	full, news := false, q.Life != c.life || len(q.Groups) == 0
	for i := range q.Groups {
		s := &q.Groups[i]
		h := c.hold(now, from, s)
		if h == nil {
			news = true
			continue
		}
		c.heard(now, h, p.seen)
		full = c.take(now, h, s) || full
		news = news || s.Since != s.Until || h.at != s.Until
		p.groups = append(p.groups, h)
	}
	for _, older := range c.asked {
		if older.from == from {
			older.until = now // this one waits in its place
		}
	}
	ans = c.answer(p)
	if ans.Full = full; full || news || len(ans.States) > 0 {
		return ans, 0
	}
	c.ticket++
	p.ticket = c.ticket
	c.asked = append(c.asked, p)
	return nil, p.ticket
}

// asked is a poll whose answer is held.
type asked struct {
	ticket uint64
	from   raft.NodeID
	seen   uint64
	groups []*held
	until  time.Duration // then it is answered
}

// answer returns the answer to a poll as it is now.
func (c *Checker) answer(p *asked) *wire.ChecksAnswer {
	ans := &wire.ChecksAnswer{Life: c.life, Programs: c.programs}
	var groups []*held
	for _, h := range p.groups {
		if c.groups[h.group] == h { // no other leader has asked since
			ans.At = append(ans.At, wire.ChecksAt{Group: h.group, Term: h.term, At: h.at})
			groups = append(groups, h)
		}
	}
	c.tell(ans, groups, p.seen)
	return ans
}

// release returns the answers that are no longer held.
func (c *Checker) release(now time.Duration) (answers []Answer) {
	c.asked = slices.DeleteFunc(c.asked, func(p *asked) bool {
		if p.until > now {
			return false
		}
		answers = append(answers, Answer{p.ticket, c.answer(p)})
		return true
	})
	return answers
}

// tell puts the states into an answer that the asker has not seen, in the order in which they
// came about.
func (c *Checker) tell(ans *wire.ChecksAnswer, groups []*held, seen uint64) {
	var all []news
	for _, h := range groups {
		all = append(all, h.since(seen)...)
	}
	slices.SortFunc(all, func(a, b news) int { return cmp.Compare(a.count, b.count) })
	ans.Count = c.count
	if len(all) > wire.PollStatesMax {
		all, ans.More = all[:wire.PollStatesMax], true
		ans.Count = all[len(all)-1].count
	}
	for _, n := range all {
		n.check.told = n.check.counted
		ans.States = append(ans.States, n.check.state())
	}
}

// Done hands in what a probe has found. It counts for nothing if the probe is not under way, since
// its check was dropped or it took too long, or if it began while the node may have been cut
// off.
func (c *Checker) Done(now time.Duration, number uint64, r Result) {
	k := c.probes[number]
	if k == nil {
		c.counts.Void++
		return
	}
	c.stop(k)
	if k.gone {
		c.counts.Void++
		return
	}
	c.schedule(now, k)
	if now > k.deadline+probeLate || k.began < k.held.cut {
		c.counts.Void++
		return
	}
	if !r.Up {
		c.counts.Failed++
	}
	before := k.against()
	if k.judge(r) || k.against() != before {
		c.news(k)
	}
}

// Skipped hands in that a probe was not made, so nothing was found. Its check is made again at its
// next time.
func (c *Checker) Skipped(now time.Duration, number uint64) {
	c.counts.Void++
	if k := c.probes[number]; k != nil {
		c.lose(now, k)
	}
}

// lose ends a probe that has found nothing.
func (c *Checker) lose(now time.Duration, k *checking) {
	c.stop(k)
	if !k.gone {
		c.schedule(now, k)
	}
}

// Cancelled returns the probes under way whose checks were dropped since it was called last. What
// they find counts for nothing; each keeps its place until it has ended.
func (c *Checker) Cancelled() (numbers []uint64) {
	numbers, c.ended = c.ended, nil
	return numbers
}

// news notes that the state of a check is to be told.
func (c *Checker) news(k *checking) {
	c.count++
	k.count = c.count
	k.held.news = append(k.held.news, news{c.count, k})
	k.held.trim()
	for _, p := range c.asked {
		if p.from == k.held.leader {
			p.until = 0
		}
	}
}

// Turn returns the probes that are to begin now, the answers that are to be sent, and when to
// call it again at the latest.
func (c *Checker) Turn(now time.Duration) (probes []Probe, answers []Answer, next time.Duration) {
	c.expire(now)
	for len(c.running) > 0 && c.running[0].deadline+probeLate < now {
		c.counts.Void++
		c.lose(now, c.running[0])
	}
	late := c.counts.Late
	for c.again <= now {
		k := c.due(now)
		if k == nil {
			break
		}
		c.number++
		c.counts.Probes++
		k.probe, k.began, k.deadline = c.number, now, now+k.spec.Timeout
		c.probes[k.probe] = k
		c.start(k)
		probes = append(probes, Probe{Number: k.probe, Name: k.name, Instance: k.instance, Spec: k.spec, Deadline: k.deadline})
	}
	if len(probes) > 0 || c.counts.Late > late {
		c.again = now + gather
	}
	answers = c.release(now)
	next = never
	for _, p := range c.asked {
		next = min(next, p.until)
	}
	if len(c.running) > 0 {
		next = min(next, c.running[0].deadline+probeLate+1)
	}
	if len(c.waiting) > 0 && c.free() > 0 {
		next = min(next, max(c.waiting[0].next, c.again))
	}
	if len(c.late) > 0 && c.late[0].running < c.free() {
		next = min(next, c.again)
	}
	for _, h := range c.groups {
		next = min(next, h.polled+AssignmentTTL)
	}
	return probes, answers, max(next, now)
}

// start puts a check among those that run, by deadline.
func (c *Checker) start(k *checking) {
	i, _ := slices.BinarySearchFunc(c.running, k, byDeadline)
	c.running = slices.Insert(c.running, i, k)
	c.runs(k.share, 1)
}

// stop takes a check from among those that run, since its probe has ended, or is so late that it
// is taken for ended.
func (c *Checker) stop(k *checking) {
	delete(c.probes, k.probe)
	if i, found := slices.BinarySearchFunc(c.running, k, byDeadline); found {
		c.running = slices.Delete(c.running, i, i+1)
	}
	k.probe = 0
	c.runs(k.share, -1)
	if k.gone {
		c.leave(k)
	}
}

func byDeadline(a, b *checking) int {
	return cmp.Or(cmp.Compare(a.deadline, b.deadline), cmp.Compare(a.probe, b.probe))
}

// schedule plans the next probe of a check for one interval after the last began, at the
// latest. When its time has come it may wait a little for others.
func (c *Checker) schedule(now time.Duration, k *checking) {
	k.next = max(now, k.began+k.interval())
	c.waiting.add(k)
}

// expire drops what leaders have assigned that no longer ask.
func (c *Checker) expire(now time.Duration) {
	for g, h := range c.groups {
		if now-h.polled >= AssignmentTTL {
			c.clear(h)
			delete(c.groups, g)
		}
	}
}

// clear drops all checks of a group.
func (c *Checker) clear(h *held) {
	h.news = nil
	for _, k := range h.checks {
		c.drop(k)
	}
}

// drop ends a check. A probe of it that is under way still has a place, and whatever makes it is
// still busy: the place is free when that has ended, which [Checker.Cancelled] hurries.
func (c *Checker) drop(k *checking) {
	k.gone = true
	switch {
	case k.probe != 0:
		c.ended = append(c.ended, k.probe)
	case k.late:
		c.recall(k)
		c.leave(k)
	default:
		c.waiting.remove(k.place)
		c.leave(k)
	}
	delete(k.held.checks, k.number)
	c.checks--
	k.held.trim()
}

// Counts returns what was done so far, and what there is to do.
func (c *Checker) Counts() CheckerCounts {
	n := c.counts
	n.Checks, n.Running = uint64(c.checks), uint64(len(c.running))
	return n
}

// begin begins the check of a row, at the status of its record.
func (c *Checker) begin(now time.Duration, h *held, r *wire.CheckRow) {
	k := &checking{held: h, number: r.Number, name: r.Name, instance: r.Instance, version: r.Check}
	k.finding = startFinding(registry.Status(r.Status))
	h.checks[k.number] = k
	c.checks++
	c.join(k)
	spec, err := registry.ReadSpec(r.Spec)
	if err != nil {
		spec = registry.Spec{Interval: registry.IntervalMax, Timeout: time.Second, Rise: 1, Fall: 1}
		k.unreadable = err.Error()
	}
	k.spec = spec
	// The last result of a threshold is always one of its own: what others have found may have
	// been their own fault.
	k.ups, k.downs = min(int(r.Ups), spec.Rise-1), min(int(r.Downs), spec.Fall-1)
	k.begin(now, c.checks)
	if next, was := h.former[k.key()]; was && k.unreadable == "" {
		// It was checked here for the leader before, and goes on in its rhythm.
		k.next = min(k.next, max(now, next))
	}
	c.waiting.add(k)
	if k.unreadable != "" {
		k.judge(Result{NotAllowed: true, Reason: k.unreadable})
		c.news(k)
	}
}
