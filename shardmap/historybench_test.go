package shardmap

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"muster/raft"
)

// BenchmarkHistory is what a history costs a write: three maps take the same commands in turn,
// and each turn is compared with that of the map without one. Ratios of turns that lie so close
// together tell more than times do, on a machine that has other work.
//
//	go test ./shardmap -run '^$' -bench History -keys 300000 -benchtime 400x
func BenchmarkHistory(b *testing.B) {
	const turn = 16 << 10 // writes
	for _, size := range []int{16, 128, 1024} {
		b.Run(fmt.Sprintf("value=%d", size), func(b *testing.B) {
			none, bare, whole := owning(allSlots()), owning(allSlots()), owning(allSlots())
			maps := []*Map{none, bare, whole}
			raise := RaiseCommand(LeasesLevel)
			index := uint64(10)
			for _, m := range maps[1:] {
				if _, err := m.Apply(raft.LogID{Term: 1, Index: index}, 0, &raise); err != nil {
					b.Fatal(err)
				}
			}
			bare.history.prevMax = -1
			keys, values := make([]byte, 16**benchKeys), make([]byte, size)
			for i := range *benchKeys {
				benchKey(keys[16*i:16*i+16], i)
			}
			commands := make([]Command, turn)
			r := rand.New(rand.NewPCG(1, 2))
			fill := func(next func() int) {
				for j := range commands {
					i := next()
					k := keys[16*i : 16*i+16]
					commands[j] = Command{Kind: CommandSet, Session: 77, Sequence: index + uint64(j), Floor: index + uint64(j) - 64, Slot: SlotOf(k), Items: append(commands[j].Items[:0], k, values)}
				}
			}
			run := func(m *Map) (nanoseconds float64) {
				before := cpu()
				for j := range commands {
					if j%WarmMax == 0 {
						m.Warm(commands[j:])
					}
					if r, err := m.Apply(raft.LogID{Term: 1, Index: index + uint64(j)}, raft.GroupTime(index), &commands[j]); err != nil || r.Status != StatusApplied {
						b.Fatal(r, err)
					}
				}
				return (cpu() - before) / turn
			}
			index += 100
			for i := 0; i < *benchKeys; i += turn {
				at := i
				fill(func() int { at++; return (at - 1) % *benchKeys })
				for _, m := range maps {
					run(m)
				}
				index += turn
			}
			var spent [3][]float64
			for n := 0; b.Loop(); n++ {
				fill(func() int { return r.IntN(*benchKeys) })
				for k := range maps {
					k = (k + n) % len(maps)
					spent[k] = append(spent[k], run(maps[k]))
				}
				index += turn
			}
			median := func(x []float64) float64 { slices.Sort(x); return x[len(x)/2] }
			var over [3][]float64
			for k := range maps {
				for n := range spent[k] {
					over[k] = append(over[k], spent[k][n]-spent[0][n])
				}
			}
			b.ReportMetric(median(spent[0]), "ns/write")
			b.ReportMetric(median(over[1]), "ns-more/no-prev")
			b.ReportMetric(median(over[2]), "ns-more/with-prev")
		})
	}
}
