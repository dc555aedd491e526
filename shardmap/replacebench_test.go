package shardmap

import (
	"math/rand/v2"
	"slices"
	"testing"

	"muster/raft"
)

// BenchmarkReplace is a write to a key that is there, in a map with a history: what hands a record's
// value on before it goes is part of each.
//
//	go test ./shardmap -run '^$' -bench Replace -keys 300000 -benchtime 100x
func BenchmarkReplace(b *testing.B) {
	const turn = 16 << 10 // writes
	txn := func(ops ...Op) func(k []byte) Command {
		return func(k []byte) Command {
			for i := range ops {
				ops[i].Key = k
			}
			return TxnCommand(SlotOf(k), &Txn{Then: ops})
		}
	}
	value := make([]byte, 128)
	for _, c := range []struct {
		name  string
		write func(k []byte) Command
		anew  func(k []byte) Command // each turn ends with one for each write
		rules string                 // for versions
	}{
		{name: "set", write: func(k []byte) Command {
			return Command{Kind: CommandSet, Slot: SlotOf(k), Items: [][]byte{k, value}}
		}},
		{name: "set-versions", rules: "=20", write: func(k []byte) Command {
			return Command{Kind: CommandSet, Slot: SlotOf(k), Items: [][]byte{k, value}}
		}},
		{name: "set-beside-versions", rules: "no/=20", write: func(k []byte) Command {
			return Command{Kind: CommandSet, Slot: SlotOf(k), Items: [][]byte{k, value}}
		}},
		{name: "del", write: func(k []byte) Command {
			return Command{Kind: CommandDel, Slot: SlotOf(k), Items: [][]byte{k}}
		}, anew: func(k []byte) Command {
			return Command{Kind: CommandSet, Slot: SlotOf(k), Items: [][]byte{k, value}}
		}},
		{name: "incr", write: txn(Op{Kind: OpIncr, By: 1}), anew: nil},
		{name: "txn-set", write: txn(Op{Kind: OpSet, Value: value})},
		{name: "txn-set-ttl", write: txn(Op{Kind: OpSet, Value: value, TTL: 1 << 30})},
	} {
		b.Run(c.name, func(b *testing.B) {
			m := owning(allSlots())
			index := uint64(10)
			keys := make([]byte, 16**benchKeys)
			r := rand.New(rand.NewPCG(1, 2))
			apply := func(commands []Command) (nanoseconds float64) {
				before := cpu()
				for j := range commands {
					if j%WarmMax == 0 {
						m.Warm(commands[j:])
					}
					index++
					if r, err := m.Apply(raft.LogID{Term: 1, Index: index}, raft.GroupTime(index), &commands[j]); err != nil || r.Status != StatusApplied {
						b.Fatal(r, err)
					}
				}
				return (cpu() - before) / float64(len(commands))
			}
			apply([]Command{RaiseCommand(Level)})
			if c.rules != "" {
				apply([]Command{VersionsCommand(rulesOf(b, c.rules))})
			}
			first := c.write
			if c.anew != nil {
				first = c.anew
			}
			for i := range *benchKeys {
				apply([]Command{first(benchKey(keys[16*i:16*i+16], i))})
			}
			var spent []float64
			commands, after := make([]Command, turn), make([]Command, turn)
			for b.Loop() {
				at := r.IntN(*benchKeys)
				for j := range commands {
					at = (at + 7919) % *benchKeys // a key is written to once in a turn
					k := keys[16*at : 16*at+16]
					if commands[j] = c.write(k); c.anew != nil {
						after[j] = c.anew(k)
					}
				}
				spent = append(spent, apply(commands))
				if c.anew != nil {
					apply(after)
				}
			}
			slices.Sort(spent)
			b.ReportMetric(spent[len(spent)/2], "ns/write")
		})
	}
}
