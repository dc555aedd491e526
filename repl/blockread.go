package repl

import (
	"errors"

	"muster/logstore"
	"muster/logstore/blocks"
	"muster/repl/wire"
	"muster/shardmap/points/block"
)

// blockWhyMax bounds why a block file is not here, in bytes. It stands in place of the file's own bytes.
const blockWhyMax = 1000

// ReadBlockRange reads what a question asks for, and waits for the disk. Before the first bytes of a file it reads all of it: so damage is found
// where it is, and not after gigabytes where they arrive. The system then has the file in memory, as far as there is room.
func ReadBlockRange(files *blocks.Store, q *wire.BlockRange) *wire.BlockRangeAnswer {
	g, sum := blocks.Group{ID: q.Group, Incarnation: q.Incarnation}, block.Sum(q.Sum)
	a := &wire.BlockRangeAnswer{State: wire.BlockHere, Offset: q.Offset}
	var err error
	if q.Offset == 0 {
		err = files.Verify(g, sum)
	}
	if err == nil {
		p := make([]byte, q.Most)
		var n int
		var size int64
		n, size, err = files.ReadRange(g, sum, p, int64(min(q.Offset, blocks.FileMax+1)))
		a.Size, a.Data = uint64(size), p[:n]
	}
	if err == nil {
		return a
	}
	state := wire.BlockBusy
	if errors.Is(err, blocks.ErrUnknown) || errors.Is(err, logstore.ErrDamaged) || q.Offset > a.Size && a.Size > 0 {
		state = wire.BlockAbsent
	}
	why := err.Error()
	return &wire.BlockRangeAnswer{State: state, Why: why[:min(len(why), blockWhyMax)]}
}
