package cmd

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The figures of a node count what is asked of it over HTTP by the routes of the API, and by no path or name that a
// client made up.
func TestHTTPRequestsAreCounted(t *testing.T) {
	a := api(t)
	a.get(t, "kv/get", "key", "none").is(t, http.StatusNotFound, nil)
	a.get(t, "kv/get", "keys", "none").refused(t, http.StatusBadRequest, "bad-request")
	a.get(t, "node/list").is(t, http.StatusOK, nil)
	a.get(t, "node/list").is(t, http.StatusOK, nil)
	a.post(t, "node/list", "{}").refused(t, http.StatusMethodNotAllowed, "bad-request")
	a.get(t, specName).is(t, http.StatusOK, nil)
	for i := range 20 {
		a.get(t, fmt.Sprint("made-up-", i)).refused(t, http.StatusNotFound, "not-found")
	}
	resp, err := http.Get(a.url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", resp.Status, b, err)
	}
	page := string(b)
	for _, want := range []string{
		`{route="/api/v1/kv/get",code="4xx"} 2`, `{route="/api/v1/node/list",code="2xx"} 2`, `{route="/api/v1/node/list",code="4xx"} 1`,
		`{route="/api/v1/openapi.json",code="2xx"} 1`, `{route="/api/v1/",code="4xx"} 20`,
	} {
		if !strings.Contains(page, "\nmuster_http_requests_total"+want+"\n") {
			t.Errorf("there is no %s in\n%s", want, page)
		}
	}
	known := []string{apiRoot, apiRoot + specName}
	for _, rt := range a.routes {
		known = append(known, rt.path)
	}
	for _, m := range regexp.MustCompile(`(?m)^muster_http_requests_total\{route="([^"]*)"`).FindAllStringSubmatch(page, -1) {
		if !slices.Contains(known, m[1]) {
			t.Errorf("%s is counted, which is no route", m[1])
		}
	}
	if !strings.Contains(page, "\nmuster_http_request_duration_seconds_count 26\n") {
		t.Errorf("26 requests are not timed in\n%s", page)
	}
}
