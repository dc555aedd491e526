package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"muster/repl/wire"
)

// kinds are those of refusals, by their codes.
var kinds = map[wire.Code]error{
	wire.CodeBadRequest: ErrBadRequest, wire.CodeTooLarge: ErrTooLarge, wire.CodeNotFound: ErrNotFound, wire.CodeConflict: ErrConflict,
	wire.CodeNotLeader: ErrNotLeader, wire.CodeMoved: ErrMoved, wire.CodeBusy: ErrBusy, wire.CodeUnavailable: ErrUnavailable,
	wire.CodeMaybeApplied: ErrMaybeApplied, wire.CodeUnauthorized: ErrUnauthorized, wire.CodeWrongCluster: ErrWrongCluster,
	wire.CodeWrongVersion: ErrWrongVersion, wire.CodeDamaged: ErrDamaged, wire.CodeStaleSession: ErrStaleSession,
	wire.CodeUnknownNode: ErrUnknownNode, wire.CodeLevel: ErrLevel, wire.CodeNotReady: ErrNotReady, wire.CodeFull: ErrFull,
	wire.CodeRemoved: ErrRemoved, wire.CodeOverLimit: ErrOverLimit,
}

// kindsOf returns the codes whose kinds errors.Is finds in err.
func kindsOf(err error) (codes []wire.Code) {
	for c := wire.Code(1); c.Known(); c++ {
		if errors.Is(err, kinds[c]) {
			codes = append(codes, c)
		}
	}
	return codes
}

// Whatever code a node refuses with, a program finds its kind by errors.Is, and no other kind, and the rest by
// errors.As. A refusal that the client tries again ends as unavailable, with the reason in its text, where it
// does not help in time; a full disk stays one, for it says what to do.
func TestEveryCodeHasAKind(t *testing.T) {
	f := newFake(t, 1, 1)
	c := f.open(Options{})
	if _, err := c.Set(within(t, busyMax), []byte("k"), nil, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	later := map[wire.Code]bool{wire.CodeNotLeader: true, wire.CodeMoved: true, wire.CodeBusy: true, wire.CodeUnavailable: true, wire.CodeDamaged: true, wire.CodeNotReady: true}
	for code := wire.Code(1); code.Known(); code++ {
		if kinds[code] == nil {
			t.Fatalf("code %s has no kind", code)
		}
		refusal := &wire.Error{Code: code, Object: "the request", Text: "as the test says", Next: "nothing", RetryAfterMs: 1}
		f.nodes[0].do(func(h wire.Header, _ []byte) fakeOrder {
			if h.Type == wire.TypeWrite || h.Type == wire.TypeGet {
				return fakeOrder{refuse: refusal}
			}
			return fakeOrder{}
		})
		wait := busyMax
		if later[code] || code == wire.CodeFull || code == wire.CodeMaybeApplied {
			wait = 30 * time.Millisecond // which is tried again as long as there is time
		}
		for call, do := range map[string]func(context.Context) error{
			"set": func(ctx context.Context) error { _, err := c.Set(ctx, []byte("k"), nil, WriteOptions{}); return err },
			"get": func(ctx context.Context) error {
				_, _, _, err := c.GetOne(ctx, []byte("k"), nil, ReadOptions{})
				return err
			},
		} {
			want := code
			if later[code] || code == wire.CodeMaybeApplied && call == "get" {
				want = wire.CodeUnavailable
			}
			var err error
			until(t, "the time is over while no attempt is under way, after which nobody would know", func() bool {
				ctx, cancel := context.WithTimeout(context.Background(), wait)
				defer cancel()
				err = do(ctx)
				return want == wire.CodeMaybeApplied || !errors.Is(err, ErrMaybeApplied)
			})
			var e *Error
			if got := kindsOf(err); len(got) != 1 || got[0] != want || !errors.As(err, &e) || e.Code != want {
				t.Errorf("%s that is refused with %s: of kinds %v, want %s: %v", call, code, got, want, err)
			}
		}
	}
}

// contextCalls are calls of a client that end with their context.
func contextCalls(c *Client) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"set":  func(ctx context.Context) error { _, err := c.Set(ctx, []byte("k"), nil, WriteOptions{}); return err },
		"many": func(ctx context.Context) error { _, err := c.SetMany(ctx, []Pair{{Key: []byte("k")}}); return err },
		"get": func(ctx context.Context) error {
			_, _, err := c.Get(ctx, [][]byte{[]byte("k")}, ReadOptions{})
			return err
		},
		"list": func(ctx context.Context) error {
			for _, err := range c.List(ctx, nil, ListOptions{}) {
				return err
			}
			return errors.New("it was listed")
		},
		"watch": func(ctx context.Context) error {
			for _, err := range c.Watch(ctx, WatchQuery{}).Events() {
				return err
			}
			return errors.New("nothing came")
		},
		"keep alive": func(ctx context.Context) error {
			var err error
			for kept := range c.KeepAlive(ctx, 1<<48) {
				err = kept.Err
			}
			return err
		},
		"resolve": func(ctx context.Context) error { _, err := c.Resolve(ctx, "shop"); return err },
	}
}

// An error that comes of a context that ended is found as that of the context, whatever else it is, and as
// the cause that its owner gave.
func TestContextIsFound(t *testing.T) {
	f := newFake(t, 1, 1)
	asked := make(chan struct{}, 64)
	silent := func(wire.Header, []byte) fakeOrder {
		asked <- struct{}{}
		return fakeOrder{silent: true}
	}
	serves := f.open(Options{})
	if _, err := serves.Set(within(t, busyMax), []byte("k"), nil, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	f.nodes[0].do(silent)
	nobody := func() *Client {
		c, err := Open(Options{Endpoints: []string{"10.0.0.1"}, Insecure: true, Patience: time.Hour, Dial: func(context.Context, string) (net.Conn, error) {
			select {
			case asked <- struct{}{}:
			default:
			}
			return nil, syscall.ECONNREFUSED
		}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}()
	why := errors.New("the user has gone")
	for _, of := range []struct {
		name   string
		client *Client
	}{{"no answer", serves}, {"no connection", nobody}} {
		for call, do := range contextCalls(of.client) {
			name := fmt.Sprintf("%s: %s", of.name, call)
			ctx, cancel := context.WithCancelCause(context.Background())
			ended := make(chan error, 1)
			go func() { ended <- do(ctx) }()
			select {
			case <-asked:
			case err := <-ended:
				ended <- err
			case <-time.After(busyMax):
				t.Fatalf("%s: nobody is asked", name)
			}
			cancel(why)
			if err := <-ended; !errors.Is(err, context.Canceled) || !errors.Is(err, why) || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: cancelled with a cause: %v", name, err)
			}
			short, stop := context.WithTimeout(context.Background(), 20*time.Millisecond)
			if err := do(short); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
				t.Errorf("%s: at its deadline: %v", name, err)
			}
			stop()
		}
	}
}

// That no endpoint accepts a connection is a case of unavailable, also before there is any code.
func TestNoEndpointIsUnavailable(t *testing.T) {
	var err error = fmt.Errorf("get: %w", &ErrNoEndpoint{Endpoints: []string{"10.0.0.1:4166"}, Causes: []error{syscall.ECONNREFUSED}})
	if !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrNotFound) || !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("of kinds %v", kindsOf(err))
	}
}
