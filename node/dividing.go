package node

import (
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"muster/raft"
	"muster/repl"
	"muster/repl/machine"
	"muster/repl/quota"
	"muster/repl/wire"
	"muster/shardmap"
)

// Limits of the questions by which the meta group's leader divides limits.
const (
	usageMax      = 2 * time.Second
	usageSilence  = usageMax + time.Second
	usagesMax     = 16
	usageBytesMax = 4 << 20
)

const (
	// countPause is what lies between two times at which keys are counted.
	countPause = 5 * time.Millisecond
	// staleAfter is how old what was heard may be and still count as known.
	staleAfter = 10 * time.Second
	// nearLimit is the part of a limit from which on doctor warns.
	nearLimit = 0.8
)

// dividing keeps the cluster within the limits of prefixes: it drives the divider of this node, answers those of
// other nodes for the groups that are led here, and has the replicas here count.
type dividing struct {
	node *Node
	mail mailbox // for run
	ways ways

	divides atomic.Bool // the meta group is led here
	// heard is what the divider of the cluster said last; nil: nothing yet.
	heard atomic.Pointer[heardLimits]

	groups quota.Groups // owned by the goroutine that owns the host

	// Owned by run.
	core     quota.Divider
	number   uint64                 // of the last question
	asked    map[uint64]raft.NodeID // questions on their way
	counting bool                   // a group is being counted, or to be
	countAt  time.Duration
}

// heardLimits is what a divider has said of the limits.
type heardLimits struct {
	at     time.Time
	limits []wire.UsageLimit
}

func (d *dividing) init(n *Node) {
	d.node, d.mail = n, newMailbox()
	d.asked = make(map[uint64]raft.NodeID)
	d.ways.node, d.ways.what = n, "questions about limits"
	d.ways.within, d.ways.silence, d.ways.bytesMax, d.ways.questionsMax = usageMax, usageSilence, usageBytesMax, usagesMax
	d.ways.took, d.ways.over = d.took, func(_ raft.NodeID, q pending, _ error) {
		d.mail.post(func(time.Duration) { delete(d.asked, q.number) })
	}
}

// led is told by the host when the lead of a group comes here, or goes: then term is 0.
func (d *dividing) led(g raft.GroupID, term uint64) {
	if g != 0 {
		d.groups.Led(g, term)
		return
	}
	d.divides.Store(term != 0)
	d.mail.post(func(time.Duration) { d.core.Lead(term) })
}

// run owns the divider.
func (d *dividing) run() {
	n := d.node
	loop := n.running()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for d.mail.wait(n.ctx, timer) {
		now := loop.Now()
		for _, f := range d.mail.take() {
			f(now)
		}
		if d.core.Follow(n.table.Load()) {
			d.counting = true
		}
		if d.counting && now >= d.countAt {
			d.counting, d.countAt = false, now+countPause
			loop.Post(d.count)
		}
		asks, next := d.core.Turn(now)
		for _, a := range asks {
			d.ask(loop, a)
		}
		if d.counting {
			next = min(next, d.countAt)
		}
		timer.Reset(next - loop.Now())
	}
}

// replicasOf returns how a host's replica of a group is found.
func replicasOf(h *repl.Host) func(raft.GroupID) quota.Group {
	return func(g raft.GroupID) quota.Group {
		if on, ok := h.Machine(g).(*machine.Map); ok {
			return on
		}
		return nil
	}
}

// count has some keys counted, and comes again until all replicas here have counted all.
func (d *dividing) count(h *repl.Host) {
	if t := d.node.table.Load(); t != nil && !d.groups.Count(t, replicasOf(h)) {
		d.mail.post(func(time.Duration) { d.counting = true })
	}
}

// ask begins to ask a node. What is lost is asked again.
func (d *dividing) ask(loop *repl.Loop, a quota.Ask) {
	if self := d.node.self().Node; a.To == self {
		now := loop.Now()
		loop.Post(func(h *repl.Host) {
			ans := d.answer(h, now, a.Body)
			d.mail.post(func(time.Duration) { d.core.Took(self, &ans) })
		})
		return
	}
	d.number++
	size := 64 * (len(a.Body.Limits) + len(a.Body.Limits)*len(a.Body.Orders))
	if d.ways.send(a.To, question{pending: pending{number: d.number}, kind: wire.TypeUsage, body: a.Body, size: size}) == nil {
		d.asked[d.number] = a.To
	}
}

// took hands the answer of another node to the divider.
func (d *dividing) took(number uint64, t wire.Type, body []byte) error {
	if err := errorIn(t, body); err != nil {
		return err
	}
	if t != wire.TypeUsageAnswer {
		return fmt.Errorf("answer of type %s", t)
	}
	a := new(wire.UsageAnswer)
	if err := a.Read(body); err != nil {
		return err
	}
	d.mail.post(func(time.Duration) {
		if from, ok := d.asked[number]; ok {
			d.core.Took(from, a)
		}
	})
	return nil
}

// answer takes what a divider says, and returns what the groups have that are led here.
func (d *dividing) answer(h *repl.Host, now time.Duration, m *wire.Usage) wire.UsageAnswer {
	a, heard := d.groups.Answer(now, m, replicasOf(h))
	if heard {
		d.heard.Store(&heardLimits{at: time.Now(), limits: m.Limits})
		d.mail.post(func(time.Duration) { d.counting = true }) // there may be a replica that was made lately, or restored
	}
	return a
}

// usage returns the limits of the table, with what there is of each as far as this node has
// heard, and how long ago it did.
func (d *dividing) usage(t *shardmap.Table) (list []wire.UsageLimit, age time.Duration) {
	heard := d.heard.Load()
	if heard != nil {
		age = time.Since(heard.at)
	}
	stale := age > staleAfter
	for _, l := range t.Security.Limits {
		w := wire.UsageLimit{Prefix: l.Prefix}
		if heard != nil {
			if i, ok := slices.BinarySearchFunc(heard.limits, l.Prefix, func(w wire.UsageLimit, p string) int {
				if w.Prefix < p {
					return -1
				} else if w.Prefix > p {
					return 1
				}
				return 0
			}); ok {
				w = heard.limits[i]
			}
		}
		most := wire.UsageAmount{l.Keys, l.Bytes, uint64(l.Rate)}
		w.Known = w.Known && !stale && w.Most == most // else it is of a limit that was changed since
		w.Most = most
		list = append(list, w)
	}
	return list, age
}

// near tells which prefixes are near their limits. One node says it, for all.
func (d *dividing) near(t *shardmap.Table) (list []wire.Problem) {
	if !d.divides.Load() {
		return nil
	}
	limits, _ := d.usage(t)
	for _, l := range limits {
		for k, what := range [...]string{"keys", "bytes"} {
			if most, used := l.Most[k], l.Used[k]; l.Known && most > 0 && float64(used) >= nearLimit*float64(most) {
				list = append(list, wire.Problem{What: fmt.Sprintf("prefix %q has %d %s, the limit is %d, and what would exceed it is refused", l.Prefix, used, what, most),
					Remedy: fmt.Sprintf("delete what is no longer needed, or raise the limit: muster namespace limit %s --%s N", l.Prefix, what)})
			}
		}
	}
	return list
}

// takeUsage answers a divider, or a client that wants to see the limits.
func takeUsage(c *connection, h wire.Header, r repl.Reply, body []byte) {
	q := new(wire.Usage)
	if !readRequest(c, h, r, body, q) {
		return
	}
	loop, table := c.ready(r)
	if loop == nil {
		return
	}
	d := &c.node.dividing
	if q.Term == 0 {
		list, age := d.usage(table)
		a := wire.UsageAnswer{Limits: list, Age: uint64(age.Milliseconds())}
		c.answerNow(r, wire.TypeUsageAnswer, a.Append(nil))
		return
	}
	if c.standing != wire.SenderMember {
		c.refuse(r, wire.Unauthorized("limits of prefixes", "they are divided by "+c.standing.String(), "send a term of 0 to see them; only the leader of the meta group divides them"))
		return
	}
	if byMember(c, r) == nil {
		return
	}
	now := loop.Now()
	loop.Post(func(h *repl.Host) {
		a := d.answer(h, now, q)
		c.answerNow(r, wire.TypeUsageAnswer, a.Append(nil))
	})
}
