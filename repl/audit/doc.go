// Package audit tells which replicas of a group hold a wrong state.
//
// Each replica of a group applies the same entries, and all must hold the same after
// each. At an audit entry every one of them notes the digests of the parts of its state
// and tells the leader. A [Round] is what the leader makes of that: who agrees, who
// differs and in which parts, and whose state can be copied.
//
// A majority of the voters is right, because memory that fails, fails alone. Without a majority, as in a group of two, the log
// decides: each replica applies it anew, from its own snapshot on, beside the state that
// it serves. If all arrive at the same, that is what the state should be, whoever holds
// it. If they do not, as where a snapshot was written of the wrong state, two that hold the
// same are right, be they voters or learners, as long as no other two do. If that tells
// nothing either, nobody can tell, and a person must.
//
// The package decides and does nothing else: it knows no clock, sends nothing, and fences
// nobody. The host around it does ([muster/repl]).
//
// Start reading with round.go.
package audit
