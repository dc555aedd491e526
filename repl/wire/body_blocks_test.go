package wire_test

import (
	"strings"
	"testing"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap/pack"
)

// A question for a block file, or an answer, that means nothing or claims too much is refused, and says why.
func TestBlockRangesRefused(t *testing.T) {
	good := wire.BlockRange{Group: 3, Incarnation: 2, Offset: 5, Most: wire.ChunkBytesMax}
	for want, change := range map[string]func(q *wire.BlockRange){
		"0 bytes of a block file are wanted, want 1 to 262144":      func(q *wire.BlockRange) { q.Most = 0 },
		"262145 bytes of a block file are wanted, want 1 to 262144": func(q *wire.BlockRange) { q.Most++ },
		"9999": func(q *wire.BlockRange) { q.Group = raft.GroupMax + 1 },
	} {
		q := good
		change(&q)
		if err := new(wire.BlockRange).Read(q.Append(nil)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	short := pack.AppendUint(pack.AppendUint(pack.AppendBytes(pack.AppendUint(pack.AppendUint(pack.AppendArray(nil, 5), 3), 2), make([]byte, 31)), 5), 1)
	if err := new(wire.BlockRange).Read(short); err == nil || !strings.Contains(err.Error(), "31 bytes, want 32") {
		t.Errorf("a short sum: %v", err)
	}
	for want, a := range map[string]wire.BlockRangeAnswer{
		"answered with state 0":                      {},
		"answered with state 4":                      {State: 4},
		"262145 bytes of a block file, the limit":    {State: wire.BlockHere, Size: 1 << 20, Data: make([]byte, wire.ChunkBytesMax+1)},
		"2 bytes at offset 9 of a block file of 10":  {State: wire.BlockHere, Size: 10, Offset: 9, Data: make([]byte, 2)},
		"0 bytes at offset 11 of a block file of 10": {State: wire.BlockHere, Size: 10, Offset: 11},
		"not here has a size":                        {State: wire.BlockAbsent, Size: 10},
	} {
		if err := new(wire.BlockRangeAnswer).Read(a.Append(nil)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
