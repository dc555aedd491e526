package logstore

import (
	"errors"
)

// Append keeps all of ws: it returns once they are durable, after one write and
// one sync unless they are very large. It blocks while the disk works. It copies the
// entries' bytes.
//
// An error that wraps [ErrFull] means that the disk has no room, not even in the
// reserve: nothing of ws is written, and the caller may try again later. Any other
// error is final: what was durable before stays so, any beginning of ws may be too,
// and every later call returns the error, which then wraps [ErrStopped]. A failed
// sync is not tried again, because the disk may have dropped what it could not write
// and would report success.
func (s *Store) Append(ws []Write) error {
	if err := s.halt.err(); err != nil {
		return err
	}
	if err := s.room.admit(s.room.needs(ws)); errors.Is(err, ErrFull) {
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

// stop ends the log. Should room be lacking for what was admitted, which must not
// happen, the error wraps ErrStopped: with ErrFull alone the owner would try the same
// batch again.
func (s *Store) stop(err error) error {
	s.halt.because(err)
	if errors.Is(err, ErrFull) {
		return s.halt.err()
	}
	return err
}

func (s *Store) append(ws []Write) error {
	if writes(ws) {
		// Moved records come first in the batch: they are the log as it stands
		// before ws, which may truncate some of them.
		if _, err := s.reclaimer.forward(); err != nil {
			return err
		}
	}
	if err := s.writer.putAll(ws); err != nil {
		return err
	}
	if len(s.writer.records) == 0 {
		return nil // commits alone travel with the next batch
	}
	if err := s.writer.flush(promises, behind); err != nil {
		return err
	}
	return s.room.keepPace()
}

// Idle is called when nothing was appended for a while. It writes the durable
// offset, and the commits that had no record to travel with, records in the witness
// how far the log has come, and prepares some more of the next segment. If there is
// nothing to do it costs nothing.
func (s *Store) Idle() error {
	if err := s.halt.err(); err != nil {
		return err
	}
	s.reclaimer.adopt()
	// What guards promises comes first, what only saves time later comes last.
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
		err = errors.Join(s.snapshots.sweep(), s.fences.sweep())
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
	// An empty batch is worth a sync if the end of the last promises is not on disk,
	// or if naming a new tail frees a segment.
	if len(s.writer.records) == 0 && !s.writer.promised && !s.index.reclaimable() {
		return nil
	}
	holds := commitsOnly
	if moved {
		holds = promises
	}
	return s.writer.flush(holds, freshPage)
}

// writes reports whether ws holds anything besides commits.
func writes(ws []Write) bool {
	for i := range ws {
		if w := &ws[i]; len(w.Entries) > 0 || len(w.Mended) > 0 || w.HasState || w.Base != nil || w.Remove || w.Note != nil {
			return true
		}
	}
	return false
}
