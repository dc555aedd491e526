package cmd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"muster/raft"
	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
)

// watcher is what a command that watches has of its own. Its events are of type E.
type watcher[E any] interface {
	open(context.Context, *client.Client) eventWatch[E]
	// begins returns where the watch begins; nil: now.
	begins() []client.GroupPosition
	kind(*E) client.WatchKind
	// row returns an event as it is printed with -o json, line as it is printed below head; nil, or
	// "", if there is nothing to print. One of both is called, once for each event.
	row(*E) any
	line(*E) string
	head() string
	// continuation returns the command that continues the watch behind the positions.
	continuation(at []client.GroupPosition) string
}

// eventWatch is a watch of the client.
type eventWatch[E any] interface {
	Next() (E, error)
	Positions() []client.GroupPosition
	Close()
}

// watch prints what a watch tells, each event at once, until it ends or is interrupted.
func watch[E any](con *console, c *cli.Context, of watcher[E]) error {
	s, err := con.open(c, 1)
	if err != nil {
		return err
	}
	defer s.close()
	ctx, cancel := context.WithCancelCause(c.Context)
	defer cancel(nil)
	// The timeout is for the beginning; after that a watch waits as long as it is let.
	late := time.AfterFunc(s.timeout, func() { cancel(context.DeadlineExceeded) })
	defer late.Stop()
	p := watchPrinter[E]{errand: s, of: of, events: of.open(ctx, s.client)}
	defer p.events.Close()
	for {
		e, err := p.events.Next()
		if err != nil {
			return p.end(err, c.Context.Err() != nil)
		}
		late.Stop()
		if err := p.print(&e); err != nil {
			return err
		}
	}
}

// watchPrinter prints the events of one watch, and how it ends.
type watchPrinter[E any] struct {
	*errand
	of     watcher[E]
	events eventWatch[E]
	began  bool
}

type watchProgressRow struct {
	Type   string   `json:"type"`
	LogIDs []string `json:"log_ids"`
}

type watchEndRow struct {
	Type   string   `json:"type"`
	Reason string   `json:"reason"`
	Resume []string `json:"resume"`
}

func (p *watchPrinter[E]) print(e *E) error {
	kind := p.of.kind(e)
	var err error
	switch happened := kind != client.WatchOpened && kind != client.WatchProgress; {
	case happened && p.json:
		if row := p.of.row(e); row != nil {
			err = p.printJSON(row)
		}
	case happened:
		if line := p.of.line(e); line != "" {
			err = p.line("%s", line)
		}
	case p.json:
		err = p.printJSON(watchProgressRow{client.WatchProgress.String(), logIDsOf(p.events.Positions())})
	case !p.began:
		err = p.line("%s", p.of.head())
	}
	p.began = true
	if err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	if p.call != nil {
		p.call.mark(p.out, strings.Join(logIDsOf(p.events.Positions()), ","))
	}
	return p.flush()
}

// end says how a watch ended, and where another one continues: at its positions. Interrupted is
// as good as done.
func (p *watchPrinter[E]) end(err error, interrupted bool) error {
	var lost *client.WatchEnd
	resume, reason := p.events.Positions(), wire.EndCancelled
	switch {
	case errors.As(err, &lost):
		resume, reason = lost.Resume, lost.Reason
	case !interrupted && !p.began:
		return err
	case !interrupted:
		reason = wire.EndRefused
	}
	if p.json {
		if err := p.printJSON(watchEndRow{"end", reason.String(), logIDsOf(resume)}); err != nil {
			return fmt.Errorf("write output: %w", err)
		}
	}
	if ferr := p.flush(); ferr != nil {
		return ferr
	}
	if len(resume) > 0 && lost == nil {
		p.sayf("to continue from here: %s", p.of.continuation(resume))
	}
	from := p.of.begins()
	switch {
	case lost != nil && len(from) > 0 && !names(from, lost.Group):
		return withStatus(exitNoResult, "%w; --from names no log id of group %s: if it is incomplete, give all that the earlier watch gave",
			err, lost.Group)
	case lost != nil:
		return withStatus(exitNoResult, "%w", err)
	case interrupted:
		return nil
	}
	return err
}

func names(positions []client.GroupPosition, g raft.GroupID) bool {
	return slices.ContainsFunc(positions, func(p client.GroupPosition) bool { return p.Group == g })
}

// positionsOf reads --from of a watch; nil if it is not given.
func positionsOf(c *cli.Context) (positions []client.GroupPosition, err error) {
	if !c.IsSet("from") {
		return nil, nil
	}
	for _, text := range strings.FieldsFunc(strings.Join(c.StringSlice("from"), ","), func(r rune) bool { return r == ',' || r == ' ' }) {
		g, at, err := shardmap.ParsePosition(text)
		if err != nil {
			return nil, usagef("%s: --from: %v", c.Command.HelpName, err)
		}
		for _, other := range positions {
			if other.Group == g {
				return nil, usagef("%s: --from: %s and %s are of one group; want one for each group", c.Command.HelpName, other, text)
			}
		}
		positions = append(positions, client.GroupPosition{Group: g, Position: at})
	}
	if len(positions) == 0 {
		return nil, usagef("%s: --from: empty; want LOGID,… as a watch gave them, or leave the option out", c.Command.HelpName)
	}
	return positions, nil
}

func logIDsOf(positions []client.GroupPosition) []string {
	ids := make([]string, len(positions))
	for i, p := range positions {
		ids[i] = p.String()
	}
	return ids
}

// eventID is the log id of an event: that of its entry.
func eventID(g raft.GroupID, id raft.LogID) string {
	return shardmap.FormatPosition(g, shardmap.After(id))
}
