package shardmap

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// A listing is in order of the keys over all slots, page by page, whatever the keys look like. One would
// doubt it: slots are merged by eight bytes of their keys, behind a beginning that they have in common for a
// while. So keys here share long beginnings and leave them, end early, are each other's beginnings, and
// consist of the least and the greatest bytes.
func TestListIsInOrder(t *testing.T) {
	for seed := range uint64(60) {
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
		for range 6 {
			prefix, rows := "/", 1+r.IntN(200)
			if r.IntN(2) == 0 {
				prefix += parts[0]
			}
			var want, got []string
			for _, key := range keys {
				if strings.HasPrefix(key, prefix) {
					want = append(want, key)
				}
			}
			for more := true; more; {
				after := ""
				if len(got) > 0 {
					after = got[len(got)-1]
				}
				more = listNow(f.m, []byte(prefix), []byte(after), rows, 0, true, func(key []byte, _ uint64, _ []byte) {
					got = append(got, string(key))
				})
			}
			if !slices.Equal(got, want) {
				t.Fatalf("seed %d: pages of %d keys under %q show %s, want %s", seed, rows, prefix, showKeys(got), showKeys(want))
			}
		}
	}
}

func showKeys(keys []string) string { return fmt.Sprintf("%d keys: %q", len(keys), keys) }
