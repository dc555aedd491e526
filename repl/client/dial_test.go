package client

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"
)

// A program may reach its nodes by a way of its own. Then each connection must be
// made by it, and by nothing else: also those to nodes that the client was only
// told of, and those that are made anew.
func TestOptionsDial(t *testing.T) {
	f := newFake(t, 3, 8)
	real := map[string]string{"gate.invalid:1": f.nodes[0].addr}
	var mu sync.Mutex
	dialled := map[string]int{}
	c := f.open(Options{
		Endpoints: []string{"gate.invalid:1", "gate.invalid:1", "gate.invalid:1"},
		Dial: func(ctx context.Context, addr string) (net.Conn, error) {
			mu.Lock()
			dialled[addr]++
			mu.Unlock()
			if at, ok := ctx.Deadline(); !ok || time.Until(at) > dialTimeoutDefault {
				t.Errorf("dial %s: until %v, want %s at most", addr, at, dialTimeoutDefault)
			}
			if to := real[addr]; to != "" {
				addr = to
			}
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		},
	})
	ctx := within(t, 10*time.Second)
	for i := range 50 {
		if _, err := c.Set(ctx, []byte{'k', byte(i)}, []byte("v"), WriteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if dialled["gate.invalid:1"] == 0 || dialled[f.nodes[1].addr] == 0 || dialled[f.nodes[2].addr] == 0 {
		t.Errorf("dialled %v, want the endpoint and the two other nodes %s and %s", dialled, f.nodes[1].addr, f.nodes[2].addr)
	}
}

// What a way of its own says of why it failed is what the caller is told.
func TestOptionsDialFails(t *testing.T) {
	noWay := errors.New("the tunnel is shut")
	c, err := Open(Options{Insecure: true, Endpoints: []string{"gate.invalid:1"}, Patience: 10 * time.Millisecond,
		Dial: func(context.Context, string) (net.Conn, error) { return nil, noWay }})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = c.Set(within(t, 10*time.Second), []byte("k"), []byte("v"), WriteOptions{})
	var none *ErrNoEndpoint
	if !errors.As(err, &none) || !errors.Is(errors.Join(none.Causes...), noWay) {
		t.Errorf("got %v, want that no endpoint was had, because %v", err, noWay)
	}
}
