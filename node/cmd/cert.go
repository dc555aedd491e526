package cmd

import (
	"github.com/urfave/cli/v2"

	"muster/repl/client/home"
	"muster/repl/trust"
	"muster/shardmap"
)

// rootShown is how much of a root's id stands beside a certificate: as much as tells it from the few others.
const rootShown = 16

const certForm = `{"node":…,"id":…,"serial":…,"expires":…,"root":…}`

func certCommand(con *console) *cli.Command {
	return noun(cli.Command{Name: "cert", Usage: "look at the certificates of the nodes"},
		verb(cli.Command{
			Name: "list", Usage: "list the certificates of the members",
			Description: `Each renews its own by itself at two thirds of its life. Hosts that have a certificate and did not join
yet are listed by their ids.

With -o json: [` + certForm + "]; without a certificate the last three are empty",
			Action: con.action(certList),
		}))
}

type certRow struct {
	Node    string `json:"node"`
	ID      string `json:"id"`
	Serial  string `json:"serial"`
	Expires string `json:"expires"`
	Root    string `json:"root"`
}

func certRows(t *shardmap.Table) []certRow {
	rows := []certRow{}
	row := func(name string, p *shardmap.Pin) {
		rows = append(rows, certRow{Node: name, ID: p.Node.String(), Serial: p.Serial.String(), Expires: unixText(p.NotAfter), Root: trust.RootID(p.Root).String()})
	}
	for i := range t.Nodes {
		n := &t.Nodes[i]
		if p, ok := t.Security.Pin(n.ID); ok {
			row(n.Name, &p)
		} else {
			rows = append(rows, certRow{Node: n.Name, ID: n.ID.String()})
		}
	}
	for i := range t.Security.Pins {
		p := &t.Security.Pins[i]
		if _, member := t.Node(p.Node); !member {
			row("", p)
		}
	}
	return rows
}

func certList(con *console, c *cli.Context) error {
	s, err := con.openBare(c)
	if err != nil {
		return err
	}
	defer s.close()
	t, err := s.table(c.Context)
	if err != nil {
		return err
	}
	rows := certRows(t)
	if s.json {
		return s.printJSON(rows)
	}
	list := newTable(s.out, "NODE", "SERIAL", "EXPIRES", "ROOT")
	for _, r := range rows {
		name := r.Node
		if name == "" {
			name = r.ID
		}
		list.row(name, orDash(r.Serial), orDash(r.Expires), orDash(r.Root[:min(rootShown, len(r.Root))]))
	}
	return list.Flush()
}

// userCertVerb is the verb of the noun user that makes a certificate.
func userCertVerb(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "cert", Usage: "get a certificate for a user, for use on another host", ArgsUsage: "NAME",
		Description: `The key is made here, and goes nowhere. DIR is a directory as muster keeps for its own user: copy it to the
other host, into the user's configuration directory, or name it there in $MUSTER_HOME. The
certificate is good for 30 days.

With -o json: {"root":…,"user":…}`,
		Flags:  []cli.Flag{&cli.StringFlag{Name: "out", Usage: "put it into `DIR`, which is made; without it, where this host's commands find it"}},
		Action: con.action(userCert),
	})
}

func userCert(con *console, c *cli.Context) error {
	if err := wantArgs(c, 1, 1); err != nil {
		return err
	}
	name, err := checkedName(c, "user")
	if err != nil {
		return err
	}
	h, err := home.Default()
	if c.IsSet("out") {
		if c.String("out") == "" {
			return usagef("%s: --out: empty; want the name of a directory", c.Command.HelpName)
		}
		h, err = home.In(c.String("out"))
	}
	if err != nil {
		return err
	}
	s, err := con.open(c, 1)
	if err != nil {
		return err
	}
	defer s.close()
	root, err := s.certificate(c.Context, name, h)
	if err != nil {
		return err
	}
	if s.json {
		return s.printJSON(rootRow{Root: trust.RootIDOf(root).String(), User: name})
	}
	return s.line("%s", h.Dir())
}
