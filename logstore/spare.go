package logstore

import "sync"

// spare keeps large buffers from one use to the next. The eight groups of a node
// write their snapshots one after the other; each grew its buffers anew, which
// left 4 MB behind, and the memory of a node at rest grew by that until the next
// collection. A buffer that is unused through two collections is freed.
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

// put gives a buffer back. Nobody may use it afterwards.
func (s *spare) put(b []byte) {
	if cap(b) > 0 {
		s.pool.Put(&b)
	}
}
