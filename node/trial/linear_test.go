package trial

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"muster/node/trial/clustertest"
	"muster/repl/client"
	"muster/repl/wire"
)

// registerOp is one operation on one key: a set of a value of its own, or a
// get.
type registerOp struct {
	key   string
	set   bool
	value string
}

// registerResult is what came of it. Nobody knows when, or whether, an unknown
// set took effect.
type registerResult struct {
	value   string
	unknown bool
}

var registerModel = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[string][]porcupine.Operation{}
		var keys []string
		for _, o := range history {
			k := o.Input.(registerOp).key
			if byKey[k] == nil {
				keys = append(keys, k)
			}
			byKey[k] = append(byKey[k], o)
		}
		var parts [][]porcupine.Operation
		for _, k := range keys {
			parts = append(parts, byKey[k])
		}
		return parts
	},
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		op, result := input.(registerOp), output.(registerResult)
		if op.set {
			return true, op.value
		}
		return result.value == state.(string), state
	},
	DescribeOperation: func(input, output any) string {
		op, result := input.(registerOp), output.(registerResult)
		switch {
		case op.set && result.unknown:
			return fmt.Sprintf("set %s %s: unknown", op.key, op.value)
		case op.set:
			return fmt.Sprintf("set %s %s", op.key, op.value)
		}
		return fmt.Sprintf("get %s: %q", op.key, result.value)
	},
}

// While nodes are killed and come back, every history of sets and gets on a
// key must be that of one register: what was acknowledged is seen by all who
// ask later, from whatever leader. One would doubt it: leaders change while
// reads wait for their confirmation and writes for their majority.
func TestHistoryIsLinearizable(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 3)
	linearizable(c, func(int) *client.Client { return c.Client() })
}

// linearizable has eight clients set and get a few keys while the node that leads most
// is killed, again and again, and checks the history.
func linearizable(c *clustertest.Cluster, clientOf func(i int) *client.Client) {
	const writers, keys, kills = 8, 5, 4
	t := c.T
	t.Helper()
	began := time.Now()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var mu sync.Mutex
	var history []porcupine.Operation
	var wg sync.WaitGroup
	for w := range writers {
		wg.Add(1)
		cl := clientOf(w)
		go func() {
			defer wg.Done()
			rnd := rand.New(rand.NewPCG(uint64(w), 1))
			for n := 0; ctx.Err() == nil; n++ {
				op := registerOp{key: fmt.Sprintf("linear/%d", rnd.IntN(keys)), set: rnd.IntN(2) == 0, value: fmt.Sprintf("%d.%d", w, n)}
				one, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				call := time.Since(began)
				var result registerResult
				var err error
				if op.set {
					_, err = cl.Set(one, []byte(op.key), []byte(op.value), client.WriteOptions{})
				} else {
					var items []client.Item
					items, _, err = cl.Get(one, [][]byte{[]byte(op.key)}, client.ReadOptions{})
					if len(items) == 1 {
						result.value = string(items[0].Value)
					}
				}
				cancel()
				back := time.Since(began)
				if err != nil {
					var e *wire.Error
					var none *client.ErrNoEndpoint
					if !errors.As(err, &e) && !errors.As(err, &none) {
						t.Errorf("%v: %v", op, err)
						return
					}
					if !op.set || e == nil || e.Code != wire.CodeMaybeApplied {
						continue // it had no effect
					}
					result.unknown, back = true, time.Hour
				}
				mu.Lock()
				history = append(history, porcupine.Operation{ClientId: w, Input: op, Output: result, Call: int64(call), Return: int64(back)})
				mu.Unlock()
			}
		}()
	}
	done := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(history)
	}
	for range kills {
		before := done()
		victim := c.Leads(0)
		c.Kill(victim)
		c.Until("writes go on without the node that led most", func(context.Context) error {
			if n := done() - before; n < 200 {
				return fmt.Errorf("%d operations since the kill", n)
			}
			return nil
		})
		c.Start(victim)
		c.Healthy()
	}
	stop()
	wg.Wait()
	// One client's unknown set ends that client's order: porcupine takes
	// each client's operations one after the other.
	for i := range history {
		history[i].ClientId = i
	}
	result, info := porcupine.CheckOperationsVerbose(registerModel, history, time.Minute)
	if result != porcupine.Ok {
		if f, err := os.CreateTemp("", "muster-history-*.html"); err == nil {
			defer f.Close()
			if porcupine.Visualize(registerModel, info, f) == nil {
				t.Logf("the history is drawn in %s", f.Name())
			}
		}
		t.Fatalf("history of %d operations: %s", len(history), result)
	}
	t.Logf("%d operations, %d kills of the node that led most groups", len(history), kills)
}
