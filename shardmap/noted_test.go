package shardmap

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// flipped is what became of a map in which a bit flipped while entries were applied.
type flipped struct {
	what     string
	part     Part
	panicked any
	noted    bool // by entries
	walked   bool // by a walk afterwards, too
	differs  bool // its digests from those of other replicas
	unlike   string
}

// flipWithin has a replica come to a random place of a log, flips a bit there, and applies the rest
// without a walk. It returns false if no bit was flipped, or a map can't be asked about it.
func flipWithin(r *rand.Rand, g *groupLog, flip func(f *flipper) *flip) (x flipped, ok bool) {
	var from []int
	for at := range g.states {
		if at < len(g.entries)-1 {
			from = append(from, at)
		}
	}
	slices.Sort(from)
	at := from[r.IntN(len(from))]
	m := g.newMap()
	if at > 0 {
		e := &g.entries[at-1]
		if err := m.Load(bytes.NewReader(g.states[at]), e.id, e.now); err != nil {
			panic(err)
		}
	}
	apply := func(e *loggedEntry) {
		var c Command
		if e.kind == loggedCommand {
			if err := ReadCommand(e.payload, &c); err != nil {
				panic(err)
			}
		}
		c.Principal = e.principal
		if _, _, err := e.applyTo(m, &c); err != nil {
			panic(err)
		}
	}
	for until := min(len(g.entries)-1, at+r.IntN(300)); at < until; at++ {
		apply(&g.entries[at])
	}
	f := newFlipper(r.IntN, m)
	if len(f.slots) == 0 {
		return x, false
	}
	made := flip(f)
	if made == nil {
		return x, false
	}
	x.what, x.part = made.what, made.part
	defer func() {
		if p := recover(); p != nil {
			x.panicked, ok = p, true
		}
	}()
	for ; at < len(g.entries); at++ {
		apply(&g.entries[at])
	}
	x.noted = len(m.Faults()) > 0
	x.differs = !slices.Equal(m.Digests(nil), g.first.Digests(nil))
	got, err := stateBytes(m)
	if want := g.states[at]; err == nil && !bytes.Equal(got, want) {
		x.unlike = fmt.Sprintf("the snapshot of %d bytes is not the one of %d bytes that it should be", len(got), len(want))
	} else if err == nil {
		x.unlike = unlikeHistory(m.history, g.first.history)
	}
	x.walked = len(walkAll(m, 5000)) > 0
	return x, true
}

// unlikeHistory says how a history, which may begin later, differs from another.
func unlikeHistory(got, want *History) string {
	r := got.ring.Load()
	if r == nil {
		return ""
	}
	a, ok := got.Cursor(r.blocks[0].before)
	b, ok2 := want.Cursor(r.blocks[0].before)
	if !ok || !ok2 {
		return fmt.Sprintf("a cursor behind event %d of entry %s: %t, want %t", r.blocks[0].before.N, r.blocks[0].before.ID, ok, ok2)
	}
	defer a.Close()
	defer b.Close()
	for {
		var is, should Event
		ok, ok2 = a.Next(&is), b.Next(&should)
		if ok != ok2 || fmt.Sprint(is) != fmt.Sprint(should) {
			return fmt.Sprintf("event %+v, want %+v", is, should)
		}
		if !ok {
			return ""
		}
	}
}

// A bit that flips in a record is handed on when the key is written again: to the history, which has
// no digest, and by increments, compares and gets to what has. Whatever is flipped and whatever is
// applied on top of it, with no walk in between, either the fault is found afterwards, or all is as if
// it had not been. What one replica could not find by itself, its digests must show.
func TestFlipsAreFoundAfterWrites(t *testing.T) {
	flips := 600
	if *sameSeeds > 0 {
		flips *= 20
	}
	if raceDetector {
		flips /= 4
	}
	worlds := spoiledWorlds(t, 3, 500)
	rnd := rand.New(rand.NewPCG(5, 41))
	found, panics := map[string]int{}, 0
	for n := range flips {
		g := worlds[n%len(worlds)]
		x, ok := flipWithin(rnd, g, func(f *flipper) *flip {
			if n%3 > 0 {
				return f.ofRecord()
			}
			return f.slot()
		})
		if !ok {
			continue
		}
		what := fmt.Sprintf("flip %d, %s of %s", n, x.what, x.part)
		switch {
		case x.panicked != nil:
			panics++
		case x.noted && !x.walked:
			t.Fatalf("%s: an entry noted a fault, and a walk tells none", what)
		case x.noted:
			found["by an entry"]++
		case x.walked:
			found["by a walk"]++
		case x.unlike == "" && !x.differs:
			found["gone"]++
		case strings.HasSuffix(x.what, "of a record") || !x.differs:
			t.Fatalf("%s: nothing finds it (digests differ: %t), and %s", what, x.differs, x.unlike)
		default:
			found["by the digests"]++
		}
	}
	t.Logf("of %d flips found %v; %d ended in a panic", flips, found, panics)
	for _, how := range []string{"by an entry", "by a walk", "gone"} {
		if found[how] == 0 {
			t.Errorf("of %d flips none was found %s: %v", flips, how, found)
		}
	}
}

// ofRecord flips a bit of the value, or of the hash, of a record; nil if there is none.
func (r *flipper) ofRecord() *flip {
	s := r.slots[r.draw(len(r.slots))]
	st := slotStateOf(r.m, s)
	all := append([]*store{&st.records}, st.others...)
	o := all[r.draw(len(all))]
	if o.count == 0 {
		return nil
	}
	l := o.leaf(r.draw(len(o.leaves)))
	rec := o.at(l.ref(r.draw(l.len())))
	if r.draw(8) == 0 {
		return bitsOf(r, "hash of a record", s, rec[:8])
	}
	return bitsOf(r, "value of a record", s, rec.value())
}

func bitsOf(r *flipper, what string, s Slot, b []byte) *flip {
	f := r.byteOf(what, Part(s), b)
	if f != nil {
		f.what = what
	}
	return f
}
