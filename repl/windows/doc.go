// Package windows decides which windows of time series the leader of the meta group makes, hides or drops.
//
// A window is made ahead, so that no write has to wait for one where its database is in use. Retention hides a window
// that is over, and drops it an hour later.
//
// It does none of it: it starts no goroutine, sends nothing, and knows neither clock nor disk. Nor does it make the
// windows that points of another time need: the leader makes those as they are asked for. node/windows.go drives
// it.
//
// # What is made ahead
//
// Each policy that is the default of its database, or that has a window, gets the window of now, and from [Ahead]
// before its end on the one behind it. So that one gets the groups of nearly then, and a node that joined
// meanwhile gets its share.
//
// # By which clock
//
// Making a window early or late costs nothing but a moment, so that goes by the leader's clock. Points that retention
// takes away never come back: it goes by the time that the clocks of a majority of the meta group's voters have all
// passed ([Core.Agreed]). As long as a majority of them is right, no clock that is ahead drops points, whoever leads, and
// none that is behind keeps them. A clock that was heard goes on with the host's own for [fresh], which counts
// from when the answer came: so it is never taken for later than it is.
//
// The table refuses to hide or drop a window whose policy keeps its points, by the time that a command brings
// along, and one that was not hidden for long enough.
//
// # Duties of the owner of a Core
//
//  1. Say whether the meta group is led here ([Core.Lead]), with an entry of this term applied; hand in each new table
//     ([Core.Table]), and which nodes are alive ([Core.Known]).
//  2. Call [Core.Turn] after each of these calls, and at the latest at the time that it returned.
//  3. Carry out the actions in any order. A Propose has no answer: it is made again where the table does not
//     change. An Ask gets what the clock of its node shows, and says so with [Core.Clock]; one without an answer is
//     asked again.
//
// core.go has the calls and what is made ahead, retention.go what is hidden and dropped. docs/points.md has the rules.
package windows
