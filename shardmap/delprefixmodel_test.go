package shardmap

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"muster/raft"
	"muster/shardmap/pack"
)

// delPrefix looks at all keys of the slot, in order.
func (m *model) delPrefix(slot Slot, id raft.LogID, c *Command) Result {
	d, err := ReadDelPrefix(c)
	if err != nil {
		panic(err)
	}
	m.last[slot] = max(id.Index, m.last[slot]+1)
	deleted, size, more := 0, 0, false
	for _, k := range slices.Sorted(maps.Keys(m.keys)) {
		switch {
		case SlotOf([]byte(k)) != slot || !strings.HasPrefix(k, string(d.Prefix)):
		case deleted == int(d.Limit) || size >= DelPrefixBytesMax:
			more = true
		default:
			delete(m.keys, k)
			deleted, size = deleted+1, size+len(k)
		}
	}
	return Result{Status: StatusApplied, Group: m.group, ID: id, Version: m.last[slot],
		Detail: pack.AppendBool(pack.AppendUint(pack.AppendArray(nil, 2), uint64(deleted)), more)}
}

// randomDelPrefix deletes keys with a tag: few of them or all, and now and then none.
func randomDelPrefix(r *rand.Rand, tag string) Command {
	rest := fmt.Sprintf("%03d", r.IntN(300))[:1+r.IntN(3)]
	if r.IntN(8) == 0 {
		rest = ""
	}
	limit := []uint32{1, 2, 5, DelPrefixMax}[r.IntN(4)]
	return DelPrefixCommand(SlotOf([]byte(tag)), []byte(tag+rest), limit)
}
