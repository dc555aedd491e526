package client

import (
	"time"

	"muster/repl/wire"
	"muster/shardmap"
)

// follow is the client's stream of the table: one of the nodes that it is connected to sends
// each newer table, so that the client learns of a move before a node refuses a call. Without
// a stream, below level 5 or after it broke, and beside it, the client asks for the table when
// it wants one.
type follow struct {
	spread uint32        // where it begins to count the peers, so that not all clients follow one node
	with   Peer          // whose stream it is; NoPeer if there is none
	number uint64        // of the stream that was opened last
	after  time.Duration // no stream is opened before
	fails  int           // streams that brought nothing, since one did
}

// open opens a stream if one is wanted, due, and some peer can give it.
func (f *follow) open(now time.Duration, k *Core) {
	if now < f.after || !f.wanted(k) {
		return
	}
	f.with = f.candidate(k)
	if f.with == NoPeer {
		return
	}
	f.number++
	k.todo.add(Action{Kind: ActFollow, Peer: f.with, Number: f.number})
}

func (f *follow) wanted(k *Core) bool {
	return f.with == NoPeer && k.table.level >= shardmap.LeasesLevel
}

// candidate returns the peer to follow next, out of those that are connected: the stream is
// not worth a connection of its own.
func (f *follow) candidate(k *Core) Peer { return k.peers.anyUp(int(f.spread) + f.fails) }

// wake returns when open is due; false if it waits for no time.
func (f *follow) wake(k *Core) (time.Duration, bool) {
	return f.after, f.wanted(k) && f.candidate(k) != NoPeer
}

// ended notes that the stream of a number ended.
func (f *follow) ended(now time.Duration, number uint64) {
	if f.with == NoPeer || number != f.number {
		return // it was given up before
	}
	f.with = NoPeer
	f.after = now + redialPause(f.fails)
	f.fails++
}

// lost notes that the connection to p ended. Another node is followed at once.
func (f *follow) lost(p Peer) {
	if f.with == p && !bug("a broken stream of the table not replaced") {
		f.with = NoPeer
	}
}

// Pushed hands in a table that a stream brought; number is that of its [ActFollow]. A table
// that is older than the known one, or of a stream that was given up, is ignored.
func (k *Core) Pushed(now time.Duration, number uint64, t *wire.TopologyAnswer) {
	f := &k.follow
	if f.with == NoPeer || number != f.number {
		return
	}
	f.fails = 0
	if t.Index >= k.table.index && (t.ClusterID == 0 || t.ClusterID == k.peers.cluster) {
		k.table.take(now, k, f.with, t)
	}
}

// Unfollowed says that a stream of the table could not be opened, or has ended.
func (k *Core) Unfollowed(now time.Duration, number uint64) {
	k.follow.ended(now, number)
	k.follow.open(now, k)
}
