package shardmap

import (
	"fmt"
	"testing"
)

// BenchmarkList is a whole listing of a map, in pieces as a client asks for them:
//
//	go test ./shardmap -run '^$' -bench 'List$' -benchtime 3x -keys 1000000
//
// A map of fewer slots, with as many keys in each, is what one of several groups has.
func BenchmarkList(b *testing.B) {
	for _, slots := range []int{64, 512, Slots} {
		f := memoryMap{t: b, m: owning(allSlots()[:slots])}
		value := make([]byte, 128)
		keys := *benchKeys / Slots * slots
		for i, n := 0, 0; n < keys; i++ {
			if k := fmt.Appendf(nil, "list/%012d", i); int(SlotOf(k)) < slots {
				f.set(k, value)
				n++
			}
		}
		for _, way := range []struct {
			name  string
			limit ListLimits
		}{
			{"keys=false", ListLimits{}},
			{"keys=true", ListLimits{KeysOnly: true}},
			{"keys=true/descending", ListLimits{KeysOnly: true, Descending: true}},
		} {
			limit := way.limit
			limit.Bytes, limit.RowHead = 512<<10, 24
			b.Run(fmt.Sprintf("slots=%d/%s", slots, way.name), func(b *testing.B) {
				b.ReportAllocs()
				var rows []byte
				before := cpu()
				for b.Loop() {
					n := 0
					for after, more := []byte(nil), true; more; {
						rows = rows[:0]
						moment, _ := f.m.Moment([]byte("list/"), nil)
						more = moment.List([]byte("list/"), after, limit, func(k []byte, _ uint64, v []byte) {
							rows = append(append(rows, k...), v...)
							after = append(after[:0], k...)
							n++
						})
						moment.End()
					}
					if n != keys {
						b.Fatalf("%d keys are listed, want %d", n, keys)
					}
				}
				reportCPU(b, before, keys)
			})
		}
		b.Run(fmt.Sprintf("slots=%d/count", slots), func(b *testing.B) {
			before := cpu()
			for b.Loop() {
				if n := countPages(f.m, []byte("list/"), CountLimits{}, keys); n != keys {
					b.Fatalf("%d keys are counted, want %d", n, keys)
				}
			}
			reportCPU(b, before, keys)
		})
	}
}
