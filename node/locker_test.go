package node

import (
	"context"
	"errors"
	"testing"
	"time"

	"muster/repl/client"
	"muster/repl/client/lock"
	"muster/repl/wire"
	"muster/shardmap"
)

// A user that takes a lock needs read and write on its key, and watch to wait for it. To ask who holds it, read is enough. A
// guarded write needs write on what it changes, too. The documents say so, and an administrator grants no more.
func TestRightsOfALocker(t *testing.T) {
	t.Parallel()
	p := certified(t, 1)
	const name, key = "{app}lock", "{app}key"
	var all [3]*client.Client
	for i, verbs := range []string{"read,write,watch", "read,write", "read"} {
		user := []string{"waiter", "trier", "reader"}[i]
		p.role(shardmap.RoleCreate, user, grant(verbs, name))
		p.user(shardmap.UserCreate, user)
		p.roles(user, []string{user}, nil)
		all[i] = p.client(p.certificate(user), client.ForwardWhenCut)
	}
	waiter, trier, reader := all[0], all[1], all[2]
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	held, err := lock.Try(ctx, trier, name, lock.Options{Value: []byte("the trier")})
	if err != nil {
		t.Fatal(err)
	}
	if h, err := lock.Look(ctx, reader, name); err != nil || string(h.Value) != "the trier" || h.Token != held.Token() {
		t.Errorf("a reader sees %+v, %v", h, err)
	}
	if _, err := lock.Try(ctx, reader, "{app}lock2", lock.Options{}); !unauthorized(err) {
		t.Errorf("a reader tries: %v", err)
	}
	if _, err := lock.Acquire(ctx, trier, name, lock.Options{}); !unauthorized(err) {
		t.Errorf("a wait without the verb watch: %v", err)
	}
	op := client.OpSet([]byte(key), nil, client.SetOptions{})
	if _, err := lock.Write(ctx, trier, name, held.Token(), op); !unauthorized(err) {
		t.Errorf("a guarded write of a key that is not granted: %v", err)
	}
	p.role(shardmap.RoleGrant, "trier", grant("write", key))
	if _, err := lock.Write(ctx, trier, name, held.Token(), op); err != nil {
		t.Errorf("a guarded write: %v", err)
	}
	next := make(chan *lock.Lock, 1)
	go func() {
		l, err := lock.Acquire(ctx, waiter, name, lock.Options{})
		if err != nil {
			t.Error(err)
		}
		next <- l
	}()
	if err := held.Release(ctx); err != nil {
		t.Error(err)
	}
	l := <-next
	if l == nil {
		return
	}
	var lost *lock.LostError
	if _, err := lock.Write(ctx, trier, name, held.Token(), op); !errors.As(err, &lost) {
		t.Errorf("a guarded write after another one has the lock: %v", err)
	}
	if err := l.Release(ctx); err != nil {
		t.Error(err)
	}
}

// A cluster that takes no value as large as that of a lock must say so: the key is not in use for something else, and
// no other name helps.
func TestLockOverTheValueLimit(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.ValueMax = 100
	r := start(t, cfg, defaultLimits())
	r.serves()
	cl := r.library()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, err := lock.Try(ctx, cl, "l", lock.Options{Value: make([]byte, 60)})
	refused(t, "a lock with a value of 60 bytes", err, wire.CodeTooLarge, "107 bytes", "the limit is 100")
	held, err := lock.Try(ctx, cl, "l", lock.Options{Value: make([]byte, 50)})
	if err != nil {
		t.Fatal(err)
	}
	var other *lock.HeldError
	if _, err := lock.Try(ctx, cl, "l", lock.Options{Value: make([]byte, 60)}); !errors.As(err, &other) {
		t.Errorf("beside a holder: %v", err)
	}
	if err := held.Release(ctx); err != nil {
		t.Error(err)
	}
}
