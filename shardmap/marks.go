package shardmap

import "slices"

// founding is what entries with a number have left behind in a map. It changes with moves, which are
// rare, so that a sum of it costs nothing.
type founding struct {
	founded         uint64 // the number of the founding; 0: it was not applied yet
	foundedInverted uint64 // Invariant: ^founded, for [Walk]
	marks           marks
	marksSum        uint64 // of marks, for [Walk]
}

func (f *founding) hold(number uint64, l marks) {
	f.founded, f.foundedInverted, f.marks, f.marksSum = number, ^number, l, l.sum()
}

// marks are the marks of all slots, as runs, in order; where there is none, the mark
// is 0. Two runs that could be one never stand beside each other, so equal marks are
// equal runs. They never change: another list takes their place.
type marks []markRun

type markRun struct {
	SlotRange
	mark uint64
}

// allMarks has the mark of each slot. Marks change with moves, which are rare, so
// that 32 KiB are filled for each does not matter.
type allMarks [Slots]uint64

// fill makes all those of m.
func (a *allMarks) fill(m marks) {
	for _, r := range m {
		for s := r.From; s <= r.To; s++ {
			a[s] = r.mark
		}
	}
}

// of returns the mark of a slot.
func (m marks) of(s Slot) uint64 {
	i, ok := slices.BinarySearchFunc(m, s, func(r markRun, s Slot) int {
		switch {
		case r.To < s:
			return -1
		case r.From > s:
			return 1
		}
		return 0
	})
	if !ok {
		return 0
	}
	return m[i].mark
}

func (a *allMarks) runs() (m marks) {
	for s, mark := range a {
		n := len(m)
		switch {
		case mark == 0:
		case n > 0 && m[n-1].mark == mark && int(m[n-1].To)+1 == s:
			m[n-1].To = Slot(s)
		default:
			m = append(m, markRun{SlotRange{Slot(s), Slot(s)}, mark})
		}
	}
	return m
}
