package node

import (
	crand "crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/repl/client/home"
	"muster/repl/trust"
	"muster/repl/wire"
)

const (
	// The size of a secret, in bytes: at least what a stranger can't guess, and at
	// most what a person or a tool would put in one line of a file.
	secretSizeMin = 16
	secretSizeMax = 4096
	// secretRandomBytes is how many random bytes a secret has that muster makes: as
	// many as the HMAC of which it is the key can use.
	secretRandomBytes = 32
	// passwordMin is the shortest password that a person may choose, in bytes. The hash slows guessing
	// down, but not enough for less.
	passwordMin = 8
)

// NewSecret returns a secret that nobody can guess, as one line of text without
// its end.
func NewSecret() string {
	var b [secretRandomBytes]byte
	crand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}

// WriteNewSecret writes a new secret into a new file, which only its owner can read and
// write.
func WriteNewSecret(path string) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("secret file %s: it exists; a cluster may use it, so name another file, or remove it first", path)
	}
	if err != nil {
		return fmt.Errorf("secret file: %w", err)
	}
	defer func() {
		if cerr := f.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("secret file: %w", cerr)
		}
	}()
	if _, err := fmt.Fprintln(f, NewSecret()); err != nil {
		return fmt.Errorf("secret file: %w", err)
	}
	return nil
}

// Secret reads the shared secret: the first line of SecretFile. It is nil if no file is
// named.
func (c *Config) Secret() ([]byte, error) { return ReadSecret(c.SecretFile) }

// privateFile is a kind of file whose first line nobody but its owner may know.
type privateFile struct {
	name   string // for errors
	remedy string // for one that is not there; the path in shell's words stands for %s
	good   string // what makes a good one
	makes  string // what makes the file
	// min and max bound the line, in bytes.
	min, max int
}

var (
	ofSecrets   = privateFile{"secret file", "name the cluster's own, or make one for a new cluster: muster secret --file %s", "muster secret prints a good one", "muster secret --file FILE makes one", secretSizeMin, secretSizeMax}
	ofTokens    = privateFile{"token file", "put into %s what muster token create --role server prints", "muster token create --role server prints one", "put the token into one", secretSizeMin, secretSizeMax}
	ofPasswords = privateFile{"password file", "put the password into %s, or leave the option out to have one made", "leave the option out to have one made", "put the password into one", passwordMin, wire.PasswordMax}
)

// ReadSecret reads the shared secret from the first line of a file. It is nil for an
// empty path. It refuses a file that is not a regular one, that anybody but its owner
// can read or write, or that belongs to a user other than root and the one that runs
// this process.
func ReadSecret(path string) ([]byte, error) { return ofSecrets.line(path) }

// Token reads the token by which this host is to join a cluster: the first line of TokenFile. It is
// nil if no file is named.
func (c *Config) Token() (*trust.Token, error) {
	line, err := ofTokens.line(c.TokenFile)
	if line == nil || err != nil {
		return nil, err
	}
	t, err := trust.ParseToken(string(line))
	if err != nil {
		return nil, fmt.Errorf("token file %s: %w", c.TokenFile, err)
	}
	return &t, nil
}

// ReadPassword reads the password of a user from the first line of a file, which must be as private as
// one with a secret.
func ReadPassword(path string) ([]byte, error) { return ofPasswords.line(path) }

// CheckPassword refuses a password that is too short or too long; found says where it is from.
func CheckPassword(found string, password []byte) error {
	if n := len(password); n < passwordMin || n > wire.PasswordMax {
		return fmt.Errorf("%s: a password of %d bytes; want %d to %d; %s", found, n, passwordMin, wire.PasswordMax, ofPasswords.good)
	}
	return nil
}

// foundingSecret is the secret by which this host founds a cluster with others: that of its file or,
// on a machine's own address, one that the hosts of one user share. A node of a cluster without TLS gets
// none that its operator does not give it: the other members, which may run an older build, have none.
func (c *Config) foundingSecret(disk vfs.FS, l *limits) ([]byte, error) {
	host, _, err := splitAddr(c.Listen)
	if err != nil || c.SecretFile != "" || c.Insecure || !l.secure || len(c.Join) == 0 || c.TokenFile != "" || !isLoopback(host) {
		return c.Secret()
	}
	if id, ok, err := logstore.ReadIdentity(disk, c.Data); err == nil && ok && !undecided(&id) && !hasTLSKey(disk, c.Data) {
		return nil, nil
	}
	h, err := home.Default()
	if err != nil {
		return nil, err
	}
	return h.Secret()
}

// ownFiles are what TLSCert, TLSKey and TLSCA name.
type ownFiles [3][]byte

// ownFiles reads the files of the certificate that this host has of its company's CA.
func (c *Config) ownFiles() (files ownFiles, err error) {
	for i, f := range []struct {
		flag, path string
		secrecy    vfs.Secrecy
	}{{"--tls-cert", c.TLSCert, vfs.Public}, {"--tls-key", c.TLSKey, vfs.Private}, {"--tls-ca", c.TLSCA, vfs.Public}} {
		if files[i], err = vfs.ReadFit(f.path, f.secrecy, vfs.FollowLinks, trust.FileMax); err != nil {
			return files, fmt.Errorf("%s: %w", f.flag, err)
		}
	}
	return files, nil
}

// load makes of the files what a host at addr shows.
func (f *ownFiles) load(addr string, now time.Time) (*trust.Own, error) {
	return trust.LoadOwn(f[0], f[1], f[2], addr, now)
}

// line reads the first line of a file; see [ReadSecret].
func (k privateFile) line(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	f, err := vfs.OpenFit(path, vfs.Private, vfs.FollowLinks)
	var unfit *vfs.UnfitError
	switch {
	case errors.As(err, &unfit) && unfit.Command == "":
		return nil, fmt.Errorf("%s %w: %s", k.name, err, k.makes)
	case unfit != nil:
		return nil, fmt.Errorf("%s %w", k.name, err)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%s: %w; give it to the user that runs muster: chown %d %s", k.name, err, os.Geteuid(), vfs.ShellWord(path))
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s: %w; "+k.remedy, k.name, err, vfs.ShellWord(path))
	case err != nil:
		return nil, fmt.Errorf("%s: %w", k.name, err)
	}
	defer f.Close()
	// One byte over the limit, and an end of the line of two, are enough to see that there is more.
	b, err := io.ReadAll(io.LimitReader(f, int64(k.max)+2))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k.name, err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	line = strings.TrimSuffix(line, "\r")
	found := fmt.Sprintf("its first line has %d bytes", len(line))
	switch {
	case len(b) == 0:
		found = "it is empty"
	case len(line) > k.max:
		found = fmt.Sprintf("its first line has more than %d bytes", k.max)
	case len(line) >= k.min:
		return []byte(line), nil
	}
	return nil, fmt.Errorf("%s %s: %s; want %d to %d; %s", k.name, path, found, k.min, k.max, k.good)
}
