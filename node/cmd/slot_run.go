package cmd

import (
	"strconv"
	"strings"

	"muster/shardmap"
)

// slotsNamed reads a run of slots, as FROM-TO, or one slot.
func slotsNamed(command, arg string) (r shardmap.SlotRange, err error) {
	from, to, ok := strings.Cut(arg, "-")
	if !ok {
		to = from
	}
	first, err1 := strconv.ParseUint(from, 10, 16)
	last, err2 := strconv.ParseUint(to, 10, 16)
	switch {
	case err1 != nil || err2 != nil || first >= shardmap.Slots || last >= shardmap.Slots:
		return r, usagef("%s: slots %s; want a slot, 0 to %d, or FROM-TO", command, shown([]byte(arg)), shardmap.Slots-1)
	case first > last:
		return r, usagef("%s: slots %s; want no more in FROM than in TO", command, shown([]byte(arg)))
	}
	return shardmap.SlotRange{From: shardmap.Slot(first), To: shardmap.Slot(last)}, nil
}
