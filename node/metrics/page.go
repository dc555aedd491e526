package metrics

import (
	"bytes"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"muster/repl"
)

// Page is the answer to one scrape: samples of the metrics of the table. It may be used again
// after [Page.Reset]. One goroutine at a time uses it.
type Page struct {
	samples [end][]byte // of each metric, in the order in which they were added
	process bytes.Buffer
}

// Reset empties the page, and keeps its memory.
func (p *Page) Reset() {
	for i := range p.samples {
		p.samples[i] = p.samples[i][:0]
	}
}

// Add puts a sample of a metric on the page. There must be a value for each label of the
// metric.
func (p *Page) Add(id ID, value float64, labels ...string) {
	p.samples[id] = appendSample(p.samples[id], id, "", labels, "", value)
}

// Yes is Add of 1 where a thing is so, and else of 0.
func (p *Page) Yes(id ID, so bool, labels ...string) {
	value := 0.0
	if so {
		value = 1
	}
	p.Add(id, value, labels...)
}

// Seconds is Add of a duration.
func (p *Page) Seconds(id ID, d time.Duration, labels ...string) { p.Add(id, d.Seconds(), labels...) }

// Times puts a histogram of durations on the page, in buckets that double from 16 µs to 134 s.
// Without any, there is no sample.
func (p *Page) Times(id ID, h *repl.Durations, labels ...string) {
	if h.Total() == 0 {
		return
	}
	const shortest = 4 // 16 µs: less than that no disk and no network takes
	b := p.samples[id]
	for i, n := range h.Doublings() {
		if i >= shortest {
			le := strconv.FormatFloat((time.Microsecond << i).Seconds(), 'g', -1, 64)
			b = appendSample(b, id, "_bucket", labels, le, float64(n))
		}
	}
	b = appendSample(b, id, "_bucket", labels, "+Inf", float64(h.Total()))
	b = appendSample(b, id, "_sum", labels, "", h.Sum().Seconds())
	p.samples[id] = appendSample(b, id, "_count", labels, "", float64(h.Total()))
}

// Process puts on the page what the table has of the process and of the Go runtime.
//
// The figures are those of the package of that name by VictoriaMetrics, which reads them from the
// system and from the runtime. It knows more than the table, under names that break
// Prometheus' conventions and without a word of help; that is left out.
func (p *Page) Process() {
	p.process.Reset()
	metrics.WriteProcessMetrics(&p.process)
	metrics.WriteFDMetrics(&p.process)
	for line := range bytes.Lines(p.process.Bytes()) {
		n := bytes.IndexAny(line, "{ ")
		if n < 0 || line[0] == '#' {
			continue
		}
		if id, ok := ofProcess(string(line[:n])); ok {
			p.samples[id] = append(p.samples[id], line...)
		}
	}
}

// ofProcess finds the metric of the process that a sample of some name is of.
func ofProcess(name string) (ID, bool) {
	for id := firstOfProcess; id < end; id++ {
		rest, ok := strings.CutPrefix(name, table[id].Name)
		if ok && (rest == "" || table[id].Kind == Histogram && (rest == "_bucket" || rest == "_sum" || rest == "_count")) {
			return id, true
		}
	}
	return 0, false
}

// Append appends the page as Prometheus reads it.
func (p *Page) Append(b []byte) []byte {
	for id := range p.samples {
		if m := &table[id]; len(p.samples[id]) > 0 {
			b = append(b, "# HELP "+m.Name+" "+m.Help+"\n# TYPE "+m.Name+" "+string(m.Kind)+"\n"...)
			b = append(b, p.samples[id]...)
		}
	}
	return b
}

// appendSample appends a line. le, if not "", is the label of a histogram's bucket.
func appendSample(b []byte, id ID, suffix string, labels []string, le string, value float64) []byte {
	m := &table[id]
	b = append(append(b, m.Name...), suffix...)
	between := byte('{')
	label := func(name, value string) {
		b = append(append(append(b, between), name...), '=', '"')
		b = append(appendEscaped(b, value), '"')
		between = ','
	}
	for i, name := range m.Labels {
		label(name, labels[i])
	}
	if le != "" {
		label("le", le)
	}
	if between == ',' {
		b = append(b, '}')
	}
	b = append(b, ' ')
	if value == math.Trunc(value) && math.Abs(value) < 1<<53 {
		b = strconv.AppendInt(b, int64(value), 10)
	} else {
		b = strconv.AppendFloat(b, value, 'g', -1, 64)
	}
	return append(b, '\n')
}

// appendEscaped appends the value of a label. What is no UTF-8 would make a scraper refuse the
// whole page.
func appendEscaped(b []byte, s string) []byte {
	for _, r := range strings.ToValidUTF8(s, "\ufffd") {
		switch r {
		case '\\':
			b = append(b, `\\`...)
		case '"':
			b = append(b, `\"`...)
		case '\n':
			b = append(b, `\n`...)
		default:
			b = append(b, string(r)...)
		}
	}
	return b
}
