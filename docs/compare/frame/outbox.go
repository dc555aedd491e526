package frame

import (
	"io"
	"sync"
)

// Outbox gathers what goes out on a connection: whatever was added while one
// write was under way leaves with the next.
type Outbox struct {
	to   io.Writer
	kick chan struct{} // from whoever adds, to the writer; never closed
	gone chan struct{} // closed by Close

	mu      sync.Mutex
	waiting []byte // guarded by mu
}

// NewOutbox starts the goroutine that writes; Close ends it, and so does a write
// that fails: the other side of the connection notices that for itself.
func NewOutbox(to io.Writer) *Outbox {
	o := &Outbox{to: to, kick: make(chan struct{}, 1), gone: make(chan struct{})}
	go o.write()
	return o
}

// Add lets f append to what waits. It does not block on the connection.
func (o *Outbox) Add(f func([]byte) []byte) {
	o.mu.Lock()
	o.waiting = f(o.waiting)
	o.mu.Unlock()
	select {
	case o.kick <- struct{}{}:
	default: // the writer has yet to come for what was added before
	}
}

// Close ends the writer. What still waits is dropped. It is called once.
func (o *Outbox) Close() error {
	close(o.gone)
	return nil
}

func (o *Outbox) write() {
	var spare []byte
	for {
		select {
		case <-o.kick:
		case <-o.gone:
			return
		}
		o.mu.Lock()
		out := o.waiting
		o.waiting = spare[:0]
		o.mu.Unlock()
		if len(out) > 0 {
			if _, err := o.to.Write(out); err != nil {
				return
			}
		}
		spare = out
	}
}
