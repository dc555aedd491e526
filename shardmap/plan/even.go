package plan

import (
	"cmp"
	"slices"
)

// even moves replicas from nodes with many to nodes with few until no two differ by
// more than one, or nothing more is possible.
//
// The sum of squares of the nodes' loads falls with each move, and where no chain
// of moves lowers it further it is as small as it can be: groups, zones and nodes
// form a flow network whose costs are convex. What makes the moves few is that
// each chain is the cheapest, where a replica that is new anyway costs nothing.
func (c *cluster) even() {
	e := evener{
		c: c, at: make([]int, len(c.nodes)), stuck: make([]bool, len(c.nodes)), ways: make([]ways, 1),
		dist: make([]int32, len(c.nodes)), from: make([]hop, len(c.nodes)), done: make([]bool, len(c.nodes)),
	}
	if len(c.zones) <= zonesListed {
		e.ways = make([]ways, len(c.zones))
	}
	for i := range c.nodes {
		if c.nodes[i].takes {
			e.order = append(e.order, int32(i))
		}
	}
	slices.SortStableFunc(e.order, func(a, b int32) int { return cmp.Compare(c.nodes[a].load(), c.nodes[b].load()) })
	for i, n := range e.order {
		e.at[n] = i
	}
	// First what costs nothing: where a replica was begun, or is new anyway, another one
	// may go in its place. Only what is uneven then is worth a replica more, and so a plan
	// for a cluster in which another plan was begun has what is left of that.
	e.most = 0
	e.rounds()
	e.most = 1
	e.rounds()
}

// rounds goes on until nothing moves any more. A move may open a way for a node that had
// none, so those are asked again. After few rounds what is left is not worth the search.
func (e *evener) rounds() {
	for round, moved := 0, true; round < evenRounds && moved; round++ {
		clear(e.stuck)
		moved = e.round()
	}
}

// zonesListed is the most zones for which each node's ways are listed apart. With few,
// a zone is often closed to all groups of a node, and its nodes need not be asked. With
// many hardly any is, and listing would cost more than asking.
const zonesListed = 16

// evenRounds bounds how often nodes without a way out are asked again.
const evenRounds = 4

type evener struct {
	c     *cluster
	order []int32 // nodes that take, the least loaded first
	at    []int   // where a node stands in order
	stuck []bool
	most  int32  // replicas that one move may cost
	ways  []ways // of the node that is looked at: by zone, or all in one

	// Of one search, by node.
	dist []int32
	from []hop
	done []bool
}

// ways are the groups of one node that may move, to a zone where they are no less spread
// if zones are listed: those with replicas that are new anyway, and the others.
type ways struct{ new, old []*group }

// hop is a move of a group's replica from a node.
type hop struct {
	node  int32
	group *group
}

const far = 1 << 30

// move moves g from x to y, and keeps the nodes in order: each changes places with
// the last, or first, of those that were as loaded as it was.
func (e *evener) move(g *group, x, y int32) {
	c := e.c
	last, _ := slices.BinarySearchFunc(e.order, c.nodes[y].load()+1, func(n int32, load int) int { return cmp.Compare(c.nodes[n].load(), load) })
	e.swap(e.at[y], last-1)
	c.place(g, y)
	first, _ := slices.BinarySearchFunc(e.order, c.nodes[x].load(), func(n int32, load int) int { return cmp.Compare(c.nodes[n].load(), load) })
	e.swap(e.at[x], first)
	c.unplace(g, x)
}

func (e *evener) swap(i, j int) {
	e.order[i], e.order[j] = e.order[j], e.order[i]
	e.at[e.order[i]], e.at[e.order[j]] = i, j
}

// round goes on until each node is even or stuck; it reports whether anything moved
// while some node was stuck.
func (e *evener) round() (again bool) {
	for {
		x := nobody
		for i := len(e.order) - 1; i >= 0; i-- {
			if n := e.order[i]; !e.stuck[n] {
				x = n
				break
			}
		}
		if x == nobody || e.c.nodes[x].load() < e.c.nodes[e.order[0]].load()+2 {
			return again
		}
		if e.direct(x) || e.chain(x) {
			again = again || slices.Contains(e.stuck, true)
		}
	}
}

// look finds the ways that lead away from u. Zones are asked once for each group, so
// that nodes which can't take anything cost nothing.
func (e *evener) look(u int32) {
	c := e.c
	for z := range e.ways {
		e.ways[z].new, e.ways[z].old = e.ways[z].new[:0], e.ways[z].old[:0]
	}
	for _, g := range c.nodes[u].groups {
		if !c.movable(g, u) {
			continue
		}
		crowd := c.same(g, c.nodes[u].zone, u)
		moved := slices.ContainsFunc(g.want, func(n int32) bool { return !g.home(n) })
		for z := range e.ways {
			c.work++
			if len(e.ways) > 1 && c.same(g, z, u) > crowd {
				continue
			}
			if w := &e.ways[z]; moved {
				w.new = append(w.new, g)
			} else {
				w.old = append(w.old, g)
			}
		}
	}
}

// to returns the ways that lead to v.
func (e *evener) to(v int32) *ways {
	if len(e.ways) == 1 {
		return &e.ways[0]
	}
	return &e.ways[e.c.nodes[v].zone]
}

// open reports whether g, one of the ways from u, may go to v.
func (e *evener) open(g *group, u, v int32) bool {
	return e.c.free(g, v) && (len(e.ways) > 1 || e.c.spreads(g, u, v))
}

// cost is what it takes to have g's replica on y instead of x: replicas to be made
// more, or fewer.
func cost(g *group, x, y int32) int32 {
	k := int32(0)
	if !g.home(y) {
		k++
	}
	if !g.home(x) {
		k--
	}
	return k
}

// direct looks for one move from x to the least loaded node that can take one: first
// of what is new anyway, then of what there is the least to send.
func (e *evener) direct(x int32) bool {
	c := e.c
	limit := c.nodes[x].load() - 2
	e.look(x)
	for most := range e.most + 1 {
		for _, y := range e.order {
			if c.nodes[y].load() > limit {
				break
			}
			var found *group
			w := e.to(y)
			for _, list := range [...][]*group{w.new, w.old} {
				for _, g := range list {
					if cost(g, x, y) <= most && e.open(g, x, y) && (found == nil || lighter(g, found, x)) {
						found = g
					}
				}
				if most == 0 {
					break // the others cost
				}
			}
			if found != nil {
				e.move(found, x, y)
				return true
			}
		}
	}
	return false
}

// lighter reports whether it is better to take g from x than other.
func lighter(g, other *group, x int32) bool {
	led := func(g *group) int {
		if g.prefer == x {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(led(g), led(other)), cmp.Compare(g.known.Bytes, other.known.Bytes), cmp.Compare(g.row.ID, other.row.ID)) < 0
}

// may reports whether g's replica may go from x to y.
func (e *evener) may(g *group, x, y int32) bool {
	c := e.c
	return c.movable(g, x) && c.free(g, y) && c.spreads(g, x, y)
}

// chain looks for the cheapest way from x over other nodes, which hand on as many as
// they get. What it has reached when it finds none is stuck too, if it is no more
// loaded: it would find no more.
func (e *evener) chain(x int32) bool {
	c := e.c
	for i := range e.dist {
		e.dist[i] = far
	}
	clear(e.done)
	e.dist[x] = 0
	// Costs are of -1 to 1; taken as 0 or 1 each, two levels are open at a time.
	level, next := []int32{x}, []int32(nil)
	for d := int32(0); len(level) > 0; d++ {
		for len(level) > 0 {
			u := level[0]
			level = level[1:]
			if e.done[u] {
				continue
			}
			e.done[u] = true
			if c.nodes[u].load() <= c.nodes[x].load()-2 {
				e.follow(x, u)
				return true
			}
			e.look(u)
			for _, v := range e.order {
				w := e.to(v)
				for _, g := range w.new {
					if e.dist[v] <= d {
						break
					}
					k := max(cost(g, u, v), 0)
					if at := d + k; k <= e.most && at < e.dist[v] && e.open(g, u, v) {
						e.dist[v], e.from[v] = at, hop{u, g}
						if at == d {
							level = append(level, v)
						} else {
							next = append(next, v)
						}
					}
				}
				for _, g := range w.old {
					if e.dist[v] <= d+1 || e.most < 1 {
						break // each of these costs one
					}
					if e.open(g, u, v) {
						e.dist[v], e.from[v] = d+1, hop{u, g}
						next = append(next, v)
					}
				}
			}
		}
		level, next = next, nil
	}
	for u, done := range e.done {
		if done && c.nodes[u].load() <= c.nodes[x].load() {
			e.stuck[u] = true
		}
	}
	return false
}

// follow carries out the chain that ends at y, from its end, so that each node has room.
// A group may stand in it twice; the move that is made first can forbid the other, and
// then the chain ends there, with the nodes behind it even less loaded.
func (e *evener) follow(x, y int32) {
	for y != x {
		h := e.from[y]
		if !slices.Contains(h.group.want, h.node) || !e.may(h.group, h.node, y) {
			e.stuck[x] = true
			return
		}
		e.move(h.group, h.node, y)
		y = h.node
	}
}
