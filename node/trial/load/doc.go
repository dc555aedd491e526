// Package load tests what nodes bear, as processes under load.
//
// Clients that ask for more than there is, attackers, and leaders that die while somebody writes
// must cost the others no more than a bound; what measures a figure of docs/performance.md is here
// too, behind a flag, for a machine that does nothing else. Its tests wait until no other package runs
// muster, and run alone. It does not ask whether answers are right: node/trial does.
//
// load_test.go has what these tests share.
package load
