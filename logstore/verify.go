package logstore

import (
	"fmt"

	"muster/logstore/vfs"
)

// Report is what Verify found.
type Report struct {
	Stats Stats // as of now
	// Damages are all damaged places, in the order of the log. Some may hit nothing
	// that is still needed.
	Damages []Damage
	// Damaged is what the replicas lost.
	Damaged []Damaged
	// Torn is the last batch, if it was never finished. That is not damage.
	Torn *Damage
}

// Verify reads the log in a data directory as Open does, checks all of it, and changes
// nothing. It takes no lock: if the log is in use, the last batch may look torn. Its
// errors are the disk's, and those about another format.
func Verify(disk vfs.FS, dir string) (Report, error) {
	s := newStore(Options{FS: disk, Dir: dir, SegmentBytes: SegmentBytesDefault})
	defer s.closeFiles()
	known, err := knownEndIfRead(disk, dir)
	if err != nil {
		return Report{}, fmt.Errorf("verify the log in %s: %w", s.dir, err)
	}
	numbers, err := segmentNumbers(s.fs, s.dir, s.log)
	if err != nil {
		return Report{}, fmt.Errorf("verify the log in %s: %w", s.dir, err)
	}
	if numbers = known.orNumbers(numbers); len(numbers) == 0 {
		return Report{}, nil
	}
	r := &recovery{s: s, known: known}
	if err = r.load(numbers); err == nil {
		err = s.snapshots.verify(func(d Damage) { r.damages = append(r.damages, d) })
	}
	if err != nil {
		return Report{}, fmt.Errorf("verify the log in %s: %w", s.dir, err)
	}
	s.figures.count(func(n *Stats) { n.Batches, n.NeededBytes = r.number, s.index.needed })
	report := Report{Stats: s.Stats(), Damages: r.damages, Torn: r.torn}
	for _, d := range s.Damaged() {
		if d.Promises || len(d.Lost) > 0 {
			d.State = false // Damages has the snapshots
			report.Damaged = append(report.Damaged, d)
		}
	}
	return report, nil
}
