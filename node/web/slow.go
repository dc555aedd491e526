package web

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// An answer over HTTP/1.1 is held up by its connection, whose writes are bounded. Over HTTP/2 the other side says for
// each stream how much it takes, so an answer may wait for ever while the connection is well. Such answers are known
// here, and ended when they have waited for too long. A deadline for each write would cost more than the write.

// bugSlowReader is planted to show that its test finds it: a reader that asks for something and does not read it is
// waited for.
const bugSlowReader = "reader that does not read is waited for"

// answers are those that are being made for HTTP/2.
type answers struct {
	mu  sync.Mutex
	all map[*answer]struct{} // guarded by mu
}

// answer is one of them. It is the writer that its handler has.
type answer struct {
	http.ResponseWriter
	since atomic.Int64 // when the write began that is under way, in nanoseconds of Unix time; 0: none is
}

func (a *answers) begin(w http.ResponseWriter) *answer {
	one := &answer{ResponseWriter: w}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.all == nil {
		a.all = make(map[*answer]struct{})
	}
	a.all[one] = struct{}{}
	return one
}

// end takes one out whose handler has returned. What is left of the answer has the time of one write.
func (a *answers) end(one *answer, within time.Duration) {
	a.mu.Lock()
	delete(a.all, one)
	a.mu.Unlock()
	_ = http.NewResponseController(one.ResponseWriter).SetWriteDeadline(time.Now().Add(within)) // an answer of HTTP/2 has deadlines
}

// sweep ends those that have waited since before.
func (a *answers) sweep(before time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for one := range a.all {
		if since := one.since.Load(); !bug(bugSlowReader) && since != 0 && since < before.UnixNano() {
			_ = http.NewResponseController(one.ResponseWriter).SetWriteDeadline(before) // as in end
		}
	}
}

// Write implements [http.ResponseWriter].
func (a *answer) Write(p []byte) (int, error) {
	a.since.Store(time.Now().UnixNano())
	defer a.since.Store(0)
	return a.ResponseWriter.Write(p)
}

// FlushError sends what was written, as [http.ResponseController.Flush] wants it.
func (a *answer) FlushError() error {
	a.since.Store(time.Now().UnixNano())
	defer a.since.Store(0)
	return http.NewResponseController(a.ResponseWriter).Flush()
}

// Flush implements [http.Flusher].
func (a *answer) Flush() { _ = a.FlushError() }

// Unwrap is for [http.ResponseController].
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
