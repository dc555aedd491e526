package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A node whose log or identity was taken away has forgotten what it promised.
// It must not come back as if it had promised nothing.
func TestLostFilesAreNoticed(t *testing.T) {
	for _, c := range []struct{ lost, want string }{
		{"log", "the log of group 0 is gone"},
		{"identity", "it has a log and no identity file"},
	} {
		t.Run(c.lost, func(t *testing.T) {
			one := startCluster(t, 1)
			one.run("kv", "set", "k", "v").done(t)
			one.stop(0)
			p := one.nodes[0]
			if err := os.RemoveAll(filepath.Join(p.data, c.lost)); err != nil {
				t.Fatal(err)
			}
			r := muster(t, p.args...)
			lines := strings.Split(strings.TrimSpace(r.stderr), "\n")
			if last := lines[len(lines)-1]; r.status != exitRefused || !strings.Contains(last, c.want) {
				t.Errorf("ended with status %d, want %d, saying last %q, want %q", r.status, exitRefused, last, c.want)
			}
		})
	}
}
