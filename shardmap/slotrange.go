package shardmap

import (
	"fmt"
	"slices"
	"strings"

	"muster/shardmap/pack"
)

// SlotRange is a run of slots, both ends included.
type SlotRange struct {
	From, To Slot
}

func (r SlotRange) String() string { return fmt.Sprintf("%d-%d", r.From, r.To) }

// Short is r as commands take it: one slot has no second end.
func (r SlotRange) Short() string {
	if r.From == r.To {
		return fmt.Sprint(r.From)
	}
	return r.String()
}

// Text is r for a sentence.
func (r SlotRange) Text() string {
	if r.From == r.To {
		return "slot " + r.Short()
	}
	return "slots " + r.Short()
}

// slotsAre begins a sentence about r.
func slotsAre(r SlotRange) string {
	if r.From == r.To {
		return r.Text() + " is"
	}
	return r.Text() + " are"
}

// countSlots is so many slots for a sentence.
func countSlots(n int) string {
	if n == 1 {
		return "1 slot"
	}
	return fmt.Sprintf("%d slots", n)
}

// listShort names runs of slots, the first of many.
func listShort(runs []SlotRange) string {
	var text []string
	for _, r := range runs[:min(len(runs), describedMax)] {
		text = append(text, r.Short())
	}
	if len(runs) > describedMax {
		text = append(text, "…")
	}
	return strings.Join(text, ", ")
}

// Len returns how many slots there are in r.
func (r SlotRange) Len() int { return int(r.To) - int(r.From) + 1 }

// Has reports whether a slot is in r.
func (r SlotRange) Has(s Slot) bool { return r.From <= s && s <= r.To }

// each yields the slots of r.
func (r SlotRange) each() func(yield func(Slot) bool) {
	return eachOf([]SlotRange{r})
}

// eachOf calls f for each slot of some runs.
func eachOf(runs []SlotRange) func(f func(Slot) bool) {
	return func(f func(Slot) bool) {
		for _, r := range runs {
			for s := r.From; s <= r.To; s++ {
				if !f(s) {
					return
				}
			}
		}
	}
}

// SlotRanges returns slots as runs, in order, each as long as it can be.
func SlotRanges(slots []Slot) (runs []SlotRange) {
	slots = slices.Clone(slots)
	slices.Sort(slots)
	for _, s := range slices.Compact(slots) {
		if n := len(runs); n > 0 && runs[n-1].To+1 == s {
			runs[n-1].To = s
			continue
		}
		runs = append(runs, SlotRange{s, s})
	}
	return runs
}

func appendRanges(b []byte, runs []SlotRange) []byte {
	b = pack.AppendArray(b, len(runs))
	for _, r := range runs {
		b = pack.AppendArray(b, 2)
		b = pack.AppendUint(b, uint64(r.From))
		b = pack.AppendUint(b, uint64(r.To))
	}
	return b
}

// rangeBytesMin is what a run takes at least.
const rangeBytesMin = 3

func (r *tableReader) ranges() []SlotRange {
	return list(r, rangeBytesMin, func() SlotRange {
		r.fields("run of slots", 2)
		return r.slotRange()
	})
}

// slotRange reads the two ends of a run.
func (r *tableReader) slotRange() SlotRange {
	return SlotRange{Slot(r.UintMax(Slots - 1)), Slot(r.UintMax(Slots - 1))}
}

// checkRanges says why runs are not as [SlotRanges] makes them.
func checkRanges(runs []SlotRange) error {
	for i, r := range runs {
		if r.To >= Slots || r.From > r.To || i > 0 && r.From <= runs[i-1].To+1 {
			return fmt.Errorf("slots %s are out of order", r)
		}
	}
	return nil
}
