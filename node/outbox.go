package node

// outbox is the answers of a connection that wait to be sent, in order. They wait in
// pieces: with one slice, an answer of a few bytes would now and then copy megabytes
// that nobody reads, in the goroutine that serves all groups.
type outbox struct {
	pieces [][]byte // each with whole frames
	tail   []byte   // the frames after them, to which more are appended
	size   int      // bytes of all
}

const (
	// pieceFull is the size, in bytes, from which a tail is full.
	pieceFull = 256 << 10
	// roomKept is the largest room that a connection keeps for the next
	// frames, in bytes: a burst should not hold its memory for ever.
	roomKept = 1 << 20
)

// begin returns the slice to which the next frame is appended. [outbox.end] takes it
// back with the frame.
func (o *outbox) begin() []byte {
	if len(o.tail) >= pieceFull {
		o.pieces, o.tail = append(o.pieces, o.tail), nil
	}
	return o.tail
}

// end takes back the slice that begin returned, and returns by how much it has grown.
func (o *outbox) end(b []byte) int {
	more := len(b) - len(o.tail)
	o.tail = b
	o.size += more
	return more
}

// add takes a frame as it is. The outbox owns it from now on.
func (o *outbox) add(frame []byte) {
	if len(o.tail) > 0 {
		o.pieces = append(o.pieces, o.tail)
	}
	o.pieces, o.tail = append(o.pieces, frame), nil
	o.size += len(frame)
}

// take appends all pieces to batch, and leaves the outbox empty, with room to
// gather the next frames in.
func (o *outbox) take(batch [][]byte, room []byte) [][]byte {
	batch = append(batch, o.pieces...)
	if len(o.tail) > 0 {
		batch = append(batch, o.tail)
	}
	clear(o.pieces)
	*o = outbox{pieces: o.pieces[:0], tail: room[:0]}
	return batch
}
