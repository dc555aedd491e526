// Package trial tests muster as its users run it: as processes.
//
// It has nothing but tests. They start nodes on loopback with scratch data, kill, stop, move, fill
// and cut them, and look at what is left by the commands and by the Go client. What a test needs of
// a command's answer it reads from the JSON, as a program would: it sees nothing of the commands'
// code.
//
// A test of one rule belongs to the package that has the rule, where it takes
// milliseconds. Here is what only shows when everything is put together.
//
// The packages below it have one subject each, so that each takes a minute or two: bulk has much data
// and full disks; load has what nodes must bear, and what measures; security has secrets, strangers
// and refusals; services has the targets of checks; web has a browser, a terminal and readers over
// HTTP. All of them get their nodes from clustertest.
package trial
