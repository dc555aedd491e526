package node

import (
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
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
	// reportMax is how long a report on a service may take until it is applied. The assigner
	// tries again by itself.
	reportMax = 3 * time.Second
	// gatherPause is the shortest time between two looks at the services that are led here. A
	// look walks over all services of a group in which some have changed, for some 100 ns each, by
	// the goroutine that serves all groups.
	gatherPause = 20 * time.Millisecond
)

// Of polls. The assigner asks each node twice a second, which holds its answer until the next
// poll if it has nothing to say. One that has not answered for SilentMax counts as silent.
const (
	pollMax = health.SilentMax
	// pollSilence ends the way to a node that answers nothing. An assigner that asks a node does
	// so every second at least, so a node that answers is never silent for so long.
	pollSilence = pollMax + time.Second
	// pollsMax and pollBytesMax bound the polls that are on their way to one node: some times
	// what the assigner has under way before it takes the node for silent.
	pollsMax     = 64
	pollBytesMax = 4 << 20
)

// checks drives the assigner of this node: it tells the assigner what is led here, and which
// services and nodes there are, and carries out what it decides. It is the [repl.Replier] of the
// reports, which this node's own groups take; the number of an action is that of its request.
type checks struct {
	node  *Node
	mail  mailbox // for run
	ways  ways
	hooks hooks
	// stale is set when the services of a group that is led here may have changed, and presence
	// when nodes have come or gone. Many set them; run clears them.
	stale, presence atomic.Bool

	// gathering is what was seen of the services of the groups that are led here. It is owned
	// by the goroutine that owns the host.
	gathering map[raft.GroupID]*gathered

	// Owned by run.
	core   *health.Assigner
	groups map[raft.GroupID]map[string]health.Row // the services of the groups that are led here, by name
}

func (c *checks) init(n *Node) {
	c.node, c.core, c.mail = n, health.NewAssigner(n.self().Node), newMailbox()
	c.groups = make(map[raft.GroupID]map[string]health.Row)
	c.gathering = make(map[raft.GroupID]*gathered)
	c.hooks.init(n, n.probes.prober.DialContext)
	c.ways.node, c.ways.what = n, "polls"
	c.ways.within, c.ways.silence, c.ways.bytesMax, c.ways.questionsMax = pollMax, pollSilence, pollBytesMax, pollsMax
	c.ways.took, c.ways.over = c.took, func(_ raft.NodeID, q pending, err error) {
		if err != nil {
			if errors.Is(err, syscall.ECONNREFUSED) { // it was told in the place of an answer
				err = fmt.Errorf("%w: %w", health.ErrNobody, err)
			}
			c.ended(&health.Action{Kind: health.ActPoll, Number: q.number}, err)
		}
	}
}

// led is told by the host when the lead of a data group comes here, or goes: then term is 0.
func (c *checks) led(g raft.GroupID, term uint64) {
	if term != 0 {
		// The next look takes the services of a group in a new term anew. Only with them is the
		// group handed in as led.
		c.gathering[g] = &gathered{term: term, stale: true, seen: make(map[string]seen)}
		c.look(&c.stale)
		return
	}
	delete(c.gathering, g)
	c.mail.post(func(now time.Duration) {
		c.core.Lead(now, g, 0, 0)
		delete(c.groups, g)
	})
}

// servicesChanged is told by the machine of a group that some entries have changed a service.
func (c *checks) servicesChanged(g raft.GroupID) {
	if of := c.gathering[g]; of != nil { // it is led here
		of.stale = true
		c.look(&c.stale)
	}
}

// nodesChanged is told when the table has changed, or a node has fallen silent, or is back.
func (c *checks) nodesChanged() { c.look(&c.presence) }

// look has run look at what has changed.
func (c *checks) look(at *atomic.Bool) {
	if !at.Swap(true) {
		c.mail.rouse()
	}
}

// run owns the assigner.
func (c *checks) run() {
	n := c.node
	loop := n.running()
	timer := time.NewTimer(0)
	defer timer.Stop()
	c.presence.Store(true)
	var gatherAt time.Duration
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-c.mail.wake:
		case <-timer.C:
		}
		now := loop.Now()
		if c.presence.Swap(false) {
			loop.Post(c.present)
		}
		if c.stale.Load() && now >= gatherAt {
			gatherAt = now + gatherPause
			c.stale.Store(false) // before the look: what changes after it is looked at again
			loop.Post(c.gather)
		}
		for _, f := range c.mail.take() {
			f(now)
		}
		actions, next := c.core.Turn(now, time.Now())
		c.begin(loop, actions)
		if c.stale.Load() {
			next = min(next, gatherAt)
		}
		timer.Reset(next - loop.Now())
	}
}

// begin begins to carry out actions.
func (c *checks) begin(loop *repl.Loop, actions []health.Action) {
	var reports []health.Action
	for i := range actions {
		a := &actions[i]
		switch a.Kind {
		case health.ActPropose:
			reports = append(reports, *a)
		case health.ActPoll:
			if err := c.poll(a); err != nil {
				c.ended(a, err)
			}
		case health.ActHook:
			c.hooks.tell(a.Hook, func(err error) { c.ended(a, err) })
		case health.ActLost:
			c.hooks.lost(a.Hook)
		}
	}
	if len(reports) == 0 {
		return
	}
	// By the goroutine that owns the host: there it is known what is led here, in which term.
	loop.Post(func(h *repl.Host) {
		for i := range reports {
			if err := c.propose(h, loop, &reports[i]); err != nil {
				c.ended(&reports[i], err)
			}
		}
	})
}

// ended tells the assigner that an action has ended which has no answer to hand in.
func (c *checks) ended(a *health.Action, err error) {
	kind, number := a.Kind, a.Number
	c.mail.post(func(now time.Duration) {
		switch kind {
		case health.ActPoll:
			c.core.Polled(now, number, nil, err)
		case health.ActPropose:
			c.core.Proposed(now, number, err)
		case health.ActHook:
			c.core.Hooked(now, number, err)
		}
	})
}

// poll begins to ask a node. If it returns an error the action has ended.
func (c *checks) poll(a *health.Action) error {
	if self := c.node.self().Node; a.To == self {
		c.node.probes.poll(self, a.Poll, func(ans *wire.ChecksAnswer) { c.polled(a.Number, ans) })
		return nil
	}
	size := 0
	for i := range a.Poll.Groups {
		for j := range a.Poll.Groups[i].Rows {
			size += len(a.Poll.Groups[i].Rows[j].Spec)
		}
	}
	return c.ways.send(a.To, question{pending: pending{number: a.Number}, kind: wire.TypeChecks, body: a.Poll, size: size})
}

func (c *checks) polled(number uint64, ans *wire.ChecksAnswer) {
	c.mail.post(func(now time.Duration) { c.core.Polled(now, number, ans, nil) })
}

// took takes what another node answers to a poll.
func (c *checks) took(number uint64, t wire.Type, body []byte) error {
	switch t {
	case wire.TypeError:
		e := new(wire.Error)
		if err := e.Read(body); err != nil {
			return err
		}
		return e
	case wire.TypeChecksAnswer:
		ans := new(wire.ChecksAnswer)
		if err := ans.Read(body); err != nil {
			return err
		}
		c.polled(number, ans)
		return nil
	}
	return fmt.Errorf("answer of type %s", t)
}

var errNotLedNow = errors.New("the group is no longer led here in that term")

// propose proposes a report, in an event of the host. If it returns an error the action has
// ended.
func (c *checks) propose(h *repl.Host, loop *repl.Loop, a *health.Action) error {
	// A report rests on the findings of one term. In another one, another node may have
	// reported since, on newer findings.
	if of := c.gathering[a.Group]; of == nil || of.term != a.Term {
		return errNotLedNow
	}
	at := clock(loop, time.Now())
	report := shardmap.ReportCommand(a.Slot, a.Report)
	p, err := machine.ReportProposal(a.Group, &report, wire.Origin{Time: at.Wall})
	if err != nil {
		return err
	}
	p.Deadline, p.Reply = at.Host+reportMax, repl.Reply{To: c, Request: a.Number}
	h.Propose(p)
	return nil
}

// Answer implements [repl.Replier].
func (c *checks) Answer(r repl.Reply, t wire.Type, body []byte) bool {
	var err error
	switch t {
	case wire.TypeWriteAnswer:
	case wire.TypeError:
		e := new(wire.Error)
		if err = e.Read(body); err == nil {
			err = e
		}
	default:
		err = fmt.Errorf("answer of type %s", t)
	}
	c.ended(&health.Action{Kind: health.ActPropose, Number: r.Request}, err)
	return false
}

// Flush implements [repl.Replier].
func (c *checks) Flush() {}

// heartbeat takes the report of an instance, in a group that is led here. The goroutine that owns
// the host calls it.
func (c *checks) heartbeat(m *machine.Map, said *wire.Heartbeat, answer func(*wire.Error)) {
	// First what has changed of the services: the report may be of one that was set a moment ago.
	if of := c.gathering[m.Group]; of != nil && of.stale {
		c.gatherOf(m, of)
	}
	g, name, instance, note := m.Group, said.Name, said.Instance, said.Note
	up := said.Status == wire.HeartbeatUp
	c.mail.post(func(now time.Duration) { answer(c.core.Heartbeat(now, g, name, instance, up, note)) })
}

// present looks which nodes are there, by the goroutine that owns the host.
func (c *checks) present(h *repl.Host) {
	t := c.node.table.Load()
	if t == nil {
		return
	}
	var nodes []raft.NodeID
	for i := range t.Nodes {
		if id := t.Nodes[i].ID; id == c.node.self().Node || h.Contacts().Present(id) {
			nodes = append(nodes, id)
		}
	}
	c.mail.post(func(now time.Duration) { c.core.Alive(now, nodes) })
}

// gathered is what was seen of the services of one group in one term.
type gathered struct {
	term  uint64
	stale bool // they may have changed since
	seen  map[string]seen
}

// seen is a service as run knows it.
type seen struct {
	name    string
	version uint64
}

// found is a service as it was found now.
type found struct {
	row   health.Row // without its service
	value []byte     // the record; nil: it is as it was
}

// gather looks at the services of those groups in which they may have changed, by the
// goroutine that owns the host.
func (c *checks) gather(h *repl.Host) {
	for g, of := range c.gathering {
		if m, ok := h.Machine(g).(*machine.Map); ok && of.stale {
			c.gatherOf(m, of)
		}
	}
}

// gatherOf looks at the services of one group. Records that have changed are copied here, and
// read by run.
func (c *checks) gatherOf(m *machine.Map, of *gathered) {
	of.stale = false
	var all []found
	m.State.EachService(func(slot shardmap.Slot, name []byte, version, slotTime uint64, value []byte) bool {
		x := found{row: health.Row{Slot: slot, Version: version, SlotTime: slotTime}}
		if was, known := of.seen[string(name)]; known && was.version == version {
			x.row.Name = was.name
		} else {
			x.row.Name, x.value = string(name), append([]byte{}, value...)
			of.seen[x.row.Name] = seen{x.row.Name, version}
		}
		all = append(all, x)
		return true
	})
	if len(of.seen) > len(all) { // some are gone
		of.forget(all)
	}
	g, term, inc := m.Group, of.term, m.Incarnation()
	c.mail.post(func(now time.Duration) { c.take(now, g, inc, term, all) })
}

// forget keeps of what was seen what is there.
func (o *gathered) forget(all []found) {
	kept := make(map[string]seen, len(all))
	for i := range all {
		name := all[i].row.Name
		kept[name] = o.seen[name]
	}
	o.seen = kept
}

// take hands the services of a group to the assigner.
func (c *checks) take(now time.Duration, g raft.GroupID, inc raft.Incarnation, term uint64, all []found) {
	c.core.Lead(now, g, inc, term) // changes nothing if the assigner knows
	before := c.groups[g]
	rows, byName := make([]health.Row, 0, len(all)), make(map[string]health.Row, len(all))
	for i := range all {
		row := all[i].row
		row.Service = before[row.Name].Service
		if all[i].value != nil {
			s, err := registry.Read(all[i].value)
			if err != nil {
				// Entries check what they write, so this is a record of a newer build, or damage.
				c.node.log.Error("service can't be read", "group", g, "service", row.Name, "version", row.Version, "err", err)
				continue
			}
			row.Service = s
		}
		if row.Service == nil {
			continue // it could not be read before
		}
		rows, byName[row.Name] = append(rows, row), row
	}
	c.groups[g] = byName
	c.core.Services(now, g, term, rows)
}

// ask has f called by run, which owns the core. It reports false if the node stops.
func (c *checks) ask(f func()) bool {
	done := make(chan struct{})
	c.mail.post(func(time.Duration) {
		f()
		close(done)
	})
	select {
	case <-done:
		return true
	case <-c.node.ctx.Done():
		return false
	}
}
