package repl

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"muster/raft"
	"muster/repl/wire"
)

// nextDials returns the next dials for a node, while none of them reaches anybody.
func nextDials(a *Addresses, id raft.NodeID, n int) (addrs []string) {
	for range n {
		addrs = append(addrs, a.Next(id))
	}
	return addrs
}

// What is known best is dialled first, and what anybody who knows the secret can
// say never before it; but it has its turn, and soon.
func TestAddressesInOrder(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(a *Addresses)
		want []string
	}{
		{"the table's", func(*Addresses) {}, []string{"t:1", "t:1"}},
		{"not known", func(a *Addresses) { a.nodes = map[raft.NodeID]*whereabouts{} }, []string{"", ""}},
		{"a claim", func(a *Addresses) { a.Claim(7, "c:1") }, []string{"t:1", "c:1", "t:1", "c:1"}},
		{"claims: the newest first, and not all", func(a *Addresses) {
			for i := range 10 {
				a.Claim(7, fmt.Sprintf("c:%d", i+1))
			}
		}, []string{"t:1", "c:10", "c:9", "t:1"}},
		{"what others say", func(a *Addresses) { a.Tell(7, "o:1"); a.Claim(7, "c:1") }, []string{"t:1", "c:1", "o:1", "t:1"}},
		{"where it was last, which it left", func(a *Addresses) {
			a.Claim(7, "f:1")
			a.Found(7, "f:1")
			a.Lost(7)
			a.Claim(7, "c:1")
		}, []string{"f:1", "t:1", "c:1", "f:1"}},
		{"a claim in the midst of a round", func(a *Addresses) {
			a.Tell(7, "o:1")
			a.Next(7)
			a.Claim(7, "c:1")
		}, []string{"c:1", "o:1", "t:1"}},
		{"a claim before the known address was tried", func(a *Addresses) {
			a.Tell(7, "o:1")
			nextDials(a, 7, 2) // one round
			a.Next(7)
			a.nodes[7].round = []string{"t:1", "o:1"}
			a.Claim(7, "c:1")
		}, []string{"t:1", "c:1", "o:1", "t:1"}},
		{"a node that comes back where it was", func(a *Addresses) {
			a.Tell(7, "o:1")
			a.Next(7)
			a.Claim(7, "t:1")
		}, []string{"t:1", "o:1", "t:1"}},
		{"a table that changed", func(a *Addresses) { a.Next(7); a.Know(7, "t:2") }, []string{"t:2", "t:2"}},
		{"this node's own address", func(a *Addresses) { a.Claim(7, "self:1") }, []string{"t:1", "t:1"}},
		{"where another node is", func(a *Addresses) { a.Claim(7, "t:8"); a.Found(8, "t:8") }, []string{"t:1", "t:1"}},
		{"where another node was", func(a *Addresses) { a.Claim(7, "t:8"); a.Found(8, "t:8"); a.Lost(8) }, []string{"t:1", "t:8"}},
		{"a hint", func(a *Addresses) { a.Elsewhere("t:8", 7, "h:1") }, []string{"t:1", "h:1", "t:1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := NewAddresses("self:1", nil)
			a.Know(7, "t:1")
			a.Know(8, "t:8")
			tt.do(a)
			if got := nextDials(a, 7, len(tt.want)); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// A seed is nobody's before somebody answers there. One is tried in each round,
// and those where another node is that is met already are left alone.
func TestSeeds(t *testing.T) {
	a := NewAddresses("self:1", []string{"s:1", "self:1", "s:2", "s:3"})
	a.Know(7, "t:1")
	a.Know(8, "t:8")
	if got, want := nextDials(a, 7, 6), []string{"t:1", "s:1", "t:1", "s:2", "t:1", "s:3"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	// At the first is the other node, which says so.
	if !a.Elsewhere("s:1", 8, "s:1") {
		t.Error("the node that answers at a seed is not dialled")
	}
	if got, want := nextDials(a, 8, 2), []string{"t:8", "s:1"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	a.Found(8, "s:1")
	a.Lost(7)
	if got, want := nextDials(a, 7, 4), []string{"t:1", "s:2", "t:1", "s:3"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := a.Addr(8); got != "s:1" {
		t.Errorf("the node found at a seed is at %q", got)
	}
	if got := a.Addr(7); got != "t:1" {
		t.Errorf("the node that was not found is at %q", got)
	}
	if got := a.Met(); len(got) != 1 || got[0] != (wire.NodeAddr{Node: 8, Addr: "s:1"}) {
		t.Errorf("met: %v", got)
	}
}

// A seed where a node answered that has moved since is tried for others again. One
// would doubt it: while that node is met, elsewhere, the seed seems to be its own.
func TestSeedOfANodeThatMoved(t *testing.T) {
	a := NewAddresses("self:1", []string{"s:1"})
	a.Know(7, "t:1")
	a.Know(8, "t:8")
	a.Found(8, "s:1")
	a.Lost(8)
	a.Found(8, "n:8")
	if got, want := nextDials(a, 7, 2), []string{"t:1", "s:1"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Whoever says hellos in a node's name, however many, with whatever addresses,
// can neither have it looked for there while it answers, nor keep it from being
// looked for where it was, nor have more kept than the bounds.
func TestFloodOfClaims(t *testing.T) {
	a := NewAddresses("self:1", nil)
	a.Know(7, "t:1")
	a.Tell(7, "o:1")
	a.Found(7, "t:1")
	for i := range 1000 {
		if a.Claim(7, fmt.Sprintf("c:%d", i+1)) {
			t.Fatal("a claim has a node dialled that is connected")
		}
	}
	a.Lost(7)
	known, told := 0, 0
	for i := range 1000 {
		switch a.Next(7) {
		case "t:1":
			known++
		case "o:1":
			told++
		}
		for j := range 10 {
			a.Claim(7, fmt.Sprintf("c:%d", 10*i+j+1))
			a.Claim(7, "t:1")
			a.Tell(7, fmt.Sprintf("x:%d", 10*i+j+1))
			a.Elsewhere("t:1", 7, fmt.Sprintf("h:%d", 10*i+j+1))
		}
	}
	if w := a.nodes[7]; len(w.claimed) > claimedMax || len(w.told) > toldMax || len(w.hinted) > hintedMax || len(w.round) > 2+claimedMax+toldMax+hintedMax+claimedMax+1 {
		t.Errorf("kept: %+v", w)
	}
	if known < 1000/(2+claimedMax+toldMax+hintedMax+claimedMax+1) {
		t.Errorf("of 1000 dials %d went where the node is known to be", known)
	}
	// Nodes that are not known are not remembered.
	a.Claim(9, "c:1")
	a.Tell(10, "c:1")
	a.Elsewhere("t:1", 11, "c:1")
	if len(a.nodes) != 1 {
		t.Errorf("%d nodes are known, want 1", len(a.nodes))
	}
}

// world is hosts at addresses, without network: a dial reaches whoever is there.
type world struct {
	wrong string
	rnd   *rand.Rand
	hosts []*worldHost
	at    map[string]int // who listens where: an index of hosts; -1: a liar
	fresh int            // the last address that was made up
	lured int            // dials of liars' addresses
}

type worldHost struct {
	id        raft.NodeID
	addr      string
	table     map[raft.NodeID]string // on its disk
	addresses *Addresses             // of this life; nil: it is down
}

func (w *world) newAddr() string {
	w.fresh++
	return fmt.Sprintf("10.0.0.%d:4166", w.fresh)
}

// boot starts a host at its address, with seeds.
func (w *world) boot(h *worldHost, seeds []string) {
	h.addresses = NewAddresses(h.addr, seeds)
	for id, addr := range h.table {
		if id != h.id {
			h.addresses.Know(id, addr)
		}
	}
	for i, o := range w.hosts {
		if o == h {
			w.at[h.addr] = i
		}
	}
}

func (w *world) down(h *worldHost) {
	delete(w.at, h.addr)
	h.addresses = nil
	for _, o := range w.hosts {
		if o.addresses != nil {
			o.addresses.Lost(h.id)
		}
	}
}

// dial has a host dial another one once, as the transport does.
func (w *world) dial(h, to *worldHost) {
	addr := h.addresses.Next(to.id)
	i, ok := w.at[addr]
	switch {
	case addr == "" || !ok:
		return // refused
	case i < 0:
		w.lured++
		return // it says what it likes, and proves nothing
	}
	other := w.hosts[i]
	if other == h {
		w.wrong = "a host dials its own address " + addr
	}
	if other != to {
		h.addresses.Elsewhere(addr, other.id, other.addr)
		return
	}
	h.addresses.Found(to.id, addr)
	to.addresses.Claim(h.id, h.addr)
	for _, n := range h.addresses.Met() {
		if n.Node != to.id {
			to.addresses.Tell(n.Node, n.Addr)
			if o := w.host(n.Node); o.addresses != nil {
				o.addresses.Tell(to.id, addr)
			}
		}
	}
}

func (w *world) host(id raft.NodeID) *worldHost {
	for _, h := range w.hosts {
		if h.id == id {
			return h
		}
	}
	return nil
}

func (h *worldHost) meets(o *worldHost) bool { return h.addresses.nodes[o.id].at != "" }

// Hosts stop and start, one, several or all, under new addresses, under their
// old ones and under those of each other, while liars claim addresses in their
// names. As long as each that starts is told where the others are to be by
// then, or they stayed where they were, all meet; and nobody ever takes an
// address at which a host is not for that host's. One would doubt it: what each
// has on disk is old, and in different ways.
func TestHostsThatMoveMeet(t *testing.T) {
	for seed := range uint64(1000) {
		if wrong := worldRun(seed); wrong != "" {
			t.Fatalf("seed %d: %s", seed, wrong)
		}
	}
}

// worldRun is one small world. It tells what went wrong in it.
func worldRun(seed uint64) string {
	w := &world{rnd: rand.New(rand.NewPCG(seed, 7)), at: make(map[string]int)}
	n := 2 + w.rnd.IntN(4)
	for i := range n {
		w.hosts = append(w.hosts, &worldHost{id: raft.NodeID(i + 1), addr: w.newAddr()})
	}
	table := make(map[raft.NodeID]string)
	for _, h := range w.hosts {
		table[h.id] = h.addr
	}
	for _, h := range w.hosts {
		h.table = table
		w.boot(h, nil)
	}
	liar := w.newAddr()
	w.at[liar] = -1
	seeds := func() (all []string) {
		for _, h := range w.hosts {
			all = append(all, h.addr)
		}
		w.rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		return append(all, liar)
	}
	wrong := ""
	step := func() {
		h, o := w.hosts[w.rnd.IntN(n)], w.hosts[w.rnd.IntN(n)]
		if h == o || h.addresses == nil || o.addresses == nil && h.meets(o) {
			return
		}
		if w.rnd.IntN(4) == 0 {
			h.addresses.Claim(o.id, liar)
		}
		if !h.meets(o) {
			w.dial(h, o)
		}
		if addr := h.addresses.nodes[o.id].at; addr != "" && (o.addresses == nil || addr != o.addr) {
			wrong = fmt.Sprintf("host %d is taken to be at %s, and is at %s", o.id, addr, o.addr)
		}
	}
	for range 5 {
		var moved []*worldHost
		for _, h := range w.hosts {
			if w.rnd.IntN(2) == 0 {
				w.down(h)
				moved = append(moved, h)
			}
		}
		switch w.rnd.IntN(3) {
		case 0: // back where they were
		case 1:
			for _, h := range moved {
				h.addr = w.newAddr()
			}
		case 2: // at each other's
			for i := range moved {
				j := w.rnd.IntN(len(moved))
				moved[i].addr, moved[j].addr = moved[j].addr, moved[i].addr
			}
		}
		for range w.rnd.IntN(50) {
			step()
		}
		for _, h := range moved {
			w.boot(h, seeds())
		}
		for range w.rnd.IntN(50) {
			step()
		}
	}
	for range 4000 {
		step()
	}
	if w.wrong != "" || wrong != "" {
		return w.wrong + wrong
	}
	for _, h := range w.hosts {
		for _, o := range w.hosts {
			if h != o && !h.meets(o) {
				return fmt.Sprintf("host %d at %s does not find %d at %s; it knows %+v", h.id, h.addr, o.id, o.addr, *h.addresses.nodes[o.id])
			}
		}
	}
	// A liar has its turn while a host is looked for, and never all of them.
	if w.lured > 3000 {
		return fmt.Sprintf("liars were dialled %d times", w.lured)
	}
	return ""
}
