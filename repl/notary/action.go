package notary

import (
	"fmt"
	"time"

	"muster/raft"
	"muster/repl/trust"
	"muster/repl/wire"
	"muster/shardmap"
)

// ActionKind says what the owner is to do.
type ActionKind uint8

const (
	// Propose: put Payload, a command, into the meta group's log, and wait until it is applied.
	Propose ActionKind = 1
	// Draw: draw a wrapping key, and keep it in memory. The result has its id.
	Draw ActionKind = 2
	// Store: write WrapKey, which was drawn, into a file, and sync it.
	Store ActionKind = 3
	// MakeRoot: make a root, and wrap its key with WrapKey. The result has all but its state.
	MakeRoot ActionKind = 4
	// Hand: give WrapKey to Node, a voter of the meta group, and wait until it holds it.
	Hand ActionKind = 5
	// Fetch: get WrapKey from Node, a voter of the meta group, and store it as Store does.
	Fetch ActionKind = 6
	// Sign: make the certificate that Request asks for, under Root. The result has its serial
	// number and end.
	Sign ActionKind = 7
	// Answer: answer Request, with Refusal or else with what was signed last or, to an order,
	// with Root. It has no end.
	Answer ActionKind = 8
	// Renew: ask Node, which leads the meta group or may know who does, for a certificate of this node, and store it.
	Renew ActionKind = 9
	// Wish: ask Node for the first user's certificate, and store it.
	Wish ActionKind = 10
	// Tell: tell Node which certificate is here (Serial), and which table (Index).
	Tell ActionKind = 11
	// Drop: remove the file of WrapKey, unless this node votes in the meta group by then.
	Drop ActionKind = 12
)

func (k ActionKind) String() string {
	names := [...]string{Propose: "propose", Draw: "draw", Store: "store", MakeRoot: "make root", Hand: "hand", Fetch: "fetch", Sign: "sign", Answer: "answer", Renew: "renew", Wish: "wish", Tell: "tell", Drop: "drop"}
	if int(k) < len(names) && names[k] != "" {
		return names[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Action is one thing that the owner is to do.
type Action struct {
	Number  uint64 // larger than that of each action before
	Kind    ActionKind
	Payload []byte
	Node    raft.NodeID
	Addr    string // of Renew: where Node is, by another member's word; empty: where the owner knows it to be
	WrapKey shardmap.WrapKeyID
	Root    shardmap.RootID
	Request uint64 // the owner's number
	Refusal *wire.Error
	Life    time.Duration // of Sign: how long the certificate is to be good
	Host    trust.Host    // of Sign: that it is to name
	Serial  shardmap.Serial
	Index   uint64
}

// Result is how an action has ended.
type Result struct {
	Err      error
	WrapKey  shardmap.WrapKeyID // of Draw
	Root     shardmap.Root      // of MakeRoot: ID, DER, Wrapped, WrapKey
	Serial   shardmap.Serial    // of Sign
	NotAfter int64              // of Sign
	Lacks    bool               // of Fetch, with Err: the node has said that it does not hold the key
}

// actionMax is how long an action may take until it counts as failed: longer than the owner
// waits.
const actionMax = 5 * time.Second

// flight is an action that has not ended.
type flight struct {
	kind    ActionKind
	key     string // of what it is about, if there may be one such at a time
	node    raft.NodeID
	wrapKey shardmap.WrapKeyID
	root    shardmap.RootID
	host    trust.Host
	request uint64
	until   time.Duration // when it counts as failed
}

// desk is what a core has under way.
type desk struct {
	said    map[string]*said // what was proposed
	retry   map[string]time.Duration
	flights map[uint64]*flight
	actions []Action
	number  uint64
	next    time.Duration // when Turn is to be called again at the latest
}

// clear forgets what is under way. Numbers are not used again.
func (d *desk) clear() {
	d.said = make(map[string]*said)
	d.retry = make(map[string]time.Duration)
	d.flights = make(map[uint64]*flight)
}

// wake has Turn called at a time.
func (d *desk) wake(at time.Duration) { d.next = min(d.next, at) }

// begin numbers an action and hands it out with the next Turn. There is none while one
// of the same key is under way, or has failed shortly before. It reports whether there is.
func (d *desk) begin(now Now, key string, a Action) bool {
	if at, ok := d.retry[key]; ok && now.Host < at {
		d.wake(at)
		return false
	}
	for _, f := range d.flights {
		if f.key == key {
			return false
		}
	}
	d.number++
	a.Number = d.number
	d.flights[a.Number] = &flight{kind: a.Kind, key: key, node: a.Node, wrapKey: a.WrapKey, root: a.Root, host: a.Host, request: a.Request, until: now.Host + actionMax}
	d.actions = append(d.actions, a)
	return true
}

// answer answers a request, or an order.
func (d *desk) answer(request uint64, refusal *wire.Error) {
	d.number++
	d.actions = append(d.actions, Action{Number: d.number, Kind: Answer, Request: request, Refusal: refusal})
}

// expire ends actions whose time is over. What became of them is not known.
func (c *Core) expire(now time.Duration) {
	for n, f := range c.flights {
		if now >= f.until {
			c.end(now, n, Result{Err: errNoAnswer})
		}
	}
}

// Ended says how an action has ended.
func (c *Core) Ended(now Now, number uint64, r Result) { c.end(now.Host, number, r) }

func (c *Core) end(now time.Duration, number uint64, r Result) {
	f := c.flights[number]
	if f == nil {
		return // of another time of leading, or it counted as failed
	}
	delete(c.flights, number)
	delete(c.retry, f.key)
	if r.Err != nil {
		c.retry[f.key] = now + retryAgain
	}
	switch f.kind {
	case Propose:
		c.proposed(now, f.key, r.Err)
	case Draw:
		if r.Err == nil {
			c.drawn = r.WrapKey
		}
	case Store:
		if r.Err == nil {
			c.held[f.wrapKey] = true
		}
	case Fetch:
		if r.Err == nil {
			c.held[f.wrapKey] = true
			c.keeps(f.wrapKey, f.node)
		} else if r.Lacks {
			lacks(c, f.wrapKey, f.node)
		}
	case Hand:
		if r.Err == nil {
			c.keeps(f.wrapKey, f.node)
		}
	case MakeRoot:
		if r.Err == nil && c.root == nil {
			c.root = &r.Root
		}
	case Sign:
		c.signed(f, &r)
	}
}

// said is a command that was proposed, and whose effect is awaited.
type said struct {
	index uint64        // of the table by which it was decided
	until time.Duration // when it is said again if nothing has changed
	open  bool          // it has not ended
	err   error         // how it has ended, if it was refused
}

// The subjects of proposals. At most one proposal of each is under way.
const (
	sayMode = "mode"
	sayRoot = "root"
)

// propose puts a command into the meta group's log, unless one about the same is under way.
func (c *Core) propose(now Now, about string, payload []byte) {
	c.proposeAt(now, c.table.Index, about, payload)
}

// proposeAt is propose by the table of an index.
func (d *desk) proposeAt(now Now, index uint64, about string, payload []byte) {
	if s := d.said[about]; s != nil {
		if s.open {
			return
		}
		if index == s.index && now.Host < s.until {
			d.wake(s.until)
			return
		}
	}
	if d.begin(now, "propose "+about, Action{Kind: Propose, Payload: payload}) {
		d.said[about] = &said{index: index, open: true}
	}
}

// proposed says that a proposal has ended. An error leaves open what became of it, unless the
// table has refused it.
func (d *desk) proposed(now time.Duration, key string, err error) {
	if s := d.said[key[len("propose "):]]; s != nil {
		s.open, s.until, s.err = false, now+retryAgain, err
	}
}

// saying reports whether a command about something is under way, as far as is known: the table
// may still take one that has ended without an answer.
func (d *desk) saying(now Now, about string) bool {
	s := d.said[about]
	if s == nil || !s.open && now.Host >= s.until {
		return false
	}
	if !s.open {
		d.wake(s.until)
	}
	return true
}
