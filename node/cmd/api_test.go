package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"muster/node"
	"muster/repl/client"
)

// A cluster of one node, in this process, answers the routes here; what wants several nodes is tested by node/trial.

// apiCluster is a node with the routes in front of it.
type apiCluster struct {
	http   *httptest.Server
	addr   string // of the node
	client *client.Client
}

var (
	apiOnce sync.Once
	theAPI  *apiCluster
	apiErr  error
	apiStop = func() {}
)

// api returns the cluster that the tests share. Keys of a test begin with its name.
func api(t testing.TB) *apiCluster {
	t.Helper()
	apiOnce.Do(func() { theAPI, apiErr = startAPI() })
	if apiErr != nil {
		t.Fatal(apiErr)
	}
	return theAPI
}

func startAPI() (*apiCluster, error) {
	addrs, err := node.FreeAddrs(1)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "muster-api-")
	if err != nil {
		return nil, err
	}
	config := node.Default()
	config.Name, config.Listen, config.Cluster, config.Insecure = "n1", addrs[0], "test", true
	config.Data = filepath.Join(dir, "data")
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- node.Run(ctx, config, slog.New(slog.DiscardHandler), func(string) {}) }()
	c, err := client.Open(client.Options{Endpoints: addrs, Insecure: true, Patience: 20 * time.Second, Forward: client.ForwardAlways})
	if err != nil {
		stop()
		return nil, err
	}
	a := &apiCluster{addr: addrs[0], client: c}
	a.http = httptest.NewServer(apiHandler(func(*http.Request) (*client.Client, error) { return c, nil }))
	apiStop = func() {
		a.http.Close()
		c.Close()
		stop()
		<-ended
		os.RemoveAll(dir)
	}
	wait, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		status, err := c.Status(wait, "")
		if err == nil && status.Healthy && announced(status) {
			return a, nil
		}
		select {
		case <-wait.Done():
			return nil, fmt.Errorf("the node is not ready: %v", err)
		case err := <-ended:
			return nil, fmt.Errorf("the node has ended: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// httpAnswer is an answer.
type httpAnswer struct {
	status int
	header http.Header
	body   []byte
}

// get asks for a route with the fields, as name, value, name, value.
func (a *apiCluster) get(t testing.TB, route string, fields ...string) httpAnswer {
	t.Helper()
	q := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		q.Add(fields[i], fields[i+1])
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.http.URL+apiRoot+route+"?"+q.Encode(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return a.do(t, r)
}

// post sends a JSON object to a route.
func (a *apiCluster) post(t testing.TB, route, body string) httpAnswer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, a.http.URL+apiRoot+route, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", typeJSON)
	return a.do(t, r)
}

func (a *apiCluster) do(t testing.TB, r *http.Request) httpAnswer {
	t.Helper()
	resp, err := a.http.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return httpAnswer{resp.StatusCode, resp.Header, b}
}

// is checks the status of an answer, and reads its body.
func (r httpAnswer) is(t testing.TB, status int, into any) {
	t.Helper()
	if r.status != status {
		t.Fatalf("status %d, want %d: %s", r.status, status, r.body)
	}
	if into == nil {
		return
	}
	d := json.NewDecoder(bytes.NewReader(r.body))
	if err := d.Decode(into); err != nil {
		t.Fatalf("%v: %s", err, r.body)
	}
}

// refused checks that an answer is an error, and returns it.
func (r httpAnswer) refused(t testing.TB, status int, code string) errorRow {
	t.Helper()
	var body errorBody
	r.is(t, status, &body)
	if body.Error == nil || body.Error.Code != code || body.Error.Message == "" {
		t.Fatalf("want the code %s: %s", code, r.body)
	}
	return *body.Error
}
