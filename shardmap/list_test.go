package shardmap

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// A listing is in order of the keys over all slots, page by page, up or down, within its bounds, whatever
// the keys look like; and as many are counted. One would doubt it: slots are merged by eight bytes of their
// keys, behind a beginning that they have in common for a while, and counted by whole leaves. So keys here
// share long beginnings and leave them, end early, are each other's beginnings, and consist of the least and
// the greatest bytes.
func TestListIsInOrder(t *testing.T) {
	for seed := range uint64(60) {
		if wrong := listInOrder(t, seed); wrong != "" {
			t.Fatalf("seed %d: %s", seed, wrong)
		}
	}
}

// listInOrder lists and counts the keys of a map that is made of a seed, and returns what is wrong, or "".
func listInOrder(t testing.TB, seed uint64) string {
	r := rand.New(rand.NewPCG(seed, 11))
	f := newMemoryMap(t)
	part := func() string {
		letters := []string{"\x00", "\xff", "a", "b"}[r.IntN(3):]
		return strings.Repeat(letters[0], r.IntN(12)) + letters[r.IntN(len(letters))]
	}
	parts, tags := []string{part(), part(), part()}, 1+r.IntN(8)
	var keys []string
	for range r.IntN(600) {
		key := "/"
		for range r.IntN(4) {
			if key += parts[r.IntN(len(parts))]; r.IntN(3) == 0 {
				key += part()
			}
		}
		if seed%2 == 0 { // few slots, in which much is left when some of them leave what all began with
			key += fmt.Sprintf("{%d}", r.IntN(tags))
		}
		keys = append(keys, key)
		f.set([]byte(key), nil)
	}
	slices.Sort(keys)
	keys = slices.Compact(keys)
	bound := func() string { // mostly near some key, if there is one
		switch n := r.IntN(6); {
		case n < 2 || len(keys) == 0:
			return ""
		case n == 2:
			return "/" + part()
		default:
			k := keys[r.IntN(len(keys))]
			return k + []string{"", "", "\x00"}[n-3]
		}
	}
	for range 8 {
		prefix, rows := "/", 1+r.IntN(200)
		if r.IntN(2) == 0 {
			prefix += parts[0]
		}
		l := ListLimits{Rows: rows, KeysOnly: true, From: []byte(bound()), To: []byte(bound()), Descending: r.IntN(2) == 0}
		var want []string
		for _, key := range keys {
			if strings.HasPrefix(key, prefix) && key >= string(l.From) && (len(l.To) == 0 || key < string(l.To)) {
				want = append(want, key)
			}
		}
		if n := countPages(f.m, []byte(prefix), CountLimits{Keys: r.IntN(2) * rows, From: l.From, To: l.To}, len(want)); n != len(want) {
			return fmt.Sprintf("%d keys under %q from %q to %q are counted, want %d", n, prefix, l.From, l.To, len(want))
		}
		if l.Descending {
			slices.Reverse(want)
		}
		var got []string
		for more := true; more; {
			after := ""
			if len(got) > 0 {
				after = got[len(got)-1]
			}
			moment := momentOf(f.m, []byte(prefix))
			more = moment.List([]byte(prefix), []byte(after), l, func(key []byte, _ uint64, _ []byte) {
				got = append(got, string(key))
			})
			moment.End()
			if len(got) > len(want) {
				break
			}
		}
		if !slices.Equal(got, want) {
			return fmt.Sprintf("pages of %d keys under %q from %q to %q, descending %t, show %s, want %s", rows, prefix, l.From, l.To, l.Descending, showKeys(got), showKeys(want))
		}
	}
	return ""
}

// countPages counts as a client does, page by page, until it has counted more than there can be.
func countPages(m *Map, prefix []byte, l CountLimits, most int) int {
	count, after := 0, []byte(nil)
	for more := true; more && count <= most; {
		moment := momentOf(m, prefix)
		var n uint64
		n, after, more = moment.Count(prefix, after, l)
		moment.End()
		count += int(n)
	}
	return count
}

// A page of a count looks at no more leaves than it may, goes on in the middle of a slot, and shows one
// moment. One would doubt it: it is made of counts of leaves, of which it reads one key.
func TestCountIsBoundedAndOfOneMoment(t *testing.T) {
	f := newMemoryMap(t)
	const keys = 3 * leafMax * 8
	for i := range keys {
		f.set(fmt.Appendf(nil, "{a}%06d", i), nil)
	}
	c := counter{keys: keys, leaves: 5}
	moment := momentOf(f.m, nil)
	h := lister{}
	found := moment.slot(SlotOf([]byte("{a}")), h.first)
	last, more := c.count(found.cursor)
	if !more || c.n < 5*leafMax/2 || c.n > 5*leafMax || string(last) != fmt.Sprintf("{a}%06d", c.n-1) {
		t.Errorf("five leaves have %d keys, up to %q, more %t", c.n, last, more)
	}
	found.release()
	f.set([]byte("{a}1"), nil)
	f.set([]byte("b"), nil)
	if n, _, more := moment.Count(nil, nil, CountLimits{}); n != keys || more {
		t.Errorf("%d keys are counted as of before two more came, more %t; want %d", n, more, keys)
	}
	moment.End()
	if n := countPages(f.m, nil, CountLimits{}, keys+2); n != keys+2 {
		t.Errorf("%d keys are counted, want %d", n, keys+2)
	}
	if n := countPages(f.m, []byte("{a}"), CountLimits{Keys: 100}, keys+1); n != keys+1 {
		t.Errorf("%d keys of one slot are counted, want %d", n, keys+1)
	}
	nothingKept(t, f.m)
}

// The least key above all with a prefix, and the least above a key.
func TestBoundsOfKeys(t *testing.T) {
	for _, c := range []struct{ prefix, end string }{
		{"", ""}, {"a", "b"}, {"a/", "a0"}, {"a\xff", "b"}, {"\xff\xff", ""}, {"a\xff\xfe", "a\xff\xff"},
	} {
		if got := EndOfPrefix([]byte(c.prefix)); string(got) != c.end {
			t.Errorf("the end of prefix %q is %q, want %q", c.prefix, got, c.end)
		}
	}
	key := []byte("a")
	if got := KeyAfter(key[:1:1]); string(got) != "a\x00" {
		t.Errorf("the key after %q is %q", key, got)
	}
}

func showKeys(keys []string) string { return fmt.Sprintf("%d keys: %q", len(keys), keys) }
