package node

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/shardmap"
)

func none(string) (string, bool) { return "", false }

func from(m map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) { v, ok := m[name]; return v, ok }
}

// A wrong setting must be refused before anything is touched, by an error that
// names it and says what would be right. One would doubt it because most wrong
// settings are wrong only beside another one.
func TestCheck(t *testing.T) {
	three := []string{"127.0.0.1:4166", "127.0.0.1:4167", "127.0.0.1:4168"}
	for _, tt := range []struct {
		name   string
		change func(c *Config)
		want   string // empty: nothing is wrong
	}{
		{"defaults", func(c *Config) {}, ""},
		{"free port", func(c *Config) { c.Listen = "127.0.0.1:0" }, ""},
		{"IPv6 loopback", func(c *Config) { c.Listen = "[::1]:4166" }, ""},
		{"localhost", func(c *Config) { c.Listen = "localhost:4166" }, ""},
		{"three hosts", func(c *Config) { c.Join, c.Expect = three, 3 }, ""},
		{"one host that says so", func(c *Config) { c.Expect = 1 }, ""},
		{"own address written otherwise", func(c *Config) {
			c.Listen, c.Join, c.Expect = "[::1]:4166", []string{"[0:0:0:0:0:0:0:1]:4166", three[1], three[2]}, 3
		}, ""},
		{"advertised address among join", func(c *Config) {
			c.Listen, c.Advertise, c.Insecure = "0.0.0.0:4166", "Alpha:4166", true
			c.Join, c.Expect = []string{"alpha:4166", "beta:4166"}, 2
		}, ""},

		{"no cluster name", func(c *Config) { c.Cluster = "" },
			"--cluster: empty; want 1 to 63 letters, digits, '.', '_' or '-'"},
		{"space in the cluster name", func(c *Config) { c.Cluster = "my cluster" },
			`--cluster: "my cluster" has ' ' in it; want letters, digits, '.', '_' or '-'`},
		{"long name", func(c *Config) { c.Name = strings.Repeat("n", 64) },
			"--name: 64 bytes long; want 1 to 63 letters, digits, '.', '_' or '-'"},
		{"name that is HTML", func(c *Config) { c.Name = "<script>" }, `--name: "<script>" has '<' in it; want letters, digits, '.', '_' or '-'`},
		{"name like an option", func(c *Config) { c.Name = "-x" }, `--name: "-x" begins with '-', which would read as an option`},
		{"label twice", func(c *Config) { c.Labels = []shardmap.Label{{Key: "a", Value: "1"}, {Key: "a", Value: "2"}} }, "--label a: given twice"},
		{"label without key", func(c *Config) { c.Labels = []shardmap.Label{{Value: "1"}} },
			"--label =1: key: empty; want 1 to 63 letters, digits, '.', '_' or '-'"},
		{"long label", func(c *Config) { c.Labels = []shardmap.Label{{Key: "a", Value: strings.Repeat("v", 64)}} },
			"--label a: value of 64 bytes, at most 63 are kept"},
		{"many labels", func(c *Config) { c.Labels = make([]shardmap.Label, 33) }, "--label: 33 labels, at most 32 are kept"},
		{"no data directory", func(c *Config) { c.Data = "" },
			"--data: empty; want the directory that this node keeps its data in"},
		{"no group", func(c *Config) { c.Groups = 0 }, "--groups 0: want 1 to 4096"},
		{"groups", func(c *Config) { c.Groups = 4097 }, "--groups 4097: want 1 to 4096"},
		{"value", func(c *Config) { c.ValueMax = 16<<20 + 1 }, "--value-max 16777217: want 1 to 16777216 bytes"},
		{"points memory", func(c *Config) { c.PointsMemory = 1<<20 - 1 }, "--points-memory 1048575: want 1048576 to 1099511627776 bytes"},
		{"snapshot rate", func(c *Config) { c.SnapshotRate = -1 }, "--snapshot-rate -1: want 0 to 1073741824 bytes per second"},
		{"scrub", func(c *Config) { c.Scrub = -1 }, "--scrub -1: want 0 to 1073741824 bytes per second"},
		{"no value", func(c *Config) { c.ValueMax = 0 }, "--value-max 0: want 1 to 16777216 bytes"},

		{"program", func(c *Config) { c.Checks = map[string]string{"lag": "/usr/lib/lag"} }, ""},
		{"program by a relative path", func(c *Config) { c.Checks = map[string]string{"lag": "bin/lag"} },
			"--check lag=bin/lag: want an absolute path"},
		{"program without a name", func(c *Config) { c.Checks = map[string]string{"": "/bin/lag"} },
			"--check =/bin/lag: no service can name it; want a name of 1 to 128 letters, digits, '.', '_' or '-' that begins with neither '.' nor '-'"},
		{"program that hides", func(c *Config) { c.Checks = map[string]string{".lag": "/bin/lag"} }, "--check .lag=/bin/lag: no service can name it; want a name of 1 to 128 letters, digits, '.', '_' or '-' that begins with neither '.' nor '-'"},
		{"many programs", func(c *Config) {
			c.Checks = map[string]string{}
			for i := range 257 {
				c.Checks[fmt.Sprint(i)] = "/bin/lag"
			}
		}, "--check: 257 programs, at most 256 are offered"},
		{"networks", func(c *Config) { c.CheckRanges = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} }, ""},
		{"network of IPv4 in IPv6", func(c *Config) { c.CheckRanges = []netip.Prefix{netip.MustParsePrefix("::ffff:10.0.0.0/104")} },
			"--check-range ::ffff:10.0.0.0/104: write it as a network of IPv4"},
		{"many networks", func(c *Config) { c.CheckRanges = make([]netip.Prefix, 257) }, "--check-range: 257 networks, at most 256 are kept"},

		{"listen without port", func(c *Config) { c.Listen = "127.0.0.1" },
			`--listen: "127.0.0.1" is not an address; want HOST:PORT, as in 10.0.0.1:4166`},
		{"listen with a name for a port", func(c *Config) { c.Listen = "127.0.0.1:http" },
			`--listen: "127.0.0.1:http" has port "http"; want a number up to 65535`},
		{"listen with a large port", func(c *Config) { c.Listen = "127.0.0.1:65536" },
			`--listen: "127.0.0.1:65536" has port "65536"; want a number up to 65535`},
		{"listen with a URL", func(c *Config) { c.Listen = "http://10.0.0.1:4166" },
			`--listen: "http://10.0.0.1:4166" is not an address; want HOST:PORT, as in 10.0.0.1:4166`},
		{"not loopback", func(c *Config) { c.Listen = "10.0.0.1:4166" },
			"--listen 10.0.0.1:4166: others can reach this address: give --secret-file FILE, or --insecure to let anyone in; a host that joins gives --token-file FILE"},
		{"a name may be anywhere", func(c *Config) { c.Listen = "alpha:4166" },
			"--listen alpha:4166: others can reach this address: give --secret-file FILE, or --insecure to let anyone in; a host that joins gives --token-file FILE"},
		{"every address", func(c *Config) { c.Listen, c.Insecure = ":4166", true },
			"--listen :4166: is every address of this host: give the one that others should use with --advertise HOST:PORT"},
		{"every address, no secret", func(c *Config) { c.Listen = ":4166" },
			"--listen :4166: others can reach this address: give --secret-file FILE, or --insecure to let anyone in; a host that joins gives --token-file FILE"},
		{"secret and insecure", func(c *Config) { c.SecretFile, c.Insecure = "s", true },
			"--insecure: means without a secret, but --secret-file is given; leave one of them out"},
		{"not loopback, with a token", func(c *Config) { c.Listen, c.TokenFile = "10.0.0.1:4166", "t" }, ""},
		{"token and insecure", func(c *Config) { c.TokenFile, c.Insecure = "t", true },
			"--insecure: means without TLS, but --token-file is given; leave one of them out"},
		{"a CA and insecure", func(c *Config) { c.TLSCA, c.Insecure = "a", true },
			"--insecure: means without TLS, but --tls-ca is given; leave one of them out"},
		{"a certificate without its key", func(c *Config) { c.TLSCert, c.TLSCA = "c", "a" },
			"--tls-cert, --tls-key and --tls-ca: give all three, or none"},
		{"token that founds", func(c *Config) { c.TokenFile, c.Join, c.Expect = "t", three, 3 },
			"--token-file: is to join a cluster, and --expect 3 is to found one; leave one of them out"},
		{"client node by a token", func(c *Config) { c.TokenFile, c.Role = "t", shardmap.NodeClient }, ""},
		{"advertise nothing", func(c *Config) { c.Advertise = "0.0.0.0:4166" },
			"--advertise 0.0.0.0:4166: nobody can reach that; want the HOST:PORT that others should use"},
		{"advertise more than the table keeps", func(c *Config) { c.Advertise = strings.Repeat("a", 251) + ":4166" },
			"--advertise: an address of 256 bytes; want 255 at most"},
		{"join more than the table keeps", func(c *Config) { c.Join = []string{strings.Repeat("a", 251) + ":4166"} },
			"--join: an address of 256 bytes; want 255 at most"},
		{"advertise port 0", func(c *Config) { c.Advertise = "alpha:0" },
			"--advertise alpha:0: nobody can reach that; want the HOST:PORT that others should use"},

		{"expect 3 with two addresses", func(c *Config) { c.Join, c.Expect = three[:2], 3 },
			"--expect 3: --join has 2 addresses; want exactly 3, this host's own included"},
		{"expect 3 with four addresses", func(c *Config) { c.Join, c.Expect = append(three[:3:3], "127.0.0.1:4169"), 3 },
			"--expect 3: --join has 4 addresses; want exactly 3, this host's own included"},
		{"expect 3 alone", func(c *Config) { c.Expect = 3 },
			"--expect 3: give the addresses of all 3 hosts, this one's included, with --join"},
		{"expect a negative number", func(c *Config) { c.Expect = -1 }, "--expect -1: want 1 to 64 hosts"},
		{"join without expect", func(c *Config) { c.Join = three }, ""},
		{"join itself alone", func(c *Config) { c.Join = three[:1] },
			"--join: 127.0.0.1:4166 is this host's own address; give that of a member, or --expect 1 to found a cluster alone"},
		{"standby", func(c *Config) { c.Standby = true }, ""},
		{"standby that asks", func(c *Config) { c.Standby, c.Join = true, three[1:] }, ""},
		{"standby that founds", func(c *Config) { c.Standby, c.Join, c.Expect = true, three, 3 },
			"--standby: waits to be added to a cluster, and --expect 3 is to found one; leave one of them out"},
		{"client node that joins", func(c *Config) { c.Standby, c.Role = true, shardmap.NodeClient }, ""},
		{"client node that founds", func(c *Config) { c.Role = shardmap.NodeClient },
			"--role client: the hosts that found a cluster are servers; give --standby to join one that runs"},
		{"address twice", func(c *Config) { c.Join, c.Expect = []string{three[0], three[1], three[1]}, 3 },
			"--join: 127.0.0.1:4167 is given twice"},
		{"address twice, written otherwise", func(c *Config) {
			c.Join, c.Expect = []string{three[0], "Beta:4166", "beta:4166"}, 3
		}, "--join: beta:4166 is given twice"},
		{"address without port", func(c *Config) { c.Join, c.Expect = []string{three[0], "beta", "gamma:4166"}, 3 },
			`--join: "beta" is not an address; want HOST:PORT, as in 10.0.0.1:4166`},
		{"address with port 0", func(c *Config) { c.Join, c.Expect = []string{three[0], "beta:0"}, 2 },
			"--join: beta:0 has port 0; want the port that the host listens on"},
		{"not among them", func(c *Config) { c.Listen, c.Join, c.Expect = "127.0.0.1:4170", three, 3 },
			"--join: this host's own address 127.0.0.1:4170 is not among 127.0.0.1:4166,127.0.0.1:4167,127.0.0.1:4168"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := Default()
			tt.change(&c)
			got := ""
			err := c.Check()
			if err == nil {
				err = c.checkFounding()
			}
			if err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

// Every setting must be settable from each source, a nearer source must win,
// and no row may be left out of the documentation.
func TestEverySetting(t *testing.T) {
	// One value per setting and source, as the source writes it, with a way to
	// see it in a Config.
	file := map[string]string{
		"name": `"x1"`, "listen": `"x1"`, "advertise": `"x1"`, "data": `"x1"`, "cluster": `"x1"`, "groups": `1`, "value_max": `"1KiB"`,
		"join": `["x1", "y"]`, "expect": `1`, "scrub": `1024`, "snapshot_rate": `"1KiB"`, "points_memory": `"1KiB"`, "label": `{ a = "x1" }`, "secret_file": `"x1"`, "insecure": `true`, "core_dumps": `true`,
		"backup_dir": `"x1"`, "token_file": `"x1"`, "tls_cert": `"x1"`, "tls_key": `"x1"`, "tls_ca": `"x1"`, "standby": `true`, "role": `"client"`, "check": `{ a = "x1" }`, "check_range": `["10.0.0.1"]`, "http_host": `["x1", "y"]`,
	}
	for _, s := range Settings {
		t.Run(s.Flag, func(t *testing.T) {
			text := func(n string) string {
				if s.Flag == "role" {
					return map[string]string{"1": "client", "2": "server", "3": "client"}[n]
				}
				if s.Flag == "check-range" {
					return "10.0.0." + n
				}
				switch s.Kind {
				case Number:
					return n
				case Bytes:
					return n + "KiB"
				case Switch:
					return map[string]string{"1": "true", "2": "false", "3": "true"}[n]
				case List:
					return "x" + n + ",y"
				case Pairs:
					return "a=x" + n
				}
				return "x" + n
			}
			unset := Default()
			unset.AnyCluster = true // nobody has said its name
			want := func(n string) Config {
				c := unset
				if err := s.set(&c, s.split(text(n))); err != nil {
					t.Fatal(err)
				}
				return c
			}
			path := filepath.Join(t.TempDir(), "muster.toml")
			if err := os.WriteFile(path, []byte(s.Key()+" = "+file[s.Key()]+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			env := from(map[string]string{s.Env(): text("2")})
			flag := from(map[string]string{s.Flag: text("3")})
			for _, tt := range []struct {
				name string
				from Sources
				want Config
			}{
				{"file", Sources{none, none, path}, want("1")},
				{"variable beats file", Sources{none, env, path}, want("2")},
				{"option beats both", Sources{flag, env, path}, want("3")},
				{"empty variable is none", Sources{none, from(map[string]string{s.Env(): ""}), path}, want("1")},
			} {
				got, err := Load(tt.from)
				if err != nil {
					t.Errorf("%s: %v", tt.name, err)
				} else if !equal(got, tt.want) {
					t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
				}
			}
			if equal(want("1"), unset) && equal(want("2"), unset) {
				t.Error("the row sets nothing")
			}
		})
	}
}

func equal(a, b Config) bool { return show(a) == show(b) }

func TestLoadRefuses(t *testing.T) {
	for _, tt := range []struct {
		name, file string
		flag, env  map[string]string
		want       string // PATH stands for the file's
	}{
		{"unknown key", "grups = 3\n", nil, nil,
			`config file PATH: unknown key "grups"; known are name, listen, advertise, data, cluster, groups, value_max, join, expect, standby, role, label, scrub, snapshot_rate, points_memory, backup_dir, secret_file, token_file, tls_cert, tls_key, tls_ca, check, check_range, http_host, core_dumps, insecure`},
		{"not TOML", "groups = 3\nname ==\n", nil, nil, "config file PATH: line 2: "},
		{"text for a number", `groups = "8"`, nil, nil, "config file PATH: groups: want a whole number, as in groups = 8"},
		{"number for a text", `name = 8`, nil, nil, `config file PATH: name: want a string, as in name = "alpha"`},
		{"text for a list", `join = "a:1"`, nil, nil,
			`config file PATH: join: want strings, as in join = ["10.0.0.1:4166", "10.0.0.2:4166"]`},
		{"numbers in a list", `join = ["a:1", 2]`, nil, nil,
			`config file PATH: join: want strings, as in join = ["10.0.0.1:4166", "10.0.0.2:4166"]`},
		{"text for a table", `label = "rack=4"`, nil, nil, `config file PATH: label: want a table of strings, as in label = { rack = "4" }`},
		{"text for a switch", `insecure = "yes"`, nil, nil, `config file PATH: insecure: want true or false, as in insecure = true`},
		{"option", "", map[string]string{"groups": "many"}, nil, `--groups: "many" is not a whole number`},
		{"variable", "", nil, map[string]string{"MUSTER_EXPECT": "3.5"}, `MUSTER_EXPECT: "3.5" is not a whole number`},
		{"unit of a size", "", map[string]string{"value-max": "64kB"}, nil, `--value-max: "64kB" is no size; want a whole number of bytes, or one with KiB, MiB or GiB, as in 64KiB`},
		{"negative size", "", map[string]string{"scrub": "-1"}, nil, `--scrub: "-1" is no size; want a whole number of bytes, or one with KiB, MiB or GiB, as in 64KiB`},
		{"broken size", "", nil, map[string]string{"MUSTER_SNAPSHOT_RATE": "1.5MiB"}, `MUSTER_SNAPSHOT_RATE: "1.5MiB" is no size; want a whole number of bytes, or one with KiB, MiB or GiB, as in 64KiB`},
		{"size over all numbers", "", map[string]string{"value-max": "9999999999GiB"}, nil, `--value-max: "9999999999GiB" is no size; want a whole number of bytes, or one with KiB, MiB or GiB, as in 64KiB`},
		{"text that is no size", `scrub = "fast"`, nil, nil, `config file PATH: scrub: "fast" is no size; want a whole number of bytes, or one with KiB, MiB or GiB, as in 64KiB`},
		{"size with a point", `value_max = 1.5`, nil, nil, `config file PATH: value_max: want a whole number of bytes, or a string with KiB, MiB or GiB, as in value_max = "1MiB"`},
		{"switch", "", nil, map[string]string{"MUSTER_INSECURE": "maybe"}, `MUSTER_INSECURE: "maybe" is neither true nor false`},
		{"label", "", map[string]string{"label": "a=1,b"}, nil, `--label: "b" is not a label; want K=V`},
		{"program", "", map[string]string{"check": "lag"}, nil, `--check: "lag" is not a program; want NAME=PATH`},
		{"program twice", "", map[string]string{"check": "lag=/a,lag=/b"}, nil, `--check: lag is given twice`},
		{"network", "check_range = [\"10.0.0.0/33\"]\n", nil, nil, `config file PATH: check_range: "10.0.0.0/33" is not a network; want one as in 10.0.0.0/8 or fd00::/8`},
		{"network of a zone", "", map[string]string{"check-range": "fe80::1%eth0"}, nil, `--check-range: "fe80::1%eth0" is not a network; want one as in 10.0.0.0/8 or fd00::/8`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "muster.toml")
			if err := os.WriteFile(path, []byte(tt.file), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Load(Sources{from(tt.flag), from(tt.env), path})
			if err == nil {
				t.Fatal("was taken")
			}
			got := strings.ReplaceAll(err.Error(), path, "PATH")
			if got != tt.want && !(strings.HasSuffix(tt.want, ": ") && strings.HasPrefix(got, tt.want)) || strings.Contains(got, "\n") {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
	if _, err := Load(Sources{none, none, filepath.Join(t.TempDir(), "absent")}); err == nil {
		t.Error("a file that is not there was taken")
	}
}

// Sizes have units in the settings of the cluster, so people write them for a node too. A plain number stays bytes.
func TestSizesTakeUnits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "muster.toml")
	if err := os.WriteFile(path, []byte("scrub = \"2MiB\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]int{"64KiB": 64 << 10, "65536": 65536, "3MiB": 3 << 20, "0": 0} {
		c, err := Load(Sources{from(map[string]string{"value-max": text}), from(map[string]string{"MUSTER_SNAPSHOT_RATE": text}), path})
		if err != nil || c.ValueMax != want || c.SnapshotRate != want || c.Scrub != 2<<20 {
			t.Errorf("%s: values of %d, snapshots at %d, scrub at %d, %v; want %d twice, and 2 MiB", text, c.ValueMax, c.SnapshotRate, c.Scrub, err, want)
		}
	}
}

func TestNodeName(t *testing.T) {
	host := (&Config{}).NodeName("10.0.0.1:4166")
	for _, tt := range []struct{ name, bound, want string }{
		{"alpha", "10.0.0.1:4167", "alpha"},
		{"", "10.0.0.1:4167", host + "-4167"},
		{"", "[::1]:4166", host},
	} {
		c := Config{Name: tt.name}
		if got := c.NodeName(tt.bound); got != tt.want {
			t.Errorf("%q on %s: got %s, want %s", tt.name, tt.bound, got, tt.want)
		}
	}
	if err := checkName(host); err != nil {
		t.Error(err)
	}
}

func show(c Config) string { return fmt.Sprintf("%+v", c) }

// The table in docs/operating.md must have each setting as it is: it is what an
// operator reads in place of the code.
func TestSettingsAreDocumented(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "docs", "operating.md"))
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for _, s := range Settings {
		fmt.Fprintf(&want, "| `--%s` | `%s` | `%s` | %s | %s |\n", s.Flag, s.Env(), s.Key(), quoted(s.Default), s.Help)
	}
	head := "| option | variable | key of the file | default | |\n|---|---|---|---|---|\n"
	if !strings.Contains(string(page), head+want.String()+"\n") {
		t.Errorf("docs/operating.md does not have, in one piece:\n%s%s", head, want.String())
	}
}

func quoted(s string) string {
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}

// A node that listens by a name tells the others the name: what it stands for
// may be another address by the time that they dial it. Only the port, where
// any would do, is the one that it got.
func TestAdvertiseKeepsNames(t *testing.T) {
	for _, c := range []struct{ listen, advertise, bound, want string }{
		{"db1.example:4166", "", "10.0.0.1:4166", "db1.example:4166"},
		{"localhost:0", "", "127.0.0.1:40001", "localhost:40001"},
		{"127.0.0.1:0", "", "127.0.0.1:40001", "127.0.0.1:40001"},
		{"[::1]:0", "", "[::1]:40001", "[::1]:40001"},
		{"0.0.0.0:4166", "db1.example:4166", "[::]:4166", "db1.example:4166"},
	} {
		conf := Config{Listen: c.listen, Advertise: c.advertise}
		if got := conf.AdvertiseOn(conf.listenAs(c.bound)); got != c.want {
			t.Errorf("--listen %s --advertise %q, bound to %s: got %s, want %s", c.listen, c.advertise, c.bound, got, c.want)
		}
	}
}

// A start with the right settings asks the disk nothing before the disk is
// watched: one that hangs would hold the process without a word, and SIGTERM
// would have no bound. Where the settings are wrong the directory decides
// whether they matter.
func TestFoundingIsCheckedWithoutTheDisk(t *testing.T) {
	disk := vfs.NewFaulty(vfs.NewMem())
	asked := disk.Add(vfs.Rule{Fault: vfs.Error, Name: "identity", Times: vfs.Always})
	c := Default()
	if err := c.checkFoundingOn(disk); err != nil || asked.Fired() != 0 {
		t.Errorf("right settings: %v, and the disk was asked %d times", err, asked.Fired())
	}
	disk.Clear()
	c.Join = []string{"127.0.0.1:4166"}
	if err := c.checkFoundingOn(disk); err == nil {
		t.Error("--join without --expect is taken where there is no directory")
	}
	if err := disk.MkdirAll(c.Data); err != nil {
		t.Fatal(err)
	}
	id := logstore.Identity{Stage: logstore.StageMember, Node: 7, Cluster: "muster", ClusterID: 1, Members: []logstore.IdentityMember{{Node: 7, Addr: c.Listen}}}
	if err := logstore.WriteIdentity(disk, c.Data, id); err != nil {
		t.Fatal(err)
	}
	if err := c.checkFoundingOn(disk); err != nil {
		t.Errorf("a member is refused its --join: %v", err)
	}
}
