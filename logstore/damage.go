package logstore

import (
	"fmt"
	"maps"
	"slices"
)

// Damage is what is wrong with the log, and where. It wraps [ErrDamaged].
type Damage struct {
	File   string
	Offset int64  // of the batch or the record
	Record string // what was there, as far as that can be told
	Reason string
	// Refused: the disk does not return what is there, and nothing else is known to
	// be wrong with it. If the disk returns it later, the damage is over.
	Refused bool
}

func (d *Damage) Error() string {
	return fmt.Sprintf("%s at offset %d: %s: %s", d.what(), d.Offset, d.Record, d.Reason)
}

// what names the file, and reports whether it is damaged or can't be read.
func (d *Damage) what() string {
	if d.Refused {
		return d.File + " can't be read"
	}
	return d.File + " is damaged"
}

// Unwrap makes every Damage an [ErrDamaged], and one that is refused an
// [ErrRefused] too.
func (d *Damage) Unwrap() []error {
	if d.Refused {
		return []error{ErrDamaged, ErrRefused}
	}
	return []error{ErrDamaged}
}

// Span is some consecutive entries of one term.
type Span struct{ First, Last, Term uint64 }

func (s Span) String() string { return fmt.Sprintf("%d to %d of term %d", s.First, s.Last, s.Term) }

// Damaged is what a replica lost to its disk. It must not vote, acknowledge or
// campaign until nothing of it is left: it may have promised what it lost.
type Damaged struct {
	// Replica is the one that lost it. The zero Replica stands for all replicas of
	// the node, including those that the log does not name: something was lost, and
	// nobody can tell whose it was.
	Replica Replica
	// Lost are entries that the log held and that can't be read, in order.
	// Their ids are known. [Write.Mended] gives them back; entries that are
	// truncated, compacted or replaced are no longer lost.
	Lost []Span
	// Promises: the term, the vote or the base is lost, or something unknown.
	// Nothing gives that back; only a new replica id helps.
	Promises bool
	// State: the log begins after an index that no intact snapshot reaches.
	State bool
	// Where is the first place that is damaged.
	Where Damage
}

// Err is the damage as an error.
func (d *Damaged) Err() error {
	what := "what it lost can be mended"
	switch {
	case d.Promises && d.Replica == Replica{}:
		return fmt.Errorf("the log lost what can't be known, of any replica of the node: %w", &d.Where)
	case d.Promises:
		what = "it lost what it promised"
	case len(d.Lost) > 0:
		what = fmt.Sprintf("it lost entries %s", d.Lost[0])
		if n := len(d.Lost) - 1; n > 0 {
			what += fmt.Sprintf(" and %d spans more", n)
		}
	case d.State:
		what = "it has no intact snapshot"
	}
	return fmt.Errorf("%s: %s: %w", d.Replica, what, &d.Where)
}

// Damaged returns the replicas that lost something, in order. Any goroutine may call
// it.
func (s *Store) Damaged() []Damaged {
	s.index.mu.Lock()
	defer s.index.mu.Unlock()
	var all []Damaged
	if s.index.unknown.size > 0 {
		all = append(all, Damaged{Promises: true, Where: s.index.unknownIs})
	}
	for _, id := range slices.SortedFunc(maps.Keys(s.index.replicas), compareReplicas) {
		if d, ok := s.snapshots.damageOf(id); ok {
			all = append(all, d)
		}
	}
	return all
}

// damageOf returns what a replica lost of its log, and whether its state is gone. It is
// called with index.mu held.
func (s *snapshots) damageOf(id Replica) (Damaged, bool) {
	d, lost := s.faults.lossOf(id)
	p := s.index.replicas[id]
	if p == nil {
		return d, lost
	}
	where, gone := s.stateLost(p)
	if d.State = gone; gone && !lost {
		d.Where = where
	}
	return d, lost || gone
}

// DamageOf returns what one replica lost. If something was lost and nobody can tell
// whose it was, every replica counts as damaged, even one that the log does not name:
// it may have been there. Any goroutine may call it.
func (s *Store) DamageOf(id Replica) (Damaged, bool) {
	s.index.mu.Lock()
	defer s.index.mu.Unlock()
	return s.snapshots.damageOf(id)
}
