package frame

import "io"

// readBytes is how much a reader asks for at first: many frames with one call.
const readBytes = 256 << 10

// Reader reads the frames of a connection. It belongs to one goroutine.
type Reader struct {
	from   io.Reader
	buf    []byte
	used   int // Invariant: buf[used:have] is the beginning of a frame
	have   int
	frames []Frame
}

// NewReader returns a reader of what comes from a connection.
func NewReader(from io.Reader) *Reader {
	return &Reader{from: from, buf: make([]byte, readBytes)}
}

// Burst waits for bytes and returns all frames that are whole with them, at least
// one. They are valid until the next call.
func (r *Reader) Burst() ([]Frame, error) {
	r.have = copy(r.buf, r.buf[r.used:r.have])
	r.used = 0
	for {
		if r.have == len(r.buf) {
			// One frame fills the buffer. Its length was checked by Next.
			r.buf = append(r.buf, make([]byte, len(r.buf))...)
		}
		n, err := r.from.Read(r.buf[r.have:])
		r.have += n
		if n == 0 && err != nil {
			return nil, err
		}
		if err := r.cut(); err != nil {
			return nil, err
		}
		if len(r.frames) > 0 {
			return r.frames, nil
		}
	}
}

func (r *Reader) cut() error {
	r.frames = r.frames[:0]
	rest := r.buf[:r.have]
	for {
		f, behind, err := Next(rest)
		if err != nil {
			return err
		}
		if f.Bytes == nil {
			r.used = r.have - len(rest)
			return nil
		}
		r.frames = append(r.frames, f)
		rest = behind
	}
}
