package shardmap

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// tally counts other prefixes now and then, on one replica alone, and counts on; what is counted must
// be what there is, key by key.
func (w *moveWorld) tally() error {
	m := w.groups[w.tallies.IntN(moveGroups)].replicas[w.tallies.IntN(2)]
	switch w.tallies.IntN(20) {
	case 0:
		prefixes := slices.DeleteFunc([]string{"{", "{a}", "{a}1", "{b}", "{b}2", "{c}n", "x"}, func(string) bool { return w.tallies.IntN(2) == 0 })
		m.Tallies().Count(NewPrefixes(prefixes))
	case 1, 2, 3, 4, 5:
		if m.Tallies().Step(100 + 1000*w.tallies.IntN(3)); m.Tallies().Prefixes().Len() > 0 {
			w.done[fmt.Sprint("counted ", m.Tallies().At(0).Counted)]++
		}
	}
	return m.Tallies().Check()
}

// tallied is what a map had counted before a command, and what the command was said to add.
type tallied struct {
	m      *Map
	growth []Growth
	before []Tally
}

func tallyBefore(m *Map, c *Command) tallied {
	t := tallied{m: m, growth: m.Tallies().Growth(c, nil)}
	for i := range m.Tallies().Prefixes().Len() {
		t.before = append(t.before, m.Tallies().At(i))
	}
	return t
}

// compare compares what the command was said to add with what it has added.
func (t *tallied) compare(c *Command, r Result) error {
	for i, before := range t.before {
		now, said := t.m.Tallies().At(i), Growth{}
		for _, g := range t.growth {
			if g.Prefix == i {
				said = g
			}
		}
		if by := (Amount{now.Keys - before.Keys, now.Bytes - before.Bytes}); now.Counted && (by.Keys > said.By.Keys || by.Bytes > said.By.Bytes ||
			c.Kind == CommandSet && r.Version == t.m.turn.id.Index && (by.Keys != said.By.Keys || by.Bytes >= 0 && by.Bytes != said.By.Bytes)) {
			return fmt.Errorf("%s, whose result is %+v, was to add %v to prefix %q, and added %v", c.Kind, r, said.By, t.m.Tallies().Prefixes().At(i), by)
		}
	}
	return nil
}

// The prefixes that a key begins with are those that a look at each of them finds, the longest first.
func TestPrefixes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	word := func(most int) string {
		b := make([]byte, r.IntN(most+1))
		for i := range b {
			b[i] = "ab/"[r.IntN(3)]
		}
		return string(b)
	}
	for range 2000 {
		var list []string
		for range r.IntN(12) {
			list = append(list, "a"+word(4))
		}
		p := NewPrefixes(list)
		slices.Sort(list)
		list = slices.Compact(list)
		if p.Len() != len(list) {
			t.Fatalf("%d of %q", p.Len(), list)
		}
		for range 20 {
			key := word(7)
			var got, want []string
			for i := p.Longest([]byte(key)); i >= 0; i = p.Outer(i) {
				got = append(got, p.At(i))
			}
			for _, prefix := range slices.Backward(list) {
				if begins([]byte(key), prefix) {
					want = append(want, prefix)
				}
			}
			if !slices.Equal(got, want) {
				t.Fatalf("%q of %q: got %q, want %q", key, list, got, want)
			}
		}
	}
}

// A set of a key costs little more where prefixes are counted, and nothing where none are.
func BenchmarkSetCounted(b *testing.B) {
	for _, n := range []int{0, 1, 64} {
		b.Run(fmt.Sprint(n, " prefixes"), func(b *testing.B) {
			m := owning(allSlots())
			var prefixes []string
			for i := range n {
				prefixes = append(prefixes, fmt.Sprintf("app%02d/", i))
			}
			m.Tallies().Count(NewPrefixes(prefixes))
			m.Tallies().Step(1 << 30)
			keys := make([]Command, 1<<14)
			for i := range keys {
				keys[i] = Command{Kind: CommandSet, Slot: SlotByServer, Items: items(fmt.Sprintf("app%02d/key%d", i%64, i), "a value of some thirty-two bytes")}
				keys[i].Slot = SlotOf(keys[i].Items[0])
			}
			at := m.Applied()
			for i := 0; b.Loop(); i++ {
				at.Index++
				if _, err := m.Apply(at, 0, &keys[i%len(keys)]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
