package sim

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"muster/raft"
	"muster/repl"
	"muster/repl/health"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/registry"
)

const (
	// pollDoubleEvery, pollLossEvery and pollLateEvery are how many polls there are for each one
	// that arrives twice, whose answer is lost, or that is late.
	pollDoubleEvery, pollLossEvery, pollLateEvery = 24, 16, 8
	// reportDeadline is how long a report may wait for its place in a log, as in
	// node/assigner.go.
	reportDeadline = 3 * time.Second
	// aliveWithin is after how long without a word a node is dead for the assigner of another.
	aliveWithin = electionTimeout
	// hookFailsEvery is how many messages to webhooks there are for each one that fails.
	hookFailsEvery = 3
	// proofWithin is how long ago a target may have been what a report says: a finding waits
	// where a process stands still, which may be for a minute.
	proofWithin = 90 * time.Second
	// programs is how many programs there are; nodes allow some of them.
	programs = 3
)

// checks drives the assigner and the checker of a process, as node/assigner.go and node/checker.go
// do: the cores are the real ones. Polls arrive late or twice, and answers are lost.
type checks struct {
	n        *node
	assigner *health.Assigner // of the process
	checker  *health.Checker
	led      map[raft.GroupID]uint64 // the terms in which groups are led here, as the host said
	handed   map[raft.GroupID]handed
	alive    []raft.NodeID
	turns    turns
	proof    proof
	pipes    [nodesMax + 1]time.Duration // when the last poll, or answer, to each node arrives
	held     []heldPoll                  // that the checker answers later, in order
	killed   bool                        // the process has ended, and its host has not: who dials it is refused
}

// heldPoll is a poll that waits for its answer.
type heldPoll struct {
	ticket uint64
	answer func(*wire.ChecksAnswer)
	broken func() // the connection has ended
}

// handed says as of when an assigner was given the services of a group.
type handed struct {
	term    uint64
	changes uint64
}

// begin is the start of a process.
func (k *checks) begin() {
	if !k.n.c.services.active {
		return
	}
	k.assigner, k.checker = health.NewAssigner(k.n.id), health.NewChecker(k.n.id, k.n.c.chance.next()|1, k.n.programs())
	k.pipes, k.held, k.killed = [nodesMax + 1]time.Duration{}, nil, false
	k.led, k.handed, k.alive = map[raft.GroupID]uint64{}, map[raft.GroupID]handed{}, nil
	k.proof.begin()
}

// end is the end of the process. If its host goes on, the connections end with it.
func (k *checks) end(power Fault) {
	k.killed = power == PowerKeep
	held := k.held
	k.held = nil
	for i := range held {
		if k.killed {
			held[i].broken()
		}
	}
}

// programs returns those that the node allows. Each is allowed by some nodes, except the last,
// which none allows.
func (n *node) programs() (names []string) {
	for i := range programs - 1 {
		if n.index%2 == i%2 {
			names = append(names, programName(i))
		}
	}
	return names
}

// lead is told who leads a group here. It must not call the host.
func (k *checks) lead(g raft.GroupID, term uint64) {
	if g == 0 || !k.n.c.services.active {
		return
	}
	k.led[g] = term
	k.plan(0)
}

func (k *checks) plan(d time.Duration) {
	if k.n.c.services.active {
		k.turns.plan(k.n, evCheck, d)
	}
}

// turn lets both cores act on what has happened.
func (k *checks) turn() {
	n := k.n
	now := n.ticks.now()
	k.lives(now)
	k.leads(now)
	actions, next := k.assigner.Turn(now, time.UnixMilli(int64(n.ticks.wall())))
	for i := range actions {
		k.act(&actions[i])
	}
	probes, answers, due := k.checker.Turn(now)
	for _, number := range k.checker.Cancelled() {
		k.cancelled(number)
	}
	for i := range probes {
		k.probe(&probes[i])
	}
	for _, a := range answers {
		i := slices.IndexFunc(k.held, func(p heldPoll) bool { return p.ticket == a.Ticket })
		k.held[i].answer(a.Checks)
		k.held = slices.Delete(k.held, i, i+1)
	}
	if d := min(next, due) - now; d < time.Hour {
		k.plan(max(d, time.Millisecond))
	}
}

// lives hands in which nodes are alive.
func (k *checks) lives(now time.Duration) {
	n := k.n
	alive := []raft.NodeID{n.id}
	for _, id := range n.known.others {
		if ago, ever := n.host.Contacts().Heard(id, now); ever && ago < aliveWithin {
			alive = append(alive, id)
		}
	}
	slices.Sort(alive)
	if !slices.Equal(alive, k.alive) {
		k.alive = alive
		k.assigner.Alive(now, alive)
	}
}

// leads hands in which groups are led here, and their services if any has changed.
func (k *checks) leads(now time.Duration) {
	n := k.n
	for g := raft.GroupID(1); int(g) < len(n.c.truth); g++ {
		term, told := k.led[g]
		if !told {
			continue
		}
		w, ok := n.host.Machine(g).(*watched)
		if !ok {
			term = 0
		}
		if term == 0 {
			k.assigner.Lead(now, g, 0, 0)
			delete(k.led, g)
			delete(k.handed, g)
			continue
		}
		state := w.state.State
		is := handed{term, state.ServiceChanges()}
		was := k.handed[g]
		if was == is {
			continue
		}
		if k.handed[g] = is; was.term != term {
			k.proof.led[g] = now
		}
		k.assigner.Lead(now, g, w.replica.Incarnation, term)
		k.assigner.Services(now, g, term, k.rows(w))
	}
}

// ran looks, behind a run of entries, whether they have changed a service of a group that is
// led here.
func (k *checks) ran(w *watched) {
	if k.led[w.replica.Group] != 0 && w.state.State.ServiceChanges() != k.handed[w.replica.Group].changes {
		k.plan(0)
	}
}

// rows returns the services of a group.
func (k *checks) rows(w *watched) (rows []health.Row) {
	w.state.State.EachService(func(s shardmap.Slot, name []byte, version, slotTime uint64, value []byte) bool {
		record, err := registry.Read(value)
		if err != nil {
			k.n.c.fail("n%d can't read service %q of group %d: %v", k.n.index, name, w.replica.Group, err)
		}
		rows = append(rows, health.Row{Name: string(name), Slot: s, Version: version, Service: record, SlotTime: slotTime})
		return true
	})
	return rows
}

// act carries out an action of the assigner.
func (k *checks) act(a *health.Action) {
	switch a.Kind {
	case health.ActPoll:
		k.poll(a)
	case health.ActPropose:
		k.propose(a)
	case health.ActHook:
		k.hook(a)
	}
}

// errKilled says that who dials a host is refused, for no process listens there.
var errKilled = fmt.Errorf("%w: connection refused", health.ErrNobody)

// poll brings a poll to a node, and its answer back: or not, or late, or it arrives twice.
func (k *checks) poll(a *health.Action) {
	n, c := k.n, k.n.c
	o, number := c.nodes[a.To-1], a.Number
	if c.services.ended {
		c.fail("n%d polls n%d about checks, and there are no services", n.index, o.index)
	}
	k.proof.polled(a.To, a.Poll)
	body := a.Poll.Append(nil)
	asked := n.life
	polled := func(ans *wire.ChecksAnswer, err error) {
		if n.life != asked {
			return // the connection that it would have come over ended with its process
		}
		if err == nil {
			k.proof.answered(ans)
		}
		k.assigner.Polled(n.ticks.now(), number, ans, err)
		k.plan(0)
	}
	times, lost, late := 1, false, time.Duration(0)
	if !c.chaos.stopped {
		switch {
		case c.chance.below(pollDoubleEvery) == 0:
			times = 2
		case c.chance.below(pollLossEvery) == 0:
			lost = true
		}
		if c.chance.below(pollLateEvery) == 0 {
			late = c.chance.skewed(time.Millisecond, askLateMax)
		}
	}
	lag := c.services.lag
	if c.chaos.stopped {
		lag = 0
	}
	// hop is how long the next frame takes from one of the two to the other.
	hop := func(pipe *time.Duration) time.Duration {
		if o == n {
			return 0
		}
		*pipe = max(*pipe, c.now+c.net.latency()+c.chance.between(lag/2, lag))
		return *pipe + late/2 - c.now
	}
	out, back := &k.pipes[o.index], &o.checks.pipes[n.index]
	life := o.life
	for range times {
		c.order.call(hop(out), func() {
			broken := func(err error) { n.soon(hop(back), func() { polled(nil, err) }) }
			switch reached := o == n || n.where.reaches(o.index); {
			case reached && !o.up && o.checks.killed:
				broken(errKilled)
				return
			case !reached || !o.up || o.life != life || o.host == nil:
				broken(errUnreached)
				return
			}
			answer := func(ans *wire.ChecksAnswer) {
				if lost || o != n && !o.where.reaches(n.index) {
					return
				}
				b := ans.Append(nil)
				n.soon(hop(back), func() {
					ans := new(wire.ChecksAnswer)
					if err := ans.Read(b); err != nil {
						c.fail("n%d answers a poll of n%d with what is no answer: %v", o.index, n.index, err)
					}
					polled(ans, nil)
				})
			}
			o.soon(0, func() {
				var q wire.Checks
				if err := q.Read(body); err != nil {
					c.fail("n%d sends n%d a poll that is none: %v", n.index, o.index, err)
				}
				k := &o.checks
				if ans, ticket := k.checker.Poll(o.ticks.now(), n.id, &q); ans != nil {
					answer(ans)
				} else {
					k.held = append(k.held, heldPoll{ticket, answer, func() { broken(errUnreached) }})
				}
				k.plan(0)
			})
		})
	}
}

var errNotLed = errors.New("the group is not led here in that term")

// propose proposes a report.
func (k *checks) propose(a *health.Action) {
	n, number := k.n, a.Number
	n.c.services.reports++
	proposed := func(err error) {
		k.assigner.Proposed(n.ticks.now(), number, err)
		k.plan(0)
	}
	k.proof.proposed(n, a)
	command := shardmap.ReportCommand(a.Slot, a.Report)
	for _, v := range n.host.View() {
		if v.Replica.Group == a.Group && v.Status.Role == raft.RoleLeader && v.Status.Term == a.Term && v.Stopped == "" {
			life := n.life
			n.host.Propose(repl.Proposal{Group: a.Group, Entry: machine.NewEntry(wire.Origin{Time: n.ticks.wall()}, wire.AppendWrite(nil, &command)),
				Deadline: n.ticks.now() + reportDeadline, Reply: repl.Reply{To: moveReply{func(err error) {
					if n.up && n.life == life {
						proposed(err)
					}
				}}}})
			return
		}
	}
	n.soon(0, func() { proposed(errNotLed) })
}

// checkers tells which nodes check a service.
func (k *checks) checkers(g raft.GroupID, name string, answer func([]wire.ServiceChecker)) bool {
	term := k.led[g]
	if term == 0 {
		return false
	}
	all := health.Checkers(k.assigner, g, term, name)
	k.proof.named(k.n, g, term, name, all)
	answer(all)
	return true
}

// probe looks at a target.
func (k *checks) probe(p *health.Probe) {
	n, c := k.n, k.n.c
	now := n.ticks.now()
	number, within := p.Number, p.Deadline-now
	done := func(d time.Duration, result func() health.Result) {
		n.soon(d, func() {
			k.checker.Done(n.ticks.now(), number, result())
			k.plan(0)
		})
	}
	if p.Spec.Type == typeCustom && !slices.Contains(n.programs(), p.Spec.Script) {
		c.fail("n%d is to run program %q for service %q, and does not allow it", n.index, p.Spec.Script, p.Name)
	}
	t := c.services.at(p.Spec.Host)
	late := health.Result{Reason: "no answer in time"}
	if t.state == targetHangs {
		done(within, func() health.Result { return late })
		return
	}
	took := c.chance.skewed(time.Millisecond, max(within, 2*time.Millisecond))
	done(took, func() health.Result {
		switch t.state {
		case targetUp:
			return health.Result{Up: true, Reason: "answers"}
		case targetDown:
			return health.Result{Reason: "connection refused"}
		}
		return late
	})
}

// cancelled ends a probe soon. Its result comes nevertheless, later, and counts for nothing.
func (k *checks) cancelled(number uint64) {
	k.n.soon(time.Millisecond, func() {
		k.checker.Done(k.n.ticks.now(), number, health.Result{Reason: "cancelled"})
		k.plan(0)
	})
}

// hook tells a webhook of a change.
func (k *checks) hook(a *health.Action) {
	n, c, h, number := k.n, k.n.c, a.Hook, a.Number
	c.lives.ofKey([]byte(h.Service.Name)).hooked(c, h)
	fails := !c.chaos.stopped && c.chance.below(hookFailsEvery) == 0
	n.soon(c.chance.skewed(time.Millisecond, time.Second), func() {
		var err error
		if fails {
			err = errUnreached
		} else {
			c.result.Hooked++
		}
		k.assigner.Hooked(n.ticks.now(), number, err)
		k.plan(0)
	})
}
