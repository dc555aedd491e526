package sealing

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
	"time"

	"muster/shardmap"
	pointsshard "muster/shardmap/points/shard"
)

const (
	// headMax is the memory of a head at which it is sealed, in bytes. A file of it has about a tenth of that: enough for long
	// columns, and little to be lost and replayed.
	headMax = 16 << 20
	// headAge is how old the first of a head's points gets before it is sealed: a log that is replayed has no more.
	headAge = time.Hour
	// overAge is the same in a window that is over. More points may follow those that come late.
	overAge = 10 * time.Minute
	// mergeWidth is how many files of one tier become one of the next. A tier spans a factor of four in values: of a
	// larger one a reader has more files to look into, with a smaller one values are written more often.
	mergeWidth = 4
	// tierBits is the binary logarithm of what a tier spans.
	tierBits = 2
	// mergeMax bounds what a merge reads, in bytes: a larger one is not made.
	mergeMax = 1 << 30
	// quietMin is how long a shard of a window that is over has had no points before its files are merged into one, and
	// quietFor how much longer it is for each 64 MiB that the merge reads. Points that come late again and again can't
	// have a shard written anew more often than that.
	quietMin = 10 * time.Minute
	quietFor = time.Hour
	quietPer = 64 << 20
	// tombstonesHigh is with how many deletes a shard is merged whole, which ends them: half of what it keeps before it refuses
	// one more. A shard with more files than one merge takes keeps them.
	tombstonesHigh = pointsshard.TombstonesMax / 2
	// sealsMax bounds the seals of a node's groups that are not confirmed, and pressMax those of them that are
	// begun because memory presses: what is frozen takes as much memory until its file is there.
	sealsMax = 16
	pressMax = 4
)

// reason is why a head is sealed; the lower goes first.
type reason uint8

const (
	byPressure reason = iota + 1
	bySize
	byDeletes // they are many
	byOver    // its window is over
	byAge     // it is old
	byQuiet   // its window is over, and nothing comes any more: all files become one
)

// sealing is a seal that is due.
type sealing struct {
	group *group
	shard *shard
	why   reason
	merge int
}

func key(what string, s *shard, number uint64) string {
	return fmt.Sprintf("%s %d/%d/%d", what, s.view.Ref.Window, s.view.Ref.Shard, number)
}

// seal proposes the seals that are due, in groups that are led here.
func (c *Core) seal(now Now, wake func(Now)) {
	var due []sealing
	presses := c.Presses()
	under, pressed := 0, 0
	for _, id := range c.order {
		g := c.groups[id]
		if !g.ready() || !g.view.Current || g.view.Term == 0 {
			continue
		}
		for _, s := range g.shards {
			switch {
			case s.sealed() || len(g.says) > 0 && g.said(key("seal", s, s.view.Seals+1), now):
				under++
				pressed++
			case s.view.Gone:
			default:
				if d := (sealing{group: g, shard: s}); d.due(now, wake, presses || g.view.Pressed) {
					due = append(due, d)
				}
			}
		}
	}
	slices.SortStableFunc(due, func(a, b sealing) int {
		return cmp.Or(cmp.Compare(a.why, b.why), cmp.Compare(b.shard.view.HeadBytes, a.shard.view.HeadBytes))
	})
	for _, d := range due {
		if under >= sealsMax {
			return // the end of one is a change
		}
		if d.why == byPressure {
			if pressed >= pressMax {
				continue
			}
			pressed++
		}
		under++
		seal := shardmap.PointsSeal{Shard: d.shard.view.Ref.ShardID, Number: d.shard.view.Seals + 1, Merge: uint32(d.merge), Over: d.shard.view.Over}
		if bug(bugNumber) {
			seal.Number = d.shard.counted + 1
		}
		c.propose(d.group, now, wake, key("seal", d.shard, d.shard.view.Seals+1), seal.Command())
	}
}

// sealed reports whether a seal of the shard is applied and not confirmed.
func (s *shard) sealed() bool {
	return slices.ContainsFunc(s.view.Frozen, func(f FrozenView) bool { return f.Confirmed == nil }) && !bug(bugReplaced)
}

// due reports whether a shard is to be sealed, and notes why, and with how many files.
func (d *sealing) due(now Now, wake func(Now), presses bool) bool {
	v := &d.shard.view
	old := headAge
	if d.why = byAge; v.Over {
		old, d.why = overAge, byOver
	}
	limit := int64(mergeMax)
	switch {
	case v.HeadValues > 0 && presses:
		d.why, limit = byPressure, smallMake // a long merge would hold the memory longer
	case v.Tombstones >= tombstonesHigh && d.sweeps():
		d.why = byDeletes
		return true
	case v.HeadValues == 0:
		return d.quiet(now, wake)
	case v.HeadBytes >= headMax:
		d.why = bySize
	case now < v.HeadSince+old:
		wake(v.HeadSince + old)
		return false
	}
	d.merge = tiered(v.Files, v.HeadValues, v.HeadBytes, limit)
	return true
}

// sweeps reports whether one merge can take all files of a shard, so that its deletes end. With an empty head a single file will
// do: it gives way to one without what was deleted.
func (d *sealing) sweeps() bool {
	v := &d.shard.view
	d.merge, _ = whole(v.Files, mergeMax-v.HeadBytes)
	return d.merge == len(v.Files) && (d.merge > 0 || v.HeadValues > 0)
}

// quiet reports whether all files of a shard are to become one.
func (d *sealing) quiet(now Now, wake func(Now)) bool {
	v := &d.shard.view
	if !v.Over {
		return false
	}
	n, bytes := whole(v.Files, mergeMax)
	if n < 2 && (n == 0 || n < len(v.Files) || v.Tombstones == 0) {
		return false
	}
	at := d.shard.still + quietMin + time.Duration(float64(bytes)/quietPer*float64(quietFor))
	if now < at {
		wake(at)
		return false
	}
	d.merge, d.why = n, byQuiet
	return true
}

// tier is the size of a file as merges see it: one more is four times as many values.
func tier(values uint64) int { return bits.Len64(values) / tierBits }

// tiered returns how many of the newest files are merged with a head of so many values and bytes: as many as fill a tier, and then the
// next one. Each value is so written about once for each tier, of which there are log4 of the values.
func tiered(files []shardmap.PointsSealed, values, bytes, limit int64) (n int) {
	all := uint64(values)
	for {
		// The files that are no larger than what there is so far, and those of them that the limit leaves room for.
		more, fit, fitValues, fitBytes := 0, 0, uint64(0), int64(0)
		for i := len(files) - 1 - n; i >= 0 && tier(files[i].Values) <= tier(all); i-- {
			if more == fit && bytes+fitBytes+files[i].Size <= limit {
				fit++
				fitValues += files[i].Values
				fitBytes += files[i].Size
			}
			more++
		}
		if more < mergeWidth-1 || fit == 0 {
			return n
		}
		n += fit
		all += fitValues
		bytes += fitBytes
		if fit < more {
			return n
		}
	}
}

// whole returns how many of the newest files one merge can take, and how many bytes they have.
func whole(files []shardmap.PointsSealed, limit int64) (n int, bytes int64) {
	for n < len(files) && bytes+files[len(files)-1-n].Size <= limit {
		bytes += files[len(files)-1-n].Size
		n++
	}
	return n, bytes
}
