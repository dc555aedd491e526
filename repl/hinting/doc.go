// Package hinting decides what a node does with the hints that it keeps.
//
// A hint is a share of points that a node has taken for a group which could not store it at that time. It waits in a queue
// of its group, first in first out, and becomes an entry of the group as soon as that takes entries again. The entry is a
// fill: it changes nothing where there is a value, so a hint that comes twice, or late, does no harm ([AsFill]).
//
// The package does none of it: it starts no goroutine, sends nothing, and knows neither clock nor disk.
//
// # The way of a hint
//
//	writing     [Core.Take] has made room for it. Ends with [Core.Kept]: only then somebody is told that it is hinted
//	waiting     until it is its turn: one hint of a group is under way at a time
//	proposed    the owner brings it to its group. Ends with [Core.Ended]
//	burying     it is refused for good, or too old: the owner writes it into the dead letters. Ends with [Core.Ended]
//	forgetting  it has arrived, or is in the dead letters: the owner takes it off its disk. Ends with [Core.Ended]
//
// A hint is on the disk of its node in each of these states but the first one, whatever crashes; a start hands all of
// them in as waiting ([Core.Restore]).
//
// # One bad hint
//
// An answer that is final sends a hint to the dead letters. Any other one is taken for the state of the group: the
// queue pauses, and its first hint is tried again. But the cause may be the hint. So after some tries others are tried between those
// of the first. When one of them gets an answer that is final and the first one does not right after it, that one steps
// aside: it waits by itself from then on, and those behind it go on.
//
// # Duties of the owner
//
//  1. At the start, hand in all hints that are on the disk ([Core.Restore]).
//  2. Ask for room before a hint is written ([Core.Take]); write it and sync it, hints of one group in the order of their
//     numbers, and report that ([Core.Kept]).
//  3. Call [Core.Turn] after each of these calls, and at the latest at the time that it returned.
//  4. Carry out the actions, in any order. Each but an [Answer] ends with one [Core.Ended].
//
// core.go has the calls and the queues, turn.go what is due. docs/points.md has the rules.
package hinting
