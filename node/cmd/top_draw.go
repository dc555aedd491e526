package cmd

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"muster/node/overview"
)

// Drawing is a function of an overview, of what a person has chosen and of the size of the
// terminal. It knows no terminal.

// topState is what a person has chosen.
type topState struct {
	table    topTable
	sort     [topTables]int  // by which column each table is sorted
	reversed [topTables]bool // the largest first
	selected [topTables]string
	at       int  // the row of the selection, for when what it was on is gone
	open     bool // a closer look at the selected row
	scroll   int  // of that, in lines
	paused   bool
	help     bool
	colour   bool
	// err is why there is nothing newer than what is shown; "" if there is.
	err string
}

// Limits of the screen.
const (
	topWidthMin  = 40
	topHeightMin = 12
	// reasonLinesMax bounds the lines that a reason and what to do next take each.
	reasonLinesMax = 3
	// topFar is more lines than there are of anything.
	topFar = 1 << 20
	// topHeightFew is a screen of so few lines that the table needs what the head can spare.
	topHeightFew = 18
)

// Styles, as the numbers of the escape sequence that sets them. Each says what some word or sign
// beside it says too.
const (
	styleBold    = "1"
	styleFaint   = "2"
	styleReverse = "7"
	styleRed     = "31"
	styleGreen   = "32"
	styleYellow  = "33"
)

// topFrame gathers lines.
type topFrame struct {
	width  int
	colour bool
	lines  []string
}

// add adds a line, cut to the width, in a style; "" is none.
func (f *topFrame) add(style, text string) {
	text = fitColumns(plain(text), f.width)
	if style != "" && f.colour {
		text = "\x1b[" + style + "m" + text + "\x1b[0m"
	}
	f.lines = append(f.lines, text)
}

// fitColumns cuts s, which is plain, where it is wider than n columns, and shows that it was cut.
func fitColumns(s string, n int) string {
	if columnsOf(s) <= n {
		return s
	}
	return firstColumns(s, n-1) + "…"
}

// wrapped breaks a text at blanks into lines of width columns; the last one of most is cut.
func wrapped(text string, width, most int) (lines []string) {
	line := ""
	for word := range strings.FieldsSeq(plain(text)) {
		switch {
		case line == "":
			line = word
		case columnsOf(line)+1+columnsOf(word) <= width || len(lines) == most-1:
			line += " " + word
		default:
			lines, line = append(lines, line), word
		}
	}
	if line != "" {
		lines = append(lines, line)
	}
	for i := range lines {
		lines[i] = fitColumns(lines[i], width)
	}
	return lines
}

// drawTop returns the lines of a screen, height at most, each of width columns at most. It notes in
// s where the selection is.
func drawTop(o *overview.Overview, s *topState, width, height int) []string {
	f := &topFrame{width: width, colour: s.colour}
	if width < topWidthMin || height < topHeightMin {
		f.add("", string(o.Verdict)+" "+o.Reason)
		f.add("", fmt.Sprintf("want %d columns and %d lines", topWidthMin, topHeightMin))
		return f.lines[:min(len(f.lines), max(height, 0))]
	}
	if s.help {
		f.add(styleBold, "keys of muster top")
		for _, line := range topHelp {
			f.add("", line)
		}
		return f.lines[:min(len(f.lines), height)]
	}
	f.head(o, s, height)
	c := s.table.content(o)
	c.sorted(s.sort[s.table], s.reversed[s.table])
	s.settle(&c)
	f.tabs(o, s, &c)
	foot := topFoot(s)
	room := height - len(f.lines) - 1
	if s.open && len(c.rows) > 0 {
		f.closer(&c.rows[s.at], s, room)
	} else {
		f.table(&c, s, room)
	}
	for len(f.lines) < height-1 {
		f.add("", "")
	}
	f.lines = f.lines[:height-1]
	f.add(styleFaint, foot)
	return f.lines
}

// settle finds the row that is selected. If it is gone, the one in its place is.
func (s *topState) settle(c *topContent) {
	if i := slices.IndexFunc(c.rows, func(r topRow) bool { return r.key == s.selected[s.table] }); i >= 0 {
		s.at = i
	}
	s.at = max(min(s.at, len(c.rows)-1), 0)
	if len(c.rows) > 0 {
		s.selected[s.table] = c.rows[s.at].key
	} else {
		s.open = false
	}
}

// head draws what stands above the tables: the verdict, and what happens in the cluster as a whole. On
// a low screen each has one line.
func (f *topFrame) head(o *overview.Overview, s *topState, height int) {
	low := height < topHeightFew
	state := ""
	switch {
	case s.err != "":
		state = " · NOT CURRENT: " + s.err
	case s.paused:
		state = " · PAUSED"
	}
	f.add(styleBold, fmt.Sprintf("muster top · cluster %s · %s%s", orDash(o.Cluster), o.At.Format(time.TimeOnly), state))
	style := map[overview.Verdict]string{overview.VerdictOK: styleGreen, overview.VerdictWarning: styleYellow, overview.VerdictError: styleRed}[o.Verdict]
	const indent = 9
	most := reasonLinesMax
	if low {
		most = 1
	}
	part := func(label, text, style string) {
		for i, line := range wrapped(text, f.width-indent, most) {
			if i > 0 {
				label = ""
			}
			f.add(style, fmt.Sprintf("%-*s%s", indent, label, line))
		}
	}
	part(strings.ToUpper(string(o.Verdict)), o.Reason, style)
	part("next", o.Next, "")
	if o.Limited != "" {
		part("limited", o.Limited, "")
	}
	rates := topRates(o, f.width)
	if low {
		f.add("", rates[0])
		return
	}
	for _, line := range rates {
		f.add("", line)
	}
	f.add("", "")
}

// topRates are the rates of all nodes: in one line where there is room, else in two.
func topRates(o *overview.Overview, width int) []string {
	r := &o.Rates
	if r.WindowMs == 0 {
		return []string{"rates    " + noRates(o)}
	}
	asked := fmt.Sprintf("writes %s/s p50 %s p99 %s · reads %s/s p50 %s p99 %s", rateText(r.Writes), micros(r.WriteLatency.P50), micros(r.WriteLatency.P99),
		rateText(r.Reads), micros(r.ReadLatency.P50), micros(r.ReadLatency.P99))
	done := fmt.Sprintf("syncs %s/s p99 %s · log %s · in %s, out %s · cpu %.0f%%", rateText(r.Syncs), micros(r.SyncLatency.P99), bytesText(r.LogBytes), bytesText(r.BytesIn), bytesText(r.BytesOut), r.CPU)
	if one := "rates    " + asked + " · " + done; columnsOf(one) <= width {
		return []string{one}
	}
	return []string{"rates    " + asked, "         " + done}
}

// tabs draws the names of the tables, with the one that is shown in brackets.
func (f *topFrame) tabs(o *overview.Overview, s *topState, c *topContent) {
	counts := [topTables]int{len(o.Nodes), len(o.Groups), len(o.Jobs), len(o.Events), len(o.Findings)}
	var names []string
	for t := range topTables {
		name := fmt.Sprintf("%d:%s (%d)", t+1, t, counts[t])
		if t == s.table {
			name = "[" + name + "]"
		}
		names = append(names, name)
	}
	f.add(styleBold, strings.Join(names, "  "))
	way := "up"
	if s.reversed[s.table] {
		way = "down"
	}
	if !s.open {
		f.add(styleFaint, fmt.Sprintf("sorted by %s, %s", c.columns[min(s.sort[s.table], len(c.columns)-1)].head, way))
	}
}

// table draws the rows around the selection.
func (f *topFrame) table(c *topContent, s *topState, room int) {
	const mark = 2 // columns before each row: what is selected, and what is wrong
	shown, widths := c.fitting(f.width - mark)
	line := func(signs string, cell func(i int) string) string {
		parts := make([]string, len(shown))
		for at, i := range shown {
			text := cell(i)
			pad := strings.Repeat(" ", max(widths[at]-columnsOf(text), 0))
			if c.columns[i].right {
				parts[at] = pad + text
			} else {
				parts[at] = text + pad
			}
		}
		return strings.TrimRight(signs+strings.Join(parts, strings.Repeat(" ", columnGap)), " ")
	}
	f.add(styleBold, line("  ", func(i int) string { return c.columns[i].head }))
	room--
	if len(c.rows) == 0 {
		f.add("", "  none")
		return
	}
	first := max(min(s.at-room/2, len(c.rows)-room), 0)
	for i := first; i < min(first+room, len(c.rows)); i++ {
		r := &c.rows[i]
		signs, style := " ", ""
		if i == s.at {
			signs, style = ">", styleReverse
		}
		if r.bad {
			signs += "!"
			if style == "" {
				style = styleRed
			}
		} else {
			signs += " "
		}
		f.add(style, line(signs, func(i int) string { return plain(r.cells[i].text) }))
	}
}

// closer draws all there is to know of one row.
func (f *topFrame) closer(r *topRow, s *topState, room int) {
	var lines []string
	for _, line := range r.more {
		if line == "" {
			lines = append(lines, "")
			continue
		}
		lines = append(lines, wrapped(line, f.width-2, topFar)...)
	}
	s.scroll = max(min(s.scroll, len(lines)-room), 0)
	for _, line := range lines[s.scroll:min(s.scroll+max(room, 0), len(lines))] {
		f.add("", strings.TrimRight("  "+line, " "))
	}
}

// topHelp says what each key does.
var topHelp = []string{
	"",
	"q, Ctrl-C        quit",
	"1 to 5, Tab      another table",
	"up, down, k, j   another row; PgUp, PgDn, Home, End",
	"Enter            look closer at the row; Esc goes back",
	"s, S             sort by the next column, by the one before",
	"r                sort the other way round",
	"p, blank         pause, and go on",
	"?                this help",
	"",
	"> is the selected row; ! is one with which something is wrong",
}

func topFoot(s *topState) string {
	switch {
	case s.open:
		return "Esc back · up/down scroll · p pause · q quit"
	case s.paused:
		return "p go on · q quit · Tab table · s sort · r reverse · Enter closer · ? help"
	}
	return "q quit · Tab table · s sort · r reverse · Enter closer · p pause · ? help"
}

// topSummary is an overview as text for those who have no terminal.
func topSummary(con *console, o *overview.Overview) error {
	con.line("cluster %s is %s: %s", orDash(o.Cluster), o.Verdict, o.Reason)
	con.line("next: %s", o.Next)
	if o.Limited != "" {
		con.line("limited: %s", o.Limited)
	}
	for _, line := range topRates(o, 0) {
		con.line("%s", line)
	}
	for t := range topTables {
		c := t.content(o)
		if len(c.rows) == 0 {
			continue
		}
		con.line("")
		heads := make([]string, len(c.columns))
		for i, col := range c.columns {
			heads[i] = col.head
		}
		out := newTable(con.out, heads...)
		for _, r := range c.rows {
			cells := make([]string, len(r.cells))
			for i, cell := range r.cells {
				cells[i] = cell.text
			}
			out.row(cells...)
		}
		if err := out.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// noRates is shown in place of rates that are not known: they come in a moment, or this user may not see them.
func noRates(o *overview.Overview) string {
	if o.Limited != "" {
		return "-"
	}
	return "counting…"
}

// topLine is an overview in one line.
func topLine(o *overview.Overview) string {
	r := &o.Rates
	rates := noRates(o)
	if r.WindowMs > 0 {
		rates = fmt.Sprintf("writes %s/s p99 %s  reads %s/s p99 %s  cpu %.0f%%", rateText(r.Writes), micros(r.WriteLatency.P99), rateText(r.Reads), micros(r.ReadLatency.P99), r.CPU)
	}
	return fmt.Sprintf("%s  %-7s  %s  %s", o.At.Format(time.TimeOnly), o.Verdict, rates, o.Reason)
}
