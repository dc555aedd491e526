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
	deleted, looked, size, more, last := 0, 0, 0, false, ""
	for _, k := range slices.Sorted(maps.Keys(m.keys)) {
		switch {
		case SlotOf([]byte(k)) != slot || !strings.HasPrefix(k, string(d.Prefix)) || len(d.After) > 0 && k <= string(d.After):
		case deleted == int(d.Limit) || size >= DelPrefixBytesMax || looked == DelPrefixLookMax:
			more = true
		case d.UpTo > 0 && m.keys[k].version > d.UpTo:
			looked, last = looked+1, k
		default:
			delete(m.keys, k)
			deleted, looked, size, last = deleted+1, looked+1, size+len(k), k
		}
	}
	if !more {
		last = ""
	}
	return Result{Status: StatusApplied, Group: m.group, ID: id, Version: m.last[slot],
		Detail: pack.AppendBytes(pack.AppendBool(pack.AppendUint(pack.AppendArray(nil, 3), uint64(deleted)), more), []byte(last))}
}

// randomDelPrefix deletes keys with a tag: few of them or all, and now and then none. last is about the version
// of the newest of them.
func randomDelPrefix(r *rand.Rand, tag string, last uint64) Command {
	rest := fmt.Sprintf("%03d", r.IntN(300))[:1+r.IntN(3)]
	if r.IntN(8) == 0 {
		rest = ""
	}
	limit := []uint32{1, 2, 5, DelPrefixMax}[r.IntN(4)]
	d := DelPrefix{Prefix: []byte(tag + rest), Limit: limit}
	if r.IntN(2) == 0 {
		d.UpTo = last - min(last, r.Uint64N(100))
	}
	if r.IntN(3) == 0 {
		d.After = fmt.Appendf(d.Prefix[:len(d.Prefix):len(d.Prefix)], "%d", r.IntN(10))
	}
	return d.Command(SlotOf([]byte(tag)))
}
