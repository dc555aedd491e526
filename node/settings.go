package node

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"

	"muster/shardmap"
)

// SettingKind is how the text of a setting is read.
type SettingKind uint8

const (
	Text   SettingKind = iota // one word or path
	Number                    // a decimal number
	Bytes                     // a size, with or without KiB, MiB or GiB; in the file a number, or a text
	Switch                    // true or false; as an option it needs no value
	List                      // several, with commas between them; an array in the file
	Pairs                     // several K=V, with commas between them; a table in the file
)

// Setting is one row of [Settings].
type Setting struct {
	Flag    string // the option of serve, without dashes; variable and key are made from it
	Kind    SettingKind
	Default string // empty: none, or what Help says
	Help    string // the word in backquotes stands for the value
	// set puts values, of which Text, Number, Bytes and Switch have one, into c.
	set func(c *Config, values []string) error
}

// Env is the variable that sets s: --secret-file is MUSTER_SECRET_FILE.
func (s Setting) Env() string { return "MUSTER_" + strings.ToUpper(s.Key()) }

// Key is the key of the configuration file that sets s.
func (s Setting) Key() string { return strings.ReplaceAll(s.Flag, "-", "_") }

// Settings is the one list of what can be set for a node. Each row is an
// option of serve, a variable, a key of the file and a line of
// docs/operating.md.
var Settings = []Setting{
	{"name", Text, "", "this node's name `N` in lists and logs; by default the host's name, with the port if that is not 4166; lists add the beginning of its id if another node has the same name",
		func(c *Config, v []string) error { c.Name = v[0]; return nil }},
	{"listen", Text, ListenDefault, "the address `H:P` for peers, clients and the command line; one that is not loopback needs --secret-file, --token-file or --insecure",
		func(c *Config, v []string) error { c.Listen = v[0]; return nil }},
	{"advertise", Text, "", "the address `H:P` at which others reach this node; by default that of --listen",
		func(c *Config, v []string) error { c.Advertise = v[0]; return nil }},
	{"data", Text, "muster-data", "the directory `DIR` in which this node keeps its data; created if missing",
		func(c *Config, v []string) error { c.Data = v[0]; return nil }},
	{"cluster", Text, "muster", "the cluster's `NAME`; nodes and clients with another name are turned away. Without it a host with --token-file takes the name of the token's cluster, and one that is started again keeps its own",
		func(c *Config, v []string) error { c.Cluster, c.AnyCluster = v[0], false; return nil }},
	{"groups", Number, "8", "`N` data groups, 1 to 4096, in a new cluster; an existing one keeps its own",
		func(c *Config, v []string) (err error) { c.Groups, err = number(v[0]); return }},
	{"value-max", Bytes, "1MiB", "a new cluster takes values of up to `BYTES`, with or without KiB or MiB, at most 16MiB; an existing one keeps its own limit",
		func(c *Config, v []string) (err error) { c.ValueMax, err = size(v[0]); return }},
	{"join", List, "", "with --expect, the addresses `H:P,…` of the hosts that found a cluster together, including this one's; without it, those of members, which are asked to take this host in; a member also looks for other members there",
		func(c *Config, v []string) error { c.Join = v; return nil }},
	{"expect", Number, "", "the number `N` of hosts that found the cluster, exactly as many as --join has; a member ignores it",
		func(c *Config, v []string) (err error) { c.Expect, err = number(v[0]); return }},
	{"standby", Switch, "", "found no cluster, and wait until muster node add adds this host to one; a member ignores it",
		func(c *Config, v []string) (err error) { c.Standby, err = truth(v[0]); return }},
	{"role", Text, "server", "the `ROLE` in which a host joins a cluster: a server holds keys and votes, a client never votes; a member ignores it",
		func(c *Config, v []string) (err error) { c.Role, err = role(v[0]); return }},
	{"label", Pairs, "", "a label `K=V` of this node, shown by node list; replicas are spread over the values of the label zone; may be given several times",
		func(c *Config, v []string) (err error) { c.Labels, err = labels(v); return }},
	{"scrub", Bytes, "1MiB", "read the disk again at `BYTES` per second, with or without KiB, MiB or GiB, to find rot while there are copies; 0 turns it off",
		func(c *Config, v []string) (err error) { c.Scrub, err = size(v[0]); return }},
	{"snapshot-rate", Bytes, "32MiB", "write snapshots at `BYTES` per second, with or without KiB, MiB or GiB, and send them to each node at the same rate; 0 is as fast as possible",
		func(c *Config, v []string) (err error) { c.SnapshotRate, err = size(v[0]); return }},
	{"points-memory", Bytes, "1GiB", "keep at most `BYTES`, with or without KiB, MiB or GiB, of points in memory that are in no file yet; beyond it points are refused as busy, and from half of it on files are made as fast as possible",
		func(c *Config, v []string) (err error) { c.PointsMemory, err = size(v[0]); return }},
	{"backup-dir", Text, "", "the directory `DIR` for the backups that jobs take here, created if missing: best on another disk, or a mount that all nodes share; by default backups in the data directory",
		func(c *Config, v []string) error { c.BackupDir = v[0]; return nil }},
	{"secret-file", Text, "", "a `FILE` whose first line is the secret that the hosts share which found a cluster together, 16 bytes or more",
		func(c *Config, v []string) error { c.SecretFile = v[0]; return nil }},
	{"token-file", Text, "", "a `FILE` whose first line is a token of muster token create, by which this host joins a cluster; a member ignores it",
		func(c *Config, v []string) error { c.TokenFile = v[0]; return nil }},
	{"tls-cert", Text, "", "a `FILE` with this host's certificate by the company's CA, and intermediate ones behind it; with --tls-key and --tls-ca, instead of one that the cluster makes",
		func(c *Config, v []string) error { c.TLSCert = v[0]; return nil }},
	{"tls-key", Text, "", "the `FILE` with the key of --tls-cert, which nobody else may read",
		func(c *Config, v []string) error { c.TLSKey = v[0]; return nil }},
	{"tls-ca", Text, "", "a `FILE` with the certificates of the company's CA",
		func(c *Config, v []string) error { c.TLSCA = v[0]; return nil }},
	{"check", Pairs, "", "a program `NAME=PATH` that checks of type custom may have run on this node, by its absolute path; may be given several times",
		func(c *Config, v []string) (err error) { c.Checks, err = programs(v); return }},
	{"check-range", List, "", "a network `CIDR`, or an address, that targets of checks and webhooks must be in; may be given several times; by default any address but link-local and unspecified ones",
		func(c *Config, v []string) (err error) { c.CheckRanges, err = ranges(v); return }},
	{"http-host", List, "", "a name `HOST` without port, by which browsers know this node beside the addresses that members have; may be given several times. Requests of HTTP for other hosts are refused",
		func(c *Config, v []string) error { c.HTTPHosts = v; return nil }},
	{"core-dumps", Switch, "", "let a crash write the memory of the process to a file, and other processes of the same user look into it: its keys too",
		func(c *Config, v []string) (err error) { c.CoreDumps, err = truth(v[0]); return }},
	{"insecure", Switch, "", "speak without TLS, and serve also an address that is not loopback without a secret",
		func(c *Config, v []string) (err error) { c.Insecure, err = truth(v[0]); return }},
}

func number(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0, fmt.Errorf("%q is not a whole number", s)
	}
	return n, nil
}

func size(s string) (int, error) {
	n, err := shardmap.ParseBytes(s)
	return int(min(n, math.MaxInt)), err // every limit is below what an int holds
}

func truth(s string) (bool, error) {
	switch s {
	case "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither true nor false", s)
}

func role(s string) (shardmap.NodeRole, error) {
	for _, r := range []shardmap.NodeRole{shardmap.NodeServer, shardmap.NodeClient} {
		if s == r.String() {
			return r, nil
		}
	}
	return 0, fmt.Errorf("%q is no role; want %s or %s", s, shardmap.NodeServer, shardmap.NodeClient)
}

func labels(values []string) ([]shardmap.Label, error) {
	var all []shardmap.Label
	for _, v := range values {
		key, value, ok := strings.Cut(v, "=")
		if !ok {
			return nil, fmt.Errorf("%q is not a label; want K=V", v)
		}
		all = append(all, shardmap.Label{Key: key, Value: value})
	}
	return all, nil
}

func programs(values []string) (map[string]string, error) {
	all := map[string]string{}
	for _, v := range values {
		name, path, ok := strings.Cut(v, "=")
		if !ok {
			return nil, fmt.Errorf("%q is not a program; want NAME=PATH", v)
		}
		if _, twice := all[name]; twice {
			return nil, fmt.Errorf("%s is given twice", name)
		}
		all[name] = path
	}
	return all, nil
}

// ranges reads networks. An address alone is a network of one.
func ranges(values []string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, v := range values {
		r, err := netip.ParsePrefix(v)
		if addr, single := netip.ParseAddr(v); single == nil && addr.Zone() == "" {
			r, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		if err != nil {
			return nil, fmt.Errorf("%q is not a network; want one as in 10.0.0.0/8 or fd00::/8", v)
		}
		all = append(all, r.Masked())
	}
	return all, nil
}

// split splits the text of an option or a variable into its values.
func (s Setting) split(text string) []string {
	if s.Kind != List && s.Kind != Pairs {
		return []string{text}
	}
	var all []string
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			all = append(all, part)
		}
	}
	return all
}

// Sources are the places where [Load] looks for a setting, in this order.
type Sources struct {
	Flag func(flag string) (text string, given bool)
	Env  func(variable string) (text string, given bool) // an empty text counts as none
	File string                                          // of TOML; empty: none
}

// Load makes a Config: an option overrides a variable, which overrides the file, which
// overrides the default. Its errors name the source. It does not call [Config.Check].
func Load(from Sources) (Config, error) {
	c := Default()
	c.AnyCluster = true
	if from.File != "" {
		if err := c.loadFile(from.File); err != nil {
			return Config{}, err
		}
	}
	for _, s := range Settings {
		if text, ok := from.Env(s.Env()); ok && text != "" {
			if err := s.set(&c, s.split(text)); err != nil {
				return Config{}, fmt.Errorf("%s: %w", s.Env(), err)
			}
		}
		if text, ok := from.Flag(s.Flag); ok {
			if err := s.set(&c, s.split(text)); err != nil {
				return Config{}, fmt.Errorf("--%s: %w", s.Flag, err)
			}
		}
	}
	return c, nil
}

// fileSizeMax bounds a configuration file, in bytes: all settings at their
// largest are far below.
const fileSizeMax = 1 << 20

func (c *Config) loadFile(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("config file: %w; name a file that this user can read with --config", err)
	}
	if info.Size() > fileSizeMax {
		return fmt.Errorf("config file %s: %d bytes; at most %d are read", path, info.Size(), fileSizeMax)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("config file: %w; name a file that this user can read with --config", err)
	}
	values := map[string]any{}
	if _, err := toml.Decode(string(text), &values); err != nil {
		var bad toml.ParseError
		if errors.As(err, &bad) {
			return fmt.Errorf("config file %s: line %d: %s", path, bad.Position.Line, firstLine(bad.Message, bad.Error()))
		}
		return fmt.Errorf("config file %s: %w", path, err)
	}
	keys := make([]string, 0, len(values))
	for key := range values {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		i := slices.IndexFunc(Settings, func(s Setting) bool { return s.Key() == key })
		if i < 0 {
			return fmt.Errorf("config file %s: unknown key %q; known are %s", path, key, knownKeys())
		}
		texts, err := Settings[i].fromFile(values[key])
		if err == nil {
			err = Settings[i].set(c, texts)
		}
		if err != nil {
			return fmt.Errorf("config file %s: %s: %w", path, key, err)
		}
	}
	return nil
}

func firstLine(texts ...string) string {
	for _, t := range texts {
		if t, _, _ = strings.Cut(strings.TrimSpace(t), "\n"); t != "" {
			return t
		}
	}
	return "not TOML"
}

func knownKeys() string {
	var keys []string
	for _, s := range Settings {
		keys = append(keys, s.Key())
	}
	return strings.Join(keys, ", ")
}

// fromFile turns a value of the file into the texts that set takes.
func (s Setting) fromFile(v any) ([]string, error) {
	switch s.Kind {
	case Text:
		if t, ok := v.(string); ok {
			return []string{t}, nil
		}
		return nil, fmt.Errorf("want a string, as in %s = %q", s.Key(), cmp.Or(s.Default, "alpha"))
	case Number:
		if n, ok := v.(int64); ok {
			return []string{strconv.FormatInt(n, 10)}, nil
		}
		return nil, fmt.Errorf("want a whole number, as in %s = %s", s.Key(), cmp.Or(s.Default, "3"))
	case Bytes:
		switch n := v.(type) {
		case int64:
			return []string{strconv.FormatInt(n, 10)}, nil
		case string:
			return []string{n}, nil
		}
		return nil, fmt.Errorf("want a whole number of bytes, or a string with KiB, MiB or GiB, as in %s = %q", s.Key(), s.Default)
	case Switch:
		if b, ok := v.(bool); ok {
			return []string{strconv.FormatBool(b)}, nil
		}
		return nil, fmt.Errorf("want true or false, as in %s = true", s.Key())
	case List:
		list, ok := v.([]any)
		texts := make([]string, len(list))
		for i := range list {
			if texts[i], ok = list[i].(string); !ok {
				break
			}
		}
		if ok {
			return texts, nil
		}
		return nil, fmt.Errorf(`want strings, as in %s = ["10.0.0.1:4166", "10.0.0.2:4166"]`, s.Key())
	case Pairs:
		table, ok := v.(map[string]any)
		var texts []string
		for key := range table {
			var t string
			if t, ok = table[key].(string); !ok {
				break
			}
			texts = append(texts, key+"="+t)
		}
		if ok {
			slices.Sort(texts)
			return texts, nil
		}
		return nil, fmt.Errorf(`want a table of strings, as in %s = { rack = "4" }`, s.Key())
	}
	panic("node: setting of no kind")
}
