package sim

import (
	"fmt"
	"slices"
	"time"

	"muster/repl"
	"muster/repl/standing"
	"muster/repl/wire"
	"muster/shardmap"
)

// findWithin bounds how long nodes that have moved, or did not hear where others went,
// take until each has found all others: a round of dials goes through all addresses that
// are known for a node, and one more seed, with a pause of up to redialMax after each
// dial.
const findWithin = 60 * time.Second

// whereabouts is where a node is, and where its process looks for the others, which
// [repl.Addresses] decides, as in package repl's peers. A node sends nothing to another
// that it has not found.
//
// Connections matter only after a node has moved: one that was found counts as found
// until it moves, even if its links are cut.
type whereabouts struct {
	n     *node
	addr  string   // where the node is dialled
	seeds []string // of --join, as it was last given

	// Of the process.
	core  *repl.Addresses
	found [nodesMax + 1]bool
	dials [nodesMax + 1]uint64 // counts the dials that were planned for a node: only the newest is made
}

// begin starts a process. It knows the others from the founding, the table and the seeds.
// It finds one at once if that is where it looks first.
func (w *whereabouts) begin() {
	w.core = repl.NewAddresses(w.addr, w.seeds)
	w.found = [nodesMax + 1]bool{}
	for _, o := range w.n.c.nodes {
		if o != w.n {
			w.core.Know(o.id, addrOf(o.id))
		}
	}
	w.follow(w.n.known.table)
	for _, o := range w.n.c.nodes {
		if o == w.n {
			continue
		}
		if w.core.Next(o.id) == o.where.addr {
			w.found[o.index] = true
			w.core.Found(o.id, o.where.addr)
			continue
		}
		w.dialIn(o.index, w.n.c.chance.skewed(redialMin, redialMax))
	}
}

// follow takes over the addresses of a table.
func (w *whereabouts) follow(t *shardmap.Table) {
	if t == nil || w.core == nil {
		return
	}
	for i := range t.Nodes {
		if line := &t.Nodes[i]; line.ID != w.n.id && w.core.Know(line.ID, line.Addr) && !w.found[line.ID] {
			w.dialIn(int(line.ID), redialMin)
		}
	}
}

// move gives the node another address. Nodes that had found it have to look for it.
func (w *whereabouts) move(addr string) {
	w.n.c.note(w.n.index, "moves from %s to %s", w.addr, addr)
	w.addr = addr
	for _, o := range w.n.c.nodes {
		if o != w.n && o.up && o.where.found[w.n.index] {
			o.where.found[w.n.index] = false
			o.where.core.Lost(w.n.id)
			o.where.dialIn(w.n.index, w.n.c.chance.skewed(redialMin, redialMax))
		}
	}
}

// reaches reports whether what the node sends to another reaches it.
func (w *whereabouts) reaches(to int) bool {
	return w.found[to] && w.n.c.net.works(w.n.index, to) && w.n.creds.linked(to)
}

// asks reports whether the node can ask another one as a client does. A certificate that has ended is good for that, if
// its key is pinned.
func (w *whereabouts) asks(o *node) bool {
	x := &w.n.c.security
	return w.found[o.index] && w.n.c.net.works(w.n.index, o.index) && (!x.active || x.handshake(w.n, o).kind >= standing.Renewer)
}

// dialIn plans a dial of a node, in place of one that was planned.
func (w *whereabouts) dialIn(node int, d time.Duration) {
	w.dials[node]++
	e := w.n.event(evDial)
	e.from, e.number = int32(node), w.dials[node]
	w.n.c.after(d, e)
}

// dial looks for a node at the next address where it may be.
func (w *whereabouts) dial(e *event) {
	c, to := w.n.c, w.n.c.nodes[e.from-1]
	if w.found[to.index] || e.number != w.dials[to.index] {
		return
	}
	addr := w.core.Next(to.id)
	at := nodeAt(c.nodes, addr)
	switch {
	case at == nil || !at.up || at.paused || !c.net.works(w.n.index, at.index) || !c.net.works(at.index, w.n.index):
	case at == to:
		w.meet(to)
		return
	case w.core.Elsewhere(addr, at.id, at.where.addr):
		w.dialIn(at.index, redialMin)
	}
	w.dialIn(to.index, c.chance.skewed(redialMin, redialMax))
}

// meet takes a dial that found its node. That node hears a hello, and both hear of
// others, as [repl.Peers] tells them.
func (w *whereabouts) meet(to *node) {
	w.found[to.index] = true
	w.core.Found(to.id, to.where.addr)
	w.n.c.note(w.n.index, "finds n%d at %s", to.index, to.where.addr)
	w.n.host.PeerReached(to.id)
	w.n.c.net.dial(w.n.index, to.index)
	var others []wire.NodeAddr
	for _, m := range w.core.Met() {
		if m.Node != to.id {
			others = append(others, m)
			w.n.post.sendBody(m.Node, wire.TypeAddresses, &wire.Addresses{Nodes: []wire.NodeAddr{{Node: to.id, Addr: to.where.addr}}})
		}
	}
	if len(others) > 0 {
		w.n.post.sendBody(to.id, wire.TypeAddresses, &wire.Addresses{Nodes: others})
	}
}

// claim takes the address in the hello of a node that dialled this one.
func (w *whereabouts) claim(from *node) {
	if w.core.Claim(from.id, from.where.addr) {
		w.dialIn(from.index, redialMin)
	}
}

// told takes another member's word on where nodes are.
func (w *whereabouts) told(nodes []wire.NodeAddr) {
	for _, o := range nodes {
		if o.Node != w.n.id && w.core.Tell(o.Node, o.Addr) {
			w.dialIn(int(o.Node), redialMin)
		}
	}
}

// nodeAt returns which of some nodes is dialled at an address, or nil.
func nodeAt(nodes []*node, addr string) *node {
	for _, n := range nodes {
		if n.where.addr == addr {
			return n
		}
	}
	return nil
}

// haveMet reports whether each running node of a list has found all the others that run.
func haveMet(nodes []*node) bool {
	for _, n := range nodes {
		for _, o := range nodes {
			if n != o && n.up && o.up && !n.where.found[o.index] {
				return false
			}
		}
	}
	return true
}

// move makes one node, some or all stop and come back at other addresses: new ones, or
// each other's. It reports whether one did.
//
// The first node that moves finds the others where the founding had them. Later movers
// get the present addresses with --join, with strangers among them: of any two nodes, the
// one that moved last was told where the other is. Its table may be out of date, and all
// nodes that know better may be away for good.
func (x *chaos) move() bool {
	c, rnd := x.c, &x.c.chance
	var movers []*node
	switch rnd.below(3) {
	case 0:
		if n := x.victim(); n != nil {
			movers = []*node{n}
		}
	case 1:
		which := rnd.part(len(c.nodes))
		for i, n := range c.nodes {
			if which>>i&1 != 0 && !n.dead {
				movers = append(movers, n)
			}
		}
	default:
		movers = slices.DeleteFunc(slices.Clone(c.nodes), func(n *node) bool { return n.dead })
	}
	if len(movers) == 0 {
		return false
	}
	first := len(movers) == 1 && !slices.ContainsFunc(c.nodes, func(n *node) bool {
		return n != movers[0] && !n.dead && n.where.addr != addrOf(n.id)
	})
	power := x.power()
	for _, n := range movers {
		n.crash(power)
	}
	addrs := make([]string, len(movers))
	for i, n := range movers {
		x.moves++
		addrs[i] = fmt.Sprintf("%s-%d:1", nameOf(n.id), x.moves)
	}
	// A host that is no member yet keeps its address to itself: a member that took it, and
	// died with it, would rightly keep the host out.
	t := c.newestTable()
	strange := func(n *node) bool {
		if t == nil {
			return false
		}
		_, ok := t.Node(n.id)
		return !ok
	}
	if len(movers) > 1 && rnd.below(3) == 0 && !slices.ContainsFunc(movers, strange) {
		for i := range movers {
			addrs[i] = movers[(i+1)%len(movers)].where.addr
		}
	}
	for i, n := range movers {
		n.where.move(addrs[i])
	}
	for _, n := range movers {
		n.where.seeds = nil
		if !first {
			n.where.seeds = x.drawSeeds(n)
		}
	}
	return true
}

// drawSeeds returns the present addresses of all others, in any order, with addresses
// among them where no node is.
func (x *chaos) drawSeeds(n *node) []string {
	rnd := &x.c.chance
	var seeds []string
	add := func(addr string) { seeds = slices.Insert(seeds, rnd.below(len(seeds)+1), addr) }
	for _, o := range x.c.nodes {
		if o != n {
			add(o.where.addr)
		}
	}
	for i := range rnd.below(3) {
		add(fmt.Sprintf("stranger%d", i+1))
	}
	return seeds
}
