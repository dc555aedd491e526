// Package clustertest runs muster as its users do, for tests: as processes.
//
// It builds the binary, starts nodes on loopback with scratch data, kills and stops them, runs
// commands against them, dials them and waits for conditions. It judges nothing: what must hold
// stands in the tests of node/trial and of the packages below it, and so does a helper that only one
// of them needs. The product does not import it.
//
// cluster.go has the nodes, members.go those that come later, binary.go the runs of the binary,
// rows.go the JSON that they print, dial.go connections without the library, cost.go what
// processes take of the machine, older.go binaries of earlier commits.
package clustertest
