package hints

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path"
	"slices"
)

// Open reads the hints that are on the disk. The directory need not be there: it is made with the first hint that is kept.
func Open(o Options) (*Store, error) {
	s := &Store{disk: o.FS, dir: path.Join(o.Dir, Dir), chance: o.Chance, leave: o.Leave, log: o.Log, size: cmp.Or(o.File, FileBytes), hints: map[uint64]place{}}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if err := s.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("open the hints in %s: %w", s.dir, err), s.Close())
	}
	for i := range s.damages {
		s.log.Error("hints are damaged", "what", s.damages[i])
	}
	return s, nil
}

func (s *Store) load() error {
	if err := s.disk.MkdirAll(s.dir); err != nil {
		return err
	}
	names, err := s.disk.List(s.dir)
	if err != nil {
		return err
	}
	var numbers []uint64
	for _, name := range names {
		if name == tempName {
			if err := s.disk.Remove(path.Join(s.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		if n, ok := numberOf(name); ok {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	for i, n := range numbers {
		if err := s.open(n, i == len(numbers)-1); err != nil {
			return err
		}
	}
	return s.sweep()
}

// open reads one file. In the last one the end may be torn.
func (s *Store) open(number uint64, last bool) error {
	f := &file{number: number, name: path.Join(s.dir, fmt.Sprintf("%016d%s", number, suffix)), end: sector}
	var err error
	if f.f, err = s.disk.Open(f.name); err != nil {
		return err
	}
	s.files = append(s.files, f)
	size, err := f.f.Size()
	if err != nil {
		return err
	}
	b := make([]byte, size)
	if _, err := f.f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read %s: %w", f.name, err)
	}
	known, err := f.readHeader(b)
	if err != nil {
		return err
	}
	if !known {
		// Nothing in it can be told from anything else. It goes when its turn comes.
		s.damages = append(s.damages, Damage{f.name, 0, size})
		f.end = max(size, s.size)
		return nil
	}
	durable := s.records(f, b, last)
	if last && durable > 0 {
		// Its last write may be in the memory of the system alone, where its sync has failed or was never begun: no sync writes
		// that by itself any more. Before a file goes for the sake of what stands there, it is written and synced again.
		if _, err := f.f.WriteAt(b[durable:f.end], durable); err != nil {
			return fmt.Errorf("write %s again from byte %d on: %w", f.name, durable, err)
		}
		if err := f.f.Sync(); err != nil {
			return fmt.Errorf("write %s again from byte %d on: %w", f.name, durable, err)
		}
	}
	if f.end >= size || bug(bugTorn) {
		return nil
	}
	if !last {
		s.damages = append(s.damages, Damage{f.name, f.end, size})
		return nil
	}
	// It was never finished. Cut off, so that nothing of it is found behind what comes next.
	if err := f.f.Truncate(f.end); err != nil {
		return fmt.Errorf("cut %s off at byte %d: %w", f.name, f.end, err)
	}
	f.end = roundUp(f.end, sector)
	if err := f.f.Sync(); err != nil {
		return fmt.Errorf("cut %s off at byte %d: %w", f.name, f.end, err)
	}
	return nil
}

// readHeader reports whether a file begins as one of this format. The error is about one of a newer format.
func (f *file) readHeader(b []byte) (known bool, err error) {
	if len(b) < headerSize || string(b[:len(magic)]) != magic || headerSum(b) != binary.LittleEndian.Uint32(b[12:]) {
		return false, nil
	}
	if got := binary.LittleEndian.Uint32(b[8:]); got != format {
		return false, fmt.Errorf("%s has format %d, this muster reads format %d: start the newer muster", f.name, got, format)
	}
	f.salt = binary.LittleEndian.Uint64(b[24:])
	return binary.LittleEndian.Uint64(b[16:]) == f.number, nil
}

// records lets the records of a file take effect, and finds those behind damage. In the last file those of a write that was not
// finished are left out from the first gap on. It returns where the last write begins of those that did, or 0: all before that was
// durable.
func (s *Store) records(f *file, b []byte, last bool) (from int64) {
	found, durable := f.find(b)
	for _, r := range found {
		if r.at > f.end {
			if last && f.end >= durable && !bug(bugTorn) {
				break
			}
			s.damages = append(s.damages, Damage{f.name, f.end, r.at})
		}
		if r.kind == kindHint {
			s.take(place{r.Hint, f, r.at})
		} else {
			s.forget(r.Number)
		}
		f.end, from = f.past(b, r), max(from, r.write)
	}
	return from
}

// find returns all records of a file, and where the last write begins that has any: all before that was durable.
func (f *file) find(b []byte) (found []record, durable int64) {
	for at := int64(sector); at < int64(len(b)); {
		r, ok := f.readRecord(b[at:], at)
		if !ok {
			at += unit // the length of a bad record is not to be trusted
			continue
		}
		found = append(found, r)
		durable = max(durable, r.write)
		at = f.past(b, r)
	}
	return found, durable
}

// past returns where a record ends, with the zeros that end its write.
func (f *file) past(b []byte, r record) int64 {
	at := r.at + r.Size
	if end := min(roundUp(at, sector), int64(len(b))); zero(b[at:end]) {
		return end
	}
	return at
}

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
