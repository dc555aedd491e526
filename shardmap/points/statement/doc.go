// Package statement tells what statements of InfluxQL ask for that are no SELECT.
//
// [Of] takes what package query has parsed, and returns one of these, each of which another part carries out:
//
//   - [Show] is answered from the catalog of group 0: databases, policies, windows, shards.
//   - [Listing] is answered by shards: measurements, fields, tags, series, and how many there are of them. Its
//     [Request] goes to each of them, where [Scan] makes an [Answer]; [Listing.Rows] puts the answers together.
//   - [Order] is an entry for the log of group 0.
//   - [Deletion] takes points away, in all shards that it reaches.
//   - [Activity] is about running queries, and about nodes.
//
// A statement about what muster keeps elsewhere, such as users, is refused with the command that is meant for it:
// [RefusedError]. Answers have the names and columns of InfluxDB 1.8.
//
// It sends nothing, checks no right, and sees no clock: now() is handed in.
//
// Start with statement.go; listing.go is the half of a gateway, scan.go that of a shard, bytes.go what goes between them.
package statement
