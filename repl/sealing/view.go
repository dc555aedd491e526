package sealing

import (
	"time"

	"muster/raft"
	"muster/shardmap"
	"muster/shardmap/points/block"
)

// Now is what the host's clock shows; it goes on evenly.
type Now = time.Duration

// FrozenView is a frozen head that the replica has in memory.
type FrozenView struct {
	Number uint64 // of its seal
	// Older are the files that are read to make its file: the newest ones of the shard at its seal, as many as the seal
	// merges, and all of them if the head has fills, which yield to older points. Oldest first.
	Older []block.Sum
	Bytes int64 // of memory
	// Confirmed is what the group calls its file, and nil until then. A head stays frozen behind that until its
	// [Release]: the replica may have the file not yet.
	Confirmed *shardmap.PointsSealed
}

// ShardView is how a replica has a shard.
type ShardView struct {
	Ref        shardmap.ShardRef
	Seals      uint64                  // number of the last seal that was applied; 0: none
	HeadBytes  int64                   // of memory
	HeadValues int64                   // 0 if there is nothing to be sealed
	HeadSince  Now                     // when it got the first of them
	Tombstones int                     // deletes that are kept because of older points
	Frozen     []FrozenView            // oldest first
	Files      []shardmap.PointsSealed // confirmed and not replaced, oldest first
	Over       bool                    // its window is over: no more is expected than points that come late
	Gone       bool                    // the table has its window no more, and it is time to drop it
}

// GroupView is how a node has a replica, but for its shards.
type GroupView struct {
	// Term is that in which the group is led here, with an entry of it applied; 0: it is not led here.
	Term uint64
	// Current reports whether the replica has applied what was committed when it started: before that, files
	// of the disk may be those of entries that it is about to apply.
	Current bool
	// Others are the nodes of the other replicas, in any order.
	Others []raft.NodeID
	// Pressed reports whether the node of another replica has told that its heads are over the soft limit
	// ([Core.Presses]): a replica that follows seals nothing by itself.
	Pressed bool
}

// Limits bounds the memory of the heads of a node, frozen ones counted, in bytes.
type Limits struct {
	Soft int64 // above it heads are sealed, largest first
	Hard int64 // above it leaders take no points; more than Soft
}

// DefaultLimits leave a node of 4 GB three quarters for the rest.
var DefaultLimits = Limits{Soft: 512 << 20, Hard: 1 << 30}
