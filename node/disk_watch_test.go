package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"muster/logstore/vfs"
	"muster/repl/client"
	"muster/repl/wire"
)

// logLines is a log that can be read while it is written.
type logLines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logLines) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf.Reset()
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// hungLimits make a disk count as hung soon.
func hungLimits() limits {
	l := defaultLimits()
	l.stallAfter, l.stopMax = 300*time.Millisecond, 500*time.Millisecond
	return l
}

// startOn runs a node on a disk.
func startOn(t *testing.T, disk vfs.FS, c Config) (r *runningNode, log *logLines, ready chan struct{}) {
	log, ready = new(logLines), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	r = &runningNode{t: t, cancel: cancel, ended: make(chan error, 1)}
	go func() {
		r.ended <- runOn(ctx, disk, c, slog.New(slog.NewTextHandler(log, nil)), hungLimits(), func(n *Node, addr string) {
			r.node, r.addr = n, addr
			close(ready)
		})
	}()
	return r, log, ready
}

// writesOn sets a key over and over until it is told to stop; what becomes of it
// does not matter.
func writesOn(t *testing.T, addr string, size int) (stop func()) {
	cl, err := client.Open(client.Options{Insecure: true, Endpoints: []string{addr}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			_, _ = cl.Set(ctx, []byte("key"), make([]byte, size), client.WriteOptions{})
		}
	}()
	return func() {
		cancel()
		<-done
		cl.Close()
	}
}

// status asks the node how it is, on a connection of its own.
func (r *runningNode) status() (a wire.StatusAnswer, err error) {
	c := r.client()
	defer c.Close()
	_, body, err := c.ask(wire.TypeStatus, 0, (&wire.Empty{}).Append(nil))
	if err == nil {
		err = a.Read(body)
	}
	return a, err
}

// A disk that hangs gives no error: whatever stands in it, a write or a sync of
// the log, of a snapshot, of the identity, a read of the scrub, an open at a
// start, the node says so in its log, once, and in its status, with the file; it
// ends within its bound when it is told to, with an error that names what did
// not return; and if the disk comes back instead, it says that, once, and goes
// on as if nothing had been.
func TestHungDisk(t *testing.T) {
	const anyValue, largeValue = 10, 900_000 // of large ones the log rolls, and a snapshot is due soon
	for _, test := range []struct {
		name  string
		rule  vfs.Rule
		value int // it hangs while values of that size are written; 0: when it is started again
	}{
		{"sync of the log", vfs.Rule{Op: "sync", Name: "*.log"}, anyValue},
		{"write of the log", vfs.Rule{Op: "write", Name: "*.log"}, anyValue},
		{"write of a snapshot", vfs.Rule{Op: "write", Name: "[0-9]*.tmp"}, largeValue},
		{"sync of a snapshot", vfs.Rule{Op: "sync", Name: "[0-9]*.tmp"}, largeValue},
		{"read by the scrub", vfs.Rule{Op: "read", Name: "*.log"}, largeValue},
		{"open of the log", vfs.Rule{Op: "open", Name: "*.log"}, 0},
		{"read of the log", vfs.Rule{Op: "read", Name: "*.log"}, 0},
		{"listing of the log", vfs.Rule{Op: "list", Name: "log"}, 0},
		{"read of the identity", vfs.Rule{Op: "read", Name: "identity"}, 0},
		{"sync of the identity", vfs.Rule{Op: "sync", Name: "identity.tmp"}, 0},
	} {
		for _, back := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, back %v", test.name, back), func(t *testing.T) {
				t.Parallel()
				c := testConfig(t)
				c.Scrub = 64 << 20
				// A disk of its own in memory: a real one may stall by itself.
				disk := vfs.NewFaulty(vfs.NewMem())
				t.Cleanup(disk.Clear) // so that whatever waits there ends
				rule := test.rule
				rule.Fault, rule.Times = vfs.Stuck, vfs.Always
				r, log, ready := startOn(t, disk, c)
				<-ready
				r.serves()
				if test.value == 0 {
					r.stop()
					armed := disk.Add(rule)
					r, log, ready = startOn(t, disk, c)
					<-armed.Held()
				} else {
					armed := disk.Add(rule)
					stop := writesOn(t, r.addr, test.value)
					<-armed.Held()
					stop()
					until(t, "the status names the disk", func() error {
						a, err := r.status()
						if err != nil {
							return err
						}
						if a.Healthy || !strings.Contains(a.Problems[0].What, "stands still: "+rule.Op+" of "+c.Data) || a.Problems[0].Remedy == "" {
							return fmt.Errorf("got %+v", a.Problems)
						}
						return nil
					})
				}
				log.until(t, 1)
				if !back {
					r.cancel()
					select {
					case err := <-r.ended:
						if !errors.Is(err, ErrNotStopped) || !strings.Contains(err.Error(), c.Data) {
							t.Errorf("it ended with %v", err)
						}
					case <-time.After(readyMax):
						t.Fatal("it does not end")
					}
					return
				}
				disk.Clear()
				log.until(t, 0)
				<-ready
				r.serves()
				until(t, "it is back, and the status says so", func() error {
					a, err := r.status()
					if err == nil && !a.Healthy {
						err = fmt.Errorf("got %+v", a.Problems)
					}
					return err
				})
				r.stop()
			})
		}
	}
}

// until waits until the log says as often that the disk stands as that it is back,
// and standing times more, at least once. Once or not at all is how often it does
// by the test; a machine that is busy may have let it stand before.
func (l *logLines) until(t *testing.T, standing int) {
	t.Helper()
	until(t, fmt.Sprintf("the log says that the disk stands, %d times more than that it is back", standing), func() error {
		text := l.String()
		stalls, ends := strings.Count(text, "disk stalls"), strings.Count(text, "disk is back")
		if stalls == 0 || stalls-ends != standing {
			return fmt.Errorf("%d and %d times, in\n%s", stalls, ends, text)
		}
		return nil
	})
}

// stuckLog is a log on the disk that hangs: a line is under way until it is
// released.
type stuckLog struct{ begun, released chan struct{} }

func (l *stuckLog) Write(p []byte) (int, error) {
	l.begun <- struct{}{}
	<-l.released
	return len(p), nil
}

// The log of a node may go to a file on the disk that hangs. The status must
// still have its answer, other operations must still begin and end, and the node
// must still end within its bound: none of them may wait for a line.
func TestStallsWhileTheLogHangs(t *testing.T) {
	log := &stuckLog{make(chan struct{}), make(chan struct{})}
	w := newDiskWatch(vfs.NewMem(), slog.New(slog.NewTextHandler(log, nil)), 20*time.Millisecond)
	place := w.begin("sync", "f")
	<-log.begun
	done := make(chan bool)
	go func() {
		w.end(w.begin("read", "g"))
		_, stalled := w.stalled()
		w.stop()
		done <- stalled
	}()
	select {
	case stalled := <-done:
		if !stalled {
			t.Error("the disk stands still, and is not said to")
		}
	case <-time.After(readyMax):
		t.Error("the status waits for a line of the log")
	}
	close(log.released)
	go func() { <-log.begun }() // of the line that it is back
	w.end(place)
}

// A node at rest is not woken by the watch of its disk, and one that works is
// not told of a disk that is merely busy.
func TestDiskWatchRests(t *testing.T) {
	log := new(logLines)
	const after = 20 * time.Millisecond
	disk := vfs.NewMem()
	if err := disk.MkdirAll("d"); err != nil {
		t.Fatal(err)
	}
	w := newDiskWatch(disk, slog.New(slog.NewTextHandler(log, nil)), after)
	defer w.stop()
	rests := func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.armed {
			return errors.New("its timer runs")
		}
		return nil
	}
	until(t, "it rests", rests)
	took := after
	for took >= after { // this machine itself may stand still for a moment
		log.reset()
		began := time.Now()
		if _, err := w.Free("d"); err != nil {
			t.Fatal(err)
		}
		took = time.Since(began)
		until(t, "it rests again", rests)
	}
	if s, stalled := w.stalled(); stalled {
		t.Errorf("it stalls: %s", s)
	}
	if text := log.String(); text != "" {
		t.Errorf("it said %s", text)
	}
}
