// Package overview judges a cluster by what its nodes say.
//
// It is pure: it asks nobody and knows no time but what it is given.
//
//	patient.go   what all nodes have answered; findings.go and clocks.go judge it
//	remedy.go    what to do, in the words that nodes use too
package overview
