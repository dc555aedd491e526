package logstore

import (
	"errors"
)

// Append keeps all of ws: it returns after they are durable, in one write and
// one sync unless they are very large. It takes its time and waits for the
// disk. The entries' bytes are copied.
//
// One that wraps [ErrFull] says that the disk has no room, not even in the
// reserve: nothing of ws is written, and the same may be asked again later. Any
// other error is final: what was durable before stays so, of ws any beginning
// may be, and every later call returns the error, which then wraps
// [ErrStopped]. A disk that did not sync is not asked again, because it may
// have dropped what it could not write and would say that all is well.
func (s *Store) Append(ws []Write) error {
	if err := s.halt.err(); err != nil {
		return err
	}
	if err := s.room.admit(s.needs(ws)); errors.Is(err, ErrFull) {
		s.room.measure()
		return err
	} else if err != nil {
		return s.stop(err)
	}
	s.reclaimer.adopt()
	if err := s.append(ws); err != nil {
		return s.stop(err)
	}
	s.room.measure()
	return nil
}

// stop ends the log. Where room was lacking for what had been admitted, which must
// not be, it says so with ErrStopped: with ErrFull alone the owner would take the
// batch for one that may be asked again.
func (s *Store) stop(err error) error {
	s.halt.because(err)
	if errors.Is(err, ErrFull) {
		return s.halt.err()
	}
	return err
}

func (s *Store) append(ws []Write) error {
	if writes(ws) {
		// What is moved comes first in the batch: it is how the log stands
		// before ws.
		if _, err := s.reclaimer.forward(); err != nil {
			return err
		}
	}
	if err := s.writer.putAll(ws); err != nil {
		return err
	}
	if len(s.writer.records) == 0 {
		return nil // commits alone wait for company
	}
	if err := s.writer.flush(promises, behind); err != nil {
		return err
	}
	return s.room.keepPace()
}

// Idle is called when nothing was appended for a while. It writes the durable
// offset, and the commits that had no record to travel with, notes in the witness
// how far the log is, and prepares some more of the next segment. If there is
// nothing to do it costs nothing.
func (s *Store) Idle() error {
	if err := s.halt.err(); err != nil {
		return err
	}
	s.reclaimer.adopt()
	err := s.settle()
	if err == nil {
		err = s.home.reach(s.home.promised)
	}
	if err == nil {
		err = s.room.prepare(idleFillBytes)
	}
	if err == nil {
		err = s.room.fillReserve(idleFillBytes)
	}
	if err == nil {
		err = s.keepHeadroom()
	}
	if err == nil {
		err = s.snapshots.sweep()
	}
	if err != nil {
		return s.stop(err)
	}
	s.room.measure()
	return nil
}

// settle writes what Idle and Close write.
func (s *Store) settle() error {
	if !s.room.admitRest() {
		return nil // the promises of the next batch need the room more
	}
	if err := s.writer.putLate(); err != nil {
		return err
	}
	moved, err := s.reclaimer.forward()
	if err != nil {
		return err
	}
	if len(s.writer.records) == 0 && !s.writer.promised && !s.index.reclaimable() {
		return nil
	}
	holds := commitsOnly
	if moved {
		holds = promises
	}
	return s.writer.flush(holds, freshPage)
}

// writes reports whether there is anything in ws but commits.
func writes(ws []Write) bool {
	for i := range ws {
		if w := &ws[i]; len(w.Entries) > 0 || len(w.Mended) > 0 || w.HasState || w.Base != nil || w.Remove || w.Note != nil {
			return true
		}
	}
	return false
}
