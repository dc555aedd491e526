package cmd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"muster/node/reset"
	"muster/node/vault"
	"muster/repl/client"
	"muster/repl/client/home"
	"muster/repl/notary"
	"muster/repl/trust"
	"muster/repl/wire"
	"muster/shardmap/access"
)

const (
	authResetForm = `{"user":…,"role":…,"root":…}`
	// resetWait is how long the command waits for its node: until that looks, and for what it then does.
	resetWait = 30 * time.Second
	// resetLook lies between two looks for the answer.
	resetLook = 100 * time.Millisecond
)

func authResetVerb(con *console) *cli.Command {
	return localVerb(cli.Command{
		Name: "reset", Usage: "become an administrator again, by the disk of a server that runs here", ArgsUsage: "--data DIR [NAME]",
		Description: `For when nobody can administer the cluster any more. DIR is the data directory of a node that runs on this
host and votes in group 0: its disk has the key that makes certificates, and whoever can read that needs
no other right. Run it as the user that DIR belongs to. Without NAME the user is named like your account;
it is made, if there is none of that name, and gets a role that allows everything. Its certificate goes
where this host's commands find it. Group 0 needs a majority for it. Example:

    sudo -u muster muster auth reset --data /var/lib/muster ann

With -o json: ` + authResetForm,
		Flags:  []cli.Flag{&cli.StringFlag{Name: "data", Usage: "the data `DIR`ectory of the node [$MUSTER_DATA]"}},
		Action: con.action(authReset),
	})
}

func authReset(con *console, c *cli.Context) error {
	if err := wantArgs(c, 0, 1); err != nil {
		return err
	}
	name, data := userName(), optionText(c, "data")
	if c.NArg() > 0 {
		name = c.Args().First()
	}
	if err := access.CheckName(name); err != nil {
		return usagef("%s: name of a user: %w", c.Command.HelpName, err)
	}
	if data == "" {
		return usagef("%s: --data is missing; want the data directory of a node that runs on this host", c.Command.HelpName)
	}
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	h, err := home.Default()
	if err != nil {
		return err
	}
	key, request, err := trust.NewKeyAndRequest(rand.Reader)
	if err != nil {
		return err
	}
	folder := filepath.Join(data, vault.Dir)
	dir := reset.In(folder, time.Now)
	id, err := dir.Ask(name, request)
	if errors.Is(err, fs.ErrNotExist) {
		return withStatus(exitNotFound, "auth reset: %s is not the data directory of a node with TLS: there is no folder %s", shown([]byte(data)), vault.Dir)
	}
	if errors.Is(err, reset.ErrWaits) {
		return withStatus(exitConflict, "auth reset: %w", err)
	}
	if err != nil {
		return withStatus(exitNotPermitted, "auth reset: %w", err)
	}
	defer func() { _ = dir.Close(id) }() // a node that comes later must not answer it: nobody has its key any more
	a, err := answered(c.Context, dir, id)
	if err != nil {
		return fmt.Errorf("auth reset: %w", err)
	}
	if a.Refused != nil {
		return fmt.Errorf("auth reset: %w", a.Refused.Error())
	}
	root, err := client.CheckCertificate(&wire.RenewAnswer{Certificate: a.Certificate, Roots: a.Roots}, name, key, time.Now())
	if err == nil {
		err = trusts(folder, root)
	}
	if err == nil {
		err = h.Put(root, optionText(c, "cluster"), a.Certificate, key)
	}
	if err != nil {
		return withStatus(exitPartly, "auth reset: %s is an administrator, and its certificate can't be used: %w", name, err)
	}
	if a.Role != notary.AdminRole {
		con.sayf("the role %s does not allow everything any more, or is gone: %s has the role %s, which does; see muster role list", notary.AdminRole, name, a.Role)
	}
	s := &errand{console: con, json: asJSON}
	if s.json {
		return s.printJSON(struct {
			User string `json:"user"`
			Role string `json:"role"`
			Root string `json:"root"`
		}{name, a.Role, trust.RootIDOf(root).String()})
	}
	return s.line("you are %s, with role %s, by the certificate in %s", name, a.Role, h.Dir())
}

// answered waits for the answer to a request.
func answered(ctx context.Context, dir reset.Dir, id string) (*reset.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, resetWait)
	defer cancel()
	every := time.NewTicker(resetLook)
	defer every.Stop()
	for {
		a, err := dir.Answered(id)
		if err == nil {
			return a, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		select {
		case <-every.C:
		case <-ctx.Done():
			return nil, withStatus(exitNoResult, "the node has not answered within %s: see that it runs on this directory, with this release or a later one, and what its log says", resetWait)
		}
	}
}

// trusts fails if the node whose folder this is does not trust a root.
func trusts(folder string, root []byte) error {
	b, err := os.ReadFile(filepath.Join(folder, vault.RootsName))
	if err != nil {
		return err
	}
	ders, err := trust.DecodeCertificates(b)
	if err != nil {
		return err
	}
	for _, der := range ders {
		if string(der) == string(root) {
			return nil
		}
	}
	return fmt.Errorf("root %s is not one that the node trusts", trust.RootIDOf(root))
}
