package feed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"muster/node/overview"
	"muster/repl/client"
	"muster/repl/wire"
)

// Paths that [Feed.Mount] serves.
const (
	PathOverview = "/api/v1/overview"
	PathEvents   = "/api/v1/events"
)

const (
	// heartbeat is how long a stream of events says nothing at most.
	heartbeat = 5 * time.Second
	// writeMax is how long a reader may take to read what it is sent. One that takes longer is cut
	// off, and can come again with the id of the last event that it has.
	writeMax = 10 * time.Second
	// streamRate bounds what a stream costs, in bytes a second: overviews of a cluster with
	// thousands of groups are large, and come less often.
	streamRate = 1 << 20
	// comeAgain is what a reader is told to wait before it comes again, in ms.
	comeAgain = 1000
)

// Opener returns the client that speaks for the user of a request. All requests of one user get the
// same one, and no other user gets it.
type Opener = func(*http.Request) (*client.Client, error)

// Mount serves the overview and the stream of events below mux. fail answers a request with an
// error, most often a *wire.Error.
//
// GET [PathOverview] answers with one [overview.Overview]. It is at most two seconds old.
//
// GET [PathEvents] answers with server-sent events until the reader goes:
//
//	event: change     an [overview.Event]
//	event: overview   an [overview.Overview], whenever it is another one: once a second at most
//	: …               a comment, where there was nothing to say for 5 s
//
// The caller bounds how many requests and streams there are at a time.
//
// Every event has an id. A reader that comes again with the last one that it has, in the header
// Last-Event-ID or as ?after=, is told at once of all that has changed since, by whichever node it
// comes to; see [overview.Mark]. It may be told twice of a change that came right before it was
// cut off; [overview.Event] has a key to tell by.
func (f *Feed) Mount(mux *http.ServeMux, open Opener, fail func(http.ResponseWriter, error)) {
	f.mount(mux, func(r *http.Request) (Asker, error) { return open(r) }, fail)
}

// opener is an [Opener] of anything that asks.
type opener func(*http.Request) (Asker, error)

func (f *Feed) mount(mux *http.ServeMux, open opener, fail func(http.ResponseWriter, error)) {
	mux.HandleFunc("GET "+PathOverview, func(w http.ResponseWriter, r *http.Request) {
		if err := f.serveOverview(w, r, open); err != nil {
			fail(w, err)
		}
	})
	mux.HandleFunc("GET "+PathEvents, func(w http.ResponseWriter, r *http.Request) {
		if err := f.serveEvents(w, r, open); err != nil {
			fail(w, err)
		}
	})
}

// collector returns the collector of the user of a request.
func (f *Feed) collector(r *http.Request, open opener) (*Collector, error) {
	cl, err := open(r)
	if err != nil {
		return nil, err
	}
	return f.Of(cl)
}

// unavailable is the error of a request that found the collector closed.
func unavailable(err error) error {
	if errors.Is(err, client.ErrClosed) || errors.Is(err, ErrClosed) {
		return wire.NotReady("the overview", "nobody collects it any more", "ask again", comeAgain*time.Millisecond)
	}
	return err
}

func (f *Feed) serveOverview(w http.ResponseWriter, r *http.Request, open opener) error {
	c, err := f.collector(r, open)
	if err != nil {
		return err
	}
	m, err := c.Next(r.Context(), 0)
	if err != nil {
		return unavailable(err)
	}
	text, _ := m.Text()
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Write(text) // a reader that is gone needs no error
	return nil
}

// markIn returns the mark that a request brings along; nil if it brings none.
func markIn(r *http.Request) (*overview.Mark, error) {
	field, id := "header Last-Event-ID", r.Header.Get("Last-Event-ID")
	if id == "" {
		field, id = "after", r.URL.Query().Get("after")
	}
	if id == "" {
		return nil, nil
	}
	m, err := overview.ParseMark(id)
	if err != nil {
		return nil, wire.BadRequest(field, err.Error(), "give the id of the last event, or leave it out")
	}
	return m, nil
}

func (f *Feed) serveEvents(w http.ResponseWriter, r *http.Request, open opener) error {
	mark, err := markIn(r)
	if err != nil {
		return err
	}
	c, err := f.collector(r, open)
	if err != nil {
		return err
	}
	// The first overview comes before the answer begins: while none can be had there is an error.
	first, err := c.Next(r.Context(), 0)
	if err != nil {
		return unavailable(err)
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no") // a proxy that gathers would hold events back
	s := stream{w: w, control: http.NewResponseController(w), within: f.writeMax, mark: mark}
	s.printf("retry: %d\n\n", comeAgain)
	s.run(r.Context(), c, first)
	return nil
}

// stream is one stream of events. It is gone with its first error.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	within  time.Duration  // a write has to end
	mark    *overview.Mark // of what its reader knows; nil: it knows nothing
	number  uint64         // of the last moment
	sent    int            // bytes, of the last moment
	err     error
}

// run sends each moment from the first on until the reader is gone or nobody collects any more.
func (s *stream) run(ctx context.Context, c *Collector, m *Moment) {
	for {
		s.send(m)
		if s.err = errors.Join(s.err, s.flush()); s.err != nil {
			return
		}
		if !s.rest(ctx) {
			return
		}
		var err error
		if m, err = s.next(ctx, c); err != nil {
			return
		}
	}
}

// rest waits until what was sent is paid for. It reports false if the reader is gone.
func (s *stream) rest(ctx context.Context) bool {
	paid := time.NewTimer(time.Duration(s.sent) * time.Second / streamRate)
	defer paid.Stop()
	select {
	case <-paid.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// next waits for a moment, and tells the reader meanwhile that it still does.
func (s *stream) next(ctx context.Context, c *Collector) (*Moment, error) {
	for {
		one, cancel := context.WithTimeout(ctx, heartbeat)
		m, err := c.Next(one, s.number)
		cancel()
		if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return m, err
		}
		s.printf(": nothing new\n\n")
		if err := errors.Join(s.err, s.flush()); err != nil {
			return nil, err
		}
	}
}

// send writes a moment: what has changed since the reader's mark, under that mark's id, so that a
// reader which is cut off in between is told again; then the overview, under its own.
func (s *stream) send(m *Moment) {
	text, id := m.Text()
	s.sent = 0
	if s.mark != nil {
		changes := m.Changes
		if s.mark != m.Before {
			changes = overview.Changes(s.mark, m.Overview)
		}
		before := ""
		for i := range changes {
			if before == "" {
				before = s.mark.String()
			}
			s.printf("event: change\nid: %s\ndata: %s\n\n", before, mustJSON(&changes[i]))
		}
	}
	s.printf("event: overview\nid: %s\ndata: %s\n\n", id, text)
	s.mark, s.number = m.Mark, m.Number
}

// mustJSON is an event as JSON, which has everything that it has.
func mustJSON(e *overview.Event) []byte {
	text, err := json.Marshal(e)
	if err != nil {
		panic("feed: an event is no JSON: " + err.Error())
	}
	return text
}

func (s *stream) printf(format string, args ...any) {
	if s.err != nil {
		return
	}
	s.control.SetWriteDeadline(time.Now().Add(s.within)) // where that can't be, the server has its own
	text := fmt.Sprintf(format, args...)
	s.sent += len(text)
	_, s.err = io.WriteString(s.w, text)
}

func (s *stream) flush() error {
	s.control.SetWriteDeadline(time.Now().Add(s.within))
	return s.control.Flush()
}
