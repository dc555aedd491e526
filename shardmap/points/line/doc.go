// Package line reads line protocol.
//
// [Parser.Parse] makes a [points.Batch] of the text of one write: a good line becomes a point, a bad one
// is named by its number and its reason, and leaves nothing behind. [Append] writes a point as a line.
// InfluxData's library does both; docs/points.md lists where that differs from InfluxDB 1.8, and
// decision 45 says why the library does not get a text as a whole.
//
// The package sees no clock: the time of points without one is handed in. What a batch means, and whether
// its measurements and fields may be written, is not known here.
//
// # Lines
//
//	measurement,tag=value,tag=value field=value,field=value time
//
// A line ends at a newline that stands in no string. The library finds that out while it reads fields, and so does not
// know it of a line that it has refused before: it would read on in the string. So the text is cut into lines
// first, and each that may have a string is read by itself.
//
// # Where to look
//
// Start with parser.go; lines.go cuts a text into lines, point.go reads one, error.go says what is wrong with it,
// print.go writes lines.
package line
