package vfs

import "errors"

// ErrFault is wrapped by the errors that [Faulty] makes up, [Full] and
// [Missing] apart.
var ErrFault = errors.New("disk fault")

// Fault is a way in which a disk goes wrong.
type Fault uint8

const (
	// What befalls an operation.

	// Error: the operation is not done, and says so.
	Error Fault = 1 + iota
	// ShortWrite: the first half of the bytes is written, and the operation
	// says that it failed.
	ShortWrite
	// LostWrite: nothing is written, and the operation says that it was.
	LostWrite
	// FailedSync: the operation says that it failed. What was not synced is
	// dropped: the file is as it was at its last sync, and a later sync
	// succeeds.
	FailedSync
	// Full: the operation is not done for want of space, which it says with
	// [ErrFull].
	Full
	// Slow: the operation is done after a delay.
	Slow
	// Stuck: the operation is done once it is released.
	Stuck

	// What is found when bytes are read.

	// BitFlip: one bit is another.
	BitFlip
	// ZeroSector: 512 bytes are zero.
	ZeroSector
	// ZeroPage: 4096 bytes are zero.
	ZeroPage
	// StaleSector: 512 bytes are what they were before they were last
	// written over.
	StaleSector
	// Misdirected: what was to be written to 512 bytes is elsewhere in the
	// file, over what was there; in its own place is what was there before.
	Misdirected
	// Truncated: the file ends too early.
	Truncated
	// Missing: there is no such file.
	Missing

	// Unreadable: no read that reaches 512 bytes returns anything, and says so;
	// all others do. What stands there is as it was.
	Unreadable

	faults
)

var faultNames = [faults]string{
	"no fault", "error", "short write", "lost write", "failed sync", "full", "slow", "stuck",
	"bit flip", "zero sector", "zero page", "stale sector", "misdirected write", "truncated", "missing", "unreadable sector",
}

func (f Fault) String() string {
	if f >= faults {
		f = 0
	}
	return faultNames[f]
}

// Rot lists the faults that are found when bytes are read: what [Mem.Damage]
// does.
func Rot() []Fault {
	return []Fault{BitFlip, ZeroSector, ZeroPage, StaleSector, Misdirected, Truncated, Missing}
}
