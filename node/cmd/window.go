package cmd

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"muster/repl/client"
	"muster/shardmap"
)

const (
	windowForm = `{"id":N,"database":…,"policy":…,"start":TIME,"end":TIME,"truncated":TIME,"hidden":TIME,"groups":[N,…]}`
	shardForm  = `{"window":N,"shard":N,"database":…,"policy":…,"start":TIME,"end":TIME,"group":N}`
)

func windowCommand(con *console) *cli.Command {
	return noun(cli.Command{Name: "window", Usage: "look at the windows of time series"},
		verb(cli.Command{
			Name: "list", Usage: "list the windows, of one database or of all", ArgsUsage: "[DATABASE]",
			Description: `A window that was truncated takes new points until then; one that is hidden is over, and goes an
hour later. GROUPS has the data group of each shard.

With -o json: [` + windowForm + "], where truncated and hidden are there only of windows that are.",
			Action: con.action(windowList),
		}),
		verb(cli.Command{
			Name: "truncate", Usage: "have new points go to new windows from now on", ArgsUsage: "[DATABASE]",
			Description: `Shows how many windows that is about, and wants --yes. Points that are there stay. The windows that are
made then go to the groups of then: so new nodes get writes without waiting for the next window.

With -o json the windows that were truncated: [` + windowForm + "]",
			Flags:  []cli.Flag{yesFlag()},
			Action: con.action(windowTruncate),
		}))
}

func shardCommand(con *console) *cli.Command {
	return noun(cli.Command{Name: "shard", Usage: "look at the parts of windows"},
		verb(cli.Command{
			Name: "list", Usage: "list the shards, of one database or of all, with their groups", ArgsUsage: "[DATABASE]",
			Description: "With -o json: [" + shardForm + "]",
			Action:      con.action(shardList),
		}))
}

type windowRow struct {
	ID        uint64 `json:"id"`
	Database  string `json:"database"`
	Policy    string `json:"policy"`
	Start     string `json:"start"`
	End       string `json:"end"`
	Truncated string `json:"truncated,omitempty"`
	Hidden    string `json:"hidden,omitempty"`
	Groups    []int  `json:"groups"`
}

type shardRow struct {
	Window   uint64 `json:"window"`
	Shard    int    `json:"shard"`
	Database string `json:"database"`
	Policy   string `json:"policy"`
	Start    string `json:"start"`
	End      string `json:"end"`
	Group    int    `json:"group"`
}

// timeText is nanoseconds since 1970 UTC for people and programs.
func timeText(nano int64) string { return time.Unix(0, nano).UTC().Format(time.RFC3339Nano) }

func windowRowOf(in *shardmap.Catalog, w *shardmap.Window) windowRow {
	p, _ := in.Policy(w.Policy)
	d, _ := in.Database(p.Database)
	row := windowRow{ID: uint64(w.ID), Database: d.Name, Policy: p.Name, Start: timeText(w.Start), End: timeText(w.End)}
	if w.Truncated != w.End {
		row.Truncated = timeText(w.Truncated)
	}
	if w.Hidden != 0 {
		row.Hidden = time.Unix(w.Hidden, 0).UTC().Format(time.RFC3339)
	}
	for _, g := range w.Shards {
		row.Groups = append(row.Groups, int(g))
	}
	return row
}

// windowsOf returns the windows of a database; empty is all.
func windowsOf(t *shardmap.Table, database string) (windows []shardmap.Window, err error) {
	var d shardmap.Database
	if database != "" {
		if d, err = databaseNamed(t, database); err != nil {
			return nil, err
		}
	}
	for _, w := range t.Catalog.Windows {
		if p, _ := t.Catalog.Policy(w.Policy); database == "" || p.Database == d.ID {
			windows = append(windows, w)
		}
	}
	return windows, nil
}

func windowRows(t *shardmap.Table, windows []shardmap.Window) []windowRow {
	rows := []windowRow{}
	for i := range windows {
		rows = append(rows, windowRowOf(&t.Catalog, &windows[i]))
	}
	return rows
}

func printWindows(s *errand, rows []windowRow) error {
	if s.json {
		return s.printJSON(rows)
	}
	t := newTable(s.out, "ID", "DATABASE", "POLICY", "START", "END", "TRUNCATED", "HIDDEN", "GROUPS")
	for _, r := range rows {
		groups := ""
		for i, g := range r.Groups {
			if i > 0 {
				groups += ","
			}
			groups += fmt.Sprint(g)
		}
		t.row(fmt.Sprint(r.ID), shown([]byte(r.Database)), shown([]byte(r.Policy)), r.Start, r.End, orDash(r.Truncated), orDash(r.Hidden), groups)
	}
	return t.Flush()
}

// databaseArg returns the one argument that a command may have.
func databaseArg(c *cli.Context) (string, error) {
	if err := wantArgs(c, 0, 1); err != nil {
		return "", err
	}
	if c.Args().Present() && c.Args().First() == "" {
		return "", usagef("%s: DATABASE is empty; leave it out for all databases", c.Command.HelpName)
	}
	return c.Args().First(), nil
}

// openWindows opens what lists windows, and returns them.
func openWindows(con *console, c *cli.Context) (*errand, *shardmap.Table, []shardmap.Window, error) {
	database, err := databaseArg(c)
	if err != nil {
		return nil, nil, nil, err
	}
	s, err := con.open(c, 1)
	if err != nil {
		return nil, nil, nil, err
	}
	t, err := s.table(c.Context)
	var windows []shardmap.Window
	if err == nil {
		windows, err = windowsOf(t, database)
	}
	if err != nil {
		s.close()
		return nil, nil, nil, err
	}
	return s, t, windows, nil
}

func windowList(con *console, c *cli.Context) error {
	s, t, windows, err := openWindows(con, c)
	if err != nil {
		return err
	}
	defer s.close()
	return printWindows(s, windowRows(t, windows))
}

func shardList(con *console, c *cli.Context) error {
	s, t, windows, err := openWindows(con, c)
	if err != nil {
		return err
	}
	defer s.close()
	rows := []shardRow{}
	for _, w := range windowRows(t, windows) {
		for shard, g := range w.Groups {
			rows = append(rows, shardRow{w.ID, shard, w.Database, w.Policy, w.Start, w.End, g})
		}
	}
	if s.json {
		return s.printJSON(rows)
	}
	table := newTable(s.out, "WINDOW", "SHARD", "DATABASE", "POLICY", "START", "END", "GROUP")
	for _, r := range rows {
		table.row(fmt.Sprint(r.Window), fmt.Sprint(r.Shard), shown([]byte(r.Database)), shown([]byte(r.Policy)), r.Start, r.End, fmt.Sprint(r.Group))
	}
	return table.Flush()
}

func windowTruncate(con *console, c *cli.Context) error {
	database, err := databaseArg(c)
	if err != nil {
		return err
	}
	s, t, err := con.orderlyTable(c)
	if err != nil {
		return err
	}
	defer s.close()
	windows, err := windowsOf(t, database)
	if err != nil {
		return err
	}
	at := time.Now().UnixNano()
	if text := s.call.carried(); text != "" {
		// The command names the time: with that of now it would never be the one that the token stands for.
		if at, err = strconv.ParseInt(text, 10, 64); err != nil {
			return usagef("plan_token: it is none that a plan has given")
		}
	}
	ids := map[shardmap.WindowID]bool{}
	for _, w := range windows {
		if max(w.Start, at) < w.Truncated {
			ids[w.ID] = true
		}
	}
	command, err := shardmap.AppendTruncateWindows(nil, &shardmap.TruncateWindows{Database: database, Time: at})
	if err != nil {
		return err
	}
	what := "truncate windows of all databases"
	if database != "" {
		what = "truncate windows of database " + shown([]byte(database))
	}
	o := orderOf(what, command, []string{fmt.Sprintf("%s no new points from now on; what is there stays, and new points go to windows that are made anew", takes(len(ids)))})
	o.carries = strconv.FormatInt(at, 10)
	if _, err := s.carryOut(c.Context, o, s.agreed); err != nil && !errors.Is(err, client.ErrMaybeApplied) {
		return err
	}
	rows := []windowRow{}
	err = catalogUntil(c.Context, s.errand, func(in *shardmap.Catalog) bool {
		rows = rows[:0]
		for i := range in.Windows {
			w := &in.Windows[i]
			if !ids[w.ID] {
				continue
			}
			if w.Truncated > max(w.Start, at) {
				return false
			}
			rows = append(rows, windowRowOf(in, w))
		}
		return true
	})
	if err != nil {
		return err
	}
	return printWindows(s.errand, rows)
}

func takes(n int) string {
	if n == 1 {
		return "1 window takes"
	}
	return fmt.Sprintf("%d windows take", n)
}
