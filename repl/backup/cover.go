package backup

import (
	"muster/shardmap"
)

// Cover returns the slots that none of some groups has, and those that more than one has. Each group
// shows a moment of its own, so a slot that moved between two of them is in one of these lists.
func Cover(groups []Group) (missing, twice []shardmap.SlotRange) {
	var count [shardmap.Slots]uint16
	for i := range groups {
		for _, r := range groups[i].Slots {
			for s := r[0]; s <= r[1]; s++ {
				count[s]++
			}
		}
	}
	var none, several []shardmap.Slot
	for s, n := range count {
		switch {
		case n == 0:
			none = append(none, shardmap.Slot(s))
		case n > 1:
			several = append(several, shardmap.Slot(s))
		}
	}
	return shardmap.SlotRanges(none), shardmap.SlotRanges(several)
}
