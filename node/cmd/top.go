package cmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"muster/node/overview"
	"muster/node/overview/feed"
)

const (
	// topEveryMin is the least time between two lines: nodes are asked once a second.
	topEveryMin = time.Second
	// topRatesWait is how long one that looks once waits for a second round, which tells rates.
	topRatesWait = 3 * time.Second
	// escapeWait is how long an Escape waits for the rest of a key that begins as it does.
	escapeWait = 50 * time.Millisecond
	// keyBytes is how much of what is typed is read at a time.
	keyBytes = 256
	// topQuietMax is how long nothing may come until what is shown is said to be old.
	topQuietMax = 5 * time.Second
)

// noOverview is what tables are made of where only their columns are wanted.
var noOverview = new(overview.Overview)

func topCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "top", Usage: "watch the cluster live: one verdict, rates, nodes, groups, jobs and events",
		Description: `Asks every node once a second. At the top stand the verdict (OK, WARNING or ERROR), its
reason, and what to do next; below it what the cluster does in a second and how long it
takes, and one of the tables: nodes, groups, jobs, events, findings.

Keys: 1 to 5 and Tab show another table, the arrows another row, Enter looks closer at it,
s sorts by the next column, r the other way round, p pauses, ? helps, q quits. In the
tables ! marks a row with which something is wrong. NO_COLOR, if it is set, leaves colours
out; they never say what no word says.

Where standard output or input is no terminal it prints one overview as text, and ends
with status 1 if the verdict is ERROR. With --every it prints a line every D instead,
until it is interrupted.

With -o json one object, or one every D: {"at":…,"verdict":"ok"|"warning"|"error","reason":…,
"next":…,"cluster":…,"findings":[…],"nodes":[…],"links":[…],"groups":[…],"jobs":[…],"moves":[…],
"rates":{…},"events":[…]}, as GET /api/v1/overview answers.`,
		Flags:  []cli.Flag{&cli.DurationFlag{Name: "every", Usage: "print a line, or with -o json an object, every `D`, 1s or longer, in place of the tables"}},
		Action: con.action(runTop),
	})
}

func runTop(con *console, c *cli.Context) error {
	every := c.Duration("every")
	if c.IsSet("every") && (every < topEveryMin || every > timeoutMax) {
		return usagef("muster top: --every %v; want %v to %v", every, topEveryMin, timeoutMax)
	}
	s, _, err := con.openStatus(c) // the endpoints are right, and the user is let in
	if err != nil {
		return err
	}
	defer s.close()
	look := feed.NewCollector(s.client)
	defer look.Close()
	in, out, persons := con.screenFiles()
	switch {
	case every > 0:
		return topStream(c.Context, s, look, every)
	case s.json || !persons:
		return topOnce(c.Context, s, look)
	}
	return topLive(c.Context, s, look, in, out)
}

// screenFiles returns the terminal that a person sits at; false if there is none.
func (con *console) screenFiles() (in, out *os.File, ok bool) {
	in, _ = con.in.(*os.File)
	out = con.screen
	return in, out, isPersons(con.in) && out != nil && isPersons(out)
}

// topOnce prints one overview, with rates if they can be had.
func topOnce(ctx context.Context, s *errand, look *feed.Collector) error {
	m, err := look.Next(ctx, 0)
	if err != nil {
		return err
	}
	wait, cancel := context.WithTimeout(ctx, topRatesWait)
	defer cancel()
	if next, err := look.Next(wait, m.Number); err == nil {
		m = next
	}
	if s.json {
		err = s.printJSON(m.Overview)
	} else {
		err = topSummary(s.console, m.Overview)
	}
	if err == nil && m.Overview.Verdict == overview.VerdictError {
		return errQuiet(exitRefused)
	}
	return err
}

// topStream prints a line, or an object, at each tick until ctx ends.
func topStream(ctx context.Context, s *errand, look *feed.Collector, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	after := uint64(0)
	for {
		m, err := look.Next(ctx, after)
		if ctx.Err() != nil {
			return nil // as good as done
		}
		if err != nil {
			return err
		}
		after = m.Number
		if s.json {
			err = s.printJSON(m.Overview)
		} else {
			err = s.line("%s", topLine(m.Overview))
		}
		if err == nil {
			err = s.flush()
		}
		if err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// topLive shows overviews on a terminal until its person quits, or ctx ends.
func topLive(ctx context.Context, s *errand, look *feed.Collector, in, out *os.File) error {
	sc, err := openScreen(s.console, in, out)
	if err != nil {
		return err
	}
	defer sc.leave() // even if drawing panics
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGWINCH, syscall.SIGCONT)
	defer signal.Stop(signals)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l := live{sc: sc, state: topState{colour: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}}
	l.moments = make(chan seen)
	go l.follow(ctx, look)
	typed := make(chan []byte)
	go reading(ctx, in, typed)
	return l.run(ctx, typed, signals)
}

// seen is what a collector has given.
type seen struct {
	*feed.Moment
	err error
}

// live is muster top on a terminal. One goroutine has all of it.
type live struct {
	sc      *screen
	state   topState
	moments chan seen // from follow, to run; never closed
	shown   *overview.Overview
	left    []byte // of a key whose end has not come
}

// follow hands on each moment until ctx ends.
func (l *live) follow(ctx context.Context, look *feed.Collector) {
	after := uint64(0)
	for ctx.Err() == nil {
		one, cancel := context.WithTimeout(ctx, topQuietMax)
		m, err := look.Next(one, after)
		cancel()
		if err == nil {
			after = m.Number
		}
		select {
		case l.moments <- seen{m, err}:
		case <-ctx.Done():
		}
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return
		}
	}
}

// reading hands on what is typed. It ends with ctx, once another key has come, or with the process:
// nothing else wakes one that reads from a terminal.
func reading(ctx context.Context, in *os.File, typed chan<- []byte) {
	for {
		b := make([]byte, keyBytes)
		n, err := in.Read(b)
		if err != nil {
			n = 0 // the terminal is gone
		}
		select {
		case typed <- b[:n]:
		case <-ctx.Done():
			return
		}
		if n == 0 {
			return
		}
	}
}

func (l *live) run(ctx context.Context, typed <-chan []byte, signals <-chan os.Signal) error {
	escape := time.NewTimer(0)
	defer escape.Stop()
	l.sc.measure()
	for {
		select {
		case <-ctx.Done():
			return nil
		case m := <-l.moments:
			if err := l.take(m); err != nil {
				return err
			}
		case b := <-typed:
			if len(b) == 0 || !l.press(append(l.left, b...)) {
				return nil
			}
			if len(l.left) > 0 {
				escape.Reset(escapeWait)
			}
		case <-escape.C:
			if len(l.left) > 0 {
				l.left = nil
				l.state.press(keyEscape, l.sc.height)
			}
		case sig := <-signals:
			if sig == syscall.SIGCONT { // whoever had the terminal in between has changed it
				if err := l.sc.enter(); err != nil {
					return err
				}
			}
		}
		l.sc.measure()
		if err := l.draw(); err != nil {
			return err
		}
	}
}

// take takes a moment. While the person pauses, what is shown stays.
func (l *live) take(m seen) error {
	switch {
	case m.err != nil && !errors.Is(m.err, context.DeadlineExceeded):
		return m.err
	case m.err != nil:
		l.state.err = fmt.Sprintf("nothing newer for %v", topQuietMax)
	case !l.state.paused || l.shown == nil:
		l.shown, l.state.err = m.Overview, ""
	}
	return nil
}

func (l *live) press(b []byte) bool {
	keys, left := topKeys(b)
	l.left = left
	for _, k := range keys {
		if !l.state.press(k, l.sc.height) {
			return false
		}
	}
	return true
}

func (l *live) draw() error {
	if l.shown == nil {
		return l.sc.draw([]string{"muster top: asking all nodes…"})
	}
	return l.sc.draw(drawTop(l.shown, &l.state, l.sc.width, l.sc.height))
}
