package shardmap

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// spoiledWorlds returns random logs, whose maps have all that walks compare summed up.
func spoiledWorlds(t *testing.T, seeds, from uint64) (worlds []*groupLog) {
	t.Helper()
	for seed := range seeds {
		w, err := writeLogs(from+seed, Level)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range w.groups {
			if f := newFlipper(nil, g.first); len(f.slots) > 0 {
				walkAll(g.first, 5000)
				worlds = append(worlds, g)
			}
		}
	}
	return worlds
}

// Each fault that tests make with Spoil must be found by a walk, under the name of its slot, and no
// part may have another digest but that one. Nothing that is done to find a fault, or to keep what is
// wrong aside, may panic; and no snapshot may be written of a state that could not be read.
func TestSpoiledMapIsFound(t *testing.T) {
	const each = 4 // snapshots of one fault in so many are written and read
	faults := 1200
	if raceDetector {
		faults = 200
	}
	found := map[string]int{}
	worlds := spoiledWorlds(t, 4, 300)
	rnd := rand.New(rand.NewPCG(1, 33))
	for n := range faults {
		g := worlds[n%len(worlds)]
		m := g.first
		before := m.Digests(nil)
		f := newFlipper(rnd.IntN, m).spoil()
		if got := walkAll(m, 1+rnd.IntN(100_000)); len(got) != 1 || got[0].Part != f.part {
			t.Fatalf("fault %d, %s of %s: a walk found %v", n, f.what, f.part, got)
		}
		differ := differing(before, m.Digests(nil))
		if len(differ) > 1 || len(differ) == 1 && differ[0] != f.part {
			t.Fatalf("fault %d, %s of %s: the digests differ of %v", n, f.what, f.part, differ)
		}
		if n%each == 0 {
			readable(t, fmt.Sprintf("fault %d, %s of %s", n, f.what, f.part), g)
		}
		if len(differ) == 1 {
			found[f.what+", by digests too"]++
		}
		what, _, _ := strings.Cut(f.what, ", byte ")
		found[what]++
		f.back()
	}
	for _, g := range worlds {
		if got := walkAll(g.first, 5000); len(got) > 0 {
			t.Fatalf("with all as it was, a walk found %v", got)
		}
	}
	if raceDetector {
		return
	}
	for _, what := range []string{
		"sum of records, by digests too", "lookup", "order of keys", "hash of a record", "value of a record", "sum of sessions, by digests too",
		"floor of a session", "last use of a session", "index of an outcome", "detail of an outcome", "last version, by digests too",
	} {
		if found[what] == 0 {
			t.Errorf("of %d faults none was: %s", faults, what)
		}
	}
	t.Log(found)
}

// readable writes the state of a map in which something is wrong, which must fail or make what can be
// read; and writes it unchecked, which must not fail.
func readable(t *testing.T, what string, g *groupLog) {
	t.Helper()
	m := g.first
	if b, err := stateBytes(m); err == nil {
		if err := g.newMap().Load(bytes.NewReader(b), m.Applied(), m.Time()); err != nil {
			t.Fatalf("%s: a snapshot was written that can't be read: %v", what, err)
		}
	}
	if b := uncheckedBytes(t, m); !bytes.HasPrefix(b, []byte(mapMagic)) {
		t.Fatalf("%s: written unchecked: %d bytes", what, len(b))
	}
}

// A state in which nothing is wrong is the same bytes, checked or not. One in which any bit has
// flipped, also of what leads to others, can be written unchecked all the same, and what is left out
// is told; digests and copies survive it too.
func TestUncheckedWritesWhateverIsSpoiled(t *testing.T) {
	flips := 2000
	if raceDetector {
		flips = 300
	}
	worlds := spoiledWorlds(t, 4, 400)
	rnd := rand.New(rand.NewPCG(2, 34))
	var all LeftOut
	for _, g := range worlds {
		m := g.first
		want, err := stateBytes(m)
		c := m.CopyAll()
		c.Unchecked()
		var b bytes.Buffer
		if _, err2 := c.WriteTo(&b); err != nil || err2 != nil || !bytes.Equal(b.Bytes(), want) || c.LeftOut() != (LeftOut{}) {
			t.Fatalf("unchecked the state has %d bytes, checked %d; left out: %s (%v, %v)", b.Len(), len(want), c.LeftOut(), err, err2)
		}
		c.Release()
	}
	for n := range flips {
		m := worlds[n%len(worlds)].first
		f := newFlipper(rnd.IntN, m).flip()
		what := fmt.Sprintf("flip %d, %s of %s", n, f.what, f.part)
		m.Digests(nil)
		c := m.CopyAll()
		c.Unchecked()
		var b bytes.Buffer
		if _, err := c.WriteTo(&b); err != nil {
			t.Fatalf("%s: written unchecked: %v", what, err)
		}
		all.add(c.LeftOut())
		c.Release()
		_, _ = stateBytes(m) // which may fail
		f.back()
	}
	if raceDetector {
		return
	}
	if all.Leaves == 0 || all.Records == 0 || all.Details == 0 || all.Blocks == 0 {
		t.Errorf("left out in all: %s; want some of each", all)
	}
	t.Log(all)
}

// A table that was spoiled is another one, found by the digests, and by a walk that has seen the
// one before; whoever reads that one sees nothing of it.
func TestSpoiledTableIsFound(t *testing.T) {
	m := movingMachine(t)
	rnd := rand.New(rand.NewPCG(3, 35))
	found := map[string]int{}
	was := m.Table()
	kept := was.appendSnapshot(nil)
	for n := range 1000 {
		walk := NewTableWalk(m)
		for !walk.Step(1 + rnd.IntN(1000)) {
		}
		if len(walk.Faults()) > 0 {
			t.Fatalf("fault %d: before it a walk found %v", n, walk.Faults())
		}
		before := m.Digests(nil)
		f := m.spoil(rnd.IntN)
		if differ := differing(before, m.Digests(nil)); !slices.Equal(differ, []Part{f.part}) {
			t.Fatalf("fault %d, %s of %s: the digests differ of %v", n, f.what, f.part, differ)
		}
		walk = NewTableWalk(m)
		for !walk.Step(1 + rnd.IntN(1000)) {
		}
		if got := walk.Faults(); len(got) != 1 || got[0].Part != f.part {
			t.Fatalf("fault %d, %s of %s: a walk found %v", n, f.what, f.part, got)
		}
		if !bytes.Equal(was.appendSnapshot(nil), kept) {
			t.Fatalf("fault %d, %s of %s: it is in the table of before, too", n, f.what, f.part)
		}
		f.back()
		found[f.what]++
	}
	if len(found) < 5 {
		t.Errorf("only these were spoiled: %v", found)
	}
}
