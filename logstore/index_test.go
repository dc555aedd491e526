package logstore

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"muster/raft"
)

// standing is one entry in a slow, obvious index.
type standing struct {
	term uint64
	at   place
	lost bool
}

// After any order of records the index knows where each entry stands, and how many
// bytes of each segment are needed. One would doubt it: it knows runs and not
// entries, cuts them in pieces, and counts what it holds as it goes.
func TestIndexAgainstEntries(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var gone []Replica
		x := &index{replicas: map[Replica]*replica{}, graves: map[raft.GroupID]grave{}, dropped: func(id Replica) { gone = append(gone, id) }}
		for n := range uint64(4) {
			x.segments = append(x.segments, &segment{number: n + 1, name: segmentName(n + 1)})
		}
		p := x.add(testReplica(1))
		slow := map[uint64]standing{}
		base, last, term, offset := uint64(0), uint64(0), uint64(1), uint32(segmentHeader)
		at := func() place {
			offset += 100
			return place{1 + rng.Uint64N(4), offset, 40 + rng.Uint32N(60)}
		}
		// held returns some entries of one term that follow each other.
		held := func() (first, count, term uint64) {
			first = base + 1 + rng.Uint64N(last-base)
			most := 1 + rng.Uint64N(4) // often less than a run, so that it is cut in two
			for count = 1; count < most && first+count <= last && slow[first+count].term == slow[first].term; count++ {
			}
			return first, count, slow[first].term
		}
		for step := range 60 {
			switch op := rng.IntN(6); {
			case op == 0:
				x.take(&record{kind: kindState, replica: p, state: raft.HardState{Term: term}}, at())
			case op == 1: // a base that the log holds, or one after its end
				base += rng.Uint64N(4)
				last = max(last, base)
				for i := range slow {
					if i <= base {
						delete(slow, i)
					}
				}
				x.take(&record{kind: kindBase, replica: p, base: &Base{ID: raft.LogID{Term: term, Index: base}}, end: last}, at())
			case op == 2 && last > base: // moved, as a whole run or a part
				r := record{kind: kindMoved, replica: p}
				var count uint64
				r.first, count, r.term = held()
				r.count = uint32(count)
				where := at()
				for i := r.first; i <= r.last(); i++ {
					slow[i] = standing{r.term, where, false}
				}
				x.take(&r, where)
			case op == 3: // lost, of which some may stand elsewhere by now
				r := record{kind: kindLost, replica: p, first: last + 1, term: term, count: 1 + rng.Uint32N(3)}
				if last > base && rng.IntN(2) == 0 {
					var count uint64
					r.first, count, r.term = held()
					r.count = uint32(count)
				}
				where, known := at(), true
				for i := r.first; i <= r.last(); i++ {
					known = known && slow[i].term == r.term && !slow[i].lost
				}
				for i := r.first; i <= r.last() && !known; i++ {
					slow[i] = standing{r.term, where, true}
				}
				last = max(last, r.last())
				x.take(&r, where)
			default: // entries, which may truncate
				term += rng.Uint64N(2)
				r := record{kind: kindEntries, replica: p, term: term, first: base + 1 + rng.Uint64N(last-base+1), count: 1 + rng.Uint32N(4)}
				where := at()
				for i := r.first; i <= last; i++ {
					delete(slow, i)
				}
				for i := r.first; i <= r.last(); i++ {
					slow[i] = standing{term, where, false}
				}
				last = r.last()
				x.take(&r, where)
			}
			if why := indexDiffers(x, p, slow); why != "" {
				t.Fatalf("seed %d, step %d: %s", seed, step, why)
			}
		}
		x.take(&record{kind: kindRemove, replica: p}, place{1, offset + 100, recordHeaderSize})
		if x.needed != recordHeaderSize || x.segments[0].live != recordHeaderSize || len(x.replicas) > 0 || len(gone) != 1 || gone[0] != p.id {
			t.Fatalf("seed %d: removed: %d bytes are needed, want those of the removal; of %v it was told", seed, x.needed, gone)
		}
		if older := p.id; !x.graves[older.Group].covers(older) {
			t.Fatalf("seed %d: the removal does not cover the replica", seed)
		}
	}
}

// indexDiffers returns in what an index differs from the slow one.
func indexDiffers(x *index, p *replica, slow map[uint64]standing) string {
	live, entries, lost := map[uint64]int64{}, 0, 0
	hold := func(at place) { live[at.segment] += int64(at.size) }
	hold(p.baseAt)
	hold(p.stateAt)
	for k, n := range p.runs {
		hold(n.at)
		if entries += int(n.count); n.lost {
			lost++
		}
		if k > 0 && n.first <= p.runs[k-1].last() {
			return fmt.Sprintf("run %d begins at %d, the one before it ends at %d", k, n.first, p.runs[k-1].last())
		}
		for i := n.first; i <= n.last(); i++ {
			if got := (standing{n.term, n.at, n.lost}); got != slow[i] {
				return fmt.Sprintf("entry %d: got %v, want %v", i, got, slow[i])
			}
		}
	}
	if entries != len(slow) || lost != p.lost {
		return fmt.Sprintf("%d entries, want %d; of %d runs it says that they are lost, %d are", entries, len(slow), p.lost, lost)
	}
	sum := int64(0)
	for _, seg := range x.segments {
		if sum += seg.live; seg.live != live[seg.number] {
			return fmt.Sprintf("segment %d: %d bytes are needed, want %d", seg.number, seg.live, live[seg.number])
		}
	}
	if x.needed != sum {
		return fmt.Sprintf("%d bytes are needed in all, want %d", x.needed, sum)
	}
	return ""
}
