package logstore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"muster/logstore/vfs"
)

// A read that the disk refuses proves nothing. The bytes may be there: a cable
// was loose, a controller busy, a sector comes back at the tenth attempt, the process
// had no descriptor left. So one rule holds for all reads of the disk: at a start, for
// a follower, by the scrub, for a segment that is to be freed.
//
//  1. The read is tried readTries times, one right after the other.
//  2. If it is still refused, its file and offset are recorded, and everything else
//     continues without it. The owner calls [Store.LookAgain] at its own pace,
//     because the Store has no clock.
//  3. What was refused refusedLooks times, or at a start, counts as damage of its
//     replica ([Damage.Refused]): the other replicas give back what it can't read,
//     or it writes its snapshot anew.
//  4. The log never records a refusal as a loss. As long as the entries count, the
//     segment that may still hold them stays. Once the disk returns them, the
//     damage is over.
//
// A start can't do without three things: the identity, the names in a directory, and
// the place where the log ends. As long as the disk refuses one of them, nobody can
// tell what the node promised last, and it does not start.

const (
	// readTries gets past faults that are over at once. A disk tries for a long
	// time before it refuses: more tries in a row would only keep others waiting.
	readTries = 3
	// refusedLooks is after how many looks, each of readTries, a refused place
	// counts as damage. The owner decides how much time passes between two.
	refusedLooks = 3
	// refusedChunk is how much of a segment is asked for at once where all of
	// it is refused, before it comes to single pages.
	refusedChunk = 64 << 10
	// refusedPagesMax bounds the pages of one segment that are asked for one by
	// one and refused: disks take seconds for each. Pages after that count as
	// refused without a try.
	refusedPagesMax = 256
	// refusedRowMax is how many chunks in a row are asked for page by page
	// although nothing is returned. After them the search for readable bytes
	// skips ahead in growing steps, and what it skips counts as refused.
	refusedRowMax = 2
	// returnedBytesMax bounds the entries that one look hands back.
	returnedBytesMax = 1 << 20
)

// ErrRefused is wrapped by the error about bytes that the disk refused to return
// several times in a row. It may still return them: nothing is lost by that, and
// nothing is known of what is there.
var ErrRefused = errors.New("the disk refuses to return it")

// mayPass reports whether asking again may help. It does not if the error is itself an
// answer.
func mayPass(err error) bool {
	for _, answer := range [...]error{io.EOF, fs.ErrNotExist, fs.ErrClosed, vfs.ErrLocked, vfs.ErrFull, vfs.ErrPower} {
		if errors.Is(err, answer) {
			return false
		}
	}
	return true
}

// Insist asks the disk something that it may refuse, by the rule above: at most readTries
// times in a row. Its error then wraps [ErrRefused]. An error that is itself an answer, as
// that a file is absent or the disk full, is returned at once.
func Insist[T any](ask func() (T, error)) (T, error) {
	for n := 1; ; n++ {
		v, err := ask()
		if err == nil || !mayPass(err) {
			return v, err
		}
		if n == readTries {
			return v, refusedError(err)
		}
	}
}

func refusedError(err error) error {
	return fmt.Errorf("%w, asked %d times: %w", ErrRefused, readTries, err)
}

func openFile(disk vfs.FS, name string) (vfs.File, error) {
	return Insist(func() (vfs.File, error) { return disk.Open(name) })
}

func listNames(disk vfs.FS, dir string) ([]string, error) {
	return Insist(func() ([]string, error) { return disk.List(dir) })
}

func sizeOf(file vfs.File) (int64, error) { return Insist(file.Size) }

// ReadAt reads as [io.ReaderAt] does, by the same rule. Every read for a follower goes
// through it, so it makes no closure.
func ReadAt(file vfs.Reader, b []byte, at int64) (int, error) {
	for n := 1; ; n++ {
		got, err := file.ReadAt(b, at)
		if err == nil || !mayPass(err) {
			return got, err
		}
		if n == readTries {
			return 0, refusedError(err)
		}
	}
}

// refusal is the damage that a stretch counts as that the disk refused at the start.
func (r *recovery) refusal(t stretch) Damage {
	seg := r.s.index.segment(t.segment)
	d := Damage{File: seg.name, Offset: t.from, Refused: true, Record: fmt.Sprintf("%d bytes", min(t.to, seg.size)-t.from), Reason: ErrRefused.Error()}
	if seg.refused() {
		d = *seg.spoilt
	}
	return d
}

// refusedAfter returns the first stretch after a place that the disk refused. The
// refused bytes may be sound, and something else there damaged: the next start at which
// the disk refuses nothing will show that.
func (r *recovery) refusedAfter(p position) (stretch, bool) {
	for _, t := range r.refused {
		if t.segment > p.segment || t.segment == p.segment && t.to > p.offset {
			return t, true
		}
	}
	return stretch{}, false
}

// doubts returns why nobody can tell where the log ends, if the reason is the disk: it
// refuses the place where the next batch would begin, or a part of one that seems
// torn, or everything that would tell what is lost. A node that continued there could
// vote twice in a term, or overwrite what it acknowledged.
func (r *recovery) doubts() error {
	switch {
	case r.hole != nil && r.hole.refused:
		return r.doubtOf(r.hole.damage)
	case r.hole != nil && r.known.refused != nil:
		return fmt.Errorf("%w: it tells what is missing at the end of the log, so the node does not start without; nothing is lost by that: see to the disk and its cable, then start it again", r.known.refused)
	case r.hole != nil || r.known.stop != nil:
		return nil // what is lost counts as lost; after a clean stop nothing more follows
	}
	// A batch begins where the one before it ends, or on the page after; or in
	// the segment that the one before it names.
	zone := stretch{r.end.segment, r.end.offset / pageSize * pageSize, roundUp(r.end.offset, pageSize) + pageSize}
	if r.next > 0 {
		zone = stretch{r.next, 0, segmentHeader + pageSize}
	}
	if r.torn != nil {
		zone.to = max(zone.to, r.tornEnd)
	}
	for _, t := range r.refused {
		if t.segment == zone.segment && t.from < zone.to && t.to > zone.from {
			return r.doubtOf(r.refusal(t))
		}
	}
	return nil
}

func (r *recovery) doubtOf(d Damage) error {
	return fmt.Errorf("read %s at offset %d: %w: what this node promised last may stand there, so it does not start without; nothing is lost by that: see to the disk and its cable, then start it again",
		d.File, d.Offset, ErrRefused)
}
