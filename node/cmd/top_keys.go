package cmd

import "unicode/utf8"

// topKey is a key as a person knows it: a character, or the name of one that has none.
type topKey string

const (
	keyUp     topKey = "up"
	keyDown   topKey = "down"
	keyPageUp topKey = "page up"
	keyPageDn topKey = "page down"
	keyHome   topKey = "home"
	keyEnd    topKey = "end"
	keyEnter  topKey = "enter"
	keyEscape topKey = "escape"
	keyTab    topKey = "tab"
	keyBack   topKey = "back tab"
	keyQuit   topKey = "ctrl-c"
)

// topSequences are what terminals send for keys without a character, behind ESC.
var topSequences = map[string]topKey{
	"[A": keyUp, "[B": keyDown, "OA": keyUp, "OB": keyDown, "[5~": keyPageUp, "[6~": keyPageDn,
	"[H": keyHome, "[F": keyEnd, "OH": keyHome, "OF": keyEnd, "[1~": keyHome, "[4~": keyEnd, "[7~": keyHome, "[8~": keyEnd, "[Z": keyBack,
}

// sequenceMax bounds a sequence, in bytes: what is longer is none that any key sends.
const sequenceMax = 16

// topKeys reads the keys in what a terminal has sent. left is the beginning of a key whose end has
// not come; if nothing comes for a while it is Escape, which begins as others do.
func topKeys(b []byte) (keys []topKey, left []byte) {
	for len(b) > 0 {
		switch {
		case b[0] == 0x1b:
			key, n := keyBehind(b)
			if n == 0 {
				return keys, b
			}
			if key != "" {
				keys = append(keys, key)
			}
			b = b[n:]
			continue
		case b[0] == 3, b[0] == 4: // Ctrl-C, Ctrl-D
			keys = append(keys, keyQuit)
		case b[0] == '\r', b[0] == '\n':
			keys = append(keys, keyEnter)
		case b[0] == '\t':
			keys = append(keys, keyTab)
		case !utf8.FullRune(b):
			return keys, b
		default:
			r, n := utf8.DecodeRune(b)
			keys = append(keys, topKey(r))
			b = b[n:]
			continue
		}
		b = b[1:]
	}
	return keys, nil
}

// keyBehind reads the key that begins with ESC, and returns how many bytes it has: 0 if its end is not
// there. A sequence that is no key we know is left out.
func keyBehind(b []byte) (topKey, int) {
	if len(b) == 1 {
		return "", 0
	}
	if b[1] != '[' && b[1] != 'O' {
		return keyEscape, 1
	}
	for i := 2; i < min(len(b), sequenceMax); i++ {
		if b[i] >= 0x40 && b[i] <= 0x7e {
			return topSequences[string(b[1:i+1])], i + 1
		}
	}
	if len(b) >= sequenceMax {
		return "", len(b)
	}
	return "", 0
}

// press does what a key is for, on a screen of so many lines. It reports whether the person wants to
// go on.
func (s *topState) press(k topKey, height int) bool {
	page := max(height-topHeightMin, 1)
	if s.help {
		s.help = false
		return k != "q" && k != keyQuit
	}
	switch k {
	case "q", keyQuit:
		return false
	case "?", "h":
		s.help = true
	case "1", "2", "3", "4", "5":
		s.turn(topTable(k[0] - '1'))
	case keyTab:
		s.turn((s.table + 1) % topTables)
	case keyBack:
		s.turn((s.table + topTables - 1) % topTables)
	case keyUp, "k":
		s.move(-1)
	case keyDown, "j":
		s.move(1)
	case keyPageUp:
		s.move(-page)
	case keyPageDn:
		s.move(page)
	case keyHome, "g":
		s.move(-topFar)
	case keyEnd, "G":
		s.move(topFar)
	case keyEnter:
		s.open, s.scroll = !s.open, 0
	case keyEscape:
		s.open = false
	case "s":
		s.order(1)
	case "S":
		s.order(-1)
	case "r":
		s.reversed[s.table] = !s.reversed[s.table]
	case "p", " ":
		s.paused = !s.paused
	}
	return true
}

// turn turns to a table.
func (s *topState) turn(t topTable) { s.table, s.open, s.at = t, false, 0 }

// move moves the selection, or what is looked at closer. Drawing keeps it within what there is.
func (s *topState) move(by int) {
	if s.open {
		s.scroll = max(s.scroll+by, 0)
		return
	}
	s.at = max(s.at+by, 0)
	s.selected[s.table] = "" // at its place from now on
}

// order sorts by the next column, or the one before. Drawing shows which that is.
func (s *topState) order(by int) {
	n := len(s.table.content(noOverview).columns)
	s.sort[s.table] = (s.sort[s.table] + by + n) % n
}
