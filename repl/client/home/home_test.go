package home_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"muster/repl/client/home"
	"muster/repl/trust"
)

type made struct {
	root, leaf []byte
	key        *ecdsa.PrivateKey
	issuer     *trust.Issuer
}

func (m *made) id() trust.RootID { return trust.RootIDOf(m.root) }

// certificate makes a root and a certificate under it.
func certificate(t *testing.T, n trust.Name) *made {
	t.Helper()
	root, rootKey, err := trust.NewRoot(rand.Reader, n.Cluster, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := trust.NewIssuer(root, rootKey)
	if err != nil {
		t.Fatal(err)
	}
	key, err := trust.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf, _, err := issuer.Issue(rand.Reader, n, &key.PublicKey, time.Now(), trust.UserLife)
	if err != nil {
		t.Fatal(err)
	}
	return &made{root, leaf, key, issuer}
}

func in(t *testing.T) home.Home {
	t.Helper()
	h, err := home.In(filepath.Join(t.TempDir(), "muster"))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func ann(cluster uint64) trust.Name {
	return trust.Name{Cluster: cluster, Kind: trust.KindUser, User: "ann"}
}

// Every command finds what serve and login put there, for the cluster that it talks to and no
// other; nobody else can read it.
func TestPutAndFind(t *testing.T) {
	h := in(t)
	if kept, err := h.Roots(); err != nil || len(kept.Roots) != 0 {
		t.Errorf("an empty home: got %d roots, %v", len(kept.Roots), err)
	}
	one, two, third := certificate(t, ann(1)), certificate(t, ann(2)), certificate(t, ann(3))
	for _, m := range []*made{one, two, one} { // again: replaced
		if err := h.Put(m.root, "prod", m.leaf, m.key); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Put(third.root, "prod", nil, nil); err != nil {
		t.Fatal(err)
	}
	kept, err := h.Roots()
	if err != nil || len(kept.Roots) != 3 {
		t.Fatalf("got %d roots, %v, want 3", len(kept.Roots), err)
	}
	for _, m := range []*made{one, two} {
		c, err := h.Credential(m.id())
		if err != nil || c.User != "ann" || c.ID() != m.id() || string(c.Certificate.Certificate[0]) != string(m.leaf) {
			t.Errorf("got %+v, %v", c, err)
		}
	}
	if c, err := h.Credential(third.id()); err != nil || c.Certificate != nil {
		t.Errorf("a root alone: got %+v, %v", c, err)
	}
	if _, err := h.Credential(certificate(t, ann(4)).id()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a foreign root: got %v", err)
	}
	must(t, h.Forget(third.id()))
	if kept, err := h.Roots(); err != nil || len(kept.Roots) != 2 {
		t.Errorf("after one is forgotten: got %d roots, %v", len(kept.Roots), err)
	}
	err = filepath.WalkDir(h.Dir(), func(path string, d fs.DirEntry, err error) error {
		info, ierr := d.Info()
		if err != nil || ierr != nil {
			return errors.Join(err, ierr)
		}
		if info.Mode().Perm()&0o077 != 0 || strings.Contains(path, "-") {
			t.Errorf("%s has mode %04o", path, info.Mode().Perm())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Hosts that found a cluster at once all keep what their user has in it. Whoever reads meanwhile must
// find a key and the certificate that is for it.
func TestPutsAtOnce(t *testing.T) {
	h, m := in(t), certificate(t, ann(1))
	must(t, h.Put(m.root, "prod", m.leaf, m.key))
	var all sync.WaitGroup
	for range 4 {
		key, err := trust.NewKey(rand.Reader)
		must(t, err)
		leaf, _, err := m.issuer.Issue(rand.Reader, ann(1), &key.PublicKey, time.Now(), trust.UserLife)
		must(t, err)
		all.Go(func() {
			for range 10 {
				if err := h.Put(m.root, "prod", leaf, key); err != nil {
					t.Error(err)
				}
			}
		})
		all.Go(func() {
			for range 40 {
				if _, err := h.Credential(m.id()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}

// A file that is not as it was written must be named, with what to do; nothing in it is shown.
func TestRefusedFiles(t *testing.T) {
	if wrong := refusedFiles(t); wrong != "" {
		t.Error(wrong)
	}
}

func refusedFiles(t *testing.T) string {
	other := certificate(t, ann(1))
	otherKey, err := trust.EncodeKey(other.key)
	if err != nil {
		t.Fatal(err)
	}
	node := certificate(t, trust.Name{Cluster: 1, Kind: trust.KindNode, Node: 7})
	for _, c := range []struct {
		what string
		do   func(t *testing.T, folder string)
		want string
	}{
		{"a key that others can read", func(t *testing.T, f string) { must(t, os.Chmod(filepath.Join(f, "user.key"), 0o640)) }, "chmod 600 "},
		{"a key that others can write", func(t *testing.T, f string) { must(t, os.Chmod(filepath.Join(f, "user.key"), 0o602)) }, "chmod 600 "},
		{"a key that is gone", func(t *testing.T, f string) { must(t, os.Remove(filepath.Join(f, "user.key"))) }, "user.key"},
		{"another key", func(t *testing.T, f string) { replace(t, f, "user.key", otherKey) }, "not that of the certificate"},
		{"a key that is none", func(t *testing.T, f string) { replace(t, f, "user.key", []byte("planted words")) }, "no PEM block"},
		{"a certificate that is none", func(t *testing.T, f string) { replace(t, f, "user.pem", []byte("planted words")) }, "no PEM block"},
		{"the certificate of a node", func(t *testing.T, f string) {
			key, err := trust.EncodeKey(node.key)
			must(t, err)
			replace(t, f, "user.pem", trust.EncodeCertificates(node.leaf))
			replace(t, f, "user.key", key)
		}, "want a user's"},
		{"another root", func(t *testing.T, f string) { replace(t, f, "root.pem", trust.EncodeCertificates(other.root)) }, "its folder is for another"},
		{"a root that is none", func(t *testing.T, f string) { replace(t, f, "root.pem", trust.EncodeCertificates(other.leaf)) }, "root.pem"},
		{"a directory", func(t *testing.T, f string) {
			must(t, os.Remove(filepath.Join(f, "user.pem")))
			must(t, os.Mkdir(filepath.Join(f, "user.pem"), 0o700))
		}, "want a regular file"},
		{"a certificate that others can write", func(t *testing.T, f string) { must(t, os.Chmod(filepath.Join(f, "user.pem"), 0o622)) }, "chmod go-w "},
		{"a root that others can write", func(t *testing.T, f string) { must(t, os.Chmod(filepath.Join(f, "root.pem"), 0o646)) }, "chmod go-w "},
		{"a folder that others can write to", func(t *testing.T, f string) { must(t, os.Chmod(f, 0o777)) }, "chmod go-w "},
		{"a home that others can write to", func(t *testing.T, f string) { must(t, os.Chmod(filepath.Dir(f), 0o777)) }, "chmod go-w "},
		{"a key behind a link", func(t *testing.T, f string) {
			must(t, os.Rename(filepath.Join(f, "user.key"), filepath.Join(f, "elsewhere")))
			must(t, os.Symlink("elsewhere", filepath.Join(f, "user.key")))
		}, "it is a symbolic link"},
		{"a root of another user", func(t *testing.T, f string) {
			if os.Geteuid() != 0 {
				must(t, os.Chmod(filepath.Join(f, "root.pem"), 0o646)) // only root can give a file away
				return
			}
			must(t, os.Chown(filepath.Join(f, "root.pem"), 4711, -1))
		}, "; run: ch"},
		{"a pipe, on which nobody writes", func(t *testing.T, f string) {
			must(t, os.Remove(filepath.Join(f, "user.key")))
			must(t, syscall.Mkfifo(filepath.Join(f, "user.key"), 0o600))
		}, "it is a pipe"},
	} {
		h, m := in(t), certificate(t, ann(1))
		must(t, h.Put(m.root, "prod", m.leaf, m.key))
		c.do(t, filepath.Join(h.Dir(), m.id().String()[:32]))
		ended := make(chan error, 1)
		go func() { _, err := h.Credential(m.id()); ended <- err }()
		var err error
		select {
		case err = <-ended:
		case <-time.After(10 * time.Second):
			return c.what + " is waited for"
		}
		switch {
		case err == nil:
			return c.what + " is taken"
		case !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "planted words"):
			return c.what + ": " + err.Error()
		}
	}
	return ""
}

// A file of one cluster that can't be read must not keep a user from all others. It is named to whoever has not found
// what was wanted, in one line with what to do.
func TestBrokenRootBlocksNoOther(t *testing.T) {
	if wrong := brokenRoot(t); wrong != "" {
		t.Error(wrong)
	}
}

func brokenRoot(t *testing.T) string {
	for _, c := range []struct {
		what string
		do   func(path string) error
		want string
	}{
		{"no PEM", func(path string) error { return os.WriteFile(path, []byte("junk"), 0o600) }, "no PEM block"},
		{"empty", func(path string) error { return os.Truncate(path, 0) }, "root.pem"},
		{"others can write to it", func(path string) error { return os.Chmod(path, 0o666) }, "chmod go-w "},
		{"a directory", func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) }, "want a regular file"},
		{"its folder is open to others", func(path string) error { return os.Chmod(filepath.Dir(path), 0o777) }, "chmod go-w "},
	} {
		h, good, broken, second := in(t), certificate(t, ann(1)), certificate(t, ann(2)), certificate(t, ann(3))
		for _, m := range []*made{good, broken, second} {
			must(t, h.Put(m.root, "prod", m.leaf, m.key))
		}
		path := func(m *made) string { return filepath.Join(h.Dir(), m.id().String()[:32], "root.pem") }
		must(t, c.do(path(broken)))
		kept, err := h.Roots()
		if err != nil || len(kept.Roots) != 2 || len(kept.Unread) != 1 {
			return fmt.Sprintf("%s: %d roots, %v, %v", c.what, len(kept.Roots), kept.Unread, err)
		}
		if why := kept.Missing(); !strings.Contains(why.Error(), filepath.Dir(path(broken))) || !strings.Contains(why.Error(), c.want) || strings.Contains(why.Error(), "\n") {
			return fmt.Sprintf("%s: it says %q", c.what, why)
		}
		if got, err := h.Credential(good.id()); err != nil || got.Certificate == nil {
			return fmt.Sprintf("%s: of another cluster: %v", c.what, err)
		}
		if _, err := h.Credential(broken.id()); err == nil || errors.Is(err, fs.ErrNotExist) {
			return fmt.Sprintf("%s: of that cluster: %v", c.what, err)
		}
		must(t, os.WriteFile(path(second), nil, 0o600))
		if kept, err = h.Roots(); err != nil || len(kept.Roots) != 1 || !strings.HasSuffix(kept.Missing().Error(), "; 1 more can't be read") {
			return fmt.Sprintf("%s, and another one: %d roots, %v, %v", c.what, len(kept.Roots), kept.Missing(), err)
		}
	}
	return ""
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func replace(t *testing.T, folder, name string, b []byte) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(folder, name), b, 0o600))
}

// Put refuses anything that can't be a credential before it writes.
func TestPutRefuses(t *testing.T) {
	h, m, other := in(t), certificate(t, ann(1)), certificate(t, ann(1))
	for what, put := range map[string]func() error{
		"no root":     func() error { return h.Put(m.leaf, "prod", m.leaf, m.key) },
		"another key": func() error { return h.Put(m.root, "prod", m.leaf, other.key) },
	} {
		if err := put(); err == nil {
			t.Errorf("%s: got no error", what)
		}
	}
	if kept, err := h.Roots(); err != nil || len(kept.Roots) != 0 {
		t.Errorf("got %d roots, %v", len(kept.Roots), err)
	}
}

// Hosts that start at once must end up with one secret, whichever made it.
func TestSecretIsOne(t *testing.T) {
	h := in(t)
	const hosts = 16
	got := make([]string, hosts)
	var all sync.WaitGroup
	for i := range hosts {
		all.Go(func() {
			s, err := h.Secret()
			if err != nil {
				t.Error(err)
			}
			got[i] = string(s)
		})
	}
	all.Wait()
	for _, s := range got {
		if s != got[0] || len(s) != 64 {
			t.Fatalf("got %q and %q", got[0], s)
		}
	}
	files, err := os.ReadDir(h.Dir())
	if err != nil || len(files) != 1 {
		t.Errorf("%d files are left, %v", len(files), err)
	}
	must(t, os.Chmod(filepath.Join(h.Dir(), "founding.secret"), 0o644))
	if _, err := h.Secret(); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a secret that others can read: got %v", err)
	}
}

// The variable goes first; then the directory for configuration; then, where no variable says
// where that is, what the system knows of the user.
func TestWhereItIs(t *testing.T) {
	for _, c := range []struct{ own, config, home, want string }{
		{"/a", "/b", "/c", "/a"},
		{"", "/b", "/c", "/b/muster"},
		{"", "", "/c", "/c/.config/muster"},
	} {
		t.Setenv(home.Variable, c.own)
		t.Setenv("XDG_CONFIG_HOME", c.config)
		t.Setenv("HOME", c.home)
		h, err := home.Default()
		if err != nil || h.Dir() != c.want {
			t.Errorf("%+v: got %q, %v", c, h.Dir(), err)
		}
	}
	t.Setenv("HOME", "")
	if h, err := home.Default(); err != nil || !strings.HasSuffix(h.Dir(), ".config/muster") {
		t.Errorf("without HOME: got %q, %v", h.Dir(), err)
	}
}

// A process that was stopped while it kept a certificate holds the lock for as long as it pleases whoever
// stopped it. Commands of the same user must go on: they only read.
func TestStoppedWriterHoldsUpNoReader(t *testing.T) {
	h, m := in(t), certificate(t, ann(1))
	if err := h.Put(m.root, "prod", m.leaf, m.key); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(h.Dir(), "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	read := make(chan error, 1)
	go func() {
		c, err := h.Credential(m.id())
		if err == nil && c.Certificate == nil {
			err = errors.New("no certificate")
		}
		read <- err
	}()
	select {
	case err := <-read:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("a reader waits for the lock")
	}
}
