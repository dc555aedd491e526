// Package shardmap says what the entries of a log mean.
//
// It holds the two states that a log can build: the keys of the slots that one
// group owns ([Map]), with the sessions that make a retry harmless, or the
// meta group's [Table] of nodes, groups and slots ([TableMachine]). The same
// entries make the same state on every replica, byte for byte in a snapshot:
// nothing in here looks at a clock, a disk, a socket, chance, or the order of
// a Go map. It starts no goroutine and writes no log.
//
// It does not decide in what order entries come (raft), nor whether they are
// kept (logstore), nor who may ask (node).
//
// # Duties of the owner
//
//  1. Check a client's command with [Command.Validate] before it enters the log.
//     Apply checks no limit: what is in the log has been promised. What only the
//     group itself proposes, [OwnCommand], is right as it is made. What moves slots
//     comes from other groups' leaders: [Command.ValidateMove] checks that.
//  2. Hand in each committed entry once, in order: [Map.Apply] for a command,
//     [Map.Expire] for an entry of kind time, [Map.Skip] for any other. One
//     goroutine does this.
//  3. Stop the group if either returns an error, and never otherwise.
//  4. Ask from any goroutine: [Map.Get], [Map.Digest] and the like take one
//     slot's lock each, for as long as they read. A reader that needs several
//     slots as of one entry begins on the goroutine of duty 2, between two
//     entries: [Map.Moment] for a listing, [Map.Copy] for some slots.
//  5. Call [SlotCopy.Release] when done with a copy, [Moment.End] with a
//     moment, [Walk.End] with a walk, and keep nothing that it handed out.
//  6. Compare replicas by [Map.Digests] and [TableMachine.Digests], and memory with what was
//     written by a [Walk] and a [TableWalk], on the goroutine of duty 2, between two entries.
//
// # Where to look
//
// map.go has the path of a command and of a read, command.go the bytes of a
// command, validate.go its limits, slotstate.go what it does to a slot. How a
// slot lies in memory: record.go and slab.go hold the records, lookup.go finds
// one, leaf.go keeps their order, store.go changes all three
// (docs/decisions/0002-state-layout.md says why). copy.go and snapshot.go write a
// slot out, mapsnapshot.go all slots, bulk.go builds slots from those bytes.
// session.go keeps outcomes, details.go what else they answer, sessiontable.go the sessions
// that they belong to. txn.go, lease.go and delprefix.go have the commands with a body that are about one
// slot, ending.go how keys and leases end, expire.go the entry that ends them.
// version.go keeps the last versions of keys, versionrules.go says of which.
// part.go names the parts of a state, digests.go and tabledigests.go sum them up. walk.go and
// walkgroup.go recompute what a map holds from its bytes, tablewalk.go what a table does, and
// unchecked.go writes a state that is wrong. flip.go makes such states, for tests.
// tally.go counts what begins with a prefix, growth.go what a command would add to that: knowledge
// beside the state, for whoever admits commands.
// moment.go holds all slots still for a reader, list.go merges them. own.go and
// marks.go say how a group comes to own slots, slotpages.go holds them. slotmove.go
// moves a slot between groups by the commands that step.go and piece.go write, diff.go
// makes the content of pieces, content.go reads it, import.go builds a slot of it. table.go,
// tablemachine.go and plan.go are group 0; plan.go lays out a new cluster, the package
// plan says what should move in one that runs. security.go is what group 0 knows of who may
// connect and do what; tabletls.go, tabletoken.go, tableuser.go, tablerole.go and tablelimit.go
// change it.
package shardmap
