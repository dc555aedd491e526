package query

import (
	"encoding/binary"

	"muster/shardmap/points"
	"muster/shardmap/points/column"
)

// Func is what a shard makes of the values of a field. Its numbers are on the wire: one that is retired keeps its line.
type Func byte

// The functions. All but Raw give one value for each window of time, which is merged with those of other shards.
const (
	Raw    Func = 1 // the values themselves
	Count  Func = 2
	Sum    Func = 3
	Mean   Func = 4 // a sum and a count
	Min    Func = 5
	Max    Func = 6
	First  Func = 7
	Last   Func = 8
	Spread Func = 9 // the smallest and the largest
)

// selects reports whether the function gives a value of a point, with its time.
func (f Func) selects() bool { return f >= Min && f <= Last }

// Request is what one query asks each of its shards for.
//
//	u8      version
//	uvarint count, and each: text    measurements, growing
//	uvarint count, and each: text    dimensions, growing
//	text    condition
//	varint  every, months, offset    of the windows
//	uvarint count, and each: varint from, offset   of the zone
//	uvarint count, and each:         items
//	    u8 function; ref; uvarint count of aux, and each: ref; varint from, to; uvarint rows; u8 1: descending
//	ref: text name; u8 kind; u8 1: a tag
//
// A text is a uvarint, and as many bytes.
type Request struct {
	Measurements []string
	// Dimensions are the tags by which series are grouped.
	Dimensions []string
	// Condition is an expression of InfluxQL with a kind behind each name, or "". Its comparisons of tags
	// decide which series take part, the rest which points.
	Condition string
	Windows   Windows
	Items     []Item
}

// Item is one thing that is asked for.
type Item struct {
	Func  Func
	Field Ref // without a name for a Raw of nothing but Aux
	// Aux are further fields and tags of the points that are given. With a Field they are its points; without one,
	// those at which any of these fields has a value.
	Aux      []Ref
	From, To int64 // both included
	// Rows is how many of a group's points are enough, of a Raw without a Field; 0: all.
	Rows       int64
	Descending bool // rows go from late to early: these are the last ones, and of equal points the last series' is taken
}

// keyed reports whether an answer has the keys of the series whose points were selected. They decide between points that
// are equal but for their aux, so that it does not matter which of them lie in one shard.
func (x *Item) keyed() bool { return x.Func.selects() && len(x.Aux) > 0 }

// Ref names a field or a tag.
type Ref struct {
	Name string
	Kind column.Kind // as which the values are wanted; of a tag it is a string
	Tag  bool
}

// Append appends the bytes of the request.
func (r *Request) Append(b []byte) []byte {
	b = append(b, Version)
	b = appendTexts(b, r.Measurements)
	b = appendTexts(b, r.Dimensions)
	b = appendText(b, r.Condition)
	b = appendVarint(appendVarint(appendVarint(b, r.Windows.Every), r.Windows.Months), r.Windows.Offset)
	b = binary.AppendUvarint(b, uint64(len(r.Windows.Zone.From)))
	for i, from := range r.Windows.Zone.From {
		b = appendVarint(appendVarint(b, from), r.Windows.Zone.Offset[i])
	}
	b = binary.AppendUvarint(b, uint64(len(r.Items)))
	for _, x := range r.Items {
		b = appendRef(append(b, byte(x.Func)), x.Field)
		b = binary.AppendUvarint(b, uint64(len(x.Aux)))
		for _, a := range x.Aux {
			b = appendRef(b, a)
		}
		b = binary.AppendUvarint(appendVarint(appendVarint(b, x.From), x.To), uint64(x.Rows))
		b = appendFlag(b, x.Descending)
	}
	return b
}

// ReadRequest reads the bytes of a request, and refuses what [Request.Append] does not make of a [Plan]'s.
func ReadRequest(b []byte) (*Request, error) {
	if len(b) > RequestMax {
		return nil, &LimitError{"bytes", int64(len(b)), RequestMax, "name fewer measurements or fields"}
	}
	in := read(b, 16*RequestMax)
	r := &Request{
		Measurements: in.texts("measurements", MeasurementsMax, points.KeyMax),
		Dimensions:   in.texts("dimensions", DimensionsMax, TextMax),
		Condition:    in.text(conditionMax),
		Windows:      in.windows(),
	}
	n := in.count("items", ItemsMax, 128)
	for range n {
		x := Item{Func: Func(in.byte()), Field: in.ref()}
		for range in.count("further fields", ItemsMax, 32) {
			x.Aux = append(x.Aux, in.ref())
		}
		x.From, x.To = in.varint(), in.varint()
		rows := in.uvarint()
		x.Rows, x.Descending = int64(rows), in.flag()
		switch {
		case in.err != nil:
		case x.Func < Raw || x.Func > Spread:
			in.fail("a function is %d", byte(x.Func))
		case x.Field.Name == "" && x.Func != Raw:
			in.fail("a function is of no field")
		case x.Rows < 0:
			in.fail("%d rows are asked for", rows)
		}
		r.Items = append(r.Items, x)
	}
	if err := in.end(); err != nil {
		return nil, err
	}
	return r, nil
}

func (in *input) windows() Windows {
	w := Windows{Every: in.varint(), Months: in.varint(), Offset: in.varint()}
	if w.Every < 0 || w.Months < 0 || w.Months > calendarMonthsMax || w.Every > 0 && w.Months > 0 || w.Every >= int64(calendarBase) {
		in.fail("an interval is of %d ns and %d months", w.Every, w.Months)
	}
	for range in.count("changes of a time zone", transitionsMax, 16) {
		from, offset := in.varint(), in.varint()
		if n := len(w.Zone.From); n > 0 && from <= w.Zone.From[n-1] {
			in.fail("changes of a time zone are not in order")
		}
		// No zone is farther than a day from UTC.
		if abs(offset) > 86_400e9 {
			in.fail("a time zone is %d ns from UTC", offset)
		}
		w.Zone.From, w.Zone.Offset = append(w.Zone.From, from), append(w.Zone.Offset, offset)
	}
	if abs(w.Offset) >= int64(calendarBase) {
		in.fail("an interval is moved by %d ns", w.Offset)
	}
	return w
}

func (in *input) ref() Ref {
	r := Ref{Name: in.text(TextMax), Kind: column.Kind(in.byte()), Tag: in.flag()}
	switch {
	case in.err != nil:
	case r.Name == "" && (r.Kind != 0 || r.Tag):
		in.fail("something without a name has a kind")
	case r.Name != "" && !r.Kind.Valid(), r.Tag && r.Kind != column.String:
		in.fail("%q is of kind %d", r.Name, byte(r.Kind))
	}
	return r
}

// texts reads texts that grow.
func (in *input) texts(what string, most, length int) []string {
	var all []string
	for range in.count(what, most, 16) {
		s := in.text(length)
		if len(all) > 0 && s <= all[len(all)-1] {
			in.fail("%s are not in order", what)
		}
		all = append(all, s)
	}
	return all
}

func appendTexts(b []byte, all []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(all)))
	for _, s := range all {
		b = appendText(b, s)
	}
	return b
}

func appendRef(b []byte, r Ref) []byte {
	return appendFlag(append(appendText(b, r.Name), byte(r.Kind)), r.Tag)
}

// Append appends the bytes of the outline: the version, a count of measurements, and of each its name, its fields with
// their kinds and its tags.
func (o *Outline) Append(b []byte) []byte {
	b = binary.AppendUvarint(append(b, Version), uint64(len(o.Measurements)))
	for _, m := range o.Measurements {
		b = binary.AppendUvarint(appendText(b, m.Name), uint64(len(m.Fields)))
		for _, f := range m.Fields {
			b = append(appendText(b, f.Name), byte(f.Kind))
		}
		b = appendTexts(b, m.Tags)
	}
	return b
}

// ReadOutline reads the bytes of an outline, which takes at most memory bytes then. An error is a [*DamageError], or a [*LimitError].
func ReadOutline(b []byte, memory int64) (Outline, error) {
	in := read(b, memory)
	var o Outline
	for range in.count("measurements", MeasurementsMax, 64) {
		m := MeasurementOutline{Name: in.text(points.KeyMax)}
		if n := len(o.Measurements); n > 0 && m.Name <= o.Measurements[n-1].Name {
			in.fail("measurements are not in order")
		}
		for range in.count("fields", FieldsMax, 32) {
			f := Field{in.text(points.KeyMax), in.kind()}
			if n := len(m.Fields); n > 0 && f.Name <= m.Fields[n-1].Name {
				in.fail("fields are not in order")
			}
			m.Fields = append(m.Fields, f)
		}
		m.Tags = in.texts("tags", FieldsMax, points.KeyMax)
		o.Measurements = append(o.Measurements, m)
	}
	if err := in.end(); err != nil {
		return Outline{}, err
	}
	return o, nil
}

// AddOutline merges the bytes of an outline into all, as [Merge] has it, within the memory of the budget; what all grows by is spent.
func (b *Budget) AddOutline(all *Outline, bytes []byte) error {
	o, err := ReadOutline(bytes, b.Memory)
	if err != nil {
		return err
	}
	before := all.size()
	*all = Merge([]Outline{*all, o})
	return b.memory(all.size() - before)
}

// size is the memory that an outline takes, in bytes, as [ReadOutline] counts it.
func (o *Outline) size() (n int64) {
	for i := range o.Measurements {
		m := &o.Measurements[i]
		n += 64 + int64(len(m.Name))
		for j := range m.Fields {
			n += 32 + int64(len(m.Fields[j].Name))
		}
		for _, t := range m.Tags {
			n += 16 + int64(len(t))
		}
	}
	return n
}
