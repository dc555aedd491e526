// Package rows writes the answers to queries as InfluxDB 1.8 writes them.
//
// It has the shape of an answer: a [Result] for each statement, in it a [Series] for each group, with columns and
// rows. [Chunks] cuts what an executor gives into results of a bounded number of rows; [JSON] and [CSV] write
// results as they come, and hold no more of an answer than one result and 32 KiB of text.
//
// It runs no query and knows no HTTP: the door of the node reads which format, epoch and chunk a request asked for. It
// sees no clock; times are numbers, and their zone comes with the series.
//
// # Order of results
//
// One answer is one sequence of results, for all writers:
//
//  1. Statements come in the order of their numbers.
//  2. While [Result.Partial] is set, the next result is of the same statement.
//  3. While [Series.Partial] is set, the next series, in this result or the next one, has the same name, tags and
//     columns, and its rows come behind these.
//  4. An error ends its statement. Rows that were given before it stay in the answer.
//
// A sequence that breaks the second or the third rule is a mistake of the program, and panics.
//
// # Where to look
//
// Start with rows.go; chunks.go cuts, json.go and csv.go write, epoch.go has times.
package rows
