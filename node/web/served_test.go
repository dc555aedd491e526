package web

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
)

// Requests are counted by what serves them and how they ended, and the paths that strangers choose make no
// new count: else whoever can reach a node could fill its memory and that of Prometheus.
func TestRequestsAreCountedByRoute(t *testing.T) {
	if wrong := countedByRoute(t); wrong != "" {
		t.Error(wrong)
	}
}

// countedByRoute returns what is counted that should not be, or "".
func countedByRoute(t *testing.T) string {
	for _, overTLS := range []bool{false, true} {
		r := newRig(t, smallLimits(), overTLS)
		token := []string{"Authorization", "Bearer good"}
		want, times := map[Served]uint64{}, 0
		ask := func(method, path, body, route, code string, fields ...string) {
			r.ask(method, path, body, fields...)
			want[Served{route, code}]++
			if !strings.HasSuffix(path, "goes-on") {
				times++
			}
		}
		ask("GET", "/api/v1/get", "", "/api/v1/", "2xx", token...)
		ask("GET", "/api/v1/named", "", "/api/v1/named", "2xx", token...)
		ask("GET", "/api/v1/named?goes-on", "", "/api/v1/named", "2xx", token...)
		ask("GET", "/livez", "", "/livez", "2xx")
		ask("GET", "/livez", "", "/livez", "2xx")
		ask("GET", "/ui/keys", "", "/ui/", "2xx")
		ask("GET", "/ui", "", "/", "3xx")
		ask("POST", "/api/v1/auth/login", `{"user":"rob","password":"wrong"}`, "/api/v1/auth/login", "4xx")
		ask("POST", "/api/v1/set", strings.Repeat("x", 80<<10), "/api/v1/", "4xx", token...)
		if overTLS {
			ask("GET", "/api/v1/named", "", "/api/v1/", "4xx") // it is not brought to its handler
		}
		for i := range 50 {
			ask("GET", fmt.Sprintf("/stranger-%d", i), "", Other, "4xx")
			ask("GET", fmt.Sprintf("/ui/stranger-%d", i), "", "/ui/", "2xx")
			ask("GET", fmt.Sprintf("/api/v1/stranger-%d", i), "", "/api/v1/", "4xx", token...)
		}
		if overTLS { // over HTTP/1.1 a client asks again
			ask("GET", "/api/v1/broken", "", "/api/v1/", NoCode, token...)
		}
		r.door.running.Lock() // a client may have its answer before the handler has returned
		got := maps.Clone(r.door.served.count)
		r.door.running.Unlock()
		if !maps.Equal(got, want) {
			return fmt.Sprintf("TLS %t: %d counts, %v; want %d, %v", overTLS, len(got), got, len(want), want)
		}
		if d := r.door.Times(); d.Total() != uint64(times) {
			return fmt.Sprintf("TLS %t: %d are timed, want %d", overTLS, d.Total(), times)
		}
	}
	return ""
}

// An answer is counted by the status that its client gets, whatever the handler calls.
func TestStatusThatIsCounted(t *testing.T) {
	for _, c := range []struct {
		name    string
		handler func(http.ResponseWriter)
		want    string
	}{
		{"nothing", func(http.ResponseWriter) {}, "2xx"},
		{"a body", func(w http.ResponseWriter) { _, _ = w.Write([]byte("x")) }, "2xx"},
		{"a body, and a status too late", func(w http.ResponseWriter) { _, _ = w.Write([]byte("x")); w.WriteHeader(500) }, "2xx"},
		{"what follows a word before", func(w http.ResponseWriter) { w.WriteHeader(103); w.WriteHeader(404) }, "4xx"},
		{"two statuses", func(w http.ResponseWriter) { w.WriteHeader(507); w.WriteHeader(200) }, "5xx"},
		{"a status that there is not", func(w http.ResponseWriter) { w.WriteHeader(999) }, "5xx"},
	} {
		var s served
		w := s.begin(discard{}, nil, &Mount{Path: "/x"})
		c.handler(w)
		w.returned = true
		s.end(w)
		if !maps.Equal(s.count, map[Served]uint64{{"/x", c.want}: 1}) {
			t.Errorf("%s: got %v, want %s", c.name, s.count, c.want)
		}
	}
}

// discard is a writer that keeps nothing.
type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}
