package line

import "bytes"

// cut finds the line that text begins with, from begin to end, without blanks before it and its newline; from end+1
// on stands the next one. Of a blank line or a comment it is empty.
func cut(text []byte) (begin, end int) {
	first := text
	if n := bytes.IndexByte(text, '\n'); n >= 0 {
		first = text[:n]
	}
	begin = blank(first)
	if begin == len(first) || first[begin] == '#' || string(first[begin:]) == "\r" {
		return len(first), len(first)
	}
	// Nothing but a string reaches over a newline.
	if bytes.IndexByte(first, '"') < 0 {
		return begin, len(first)
	}
	return begin, begin + scan(text[begin:]).at
}

// blank returns how many spaces and tabs b begins with.
func blank(b []byte) int {
	for i, c := range b {
		if c != ' ' && c != '\t' {
			return i
		}
	}
	return len(b)
}

// place is what is known of a line where a scan of it has ended.
type place struct {
	at    int // where it ended
	name  int // where the name of the last field begins, and
	value int // its value; before name if it has none so far
	time  int // where the time begins; 0 if that has not come
}

// scan goes to the end of the line that text begins with, whatever is wrong with it: to the first newline that
// stands in no string, or to the end of the text. A string begins at a quote in the fields that stands behind
// an equals sign, or behind more equals signs than commas, and ends at the next quote. In it a backslash takes the
// meaning from a quote or a backslash, and outside from all but a newline. For good lines that is where the
// library finds the end, too; of bad ones the library does not look for it.
//
// InfluxDB 1.8 counts equals signs and commas alone, and so finds no string behind v=1,,s=.
func scan(text []byte) (p place) {
	equals, commas := 0, 0
	fields, quoted := false, false
	for ; p.at < len(text); p.at++ {
		at, c := p.at, text[p.at]
		if quoted {
			if c == '\\' && at+1 < len(text) && (text[at+1] == '"' || text[at+1] == '\\') {
				p.at++
			}
			quoted = c != '"'
			continue
		}
		if c == '\n' {
			return p
		}
		if escaped(text, at) {
			continue
		}
		switch {
		case c == ' ' && (!fields || p.name == at):
			fields, p.name = true, at+1
		case c == ' ' && equals > 0 && (p.time == 0 || p.time == at):
			p.time = at + 1
		case fields && c == '=':
			equals, p.value = equals+1, at+1
		case fields && c == ',':
			commas, p.name = commas+1, at+1
		case fields && c == '"':
			quoted = equals > commas || at == p.value
		}
	}
	return p
}

// escaped reports whether a backslash stands before a place of a line.
func escaped(line []byte, at int) bool { return at > 0 && line[at-1] == '\\' }
