package influx

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"muster/shardmap/points"
	"muster/shardmap/points/line"
)

// Data is what queries are asked about: writes, in order. The same seed makes the same ones.
//
// Three measurements have regular times that their series share, irregular ones, and few; tags that some series lack;
// fields of all kinds, of which points have some; gaps, one of them a whole window long; values that come again and again,
// so that modes and extremes tie. A fourth, mix, has a field that is a float in some windows and an integer in others. The last writes
// are late: points of all windows, new ones and such that replace a value.
type Data struct {
	Begin int64 // of the first window
	// Shared is set if some series have points at the same times, as is so for each third seed. Where such series are in
	// one group, InfluxDB takes one or the other point first, by how its heaps lie.
	Shared bool
	Now    time.Time
	Writes [][]points.Point
}

// Window is how long the windows of the data are, Windows how many of them it has points in, or a gap.
const (
	Window  = time.Hour
	Windows = 5
)

// begins are where data begins: common days, one in which clocks are put forward in Berlin, one in which they are put
// back, and the turn of 1969, with times below 0.
var begins = []time.Time{
	time.Date(2026, 1, 14, 10, 0, 0, 0, time.UTC),
	time.Date(2026, 3, 28, 22, 0, 0, 0, time.UTC),
	time.Date(2026, 10, 25, 0, 0, 0, 0, time.UTC),
	time.Date(1969, 12, 31, 22, 0, 0, 0, time.UTC),
}

// MakeData makes the data of a seed.
func MakeData(seed uint64) *Data {
	m := maker{random: rand.New(rand.NewPCG(seed, 1))}
	begin := begins[seed%uint64(len(begins))]
	d := &Data{Begin: begin.UnixNano(), Shared: seed%3 == 0, Now: begin.Add(Windows*Window + 10*time.Minute)}
	m.begin, m.shared = d.Begin, d.Shared
	for host := range 4 {
		for _, region := range []string{"eu", "us", ""} {
			if (host+len(region))%4 != 3 {
				m.cpu(fmt.Sprint("h", host), region)
			}
		}
	}
	for host := range 3 {
		m.mem(fmt.Sprint("h", host))
		for _, path := range []string{"/", "/var log", `a=b,c`} {
			m.disk(fmt.Sprint("h", host), path)
		}
		m.mix(fmt.Sprint("h", host))
	}
	// Each write has points of all series and windows, but most of them come in the order of time: a tenth is late.
	m.random.Shuffle(len(m.points), func(i, j int) {
		if m.random.IntN(10) == 0 {
			m.points[i], m.points[j] = m.points[j], m.points[i]
		}
	})
	d.Writes = append(d.Writes, m.points[:len(m.points)/2], m.points[len(m.points)/2:], m.late())
	return d
}

// maker makes points.
type maker struct {
	random *rand.Rand
	begin  int64
	shared bool  // some series have points at the same times
	series int64 // how many there are
	points []points.Point
}

// apart returns by how much the times of the next series are later than regular: most series have times of their own. In
// data with shared times each sixth series has regular ones.
func (m *maker) apart() int64 {
	m.series++
	if m.shared && m.random.IntN(6) == 0 {
		return 0
	}
	return m.series * int64(time.Millisecond)
}

// add adds a point of those fields that chance leaves; there may be none.
func (m *maker) add(at int64, measurement string, tags []points.Tag, fields ...points.Field) {
	p := points.Point{Series: points.Series{Measurement: measurement}, Time: at}
	for _, t := range tags {
		if t.Value != "" {
			p.Series.Tags = append(p.Series.Tags, t)
		}
	}
	for _, f := range fields {
		if m.random.IntN(5) > 0 {
			p.Fields = append(p.Fields, f)
		}
	}
	if len(p.Fields) > 0 {
		m.points = append(m.points, p)
	}
}

// float returns one of a few hundred floats of two decimals.
func (m *maker) float() points.Value {
	return points.FloatValue(float64(m.random.IntN(400)-100) / 4.01)
}

func (m *maker) integer() points.Value { return points.IntegerValue(m.random.Int64N(40) - 10) }

// cpu has a point every five minutes, and nothing in the third window.
func (m *maker) cpu(host, region string) {
	counter := m.random.Int64N(1000)
	for at := m.begin + m.apart(); at < m.begin+Windows*int64(Window); at += 5 * int64(time.Minute) {
		if in := (at - m.begin) / int64(Window); in == 2 {
			continue
		}
		if counter += m.random.Int64N(50); m.random.IntN(30) == 0 {
			counter = 0
		}
		m.add(at, "cpu", []points.Tag{{Name: "host", Value: host}, {Name: "region", Value: region}},
			points.Field{Name: "usage", Value: m.float()},
			points.Field{Name: "count", Value: points.IntegerValue(counter)},
			points.Field{Name: "up", Value: points.BooleanValue(m.random.IntN(3) > 0)},
			points.Field{Name: "state", Value: points.StringValue([]string{"ok", "warn", "a \"b\"", ""}[m.random.IntN(4)])},
			points.Field{Name: "free", Value: points.UnsignedValue(m.random.Uint64N(20))})
	}
}

// mem has irregular times, to the nanosecond.
func (m *maker) mem(host string) {
	for at := m.begin + m.random.Int64N(1e9); at < m.begin+Windows*int64(Window); at += 1 + m.random.Int64N(int64(6*time.Minute)) {
		m.add(at, "mem", []points.Tag{{Name: "host", Value: host}},
			points.Field{Name: "usage", Value: m.float()},
			points.Field{Name: "count", Value: m.integer()})
	}
}

// disk has few points, and names that must be escaped.
func (m *maker) disk(host, path string) {
	apart := m.apart()
	for range 12 {
		at := m.begin + apart + m.random.Int64N(Windows*60)*int64(time.Minute)
		m.add(at, "disk io", []points.Tag{{Name: "host", Value: host}, {Name: "path", Value: path}},
			points.Field{Name: "usage", Value: m.float()},
			points.Field{Name: "read bytes", Value: m.integer()})
	}
}

// mix has one field that is an integer in each second window.
func (m *maker) mix(host string) {
	for at := m.begin + m.apart(); at < m.begin+Windows*int64(Window); at += 20 * int64(time.Minute) {
		v := m.float()
		if points.WindowOf(at, Window).First/int64(Window)%2 == 0 {
			v = m.integer()
		}
		m.add(at, "mix", []points.Tag{{Name: "host", Value: host}}, points.Field{Name: "v", Value: v})
	}
}

// late makes points beside some that are there, or in their place.
func (m *maker) late() []points.Point {
	from := m.points
	m.points = nil
	for range 100 {
		p := from[m.random.IntN(len(from))]
		at := p.Time
		if m.random.IntN(3) == 0 {
			at += int64(time.Second)
			if points.WindowOf(at, Window) != points.WindowOf(p.Time, Window) {
				at = p.Time
			}
		}
		var fields []points.Field
		for _, f := range p.Fields {
			fields = append(fields, points.Field{Name: f.Name, Value: m.other(f.Value)})
		}
		m.add(at, p.Series.Measurement, p.Series.Tags, fields...)
	}
	return m.points
}

// other returns another value of the same kind.
func (m *maker) other(v points.Value) points.Value {
	switch v.Kind {
	case points.FloatValue(0).Kind:
		return m.float()
	case points.IntegerValue(0).Kind:
		return m.integer()
	case points.UnsignedValue(0).Kind:
		return points.UnsignedValue(m.random.Uint64N(20))
	case points.BooleanValue(false).Kind:
		return points.BooleanValue(!v.Boolean())
	}
	return points.StringValue("late")
}

// untied returns the data without the points that have the time of one of another series of their measurement.
func (d *Data) untied() *Data {
	type moment struct {
		measurement string
		at          int64
	}
	first, tied := map[moment]string{}, map[moment]bool{}
	for _, p := range slices.Concat(d.Writes...) {
		m, k := moment{p.Series.Measurement, p.Time}, fmt.Sprint(p.Series)
		if had, found := first[m]; found && had != k {
			tied[m] = true
		}
		first[m] = k
	}
	left := &Data{Begin: d.Begin, Now: d.Now}
	for _, w := range d.Writes {
		left.Writes = append(left.Writes, slices.DeleteFunc(slices.Clone(w), func(p points.Point) bool { return tied[moment{p.Series.Measurement, p.Time}] }))
	}
	return left
}

// Lines returns a write as line protocol.
func Lines(write []points.Point) (text []byte, err error) {
	for _, p := range write {
		if text, err = line.Append(text, p); err != nil {
			return nil, err
		}
		text = append(text, '\n')
	}
	return text, nil
}
