package sim

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"

	"muster/logstore/blocks"
	"muster/raft"
	"muster/repl/machine"
	"muster/shardmap"
	"muster/shardmap/points"
	"muster/shardmap/points/shard"
)

// seriesTruth is what the shards of a group are by its log, in the slowest and most obvious code: maps of all that ever was. It
// shares nothing with packages shardmap and shard but the bytes of commands.
type seriesTruth struct {
	c      *cluster
	shards map[shardmap.ShardID]*shardLife
	gone   map[shardmap.WindowID]uint64 // windows that were dropped, and by which entry
	did    map[uint64]seriesEntry       // by index
	bySum  map[uint64]uint64            // the index of the last entry that brought these bytes
	fills  map[uint64]bool              // hints that have arrived, by the sums of their shares
	passed map[uint64]bool              // hints that came when the deletes behind them were not remembered any more
}

func newSeriesTruth(c *cluster) seriesTruth {
	return seriesTruth{c: c, shards: map[shardmap.ShardID]*shardLife{}, gone: map[shardmap.WindowID]uint64{}, did: map[uint64]seriesEntry{}, bySum: map[uint64]uint64{}, fills: map[uint64]bool{}, passed: map[uint64]bool{}}
}

// shardLife is what a shard is, and was.
type shardLife struct {
	ref     shardmap.ShardRef
	made    uint64                    // by that entry
	dropped uint64                    // 0: it is there
	values  map[string][]pointVersion // by series, field and time
	deletes []seriesDelete
	digests []shardDigest
	latest  map[string]int64 // the latest time that came, by series
	// Of the replica that applied the last seal first. What files have is compared with values; that all have the same ones, by digests.
	head      uint64   // generation of the head
	frozen    uint64   // of the oldest one that is frozen, or of the head
	files     []uint64 // generations of the files
	forgotten uint64   // the last delete that is not remembered any more
}

// pointVersion is what a value was from an entry on.
type pointVersion struct {
	index uint64
	there bool
	value float64
}

// seriesDelete is a delete that reached the shard.
type seriesDelete struct {
	shardmap.PointsDelete
	index uint64
	head  uint64 // generation of the head into which it came
	over  bool   // it is not remembered any more
}

// shardDigest is what the shard's digest is after an entry, on the replica that applied it first.
type shardDigest struct{ index, digest uint64 }

// seriesEntry is what an entry did.
type seriesEntry struct {
	sum     uint64 // of the bytes of the command's body
	fills   bool
	sealed  bool // files may have changed
	outcome seriesOutcome
	touched []shardmap.ShardID
}

// seriesOutcome is what the answer to a command says. Of a fill that was superseded the answer may count a point as stored: only
// what heads have is known when the entry is applied.
type seriesOutcome struct{ stored, superseded, dropped, deleted, passed uint64 }

func pointsSay(o *shardmap.PointsOutcome) seriesOutcome {
	return seriesOutcome{stored: o.Stored, superseded: o.Superseded, dropped: o.Dropped, deleted: o.Deleted}
}

func deleteSays(o *shardmap.PointsDeleteOutcome) seriesOutcome {
	return seriesOutcome{deleted: o.Deleted, passed: o.Passed, dropped: o.Dropped}
}

func compareShards(a, b shardmap.ShardID) int {
	return cmp.Or(cmp.Compare(a.Window, b.Window), cmp.Compare(a.Shard, b.Shard))
}

func shardNumber(n int) points.Shard { return points.Shard(n) }

// seriesKey is the key of a series.
func seriesKey(measurement string, host int) []byte {
	return fmt.Appendf(nil, "%s,host=%d", measurement, host)
}

// placeOf names a value.
func placeOf(key, field []byte, at int64) string { return fmt.Sprintf("%s %s %d", key, field, at) }

// isSeries reports whether a command is about points.
func isSeries(k shardmap.CommandKind) bool {
	return k >= shardmap.CommandPoints && k <= shardmap.CommandPointsDelete
}

// apply tells what an entry about points does.
func (s *seriesTruth) apply(t *truth, e raft.Entry, x *shardmap.Command) {
	if t.level < shardmap.PointsLevel {
		return
	}
	did := seriesEntry{sum: xxhash.Sum64(x.Items[0])}
	switch x.Kind {
	case shardmap.CommandPoints:
		p, err := shardmap.ReadPoints(x)
		if err != nil {
			t.c.fail("I9: entry %s of group %d brings no points: %v", e.ID, t.group, err)
		}
		if s.gone[p.Shard.Window] != 0 {
			return
		}
		if o := t.c.series.never[did.sum]; o != nil {
			t.c.fail("I9: group %d applies %s at %s; its client was told that it never would be", t.group, o, e.ID)
		}
		s.bySum[did.sum] = e.ID.Index
		did.fills = p.Mode == shardmap.PointsFill
		if h := t.c.series.hinted[shareSum(p.Share)]; h != nil && (!did.fills || p.Taken > h.applied) {
			t.c.fail("I21: entry %s of group %d brings a hint in mode %d as of %d; it was taken when the group had applied %d, and is to fill", e.ID, t.group, p.Mode, p.Taken, h.applied)
		}
		s.bring(t, e, &p, &did)
	case shardmap.CommandPointsDelete:
		d, err := shardmap.ReadPointsDelete(x)
		if err != nil {
			t.c.fail("I9: entry %s of group %d deletes no points: %v", e.ID, t.group, err)
		}
		s.remove(e.ID.Index, &d, &did)
	case shardmap.CommandPointsSeal:
		p, err := shardmap.ReadPointsSeal(x)
		if err != nil {
			t.c.fail("I9: entry %s of group %d seals no points: %v", e.ID, t.group, err)
		}
		s.seals(p.Shard, &did)
	case shardmap.CommandPointsSealed:
		p, err := shardmap.ReadPointsSealed(x)
		if err != nil {
			t.c.fail("I9: entry %s of group %d names no file: %v", e.ID, t.group, err)
		}
		s.seals(p.Shard, &did)
	case shardmap.CommandDropShards:
		d, err := shardmap.ReadDropShards(x)
		if err != nil {
			t.c.fail("I9: entry %s of group %d drops no shards: %v", e.ID, t.group, err)
		}
		for _, w := range d.Windows {
			if s.gone[w] == 0 {
				s.gone[w] = e.ID.Index
			}
			for id, l := range s.shards {
				if id.Window == w && l.dropped == 0 {
					l.dropped = e.ID.Index
				}
			}
		}
	}
	s.did[e.ID.Index] = did
}

// shard returns what is known of a shard that an entry names; it may be the first.
func (s *seriesTruth) shard(ref *shardmap.ShardRef, index uint64) *shardLife {
	l := s.shards[ref.ShardID]
	if l == nil {
		l = &shardLife{ref: *ref, made: index, head: 1, frozen: 1, values: map[string][]pointVersion{}, latest: map[string]int64{}}
		s.shards[ref.ShardID] = l
	}
	if l.ref.Shards != ref.Shards || l.ref.Database != ref.Database || l.ref.Policy != ref.Policy || l.ref.Span != ref.Span {
		s.c.fail("I9: %s is %+v, and %+v at %d", ref.ShardID, l.ref, *ref, index)
	}
	return l
}

// bring tells what an entry that brings points does.
func (s *seriesTruth) bring(t *truth, e raft.Entry, p *shardmap.PointsBody, did *seriesEntry) {
	// The share belongs to the command, which is read anew for each entry.
	batch, err := new(points.ShareReader).Read(bytes.Clone(p.Share), p.Shard.Span)
	if err != nil {
		t.c.fail("I9: entry %s of group %d brings points that can't be read: %v", e.ID, t.group, err)
	}
	l := s.shard(&p.Shard, e.ID.Index)
	if did.fills && p.Taken < l.forgotten {
		s.passed[shareSum(p.Share)] = true
		return
	}
	if did.fills {
		s.fills[shareSum(p.Share)] = true
	}
	did.touched = []shardmap.ShardID{p.Shard.ShardID}
	deleted := map[string]bool{}
	for one := range batch.Series() {
		key := one.Key()
		for c := range one.Columns() {
			for i, at := range c.Times {
				if did.fills && l.deletedSince(p.Taken, string(key), at) {
					deleted[placeOf(key, nil, at)] = true
					continue
				}
				place := placeOf(key, c.Name, at)
				if now := l.at(place, e.ID.Index); did.fills && now.there {
					continue
				}
				if last, any := l.latest[string(key)]; any && at < last {
					s.c.result.Series.Late++
				}
				l.latest[string(key)] = max(at, l.latest[string(key)])
				l.values[place] = append(l.values[place], pointVersion{e.ID.Index, true, c.Value(i).Float()})
			}
		}
	}
	// A share counts a point once for each line that it had in the text.
	did.outcome = seriesOutcome{stored: uint64(batch.Points() - len(deleted)), deleted: uint64(len(deleted))}
}

// parsePlace returns what [placeOf] has put together.
func parsePlace(place string) (key, field string, at int64) {
	key, rest, _ := strings.Cut(place, " ")
	field, text, _ := strings.Cut(rest, " ")
	at, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		panic(err)
	}
	return key, field, at
}

// at returns what a value is as of an entry.
func (l *shardLife) at(place string, index uint64) (v pointVersion) {
	for _, x := range l.values[place] {
		if x.index <= index {
			v = x
		}
	}
	return v
}

// deletedSince reports whether a delete behind an entry took a point.
func (l *shardLife) deletedSince(taken uint64, key string, at int64) bool {
	return slices.ContainsFunc(l.deletes, func(d seriesDelete) bool { return d.index > taken && takesPoint(&d.PointsDelete, key, at) })
}

// takesPoint reports whether a delete is of a point.
func takesPoint(d *shardmap.PointsDelete, key string, at int64) bool {
	return d.First <= at && at <= d.Last && strings.HasPrefix(key, string(d.Measurement)+",") &&
		(len(d.Series) == 0 || slices.ContainsFunc(d.Series, func(k []byte) bool { return string(k) == key }))
}

// remove tells what a delete does.
func (s *seriesTruth) remove(index uint64, d *shardmap.PointsDelete, did *seriesEntry) {
	kept := *d
	kept.Measurement = bytes.Clone(d.Measurement)
	kept.Series = nil
	for _, k := range d.Series {
		kept.Series = append(kept.Series, bytes.Clone(k))
	}
	for i := range d.Shards {
		ref := &d.Shards[i]
		own := slices.ContainsFunc(d.Series, func(k []byte) bool { return points.HashOf(k).Shard(ref.Shards) == ref.Shard })
		switch {
		case s.gone[ref.Window] != 0:
			did.outcome.dropped++
			continue
		case d.Last < ref.Span.First || d.First > ref.Span.Last || len(d.Series) > 0 && !own:
			did.outcome.passed++
			continue
		}
		did.outcome.deleted++
		did.touched = append(did.touched, ref.ShardID)
		l := s.shard(ref, index)
		l.deletes = append(l.deletes, seriesDelete{PointsDelete: kept, index: index, head: l.head})
		for place, versions := range l.values {
			if key, _, at := parsePlace(place); versions[len(versions)-1].there && takesPoint(d, key, at) {
				l.values[place] = append(versions, pointVersion{index: index})
			}
		}
	}
}

// seals notes that an entry may change the heads and files of a shard.
func (s *seriesTruth) seals(id shardmap.ShardID, did *seriesEntry) {
	if l := s.shards[id]; l != nil && l.dropped == 0 {
		did.touched, did.sealed = []shardmap.ShardID{id}, true
	}
}

// sealed takes over which heads and files a shard has, and tells which deletes it forgets: those than which neither a head that is in no file nor a
// file is older.
func (l *shardLife) sealed(c *cluster, is *shardmap.GroupShard) {
	files := is.Points.Files()
	head := is.Points.Generation()
	if frozen := is.Points.Frozen(); len(frozen) > 0 {
		head = frozen[0]
	}
	if head == l.frozen {
		l.head = is.Points.Generation()
		return // a seal, or nothing
	}
	c.result.Series.Sealed++
	c.result.Series.Merged += len(l.files) + 1 - len(files)
	l.head, l.frozen, l.files = is.Points.Generation(), head, nil
	for i := range files {
		l.files = append(l.files, files[i].Generation)
	}
	for i := range l.deletes {
		d := &l.deletes[i]
		if d.over || d.head >= l.frozen || slices.ContainsFunc(l.files, func(f uint64) bool { return f < d.head }) {
			continue
		}
		d.over, l.forgotten = true, max(l.forgotten, d.index)
	}
}

// there reports whether the group has a shard as of an entry.
func (l *shardLife) there(index uint64) bool {
	return l != nil && l.made <= index && (l.dropped == 0 || l.dropped > index)
}

// seriesSum is how many values there are, and what they add up to.
type seriesSum struct {
	count int64
	sum   float64
}

// sums returns what a shard has as of an entry, by measurement and field.
func (s *seriesTruth) sums(id shardmap.ShardID, index uint64) map[string]seriesSum {
	all := map[string]seriesSum{}
	l := s.shards[id]
	if !l.there(index) {
		return all
	}
	for place := range l.values {
		if v := l.at(place, index); v.there {
			key, field, _ := parsePlace(place)
			measurement, _, _ := strings.Cut(key, ",")
			x := all[measurement+" "+field]
			all[measurement+" "+field] = seriesSum{x.count + 1, x.sum + v.value}
		}
	}
	return all
}

func equalMaps(a, b map[string]seriesSum) bool { return maps.Equal(a, b) }

// ran compares, behind an entry about points, the shards that it has changed with those of other replicas (I10).
func (s *seriesTruth) ran(w *watched, e raft.Entry) {
	did := s.did[e.ID.Index]
	for _, id := range did.touched {
		l := s.shards[id]
		is := w.state.State.Shard(id)
		if is == nil {
			s.c.fail("I9: after %s of group %d n%d does not have %s", e.ID, w.truth.group, w.node.index, id)
		}
		digest := is.Points.Digest()
		if i := slices.IndexFunc(l.digests, func(d shardDigest) bool { return d.index == e.ID.Index }); i < 0 {
			l.digests = append(l.digests, shardDigest{e.ID.Index, digest})
			if did.sealed {
				l.sealed(s.c, is)
			}
		} else if l.digests[i].digest != digest {
			s.c.fail("I10: after %s of group %d %s has digest %016x on n%d, %016x elsewhere", e.ID, w.truth.group, id, digest, w.node.index, l.digests[i].digest)
		}
	}
}

// taken checks the shards of a state that a replica takes (I10).
func (s *seriesTruth) taken(w *watched, at raft.LogID) {
	there := 0
	for id, l := range s.shards {
		if !l.there(at.Index) {
			continue
		}
		there++
		is := w.state.State.Shard(id)
		if is == nil {
			s.c.fail("I10: the state of group %d at %s that n%d takes lacks %s", w.truth.group, at, w.node.index, id)
		}
		want := shardDigest{}
		for _, d := range l.digests {
			if d.index <= at.Index {
				want = d
			}
		}
		if got := is.Points.Digest(); want.index != 0 && got != want.digest {
			s.c.fail("I10: the state of group %d at %s that n%d takes has digest %016x for %s; after %d it was %016x", w.truth.group, at, w.node.index, got, id, want.index, want.digest)
		}
	}
	if n := len(w.state.State.Shards()); n != there {
		s.c.fail("I10: the state of group %d at %s that n%d takes has %d shards; by the log there are %d", w.truth.group, at, w.node.index, n, there)
	}
}

// compare compares what a replica has of shards with what the log says, value by value (I8, I9).
func (s *seriesTruth) compare(n *node, m *machine.Map) {
	there := 0
	for _, l := range s.shards {
		if l.dropped == 0 {
			there++
		}
	}
	if got := m.State.Shards(); len(got) != there {
		s.c.fail("I9: n%d has %d shards in group %d; by the log there are %d", n.index, len(got), m.Group, there)
	}
	if err := n.files.points.read(blocks.Group{ID: m.Group, Incarnation: m.Incarnation()}, func(open shard.Opener) error {
		s.compareShards(n, m, open)
		return nil
	}); err != nil {
		s.c.fail("n%d can't read the points of group %d: %v", n.index, m.Group, err)
	}
}

func (s *seriesTruth) compareShards(n *node, m *machine.Map, open shard.Opener) {
	for _, is := range m.State.Shards() {
		want := map[string]float64{}
		for place, versions := range s.shards[is.ShardID].values {
			if v := versions[len(versions)-1]; v.there {
				want[place] = v.value
			}
		}
		got := map[string]float64{}
		for _, measurement := range seriesMeasurements {
			for host := range seriesTags {
				for _, field := range []string{"v", "w"} {
					key := seriesKey(measurement, host)
					for p, err := range is.Points.View().Read(open).Columns(key, field, math.MinInt64, math.MaxInt64) {
						if err != nil {
							s.c.fail("n%d can't read %s of %s: %v", n.index, key, is.ShardID, err)
						}
						for i, at := range p.Times {
							place := placeOf(key, []byte(field), at)
							if _, twice := got[place]; twice {
								s.c.fail("I9: n%d has %s of %s twice", n.index, place, is.ShardID)
							}
							got[place] = p.Values.Floats[i]
						}
					}
				}
			}
		}
		if !maps.Equal(got, want) {
			s.c.fail("I8: n%d has of %s of group %d\n%v\nby the log it is\n%v", n.index, is.ShardID, m.Group, got, want)
		}
	}
}
