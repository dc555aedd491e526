package load

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Limits of an interruption.
const (
	// retryPause is how long a writer whose put failed waits before it asks
	// again. It adds at most so much to an outage.
	retryPause = 5 * time.Millisecond
	// interruptMax bounds the wait for a system that does not come back.
	interruptMax = time.Minute
)

// Interruption is what writers met while something was taken from a system.
type Interruption struct {
	// Longest is the longest time between two answers to one writer, of
	// which the second came after the interruption.
	Longest time.Duration
	// Failed counts the tries that failed; the writer asked again.
	Failed uint64
}

// Interrupt lets writers put random keys for as long as settle says, calls
// interrupt, and goes on until every writer has had an answer to something it
// asked afterwards, and for settle more.
func Interrupt(a Asker, writers, keys, valueBytes int, settle time.Duration, interrupt func() error) (Interruption, error) {
	t := &trace{began: time.Now(), writers: make([]writerTrace, writers)}
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			c := newCaller(i, valueBytes)
			for !t.over.Load() {
				WriteKey(c.key, c.random.IntN(keys))
				asked := time.Since(t.began)
				if err := a.Put(i, c.key, c.value); err != nil {
					t.failed.Add(1)
					time.Sleep(retryPause)
					continue
				}
				t.writers[i].answered(asked, time.Since(t.began))
			}
		})
	}
	time.Sleep(settle)
	t.cut(time.Since(t.began))
	err := interrupt()
	for limit := time.Now().Add(interruptMax); err == nil && !t.recovered(); time.Sleep(errorPause) {
		if time.Now().After(limit) {
			err = fmt.Errorf("some writer has had no answer for %s", interruptMax)
		}
	}
	time.Sleep(settle)
	t.over.Store(true)
	wg.Wait()
	return Interruption{Longest: t.longest(), Failed: t.failed.Load()}, err
}

// trace is what the writers have seen. Times count from began.
type trace struct {
	began   time.Time
	writers []writerTrace
	failed  atomic.Uint64
	over    atomic.Bool
}

// writerTrace is that of one writer.
type writerTrace struct {
	mu        sync.Mutex
	last      time.Duration // of the last answer
	cut       time.Duration // when the interruption began; 0 before it
	longest   time.Duration // between two answers, since the cut
	recovered bool          // something asked since the cut was answered
}

func (w *writerTrace) answered(asked, now time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut > 0 {
		w.longest = max(w.longest, now-w.last)
		w.recovered = w.recovered || asked >= w.cut
	}
	w.last = now
}

// cut notes that the interruption begins.
func (t *trace) cut(now time.Duration) {
	for i := range t.writers {
		w := &t.writers[i]
		w.mu.Lock()
		w.cut = now
		w.mu.Unlock()
	}
}

func (t *trace) recovered() bool {
	for i := range t.writers {
		w := &t.writers[i]
		w.mu.Lock()
		recovered := w.recovered
		w.mu.Unlock()
		if !recovered {
			return false
		}
	}
	return true
}

func (t *trace) longest() (d time.Duration) {
	for i := range t.writers {
		w := &t.writers[i]
		w.mu.Lock()
		d = max(d, w.longest)
		w.mu.Unlock()
	}
	return d
}
