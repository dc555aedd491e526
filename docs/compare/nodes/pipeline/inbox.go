package main

import (
	"net"
	"sync"

	"muster/docs/compare/frame"
	"muster/docs/compare/load"
)

// client is a connection as the loop sees it. All fields belong to the loop.
type client struct {
	conn net.Conn
	out  []byte // answers of this turn
}

// request is who waits for what.
type request struct {
	from *client
	id   uint64
}

// read is a get that waits for its round.
type read struct {
	request
	key [load.KeyBytes]byte
}

// batch is puts that go to the disks together.
type batch struct {
	number   uint64
	frame    []byte // the head is written when the batch is sealed
	requests []request
}

// inbox is how the readers and the log's writer reach the loop. Puts are copied
// once, by the reader, into the batch that is being gathered.
type inbox struct {
	wake chan struct{} // to the loop; holds one

	mu        sync.Mutex
	gathering *batch
	reads     []read
	index     uint64 // of the last put
	logged    uint64 // the last batch in the leader's log
	synced    uint64 // the last batch in the log of either follower
	confirmed uint64 // the last round that either follower has confirmed
	err       error  // ends the loop
}

// post changes the inbox and wakes the loop.
func (q *inbox) post(change func()) {
	q.mu.Lock()
	change()
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default: // it has yet to wake for an earlier change
	}
}

// readClient takes the requests of one client.
func (q *inbox) readClient(conn net.Conn) {
	defer conn.Close()
	c := &client{conn: conn}
	r := frame.NewReader(conn)
	for {
		frames, err := r.Burst()
		if err != nil {
			return
		}
		for _, f := range frames {
			if !wellFormed(f) {
				return
			}
		}
		q.post(func() {
			for _, f := range frames {
				q.take(c, f)
			}
		})
	}
}

func wellFormed(f frame.Frame) bool {
	return f.Kind == frame.Put && len(f.Body) == load.KeyBytes+valueBytes || f.Kind == frame.Get && len(f.Body) == load.KeyBytes
}

// take is called with mu held.
func (q *inbox) take(c *client, f frame.Frame) {
	who := request{c, f.ID}
	if f.Kind == frame.Get {
		q.reads = append(q.reads, read{who, [load.KeyBytes]byte(f.Body)})
		return
	}
	q.index++
	b := q.gathering
	b.frame = appendEntry(b.frame, q.index, f.Body)
	b.requests = append(b.requests, who)
}

// readFollower takes the answers of one follower.
func (q *inbox) readFollower(conn net.Conn) {
	r := frame.NewReader(conn)
	for {
		frames, err := r.Burst()
		if err != nil {
			q.post(func() { q.err = err })
			return
		}
		var synced, confirmed uint64
		for _, f := range frames {
			switch f.Kind {
			case frame.Synced:
				synced = f.ID
			case frame.Confirmed:
				confirmed = f.ID
			}
		}
		q.post(func() { q.synced, q.confirmed = max(q.synced, synced), max(q.confirmed, confirmed) })
	}
}
