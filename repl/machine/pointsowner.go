package machine

import (
	"errors"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap/points/block"
	"muster/shardmap/points/shard"
)

// PointsOwner is what a node does with the points of a group: it has the block files, and decides when heads become
// files. Each function may be nil, if the node has no files.
type PointsOwner struct {
	// Read calls read with a way to open block files of the group, which are closed when it returns. Any goroutine may call
	// it. It returns the error of read.
	Read func(read func(shard.Opener) error) error
	// Changed is called after a run of entries by which something has changed that seals go by. It must cost next to nothing.
	Changed func()
	// Settle says why no snapshot may name the files, "" if it may: then they stay for as long as a snapshot of the state as
	// of an entry may be kept. The goroutine that applies calls it.
	Settle func(at raft.LogID, files []block.Sum) (why string)
	// Listed is told which files a snapshot of the state as of an entry names, before they are used. Any goroutine may call
	// it.
	Listed func(at raft.LogID, files []block.Sum)
	// Busy says why the group takes no points where it is led; nil: it takes them. It must cost next to nothing.
	Busy func() *wire.Error
}

// errNoFiles is the error of a node without block files.
var errNoFiles = errors.New("the node has no block files")

// read calls read with a way to open block files.
func (o *PointsOwner) read(read func(shard.Opener) error) error {
	if o.Read != nil {
		return o.Read(read)
	}
	return read(func(block.Sum) (*block.Reader, error) { return nil, errNoFiles })
}

// Settle implements [repl.Settler].
func (m *Map) Settle(at raft.LogID) (why string) {
	if m.Points.Settle == nil || len(m.State.Shards()) == 0 {
		return ""
	}
	return m.Points.Settle(at, m.BlockFiles())
}
