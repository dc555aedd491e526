// Package pointwriter brings points to the shards of a cluster.
//
// A [Gateway] takes the text of one write: it makes points of the lines, finds out which window and shard each belongs to,
// has windows made that are missing, and brings every group its shares, in pieces that one entry may have. Its answer counts
// what became of the points, each in exactly one number. A [Batcher] collects lines of a program and writes them so, many
// together.
//
// The package does not know how a group stores points, nor where a table comes from: a [Cluster] does. [Of] makes one of
// a client; a node has its own.
//
//	b, err := pointwriter.Open(c, pointwriter.Options{Database: "metrics", Refused: func(r pointwriter.Result, err error) {
//		log.Print(r, err) // what was not stored, and why
//	}})
//	if err != nil {
//		return err // it names the option that is wrong
//	}
//	defer b.Close(context.Background())
//	err = b.Write(ctx, []byte("cpu,host=a usage=1.5"))
//
// # What the numbers mean
//
//   - stored: at the level of the request, [Quorum]: a majority of the group's voters has them on disk.
//   - hinted: a node keeps them, and writes them as soon as their group can take them.
//   - dropped: they can't be stored, for a reason that does not pass.
//   - failed: they are not, or not surely, where the request wants them. Writing them again changes nothing that is stored.
//
// # Where to look
//
// gateway.go has the life of a write; place.go finds windows, and asks.go has them made; carry.go brings shares to groups, again
// where a shard is elsewhere by now, and counts; patience.go says how long groups are waited for; budget.go bounds memory.
// batcher.go is for programs.
//
// # Goroutines
//
//	late    one for the points of a write that have no window when it begins; ended before the write returns
//	piece   one per piece that is under way, at most [PiecesMax] of a write, and as many of its late points; ended before the write returns
//	ask     one per window that a write asks for, at most [AsksMax]; ended before the write returns
//	batcher one per [Batcher]; ended by Close
//
// # Locks
//
// Each guards the fields below it, and holds no other one.
package pointwriter
