package cmd

import (
	"strings"
	"time"
)

// meter shows on standard error how far a command is, in one line that is drawn anew now and then, where a person
// sees it.
type meter struct {
	*console
	at time.Time // when it was drawn last; zero: it was not
}

// meterPause lies between two drawings.
const meterPause = 100 * time.Millisecond

// due reports whether the line may be drawn again.
func (m *meter) due() bool { return m.watched && time.Since(m.at) >= meterPause }

func (m *meter) draw(line string) {
	m.at = time.Now()
	m.redraw(firstColumns(plain(line), screenColumns))
}

// drawn reports whether there is a line.
func (m *meter) drawn() bool { return !m.at.IsZero() }

// clear takes the line away, for what is to stand in its place.
func (m *meter) clear() {
	if m.drawn() {
		m.redraw("")
	}
}

// barCells is how long a bar is.
const barCells = 20

// bar draws how much of something is done; nothing, where nobody knows how much there is.
func bar(done, total uint64) string {
	empty := strings.Repeat("-", barCells)
	if total == 0 {
		return "[" + empty + "]"
	}
	full := int(float64(min(done, total)) / float64(total) * barCells)
	return "[" + strings.Repeat("#", full) + empty[full:] + "]"
}
