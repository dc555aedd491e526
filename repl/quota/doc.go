// Package quota keeps what a cluster has of a prefix within its limit.
//
// The keys of a prefix lie in many groups, and the leader of each decides alone what it lets into
// its log. So each has an allotment for each prefix: a ceiling up to which what it has may grow by
// writes. The leader of the meta group divides the limit into allotments, and divides it anew about once
// a second, most to those who need most. The sum of the ceilings never exceeds the limit, whatever is lost, late or
// restarted, and so neither does what is there, save for what is told below.
//
//	Divider  (the meta group's leader)  ──Usage: so much may you add──►  Leader  (each data group's)
//	                                    ◄──UsageAnswer: so much I have──
//
// An allotment belongs to a leader in one term. Its successor begins with what it finds there and may
// add nothing before it was asked. The divider's own term stands in each frame, and a leader that has heard
// of a newer divider does nothing that an older one says.
//
// A higher ceiling counts from when it is sent. A lower one counts from when the leader has confirmed it, in
// a round that every group has answered: only then is it sure that no slot is on its way from one group to
// another and counted in neither. For the same reason a leader counts what has just left it with a slot until
// it is asked twice.
//
// The limit can be exceeded by what is under way in one case: a key that a write was to replace is
// removed before it by another, and what was removed has been given to others meanwhile. The
// leader charges that when it sees it, so it does not add up.
//
// It does not count what is there ([muster/shardmap.Tallies] does), nor does it send anything or know a clock.
// Start reading with leader.go, then divider.go; groups.go has what a node does for all groups that it leads.
// docs/decisions/0033-limits.md says why.
//
// # Duties of the owner of a Leader
//
//  1. Say in which term the group is led here, once an entry of that term is applied: [Leader.Lead]. 0: not.
//  2. Say which limits there are, by prefix, and what the group has of each before each of the calls
//     below: [Leader.Set], [Leader.Sync]. [Leader.Applied] comes with each run of entries.
//  3. Ask before a command goes into the queue for the log: [Leader.Admit]; say at which index it
//     stands, or that it is not proposed after all: [Leader.Proposed], [Leader.Withdrawn].
//  4. Hand in what the divider asks: [Leader.Take].
//
// # Duties of the owner of a Groups
//
//  1. Say which data groups are led at the node: [Groups.Led].
//  2. Hand in what a divider asks, and send the answer: [Groups.Answer].
//  3. Call [Groups.Count] after each answer, and when [Divider.Follow] says so, again and again with pauses,
//     until all is counted.
//
// # Duties of the owner of a Divider
//
//  1. Say whether the meta group is led here, with an entry of the term applied: [Divider.Lead]; and
//     which table the node has: [Divider.Follow].
//  2. Call [Divider.Turn] after each of these calls and at the latest at the time that it returned, and
//     send what it returns, which may be lost.
//  3. Hand in the answers: [Divider.Took].
package quota
