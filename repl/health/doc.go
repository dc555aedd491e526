// Package health decides for each instance of a service whether it is up.
//
// It has two cores. [Assigner] acts on the nodes that lead groups: it assigns the checks of
// the services in those groups to nodes, asks the nodes what they have found, and proposes
// the changes of status that follow. [Checker] acts on each node: it runs the checks that
// it has been assigned, and counts what comes of them.
//
// Neither owns state that lasts. What is to be checked, and how each instance stands, is in
// the records of the services; a new leader assigns all checks anew, and a checker begins
// with the status of the record, so that neither a new leader nor a start of all nodes marks
// an instance down. A checker's findings are level-triggered: the newest of each check is
// sent until it has arrived, so a lost poll or answer costs only time. A checker holds the
// answer to a poll until there is something to tell, so what it finds arrives at once; and so
// does its end, for the poll that a process holds when it is killed ends with its connection.
//
// It starts no goroutine, sends nothing, probes nothing, and knows no clock: see
// node/assigner.go and node/checker.go, which drive it in a node, and repl/sim, which drives it
// in virtual time.
//
// # Which findings count
//
// An assignment has a number, which no other assignment of the same leader has. A finding
// counts if it is of an assignment that is in force: of this term of the group, with this
// number, of this version of what is checked. So two nodes that both believe they lead, or
// that see different nodes alive, may both have a check run, but only one of them is
// listened to: proposals of the other find no majority, and only it hears what its checkers
// say. A checker that was out of reach for a while forgets what it has found meanwhile: the
// fault may have been its own. For the same reason a leader takes no findings from an answer
// that was on its way for as long.
//
// Results in a row that are no finding yet are told too. When a check goes to another node, that
// one goes on from them, but the last result of a threshold is always one of its own.
//
// # Duties of the owner of an Assigner
//
//  1. Say which groups are led here ([Assigner.Lead]), anew with each term, and with an
//     entry of that term applied; which nodes are alive ([Assigner.Alive]); and hand in
//     the services of each led group once it is led, and whenever a record of one has
//     changed ([Assigner.Services]).
//  2. Call [Assigner.Turn] after each call of another method, and at the latest at the time
//     that Turn returned.
//  3. Carry out the actions in any order. Each ends with one call: [Assigner.Polled],
//     [Assigner.Proposed] or [Assigner.Hooked]; [ActLost] has no end. What never ends counts
//     as failed after a while. Answers that are lost, late, or come twice do no harm. A poll ends as soon as
//     its connection does, with [ErrNobody] if it was refused for want of a process.
//
// # Duties of the owner of a Checker
//
//  1. Hand in each poll, this node's own ones too, and send the answer ([Checker.Poll]).
//  2. Call [Checker.Turn] after each call of another method, and at the latest at the time
//     that Turn returned. Begin the probes that it returns at once, each on its own, and
//     send the answers. End those that [Checker.Cancelled] returns then.
//  3. Say how each ended ([Checker.Done]), the cancelled ones too, at its deadline at the
//     latest, or that it was not made ([Checker.Skipped]). A result that comes much later
//     counts for nothing.
//
// # Where to look
//
// action.go has what goes in and out, assigner.go the calls, assign.go which node checks
// what, far.go and list.go the polls, judge.go what is proposed, hook.go what webhooks are
// told. Of the checker, checker.go has the calls, held.go the assignments, checking.go one
// check, schedule.go and share.go which is probed next.
package health
