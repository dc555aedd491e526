package metrics

import (
	"context"
	"net/http"
	"strconv"
	"time"
)

// Source is a node, as those who watch it see it. Any goroutine may call it.
type Source interface {
	// Collect puts the figures of the node on a page. It waits for the node's loop and for
	// its disk, for at most some seconds, and returns what it has by then.
	Collect(ctx context.Context, p *Page)
	// Alive returns what must work in a process that needs no restart. It asks no other node.
	Alive(ctx context.Context) []Condition
	// Ready returns what a node needs that serves. It asks a majority of the meta group.
	Ready(ctx context.Context) []Condition
}

// bugManyScrapes is planted to show that its test finds it: a host that scrapes often has a node spend all
// its time on that.
const bugManyScrapes = "scrapes beside each other"

// scrapeRetry is after how many seconds one should ask again who came during a scrape.
const scrapeRetry = 1

// Scrapes answers with the figures of a node. It collects for one at a time, and refuses others
// meanwhile: so however many ask, a node spends the time of one. What was collected is in
// memory before the first byte is sent, so a scraper that reads slowly holds up nobody.
func Scrapes(s Source) http.Handler {
	free := make(chan *Page, 1)
	free <- new(Page)
	size := 0 // of the last page; whoever has the page owns it
	return reading(func(w http.ResponseWriter, r *http.Request) {
		var page *Page
		select {
		case page = <-free:
		default:
			if bug(bugManyScrapes) {
				s.Collect(r.Context(), new(Page))
				return
			}
			w.Header().Set("Retry-After", strconv.Itoa(scrapeRetry))
			http.Error(w, "another scrape is under way; let one Prometheus ask this node, or let them ask at different times", http.StatusServiceUnavailable)
			return
		}
		body := func() []byte {
			defer func() { free <- page }()
			page.Reset()
			s.Collect(r.Context(), page)
			page.Process()
			body := page.Append(make([]byte, 0, size+size/8))
			size = len(body)
			return body
		}()
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		write(w, body)
	})
}

// reading lets only those requests through that change nothing.
func reading(f http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, r.Method+" of "+r.URL.Path+": it can only be read; use GET", http.StatusMethodNotAllowed)
			return
		}
		f(w, r)
	})
}

// write sends a body that is whole.
func write(w http.ResponseWriter, body []byte) {
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(body) // whoever has hung up wants none of it
}

// seconds reads a bounded number of seconds from a request's query; def where there is none.
func seconds(r *http.Request, name string, def, most int) (time.Duration, bool) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return time.Duration(def) * time.Second, true
	}
	n, err := strconv.Atoi(text)
	return time.Duration(n) * time.Second, err == nil && n >= 1 && n <= most
}
