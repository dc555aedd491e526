package logstore

import (
	"fmt"
	"sync/atomic"
)

// halt is the end of a Store: the first error of a write, or that the Store was
// closed. It is final. A disk that failed to keep something is not asked again: it
// may have dropped the bytes, and would report success. Any goroutine may use it.
type halt struct{ first atomic.Pointer[error] }

// because makes err final, unless something else is already.
func (h *halt) because(err error) {
	err = fmt.Errorf("%w: %w", ErrStopped, err)
	h.first.CompareAndSwap(nil, &err)
}

// err returns why nothing more is written, which wraps [ErrStopped], or nil.
func (h *halt) err() error {
	if first := h.first.Load(); first != nil {
		return *first
	}
	return nil
}
