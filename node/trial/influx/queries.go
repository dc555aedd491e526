package influx

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/influxdata/influxql"
)

// Query is one SELECT about some [Data].
type Query struct {
	Text     string
	Plain    string // the same without limits and offsets
	Limits   Limits
	Bounded  string        // Plain with a lower bound of time before the data, if it has none
	Every    time.Duration // of its windows
	Features []string      // functions and clauses that it has, each once, in order
}

// Has reports whether the query has one of the features.
func (q *Query) Has(features ...string) bool {
	return slices.ContainsFunc(q.Features, func(f string) bool { return slices.Contains(features, f) })
}

// Limits are the numbers behind LIMIT, OFFSET, SLIMIT and SOFFSET; 0 is none.
type Limits struct{ Rows, SkippedRows, Series, SkippedSeries int }

func (l Limits) String() (text string) {
	for i, n := range [...]int{l.Rows, l.SkippedRows, l.Series, l.SkippedSeries} {
		if n > 0 {
			text += fmt.Sprint(" ", limitWords[i], " ", n)
		}
	}
	return text
}

var limitWords = [...]string{"LIMIT", "OFFSET", "SLIMIT", "SOFFSET"}

// Functions are those of stages 1 and 2; each is in at least 300 of 10,000 queries.
var Functions = []string{
	"mean", "count", "sum", "min", "max", "first", "last", "percentile", "median", "mode", "spread", "stddev", "distinct", "count(distinct)",
	"derivative", "non_negative_derivative", "difference", "non_negative_difference", "moving_average", "cumulative_sum", "elapsed",
}

// transformations is where those of stage 2 begin in Functions.
const transformations = 14

// MakeQuery makes the query of a number. The same seed and number make the same one.
func MakeQuery(d *Data, seed, number uint64) Query {
	g := &generator{random: rand.New(rand.NewPCG(seed, number)), data: d}
	q := g.statement()
	slices.Sort(g.features)
	q.Features = slices.Compact(g.features)
	return q
}

// generator makes the text of one query. Most queries are ones that mean something; some are refused, for another
// engine has to refuse the same ones.
type generator struct {
	random   *rand.Rand
	data     *Data
	features []string

	schema  schema
	calls   bool // there is an aggregate
	grouped bool // by time
	every   time.Duration
	from    bool // the times have a lower bound
	shifted bool // the groups of time are, by an offset or a zone
}

// schema is a measurement with what it has.
type schema struct {
	source          string
	numbers, others []string // fields, as they are written in a query
	tags            []tag
}

// tag is one with values and patterns that find something.
type tag struct{ name, values, patterns string }

var (
	host   = tag{"host", "'h0' 'h1' 'h2' 'no'", "/h[01]/ /h/ /2/"}
	region = tag{"region", "'eu' 'us' ''", "/e./ /^$/ /./ /u/"}
	path   = tag{"path", "'/' 'a=b,c' ''", `/^\// /,/`}
)

var schemas = []schema{
	{"cpu", []string{"usage", "count", "free"}, []string{"up", "state"}, []tag{host, region}},
	{"mem", []string{"usage", "count"}, nil, []tag{host}},
	{`"disk io"`, []string{"usage", `"read bytes"`}, nil, []tag{host, path}},
	{"mix", []string{"v"}, nil, []tag{host}},
	{"/^(cpu|mem)$/", []string{"usage", "count"}, []string{"up"}, []tag{host, region}},
	{"cpu, mem", []string{"usage", "count"}, []string{"state"}, []tag{host, region}},
}

// names are those of the tags.
func (s *schema) names(more ...string) []string {
	var names []string
	for _, t := range s.tags {
		names = append(names, t.name)
	}
	return append(names, more...)
}

func (g *generator) one(words ...string) string { return words[g.random.IntN(len(words))] }

// chance is true in so many of a hundred cases.
func (g *generator) chance(percent int) bool { return g.random.IntN(100) < percent }

func (g *generator) has(feature string) { g.features = append(g.features, feature) }

// statement makes a SELECT.
func (g *generator) statement() Query {
	switch n := g.random.IntN(100); {
	case n < 45:
		g.schema = schemas[0]
	case n < 65:
		g.schema = schemas[1]
	case n < 80:
		g.schema = schemas[2]
	case n < 84:
		g.schema = schemas[3]
		g.has("kinds that change")
	case n < 92:
		g.schema = schemas[4]
		g.has("measurements")
	default:
		g.schema = schemas[5]
		g.has("measurements")
	}
	fields := g.fields()
	text := "SELECT " + fields + " FROM " + g.schema.source
	where, groups := g.where(), g.groupBy()
	limits, zone := g.limits(), g.zone()
	if g.shifted && g.grouped && !g.from {
		// Without it InfluxDB has groups from 1677 on.
		where = strings.TrimSuffix("time >= "+g.moment()+" AND "+where, " AND ")
		g.from = true
	}
	whole := fmt.Sprintf("%s WHERE time >= %d", text, g.data.Begin-int64(24*time.Hour))
	if where != "" {
		text += " WHERE " + where
		whole += " AND " + where
	}
	q := Query{Text: text + groups + limits.String() + zone, Plain: text + groups + zone, Limits: limits, Every: g.every}
	if !g.from {
		q.Bounded = whole + groups + zone
	}
	return q
}

// fields makes the list of columns.
func (g *generator) fields() string {
	switch n := g.random.IntN(100); {
	case n < 12:
		return g.raw()
	case n < 50:
		return g.aggregates()
	case n < 60:
		return g.selector()
	case n < 80:
		return g.transformed()
	case n < 85:
		g.calls = true
		g.has("distinct")
		return "distinct(" + g.field() + ")"
	}
	g.calls, g.grouped = true, true
	return g.over()
}

// field is one that is a number, or one of any kind now and then.
func (g *generator) field() string {
	if len(g.schema.others) > 0 && g.chance(12) {
		g.has("strings and booleans")
		return g.one(g.schema.others...)
	}
	if g.chance(2) {
		g.has("no such field")
		return "nothing"
	}
	return g.one(g.schema.numbers...)
}

func (g *generator) raw() string {
	g.has("raw fields")
	if g.chance(15) {
		g.has("wildcards")
		return g.one("*", "*::field", "*::tag, usage", "/u/", "*, usage", "usage, *")
	}
	var list []string
	for range 1 + g.random.IntN(3) {
		switch g.random.IntN(6) {
		case 0:
			list = append(list, g.one(g.schema.names()...))
		case 1:
			g.has("arithmetic")
			list = append(list, g.field()+g.one(" + ", " - ", " * ", " / ", " % ", " & ")+g.one("2", "0", "1.5", g.field())+g.one("", " AS x"))
		default:
			list = append(list, g.field())
		}
	}
	return strings.Join(list, ", ")
}

// call is one of stage 1.
func (g *generator) call() string {
	g.calls = true
	f := Functions[g.random.IntN(transformations)]
	if f == "distinct" {
		f = "count(distinct)" // it stands alone
	}
	g.has(f)
	argument := g.field()
	if g.chance(6) {
		g.has("wildcards")
		argument = g.one("*", "/u/")
	}
	switch f {
	case "percentile":
		return "percentile(" + argument + ", " + g.one("0", "5", "50", "90", "99.9", "100", "33.3") + ")"
	case "count(distinct)":
		return "count(distinct(" + argument + "))"
	}
	return f + "(" + argument + ")"
}

func (g *generator) aggregates() string {
	var list []string
	for range 1 + max(0, g.random.IntN(4)-1) {
		c := g.call()
		if g.chance(15) {
			g.has("arithmetic")
			c += g.one(" + ", " - ", " * ", " / ") + g.one("2", "0.5", g.call())
			if g.chance(30) {
				c = "(" + c + ") * 100"
			}
		}
		if g.chance(20) {
			c += fmt.Sprint(" AS a", len(list))
		}
		list = append(list, c)
	}
	return strings.Join(list, ", ")
}

// selector has other columns of the point that is selected.
func (g *generator) selector() string {
	g.calls = true
	g.has("selector with columns")
	f := g.one("min", "max", "first", "last", "percentile")
	g.has(f)
	c := f + "(" + g.field() + ")"
	if f == "percentile" {
		c = f + "(" + g.field() + ", 50)"
	}
	return c + ", " + g.one(g.schema.names(g.field(), "*")...)
}

// transformed is a function of stage 2 of a field.
func (g *generator) transformed() string { return g.transformation(g.field()) }

// over is one of an aggregate by time.
func (g *generator) over() string {
	g.has("stage 2 of an aggregate")
	return g.transformation(g.call())
}

func (g *generator) transformation(of string) string {
	f := Functions[transformations+g.random.IntN(len(Functions)-transformations)]
	g.has(f)
	switch f {
	case "derivative", "non_negative_derivative":
		of += g.one("", ", 1s", ", 10m", ", 7ns")
	case "moving_average":
		of += ", " + g.one("1", "2", "3", "10")
	case "elapsed":
		of += g.one("", ", 1s", ", 1m", ", 3u")
	}
	return f + "(" + of + ")"
}

// moment is one near the data, as InfluxQL writes it.
func (g *generator) moment() string { return g.written(g.instant()) }

func (g *generator) instant() int64 {
	at := g.data.Begin - int64(30*time.Minute) + g.random.Int64N(int64(Windows*Window+time.Hour))
	at -= at % int64([]time.Duration{1, time.Second, time.Minute, 5 * time.Minute, time.Hour}[g.random.IntN(5)])
	return at
}

// written is a time in one of the forms that InfluxQL has.
func (g *generator) written(at int64) string {
	t := time.Unix(0, at).UTC()
	switch g.random.IntN(5) {
	case 0:
		return fmt.Sprint(at)
	case 1:
		return fmt.Sprintf("%ds", at/1e9)
	case 2:
		return "'" + t.Format("2006-01-02 15:04:05.999999999") + "'"
	case 3:
		if ago := (g.data.Now.UnixNano() - at) / 1e9; ago >= 0 {
			return fmt.Sprintf("now() - %ds", ago)
		} else {
			return fmt.Sprintf("now() + %ds", -ago)
		}
	}
	return "'" + t.Format(time.RFC3339Nano) + "'"
}

func (g *generator) where() string {
	var all []string
	switch n := g.random.IntN(100); {
	case n < 35:
		g.has("time between")
		g.from = true
		from, to := g.instant(), g.instant()
		if from > to && g.chance(90) {
			from, to = to, from
		}
		all = append(all, "time "+g.one(">=", ">")+" "+g.written(from), "time "+g.one("<", "<=")+" "+g.written(to))
	case n < 50:
		g.has("time from")
		g.from = true
		all = append(all, "time "+g.one(">=", ">")+" "+g.moment())
	case n < 60:
		g.has("time until")
		all = append(all, "time "+g.one("<", "<=")+" "+g.moment())
	case n < 62:
		g.has("time at")
		g.from = true
		all = append(all, "time = "+g.moment())
	}
	if g.chance(28) {
		all = append(all, g.condition(0))
	}
	g.random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return strings.Join(all, " AND ")
}

// condition is one on tags and fields.
func (g *generator) condition(depth int) string {
	if depth < 2 && g.chance(25) {
		g.has("conditions joined")
		return "(" + g.condition(depth+1) + g.one(" AND ", " OR ") + g.condition(depth+1) + ")"
	}
	switch n := g.random.IntN(100); {
	case n < 35:
		g.has("tag compared")
		t := g.schema.tags[g.random.IntN(len(g.schema.tags))]
		return t.name + g.one(" = ", " != ") + g.one(strings.Fields(t.values)...)
	case n < 55:
		g.has("tag matched")
		t := g.schema.tags[g.random.IntN(len(g.schema.tags))]
		return t.name + g.one(" =~ ", " =~ ", " !~ ") + g.one(strings.Fields(t.patterns)...)
	case n < 60:
		g.has("no such tag")
		return "nowhere" + g.one(" = ''", " != ''", " = 'x'", " != 'x'")
	case n < 65 && slices.Contains(g.schema.others, "state"):
		g.has("string compared")
		return "state" + g.one(" = 'ok'", " != 'ok'", " =~ /a/", " !~ /^w/")
	case n < 70 && slices.Contains(g.schema.others, "up"):
		g.has("boolean compared")
		return "up" + g.one(" = true", " = false", " != true")
	case n < 75:
		g.has("arithmetic compared")
		return g.one(g.schema.numbers...) + g.one(" + 1", " * 2", " - 0.5") + g.one(" > ", " <= ") + "20"
	}
	g.has("number compared")
	return g.one(g.schema.numbers...) + g.one(" > ", " >= ", " < ", " <= ", " = ", " != ") + g.one("0", "5", "20.5", "-3")
}

// groupBy makes groups, and the order of rows.
func (g *generator) groupBy() string {
	var by []string
	if g.grouped || g.calls && g.chance(55) {
		g.grouped = true
		g.has("by time")
		interval := g.one("1m", "5m", "10m", "90s", "1h", "7m", "1d", "1w", "2h")
		var err error
		if g.every, err = influxql.ParseDuration(interval); err != nil {
			panic(err) // one of those above is none
		}
		if g.chance(20) {
			g.has("by time with an offset")
			g.shifted = true
			interval += ", " + g.one("1m", "-1m", "30s", "3h")
		}
		by = append(by, "time("+interval+")")
	}
	if g.chance(45) {
		g.has("by tags")
		by = append(by, g.one(g.schema.names("*", "/o/", "host, region", "nowhere")...))
	}
	text := ""
	if len(by) > 0 {
		text = " GROUP BY " + strings.Join(by, ", ")
	}
	if g.grouped && g.chance(60) {
		fill := g.one("null", "none", "previous", "linear", "0", "7.5", "-3")
		if strings.Trim(fill, "-.0123456789") == "" {
			g.has("fill a number")
		} else {
			g.has("fill " + fill)
		}
		text += " fill(" + fill + ")"
	}
	if g.chance(20) {
		g.has("descending")
		text += " ORDER BY time DESC"
	}
	return text
}

// limits makes limits and offsets.
func (g *generator) limits() (l Limits) {
	for i, n := range [...]*int{&l.Rows, &l.SkippedRows, &l.Series, &l.SkippedSeries} {
		// An offset of series without a limit leaves none of them in InfluxDB.
		if g.chance(8) && (i < 3 || l.Series > 0) {
			g.has(strings.ToLower(limitWords[i]))
			*n = 1 + g.random.IntN(4)
		}
	}
	return l
}

// zone makes the last clause.
func (g *generator) zone() string {
	if !g.chance(12) {
		return ""
	}
	g.has("zone")
	g.shifted = true
	return " tz('" + g.one("Europe/Berlin", "America/New_York", "Asia/Kathmandu") + "')"
}
