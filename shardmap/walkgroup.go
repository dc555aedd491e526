package shardmap

import (
	"encoding/binary"
	"fmt"

	"github.com/cespare/xxhash/v2"
)

// walkHeadCost is what a look at a mark, a decision or an import counts, in bytes.
const walkHeadCost = 32

// partFault notes what is wrong with a part that is no slot.
func (w *Walk) partFault(p Part, what string, args ...any) {
	w.faults = append(w.faults, PartFault{p, fmt.Sprintf(what, args...)})
}

// heads compares what the map has beside its slots, and the heads of imports: the slots of those
// that are wrong are left out later.
func (w *Walk) heads() (cost int) {
	m := w.m
	headFaults(m, func(f PartFault) { w.faults = append(w.faults, f) })
	return walkHeadCost * (len(m.marks) + len(m.decisions) + len(m.imports))
}

// headFaults calls f for what is wrong with what a map has beside its slots, and with the heads of
// imports.
func headFaults(m *Map, f func(PartFault)) {
	if sum := m.marks.sum(); sum != m.marksSum {
		f(PartFault{PartMarks, fmt.Sprintf("%d runs have sum %016x, they had %016x", len(m.marks), sum, m.marksSum)})
	}
	if sum := m.decisions.sum(); sum != m.decided.sum {
		f(PartFault{PartDecisions, fmt.Sprintf("%d of them have sum %016x, they had %016x", len(m.decisions), sum, m.decided.sum)})
	}
	if m.founded != ^m.foundedInverted {
		f(PartFault{PartFounding, fmt.Sprintf("it is %d by one field and %d by another", m.founded, ^m.foundedInverted)})
	}
	if sum := m.keeping.rules.hash(); sum != m.keeping.sum {
		f(PartFault{PartHistory, fmt.Sprintf("%d rules for versions have sum %016x, they had %016x", len(m.keeping.rules), sum, m.keeping.sum)})
	}
	for _, i := range m.imports {
		if slot, what := i.headFault(); what != "" {
			f(PartFault{Part(slot), what})
		}
	}
	if n, counted := m.slots.Load().countSealed(), m.slots.Load().sealedCount; n != counted {
		f(PartFault{PartFounding, fmt.Sprintf("%d slots are sealed, counted are %d", n, counted)})
	}
}

// countSealed counts the slots that are sealed.
func (p *slotPages) countSealed() (n int) {
	for _, page := range p.sealed {
		if page == nil {
			continue
		}
		for _, st := range page {
			if st != nil {
				n++
			}
		}
	}
	return n
}

// quota compares what is kept of the sessions of all slots together.
func (w *Walk) quota() (cost int) {
	q := newSessionQuota()
	w.m.each(func(st *slotState) { q.add(&st.sessions) })
	// A slot that counts wrongly is in the sum, too.
	if is := &w.m.quota; len(w.faults) == 0 && (is.sessions != q.sessions || is.outcomes != q.outcomes || is.details != q.details || q.sessions > 0 && is.oldest > q.oldest) {
		w.partFault(PartSessions, "all slots have %d sessions, %d outcomes and %d bytes of details, used at %d or later; kept are %d, %d, %d and %d",
			q.sessions, q.outcomes, q.details, q.oldest, is.sessions, is.outcomes, is.details, is.oldest)
	}
	return walkSlotCost * Slots
}

// history compares the next block of the history. After the last one the walk is done.
func (w *Walk) history() (cost int) {
	h := w.m.history
	r := h.ring.Load()
	if what := h.headFault(r); what != "" {
		w.partFault(PartHistory, "%s", what)
		w.done = true // where blocks end can't be told
	}
	if w.done || r == nil || w.block > r.newest() {
		w.done = true
		return 1
	}
	w.block = max(w.block, r.first)
	k := r.blocks[w.block-r.first]
	used, prevs := k.used, k.prevs
	if k == h.tail {
		used, prevs = h.used, h.prevs
	}
	if what := k.fault(used, prevs); what != "" {
		w.partFault(PartHistory, "block %d of %d: %s", w.block-r.first+1, len(r.blocks), what)
	}
	w.block++
	return max(used, 0) + 1
}

// headFault says what is wrong with what a history knows beside its blocks.
func (h *History) headFault(r *historyRing) string {
	switch {
	case h.raised != ^h.raisedInverted:
		return fmt.Sprintf("the group was raised to level %d by one field and %d by another", h.raised, ^h.raisedInverted)
	case r != nil && r.end.Load() != historyPlace(r.newest(), h.used):
		return fmt.Sprintf("it has %d bytes in its last block, readers may read up to place %d", h.used, r.end.Load())
	}
	return ""
}

// fault says what is wrong with a block, which has so many bytes of events, and such a sum of
// values before. It remembers the sum of the events that are right. Nobody sums a block up as it
// fills: that would cost each write 1 %. So of what no walk has seen, only what can't have been
// written is found, and a value before that was another when it was written.
func (k *historyBlock) fault(used int, prevs uint64) string {
	if used < k.seen || used > len(k.buf) {
		return fmt.Sprintf("it has %d bytes of events of %d, and had %d", used, len(k.buf), k.seen)
	}
	if sum := k.sumOf(k.seen); k.seen > 0 && sum != k.sum {
		return fmt.Sprintf("its first %d bytes have sum %016x, they had %016x", k.seen, sum, k.sum)
	}
	if used == k.seen {
		if prevs != k.seenPrevs {
			return fmt.Sprintf("the hashes of records whose values it keeps summed up to %016x, now to %016x", k.seenPrevs, prevs)
		}
		return ""
	}
	what := k.checkEvents(used, max(k.seen, k.loaded), prevs-k.seenPrevs)
	if what == "" {
		k.seen, k.sum, k.seenPrevs = used, k.sumOf(used), prevs
	}
	return what
}

// sumOf sums up the first bytes of a block, and where it begins.
func (k *historyBlock) sumOf(n int) uint64 {
	return sumOf(13, k.before.ID.Term, k.before.ID.Index, uint64(k.before.N), xxhash.Sum64(k.buf[:n]))
}

// checkEvents says why the events of a block can't have been written, or that the values before that
// they keep from byte from on, where an event begins, are not those of records whose hashes sum up to
// prevs. It can't tell what else of them has changed.
func (k *historyBlock) checkEvents(used, from int, prevs uint64) string {
	last, sum := k.before, uint64(0)
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
		if e.Prev != nil && at >= from {
			sum += prevHash(e.Key, e.Prev, e.PrevVersion)
		}
		last, at = e.Position(), at+size
	}
	if sum != prevs {
		return fmt.Sprintf("the values before that its events keep sum up to %016x, the hashes of their records to %016x", sum, prevs)
	}
	return ""
}

// prevHash returns the hash of the record of a key that never ends.
func prevHash(key, value []byte, version uint64) uint64 {
	var b [256]byte
	rec := record(b[:])
	binary.LittleEndian.PutUint64(rec[8:], version)
	rec.setHead(len(value), len(key), KindKey, endsNever)
	if end := recordHeader + len(key) + len(value); end <= len(rec) { // one piece is faster
		copy(rec[recordHeader+copy(rec[recordHeader:], key):], value)
		return xxhash.Sum64(rec[8:end])
	}
	var d xxhash.Digest
	d.Reset()
	_, _ = d.Write(rec[8:recordHeader]) // a hash takes everything
	_, _ = d.Write(key)
	_, _ = d.Write(value)
	return d.Sum64()
}
