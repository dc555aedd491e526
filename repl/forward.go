package repl

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"muster/raft"
	"muster/repl/wire"
)

// Limits of what a node passes on to others. What is over one is answered with
// "busy": the client waits, and nothing is kept for it.
const (
	// forwardsMax and forwardBytesMax bound what is on its way to one node and not
	// answered yet, in requests and in bytes of theirs. A request that is larger
	// goes alone.
	forwardsMax     = 4096
	forwardBytesMax = 8 << 20
	// forwardsShare and forwardBytesShare are how much of that one client may take.
	forwardsShare     = forwardsMax / 4
	forwardBytesShare = forwardBytesMax / 4
)

// Passage is how a request is passed on by a node that can't answer it itself.
type Passage struct {
	Forward wire.Forward
	// Nodes hold replicas of the group, by the table: where none of them is here,
	// one of these is asked.
	Nodes []raft.NodeID
}

// Reserver is a [Replier] that can be asked whether it has room for an answer. One that
// is no Reserver sees to that itself.
type Reserver interface {
	// Reserve counts size bytes for the answer to r, in place of what r counts so
	// far. If there is no room it reports false and leaves r as it is.
	Reserve(r *Reply, size int) bool
	// Deaf reports whether more answers wait than the client may leave unread.
	Deaf() bool
}

// Forwards is the requests of clients that this node has passed on to those that lead,
// and that wait for their answers. A request goes one hop: one
// that came from another node has no [Passage].
//
// One that has left may have been applied, whatever comes instead of its answer: the
// node dies, or ceases to lead, or time is over. Its client sends it again, with its
// session and sequence.
type Forwards struct {
	host    *Host
	peers   map[raft.NodeID]*forwardPeer
	clients map[Replier]*forwardLoad
	leaders map[raft.GroupID]raft.NodeID // of groups that are not here, as other nodes told
	turns   map[raft.GroupID]int         // of groups that are not here: whom to ask next who leads
	soonest time.Duration                // Invariant: no deadline of any is earlier
}

// Leader returns the node that leads a group, as far as this one knows; 0 if it does not. An
// event or a turn calls it.
func (f *Forwards) Leader(g raft.GroupID) raft.NodeID {
	if here := f.host.groups[g]; here != nil && !here.removed {
		node, _ := here.node(here.lead)
		return node
	}
	return f.leaders[g]
}

// forwardLoad is what is on its way.
type forwardLoad struct{ requests, bytes int }

// forwardPeer is what is on its way to one node.
type forwardPeer struct {
	forwardLoad
	number uint64 // of the last; they go up, in the order in which they were queued
	open   map[uint64]forwarded
}

// forwarded is one request that waits.
type forwarded struct {
	group    raft.GroupID
	write    bool
	bytes    int
	deadline time.Duration // on the host's clock
	reply    Reply
}

func (f *Forwards) init(h *Host) {
	f.host = h
	f.peers = make(map[raft.NodeID]*forwardPeer)
	f.clients = make(map[Replier]*forwardLoad)
	f.leaders = make(map[raft.GroupID]raft.NodeID)
	f.turns = make(map[raft.GroupID]int)
	f.soonest = math.MaxInt64
}

// pass passes a request on to the node that leads its group, or answers it.
func (f *Forwards) pass(g raft.GroupID, to raft.NodeID, p *Passage, deadline time.Duration, r Reply) {
	if !f.passTo(g, to, p, deadline, r) {
		f.host.answers.refuse(r, wire.Unavailable(fmt.Sprintf("group %d", g), fmt.Sprintf("node %s, which leads it, is not connected to this one", to)))
	}
}

// passTo passes a request on to a node, or answers it. It reports false, and has done
// neither, where the node is not connected.
func (f *Forwards) passTo(g raft.GroupID, to raft.NodeID, p *Passage, deadline time.Duration, r Reply) bool {
	h := f.host
	left := deadline - h.now
	if left < time.Millisecond {
		h.answers.refuse(r, wire.Unavailable(fmt.Sprintf("group %d", g), "the request waited to be passed on until its time was over"))
		return true
	}
	peer, client := f.peers[to], f.clients[r.To]
	if peer == nil {
		peer = &forwardPeer{open: make(map[uint64]forwarded)}
		f.peers[to] = peer
	}
	size := len(p.Forward.Body) + wire.ForwardRoom
	if size > wire.FrameMax {
		h.answers.refuse(r, wire.TooLarge("request that is passed on", fmt.Sprintf("%d bytes, the limit is %d", size, wire.FrameMax), "send it to the node that leads the group"))
		return true
	}
	if peer.over(size, forwardsMax, forwardBytesMax) {
		h.answers.refuse(r, peer.busy(fmt.Sprintf("the way to node %s", to), forwardsMax, forwardBytesMax))
		return true
	}
	if client != nil && client.over(size, forwardsShare, forwardBytesShare) {
		h.answers.refuse(r, client.busy("connection", forwardsShare, forwardBytesShare))
		return true
	}
	if !h.cfg.Transport.SendForward(to, peer.number+1, left, &p.Forward) {
		return false
	}
	peer.number++
	if client == nil {
		client = new(forwardLoad)
		f.clients[r.To] = client
	}
	peer.add(1, size)
	client.add(1, size)
	peer.open[peer.number] = forwarded{group: g, write: p.Forward.Type == wire.TypeWrite, bytes: size, deadline: deadline, reply: r}
	f.soonest = min(f.soonest, deadline)
	return true
}

func (l *forwardLoad) add(requests, bytes int) {
	l.requests, l.bytes = l.requests+requests, l.bytes+bytes
}

func (l *forwardLoad) over(size, requests, bytes int) bool {
	return l.requests >= requests || l.requests > 0 && l.bytes+size > bytes
}

func (l *forwardLoad) busy(what string, requests, bytes int) *wire.Error {
	return wire.Busy(what, fmt.Sprintf("%d requests with %d bytes are passed on and not answered, the limits are %d and %d",
		l.requests, l.bytes, requests, bytes), wire.BusyRetry)
}

// passAway passes on a request to a group of which no replica is here, or refuses it.
// It goes to the node that is said to lead the group, or to one that holds a replica:
// that one answers who leads, which is for the client's next try.
func (f *Forwards) passAway(g raft.GroupID, p *Passage, deadline time.Duration, r Reply) {
	if p == nil {
		f.host.answers.refuse(r, f.host.mending.refusal(g))
		return
	}
	if to, known := f.leaders[g]; known {
		if f.passTo(g, to, p, deadline, r) {
			return
		}
		delete(f.leaders, g) // another may lead by now, and only those with a replica know
	}
	// Each try asks another: one that is cut off from its group, or whose replica has
	// stopped, would have the same to say every time.
	others := false
	for range p.Nodes {
		to := p.Nodes[f.turns[g]%len(p.Nodes)]
		f.turns[g]++
		if to == f.host.cfg.Self {
			continue
		}
		if others = true; f.passTo(g, to, p, deadline, r) {
			return
		}
	}
	if !others {
		f.host.answers.refuse(r, f.host.mending.refusal(g))
		return
	}
	f.host.answers.refuse(r, wire.Unavailable(fmt.Sprintf("group %d", g), "no replica of it is here, and no node that holds one is connected to this one"))
}

// take takes a request off the list of those that wait; false if it is not there: it
// was answered before, or is of an earlier connection.
func (f *Forwards) take(from raft.NodeID, number uint64) (w forwarded, ok bool) {
	peer := f.peers[from]
	if peer == nil {
		return w, false
	}
	if w, ok = peer.open[number]; !ok {
		return w, false
	}
	delete(peer.open, number)
	peer.add(-1, -w.bytes)
	client := f.clients[w.reply.To]
	if client.add(-1, -w.bytes); client.requests == 0 {
		delete(f.clients, w.reply.To)
	}
	return w, true
}

// ForwardAnswer is what a node answers to a request that was passed on to it.
type ForwardAnswer struct {
	Number uint64
	Type   wire.Type
	Body   []byte
}

// answersForward reports whether a frame of the type can be one.
func answersForward(t wire.Type) bool { return t == wire.TypeError || t.Question().Forwards() }

// Answered hands in what a node answers to a request that was passed on to it. Nothing
// of body is kept.
func (f *Forwards) Answered(from raft.NodeID, number uint64, t wire.Type, body []byte) {
	w, ok := f.take(from, number)
	if !ok {
		return
	}
	if t == wire.TypeError {
		f.learn(w.group, from, body)
	}
	if !w.fits(t, len(body)) {
		f.host.answers.refuse(w.reply, wire.Busy("connection", "more answers wait than this client reads", wire.BusyRetry))
		return
	}
	f.host.answers.add(w.reply, t, body)
}

// fits reports whether the client has room for an answer, as it would be asked if the
// answer were made here. Only a read's is refused: its client can ask again.
func (w *forwarded) fits(t wire.Type, size int) bool {
	room, ok := w.reply.To.(Reserver)
	if !ok || w.write || t == wire.TypeError {
		return true
	}
	return !room.Deaf() && (size+wire.HeaderSize <= w.reply.Size || room.Reserve(&w.reply, size+wire.HeaderSize))
}

// learn notes who leads a group that is not here, as a node says that does not. One that
// was said to lead, and can't answer, is not asked again on that word: its replica may
// have stopped for good.
func (f *Forwards) learn(g raft.GroupID, from raft.NodeID, body []byte) {
	var e wire.Error
	if e.Read(body) != nil {
		return
	}
	switch {
	case e.Code.Retry() == wire.RetryOtherNode, e.Code == wire.CodeUnavailable, e.Code == wire.CodeNotReady:
		delete(f.leaders, g)
	default:
		return // it is about the request
	}
	if n := e.LeaderNode; e.Code == wire.CodeNotLeader && n != 0 && n != from && n != f.host.cfg.Self {
		f.leaders[g] = n
	}
}

// Lost hands in that the connection to a node has ended, for which requests up to
// number queued were queued. Those up to number left may have reached the node.
func (f *Forwards) Lost(to raft.NodeID, left, queued uint64) {
	for g, n := range f.leaders {
		if n == to {
			delete(f.leaders, g)
		}
	}
	f.giveUp(to, func(number uint64, _ *forwarded) bool { return number <= queued }, func(number uint64) string {
		if number <= left {
			return fmt.Sprintf("the connection to node %s, which leads it, ended before the answer", to)
		}
		return ""
	})
}

// leads notes that a node leads a group, or (0) that it is not known who does: the
// answers of who led before are not waited for.
func (f *Forwards) leads(g raft.GroupID, node raft.NodeID) {
	if len(f.clients) == 0 {
		return
	}
	for _, to := range f.nodes() {
		if to != node {
			f.giveUp(to, func(_ uint64, w *forwarded) bool { return w.group == g }, func(uint64) string {
				return fmt.Sprintf("node %s does not lead it any more, as far as is known here", to)
			})
		}
	}
}

// expire answers those whose clients have stopped waiting.
func (f *Forwards) expire() {
	now := f.host.now
	if now < f.soonest {
		return
	}
	f.soonest = math.MaxInt64
	for _, to := range f.nodes() {
		f.giveUp(to, func(_ uint64, w *forwarded) bool { return w.deadline < now }, func(uint64) string {
			return fmt.Sprintf("node %s, which leads it, did not answer in time", to)
		})
		for _, w := range f.peers[to].open {
			f.soonest = min(f.soonest, w.deadline)
		}
	}
}

// nodes returns whom something was passed on to, in order.
func (f *Forwards) nodes() []raft.NodeID {
	nodes := make([]raft.NodeID, 0, len(f.peers))
	for n := range f.peers {
		nodes = append(nodes, n)
	}
	slices.Sort(nodes)
	return nodes
}

// giveUp answers in place of a node the requests that which picks, in order. found says
// why the fate of one that has left is not known; "" if it has not left.
func (f *Forwards) giveUp(to raft.NodeID, which func(number uint64, w *forwarded) bool, found func(number uint64) string) {
	peer := f.peers[to]
	if peer == nil {
		return
	}
	var numbers []uint64
	for number, w := range peer.open {
		if which(number, &w) {
			numbers = append(numbers, number)
		}
	}
	slices.SortFunc(numbers, cmp.Compare[uint64])
	for _, number := range numbers {
		w, _ := f.take(to, number)
		name, why := fmt.Sprintf("group %d", w.group), found(number)
		switch {
		case why == "":
			f.host.answers.refuse(w.reply, wire.Unavailable(name, fmt.Sprintf("the connection to node %s, which leads it, ended before the request left", to)))
		case w.write:
			f.host.answers.refuse(w.reply, wire.MaybeApplied(name, why))
		default:
			f.host.answers.refuse(w.reply, wire.Unavailable(name, why))
		}
	}
}
