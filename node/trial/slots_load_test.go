package trial

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"muster/node/trial/clustertest"
	"muster/repl/client"
)

const (
	// slotClients work all the time, with slotPause between two operations of one: many
	// enough that each slot that moves is asked for, few enough that the history can be
	// checked and that machines have time for moves.
	slotClients = 64
	slotPause   = 40 * time.Millisecond
	// slotShared keys are set and got by all clients; their history is checked.
	slotShared = 64
	// slotPairs are two keys of one slot each, which begin at pairEach each. Their owner
	// takes from the one what it adds to the other, so that the sum of all is always the
	// same.
	slotPairs = 500
	pairEach  = 1000
	// slotStanding keys are there all the time: each listing has each of them once.
	slotStanding = 400
	// slotDeadline is the deadline of each operation.
	slotDeadline = 30 * time.Second
)

// slotLoad is what clients do while slots move.
type slotLoad struct {
	*upgradeLoad
	pairs []sync.Mutex // held by who changes the pair: its owner, and nobody else

	mu      sync.Mutex
	slowest map[string]time.Duration // guarded by mu: of each kind of operation
	counts  map[string]int           // guarded by mu
}

func newSlotLoad(c *clustertest.Cluster) *slotLoad {
	l := &slotLoad{upgradeLoad: newUpgradeLoad(c), pairs: make([]sync.Mutex, slotPairs), slowest: map[string]time.Duration{}, counts: map[string]int{}}
	l.keys, l.pause = slotShared, slotPause
	return l
}

func pairKeys(i int) (a, b []byte) {
	return fmt.Appendf(nil, "pair/{%d}/a", i), fmt.Appendf(nil, "pair/{%d}/b", i)
}

func standingKey(i int) string { return fmt.Sprintf("standing/%04d", i) }

// fill sets what is there from the beginning.
func (l *slotLoad) fill(t *testing.T, cl *client.Client) {
	t.Helper()
	var pairs []client.Pair
	for i := range slotPairs {
		a, b := pairKeys(i)
		each := []byte(strconv.Itoa(pairEach))
		pairs = append(pairs, client.Pair{Key: a, Value: each}, client.Pair{Key: b, Value: each})
	}
	for i := range slotStanding {
		pairs = append(pairs, client.Pair{Key: []byte(standingKey(i)), Value: []byte("v")})
	}
	if _, err := cl.SetMany(t.Context(), pairs); err != nil {
		t.Fatal(err)
	}
}

// start lets clients work until the load stops.
func (l *slotLoad) start(clientOf func(i int) *client.Client) {
	for i := range slotClients {
		w := &slotWorker{slotLoad: l, number: i, cl: clientOf(i), rnd: rand.New(rand.NewPCG(uint64(i), 9))}
		l.wg.Go(w.run)
	}
}

// slotWorker is one client.
type slotWorker struct {
	*slotLoad
	number int
	cl     *client.Client
	rnd    *rand.Rand
	own    []string // keys that it has set and not deleted
	sets   int
}

func (w *slotWorker) run() {
	type operation struct {
		name string
		do   func(ctx context.Context) error
	}
	kinds := []operation{
		{"set", w.set}, {"set", w.set}, {"get", w.get}, {"get", w.get}, {"get", w.get},
		{"set own", w.setOwn}, {"delete own", w.deleteOwn}, {"transfer", w.transfer}, {"sum of a pair", w.sumPair},
	}
	for w.ctx.Err() == nil {
		o := kinds[w.rnd.IntN(len(kinds))]
		if w.rnd.IntN(100) == 0 {
			o = operation{"list", w.list}
		}
		ctx, cancel := context.WithTimeout(context.Background(), slotDeadline)
		began := time.Now()
		err := o.do(ctx)
		cancel()
		took := time.Since(began)
		if err != nil {
			w.c.T.Errorf("client %d, %s, after %v, at %v: %v", w.number, o.name, took.Round(time.Millisecond), time.Since(w.began).Round(time.Millisecond), err)
			return
		}
		w.slotLoad.mu.Lock()
		w.counts[o.name]++
		w.slowest[o.name] = max(w.slowest[o.name], took)
		w.slotLoad.mu.Unlock()
		select {
		case <-w.ctx.Done():
		case <-time.After(w.pause):
		}
	}
}

func (w *slotWorker) shareKey() string { return fmt.Sprintf("upgrade/%d", w.rnd.IntN(w.keys)) }

func (w *slotWorker) set(context.Context) error {
	w.sets++
	return w.shared(registerOp{key: w.shareKey(), set: true, value: fmt.Sprintf("%d-%d", w.number, w.sets)}, library{w.cl})
}

func (w *slotWorker) get(context.Context) error {
	return w.shared(registerOp{key: w.shareKey()}, library{w.cl})
}

// setOwn sets a key of this client's own. What is set stays there until it is deleted.
func (w *slotWorker) setOwn(ctx context.Context) error {
	w.sets++
	key := fmt.Sprintf("own/%d/%d", w.number, w.sets)
	if _, err := w.cl.Set(ctx, []byte(key), []byte(key), client.WriteOptions{}); err != nil {
		return err
	}
	w.own = append(w.own, key)
	w.upgradeLoad.mu.Lock()
	defer w.upgradeLoad.mu.Unlock()
	w.owned[key] = key
	return nil
}

// deleteOwn deletes a key of its own, which must be there, and never comes back.
func (w *slotWorker) deleteOwn(ctx context.Context) error {
	if len(w.own) == 0 {
		return nil
	}
	i := w.rnd.IntN(len(w.own))
	key := w.own[i]
	w.own = slices.Delete(w.own, i, i+1)
	d, err := w.cl.Delete(ctx, []byte(key))
	if err != nil {
		return err
	}
	// A retry finds its own outcome: a delete that was applied once says so.
	if d[0].Count != 1 {
		return fmt.Errorf("%s was there, and %d were deleted", key, d[0].Count)
	}
	w.upgradeLoad.mu.Lock()
	w.owned[key] = ""
	w.upgradeLoad.mu.Unlock()
	if _, missing, err := w.cl.Get(ctx, [][]byte{[]byte(key)}, client.ReadOptions{}); err != nil || len(missing) != 1 {
		return errors.Join(err, fmt.Errorf("%s is there after it was deleted", key))
	}
	return nil
}

// transfer moves an amount within a pair of its own.
func (w *slotWorker) transfer(ctx context.Context) error {
	i := w.number + slotClients*w.rnd.IntN((slotPairs-w.number+slotClients-1)/slotClients)
	w.pairs[i].Lock()
	defer w.pairs[i].Unlock()
	a, b, err := w.pair(ctx, i)
	if err != nil {
		return err
	}
	amount := w.rnd.IntN(100) - 50
	keyA, keyB := pairKeys(i)
	_, err = w.cl.SetMany(ctx, []client.Pair{{Key: keyA, Value: []byte(strconv.Itoa(a - amount))}, {Key: keyB, Value: []byte(strconv.Itoa(b + amount))}})
	return err
}

// sumPair looks at a pair of any owner.
func (w *slotWorker) sumPair(ctx context.Context) error {
	_, _, err := w.pair(ctx, w.rnd.IntN(slotPairs))
	return err
}

// pair returns the two amounts of a pair, whose sum must be what it was at first.
func (l *slotWorker) pair(ctx context.Context, i int) (a, b int, err error) {
	keyA, keyB := pairKeys(i)
	items, missing, err := l.cl.Get(ctx, [][]byte{keyA, keyB}, client.ReadOptions{})
	if err != nil {
		return 0, 0, err
	}
	if len(missing) > 0 {
		return 0, 0, fmt.Errorf("%s is gone", missing[0])
	}
	a, errA := strconv.Atoi(string(items[0].Value))
	b, errB := strconv.Atoi(string(items[1].Value))
	if err := errors.Join(errA, errB); err != nil {
		return 0, 0, err
	}
	if a+b != 2*pairEach {
		return 0, 0, fmt.Errorf("pair %d has %d and %d, want a sum of %d", i, a, b, 2*pairEach)
	}
	return a, b, nil
}

// list lists what is there all the time.
func (w *slotWorker) list(ctx context.Context) error {
	n := 0
	for item, err := range w.cl.List(ctx, []byte("standing/"), client.ListOptions{KeysOnly: true}) {
		if err != nil {
			return err
		}
		if want := standingKey(n); string(item.Key) != want {
			return fmt.Errorf("key %d of a listing is %s, want %s", n, item.Key, want)
		}
		n++
	}
	if n != slotStanding {
		return fmt.Errorf("a listing has %d keys, want %d", n, slotStanding)
	}
	return nil
}

// check judges all that clients were told, once they have stopped, and what is there now.
func (l *slotLoad) check(cl *client.Client) {
	t := l.c.T
	t.Helper()
	result, _ := porcupine.CheckOperationsVerbose(registerModel, l.history, 5*time.Minute)
	if result != porcupine.Ok {
		t.Errorf("history of %d operations: %s", len(l.history), result)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	found := map[string]string{}
	sum := 0
	last := ""
	for item, err := range cl.List(ctx, nil, client.ListOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		key := string(item.Key)
		if key <= last {
			t.Errorf("%s comes after %s in a listing of all", key, last)
		}
		last, found[key] = key, string(item.Value)
	}
	for i := range slotPairs {
		a, b := pairKeys(i)
		for _, k := range [][]byte{a, b} {
			n, err := strconv.Atoi(found[string(k)])
			if err != nil {
				t.Errorf("%s: %v", k, err)
			}
			sum += n
			delete(found, string(k))
		}
	}
	if want := 2 * slotPairs * pairEach; sum != want {
		t.Errorf("the sum over %d keys is %d, want %d", 2*slotPairs, sum, want)
	}
	for i := range slotStanding {
		if found[standingKey(i)] != "v" {
			t.Errorf("%s is %q", standingKey(i), found[standingKey(i)])
		}
		delete(found, standingKey(i))
	}
	lost, back := 0, 0
	for key, want := range l.owned {
		got, there := found[key]
		switch {
		case want == "" && there:
			back++
		case want != "" && got != want:
			lost++
		}
		delete(found, key)
	}
	if lost+back > 0 {
		t.Errorf("of the keys of one writer each %d are lost, and %d have come back", lost, back)
	}
	for i := range slotShared {
		delete(found, fmt.Sprintf("upgrade/%d", i))
	}
	for key := range found {
		t.Errorf("%s is there, and nobody has set it", key)
	}
	t.Logf("operations: %v; the slowest: %v", l.counts, l.slowest)
}
