package blocks

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"muster/logstore"
	"muster/shardmap/points/block"
)

// Damaged is a file that is not what its name says, or that the disk has refused too often. As an error it is that of
// its place. It is over when a whole file has the name.
type Damaged struct {
	File  File
	Where logstore.Damage
	// Series and Field are of the block to which the place belongs; empty: of no single one.
	Series, Field string
	// Aside is where the damaged file was put; empty: it has its name still.
	Aside string
}

func (d *Damaged) Error() string { return d.Where.Error() }

func (d *Damaged) Unwrap() error { return &d.Where }

// refusal is a place that the disk refuses.
type refusal struct {
	at  int64
	n   int // 0: the file itself
	err error
}

// Damaged returns the files that are damaged and not yet replaced, in order, as found since the Store was opened. Those
// that were put aside before are missing: see [Store.Missing].
func (s *Store) Damaged() []Damaged {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Damaged
	for _, of := range s.files {
		for _, e := range of {
			if e.damage != nil {
				all = append(all, *e.damage)
			}
		}
	}
	slices.SortFunc(all, func(a, b Damaged) int { return compareFiles(a.File, b.File) })
	return all
}

// isAside reports whether the file was put aside. It is called with Store.mu or naming held.
func (e *entry) isAside() bool { return e.damage != nil && e.damage.Aside != "" }

// damageOf says of an error of package block where a file is damaged, or nil if it is none.
func damageOf(f File, name string, err error) *Damaged {
	var d *block.DamageError
	if !errors.As(err, &d) {
		return nil
	}
	record := "file"
	if d.Series != "" || d.Field != "" {
		record = fmt.Sprintf("block of field %.200q of series %.200q", d.Field, d.Series)
	}
	return &Damaged{File: f, Series: d.Series, Field: d.Field, Where: logstore.Damage{File: name, Offset: d.Offset, Record: record, Reason: d.What}}
}

// DamageIn returns what an error that a cursor met in a file is: a [Damaged] if it is damage, else the error itself.
func DamageIn(file string, err error) error {
	f, _ := Named(file)
	if d := damageOf(f, file, err); d != nil {
		return d
	}
	return err
}

// found takes an error that was met in a file, and returns it, as a [Damaged] if it is damage.
func (s *Store) found(e *entry, err error) error {
	d := damageOf(e.File, s.tree.file(&e.File), err)
	if d == nil {
		return err
	}
	s.putAside(e, d)
	return d
}

// bugDamagedStays is planted to show that its test finds it: a damaged file keeps its name, and counts as whole after
// the next start.
const bugDamagedStays = "damaged block file keeps its name"

// putAside gives a damaged file another name, and notes what is wrong with it.
func (s *Store) putAside(e *entry, d *Damaged) {
	s.naming.Lock()
	defer s.naming.Unlock()
	s.mu.Lock()
	known := !s.current(e) || e.damage != nil && !e.damage.Where.Refused
	a := putAside{number: 1, group: e.Group, sum: e.Sum}
	if n := len(s.aside); n > 0 {
		a.number = s.aside[n-1].number + 1
	}
	s.mu.Unlock()
	if known {
		return // it was removed or replaced meanwhile, or another reader was as fast
	}
	var err error
	if !bug(bugDamagedStays) {
		err = s.disk.Rename(d.Where.File, s.tree.aside(a))
	}
	switch {
	case err == nil:
		d.Aside = s.tree.aside(a)
	case isAbsent(err):
		err = nil // it is what is missing
	}
	s.log.Error("block file damaged", "group", e.Group, "file", d.Where.File, "offset", d.Where.Offset, "record", d.Where.Record, "reason", d.Where.Reason, "aside", d.Aside)
	s.mu.Lock()
	e.damage, e.refused = d, nil
	s.keys.Forget(e.Sum)
	idle := s.shared.detach(e)
	if d.Aside != "" {
		s.aside = append(s.aside, a)
	}
	s.mu.Unlock()
	closeAll(idle)
	if err == nil {
		err = s.trim(AsideMax)
	}
	if err != nil { // the next start finds it again
		s.log.Warn("damaged block file is not put aside", "file", d.Where.File, "err", err)
	}
}

// putAside is a damaged file that has another name.
type putAside struct {
	number uint64 // the oldest has the lowest
	group  Group
	sum    block.Sum
	// over: a whole file has its name, or had it. Before that it may be the only copy of the blocks that are whole in it,
	// and stays; after that it is kept for a person alone. After a start nobody knows what became of a name that is free.
	over bool
}

// PutAside returns the sums of a group's damaged files that were put aside, in this life or before, and that no whole
// file has replaced. Each stays until one does, or until [Store.Remove] of its sum.
func (s *Store) PutAside(g Group) []block.Sum {
	s.mu.Lock()
	defer s.mu.Unlock()
	var sums []block.Sum
	for _, a := range s.aside {
		if a.group == g && !a.over && !slices.Contains(sums, a.sum) {
			sums = append(sums, a.sum)
		}
	}
	slices.SortFunc(sums, func(a, b block.Sum) int { return bytes.Compare(a[:], b[:]) })
	return sums
}

// OpenAside opens a damaged file that was put aside and that no whole file has replaced: where no other replica has it,
// the blocks that are whole can still be read. Its errors are those of [Store.Open].
func (s *Store) OpenAside(g Group, sum block.Sum) (*Reader, error) {
	f := File{Group: g, Sum: sum}
	name := ""
	s.mu.Lock()
	for _, a := range s.aside {
		if a.group == g && a.sum == sum && !a.over {
			name = s.tree.aside(a)
		}
	}
	e := &entry{File: f} // no current one: what is found in it is known, and puts nothing aside
	_, idle, err := s.begun(e)
	s.mu.Unlock()
	closeAll(idle)
	if err == nil {
		var o *opened
		if name == "" {
			err = ErrUnknown
		} else if o, err = s.openNamed(e, name); err == nil {
			o.readers, o.gone = 1, true
			return &Reader{Reader: o.blocks, s: s, of: o}, nil
		}
		s.mu.Lock()
		s.shared.open--
		s.mu.Unlock()
	}
	return nil, fmt.Errorf("open the damaged %s: %w", f, err)
}

// asides are the files that were put aside, by their numbers. It is guarded by Store.mu.
type asides []putAside

// replaced notes that a whole file has the name of those that were put aside, or that nobody needs one any more.
func (x asides) replaced(g Group, sum block.Sum) {
	for i := range x {
		if a := &x[i]; a.group == g && a.sum == sum {
			a.over = true
		}
	}
}

// parseAside reads the name of a file that was put aside.
func parseAside(name string) (number uint64, sum block.Sum, ok bool) {
	digits, rest, _ := strings.Cut(strings.TrimSuffix(name, asideSuffix), "-")
	if _, err := fmt.Sscanf(digits, "%d", &number); err != nil {
		return 0, sum, false
	}
	sum, ok = block.ParseSum(rest)
	return number, sum, ok && name == fmt.Sprintf("%016d-%s%s", number, sum, asideSuffix)
}

// bugLastCopyTrimmed is planted to show that its test finds it: a damaged file that no whole one has replaced goes with
// the others.
const bugLastCopyTrimmed = "last copy of a block file trimmed"

// kept returns how many are kept for a person alone.
func (x asides) kept() (n int) {
	for _, a := range x {
		if a.over || bug(bugLastCopyTrimmed) {
			n++
		}
	}
	return n
}

// trim removes the oldest files that are kept for a person alone, until there are so many. It is called with naming held.
func (s *Store) trim(most int) error {
	s.mu.Lock()
	var gone []putAside
	n := s.aside.kept() - most
	s.aside = slices.DeleteFunc(s.aside, func(a putAside) bool {
		if n <= 0 || !a.over && !bug(bugLastCopyTrimmed) {
			return false
		}
		n--
		gone = append(gone, a)
		return true
	})
	s.mu.Unlock()
	var errs []error
	for _, a := range gone {
		if err := s.disk.Remove(s.tree.aside(a)); err != nil && !isAbsent(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// refused notes what the disk refuses of a file.
func (s *Store) refused(e *entry, r refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current(e) && e.refused == nil && !e.isAside() {
		e.refused, e.looks = &r, 1
		s.log.Warn("disk refuses a part of a block file", "group", e.Group, "file", s.tree.file(&e.File), "offset", r.at, "err", r.err)
	}
}

// refusedDamage is the damage that a file counts as if the disk goes on refusing it.
func (e *entry) refusedDamage(name string) *Damaged {
	record := "file"
	if e.refused.n > 0 {
		record = fmt.Sprintf("%d bytes", e.refused.n)
	}
	return &Damaged{File: e.File, Where: logstore.Damage{File: name, Offset: e.refused.at, Record: record, Reason: e.refused.err.Error(), Refused: true}}
}

// LookAgain asks the disk once more for something that it refused, one file after the other, and reports whether there
// was any. A file that is refused three times counts as damaged until the disk returns it, and another replica's may take
// its place. It may run beside all else but itself.
func (s *Store) LookAgain() bool {
	s.mu.Lock()
	var all []*entry
	for _, of := range s.files {
		for _, e := range of {
			if e.refused != nil {
				all = append(all, e)
			}
		}
	}
	if len(all) == 0 {
		s.mu.Unlock()
		return false
	}
	slices.SortFunc(all, func(a, b *entry) int { return compareFiles(a.File, b.File) })
	e := all[s.look%len(all)]
	r := *e.refused
	s.look++
	s.mu.Unlock()

	size, err := s.lookAt(&e.File, r)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.current(e) || e.refused == nil:
	case err == nil:
		e.Size, e.refused, e.looks, e.damage = size, nil, 0, nil
		s.log.Info("disk returns what it refused", "group", e.Group, "file", s.tree.file(&e.File), "offset", r.at)
	default:
		e.refused.err = err
		if e.looks++; e.looks >= refusedLooks {
			e.damage = e.refusedDamage(s.tree.file(&e.File))
		}
	}
	return true
}

// lookAt reads the bytes that were refused. A file that is missing or ends before them is not refused: its next reader
// finds that.
func (s *Store) lookAt(f *File, r refusal) (size int64, err error) {
	file, err := openRead(s.disk, s.tree.file(f))
	if isAbsent(err) {
		return f.Size, nil
	}
	if err != nil {
		return 0, err
	}
	defer file.Close()
	if size, err = sizeOf(file); err != nil {
		return 0, err
	}
	if _, err = logstore.ReadAt(file, make([]byte, max(0, min(int64(r.n), size-r.at))), r.at); !errors.Is(err, logstore.ErrRefused) {
		err = nil
	}
	return size, err
}
