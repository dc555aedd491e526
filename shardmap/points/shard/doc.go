// Package shard holds the points of one shard of a window.
//
// New points are in a head, in memory. A freeze ends the head, and a seal makes a block file of it, merged with older
// files if the entry says so. A reader sees heads and files as one. All of it follows from the entries that were applied and
// their order, so replicas that have applied the same ones show the same points and make the same files.
//
// It opens no file, starts no goroutine, sees no clock, and decides neither when to freeze nor what to merge. It knows
// no database, policy or group. Chance places names in tables, and decides nothing.
//
// # Duties of the owner
//
//  1. Apply shares and deletes in the order of the log, [Shard.Apply], [Shard.Fill] and [Shard.Delete].
//  2. Freeze, by an entry, before [Shard.Bytes] reaches a GiB or so: a head has room for 4 GiB of keys and strings, and
//     panics beyond. Since Bytes differs between replicas, the leader looks at it and the entry decides.
//  3. Seal the frozen heads one after the other, the oldest first: [View.Seal] on any goroutine, of a view made after the
//     freeze, with as many of the newest files as the entry says. Finish, sync and name the file.
//  4. When an entry confirms the name, call [Shard.Confirm]. A replica whose file has another sum has another state. The
//     files that Confirm returns are no longer those of the shard; views that are older still read them.
//  5. Keep a snapshot, [View.WriteTo], beside the files that it names, and begin with [Load].
//
// # What counts
//
// A value is found by series, field and time. The last of several writes counts. A fill, which brings what was taken
// as a hint, counts only where nothing else is, be it older or newer; the first of several fills does. A delete takes away
// what is there and nothing that comes later, but for fills that were taken before it.
//
// A head holds every value that came, in the order in which they came, each with the number of its entry. Readers sort, and
// take what counts; they compare with the deletes too. So applying is appending, a view is a number and some lists that only
// grow, and a freeze takes no time. In a file none of that is left: a seal writes what counts. A file has no fills,
// since an older one wins over a fill before it is written, and a newer write wins over anything.
//
// A measurement's fields keep their kinds across seals. A point that has a field with another kind is dropped whole. Only
// a delete of all that a measurement has takes away its fields.
//
// # Concurrency
//
// One goroutine applies. Any number of others use views of their own; each reader of a view is for one goroutine. A lock
// guards the records and tables of heads, and is held by a reader while it finds out where a column is, not while it
// reads it; a share is applied under it as a whole.
//
// # Where to look
//
// shard.go has the life of a shard; head.go what a head is, apply.go how points come into it, resolve.go what counts of
// them; view.go and merge.go what is read, seal.go what is written, snapshot.go the bytes of a snapshot.
package shard
