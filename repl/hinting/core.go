package hinting

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"muster/raft"
	"muster/shardmap"
)

// Limits bound the hints of a node.
type Limits struct {
	Group, Node int64 // bytes of the hints of one group, and of all
	// Age is how old a hint gets before it goes to the dead letters, by the wall clock: it outlives the process.
	Age time.Duration
}

const (
	// GroupBytes is the limit of the hints of a group, in bytes. It lasts for an election, or the restart of a host: a writer that lacks
	// a group for longer has to know of it.
	GroupBytes = 64 << 20
	// NodeBytes is the limit of all hints of a node, in bytes: the disk is the log's first.
	NodeBytes = 256 << 20
	// AgeMax is InfluxDB's: a week.
	AgeMax = 7 * 24 * time.Hour
	// ProposedMax bounds the hints that are under way at a time, of all groups. Each takes its bytes in memory.
	ProposedMax = 8
	// BuriedMax bounds the hints that are being written into the dead letters at a time.
	BuriedMax = 4
	// triesFirst is after how many failures in a row of a group's first hint others are tried between those of that one.
	triesFirst = 3
	// pauseFirst and pauseMax bound the pause of a queue after a failure; it doubles. An election takes one or two seconds.
	pauseFirst = 250 * time.Millisecond
	pauseMax   = 15 * time.Second
	// asideFirst and asideMax bound the pause of a hint that has stepped aside; it doubles.
	asideFirst = 5 * time.Second
	asideMax   = 5 * time.Minute
	// diskPause is after how long the disk is asked again that has failed to take a dead letter, or to forget a hint.
	diskPause = 5 * time.Second
)

// never is a time that does not come.
const never = time.Duration(math.MaxInt64)

// These are planted to show that the tests find them.
const (
	bugUnsynced = "hint answered before it is synced"
	bugTwice    = "hint proposed twice counts twice"
	bugBlocks   = "bad hint stops its queue"
	bugEarly    = "hint forgotten before it is committed"
	bugReplaces = "hint replaces a newer value"
	bugUndoes   = "hint undoes a delete"
	bugNoLetter = "refused hint forgotten without a dead letter"
)

// Now is what the clocks of the host show.
type Now struct {
	Host time.Duration // that goes on evenly
	Wall int64         // nanoseconds since 1970 UTC; it may jump
}

// Hint is what is known of a hint besides its points.
type Hint struct {
	Number uint64 // no other hint of the node that is on its disk has it
	Group  raft.GroupID
	Bytes  int64  // that it takes on the disk
	Points uint64 // that it brings
	Taken  int64  // when it was taken, in nanoseconds since 1970 UTC
}

// FullError refuses a hint for which there is no room.
type FullError struct {
	What        string // whose limit it is
	Held, Limit int64  // bytes
}

// Error implements error.
func (e *FullError) Error() string {
	return fmt.Sprintf("the hints of %s take %d bytes; the limit is %d", e.What, e.Held, e.Limit)
}

// ActionKind says what the owner is to do.
type ActionKind uint8

const (
	Answer  ActionKind = iota + 1 // tell the asker of Hint that it is hinted
	Propose                       // bring Hint to its group, as a fill
	Bury                          // write Hint into the dead letters with Why, durably
	Forget                        // take Hint off the disk of hints, durably
)

var actionNames = [...]string{Answer: "answer", Propose: "propose", Bury: "bury", Forget: "forget"}

func (k ActionKind) String() string { return actionNames[k] }

// Action is something that the owner is to do.
type Action struct {
	Kind ActionKind
	Hint Hint
	Why  string // of a Bury
}

// OutcomeKind says how an action has ended.
type OutcomeKind uint8

const (
	Done    OutcomeKind = iota + 1 // a Propose: the group has the entry, by a majority; else it is durable
	Later                          // nothing has happened: it is to be done again
	Maybe                          // of a Propose: the entry may be in the log of the group, or get there
	Refused                        // of a Propose: for good
)

// Outcome is how an action has ended.
type Outcome struct {
	Kind OutcomeKind
	Came shardmap.PointsOutcome // of a Propose that is Done
	Why  string                 // of each other one
}

// state says where a hint is on its way; package hinting tells how it leaves each.
type state uint8

const (
	writing state = iota + 1
	waiting
	proposed
	burying
	forgetting
)

// hint is one in its queue.
type hint struct {
	Hint
	state  state
	purged bool          // a person wants it gone, wherever it is on its way
	unlaid string        // why it goes to the dead letters; "": it does not
	gone   bool          // it has arrived, or is in the dead letters: it is to be forgotten
	aside  time.Duration // its own pause, from which the next one is doubled; 0: it has not stepped aside
	until  time.Duration // nothing is done with it before
}

// queue has the hints of a group.
type queue struct {
	group   raft.GroupID
	hints   []*hint // by number
	bytes   int64
	under   *hint         // that is proposed, or nil
	fails   int           // in a row, without any answer that was final
	suspect uint64        // the number of the first hint, if another one had an answer after it had none
	probe   uint64        // the number of the hint that was tried last in place of the first
	pause   time.Duration // after the last failure; 0: it did not fail
	until   time.Duration // nothing is proposed before
	why     string        // of the last failure
}

// Totals count since the node was started.
type Totals struct {
	Taken, Full              uint64 // hints that were kept, and that were refused for a limit
	Arrived, Buried, Purged  uint64 // hints
	Stored, Superseded       uint64 // points of hints that have arrived: they count now; or each value was there
	Deleted, Dropped         uint64 // points: deleted since they were taken; of a field that has another kind
	PurgedPoints, FailedDisk uint64 // points that a person gave up; tries of the disk that failed
}

// Core decides for one node. One goroutine calls it.
type Core struct {
	limits  Limits
	queues  []*queue // by group
	hints   map[uint64]*hint
	number  uint64 // of the last hint
	bytes   int64
	under   int          // hints that are proposed
	burying int          // hints
	last    raft.GroupID // for which one was proposed last
	totals  Totals
	actions []Action
}

// New returns a core without hints.
func New(l Limits) *Core { return &Core{limits: l, hints: map[uint64]*hint{}} }

// Restore hands in the hints that a start has found on the disk, in any order, and the highest number that is known there.
func (c *Core) Restore(all []Hint, last uint64) {
	c.number = last
	for _, h := range all {
		c.add(&hint{Hint: h, state: waiting})
	}
}

func (c *Core) add(h *hint) {
	q := c.queue(h.Group)
	at, _ := slices.BinarySearchFunc(q.hints, h.Number, func(h *hint, n uint64) int { return cmp.Compare(h.Number, n) })
	q.hints = slices.Insert(q.hints, at, h)
	q.bytes += h.Bytes
	c.bytes += h.Bytes
	c.hints[h.Number] = h
	c.number = max(c.number, h.Number)
}

// queue returns the queue of a group, which is made if it is not there.
func (c *Core) queue(g raft.GroupID) *queue {
	at, ok := slices.BinarySearchFunc(c.queues, g, func(q *queue, g raft.GroupID) int { return cmp.Compare(q.group, g) })
	if !ok {
		c.queues = slices.Insert(c.queues, at, &queue{group: g})
	}
	return c.queues[at]
}

// remove takes a hint out.
func (c *Core) remove(h *hint) {
	q := c.queue(h.Group)
	q.hints = slices.DeleteFunc(q.hints, func(x *hint) bool { return x == h })
	q.bytes -= h.Bytes
	c.bytes -= h.Bytes
	delete(c.hints, h.Number)
	if len(q.hints) == 0 {
		c.queues = slices.DeleteFunc(c.queues, func(x *queue) bool { return x == q })
	}
}

// Take makes room for a hint of a group, and gives it a number. The error is a [FullError].
func (c *Core) Take(now Now, g raft.GroupID, bytes int64, points uint64) (Hint, error) {
	held := int64(0)
	if at, ok := slices.BinarySearchFunc(c.queues, g, func(q *queue, g raft.GroupID) int { return cmp.Compare(q.group, g) }); ok {
		held = c.queues[at].bytes
	}
	switch {
	case held+bytes > c.limits.Group:
		c.totals.Full++
		return Hint{}, &FullError{fmt.Sprintf("group %s", g), held, c.limits.Group}
	case c.bytes+bytes > c.limits.Node:
		c.totals.Full++
		return Hint{}, &FullError{"the node", c.bytes, c.limits.Node}
	}
	h := &hint{Hint: Hint{Number: c.number + 1, Group: g, Bytes: bytes, Points: points, Taken: now.Wall}, state: writing}
	c.add(h)
	if bug(bugUnsynced) {
		c.act(Answer, h)
	}
	return h.Hint, nil
}

// Kept reports how the write of a hint has ended: it is durable, or err is why it is not, and then it was never there.
func (c *Core) Kept(number uint64, err error) {
	h := c.hints[number]
	if h == nil || h.state != writing {
		panic(fmt.Sprintf("hinting: hint %d is kept that was not being written", number))
	}
	if err != nil {
		c.remove(h)
		return
	}
	h.state = waiting
	c.totals.Taken++
	if !bug(bugUnsynced) {
		c.act(Answer, h)
	}
}

func (c *Core) act(k ActionKind, h *hint) {
	c.actions = append(c.actions, Action{Kind: k, Hint: h.Hint, Why: h.unlaid})
}

// Ended reports how the Propose, Bury or Forget of a hint has ended.
func (c *Core) Ended(now Now, number uint64, o Outcome) {
	h := c.hints[number]
	if h == nil {
		panic(fmt.Sprintf("hinting: an action of hint %d has ended, which is not here", number))
	}
	was := h.state
	h.state = waiting
	switch was {
	case proposed:
		c.brought(now, h, o)
	case burying:
		c.burying--
		if o.Kind == Done {
			h.gone = true
			c.totals.Buried++
			return
		}
		c.failed(now, h)
	case forgetting:
		if o.Kind == Done {
			c.remove(h)
			return
		}
		c.failed(now, h)
	default:
		panic(fmt.Sprintf("hinting: an action of hint %d has ended, and none was under way", number))
	}
}

// failed has the disk rest that could not do something with a hint.
func (c *Core) failed(now Now, h *hint) {
	h.until = now.Host + diskPause
	c.totals.FailedDisk++
}

// brought takes what became of a hint that was brought to its group.
func (c *Core) brought(now Now, h *hint, o Outcome) {
	q := c.queue(h.Group)
	q.under = nil
	c.under--
	if o.Kind == Maybe && bug(bugTwice) {
		c.totals.Stored += h.Points
	}
	if o.Kind == Later || o.Kind == Maybe || bug(bugBlocks) && o.Kind == Refused {
		c.later(now, q, h, o.Why)
		return
	}
	// An answer that is final: the group takes entries. Either it has just come back, or the first one was in its own way,
	// and its next try shows which.
	if first := q.first(); q.fails >= triesFirst && first != nil && first != h {
		q.suspect = first.Number
	}
	q.fails, q.pause, q.until, q.why = 0, 0, 0, ""
	if o.Kind == Refused {
		h.unlaid = o.Why
		if bug(bugNoLetter) {
			h.gone = true
		}
		return
	}
	c.totals.Arrived++
	c.totals.Stored += o.Came.Stored
	c.totals.Superseded += o.Came.Superseded
	c.totals.Deleted += o.Came.Deleted
	c.totals.Dropped += o.Came.Dropped
	if o.Came.Dropped == 0 {
		h.gone = true
		return
	}
	// The others of its points are stored; to bring them again from a dead letter changes nothing.
	h.unlaid = fmt.Sprintf("%d of its %d points were dropped", o.Came.Dropped, h.Points)
	if len(o.Came.Refused) > 0 {
		h.unlaid += ": " + o.Came.Refused[0].String()
	}
}

// later has a queue pause after a failure.
func (c *Core) later(now Now, q *queue, h *hint, why string) {
	q.fails++
	q.why = why
	if h.aside > 0 || h.Number == q.suspect && !bug(bugBlocks) {
		h.stepAside(now) // it is its own fault: the others need not wait
		return
	}
	q.pause = min(max(2*q.pause, pauseFirst), pauseMax)
	q.until = now.Host + q.pause
}

// stepAside has a hint wait by itself.
func (h *hint) stepAside(now Now) {
	h.aside = min(max(2*h.aside, asideFirst), asideMax)
	h.until = now.Host + h.aside
}

// first is the first hint of the queue that waits and has not stepped aside; nil: there is none.
func (q *queue) first() *hint {
	for _, h := range q.hints {
		if h.brings() && h.aside == 0 {
			return h
		}
	}
	return nil
}

// brings reports whether a hint waits to be brought to its group.
func (h *hint) brings() bool { return h.state == waiting && !h.purged && !h.gone && h.unlaid == "" }

// All stands for the hints of all groups.
const All = raft.GroupID(math.MaxUint16)

// Retry has the hints of a group, or of All, tried at once, and returns how many wait.
func (c *Core) Retry(g raft.GroupID) (hints int) {
	for _, q := range c.queues {
		if g != All && q.group != g {
			continue
		}
		q.fails, q.pause, q.until = 0, 0, 0
		for _, h := range q.hints {
			h.aside, h.until = 0, 0
		}
		hints += len(q.hints)
	}
	return hints
}

// Purge gives up the hints of a group, or of All, and returns how many these are and how many points they have. One
// that is under way may arrive all the same.
func (c *Core) Purge(g raft.GroupID) (hints int, points uint64) {
	for _, q := range c.queues {
		if g != All && q.group != g {
			continue
		}
		for _, h := range q.hints {
			if h.state == writing || h.purged || h.gone {
				continue // somebody is about to be told that it is kept; or it is on its way out already
			}
			h.purged, h.until = true, 0
			hints++
			points += h.Points
			c.totals.Purged++
			c.totals.PurgedPoints += h.Points
		}
	}
	return hints, points
}

// View is how the queue of a group is.
type View struct {
	Group  raft.GroupID
	Hints  int
	Bytes  int64
	Points uint64
	Oldest int64 // when the oldest one was taken, in nanoseconds since 1970 UTC
	Aside  int   // hints that have stepped aside
	Fails  int   // tries in a row that came to nothing
	Why    string
}

// Views returns how the queues are, by group, without what a person has given up.
func (c *Core) Views() (all []View) {
	for _, q := range c.queues {
		v := View{Group: q.group, Fails: q.fails, Why: q.why, Oldest: math.MaxInt64}
		for _, h := range q.hints {
			if h.purged {
				continue
			}
			v.Hints++
			v.Bytes += h.Bytes
			v.Points += h.Points
			v.Oldest = min(v.Oldest, h.Taken)
			if h.aside > 0 {
				v.Aside++
			}
		}
		if v.Hints > 0 {
			all = append(all, v)
		}
	}
	return all
}

// Totals returns what was counted since the start.
func (c *Core) Totals() Totals { return c.totals }

// Bytes returns how many bytes all hints take.
func (c *Core) Bytes() int64 { return c.bytes }

// AsFill makes what brings points to a shard a fill, as a hint is brought: taken is an index that the group had applied when
// the hint was taken, the highest one that is known. Points that were deleted behind it are left out.
func AsFill(p *shardmap.PointsBody, taken uint64) {
	p.Mode, p.Taken = shardmap.PointsFill, taken
	if bug(bugReplaces) {
		p.Mode, p.Taken = shardmap.PointsWrite, 0
	}
	if bug(bugUndoes) {
		p.Taken = math.MaxUint64
	}
}
