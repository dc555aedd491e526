package logstore

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"muster/logstore/vfs"
)

// Life names one start of a node. Peers count only what the newest life of a
// node said.
type Life struct {
	Number uint64 // counts the starts, and may jump: it acts as a ballot
	Mark   uint64 // random, never 0: two lives of one number, of a copied directory, differ in it
}

func (l Life) String() string { return fmt.Sprintf("%d (mark %016x)", l.Number, l.Mark) }

// Batch orders the batches of one log: a later one is larger, over segments and
// lives, even where batches between them were lost. 0 is before the first.
type Batch uint64

// Link is one life in the chain of a directory.
type Link struct {
	Life
	Last Batch // the last in the log when the life began: all that it had of the lives before
}

// Doubt is why the directory may be from an earlier moment than the last promise of its
// node. It is durable and never final: a node in doubt hears all others before it
// promises anything, and so learns all that it may have forgotten.
type Doubt struct {
	Why string // one line of at most [DoubtBytesMax] bytes; empty: no doubt
	// Proven: another node remembers more than is here. Otherwise it only looks so from
	// here, as it does after a whole cluster was copied to new disks.
	Proven bool
}

// The lines of the identity that have a doubt.
const (
	doubtSuspected = "doubt"
	doubtProven    = "older"
)

// None reports whether there is no doubt.
func (d Doubt) None() bool { return d.Why == "" }

func (d Doubt) kind() string {
	if d.Proven {
		return doubtProven
	}
	return doubtSuspected
}

// LivesMax bounds the chain: a peer that missed more starts of this node than that no
// longer finds the life that it knew, which is a doubt.
const LivesMax = 64

// home keeps the node's identity while a life lasts, and with it what tells that the
// directory is the newest: the witness and the file of the last stop.
type home struct {
	disk     vfs.FS
	dir      string // the data directory
	log      *slog.Logger
	halt     *halt
	index    *index
	gauge    *gauge
	headroom *headroom
	room     *room
	writer   *writer

	live atomic.Bool // a life has begun

	mu    sync.Mutex // held over operations on the identity's file; index.mu and headroom.mu are taken under it
	begun bool       // guarded by mu
	id    Identity   // guarded by mu; as it is on disk

	present Witness  // guarded by mu; the witness that is on disk, zero if none can be read
	turns   uint64   // guarded by mu; witnesses of this life
	file    vfs.File // guarded by mu; the witness of this life, nil if there is none
	lineAt  int64    // guarded by mu; where the witness says how far the log was
	reached Reached  // guarded by mu; what it says there
	line    []byte   // guarded by mu; scratch

	found    Batch // set by Open: the last in the log
	promised Batch // owned by the goroutine of Append: the last that says more than where the one before it ends; 0: none in this life
	due      Batch // owned by the goroutine of Append: at this batch the witness records how far the log is, unless the log rests before
}

// ErrLife: a life can't begin or continue like this.
var ErrLife = errors.New("bad life")

// Life returns the newest life of the directory, zero before the first.
func (id *Identity) Life() Life {
	if n := len(id.Chain); n > 0 {
		return id.Chain[n-1].Life
	}
	return Life{}
}

// Begin returns the identity with a new life at the end of its chain. Its number
// is one more than the newest, or atLeast if that is more. It writes nothing:
// a node that has no log yet writes it with [WriteIdentity], any other calls
// [BeginLife].
func (id Identity) Begin(atLeast, mark uint64, last Batch) (Identity, error) {
	newest := id.Life().Number
	switch {
	case mark == 0:
		return id, fmt.Errorf("%w: its mark is 0", ErrLife)
	case newest+1 == 0:
		return id, fmt.Errorf("%w: no number is left after %d", ErrLife, newest)
	}
	from := max(0, len(id.Chain)-LivesMax+1)
	chain := make([]Link, 0, len(id.Chain)-from+1)
	chain = append(chain, id.Chain[from:]...)
	id.Chain = append(chain, Link{Life{max(newest+1, atLeast), mark}, last})
	return id, nil
}

// BeginLife begins a life of the node whose log s is. Each start calls it once,
// after [Open] and before anything is promised; until it has returned, nothing may
// rely on the identity that was read at the start. It syncs the end of the log, and
// compares witness and log with what the identity knows of them, which may set or lift
// [Identity.Doubt]. Then it writes the identity with a new link, whose number is at
// least atLeast, and returns it. If the newest life has the mark already, because it
// began while the node had no log yet, that life continues.
//
// From then on the identity belongs to s: only [ChangeIdentity] and [TakeNumber]
// change it.
func BeginLife(s *Store, id Identity, atLeast, mark uint64) (Identity, error) {
	if err := s.halt.err(); err != nil {
		return id, err
	}
	h := &s.home
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.begun {
		return h.id, fmt.Errorf("%w: one has begun", ErrLife)
	}
	next, err := s.beginLife(id, atLeast, mark)
	if err != nil {
		return id, fmt.Errorf("begin a life: %w", err)
	}
	h.begun = true
	h.live.Store(true)
	return next, nil
}

// beginLife is called with home.mu held.
func (s *Store) beginLife(id Identity, atLeast, mark uint64) (Identity, error) {
	h := &s.home
	if err := h.forgetDropped(&id); err != nil {
		return id, s.stop(err)
	}
	if err := s.reclaimer.settleRecovery(); err != nil {
		return id, s.stop(err)
	}
	// Names that a killed process gave to files may not be durable yet, and the identity
	// is about to rely on them.
	if err := h.disk.SyncDir(h.dir); err != nil {
		return id, s.stop(err)
	}
	// Before the new link: witness and log are compared with what the last life recorded.
	next := id
	if err := h.judge(&next); err != nil {
		return id, err
	}
	// The log may grow from now on, so the clean stop no longer says where it ends.
	next.Stopped = 0
	if id.Life().Mark != mark {
		var err error
		if next, err = next.Begin(atLeast, mark, s.SyncedBatch()); err != nil {
			return id, err
		}
	}
	if !next.Doubt.None() {
		s.log.Warn("this life may be older than the node's newest", "why", next.Doubt.Why, "remedy", DoubtRemedy)
	}
	if err := h.noteFiles(&next); err != nil {
		return id, s.stop(err)
	}
	err := h.turn(next)
	return h.id, err
}

// forgetDropped takes out of the identity a prepared segment that is not there any more:
// recovery drops one that was never used and can't be read. Its number is given again, and
// the file that gets it must not be taken for one that was put back, not even if this start
// fails before the identity knows the new one.
func (h *home) forgetDropped(id *Identity) error {
	n := len(h.index.segments)
	if n == 0 {
		return nil
	}
	last, kept := h.index.segments[n-1].number, []SegmentFile(nil)
	for i, f := range id.Segments {
		if i == 0 || f.Number <= last { // the first was in use
			kept = append(kept, f)
		}
	}
	if len(kept) == len(id.Segments) {
		return nil
	}
	id.Segments = kept
	if err := h.write(*id); !errors.Is(err, ErrFull) {
		return err
	}
	return nil
}

// write replaces the identity. It is called with mu held.
func (h *home) write(next Identity) error {
	err := h.headroom.forIdentity(func() error { return replaceIdentity(h.disk, h.dir, next) })
	if err == nil {
		h.id = next
	} else if !errors.Is(err, ErrFull) {
		h.halt.because(err)
	}
	return err
}

// TakeNumber makes the life continue under a higher number, at least atLeast, which
// is on disk when it returns: peers have heard of a life with a number that is no
// less than this one's. The mark stays, and so does the last batch of its link: a
// later one would hide from them what the life lacked when it began. The chain does
// not grow. Any goroutine may call it.
func TakeNumber(s *Store, atLeast uint64) (Identity, error) {
	return ChangeIdentity(s, func(id *Identity) {
		chain := append([]Link(nil), id.Chain...)
		newest := &chain[len(chain)-1]
		newest.Number = max(newest.Number+1, atLeast)
		id.Chain = chain
	})
}

// ChangeIdentity changes the identity once a life has begun, and returns it as it
// then is on disk. change must replace slices rather than change them in place, because
// others share them. An error other than [ErrFull] ends the log. Any goroutine may call
// it.
func ChangeIdentity(s *Store, change func(*Identity)) (Identity, error) {
	h := &s.home
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.begun {
		return h.id, fmt.Errorf("change the identity: %w: none has begun", ErrLife)
	}
	err := s.halt.err()
	if err != nil {
		return h.id, err
	}
	next := h.id
	change(&next)
	if next.Doubt != h.id.Doubt {
		next.Missed = nil // another doubt is not lifted by the witness
	}
	if next.Doubt.None() && !h.id.Doubt.None() && h.present.Mark != 0 {
		// The witness that is there is this life's from now on. A full disk may have kept
		// the start from making one, and the one that the doubt missed is still noted: the
		// next start would doubt again.
		next.Witness, next.NextWitness = h.present, Witness{}
	}
	err = h.write(next)
	return h.id, err
}

// IdentityOf returns the identity of the life that has begun, as it is on disk,
// and false if none has. Any goroutine may call it.
func IdentityOf(s *Store) (Identity, bool) {
	s.home.mu.Lock()
	defer s.home.mu.Unlock()
	return s.home.id, s.home.begun
}

// SyncedBatch returns the last batch that is known to be durable. It takes no
// lock. Any goroutine may call it.
func (s *Store) SyncedBatch() Batch { return Batch(s.writer.durable.Load()) }
