package trial

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A node whose log or identity was taken away has forgotten what it promised.
// It must not come back as if it had promised nothing. Nor must the remedy cost
// what is left: the directory may hold the last copy of something; nor let the
// host found a second cluster under the address of a member of the first.
func TestLostFilesAreNoticed(t *testing.T) {
	t.Parallel()
	const keep = "keep the directory under another name, take the node off the list"
	for _, c := range []struct {
		lost, want, remedy string
		killed             bool
		take               func(name string) error
	}{
		{"log", "the log of group 0 is gone", keep, true, os.RemoveAll},
		// After a clean stop it is known what was in it: nobody else has that.
		{"log", "0000000000000001.log is damaged", "put that file back", false, os.RemoveAll},
		{"identity", "it has a log and no identity file", keep, false, os.RemoveAll},
		{"identity", "bad identity file", keep, false, func(name string) error { return os.WriteFile(name, []byte("muster identity 1\n"), 0o600) }},
	} {
		t.Run(c.lost+": "+c.want, func(t *testing.T) {
			t.Parallel()
			one := startCluster(t, 1)
			one.run("kv", "set", "k", "v").done(t)
			p := one.nodes[0]
			if c.killed {
				p.kill()
			} else {
				one.stop(0)
			}
			if err := c.take(filepath.Join(p.data, c.lost)); err != nil {
				t.Fatal(err)
			}
			r := muster(t, p.args...)
			lines := strings.Split(strings.TrimSpace(r.stderr), "\n")
			if last := lines[len(lines)-1]; r.status != exitRefused || !strings.Contains(last, c.want) || !strings.Contains(last, c.remedy) {
				t.Errorf("ended with status %d, want %d, saying last %q, want %q", r.status, exitRefused, last, c.want)
			}
		})
	}
}
