//go:build plantedbugs

package shardmap

import "muster/raft"

// planted is the bug that is in force, or "".
var planted string

// SetBug plants the bug of that name, or none. It exists only under the build
// tag plantedbugs, where it shows that the tests would find such a bug.
func SetBug(name string) { planted = name }

func bug(name string) bool { return planted == name }

// clock is the clock of the host that the bug "expiry by wall clock" goes by; see SetClock.
var clock func() raft.GroupTime

// SetClock gives the bug "expiry by wall clock" a clock of the host.
func SetClock(f func() raft.GroupTime) { clock = f }

// wallClock returns now, unless the bug of that name is planted.
func wallClock(now raft.GroupTime) raft.GroupTime {
	if bug("expiry by wall clock") && clock != nil {
		return clock()
	}
	return now
}
