package notary

import (
	"errors"
	"slices"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

const (
	// never is a time that does not come.
	never = time.Duration(1<<63 - 1)
	// RequestsMax bounds the requests that wait for a certificate: as many as a cluster may
	// have nodes, which may all want theirs at once.
	RequestsMax = shardmap.TableNodesMax
	// requestMax is how long a request waits. Who asks waits a little longer (node's callTimeout).
	requestMax = 2500 * time.Millisecond
	// Retry is after how long somebody asks again who got no certificate yet.
	Retry = 200 * time.Millisecond
	// retryAgain is the pause before a step that has failed is taken again.
	retryAgain = time.Second
)

// Now is what the clocks of the owner show.
type Now struct {
	Host time.Duration // monotonic
	Wall int64         // Unix seconds. It may be wrong: see docs/security.md
}

// Core decides for the cluster, where the meta group is led. It must be used by one goroutine at
// a time.
type Core struct {
	self  raft.NodeID
	table *shardmap.Table // nil before the first
	leads bool

	held    map[shardmap.WrapKeyID]bool                 // in files here, synced
	drawn   shardmap.WrapKeyID                          // that is to be in a file; zero: none
	keepers map[shardmap.WrapKeyID]map[raft.NodeID]bool // which voters have said that they hold it
	lacking map[shardmap.WrapKeyID]map[raft.NodeID]bool // which voters have said that they don't, last
	root    *shardmap.Root                              // that was made, and is not in the table yet
	first   map[shardmap.RootID]uint64                  // the table in which a root was seen first
	told    map[raft.NodeID]told                        // what members say that they have

	requests []*request // that wait, in the order in which they came
	orders   []*order

	turns int // of whom to ask for a key
	desk      // what is under way
}

// told is what a member says that it has.
type told struct {
	serial shardmap.Serial
	index  uint64 // of the table by which it trusts
}

// New makes the core of a node.
func New(self raft.NodeID) *Core {
	c := &Core{self: self, held: make(map[shardmap.WrapKeyID]bool)}
	c.forget()
	return c
}

// forget drops all that is of one time of leading.
func (c *Core) forget() {
	c.drawn, c.root = shardmap.WrapKeyID{}, nil
	c.keepers = make(map[shardmap.WrapKeyID]map[raft.NodeID]bool)
	c.lacking = make(map[shardmap.WrapKeyID]map[raft.NodeID]bool)
	c.first = make(map[shardmap.RootID]uint64)
	c.told = make(map[raft.NodeID]told)
	c.clear()
}

// Lead says whether the meta group is led here, with an entry of this term applied.
func (c *Core) Lead(leads bool) {
	if leads == c.leads {
		return
	}
	c.leads = leads
	c.forget()
	c.see()
	if leads {
		return
	}
	for _, r := range c.requests {
		c.answer(r.Number, notLeading())
	}
	for _, o := range c.orders {
		c.answer(o.number, notLeading())
	}
	c.requests, c.orders = nil, nil
}

// Leads reports whether the meta group is led here.
func (c *Core) Leads() bool { return c.leads }

// Table hands in a table.
func (c *Core) Table(t *shardmap.Table) {
	c.table = t
	c.see()
}

// see notes since when roots are known. What members say of the tables that they have is
// compared with that.
func (c *Core) see() {
	if c.table == nil {
		return
	}
	voters := c.voters()
	for _, held := range c.keepers {
		for n := range held {
			if !slices.Contains(voters, n) {
				delete(held, n) // it removes its keys, and may come back
			}
		}
	}
	for _, r := range c.table.Security.Roots {
		if _, ok := c.first[r.ID]; !ok {
			c.first[r.ID] = c.table.Index
		}
		if c.root != nil && c.root.ID == r.ID {
			c.root = nil
		}
		if c.drawn == r.WrapKey {
			c.drawn = shardmap.WrapKeyID{}
		}
	}
}

// Held says which wrapping keys are in files here, and synced.
func (c *Core) Held(keys []shardmap.WrapKeyID) {
	clear(c.held)
	for _, k := range keys {
		c.held[k] = true
	}
}

// Told takes what a member says that it has: the certificate in its file, and the table by which
// it trusts others.
func (c *Core) Told(n raft.NodeID, serial shardmap.Serial, index uint64) {
	if c.leads {
		c.told[n] = told{serial, index}
	}
}

// Turn returns what is to be done now, and when it is to be called again at the latest.
func (c *Core) Turn(now Now) ([]Action, time.Duration) {
	c.next = never
	c.expire(now.Host)
	if c.leads && c.table != nil && c.table.Founded() {
		c.decide(now)
	}
	for _, f := range c.flights {
		c.wake(f.until)
	}
	actions := c.actions
	c.actions = nil
	return actions, c.next
}

// decide looks at everything, and remembers nothing of the last time but what is under way.
func (c *Core) decide(now Now) {
	c.obey(now)
	if c.table.Security.Mode != shardmap.SecurityOff {
		c.keep(now)
		c.roots(now)
	}
	c.serve(now)
	if c.table.Security.Mode == shardmap.SecurityBoth {
		c.advance(now)
	}
}

// advance ends the time in which the secret still opens the cluster, once each member has a
// certificate, and somebody can administer the cluster by one.
func (c *Core) advance(now Now) {
	s := &c.table.Security
	issuing, ok := s.Issuing()
	administered := s.Administered() || len(s.Users) > 0 && bug("TLS only before anybody may administer")
	if !ok || !administered || !c.kept(issuing.WrapKey) {
		return
	}
	if slices.ContainsFunc(c.requests, func(r *request) bool { return r.forNode() && r.wants != nil }) {
		return // a pin is on its way, and its certificate is not where it belongs
	}
	for i := range c.table.Nodes {
		id := c.table.Nodes[i].ID
		pin, ok := s.Pin(id)
		if !ok || pin.Root != issuing.ID {
			return
		}
		// A pin says that a certificate was made. Only the member can say that it has it: the
		// answer may have been lost, and then nothing but the secret lets the member in.
		if c.told[id].serial != pin.Serial && !bug("TLS only before all have certificates") {
			return
		}
	}
	c.propose(now, sayMode, must(shardmap.AppendSetTLSMode(nil, &shardmap.SetTLSMode{Mode: shardmap.SecurityOnly})))
}

// renewed reports whether all members have a certificate of the issuing root.
func (c *Core) renewed(issuing *shardmap.Root) bool {
	for i := range c.table.Nodes {
		if pin, ok := c.table.Security.Pin(c.table.Nodes[i].ID); !ok || pin.Root != issuing.ID {
			return false
		}
	}
	return true
}

// errNoAnswer is how an action ends that nobody answered.
var errNoAnswer = errors.New("no answer")

func notLeading() *wire.Error {
	return wire.NotReady("certificate", "the node leads the meta group no longer", "ask again in a moment", Retry)
}

// must is the bytes of a command, which the appending functions of this level always make.
func must(b []byte, err error) []byte {
	if err != nil {
		panic("a command of the notary can't be written: " + err.Error())
	}
	return b
}
