package node

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/repl/client/home"
)

func secretFile(t *testing.T, text string, mode fs.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a 'secret'")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // not subject to the umask
		t.Fatal(err)
	}
	return path
}

// A secret is a file's first line, so that a text editor's newline is no part
// of it; what could be guessed, or is no secret at all, is refused.
func TestReadSecret(t *testing.T) {
	long := strings.Repeat("s", 4096)
	for _, tt := range []struct{ name, text, want, refused string }{
		{"with newline", "0123456789abcdef\n", "0123456789abcdef", ""},
		{"without", "0123456789abcdef", "0123456789abcdef", ""},
		{"carriage return", "0123456789abcdef\r\n", "0123456789abcdef", ""},
		{"more lines", "0123456789abcdef\nand more\n", "0123456789abcdef", ""},
		{"longest", long + "\n", long, ""},
		{"empty", "", "", "it is empty"},
		{"an empty line", "\n", "", "its first line has 0 bytes"},
		{"short", "0123456789abcde\n", "", "its first line has 15 bytes"},
		{"long", long + "s\n", "", "its first line has more than 4096 bytes"},
		{"huge", strings.Repeat(long, 1000), "", "its first line has more than 4096 bytes"},
	} {
		path := secretFile(t, tt.text, 0o600)
		got, err := ReadSecret(path)
		if tt.refused != "" {
			if want := "secret file " + path + ": " + tt.refused + "; want 16 to 4096; muster secret prints a good one"; err == nil || err.Error() != want {
				t.Errorf("%s: got %v, want %s", tt.name, err, want)
			}
		} else if err != nil || string(got) != tt.want {
			t.Errorf("%s: got %q %v, want %q", tt.name, got, err, tt.want)
		}
	}
	if got, err := ReadSecret(""); got != nil || err != nil {
		t.Errorf("no file: got %q %v", got, err)
	}
}

// Anyone who can read the file is let in, and anyone who can write it decides who
// else is, so a file that anybody but its owner can use is refused. The error
// names the command that mends it, and that must work as it stands, whatever
// the path looks like.
func TestSecretFileOfOthers(t *testing.T) {
	const text = "0123456789abcdef\n"
	for _, mode := range []fs.FileMode{0o604, 0o602, 0o640, 0o620, 0o644, 0o666, 0o601, 0o777} {
		path := secretFile(t, text, mode)
		_, err := ReadSecret(path)
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("(mode %04o)", mode)) {
			t.Errorf("mode %04o: %v", mode, err)
			continue
		}
		_, remedy, _ := strings.Cut(err.Error(), "run: ")
		if out, err := exec.Command("sh", "-c", remedy).CombinedOutput(); err != nil {
			t.Errorf("%s: %v, %s", remedy, err, out)
		}
		if got, err := ReadSecret(path); err != nil || string(got)+"\n" != text {
			t.Errorf("mode %04o, after %s: %q, %v", mode, remedy, got, err)
		}
	}
	for _, mode := range []fs.FileMode{0o600, 0o400} {
		if _, err := ReadSecret(secretFile(t, text, mode)); err != nil {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
	for _, c := range []struct {
		owner, self int
		want        string
	}{
		{7, 7, ""}, {0, 7, ""}, {0, 0, ""},
		{8, 7, "chown 7 f"}, {8, 0, "chown 0 f"},
	} {
		err := vfs.Unfit("f", 0o600, c.owner, c.self, 0, vfs.Private)
		if (err != nil) != (c.want != "") || err != nil && !strings.HasSuffix(err.Error(), "run: "+c.want) {
			t.Errorf("user %d reads what %d owns: %v, want %q", c.self, c.owner, err, c.want)
		}
	}
}

// A newcomer who names a file that is not there yet is told how to make it, and
// the command names that file, whatever its path looks like.
func TestSecretFileMissing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a 'secret'")
	_, err := ReadSecret(path)
	if want := "muster secret --file " + vfs.ShellWord(path); err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Fatalf("got %v, want it to end with %s", err, want)
	}
	if err := WriteNewSecret(path); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadSecret(path); err != nil {
		t.Errorf("after the remedy: %v", err)
	}
}

// What is no regular file is no place for a secret, and must neither be waited
// for nor read without end.
func TestSecretFileNotRegular(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{t.TempDir(): "a directory", pipe: "a pipe", "/dev/zero": "a device"} {
		if _, err := ReadSecret(path); err == nil || !strings.Contains(err.Error(), "it is "+want) {
			t.Errorf("%s: %v, want %s", path, err, want)
		}
	}
}

// The files that a company's CA gives a host are read with the same care: a key that others can read, a certificate or a CA
// that others can change, and a pipe, on which nobody may ever write, are refused. A link is followed, as systems that
// hand out secrets make them.
func TestOwnCertificateOfOthers(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, mode fs.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("x"), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	cert, key, ca := file("cert", 0o644), file("key", 0o600), file("ca", 0o644)
	link := filepath.Join(dir, "link")
	if err := os.Symlink(key, link); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		c    Config
		want string
	}{
		{"a key that others can read", Config{TLSCert: cert, TLSKey: file("open", 0o640), TLSCA: ca}, "--tls-key: "},
		{"a certificate that others can change", Config{TLSCert: file("cert2", 0o664), TLSKey: key, TLSCA: ca}, "chmod go-w "},
		{"a CA that others can change", Config{TLSCert: cert, TLSKey: key, TLSCA: file("ca2", 0o646)}, "chmod go-w "},
		{"a pipe for a key", Config{TLSCert: cert, TLSKey: pipe, TLSCA: ca}, "it is a pipe"},
		{"a pipe for a certificate", Config{TLSCert: pipe, TLSKey: key, TLSCA: ca}, "it is a pipe"},
		{"a link to a key", Config{TLSCert: cert, TLSKey: link, TLSCA: ca}, "PEM"}, // it is read, and is none
	} {
		files, err := c.c.ownFiles()
		if err == nil {
			_, err = files.load("localhost:1", time.Now())
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		}
	}
}

// A secret that muster makes is one that muster takes, never the same twice,
// and never put over one that a cluster may use.
func TestNewSecret(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	if err := WriteNewSecret(path); err != nil {
		t.Fatal(err)
	}
	first, err := ReadSecret(path)
	if err != nil || len(first) != 2*secretRandomBytes {
		t.Errorf("got %q, %v", first, err)
	}
	if err := WriteNewSecret(path); err == nil || !strings.Contains(err.Error(), "it exists") {
		t.Errorf("over another secret: %v", err)
	}
	if again, err := ReadSecret(path); err != nil || string(again) != string(first) {
		t.Errorf("the secret has changed: %q, %v", again, err)
	}
	if a, b := NewSecret(), NewSecret(); a == b {
		t.Errorf("%q twice", a)
	}
}

// Hosts of one user found a cluster by a secret that they share without being told. A node of an older,
// plain cluster must not take that one when it is started anew: the other members have none, and would
// be strangers to it.
func TestPlainMemberGetsNoFoundingSecret(t *testing.T) {
	t.Setenv(home.Variable, t.TempDir())
	l := secureLimits()
	for _, test := range []struct {
		name  string
		stage logstore.Stage
		key   bool
		want  bool
	}{
		{"a host that founds", logstore.StageFounding, false, true},
		{"a member of a plain cluster", logstore.StageMember, false, false},
		{"a member of a cluster with TLS", logstore.StageMember, true, true},
	} {
		c := Default()
		c.Data, c.Listen, c.Join, c.Expect = t.TempDir(), "127.0.0.1:4166", []string{"127.0.0.1:4166"}, 1
		id := logstore.Identity{Stage: test.stage, Cluster: c.Cluster, Node: 1}
		if test.stage == logstore.StageMember {
			id.ClusterID = 2
			id.Members = []logstore.IdentityMember{{Node: 1, Addr: c.Listen}}
		}
		if err := logstore.WriteIdentity(vfs.OS{}, c.Data, id); err != nil {
			t.Fatal(err)
		}
		if test.key {
			if err := os.MkdirAll(filepath.Join(c.Data, tlsDir), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(c.Data, tlsDir, tlsFile), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := c.foundingSecret(vfs.OS{}, &l); (got != nil) != test.want || err != nil {
			t.Errorf("%s: got a secret of %d bytes, %v, want one: %t", test.name, len(got), err, test.want)
		}
	}
}
