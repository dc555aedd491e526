package health

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap/registry"
)

// never is a time that does not come.
const never = time.Duration(1<<63 - 1)

// Assigner has nodes run the checks of the services in the groups that are led on its node,
// and proposes what follows from their findings. The package comment lists its owner's duties.
//
// One goroutine calls it.
type Assigner struct {
	self raft.NodeID // set once

	leads []*led // groups that are led here, in order
	fars  []*far // nodes that are alive, its own included, in order

	number     uint64 // of the last action
	assignment uint64 // number of the last change of an assignment
	flights    map[uint64]*flight
	reports    int           // flights that are reports
	hooks      int           // and webhooks
	need       bool          // there are checks that a node has to run
	settleAt   time.Duration // when a new leader no longer waits for nodes that were not heard
	anew       bool          // nodes or checks have changed since the checks were assigned
	homelessAt time.Duration // when to look again at checks without a node
	counts     AssignerCounts
	blocked    []blocked         // what waits until fewer actions are under way
	former     map[uint64]*check // by each number there ever was; only if a bug is planted

	// Of one turn.
	actions []Action
	wake    time.Duration
}

// led is a group that is led here.
type led struct {
	group       raft.GroupID
	incarnation raft.Incarnation
	term        uint64
	known       bool   // services were handed in
	pass        uint64 // how often
	services    map[string]*service
	order       []*service    // the same, by name
	due         time.Duration // when one of them is to be looked at
}

// service is one service of a group that is led here.
type service struct {
	row    Row
	slotAt time.Duration // when row.SlotTime was read
	pass   uint64        // the last one of its group that had it
	checks []*check      // of its instances, in their order
	byID   map[string]*check
	due    time.Duration // when to look at it

	deregister time.Duration // setting deregister_after; 0: never

	report   uint64 // flight of the report about it; 0: none
	again    pause  // before the next one
	hook     uint64 // flight of a webhook; 0: none
	hookNext pause
	hooked   []hooked // told, and to be reported
}

// check is the check of one instance.
type check struct {
	service  *service
	instance *registry.Instance // of the service's row
	version  uint64             // of what is checked
	hash     uint64             // of service and instance, for the choice of a node
	spec     registry.Spec
	packed   []byte
	broken   string // why it can't be checked; "": it can

	// The assignment in force.
	node   raft.NodeID // 0: none
	number uint64
	full   bool // that node has no room for it

	homeless time.Duration // since when no node can run it; never: one can

	finding wire.Finding // of this assignment; of a ttl check, by its heartbeats; 0: none yet
	reason  string
	changes uint64
	changed time.Duration // when the finding has changed last, whichever assignment it was of
	last    wire.Finding  // of any assignment; 0: none yet

	// Results in a row of the checker, and those before it, against its finding or the status;
	// one of both at most. They were in force up to ran.
	ups, downs uint8
	ran        time.Duration

	expires   time.Duration // of a ttl check: when there should have been a heartbeat
	goneAgain time.Duration // no deregistration is tried before
	hookedTo  uint64        // the change that the webhook was told of last, here
	lost      bool          // since then one was given up, and people know it
	lately    []uint64      // when the last FlapChanges-1 changes were, by the time of the slot, ms

	// What was proposed last, and applied, for a record of this version. It is not proposed
	// again: if the record did not take it, it never will.
	settled struct {
		version uint64
		status  registry.Status
		reason  string
	}
}

// flight is an action that is under way.
type flight struct {
	kind  Kind
	until time.Duration // then it has failed
	to    raft.NodeID   // of a poll
	led   *led          // of a report or webhook
	of    *service
	rows  []proposed
	hook  *Hook
}

// NewAssigner returns the assigner of a node.
func NewAssigner(self raft.NodeID) *Assigner {
	return &Assigner{self: self, flights: map[uint64]*flight{}, homelessAt: never}
}

// Lead hands in the term in which a group is led here, with an entry of that term applied; 0
// if it is not.
func (a *Assigner) Lead(now time.Duration, g raft.GroupID, inc raft.Incarnation, term uint64) {
	if l := a.led(g); l != nil {
		if l.term == term && l.incarnation == inc {
			return
		}
		for number, f := range a.flights {
			if f.led == l {
				a.land(number, f.kind)
			}
		}
		// The checkers drop what they have of it when its next leader asks them, or when
		// nobody does.
		for _, n := range a.fars {
			delete(n.lists, g)
		}
		a.leads = slices.DeleteFunc(a.leads, func(x *led) bool { return x == l })
		a.anew = true
	}
	if term == 0 {
		return
	}
	// Those that nobody has asked for a while may be dead by now, though alive when last
	// heard.
	for _, n := range a.fars {
		if len(n.lists) == 0 {
			n.heard, n.hurry = false, true
		}
	}
	a.settleAt, a.anew = now+settleMax, true
	a.leads = append(a.leads, &led{group: g, incarnation: inc, term: term, services: map[string]*service{}, due: never})
	slices.SortFunc(a.leads, func(x, y *led) int { return cmp.Compare(x.group, y.group) })
}

// led returns a group that is led here, or nil.
func (a *Assigner) led(g raft.GroupID) *led {
	i, found := slices.BinarySearchFunc(a.leads, g, func(l *led, g raft.GroupID) int { return cmp.Compare(l.group, g) })
	if !found {
		return nil
	}
	return a.leads[i]
}

// Alive hands in the nodes that are alive as this node sees it, its own included.
func (a *Assigner) Alive(now time.Duration, nodes []raft.NodeID) {
	nodes = slices.Clone(nodes)
	slices.Sort(nodes)
	nodes = slices.Compact(nodes)
	if slices.EqualFunc(a.fars, nodes, func(n *far, id raft.NodeID) bool { return n.node == id }) {
		return
	}
	var fars []*far
	for _, id := range nodes {
		n := a.far(id)
		if n == nil {
			n = &far{node: id, lists: map[raft.GroupID]*list{}, waiting: never}
		}
		fars = append(fars, n)
	}
	for _, n := range a.fars {
		if !slices.Contains(fars, n) {
			a.empty(n)
		}
	}
	a.fars, a.anew = fars, true
}

// far returns a node that is alive, or nil.
func (a *Assigner) far(id raft.NodeID) *far {
	i, found := slices.BinarySearchFunc(a.fars, id, func(n *far, id raft.NodeID) int { return cmp.Compare(n.node, id) })
	if !found {
		return nil
	}
	return a.fars[i]
}

// Services hands in all services of a group, as of an entry of the term in which it is led
// here; those of another term are ignored. Rows that have not changed may have the same
// pointers.
func (a *Assigner) Services(now time.Duration, g raft.GroupID, term uint64, all []Row) {
	l := a.led(g)
	if l == nil || l.term != term {
		return
	}
	l.known = true
	before := len(l.services)
	for i := range all {
		row := &all[i]
		s := l.services[row.Name]
		switch {
		case s == nil:
			s = &service{byID: map[string]*check{}}
			l.services[row.Name] = s
			a.update(now, l, s, row)
		case s.row.Version != row.Version || s.row.Service != row.Service:
			a.update(now, l, s, row)
		}
		s.row.SlotTime, s.slotAt, s.pass = row.SlotTime, now, l.pass+1
	}
	l.pass++
	if len(l.services) == before && len(all) == before {
		return
	}
	former := l.order
	l.order = make([]*service, 0, len(all))
	for _, s := range l.services {
		if s.pass == l.pass {
			l.order = append(l.order, s)
		}
	}
	slices.SortFunc(l.order, func(x, y *service) int { return cmp.Compare(x.row.Name, y.row.Name) })
	for _, s := range former { // gone are those that had no row
		if s.pass == l.pass {
			continue
		}
		for _, c := range s.checks {
			a.unassign(l, c)
		}
		for number, f := range a.flights {
			if f.of == s {
				a.land(number, f.kind)
			}
		}
		delete(l.services, s.row.Name)
	}
	a.anew = true
}

// update takes another version of a service.
func (a *Assigner) update(now time.Duration, l *led, s *service, row *Row) {
	s.row, s.deregister = *row, 0
	if ms, err := strconv.ParseUint(row.Service.Get(settingDeregister), 10, 40); err == nil {
		s.deregister = time.Duration(ms) * time.Millisecond
	}
	var checks []*check
	for i := range row.Service.Instances {
		inst := &row.Service.Instances[i]
		c := s.byID[inst.ID]
		if c == nil || c.version != inst.Check || c.spec.Type != row.Service.Type {
			if c != nil {
				a.unassign(l, c)
			}
			former := c
			c = newCheck(now, s, inst)
			if former != nil && inst.Count >= former.instance.Count { // else it was removed, and is another one
				c.instance, c.hookedTo, c.lost, c.lately = former.instance, former.hookedTo, former.lost, former.lately
			}
			a.anew = true
		}
		c.follow(inst)
		checks = append(checks, c)
	}
	for _, c := range s.checks {
		if !slices.ContainsFunc(checks, func(x *check) bool { return x.instance.ID == c.instance.ID }) {
			a.unassign(l, c)
			a.leaves(s, c)
			a.anew = true
		}
	}
	s.checks = checks
	clear(s.byID)
	for _, c := range checks {
		s.byID[c.instance.ID] = c
	}
	s.look(l, now)
}

// newCheck returns the check of an instance, of the version that it has now.
func newCheck(now time.Duration, s *service, inst *registry.Instance) *check {
	c := &check{service: s, instance: inst, version: inst.Check, homeless: never, changed: now}
	c.hash = hashOf(s.row.Name, inst.ID)
	spec, err := inst.Spec(s.row.Service)
	if err != nil {
		c.broken = err.Error()
	}
	spec.Type = s.row.Service.Type
	c.spec = spec
	if c.ttl() {
		// Nothing is known of the heartbeats before: those that come now have a whole time.
		c.expires = now + c.whole()
		if bug(bugNoGrace) {
			c.expires = now
		}
		return c
	}
	c.packed = spec.AppendTo(nil)
	return c
}

// slotNow returns the time of the service's slot, ms: that of its row, and what has passed
// since.
func (s *service) slotNow(now time.Duration) uint64 {
	return s.row.SlotTime + uint64((now-s.slotAt)/time.Millisecond)
}

// since returns how long ago a slot was at that time, ms.
func (s *service) since(now time.Duration, slot uint64) time.Duration {
	if at := s.slotNow(now); at > slot {
		return time.Duration(at-slot) * time.Millisecond
	}
	return 0
}

// bugNoGrace is a planted bug: a leader counts from the beginning of its term heartbeats
// that another one may have taken.
const bugNoGrace = "a new leader allows heartbeats no time"

// ttl reports whether the instance reports itself.
func (c *check) ttl() bool { return c.spec.Type == registry.TypeTTL }

const settingDeregister = "deregister_after" // ms

// whole is the time within which a ttl instance has to report itself.
func (c *check) whole() time.Duration { return c.spec.Interval * time.Duration(max(c.spec.Fall, 1)) }

// look has a service looked at in the turn at that time.
func (s *service) look(l *led, at time.Duration) {
	s.due = min(s.due, at)
	l.due = min(l.due, s.due)
}

// Heartbeat takes the report of a ttl instance. It counts for as long as the group is led
// here: the next leader allows a whole time for the next report.
func (a *Assigner) Heartbeat(now time.Duration, g raft.GroupID, name, instance string, up bool, note string) *wire.Error {
	l := a.led(g)
	if l == nil || !l.known {
		return wire.NotLeader(g, 0, "")
	}
	s := l.services[name]
	if s == nil {
		return wire.NotFound(fmt.Sprintf("service %q", name), fmt.Sprintf("group %s has none of that name", g), "register it first: muster service set")
	}
	c := s.byID[instance]
	if c == nil {
		return wire.NotFound(fmt.Sprintf("instance %q of service %q", instance, name), "the service has none of that id", "muster service get shows its instances")
	}
	if !c.ttl() {
		return wire.BadRequest(fmt.Sprintf("heartbeat of service %q", name), "it is of type "+c.spec.Type+"; want "+registry.TypeTTL, "leave it to the checks")
	}
	finding := wire.FindingDown
	if up {
		finding, c.expires = wire.FindingUp, now+c.whole()
	}
	if c.find(now, finding, registry.MaskIn(note, c.instance.Settings, s.row.Service.Settings)) {
		s.look(l, now)
	}
	return nil
}

// find takes a finding, and reports whether it is another one.
func (c *check) find(now time.Duration, f wire.Finding, reason string) bool {
	if c.finding == f && (f != wire.FindingNone || c.reason == registry.CutReason(reason)) {
		return false
	}
	if c.last != 0 && c.last != f {
		c.changed = now
	}
	c.last, c.finding, c.reason = f, f, registry.CutReason(reason)
	return true
}

// Polled hands in how a poll ended: with an answer, or with an error.
func (a *Assigner) Polled(now time.Duration, number uint64, ans *wire.ChecksAnswer, err error) {
	f := a.land(number, ActPoll)
	if f == nil {
		return
	}
	n := a.far(f.to)
	switch {
	case n == nil || number < n.last: // a newer one was answered: what this one says was so before
	case err == nil && ans != nil:
		n.last = number
		a.answered(now, n, ans, now-(f.until-pollLate))
	default:
		a.lost(n, err)
	}
}

// Proposed hands in that a report was applied, or why that is not known.
func (a *Assigner) Proposed(now time.Duration, number uint64, err error) {
	if f := a.land(number, ActPropose); f != nil {
		a.reported(now, f, err)
	}
}

// Hooked hands in that a webhook was told of a change, or why not.
func (a *Assigner) Hooked(now time.Duration, number uint64, err error) {
	if f := a.land(number, ActHook); f != nil {
		a.told(now, f, err)
	}
}

// Counts returns what was done so far, and what there is to do.
func (a *Assigner) Counts() AssignerCounts {
	n := a.counts
	for _, l := range a.leads {
		n.Services += uint64(len(l.order))
		for _, s := range l.order {
			for _, c := range s.checks {
				switch {
				case c.node != 0:
					n.Checks++
				case c.homeless != never:
					n.Homeless++
				}
			}
		}
	}
	return n
}

// Turn returns what is to be done now, and when to call it again at the latest. Wall is the
// time of day, which people are shown.
func (a *Assigner) Turn(now time.Duration, wall time.Time) (actions []Action, next time.Duration) {
	a.wake = never
	if len(a.leads) == 0 {
		for _, n := range a.fars {
			n.waiting = never // nobody is asked any more
		}
		if len(a.flights) == 0 {
			return nil, never
		}
	}
	a.expire(now)
	a.silence(now)
	if a.anew || now >= a.homelessAt {
		a.assign(now)
	}
	a.wake = min(a.wake, a.homelessAt)
	for _, l := range a.leads {
		a.judge(now, wall, l)
	}
	for _, n := range a.fars {
		a.poll(now, n)
	}
	actions, a.actions = a.actions, nil
	return actions, max(a.wake, now)
}

// launch begins an action.
func (a *Assigner) launch(now time.Duration, x Action, f *flight, late time.Duration) uint64 {
	a.number++
	x.Number = a.number
	f.kind, f.until = x.Kind, now+late
	switch f.kind {
	case ActPropose:
		a.reports++
	case ActHook:
		a.hooks++
	}
	a.flights[x.Number] = f
	a.actions = append(a.actions, x)
	return x.Number
}

// note has the owner do something that has no end.
func (a *Assigner) note(x Action) {
	a.number++
	x.Number = a.number
	a.actions = append(a.actions, x)
}

// land ends the flight of an action, and returns it. If the action has ended already, or is of
// another kind, it does nothing, and returns nil.
func (a *Assigner) land(number uint64, k Kind) *flight {
	f := a.flights[number]
	if f == nil || f.kind != k {
		return nil
	}
	delete(a.flights, number)
	switch k {
	case ActPoll:
		if n := a.far(f.to); n != nil && n.under > 0 {
			n.under--
		}
	case ActPropose:
		a.reports--
		f.of.report = 0
	case ActHook:
		a.hooks--
		f.of.hook = 0
	}
	return f
}

// expire gives up what has not ended.
func (a *Assigner) expire(now time.Duration) {
	var late []uint64
	for number, f := range a.flights {
		if f.until <= now {
			late = append(late, number)
		} else {
			a.wake = min(a.wake, f.until)
		}
	}
	slices.Sort(late)
	for _, number := range late {
		f := a.flights[number]
		a.land(number, f.kind)
		switch f.kind {
		case ActPropose:
			a.reported(now, f, errLate)
		case ActHook:
			a.told(now, f, errLate)
		}
	}
}
