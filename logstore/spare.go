package logstore

import "sync"

// spare keeps large buffers from one use to the next. The eight groups of a node
// write their snapshots one after the other; each grew its buffers anew, which
// left 4 MB behind, and the memory of a node at rest grew by that up to the next
// collection. What nobody takes through two collections is given back.
type spare struct {
	pool sync.Pool // of *[]byte
}

// take returns a buffer without content. It may have no room.
func (s *spare) take() []byte {
	if b, ok := s.pool.Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return nil
}

// put gives a buffer back, which nobody may use any more.
func (s *spare) put(b []byte) {
	if cap(b) > 0 {
		s.pool.Put(&b)
	}
}
