package cmd

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"muster/repl/client"
	"muster/repl/client/home"
	"muster/repl/notary"
	"muster/repl/trust"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/access"
)

const (
	caForm     = `{"root":…,"state":"issuing"|"trusted"|"retired","since":…,"expires":…,"certificates":N}`
	caMadeForm = `{"root":…,"user":…}`
)

func caCommand(con *console) *cli.Command {
	return noun(cli.Command{Name: "ca", Usage: "look at the roots of the cluster's certificates, and change them"},
		verb(cli.Command{
			Name: "show", Usage: "list the roots",
			Description: "The issuing root signs new certificates, trusted ones are still good, retired ones are not.\n\nWith -o json: [" + caForm + "]",
			Action:      con.action(caShow),
		}),
		verb(cli.Command{
			Name: "export", Usage: "print the roots that are trusted, for programs that check certificates by themselves",
			Description: "They are no secret: whoever has them can tell the cluster's nodes from others.\n\nAs PEM; with -o json: " + `{"pem":…}`,
			Action:      con.action(caExport),
		}),
		verb(cli.Command{
			Name: "create", Usage: "give a cluster without TLS its first root, and take it over to TLS",
			Description: `Each member gets a certificate, and so do you, as a user named like your account that may do everything. Until
somebody may, and the last member has a certificate, nodes and clients are taken with the secret too; from then
on nothing is without TLS, for ever. Members that are down keep it from that.

With --keep-secret there is the root, and you become no user. The secret goes on until the command is given again
without that option: meanwhile make users, and certificates for the hosts on which clients run.

With -o json: ` + caMadeForm,
			Flags: []cli.Flag{
				&cli.StringFlag{Name: "user", Usage: "the `NAME` of the user that you become, instead of that of your account"},
				&cli.BoolFlag{Name: "keep-secret", Usage: "take clients with the secret too until the command is given again without this"},
			},
			Action: con.action(caCreate),
		}),
		verb(cli.Command{
			Name: "rotate", Usage: "have a new root take the place of the one that issues",
			Description: `Goes on by itself: all members trust it first, then it issues, and members get certificates under it;
you get yours at once, and other users as they renew. The former root is retired once nothing under it is good any more, some
33 days later, or at once with "muster ca retire". Members that are down keep it from that.

With -o json: {"root":…}`,
			Action: con.action(caChange(wire.AuthorityRotate)),
		}),
		verb(cli.Command{
			Name: "retire", Usage: "trust a former root no longer", ArgsUsage: "ROOT",
			Description: `ROOT is an id as "muster ca show" has it, or what it begins with. Users whose certificates are under it need
others: "muster user cert" or "muster auth login".

With -o json: {"root":…}`,
			Action: con.action(caChange(wire.AuthorityRetire)),
		}))
}

type caRow struct {
	Root         string `json:"root"`
	State        string `json:"state"`
	Since        string `json:"since"`
	Expires      string `json:"expires"`
	Certificates int    `json:"certificates"` // of nodes
}

func caRows(t *shardmap.Table) []caRow {
	rows := []caRow{}
	for _, r := range t.Security.Roots {
		row := caRow{Root: trust.RootID(r.ID).String(), State: r.State.String(), Since: unixText(r.Since)}
		if c, err := trust.ReadRoot(r.DER); err == nil {
			row.Expires = unixText(c.NotAfter.Unix())
		}
		for _, p := range t.Security.Pins {
			if p.Root == r.ID {
				row.Certificates++
			}
		}
		rows = append(rows, row)
	}
	return rows
}

func caShow(con *console, c *cli.Context) error {
	s, err := con.openBare(c)
	if err != nil {
		return err
	}
	defer s.close()
	t, err := s.table(c.Context)
	if err != nil {
		return err
	}
	rows := caRows(t)
	if s.json {
		return s.printJSON(rows)
	}
	list := newTable(s.out, "ROOT", "STATE", "SINCE", "EXPIRES", "CERTIFICATES")
	for _, r := range rows {
		list.row(r.Root, r.State, r.Since, orDash(r.Expires), strconv.Itoa(r.Certificates))
	}
	return list.Flush()
}

func caExport(con *console, c *cli.Context) error {
	s, err := con.openBare(c)
	if err != nil {
		return err
	}
	defer s.close()
	t, err := s.table(c.Context)
	if err != nil {
		return err
	}
	var ders [][]byte
	for _, r := range t.Security.Roots {
		if r.State != shardmap.RootRetired {
			ders = append(ders, r.DER)
		}
	}
	if len(ders) == 0 {
		return withStatus(exitNotFound, "the cluster has no root: it is without TLS; muster ca create gives it one")
	}
	text := string(trust.EncodeCertificates(ders...))
	if s.json {
		return s.printJSON(pemRow{text})
	}
	_, err = io.WriteString(s.out, text)
	return err
}

type pemRow struct {
	PEM string `json:"pem"`
}

type rootRow struct {
	Root string `json:"root"`
	User string `json:"user,omitempty"`
}

// caChange orders something about roots.
func caChange(action wire.AuthorityAction) func(*console, *cli.Context) error {
	return func(con *console, c *cli.Context) error {
		args := 0
		if action == wire.AuthorityRetire {
			args = 1
		}
		if err := wantArgs(c, args, args); err != nil {
			return err
		}
		s, err := con.open(c, 1)
		if err != nil {
			return err
		}
		defer s.close()
		q := wire.Authority{Action: action}
		if args > 0 {
			t, err := s.table(c.Context)
			if err != nil {
				return err
			}
			if q.Root, err = rootNamed(t, c.Args().First()); err != nil {
				return err
			}
		}
		var a *wire.AuthorityAnswer
		err = s.with(c.Context, func(ctx context.Context) error {
			a, err = s.client.Authority(ctx, q)
			return err
		})
		if err != nil {
			return err
		}
		if action == wire.AuthorityRotate && con.call == nil {
			renewUnder(c.Context, s, trust.RootID(a.Root))
		}
		if s.json {
			return s.printJSON(rootRow{Root: trust.RootID(a.Root).String()})
		}
		return s.line("%s", trust.RootID(a.Root))
	}
}

// renewUnder waits until a new root issues, and gets the user of this command a certificate under it: a
// host that joins from now on has none under the former root, and this user must be able to reach it.
// Where that takes longer than one request may, the command after a day does it.
func renewUnder(ctx context.Context, s *errand, root trust.RootID) {
	h, err := home.Default()
	if err == nil {
		err = s.until(ctx, func(t *shardmap.Table) glance {
			issuing, ok := t.Security.Issuing()
			return glance{over: ok && issuing.ID == [32]byte(root)}
		}, waitAsLongAsACall)
	}
	if errors.Is(err, errNotYet) {
		s.sayf("it does not issue yet: a member may be down; see muster doctor")
		return
	}
	var who *wire.WhoamiAnswer
	if err == nil {
		err = s.with(ctx, func(ctx context.Context) error {
			who, err = s.client.Whoami(ctx)
			return err
		})
	}
	if err == nil && who.User != "" {
		_, err = s.certificate(ctx, who.User, h)
	}
	if err != nil {
		s.sayf("no certificate under it for you yet: %v", err)
	}
}

// rootNamed returns the root whose id begins with an argument.
func rootNamed(t *shardmap.Table, arg string) (found wire.RootHash, err error) {
	n := 0
	for _, r := range t.Security.Roots {
		if arg != "" && strings.HasPrefix(trust.RootID(r.ID).String(), strings.ToLower(arg)) {
			found, n = wire.RootHash(r.ID), n+1
		}
	}
	switch n {
	case 0:
		return found, withStatus(exitNotFound, "root %s: there is none of that id; muster ca show lists them", shown([]byte(arg)))
	case 1:
		return found, nil
	}
	return found, usagef("root %s: %d begin so; want more of the id", shown([]byte(arg)), n)
}

// caCreate takes a cluster over to TLS. Whoever orders it has a certificate before he may administer the cluster,
// because the secret counts until somebody may: he could not get one afterwards.
func caCreate(con *console, c *cli.Context) error {
	if err := wantArgs(c, 0, 0); err != nil {
		return err
	}
	name := c.String("user")
	switch {
	case !c.IsSet("user"):
		name = userName()
	case name == "":
		return usagef("%s: --user: empty; want a name, as muster user create takes it", c.Command.HelpName)
	}
	if err := access.CheckName(name); err != nil {
		return usagef("%s: --user: %w", c.Command.HelpName, err)
	}
	// The secret is shown even if an earlier try has left a certificate, which may not administer yet.
	s, err := con.openAs(c, 1, func(o *client.Options) { o.Guest = len(o.Secret) > 0 })
	if err != nil {
		return err
	}
	defer s.close()
	issuing, err := createRoot(c.Context, s)
	if err != nil {
		return err
	}
	row := rootRow{Root: trust.RootID(issuing).String()}
	if c.Bool("keep-secret") {
		if s.json {
			return s.printJSON(row)
		}
		return s.line("root %s; the secret opens the cluster until muster ca create is given without --keep-secret", row.Root)
	}
	h, err := home.Default()
	if err != nil {
		return err
	}
	if err := makeUser(c.Context, s, name); err != nil {
		return err
	}
	if _, err := s.certificate(c.Context, name, h); err != nil {
		return err
	}
	if err := s.makeAdministrator(c.Context, name); err != nil {
		return err
	}
	if err := con.awaitCertificates(c); err != nil {
		return err
	}
	if row.User = name; s.json {
		return s.printJSON(row)
	}
	return s.line("root %s; you are %s, by the certificate in %s", row.Root, name, h.Dir())
}

// createRoot has the cluster make its first root, and waits until that issues.
func createRoot(ctx context.Context, s *errand) (issuing shardmap.RootID, err error) {
	err = s.with(ctx, func(ctx context.Context) error {
		_, err := s.client.Authority(ctx, wire.Authority{Action: wire.AuthorityCreate})
		return err
	})
	if err != nil {
		return issuing, err
	}
	err = s.until(ctx, func(t *shardmap.Table) glance {
		root, ok := t.Security.Issuing()
		issuing = root.ID
		return glance{over: ok}
	}, waitAsLongAsACall)
	if errors.Is(err, errNotYet) {
		err = withStatus(exitNoResult, "the cluster has no root yet: the meta group may have no leader; see muster doctor, and give the command again")
	}
	return issuing, err
}

// awaitCertificates waits until certificates alone open the cluster, as somebody who has one.
func (con *console) awaitCertificates(c *cli.Context) error {
	s, err := con.open(c, 1)
	if err != nil {
		return err
	}
	defer s.close()
	err = s.until(c.Context, func(t *shardmap.Table) glance {
		return glance{over: t.Security.Mode == shardmap.SecurityOnly}
	}, waitAsLongAsACall)
	if errors.Is(err, errNotYet) {
		s.sayf("the secret opens the cluster still: a member may be down; see muster cert list and muster doctor")
		return nil
	}
	return err
}

// giveCommand gives an order, unless the command could not be written.
func giveCommand(ctx context.Context, s *errand, what string, command []byte, err error) error {
	if err == nil {
		_, err = s.give(ctx, &order{what: what, command: command}, 0)
	}
	return err
}

// makeUser sees to it that there is a user.
func makeUser(ctx context.Context, s *errand, name string) error {
	t, err := s.table(ctx)
	if err != nil {
		return err
	}
	if _, ok := t.Security.UserNamed(name); ok {
		return nil
	}
	command, err := shardmap.AppendChangeUser(nil, &shardmap.ChangeUser{Action: shardmap.UserCreate, Name: name, At: time.Now().Unix()})
	return giveCommand(ctx, s, "make user "+name, command, err)
}

// makeAdministrator sees to it that a user may do everything.
func (s *errand) makeAdministrator(ctx context.Context, name string) error {
	t, err := s.table(ctx)
	if err != nil {
		return err
	}
	if _, ok := t.Security.Role(notary.AdminRole); !ok {
		command, err := shardmap.AppendChangeRole(nil, &shardmap.ChangeRole{Action: shardmap.RoleCreate, Name: notary.AdminRole, Grants: notary.AllGrants()})
		if err := giveCommand(ctx, s, "make role "+notary.AdminRole, command, err); err != nil {
			return err
		}
	}
	if u, _ := t.Security.UserNamed(name); slices.Contains(u.Roles, notary.AdminRole) {
		return nil
	}
	command, err := shardmap.AppendChangeUserRoles(nil, &shardmap.ChangeUserRoles{User: name, Give: []string{notary.AdminRole}})
	return giveCommand(ctx, s, "give role "+notary.AdminRole, command, err)
}

// certificate gets a certificate of a user, for a key that is made here, and keeps both. It returns the
// root that the certificate is under.
func (s *errand) certificate(ctx context.Context, name string, h home.Home) (root []byte, err error) {
	key, request, err := trust.NewKeyAndRequest(rand.Reader)
	if err != nil {
		return nil, err
	}
	var a *wire.RenewAnswer
	err = s.with(ctx, func(ctx context.Context) error {
		a, err = s.client.Certificate(ctx, name, request)
		return err
	})
	if err != nil {
		return nil, err
	}
	t, err := s.table(ctx)
	if err != nil {
		return nil, err
	}
	if root, err = client.CheckCertificate(a, name, key, time.Now()); err != nil {
		return nil, err
	}
	return root, h.Put(root, t.Cluster, a.Certificate, key)
}
