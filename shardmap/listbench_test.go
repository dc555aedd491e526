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
		for _, keysOnly := range []bool{false, true} {
			b.Run(fmt.Sprintf("slots=%d/keys=%v", slots, keysOnly), func(b *testing.B) {
				b.ReportAllocs()
				var rows []byte
				before := cpu()
				for b.Loop() {
					n := 0
					for after, more := []byte(nil), true; more; {
						rows = rows[:0]
						moment, _ := f.m.Moment([]byte("list/"), nil)
						more = moment.List([]byte("list/"), after, ListLimits{Bytes: 512 << 10, RowHead: 24, KeysOnly: keysOnly}, func(k []byte, _ uint64, v []byte) {
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
	}
}
