package cmd

import (
	"context"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"muster/repl/wire"
	"muster/shardmap/access"
)

const (
	whoamiForm = `{"user":…,"id":…,"open":false,"roles":[…]}`
	canIForm   = `{"allowed":true,"by":"role …"}`
)

func authCommand(con *console) *cli.Command {
	return noun(cli.Command{Name: "auth", Usage: "log in, and find out who you are to the cluster and what you may do"},
		verb(cli.Command{
			Name: "whoami", Usage: "print the user that the cluster takes you for",
			Description: `Where the cluster asks nobody who he is, because it is an insecure one or has a secret only, that
is said instead.

With -o json: ` + whoamiForm,
			Action: con.action(authWhoami),
		}),
		verb(cli.Command{
			Name: "can-i", Usage: "print whether something is allowed, and by which role", ArgsUsage: "VERB OBJECT",
			Description: `VERB is read, write, list, watch or admin; several with commas between them, or all. OBJECT is a key, or
what keys begin with; service:NAME, db:NAME, or cluster. Ends with status 7 if it is not allowed.

With -o json: ` + canIForm,
			Flags:  []cli.Flag{&cli.StringFlag{Name: "as", Usage: "ask about the user `NAME`; needs read on the cluster"}},
			Action: con.action(authCanI),
		}),
		authLoginVerb(con),
		authTokenVerb(con),
		authResetVerb(con))
}

type whoamiRow struct {
	User  string   `json:"user"`
	ID    string   `json:"id"`
	Open  bool     `json:"open"`
	Roles []string `json:"roles"`
}

func authWhoami(con *console, c *cli.Context) error {
	if err := wantArgs(c, 0, 0); err != nil {
		return err
	}
	return con.request(c, func(ctx context.Context, s *errand) error {
		a, err := s.client.Whoami(ctx)
		if err != nil {
			return err
		}
		if s.json {
			return s.printJSON(whoamiRow{a.User, strconv.FormatUint(uint64(a.Principal), 10), a.Open, append([]string{}, a.Roles...)})
		}
		if a.Open {
			return s.line("nobody in particular: the cluster asks nobody who he is, and allows everything")
		}
		return s.line("%s, with roles %s", a.User, orDash(strings.Join(a.Roles, ", ")))
	})
}

type canIRow struct {
	Allowed bool   `json:"allowed"`
	By      string `json:"by"`
}

func authCanI(con *console, c *cli.Context) error {
	if err := wantArgs(c, 2, 2); err != nil {
		return err
	}
	q := wire.CanI{User: c.String("as")}
	verbs, err := access.ParseVerbs(c.Args().First())
	if err != nil {
		return usagef("%s: %w", c.Command.HelpName, err)
	}
	o, err := access.ParseObject(c.Args().Get(1))
	if err != nil {
		return usagef("%s: %w", c.Command.HelpName, err)
	}
	if q.Verbs = verbs; verbs == access.All {
		q.Verbs = o.Kind.Verbs()
	}
	if mean := q.Verbs &^ o.Kind.Verbs(); mean != 0 {
		return usagef("%s: %s means nothing for %s; want %s, or %s", c.Command.HelpName, mean, shown([]byte(o.String())), o.Kind.Verbs(), access.AllText)
	}
	q.Kind, q.Name = o.Kind, []byte(o.Prefix)
	return con.request(c, func(ctx context.Context, s *errand) error {
		a, err := s.client.CanI(ctx, q)
		if err != nil {
			return err
		}
		if s.json {
			err = s.printJSON(canIRow{a.Allowed, a.By})
		} else {
			word := "no"
			if a.Allowed {
				word = "yes"
			}
			err = s.line("%s: %s", word, a.By)
		}
		if err == nil && !a.Allowed {
			return errQuiet(exitNotPermitted)
		}
		return err
	})
}
