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
//     [Core.Expire], [Core.ExpireUnsent], [Core.Cancel], [Call.Progressed] for a call; [Core.Accepted], [Core.Connected],
//     [Core.Disconnected] for a peer; [Core.Table], [Core.TableFailed] for a
//     question after the table; [Core.Pushed], [Core.Unfollowed] for a stream of it; [Core.Tick] once [Core.Wake] has come.
//  2. After each event carry out [Core.Take], in order.
//  3. A call belongs to the core from the event that hands it in until an
//     action hands it out, by [ActSend] or [ActFinish]. An answer that is no
//     error ends a call without the core.
//  4. When a connection ends, hand in Disconnected first and then one Lost for
//     each call that was on it.
type Core struct {
	config Config
	Scouts Scouts

	todo   actions
	chance chance
	peers  peers // whom it can reach
	table  table // who leads what
	follow follow
	meta   meta // who leads the meta group
	parked park // the calls that wait

	tickets uint64
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
	// Forward says when a call asks its node to pass it on.
	Forward Forwarding
	// Elsewhere is as in [Options].
	Elsewhere string
	// HelloStagger is how long one peer that has accepted the connection may take for its
	// hello, before the next is dialled too; 0: [DialStagger], as one that has not.
	HelloStagger time.Duration
	// Crowded, if there is one, reports whether c would be refused as crowded if
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
	// HelloStaggerTLS is [Config.HelloStagger] over TLS. A node that a thousand clients come to at once has
	// accepted them all, and works on one handshake after the other; to dial the next node meanwhile makes
	// three times the work for all nodes. A node that stands still accepts connections too, and is passed over
	// only after this time.
	HelloStaggerTLS = time.Second
	// VacantFresh is how long it counts, for [Call.Prompt] calls that come later, that nothing was found listening at a
	// peer's addresses. A host that refuses a dial does so at once, so dialling again costs little, and this bounds how often.
	VacantFresh = 100 * time.Millisecond
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
	// least Call.Epoch, and, if that is of a level below Call.Needs, one that came
	// since the call did.
	ToTable
	// ToMeta is for the leader of the meta group. A write of this kind has no session:
	// it is not sent again once it may have been applied.
	ToMeta
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
	// AnyReplica says that any replica of the group may answer, so that reads are spread
	// over them.
	AnyReplica bool
	// Prompt says that the caller of a ToPeer call wants to know whether that node can be had: where nothing listens
	// at its addresses the call ends with that at once, in place of waiting for a node that is started again.
	Prompt bool
	// Needs is the level that the call takes, if it is not one that every cluster has: a
	// node that says that the cluster is below it, though a table says that it is not, is
	// asked again.
	Needs uint32
	// Deadline ends the call; it is in the time of the core's events.
	Deadline time.Duration
	// Maybe says that an attempt went out whose fate is not known.
	Maybe bool
	// Forward asks the peer to pass the call on if it does not lead. The core sets it
	// before each ActSend.
	Forward bool

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
	scouts bool  // it looks for the leader of its group for others too; see [Scouts.pause]
	cause  error // why the last attempt gave no result
	// denied are the nodes that have refused a question that any may answer, each for good.
	denied []Peer
	// asked is the group that the last attempt went to; 0: by routes that were given
	// out, not by the core. told is the group that the next goes to, on the word of a node
	// whose table differs from the core's; 0: that of the slot's owner.
	asked, told raft.GroupID
	// since is the number of the first table that came after the call, which waits for it;
	// 0: it waits for none.
	since uint64
}

// Routes says where a write goes while nothing is wrong. It is never changed
// once it is given out.
type Routes struct {
	Index    uint64 // of the table that they were made of
	Epoch    uint64
	Level    uint32 // of the cluster
	ValueMax int    // 0 while no table was seen
	Group    [shardmap.Slots]raft.GroupID
	Peer     [shardmap.Slots]Peer // NoPeer where no leader is known
	Groups   []raft.GroupID       // that the table has, in order
	// Replicas has the nodes of each group, for calls that any of them may answer; nil where
	// all goes through one peer.
	Replicas map[raft.GroupID][]Peer
	// Spread is from where on a client counts among them: not all begin with the same.
	Spread uint32
}

// replica returns who takes what is for a slot where any replica may answer: its leader, if
// no other is known.
func (r *Routes) replica(s shardmap.Slot) Peer {
	nodes := r.Replicas[r.Group[s]]
	if len(nodes) == 0 {
		return r.Peer[s]
	}
	return nodes[spread(r.Spread, s, len(nodes))]
}

// spread returns which of n nodes of a group takes the calls about a slot that any of them
// may answer: clients, and slots, are spread over them.
func spread(client uint32, s shardmap.Slot, n int) int { return int((client + uint32(s)) % uint32(n)) }

// NewCore returns a core that knows only its endpoints.
func NewCore(c Config) *Core {
	if c.Patience <= 0 {
		c.Patience = PatienceDefault
	}
	k := &Core{config: c, chance: chance{state: c.Chance}, table: table{asked: NoPeer, through: NoPeer}}
	k.meta = meta{core: k, leader: NoPeer}
	k.Scouts.core = k
	k.table.always = c.Forward == ForwardAlways
	k.table.spread = uint32(c.Chance >> 40)
	k.follow = follow{with: NoPeer, spread: k.table.spread}
	k.peers = newPeers(c.Endpoints, &k.todo, &k.chance)
	k.peers.forward = c.Forward
	k.peers.helloStagger = c.HelloStagger
	return k
}

// Take returns the actions since it was last called.
func (k *Core) Take() []Action { return k.todo.take() }

// Routes returns the routes as they are now.
func (k *Core) Routes() *Routes {
	if k.config.Forward == ForwardAlways {
		k.table.sendThrough(k.peers.anyUp(0))
	}
	return k.table.routes()
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
	if t := &k.table; t.wanted && t.asked == NoPeer && k.parked.len() > 0 && (!ok || t.askAfter < at) {
		at, ok = t.askAfter, true
	}
	if due, follows := k.follow.wake(k); follows && (!ok || due < at) {
		at, ok = due, true
	}
	return at, ok
}

// Tick says that it is now.
func (k *Core) Tick(now time.Duration) {
	for _, c := range k.parked.due(now) {
		k.route(now, c)
	}
	if k.table.wanted && k.parked.len() > 0 {
		k.table.ask(now, &k.peers)
	}
	k.follow.open(now, k)
}

// Cancel ends a call that waits in the core; false if it does not.
func (k *Core) Cancel(c *Call) bool {
	if !k.parked.remove(c) {
		return false
	}
	k.expire(c)
	return true
}

// Expire ends a call that was taken off its connection unanswered.
func (k *Core) Expire(now time.Duration, c *Call) {
	if c.Write {
		c.Maybe = true
	}
	k.ExpireUnsent(now, c)
}

// ExpireUnsent ends a call that was put on no connection, or was refused there.
func (k *Core) ExpireUnsent(now time.Duration, c *Call) {
	k.adopt(now, c)
	k.expire(c)
}

// FinishAll ends every call that waits in the core.
func (k *Core) FinishAll(err error) {
	for _, c := range k.parked.all() {
		k.todo.finish(c, err)
	}
}
