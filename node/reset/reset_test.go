package reset

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"muster/repl/wire"
)

// folder makes a folder as a node has it.
func folder(t *testing.T) (string, Dir) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tls")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	return path, In(path, time.Now)
}

// A request gets its answer, and nothing is left of both. One would doubt whether a second one of the same
// moment spoils the first, and whether somebody gets the answer to another request.
func TestAskAndAnswer(t *testing.T) {
	path, d := folder(t)
	if _, err := d.Asked(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("before: %v", err)
	}
	id, err := d.Ask("ann", []byte("request"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Ask("bob", []byte("another")); !errors.Is(err, ErrWaits) || strings.Contains(err.Error(), "\n") {
		t.Errorf("a second request: %v", err)
	}
	q, err := d.Asked()
	if err != nil || q.ID != id || q.User != "ann" || string(q.Request) != "request" {
		t.Fatalf("got %+v, %v", q, err)
	}
	if err := d.Drop(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Answered(id); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no answer yet: %v", err)
	}
	if err := d.Reply(&Answer{ID: strings.Repeat("0", 32), User: "ann"}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Answered(id); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the answer to another request: %v", err)
	}
	want := &Refusal{Code: wire.CodeNotReady, Object: "group 0", Text: "not ready", State: "it has no leader", Next: "start it"}
	if err := d.Reply(&Answer{ID: id, User: "ann", Refused: want}); err != nil {
		t.Fatal(err)
	}
	if a, err := d.Answered(id); err != nil || a.Refused == nil || *a.Refused != *want || RefusalOf(a.Refused.Error()).State != want.State {
		t.Errorf("got %+v, %v", a, err)
	}
	if err := d.Close(id); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(path); err != nil || len(left) > 0 {
		t.Errorf("left are %v, %v", left, err)
	}

	// One that nobody has answered in time is in nobody's way.
	if _, err := d.Ask("ann", []byte("request")); err != nil {
		t.Fatal(err)
	}
	later := In(path, func() time.Time { return time.Now().Add(AgeMax + time.Minute) })
	if _, err := later.Ask("ann", []byte("request")); err != nil {
		t.Errorf("after one that is too old: %v", err)
	}
}

// A file that somebody else has put there, or could write to, must do nothing: it would make an
// administrator. The next file is looked at as if it had not been there.
func TestFilesThatDoNotCount(t *testing.T) {
	if wrong := taken(t); wrong != "" {
		t.Error(wrong)
	}
}

// taken returns which file was taken for a request though it is none.
func taken(t *testing.T) (wrong string) {
	good, d := folder(t)
	if _, err := d.Ask("eve", []byte("request")); err != nil {
		t.Fatal(err)
	}
	body, err := os.ReadFile(filepath.Join(good, requestName))
	if err != nil {
		t.Fatal(err)
	}
	write := func(b []byte) func(string) error {
		return func(name string) error { return os.WriteFile(name, b, 0o600) }
	}
	then := func(first func(string) error, more func(string) error) func(string) error {
		return func(name string) error { return errors.Join(first(name), more(name)) }
	}
	whole := write(body)
	cases := []struct {
		what, want string
		put        func(name string) error
	}{
		{"readable by a group", "has mode 0640; want 0600", then(whole, func(n string) error { return os.Chmod(n, 0o640) })},
		{"writable by all", "has mode 0602; want 0600", then(whole, func(n string) error { return os.Chmod(n, 0o602) })},
		{"to be run", "has mode 0700; want 0600", then(whole, func(n string) error { return os.Chmod(n, 0o700) })},
		{"a link to a good one", "is a symbolic link", func(n string) error { return os.Symlink(filepath.Join(good, requestName), n) }},
		{"a link to nothing", "is a symbolic link", func(n string) error { return os.Symlink("nothing", n) }},
		{"a directory", "is no regular file", func(n string) error { return os.Mkdir(n, 0o600) }},
		{"a pipe", "is no regular file", func(n string) error { return syscall.Mkfifo(n, 0o600) }},
		{"stale", "old; want 10m0s at most", then(whole, func(n string) error { return os.Chtimes(n, time.Time{}, time.Now().Add(-AgeMax-time.Second)) })},
		{"from tomorrow", "which is to come: compare the clock", then(whole, func(n string) error { return os.Chtimes(n, time.Time{}, time.Now().Add(24*time.Hour)) })},
		{"empty", "is not what muster auth reset writes", write(nil)},
		{"garbage", "is not what muster auth reset writes", write([]byte("\x00\xff{{{"))},
		{"cut off", "is not what muster auth reset writes", write(body[:len(body)/2])},
		{"with more behind it", "is not what muster auth reset writes", write(append(body[:len(body):len(body)], body...))},
		{"with a field too many", "is not what muster auth reset writes", write([]byte(strings.Replace(string(body), "{", `{"role":"admin",`, 1)))},
		{"too large", "has more than 65536 bytes", write(append(body[:len(body):len(body)], make([]byte, FileMax)...))},
		{"of another version", "has version 2; want 1", write([]byte(strings.Replace(string(body), `"version":1`, `"version":2`, 1)))},
		{"with a short id", "want 32 hexadecimal digits", write([]byte(`{"version":1,"id":"ab","user":"eve","request":"eHg="}`))},
		{"without a request", "a certificate request of 0 bytes; want 1 to 1024", write([]byte(`{"version":1,"id":"` + strings.Repeat("ab", 16) + `","user":"eve","request":""}`))},
	}
	if os.Geteuid() == 0 { // only root can give a file away
		const nobody = 65534
		foreign := then(whole, func(n string) error { return os.Chown(n, nobody, -1) })
		cases = append(cases, cases[0])
		cases[len(cases)-1].what, cases[len(cases)-1].want, cases[len(cases)-1].put = "of another user", "belongs to another user than", foreign
	}
	for _, c := range cases {
		path, d := folder(t)
		if err := c.put(filepath.Join(path, requestName)); err != nil {
			t.Fatal(err)
		}
		_, err := d.Asked()
		switch {
		case err == nil:
			wrong = fmt.Sprintf("%s: taken for a request", c.what)
			continue
		case !strings.Contains(err.Error(), c.want) || errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), "\n"):
			t.Errorf("%s: got %v, want %q", c.what, err, c.want)
		}
		if err := d.Drop(); err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
		if _, err := d.Asked(); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: after it was removed: %v", c.what, err)
		}
	}
	return wrong
}

// A folder into which others can look is theirs as well, and so is what they put there.
func TestFolderOfOthers(t *testing.T) {
	path, d := folder(t)
	if _, err := d.Ask("ann", []byte("request")); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []os.FileMode{0o701, 0o720, 0o777} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Asked(); err == nil || !strings.Contains(err.Error(), "chmod 700 ") {
			t.Errorf("%04o: a request there: %v", mode, err)
		}
		if _, err := d.Ask("ann", []byte("request")); err == nil || !strings.Contains(err.Error(), "chmod 700 ") {
			t.Errorf("%04o: asking there: %v", mode, err)
		}
	}
	missing := In(filepath.Join(path, "missing"), time.Now)
	if _, err := missing.Ask("ann", []byte("request")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
	if _, err := missing.Asked(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
}
