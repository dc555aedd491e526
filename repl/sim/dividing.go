package sim

import (
	"time"

	"muster/raft"
	"muster/repl/quota"
	"muster/repl/wire"
)

// countPause is what lies between two times at which a node counts keys, as in node/dividing.go.
const countPause = 5 * time.Millisecond

// dividing keeps the cluster within the limits of prefixes, as node/dividing.go does: its cores are the real ones. What
// a divider asks of other nodes is lost, late, or done twice.
type dividing struct {
	n *node

	// Of the process.
	core     quota.Divider
	groups   quota.Groups
	counting bool   // it goes on to count after a pause
	planned  uint64 // numbers the turns that were planned: only the newest is taken
}

// begin is the start of a process.
func (d *dividing) begin() {
	d.core, d.groups, d.counting = quota.Divider{}, quota.Groups{}, false
	d.plan(0)
}

// led is told by the host when the lead of a group comes here, or goes: then term is 0.
func (d *dividing) led(g raft.GroupID, term uint64) {
	if g != 0 {
		d.groups.Led(g, term)
		return
	}
	d.core.Lead(term)
	d.plan(0)
}

func (d *dividing) plan(after time.Duration) {
	if !d.n.c.limits.active {
		return
	}
	d.planned++
	number := d.planned
	d.n.soon(after, func() {
		if number == d.planned {
			d.turn()
		}
	})
}

// turn lets the divider act on what has happened.
func (d *dividing) turn() {
	if d.core.Follow(d.n.known.kept()) {
		d.count()
	}
	now := d.n.ticks.now()
	asks, next := d.core.Turn(now)
	for i := range asks {
		d.ask(&asks[i])
	}
	if next != quota.Never {
		d.plan(max(next-now, time.Millisecond))
	}
}

// count has some keys counted, and comes again until all replicas here have counted all.
func (d *dividing) count() {
	if t := d.n.known.kept(); d.counting || t == nil || d.groups.Count(t, d.replica) {
		return
	}
	d.counting = true
	d.n.soon(countPause, func() {
		d.counting = false
		d.count()
	})
}

// replica returns the node's replica of a group; nil if there is none.
func (d *dividing) replica(g raft.GroupID) quota.Group {
	if w, ok := d.n.host.Machine(g).(*watched); ok {
		return w.state
	}
	return nil
}

// ask asks a node, and brings the answer back.
func (d *dividing) ask(a *quota.Ask) {
	n, c := d.n, d.n.c
	o, body, life := c.nodes[a.To-1], a.Body.Append(nil), n.life
	if o == n {
		n.soon(0, func() { d.took(n.id, d.answer(body)) })
		return
	}
	times, lost, late := fate(c)
	there := o.life
	for range times {
		c.order.call(c.net.latency()+late/2, func() {
			if !o.up || o.life != there || !n.where.reaches(o.index) {
				return
			}
			o.soon(0, func() {
				answer := o.divides.answer(body)
				if !lost && o.where.reaches(n.index) {
					n.inLife(life, c.net.latency()+late/2, func() { d.took(o.id, answer) })
				}
			})
		})
	}
}

// answer takes what a divider says, and returns what the groups have that are led here.
func (d *dividing) answer(body []byte) []byte {
	var m wire.Usage
	if err := m.Read(body); err != nil {
		d.n.c.fail("n%d is asked for what it has of limits: %v", d.n.index, err)
	}
	a, heard := d.groups.Answer(d.n.ticks.now(), &m, d.replica)
	if heard {
		d.count() // there may be a replica that was made lately, or restored
	}
	return a.Append(nil)
}

// took hands the answer of a node to the divider.
func (d *dividing) took(from raft.NodeID, body []byte) {
	var a wire.UsageAnswer
	if err := a.Read(body); err != nil {
		d.n.c.fail("n%d answers what it has of limits: %v", from, err)
	}
	d.core.Took(from, &a)
	d.plan(0)
}
