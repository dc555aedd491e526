package mover

import (
	"fmt"
	"time"

	"muster/raft"
	"muster/shardmap"
)

// ActionKind says what the owner is to do.
type ActionKind uint8

const (
	// Propose: put Payload, a command, into the meta group's log.
	Propose ActionKind = 1
	// Change: ask Node, which led Group when it was last asked, for the change.
	Change ActionKind = 2
	// Ask: ask Node for its report.
	Ask ActionKind = 3
	// View: ask Node, which led Group when it was last asked, how Slots stand there.
	View ActionKind = 4
)

func (k ActionKind) String() string {
	switch k {
	case Propose:
		return "propose"
	case Change:
		return "change"
	case Ask:
		return "ask"
	case View:
		return "view"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Action is one thing that the owner is to do.
type Action struct {
	Number      uint64 // larger than that of each action before
	Kind        ActionKind
	Payload     []byte      // of Propose
	Node        raft.NodeID // of Change, Ask and View; it may be the owner's own
	Group       raft.GroupID
	Incarnation raft.Incarnation
	Change      raft.Change
	Slots       []shardmap.SlotRange // of View, in order; at most [CarrySlotsMax] slots
}

// How long an action may take until it counts as failed. A report and a change are
// answered from memory; a command waits for a majority's disks.
const (
	askMax     = 3 * time.Second
	changeMax  = 5 * time.Second
	proposeMax = 5 * time.Second
)

// flight is an action that has not ended.
type flight struct {
	kind  ActionKind
	node  raft.NodeID
	group raft.GroupID
	key   string        // of Propose: what it is about
	until time.Duration // when it counts as failed
}

// begin numbers an action and hands it to the owner with the next Turn's answer.
func (c *Core) begin(now time.Duration, a Action, key string) uint64 {
	c.number++
	a.Number = c.number
	most := map[ActionKind]time.Duration{Propose: proposeMax, Change: changeMax, Ask: askMax, View: viewMax}[a.Kind]
	c.flights[a.Number] = &flight{kind: a.Kind, node: a.Node, group: a.Group, key: key, until: now + most}
	c.actions = append(c.actions, a)
	return a.Number
}

// expire ends actions whose time is over. What became of them is not known: a change may
// have been made, a command may still be applied.
func (c *Core) expire(now time.Duration) {
	for a, f := range c.flights {
		if now >= f.until {
			c.end(now, a, errNoAnswer)
		}
	}
}

// said is a command that was proposed, and whose effect is awaited.
type said struct {
	index uint64        // of the table by which it was decided
	until time.Duration // when it is said again if nothing has changed
	open  bool          // it has not ended
}

// sayAgain is how long the table may take to show what a command did that has ended.
const sayAgain = time.Second

// propose has a command put into the log. key names what it is about: while one about
// that is under way, or the table does not show it yet, the same is not said again.
func (c *Core) propose(now time.Duration, key string, payload []byte) {
	if s := c.says[key]; s != nil && (s.open || s.index == c.table.Index && now < s.until) {
		return
	}
	c.says[key] = &said{index: c.table.Index, open: true}
	c.begin(now, Action{Kind: Propose, Payload: payload}, key)
}

// doubled returns a pause that has doubled with each failure in a row, most at the longest.
func doubled(pause time.Duration, failures int, most time.Duration) time.Duration {
	const doublings = 16 // what is longer than any pause here, and no overflow
	return min(pause<<min(failures, doublings), most)
}
