package cmd

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"muster/repl/client"
)

// cpu is how much of a processor this process has used.
func cpu(t testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// costOf is what one of n calls of do costs, a few of which are under way at a time, in CPU of this process.
func costOf(t testing.TB, n int, do func() error) time.Duration {
	const atOnce = 8
	var all sync.WaitGroup
	began := cpu(t)
	for range atOnce {
		all.Go(func() {
			for range n / atOnce {
				if err := do(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	return (cpu(t) - began) / time.Duration(n/atOnce*atOnce)
}

// getCosts are what a get costs by HTTP, what an HTTP request costs whose handler does nothing but answer the same
// bytes, and what a get costs by the protocol of the cluster: all with their client, in this process.
type getCosts struct{ http, bare, own time.Duration }

// costsOfGets returns a function that measures the costs of n gets.
func costsOfGets(t *testing.T) func(n int) getCosts {
	a := api(t)
	a.post(t, "kv/set", fmt.Sprintf(`{"key":"cost","value":%q}`, bytes.Repeat([]byte("v"), 100))).is(t, http.StatusOK, nil)
	answer := a.get(t, "kv/get", "key", "cost")
	body := answer.body
	bare := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		for name, values := range answer.header { // those of the door are bytes, too
			h[name] = values
		}
		_, _ = w.Write(body)
	}))
	t.Cleanup(bare.Close)
	web := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
	t.Cleanup(web.CloseIdleConnections)
	get := func(url string) func() error {
		return func() error {
			r, err := web.Get(url + apiRoot + "kv/get?key=cost")
			if err != nil {
				return err
			}
			defer r.Body.Close()
			if b, err := io.ReadAll(r.Body); err != nil || r.StatusCode != http.StatusOK || !bytes.Equal(b, body) {
				return fmt.Errorf("%d %s, %v", r.StatusCode, b, err)
			}
			return nil
		}
	}
	keys := [][]byte{[]byte("cost")}
	own := func() error {
		items, _, err := a.client.Get(t.Context(), keys, client.ReadOptions{})
		if err == nil && len(items) != 1 {
			err = fmt.Errorf("%d items", len(items))
		}
		return err
	}
	return func(n int) getCosts {
		return getCosts{costOf(t, n, get(a.url)), costOf(t, n, get(bare.URL)), costOf(t, n, own)}
	}
}

// A get over HTTP may cost at most half as much again as an HTTP request that does nothing, and a get of the cluster's
// own protocol on top of it. The three take turns, so that what else the machine does falls on all of them; of the
// rounds the one in the middle counts.
func TestGetOverHTTPCosts(t *testing.T) {
	const rounds, gets, most = 9, 1200, 1.5
	costs := costsOfGets(t)
	costs(gets) // connections, and pages of memory
	var ratios []float64
	for range rounds {
		c := costs(gets)
		ratios = append(ratios, float64(c.http-c.own)/float64(c.bare))
		t.Logf("%v over HTTP, %v of a bare handler, %v by the cluster's protocol", c.http, c.bare, c.own)
	}
	slices.Sort(ratios)
	t.Logf("a get costs %.2f of a bare handler, and a get of the cluster's protocol", ratios[rounds/2])
	if ratios[rounds/2] > most {
		t.Errorf("a get over HTTP costs %.2f of a bare handler beside a get of the cluster's protocol, want %.2f at most", ratios[rounds/2], most)
	}
}
