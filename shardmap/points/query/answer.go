package query

import (
	"encoding/binary"
	"slices"

	"muster/shardmap/points"
	"muster/shardmap/points/column"
)

// Answer is what a shard gives for a [Request].
//
//	u8      version
//	uvarint count, and each:         groups, in order of measurements, then of the values of tags
//	    text measurement; text of each dimension; for each item a part
//	part: uvarint count
//	    if it is not 0: times, of a Raw as integers; if they are there: integers counts, integers at, values, values most
//	    for each of aux: values; u8 1: some are null, and then booleans, which
//	    if there are aux, of a function that selects: strings keys
//	    of a Raw: uvarint count of series, and each: text key, uvarint points
//
// Times, integers, values and booleans are columns of package column.
type Answer struct{ Groups []Group }

// Group is the series of a measurement that have equal values of the dimensions.
type Group struct {
	Measurement string
	Tags        []string // the value of each dimension; "": a series has no such tag
	Parts       []Part   // of each item of the request
}

// Part is what a group has for an item of the request. All columns that are there have as many values.
type Part struct {
	Times  []int64       // the begin of each window; of a Raw the times of points, which grow within a series
	Counts []int64       // of [Count] and [Mean]: how many values there were
	At     []int64       // of a function that selects: the time of the point
	Values column.Values // all but Count
	Most   column.Values // of Spread: the largest; Values are the smallest
	Aux    []Vector      // of Raw and of functions that select
	Keys   []string      // of functions that select, if there are aux: the key of the series of the point

	Series []Stretch // of a Raw: whose points these are
}

// Stretch is the points of one series in a [Part].
type Stretch struct {
	Key    string
	Points int
}

// Vector is values of which some may be null.
type Vector struct {
	Values column.Values
	Null   []bool // which; nil: none. A null has a value that means nothing.
}

// at returns the i-th value; the zero value if it is null.
func (v *Vector) at(i int) points.Value {
	if v.Null != nil && v.Null[i] {
		return points.Value{}
	}
	return valueAt(&v.Values, i)
}

// add appends a value of the vector's kind, or null.
func (v *Vector) add(value points.Value) {
	if value.Kind == 0 {
		if v.Null == nil {
			v.Null = make([]bool, v.Values.Len())
		}
		v.Null = append(v.Null, true)
	} else if v.Null != nil {
		v.Null = append(v.Null, false)
	}
	addValue(&v.Values, value)
}

// addValue appends a value to a column of its kind, or the zero of that kind if it has none.
func addValue(v *column.Values, value points.Value) {
	switch v.Kind {
	case column.Float:
		v.Floats = append(v.Floats, value.Float())
	case column.Integer:
		v.Integers = append(v.Integers, value.Integer())
	case column.Unsigned:
		v.Unsigned = append(v.Unsigned, value.Unsigned())
	case column.Boolean:
		v.Booleans = append(v.Booleans, value.Boolean())
	case column.String:
		v.Strings = append(v.Strings, value.Text())
	}
}

// Append appends the bytes of the answer to r.
func (a *Answer) Append(b []byte, r *Request) []byte {
	b = binary.AppendUvarint(append(b, Version), uint64(len(a.Groups)))
	for _, g := range a.Groups {
		b = appendText(b, g.Measurement)
		for _, t := range g.Tags {
			b = appendText(b, t)
		}
		for i := range g.Parts {
			b = g.Parts[i].append(b, &r.Items[i])
		}
	}
	return b
}

func (p *Part) append(b []byte, x *Item) []byte {
	b = binary.AppendUvarint(b, uint64(len(p.Times)))
	if len(p.Times) == 0 {
		return b
	}
	if x.Func == Raw {
		b = column.AppendIntegers(b, p.Times) // they begin anew with each series
	} else {
		b = column.AppendTimes(b, p.Times)
	}
	if x.Func == Count || x.Func == Mean {
		b = column.AppendIntegers(b, p.Counts)
	}
	if x.Func.selects() {
		b = column.AppendIntegers(b, p.At)
	}
	if x.Func != Count && x.Field.Name != "" {
		b = p.Values.Append(b)
	}
	if x.Func == Spread {
		b = p.Most.Append(b)
	}
	for i := range p.Aux {
		b = p.Aux[i].Values.Append(b)
		if b = appendFlag(b, p.Aux[i].Null != nil); p.Aux[i].Null != nil {
			b = column.AppendBooleans(b, p.Aux[i].Null)
		}
	}
	if x.keyed() {
		b = column.AppendStrings(b, p.Keys)
	}
	if x.Func == Raw {
		b = binary.AppendUvarint(b, uint64(len(p.Series)))
		for _, s := range p.Series {
			b = binary.AppendUvarint(appendText(b, s.Key), uint64(s.Points))
		}
	}
	return b
}

// ReadAnswer reads the bytes of an answer to r, and refuses what [Answer.Append] does not make of what [Scan] gives.
// The answer takes at most memory bytes then. An error is a [*DamageError], or a [*LimitError].
func ReadAnswer(b []byte, r *Request, memory int64) (*Answer, error) {
	a, _, err := readAnswer(b, r, memory)
	if err != nil {
		return nil, err
	}
	return a, nil
}

// ReadAnswer is [ReadAnswer] within the memory of the budget, which it spends.
func (b *Budget) ReadAnswer(bytes []byte, r *Request) (*Answer, error) {
	a, left, err := readAnswer(bytes, r, b.Memory)
	if err != nil {
		return nil, err
	}
	b.Memory = left
	return a, nil
}

// readAnswer reads an answer, and returns what is left of the memory.
func readAnswer(b []byte, r *Request, memory int64) (a *Answer, left int64, err error) {
	if len(b) > AnswerMax {
		return nil, 0, &LimitError{"bytes in an answer", int64(len(b)), AnswerMax, "ask for a shorter time, or for aggregates"}
	}
	in := read(b, memory)
	a = &Answer{}
	perPart := int64(256)
	n := in.count("groups", len(b), 64+perPart*int64(len(r.Items)))
	for range n {
		g := Group{Measurement: in.text(points.KeyMax)}
		for range r.Dimensions {
			g.Tags = append(g.Tags, in.text(points.KeyMax))
		}
		if k := len(a.Groups); k > 0 && in.err == nil && compareGroups(&a.Groups[k-1], &g) >= 0 {
			in.fail("groups are not in order")
		}
		for i := range r.Items {
			g.Parts = append(g.Parts, in.part(&r.Items[i]))
		}
		if in.err != nil {
			break
		}
		a.Groups = append(a.Groups, g)
	}
	return a, in.left, in.end()
}

func (in *input) part(x *Item) Part {
	var p Part
	announced := in.uvarint()
	if announced == 0 || !in.spend(int64(min(announced, 1<<40))) {
		return p
	}
	n := int(announced)
	if x.Func == Raw {
		p.Times = in.integers(n)
	} else {
		p.Times = in.times(n)
	}
	if x.Func == Count || x.Func == Mean {
		p.Counts = in.integers(n)
	}
	if x.Func.selects() {
		p.At = in.integers(n)
	}
	if x.Func != Count && x.Field.Name != "" {
		p.Values = in.values(n, x.Field.Kind)
	}
	if x.Func == Spread {
		p.Most = in.values(n, x.Field.Kind)
	}
	if in.spend(64 * int64(len(x.Aux))) {
		for _, ref := range x.Aux {
			p.Aux = append(p.Aux, in.vector(n, ref.Kind))
		}
	}
	if x.Func == Raw {
		p.Series = in.stretches(n)
		return p
	}
	if x.keyed() {
		p.Keys = in.values(n, column.String).Strings
	}
	return p
}

func (in *input) vector(n int, k column.Kind) Vector {
	v := Vector{Values: in.values(n, k)}
	if !in.flag() || !in.spend(int64(n)) {
		return v
	}
	null, rest, err := column.ReadBooleans(in.b, nil, n)
	v.Null = checked(in, null, rest, err, n, len(null))
	if in.err == nil && !slices.Contains(v.Null, true) {
		in.fail("nothing is null where something is announced to be")
	}
	return v
}

// stretches reads whose n points there are.
func (in *input) stretches(n int) []Stretch {
	var all []Stretch
	sum := 0
	for range in.count("series", n, 32) {
		s := Stretch{Key: in.text(points.KeyMax)}
		k := in.uvarint()
		if k == 0 || k > uint64(n-sum) {
			in.fail("a series has %d of %d points", k, n-sum)
			return nil
		}
		if len(all) > 0 && s.Key <= all[len(all)-1].Key {
			in.fail("series are not in order")
			return nil
		}
		s.Points = int(k)
		sum += s.Points
		all = append(all, s)
	}
	if sum != n {
		in.fail("series have %d of %d points", sum, n)
	}
	return all
}

// compareGroups is the order of groups: by measurement, then by the values of the dimensions.
func compareGroups(a, b *Group) int {
	if c := compareText(a.Measurement, b.Measurement); c != 0 {
		return c
	}
	return slices.Compare(a.Tags, b.Tags)
}
