package mover

import (
	"time"

	"muster/raft"
	"muster/shardmap"
)

// CarryLevel is that of the table from which on slots move: below it some member does not
// know the commands.
const CarryLevel = 4

// Carrier moves the slots whose source is a group that is led on its node. One goroutine
// calls it.
//
// # Duties of the owner
//
//  1. Hand in each new table ([Carrier.Table]), and whether each data group is led here
//     ([Carrier.Lead]): with an entry of the leader's term applied, and anew with each term.
//  2. Call [Carrier.Turn] after each call of another method, and at the latest at the time
//     that Turn returned.
//  3. Carry out the actions. The steps for one group leave in the order in which Turn
//     returned them; whatever else overtakes what is lost in time only.
//  4. Say how each action ended: Stepped, Viewed or Copied with its answer, or Ended with
//     the reason why there is none. What never ends counts as failed after a while. Answers
//     that are lost, late, or come twice do no harm.
//  5. The copies that are handed in are the carrier's: it releases them.
type Carrier struct {
	self  raft.NodeID
	table *shardmap.Table
}

// NewCarrier returns the carrier of a node.
func NewCarrier(self raft.NodeID) *Carrier { return &Carrier{self: self} }

// Table hands in a table that is newer than the last. It is not changed afterwards.
func (c *Carrier) Table(_ time.Duration, t *shardmap.Table) { c.table = t }

// Lead hands in whether a group is led here, in a term, with an entry of that term applied.
func (c *Carrier) Lead(now time.Duration, g raft.GroupID, term uint64, leads bool) {}

// Ended hands in that an action has ended without an answer. A step to the meta group ends
// with a nil error when its entry is applied.
func (c *Carrier) Ended(now time.Duration, number uint64, err error) {}

// Turn returns what is to be done now, and when to call it again at the latest.
func (c *Carrier) Turn(now time.Duration) (actions []CarryAction, next time.Duration) {
	return nil, never
}
