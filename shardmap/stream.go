package shardmap

import (
	"errors"
	"fmt"
	"io"
)

const (
	streamWriteBytes = 64 << 10  // gathered for one Write
	streamReadMin    = 512       // allocated for a claim before anything has arrived
	streamReadBytes  = 256 << 10 // read at once, if so much arrives: a few chunks of records
)

// streamWriter gathers what is appended to b.
type streamWriter struct {
	w     io.Writer
	b     []byte
	total int64 // bytes written
}

// room makes room for n bytes more, by writing what there is if need be.
func (s *streamWriter) room(n int) error {
	if len(s.b)+n <= streamWriteBytes {
		if s.b == nil {
			s.b = make([]byte, 0, streamWriteBytes)
		}
		return nil
	}
	return s.flush()
}

func (s *streamWriter) flush() error {
	if len(s.b) == 0 {
		return nil
	}
	n, err := s.w.Write(s.b)
	s.total += int64(n)
	s.b = s.b[:0]
	return err
}

// streamReader hands out bytes of a buffer that grows with what has arrived,
// never with what is claimed.
type streamReader struct {
	r      io.Reader
	buf    []byte
	from   int   // of the bytes that were read and not taken
	offset int64 // in the stream, of buf[from]
	err    error // of r, once it had one
}

// window returns the bytes that were read and not taken, at least n unless there
// are no more. It is good until the next call.
func (d *streamReader) window(n int) []byte {
	for len(d.buf)-d.from < n && d.err == nil {
		d.read()
	}
	return d.buf[d.from:]
}

// read reads some more behind the window.
func (d *streamReader) read() {
	if d.from > 0 {
		d.buf = d.buf[:copy(d.buf, d.buf[d.from:])]
		d.from = 0
	}
	if len(d.buf) == cap(d.buf) {
		// It is full, so as much has arrived as is asked for now.
		grown := make([]byte, len(d.buf), max(streamReadMin, 2*len(d.buf)))
		copy(grown, d.buf)
		d.buf = grown
	}
	for range 100 {
		n, err := d.r.Read(d.buf[len(d.buf):cap(d.buf)])
		d.buf = d.buf[:len(d.buf)+n]
		d.err = err
		if n > 0 || err != nil {
			return
		}
	}
	d.err = io.ErrNoProgress
}

// need returns at least n bytes.
func (d *streamReader) need(n int) ([]byte, error) {
	b := d.window(n)
	if len(b) < n {
		if d.err == io.EOF {
			return nil, io.ErrUnexpectedEOF
		}
		return nil, d.err
	}
	return b, nil
}

// take takes the next n bytes, which are good until the next call.
func (d *streamReader) take(n int) ([]byte, error) {
	b, err := d.need(n)
	if err != nil {
		return nil, err
	}
	d.skip(n)
	return b[:n], nil
}

// skip takes n bytes of the window.
func (d *streamReader) skip(n int) {
	d.from += n
	d.offset += int64(n)
}

// end returns an error unless the stream ends here.
func (d *streamReader) end() error {
	if b := d.window(1); len(b) > 0 {
		return errors.New("more follows after the end")
	}
	if d.err != io.EOF {
		return fmt.Errorf("after the end: %w", d.err)
	}
	return nil
}
