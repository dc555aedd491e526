package shardmap

import (
	"fmt"

	"github.com/cespare/xxhash/v2"
)

// groupFault notes what is wrong with the whole group.
func (w *Walk) groupFault(what string) {
	w.faults = append(w.faults, SlotFault{OfGroup: true, What: what})
}

// quota compares what is kept of the sessions of all slots together.
func (w *Walk) quota() (cost int) {
	w.block = 1
	q := newSessionQuota()
	w.m.each(func(st *slotState) { q.add(&st.sessions) })
	// A slot that counts wrongly is in the sum, too.
	if is := &w.m.quota; len(w.faults) == 0 && (is.sessions != q.sessions || is.outcomes != q.outcomes || is.details != q.details || q.sessions > 0 && is.oldest > q.oldest) {
		w.groupFault(fmt.Sprintf("all slots have %d sessions, %d outcomes and %d bytes of details, used at %d or later; kept are %d, %d, %d and %d",
			q.sessions, q.outcomes, q.details, q.oldest, is.sessions, is.outcomes, is.details, is.oldest))
	}
	return walkSlotCost * Slots
}

// history compares the next block of the history. After the last one the walk is done.
func (w *Walk) history() (cost int) {
	h := w.m.history
	r := h.ring.Load()
	if r == nil || w.block > r.newest() {
		w.done = true
		return 1
	}
	w.block = max(w.block, r.first)
	k, what := r.blocks[w.block-r.first], ""
	used := k.used
	if k == h.tail {
		used = h.used
	}
	if used < 0 || used > len(k.buf) {
		what = fmt.Sprintf("it has %d bytes of %d", used, len(k.buf))
	} else if k == h.tail {
		what = k.checkEvents(used)
	} else if sum := xxhash.Sum64(k.buf[:used]); k.sum == nil {
		// Nobody sums a block up as it fills: that would cost each write 1 %.
		if what = k.checkEvents(used); what == "" {
			k.sum = &sum
		}
	} else if sum != *k.sum {
		what = fmt.Sprintf("it has hash %016x, it had %016x", sum, *k.sum)
	}
	if what != "" {
		w.groupFault(fmt.Sprintf("block %d of %d of the history: %s", w.block-r.first+1, len(r.blocks), what))
	}
	w.block++
	return used + 1
}

// checkEvents says why the events of a block can't have been written. It can't tell what else of
// them has changed: a block that no walk has seen full has no sum yet.
func (k *historyBlock) checkEvents(used int) string {
	last := k.before
	for at := 0; at < used; {
		if used-at < eventHead {
			return fmt.Sprintf("%d bytes are left at byte %d", used-at, at)
		}
		size, err := checkEvent(k.buf[at:])
		if err != nil || at+size > used {
			return fmt.Sprintf("an event of %d bytes at byte %d of %d (%v)", size, at, used, err)
		}
		var e Event
		readEvent(k.buf[at:], &e)
		if err := e.follows(last); err != nil {
			return err.Error()
		}
		last, at = e.Position(), at+size
	}
	return ""
}
