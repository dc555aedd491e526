package logstore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"muster/logstore/vfs"
	"muster/raft"
)

// A replica whose state was found to be wrong must not serve from it, not even after its
// node was killed. So its fence is a file in the directory fences, whose name gives the
// replica: g3-i2-r5.fence belongs to group 3, incarnation 2, replica 5. The name is
// enough: if the content can't be read, the replica counts as fenced, because one that is
// fenced is rebuilt, and one that is not may serve a wrong state.
//
// The content is a text, like the identity.
//
//	muster fence 1
//	replica 3 2 5		group, incarnation, id
//	at 7 10432		term and index
//	found comparison	or walk, or undecided
//	state fenced		or rebuilt
//	what "..."		in one phrase
//	part 12			a line for each part that is named
//	checksum 89abcdef
const (
	// FenceDir is the directory of the fences, in the data directory.
	FenceDir = "fences"
	// FencePartsMax bounds how many parts of a state a fence names: a person needs the
	// first few.
	FencePartsMax = 64
	// FenceWhatMax bounds what is said in a fence, in bytes.
	FenceWhatMax = 1 << 10

	fenceFirst  = "muster fence " // and the format
	fenceSuffix = ".fence"
	fenceTemp   = "fence.tmp"
	// fenceBytesMax bounds the file: a byte of what is said takes four at most, where it
	// is quoted, and a part 16.
	fenceBytesMax = 4*FenceWhatMax + 16*FencePartsMax + 1<<10
)

// FenceFound is how the state of a replica was found to be wrong.
type FenceFound uint8

const (
	// FenceByWalk: the state is not what was put there, as the replica found by itself; or its
	// log leads to another one, which no replica has.
	FenceByWalk FenceFound = 1
	// FenceByComparison: other replicas have another state, which is right.
	FenceByComparison FenceFound = 2
	// FenceUndecided: the states of the replicas differ, and nobody can tell which of
	// them is right.
	FenceUndecided FenceFound = 3
)

var fenceFoundNames = map[FenceFound]string{FenceByWalk: "walk", FenceByComparison: "comparison", FenceUndecided: "undecided"}

func (f FenceFound) String() string {
	if name, ok := fenceFoundNames[f]; ok {
		return name
	}
	return fmt.Sprintf("finding %d", uint8(f))
}

// Fence notes that the state of a replica was found to be wrong while its log is right.
// It outlives the process.
type Fence struct {
	Replica Replica
	// At is where the state was found to differ: a state of another replica must stand
	// there or later. Zero: not known.
	At    raft.LogID
	Found FenceFound
	Parts []uint32 // of the state that differ; the first [FencePartsMax] of them are kept
	What  string   // in one phrase; the first [FenceWhatMax] bytes are kept
	// Rebuilt: the replica has a right state again. The note stays until a person has
	// seen it.
	Rebuilt bool
}

// ErrFence is wrapped by the error about a fence that names no replica, or not how it
// was found. Nothing is written.
var ErrFence = errors.New("bad fence")

// The words for whether a replica is fenced still.
const (
	stateFenced  = "fenced"
	stateRebuilt = "rebuilt"
)

func (f *Fence) state() string {
	if f.Rebuilt {
		return stateRebuilt
	}
	return stateFenced
}

// Reason says in one line how the state was found to be wrong, where, and what is.
func (f *Fence) Reason() string {
	found := "found by " + f.Found.String()
	if f.Found == FenceUndecided {
		found = f.Found.String()
	}
	return fmt.Sprintf("%s at %s: %s", found, raft.FormatLogID(f.Replica.Group, f.At), f.What)
}

// check returns what is wrong with a fence.
func (f *Fence) check() error {
	switch _, known := fenceFoundNames[f.Found]; {
	case f.Replica.ID == 0:
		return fmt.Errorf("%w: its replica is 0", ErrFence)
	case !known:
		return fmt.Errorf("%w: found is %d, want 1 to %d", ErrFence, f.Found, FenceUndecided)
	}
	return nil
}

// bounded returns the fence within its limits. A fence that says too much is cut, not
// refused: it must be kept.
func (f Fence) bounded() Fence {
	f.Parts = slices.Clone(f.Parts[:min(len(f.Parts), FencePartsMax)])
	if len(f.What) > FenceWhatMax {
		n := FenceWhatMax
		for n > FenceWhatMax-utf8.UTFMax && !utf8.RuneStart(f.What[n]) {
			n--
		}
		f.What = f.What[:n]
	}
	return f
}

// append appends the file of a fence.
func (f *Fence) append(b []byte) []byte {
	b = fmt.Appendf(b, "%s%d\n", fenceFirst, fenceFormats.newest)
	b = fmt.Appendf(b, "replica %d %d %d\n", uint16(f.Replica.Group), uint64(f.Replica.Incarnation), uint64(f.Replica.ID))
	b = fmt.Appendf(b, "at %d %d\n", f.At.Term, f.At.Index)
	b = fmt.Appendf(b, "found %s\n", f.Found)
	b = fmt.Appendf(b, "state %s\n", f.state())
	b = fmt.Appendf(b, "what %s\n", strconv.Quote(f.What))
	for _, p := range f.Parts {
		b = fmt.Appendf(b, "part %d\n", p)
	}
	return sealText(b)
}

// parseFence reads a file. It accepts only what append would write, byte for byte, for
// the same content.
func parseFence(b []byte) (Fence, error) {
	if len(b) > fenceBytesMax {
		return Fence{}, fmt.Errorf("it has more than %d bytes", fenceBytesMax)
	}
	lines, _, err := readText(b, fenceFirst, fenceFormats)
	if err != nil {
		return Fence{}, err
	}
	var f Fence
	for line := range strings.Lines(lines) {
		line = strings.TrimSuffix(line, "\n")
		key, value, _ := strings.Cut(line, " ")
		if err := f.set(key, value); err != nil {
			return Fence{}, fmt.Errorf("line %q: %w", line, err)
		}
	}
	if err := f.check(); err != nil {
		return Fence{}, err
	}
	if !bytes.Equal(f.append(nil), b) {
		return Fence{}, errors.New("its lines are not those of a fence")
	}
	return f, nil
}

// set takes a line. A number in another form, or a line that comes twice, is found by
// [parseFence], which writes the fence again and compares the bytes.
func (f *Fence) set(key, value string) (err error) {
	switch key {
	case "replica":
		_, err = fmt.Sscanf(value, "%d %d %d", &f.Replica.Group, &f.Replica.Incarnation, &f.Replica.ID)
	case "at":
		_, err = fmt.Sscanf(value, "%d %d", &f.At.Term, &f.At.Index)
	case "found":
		for found, name := range fenceFoundNames {
			if name == value {
				f.Found = found
			}
		}
	case "state":
		f.Rebuilt = value == stateRebuilt
	case "what":
		if f.What, err = strconv.Unquote(value); err == nil && len(f.What) > FenceWhatMax {
			err = fmt.Errorf("it has more than %d bytes", FenceWhatMax)
		}
	case "part":
		var n uint64
		n, err = strconv.ParseUint(value, 10, 32)
		if f.Parts = append(f.Parts, uint32(n)); len(f.Parts) > FencePartsMax {
			err = fmt.Errorf("there are more than %d", FencePartsMax)
		}
	default:
		return errors.New("no such field")
	}
	return err
}

func fenceName(r Replica) string {
	return fmt.Sprintf("g%d-i%d-r%d%s", uint16(r.Group), uint64(r.Incarnation), uint64(r.ID), fenceSuffix)
}

// parseFenceName reads what fenceName wrote.
func parseFenceName(name string) (r Replica, ok bool) {
	_, err := fmt.Sscanf(name, "g%d-i%d-r%d"+fenceSuffix, &r.Group, &r.Incarnation, &r.ID)
	return r, err == nil && r.ID != 0 && fenceName(r) == name
}

// fences keeps which replicas are fenced, on disk and in memory. There is one note for
// each replica.
type fences struct {
	disk     vfs.FS
	dir      string
	log      *slog.Logger
	index    *index
	headroom *headroom
	halt     *halt

	writing sync.Mutex // held over operations on the files; index.mu and headroom.mu are taken under it

	mu     sync.Mutex        // taken after index.mu, never held over a disk operation
	of     map[Replica]Fence // guarded by mu; as they are on disk
	doomed []string          // guarded by mu; files of replicas that were removed
}

// Fences returns the fences of all replicas, in order, as they are on disk. A note that
// can't be read is among them, as of a comparison at no place. Any goroutine may ask; the
// parts are shared, and must not be changed.
func (s *Store) Fences() []Fence { return s.fences.all() }

// WriteFence replaces the fence of a replica, and is durable when it returns nil. Where
// there is no room it takes some of the headroom; if even that is used up, the error
// wraps [ErrFull], the note is as it was, and the caller asks again later. [ErrFence]
// and [ErrUnknown] do no harm either. Any other error is final for the Store. Any
// goroutine may call it.
func (s *Store) WriteFence(f Fence) error {
	if err := s.fences.write(f.bounded()); err != nil {
		return fmt.Errorf("note the fence of %s: %w", f.Replica, err)
	}
	return nil
}

// RemoveFence removes the fence of a replica, if there is one, durably. An error is final
// for the Store. Any goroutine may call it. The fence of a replica that is removed for
// good goes with it.
func (s *Store) RemoveFence(r Replica) error {
	if err := s.fences.remove(r); err != nil {
		return fmt.Errorf("remove the fence of %s: %w", r, err)
	}
	return nil
}

func (x *fences) all() []Fence {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.SortedFunc(maps.Values(x.of), func(a, b Fence) int { return compareReplicas(a.Replica, b.Replica) })
}

func (x *fences) write(f Fence) error {
	if err := f.check(); err != nil {
		return err
	}
	x.writing.Lock()
	defer x.writing.Unlock()
	if err := x.halt.err(); err != nil {
		return err
	}
	if !x.index.has(f.Replica) {
		return ErrUnknown
	}
	err := x.headroom.forFence(func() error {
		if err := x.disk.MkdirAll(x.dir); err != nil {
			return err
		}
		return replaceFile(x.disk, x.dir, fenceTemp, fenceName(f.Replica), f.append(nil))
	})
	if err != nil {
		if !errors.Is(err, ErrFull) {
			x.halt.because(err)
		}
		return err
	}
	// Under the index's lock, so that the replica can't be removed in between.
	x.index.mu.Lock()
	defer x.index.mu.Unlock()
	x.mu.Lock()
	defer x.mu.Unlock()
	if p := x.index.replicas[f.Replica]; p == nil || p.base == nil {
		x.doomed = append(x.doomed, path.Join(x.dir, fenceName(f.Replica)))
		return ErrUnknown
	}
	x.of[f.Replica] = f
	return nil
}

func (x *fences) remove(r Replica) error {
	x.writing.Lock()
	defer x.writing.Unlock()
	x.mu.Lock()
	_, there := x.of[r]
	x.mu.Unlock()
	if err := x.halt.err(); err != nil || !there {
		return err
	}
	err := x.disk.Remove(path.Join(x.dir, fenceName(r)))
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		err = x.disk.SyncDir(x.dir)
	}
	if err != nil {
		x.halt.because(err)
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.of, r)
	return nil
}

// forget dooms the fence of a replica that was removed. It is called with index.mu held.
// The next sweep removes the file.
func (x *fences) forget(r Replica) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if _, there := x.of[r]; there {
		delete(x.of, r)
		x.doomed = append(x.doomed, path.Join(x.dir, fenceName(r)))
	}
}

// sweep removes the files of replicas that were removed. One that comes back after a
// crash does no harm: the next Open removes it.
func (x *fences) sweep() error {
	x.mu.Lock()
	doomed := x.doomed
	x.doomed = nil
	x.mu.Unlock()
	var errs []error
	for _, name := range doomed {
		if err := x.disk.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// open reads the fences, and removes what is of no use: a file that was never finished,
// and the fences of replicas that were removed.
func (x *fences) open() error {
	names, err := x.list()
	if err != nil {
		return err
	}
	for _, name := range names {
		r, ok := parseFenceName(name)
		if name != fenceTemp && !(ok && x.index.graves[r.Group].covers(r)) {
			continue
		}
		if err := x.disk.Remove(path.Join(x.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := x.find(); err != nil || len(x.of) == 0 {
		return err
	}
	// A killed process may have renamed a file without syncing the directory, and this
	// one relies on what it has read.
	return x.disk.SyncDir(x.dir)
}

// find reads the fences and changes nothing on the disk.
func (x *fences) find() error {
	names, err := x.list()
	if err != nil {
		return err
	}
	for _, name := range names {
		r, ok := parseFenceName(name)
		file := path.Join(x.dir, name)
		switch {
		case ok && !x.index.graves[r.Group].covers(r):
			f, err := readFence(x.disk, file, r)
			if err != nil && bug("unreadable fence passed over") {
				continue
			}
			if err != nil {
				x.log.Error("fence can't be read: the replica counts as fenced", "replica", r, "file", file, "reason", err)
				f = unreadable(r, file, err)
			}
			x.of[r] = f
		case !ok && name != fenceTemp:
			x.log.Warn("unknown file among the fences", "file", file)
		}
	}
	return nil
}

// ReadFences returns the fences in a data directory, as [Store.Fences] does, but also those
// of replicas that were removed, as long as their files are there. It changes nothing.
func ReadFences(disk vfs.FS, dir string) ([]Fence, error) {
	x := fences{disk: disk, dir: path.Join(dir, FenceDir), log: slog.New(slog.DiscardHandler), index: &index{}, of: map[Replica]Fence{}}
	err := x.find()
	return x.all(), err
}

// list returns the names in the directory; none if there is no directory yet.
func (x *fences) list() ([]string, error) {
	names, err := listNames(x.disk, x.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return names, err
}

// unreadable is the fence of a replica whose file is there and of no use, whatever the
// reason: as if the others had found its state to differ, because then it is rebuilt from
// one of theirs.
func unreadable(r Replica, name string, err error) Fence {
	return Fence{Replica: r, Found: FenceByComparison, What: fmt.Sprintf("the note of its fence can't be read: %s: %v", name, err)}.bounded()
}

// readFence reads the fence of a replica.
func readFence(disk vfs.FS, name string, of Replica) (Fence, error) {
	file, err := openFile(disk, name)
	if err != nil {
		return Fence{}, err
	}
	defer file.Close()
	size, err := sizeOf(file)
	if err != nil {
		return Fence{}, err
	}
	b := make([]byte, min(size, fenceBytesMax+1))
	if _, err := ReadAt(file, b, 0); err != nil && err != io.EOF {
		return Fence{}, err
	}
	f, err := parseFence(b)
	if err == nil && f.Replica != of {
		err = fmt.Errorf("it is that of %s", f.Replica)
	}
	return f, err
}
