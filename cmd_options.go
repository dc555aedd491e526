package main

import (
	"context"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"muster/node"
	"muster/repl/client"
)

const (
	// timeoutDefault is long enough for an election and a write after it.
	timeoutDefault = 10 * time.Second
	// timeoutMax is when a client stops retrying: five minutes later a group
	// may have forgotten which writes it has applied.
	timeoutMax = 5 * time.Minute
)

// commonFlags are the options of every command.
func commonFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "endpoints", Value: node.ListenDefault, EnvVars: []string{"MUSTER_ENDPOINTS"},
			Usage: "addresses `H:P,…` of nodes to ask; one is enough, the others are learnt from it"},
		&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "table", Usage: "`FORM` of what is printed: table or json"},
		&cli.DurationFlag{Name: "timeout", Value: timeoutDefault, EnvVars: []string{"MUSTER_TIMEOUT"},
			Usage: "how long `D` one request may take, retries included, up to 5m"},
		&cli.StringFlag{Name: "secret-file", EnvVars: []string{"MUSTER_SECRET_FILE"}, Usage: "`FILE` whose first line is the cluster's secret"},
		&cli.StringFlag{Name: "cluster", EnvVars: []string{"MUSTER_CLUSTER"}, Usage: "`NAME` that the cluster must have; if not given, any"},
	}
}

// verb makes a command that talks to a cluster.
func verb(c cli.Command) *cli.Command {
	c.HideHelpCommand = true
	c.OnUsageError = badOption
	own := c.Flags
	c.Flags = slices.Clone(own)
	for _, f := range commonFlags() {
		if !slices.ContainsFunc(own, func(o cli.Flag) bool { return o.Names()[0] == f.Names()[0] }) {
			c.Flags = append(c.Flags, f)
		}
	}
	return &c
}

// localVerb makes a command that asks nobody. It takes the options of every
// command, so that a script may give them to all, and help does not show those
// that do nothing.
func localVerb(c cli.Command) *cli.Command {
	n := len(c.Flags)
	v := verb(c)
	for i, f := range v.Flags[n:] {
		switch f := f.(type) {
		case *cli.StringFlag:
			f.Hidden = f.Name != "output" || c.Name == "serve"
		case *cli.DurationFlag:
			f.Hidden = true
		}
		v.Flags[n+i] = f
	}
	return v
}

// noun makes a command that only holds verbs.
func noun(c cli.Command, verbs ...*cli.Command) *cli.Command {
	c.HideHelpCommand = true
	c.OnUsageError = badOption
	c.Subcommands = verbs
	return &c
}

// badOption words cli's complaint about an option's value as we do.
func badOption(c *cli.Context, err error, _ bool) error {
	name := "muster"
	if c.Command != nil && c.Command.HelpName != "" {
		name = c.Command.HelpName
	}
	return usagef("%s: %s", name, strings.Replace(err.Error(), "for flag -", "for option --", 1))
}

// wantArgs checks how many arguments there are; most < 0 is no bound.
func wantArgs(c *cli.Context, least, most int) error {
	n := c.NArg()
	if n >= least && (most < 0 || n <= most) {
		return nil
	}
	usage := c.Command.HelpName
	if c.Command.ArgsUsage != "" {
		usage += " " + c.Command.ArgsUsage
	}
	return usagef("%s: %d arguments; want %s", c.Command.HelpName, n, usage)
}

// wantsJSON reads -o.
func wantsJSON(c *cli.Context) (bool, error) {
	switch o := c.String("output"); o {
	case "json":
		return true, nil
	case "table":
		return false, nil
	default:
		return false, usagef("%s: --output %q; want table or json", c.Command.HelpName, o)
	}
}

func timeoutOf(c *cli.Context) (time.Duration, error) {
	d := c.Duration("timeout")
	if d <= 0 || d > timeoutMax {
		return 0, usagef("%s: --timeout %v; want more than 0 and at most %v", c.Command.HelpName, d, timeoutMax)
	}
	return d, nil
}

func endpointsOf(c *cli.Context) ([]string, error) {
	var all []string
	for e := range strings.SplitSeq(c.String("endpoints"), ",") {
		if e = strings.TrimSpace(e); e == "" {
			continue
		}
		if _, port, err := net.SplitHostPort(e); err != nil || port == "" {
			return nil, usagef("%s: --endpoints: %q is not an address; want HOST:PORT", c.Command.HelpName, e)
		}
		all = append(all, e)
	}
	if len(all) == 0 {
		return nil, usagef("%s: --endpoints: empty; want HOST:PORT,…", c.Command.HelpName)
	}
	return all, nil
}

// session is one command's work with a cluster.
type session struct {
	*tool
	client    *client.Client
	endpoints []string
	json      bool
	timeout   time.Duration
}

// open reads the common options and makes a client, which dials when it is
// first asked something. The caller closes the session.
func (t *tool) open(c *cli.Context, connections int) (*session, error) {
	s := &session{tool: t}
	var err error
	if s.json, err = wantsJSON(c); err != nil {
		return nil, err
	}
	if s.timeout, err = timeoutOf(c); err != nil {
		return nil, err
	}
	if s.endpoints, err = endpointsOf(c); err != nil {
		return nil, err
	}
	secret, err := node.ReadSecret(c.String("secret-file"))
	if err != nil {
		return nil, err
	}
	s.client, err = client.Open(client.Options{
		Endpoints: s.endpoints, Cluster: c.String("cluster"), Secret: secret, ConnectionsPerNode: connections,
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// openBare is open for a command without arguments.
func (t *tool) openBare(c *cli.Context) (*session, error) {
	if err := wantArgs(c, 0, 0); err != nil {
		return nil, err
	}
	return t.open(c, 1)
}

func (s *session) close() { s.client.Close() }

// with runs f within the timeout.
func (s *session) with(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	return f(ctx)
}
