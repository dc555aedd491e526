package trial

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"muster/node/trial/clustertest"
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
			one := clustertest.Start(t, 1)
			one.Run("kv", "set", "k", "v").Done(t)
			p := one.Nodes[0]
			if c.killed {
				p.Kill()
			} else {
				one.Stop(0)
			}
			if err := c.take(filepath.Join(p.Data, c.lost)); err != nil {
				t.Fatal(err)
			}
			r := clustertest.Run(t, p.Args...)
			lines := strings.Split(strings.TrimSpace(r.Stderr), "\n")
			if last := lines[len(lines)-1]; r.Status != clustertest.ExitRefused || !strings.Contains(last, c.want) || !strings.Contains(last, c.remedy) {
				t.Errorf("ended with status %d, want %d, saying last %q, want %q", r.Status, clustertest.ExitRefused, last, c.want)
			}
		})
	}
}
