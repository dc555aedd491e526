package client

import (
	"time"

	"muster/raft"
	"muster/shardmap"
)

// Core decides where each request goes, when it is tried again, and when it is
// given up. It is a state machine: events in, actions out. It starts no
// goroutine, reads no clock and draws no chance but from [Config.Chance]; every
// time is handed in, as the duration since the client was opened. The same
// events give the same actions.
//
// # Duties of the owner
//
//  1. Hand in what happened, one event at a time: [Core.Submit],
//     [Core.Refused], [Core.Lost], [Core.Unanswered], [Core.Unsent], [Core.Crowded],
//     [Core.Expire], [Core.Cancel] for a call; [Core.Accepted], [Core.Connected],
//     [Core.Disconnected] for a peer; [Core.Table], [Core.TableFailed] for a
//     question after the table; [Core.Tick] once [Core.Wake] has come.
//  2. After each event carry out [Core.Take], in order.
//  3. A call belongs to the core from the event that hands it in until an
//     action hands it out, by [ActSend] or [ActFinish]. An answer that is no
//     error ends a call without the core.
//  4. When a connection ends, hand in Disconnected first and then one Lost for
//     each call that was on it.
type Core struct {
	config Config

	peers  []*peer
	byID   map[raft.NodeID]Peer
	groups map[raft.GroupID]*group

	known     bool // Invariant: set once a table was seen, never cleared
	epoch     uint64
	cluster   uint64
	slots     [shardmap.Slots]raft.GroupID
	valueMax  int
	connected bool // some peer was up once, in this client's life

	wanted     bool // a newer table than ours is wanted
	asked      Peer // whom the question after it is with; NoPeer if none is
	askAfter   time.Duration
	askFails   int
	askTurn    int
	dialAfter  time.Duration // no further peer is dialled just to have one before
	tableCause error         // why the last question after the table gave none

	parked  park
	tickets uint64
	chance  uint64

	routes *Routes // nil when it has to be made again
	out    []Action
}

// Config is what a core is made of.
type Config struct {
	// Endpoints are the addresses that the user named, the first preferred.
	Endpoints []string
	// Chance seeds the jitter of the pauses.
	Chance uint64
	// Patience is how long a call waits while no endpoint accepts a
	// connection, and none ever has.
	Patience time.Duration
	// Crowded, if there is one, says whether c would be refused as crowded if
	// it were sent to p now: it spares the way there and back. Called within
	// events; the same events give the same actions if it gives the same.
	Crowded func(now time.Duration, p Peer, c *Call) bool
}

// The pauses and limits of the core.
const (
	// RetryMax is how long a write is tried. A server remembers outcomes for
	// twice as long, so no retry can be taken for a new write.
	RetryMax = 5 * time.Minute
	// PauseMin and PauseMax bound the pause before a call is tried again; it
	// doubles between them. An election takes one to two seconds: long
	// enough for a pause to grow, short enough that PauseMax matters.
	PauseMin = 10 * time.Millisecond
	PauseMax = 500 * time.Millisecond
	// crowdedPauses is how many pauses a call is taken to have had that is not
	// sent for want of room, at least and at most: the next takes 40 to 80 ms,
	// later ones 160 to 320, so that the room is soon taken that comes.
	crowdedPauses, crowdedPausesMax = 3, 5
	// HopsMax is how many hints a call follows without a pause. Two are
	// needed when a leader changes under way; more is a circle.
	HopsMax = 3
	// TablePauseMin is the least time between two questions after the table:
	// an answer serves all who waited.
	TablePauseMin = 20 * time.Millisecond
	// DialStagger is how long one peer is dialled before the next is too, as
	// long as none is connected.
	DialStagger = 250 * time.Millisecond
	// RedialMax bounds the pause before a peer is dialled again.
	RedialMax = 2 * time.Second
	// PatienceDefault is Config.Patience where none is given: a node that is
	// started again accepts connections within it.
	PatienceDefault = 3 * time.Second
)

// Peer names one node inside a core: its place in the core's list. It is not
// used again for another.
type Peer int32

// NoPeer is nobody.
const NoPeer Peer = -1

// Target says who can answer a call.
type Target uint8

const (
	// ToSlot is for the leader of the group that owns Call.Slot.
	ToSlot Target = iota
	// ToGroup is for the leader of Call.Group. An answer that the group's
	// slots changed ends the call, for its caller planned with them.
	ToGroup
	// ToPeer is for Call.Peer alone.
	ToPeer
	// ToAny is for any node.
	ToAny
	// ToTable is for nobody: the call ends once the core has a table of at
	// least Call.Epoch.
	ToTable
)

// Call is the core's part of one request. Its first fields are set by the owner
// before [Core.Submit]; the rest is the core's.
type Call struct {
	// Owner is the owner's own; the core does not look at it.
	Owner  any
	Target Target
	// Write says that an attempt without an answer may have been applied.
	Write bool
	Slot  shardmap.Slot
	Group raft.GroupID
	Peer  Peer
	Epoch uint64
	// ValueBytes is the largest value that is to be set.
	ValueBytes int
	// Deadline ends the call; it is in the time of the core's events.
	Deadline time.Duration
	// Maybe says that an attempt went out whose fate is not known.
	Maybe bool

	ticket uint64
	begun  time.Duration
	waited bool // Config.Patience is over
	wake   time.Duration
	place  int // in the park; -1 outside
	on     parkedOn
	onPeer Peer
	turn   int // counts the attempts, to take another replica each time
	pauses int
	hops   int
	cause  error // why the last attempt gave no result
}

// ActionKind says what the owner is to do.
type ActionKind uint8

const (
	// ActSend sends the call's bytes, the same each time, to Peer.
	ActSend ActionKind = iota + 1
	// ActFinish ends the call with Err; nil for a call to the table.
	ActFinish
	// ActDial connects to Peer at Addr; Connected or Disconnected follows,
	// Accepted may come before.
	ActDial
	// ActHangUp closes the connection to Peer; Disconnected does not follow.
	ActHangUp
	// ActAsk asks Peer for the table; Table or TableFailed follows.
	ActAsk
)

// Action is one thing to do.
type Action struct {
	Kind ActionKind
	Peer Peer
	Call *Call
	Addr string
	Err  error
}

// Routes says where a write goes while nothing is wrong. It is never changed
// once it is given out.
type Routes struct {
	Epoch    uint64
	ValueMax int // 0 while no table was seen
	Group    [shardmap.Slots]raft.GroupID
	Peer     [shardmap.Slots]Peer // NoPeer where no leader is known
}

// group is what the core knows of a group.
type group struct {
	leader Peer // Invariant: never an alias of another peer
	nodes  []Peer
}

// NewCore returns a core that knows only its endpoints.
func NewCore(c Config) *Core {
	if c.Patience <= 0 {
		c.Patience = PatienceDefault
	}
	k := &Core{
		config: c,
		byID:   make(map[raft.NodeID]Peer),
		groups: make(map[raft.GroupID]*group),
		asked:  NoPeer,
		chance: c.Chance,
	}
	for _, addr := range c.Endpoints {
		k.addPeer(addr)
	}
	return k
}

// Take returns the actions since it was last called.
func (k *Core) Take() []Action {
	out := k.out
	k.out = nil
	return out
}

// Routes returns the routes as they are now.
func (k *Core) Routes() *Routes {
	if k.routes != nil {
		return k.routes
	}
	r := &Routes{Epoch: k.epoch, ValueMax: k.valueMax, Group: k.slots}
	for s := range r.Peer {
		r.Peer[s] = NoPeer
		if g := k.groups[r.Group[s]]; g != nil {
			r.Peer[s] = g.leader
		}
	}
	k.routes = r
	return r
}

// Submit hands in a new call, or one whose last fate is settled.
func (k *Core) Submit(now time.Duration, c *Call) {
	k.adopt(now, c)
	k.route(now, c)
}

// adopt gives c a ticket when the core sees it first. While nothing is wrong a
// call is routed by [Routes] and never seen here.
func (k *Core) adopt(now time.Duration, c *Call) {
	if c.ticket == 0 {
		k.tickets++
		c.ticket, c.begun, c.place, c.onPeer = k.tickets, now, -1, NoPeer
	}
}

// Wake returns when Tick is due; false if nothing waits for a time.
func (k *Core) Wake() (time.Duration, bool) {
	at, ok := k.parked.first()
	if k.wanted && k.asked == NoPeer && k.parked.len() > 0 && (!ok || k.askAfter < at) {
		at, ok = k.askAfter, true
	}
	return at, ok
}

// Tick says that it is now.
func (k *Core) Tick(now time.Duration) {
	for _, c := range k.parked.due(now) {
		k.route(now, c)
	}
	if k.wanted && k.parked.len() > 0 {
		k.ask(now)
	}
}

// Cancel ends a call that waits in the core; false if it does not.
func (k *Core) Cancel(c *Call) bool {
	if !k.parked.remove(c) {
		return false
	}
	k.expire(c)
	return true
}

// Expire ends a call that was taken off its connection unanswered, or (not
// sent) before it was put on one.
func (k *Core) Expire(now time.Duration, c *Call, sent bool) {
	k.adopt(now, c)
	if sent && c.Write {
		c.Maybe = true
	}
	k.expire(c)
}

// FinishAll ends every call that waits in the core.
func (k *Core) FinishAll(err error) {
	for _, c := range k.parked.all() {
		k.finish(c, err)
	}
}

func (k *Core) send(p Peer, c *Call) {
	k.out = append(k.out, Action{Kind: ActSend, Peer: p, Call: c})
}

func (k *Core) finish(c *Call, err error) {
	if c.Maybe && err != nil && !settles(err) {
		err = maybeApplied(c, err)
	}
	k.out = append(k.out, Action{Kind: ActFinish, Call: c, Err: err})
}

// random returns a number below n from the core's chance (splitmix64).
func (k *Core) random(n time.Duration) time.Duration {
	k.chance += 0x9e3779b97f4a7c15
	z := k.chance
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return time.Duration((z ^ z>>31) % uint64(n))
}

// pause returns how long c waits before it is tried again: twice as long each
// time, and between half and all of that, so that calls that were refused
// together do not come back together.
func (k *Core) pause(c *Call) time.Duration {
	d := PauseMin << min(c.pauses, 8)
	if d > PauseMax {
		d = PauseMax
	}
	c.pauses++
	c.hops = 0
	return d/2 + k.random(d/2+1)
}
