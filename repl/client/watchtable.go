package client

import (
	"math"
	"slices"

	"muster/raft"
	"muster/shardmap"
)

// watchTable is what a watch takes from the table of now. Streams say where slots are; a table
// says which groups there are, and helps where a stream can't have said it.
type watchTable struct {
	of     *Watching // set once
	routes *Routes   // of now

	// skips names a group that was removed before all that it had to tell was seen, perhaps; 0:
	// there is none. What left it then may be in a group that nobody has told of; checked is the
	// table by which that was looked at.
	skips   raft.GroupID
	checked *Routes
	// owners are the groups that have slots by the table that they are of.
	owners   []raft.GroupID
	ownersOf *Routes
}

// known reports whether the table has a group.
func (t *watchTable) known(g raft.GroupID) bool {
	_, ok := slices.BinarySearch(t.routes.Groups, g)
	return ok
}

// removed reports whether a group that took part in a move has been removed since.
func (t *watchTable) removed(g raft.GroupID, number uint64) bool {
	return t.routes.Index >= number && !t.known(g)
}

// missing handles that the table does not have a group which is to be opened: it may be behind,
// or the group was removed, with what it had to tell.
func (t *watchTable) missing(f *followed) {
	w := t.of
	if f.unknown == 0 {
		f.unknown = max(w.now, 1)
	}
	if left := f.unknown + watchGone - w.now; left > 0 {
		w.at(w.now + min(left, watchRetryMax))
	} else if f.again {
		f.again = false
		f.skipped = append(f.skipped, skip{f.at, shardmap.After(raft.LogID{Term: math.MaxUint64, Index: math.MaxUint64})})
		t.skips, t.checked = f.group, nil
		w.at(w.now)
	}
}

// followOwners follows the groups that have slots by the table, whether or not another has
// told of them.
func (t *watchTable) followOwners() {
	w := t.of
	for _, g := range t.ownersNow() {
		switch {
		case w.groups[g] != nil:
		case w.single:
			w.fail(w.gone(t.skips, g))
		default:
			w.follow(g).again = true
		}
	}
}

// behindTable reports whether a group, whose stream has ended since it had none of the slots, is
// to be opened by the table's word. That counts where a watch began from positions: they don't
// say which slots were on their way. One may have come by now, or have come and gone on.
func (t *watchTable) behindTable(f *followed) bool {
	w := t.of
	if w.start.fromNow || !f.joined {
		return false
	}
	w.at(w.now + watchRetryMax)
	owners := t.ownersNow()
	waits := func(o *followed) bool { return o.blocked != 0 } // for a group that one of these may name
	return slices.Contains(owners, f.group) || slices.ContainsFunc(w.turns, waits) ||
		slices.ContainsFunc(owners, func(g raft.GroupID) bool { return w.groups[g] == nil })
}

// ownersNow returns the groups that have slots by the table.
func (t *watchTable) ownersNow() []raft.GroupID {
	w := t.of
	if t.ownersOf != t.routes {
		t.owners, _ = byGroup(t.routes, w.ask.Slots)
		t.ownersOf = t.routes
	}
	return t.owners
}
