package shard

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"muster/shardmap/points"
)

// counting is two replicas of a shard with limits, one of which begins with a snapshot now and then, beside the slow and
// obvious way to count.
type counting struct {
	world
	random *rand.Rand
	limits points.Limits
	series map[string]bool
	fields map[string]map[string]bool // by measurement
}

func newCounting(seed uint64) *counting {
	return &counting{world: *newWorld(3), random: rand.New(rand.NewPCG(seed, 0)), series: map[string]bool{}, fields: map[string]map[string]bool{"m": {}, "n": {}}}
}

// values returns the values of each tag of a measurement.
func (c *counting) values(measurement string) map[string]map[string]bool {
	all := map[string]map[string]bool{}
	for key := range c.series {
		if measurementOf(key) == measurement {
			for tag, pair := range points.TagsOf([]byte(key)) {
				if all[string(tag)] == nil {
					all[string(tag)] = map[string]bool{}
				}
				all[string(tag)][string(pair)] = true
			}
		}
	}
	return all
}

// over reports which limit a new series is over.
func (c *counting) over(key string) points.Reason {
	if c.series[key] {
		return 0
	}
	if l := c.limits.Series; l > 0 && len(c.series) >= int(l) {
		return points.TooManySeries
	}
	values := c.values(measurementOf(key))
	for tag, pair := range points.TagsOf([]byte(key)) {
		of := values[string(tag)]
		if l := c.limits.Values; l > 0 && len(of) >= int(l) && !of[string(pair)] {
			return points.TooManyValues
		}
	}
	return 0
}

// bring writes points of one field, each of another series, in the order of keys as a share has them.
func (c *counting) bring(keys []string, field string, mode Mode) {
	slices.Sort(keys)
	keys = slices.Compact(keys)
	var all []value
	for i, key := range keys {
		all = append(all, value{key, field, int64(i), points.FloatValue(1)})
	}
	var want Result
	for _, key := range keys {
		of := c.fields[measurementOf(key)]
		switch l := c.limits.Fields; {
		case l > 0 && !of[field] && len(of) >= int(l):
			want.Over.Fields++
			continue
		}
		switch c.over(key) {
		case points.TooManySeries:
			want.Over.Series++
		case points.TooManyValues:
			want.Over.Values++
		default:
			c.series[key], of[field] = true, true
			want.Stored++
		}
	}
	s := share(c, all)
	for _, r := range []*replica{c.a, c.b} {
		r.shard.Limit(c.limits)
		got := r.apply(c, s, mode)
		if stored := got.Stored + got.Superseded; stored != want.Stored || got.Over != want.Over || got.Dropped != len(keys)-want.Stored || (got.Dropped > 0) != (len(got.Refused) > 0) {
			c.fail("%q of %q with %+v: got %+v, want %+v", field, keys, c.limits, got, want)
		}
	}
}

// take deletes series, or all of a measurement, in all of the window.
func (c *counting) take(measurement string, keys ...string) {
	t := Tombstone{Measurement: []byte(measurement), First: math.MinInt64, Last: math.MaxInt64}
	for _, k := range keys {
		t.Series = append(t.Series, []byte(k))
	}
	maps.DeleteFunc(c.series, func(key string, _ bool) bool { return gone(&t, key, 0) })
	if len(keys) == 0 {
		clear(c.fields[measurement])
	}
	c.index++
	for _, r := range []*replica{c.a, c.b} {
		if err := r.shard.Delete(t, c.index); err != nil {
			c.fail("%v", err)
		}
	}
}

// sealed makes files of what is in the head.
func (c *counting) sealed() {
	c.freeze()
	c.seal(2)
}

func (c *counting) forget() {
	c.freeze()
	c.a.shard.Forget()
	c.b.shard.Forget()
	c.seal(2)
	clear(c.series)
}

// key draws a series: there are a few of each of two tags, and of one that grows.
func (c *counting) key() string {
	key := []string{"m", "n"}[c.random.IntN(2)]
	if c.random.IntN(2) == 0 {
		key += fmt.Sprintf(`,id=\,%d`, c.random.IntN(12))
	}
	return fmt.Sprintf("%s,region=%d", key, c.random.IntN(3))
}

func (c *counting) step() {
	switch n := c.random.IntN(20); {
	case n < 12:
		keys := make([]string, 1+c.random.IntN(4))
		for i := range keys {
			keys[i] = c.key()
		}
		c.bring(keys, []string{"u", "v", "w"}[c.random.IntN(3)], Write+Mode(c.random.IntN(2)))
	case n == 12:
		c.take([]string{"m", "n"}[c.random.IntN(2)])
	case n < 15:
		key := c.key()
		c.take(measurementOf(key), key)
	case n < 17:
		c.sealed()
	case n == 17:
		c.forget()
	case n == 18:
		c.b.reload(c)
	default:
		c.limits = points.Limits{Series: uint32(c.random.IntN(20)), Values: uint32(c.random.IntN(10)), Fields: uint32(c.random.IntN(4))}
	}
}

// check holds both replicas to what was counted the slow way.
func (c *counting) check() {
	var want Census
	want.Series = len(c.series)
	for _, m := range []string{"m", "n"} {
		for _, of := range c.values(m) {
			want.Values = max(want.Values, uint32(len(of)))
		}
		want.Fields = max(want.Fields, uint32(len(c.fields[m])))
	}
	var snapshots [2]bytes.Buffer
	for i, r := range []*replica{c.a, c.b} {
		got := r.shard.Census()
		got.Measurement, got.Tag = "", "" // of tags with as many values each replica names one
		if got != want {
			c.fail("replica %d counts %+v, want %+v", i, got, want)
		}
		r.shard.Copy().WriteTo(&snapshots[i])
	}
	if !bytes.Equal(snapshots[0].Bytes(), snapshots[1].Bytes()) {
		c.fail("the snapshots of the replicas differ")
	}
	if a, b := c.a.shard.Digest(), c.b.shard.Digest(); a != b {
		c.fail("the replicas have digests %x and %x", a, b)
	}
}

// All replicas must refuse what one refuses, whether they have the series in a head, in files, or began with a snapshot; and a series
// that is there can always be written. Deletes make room.
func TestLimits(t *testing.T) {
	for seed := range uint64(200) {
		c := newCounting(seed)
		for range 60 {
			c.step()
			if c.check(); c.wrong != "" {
				t.Fatalf("seed %d: %s", seed, c.wrong)
			}
		}
	}
}

// A person has to find the tag that made too many series, by the refusal alone.
func TestRefusalNamesTheTagThatGrows(t *testing.T) {
	r := newReplica()
	write := func(key, field string) Result {
		return r.apply(t, share(t, []value{{key, field, 1, points.FloatValue(1)}}), Write)
	}
	r.shard.Limit(points.Limits{Series: 4, Values: 3, Fields: 2})
	for i := range 3 {
		write(fmt.Sprintf(`m,id=r\ %d,region=eu`, i), "v")
	}
	for _, c := range []struct {
		key, field string
		want       Refused
	}{
		{`m,id=r\ 9,region=eu`, "v", Refused{Measurement: "m", Reason: points.Error{Reason: points.TooManyValues}, Tag: "id", Values: 3, Limit: 3}},
		{"m,region=us", "v", Refused{}},
		{`m,id=r\ 1,region=asia`, "v", Refused{Measurement: "m", Reason: points.Error{Reason: points.TooManySeries}, Tag: "id", Values: 3, Limit: 4}},
		{"x", "v", Refused{Measurement: "x", Reason: points.Error{Reason: points.TooManySeries}, Limit: 4}},
		{"m,region=us", "w", Refused{}},
		{"m,region=us", "x", Refused{Measurement: "m", Field: "x", Reason: points.Error{Reason: points.TooManyFields}, Values: 2, Limit: 2}},
		{"m,region=us", "v", Refused{}},
	} {
		var got Refused
		if all := write(c.key, c.field); len(all.Refused) > 0 {
			got = all.Refused[0]
		}
		if got != c.want {
			t.Errorf("%s %s: got %+v, want %+v", c.key, c.field, got, c.want)
		}
	}
	if got, want := r.shard.Census(), (Census{Series: 4, Values: 3, Fields: 2, Measurement: "m", Tag: "id"}); got != want {
		t.Errorf("the census is %+v, want %+v", got, want)
	}
	if names, _ := r.shard.View().Read(r.open).Measurements(); len(names) != 1 {
		t.Errorf("measurements are %q: a refused series has left one", names)
	}
}

// Of tags that have as many values a person is shown one, and not another one each minute.
func TestCensusNamesOneTag(t *testing.T) {
	r := newReplica()
	r.apply(t, share(t, []value{{"m,a=1,b=1,c=1,d=1", "v", 1, points.FloatValue(1)}, {"n,e=1", "v", 1, points.FloatValue(1)}}), Write)
	first := r.shard.Census()
	for range 20 {
		if got := r.shard.Census(); got != first || got.Tag == "" {
			t.Fatalf("the census is %+v, and then %+v", first, got)
		}
	}
}

// A view for a snapshot must not see what comes behind it: it is written while entries are applied.
func TestCopyKeepsItsCensus(t *testing.T) {
	c := newCounting(1)
	c.bring([]string{"m,id=1", "m,id=2"}, "v", Write)
	was := c.a.shard.Copy()
	c.bring([]string{"m,id=3", "n,id=1"}, "v", Write)
	c.take("m", "m,id=1")
	if n := len(was.census.of["m"].series); n != 2 || len(was.census.names) != 1 {
		t.Errorf("the copy has %d series of m, and measurements %q; want 2 and m", n, was.census.names)
	}
}
