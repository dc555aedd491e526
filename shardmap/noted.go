package shardmap

import (
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// When a key is written again or removed, a bit that had flipped in its record goes with it, and no
// walk can find it any more. But what was derived from it would stay. So whatever outlives a record
// is covered:
//
//   - Where a command goes by what a record says, as a condition, a compare, an incr, a get of a
//     transaction, a keepalive, a report or what ends do, the record's hash is compared first.
//   - Where a command only writes over a key or removes it, as most do, the value goes into the
//     history unseen: to compare the hash would cost a set 4 %. The history adds the hashes up, and
//     whoever reads a block for a walk or a snapshot compares the sum ([historyBlock.checkEvents]).
//   - The sum of a slot's records loses the hash that was kept, so it stays wrong if that was.
//
// A fault stops no entry, or the group would stand still wherever one memory fails. It is noted
// ([Map.Faults]): the owner sees it soon, and each walk of the map finds it.

// notedMax bounds the faults that a map notes. One is enough to have the state rebuilt; the others
// tell a person how far it went.
const notedMax = 16

// noted is what entries have found to be wrong with a map, whose goroutine that applies owns it.
type noted struct {
	faults []PartFault // at most notedMax
}

// Faults returns what was found to be wrong while entries were applied, at most one fault for each
// slot; nil if nothing was. The goroutine that applies calls it, and changes nothing of it. It looks
// at nothing, so it may be called after each entry.
func (n *noted) Faults() []PartFault { return n.faults }

// noteFault notes that something is wrong with a slot.
func (n *noted) noteFault(s Slot, what string, args ...any) {
	if len(n.faults) < notedMax && !hasFault(n.faults, Part(s)) {
		n.faults = append(n.faults, PartFault{Part(s), fmt.Sprintf(what, args...)})
	}
}

func hasFault(faults []PartFault, p Part) bool {
	return slices.ContainsFunc(faults, func(f PartFault) bool { return f.Part == p })
}

// intact reports whether the record's bytes are those that were written.
func (r record) intact() bool {
	end := recordHeader + r.keyLen() + r.valueLen() + r.ends().size()
	return end <= len(r) && xxhash.Sum64(r[8:end]) == r.hash()
}

// told returns what can be read of a record by which a command goes, and which was found by its key:
// all of it, unless memory has changed it.
func told(m *Map, rec record) record {
	if rec.intact() {
		return rec
	}
	return spoiled(m, rec)
}

// spoiled notes that a record is not intact. It returns what can be read of it, and has the history
// leave out its value, which watches would show.
func spoiled(m *Map, rec record) record {
	m.noteFault(m.turn.slot, "the record of key %s (version %d) is not as it was written: it has hash %016x", ShowKey(rec.key()), rec.version(), rec.hash())
	m.history.hide()
	if rec.size() <= len(rec) {
		return rec
	}
	// Its value would end behind the chunk.
	head := record(slices.Clone(rec[:recordHeader+rec.keyLen()]))
	head.setHead(0, rec.keyLen(), rec.kind(), endsNever)
	return head
}

// Faults returns what was found so far, one for each slot in which something is wrong, and for each
// other part and each block of the history. What entries have found (the map's Faults) comes first,
// wherever the walk is.
func (w *Walk) Faults() []PartFault {
	noted := w.m.Faults()
	if len(noted) == 0 {
		return w.faults
	}
	all := slices.Clone(noted)
	for _, f := range w.faults {
		if f.Part >= Slots || !hasFault(noted, f.Part) {
			all = append(all, f)
		}
	}
	return all
}
