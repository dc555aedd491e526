package lock

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"muster/repl/client"
	"muster/shardmap"
)

// in runs f beside a calm world.
func in(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t.Context(), 1)
		w.calm, w.rate = true, 1
		f(t, w)
		time.Sleep(3 * time.Hour) // until all requests have ended
		if w.broken != "" {
			t.Error(w.broken)
		}
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// acquired takes the lock of the world, within ten seconds.
func acquired(t *testing.T, w *world, o Options) *Lock {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	l, err := acquire(ctx, w, worldName, o)
	must(t, err)
	t.Cleanup(func() { l.end(ErrReleased) }) // a test that has failed ends, too
	w.begins(l, 0)
	return l
}

// A lock is held by one at a time, for as long as it is kept alive, and passes to one that waits as soon as it is released.
func TestLockPassesOn(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		first := acquired(t, w, Options{Value: []byte("first")})
		time.Sleep(time.Hour)
		must(t, first.Err())

		_, err := try(t.Context(), w, worldName, Options{})
		var held *HeldError
		if !errors.As(err, &held) || held.Holder.Token != first.Token() || string(held.Holder.Value) != "first" || !errors.Is(err, client.ErrConflict) {
			t.Errorf("a try beside the holder: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		before := w.requests["take"] + w.requests["grant"]
		_, err = acquire(ctx, w, worldName, Options{})
		if !errors.As(err, &held) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), `is held by "first"`) {
			t.Errorf("a wait that ends: %v", err)
		}
		why := errors.New("the user has gone")
		given, cancel := context.WithTimeoutCause(t.Context(), time.Minute, why)
		defer cancel()
		if _, err := acquire(given, w, worldName, Options{}); !errors.As(err, &held) || !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, why) {
			t.Errorf("a wait that ends with a cause: %v", err)
		}
		if n := w.requests["take"] + w.requests["grant"]; n != before {
			t.Errorf("a wait in vain wrote %d times", n-before)
		}

		next := make(chan *Lock)
		go func() { next <- acquired(t, w, Options{}) }()
		time.Sleep(time.Second)
		released := time.Now()
		must(t, first.Release(t.Context()))
		second := <-next
		if d := time.Since(released); d > time.Second {
			t.Errorf("it passed on after %s", d)
		}
		if !errors.Is(first.Err(), ErrReleased) || second.Token() <= first.Token() {
			t.Errorf("released: %v; fencing token %d after %d", first.Err(), second.Token(), first.Token())
		}
		must(t, first.Release(t.Context())) // it harms nobody
		must(t, second.Err())
		w.ends(first)
		w.ends(second)
		must(t, second.Release(t.Context()))
	})
}

// A holder of which nobody hears any more frees the lock after its TTL and not before, and knows that it is lost before that.
func TestLockEndsWithItsHolder(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		l := acquired(t, w, Options{TTL: 9 * time.Second})
		time.Sleep(time.Minute)
		w.mu.Lock()
		w.fate = func(_ string, f *fate) { f.there = time.Hour } // from now on no request arrives
		w.mu.Unlock()
		cut := time.Now()
		<-l.Context().Done()
		lost := time.Since(cut)
		// The last sign of life was sent at most a third of the TTL before.
		if lost < 51*time.Second/10-time.Millisecond || lost > 81*time.Second/10 {
			t.Errorf("lost after %s, want 5.1s to 8.1s", lost)
		}
		var why *LostError
		if err := l.Err(); !errors.As(err, &why) || why.Token != l.Token() || !errors.Is(err, client.ErrConflict) || !strings.Contains(err.Error(), errUnconfirmed.Error()) {
			t.Errorf("lost: %v", err)
		}
		w.ends(l)
		for now, err := range w.changes(t.Context(), worldName) {
			must(t, err)
			if now.version == 0 {
				break
			}
		}
		if d := time.Since(cut) - lost; d < 9*time.Second/marginPart-2*moment {
			t.Errorf("the cluster frees it %s after the holder has stopped believing", d)
		}
		w.fate = nil
		if err := l.Release(t.Context()); !errors.As(err, &why) {
			t.Errorf("a lock that was lost is released: %v", err)
		}
	})
}

// An acquisition about which nobody knows whether it was carried out ends with the lock, once: not with a wait for
// oneself, and not with a key that nobody knows of.
func TestAcquisitionInDoubt(t *testing.T) {
	for _, tt := range []struct {
		name string
		fate fate
	}{
		{"its answer is lost", fate{back: time.Hour, patience: time.Second}},
		{"it arrives late", fate{there: 1500 * time.Millisecond, patience: time.Second}},
		{"it is lost", fate{there: time.Hour, patience: time.Second}},
		{"it arrives after the lock was released", fate{there: time.Minute, patience: time.Second}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				w.fate = func(what string, f *fate) {
					if what == "take" && w.requests[what] == 1 {
						*f = tt.fate
					}
				}
				l := acquired(t, w, Options{TTL: 5 * time.Second})
				must(t, l.Err())
				time.Sleep(30 * time.Second)
				must(t, l.Err())
				w.ends(l)
				must(t, l.Release(t.Context()))
				time.Sleep(2 * time.Minute)
				w.mu.Lock()
				left := w.record()
				w.mu.Unlock()
				if left.version != 0 {
					t.Errorf("version %d of the key is left", left.version)
				}
				if w.requests["take"] < 2 {
					t.Errorf("nothing was in doubt: %v", w.requests)
				}
			})
		})
	}
}

// A lock whose key somebody deletes is lost within a third of its TTL, though its lease lives on. So is one that
// another process has taken meanwhile.
func TestLockBroken(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		l := acquired(t, w, Options{TTL: 9 * time.Second})
		w.mu.Lock()
		delete(w.holds, l) // it believes wrongly, for a while
		w.mu.Unlock()
		time.Sleep(time.Minute)
		began := time.Now()
		w.set(shardmap.Op{Kind: shardmap.OpDel, Key: []byte(worldName)})
		next := acquired(t, w, Options{})
		<-l.Context().Done()
		if d := time.Since(began); d > 3*time.Second+100*time.Millisecond {
			t.Errorf("noticed after %s", d)
		}
		if err := l.Err(); !strings.Contains(err.Error(), errReplaced.Error()) {
			t.Errorf("lost: %v", err)
		}
		if next.Token() <= l.Token() {
			t.Errorf("fencing token %d after %d", next.Token(), l.Token())
		}
		var lost *LostError
		if err := l.Release(t.Context()); !errors.As(err, &lost) {
			t.Errorf("release: %v", err)
		}
		must(t, next.Err())
		w.ends(next)
		must(t, next.Release(t.Context()))
	})
}

// A key that is in use for something else is no lock: nobody takes it, and nobody waits for it.
func TestForeignKey(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		for _, value := range []string{"", "17", "muster-lock/1 ", "muster-lock/2 " + strings.Repeat("0", ownerDigits) + "\n"} {
			w.set(shardmap.Op{Kind: shardmap.OpSet, Key: []byte(worldName), Value: []byte(value)})
			_, err := acquire(t.Context(), w, worldName, Options{})
			if !errors.Is(err, client.ErrBadRequest) || !strings.Contains(err.Error(), "no lock") {
				t.Errorf("value %q: %v", value, err)
			}
			for _, err := range observe(t.Context(), w, worldName) {
				if !errors.Is(err, client.ErrBadRequest) {
					t.Errorf("value %q is observed: %v", value, err)
				}
			}
		}
	})
}

// Observers see who holds a lock, from now on, and when nobody does.
func TestObserve(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		seen := make(chan string)
		ctx, stop := context.WithCancel(t.Context())
		go func() {
			defer close(seen)
			for h, err := range observe(ctx, w, worldName) {
				if err != nil {
					seen <- err.Error()
					return
				}
				seen <- fmt.Sprintf("%v %s", h.Token > 0, h.Value)
			}
		}()
		expect := func(want string) {
			t.Helper()
			if got := <-seen; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		expect("false ")
		for _, value := range []string{"one", "two"} {
			l := acquired(t, w, Options{Value: []byte(value)})
			expect("true " + value)
			w.ends(l)
			must(t, l.Release(t.Context()))
			expect("false ")
		}
		stop()
		expect(fmt.Sprintf("%s: %v", object(worldName), context.Canceled))
		<-seen
	})
}

// What can't be a lock is refused before anything is sent, and the error names the field and the limit.
func TestBadOptions(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    Options
		kind error
		want string
	}{
		{"", Options{}, client.ErrBadRequest, "name"},
		{strings.Repeat("n", NameMax+1), Options{}, client.ErrTooLarge, "name: over the limit (4097 bytes, the limit is 4096)"},
		{"n", Options{TTL: -1}, client.ErrBadRequest, "ttl"},
		{"n", Options{TTL: TTLMin - 1}, client.ErrBadRequest, "want 1s to 24h"},
		{"n", Options{TTL: TTLMax + 1}, client.ErrTooLarge, "the limit is 24h"},
		{"n", Options{Value: make([]byte, ValueMax+1)}, client.ErrTooLarge, "the limit is 4096"},
	} {
		for _, f := range []func(context.Context, cluster, string, Options) (*Lock, error){acquire, try} {
			if _, err := f(t.Context(), nil, tt.name, tt.o); !errors.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%+v: got %v, want %v and %q", tt.o, err, tt.kind, tt.want)
			}
		}
		if len(tt.o.Value) == 0 && tt.o.TTL == 0 {
			for _, err := range []error{second(Look(t.Context(), nil, tt.name)), second(Write(t.Context(), nil, tt.name, 1))} {
				if !errors.Is(err, tt.kind) {
					t.Errorf("got %v, want %v", err, tt.kind)
				}
			}
		}
	}
	for _, err := range []error{second(Write(t.Context(), nil, "n", 0)), second(Write(t.Context(), nil, "n", 1))} {
		if !errors.Is(err, client.ErrBadRequest) {
			t.Errorf("got %v, want code bad-request", err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// The value of a lock's key is read as it was written, and nothing else is taken for one.
func TestValue(t *testing.T) {
	o := newOwner()
	for _, value := range []string{"", "host 17", "\n", "a\nb"} {
		b := appendValue(nil, o, []byte(value))
		if got, v, ok := readValue(b); !ok || got != o || string(v) != value {
			t.Errorf("%q is read as %q, %v", b, v, ok)
		}
		for cut := range len(b) - len(value) {
			if _, _, ok := readValue(b[:cut]); ok {
				t.Errorf("%q is taken for the value of a lock", b[:cut])
			}
		}
	}
	if _, _, ok := readValue([]byte(valueHead + strings.Repeat("X", ownerDigits) + "\n")); ok {
		t.Error("a mark that is none is taken for one")
	}
	if newOwner() == o {
		t.Error("a mark was drawn twice")
	}
}
