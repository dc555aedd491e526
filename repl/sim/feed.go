package sim

import (
	"time"

	"muster/repl/machine"
	"muster/shardmap"
)

// feeds brings what happens at a node to the streams of clients that wait for it, by the
// feed that is tested. A process has one goroutine for it beside its host.
type feeds struct {
	n       *node
	feed    *machine.Feed
	planned uint64 // the number of the turn that is planned
	at      time.Duration
}

const (
	// feedDelay is how long the goroutine of a feed takes to wake up, at most.
	feedDelay = 2 * time.Millisecond
	// historyBlocks is how many blocks a history has at its bound.
	historyBlocks = 8
)

// begin begins those of a process.
func (f *feeds) begin() {
	f.at = -1
	f.feed = machine.NewFeed(machine.FeedConfig{
		Due:        f.due,
		BackupRows: f.n.c.backups.rows,
		Table:      func() *shardmap.Table { return f.n.known.show() },
		Topology: func(*shardmap.Table) []byte {
			if a := f.n.known.topology(); a != nil {
				return a.Append(nil)
			}
			return nil
		},
	})
}

// due has the feed take a turn soon.
func (f *feeds) due() { f.plan(f.n.c.chance.between(0, feedDelay)) }

// plan plans the next turn, unless one is planned before.
func (f *feeds) plan(d time.Duration) {
	at := f.n.c.now + d
	if f.at >= 0 && f.at <= at {
		return
	}
	f.at = at
	f.planned++
	e := f.n.event(evFeed)
	e.number = f.planned
	f.n.c.after(d, e)
}

// turn takes a turn.
func (f *feeds) turn(number uint64) {
	if number != f.planned {
		return
	}
	f.at = -1
	now := f.n.ticks.now()
	if next, waits := f.feed.Turn(now); waits {
		f.plan(max(0, next-now))
	}
}
