package sim

import (
	"time"

	"muster/repl"
	"muster/repl/wire"
)

// eventKind is what happens. The comments name the fields of the event that each uses.
type eventKind uint8

const (
	evMessage  eventKind = iota + 1 // node, from, envelope: one message of raft arrives
	evBeat                          // node, from, beat, answer: heartbeats arrive
	evSynced                        // node, life, number: the disk has done a batch, or fails at it
	evIdle                          // node, life: nothing was written for a while
	evTick                          // node, life
	evShort                         // node, life
	evResume                        // node, life: the end of a pause
	evStart                         // node: a process starts
	evAnnounce                      // node, life: it tells the table of itself
	evRequest                       // node, conn, number, body, wtype: a client's frame arrives
	evAnswer                        // conn, number, body, answer kind: a node's frame arrives
	evDialled                       // conn: a client's dial is over
	evReset                         // conn: the client learns that its connection ended
	evListen                        // conn: the client looks whether it is silent
	evTable                         // client, conn: the answer to a question after the table
	evWake                          // client
	evDeadline                      // op
	evBegin                         // client: begin some operations
	evListing                       // client, listing: it goes on after a pause
	evFault                         // the next fault strikes
	evHeal                          // number: a fault of the network ends
	evFlap                          // number: a link changes
	evCrash                         // node, life: it crashes, having sent what it was to send before
	evFrame                         // node, from, wtype, body: a frame that is for none of the cores arrives
	evTask                          // node, life, number: a task goes on
	evStream                        // node, life, number: a look at a snapshot that it sends
	evScrub                         // node: all that is on its disk is read
	evRoom                          // node: its disk has room again
	evLook                          // node: it looks again at what its disk refuses
	evDial                          // node, life, from, number: it dials another
	evPeer                          // node, life, from, number: what it hears of a connection from another
	evStop                          // node, life: it was told to stop, and hands over
	evMember                        // answer: replicas are made and retired; else a membership changes
	evAsk                           // node, life, read: a stream asks its host for a page
	evMove                          // node, life, number: its mover acts
	evCarry                         // node, life, number: its carrier acts
	evCheck                         // node, life, number: its assigner and its checker act
	evNotary                        // node, life, number: its notary and its bearer act
	evCall                          // call
	evWatch                         // client, watching, number: a watch goes on
	evFeed                          // node, life: its feed has a turn
	evRush                          // client, number: it writes to the slot of that number
)

var eventNames = [...]string{evMessage: "message", evBeat: "beat", evSynced: "synced", evIdle: "idle", evTick: "tick", evShort: "short tick",
	evResume: "resume", evStart: "start", evAnnounce: "announce", evRequest: "request", evAnswer: "answer", evDialled: "dialled",
	evReset: "reset", evListen: "listen", evTable: "table", evWake: "wake", evDeadline: "deadline", evBegin: "begin", evListing: "listing",
	evFault: "fault", evHeal: "heal", evFlap: "flap", evCrash: "crash", evFrame: "frame", evTask: "task", evStream: "stream", evScrub: "scrub", evRoom: "room", evLook: "look", evDial: "dial", evPeer: "peer", evStop: "stop", evMember: "member", evAsk: "ask", evMove: "move", evCarry: "carry", evCheck: "check", evNotary: "notary", evCall: "call", evWatch: "watch", evFeed: "feed", evRush: "rush"}

// event is one thing that is due. Events are used again, so a handler keeps nothing of one
// except what it copies.
type event struct {
	kind   eventKind
	answer bool
	wtype  wire.Type
	node   int32
	from   int32
	life   uint32
	origin origin // of an answer
	back   uint32 // of a Forward: the life of the process that passes on
	flags  uint16 // of a client's frame
	number uint64
	within time.Duration // what a frame's header leaves for the answer

	envelope wire.Envelope
	beat     wire.Beat
	conn     *conn
	client   *simClient
	op       *op
	listing  *listing
	watching *watching
	body     []byte
	read     repl.Read
	call     func()
}

// queue is a heap of events by time, and at one time by the order in which they were
// made. Places hold the keys, so that a comparison touches no event.
type queue struct {
	heap []place
	made uint64
	free []*event
}

type place struct {
	at    time.Duration
	order uint64
	event *event
}

func (a *place) before(b *place) bool {
	return a.at < b.at || a.at == b.at && a.order < b.order
}

func (q *queue) get(kind eventKind) *event {
	n := len(q.free)
	if n == 0 {
		return &event{kind: kind}
	}
	e := q.free[n-1]
	q.free = q.free[:n-1]
	e.kind = kind
	return e
}

// put takes back an event that was handled.
func (q *queue) put(e *event) {
	body, messages, rests := e.body[:0], e.beat.Messages[:0], e.beat.Rests[:0]
	*e = event{body: body}
	e.beat.Messages, e.beat.Rests = messages, rests
	q.free = append(q.free, e)
}

func (q *queue) push(at time.Duration, e *event) {
	q.made++
	q.heap = append(q.heap, place{at, q.made, e})
	h := q.heap
	i := len(h) - 1
	p := h[i]
	for i > 0 {
		up := (i - 1) / 4
		if !p.before(&h[up]) {
			break
		}
		h[i] = h[up]
		i = up
	}
	h[i] = p
}

func (q *queue) pop() (time.Duration, *event) {
	h := q.heap
	top := h[0]
	n := len(h) - 1
	p := h[n]
	h[n].event = nil
	h = h[:n]
	q.heap = h
	if n == 0 {
		return top.at, top.event
	}
	i := 0
	for {
		least := 4*i + 1
		if least >= n {
			break
		}
		for j := least + 1; j < min(4*i+5, n); j++ {
			if h[j].before(&h[least]) {
				least = j
			}
		}
		if !h[least].before(&p) {
			break
		}
		h[i] = h[least]
		i = least
	}
	h[i] = p
	return top.at, top.event
}
