package node

import (
	"errors"
	"fmt"
	"slices"
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
	// gatherMax bounds what one look copies of records, in bytes, but for the last one. A new leader
	// has all of them to copy: those of a large group take several looks, between which the
	// groups are served.
	gatherMax = 4 << 20
)

// Limits of polls. The assigner asks each node twice a second, and a node with nothing to say
// holds its answer until the next poll. One that has not answered for SilentMax counts as silent.
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

// assigning drives the assigner of this node: it tells the assigner what is led here, and which
// services and nodes there are, and carries out what it decides. It is the [repl.Replier] of the
// reports, which this node's own groups take; the number of an action is that of its request.
type assigning struct {
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

func (d *assigning) init(n *Node) {
	d.node, d.core, d.mail = n, health.NewAssigner(n.self().Node), newMailbox()
	d.groups = make(map[raft.GroupID]map[string]health.Row)
	d.gathering = make(map[raft.GroupID]*gathered)
	d.hooks.init(n, n.checking.prober.DialContext)
	d.ways.node, d.ways.what = n, "polls"
	d.ways.within, d.ways.silence, d.ways.bytesMax, d.ways.questionsMax = pollMax, pollSilence, pollBytesMax, pollsMax
	d.ways.took, d.ways.over = d.took, func(_ raft.NodeID, q pending, err error) {
		if err != nil {
			if errors.Is(err, syscall.ECONNREFUSED) { // it was told in the place of an answer
				err = fmt.Errorf("%w: %w", health.ErrNobody, err)
			}
			d.ended(&health.Action{Kind: health.ActPoll, Number: q.number}, err)
		}
	}
}

// led is told by the host when the lead of a data group comes here, or goes: then term is 0.
func (d *assigning) led(g raft.GroupID, term uint64) {
	if term != 0 {
		// The next look takes the services of a group in a new term anew. Only with them is the
		// group handed in as led.
		d.gathering[g] = &gathered{term: term, stale: true, seen: make(map[string]seen)}
		d.look(&d.stale)
		return
	}
	delete(d.gathering, g)
	d.mail.post(func(now time.Duration) {
		d.core.Lead(now, g, 0, 0)
		delete(d.groups, g)
	})
}

// servicesChanged is told by the machine of a group that some entries have changed a service.
func (d *assigning) servicesChanged(g raft.GroupID) {
	if of := d.gathering[g]; of != nil { // it is led here
		of.stale = true
		d.look(&d.stale)
	}
}

// nodesChanged is told when the table has changed, or a node has fallen silent, or is back.
func (d *assigning) nodesChanged() { d.look(&d.presence) }

// look has run look at what has changed.
func (d *assigning) look(at *atomic.Bool) {
	if !at.Swap(true) {
		d.mail.rouse()
	}
}

// run owns the assigner.
func (d *assigning) run() {
	n := d.node
	loop := n.running()
	timer := time.NewTimer(0)
	defer timer.Stop()
	d.presence.Store(true)
	var gatherAt time.Duration
	for d.mail.wait(n.ctx, timer) {
		now := loop.Now()
		if d.presence.Swap(false) {
			loop.Post(d.present)
		}
		if d.stale.Load() && now >= gatherAt {
			gatherAt = now + gatherPause
			d.stale.Store(false) // before the look: what changes after it is looked at again
			loop.Post(d.gather)
		}
		for _, f := range d.mail.take() {
			f(now)
		}
		actions, next := d.core.Turn(now, time.Now())
		d.begin(loop, actions)
		if d.stale.Load() {
			next = min(next, gatherAt)
		}
		timer.Reset(next - loop.Now())
	}
}

// begin begins to carry out actions.
func (d *assigning) begin(loop *repl.Loop, actions []health.Action) {
	var reports []health.Action
	for i := range actions {
		a := &actions[i]
		switch a.Kind {
		case health.ActPropose:
			reports = append(reports, *a)
		case health.ActPoll:
			if err := d.poll(a); err != nil {
				d.ended(a, err)
			}
		case health.ActHook:
			d.hooks.tell(a.Hook, func(err error) { d.ended(a, err) })
		case health.ActLost:
			d.hooks.lost(a.Hook)
		}
	}
	if len(reports) == 0 {
		return
	}
	// By the goroutine that owns the host: there it is known what is led here, in which term.
	loop.Post(func(h *repl.Host) {
		for i := range reports {
			if err := d.propose(h, loop, &reports[i]); err != nil {
				d.ended(&reports[i], err)
			}
		}
	})
}

// ended tells the assigner that an action has ended which has no answer to hand in.
func (d *assigning) ended(a *health.Action, err error) {
	kind, number := a.Kind, a.Number
	d.mail.post(func(now time.Duration) {
		switch kind {
		case health.ActPoll:
			d.core.Polled(now, number, nil, err)
		case health.ActPropose:
			d.core.Proposed(now, number, err)
		case health.ActHook:
			d.core.Hooked(now, number, err)
		}
	})
}

// poll begins to ask a node. If it returns an error the action has ended.
func (d *assigning) poll(a *health.Action) error {
	if self := d.node.self().Node; a.To == self {
		d.node.checking.poll(self, a.Poll, func(ans *wire.ChecksAnswer) { d.polled(a.Number, ans) })
		return nil
	}
	size := 0
	for i := range a.Poll.Groups {
		for j := range a.Poll.Groups[i].Rows {
			size += len(a.Poll.Groups[i].Rows[j].Spec)
		}
	}
	return d.ways.send(a.To, question{pending: pending{number: a.Number}, kind: wire.TypeChecks, body: a.Poll, size: size})
}

func (d *assigning) polled(number uint64, ans *wire.ChecksAnswer) {
	d.mail.post(func(now time.Duration) { d.core.Polled(now, number, ans, nil) })
}

// took hands the answer of another node to the assigner. If the answer is an error, or can't be read,
// it returns that and hands in nothing.
func (d *assigning) took(number uint64, t wire.Type, body []byte) error {
	if err := errorIn(t, body); err != nil {
		return err
	}
	if t != wire.TypeChecksAnswer {
		return fmt.Errorf("answer of type %s", t)
	}
	ans := new(wire.ChecksAnswer)
	if err := ans.Read(body); err != nil {
		return err
	}
	d.polled(number, ans)
	return nil
}

var errNotLedNow = errors.New("the group is no longer led here in that term")

// propose proposes a report, in an event of the host. If it returns an error the action has
// ended.
func (d *assigning) propose(h *repl.Host, loop *repl.Loop, a *health.Action) error {
	// A report rests on the findings of one term. In another one, another node may have
	// reported since, on newer findings.
	if of := d.gathering[a.Group]; of == nil || of.term != a.Term {
		return errNotLedNow
	}
	at := clock(loop, time.Now())
	report := shardmap.ReportCommand(a.Slot, a.Report)
	p, err := machine.ReportProposal(a.Group, &report, wire.Origin{Time: at.Wall})
	if err != nil {
		return err
	}
	p.Deadline, p.Reply = at.Host+reportMax, repl.Reply{To: d, Request: a.Number}
	h.Propose(p)
	return nil
}

// Answer implements [repl.Replier].
func (d *assigning) Answer(r repl.Reply, t wire.Type, body []byte) bool {
	err := errorIn(t, body)
	if err == nil && t != wire.TypeWriteAnswer {
		err = fmt.Errorf("answer of type %s", t)
	}
	d.ended(&health.Action{Kind: health.ActPropose, Number: r.Request}, err)
	return false
}

// Flush implements [repl.Replier].
func (d *assigning) Flush() {}

// heartbeat takes the report of an instance, in a group that is led here. The goroutine that owns
// the host calls it.
func (d *assigning) heartbeat(m *machine.Map, said *wire.Heartbeat, answer func(*wire.Error)) {
	// First what has changed of the services: the report may be of one that was set a moment ago.
	of := d.gathering[m.Group]
	if of != nil && of.stale && !of.partly {
		d.gatherOf(m, of, gatherMax)
	}
	if of != nil && of.partly {
		// That service may be one of those that are still to be copied. The client asks again.
		answer(wire.NotLeader(m.Group, 0, ""))
		return
	}
	g, name, instance, note := m.Group, said.Name, said.Instance, said.Note
	up := said.Status == wire.HeartbeatUp
	d.mail.post(func(now time.Duration) { answer(d.core.Heartbeat(now, g, name, instance, up, note)) })
}

// checkers calls answer, later, with the nodes that run the checks of a service. It returns false
// and never calls answer if the group is not led here. The goroutine that owns the host calls it.
func (d *assigning) checkers(g raft.GroupID, name string, answer func([]wire.ServiceChecker)) bool {
	of := d.gathering[g]
	if of == nil {
		return false
	}
	term := of.term
	d.mail.post(func(time.Duration) {
		all := health.Checkers(d.core, g, term, name)
		if t := d.node.table.Load(); t != nil {
			for i := range all {
				of, _ := t.Node(all[i].Node)
				all[i].Name = of.Name
			}
		}
		answer(all)
	})
	return true
}

// present looks which nodes are there, by the goroutine that owns the host.
func (d *assigning) present(h *repl.Host) {
	t := d.node.table.Load()
	if t == nil {
		return
	}
	var nodes []raft.NodeID
	for i := range t.Nodes {
		if id := t.Nodes[i].ID; id == d.node.self().Node || h.Contacts().Present(id) {
			nodes = append(nodes, id)
		}
	}
	d.mail.post(func(now time.Duration) { d.core.Alive(now, nodes) })
}

// gathered is what was seen of the services of one group in one term.
type gathered struct {
	term   uint64
	stale  bool // they may have changed since
	partly bool // the last look did not come to the end; stale too
	seen   map[string]seen
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
// goroutine that owns the host. What it does not come to it looks at the next time.
func (d *assigning) gather(h *repl.Host) {
	left := gatherMax
	for g, of := range d.gathering {
		m, ok := h.Machine(g).(*machine.Map)
		if !ok || !of.stale {
			continue
		}
		if left > 0 {
			left -= d.gatherOf(m, of, left)
		}
		if of.stale {
			d.look(&d.stale)
		}
	}
}

// gatherOf looks at the services of one group. Records that have changed are copied here, and
// read by run. It stops when it has copied so many bytes, and returns how many it has. What it has
// then is handed to run too, but not yet to the assigner, which takes the services of a group
// all at once.
func (d *assigning) gatherOf(m *machine.Map, of *gathered, most int) (copied int) {
	of.stale, of.partly = false, false
	var all []found
	m.State.EachService(func(slot shardmap.Slot, name []byte, version, slotTime uint64, value []byte) bool {
		x := found{row: health.Row{Slot: slot, Version: version, SlotTime: slotTime}}
		if was, known := of.seen[string(name)]; known && was.version == version {
			x.row.Name = was.name
		} else {
			if copied >= most {
				of.stale, of.partly = true, true
				return false
			}
			copied += len(value)
			x.row.Name, x.value = string(name), append([]byte{}, value...)
			of.seen[x.row.Name] = seen{x.row.Name, version}
		}
		all = append(all, x)
		return true
	})
	g, term, inc := m.Group, of.term, m.Incarnation()
	if of.partly {
		all = slices.DeleteFunc(all, func(x found) bool { return x.value == nil })
		d.mail.post(func(time.Duration) { d.keep(g, all) })
		return copied
	}
	if len(of.seen) > len(all) { // some are gone
		of.forget(all)
	}
	d.mail.post(func(now time.Duration) { d.take(now, g, inc, term, all) })
	return copied
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

// keep reads records of a look that did not come to the end.
func (d *assigning) keep(g raft.GroupID, part []found) {
	rows := d.groups[g]
	if rows == nil {
		rows = make(map[string]health.Row)
		d.groups[g] = rows
	}
	for i := range part {
		if row := d.row(g, rows, &part[i]); row.Service != nil {
			rows[row.Name] = row
		} else {
			delete(rows, row.Name)
		}
	}
}

// row returns a service as it was found, with what its record says. Its Service is nil if the record
// can't be read, or could not be when it was copied.
func (d *assigning) row(g raft.GroupID, known map[string]health.Row, x *found) health.Row {
	row := x.row
	if x.value == nil {
		row.Service = known[row.Name].Service
		return row
	}
	s, err := registry.Read(x.value)
	if err != nil {
		// Entries check what they write, so this is a record of a newer build, or damage.
		d.node.log.Error("service can't be read", "group", g, "service", row.Name, "version", row.Version, "err", err)
		return row
	}
	row.Service = s
	return row
}

// take hands the services of a group to the assigner.
func (d *assigning) take(now time.Duration, g raft.GroupID, inc raft.Incarnation, term uint64, all []found) {
	d.core.Lead(now, g, inc, term) // changes nothing if the assigner knows
	before := d.groups[g]
	rows, byName := make([]health.Row, 0, len(all)), make(map[string]health.Row, len(all))
	for i := range all {
		if row := d.row(g, before, &all[i]); row.Service != nil {
			rows, byName[row.Name] = append(rows, row), row
		}
	}
	d.groups[g] = byName
	d.core.Services(now, g, term, rows)
}
