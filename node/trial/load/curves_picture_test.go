package load

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"html"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var drawCurves = flag.Bool("draw", false, "have TestCurvesAreShown draw docs/curves/*.svg anew, and print the tables for docs/performance.md")

// What docs/performance.md shows of the curves must be what TestCurves measured:
// the pictures and the tables are made of docs/curves/*.json, by nothing else.
func TestCurvesAreShown(t *testing.T) {
	const docs = "../../../docs"
	page, err := os.ReadFile(filepath.Join(docs, "performance.md"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(docs, "curves", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no curves: %v", err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var c curve
		if err := json.Unmarshal(b, &c); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		picture := strings.TrimSuffix(file, ".json") + ".svg"
		if *drawCurves {
			t.Logf("%s\n%s", picture, c.markdown())
			if err := os.WriteFile(picture, c.svg(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if b, err := os.ReadFile(picture); err != nil || !bytes.Equal(b, c.svg()) {
			t.Errorf("%s is not what %s says (%v); go test ./node/trial/load -run TestCurvesAreShown -draw", picture, file, err)
		}
		if !bytes.Contains(page, []byte(c.markdown())) {
			t.Errorf("docs/performance.md has not the table of %s:\n%s", file, c.markdown())
		}
	}
}

// markdown is a table: a row for each point, four columns for each series.
func (c *curve) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "| %s |", c.X)
	for _, s := range c.Series {
		fmt.Fprintf(&b, " %s: nodes' CPU | client's | per second | p99 |", s.Name)
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", 4*len(c.Series)) + "\n")
	for i, p := range c.Series[0].Points {
		fmt.Fprintf(&b, "| %s |", thousands(p.X))
		for _, s := range c.Series {
			m := s.Points[i].Median
			fmt.Fprintf(&b, " %.2f µs | %.2f µs | %s | %.1f ms |", m.ServerCPU, m.ClientCPU, thousands(int(m.OpsPerS)), m.P99/1000)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// axis is a way from figures to places in a picture.
type axis struct {
	from, to   float64 // figures at its ends
	begin, end float64 // their places
	log        bool
}

func (a axis) at(figure float64) float64 {
	part := (figure - a.from) / (a.to - a.from)
	if a.log {
		part = math.Log(figure/a.from) / math.Log(a.to/a.from)
	}
	return a.begin + part*(a.end-a.begin)
}

// ticks are the round figures on it: 1, 2 and 5 times powers of ten where it is
// logarithmic, else multiples of such a step, ten at most.
func (a axis) ticks() (all []float64) {
	for power := -3; power < 12; power++ {
		for _, n := range []float64{1, 2, 5} {
			step := n * math.Pow10(power)
			if a.log && step >= a.from && step <= a.to {
				all = append(all, step)
			}
			if !a.log && (a.to-a.from)/step <= 10 {
				for i := math.Ceil(a.from / step); i*step <= a.to; i++ {
					all = append(all, i*step)
				}
				return all
			}
		}
	}
	return all
}

// line is what the picture shows of a series on one side.
type line struct {
	name, colour, dashes string
	points               []struct{ x, median, least, most float64 }
}

func (c *curve) lines() (all []line) {
	for i, s := range c.Series {
		for _, side := range []struct {
			name, dashes string
			from         func(curveRun) float64
		}{
			{"the nodes", "none", func(r curveRun) float64 { return r.ServerCPU }},
			{"the client", "5 3", func(r curveRun) float64 { return r.ClientCPU }},
		} {
			l := line{name: s.Name + ": " + side.name, colour: [...]string{"#1f7ad6", "#c25e10"}[i%2], dashes: side.dashes}
			for _, p := range s.Points {
				var rounds []float64
				for _, r := range p.Rounds {
					rounds = append(rounds, c.cost(p, side.from(r)))
				}
				l.points = append(l.points, struct{ x, median, least, most float64 }{
					float64(p.X), c.cost(p, side.from(p.Median)), slices.Min(rounds), slices.Max(rounds)})
			}
			all = append(all, l)
		}
	}
	return all
}

// svg is the picture: medians as lines, the least and the most of the rounds as
// bars. It stands on whatever is behind it, light or dark: nothing is filled, and
// each colour has a contrast of 4 or more to both.
func (c *curve) svg() []byte {
	lines := c.lines()
	y := axis{begin: 350, end: 56, from: math.Inf(1), log: c.PerByte} // downwards
	for _, l := range lines {
		for _, p := range l.points {
			y.from, y.to = min(y.from, p.least), max(y.to, p.most)
		}
	}
	const room = 1.1 // between the curves and the frame
	if y.to *= room; y.log {
		y.from /= room
	} else {
		y.from = 0
	}
	first := lines[0].points
	x := axis{begin: 64, end: 600, from: first[0].x, to: first[len(first)-1].x, log: true}
	var b bytes.Buffer
	put := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	text := func(x, y float64, anchor, s string) {
		put(`<text x="%.1f" y="%.1f" text-anchor="%s">%s</text>`, x, y, anchor, html.EscapeString(s))
	}
	put(`<svg xmlns="http://www.w3.org/2000/svg" width="640" height="400" viewBox="0 0 640 400" font-family="Arial,sans-serif" font-size="12" fill="#777">`)
	for _, p := range first {
		put(`<path d="M%.1f %.1fV%.1f" stroke="#808080" stroke-opacity="0.2"/>`, x.at(p.x), y.begin, y.end)
		text(x.at(p.x), y.begin+18, "middle", thousands(int(p.x)))
	}
	for _, v := range y.ticks() {
		put(`<path d="M%.1f %.1fH%.1f" stroke="#808080" stroke-opacity="0.2"/>`, x.begin, y.at(v), x.end)
		text(x.begin-8, y.at(v)+4, "end", fmt.Sprintf("%g", v))
	}
	put(`<path d="M%.1f %.1fV%.1fH%.1f" fill="none" stroke="#777"/>`, x.begin, y.end, y.begin, x.end)
	text((x.begin+x.end)/2, 392, "middle", c.X)
	unit := "µs of processor time per operation"
	if c.PerByte {
		unit = "ns of processor time per byte"
	}
	put(`<g transform="translate(18 %.1f) rotate(-90)">`, (y.begin+y.end)/2)
	text(0, 0, "middle", unit)
	put(`</g>`)
	for i, l := range lines {
		put(`<g fill="%[1]s" stroke="%[1]s">`, l.colour)
		var way strings.Builder
		for _, p := range l.points {
			px, py := x.at(p.x), y.at(p.median)
			fmt.Fprintf(&way, " %.1f,%.1f", px, py)
			put(`<circle cx="%.1f" cy="%.1f" r="2"/><path d="M%.1f %.1fh6m-3 0V%.1fm-3 0h6"/>`, px, py, px-3, y.at(p.most), y.at(p.least))
		}
		put(`<polyline points="%s" fill="none" stroke-width="1.5" stroke-dasharray="%s"/>`, way.String()[1:], l.dashes)
		// The legend stands above, in two columns.
		at, row := x.begin+286*float64(i%2), 18+18*float64(i/2)
		put(`<path d="M%.1f %.1fh30" stroke-width="1.5" stroke-dasharray="%s"/></g>`, at, row-4, l.dashes)
		text(at+38, row, "start", l.name)
	}
	put(`</svg>`)
	return b.Bytes()
}
