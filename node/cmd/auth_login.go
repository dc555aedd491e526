package cmd

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"time"

	"github.com/urfave/cli/v2"

	"muster/repl/client"
	"muster/repl/client/home"
	"muster/repl/trust"
	"muster/repl/wire"
)

func authLoginVerb(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "login", Usage: "get a certificate of an hour by a password", ArgsUsage: "NAME --password-file FILE",
		Description: `The certificate, and its key, which is made here, go where this host's commands find them. A cluster that
this host does not know yet is believed only if --root names its root: "muster ca show" prints that
on a host that is in. With --root no other cluster is shown the password, known or not. With --tls-ca the company's CA
decides, and nothing else. Example:

    muster auth login ann --password-file -

With -o json: {"root":…,"user":…}`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "password-file", Usage: "`FILE` whose first line is the password, - for standard input"},
			&cli.StringFlag{Name: "root", Usage: "the `ID` of the root that the cluster must have, 64 hexadecimal digits"},
		},
		Action: con.action(authLogin),
	})
}

func authLogin(con *console, c *cli.Context) error {
	if err := wantArgs(c, 1, 1); err != nil {
		return err
	}
	name, err := checkedName(c, "user")
	if err != nil {
		return err
	}
	if !c.IsSet("password-file") {
		return usagef("%s: --password-file is missing; want a FILE, or - for standard input", c.Command.HelpName)
	}
	meet, err := meeting(c)
	if err != nil {
		return err
	}
	h, err := home.Default()
	if err != nil {
		return err
	}
	password, err := con.readPassword(c)
	if err != nil {
		return err
	}
	key, request, err := trust.NewKeyAndRequest(rand.Reader)
	if err != nil {
		return err
	}
	s, err := con.openAs(c, 1, func(o *client.Options) { o.Guest, o.Meet = true, meet })
	if err != nil {
		return err
	}
	defer s.client.Close() // and no more: a guest has nothing to renew
	var a *wire.LoginAnswer
	err = s.with(c.Context, func(ctx context.Context) error {
		a, err = s.client.Login(ctx, &wire.Login{Name: name, Password: password, Request: request})
		return err
	})
	if err != nil {
		return err
	}
	root, err := client.CheckCertificate(&wire.RenewAnswer{Certificate: a.Certificate, Roots: a.Roots}, name, key, time.Now())
	if err != nil {
		return err
	}
	if err := h.Put(root, optionText(c, "cluster"), a.Certificate, key); err != nil {
		return err
	}
	if s.json {
		return s.printJSON(rootRow{Root: trust.RootIDOf(root).String(), User: name})
	}
	return nil
}

// meeting returns which root is believed: that of --root, or nil for those that are kept.
func meeting(c *cli.Context) (func(*x509.Certificate) error, error) {
	if !c.IsSet("root") {
		return nil, nil
	}
	if optionText(c, "tls-ca") != "" {
		return nil, usagef("%s: --root: says whom to believe, and so does --tls-ca; leave one of them out", c.Command.HelpName)
	}
	want, err := trust.ParseRootID(c.String("root"))
	if err != nil {
		return nil, usagef("%s: --root: %w", c.Command.HelpName, err)
	}
	return func(root *x509.Certificate) error {
		if got := trust.RootIDOf(root.Raw); got != want {
			return wire.Unauthorized("root", "the cluster has root "+got.String(), "check the address, and --root")
		}
		return nil
	}, nil
}
