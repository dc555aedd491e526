package plan

import (
	"fmt"
	"slices"
)

// writer turns what shall be into steps.
type writer struct {
	c    *cluster
	plan Plan
}

// view is a group while steps are carried out: which voters there are, and which
// of them answer.
type view map[Place]bool

func (v view) quorum() (q Quorum) {
	for _, live := range v {
		q.Voters++
		if live {
			q.Live++
		}
	}
	return q
}

// change puts In and Out of a step into v and fills in what it does to the quorum. It
// reports whether the group could decide throughout: it has to before, after, and in the
// joint configuration between, which wants a majority of each.
func (v view) change(s *Step) bool {
	s.Before = v.quorum()
	s.Joint = s.Before.Spare()
	if s.Kind == Promote || s.Kind == Remove {
		for _, p := range s.Out {
			delete(v, p)
		}
		if s.Kind == Promote {
			for _, p := range s.In {
				v[p] = true
			}
		}
		s.After = v.quorum()
		if s.After != s.Before || len(s.In) > 0 {
			s.Joint = min(s.Before.Spare(), s.After.Spare())
		}
	} else {
		s.After = s.Before
	}
	return s.Before.Spare() >= 0 && s.After.Voters > 0 && s.After.Spare() >= 0
}

func (w *writer) place(m member) Place {
	p := Place{Node: m.at, Replica: m.id, Name: m.at.String()}
	if m.node != nobody {
		p.Name = w.c.nodes[m.node].name
	}
	return p
}

func (w *writer) fresh(n int32) Place {
	return Place{Node: w.c.nodes[n].id, Name: w.c.nodes[n].name}
}

// group appends the steps of one group.
func (w *writer) group(g *group) {
	if g.fixed {
		return
	}
	c := w.c
	v := view{}
	var ins []int32
	var outs []member
	for _, m := range g.members {
		if !m.learner {
			v[w.place(m)] = m.counts
			if keep := m.wanted || m.node != nobody && slices.Contains(g.want, m.node); !keep || m.node == g.renew && g.renew != nobody {
				outs = append(outs, m)
			}
		}
	}
	// What is worst goes first: then the others move out of a group that is whole again.
	slices.SortStableFunc(outs, func(a, b member) int { return w.order(g, a) - w.order(g, b) })
	for _, n := range g.want {
		if !g.votes(n) || n == g.renew {
			ins = append(ins, n)
		}
	}
	slices.SortStableFunc(ins, func(a, b int32) int { return late(g, a) - late(g, b) })

	emit := func(s Step) bool {
		s.Group = g.row.ID
		if !v.change(&s) {
			c.problem(g, "wait until more of its voters are live", "can't go on without risk: %s", s.String())
			return false
		}
		w.plan.Steps = append(w.plan.Steps, s)
		return true
	}
	w.drop(g, emit)
	// The lead goes away before its replica does, if it can.
	led := g.prefer == g.began || g.prefer == nobody
	if !led && g.votes(g.prefer) && g.prefer != g.renew {
		if !emit(Step{Kind: Prefer, In: []Place{w.fresh(g.prefer)}, Why: w.whyLead(g)}) {
			return
		}
		led = true
	}
	if g.renew != nobody {
		i := slices.IndexFunc(outs, func(m member) bool { return m.node == g.renew })
		lost := outs[i]
		outs = slices.Delete(outs, i, i+1)
		ins = slices.DeleteFunc(ins, func(n int32) bool { return n == g.renew })
		why := c.blame(lost) + ", and no other node can take its place"
		ok := emit(Step{Kind: Remove, Out: []Place{w.place(lost)}, Why: why}) && w.bring(g, emit, []int32{g.renew}, nil, why)
		if !ok {
			return
		}
	}
	replace := func() bool {
		in, out := ins[0], outs[0]
		ins, outs = ins[1:], outs[1:]
		return w.bring(g, emit, []int32{in}, []member{out}, w.whyMove(g, in, out))
	}
	for len(ins) > 0 && len(outs) > 0 && !outs[0].counts {
		if !replace() {
			return
		}
	}
	// More voters come before what only moves: from then on the group survives more.
	if more := len(ins) - len(outs); more > 0 {
		if !w.bring(g, emit, ins[:more], nil, g.why) {
			return
		}
		ins = ins[more:]
	}
	for len(ins) > 0 && len(outs) > 0 {
		if !replace() {
			return
		}
	}
	if len(outs) > 0 {
		s := Step{Kind: Remove, Why: g.why}
		if s.Why == "" { // the number of voters is not to change: they are given up
			s.Why = c.blame(outs[0]) + ", and no other node can take its place"
		}
		for _, m := range outs {
			s.Out = append(s.Out, w.place(m))
		}
		if !emit(s) {
			return
		}
	}
	if !led && !emit(Step{Kind: Prefer, In: []Place{w.fresh(g.prefer)}, Why: w.whyLead(g)}) {
		return
	}
	if g.meta() {
		w.copies(g, emit)
	}
}

// order sorts voters that go: those that do not count, what must go, the rest.
func (w *writer) order(g *group, m member) int {
	switch {
	case !m.counts:
		return w.c.rank(m)
	case slices.ContainsFunc(g.bad, func(b member) bool { return b.id == m.id }):
		return 3
	}
	return 4
}

// late sorts new voters: learners that are there already come first.
func late(g *group, n int32) int {
	if m, ok := g.on(n); ok && m.learner {
		return 0
	}
	return 1
}

// drop removes learners that nobody needs any more. One on a node that is away for
// a moment is left until the group is whole.
func (w *writer) drop(g *group, emit func(Step) bool) {
	c := w.c
	for _, m := range g.members {
		if !m.learner || m.node != nobody && slices.Contains(g.want, m.node) {
			continue
		}
		why := ""
		switch {
		case m.node == nobody, !m.copy && (c.gone(m) || !c.nodes[m.node].stays), m.copy && m.state == Lost:
			why = c.blame(m)
		case !m.copy && g.whole:
			why = "the group has its voters without it"
		default:
			continue
		}
		emit(Step{Kind: Remove, Out: []Place{w.place(m)}, Why: why})
	}
}

// bring makes voters of ins, in place of outs. It reports false if the rest of the
// group has to wait.
func (w *writer) bring(g *group, emit func(Step) bool, ins []int32, outs []member, why string) bool {
	add, promote := Step{Kind: Add, Why: why}, Step{Kind: Promote, Why: why}
	for _, n := range ins {
		m, ok := g.on(n)
		switch {
		case !ok || !m.learner: // or it is removed just before
			add.In = append(add.In, w.fresh(n))
			add.Bytes += g.known.Bytes
			promote.In = append(promote.In, w.fresh(n))
		default:
			promote.In = append(promote.In, w.place(m))
		}
	}
	for _, m := range outs {
		promote.Out = append(promote.Out, w.place(m))
	}
	if len(add.In) > 0 {
		if !emit(add) {
			return false
		}
		if !g.meta() {
			w.plan.Moves += len(add.In)
			w.plan.Bytes += add.Bytes
		}
	}
	return emit(promote)
}

// copies gives a copy of the meta group to each live node that has none. A voter that
// goes remains as a copy, unless its promises are lost.
func (w *writer) copies(g *group, emit func(Step) bool) {
	for i := range w.c.nodes {
		n := int32(i)
		m, ok := g.on(n)
		if has := slices.Contains(g.want, n) || ok && m.state != Lost; has || !w.c.nodes[n].live {
			continue
		}
		emit(Step{Kind: Add, In: []Place{w.fresh(n)}, Bytes: g.known.Bytes, Why: "each node has a copy of the table"})
	}
}

func (w *writer) whyMove(g *group, in int32, out member) string {
	c := w.c
	if slices.ContainsFunc(g.bad, func(m member) bool { return m.id == out.id }) {
		return c.blame(out)
	}
	to, from := &c.nodes[in], &c.nodes[out.node]
	if g.zoned || g.meta() {
		return fmt.Sprintf("fewer of its voters are in one zone then: zone %q instead of %q", c.zones[to.zone], c.zones[from.zone])
	}
	if from.held <= to.held {
		return fmt.Sprintf("%s would hold more replicas than %s in the end", from.name, to.name)
	}
	return fmt.Sprintf("%s holds %d replicas, %s %d", from.name, from.held, to.name, to.held)
}

func (w *writer) whyLead(g *group) string {
	c := w.c
	to := &c.nodes[g.prefer]
	switch {
	case g.began == nobody:
		return "no node is preferred yet"
	case !c.nodes[g.began].stays:
		return c.nodes[g.began].name + " " + c.nodes[g.began].away
	case !slices.Contains(g.want, g.began) || g.began == g.renew:
		return "its replica on " + c.nodes[g.began].name + " goes"
	}
	from := &c.nodes[g.began]
	if from.led <= to.led {
		return fmt.Sprintf("%s would lead more groups than %s in the end", from.name, to.name)
	}
	return fmt.Sprintf("%s leads %d groups, %s %d", from.name, from.led, to.name, to.led)
}
