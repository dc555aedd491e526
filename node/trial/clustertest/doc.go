// Package clustertest runs muster as its users do, for tests: as processes.
//
// It builds the binary, starts nodes on loopback with scratch data, kills and stops them, runs
// commands against them, dials them and waits for what they come to. It judges nothing: what must
// hold stands in the tests of node/trial and of the packages below it. What only one of these
// packages needs stands there too. The product imports nothing of it.
//
// cluster.go has the nodes, members.go those that come later, binary.go the runs of the binary,
// rows.go what is read of their JSON, dial.go connections without the library, cost.go what
// processes take of the machine, older.go binaries of earlier commits.
package clustertest
