package node

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/node/web"
	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/registry"
)

// Version is what this build calls itself, in node list and to its peers.
const Version = "0.1.0"

// Bounds of single settings.
const (
	// ListenDefault is the one port for peers, clients and the command line.
	ListenDefault = client.EndpointDefault
	portDefault   = client.PortDefault
	// GroupsMax is the largest number of data groups of a new cluster: each
	// has a slot at least.
	GroupsMax = shardmap.Slots
	// expectMax bounds a founding, in which every host asks every other one.
	// More join a cluster once it runs.
	expectMax = 64
	// nameMax bounds the names of clusters and nodes, and labels, in bytes:
	// all of them are in every node's table.
	nameMax = wire.ClusterNameMax
	// addrMax bounds addresses, in bytes: the table keeps no longer ones, so a node with one would never be in it.
	addrMax = shardmap.TableTextMax
	// labelsMax bounds the labels of one node.
	labelsMax = 32
	// checkRangesMax bounds the networks that targets of checks may be in: each is looked at
	// for each connection.
	checkRangesMax = 256
	// valueSizeLimit is the largest that --value-max may be.
	valueSizeLimit = 16 << 20
)

// Config is what an operator decides about one node. [Load] makes one from
// the options, the environment and a file; [Settings] has a row for each field.
type Config struct {
	Name      string // of this node; empty: see NodeName
	Listen    string // HOST:PORT; port 0 is one that is free
	Advertise string // HOST:PORT by which others reach this node; empty: what it listens on
	Data      string // the data directory
	Cluster   string // the cluster's name
	// AnyCluster is set if Cluster is only the default. The name in the data directory replaces it then, and so does
	// that of a token's cluster when a host joins by the token.
	AnyCluster bool
	Groups     int // data groups of a new cluster
	ValueMax   int // largest value that a new cluster takes, in bytes
	// Join are the hosts that found a cluster together, this one among them; without
	// Expect, members of the cluster that is to take this host in. To a node that is in a
	// cluster, where else its members may be.
	Join    []string
	Expect  int               // how many found it together; 0: none do
	Standby bool              // found no cluster, and wait to be added to one
	Role    shardmap.NodeRole // of a host that joins a cluster
	// FirstUser, if set, becomes the first administrator of a cluster with TLS that this host founds.
	FirstUser *FirstUser
	Labels    []shardmap.Label // in the order in which they were given
	// SnapshotRate is how fast snapshots are written, and sent to each node,
	// in bytes per second; 0: as fast as can be.
	SnapshotRate int
	// PointsMemory bounds the memory of points that are in no file, in bytes: beyond it none are taken where groups are led,
	// and from half of it on files are made as fast as can be.
	PointsMemory int
	// BackupDir is where jobs write the backups that this node takes; empty: backups in Data.
	BackupDir string
	Scrub     int // how fast the disk is read again, in bytes per second; 0: never
	// Checks are the programs that checks of type custom may have run here: paths by name.
	Checks map[string]string
	// CheckRanges are where targets of checks and webhooks must be; none: see [probe.Config].
	CheckRanges []netip.Prefix
	SecretFile  string // its first line is the secret of the hosts that found a cluster together
	TokenFile   string // its first line is the token by which this host joins a cluster
	CoreDumps   bool   // a crash may write the memory of the process to a file
	Insecure    bool   // no TLS, and no secret although others can reach the address
	// HTTPHosts are names and addresses, without ports, by which browsers know this node beside those that members have.
	HTTPHosts []string
	// API makes what is served below /api/v1/; nil: nothing is. It is part of the build and no setting.
	API func(web.Opener) http.Handler
	// TLSCert, TLSKey and TLSCA are files of this host's certificate by its company's CA, instead of
	// one that the cluster makes.
	TLSCert, TLSKey, TLSCA string
}

// Default returns a Config in which every setting has its default.
func Default() Config {
	var c Config
	for _, s := range Settings {
		if s.Default == "" {
			continue
		}
		if err := s.set(&c, []string{s.Default}); err != nil {
			panic(fmt.Sprintf("node: default of --%s: %v", s.Flag, err))
		}
	}
	return c
}

// Check returns what is wrong with c, in one line that names the setting and what would
// be right, or nil. It looks at nothing but c, unless the address is one that others can reach:
// a node that is of a cluster with TLS has its key in the data directory, and needs no more.
func (c *Config) Check() error {
	for _, check := range []func() error{c.checkNames, c.checkSizes, c.checkListen, c.checkJoin, c.checkChecks} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (c *Config) checkNames() error {
	if err := checkName(c.Cluster); err != nil {
		return fmt.Errorf("--cluster: %w", err)
	}
	if c.Name != "" {
		if err := checkName(c.Name); err != nil {
			return fmt.Errorf("--name: %w", err)
		}
	}
	if len(c.Labels) > labelsMax {
		return fmt.Errorf("--label: %d labels, at most %d are kept", len(c.Labels), labelsMax)
	}
	for i, l := range c.Labels {
		if err := checkName(l.Key); err != nil {
			return fmt.Errorf("--label %s=%s: key: %w", l.Key, l.Value, err)
		}
		if err := checkLabel(l); err != nil {
			return fmt.Errorf("--label %s: %w", l.Key, err)
		}
		if slices.ContainsFunc(c.Labels[:i], func(o shardmap.Label) bool { return o.Key == l.Key }) {
			return fmt.Errorf("--label %s: given twice", l.Key)
		}
	}
	return nil
}

func (c *Config) checkChecks() error {
	if len(c.Checks) > wire.ProgramsMax {
		return fmt.Errorf("--check: %d programs, at most %d are offered", len(c.Checks), wire.ProgramsMax)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Checks)) {
		if !registry.IsProgram(name) {
			return fmt.Errorf("--check %s=%s: no service can name it; want a name of 1 to %d letters, digits, '.', '_' or '-' that begins with neither '.' nor '-'", name, c.Checks[name], registry.NameMax)
		}
		if !filepath.IsAbs(c.Checks[name]) {
			return fmt.Errorf("--check %s=%s: want an absolute path", name, c.Checks[name])
		}
	}
	if len(c.CheckRanges) > checkRangesMax {
		return fmt.Errorf("--check-range: %d networks, at most %d are kept", len(c.CheckRanges), checkRangesMax)
	}
	for _, r := range c.CheckRanges {
		// Addresses are compared in the form of IPv4, so such a network would hold none.
		if r.Addr().Is4In6() {
			return fmt.Errorf("--check-range %s: write it as a network of IPv4", r)
		}
	}
	return nil
}

// checkName refuses a name that needs quoting in a shell, a log line or a table.
func checkName(s string) error {
	if s == "" {
		return fmt.Errorf("empty; want 1 to %d letters, digits, '.', '_' or '-'", nameMax)
	}
	if len(s) > nameMax {
		return fmt.Errorf("%d bytes long; want 1 to %d letters, digits, '.', '_' or '-'", len(s), nameMax)
	}
	for _, r := range s {
		ok := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r)
		if !ok {
			return fmt.Errorf("%q has %q in it; want letters, digits, '.', '_' or '-'", s, r)
		}
	}
	if s[0] == '-' {
		return fmt.Errorf("%q begins with '-', which would read as an option", s)
	}
	if s == "." || s == ".." {
		return fmt.Errorf("%q would read as a path; want a letter, a digit or '_' in it", s)
	}
	return nil
}

func (c *Config) checkSizes() error {
	if c.Data == "" {
		return errors.New("--data: empty; want the directory that this node keeps its data in")
	}
	if c.Groups < 1 || c.Groups > GroupsMax {
		return fmt.Errorf("--groups %d: want 1 to %d", c.Groups, GroupsMax)
	}
	if c.ValueMax < 1 || c.ValueMax > valueSizeLimit {
		return fmt.Errorf("--value-max %d: want 1 to %d bytes", c.ValueMax, valueSizeLimit)
	}
	if c.SnapshotRate < 0 || c.SnapshotRate > snapshotRateMax {
		return fmt.Errorf("--snapshot-rate %d: want 0 to %d bytes per second", c.SnapshotRate, snapshotRateMax)
	}
	if c.PointsMemory < pointsMemoryMin || c.PointsMemory > pointsMemoryMax {
		return fmt.Errorf("--points-memory %d: want %d to %d bytes", c.PointsMemory, pointsMemoryMin, pointsMemoryMax)
	}
	if c.Scrub < 0 || c.Scrub > scrubMax {
		return fmt.Errorf("--scrub %d: want 0 to %d bytes per second", c.Scrub, scrubMax)
	}
	return nil
}

func (c *Config) checkListen() error {
	host, _, err := splitAddr(c.Listen)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	if c.SecretFile != "" && c.Insecure {
		return errors.New("--insecure: means without a secret, but --secret-file is given; leave one of them out")
	}
	if err := c.checkTLS(); err != nil {
		return err
	}
	if !isLoopback(host) && c.SecretFile == "" && c.TokenFile == "" && c.TLSCert == "" && !c.Insecure && !hasTLSKey(vfs.OS{}, c.Data) {
		return fmt.Errorf("--listen %s: others can reach this address: give --secret-file FILE, or --insecure to let anyone in; a host that joins gives --token-file FILE", c.Listen)
	}
	if c.Advertise == "" {
		if isUnspecified(host) {
			return fmt.Errorf("--listen %s: is every address of this host: give the one that others should use with --advertise HOST:PORT", c.Listen)
		}
		return nil
	}
	host, port, err := splitAddr(c.Advertise)
	if err != nil {
		return fmt.Errorf("--advertise: %w", err)
	}
	if isUnspecified(host) || port == 0 {
		return fmt.Errorf("--advertise %s: nobody can reach that; want the HOST:PORT that others should use", c.Advertise)
	}
	return nil
}

// checkTLS checks what the settings of tokens and certificates say together.
func (c *Config) checkTLS() error {
	for _, o := range []struct{ flag, value string }{{"--token-file", c.TokenFile}, {"--tls-cert", c.TLSCert}, {"--tls-key", c.TLSKey}, {"--tls-ca", c.TLSCA}} {
		if o.value != "" && c.Insecure {
			return fmt.Errorf("--insecure: means without TLS, but %s is given; leave one of them out", o.flag)
		}
	}
	if given := c.TLSCert != ""; given != (c.TLSKey != "") || given != (c.TLSCA != "") {
		return errors.New("--tls-cert, --tls-key and --tls-ca: give all three, or none")
	}
	if c.TokenFile != "" && c.Expect > 0 {
		return fmt.Errorf("--token-file: is to join a cluster, and --expect %d is to found one; leave one of them out", c.Expect)
	}
	return nil
}

// checkJoin checks each address of Join by itself: for a node that is in a cluster they
// are only places where members may be, however many.
func (c *Config) checkJoin() error {
	if c.Expect < 0 || c.Expect > expectMax {
		return fmt.Errorf("--expect %d: want 1 to %d hosts", c.Expect, expectMax)
	}
	if len(c.Join) > expectMax {
		return fmt.Errorf("--join: %d addresses, want %d at most", len(c.Join), expectMax)
	}
	seen := map[string]bool{}
	for _, a := range c.Join {
		_, port, err := splitAddr(a)
		if err != nil {
			return fmt.Errorf("--join: %w", err)
		}
		if port == 0 {
			return fmt.Errorf("--join: %s has port 0; want the port that the host listens on", a)
		}
		n := normalAddr(a)
		if seen[n] {
			return fmt.Errorf("--join: %s is given twice", a)
		}
		seen[n] = true
	}
	return nil
}

// CheckFounding returns what is wrong with c for a node that is to found a cluster or to
// join one, or nil. It returns nil if the data directory belongs to a cluster already:
// then it does neither.
func (c *Config) CheckFounding() error { return c.checkFoundingOn(vfs.OS{}) }

// checkFoundingOn is CheckFounding with the disk that has the data directory. It looks
// there only if something is wrong: a disk that hangs would hold up the start.
func (c *Config) checkFoundingOn(disk vfs.FS) error {
	wrong := c.checkFounding()
	if wrong == nil {
		return nil
	}
	id, ok, err := logstore.ReadIdentity(disk, c.Data)
	if err != nil || ok && !undecided(&id) {
		return nil // opening the directory will tell what is wrong with it
	}
	return wrong
}

// founds reports whether a host without an identity is to found a cluster, alone or with
// others, or else to join one.
func (c *Config) founds() bool {
	return !c.Standby && c.TokenFile == "" && (len(c.Join) == 0 || c.Expect > 0)
}

// checkJoining is checkFounding for a host that is to join a cluster.
func (c *Config) checkJoining() error {
	if c.Expect > 0 {
		return fmt.Errorf("--standby: waits to be added to a cluster, and --expect %d is to found one; leave one of them out", c.Expect)
	}
	if len(c.Join) > 0 && !slices.ContainsFunc(c.Join, func(a string) bool { return !c.IsSelf(a) }) {
		return fmt.Errorf("--join: %s is this host's own address; give that of a member, or --expect 1 to found a cluster alone", c.Join[0])
	}
	return nil
}

func (c *Config) checkFounding() error {
	if !c.founds() {
		return c.checkJoining()
	}
	if c.Role != shardmap.NodeServer {
		return fmt.Errorf("--role %s: the hosts that found a cluster are servers; give --standby to join one that runs", c.Role)
	}
	if len(c.Join) == 0 {
		if c.Expect > 1 {
			return fmt.Errorf("--expect %d: give the addresses of all %d hosts, this one's included, with --join", c.Expect, c.Expect)
		}
		return nil
	}
	if len(c.Join) != c.Expect {
		return fmt.Errorf("--expect %d: --join has %s; want exactly %d, this host's own included",
			c.Expect, countOf(len(c.Join), "address", "addresses"), c.Expect)
	}
	own := c.AdvertiseOn(c.Listen)
	if !slices.ContainsFunc(c.Join, func(a string) bool { return normalAddr(a) == normalAddr(own) }) {
		return fmt.Errorf("--join: this host's own address %s is not among %s", own, strings.Join(c.Join, ","))
	}
	return nil
}

func countOf(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// AdvertiseOn returns the address by which others reach this node, if bound is the one
// that it listens on.
func (c *Config) AdvertiseOn(bound string) string {
	if c.Advertise != "" {
		return c.Advertise
	}
	return bound
}

// listenAs returns Listen with the port that its listener, bound, got. A name
// stays a name, which others look up each time that they dial it.
func (c *Config) listenAs(bound string) string {
	host, _, err := net.SplitHostPort(c.Listen)
	_, port, boundErr := net.SplitHostPort(bound)
	if err != nil || boundErr != nil {
		return c.Listen
	}
	return net.JoinHostPort(host, port)
}

// IsSelf reports whether addr, an address of Join, is this node's own.
func (c *Config) IsSelf(addr string) bool {
	return normalAddr(addr) == normalAddr(c.AdvertiseOn(c.Listen))
}

// NodeName returns the node's name, if bound is the address that it listens on: the one
// it was given, or the host's, with the port if that is not the default, so that several
// nodes on one host have different names.
func (c *Config) NodeName(bound string) string {
	if c.Name != "" {
		return c.Name
	}
	host, err := os.Hostname()
	if err == nil {
		host, _, _ = strings.Cut(host, ".")
	}
	if err != nil || checkName(host) != nil {
		host = "node"
	}
	if _, port, err := net.SplitHostPort(bound); err == nil && port != portDefault {
		host = host[:min(len(host), nameMax-len(port)-1)] + "-" + port
	}
	return host
}

func splitAddr(addr string) (host string, port int, err error) {
	if len(addr) > addrMax {
		return "", 0, fmt.Errorf("an address of %d bytes; want %d at most", len(addr), addrMax)
	}
	// A name in another script has a form in ASCII, and DNS knows only that.
	if i := strings.IndexFunc(addr, func(r rune) bool { return r < ' ' || r > '~' }); i >= 0 {
		return "", 0, fmt.Errorf("%q has a character that no address has at byte %d; want HOST:PORT in ASCII, as in 10.0.0.1:%s", addr, i, portDefault)
	}
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, fmt.Errorf("%q is not an address; want HOST:PORT, as in 10.0.0.1:%s", addr, portDefault)
	}
	port, err = strconv.Atoi(p)
	if err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("%q has port %q; want a number up to 65535", addr, p)
	}
	if strings.ContainsAny(host, " \t,/@") {
		return "", 0, fmt.Errorf("%q is not an address; want HOST:PORT, as in 10.0.0.1:%s", addr, portDefault)
	}
	return host, port, nil
}

// normalAddr writes an address in the one form in which two of them compare.
func normalAddr(addr string) string { return wire.NormalAddr(addr) }

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

func isUnspecified(host string) bool {
	if host == "" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsUnspecified()
}
