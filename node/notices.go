package node

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"muster/raft"
	"muster/repl/wire"
)

const (
	// noticeBurst is how many lines of one kind are logged at once; after them
	// there is one line each limits.noticePause. So rare events are each logged,
	// and frequent ones are counted.
	noticeBurst = 5
	// noticeSize bounds what such a line says, in bytes.
	noticeSize = 400
)

// noticeOfRefusal is what the rows of those who were turned away begin with.
const noticeOfRefusal = "connections refused: "

// refusedHungUp is the kind of those that went before they had said who they are.
const refusedHungUp = "hung-up"

// notices decides which lines about what strangers do are logged. Otherwise strangers
// would decide how large the log gets: one that came back at once, each time with
// another mistake, made it grow by a gigabyte a day.
type notices struct {
	log   *slog.Logger
	pause time.Duration // between two lines of a kind, after a burst

	mu    sync.Mutex
	kinds map[string]*notice // guarded by mu: by the row that counts the kind; few, and not chosen by strangers
}

// notice is what was logged of one kind.
type notice struct {
	count  uint64    // since the start
	silent uint64    // since the last line
	room   int       // lines that may still follow at once
	filled time.Time // when room was last added to
}

// refused tells the operator that somebody was turned away.
func (n *notices) refused(err error) {
	if errors.Is(err, net.ErrClosed) {
		return // this node closed it
	}
	kind := refusalKind(err)
	n.say(slog.LevelInfo, noticeOfRefusal+kind, "connection refused", "kind", kind, "err", noticeText(err))
}

// notCounted tells the operator that a connection's words in a member's name are
// dropped: that member has not answered where it is dialled. Anyone who knows the
// secret can cause this with each connection.
func (n *notices) notCounted(member raft.NodeID, from net.Addr) {
	n.say(slog.LevelWarn, "connections not counted", "peer not counted: it speaks to this node, and does not answer where it is dialled", "peer", member, "from", from)
}

// waits tells the operator what this host waits for at another one, on a way into a
// cluster. The other one decides what it is and how often it changes, so it is limited
// like the others.
func (n *notices) waits(level slog.Level, way, host, why string) {
	n.say(level, way+" waits: "+host, way+" waits", "host", host, "err", shorten(why))
}

// say counts one of a kind, and logs it with the number of those before it that were not
// logged.
func (n *notices) say(level slog.Level, kind, message string, attrs ...any) {
	silent, ok := n.take(kind, time.Now())
	if !ok {
		return
	}
	if silent > 0 {
		attrs = append(attrs, "not_logged", silent)
	}
	n.log.Log(context.Background(), level, message, attrs...)
}

// take counts one of a kind. It reports whether to log it, and how many before it were
// not logged.
func (n *notices) take(kind string, now time.Time) (silent uint64, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	k := n.kinds[kind]
	if k == nil {
		if n.kinds == nil {
			n.kinds = make(map[string]*notice)
		}
		k = new(notice)
		n.kinds[kind] = k
	}
	return k.take(n.pause, now)
}

// bugEachLogged is planted to show that its test finds it: strangers decide how large the log gets.
const bugEachLogged = "a line for each refusal"

// take counts one. It reports whether to log it, and how many before it were not logged.
func (k *notice) take(pause time.Duration, now time.Time) (silent uint64, ok bool) {
	if k.count == 0 {
		k.room, k.filled = noticeBurst, now
	}
	if lines := int(min(now.Sub(k.filled)/pause, noticeBurst)); lines > 0 {
		k.room, k.filled = min(k.room+lines, noticeBurst), now
	}
	k.count++
	if k.room == 0 && bug(bugEachLogged) {
		return 0, true
	}
	if k.room == 0 {
		k.silent++
		return 0, false
	}
	k.room--
	silent, k.silent = k.silent, 0
	return silent, true
}

// noticeText is what a line says about an error whose text others may have chosen.
func noticeText(err error) string { return shorten(err.Error()) }

// shorten bounds a text that others may have chosen to noticeSize.
func shorten(text string) string {
	if len(text) > noticeSize {
		text = text[:noticeSize] + "…"
	}
	return text
}

// rows returns how many there were of each kind.
func (n *notices) rows() (rows []wire.CounterRow) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, kind := range slices.Sorted(maps.Keys(n.kinds)) {
		rows = append(rows, wire.CounterRow{Name: kind, In: n.kinds[kind].count})
	}
	return rows
}

// refusalKind is the kind of mistake for which somebody was turned away: the
// code, if there is one.
func refusalKind(err error) string {
	var e *wire.Error
	switch {
	case errors.As(err, &e) && e.Code.Known():
		return e.Code.String()
	case errors.Is(err, wire.ErrForeign):
		return "foreign"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "silent"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return refusedHungUp
	}
	return "other"
}
