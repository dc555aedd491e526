// Package query answers SELECT statements of InfluxQL from the points of many shards.
//
// It finds no shard, sends nothing, and knows no database or node: an owner asks the shards and brings their answers
// back. It knows no clock; now() is handed in. Statements other than SELECT are read by [Parse], and carried out
// elsewhere.
//
// # The way of a query
//
//  1. [Parse] reads the text: InfluxData's parser, behind limits that are checked before it recurses.
//  2. [Compile] checks a SELECT as InfluxDB does. [Query.Span] and [Query.Sources] say which shards it is about.
//  3. [Describe] tells of each shard what the measurements have; [Merge] puts these outlines together.
//  4. [Query.Plan] makes one [Request] for all shards.
//  5. [Scan] carries it out at a shard, and gives an [Answer]: for each group of series the aggregates of each window of
//     time, or the points themselves where a function needs them all.
//  6. [Plan.Rows] merges the answers, fills windows, applies functions of stage 2, limits and arithmetic, and gives rows;
//     [Plan.Each] gives them group by group.
//
// [Request], [Answer] and [Outline] have bytes, which are read under bounds.
//
// # Duties of the owner
//
//  1. Ask the same shards for their outline and with the request, and each shard once.
//  2. Hand the answers to [Plan.Rows] in one order, such as that of windows and of shards in a window. Floats are summed
//     in it: of one series in order of time, then over the series of a shard in order of their keys, then over the shards.
//     Another spread of the series over shards may change the last bits of a sum or a mean of floats, and nothing else.
//  3. Give each [Scan] and each [Plan.Rows] a [Budget], whose Over ends a query that takes too long or was killed.
//
// # Where to look
//
// Start with parse.go for the limits, compile.go for what may be asked, plan.go for how it is split. scan.go, tally.go and
// fold.go run at shards; gather.go, reduce.go, rank.go, fill.go, transform.go and emit.go where the answers come together;
// windows.go cuts time. testdata/select.txt shows what comes out.
package query
