package rights

import (
	"time"

	"muster/repl/wire"
)

const (
	// CutOffAfter is for how long a node still answers users after its table was last known to be that of
	// the meta group: it may have missed since then that their rights were taken away.
	CutOffAfter = time.Minute
	// confirmParts is how often a node makes sure of that in this time: one answer may be lost, or late.
	confirmParts = 4
)

// Contact is whether a node's table is that of the meta group, as far as the node knows.
type Contact uint8

const (
	// ContactNone: nothing is known since this start, and the table may be as old as the last stop, or older. It
	// ends with the first confirmation.
	ContactNone Contact = iota
	// ContactGood: it was, within the last CutOffAfter. It ends when that is over.
	ContactGood
	// ContactLost: it was, longer ago, or nobody knows how long. It ends with the next confirmation.
	ContactLost
)

// silences says why no user is answered, or returns nil.
func (c Contact) silences(t wire.Type, node string) *wire.Error {
	switch c {
	case ContactNone:
		return wire.NotReady("node "+node, "it has just started, and does not know yet whether what it knows of users is what group 0 says today", "try again in a moment; if it stays, see whether a majority of group 0's nodes runs", retryAfter)
	case ContactLost:
		return wire.Unavailable(t.String(), "this node does not hear of group 0's leader, or is behind it, and can't know who may do what any more")
	}
	return nil
}

// Confirmer follows whether a node's table is that of the meta group. It belongs to one goroutine. All times
// are by one clock that never goes back, from any moment on; it may stand still while the host is suspended.
type Confirmer struct {
	cutOffAfter time.Duration // set once
	ever        bool          // it was confirmed since this start
	confirmed   time.Duration // when it was last
	since       time.Duration // confirmations from before count no more
	contact     Contact       // as of the last look
}

// NewConfirmer returns one for a node that has just started. cutOffAfter is [CutOffAfter], but in tests.
func NewConfirmer(cutOffAfter time.Duration) Confirmer { return Confirmer{cutOffAfter: cutOffAfter} }

// Wants reports whether it is time to make sure again. Where there can't be users that is so once, at a start.
func (c *Confirmer) Wants(now time.Duration, law *Law) bool {
	return !c.ever || law != nil && law.Users && (c.confirmed < c.since || now-c.confirmed >= c.cutOffAfter/confirmParts)
}

// Confirmed says that at that time the meta group had committed nothing that is not in this node's table by now.
func (c *Confirmer) Confirmed(at time.Duration) {
	if at >= c.since {
		c.ever, c.confirmed = true, at
	}
}

// bugSlept is planted to show that its tests find it: a suspension counts as no time.
const bugSlept = "contact kept through a suspension"

// Slept says that the clock stood still until now while the world's went on, for how long is not known.
func (c *Confirmer) Slept(now time.Duration) {
	if !bug(bugSlept) {
		c.since = now
	}
}

// bugHeardIsEnough is planted to show that its tests find it: it is enough that the meta group has a leader, however
// far behind this node's own replica is, and after a start nothing is needed.
const bugHeardIsEnough = "rules of a replica that is behind"

// bugNeverCutOff is planted to show that its tests find it: a node that was sure of its table once answers users
// however long ago that is.
const bugNeverCutOff = "users answered without contact"

// Look returns what is known of it now, and whether that is something else than at the last look.
func (c *Confirmer) Look(now time.Duration) (is Contact, changed bool) {
	was := c.contact
	switch {
	case !c.ever && !bug(bugHeardIsEnough):
		c.contact = ContactNone
	case c.ever && (c.confirmed < c.since || now-c.confirmed > c.cutOffAfter) && !bug(bugNeverCutOff):
		c.contact = ContactLost
	default:
		c.contact = ContactGood
	}
	return c.contact, c.contact != was
}
