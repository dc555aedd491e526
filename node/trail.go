package node

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"muster/logstore"
	"muster/node/trail"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/access"
)

const (
	// trailQueueMax bounds the events that wait for the disk. What comes when it is full is
	// counted, and a line tells how many there were.
	trailQueueMax = 1024
	// trailReadyMax is how many lines may wait for the disk. If there are more, the queue is
	// not emptied.
	trailReadyMax = 4096
	// trailGather lies between two batches: a sync of the trail keeps the log's waiting, so
	// there are at most five a second.
	trailGather = 200 * time.Millisecond
	// trailRetry is after how long a trail that could not be written is tried again.
	trailRetry = 5 * time.Second
	// trailWait is how long a member without a line of its trail waits for the table before it
	// writes the first.
	trailWait = 10 * time.Second
)

// trailing keeps this node's trail: who was turned away, who came in, what people ordered.
type trailing struct {
	// Set once.
	node  *Node
	queue chan trail.Event // from anybody, to run; never closed

	policy  atomic.Uint32          // which reads and writes are noted: a shardmap.TrailPolicy
	lost    atomic.Uint64          // events for which the queue had no room
	missing atomic.Uint64          // others that no line tells of yet
	fails   atomic.Pointer[string] // why the disk takes no lines; nil: it does
	synced  atomic.Uint64          // the last line that is on the disk

	// Owned by run.
	floods trail.Floods
	ready  []trail.Event // lines that wait for the disk
	book   *trail.Book   // nil: it could not be opened yet
	next   time.Time     // when the disk is used again
	heads  trailHeads
}

func (t *trailing) init(n *Node) {
	t.node, t.queue = n, make(chan trail.Event, trailQueueMax)
	t.heads.over = make(chan error, 1) // so that tell can end after run
	if id := n.self(); id.Stage == logstore.StageMember {
		t.heads.waits = time.Now().Add(trailWait)
	}
}

// note has a line written. It never waits.
func (t *trailing) note(e trail.Event) {
	e.At = time.Now()
	e.Bound() // here, so that what waits takes no more
	select {
	case t.queue <- e:
	default:
		t.lost.Add(1)
	}
}

// run writes what was noted, until the node ends.
func (t *trailing) run() {
	n := t.node
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		queue := t.queue
		if t.floods.Ready() >= trailReadyMax {
			queue = nil // the disk is behind
		}
		select {
		case <-n.ctx.Done():
			t.drain()
			t.floods.End(time.Now())
			t.write(time.Now())
			if t.book != nil {
				_ = t.book.Close() // what it has is synced
			}
			return
		case e := <-queue:
			t.floods.Record(e)
		case err := <-t.heads.over:
			t.ended(time.Now(), err)
		case <-timer.C:
		}
		now := time.Now()
		t.drain()
		t.floods.Turn(now)
		if !now.Before(t.next) || t.floods.Ready() >= trailReadyMax && t.fails.Load() == nil {
			t.write(now)
		}
		t.commit(now)
		timer.Stop()
		if due := t.due(); !due.IsZero() {
			timer.Reset(time.Until(due))
		}
	}
}

// drain takes what waits in the queue.
func (t *trailing) drain() {
	for t.floods.Ready() < trailReadyMax { // else whoever fills it could keep run here
		select {
		case e := <-t.queue:
			t.floods.Record(e)
		default:
			return
		}
	}
}

// due returns when run has something to do though nothing comes; zero: never.
func (t *trailing) due() time.Time {
	due := t.floods.Next()
	if waits := len(t.ready) > 0 || t.floods.Ready() > 0 || t.lost.Load() > 0 || t.book != nil && t.book.Missing() > 0; waits && (due.IsZero() || t.next.Before(due)) {
		due = t.next
	}
	if head := t.heads.due; !head.IsZero() && !t.heads.under && (due.IsZero() || head.Before(due)) {
		due = head
	}
	return due
}

// write writes what is ready.
func (t *trailing) write(now time.Time) {
	events := append(t.ready, t.floods.Take()...)
	lost := t.lost.Swap(0)
	if len(events) == 0 && lost == 0 && (t.book == nil || t.book.Missing() == 0) {
		return
	}
	t.next = now.Add(trailGather)
	if t.book == nil {
		book, err := trail.Open(t.node.fs, filepath.Join(t.node.cfg.Data, trail.Dir), t.node.name, trail.DefaultLimits(trailBudget(t.node.table.Load())))
		if err != nil {
			t.failed(now, err)
			// They wait for a disk that can be read, as many as the queue takes.
			kept := min(len(events), trailQueueMax)
			t.ready = events[:kept:kept]
			t.lost.Add(lost + uint64(len(events)-kept))
			return
		}
		t.book = book
	}
	if t.holds(now) {
		kept := min(len(events), trailQueueMax)
		t.ready = events[:kept:kept]
		t.lost.Add(lost + uint64(len(events)-kept))
		return
	}
	t.ready = nil
	t.book.SetBudget(trailBudget(t.node.table.Load()))
	t.book.Lose(lost, "more came at once than could be written")
	err := t.book.Append(now, events)
	t.heads.grown(now, t.node.limits.trailHeads)
	t.synced.Store(t.book.Head().Lines)
	t.missing.Store(t.book.Missing())
	if err != nil {
		t.failed(now, err)
		return
	}
	if t.fails.Swap(nil) != nil {
		t.node.log.Info("trail is written again")
	}
}

// failed notes that the disk takes no lines, and says so once.
func (t *trailing) failed(now time.Time, err error) {
	t.next = now.Add(trailRetry)
	why := err.Error()
	if t.fails.Swap(&why) == nil {
		t.node.log.Error("trail not written: what happens meanwhile is only counted", "err", err)
	}
}

// trailBudget is how many bytes the trail of a node may take.
func trailBudget(t *shardmap.Table) int64 {
	if t == nil {
		t = new(shardmap.Table)
	}
	return t.TrailBudget()
}

// tableChanged is told of each new table.
func (t *trailing) tableChanged(table *shardmap.Table) {
	is := table.TrailPolicy()
	if was := shardmap.TrailPolicy(t.policy.Swap(uint32(is))); was != is {
		t.said("policy", "trail-policy", fmt.Sprintf("it was %s, and is %s", was, is))
	}
}

// problems are what a person should know of the trail.
func (t *trailing) problems() (list []wire.Problem) {
	name := t.node.name
	if why := t.fails.Load(); why != nil {
		list = append(list, wire.Problem{
			What:   fmt.Sprintf("the trail of node %s is not written, %d lines are lost so far: %s", name, t.missing.Load()+t.lost.Load(), *why),
			Remedy: "make room on its disk, or see what is wrong with that; nothing else depends on the trail",
		})
	}
	if t.heads.altered.Load() {
		list = append(list, wire.Problem{
			What:   fmt.Sprintf("the trail of node %s was changed on its disk: the cluster knows it otherwise", name),
			Remedy: "muster audit verify --node " + name + " names the place; keep a copy of its directory trail, find out who could write there, move it away, and start the node again",
		})
	}
	return list
}

// rows are the counters of the trail.
func (t *trailing) rows() []wire.CounterRow {
	return []wire.CounterRow{{Name: "trail: lines", Out: t.synced.Load()}, {Name: "trail: events without a line yet", In: t.missing.Load() + t.lost.Load()}}
}

// said has what this node itself does noted.
func (t *trailing) said(kind, object, why string) {
	t.note(trail.Event{Door: doorSelf, Type: kind, Object: object, Verdict: trail.Noted, Why: why})
}

// The doors of lines.
const (
	doorSelf    = "node"
	doorHello   = "hello" // nobody knows yet which
	doorClient  = "client"
	doorHTTP    = "http"
	doorPeer    = "peer"
	doorBulk    = "bulk"
	doorJoining = "joining"
)

// doorOf is the door by which a connection came in.
func doorOf(s wire.Sender) string {
	switch s {
	case wire.SenderMember:
		return doorPeer
	case wire.SenderBulk:
		return doorBulk
	case wire.SenderFounder, wire.SenderInviter, wire.SenderJoiner:
		return doorJoining
	}
	return doorClient
}

// turnedAway notes that somebody was refused before it was admitted.
func (t *trailing) turnedAway(conn net.Conn, err error) {
	kind := refusalKind(err)
	if errors.Is(err, net.ErrClosed) || kind == refusedHungUp {
		return // this node closed it, or it said nothing and went, as what only looks for open ports does
	}
	t.note(trail.Event{From: conn.RemoteAddr().String(), Door: doorHello, Type: wire.TypeHello.String(), Object: kind, Verdict: trail.Refused, Why: err.Error()})
}

// refused notes that a request was refused because of who sent it. The object is what it was
// about, as far as the policy lets a line say that; mostly the error names it.
func (t *trailing) refused(c *connection, kind wire.Type, object string, e *wire.Error) {
	t.note(t.by(c, trail.Event{Type: kind.String(), Object: object, Verdict: trail.Refused, Why: e.Error()}))
}

// denied notes that a user may not do what a request asks for. The error names keys, which a line
// does only as far as the policy goes.
func (t *trailing) denied(c *connection, kind wire.Type, body []byte, e *wire.Error) {
	if e.Code != wire.CodeUnauthorized {
		return // this node can't tell yet, or can't read it
	}
	event := trail.Event{Type: kind.String(), Verdict: trail.Refused, Why: e.Object + ": not allowed"}
	if _, asked, request, err := wire.ForwardedBy(body); kind == wire.TypeForward && err == nil {
		kind, body = asked, request
	}
	event.Object = objectOf(kind, body, max(shardmap.TrailPolicy(t.policy.Load()), shardmap.TrailMetadata))
	t.note(t.by(c, event))
}

// by adds to an event who is at the other side of a connection.
func (t *trailing) by(c *connection, e trail.Event) trail.Event {
	e.Who, e.User = c.who.Name, uint64(c.who.User)
	if c.peer != 0 && e.Who == "" {
		e.Who = "node " + c.peer.String() // no user has a name with a blank
	}
	e.From, e.Door = c.conn.RemoteAddr().String(), doorOf(c.standing)
	return e
}

// done notes what became of something that was asked over a connection, unless that is told
// elsewhere: at the leader, or at the next attempt.
func (t *trailing) done(c *connection, kind wire.Type, object string, index uint64, e *wire.Error) {
	t.outcome(t.by(c, trail.Event{Type: kind.String(), Object: object, Verdict: trail.Allowed, Index: index}), e)
}

// outcome notes what became of what an event tells of; what its sender asks again is not noted.
func (t *trailing) outcome(event trail.Event, e *wire.Error) {
	if e != nil {
		switch e.Code {
		case wire.CodeNotLeader, wire.CodeNotReady, wire.CodeBusy:
			return
		case wire.CodeMaybeApplied:
			event.Verdict, event.Why = trail.Failed, e.Error()
		default:
			event.Verdict, event.Why = trail.Refused, e.Error()
		}
	}
	t.note(event)
}

// asked notes a read or a write that was let in, if the policy wants it. Everyone who asks for
// data pays for this call, so it is one look at the policy where that wants nothing.
func (t *trailing) asked(c *connection, kind wire.Type, body []byte) {
	policy := shardmap.TrailPolicy(t.policy.Load())
	if policy == shardmap.TrailNone {
		return
	}
	if object := objectOf(kind, body, policy); object != "" { // else it is about no data, as the stream of the table
		t.note(t.by(c, trail.Event{Type: kind.String(), Object: object, Verdict: trail.Allowed}))
	}
}

// objectNames bounds how many keys a line names.
const objectNames = 8

// objectOf is what the policy lets a line say of what a request is about: never a value.
func objectOf(kind wire.Type, body []byte, policy shardmap.TrailPolicy) string {
	var names []string
	more := 0
	_ = wire.Needs(kind, body, func(n access.Need) bool { // what can't be read is refused elsewhere
		if policy == shardmap.TrailMetadata {
			end := bytes.IndexByte(n.Name, '/') + 1 // none: nothing of it
			if end < len(n.Name) {
				n.Extent = access.Under
			}
			n.Name = n.Name[:end]
		}
		switch name := n.String(); {
		case slices.Contains(names, name):
		case len(names) < objectNames:
			names = append(names, name)
		default:
			more++
		}
		return true
	})
	if more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return strings.Join(names, ", ")
}
