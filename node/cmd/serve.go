package cmd

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"muster/node"
	"muster/node/web/ui"
)

func serveCommand(con *console) *cli.Command {
	flags := settingFlags()
	flags = append(flags, &cli.StringFlag{Name: "config", EnvVars: []string{"MUSTER_CONFIG"},
		Usage: "a `FILE` of TOML with these settings, '_' for '-' in their names; options and variables override it"})
	return ownVerb(cli.Command{
		Name: "serve", Usage: "run a node on this host",
		Description: `Without options it founds a cluster of one node. Three hosts found one together, in
any order, with the same command on each except for its own address:

    muster serve --listen 10.0.0.1:4166 --secret-file secret \
        --expect 3 --join 10.0.0.1:4166,10.0.0.2:4166,10.0.0.3:4166

A host that is to join a cluster that runs waits with --standby until a member adds it
(muster node add), or asks the members at the addresses of --join by itself:

    muster serve --listen 10.0.0.4:4166 --secret-file secret --standby

Started again on the same directory it is the same node: it ignores --expect and
--standby, and also looks for the other members at the addresses of --join, in case
they have moved. It runs until it is interrupted; its log goes to standard error.`,
		Flags:  flags,
		Action: con.action(runServe),
	})
}

// settingFlags makes an option of each row of [node.Settings].
func settingFlags() []cli.Flag {
	var flags []cli.Flag
	for _, s := range node.Settings {
		usage := s.Help + " [$" + s.Env() + "]"
		switch s.Kind {
		case node.Switch:
			flags = append(flags, &cli.BoolFlag{Name: s.Flag, Usage: usage})
		case node.List, node.Pairs:
			flags = append(flags, &cli.StringSliceFlag{Name: s.Flag, Usage: usage})
		default:
			flags = append(flags, &cli.StringFlag{Name: s.Flag, Usage: usage, DefaultText: s.Default})
		}
	}
	return flags
}

func runServe(con *console, c *cli.Context) error {
	if err := wantArgs(c, 0, 0); err != nil {
		return err
	}
	config, err := configOf(c)
	if err != nil {
		return err
	}
	if config.CoreDumps {
		if err := node.SetDumps(true); err != nil {
			return fmt.Errorf("muster serve: --core-dumps: %w", err)
		}
	}
	node.TuneCollector()
	silenceLibraries()
	config.FirstUser, config.API = firstUser(config.Cluster), apiHandler
	log := slog.New(slog.NewTextHandler(con.err, nil))
	return node.Run(c.Context, config, log, func(addr string) { log.Info("page served", "at", pageAt(&config, addr)) })
}

// pageAt is where browsers find the page of a node that listens on addr. Without TLS they have to be on its host.
func pageAt(config *node.Config, addr string) string {
	if config.Insecure {
		return "http://" + addr + ui.Prefix
	}
	return "https://" + config.AdvertiseOn(addr) + ui.Prefix
}

// silenceLibraries drops what packages that muster uses write to the log of the process. They do so where a
// server breaks its protocol, which comes to muster as an error too: the targets of checks, and whoever
// names them, could fill standard error with lines that say neither which node nor which check.
func silenceLibraries() { log.SetOutput(io.Discard) }

// configOf gathers the settings of serve and checks them.
func configOf(c *cli.Context) (node.Config, error) {
	if err := checkSecretFile(c); err != nil {
		return node.Config{}, err
	}
	config, err := node.Load(node.Sources{
		Flag: func(name string) (string, bool) { return settingText(c, name), c.IsSet(name) },
		Env:  os.LookupEnv,
		File: c.String("config"),
	})
	if err == nil && config.Expect == 0 && len(config.Join) > 0 && c.IsSet("expect") {
		// To Check this is the same as none given.
		err = fmt.Errorf("--expect %s: want as many hosts as --join has, %d", c.String("expect"), len(config.Join))
	}
	if err == nil {
		err = config.Check()
	}
	if err == nil {
		err = config.CheckFounding()
	}
	if missing := (*fs.PathError)(nil); errors.As(err, &missing) {
		// The command line is right, the world is not, as for a secret file.
		return node.Config{}, fmt.Errorf("muster serve: %w", err)
	}
	if err != nil {
		return node.Config{}, usagef("muster serve: %w", err)
	}
	// What is wrong with the file is better said before anything is touched.
	_, err = config.Secret()
	return config, err
}

func settingText(c *cli.Context, name string) string {
	i := slices.IndexFunc(node.Settings, func(s node.Setting) bool { return s.Flag == name })
	switch node.Settings[i].Kind {
	case node.List, node.Pairs:
		return strings.Join(c.StringSlice(name), ",")
	case node.Switch:
		if c.Bool(name) {
			return "true"
		}
		return "false"
	}
	return c.String(name)
}
