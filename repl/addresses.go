package repl

import (
	"slices"

	"muster/raft"
	"muster/repl/wire"
)

// Bounds of what is kept of one node's whereabouts. What is claimed without
// proof must neither grow nor push out what is known better.
const (
	// claimedMax bounds the addresses that hellos in a node's name gave, and
	// how many of them are dialled out of turn in one round.
	claimedMax = 2
	// toldMax bounds those that other members gave.
	toldMax = 2
	// hintedMax bounds those that somebody gave who was dialled for another
	// node and has proven nothing.
	hintedMax = 2
)

// Addresses decides where a node looks for the others. It is a synchronous
// core: what is heard of addresses goes in, the address to dial next comes out.
//
// Whoever knows the secret can say a hello in any node's name. So an address is
// used only once this node has dialled it and found the node there, and the
// ones that are known already are tried first: a claim can't lead away from a
// node that answers where it was. While there is a connection nothing else is
// dialled at all.
//
// One round of attempts goes through all that is known of a node, best first:
// where it was found last; where the table has it, or the founding; what it, or
// somebody in its name, said in a hello; what other members said; what whoever
// answered at a wrong address said; and one of the seeds of --join, by turns.
type Addresses struct {
	own   string
	seeds []seed
	turn  int // the seed that is due
	nodes map[raft.NodeID]*whereabouts
}

// seed is an address at which some member may be.
type seed struct {
	addr string
	node raft.NodeID // that answered there last; 0: nobody did
}

// whereabouts is what is known of where one node is.
type whereabouts struct {
	at      string   // where there is a connection to it; empty: there is none
	found   string   // where it proved itself last
	table   string   // where the table has it
	claimed []string // newest first, as the next two
	told    []string
	hinted  []string

	round    []string // to be dialled before the next round begins
	hastened int      // claims that were put into this round out of turn
}

// NewAddresses knows no node yet. own is where this node is; seeds are where
// members may be.
func NewAddresses(own string, seeds []string) *Addresses {
	a := &Addresses{own: wire.NormalAddr(own), nodes: make(map[raft.NodeID]*whereabouts)}
	for _, s := range seeds {
		if s = wire.NormalAddr(s); s != a.own {
			a.seeds = append(a.seeds, seed{addr: s})
		}
	}
	return a
}

// Know takes the address that the table has of a node, or the founding. What is
// said of nodes that are not known so is not kept. It reports whether the
// address is another one than before.
func (a *Addresses) Know(id raft.NodeID, addr string) (changed bool) {
	addr = wire.NormalAddr(addr)
	w := a.nodes[id]
	if w == nil {
		w = &whereabouts{}
		a.nodes[id] = w
	}
	if w.table == addr {
		return false
	}
	w.table, w.round = addr, nil
	return true
}

// Forget forgets a node that is no member any more.
func (a *Addresses) Forget(id raft.NodeID) {
	delete(a.nodes, id)
	for i := range a.seeds {
		if a.seeds[i].node == id {
			a.seeds[i].node = 0 // somebody else may answer there
		}
	}
}

// Claim takes an address that a hello in a node's name gave. It reports whether
// the node should be dialled now.
func (a *Addresses) Claim(id raft.NodeID, addr string) bool {
	w := a.nodes[id]
	if w == nil || addr == "" {
		return false
	}
	addr = wire.NormalAddr(addr)
	if bug("address of a hello used") {
		w.at, w.found = addr, addr
	}
	if !w.trusts(addr) {
		w.claimed = remember(w.claimed, addr, claimedMax)
	}
	if w.at != "" {
		return false
	}
	w.hasten(addr)
	return true
}

// Tell takes an address at which another member has found a node. It reports
// whether the node should be dialled now.
func (a *Addresses) Tell(id raft.NodeID, addr string) bool {
	w := a.nodes[id]
	if w == nil || addr == "" {
		return false
	}
	addr = wire.NormalAddr(addr)
	if !w.trusts(addr) {
		w.told = remember(w.told, addr, toldMax)
	}
	if w.at != "" {
		return false
	}
	w.hasten(addr)
	return true
}

// Next returns the address at which a node is to be dialled now; empty: none
// is known that could be its.
func (a *Addresses) Next(id raft.NodeID) string {
	w := a.nodes[id]
	if w == nil {
		return ""
	}
	for range 2 { // what is left of this round, and the next one
		for len(w.round) > 0 {
			addr := w.round[0]
			w.round = w.round[1:]
			if addr != "" && addr != a.own && !a.others(id, addr) {
				return addr
			}
		}
		w.round, w.hastened = a.newRound(id, w), 0
	}
	return ""
}

func (a *Addresses) newRound(id raft.NodeID, w *whereabouts) []string {
	var round []string
	add := func(addrs ...string) {
		for _, addr := range addrs {
			if !slices.Contains(round, addr) {
				round = append(round, addr)
			}
		}
	}
	add(w.found, w.table)
	add(w.claimed...)
	add(w.told...)
	add(w.hinted...)
	add(a.nextSeed(id))
	return round
}

// nextSeed returns the seed whose turn it is, but for those where a node is that
// is met already: it would say so once more.
func (a *Addresses) nextSeed(id raft.NodeID) string {
	for range a.seeds {
		s := a.seeds[a.turn]
		a.turn = (a.turn + 1) % len(a.seeds)
		if w := a.nodes[s.node]; w == nil || s.node == id || w.at == "" {
			return s.addr
		}
	}
	return ""
}

// others reports whether there is a connection to another node at addr.
func (a *Addresses) others(id raft.NodeID, addr string) bool {
	for other, w := range a.nodes {
		if other != id && w.at == addr {
			return true
		}
	}
	return false
}

// Found notes that a node proved itself at addr, and that there is a connection
// to it.
func (a *Addresses) Found(id raft.NodeID, addr string) {
	w := a.nodes[id]
	if w == nil {
		return
	}
	addr = wire.NormalAddr(addr)
	w.at, w.found, w.round = addr, addr, nil
	w.claimed = slices.DeleteFunc(w.claimed, w.trusts)
	w.told = slices.DeleteFunc(w.told, w.trusts)
	w.hinted = nil
	a.answered(addr, id)
}

// Elsewhere notes that at addr, where a node was dialled, one answered that
// says it is other, reached at otherAddr. It has proven nothing. It reports
// whether other should be dialled now.
func (a *Addresses) Elsewhere(addr string, other raft.NodeID, otherAddr string) bool {
	addr, otherAddr = wire.NormalAddr(addr), wire.NormalAddr(otherAddr)
	a.answered(addr, other)
	w := a.nodes[other]
	if w == nil || otherAddr == "" || w.at != "" {
		return false
	}
	if w.trusts(otherAddr) {
		return false // its turn comes anyway
	}
	w.hinted = remember(w.hinted, otherAddr, hintedMax)
	w.hasten(otherAddr)
	return true
}

// answered notes who was at a seed.
func (a *Addresses) answered(addr string, id raft.NodeID) {
	for i := range a.seeds {
		if a.seeds[i].addr == addr {
			a.seeds[i].node = id
		}
	}
}

// Lost notes that the connection to a node has ended. Another node may be at the
// seeds where it answered, if it has moved.
func (a *Addresses) Lost(id raft.NodeID) {
	w := a.nodes[id]
	if w == nil {
		return
	}
	w.at, w.round = "", nil
	for i := range a.seeds {
		if a.seeds[i].node == id {
			a.seeds[i].node = 0
		}
	}
}

// Addr returns where a node is as far as is known: where it was found last, or
// where the table has it.
func (a *Addresses) Addr(id raft.NodeID) string {
	w := a.nodes[id]
	switch {
	case w == nil:
		return ""
	case w.found != "":
		return w.found
	}
	return w.table
}

// Met returns the nodes to which there is a connection, and where, by id. It is
// what this node can tell the others.
func (a *Addresses) Met() []wire.NodeAddr {
	var met []wire.NodeAddr
	for id, w := range a.nodes {
		if w.at != "" {
			met = append(met, wire.NodeAddr{Node: id, Addr: w.at})
		}
	}
	slices.SortFunc(met, func(x, y wire.NodeAddr) int {
		if x.Node < y.Node {
			return -1
		}
		return 1
	})
	return met
}

// trusts reports whether an address is one that is dialled before all claims.
func (w *whereabouts) trusts(addr string) bool { return addr == w.found || addr == w.table }

// hasten has an address dialled before its turn, but never before those that are
// trusted and still to be tried. A flood of claims can't put off the end of the
// round, behind which these come again.
func (w *whereabouts) hasten(addr string) {
	if len(w.round) == 0 || w.hastened >= claimedMax {
		return // the next round has it
	}
	w.hastened++
	at := 0
	for !w.trusts(addr) && at < len(w.round) && w.trusts(w.round[at]) {
		at++
	}
	w.round = slices.DeleteFunc(w.round, func(r string) bool { return r == addr })
	w.round = slices.Insert(w.round, min(at, len(w.round)), addr)
}

// remember puts addr in front of a list of at most most.
func remember(list []string, addr string, most int) []string {
	list = slices.DeleteFunc(list, func(l string) bool { return l == addr })
	list = slices.Insert(list, 0, addr)
	return list[:min(len(list), most)]
}
