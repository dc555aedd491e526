package sim

import (
	"time"

	"muster/repl/client"
	"muster/repl/wire"
)

// following is the stream of the table that a client's core holds, at one node.
type following struct {
	conn   *conn
	number uint64 // of the core's action
	stream *client.TableStream
	frame  uint64 // its number on the connection
}

// follow opens a stream of the table at a peer.
func (cl *simClient) follow(a *client.Action) {
	k := cl.connOf(a.Peer)
	if k == nil || !k.up {
		cl.core.Unfollowed(cl.now(), a.Number)
		return
	}
	cl.requests++
	f := &following{conn: k, number: a.Number, stream: new(client.TableStream), frame: cl.requests}
	k.following = f
	body, _ := f.stream.Begin(nil)
	k.say(wire.TypeTableStream, 0, f.frame, followWithin, body)
}

// followWithin is the time that a client gives a node to open a stream.
const followWithin = 10 * time.Second

// came takes a frame of the stream; false if it is of another one.
func (f *following) came(e *event) bool {
	if f == nil || e.number != f.frame {
		return false
	}
	cl := f.conn.client
	if e.wtype == wire.TypeTablePiece {
		f.stream.Piece(1, e.body)
		if t := f.stream.Take(); t != nil {
			cl.c.result.Tables++
			cl.core.Pushed(cl.now(), f.number, t)
		}
		if g, _, due := f.stream.Grant(); due {
			f.conn.say(wire.TypeStreamGrant, 0, f.frame, 0, g.Append(nil))
		}
		return true
	}
	f.conn.following = nil
	f.stream.Finish(nil)
	cl.core.Unfollowed(cl.now(), f.number)
	return true
}

// ended is the end of its connection.
func (f *following) ended() {
	if f != nil {
		f.stream.Finish(nil)
		f.conn.client.core.Unfollowed(f.conn.client.now(), f.number)
	}
}
