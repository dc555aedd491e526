package cmd

import (
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"muster/repl/client"
	"muster/shardmap"
)

const policyForm = `{"database":…,"name":…,"id":N,"duration":"30d"|"inf","window":"1d","shards":N,"default":BOOL,"windows":N}`

func policyCommand(con *console) *cli.Command {
	return noun(cli.Command{Name: "policy", Usage: "say for how long points of a database are kept"},
		verb(cli.Command{
			Name: "create", Usage: "create a policy of a database", ArgsUsage: "DATABASE NAME",
			Description: "Durations are as 30d, 12h or inf. A policy that is there as it would be is left so.\n\nWith -o json its row: " + policyForm,
			Flags:       append(policyFlags(), &cli.BoolFlag{Name: "default", Usage: "make it the default of the database"}),
			Action:      con.action(policyCreate),
		}),
		verb(cli.Command{
			Name: "alter", Usage: "keep points for another time, or in other windows", ArgsUsage: "DATABASE NAME",
			Description: `Shows what becomes of the points first, and wants --yes. What is not given stays as it is. Windows that are there stay as
they are: another length or number of shards counts for new ones.

With -o json its row, as it is then: ` + policyForm,
			Flags:  append(alterFlags(), &cli.BoolFlag{Name: "default", Usage: "make it the default of the database, too"}, yesFlag()),
			Action: con.action(policyAlter),
		}),
		verb(cli.Command{
			Name: "drop", Usage: "drop a policy, with all its points", ArgsUsage: "DATABASE NAME",
			Description: `Shows what goes with it first, and wants --yes. Nothing brings it back.

With -o json its row, as it was: ` + policyForm,
			Flags:  []cli.Flag{yesFlag()},
			Action: con.action(policyDrop),
		}),
		verb(cli.Command{
			Name: "list", Usage: "list the policies, of one database or of all", ArgsUsage: "[DATABASE]",
			Description: "With -o json: [" + policyForm + "]",
			Action:      con.action(policyList),
		}),
		verb(cli.Command{
			Name: "default", Usage: "have writes and queries that name no policy use this one", ArgsUsage: "DATABASE NAME",
			Description: "With -o json its row, as it is then: " + policyForm,
			Action:      con.action(policyDefault),
		}))
}

// alterFlags are policyFlags, where what is not given stays.
func alterFlags() []cli.Flag {
	flags := policyFlags()
	for _, f := range flags {
		switch f := f.(type) {
		case *cli.StringFlag:
			f.DefaultText = "as it is"
		case *cli.Uint64Flag:
			f.DefaultText = "as it is"
		}
	}
	return flags
}

type policyRow struct {
	Database string `json:"database"`
	Name     string `json:"name"`
	ID       uint64 `json:"id"`
	Duration string `json:"duration"`
	Window   string `json:"window"`
	Shards   int    `json:"shards"` // 0: as many as there are groups
	Default  bool   `json:"default"`
	Windows  int    `json:"windows"`
}

func policyRowOf(in *shardmap.Catalog, p *shardmap.Policy) policyRow {
	d, _ := in.Database(p.Database)
	return policyRow{d.Name, p.Name, uint64(p.ID), spanText(p.Duration), spanText(p.WindowDuration), int(p.Shards), d.Default == p.ID, len(in.WindowsOf(p.ID))}
}

func printPolicies(s *errand, rows []policyRow) error {
	if s.json {
		return s.printJSON(rows)
	}
	t := newTable(s.out, "DATABASE", "NAME", "DURATION", "WINDOW", "SHARDS", "DEFAULT", "WINDOWS")
	for _, r := range rows {
		shards, is := "groups", "-"
		if r.Shards > 0 {
			shards = fmt.Sprint(r.Shards)
		}
		if r.Default {
			is = "yes"
		}
		t.row(shown([]byte(r.Database)), shown([]byte(r.Name)), r.Duration, r.Window, shards, is, fmt.Sprint(r.Windows))
	}
	return t.Flush()
}

// policyNamed returns a database, and a policy of it.
func policyNamed(t *shardmap.Table, database, name string) (d shardmap.Database, p shardmap.Policy, err error) {
	if d, err = databaseNamed(t, database); err != nil {
		return d, p, err
	}
	p, ok := t.Catalog.PolicyNamed(&d, name)
	if !ok || name == "" {
		return d, p, withStatus(exitNotFound, "policy %s of database %s: there is none of that name; muster policy list shows which are there", shown([]byte(name)), shown([]byte(database)))
	}
	return d, p, nil
}

func policyList(con *console, c *cli.Context) error {
	if err := wantArgs(c, 0, 1); err != nil {
		return err
	}
	s, err := con.open(c, 1)
	if err != nil {
		return err
	}
	defer s.close()
	t, err := s.table(c.Context)
	if err != nil {
		return err
	}
	of := shardmap.DatabaseID(0)
	if c.Args().Present() {
		d, err := databaseNamed(t, c.Args().First())
		if err != nil {
			return err
		}
		of = d.ID
	}
	rows := []policyRow{}
	for i := range t.Catalog.Policies {
		if p := &t.Catalog.Policies[i]; of == 0 || p.Database == of {
			rows = append(rows, policyRowOf(&t.Catalog, p))
		}
	}
	return printPolicies(s, rows)
}

func policyCreate(con *console, c *cli.Context) error {
	if err := wantArgs(c, 2, 2); err != nil {
		return err
	}
	spec, _, err := specOf(c)
	if err != nil {
		return err
	}
	spec.Name = c.Args().Get(1)
	s, err := con.open(c, 1)
	if err != nil {
		return err
	}
	defer s.close()
	order := &shardmap.ChangePolicy{Action: shardmap.PolicyCreate, Database: c.Args().First(), Policy: spec, Default: c.Bool("default")}
	command, err := shardmap.AppendChangePolicy(nil, order)
	if err != nil {
		return err
	}
	if err := policyOrdered(s, c, "create policy "+shown([]byte(spec.Name)), command); err != nil {
		return err
	}
	con.warnOfWindows(&spec)
	return nil
}

// policyOrdered gives an order about a policy that has no plan, and prints the policy as it is then.
func policyOrdered(s *errand, c *cli.Context, what string, command []byte) error {
	t, err := s.ordered(c.Context, what, command)
	if err != nil {
		return err
	}
	_, p, err := policyNamed(t, c.Args().First(), c.Args().Get(1))
	if err != nil {
		return err // it was dropped meanwhile
	}
	return printPolicies(s, []policyRow{policyRowOf(&t.Catalog, &p)})
}

func policyDefault(con *console, c *cli.Context) error {
	if err := wantArgs(c, 2, 2); err != nil {
		return err
	}
	s, err := con.open(c, 1)
	if err != nil {
		return err
	}
	defer s.close()
	command, err := shardmap.AppendChangePolicy(nil, &shardmap.ChangePolicy{Action: shardmap.PolicyDefault, Database: c.Args().First(), Policy: shardmap.PolicySpec{Name: c.Args().Get(1)}})
	if err != nil {
		return err
	}
	return policyOrdered(s, c, "make policy "+shown([]byte(c.Args().Get(1)))+" the default", command)
}

func policyAlter(con *console, c *cli.Context) error {
	if err := wantArgs(c, 2, 2); err != nil {
		return err
	}
	spec, set, err := specOf(c)
	if err != nil {
		return err
	}
	if set == 0 && !c.Bool("default") {
		return usagef("%s: nothing is to be altered; want --duration, --window, --shards or --default", c.Command.HelpName)
	}
	s, t, err := con.orderlyTable(c)
	if err != nil {
		return err
	}
	defer s.close()
	_, p, err := policyNamed(t, c.Args().First(), c.Args().Get(1))
	if err != nil {
		return err
	}
	spec.Name = p.Name
	order := &shardmap.ChangePolicy{Action: shardmap.PolicyAlter, Database: c.Args().First(), Policy: spec, Set: set, Default: c.Bool("default")}
	command, err := shardmap.AppendChangePolicy(nil, order)
	if err != nil {
		return err
	}
	o := orderOf("alter policy "+shown([]byte(p.Name)), command, alterNotes(order, &p))
	if _, err := s.carryOut(c.Context, o, s.agreed); err != nil && !errors.Is(err, client.ErrMaybeApplied) {
		return err
	}
	var row policyRow
	err = catalogUntil(c.Context, s.errand, func(in *shardmap.Catalog) bool {
		now, _ := in.Policy(p.ID)
		row = policyRowOf(in, &now)
		return (set&shardmap.SetDuration == 0 || now.Duration == spec.Duration) && (set&shardmap.SetWindowDuration == 0 || now.WindowDuration == spec.WindowDuration) &&
			(set&shardmap.SetShards == 0 || now.Shards == spec.Shards) && (!order.Default || row.Default)
	})
	if err != nil {
		return err
	}
	return printPolicies(s.errand, []policyRow{row})
}

func orderOf(what string, command []byte, notes []string) *order {
	return &order{what: what, command: command, notes: notes}
}

// windowsRunOut says when a policy that keeps points for ever has as many windows as it may; "": not before those of a week do. The order is
// taken all the same, as in InfluxDB: the windows can be made longer in time.
func windowsRunOut(p *shardmap.Policy) string {
	const week = 7 * 24 * time.Hour
	if p.Duration != 0 || p.WindowDuration >= week {
		return ""
	}
	return fmt.Sprintf("points are kept for ever in windows of %s: after %d days it has %d of them, the most that it may have, and later points get no window; give it longer ones before that, as --window 7d",
		spanText(p.WindowDuration), shardmap.WindowsMax*p.WindowDuration/(24*time.Hour), shardmap.WindowsMax)
}

// warnOfWindows warns of a policy that was created whose windows run out.
func (con *console) warnOfWindows(s *shardmap.PolicySpec) {
	if note := windowsRunOut(&shardmap.Policy{Duration: s.Duration, WindowDuration: s.Windows()}); note != "" {
		con.warnf("%s", note)
	}
}

// alterNotes say what becomes of the points of a policy that is altered.
func alterNotes(order *shardmap.ChangePolicy, p *shardmap.Policy) (notes []string) {
	s, set := &order.Policy, order.Set
	switch {
	case set&shardmap.SetDuration == 0 || s.Duration == p.Duration:
	case s.Duration != 0 && (p.Duration == 0 || s.Duration < p.Duration):
		notes = append(notes, fmt.Sprintf("points are kept for %s instead of %s: windows that ended before that go", spanText(s.Duration), spanText(p.Duration)))
	default:
		notes = append(notes, fmt.Sprintf("points are kept for %s instead of %s", spanText(s.Duration), spanText(p.Duration)))
	}
	if set&shardmap.SetWindowDuration != 0 && s.WindowDuration != p.WindowDuration {
		notes = append(notes, fmt.Sprintf("new windows last %s instead of %s", spanText(s.WindowDuration), spanText(p.WindowDuration)))
	}
	if set&shardmap.SetShards != 0 && s.Shards != p.Shards {
		notes = append(notes, fmt.Sprintf("new windows have %s instead of %s", shardsText(s.Shards), shardsText(p.Shards)))
	}
	now := *p
	if set&shardmap.SetDuration != 0 {
		now.Duration = s.Duration
	}
	if set&shardmap.SetWindowDuration != 0 {
		now.WindowDuration = s.WindowDuration
	}
	if note := windowsRunOut(&now); note != "" {
		notes = append(notes, note)
	}
	if order.Default {
		notes = append(notes, "writes and queries that name no policy use it")
	}
	if len(notes) == 0 {
		notes = []string{"it is so already"}
	}
	return notes
}

func shardsText(n uint32) string {
	if n == 0 {
		return "as many shards as there are groups"
	}
	return howMany(int(n), "shard", "shards")
}

func policyDrop(con *console, c *cli.Context) error {
	if err := wantArgs(c, 2, 2); err != nil {
		return err
	}
	s, t, err := con.orderlyTable(c)
	if err != nil {
		return err
	}
	defer s.close()
	d, p, err := policyNamed(t, c.Args().First(), c.Args().Get(1))
	if err != nil {
		return err
	}
	row := policyRowOf(&t.Catalog, &p)
	command, err := shardmap.AppendChangePolicy(nil, &shardmap.ChangePolicy{Action: shardmap.PolicyDrop, Database: d.Name, Policy: shardmap.PolicySpec{Name: p.Name}})
	if err != nil {
		return err
	}
	notes := []string{fmt.Sprintf("policy %s of database %s goes, with %s and all points in them", shown([]byte(p.Name)), shown([]byte(d.Name)), howMany(row.Windows, "window", "windows"))}
	if row.Default {
		notes = append(notes, "it is the default: writes and queries that name no policy are refused until there is another default")
	}
	if _, err := s.carryOut(c.Context, orderOf("drop policy "+shown([]byte(p.Name)), command, notes), s.agreed); err != nil && !errors.Is(err, client.ErrMaybeApplied) {
		return err
	}
	if err := catalogUntil(c.Context, s.errand, func(in *shardmap.Catalog) bool { _, there := in.Policy(p.ID); return !there }); err != nil {
		return err
	}
	return printPolicies(s.errand, []policyRow{row})
}
