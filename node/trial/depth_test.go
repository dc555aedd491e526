package trial

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"muster/node/trial/clustertest"
	"muster/raft"
	"muster/repl/client"
	"muster/repl/wire"
)

var depthFlag = flag.Duration("depth", 0, "for how `long` TestHistoriesAndWatches has clients write, read and watch while nodes die, stand still and are cut off; 0: until each fault has struck once")

const (
	// depthWorkers work on depthCells cells at a time, with depthPause between two operations
	// of one. Cells are left for new ones after depthEach, so that each history is short
	// enough to be searched.
	depthWorkers = 12
	depthCells   = 6
	depthPause   = 12 * time.Millisecond
	depthEach    = time.Second
	// A fault lasts for depthLasts, longer than an election, and depthBetween operations lie
	// between two of them.
	depthLasts   = 2500 * time.Millisecond
	depthBetween = 1000
)

// A cell is two keys of one slot: a word and a number. cellKind is what is done to it.
type cellKind uint8

const (
	cellGet  cellKind = iota // the word and the number at once
	cellSet                  // the word
	cellDel                  // the word
	cellIncr                 // the number
	cellSwap                 // if the word is as it was read: another one, and the number goes up
)

// cellOp is one operation on a cell.
type cellOp struct {
	cell       string
	kind       cellKind
	word, old  string
	by         int64
	descriptor string
}

// cellState is what a cell has; no word is "".
type cellState struct {
	word   string
	number int64
}

// cellResult is what an operation was told. Nobody knows when, or whether, an unknown one
// took effect.
type cellResult struct {
	cellState
	swapped bool
	unknown bool
}

var cellModel = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		of := map[string][]porcupine.Operation{}
		for _, o := range history {
			cell := o.Input.(cellOp).cell
			of[cell] = append(of[cell], o)
		}
		var parts [][]porcupine.Operation
		for _, part := range of {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return cellState{} },
	Step: func(state, input, output any) (bool, any) {
		is, op, told := state.(cellState), input.(cellOp), output.(cellResult)
		next, ok := is, true
		switch op.kind {
		case cellGet:
			ok = told.cellState == is
		case cellSet:
			next.word = op.word
		case cellDel:
			next.word = ""
		case cellIncr:
			next.number += op.by
			ok = told.unknown || told.number == next.number
		case cellSwap:
			holds := is.word == op.old && op.old != ""
			if holds {
				next.word, next.number = op.word, is.number+1
			}
			ok = told.unknown || told.swapped == holds && (holds || told.word == is.word)
		}
		return ok, next
	},
	DescribeOperation: func(input, output any) string {
		return fmt.Sprintf("%s: %+v", input.(cellOp).descriptor, output.(cellResult))
	},
}

func wordKey(cell string) []byte   { return []byte("{" + cell + "}word") }
func numberKey(cell string) []byte { return []byte("{" + cell + "}number") }

// depthLoad has clients work on cells, and notes what they ask and are told.
type depthLoad struct {
	t     *testing.T
	began time.Time
	stop  chan struct{}
	wg    sync.WaitGroup

	mu      sync.Mutex
	history []porcupine.Operation // guarded by mu
	written map[string]bool       // guarded by mu: key, version and value of each write that was acknowledged
	counts  map[cellKind]int      // guarded by mu
}

// writtenAs names one state of a key, as a write and as an event tell it.
func writtenAs(key []byte, version uint64, value string) string {
	return fmt.Sprintf("%s %d %s", key, version, value)
}

func (l *depthLoad) work(n int, cl *client.Client) {
	rnd := rand.New(rand.NewPCG(uint64(n), 14))
	pause := time.NewTicker(depthPause)
	defer pause.Stop()
	last := map[string]string{} // the word that this worker saw last, by cell
	for i := 0; ; i++ {
		select {
		case <-l.stop:
			return
		case <-pause.C:
		}
		cell := fmt.Sprintf("%d.%d", int(time.Since(l.began)/depthEach), rnd.IntN(depthCells))
		op := cellOp{cell: cell, kind: cellKind(rnd.IntN(int(cellSwap) + 1)), word: fmt.Sprintf("%d-%d", n, i), old: last[cell], by: rnd.Int64N(9) - 4}
		call := time.Since(l.began)
		told, err := l.do(cl, rnd, &op)
		back := time.Since(l.began)
		if err != nil {
			var e *wire.Error
			var none *client.ErrNoEndpoint
			if !errors.As(err, &e) && !errors.As(err, &none) {
				l.t.Errorf("%s: %v", op.descriptor, err)
				return
			}
			if op.kind == cellGet || e == nil || e.Code != wire.CodeMaybeApplied {
				continue // it had no effect
			}
			told, back = cellResult{unknown: true}, time.Hour
		} else if told.word != "" {
			last[cell] = told.word
		}
		l.mu.Lock()
		l.history = append(l.history, porcupine.Operation{ClientId: len(l.history), Input: op, Output: told, Call: int64(call), Return: int64(back)})
		l.counts[op.kind]++
		l.mu.Unlock()
	}
}

// done returns how many operations have come to an end.
func (l *depthLoad) done() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.history)
}

// do carries one operation out.
func (l *depthLoad) do(cl *client.Client, rnd *rand.Rand, op *cellOp) (told cellResult, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), slotDeadline)
	defer cancel()
	word, number := wordKey(op.cell), numberKey(op.cell)
	op.descriptor = fmt.Sprintf("%s kind %d word %q old %q by %d", op.cell, op.kind, op.word, op.old, op.by)
	switch op.kind {
	case cellGet:
		o := client.ReadOptions{AtOnce: true, Follower: rnd.IntN(2) == 0}
		items, _, err := cl.Get(ctx, [][]byte{word, number}, o)
		for _, i := range items {
			if string(i.Key) == string(word) {
				told.word = string(i.Value)
			} else if told.number, err = strconv.ParseInt(string(i.Value), 10, 64); err != nil {
				return told, err
			}
		}
		return told, err
	case cellSet:
		w, err := cl.Set(ctx, word, []byte(op.word), client.WriteOptions{})
		l.wrote(word, w, op.word, err)
		told.word = op.word
		return told, err
	case cellDel:
		_, err := cl.Delete(ctx, word)
		return told, unwrapped(err)
	case cellIncr:
		var w client.Written
		told.number, w, err = cl.Incr(ctx, number, op.by)
		l.wrote(number, w, fmt.Sprint(told.number), err)
		return told, err
	}
	r, err := cl.Txn(ctx, &client.Txn{
		If:   []client.Compare{client.IfValue(word, []byte(op.old))},
		Then: []client.Op{client.OpSet(word, []byte(op.word), client.SetOptions{}), client.OpIncr(number, 1)},
		Else: []client.Op{client.OpGet(word)},
	})
	if err != nil {
		return told, err
	}
	if told.swapped = r.Succeeded; told.swapped {
		l.wrote(word, r.Written, op.word, nil)
		told.word = op.word
	} else {
		told.word = string(r.Results[0].Value)
	}
	return told, nil
}

// unwrapped is what became of the one key of a call for many.
func unwrapped(err error) error {
	var partly *client.PartlyError
	if errors.As(err, &partly) && len(partly.Items) == 1 {
		return partly.Items[0].Err
	}
	return err
}

func (l *depthLoad) wrote(key []byte, w client.Written, value string, err error) {
	if err == nil {
		l.mu.Lock()
		l.written[writtenAs(key, w.Version, value)] = true
		l.mu.Unlock()
	}
}

// depthWatch is what one who watches all keys has heard.
type depthWatch struct {
	name   string
	events map[string][]client.WatchEvent // by key, in the order in which they came
	resume time.Duration                  // it begins anew, from its positions, each time that so long has passed; 0: never
	ends   map[string]bool                // the last keys that are written; it is over once all have come
	over   chan struct{}
	err    error
}

// run watches until all last keys have come.
func (d *depthWatch) run(cl *client.Client, opened func()) {
	defer close(d.over)
	var from []client.GroupPosition
	for {
		ctx, cancel := context.WithCancel(context.Background())
		w := cl.Watch(ctx, client.WatchQuery{Positions: from})
		until := time.Now().Add(d.resume)
		for d.resume == 0 || time.Now().Before(until) {
			e, err := w.Next()
			if err != nil {
				cancel()
				d.err = err
				return
			}
			switch e.Kind {
			case client.WatchOpened:
				opened()
			case client.WatchProgress:
			default:
				e.Key, e.Value = slices.Clone(e.Key), slices.Clone(e.Value)
				d.events[string(e.Key)] = append(d.events[string(e.Key)], e)
				if delete(d.ends, string(e.Key)); len(d.ends) == 0 {
					cancel()
					w.Close()
					return
				}
			}
		}
		from = w.Positions()
		w.Close()
		cancel()
	}
}

// check compares what was heard with what was written.
func (d *depthWatch) check(t *testing.T, l *depthLoad) {
	heard := map[string]bool{}
	for key, events := range d.events {
		version := uint64(0)
		for _, e := range events {
			if e.Version <= version {
				t.Errorf("%s: key %s: version %d is told after %d", d.name, key, e.Version, version)
			}
			version = e.Version
			if e.Kind == client.WatchSet {
				heard[writtenAs(e.Key, e.Version, string(e.Value))] = true
			}
		}
	}
	for w := range l.written {
		if !heard[w] {
			t.Errorf("%s: never told of %s, which was acknowledged", d.name, w)
		}
	}
}

// same compares what two watchers have heard: to the last event, it is the same.
func (d *depthWatch) same(t *testing.T, o *depthWatch) {
	if len(d.events) != len(o.events) {
		t.Errorf("%s was told of %d keys, %s of %d", d.name, len(d.events), o.name, len(o.events))
	}
	for key, events := range d.events {
		if !slices.EqualFunc(events, o.events[key], func(a, b client.WatchEvent) bool {
			return a.Kind == b.Kind && a.Version == b.Version && string(a.Value) == string(b.Value) && a.Group == b.Group && a.ID == b.ID
		}) {
			t.Errorf("key %s: %s was told %v, %s %v", key, d.name, events, o.name, o.events[key])
		}
	}
}

// While nodes are killed, stand still and are cut off from the others, every history of
// writes, transactions, counts and reads, from leaders and followers, is one of a single
// store; and all who watch are told of each write once, in its order, also if they begin anew
// from where they were.
func TestHistoriesAndWatches(t *testing.T) {
	t.Parallel()
	const groups = 3
	c := clustertest.New(t, 3, "--groups", fmt.Sprint(groups))
	gates := make([]*gate, len(c.Nodes))
	for i, p := range c.Nodes {
		gates[i] = newGate(t, p.Addr)
	}
	for i, p := range c.Nodes {
		for j := range p.Args {
			for k, g := range gates {
				if i != k || p.Args[j] != p.Addr { // not what it listens on
					p.Args[j] = strings.ReplaceAll(p.Args[j], c.Nodes[k].Addr, g.listener.Addr().String())
				}
			}
		}
		p.Args = append(p.Args, "--advertise", gates[i].listener.Addr().String())
		c.Start(i)
	}
	c.Healthy()
	cl := c.Client()
	ends := map[string]bool{}
	for owners, i := map[raft.GroupID]bool{}, 0; len(owners) < groups; i++ {
		key := fmt.Sprintf("end/%d", i)
		at, err := cl.Locate(t.Context(), []byte(key))
		if err != nil {
			t.Fatal(err)
		}
		if !owners[at.Group] {
			owners[at.Group] = true
			ends[key] = true
		}
	}
	l := &depthLoad{t: t, began: time.Now(), stop: make(chan struct{}), written: map[string]bool{}, counts: map[cellKind]int{}}
	var watches []*depthWatch
	var opened sync.WaitGroup
	for i, resume := range []time.Duration{0, 0, 700 * time.Millisecond} {
		d := &depthWatch{name: fmt.Sprintf("watcher %d", i), events: map[string][]client.WatchEvent{}, resume: resume, ends: map[string]bool{}, over: make(chan struct{})}
		for key := range ends {
			d.ends[key] = true
		}
		watches = append(watches, d)
		opened.Add(1)
		go d.run(c.Client(), sync.OnceFunc(opened.Done))
	}
	opened.Wait() // from now on each write is told to all
	for n := range depthWorkers {
		own := c.Client()
		l.wg.Go(func() { l.work(n, own) })
	}
	strikes := faults(c, l, gates, *depthFlag)
	close(l.stop)
	l.wg.Wait()
	c.Healthy()
	for key := range ends {
		if _, err := cl.Set(t.Context(), []byte(key), []byte("end"), client.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range watches {
		select {
		case <-d.over:
		case <-time.After(clustertest.ReadyMax):
			t.Fatalf("%s has not come to the end", d.name)
		}
		if d.err != nil {
			t.Fatalf("%s: %v", d.name, d.err)
		}
		d.check(t, l)
		d.same(t, watches[0])
	}
	result, info := porcupine.CheckOperationsVerbose(cellModel, l.history, time.Minute)
	if result != porcupine.Ok {
		if f, err := os.CreateTemp("", "muster-history-*.html"); err == nil {
			defer f.Close()
			if porcupine.Visualize(cellModel, info, f) == nil {
				t.Logf("the history is drawn in %s", f.Name())
			}
		}
		t.Fatalf("history of %d operations: %s", len(l.history), result)
	}
	events := 0
	for _, list := range watches[0].events {
		events += len(list)
	}
	t.Logf("%d operations (get %d, set %d, del %d, incr %d, swap %d) and %d events to each of %d watchers, under %s", len(l.history),
		l.counts[cellGet], l.counts[cellSet], l.counts[cellDel], l.counts[cellIncr], l.counts[cellSwap], events, len(watches), strikes)
}

// faults has one node of a cluster at a time die, stand still, or be cut off from what the others send,
// for so long and until each of these has struck. It returns how often each did.
func faults(c *clustertest.Cluster, l *depthLoad, gates []*gate, within time.Duration) string {
	c.T.Helper()
	rnd := rand.New(rand.NewPCG(14, 14))
	kinds := []struct {
		name   string
		strike func(node int) (end func())
	}{
		{"kills", func(i int) func() { c.Kill(i); return func() { c.Start(i) } }},
		{"stops", func(i int) func() {
			p := c.Nodes[i].Cmd.Process
			p.Signal(syscall.SIGSTOP)
			return func() { p.Signal(syscall.SIGCONT) }
		}},
		{"cuts", func(i int) func() { gates[i].shut(); return gates[i].open }},
	}
	counts := make([]int, len(kinds))
	first := rnd.Perm(len(kinds)) // so that each strikes early
	for began, n := time.Now(), 0; time.Since(began) < within || n < len(first); n++ {
		kind, i := rnd.IntN(len(kinds)), rnd.IntN(len(c.Nodes))
		if n < len(first) {
			kind = first[n]
		}
		if rnd.IntN(2) == 0 {
			i = c.Leads(0) // the one that hurts most
		}
		counts[kind]++
		end := kinds[kind].strike(i)
		time.Sleep(depthLasts) // how long a fault lasts is what is set
		end()
		c.Healthy()
		before := l.done()
		c.Until("clients work without a fault, too", func(context.Context) error {
			if n := l.done() - before; n < depthBetween {
				return fmt.Errorf("%d operations since the fault ended", n)
			}
			return nil
		})
	}
	return fmt.Sprintf("%d %s, %d %s, %d %s", counts[0], kinds[0].name, counts[1], kinds[1].name, counts[2], kinds[2].name)
}
