package wire

import (
	"fmt"
	"io"
)

// Sizes of a Decoder's buffer, in bytes.
const (
	// decoderFirst is the cost of a silent connection.
	decoderFirst = 2 << 10
	// decoderUsual is the room into which a busy connection reads: some 300
	// writes of small values.
	decoderUsual = 64 << 10
	// decoderKept is kept for the next frame; a larger buffer is
	// released as soon as it is empty.
	decoderKept = 256 << 10
	// decoderGrowth bounds a buffer, in multiples of what has arrived. So a frame
	// that claims much and then stalls costs little, and one that does arrive is
	// seldom copied.
	decoderGrowth = 8
)

// Decoder finds the frames in a stream of bytes without copying them. It
// belongs to one goroutine.
//
//  1. Call [Decoder.Fill], which reads once.
//  2. Call [Decoder.Next] until it has no more; use each body before the next
//     Fill, or copy it.
//
// An error of either is final.
type Decoder struct {
	limit    int
	buf      []byte // buf[from:to] has arrived and was not given out
	from, to int
	err      error
	resized  func(bytes int)
}

// NewDecoder returns a Decoder that refuses bodies of more than limit bytes.
func NewDecoder(limit int) *Decoder { return &Decoder{limit: limit} }

// SetLimit changes the limit for the frames not given out yet.
func (d *Decoder) SetLimit(limit int) { d.limit = limit }

// Watch calls f with the size of the buffer, in bytes, now and whenever it is about
// to change, before memory is spent.
func (d *Decoder) Watch(f func(bytes int)) {
	d.resized = f
	f(len(d.buf))
}

// Drop releases the buffer with its contents. Nothing can be read afterwards.
func (d *Decoder) Drop() {
	d.buf, d.from, d.to, d.err = nil, 0, 0, io.ErrClosedPipe
	d.resize(0)
}

func (d *Decoder) resize(bytes int) {
	if d.resized != nil {
		d.resized(bytes)
	}
}

// Buffered is the number of bytes that arrived and were not given out.
func (d *Decoder) Buffered() int { return d.to - d.from }

// Full reports whether the last Fill left no room, so that there may be more to read.
func (d *Decoder) Full() bool { return d.to == len(d.buf) }

// Fill makes room and reads once from r. Bodies given out before are no longer
// valid.
func (d *Decoder) Fill(r io.Reader) error {
	if d.err != nil {
		return d.err
	}
	d.makeRoom()
	n, err := r.Read(d.buf[d.to:])
	if n < 0 || n > len(d.buf)-d.to {
		return fmt.Errorf("read of %d bytes into %d", n, len(d.buf)-d.to)
	}
	d.to += n
	if n > 0 {
		return nil // an error that came with bytes comes again
	}
	if err == io.EOF && d.from < d.to {
		err = io.ErrUnexpectedEOF
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// makeRoom leaves space after what has arrived.
func (d *Decoder) makeRoom() {
	have := d.to - d.from
	switch {
	case have == 0 && len(d.buf) > decoderKept:
		d.buf = nil
	case d.from > 0 && (have == 0 || d.to == len(d.buf) || d.room() < d.needed()):
		copy(d.buf, d.buf[d.from:d.to])
	case d.from > 0:
		return // the rest of the frame fits where it is
	}
	full := d.to == len(d.buf) && d.buf != nil
	d.from, d.to = 0, have
	size := len(d.buf)
	switch {
	case size == 0:
		size = decoderFirst
	case have == size: // one frame is larger than the buffer
		size = min(max(2*size, d.needed()), decoderGrowth*have)
	case full && size < decoderUsual: // there was more to read
		size = min(2*size, decoderUsual)
	default:
		return
	}
	d.resize(size)
	grown := make([]byte, size)
	copy(grown, d.buf[:have])
	d.buf = grown
}

// room is what the buffer can take from d.from on.
func (d *Decoder) room() int { return len(d.buf) - d.from }

// needed is the size of the frame that begins at d.from, as far as is known.
func (d *Decoder) needed() int {
	if d.to-d.from < HeaderSize {
		return HeaderSize
	}
	return HeaderSize + readHeader(d.buf[d.from:]).Length
}

// Next returns the next whole frame, if there is one. The length is checked
// before memory is spent on it, the checksum before anything else is believed,
// and the body with [pack.Check].
func (d *Decoder) Next() (h Header, body []byte, ok bool, err error) {
	if d.err != nil {
		return Header{}, nil, false, d.err
	}
	have := d.buf[d.from:d.to]
	if len(have) < HeaderSize {
		return Header{}, nil, false, nil
	}
	h = readHeader(have)
	if h.Length > d.limit {
		d.err = &FrameError{Problem: fmt.Sprintf("body of %d bytes, the limit is %d", h.Length, d.limit), TooLarge: true}
		return Header{}, nil, false, d.err
	}
	size := HeaderSize + h.Length
	if len(have) < size {
		return Header{}, nil, false, nil
	}
	if d.err = checkFrame(have[:size]); d.err != nil {
		return Header{}, nil, false, d.err
	}
	d.from += size
	return h, have[HeaderSize:size:size], true, nil
}
