// Muster draws its curves with this program, which no other part needs.
//
// It reads docs/curves/*.json, which TestCurves writes, makes an SVG of each
// beside it, and prints the tables of docs/performance.md. It measures nothing
// and judges nothing: that is the test's.
//
//	go run -C docs/curves/draw .
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// curve is what is read of the form that node/trial/curves_test.go writes.
type curve struct {
	Name    string   `json:"curve"`
	X       string   `json:"x"`
	PerByte bool     `json:"per_byte"`
	Series  []series `json:"series"`
}

type series struct {
	Name   string  `json:"series"`
	Points []point `json:"points"`
}

type point struct {
	X          int   `json:"x"`
	ValueBytes int   `json:"value_bytes"`
	Median     run   `json:"median"`
	Rounds     []run `json:"rounds"`
}

type run struct {
	ServerCPU float64 `json:"server_cpu_us_per_op"`
	ClientCPU float64 `json:"client_cpu_us_per_op"`
	OpsPerS   float64 `json:"ops_per_s"`
	P99       float64 `json:"p99_us"`
}

func main() {
	files, err := filepath.Glob("../*.json")
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("no ../*.json: go test -v ./node/trial -run TestCurves -curves ../../docs/curves -timeout 60m in the project's folder makes them")
	}
	for _, file := range files {
		if err == nil {
			err = show(file)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "draw:", err)
		os.Exit(1)
	}
}

func show(file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var c curve
	if err := json.Unmarshal(b, &c); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	fmt.Print(c.table())
	return c.draw(strings.TrimSuffix(file, ".json") + ".svg")
}

// keyBytes are those of each key.
const keyBytes = 16

// cost is what is drawn of a run: microseconds of an operation, or nanoseconds
// of a byte.
func (c *curve) cost(p point, micros float64) float64 {
	if c.PerByte {
		return micros * 1000 / float64(keyBytes+p.ValueBytes)
	}
	return micros
}

// The picture stands on whatever is behind it, light or dark: nothing is filled,
// and each colour lies between, with a contrast of 4 or more to both.
var (
	ink   = color.RGBA{0x77, 0x77, 0x77, 0xff}
	grid  = color.NRGBA{0x80, 0x80, 0x80, 0x30}
	lines = []color.RGBA{{0x1f, 0x7a, 0xd6, 0xff}, {0xc2, 0x5e, 0x10, 0xff}}
)

func (c *curve) draw(file string) error {
	plot.DefaultFont = font.Font{Typeface: "Liberation", Variant: "Sans"}
	p := plot.New()
	p.BackgroundColor = nil
	p.X.Label.Text, p.Y.Label.Text = c.X, "µs of processor time per operation"
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, c.ticks()
	p.Y.Min = 0
	if c.PerByte {
		p.Y.Min = math.Inf(1)
		p.Y.Label.Text = "ns of processor time per byte"
		p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	}
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Color, a.Label.TextStyle.Color, a.Tick.Label.Color, a.Tick.LineStyle.Color = ink, ink, ink, ink
		a.Padding = vg.Points(4)
	}
	g := plotter.NewGrid()
	g.Vertical.Color, g.Horizontal.Color = grid, grid
	p.Add(g)
	p.Legend.TextStyle.Color = ink
	p.Legend.Top, p.Legend.Left, p.Legend.YOffs = true, !c.PerByte, vg.Points(-4)
	highest := 0.0
	for i, s := range c.Series {
		for _, of := range []struct {
			who    string
			dashes []vg.Length
			from   func(run) float64
		}{
			{"the nodes", nil, func(r run) float64 { return r.ServerCPU }},
			{"the client", []vg.Length{vg.Points(5), vg.Points(3)}, func(r run) float64 { return r.ClientCPU }},
		} {
			var xys plotter.XYs
			var spread plotter.YErrors
			for _, q := range s.Points {
				var all []float64
				for _, r := range q.Rounds {
					all = append(all, c.cost(q, of.from(r)))
				}
				y := c.cost(q, of.from(q.Median))
				xys = append(xys, plotter.XY{X: float64(q.X), Y: y})
				spread = append(spread, struct{ Low, High float64 }{y - slices.Min(all), slices.Max(all) - y})
				highest = max(highest, slices.Max(all))
			}
			line, dots, err := plotter.NewLinePoints(xys)
			if err != nil {
				return err
			}
			bars, err := plotter.NewYErrorBars(struct {
				plotter.XYs
				plotter.YErrors
			}{xys, spread})
			if err != nil {
				return err
			}
			ink := lines[i%len(lines)]
			line.Color, line.Width, line.Dashes = ink, vg.Points(1.5), of.dashes
			dots.Color, dots.Shape, dots.Radius = ink, draw.CircleGlyph{}, vg.Points(2)
			bars.Color, bars.CapWidth = ink, vg.Points(4)
			p.Add(line, dots, bars)
			p.Legend.Add(s.Name+": "+of.who, line, dots)
		}
	}
	if !c.PerByte {
		p.Y.Max = highest * 1.5 // the legend stands above the lines
	}
	picture, err := p.WriterTo(16*vg.Centimeter, 10*vg.Centimeter, "svg")
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if _, err := picture.WriteTo(&b); err != nil {
		return err
	}
	// Few who look at it have that font, and without another name theirs is
	// one with serifs.
	out := bytes.ReplaceAll(b.Bytes(), []byte("family:Liberation Sans;"), []byte("family:Liberation Sans,Arial,sans-serif;"))
	return os.WriteFile(file, out, 0o644)
}

// ticks are at the points.
func (c *curve) ticks() plot.ConstantTicks {
	var all plot.ConstantTicks
	for _, p := range c.Series[0].Points {
		all = append(all, plot.Tick{Value: float64(p.X), Label: number(p.X)})
	}
	return all
}

// table is in Markdown: a row for each point, and four columns for each series.
func (c *curve) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "| %s |", c.X)
	for _, s := range c.Series {
		fmt.Fprintf(&b, " %s: nodes' CPU | client's | per second | p99 |", s.Name)
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", 4*len(c.Series)) + "\n")
	for i, p := range c.Series[0].Points {
		fmt.Fprintf(&b, "| %s |", number(p.X))
		for _, s := range c.Series {
			m := s.Points[i].Median
			fmt.Fprintf(&b, " %.2f µs | %.2f µs | %s | %.1f ms |", m.ServerCPU, m.ClientCPU, number(int(m.OpsPerS)), m.P99/1000)
		}
		b.WriteString("\n")
	}
	return b.String() + "\n"
}

// number writes commas between thousands.
func number(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
