package lock

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// world is a cluster whose one group has its real map. Requests to it, and its answers, take their time, are lost, or
// arrive after their sender has given them up. It runs in a bubble, by the bubble's clock. After each
// entry, and each moment, it looks whether a lock that somebody believes in is there.
type world struct {
	began time.Time
	rate  float64 // of the group's time, by the clocks of the holders

	mu       sync.Mutex
	rnd      *rand.Rand
	calm     bool // nothing takes long, or is lost
	m        *shardmap.Map
	index    uint64
	holds    map[*Lock]bool // those that were acquired, until they are given up
	newest   Token
	acquired int
	ended    int                        // those that were lost
	broken   string                     // the first rule that was
	fate     func(what string, f *fate) // of a test: what happens to a request
	requests map[string]int             // by what they ask for
	stop     context.Context            // ends with the world
}

const worldName = "{report}lock"

func newWorld(ctx context.Context, seed uint64) *world {
	w := &world{began: time.Now(), rnd: rand.New(rand.NewPCG(seed, 7)), m: shardmap.NewMap(1),
		holds: map[*Lock]bool{}, requests: map[string]int{}, stop: ctx}
	w.rate = 0.95 + w.rnd.Float64()/10
	own := shardmap.OwnCommand(&shardmap.Own{Number: 1, Slots: []shardmap.SlotRange{{From: 0, To: shardmap.Slots - 1}}})
	w.apply(&own)
	return w
}

// note keeps the first rule that was broken.
func (w *world) note(format string, args ...any) {
	if w.broken == "" {
		w.broken = time.Since(w.began).String() + ": " + fmt.Sprintf(format, args...)
	}
}

// apply carries out a command in an entry of its own.
func (w *world) apply(c *shardmap.Command) shardmap.Result {
	w.index++
	r, err := w.m.Apply(raft.LogID{Term: 1, Index: w.index}, w.now(), c)
	if err != nil {
		w.note("%s: %v", c.Kind, err)
	}
	return r
}

func (w *world) now() raft.GroupTime {
	return raft.GroupTime(float64(time.Since(w.began)) * w.rate)
}

// look ends what is due, and holds what is there to what is believed.
func (w *world) look() {
	w.index++
	if err := w.m.Expire(raft.LogID{Term: 1, Index: w.index}, w.now()); err != nil {
		w.note("%v", err)
	}
	_, version, _ := w.m.Get([]byte(worldName), nil)
	for l := range w.holds {
		if err := l.Err(); err == nil && Token(version) != l.Token() {
			w.note("a holder believes in fencing token %d, and the key has version %d", l.Token(), version)
		}
	}
}

// fate is what happens to one request.
type fate struct {
	there, back time.Duration // on its way
	patience    time.Duration // of its sender
}

func (w *world) draw(what string) fate {
	f := fate{patience: 3 * time.Second}
	most := 20 * time.Millisecond
	switch n := w.rnd.IntN(20); {
	case w.calm:
	case n < 2:
		most = 20 * time.Second
	case n < 6:
		most = 2 * time.Second
	}
	f.there, f.back = upTo(w.rnd, most), upTo(w.rnd, most)
	if w.fate != nil {
		w.fate(what, &f)
	}
	return f
}

func upTo(rnd *rand.Rand, d time.Duration) time.Duration { return time.Duration(rnd.Int64N(int64(d))) }

// request sends one: do carries it out, with the world locked. Where no answer comes in time, it may still be
// carried out.
func request[T any](ctx context.Context, w *world, what string, do func() (T, error)) (v T, err error) {
	w.mu.Lock()
	w.requests[what]++
	f := w.draw(what)
	w.mu.Unlock()
	answered := make(chan struct{})
	var answer T
	var refusal error
	go func() {
		time.Sleep(f.there)
		w.mu.Lock()
		w.look()
		answer, refusal = do()
		w.look()
		w.mu.Unlock()
		time.Sleep(f.back)
		close(answered)
	}()
	late := time.NewTimer(f.patience)
	defer late.Stop()
	select {
	case <-answered:
		return answer, refusal
	case <-late.C:
	case <-ctx.Done():
	}
	return v, wire.MaybeApplied(what, "no answer")
}

func (w *world) record() record {
	value, version, is := w.m.Get([]byte(worldName), nil)
	if is != shardmap.Present {
		return record{}
	}
	return record{value, version}
}

func (w *world) read(ctx context.Context, _ string) (record, error) {
	return request(ctx, w, "read", func() (record, error) { return w.record(), nil })
}

func (w *world) lease(op shardmap.LeaseOp, id shardmap.LeaseID, ttl time.Duration) (shardmap.LeaseID, error) {
	c := shardmap.LeaseCommand(shardmap.SlotOf([]byte(worldName)), op, id, uint64(ttl.Milliseconds()))
	r := w.apply(&c)
	if r.Status == shardmap.StatusNoLease {
		return 0, wire.NotFound("lease", "it is gone", "grant another")
	}
	id, _, err := shardmap.ReadLeaseDetail(&r)
	return id, err
}

func (w *world) grant(ctx context.Context, _ string, ttl time.Duration) (shardmap.LeaseID, error) {
	return request(ctx, w, "grant", func() (shardmap.LeaseID, error) { return w.lease(shardmap.LeaseGrant, 0, ttl) })
}

func (w *world) keepAlive(ctx context.Context, id shardmap.LeaseID) error {
	_, err := request(ctx, w, "keepalive", func() (shardmap.LeaseID, error) { return w.lease(shardmap.LeaseKeepalive, id, 0) })
	return err
}

func (w *world) revoke(ctx context.Context, id shardmap.LeaseID) error {
	_, err := request(ctx, w, "revoke", func() (shardmap.LeaseID, error) { return w.lease(shardmap.LeaseRevoke, id, 0) })
	return err
}

func (w *world) txn(t *shardmap.Txn) (succeeded bool, results []shardmap.OpResult, r shardmap.Result, err error) {
	c := shardmap.TxnCommand(shardmap.SlotOf([]byte(worldName)), t)
	r = w.apply(&c)
	if r.Status == shardmap.StatusNoLease {
		return false, nil, r, wire.NotFound("lease", "it is gone", "grant another")
	}
	succeeded, results, err = shardmap.ReadTxnDetail(r.Detail, t)
	return succeeded, results, r, err
}

func (w *world) take(ctx context.Context, name string, value []byte, id shardmap.LeaseID) (record, error) {
	return request(ctx, w, "take", func() (record, error) {
		ok, results, r, err := w.txn(&shardmap.Txn{
			If:   []shardmap.Compare{{Kind: shardmap.CompareAbsent, Key: []byte(name)}},
			Then: []shardmap.Op{{Kind: shardmap.OpSet, Key: []byte(name), Value: value, Lease: id}},
			Else: []shardmap.Op{{Kind: shardmap.OpGet, Key: []byte(name)}},
		})
		switch {
		case err != nil:
			return record{}, err
		case ok:
			return record{value, r.Version}, nil
		}
		return record{append([]byte(nil), results[0].Value...), results[0].Version}, nil
	})
}

// set sets the key, or deletes it, as a person may.
func (w *world) set(op shardmap.Op) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, _, _, err := w.txn(&shardmap.Txn{Then: []shardmap.Op{op}}); err != nil {
		w.note("%v", err)
	}
}

// moment is how often a world looks at itself.
const moment = 25 * time.Millisecond

func (w *world) changes(ctx context.Context, _ string) iter.Seq2[record, error] {
	return func(yield func(record, error) bool) {
		for last := (record{version: 1<<64 - 1}); ; {
			w.mu.Lock()
			w.look()
			now := w.record()
			w.mu.Unlock()
			if now.version != last.version && !yield(now, nil) {
				return
			}
			last = now
			select {
			case <-time.After(moment):
			case <-ctx.Done():
				yield(record{}, context.Cause(ctx))
				return
			}
		}
	}
}

// begins takes note of a lock that was acquired, by one that began when newest was the newest token.
func (w *world) begins(l *Lock, newest Token) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.holds[l] = true
	w.acquired++
	if l.Token() <= newest {
		w.note("fencing token %d was given after %d", l.Token(), newest)
	}
	for other := range w.holds {
		if other != l && other.Token() == l.Token() {
			w.note("fencing token %d was given twice", l.Token())
		}
	}
	w.newest = max(w.newest, l.Token())
	w.look()
}

func (w *world) ends(l *Lock) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var lost *LostError
	if errors.As(l.Err(), &lost) {
		w.ended++
	}
	delete(w.holds, l)
}

// contend has one process take the lock and give it up, by releasing it, by losing it, or by crashing.
func (w *world) contend(seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 11))
	for range 12 {
		w.mu.Lock()
		newest := w.newest
		w.mu.Unlock()
		ctx, cancel := context.WithTimeout(w.stop, time.Second+upTo(rnd, time.Minute))
		l, err := acquire(ctx, w, worldName, Options{TTL: 5 * time.Second})
		cancel()
		if err != nil {
			var held *HeldError
			if !errors.As(err, &held) && !unsure(err) {
				w.mu.Lock()
				w.note("acquire: %v", err)
				w.mu.Unlock()
			}
			continue
		}
		w.begins(l, newest)
		select {
		case <-time.After(upTo(rnd, 20*time.Second)):
		case <-l.Context().Done():
		}
		if rnd.IntN(4) == 0 {
			l.end(errors.New("crash"))
		}
		w.ends(l)
		ctx, cancel = context.WithTimeout(w.stop, upTo(rnd, 5*time.Second))
		_ = l.Release(ctx)
		cancel()
		time.Sleep(upTo(rnd, 3*time.Second))
	}
}

// play has some processes fight for a lock. It returns the rule that was broken, or "".
func play(t *testing.T, seed uint64) (broken string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		w := newWorld(ctx, seed)
		var processes, monitor sync.WaitGroup
		for i := range uint64(4) {
			processes.Go(func() { w.contend(seed*4 + i) })
		}
		done := make(chan struct{})
		monitor.Go(func() {
			for {
				select {
				case <-time.After(moment):
				case <-done:
					return
				}
				w.mu.Lock()
				w.look()
				w.mu.Unlock()
			}
		})
		processes.Wait()
		// Whatever has happened, a healed cluster gives the lock to the next one.
		w.mu.Lock()
		w.calm = true
		newest := w.newest
		w.mu.Unlock()
		healed, cancel := context.WithTimeout(ctx, time.Minute)
		l, err := acquire(healed, w, worldName, Options{TTL: 5 * time.Second})
		cancel()
		if err != nil {
			w.mu.Lock()
			w.note("in a healed cluster: %v", err)
			w.mu.Unlock()
		} else {
			w.begins(l, newest)
			w.ends(l)
			if err := l.Release(ctx); err != nil {
				w.note("in a healed cluster: %v", err)
			}
		}
		time.Sleep(time.Minute) // what is on its way arrives
		close(done)
		monitor.Wait()
		stop()
		if broken = w.broken; broken == "" && (w.acquired < 10 || w.ended == 0) {
			broken = fmt.Sprintf("a poor world: %d locks, %d of them lost", w.acquired, w.ended)
		}
	})
	return broken
}

// Requests and answers take longer than a lock lasts, are lost, or arrive late; clocks are wrong by a twentieth; holders crash.
// At no moment may a process believe in a lock that is not its own, and no fencing token may be given twice or after a larger one.
// One would doubt it: a process that gets an answer does not know when the cluster gave it.
func TestLockWorlds(t *testing.T) {
	for seed := range uint64(12) {
		if broken := play(t, seed); broken != "" {
			t.Errorf("seed %d: %s", seed, broken)
		}
	}
}
