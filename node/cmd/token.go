package cmd

import (
	"crypto/rand"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"muster/repl/client"
	"muster/repl/trust"
	"muster/shardmap"
)

const (
	tokenForm    = `{"token":"mst1.…","id":…,"role":"server"|"client","expires":…}`
	tokenRowForm = `{"id":…,"role":"server"|"client","uses":N,"expires":…,"state":"good"|"used"|"expired"|"revoked","by":…}`
	// tokenGood is the state of a token by which hosts may come.
	tokenGood = "good"
	// tokenTTL is how long a token is good unless somebody says otherwise: long enough to start a host.
	tokenTTL = time.Hour
	// tokenTTLMax is what the table takes.
	tokenTTLMax = shardmap.TokenLifeMax * time.Second
)

func tokenCommand(con *console) *cli.Command {
	return noun(cli.Command{Name: "token", Usage: "make the right to join the cluster, and take it back"},
		verb(cli.Command{
			Name: "create", Usage: "make a token with which hosts can join",
			Description: `Prints the token, once: the cluster keeps only what it is checked by. Put it into a file of
the new host that nobody else can read, and start it:

    (umask 077; muster token create --role server >token)        (copy the file to the host)
    muster serve --listen 10.0.0.4:4166 --join 10.0.0.1:4166 --token-file token

With -o json: ` + tokenForm,
			Flags: []cli.Flag{
				&cli.StringFlag{Name: "role", Value: "server", Usage: "what the hosts may be: `ROLE` server or client"},
				&cli.UintFlag{Name: "uses", Value: 1, Usage: "how many hosts `N` may come by it"},
				&cli.DurationFlag{Name: "ttl", Value: tokenTTL, Usage: "how long `D` it is good"},
			},
			Action: con.action(tokenCreate),
		}),
		verb(cli.Command{
			Name: "list", Usage: "list the tokens that there are",
			Description: "Those that are over are listed until others need their place.\n\nWith -o json: [" + tokenRowForm + "]",
			Action:      con.action(tokenList),
		}),
		verb(cli.Command{
			Name: "revoke", Usage: "take a token back", ArgsUsage: "ID",
			Description: `Hosts that came by it and are members stay that; those that have not joined yet don't join.

With -o json: ` + tokenRowForm,
			Action: con.action(tokenRevoke),
		}))
}

type tokenMade struct {
	Token   string `json:"token"`
	ID      string `json:"id"`
	Role    string `json:"role"`
	Expires string `json:"expires"`
}

type tokenRow struct {
	ID      string `json:"id"`
	Role    string `json:"role"`
	Uses    uint32 `json:"uses"`
	Expires string `json:"expires"`
	State   string `json:"state"`
	By      string `json:"by"`
}

// unixText is a time as commands print it.
func unixText(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.RFC3339) }

func tokenCreate(con *console, c *cli.Context) error {
	if err := wantArgs(c, 0, 0); err != nil {
		return err
	}
	role, uses, ttl := shardmap.NodeServer, c.Uint("uses"), c.Duration("ttl")
	switch c.String("role") {
	case "server":
	case "client":
		role = shardmap.NodeClient
	default:
		return usagef("%s: --role %s; want server or client", c.Command.HelpName, shown([]byte(c.String("role"))))
	}
	if uses == 0 || uses > shardmap.TokenUsesMax {
		return usagef("%s: --uses %d; want 1 to %d", c.Command.HelpName, uses, shardmap.TokenUsesMax)
	}
	if ttl < time.Second || ttl > tokenTTLMax {
		return usagef("%s: --ttl %s; want 1s to %s", c.Command.HelpName, ttl, tokenTTLMax)
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
	root, ok := t.Security.Issuing()
	if !ok {
		return withStatus(exitNoResult, "the cluster has no root that issues certificates: a cluster without TLS takes hosts in by its secret; muster ca create gives it TLS")
	}
	// The secret is made here and never leaves: the cluster gets what it is checked by.
	token, err := trust.NewToken(rand.Reader)
	if err != nil {
		return err
	}
	now := time.Now().Unix()
	command, err := shardmap.AppendNewToken(nil, &shardmap.NewToken{Public: token.Public(), Role: role, Uses: uint32(uses), Expires: now + int64(ttl/time.Second), At: now})
	if err != nil {
		return err
	}
	if _, err := s.give(c.Context, &order{what: "make a token", command: command}, 0); err != nil && !errors.Is(err, client.ErrMaybeApplied) {
		return err
	}
	var made shardmap.Token
	err = s.until(c.Context, func(t *shardmap.Table) glance {
		i := slices.IndexFunc(t.Security.Tokens, func(k shardmap.Token) bool { return k.Public == token.Public() })
		if i >= 0 {
			made = t.Security.Tokens[i]
		}
		return glance{over: i >= 0}
	}, waitAsLongAsACall)
	if err != nil {
		return withStatus(exitNoResult, "no node shows the token: %w; muster token list shows whether it was made, and then it is of no use", err)
	}
	token.Root, token.ID = trust.RootID(root.ID), made.ID
	if !s.json {
		return s.line("%s", token.String())
	}
	return s.printJSON(tokenMade{Token: token.String(), ID: strconv.FormatUint(made.ID, 10), Role: role.String(), Expires: unixText(made.Expires)})
}

func tokenRowOf(t *shardmap.Table, k *shardmap.Token, now int64) tokenRow {
	row := tokenRow{ID: strconv.FormatUint(k.ID, 10), Role: k.Role.String(), Uses: k.Uses, Expires: unixText(k.Expires), State: tokenGood}
	switch {
	case k.Revoked:
		row.State = "revoked"
	case k.Expires <= now:
		row.State = "expired"
	case k.Uses == 0:
		row.State = "used"
	}
	if u, ok := t.Security.User(k.By); ok {
		row.By = u.Name
	}
	return row
}

func tokenList(con *console, c *cli.Context) error {
	s, err := con.openBare(c)
	if err != nil {
		return err
	}
	defer s.close()
	t, err := rulesTable(c.Context, s, c.Command.HelpName)
	if err != nil {
		return err
	}
	rows := []tokenRow{}
	for i := range t.Security.Tokens {
		rows = append(rows, tokenRowOf(t, &t.Security.Tokens[i], time.Now().Unix()))
	}
	if s.json {
		return s.printJSON(rows)
	}
	list := newTable(s.out, "ID", "ROLE", "USES", "EXPIRES", "STATE", "BY")
	for _, r := range rows {
		list.row(r.ID, r.Role, strconv.FormatUint(uint64(r.Uses), 10), r.Expires, r.State, orDash(r.By))
	}
	return list.Flush()
}

func tokenRevoke(con *console, c *cli.Context) error {
	if err := wantArgs(c, 1, 1); err != nil {
		return err
	}
	id, err := strconv.ParseUint(c.Args().First(), 10, 64)
	if err != nil || id == 0 {
		return usagef("%s: id %s; want a number, as muster token list has it", c.Command.HelpName, shown([]byte(c.Args().First())))
	}
	s, err := con.open(c, 1)
	if err != nil {
		return err
	}
	defer s.close()
	command, err := shardmap.AppendRevokeToken(nil, &shardmap.RevokeToken{ID: id})
	if err != nil {
		return err
	}
	a, err := s.give(c.Context, &order{what: "revoke token " + strconv.FormatUint(id, 10), command: command}, 0)
	if err != nil {
		return err
	}
	var row tokenRow
	err = s.until(c.Context, func(t *shardmap.Table) glance {
		k, ok := t.Security.Token(id)
		if ok {
			row = tokenRowOf(t, &k, time.Now().Unix())
		}
		return glance{over: t.Index >= a.Index}
	}, waitAsLongAsACall)
	if err != nil {
		return withStatus(exitNoResult, "token %d is revoked, but no node shows it yet: %w", id, err)
	}
	if s.json {
		return s.printJSON(row)
	}
	return nil
}
