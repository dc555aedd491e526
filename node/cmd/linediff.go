package cmd

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Two values are compared line by line by Myers' greedy algorithm (An O(ND) Difference Algorithm and Its
// Variations, 1986): of all ways to make one of the other it finds one with the fewest lines that go or
// come. A library was weighed (docs/decisions/0042-history.md).

const (
	// diffEditsMax bounds the lines that go or come and are looked for: the search takes memory and
	// time by their square, 8 MB and some 10 ms. Where more differ, all lines between the first and the
	// last that differ are shown as gone and come.
	diffEditsMax = 1400
	// diffContext is how many lines that are the same stand around those that are not.
	diffContext = 3
)

// isText reports whether a value is shown line by line.
func isText(value []byte) bool { return utf8.Valid(value) && bytes.IndexByte(value, 0) < 0 }

// edit is one line of a diff: ' ' if both sides have it, '-' if the first alone does, '+' if the second.
type edit struct {
	mark byte
	line string
}

// linesOf returns the lines of a text, each with its newline; the last may have none.
func linesOf(text []byte) []string {
	lines := strings.SplitAfter(string(text), "\n")
	if last := len(lines) - 1; lines[last] == "" {
		lines = lines[:last]
	}
	return lines
}

// editsOf returns how the lines a become the lines b.
func editsOf(a, b []string) (edits []edit) {
	head := 0
	for head < len(a) && head < len(b) && a[head] == b[head] {
		head++
	}
	tail := 0
	for tail < len(a)-head && tail < len(b)-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	add := func(mark byte, lines []string) {
		for _, line := range lines {
			edits = append(edits, edit{mark, line})
		}
	}
	add(' ', a[:head])
	middle, ok := shortest(a[head:len(a)-tail], b[head:len(b)-tail])
	if ok {
		edits = append(edits, middle...)
	} else {
		add('-', a[head:len(a)-tail])
		add('+', b[head:len(b)-tail])
	}
	add(' ', a[len(a)-tail:])
	return edits
}

// shortest returns the fewest edits; false if there are more than [diffEditsMax].
func shortest(a, b []string) (edits []edit, ok bool) {
	// reach[k+max] is how far into a the furthest path on diagonal k goes, where k is the place in a
	// less that in b; before[d] is reach after d edits, from diagonal -d to d.
	most := min(len(a)+len(b), diffEditsMax)
	reach := make([]int32, 2*most+3)
	at := func(k int) *int32 { return &reach[k+most+1] }
	var before [][]int32
	for d := 0; d <= most; d++ {
		for k := -d; k <= d; k += 2 {
			x := int32(0)
			if k == -d || k != d && *at(k - 1) < *at(k + 1) {
				x = *at(k + 1) // a line of b comes
			} else {
				x = *at(k - 1) + 1 // one of a goes
			}
			for y := int(x) - k; int(x) < len(a) && y < len(b) && a[x] == b[y]; y++ {
				x++
			}
			*at(k) = x
			if int(x) == len(a) && int(x)-k == len(b) {
				return retrace(a, b, before, d), true
			}
		}
		before = append(before, slices.Clone(reach[most+1-d:most+1+d+1]))
	}
	return nil, false
}

// retrace follows a path of d edits from its end back to its beginning.
func retrace(a, b []string, before [][]int32, d int) (edits []edit) {
	x, y := len(a), len(b)
	for ; d > 0; d-- {
		k := x - y
		// After d-1 edits there are the diagonals from -(d-1) to d-1.
		reached := func(k int) int {
			if k < -(d-1) || k > d-1 {
				return -1
			}
			return int(before[d-1][k+d-1])
		}
		down := k == -d || k != d && reached(k-1) < reached(k+1)
		from := k - 1
		if down {
			from = k + 1
		}
		fromX := reached(from)
		fromY := fromX - from
		startX := fromX + 1
		if down {
			startX = fromX
		}
		for x > startX {
			x, y = x-1, y-1
			edits = append(edits, edit{' ', a[x]})
		}
		if down {
			edits = append(edits, edit{'+', b[fromY]})
		} else {
			edits = append(edits, edit{'-', a[fromX]})
		}
		x, y = fromX, fromY
	}
	for x > 0 {
		x--
		edits = append(edits, edit{' ', a[x]})
	}
	slices.Reverse(edits)
	return edits
}

// unifiedDiff returns the lines that differ between two texts, as diff -u shows them; nothing if none does.
func unifiedDiff(from, to string, a, b []byte) string {
	if bytes.Equal(a, b) {
		return ""
	}
	edits := editsOf(linesOf(a), linesOf(b))
	var out strings.Builder
	fmt.Fprintf(&out, "--- %s\n+++ %s\n", from, to)
	lineA, lineB := 1, 1 // of edits[at]
	for at := 0; at < len(edits); {
		first := at
		for first < len(edits) && edits[first].mark == ' ' {
			first++
		}
		if first == len(edits) {
			break
		}
		begin := max(at, first-diffContext)
		// The hunk ends where more lines are the same than stand around two changes.
		end, same := first, 0
		for i := first; i < len(edits) && same <= 2*diffContext; i++ {
			if same++; edits[i].mark != ' ' {
				end, same = i+1, 0
			}
		}
		end = min(len(edits), end+diffContext)
		lineA, lineB = lineA+begin-at, lineB+begin-at
		lineA, lineB = writeHunk(&out, edits[begin:end], lineA, lineB)
		at = end
	}
	return out.String()
}

// writeHunk writes edits, of which the first is at these lines, and returns the lines behind them.
func writeHunk(out *strings.Builder, edits []edit, lineA, lineB int) (nextA, nextB int) {
	countA, countB := 0, 0
	for _, e := range edits {
		if e.mark != '+' {
			countA++
		}
		if e.mark != '-' {
			countB++
		}
	}
	fmt.Fprintf(out, "@@ -%s +%s @@\n", hunkRange(lineA, countA), hunkRange(lineB, countB))
	for _, e := range edits {
		out.WriteByte(e.mark)
		out.WriteString(e.line)
		if !strings.HasSuffix(e.line, "\n") {
			out.WriteString("\n\\ No newline at end of file\n")
		}
	}
	return lineA + countA, lineB + countB
}

// hunkRange is a run of lines as diff -u names it: one without lines is named by the line before.
func hunkRange(line, count int) string {
	switch count {
	case 0:
		return fmt.Sprintf("%d,0", line-1)
	case 1:
		return fmt.Sprint(line)
	}
	return fmt.Sprintf("%d,%d", line, count)
}
