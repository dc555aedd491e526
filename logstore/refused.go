package logstore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"muster/logstore/vfs"
)

// A read that the disk refuses proves nothing. The bytes may be there: a cable
// was loose, a controller busy, a sector is returned at the tenth time, the
// process had no descriptor left. So wherever the disk is read, at a start, for a
// follower, by the scrub, for a segment that is to be freed, the same is done.
//
//  1. The read is tried readTries times, one right after the other.
//  2. What is refused then is noted with its file and offset, and the rest goes
//     on without it. The owner has [Store.LookAgain] look again, at its own
//     pace: the Store has no clock.
//  3. What was refused refusedLooks times, or at a start, is damage of the
//     replica that it belongs to ([Damage.Refused]): the others give back what it
//     can't read, or it writes its snapshot anew.
//  4. Never is it written down that it is lost. As long as the entries count,
//     the segment that may still hold them stays. Once the disk returns them the
//     damage is over by itself.
//
// Three things a start can't do without: the identity, the names in a directory,
// and the place where the log ends. As long as the disk refuses one of them, it
// can't be known what the node promised last, and it does not start.

const (
	// readTries passes over what is over at once. A disk has tried for long
	// before it refuses: more in a row would only keep others waiting.
	readTries = 3
	// refusedLooks is after how many looks, each of readTries, a place that is
	// refused counts as damage. The owner says what lies between two of them.
	refusedLooks = 3
	// refusedChunk is how much of a segment is asked for at once where all of
	// it is refused, before it comes to single pages.
	refusedChunk = 64 << 10
	// refusedPagesMax bounds the pages of one segment that are asked for one by
	// one and refused: disks take seconds for each. What is asked for after
	// that counts as refused too.
	refusedPagesMax = 256
	// refusedRowMax is how many chunks in a row are asked for page by page of
	// which nothing is returned. After them it is looked farther and farther on
	// for what the disk returns, and what lies between counts as refused.
	refusedRowMax = 2
	// returnedBytesMax bounds the entries that one look hands back.
	returnedBytesMax = 1 << 20
)

// ErrRefused is wrapped by the error about what the disk refuses to return,
// though it was asked several times. It may return it yet: nothing is lost by
// that, and nothing is known of what stands there.
var ErrRefused = errors.New("the disk refuses to return it")

// mayPass reports whether it may help to ask again: not where the answer is one.
func mayPass(err error) bool {
	for _, answer := range [...]error{io.EOF, fs.ErrNotExist, fs.ErrClosed, vfs.ErrLocked, vfs.ErrFull, vfs.ErrPower} {
		if errors.Is(err, answer) {
			return false
		}
	}
	return true
}

// insist has a question answered that the disk may refuse, by the rule above.
func insist[T any](ask func() (T, error)) (T, error) {
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
	return insist(func() (vfs.File, error) { return disk.Open(name) })
}

func listNames(disk vfs.FS, dir string) ([]string, error) {
	return insist(func() ([]string, error) { return disk.List(dir) })
}

func sizeOf(file vfs.File) (int64, error) { return insist(file.Size) }

// readAt reads as [io.ReaderAt] does. It is on the way of every read for a
// follower, so it makes no closure.
func readAt(file vfs.File, b []byte, at int64) (int, error) {
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

// refusal is what is said of a stretch that the disk refused at the start.
func (r *recovery) refusal(t stretch) Damage {
	seg := r.s.index.segment(t.segment)
	d := Damage{File: seg.name, Offset: t.from, Refused: true, Record: fmt.Sprintf("%d bytes", min(t.to, seg.size)-t.from), Reason: ErrRefused.Error()}
	if seg.refused() {
		d = *seg.spoilt
	}
	return d
}

// refusedAfter returns the first stretch behind a place that the disk refused.
// It may be that something else is damaged there, and not what was refused. Then
// the next start that the disk refuses nothing will tell.
func (r *recovery) refusedAfter(p position) (stretch, bool) {
	for _, t := range r.refused {
		if t.segment > p.segment || t.segment == p.segment && t.to > p.offset {
			return t, true
		}
	}
	return stretch{}, false
}

// doubts returns why it can't be known where the log ends, if the disk is why: it
// refuses the place where the next batch would begin, or a part of one that
// seems torn, or all that would tell what is lost. Whoever went on there would
// vote again where it has voted, or write over what it acknowledged.
func (r *recovery) doubts() error {
	switch {
	case r.hole != nil && r.hole.refused:
		return r.doubtOf(r.hole.damage)
	case r.hole != nil && r.known.refused != nil:
		return fmt.Errorf("%w: it tells what is missing at the end of the log, so the node does not start without; nothing is lost by that: see to the disk and its cable, then start it again", r.known.refused)
	case r.hole != nil || r.known.stop != nil:
		return nil // it is known what follows: after a clean stop nothing does
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
