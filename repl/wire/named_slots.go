package wire

import (
	"fmt"

	"muster/shardmap"
	"muster/shardmap/pack"
)

// A listing ends with what it has beside the fields that all have: nothing; or the slots that it
// names, as [[from, to] …], both included, in order; or slots, or nil for none, and its [Span].

// fieldsWith is how many fields a listing has of which so many are neither slots nor of a span.
func fieldsWith(fields int, runs []shardmap.SlotRange, s *Span) int {
	switch {
	case !s.zero():
		return fields + 1 + spanFields
	case len(runs) > 0:
		return fields + 1
	}
	return fields
}

func appendSlots(b []byte, runs []shardmap.SlotRange, s *Span) []byte {
	if len(runs) == 0 && s.zero() {
		return b
	}
	if len(runs) == 0 {
		b = pack.AppendNil(b)
	} else {
		b = appendRuns(b, runs)
	}
	if s.zero() {
		return b
	}
	b = pack.AppendBytes(b, s.From)
	b = pack.AppendBytes(b, s.To)
	b = pack.AppendBool(b, s.Descending)
	return pack.AppendBool(b, s.Counting)
}

// appendRuns appends runs of slots, [[from, to] …].
func appendRuns(b []byte, runs []shardmap.SlotRange) []byte {
	b = pack.AppendArray(b, len(runs))
	for _, r := range runs {
		b = pack.AppendArray(b, 2)
		b = pack.AppendUint(b, uint64(r.From))
		b = pack.AppendUint(b, uint64(r.To))
	}
	return b
}

// readSlots reads the slots and the span that may stand behind so many fields, where there are
// found, and the end of the body.
func readSlots(r *pack.Reader, found, fields int, s *Span) (runs []shardmap.SlotRange, err error) {
	*s = Span{}
	if found == fields {
		return nil, r.Done()
	}
	if err := r.Err(); err != nil {
		return nil, err
	}
	spanned := found == fields+1+spanFields
	if found != fields+1 && !spanned {
		return nil, fmt.Errorf("%d fields, want %d, with slots %d, or with a span %d", found, fields, fields+1, fields+1+spanFields)
	}
	if !spanned || !r.Nil() {
		if runs, err = readRuns(r); err != nil {
			return nil, err
		}
	}
	if spanned {
		if err := s.read(r); err != nil {
			return nil, err
		}
	}
	return runs, r.Done()
}

// runsMax bounds the runs of slots of one body: each has at least one slot.
const runsMax = shardmap.Slots

// readRuns reads runs of slots, 1 or more, in order.
func readRuns(r *pack.Reader) (runs []shardmap.SlotRange, err error) {
	const runBytesMin = 3
	n := r.Array()
	if err := r.Err(); err != nil {
		return nil, err
	}
	if room := len(r.Rest()); n < 1 || n > room/runBytesMin || n > runsMax {
		return nil, fmt.Errorf("field slots: %d runs in %d bytes, want 1 to %d", n, room, runsMax)
	}
	runs = make([]shardmap.SlotRange, n)
	for i := range runs {
		r.ArrayLen(2)
		x := shardmap.SlotRange{From: shardmap.Slot(r.UintMax(shardmap.Slots - 1)), To: shardmap.Slot(r.UintMax(shardmap.Slots - 1))}
		if err := r.Err(); err != nil {
			return nil, err
		}
		if x.From > x.To || i > 0 && x.From <= runs[i-1].To {
			return nil, fmt.Errorf("field slots: %s is out of order", x)
		}
		runs[i] = x
	}
	return runs, nil
}
