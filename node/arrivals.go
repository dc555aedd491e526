package node

import (
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"muster/repl/wire"
)

// arriving has the arrivals of each kind of connection: neither can lock the other out.
type arriving struct{ clients, peers arrivals }

// arrivals bounds the memory of frames that have not arrived completely, over all
// connections of a kind. A frame may have 17 MB, and a connection may send all but its
// end: 120 of them took 2 GB. Beyond the limit, the frame that has been under way for
// longest is dropped, with its connection: an honest sender is done within a moment,
// and is never the oldest for long.
type arrivals struct {
	max   int64 // bytes, of all buffers larger than share
	share int   // bytes that each connection always has

	mu    sync.Mutex
	bytes int64      // guarded by mu: of all that are large
	large []*arrival // guarded by mu: those above share, in the order in which they became so
}

// arrival is the buffer that frames of one connection arrive in. It belongs to
// the connection's reader.
type arrival struct {
	of   *arrivals
	conn net.Conn
	wake func()      // wakes the reader if it waits for something other than the connection
	over atomic.Bool // the connection has to end
	size int64       // guarded by of.mu: bytes, if among the large
}

// resize records how large the buffer is about to be, in bytes; 0 gives it up.
func (a *arrival) resize(bytes int) {
	r := a.of
	r.mu.Lock()
	i := slices.Index(r.large, a)
	r.bytes -= a.size
	a.size = 0
	switch large := bytes > r.share && !a.over.Load(); {
	case !large && i >= 0:
		r.large = slices.Delete(r.large, i, i+1)
	case large && i < 0:
		r.large = append(r.large, a)
		fallthrough
	case large:
		a.size = int64(bytes)
		r.bytes += a.size
	}
	var ended []*arrival
	for r.bytes > r.max {
		// A buffer that is alone may take all: a frame has a limit of its own.
		i := slices.IndexFunc(r.large, func(o *arrival) bool { return o != a })
		if i < 0 {
			break
		}
		o := r.large[i]
		r.large = slices.Delete(r.large, i, i+1)
		r.bytes -= o.size
		o.size = 0
		o.over.Store(true)
		ended = append(ended, o)
	}
	r.mu.Unlock()
	for _, o := range ended {
		// Its reader checks over after each deadline that it sets, so it either sees
		// it there or is woken here.
		_ = o.conn.SetReadDeadline(time.Unix(1, 0)) // an error: the connection has ended by itself
		o.wake()
	}
}

// errTooMuchArrives ends a connection whose frame has been under way for too long while
// others need its room.
var errTooMuchArrives = errors.New("too many large frames arrive at once, and this one takes longest")

func tooMuchArrives(node string) *wire.Error {
	return wire.Busy("node "+node, errTooMuchArrives.Error(), time.Second)
}
