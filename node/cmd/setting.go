package cmd

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"muster/shardmap"
)

const settingForm = `{"name":…,"value":…,"default":…,"min":…,"max":…,"about":…}`

func settingCommand(con *console) *cli.Command {
	return noun(cli.Command{Name: "setting", Usage: "look at the settings of the cluster, and change them"},
		verb(cli.Command{
			Name: "list", Usage: "list the settings of the cluster",
			Description: "These are the same on all nodes; what one node was started with, \"muster help serve\" shows.\n\nWith -o json: [" + settingForm + "]",
			Action:      con.action(settingList),
		}),
		verb(cli.Command{
			Name: "get", Usage: "print the value of a setting", ArgsUsage: "NAME",
			Description: "With -o json: " + settingForm, Action: con.action(settingGet),
		}),
		verb(cli.Command{
			Name: "set", Usage: "change a setting", ArgsUsage: "NAME VALUE",
			Description: `Takes effect at once, on all nodes. replicas and meta-voters change groups: where they
would, the plan is shown first, and wants --yes. An empty VALUE sets the default back.

With -o json the row as it is then: ` + settingForm,
			Flags:  []cli.Flag{&cli.BoolFlag{Name: "yes", Usage: "carry the plan out without asking; off a terminal nothing that has steps is done without it"}},
			Action: con.action(settingSet),
		}))
}

type settingRow struct {
	Name    string `json:"name"`
	Value   string `json:"value"`
	Default string `json:"default"`
	Min     string `json:"min"`
	Max     string `json:"max"`
	About   string `json:"about"`
}

// settingRows are the settings that this version knows, and those that a newer one has
// changed.
func settingRows(t *shardmap.Table) []settingRow {
	rows := []settingRow{}
	for _, r := range shardmap.Settings() {
		value, ok := t.Setting(r.Name)
		if !ok {
			value = r.Default
		}
		rows = append(rows, settingRow{r.Name, value, r.Default, r.Min, r.Max, r.About})
	}
	return rows
}

func (con *console) openSettings(c *cli.Context, args int) (*errand, []settingRow, error) {
	if err := wantArgs(c, args, args); err != nil {
		return nil, nil, err
	}
	s, err := con.open(c, 1)
	if err != nil {
		return nil, nil, err
	}
	t, err := s.table(c.Context)
	if err != nil {
		s.close()
		return nil, nil, err
	}
	return s, settingRows(t), nil
}

func settingList(con *console, c *cli.Context) error {
	s, rows, err := con.openSettings(c, 0)
	if err != nil {
		return err
	}
	defer s.close()
	if s.json {
		return s.printJSON(rows)
	}
	t := newTable(s.out, "NAME", "VALUE", "DEFAULT", "MIN", "MAX", "ABOUT")
	for _, r := range rows {
		t.row(r.Name, r.Value, r.Default, orDash(r.Min), orDash(r.Max), r.About)
	}
	return t.Flush()
}

// settingNamed returns the row of a setting.
func settingNamed(rows []settingRow, name string) (settingRow, error) {
	i := slices.IndexFunc(rows, func(r settingRow) bool { return r.Name == name })
	if i >= 0 {
		return rows[i], nil
	}
	var names []string
	for _, r := range rows {
		names = append(names, r.Name)
	}
	return settingRow{}, withStatus(exitNotFound, "setting %s: there is none of that name; want one of %s", shown([]byte(name)), strings.Join(names, ", "))
}

func settingGet(con *console, c *cli.Context) error {
	s, rows, err := con.openSettings(c, 1)
	if err != nil {
		return err
	}
	defer s.close()
	r, err := settingNamed(rows, c.Args().First())
	if err != nil {
		return err
	}
	if s.json {
		return s.printJSON(r)
	}
	return s.line("%s", r.Value)
}

func settingSet(con *console, c *cli.Context) error {
	s, rows, err := con.openSettings(c, 2)
	if err != nil {
		return err
	}
	defer s.close()
	r, err := settingNamed(rows, c.Args().First())
	if err != nil {
		return err
	}
	set := shardmap.Setting{Name: r.Name, Value: c.Args().Get(1)}
	command, err := shardmap.AppendSetting(nil, &set)
	if err != nil {
		return err
	}
	o := &order{what: "set " + r.Name + " to " + set.Value, command: command}
	if set.Value == "" {
		o.what = "set " + r.Name + " back to " + r.Default
	}
	index := uint64(0)
	if changesGroups(r.Name) {
		if index, err = s.agreedIndex(c, o); err != nil {
			return err
		}
	}
	a, err := s.give(c.Context, o, index)
	if err != nil {
		return err
	}
	err = s.until(c.Context, func(t *shardmap.Table) glance {
		if t.Index < a.Index {
			return glance{}
		}
		r, err = settingNamed(settingRows(t), set.Name)
		return glance{over: true}
	}, waitAsLongAsACall)
	if err != nil {
		return withStatus(exitNoResult, "%s is set, but no node shows it yet: %w", set.Name, err)
	}
	if s.json {
		return s.printJSON(r)
	}
	return nil
}

// changesGroups reports whether a setting decides how many replicas groups have. All others
// decide only when and how fast what is wanted anyway is done.
func changesGroups(name string) bool {
	return slices.Contains(groupSettings, name)
}

// groupSettings are the settings whose change is shown first.
var groupSettings = []string{"replicas", "meta-voters"}

// agreedIndex shows the plan of an order that may have none, and returns the index of the
// table that it was made for if a person agrees, or has nothing to agree to.
func (s *errand) agreedIndex(c *cli.Context, o *order) (uint64, error) {
	p, err := s.plan(c.Context, o)
	if err != nil || len(p.Steps)+len(p.Problems) == 0 {
		return 0, err
	}
	s.propose(o.proposal(p))
	if consentOf(c) == consentGiven {
		return 0, nil // to any plan, should it become another one
	}
	if !s.agrees(c.Context) {
		return 0, notConfirmed()
	}
	return p.Index, nil
}
