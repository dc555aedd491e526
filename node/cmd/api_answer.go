package cmd

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Types of contents.
const (
	typeJSON   = "application/json"
	typeLines  = "application/x-ndjson"
	typeEvents = "text/event-stream"
)

// apiForm is how an answer is sent.
type apiForm uint8

const (
	formJSON   apiForm = iota // one value
	formLines                 // one value a line
	formEvents                // one value an event
)

const (
	// answerHeldMax is how much of an answer is held back until the command has ended, in bytes, so that an error can
	// still be the answer. More than that is sent as it comes.
	answerHeldMax = 1 << 20
	// streamHeldMax is that of a stream, which is sent as soon as the command says so.
	streamHeldMax = 32 << 10
	// commentEvery is how long a stream of events may be silent: then a comment shows that it lives.
	commentEvery = 5 * time.Second
)

// apiAnswer is where a command over HTTP prints to.
type apiAnswer struct {
	w    http.ResponseWriter
	rc   *http.ResponseController
	form apiForm
	held int // at most so much gathers
	id   string

	mu     sync.Mutex // guards what follows, which the comments of a stream touch too
	buf    []byte
	line   []byte // the beginning of an event's line
	began  bool   // the status was sent
	status int
	err    error // of a write
	sent   time.Time
	quiet  chan struct{} // closed when there is nothing more to send; nil: no comments are sent
}

func newAnswer(q *apiRequest) *apiAnswer {
	a := &apiAnswer{w: q.w, rc: http.NewResponseController(q.w), held: answerHeldMax, status: http.StatusOK}
	if q.route.lines {
		a.form, a.held = formLines, streamHeldMax
		if q.wantsEvents() {
			a.form = formEvents
		}
	}
	return a
}

// wantsEvents reports whether the answer is to be a stream of events.
func (q *apiRequest) wantsEvents() bool {
	return q.route.lines && strings.Contains(q.r.Header.Get("Accept"), typeEvents)
}

// writer is what the command writes to.
func (a *apiAnswer) writer() *bufio.Writer { return bufio.NewWriterSize(a, 4<<10) }

// Write implements [io.Writer].
func (a *apiAnswer) Write(b []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.form == formEvents {
		a.events(b)
	} else {
		a.buf = append(a.buf, b...)
	}
	if len(a.buf) >= a.held {
		a.pushNow()
	}
	return len(b), a.err
}

// events turns lines into events. The last of them gets the id.
func (a *apiAnswer) events(b []byte) {
	for {
		line, rest, ok := bytes.Cut(b, []byte("\n"))
		a.line = append(a.line, line...)
		if !ok {
			return
		}
		if b = rest; len(rest) == 0 && a.id != "" {
			a.buf = append(append(append(a.buf, "id: "...), a.id...), '\n')
			a.id = ""
		}
		a.buf = append(append(append(a.buf, "data: "...), a.line...), "\n\n"...)
		a.line = a.line[:0]
	}
}

// push sends what has gathered of a stream.
func (a *apiAnswer) push() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.form != formJSON {
		a.pushNow()
	}
	return a.err
}

// pushNow sends what has gathered, a.mu held. The reader of a stream gets [streamWriteMax] for it: one that has gone
// without a word, or reads too slowly, does not keep the command for ever.
func (a *apiAnswer) pushNow() {
	if a.err != nil || a.began && len(a.buf) == 0 {
		return
	}
	if !a.began {
		a.began = true
		h := a.w.Header()
		h.Set("Content-Type", map[apiForm]string{formJSON: typeJSON, formLines: typeLines, formEvents: typeEvents}[a.form])
		h.Set("Cache-Control", "no-store")
		if a.form == formEvents {
			h.Set("X-Accel-Buffering", "no") // proxies would else hold events back
			a.quiet = make(chan struct{})
			go a.comment(a.quiet)
		}
		a.w.WriteHeader(a.status)
	}
	_ = a.rc.SetWriteDeadline(time.Now().Add(streamWriteMax)) // not every writer has one
	if _, a.err = a.w.Write(a.buf); a.err == nil && a.form != formJSON {
		a.err = a.rc.Flush()
	}
	a.buf, a.sent = a.buf[:0], time.Now()
}

// comment sends a comment whenever the stream was silent for long, until quiet is closed.
func (a *apiAnswer) comment(quiet <-chan struct{}) {
	tick := time.NewTicker(commentEvery / 2)
	defer tick.Stop()
	for {
		select {
		case <-quiet:
			return
		case now := <-tick.C:
			a.mu.Lock()
			if a.quiet != nil && now.Sub(a.sent) >= commentEvery/2 {
				a.buf = append(a.buf, ":\n\n"...)
				a.pushNow()
			}
			a.mu.Unlock()
		}
	}
}

// stop ends the comments. No more is sent after that by another goroutine.
func (a *apiAnswer) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.quiet != nil {
		close(a.quiet)
		a.quiet = nil
	}
}

// whole sends an answer of which nothing was sent.
func (a *apiAnswer) whole(status int) error {
	defer a.stop()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.status = status
	if a.form == formJSON {
		if len(a.buf) == 0 {
			a.buf = append(a.buf, "{}\n"...) // the command prints nothing
		}
		a.w.Header().Set("Content-Length", strconv.Itoa(len(a.buf)))
	}
	a.pushNow()
	return nil // an error is of a reader that has gone
}

// result is what the command has printed before it ended with an error; nil if that is nothing, or no one value.
func (a *apiAnswer) result() json.RawMessage {
	if b := bytes.TrimSpace(a.buf); a.form == formJSON && json.Valid(b) {
		return b
	}
	return nil
}

// end ends an answer of which some was sent: a stream with a line that has the error; one value, which nobody can read
// any more, with the connection.
func (a *apiAnswer) end(call *apiCall, err error) error {
	defer a.stop()
	if err != nil && a.form == formJSON && !isQuiet(err) {
		panic(http.ErrAbortHandler)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil && !isQuiet(err) {
		line, merr := marshalLine(&errorBody{Error: call.route.apiErrorOf(err).row(), Notes: call.notes.lines})
		if merr == nil && a.form == formEvents {
			line = append([]byte("event: error\ndata: "), append(line, '\n')...)
		}
		a.buf = append(a.buf, line...)
	}
	a.pushNow()
	return nil
}
