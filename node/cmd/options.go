package cmd

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"muster/logstore/vfs"
	"muster/node"
	"muster/repl/client"
	"muster/repl/trust"
)

const (
	// timeoutDefault is long enough for an election and a write after it.
	timeoutDefault = 10 * time.Second
	// timeoutMax is when a client stops retrying: five minutes later a group
	// may have forgotten which writes it has applied.
	timeoutMax = 5 * time.Minute
)

// commonFlags are the options of every command that asks nodes. Their variables
// are read here and not by cli, whose complaints name no remedy and which takes
// an empty one for given.
func commonFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "endpoints", Value: node.ListenDefault,
			Usage: "addresses `H[:P],…` of nodes to ask, port 4166 if none is given; one that can be used is enough, the command learns the others from it [$MUSTER_ENDPOINTS]"},
		&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "table", Usage: "`FORM` of the output: table or json"},
		&cli.DurationFlag{Name: "timeout", Value: timeoutDefault,
			Usage: "how long `D` one request may take, retries included, up to 5m [$MUSTER_TIMEOUT]"},
		&cli.StringFlag{Name: "secret-file", Usage: "`FILE` whose first line is the cluster's secret [$MUSTER_SECRET_FILE]"},
		&cli.StringFlag{Name: "tls-ca", Usage: "`FILE` with the certificates of the company's CA, where nodes have certificates of that [$MUSTER_TLS_CA]"},
		&cli.BoolFlag{Name: "insecure", Usage: "speak without TLS, as nodes do that were started with --insecure: everybody on the way can read it all [$MUSTER_INSECURE]"},
		&cli.StringFlag{Name: "cluster", Usage: "`NAME` that the cluster must have; any, if not given [$MUSTER_CLUSTER]"},
	}
}

// variable returns what an option that is not given has from the environment;
// empty: nothing.
func variable(c *cli.Context, option string) string {
	if c.IsSet(option) {
		return ""
	}
	return os.Getenv("MUSTER_" + strings.ToUpper(strings.ReplaceAll(option, "-", "_")))
}

func optionText(c *cli.Context, option string) string {
	if v := variable(c, option); v != "" {
		return v
	}
	return c.String(option)
}

// verb makes a command that talks to a cluster.
func verb(c cli.Command) *cli.Command {
	c = *ownVerb(c)
	own := c.Flags
	c.Flags = slices.Clone(own)
	for _, f := range commonFlags() {
		if !slices.ContainsFunc(own, func(o cli.Flag) bool { return o.Names()[0] == f.Names()[0] }) {
			c.Flags = append(c.Flags, f)
		}
	}
	return &c
}

// ownVerb makes a command that takes no options but its own: one that prints
// nothing for a program, and asks nobody.
func ownVerb(c cli.Command) *cli.Command {
	c.HideHelpCommand = true
	c.OnUsageError = badOption
	return &c
}

// localVerb makes a command that prints in both forms and asks nobody. It takes
// the options of those that do, so that a script may give them to all, and help
// does not show those that do nothing.
func localVerb(c cli.Command) *cli.Command {
	n := len(c.Flags)
	v := verb(c)
	for i, f := range v.Flags[n:] {
		switch f := f.(type) {
		case *cli.StringFlag:
			f.Hidden = f.Name != "output"
		case *cli.DurationFlag:
			f.Hidden = true
		case *cli.BoolFlag:
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

// badValue matches cli's complaint about an option's value.
var badValue = regexp.MustCompile(`^invalid (?:boolean )?value (".*") for (?:flag )?-([a-z-]+): `)

// badOption is what cli calls with that complaint.
func badOption(c *cli.Context, err error, _ bool) error { return optionError(c, err) }

// optionError words it as we do.
func optionError(c *cli.Context, err error) error {
	name := "muster"
	if c.Command != nil && c.Command.HelpName != "" {
		name = c.Command.HelpName
	}
	m := badValue.FindStringSubmatch(err.Error())
	if m == nil || c.Command == nil {
		return usagef("%s: %w", name, err)
	}
	return usagef("%s: invalid value %s for option --%s; want %s", name, m[1], m[2], wantedValue(findFlag(c.Command.Flags, "--"+m[2])))
}

const durationForm = "a number with its unit, as 500ms, 10s or 1m30s"

func wantedValue(f cli.Flag) string {
	switch f.(type) {
	case *cli.DurationFlag:
		return durationForm
	case *cli.Uint64Flag:
		return "a whole number, 0 or more"
	case *cli.IntFlag:
		return "a whole number"
	case *cli.Float64Flag:
		return "a number"
	case *cli.BoolFlag:
		return "true or false"
	}
	return "another one"
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
	if n < least {
		return usagef("%s: an argument is missing; want %s", c.Command.HelpName, usage)
	}
	return usagef("%s: argument %s is one too many; want %s", c.Command.HelpName, shown([]byte(c.Args().Get(most))), usage)
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
	if v := variable(c, "timeout"); v != "" {
		var err error
		if d, err = time.ParseDuration(v); err != nil {
			return 0, usagef("%s: MUSTER_TIMEOUT: %q is no duration; want %s", c.Command.HelpName, v, durationForm)
		}
	}
	return d, checkTimeout(c.Command.HelpName, d)
}

func checkTimeout(command string, d time.Duration) error {
	if d <= 0 || d > timeoutMax {
		return usagef("%s: --timeout %v; want more than 0 and at most %v", command, d, timeoutMax)
	}
	return nil
}

func endpointsOf(c *cli.Context) ([]string, error) {
	var all []string
	for e := range strings.SplitSeq(optionText(c, "endpoints"), ",") {
		if e = strings.TrimSpace(e); e == "" {
			continue
		}
		addr, err := client.Endpoint(e)
		if err != nil {
			return nil, usagef("%s: --endpoints: %w", c.Command.HelpName, err)
		}
		all = append(all, addr)
	}
	if len(all) == 0 {
		return nil, usagef("%s: --endpoints: empty; want HOST:PORT,…", c.Command.HelpName)
	}
	return all, nil
}

// insecureOf reports whether to do without TLS.
func insecureOf(c *cli.Context) (bool, error) {
	switch v := variable(c, "insecure"); v {
	case "":
		return c.Bool("insecure"), nil
	case "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	default:
		return false, usagef("%s: MUSTER_INSECURE: %q is neither true nor false", c.Command.HelpName, v)
	}
}

// companyOf reads the certificates of the company's CA; nil where no file is named. insecure: there is no TLS.
func companyOf(c *cli.Context, insecure bool) ([]byte, error) {
	const option = "tls-ca"
	path := optionText(c, option)
	switch {
	case path == "" && c.IsSet(option):
		return nil, usagef("%s: --tls-ca: empty; want a FILE, or leave the option out", c.Command.HelpName)
	case path == "":
		return nil, nil
	case insecure:
		return nil, usagef("%s: --insecure: means without TLS, but --tls-ca is given; leave one of them out", c.Command.HelpName)
	}
	b, err := vfs.ReadFit(path, vfs.Public, vfs.FollowLinks, trust.FileMax)
	if err != nil {
		return nil, fmt.Errorf("--tls-ca: %w", err)
	}
	if _, err := trust.LoadCA(b); err != nil {
		return nil, err
	}
	return b, nil
}

// clusterOf returns the name that the cluster must have, "" for any. An empty option is refused, most often a variable
// of a shell that is not set: any cluster would do, while one was meant.
func clusterOf(c *cli.Context) (string, error) {
	const option = "cluster"
	if c.IsSet(option) && c.String(option) == "" {
		return "", usagef("%s: --cluster: empty; want the NAME of the cluster, or leave the option out for any", c.Command.HelpName)
	}
	return optionText(c, option), nil
}

// secretOf reads the secret; nil where no file is named.
func secretOf(c *cli.Context) ([]byte, error) {
	if err := checkSecretFile(c); err != nil {
		return nil, err
	}
	return node.ReadSecret(optionText(c, "secret-file"))
}

// checkSecretFile refuses an empty name, most often a variable of a shell that
// is not set: it would else do without a secret.
func checkSecretFile(c *cli.Context) error {
	if c.IsSet("secret-file") && c.String("secret-file") == "" {
		return usagef("%s: --secret-file: empty; want a FILE, or leave the option out", c.Command.HelpName)
	}
	return nil
}
