package shardmap

import (
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sort"
	"syscall"
	"testing"

	"muster/raft"
)

// The figures of docs/decisions/0002-state-layout.md come from
//
//	go test ./shardmap -run '^$' -bench . -benchmem
//
// and, for ten million keys, -keys 10000000. Each layout is asked the same:
// 16-byte keys in random order, spread over 4096 slots, values of 128 bytes.
var benchKeys = flag.Int("keys", 1_000_000, "keys that the benchmarks work on")

// layout is one slot of a layout under test.
type layout interface {
	put(key, value []byte, hash, version uint64)
	get(key []byte, hash uint64, dst []byte) []byte
	del(key []byte, hash uint64) bool
	walk(f func(key []byte))
}

type benchLayout struct {
	name string
	make func() layout
}

var benchLayouts = []benchLayout{
	{"lookup+leaves", func() layout { return &leavesLayout{newStore(KindKey)} }},
	{"hash", func() layout { return &hashLayout{} }},
	{"prefixes", func() layout { return &prefixLayout{newStore(KindKey), nil} }},
	{"gomap", func() layout { return gomapLayout{} }},
	{"pointers", func() layout { return &pointerLayout{} }},
}

// benchKey fills key with the i-th of the keys: a counter under a common
// beginning, in an order that has nothing to do with it.
func benchKey(key []byte, i int) []byte {
	n := uint64(i)*0x9E3779B1%(1<<32) + 1<<32
	return fmt.Appendf(key[:0], "user/%011d", n)
}

type benchState struct {
	slots  []layout
	keys   []byte // 16 each
	values []byte
}

func (b *benchState) key(i int) []byte { return b.keys[16*i : 16*i+16] }

func newBenchState(kind benchLayout) *benchState {
	s := &benchState{slots: make([]layout, Slots), keys: make([]byte, 16**benchKeys), values: make([]byte, 4096)}
	for i := range *benchKeys {
		benchKey(s.key(i), i)
	}
	for i := range s.slots {
		s.slots[i] = kind.make()
	}
	return s
}

func (b *benchState) put(i, size int, version uint64) {
	slot, h := locate(b.key(i))
	b.slots[slot].put(b.key(i), b.values[:size], h, version)
}

// cpu returns the nanoseconds of processor time spent so far, the garbage
// collector's with it. Elapsed time says little where others work too.
func cpu() float64 {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return float64(u.Utime.Nano() + u.Stime.Nano())
}

func reportCPU(b *testing.B, before float64, per int) {
	b.ReportMetric((cpu()-before)/float64(b.N*per), "cpu-ns/key")
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkLayouts runs each question against each layout.
func BenchmarkLayouts(b *testing.B) {
	for _, kind := range benchLayouts {
		b.Run(kind.name, func(b *testing.B) {
			var s *benchState
			random := func() func() int {
				r := rand.New(rand.NewPCG(1, 2))
				return func() int { return r.IntN(*benchKeys) }
			}
			b.Run("insert", func(b *testing.B) {
				// A round is all keys, so that the slots are as full as they get.
				spent := 0.0
				for b.Loop() {
					b.StopTimer()
					s = newBenchState(kind)
					before := heap()
					b.StartTimer()
					spent -= cpu()
					for i := range *benchKeys {
						s.put(i, 128, 1)
					}
					spent += cpu()
					b.StopTimer()
					b.ReportMetric(float64(heap()-before)/float64(*benchKeys), "B/key")
					b.StartTimer()
				}
				b.ReportMetric(spent/float64(b.N**benchKeys), "cpu-ns/key")
			})
			if s == nil {
				s = newBenchState(kind)
				for i := range *benchKeys {
					s.put(i, 128, 1)
				}
			}
			b.Run("get", func(b *testing.B) {
				next, dst := random(), []byte(nil)
				before := cpu()
				for b.Loop() {
					key := s.key(next())
					slot, h := locate(key)
					dst = s.slots[slot].get(key, h, dst[:0])
				}
				reportCPU(b, before, 1)
			})
			b.Run("overwrite", func(b *testing.B) {
				next := random()
				before := cpu()
				for b.Loop() {
					s.put(next(), 128, 2)
				}
				reportCPU(b, before, 1)
			})
			b.Run("overwrite-sizes", func(b *testing.B) {
				next, size := random(), 0
				before := cpu()
				for b.Loop() {
					size = (size + 61) % 256
					s.put(next(), size, 3)
				}
				reportCPU(b, before, 1)
			})
			b.Run("walk", func(b *testing.B) {
				n, before := 0, cpu()
				for b.Loop() {
					s.slots[n%Slots].walk(func([]byte) {})
					n++
				}
				reportCPU(b, before, max(1, *benchKeys/Slots))
			})
			b.Run("gc", func(b *testing.B) {
				before := cpu()
				for b.Loop() {
					runtime.GC()
				}
				b.ReportMetric((cpu()-before)/float64(b.N), "cpu-ns/gc")
			})
			b.Run("del-insert", func(b *testing.B) {
				next := random()
				before := cpu()
				for b.Loop() {
					i := next()
					slot, h := locate(s.key(i))
					s.slots[slot].del(s.key(i), h)
					s.put(i, 128, 4)
				}
				reportCPU(b, before, 1)
			})
			runtime.KeepAlive(s)
		})
	}
}

// leavesLayout is the one that is used: a lookup for keys, leaves for order.
type leavesLayout struct{ s store }

func (l *leavesLayout) put(key, value []byte, hash, version uint64) {
	l.s.put(key, value, hash, version)
}
func (l *leavesLayout) get(key []byte, hash uint64, dst []byte) []byte {
	return append(dst, l.s.get(key, hash).value()...)
}
func (l *leavesLayout) del(key []byte, hash uint64) bool { return l.s.del(key, hash) }
func (l *leavesLayout) walk(f func(key []byte)) {
	c := l.s.seek(nil)
	for rec := c.record(); rec != nil; rec = c.record() {
		f(rec.key())
		c.next()
	}
}

// hashLayout is a flat open-addressing table of (tag, ref), its ordered index
// sorted when somebody asks. Records are appended to one slab that doubles; it
// leaves out reuse of space and copies, which would cost it more.
type hashLayout struct {
	table []uint64 // tag << 32 | offset+1; 0 is empty
	count int
	slab  []byte
	order []uint32
	dirty bool
}

func (l *hashLayout) rec(e uint64) record { return record(l.slab[uint32(e)-1:]) }

func (l *hashLayout) find(key []byte, hash uint64) (int, bool) {
	mask := uint64(len(l.table) - 1)
	for i := hash >> 12 & mask; ; i = (i + 1) & mask {
		e := l.table[i]
		if e == 0 {
			return int(i), false
		}
		if e>>32 == hash>>32 && string(l.rec(e).key()) == string(key) {
			return int(i), true
		}
	}
}

func (l *hashLayout) put(key, value []byte, hash, version uint64) {
	if l.count*4 >= len(l.table)*3 {
		old := l.table
		l.table = make([]uint64, max(8, 2*len(old)))
		for _, e := range old {
			if e != 0 {
				k := l.rec(e).key()
				i, _ := l.find(k, hashKey(k))
				l.table[i] = e
			}
		}
	}
	i, found := l.find(key, hash)
	size := recordSize(len(key), len(value))
	if found && l.rec(l.table[i]).size() == size {
		l.rec(l.table[i]).write(KindKey, &newRecord{key: key, value: value, version: version})
		return
	}
	if !found {
		l.count++
	}
	l.dirty = true
	at := len(l.slab)
	if at+size > cap(l.slab) {
		grown := make([]byte, at, (at+size)*5/4)
		copy(grown, l.slab)
		l.slab = grown
	}
	l.slab = l.slab[:at+size]
	record(l.slab[at:]).write(KindKey, &newRecord{key: key, value: value, version: version})
	l.table[i] = hash>>32<<32 | uint64(at+1)
}

func (l *hashLayout) get(key []byte, hash uint64, dst []byte) []byte {
	i, _ := l.find(key, hash)
	return append(dst, l.rec(l.table[i]).value()...)
}

func (l *hashLayout) del(key []byte, hash uint64) bool {
	i, found := l.find(key, hash)
	if !found {
		return false
	}
	l.count--
	l.dirty = true
	mask := len(l.table) - 1
	hole := i
	for j := (i + 1) & mask; l.table[j] != 0; j = (j + 1) & mask {
		home := int(hashKey(l.rec(l.table[j]).key())>>12) & mask
		if (j-home)&mask >= (j-hole)&mask {
			l.table[hole] = l.table[j]
			hole = j
		}
	}
	l.table[hole] = 0
	return true
}

func (l *hashLayout) walk(f func(key []byte)) {
	if l.dirty {
		l.order = l.order[:0]
		for _, e := range l.table {
			if e != 0 {
				l.order = append(l.order, uint32(e))
			}
		}
		sort.Slice(l.order, func(i, j int) bool {
			return string(l.rec(uint64(l.order[i])).key()) < string(l.rec(uint64(l.order[j])).key())
		})
		l.dirty = false
	}
	for _, e := range l.order {
		f(l.rec(uint64(e)).key())
	}
}

// prefixLayout is sorted runs of (8 bytes of the key after what the run has in
// common, ref), without tags: every question is a binary search. It borrows the
// store for its slabs.
type prefixLayout struct {
	s    store
	runs []*prefixRun
}

const prefixRunMax = 84 // 1016 bytes

type prefixRun struct {
	n      uint16
	common uint16
	prefix [prefixRunMax]uint64
	refs   [prefixRunMax]ref
}

func prefixOf(key []byte, common uint16) uint64 {
	var b [8]byte
	if int(common) < len(key) {
		copy(b[:], key[common:])
	}
	return binary.BigEndian.Uint64(b[:])
}

func (l *prefixLayout) key(r *prefixRun, i int) []byte { return l.s.at(r.refs[i]).key() }

func (l *prefixLayout) find(key []byte) (*prefixRun, int, int, bool) {
	if len(l.runs) == 0 {
		return nil, 0, 0, false
	}
	at := sort.Search(len(l.runs), func(i int) bool { return string(l.key(l.runs[i], 0)) > string(key) })
	at = max(at-1, 0)
	r := l.runs[at]
	if first := l.key(r, 0); len(key) < int(r.common) || string(first[:r.common]) != string(key[:r.common]) {
		if string(key) < string(first) {
			return r, at, 0, false
		}
		return r, at, int(r.n), false
	}
	p := prefixOf(key, r.common)
	// The common part is compared once, at the record that is reached.
	lo, hi := 0, int(r.n)
	for lo < hi {
		mid := (lo + hi) / 2
		if r.prefix[mid] < p || r.prefix[mid] == p && string(l.key(r, mid)) < string(key) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return r, at, lo, lo < int(r.n) && string(l.key(r, lo)) == string(key)
}

func (l *prefixLayout) fix(r *prefixRun) {
	a, b := l.key(r, 0), l.key(r, int(r.n)-1)
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	r.common = uint16(n)
	for i := range int(r.n) {
		r.prefix[i] = prefixOf(l.key(r, i), r.common)
	}
}

func (l *prefixLayout) put(key, value []byte, hash, version uint64) {
	r, at, pos, found := l.find(key)
	size := recordSize(len(key), len(value))
	if found {
		old := l.s.at(r.refs[pos])
		if old.size() == size {
			old.write(KindKey, &newRecord{key: key, value: value, version: version})
			return
		}
		r.refs[pos] = l.s.alloc(size)
		l.s.at(r.refs[pos]).write(KindKey, &newRecord{key: key, value: value, version: version})
		return
	}
	to := l.s.alloc(size)
	l.s.at(to).write(KindKey, &newRecord{key: key, value: value, version: version})
	if r == nil {
		r = &prefixRun{}
		l.runs = append(l.runs, r)
	}
	if r.n == prefixRunMax {
		right := &prefixRun{n: prefixRunMax / 2}
		copy(right.refs[:], r.refs[prefixRunMax/2:])
		r.n = prefixRunMax / 2
		l.runs = append(l.runs, nil)
		copy(l.runs[at+2:], l.runs[at+1:])
		l.runs[at+1] = right
		l.fix(r)
		l.fix(right)
		if pos > int(r.n) {
			pos -= int(r.n)
			r = right
		}

	}
	copy(r.refs[pos+1:], r.refs[pos:r.n])
	copy(r.prefix[pos+1:], r.prefix[pos:r.n])
	r.refs[pos] = to
	r.n++
	if first := l.key(r, 0); int(r.common) > len(key) || string(first[:min(len(first), int(r.common))]) != string(key[:r.common]) || r.n == 1 || pos == 0 {
		l.fix(r)
	} else {
		r.prefix[pos] = prefixOf(key, r.common)
	}
}

func (l *prefixLayout) get(key []byte, hash uint64, dst []byte) []byte {
	r, _, pos, found := l.find(key)
	if !found {
		panic("not there")
	}
	return append(dst, l.s.at(r.refs[pos]).value()...)
}

func (l *prefixLayout) del(key []byte, hash uint64) bool {
	r, at, pos, found := l.find(key)
	if !found {
		return false
	}
	copy(r.refs[pos:], r.refs[pos+1:r.n])
	copy(r.prefix[pos:], r.prefix[pos+1:r.n])
	if r.n--; r.n == 0 {
		l.runs = append(l.runs[:at], l.runs[at+1:]...)
	}
	return true
}

func (l *prefixLayout) walk(f func(key []byte)) {
	for _, r := range l.runs {
		for i := range int(r.n) {
			f(l.key(r, i))
		}
	}
}

// gomapLayout is a Go map with a value per key, sorted when somebody asks.
type gomapLayout map[string]gomapValue

type gomapValue struct {
	version, hash uint64
	value         []byte
}

func (l gomapLayout) put(key, value []byte, hash, version uint64) {
	var b [256 + 64]byte
	l[string(key)] = gomapValue{version, record(b[:]).write(KindKey, &newRecord{key: key, value: value, version: version}), append([]byte(nil), value...)}
}
func (l gomapLayout) get(key []byte, hash uint64, dst []byte) []byte {
	return append(dst, l[string(key)].value...)
}
func (l gomapLayout) del(key []byte, hash uint64) bool {
	_, ok := l[string(key)]
	delete(l, string(key))
	return ok
}
func (l gomapLayout) walk(f func(key []byte)) {
	keys := make([]string, 0, len(l))
	for k := range l {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		f([]byte(k))
	}
}

// pointerLayout is a skip list, four levels deep on average a quarter each, with
// a node per record.
type pointerLayout struct {
	head pointerNode
	rand uint64
}

type pointerNode struct {
	key, value    []byte
	version, hash uint64
	next          [8]*pointerNode
}

func (l *pointerLayout) before(key []byte, path *[8]*pointerNode) *pointerNode {
	n := &l.head
	for level := 7; level >= 0; level-- {
		for n.next[level] != nil && string(n.next[level].key) < string(key) {
			n = n.next[level]
		}
		path[level] = n
	}
	if n = n.next[0]; n != nil && string(n.key) == string(key) {
		return n
	}
	return nil
}

func (l *pointerLayout) put(key, value []byte, hash, version uint64) {
	var path [8]*pointerNode
	var b [256 + 64]byte
	h := record(b[:]).write(KindKey, &newRecord{key: key, value: value, version: version})
	if n := l.before(key, &path); n != nil {
		n.value, n.version, n.hash = append([]byte(nil), value...), version, h
		return
	}
	n := &pointerNode{key: append([]byte(nil), key...), value: append([]byte(nil), value...), version: version, hash: h}
	l.rand = l.rand*6364136223846793005 + 1442695040888963407
	for level, r := 0, l.rand>>40; level < 8; level, r = level+1, r>>2 {
		n.next[level] = path[level].next[level]
		path[level].next[level] = n
		if r&3 != 0 {
			break
		}
	}
}

func (l *pointerLayout) get(key []byte, hash uint64, dst []byte) []byte {
	var path [8]*pointerNode
	return append(dst, l.before(key, &path).value...)
}

func (l *pointerLayout) del(key []byte, hash uint64) bool {
	var path [8]*pointerNode
	n := l.before(key, &path)
	if n == nil {
		return false
	}
	for level := range path {
		if path[level].next[level] == n {
			path[level].next[level] = n.next[level]
		}
	}
	return true
}

func (l *pointerLayout) walk(f func(key []byte)) {
	for n := l.head.next[0]; n != nil; n = n.next[0] {
		f(n.key)
	}
}

// BenchmarkApply is the whole of a write to the map: lock, session, digest.
func BenchmarkApply(b *testing.B) {
	m := owning(allSlots())
	keys := make([]byte, 16**benchKeys)
	value := make([]byte, 128)
	c := Command{Kind: CommandSet, Items: make([][]byte, 2)}
	index := uint64(0)
	apply := func(i int, slot Slot) {
		index++
		c.Slot, c.Items[0], c.Items[1] = slot, keys[16*i:16*i+16], value
		if r, err := m.Apply(raft.LogID{Term: 1, Index: index}, raft.GroupTime(index), &c); err != nil || r.Status != StatusApplied {
			b.Fatal(r, err)
		}
	}
	for i := range *benchKeys {
		apply(i, SlotOf(benchKey(keys[16*i:16*i+16], i)))
	}
	for _, session := range []uint64{0, 77} {
		b.Run(fmt.Sprintf("session=%d", session), func(b *testing.B) {
			b.ReportAllocs()
			r := rand.New(rand.NewPCG(1, 2))
			before := cpu()
			defer func() { reportCPU(b, before, 1) }()
			for b.Loop() {
				i := r.IntN(*benchKeys)
				if c.Session = session; session != 0 {
					c.Sequence++
					c.Floor = c.Sequence - min(c.Sequence, 64)
				}
				apply(i, SlotOf(keys[16*i:16*i+16]))
			}
		})
	}
	b.Run("warmed", func(b *testing.B) {
		b.ReportAllocs()
		r := rand.New(rand.NewPCG(1, 2))
		before := cpu()
		defer func() { reportCPU(b, before, 1) }()
		commands := make([]Command, WarmMax)
		c.Sequence += 64
		for n := 0; b.Loop(); n++ {
			if n%WarmMax == 0 {
				for j := range commands {
					i := r.IntN(*benchKeys)
					k := keys[16*i : 16*i+16]
					c.Sequence++
					commands[j] = Command{Kind: CommandSet, Session: 77, Sequence: c.Sequence, Floor: c.Sequence - 64, Slot: SlotOf(k), Items: append(commands[j].Items[:0], k, value)}
				}
				m.Warm(commands)
			}
			index++
			if r, err := m.Apply(raft.LogID{Term: 1, Index: index}, raft.GroupTime(index), &commands[n%WarmMax]); err != nil || r.Status != StatusApplied {
				b.Fatal(r, err)
			}
		}
	})
	b.Run("copy", func(b *testing.B) {
		for b.Loop() {
			copyOf(m, Slot(b.N%Slots)).Release()
		}
	})
	b.Run("list-page-of-100", func(b *testing.B) {
		for b.Loop() {
			listNow(m, []byte("user/"), keys[:16], 100, 0, false, func([]byte, uint64, []byte) {})
		}
	})
	b.Run("overwrite-under-copy", func(b *testing.B) {
		copies := make([]*SlotCopy, Slots)
		for s := range copies {
			copies[s] = copyOf(m, Slot(s))
		}
		r := rand.New(rand.NewPCG(1, 2))
		c.Session, c.Sequence, c.Floor = 0, 0, 0
		for b.Loop() {
			i := r.IntN(*benchKeys)
			apply(i, SlotOf(keys[16*i:16*i+16]))
		}
		for _, c := range copies {
			c.Release()
		}
	})
}

// BenchmarkGet is the whole of a read from the map: its slot, the lock, the record.
func BenchmarkGet(b *testing.B) {
	m := owning(allSlots())
	keys, value := make([]byte, 16**benchKeys), make([]byte, 128)
	c := Command{Kind: CommandSet, Items: make([][]byte, 2)}
	for i := range *benchKeys {
		k := benchKey(keys[16*i:16*i+16], i)
		c.Slot, c.Items[0], c.Items[1] = SlotOf(k), k, value
		if r, err := m.Apply(raft.LogID{Term: 1, Index: uint64(i + 1)}, 0, &c); err != nil || r.Status != StatusApplied {
			b.Fatal(r, err)
		}
	}
	b.ReportAllocs()
	r := rand.New(rand.NewPCG(1, 2))
	before := cpu()
	defer func() { reportCPU(b, before, 1) }()
	var is Presence
	for b.Loop() {
		i := r.IntN(*benchKeys)
		if value, _, is = m.Get(keys[16*i:16*i+16], value[:0]); is != Present {
			b.Fatal(is)
		}
	}
}
