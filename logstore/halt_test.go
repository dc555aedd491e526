package logstore

import (
	"errors"
	"sync"
	"testing"
)

// Everybody is told the first error, even those that meet another at the same time.
// One would doubt it: a snapshot's writer and the log's meet errors concurrently.
func TestHaltIsFinal(t *testing.T) {
	var h halt
	if err := h.err(); err != nil {
		t.Fatalf("before anything: %v", err)
	}
	causes := []error{errors.New("one"), errors.New("two"), errors.New("three")}
	var wait sync.WaitGroup
	for _, err := range causes {
		wait.Go(func() { h.because(err) })
	}
	wait.Wait()
	first := h.err()
	told := 0
	for _, err := range causes {
		if errors.Is(first, err) {
			told++
		}
	}
	if told != 1 || !errors.Is(first, ErrStopped) {
		t.Errorf("got %v, want one of %v that wraps ErrStopped", first, causes)
	}
	h.because(errors.New("later"))
	if again := h.err(); again != first {
		t.Errorf("later it is %v, was %v", again, first)
	}
}
