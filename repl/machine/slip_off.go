//go:build !plantedbugs

package machine

import "muster/raft"

// slip is a mistake that a test asks a machine for. Without the build tag plantedbugs there is
// none, and the compiler leaves out what asks for one.
type slip struct{}

// skips reports whether an entry is to have no effect. None is.
func (slip) skips(raft.Entry) bool { return false }

// again returns an entry that is to have its effect once more. There is none.
func (slip) again(raft.Entry) (twin raft.Entry, due bool) { return twin, false }
