// Package bulk tests nodes with more data than fits at once, as processes.
//
// Whole trees of files are imported and exported while nodes die, values are written over until the
// log has to be cut and followers need snapshots, and disks run full. What one entry or one
// snapshot must be is tested in logstore and repl.
//
// snapshot_test.go writes over keys, full_test.go has the small disks.
package bulk
