//go:build plantedbugs

package sim

import (
	"slices"
	"strings"

	"muster/repl/machine"
)

// flawsDrawn are the kinds of flaws that runs draw. Of those that are bits of a map, FlawRecord
// stands for all.
var flawsDrawn = []FlawKind{FlawSkipped, FlawTwice, FlawRestored, FlawTable, FlawRecord, FlawRecord, FlawRecord, FlawRecord}

// spoil makes a fault of memory in a state, if it can be made now: not while a copy of it is out,
// for then nobody could say whether that is wrong too.
func (x *flaws) spoil(w *watched, f *flaw) {
	draw := x.c.chance.below
	if w.state == nil {
		part, what, ok := w.inner.(*machine.Meta).Table.Spoil(draw)
		if ok {
			f.part, f.what = uint32(part), what
			f.begins(w)
		}
		return
	}
	if w.state.State.CopiesOut() > 0 {
		return
	}
	part, what, ok := w.state.State.Spoil(draw)
	if !ok {
		return
	}
	if f.part, f.what = uint32(part), what; f.kind == FlawRecord {
		f.kind = bitOf(what)
	}
	f.begins(w)
}

// flawBits are words for what of a map a bit is of.
var flawBits = [...]struct {
	kind  FlawKind
	words []string
}{
	{FlawRecord, []string{"record"}},
	{FlawLookup, []string{"lookup"}},
	{FlawOrder, []string{"order", "leaf", "separator"}},
	{FlawSession, []string{"session", "outcome", "detail", "node"}},
	{FlawVersion, []string{"last version"}},
}

// bitOf returns of what kind a bit is.
func bitOf(what string) FlawKind {
	for _, row := range flawBits {
		if slices.ContainsFunc(row.words, func(word string) bool { return strings.Contains(what, word) }) {
			return row.kind
		}
	}
	return FlawBeside
}
