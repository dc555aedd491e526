package influx

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"
	"time"

	"muster/node/web"
)

// Clients read these to learn whom they talk to. Some go by the number, so it is InfluxDB's.
const (
	Version = "1.8.10"
	Build   = "OSS"
)

// The paths.
const (
	pathWrite   = "/write"
	pathWriteV2 = "/api/v2/write"
	pathQuery   = "/query"
	pathFlux    = "/api/v2/query"
	pathPing    = "/ping"
	pathHealth  = "/health"
)

// TextsMax is how many bytes of texts a handler has in memory at once, over all writes: five of the largest.
// Package line tells what reading them costs beside that.
const TextsMax = 128 << 20

// Config is what a handler goes by. Its functions are called by any goroutine.
type Config struct {
	// Open returns the store that speaks for whoever made a request. The error is as those of [Store].
	Open func(r *http.Request) (Store, error)
	// Now returns the time, which points without one get; nil: that of this host.
	Now func() time.Time
	// TextsMax bounds the bytes of texts in memory; 0: [TextsMax].
	TextsMax int64
}

// Handler answers InfluxDB's clients.
type Handler struct {
	config Config
	texts  texts
	routes map[string]route
}

// route is what answers one path.
type route struct {
	methods []string
	kind    web.Kind
	serve   func(w http.ResponseWriter, r *http.Request)
}

// New returns a handler.
func New(c Config) *Handler {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.TextsMax == 0 {
		c.TextsMax = TextsMax
	}
	h := &Handler{config: c, texts: texts{most: c.TextsMax}}
	h.routes = map[string]route{
		pathWrite:   {[]string{http.MethodPost}, web.Influx, h.writeV1},
		pathWriteV2: {[]string{http.MethodPost}, web.Influx, h.writeV2},
		pathQuery:   {[]string{http.MethodGet, http.MethodPost}, web.Influx, h.query},
		pathFlux:    {[]string{http.MethodPost}, web.Influx, flux},
		pathPing:    {[]string{http.MethodGet, http.MethodHead}, web.Health, ping},
		pathHealth:  {[]string{http.MethodGet, http.MethodHead}, web.Health, health},
	}
	return h
}

// Mounts are what is hung below the door of a node.
func (h *Handler) Mounts() []web.Mount {
	var all []web.Mount
	for path, r := range h.routes {
		all = append(all, web.Mount{Path: path, Kind: r.kind, Handler: h, Refuse: Refuse})
	}
	return all
}

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	identify(w, r)
	route, ok := h.routes[r.URL.Path]
	if !ok {
		refusal{status: http.StatusNotFound, text: "page not found"}.write(w, formatOf(r))
		return
	}
	for _, m := range route.methods {
		if r.Method == m {
			route.serve(w, r)
			return
		}
	}
	w.Header().Set("Allow", "OPTIONS, "+strings.Join(route.methods, ", "))
	if r.Method == http.MethodOptions {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	refusal{status: http.StatusMethodNotAllowed, text: fmt.Sprintf("method not allowed: %s; want %s", r.Method, strings.Join(route.methods, " or "))}.write(w, formatOf(r))
}

// requestMax bounds the name that a client gives its request, in bytes. A longer one is not taken.
const requestMax = 128

// identify sets the fields that each answer has: whose it is, and to which request.
func identify(w http.ResponseWriter, r *http.Request) {
	id := r.Header.Get("X-Request-Id")
	if id == "" {
		id = r.Header.Get("Request-Id")
	}
	if id == "" || len(id) > requestMax {
		id = newID()
	}
	h := w.Header()
	h.Set("Content-Type", jsonType)
	h.Set("X-Influxdb-Version", Version)
	h.Set("X-Influxdb-Build", Build)
	h.Set("Request-Id", id)
	h.Set("X-Request-Id", id)
}

// newID returns a random UUID, of version 4.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// ping tells clients that the node is there.
func ping(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Query().Get("verbose") {
	case "", "0", "false":
		w.WriteHeader(http.StatusNoContent)
	default:
		fmt.Fprintf(w, "{%q:%q}", "version", Version)
	}
}

// health tells clients of InfluxDB 2 that the node is there. It does not tell whether the cluster can take points.
func health(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", jsonType+"; charset=utf-8")
	fmt.Fprintf(w, `{"checks":[],"message":"ready for queries and writes","name":"influxdb","status":"pass","version":%q}`, Version)
}

// flux refuses a query in Flux, as InfluxDB 1.8 does where Flux is off.
func flux(w http.ResponseWriter, r *http.Request) {
	refusal{status: http.StatusForbidden, text: "Flux query service disabled: muster has none; send InfluxQL to " + pathQuery}.write(w, formatOf(r))
}
