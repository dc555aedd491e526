package hints

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"

	"muster/logstore/vfs"
	"muster/raft"
)

// Dir is the directory of the hints, in the data directory.
const Dir = "hints"

const (
	// FileBytes is how large a file gets before the next one begins, if one hint is not larger.
	FileBytes = 16 << 20
	// SaysMax bounds what one hint says: more than a share of points and its head.
	SaysMax = 2 << 20
	// slackFiles and wasteTimes are how much more than what is needed the files have before something is written anew: so
	// many files, and so many times what is needed.
	slackFiles = 2
	wasteTimes = 2
	// moveBytesMax bounds what one Append writes anew, if one hint is not larger.
	moveBytesMax = 1 << 20

	sector       = 512 // no write touches one that was synced before
	headerSize   = 32
	recordHeader = 40
	unit         = 8 // each place of a record is a multiple of it, in bytes
	magic        = "musthint"
	format       = 1
	suffix       = ".hints"
	tempName     = "next.tmp"
)

type kind uint8

const (
	kindHint kind = 1
	kindDone kind = 2
)

var (
	// ErrUnknown is wrapped by the error about a hint that is not here.
	ErrUnknown = errors.New("no such hint")
	// ErrDamaged is wrapped by the error about a hint that can't be read as it was written.
	ErrDamaged = errors.New("damaged hint")
	// ErrStopped is wrapped by each error of Append after a sync that has failed, or after Close: the system may have dropped what it
	// could not write. A start reads what is there.
	ErrStopped = errors.New("hints stopped")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// These are planted to show that their tests find them.
const (
	bugUnsynced = "hint taken for durable before its sync"
	bugOrder    = "file of hints removed before older ones"
	bugSeed     = "record of hints without the seed of its place"
	bugTorn     = "torn end of hints kept"
	bugSpoilt   = "write of hints that failed left behind the next one"
)

// Hint is a hint as it is kept.
type Hint struct {
	Number uint64 // not 0
	Group  raft.GroupID
	Taken  int64 // ns since 1970 UTC
	Points uint64
	Size   int64 // bytes that it takes on the disk
}

// Put is a hint to keep.
type Put struct {
	Hint        // but for its Size
	Says []byte // at most SaysMax
}

// Size is how many bytes a hint takes that says so many.
func Size(says int) int64 { return roundUp(int64(recordHeader+says), unit) }

func roundUp(n, to int64) int64 { return (n + to - 1) / to * to }

// Damage is where bytes were found that are no record, and should be.
type Damage struct {
	File     string
	From, To int64 // bytes of it
}

func (d Damage) String() string {
	return fmt.Sprintf("%s: bytes %d to %d are no hints any more", d.File, d.From, d.To)
}

// Options says where the hints are and what they may use.
type Options struct {
	FS  vfs.FS
	Dir string // the data directory; the files are in its directory hints
	// Chance is random in a node, so that nobody can tell a salt; a test may leave it 0.
	Chance uint64
	// Leave returns how many bytes of the disk are for others. nil: none.
	Leave func() int64
	File  int64        // how large a file gets before the next one begins; 0: FileBytes
	Log   *slog.Logger // nil: none
}

// file is one that is on the disk.
type file struct {
	number uint64
	salt   uint64
	name   string // with its path
	f      vfs.File
	end    int64 // where the next write begins: at a sector
	spoilt bool  // a write that failed may have left something behind end
	live   int64 // bytes of hints that are needed
}

// place is where a hint stands.
type place struct {
	Hint
	file *file
	at   int64
}

// Store has the hints of one node. Any goroutine may use it.
type Store struct {
	// Set once.
	disk   vfs.FS
	dir    string
	chance uint64
	leave  func() int64
	log    *slog.Logger
	size   int64 // Options.File

	mu      sync.Mutex // held over operations of the disk
	files   []*file    // guarded by mu: by number, the last one is written to
	hints   map[uint64]place
	last    uint64 // guarded by mu: the highest number that any hint had
	live    int64  // guarded by mu: the sum over files
	damages []Damage
	halt    error // guarded by mu: why nothing more is written; nil: nothing
	buf     []byte
}

// All returns the hints, by number.
func (s *Store) All() (all []Hint) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range slices.Sorted(maps.Keys(s.hints)) {
		all = append(all, s.hints[n].Hint)
	}
	return all
}

// Last returns the highest number that a hint has, or had in the files that are here.
func (s *Store) Last() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// Halted returns why nothing is kept any more, which wraps [ErrStopped], or nil.
func (s *Store) Halted() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.halt
}

// Damages returns what the start has found damaged.
func (s *Store) Damages() []Damage { return s.damages }

// Used returns how many bytes the files take, and how many of them are needed.
func (s *Store) Used() (files, needed int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used(), s.live
}

func (s *Store) used() (n int64) {
	for _, f := range s.files {
		n += f.end
	}
	return n
}

// Append keeps hints, and forgets others, whose numbers need not be there. When it returns nil all of that is durable. An error that
// wraps [vfs.ErrFull] changes nothing and may pass; after one that wraps [ErrStopped] no later Append succeeds. After any
// error the hints may be found by the next start all the same, unless another Append was durable since.
func (s *Store) Append(puts []Put, done []uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.halt != nil {
		return s.halt
	}
	for i := range puts {
		if n := len(puts[i].Says); n > SaysMax || puts[i].Number == 0 {
			return fmt.Errorf("hint %d of %d bytes; want a number above 0, and at most %d bytes", puts[i].Number, n, SaysMax)
		}
	}
	moved := s.moves()
	if err := s.write(moved, puts, done); err != nil {
		return err
	}
	return s.sweep()
}

// write writes records behind the last one, and lets them take effect once they are durable.
func (s *Store) write(moved, puts []Put, done []uint64) error {
	if err := s.roll(); err != nil {
		return err
	}
	f := s.files[len(s.files)-1]
	s.buf = s.buf[:0]
	var places []place
	for _, list := range [...][]Put{moved, puts} {
		for i := range list {
			p := &list[i]
			at := f.end + int64(len(s.buf))
			s.buf = f.appendRecord(s.buf, kindHint, p)
			p.Size = Size(len(p.Says))
			places = append(places, place{p.Hint, f, at})
		}
	}
	for _, n := range done {
		s.buf = f.appendRecord(s.buf, kindDone, &Put{Hint: Hint{Number: n}})
	}
	s.buf = append(s.buf, make([]byte, roundUp(int64(len(s.buf)), sector)-int64(len(s.buf)))...)
	if err := s.room(int64(len(s.buf))); err != nil {
		return err
	}
	if err := f.cut(); err != nil {
		return err
	}
	if _, err := f.f.WriteAt(s.buf, f.end); err != nil {
		f.spoilt = true
		return fmt.Errorf("write to %s: %w", f.name, err)
	}
	if !bug(bugUnsynced) {
		if err := f.f.Sync(); err != nil {
			s.halt = fmt.Errorf("%w: sync %s: %w", ErrStopped, f.name, err)
			return s.halt
		}
	}
	f.end += int64(len(s.buf))
	for _, p := range places {
		s.take(p)
	}
	for _, n := range done {
		s.forget(n)
	}
	return nil
}

// take lets a hint take effect that is on the disk, in the place of one of that number.
func (s *Store) take(p place) {
	s.forget(p.Number)
	s.hints[p.Number] = p
	s.last = max(s.last, p.Number)
	p.file.live += p.Size
	s.live += p.Size
}

func (s *Store) forget(n uint64) {
	s.last = max(s.last, n)
	if p, ok := s.hints[n]; ok {
		delete(s.hints, n)
		p.file.live -= p.Size
		s.live -= p.Size
	}
}

// room returns an error unless the disk has so many bytes besides what it has for others.
func (s *Store) room(bytes int64) error {
	if s.leave == nil {
		return nil
	}
	return vfs.Room(s.disk, s.dir, "hints", bytes, s.leave())
}

// roll begins the next file if the last one is as large as it gets.
func (s *Store) roll() error {
	if n := len(s.files); n > 0 && s.files[n-1].end < s.size {
		return nil
	}
	number := uint64(1)
	if n := len(s.files); n > 0 {
		last := s.files[n-1]
		// Here its end has to be durable by itself: what a start finds behind it would be damage, since a later file is there.
		if err := last.cut(); err != nil {
			return err
		}
		if err := last.f.Sync(); err != nil {
			s.halt = fmt.Errorf("%w: sync %s: %w", ErrStopped, last.name, err)
			return s.halt
		}
		number = last.number + 1
	}
	f, err := s.create(number)
	if err != nil {
		return fmt.Errorf("begin the next file of hints: %w", err)
	}
	s.files = append(s.files, f)
	return nil
}

// cut takes away what a write that failed may have left behind the end. Its records may be whole, and stand where a shorter write
// ends that overwrites its beginning: a start would take them for newer than what that write forgets. The sync of the next write makes
// the cut durable together with it, and before that nobody was told of either.
func (f *file) cut() error {
	if !f.spoilt || bug(bugSpoilt) {
		return nil
	}
	if err := f.f.Truncate(f.end); err != nil {
		return fmt.Errorf("cut %s off at byte %d, behind which a write has failed: %w", f.name, f.end, err)
	}
	f.spoilt = false
	return nil
}

// create makes a file, whose name is durable when it returns.
func (s *Store) create(number uint64) (*file, error) {
	s.chance = s.chance*6364136223846793005 + 1442695040888963407
	f := &file{number: number, salt: s.chance, name: path.Join(s.dir, fmt.Sprintf("%016d%s", number, suffix)), end: sector}
	temp := path.Join(s.dir, tempName)
	var err error
	if f.f, err = s.disk.Create(temp); err != nil {
		return nil, err
	}
	if _, err = f.f.WriteAt(f.header(), 0); err == nil {
		err = f.f.Sync()
	}
	if err == nil {
		err = s.disk.Rename(temp, f.name)
	}
	if err == nil {
		err = s.disk.SyncDir(s.dir)
	}
	if err != nil {
		return nil, errors.Join(err, f.f.Close())
	}
	return f, nil
}

func (f *file) header() []byte {
	b := make([]byte, sector)
	copy(b, magic)
	binary.LittleEndian.PutUint32(b[8:], format)
	binary.LittleEndian.PutUint64(b[16:], f.number)
	binary.LittleEndian.PutUint64(b[24:], f.salt)
	binary.LittleEndian.PutUint32(b[12:], headerSum(b))
	return b
}

func headerSum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:12], castagnoli), castagnoli, b[16:headerSize])
}

// seed is where the checksum of a record begins that stands at a place.
func (f *file) seed(at int64) uint32 {
	if bug(bugSeed) {
		return 0
	}
	var b [24]byte
	binary.LittleEndian.PutUint64(b[:], f.salt)
	binary.LittleEndian.PutUint64(b[8:], f.number)
	binary.LittleEndian.PutUint64(b[16:], uint64(at))
	return crc32.Checksum(b[:], castagnoli)
}

// appendRecord appends a record to b, which is written where the file ends.
func (f *file) appendRecord(b []byte, k kind, p *Put) []byte {
	from := len(b)
	b = append(b, make([]byte, Size(len(p.Says)))...)
	r := b[from:]
	binary.LittleEndian.PutUint32(r[4:], uint32(len(p.Says)))
	r[8] = byte(k)
	binary.LittleEndian.PutUint16(r[10:], uint16(p.Group))
	binary.LittleEndian.PutUint32(r[12:], uint32(f.end/sector))
	binary.LittleEndian.PutUint64(r[16:], p.Number)
	binary.LittleEndian.PutUint64(r[24:], uint64(p.Taken))
	binary.LittleEndian.PutUint64(r[32:], p.Points)
	copy(r[recordHeader:], p.Says)
	binary.LittleEndian.PutUint32(r, crc32.Update(f.seed(f.end+int64(from)), castagnoli, r[4:]))
	return b
}

// record is what a file has at a place.
type record struct {
	kind kind
	Hint
	says  []byte // aliases the file's bytes
	at    int64
	write int64 // where the write begins that it is of: all before that was durable
}

// readRecord reads the record that b begins with, and which stands at a place.
func (f *file) readRecord(b []byte, at int64) (r record, ok bool) {
	if len(b) < recordHeader {
		return r, false
	}
	n := binary.LittleEndian.Uint32(b[4:])
	if n > SaysMax || Size(int(n)) > int64(len(b)) {
		return r, false
	}
	size := Size(int(n))
	if crc32.Update(f.seed(at), castagnoli, b[4:size]) != binary.LittleEndian.Uint32(b) {
		return r, false
	}
	r.kind, r.Group, r.Number = kind(b[8]), raft.GroupID(binary.LittleEndian.Uint16(b[10:])), binary.LittleEndian.Uint64(b[16:])
	r.Taken, r.Points, r.Size = int64(binary.LittleEndian.Uint64(b[24:])), binary.LittleEndian.Uint64(b[32:]), size
	r.says, r.at, r.write = b[recordHeader:recordHeader+int(n)], at, int64(binary.LittleEndian.Uint32(b[12:]))*sector
	return r, r.kind == kindHint || r.kind == kindDone
}

// Read returns what a hint says. The error wraps [ErrUnknown], or [ErrDamaged] if that is lost; any other one is the disk's, and may
// pass.
func (s *Store) Read(number uint64) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.hints[number]
	if !ok {
		return nil, fmt.Errorf("hint %d: %w", number, ErrUnknown)
	}
	return s.read(p)
}

func (s *Store) read(p place) ([]byte, error) {
	b := make([]byte, p.Size)
	if _, err := p.file.f.ReadAt(b, p.at); errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("hint %d at byte %d of %s: the file ends before it does: %w", p.Number, p.at, p.file.name, ErrDamaged)
	} else if err != nil {
		return nil, fmt.Errorf("read hint %d at byte %d of %s: %w", p.Number, p.at, p.file.name, err)
	}
	r, ok := p.file.readRecord(b, p.at)
	if !ok || r.Number != p.Number || r.kind != kindHint {
		return nil, fmt.Errorf("hint %d at byte %d of %s: %w", p.Number, p.at, p.file.name, ErrDamaged)
	}
	return r.says, nil
}

// moves returns hints of the oldest file that are to be written anew, if the files have much more than what is needed.
func (s *Store) moves() (moved []Put) {
	if len(s.files) < 2 || s.used() <= wasteTimes*s.live+slackFiles*s.size {
		return nil
	}
	oldest, left := s.files[0], int64(moveBytesMax)
	var in []place
	for _, p := range s.hints {
		if p.file == oldest {
			in = append(in, p)
		}
	}
	slices.SortFunc(in, func(a, b place) int { return cmp.Compare(a.at, b.at) })
	for _, p := range in {
		if left -= p.Size; left < 0 && len(moved) > 0 {
			break
		}
		says, err := s.read(p)
		if err != nil {
			s.log.Error("hint stays where it is", "err", err)
			continue // it pins its file until it is forgotten: whoever brings it to its group finds that it can't be read
		}
		moved = append(moved, Put{p.Hint, says})
	}
	return moved
}

// sweep removes the oldest files, as long as nothing of them is needed.
func (s *Store) sweep() error {
	removed := false
	for len(s.files) > 1 {
		i := 0
		if bug(bugOrder) {
			i = max(0, slices.IndexFunc(s.files[:len(s.files)-1], func(f *file) bool { return f.live == 0 }))
		}
		f := s.files[i]
		if f.live > 0 {
			break
		}
		if err := s.disk.Remove(f.name); err != nil {
			s.log.Warn("file of hints stays", "file", f.name, "err", err)
			break // the next Append tries it again
		}
		_ = f.f.Close() // nothing of it is needed
		s.files = slices.Delete(s.files, i, i+1)
		removed = true
	}
	if !removed {
		return nil
	}
	// Until the names are durable a crash brings files back, the newer ones among them: so none is removed after one that may come back.
	if err := s.disk.SyncDir(s.dir); err != nil {
		s.halt = fmt.Errorf("%w: sync %s: %w", ErrStopped, s.dir, err)
		s.log.Error("hints stopped", "err", s.halt)
	}
	return nil // what was appended is durable
}

// Close gives back the files. All that was appended is durable already.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(s.halt, errClosed) {
		return nil
	}
	s.halt = fmt.Errorf("%w: %w", ErrStopped, errClosed)
	var errs []error
	for _, f := range s.files {
		errs = append(errs, f.f.Close())
	}
	return errors.Join(errs...)
}

var errClosed = errors.New("they were closed")

// numberOf returns the number that the name of a file says.
func numberOf(name string) (n uint64, ok bool) {
	digits, ok := strings.CutSuffix(name, suffix)
	if !ok || len(digits) != 16 {
		return 0, false
	}
	for _, d := range digits {
		if d < '0' || d > '9' {
			return 0, false
		}
		n = 10*n + uint64(d-'0')
	}
	return n, n > 0
}
