package wire

import (
	"sync"
	"sync/atomic"
)

// How much the keys of one connection over TLS protect. Each way has a key of its own, and AES-GCM may
// protect some 2^24.5 full records under one, 388 GB (RFC 8446, section 5.5). Go's TLS changes keys when
// the other side asks for it, and never asks. So connections are replaced: each has new keys.
const (
	// KeyBytesMax is how many bytes of records a connection carries in one direction before the side that
	// dialled replaces it by another one. Small records count for more than their contents, as they
	// do for the cipher: each has 22 bytes beside what it carries.
	KeyBytesMax int64 = 64 << 30
	// KeyBytesEnd is after how many the side that has accepted it ends it. It can't dial, and leaves the
	// other side as many again to do so.
	KeyBytesEnd = 2 * KeyBytesMax
)

// wear counts what the keys of a connection have protected.
type wear struct {
	// Set before the connection has more than one user.
	limit int64
	tell  func() // called once; nil: nobody wants to know

	read, written atomic.Int64 // bytes of records
	told          sync.Once
}

// count adds n bytes to those of one direction. It may be called with locks held.
func (w *wear) count(way *atomic.Int64, n int) {
	if way.Add(int64(n)) >= w.limit && w.tell != nil {
		w.told.Do(w.tell)
	}
}

// WearsAt has tell called once the connection has carried limit bytes in one direction; from then on it
// is [TLSConn.Worn]. It goes on all the same. It is called before a second goroutine uses the
// connection. tell is called by whoever reads or writes, must not wait, and must not use the connection.
func (c *TLSConn) WearsAt(limit int64, tell func()) {
	c.below.wear.limit, c.below.wear.tell = limit, tell
}

// Worn reports whether the connection has carried as much as [TLSConn.WearsAt] allows; without that it
// never has. Any goroutine may ask.
func (c *TLSConn) Worn() bool {
	w := &c.below.wear
	return w.tell != nil && max(w.read.Load(), w.written.Load()) >= w.limit
}

// Worn reports whether a connection is one over TLS that should be replaced, since its keys have protected
// enough: see [TLSConn.Worn]. What wraps such a connection may answer for it.
func Worn(conn any) bool {
	w, ok := conn.(interface{ Worn() bool })
	return ok && w.Worn()
}
