package hinting

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"muster/raft"
)

// Turn returns what is to be done now, and when to call it again at the latest, by the host's clock.
func (c *Core) Turn(now Now) (actions []Action, next time.Duration) {
	next = never
	wake := func(at time.Duration) { next = min(next, max(at, now.Host)) }
	for _, q := range c.queues {
		c.clear(now, q, wake)
	}
	// Each turn begins behind the group with which the last one ended, so that none waits for ever while as many hints are under way as
	// may be.
	from, _ := slices.BinarySearchFunc(c.queues, c.last, func(q *queue, g raft.GroupID) int { return cmp.Compare(q.group, g) })
	for i := range c.queues {
		c.propose(now, c.queues[(from+i+1)%len(c.queues)], wake)
	}
	actions, c.actions = c.actions, nil
	return actions, next
}

// clear sees to the hints that are to go: to the dead letters, or off the disk.
func (c *Core) clear(now Now, q *queue, wake func(time.Duration)) {
	for _, h := range q.hints {
		if h.state != waiting {
			continue
		}
		if !h.gone && !h.purged && h.unlaid == "" {
			// The wall clock may jump: nothing is lost by that, but for the place where a hint is kept.
			if left := c.limits.Age - time.Duration(now.Wall-h.Taken); left <= 0 {
				h.unlaid, h.until = fmt.Sprintf("it waited for more than %s", c.limits.Age), 0
			} else {
				wake(now.Host + left)
				continue
			}
		}
		if h.until > now.Host {
			wake(h.until)
			continue
		}
		if h.gone || h.purged {
			h.state = forgetting
			c.act(Forget, h)
			continue
		}
		if c.burying == BuriedMax {
			continue // each that ends calls again
		}
		c.burying++
		h.state = burying
		c.act(Bury, h)
	}
}

// propose has the next hint of a queue brought to its group.
func (c *Core) propose(now Now, q *queue, wake func(time.Duration)) {
	if q.under != nil || c.under == ProposedMax {
		return // the end of one that is under way calls again
	}
	h := q.due(now, wake)
	if h == nil {
		return
	}
	c.last = q.group
	h.state = proposed
	q.under = h
	c.under++
	c.act(Propose, h)
	if bug(bugEarly) {
		c.actions = append(c.actions, Action{Kind: Forget, Hint: h.Hint})
	}
}

// due returns the hint of a queue whose turn it is; nil: none now.
func (q *queue) due(now Now, wake func(time.Duration)) *hint {
	// One that has stepped aside is tried when its own pause is over, whatever the others do.
	for _, h := range q.hints {
		if h.brings() && h.aside > 0 {
			if h.until <= now.Host {
				return h
			}
			wake(h.until)
		}
	}
	first := q.first()
	if first == nil {
		return nil
	}
	if q.until > now.Host {
		wake(q.until)
		return nil
	}
	if q.fails < triesFirst || (q.fails-triesFirst)%2 == 1 || bug(bugBlocks) {
		return first
	}
	return q.other(first)
}

// other returns the next hint to try in place of the first one: each time another one, for several may be bad.
func (q *queue) other(first *hint) *hint {
	var found *hint
	for _, h := range q.hints {
		if h == first || !h.brings() || h.aside > 0 {
			continue
		}
		if found == nil || h.Number > q.probe && found.Number <= q.probe {
			found = h
		}
	}
	if found == nil {
		return first
	}
	q.probe = found.Number
	return found
}
