// Package line reads line protocol.
//
// [Parser.Parse] makes a [points.Batch] of the text of one write: a good line becomes a point, a bad one
// is named by its number and its reason, and leaves nothing behind. [Append] writes a point as a line.
// InfluxDB 1.8 is the measure of both; docs/points.md lists where they differ, and decision
// 45 says why this is not the library github.com/influxdata/line-protocol.
//
// The package sees no clock: the time of points without one is handed in. What a batch means, and whether
// its measurements and fields may be written, is not known here.
//
// # Lines
//
//	measurement,tag=value,tag=value field=value,field=value time
//
// A line ends at a newline that stands in no string. Since that is for the fields to say, a bad line could
// hide a good one in its string; so the end of a bad line is looked for apart, by [lineEnd], and nothing of
// it is read as another.
//
// # Where to look
//
// Start with parser.go; field.go reads values, number.go numbers, print.go writes lines.
package line
