//go:build !unix

package sim

import "time"

var began = time.Now()

// cpuTime is the time that went by, where the system does not tell the
// processor's.
func cpuTime() time.Duration { return time.Since(began) }
