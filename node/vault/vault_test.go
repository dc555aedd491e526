package vault

import (
	"bytes"
	"crypto/rand"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"muster/logstore/vfs"
	"muster/raft"
	"muster/repl/trust"
)

// contents is what stands in the files of a vault.
type contents struct {
	leaf, root, roots string
	wraps             int
	key               string
}

// open opens the vault of a disk, and reads all of it.
func open(disk vfs.FS) (c contents, err error) {
	v, err := Open(disk, "data")
	if err != nil {
		return c, err
	}
	key, err := v.Key(rand.Reader)
	if err != nil {
		return c, err
	}
	id, err := trust.PublicKeyID(&key.PublicKey)
	if err != nil {
		return c, err
	}
	leaf, root, _, err := v.Certificate()
	if err != nil {
		return c, err
	}
	roots, _, err := v.Roots()
	if err != nil {
		return c, err
	}
	if _, _, err := v.Pins(); err != nil {
		return c, err
	}
	wraps, err := v.WrapKeys()
	return contents{string(leaf), string(root), string(bytes.Join(roots, nil)), len(wraps), id.String()}, err
}

// A node loses its power at any operation of its disk. Afterwards each file must be there as it was
// before a call or after it, what a call has returned for must be kept, and the key must never
// change: with another one nobody would know the node again.
func TestCrashAtEveryOperation(t *testing.T) {
	if why := crashes(t); why != "" {
		t.Error(why)
	}
}

// crashes returns what is wrong after some crash; empty: nothing is.
func crashes(t *testing.T) string {
	wrapKey, err := trust.NewWrapKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range vfs.CrashModes() {
		for stop := 1; ; stop++ {
			disk := vfs.NewMem()
			first, err := open(disk)
			if err != nil {
				t.Fatal(err)
			}
			// The two states that each file may be in.
			v, err := Open(disk, "data")
			if err != nil {
				t.Fatal(err)
			}
			for _, err := range []error{v.SetRoots([][]byte{[]byte("old root")}, 7), v.SetCertificate([]byte("old"), []byte("old root"))} {
				if err != nil {
					t.Fatal(err)
				}
			}
			disk.StopAt(stop)
			kept := contents{leaf: "old", root: "old root", roots: "old root", key: first.key}
			done := false
			if v.SetRoots([][]byte{[]byte("old root"), []byte("new root")}, 7) == nil {
				kept.roots = "old rootnew root"
				if v.SetCertificate([]byte("new"), []byte("new root")) == nil {
					kept.leaf, kept.root = "new", "new root"
					if v.StoreWrapKey(wrapKey) == nil {
						kept.wraps, done = 1, true
					}
				}
			}
			disk.Crash(mode, uint64(stop))
			got, err := open(disk)
			if err != nil {
				return mode.String() + ": " + err.Error()
			}
			// Lines that were being written may be there as well.
			after := kept
			switch {
			case kept.roots == "old root":
				after.roots = "old rootnew root"
			case kept.leaf == "old":
				after.leaf, after.root = "new", "new root"
			default:
				after.wraps = 1
			}
			if got != kept && got != after {
				return mode.String() + ": a crash left " + got.leaf + ", " + got.roots + ", want what was kept: " + kept.leaf + ", " + kept.roots
			}
			if done {
				break
			}
		}
	}
	return ""
}

// The first word of a node is said with its key. A crash before that leaves a new node, or one that
// has the key.
func TestCrashBeforeTheFirstKey(t *testing.T) {
	for _, mode := range vfs.CrashModes() {
		for stop := 1; ; stop++ {
			disk := vfs.NewMem()
			disk.StopAt(stop)
			was, err := open(disk)
			disk.Crash(mode, uint64(stop))
			got, again := open(disk)
			if again != nil {
				t.Fatalf("%s, power lost at operation %d: %v", mode, stop, again)
			}
			if err == nil {
				if was.key != got.key {
					t.Fatalf("%s: the key has changed in a crash", mode)
				}
				break
			}
		}
	}
}

// The key of a node or of a root that others can read is theirs as well, and the node must say so
// before it says anything with it.
func TestModes(t *testing.T) {
	if why := readable(t); why != "" {
		t.Error(why)
	}
}

func readable(t *testing.T) string {
	for _, c := range []struct {
		file string // of the folder; empty: itself
		mode os.FileMode
		want string // in the error; empty: none
	}{
		{"node.key", 0o600, ""},
		{"node.key", 0o400, ""},
		{"node.key", 0o640, "chmod 600 "},
		{"node.key", 0o604, "others than its owner can use it (mode 0604)"},
		{"node.pem", 0o644, "chmod 600 "},
		{"wrap", 0o660, "chmod 600 "},
		{"", 0o750, "chmod 700 "},
		{"", 0o701, "chmod 700 "},
		{"node.key", os.ModeNamedPipe, "it is a pipe"},
		{"node.pem", os.ModeNamedPipe, "it is a pipe"},
		{"node.key", os.ModeSymlink, "it is a symbolic link"},
	} {
		dir := t.TempDir()
		v, err := Open(vfs.OS{}, dir)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := v.Key(rand.Reader); err != nil {
			t.Fatal(err)
		}
		wrapKey, err := trust.NewWrapKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range []error{v.SetCertificate([]byte("leaf"), []byte("root")), v.StoreWrapKey(wrapKey)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		name := filepath.Join(dir, Dir, c.file)
		if c.file == "wrap" {
			name = filepath.Join(dir, Dir, "wrap-"+wrapKey.ID().String()+".key")
		}
		switch c.mode {
		case os.ModeNamedPipe:
			err = errors.Join(os.Remove(name), syscall.Mkfifo(name, 0o600))
		case os.ModeSymlink:
			err = errors.Join(os.Rename(name, name+".old"), os.Symlink(name+".old", name))
		default:
			err = os.Chmod(name, c.mode)
		}
		if err != nil {
			t.Fatal(err)
		}
		err = readAll(dir)
		switch {
		case c.want == "" && err != nil:
			return c.file + ": " + err.Error()
		case c.want != "" && err == nil:
			return c.file + " with mode " + c.mode.String() + " is read"
		case c.want != "" && (!strings.Contains(err.Error(), c.want) || !errors.As(err, new(*vfs.UnfitError))):
			return "got " + err.Error() + ", want " + c.want
		}
	}
	return ""
}

func readAll(dir string) error {
	v, err := Open(vfs.OS{}, dir)
	if err != nil {
		return err
	}
	if _, err := v.Key(rand.Reader); err != nil {
		return err
	}
	if _, _, _, err := v.Certificate(); err != nil {
		return err
	}
	_, err = v.WrapKeys()
	return err
}

// The keys of the members must come back as they were written, and a cluster without them is another
// one than one that has not gone over to certificates.
func TestPins(t *testing.T) {
	v, err := Open(vfs.NewMem(), "data")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok, err := v.Pins(); ok || err != nil {
		t.Errorf("before: got %t, %v", ok, err)
	}
	for _, want := range []map[raft.NodeID]trust.KeyID{{}, {1: {2}, 1 << 63: {31: 3}}} {
		if err := v.SetPins(want); err != nil {
			t.Fatal(err)
		}
		if got, ok, err := v.Pins(); !ok || err != nil || !maps.Equal(got, want) {
			t.Errorf("got %v, %t, %v, want %v", got, ok, err, want)
		}
	}
}

// Denials must come back as they were written, with the table that they are by.
func TestDenied(t *testing.T) {
	v, err := Open(vfs.NewMem(), "data")
	if err != nil {
		t.Fatal(err)
	}
	if got, at, err := v.Denied(); len(got) > 0 || at != 0 || err != nil {
		t.Errorf("before: got %v, %d, %v", got, at, err)
	}
	for _, want := range []map[trust.Serial]bool{{}, {{1: 2}: true, {15: 3}: true}} {
		if err := v.SetDenied(want, 1<<40); err != nil {
			t.Fatal(err)
		}
		if got, at, err := v.Denied(); at != 1<<40 || err != nil || !maps.Equal(got, want) {
			t.Errorf("got %v, %d, %v, want %v", got, at, err, want)
		}
	}
	for text, want := range map[string]string{"": "line 1", "tabel 7\n": "line 1", "table x\n": "line 1", "table 7\n00\n": "line 2"} {
		if err := v.write(deniedName, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := v.Denied(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}

// A file that is not what it was when it was written gets one line with what to do, and nothing
// of a secret in it.
func TestDamagedFiles(t *testing.T) {
	key, err := trust.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := trust.SelfSigned(rand.Reader, key, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	wrapKey, err := trust.NewWrapKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	wrapFile := "wrap-" + wrapKey.ID().String() + ".key"
	for _, c := range []struct{ file, content, want string }{
		{"node.key", "", "put it back as it was"},
		{"node.key", "gone", "put it back"},
		{"node.key", "-----BEGIN PRIVATE KEY-----\nc2VjcmV0c2VjcmV0\n-----END PRIVATE KEY-----\n", "have it join with an empty data directory"},
		{"node.pem", "x", "remove it, and the node asks for another one"},
		{"node.pem", string(trust.EncodeCertificates([]byte("one"))), "it has 1 certificates; want the node's and its root"},
		{"roots.pem", "x", "copy it from another node"},
		{"pins", strings.Repeat("ab", 8) + " " + strings.Repeat("cd", 32) + "\nx\n", "line 2 is not a node and its key"},
		{wrapFile, strings.Repeat("ab", 32), "is not the key that it is named for"},
		{wrapFile, "secret", "another voter of the meta group hands it over again"},
	} {
		disk := vfs.NewMem()
		v, err := Open(disk, "data")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := v.Key(rand.Reader); err != nil {
			t.Fatal(err)
		}
		for _, err := range []error{v.SetCertificate(cert.Certificate[0], []byte("root")), v.StoreWrapKey(wrapKey), v.SetRoots([][]byte{[]byte("root")}, 7)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		if c.content == "gone" {
			err = disk.Remove("data/tls/" + c.file)
		} else {
			err = v.write(c.file, []byte(c.content))
		}
		if err != nil {
			t.Fatal(err)
		}
		_, err = open(disk)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want %q", c.file, err, c.want)
		} else if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "c2Vj") || strings.Contains(err.Error(), strings.Repeat("ab", 32)) {
			t.Errorf("%s: the error shows what is in it: %v", c.file, err)
		}
	}
}
