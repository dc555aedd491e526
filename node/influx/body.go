package influx

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"muster/shardmap/points/line"
)

const (
	// textBegin is the room for a text whose length is not known, until more is needed, in bytes.
	textBegin = 64 << 10
	// retryAfter is how long a client should wait that is refused because of others.
	retryAfter = time.Second
)

// texts bounds the texts that are in memory at once. It counts room, and not what has arrived in it.
type texts struct {
	most int64 // set once
	now  atomic.Int64
}

// take takes room. It reports false if there is none.
func (t *texts) take(n int) bool {
	if t.now.Add(int64(n)) <= t.most {
		return true
	}
	t.now.Add(-int64(n))
	return false
}

// give gives back the room of a text.
func (t *texts) give(text []byte) { t.now.Add(-int64(cap(text))) }

var errTextsFull = &Error{Reason: Busy, Text: "as many texts arrive already as this node takes at once; send it again", RetryAfter: retryAfter}

// read reads the text of a write, unpacked. The caller gives it back, whatever the error is.
//
// A text whose length is told is read once, into its place. For any other, the room doubles as it arrives: a packed text
// may say nothing about its length, and lie.
func (t *texts) read(w http.ResponseWriter, r *http.Request) (text []byte, err error) {
	encoding := strings.ToLower(strings.TrimSpace(r.Header.Get("Content-Encoding")))
	packed := encoding == "gzip" || encoding == "x-gzip"
	switch {
	case !packed && encoding != "" && encoding != "identity":
		return nil, &Error{Reason: BadEncoding, Text: fmt.Sprintf("Content-Encoding %q is not known; want gzip, or leave it out", encoding)}
	case r.ContentLength > line.TextMax:
		return nil, textTooLarge()
	case r.ContentLength == 0 && !packed:
		return nil, nil
	}
	in := io.Reader(http.MaxBytesReader(w, r.Body, line.TextMax))
	if packed {
		unpacked, err := gzip.NewReader(in)
		if err != nil {
			return nil, bodyError(err, "gzip: ")
		}
		in = unpacked
	} else if r.ContentLength > 0 {
		if !t.take(int(r.ContentLength)) {
			return nil, errTextsFull
		}
		text = make([]byte, r.ContentLength)
		if _, err := io.ReadFull(in, text); err != nil {
			return text, bodyError(err, "")
		}
		return text, nil
	}
	return t.grow(in, packed)
}

// grow reads a text of an unknown length.
func (t *texts) grow(in io.Reader, packed bool) (text []byte, err error) {
	const most = line.TextMax + 1 // a byte more tells that there is more
	for room := textBegin; ; room = min(2*room, most) {
		if !t.take(room) {
			return text, errTextsFull
		}
		larger := make([]byte, len(text), room)
		copy(larger, text)
		t.give(text)
		text = larger
		for len(text) < cap(text) {
			n, err := in.Read(text[len(text):cap(text)])
			text = text[:len(text)+n]
			switch {
			case len(text) == most:
				return text, textTooLarge()
			case err == io.EOF:
				return text, nil
			case err != nil && packed:
				return text, bodyError(err, "gzip: ")
			case err != nil:
				return text, bodyError(err, "")
			}
		}
	}
}

// bodyError refuses a body that could not be read.
func bodyError(err error, format string) error {
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return textTooLarge()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &Error{Reason: Busy, Text: "the body did not arrive in time; send it again, in smaller parts", RetryAfter: retryAfter}
	}
	text := fmt.Sprintf("body: %s%s", format, strings.TrimPrefix(err.Error(), "gzip: "))
	if format == "" {
		return badRequest("%s; want all of it", text)
	}
	return badRequest("%s; want all of what gzip makes, or no Content-Encoding", text)
}
