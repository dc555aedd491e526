package shard

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/cespare/xxhash/v2"

	"muster/shardmap/points"
)

// census counts the series that a shard has had, and the values of their tags, so that [points.Limits] hold. It outlives
// heads: a series that is in files alone can be written whatever the limit is. All of it follows from the entries, and is in
// snapshots.
//
// It has 32 bits of a hash of each series and of each value of a tag, some 19 bytes of memory each. With 60,000 series one in
// 70,000 is taken for another one and is not counted, on all replicas alike: that lets one more in.
type census struct {
	of     []*counted // by number of the measurement; nil: it has no series
	series int        // of all measurements
	// cut is the last entry that took series out, or that of a snapshot with which the replica began. Invariant: a series of the head
	// that came behind it is counted. Others are looked up: a delete of a series that has the hash of one of them took that out, too.
	cut uint64
}

// counted is what is counted of one measurement.
type counted struct {
	shared bool                // a copy has it: it is copied before it changes
	series map[uint32]struct{} // by hash
	values map[uint32]uint32   // how many of the series have it, by hash of tag and value
	tags   map[uint32]uint32   // how many values it has, by hash of the tag
}

func newCounted() *counted {
	return &counted{series: map[uint32]struct{}{}, values: map[uint32]uint32{}, tags: map[uint32]uint32{}}
}

// Bytes of an entry of these maps, with a million of them: a slot of 8, a byte that tells whether it is taken, and as much again,
// since half of the slots are free.
const (
	seriesBytes = 19
	valueBytes  = 19
)

func (c *census) bytes() (n int64) {
	for _, x := range c.of {
		if x != nil {
			n += 100 + int64(seriesBytes*len(x.series)+valueBytes*(len(x.values)+len(x.tags)))
		}
	}
	return n + 8*int64(cap(c.of))
}

// at returns what is counted of a measurement, to be changed.
func (c *census) at(measurement uint32) *counted {
	for len(c.of) <= int(measurement) {
		c.of = append(c.of, nil)
	}
	x := c.of[measurement]
	switch {
	case x == nil:
		x = newCounted()
	case x.shared:
		x = &counted{series: maps.Clone(x.series), values: maps.Clone(x.values), tags: maps.Clone(x.tags)}
	}
	c.of[measurement] = x
	return x
}

// hash32 is of a series' key, a tag, or a tag with its value. The lower half of a series' hash has its shard.
func hash32(b []byte) uint32 { return uint32(xxhash.Sum64(b) >> 32) }

// bugRecount is planted to show that its test finds it: a series that was sealed is counted, and refused, as a new one.
const bugRecount = "sealed series counted again"

// has reports whether a series is counted.
func (c *census) has(measurement uint32, key []byte) bool {
	if int(measurement) >= len(c.of) || c.of[measurement] == nil || bug(bugRecount) {
		return false
	}
	_, ok := c.of[measurement].series[hash32(key)]
	return ok
}

// over returns why a series that is not counted may not be added; no reason: it may.
func (c *census) over(limits *points.Limits, measurement uint32, key []byte) Refused {
	x := &counted{}
	if int(measurement) < len(c.of) && c.of[measurement] != nil {
		x = c.of[measurement]
	}
	var grows, full []byte // the tag that has the most values, and the one of those that may have no more
	var most, has uint32
	for tag, pair := range points.TagsOf(key) {
		n := x.tags[hash32(tag)]
		if grows == nil || n > most {
			grows, most = tag, n
		}
		if limits.Values > 0 && n >= limits.Values && n > has {
			if _, there := x.values[hash32(pair)]; !there {
				full, has = tag, n
			}
		}
	}
	r := Refused{Measurement: points.ParseMeasurement(points.MeasurementOf(key))}
	switch {
	case limits.Series > 0 && c.series >= int(limits.Series):
		r.Reason, r.Tag, r.Values, r.Limit = points.Refuse(points.TooManySeries, nil), points.ParseName(grows), most, limits.Series
	case full != nil:
		r.Reason, r.Tag, r.Values, r.Limit = points.Refuse(points.TooManyValues, nil), points.ParseName(full), has, limits.Values
	}
	return r
}

// add counts a series that is not counted yet.
func (c *census) add(measurement uint32, key []byte) {
	x := c.at(measurement)
	x.series[hash32(key)] = struct{}{}
	c.series++
	for tag, pair := range points.TagsOf(key) {
		h := hash32(pair)
		if x.values[h]++; x.values[h] == 1 {
			x.tags[hash32(tag)]++
		}
	}
}

// drop forgets all series of a measurement, with an entry.
func (c *census) drop(measurement uint32, entry uint64) {
	if int(measurement) < len(c.of) && c.of[measurement] != nil {
		c.series -= len(c.of[measurement].series)
		c.of[measurement] = nil
		c.cut = entry
	}
}

// remove forgets a series, with an entry.
func (c *census) remove(measurement uint32, key []byte, entry uint64) {
	if !c.has(measurement, key) {
		return
	}
	x := c.at(measurement)
	delete(x.series, hash32(key))
	c.series--
	c.cut = entry
	if len(x.series) == 0 {
		// Values may be left, of a series that had the hash of another one. Snapshots have nothing of a measurement
		// without series, and replicas that begin with one must count the same.
		c.of[measurement] = nil
		return
	}
	for tag, pair := range points.TagsOf(key) {
		h := hash32(pair)
		switch x.values[h] {
		case 0: // another series has the hash of this one, and was there first
		case 1:
			delete(x.values, h)
			switch t := hash32(tag); x.tags[t] {
			case 0: // a value of another tag has the hash of this one, and was counted with that tag
			case 1:
				delete(x.tags, t)
			default:
				x.tags[t]--
			}
		default:
			x.values[h]--
		}
	}
}

// deleted forgets what a tombstone takes away, if it takes all of it.
func (s *Shard) deleted(t *Tombstone) {
	m := s.schema.measurement(t.Measurement)
	switch {
	case m == 0 || t.First > s.window.First || t.Last < s.window.Last:
	case len(t.Series) == 0:
		s.census.drop(m, s.entry)
	default:
		for _, key := range t.Series {
			s.census.remove(m, key, s.entry)
		}
	}
}

// Limit says what the next entries may bring; the zero value, which is that of a new shard, bounds nothing. It is no part
// of the state: each entry goes by its own.
func (s *Shard) Limit(l points.Limits) { s.applied.limits = l }

// Forget has the shard count its series anew, from the next entry on. It follows a [Shard.Freeze], by which the head is empty.
// The window of the shard should be over: what comes late is counted by itself then.
func (s *Shard) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.census = census{}
}

// Census is how near a shard is to its limits.
type Census struct {
	Series int
	// Values are those of the tag that has the most, and Fields those of the measurement that has the most.
	Values, Fields uint32
	// Measurement is that of the tag, and Tag its name, as they are; no name if no series of the head has it.
	Measurement, Tag string
}

// tagLooked is how many series of a head are looked at to find the name of a tag: most of them have the tag that grows.
const tagLooked = 1000

// tagName finds the name of a tag of a measurement by its hash, among the series that came last.
func (h *head) tagName(measurement, hash uint32) string {
	if int(measurement) >= len(h.chains) {
		return ""
	}
	n := h.chains[measurement]
	for i := 0; n != 0 && i < tagLooked; i++ {
		x := h.series.at(n)
		for tag := range points.TagsOf(h.key(x)) {
			if hash32(tag) == hash {
				return points.ParseName(tag)
			}
		}
		n = x.next
	}
	return ""
}

// Census returns how near the shard is to its limits. It looks at each measurement and at each tag of one. Of tags with as many values it
// names the same one each time.
func (s *Shard) Census() (is Census) {
	is.Series = s.census.series
	of, grows := uint32(0), uint32(0)
	for m, x := range s.census.of {
		if x == nil {
			continue
		}
		for hash, n := range x.tags {
			if n > is.Values || n == is.Values && of == uint32(m) && hash < grows {
				is.Values, of, grows = n, uint32(m), hash
			}
		}
	}
	if of != 0 {
		is.Measurement, is.Tag = points.ParseMeasurement(s.schema.measurementName(of)), s.head.tagName(of, grows)
	}
	for m := range s.schema.measurements {
		is.Fields = max(is.Fields, s.schema.measurements[m].alive)
	}
	return is
}

// censusCopy is the census as it was at one entry.
type censusCopy struct {
	names []string // of measurements, as keys have them, in order
	of    map[string]*counted
}

// Copy is a view that a snapshot can be written of. Making one costs a step for each measurement; the next series that is new to
// a measurement costs a copy of what is counted of it.
func (s *Shard) Copy() *View {
	v := s.View()
	v.census = &censusCopy{of: map[string]*counted{}}
	for m, x := range s.census.of {
		if x == nil || len(x.series) == 0 {
			continue
		}
		x.shared = true
		name := string(s.schema.measurementName(uint32(m)))
		v.census.of[name] = x
		v.census.names = append(v.census.names, name)
	}
	slices.Sort(v.census.names)
	return v
}

// Which of the maps of a measurement a frame of a snapshot is of.
const (
	ofSeries = 1
	ofValues = 2
	ofTags   = 3
)

// each yields the maps of all measurements, in order, as sorted hashes with what is counted of each.
func (c *censusCopy) each(yield func(measurement string, of byte, hashes []uint32, count func(uint32) uint32)) {
	if c == nil {
		return
	}
	for _, name := range c.names {
		x := c.of[name]
		yield(name, ofSeries, slices.Sorted(maps.Keys(x.series)), func(uint32) uint32 { return 1 })
		yield(name, ofValues, slices.Sorted(maps.Keys(x.values)), func(h uint32) uint32 { return x.values[h] })
		yield(name, ofTags, slices.Sorted(maps.Keys(x.tags)), func(h uint32) uint32 { return x.tags[h] })
	}
}

// writeCensus writes what is counted.
func (v *View) writeCensus(f *frames) {
	var b []byte
	v.census.each(func(measurement string, of byte, hashes []uint32, count func(uint32) uint32) {
		for some := range slices.Chunk(hashes, censusFrame) {
			b = append(appendText(b[:0], []byte(measurement)), of)
			b = binary.AppendUvarint(b, uint64(len(some)))
			for _, h := range some {
				b = binary.AppendUvarint(binary.LittleEndian.AppendUint32(b, h), uint64(count(h)))
			}
			f.write(frameCensus, b)
		}
	})
}

// digest adds what is counted to a digest.
func (c *censusCopy) digest(d *xxhash.Digest) {
	var b []byte
	c.each(func(measurement string, of byte, hashes []uint32, count func(uint32) uint32) {
		b = append(appendText(b[:0], []byte(measurement)), of)
		for _, h := range hashes {
			b = binary.AppendUvarint(binary.LittleEndian.AppendUint32(b, h), uint64(count(h)))
		}
		d.Write(b)
	})
}

// census reads a frame of what is counted.
func (l *loader) census() {
	name := l.text("a measurement", points.KeyMax)
	of := byte(0)
	if b := l.bytes(1); b != nil {
		of = b[0]
	}
	n := l.uvarint("the number of what is counted", censusFrame)
	m := l.s.schema.measurement(name)
	place := censusPlace{string(name), of}
	switch before := l.counted; {
	case l.err != nil:
		return
	case m == 0 || of < ofSeries || of > ofTags || n == 0:
		l.fail("%d of kind %d are counted of measurement %q", n, of, name)
		return
	case place.compare(before.censusPlace) < 0:
		l.fail("what is counted of measurement %q is not in order", name)
		return
	case place != before.censusPlace:
		l.counted = lastCounted{censusPlace: place}
	}
	x := l.roll.at(m)
	for ; n > 0 && l.err == nil; n-- {
		b := l.bytes(4)
		if b == nil {
			return
		}
		h, count := binary.LittleEndian.Uint32(b), uint32(l.uvarint("a count", math.MaxUint32))
		if count == 0 || l.counted.any && h <= l.counted.hash || of == ofSeries && count != 1 {
			l.fail("what is counted of measurement %q is not in order, or %d times there", name, count)
			return
		}
		l.counted.hash, l.counted.any = h, true
		switch of {
		case ofSeries:
			x.series[h] = struct{}{}
			l.roll.series++
		case ofValues:
			x.values[h] = count
		case ofTags:
			x.tags[h] = count
		}
	}
}

// censusPlace is what frames of a census are in order by.
type censusPlace struct {
	measurement string
	of          byte
}

func (p censusPlace) compare(o censusPlace) int {
	return cmp.Or(cmp.Compare(p.measurement, o.measurement), cmp.Compare(p.of, o.of))
}

// lastCounted is the last hash that was read, if there was any.
type lastCounted struct {
	censusPlace
	hash uint32
	any  bool
}

// fault says what can't be of a census; "": nothing.
func (c *census) fault() string {
	for _, x := range c.of {
		if x == nil {
			continue
		}
		values := 0
		for _, n := range x.tags {
			values += int(n)
		}
		// Tags may have more than there are: a value that shares its hash with one of another tag may go from that one's count.
		if len(x.series) == 0 || values < len(x.values) {
			return fmt.Sprintf("%d series, and %d values of tags that have %d", len(x.series), len(x.values), values)
		}
	}
	return ""
}

// counts returns how many fields of a measurement are alive.
func (s *schema) counts(measurement uint32) uint32 {
	if measurement == 0 {
		return 0
	}
	return s.measurements[measurement].alive
}

// recount counts the fields of all measurements that are alive.
func (s *schema) recount() {
	for m := range s.measurements {
		s.measurements[m].alive = 0
	}
	for f := 1; f < len(s.fields); f++ {
		if x := &s.fields[f]; x.dead == math.MaxUint64 {
			s.measurements[x.measurement].alive++
		}
	}
}
