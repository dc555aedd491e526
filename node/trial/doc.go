// Package trial tests muster as its users run it: as processes.
//
// It has nothing but tests. They build the binary once, start nodes on loopback
// with scratch data, kill, stop, move, fill and cut them, and look at what is
// left by the commands and by the Go client. Measurements that want such nodes
// are here too, each behind a flag. What a test needs of a command's answer it
// reads from the JSON, as a program would: it sees nothing of the commands' code.
//
// A test of one rule belongs to the package that has the rule, where it takes
// milliseconds. Here is what only shows when everything is put together.
//
// cluster_test.go has the nodes, binary_test.go the runs of the binary,
// rows_test.go what is read of the JSON.
package trial
