package cmd

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"
)

// These sequences enter and leave the alternate screen, which keeps what stood there before, and
// clear it.
const (
	screenEnter = "\x1b[?1049h\x1b[?25l\x1b[2J"
	screenLeave = "\x1b[0m\x1b[?25h\x1b[?1049l"
	screenClear = "\x1b[0m\x1b[2J"
)

// screen is a terminal on which lines are drawn. What stays as it was is not sent again: over a slow
// line that is what matters.
type screen struct {
	con     *console
	in, out int         // file descriptors
	before  *term.State // of the terminal; nil: it is as it was
	lines   []string    // that are on it; nil: not known
	width   int
	height  int
}

// openScreen takes the terminal over. The caller calls leave, whatever happens.
func openScreen(con *console, in, out *os.File) (*screen, error) {
	s := &screen{con: con, in: int(in.Fd()), out: int(out.Fd())}
	if err := s.enter(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *screen) enter() error {
	before, err := term.MakeRaw(s.in)
	if err != nil {
		return fmt.Errorf("take over the terminal: %w", err)
	}
	if s.before == nil {
		s.before = before
	}
	s.lines = nil
	s.con.out.WriteString(screenEnter)
	return s.con.flush()
}

// leave gives the terminal back as it was.
func (s *screen) leave() {
	if s.before == nil {
		return
	}
	s.con.out.WriteString(screenLeave)
	s.con.flush()
	term.Restore(s.in, s.before)
	s.before = nil
}

// measure reads the size of the terminal. If that is another one, what is on it is not known any more.
func (s *screen) measure() {
	width, height, err := term.GetSize(s.out)
	if err != nil || width <= 0 || height <= 0 {
		width, height = 80, 24 // a terminal that does not say, as over some serial lines
	}
	if width != s.width || height != s.height {
		s.width, s.height, s.lines = width, height, nil
	}
}

// draw brings lines onto the screen.
func (s *screen) draw(lines []string) error {
	s.con.out.WriteString(changed(s.lines, lines))
	s.lines = lines
	return s.con.flush()
}

// changed is what a terminal has to be sent that shows some lines to show others. nil lines are not
// known.
func changed(old, lines []string) string {
	var b strings.Builder
	if old == nil {
		b.WriteString(screenClear)
	}
	for i := range max(len(old), len(lines)) {
		was, now := "", ""
		if i < len(old) {
			was = old[i]
		}
		if i < len(lines) {
			now = lines[i]
		}
		if was != now {
			fmt.Fprintf(&b, "\x1b[%d;1H%s\x1b[K", i+1, now)
		}
	}
	return b.String()
}
