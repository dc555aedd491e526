package cmd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"muster/repl/client"
	"muster/shardmap"
	"muster/shardmap/points"
)

const databaseForm = `{"name":…,"id":N,"default":POLICY,"policies":N,"windows":N,"max_series":N,"max_values":N,"max_fields":N}`

func dbCommand(con *console) *cli.Command {
	return noun(cli.Command{Name: "db", Usage: "keep databases of time series"},
		verb(cli.Command{
			Name: "create", Usage: "create a database, with a policy", ArgsUsage: "NAME",
			Description: `It begins with a policy, its default, which keeps points for ever unless --duration says
otherwise. A database that is there as it would be is left so. Durations are as 30d, 12h or inf. Needs a cluster of level 10.

With -o json its row, as "db list" prints it: ` + databaseForm,
			Flags:  slices.Concat([]cli.Flag{&cli.StringFlag{Name: "policy", DefaultText: shardmap.DefaultPolicyName, Usage: "`NAME` of its policy"}}, policyFlags(), limitFlags("")),
			Action: con.action(dbCreate),
		}),
		verb(cli.Command{
			Name: "alter", Usage: "give a database other limits", ArgsUsage: "NAME",
			Description: `What is not given stays as it is. Points of series and fields that are there can always be written: a lower limit takes nothing
away.

With -o json its row, as it is then: ` + databaseForm,
			Flags:  limitFlags("as it is"),
			Action: con.action(dbAlter),
		}),
		verb(cli.Command{
			Name: "drop", Usage: "drop a database, with all its points", ArgsUsage: "NAME",
			Description: `Shows what goes with it first, and wants --yes. Nothing brings it back.

With -o json its row, as it was: ` + databaseForm,
			Flags:  []cli.Flag{yesFlag()},
			Action: con.action(dbDrop),
		}),
		verb(cli.Command{
			Name: "list", Usage: "list the databases",
			Description: "Without a right to the cluster, those that one has a right to.\n\nWith -o json: [" + databaseForm + "]",
			Action:      con.action(dbList),
		}))
}

// policyFlags are what may be said of a policy.
func policyFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "duration", DefaultText: "inf", Usage: "keep points for `D`: 1h at least, or inf"},
		&cli.StringFlag{Name: "window", DefaultText: "1h, 1d or 7d, by the duration", Usage: "store and drop them in windows of `D`: 1h at least"},
		&cli.Uint64Flag{Name: "shards", DefaultText: "as many as there are groups", Usage: "spread the series of each window over `N` shards"},
	}
}

// limitFlags are what may be said of the limits of a database; without a text the default ones are shown.
func limitFlags(unset string) []cli.Flag {
	flag := func(name, usage string, is uint32) cli.Flag {
		text := unset
		if text == "" {
			text = fmt.Sprint(is)
		}
		return &cli.Uint64Flag{Name: name, DefaultText: text, Usage: usage}
	}
	d := points.DefaultLimits
	return []cli.Flag{
		flag("max-series", "take at most `N` series into a window", d.Series),
		flag("max-values", "take at most `N` values of a tag of a measurement into a shard", d.Values),
		flag("max-fields", "take at most `N` fields of a measurement into a shard", d.Fields),
	}
}

// limitsOf reads what a command says of limits; 0: nothing.
func limitsOf(c *cli.Context) (l points.Limits, err error) {
	for _, f := range [...]struct {
		name string
		to   *uint32
	}{{"max-series", &l.Series}, {"max-values", &l.Values}, {"max-fields", &l.Fields}} {
		if !c.IsSet(f.name) {
			continue
		}
		n := c.Uint64(f.name)
		if n == 0 || n > points.LimitMax {
			return l, usagef("--%s %d: want 1 to %d", f.name, n, points.LimitMax)
		}
		*f.to = uint32(n)
	}
	return l, nil
}

// forEver is how a duration is written that has no end.
const forEver = "inf"

// days are the units of durations that Go has not.
var days = []struct {
	unit   string
	length time.Duration
}{{"w", 7 * 24 * time.Hour}, {"d", 24 * time.Hour}}

// parseSpan reads a duration: as Go has it, or a whole number of days or weeks, or inf, which is 0.
func parseSpan(option, text string) (d time.Duration, err error) {
	if text == forEver {
		return 0, nil
	}
	for _, u := range days {
		if number, ok := strings.CutSuffix(text, u.unit); ok {
			n, err := strconv.ParseUint(number, 10, 31)
			if err == nil && n > 0 && n <= uint64(1<<63-1)/uint64(u.length) {
				return time.Duration(n) * u.length, nil
			}
			return 0, usagef("--%s %s: want a whole number with w, d, h, m or s, or %s", option, strconv.Quote(text), forEver)
		}
	}
	if d, err = time.ParseDuration(text); err != nil || d <= 0 {
		return 0, usagef("--%s %s: want a whole number with w, d, h, m or s, or %s", option, strconv.Quote(text), forEver)
	}
	return d, nil
}

// spanText is a duration as parseSpan reads it.
func spanText(d time.Duration) string {
	if d == 0 {
		return forEver
	}
	for _, u := range days {
		if d%u.length == 0 {
			return fmt.Sprintf("%d%s", d/u.length, u.unit)
		}
	}
	text := d.String()
	text = strings.TrimSuffix(text, "0s")
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// specOf reads what a command says of a policy, and which of it.
func specOf(c *cli.Context) (s shardmap.PolicySpec, set shardmap.PolicySet, err error) {
	if c.IsSet("duration") {
		set |= shardmap.SetDuration
		if s.Duration, err = parseSpan("duration", c.String("duration")); err != nil {
			return s, 0, err
		}
	}
	if c.IsSet("window") {
		set |= shardmap.SetWindowDuration
		if s.WindowDuration, err = parseSpan("window", c.String("window")); err != nil {
			return s, 0, err
		}
		if s.WindowDuration == 0 {
			return s, 0, usagef("--window %s: a window has an end; want 1h at least", forEver)
		}
	}
	if c.IsSet("shards") {
		set |= shardmap.SetShards
		n := c.Uint64("shards")
		if n > shardmap.WindowShardsMax {
			return s, 0, usagef("--shards %d: want at most %d", n, shardmap.WindowShardsMax)
		}
		s.Shards = uint32(n)
	}
	return s, set, nil
}

type databaseRow struct {
	Name     string `json:"name"`
	ID       uint64 `json:"id"`
	Default  string `json:"default"` // the name of a policy; empty: there is none
	Policies int    `json:"policies"`
	Windows  int    `json:"windows"`

	MaxSeries int `json:"max_series"` // of a window
	MaxValues int `json:"max_values"` // of a tag of a measurement, in a shard
	MaxFields int `json:"max_fields"` // of a measurement, in a shard
}

func databaseRowOf(in *shardmap.Catalog, d *shardmap.Database) databaseRow {
	row := databaseRow{Name: d.Name, ID: uint64(d.ID), MaxSeries: int(d.Limits.Series), MaxValues: int(d.Limits.Values), MaxFields: int(d.Limits.Fields)}
	if p, ok := in.Policy(d.Default); ok {
		row.Default = p.Name
	}
	for p := range in.PoliciesOf(d.ID) {
		row.Policies++
		row.Windows += len(in.WindowsOf(p.ID))
	}
	return row
}

func printDatabases(s *errand, rows []databaseRow) error {
	if s.json {
		return s.printJSON(rows)
	}
	t := newTable(s.out, "NAME", "DEFAULT", "POLICIES", "WINDOWS", "SERIES", "VALUES", "FIELDS")
	for _, r := range rows {
		t.row(shown([]byte(r.Name)), orDash(shown([]byte(r.Default))), fmt.Sprint(r.Policies), fmt.Sprint(r.Windows), fmt.Sprint(r.MaxSeries), fmt.Sprint(r.MaxValues), fmt.Sprint(r.MaxFields))
	}
	return t.Flush()
}

// databaseNamed returns the database of a name.
func databaseNamed(t *shardmap.Table, name string) (shardmap.Database, error) {
	d, ok := t.Catalog.DatabaseNamed(name)
	if !ok {
		return d, withStatus(exitNotFound, "database %s: there is none of that name; muster db list shows which are there", shown([]byte(name)))
	}
	return d, nil
}

func dbList(con *console, c *cli.Context) error {
	s, err := con.openBare(c)
	if err != nil {
		return err
	}
	defer s.close()
	t, err := s.table(c.Context)
	if err != nil {
		return err
	}
	rows := []databaseRow{}
	for i := range t.Catalog.Databases {
		rows = append(rows, databaseRowOf(&t.Catalog, &t.Catalog.Databases[i]))
	}
	return printDatabases(s, rows)
}

func dbCreate(con *console, c *cli.Context) error {
	if err := wantArgs(c, 1, 1); err != nil {
		return err
	}
	name := c.Args().First()
	spec, _, err := specOf(c)
	if err != nil {
		return err
	}
	if spec.Name = c.String("policy"); c.IsSet("policy") && spec.Name == "" {
		return usagef("%s: --policy is empty; want the name of a policy", c.Command.HelpName)
	}
	limits, err := limitsOf(c)
	if err != nil {
		return err
	}
	return dbOrder(con, c, "create database ", &shardmap.ChangeDatabase{Action: shardmap.DatabaseCreate, Name: name, Policy: spec, Limits: limits})
}

func dbAlter(con *console, c *cli.Context) error {
	if err := wantArgs(c, 1, 1); err != nil {
		return err
	}
	limits, err := limitsOf(c)
	if err != nil {
		return err
	}
	if limits == (points.Limits{}) {
		return usagef("%s: nothing is to be altered; want --max-series, --max-values or --max-fields", c.Command.HelpName)
	}
	return dbOrder(con, c, "alter database ", &shardmap.ChangeDatabase{Action: shardmap.DatabaseAlter, Name: c.Args().First(), Limits: limits})
}

// dbOrder orders what becomes of a database, and shows it.
func dbOrder(con *console, c *cli.Context, what string, order *shardmap.ChangeDatabase) error {
	s, err := con.open(c, 1)
	if err != nil {
		return err
	}
	defer s.close()
	command, err := shardmap.AppendChangeDatabase(nil, order)
	if err != nil {
		return err
	}
	t, err := s.ordered(c.Context, what+shown([]byte(order.Name)), command)
	if err != nil {
		return err
	}
	d, err := databaseNamed(t, order.Name)
	if err != nil {
		return err // it was dropped meanwhile
	}
	if order.Action == shardmap.DatabaseCreate {
		con.warnOfWindows(&order.Policy)
	}
	return printDatabases(s, []databaseRow{databaseRowOf(&t.Catalog, &d)})
}

// catalogUntil waits until a node shows what was ordered.
func catalogUntil(ctx context.Context, s *errand, is func(in *shardmap.Catalog) bool) error {
	err := s.until(ctx, func(t *shardmap.Table) glance { return glance{over: is(&t.Catalog)} }, waitAsLongAsACall)
	if err != nil {
		return withStatus(exitNoResult, "it is ordered, but no node shows it yet: %w", err)
	}
	return nil
}

func dbDrop(con *console, c *cli.Context) error {
	if err := wantArgs(c, 1, 1); err != nil {
		return err
	}
	name := c.Args().First()
	s, t, err := con.orderlyTable(c)
	if err != nil {
		return err
	}
	defer s.close()
	d, err := databaseNamed(t, name)
	if err != nil {
		return err
	}
	row := databaseRowOf(&t.Catalog, &d)
	command, err := shardmap.AppendChangeDatabase(nil, &shardmap.ChangeDatabase{Action: shardmap.DatabaseDrop, Name: name})
	if err != nil {
		return err
	}
	o := order{what: "drop database " + shown([]byte(name)), command: command,
		notes: []string{fmt.Sprintf("database %s goes, with %s, %s and all points in them", shown([]byte(name)), howMany(row.Policies, "policy", "policies"), howMany(row.Windows, "window", "windows"))}}
	if _, err := s.carryOut(c.Context, &o, s.agreed); err != nil && !errors.Is(err, client.ErrMaybeApplied) {
		return err
	}
	err = catalogUntil(c.Context, s.errand, func(in *shardmap.Catalog) bool { _, there := in.Database(d.ID); return !there })
	if err != nil {
		return err
	}
	return printDatabases(s.errand, []databaseRow{row})
}

// howMany is a number of things.
func howMany(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
