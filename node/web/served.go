package web

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"muster/repl"
)

// Other is the route of requests that nothing serves. Strangers choose their paths, so these are not counted apart.
const Other = "other"

// NoCode is the code of requests that ended without an answer.
const NoCode = "none"

// served is what a door has answered since it was made.
type served struct {
	mu    sync.Mutex
	count map[Served]uint64 // guarded by mu. Invariant: no more routes than there are mounts and rows of the API's table
	times repl.Durations    // guarded by mu
}

// Served is a kind of requests that are counted together.
type Served struct {
	Route string // the path that [Route] was given, or of the mount or the door's own answer; else [Other]
	Code  string // the class of the status, as in 2xx, or [NoCode]
}

// Served calls f with how many requests were answered, in no order. It may be called by any goroutine; f must not block.
func (d *Door) Served(f func(s Served, requests uint64)) {
	d.served.mu.Lock()
	defer d.served.mu.Unlock()
	for s, n := range d.served.count {
		f(s, n)
	}
}

// Times returns how long answers took, from when the head of the request was read to when its handler returned. It leaves
// out those that last as long as their reader wants.
func (d *Door) Times() repl.Durations {
	d.served.mu.Lock()
	defer d.served.mu.Unlock()
	return d.served.times
}

// counted is the writer of an answer that is counted. Its handler owns it.
type counted struct {
	http.ResponseWriter
	route    string
	status   int // 0: none was written
	goesOn   bool
	returned bool // the handler has not panicked
	began    time.Time
}

// Route names the route of the request that w answers. There must be few routes, so a path that a stranger can choose must
// not be one. A request whose handler names none is counted by the path of its [Mount].
func Route(w http.ResponseWriter, route string) {
	if c, ok := w.(*counted); ok {
		c.route = route
	}
}

// GoesOn marks the answer w as one that lasts as long as its reader wants, so that its time tells nothing about this node.
func GoesOn(w http.ResponseWriter) {
	if c, ok := w.(*counted); ok {
		c.goesOn = true
	}
}

// bugStrangersRoutes is planted to show that its test finds it: each path that somebody asks for is counted apart.
const bugStrangersRoutes = "paths of strangers are routes"

// begin returns the writer for a request that a mount serves.
func (s *served) begin(w http.ResponseWriter, r *http.Request, m *Mount) *counted {
	c := &counted{ResponseWriter: w, route: m.Path, goesOn: m.Kind == Profile, began: time.Now()}
	switch {
	case bug(bugStrangersRoutes):
		c.route = r.URL.Path
	case c.route == "":
		c.route = Other
	}
	return c
}

// end counts an answer whose handler has returned, or panicked.
func (s *served) end(c *counted) {
	took, code := time.Since(c.began), NoCode
	switch {
	case c.status != 0:
		code = classes[min(c.status/100, len(classes)-1)]
	case c.returned: // net/http says OK for it
		code = classes[2]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count == nil {
		s.count = make(map[Served]uint64)
	}
	s.count[Served{c.route, code}]++
	if !c.goesOn {
		s.times.Add(took)
	}
}

// classes are the classes of statuses.
var classes = func() (names [6]string) {
	for i := range names {
		names[i] = strconv.Itoa(i) + "xx"
	}
	return names
}()

// WriteHeader implements [http.ResponseWriter].
func (c *counted) WriteHeader(status int) {
	if c.status == 0 && status >= http.StatusOK { // else others follow
		c.status = status
	}
	c.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (c *counted) Write(p []byte) (int, error) {
	if c.status == 0 {
		c.status = http.StatusOK
	}
	return c.ResponseWriter.Write(p)
}

// FlushError sends what was written, as [http.ResponseController.Flush] wants it.
func (c *counted) FlushError() error {
	if c.status == 0 {
		c.status = http.StatusOK
	}
	return http.NewResponseController(c.ResponseWriter).Flush()
}

// Flush implements [http.Flusher].
func (c *counted) Flush() { _ = c.FlushError() }

// Unwrap is for [http.ResponseController].
func (c *counted) Unwrap() http.ResponseWriter { return c.ResponseWriter }
