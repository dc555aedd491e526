package sim

import (
	"errors"
	"flag"
	"runtime"
	"sync"
	"testing"
	"time"

	"muster/shardmap/movetest"
)

var movesFlag = flag.Int("moves", 0, "have the model of a move follow the slots of so many seeds; 0: until each of its transitions occurs often enough")

const (
	// modelDir is where the model of a move is.
	modelDir = "../../docs/moves"
	// replayLength is how long faults last in a run whose moves the model follows.
	replayLength = 2 * time.Minute
	// tracesMin is in how many traces each transition of the model must be.
	tracesMin = 100
	// replaySeedsMax is after how many seeds they must be. Some 120 do.
	replaySeedsMax   = 200
	replaySeedsShort = 4
)

// movesOf returns the traces of the slots that move in a run, up to its end or to where it
// is found broken.
func movesOf(seed uint64) ([]movetest.Trace, *Failure) {
	var moves movetest.Recorder
	r := Run(Options{Seed: seed, Length: replayLength, With: []Fault{Slots}, Moves: &moves, Regret: true})
	return moves.Traces(), r.Failure
}

// replay is what the model is to follow.
type replay struct {
	mu     sync.Mutex
	seeds  int // that were begun
	max    int
	enough bool           // fewer will do if each transition is in tracesMin traces
	traces int            // of slots
	count  map[string]int // of traces, by transition
}

// rare returns a transition that is in fewer than tracesMin traces; nothing if there is
// none.
func (x *replay) rare() string {
	for _, name := range append([]string{movetest.Removal}, movetest.Transitions...) {
		if x.count[name] < tracesMin {
			return name
		}
	}
	return ""
}

// next returns the next seed.
func (x *replay) next() (seed uint64, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.seeds == x.max || x.enough && x.rare() == "" {
		return 0, false
	}
	x.seeds++
	return uint64(x.seeds - 1), true
}

func (x *replay) add(traces []movetest.Trace) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.traces += len(traces)
	for name, n := range movetest.Count(traces) {
		x.count[name] += n
	}
}

// Whatever strikes a cluster, the logs of its groups move slots as docs/moves/slotmove.pml
// does, step by step: the model that was checked in every order of events is that of what
// ships. Each of its transitions occurs often enough to believe that.
func TestMovesFollowTheModel(t *testing.T) {
	x := replay{max: replaySeedsMax, enough: true, count: map[string]int{}}
	switch {
	case *movesFlag > 0:
		x.max, x.enough = *movesFlag, false
	case testing.Short():
		x.max = replaySeedsShort
	}
	var wg sync.WaitGroup
	errs := make([]error, runtime.GOMAXPROCS(0))
	for i := range errs {
		dir := t.TempDir()
		wg.Add(1)
		go func() {
			defer wg.Done()
			var all []movetest.Trace
			for !t.Failed() {
				seed, ok := x.next()
				if !ok {
					break
				}
				traces, failure := movesOf(seed)
				if failure != nil {
					t.Error(failure)
				}
				all = append(all, traces...)
				x.add(traces)
			}
			errs[i] = movetest.Follow(modelDir, dir, all)
		}()
	}
	wg.Wait()
	t.Logf("%d traces of %d seeds; in how many each transition is: %v", x.traces, x.seeds, x.count)
	if name := x.rare(); name != "" && x.max >= replaySeedsMax {
		t.Errorf("in %d seeds there are fewer than %d traces with %q", x.seeds, tracesMin, name)
	}
	err := errors.Join(errs...)
	if errors.Is(err, movetest.ErrNoSpin) {
		t.Skip(movetest.ErrNoSpin)
	}
	if err != nil {
		t.Error(err)
	}
}
