// Package trail keeps what a node was asked to do that concerns its security.
//
// Refusals, logins, joins, orders of people and, if the cluster's policy asks for it, reads
// and writes become lines of JSON in files, chained by their hashes. It does not decide what
// is allowed, it knows no connection and no clock, and it starts no goroutine: the node
// around it does (node/trail.go).
//
// # The files
//
// They lie in the directory trail of a node's data directory. Each has the name of its first
// line's number, of 16 digits, and .jsonl behind it; each begins where the one before ends.
//
//	{"seq":18,"time":"2026-11-29T16:05:11.123456Z","node":"n1","who":"eve","user":41,"from":"10.0.0.9:51312",
//	 "door":"client","type":"Write","object":"app/","verdict":"refused","why":"…","prev":"…","hash":"…"}
//
// A line ends with a newline and has no other in it; here it is shown in two. It has at most
// [LineMax] bytes, all of them printable ASCII: everything else in a name is written as \u….
// Fields without anything in them are left out, save seq, time, verdict, prev and hash.
//
// # The chain
//
// hash is the SHA-256 of the line's bytes from its { up to, and not with, the comma before
// "hash". prev, which is among those bytes, is the hash of the line before; that of the
// first line ever is zeros. So whoever knows the hash of a line, as the cluster's table does
// of each node's newest every minute, knows whether any line up to it was changed, left out,
// put in or moved. A line that is newer than the committed one can be cut off without a
// trace, for a minute.
//
// # A torn end and a bad middle
//
// Lines are written in batches, each at once, and none before the one ahead of it is synced.
// The first line of a batch says in kept up to which line that was. So bad bytes with no
// line behind them that was written after their sync are what a crash has left of the last
// batch, and are cut, with a line that says so. Others are damage, or somebody's work: they
// stay as they are, the trail goes on in another file, and [Verify] names them.
//
// # Start reading
//
// event.go has what a line is made of, line.go its bytes, floods.go what is only counted,
// book.go how lines reach the disk, verify.go how the chain is looked at.
package trail
