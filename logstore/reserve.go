package logstore

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
)

// reserveSize is what the reserve should have: a quarter of the segment in use,
// at least the first segment's size. A quarter of 16 MiB is for a thousand
// elections and deletes, each in a batch of its own; a small node's is small.
func (m *room) reserveSize() int64 {
	return max(min(firstSegmentBytes, m.size), roundUp(min(m.index.active.size, m.size)/4, pageSize))
}

// useReserve makes the reserve the next segment.
func (m *room) useReserve() error {
	r := m.reserve
	if r == nil || r.done < SegmentBytesMin {
		return fmt.Errorf("prepare a segment: %w", ErrFull)
	}
	m.reserve = nil
	if err := r.file.Close(); err != nil {
		return fmt.Errorf("use the reserve: %w", err)
	}
	prepared := path.Join(m.dir, preparedName)
	if err := m.disk.Rename(path.Join(m.dir, reserveName), prepared); err != nil {
		return fmt.Errorf("use the reserve: %w", err)
	}
	if err := m.disk.SyncDir(m.dir); err != nil {
		return fmt.Errorf("use the reserve: %w", err)
	}
	file, err := openFile(m.disk, prepared)
	if err != nil {
		return fmt.Errorf("use the reserve: %w", err)
	}
	m.log.Warn("log goes on in its reserve", "bytes", r.done)
	return m.christen(file, r.done)
}

// fillReserve brings the reserve some bytes nearer to its size.
func (m *room) fillReserve(bytes int64) error {
	want := m.reserveSize()
	if m.lack || m.reserve != nil && m.reserve.done >= want {
		return nil
	}
	err := func() error {
		if m.reserve == nil {
			if err := m.gauge.ask(want); err != nil {
				return err
			}
			file, err := m.disk.Create(path.Join(m.dir, reserveName))
			if err != nil {
				return err
			}
			m.reserve = &filling{file: file}
			if err := m.disk.SyncDir(m.dir); err != nil {
				return err
			}
		}
		m.reserve.size = want
		return m.fillFile(m.reserve, bytes)
	}()
	if errors.Is(err, ErrFull) {
		m.lack = true
		err = m.cutReserve()
	}
	if err != nil {
		return fmt.Errorf("fill the reserve: %w", err)
	}
	return nil
}

// cutReserve cuts the part off the reserve that could not be written or synced.
func (m *room) cutReserve() error {
	r := m.reserve
	if r == nil {
		return nil
	}
	if r.done > 0 {
		r.size = r.done
		return r.file.Truncate(r.done)
	}
	m.reserve = nil
	if err := r.file.Close(); err != nil {
		return err
	}
	return m.disk.Remove(path.Join(m.dir, reserveName))
}

// findReserve takes over the reserve that an earlier process left.
func (m *room) findReserve() error {
	file, err := openFile(m.disk, path.Join(m.dir, reserveName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	size, err := sizeOf(file)
	if err != nil {
		file.Close()
		return err
	}
	m.reserve = &filling{file: file, size: size, done: size &^ (pageSize - 1)}
	return nil
}

func (m *room) makeLacking() error {
	if m.index.next() == nil {
		if m.gauge.askForLog(m.nextSize()) != nil && len(m.free) == 0 {
			return nil
		}
		m.lack = false
		if err := m.prepareAll(0); err != nil || m.lack {
			return err
		}
	}
	missing := m.reserveSize()
	if m.reserve != nil {
		missing -= m.reserve.done
	}
	if m.gauge.ask(missing) != nil {
		return nil
	}
	m.lack = false
	return m.fillReserve(untilFull)
}
