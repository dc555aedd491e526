package shardmap

import (
	"fmt"

	"muster/raft"
	"muster/shardmap/pack"
)

// Holding says what a group has of a slot. Numbers are for ever: they are on the wire.
type Holding uint8

const (
	HoldsNothing Holding = 0 // the slot is another group's; there may be an import
	HoldsOwned   Holding = 1 // the group serves it
	HoldsSealed  Holding = 2 // it is on its way to another group, and nobody serves it until that one has decided
)

func (h Holding) String() string {
	switch h {
	case HoldsNothing:
		return "nothing"
	case HoldsOwned:
		return "owned"
	case HoldsSealed:
		return "sealed"
	}
	return fmt.Sprintf("holding %d", uint8(h))
}

// Decision is what a target has decided about a move, for as long as somebody may ask.
type Decision struct {
	Number uint64
	Taken  bool // it took the slot over; else it refused
	Source raft.GroupID
}

// ImportView is what a target holds of a slot that it may take over.
type ImportView struct {
	Number  uint64 // of the move; 0: there is no import
	Source  raft.GroupID
	Attempt Attempt
	Chunks  uint64     // pieces taken of this attempt; the index of the next
	At      raft.LogID // of the source: where the last whole pass ended; zero: none was whole
	Digest  uint64     // of what it holds; the slot's as of At unless a pass is under way
	Partial bool       // a pass is under way
}

// SlotView is what the log of one group says of one slot, as far as moves go.
type SlotView struct {
	Slot    Slot
	Holding Holding

	// Of a sealed slot.
	Number   uint64       // of the move
	Target   raft.GroupID // that it is sealed for
	Sealed   raft.LogID   // of the seal
	SealTime raft.GroupTime
	Digest   uint64

	Mark      uint64
	Import    ImportView
	Decisions []Decision // by number
	// Keys and Bytes are of an owned or a sealed slot: its keys, and the names and values
	// of records of all kinds.
	Keys, Bytes uint64
	// Last is the last version of an owned or a sealed slot: none of its keys has a greater one, and each
	// that is written later does, wherever the slot is then. A node below [RangesLevel] does not tell it; 0 where the
	// slot was never written.
	Last uint64
}

// Bare returns the view without what tells of the keys in the slot: how many there are, how large they are, and the
// digests, by which somebody could make sure of a guess, and when it was written. It has what a client follows slots by.
func (v *SlotView) Bare() SlotView {
	bare := *v
	bare.Keys, bare.Bytes, bare.Digest, bare.Import, bare.Last = 0, 0, 0, ImportView{}, 0
	return bare
}

const (
	viewFields     = 14
	viewFieldsOld  = 13 // below [RangesLevel], without Last
	importFields   = 9
	decisionFields = 3
	// decisionBytesMin is what a decision takes at least.
	decisionBytesMin = 1 + decisionFields
)

// AppendView appends the bytes of a view: a msgpack array,
//
//	[slot, holding, number, target, sealed term, sealed index, seal time, digest, mark,
//	 import, [[number, taken, source], …], keys, bytes, last]
//
// with import as nil if there is none, else
//
//	[number, source, attempt term, attempt number, chunks, at term, at index, digest, partial]
func AppendView(b []byte, v *SlotView) []byte {
	b = pack.AppendArray(b, viewFields)
	b = pack.AppendUint(b, uint64(v.Slot))
	b = pack.AppendUint(b, uint64(v.Holding))
	b = pack.AppendUint(b, v.Number)
	b = pack.AppendUint(b, uint64(v.Target))
	b = pack.AppendUint(b, v.Sealed.Term)
	b = pack.AppendUint(b, v.Sealed.Index)
	b = pack.AppendUint(b, uint64(v.SealTime))
	b = pack.AppendUint(b, v.Digest)
	b = pack.AppendUint(b, v.Mark)
	if i := &v.Import; i.Number == 0 {
		b = pack.AppendNil(b)
	} else {
		b = pack.AppendArray(b, importFields)
		b = pack.AppendUint(b, i.Number)
		b = pack.AppendUint(b, uint64(i.Source))
		b = pack.AppendUint(b, i.Attempt.Term)
		b = pack.AppendUint(b, i.Attempt.Number)
		b = pack.AppendUint(b, i.Chunks)
		b = pack.AppendUint(b, i.At.Term)
		b = pack.AppendUint(b, i.At.Index)
		b = pack.AppendUint(b, i.Digest)
		b = pack.AppendBool(b, i.Partial)
	}
	b = pack.AppendArray(b, len(v.Decisions))
	for _, d := range v.Decisions {
		b = pack.AppendArray(b, decisionFields)
		b = pack.AppendUint(b, d.Number)
		b = pack.AppendBool(b, d.Taken)
		b = pack.AppendUint(b, uint64(d.Source))
	}
	b = pack.AppendUint(b, v.Keys)
	b = pack.AppendUint(b, v.Bytes)
	return pack.AppendUint(b, v.Last)
}

// ReadView reads what AppendView appended. What a newer version has added behind the
// fields of a view, an import or a decision is skipped. A mistake stays in r.
func ReadView(r *pack.Reader) (v SlotView) {
	found := r.Array()
	v.Slot, v.Holding = Slot(r.UintMax(Slots-1)), Holding(r.UintMax(uint64(HoldsSealed)))
	v.Number, v.Target = r.Uint(), raft.GroupID(r.UintMax(uint64(raft.GroupMax)))
	v.Sealed = raft.LogID{Term: r.Uint(), Index: r.Uint()}
	v.SealTime, v.Digest, v.Mark = raft.GroupTime(r.Uint()), r.Uint(), r.Uint()
	if !r.Nil() {
		i, found := &v.Import, r.Array()
		i.Number, i.Source = r.Uint(), raft.GroupID(r.UintMax(uint64(raft.GroupMax)))
		i.Attempt, i.Chunks = Attempt{r.Uint(), r.Uint()}, r.Uint()
		i.At = raft.LogID{Term: r.Uint(), Index: r.Uint()}
		i.Digest, i.Partial = r.Uint(), r.Bool()
		r.Trailing(found, importFields)
	}
	n := r.Array()
	if left := len(r.Rest()); n > left/decisionBytesMin {
		r.Fail(fmt.Sprintf("%d decisions in %d bytes", n, left))
	}
	if n > 0 && r.Err() == nil {
		v.Decisions = make([]Decision, 0, n)
	}
	for k := 0; k < n && r.Err() == nil; k++ {
		found := r.Array()
		d := Decision{Number: r.Uint(), Taken: r.Bool(), Source: raft.GroupID(r.UintMax(uint64(raft.GroupMax)))}
		r.Trailing(found, decisionFields)
		v.Decisions = append(v.Decisions, d)
	}
	v.Keys, v.Bytes = r.Uint(), r.Uint()
	if found == viewFieldsOld {
		return v
	}
	v.Last = r.Uint()
	r.Trailing(found, viewFields)
	return v
}
