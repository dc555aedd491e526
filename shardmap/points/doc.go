// Package points says what a time series is made of.
//
// It has the words of the subsystem: the value of a field, the key of a series with its hash and its shard,
// windows of time, and the columns in which one write brings its points. A [Builder] takes
// points one after the other, refuses those that can't be kept, and makes a [Batch] of the rest; [Split]
// takes a batch apart by window and shard; [Share.Append] makes the bytes that stand in a log, and a
// [ShareReader] makes a batch of them again.
//
// It reads no line protocol but for keys of series (points/line does), it has no files (points/block), and
// it knows no database, policy or node. It sees no clock; a
// [Builder] places names in its table by chance, so that nobody can make them collide, and the order
// of nothing depends on it.
//
// # What must never change
//
// The key of a series as it is written, its [SeriesHash] and [SeriesHash.Shard], and [WindowOf] decide
// where a point is stored. Two builds that differ in any of them would look for it in different places.
// The bytes of a share may change with [ShareVersion] alone.
//
// # Where to look
//
// Start with value.go and key.go; error.go has all reasons for which a point is refused, limits.go the
// limits, builder.go how points become columns, split.go how columns find their shards, share.go what
// bytes they are then.
package points
