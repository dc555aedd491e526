package trail

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"muster/logstore/vfs"
)

// Dir is where the trail is in a data directory.
const Dir = "trail"

const (
	// FileMax bounds a file of the trail, in bytes, but for one that holds a single batch.
	FileMax = 4 << 20
	// BudgetMin is the smallest budget: the file that is written, and the one before it.
	BudgetMin = 2 * FileMax
	// freeMin is what the trail leaves of the disk, in bytes: the log needs room more.
	freeMin = 16 << 20
	// batchMax bounds what is written at once, in bytes, but for a single line.
	batchMax = 256 << 10
	// recoverMax bounds what is read of the last file at a start, in bytes.
	recoverMax = 16 * FileMax

	suffix     = ".jsonl"
	nameDigits = 16
)

// Limits bound what a trail takes.
type Limits struct {
	File   int64 // FileMax, but in tests
	Budget int64 // bytes of all files together; at least twice File
	Free   int64 // what stays free of the disk
}

// DefaultLimits are those of a node with this budget, in bytes.
func DefaultLimits(budget int64) Limits {
	return Limits{File: FileMax, Budget: max(budget, BudgetMin), Free: freeMin}
}

// Book is the trail of a node on its disk. It belongs to one goroutine; [Read] and [Verify]
// may run beside it.
type Book struct {
	fs   vfs.FS
	dir  string
	node string // its name, which is in each line

	limits Limits
	files  []file   // in order
	open   vfs.File // the last of files; nil: the next batch begins another
	// dirty: there may be bytes behind the end of the open file.
	dirty bool
	head  Head // Invariant: all up to here is synced

	notes   []Event // what a start has found, for the next batch
	lost    uint64  // events that no line tells of
	lostWhy string  // of the last of them
	buf     []byte
}

// file is one of the trail, by the number of its first line.
type file struct {
	first uint64
	size  int64 // of its lines
}

func fileName(first uint64) string { return fmt.Sprintf("%0*d%s", nameDigits, first, suffix) }

// readFileName returns the number in the name of a file of the trail; false for other files.
func readFileName(name string) (first uint64, ok bool) {
	digits, ok := strings.CutSuffix(name, suffix)
	first, err := strconv.ParseUint(digits, 10, 64)
	return first, ok && err == nil && first > 0 && fileName(first) == name
}

// listFiles returns the numbers of the files in dir, in order.
func listFiles(disk vfs.FS, dir string) (firsts []uint64, err error) {
	names, err := disk.List(dir)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if first, ok := readFileName(name); ok {
			firsts = append(firsts, first)
		}
	}
	slices.Sort(firsts)
	return firsts, nil
}

// Open opens the trail in a directory, which it makes if there is none, and finds the end of
// its chain. It cuts what a crash has left of the last batch. The caller holds the lock of
// the data directory.
func Open(disk vfs.FS, dir, node string, limits Limits) (*Book, error) {
	b := &Book{fs: disk, dir: dir, node: node, limits: limits}
	if err := disk.MkdirAll(dir); err != nil {
		return nil, err
	}
	firsts, err := listFiles(disk, dir)
	if err != nil {
		return nil, err
	}
	for _, first := range firsts {
		size, err := sizeOf(disk, path.Join(dir, fileName(first)))
		if err != nil {
			return nil, err
		}
		b.files = append(b.files, file{first, size})
	}
	for len(b.files) > 0 {
		if found, err := b.recover(); found || err != nil {
			return b, err
		}
	}
	return b, nil
}

func sizeOf(disk vfs.FS, name string) (int64, error) {
	f, err := disk.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return f.Size()
}

// recover finds the end of the chain in the last file. It reports false if there is none in
// it, and it was removed.
func (b *Book) recover() (found bool, err error) {
	last := &b.files[len(b.files)-1]
	name := path.Join(b.dir, fileName(last.first))
	content, err := readFile(b.fs, name, recoverMax)
	if err != nil {
		return false, err
	}
	s := scan(content, last.first)
	switch {
	case s.damaged || last.size > recoverMax: // no batch of ours makes a file that large
		// The bad lines stay for [Verify]. The end of the chain is the last line that is whole.
		b.head = s.whole
		b.notes = append(b.notes, noteOf(fmt.Sprintf("%s is damaged from line %d on: muster audit verify names what is wrong; the trail goes on in another file", fileName(last.first), s.good.Lines+1)))
		return true, nil
	case s.good.Lines < last.first:
		// Its first batch was torn: nothing in it was ever synced.
		if err := b.fs.Remove(name); err != nil {
			return false, err
		}
		if last.size > 0 {
			b.notes = append(b.notes, cutNote(last.size, last.first-1))
		}
		b.files = b.files[:len(b.files)-1]
		if len(b.files) == 0 && last.first > 1 {
			// The lines before are gone: a chain that began anew would deny that there were any.
			b.head = Head{Lines: last.first - 1}
		}
		return false, b.fs.SyncDir(b.dir)
	}
	b.head = s.good
	f, err := b.fs.Open(name)
	if err != nil {
		return false, err
	}
	b.open = f
	if torn := last.size - s.end; torn > 0 {
		b.notes = append(b.notes, cutNote(torn, s.good.Lines))
		last.size = s.end
		if err := errors.Join(f.Truncate(s.end), f.Sync()); err != nil {
			return false, err
		}
	}
	return true, nil
}

func noteOf(why string) Event { return Event{Type: Dir, Verdict: Noted, Why: why} }

func cutNote(bytes int64, line uint64) Event {
	return noteOf(fmt.Sprintf("%d bytes behind line %d were torn by a crash, and were cut", bytes, line))
}

func readFile(disk vfs.FS, name string, limit int64) ([]byte, error) {
	f, err := disk.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	content := make([]byte, min(size, limit))
	if n, err := f.ReadAt(content, 0); err != nil && n < len(content) {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return content, nil
}

// scanned is what a file holds.
type scanned struct {
	good    Head  // the last line of those that follow each other from the first on
	end     int64 // where it ends
	damaged bool  // a line behind it was written after the bad ones had been synced
	whole   Head  // the last line that has the hash that it says
}

func scan(content []byte, first uint64) (s scanned) {
	s.good.Lines = first - 1
	chained := true
	for at := 0; at < len(content); {
		raw := cutLine(content[at:])
		l, err := ReadLine(raw)
		if err == nil && l.Seq > seqMax {
			err = errNoLine
		}
		if err == nil {
			s.whole = Head{l.Seq, l.Hash}
		}
		chained = chained && err == nil && l.Seq == s.good.Lines+1 && (l.Seq == first || l.Prev == s.good.Hash)
		at += len(raw)
		if chained {
			s.good, s.end = s.whole, int64(at)
		} else if err == nil && l.Kept > s.good.Lines {
			s.damaged = true
		}
	}
	return s
}

// Head returns the end of the chain. All up to it is synced.
func (b *Book) Head() Head { return b.head }

// Missing returns how many events no line tells of yet.
func (b *Book) Missing() uint64 { return b.lost }

// Lose counts events that were not handed to Append. A line will say how many, and why the
// last ones were.
func (b *Book) Lose(n uint64, why string) {
	if n > 0 {
		b.lost, b.lostWhy = b.lost+n, why
	}
}

// SetBudget changes the budget, in bytes.
func (b *Book) SetBudget(budget int64) { b.limits.Budget = max(budget, 2*b.limits.File) }

// Append writes a line for each event, and syncs. What it can't write it counts as lost, and
// says so once it can again; an error says why. The trail can be used after it.
func (b *Book) Append(now time.Time, events []Event) error {
	notes := b.notes
	if b.lost > 0 {
		notes = append(notes[:len(notes):len(notes)], Event{Type: Dir, Verdict: Lost, Count: b.lost, Why: b.lostWhy})
	}
	for i := range notes {
		notes[i].At = now
	}
	if len(notes) > 0 {
		if rest, err := b.batch(notes); err != nil || len(rest) > 0 {
			err = cmp.Or(err, errors.New("notes larger than a batch"))
			b.Lose(uint64(len(events)), err.Error())
			return err
		}
		b.notes, b.lost = nil, 0
	}
	for len(events) > 0 {
		rest, err := b.batch(events)
		if err != nil {
			b.Lose(uint64(len(events)), err.Error())
			return err
		}
		events = rest
	}
	return nil
}

// batch writes the first of some events, and syncs them. It returns the others.
func (b *Book) batch(events []Event) (rest []Event, err error) {
	lines, head, kept := b.buf[:0], b.head, b.head.Lines
	for len(events) > 0 && len(lines) < batchMax {
		lines, head = appendLine(lines, head, kept, b.node, &events[0])
		events, kept = events[1:], 0
	}
	b.buf = lines
	if err := b.makeRoom(int64(len(lines))); err != nil {
		return events, err
	}
	if err := b.write(lines); err != nil {
		b.setAside(err)
		return events, err
	}
	b.files[len(b.files)-1].size += int64(len(lines))
	b.head = head
	return events, nil
}

// makeRoom removes the oldest files as far as the budget wants it.
func (b *Book) makeRoom(size int64) error {
	free, err := b.fs.Free(b.dir)
	if err != nil {
		return err
	}
	if free < size+b.limits.Free {
		return fmt.Errorf("%s: %d bytes are free, and the trail leaves %d of them: %w", b.dir, free, b.limits.Free, vfs.ErrFull)
	}
	if n := len(b.files); b.open != nil && b.files[n-1].size > 0 && b.files[n-1].size+size > b.limits.File {
		b.open.Close() // all of it is synced
		b.open = nil
	}
	for total := b.size(); total+size > b.limits.Budget && len(b.files) > 0; {
		oldest := b.files[0]
		if len(b.files) == 1 && b.open != nil {
			b.open.Close()
			b.open = nil
		}
		if err := b.fs.Remove(path.Join(b.dir, fileName(oldest.first))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		// In order, whatever a crash leaves: else one in the middle could be missing.
		if err := b.fs.SyncDir(b.dir); err != nil {
			return err
		}
		b.files = b.files[1:]
		total -= oldest.size
	}
	return nil
}

func (b *Book) size() (total int64) {
	for _, f := range b.files {
		total += f.size
	}
	return total
}

// write writes a batch behind the end of the last file, or into a new one, and syncs it.
func (b *Book) write(lines []byte) error {
	made := b.open == nil
	if made {
		first := b.head.Lines + 1
		f, err := b.fs.Create(path.Join(b.dir, fileName(first)))
		if err != nil {
			return err
		}
		b.open, b.dirty = f, false
		b.files = append(slices.DeleteFunc(b.files, func(f file) bool { return f.first == first }), file{first: first})
	}
	end := b.files[len(b.files)-1].size
	if b.dirty {
		if err := b.open.Truncate(end); err != nil {
			return err
		}
		b.dirty = false
	}
	if _, err := b.open.WriteAt(lines, end); err != nil {
		return err
	}
	if err := b.open.Sync(); err != nil {
		return err
	}
	if made {
		return b.fs.SyncDir(b.dir)
	}
	return nil
}

// setAside takes back what an attempt to write has left. After anything but lack of room the
// file is not written to again: after a sync that failed, nothing is promised of it.
func (b *Book) setAside(err error) {
	if b.open == nil {
		return
	}
	n := len(b.files)
	end := b.files[n-1].size
	b.dirty = b.open.Truncate(end) != nil
	if end > 0 && errors.Is(err, vfs.ErrFull) {
		return
	}
	// Best effort: if it fails too, or the disk lies, lines may stand in this file and in the
	// next, and Verify says so.
	_ = b.open.Sync()
	b.open.Close()
	b.open, b.dirty = nil, false
	if end == 0 {
		_ = b.fs.Remove(path.Join(b.dir, fileName(b.files[n-1].first)))
		b.files = b.files[:n-1]
	}
}

// Rejoin continues the chain behind a head that the cluster knows of this node, and that is
// newer than this directory: lines of it are gone. A line says so.
func (b *Book) Rejoin(head Head) {
	if head.Lines <= b.head.Lines {
		return
	}
	missing := noteOf(fmt.Sprintf("lines %d to %d are missing here, though the cluster knows line %d: the directory was emptied, cut, or put back from a copy", b.head.Lines+1, head.Lines, head.Lines))
	missing.Verdict, missing.Count = Lost, head.Lines-b.head.Lines
	b.notes = append(b.notes, missing)
	if b.open != nil {
		b.open.Close()
		b.open = nil
	}
	b.head = head
}

// Close closes the open file. All that Append has returned nil for is synced.
func (b *Book) Close() error {
	if b.open == nil {
		return nil
	}
	defer func() { b.open = nil }()
	return b.open.Close()
}
