// Package load asks a system in a closed loop: each caller waits for its answer
// before it asks again.
//
// It knows no system; what it asks is an [Asker]. It does not judge either: an
// [Outcome] has the counts.
//
// # Goroutines
//
//	caller   Loop.Callers of them; started by Run, by Fill or by Interrupt,
//	         and awaited there
package load

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// KeyBytes is the length of every key.
const KeyBytes = 16

// Asker is one client of a system, or several that callers share. Each caller,
// numbered from 0, has one call open at a time.
type Asker interface {
	// Put returns once the system promises to keep the value.
	Put(caller int, key, value []byte) error
	// Get returns once the value is there; a key that is missing is an error.
	// The read is linearizable, where there is more than one copy.
	Get(caller int, key []byte) error
}

// Op is what a loop asks.
type Op string

// The operations.
const (
	Put Op = "put"
	Get Op = "get"
)

// Loop is one measurement.
type Loop struct {
	Op         Op
	Callers    int
	Keys       int // keys are drawn evenly from so many
	ValueBytes int
	Warmup     time.Duration // not counted
	Window     time.Duration // counted: what is answered within it
}

// Outcome is what one loop came to.
type Outcome struct {
	Ops, Errors uint64
	Took        time.Duration
	P50, P99    time.Duration
	LastError   error // nil if there was none
}

// errorPause keeps a caller from asking a system that refuses in a tight loop.
const errorPause = time.Millisecond

// phases of a loop, as its callers see them.
const (
	warming int32 = iota
	counting
	over
)

// Run runs the loop. It calls begin and end at the edges of the window.
func (l Loop) Run(a Asker, begin, end func()) Outcome {
	var phase atomic.Int32
	callers := make([]caller, l.Callers)
	var wg sync.WaitGroup
	for i := range callers {
		callers[i] = newCaller(i, l.ValueBytes)
		wg.Go(func() { callers[i].loop(a, l, &phase) })
	}
	time.Sleep(l.Warmup)
	begin()
	began := time.Now()
	phase.Store(counting)
	time.Sleep(l.Window)
	phase.Store(over)
	took := time.Since(began)
	end()
	wg.Wait()

	out := Outcome{Took: took}
	var all []time.Duration
	for i := range callers {
		c := &callers[i]
		all = append(all, c.times...)
		out.Errors += c.errors
		if c.lastError != nil {
			out.LastError = c.lastError
		}
	}
	slices.Sort(all)
	out.Ops = uint64(len(all))
	out.P50, out.P99 = quantile(all, 0.50), quantile(all, 0.99)
	return out
}

// caller asks one thing at a time. It belongs to one goroutine.
type caller struct {
	number     int
	random     *rand.Rand
	key, value []byte
	times      []time.Duration // of what was answered in the window
	errors     uint64
	lastError  error
}

func newCaller(number, valueBytes int) caller {
	c := caller{
		number: number, random: rand.New(rand.NewPCG(rand.Uint64(), uint64(number))),
		key: make([]byte, KeyBytes), value: make([]byte, valueBytes),
	}
	for i := range c.value {
		c.value[i] = byte(c.random.Uint32()) // nothing that a system could compress
	}
	return c
}

func (c *caller) loop(a Asker, l Loop, phase *atomic.Int32) {
	for {
		WriteKey(c.key, c.random.IntN(l.Keys))
		asked := time.Now()
		var err error
		if l.Op == Put {
			err = a.Put(c.number, c.key, c.value)
		} else {
			err = a.Get(c.number, c.key)
		}
		took := time.Since(asked)
		now := phase.Load()
		if now == over {
			return
		}
		if err != nil {
			if now == counting {
				c.errors++
				c.lastError = err
			}
			time.Sleep(errorPause)
		} else if now == counting {
			c.times = append(c.times, took)
		}
	}
}

// WriteKey makes the key with number n: "k", zeros, n.
func WriteKey(key []byte, n int) {
	for i := len(key) - 1; i > 0; i-- {
		key[i] = byte('0' + n%10)
		n /= 10
	}
	key[0] = 'k'
}

// quantile returns the shortest of the sorted durations that the share q of them
// is not longer than; 0 if there are none.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(math.Ceil(q * float64(len(sorted))))
	return sorted[max(rank, 1)-1]
}

// fillPatience is how long one key may be refused before Fill gives up.
const fillPatience = 10 * time.Second

// Fill puts each of so many keys once.
func Fill(a Asker, keys, callers, valueBytes int) error {
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			c := newCaller(i, valueBytes)
			for failed.Load() == nil {
				n := int(next.Add(1) - 1)
				if n >= keys {
					return
				}
				WriteKey(c.key, n)
				if err := c.persist(a); err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return fmt.Errorf("fill %d keys: %w", keys, *err)
	}
	return nil
}

// persist puts the caller's key, again and again if need be.
func (c *caller) persist(a Asker) error {
	for began := time.Now(); ; time.Sleep(errorPause) {
		err := a.Put(c.number, c.key, c.value)
		if err == nil || time.Since(began) > fillPatience {
			return err
		}
	}
}
