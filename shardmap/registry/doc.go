// Package registry says what a service is.
//
// A service is one record: its settings, its instances, and for each instance what the
// checks have found. This package reads and writes that record, reads the files that
// people write, says what is wrong in them, hides what is secret, and picks an instance.
// It checks nothing, proposes nothing, and keeps nothing: that is for repl/health and
// shardmap. It sees no clock and no chance; whoever picks hands in the draw.
//
// # What replicas must agree on
//
// Applying an entry calls [Service.Set], [Service.Masked], [Instance.Report], [Service.Append]
// and [Service.Fits], and so depends on what those use: the limits, [Instance.Spec] with its
// defaults, [CutReason], and which settings are secrets. Two builds that compute any of it
// differently would make different records from one entry. So a change of it comes with a level
// (shardmap/commands.go), below which the outcome stays as it was. Files, [Service.Validate] and
// picking may change with any build.
//
// # Where to look
//
// Start with service.go; codec.go draws the bytes, file.go the format of files, settings.go
// has the table of the known settings, and pick.go chooses.
package registry
