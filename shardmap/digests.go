package shardmap

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"

	"muster/raft"
)

// Digests appends the digests of all parts of the map's state to out, ascending by part. A slot
// has a row only if the group has it in some way: owned, sealed, or coming; all other parts of a
// data group always have one. The goroutine that applies calls it, between two entries.
//
// Equal states have equal rows, however they came about. The row of a slot sums up the slot's kept
// sums, not its bytes; a [Walk] tells whether memory still holds these. Rows leave out what may
// differ between correct replicas: how many events each still has, and bounds that only save a look.
//
// Builds of different levels compare their rows, so a row may come to cover more only with the
// level of the cluster.
func (m *Map) Digests(out []DigestRow) []DigestRow {
	pages, imports := m.slots.Load(), m.imports
	var w words
	for s := range Slot(Slots) {
		w.begin(7)
		if st := pages.at(s); st != nil {
			w.add(uint64(HoldsOwned))
			w.addSlot(st)
		} else if st := pages.sealed.at(s); st != nil {
			w.add(uint64(HoldsSealed))
			st.seal.sum(&w)
			w.addSlot(st)
		}
		for len(imports) > 0 && imports[0].slot < s {
			imports = imports[1:]
		}
		if len(imports) > 0 && imports[0].slot == s {
			imports[0].importHead.sum(&w)
			w.addSlot(imports[0].state)
		}
		if w.n > 1 {
			out = append(out, DigestRow{Part(s), w.hash()})
		}
	}
	out = append(out,
		DigestRow{PartMarks, m.marks.sum()},
		DigestRow{PartDecisions, m.decisions.sum()},
		DigestRow{PartFounding, sumOf(10, m.founded)},
		DigestRow{PartTime, sumOf(11, uint64(m.time))},
		DigestRow{PartSessions, sumOf(12, uint64(m.quota.sessions), uint64(m.quota.outcomes), uint64(m.quota.details))},
		DigestRow{PartHistory, m.history.digest()},
	)
	if m.groupShards.any() {
		out = append(out, DigestRow{PartShards, m.groupShards.sum()})
	}
	return out
}

// words are numbers that are summed up together. The first says what they are: 1 are records, 2
// sessions, 3 outcomes, 4 slots, 5 formers, 6 how far a slot's time is ahead, 7 what a group has of
// a slot, 8 a run of marks, 9 a decision, 10 a founding, 11 a group time, 12 counts of sessions, 13
// a history, 14 a seal, 15 an import, 16 an entry of a shard, 17 shards.
type words struct {
	b [wordsMax * 8]byte
	n int
}

// wordsMax is how many a slot's row can have that is both sealed and coming, which none is.
const wordsMax = 24

func (w *words) begin(what uint64) {
	w.n = 0
	w.add(what)
}

func (w *words) add(v uint64) {
	binary.LittleEndian.PutUint64(w.b[8*w.n:], v)
	w.n++
}

func (w *words) addID(id raft.LogID) {
	w.add(id.Term)
	w.add(id.Index)
}

func (w *words) hash() uint64 { return xxhash.Sum64(w.b[:8*w.n]) }

// sumOf sums numbers up, the first of which says what they are.
func sumOf(what uint64, of ...uint64) uint64 {
	var w words
	w.begin(what)
	for _, v := range of {
		w.add(v)
	}
	return w.hash()
}

// addSlot adds what is to be known of a slot: its digest, and how far its time is ahead.
func (w *words) addSlot(s *slotState) {
	w.add(s.digest())
	w.add(uint64(s.endings.aheadBy()))
}

func (s *seal) sum(w *words) {
	w.add(14)
	w.add(s.number)
	w.add(uint64(s.target))
	w.addID(s.at)
	w.add(uint64(s.time))
}

func (i *importHead) sum(w *words) {
	w.add(15)
	w.add(uint64(i.slot))
	w.add(i.number)
	w.add(uint64(i.source))
	w.add(i.attempt.Term)
	w.add(i.attempt.Number)
	w.add(i.chunks)
	w.addID(i.at)
	w.addID(i.to)
}

func (s *seal) hash() uint64 {
	var w words
	s.sum(&w)
	return w.hash()
}

func (i *importHead) hash() uint64 {
	var w words
	i.sum(&w)
	return w.hash()
}

func (m marks) sum() uint64 {
	var w words
	sum := uint64(0)
	for i := range m {
		w.begin(8)
		w.add(sum) // of those before
		w.add(uint64(m[i].From)<<16 | uint64(m[i].To))
		w.add(m[i].mark)
		sum = w.hash()
	}
	return sum
}

func (l decisions) sum() uint64 {
	var w words
	sum := uint64(0)
	for i := range l {
		d, taken := &l[i], uint64(0)
		if d.Taken {
			taken = 1
		}
		w.begin(9)
		w.add(sum)
		w.add(uint64(d.Slot)<<32 | uint64(d.Source)<<1 | taken)
		w.add(d.Number)
		sum = w.hash()
	}
	return sum
}

// digest sums up what of a history all replicas have alike, and the rules for versions.
func (h *History) digest() uint64 {
	var w words
	w.begin(13)
	if w.add(uint64(h.raised)); h.raised != 0 {
		w.addID(h.last.ID)
		w.add(uint64(h.last.N))
	}
	if sum := h.m.keeping.rules.hash(); sum != 0 {
		w.add(sum)
	}
	return w.hash()
}
