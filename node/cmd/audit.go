package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"muster/node/trail"
	"muster/repl/wire"
)

const (
	// tailLines is how many lines audit tail prints without --limit.
	tailLines = 20
	// tailPause lies between two looks at whether there is more.
	tailPause = time.Second
)

func auditCommand(con *console) *cli.Command {
	return noun(cli.Command{Name: "audit", Usage: "look at what nodes refused, whom they let in, and who changed what"},
		auditTailCommand(con), auditVerifyCommand(con))
}

func auditTailCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "tail", Usage: "print the last lines of a node's trail",
		Description: `Each node keeps a trail: who was turned away and why, logins, hosts that join, what
people ordered and what became of it; with the setting trail-policy, reads and writes too.
Of many refusals of one kind from one place, ten a minute are listed, and the others
counted in one line. The trail is the node's own: ask each node for its own part, or the
one that --node names.

With -o json one object per line, as it stands in the file: {"seq":N,"time":…,"node":…,"who":…,
"user":N,"from":…,"door":…,"type":…,"object":…,"verdict":"allowed"|"refused"|"failed"|"noted"|"lost","why":…,"index":N,"count":N,
"prev":…,"hash":…}; fields without anything in them are left out.`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "follow", Usage: "go on with lines as they come, until interrupted"},
			&cli.IntFlag{Name: "limit", Value: tailLines, Usage: fmt.Sprintf("begin `N` lines before the end, 1 to %d", wire.TrailLastMax)},
			&cli.StringFlag{Name: "node", DefaultText: "the endpoint", Usage: "`NODE` whose trail it is, by name or id"},
		},
		Action: con.action(auditTail),
	})
}

func auditTail(con *console, c *cli.Context) error {
	if err := wantArgs(c, 0, 0); err != nil {
		return err
	}
	limit := c.Int("limit")
	if limit < 1 || limit > wire.TrailLastMax {
		return usagef("muster audit tail: --limit %d; want 1 to %d", limit, wire.TrailLastMax)
	}
	s, err := con.open(c, 1)
	if err != nil {
		return err
	}
	defer s.close()
	addr, err := trailEndpoint(c.Context, s, c.String("node"))
	if err != nil {
		return err
	}
	t := tailPrinter{errand: s}
	q := wire.Trail{Last: uint32(limit)}
	for {
		a, err := trails{s}.page(c.Context, addr, q)
		if err != nil && c.Context.Err() == nil {
			return err
		}
		if err == nil {
			err = t.print(a)
		}
		switch {
		case c.Context.Err() != nil:
			return nil // interrupted is as good as done
		case err != nil:
			return err
		case !a.More && !c.Bool("follow"):
			return t.end(a)
		}
		q = wire.Trail{File: a.NextFile, Offset: a.NextOffset}
		if a.More {
			continue
		}
		select {
		case <-c.Context.Done():
			return nil
		case <-time.After(tailPause):
		}
	}
}

// trailEndpoint returns the address of the node whose trail is asked for.
func trailEndpoint(ctx context.Context, s *errand, node string) (string, error) {
	if node != "" {
		return addrOf(ctx, s, node)
	}
	if s.call != nil {
		// The node itself, by its address: a question to any would be put to all, though one has refused it.
		a, err := s.status(ctx)
		if err != nil {
			return "", err
		}
		return addrOf(ctx, s, a.Self.String())
	}
	if len(s.endpoints) == 1 {
		return s.endpoints[0], nil
	}
	// Of several the first that answers, and then no other: pages go on where one ended.
	var first error
	for _, addr := range s.endpoints {
		_, err := trails{s}.page(ctx, addr, wire.Trail{Last: 1})
		if err == nil {
			return addr, nil
		}
		if first == nil {
			first = err
		}
	}
	return "", first
}

// trails is a command that asks nodes for their trails.
type trails struct{ *errand }

// page asks a node for a page of its trail.
func (s trails) page(ctx context.Context, addr string, q wire.Trail) (a *wire.TrailAnswer, err error) {
	err = s.with(ctx, func(ctx context.Context) error {
		a, err = s.client.Trail(ctx, addr, q)
		return err
	})
	return a, err
}

// tailPrinter prints the lines of a trail.
type tailPrinter struct {
	*errand
	file    uint64
	pending []byte // a line that the last page has cut
}

func (t *tailPrinter) print(a *wire.TrailAnswer) error {
	if a.File != t.file {
		t.file, t.pending = a.File, nil
	}
	b := append(t.pending, a.Lines...)
	for {
		line, rest, ok := bytes.Cut(b, []byte("\n"))
		if !ok {
			break
		}
		if err := t.row(line); err != nil {
			return fmt.Errorf("write output: %w", err)
		}
		b = rest
	}
	t.pending = b
	if len(t.pending) > trail.LineMax {
		t.pending = nil // it is none of a node that keeps to the form
	}
	return t.flush()
}

// trailRow is what people read of a line.
type trailRow struct {
	Time    string `json:"time"`
	Who     string `json:"who"`
	From    string `json:"from"`
	Door    string `json:"door"`
	Type    string `json:"type"`
	Object  string `json:"object"`
	Verdict string `json:"verdict"`
	Why     string `json:"why"`
	Index   uint64 `json:"index"`
	Count   uint64 `json:"count"`
}

// row prints one line. The node that it comes from may be anybody's.
func (t *tailPrinter) row(line []byte) error {
	var r trailRow
	if err := json.Unmarshal(line, &r); err != nil {
		if t.json {
			return t.printJSON(map[string]string{"bad_line": string(line)})
		}
		return t.line("(no line of a trail: %q)", line)
	}
	if t.json {
		return t.printJSON(json.RawMessage(line))
	}
	parts := []string{r.Time}
	for _, part := range []string{r.Verdict, r.Type, strings.TrimSpace(r.Who + " " + r.From)} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	if r.Count > 0 {
		parts = append(parts, fmt.Sprintf("%d times", r.Count))
	}
	if r.Index > 0 {
		parts = append(parts, fmt.Sprintf("as entry %d", r.Index))
	}
	text := strings.Join(parts, " ")
	for _, more := range []string{r.Object, r.Why} {
		if more != "" {
			text += ": " + more
		}
	}
	return t.line("%s", text)
}

// end says what the lines don't.
func (t *tailPrinter) end(a *wire.TrailAnswer) error {
	if a.Missing > 0 {
		t.warnf("%d more are not written: the disk of node %s has no room for them, or they come too fast", a.Missing, a.Name)
	}
	return nil
}
