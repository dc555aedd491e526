package vfs

import "errors"

// ErrFault is wrapped by the errors that [Faulty] makes up, except those of [Full]
// and [Missing].
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
	// FailedSync: the operation says that it failed. Unsynced bytes are
	// dropped: the file is as it was at its last sync, and a later sync
	// succeeds.
	FailedSync
	// Full: the operation is not done for want of space, and fails with
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
	// overwritten.
	StaleSector
	// Misdirected: a write of 512 bytes went elsewhere in the file, over what
	// was there; its own range is as it was before.
	Misdirected
	// Truncated: the file ends too early.
	Truncated
	// Missing: there is no such file.
	Missing

	// Unreadable: every read that reaches these 512 bytes fails, and says so;
	// all others succeed. The bytes themselves are unchanged.
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

// Rot lists the faults that are found when bytes are read: those of [Mem.Damage].
func Rot() []Fault {
	return []Fault{BitFlip, ZeroSector, ZeroPage, StaleSector, Misdirected, Truncated, Missing}
}
