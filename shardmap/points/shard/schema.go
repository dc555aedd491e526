package shard

import (
	"bytes"
	"hash/maphash"
	"math"

	"muster/shardmap/points/column"
)

// schema is which fields the measurements of a shard have, and of which kinds. It outlives heads. A field that is
// dropped keeps its number, so that a view and a frozen head find it as it was.
type schema struct {
	seed         maphash.Seed
	text         arena[byte]
	measurements []measurement // the first one stands for none
	fields       []field       // so does the first field
	names        table         // of measurements
	byName       table         // of fields, by measurement and name; of several of one name, the last
}

type measurement struct {
	name   uint32
	length uint16
	fields uint32 // the last of its fields
	alive  uint32 // how many there are that no entry has dropped
}

type field struct {
	measurement uint32
	name        uint32
	length      uint16
	kind        column.Kind
	next        uint32 // the field of the measurement that came before it
	// It is there for entries born to dead, the last one left out. born is the number of the entry that brought it.
	born, dead uint64
}

// forever is the end of what has none yet.
const forever = math.MaxUint64

func newSchema() *schema {
	return &schema{seed: maphash.MakeSeed(), text: arena[byte]{shift: 20}, measurements: make([]measurement, 1), fields: make([]field, 1)}
}

func (s *schema) bytes() int64 {
	return s.text.size + 16*int64(cap(s.measurements)) + 40*int64(cap(s.fields)) + s.names.bytes() + s.byName.bytes()
}

func (s *schema) hash(parent uint32, name []byte) uint32 {
	return uint32(maphash.Bytes(s.seed, name)>>16) ^ parent*0x9e3779b1 // an odd number near 2^32/phi: parents spread
}

func (s *schema) measurementName(m uint32) []byte {
	x := &s.measurements[m]
	return s.text.from(x.name, int(x.length))
}

func (s *schema) fieldName(f uint32) []byte {
	x := &s.fields[f]
	return s.text.from(x.name, int(x.length))
}

// keep copies a name.
func (s *schema) keep(name []byte) (at uint32, length uint16) {
	at, room := s.text.add(len(name))
	copy(room, name)
	return at, uint16(len(name))
}

// measurement returns the number of a measurement; 0: it has none.
func (s *schema) measurement(name []byte) uint32 {
	return s.names.find(s.hash(0, name), func(m uint32) bool { return bytes.Equal(s.measurementName(m), name) })
}

// addMeasurement numbers a measurement that has no number.
func (s *schema) addMeasurement(name []byte) uint32 {
	m := uint32(len(s.measurements))
	at, length := s.keep(name)
	s.measurements = append(s.measurements, measurement{name: at, length: length})
	s.names.add(s.hash(0, name), m)
	return m
}

// field returns the last field of a name; 0: there was none. It may be dead.
func (s *schema) field(m uint32, name []byte) uint32 {
	return s.byName.find(s.hash(m, name), func(f uint32) bool {
		return s.fields[f].measurement == m && bytes.Equal(s.fieldName(f), name)
	})
}

// addField adds a field that none alive has the name of, with the entry born.
func (s *schema) addField(m uint32, name []byte, k column.Kind, born uint64) uint32 {
	f := uint32(len(s.fields))
	before := s.field(m, name)
	x := field{measurement: m, kind: k, next: s.measurements[m].fields, born: born, dead: forever}
	if before != 0 {
		x.name, x.length = s.fields[before].name, s.fields[before].length
	} else {
		x.name, x.length = s.keep(name)
	}
	s.fields = append(s.fields, x)
	s.measurements[m].fields = f
	s.measurements[m].alive++
	hash := s.hash(m, name)
	if before != 0 {
		s.byName.replace(hash, before, f)
	} else {
		s.byName.add(hash, f)
	}
	return f
}

// drop ends all fields of a measurement with an entry.
func (s *schema) drop(m uint32, entry uint64) {
	for f := s.measurements[m].fields; f != 0; f = s.fields[f].next {
		s.fields[f].dead = min(s.fields[f].dead, entry)
	}
	s.measurements[m].alive = 0
}

// alive reports whether a field is there after an entry.
func (f *field) alive(entry uint64) bool { return f.born <= entry && entry < f.dead }

// aliveField returns the field of a name that is there after an entry; 0: there is none.
func (s *schema) aliveField(m uint32, name []byte, entry uint64) uint32 {
	for f := s.field(m, name); f != 0; f = s.fields[f].next {
		if s.fields[f].alive(entry) && bytes.Equal(s.fieldName(f), name) {
			return f
		}
	}
	return 0
}
