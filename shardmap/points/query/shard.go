package query

import (
	"errors"
	"iter"
	"regexp"
	"slices"

	"github.com/influxdata/influxql"

	"muster/shardmap/points"
	"muster/shardmap/points/column"
)

// Shard is the points that a request is carried out on: those of one shard of one window. All that it gives is its own, and
// is not to be changed. It is good until the next call of the same method, or until the next step of a loop; a key is used
// while columns are read. A shard gives the same as long as a request runs, whatever is written meanwhile.
type Shard interface {
	// Measurements returns the names of all measurements, in order.
	Measurements() ([]string, error)
	// Fields returns the fields of a measurement, in order of their names.
	Fields(measurement string) ([]Field, error)
	// KnownTags returns the names of the tags of a measurement's series, in order, and how many series these are, if they
	// are kept from [Shard.KeepTags]: it has had no other series since. KeepTags need not keep anything.
	KnownTags(measurement string) (names []string, series int64, known bool)
	KeepTags(measurement string, names []string, series int64)
	// Series goes through the keys of a measurement's series, in order. It may leave out those that lack one of the tags.
	Series(measurement string, tags ...points.Tag) iter.Seq2[[]byte, error]
	// Columns goes through the values of a field from one time to another, both included, in order of time. Each time
	// is there once.
	Columns(key []byte, field string, from, to int64) iter.Seq2[Piece, error]
}

// Field is a field of a measurement.
type Field struct {
	Name string
	Kind column.Kind
}

// Piece is some values of a field of a series, in order of time.
type Piece struct {
	Times  []int64
	Values column.Values // as many as there are times
}

// Outline is what measurements have, in one shard or in several: what a query must know before it can be planned.
type Outline struct {
	Measurements []MeasurementOutline // in order of names
}

// MeasurementOutline is what a measurement has.
type MeasurementOutline struct {
	Name   string
	Fields []Field  // in order of names
	Tags   []string // in order
}

// Sources are the measurements that a query names.
type Sources struct {
	Names       []string
	Expressions []string // regular expressions; a measurement is there if one of them matches a part of its name
}

// Describe returns the outline of those measurements of a shard that are named. It goes over the keys of all series of
// them, and spends a series of the budget for each. An error is a [RequestError], a [LimitError], that of [Budget.Over], or one
// of the shard.
func Describe(s Shard, src Sources, b *Budget) (Outline, error) {
	var res []*regexp.Regexp
	for _, e := range src.Expressions {
		re, err := regexp.Compile(e)
		if err != nil {
			return Outline{}, &RequestError{"regular expressions", err}
		}
		res = append(res, re)
	}
	names, err := s.Measurements()
	if err != nil {
		return Outline{}, err
	}
	var o Outline
	for _, name := range names {
		if !slices.Contains(src.Names, name) && !slices.ContainsFunc(res, func(re *regexp.Regexp) bool { return re.MatchString(name) }) {
			continue
		}
		if len(o.Measurements) == MeasurementsMax {
			return Outline{}, &LimitError{What: "measurements", Max: MeasurementsMax, Remedy: "name them more exactly"}
		}
		fields, err := s.Fields(name)
		if err != nil {
			return Outline{}, err
		}
		tags, err := tagsOf(s, name, b)
		if err != nil {
			return Outline{}, err
		}
		if len(fields) > FieldsMax || len(tags) > FieldsMax {
			return Outline{}, &LimitError{What: "fields and tags of the measurement " + name, Max: FieldsMax, Remedy: "write fewer of them"}
		}
		o.Measurements = append(o.Measurements, MeasurementOutline{name, slices.Clone(fields), tags})
	}
	return o, nil
}

// tagsOf returns the names of the tags of a measurement, in order.
func tagsOf(s Shard, measurement string, b *Budget) (names []string, err error) {
	if names, series, known := s.KnownTags(measurement); known {
		for _, name := range names {
			if err := b.memory(tagBytes(name)); err != nil {
				return nil, err
			}
		}
		return names, b.series(series)
	}
	found, series := map[string]bool{}, int64(0)
	for key, err := range s.Series(measurement) {
		series++
		if err == nil {
			err = b.series(1)
		}
		if err == nil {
			err = b.work(64)
		}
		if err != nil {
			return nil, err
		}
		of, err := points.ParseKey(key)
		if err != nil {
			return nil, err
		}
		for _, t := range of.Tags {
			if found[t.Name] {
				continue
			}
			if err := b.memory(tagBytes(t.Name)); err != nil {
				return nil, err
			}
			found[t.Name] = true
			names = append(names, t.Name)
		}
	}
	slices.Sort(names)
	s.KeepTags(measurement, names, series)
	return names, nil
}

// tagBytes is what the name of a tag takes while it is found out which there are.
func tagBytes(name string) int64 { return int64(len(name)) + 64 }

// Merge returns the outline of several shards. A field that has several kinds, one in each window, has the first of
// float, integer, unsigned, string and boolean that is among them, as in InfluxDB.
func Merge(outlines []Outline) Outline {
	var all Outline
	at := map[string]int{}
	for _, o := range outlines {
		for _, m := range o.Measurements {
			i, found := at[m.Name]
			if !found {
				i = len(all.Measurements)
				at[m.Name] = i
				all.Measurements = append(all.Measurements, MeasurementOutline{Name: m.Name})
			}
			all.Measurements[i].add(&m)
		}
	}
	slices.SortFunc(all.Measurements, func(a, b MeasurementOutline) int { return compareText(a.Name, b.Name) })
	return all
}

func (m *MeasurementOutline) add(o *MeasurementOutline) {
	for _, f := range o.Fields {
		i, found := slices.BinarySearchFunc(m.Fields, f.Name, func(f Field, name string) int { return compareText(f.Name, name) })
		switch {
		case !found:
			m.Fields = slices.Insert(m.Fields, i, f)
		case precedence(f.Kind) < precedence(m.Fields[i].Kind):
			m.Fields[i].Kind = f.Kind
		}
	}
	for _, t := range o.Tags {
		if i, found := slices.BinarySearch(m.Tags, t); !found {
			m.Tags = slices.Insert(m.Tags, i, t)
		}
	}
}

// precedence is the place of a kind among those that one field may have.
func precedence(k column.Kind) int {
	return slices.Index([]column.Kind{column.Float, column.Integer, column.Unsigned, column.String, column.Boolean}, k)
}

func compareText(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// find returns the measurements of the outline that a source names.
func (o *Outline) find(m *influxql.Measurement) []MeasurementOutline {
	var found []MeasurementOutline
	for _, x := range o.Measurements {
		if m.Regex == nil && x.Name == m.Name || m.Regex != nil && m.Regex.Val.MatchString(x.Name) {
			found = append(found, x)
		}
	}
	return found
}

// dataTypes are the parser's names of kinds.
var dataTypes = map[column.Kind]influxql.DataType{
	column.Float: influxql.Float, column.Integer: influxql.Integer, column.Unsigned: influxql.Unsigned,
	column.String: influxql.String, column.Boolean: influxql.Boolean,
}

// kindOf returns the kind that the parser names; 0 if it is none.
func kindOf(t influxql.DataType) column.Kind {
	for k, d := range dataTypes {
		if d == t {
			return k
		}
	}
	if t == influxql.Tag {
		return column.String
	}
	return 0
}

// mapper tells the parser what measurements have, and what functions give.
type mapper struct{ o *Outline }

// FieldDimensions returns the fields, with their kinds, and the tags of what a source names.
func (m mapper) FieldDimensions(source *influxql.Measurement) (map[string]influxql.DataType, map[string]struct{}, error) {
	fields, tags := map[string]influxql.DataType{}, map[string]struct{}{}
	for _, x := range m.o.find(source) {
		for _, f := range x.Fields {
			if t := dataTypes[f.Kind]; fields[f.Name].LessThan(t) {
				fields[f.Name] = t
			}
		}
		for _, t := range x.Tags {
			tags[t] = struct{}{}
		}
	}
	return fields, tags, nil
}

// MapType returns what a name is: a field of a kind, a tag, or unknown.
func (m mapper) MapType(source *influxql.Measurement, name string) influxql.DataType {
	var t influxql.DataType
	for _, x := range m.o.find(source) {
		of := influxql.Unknown
		if i, found := slices.BinarySearchFunc(x.Fields, name, func(f Field, name string) int { return compareText(f.Name, name) }); found {
			of = dataTypes[x.Fields[i].Kind]
		} else if _, found := slices.BinarySearch(x.Tags, name); found {
			of = influxql.Tag
		}
		if t.LessThan(of) {
			t = of
		}
	}
	return t
}

// CallType returns the kind of what a function gives.
func (mapper) CallType(name string, args []influxql.DataType) (influxql.DataType, error) {
	switch name {
	case "mean", "median", "stddev", "derivative", "non_negative_derivative", "moving_average":
		return influxql.Float, nil
	case "count", "elapsed":
		return influxql.Integer, nil
	}
	if len(args) == 0 {
		return influxql.Unknown, nil
	}
	return args[0], nil
}

// errKind is the cause of a value of another kind than was promised.
var errKind = errors.New("query: a shard gave values of another kind than its outline says")

// valueAt returns a value of a column.
func valueAt(v *column.Values, i int) points.Value {
	switch v.Kind {
	case column.Float:
		return points.FloatValue(v.Floats[i])
	case column.Integer:
		return points.IntegerValue(v.Integers[i])
	case column.Unsigned:
		return points.UnsignedValue(v.Unsigned[i])
	case column.Boolean:
		return points.BooleanValue(v.Booleans[i])
	case column.String:
		return points.StringValue(v.Strings[i])
	}
	return points.Value{}
}
