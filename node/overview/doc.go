// Package overview judges a cluster by what its nodes say.
//
// It is pure: it asks nobody and knows no time but what it is given. Package feed, above it,
// asks the nodes again and again, and hands on what this package makes of the answers.
//
// There is one judgement of what is wrong, in three forms. A node's own is in its status; a
// [Patient] adds what only the answers of all nodes show, and is what muster doctor prints; an
// [Overview] has both, and one verdict about them. So the three can't contradict each other: a
// verdict is "error" exactly if a status is not healthy or the doctor has found an error.
//
//	patient.go   what all nodes have answered; findings.go and clocks.go judge it
//	strain.go    what is measured, and moves about its limit
//	older.go     what nodes of an older build say, whose problems have no kinds
//	remedy.go    what to do, in the words that nodes use too
//	rows.go      nodes, groups and jobs as commands print them; groups.go merges what nodes say of groups
//	sample.go    all answers of one moment
//	overview.go  what is made of the samples of several moments; rates.go is what happened between them
//	verdict.go   the one verdict, its reason and what to do next
//	changes.go   what has changed since an earlier overview; mark.go is what must be known of that one
package overview
