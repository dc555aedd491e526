package cmd

import (
	"github.com/urfave/cli/v2"

	"muster/node"
)

func secretCommand(con *console) *cli.Command {
	return localVerb(cli.Command{
		Name: "secret", Usage: "print a good secret for a new cluster",
		Description: "Prints 32 random bytes in hexadecimal: what --secret-file wants in the first line of\n" +
			"a file. All nodes and clients of a cluster have the same, so make one, and copy the\n" +
			"file. With --file it goes into a new file that nobody but you can read or write; muster\n" +
			"refuses others. Example:\n\n" +
			"    muster secret --file secret\n\n" +
			`With -o json: {"secret":"…"}, or {"file":"…"} with --file`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "file", Usage: "write it into the new `FILE`, and print nothing"},
		},
		Action: con.action(runSecret),
	})
}

type secretRow struct {
	Secret string `json:"secret,omitempty"`
	File   string `json:"file,omitempty"`
}

func runSecret(con *console, c *cli.Context) error {
	if err := wantArgs(c, 0, 0); err != nil {
		return err
	}
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	if c.IsSet("file") {
		path := c.String("file")
		if path == "" {
			return usagef("%s: --file: empty; want the name of a new file", c.Command.HelpName)
		}
		if err := node.WriteNewSecret(path); err != nil || !asJSON {
			return err
		}
		return con.printJSON(secretRow{File: path})
	}
	row := secretRow{Secret: node.NewSecret()}
	if asJSON {
		return con.printJSON(row)
	}
	return con.line("%s", row.Secret)
}
