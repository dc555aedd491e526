// Package home keeps what a user needs to connect to clusters, in files of that user alone.
//
// It connects to nothing, and decides nothing about a certificate that somebody shows: who
// reads a credential here does, by the root that it is kept for.
//
// # Files
//
// They are in the directory of the variable MUSTER_HOME, or else in muster under the user's
// directory for configuration, one folder for each root of a cluster:
//
//	HOME/<first 32 hexadecimal digits of the root's SHA-256>/root.pem   the root
//	                                                        user.pem   the user's certificate
//	                                                        user.key   its key, PKCS #8
//	                                                        name       the user's name, and what the cluster is called
//	                                                        scratch    locked by a process with which the cluster ends
//	HOME/lock              held while files that belong together are read or written
//	HOME/founding.secret   what hosts of this user on one machine found a cluster by
//
// Each file is written beside its place and renamed. Files and folders are refused that others own or can
// change, keys and secrets also where others can read them, with the command that mends it; and whatever is
// no regular file: see [vfs.OpenFit].
package home

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"muster/logstore/vfs"
	"muster/repl/trust"
)

// Variable names the directory, where it is set.
const Variable = "MUSTER_HOME"

const (
	rootFile   = "root.pem"
	certFile   = "user.pem"
	keyFile    = "user.key"
	nameFile   = "name"
	secretFile = "founding.secret"
	lockFile   = "lock"
	// folderDigits is how many digits of a root's id name its folder.
	folderDigits = 32
	// secretBytes is how many random bytes a founding secret has: as many as the HMAC of which
	// it is the key can use.
	secretBytes = 32
	// rootsMax bounds the folders that are looked at.
	rootsMax = 256
)

// Home is a user's directory.
type Home struct{ dir string }

// In returns the home in a directory, which need not exist; empty: [Default].
func In(dir string) (Home, error) {
	if dir == "" {
		return Default()
	}
	return Home{dir}, nil
}

// Default returns the user's own: that of the variable MUSTER_HOME, or else muster in the
// directory for configuration.
func Default() (Home, error) {
	if dir := os.Getenv(Variable); dir != "" {
		return Home{dir}, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		// Services often run without HOME; the system knows where it is.
		self, uerr := user.Current()
		if uerr != nil || self.HomeDir == "" {
			return Home{}, fmt.Errorf("no directory for credentials: %w; name one with %s", err, Variable)
		}
		dir = filepath.Join(self.HomeDir, ".config")
	}
	return Home{filepath.Join(dir, "muster")}, nil
}

// Dir is where the home is.
func (h Home) Dir() string { return h.dir }

// Credential is what a user has for one cluster.
type Credential struct {
	Root *x509.Certificate
	// Certificate is the user's, with its key; nil: only the root is kept.
	Certificate *tls.Certificate
	// User is the name in it.
	User string
}

// ID names the root.
func (c *Credential) ID() trust.RootID { return trust.RootIDOf(c.Root.Raw) }

func (h Home) folder(id trust.RootID) string { return filepath.Join(h.dir, id.String()[:folderDigits]) }

// Kept are the roots in a home.
type Kept struct {
	// Roots are all that can be read.
	Roots []*x509.Certificate
	// Unread are the others: each says which file that is, what is wrong with it, and what to do. It is of no
	// interest to whoever finds the root that is wanted among Roots.
	Unread []error
}

// bugOneForAll is planted to show that its test finds it: one root that can't be read keeps its user from all
// clusters.
const bugOneForAll = "broken root blocks all clusters"

// Missing returns what to say where a root was wanted that is not among Roots, in one line: it may be one of those
// that can't be read. It is nil if there are none of them.
func (k *Kept) Missing() error {
	switch n := len(k.Unread); n {
	case 0:
		return nil
	case 1:
		return k.Unread[0]
	default:
		return fmt.Errorf("%w; %d more can't be read", k.Unread[0], n-1)
	}
}

// Roots returns the roots that are kept. An error is about the home itself, so that nothing in it is gone by.
func (h Home) Roots() (kept Kept, err error) {
	if err := h.fit(); err != nil {
		return Kept{}, err
	}
	folders, err := h.folders()
	if err != nil {
		return Kept{}, err
	}
	if len(folders) > rootsMax {
		h.Sweep()
		if folders, err = h.folders(); err != nil {
			return Kept{}, err
		}
	}
	for _, name := range folders {
		if len(kept.Roots)+len(kept.Unread) == rootsMax {
			return Kept{}, h.tooMany(folders)
		}
		root, err := readRoot(filepath.Join(h.dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // it is being made
		}
		switch {
		case err == nil:
			kept.Roots = append(kept.Roots, root)
		case bug(bugOneForAll):
			return Kept{}, err
		default:
			kept.Unread = append(kept.Unread, err)
		}
	}
	return kept, nil
}

// folders are the names of those that are for roots.
func (h Home) folders() (names []string, err error) {
	entries, err := os.ReadDir(h.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	for _, e := range entries {
		if _, err := hex.DecodeString(e.Name()); err == nil && len(e.Name()) == folderDigits && e.IsDir() { // others are not ours
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// readRoot reads the root in a folder, which must be the one that the folder is for.
func readRoot(folder string) (*x509.Certificate, error) {
	path := filepath.Join(folder, rootFile)
	b, err := read(path, vfs.Public)
	if err != nil {
		return nil, err
	}
	var root *x509.Certificate
	ders, err := trust.DecodeCertificates(b)
	if err == nil {
		root, err = trust.ReadRoot(ders[0])
	}
	if err == nil {
		if id := trust.RootIDOf(root.Raw).String(); id[:folderDigits] != filepath.Base(folder) {
			err = fmt.Errorf("it is the root %s, and its folder is for another", id[:folderDigits])
		}
	}
	if err != nil {
		// Nothing tells which cluster is the one that the folder was for.
		return nil, fmt.Errorf("credentials: %s: %w; remove the folder %s, and get new ones: muster auth login", path, err, folder)
	}
	return root, nil
}

// Credential returns what is kept for a root; an error that wraps [fs.ErrNotExist] if that is
// nothing.
func (h Home) Credential(id trust.RootID) (*Credential, error) {
	// Without the lock: whoever holds it may be stopped, and would stop all commands of its user.
	c, err := h.credential(id)
	if !errors.Is(err, errMismatch) {
		return c, err
	}
	// Another process may be between the two files. Where there is nothing to lock, or no right to,
	// there is nobody who writes either.
	if unlock, err := h.lock(shared, readWait); err == nil {
		defer unlock()
	}
	return h.credential(id)
}

// credential is [Home.Credential] at one look.
func (h Home) credential(id trust.RootID) (*Credential, error) {
	if err := h.fit(); err != nil {
		return nil, err
	}
	folder := h.folder(id)
	root, err := readRoot(folder)
	if err != nil {
		return nil, err
	}
	c := &Credential{Root: root}
	// A cluster may be known without a user in it.
	cert, err := read(filepath.Join(folder, certFile), vfs.Public)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, err
	}
	key, err := read(filepath.Join(folder, keyFile), vfs.Private)
	if err != nil {
		return nil, err
	}
	if err := c.fill(root, cert, key); err != nil {
		return nil, fmt.Errorf("credentials in %s: %w; get new ones: muster auth login", folder, err)
	}
	return c, nil
}

// errMismatch: the two files are not of one moment, or one of them was put there by hand.
var errMismatch = errors.New("the key is not that of the certificate")

// fill takes the user's certificate and key, out of their files.
func (c *Credential) fill(root *x509.Certificate, certPEM, keyPEM []byte) error {
	ders, err := trust.DecodeCertificates(certPEM)
	if err != nil {
		return fmt.Errorf("%s: %w", certFile, err)
	}
	leaf, err := trust.ReadCertificate(ders[0])
	if err != nil {
		return fmt.Errorf("%s: %w", certFile, err)
	}
	key, err := trust.DecodeKey(keyPEM)
	if err != nil {
		return fmt.Errorf("%s: %w", keyFile, err)
	}
	if id, err := trust.PublicKeyID(&key.PublicKey); err != nil || id != trust.KeyIDOf(leaf) {
		return errMismatch
	}
	name, err := trust.ParseName(leaf)
	if err != nil {
		return err
	}
	if name.Kind != trust.KindUser {
		return fmt.Errorf("the certificate is that of %s; want a user's", name)
	}
	c.User = name.User
	c.Certificate, err = trust.NewCertificate(key, leaf.Raw, root.Raw)
	return err
}

// Put keeps a user's certificate and key, and the root that it is under, which it replaces as a
// whole. cluster is what the cluster is called. key nil: the root alone.
func (h Home) Put(rootDER []byte, cluster string, leafDER []byte, key *ecdsa.PrivateKey) error {
	root, err := trust.ReadRoot(rootDER)
	if err != nil {
		return err
	}
	folder := h.folder(trust.RootIDOf(rootDER))
	if err := h.make(folder); err != nil {
		return err
	}
	unlock, err := h.lock(exclusive, writeWait)
	if err != nil {
		return err
	}
	defer unlock()
	if key != nil {
		keyPEM, err := trust.EncodeKey(key)
		if err != nil {
			return err
		}
		certPEM := trust.EncodeCertificates(leafDER)
		c := new(Credential)
		if err := c.fill(root, certPEM, keyPEM); err != nil {
			return err
		}
		// A crash between the two leaves a key that does not fit, and who reads it is told so.
		for _, f := range []struct {
			name  string
			bytes []byte
		}{{keyFile, keyPEM}, {certFile, certPEM}, {nameFile, fmt.Appendf(nil, "%s %s\n", c.User, cluster)}} {
			if err := write(filepath.Join(folder, f.name), f.bytes); err != nil {
				return err
			}
		}
	}
	return write(filepath.Join(folder, rootFile), trust.EncodeCertificates(rootDER))
}

// Forget removes what is kept for a root.
func (h Home) Forget(id trust.RootID) error {
	if err := os.RemoveAll(h.folder(id)); err != nil {
		return fmt.Errorf("credentials: %w", err)
	}
	return nil
}

// Ways of locking: one who writes, alone, or any number who read.
const (
	exclusive = syscall.LOCK_EX
	shared    = syscall.LOCK_SH
)

// How long a process waits for the lock: whoever holds it writes four small files, unless it was stopped.
const (
	readWait  = time.Second
	writeWait = 10 * time.Second
	// lockPause lies between two tries: a lock of this kind can't be waited for until a time.
	lockPause = 5 * time.Millisecond
)

// lock keeps others from writing while this process reads or writes files that belong together: hosts
// that found a cluster at once all keep a certificate of their user.
func (h Home) lock(how int, wait time.Duration) (unlock func(), err error) {
	flags := os.O_RDONLY | syscall.O_NONBLOCK | syscall.O_NOFOLLOW // whatever has that name, nobody waits for it
	if how == exclusive {
		flags |= os.O_CREATE
	}
	f, err := os.OpenFile(filepath.Join(h.dir, lockFile), flags, 0o600)
	if err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	for began := time.Now(); ; time.Sleep(lockPause) {
		err = syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) && !errors.Is(err, syscall.EWOULDBLOCK) || time.Since(began) > wait {
			break
		}
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = fmt.Errorf("another process has held it for %s; see which with fuser %s", wait, f.Name())
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("credentials: lock %s: %w", f.Name(), err)
	}
	return func() { f.Close() }, nil
}

// make makes a folder in the home, and the home.
func (h Home) make(folder string) error {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return fmt.Errorf("credentials: %w", err)
	}
	return h.fit()
}

// Secret returns the secret by which hosts of this user on one machine found a cluster: the first
// that asks makes it.
func (h Home) Secret() ([]byte, error) {
	path := filepath.Join(h.dir, secretFile)
	if err := h.fit(); err != nil {
		return nil, err
	}
	b, err := read(path, vfs.Private)
	if errors.Is(err, fs.ErrNotExist) {
		if err := h.newSecret(path); err != nil {
			return nil, err
		}
		b, err = read(path, vfs.Private)
	}
	if err != nil {
		return nil, err
	}
	secret := strings.TrimSpace(string(b))
	if len(secret) != 2*secretBytes {
		return nil, fmt.Errorf("%s: %d characters, want %d; remove it, and start all hosts anew", path, len(secret), 2*secretBytes)
	}
	return []byte(secret), nil
}

// newSecret makes a secret, unless another process does: then that one's counts, whole.
func (h Home) newSecret(path string) error {
	if err := h.make(h.dir); err != nil {
		return err
	}
	var random [secretBytes]byte
	rand.Read(random[:]) // never fails (crypto/rand)
	temp, err := writeTemp(path, fmt.Appendf(nil, "%x\n", random))
	if err != nil {
		return err
	}
	defer os.Remove(temp)
	if err := os.Link(temp, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("credentials: %w", err)
	}
	return nil
}

// fit returns why nothing in the home may be gone by: others can change what is there. One that is not there has
// nothing.
func (h Home) fit() error {
	err := vfs.FitDir(h.dir, vfs.Public, vfs.FollowLinks) // a person may have put it elsewhere
	if err == nil || errors.Is(err, fs.ErrNotExist) || bug(bugUnfit) {
		return nil
	}
	return fmt.Errorf("credentials: %w; if somebody else may have changed it, log in anew", err)
}

// bugUnfit is planted to show that its test finds it: a file is read whoever has written it, or can read it.
const bugUnfit = "key that others can read"

// read reads a file in a directory of this user's own.
func read(path string, s vfs.Secrecy) ([]byte, error) {
	if bug(bugUnfit) {
		return os.ReadFile(path)
	}
	err := vfs.FitDir(filepath.Dir(path), vfs.Public, vfs.FollowLinks)
	if err == nil {
		var b []byte
		if b, err = vfs.ReadFit(path, s, vfs.NoLinks, trust.FileMax); err == nil {
			return b, nil
		}
	}
	if unfit := (*vfs.UnfitError)(nil); errors.As(err, &unfit) {
		return nil, fmt.Errorf("credentials: %w; if somebody else may have seen or changed it, log in anew", err)
	}
	return nil, fmt.Errorf("credentials: %w", err)
}

// write gives a file a content, at once.
func write(path string, b []byte) error {
	temp, err := writeTemp(path, b)
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		return fmt.Errorf("credentials: %w", err)
	}
	return nil
}

// writeTemp writes a new file beside path, which nobody else can read. It is synced: after a power
// cut the name must not stand for an empty file.
func writeTemp(path string, b []byte) (temp string, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return "", fmt.Errorf("credentials: %w", err)
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		os.Remove(f.Name())
		return "", fmt.Errorf("credentials: %w", err)
	}
	return f.Name(), nil
}
