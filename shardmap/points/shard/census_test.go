package shard

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
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

// collide writes and deletes series of which two have one hash, or values of two tags that have one, at a replica and at one that
// begins with a snapshot after each step.
func collide(t *testing.T, limits points.Limits, steps ...string) *replica {
	t.Helper()
	all, again := newReplica(), newReplica()
	for i, step := range steps {
		key, deletes := strings.CutPrefix(step, "-")
		var got [2]Result
		for n, r := range []*replica{all, again} {
			r.shard.Limit(limits)
			if !deletes {
				got[n] = r.apply(t, share(t, []value{{key, "v", int64(i), points.FloatValue(1)}}), Write)
			} else if err := r.shard.Delete(Tombstone{Measurement: []byte("m"), Series: [][]byte{[]byte(key)}, First: math.MinInt64, Last: math.MaxInt64}, uint64(i+1)); err != nil {
				t.Fatal(err)
			}
		}
		if a, b := got[0], got[1]; a.Stored != b.Stored || a.Over != b.Over {
			t.Errorf("%s: a replica stores %d and drops %+v, one that began with a snapshot %d and %+v", step, a.Stored, a.Over, b.Stored, b.Over)
		}
		again.reload(t)
		if a, b := all.shard.Digest(), again.shard.Digest(); a != b {
			t.Errorf("%s: the replicas have digests %x and %x", step, a, b)
		}
	}
	return all
}

// Of two series with one hash only the first is counted. When one of them is deleted the other is no longer counted either, and all
// replicas must count it anew with its next point, those too that began with a snapshot.
func TestSeriesWithOneHash(t *testing.T) {
	const one, same = "m,id=25654", "m,id=58008"
	if hash32([]byte(one)) != hash32([]byte(same)) {
		t.Fatal("the series have two hashes")
	}
	if n := collide(t, points.Limits{Series: 9}, one, same, "m,id=1", "-"+same, one, one).shard.Census().Series; n != 2 {
		t.Errorf("%d series are counted, want 2", n)
	}
	collide(t, points.Limits{Series: 1}, one, same, "-"+same, "m,id=2", one, same)
}

// A value of a tag that has the hash of one of another tag is counted with that. What is counted of a measurement without series must be
// gone all the same, and no number of values may fall below 0, which would be very many.
func TestValuesWithOneHash(t *testing.T) {
	const one, same = "a=60398", "b=90702"
	if hash32([]byte(one)) != hash32([]byte(same)) {
		t.Fatal("the values have two hashes")
	}
	r := collide(t, points.Limits{Values: 2}, "m,"+one, "m,"+same, "m,c=1", "-m,"+one, "-m,"+same, "m,b=1", "m,b=2")
	if is := r.shard.Census(); is.Values != 2 || is.Series != 3 {
		t.Errorf("there are %d series, and a tag with %d values; want 3 and 2", is.Series, is.Values)
	}
	r = collide(t, points.Limits{Values: 1}, "m,id=25654", "m,id=58008", "-m,id=58008", "m,id=7")
	if is := r.shard.Census(); is.Values != 1 || is.Series != 1 {
		t.Errorf("there are %d series, and a tag with %d values; want one of each", is.Series, is.Values)
	}
}
