package blocks

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"muster/logstore/vfs"
	"muster/raft"
	"muster/shardmap/points/block"
)

// Dir is the directory of the block files, in the data directory.
const Dir = "points"

// Limits of a [Store].
const (
	// FileMax bounds a file, in bytes: at 100 MB/s it is fetched in less than three minutes.
	FileMax = 16 << 30
	// UnfinishedMax bounds the files that are being written or received at a time. Each has a buffer of 1 MiB.
	UnfinishedMax = 16
	// OpenMax bounds the files that are open for reading, each with a descriptor and its directory in memory. At
	// most IdleMax of them are files that nobody reads. The scrub has one more.
	OpenMax, IdleMax = 512, 64
	// KeysMax bounds the keys of series that are kept unpacked of all files together, in bytes: a million or so. Queries
	// find the series of a measurement by them.
	KeysMax = 64 << 20
	// AsideMax is how many damaged files stay for a person, of all groups together, once a whole file has replaced each.
	AsideMax = 4
	// refusedLooks is after how many looks in a row, each of as many tries as package logstore has, a file counts as
	// damaged whose bytes the disk refuses. The owner decides how much time passes between two.
	refusedLooks = 3
)

var (
	// ErrUnknown is wrapped by the error about a file that is not here.
	ErrUnknown = errors.New("no such block file")
	// ErrBusy is wrapped by the error about one file more than [OpenMax] or [UnfinishedMax] allow. A later try may
	// succeed, once others are closed.
	ErrBusy = errors.New("too many block files are open")
	// ErrContent is wrapped by the error about a file that is not what its name says, before it gets the name.
	ErrContent = errors.New("not the block file of that name")
	// ErrStopped is wrapped by each error after a directory could not be synced, or after Close.
	ErrStopped = errors.New("block files stopped")
)

// Group is whose files a folder has. The number of a group alone is not enough: a group that is made anew has other
// points.
type Group struct {
	ID          raft.GroupID
	Incarnation raft.Incarnation
}

func (g Group) String() string { return fmt.Sprintf("%s incarnation %d", g.ID, uint64(g.Incarnation)) }

// folder is the name of its folder.
func (g Group) folder() string { return fmt.Sprintf("%s-i%d", g.ID, uint64(g.Incarnation)) }

// parseFolder reads what folder returns.
func parseFolder(name string) (g Group, ok bool) {
	if _, err := fmt.Sscanf(name, "g%d-i%d", &g.ID, &g.Incarnation); err != nil || g.ID > raft.GroupMax {
		return Group{}, false
	}
	return g, g.folder() == name
}

func compareGroups(a, b Group) int {
	return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Incarnation, b.Incarnation))
}

// File is a block file of a group.
type File struct {
	Group Group
	Sum   block.Sum
	Size  int64 // in bytes
}

func (f File) String() string { return fmt.Sprintf("block file %.16s… of %s", f.Sum, f.Group) }

func compareFiles(a, b File) int {
	return cmp.Or(compareGroups(a.Group, b.Group), bytes.Compare(a.Sum[:], b.Sum[:]))
}

// Options says where the files are and what they may use.
type Options struct {
	FS  vfs.FS
	Dir string // the data directory; the files are in its directory points
	// Leave returns how many bytes of the disk are for others: what [logstore.LeaveFree] returns of the node's log. Any
	// goroutine may call it. nil: none.
	Leave func() int64
	// Begin, if not nil, is called before the first file of this Store is begun, until it returns nil: a directory with
	// block files may have to say so elsewhere first. One goroutine at a time calls it.
	Begin func() error
	// Piece is how much of a file is written and synced at once, in bytes; 0: 1 MiB. A test may tell the same with small files.
	Piece int
	Log   *slog.Logger // nil: none
}

// Store has the block files of one node. Any goroutine may use it, where a method says nothing else.
type Store struct {
	disk  vfs.FS
	tree  tree
	leave func() int64
	first beginning
	log   *slog.Logger
	keys  *block.Keys
	piece int // Options.Piece

	halt atomic.Pointer[error] // why nothing more is written; nil: nothing
	look int                   // owned by the goroutine of LookAgain: whose turn it is
	walk scrub                 // owned by the goroutine of Scrub

	naming sync.Mutex // held over operations of the disk that change names

	mu         sync.Mutex // taken under naming, never held over an operation of the disk
	files      map[Group]map[block.Sum]*entry
	aside      asides
	doomed     []string // temporary files that could not be removed yet
	temp       uint64   // number of the last temporary file
	unfinished int
	shared     shared
}

// tree is where files are: the data directory.
type tree string

func (t tree) folder(g Group) string { return path.Join(string(t), Dir, g.folder()) }

func (t tree) file(f *File) string { return path.Join(t.folder(f.Group), f.Sum.Name()) }

func (t tree) aside(a putAside) string {
	return path.Join(t.folder(a.group), fmt.Sprintf("%016d-%s%s", a.number, a.sum, asideSuffix))
}

func (t tree) temp(g Group, number uint64) string {
	return path.Join(t.folder(g), strconv.FormatUint(number, 10)+tempSuffix)
}

// entry is a file that is here, or was until it was found damaged.
type entry struct {
	File
	damage *Damaged // what is wrong with it, or what the disk has refused too often; nil: nothing known
	// refused is what the disk refuses of it, and looks how often in a row; nil: nothing.
	refused *refusal
	looks   int
	opened  *opened // nil: it is not open
}

// Stats are figures of a [Store].
type Stats struct {
	Files      int   // that are here and not known to be damaged
	Bytes      int64 // of them
	Damaged    int   // known in this life and not yet replaced
	Refused    int   // files of which the disk refuses something
	Aside      int   // damaged files that were put aside
	Unfinished int   // that are being written or received
	Open       int   // for reading
}

// Stats returns the figures.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := Stats{Aside: len(s.aside), Unfinished: s.unfinished, Open: s.shared.open}
	for _, of := range s.files {
		for _, e := range of {
			if e.refused != nil {
				n.Refused++
			}
			if e.damage != nil {
				n.Damaged++
				continue
			}
			n.Files++
			n.Bytes += e.Size
		}
	}
	return n
}

// Groups returns the groups that have files, in order.
func (s *Store) Groups() []Group {
	s.mu.Lock()
	defer s.mu.Unlock()
	var groups []Group
	for g, of := range s.files {
		if len(of) > 0 {
			groups = append(groups, g)
		}
	}
	slices.SortFunc(groups, compareGroups)
	return groups
}

// List returns the files of a group that are here and not known to be damaged, by their sums. It asks no disk.
func (s *Store) List(g Group) []File {
	s.mu.Lock()
	defer s.mu.Unlock()
	var files []File
	for _, e := range s.files[g] {
		if e.damage == nil {
			files = append(files, e.File)
		}
	}
	slices.SortFunc(files, compareFiles)
	return files
}

// Missing returns which of the named files of a group are not here, whole as far as is known, with durable names. A
// snapshot may list files only if none of them is missing. It asks no disk.
func (s *Store) Missing(g Group, sums []block.Sum) []block.Sum {
	s.mu.Lock()
	defer s.mu.Unlock()
	var missing []block.Sum
	for _, sum := range sums {
		if e := s.files[g][sum]; e == nil || e.damage != nil {
			missing = append(missing, sum)
		}
	}
	return missing
}

// Close ends the Store, and closes the files that nobody reads. A Writer or a Receiver that is under way fails from
// then on; a [Reader] can be read until it is closed.
func (s *Store) Close() error {
	s.stop(errors.New("closed"))
	s.sweep()
	s.mu.Lock()
	idle := s.shared.evict(0, 0)
	s.mu.Unlock()
	return errors.Join(s.walk.end(), closeAll(idle))
}

// stop makes err the end of all writing, unless something else is already.
func (s *Store) stop(err error) {
	err = fmt.Errorf("%w: %w", ErrStopped, err)
	s.halt.CompareAndSwap(nil, &err)
}

// Stopped returns why nothing more is written, which wraps [ErrStopped], or nil.
func (s *Store) Stopped() error {
	if err := s.halt.Load(); err != nil {
		return *err
	}
	return nil
}

// add is called with mu held.
func (s *Store) add(e *entry) {
	if s.files[e.Group] == nil {
		s.files[e.Group] = map[block.Sum]*entry{}
	}
	s.files[e.Group][e.Sum] = e
}

// current is called with mu held. It reports whether e is what the Store has under its name.
func (s *Store) current(e *entry) bool { return s.files[e.Group][e.Sum] == e }

// drop takes entries out, after which they can't be opened any more, and returns the idle files of them, to be closed.
// It is called with mu held.
func (s *Store) drop(entries ...*entry) (idle []*opened) {
	for _, e := range entries {
		if s.current(e) {
			delete(s.files[e.Group], e.Sum)
		}
		if len(s.files[e.Group]) == 0 {
			delete(s.files, e.Group)
		}
		s.keys.Forget(e.Sum)
		idle = append(idle, s.shared.detach(e)...)
	}
	return idle
}

// Remove removes files of a group, whole or damaged, since the group needs none of that sum any more. A file can be read
// to the end by those that have it open. One that is not here is no error. A crash may bring a file back.
func (s *Store) Remove(g Group, sums ...block.Sum) error {
	s.naming.Lock()
	defer s.naming.Unlock()
	var gone []*entry
	s.mu.Lock()
	for _, sum := range sums {
		s.aside.replaced(g, sum)
		if e := s.files[g][sum]; e != nil {
			gone = append(gone, e)
		}
	}
	idle := s.drop(gone...)
	s.mu.Unlock()
	closeAll(idle)
	var errs []error
	for _, e := range gone {
		if e.isAside() {
			continue // its name is free already
		}
		if err := s.disk.Remove(s.tree.file(&e.File)); err != nil && !isAbsent(err) {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(append(errs, s.trim(AsideMax))...); err != nil {
		return fmt.Errorf("remove block files of %s: %w", g, err)
	}
	return nil
}

// RemoveGroup removes all files of a group and its folder, even those that were put aside. Nothing of the group may be
// under way. After a crash the group may be there again.
func (s *Store) RemoveGroup(g Group) error {
	s.naming.Lock()
	defer s.naming.Unlock()
	s.mu.Lock()
	var gone []*entry
	for _, e := range s.files[g] {
		gone = append(gone, e)
	}
	idle := s.drop(gone...)
	s.aside = slices.DeleteFunc(s.aside, func(a putAside) bool { return a.group == g })
	s.mu.Unlock()
	closeAll(idle)
	if err := clearFolder(s.disk, s.tree.folder(g)); err != nil {
		return fmt.Errorf("remove the block files of %s: %w", g, err)
	}
	return nil
}

// clearFolder removes a folder with all that this package puts there. A folder with something else in it stays.
func clearFolder(disk vfs.FS, dir string) error {
	names, err := listNames(disk, dir)
	if isAbsent(err) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		if kindOf(name) == kindOther {
			errs = append(errs, fmt.Errorf("%s is not of this kind and stays: see what put it there", path.Join(dir, name)))
		} else if err := disk.Remove(path.Join(dir, name)); err != nil && !isAbsent(err) {
			errs = append(errs, err)
		}
	}
	if len(errs) == 0 {
		errs = append(errs, disk.Remove(dir))
	}
	return errors.Join(errs...)
}

// nameKind is what a name in a folder is of.
type nameKind int

const (
	kindOther nameKind = iota
	kindFile
	kindTemporary
	kindAside
)

const (
	tempSuffix  = ".tmp"
	asideSuffix = ".damaged"
)

func kindOf(name string) nameKind {
	if _, ok := block.ParseName(name); ok {
		return kindFile
	}
	if strings.HasSuffix(name, tempSuffix) {
		return kindTemporary
	}
	if _, _, ok := parseAside(name); ok {
		return kindAside
	}
	return kindOther
}
