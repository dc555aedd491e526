package client

import (
	"maps"
	"slices"
	"testing"

	"muster/raft"
	"muster/repl/backup"
	"muster/shardmap"
)

// Of groups whose slots have moved between their moments those are taken again that had one which another had, too, and
// those that own what none had; no others, or a backup would not come to an end.
func TestGroupsTakenAgain(t *testing.T) {
	taken := func(id raft.GroupID, runs ...backup.Run) *backup.Group { return &backup.Group{ID: id, Slots: runs} }
	table := new(shardmap.Table)
	for s := range shardmap.Slot(shardmap.Slots) {
		table.Slots[s] = 1 + raft.GroupID(s/1024)
	}
	table.Slots[2000] = 7 // it went from group 2 to group 7 meanwhile
	for what, c := range map[string]struct {
		taken []*backup.Group
		want  []raft.GroupID
	}{
		"each slot once":                       {[]*backup.Group{taken(1, backup.Run{0, 1023}), taken(2, backup.Run{1024, 2047}), taken(3, backup.Run{2048, 4095})}, nil},
		"group 2 taken before, group 7 behind": {[]*backup.Group{taken(1, backup.Run{0, 1023}), taken(2, backup.Run{1024, 2047}), taken(3, backup.Run{2048, 4095}), taken(7, backup.Run{2000, 2000})}, []raft.GroupID{2, 7}},
		"sealed in group 2, not in group 7":    {[]*backup.Group{taken(1, backup.Run{0, 1023}), taken(2, backup.Run{1024, 1999}, backup.Run{2001, 2047}), taken(3, backup.Run{2048, 4095})}, []raft.GroupID{7}},
	} {
		k := &backupTaker{taken: map[raft.GroupID]*backup.Group{}}
		var groups []backup.Group
		for _, g := range c.taken {
			k.taken[g.ID] = g
			groups = append(groups, *g)
		}
		missing, twice := backup.Cover(groups)
		if got := slices.Sorted(maps.Keys(k.again(table, missing, twice))); !slices.Equal(got, c.want) {
			t.Errorf("%s: groups %v, want %v", what, got, c.want)
		}
	}
}
