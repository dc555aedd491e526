// Package login decides whose password is looked at next.
//
// It bounds what guessing and floods cost, and whom: [Failures] has a source wait
// after each failure, [Queue] gives all networks their turn alike, and each login
// takes as many rounds of hashing as any other ([Fits]). It does not read the
// cluster's users, makes no certificate, and has no clock, connection or goroutine:
// package node asks it, and answers.
//
// Start with failures.go.
package login
